"""One contract, three storages: what `raft.Storage` promises holds in memory and on disk alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from raft.eraftpb import ConfState, Entry, HardState, Snapshot, SnapshotMetadata
from raft.errors import (
    Compacted,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    Unavailable,
)
from raft.invariant import InvariantViolation
from raft.storage import MemStorage, Storage
from raftd.memory_store import MemoryStore
from raftd.rocks import RocksStore
from raftd.storage import AppliedState, LogStore
from tests.unit.raftd.builders import entries, entry, identity, members


class Subject(Protocol):
    """A storage and the writes that whoever runs the node makes to it."""

    @property
    def storage(self) -> Storage: ...
    def append(self, new: Sequence[Entry]) -> None: ...
    def compact(self, index: int) -> None: ...
    def set_hard_state(self, hard_state: HardState) -> None: ...
    def install(self, metadata: SnapshotMetadata) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class Memory:
    """`raft.MemStorage`."""

    def __init__(self) -> None:
        self.storage: MemStorage = MemStorage()
        with self.storage.wl() as core:
            core.set_conf_state(members())

    def append(self, new: Sequence[Entry]) -> None:
        with self.storage.wl() as core:
            core.append(new)

    def compact(self, index: int) -> None:
        with self.storage.wl() as core:
            core.compact(index)

    def set_hard_state(self, hard_state: HardState) -> None:
        with self.storage.wl() as core:
            core.set_hardstate(hard_state)

    def install(self, metadata: SnapshotMetadata) -> None:
        with self.storage.wl() as core:
            core.apply_snapshot(Snapshot(metadata=metadata))

    def reopen(self) -> None:
        """There is nothing to lose and to find again."""

    def close(self) -> None:
        """There is nothing to close."""


class OnStore:
    """`LogStore`, on a store in memory or on RocksDB."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        kv = MemoryStore() if directory is None else RocksStore.create(directory)
        # A joining node's empty store begins at index 1 as MemStorage does; give it members.
        self.storage: LogStore = LogStore.join(kv, identity())
        batch = self.storage.new_batch()
        self.storage.set_conf_state(batch, members())
        self.storage.write(batch)

    def append(self, new: Sequence[Entry]) -> None:
        batch = self.storage.new_batch()
        self.storage.append(batch, new)
        self.storage.write(batch)
        self.storage.sync()

    def compact(self, index: int) -> None:
        store = self.storage
        batch = store.new_batch()
        if index - 1 > store.applied.index and index - 1 <= store.last_index():
            store.set_applied(batch, AppliedState(index - 1, store.term(index - 1)))
        store.compact(batch, index)
        store.write(batch)

    def set_hard_state(self, hard_state: HardState) -> None:
        batch = self.storage.new_batch()
        self.storage.set_hard_state(batch, hard_state)
        self.storage.write(batch)

    def install(self, metadata: SnapshotMetadata) -> None:
        batch = self.storage.new_batch()
        self.storage.install_snapshot(batch, metadata)
        self.storage.set_applied(batch, AppliedState(metadata.index, metadata.term))
        self.storage.write(batch)

    def reopen(self) -> None:
        self.storage.close()
        kv = self.storage.kv
        if self._directory is not None:
            kv = RocksStore.open(self._directory)
        else:
            assert isinstance(kv, MemoryStore)
            kv = kv.reopen()
        self.storage = LogStore.open(kv)

    def close(self) -> None:
        self.storage.close()


