"""Quorums the slow and obvious way: what the fast code must agree with."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence


def majorities(voters: Collection[int]) -> list[set[int]]:
    """Every subset of `voters` that is more than half of them."""
    ids = sorted(voters)
    return [
        set(chosen)
        for size in range(len(ids) // 2 + 1, len(ids) + 1)
        for chosen in itertools.combinations(ids, size)
    ]


def committed(sets: Sequence[Collection[int]], matched: Mapping[int, int]) -> int:
    """The highest index that, in each set, some majority has reached."""
    best = 0
    for index in range(max(matched.values(), default=0) + 1):
        if all(
            any(all(matched.get(i, 0) >= index for i in quorum) for quorum in majorities(voters))
            for voters in sets
        ):
            best = index
    return best


def committed_by_groups(
    voters: Collection[int], matched: Mapping[int, int], groups: Mapping[int, int]
) -> int:
    """The highest index on a majority and in two groups, by the rules of group commit."""
    plain = committed([voters], matched)
    named = {groups.get(i, 0) for i in voters}
    if len(named - {0}) > 1:
        for index in range(plain, -1, -1):
            reached = {groups.get(i, 0) for i in voters if matched.get(i, 0) >= index}
            if len(reached - {0}) > 1:
                return index
        return 0
    if 0 in named:
        return min(matched.get(i, 0) for i in voters)
    return plain


def election(sets: Sequence[Collection[int]], votes: Mapping[int, bool]) -> str:
    """Won, lost or open, found by trying out all ways in which the missing votes may fall."""
    everyone = sorted(set().union(*sets))
    missing = [i for i in everyone if i not in votes]
    outcomes = set()
    for answers in itertools.product((True, False), repeat=len(missing)):
        final = {**votes, **dict(zip(missing, answers, strict=True))}
        yes = {i for i in everyone if final[i]}
        outcomes.add(all(any(q <= yes for q in majorities(voters)) for voters in sets))
    if outcomes == {True}:
        return "Elected"
    return "Ineligible" if outcomes == {False} else "Eligible"


def has_quorum(sets: Sequence[Collection[int]], ids: Collection[int]) -> bool:
    """Whether `ids` holds a majority of each set."""
    return all(any(q <= set(ids) for q in majorities(voters)) for voters in sets)
