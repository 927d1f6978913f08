"""Reads without a log entry: which are confirmed, by whom, and at which index."""

from __future__ import annotations

from typing import Any

import pytest

from raft import ConfigInvalid, DropReason, ProposalDropped, ReadOnlyOption
from raft.eraftpb import (
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestVote,
    MsgTimeoutNow,
    RemoveNode,
)
from tests.harness.builders import a_config, a_leader, a_member, entries_of, of_type, only, to, v1
from tests.harness.network import Loop, Member, Network

LEASE: dict[str, Any] = {"check_quorum": True, "read_only_option": ReadOnlyOption.LeaseBased}


def ask(leader: Member, context: bytes = b"r") -> bytes:
    """Ask for a read; the context of the heartbeats that were sent for it."""
    leader.node.read_index(context)
    contexts = {m.context for m in of_type(leader.pump(), MsgHeartbeat)}
    assert len(contexts) <= 1
    return contexts.pop() if contexts else b""


def answers(member: Member) -> list[tuple[int, bytes]]:
    """The confirmed reads: index and context."""
    return [(r.index, r.request_ctx) for r in member.reads]


@pytest.mark.parametrize("loop", Loop)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_read_anywhere_is_confirmed_where_it_was_asked(loop: Loop, at: int) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.propose(1, b"x")
    network[at].node.read_index(b"ctx")
    network.run()
    assert answers(network[at]) == [(3, b"ctx")]
    assert all(not answers(network[i]) for i in (1, 2, 3) if i != at)


def test_a_single_voter_answers_at_once() -> None:
    leader = a_leader(voters=[1], learners=[2])
    assert ask(leader) == b""
    assert answers(leader) == [(2, b"r")]


def test_a_read_needs_a_quorum_of_answers_to_its_own_heartbeats() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5])
    context = ask(leader)
    leader.heard(2)  # An answer to some other heartbeat.
    leader.heard(2, context)
    leader.heard(2, context)
    assert answers(leader) == []
    leader.heard(3, context)
    assert answers(leader) == [(2, b"r")]
    leader.heard(4, context)
    assert len(answers(leader)) == 1


def test_answers_of_learners_do_not_count() -> None:
    leader = a_leader(learners=[4, 5])
    context = ask(leader)
    for node_id in (4, 5):
        leader.heard(node_id, context)
    assert answers(leader) == []


def test_the_index_is_that_of_the_reads_arrival() -> None:
    leader = a_leader()
    context = ask(leader)
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 3
    leader.heard(2, context)
    assert answers(leader) == [(2, b"r")]


def test_the_readers_context_never_decides() -> None:
    # Two reads with the same context: an answer for the first confirms only the first.
    leader = a_leader()
    first = ask(leader, b"same")
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=3)
    second = ask(leader, b"same")
    assert first != second
    leader.heard(2, first)
    assert answers(leader) == [(2, b"same")]
    leader.heard(2, second)
    assert answers(leader) == [(2, b"same"), (3, b"same")]


def test_the_context_on_the_wire_is_a_counter() -> None:
    leader = a_leader()
    contexts = [ask(leader, b"r") for _ in range(3)]
    assert [len(c) for c in contexts] == [8, 8, 8]
    numbers = [int.from_bytes(c, "little") for c in contexts]
    assert numbers == sorted(set(numbers))


def test_a_later_round_confirms_the_earlier_ones() -> None:
    leader = a_leader()
    ask(leader, b"a")
    ask(leader, b"b")
    leader.heard(2, ask(leader, b"c"))
    assert [context for _, context in answers(leader)] == [b"a", b"b", b"c"]


def test_an_earlier_round_confirms_no_later_one() -> None:
    leader = a_leader()
    first = ask(leader, b"a")
    ask(leader, b"b")
    leader.heard(2, first)
    assert [context for _, context in answers(leader)] == [b"a"]


def test_answers_of_different_rounds_add_up() -> None:
    # Whoever has answered the later round has answered the earlier one, too.
    leader = a_leader(voters=[1, 2, 3, 4, 5])
    first = ask(leader, b"a")
    second = ask(leader, b"b")
    leader.heard(2, second)
    leader.heard(3, first)
    assert [context for _, context in answers(leader)] == [b"a"]


def test_reads_that_come_together_share_their_heartbeats() -> None:
    leader = a_leader()
    for i in range(50):
        leader.node.read_index(b"%d" % i)
    sent = of_type(leader.pump(), MsgHeartbeat)
    assert len(sent) == 2
    leader.heard(2, sent[0].context)
    assert answers(leader) == [(2, b"%d" % i) for i in range(50)]


def test_a_heartbeat_that_is_due_anyway_asks_again() -> None:
    leader = a_leader()
    context = ask(leader)
    assert {m.context for m in of_type(leader.tick(), MsgHeartbeat)} == {context}
    leader.heard(2, context)
    assert {m.context for m in of_type(leader.tick(), MsgHeartbeat)} == {b""}


