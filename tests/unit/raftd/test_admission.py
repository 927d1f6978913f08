"""Overload over a simulated clock: waiting is bounded by refusals, and what is not overload passes.

The proposals are the daemon's own; the group behind them is a rate at which it answers.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raft import ReadState
from raftd.admission import Admission
from raftd.applier import Applied, EntryKind, Outcome
from raftd.engine import Counters, Engine
from raftd.proposing import Proposing
from raftd.reading import Reading
from raftd.standing import Standing
from raftwire import AdminError, Code
from raftwire.errors import Outcome as Fate

STEP = 0.01
TIMEOUT = 1.0
MIB = 1 << 20


class Group:
    """A leader whose group answers at most ``capacity`` proposals a second, after ``latency``."""

    def __init__(self, capacity: float, latency: float = 0.005, **limits: int) -> None:
        self.now = 50.0
        self.capacity = capacity
        self.latency = latency
        self.took: list[tuple[float, float]] = []
        """Of each answer: when it came, and after how long."""
        self.refusals: list[AdminError] = []
        self.failed: list[AdminError] = []
        self._budget = 0.0
        self._taken: dict[int, float] = {}
        self._request = 0
        self.raft = SimpleNamespace(term=2, leader_id=1, lead_transferee=0)
        settings = {
            "election_timeout": TIMEOUT, "max_entry_bytes": 2 * MIB, "max_pending": 10_000,
            "max_pending_bytes": 64 * MIB, "max_apply_lag": 0,
        }  # fmt: skip
        engine = SimpleNamespace(
            id=1,
            incarnation=9,
            config=SimpleNamespace(**settings | limits),
            raw=SimpleNamespace(propose_batch=lambda items: None),
            raft=self.raft,
            network=SimpleNamespace(reachable=lambda peer: False),
            loop=SimpleNamespace(time=lambda: self.now),
            counters=Counters(),
            schedule=lambda: None,
            stopping=lambda: None,
        )
        no_leader = AdminError(Code.NO_LEADER, "nobody leads")
        standing = SimpleNamespace(
            outside=False, quorum_linked=True, no_leader_error=lambda: no_leader
        )
        self.proposing = Proposing(cast("Engine", engine), cast("Standing", standing))

    # -- the client ----------------------------------------------------------------------------

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        """Note how long it took."""
        self.took.append((self.now, self.now - self._taken.pop(request_id)))

    def request_failed(self, request_id: int, error: AdminError) -> None:
        """Note why."""
        self.failed.append(error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Nobody reads here."""

    def propose(self, data: bytes = b"x") -> AdminError | None:
        """Propose something; return why it is refused."""
        self._request += 1
        self._taken[self._request] = self.now
        refused = self.proposing.propose(self, self._request, data, "", 30.0)
        if refused is not None:
            self.refusals.append(refused)
        return refused

    # -- time ----------------------------------------------------------------------------------

    def run(self, seconds: float, rate: float, burst: int = 0) -> None:
        """Let time pass while so many proposals a second arrive, and ``burst`` at its beginning."""
        due = float(burst)
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            due += rate * STEP
            for _ in range(int(due)):
                self.propose()
            due -= int(due)
            self.proposing.turn()
            self.proposing.look()
            self.proposing.expire(self.now)
            self._answer()

    def _answer(self) -> None:
        self._budget = min(self._budget + self.capacity * STEP, self.capacity * STEP + 1)
        pending = cast("Any", self.proposing)._proposals.pending
        ready = []
        for sequence, proposal in pending.items():
            if self._budget < 1 or self.now - proposal.started < self.latency:
                break
            self._budget -= 1
            ready.append(_applied(sequence))
        self.proposing.answer(ready)

    def waits(self, since: float) -> list[float]:
        """How long what was answered after ``since`` took, ascending."""
        return sorted(took for when, took in self.took if when > since)

    def leaderless(self) -> None:
        """Nobody leads: what comes is held."""
        self.raft.leader_id = 0

    def led(self) -> None:
        """This node leads again."""
        self.raft.leader_id = 1
        self.proposing.new_leader()


