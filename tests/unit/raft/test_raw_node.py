"""raw_node.py: its small types and the reach of its calls."""

from __future__ import annotations

import pytest

from raft import CodecError, LightReady, Peer, Ready, SnapshotStatus, is_empty_snap
from raft.eraftpb import AddNode, Entry
from tests.harness.builders import a_leader, a_member, change_entry, v1


def test_an_empty_ready() -> None:
    rd = Ready(7)
    assert rd.number == 7
    assert is_empty_snap(rd.snapshot)
    assert (rd.ss, rd.hs, rd.must_sync) == (None, None, False)
    lists = (rd.entries, rd.committed_entries, rd.messages, rd.read_states)
    assert lists == ([], [], [], [])
    assert (rd.immediate_messages, rd.persisted_messages) == ([], [])


def test_small_types() -> None:
    assert LightReady(None, [], []).commit_index is None
    assert Peer(3, b"where").context == b"where"
    assert {s.name for s in SnapshotStatus} == {"Finish", "Failure"}


def test_an_entry_that_is_no_change_is_refused() -> None:
    member = a_member()
    with pytest.raises(CodecError):
        member.node.apply_conf_entry(Entry(index=3, data=b"x"))


def test_a_change_is_applied_at_the_index_of_its_entry() -> None:
    leader = a_leader()
    conf_state = leader.node.apply_conf_entry(change_entry(v1(AddNode, 4), index=9))
    assert list(conf_state.voters) == [1, 2, 3, 4]
    assert conf_state.config_index == 9


def test_a_node_has_ready_until_all_is_carried_out() -> None:
    member = a_member(voters=[1])
    assert not member.node.has_ready()
    member.node.campaign()
    turns = 0
    while member.node.has_ready():
        rd = member.node.ready()
        member.storage.wl().append(rd.entries)
        member.node.advance(rd)
        turns += 1
    assert turns == 2


def test_a_tick_tells_whether_something_came_of_it() -> None:
    leader = a_leader(heartbeat_tick=3)
    assert [leader.node.tick() for _ in range(3)] == [False, False, True]
    follower = a_member()
    told = [follower.node.tick() for _ in range(20)]
    assert told.count(True) == 1
