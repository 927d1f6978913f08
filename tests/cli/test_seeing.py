"""status, progress, health, wait, version: what they ask, show and exit with."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from raftwire.proto.admin_pb2 import (
    Error,
    Health,
    HealthReply,
    MemberAnswer,
    Response,
    StatusReply,
    WaitReply,
    WaitRequest,
)
from tests.cli import fake
from tests.cli.conftest import Ctl, run_ctl
from tests.cli.fake import FakeNode

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """Compare with a golden file; with --rewrite, write it."""
    path = GOLDEN / name
    if request.config.getoption("--rewrite", False):
        path.write_text(text)
    assert text == path.read_text()


def test_status_for_people(node: FakeNode, ctl: Ctl, request: pytest.FixtureRequest) -> None:
    node.answer("status", Response(status=fake.status()))
    ran = ctl("status")
    assert (ran.code, ran.err) == (0, "")
    check_golden("status.txt", ran.out, request)


def test_status_as_json_has_what_scripts_rely_on(node: FakeNode, ctl: Ctl) -> None:
    node.answer("status", Response(status=fake.status()))
    ran = ctl("status", "--json")
    envelope = ran.json
    assert envelope["schema"] == "raftctl/v1"
    assert envelope["ok"] is True
    assert (envelope["node"], envelope["leader"], envelope["term"]) == (2, 1, 7)
    assert envelope["cluster_id"] == "9f0c1122334455667788990011223344"
    data = envelope["data"]
    for name in (
        "id", "role", "leader", "term", "vote", "commit", "applied", "last_index", "first_index",
    ):  # fmt: skip
        assert name in data
    for name in ("joint", "voters", "learners", "voters_outgoing", "learners_next"):
        assert name in data["config"]
    assert data["config"]["voters"] == [1, 2, 3]
    assert data["snapshot"] is None
    assert [(p["id"], p["addr"], p["reachable"]) for p in data["peers"]] == [
        (1, "127.0.0.1:7001", True),
        (2, "127.0.0.1:7002", True),
        (3, "127.0.0.1:7003", False),
    ]
    assert data["peers"][2]["error"] == "connection refused"


def test_status_of_the_cluster_names_members_that_do_not_answer(node: FakeNode, ctl: Ctl) -> None:
    reply = StatusReply(id=2)
    reply.members.append(MemberAnswer(id=2, addr="127.0.0.1:7002", status=fake.status()))
    gone = Error(code="MEMBER_UNREACHABLE", message="connection refused")
    reply.members.append(MemberAnswer(id=3, addr="127.0.0.1:7003", error=gone))
    node.answer("status", Response(status=reply))
    ran = ctl("status", "--cluster")
    assert "MEMBER_UNREACHABLE" in ran.out
    assert "127.0.0.1:7003" in ran.out
    assert node.requests[0].status.cluster
    lines = [
        json.loads(line) for line in ctl("status", "--cluster", "-o", "ndjson").out.split("\n")[:-1]
    ]
    assert [line["id"] for line in lines] == [2, 3]


def test_progress_for_people(node: FakeNode, ctl: Ctl, request: pytest.FixtureRequest) -> None:
    node.answer("progress", Response(progress=fake.progress()))
    ran = ctl("progress")
    assert ran.code == 0
    check_golden("progress.txt", ran.out, request)


def test_progress_as_json(node: FakeNode, ctl: Ctl) -> None:
    node.answer("progress", Response(progress=fake.progress()))
    rows = ctl("progress", "--json").data["rows"]
    assert [row["state"] for row in rows] == ["self", "replicate", "probe", "snapshot"]
    assert rows[2]["lag"] == 143


@pytest.mark.parametrize(
    ("state", "args", "code"),
    [
        ("healthy", [], 0),
        ("degraded", [], 0),
        ("degraded", ["--strict"], 7),
        ("unhealthy", [], 7),
        ("unhealthy", ["--json"], 7),
    ],
)
def test_health_is_an_exit_code(
    node: FakeNode, ctl: Ctl, state: str, args: list[str], code: int
) -> None:
    health = Health(state=state, tolerance=1, reasons=["node 3 is not reachable"])
    node.answer("health", Response(health=HealthReply(health=health, live=True)))
    ran = ctl("health", *args)
    assert ran.code == code
    assert "node 3 is not reachable" in ran.out


def test_wait_asks_for_what_was_named(node: FakeNode, ctl: Ctl) -> None:
    node.answer("wait", Response(wait=WaitReply(took_ms=12, detail="node 1 leads")))
    ran = ctl("wait", "leader")
    assert (ran.code, ran.out) == (0, "node 1 leads after 12ms\n")
    ctl("wait", "applied", "77")
    ctl("wait", "member", "4", "voter", "--timeout", "2m")
    assert [r.wait.what for r in node.requests] == [
        WaitRequest.LEADER,
        WaitRequest.INDEX_APPLIED,
        WaitRequest.MEMBER,
    ]
    assert node.requests[1].wait.index == 77
    assert (node.requests[2].wait.id, node.requests[2].wait.role) == (4, "voter")
    assert 100_000 < node.requests[2].deadline_ms <= 120_000


@pytest.mark.parametrize(
    ("args", "code"), [(["leader"], 5), (["healthy"], 7), (["applied", "9"], 7)]
)
def test_waiting_in_vain_has_its_exit_code(
    node: FakeNode, ctl: Ctl, args: list[str], code: int
) -> None:
    node.answer("wait", Error(code="TIMEOUT", message="still not so", outcome="NOT_APPLIED"))
    ran = ctl("wait", *args, "--timeout", "200ms")
    assert ran.code == code


@pytest.mark.parametrize(
    "args", [["leader", "1"], ["applied"], ["applied", "x"], ["member", "4"], ["member", "4", "x"]]
)
def test_wait_checks_its_arguments(ctl: Ctl, args: list[str]) -> None:
    assert ctl("wait", *args).code == 2


def test_wait_also_waits_for_a_node_that_is_being_started() -> None:
    node = FakeNode()
    node.answer("wait", Response(wait=WaitReply(detail="node 1 leads")))
    found: list[int] = []
    waiting = threading.Thread(
        target=lambda: found.append(run_ctl("-s", node.socket, "wait", "leader").code)
    )
    waiting.start()
    with node:
        waiting.join(20)
        assert found == [0]


def test_wait_ends_in_time_when_no_node_is_started() -> None:
    ran = run_ctl("-s", "/tmp/no-such-raftd.sock", "wait", "leader", "--timeout", "200ms")
    assert ran.code == 3


def test_version_without_a_node_is_no_failure() -> None:
    ran = run_ctl("version", "-s", "/tmp/no-such-raftd.sock", "--json")
    assert ran.code == 0
    assert ran.data["raftd"] is None
    assert "error" in ran.data
