"""Defects that a faithful port of the crate's 0.6.0-alpha would have inherited (a to i)."""

from __future__ import annotations

import pytest

from raft import ConfChangeError, InvariantViolation, MessageRefused, ProposalDropped, RaftLog
from raft.eraftpb import (
    ConfState,
    Entry,
    EntryConfChange,
    FinalizeMembershipChange,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgReadIndex,
    MsgSnapshot,
)
from tests.harness.builders import (
    a_leader,
    a_member,
    a_snapshot,
    a_storage,
    entries_of,
    of_type,
    v1,
)
from tests.harness.network import Network


def test_defect_a_a_ready_with_entries_must_be_synced() -> None:
    member = a_member(terms=[2], term=2)
    member.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([2], 3))
    rd = member.readies[-1]
    assert [e.index for e in rd.entries] == [3]
    assert rd.hs is None
    assert rd.must_sync


def test_defect_b_a_leader_counts_itself_after_its_own_write() -> None:
    for voters in ([1], [1, 2]):
        leader = a_leader(voters=voters)
        leader.node.propose(b"", b"x")
        if len(voters) == 2:
            leader.node.step(Message(msg_type=MsgAppendResponse, from_=2, to=1, term=2, index=3))
        rd = leader.node.ready()
        assert [e.index for e in rd.entries] == [3]
        assert rd.committed_entries == []
        assert leader.committed == 2
        leader.storage.wl().append(rd.entries)
        leader.node.advance(rd)
        assert [e.index for e in leader.node.ready().committed_entries] == [3]


def test_defect_c_a_repeated_read_context_gets_no_older_index() -> None:
    leader = a_leader()
    leader.node.read_index(b"ctx")
    leader.pump()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=3)
    leader.node.read_index(b"ctx")
    context = of_type(leader.pump(), MsgHeartbeat)[0].context
    leader.heard(2, context)
    assert [r.index for r in leader.reads] == [2, 3]


def test_defect_d_finalize_is_proposed_once_and_tolerated_twice() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []))
    for i in range(5):
        network.propose(1, b"%d" % i)
    network.tick(times=3)
    kinds = [e.entry_type for e in network[1].applied.values()]
    assert kinds.count(EntryConfChange) == 2
    for member in network.members.values():
        member.node.apply_conf_change(v1(FinalizeMembershipChange), 99)


def test_defect_e_a_stuck_joint_state_can_be_left() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([3, 4, 5], []), auto_finalize=False)
    network.run()
    network.tick(1)
    network.propose(1, b"x")
    assert network[1].data == []
    network[1].node.propose_rollback()
    network.run()
    assert network[1].data == [b"x"]
    assert not network[1].raft.is_in_membership_change()


def test_defect_e_a_new_leader_finalizes_without_waiting_for_an_apply() -> None:
    joint = ConfState(
        voters=[1, 2], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1, auto_leave=True
    )
    leader = a_member(conf_state=joint).lead(acknowledged=False)
    assert leader.raft.raft_log.all_entries()[-1].entry_type == 1


def test_defect_f_no_slice_counts_from_the_end() -> None:
    log = RaftLog(a_storage(terms=[1, 1, 2], commit=2))
    with pytest.raises(MessageRefused):
        log.maybe_append(1, 1, 1, entries_of([1, 2], first=5))
    with pytest.raises(InvariantViolation):
        log.slice(3, 2)
    with pytest.raises(InvariantViolation):
        log.unstable.slice(3, 5)
    with pytest.raises(InvariantViolation):
        log.store.entries(4, 3)
    assert log.last_index() == 4
    member = a_member(terms=[1, 1, 2], term=3)
    with pytest.raises(MessageRefused):
        member.receive(MsgAppend, 2, index=3, log_term=1, entries=entries_of([2, 2], first=2))
    assert member.last_index == 4


def test_defect_g_no_peer_can_break_an_invariant() -> None:
    member = a_member()
    with pytest.raises(MessageRefused):
        member.receive(MsgHeartbeat, 2, term=2, commit=9)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, commit=9)
    assert member.committed == 1
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(9, 2, ((2, 3), ())))
    assert member.committed == 1
    for count in (0, 2):
        with pytest.raises(MessageRefused):
            member.receive(MsgReadIndex, 2, term=0, entries=[Entry()] * count)
    with pytest.raises(MessageRefused):
        a_leader().receive(MsgAppendResponse, 2, index=99)


def test_defect_h_memory_without_a_quorum_is_bounded() -> None:
    leader = a_leader(max_uncommitted_size=1000, max_size_per_msg=1000)
    taken = 0
    for _ in range(100):
        try:
            leader.propose(b"x" * 100)
            taken += 1
        except ProposalDropped:
            break
    assert taken == 10


def test_defect_i_a_conflicting_snapshot_discards_the_whole_log() -> None:
    member = a_member(terms=[1] * 10, commit=2)
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(5, 3))
    assert (member.last_index, member.storage.last_index()) == (5, 5)
    assert member.log() == []
    member.receive(MsgAppend, 2, index=5, log_term=3, entries=entries_of([3], 6))
    assert member.log() == [(6, 3)]


def test_no_change_of_membership_becomes_an_empty_entry() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    last = leader.last_index
    with pytest.raises(ConfChangeError):
        leader.node.propose_membership_change(([1, 2, 4], []))
    assert leader.last_index == last
