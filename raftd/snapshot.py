"""Snapshots: a node's replicated state in one checked file, made, kept, received and installed.

**File.** ``RAFTSNAP``, version, a JSON header (cluster, index, term, configuration, addresses,
state machine, applied position, settings); then chunks, each behind its length and CRC-32, of
(family, key, value) records; an empty chunk; the number of records and the SHA-256 of all bytes
before it.

**Making one** does not stop the node: it reads a view (``KeyValueStore.view``), iterators made
between two writes, which stay at their moment while the node writes on. A RocksDB checkpoint would
be the alternative: its links keep every old table and the whole journal on disk, making it holds
the interpreter lock, and its directory would have to be opened as a second database to be sent.

**Installing one** leaves the old state or the new one at every moment. STATE and SESSIONS exist in
two epochs (``raftd.keys``). The file is first *staged*, in many small batches, under the epoch not
in force, where nothing reads; a crash leaves garbage there, which ``clear_stage`` removes at start.
When it is complete and its hash is right, one batch makes that epoch the one in force, together
with the log's new start, hard state, configuration and applied position. The journal is ordered, so
whoever finds that batch after a crash finds everything staged before it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final

from google.protobuf.message import DecodeError

from raft.eraftpb import ConfState, Snapshot, SnapshotMetadata
from raftd import keys
from raftd.applier import Applier
from raftd.kvstore import Batch, ColumnFamily, KeyValueStore, View
from raftd.settings import Settings
from raftd.storage import AppliedState, Identity, LogStore

MAGIC: Final = b"RAFTSNAP"
VERSION: Final = 1
CHUNK_BYTES: Final = 64 * 1024
"""Size at which a chunk ends: some 0.3 ms of work, so steps can run between a node's other work."""

CHUNK_BYTES_MAX: Final = 64 * 1024 * 1024
HEADER_BYTES_MAX: Final = 4 * 1024 * 1024
SUFFIX: Final = ".raftsnap"
TRAILER_BYTES: Final = 8 + 32

_PREAMBLE: Final = Struct(">8sHI")
_CHUNK: Final = Struct(">II")
_RECORD: Final = Struct(">BII")
_COUNT: Final = Struct(">Q")
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}-[0-9a-f]{16}")
_FAMILIES: Final = (ColumnFamily.STATE, ColumnFamily.SESSIONS)


class SnapshotError(Exception):
    """Base of what can be wrong with a snapshot."""


class SnapshotDamaged(SnapshotError):
    """The file is not what was written: cut short, or bytes have changed. Do not use it."""


class SnapshotRefused(SnapshotError):
    """The snapshot is sound but not for this node: another group, machine or version."""


