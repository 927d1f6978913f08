"""The log on its store: identity, bounds, cache, and a crash at every step of an append."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from raft.eraftpb import ConfState, HardState
from raft.errors import Compacted, Unavailable
from raft.invariant import InvariantViolation
from raft.util import fitting_count
from raftd import keys, log_tail, storage
from raftd.identity import (
    AlreadyInitialized,
    Identity,
    IdentityError,
    MissingMeta,
    NotInitialized,
    RegressedError,
    WrongCluster,
    WrongNode,
    WrongStateMachine,
)
from raftd.kvstore import Batch, ColumnFamily, CorruptionError
from raftd.memory_store import MemoryStore
from raftd.settings import Settings
from raftd.storage import AppliedState, LogStore
from tests.unit.raftd.builders import (
    ADDRESSES,
    CLUSTER,
    bootstrap,
    entries,
    entry,
    identity,
    members,
)

LOG = ColumnFamily.LOG
META = ColumnFamily.META


class PowerCut(Exception):
    """The simulated machine lost its power."""


def memory(store: LogStore) -> MemoryStore:
    assert isinstance(store.kv, MemoryStore)
    return store.kv


def write(store: LogStore, *changes: Callable[[Batch], None]) -> None:
    batch = store.new_batch()
    for change in changes:
        change(batch)
    store.write(batch)


def appended(store: LogStore, low: int, high: int, term: int = 1, size: int = 8) -> None:
    write(store, lambda batch: store.append(batch, entries(low, high, term, size)))


# -- making and opening ----------------------------------------------------------------------------


def test_a_group_begins_at_index_one() -> None:
    store = bootstrap(settings=Settings(sessions_max=5))
    assert (store.first_index(), store.last_index(), store.term(1)) == (2, 1, 1)
    state = store.initial_state()
    assert state.hard_state == HardState(term=1, commit=1)
    assert list(state.conf_state.voters) == [1, 2, 3]
    assert (store.applied.index, store.applied.term) == (1, 1)
    assert store.load_addresses() == ADDRESSES
    assert store.load_settings() == Settings(sessions_max=5)
    assert store.load_epoch() == 0
    assert store.opens == 1


def test_a_joining_node_begins_empty() -> None:
    store = LogStore.join(MemoryStore(), identity(4))
    assert (store.first_index(), store.last_index(), store.term(0)) == (1, 0, 0)
    state = store.initial_state()
    assert state.hard_state == HardState()
    assert not state.initialized()


def test_bootstrap_needs_the_node_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="not in the group's first configuration"):
        LogStore.bootstrap(MemoryStore(), identity(4), members(1, 2), {})


def test_making_survives_a_crash_right_after() -> None:
    kv = memory(bootstrap()).crash(0)
    store = LogStore.open(kv, node_id=1, cluster_id=CLUSTER, state_machine="log")
    assert store.last_index() == 1
    assert store.opens == 2


def test_a_crash_while_making_leaves_a_node_or_none() -> None:
    outcomes = set()
    for stop in range(12):
        kv = MemoryStore()
        cut_at(kv, stop)
        try:
            bootstrap(kv)
        except PowerCut:
            pass
        else:
            break
        for keep in range(kv.unsynced + 1):
            found = kv.clone().crash(keep)
            if found.side_read("identity") is None:
                outcomes.add("none")
                continue
            outcomes.add("node")
            store = LogStore.open(found)
            assert (store.last_index(), store.hard_state.commit) == (1, 1)
    else:
        raise AssertionError("never finished")
    assert outcomes == {"none", "node"}


def cut_at(kv: MemoryStore, stop: int) -> None:
    """Cut the power right before the disk's step number ``stop`` from now."""
    left = stop

    def step(name: str) -> None:
        nonlocal left
        if left == 0:
            raise PowerCut(name)
        left -= 1

    kv.on_step = step


def test_opening_compares_identities() -> None:
    kv = memory(bootstrap())
    with pytest.raises(WrongNode, match="--id 1"):
        LogStore.open(kv, node_id=2)
    with pytest.raises(WrongCluster):
        LogStore.open(kv, cluster_id=b"f" * 16)
    with pytest.raises(WrongStateMachine, match="log"):
        LogStore.open(kv, state_machine="kv")
    with pytest.raises(AlreadyInitialized):
        LogStore.join(kv, identity())
    with pytest.raises(NotInitialized):
        LogStore.open(MemoryStore())


def test_identity_checks_its_fields() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Identity(b"short", 1, "log")
    for wrong in (0, 2**53):
        with pytest.raises(ValueError, match="node id"):
            Identity(CLUSTER, wrong, "log")
    assert issubclass(RegressedError, IdentityError)


