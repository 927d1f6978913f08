"""The bounded history, and the machine `log` that is one."""

from __future__ import annotations

import json
import random

import pytest

from raftd.applier import Applier, Context, StateReader
from raftd.kvstore import ColumnFamily, CorruptionError
from raftd.machines import journal as journal_module
from raftd.machines.journal import Journal
from raftd.machines.log import LogMachine
from raftd.memory_store import MemoryStore
from raftd.settings import Settings
from raftd.state_machine import (
    CommandRefused,
    HistoryCompacted,
    UnknownStateMachine,
    create,
    names,
)
from raftwire.proto.admin_pb2 import LogReadReply
from raftwire.proto.peer_pb2 import ControlCommand, SetClock, SetSettings
from tests.unit.raftd.builders import applier, apply, bootstrap, control, entry, proposal


def flush(context: Context, kv: MemoryStore, journal: Journal) -> None:
    journal.flush(context)
    batch = kv.new_batch()
    context.flush(batch)
    kv.write(batch)
    context.settle()


def test_what_is_kept_depends_on_the_records_alone(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a list: count, bytes and age; flushed at any time, opened anew at any time."""
    monkeypatch.setattr(journal_module, "CHUNK_BYTES", 200)
    monkeypatch.setattr(journal_module, "RECENT_BYTES", 500)
    for _ in range(60):
        limits = Settings(
            history_count=rng.choice([0, 1, 5, 40]),
            history_bytes=rng.choice([0, 50, 500]),
            history_age_ms=rng.choice([0, 30]),
        )
        kv = MemoryStore()
        context = Context(kv, 0, limits)
        journal = Journal(b"j")
        model: list[tuple[int, int, bytes]] = []
        first = 1
        number = 0
        for _ in range(80):
            context.log_time_ms += rng.randrange(4)
            if rng.randrange(5):
                number += rng.randrange(1, 4)
                payload = bytes(rng.randrange(40))
                journal.append(number, context.log_time_ms, payload)
                model.append((number, context.log_time_ms, payload))
            journal.trim(context)
            while model and (
                (limits.history_count and len(model) > limits.history_count)
                or (
                    limits.history_bytes
                    and len(model) > 1
                    and sum(len(each[2]) for each in model) > limits.history_bytes
                )
                or (
                    limits.history_age_ms
                    and model[0][1] < context.log_time_ms - limits.history_age_ms
                )
            ):
                first = model.pop(0)[0] + 1
            assert (journal.first, journal.last, journal.count) == (first, number, len(model))
            assert journal.bytes == sum(len(each[2]) for each in model)
            if rng.randrange(3):
                continue
            flush(context, kv, journal)
            reader = StateReader(kv, 0)
            if rng.randrange(2):
                journal = Journal(b"j")
                journal.open(reader)
            start = rng.randrange(first, number + 3)
            found: list[tuple[int, int, bytes]] = []
            following, more = start, True
            while more:
                page = journal.read(reader, following, rng.randrange(1, 9), 100)
                found += page.records
                following, more = page.next, page.more
            assert found == [each for each in model if each[0] >= start]
            probe = rng.randrange(max(number, 1)) + 1
            record = journal.get(reader, probe)
            assert (tuple(record) if record else None) == next(
                (each for each in model if each[0] == probe), None
            )
            if first > 1:
                with pytest.raises(HistoryCompacted):
                    journal.read(reader, first - 1)
        flush(context, kv, journal)
        stored = [key for key, _ in kv.scan(ColumnFamily.STATE)]
        assert len(stored) <= len(model) + 1, "chunks of forgotten records stay"


def test_damaged_chunks_are_noticed() -> None:
    kv = MemoryStore()
    context = Context(kv, 0, Settings())
    journal = Journal(b"j")
    for number in range(1, 5):
        journal.append(number, 0, b"payload")
    flush(context, kv, journal)
    ((key, chunk),) = [each for each in StateReader(kv, 0).scan() if each[0].startswith(b"jc")]
    for cut in (1, 10, len(chunk) - 1):
        context.put(key, chunk[:-cut])
        batch = kv.new_batch()
        context.flush(batch)
        kv.write(batch)
        fresh = Journal(b"j")
        fresh.open(StateReader(kv, 0))
        with pytest.raises(CorruptionError, match="cut short"):
            fresh.read(StateReader(kv, 0), 1)


# -- the machine `log` -----------------------------------------------------------------------------


def log_machine(by: Applier) -> LogMachine:
    assert isinstance(by.machine, LogMachine)
    return by.machine


def test_the_log_is_read_by_index() -> None:
    store = bootstrap()
    by = applier(store)
    apply(store, by, [entry(2), proposal(3, b"a"), proposal(4, b"b"), entry(5)])
    apply(store, by, [proposal(6, b"c", term=2)])
    machine = log_machine(by)
    records, following, more = machine.read(by.reader, 0)
    assert [(each.index, each.term, each.data) for each in records] == [
        (3, 1, b"a"),
        (4, 1, b"b"),
        (6, 2, b"c"),
    ]
    assert (following, more) == (7, False)
    assert [each.index for each in machine.read(by.reader, 5)[0]] == [6]
    assert machine.read(by.reader, 3, count_max=1)[1:] == (4, True)
    assert json.loads(by.query(b"")) == {"first": 1, "last": 6, "count": 3, "bytes": 27}
    with pytest.raises(CommandRefused):
        by.query(b"?")


def test_following_the_log() -> None:
    store = bootstrap()
    by = applier(store)
    machine = log_machine(by)
    page = machine.changes(by.reader, b"", -1)
    assert (page.data, page.next, page.more) == (b"", 1, False)
    apply(store, by, [proposal(2, b"a"), proposal(3, b"b")])
    page = machine.changes(by.reader, b"", page.next)
    found = LogReadReply.FromString(page.data)
    assert [(each.index, each.data) for each in found.entries] == [(2, b"a"), (3, b"b")]
    assert machine.changes(by.reader, b"3", -1).next == 4
    assert machine.changes(by.reader, b"", -1).next == 4
    with pytest.raises(CommandRefused):
        machine.changes(by.reader, b"x", -1)


def test_the_log_outlives_compaction_and_forgets_by_settings() -> None:
    store = bootstrap(settings=Settings(history_count=4))
    by = applier(store)
    apply(store, by, [proposal(index, b"%d" % index) for index in range(2, 12)])
    batch = store.new_batch()
    store.compact(batch, 11)
    store.write(batch)
    machine = log_machine(by)
    assert [each.index for each in machine.read(by.reader, 8)[0]] == [8, 9, 10, 11]
    with pytest.raises(HistoryCompacted, match="the oldest is 8"):
        machine.read(by.reader, 7)
    change = SetSettings(history_count=2, history_age_ms=1000)
    apply(store, by, [control(12, ControlCommand(set_settings=change))])
    assert machine.journal.first == 10
    apply(store, by, [control(13, ControlCommand(set_clock=SetClock(unix_ms=5000)))])
    assert machine.journal.count == 0
    apply(store, by, [proposal(14, b"new")])
    assert [each.index for each in machine.read(by.reader, 12)[0]] == [14]


# -- finding machines ------------------------------------------------------------------------------


def test_machines_are_found_by_name() -> None:
    assert {"kv", "log"} <= set(names())
    assert create("log").name == "log"
    assert create("kv").name == "kv"
    with pytest.raises(UnknownStateMachine, match=r"'nope'.*there are: .*kv, log"):
        create("nope")