@pytest.fixture(params=["mem", "memory-store", "rocks"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    made: Subject
    directory: Path | None = None
    if request.param == "mem":
        made = Memory()
    elif request.param == "memory-store":
        made = OnStore(None)
    else:
        directory = Path(tempfile.mkdtemp(dir="/tmp"))
        made = OnStore(directory)
    yield made
    made.close()
    if directory is not None:
        shutil.rmtree(directory)


def indexes(found: Sequence[Entry]) -> list[tuple[int, int]]:
    return [(each.index, each.term) for each in found]


def test_fresh_storage_is_empty(subject: Subject) -> None:
    storage = subject.storage
    assert (storage.first_index(), storage.last_index()) == (1, 0)
    assert storage.term(0) == 0
    state = storage.initial_state()
    assert state.hard_state == HardState()
    assert sorted(state.conf_state.voters) == [1, 2, 3]
    assert storage.entries(1, 1) == []


def test_appended_entries_come_back(subject: Subject) -> None:
    new = [entry(1, 1, b"a"), entry(2, 1, b"b"), entry(3, 2, b"c")]
    subject.append(new)
    for _ in range(2):
        storage = subject.storage
        assert storage.last_index() == 3
        assert storage.entries(1, 4) == new
        assert storage.entries(2, 3) == new[1:2]
        assert [storage.term(index) for index in range(4)] == [0, 1, 1, 2]
        subject.reopen()


def test_terms_outside_the_log(subject: Subject) -> None:
    subject.append(entries(1, 6))
    subject.compact(4)
    storage = subject.storage
    assert storage.term(3) == 1
    with pytest.raises(Compacted):
        storage.term(2)
    with pytest.raises(Unavailable):
        storage.term(6)


def test_entries_outside_the_log(subject: Subject) -> None:
    subject.append(entries(1, 6))
    subject.compact(4)
    with pytest.raises(Compacted):
        subject.storage.entries(3, 5)
    with pytest.raises(InvariantViolation):
        subject.storage.entries(4, 7)
    with pytest.raises(InvariantViolation):
        subject.storage.entries(5, 4)


@pytest.mark.parametrize("reopened", [False, True])
def test_max_size_cuts_but_gives_one(subject: Subject, reopened: bool) -> None:
    new = entries(1, 5, size=80)
    subject.append(new)
    if reopened:
        subject.reopen()
    storage = subject.storage
    size = new[0].ByteSize()
    for limit, count in [
        (None, 4),
        (0, 1),
        (1, 1),
        (size, 1),
        (2 * size - 1, 1),
        (2 * size, 2),
        (4 * size, 4),
        (1 << 63, 4),
    ]:
        assert len(storage.entries(1, 5, limit)) == count, limit


def test_a_conflicting_suffix_is_replaced(subject: Subject) -> None:
    subject.append(entries(1, 8, term=1))
    subject.append(entries(4, 6, term=3))
    for _ in range(2):
        storage = subject.storage
        assert indexes(storage.entries(1, 6)) == [(1, 1), (2, 1), (3, 1), (4, 3), (5, 3)]
        assert storage.last_index() == 5
        with pytest.raises(Unavailable):
            storage.term(6)
        subject.reopen()
    # Terms may fall back below a truncated one: only what remains must ascend.
    subject.append(entries(4, 5, term=2))
    assert indexes(subject.storage.entries(3, 5)) == [(3, 1), (4, 2)]


def test_the_whole_log_may_be_replaced(subject: Subject) -> None:
    subject.append(entries(1, 4, term=1))
    subject.append(entries(1, 3, term=2))
    subject.reopen()
    assert indexes(subject.storage.entries(1, 3)) == [(1, 2), (2, 2)]


def test_gaps_and_overwrites_are_refused(subject: Subject) -> None:
    subject.append(entries(1, 6))
    subject.compact(4)
    for wrong in ([entry(7)], [entry(3)], [entry(6), entry(8)]):
        with pytest.raises(InvariantViolation):
            subject.append(wrong)


def test_compaction(subject: Subject) -> None:
    subject.append([*entries(1, 4, term=1), *entries(4, 8, term=2)])
    for index, first in [(0, 1), (1, 1), (3, 3), (2, 3), (5, 5), (8, 8)]:
        subject.compact(index)
        storage = subject.storage
        assert storage.first_index() == first
        assert storage.last_index() == 7
        assert storage.term(first - 1) == (0 if first == 1 else 1 if first <= 4 else 2)
        assert indexes(storage.entries(first, 8)) == [
            (each, 1 if each < 4 else 2) for each in range(first, 8)
        ]
        subject.reopen()
    with pytest.raises(InvariantViolation):
        subject.compact(9)
    subject.append(entries(8, 10, term=5))
    assert indexes(subject.storage.entries(8, 10)) == [(8, 5), (9, 5)]


def test_hard_state_comes_back(subject: Subject) -> None:
    subject.append(entries(1, 4))
    wanted = HardState(term=7, vote=2, commit=3)
    subject.set_hard_state(wanted)
    subject.reopen()
    found = subject.storage.initial_state().hard_state
    assert found == wanted
    # What was returned is the caller's own.
    found.term = 99
    assert subject.storage.initial_state().hard_state == wanted


def snapshot_at(index: int, term: int) -> SnapshotMetadata:
    return SnapshotMetadata(index=index, term=term, conf_state=ConfState(voters=[1, 4]))


def test_a_snapshot_beyond_the_log_replaces_it(subject: Subject) -> None:
    subject.append(entries(1, 4))
    subject.install(snapshot_at(10, 3))
    for _ in range(2):
        storage = subject.storage
        assert (storage.first_index(), storage.last_index()) == (11, 10)
        assert storage.term(10) == 3
        state = storage.initial_state()
        assert list(state.conf_state.voters) == [1, 4]
        assert (state.hard_state.term, state.hard_state.commit) == (3, 10)
        subject.reopen()
    subject.append(entries(11, 13, term=3))
    assert indexes(subject.storage.entries(11, 13)) == [(11, 3), (12, 3)]


def test_a_snapshot_inside_the_log_keeps_what_follows_it(subject: Subject) -> None:
    subject.append(entries(1, 8, term=1))
    subject.install(snapshot_at(5, 1))
    subject.reopen()
    storage = subject.storage
    assert (storage.first_index(), storage.last_index()) == (6, 7)
    assert indexes(storage.entries(6, 8)) == [(6, 1), (7, 1)]


def test_a_snapshot_that_contradicts_the_log_discards_all_of_it(subject: Subject) -> None:
    subject.append(entries(1, 8, term=1))
    subject.install(snapshot_at(5, 2))
    subject.reopen()
    storage = subject.storage
    assert (storage.first_index(), storage.last_index()) == (6, 5)
    assert storage.term(5) == 2


def test_an_old_snapshot_is_refused(subject: Subject) -> None:
    subject.install(snapshot_at(5, 2))
    with pytest.raises(SnapshotOutOfDate):
        subject.install(snapshot_at(4, 2))
    assert subject.storage.last_index() == 5


def test_a_snapshot_never_contradicts_a_committed_entry(subject: Subject) -> None:
    subject.append(entries(1, 8, term=1))
    subject.set_hard_state(HardState(term=1, commit=6))
    with pytest.raises(InvariantViolation):
        subject.install(snapshot_at(5, 2))


def test_snapshot_may_not_be_there_yet(subject: Subject) -> None:
    with pytest.raises(SnapshotTemporarilyUnavailable):
        subject.storage.snapshot(5, 2)
