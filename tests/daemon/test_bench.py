"""The benchmark's load generators against real nodes: they work, and they agree."""

from __future__ import annotations

import pytest

from tests.bench import cases, core, report
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
