"""Snapshots as files: made beside the running node, kept, sent and received.

Making one does not stop the node: it reads a view (``KeyValueStore.view``), iterators made between
two writes, which stay at their moment while the node writes on. A RocksDB checkpoint would be the
alternative: its links keep every old table and the whole journal on disk, making it holds the
interpreter lock, and its directory would have to be opened as a second database to be sent.

What is in a file: ``raftd.snapshot_format``. How one becomes a node's state:
``raftd.snapshot_install``. Both are re-exported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from raft import InvariantViolation
from raft.eraftpb import Snapshot
from raftd.applier import Applier
from raftd.failpoints import hit
from raftd.kvstore import UNREADABLE, KeyValueStore, View
from raftd.snapshot_format import (
    FAMILIES,
    SnapshotDamaged,
    SnapshotError,
    SnapshotHeader,
    SnapshotInfo,
    SnapshotRefused,
    StreamReader,
    StreamWriter,
    inspect,
    verify,
)
from raftd.snapshot_install import Staged, Stager, clear_stage, install, restore
from raftd.storage import LogStore

__all__ = [
    "OffsetMismatch",
    "SnapshotDamaged",
    "SnapshotError",
    "SnapshotFile",
    "SnapshotHeader",
    "SnapshotInfo",
    "SnapshotManifest",
    "SnapshotReceiver",
    "SnapshotRefused",
    "SnapshotSource",
    "SnapshotStore",
    "SnapshotWriter",
    "Staged",
    "Stager",
    "check_id",
    "clear_stage",
    "header_of",
    "inspect",
    "install",
    "restore",
    "verify",
]

SUFFIX: Final = ".raftsnap"
PART: Final = ".part"
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}-[0-9a-f]{16}")


class OffsetMismatch(SnapshotError):
    """A piece does not go on where the file ends; ``expected`` is the offset to go on from."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(
            f"a piece at offset {got} does not follow the {expected} bytes that are here; send from"
            f" {expected} on"
        )
        self.expected = expected


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A complete snapshot: names it, and says where it is and how long.

    Attributes:
        id: Index, term and the start of the hash; the same id means the same bytes.
        path: The file.
        size: Its bytes.
        sha256: 32 bytes over the whole file.
        header: What it says of itself.
    """

    id: str
    path: Path
    size: int
    sha256: bytes
    header: SnapshotHeader

    def manifest(self) -> bytes:
        """Return the data of Raft's Snapshot message: which file holds the state."""
        return json.dumps(
            {"id": self.id, "size": self.size, "sha256": self.sha256.hex()}, sort_keys=True
        ).encode()

    def message(self) -> Snapshot:
        """Return Raft's Snapshot for this file."""
        return Snapshot(data=self.manifest(), metadata=self.header.metadata())


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """What Raft's Snapshot message carries instead of the state."""

    id: str
    size: int
    sha256: bytes

    @classmethod
    def decode(cls, data: bytes) -> SnapshotManifest:
        """Return what ``SnapshotFile.manifest`` encoded; SnapshotDamaged if it is not that."""
        try:
            values = json.loads(data)
            found = cls(str(values["id"]), int(values["size"]), bytes.fromhex(values["sha256"]))
        except UNREADABLE as error:
            raise SnapshotDamaged(f"the snapshot's manifest cannot be read ({error})") from error
        check_id(found.id)
        if len(found.sha256) != 32 or found.size < 0:
            raise SnapshotDamaged("the snapshot's manifest is not complete")
        return found


def check_id(snapshot_id: str) -> None:
    """Refuse an id that is not one of ours: it becomes part of a file name.

    Raises:
        SnapshotRefused: It is not ``<index>-<term>-<16 hex digits>``.
    """
    if not _ID.fullmatch(snapshot_id):
        raise SnapshotRefused(f"{snapshot_id[:80]!r} is not the id of a snapshot")