@pytest.mark.parametrize(
    "key",
    [
        keys.IDENTITY,
        keys.HARD_STATE,
        keys.CONF_STATE,
        keys.TRUNCATED,
        keys.APPLIED,
        keys.OPENS,
    ],
)
def test_missing_and_damaged_records_are_refused(key: bytes) -> None:
    kv = memory(bootstrap())
    damaged = kv.clone()
    damaged.corrupt(META, key, bit=33 if key != keys.OPENS else 70)
    with pytest.raises(CorruptionError, match="checksum"):
        LogStore.open(damaged)
    batch = kv.new_batch()
    batch.delete(META, key)
    kv.write(batch)
    with pytest.raises(MissingMeta):
        LogStore.open(kv)


def test_read_only_opening_changes_nothing() -> None:
    kv = memory(bootstrap())
    before = kv.clone()
    LogStore.open(kv, read_only=True)
    assert list(kv.scan(META)) == list(before.scan(META))
    assert kv.side_read("bounds") == before.side_read("bounds")


# -- what was lost shows ---------------------------------------------------------------------------


def rolled_back(before: MemoryStore, after: MemoryStore) -> MemoryStore:
    """Return the database of ``before`` with the side files of ``after``."""
    mixed = before.clone().crash(before.unsynced)
    for name in ("identity", "bounds"):
        data = after.side_read(name)
        assert data is not None
        mixed.side_write(name, data)
    return mixed


def test_a_forgotten_vote_is_noticed() -> None:
    store = bootstrap()
    before = memory(store).clone()
    write(store, lambda batch: store.set_hard_state(batch, HardState(term=2, vote=3, commit=1)))
    store.sync()
    with pytest.raises(RegressedError, match="term 1, was 2"):
        LogStore.open(rolled_back(before, memory(store)))


def test_a_changed_vote_is_noticed() -> None:
    store = bootstrap()
    twin = LogStore.open(memory(store).clone(), read_only=True)
    for each, vote in ((store, 3), (twin, 2)):
        hard_state = HardState(term=2, vote=vote, commit=1)
        batch = each.new_batch()
        each.set_hard_state(batch, hard_state)
        each.write(batch)
    store.sync()
    with pytest.raises(RegressedError, match="vote 2 in term 2, was 3"):
        LogStore.open(rolled_back(memory(twin), memory(store)))


def test_lost_entries_are_noticed() -> None:
    store = bootstrap()
    appended(store, 2, 10)
    store.sync()
    before = memory(store).clone()
    for low in range(10, 10 + 2 * storage.BOUNDS_EVERY, 512):
        appended(store, low, low + 512)
        store.sync()
    with pytest.raises(RegressedError, match="write sequence"):
        LogStore.open(rolled_back(before, memory(store)))


def test_a_clean_stop_leaves_exact_bounds() -> None:
    store = bootstrap()
    before = memory(store).clone()
    appended(store, 2, 3)
    kv = memory(store)
    store.close()
    with pytest.raises(RegressedError):
        LogStore.open(rolled_back(before, kv))
    assert LogStore.open(kv.reopen()).last_index() == 2


def test_bounds_never_claim_what_is_not_durable(rng: random.Random) -> None:
    """Whatever is lost behind the last sync or was truncated, a crash is no regression."""
    for _ in range(60):
        store = bootstrap()
        term, synced = 1, (1, 0, 1)
        for _ in range(rng.randrange(1, 12)):
            action = rng.randrange(4)
            if action == 0:
                low = rng.randrange(max(2, store.hard_state.commit + 1), store.last_index() + 2)
                appended(store, low, low + rng.choice([1, 5, 6000]), term)
            elif action == 1:
                term += 1
                commit = rng.randrange(store.hard_state.commit, store.last_index() + 1)
                hard_state = HardState(term=term, vote=rng.randrange(4), commit=commit)
                batch = store.new_batch()
                store.set_hard_state(batch, hard_state)
                store.write(batch)
            else:
                store.sync()
                hard_state = store.hard_state
                synced = (hard_state.term, hard_state.vote, hard_state.commit)
        kv = memory(store)
        found = LogStore.open(kv.crash(rng.randrange(kv.unsynced + 1)))
        assert (found.hard_state.term, found.hard_state.commit) >= (synced[0], 0)
        assert found.hard_state.commit >= synced[2]


# -- reading ---------------------------------------------------------------------------------------


