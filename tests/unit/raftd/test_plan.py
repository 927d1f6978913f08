"""The order in which a Ready is carried out, and what is left of it when a step is interrupted."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

import pytest

from raft import Config, MemStorage, RawNode, Ready, is_empty_snap
from raft.eraftpb import (
    ConfState,
    Entry,
    HardState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgRequestVoteResponse,
)
from raftd.plan import Driver, Effects, Pipeline, Plan, plan_ready


class Disk:
    """A node's disk: what is written, and how much of that a power cut would leave."""

    def __init__(self, voters: Sequence[int]) -> None:
        self.storage = MemStorage.new_with_conf_state(([*voters], []))
        self.written: list[Plan] = []
        self.durable = 0
        self.applied: list[int] = []
        self.fails = False

    def persist(self, plan: Plan) -> list[int]:
        if self.fails:
            raise OSError("the disk is gone")
        self.written.append(plan)
        with self.storage.wl() as core:
            if plan.entries:
                core.append(list(plan.entries))
            if plan.hard_state is not None:
                core.set_hardstate(plan.hard_state)
        found = [entry.index for entry in plan.committed]
        self.applied += found
        return found

    def sync(self) -> None:
        self.durable = len(self.written)

    def after_power_cut(self, voters: Sequence[int]) -> Disk:
        """Return the disk with only what was synced on it."""
        rest = Disk(voters)
        for plan in self.written[: self.durable]:
            rest.persist(plan)
        rest.sync()
        return rest


class Member:
    """A node and its disk, driven as the daemon does."""

    def __init__(self, node_id: int, voters: Sequence[int], disk: Disk | None = None) -> None:
        self.id = node_id
        self.disk = disk or Disk(voters)
        applied = max(self.disk.applied, default=1)
        config = Config(id=node_id, election_tick=10, heartbeat_tick=1, applied=applied)
        self.raw = RawNode(config, self.disk.storage, rng=random.Random(node_id))
        self.driver: Driver[int] = Driver(self.raw, self.disk.persist)

    def settle(self) -> list[Message]:
        """Pump and flush until nothing is left to do; return what was sent."""
        sent: list[Message] = []
        while True:
            effects = self.driver.pump()
            sent += effects.messages
            if self.driver.needs_sync:
                mark = self.driver.begin_sync()
                self.disk.sync()
                self.driver.end_sync(mark)
            elif not effects.more and not self.raw.has_ready():
                return sent


def elect(members: dict[int, Member], leader: int) -> None:
    members[leader].raw.campaign()
    deliver(members, members[leader].settle())
    assert members[leader].raw.raft.is_leader()


def deliver(members: dict[int, Member], messages: list[Message]) -> None:
    while messages:
        message = messages.pop(0)
        if message.to in members:
            members[message.to].raw.step(message)
            messages += members[message.to].settle()


def three() -> dict[int, Member]:
    return {node_id: Member(node_id, (1, 2, 3)) for node_id in (1, 2, 3)}


def plan(number: int, sync: bool, *, to: int = 0) -> Plan:
    return Plan(
        number=number, soft_state=None, read_states=(), immediate=(), snapshot=None, entries=(),
        hard_state=None, committed=(), sync=sync, persisted=[Message(to=to)] if to else [],
    )  # fmt: skip


def test_the_fields_of_a_plan_are_in_the_order_of_execution() -> None:
    names = [field.name for field in dataclasses.fields(Plan)]
    steps = ["immediate", "snapshot", "entries", "hard_state", "committed", "sync", "persisted"]
    assert [name for name in names if name in steps] == steps


def test_a_plan_says_what_its_ready_says() -> None:
    member = Member(1, (1,))
    member.raw.campaign()
    ready = member.raw.ready()
    made = plan_ready(ready)
    assert made.number == ready.number
    assert list(made.entries) == ready.entries
    assert made.hard_state == ready.hs
    assert made.snapshot is None
    assert is_empty_snap(ready.snapshot)
    assert made.sync
    assert made.writes


def test_an_empty_ready_writes_nothing() -> None:
    assert not plan_ready(Ready(1)).writes


def test_what_needs_no_flush_and_waits_for_none_is_released_at_once() -> None:
    pipeline = Pipeline()
    free = plan(1, sync=False)
    assert pipeline.written(free) is free
    assert not pipeline.needs_sync


def test_a_flush_covers_what_was_written_before_it_began() -> None:
    pipeline = Pipeline()
    first, second, third = plan(1, sync=True), plan(2, sync=True), plan(3, sync=True)
    assert pipeline.written(first) is None
    assert pipeline.written(second) is None
    mark = pipeline.mark()
    assert pipeline.written(third) is None
    assert pipeline.durable(mark) == [first, second]
    assert pipeline.needs_sync
    assert pipeline.durable(pipeline.mark()) == [third]
    assert not pipeline.needs_sync


