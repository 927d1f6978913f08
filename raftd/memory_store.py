"""A key-value store in memory with an explicit line between what is synced and what is not.

It stands for a store *and* its disk: ``crash`` drops what was not durable and returns the store
that a restarted process would find, so tests and the simulator can cut power at every step. As on
RocksDB, batches are atomic and ordered: a crash leaves a prefix of them.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from raftd.kvstore import (
    Batch,
    ColumnFamily,
    Position,
    StoreClosed,
    StoreWriteError,
)

FREE_BYTES: Final = 1 << 40
"""What ``free_bytes`` answers unless a test sets ``MemoryStore.free``."""

_Op = tuple[int, ColumnFamily, bytes, bytes]
_PUT, _DELETE, _DELETE_RANGE = 0, 1, 2


class MemoryBatch:
    """Changes in the order they were put."""

    __slots__ = ("ops", "size_bytes")

    def __init__(self) -> None:
        self.ops: list[_Op] = []
        self.size_bytes = 0

    def put(self, cf: ColumnFamily, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        self.ops.append((_PUT, cf, key, value))
        self.size_bytes += len(key) + len(value)

    def put_all(self, cf: ColumnFamily, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each key to its value."""
        for key, value in pairs:
            self.put(cf, key, value)

    def delete(self, cf: ColumnFamily, key: bytes) -> None:
        """Remove ``key``."""
        self.ops.append((_DELETE, cf, key, b""))
        self.size_bytes += len(key)

    def delete_range(self, cf: ColumnFamily, start: bytes, end: bytes) -> None:
        """Remove every key in ``[start, end)``."""
        self.ops.append((_DELETE_RANGE, cf, start, end))
        self.size_bytes += len(start) + len(end)

    def __len__(self) -> int:
        return len(self.ops)


