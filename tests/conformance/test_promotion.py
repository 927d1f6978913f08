"""Learners that are promoted when they have caught up (thesis §4.2.1)."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    AddLearnerNode,
    MsgAppendResponse,
)
from tests.conformance.members import change, shape, shapes
from tests.harness.builders import (
    a_leader,
    v1,
)
from tests.harness.network import Loop, Network


def test_a_marked_learner_is_promoted_when_it_has_caught_up(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for i in range(20):
        network.propose(1, b"%d" % i)
    network.add(4)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network.run()
    network.tick(times=5)
    assert shapes(network) == {"(1 2 3 4)"}
    assert network[4].raft.prs.promotable == frozenset()


def test_an_unmarked_learner_stays_one() -> None:
    network = Network(1, 2, learners=[3])
    network.elect(1)
    network.tick(times=60)
    assert shapes(network) == {"(1 2 | 3)"}


def test_several_marked_learners_are_promoted_together() -> None:
    network = Network(1)
    network.elect(1)
    for node_id in (2, 3):
        network.add(node_id)
    network[1].node.propose_membership_change(([1], [2, 3]), promotable=[2, 3])
    network.run()
    network.tick(times=6)
    assert shapes(network) == {"(1 2 3)"}


def test_a_mark_outlives_leaders() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network.run()
    network.tick(times=2)
    assert network[2].raft.prs.promotable == {4}
    network.stop(1)
    network.elect(2)
    network.add(4)
    network.start(1)
    network.tick(times=6)
    assert shapes(network) == {"(1 2 3 4)"}


def test_a_mark_outlives_restarts_and_snapshots() -> None:
    network = Network(1)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network[1].restart()
    assert network[1].raft.prs.promotable == {4}
    assert list(network[1].storage.snapshot(0, 0).metadata.conf_state.promotable) == [4]


def test_a_slow_learner_is_not_promoted() -> None:
    leader = a_leader(voters=[1, 2], catch_up_round_ticks=4)
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    index = leader.last_index
    for _ in range(12):
        # Each round takes too long: what it was to reach arrives only after 6 ticks.
        leader.tick(6)
        leader.receive(MsgAppendResponse, 3, index=index)
        leader.propose(b"x")
        index = leader.last_index
        leader.receive(MsgAppendResponse, 2, index=index)
    assert shape(leader) == "(1 2 | 3)"
    leader.receive(MsgAppendResponse, 3, index=index)
    for _ in range(4):
        leader.tick()
    leader.acknowledge_all(2, 3)
    assert shape(leader) == "(1 2 3)"


def test_a_silent_learner_is_not_promoted() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.receive(MsgAppendResponse, 3, index=3)
    leader.raft.prs.progress[3].recent_active = False
    leader.tick(3)
    assert leader.last_index == 3


def test_nobody_is_promoted_while_something_else_changes() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 4))
    leader.pump()
    leader.receive(MsgAppendResponse, 3, index=4)
    leader.tick(3)
    assert leader.last_index == 4
    leader.receive(MsgAppendResponse, 2, index=4)
    leader.tick(3)
    assert leader.last_index == 5


def test_nobody_is_promoted_during_a_transfer() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.acknowledge_all(2, 3)
    leader.node.transfer_leader(2)
    leader.tick(5)
    assert leader.last_index == 3


def test_marks_belong_to_learners_only() -> None:
    # A rollback makes a voter again of one that was to become a learner with a mark.
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], [3]), auto_finalize=False, promotable=[3])
    network.run()
    network.tick(1)
    network[1].node.propose_rollback()
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.promotable == frozenset()
    leader = a_leader(voters=[1], learners=[2])
    leader.raft.prs.promotable = frozenset([2])
    leader.raft.add_node(2)
    assert leader.raft.prs.promotable == frozenset()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_rollback_restores_the_marks_as_they_were(restarted: bool) -> None:
    # 4 and 5 are learners, 4 with a mark, and both are kept from catching up. The change makes 4
    # leave and marks 5; taking it back takes that back, too.
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4, promote_when_caught_up=True))
    change(network, v1(AddLearnerNode, 5))
    network[1].node.propose_membership_change(([1, 2], [5]), auto_finalize=False, promotable=[5])
    network.run()
    network.tick(2)
    joint = network[1].raft.prs
    assert joint.promotable == {5}
    assert joint.promotable_outgoing == {4}
    if restarted:
        for node_id in (1, 2, 3):
            network[node_id].restart()
        network.elect(1)
        assert network[1].raft.prs.promotable_outgoing == {4}
    network[1].node.propose_rollback()
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3 | 4 5)"}
    for node_id in (1, 2, 3):
        prs = network[node_id].raft.prs
        assert prs.promotable == {4}
        assert not prs.promotable_outgoing
    # And they still mean something: the one that catches up is promoted, the other is not.
    for node_id in (4, 5):
        network.add(node_id)
    network.tick(times=6)
    assert shapes(network) == {"(1 2 3 4 | 5)"}


def test_a_finalized_change_leaves_the_marks_of_its_target() -> None:
    network = Network(1, 2)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4, promote_when_caught_up=True))
    change(network, v1(AddLearnerNode, 5))
    network[1].node.propose_membership_change(([1, 2], [5]), promotable=[5])
    network.run()
    network.tick(times=2)
    prs = network[1].raft.prs
    assert prs.promotable == {5}
    assert not prs.promotable_outgoing