def header_of(log_store: LogStore, applier: Applier, created_ms: int = 0) -> SnapshotHeader:
    """Return the header of a snapshot of the state as applied now; it must be saved."""
    if applier.unsaved:
        raise InvariantViolation(
            "a snapshot of state that is not in the store yet",
            {"applied": applier.index, "saved": log_store.applied.index},
        )
    return SnapshotHeader(
        cluster_id=log_store.identity.cluster_id,
        state_machine=log_store.identity.state_machine,
        conf_state=log_store.conf_state,
        addresses=applier.addresses,
        applied=log_store.applied,
        settings=applier.settings,
        created_ms=created_ms,
    )


class SnapshotWriter:
    """Makes one snapshot file: ``step`` until it returns False, then ``finish``.

    A step takes well under a millisecond, so run steps between the node's other work rather than in
    a thread, which would contend for the interpreter lock. ``finish`` waits for the disk: run that
    one in a worker thread.
    """

    def __init__(self, directory: Path, header: SnapshotHeader, view: View, epoch: int) -> None:
        self._directory = directory
        self._view = view
        self._temporary = directory / f"making-{header.index}-{header.term}.tmp"
        self._stream = _create(self._temporary)
        self.header = header
        self._writer = StreamWriter(self._stream, header, view, epoch)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def settle(self) -> None:
        """Make durable what is written so far, so that the end is not one long wait. Blocks.

        Meant for a worker thread; no step may run beside it.
        """
        _settle_so_far(self._stream)

    def step(self) -> bool:
        """Write the next chunk; return whether there is more to do."""
        return self._writer.step()

    def finish(self) -> SnapshotFile:
        """Make the file durable under its name and return it. Blocks."""
        while self._writer.step():
            pass
        self._view.close()
        return _settle(
            self._stream,
            self._temporary,
            self._directory,
            self._writer.sha256,
            self.header,
        )

    def abort(self) -> None:
        """Give up and remove what there is."""
        self._view.close()
        _discard(self._stream, self._temporary)


class SnapshotReceiver:
    """Takes in a snapshot file piece by piece; a broken transfer goes on at ``offset``.

    What an earlier process has received of the same file counts: its id names its contents.
    """

    def __init__(self, directory: Path, manifest: SnapshotManifest) -> None:
        """Begin, or go on with what is there, which is read: run it in a worker thread then."""
        self.manifest = manifest
        self._directory = directory
        self._temporary = directory / (manifest.id + PART)
        self._hash = hashlib.sha256()
        #: Bytes that are here.
        self.offset = self._rehash()
        self._stream = _create(self._temporary, self.offset)

    def _rehash(self) -> int:
        size = 0
        with contextlib.suppress(FileNotFoundError), open(self._temporary, "rb") as stream:
            while piece := stream.read(1024 * 1024):
                size += len(piece)
                self._hash.update(piece)
        if size > self.manifest.size:
            self._hash = hashlib.sha256()
            return 0
        return size

    @property
    def given_up(self) -> bool:
        """Whether the file is gone or has its final name: nothing more can be written."""
        return self._stream.closed

    @property
    def complete(self) -> bool:
        """Whether all bytes are here; ``finish`` is next."""
        return self.offset == self.manifest.size

    def write(self, offset: int, data: bytes) -> None:
        """Take the next piece.

        Raises:
            OffsetMismatch: It does not begin where the file ends; nothing was taken.
            SnapshotDamaged: It would make the file longer than announced.
        """
        if offset != self.offset:
            raise OffsetMismatch(self.offset, offset)
        if offset + len(data) > self.manifest.size:
            raise SnapshotDamaged(
                f"the snapshot {self.manifest.id} was announced with {self.manifest.size} bytes,"
                f" but {offset + len(data)} were sent; the transfer is given up"
            )
        self._stream.write(data)
        # Pieces are large: a buffer would only lose one more of them when the process is killed.
        self._stream.flush()
        self._hash.update(data)
        self.offset += len(data)

    def settle(self) -> None:
        """Make durable what is here so far; as ``SnapshotWriter.settle``. Blocks."""
        _settle_so_far(self._stream)

    def finish(self) -> SnapshotFile:
        """Check the hash, make the file durable under its name and return it. Blocks.

        Raises:
            SnapshotDamaged: Bytes are missing or differ from what was announced; the file is
                removed.
        """
        try:
            if not self.complete:
                raise SnapshotDamaged(
                    f"the snapshot {self.manifest.id} ends after {self.offset} of"
                    f" {self.manifest.size} bytes; send the rest"
                )
            if self._hash.digest() != self.manifest.sha256:
                raise SnapshotDamaged(
                    f"the snapshot {self.manifest.id} arrived with another SHA-256 than announced;"
                    " send it again"
                )
            self._stream.flush()
            with open(self._temporary, "rb") as stream:
                header = StreamReader(stream).header
        except BaseException:
            self.abort()
            raise
        return _settle(self._stream, self._temporary, self._directory, self.manifest.sha256, header)

    def abort(self) -> None:
        """Give up and remove what there is."""
        _discard(self._stream, self._temporary)


