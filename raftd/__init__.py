"""raftd: one Raft node as a daemon, on RocksDB, with peers over TCP and an admin socket."""

from importlib import metadata

try:
    __version__ = metadata.version("raftd")
except metadata.PackageNotFoundError:  # Run from a source tree that was never installed.
    __version__ = "0+unknown"
