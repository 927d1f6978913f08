"""The benchmark's load generators against real nodes: they work, and they agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench import cases, core, overload, report
from tests.bench.cluster import Cluster
from tests.bench.load import Load
from tests.bench.machine import scratch


@pytest.fixture(scope="module")
def compiled() -> Load:
    load = Load()
    if load.kind != "c":
        pytest.skip("there is no C compiler")
    return load


def test_both_generators_do_what_they_are_told(
    compiled: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    fallback = Load()
    monkeypatch.setattr(fallback, "_program", None)
    with scratch() as folder, Cluster(folder / "raftd") as nodes:
        for load in (compiled, fallback):
            put = load.run(nodes.sockets, clients=5, total=60, size=300, keys=20)
            get = load.run(nodes.sockets, op="get", clients=3, total=60, keys=20)
            large = load.run(nodes.sockets, clients=2, total=4, size=300_000, random=1)
            for result, count in ((put, 60), (get, 60), (large, 4)):
                assert (result["ok"], result["failed"], result["errors"]) == (count, 0, {})
                assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]
        refused = compiled.run(nodes.sockets, clients=2, total=4, size=1_100_000)
        assert refused["ok"] == 0
        assert refused["errors"] == {"TOO_LARGE": 4}


def test_the_core_is_measured_on_what_was_applied() -> None:
    found = core.modes(128)
    assert set(found) == {"batch_us", "singly_us", "lone_us"}
    assert all(us > 0 for us in found.values())
    assert set(core.by_backlog([640], 128)) == {640}


def test_the_table_shows_ratios_and_aims() -> None:
    fast, slow = (
        {
            "rate": rate, "p50_ms": 1000 / rate, "p99_ms": 2000 / rate, "cpu_share": 0.1,
            "generator": "c", "ok": 10, "failed": 0,
        }
        for rate in (6000.0, 1000.0)
    )  # fmt: skip
    case = next(case for case in cases.LOAD_CASES if case.name == "put-256")
    found = cases.Compared(
        case,
        ours=[cases.Sample(fast, [0.1] * 3, [50.0] * 3, 0.0)],
        etcd=[cases.Sample(slow, [0.1] * 3, [100.0] * 3, 0.0)],
    )
    results = {
        "machine": report.machine(),
        "load": report.compared([found]),
        "memory_mb": {"raftd": [50.0] * 3, "etcd": [90.0] * 3},
    }
    text = report.text(results)
    assert "6.00" in text
    assert "rate 5x met, p99 1x met" in text
    assert "2x NOT MET" in text


def run_of(*rates: tuple[float, float]) -> dict[str, Any]:
    """The results of a run with these rates, ours and etcd's, of one case."""
    case = next(case for case in cases.LOAD_CASES if case.name == "put-64")
    both = [
        [
            cases.Sample(
                {"rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_share": 0.1, "generator": "c"},
                [0.1] * 3, [50.0] * 3, 0.0,
            )
            for rate in side
        ]
        for side in zip(*rates, strict=True)
    ]  # fmt: skip
    found = cases.Compared(case, ours=both[0], etcd=both[1])
    return {"machine": report.machine(), "load": report.compared([found])}


def test_two_runs_agree_where_their_ranges_overlap_but_for_the_scatter() -> None:
    first = run_of((950, 500), (1000, 500), (1100, 500))
    assert first["load"]["put-64"]["ratio"] == {
        "rate": 2.0, "p50": 1.0, "p99": 1.0, "rates": [1.9, 2.2],
    }  # fmt: skip
    # Half as fast a machine, and the same ratios: what others do to it falls out.
    slower = run_of((480, 250), (525, 250), (550, 250))
    told = report.against(slower, json.loads(json.dumps(first)))
    assert "1.90 to 2.20" in told
    assert told.endswith("+5 %   29 %    yes")
    # Three rounds show less than the scatter: ranges that just miss each other are no difference.
    near = run_of((1120, 500), (1150, 500), (1250, 500))
    told = report.against(near, first)
    assert "2.24 to 2.50" in told
    assert told.endswith("+15 %   28 %    yes")
    faster = run_of((1450, 500), (1500, 500), (1600, 500))
    told = report.against(faster, first)
    assert "2.90 to 3.20" in told
    assert told.endswith("+50 %   30 %     NO")
    # What nothing could disagree with does not agree either.
    wild = run_of((500, 500), (1000, 500), (1500, 500))
    assert report.against(wild, first).endswith("+0 %  115 %  too noisy")
    # Without etcd beside it, the rates themselves are compared.
    for results in (first, slower):
        del results["load"]["put-64"]["ratio"]
    told = report.against(slower, first)
    assert "950 to 1,100" in told
    assert told.endswith("NO")
    assert "no load" in report.against({"machine": report.machine()}, first)


