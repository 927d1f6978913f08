"""Real daemons on data that is not theirs, or without the data they had, are told the way out."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftd.identity import encode_json
from tests.harness.processes import Cluster, Node, free_port, wait_for


@pytest.fixture(scope="module")
def group() -> Iterator[Cluster]:
    """Three nodes of the group ``one``, of which tests spoil the third."""
    with Cluster(3, "--cluster-token", "one") as made:
        made.start()
        made.settle()
        with made.client() as client:
            client.propose(b"something")
        made.catch_up()
        yield made


def refusal(node: Node) -> dict[str, Any]:
    """Start a node that must not start; return what it says last."""
    before = node.log_path.stat().st_size if node.log_path.exists() else 0
    node.start()
    assert node.wait() == 4
    lines = node.log_path.read_text()[before:].splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    assert found["event"] == "raftd stops"
    assert found["status"] == 4
    # One sentence, no traceback: it is the operator's to deal with.
    assert "exception" not in lines[-1]
    return found


def highest_term(group: Cluster) -> int:
    return max(status.term for node in group.running() if (status := node.status()))


def test_a_disk_that_was_lost_does_not_come_back_under_its_id(group: Cluster) -> None:
    node = group[3]
    node.kill()
    aside = node.data_dir.with_name("aside")
    node.data_dir.rename(aside)
    said = refusal(node)
    assert "DATA_LOST" in said["reason"]
    assert "member replace" in said["advice"]
    # That is so for its whole life, also when it is tried again.
    assert "DATA_LOST" in refusal(node)["reason"]
    shutil.rmtree(node.data_dir)
    aside.rename(node.data_dir)
    node.start()
    group.settle()


def test_data_of_another_group_is_not_started_on(group: Cluster) -> None:
    node = group[3]
    node.terminate()
    arguments, node.arguments = node.arguments, [*node.arguments, "--cluster-token", "two"]
    said = refusal(node)
    assert "another --cluster-token" in said["reason"]
    assert "--data-dir" in said["reason"]
    node.arguments = arguments
    node.start()
    group.settle()


def test_data_of_a_newer_raftd_is_not_started_on(group: Cluster) -> None:
    node = group[3]
    node.terminate()
    file = node.data_dir / "identity.json"
    kept = file.read_bytes()
    found = {k: v for k, v in json.loads(kept).items() if k != "crc32"}
    file.write_bytes(encode_json({**found, "format": found["format"] + 1}))
    assert "start the newer one" in refusal(node)["reason"]
    file.write_bytes(kept)
    node.start()
    group.settle()


def test_groups_that_are_crossed_say_so_and_do_no_harm(group: Cluster, short_dir: Path) -> None:
    """A node of another group, with the same id, is pointed at two of our members."""
    term = highest_term(group)
    own = f"3=127.0.0.1:{free_port()}"
    stranger = Node(
        3,
        own.partition("=")[2],
        short_dir,
        ["--peers", f"1={group[1].address},2={group[2].address},{own}", "--cluster-token", "two"],
    )
    try:
        stranger.start()

        def errors() -> set[str]:
            status = stranger.status()
            return {peer.error for peer in status.peers if peer.error} if status else set()

        wait_for("both refusals", lambda: len(errors()) == 2)
        assert all("another cluster" in error for error in errors())
        lines = [json.loads(line) for line in stranger.log_path.read_text().splitlines()]
        told = [line for line in lines if line["event"] == "peer unreachable"]
        assert {line["peer"] for line in told} == {1, 2}
        assert all("check addresses and data directories" in line["advice"] for line in told)
    finally:
        stranger.kill()
    assert highest_term(group) == term
    refused = [
        json.loads(line)
        for line in group[1].log_path.read_text().splitlines()
        if "cluster_mismatch" in line
    ]
    # It was dialed all the time; a line a minute says so, with how often.
    assert 1 <= len(refused) <= 3


def test_the_group_wins_over_flags_and_the_difference_is_told(group: Cluster) -> None:
    node = group[3]
    node.terminate()
    arguments = node.arguments
    node.arguments = [
        "--peers", f"1={group[1].address},3={node.address},9=127.0.0.1:9", "--cluster-token", "one",
    ]  # fmt: skip
    before = node.log_path.stat().st_size
    node.start()
    group.settle()
    lines = [json.loads(line) for line in node.log_path.read_text()[before:].splitlines()]
    told = {line["peer"]: (line["flag"], line["group"]) for line in lines if "flag" in line}
    assert told == {2: ("absent", group[2].address), 9: ("127.0.0.1:9", "absent")}
    node.arguments = arguments


def test_a_port_in_use_is_one_sentence(group: Cluster, short_dir: Path) -> None:
    port = group[1].address
    other = Node(7, port, short_dir, ["--peers", f"7={port}"])
    other.start()
    assert other.wait() == 1
    last = json.loads(other.log_path.read_text().splitlines()[-1])
    assert last["event"] == "raftd stops"
    assert "is another raftd running there" in last["reason"]


def test_no_signal_ends_a_membership(group: Cluster) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        group[3].signal(number)
        assert group[3].wait() == 0
        with group.client(1, 2) as client:
            assert sorted(client.status().config.voters) == [1, 2, 3]
        group[3].start()
        group.settle()
