"""Learners that become voters when they have caught up (thesis §4.2.1).

A learner catches up in rounds: a round is over when the learner has everything that was in the
leader's log when the round began. If the last allowed round takes less than an election timeout,
making the learner a voter cannot hold up commits for longer than that. Which learners are meant is
part of the replicated configuration (`ProgressSet.promotable`); the rounds are the leader's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raft.eraftpb import AddNode, BeginMembershipChange, ConfChange, ConfState
from raft.progress import ProgressState

if TYPE_CHECKING:
    from raft.core import Raft


@dataclass(slots=True)
class CatchUp:
    """A learner's rounds.

    Attributes:
        target: Last index of the leader's log when the round began.
        elapsed: Ticks since then.
        round: Number of the round, from 1; back to 1 after too many slow ones.
        caught_up: Whether the last finished round was short enough.
    """

    target: int
    elapsed: int = 0
    round: int = 1
    caught_up: bool = False


def tick(raft: Raft[Any]) -> ConfChange | None:
    """Account one tick of the leader; return the change to propose once someone is ready."""
    prs = raft.prs
    last_index = raft.raft_log.last_index()
    ready = []
    for node_id in sorted(prs.promotable):
        progress = prs.progress[node_id]
        rounds = raft.catch_up.get(node_id)
        if rounds is None:
            rounds = raft.catch_up[node_id] = CatchUp(last_index)
        _advance(raft, rounds, progress.matched, last_index)
        if (
            rounds.caught_up
            and progress.recent_active
            and progress.state is ProgressState.Replicate
        ):
            ready.append(node_id)
    if not ready or prs.is_in_membership_change() or raft.has_pending_conf():
        return None
    if raft.membership_log or raft.lead_transferee or not raft.committed_in_own_term():
        return None
    return _promotion_of(raft, ready)


def _advance(raft: Raft[Any], rounds: CatchUp, matched: int, last_index: int) -> None:
    rounds.elapsed += 1
    if matched < rounds.target:
        if rounds.elapsed >= raft.catch_up_round_ticks:
            rounds.caught_up = False
        return
    rounds.caught_up = rounds.elapsed < raft.catch_up_round_ticks
    rounds.round = rounds.round + 1 if rounds.round < raft.catch_up_rounds else 1
    rounds.target, rounds.elapsed = last_index, 0


def _promotion_of(raft: Raft[Any], ready: list[int]) -> ConfChange:
    if len(ready) == 1:
        return ConfChange(change_type=AddNode, node_id=ready[0])
    now = raft.prs.configuration
    target = ConfState(
        voters=sorted(now.voters.union(ready)),
        learners=sorted(now.learners.difference(ready)),
        promotable=sorted(raft.prs.promotable.difference(ready)),
    )
    return ConfChange(change_type=BeginMembershipChange, configuration=target)
