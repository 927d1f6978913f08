"""Details of log, acknowledgements and reads that generic mutation showed to be held by no test."""

from __future__ import annotations

import pytest

from raft import (
    InvariantViolation,
    ProgressSet,
    RaftLog,
    ReadOnlyOption,
    StateRole,
    ViolatesContract,
    _transfer,
)
from raft.eraftpb import (
    AddNode,
    ConfState,
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgSnapshot,
    MsgTimeoutNow,
)
from raft.progress import Progress
from raft.progress.quorum import committed_by_groups
from raft.read_only import ReadOnly
from tests.harness.builders import (
    a_leader,
    a_member,
    a_snapshot,
    a_storage,
    change_entry,
    entries_of,
    of_type,
    only,
    v1,
)
from tests.harness.network import Loop

# The log.


def test_only_what_differs_is_written_anew() -> None:
    """The entries before the first that differs are on disk, and are not written again."""
    member = a_member(terms=[1, 1, 1], term=2, commit=2)
    message = entries_of([1, 2], 3)
    out = member.receive(MsgAppend, 2, index=2, log_term=1, entries=message, commit=2)
    assert only(of_type(out, MsgAppendResponse)).index == 4
    assert member.log() == [(2, 1), (3, 1), (4, 2)]
    assert [e.index for e in member.readies[-1].entries] == [4]


def test_applied_zero_says_nothing() -> None:
    log = RaftLog(a_storage(terms=[1, 1], commit=3))
    log.committed = 3
    log.applied_to(3)
    log.applied_to(0)
    assert log.applied == 3


def test_no_snapshot_beyond_the_commit_is_noted_as_persisted() -> None:
    log = RaftLog(a_storage(terms=[1, 1, 1]))
    log.committed, log.persisted = 2, 1
    with pytest.raises(InvariantViolation):
        log.maybe_persist_snap(3)
    assert log.maybe_persist_snap(2)


# Who has what.


def test_commit_groups_need_both_majorities_while_joint() -> None:
    prs = ProgressSet()
    prs.restore_conf_state(
        ConfState(voters=[4, 5], voters_outgoing=[1, 2], begin_index=2), lambda: Progress(1, 8)
    )
    prs.group_commit = True
    for node_id, matched in {1: 9, 2: 9, 4: 5, 5: 5}.items():
        prs.progress[node_id].matched = matched
        prs.progress[node_id].commit_group_id = node_id
    assert prs.maximal_committed_index() == (5, True)


def test_what_commits_when_commit_groups_are_off_is_told_at_once() -> None:
    leader = a_leader()
    leader.raft.assign_commit_groups([(1, 1), (2, 1), (3, 1)])
    leader.raft.enable_group_commit(True)
    leader.raft.assign_commit_groups([(3, 2)])
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    leader.raft.enable_group_commit(False)
    assert leader.committed == 3
    assert [m.commit for m in of_type(leader.pump(), MsgAppend)] == [3, 3]


def test_what_commits_by_another_group_is_told_at_once() -> None:
    leader = a_leader()
    leader.raft.assign_commit_groups([(1, 1), (2, 1), (3, 2)])
    leader.raft.enable_group_commit(True)
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 2
    leader.raft.assign_commit_groups([(2, 3)])
    assert leader.committed == 3
    assert [m.commit for m in of_type(leader.pump(), MsgAppend)] == [3, 3]


def test_no_node_may_be_put_into_no_commit_group() -> None:
    leader = a_leader()
    with pytest.raises(ViolatesContract):
        leader.raft.assign_commit_groups([(1, 1), (2, 0)])
    assert leader.raft.prs.progress[1].commit_group_id == 0


def test_a_snapshot_that_is_not_installed_proves_nothing_of_the_log() -> None:
    """Only what is committed is known to agree with the leader's log."""
    member = a_member(terms=[1, 1, 1], term=2, commit=2)
    strangers = a_snapshot(7, 2, ((2, 3), ()))
    out = member.receive(MsgSnapshot, 2, snapshot=strangers)
    assert only(of_type(out, MsgAppendResponse)).index == 2
    assert member.log() == [(2, 1), (3, 1), (4, 1)]