def test_the_readmes_table_has_every_column_in_every_row() -> None:
    sample = {
        "rate": 5000.0, "p50_ms": 2.0, "p99_ms": 9.0, "cpu_share": 0.1, "generator": "c", "ok": 10,
        "failed": 0,
    }  # fmt: skip
    alone = [
        cases.Compared(case, ours=[cases.Sample(sample, [0.2] * 3, [50.0] * 3, 0.0)])
        for case in cases.LOAD_CASES
    ]
    results = {
        "machine": report.machine(),
        "load": report.compared(alone),
        "memory_mb": {"raftd": [50.0] * 3},
        "status": {"raftctl_ms": 80.0, "etcdctl_ms": 20.0},
        "core": {
            "modes": {"batch_us": 5.0, "singly_us": 7.0, "lone_us": 60.0},
            "members": {3: 5.0}, "length": {1000: 5.0},
            "backlog": {1000: {"append_us": 2.0, "drain_us": 3.0}},
        },
        "failover": {"count": 3, "median": 1.2, "max": 1.4},
        "overload": {
            "rate_before": 12000, "rate_during": 8000, "rate_after": 11000, "p50_before_ms": 1,
            "p50_during_ms": 2, "p50_after_ms": 1, "p99_before_ms": 1, "p99_during_ms": 2,
            "p99_after_ms": 1, "of_spared_before": [0.9, 1.0, 1.1],
            "of_spared_after": [0.95, 1.02, 1.2], "rss_before_mb": [60, 61],
            "rss_quarters_mb": [70, 71, 71, 71], "elections": False,
        },
        "snapshot": {
            "bytes": 10**9, "mb_per_s": 90.0, "p99_calm_ms": 10.0, "p99_meanwhile_ms": 20.0
        },
        "start_up": {"entries": 10**6, "answers_s": 1.0, "caught_up_s": 2.0},
    }  # fmt: skip
    text = report.markdown(results, "make bench")
    loads, facts = text.split("\n\n")[1:]
    assert {row.count("|") for row in loads.splitlines()} == {11}
    assert {row.count("|") for row in facts.splitlines()} == {5}
    assert "| status command, ms | 80 | 20 | 0.25 |" in facts
    assert "1,000,000 entries" in facts
    assert "| before / at twice the rate / after: puts/s | 12,000 / 8,000 / 11,000 |" in facts
    assert "| 1.02 (0.95 to 1.2) |" in facts
    assert "| 61 / 70 / 71 / 71 / 71 |" in facts


def test_the_rate_after_an_overload_is_judged_by_a_group_that_was_spared_it() -> None:
    before, spared = (900, 1000, 1100), (1000, 1000, 1000)
    # A machine half as fast afterwards, or a database that has grown, changes nothing.
    found = overload.recovery(before, (450, 500, 480), spared, (500, 500, 500))
    assert found["of_spared_before"] == [0.9, 1.0, 1.1]
    assert found["of_spared_after"] == [0.9, 0.96, 1.0]
    assert found["after_of_before"] == 0.96
    assert found["recovers"]
    # The group alone being slower does.
    found = overload.recovery(before, (800, 850, 890), spared, spared)
    assert found["after_of_before"] == 0.85
    assert not found["recovers"]
    # And a group that is faster afterwards has recovered.
    assert overload.recovery(before, (1200, 1300, 1400), spared, spared)["recovers"]


def test_a_log_that_grows_long_keeps_its_newest_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "KEPT", 640)
    group = core.Group(3)
    group.grow(6_400)
    group.propose(640)
    for node in group.nodes.values():
        assert node.raft.raft_log.last_index() >= 7_040
        assert node.raft.raft_log.first_index() > 5_000