def test_what_needs_no_flush_stays_behind_what_does() -> None:
    pipeline = Pipeline()
    pipeline.written(plan(1, sync=True))
    mark = pipeline.mark()
    free, later = plan(2, sync=False), plan(3, sync=True)
    # Released now it would acknowledge the first as well.
    assert pipeline.written(free) is None
    assert pipeline.written(later) is None
    assert [done.number for done in pipeline.durable(mark)] == [1, 2]
    assert pipeline.durable(mark) == []


def test_a_flush_of_nothing_releases_nothing() -> None:
    pipeline = Pipeline()
    mark = pipeline.mark()
    pipeline.written(plan(1, sync=True))
    assert pipeline.durable(mark) == []
    assert pipeline.needs_sync


def test_appends_leave_before_the_leaders_own_write_is_durable() -> None:
    members = three()
    elect(members, 1)
    leader = members[1]
    leader.raw.propose(b"", b"x")
    effects = leader.driver.pump()
    assert {m.to for m in effects.messages if m.msg_type == MsgAppend} == {2, 3}
    assert leader.driver.needs_sync


def test_a_single_node_commits_only_what_is_durable() -> None:
    member = Member(1, (1,))
    member.raw.campaign()
    member.settle()
    member.raw.propose(b"", b"x")
    index = member.raw.raft.raft_log.last_index()
    effects = member.driver.pump()
    assert index not in effects.applied
    assert member.raw.raft.raft_log.committed < index
    mark = member.driver.begin_sync()
    member.disk.sync()
    member.driver.end_sync(mark)
    effects = member.driver.pump()
    assert effects.applied == [index]
    assert (effects.applied_index, effects.applied_term) == (index, member.raw.raft.term)


@pytest.mark.parametrize("kind", [MsgAppendResponse, MsgRequestVoteResponse])
def test_promises_wait_for_the_flush(kind: int) -> None:
    members = three()
    if kind == MsgAppendResponse:
        elect(members, 1)
        members[1].raw.propose(b"", b"x")
        message = next(m for m in members[1].settle() if m.msg_type == MsgAppend and m.to == 2)
    else:
        members[1].raw.campaign()
        message = next(m for m in members[1].settle() if m.to == 2)
    follower = members[2]
    follower.raw.step(message)
    sent = follower.driver.pump().messages
    assert not [m for m in sent if m.msg_type == kind]
    mark = follower.driver.begin_sync()
    follower.disk.sync()
    follower.driver.end_sync(mark)
    assert [m for m in follower.driver.pump().messages if m.msg_type == kind]


def test_what_arrives_during_a_flush_is_the_next_batch() -> None:
    members = three()
    elect(members, 1)
    leader = members[1]
    leader.raw.propose(b"", b"first")
    leader.driver.pump()
    mark = leader.driver.begin_sync()
    for number in range(5):
        leader.raw.propose(b"", b"%d" % number)
    leader.driver.pump()
    leader.driver.end_sync(mark)
    assert leader.driver.needs_sync
    written = [len(done.entries) for done in leader.disk.written if done.entries]
    assert written[-2:] == [1, 5]
    before = leader.driver.begin_sync()
    leader.driver.end_sync(before)
    assert not leader.driver.needs_sync


def test_a_commit_index_is_written_with_the_entries_it_came_with() -> None:
    members = three()
    elect(members, 1)
    members[1].raw.propose(b"", b"x")
    deliver(members, members[1].settle())
    members[1].raw.propose(b"", b"y")
    deliver(members, members[1].settle())
    for done in members[2].disk.written:
        if done.committed:
            # An applied index may not be on disk without the commit index that allows it.
            assert done.hard_state is not None or any(
                earlier.hard_state is not None
                and earlier.hard_state.commit >= done.committed[-1].index
                for earlier in members[2].disk.written
                if earlier.number <= done.number
            )


def test_after_a_failed_write_nothing_more_is_done() -> None:
    members = three()
    elect(members, 1)
    leader = members[1]
    leader.raw.propose(b"", b"x")
    leader.disk.fails = True
    with pytest.raises(OSError, match="the disk is gone"):
        leader.driver.pump()
    leader.disk.fails = False
    with pytest.raises(RuntimeError, match="must stop"):
        leader.driver.pump()
    with pytest.raises(RuntimeError, match="must stop"):
        leader.driver.end_sync(1)


