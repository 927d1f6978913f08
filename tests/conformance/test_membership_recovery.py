"""Membership across restarts, snapshots and lost messages."""

from __future__ import annotations

import pytest

from raft import (
    InvariantViolation,
    RawNode,
)
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    MsgAppend,
    MsgHeartbeat,
    MsgRequestVoteResponse,
    MsgSnapshot,
    RemoveNode,
)
from tests.conformance.members import change, joint_network, shape, shapes
from tests.harness.builders import (
    a_leader,
    a_member,
    a_snapshot,
    change_entry,
    of_type,
    only,
    v1,
    v2,
)
from tests.harness.network import Loop, Member, Network


def test_a_restart_in_the_joint_state(loop: Loop) -> None:
    network = joint_network(loop)
    network.stop(1, 2, 3)
    network.start(1, 2, 3)
    assert shapes(network) == {"(1 2 3)&(3 4 5)"}
    assert {m.raft.prs.begin_index for m in network.members.values()} == {3}
    for node_id in (4, 5):
        network.add(node_id)
    network.tick(times=3)
    network.tick_until(lambda: network.leader() is not None)
    leader = network.leader()
    assert leader is not None
    network.tick(times=5)
    leader.node.propose_finalize()
    network.run()
    network.tick(times=25)
    assert shapes(network, (3, 4, 5)) == {"(3 4 5)"}


def test_a_restart_from_the_old_forms_joint_state() -> None:
    member = a_member()
    pending = (ConfState(voters=[1, 4], learners=[2]), 1)
    member.storage.wl().set_conf_state(ConfState(voters=[1, 2, 3]), pending)

    node = RawNode(member.config, member.storage)
    conf_state = node.raft.prs.to_conf_state()
    assert list(conf_state.voters_outgoing) == [1, 2, 3]
    assert list(conf_state.voters) == [1, 4]
    assert list(conf_state.learners_next) == [2]
    assert conf_state.auto_leave


def test_a_node_that_joins_in_the_joint_state_gets_it_by_snapshot() -> None:
    network = joint_network()
    network.add(4)
    network.tick(times=3)
    assert shape(network[4]) == "(1 2 3)&(3 4 5)"
    network.propose(1, b"x")
    network.tick(times=2)
    assert network[4].data == [b"x"]


def test_a_snapshot_of_after_the_change_ends_the_joint_state() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2, 3], [4]), auto_finalize=False)
    network.run()
    network.tick(1)
    network.isolate(3)
    network[1].node.propose_finalize()
    network.run()
    network.tick(1, 2)
    network.propose(1)
    network[1].compact(network[1].committed)
    network.heal()
    network.tick(1, times=3)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3 | 4)"}


def test_entries_are_applied_again_after_a_restart_without_effect() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4))
    change(network, v1(RemoveNode, 4))
    member = network[1]
    before = member.raft.prs.to_conf_state()
    for index, entry in sorted(member.applied.items()):
        if entry.entry_type:
            assert member.node.apply_conf_entry(entry) == before
            assert index <= member.raft.prs.config_index


def test_a_snapshot_with_a_later_configuration_makes_earlier_entries_void() -> None:
    member = a_member()
    conf_state = ConfState(voters=[1, 2, 4], config_index=8)

    member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(9, 2, conf_state))
    assert member.node.apply_conf_change(v1(AddNode, 9), 5) == conf_state


def test_a_begin_is_given_its_real_index() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.propose(1)
    begin = v1(
        BeginMembershipChange, configuration=ConfState(voters=[1, 2]), start_index=77, hold=True
    )
    change(network, begin, at=2)
    stored = ConfChange.FromString(network[2].applied[4].data)
    assert stored.start_index == 4
    assert {m.raft.prs.begin_index for m in network.members.values()} == {4}


def test_old_followers_of_a_change_are_told_before_they_are_forgotten() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []))
    network.run()
    network.tick(times=2)
    assert shape(network[3]) == "(1 2)"
    assert not network[3].raft.promotable()


def test_a_change_applied_at_the_wrong_place_is_an_error_everywhere_alike() -> None:
    for member in (a_leader(), a_member()):
        before = member.raft.prs.to_conf_state()
        bad = v1(BeginMembershipChange, configuration=ConfState(voters=[1], learners=[1]))
        assert member.node.apply_conf_change(bad, 9) == before
        assert member.node.apply_conf_change(
            v2((RemoveNode, 1), (RemoveNode, 2), (RemoveNode, 3)), 9
        ) == (before)


def test_committed_but_unapplied_beginnings_block_elections() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[2].applies = False
    network[1].node.propose_membership_change(([1, 2], []), auto_finalize=False)
    network.run()
    network.tick(1)
    network[2].node.campaign()
    assert network[2].role == "Follower"
    network.send(network[2].apply_now())
    network[2].node.campaign()
    assert network[2].role == "Candidate"


def test_a_follower_that_learns_of_a_commit_by_a_vote_gives_up_its_candidacy() -> None:
    member = a_member()
    entry = change_entry(v1(AddNode, 4), index=2, term=1)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=[entry], commit=1)
    member.campaign()
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3, reject=True, commit=2, commit_term=1)
    assert member.role == "Follower"
    assert shape(member) == "(1 2 3 4)"


def test_raft_refuses_to_be_without_its_committed_configuration() -> None:
    with pytest.raises(InvariantViolation):
        a_member(commit=5)


def test_a_learners_role_follows_its_configuration() -> None:
    network = Network(1, 2, learners=[3])
    network.elect(1)
    assert network[3].raft.is_learner
    network[1].node.propose_membership_change(([1, 3], [2]))
    network.run()
    network.tick(times=3)
    assert not network[3].raft.is_learner
    assert network[2].raft.is_learner
    network[3].node.transfer_leader(3)
    network.run()
    assert network[3].leads


def test_heartbeats_reach_everyone_of_both_configurations() -> None:
    network = joint_network()
    sent = of_type(network[1].tick(), MsgHeartbeat)
    assert {m.to for m in sent} == {2, 3, 4, 5}


def test_the_proposal_that_finishes_needs_no_place_in_the_account() -> None:
    network = Network(1, 2, 3, max_uncommitted_size=10, max_size_per_msg=10)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []))
    network.run()
    network.tick(times=2)
    assert shapes(network, (1, 2)) == {"(1 2)"}
    assert network[1].raft.uncommitted_size == 0


def test_a_change_is_one_entry_with_its_context() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), context=b"who")
    entry = only_entry(leader)
    assert entry == b"who"


def only_entry(leader: Member) -> bytes:
    """The context of the one membership entry in the log."""
    found = [e for e in leader.raft.raft_log.all_entries() if e.entry_type]
    assert len(found) == 1
    return found[0].context


def test_a_single_node_changes_its_own_group() -> None:
    network = Network(1)
    network.elect(1)
    network.add(2)
    change(network, v1(AddNode, 2))
    assert shapes(network) == {"(1 2)"}
    assert only([m for m in network[1].tick() if m.to == 2]).msg_type == MsgHeartbeat
