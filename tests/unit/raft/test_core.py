"""core.py: the object itself, what it shows, and its defaults."""

from __future__ import annotations

import random

import pytest

from raft import Raft, SoftState, StateRole, ViolatesContract
from raft.eraftpb import (
    Entry,
    HardState,
    Message,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHup,
    MsgPropose,
    MsgSnapStatus,
    MsgTransferLeader,
    MsgUnreachable,
)
from tests.harness.builders import a_config, a_leader, a_member, a_raft, a_storage, of_type


def test_what_it_shows() -> None:
    raft = a_raft(learners=[4])
    assert raft.store is raft.raft_log.store
    assert not raft.is_leader()
    assert not raft.is_learner
    assert raft.promotable()
    assert raft.soft_state() == SoftState(0, StateRole.Follower)
    assert raft.hard_state() == HardState(term=1, commit=1)
    assert raft.snap() is None
    assert raft.pending_membership_change() is None
    assert not raft.has_pending_conf()
    assert "Raft(id=1, Follower, term=1" in repr(raft)


def test_soft_states_are_values() -> None:
    one = SoftState(1, StateRole.Leader)
    assert one == SoftState(1, StateRole.Leader)
    assert hash(one) == hash(SoftState(1, StateRole.Leader))
    assert one != SoftState(2, StateRole.Leader)
    assert one != "leader"
    assert repr(one) == "SoftState(leader_id=1, raft_state=Leader)"


def test_timeouts_come_from_the_generator_that_was_passed_in() -> None:
    state = random.getstate()
    one = Raft(a_config(), a_storage(), rng=random.Random(5))
    other = Raft(a_config(), a_storage(), rng=random.Random(5))
    assert one.randomized_election_timeout == other.randomized_election_timeout
    assert random.getstate() == state


def test_local_messages_are_stepped_by_the_node_itself() -> None:
    leader = a_leader()
    raft = leader.raft
    raft.step(Message(msg_type=MsgBeat))
    assert len(of_type(leader.pump(), MsgHeartbeat)) == 2
    raft.step(Message(msg_type=MsgUnreachable, from_=2))
    assert raft.prs.progress[2].state.name == "Probe"
    raft.step(Message(msg_type=MsgSnapStatus, from_=9))
    raft.step(Message(msg_type=MsgHup))
    assert raft.is_leader()
    for progress in raft.prs.progress.values():
        progress.recent_active = False
    raft.step(Message(msg_type=MsgCheckQuorum))
    assert raft.state is StateRole.Follower
    for msg_type in (MsgBeat, MsgCheckQuorum, MsgUnreachable, MsgSnapStatus):
        raft.step(Message(msg_type=msg_type, from_=2))
    assert not raft.msgs


def test_commit_groups_are_numbered_from_one() -> None:
    raft = a_raft()
    for groups in ([(1, 0)], [(1, -1)]):
        with pytest.raises(ViolatesContract):
            raft.assign_commit_groups(groups)
    raft.assign_commit_groups([(1, 2), (9, 3)])
    assert raft.prs.progress[1].commit_group_id == 2
    raft.clear_commit_group()
    assert raft.prs.progress[1].commit_group_id == 0


def test_messages_are_taken_out_once() -> None:
    raft = a_raft()
    raft.step(Message(msg_type=MsgHup))
    assert raft.has_messages()
    assert len(raft.take_messages()) == 2
    assert raft.take_messages() == []


def test_a_proposal_without_a_sender_is_the_nodes_own() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2)
    m = Message(msg_type=MsgPropose, entries=[Entry(data=b"x")])
    member.raft.step(m)
    (sent,) = member.pump()
    assert (sent.from_, sent.to) == (1, 2)
    member.raft.step(Message(msg_type=MsgTransferLeader))
    (sent,) = member.pump()
    assert sent.from_ == 1


def test_a_node_that_was_removed_and_leads_no_more_is_quiet() -> None:
    leader = a_leader(voters=[1, 2])
    leader.raft.remove_node(1)
    assert leader.role == "Follower"
    assert not leader.raft.promotable()
    leader.pump()
    assert leader.tick(50) == []


def test_persisting_tells_a_leader_that_is_no_member_nothing() -> None:
    leader = a_leader(voters=[1, 2], step_down_on_removal=False)
    leader.propose(b"x")
    leader.raft.remove_node(1)
    leader.raft.on_persist_entries(3, 2)
    assert leader.leads


def test_send_append_to_strangers_and_to_itself_is_nothing() -> None:
    leader = a_leader()
    leader.raft.send_append(9)
    leader.raft.send_append(1)
    assert leader.pump() == []
