"""Figure 2 of the Raft paper: a test for each of its sentences, box by box."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgRequestVoteResponse,
)
from tests.harness.builders import a_leader, a_member, a_raft, entries_of, of_type, only, to
from tests.harness.network import Loop, Network

# State: persistent on all servers, updated on stable storage before responding.


def test_fig2_state_term_vote_and_log_are_stored_before_responding() -> None:
    for loop in Loop:
        member = a_member(loop=loop)
        member.receive(MsgRequestVote, 2, term=3, index=1, log_term=1)
        member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([3]))
        member.restart()
        assert (member.term, member.raft.vote, member.log()) == (3, 2, [(2, 3)])
    waiting = a_member(loop=Loop.ASYNC)
    waiting.syncs_at_once = False
    assert waiting.receive(MsgRequestVote, 2, term=3, index=1, log_term=1) == []
    append = {"index": 1, "log_term": 1, "entries": entries_of([3])}
    assert waiting.receive(MsgAppend, 2, **append) == []


def test_fig2_state_current_term_increases_monotonically() -> None:
    network = Network(1, 2, 3)
    last = dict.fromkeys(network.members, 0)
    for node_id in (1, 2, 3, 1, 2):
        network.campaign(node_id)
        for i, member in network.members.items():
            assert member.term >= last[i]
            last[i] = member.term


def test_fig2_state_voted_for_is_none_in_a_new_term() -> None:
    member = a_member()
    member.receive(MsgRequestVote, 2, term=3, index=1, log_term=1)
    assert member.raft.vote == 2
    member.receive(MsgHeartbeat, 3, term=4)
    assert member.raft.vote == 0


def test_fig2_state_log_entries_hold_a_command_and_the_term_of_their_leader() -> None:
    leader = a_leader()
    leader.propose(b"command")
    entry = leader.raft.raft_log.all_entries()[-1]
    assert (entry.data, entry.term, entry.index) == (b"command", 2, 3)


def test_fig2_state_commit_index_increases_monotonically() -> None:
    member = a_member(terms=[1, 1, 1], commit=3)
    for commit in (1, 2, 0):
        member.receive(MsgHeartbeat, 2, term=2, commit=commit)
        assert member.committed == 3


def test_fig2_state_last_applied_increases_monotonically() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    last = 0
    for i in range(5):
        network.propose(1, b"%d" % i)
        assert network[1].raft.raft_log.applied > last
        last = network[1].raft.raft_log.applied


def test_fig2_state_next_index_starts_after_the_leaders_last_entry() -> None:
    raft = a_raft(terms=[1, 1, 1])
    raft.become_candidate()
    raft.become_leader()
    assert {i: p.next_idx for i, p in raft.prs.iter() if i != 1} == {2: 5, 3: 5}


def test_fig2_state_match_index_starts_at_zero() -> None:
    raft = a_raft(terms=[1, 1, 1])
    raft.become_candidate()
    raft.become_leader()
    assert {i: p.matched for i, p in raft.prs.iter() if i != 1} == {2: 0, 3: 0}


def test_fig2_state_is_reinitialized_after_election() -> None:
    leader = a_leader()
    leader.receive(MsgHeartbeat, 2, term=5)
    leader.lead(acknowledged=False)
    progress = leader.raft.prs.progress[2]
    assert (progress.matched, progress.next_idx) == (0, 3)


# AppendEntries RPC, receiver implementation.


def test_fig2_append_1_reply_false_if_the_term_is_old() -> None:
    member = a_member(term=5, check_quorum=True)
    answer = only(
        member.receive(MsgAppend, 2, term=4, index=1, log_term=1, entries=entries_of([4]))
    )
    assert answer.term == 5
    assert member.log() == []


def test_fig2_append_2_reply_false_if_the_log_does_not_hold_the_previous_entry() -> None:
    for index, log_term in ((2, 1), (3, 2), (9, 2)):
        member = a_member(terms=[2], term=2)
        answer = only(member.receive(MsgAppend, 2, index=index, log_term=log_term))
        assert answer.reject


def test_fig2_append_3_delete_a_conflicting_entry_and_all_that_follow() -> None:
    member = a_member(terms=[2, 2, 2, 2], term=3)
    member.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([3], 3))
    assert member.log() == [(2, 2), (3, 3)]


def test_fig2_append_4_append_entries_not_already_in_the_log() -> None:
    member = a_member(terms=[2, 2], term=2)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2, 2, 2]))
    assert member.log() == [(2, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize(("leader_commit", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_fig2_append_5_commit_index_is_the_lesser_of_the_leaders_and_the_last_new_entry(
    leader_commit: int, expected: int
) -> None:
    member = a_member()
    entries = entries_of([2, 2])
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries, commit=leader_commit)
    assert member.committed == expected


def test_fig2_append_carries_term_previous_entry_entries_and_commit() -> None:
    leader = a_leader()
    sent = to(leader.propose(b"x"), 2)
    m = only(of_type(sent, MsgAppend))
    assert (m.term, m.from_, m.index, m.log_term, m.commit) == (2, 1, 2, 2, 2)
    assert [(e.index, e.term) for e in m.entries] == [(3, 2)]


def test_fig2_append_result_carries_the_term() -> None:
    member = a_member(term=4)
    assert only(member.receive(MsgAppend, 2, index=1, log_term=1)).term == 4


# RequestVote RPC.


def test_fig2_vote_request_carries_term_candidate_and_last_entry() -> None:
    member = a_member(terms=[1, 3], term=4)
    for m in of_type(member.campaign(), MsgRequestVote):
        assert (m.term, m.from_, m.index, m.log_term) == (5, 1, 3, 3)


def test_fig2_vote_1_refuse_an_old_term() -> None:
    member = a_member(term=5)
    answer = only(member.receive(MsgRequestVote, 2, term=4, index=9, log_term=3))
    assert (answer.msg_type, answer.reject, answer.term) == (MsgRequestVoteResponse, True, 5)
    assert member.raft.vote == 0


def test_fig2_vote_2_grant_if_not_voted_or_voted_for_the_candidate() -> None:
    request = {"term": 3, "index": 1, "log_term": 1}
    member = a_member()
    assert not only(member.receive(MsgRequestVote, 2, **request)).reject
    assert not only(member.receive(MsgRequestVote, 2, **request)).reject
    assert only(member.receive(MsgRequestVote, 3, **request)).reject


def test_fig2_vote_2_grant_only_if_the_candidates_log_is_up_to_date() -> None:
    for index, log_term, granted in ((3, 2, True), (4, 2, True), (2, 3, True), (2, 2, False)):
        member = a_member(terms=[1, 2], term=2)
        answer = only(member.receive(MsgRequestVote, 2, term=4, index=index, log_term=log_term))
        assert answer.reject is not granted


# Rules for servers: all.


def test_fig2_all_apply_entries_once_they_are_committed() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    for i in range(3):
        network.propose(1, b"%d" % i)
    network.tick()
    for member in network.members.values():
        assert member.data == [b"0", b"1", b"2"]
        assert member.raft.raft_log.applied == member.committed


@pytest.mark.parametrize("role", ["Follower", "Candidate", "Leader"])
@pytest.mark.parametrize(
    "msg_type", [MsgAppend, MsgHeartbeat, MsgAppendResponse, MsgRequestVoteResponse, MsgRequestVote]
)
def test_fig2_all_a_later_term_is_adopted_and_makes_a_follower(role: str, msg_type: int) -> None:
    member = a_member()
    if role == "Candidate":
        member.campaign()
    if role == "Leader":
        member.lead()
    assert member.role == role
    fields = {"index": 1, "log_term": 1} if msg_type in (MsgAppend, MsgRequestVote) else {}
    member.receive(msg_type, 2, term=9, **fields)  # type: ignore[arg-type]
    assert (member.role, member.term) == ("Follower", 9)


# Rules for servers: followers.


def test_fig2_followers_respond_to_candidates_and_leaders() -> None:
    member = a_member()
    assert len(member.receive(MsgRequestVote, 2, term=3, index=1, log_term=1)) == 1
    assert len(member.receive(MsgHeartbeat, 2)) == 1
    assert len(member.receive(MsgAppend, 2, index=1, log_term=1)) == 1


def test_fig2_followers_become_candidates_after_a_timeout() -> None:
    member = a_member()
    member.tick(member.raft.randomized_election_timeout)
    assert member.role == "Candidate"


def test_fig2_followers_wait_while_they_hear_of_the_leader_or_grant_votes() -> None:
    member = a_member()
    for _ in range(20):
        member.tick(9)
        member.receive(MsgHeartbeat, 2)
    assert member.role == "Follower"
    for term in range(2, 12):
        member.tick(9)
        member.receive(MsgRequestVote, 2, term=term, index=1, log_term=1)
    assert member.role == "Follower"


# Rules for servers: candidates.


def test_fig2_candidates_start_an_election_on_conversion() -> None:
    member = a_member()
    asked = of_type(member.campaign(), MsgRequestVote)
    assert member.term == 2
    assert member.raft.vote == 1
    assert member.raft.votes == {1: True}
    assert member.raft.election_elapsed == 0
    assert {m.to for m in asked} == {2, 3}


def test_fig2_candidates_with_votes_of_a_majority_become_leader() -> None:
    member = a_member(voters=[1, 2, 3, 4, 5])
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2)
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3)
    assert member.leads


def test_fig2_candidates_that_hear_of_a_new_leader_follow_it() -> None:
    member = a_member()
    member.campaign()
    member.receive(MsgAppend, 2, index=1, log_term=1)
    assert (member.role, member.raft.leader_id) == ("Follower", 2)


def test_fig2_candidates_start_a_new_election_after_a_timeout() -> None:
    member = a_member()
    member.campaign()
    member.tick(member.raft.randomized_election_timeout)
    assert (member.role, member.term) == ("Candidate", 3)


# Rules for servers: leaders.


def test_fig2_leaders_send_empty_appends_upon_election_and_repeat_them_when_idle() -> None:
    member = a_member()
    member.campaign()
    sent = member.receive(MsgRequestVoteResponse, 2)
    assert {m.to for m in of_type(sent, MsgAppend)} == {2, 3}
    for _ in range(5):
        assert {m.to for m in of_type(member.tick(), MsgHeartbeat)} == {2, 3}


def test_fig2_leaders_append_commands_and_respond_after_applying() -> None:
    leader = a_leader()
    leader.propose(b"x")
    assert leader.last_index == 3
    assert leader.data == []
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.data == [b"x"]


def test_fig2_leaders_send_entries_from_next_index_on() -> None:
    leader = a_member(terms=[1, 1, 1]).lead(acknowledged=False)
    leader.raft.prs.progress[2].next_idx = 3
    leader.raft.prs.progress[2].resume()
    leader.raft.send_append(2)
    m = only(of_type(leader.pump(), MsgAppend))
    assert [e.index for e in m.entries] == [3, 4, 5]


def test_fig2_leaders_update_next_and_match_index_on_success() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    progress = leader.raft.prs.progress[2]
    assert (progress.matched, progress.next_idx) == (3, 4)


def test_fig2_leaders_decrement_next_index_and_retry_on_inconsistency() -> None:
    leader = a_member(terms=[1, 1, 1]).lead(acknowledged=False)
    rejected = leader.raft.prs.progress[2].next_idx - 1
    sent = leader.receive(
        MsgAppendResponse, 2, index=rejected, reject=True, reject_hint=rejected - 1, log_term=1
    )
    assert only(of_type(sent, MsgAppend)).index == rejected - 1


def test_fig2_leaders_commit_what_a_majority_has_of_their_own_term() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5])
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.committed == 3
    older = a_member(terms=[1, 1]).lead(acknowledged=False)
    for node_id in (2, 3):
        older.receive(MsgAppendResponse, node_id, index=3)
    assert older.committed == 1


def test_fig2_every_message_names_its_term_and_sender() -> None:
    network = Network(1, 2, 3)
    network.keep_log = True
    network.elect(1)
    network.propose(1)
    network.tick()
    assert all(m.term > 0 and m.from_ in (1, 2, 3) for m in network.log)
    assert all(isinstance(m, Message) for m in network.log)
