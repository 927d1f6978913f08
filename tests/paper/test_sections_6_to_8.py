"""Sections 6, 7 and 8 of the Raft paper: membership, snapshots, clients."""

from __future__ import annotations

import pytest

from raft import ProposalDropped
from raft.eraftpb import (
    AddLearnerNode,
    ConfState,
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgReadIndex,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
)
from tests.harness.builders import (
    a_leader,
    a_member,
    a_snapshot,
    of_type,
    only,
    v1,
)
from tests.harness.network import Loop, Network

JOINT = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)


# Section 6: cluster membership changes.


def test_sec6_the_group_goes_through_a_joint_configuration() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    for node_id in (4, 5):
        network.add(node_id)
    network[1].node.propose_membership_change(([1, 4, 5], []), auto_finalize=False)
    network.run()
    network.tick(times=3)
    assert all(m.raft.is_in_membership_change() for m in network.members.values())
    network[1].node.propose_finalize()
    network.run()
    network.tick(times=3)
    assert all(m.raft.prs.to_conf_state().voters == [1, 4, 5] for m in network.members.values())


def test_sec6_joint_entries_are_replicated_to_all_servers_of_both() -> None:
    leader = a_member(conf_state=JOINT).lead()
    assert {m.to for m in of_type(leader.propose(b"x"), MsgAppend)} == {2, 3, 4, 5}


@pytest.mark.parametrize("leader_id", [1, 3, 4])
def test_sec6_any_server_of_either_may_lead(leader_id: int) -> None:
    network = Network()
    for node_id in (1, 2, 3, 4, 5):
        network.add(node_id, JOINT)
    network.elect(leader_id)


def test_sec6_agreement_needs_separate_majorities_of_both() -> None:
    leader = a_member(conf_state=JOINT).lead()
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=leader.last_index)
    assert leader.data == []
    leader.receive(MsgAppendResponse, 4, index=leader.last_index)
    assert leader.data == [b"x"]
    candidate = a_member(conf_state=JOINT)
    candidate.campaign()
    for node_id in (2, 3):
        candidate.receive(MsgRequestVoteResponse, node_id)
    assert candidate.role == "Candidate"
    candidate.receive(MsgRequestVoteResponse, 5)
    assert candidate.leads


def test_sec6_neither_configuration_decides_alone_before_the_new_one_is_committed() -> None:
    for alone in ((1, 2), (4, 5)):
        network = Network()
        for node_id in (1, 2, 3, 4, 5):
            network.add(node_id, JOINT)
        network.partition(alone, [i for i in (1, 2, 3, 4, 5) if i not in alone])
        network.campaign(alone[0])
        assert network.leader() is None


def test_sec6_new_servers_join_as_non_voting_members_first() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    for i in range(5):
        network.propose(1, b"%d" % i)
    network.add(4)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4))
    network.run()
    network.tick(times=3)
    # It has the log, and no majority counts it.
    assert network[4].last_index == network[1].last_index
    network.stop(2, 3)
    network.propose(1, b"x")
    assert network[1].data[-1] != b"x"


def test_sec6_the_leader_that_is_not_in_the_new_configuration_steps_down() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([2, 3], []))
    network.run()
    network.tick(times=3)
    assert network[1].role == "Follower"
    assert network[2].leads or network[3].leads


def test_sec6_removed_servers_do_not_disrupt_the_group() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    member = network[2]
    term = member.term
    stranger = {"term": term + 5, "index": 99, "log_term": term}
    assert member.receive(MsgRequestVote, 9, **stranger) == []
    assert member.term == term


def test_sec6_servers_disregard_votes_only_within_the_minimum_timeout() -> None:
    member = a_member(check_quorum=True)
    member.receive(MsgHeartbeat, 2, term=2)
    member.tick(9)
    request = {"term": 3, "index": 9, "log_term": 2}
    assert member.receive(MsgRequestVote, 3, **request) == []
    member.tick()
    assert only(member.receive(MsgRequestVote, 3, **request)).reject is False


# Section 7: log compaction.


def test_sec7_a_snapshot_replaces_the_committed_entries() -> None:
    leader = a_leader()
    for _ in range(5):
        leader.propose(b"x")
        leader.acknowledge_all()
    leader.compact(6)
    assert [e.index for e in leader.raft.raft_log.all_entries()] == [6, 7]
    assert leader.raft.raft_log.term(5) == 2


def test_sec7_a_snapshot_carries_last_index_last_term_and_configuration() -> None:
    leader = a_leader(learners=[4])
    leader.propose(b"x")
    leader.acknowledge_all()
    metadata = leader.storage.snapshot(0, 2).metadata
    assert (metadata.index, metadata.term) == (3, 2)
    assert (list(metadata.conf_state.voters), list(metadata.conf_state.learners)) == (
        [1, 2, 3],
        [4],
    )


@pytest.mark.parametrize("loop", Loop)
def test_sec7_a_leader_sends_a_snapshot_when_it_has_discarded_the_next_entry(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.stop(3)
    for i in range(5):
        network.propose(1, b"%d" % i)
    network[1].compact(network[1].committed)
    network.keep_log = True
    network.start(3)
    network.tick(1, times=3)
    assert of_type(network.log, MsgSnapshot)
    assert network[3].committed == network[1].committed


def test_sec7_a_snapshot_with_new_information_supersedes_the_whole_log() -> None:
    member = a_member(terms=[1, 1, 1], commit=2)
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(9, 3))
    assert (member.log(), member.committed, member.last_index) == ([], 9, 9)


def test_sec7_entries_after_a_snapshot_of_a_prefix_are_kept() -> None:
    member = a_member(terms=[1, 1, 1, 1], commit=2)
    member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(3, 1))
    assert (member.committed, member.last_index) == (3, 5)


def test_sec7_a_snapshot_of_an_old_leader_is_not_taken() -> None:
    member = a_member(term=5)
    member.receive(MsgSnapshot, 2, term=4, snapshot=a_snapshot(9, 3))
    assert member.committed == 1


# Section 8: client interaction.


def test_sec8_a_follower_passes_a_command_on_to_the_leader_it_has_heard_from() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 3, term=2)
    assert {m.to for m in member.propose(b"x")} == {3}


def test_sec8_without_a_leader_a_command_is_refused() -> None:
    with pytest.raises(ProposalDropped):
        a_member().propose(b"x")


def test_sec8_a_leader_commits_an_empty_entry_at_the_start_of_its_term() -> None:
    leader = a_leader()
    entry = leader.applied[2]
    assert (entry.term, entry.data) == (2, b"")


def test_sec8_reads_wait_until_the_leader_knows_what_is_committed() -> None:
    leader = a_member(terms=[1]).lead(acknowledged=False)
    leader.step(Message(msg_type=MsgReadIndex, from_=1, entries=[Entry(data=b"r")]))
    leader.receive(MsgAppendResponse, 2, index=2)
    assert leader.reads == []
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.heard(2, leader.raft.read_only.last_pending_context())
    assert [r.index for r in leader.reads] == [3]


def test_sec8_before_a_read_is_answered_a_majority_confirms_the_leader() -> None:
    leader = a_leader()
    leader.node.read_index(b"r")
    context = of_type(leader.pump(), MsgHeartbeat)[0].context
    assert leader.reads == []
    leader.heard(2, context)
    assert [r.request_ctx for r in leader.reads] == [b"r"]


def test_sec8_a_deposed_leader_answers_no_read() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.partition([1], [2, 3])
    network.elect(2)
    network.propose(2, b"new")
    network[1].node.read_index(b"r")
    network.tick(times=5)
    assert network[1].reads == []
