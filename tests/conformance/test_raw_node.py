"""RawNode and its Readys: what is in them, in which order, and that nothing is lost or doubled."""

from __future__ import annotations

import pytest

from raft import (
    NO_LIMIT,
    InvariantViolation,
    MessageRefused,
    ProposalDropped,
    RawNode,
    Ready,
    SnapshotStatus,
    StateRole,
    StepLocalMsg,
    StepPeerNotFound,
    is_empty_snap,
)
from raft.eraftpb import (
    Entry,
    HardState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgHup,
    MsgReadIndex,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgSnapStatus,
    MsgUnreachable,
)
from raft.storage import MemStorage
from tests.harness.builders import (
    a_config,
    a_leader,
    a_member,
    a_snapshot,
    a_storage,
    entries_of,
    of_type,
    only,
)
from tests.harness.network import Loop, Network


def a_node(**settings: object) -> RawNode[MemStorage]:
    """A node whose Readys the test takes itself."""
    member = a_member(**settings)  # type: ignore[arg-type]
    return member.node


def persist(node: RawNode[MemStorage], rd: Ready) -> None:
    """Write what a Ready wants written."""
    with node.store.wl() as store:
        if not is_empty_snap(rd.snapshot):
            store.apply_snapshot(rd.snapshot)
        store.append(rd.entries)
        if rd.hs is not None:
            store.set_hardstate(rd.hs)


def settle(node: RawNode[MemStorage]) -> list[Message]:
    """Carry out the simple loop."""
    out = []
    while node.has_ready():
        rd = node.ready()
        persist(node, rd)
        out += rd.messages
        node.advance(rd)
    return out


@pytest.mark.parametrize(
    "msg_type", [MsgHup, MsgBeat, MsgUnreachable, MsgSnapStatus, MsgCheckQuorum]
)
def test_local_messages_are_not_taken_from_peers(msg_type: int) -> None:
    node = a_node()
    with pytest.raises(StepLocalMsg):
        node.step(Message(msg_type=msg_type, from_=2, to=1, term=1))  # type: ignore[arg-type]
    assert not node.has_ready()


@pytest.mark.parametrize(
    "msg_type",
    [
        MsgAppendResponse,
        MsgHeartbeatResponse,
        MsgRequestVoteResponse,
        MsgRequestPreVoteResponse,
    ],
)
def test_answers_of_strangers_are_not_taken(msg_type: int) -> None:
    node = a_node()
    with pytest.raises(StepPeerNotFound) as caught:
        node.step(Message(msg_type=msg_type, from_=9, to=1, term=99))  # type: ignore[arg-type]
    assert caught.value.id == 9
    assert node.raft.term == 1


def test_a_fresh_node_has_nothing_ready() -> None:
    node = a_node()
    assert not node.has_ready()
    rd = node.ready()
    assert (rd.ss, rd.hs, rd.entries, rd.messages, rd.committed_entries) == (None, None, [], [], [])
    assert not rd.must_sync
    assert is_empty_snap(rd.snapshot)


def test_readys_are_numbered() -> None:
    node = a_node()
    numbers = []
    for _ in range(3):
        rd = node.ready()
        numbers.append(rd.number)
        node.advance(rd)
    assert numbers == [1, 2, 3]


def test_the_life_of_a_single_node() -> None:
    node = a_node(voters=[1])
    node.campaign()
    first = node.ready()
    assert first.ss is not None
    assert first.ss.raft_state is StateRole.Leader
    assert first.hs == HardState(term=2, vote=1, commit=1)
    assert [(e.index, e.term) for e in first.entries] == [(2, 2)]
    assert first.must_sync
    # Not committed before it is on the only disk there is (etcd issue 14370).
    assert first.committed_entries == []
    persist(node, first)
    node.advance(first)
    second = node.ready()
    assert [e.index for e in second.committed_entries] == [2]
    assert second.hs == HardState(term=2, vote=1, commit=2)
    assert not second.must_sync
    assert second.entries == []
    persist(node, second)
    node.advance(second)
    assert not node.has_ready()
    node.propose(b"ctx", b"data")
    third = node.ready()
    entry = only_entry(third.entries)
    assert (entry.index, entry.data, entry.context) == (3, b"data", b"ctx")
    assert third.hs is None
    assert third.must_sync
    persist(node, third)
    node.advance(third)
    assert [e.index for e in node.ready().committed_entries] == [3]