class SnapshotSource:
    """An open snapshot file to be sent; stays readable when the file is pruned meanwhile."""

    def __init__(self, file: SnapshotFile) -> None:
        self.file = file
        self._fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on; empty at the end."""
        return os.pread(self._fd, size, offset)

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SnapshotStore:
    """The directory of a node's snapshot files.

    Args:
        directory: ``<data_dir>/snapshots``; made with mode 0700 if it is missing. What an earlier
            process had not finished making is removed; what it had received in part is kept for
            the sender to go on with.
        keep: Complete snapshots to keep, the newest; at least 1.
        load: Read and check the files that are there now; False: see ``unread``.

    Attributes:
        keep: May be changed.
        unread: Files found that were not read yet; each to be given to ``load`` and ``add``.
        pinned: Ids that pruning passes over.
    """

    def __init__(self, directory: str | Path, keep: int = 2, *, load: bool = True) -> None:
        self._directory = Path(directory)
        self.keep = keep
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._receivers: dict[str, SnapshotReceiver] = {}
        self._files: dict[str, SnapshotFile] = {}
        self.pinned: set[str] = set()
        self.unread: list[Path] = []
        # Of what was received in part: id to index.
        self._parts: dict[str, int] = {}
        for path in sorted(self._directory.iterdir()):
            if path.suffix == ".tmp" or (path.suffix == PART and not _ID.fullmatch(path.stem)):
                path.unlink()
            elif path.suffix == PART:
                self._parts[path.stem] = _index_of(path.stem)
            elif path.suffix == SUFFIX:
                self.unread.append(path)
        while load and self.unread:
            path = self.unread.pop()
            file = self.load(path)
            if file is not None:
                self._files[file.id] = file

    @staticmethod
    def load(path: Path) -> SnapshotFile | None:
        """Read and check a file of an earlier process; None if it is no snapshot to offer. Blocks.

        A damaged one stays where it is, for a look.
        """
        try:
            return _load(path)
        except (SnapshotError, OSError):
            return None

    def begin(
        self, kv: KeyValueStore, log_store: LogStore, applier: Applier, created_ms: int = 0
    ) -> SnapshotWriter:
        """Begin a snapshot of the state as applied and written now. Call it between two writes."""
        view = kv.view(*FAMILIES)
        header = header_of(log_store, applier, created_ms)
        return SnapshotWriter(self._directory, header, view, applier.epoch)

    def add(self, file: SnapshotFile) -> None:
        """Take a finished file into the list, and remove the oldest beyond what is kept."""
        self._files[file.id] = file
        self._receivers.pop(file.id, None)
        self._parts.pop(file.id, None)
        self.prune()

    def prune(self) -> None:
        """Remove all complete snapshots but the newest, and those that are pinned."""
        for file in self.list()[max(self.keep, 1) :]:
            if file.id not in self.pinned:
                hit("snapshot.prune")
                self.remove(file)

    def remove(self, file: SnapshotFile) -> None:
        """Remove a complete snapshot; one being sent stays readable for its sender."""
        file.path.unlink(missing_ok=True)
        self._files.pop(file.id, None)

    def list(self) -> list[SnapshotFile]:
        """Return the complete snapshots, newest first."""
        return sorted(
            self._files.values(),
            key=lambda file: (file.header.index, file.header.term, file.header.created_ms),
            reverse=True,
        )

    def latest(self, at_least: int = 0) -> SnapshotFile | None:
        """Return the newest snapshot, if its index is at least this."""
        newest = next(iter(self.list()), None)
        return newest if newest is not None and newest.header.index >= at_least else None

    def find(self, snapshot_id: str) -> SnapshotFile | None:
        """Return the complete snapshot with this id."""
        return self._files.get(snapshot_id)

    def open(self, file: SnapshotFile) -> SnapshotSource:
        """Open a file to be sent."""
        return SnapshotSource(file)

    def receive(self, manifest: SnapshotManifest) -> SnapshotReceiver:
        """Return the receiver of this file: a new one, or that of a transfer that broke off.

        A peer that offers another snapshot ends the unfinished ones: the newest offer counts.
        Blocks while it reads what an earlier process has received.

        Raises:
            SnapshotRefused: Its id is not one.
            OSError: The file cannot be made or read.
        """
        check_id(manifest.id)
        known = self._receivers.get(manifest.id)
        if known is not None and known.manifest == manifest and not known.given_up:
            return known
        for receiver in self._receivers.values():
            receiver.abort()
        self._receivers.clear()
        for snapshot_id in self._parts.keys() - {manifest.id}:
            self._forget_part(snapshot_id)
        self._parts[manifest.id] = _index_of(manifest.id)
        receiver = self._receivers[manifest.id] = SnapshotReceiver(self._directory, manifest)
        return receiver

    def drop(self, receiver: SnapshotReceiver) -> None:
        """Give up an unfinished transfer for good."""
        self._receivers.pop(receiver.manifest.id, None)
        self._parts.pop(receiver.manifest.id, None)
        receiver.abort()

    def forget_parts(self, applied: int) -> None:
        """Remove what was received in part of snapshots that nobody will go on sending.

        A node that has caught up by other means is past them; its leader offers them no more.
        """
        if self._parts:
            for snapshot_id, index in list(self._parts.items()):
                if index <= applied:
                    self._forget_part(snapshot_id)

    def _forget_part(self, snapshot_id: str) -> None:
        self._parts.pop(snapshot_id, None)
        receiver = self._receivers.pop(snapshot_id, None)
        if receiver is not None:
            receiver.abort()
        (self._directory / (snapshot_id + PART)).unlink(missing_ok=True)

    def bytes(self) -> int:
        """Return the bytes of all complete snapshots."""
        return sum(file.size for file in self._files.values())


def _index_of(snapshot_id: str) -> int:
    return int(snapshot_id.split("-", 1)[0])


def _create(path: Path, offset: int = 0) -> BinaryIO:
    """Open a file to be written from ``offset`` on; what it holds from there on goes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.ftruncate(fd, offset)
    stream = os.fdopen(fd, "wb", buffering=256 * 1024)
    stream.seek(offset)
    return stream


