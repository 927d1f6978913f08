"""The engine's timer: which ticks a late one passes on, and which it leaves out."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

import raftd.node
from raft import Config, MemStorage, RawNode, ReadOnlyOption
from raft.eraftpb import HardState, Message, MsgHeartbeat
from raftd.node import Node

INTERVAL = 0.025
ELECTION_TICK = 40


class Clock:
    """An event loop of which only the time matters."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        """Seconds."""
        return self.now

    monotonic = time

    def call_at(self, when: float, callback: Any) -> SimpleNamespace:
        """Whoever runs the test calls."""
        return SimpleNamespace(when=when, callback=callback, cancel=lambda: None)

    def call_soon(self, callback: Any) -> None:
        """Turns are not what is tested."""


def _nothing(*_: Any, **__: Any) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the engine goes by."""
    clock = Clock()
    monkeypatch.setattr(raftd.node, "asyncio", SimpleNamespace(get_running_loop=lambda: clock))
    monkeypatch.setattr(raftd.node, "time", clock)
    monkeypatch.setattr(raftd.node, "Flusher", lambda sync, done: None)
    return clock


def an_engine(read_mode: str) -> Node:
    """Return the engine of a follower that has just heard a heartbeat."""
    storage = MemStorage.new_with_conf_state(([1, 2, 3], []))
    with storage.wl() as core:
        core.set_hardstate(HardState(term=1, commit=1))
    lease = read_mode == "lease"
    config = Config(
        id=1,
        applied=1,
        election_tick=ELECTION_TICK,
        heartbeat_tick=4,
        check_quorum=True,
        read_only_option=ReadOnlyOption.LeaseBased if lease else ReadOnlyOption.Safe,
    )
    raw = RawNode(config, storage, rng=random.Random(1))
    settings = SimpleNamespace(
        read_mode=read_mode,
        fsync="always",
        tick_interval=INTERVAL,
        election_timeout=INTERVAL * ELECTION_TICK,
    )
    network = SimpleNamespace(send=_nothing, send_frame=_nothing, reachable=lambda peer: True)
    log = SimpleNamespace(bind=_nothing, debug=_nothing, info=_nothing, warning=_nothing)
    driver = SimpleNamespace()
    engine = Node(
        settings,  # type: ignore[arg-type]  # what the timer looks at
        raw,
        driver,  # type: ignore[arg-type]  # nothing is driven
        sync=_nothing,
        network=network,
        incarnation=1,
        log=log,  # type: ignore[arg-type]  # silent
        on_fail=_nothing,
    )
    engine.start()
    return engine


@pytest.mark.parametrize("lateness", [0.0, 0.3, 0.9, 1.7, 2.5, 3.9, 5.0])
def test_a_promise_to_a_leader_lasts_by_the_clock_however_late_the_timer_is(
    clock: Clock, lateness: float
) -> None:
    # The first timer after the heartbeat was heard is late; all later ones are on time.
    engine = an_engine("lease")
    clock.now += INTERVAL * (1 + lateness)
    engine.raw.step(Message(msg_type=MsgHeartbeat, to=1, from_=2, term=2))
    heard = clock.now
    ticks = 0
    while engine.raft.in_lease():
        before = engine.raft.ticks
        engine._tick()
        ticks += engine.raft.ticks - before
        if engine.raft.in_lease():
            clock.now = max(clock.now, engine._next_tick)
    assert ticks == ELECTION_TICK
    # Only the first tick may come at once: the leader's lease allows for that one.
    assert clock.now - heard >= INTERVAL * (ELECTION_TICK - 1) * 0.9999


def test_without_leases_a_late_timer_catches_up(clock: Clock) -> None:
    engine = an_engine("readindex")
    clock.now += INTERVAL * 3.5
    engine._tick()
    assert engine.raft.ticks == 3
