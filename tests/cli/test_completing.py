"""What TAB offers: commands, options, sockets, and the members of the live group."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from raftctl.cli import run
from raftwire.proto.admin_pb2 import Member, MemberListReply, Request, Response
from tests.cli.fake import FakeNode, config


def offered(line: str, **environment: str) -> list[str]:
    """Return what is offered for a line whose last word is being typed, without its help."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "raftctl"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "_RAFTCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [row.partition(",")[2] for row in done.stdout.splitlines() if row]


def members(node: FakeNode) -> None:
    rows = [Member(id=i, addr=f"h:{i}", role="voter") for i in (1, 2, 13)]
    reply = MemberListReply(members=rows, config=config(1, 2, 13))
    node.answer("member_list", Response(member_list=reply))


def test_commands_and_options() -> None:
    assert offered("raftctl sta") == ["status"]
    assert {"begin", "finalize", "abort"} <= set(offered("raftctl member "))
    assert "--learners" in offered("raftctl member begin --l")
    assert "--json" in offered("raftctl status --j")


def test_ids_come_from_the_live_group(node: FakeNode) -> None:
    members(node)
    assert offered(f"raftctl -s {node.socket} transfer-leader 1") == ["1", "13"]
    assert offered("raftctl member remove ", RAFTCTL_SOCKET=node.socket) == ["1", "2", "13"]
    line = f"raftctl -s {node.socket} member begin --voters 1,"
    assert offered(line) == ["1,2", "1,13"]


def test_sockets_of_this_host(node: FakeNode, tmp_path: Path) -> None:
    run_dir = node.folder / "raftd"
    run_dir.mkdir()
    os.link(node.socket, run_dir / "2.sock")
    found = offered("raftctl -s ", XDG_RUNTIME_DIR=str(node.folder))
    assert str(run_dir / "2.sock") in found


def test_a_node_that_hangs_completes_nothing_and_does_not_hold_up_the_shell(
    node: FakeNode,
) -> None:
    released: list[bool] = []

    def hang(request: Request) -> Sequence[Response] | None:
        deadline = time.monotonic() + 5
        while not released and time.monotonic() < deadline:
            time.sleep(0.01)
        return None

    node.answer("member_list", hang)
    started = time.monotonic()
    assert offered(f"raftctl -s {node.socket} transfer-leader ") == []
    released.append(True)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    text = capsys.readouterr().out
    root = Path(__file__).parents[2]
    assert text == (root / "completions" / f"raftctl.{shell}").read_text()
    assert run(["completion", shell, "--for", "raftd"]) == 0
    assert capsys.readouterr().out == (root / "completions" / f"raftd.{shell}").read_text()


IN_SHELLS = {
    "bash": 'source "$1"; COMP_WORDS=($2 ""); [[ $2 == *" " ]] || COMP_WORDS=($2); '
    'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _raftctl_completion raftctl; printf "%s\\n" '
    '"${COMPREPLY[@]}"',
    "fish": "source $argv[1]; complete -C $argv[2]",
}
"""What a shell is given to complete a line: the script first, then the line."""


@pytest.mark.parametrize("shell", sorted(IN_SHELLS))
def test_shells_offer_what_raftctl_does(shell: str, node: FakeNode, short_dir: Path) -> None:
    """The scripts as they are shipped, read by the shells themselves."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    members(node)
    program = short_dir / "raftctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m raftctl "$@"\n')
    program.chmod(0o755)
    script = Path(__file__).parents[2] / "completions" / f"raftctl.{shell}"

    def complete(line: str) -> list[str]:
        last = [script, line] if shell == "fish" else ["_", script, line]
        done = subprocess.run(
            [found, "-c", IN_SHELLS[shell], *map(str, last)],
            env={
                "PATH": f"{short_dir}:{os.environ['PATH']}",
                "HOME": str(short_dir),
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "RAFTCTL_SOCKET": node.socket,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return [row.partition("\t")[0] for row in done.stdout.splitlines() if row]

    assert complete("raftctl sta") == ["status"]
    assert complete("raftctl member remove ") == ["1", "2", "13"]
    assert complete("raftctl member begin --voters 1,") == ["1,2", "1,13"]
