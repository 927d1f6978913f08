"""Overload: what a group answers at twice the rate it sustains, and whether it recovers.

The rates before and after it are divided by those of a second group of three nodes, which is
measured in turn with the first, window by window, and is spared the overload. So what others do to
the machine meanwhile, and what a database that grows costs, falls out.

Both are grown before anything counts. A young group is faster: until its history and its log are as
long as they may be nothing is dropped from them, and RocksDB has little to compact. All windows
write the same keys, so that the state does not grow on.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.cluster import Cluster
from tests.bench.load import Load, Result
from tests.bench.machine import BenchError, cpu_seconds, rss_mb

KEYS: Final = 10_000
CLIENTS: Final = 256
WINDOWS: Final = 5
"""Windows before, and as many after it."""
GROWN: Final = 110_000
"""Entries after which what is dropped is as much as what comes: ``history.entries`` is 100,000, and
``storage.compact_trailing`` half of that."""

_DEPTH: Final = 256
"""Requests that a client may have under way in overload: never what limits it."""

Say = Callable[[str], None]


@dataclass
class _Group:
    """One group and its windows.

    Attributes:
        before, after: What the load generator says of each.
        cpu: Microseconds a put that the three nodes used in each window, before and after.
    """

    nodes: Cluster
    before: list[Result] = field(default_factory=list)
    after: list[Result] = field(default_factory=list)
    cpu_before: list[float] = field(default_factory=list)
    cpu_after: list[float] = field(default_factory=list)


def overload(
    folder: Path, load: Load, seconds: float, say: Say, grown: int = GROWN
) -> dict[str, Any]:
    """Offer twice the rate that the nodes sustain; what they answer, and whether they recover.

    Args:
        folder: For the data of both groups.
        load: The generator.
        seconds: Half of the time of the overload. The windows of a group before it, and those after
            it, take as long as it does.
        say: Told how far it is.
        grown: Puts before anything counts. With less than ``GROWN`` both groups get slower
            meanwhile, so that their ratios are right and the rates are not.
    """
    with ExitStack() as stack:
        pair = [
            _Group(stack.enter_context(Cluster(folder / name))) for name in ("overloaded", "spared")
        ]
        ours, spared = pair
        for group in pair:
            say(f"overload: {grown:,} puts first")
            load.run(group.nodes.sockets, clients=CLIENTS, keys=KEYS, total=grown)
        for number in range(WINDOWS):
            say(f"overload: the sustainable rate, {number + 1} of {WINDOWS}")
            for group in _in_turn(pair, number):
                cpu, result = _window(group.nodes, load, 2 * seconds / WINDOWS)
                group.before.append(result)
                group.cpu_before.append(cpu)
        # The last of them: twice what the machine gives now.
        offered = 2 * statistics.median(_rates(ours.before)[-3:])
        terms = {status.term for status in ours.nodes.statuses()}
        say(f"overload: {offered:.0f}/s are offered for {2 * seconds:g} s")
        memory, during = _overloaded(ours.nodes, load, offered, 2 * seconds)
        elections = terms != {status.term for status in ours.nodes.statuses()}
        say("overload: the other group, without it")
        load.run(spared.nodes.sockets, clients=CLIENTS, keys=KEYS, seconds=2 * seconds)
        for number in range(WINDOWS):
            say(f"overload: the rate after it, {number + 1} of {WINDOWS}")
            for group in _in_turn(pair, number):
                cpu, result = _window(group.nodes, load, 2 * seconds / WINDOWS)
                group.after.append(result)
                group.cpu_after.append(cpu)
    return {
        **recovery(*(_rates(windows) for group in pair for windows in (group.before, group.after))),
        "offered": round(offered),
        "rate_during": round(during["rate"]),
        **{
            f"{name}_{when}_ms": round(
                statistics.median(float(result[f"{name}_ms"]) for result in results), 1
            )
            for when, results in (
                ("before", ours.before),
                ("during", [during]),
                ("after", ours.after),
            )
            for name in ("p50", "p99")
        },
        "cpu_us_before": round(statistics.median(ours.cpu_before), 1),
        "cpu_us_after": round(statistics.median(ours.cpu_after), 1),
        "cpu_us_spared_before": round(statistics.median(spared.cpu_before), 1),
        "cpu_us_spared_after": round(statistics.median(spared.cpu_after), 1),
        "refused": during["errors"],
        "refused_after": dict(sum((Counter(one["errors"]) for one in ours.after), Counter())),
        "refused_p99_ms": round(during["refused_p99_ms"], 1),
        "retry_after_ms": during["retry_after_ms"],
        "not_sent": during["skipped"],
        "unanswered": during["unanswered"],
        "lost_connections": during["lost_connections"],
        "generator_cpu": round(during["cpu_share"], 2),
        "elections": elections,
        **memory,
    }


def recovery(
    before: Sequence[float],
    after: Sequence[float],
    spared_before: Sequence[float],
    spared_after: Sequence[float],
) -> dict[str, Any]:
    """Compare the rates of the windows of a group before and after its overload.

    Each is divided by that of the spared group beside it. The rate after the overload is the rate
    before it where the ranges of these ratios overlap.
    """
    was = [mine / other for mine, other in zip(before, spared_before, strict=True)]
    now = [mine / other for mine, other in zip(after, spared_after, strict=True)]
    return {
        "rate_before": round(statistics.median(before)),
        "rates_before": [round(min(before)), round(max(before))],
        "rate_after": round(statistics.median(after)),
        "rates_after": [round(min(after)), round(max(after))],
        "spared_before": round(statistics.median(spared_before)),
        "spared_after": round(statistics.median(spared_after)),
        "of_spared_before": _extremes(was),
        "of_spared_after": _extremes(now),
        "after_of_before": round(statistics.median(now) / statistics.median(was), 2),
        "recovers": max(now) >= min(was),
    }


def _extremes(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (min(values), statistics.median(values), max(values))]


def _rates(results: Sequence[Result]) -> list[float]:
    return [float(result["rate"]) for result in results]


def _in_turn(pair: list[_Group], number: int) -> list[_Group]:
    """Each of them comes first in one window and second in the next."""
    return pair if number % 2 == 0 else pair[::-1]


def _window(nodes: Cluster, load: Load, seconds: float) -> tuple[float, Result]:
    used = sum(map(cpu_seconds, nodes.pids))
    result = load.run(nodes.sockets, clients=CLIENTS, keys=KEYS, seconds=seconds)
    if not result["ok"]:
        raise BenchError(f"nothing was answered: {result}")
    return (sum(map(cpu_seconds, nodes.pids)) - used) / result["ok"] * 1e6, result


def _overloaded(
    nodes: Cluster, load: Load, rate: float, seconds: float
) -> tuple[dict[str, list[int]], Result]:
    """Offer `rate`; return the memory of each node, MB, and what came of it.

    Memory is the most of each quarter of the time: flat is what does not grow from the second on.
    """
    before = [rss_mb(pid) for pid in nodes.pids]
    quarters = [[0.0] * len(nodes.pids) for _ in range(4)]
    began = time.perf_counter()
    process = load.start(
        nodes.sockets, clients=CLIENTS, depth=_DEPTH, keys=KEYS, rate=rate, seconds=seconds
    )
    while process.poll() is None:
        quarter = min(3, int((time.perf_counter() - began) / seconds * 4))
        quarters[quarter] = [
            max(most, rss_mb(pid)) for most, pid in zip(quarters[quarter], nodes.pids, strict=True)
        ]
        time.sleep(0.1)
    assert process.stdout is not None
    result: Result = json.loads(process.stdout.read())
    memory = {"rss_before_mb": [round(mb) for mb in before]}
    memory["rss_highest_mb"] = [round(max(column)) for column in zip(*quarters, strict=True)]
    memory["rss_quarters_mb"] = [round(max(quarter)) for quarter in quarters]
    return memory, result
