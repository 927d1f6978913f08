"""What of the log is kept in memory: its newest entries, and where each term begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from raft.eraftpb import Entry

TAIL_ENTRIES: Final = 4096
TAIL_BYTES: Final = 16 * 1024 * 1024
"""Bounds of the tail kept in memory, whichever is reached first. A small entry takes about 1 KB as
an object; of large ones, those under way should be here until they are applied."""


class Tail:
    """The entries from ``first`` to the end of the log, as objects; bounded.

    ``entries`` and ``sizes`` (encoded, in bytes) run in parallel. Who appends to them adds to
    ``bytes`` and calls ``trim`` afterwards.
    """

    __slots__ = ("bytes", "entries", "first", "sizes")

    def __init__(self) -> None:
        self.reset(1)

    def reset(self, first: int) -> None:
        """Forget all; the next entry has index ``first``."""
        self.entries: list[Entry] = []
        self.sizes: list[int] = []
        self.first = first
        self.bytes = 0

    def load(self, newest_first: list[tuple[Entry, int]], end: int) -> None:
        """Take entries as read backwards from ``end - 1``."""
        self.entries = [entry for entry, _ in reversed(newest_first)]
        self.sizes = [size for _, size in reversed(newest_first)]
        self.first = end - len(newest_first)
        self.bytes = sum(self.sizes)

    def cut(self, first: int) -> None:
        """Forget the entries from index ``first`` on."""
        if first <= self.first:
            self.reset(first)
            return
        keep = first - self.first
        self.bytes -= sum(self.sizes[keep:])
        del self.entries[keep:]
        del self.sizes[keep:]

    def drop(self, first: int) -> None:
        """Forget the entries before index ``first``."""
        if first <= self.first:
            return
        self._drop(min(first - self.first, len(self.entries)))
        self.first = first

    def trim(self) -> None:
        """Hold the bounds; let go of a quarter or more at once, so that this is rare."""
        count = len(self.entries)
        if count <= TAIL_ENTRIES and self.bytes <= TAIL_BYTES:
            return
        excess = self.bytes - TAIL_BYTES * 3 // 4
        dead = max(0, count - TAIL_ENTRIES * 3 // 4)
        freed = sum(self.sizes[:dead])
        while freed < excess and dead < count - 1:
            freed += self.sizes[dead]
            dead += 1
        self._drop(dead)
        self.first += dead

    def _drop(self, count: int) -> None:
        self.bytes -= sum(self.sizes[:count])
        del self.entries[:count]
        del self.sizes[:count]

    def read(self, low: int, high: int, max_size: int | None) -> list[Entry]:
        """Return the entries in ``[low, high)`` that fit in ``max_size`` bytes, at least one."""
        start, stop = low - self.first, high - self.first
        if max_size is None or stop - start <= 1:
            return self.entries[start:stop]
        # By the sizes kept, as measuring an entry encodes it.
        sizes = self.sizes[start:stop]
        if sum(sizes) > max_size:
            total = count = 0
            for size in sizes:
                total += size
                if total > max_size:
                    break
                count += 1
            stop = start + max(count, 1)
        return self.entries[start:stop]


class TermRuns:
    """Where each term begins in the log. A log has few terms, so this is small at any length."""

    __slots__ = ("starts", "terms")

    def __init__(self) -> None:
        # Run i covers the indexes [starts[i], starts[i + 1]) with term terms[i]; both ascend.
        self.starts: list[int] = []
        self.terms: list[int] = []

    @property
    def last(self) -> int:
        """The term of the last entry; -1 if there is none."""
        return self.terms[-1] if self.terms else -1

    def find(self, index: int) -> int:
        """Return the term at ``index``, which must be in the log."""
        starts = self.starts
        if index >= starts[-1]:
            return self.terms[-1]
        return self.terms[bisect_right(starts, index) - 1]

    def begin(self, index: int, term: int) -> None:
        """Note that the entries from ``index`` on have ``term``."""
        self.starts.append(index)
        self.terms.append(term)

    def cut(self, first: int) -> None:
        """Forget the entries from index ``first`` on."""
        while self.starts and self.starts[-1] >= first:
            self.starts.pop()
            self.terms.pop()

    def drop(self, first: int, end: int) -> None:
        """Forget the entries before index ``first`` of a log that ends before ``end``."""
        if first >= end:
            self.starts.clear()
            self.terms.clear()
            return
        dead = bisect_right(self.starts, first) - 1
        if dead > 0:
            del self.starts[:dead]
            del self.terms[:dead]
        if self.starts:
            self.starts[0] = max(self.starts[0], first)

    def load(self, first: int, end: int, term_at: Callable[[int], int]) -> None:
        """Find the runs of the log ``[first, end)`` by bisection: terms never fall along it.

        Reads about log2(length) entries a term, whatever the length.
        """
        self.starts, self.terms = [], []
        index = first
        while index < end:
            term = term_at(index)
            self.begin(index, term)
            low, high = index, end
            # The run ends somewhere in (low, high]; in most logs the last one reaches the end.
            if term_at(end - 1) == term:
                return
            while high - low > 1:
                middle = (low + high) // 2
                if term_at(middle) == term:
                    low = middle
                else:
                    high = middle
            index = high
