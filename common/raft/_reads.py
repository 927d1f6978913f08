"""Reads at the leader: which wait for a heartbeat round, and what confirms them (thesis §6.4).

The book-keeping of rounds is in `read_only`; here it meets the leader's term, log and quorums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raft import _replication
from raft.eraftpb import Entry, Message, MsgReadIndexResp
from raft.errors import DropReason, ProposalDropped
from raft.read_only import ReadRequest, ReadState, context_of
from raft.read_only_option import ReadOnlyOption

if TYPE_CHECKING:
    from raft.core import Raft

LEASE_TICKS_LOST: Final = 2
"""By how many ticks a lease is shorter than the election timeout E of those who gave it.

One is lost to the phase of ticks. A leader makes a heartbeat in its tick s, at time t; with ticks
of length L it passes tick s + k at t + k*L. A follower may hear it at once and tick at once: its
tick number k after hearing comes at t + (k-1)*F, with ticks of length F. It helps nobody to be
elected, itself included, before number E: before t + (E-1)*F. A lease of E-1 ticks ends at
t + (E-1)*L, so it would hold only if no follower's ticks were shorter than the leader's.

The other is for the drift of clocks. A lease of E-2 ticks ends at t + (E-2)*L, which is in time if
F/L >= (E-2)/(E-1): in an election timeout a follower's clock may gain one tick on the leader's.

It was thought of to count the follower's first tick for nothing instead, which gives the same and
makes every election later, those of groups without leases too.
"""


def handle_read_index(raft: Raft[Any], m: Message, context: bytes) -> None:
    """As leader, take in a read: answer it, let it join a round, or postpone it.

    Raises:
        ProposalDropped: too many reads wait.
    """
    if raft.read_only.pending_read_count() >= raft.max_pending_reads:
        raise ProposalDropped(
            DropReason.TOO_MANY_READS,
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
        raft.read_only.rounds_made += 1
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
        raft.read_only.renew_lease(one, raft.election_timeout - LEASE_TICKS_LOST)
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
