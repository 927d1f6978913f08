"""Where a node's admin socket is by default: one rule for the daemon and for those who look for it.

A node's socket is ``<run dir>/<id>.sock``. The run dir is ``/run/raftd`` where this user may write
it, else ``$XDG_RUNTIME_DIR/raftd``, else ``/tmp/raftd-<uid>``. A client looks in the same places
in the same order, and also where it may not write: a service's socket in /run/raftd is open to a
group.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final

SYSTEM_RUN_DIR: Final = "/run/raftd"

SOCKET_SUFFIX: Final = ".sock"

# Plain strings: importing pathlib would take a twentieth of the time of `raftctl status`.


def _user_run_dirs(environ: Mapping[str, str]) -> list[str]:
    dirs: list[str] = []
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        dirs.append(os.path.join(runtime, "raftd"))
    dirs.append(f"/tmp/raftd-{os.getuid()}")  # noqa: S108  (made with mode 0700 and checked)
    return dirs


def run_dirs(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return every directory a socket may be in, the likeliest first; they need not exist."""
    environ = os.environ if environ is None else environ
    return [SYSTEM_RUN_DIR, *_user_run_dirs(environ)]


def run_dir(environ: Mapping[str, str] | None = None) -> str:
    """Return the directory in which a daemon of this user puts its socket; it need not exist."""
    environ = os.environ if environ is None else environ
    system = SYSTEM_RUN_DIR
    probe = system if os.path.isdir(system) else os.path.dirname(system)
    if os.access(probe, os.W_OK | os.X_OK):
        return system
    for directory in _user_run_dirs(environ):
        if os.access(os.path.dirname(directory), os.W_OK | os.X_OK):
            return directory
    return _user_run_dirs(environ)[-1]


def socket_path(node_id: int, environ: Mapping[str, str] | None = None) -> str:
    """Return where node ``node_id`` puts its socket if nobody says otherwise."""
    return os.path.join(run_dir(environ), f"{node_id}{SOCKET_SUFFIX}")


def find_socket(node_id: int, environ: Mapping[str, str] | None = None) -> str:
    """Return the existing socket of ``node_id``; where it would be made, if there is none."""
    for directory in run_dirs(environ):
        candidate = os.path.join(directory, f"{node_id}{SOCKET_SUFFIX}")
        if _is_socket(candidate):
            return candidate
    return socket_path(node_id, environ)


def find_sockets(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return all sockets in the run directories, those of the first directory first, by id."""
    found: list[str] = []
    for directory in run_dirs(environ):
        try:
            names = [name for name in os.listdir(directory) if name.endswith(SOCKET_SUFFIX)]
        except OSError:
            continue
        names.sort(key=lambda name: (len(name), name))
        found.extend(path for name in names if _is_socket(path := os.path.join(directory, name)))
    return found


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
