"""The simulated disk: what survives a crash is a prefix of the batches, and all that was synced."""

from __future__ import annotations

import pytest

from raftd.kvstore import ColumnFamily, StoreClosed, StoreWriteError
from raftd.memory_store import MemoryStore

STATE = ColumnFamily.STATE


def put(store: MemoryStore, key: bytes, value: bytes) -> None:
    batch = store.new_batch()
    batch.put(STATE, key, value)
    store.write(batch)


def test_a_crash_keeps_a_prefix_of_the_unsynced_batches() -> None:
    for keep in range(4):
        store = MemoryStore()
        put(store, b"a", b"0")
        store.sync()
        put(store, b"a", b"1")
        put(store, b"b", b"2")
        batch = store.new_batch()
        batch.delete_range(STATE, b"a", b"c")
        batch.put(STATE, b"c", b"3")
        store.write(batch)
        assert store.unsynced == 3
        after = store.crash(keep)
        expected = [
            [(b"a", b"0")],
            [(b"a", b"1")],
            [(b"a", b"1"), (b"b", b"2")],
            [(b"c", b"3")],
        ]
        assert list(after.scan(STATE)) == expected[keep]
        assert after.position().sequence == 1 + keep
        with pytest.raises(StoreClosed):
            store.get(STATE, b"a")


def test_side_files_are_durable_at_once() -> None:
    store = MemoryStore()
    store.side_write("x", b"1")
    store.side_write("y", b"1")
    store.side_delete("y")
    after = store.crash()
    assert after.side_read("x") == b"1"
    assert after.side_read("y") is None


def test_a_failed_sync_latches_and_its_batches_may_or_may_not_be_there() -> None:
    for keep in (0, 1):
        store = MemoryStore()
        store.fail_sync = "EIO"
        put(store, b"a", b"1")
        with pytest.raises(StoreWriteError, match="EIO"):
            store.sync()
        store.fail_sync = None
        with pytest.raises(StoreWriteError):
            store.sync()
        with pytest.raises(StoreWriteError):
            put(store, b"b", b"1")
        store.close()
        assert (store.crash(keep).get(STATE, b"a") is not None) == bool(keep)


def test_a_clone_is_independent() -> None:
    store = MemoryStore()
    put(store, b"a", b"1")
    twin = store.clone()
    put(store, b"b", b"1")
    assert twin.get(STATE, b"b") is None
    assert list(twin.crash(0).scan(STATE)) == []
    assert len(list(store.scan(STATE))) == 2


def test_a_view_stays_at_its_moment() -> None:
    store = MemoryStore()
    for key in (b"a", b"b", b"c"):
        put(store, key, b"1")
    view = store.view(STATE)
    put(store, b"b", b"2")
    assert list(view.scan(STATE, b"b", b"c")) == [(b"b", b"1")]
    assert [key for key, _ in view.scan(STATE, b"", b"\xff")] == [b"a", b"b", b"c"]
    view.close()


def test_scan_limits_and_directions() -> None:
    store = MemoryStore()
    for number in (3, 1, 2, 5, 4):
        put(store, b"%d" % number, b"")

    def keys(start: bytes, end: bytes | None, limit: int, reverse: bool) -> bytes:
        found = store.scan(STATE, start, end, limit=limit, reverse=reverse)
        return b"".join(key for key, _ in found)

    assert keys(b"", None, 0, False) == b"12345"
    assert keys(b"2", b"5", 0, True) == b"432"
    assert keys(b"2", None, 2, False) == b"23"
    assert keys(b"2", None, 2, True) == b"54"
    assert keys(b"5", b"2", 0, False) == b""
