"""Sections 5.1 and 5.2 of the Raft paper: terms and leader election, sentence by sentence."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgRequestVoteResponse,
)
from tests.harness.builders import a_leader, a_member, of_type, only
from tests.harness.network import Network


def test_sec51_there_is_one_leader_and_all_others_follow() -> None:
    network = Network(1, 2, 3, 4, 5)
    network.elect(2)
    assert [i for i, m in network.members.items() if m.leads] == [2]
    assert {m.role for i, m in network.members.items() if i != 2} == {"Follower"}


def test_sec51_followers_issue_no_requests_of_their_own() -> None:
    member = a_member()
    assert member.tick(9) == []
    answers = member.receive(MsgHeartbeat, 2)
    assert {m.to for m in answers} == {2}


def test_sec51_terms_are_numbered_with_consecutive_integers() -> None:
    member = a_member()
    terms = []
    for _ in range(5):
        member.campaign()
        terms.append(member.term)
    assert terms == [2, 3, 4, 5, 6]


def test_sec51_a_split_vote_ends_the_term_without_a_leader() -> None:
    network = Network(1, 2, 3, 4)
    network.partition([1, 2], [3, 4])
    network.campaign(1)
    network.campaign(3)
    assert network.leader() is None
    assert network[1].term == network[3].term == 2
    network.heal()
    network.tick_until(lambda: network.leader() is not None)
    leader = network.leader()
    assert leader is not None
    assert leader.term > 2


def test_sec51_there_is_at_most_one_leader_in_a_term() -> None:
    for seed in range(10):
        network = Network(1, 2, 3, 4, 5, seed=seed)
        network.lose(0.3)
        network.tick(times=60)  # The network checks it at each step.
        assert len(network.leaders) == len(set(network.leaders))


def test_sec51_terms_are_exchanged_whenever_servers_communicate() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=4)
    assert member.term == 4
    assert only(member.receive(MsgHeartbeat, 2, term=4)).term == 4


@pytest.mark.parametrize("role", ["Candidate", "Leader"])
def test_sec51_a_candidate_or_leader_with_an_old_term_reverts_to_follower(role: str) -> None:
    member = a_member()
    member.campaign()
    if role == "Leader":
        member.lead()
    member.receive(MsgRequestVoteResponse, 3, term=7, reject=True)
    assert (member.role, member.term) == ("Follower", 7)


def test_sec51_a_request_with_an_old_term_is_rejected() -> None:
    member = a_member(term=5)
    answer = only(member.receive(MsgRequestVote, 2, term=4, index=1, log_term=1))
    assert (answer.msg_type, answer.term, answer.reject) == (MsgRequestVoteResponse, 5, True)
    answer = only(member.receive(MsgAppend, 2, term=4, index=1, log_term=1, commit=1))
    assert (answer.msg_type, answer.term, answer.index) == (MsgAppendResponse, 5, 0)
    assert (member.term, member.raft.vote, member.raft.leader_id) == (5, 0, 0)


def test_sec52_servers_start_as_followers() -> None:
    assert a_member().role == "Follower"
    member = a_leader()
    member.restart()
    assert member.role == "Follower"


def test_sec52_a_server_stays_follower_while_it_receives_valid_requests() -> None:
    member = a_member()
    for _ in range(50):
        member.tick(5)
        member.receive(MsgHeartbeat, 2)
    assert member.role == "Follower"


def test_sec52_leaders_send_periodic_heartbeats_to_all_followers() -> None:
    leader = a_leader(voters=[1, 2, 3, 4])
    for _ in range(10):
        assert {m.to for m in of_type(leader.tick(), MsgHeartbeat)} == {2, 3, 4}


def test_sec52_a_follower_that_hears_nothing_begins_an_election() -> None:
    member = a_member()
    asked = member.tick(member.raft.randomized_election_timeout)
    assert len(of_type(asked, MsgRequestVote)) == 2


def test_sec52_a_follower_increments_its_term_and_votes_for_itself() -> None:
    member = a_member(term=3)
    member.campaign()
    assert (member.term, member.raft.vote, member.role) == (4, 1, "Candidate")


def test_sec52_requests_go_to_every_other_server_in_parallel() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5])
    assert [m.to for m in of_type(member.campaign(), MsgRequestVote)] == [2, 3, 4, 5]


def test_sec52_a_candidate_wins_with_votes_of_a_majority_in_the_same_term() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5])
    member.campaign()
    member.campaign()
    for node_id in (2, 3, 4):
        member.receive(MsgRequestVoteResponse, node_id, term=2)
    assert member.role == "Candidate"
    for node_id in (2, 3):
        member.receive(MsgRequestVoteResponse, node_id, term=3)
    assert member.leads


def test_sec52_each_server_votes_for_at_most_one_candidate_first_come_first_served() -> None:
    member = a_member()
    assert not only(member.receive(MsgRequestVote, 3, term=2, index=1, log_term=1)).reject
    assert only(member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1)).reject
    assert member.raft.vote == 3


def test_sec52_a_winner_tells_all_others_at_once() -> None:
    member = a_member()
    member.campaign()
    sent = member.receive(MsgRequestVoteResponse, 3)
    assert {m.to for m in of_type(sent, MsgAppend)} == {2, 3}


def test_sec52_a_candidate_recognizes_a_leader_of_its_term_or_a_later_one() -> None:
    for term in (2, 3):
        member = a_member()
        member.campaign()
        member.receive(MsgHeartbeat, 2, term=term)
        assert (member.role, member.raft.leader_id, member.term) == ("Follower", 2, term)


def test_sec52_a_candidate_rejects_a_leader_of_an_earlier_term() -> None:
    member = a_member(term=5)
    member.campaign()
    member.receive(MsgHeartbeat, 2, term=5)
    assert (member.role, member.term) == ("Candidate", 6)


def test_sec52_without_a_winner_candidates_time_out_and_start_anew() -> None:
    member = a_member()
    member.campaign()
    member.tick(member.raft.randomized_election_timeout)
    assert (member.role, member.term) == ("Candidate", 3)
    assert member.raft.votes == {1: True}


def test_sec52_election_timeouts_are_random_in_a_fixed_interval() -> None:
    member = a_member()
    seen = set()
    for _ in range(300):
        member.raft.reset_randomized_election_timeout()
        seen.add(member.raft.randomized_election_timeout)
    assert seen == set(range(10, 20))


def test_sec52_each_candidate_restarts_its_timeout_at_the_start_of_an_election() -> None:
    member = a_member()
    drawn = set()
    for _ in range(40):
        member.campaign()
        assert member.raft.election_elapsed == 0
        drawn.add(member.raft.randomized_election_timeout)
    assert len(drawn) > 3


def test_sec52_split_votes_are_resolved() -> None:
    for seed in range(5):
        network = Network(1, 2, 3, 4, 5, 6, seed=seed)
        for node_id in network.members:
            network[node_id].node.campaign()
        network.run()
        network.tick_until(lambda network=network: network.leader() is not None)  # type: ignore[misc]
