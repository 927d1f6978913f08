"""log_unstable.py: what was received and not stored, and how it leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft.eraftpb import Entry, Snapshot, new_entry, new_snapshot
from raft.invariant import InvariantViolation
from raft.log_unstable import Unstable
from raft.util import entry_size


def entries(*pairs: tuple[int, int]) -> list[Entry]:
    """Make entries from (index, term) pairs."""
    return [new_entry(term, index) for index, term in pairs]


def unstable(
    *pairs: tuple[int, int], offset: int = 0, snapshot: tuple[int, int] | None = None
) -> Unstable:
    """Make an unstable log of (index, term) pairs, after an optional (index, term) snapshot."""
    log = Unstable(pairs[0][0] if pairs else offset)
    if snapshot is not None:
        log.restore(new_snapshot(*snapshot))
    if pairs:
        log.truncate_and_append(entries(*pairs))
    log.check()
    return log


def test_the_first_index_is_known_with_a_snapshot_only() -> None:
    assert unstable((5, 1)).maybe_first_index() is None
    assert unstable(offset=5).maybe_first_index() is None
    assert unstable((5, 1), snapshot=(4, 1)).maybe_first_index() == 5
    assert unstable(snapshot=(4, 1)).maybe_first_index() == 5


def test_the_last_index_is_known_with_entries_or_a_snapshot() -> None:
    assert unstable((5, 1)).maybe_last_index() == 5
    assert unstable((5, 1), snapshot=(4, 1)).maybe_last_index() == 5
    assert unstable(snapshot=(4, 1)).maybe_last_index() == 4
    assert unstable(offset=5).maybe_last_index() is None


@pytest.mark.parametrize(
    ("log", "index", "term"),
    [
        (unstable((5, 1)), 5, 1),
        (unstable((5, 1)), 6, None),
        (unstable((5, 1)), 4, None),
        (unstable((5, 2), snapshot=(4, 1)), 5, 2),
        (unstable((5, 2), snapshot=(4, 1)), 6, None),
        (unstable((5, 2), snapshot=(4, 1)), 4, 1),
        (unstable((5, 2), snapshot=(4, 1)), 3, None),
        (unstable(snapshot=(4, 1)), 5, None),
        (unstable(snapshot=(4, 1)), 4, 1),
        (unstable(offset=5), 5, None),
        (unstable(offset=5), -1, None),
    ],
)
def test_maybe_term(log: Unstable, index: int, term: int | None) -> None:
    assert log.maybe_term(index) == term


def test_restore_takes_the_place_of_everything() -> None:
    log = unstable((5, 1), snapshot=(4, 1))
    snapshot = new_snapshot(6, 2)
    log.restore(snapshot)
    log.check()
    assert log.snapshot is snapshot
    assert (log.offset, log.next_index, log.last_term) == (7, 7, 2)
    assert log.entries == []
    assert len(log) == 0


@pytest.mark.parametrize(
    ("log", "index", "term", "offset", "left"),
    [
        (unstable(offset=0), 5, 1, 0, 0),
        (unstable((5, 1)), 5, 1, 6, 0),
        (unstable((5, 1), (6, 1)), 5, 1, 6, 1),
        (unstable((6, 2)), 6, 1, 6, 1),  # Another entry at the same index.
        (unstable((5, 1)), 4, 1, 5, 1),  # Stable already.
        (unstable((5, 1)), 6, 1, 5, 1),  # Not there yet.
        (unstable((5, 1), snapshot=(4, 1)), 5, 1, 6, 0),
        (unstable((5, 1), (6, 1), snapshot=(4, 1)), 5, 1, 6, 1),
        (unstable((5, 1), snapshot=(4, 1)), 4, 1, 5, 1),  # The snapshot's entry is not one here.
        (unstable((5, 2), snapshot=(4, 1)), 5, 1, 5, 1),
        (unstable((5, 1), (6, 1)), -1, 1, 5, 2),
    ],
)
def test_stable_to(log: Unstable, index: int, term: int, offset: int, left: int) -> None:
    before = len(log)
    assert log.stable_to(index, term) == (left < before)
    log.check()
    assert (log.offset, len(log), len(log.entries)) == (offset, left, left)


def test_a_late_word_of_replaced_entries_stabilizes_nothing() -> None:
    log = unstable((5, 1), (6, 1), (7, 1))
    log.truncate_and_append(entries((6, 2), (7, 2)))
    log.stable_to(7, 1)
    assert (log.offset, len(log)) == (5, 3)
    log.stable_to(5, 1)
    assert log.offset == 6


def test_stable_snap_to() -> None:
    log = unstable(snapshot=(4, 1))
    assert not log.stable_snap_to(5)
    assert not log.stable_snap_to(3)
    assert log.snapshot is not None
    assert log.stable_snap_to(4)
    assert log.snapshot is None
    assert not log.stable_snap_to(4)
    assert (log.offset, log.next_index, log.last_term) == (5, 5, 1)


@pytest.mark.parametrize(
    ("start", "added", "offset", "wanted"),
    [
        # After the end.
        ([(5, 1)], [(6, 1), (7, 1)], 5, [(5, 1), (6, 1), (7, 1)]),
        # In place of all.
        ([(5, 1)], [(5, 2), (6, 2)], 5, [(5, 2), (6, 2)]),
        ([(5, 1)], [(4, 2), (5, 2), (6, 2)], 4, [(4, 2), (5, 2), (6, 2)]),
        ([(5, 1), (6, 1)], [(4, 2)], 4, [(4, 2)]),
        # In place of a part.
        ([(5, 1), (6, 1), (7, 1)], [(6, 2)], 5, [(5, 1), (6, 2)]),
        ([(5, 1), (6, 1), (7, 1)], [(7, 2), (8, 2)], 5, [(5, 1), (6, 1), (7, 2), (8, 2)]),
    ],
)
def test_truncate_and_append(
    start: list[tuple[int, int]],
    added: list[tuple[int, int]],
    offset: int,
    wanted: list[tuple[int, int]],
) -> None:
    log = unstable(*start)
    log.truncate_and_append(entries(*added))
    log.check()
    assert log.offset == offset
    assert log.entries == entries(*wanted)
    assert (log.next_index, log.last_term) == (wanted[-1][0] + 1, wanted[-1][1])


@pytest.mark.parametrize("added", [[(8, 1)], [(6, 1), (8, 1)], [(6, 1), (6, 1)]])
def test_a_gap_is_refused(added: list[tuple[int, int]]) -> None:
    log = unstable((5, 1))
    with pytest.raises(InvariantViolation, match="gap"):
        log.truncate_and_append(entries(*added))
    assert log.entries == entries((5, 1))


def test_what_a_pending_snapshot_covers_is_not_replaced() -> None:
    log = unstable((5, 1), snapshot=(4, 1))
    with pytest.raises(InvariantViolation, match="snapshot"):
        log.truncate_and_append(entries((4, 2)))


def test_stable_entries_that_are_replaced_are_unstable_again() -> None:
    log = unstable((5, 1), (6, 1), (7, 1))
    log.stable_to(6, 1)
    log.truncate_and_append(entries((6, 2)))
    log.check()
    assert (log.offset, log.entries, log.maybe_term(7)) == (6, entries((6, 2)), None)


def test_slice() -> None:
    log = unstable((5, 1), (6, 1), (7, 1))
    size = entry_size(new_entry(1, 5))
    assert log.slice(5, 8) == entries((5, 1), (6, 1), (7, 1))
    assert log.slice(6, 7) == entries((6, 1))
    assert log.slice(8, 8) == []
    assert log.slice(5, 8, 0) == entries((5, 1))
    assert log.slice(5, 8, 2 * size) == entries((5, 1), (6, 1))


@pytest.mark.parametrize(("low", "high"), [(4, 6), (7, 6), (5, 9), (-3, 6), (9, 9), (3, 3)])
def test_a_slice_out_of_range_never_counts_from_the_end(low: int, high: int) -> None:
    # 0.6.0-alpha's arithmetic in Python would take a negative position for one from the end.
    with pytest.raises(InvariantViolation):
        unstable((5, 1), (6, 1), (7, 1)).slice(low, high)


def test_a_slice_is_measured_anew_when_its_entries_were_replaced() -> None:
    log = Unstable(5)
    log.truncate_and_append([new_entry(1, 5), new_entry(1, 6)])
    assert len(log.slice(5, 7, 100)) == 2
    log.truncate_and_append([new_entry(2, 6, b"x" * 100)])
    assert len(log.slice(5, 7, 100)) == 1
    log.restore(new_snapshot(4, 3))
    log.truncate_and_append([new_entry(3, 5), new_entry(3, 6)])
    assert len(log.slice(5, 7, 100)) == 2


def test_taking_entries_off_the_front_takes_no_time_by_what_is_left() -> None:
    log = Unstable(1)
    log.truncate_and_append([new_entry(1, index) for index in range(1, 5001)])
    moved = 0
    for index in range(1, 5001):
        before = len(log._window)
        assert log.stable_to(index, 1)
        if len(log._window) != before:
            moved += len(log._window)
    assert moved < 5000
    assert not log._window
    log.check()


@pytest.mark.parametrize("field", ["next_index", "offset", "last_term"])
def test_check_finds_what_is_out_of_order(field: str) -> None:
    log = unstable((5, 1), (6, 1))
    setattr(log, field, 9)
    with pytest.raises(InvariantViolation, match="out of order"):
        log.check()


@given(data=st.data())
def test_it_behaves_as_a_naive_model(data: st.DataObject) -> None:
    log = Unstable(1)
    offset = 1
    model: list[Entry] = []
    snapshot: Snapshot | None = None
    term = 1
    for _ in range(data.draw(st.integers(1, 20))):
        action = data.draw(
            st.sampled_from(["append", "append", "stable", "restore", "stable_snap"])
        )
        term += data.draw(st.integers(0, 1))
        if action == "append":
            lowest = 1 if snapshot is None else snapshot.metadata.index + 1
            first = data.draw(st.integers(lowest, offset + len(model)))
            added = [new_entry(term, first + i) for i in range(data.draw(st.integers(1, 5)))]
            log.truncate_and_append(added)
            if first < offset:
                offset, model = first, []
            model = model[: first - offset] + added
        elif action == "stable":
            index = data.draw(st.integers(0, offset + len(model) + 1))
            acked = data.draw(st.integers(1, term))
            log.stable_to(index, acked)
            position = index - offset
            if 0 <= position < len(model) and model[position].term == acked:
                offset, model = index + 1, model[position + 1 :]
        elif action == "restore":
            snapshot = new_snapshot(offset + data.draw(st.integers(0, 9)), term)
            log.restore(snapshot)
            offset, model = snapshot.metadata.index + 1, []
        else:
            index = data.draw(st.integers(0, offset + 3))
            log.stable_snap_to(index)
            if snapshot is not None and snapshot.metadata.index == index:
                snapshot = None
        log.check()
        assert (log.offset, log.entries, log.snapshot) == (offset, model, snapshot)
        assert len(log) == len(model)
        assert log.next_index == offset + len(model)
        for position, entry in enumerate(model):
            assert log.maybe_term(offset + position) == entry.term
        low = data.draw(st.integers(0, len(model)))
        high = data.draw(st.integers(low, len(model)))
        assert log.slice(offset + low, offset + high) == model[low:high]
        limited = log.slice(offset + low, offset + high, 8)
        assert limited == model[low : low + len(limited)]
        assert limited or low == high