def test_a_long_queue_gives_way_to_other_work() -> None:
    member = Member(1, (1,))
    member.raw.campaign()
    effects: Effects[int] = member.driver.pump(limit=1)
    assert effects.more == member.raw.has_ready()


def interruptions() -> Iterator[tuple[str, bool, bool]]:
    """Where the power may go during one Ready: (name, written, flushed)."""
    yield "before the write", False, False
    yield "after the write, before the flush", True, False
    yield "after the flush, before the messages", True, True


@pytest.mark.parametrize(("name", "written", "flushed"), list(interruptions()))
def test_a_power_cut_takes_back_nothing_that_was_promised(
    name: str, written: bool, flushed: bool
) -> None:
    members = three()
    elect(members, 1)
    members[1].raw.propose(b"", b"x")
    append = next(m for m in members[1].settle() if m.msg_type == MsgAppend and m.to == 2)
    follower = members[2]
    follower.raw.step(append)
    promised: list[Message] = []
    if written:
        promised += follower.driver.pump().messages
    if flushed:
        mark = follower.driver.begin_sync()
        follower.disk.sync()
        follower.driver.end_sync(mark)
    again = Member(2, (1, 2, 3), follower.disk.after_power_cut((1, 2, 3)))
    kept = again.raw.raft.raft_log.last_index()
    for message in promised:
        if message.msg_type == MsgAppendResponse and not message.reject:
            assert message.index <= kept, name
    index = append.entries[-1].index
    assert kept == (index if flushed else index - 1), name
    # The leader sends again what was not acknowledged; nothing is applied twice.
    members[2] = again
    members[1].raw.ping()
    deliver(members, members[1].settle())
    members[1].raw.propose(b"", b"y")
    deliver(members, members[1].settle())
    for member in members.values():
        assert member.disk.applied == sorted(set(member.disk.applied))


def test_a_vote_is_not_given_twice_over_a_power_cut() -> None:
    members = three()
    members[1].raw.campaign()
    request = next(m for m in members[1].settle() if m.to == 2)
    voter = members[2]
    voter.raw.step(request)
    granted = voter.settle()
    assert [m.reject for m in granted if m.msg_type == MsgRequestVoteResponse] == [False]
    again = Member(2, (1, 2, 3), voter.disk.after_power_cut((1, 2, 3)))
    rival = Message()
    rival.CopyFrom(request)
    rival.from_ = 3
    again.raw.step(rival)
    answers = [m for m in again.settle() if m.msg_type == MsgRequestVoteResponse]
    assert all(m.reject for m in answers)


def test_the_disk_of_these_tests_forgets_what_was_not_synced() -> None:
    disk = Disk((1,))
    entry = Entry(term=2, index=2, data=b"x")
    write = dataclasses.replace(plan(1, sync=True), entries=[entry], hard_state=HardState(term=2))
    disk.persist(write)
    assert disk.after_power_cut((1,)).storage.last_index() == 1
    disk.sync()
    assert disk.after_power_cut((1,)).storage.last_index() == 2
    assert disk.storage.initial_state().conf_state == ConfState(voters=[1])


def test_with_a_sender_what_may_leave_does_so_before_the_write() -> None:
    members = three()
    elect(members, 1)
    leader = members[1]
    order: list[str] = []
    persist = leader.disk.persist

    def noted(plan: Plan) -> list[int]:
        order.append(f"write {[entry.index for entry in plan.entries]}")
        return persist(plan)

    leader.driver = Driver(leader.raw, noted)
    leader.driver.send = lambda messages: order.append(
        f"send {[(m.to, [entry.index for entry in m.entries]) for m in messages]}"
    )
    leader.raw.propose(b"", b"x")
    effects = leader.driver.pump()
    assert order == ["send [(2, [3]), (3, [3])]", "write [3]"]
    assert not effects.messages  # Nothing is sent twice.


def test_with_a_sender_what_promises_something_still_waits_for_the_flush() -> None:
    members = three()
    elect(members, 1)
    follower = members[2]
    sent: list[Message] = []
    follower.driver.send = sent.extend
    members[1].raw.propose(b"", b"x")
    (append,) = [m for m in members[1].settle() if m.to == 2]
    follower.raw.step(append)
    assert not follower.driver.pump().messages
    assert not sent
    mark = follower.driver.begin_sync()
    follower.disk.sync()
    assert not sent
    follower.driver.end_sync(mark)
    # By the end of the flush itself, and not once more by what is pumped after it.
    assert [m.msg_type for m in sent] == [MsgAppendResponse]
    assert not follower.driver.pump().messages
    assert [m.msg_type for m in sent] == [MsgAppendResponse]
