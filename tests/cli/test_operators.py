"""bench, top, doctor, debug bundle against real nodes, well and not well."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.cli.conftest import Ran, run_ctl
from tests.harness.processes import Cluster, environment, wait_for


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with Cluster(3) as made:
        made.start()
        yield made


@pytest.fixture
def group(running: Cluster) -> Cluster:
    running.start()
    return running


def ctl(group: Cluster, *args: str, node: int = 1) -> Ran:
    return run_ctl("-s", str(group[node].socket), *args)


# --- bench --------------------------------------------------------------------------------------


def test_bench_measures_and_leaves_nothing_in_the_state(group: Cluster) -> None:
    with group[1].client() as client:
        client.propose(b"before", key="bench-test")
    shape = ["--clients", "4", "--size", "100", "--reads", "25"]
    ran = ctl(group, "bench", "--total", "200", *shape, "--json")
    assert ran.code == 0, ran.out
    data = ran.data
    assert data["writes"]["count"] + data["reads"]["count"] == 200
    assert 20 <= data["reads"]["count"] <= 90
    assert data["errors"] == {}
    for kind in ("writes", "reads"):
        times = data[kind]
        order = [times[f"{name}_ms"] for name in ("min", "p50", "p90", "p95", "p99", "p999", "max")]
        assert order == sorted(order)
        assert order[0] > 0
    assert data["rate"] == pytest.approx(200 / data["seconds"], rel=0.01)
    with group[1].client() as client:
        kept = [entry.data for entry in client.log_read(types=["normal"])]
    assert kept == [b"before"]


def test_bench_for_a_time_at_a_rate(group: Cluster) -> None:
    sockets = [word for node in group.nodes.values() for word in ("-s", str(node.socket))]
    ran = run_ctl(*sockets, "bench", "--duration", "1s", "--rate", "40", "--clients", "3", "--json")
    data = ran.data
    assert (data["profile"], data["clients"], data["rate_wanted"]) == ("s", 3, 40)
    # Never more than was asked for.
    assert 10 <= data["writes"]["count"] <= 46


def test_bench_thresholds(group: Cluster) -> None:
    base = ("bench", "--total", "20")
    ran = ctl(group, *base, "--max-p99", "1h", "--min-rate", "0.01", "--max-errors", "0", "--json")
    assert ran.code == 0
    assert [check["ok"] for check in ran.data["thresholds"]] == [True, True, True]
    ran = ctl(group, *base, "--max-p99", "0.001ms", "--json")
    assert ran.code == 7
    assert ran.json["error"]["code"] == "CHECK_FAILED"
    assert ran.data["thresholds"][0]["ok"] is False
    ran = ctl(group, *base, "--min-rate", "1000000")
    assert ran.code == 7
    assert "rate" in ran.err
    assert "P99.9" in ran.out


def test_bench_for_people(group: Cluster) -> None:
    ran = ctl(group, "bench", "--total", "20", "--histogram")
    assert ran.code == 0
    assert re.match(r"1 clients, 256B proposals, 0% reads, [\d.]+s: \d+ a second\n", ran.out)
    assert "1/(1-Percentile)" in ran.out
    assert run_ctl("-s", "/nowhere.sock", "bench").code == 3


# --- top ----------------------------------------------------------------------------------------


def test_top_without_a_terminal(group: Cluster) -> None:
    leader = group.settle()
    ran = ctl(group, "top", "--interval", "50ms", "--count", "3")
    lines = ran.out.splitlines()
    assert len(lines) == 3
    assert f"healthy leader {leader} term" in lines[-1]
    rows = [
        json.loads(line)
        for line in ctl(
            group, "top", "--interval", "50ms", "--count", "2", "--json"
        ).out.splitlines()
    ]
    assert [row["leader"] for row in rows] == [leader, leader]
    assert set(rows[-1]["lag"]) == {"1", "2", "3"}
    assert "p99" in rows[-1]["times_ms"]["fsync"]


def test_top_on_a_terminal(group: Cluster) -> None:
    leader = group.settle()
    child = pexpect.spawn(
        sys.executable,
        ["-m", "raftctl", "-s", str(group[1].socket), "top", "--interval", "100ms"],
        env={**environment(), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"},
        dimensions=(50, 120),
        timeout=30,
        encoding="utf-8",
        # The terminal echoes ^C wherever the picture was at that moment, inside a character too.
        codec_errors="replace",
    )
    try:
        for text in (
            f"leader {leader}",
            "entries/s",
            "fsync p99",
            "events of this node",
            "serving",
        ):
            child.expect(text)
        with group[1].client() as client:
            client.loglevel("info")
        child.expect("log level set")
        child.sendintr()
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 130


def test_top_goes_on_when_the_node_does_not(group: Cluster) -> None:
    group[3].kill()
    ran = ctl(group, "top", "--interval", "10ms", "--count", "2", "--json", node=3)
    assert [bool(json.loads(line)["error"]) for line in ran.out.splitlines()] == [True, True]


# --- doctor -------------------------------------------------------------------------------------


def found(ran: Ran) -> dict[str, list[tuple[str, str]]]:
    out: dict[str, list[tuple[str, str]]] = {}
    for finding in ran.data["findings"]:
        out.setdefault(finding["check"], []).append((finding["state"], finding["text"]))
    return out


def test_doctor_of_a_group_that_is_well(group: Cluster) -> None:
    wait_for("everybody to be up", lambda: ctl(group, "health", "--strict").code == 0)
    ran = ctl(group, "doctor", "--json")
    assert ran.code == 0, ran.out
    seen = found(ran)
    for check in ("raftd", "leader", "quorum", "voters", "peers", "versions", "clocks"):
        assert {state for state, _ in seen[check]} == {"ok"}, check
    assert "disk speed" in seen
    assert "files" in seen
    ran = ctl(group, "doctor")
    assert "[ ok ] leader" in ran.out
    assert re.search(r"\d+ fine, \d+ to look at, 0 wrong", ran.out)


def test_doctor_of_a_group_in_trouble(group: Cluster) -> None:
    group[3].kill()
    wait_for("it to be noticed", lambda: ctl(group, "health", "--strict").code == 7)
    ran = ctl(group, "doctor", "--json")
    seen = found(ran)
    assert seen["quorum"] == [("warn", "the next failure of a voter stops the group")]
    assert seen["peers"][0][0] == "warn"
    assert ctl(group, "doctor", "--strict").code == 7
    group[2].kill()
    wait_for("the leader to be gone", lambda: (s := group[1].status()) is not None and not s.leader)
    ran = ctl(group, "doctor", "--json")
    assert ran.code == 7
    seen = found(ran)
    assert seen["leader"][0][0] == "fail"
    assert "1 of 3 voters are reachable, 2 are needed: 2,3 missing" in seen["quorum"][0][1]


def test_doctor_of_a_node_that_is_down(group: Cluster, tmp_path: Path) -> None:
    group[2].kill()
    peers = {str(node.id): node.address for node in group.nodes.values()}
    file = tmp_path / "raftd.toml"
    lines = [
        "[node]", "id = 2", f'data_dir = "{group[2].data_dir}"', "[cluster.peers]",
        *(f'{node_id} = "{address}"' for node_id, address in peers.items()),
    ]  # fmt: skip
    file.write_text("\n".join(lines))
    ran = ctl(group, "doctor", "--config", str(file), "--json", node=2)
    seen = found(ran)
    assert ran.code == 7
    assert seen["raftd"][0][0] == "fail"
    assert seen["settings"] == [("ok", "the configuration of node 2 is valid")]
    assert seen["data"][0][1].startswith("it is node 2's, of cluster ")
    assert seen["disk speed"][0][1].startswith("fdatasync p50")
    assert [state for state, _ in seen["others"]] == ["ok", "ok"]
    # Nothing was changed: it starts as before.
    group.start()
    with group[2].client(20) as client:
        client.propose(b"after")


def test_doctor_finds_wrong_settings_and_a_missing_disk(tmp_path: Path) -> None:
    file = tmp_path / "raftd.toml"
    file.write_text('[node]\nid = 1\n[raft]\nheartbeet = "1s"\n')
    nowhere = str(tmp_path / "no.sock")
    ran = run_ctl("-s", nowhere, "doctor", "--config", str(file), "--json")
    assert any("did you mean raft.heartbeat?" in text for _, text in found(ran)["settings"])
    ran = run_ctl("-s", nowhere, "doctor", "--data-dir", str(tmp_path / "gone"), "--json")
    assert found(ran)["data"][0][0] == "fail"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    ran = run_ctl("-s", nowhere, "doctor", "--data-dir", str(tmp_path / "open"), "--json")
    assert any("others may write" in text for _, text in found(ran)["data"])


# --- debug bundle -------------------------------------------------------------------------------


def test_a_bundle_holds_everything_but_payloads(group: Cluster, tmp_path: Path) -> None:
    secret, key = b"the customer's card number", "order-of-somebody"
    with group[1].client() as client:
        index = client.propose(secret, key=key).index
    target = tmp_path / "bundle.tar.gz"
    ran = ctl(group, "debug", "bundle", "--out", str(target), "--json")
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as tar:
        files = {
            Path(entry.name).name: stream.read()
            for entry in tar
            if (stream := tar.extractfile(entry)) is not None
        }
    assert set(files) == {*ran.data["files"], "manifest.json"}
    assert ran.data["errors"] == {}
    everything = b"".join(files.values())
    assert secret not in everything
    assert key.encode() not in everything
    assert base64.b64encode(secret) not in everything
    entries = [json.loads(line) for line in files["log.ndjson"].splitlines()]
    # By its index: other tests' keyed proposals may be among the last entries too.
    mine = next(entry for entry in entries if entry["index"] == index)
    assert mine["keyed"]
    assert mine["bytes"] == len(secret)
    assert json.loads(files["status.json"])["config"]["voters"] == [1, 2, 3]
    assert b"raftd_term" in files["metrics.txt"]
    assert ctl(group, "debug", "bundle", "--out", str(target)).code == 1, "it is not overwritten"


def test_a_bundle_of_a_node_in_trouble(tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    ran = run_ctl("-s", str(tmp_path / "no.sock"), "debug", "bundle", "--out", str(target))
    assert ran.code == 0
    with tarfile.open(target) as tar:
        names = {Path(name).name for name in tar.getnames()}
    assert {"system.json", "status.json", "manifest.json"} <= names


def test_the_token_is_hidden(tmp_path: Path) -> None:
    with Cluster(1, "--cluster-token", "hush-hush") as group:
        group.start()
        target = tmp_path / "b.tar.gz"
        assert ctl(group, "debug", "bundle", "--out", str(target)).code == 0
        with tarfile.open(target) as tar:
            text = b"".join(
                stream.read() for entry in tar if (stream := tar.extractfile(entry)) is not None
            )
        assert b"hush-hush" not in text
        assert b"left out" in text


def test_pipes_that_close_are_silent(group: Cluster) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with io.FileIO(writing, "w") as closed:
        ran = subprocess.run(
            [sys.executable, "-m", "raftctl", "-s", str(group[1].socket), "metrics"],
            env=environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert ran.returncode == 141
    assert ran.stderr == b""
