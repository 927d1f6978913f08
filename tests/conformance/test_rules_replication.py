"""Bugs that other Raft libraries had, as rules: replication, log, snapshots (39 to 54).

Each test fails when its rule is broken.
"""

from __future__ import annotations

import pytest

from raft import (
    DropReason,
    InvariantViolation,
    ProposalDropped,
    RawNode,
    RequestSnapshotDropped,
    SnapshotTemporarilyUnavailable,
)
from raft.eraftpb import (
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgSnapshot,
)
from raft.storage import GetEntriesContext, MemStorage
from tests.harness.builders import (
    a_config,
    a_leader,
    a_member,
    a_snapshot,
    a_storage,
    entries_of,
    of_type,
    only,
    to,
)
from tests.harness.network import Loop


def test_rule_39_only_a_real_conflict_truncates() -> None:
    member = a_member(terms=[2, 2, 2, 2], term=2)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2]))
    member.receive(MsgAppend, 2, index=3, log_term=2)
    assert member.last_index == 5
    member.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([2, 2, 2, 2], 3))
    assert member.last_index == 6


def test_rule_40_commit_indexes_on_the_wire_are_capped_by_what_is_known() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert {m.to: m.commit for m in of_type(leader.tick(), MsgHeartbeat)} == {2: 3, 3: 2}
    member = a_member(terms=[1, 1, 1, 1], term=2)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([1]), commit=5)
    assert member.committed == 2


def test_rule_41_a_late_word_of_an_old_write_acknowledges_nothing_new() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2, 2]))
    member.receive(MsgAppend, 3, term=3, index=1, log_term=1, entries=entries_of([3, 3, 3]))
    log = member.raft.raft_log
    member.raft.on_persist_entries(4, 2)
    assert log.persisted == 1
    member.sync(2)
    assert log.persisted == 4
    # Not handed to the storage yet: not on disk, whatever term it is of.
    other = a_member()
    append = Message(
        msg_type=MsgAppend, from_=2, to=1, term=2, index=1, log_term=1, entries=entries_of([2])
    )
    other.node.step(append)
    other.raft.on_persist_entries(2, 2)
    assert other.raft.raft_log.persisted == 1


def test_rule_42_a_newer_snapshot_sets_what_is_persisted() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2] * 30))
    member.receive(MsgSnapshot, 3, term=3, snapshot=a_snapshot(20, 3))
    log = member.raft.raft_log
    member.sync()
    assert log.persisted <= 1
    member.sync()
    assert (log.persisted, log.last_index()) == (20, 20)


def test_rule_43_what_must_survive_is_synced() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2]))
    rd = member.readies[-1]
    assert rd.hs is None
    assert rd.entries
    assert rd.must_sync


def test_rule_43_a_single_node_commits_nothing_its_disk_has_not() -> None:
    leader = a_leader(voters=[1])
    leader.node.propose(b"", b"x")
    rd = leader.node.ready()
    assert rd.entries
    assert rd.committed_entries == []
    assert leader.committed == 2


def test_rule_44_pages_of_committed_entries_have_neither_gap_nor_overlap() -> None:
    for size in (0, 1, 120, 250, 1000):
        node = RawNode(
            a_config(applied=1, max_committed_size_per_ready=size),
            a_storage(((1,), ()), [1] * 20, commit=21, data=b"x" * 100),
        )
        seen: list[int] = []
        while node.has_ready():
            rd = node.ready()
            seen += [e.index for e in rd.committed_entries]
            node.advance(rd)
        assert seen == list(range(2, 22))


def test_rule_45_the_next_index_stays_above_the_matched_one() -> None:
    leader = a_leader()
    for _ in range(3):
        leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=4)
    progress = leader.raft.prs.progress[2]
    progress.become_probe()
    leader.receive(MsgAppendResponse, 2, index=4, reject=True, reject_hint=0, log_term=1)
    assert progress.next_idx > progress.matched


def test_rule_46_a_lost_window_is_found_out_by_heartbeats() -> None:
    leader = a_leader(max_inflight_msgs=2, max_size_per_msg=0)
    for _ in range(4):
        leader.propose(b"x")
    progress = leader.raft.prs.progress[2]
    assert progress.ins.full()
    assert to(of_type(leader.heard(2), MsgAppend), 2)
    probing = a_member().lead(acknowledged=False)
    assert probing.raft.prs.progress[2].paused
    assert to(of_type(probing.heard(2, commit=0), MsgAppend), 2)


def test_rule_46_bytes_under_way_are_given_back() -> None:
    leader = a_leader(max_inflight_bytes=1000, max_size_per_msg=100)
    for _ in range(30):
        leader.propose(b"x" * 200)
        leader.heard(2)
    leader.acknowledge_all()
    for _ in range(9):
        leader.acknowledge_all()
    ins = leader.raft.prs.progress[2].ins
    assert (ins.count, ins.bytes) == (0, 0)


def test_rule_47_any_snapshot_that_reaches_the_log_ends_the_wait() -> None:
    leader = a_leader()
    for _ in range(3):
        leader.propose(b"x")
        leader.receive(MsgAppendResponse, 3, index=leader.last_index)
    progress = leader.raft.prs.progress[2]
    progress.become_snapshot(100)
    leader.compact(4)
    leader.receive(MsgAppendResponse, 2, index=3)
    assert progress.state.name == "Replicate"


