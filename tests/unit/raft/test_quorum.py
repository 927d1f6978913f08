"""progress/quorum.py: held against a slow and obvious twin on random input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raft.progress.quorum import (
    QuorumRule,
    all_have_quorum,
    committed_by,
    committed_by_groups,
    votes_decide,
)
from tests.datadriven import twin

IDS = st.integers(1, 7)
SETS = st.frozensets(IDS, min_size=1, max_size=5)
RULES = st.lists(SETS, min_size=1, max_size=2).map(tuple)
MATCHED = st.dictionaries(IDS, st.integers(0, 6))


@settings(max_examples=150, deadline=None)
@given(RULES, st.dictionaries(IDS, st.booleans()))
def test_votes_agree_with_the_twin(rule: QuorumRule, votes: dict[int, bool]) -> None:
    assert votes_decide(rule, votes).name == twin.election(rule, votes)


@settings(max_examples=150, deadline=None)
@given(RULES, MATCHED)
def test_commit_indexes_agree_with_the_twin(rule: QuorumRule, matched: dict[int, int]) -> None:
    fast = min(committed_by(voters, lambda i: matched.get(i, 0)) for voters in rule)
    assert fast == twin.committed(rule, matched)


@settings(max_examples=150, deadline=None)
@given(RULES, st.frozensets(IDS))
def test_acknowledgements_agree_with_the_twin(rule: QuorumRule, ids: frozenset[int]) -> None:
    assert all_have_quorum(rule, ids) == twin.has_quorum(rule, ids)


@settings(max_examples=150, deadline=None)
@given(SETS, MATCHED, st.dictionaries(IDS, st.integers(0, 3)))
def test_commit_groups_agree_with_the_twin(
    voters: frozenset[int], matched: dict[int, int], groups: dict[int, int]
) -> None:
    index, by_groups = committed_by_groups(
        voters, lambda i: matched.get(i, 0), lambda i: groups.get(i, 0)
    )
    assert index == twin.committed_by_groups(voters, matched, groups)
    assert by_groups == (len({groups.get(i, 0) for i in voters} - {0}) > 1)


@settings(max_examples=100, deadline=None)
@given(RULES, st.frozensets(IDS), st.frozensets(IDS))
def test_two_quorums_of_one_rule_overlap(
    rule: QuorumRule, one: frozenset[int], other: frozenset[int]
) -> None:
    if all_have_quorum(rule, one) and all_have_quorum(rule, other):
        assert all(one & other & voters for voters in rule)