def test_a_commit_index_is_written_once_and_with_entries_only() -> None:
    leader = a_leader(voters=[1], learners=[2])
    leader.node.propose(b"", b"x")
    rd = leader.node.ready()
    leader.storage.wl().append(rd.entries)
    light = leader.node.advance_append(rd)
    assert light.commit_index == 3
    leader.node.advance_apply()
    leader.node.ping()
    rd = leader.node.ready()
    assert [m.msg_type for m in rd.messages] == [MsgHeartbeat]
    assert rd.hs is None


def test_a_follower_counts_nobody_not_even_itself() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]))
    assert member.raft.raft_log.persisted == 2
    assert member.raft.prs.progress[1].matched == 1


def test_a_leader_does_not_count_itself_for_an_entry_that_was_replaced() -> None:
    leader = a_leader(loop=Loop.ASYNC)
    leader.syncs_at_once = False
    leader.propose(b"x")
    leader.raft.on_persist_entries(leader.last_index, leader.term - 1)
    assert leader.raft.prs.progress[1].matched == leader.last_index - 1
    leader.raft.on_persist_entries(leader.last_index, leader.term)
    assert leader.raft.prs.progress[1].matched == leader.last_index


def test_an_answered_read_is_no_append_to_copy() -> None:
    """It has one entry too, and may be of the very index that the next append follows."""
    leader = a_leader()
    out = leader.receive(MsgReadIndex, 2, term=0, entries=[Entry(data=b"r")])
    context = of_type(out, MsgHeartbeat)[0].context
    leader.node.step(
        Message(msg_type=MsgHeartbeatResponse, to=1, from_=3, term=2, context=context, commit=2)
    )
    assert [m.msg_type for m in leader.raft.msgs] == [MsgReadIndexResp]
    leader.node.propose(b"", b"x")
    out = leader.pump()
    assert only(of_type(out, MsgReadIndexResp)).index == 2
    assert [(m.to, m.index) for m in of_type(out, MsgAppend)] == [(2, 2), (3, 2)]


# Time and roles.


def test_a_new_leaders_heartbeats_start_with_its_leadership() -> None:
    leader = a_leader(heartbeat_tick=3)
    leader.tick(2)
    assert of_type(leader.tick(), MsgHeartbeat)
    leader.tick(2)
    leader.raft.become_follower(leader.term, 0)
    leader.lead()
    assert of_type(leader.tick(2), MsgHeartbeat) == []
    assert of_type(leader.tick(), MsgHeartbeat)


def test_who_takes_over_waits_for_all_changes_before_it() -> None:
    """Told to take over with two changes to apply, it campaigns after the second, not never."""
    member = a_member()
    member.applies = False
    entries = [change_entry(v1(AddNode, 4), 2, 2), change_entry(v1(AddNode, 5), 3, 2)]
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries, commit=3)
    member.receive(MsgTimeoutNow, 2)
    assert member.state is StateRole.Follower
    first, second = member.unapplied
    for entry in (first, second):
        assert member.state is StateRole.Follower
        member.node.apply_conf_entry(entry)
        member.node.advance_apply_to(entry.index)
    assert member.role == "Candidate"


def test_what_a_rollback_would_bring_back_is_forgotten_with_the_joint_state() -> None:
    prs = ProgressSet()
    joint = ConfState(
        voters=[1, 3], voters_outgoing=[1, 2], learners_outgoing=[4], promotable_outgoing=[4]
    )
    prs.restore_conf_state(joint, lambda: Progress(1, 8))
    assert prs.promotable_outgoing == {4}
    prs.restore_conf_state(
        ConfState(voters=[1], voters_outgoing=[2], promotable_outgoing=[9]), lambda: Progress(1, 8)
    )
    assert prs.promotable_outgoing == frozenset()
    prs.restore_conf_state(joint, lambda: Progress(1, 8))
    prs.finalize_membership_change()
    assert prs.promotable_outgoing == frozenset()


