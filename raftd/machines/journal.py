"""A bounded history of numbered records inside a state machine's state.

``log`` keeps its applied entries in one, ``kv`` its changes for those who watch. Records of
commands that are applied together are stored in one piece, a chunk, so a record costs little more
than its bytes. Which records are kept depends on the records alone; how they are cut into chunks
differs from member to member and is nobody's business.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

from raftd.kvstore import CorruptionError
from raftd.state_machine import ApplyContext, HistoryCompacted, Reader

CHUNK_BYTES: Final = 64 * 1024
"""A chunk ends when it has grown to this."""

RECENT_BYTES: Final = 1024 * 1024
"""Newest chunks kept in memory, for the many readers that follow closely."""

_HEADER: Final = Struct(">QQI")
_STATE: Final = Struct(">QQQQ")
_NUMBER: Final = Struct(">Q")
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from
_HEADER_BYTES: Final = _HEADER.size


class Record(NamedTuple):
    """One record: its number, the log time it was made at, its bytes."""

    number: int
    time_ms: int
    payload: bytes


class Page(NamedTuple):
    """Records in order; ``next`` is where to go on, ``more`` whether there is more already."""

    records: list[Record]
    next: int
    more: bool


_Old = tuple[int, int, int, bytes]
"""What forgetting a record takes: its number, its log time, its bytes with those that it refers to,
and its payload if it refers to any, else nothing. A bare tuple: one is made for every put."""


class Journal:
    """Numbered records, oldest forgotten first.

    Args:
        prefix: Of the journal's keys in the machine's state; nothing else may begin with it.
        first: The least number a record may have.
        apart: Returns how many bytes a payload refers to that the machine keeps elsewhere for it;
            they count as the record's own.
        forgotten: Called with the context, number and payload of each record that is forgotten and
            refers to such bytes.
    """

    def __init__(
        self,
        prefix: bytes,
        first: int = 1,
        apart: Callable[[bytes], int] | None = None,
        forgotten: Callable[[ApplyContext, int, bytes], None] | None = None,
    ) -> None:
        self._apart = apart if apart is not None else _nothing_apart
        self._forgotten = forgotten
        self._chunk_prefix = prefix + b"c"
        self._chunk_end = prefix + b"d"
        self._state_key = prefix + b"s"
        self._least = first
        #: Records below this number are forgotten.
        self.first = first
        #: Number of the newest record; ``first - 1`` if there never was one.
        self.last = first - 1
        #: Records kept, and the bytes of their payloads, with what these refer to.
        self.count = 0
        self.bytes = 0
        self._pending: list[bytes] = []
        # What is not forgotten of the oldest stored chunk, newest first, and its key; empty: it was
        # not looked at.
        self._head: list[_Old] = []
        self._head_key = b""
        # First numbers of the chunks stored since `open`, but for the oldest once it is loaded, and
        # how many records are kept from before it.
        self._chunks: deque[int] = deque()
        self._unlisted = 0
        # Where the chunks begin: a search from further back would step over every deleted one.
        self._begin = self._chunk_prefix
        self._stored = 0
        self._recent: deque[tuple[int, int, bytes]] = deque()
        self._recent_bytes = 0
        self._changed = False

    def open(self, reader: Reader) -> None:
        """Load the counters."""
        state = reader.get(self._state_key)
        if state is None:
            self.first, self.last, self.count, self.bytes = self._least, self._least - 1, 0, 0
        elif len(state) != _STATE.size:
            raise _damaged("its counters are cut short")
        else:
            self.first, self.last, self.count, self.bytes = _STATE.unpack(state)
        self._pending = []
        self._head = []
        self._chunks.clear()
        self._begin = self._chunk_prefix
        self._stored = self._unlisted = self.count
        self._recent.clear()
        self._recent_bytes = 0
        self._changed = False

    # -- writing ---------------------------------------------------------------------------------

    def append(self, number: int, time_ms: int, payload: bytes) -> None:
        """Add a record, numbered above all before it; ``trim`` and ``flush`` must follow."""
        size = len(payload)
        self._pending.append(_pack_header(number, time_ms, size) + payload)
        self.last = number
        self.count += 1
        self.bytes += size + self._apart(payload)
        self._changed = True

    def append_parts(
        self, number: int, time_ms: int, size: int, first: bytes, second: bytes, third: bytes
    ) -> None:
        """As ``append``, of a payload of ``size`` bytes in three parts that has all its bytes.

        Nearly every put adds such a record; joined at once, it takes half of the time (0.5 us).
        """
        header = _pack_header(number, time_ms, size)
        self._pending.append(b"".join((header, first, second, third)))
        self.last = number
        self.count += 1
        self.bytes += size
        self._changed = True

    def trim(self, context: ApplyContext) -> None:
        """Forget the oldest records as far as the settings ask for it."""
        settings = context.settings
        count = settings.history_count
        size = settings.history_bytes
        age = settings.history_age_ms
        if not age and (not count or self.count <= count) and (not size or self.bytes <= size):
            return
        oldest_ms = context.log_time_ms - age if age else -1
        while self.count:
            if self._stored:
                number, time_ms, taken, payload = (self._head or self._load_head(context))[-1]
            else:
                number, time_ms, taken, payload = self._old(self._pending[0], 0)[0]
            if not (
                (count and self.count > count)
                or (size and self.bytes > size and self.count > 1)
                or time_ms < oldest_ms
            ):
                return
            self.count -= 1
            self.bytes -= taken
            self.first = number + 1
            self._changed = True
            if self._stored:
                self._stored -= 1
                if self._unlisted:
                    self._unlisted -= 1
                self._head.pop()
                if not self._head:
                    context.delete(self._head_key)
                    self._begin = self._head_key + b"\x00"
            else:
                del self._pending[0]
            if payload and self._forgotten is not None:
                self._forgotten(context, number, payload)

    def _old(self, chunk: bytes, least: int) -> list[_Old]:
        """Return what forgetting the records of ``chunk`` from number ``least`` on takes.

        All at once, as that costs half of what it does one by one.
        """
        found: list[_Old] = []
        at, end = 0, len(chunk)
        while at < end:
            number, time_ms, payload, at = _record_at(chunk, at)
            if number >= least:
                apart = self._apart(payload)
                found.append((number, time_ms, len(payload) + apart, payload if apart else b""))
        return found

    def _load_head(self, context: ApplyContext) -> list[_Old]:
        """Read what of the oldest chunk is not forgotten."""
        self._head_key, chunk = self._oldest_chunk(context)
        self._head = found = self._old(chunk, self.first)
        if not found:
            raise _damaged("a chunk is missing")
        found.reverse()
        return found

    def _oldest_chunk(self, context: ApplyContext) -> tuple[bytes, bytes]:
        if not self._unlisted and self._chunks:
            key = self._chunk_prefix + _NUMBER.pack(self._chunks.popleft())
            chunk = context.get(key)
            if chunk is not None:
                return key, chunk
        else:
            for key, chunk in context.scan(self._begin, self._chunk_end, limit=1):
                return key, chunk
        raise _damaged("a chunk is missing")

    def flush(self, context: ApplyContext) -> None:
        """Store the records added since the last flush, and the counters."""
        if not self._changed:
            return
        self._changed = False
        pending = self._pending
        start = 0
        first = 0
        size = 0
        for position, record in enumerate(pending):
            if position == start:
                first = _unpack_header(record)[0]
            size += len(record)
            if size >= CHUNK_BYTES or position + 1 == len(pending):
                chunk = b"".join(pending[start : position + 1])
                context.put(self._chunk_prefix + _NUMBER.pack(first), chunk)
                self._chunks.append(first)
                self._recent.append((first, _unpack_header(record)[0], chunk))
                self._recent_bytes += len(chunk)
                start = position + 1
                size = 0
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft()[2])
        self._stored += len(pending)
        self._pending = []
        context.put(self._state_key, _STATE.pack(self.first, self.last, self.count, self.bytes))

    # -- reading ---------------------------------------------------------------------------------

    def read(
        self, reader: Reader, start: int, count_max: int = 1000, bytes_max: int = 256 * 1024
    ) -> Page:
        """Return records from number ``start`` on; at least one, if there is one.

        Raises:
            HistoryCompacted: Records from ``start`` on are forgotten.
        """
        if start < self.first:
            raise HistoryCompacted(start, self.first)
        records: list[Record] = []
        if start > self.last:
            return Page(records, start, more=False)
        left = bytes_max
        for record in self._from(reader, start):
            left -= len(record.payload) + self._apart(record.payload)
            if records and left < 0:
                break
            records.append(record)
            if len(records) >= count_max:
                break
        following = records[-1].number + 1 if records else self.last + 1
        return Page(records, following, more=following <= self.last)

    def get(self, reader: Reader, number: int) -> Record | None:
        """Return the record of this number, or None if it is forgotten or never was."""
        if not self.first <= number <= self.last:
            return None
        for record in self._from(reader, number):
            return record if record.number == number else None
        return None

    def _from(self, reader: Reader, start: int) -> Iterator[Record]:
        if self._recent and self._recent[0][0] <= start:
            for _, last, chunk in list(self._recent):
                if last >= start:
                    yield from (record for record in _records(chunk) if record.number >= start)
            return
        begin = self._chunk_prefix + _NUMBER.pack(start)
        # The chunk that holds `start` may begin before it, at most a chunk's worth of records: the
        # nearest chunk at or below is found by halving, for there is no way to look backwards.
        floor = self._chunk_at_or_below(reader, start)
        for _, chunk in reader.scan(floor if floor is not None else begin, self._chunk_end):
            yield from (record for record in _records(chunk) if record.number >= start)

    def _chunk_at_or_below(self, reader: Reader, number: int) -> bytes | None:
        low, high = self._least, number
        found: bytes | None = None
        while low <= high:
            middle = (low + high) // 2
            begin = self._chunk_prefix + _NUMBER.pack(middle)
            end = self._chunk_prefix + _NUMBER.pack(number + 1)
            key = next((key for key, _ in reader.scan(begin, end, limit=1)), None)
            if key is None:
                high = middle - 1
            else:
                found = key
                low = _NUMBER.unpack(key[len(self._chunk_prefix) :])[0] + 1
        return found

    def digest(self, reader: Reader) -> bytes:
        """Return a hash over all records kept, however they are cut into chunks."""
        total = hashlib.blake2b(digest_size=16)
        total.update(_STATE.pack(self.first, self.last, self.count, self.bytes))
        for _, chunk in reader.scan(self._chunk_prefix, self._chunk_end):
            for record in _records(chunk):
                if record.number >= self.first:
                    total.update(_pack_header(record.number, record.time_ms, len(record.payload)))
                    total.update(record.payload)
        return total.digest()

    def bounds(self) -> dict[str, Any]:
        """Return what is kept, by name."""
        return {"first": self.first, "last": self.last, "count": self.count, "bytes": self.bytes}


def _nothing_apart(payload: bytes) -> int:
    return 0


def _record_at(chunk: bytes, at: int) -> tuple[int, int, bytes, int]:
    """Return number, log time and payload of the record at ``at``, and where it ends."""
    start = at + _HEADER_BYTES
    if start > len(chunk):
        raise _damaged("a record is cut short")
    number, time_ms, length = _unpack_header(chunk, at)
    end = start + length
    if end > len(chunk):
        raise _damaged("a record is cut short")
    return number, time_ms, chunk[start:end], end


def _records(chunk: bytes) -> Iterator[Record]:
    at = 0
    while at < len(chunk):
        number, time_ms, payload, at = _record_at(chunk, at)
        yield Record(number, time_ms, payload)


def _damaged(what: str) -> CorruptionError:
    return CorruptionError(
        f"the state machine's history is damaged: {what}; this node must not serve from it;"
        " remove it from the group and add it again under a new id"
    )
