"""``raftctl snapshot``: makes, lists, saves, looks into and restores snapshots."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
from click.core import ParameterSource

from raftctl.bars import Bars
from raftctl.errors import CtlError, from_file
from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.options import ADDRESSES
from raftctl.output import format_bytes, format_ids, format_ms
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.errors import Code

if TYPE_CHECKING:
    from raftwire.proto.admin_pb2 import SnapshotInfo

MAKE_TIMEOUT: Final = 600.0
"""Seconds that making a snapshot may take."""

_READ_BYTES: Final = 1024 * 1024
_HERE = "raftctl.commands.snapshot"


@group(
    "snapshot",
    {
        "On a running node": {
            "create": Entry(f"{_HERE}:create", "Make a snapshot, and keep it on the node."),
            "list": Entry(f"{_HERE}:list_", "List the snapshots that the node keeps."),
            "save": Entry(f"{_HERE}:save", "Write a new snapshot to a file: a backup."),
        },
        "With files": {
            "inspect": Entry(f"{_HERE}:inspect", "Check a snapshot file and say what is in it."),
            "restore": Entry(f"{_HERE}:restore", "Make a new group's node out of a file."),
        },
    },
)
def snapshot() -> None:
    """Make, list, save, check and restore snapshots.

    A snapshot holds the state at one index: what was applied, the idempotency keys, the
    membership. Making one does not stop the node. A group needs none to go on: they are for
    members that lag too far, and for backups.
    """


@command("create")
@pass_session
def create(session: Session) -> None:
    """Make a snapshot of what the node has applied, and keep it there."""
    reply = session.call(admin.snapshot_create(), timeout=MAKE_TIMEOUT)
    made = reply.snapshot
    human = (
        f"snapshot {made.id} index={made.index} term={made.term} {format_bytes(made.bytes)}"
        f" in {format_ms(reply.took_ms)}"
    )
    session.out.result(session.meta, to_dict(reply), lambda: session.out.line(human))


@command("list")
@pass_session
def list_(session: Session) -> None:
    """List the snapshots that the node keeps, the newest first."""
    reply = session.call(admin.snapshot_list())
    out = session.out

    def human() -> None:
        if not reply.snapshots:
            out.line("no snapshots: one is made when a member needs it, or by `snapshot create`")
            return
        rows = [
            [
                str(one.index),
                str(one.term),
                format_bytes(one.bytes),
                format_ms(one.age_ms),
                format_ids(one.voters),
                format_ids(one.learners),
                one.id,
            ]
            for one in reply.snapshots
        ]
        out.table(["INDEX", "TERM", "SIZE", "AGE", "VOTERS", "LEARNERS", "ID"], rows)

    rows = [to_dict(one) for one in reply.snapshots]
    out.result(session.meta, to_dict(reply), human, rows=rows)


@command("save")
@click.argument("file", metavar="FILE|-")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@pass_session
def save(session: Session, *, file: str, force: bool) -> None:
    """Write a new snapshot to FILE, or to standard output when it is -.

    The node goes on meanwhile. FILE appears when it is complete, on disk, and has been read back
    and compared with what the node said it should be.
    """
    if file == "-":
        info = _fetch(session, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        session.out.note(f"index {info.index}, {info.bytes} bytes, sha256 {info.sha256}")
        return
    path = Path(file)
    if path.exists() and not force:
        raise CtlError(
            Code.PRECONDITION, f"{path} exists already.", hint="say --force to replace it"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _create(temporary) as stream:
            info = _fetch(session, stream)
            stream.flush()
            os.fsync(stream.fileno())
        _compare(temporary, info)
        temporary.replace(path)
        _sync_folder(path.absolute().parent)
    except OSError as error:
        raise from_file(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    data = {"file": str(path), **to_dict(info)}
    human = (
        f"saved {path}: index={info.index} term={info.term} {format_bytes(info.bytes)},"
        f" verified (sha256 {info.sha256[:16]}...)"
    )
    session.out.result(session.meta, data, lambda: session.out.line(human))


def _create(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _fetch(session: Session, stream: BinaryIO) -> SnapshotInfo:
    """Read a new snapshot into a stream, each piece and the whole compared with its checksum."""
    total = done = 0
    with session.translated(), Bars(session.out, "snapshot") as bars:

        def write(data: bytes) -> None:
            nonlocal done
            stream.write(data)
            done += len(data)
            bars.update(0, done, max(total, done))

        timeout = session.settings.deadline(MAKE_TIMEOUT)
        try:
            return session.client.snapshot_save(write, timeout=timeout)
        finally:
            session.note_answer()


def _compare(path: Path, info: SnapshotInfo) -> None:
    """Read a file back from the disk and compare it with what it should be.

    Raises:
        CtlError: CORRUPT: the disk returns other bytes than were written.
    """
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if hasattr(os, "posix_fadvise"):
            # Else only the memory that was just written from would be compared.
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    if digest.hexdigest() != info.sha256:
        raise CtlError(
            Code.CORRUPT,
            f"what was read back from {path.parent} is not what was written.",
            hint="save it somewhere else: this disk cannot be trusted",
        )


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@command("inspect")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@pass_session
def inspect(session: Session, *, file: str) -> None:
    """Read a snapshot file whole, check it, and say what is in it; exit 9 if it is damaged."""
    from raftctl.data_tool import run_tool

    found = run_tool("inspect", {"file": os.path.abspath(file)})
    session.out.result(session.meta, found, lambda: session.out.pairs(list(_described(found))))


def _described(found: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    config = found["config"]
    yield "cluster", found["cluster_id"]
    yield "state machine", found["state_machine"]
    yield "index", found["index"]
    yield "term", found["term"]
    yield "voters", format_ids(config["voters"])
    yield "learners", format_ids(config["learners"])
    if found["created_ms"]:
        yield "made", _date(found["created_ms"])
    yield "size", f"{format_bytes(found['bytes'])}, {found['records']} records"
    yield "sha256", f"{found['sha256']} ok"


def _date(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(milliseconds / 1000))


@command("restore")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@click.option(
    "--data-dir", required=True, metavar="DIR", help="Where to put the node's data; must be empty."
)
@click.option(
    "--peers",
    type=ADDRESSES,
    required=True,
    metavar="ID=HOST:PORT,...",
    help="All voters of the new group, this node too; the same on each of them.",
)
@click.option("--new-cluster-id", "cluster_id", metavar="HEX", help="32 digits; default: derived.")
@click.option(
    "--keep-cluster-id",
    is_flag=True,
    help="Keep the old cluster's id. Only if none of its nodes will ever run again.",
)
@pass_session
def restore(
    session: Session,
    *,
    file: str,
    data_dir: str,
    peers: dict[int, str],
    cluster_id: str | None,
    keep_cluster_id: bool,
) -> None:
    """Make the data of a new group's node out of a snapshot file.

    Run it on each host of the new group, with the same FILE and the same --peers; --id says which
    of them this node will be. The file is checked whole before anything is made. The new group has
    a cluster id of its own, the same on all of its hosts, so it cannot be mixed up with the one
    the snapshot is of.
    """
    from raftctl.data_tool import run_tool

    settings = session.settings
    node_id = settings.id
    if node_id is None or settings.sources.get("id") is not ParameterSource.COMMANDLINE:
        raise click.UsageError("say which node of --peers this will be, with --id N")
    if cluster_id is not None and keep_cluster_id:
        raise click.UsageError("give either --new-cluster-id or --keep-cluster-id")
    if cluster_id is not None and not _is_cluster_id(cluster_id):
        raise click.UsageError("a cluster id is 32 hexadecimal digits")
    if node_id not in peers:
        raise click.UsageError(f"--peers names no node {node_id}: it takes every new voter")
    if keep_cluster_id:
        session.confirm("Keep the old cluster's id? Two groups with one id destroy each other.")
    folder = os.path.abspath(data_dir)
    done = run_tool(
        "restore",
        {
            "file": os.path.abspath(file),
            "data_dir": folder,
            "id": node_id,
            "peers": peers,
            "cluster_id": cluster_id,
            "keep_cluster_id": keep_cluster_id,
        },
    )
    listed = ",".join(f"{node}={peers[node]}" for node in sorted(peers))
    command_line = f"raftd --id {node_id} --data-dir {folder} --peers {listed}"
    data = {**done, "next": command_line}
    out = session.out

    def human() -> None:
        out.line(
            f"restored node {node_id} in {folder}: index {done['index']}, cluster"
            f" {done['cluster_id']} (was {done['old_cluster_id']})"
        )
        others = [node for node in sorted(peers) if node != node_id]
        if others:
            out.line(f"next, the same on the hosts of {format_ids(others)}, each with its --id;")
            out.line("then, on this host:")
        else:
            out.line("next:")
        out.line(f"  {command_line}")

    out.result(session.meta, data, human)


def _is_cluster_id(text: str) -> bool:
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text.lower())