def test_answers_with_a_context_of_nobody_are_nothing() -> None:
    leader = a_leader()
    ask(leader)
    for context in (b"x", b"\0" * 8, b"\xff" * 8, b"\x01" * 9):
        leader.heard(2, context)
    assert answers(leader) == []


def test_a_read_before_the_first_own_commit_waits_for_it() -> None:
    leader = a_member().lead(acknowledged=False)
    assert ask(leader) == b""
    assert leader.raft.read_only.pending_read_count() == 1
    leader.acknowledge_all(2)
    context = leader.raft.read_only.last_pending_context()
    assert context
    leader.heard(2, context)
    assert answers(leader) == [(2, b"r")]


def test_reads_that_waited_are_heartbeated_at_once() -> None:
    leader = a_member().lead(acknowledged=False)
    for i in range(3):
        ask(leader, b"%d" % i)
    sent = of_type(leader.receive(MsgAppendResponse, 2, index=2), MsgHeartbeat)
    assert len(sent) == 2
    leader.heard(3, sent[0].context)
    assert len(answers(leader)) == 3


def test_forwarded_reads_wait_too() -> None:
    network = Network(1, 2, 3)
    network.ignore(MsgAppendResponse)
    network.elect(1)
    network[2].node.read_index(b"r")
    network.run()
    assert answers(network[2]) == []
    network.heal()
    network.tick(times=2)
    assert answers(network[2]) == [(2, b"r")]


def test_reads_of_a_leader_that_steps_down_are_not_answered() -> None:
    leader = a_leader()
    context = ask(leader)
    leader.receive(MsgHeartbeat, 2, term=3)
    leader.receive(MsgHeartbeat, 2, term=3)
    assert leader.raft.read_only.pending_read_count() == 0
    leader.lead()
    # The number of the round is not used again.
    assert ask(leader) != context
    leader.heard(2, context)
    assert answers(leader) == []


def test_a_leader_in_a_minority_confirms_nothing() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.partition([1], [2, 3])
    network[1].node.read_index(b"r")
    network.run()
    network.elect(2)
    network.propose(2, b"new")
    network.tick(1, times=3)
    assert answers(network[1]) == []


def test_reads_without_a_leader_are_dropped() -> None:
    for member in (a_member(), a_member(pre_vote=True)):
        with pytest.raises(ProposalDropped):
            member.node.read_index(b"r")
        member.campaign()
        with pytest.raises(ProposalDropped):
            member.node.read_index(b"r")


def test_too_many_reads_are_refused() -> None:
    leader = a_leader(max_pending_reads=2)
    ask(leader)
    ask(leader)
    with pytest.raises(ProposalDropped, match="max_pending_reads") as caught:
        ask(leader)
    assert caught.value.reason is DropReason.TOO_MANY_READS
    assert "proposal" not in str(caught.value)
    postponing = a_member(max_pending_reads=2).lead(acknowledged=False)
    ask(postponing)
    ask(postponing)
    with pytest.raises(ProposalDropped, match="max_pending_reads"):
        ask(postponing)
    postponing.acknowledge_all()
    postponing.heard(2, postponing.raft.read_only.last_pending_context())
    assert len(answers(postponing)) == 2


def test_a_smaller_quorum_confirms_what_waited() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5])
    context = ask(leader)
    leader.heard(2, context)
    assert answers(leader) == []
    for node_id, index in ((5, 3), (4, 4)):
        leader.node.propose_conf_change(b"", v1(RemoveNode, node_id))
        leader.pump()
        for peer in (2, 3, 4):
            if peer in leader.raft.prs.progress:
                leader.receive(MsgAppendResponse, peer, index=index)
    assert leader.raft.prs.voter_ids() == {1, 2, 3}
    assert answers(leader) == [(2, b"r")]


def test_a_joint_group_needs_both_quorums_for_a_read() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.node.propose_membership_change(([1, 4, 5], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.is_in_membership_change()
    context = ask(leader)
    leader.heard(2, context)
    leader.heard(3, context)
    assert answers(leader) == []
    leader.heard(4, context)
    assert len(answers(leader)) == 1


def test_an_answered_read_may_commit_at_the_follower() -> None:
    member = a_member()
    # It has the entry and has not heard that it is committed.
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]), commit=1)
    assert member.committed == 1
    member.receive(MsgReadIndexResp, 2, index=2, entries=[Entry(data=b"r")])
    assert member.committed == 2
    assert answers(member) == [(2, b"r")]


