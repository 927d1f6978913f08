"""Exactly once by client key: the replicated table of first results.

A proposal may carry a key. The first entry with a key is applied and its result remembered; a later
one with the same key changes nothing and is answered with that result. The table is part of the
replicated state and of snapshots, so it holds whoever leads and wherever the retry arrives.

It is bounded by count and by age, both decided from replicated numbers alone: the oldest keys (by
first use; a retry does not renew) go when there are more than ``Settings.sessions_max``, or when
they are older in log time than ``Settings.session_ttl_ms``, or first used at or below the floor
that an ``ExpireSessions`` entry set. Log time is the greatest time a leader has stamped into the
log; it stands still between stamps, so a key lives for its age or a little longer, never shorter.

A key past its age or floor counts as unknown at once. Its record is removed a little later: each
new key removes at most two old ones, each control entry at most ``SWEEP_KEYS``, so that no single
entry takes long to apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from raftd import keys
from raftd.kvstore import Batch, ColumnFamily, CorruptionError, KeyValueStore
from raftd.settings import Settings

SWEEP_KEYS: Final = 1024
"""Old keys removed by one control entry."""

RESULT_BYTES_MAX: Final = 64 * 1024
"""A longer result is not remembered, only that the command was carried out and where."""

_SESSIONS = ColumnFamily.SESSIONS
_RECORD: Final = Struct(">QQQB")
_AGE: Final = Struct(">QQ")
_pack_u64 = keys.pack_u64


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What became of the first proposal with a key.

    Attributes:
        index, term: Of its entry.
        time_ms: Log time when it was applied.
        outcome: ``applier.Outcome`` as an int.
        result: The state machine's answer, or its refusal; None if it was too long to keep.
    """

    index: int
    term: int
    time_ms: int
    outcome: int
    result: bytes | None


@dataclass(slots=True)
class SessionCounters:
    """The part of the table that is stored with the applied position."""

    next: int = 0
    oldest: int = 0
    floor: int = 0


