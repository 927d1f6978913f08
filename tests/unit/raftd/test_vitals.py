"""The look at a node: what feeds the watchdog, what is warned of, when the disk is full."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftd.config import load
from raftd.log import Log
from raftd.measures import Durations
from raftd.notify import Notifier
from raftd.vitals import WARN_SECONDS, Room, Signs, Vitals, moves_on

CALM = Signs(ticks=10, flushes=5, flushing=False, joint_seconds=0, text="leader")


class Told:
    """A structlog logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))

    warning = error = info


@pytest.fixture
def told() -> Told:
    return Told()


class Disk:
    used = 0
    free = 10 * 2**30

    def disk_usage(self) -> int:
        return self.used

    def free_bytes(self) -> int:
        return self.free


@pytest.mark.parametrize(
    ("now", "alive"),
    [
        ({"ticks": 11}, True),
        # Ticks have stopped.
        ({}, False),
        # A flush runs, and another had ended meanwhile: the disk moves.
        ({"ticks": 11, "flushing": True, "flushes": 6}, True),
        # It has just begun.
        ({"ticks": 11, "flushing": True}, True),
    ],
)
def test_what_counts_as_alive(now: dict[str, Any], alive: bool) -> None:
    assert moves_on(CALM, dataclasses.replace(CALM, **now)) is alive


def test_a_flush_that_does_not_end_is_not_alive() -> None:
    stuck = dataclasses.replace(CALM, flushing=True)
    assert not moves_on(stuck, dataclasses.replace(stuck, ticks=11))
    assert moves_on(stuck, dataclasses.replace(stuck, ticks=11, flushes=6))
    assert moves_on(stuck, dataclasses.replace(CALM, ticks=11))


@pytest.fixture
def manager(short_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(short_dir / "n"))
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


class Setup:
    def __init__(self, told: Told, environ: dict[str, str] | None = None, **flags: str) -> None:
        self.config = load({"node_id": "1", "peers": "1=127.0.0.1:1", **flags}, {})
        self.signs = CALM
        self.disk = Disk()
        self.fsync, self.apply = Durations(), Durations()
        log = Log(told)
        self.room = Room(self.config, self.disk, log)
        self.vitals = Vitals(
            self.config, Notifier(environ or {}), lambda: self.signs, fsync=self.fsync,
            apply=self.apply, room=self.room, log=log,
        )  # fmt: skip


def test_the_watchdog_is_fed_only_while_the_node_moves(told: Told, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"}
    setup = Setup(told, environ)
    assert setup.vitals.interval == 0.5
    setup.vitals.look(0)
    assert received(manager) == ["WATCHDOG=1", "STATUS=leader"]
    setup.vitals.look(1)
    assert received(manager) == []
    assert setup.vitals.stuck == 1
    setup.signs = dataclasses.replace(CALM, ticks=11)
    setup.vitals.look(2)
    assert received(manager) == ["WATCHDOG=1"]


def test_a_slow_disk_is_told_once_in_a_while_with_the_figures(told: Told) -> None:
    setup = Setup(told, slow_fsync="100ms")
    setup.fsync.note(0.05)
    setup.vitals.look(0)
    assert told.lines == []
    for now in (1.0, 2.0, 3.0):
        setup.fsync.note(0.3)
        setup.vitals.look(now)
    ((event, values),) = told.lines
    assert event == "slow disk"
    assert values["worst_ms"] == 300
    assert values["p99_ms"] == 500
    setup.fsync.note(0.3)
    setup.vitals.look(2.0 + WARN_SECONDS)
    assert len(told.lines) == 2
    # What is over is not told later.
    setup.vitals.look(100 + WARN_SECONDS)
    assert len(told.lines) == 2


def test_a_slow_apply_and_a_long_joint_state_are_told(told: Told) -> None:
    setup = Setup(told, slow_apply="100ms", joint_warn_after="1m")
    setup.apply.note(0.2)
    setup.signs = dataclasses.replace(CALM, joint_seconds=61)
    setup.vitals.look(0)
    assert [event for event, _ in told.lines] == ["slow apply", "still joint"]
    off = Setup(Told(), slow_apply="0s", joint_warn_after="0s")
    off.apply.note(9)
    off.signs = setup.signs
    off.vitals.look(0)


def test_a_full_disk_refuses_and_lets_go_again_with_some_room(told: Told) -> None:
    setup = Setup(told, quota="1000", min_free_disk="100")
    room, disk = setup.room, setup.disk
    room.look()
    assert room.error is None
    disk.used = 1001
    room.look()
    assert room.error is not None
    assert room.error.code == "QUOTA"
    assert room.error.details == {"limit": "quota", "value": "1001", "cap": "1000"}
    assert room.error.outcome == "not_applied"
    disk.used = 950
    room.look()
    assert room.error is not None, "it would flutter"
    disk.used = 890
    room.look()
    assert room.error is None
    disk.free = 99
    room.look()
    assert room.error is not None
    assert room.error.details["limit"] == "min_free_disk"
    disk.free = 200
    room.look()
    assert room.error is None
    assert [event for event, _ in told.lines] == ["disk full", "disk has room again"] * 2


def test_durations() -> None:
    found = Durations((0.001, 0.01, 0.1))
    for seconds in (0.0005, 0.001, 0.002, 0.05, 7):
        found.note(seconds)
    assert found.cumulative() == [("0.001", 2), ("0.01", 3), ("0.1", 4), ("+Inf", 5)]
    assert found.total == pytest.approx(7.0535)
    assert (found.percentile(0.4), found.percentile(0.6), found.percentile(1)) == (0.001, 0.01, 0.1)
    assert found.take_worst() == 7
    assert found.take_worst() == 0
    assert Durations().percentile(0.99) == 0


def test_nobody_listening_is_no_failure() -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
    # Another process's watchdog is not ours.
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    assert Notifier(environ).watchdog_seconds == 0
