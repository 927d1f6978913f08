"""Changes of membership by a joint step: both majorities, leaving, holding (§6)."""

from __future__ import annotations

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    Configuration,
    Exists,
)
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfState,
    EntryConfChange,
    FinalizeMembershipChange,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVoteResponse,
    RemoveNode,
    RollbackMembershipChange,
)
from tests.conformance.members import Call, refused, shape, shapes
from tests.harness.builders import (
    a_leader,
    a_member,
    of_type,
    v1,
    v2,
)
from tests.harness.network import Loop, Network


def test_a_joint_change_replaces_everyone_but_one(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for node_id in (4, 5):
        network.add(node_id)
    network[1].node.propose_membership_change(([1, 4, 5], [2]))
    network.run()
    network.tick(times=4)
    assert shapes(network, (1, 2, 4, 5)) == {"(1 4 5 | 2)"}
    network.stop(2, 3)
    network.propose(1, b"x")
    network.tick(times=2)
    assert network[5].data[-1:] == [b"x"]


def test_everyone_may_be_replaced(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for node_id in (4, 5, 6):
        network.add(node_id)
    network[1].node.propose_membership_change(Configuration([4, 5, 6], []))
    network.run()
    network.tick(times=6)
    leader = network.leader()
    assert leader is not None
    assert leader.id in (4, 5, 6)
    assert shapes(network, (4, 5, 6)) == {"(4 5 6)"}


def test_all_learners_become_voters_at_once() -> None:
    network = Network(1, learners=[2, 3])
    network.elect(1)
    network.propose(1, b"x")
    matched = [network[1].raft.prs.progress[i].matched for i in (2, 3)]
    network[1].node.propose_membership_change(([1, 2, 3], []))
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert all(
        network[1].raft.prs.progress[i].matched >= m for i, m in zip((2, 3), matched, strict=True)
    )


def test_a_voter_is_demoted_by_a_joint_change() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], [3]), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    # Until the joint state is left it votes as before.
    assert leader.raft.prs.voter_ids() == {1, 2, 3}
    assert leader.raft.prs.learner_ids() == frozenset()
    assert list(leader.raft.prs.to_conf_state().learners_next) == [3]
    leader.node.propose_finalize()
    leader.pump()
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert shape(leader) == "(1 2 | 3)"


def test_the_joint_state_needs_both_majorities_to_commit() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.node.propose_membership_change(([1, 4, 5], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert shape(leader) == "(1 2 3)&(1 4 5)"
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.committed == 3
    leader.receive(MsgAppendResponse, 4, index=4)
    assert leader.committed == 4


def test_the_joint_state_needs_both_majorities_to_elect() -> None:
    joint = ConfState(voters=[1, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    for votes, role in (
        ((2, 3), "Candidate"),
        ((4, 5), "Candidate"),
        ((2, 4), "Leader"),
        ((3, 5), "Leader"),
    ):
        member = a_member(conf_state=joint)
        member.campaign()
        for node_id in votes:
            member.receive(MsgRequestVoteResponse, node_id)
        assert member.role == role
    for refusals in ((2, 3), (4, 5)):
        member = a_member(conf_state=joint)
        member.campaign()
        for node_id in refusals:
            member.receive(MsgRequestVoteResponse, node_id, reject=True)
        assert member.role == "Follower"


def test_the_joint_state_needs_both_majorities_for_check_quorum() -> None:
    joint = ConfState(voters=[1, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    for heard, role in (((2, 3), "Follower"), ((4, 5), "Follower"), ((2, 5), "Leader")):
        member = a_member(conf_state=joint, check_quorum=True).lead()
        member.tick(10)
        for node_id in heard:
            member.heard(node_id)
        member.tick(10)
        assert member.role == role


def test_leaving_is_proposed_once() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2, 4], []))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.last_index == 4
    for _ in range(3):
        leader.propose(b"x")
        leader.receive(MsgAppendResponse, 2, index=3)
    kinds = [e.entry_type for e in leader.raft.raft_log.all_entries()]
    assert kinds.count(EntryConfChange) == 2


def test_leaving_is_sent_at_once() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    sent = of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgAppend)
    assert any(e.index == 4 and e.entry_type for m in sent for e in m.entries)


def test_leaving_is_proposed_by_the_next_leader_if_it_was_lost(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.keep_if(lambda m: not any(e.index == 4 for e in m.entries))
    network[1].node.propose_membership_change(([1, 2, 3], [4]))
    network.run()
    network.tick(1)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3)&(1 2 3 | 4)"}
    network.stop(1)
    network.heal()
    network.elect(2)
    network.tick(2, 3, times=2)
    assert shapes(network, (2, 3)) == {"(1 2 3 | 4)"}


def test_a_held_change_stays_joint_until_it_is_told(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []), auto_finalize=False)
    network.run()
    network.tick(times=50)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3)&(1 2)"}
    network.elect(2)
    network.tick(times=3)
    assert shape(network[2]) == "(1 2 3)&(1 2)"
    network[2].node.propose_finalize()
    network.run()
    network.tick(times=2)
    assert shapes(network, (1, 2)) == {"(1 2)"}


def test_what_may_not_be_proposed_while_joint() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    assert refused(leader, v1(FinalizeMembershipChange)) is ConfChangeReason.NOT_JOINT
    leader.receive(MsgAppendResponse, 2, index=3)
    for what in (
        v1(AddNode, 4),
        v1(RemoveNode, 2),
        v1(BeginMembershipChange, configuration=ConfState(voters=[1])),
        v2((AddNode, 4)),
        v2((AddNode, 4), (AddNode, 5)),
    ):
        assert refused(leader, what) is ConfChangeReason.ALREADY_JOINT
    with pytest.raises(ConfChangeError):
        leader.node.propose_membership_change(([1], []))


def test_what_may_not_be_proposed_when_not_joint() -> None:
    leader = a_leader()
    for what in (v1(FinalizeMembershipChange), v1(RollbackMembershipChange), v2()):
        assert refused(leader, what) is ConfChangeReason.NOT_JOINT
    for call in (leader.node.propose_finalize, leader.node.propose_rollback):
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.NOT_JOINT


def test_impossible_targets_are_refused_and_change_nothing() -> None:
    leader = a_leader()
    for target, error in (
        (([], [1]), ConfigInvalid),
        (([1, 2], [2]), Exists),
        (([0, 1], []), ConfigInvalid),
    ):
        with pytest.raises(error):
            leader.node.propose_membership_change(target)
    with pytest.raises(ConfChangeError) as caught:
        leader.node.propose_membership_change(([1, 2], []), successor=3)
    assert caught.value.reason is ConfChangeReason.UNKNOWN_MEMBER
    with pytest.raises(ConfChangeError) as caught:
        leader.node.propose_membership_change(([1, 2], [4]), promotable=[5])
    assert caught.value.reason is ConfChangeReason.INVALID
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v1(BeginMembershipChange))
    assert leader.last_index == 2
    assert not leader.raft.has_pending_conf()
    leader.node.propose_membership_change(([1, 2], []))


def test_only_the_leader_takes_the_calls() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    calls: tuple[Call, ...] = (
        lambda: member.node.propose_membership_change(([1], [])),
        member.node.propose_finalize,
        member.node.propose_rollback,
    )
    for call in calls:
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.NOT_LEADER


def test_the_same_members_again_are_a_change_all_the_same() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2, 3], []))
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.config_index == 4