def _discard(stream: BinaryIO, path: Path) -> None:
    # On a full disk closing fails too, as it writes what is in the buffer; it closes all the same.
    with contextlib.suppress(OSError):
        stream.close()
    path.unlink(missing_ok=True)


def _settle_so_far(stream: BinaryIO) -> None:
    stream.flush()
    os.fdatasync(stream.fileno())


def _settle(
    stream: BinaryIO, temporary: Path, directory: Path, sha256: bytes, header: SnapshotHeader
) -> SnapshotFile:
    """Flush, fsync, rename, fsync the directory: the name appears with the whole file or not."""
    stream.flush()
    os.fsync(stream.fileno())
    size = os.fstat(stream.fileno()).st_size
    stream.close()
    snapshot_id = f"{header.index}-{header.term}-{sha256[:8].hex()}"
    path = directory / (snapshot_id + SUFFIX)
    hit("snapshot.rename")
    temporary.replace(path)
    hit("snapshot.renamed")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return SnapshotFile(snapshot_id, path, size, sha256, header)


def _load(path: Path) -> SnapshotFile:
    check_id(path.stem)
    with open(path, "rb") as stream:
        header = StreamReader(stream).header
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").digest()
    if not path.stem.endswith(digest[:8].hex()):
        raise SnapshotDamaged(f"{path} does not hash to its name")
    return SnapshotFile(path.stem, path, size, digest, header)