def test_damaged_entries_are_never_returned() -> None:
    store = bootstrap()
    appended(store, 2, 40)
    appended(store, 40, 60, term=2)
    store.close()
    kv = memory(store).reopen()
    for index in (2, 30, 59):
        damaged = kv.clone()
        damaged.corrupt(LOG, keys.log_key(index), bit=50)
        with pytest.raises(CorruptionError, match=f"entry {index} "):
            LogStore.open(damaged)
    # Outside the part that is checked at start it is found when it is read.
    damaged = kv.clone()
    damaged.corrupt(LOG, keys.log_key(25), bit=50)
    store = LogStore.open(damaged, verify_entries=5)
    assert len(store.entries(40, 60)) == 20
    with pytest.raises(CorruptionError, match="entry 25 "):
        store.entries(20, 60)
    assert len(store.entries(20, 25)) == 5
    report = store.check()
    assert not report.ok
    assert "entry 25 " in report.problems[0]


def test_an_entry_in_anothers_place_is_noticed() -> None:
    kv = memory(bootstrap())
    store = LogStore.open(kv)
    appended(store, 2, 6)
    moved = kv.get(LOG, keys.log_key(3))
    assert moved is not None
    batch = kv.new_batch()
    batch.put(LOG, keys.log_key(4), moved)
    kv.write(batch)
    with pytest.raises(CorruptionError, match="entry 4 "):
        LogStore.open(kv)


@pytest.mark.parametrize("missing", [2, 5, 9])
def test_a_hole_is_noticed(missing: int) -> None:
    kv = memory(bootstrap())
    appended(LogStore.open(kv), 2, 10)
    batch = kv.new_batch()
    batch.delete(LOG, keys.log_key(missing))
    batch.put(META, keys.HARD_STATE, keys.seal(HardState(term=1, commit=9).SerializeToString()))
    kv.write(batch)
    with pytest.raises(CorruptionError):
        LogStore.open(kv)


def test_keys_that_are_no_index_are_refused() -> None:
    kv = memory(bootstrap())
    batch = kv.new_batch()
    batch.put(LOG, b"odd", b"")
    kv.write(batch)
    with pytest.raises(CorruptionError, match="3 bytes instead of 8"):
        LogStore.open(kv)


def test_applied_beyond_the_log_is_refused() -> None:
    kv = memory(bootstrap())
    batch = kv.new_batch()
    batch.put(META, keys.APPLIED, keys.seal(AppliedState(index=5, term=1).encode()))
    kv.write(batch)
    with pytest.raises(CorruptionError, match="index 5 is applied"):
        LogStore.open(kv)


def test_the_commit_index_is_never_below_the_applied_one() -> None:
    store = bootstrap()
    appended(store, 2, 6)
    write(store, lambda batch: store.set_applied(batch, AppliedState(index=4, term=1)))
    store.close()
    found = LogStore.open(memory(store).reopen())
    assert found.initial_state().hard_state.commit == 4


def test_the_cache_is_bounded_and_reads_go_on_from_disk() -> None:
    store = bootstrap()
    for low in range(2, 20_002, 500):
        appended(store, low, low + 500, size=160)
    assert len(store._tail.entries) <= log_tail.TAIL_ENTRIES
    reads: list[int] = []
    plain = store.iterate

    def counted(low: int, high: int) -> object:
        reads.append(high - low)
        return plain(low, high)

    store.iterate = counted  # type: ignore[method-assign, assignment]
    assert [each.index for each in store.entries(19_000, 20_002)] == list(range(19_000, 20_002))
    assert reads == []
    border = store._tail.first
    across = store.entries(border - 5, border + 5)
    assert [each.index for each in across] == list(range(border - 5, border + 5))
    size = across[0].ByteSize()
    assert len(store.entries(border - 5, border + 5, 5 * size)) == 5
    assert len(store.entries(border - 5, border + 5, 7 * size)) == 7
    assert len(store.entries(border - 5, border + 5, 6 * size - 1)) == 5
    assert len(store.entries(border - 1, border + 5, 0)) == 1


def test_large_entries_leave_the_cache_early() -> None:
    store = bootstrap()
    for low in range(2, 42):
        appended(store, low, low + 1, size=1 << 20)
    assert store._tail.bytes <= log_tail.TAIL_BYTES
    assert store._tail.bytes == sum(each.ByteSize() for each in store._tail.entries)
    assert [each.index for each in store.entries(2, 42)] == list(range(2, 42))


