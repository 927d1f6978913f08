"""Replication: what a leader sends, what a follower takes, and when it is committed."""

from __future__ import annotations

import pytest

from raft import NO_LIMIT, DropReason, ProposalDropped
from raft.eraftpb import (
    Entry,
    EntryConfChange,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgPropose,
    MsgTransferLeader,
)
from raft.util import entry_size
from tests.harness.builders import a_leader, a_member, entries_of, of_type, only, to
from tests.harness.network import Loop, Network


def test_a_proposal_reaches_everyone(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.propose(1, b"x", b"ctx")
    network.tick()
    for member in network.members.values():
        assert member.data == [b"x"]
        assert member.applied[3].context == b"ctx"


def test_a_proposal_at_a_follower_is_forwarded(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.propose(2, b"x")
    network.tick()
    assert network[3].data == [b"x"]


def test_a_forwarded_proposal_goes_to_the_leader_unchanged() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2)
    sent = only(member.propose(b"x", b"ctx"))
    assert (sent.msg_type, sent.to, sent.term) == (MsgPropose, 2, 0)
    assert (sent.entries[0].data, sent.entries[0].context) == (b"x", b"ctx")


def test_forwarding_may_be_disabled(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop, disable_proposal_forwarding=True)
    network.elect(1)
    with pytest.raises(ProposalDropped) as caught:
        network.propose(2)
    assert caught.value.reason is DropReason.FORWARDING_DISABLED
    network.propose(1, b"x")
    network.tick()
    assert network[2].data == [b"x"]


def test_reads_and_transfers_are_forwarded_even_then() -> None:
    member = a_member(disable_proposal_forwarding=True)
    member.receive(MsgHeartbeat, 2)
    member.node.read_index(b"r")
    member.node.transfer_leader(1)
    assert [m.to for m in member.pump()] == [2, 2]


def test_a_majority_commits_and_a_minority_does_not(loop: Loop) -> None:
    network = Network(1, 2, 3, 4, 5, loop=loop)
    network.elect(1)
    network.stop(4, 5)
    network.propose(1, b"x")
    assert network[1].data == [b"x"]
    network.stop(3)
    network.propose(1, b"y")
    assert network[1].data == [b"x"]
    network.start(3)
    network.tick(times=2)
    assert network[1].data == [b"x", b"y"]


@pytest.mark.parametrize(
    ("matched", "committed"),
    [
        ([5, 1, 1], 2),
        ([5, 5, 1], 5),
        ([5, 3, 1], 3),
        ([5, 3, 4], 4),
        ([3, 5, 5], 5),
        ([5, 4, 3, 1], 3),
        ([5, 5, 5, 1, 1], 5),
        ([5, 4, 3, 1, 1], 3),
    ],
)
def test_what_a_majority_has_is_committed(matched: list[int], committed: int) -> None:
    leader = a_leader(voters=range(1, len(matched) + 1))
    for _ in range(3):
        leader.node.propose(b"", b"x")
    rd = leader.node.ready()
    leader.storage.wl().append(rd.entries)
    raft = leader.raft
    raft.raft_log.stable_entries(5, 2)
    if matched[0] == 5:
        raft.on_persist_entries(5, 2)
    for node_id, index in enumerate(matched, 1):
        if node_id != 1:
            leader.node.step(
                Message(msg_type=MsgAppendResponse, from_=node_id, to=1, term=2, index=index)
            )
    assert leader.committed == committed


def test_a_leader_counts_itself_only_for_what_its_disk_has() -> None:
    leader = a_leader(voters=[1, 2], loop=Loop.ASYNC)
    leader.syncs_at_once = False
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    leader.sync()
    assert leader.committed == 3


def test_others_may_commit_before_the_leaders_disk() -> None:
    leader = a_leader(loop=Loop.ASYNC)
    leader.syncs_at_once = False
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    assert leader.committed == 3
    assert leader.data == []
    leader.sync()
    leader.pump()
    assert leader.data == [b"x"]


def test_a_follower_appends_and_commits_what_it_is_told() -> None:
    member = a_member()
    answer = only(
        member.receive(
            MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]), commit=2
        )
    )
    assert (answer.msg_type, answer.to, answer.index, answer.reject) == (
        MsgAppendResponse,
        2,
        3,
        False,
    )
    assert answer.commit == 2
    assert member.log() == [(2, 2), (3, 2)]


