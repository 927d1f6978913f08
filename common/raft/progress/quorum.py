"""What one majority, or several at once, decide: votes, commit indexes, acknowledgements.

A *quorum rule* is a tuple of voter sets; each needs its own majority. One set is an ordinary
configuration, two are a joint one (Raft §6: "agreement requires separate majorities from both the
old and new configurations").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from enum import Enum

QuorumRule = tuple[frozenset[int], ...]


class CandidacyStatus(Enum):
    """How an election stands. Source: raft-rs ``CandidacyStatus``."""

    Elected = "elected"
    """Every majority has granted its vote."""
    Eligible = "eligible"
    """Neither won nor lost yet."""
    Ineligible = "ineligible"
    """A majority of some set has refused: no more answers can change that."""


def votes_decide(rule: QuorumRule, votes: Mapping[int, bool]) -> CandidacyStatus:
    """Judge an election by `votes` (id to granted): won by all sets, lost by any one."""
    won = True
    for voters in rule:
        granted = refused = 0
        for voter in voters:
            vote = votes.get(voter)
            if vote is None:
                continue
            if vote:
                granted += 1
            else:
                refused += 1
        needed = len(voters) // 2 + 1
        if len(voters) - refused < needed:
            return CandidacyStatus.Ineligible
        if granted < needed:
            won = False
    return CandidacyStatus.Elected if won else CandidacyStatus.Eligible


def all_have_quorum(rule: QuorumRule, ids: Set[int]) -> bool:
    """Whether `ids` holds a majority of every set of `rule`."""
    return all(len(voters & ids) * 2 > len(voters) for voters in rule)


def committed_by(voters: frozenset[int], matched: Callable[[int], int]) -> int:
    """The highest index that a majority of `voters` has reached.

    `voters` must not be empty: a set without voters would agree to anything.
    """
    reached = sorted(map(matched, voters))
    return reached[(len(reached) - 1) // 2]


def committed_by_groups(
    voters: frozenset[int], matched: Callable[[int], int], group: Callable[[int], int]
) -> tuple[int, bool]:
    """Like `committed_by`, but the index must have reached two different commit groups.

    Returns the index and whether groups decided it. Group 0 means ungrouped and counts for no
    group. With all voters in one and the same group nothing can be asked of a second one: the
    plain majority decides. If two groups cannot be told apart because someone is ungrouped, only
    what everyone has is committed.

    Source: raft-rs 0.7 ``MajorityConfig::committed_index``, group commit.
    """
    by_progress = sorted(((matched(voter), group(voter)) for voter in voters), reverse=True)
    quorum_index = by_progress[len(by_progress) // 2][0]
    first_group = 0
    for index, voter_group in by_progress:
        if not voter_group:
            continue
        if not first_group:
            first_group = voter_group
        elif voter_group != first_group:
            return min(index, quorum_index), True
    if all(voter_group for _, voter_group in by_progress):
        return quorum_index, False
    return by_progress[-1][0], False
