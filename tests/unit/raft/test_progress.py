"""progress/progress.py: what a leader knows of a follower, and how it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft.invariant import InvariantViolation
from raft.progress import Progress, ProgressState


def progress(
    state: ProgressState = ProgressState.Probe,
    matched: int = 0,
    next_idx: int = 1,
    pending_snapshot: int = 0,
    pending_request_snapshot: int = 0,
) -> Progress:
    """Make the progress of a follower."""
    made = Progress(next_idx, 256)
    made.state = state
    made.matched = matched
    made.pending_snapshot = pending_snapshot
    made.pending_request_snapshot = pending_request_snapshot
    return made


def test_a_new_one() -> None:
    made = Progress(5, 3, 100)
    assert (made.matched, made.next_idx, made.state) == (0, 5, ProgressState.Probe)
    assert (made.paused, made.pending_snapshot, made.pending_request_snapshot) == (False, 0, 0)
    assert (made.recent_active, made.commit_group_id) == (False, 0)
    assert (made.committed_index, made.sent_commit) == (0, 0)
    assert (made.ins.cap, made.ins.max_bytes) == (3, 100)
    assert "matched=0, next_idx=5, state=Probe" in repr(made)


def test_the_states_are_the_crates() -> None:
    assert [state.name for state in ProgressState] == ["Probe", "Replicate", "Snapshot"]


@pytest.mark.parametrize(
    ("made", "next_idx"),
    [
        (progress(ProgressState.Replicate, matched=1, next_idx=5), 2),
        # The snapshot arrived: go on after it.
        (progress(ProgressState.Snapshot, matched=1, next_idx=5, pending_snapshot=10), 11),
        # It failed.
        (progress(ProgressState.Snapshot, matched=1, next_idx=5, pending_snapshot=0), 2),
        (progress(ProgressState.Snapshot, matched=12, next_idx=13, pending_snapshot=10), 13),
    ],
)
def test_become_probe(made: Progress, next_idx: int) -> None:
    made.paused = True
    made.ins.add(4, 9)
    made.become_probe()
    assert (made.state, made.next_idx) == (ProgressState.Probe, next_idx)
    assert (made.paused, made.pending_snapshot, made.ins.count, made.ins.bytes) == (False, 0, 0, 0)


def test_become_replicate() -> None:
    made = progress(matched=1, next_idx=5)
    made.paused = True
    made.become_replicate()
    assert (made.state, made.matched, made.next_idx) == (ProgressState.Replicate, 1, 2)
    assert made.paused is False


def test_become_snapshot() -> None:
    made = progress(ProgressState.Replicate, matched=1, next_idx=5)
    made.ins.add(4)
    made.become_snapshot(10)
    assert (made.state, made.pending_snapshot) == (ProgressState.Snapshot, 10)
    assert (made.matched, made.ins.count) == (1, 0)


def test_a_snapshot_that_failed_is_not_sent_on_from() -> None:
    made = progress(matched=1, next_idx=2)
    made.become_snapshot(10)
    made.snapshot_failure()
    assert made.pending_snapshot == 0
    made.become_probe()
    assert made.next_idx == 2


@pytest.mark.parametrize(
    ("made", "first_index", "wanted"),
    [
        (progress(ProgressState.Snapshot, matched=9, pending_snapshot=10), None, False),
        (progress(ProgressState.Snapshot, matched=10, pending_snapshot=10), None, True),
        (progress(ProgressState.Snapshot, matched=11, pending_snapshot=10), None, True),
        (progress(ProgressState.Replicate, matched=11, pending_snapshot=10), None, False),
        (progress(ProgressState.Probe, matched=11), 1, False),
        # raft#110: any snapshot does that entries can follow.
        (progress(ProgressState.Snapshot, matched=7, pending_snapshot=10), 8, True),
        (progress(ProgressState.Snapshot, matched=7, pending_snapshot=10), 9, False),
    ],
)
def test_maybe_snapshot_abort(made: Progress, first_index: int | None, wanted: bool) -> None:
    assert made.maybe_snapshot_abort(first_index) is wanted


@pytest.mark.parametrize(
    ("index", "matched", "next_idx", "news"),
    [(2, 3, 5, False), (3, 3, 5, False), (4, 4, 5, True), (5, 5, 6, True), (7, 7, 8, True)],
)
def test_maybe_update(index: int, matched: int, next_idx: int, news: bool) -> None:
    made = progress(matched=3, next_idx=5)
    made.pause()
    assert made.maybe_update(index) is news
    assert (made.matched, made.next_idx) == (matched, next_idx)
    # Only news resumes.
    assert made.paused is not news


def test_a_late_answer_still_moves_next_behind_what_is_matched() -> None:
    made = progress(matched=5, next_idx=3)
    assert not made.maybe_update(5)
    assert made.next_idx == 6


@pytest.mark.parametrize(
    ("made", "rejected", "hint", "news", "next_idx"),
    [
        # Replicate: late if at or below what is matched; else back to what is matched.
        (progress(ProgressState.Replicate, 5, 10), 4, 4, False, 10),
        (progress(ProgressState.Replicate, 5, 10), 5, 5, False, 10),
        (progress(ProgressState.Replicate, 5, 10), 9, 9, True, 6),
        # Probe: late unless it answers what was sent last.
        (progress(ProgressState.Probe, 0, 0), 0, 0, False, 0),
        (progress(ProgressState.Probe, 0, 10), 5, 5, False, 10),
        (progress(ProgressState.Probe, 0, 10), 9, 9, True, 9),
        (progress(ProgressState.Probe, 0, 2), 1, 1, True, 1),
        (progress(ProgressState.Probe, 0, 1), 0, 0, True, 1),
        (progress(ProgressState.Probe, 0, 10), 9, 2, True, 3),
        (progress(ProgressState.Probe, 0, 10), 9, 0, True, 1),
    ],
)
def test_maybe_decr_to(made: Progress, rejected: int, hint: int, news: bool, next_idx: int) -> None:
    made.pause()
    assert made.maybe_decr_to(rejected, hint) is news
    assert made.next_idx == next_idx
    if made.state is ProgressState.Probe:
        assert made.paused is not news


def test_next_never_falls_to_what_is_matched() -> None:
    # rs#557: a hint below what is matched made the leader probe entries known to agree, for ever.
    made = progress(matched=7, next_idx=10)
    assert made.maybe_decr_to(9, 2)
    assert made.next_idx == 8


def test_a_request_for_a_snapshot_is_kept_while_replicating() -> None:
    made = progress(ProgressState.Replicate, 5, 10)
    assert made.maybe_decr_to(5, 5, request_snapshot=20)
    assert (made.pending_request_snapshot, made.next_idx) == (20, 10)
    assert not made.maybe_decr_to(4, 4, request_snapshot=30)
    assert made.pending_request_snapshot == 20


def test_a_request_for_a_snapshot_stands_whatever_was_sent() -> None:
    made = progress(ProgressState.Probe, 0, 10)
    made.pause()
    assert made.maybe_decr_to(3, 3, request_snapshot=20)
    assert (made.pending_request_snapshot, made.next_idx, made.paused) == (20, 10, False)
    assert made.maybe_decr_to(3, 3, request_snapshot=30)
    assert made.pending_request_snapshot == 20


@pytest.mark.parametrize(
    ("state", "paused", "full", "wanted"),
    [
        (ProgressState.Probe, False, False, False),
        (ProgressState.Probe, True, False, True),
        (ProgressState.Probe, False, True, False),
        (ProgressState.Replicate, False, False, False),
        (ProgressState.Replicate, True, False, False),
        (ProgressState.Replicate, False, True, True),
        (ProgressState.Snapshot, False, False, True),
        (ProgressState.Snapshot, True, False, True),
    ],
)
def test_is_paused(state: ProgressState, paused: bool, full: bool, wanted: bool) -> None:
    made = Progress(1, 1)
    made.state = state
    if full:
        made.ins.add(1)
    made.paused = paused
    assert made.is_paused() is wanted


def test_pause_and_resume() -> None:
    made = progress()
    made.pause()
    assert made.is_paused()
    made.resume()
    assert not made.is_paused()


def test_update_state() -> None:
    made = progress(ProgressState.Replicate, 1, 2)
    made.update_state(5, 100)
    assert (made.next_idx, made.ins.count, made.ins.bytes) == (6, 1, 100)
    made = progress(ProgressState.Probe, 1, 2)
    made.update_state(5)
    assert (made.next_idx, made.paused, made.ins.count) == (2, True, 0)
    made = progress(ProgressState.Snapshot, 1, 2)
    with pytest.raises(InvariantViolation, match="snapshot"):
        made.update_state(5)


def test_optimistic_update() -> None:
    made = progress(next_idx=2)
    made.optimistic_update(9)
    assert made.next_idx == 10


def test_reset_forgets_all_but_the_commit_group() -> None:
    made = progress(ProgressState.Replicate, 5, 10, pending_request_snapshot=3)
    made.update_state(12, 9)
    made.recent_active = True
    made.commit_group_id = 2
    made.update_committed(5)
    made.reset(20)
    fresh = Progress(20, 256)
    fresh.commit_group_id = 2
    assert repr(made) == repr(fresh)
    assert (made.committed_index, made.sent_commit, made.commit_group_id) == (0, 0, 2)
    assert made.ins.bytes == 0


def test_the_commit_index_the_follower_told_never_falls() -> None:
    made = progress()
    made.update_committed(5)
    made.update_committed(3)
    assert (made.committed_index, made.sent_commit) == (5, 5)


def test_a_commit_that_was_sent_and_may_be_lost_is_sent_again() -> None:
    made = progress(ProgressState.Replicate, matched=4, next_idx=10)
    made.sent_commit = 9
    made.become_probe()
    assert made.sent_commit == 4
    made = progress(ProgressState.Replicate, matched=4, next_idx=10)
    made.sent_commit = 9
    assert made.maybe_decr_to(8, 8)
    assert made.sent_commit == 4
    made = progress(matched=4, next_idx=10)
    made.become_snapshot(7)
    assert made.sent_commit == 7


@given(data=st.data())
def test_next_lies_above_matched_whatever_the_answers(data: st.DataObject) -> None:
    made = Progress(data.draw(st.integers(1, 20)), 4)
    matched = 0
    index = st.integers(0, 20)
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(
            st.sampled_from(["update", "decr", "probe", "replicate", "snapshot", "failure", "sent"])
        )
        if action == "update":
            made.maybe_update(data.draw(index))
        elif action == "decr":
            request = data.draw(st.sampled_from([0, 0, 5]))
            made.maybe_decr_to(data.draw(index), data.draw(index), request)
        elif action == "probe":
            made.become_probe()
        elif action == "replicate":
            made.become_replicate()
        elif action == "snapshot":
            made.become_snapshot(data.draw(st.integers(made.matched + 1, made.matched + 20)))
        elif action == "failure":
            made.snapshot_failure()
        elif made.state is not ProgressState.Snapshot and not made.is_paused():
            last = made.next_idx + data.draw(st.integers(0, 5))
            made.update_state(last, 10)
        made.ins.check()
        assert made.next_idx > made.matched
        assert made.matched >= matched
        matched = made.matched
        if made.state is not ProgressState.Replicate:
            assert made.ins.count == 0
