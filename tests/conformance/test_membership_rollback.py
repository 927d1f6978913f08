"""Rollback: back to the old configuration by its majority alone."""

from __future__ import annotations

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    NoPendingMembershipChange,
    _membership,
)
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfState,
    FinalizeMembershipChange,
    MsgAppend,
    MsgHeartbeat,
    MsgRequestVoteResponse,
    RollbackMembershipChange,
)
from tests.conformance.members import change, joint_network, refused, shape, shapes
from tests.harness.builders import (
    a_leader,
    a_member,
    change_entry,
    entries_of,
    v1,
    v2,
)
from tests.harness.network import Loop, Member, Network


def test_a_change_whose_new_majority_is_dead_can_be_rolled_back(loop: Loop) -> None:
    network = joint_network(loop)
    network.propose(1, b"stuck")
    assert network[1].data == []
    network[1].node.propose_rollback(b"ctx")
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[2].data == [b"stuck"]
    network.propose(1, b"x")
    assert network[1].data == [b"stuck", b"x"]
    assert network[1].raft.prs.removed == frozenset()


def test_a_rollback_restores_learners() -> None:
    network = Network(1, 2, learners=[3, 4])
    network.elect(1)
    network[1].node.propose_membership_change(([1, 3], [2]), auto_finalize=False)
    network.run()
    network.tick(1)
    network[1].node.propose_rollback()
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 | 3 4)"}


def test_no_rollback_after_a_finalize_nor_a_finalize_after_a_rollback() -> None:
    network = joint_network()
    network[1].node.propose_rollback()
    for call in (network[1].node.propose_finalize, network[1].node.propose_rollback):
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.ROLLBACK_IN_LOG
    assert refused(network[1], v1(FinalizeMembershipChange)) is ConfChangeReason.ROLLBACK_IN_LOG
    assert refused(network[1], v2()) is ConfChangeReason.ROLLBACK_IN_LOG
    network = joint_network()
    network[1].raft.lead_transferee = 0
    network[1].raft.handover_tried = True
    network[1].node.propose_finalize()
    with pytest.raises(ConfChangeError) as caught:
        network[1].node.propose_rollback()
    assert caught.value.reason is ConfChangeReason.FINALIZE_IN_LOG
    assert refused(network[1], v1(RollbackMembershipChange)) is ConfChangeReason.FINALIZE_IN_LOG


def test_a_rollback_is_adopted_when_appended_and_given_up_when_truncated() -> None:
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    member = a_member(conf_state=joint)
    rollback = change_entry(v1(RollbackMembershipChange), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    assert member.raft.is_in_membership_change()
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2)
    assert member.leads
    other = a_member(conf_state=joint)
    other.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    other.receive(MsgAppend, 3, term=3, index=1, log_term=1, entries=entries_of([3]))
    assert other.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_survives_a_restart() -> None:
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    member = a_member(conf_state=joint)
    rollback = change_entry(v1(RollbackMembershipChange), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    member.restart()
    assert member.raft.prs.deciding_voters() == {1, 2, 3}


def test_a_campaign_for_rollback_needs_the_old_majority_alone(loop: Loop) -> None:
    network = joint_network(loop)
    network.stop(1)
    network.campaign(2)
    assert network[2].role == "Candidate"
    network[2].node.campaign_for_rollback()
    network.run()
    assert network[2].leads
    network.tick(2, 3, times=2)
    assert shapes(network, (2, 3)) == {"(1 2 3)"}


def test_a_campaign_for_rollback_works_with_pre_vote() -> None:
    network = joint_network(pre_vote=True)
    network.stop(1)
    network[2].node.campaign_for_rollback()
    network.run()
    assert network[2].leads
    assert shape(network[2]) == "(1 2 3)"


def test_the_right_to_the_old_majority_ends_with_the_candidacy() -> None:
    network = joint_network()
    network.stop(1, 3)
    member = network[2]
    member.node.campaign_for_rollback()
    network.run()
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    member.node.campaign()
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}
    member.node.campaign_for_rollback()
    member.receive(MsgHeartbeat, 3, term=member.term)
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_who_may_not_campaign_for_a_rollback() -> None:
    def reason(member: Member) -> ConfChangeReason:
        term = member.term
        with pytest.raises(ConfChangeError) as caught:
            member.node.campaign_for_rollback()
        assert member.term == term
        return caught.value.reason

    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    assert reason(a_leader()) is ConfChangeReason.INVALID
    assert reason(a_member()) is ConfChangeReason.NOT_JOINT
    assert reason(a_member(4, conf_state=joint)) is ConfChangeReason.UNKNOWN_MEMBER
    for kind, expected in (
        (FinalizeMembershipChange, ConfChangeReason.FINALIZE_IN_LOG),
        (RollbackMembershipChange, ConfChangeReason.ROLLBACK_IN_LOG),
    ):
        member = a_member(conf_state=joint)
        entry = change_entry(v1(kind), index=2, term=2)
        member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry])
        assert reason(member) is expected
    member = a_member(conf_state=joint)
    member.applies = False
    entry = change_entry(v1(AddNode, 9), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert reason(member) is ConfChangeReason.UNAPPLIED
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_of_an_earlier_change_disarms_no_later_one() -> None:
    # It is still in the log, before the Begin that is applied.
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=4, config_index=4)
    entries = [
        change_entry(v1(BeginMembershipChange, configuration=ConfState(voters=[9])), 2, 1),
        change_entry(v1(RollbackMembershipChange), 3, 1),
        change_entry(v1(BeginMembershipChange, configuration=ConfState(voters=[3, 4, 5])), 4, 1),
    ]
    member = a_member(conf_state=joint)
    member.raft.raft_log.append(entries)
    member.raft.membership_log = []

    _membership.note_appended(member.raft, entries)
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_by_the_ordinary_way_of_proposing() -> None:
    network = joint_network()
    change(network, v1(RollbackMembershipChange))
    assert shapes(network) == {"(1 2 3)"}


def test_a_second_finalize_or_rollback_is_harmless() -> None:
    leader = a_leader()
    for kind in (FinalizeMembershipChange, RollbackMembershipChange):
        before = leader.raft.prs.to_conf_state()
        assert leader.node.apply_conf_change(v1(kind), 9) == before
    with pytest.raises(NoPendingMembershipChange):
        leader.raft.finalize_membership_change(v1(FinalizeMembershipChange))
