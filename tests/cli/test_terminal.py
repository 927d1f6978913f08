"""raftctl on a terminal: styles, redrawing, questions, bars."""

from __future__ import annotations

import os
import re
import sys

import pexpect  # type: ignore[import-untyped]
import pytest

from raftwire.proto.admin_pb2 import Response
from tests.cli import fake
from tests.cli.fake import FakeNode, config
from tests.cli.test_membership import Group, changed


def terminal(node: FakeNode, *args: str, **environment: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable,
        ["-m", "raftctl", "-s", node.socket, *args],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "TERM": "xterm",
            **environment,
        },
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 160),
    )


@pytest.fixture(autouse=True)
def _answers(node: FakeNode) -> None:
    node.answer("status", Response(status=fake.status()))


def test_text_is_styled_and_says_the_same(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    child = terminal(node, "status")
    child.expect(pexpect.EOF)
    styled = str(child.before)
    assert "\x1b[1mnode 2\x1b[0m" in styled
    child = terminal(node, "status", NO_COLOR="1")
    child.expect(pexpect.EOF)
    plain = str(child.before)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled) == plain


def test_watch_redraws_in_place_until_ctrl_c(node: FakeNode) -> None:
    child = terminal(node, "status", "-w", "100ms")
    for _ in range(3):
        child.expect_exact("\x1b[H\x1b[2J")
        child.expect_exact("DEGRADED")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in str(child.before)


def test_a_watch_outlives_the_node(node: FakeNode) -> None:
    child = terminal(node, "status", "-w", "100ms")
    child.expect_exact("DEGRADED")
    node.answer("status", lambda request: None)
    child.expect_exact("error")
    node.answer("status", Response(status=fake.status()))
    child.expect_exact("DEGRADED")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()


@pytest.mark.parametrize(("answer", "code", "asked"), [("y", 0, 1), ("n", 2, 0), ("", 2, 0)])
def test_a_question_before_what_cannot_be_undone(
    node: FakeNode, answer: str, code: int, asked: int
) -> None:
    node.answer("member_change", changed(config(1, 2, index=981)))
    child = terminal(node, "member", "remove", "3")
    child.expect_exact("[y/N]")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert node.bodies().count("member_change") == asked


def test_a_bar_while_members_catch_up(node: FakeNode) -> None:
    Group(node, config(1, 2, 3, index=980), behind=800)
    child = terminal(node, "member", "change", "--voters", "1,2,4")
    child.expect_exact("catching up: node 4")
    child.expect_exact("DONE at index 981")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_an_interrupted_change_says_how_to_go_on(node: FakeNode) -> None:
    Group(node, config(1, 2, 3, index=980), behind=10_000_000)
    child = terminal(node, "member", "change", "--voters", "1,2,4")
    child.expect_exact("catching up: node 4")
    child.sendintr()
    child.expect_exact("run the same command again to go on")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
