"""How runs of raftctl fail: exit codes, the error as text and JSON, what is not sent twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from raftctl.errors import EXIT_MEANINGS
from raftwire.errors import Code, ExitCode
from raftwire.proto.admin_pb2 import (
    Error,
    LogEntry,
    LogReadReply,
    ProposeReply,
    Request,
    Response,
)
from tests.cli import fake
from tests.cli.conftest import Ctl, run_ctl
from tests.cli.fake import FakeNode


def test_every_exit_code_has_its_meaning_written_down() -> None:
    assert set(EXIT_MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("code", list(Code))
def test_each_code_ends_in_its_exit_code(node: FakeNode, ctl: Ctl, code: Code) -> None:
    facts = code.facts
    error = Error(code=code, message="as it is", hint="do this", outcome=facts.outcome.name)
    node.answer("campaign", error)
    ran = ctl("campaign", "--json")
    want = ExitCode.OUTCOME_UNKNOWN if facts.outcome == "unknown" else facts.exit_code
    assert ran.code == want
    envelope = ran.json
    assert envelope["ok"] is False
    assert envelope["error"]["code"] == code
    assert envelope["error"]["outcome"] == facts.outcome
    assert {"code", "message", "hint", "outcome", "retryable"} <= set(envelope["error"])


def test_a_code_of_a_newer_node_is_a_plain_failure(node: FakeNode, ctl: Ctl) -> None:
    node.answer("campaign", Error(code="BRAND_NEW", message="m", outcome="NOT_APPLIED"))
    assert ctl("campaign").code == 1


def test_an_error_is_one_line_and_a_hint_on_standard_error(node: FakeNode, ctl: Ctl) -> None:
    node.answer(
        "propose",
        Error(code="NO_QUORUM", message="1 of 3", hint="start more", outcome="NOT_APPLIED"),
    )
    ran = ctl("propose", "x")
    assert ran.code == 5
    assert ran.out == ""
    assert ran.err == "raftctl: error (NO_QUORUM): 1 of 3\n  hint: start more\n"


def test_nobody_there_is_exit_3() -> None:
    ran = run_ctl("-s", "/tmp/no-such-raftd.sock", "status", "--json")
    assert ran.code == 3
    assert ran.json["error"]["code"] == "CONNECT"


def test_a_lost_answer_to_a_proposal_is_unknown_and_is_not_sent_again(
    node: FakeNode, ctl: Ctl
) -> None:
    node.answer("propose", lambda request: None)
    ran = ctl("propose", "x", "--json")
    assert ran.code == 6
    assert ran.json["error"]["outcome"] == "unknown"
    assert "log show" in ran.json["error"]["hint"]
    assert node.bodies() == ["propose"]


def test_with_a_key_it_is_sent_again(node: FakeNode, ctl: Ctl) -> None:
    def second_time(request: Request) -> Response | None:
        if len(node.requests) == 1:
            return None
        return Response(propose=ProposeReply(index=9, term=7, outcome="APPLIED", deduplicated=True))

    node.answer("propose", second_time)
    ran = ctl("propose", "x", "--key", "k1", "--json")
    assert ran.code == 0
    assert ran.data["deduplicated"] is True
    assert [r.propose.key for r in node.requests] == ["k1", "k1"]


def test_no_answer_in_time_is_unknown(node: FakeNode, ctl: Ctl) -> None:
    released: list[bool] = []

    def never(request: Request) -> Sequence[Response] | None:
        deadline = time.monotonic() + 5
        while not released and time.monotonic() < deadline:
            time.sleep(0.01)
        return None

    node.answer("propose", never)
    ran = ctl("propose", "x", "--timeout", "100ms")
    released.append(True)
    assert ran.code == 6
    assert "may still be applied" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["propose"],
        ["propose", "a", "--stdin-lines"],
        ["propose", "xyz", "--hex"],
        ["member", "begin"],
        ["member", "begin", "--voters", "1,1"],
        ["member", "begin", "--voters", "0"],
        ["member", "add", "4", "nowhere"],
        ["log", "show", "9..3"],
        ["kv", "cas", "k", "v"],
        ["status", "--timeout", "soon"],
    ],
)
def test_wrong_lines_are_exit_2_with_one_object_in_json(node: FakeNode, args: list[str]) -> None:
    ran = run_ctl("-s", node.socket, *args)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("raftctl: error (USAGE): ")
    ran = run_ctl("--json", "-s", node.socket, *args)
    assert ran.code == 2
    assert ran.json["error"]["code"] == "USAGE"
    assert node.requests == []


def test_a_misspelt_command_is_answered_with_the_right_one(ctl: Ctl) -> None:
    assert "Did you mean status?" in ctl("statu").err


def test_what_cannot_be_undone_needs_a_yes(node: FakeNode, ctl: Ctl) -> None:
    ran = ctl("member", "remove", "3", "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "NOT_CONFIRMED"
    assert node.requests == []


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_a_closed_pipe_is_silent_and_exit_141(node: FakeNode) -> None:
    page = LogReadReply(entries=[LogEntry(index=n, term=1, type="normal") for n in range(1, 500)])
    node.answer("log_read", lambda request: [Response(log_read=page)] * 50)
    line = f"{sys.executable} -m raftctl -s {node.socket} log show; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({line}) | head -1"],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr.strip() == "141"
    assert len(done.stdout.splitlines()) == 1


def test_ctrl_c_is_exit_130(node: FakeNode) -> None:
    node.answer("status", Response(status=fake.status()))
    process = subprocess.Popen(
        [sys.executable, "-m", "raftctl", "-s", node.socket, "status", "-w", "--json"],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ok"] is True
    process.send_signal(2)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
