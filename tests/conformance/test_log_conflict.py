"""Logs that differ: how leader and follower find where they agree, and what is replaced."""

from __future__ import annotations

import pytest

from raft.eraftpb import MsgAppend, MsgAppendResponse
from tests.harness.builders import a_leader, a_member, entries_of, of_type, only
from tests.harness.network import Network

# (the leader's terms, the follower's terms) from index 2 on; the logs agree at index 1.
DIVERGED = {
    "follower-short": ([2, 2, 2, 3], [2]),
    "follower-empty": ([2, 2, 2], []),
    "follower-long-same-terms": ([2, 2], [2, 2, 2, 2]),
    "one-old-term-too-many": ([2, 4, 4, 4], [2, 2, 2, 2, 2]),
    "later-term-not-kept": ([2, 2, 2, 5], [2, 3, 3, 3, 3, 3]),
    "many-terms": ([2, 4, 4, 6, 6, 7], [2, 3, 3, 3, 5, 5, 5]),
    "figure-7a": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 4, 4, 5, 5, 6]),
    "figure-7b": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1]),
    "figure-7c": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 4, 4, 5, 5, 6, 6, 6]),
    "figure-7d": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 4, 4, 5, 5, 6, 6, 7, 7]),
    "figure-7e": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 4, 4, 4, 4]),
    "figure-7f": ([1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
}


@pytest.mark.parametrize("name", DIVERGED)
def test_the_follower_ends_with_the_leaders_log(name: str) -> None:
    leaders, followers = DIVERGED[name]
    leader = a_member(1, [1, 2], terms=leaders, term=8)
    follower = a_member(2, [1, 2], terms=followers, term=8)
    network = Network()
    network.members = {1: leader, 2: follower}
    leader.node.campaign()
    network.run()
    if not leader.leads:  # The follower's log was longer: it has nobody but the leader to vote.
        return
    network.tick(1, times=3)
    assert follower.log() == leader.log()
    assert leader.committed == leader.last_index


@pytest.mark.parametrize("name", DIVERGED)
def test_any_follower_of_a_larger_group_ends_with_the_leaders_log(name: str) -> None:
    leaders, followers = DIVERGED[name]
    network = Network()
    network.members = {
        1: a_member(1, terms=leaders, term=8),
        2: a_member(2, terms=followers, term=8),
        3: a_member(3, terms=leaders, term=8),
    }
    network.elect(1)
    network.tick(1, times=3)
    assert network[2].log() == network[1].log() == network[3].log()


@pytest.mark.parametrize(
    ("terms", "index", "log_term", "hint", "hint_term"),
    [
        # The follower's log is shorter: start at its end, or where its terms fit.
        ([2, 2], 9, 2, 3, 2),
        ([2, 2], 9, 4, 3, 2),
        ([2, 4], 9, 3, 2, 2),
        # The entry differs: skip all of its log that is of a later term than the leader's.
        ([2, 2, 4, 4], 5, 3, 3, 2),
        ([2, 2, 4, 4], 4, 3, 3, 2),
        ([3, 3, 3], 4, 2, 1, 1),
        ([2, 2, 2], 4, 3, 4, 2),
    ],
)
def test_a_rejection_hints_where_the_logs_may_agree(
    terms: list[int], index: int, log_term: int, hint: int, hint_term: int
) -> None:
    member = a_member(terms=terms, term=9)
    answer = only(member.receive(MsgAppend, 2, index=index, log_term=log_term))
    assert answer.reject
    assert (answer.index, answer.reject_hint, answer.log_term) == (index, hint, hint_term)


@pytest.mark.parametrize(
    ("terms", "hint", "hint_term", "next_idx"),
    [
        ([2, 2, 2, 2], 3, 2, 4),
        ([2, 4, 4, 4], 4, 3, 3),
        ([2, 4, 4, 4], 4, 2, 3),
        ([2, 4, 4, 4], 2, 2, 3),
        ([4, 4, 4, 4], 4, 3, 2),
        ([2, 2, 5, 5], 2, 0, 3),
    ],
)
def test_the_leader_skips_whole_terms_too(
    terms: list[int], hint: int, hint_term: int, next_idx: int
) -> None:
    leader = a_member(terms=terms, term=8).lead(acknowledged=False)
    rejected = leader.raft.prs.progress[2].next_idx - 1
    sent = leader.receive(
        MsgAppendResponse, 2, index=rejected, reject=True, reject_hint=hint, log_term=hint_term
    )
    assert only(of_type(sent, MsgAppend)).index == next_idx - 1


def test_long_differing_logs_need_few_messages() -> None:
    network = Network()
    network.members = {
        1: a_member(1, terms=[2] * 20 + [5] * 200, term=8),
        2: a_member(2, terms=[2] * 20 + [3] * 100 + [4] * 100, term=8),
        3: a_member(3, terms=[2] * 20 + [5] * 200, term=8),
    }
    network.keep_log = True
    network.elect(1)
    network.tick(1, times=2)
    assert network[2].log() == network[1].log()
    rejections = [m for m in network.log if m.from_ == 2 and m.reject]
    assert len(rejections) <= 3


def test_rejections_that_come_late_change_nothing() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.acknowledge_all()
    progress = leader.raft.prs.progress[2]
    before = (progress.matched, progress.next_idx, progress.state)
    assert leader.receive(MsgAppendResponse, 2, index=2, reject=True, reject_hint=1) == []
    assert (progress.matched, progress.next_idx, progress.state) == before


def test_a_rejection_never_goes_below_what_is_known_to_agree() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.acknowledge_all()
    for _ in range(3):
        leader.propose(b"y")
    progress = leader.raft.prs.progress[2]
    leader.receive(MsgAppendResponse, 2, index=5, reject=True, reject_hint=0)
    assert progress.next_idx >= progress.matched + 1 == 4
    progress.become_probe()
    leader.receive(MsgAppendResponse, 2, index=3, reject=True, reject_hint=0)
    assert progress.next_idx >= progress.matched + 1


def test_a_rejection_makes_a_probe_of_a_replicating_follower() -> None:
    leader = a_leader()
    leader.propose(b"x")
    sent = leader.receive(MsgAppendResponse, 2, index=3, reject=True, reject_hint=2)
    progress = leader.raft.prs.progress[2]
    assert progress.state.name == "Probe"
    assert only(of_type(sent, MsgAppend)).index == 2
    # One message at a time.
    assert [m for m in leader.propose(b"y") if m.to == 2] == []


def test_only_what_differs_is_replaced() -> None:
    member = a_member(terms=[2, 2, 3, 3], term=4)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2, 2, 4]))
    assert member.log() == [(2, 2), (3, 2), (4, 4)]