def _applied(sequence: int) -> Applied:
    return Applied(
        sequence, 2, EntryKind.PROPOSAL, 1, 9, sequence, Outcome.APPLIED, b"", False, sequence
    )


@pytest.mark.parametrize("capacity", [3_000, 8_000])
def test_at_twice_the_rate_waiting_is_bounded_and_no_capacity_is_wasted(capacity: int) -> None:
    group = Group(capacity)
    group.run(2, capacity * 0.9)
    assert not group.refusals
    onset = group.now
    group.run(5, 2 * capacity)
    waits = group.waits(onset)
    # The beginning of it too, when the queue is not known to be one yet.
    assert waits[int(len(waits) * 0.99)] < 0.2 * TIMEOUT
    assert waits[-1] < 0.35 * TIMEOUT
    assert len(waits) > 0.97 * capacity * 5
    assert len(group.refusals) > 0.9 * capacity * 5
    for refused in group.refusals:
        assert refused.code == Code.OVERLOADED
        assert refused.outcome is Fate.NOT_APPLIED
        assert refused.retry_after_ms >= 100
        assert refused.details["limit"] == "window"
    # And when it is over it is over.
    group.run(1.5, 0)
    count, after = len(group.refusals), group.now
    group.run(2, capacity * 0.9)
    assert len(group.refusals) == count
    assert group.waits(after)[-1] < 0.05


@pytest.mark.parametrize("capacity", [3_000, 8_000])
def test_the_rate_after_an_overload_is_the_rate_before_without_a_pause(capacity: int) -> None:
    group = Group(capacity)
    group.run(2, capacity * 0.9)
    before = len(group.waits(group.now - 1))
    assert group.proposing.window == 10_000
    group.run(5, 2 * capacity)
    assert 256 <= group.proposing.window < 0.2 * capacity
    ended, refused = group.now, len(group.refusals)
    group.run(0.5, capacity * 0.9)
    # What is refused after it is what came while the queue was still as long as the window.
    assert len(group.refusals) - refused < 0.02 * capacity
    group.run(0.5, capacity * 0.9)
    assert len(group.waits(ended)) > 0.99 * before
    refused = len(group.refusals)
    group.run(1, capacity * 0.9)
    assert group.proposing.window == 10_000
    assert len(group.refusals) == refused
    assert group.waits(group.now - 1)[-1] < 0.05


def test_a_burst_that_is_worked_off_in_time_is_taken() -> None:
    group = Group(20_000)
    group.run(0.5, 0, burst=2_000)
    group.run(1, 100)
    group.run(0.5, 0, burst=2_000)
    assert not group.refusals
    assert len(group.took) == 4_100


def test_a_group_of_distant_hosts_is_not_taken_for_an_overloaded_one() -> None:
    # Two round trips of 90 ms: longer than the usual target, and 1,350 proposals on their way.
    group = Group(20_000, latency=0.18)
    group.run(0.5, 1_000)
    group.run(10, 7_500)
    assert not group.refusals


def test_a_group_that_gets_slow_refuses_sooner() -> None:
    group = Group(8_000)
    group.run(2, 7_000)
    group.capacity = 1_000
    group.run(5, 7_000)
    began = group.now
    group.run(3, 7_000)
    # What may always wait takes as long as it takes: a quarter of a second at this rate.
    assert group.waits(began)[-1] < 0.35


def test_an_election_is_no_overload() -> None:
    group = Group(8_000)
    group.run(2, 4_000)
    group.capacity = 0  # The leader is gone, what it had been given waits.
    group.run(1.5, 0)
    group.capacity = 8_000
    group.run(2, 4_000)
    assert not group.refusals


