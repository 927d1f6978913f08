"""When a group could have gone on is read from its logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.torture.recovery import linked_at

Log = list[dict[str, Any]]


def at(second: int, event: str, peer: int = 0) -> dict[str, Any]:
    return {"timestamp": stamp(second), "event": event, "peer": peer}


def stamp(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000Z"


def linked(second: int, *peers: int) -> Log:
    return [at(second, "peer connected", peer) for peer in peers]


def whole() -> dict[int, Log]:
    """Three nodes that are all linked from second 1 on."""
    return {node: [at(0, "started"), *linked(1, *{1, 2, 3} - {node})] for node in (1, 2, 3)}


def test_a_group_that_stayed_whole_could_always_go_on() -> None:
    assert linked_at(whole(), 3, stamp(9)) == stamp(9)


def test_a_majority_is_enough() -> None:
    logs = whole()
    logs[1] += [at(9, "started"), *linked(10, 2, 3)]
    assert linked_at(logs, 3, stamp(5)) == stamp(5)


def test_processes_that_start_are_waited_for_until_both_ways_are_linked() -> None:
    logs = whole()
    for node, second in ((1, 9), (2, 11)):
        logs[node] += [at(second, "started")]
    logs[1] += linked(12, 3)
    logs[2] += linked(13, 3)
    logs[3] += [at(4, "peer unreachable", 1), at(4, "peer unreachable", 2), *linked(14, 2)]
    assert linked_at(logs, 3, stamp(5)) == stamp(14)


def test_links_that_are_cut_are_waited_for() -> None:
    logs = whole()
    for node in (1, 2, 3):
        logs[node] += [at(4, "peer unreachable", peer) for peer in {1, 2, 3} - {node}]
    logs[1] += linked(7, 2)
    assert linked_at(logs, 3, stamp(5)) == ""
    logs[2] += linked(8, 1)
    assert linked_at(logs, 3, stamp(5)) == stamp(8)


@pytest.mark.parametrize("size", [3, 5])
def test_nobody_linked_is_no_majority(size: int) -> None:
    assert linked_at({node: [at(0, "started")] for node in range(size)}, size, stamp(1)) == ""
