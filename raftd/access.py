"""Who may do what over the admin socket: the kernel says who connects, the settings what that may.

The owner of the daemon and root may do everything. With ``admin.group`` so may its members; those
of ``admin.readonly_group`` may look and read. Without either, the mode of the socket decides alone.
"""

import os
import socket
import struct
from typing import Final, NamedTuple

from raftd.checks import group_id
from raftd.config import DaemonConfig
from raftwire.admin import Request

_CREDENTIALS: Final = struct.Struct("iII")
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES_MAX: Final = 1024
"""As much as Python asks the kernel for; 256 groups."""

READING: Final = frozenset(
    {
        "hello", "cancel", "query", "read_index", "outcome", "log_read", "log_stat", "watch",
        "status", "progress", "health", "wait", "events", "metrics", "member_list",
        "member_status", "snapshot_list", "config",
    }
)  # fmt: skip
"""Requests that change nothing."""


class Credentials(NamedTuple):
    """Who is at the other end of a Unix socket, as the kernel knows it."""

    pid: int
    uid: int
    groups: frozenset[int]


def credentials_of(sock: socket.socket) -> Credentials:
    """Return who connected."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        more = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES_MAX)
    except OSError:
        more = b""  # More groups than that, or a kernel that does not tell: the first one counts.
    groups = struct.unpack(f"{len(more) // 4}I", more)
    return Credentials(int(pid), int(uid), frozenset({int(gid), *groups}))


def access_of(credentials: Credentials, config: DaemonConfig) -> str:
    """Return what a client may: ``rw``, ``ro``, or nothing (empty)."""
    if credentials.uid in (0, os.geteuid()):
        return "rw"
    if config.admin_group is None and config.admin_readonly_group is None:
        return "rw" if config.admin_mode & 0o077 else ""
    for name, access in ((config.admin_group, "rw"), (config.admin_readonly_group, "ro")):
        if name is not None and group_id(name) in credentials.groups:
            return access
    return ""


def changes(request: Request, body: str) -> bool:
    """Tell whether a request would change something."""
    if body == "loglevel":
        return bool(request.loglevel.level)
    if body == "member_change":
        return not request.member_change.dry_run
    return body not in READING
