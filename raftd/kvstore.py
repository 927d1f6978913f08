"""What the daemon's storage asks of a key-value store, and how such a store fails.

``rocks.RocksStore`` is the real one, ``memory_store.MemoryStore`` the one that tests and the
simulator crash. All writes go through one ordered journal: after a crash a store holds a prefix of
its batches, each whole or absent, and at least all that preceded the last ``sync``.

Errors::

    StoreError
    |-- CorruptionError    what is read is not what was written: stop, never serve or vote from it
    |-- StoreReadError     the disk refuses to read: stop
    |-- StoreWriteError    a write or sync failed, its outcome is unknown: stop, never retry
    |-- StoreClosed        used after close or after a crash of the simulated disk
    |-- LockedError        another process uses the data directory
    `-- DataDirError       the data directory cannot be used as it is (owner, mode, missing)
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

UNREADABLE: Final = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What reading damaged or hostile JSON into values can raise: numbers may be infinite, and
brackets nested without end."""


class StoreError(Exception):
    """Base of all errors of the daemon's stores."""


class CorruptionError(StoreError):
    """Bytes on disk are not those that were written.

    The node must stop: it may neither vote nor serve from such a store. The way out is to remove
    the node from its group and add it again, empty, under a new id.
    """


class StoreReadError(StoreError):
    """The system refused a read (EIO, no descriptors left); nothing is known of the data."""


class StoreWriteError(StoreError):
    """A write or a sync failed; whether it took effect is unknown.

    Latched: every later write fails with the same error. A retried fsync that succeeds proves
    nothing, so the process must end and recover from what the disk holds.
    """


class StoreClosed(StoreError):
    """The store was closed before."""


class LockedError(StoreError):
    """Another process uses the data directory; ``pid`` is its id, or None if it did not say."""

    def __init__(self, path: str, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"data directory {path} is in use by {who}; two nodes on one directory would destroy"
            " it; stop that process, or give this node its own --data-dir"
        )
        self.path = path
        self.pid = pid


class DataDirError(StoreError):
    """The data directory cannot be used: missing, not ours, or open to others."""


class ColumnFamily(enum.IntEnum):
    """The four key spaces. IntEnum, so that a lookup by family costs what one by int does."""

    LOG = 0  # Raft entries by index.
    META = 1  # Identity, hard state, configuration, applied position.
    STATE = 2  # The state machine's records.
    SESSIONS = 3  # Results by client key.


@dataclass(frozen=True, slots=True)
class Position:
    """How far a store's journal has come; both numbers only ever grow.

    Attributes:
        sequence: Writes so far.
        wal: Number of the newest write-ahead file; 0 where there is none.
    """

    sequence: int
    wal: int


class Batch(Protocol):
    """Changes that take effect together or not at all, in the order they were put here."""

    def put(self, cf: ColumnFamily, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        ...

    def put_all(self, cf: ColumnFamily, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each key to its value, in this order."""
        ...

    def delete(self, cf: ColumnFamily, key: bytes) -> None:
        """Remove ``key``; nothing happens if it is absent."""
        ...

    def delete_range(self, cf: ColumnFamily, start: bytes, end: bytes) -> None:
        """Remove every key in ``[start, end)``."""
        ...

    def __len__(self) -> int:
        """Return the number of changes; 0 means that writing it would do nothing."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes the batch will take in the journal, roughly."""
        ...


class View(Protocol):
    """The store as it was at one moment, for a reader that takes its time.

    May be read from another thread than the store's; by one thread at a time.
    """

    def scan(self, cf: ColumnFamily, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs in ``[start, end)`` by key.

        Raises:
            CorruptionError: A block did not match its checksum.
        """
        ...

    def close(self) -> None:
        """Let go of what the view pins. Needed, or the store keeps deleted data on disk."""
        ...


class KeyValueStore(Protocol):
    """An ordered key-value store with atomic batches and one journal for all families."""

    def get(self, cf: ColumnFamily, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None.

        Raises:
            CorruptionError: The stored block does not match its checksum.
        """
        ...

    def scan(
        self,
        cf: ColumnFamily,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int = 0,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with keys in ``[start, end)`` in key order, as of the first step.

        Args:
            cf: The family to read.
            start, end: Half-open range; ``end`` None: to the last key.
            limit: At most so many pairs; 0: all.
            reverse: From the last to the first.

        Raises:
            CorruptionError: A block did not match its checksum. Raised during iteration: a scan
                that ended without an error is complete.
        """
        ...

    def new_batch(self) -> Batch:
        """Return an empty batch for ``write`` of this store."""
        ...

    def write(self, batch: Batch) -> None:
        """Apply ``batch``: visible at once, durable with the next ``sync``; waits for no disk.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        ...

    def write_ahead(self, batch: Batch) -> None:
        """Apply ``batch``, of puts, past the journal: only ``flush_family`` makes it durable.

        Visible at once. Any of it may be durable sooner, and it has no place in the order of other
        batches: for large values that nothing durable refers to before that flush. Waits for no
        disk.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        ...

    def flush_family(self, cf: ColumnFamily) -> None:
        """Make durable all of ``cf`` that was written before the call, in table files.

        Blocks; may run in a worker thread.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        ...

    def sync(self) -> None:
        """Make durable all that was written before the call. Blocks; may run in a worker thread.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        ...

    def flush(self) -> None:
        """Write what is in memory to table files: it then survives a lost journal. Blocks."""
        ...

    def view(self, *families: ColumnFamily) -> View:
        """Return the present contents of ``families`` as a view. Call it between two writes."""
        ...

    def compact(self, cf: ColumnFamily, start: bytes | None, end: bytes | None) -> None:
        """Give back the space of deleted keys in the range. Blocks; meant for a worker thread."""
        ...

    def checkpoint(self, path: str) -> None:
        """Make a complete, consistent copy at ``path``, which must not exist. Blocks."""
        ...

    def side_read(self, name: str) -> bytes | None:
        """Return the small file ``name`` kept beside the database, or None."""
        ...

    def side_write(self, name: str, data: bytes) -> None:
        """Replace the small file ``name`` atomically and durably.

        Blocks; may run in a worker thread.
        """
        ...

    def side_delete(self, name: str) -> None:
        """Remove the small file ``name``, durably, if it is there."""
        ...

    @property
    def recovered(self) -> Position:
        """How far the journal reached when the store was opened."""
        ...

    def position(self) -> Position:
        """Return how far the journal has come; a restart finds at least that."""
        ...

    @property
    def failure(self) -> StoreWriteError | None:
        """The latched write error, if one happened."""
        ...

    def disk_usage(self) -> int:
        """Return the bytes the store's files take."""
        ...

    def free_bytes(self) -> int:
        """Return the bytes free on the store's file system for this process."""
        ...

    def close(self) -> None:
        """Close the store. Everything written is made durable unless a write has failed."""
        ...
