"""Sections 5.3 to 5.6 of the Raft paper: replication, safety, crashes, timing."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgRequestVoteResponse,
)
from tests.harness.builders import a_leader, a_member, entries_of, of_type, only, to
from tests.harness.network import Loop, Network


def test_sec53_a_command_is_appended_and_sent_in_parallel_to_all_others() -> None:
    leader = a_leader()
    sent = of_type(leader.propose(b"x"), MsgAppend)
    assert [(m.to, [e.data for e in m.entries]) for m in sent] == [(2, [b"x"]), (3, [b"x"])]


def test_sec53_an_entry_is_applied_when_it_is_safely_replicated() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5])
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.data == []
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.data == [b"x"]


@pytest.mark.parametrize("loop", Loop)
def test_sec53_the_leader_retries_until_all_followers_store_all_entries(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.lose(0.5)
    for i in range(10):
        network[1].node.propose(b"", b"%d" % i)
        network.tick(1)
    network.heal()
    network.tick(1, times=15)
    assert all(m.last_index == 12 for m in network.members.values())


def test_sec53_committing_an_entry_commits_all_that_precede_it() -> None:
    leader = a_member(terms=[1, 1, 1]).lead(acknowledged=False)
    leader.receive(MsgAppendResponse, 2, index=5)
    assert leader.committed == 5
    assert sorted(leader.applied) == [2, 3, 4, 5]


def test_sec53_the_commit_index_is_in_later_messages_heartbeats_included() -> None:
    leader = a_leader(skip_bcast_commit=True)
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    assert {m.commit for m in of_type(leader.tick(), MsgHeartbeat)} == {3}
    assert {m.commit for m in of_type(leader.propose(b"y"), MsgAppend)} == {3}


def test_sec53_a_follower_applies_committed_entries_in_log_order() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2] * 5), commit=3)
    member.receive(MsgHeartbeat, 2, commit=6)
    order = [e.index for rd in member.readies for e in rd.committed_entries]
    assert order == [2, 3, 4, 5, 6]


def test_sec53_same_index_and_term_mean_the_same_command() -> None:
    # A leader makes at most one entry at an index in a term, and none ever moves.
    leader = a_leader()
    seen: dict[int, int] = {}
    for i in range(5):
        leader.propose(b"%d" % i)
        for entry in leader.raft.raft_log.all_entries():
            assert seen.setdefault(entry.index, entry.term) == entry.term


def test_sec53_same_index_and_term_mean_identical_logs_before_them() -> None:
    network = Network(1, 2, 3, 4, 5, seed=3)
    network.lose(0.2)
    for round_ in range(8):
        network.tick(times=12)
        leader = network.leader()
        if leader is not None and leader.leads:
            leader.node.propose(b"", b"%d" % round_)
    logs = [dict(m.log()) for m in network.members.values()]
    for one in logs:
        for other in logs:
            agreed = [i for i in one if other.get(i) == one[i]]
            for index in range(2, max(agreed, default=1) + 1):
                assert one[index] == other[index]


def test_sec53_the_consistency_check_refuses_what_does_not_follow() -> None:
    member = a_member(terms=[2, 2], term=3)
    assert only(member.receive(MsgAppend, 2, index=3, log_term=3)).reject
    assert only(member.receive(MsgAppend, 2, index=7, log_term=2)).reject
    assert not only(member.receive(MsgAppend, 2, index=3, log_term=2)).reject


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_sec53_figure_7_followers_logs_are_forced_to_duplicate_the_leaders(name: str) -> None:
    leaders = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    network = Network()
    network.members = {
        1: a_member(1, terms=leaders[1:], term=8),
        2: a_member(2, terms=FIGURE_7[name][1:], term=8),
        3: a_member(3, terms=leaders[1:], term=8),
    }
    network.elect(1)
    network.tick(1, times=3)
    assert network[2].log() == network[1].log()


def test_sec53_a_leader_never_overwrites_or_deletes_its_own_entries() -> None:
    leader = a_leader()
    for _ in range(3):
        leader.propose(b"x")
    before = leader.log()
    leader.receive(MsgAppendResponse, 2, index=4, reject=True, reject_hint=1)
    leader.receive(MsgAppendResponse, 3, index=5)
    assert leader.log()[: len(before)] == before


def test_sec53_one_slow_follower_does_not_impact_commits() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.stop(3)
    for i in range(20):
        network.propose(1, b"%d" % i)
    assert len(network[1].data) == 20


def test_sec541_a_candidate_without_all_committed_entries_cannot_win() -> None:
    network = Network(1, 2, 3, 4, 5)
    network.elect(1)
    network.stop(4, 5)
    network.propose(1, b"committed")
    network.start(4, 5)
    for node_id in (4, 5):
        network.stop(1)
        network.campaign(node_id)
        assert not network[node_id].leads
    network.elect(2)
    assert network[2].data == [b"committed"]


def test_sec541_the_later_last_term_is_more_up_to_date_then_the_longer_log() -> None:
    for terms, index, log_term, granted in (
        ([1, 1, 1], 2, 2, True),
        ([1, 2], 9, 1, False),
        ([1, 1], 2, 1, False),
        ([1, 1], 3, 1, True),
        ([1, 1], 4, 1, True),
    ):
        member = a_member(terms=terms, term=2)
        answer = only(member.receive(MsgRequestVote, 2, term=9, index=index, log_term=log_term))
        assert answer.reject is not granted


def figure_8() -> Network:
    """State (b): 1 and 2 hold an entry of term 2, 5 one of term 3, at the same index."""
    network = Network(max_size_per_msg=0)
    logs = {1: [2], 2: [2], 3: [], 4: [], 5: [3]}
    for node_id, terms in logs.items():
        network.members[node_id] = a_member(
            node_id, [1, 2, 3, 4, 5], terms=terms, term=3, max_size_per_msg=0
        )
    return network


def test_sec542_figure_8_an_entry_of_an_earlier_term_on_a_majority_is_not_committed() -> None:
    # (c) 1 leads term 4 and replicates its entry of term 2 to a majority, but none of its own.
    network = figure_8()
    network.stop(5)
    network.keep_if(
        lambda m: not any(e.term == 4 for e in m.entries) or network[m.to].last_index < m.index
    )
    network.elect(1)
    network.tick(1, times=2)
    assert network[1].term == 4
    assert [network[i].log() for i in (2, 3, 4)] == [[(2, 2)]] * 3
    assert network[1].committed == 1
    # (d) So 5 may be elected and overwrite it.
    network.stop(1)
    network.heal()
    network.start(5)
    network.campaign(5)
    network.elect(5)
    network.tick(2, 3, 4, 5, times=2)
    assert network[3].log()[0] == (2, 3)


def test_sec542_figure_8_with_an_entry_of_its_own_term_on_a_majority_it_is_committed() -> None:
    # (e) Then 5 cannot win any more.
    network = figure_8()
    network.stop(5)
    network.elect(1)
    network.tick(1, times=2)
    assert network[1].committed == 3
    network.stop(1)
    network.start(5)
    for _ in range(4):
        network.campaign(5)
        assert not network[5].leads
    assert network[3].log()[0] == (2, 2)


def test_sec542_an_entry_of_the_own_term_commits_all_before_it() -> None:
    leader = a_member(terms=[1, 1], term=3).lead(acknowledged=False)
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 1
    leader.receive(MsgAppendResponse, 2, index=4)
    assert leader.committed == 4


def test_sec542_entries_keep_their_term_when_a_later_leader_sends_them() -> None:
    leader = a_member(terms=[1, 1], term=3).lead(acknowledged=False)
    leader.receive(MsgAppendResponse, 2, index=3, reject=True, reject_hint=1, log_term=1)
    leader.raft.prs.progress[3].next_idx = 2
    leader.raft.prs.progress[3].resume()
    leader.raft.send_append(3)
    sent = to(leader.pump(), 3)
    assert [e.term for e in sent[-1].entries] == [1, 1, 4]


def test_sec543_what_was_committed_is_in_the_logs_of_all_later_leaders() -> None:
    network = Network(1, 2, 3, 4, 5, seed=7)
    network.elect(1)
    for i in range(12):
        leader = network.leader()
        if leader is not None:
            network.propose(leader.id, b"%d" % i)
        down = (i % 5) + 1
        network.stop(down)
        network.tick_until(lambda: network.leader() is not None)
        network.start(down)
    network.tick(times=30)
    network.tick_until(lambda: network.leader() is not None)
    leader = network.leader()
    assert leader is not None
    for index, entry in network.truth.items():
        assert leader.raft.raft_log.term(index) == entry.term


def test_sec543_servers_apply_the_same_entries_at_the_same_indexes() -> None:
    network = Network(1, 2, 3, seed=5)
    network.lose(0.25)
    for i in range(30):
        network.tick(times=3)
        leader = network.leader()
        if leader is not None:
            leader.node.propose(b"", b"%d" % i)
    network.heal()
    network.tick(times=40)
    applied = [
        {i: (e.term, e.data) for i, e in m.applied.items()} for m in network.members.values()
    ]
    assert applied[0] == applied[1] == applied[2]
    assert applied[0]


def test_sec55_requests_to_a_crashed_server_are_retried_until_it_restarts() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.stop(3)
    network.propose(1, b"x")
    network.tick(1, 2, times=5)
    network.start(3)
    network.tick(times=2)
    assert network[3].data == [b"x"]


def test_sec55_requests_are_idempotent() -> None:
    leader = a_leader()
    append = only(to(of_type(leader.propose(b"x"), MsgAppend), 2))
    follower = a_member(2, terms=[2], term=2)
    first = only(follower.step(append))
    again = only(follower.step(append))
    assert (first.index, first.reject) == (again.index, again.reject) == (3, False)
    assert follower.log() == [(2, 2), (3, 2)]
    request = {"term": 9, "index": 9, "log_term": 2}
    votes = [only(follower.receive(MsgRequestVote, 1, **request)) for _ in range(2)]
    assert [v.reject for v in votes] == [False, False]
    candidate = a_member(voters=[1, 2, 3, 4, 5])
    candidate.campaign()
    for _ in range(3):
        candidate.receive(MsgRequestVoteResponse, 2)
    assert candidate.role == "Candidate"


def test_sec56_safety_does_not_depend_on_timing() -> None:
    for seed in range(6):
        network = Network(1, 2, 3, 4, 5, seed=seed, min_election_tick=10, max_election_tick=11)
        network.lose(0.3)
        for i in range(20):
            network.tick(*(1 + (seed + i + j) % 5 for j in range(3)), times=4)
            leader = network.leader()
            if leader is not None:
                leader.node.propose(b"", b"%d" % i)
        # One leader a term and one entry an index: the network checks that at each step.
        assert all(index > 1 for index in network.truth)


def test_sec56_a_leader_is_elected_when_broadcasts_are_faster_than_timeouts() -> None:
    network = Network(1, 2, 3, 4, 5, seed=11)
    network.tick(times=40)
    leader = network.leader()
    assert leader is not None
    network.tick(times=100)
    assert network.leader() is leader