def only_entry(entries: list[Entry]) -> Entry:
    """The one entry there is."""
    assert len(entries) == 1
    return entries[0]


def test_the_simple_loop_swallows_nothing() -> None:
    # What persisting made ready is in the next Ready, never dropped by advance.
    member = a_member(voters=[1])
    member.campaign()
    for i in range(10):
        member.propose(b"%d" % i)
    assert member.data == [b"%d" % i for i in range(10)]
    indexes = [e.index for rd in member.readies for e in rd.committed_entries]
    assert indexes == list(range(2, 13))


def test_read_states_between_ready_and_advance_are_kept() -> None:
    node = a_node(voters=[1])
    node.campaign()
    settle(node)
    node.read_index(b"one")
    rd = node.ready()
    node.read_index(b"two")
    assert [r.request_ctx for r in rd.read_states] == [b"one"]
    node.advance(rd)
    assert node.has_ready()
    assert [r.request_ctx for r in node.ready().read_states] == [b"two"]


def test_messages_between_ready_and_advance_are_kept() -> None:
    leader = a_leader()
    node = leader.node
    node.propose(b"", b"one")
    rd = node.ready()
    node.propose(b"", b"two")
    persist(node, rd)
    node.advance(rd)
    rd2 = node.ready()
    assert [e.data for m in rd.messages for e in m.entries] == [b"one"] * 2
    assert [e.data for m in rd2.messages for e in m.entries] == [b"two"] * 2
    assert [e.data for e in rd2.entries] == [b"two"]


def test_entries_replaced_between_ready_and_advance_are_handed_out_again() -> None:
    node = a_node()
    append = Message(
        msg_type=MsgAppend, from_=2, to=1, term=2, index=1, log_term=1, entries=entries_of([2, 2])
    )
    node.step(append)
    rd = node.ready()
    node.step(
        Message(
            msg_type=MsgAppend,
            from_=3,
            to=1,
            term=3,
            index=2,
            log_term=2,
            entries=entries_of([3], 3),
        )
    )
    persist(node, rd)
    node.advance(rd)
    rd2 = node.ready()
    assert [(e.index, e.term) for e in rd2.entries][-1] == (3, 3)
    persist(node, rd2)
    node.advance(rd2)
    assert node.store.term(3) == 3
    assert node.raft.raft_log.persisted == 3


def test_a_follower_answers_after_the_write_a_leader_sends_beside_it() -> None:
    leader, follower = a_leader().node, a_node(id=2)
    leader.propose(b"", b"x")
    rd = leader.ready()
    assert {m.to for m in rd.messages} == {2, 3}
    assert rd.messages == rd.immediate_messages
    assert rd.persisted_messages == []
    follower.step(Message.FromString(rd.messages[0].SerializeToString()))
    follower.step(Message(msg_type=MsgHeartbeat, from_=1, to=2, term=2))
    rd = follower.ready()
    assert rd.immediate_messages == []
    assert {m.msg_type for m in rd.persisted_messages} == {MsgAppendResponse, MsgHeartbeatResponse}
    assert rd.messages == rd.persisted_messages


def test_what_a_leader_must_hold_back_comes_with_the_next_ready() -> None:
    # It answered as a follower and was elected before its application took a Ready.
    node = a_node()
    node.step(
        Message(
            msg_type=MsgAppend, from_=2, to=1, term=2, index=1, log_term=1, entries=entries_of([2])
        )
    )
    node.campaign()
    term = node.raft.term
    node.step(Message(msg_type=MsgRequestVoteResponse, from_=3, to=1, term=term))
    rd = node.ready()
    assert node.raft.is_leader()
    held = {m.msg_type for m in rd.persisted_messages}
    assert {MsgAppendResponse, MsgRequestVote} <= held
    assert not {m.msg_type for m in rd.messages} & {MsgAppendResponse, MsgRequestVote}
    persist(node, rd)
    node.advance(rd)
    assert node.has_ready()
    rd2 = node.ready()
    assert {MsgAppendResponse, MsgRequestVote} <= {m.msg_type for m in rd2.messages}


