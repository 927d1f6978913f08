"""The histogram of durations, against the durations themselves and the HdrHistogram library."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from raftctl.histogram import Histogram

PERCENTS = (0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@pytest.mark.parametrize("spread", ["uniform", "narrow", "long tail", "seconds"])
def test_percentiles_are_right_to_a_thousandth(rng: random.Random, spread: str) -> None:
    draw: Callable[[], float] = {
        "uniform": lambda: rng.uniform(0, 0.05),
        "narrow": lambda: rng.gauss(0.004, 0.0001),
        "long tail": lambda: rng.lognormvariate(-6, 1.5),
        "seconds": lambda: rng.uniform(0.5, 4000),
    }[spread]
    values = sorted(abs(draw()) for _ in range(20_000))
    histogram = filled(values)
    for percent in PERCENTS:
        exact = values[max(0, math.ceil(percent / 100 * len(values)) - 1)]
        found = histogram.percentile(percent)
        # A microsecond is the finest step there is.
        assert exact - 2e-6 <= found <= exact * 1.001 + 2e-6, percent
    assert histogram.count == len(values)
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert (histogram.smallest, histogram.largest) == (values[0], values[-1])
    assert histogram.percentile(100) == values[-1]


def test_the_same_as_the_library(rng: random.Random) -> None:
    library = pytest.importorskip("hdrh.histogram").HdrHistogram(1, 3_600_000_000, 3)
    ours = Histogram()
    for _ in range(20_000):
        microseconds = int(rng.lognormvariate(8, 1.2)) + 1
        library.record_value(microseconds)
        ours.add(microseconds / 1e6)
    for percent in (50, 90, 99):
        theirs = library.get_value_at_percentile(percent) / 1e6
        # Both round, and the library counts ranks from another end: neighbours may be meant.
        assert ours.percentile(percent) == pytest.approx(theirs, rel=1e-2)


def test_merging_is_as_good_as_counting_together(rng: random.Random) -> None:
    values = [rng.expovariate(100) for _ in range(3000)]
    parts = [filled(values[n::3]) for n in range(3)]
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    together = filled(values)
    for percent in PERCENTS:
        assert whole.percentile(percent) == together.percentile(percent)
    assert whole.count == together.count
    assert (whole.smallest, whole.largest) == (together.smallest, together.largest)
    whole.merge(Histogram())
    assert whole.smallest == together.smallest


def test_nothing_counted() -> None:
    assert Histogram().percentile(99) == 0
    assert Histogram().mean == 0
    assert list(Histogram().distribution()) == []
    assert "Total count    =            0" in Histogram().hgrm()


def test_the_distribution_as_text(rng: random.Random) -> None:
    histogram = filled([rng.uniform(0.001, 0.1) for _ in range(100)])
    lines = histogram.hgrm().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[2:] if not line.startswith("#")]
    values = [float(row[0]) for row in rows]
    assert values == sorted(values)
    assert rows[-1][1:] == ["1.000000000000", "100", "inf"]