@pytest.mark.parametrize(
    ("index", "log_term", "entries", "commit", "rejected", "last", "committed"),
    [
        (3, 3, [], 3, True, 3, 1),
        (4, 4, [], 4, True, 3, 1),
        (2, 2, [], 2, False, 3, 2),
        (3, 2, [], 3, False, 3, 3),
        (3, 2, [], 9, False, 3, 3),
        (2, 2, [], 3, False, 3, 2),
        (1, 1, [3], 1, False, 2, 1),
        (1, 1, [3], 9, False, 2, 2),
        (3, 2, [3, 3], 4, False, 5, 4),
        (1, 1, [2], 3, False, 3, 2),
        (1, 1, [2, 2], 3, False, 3, 3),
    ],
)
def test_the_commit_index_follows_only_what_the_message_proves(
    index: int,
    log_term: int,
    entries: list[int],
    commit: int,
    rejected: bool,
    last: int,
    committed: int,
) -> None:
    member = a_member(terms=[2, 2], term=4)
    fields = {"entries": entries_of(entries, index + 1), "commit": commit}
    answer = only(member.receive(MsgAppend, 2, index=index, log_term=log_term, **fields))
    assert answer.reject is rejected
    assert (member.last_index, member.committed) == (last, committed)


def test_heartbeats_carry_no_more_than_the_follower_has() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    sent = of_type(leader.tick(), MsgHeartbeat)
    assert {m.to: m.commit for m in sent} == {2: 3, 3: 2}


def test_a_heartbeat_moves_the_commit_index_forward_only() -> None:
    member = a_member(terms=[1, 1], commit=2)
    for commit, expected in ((3, 3), (2, 3), (1, 3)):
        answer = only(member.receive(MsgHeartbeat, 2, term=2, commit=commit))
        assert (answer.msg_type, answer.commit) == (MsgHeartbeatResponse, expected)
        assert member.committed == expected


def test_heartbeats_come_in_their_interval() -> None:
    leader = a_leader(heartbeat_tick=3)
    assert [len(of_type(leader.tick(), MsgHeartbeat)) for _ in range(6)] == [0, 0, 2, 0, 0, 2]


def test_a_follower_that_lacks_entries_gets_them_after_its_heartbeat_answer() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.raft.prs.progress[3].become_probe()
    leader.raft.prs.progress[3].pause()
    sent = only(of_type(leader.heard(3), MsgAppend))
    assert [e.index for e in sent.entries] == [3]


def test_a_follower_that_has_all_gets_nothing_after_its_heartbeat_answer() -> None:
    leader = a_leader()
    assert leader.heard(3) == []


def test_a_follower_that_does_not_know_the_commit_gets_it_after_its_heartbeat_answer() -> None:
    leader = a_leader()
    leader.raft.prs.progress[3].committed_index = 1
    sent = only(leader.heard(3, commit=1))
    assert (sent.msg_type, sent.commit, list(sent.entries)) == (MsgAppend, 2, [])


def test_a_new_commit_index_is_sent_at_once() -> None:
    leader = a_leader()
    leader.propose(b"x")
    sent = leader.receive(MsgAppendResponse, 2, index=3)
    assert {m.to: m.commit for m in of_type(sent, MsgAppend)} == {2: 3, 3: 3}


def test_skipping_commit_broadcasts() -> None:
    leader = a_leader(skip_bcast_commit=True)
    leader.propose(b"x")
    assert leader.receive(MsgAppendResponse, 2, index=3) == []
    assert leader.committed == 3
    sent = of_type(leader.propose(b"y"), MsgAppend)
    assert {m.commit for m in sent} == {3}
    leader.node.skip_bcast_commit(False)
    assert len(of_type(leader.receive(MsgAppendResponse, 2, index=4), MsgAppend)) == 2


