"""raftctl against three real raftd processes: while they agree and while they cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from raftctl.local_cluster import LocalCluster
from tests.cli.conftest import Ran, run_ctl

DEADLINE = 20.0


class Cluster:
    """Three running nodes, and raftctl to each of them."""

    def __init__(self, local: LocalCluster) -> None:
        self.local = local
        self.ids = (1, 2, 3)

    def start(self) -> None:
        peers = ",".join(f"{i}={self.local.address(i)}" for i in self.ids)
        for id_ in self.ids:
            self.local.start(id_, "--peers", peers)
        self.settle()

    def ctl(self, id_: int, *args: str, stdin: bytes = b"") -> Ran:
        return run_ctl("-s", str(self.local.folder / f"{id_}.sock"), *args, stdin=stdin)

    def leader(self, id_: int) -> int:
        ran = self.ctl(id_, "status", "--json", "--timeout", "1s")
        return int(ran.data["leader"]) if ran.code == 0 else 0

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    def settle(self) -> int:
        """Have all nodes running and agreeing on a leader; return it."""
        for id_ in self.ids:
            if not self.local.nodes[id_].running:
                self.local.start(id_)
        self.until("a leader", lambda: len({self.leader(i) for i in self.ids} - {0}) == 1
                   and all(self.leader(i) for i in self.ids))  # fmt: skip
        return self.leader(1)

    def signal(self, ids: list[int], number: signal.Signals) -> None:
        for id_ in ids:
            os.kill(self.local.nodes[id_].pid, number)


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with LocalCluster() as local:
        cluster = Cluster(local)
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def test_the_first_commands_one_types(cluster: Cluster) -> None:
    ran = cluster.ctl(2, "status")
    assert ran.code == 0
    assert ran.out.startswith("node 2")
    ran = cluster.ctl(2, "propose", "hello")
    assert ran.code == 0
    assert ran.out.startswith("applied index=")
    index = int(ran.out.split("index=")[1].split()[0])
    assert cluster.ctl(3, "wait", "applied", str(index)).code == 0
    assert f"{index:>6} t" in cluster.ctl(3, "log", "show").out
    assert cluster.ctl(1, "progress").code == 0
    assert cluster.ctl(1, "member", "list").code == 0
    assert cluster.ctl(1, "member", "status").out.startswith("STABLE")
    assert cluster.ctl(1, "read-index").out.startswith("index=")


def test_an_answer_through_any_node_has_the_same_shape(cluster: Cluster) -> None:
    for id_ in cluster.ids:
        envelope = cluster.ctl(id_, "propose", f"from {id_}", "--json").json
        assert envelope["schema"] == "raftctl/v1"
        assert envelope["node"] == id_
        assert envelope["leader"] in cluster.ids
        assert {"index", "term", "outcome"} <= set(envelope["data"])
        assert envelope["data"]["outcome"] == "applied"


def test_status_as_json(cluster: Cluster) -> None:
    data = cluster.ctl(1, "status", "--json").data
    assert data["config"]["voters"] == [1, 2, 3]
    assert data["config"]["joint"] is False
    assert data["applied"] <= data["commit"] <= data["last_index"]
    assert {peer["id"] for peer in data["peers"]} | {1} == {1, 2, 3}
    roles = {cluster.ctl(i, "status", "--json").data["role"] for i in cluster.ids}
    assert roles == {"leader", "follower"}


def test_status_of_the_cluster(cluster: Cluster) -> None:
    members = cluster.ctl(2, "status", "--cluster", "--json").data["members"]
    assert [member["id"] for member in members] == [1, 2, 3]


def test_a_retry_with_a_key_is_applied_once(cluster: Cluster) -> None:
    first = cluster.ctl(1, "propose", "x", "--key", "order-17", "--json").data
    again = cluster.ctl(2, "propose", "x", "--key", "order-17", "--json").data
    assert again["deduplicated"] is True
    assert again["index"] == first["index"]
    outcome = cluster.ctl(3, "outcome", "order-17", "--json").data
    assert (outcome["state"], outcome["index"]) == ("applied", first["index"])
    assert cluster.ctl(3, "outcome", "never", "--json").data["state"] == "not_seen"


@pytest.mark.parametrize(
    "command", [("put", "k", "v"), ("del", "k"), ("get", "k"), ("range",), ("watch", "k")]
)
def test_kv_commands_leave_a_log_alone(cluster: Cluster, command: tuple[str, ...]) -> None:
    """The group runs the state machine log, which would keep a kv command as data of its own."""
    before = cluster.ctl(1, "log", "digest", "--type", "normal").out
    ran = cluster.ctl(1, "kv", *command, "--json")
    assert ran.json["error"]["code"] == "UNSUPPORTED"
    assert "this cluster runs the state machine 'log', not 'kv'" in ran.json["error"]["message"]
    assert ran.code == 4
    assert cluster.ctl(1, "log", "digest", "--type", "normal").out == before


def test_many_proposals_in_order(cluster: Cluster) -> None:
    ran = cluster.ctl(3, "propose", "--stdin-lines", "--json", stdin=b"a\nb\nc\n")
    assert ran.data["ok"] == 3
    indexes = [result["index"] for result in ran.data["results"]]
    last = max(indexes)
    assert cluster.ctl(1, "wait", "applied", str(last)).code == 0
    data = cluster.ctl(1, "log", "show", f"{min(indexes)}..{last}", "--json").data
    assert [e["data"] for e in data["entries"] if e["type"] == "normal"] == ["a", "b", "c"]


def test_a_follower_of_the_log_outlives_its_node(cluster: Cluster) -> None:
    assert cluster.ctl(3, "propose", "seen by 3", "--timeout", "10s").code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "raftctl", "-s", str(cluster.local.folder / "3.sock"),
         "log", "tail", "-f", "-n", "1", "--type", "normal", "--json", "--timeout", "30s"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = json.loads(process.stdout.readline())["index"]
        cluster.local.kill(3)
        index = cluster.ctl(1, "propose", "unseen by 3", "--timeout", "10s", "--json").data["index"]
        cluster.settle()
        seen = json.loads(process.stdout.readline())
        assert (seen["index"], seen["data"]) == (index, "unseen by 3")
        assert index > first
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == ""


def test_leadership_moves_on_request(cluster: Cluster) -> None:
    old = cluster.settle()
    new = next(i for i in cluster.ids if i != old)
    ran = cluster.ctl(old, "transfer-leader", str(new), "--json")
    assert ran.code == 0
    assert (ran.data["from_id"], ran.data["to_id"]) == (old, new)
    cluster.settle()
    assert cluster.ctl(old, "step-down").code == 0
    cluster.until("another leader", lambda: cluster.leader(new) not in (0, new))
    # Against a leader that is well nobody is elected, and the command says so.
    ran = cluster.ctl(new, "campaign", "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "CAMPAIGN_LOST"
    assert "transfer-leader" in ran.json["error"]["hint"]


def test_logs_are_equal(cluster: Cluster) -> None:
    index = cluster.ctl(1, "propose", "last", "--json").data["index"]
    found = set()
    for id_ in cluster.ids:
        assert cluster.ctl(id_, "wait", "applied", str(index)).code == 0
        found.add(cluster.ctl(id_, "log", "digest", f"..{index}", "--json").data["sha256"])
    assert len(found) == 1


def test_a_node_that_is_down_is_exit_3(cluster: Cluster) -> None:
    cluster.local.kill(3)
    ran = cluster.ctl(3, "status", "--json")
    assert ran.code == 3
    assert ran.json["error"]["code"] == "CONNECT"
    # The others go on, and say who is missing.
    assert cluster.ctl(1, "propose", "two of three", "--timeout", "10s").code in (0, 5, 6)
    cluster.until(
        "the group to notice",
        lambda: cluster.ctl(1, "health", "--json").data["health"]["state"] != "healthy",
    )
    assert cluster.ctl(1, "health", "--strict").code == 7


def test_without_a_quorum_nothing_is_applied_and_status_still_answers(cluster: Cluster) -> None:
    cluster.local.kill(2)
    cluster.local.kill(3)
    cluster.until("node 1 to be without a leader", lambda: cluster.leader(1) == 0)
    ran = cluster.ctl(1, "propose", "in vain", "--timeout", "1s", "--json")
    assert ran.code == 5, ran.out
    error = ran.json["error"]
    assert error["outcome"] == "not_applied"
    assert error["code"] in ("NO_LEADER", "NO_QUORUM")
    assert error["hint"]
    ran = cluster.ctl(1, "status", "--json")
    assert ran.code == 0
    assert ran.data["leader"] == 0
    assert ran.data["health"]["state"] == "unhealthy"
    # What is needed to find out what is wrong needs no leader, and does not wait for one.
    for words in ("log show", "log stat", "member list", "member status", "progress", "events",
                  "config show", "metrics", "version", "status --cluster"):  # fmt: skip
        ran = cluster.ctl(1, *words.split(), "--timeout", "3s")
        assert ran.code == 0, f"{words}: {ran.err}"
    ran = cluster.ctl(1, "progress", "--json")
    assert [(row["id"], row["state"]) for row in ran.data["rows"]] == [(1, "self")]
    assert ran.data["rows"][0]["matched"] == ran.data["last_index"]
    assert "see raftctl status" in cluster.ctl(1, "progress").err
    assert cluster.ctl(1, "health").code == 7
    assert cluster.ctl(1, "wait", "leader", "--timeout", "300ms").code == 5
    cluster.settle()
    entries = json.dumps(cluster.ctl(1, "log", "show", "--json").data["entries"])
    assert "in vain" not in entries


def test_a_proposal_that_may_yet_be_applied_is_exit_6(cluster: Cluster) -> None:
    leader = cluster.settle()
    others = [i for i in cluster.ids if i != leader]
    cluster.signal(others, signal.SIGSTOP)
    try:
        ran = cluster.ctl(leader, "propose", "who knows", "--timeout", "300ms", "--json")
    finally:
        cluster.signal(others, signal.SIGCONT)
    assert ran.code == 6, ran.out
    error = ran.json["error"]
    assert error["outcome"] == "unknown"
    assert "log show" in error["hint"]
