"""raft_log.py: the log as one node sees it, and the rules that old bugs taught."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.eraftpb import Entry, new_entry, new_snapshot
from raft.errors import (
    Compacted,
    LogTemporarilyUnavailable,
    MessageRefused,
    SnapshotTemporarilyUnavailable,
    Unavailable,
)
from raft.invariant import InvariantViolation
from raft.logger import NullLogger
from raft.raft_log import RaftLog
from raft.storage import GetEntriesContext, MemStorage
from raft.util import NO_LIMIT, entry_size

Log = RaftLog[MemStorage]


def entries(*pairs: tuple[int, int]) -> list[Entry]:
    """Make entries from (index, term) pairs."""
    return [new_entry(term, index) for index, term in pairs]


def terms_of(log: Log) -> list[int]:
    """Return the terms of all entries of the log."""
    return [entry.term for entry in log.all_entries()]


def log_of(*terms: int, unstable: int = 0) -> Log:
    """Make a log from index 1 on with these terms, the last `unstable` of them not stored."""
    storage = MemStorage()
    all_entries = entries(*enumerate(terms, 1))
    stable = len(all_entries) - unstable
    storage.wl().append(all_entries[:stable])
    log = RaftLog(storage)
    log.append(all_entries[stable:])
    return log


def compacted_log(*terms: int, start: int, start_term: int = 1) -> Log:
    """Make a log whose entries begin after a snapshot at `start`."""
    storage = MemStorage()
    storage.wl().apply_snapshot(new_snapshot(start, start_term, ([1], [])))
    storage.wl().append(entries(*enumerate(terms, start + 1)))
    return RaftLog(storage)


def store_unstable(log: Log) -> None:
    """Hand the unstable entries to the storage, as a Ready loop does."""
    unstable = log.unstable_entries()
    if unstable:
        log.store.wl().append(unstable)
        log.stable_entries(unstable[-1].index, unstable[-1].term)


# Where the log is.


def test_a_new_log_knows_only_what_is_applied() -> None:
    log = log_of(1, 1, 2)
    assert (log.committed, log.applied, log.persisted) == (0, 0, 3)
    assert (log.first_index(), log.last_index(), log.last_term()) == (1, 3, 2)
    assert log.unstable.offset == 4
    log = compacted_log(3, 3, start=5, start_term=2)
    assert (log.committed, log.applied, log.persisted) == (5, 5, 7)
    assert (log.first_index(), log.last_index(), log.last_term()) == (6, 7, 3)


def test_an_empty_log() -> None:
    log = log_of()
    assert (log.first_index(), log.last_index(), log.last_term()) == (1, 0, 0)
    assert (log.term(0), log.commit_info()) == (0, (0, 0))
    assert log.match_term(0, 0)
    assert not log.match_term(1, 0)
    assert log.all_entries() == log.unstable_entries() == log.next_entries() == []


def test_repr_tells_where_it_is() -> None:
    assert "last_index=3" in repr(log_of(1, 1, 1))


def test_term_in_all_parts_of_the_log() -> None:
    log = compacted_log(2, 3, start=5, start_term=2)
    log.append(entries((8, 4), (9, 5)))
    assert [log.term(index) for index in range(5, 12)] == [2, 2, 3, 4, 5, 0, 0]


def test_term_of_a_pending_snapshot() -> None:
    log = log_of(1, 1)
    log.restore(new_snapshot(9, 4))
    assert (log.term(9), log.term(10), log.last_term()) == (4, 0, 4)
    with pytest.raises(Compacted):
        log.term(8)
    log.append(entries((10, 5), (11, 6)))
    assert [log.term(index) for index in (9, 10, 11)] == [4, 5, 6]
    # Entries may be stored before the snapshot is told to be.
    log.stable_to(10, 5)
    assert log.term(9) == 4


def test_a_compacted_term_is_never_read_as_0() -> None:
    # raft#31: it was, and a probe then failed or matched wrongly.
    log = compacted_log(3, start=5)
    for index in (4, 0, -1):
        with pytest.raises(Compacted):
            log.term(index)
        assert not log.match_term(index, 0)


def test_a_term_beyond_the_end_matches_nothing_not_even_0() -> None:
    log = log_of(1)
    assert log.term(2) == 0
    assert not log.match_term(2, 0)
    assert not log.maybe_commit(2, 0)


def test_is_up_to_date() -> None:
    # The term in the last entry first, the length only then (never the other way round).
    log = log_of(1, 2, 3)
    for last_index, term, wanted in [
        (2, 4, True),
        (3, 4, True),
        (4, 4, True),
        (2, 2, False),
        (3, 2, False),
        (4, 2, False),
        (2, 3, False),
        (3, 3, True),
        (4, 3, True),
    ]:
        assert log.is_up_to_date(last_index, term) is wanted


# Appending.


@pytest.mark.parametrize(
    ("added", "last", "terms", "offset"),
    [
        ([], 2, [1, 2], 3),
        ([(3, 2)], 3, [1, 2, 2], 3),
        ([(1, 2)], 1, [2], 1),
        ([(2, 3), (3, 3)], 3, [1, 3, 3], 2),
    ],
)
def test_append(added: list[tuple[int, int]], last: int, terms: list[int], offset: int) -> None:
    log = log_of(1, 2)
    assert log.append(entries(*added)) == log.last_index() == last
    assert terms_of(log) == terms
    assert log.unstable.offset == offset
    assert log.last_term() == terms[-1]


def test_append_never_replaces_what_is_committed() -> None:
    log = log_of(1, 2)
    log.commit_to(2)
    with pytest.raises(InvariantViolation, match="committed"):
        log.append(entries((2, 3)))
    assert terms_of(log) == [1, 2]


@pytest.mark.parametrize(
    ("added", "conflict"),
    [
        ([], 0),
        ([(1, 1), (2, 2), (3, 3)], 0),
        ([(2, 2), (3, 3)], 0),
        ([(3, 3)], 0),
        ([(1, 1), (2, 2), (3, 3), (4, 4), (5, 4)], 4),
        ([(2, 2), (3, 3), (4, 4), (5, 4)], 4),
        ([(4, 4), (5, 4)], 4),
        ([(1, 4), (2, 4)], 1),
        ([(2, 1), (3, 4), (4, 4)], 2),
        ([(3, 1), (4, 2), (5, 4)], 3),
    ],
)
@pytest.mark.parametrize("unstable", [0, 1, 2, 3])
def test_find_conflict(added: list[tuple[int, int]], conflict: int, unstable: int) -> None:
    assert log_of(1, 2, 3, unstable=unstable).find_conflict(entries(*added)) == conflict


@pytest.mark.parametrize(
    ("index", "term", "committed", "added", "result", "committed_after", "terms"),
    [
        # The entry before is not there, or is another one.
        (3, 2, 3, [(4, 4)], None, 1, [1, 2, 3]),
        (4, 3, 3, [(5, 4)], None, 1, [1, 2, 3]),
        (4, 0, 3, [(5, 4)], None, 1, [1, 2, 3]),
        # Nothing new.
        (3, 3, 3, [], (0, 3), 3, [1, 2, 3]),
        (3, 3, 2, [], (0, 3), 2, [1, 2, 3]),
        (3, 3, 0, [], (0, 3), 1, [1, 2, 3]),
        (0, 0, 3, [], (0, 0), 1, [1, 2, 3]),
        (1, 1, 3, [(2, 2), (3, 3)], (0, 3), 3, [1, 2, 3]),
        (1, 1, 3, [(2, 2)], (0, 2), 2, [1, 2, 3]),
        # Appended.
        (3, 3, 3, [(4, 4)], (4, 4), 3, [1, 2, 3, 4]),
        (3, 3, 4, [(4, 4)], (4, 4), 4, [1, 2, 3, 4]),
        (3, 3, 4, [(4, 4), (5, 4)], (4, 5), 4, [1, 2, 3, 4, 4]),
        # A leader that committed more than it sent.
        (3, 3, 9, [(4, 4)], (4, 4), 4, [1, 2, 3, 4]),
        (3, 3, 9, [], (0, 3), 3, [1, 2, 3]),
        # Replaced.
        (2, 2, 3, [(3, 4)], (3, 3), 3, [1, 2, 4]),
        (1, 1, 3, [(2, 4)], (2, 2), 2, [1, 4]),
        (1, 1, 3, [(2, 2), (3, 4)], (3, 3), 3, [1, 2, 4]),
        (2, 2, 3, [(3, 3), (4, 4)], (4, 4), 3, [1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("unstable", [0, 1, 3])
def test_maybe_append(
    index: int,
    term: int,
    committed: int,
    added: list[tuple[int, int]],
    result: tuple[int, int] | None,
    committed_after: int,
    terms: list[int],
    unstable: int,
) -> None:
    log = log_of(1, 2, 3, unstable=unstable)
    log.commit_to(1)
    assert log.maybe_append(index, term, committed, entries(*added)) == result
    assert log.committed == committed_after
    assert terms_of(log) == terms


def test_a_leader_that_contradicts_a_committed_entry_stops_the_node() -> None:
    log = log_of(1, 2, 3)
    log.commit_to(2)
    with pytest.raises(InvariantViolation, match="differs from a committed one"):
        log.maybe_append(1, 1, 3, entries((2, 4)))
    assert (terms_of(log), log.committed) == ([1, 2, 3], 2)


@pytest.mark.parametrize(
    "added", [[(5, 3)], [(3, 3)], [(4, 3), (6, 3)], [(4, 3), (4, 3)], [(5, 3), (6, 3)]]
)
def test_entries_out_of_sequence_are_refused_and_change_nothing(
    added: list[tuple[int, int]],
) -> None:
    log = log_of(1, 2, 3)
    with pytest.raises(MessageRefused, match="index 3"):
        log.maybe_append(3, 3, 3, entries(*added))
    assert (terms_of(log), log.committed) == ([1, 2, 3], 0)


def test_a_message_that_arrives_late_takes_nothing_away() -> None:
    # or#9540c904: entries after a matching prefix were dropped, acknowledged ones among them.
    log = log_of(1, 1, 1, 1)
    assert log.maybe_append(1, 1, 0, entries((2, 1))) == (0, 2)
    assert log.maybe_append(1, 1, 0, []) == (0, 1)
    assert terms_of(log) == [1, 1, 1, 1]


def test_a_commit_index_in_an_append_is_capped_at_its_last_entry() -> None:
    # raft#138: what lies beyond in this log may differ from what the leader committed.
    log = log_of(1, 1, 1, 1)
    assert log.maybe_append(1, 1, 4, entries((2, 1))) == (0, 2)
    assert log.committed == 2


def test_a_conflict_is_told_to_the_log_of_events() -> None:
    said: list[dict[str, Any]] = []

    class Listening(NullLogger):
        def info(self, event: str, /, **values: Any) -> None:
            said.append(values)

    storage = MemStorage()
    storage.wl().append(entries((1, 1), (2, 1)))
    log = RaftLog(storage, Listening())
    log.maybe_append(1, 1, 0, entries((2, 2)))
    assert said == [{"index": 2, "leader_term": 2, "last_index": 2}]


@pytest.mark.parametrize(
    ("terms", "index", "term", "wanted"),
    [
        # The cases of etcd's log_test, as facts: (index, term of the other log's end) -> found.
        ([2, 2, 5, 5, 5], 5, 5, (5, 5)),
        ([2, 2, 5, 5, 5], 4, 4, (2, 2)),
        ([2, 2, 5, 5, 5], 5, 4, (2, 2)),
        ([2, 2, 5, 5, 5], 3, 1, (0, 0)),
        ([2, 2, 5, 5, 5], 2, 3, (2, 2)),
        ([2, 2, 5, 5, 5], 0, 0, (0, 0)),
        ([2, 2, 5, 5, 5], 6, 9, (6, 0)),
        ([1, 2, 3, 4, 5, 6, 7], 7, 3, (3, 3)),
    ],
)
def test_find_conflict_by_term(
    terms: list[int], index: int, term: int, wanted: tuple[int, int]
) -> None:
    for unstable in range(len(terms) + 1):
        assert log_of(*terms, unstable=unstable).find_conflict_by_term(index, term) == wanted


def test_find_conflict_by_term_stops_where_terms_are_unknown() -> None:
    log = compacted_log(3, 3, 4, start=10, start_term=3)
    assert log.find_conflict_by_term(13, 3) == (12, 3)
    assert log.find_conflict_by_term(11, 2) == (9, 0)
    assert log.find_conflict_by_term(10, 3) == (10, 3)
    assert log.find_conflict_by_term(10, 1) == (9, 0)
    assert log.find_conflict_by_term(7, 9) == (7, 0)


@given(
    steps=st.lists(st.integers(0, 2), max_size=40),
    term=st.integers(0, 60),
    data=st.data(),
)
def test_find_conflict_by_term_against_a_walk(
    steps: list[int], term: int, data: st.DataObject
) -> None:
    terms = [1 + sum(steps[: i + 1]) for i in range(len(steps))]
    log = log_of(*terms, unstable=data.draw(st.integers(0, len(terms))))
    index = data.draw(st.integers(0, len(terms)))
    walked = index
    while walked > 0 and terms[walked - 1] > term:
        walked -= 1
    assert log.find_conflict_by_term(index, term) == (walked, terms[walked - 1] if walked else 0)


# Committing.


def test_commit_to() -> None:
    log = log_of(1, 2, 3, unstable=1)
    log.commit_to(2)
    log.commit_to(1)
    assert log.committed == 2
    log.commit_to(3)
    with pytest.raises(InvariantViolation, match="beyond the end") as caught:
        log.commit_to(4)
    assert caught.value.numbers == {"index": 4, "last_index": 3}
    assert log.committed == 3


def test_maybe_commit_only_an_entry_of_that_term() -> None:
    # Raft 5.4.2 and figure 8: an older term's entry is not committed by counting.
    log = log_of(1, 2, 2)
    assert not log.maybe_commit(1, 2)
    assert not log.maybe_commit(4, 2)
    assert log.maybe_commit(2, 2)
    assert not log.maybe_commit(2, 2)
    assert not log.maybe_commit(1, 1)
    assert log.committed == 2
    assert log.commit_info() == (2, 2)


def test_commit_info_after_compaction() -> None:
    log = compacted_log(3, start=5, start_term=2)
    assert log.commit_info() == (5, 2)
    log.commit_to(6)
    log.store.wl().compact(7)
    assert log.commit_info() == (6, 3)


def test_commit_info_of_a_log_that_lost_it_stops_the_node() -> None:
    log = log_of(1, 1, 1)
    log.commit_to(1)
    log.store.wl().compact(3)
    with pytest.raises(InvariantViolation, match="gone"):
        log.commit_info()


# Handing over to the storage.


def test_unstable_entries_leave_when_they_are_stored() -> None:
    log = log_of(1, 2, 2, unstable=2)
    assert log.unstable_entries() == entries((2, 2), (3, 2))
    store_unstable(log)
    assert log.unstable_entries() == []
    assert (log.last_index(), log.last_term()) == (3, 2)
    assert terms_of(log) == [1, 2, 2]


def test_entries_appended_meanwhile_stay_unstable() -> None:
    log = log_of(1, unstable=1)
    ready = log.unstable_entries()
    log.append(entries((2, 1)))
    log.store.wl().append(ready)
    log.stable_to(1, 1)
    assert log.unstable_entries() == entries((2, 1))


def test_persisted_follows_the_disk() -> None:
    log = log_of(1, 1, 1, unstable=2)
    assert log.persisted == 1
    # Not handed to the storage yet.
    assert not log.maybe_persist(3, 1)
    store_unstable(log)
    assert log.persisted == 1
    assert log.maybe_persist(2, 1)
    assert not log.maybe_persist(2, 1)
    assert log.maybe_persist(3, 1)
    assert not log.maybe_persist(4, 1)
    assert log.persisted == 3


def test_a_late_word_of_the_disk_about_replaced_entries_is_ignored() -> None:
    # etcd#1690, raft#8, rs#403: it marked a rewritten entry as durable (ABA).
    log = log_of(1, unstable=0)
    log.append(entries((2, 1), (3, 1)))
    store_unstable(log)
    log.maybe_append(1, 1, 0, entries((2, 2), (3, 2)))
    assert not log.maybe_persist(3, 1)
    assert not log.maybe_persist(3, 2)
    store_unstable(log)
    assert not log.maybe_persist(3, 1)
    assert log.persisted == 1
    assert log.maybe_persist(3, 2)
    assert log.persisted == 3


def test_persisted_goes_back_with_what_is_replaced() -> None:
    log = log_of(1, 1, 1)
    assert log.persisted == 3
    log.maybe_append(1, 1, 0, entries((2, 2)))
    assert log.persisted == 1
    # Also when entries are replaced by append itself.
    log = log_of(1, 1, 1)
    log.append(entries((3, 2)))
    assert log.persisted == 2


def test_a_snapshot_sets_persisted_back_and_older_words_are_ignored() -> None:
    # rs#410, rs#417: a word about entries from before raised it beyond the snapshot's.
    log = log_of(1, 1, 1, 1, 1)
    log.commit_to(2)
    log.restore(new_snapshot(4, 2, ([1], [])))
    assert (log.persisted, log.committed) == (2, 4)
    assert not log.maybe_persist(5, 1)
    assert not log.maybe_persist(4, 2)
    log.append(entries((5, 2)))
    pending = log.unstable.snapshot
    assert pending is not None
    log.store.wl().apply_snapshot(pending)
    log.stable_snap(4)
    assert log.maybe_persist_snap(4)
    assert not log.maybe_persist_snap(4)
    assert log.persisted == 4
    store_unstable(log)
    assert not log.maybe_persist(5, 1)
    assert log.maybe_persist(5, 2)
    assert log.persisted == 5


def test_persisting_an_unknown_snapshot_stops_the_node() -> None:
    log = log_of(1, unstable=1)
    with pytest.raises(InvariantViolation, match="snapshot"):
        log.maybe_persist_snap(1)
    log.commit_to(1)
    with pytest.raises(InvariantViolation, match="snapshot"):
        log.maybe_persist_snap(1)


# Snapshots.


def test_restore_takes_the_place_of_the_log() -> None:
    log = log_of(1, 1, 1, unstable=1)
    log.commit_to(1)
    log.restore(new_snapshot(9, 4, ([1], [])))
    assert (log.first_index(), log.last_index(), log.last_term()) == (10, 9, 4)
    assert (log.committed, log.applied, log.unstable.offset) == (9, 0, 10)
    assert log.all_entries() == []
    assert log.next_entries() == []
    for index in (1, 3, 9):
        with pytest.raises(Compacted):
            log.slice(index, 10)
    log.append(entries((10, 5)))
    assert log.slice(10, 11) == entries((10, 5))


def test_a_snapshot_below_the_commit_index_is_never_restored() -> None:
    log = log_of(1, 1, 1)
    log.commit_to(3)
    with pytest.raises(InvariantViolation, match="below the commit index"):
        log.restore(new_snapshot(2, 1))


def test_the_pending_snapshot_is_given_if_it_reaches_far_enough() -> None:
    log = log_of(1, 1)
    log.commit_to(2)
    log.store.wl().commit_to(2)
    assert log.snapshot(0, 2).metadata.index == 2
    log.restore(new_snapshot(9, 4, ([1], [])))
    assert log.snapshot(0, 2).metadata.index == 9
    assert log.snapshot(9, 2).metadata.index == 9
    with pytest.raises(SnapshotTemporarilyUnavailable):
        log.snapshot(10, 2)
    log.stable_snap_to(8)
    assert log.snapshot(9, 2).metadata.index == 9
    log.stable_snap_to(9)
    assert log.snapshot(0, 2).metadata.index == 2


# Applying.


def test_applied_never_goes_back_nor_beyond_the_commit_index() -> None:
    log = log_of(1, 1, 1)
    log.commit_to(2)
    log.applied_to(0)
    assert log.applied == 0
    log.applied_to(2)
    log.applied_to(2)
    for index in (1, 3):
        with pytest.raises(InvariantViolation, match="applied index"):
            log.applied_to(index)
    assert log.applied == 2


def test_next_entries_are_the_committed_ones_not_applied() -> None:
    log = log_of(1, 1, 1, 1)
    assert not log.has_next_entries()
    assert log.next_entries() == []
    log.commit_to(3)
    assert log.has_next_entries()
    assert log.next_entries() == entries((1, 1), (2, 1), (3, 1))
    log.applied_to(1)
    assert log.next_entries() == entries((2, 1), (3, 1))
    assert log.next_entries_since(2) == entries((3, 1))
    assert log.next_entries_since(3) == []
    assert log.has_next_entries_since(2)
    assert not log.has_next_entries_since(3)
    assert log.next_entries_since(0, 0) == entries((1, 1))


def test_next_entries_start_after_a_snapshot() -> None:
    log = log_of(1, 1)
    log.restore(new_snapshot(5, 2, ([1], [])))
    assert not log.has_next_entries()
    log.append(entries((6, 2)))
    log.commit_to(6)
    # Not on the disk yet, so not to be applied yet.
    assert not log.has_next_entries()
    assert log.next_entries() == []
    log.max_apply_unpersisted_log_limit = 100
    assert log.next_entries() == entries((6, 2))


def test_unpersisted_entries_are_applied_only_as_far_as_allowed() -> None:
    log = log_of(1, 1, 1, 1, unstable=3)
    log.commit_to(4)
    assert log.applied_index_upper_bound() == 1
    assert log.next_entries() == entries((1, 1))
    log.max_apply_unpersisted_log_limit = 2
    assert log.applied_index_upper_bound() == 3
    assert [entry.index for entry in log.next_entries()] == [1, 2, 3]
    log.max_apply_unpersisted_log_limit = 9
    assert [entry.index for entry in log.next_entries()] == [1, 2, 3, 4]
    # rs#537, rs#543: what a leader handed out is applied after it stepped down, too.
    log.max_apply_unpersisted_log_limit = 0
    log.applied_to(4)
    assert not log.has_next_entries()


def test_pages_of_committed_entries_leave_no_gap() -> None:
    # etcd 8ecce32, 2e0653d: the next page began after what was asked for, not what was given.
    log = log_of(*[1] * 50, unstable=20)
    log.max_apply_unpersisted_log_limit = 50
    log.commit_to(50)
    since, seen = 0, []
    while log.has_next_entries_since(since):
        page = log.next_entries_since(since, 20)
        assert page
        seen += [entry.index for entry in page]
        since = page[-1].index
    assert seen == list(range(1, 51))


# Reading.


def test_entries_from_an_index_on() -> None:
    log = log_of(1, 1, 1, unstable=1)
    assert log.entries(2) == entries((2, 1), (3, 1))
    assert log.entries(3, NO_LIMIT) == entries((3, 1))
    assert log.entries(1, 0) == entries((1, 1))
    assert log.entries(4) == log.entries(9) == []


@pytest.mark.parametrize("unstable", range(6))
def test_slice_over_both_parts(unstable: int) -> None:
    log = log_of(1, 1, 2, 2, 3, unstable=unstable)
    all_entries = log.all_entries()
    size = entry_size(all_entries[0])
    for low in range(1, 7):
        for high in range(low, 7):
            wanted = all_entries[low - 1 : high - 1]
            assert log.slice(low, high) == wanted
            assert log.slice(low, high, NO_LIMIT) == wanted
            for count in range(5):
                assert log.slice(low, high, count * size) == wanted[: max(count, 1)]
                assert log.slice(low, high, (count + 1) * size - 1) == wanted[: max(count, 1)]


@pytest.mark.parametrize(("low", "high"), [(2, 1), (1, 5), (4, 5), (-1, 5), (3, -1), (5, 5)])
@pytest.mark.parametrize("unstable", [0, 2, 3])
def test_a_slice_out_of_range_never_counts_from_the_end(low: int, high: int, unstable: int) -> None:
    with pytest.raises(InvariantViolation, match="range"):
        log_of(1, 1, 1, unstable=unstable).slice(low, high)


def test_a_slice_below_the_first_index_is_compacted() -> None:
    log = compacted_log(1, 1, 1, start=5)
    for low in (0, 5, -1):
        with pytest.raises(Compacted):
            log.slice(low, 7)
    log.store.wl().compact(8)
    with pytest.raises(Compacted):
        log.slice(7, 8)
    assert log.slice(8, 9) == entries((8, 1))
    assert log.slice(8, 8) == []


def test_the_list_given_is_the_callers_own() -> None:
    for unstable in (0, 2, 3):
        log = log_of(1, 1, 1, unstable=unstable)
        log.slice(1, 4).clear()
        log.unstable_entries().clear()
        assert terms_of(log) == [1, 1, 1]


def test_entries_that_are_being_fetched() -> None:
    log = log_of(1, 1, 1, unstable=1)
    log.store.wl().trigger_log_unavailable()
    context = GetEntriesContext(can_async=True, to=2, term=1)
    with pytest.raises(LogTemporarilyUnavailable):
        log.entries(1, None, context)
    assert len(log.entries(1)) == 3
    assert log.entries(3, None, context) == entries((3, 1))


def test_a_storage_that_lost_entries_stops_the_node() -> None:
    def lost(*_: object) -> Any:
        raise Unavailable

    def none(*_: object) -> Any:
        return []

    log = log_of(1, 1, 1, unstable=1)
    storage: Any = log.store
    storage.term = lost
    storage.entries = lost
    with pytest.raises(InvariantViolation, match="does not have"):
        log.term(1)
    with pytest.raises(InvariantViolation, match="does not have"):
        log.slice(1, 3)
    storage.entries = none
    with pytest.raises(InvariantViolation, match="does not have"):
        list(log.scan(1, 3, 100))


def test_all_entries_asks_again_when_the_log_was_compacted_meanwhile() -> None:
    log = log_of(1, 1, 1)
    first_index = log.store.first_index
    calls = []

    def compacting_first_index() -> int:
        first = first_index()
        calls.append(first)
        if len(calls) == 1:
            log.store.wl().compact(3)
        return first

    log.store.first_index = compacting_first_index
    assert log.all_entries() == entries((3, 1))


@pytest.mark.parametrize("unstable", [0, 5, 20])
@pytest.mark.parametrize("page", [0, 5, 30, 10_000])
def test_scan_pages_over_a_range(unstable: int, page: int) -> None:
    # raft#32, rs#530: looking for membership entries loaded all that was not applied.
    log = log_of(*[1] * 20, unstable=unstable)
    pages = list(log.scan(3, 19, page))
    assert all(pages)
    assert [entry.index for part in pages for entry in part] == list(range(3, 19))
    size = entry_size(new_entry(1, 1))
    assert all(len(part) <= max(page // size, 1) for part in pages)
    assert list(log.scan(3, 3, page)) == []


# Against a naive model.


class Model:
    """A log as one list of terms, from index 1 on, that is never compacted."""

    def __init__(self) -> None:
        self.terms: list[int] = []
        self.committed = 0
        self.applied = 0
        self.durable: list[int] = []

    @property
    def persisted(self) -> int:
        """How much of the log is on the disk as it is now."""
        count = 0
        for ours, disk in zip(self.terms, self.durable, strict=False):
            if ours != disk:
                break
            count += 1
        return count

    def maybe_append(
        self, index: int, term: int, committed: int, terms: list[int]
    ) -> tuple[int, int] | None:
        if index > len(self.terms) or (self.terms[index - 1] if index else 0) != term:
            return None
        conflict = 0
        for offset, new in enumerate(terms):
            position = index + offset
            if position >= len(self.terms) or self.terms[position] != new:
                self.terms[position:] = terms[offset:]
                conflict = position + 1
                break
        self.committed = max(self.committed, min(committed, index + len(terms)))
        return conflict, index + len(terms)


@settings(max_examples=300)
@given(data=st.data())
def test_it_behaves_as_a_naive_model(data: st.DataObject) -> None:
    storage = MemStorage()
    log, model = RaftLog(storage), Model()
    term = 1
    in_flight: list[tuple[int, int, list[int]]] = []
    for _ in range(data.draw(st.integers(1, 25))):
        term += data.draw(st.integers(0, 1))
        action = data.draw(
            st.sampled_from(
                ["append", "receive", "receive", "store", "synced", "commit", "apply", "compact"]
            )
        )
        if action == "append":
            count = data.draw(st.integers(0, 4))
            first = len(model.terms) + 1
            assert log.append([new_entry(term, first + i) for i in range(count)]) == (
                len(model.terms) + count
            )
            model.terms += [term] * count
        elif action == "receive":
            index = data.draw(st.integers(model.committed, len(model.terms) + 1))
            in_log = model.terms[index - 1] if 0 < index <= len(model.terms) else 0
            prev = data.draw(st.sampled_from([in_log, in_log, term]))
            keep = data.draw(st.integers(0, 3))
            added = model.terms[index : index + keep]
            added += [max([term, *added])] * data.draw(st.integers(0, 3))
            committed = data.draw(st.integers(0, len(model.terms) + 2))
            sent = [new_entry(t, index + 1 + i) for i, t in enumerate(added)]
            got = log.maybe_append(index, prev, committed, sent)
            assert got == model.maybe_append(index, prev, committed, added)
        elif action == "store":
            unstable = log.unstable_entries()
            if unstable:
                storage.wl().append(unstable)
                last = unstable[-1]
                log.stable_entries(last.index, last.term)
                in_flight.append((last.index, last.term, list(model.terms)))
        elif action == "synced" and in_flight:
            # The disk's words arrive in order, perhaps long after entries were replaced.
            index, acked, model.durable = in_flight.pop(0)
            log.maybe_persist(index, acked)
        elif action == "commit":
            index = data.draw(st.integers(0, len(model.terms) + 1))
            asked = data.draw(st.integers(0, term))
            good = model.committed < index <= len(model.terms) and model.terms[index - 1] == asked
            assert log.maybe_commit(index, asked) is good
            if good:
                model.committed = index
        elif action == "apply":
            got_entries = log.next_entries(data.draw(st.sampled_from([None, 0, 10, NO_LIMIT])))
            if got_entries:
                assert got_entries[0].index == model.applied + 1
                model.applied = got_entries[-1].index
                assert model.applied <= min(model.committed, log.persisted)
                log.applied_to(model.applied)
        elif action == "compact":
            bound = min(model.applied, log.unstable.offset - 1) + 1
            storage.wl().compact(data.draw(st.integers(0, bound)))

        log.unstable.check()
        first = log.first_index()
        assert (log.last_index(), log.committed) == (len(model.terms), model.committed)
        assert log.last_term() == (model.terms[-1] if model.terms else 0)
        assert log.applied == model.applied
        # What is said to be on the disk is there, and is what is in the log now.
        assert log.persisted <= model.persisted
        assert [e.term for e in log.all_entries()] == model.terms[first - 1 :]
        for index in range(first, len(model.terms) + 1):
            assert log.term(index) == model.terms[index - 1]
        high = min(model.committed, log.persisted)
        assert log.has_next_entries() is (high > model.applied)
        assert [e.index for e in log.next_entries()] == list(range(model.applied + 1, high + 1))