def test_a_leader_sends_nothing_before_its_term_and_vote_are_stored() -> None:
    # Elected at once, because it is the only voter. If it forgot the term in a crash it would
    # lead the same term again, with other entries, and a learner would hold both.
    node = a_node(voters=[1], learners=[2])
    node.campaign()
    rd = node.ready()
    assert rd.hs is not None
    assert rd.hs.term == 2
    assert rd.messages == []
    assert rd.immediate_messages == []
    assert only(rd.persisted_messages).msg_type == MsgAppend
    persist(node, rd)
    node.advance(rd)
    rd = node.ready()
    assert MsgAppend in {m.msg_type for m in rd.messages}


def test_a_leader_waits_for_its_vote_in_the_asynchronous_loop_too() -> None:
    node = a_node(voters=[1], learners=[2])
    node.campaign()
    first = node.ready()
    persist(node, first)
    node.advance_append_async(first)
    node.ping()
    second = node.ready()
    assert second.immediate_messages == []
    assert {m.msg_type for m in second.persisted_messages} == {MsgHeartbeat}
    node.advance_append_async(second)
    node.on_persist_ready(first.number)
    node.ping()
    third = node.ready()
    assert MsgHeartbeat in {m.msg_type for m in third.immediate_messages}


def test_must_sync_is_true_for_terms_votes_entries_and_snapshots_only() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    assert member.readies[-1].must_sync  # term
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=entries_of([2]))
    assert member.readies[-1].must_sync  # entries
    member.receive(MsgHeartbeat, 2, commit=2)
    assert member.readies[-1].hs is not None
    assert not member.readies[-1].must_sync  # commit alone
    member.receive(MsgRequestVote, 3, term=3, index=2, log_term=2)
    assert member.readies[-1].must_sync  # vote
    member.receive(MsgSnapshot, 3, snapshot=a_snapshot(9, 3))
    assert member.readies[-1].must_sync  # snapshot
    member.receive(MsgHeartbeat, 3)
    assert not member.readies[-1].must_sync


def test_the_hard_state_is_given_only_when_it_changed() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    assert member.readies[-1].hs == HardState(term=2, commit=1)
    member.receive(MsgHeartbeat, 2, term=2)
    assert member.readies[-1].hs is None


def test_the_commit_index_is_in_the_same_ready_as_its_entries() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]), commit=3)
    with_entries = [rd for rd in member.readies if rd.entries]
    assert len(with_entries) == 1
    hs = with_entries[0].hs
    assert hs is not None
    assert hs.commit == 3


def test_a_snapshot_is_handed_out_and_applied_entries_start_after_it() -> None:
    member = a_member()
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(20, 3))
    assert member.readies[-1].snapshot.metadata.index == 20
    member.receive(MsgAppend, 2, index=20, log_term=3, entries=entries_of([3], 21), commit=21)
    assert sorted(member.applied) == [21]
    assert member.raft.raft_log.applied == 21


def test_get_snap_tells_of_a_snapshot_that_waits() -> None:
    node = a_node()
    assert node.get_snap() is None
    node.step(Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2)))
    snapshot = node.get_snap()
    assert snapshot is not None
    assert snapshot.metadata.index == 9


# Restarts.


def test_a_restart_hands_out_what_was_committed_and_not_applied() -> None:
    member = a_member(voters=[1], terms=[1, 1], commit=2, applied=1)
    rd = member.node.ready()
    assert [e.index for e in rd.committed_entries] == [2]
    assert rd.hs is None
    assert not rd.must_sync


def test_a_restart_behind_the_applied_index_hands_out_nothing_twice() -> None:
    node = RawNode(a_config(applied=3), a_storage(((1,), ()), [1, 1, 1], commit=3))
    assert not node.has_ready()


@pytest.mark.parametrize("loop", Loop)
def test_a_restart_keeps_what_was_acknowledged(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for i in range(5):
        network.propose(1, b"%d" % i)
    network.stop(1, 2, 3)
    network.start(1, 2, 3)
    network.elect(2)
    assert network[2].data == [b"0", b"1", b"2", b"3", b"4"]


def test_a_store_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InvariantViolation):
        RawNode(a_config(), a_storage(terms=[1], commit=5))
    with pytest.raises(InvariantViolation):
        RawNode(a_config(applied=3), a_storage(terms=[1, 1, 1], commit=2))