def test_a_read_that_comes_round_is_answered_to_its_asker() -> None:
    leader = a_leader()
    out = leader.step(Message(msg_type=MsgReadIndex, from_=3, to=1, entries=[Entry(data=b"r")]))
    context = of_type(out, MsgHeartbeat)[0].context
    sent = only(to(of_type(leader.heard(2, context), MsgReadIndexResp), 3))
    assert (sent.index, sent.entries[0].data) == (2, b"r")


def test_a_candidate_takes_no_answered_reads() -> None:
    member = a_member()
    member.campaign()
    member.receive(MsgReadIndexResp, 2, index=1, entries=[Entry(data=b"r")])
    assert answers(member) == []


# Leases.


def test_leases_need_check_quorum() -> None:
    with pytest.raises(ConfigInvalid):
        a_config(read_only_option=ReadOnlyOption.LeaseBased).validate()


def renew(leader: Member, *ids: int) -> None:
    """Have heartbeats sent and answered."""
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    for node_id in ids:
        leader.heard(node_id, context)


def test_a_live_lease_answers_at_once() -> None:
    leader = a_leader(**LEASE)
    renew(leader, 2)
    assert ask(leader) == b""
    assert answers(leader) == [(2, b"r")]


def test_a_lease_lives_from_when_its_heartbeats_were_sent() -> None:
    leader = a_leader(**LEASE)
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    sent_at = leader.raft.ticks
    leader.tick(5)
    leader.heard(2, context)
    assert leader.raft.read_only.lease_until == sent_at + 10 - 2
    while leader.raft.ticks < sent_at + 7:
        leader.tick()
    ask(leader, b"live")
    assert answers(leader) == [(2, b"live")]
    leader.tick()
    # Over: a quorum is asked, as without leases.
    context = ask(leader, b"over")
    assert len(answers(leader)) == 1
    leader.heard(3, context or leader.raft.read_only.last_pending_context())
    assert len(answers(leader)) == 2


def test_a_lease_needs_a_quorum() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5], **LEASE)
    renew(leader, 2)
    ask(leader)
    assert answers(leader) == []


def test_a_lease_ends_when_check_quorum_is_switched_off() -> None:
    leader = a_leader(**LEASE)
    renew(leader, 2)
    leader.node.set_check_quorum(False)
    ask(leader)
    assert answers(leader) == []


def test_a_lease_ends_when_a_transfer_starts_and_for_the_whole_term() -> None:
    leader = a_leader(**LEASE)
    renew(leader, 2)
    leader.node.transfer_leader(3)
    assert of_type(leader.pump(), MsgTimeoutNow)
    ask(leader, b"during")
    assert answers(leader) == []
    # The TimeoutNow may still be under way when the transfer is given up.
    for _ in range(12):
        renew(leader, 2, 3)
    assert leader.raft.lead_transferee == 0
    reads = len(answers(leader))
    ask(leader, b"after")
    assert len(answers(leader)) == reads


def test_a_lease_can_be_ended() -> None:
    leader = a_leader(**LEASE)
    renew(leader, 2)
    leader.node.expire_lease()
    ask(leader)
    assert answers(leader) == []


def test_a_node_that_restarts_keeps_quiet_for_a_lease() -> None:
    # It may have answered heartbeats just before; its vote could break the lease they gave.
    member = a_member(term=3, **LEASE)
    vote = {"term": 9, "index": 9, "log_term": 8}
    assert member.receive(MsgRequestVote, 2, **vote) == []
    member.tick(10)
    assert not only(member.receive(MsgRequestVote, 2, **vote)).reject


def test_lease_rounds_do_not_pile_up() -> None:
    # Nobody answers a heartbeat, and nothing makes the leader step down.
    leader = a_leader(**LEASE)
    waiting = ask(leader)
    leader.node.set_check_quorum(False)
    leader.tick(1000)
    assert len(leader.raft.read_only.rounds()) <= 65
    leader.heard(2, waiting)
    assert len(answers(leader)) == 1


@pytest.mark.parametrize("loop", Loop)
def test_lease_reads_in_a_group(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop, **LEASE)
    network.tick_until(lambda: network.leader() is not None)
    network.tick()
    for at in (1, 2, 3):
        network[at].node.read_index(b"%d" % at)
        network.run()
        assert answers(network[at]) == [(2, b"%d" % at)]


def test_forget_leader_is_ignored_with_leases() -> None:
    member = a_member(**LEASE)
    member.receive(MsgHeartbeat, 2, term=2)
    member.node.forget_leader()
    assert member.raft.leader_id == 2


def test_a_read_does_not_survive_its_round_twice() -> None:
    leader = a_leader()
    context = ask(leader)
    leader.heard(2, context)
    leader.raft.recheck_reads()
    assert len(answers(leader)) == 1


def test_a_membership_entry_reads_as_any_other_commit() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 3))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.heard(2, ask(leader))
    assert answers(leader) == [(3, b"r")]
