"""The programs and the bytes in the manual are right: run as printed, against real nodes."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftwire.errors import Code
from raftwire.frame import encode_frame
from raftwire.proto.admin_pb2 import Outcome, Request, Response
from tests.harness.processes import Cluster, cluster, environment
from tests.house.tree import ROOT

SOURCES = ROOT / "man" / "src"


@pytest.fixture(scope="module")
def logs() -> Iterator[Cluster]:
    with cluster(3) as group:
        yield group


def run(
    program: str, *args: object, python: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, SOURCES / program, *map(str, args)],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sockets(group: Cluster) -> list[Path]:
    return [node.socket for node in group.nodes.values()]


# --- raftd-admin.7 ------------------------------------------------------------------------------


def frames_in_the_manual() -> list[bytes]:
    """Return the frames of the section Bytes: hexadecimal on the left, words on the right."""
    page = (SOURCES / "raftd-admin.7.in").read_text()
    section = page.partition(".Ss Bytes\n")[2].partition("\n.Ss ")[0]
    blocks = re.findall(r"\.Bd.*?\n(.*?)\.Ed", section, re.DOTALL)
    return [bytes.fromhex("".join(map(_hex, block.splitlines()))) for block in blocks]


def _hex(line: str) -> str:
    found = re.match(r" *((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", line)
    assert found, line
    return found[1]


def test_the_bytes_are_those_of_the_encoder() -> None:
    ask = Request(id=1, deadline_ms=5000)
    ask.propose.data, ask.propose.key = b"hello", "k"
    answer = Response(id=1, node=2, leader=1, term=7)
    answer.propose.index, answer.propose.term, answer.propose.outcome = 1042, 7, Outcome.APPLIED
    facts = Code.NO_LEADER.facts
    refusal = Response(id=1, node=2, term=7)
    refusal.error.code, refusal.error.outcome = Code.NO_LEADER, Outcome.NOT_APPLIED
    refusal.error.retryable, refusal.error.retry_after_ms = facts.retryable, facts.retry_after_ms
    expected = [encode_frame(one.SerializeToString()) for one in (ask, answer, refusal)]
    assert frames_in_the_manual() == expected


def test_a_client_with_sockets_and_generated_code_alone(logs: Cluster, tmp_path: Path) -> None:
    protoc = Path(sys.executable).with_name("protoc")
    subprocess.run(
        [protoc, "-I", ".", f"--python_out={tmp_path}", "raftwire/proto/admin.proto"],
        cwd=ROOT / "common",
        check=True,
    )
    # Without site, so that this project's own packages are not found: only protobuf is.
    path = f"{tmp_path}:{sysconfig.get_path('purelib')}"
    node = logs[logs.follower()]
    answers = []
    for _ in range(2):
        ran = run("admin_client.py", node.socket, "hello", "world", python=("-S",), PYTHONPATH=path)
        assert ran.returncode == 0, ran.stderr
        first, *entries = ran.stdout.splitlines()
        assert first.startswith(f"node {node.id}, raftd ")
        assert [line.split()[1] for line in entries][:2] == ["hello", "world"]
        answers.append(entries[:2])
    # Its keys: the second run is answered with the indexes of the first.
    assert answers[0] == answers[1]


# --- raftwire.3 ---------------------------------------------------------------------------------


def test_the_asyncio_example(logs: Cluster) -> None:
    logs.settle()
    ran = run("example_async.py", *sockets(logs))
    assert ran.returncode == 0, ran.stderr
    applied, read = ran.stdout.splitlines()
    assert applied == "1000 of 1000 applied"
    assert int(read.split()[0]) >= 1000


def test_the_blocking_example() -> None:
    with cluster(3, "--state-machine", "kv") as group:
        for count in (1, 2):
            ran = run("example_blocking.py", *sockets(group))
            assert ran.returncode == 0, ran.stderr
            first, who, pair = ran.stdout.splitlines()
            assert first == f"orders: {count}"
            # The second time its first socket is a dead node's.
            assert who.startswith(f"node {count} answered, node ")
            assert pair == f"orders = {count}"
            group[1].kill()
        for node in group.running():
            node.kill()
        ran = run("example_blocking.py", *sockets(group))
        assert ran.returncode == 3
        assert "not counted: CONNECT" in ran.stderr