# The fast way.


def test_advance_append_gives_a_light_ready() -> None:
    node = a_node(voters=[1])
    node.campaign()
    rd = node.ready()
    persist(node, rd)
    light = node.advance_append(rd)
    assert light.commit_index == 2
    assert [e.index for e in light.committed_entries] == [2]
    assert light.messages == []
    node.advance_apply()
    assert node.raft.raft_log.applied == 2
    # The commit index was told, so no Ready is made for it.
    assert not node.has_ready()


def test_a_light_ready_carries_the_messages_of_a_new_commit() -> None:
    # The leader's disk completes the majority: followers hear of the commit at once.
    leader = a_leader(loop=Loop.LIGHT)
    node = leader.node
    node.propose(b"", b"x")
    rd = node.ready()
    node.step(Message(msg_type=MsgAppendResponse, from_=2, to=1, term=2, index=3))
    persist(node, rd)
    light = node.advance_append(rd)
    assert light.commit_index == 3
    assert {m.commit for m in of_type(light.messages, MsgAppend)} == {3}


def test_a_light_ready_without_news_is_empty() -> None:
    node = a_node()
    node.step(Message(msg_type=MsgHeartbeat, from_=2, to=1, term=2))
    rd = node.ready()
    persist(node, rd)
    light = node.advance_append(rd)
    assert (light.commit_index, light.committed_entries, light.messages) == (None, [], [])


def test_a_light_ready_acknowledges_nothing_that_is_not_on_disk() -> None:
    # Something was stepped between the Ready and its advance: its answer waits for its write.
    append = Message(
        msg_type=MsgAppend,
        from_=2,
        to=1,
        term=2,
        index=1,
        log_term=1,
        entries=entries_of([2]),
        commit=2,
    )
    snapshot = Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2))
    vote = Message(msg_type=MsgRequestVote, from_=3, to=1, term=5, index=9, log_term=4)
    for m in (append, snapshot, vote):
        node = a_node()
        node.step(Message(msg_type=MsgHeartbeat, from_=2, to=1, term=2))
        rd = node.ready()
        node.step(m)
        persist(node, rd)
        light = node.advance_append(rd)
        assert light.messages == []
        # Nor is a commit index told that lies beyond what is on disk.
        assert light.commit_index is None
        rd = node.ready()
        assert rd.must_sync
        assert len(rd.persisted_messages) == 1
        assert rd.hs is not None
        assert rd.hs.commit == node.raft.raft_log.committed


def test_an_asynchronous_write_is_acknowledged_when_it_is_on_disk() -> None:
    leader = a_leader(voters=[1], loop=Loop.ASYNC)
    node = leader.node
    numbers = []
    for i in range(3):
        node.propose(b"", b"%d" % i)
        rd = node.ready()
        assert [e.data for e in rd.entries] == [b"%d" % i]
        persist(node, rd)
        node.advance_append_async(rd)
        numbers.append(rd.number)
    first = numbers[0]
    assert node.raft.raft_log.persisted == 2
    assert not node.has_ready()
    node.on_persist_ready(first + 1)
    assert node.raft.raft_log.committed == 4
    assert [e.index for e in node.ready().committed_entries] == [3, 4]
    node.on_persist_ready(first + 2)
    assert [e.index for e in node.ready().committed_entries] == [5]
    node.on_persist_ready(first + 2)
    assert not node.ready().committed_entries


def test_an_asynchronous_follower_acknowledges_in_order() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    for index in (1, 2, 3):
        sent = member.receive(
            MsgAppend,
            2,
            term=2,
            index=index,
            log_term=1 if index == 1 else 2,
            entries=entries_of([2], index + 1),
        )
        assert sent == []
    assert [m.index for m in member.sync()] == [2]
    assert [m.index for m in member.sync(2)] == [3, 4]


def test_an_acknowledgement_without_a_write_waits_for_the_writes_before_it() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    append = {"term": 2, "index": 1, "log_term": 1, "entries": entries_of([2])}
    member.receive(MsgAppend, 2, **append)
    assert member.receive(MsgAppend, 2, **append) == []  # The same again: nothing to write.
    assert len(member.pending) == 2
    assert [m.index for m in member.sync()] == [2]
    assert [m.index for m in member.sync()] == [2]


