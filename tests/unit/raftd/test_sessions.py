"""Client keys: bounded by count, age and floor, decided from replicated numbers alone."""

from __future__ import annotations

import random

import pytest

from raftd.kvstore import ColumnFamily, CorruptionError
from raftd.memory_store import MemoryStore
from raftd.sessions import (
    RESULT_BYTES_MAX,
    SWEEP_KEYS,
    SessionCounters,
    SessionRecord,
    Sessions,
)
from raftd.settings import Settings


def table(kv: MemoryStore, counters: SessionCounters | None = None) -> Sessions:
    sessions = Sessions(kv)
    sessions.open(0, counters or SessionCounters())
    return sessions


def write(sessions: Sessions, kv: MemoryStore) -> None:
    batch = kv.new_batch()
    sessions.flush(batch)
    kv.write(batch)
    sessions.settle()


def record(index: int, time_ms: int = 0, result: bytes | None = b"r") -> SessionRecord:
    return SessionRecord(index, 1, time_ms, 1, result)


def test_what_was_recorded_is_found_before_and_after_it_is_written() -> None:
    kv = MemoryStore()
    settings = Settings()
    sessions = table(kv)
    wanted = SessionRecord(5, 2, 77, 2, b"refused")
    sessions.record(b"key", wanted, settings)
    assert sessions.lookup(b"key", 77, settings) == wanted
    write(sessions, kv)
    assert sessions.lookup(b"key", 77, settings) == wanted
    assert table(kv, sessions.counters).lookup(b"key", 77, settings) == wanted
    assert sessions.lookup(b"ke", 77, settings) is None


def test_a_long_result_is_not_kept() -> None:
    kv = MemoryStore()
    sessions = table(kv)
    for size, kept in ((RESULT_BYTES_MAX, True), (RESULT_BYTES_MAX + 1, False)):
        sessions.record(b"%d" % size, record(1, result=b"x" * size), Settings())
        found = sessions.lookup(b"%d" % size, 0, Settings())
        assert found is not None
        assert (found.result is not None) == kept


def test_the_oldest_go_when_there_are_too_many() -> None:
    kv = MemoryStore()
    settings = Settings(sessions_max=10)
    sessions = table(kv)
    for index in range(1, 101):
        sessions.record(b"%d" % index, record(index), settings)
        write(sessions, kv)
        assert len(sessions) == min(index, 10)
    known = [index for index in range(1, 101) if sessions.lookup(b"%d" % index, 0, settings)]
    assert known == list(range(91, 101))
    assert len(list(kv.scan(ColumnFamily.SESSIONS))) == 20


def test_age_makes_a_key_unknown_at_once_and_gone_later() -> None:
    kv = MemoryStore()
    settings = Settings(session_ttl_ms=100)
    sessions = table(kv)
    for index in range(1, 6):
        sessions.record(b"%d" % index, record(index, time_ms=index * 10), settings)
    assert sessions.lookup(b"1", 110, settings) is not None
    assert sessions.lookup(b"1", 111, settings) is None
    assert len(sessions) == 5
    sessions.sweep(135, settings)
    assert len(sessions) == 2
    assert sessions.lookup(b"4", 135, settings) is not None
    unlimited = Settings(session_ttl_ms=0)
    assert sessions.lookup(b"4", 10**15, unlimited) is not None


def test_the_floor_makes_keys_unknown_at_once() -> None:
    kv = MemoryStore()
    settings = Settings()
    sessions = table(kv)
    for index in range(1, 6):
        sessions.record(b"%d" % index, record(index), settings)
    sessions.expire_up_to(3)
    sessions.expire_up_to(2)
    assert [bool(sessions.lookup(b"%d" % index, 0, settings)) for index in range(1, 6)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    sessions.sweep(0, settings)
    assert len(sessions) == 2


def test_a_sweep_is_bounded() -> None:
    kv = MemoryStore()
    sessions = table(kv)
    settings = Settings()
    for index in range(1, 2 * SWEEP_KEYS + 1):
        sessions.record(b"%d" % index, record(index), settings)
    sessions.expire_up_to(10 * SWEEP_KEYS)
    sessions.sweep(0, settings)
    assert len(sessions) == SWEEP_KEYS
    sessions.record(b"new", record(20 * SWEEP_KEYS), settings)
    assert len(sessions) == SWEEP_KEYS - 1


def test_an_expired_key_used_again_outlives_the_sweep_of_its_past() -> None:
    kv = MemoryStore()
    settings = Settings(session_ttl_ms=100)
    sessions = table(kv)
    for index in range(1, 10):
        sessions.record(b"%d" % index, record(index, time_ms=0), settings)
    sessions.record(b"9", record(20, time_ms=500), settings)
    for _ in range(5):
        sessions.sweep(500, settings)
        write(sessions, kv)
    found = sessions.lookup(b"9", 500, settings)
    assert found is not None
    assert found.index == 20
    assert len(sessions) == 1


def test_against_a_model(rng: random.Random) -> None:
    """A dict that never forgets too early and is told what may be forgotten."""
    for _ in range(20):
        kv = MemoryStore()
        settings = Settings(sessions_max=rng.choice([3, 20]), session_ttl_ms=rng.choice([0, 50]))
        sessions = table(kv)
        order: list[tuple[bytes, int, int]] = []
        now = floor = 0
        for index in range(1, 200):
            now += rng.randrange(5)
            action = rng.randrange(10)
            if action == 0:
                floor = max(floor, rng.randrange(index))
                sessions.expire_up_to(floor)
                sessions.sweep(now, settings)
            elif action == 1:
                write(sessions, kv)
                if rng.randrange(2):
                    sessions = table(kv, sessions.counters)
            else:
                key = b"%d" % rng.randrange(40)
                if sessions.lookup(key, now, settings) is None:
                    sessions.record(key, record(index, now), settings)
                    order.append((key, index, now))
            kept = order[-settings.sessions_max :]
            for key in (b"%d" % number for number in range(40)):
                uses = [(at, when) for each, at, when in kept if each == key]
                ttl = settings.session_ttl_ms
                alive = [at for at, when in uses if at > floor and not (ttl and now - when > ttl)]
                found = sessions.lookup(key, now, settings)
                assert (found.index if found else None) == (alive[-1] if alive else None)


def test_a_missing_record_is_corruption() -> None:
    kv = MemoryStore()
    sessions = table(kv, SessionCounters(next=5, oldest=0))
    with pytest.raises(CorruptionError, match="client key number 0"):
        sessions.record(b"k", record(1), Settings(sessions_max=1))


def test_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="sessions_max"):
        Settings(sessions_max=0)
    with pytest.raises(ValueError, match="history_bytes"):
        Settings(history_bytes=-1)
    assert Settings.decode(Settings(history_count=3).encode()) == Settings(history_count=3)
    for damaged in (b"", b"[]", b'{"new": 1}', b'{"sessions_max": 0}'):
        with pytest.raises(CorruptionError):
            Settings.decode(damaged)