def test_commit_broadcasts_are_not_skipped_while_members_change() -> None:
    leader = a_leader(skip_bcast_commit=True)
    change = Entry(entry_type=EntryConfChange, data=b"\x10\x02\x18\x04")
    leader.step(Message(msg_type=MsgPropose, from_=2, entries=[change]))
    sent = leader.receive(MsgAppendResponse, 2, index=3)
    assert MsgAppend in {m.msg_type for m in sent}


def test_skipped_commits_arrive_with_the_heartbeats() -> None:
    network = Network(1, 2, 3, skip_bcast_commit=True)
    network.elect(1)
    network.propose(1, b"x")
    assert network[2].data == []
    network.tick(times=2)
    assert network[2].data == network[3].data == [b"x"]


def test_skipping_holds_with_batches_too() -> None:
    leader = a_leader(skip_bcast_commit=True, batch_append=True)
    leader.propose(b"x")
    assert leader.receive(MsgAppendResponse, 2, index=3) == []


# Batches.


def test_batched_appends_are_one_message_a_peer() -> None:
    leader = a_leader(batch_append=True)
    for i in range(5):
        leader.node.propose(b"", b"%d" % i)
    assert leader.node.has_ready()
    sent = of_type(leader.pump(), MsgAppend)
    assert [(m.to, len(m.entries)) for m in sent] == [(2, 5), (3, 5)]


def test_without_batches_each_proposal_is_a_message() -> None:
    leader = a_leader()
    for i in range(5):
        leader.node.propose(b"", b"%d" % i)
    assert [len(m.entries) for m in to(of_type(leader.pump(), MsgAppend), 2)] == [1] * 5


def test_batches_respect_the_size_of_a_message() -> None:
    size = entry_size(Entry(term=2, index=3, data=b"x" * 50))
    leader = a_leader(batch_append=True, max_size_per_msg=2 * size)
    for _ in range(5):
        leader.node.propose(b"", b"x" * 50)
    sent = to(of_type(leader.pump(), MsgAppend), 2)
    assert [len(m.entries) for m in sent] == [2, 2, 1]


def test_batching_may_be_switched_off_without_losing_anything() -> None:
    leader = a_leader(batch_append=True)
    leader.node.propose(b"", b"x")
    leader.node.set_batch_append(False)
    leader.node.propose(b"", b"y")
    sent = to(of_type(leader.pump(), MsgAppend), 2)
    assert [e.data for m in sent for e in m.entries] == [b"x", b"y"]


def test_a_batch_of_a_deposed_leader_is_not_sent() -> None:
    leader = a_leader(batch_append=True)
    leader.node.propose(b"", b"x")
    leader.node.step(Message(msg_type=MsgHeartbeat, from_=2, to=1, term=5))
    assert of_type(leader.pump(), MsgAppend) == []


@pytest.mark.parametrize("batch", [False, True])
def test_a_long_stream_arrives_in_order(loop: Loop, batch: bool) -> None:
    network = Network(1, 2, 3, loop=loop, batch_append=batch, max_inflight_msgs=4)
    network.elect(1)
    for i in range(60):
        network[1].node.propose(b"", b"%d" % i)
        if i % 7 == 0:
            network.run()
    network.run()
    network.tick()
    for member in network.members.values():
        assert member.data == [b"%d" % i for i in range(60)]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_arrives_although_messages_are_lost(loop: Loop, batch: bool, seed: int) -> None:
    network = Network(1, 2, 3, loop=loop, batch_append=batch, max_inflight_msgs=3, seed=seed)
    network.elect(1)
    network.lose(0.4)
    for i in range(30):
        network[1].node.propose(b"", b"%d" % i)
        network.tick(1)
    network.heal()
    network.tick(1, times=20)
    for member in network.members.values():
        assert member.data == [b"%d" % i for i in range(30)]


# What may not be proposed.


def test_a_candidate_takes_no_proposal() -> None:
    member = a_member()
    member.campaign()
    with pytest.raises(ProposalDropped) as caught:
        member.propose(b"x")
    assert caught.value.reason is DropReason.NO_LEADER
    assert "no leader" in str(caught.value)


