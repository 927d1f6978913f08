"""The names that most programs need, for ``from raft.prelude import *``."""

from raft.config import Config
from raft.core import Raft
from raft.eraftpb import (
    ConfChange,
    ConfChangeType,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
)
from raft.progress import Progress
from raft.raw_node import Peer, RawNode, Ready, SnapshotStatus
from raft.read_only import ReadState
from raft.read_only_option import ReadOnlyOption
from raft.status import Status, StatusRef
from raft.storage import RaftState, Storage

__all__ = [
    "ConfChange",
    "ConfChangeType",
    "ConfState",
    "Config",
    "Entry",
    "EntryType",
    "HardState",
    "Message",
    "MessageType",
    "Peer",
    "Progress",
    "Raft",
    "RaftState",
    "RawNode",
    "ReadOnlyOption",
    "ReadState",
    "Ready",
    "Snapshot",
    "SnapshotMetadata",
    "SnapshotStatus",
    "Status",
    "StatusRef",
    "Storage",
]
