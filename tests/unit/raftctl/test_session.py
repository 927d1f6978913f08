"""Which socket is talked to when none, one or several nodes run on the host."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import pytest

from raftctl.errors import CtlError, ExitCode
from raftctl.options import Settings
from raftctl.session import Session
from raftwire import paths


@pytest.fixture
def run_dir(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "SYSTEM_RUN_DIR", str(short_dir))
    monkeypatch.setattr(paths, "_user_run_dirs", lambda environ: [str(short_dir / "user")])
    return short_dir


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    return made


def test_the_only_node_of_the_host(run_dir: Path) -> None:
    with listening(run_dir / "7.sock"):
        assert Session(Settings()).sockets() == [str(run_dir / "7.sock")]


def test_several_nodes_are_listed(run_dir: Path) -> None:
    with listening(run_dir / "1.sock"), listening(run_dir / "2.sock"):
        with pytest.raises(click.UsageError) as caught:
            Session(Settings()).sockets()
        assert str(run_dir / "1.sock") in caught.value.message
        assert str(run_dir / "2.sock") in caught.value.message
        assert "--id N" in caught.value.message
        assert Session(Settings(id=2)).sockets() == [str(run_dir / "2.sock")]


def test_the_socket_of_a_node_that_was_killed_does_not_count(run_dir: Path) -> None:
    listening(run_dir / "1.sock").close()
    with listening(run_dir / "2.sock"):
        assert Session(Settings()).sockets() == [str(run_dir / "2.sock")]


def test_no_node_at_all(run_dir: Path) -> None:
    with pytest.raises(CtlError) as caught:
        Session(Settings()).sockets()
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "--socket" in caught.value.hint


def test_named_sockets_are_taken_as_they_are(run_dir: Path) -> None:
    assert Session(Settings(sockets=("/a", "/b"))).sockets() == ["/a", "/b"]