def test_a_transfer_without_a_leader_is_passed_over() -> None:
    member = a_member()
    member.node.transfer_leader(2)
    assert member.pump() == []
    member.campaign()
    member.receive(MsgTransferLeader, 2, term=0)
    assert member.role == "Candidate"


def test_a_leader_that_is_no_member_takes_no_proposal() -> None:
    leader = a_leader(voters=[1, 2], step_down_on_removal=False)
    leader.raft.remove_node(1)
    assert leader.leads
    with pytest.raises(ProposalDropped) as caught:
        leader.propose(b"x")
    assert caught.value.reason is DropReason.NOT_MEMBER


# Uncommitted bytes.


def test_proposals_are_bounded_until_they_are_committed() -> None:
    leader = a_leader(max_uncommitted_size=100, max_size_per_msg=100)
    leader.propose(b"x" * 60)
    with pytest.raises(ProposalDropped) as caught:
        leader.propose(b"x" * 60)
    assert caught.value.reason is DropReason.UNCOMMITTED_LIMIT
    assert "max_uncommitted_size" in str(caught.value)
    leader.propose(b"x" * 40)
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")
    leader.acknowledge_all()
    assert leader.raft.uncommitted_size == 0
    leader.propose(b"x" * 60)


def test_one_large_proposal_is_always_let_through() -> None:
    leader = a_leader(max_uncommitted_size=10, max_size_per_msg=10)
    leader.propose(b"x" * 1000)
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")


def test_empty_proposals_are_always_let_through() -> None:
    leader = a_leader(max_uncommitted_size=10, max_size_per_msg=10)
    leader.propose(b"x" * 10)
    for _ in range(5):
        leader.propose(b"")
    assert leader.raft.uncommitted_size == 10


def test_a_dropped_batch_leaves_nothing_behind() -> None:
    leader = a_leader(max_uncommitted_size=100, max_size_per_msg=100)
    leader.propose(b"x" * 60)
    last = leader.last_index
    with pytest.raises(ProposalDropped):
        leader.node.propose_batch([(b"", b"y" * 30), (b"", b"z" * 30)])
    assert (leader.last_index, leader.raft.uncommitted_size) == (last, 60)


def test_the_account_is_empty_for_a_new_leader() -> None:
    leader = a_leader(max_uncommitted_size=100, max_size_per_msg=100)
    leader.propose(b"x" * 100)
    leader.receive(MsgHeartbeat, 2, term=5)
    assert leader.raft.uncommitted_size == 0
    leader.lead()
    leader.propose(b"x" * 100)


def test_entries_of_earlier_leaders_are_not_taken_off_the_account() -> None:
    leader = a_member(
        terms=[1, 1], data=b"x" * 50, max_uncommitted_size=100, max_size_per_msg=100
    ).lead(acknowledged=False)
    leader.propose(b"y" * 80)
    # Theirs and its empty entry are committed, the proposal behind them is not.
    leader.receive(MsgAppendResponse, 2, index=4)
    assert leader.committed == 4
    assert leader.raft.uncommitted_size == 80
    with pytest.raises(ProposalDropped):
        leader.propose(b"y" * 80)
    leader.acknowledge_all()
    assert leader.raft.uncommitted_size == 0


def test_the_default_is_no_limit() -> None:
    leader = a_leader()
    for _ in range(50):
        leader.propose(b"x" * 10_000)
    assert leader.raft.uncommitted_size == 0
    assert leader.config.max_uncommitted_size == NO_LIMIT


# Asynchronous fetching of entries.


def test_entries_that_must_be_fetched_are_sent_when_they_are_there() -> None:
    leader = a_leader()
    leader.raft.fetches_asynchronously = True
    leader.propose(b"x")
    progress = leader.raft.prs.progress[2]
    progress.become_probe()
    leader.storage.wl().trigger_log_unavailable()
    leader.raft.send_append(2)
    assert leader.pump() == []
    context = leader.storage.wl().take_get_entries_context()
    assert context is not None
    assert (context.to, context.term, context.can_async) == (2, 2, True)
    leader.storage.wl().trigger_log_unavailable(False)
    leader.node.on_entries_fetched(context)
    sent = only(leader.pump())
    assert [e.data for e in sent.entries] == [b"x"]


