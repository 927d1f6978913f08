"""progress/progress_set.py: the laws that hold whatever is done to the members."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raft import (
    CandidacyStatus,
    Configuration,
    Error,
    Exists,
    NoPendingMembershipChange,
    NotExists,
    NullLogger,
    ProgressSet,
    ViolatesContract,
)
from raft.progress.quorum import QuorumRule
from tests.unit.raft.laws import check, fresh


def a_set(voters: tuple[int, ...] = (1, 2, 3), learners: tuple[int, ...] = ()) -> ProgressSet:
    """A set with these members."""
    prs = ProgressSet()
    prs.replace_configuration(Configuration(voters, learners), fresh)
    return prs


def overlap(one: QuorumRule, other: QuorumRule) -> bool:
    """Whether any quorum of one rule and any of the other have a node in common."""
    # Each quorum holds a majority of every set of its rule; two majorities must meet in one pair.
    return any(len(a) // 2 + 1 + len(b) // 2 + 1 > len(a | b) for a in one for b in other)


IDS = st.integers(1, 6)
SETS = st.frozensets(IDS, max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("voter"), IDS),
    st.tuples(st.just("learner"), IDS),
    st.tuples(st.just("promote"), IDS),
    st.tuples(st.just("remove"), IDS),
    st.tuples(st.just("begin"), SETS, SETS),
    st.tuples(st.just("finalize")),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("old-alone"), st.booleans()),
)


def apply(prs: ProgressSet, step: tuple[object, ...]) -> None:
    """Do one step; raises what the set raises."""
    kind, arguments = step[0], step[1:]
    if kind == "begin":
        voters, learners = arguments
        prs.begin_membership_change(Configuration(voters, learners), fresh)  # type: ignore[arg-type]
        prs.begin_index, prs.auto_leave = 5, True
        return
    calls: dict[object, Callable[..., object]] = {
        "voter": lambda i: prs.insert_voter(i, fresh()),
        "learner": lambda i: prs.insert_learner(i, fresh()),
        "promote": prs.promote_learner,
        "remove": lambda i: prs.remove(i) if prs.configuration.voters != {i} else None,
        "finalize": prs.finalize_membership_change,
        "rollback": prs.rollback_membership_change,
        "old-alone": prs.decide_by_old_alone,
    }
    calls[kind](*arguments)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
@example([("begin", {3}, set()), ("old-alone", True), ("finalize",)])
def test_every_law_holds_after_any_sequence_of_changes(steps: list[tuple[object, ...]]) -> None:
    prs = a_set((1, 2), (3,))
    check(prs)
    for step in steps:
        if step[0] == "finalize" and prs.is_in_membership_change() and len(prs.quorum_rule) == 1:
            continue  # No Finalize follows a Rollback (rule 5): C_old alone was asked until now.
        before, rule = prs.to_conf_state(), prs.quorum_rule
        progress = {i: id(p) for i, p in prs.iter()}
        try:
            apply(prs, step)
        except Error:
            assert prs.to_conf_state() == before
            assert prs.quorum_rule == rule
            assert {i: id(p) for i, p in prs.iter()} == progress
        check(prs)
        # Whoever stays keeps its progress.
        assert all(id(p) == progress[i] for i, p in prs.iter() if i in progress)
        # No quorum of before can decide beside one of after.
        assert overlap(rule, prs.quorum_rule)


@settings(max_examples=60, deadline=None)
@given(st.permutations([("voter", 5), ("learner", 6), ("promote", 3), ("remove", 2)]))
def test_orders_that_must_agree_do(steps: list[tuple[object, ...]]) -> None:
    prs = a_set((1, 2), (3,))
    for step in steps:
        apply(prs, step)
    assert prs.configuration == Configuration([1, 3, 5], [6])


def test_a_joint_change_and_single_steps_lead_to_the_same() -> None:
    single, joint = a_set((1, 2), (3,)), a_set((1, 2), (3,))
    for step in (("promote", 3), ("voter", 4), ("remove", 2)):
        apply(single, step)
    joint.begin_membership_change(Configuration([1, 3, 4]), fresh)
    assert joint.finalize_membership_change() == {2}
    assert single.to_conf_state() == joint.to_conf_state()


def test_members_are_inserted_once() -> None:
    prs = a_set((1, 2), (3,))
    for insert in (prs.insert_voter, prs.insert_learner):
        with pytest.raises(Exists) as caught:
            insert(3, fresh())
        assert caught.value.set == "learners"
        with pytest.raises(Exists) as caught:
            insert(1, fresh())
        assert caught.value.set == "voters"


def test_only_learners_are_promoted() -> None:
    prs = a_set((1, 2), (3,))
    with pytest.raises(Exists):
        prs.promote_learner(1)
    with pytest.raises(NotExists):
        prs.promote_learner(9)
    progress = prs.get(3)
    prs.promote_learner(3)
    assert prs.get(3) is progress
    assert prs.voter_ids() == {1, 2, 3}


def test_removing_gives_the_progress_back() -> None:
    prs = a_set()
    progress = prs.get_mut(2)
    assert prs.remove(2) is progress
    assert prs.remove(2) is None
    assert prs.get(2) is None


def test_single_steps_are_refused_while_joint() -> None:
    prs = a_set()
    prs.begin_membership_change(Configuration([1]), fresh)
    for call in (
        lambda: prs.insert_voter(9, fresh()),
        lambda: prs.insert_learner(9, fresh()),
        lambda: prs.promote_learner(2),
        lambda: prs.remove(2),
        lambda: prs.begin_membership_change(Configuration([2]), fresh),
        lambda: prs.replace_configuration(Configuration([2]), fresh),
    ):
        with pytest.raises(ViolatesContract):
            call()  # type: ignore[no-untyped-call]


def test_there_is_nothing_to_leave_when_not_joint() -> None:
    prs = a_set()
    with pytest.raises(NoPendingMembershipChange):
        prs.finalize_membership_change()
    with pytest.raises(NoPendingMembershipChange):
        prs.rollback_membership_change()


def test_leaving_tells_who_left() -> None:
    prs = a_set((1, 2), (3,))
    prs.begin_membership_change(Configuration([1, 4], [5]), fresh)
    assert prs.finalize_membership_change() == {2, 3}
    prs.begin_membership_change(Configuration([7], [8]), fresh)
    assert prs.rollback_membership_change() == {7, 8}
    assert prs.configuration == Configuration([1, 4], [5])


def test_an_election_is_judged_by_both_majorities() -> None:
    prs = a_set()
    prs.begin_membership_change(Configuration([3, 4, 5]), fresh)
    assert prs.candidacy_status({1: True, 2: True}) is CandidacyStatus.Eligible
    assert prs.candidacy_status({1: True, 3: True, 4: True}) is CandidacyStatus.Elected
    assert prs.candidacy_status({4: False, 5: False}) is CandidacyStatus.Ineligible
    prs.decide_by_old_alone(True)
    assert prs.candidacy_status({1: True, 2: True}) is CandidacyStatus.Elected


def test_the_commit_index_of_both_majorities() -> None:
    prs = a_set()
    for node_id, matched in ((1, 5), (2, 5), (3, 2)):
        prs.progress[node_id].matched = matched
    assert prs.maximal_committed_index() == (5, False)
    prs.begin_membership_change(Configuration([3, 4, 5]), fresh)
    assert prs.maximal_committed_index() == (0, False)
    prs.progress[4].matched = 4
    assert prs.maximal_committed_index() == (2, False)
    prs.decide_by_old_alone(True)
    assert prs.maximal_committed_index() == (5, False)


def test_the_commit_index_by_groups() -> None:
    prs = a_set()
    prs.group_commit = True
    for node_id, matched, group in ((1, 5, 1), (2, 5, 1), (3, 2, 2)):
        prs.progress[node_id].matched = matched
        prs.progress[node_id].commit_group_id = group
    assert prs.maximal_committed_index() == (2, True)
    prs.progress[3].commit_group_id = 1
    assert prs.maximal_committed_index() == (5, False)
    empty = ProgressSet()
    empty.group_commit = True
    assert empty.maximal_committed_index() == (0, False)


def test_activity_is_counted_and_starts_anew() -> None:
    prs = a_set()
    assert not prs.quorum_recently_active(1)
    prs.progress[2].recent_active = True
    assert prs.quorum_recently_active(1)
    assert not prs.quorum_recently_active(1)
    assert prs.progress[1].recent_active


def test_the_crates_ways_to_make_one() -> None:
    assert ProgressSet.with_capacity(3, 2).ids() == ()
    logger = NullLogger()
    assert ProgressSet.with_logger(logger).voter_ids() == frozenset()
    prs = a_set((2, 1), (3,))
    assert [i for i, _ in prs.iter_mut()] == [1, 2, 3]
    assert [i for i, _ in prs.voters_mut()] == [1, 2]
    assert [i for i, _ in prs.learners_mut()] == [3]
    assert prs.has_quorum([1, 2])
    assert prs.has_quorum({1, 2})