def test_what_is_cached_matches_the_disk_after_any_history(rng: random.Random) -> None:
    for _ in range(25):
        store = bootstrap()
        model = {1: 1}
        first, term = 2, 1
        for _ in range(30):
            action = rng.randrange(6)
            last = max(model)
            if action <= 2:
                low = rng.randrange(max(first, store.applied.index + 1), last + 2)
                count = rng.randrange(1, 40)
                term = max(model[low - 1], rng.randrange(model[low - 1], model[low - 1] + 3))
                appended(store, low, low + count, term)
                model = {index: each for index, each in model.items() if index < low}
                model.update(dict.fromkeys(range(low, low + count), term))
            elif action == 3:
                index = rng.randrange(store.applied.index, last + 1)
                state = AppliedState(index=index, term=model[index])
                batch = store.new_batch()
                store.set_applied(batch, state)
                store.write(batch)
            elif action == 4:
                index = rng.randrange(first, store.applied.index + 2)
                batch = store.new_batch()
                store.compact(batch, index)
                store.write(batch)
                first = index
                model = {each: value for each, value in model.items() if each >= first - 1}
            else:
                # A new object sees the same; the bounds are made to fit what is durable.
                store.sync()
                store = LogStore.open(memory(store).crash(0), verify_entries=rng.choice([3, 4096]))
            assert (store.first_index(), store.last_index()) == (first, max(model))
            for index, expected in model.items():
                assert store.term(index) == expected
            found = store.entries(first, max(model) + 1)
            assert [(each.index, each.term) for each in found] == [
                (index, model[index]) for index in range(first, max(model) + 1)
            ]
            with pytest.raises(Compacted):
                store.term(first - 2)
            with pytest.raises(Unavailable):
                store.term(max(model) + 1)


# -- writing ---------------------------------------------------------------------------------------


def test_applied_entries_are_not_overwritten_nor_unapplied_compacted() -> None:
    store = bootstrap()
    appended(store, 2, 8)
    write(store, lambda batch: store.set_applied(batch, AppliedState(index=4, term=1)))
    batch = store.new_batch()
    with pytest.raises(InvariantViolation):
        store.append(batch, [entry(4, 2)])
    with pytest.raises(InvariantViolation):
        store.compact(batch, 6)
    with pytest.raises(InvariantViolation):
        store.set_applied(batch, AppliedState(index=3, term=1))


def test_a_crash_at_every_step_of_appends_leaves_a_prefix() -> None:
    """What was synced is there; what is there was written, whole Readys at a time."""

    def work(store: LogStore, done: list[tuple[int, int, int]]) -> None:
        # The fifth replaces an entry of the fourth.
        for number, low in enumerate([2, 5, 8, 11, 13, 16]):
            term = 1 + number // 2
            batch = store.new_batch()
            store.append(batch, entries(low, low + 3, term))
            hard_state = HardState(term=term, vote=number, commit=low - 1)
            store.set_hard_state(batch, hard_state)
            store.write(batch)
            if number % 2:
                store.sync()
                done.append((store.last_index(), term, hard_state.commit))

    finished = False
    for stop in range(200):
        store = bootstrap()
        kv = memory(store)
        done: list[tuple[int, int, int]] = [(1, 1, 1)]
        cut_at(kv, stop)
        try:
            work(store, done)
            finished = True
        except PowerCut:
            pass
        for keep in range(kv.unsynced + 1):
            found = LogStore.open(kv.clone().crash(keep))
            last, term, commit = done[-1]
            assert found.last_index() >= last
            assert found.hard_state.term >= term
            assert found.hard_state.commit >= commit
            # Entries and hard state of one Ready are there together.
            assert found.last_index() in {1, found.hard_state.commit + 3}
            assert found.check().ok
        if finished:
            break
    assert finished


def test_a_failed_sync_is_not_an_acknowledgement() -> None:
    store = bootstrap()
    appended(store, 2, 4)
    memory(store).fail_sync = "EIO"
    for _ in range(2):
        with pytest.raises(Exception, match="EIO"):
            store.sync()
    store.close()
    assert LogStore.open(memory(store).crash(0)).last_index() == 1


def test_configuration_comes_back() -> None:
    store = bootstrap()
    wanted = ConfState(voters=[1, 2], voters_outgoing=[1, 2, 3], learners=[4], begin_index=9)
    write(
        store,
        lambda batch: store.set_conf_state(batch, wanted),
        lambda batch: store.set_addresses(batch, {1: "a", 4: "d"}),
    )
    store.close()
    found = LogStore.open(memory(store).reopen())
    assert found.conf_state == wanted
    assert found.load_addresses() == {1: "a", 4: "d"}


@pytest.mark.parametrize("max_size", [None, 0, 1, 30, 64, 65, 100, 10_000])
def test_what_the_tail_returns_fits_as_what_the_core_measures(max_size: int | None) -> None:
    listed = [entry(index, data=b"x" * (index % 7)) for index in range(1, 30)]
    tail = log_tail.Tail()
    tail.load([(one, one.ByteSize()) for one in reversed(listed)], 30)
    for low in (1, 5, 29):
        count = fitting_count(listed, low - 1, 29, max_size)
        assert tail.read(low, 30, max_size) == listed[low - 1 : low - 1 + count]
