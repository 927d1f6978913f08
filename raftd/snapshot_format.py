"""The format of a snapshot: one checked stream, written and read a chunk at a time.

``RAFTSNAP``, version, a JSON header (cluster, index, term, configuration, addresses, state machine,
applied position, settings); then chunks, each behind its length and CRC-32, of (family, key, value)
records; an empty chunk; the number of records and the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final

from google.protobuf.message import DecodeError

from raft.eraftpb import ConfState, SnapshotMetadata
from raftd import keys
from raftd.kvstore import UNREADABLE, ColumnFamily, View
from raftd.settings import Settings
from raftd.storage import AppliedState

MAGIC: Final = b"RAFTSNAP"
VERSION: Final = 1
CHUNK_BYTES: Final = 64 * 1024
"""Size at which a chunk ends: some 0.3 ms of work, so steps can run between a node's other work."""

CHUNK_BYTES_MAX: Final = 64 * 1024 * 1024
HEADER_BYTES_MAX: Final = 4 * 1024 * 1024
FAMILIES: Final = (ColumnFamily.STATE, ColumnFamily.SESSIONS)
"""What a snapshot holds."""

_PREAMBLE: Final = Struct(">8sHI")
_CHUNK: Final = Struct(">II")
_RECORD: Final = Struct(">BII")
_COUNT: Final = Struct(">Q")


class SnapshotError(Exception):
    """Base of what can be wrong with a snapshot."""


class SnapshotDamaged(SnapshotError):
    """The file is not what was written: cut short, or bytes have changed. Do not use it."""


class SnapshotRefused(SnapshotError):
    """The snapshot is sound but not for this node: another group, machine or version."""


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
        except (*UNREADABLE, DecodeError) as error:
            raise SnapshotDamaged(f"the snapshot's header cannot be read ({error})") from error


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What ``inspect`` and ``verify`` found."""

    header: SnapshotHeader
    size: int
    records: int
    state_bytes: int
    sha256: bytes


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
    for family in FAMILIES:
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
        if end > len(payload) or family not in FAMILIES:
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