class Readers:
    """A node whose leader confirms questions after ``latency``, ``capacity`` reads a second."""

    def __init__(self, capacity: float, latency: float = 0.005) -> None:
        self.now = 50.0
        self.capacity = capacity
        self.latency = latency
        self.took: list[float] = []
        self.refusals: list[AdminError] = []
        self._asked: list[tuple[float, bytes]] = []
        self._began: dict[int, float] = {}
        self._budget = 0.0
        engine = SimpleNamespace(
            id=1,
            incarnation=9,
            config=SimpleNamespace(election_timeout=TIMEOUT, max_pending=10_000),
            raw=SimpleNamespace(read_index=lambda it: self._asked.append((self.now, it))),
            raft=SimpleNamespace(leader_id=1, raft_log=SimpleNamespace(applied=1)),
            network=SimpleNamespace(),
            loop=SimpleNamespace(time=lambda: self.now),
            counters=Counters(),
            schedule=lambda: None,
            stopping=lambda: None,
        )
        standing = SimpleNamespace(outside=False, quorum_linked=True)
        self.reading = Reading(cast("Engine", engine), cast("Standing", standing))

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Note how long it took."""
        self.took.append(self.now - self._began.pop(request_id))

    def run(self, seconds: float, rate: float) -> None:
        """Let time pass while so many reads a second arrive."""
        due = 0.0
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            due += rate * STEP
            for _ in range(int(due)):
                number = len(self.took) + len(self.refusals) + len(self._began)
                self._began[number] = self.now
                refused = self.reading.read(cast("Any", self), number, b"", 10.0)
                if refused is not None:
                    del self._began[number]
                    self.refusals.append(refused)
            due -= int(due)
            self.reading.turn()
            self.reading.look()
            self._budget = min(self._budget + self.capacity * STEP, self.capacity * STEP)
            while self._asked and self._budget > 0 and self.now - self._asked[0][0] >= self.latency:
                before = len(self.took)
                self.reading.confirmed(ReadState(1, self._asked.pop(0)[1]))
                self.reading.answer()
                self._budget -= len(self.took) - before


def test_reads_at_twice_the_rate_wait_no_longer_either() -> None:
    node = Readers(8_000)
    node.run(2, 7_000)
    assert not node.refusals
    node.took.clear()
    node.run(5, 16_000)
    waits = sorted(node.took)
    assert waits[int(len(waits) * 0.99)] < 0.2 * TIMEOUT
    assert len(waits) > 0.95 * 8_000 * 5
    assert all(refused.code == Code.OVERLOADED for refused in node.refusals)
    assert "reads wait" in node.refusals[0].message
    assert len(node.refusals) > 30_000
    node.run(1.5, 0)
    node.refusals.clear()
    node.run(1, 7_000)
    assert not node.refusals


def test_refusals_of_one_look_are_one_object() -> None:
    # In overload they are most of what a node says: they are made once, and encoded once.
    admission = Admission("proposals", TIMEOUT)
    admission.look(10.0, 0, 5_000, 9.0)
    assert admission.window == 256
    assert admission.refusal(5_000) is admission.refusal(5_001)
    admission.look(10.1, 50, 5_000, 9.0)
    assert admission.refusal(5_000).details["value"] == "5000"
    admission.look(11.05, 50, 0, math.inf)
    assert admission.window == 256
    admission.look(12.2, 50, 0, math.inf)
    assert admission.window > 10**9


def test_bytes_that_wait_for_a_leader_are_bounded_and_taken_again_once_there_is_one() -> None:
    group = Group(1_000, max_pending_bytes=4 * MIB)
    group.leaderless()
    large = bytes(MIB)
    assert [group.propose(large) for _ in range(4)] == [None] * 4
    refused = group.propose(large)
    assert refused is not None
    assert refused.code == Code.OVERLOADED
    assert refused.details == {
        "limit": "max_pending_bytes", "value": str(4 * MIB), "cap": str(4 * MIB),
    }  # fmt: skip
    group.led()
    group.run(0.1, 0)
    assert group.propose(large) is None
    group.run(0.1, 0)
    assert len(group.took) == 5


def test_bytes_that_waited_in_vain_make_room_when_they_are_given_up() -> None:
    group = Group(1_000, max_pending_bytes=4 * MIB)
    group.leaderless()
    large = bytes(MIB)
    for _ in range(4):
        assert group.propose(large) is None
    assert group.propose(large) is not None
    group.run(3.1 * TIMEOUT, 0)
    assert [error.code for error in group.failed] == [Code.NO_LEADER] * 4
    assert group.propose(large) is None
