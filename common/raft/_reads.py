"""Reads at the leader: which wait for a heartbeat round, and what confirms them (thesis §6.4).

The book-keeping of rounds is in `read_only`; here it meets the leader's term, log and quorums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raft import _replication
from raft.eraftpb import Entry, Message, MsgReadIndexResp
from raft.errors import DropReason, ProposalDropped
from raft.read_only import ReadRequest, ReadState, context_of
from raft.read_only_option import ReadOnlyOption

if TYPE_CHECKING:
    from raft.core import Raft


def handle_read_index(raft: Raft[Any], m: Message, context: bytes) -> None:
    """As leader, take in a read: answer it, let it join a round, or postpone it.

    Raises:
        ProposalDropped: too many reads wait.
    """
    if raft.read_only.pending_read_count() >= raft.max_pending_reads:
        raise ProposalDropped(
            DropReason.UNCOMMITTED_LIMIT,
            f"{raft.max_pending_reads} reads wait already (max_pending_reads); try again later",
        )
    if not raft.committed_in_own_term():
        # The newest committed entry may be one this leader does not know to be (§8).
        raft.read_only.postponed.append(m)
        return
    request = ReadRequest(m.from_ or raft.id, context, raft.raft_log.committed)
    if raft.prs.has_quorum({raft.id}) or lease_is_live(raft):
        _answer(raft, request)
        return
    number, new = raft.read_only.join_round(request, raft.ticks)
    if new:
        _replication.broadcast_heartbeat(raft, context_of(number))


def release_postponed(raft: Raft[Any]) -> None:
    """The first entry of the leader's own term is committed: take in what waited for it."""
    requests, raft.read_only.postponed = raft.read_only.postponed, []
    for m in requests:
        handle_read_index(raft, m, m.entries[0].data)


def lease_is_live(raft: Raft[Any]) -> bool:
    """Whether nobody else can have been elected yet, by the clock (thesis §6.4.1)."""
    return (
        raft.read_only.option is ReadOnlyOption.LeaseBased
        and raft.check_quorum
        and raft.read_only.lease_usable
        and raft.ticks < raft.read_only.lease_until
    )


def handle_ack(raft: Raft[Any], from_: int, context: bytes) -> None:
    """A follower has answered the heartbeat with `context`."""
    acks = raft.read_only.receive_ack(from_, context)
    if acks is not None:
        confirm(raft, int.from_bytes(context, "little"), acks)


def confirm(raft: Raft[Any], number: int, acks: set[int]) -> None:
    """Answer the reads up to round `number` if `acks` and the leader are a quorum."""
    if not raft.prs.has_quorum(acks | {raft.id}):
        return
    for one in raft.read_only.confirm_up_to(number):
        # From when the heartbeats left, and a tick less: two clocks may drift by that.
        until = one.sent_at_tick + raft.election_timeout - 1
        raft.read_only.lease_until = max(raft.read_only.lease_until, until)
        for request in one.reads:
            _answer(raft, request)


def _answer(raft: Raft[Any], request: ReadRequest) -> None:
    if request.origin == raft.id:
        raft.read_states.append(ReadState(request.index, request.context))
        return
    raft.send(
        Message(
            msg_type=MsgReadIndexResp,
            to=request.origin,
            index=request.index,
            entries=[Entry(data=request.context)],
        )
    )