def test_a_late_word_of_replaced_entries_persists_nothing() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]))
    member.receive(MsgAppend, 3, term=3, index=2, log_term=2, entries=entries_of([3], 3))
    member.sync()
    assert member.raft.raft_log.persisted <= 2
    member.sync()
    assert member.raft.raft_log.persisted == 3


def test_an_asynchronous_snapshot_replaces_what_was_written_before() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]))
    member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(20, 2))
    answers = member.sync(2)
    assert [m.index for m in of_type(answers, MsgAppendResponse)] == [3, 20]
    assert member.raft.raft_log.persisted == 20
    assert member.raft.raft_log.applied == 20


def test_both_lists_of_messages_together_are_all() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.propose(1)
    for member in network.members.values():
        for rd in member.readies:
            assert len(rd.messages) <= len(rd.immediate_messages) + len(rd.persisted_messages)
            assert all(m in rd.immediate_messages + rd.persisted_messages for m in rd.messages)


def test_applying_may_lag_behind() -> None:
    node = a_node(voters=[1], max_committed_size_per_ready=0)
    node.campaign()
    for i in range(3):
        node.propose(b"", b"%d" % i)
    rd = node.ready()
    persist(node, rd)
    light = node.advance_append(rd)
    assert [e.index for e in light.committed_entries] == [2]
    rd = node.ready()
    assert [e.index for e in rd.committed_entries] == [3]
    assert node.raft.raft_log.applied == 1
    node.advance_apply_to(2)
    assert node.raft.raft_log.applied == 2
    node.advance_apply()
    assert node.raft.raft_log.applied == 3
    node.advance_apply_to(2)  # Late: it never goes back.
    assert node.raft.raft_log.applied == 3


def test_advance_apply_takes_an_index_as_in_the_crate() -> None:
    node = a_node(voters=[1])
    node.campaign()
    node.propose(b"", b"x")
    rd = node.ready()
    persist(node, rd)
    node.advance_append(rd)
    node.advance_apply(2)
    assert node.raft.raft_log.applied == 2
    node.advance_apply()
    assert node.raft.raft_log.applied == 3


def test_ready_since_starts_where_the_caller_says() -> None:
    node = a_node(voters=[1], terms=[1, 1, 1], commit=4, applied=1)
    assert node.has_ready_since(1)
    assert node.has_ready_since(None)
    assert not node.has_ready_since(4)
    rd = node.ready_since(2)
    assert [e.index for e in rd.committed_entries] == [3, 4]


def test_committed_entries_come_in_pages() -> None:
    node = RawNode(
        a_config(applied=1, max_committed_size_per_ready=2 * 110),
        a_storage(((1,), ()), [1] * 6, commit=7, data=b"d" * 100),
    )
    pages = []
    while node.has_ready():
        rd = node.ready()
        pages.append([e.index for e in rd.committed_entries])
        node.advance(rd)
    assert pages == [[2, 3], [4, 5], [6, 7]]


def test_a_page_holds_one_entry_at_least() -> None:
    node = RawNode(
        a_config(applied=1, max_committed_size_per_ready=1),
        a_storage(((1,), ()), [1] * 3, commit=4, data=b"d" * 100),
    )
    pages = []
    while node.has_ready():
        rd = node.ready()
        pages.append([e.index for e in rd.committed_entries])
        node.advance(rd)
    assert pages == [[2], [3], [4]]


def test_entries_are_applied_unpersisted_only_as_far_as_allowed() -> None:
    for limit, handed_out in ((0, []), (1, [3]), (2, [3, 4]), (NO_LIMIT >> 1, [3, 4, 5])):
        leader = a_leader(max_apply_unpersisted_log_limit=limit)
        node = leader.node
        for i in range(3):
            node.propose(b"", b"%d" % i)
        for node_id in (2, 3):
            node.step(Message(msg_type=MsgAppendResponse, from_=node_id, to=1, term=2, index=5))
        assert node.raft.raft_log.committed == 5
        assert [e.index for e in node.ready().committed_entries] == handed_out


