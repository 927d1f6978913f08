"""The part of the log that is not in the storage yet."""

from __future__ import annotations

from collections.abc import Sequence

from raft.eraftpb import Entry, Snapshot
from raft.invariant import fatal
from raft.logger import NULL_LOGGER, Logger
from raft.util import fitting_count

# Fewer dead entries than this at the head of the list are not worth moving the others for.
_TRIM_AT_LEAST = 1024


class Unstable:
    """Entries, and at most one snapshot, that were received but not handed to the storage.

    The entry `entries[i]` has the log position `offset + i`. `offset` may be less than the
    storage's last index: then the next write to the storage replaces what is there from `offset`
    on. Taking entries off the front takes time by what is taken, not by what is left.

    Attributes:
        snapshot: Received, not stored yet; None if there is none.
        offset: The log position of the first unstable entry, or of the next one to come.
        next_index: The log position after the last entry; `offset` if there is none.
        last_term: The term of the entry at `next_index - 1`, whether stable or not.
    """

    __slots__ = (
        "_base",
        "_fit_count",
        "_fit_range",
        "_logger",
        "_window",
        "last_term",
        "next_index",
        "offset",
        "snapshot",
    )

    def __init__(self, offset: int, logger: Logger = NULL_LOGGER, last_term: int = 0) -> None:
        self.snapshot: Snapshot | None = None
        self.offset = offset
        self.next_index = offset
        self.last_term = last_term
        # The entry at index i is _window[i - _base]; those below offset are stable and wait to
        # be dropped many at a time.
        self._window: list[Entry] = []
        self._base = offset
        # The last range that was measured, and how many of it fitted: a leader sends the same
        # entries to one follower after another.
        self._fit_range: tuple[int, int, int] | None = None
        self._fit_count = 0
        self._logger = logger

    @property
    def entries(self) -> list[Entry]:
        """The unstable entries, as a new list."""
        return self._window[self.offset - self._base :]

    def __len__(self) -> int:
        return self.next_index - self.offset

    def maybe_first_index(self) -> int | None:
        """Return the index of the first possible entry, if a snapshot is pending."""
        return None if self.snapshot is None else self.snapshot.metadata.index + 1

    def maybe_last_index(self) -> int | None:
        """Return the index of the last entry, or of the snapshot; None if there is neither."""
        if self.next_index > self.offset:
            return self.next_index - 1
        return None if self.snapshot is None else self.snapshot.metadata.index

    def maybe_term(self, index: int) -> int | None:
        """Return the term at `index` if it is that of an entry or of the snapshot here."""
        if self.offset <= index < self.next_index:
            return self._window[index - self._base].term
        if self.snapshot is not None and self.snapshot.metadata.index == index:
            return self.snapshot.metadata.term
        return None

    def stable_to(self, index: int, term: int) -> bool:
        """Forget the entries up to `index`, which the storage now has, if `term` is its term.

        A late word of entries that were replaced meanwhile changes nothing: another term at the
        same index is another entry.

        Returns:
            Whether the entry was here.
        """
        if not self.offset <= index < self.next_index:
            return False
        if self._window[index - self._base].term != term:
            return False
        self.offset = index + 1
        dead = self.offset - self._base
        window = self._window
        if dead == len(window):
            # A new list, not clear(): the old one gives its memory back.
            self._window = []
            self._base = self.offset
        elif dead >= _TRIM_AT_LEAST and 2 * dead >= len(window):
            del window[:dead]
            self._base = self.offset
        return True

    def stable_snap_to(self, index: int) -> bool:
        """Forget the snapshot, which the storage now has, if it is the one at `index`."""
        if self.snapshot is None or self.snapshot.metadata.index != index:
            return False
        self.snapshot = None
        return True

    def restore(self, snapshot: Snapshot) -> None:
        """Take a snapshot in place of everything here."""
        metadata = snapshot.metadata
        self._fit_range = None
        self._window = []
        self._base = self.offset = self.next_index = metadata.index + 1
        self.last_term = metadata.term
        self.snapshot = snapshot

    def truncate_and_append(self, entries: Sequence[Entry]) -> None:
        """Append entries, in place of all that stand from the first one's index on.

        Args:
            entries: At least one, in sequence; the first one's index is at most `next_index`.
        """
        first, last = entries[0].index, entries[-1]
        next_index = self.next_index
        if first > next_index or last.index != first + len(entries) - 1:
            fatal(
                self._logger,
                "appended entries leave a gap in the log",
                first=first,
                last=last.index,
                count=len(entries),
                next_index=next_index,
            )
        if first == next_index:
            self._window.extend(entries)
            self.next_index = next_index + len(entries)
            self.last_term = last.term
            return
        self._fit_range = None
        if first <= self.offset:
            if self.snapshot is not None and first <= self.snapshot.metadata.index:
                fatal(
                    self._logger,
                    "appended entries overwrite what the pending snapshot covers",
                    first=first,
                    snapshot_index=self.snapshot.metadata.index,
                )
            # Entries that the storage has, or may have, are replaced: they are unstable again.
            self._window = list(entries)
            self._base = self.offset = first
        else:
            del self._window[first - self._base :]
            self._window.extend(entries)
        self.next_index = first + len(entries)
        self.last_term = last.term

    def slice(self, low: int, high: int, max_size: int | None = None) -> list[Entry]:
        """Return the entries in `[low, high)`, as a new list.

        Args:
            low, high: `offset <= low <= high <= next_index`.
            max_size: Encoded size in bytes; at least one entry is returned. None: no limit.
        """
        if not self.offset <= low <= high <= self.next_index:
            # Never let a negative position count from the end of the list.
            fatal(
                self._logger,
                "unstable entries were asked for out of their range",
                low=low,
                high=high,
                offset=self.offset,
                next_index=self.next_index,
            )
        window, start = self._window, low - self._base
        if max_size is None or high - low <= 1:
            return window[start : high - self._base]
        measured = (low, high, max_size)
        if measured != self._fit_range:
            self._fit_count = fitting_count(window, start, high - self._base, max_size)
            self._fit_range = measured
        return window[start : start + self._fit_count]

    def check(self) -> None:
        """Check the law of the structure: one unbroken sequence up to `next_index`."""
        window = self._window
        if (
            self._base + len(window) != self.next_index
            or not self._base <= self.offset <= self.next_index
            or any(entry.index != self._base + i for i, entry in enumerate(window))
            or (window and window[-1].term != self.last_term)
        ):
            fatal(
                self._logger,
                "the unstable log is out of order",
                base=self._base,
                offset=self.offset,
                next_index=self.next_index,
                count=len(window),
            )