class Sessions:
    """The table of one node. Changes are held back until ``flush`` puts them into a batch."""

    def __init__(self, kv: KeyValueStore) -> None:
        self._kv = kv
        self._key_prefix = b""
        self._age_prefix = b""
        self._overlay: dict[bytes, bytes | None] = {}
        self._dirty: dict[bytes, bytes | None] = {}
        self.counters = SessionCounters()
        # (index, time) of the oldest key; None: not looked up.
        self._oldest: tuple[int, int] | None = None

    def open(self, epoch: int, counters: SessionCounters) -> None:
        """Begin with the table stored under ``epoch``."""
        prefix = keys.epoch_prefix(epoch)
        self._key_prefix = prefix + keys.SESSION_BY_KEY
        self._age_prefix = prefix + keys.SESSION_BY_AGE
        self.counters = counters
        self._overlay.clear()
        self._dirty.clear()
        self._oldest = None

    def __len__(self) -> int:
        """Return the number of keys remembered, those about to be removed included."""
        return self.counters.next - self.counters.oldest

    def lookup(self, key: bytes, now_ms: int, settings: Settings) -> SessionRecord | None:
        """Return what became of the first proposal with ``key``; None if it is not remembered.

        Args:
            key: The client's key.
            now_ms: Log time.
            settings: The group's.
        """
        data = self._get(self._key_prefix + key)
        if data is None:
            return None
        record = _decode(data)
        if record.index <= self.counters.floor or _expired(record.time_ms, now_ms, settings):
            return None
        return record

    def remains(self, key: bytes) -> bool:
        """Return whether there is a record of ``key``, be it too old to count."""
        return self._get(self._key_prefix + key) is not None

    def forgotten_index(self, applied: int) -> int:
        """Return the index up to which keys first used have been forgotten; 0: none ever was.

        Args:
            applied: The applied index.
        """
        counters = self.counters
        if not counters.oldest:
            return counters.floor
        if counters.oldest >= counters.next:
            return applied
        index, _, _ = self._aged(counters.oldest)
        return max(counters.floor, index - 1)

    def record(self, key: bytes, record: SessionRecord, settings: Settings) -> None:
        """Remember the outcome of a new key, and forget the oldest if there are too many."""
        counters = self.counters
        number = counters.next
        result = record.result
        if result is None or len(result) > RESULT_BYTES_MAX:
            flags, result = record.outcome | 0x80, b""
        else:
            flags = record.outcome
        by_key = self._key_prefix + key
        # An expired record of the same key may still be there: it is replaced, and the sweep, when
        # it comes to the old number, tells by the index that the record is no longer that one.
        self._set(by_key, _RECORD.pack(record.index, record.term, record.time_ms, flags) + result)
        self._set(
            self._age_prefix + _pack_u64(number), _AGE.pack(record.index, record.time_ms) + key
        )
        counters.next = number + 1
        self._sweep(record.time_ms, settings, 2)

    def expire_up_to(self, index: int) -> None:
        """Let keys first used at or below ``index`` count as unknown."""
        self.counters.floor = max(self.counters.floor, index)

    def sweep(self, now_ms: int, settings: Settings) -> None:
        """Remove some of the keys that count as unknown, or are too many."""
        self._sweep(now_ms, settings, SWEEP_KEYS)

    def _sweep(self, now_ms: int, settings: Settings, limit: int) -> None:
        counters = self.counters
        for _ in range(limit):
            if counters.oldest >= counters.next:
                return
            if self._oldest is None:
                index, time_ms, _ = self._aged(counters.oldest)
                self._oldest = (index, time_ms)
            index, time_ms = self._oldest
            if not (
                counters.next - counters.oldest > settings.sessions_max
                or index <= counters.floor
                or _expired(time_ms, now_ms, settings)
            ):
                return
            _, _, key = self._aged(counters.oldest)
            by_key = self._key_prefix + key
            data = self._get(by_key)
            if data is not None and _decode(data).index == index:
                self._set(by_key, None)
            self._set(self._age_prefix + _pack_u64(counters.oldest), None)
            counters.oldest += 1
            self._oldest = None

    def _aged(self, number: int) -> tuple[int, int, bytes]:
        data = self._get(self._age_prefix + _pack_u64(number))
        if data is None or len(data) < _AGE.size:
            raise CorruptionError(
                f"client key number {number} is missing from the store; retries could be applied"
                " twice; remove this node from the group and add it again under a new id"
            )
        index, time_ms = _AGE.unpack_from(data)
        return index, time_ms, data[_AGE.size :]

    def _get(self, stored_key: bytes) -> bytes | None:
        overlay = self._overlay
        if stored_key in overlay:
            return overlay[stored_key]
        return self._kv.get(_SESSIONS, stored_key)

    def _set(self, stored_key: bytes, value: bytes | None) -> None:
        self._overlay[stored_key] = value
        self._dirty[stored_key] = value

    def flush(self, batch: Batch) -> None:
        """Put all changes since the last flush into ``batch``."""
        for stored_key, value in self._dirty.items():
            if value is None:
                batch.delete(_SESSIONS, stored_key)
            else:
                batch.put(_SESSIONS, stored_key, value)
        self._dirty.clear()

    def settle(self) -> None:
        """Forget what ``flush`` put, because it has been written."""
        self._overlay.clear()


def _expired(time_ms: int, now_ms: int, settings: Settings) -> bool:
    ttl = settings.session_ttl_ms
    return ttl > 0 and now_ms - time_ms > ttl


def _decode(data: bytes) -> SessionRecord:
    if len(data) < _RECORD.size:
        raise CorruptionError(
            f"the record of a client key has {len(data)} bytes; the store is damaged; remove this"
            " node from the group and add it again under a new id"
        )
    index, term, time_ms, flags = _RECORD.unpack_from(data)
    result = None if flags & 0x80 else data[_RECORD.size :]
    return SessionRecord(index, term, time_ms, flags & 0x7F, result)
