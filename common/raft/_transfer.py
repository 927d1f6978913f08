"""Leadership transfer: handing over to a chosen, caught-up voter (thesis §3.10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raft import _replication
from raft.eraftpb import Message, MsgTimeoutNow

if TYPE_CHECKING:
    from raft.core import Raft

FINALIZE_CONTEXT = b"Finalize"
"""Context of a TimeoutNow whose receiver, once elected, is to propose Finalize."""


def start(raft: Raft[Any], target: int, timeout_ticks: int) -> None:
    """Begin to hand over to `target`, a voter other than this leader.

    Proposals are dropped from here until another leader is known or the time is over, and lease
    reads end for the rest of the term: the target's campaign disregards leases.
    """
    raft.lead_transferee = target
    raft.transfer_elapsed = 0
    raft.transfer_ticks_limit = timeout_ticks
    raft.read_only.lease_usable = False
    raft.logger.info("transferring leadership", to=target, term=raft.term)
    progress = raft.prs.progress[target]
    if progress.matched == raft.raft_log.last_index():
        send_timeout_now(raft, target)
    else:
        _replication.send_append(raft, target, progress)


def send_timeout_now(raft: Raft[Any], target: int) -> None:
    """Tell a caught-up `target` to campaign at once."""
    context = FINALIZE_CONTEXT if raft.leave_requested else b""
    raft.send(Message(msg_type=MsgTimeoutNow, to=target, context=context))


def name_heir(raft: Raft[Any], voters: Iterable[int]) -> None:
    """As a leader that leaves, tell one of the remaining `voters` to campaign at once.

    Otherwise they would wait for an election timeout. The heir may not have applied the change
    that makes this leader leave; it waits until it has. Nothing is lost if the message is.
    """
    progress = raft.prs.progress
    candidates = [
        (-progress[node_id].matched, node_id != raft.prs.successor, node_id)
        for node_id in voters
        if node_id != raft.id and progress[node_id].recent_active
    ]
    if candidates:
        raft.read_only.lease_usable = False
        raft.send(Message(msg_type=MsgTimeoutNow, to=min(candidates)[2]))


def best_successor(raft: Raft[Any]) -> int:
    """Who should lead after the joint state: the one asked for, else the best-matched new voter.

    Returns 0 if no voter of C_new has been heard of lately.
    """
    new = raft.prs.next_configuration
    assert new is not None
    progress = raft.prs.progress
    if raft.prs.successor and progress[raft.prs.successor].recent_active:
        return raft.prs.successor
    candidates = [
        (-progress[node_id].matched, node_id)
        for node_id in new.voters
        if node_id != raft.id and progress[node_id].recent_active
    ]
    return min(candidates)[1] if candidates else 0