def test_no_successor_is_one_not_heard_of() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.node.propose_membership_change(([2, 3], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    progress = leader.raft.prs.progress
    assert progress[2].matched > progress[3].matched
    progress[2].recent_active = False
    assert _transfer.best_successor(leader.raft) == 3


# Reads.


def test_no_read_round_is_made_and_no_lease_held_at_the_start() -> None:
    read_only = ReadOnly(ReadOnlyOption.LeaseBased)
    assert (read_only.rounds_made, read_only.lease_until, read_only.lease_usable) == (0, 0, True)


def test_there_is_no_lease_before_the_first_tick() -> None:
    leader = a_leader(check_quorum=True, read_only_option=ReadOnlyOption.LeaseBased)
    leader.node.read_index(b"r")
    leader.pump()
    assert leader.reads == []


def test_a_leader_alone_has_a_lease_by_its_own_word() -> None:
    leader = a_leader(voters=[1], check_quorum=True, read_only_option=ReadOnlyOption.LeaseBased)
    leader.tick()
    assert leader.raft.read_only.lease_until > leader.raft.ticks


def test_a_snapshot_from_before_this_log_is_passed_over() -> None:
    member = a_member(terms=[1, 1, 1, 1], commit=5, applied=5)
    member.compact(4)
    out = member.receive(MsgSnapshot, 2, snapshot=a_snapshot(2))
    assert only(of_type(out, MsgAppendResponse)).index == 5
    assert (member.committed, member.last_index) == (5, 5)


def test_peers_at_different_places_are_sent_different_entries() -> None:
    """Both messages have one entry; the second is no copy of the first."""
    leader = a_leader(max_size_per_msg=0)
    for _ in range(4):
        leader.propose(b"x")
    for node_id, next_idx in ((2, 5), (3, 3)):
        progress = leader.raft.prs.progress[node_id]
        progress.become_probe()
        progress.next_idx = next_idx
    leader.raft.bcast_append()
    sent = {m.to: (m.index, m.entries[0].index) for m in of_type(leader.pump(), MsgAppend)}
    assert sent == {2: (4, 5), 3: (2, 3)}


def test_commits_are_told_at_once_while_members_change() -> None:
    """Else the change, and with it the new majority, would wait for the next heartbeat."""
    leader = a_leader(skip_bcast_commit=True)
    leader.applies = False
    leader.propose(b"x")
    assert of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgAppend) == []
    leader.applies = True
    leader.apply_now()
    leader.node.propose_conf_change(b"", v1(AddNode, 4))
    leader.pump()
    leader.applies = False
    told = of_type(leader.receive(MsgAppendResponse, 2, index=4), MsgAppend)
    assert {m.to for m in told} == {2, 3}
    assert {m.commit for m in told} == {4}


def test_answers_of_strangers_are_passed_over() -> None:
    """`RawNode` refuses them by name; the core, asked directly, has nothing to do with them."""
    leader = a_leader()
    for msg_type in (MsgAppendResponse, MsgHeartbeatResponse):
        leader.raft.step(Message(msg_type=msg_type, to=1, from_=9, term=2, index=2))
    assert leader.pump() == []


def test_a_heartbeats_answer_frees_no_window_that_is_not_full() -> None:
    leader = a_leader(max_inflight_msgs=4)
    leader.propose(b"x")
    window = leader.raft.prs.progress[2].ins
    assert window.count == 1
    leader.heard(2)
    assert window.count == 1


def test_a_change_the_leader_makes_itself_counts_as_uncommitted() -> None:
    leader = a_leader(voters=[1, 2], learners=[3], max_uncommitted_size=100)
    leader.raft.prs.promotable = frozenset((3,))
    leader.tick(3)
    entry = leader.raft.raft_log.all_entries()[-1]
    assert leader.raft.uncommitted_size == len(entry.data) > 0
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.uncommitted_size == 0


def test_what_was_committed_by_one_group_alone_is_not_consistent() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.raft.assign_commit_groups([(1, 1), (2, 1), (3, 2)])
    leader.raft.enable_group_commit(True)
    assert leader.raft.check_group_commit_consistent() is False
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.raft.check_group_commit_consistent() is True


def test_a_context_of_another_length_confirms_no_read() -> None:
    leader = a_leader()
    leader.node.read_index(b"r")
    sent = of_type(leader.pump(), MsgHeartbeat)[0].context
    leader.heard(2, sent.rstrip(b"\0"))
    assert leader.reads == []
    leader.heard(2, sent)
    assert len(leader.reads) == 1


def test_an_expired_lease_is_over_in_the_first_tick_too() -> None:
    read_only = ReadOnly(ReadOnlyOption.LeaseBased)
    read_only.expire_lease()
    assert read_only.lease_until == 0


def test_a_change_of_leader_alone_makes_a_node_ready() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2)
    assert not member.node.has_ready()
    member.raft.forget_leader()
    assert member.node.has_ready()
    assert member.node.ready().ss is not None