def test_a_message_that_agrees_takes_nothing_away() -> None:
    member = a_member(terms=[2, 2, 2, 2], term=4)
    answer = only(member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2])))
    assert member.last_index == 5
    assert answer.index == 2
    member.receive(MsgAppend, 2, index=2, log_term=2)
    assert member.last_index == 5


def test_an_append_below_the_commit_index_is_answered_with_it() -> None:
    member = a_member(terms=[2, 2, 2], commit=4, term=4)
    answer = only(member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([3, 3, 3])))
    assert (answer.index, answer.reject) == (4, False)
    assert member.log() == [(2, 2), (3, 2), (4, 2)]


def test_a_committed_prefix_is_never_asked_about() -> None:
    member = a_member(terms=[2, 2, 2, 3, 3], commit=4, term=9)
    answer = only(member.receive(MsgAppend, 2, index=6, log_term=2))
    assert answer.reject
    assert answer.reject_hint >= 4


def test_reordered_appends_keep_the_longer_log() -> None:
    leader = a_leader()
    sent = []
    for i in range(3):
        sent += [m for m in leader.propose(b"%d" % i) if m.to == 2]
    follower = a_member(2, terms=[2], term=2)
    follower.step(sent[0])
    follower.step(sent[1])
    follower.step(sent[2])
    for m in (sent[0], sent[1]):
        follower.step(m)
        assert follower.last_index == 5
    late = a_member(2, terms=[2], term=2)
    assert only(late.step(sent[2])).reject
    late.step(sent[0])
    late.step(sent[1])
    assert late.last_index == 4


def test_a_deposed_leaders_tail_gives_way() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.cut((1, 2), (1, 3))
    for i in range(5):
        network.propose(1, b"lost%d" % i)
    network.elect(3)
    for i in range(3):
        network.propose(3, b"kept%d" % i)
    network.heal()
    network.tick(3, times=2)
    assert network[1].data == [b"kept0", b"kept1", b"kept2"]
    assert network[1].log() == network[2].log() == network[3].log()
