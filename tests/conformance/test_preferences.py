"""Who should lead: priorities, and forgetting a leader."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    MsgHeartbeat,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
)
from tests.harness.builders import a_leader, a_member, entries_of, of_type, only
from tests.harness.network import Network


@pytest.mark.parametrize(
    ("own", "asking", "index", "granted"),
    [
        (0, 0, 3, True),
        (2, 1, 3, False),
        (2, 2, 3, True),
        (2, 3, 3, True),
        (2, 1, 4, True),
        (2, 3, 2, False),
        (-1, -2, 3, False),
        (-1, 0, 3, True),
    ],
)
@pytest.mark.parametrize("msg_type", [MsgRequestVote, MsgRequestPreVote])
def test_a_voter_prefers_its_own_priority_among_equal_logs(
    own: int, asking: int, index: int, granted: bool, msg_type: int
) -> None:
    member = a_member(terms=[1, 1], priority=own)
    answer = only(
        member.receive(
            msg_type,  # type: ignore[arg-type]
            2,
            term=2,
            index=index,
            log_term=1,
            priority=asking,
        )
    )
    assert answer.reject is not granted


def test_a_candidate_tells_its_priority() -> None:
    member = a_member(priority=7)
    assert {m.priority for m in of_type(member.campaign(), MsgRequestVote)} == {7}
    member.node.set_priority(-3)
    assert {m.priority for m in of_type(member.campaign(), MsgRequestVote)} == {-3}


def test_the_group_elects_the_one_of_highest_priority() -> None:
    network = Network(1, 2, 3)
    for node_id in (1, 2, 3):
        network[node_id].node.set_priority(node_id)
    network.campaign(1)
    assert not network[1].leads
    network.campaign(2)
    assert not network[2].leads or network[2].leads
    network.elect(3)


def test_a_log_that_is_ahead_wins_whatever_its_priority() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(3)
    network.propose(1)
    network[3].node.set_priority(9)
    network[2].node.set_priority(-9)
    network.heal()
    network.stop(1)
    network.campaign(3)
    assert not network[3].leads
    network.elect(2)


def test_a_follower_that_forgot_its_leader_lets_another_win() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    network.stop(1)
    network.campaign(3)
    assert not network[3].leads  # The lease of 1 still binds 2.
    network[2].node.forget_leader()
    assert network[2].raft.leader_id == 0
    network.campaign(3)
    assert network[3].leads


def test_forgetting_keeps_the_term_and_the_vote() -> None:
    member = a_member(term=4, vote=2)
    member.receive(MsgHeartbeat, 2)
    member.node.forget_leader()
    assert (member.term, member.raft.vote, member.raft.leader_id) == (4, 2, 0)
    assert member.role == "Follower"
    member.receive(MsgHeartbeat, 2)
    assert member.raft.leader_id == 2


def test_a_leader_cannot_forget_itself() -> None:
    leader = a_leader()
    leader.node.forget_leader()
    assert leader.leads
    assert leader.raft.leader_id == 1


def test_forgetting_does_not_make_a_node_vote_twice() -> None:
    member = a_member(terms=[1])
    member.receive(MsgRequestVote, 2, term=2, index=2, log_term=1)
    member.receive(MsgHeartbeat, 2)
    member.node.forget_leader()
    assert only(member.receive(MsgRequestVote, 3, term=2, index=9, log_term=1)).reject


# What votes tell about commits (etcd issue 12359).


def test_votes_and_refusals_tell_what_is_committed() -> None:
    member = a_member(terms=[1, 1, 1], commit=3)
    asked = of_type(member.campaign(), MsgRequestVote)
    assert {(m.commit, m.commit_term) for m in asked} == {(3, 1)}
    other = a_member(2, terms=[1, 1, 1], commit=3, term=5)
    refusal = only(other.receive(MsgRequestVote, 1, term=5, index=1, log_term=1))
    assert (refusal.reject, refusal.commit, refusal.commit_term) == (True, 3, 1)
    granted = only(other.receive(MsgRequestVote, 1, term=6, index=4, log_term=1))
    assert (granted.reject, granted.commit) == (False, 0)


def test_a_refusal_moves_the_commit_index() -> None:
    member = a_member(terms=[1, 1, 1])
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2, reject=True, commit=3, commit_term=1)
    assert member.committed == 3
    assert member.role == "Candidate"


def test_a_refused_request_moves_the_commit_index() -> None:
    member = a_member(terms=[1, 1, 1])
    member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1, commit=3, commit_term=1)
    assert member.committed == 3


def test_a_refusal_from_an_earlier_term_moves_the_commit_index_too() -> None:
    # A pre-candidate's question takes nobody to its term: the one who knows may stay in an earlier.
    member = a_member(terms=[1, 1, 1], term=5, pre_vote=True)
    member.campaign()
    assert member.role == "PreCandidate"
    member.receive(MsgRequestPreVoteResponse, 2, term=4, reject=True, commit=3, commit_term=1)
    assert member.committed == 3
    assert member.role == "PreCandidate"
    assert member.raft.term == 5


@pytest.mark.parametrize(("commit", "commit_term"), [(3, 2), (3, 0), (0, 1), (9, 1), (1, 1)])
def test_what_does_not_agree_moves_nothing(commit: int, commit_term: int) -> None:
    member = a_member(terms=[1, 1, 1])
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2, reject=True, commit=commit, commit_term=commit_term)
    assert member.committed == 1


def test_a_leader_learns_of_no_commit_by_votes() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgRequestVote, 2, index=1, log_term=1, commit=3, commit_term=2)
    assert leader.committed == 2
    assert entries_of([1])[0].index == 2
