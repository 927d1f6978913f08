"""A histogram of durations with a bounded relative error, as HdrHistogram has it.

A value falls into one of 1024 steps of its power of two, so what is read back is off by less than a
thousandth, from a microsecond to hours, in some ten thousand counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_STEPS_BITS: Final = 10
_STEPS: Final = 1 << _STEPS_BITS


class Histogram:
    """Counts durations.

    Attributes:
        count: How many.
        smallest, largest, total: In seconds, exact.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.smallest = 0.0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration, zero or more."""
        slot = _slot(int(seconds * 1e6))
        self._counts[slot] = self._counts.get(slot, 0) + 1
        self.smallest = min(self.smallest, seconds) if self.count else seconds
        self.largest = max(self.largest, seconds)
        self.count += 1
        self.total += seconds

    def merge(self, other: Histogram) -> None:
        """Add all that another one has counted."""
        for slot, number in other._counts.items():
            self._counts[slot] = self._counts.get(slot, 0) + number
        if other.count:
            self.smallest = min(self.smallest, other.smallest) if self.count else other.smallest
            self.largest = max(self.largest, other.largest)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        """The average, seconds; 0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the seconds that ``percent`` (0 to 100) of all did not exceed; 0 if none.

        Never less than the truth, and never more than the largest.
        """
        if not self.count:
            return 0.0
        wanted = percent / 100 * self.count
        seen = 0
        for slot in sorted(self._counts):
            seen += self._counts[slot]
            if seen >= wanted:
                return min(_upper(slot) / 1e6, self.largest)
        return self.largest

    def distribution(self) -> Iterator[tuple[float, float, int]]:
        """Yield (milliseconds, fraction of all, how many), as the slots have them."""
        seen = 0
        for slot in sorted(self._counts):
            seen += self._counts[slot]
            yield min(_upper(slot) / 1e3, self.largest * 1e3), seen / self.count, seen

    def hgrm(self) -> str:
        """Return the distribution as text that HdrHistogram's plotters read."""
        lines = [
            f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}",
            "",
        ]
        for value, fraction, seen in self.distribution():
            rest = 1 - fraction
            inverse = f"{1 / rest:14.2f}" if rest > 1e-12 else f"{'inf':>14}"
            lines.append(f"{value:12.3f} {fraction:14.12f} {seen:10d} {inverse}")
        mean, deviation = self.mean * 1e3, self._deviation() * 1e3
        lines += [
            f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
            f"#[Max     = {self.largest * 1e3:12.3f}, Total count    = {self.count:12d}]",
            f"#[Buckets = {32:12d}, SubBuckets     = {_STEPS:12d}]",
        ]
        return "\n".join(lines) + "\n"

    def _deviation(self) -> float:
        if not self.count:
            return 0.0
        mean = self.mean
        squares = sum(
            number * (_upper(slot) / 1e6 - mean) ** 2 for slot, number in self._counts.items()
        )
        return float((squares / self.count) ** 0.5)


def _slot(microseconds: int) -> int:
    """Return the counter of a value: linear below 1024, then 1024 steps for each doubling."""
    if microseconds < _STEPS:
        return microseconds
    shift = microseconds.bit_length() - _STEPS_BITS - 1
    return (shift << _STEPS_BITS) + (microseconds >> shift)


def _upper(slot: int) -> int:
    """Return the largest value, in microseconds, of a counter."""
    if slot < 2 * _STEPS:
        return slot
    shift = (slot >> _STEPS_BITS) - 1
    step = slot - (shift << _STEPS_BITS)
    return ((step + 1) << shift) - 1
