"""That the judge of the simulator reports a hand-made violation of each property, by its own id.

The planted bugs show that it sees what goes wrong somewhere; here one thing at a time is wrong, in
a group that is well otherwise. Liveness (I15) and replay (I16) are judged by whole runs: see
`test_seeds` and `tests.mutants`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from raft.eraftpb import (
    ConfState,
    Entry,
    Message,
    MsgAppend,
    MsgHeartbeatResponse,
    MsgRequestVoteResponse,
)
from tests.harness.checkers import Violation
from tests.harness.cluster import Op, World
from tests.harness.sim_node import SimNode
from tests.harness.sim_swarm import Settings


def a_group() -> World:
    """Three nodes; node 1 leads, and everyone has applied all."""
    world = World(Settings(voters=3), random.Random(0))
    while not world.nodes[1].raft.is_leader():
        world.tick(1)
        deliver_all(world)
    world.operate(1, "ping")
    deliver_all(world)
    assert world.checker.committed == world.nodes[3].applied
    return world


def deliver_all(world: World) -> None:
    while world.outbox:
        _, m = world.outbox.pop(0)
        world.deliver(m)


def propose(world: World) -> None:
    """Put an entry into the leader's log, which nobody hears of."""
    data = world.encode_op("put", b"k", b"v", b"")
    world.invoke(Op(b"c0-1", "put", b"k", b"v", b"", 0, data), 1)
    world.outbox.clear()


def two_leaders(world: World, node: SimNode) -> None:
    world.checker.leaders[node.raft.term] = 2
    world.checker.views[1].lead_term = 0
    world.checker.observe(node)


def a_leader_replaces(world: World, node: SimNode) -> None:
    last = world.checker.views[1].last
    world.checker.persisted(node, [Entry(index=last, term=node.raft.term, data=b"x")], None)


def logs_differ(world: World, node: SimNode) -> None:
    index, term = world.checker.views[2].last + 1, node.raft.term
    for node_id, data in ((2, b"a"), (3, b"b")):
        entry = Entry(index=index, term=term, data=data)
        world.checker.persisted(world.nodes[node_id], [entry], None)


def a_leader_lacks_what_is_committed(world: World, node: SimNode) -> None:
    view = world.checker.views[1]
    view.chain.pop()
    view.lead_term = 0
    world.checker._committed_in[node.raft.term - 1] = world.checker.committed
    world.checker.observe(node)


def an_entry_is_passed_over(world: World, node: SimNode) -> None:
    world.checker.applied(node, Entry(index=node.applied + 2, term=node.raft.term), None)


def commit_goes_back(world: World, node: SimNode) -> None:
    node.raft.raft_log.committed -= 1
    world.checker.observe(node)


def commit_without_a_quorum(world: World, node: SimNode) -> None:
    propose(world)
    node.raft.raft_log.committed += 1
    world.checker.observe(node)


def an_older_term_commits_by_counting(world: World, node: SimNode) -> None:
    propose(world)
    world.checker.views[1].terms[-1] -= 1
    node.raft.raft_log.committed += 1
    world.checker.observe(node)


def speaks_of_a_term_that_is_not_stored(world: World, node: SimNode) -> None:
    m = Message(msg_type=MsgHeartbeatResponse, to=2, from_=1, term=node.raft.term + 1)
    world.checker.sent(node, m)


def votes_for_two(world: World, node: SimNode) -> None:
    m = Message(msg_type=MsgRequestVoteResponse, to=3, from_=2, term=node.raft.term)
    world.checker.sent(world.nodes[2], m)


def match_is_too_high(world: World, node: SimNode) -> None:
    propose(world)
    node.raft.prs.progress[2].matched += 1
    world.checker.observe(node)


def another_configuration(world: World, node: SimNode) -> None:
    world.checker.conf_applied(node, world.checker.committed, ConfState(voters=[1, 2]))


def another_mark(world: World, node: SimNode) -> None:
    state = ConfState(voters=[1, 2, 3], promotable=[4])
    world.checker.conf_applied(node, world.checker.committed, state)


def a_stale_read(world: World, node: SimNode) -> None:
    world.read_confirmed(Op(b"", "get", b"k", b"", b"", 0, b"", floor=9), 8, node)


def another_result(world: World, node: SimNode) -> None:
    world.checker.result(node, world.checker.committed, b"other")


def another_state(world: World, node: SimNode) -> None:
    world.checker.state_is(1, world.checker.committed, {b"k": b"v"})


def something_is_raised(world: World, node: SimNode) -> None:
    def fail(_: SimNode) -> None:
        raise RuntimeError("not documented")

    world.perform(1, fail)


def a_message_above_its_size(world: World, node: SimNode) -> None:
    node.raft.max_msg_size = 100
    entries = [Entry(index=index, term=node.raft.term, data=b"x" * 60) for index in (8, 9)]
    m = Message(msg_type=MsgAppend, to=2, from_=1, term=node.raft.term, entries=entries)
    world.checker.sent(node, m)


def more_uncommitted_than_allowed(world: World, node: SimNode) -> None:
    for _ in range(2):
        propose(world)
    node.raft.max_uncommitted_size = 1
    world.checker.observe(node)


def a_window_above_its_cap(world: World, node: SimNode) -> None:
    window = node.raft.prs.progress[2].ins
    for index in (8, 9):
        window.add(index)
    window.cap = 1
    world.checker.observe(node)


@pytest.mark.parametrize(
    ("check", "go_wrong"),
    [
        ("I1", two_leaders),
        ("I2", a_leader_replaces),
        ("I3", logs_differ),
        ("I4", a_leader_lacks_what_is_committed),
        ("I5", an_entry_is_passed_over),
        ("I6", commit_goes_back),
        ("I6", commit_without_a_quorum),
        ("I7", an_older_term_commits_by_counting),
        ("I8", speaks_of_a_term_that_is_not_stored),
        ("I8", votes_for_two),
        ("I9", match_is_too_high),
        ("I10", another_configuration),
        ("I10", another_mark),
        ("I11", a_stale_read),
        ("I12", another_result),
        ("I13", another_state),
        ("I14", something_is_raised),
        ("I14", a_message_above_its_size),
        ("I14", more_uncommitted_than_allowed),
        ("I14", a_window_above_its_cap),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_what_is_wrong_is_reported(check: str, go_wrong: Callable[[World, SimNode], None]) -> None:
    world = a_group()
    with pytest.raises(Violation) as raised:
        go_wrong(world, world.nodes[1])
    assert raised.value.check == check
