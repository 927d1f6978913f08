"""PreVote: whoever cannot win does not disturb (thesis §9.6)."""

from __future__ import annotations

import pytest

from raft import ProposalDropped
from raft.eraftpb import (
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
)
from raft.errors import DropReason
from tests.harness.builders import a_leader, a_member, of_type, only
from tests.harness.network import Network


def test_asking_changes_neither_term_nor_vote() -> None:
    member = a_member(pre_vote=True, vote=3, term=4)
    asked = member.campaign()
    assert member.role == "PreCandidate"
    assert (member.term, member.raft.vote) == (4, 3)
    assert [(m.msg_type, m.term) for m in asked] == [(MsgRequestPreVote, 5)] * 2


def test_granting_changes_nothing() -> None:
    member = a_member(pre_vote=True)
    member.tick(5)
    answer = only(member.receive(MsgRequestPreVote, 2, term=7, index=1, log_term=1))
    assert not answer.reject
    assert answer.term == 7
    assert (member.term, member.raft.vote, member.raft.election_elapsed) == (1, 0, 5)


def test_several_may_be_granted_the_same_term() -> None:
    member = a_member(pre_vote=True)
    for node_id in (2, 3):
        assert not only(
            member.receive(MsgRequestPreVote, node_id, term=2, index=1, log_term=1)
        ).reject


def test_a_majority_of_promises_starts_the_real_election() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    asked = member.receive(MsgRequestPreVoteResponse, 2, term=2)
    assert member.role == "Candidate"
    assert (member.term, member.raft.vote) == (2, 1)
    assert [(m.msg_type, m.term) for m in asked] == [(MsgRequestVote, 2)] * 2
    # A promise is no vote.
    member.receive(MsgRequestPreVoteResponse, 3, term=2)
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3)
    assert member.leads


def test_a_majority_of_refusals_ends_it_in_the_same_term() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    for node_id in (2, 3):
        member.receive(MsgRequestPreVoteResponse, node_id, term=1, reject=True)
    assert member.role == "Follower"
    assert member.term == 1


def test_real_votes_do_not_count_for_a_pre_candidate() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2)
    assert member.role == "PreCandidate"


def test_a_refusal_of_a_later_term_is_adopted() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    member.receive(MsgRequestPreVoteResponse, 2, term=9, reject=True)
    assert (member.role, member.term) == ("Follower", 9)


def test_a_pre_candidate_knows_no_leader() -> None:
    member = a_member(pre_vote=True)
    member.receive(MsgHeartbeat, 2)
    assert member.raft.leader_id == 2
    member.campaign()
    assert member.raft.leader_id == 0
    with pytest.raises(ProposalDropped) as caught:
        member.propose(b"x")
    assert caught.value.reason is DropReason.NO_LEADER
    with pytest.raises(ProposalDropped):
        member.node.read_index(b"r")


def test_a_pre_candidate_goes_back_to_a_leader_of_its_term() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    member.receive(MsgHeartbeat, 2)
    assert (member.role, member.raft.leader_id) == ("Follower", 2)


def test_a_pre_candidate_grants_real_votes() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    answer = only(member.receive(MsgRequestVote, 2, term=2, index=1, log_term=1))
    assert not answer.reject
    assert member.role == "Follower"


def test_an_old_pre_vote_request_is_refused_with_the_present_term() -> None:
    member = a_member(pre_vote=True, term=6)
    answer = only(member.receive(MsgRequestPreVote, 2, term=3, index=1, log_term=1))
    assert answer.reject
    assert answer.term == 6


def test_a_request_of_the_present_term_is_refused_when_a_leader_is_known() -> None:
    member = a_member(pre_vote=True)
    member.receive(MsgHeartbeat, 2, term=3)
    assert only(member.receive(MsgRequestPreVote, 3, term=3, index=1, log_term=1)).reject


def test_a_node_that_was_cut_off_does_not_depose_the_leader() -> None:
    network = Network(1, 2, 3, pre_vote=True, check_quorum=True)
    network.elect(1)
    network.isolate(3)
    network.tick(times=60)
    assert network[3].role == "PreCandidate"
    assert network[3].term == 2
    network.heal()
    network.tick(times=30)
    assert network[1].leads
    assert network[1].term == 2
    assert network[3].raft.leader_id == 1


def test_without_check_quorum_a_behind_log_wins_no_promises() -> None:
    network = Network(1, 2, 3, pre_vote=True)
    network.elect(1)
    network.isolate(3)
    network.propose(1)
    network.heal()
    network.campaign(3)
    assert network[1].leads
    assert network[3].role == "Follower"
    assert network[3].term == 2


def test_an_up_to_date_log_does_win() -> None:
    network = Network(1, 2, 3, pre_vote=True)
    network.elect(1)
    network.propose(1)
    network.elect(2)
    assert network[2].term == 3


def test_mixed_groups_elect_too() -> None:
    # While the setting is rolled out some have it and some have not (etcd issue 8501).
    network = Network(1, 2, 3)
    network[2].raft.pre_vote = network[3].raft.pre_vote = True
    network.elect(1)
    network.isolate(1)
    network.propose(1, b"lost")
    network.elect(2)
    network.heal()
    network.tick(times=2)
    assert network[1].raft.leader_id == 2
    network.elect(1)


def test_a_pre_vote_node_with_a_later_term_and_shorter_log_gets_unstuck() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(3)
    for _ in range(3):
        network.campaign(3)
    network.propose(1)
    network.heal()
    for member in network.members.values():
        member.raft.pre_vote = True
    network.tick_until(lambda: len({m.term for m in network.members.values()}) == 1)
    network.tick_until(lambda: network.leader() is not None)
    assert network[3].term >= 5


def test_lower_term_leaders_learn_of_the_later_term() -> None:
    for msg_type in (MsgAppend, MsgHeartbeat):
        member = a_member(term=8, pre_vote=True)
        fields = {"index": 1, "log_term": 1} if msg_type == MsgAppend else {}
        answer = only(member.receive(msg_type, 2, term=3, **fields))
        assert (answer.msg_type, answer.term, answer.index) == (MsgAppendResponse, 8, 0)


def test_a_pre_vote_of_a_leader_is_refused() -> None:
    leader = a_leader(pre_vote=True, check_quorum=True)
    assert leader.receive(MsgRequestPreVote, 2, term=3, index=9, log_term=2) == []
    assert leader.leads


def test_repeated_candidacies_start_without_promises() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5], pre_vote=True)
    member.campaign()
    member.receive(MsgRequestPreVoteResponse, 2, term=2)
    member.campaign()
    member.receive(MsgRequestPreVoteResponse, 3, term=2)
    assert member.role == "PreCandidate"
    member.receive(MsgRequestPreVoteResponse, 4, term=2)
    assert member.role == "Candidate"


def test_promises_for_an_earlier_question_do_not_count() -> None:
    member = a_member(pre_vote=True)
    member.campaign()
    # A leader appeared and went meanwhile: the question is now about term 3.
    member.receive(MsgHeartbeat, 3, term=2)
    member.campaign()
    member.receive(MsgRequestPreVoteResponse, 2, term=2)
    assert member.role == "PreCandidate"
    member.receive(MsgRequestPreVoteResponse, 2, term=3)
    assert member.role == "Candidate"


def test_the_timer_of_a_pre_candidate_starts_anew() -> None:
    member = a_member(pre_vote=True)
    limit = member.raft.randomized_election_timeout
    assert len(of_type(member.tick(limit), MsgRequestPreVote)) == 2
    assert member.tick(9) == []
    assert len(of_type(member.tick(11), MsgRequestPreVote)) == 2