class _Table:
    """One family: a dict for lookups and its keys in order for scans."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            keys = self.keys
            # Log entries come in order: appending is the common case.
            if keys and keys[-1] > key:
                insort(keys, key)
            else:
                keys.append(key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def span(self, start: bytes, end: bytes | None) -> tuple[int, int]:
        low = bisect_left(self.keys, start)
        high = len(self.keys) if end is None else bisect_left(self.keys, end)
        return low, max(low, high)


class _MemoryView:
    def __init__(self, tables: dict[ColumnFamily, list[tuple[bytes, bytes]]]) -> None:
        self._tables = tables

    def scan(self, cf: ColumnFamily, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        pairs = self._tables[cf]
        for position in range(bisect_left(pairs, (start, b"")), len(pairs)):
            if pairs[position][0] >= end:
                return
            yield pairs[position]

    def close(self) -> None:
        self._tables = {}


class MemoryStore:
    """``KeyValueStore`` without a disk. Not for use by two threads."""

    def __init__(self) -> None:
        self._tables = [_Table() for _ in ColumnFamily]
        # What undoes each batch that is not synced, oldest first: (family, key, value before).
        self._undo: list[list[tuple[ColumnFamily, bytes, bytes | None]]] = []
        self._side: dict[str, bytes] = {}
        self._sequence = 0
        self._recovered = Position(0, 0)
        self._failure: StoreWriteError | None = None
        self._closed = False
        #: Fail the next write or sync with this text. As on a disk, the store then stays failed.
        self.fail_write: str | None = None
        self.fail_sync: str | None = None
        #: Called with the name of each step that changes the disk, before it happens: "write",
        #: "write_ahead", "sync", "side_write", "side_delete", "flush", "flush_family". A test
        #: raises from it to stop the process right there.
        self.on_step: Callable[[str], None] | None = None
        self.free = FREE_BYTES

    # -- reads -----------------------------------------------------------------------------------

    def get(self, cf: ColumnFamily, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        if self._closed:
            self._refuse_closed()
        return self._tables[cf].values.get(key)

    def scan(
        self,
        cf: ColumnFamily,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int = 0,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of ``[start, end)`` as they were when the scan began."""
        if self._closed:
            self._refuse_closed()
        table = self._tables[cf]
        low, high = table.span(start, end)
        if limit and high - low > limit:
            low, high = (high - limit, high) if reverse else (low, low + limit)
        keys = table.keys[low:high]
        if reverse:
            keys.reverse()
        return iter([(key, table.values[key]) for key in keys])

    def view(self, *families: ColumnFamily) -> _MemoryView:
        """Return a copy of ``families`` as they are now."""
        return _MemoryView({family: list(self.scan(family)) for family in families})

    # -- writes ----------------------------------------------------------------------------------

    def new_batch(self) -> Batch:
        """Return an empty batch."""
        return MemoryBatch()

    def write(self, batch: Batch) -> None:
        """Apply ``batch``; it is not durable until ``sync``."""
        self._step("write")
        if not isinstance(batch, MemoryBatch):
            raise TypeError(f"a batch of another store: {type(batch).__name__}")
        if self.fail_write is not None:
            self._latch(self.fail_write)
        if not batch.ops:
            return
        undo: list[tuple[ColumnFamily, bytes, bytes | None]] = []
        for kind, cf, key, value in batch.ops:
            table = self._tables[cf]
            if kind == _PUT:
                undo.append((cf, key, table.values.get(key)))
                table.put(key, value)
            elif kind == _DELETE:
                undo.append((cf, key, table.values.get(key)))
                table.delete(key)
            else:
                low, high = table.span(key, value)
                doomed = table.keys[low:high]
                undo.extend((cf, each, table.values[each]) for each in doomed)
                del table.keys[low:high]
                for each in doomed:
                    del table.values[each]
        self._undo.append(undo)
        self._sequence += 1

    def write_ahead(self, batch: Batch) -> None:
        """Apply ``batch`` of puts, durable at once: what a crash keeps of it is left to chance."""
        self._step("write_ahead")
        if not isinstance(batch, MemoryBatch):
            raise TypeError(f"a batch of another store: {type(batch).__name__}")
        if self.fail_write is not None:
            self._latch(self.fail_write)
        for _, cf, key, value in batch.ops:
            self._tables[cf].put(key, value)

    def flush_family(self, cf: ColumnFamily) -> None:
        """Do nothing: what was written ahead is durable."""
        self._step("flush_family")

    def sync(self) -> None:
        """Make all written batches durable."""
        self._step("sync")
        if self.fail_sync is not None:
            self._latch(self.fail_sync)
        self._undo.clear()

    def flush(self) -> None:
        """Do what ``sync`` does: there are no table files here."""
        self._step("flush")
        self._undo.clear()

    def side_read(self, name: str) -> bytes | None:
        """Return the side file ``name``, or None."""
        return self._side.get(name)

    def side_write(self, name: str, data: bytes) -> None:
        """Replace the side file ``name``: durable at once."""
        self._step("side_write")
        if self.fail_write is not None:
            self._latch(self.fail_write)
        self._side[name] = data

    def side_delete(self, name: str) -> None:
        """Remove the side file ``name``: durable at once."""
        self._step("side_delete")
        self._side.pop(name, None)

    # -- the disk's side -------------------------------------------------------------------------

    @property
    def unsynced(self) -> int:
        """Batches written since the last sync: how many ``crash`` may keep."""
        return len(self._undo)

    def crash(self, keep: int = 0) -> MemoryStore:
        """Cut the power: return the store that the next process finds. This one is unusable then.

        Args:
            keep: How many unsynced batches made it to the disk, oldest first; the rest is gone.
        """
        if not 0 <= keep <= len(self._undo):
            raise ValueError(f"keep={keep}, but {len(self._undo)} batches are unsynced")
        for undo in reversed(self._undo[keep:]):
            for cf, key, before in reversed(undo):
                if before is None:
                    self._tables[cf].delete(key)
                else:
                    self._tables[cf].put(key, before)
        survivor = MemoryStore()
        survivor._tables = self._tables
        survivor._side = self._side
        survivor._sequence = self._sequence - len(self._undo) + keep
        survivor._recovered = Position(survivor._sequence, 0)
        survivor.free = self.free
        self._tables = [_Table() for _ in ColumnFamily]
        self._closed = True
        return survivor

    def clone(self) -> MemoryStore:
        """Return an independent copy, unsynced batches included."""
        twin = MemoryStore()
        twin._tables = copy.deepcopy(self._tables)
        twin._undo = copy.deepcopy(self._undo)
        twin._side = dict(self._side)
        twin._sequence = self._sequence
        twin._recovered = self._recovered
        twin.free = self.free
        return twin

    def corrupt(self, cf: ColumnFamily, key: bytes, bit: int = 0) -> None:
        """Flip one bit of a stored value, behind the store's back."""
        value = bytearray(self._tables[cf].values[key])
        value[bit // 8] ^= 1 << (bit % 8)
        self._tables[cf].values[key] = bytes(value)

    # -- the rest --------------------------------------------------------------------------------

    def compact(self, cf: ColumnFamily, start: bytes | None, end: bytes | None) -> None:
        """Do nothing: deleted keys take no space here."""

    def checkpoint(self, path: str) -> None:
        """Refuse: there are no files to copy."""
        raise NotImplementedError("a store in memory has no files; use clone()")

    @property
    def recovered(self) -> Position:
        """How far the journal reached when the store was made or survived a crash."""
        return self._recovered

    def position(self) -> Position:
        """Return the number of batches written."""
        return Position(self._sequence, 0)

    @property
    def failure(self) -> StoreWriteError | None:
        """The latched write error."""
        return self._failure

    def disk_usage(self) -> int:
        """Return the bytes of all keys and values."""
        return sum(
            len(key) + len(value) for table in self._tables for key, value in table.values.items()
        )

    def free_bytes(self) -> int:
        """Return ``free``."""
        return self.free

    def close(self) -> None:
        """Sync, unless a write has failed; then refuse all else."""
        if not self._closed and self._failure is None:
            self._undo.clear()
        self._closed = True

    def reopen(self) -> MemoryStore:
        """Return the store that a process finds after this one was closed."""
        return self.crash(len(self._undo))

    def _step(self, name: str) -> None:
        if self._closed:
            self._refuse_closed()
        if self._failure is not None:
            raise self._failure
        if self.on_step is not None:
            self.on_step(name)

    def _latch(self, text: str) -> None:
        self._failure = StoreWriteError(
            f"the disk refused a write ({text}); its outcome is unknown, so the node must stop;"
            " repair the disk or free space, then start it again"
        )
        raise self._failure

    def _refuse_closed(self) -> None:
        raise StoreClosed("the store is closed; open it again")