def test_rule_48_a_requested_snapshot_cannot_take_the_node_back() -> None:
    member = a_member(terms=[1, 1])
    member.receive(MsgHeartbeat, 2, term=5)
    with pytest.raises(RequestSnapshotDropped):
        member.node.request_snapshot(3)
    member.receive(MsgAppend, 2, index=3, log_term=1, entries=entries_of([5], 4), commit=4)
    member.node.request_snapshot(3)
    member.pump()
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(3, 1))
    assert member.committed == 4
    assert member.raft.pending_request_snapshot != 0
    store = a_storage(terms=[1, 1], commit=2)
    with pytest.raises(SnapshotTemporarilyUnavailable):
        store.snapshot(3, 2)


def test_rule_49_a_snapshot_keeps_a_matching_log_and_drops_any_other() -> None:
    matching = a_member(terms=[1, 1, 1, 1], commit=2)
    matching.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(3, 1))
    assert (matching.committed, matching.last_index) == (3, 5)
    other = a_member(terms=[1, 1, 1, 1], commit=2)
    other.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(3, 2))
    assert (other.committed, other.last_index) == (3, 3)
    assert other.storage.last_index() == 3


def test_rule_50_an_unknown_previous_term_means_a_snapshot() -> None:
    leader = a_leader()
    for _ in range(4):
        leader.propose(b"x")
        leader.acknowledge_all(3)
    leader.compact(5)
    progress = leader.raft.prs.progress[2]
    progress.matched = 2
    progress.become_probe()
    assert progress.next_idx == 3
    sent = to(leader.heard(2), 2)
    assert {m.msg_type for m in sent} == {MsgSnapshot}


def test_rule_51_a_log_that_lost_what_was_committed_does_not_start() -> None:
    with pytest.raises(InvariantViolation, match="commit index"):
        RawNode(a_config(), a_storage(terms=[1], commit=9))
    with pytest.raises(InvariantViolation, match="applied"):
        RawNode(a_config(applied=3), a_storage(terms=[1, 1], commit=2))


def test_rule_52_the_account_of_uncommitted_bytes_returns_to_zero() -> None:
    leader = a_leader(max_uncommitted_size=100, max_size_per_msg=100)
    leader.propose(b"x" * 150)  # One is always taken, or it could never be.
    with pytest.raises(ProposalDropped) as caught:
        leader.propose(b"x")
    assert caught.value.reason is DropReason.UNCOMMITTED_LIMIT
    leader.propose(b"")  # Free, or a new leader could not begin.
    leader.acknowledge_all()
    assert leader.raft.uncommitted_size == 0
    leader.propose(b"x" * 100)
    leader.receive(MsgHeartbeat, 2, term=9)
    assert leader.raft.uncommitted_size == 0


def test_rule_53_a_long_unapplied_log_is_looked_through_in_pages() -> None:
    asked: list[int | None] = []

    class Paged(MemStorage):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__()
            inner = self.entries

            def entries(
                low: int,
                high: int,
                max_size: int | None = None,
                context: GetEntriesContext | None = None,
            ) -> list[Entry]:
                asked.append(max_size)
                return inner(low, high, max_size, context)

            self.entries = entries

    store = Paged.new_with_conf_state(([1, 2, 3], []))
    store.wl().append(entries_of([1] * 40, data=b"x" * 100_000))
    store.wl().mut_hard_state().commit = 41
    node = RawNode(a_config(applied=1), store)
    assert len(asked) >= 3
    assert all(size is not None and size <= 1 << 20 for size in asked)
    asked.clear()
    node.campaign()
    assert asked == []  # What may not be campaigned over is known without a look at the log.


def test_rule_54_fetched_entries_are_sent_only_where_they_are_still_wanted() -> None:
    leader = a_leader()
    leader.raft.fetches_asynchronously = True
    leader.propose(b"x")
    leader.raft.prs.progress[2].become_probe()
    wanted = GetEntriesContext(can_async=True, to=2, term=2)
    for stale in (
        GetEntriesContext(can_async=True, to=2, term=1),
        GetEntriesContext(can_async=True, to=9, term=2),
    ):
        leader.node.on_entries_fetched(stale)
        assert leader.pump() == []
    leader.node.on_entries_fetched(wanted)
    assert only(leader.pump()).to == 2
    leader.receive(MsgHeartbeat, 3, term=3)
    leader.node.on_entries_fetched(wanted)
    assert leader.pump() == []


def test_rule_54_the_bound_on_unpersisted_entries_follows_the_role() -> None:
    leader = a_leader(max_apply_unpersisted_log_limit=10)
    assert leader.raft.raft_log.max_apply_unpersisted_log_limit == 10
    leader.receive(MsgHeartbeat, 2, term=3)
    assert leader.raft.raft_log.max_apply_unpersisted_log_limit == 0
    leader.lead()
    assert leader.raft.raft_log.max_apply_unpersisted_log_limit == 10
