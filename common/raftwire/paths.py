"""Where a node's admin socket is by default: one rule for the daemon and for those who look for it.

A node's socket is ``<run dir>/<id>.sock``. The run dir is ``/run/raftd`` where this user may write
it, else ``$XDG_RUNTIME_DIR/raftd``, else ``/tmp/raftd-<uid>``. A client looks in the same places
in the same order, and also where it may not write: a service's socket in /run/raftd is open to a
group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM_RUN_DIR: Final = Path("/run/raftd")

SOCKET_SUFFIX: Final = ".sock"


def _user_run_dirs(environ: Mapping[str, str]) -> list[Path]:
    dirs: list[Path] = []
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        dirs.append(Path(runtime) / "raftd")
    dirs.append(Path(f"/tmp/raftd-{os.getuid()}"))  # noqa: S108  (made with mode 0700 and checked)
    return dirs


def run_dirs(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return every directory a socket may be in, the likeliest first; they need not exist."""
    environ = os.environ if environ is None else environ
    return [SYSTEM_RUN_DIR, *_user_run_dirs(environ)]


def run_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory in which a daemon of this user puts its socket; it need not exist."""
    environ = os.environ if environ is None else environ
    probe = SYSTEM_RUN_DIR if SYSTEM_RUN_DIR.is_dir() else SYSTEM_RUN_DIR.parent
    if os.access(probe, os.W_OK | os.X_OK):
        return SYSTEM_RUN_DIR
    for directory in _user_run_dirs(environ):
        if os.access(directory.parent, os.W_OK | os.X_OK):
            return directory
    return _user_run_dirs(environ)[-1]


def socket_path(node_id: int, environ: Mapping[str, str] | None = None) -> Path:
    """Return where node ``node_id`` puts its socket if nobody says otherwise."""
    return run_dir(environ) / f"{node_id}{SOCKET_SUFFIX}"


def find_socket(node_id: int, environ: Mapping[str, str] | None = None) -> Path:
    """Return the existing socket of ``node_id``; where it would be made, if there is none."""
    for directory in run_dirs(environ):
        candidate = directory / f"{node_id}{SOCKET_SUFFIX}"
        if candidate.is_socket():
            return candidate
    return socket_path(node_id, environ)


def find_sockets(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return all sockets in the run directories, those of the first directory first, by id."""
    found: list[Path] = []
    for directory in run_dirs(environ):
        try:
            names = [name for name in os.listdir(directory) if name.endswith(SOCKET_SUFFIX)]
        except OSError:
            continue
        names.sort(key=lambda name: (len(name), name))
        found.extend(path for name in names if (path := directory / name).is_socket())
    return found