class OffsetMismatch(SnapshotError):
    """A piece does not go on where the file ends; ``expected`` is the offset to go on from."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(
            f"a piece at offset {got} does not follow the {expected} bytes that are here; send from"
            f" {expected} on"
        )
        self.expected = expected


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot says of itself.

    Attributes:
        cluster_id: The group's 16 bytes.
        state_machine: The group's state machine.
        conf_state, addresses: The configuration and its members' addresses at ``applied.index``.
        applied: Position, digest, log time and counters of the state in the file.
        settings: The group's settings.
        created_ms: When it was made, milliseconds since 1970; for people, 0 if not known.
    """

    cluster_id: bytes
    state_machine: str
    conf_state: ConfState
    addresses: Mapping[int, str]
    applied: AppliedState
    settings: Settings
    created_ms: int = 0

    @property
    def index(self) -> int:
        """Index of the last entry that the state includes."""
        return self.applied.index

    @property
    def term(self) -> int:
        """Term of that entry."""
        return self.applied.term

    def metadata(self) -> SnapshotMetadata:
        """Return what Raft's message says of the snapshot."""
        return SnapshotMetadata(conf_state=self.conf_state, index=self.index, term=self.term)

    def encode(self) -> bytes:
        """Return the header as JSON."""
        values = {
            "cluster_id": self.cluster_id.hex(),
            "state_machine": self.state_machine,
            "conf_state": base64.b64encode(self.conf_state.SerializeToString()).decode(),
            "addresses": {str(node): self.addresses[node] for node in sorted(self.addresses)},
            "applied": {**asdict(self.applied), "digest": self.applied.digest.hex()},
            "settings": asdict(self.settings),
            "created_ms": self.created_ms,
        }
        return json.dumps(values, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> SnapshotHeader:
        """Return what ``encode`` was called on; SnapshotDamaged if it is not that."""
        try:
            values: dict[str, Any] = json.loads(data)
            applied = values["applied"]
            return cls(
                cluster_id=bytes.fromhex(values["cluster_id"]),
                state_machine=str(values["state_machine"]),
                conf_state=ConfState.FromString(base64.b64decode(values["conf_state"])),
                addresses={int(node): str(addr) for node, addr in values["addresses"].items()},
                applied=AppliedState(**{**applied, "digest": bytes.fromhex(applied["digest"])}),
                settings=Settings(**values["settings"]),
                created_ms=int(values["created_ms"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
            raise SnapshotDamaged(f"the snapshot's header cannot be read ({error})") from error


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
        except (ValueError, KeyError, TypeError) as error:
            raise SnapshotDamaged(f"the snapshot's manifest cannot be read ({error})") from error
        check_id(found.id)
        if len(found.sha256) != 32 or found.size < 0:
            raise SnapshotDamaged("the snapshot's manifest is not complete")
        return found


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What ``inspect`` and ``verify`` found."""

    header: SnapshotHeader
    size: int
    records: int
    state_bytes: int
    sha256: bytes


def check_id(snapshot_id: str) -> None:
    """Refuse an id that is not one of ours: it becomes part of a file name.

    Raises:
        SnapshotRefused: It is not ``<index>-<term>-<16 hex digits>``.
    """
    if not _ID.fullmatch(snapshot_id):
        raise SnapshotRefused(f"{snapshot_id[:80]!r} is not the id of a snapshot")


# -- streams ---------------------------------------------------------------------------------------


def header_of(log_store: LogStore, applier: Applier, created_ms: int = 0) -> SnapshotHeader:
    """Return the header of a snapshot of the state as applied now."""
    return SnapshotHeader(
        cluster_id=log_store.identity.cluster_id,
        state_machine=log_store.identity.state_machine,
        conf_state=log_store.conf_state,
        addresses=applier.addresses,
        applied=log_store.applied,
        settings=applier.settings,
        created_ms=created_ms,
    )


class StreamWriter:
    """Writes a snapshot to a stream, a chunk a step.

    Args:
        stream: Where to; only written to.
        header: Of the state that ``view`` shows.
        view: STATE and SESSIONS, made when ``header`` was.
        epoch: The epoch in force then.
    """

    def __init__(self, stream: BinaryIO, header: SnapshotHeader, view: View, epoch: int) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._records = _view_records(view, epoch)
        self._count = 0
        #: Bytes written so far.
        self.size = 0
        #: Over the whole file, once ``step`` has returned False.
        self.sha256 = b""
        encoded = header.encode()
        self._put(_PREAMBLE.pack(MAGIC, VERSION, len(encoded)) + encoded)

    def step(self) -> bool:
        """Write the next chunk; return whether there is more to do."""
        if self.sha256:
            return False
        parts: list[bytes] = []
        size = 0
        for family, key, value in self._records:
            parts.append(_RECORD.pack(family, len(key), len(value)))
            parts.append(key)
            parts.append(value)
            self._count += 1
            size += len(key) + len(value) + _RECORD.size
            if size >= CHUNK_BYTES:
                self._put_chunk(b"".join(parts))
                return True
        if parts:
            self._put_chunk(b"".join(parts))
        self._put(_CHUNK.pack(0, 0))
        self._put(_COUNT.pack(self._count))
        self._put(self._hash.digest())
        self.sha256 = self._hash.digest()
        return False

    def _put_chunk(self, payload: bytes) -> None:
        self._put(_CHUNK.pack(len(payload), zlib.crc32(payload)) + payload)

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._stream.write(data)
        self.size += len(data)


def _view_records(view: View, epoch: int) -> Iterator[tuple[ColumnFamily, bytes, bytes]]:
    prefix = keys.epoch_prefix(epoch)
    skip = len(prefix)
    for family in _FAMILIES:
        for key, value in view.scan(family, prefix, bytes((prefix[0] + 1,))):
            yield family, key[skip:], value


class StreamReader:
    """Reads a snapshot from a stream and checks it on the way.

    Raises:
        SnapshotDamaged: Not a snapshot, cut short or changed; from the constructor or an iteration.
        SnapshotRefused: Of a newer version.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0
        self.records = 0
        self.sha256 = b""
        magic, version, length = _PREAMBLE.unpack(self._take(_PREAMBLE.size))
        if magic != MAGIC:
            raise SnapshotDamaged("this is not a snapshot: it does not begin with RAFTSNAP")
        if version > VERSION:
            raise SnapshotRefused(
                f"the snapshot has version {version}, but this raftd reads up to {VERSION}; use the"
                " newer raftd that wrote it"
            )
        if length > HEADER_BYTES_MAX:
            raise SnapshotDamaged(f"the snapshot's header claims {length} bytes")
        self.header = SnapshotHeader.decode(self._take(length))

    def chunks(self) -> Iterator[list[tuple[ColumnFamily, bytes, bytes]]]:
        """Yield the records, a chunk's at a time; the end means: complete, and the hash right."""
        while True:
            length, crc = _CHUNK.unpack(self._take(_CHUNK.size))
            if length == 0:
                break
            if length > CHUNK_BYTES_MAX:
                raise SnapshotDamaged(f"a chunk of the snapshot claims {length} bytes")
            payload = self._take(length)
            if zlib.crc32(payload) != crc:
                raise SnapshotDamaged("a chunk of the snapshot does not match its checksum")
            records = list(_chunk_records(payload))
            self.records += len(records)
            yield records
        count = _COUNT.unpack(self._take(_COUNT.size))[0]
        expected = self._hash.digest()
        found = self._take(len(expected))
        if found != expected:
            raise SnapshotDamaged("the snapshot does not match its SHA-256")
        if count != self.records:
            raise SnapshotDamaged(f"the snapshot holds {self.records} records instead of {count}")
        if self._stream.read(1):
            raise SnapshotDamaged("bytes follow behind the snapshot's end")
        self.sha256 = self._hash.digest()

    def _take(self, length: int) -> bytes:
        parts: list[bytes] = []
        left = length
        while left:
            part = self._stream.read(min(left, 1024 * 1024))
            if not part:
                raise SnapshotDamaged(f"the snapshot is cut short, {self.size} bytes in")
            parts.append(part)
            left -= len(part)
            self.size += len(part)
        data = b"".join(parts)
        self._hash.update(data)
        return data


def _chunk_records(payload: bytes) -> Iterator[tuple[ColumnFamily, bytes, bytes]]:
    offset = 0
    while offset < len(payload):
        if offset + _RECORD.size > len(payload):
            raise SnapshotDamaged("a record of the snapshot is cut short")
        family, key_bytes, value_bytes = _RECORD.unpack_from(payload, offset)
        offset += _RECORD.size
        end = offset + key_bytes + value_bytes
        if end > len(payload) or family not in _FAMILIES:
            raise SnapshotDamaged("a record of the snapshot is not one")
        middle = offset + key_bytes
        yield ColumnFamily(family), payload[offset:middle], payload[middle:end]
        offset = end


def inspect(path: str | Path) -> SnapshotInfo:
    """Return what the snapshot file says of itself, without reading its records.

    Raises:
        SnapshotDamaged: Its header is.
    """
    with open(path, "rb") as stream:
        reader = StreamReader(stream)
        size = os.fstat(stream.fileno()).st_size
    return SnapshotInfo(reader.header, size, 0, 0, b"")


def verify(path: str | Path) -> SnapshotInfo:
    """Read the whole snapshot file and check it.

    Raises:
        SnapshotDamaged: It is not what was written.
    """
    state_bytes = 0
    with open(path, "rb") as stream:
        reader = StreamReader(stream)
        for records in reader.chunks():
            state_bytes += sum(len(key) + len(value) for _, key, value in records)
    return SnapshotInfo(reader.header, reader.size, reader.records, state_bytes, reader.sha256)


# -- installing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete, checked snapshot that lies in the epoch not in force."""

    header: SnapshotHeader
    epoch: int


class Stager:
    """Reads a snapshot into the epoch that is not in force, a chunk a step.

    The node may apply entries meanwhile: they go to the other epoch. Only one may be at work on a
    store, and none between ``staged`` and ``install``.

    Args:
        kv: The node's store.
        stream: The snapshot.
        identity: Whose store it is: a snapshot of another group or machine is refused.
        epoch: The epoch in force.

    Raises:
        SnapshotDamaged, SnapshotRefused: As StreamReader; also when it is not for this node.
    """

    def __init__(self, kv: KeyValueStore, stream: BinaryIO, identity: Identity, epoch: int) -> None:
        self._kv = kv
        self._reader = StreamReader(stream)
        _check_header(self._reader.header, identity)
        self._target = 1 - epoch
        self._prefix = keys.epoch_prefix(self._target)
        self._chunks = self._reader.chunks()
        self._cleared = False
        #: Set when all is there.
        self.staged: Staged | None = None

    @property
    def header(self) -> SnapshotHeader:
        """What the snapshot says of itself."""
        return self._reader.header

    def step(self) -> bool:
        """Stage the next chunk; return whether there is more to do.

        Raises:
            SnapshotDamaged: It is cut short or changed; what is staged is garbage.
            StoreWriteError: The node must stop.
        """
        if self.staged is not None:
            return False
        if not self._cleared:
            clear_stage(self._kv, 1 - self._target)
            self._cleared = True
        records = next(self._chunks, None)
        if records is None:
            self.staged = Staged(self._reader.header, self._target)
            return False
        batch = self._kv.new_batch()
        put, prefix = batch.put, self._prefix
        for family, key, value in records:
            put(family, prefix + key, value)
        self._kv.write(batch)
        return True

    def run(self) -> Staged:
        """Do all steps; for tests and offline use."""
        while self.step():
            pass
        assert self.staged is not None
        return self.staged


def clear_stage(kv: KeyValueStore, epoch: int) -> bool:
    """Remove what an unfinished staging left in the epoch that is not in force; ``epoch`` is.

    Returns whether there was anything.
    """
    prefix = keys.epoch_prefix(1 - epoch)
    end = bytes((prefix[0] + 1,))
    found = any(
        next(kv.scan(family, prefix, end, limit=1), None) is not None for family in _FAMILIES
    )
    if found:
        batch = kv.new_batch()
        for family in _FAMILIES:
            batch.delete_range(family, prefix, end)
        kv.write(batch)
    return found


def install(batch: Batch, log_store: LogStore, staged: Staged, metadata: SnapshotMetadata) -> None:
    """Put into ``batch`` what makes a staged snapshot the node's state; then ``Applier.reload``.

    Entries of the same Ready go into the same batch, behind this. Nothing may be applied between
    this and ``reload``.

    Raises:
        SnapshotRefused: It is not the snapshot that ``metadata`` speaks of.
        raft.SnapshotOutOfDate: The node has applied more already.
    """
    header = staged.header
    if (header.index, header.term) != (metadata.index, metadata.term):
        raise SnapshotRefused(
            f"staged is the snapshot at index {header.index}, term {header.term}; to be installed"
            f" is the one at index {metadata.index}, term {metadata.term}"
        )
    log_store.install_snapshot(batch, metadata)
    old = keys.epoch_prefix(1 - staged.epoch)
    for family in _FAMILIES:
        batch.delete_range(family, old, bytes((old[0] + 1,)))
    log_store.set_epoch(batch, staged.epoch)
    log_store.set_addresses(batch, header.addresses)
    log_store.set_settings(batch, header.settings)
    log_store.set_applied(batch, header.applied)


def restore(
    kv: KeyValueStore,
    path: str | Path,
    identity: Identity,
    conf_state: ConfState,
    addresses: Mapping[int, str],
) -> LogStore:
    """Make a new node's store out of a snapshot file, with a configuration of its own. Blocks.

    Every first member of the restored group must be made from the same file, with the same cluster
    id, configuration and addresses. Give the group a new cluster id unless every old member is
    gone: two groups with one id could be joined by accident.

    Args:
        kv: An empty store, just created.
        path: The file.
        identity: Of the new node; the state machine must be the snapshot's.
        conf_state, addresses: Of the new group.

    Raises:
        SnapshotDamaged, SnapshotRefused: The file cannot be used; the store stays uninitialized.
    """
    with open(path, "rb") as stream:
        reader = StreamReader(stream)
        header = reader.header
        if header.state_machine != identity.state_machine:
            raise SnapshotRefused(
                f"the snapshot is of the state machine {header.state_machine!r}, not of"
                f" {identity.state_machine!r}; restore it with --state-machine"
                f" {header.state_machine}"
            )
        prefix = keys.epoch_prefix(1)
        for records in reader.chunks():
            batch = kv.new_batch()
            for family, key, value in records:
                batch.put(family, prefix + key, value)
            kv.write(batch)
    fresh = ConfState()
    fresh.CopyFrom(conf_state)
    return LogStore.restore(
        kv,
        identity,
        applied=header.applied,
        conf_state=fresh,
        addresses=addresses,
        settings=header.settings,
        epoch=1,
    )


def _check_header(header: SnapshotHeader, identity: Identity) -> None:
    if header.cluster_id != identity.cluster_id:
        raise SnapshotRefused(
            f"the snapshot is of cluster {header.cluster_id.hex()}, this node belongs to"
            f" {identity.cluster_id.hex()}; check which peer sent it"
        )
    if header.state_machine != identity.state_machine:
        raise SnapshotRefused(
            f"the snapshot is of the state machine {header.state_machine!r}, this node runs"
            f" {identity.state_machine!r}; check which peer sent it"
        )


# -- files -----------------------------------------------------------------------------------------


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
        self._stream.close()
        self._temporary.unlink(missing_ok=True)


class SnapshotReceiver:
    """Takes in a snapshot file piece by piece; a broken transfer goes on at ``offset``."""

    def __init__(self, directory: Path, manifest: SnapshotManifest) -> None:
        self.manifest = manifest
        self._directory = directory
        self._temporary = directory / f"{manifest.id}.part"
        self._stream = _create(self._temporary)
        self._hash = hashlib.sha256()
        #: Bytes that are here.
        self.offset = 0

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
        self._hash.update(data)
        self.offset += len(data)

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
        self._stream.close()
        self._temporary.unlink(missing_ok=True)


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
        directory: ``<data_dir>/snapshots``; made with mode 0700 if it is missing. Unfinished files
            of an earlier process are removed.
        keep: Complete snapshots to keep, the newest; at least 1.
    """

    def __init__(self, directory: str | Path, keep: int = 2) -> None:
        self._directory = Path(directory)
        self._keep = max(keep, 1)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._receivers: dict[str, SnapshotReceiver] = {}
        self._files: dict[str, SnapshotFile] = {}
        for path in sorted(self._directory.iterdir()):
            if path.suffix in (".tmp", ".part"):
                path.unlink()
            elif path.suffix == SUFFIX:
                # A file that cannot be read is no snapshot to offer; it stays for a look.
                with contextlib.suppress(SnapshotError, OSError):
                    self._files[path.stem] = _load(path)

    def begin(
        self, kv: KeyValueStore, log_store: LogStore, applier: Applier, created_ms: int = 0
    ) -> SnapshotWriter:
        """Begin a snapshot of the state as applied and written now. Call it between two writes."""
        view = kv.view(*_FAMILIES)
        header = header_of(log_store, applier, created_ms)
        return SnapshotWriter(self._directory, header, view, applier.epoch)

    def add(self, file: SnapshotFile) -> None:
        """Take a finished file into the list, and remove the oldest beyond what is kept."""
        self._files[file.id] = file
        self._receivers.pop(file.id, None)
        self.prune()

    def prune(self) -> None:
        """Remove all complete snapshots but the newest; one being sent stays readable."""
        for file in self.list()[self._keep :]:
            file.path.unlink(missing_ok=True)
            del self._files[file.id]

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

        Raises:
            SnapshotRefused: Its id is not one.
        """
        check_id(manifest.id)
        known = self._receivers.get(manifest.id)
        if known is not None and known.manifest == manifest:
            return known
        for receiver in self._receivers.values():
            receiver.abort()
        self._receivers.clear()
        receiver = self._receivers[manifest.id] = SnapshotReceiver(self._directory, manifest)
        return receiver

    def drop(self, receiver: SnapshotReceiver) -> None:
        """Give up an unfinished transfer for good."""
        self._receivers.pop(receiver.manifest.id, None)
        receiver.abort()

    def bytes(self) -> int:
        """Return the bytes of all complete snapshots."""
        return sum(file.size for file in self._files.values())


def _create(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=256 * 1024)


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
    temporary.replace(path)
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
