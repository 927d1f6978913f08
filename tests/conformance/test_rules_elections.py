"""Bugs that other Raft libraries had, as rules: elections, terms, votes (28 to 38).

Each test fails when its rule is broken. Rule 37, a leader whose disk has stalled steps down, is
for whoever runs the node: the core knows no disk.
"""

from __future__ import annotations

import pytest

from raft import ProposalDropped
from raft.eraftpb import (
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
)
from tests.harness.builders import a_leader, a_member, a_snapshot, entries_of, of_type, only, to
from tests.harness.network import Loop, Network


def test_rule_28_term_and_vote_are_stored_together_before_the_answer() -> None:
    member = a_member()
    member.node.step(Message(msg_type=MsgRequestVote, from_=2, to=1, term=5, index=1, log_term=1))
    rd = member.node.ready()
    assert rd.hs is not None
    assert (rd.hs.term, rd.hs.vote) == (5, 2)
    assert rd.must_sync
    assert rd.immediate_messages == []
    assert only(rd.persisted_messages).msg_type == MsgRequestVoteResponse
    # Also when the term was stored before and only the vote is new.
    voter = a_member(term=5)
    voter.node.step(Message(msg_type=MsgRequestVote, from_=2, to=1, term=5, index=1, log_term=1))
    rd = voter.node.ready()
    assert rd.must_sync
    assert rd.immediate_messages == []
    candidate = a_member()
    candidate.node.campaign()
    rd = candidate.node.ready()
    assert rd.hs is not None
    assert (rd.hs.term, rd.hs.vote) == (2, 1)
    assert rd.immediate_messages == []


def test_rule_29_votes_of_one_candidacy_count_for_no_other() -> None:
    for pre_vote in (False, True):
        member = a_member(voters=[1, 2, 3, 4, 5], pre_vote=pre_vote)
        msg_type = MsgRequestPreVoteResponse if pre_vote else MsgRequestVoteResponse
        member.campaign()
        member.receive(msg_type, 2, term=2)
        member.campaign()
        member.receive(msg_type, 3, term=2 if pre_vote else 3)
        assert member.role == ("PreCandidate" if pre_vote else "Candidate")
        assert set(member.raft.votes) == {1, 3}
    converted = a_member(voters=[1, 2, 3, 4, 5], pre_vote=True)
    converted.campaign()
    for node_id in (2, 3):
        converted.receive(MsgRequestPreVoteResponse, node_id, term=2)
    assert converted.role == "Candidate"
    assert converted.raft.votes == {1: True}


def test_rule_30_one_node_one_vote() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5])
    member.campaign()
    for _ in range(3):
        member.receive(MsgRequestVoteResponse, 2)
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3, reject=True)
    member.receive(MsgRequestVoteResponse, 3)
    assert member.role == "Candidate"


def test_rule_31_no_commit_of_a_prior_term_by_counting() -> None:
    leader = a_member(terms=[1, 1]).lead(acknowledged=False)
    assert leader.last_index == 4
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    assert leader.committed == 1
    leader.receive(MsgAppendResponse, 2, index=4)
    assert leader.committed == 4


def test_rule_32_senders_of_an_earlier_term_are_told_of_the_present_one() -> None:
    for settings in ({"check_quorum": True}, {"pre_vote": True}):
        member = a_member(term=8, **settings)  # type: ignore[arg-type]
        answer = only(member.receive(MsgHeartbeat, 2, term=3))
        assert (answer.msg_type, answer.term) == (MsgAppendResponse, 8)
        answer = only(member.receive(MsgAppend, 2, term=3, index=1, log_term=1))
        assert (answer.msg_type, answer.term) == (MsgAppendResponse, 8)
        answer = only(member.receive(MsgRequestPreVote, 2, term=3, index=1, log_term=1))
        assert (answer.reject, answer.term) == (True, 8)
    leader = a_leader(check_quorum=True)
    leader.receive(MsgAppendResponse, 2, term=8)
    assert (leader.role, leader.term) == ("Follower", 8)


def test_rule_33_a_pre_candidate_forwards_to_nobody() -> None:
    member = a_member(pre_vote=True)
    member.receive(MsgHeartbeat, 2)
    member.campaign()
    assert member.raft.leader_id == 0
    with pytest.raises(ProposalDropped):
        member.propose(b"x")
    with pytest.raises(ProposalDropped):
        member.node.read_index(b"r")
    assert member.pump() == []


def test_rule_34_a_refused_pre_vote_of_a_later_term_is_adopted() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    member.receive(MsgRequestPreVoteResponse, 2, term=7, reject=True)
    assert (member.term, member.role) == (7, "Follower")


def test_rule_35_logs_are_compared_by_term_then_index() -> None:
    member = a_member(terms=[1, 3], term=3)
    longer_but_older = {"term": 4, "index": 99, "log_term": 2}
    assert only(member.receive(MsgRequestVote, 2, **longer_but_older)).reject
    shorter_but_newer = {"term": 5, "index": 2, "log_term": 4}
    assert not only(member.receive(MsgRequestVote, 2, **shorter_but_newer)).reject
    same_term_shorter = {"term": 6, "index": 2, "log_term": 3}
    assert only(member.receive(MsgRequestVote, 2, **same_term_shorter)).reject


def test_rule_36_no_campaign_with_a_snapshot_in_hand() -> None:
    member = a_member()
    member.node.step(
        Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2))
    )
    member.node.campaign()
    assert member.role == "Follower"
    for _ in range(40):
        member.node.tick()
    assert member.role == "Follower"
    member.node.step(Message(msg_type=MsgTimeoutNow, from_=2, to=1, term=2))
    assert member.role == "Follower"


def test_rule_38_a_transfer_passes_leases_and_pre_votes_and_stops_proposals() -> None:
    for loop in Loop:
        network = Network(1, 2, 3, loop=loop, pre_vote=True, check_quorum=True)
        network.elect(1)
        network.tick(times=2)
        network.keep_log = True
        network[1].node.transfer_leader(2)
        network[1].node.ping()
        network.run()
        assert network[2].leads
        assert of_type(network.log, MsgRequestPreVote) == []
    leader = a_leader()
    leader.node.transfer_leader(2)
    last = leader.last_index
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")
    assert leader.last_index == last


def test_rule_38_a_timeout_now_that_comes_before_the_promotion_is_passed_over() -> None:
    for member in (a_member(4, learners=[4]), a_member(4)):
        member.receive(MsgHeartbeat, 2, term=2)
        assert member.receive(MsgTimeoutNow, 2) == []
        assert (member.role, member.term) == ("Follower", 2)
    waiting = a_member()
    waiting.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]))
    assert {m.to for m in to(waiting.receive(MsgTimeoutNow, 2), 2, 3)} == {2, 3}
