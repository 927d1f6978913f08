"""storage.py: the storage in memory keeps what a storage promises, where the crate's does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft import Config, Raft
from raft.eraftpb import (
    ConfState,
    Entry,
    HardState,
    Snapshot,
    SnapshotMetadata,
    new_entry,
    new_snapshot,
)
from raft.errors import (
    Compacted,
    LogTemporarilyUnavailable,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    StorageError,
    Unavailable,
)
from raft.invariant import InvariantViolation
from raft.storage import GetEntriesContext, MemStorage, MemStorageCore, RaftState, Storage
from raft.util import NO_LIMIT, entry_size


def entries(*pairs: tuple[int, int]) -> list[Entry]:
    """Make entries from (index, term) pairs."""
    return [new_entry(term, index) for index, term in pairs]


def storage_345() -> MemStorage:
    """Make a storage that was compacted up to 3 and holds 4 and 5; terms as indexes."""
    storage = MemStorage()
    core = storage.wl()
    core.apply_snapshot(new_snapshot(3, 3, ([1, 2, 3], [])))
    core.append(entries((4, 4), (5, 5)))
    return storage


def test_it_is_a_storage() -> None:
    storage: Storage = MemStorage()
    core: Storage = MemStorageCore()
    assert storage.first_index() == core.first_index() == 1


def test_an_empty_store() -> None:
    storage = MemStorage.new()
    assert (storage.first_index(), storage.last_index(), storage.term(0)) == (1, 0, 0)
    assert storage.entries(1, 1) == []
    state = storage.initial_state()
    assert not state.initialized()
    assert state.hard_state == HardState()
    assert state.pending_conf_state is None
    assert state.pending_conf_state_start_index is None


def test_the_store_of_a_new_group() -> None:
    storage = MemStorage.new_with_conf_state(([1, 2], [3]))
    assert (storage.first_index(), storage.last_index(), storage.term(1)) == (2, 1, 1)
    state = storage.initial_state()
    assert state.initialized()
    assert state.conf_state == ConfState(voters=[1, 2], learners=[3])
    assert state.hard_state == HardState(term=1, commit=1)
    same = MemStorage.new_with_conf_state(ConfState(voters=[1, 2], learners=[3]))
    assert same.initial_state() == state


def test_a_store_is_made_once() -> None:
    storage = MemStorage.new_with_conf_state(([1], []))
    with pytest.raises(InvariantViolation, match="belongs to a group"):
        storage.initialize_with_conf_state(([1], []))
    storage = MemStorage()
    storage.wl().append(entries((1, 1)))
    with pytest.raises(InvariantViolation, match="belongs to a group"):
        storage.initialize_with_conf_state(([1], []))


def test_a_state_is_initialized_by_its_members() -> None:
    assert not RaftState(HardState(term=3), ConfState()).initialized()
    assert RaftState(HardState(), ConfState(learners=[1])).initialized()


def test_rl_and_wl_are_the_core_and_context_managers() -> None:
    storage = MemStorage()
    with storage.wl() as core:
        core.append(entries((1, 1)))
    with storage.rl() as core:
        assert core.last_index() == 1
    assert storage.rl() is storage.wl()


@pytest.mark.parametrize(
    ("index", "wanted"), [(2, Compacted), (3, 3), (4, 4), (5, 5), (6, Unavailable), (-1, Compacted)]
)
def test_term(index: int, wanted: int | type[StorageError]) -> None:
    storage = storage_345()
    if isinstance(wanted, int):
        assert storage.term(index) == wanted
    else:
        with pytest.raises(wanted):
            storage.term(index)


def test_entries_in_a_range_and_a_size() -> None:
    storage = storage_345()
    storage.wl().append(entries((6, 6)))
    size = entry_size(new_entry(4, 4))
    assert storage.entries(4, 4) == []
    assert storage.entries(4, 5) == entries((4, 4))
    assert storage.entries(4, 7) == entries((4, 4), (5, 5), (6, 6))
    assert storage.entries(4, 7, NO_LIMIT) == entries((4, 4), (5, 5), (6, 6))
    assert storage.entries(4, 7, 0) == entries((4, 4))
    assert storage.entries(4, 7, 2 * size) == entries((4, 4), (5, 5))
    assert storage.entries(4, 7, 3 * size - 1) == entries((4, 4), (5, 5))
    assert storage.entries(7, 7) == []
    for low in (2, 3, -1):
        with pytest.raises(Compacted):
            storage.entries(low, 5)
    for low, high in ((4, 8), (6, 5), (8, 8)):
        with pytest.raises(InvariantViolation):
            storage.entries(low, high)


def test_the_list_of_entries_is_the_callers_own_and_the_entries_are_shared() -> None:
    storage = MemStorage()
    entry = new_entry(1, 1)
    storage.wl().append([entry])
    got = storage.entries(1, 2)
    assert got[0] is entry
    got.clear()
    assert storage.entries(1, 2) == [entry]


@pytest.mark.parametrize(
    ("appended", "wanted"),
    [
        ([], [(4, 4), (5, 5)]),
        ([(6, 5)], [(4, 4), (5, 5), (6, 5)]),
        ([(4, 6), (5, 6), (6, 6)], [(4, 6), (5, 6), (6, 6)]),
        ([(4, 7)], [(4, 7)]),
        ([(5, 7), (6, 7)], [(4, 4), (5, 7), (6, 7)]),
    ],
)
def test_append(appended: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> None:
    storage = storage_345()
    storage.wl().append(entries(*appended))
    assert storage.entries(4, storage.last_index() + 1) == entries(*wanted)


@pytest.mark.parametrize(
    "appended", [[(3, 3)], [(2, 2), (3, 3), (4, 4)], [(7, 7)], [(6, 6), (8, 8)], [(6, 6), (6, 6)]]
)
def test_append_refuses_gaps_and_what_was_compacted(appended: list[tuple[int, int]]) -> None:
    storage = storage_345()
    with pytest.raises(InvariantViolation):
        storage.wl().append(entries(*appended))
    assert storage.entries(4, 6) == entries((4, 4), (5, 5))


@pytest.mark.parametrize(
    ("index", "first", "last"), [(0, 4, 5), (3, 4, 5), (4, 4, 5), (5, 5, 5), (6, 6, 5)]
)
def test_compact(index: int, first: int, last: int) -> None:
    storage = storage_345()
    storage.wl().compact(index)
    assert (storage.first_index(), storage.last_index()) == (first, last)
    assert storage.term(first - 1) == first - 1
    with pytest.raises(Compacted):
        storage.term(first - 2)


def test_compact_beyond_the_end_is_refused() -> None:
    with pytest.raises(InvariantViolation, match="beyond the end"):
        storage_345().wl().compact(7)


def test_compacting_all_keeps_the_last_index_and_its_term() -> None:
    storage = MemStorage.new_with_conf_state(([1], []))
    core = storage.wl()
    core.append(entries((2, 1), (3, 2), (4, 2)))
    core.compact(5)
    assert (storage.first_index(), storage.last_index(), storage.term(4)) == (5, 4, 2)
    core.append(entries((5, 3)))
    assert (storage.last_index(), storage.term(5)) == (5, 3)


def test_the_term_before_the_first_entry_stays_known_after_compaction() -> None:
    storage = MemStorage.new_with_conf_state(([1], []))
    core = storage.wl()
    core.append(entries((2, 1), (3, 2), (4, 7)))
    core.compact(4)
    assert storage.term(3) == 2


def test_a_snapshot_is_of_the_commit_index_and_the_term_of_its_entry() -> None:
    storage = storage_345()
    core = storage.wl()
    core.set_hardstate(HardState(term=9, vote=2, commit=4))
    core.set_conf_state(ConfState(voters=[1, 2, 3], learners=[4]))
    snapshot = storage.snapshot(0, 2)
    assert snapshot.metadata == SnapshotMetadata(
        index=4, term=4, conf_state=ConfState(voters=[1, 2, 3], learners=[4])
    )
    assert storage.snapshot(4, 2) == snapshot
    core.compact(6)
    core.commit_to(5)
    assert storage.snapshot(0, 2).metadata.term == 5


def test_a_snapshot_never_lies_below_what_was_requested() -> None:
    storage = storage_345()
    storage.wl().commit_to(4)
    with pytest.raises(SnapshotTemporarilyUnavailable):
        storage.snapshot(5, 1)


def test_a_snapshot_never_lies_above_what_its_configuration_was_applied_at() -> None:
    storage = storage_345()
    core = storage.wl()
    core.commit_to(5)
    core.set_applied(4)
    assert (storage.snapshot(0, 1).metadata.index, storage.snapshot(0, 1).metadata.term) == (4, 4)
    with pytest.raises(SnapshotTemporarilyUnavailable):
        storage.snapshot(5, 1)
    core.set_applied(5)
    assert storage.snapshot(5, 1).metadata.index == 5
    core.apply_snapshot(new_snapshot(9, 9, ([1], [])))
    assert storage.snapshot(0, 1).metadata.index == 9


def test_triggers() -> None:
    storage = storage_345()
    core = storage.wl()
    core.commit_to(5)
    core.trigger_snap_unavailable()
    with pytest.raises(SnapshotTemporarilyUnavailable):
        storage.snapshot(0, 1)
    assert storage.snapshot(0, 1).metadata.index == 5

    core.trigger_log_unavailable()
    context = GetEntriesContext(can_async=True, to=2, term=3)
    with pytest.raises(LogTemporarilyUnavailable):
        storage.entries(4, 6, None, context)
    assert core.take_get_entries_context() == context
    assert core.take_get_entries_context() is None
    for must_answer in (None, GetEntriesContext()):
        assert len(storage.entries(4, 6, None, must_answer)) == 2
    core.trigger_log_unavailable(False)
    assert len(storage.entries(4, 6, None, context)) == 2


def test_applying_a_snapshot() -> None:
    storage = MemStorage.new_with_conf_state(([1], []))
    core = storage.wl()
    core.apply_snapshot(new_snapshot(4, 3, ([1, 2, 3], [])))
    assert (storage.first_index(), storage.last_index(), storage.term(4)) == (5, 4, 3)
    state = storage.initial_state()
    assert state.hard_state == HardState(term=3, commit=4)
    assert state.conf_state == ConfState(voters=[1, 2, 3])
    with pytest.raises(SnapshotOutOfDate):
        core.apply_snapshot(new_snapshot(3, 3, ([9], [])))
    assert storage.initial_state() == state


def test_the_same_snapshot_again_changes_nothing() -> None:
    storage = storage_345()
    before = storage.initial_state()
    storage.wl().apply_snapshot(new_snapshot(3, 3, ([1, 2, 3], [])))
    assert storage.initial_state() == before
    assert storage.entries(4, 6) == entries((4, 4), (5, 5))


def test_a_snapshot_never_lowers_the_term() -> None:
    storage = MemStorage()
    core = storage.wl()
    core.set_hardstate(HardState(term=9, vote=2))
    core.apply_snapshot(new_snapshot(4, 3, ([1, 2], [])))
    assert core.hard_state() == HardState(term=9, vote=2, commit=4)


def test_a_snapshot_that_the_log_agrees_with_keeps_what_follows() -> None:
    storage = storage_345()
    core = storage.wl()
    core.append(entries((6, 5)))
    core.commit_to(6)
    core.apply_snapshot(new_snapshot(5, 5, ([7], [])))
    assert (storage.first_index(), storage.last_index(), storage.term(5)) == (6, 6, 5)
    assert storage.entries(6, 7) == entries((6, 5))
    assert core.hard_state().commit == 6
    assert storage.initial_state().conf_state == ConfState(voters=[7])


def test_a_snapshot_that_the_log_contradicts_drops_what_follows() -> None:
    storage = storage_345()
    core = storage.wl()
    core.append(entries((6, 5)))
    core.apply_snapshot(new_snapshot(5, 6, ([7], [])))
    assert (storage.first_index(), storage.last_index(), storage.term(5)) == (6, 5, 6)


def test_a_snapshot_that_contradicts_a_committed_entry_stops_the_node() -> None:
    storage = storage_345()
    core = storage.wl()
    core.append(entries((6, 5)))
    core.commit_to(6)
    with pytest.raises(InvariantViolation, match="contradicts"):
        core.apply_snapshot(new_snapshot(5, 6, ([7], [])))


def test_commit_to() -> None:
    storage = storage_345()
    core = storage.wl()
    core.set_hardstate(HardState(term=9, vote=1, commit=3))
    core.commit_to(5)
    assert core.hard_state() == HardState(term=9, vote=1, commit=5)
    core.mut_hard_state().term = 1
    core.commit_to(5)
    assert core.hard_state().term == 5
    for index in (2, 6):
        with pytest.raises(InvariantViolation, match="not in the log"):
            core.commit_to(index)


def test_hard_state_is_stored_as_a_copy() -> None:
    storage = MemStorage()
    hard_state = HardState(term=2, vote=1)
    storage.wl().set_hardstate(hard_state)
    hard_state.term = 9
    assert storage.initial_state().hard_state == HardState(term=2, vote=1)
    storage.initial_state().hard_state.term = 9
    assert storage.rl().hard_state() == HardState(term=2, vote=1)


def test_the_pending_state_of_the_alpha_is_set_and_cleared() -> None:
    storage = storage_345()
    core = storage.wl()
    joint = ConfState(voters=[1, 4])
    core.commit_to_and_set_conf_states(5, ConfState(voters=[1, 2, 3]), (joint, 5))
    state = storage.initial_state()
    assert state.pending_conf_state == joint
    assert state.pending_conf_state_start_index == 5
    metadata = storage.snapshot(0, 1).metadata
    assert metadata.pending_membership_change == joint
    assert metadata.pending_membership_change_index == 5

    other = MemStorage()
    other.wl().apply_snapshot(storage.snapshot(0, 1))
    assert other.initial_state().pending_conf_state == joint

    # A snapshot, or a configuration, without one clears it.
    other.wl().apply_snapshot(new_snapshot(6, 6, ([1, 4], [])))
    assert other.initial_state().pending_conf_state is None
    core.commit_to_and_set_conf_states(5)
    assert storage.initial_state().pending_conf_state == joint
    core.set_conf_state(ConfState(voters=[1, 4]))
    assert storage.initial_state().pending_conf_state is None


def test_compacting_often_takes_no_time_by_the_length_of_the_log() -> None:
    storage = MemStorage()
    core = storage.wl()
    core.append([new_entry(1, index) for index in range(1, 5001)])
    moved = 0
    for index in range(2, 5002):
        before = len(core._entries)
        core.compact(index)
        if len(core._entries) != before:
            moved += len(core._entries)
        assert storage.first_index() == index
        assert storage.last_index() == 5000
    assert moved < 5000
    assert not core._entries


class Model:
    """A naive storage: a dict of terms by index, and where it starts."""

    def __init__(self) -> None:
        self.start = 0
        self.terms = {0: 0}

    @property
    def last(self) -> int:
        return max(self.terms)


@given(data=st.data())
def test_it_behaves_as_a_naive_model(data: st.DataObject) -> None:
    core, model = MemStorageCore(), Model()
    term = 1
    for _ in range(data.draw(st.integers(1, 15))):
        action = data.draw(st.sampled_from(["append", "compact", "snapshot"]))
        term += data.draw(st.integers(0, 1))
        if action == "append":
            first = data.draw(st.integers(model.start + 1, model.last + 1))
            count = data.draw(st.integers(0, 5))
            core.append([new_entry(term, first + i) for i in range(count)])
            if count:
                model.terms = {i: t for i, t in model.terms.items() if i < first}
                model.terms |= {first + i: term for i in range(count)}
        elif action == "compact":
            index = data.draw(st.integers(0, model.last + 1))
            core.compact(index)
            if index > model.start + 1:
                model.start = index - 1
        else:
            index = data.draw(st.integers(model.start, model.last + 3))
            agrees = data.draw(st.booleans()) and index in model.terms
            snap_term = model.terms[index] if agrees else term + 1
            core.apply_snapshot(new_snapshot(index, snap_term, ([1], [])))
            if model.terms.get(index) != snap_term:
                model.terms = {index: snap_term}
            model.start = index
            # Nothing committed may be replaced in this model.
            core.mut_hard_state().commit = 0
        model.terms = {i: t for i, t in model.terms.items() if i >= model.start}
        assert core.first_index() == model.start + 1
        assert core.last_index() == model.last
        for index in range(model.start, model.last + 1):
            assert core.term(index) == model.terms[index]
        got = core.entries(model.start + 1, model.last + 1)
        assert [(e.index, e.term) for e in got] == sorted(model.terms.items())[1:]
        with pytest.raises(Compacted):
            core.term(model.start - 1)
        with pytest.raises(Unavailable):
            core.term(model.last + 1)


class Counting(MemStorage):
    """A subclass with methods of its own in place of all that a core asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def initial_state(self) -> RaftState:
        self.asked.append("initial_state")
        return super().initial_state()

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        self.asked.append("entries")
        return super().entries(low, high, max_size, context)

    def term(self, index: int) -> int:
        self.asked.append("term")
        return super().term(index)

    def first_index(self) -> int:
        self.asked.append("first_index")
        return super().first_index()

    def last_index(self) -> int:
        self.asked.append("last_index")
        return super().last_index()

    def snapshot(self, request_index: int = 0, to: int = 0) -> Snapshot:
        snapshot = super().snapshot(request_index, to)
        snapshot.data = b"state"
        return snapshot


def test_a_subclass_may_answer_in_its_own_way() -> None:
    storage = Counting.new_with_conf_state(([1], []))
    with storage.wl() as core:
        core.append([Entry(index=2, term=1)])
        core.set_hardstate(HardState(term=1, commit=2))
    log = Raft(Config(id=1, applied=1), storage).raft_log
    assert [entry.index for entry in log.entries(2)] == [2]
    assert log.term(2) == 1
    assert storage.term(2) == 1
    assert set(storage.asked) == {
        "initial_state",
        "entries",
        "term",
        "first_index",
        "last_index",
    }
    assert log.snapshot(0, 2).data == b"state"