def test_fetched_entries_fill_the_window_if_that_was_asked_for() -> None:
    leader = a_leader(max_size_per_msg=0)
    leader.raft.fetches_asynchronously = True
    for i in range(3):
        leader.propose(b"%d" % i)
    leader.raft.prs.progress[2].become_replicate()
    leader.storage.wl().trigger_log_unavailable()
    leader.receive(MsgAppendResponse, 2, index=3)
    context = leader.storage.wl().take_get_entries_context()
    assert context is not None
    leader.storage.wl().trigger_log_unavailable(False)
    leader.node.on_entries_fetched(context)
    assert [e.data for m in leader.pump() for e in m.entries] in (
        [b"1", b"2"],
        [b"1"],
    )


def test_fetched_entries_of_another_term_role_or_peer_are_nothing() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.raft.fetches_asynchronously = True
    leader.propose(b"x")
    leader.raft.prs.progress[2].become_probe()
    leader.storage.wl().trigger_log_unavailable()
    leader.raft.send_append(2)
    context = leader.storage.wl().take_get_entries_context()
    leader.storage.wl().trigger_log_unavailable(False)
    assert context is not None
    leader.receive(MsgHeartbeat, 3, term=3)
    leader.node.on_entries_fetched(context)
    assert leader.pump() == []
    leader.lead()
    leader.node.on_entries_fetched(context)  # It leads again, but another term.
    assert leader.pump() == []
    other = a_leader(voters=[1, 3])
    other.node.on_entries_fetched(context)
    assert other.pump() == []


# Group commit.


def test_group_commit_waits_for_a_second_group() -> None:
    leader = a_leader(voters=[1, 2, 3])
    raft = leader.raft
    raft.assign_commit_groups([(1, 1), (2, 1), (3, 2)])
    raft.enable_group_commit(True)
    assert raft.group_commit()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.committed == 3
    assert raft.check_group_commit_consistent() is True


def test_without_group_commit_the_majority_is_enough_again() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.raft.assign_commit_groups([(1, 1), (2, 1), (3, 2)])
    leader.raft.enable_group_commit(True)
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.raft.enable_group_commit(False)
    assert leader.committed == 3


def test_assigning_groups_may_commit_at_once() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.raft.enable_group_commit(True)
    leader.raft.assign_commit_groups([(1, 1), (2, 1), (3, 2)])
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.raft.assign_commit_groups([(2, 2)])
    assert leader.committed == 3


def test_with_someone_ungrouped_everyone_must_have_it() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.raft.enable_group_commit(True)
    leader.raft.assign_commit_groups([(1, 1), (2, 1)])
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    assert leader.raft.check_group_commit_consistent() is False
    leader.raft.clear_commit_group()
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.committed == 3


def test_group_commit_is_consistent_only_at_a_leader_with_a_commit_of_its_own() -> None:
    assert a_member().raft.check_group_commit_consistent() is None
    fresh = a_member().lead(acknowledged=False)
    assert fresh.raft.check_group_commit_consistent() is None


# Progress of peers.


def test_window_settings_may_be_changed() -> None:
    leader = a_leader(max_inflight_msgs=2)
    leader.raft.adjust_max_inflight_msgs(2, 5)
    leader.raft.adjust_max_inflight_msgs(9, 5)
    for i in range(8):
        leader.propose(b"%d" % i)
    assert leader.raft.prs.progress[2].ins.count == 5
    assert leader.raft.prs.progress[3].ins.count == 2


def test_heartbeat_answers_wake_a_paused_probe() -> None:
    leader = a_member().lead(acknowledged=False)
    progress = leader.raft.prs.progress[2]
    assert progress.paused
    sent = of_type(leader.heard(2, commit=0), MsgAppend)
    assert len(sent) == 1
    assert progress.paused
    assert leader.propose(b"x") == []