def test_a_follower_applies_only_what_it_has_persisted() -> None:
    member = a_member(max_apply_unpersisted_log_limit=10, loop=Loop.ASYNC)
    member.syncs_at_once = False
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]), commit=3)
    assert not member.applied
    member.sync()
    member.pump()
    assert sorted(member.applied) == [2, 3]


def test_a_deposed_leader_applies_only_what_it_has_persisted() -> None:
    leader = a_leader(max_apply_unpersisted_log_limit=10)
    node = leader.node
    node.propose(b"", b"x")
    for node_id in (2, 3):
        node.step(Message(msg_type=MsgAppendResponse, from_=node_id, to=1, term=2, index=3))
    node.step(Message(msg_type=MsgHeartbeat, from_=2, to=1, term=3))
    assert node.ready().committed_entries == []


# Calls that a peer's message stands behind.


def test_status_tells_of_the_node() -> None:
    leader = a_leader()
    status = leader.node.status()
    assert (status.id, status.applied) == (1, 2)
    assert status.hs == HardState(term=2, vote=1, commit=2)
    assert status.ss.raft_state is StateRole.Leader
    assert status.progress is leader.raft.prs
    follower = a_member()
    assert follower.node.status().progress is None
    assert follower.node.status_ref().ss.leader_id == 0


def test_ping_sends_heartbeats_of_a_leader_only() -> None:
    leader = a_leader()
    leader.node.ping()
    assert {m.msg_type for m in leader.pump()} == {MsgHeartbeat}
    follower = a_member()
    follower.node.ping()
    assert follower.pump() == []


def test_report_unreachable_makes_a_probe_of_a_replicating_peer() -> None:
    leader = a_leader()
    leader.node.report_unreachable(2)
    assert leader.raft.prs.progress[2].state.name == "Probe"
    leader.node.report_unreachable(9)
    a_member().node.report_unreachable(2)


def test_report_snapshot_of_a_peer_that_waits_for_none_is_nothing() -> None:
    leader = a_leader()
    leader.node.report_snapshot(2, SnapshotStatus.Failure)
    leader.node.report_snapshot(9, SnapshotStatus.Finish)
    assert leader.raft.prs.progress[2].state.name == "Replicate"


def test_a_batch_is_one_append_and_one_message() -> None:
    leader = a_leader()
    leader.node.propose_batch([(b"a", b"1"), (b"b", b"2"), (b"", b"3")])
    sent = of_type(leader.pump(), MsgAppend)
    assert {m.to for m in sent} == {2, 3}
    assert len(sent) == 2
    assert [(e.context, e.data) for e in sent[0].entries] == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"", b"3"),
    ]


def test_an_empty_batch_is_refused() -> None:
    for member in (a_leader(), a_member()):
        with pytest.raises(MessageRefused):
            member.node.propose_batch([])


def test_a_proposal_without_a_leader_is_dropped() -> None:
    with pytest.raises(ProposalDropped):
        a_member().propose(b"x")


def test_the_store_is_reachable_by_all_its_names() -> None:
    node = a_node()
    assert node.store is node.get_store() is node.mut_store() is node.raft.store


def test_settings_reach_the_core() -> None:
    node = a_node()
    node.set_priority(4)
    node.skip_bcast_commit(True)
    node.set_batch_append(True)
    node.set_check_quorum(True)
    raft = node.raft
    assert (raft.priority, raft.skip_bcast_commit) == (4, True)
    assert (raft.batch_append, raft.check_quorum) == (True, True)


def test_a_logger_hears_of_role_changes() -> None:
    heard: list[str] = []

    class Ear:
        def debug(self, event: str, /, **values: object) -> None:
            heard.append(event)

        info = warning = error = critical = debug

    node = RawNode.with_logger(a_config(), a_storage(((1,), ())), Ear())
    node.campaign()
    assert {"started", "candidate", "leader"} <= set(heard)


def test_a_read_request_of_the_node_itself_needs_no_sender() -> None:
    leader = a_leader(voters=[1])
    leader.node.step(Message(msg_type=MsgReadIndex, entries=[Entry(data=b"r")]))
    leader.pump()
    assert leader.reads[0].request_ctx == b"r"