def test_a_probe_that_proves_what_was_known_lets_the_rest_go_out() -> None:
    leader = a_leader()
    progress = leader.raft.prs.progress[2]
    progress.become_probe()
    progress.pause()
    leader.propose(b"x")
    progress.resume()
    sent = only(of_type(leader.receive(MsgAppendResponse, 2, index=2), MsgAppend))
    assert (sent.to, [entry.index for entry in sent.entries]) == (2, [3])


def test_a_read_by_its_round_never_counts_as_one_by_a_lease() -> None:
    leader = a_leader(check_quorum=True)
    leader.node.read_index(b"first")
    context = of_type(leader.pump(), MsgHeartbeat)[0].context
    assert leader.raft.read_only.rounds_made == 1
    leader.heard(2, context)
    assert len(leader.reads) == 1
    leader.node.read_index(b"second")
    leader.pump()
    assert len(leader.reads) == 1
    assert leader.raft.read_only.rounds_made == 2


def test_one_of_both_majorities_decided_by_groups_is_decided_by_groups() -> None:
    prs = ProgressSet()
    prs.restore_conf_state(
        ConfState(voters=[4, 5], voters_outgoing=[1, 2], begin_index=2), lambda: Progress(1, 8)
    )
    prs.group_commit = True
    for node_id, group in {1: 1, 2: 2, 4: 3, 5: 3}.items():
        prs.progress[node_id].matched = 5
        prs.progress[node_id].commit_group_id = group
    assert prs.maximal_committed_index() == (5, True)


def test_commit_groups_do_not_replace_the_majority() -> None:
    matched = {1: 9, 2: 8, 3: 7, 4: 6, 5: 5}
    group = {1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    assert committed_by_groups(frozenset(matched), matched.__getitem__, group.__getitem__) == (
        7,
        True,
    )


def test_whoever_asks_for_a_snapshot_acknowledges_what_it_has_first() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]))
    assert member.committed == 1
    member.node.request_snapshot(9)
    answers = of_type(member.pump(), MsgAppendResponse)
    assert [(m.reject, m.index) for m in answers] == [(False, 2), (True, 1)]


def test_an_append_that_only_tells_of_a_commit_is_not_answered() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]))
    out = member.receive(MsgAppend, 2, index=2, log_term=2, commit=2, news=True)
    assert member.committed == 2
    assert out == []


@pytest.mark.parametrize("failed", [False, True])
def test_a_snapshot_that_was_asked_for_is_asked_for_no_more_once_it_ended(failed: bool) -> None:
    progress = Progress(5, 8)
    progress.pending_request_snapshot = 4
    progress.become_snapshot(4)
    progress.snapshot_ended(failed=failed)
    assert progress.pending_request_snapshot == 0
