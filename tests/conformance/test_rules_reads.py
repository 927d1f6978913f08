"""Bugs that other Raft libraries had, as rules: reads and leases (55 to 61).

Each test fails when its rule is broken.
"""

from __future__ import annotations

from typing import Any

import pytest

from raft import ConfigInvalid, ReadOnlyOption
from raft.eraftpb import MsgAppendResponse, MsgHeartbeat, MsgRequestVote, RemoveNode
from tests.harness.builders import a_config, a_leader, a_member, of_type, only, v1
from tests.harness.network import Member

LEASE: dict[str, Any] = {"check_quorum": True, "read_only_option": ReadOnlyOption.LeaseBased}


def ask(leader: Member, context: bytes = b"r") -> bytes:
    """Ask for a read; the context of the heartbeats that were sent for it, if any were."""
    leader.node.read_index(context)
    contexts = {m.context for m in of_type(leader.pump(), MsgHeartbeat)}
    return contexts.pop() if contexts else b""


def indexes(leader: Member) -> list[int]:
    """The indexes of the reads confirmed so far."""
    return [r.index for r in leader.reads]


def renew(leader: Member, *ids: int) -> None:
    """Have heartbeats sent and answered."""
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    for node_id in ids:
        leader.heard(node_id, context)


def test_rule_55_no_read_before_the_first_commit_of_the_own_term() -> None:
    # What its predecessor committed last may be beyond what it knows to be committed.
    leader = a_member(terms=[1], commit=1).lead(acknowledged=False)
    assert ask(leader) == b""
    leader.receive(MsgAppendResponse, 2, index=2)
    assert indexes(leader) == []
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.heard(2, leader.raft.read_only.last_pending_context())
    assert indexes(leader) == [3]  # Queued, not dropped.
    lease = a_member(terms=[1], **LEASE)
    lease.tick(10)
    lease.lead(acknowledged=False)
    renew(lease, 2, 3)
    ask(lease)
    assert indexes(lease) == []


def test_rule_56_a_readers_context_confirms_nothing() -> None:
    leader = a_leader()
    first = ask(leader, b"same")
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=3)
    ask(leader, b"same")
    leader.heard(2, b"same")
    assert indexes(leader) == []
    leader.heard(2, first)
    assert indexes(leader) == [2]


def test_rule_57_a_smaller_quorum_confirms_what_waits() -> None:
    leader = a_leader(voters=[1, 2, 3, 4])
    leader.node.propose_conf_change(b"", v1(RemoveNode, 4))
    leader.pump()
    context = ask(leader)
    leader.heard(2, context)
    assert indexes(leader) == []
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    assert leader.raft.prs.voter_ids() == {1, 2, 3}
    assert indexes(leader) == [2]


def test_rule_58_a_lease_needs_check_quorum_and_counts_from_the_sending() -> None:
    with pytest.raises(ConfigInvalid):
        a_config(read_only_option=ReadOnlyOption.LeaseBased).validate()
    leader = a_leader(**LEASE)
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    sent_at = leader.raft.ticks
    leader.tick(7)
    leader.heard(2, context)
    assert leader.raft.ticks - sent_at == 7
    ask(leader)
    assert len(indexes(leader)) == 1  # One tick is left.
    leader.tick()
    ask(leader)
    assert len(indexes(leader)) == 1


def test_rule_58_a_restarted_voter_does_not_break_a_lease_it_helped_to_give() -> None:
    member = a_member(term=3, **LEASE)
    member.tick(5)
    assert member.receive(MsgRequestVote, 2, term=4, index=9, log_term=3) == []
    member.tick(5)
    assert not only(member.receive(MsgRequestVote, 2, term=4, index=9, log_term=3)).reject


def test_rule_59_a_transfer_ends_the_lease_for_the_whole_term() -> None:
    leader = a_leader(**LEASE)
    renew(leader, 2)
    leader.node.transfer_leader(3)
    leader.pump()
    ask(leader)
    assert indexes(leader) == []
    for _ in range(15):
        renew(leader, 2)
    assert leader.raft.lead_transferee == 0
    before = len(indexes(leader))
    ask(leader)
    assert len(indexes(leader)) == before


@pytest.mark.parametrize(("voters", "needed"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_rule_60_the_quorum_of_a_read_is_exact(voters: int, needed: int) -> None:
    leader = a_leader(voters=range(1, voters + 1), learners=[9])
    context = ask(leader)
    leader.heard(9, context)
    for node_id in range(2, 2 + needed):
        assert indexes(leader) == []
        leader.heard(node_id, context)
    assert indexes(leader) == [2]


def test_rule_61_reads_confirmed_between_ready_and_advance_are_kept() -> None:
    leader = a_leader(voters=[1])
    leader.node.read_index(b"one")
    rd = leader.node.ready()
    leader.node.read_index(b"two")
    leader.node.advance(rd)
    assert [r.request_ctx for r in rd.read_states] == [b"one"]
    assert [r.request_ctx for r in leader.node.ready().read_states] == [b"two"]
