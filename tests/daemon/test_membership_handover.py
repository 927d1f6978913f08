"""The leader leaves and a named successor takes over: how long writes stand still."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.daemon.reshaping import (
    Stalls,
    change,
    history,
    join,
    lead,
    role,
    same_configuration,
)
from tests.harness.processes import Writers, check_written, cluster, wait_for

GAP = 0.25
"""Seconds that acknowledged writes may stand still, at a heartbeat of 100 ms."""
STALL = 0.01
"""A machine that lets an idle thread wait for longer than this has no time to give."""
PATIENCE = 3.0
"""Seconds for a machine that is busy with other things: an election, and room."""


def test_the_leader_leaves_under_load(record_property: Callable[[str, object], None]) -> None:
    with cluster() as group:
        join(group, 4, 5)
        lead(group, 2)
        gaps: dict[str, tuple[float, float]] = {}
        with (
            Stalls() as stalls,
            Writers(group, per_node=2, ids=(1, 3)) as writers,
            group.client(1, 3, timeout=30.0) as client,
        ):
            writers.wait_for_progress(50)

            def measured(name: str, action: Callable[[], object]) -> None:
                start = time.monotonic()
                action()
                writers.wait_for_progress(30)
                end = time.monotonic()
                gaps[name] = writers.written.longest_gap(start, end), stalls.longest(start, end)

            new = {"voters": [1, 3, 4], "successor": 3}
            measured("begin", lambda: change(client, "begin", **new))
            measured("finalize", lambda: change(client, "finalize"))
            assert group.settle([1, 3, 4]) == 3
            # The same in one go: here the successor is told before it may lead.
            new = {"voters": [1, 4, 5], "successor": 4}
            measured("change", lambda: change(client, "change", **new))
            assert group.settle([1, 4, 5]) == 4
            written = writers.stop()
        same_configuration(group, (1, 4, 5), voters=[1, 4, 5])
        wait_for("2 and 3 to be gone", lambda: role(group, 2) == role(group, 3) == "removed")
        check_written(written, history(group, 1))
    for name, (gap, stall) in gaps.items():
        print(f"{name}: {gap * 1000:.0f} ms without a write, stalls of {stall * 1000:.0f} ms")
        record_property(f"{name}_gap_ms", round(gap * 1000))
        record_property(f"{name}_stall_ms", round(stall * 1000))
        assert gap < (GAP if stall < STALL else PATIENCE), f"{name}: {gaps}"
