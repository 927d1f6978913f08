"""How long things take: cheap to note on the hot path, exact enough for percentiles and alarms."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BOUNDS: Final = (
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of a histogram's buckets, seconds."""


class Durations:
    """A histogram of durations, with the longest since the last look.

    Args:
        bounds: Upper bounds of the buckets, ascending, in seconds.
    """

    __slots__ = ("_bounds", "_worst", "buckets", "count", "total")

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """How many fell into each bucket; the last is for what exceeds all bounds."""
        self.count = 0
        self.total = 0.0
        """Sum of all durations, seconds."""
        self._worst = 0.0

    def note(self, seconds: float) -> None:
        """Take one duration into account."""
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.count += 1
        self.total += seconds
        self._worst = max(self._worst, seconds)

    def take_worst(self) -> float:
        """Return the longest since the last call, in seconds; 0 if there was none."""
        worst, self._worst = self._worst, 0.0
        return worst

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many did not exceed it), as Prometheus has it."""
        out = []
        total = 0
        for bound, count in zip(self._bounds, self.buckets, strict=False):
            total += count
            out.append((repr(bound), float(total)))
        return [*out, ("+Inf", float(self.count))]

    def percentile(self, fraction: float) -> float:
        """Return the seconds that ``fraction`` of all did not exceed, by buckets; 0: none."""
        wanted = fraction * self.count
        total = 0
        for bound, count in zip(self._bounds, self.buckets, strict=False):
            total += count
            if count and total >= wanted:
                return bound
        return self._bounds[-1] if self.count else 0.0
