"""The machine `kv` against a naive model, and its corners one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftd import applier as applier_module
from raftd.applier import Applied, Applier, Outcome
from raftd.kvstore import ColumnFamily
from raftd.machines import kv as kv_module
from raftd.machines.kv import KvMachine
from raftd.memory_store import MemoryStore
from raftd.settings import Settings
from raftd.state_machine import CommandRefused, HistoryCompacted
from raftd.storage import LogStore
from raftwire import kv as wire
from raftwire.proto.kv_pb2 import (
    KeyValue,
    KvCommand,
    KvCompareAndSwap,
    KvDelete,
    KvDeleteRange,
    KvPut,
    KvQuery,
    KvQueryResult,
    KvRange,
    KvResult,
    KvWatch,
    KvWatchEvent,
    KvWatchEvents,
)
from tests.unit.raftd.builders import bootstrap, no_conf, proposal


class Bench:
    """A `kv` machine under an applier."""

    def __init__(self, limits: Settings | None = None) -> None:
        self.store = bootstrap(machine="kv", settings=limits)
        self.restart()

    def restart(self) -> None:
        self.store = LogStore.open(self.store.kv)
        self.machine = KvMachine()
        self.by = Applier(self.store.kv, self.store, self.machine, no_conf)

    def run(self, *commands: bytes) -> list[Applied]:
        """Apply all commands together."""
        low = self.by.index + 1
        new = [proposal(low + number, each) for number, each in enumerate(commands)]
        batch = self.store.new_batch()
        self.store.append(batch, new)
        found = self.by.apply(batch, new)
        self.store.write(batch)
        return found

    def result(self, command: bytes) -> KvResult:
        (found,) = self.run(command)
        assert found.outcome is Outcome.APPLIED, found.result
        assert found.result is not None
        return KvResult.FromString(found.result)

    def refusal(self, command: bytes) -> str:
        (found,) = self.run(command)
        assert found.outcome is Outcome.REFUSED
        assert found.result is not None
        return found.result.decode()

    def get(self, key: bytes) -> KeyValue | None:
        found = KvQueryResult.FromString(self.by.query(wire.get(key)))
        return found.kvs[0] if found.kvs else None

    def range(self, **fields: object) -> KvQueryResult:
        query = KvQuery(range=KvRange(**fields))  # type: ignore[arg-type]
        return KvQueryResult.FromString(self.by.query(query.SerializeToString()))

    def watch(self, watch: KvWatch, start: int = -1) -> tuple[list[KvWatchEvent], int, bool]:
        page = self.machine.changes(self.by.reader, watch.SerializeToString(), start)
        return list(KvWatchEvents.FromString(page.data).events), page.next, page.more


def put(key: bytes, value: bytes, *, prev: bool = False) -> bytes:
    return KvCommand(put=KvPut(key=key, value=value, prev_kv=prev)).SerializeToString()


def delete(key: bytes, *, prev: bool = False) -> bytes:
    return KvCommand(delete=KvDelete(key=key, prev_kv=prev)).SerializeToString()


def delete_range(key: bytes, end: bytes = b"", *, prefix: bool = False) -> bytes:
    command = KvDeleteRange(key=key, range_end=end, prefix=prefix)
    return KvCommand(delete_range=command).SerializeToString()


def cas(**fields: object) -> bytes:
    command = KvCommand(cas=KvCompareAndSwap(**fields))  # type: ignore[arg-type]
    return command.SerializeToString()


# -- one by one ------------------------------------------------------------------------------------


def test_revisions_and_versions_are_etcds() -> None:
    bench = Bench()
    assert bench.result(put(b"a", b"1")) == KvResult(revision=1, succeeded=True)
    assert bench.result(put(b"b", b"1")).revision == 2
    assert bench.result(put(b"a", b"2")).revision == 3
    assert bench.get(b"a") == KeyValue(
        key=b"a", value=b"2", create_revision=1, mod_revision=3, version=2
    )
    assert bench.result(delete(b"a")) == KvResult(revision=4, succeeded=True, deleted=1)
    assert bench.get(b"a") is None
    assert bench.result(delete(b"a")) == KvResult(revision=4, succeeded=True)
    bench.result(put(b"a", b""))
    assert bench.get(b"a") == KeyValue(
        key=b"a", value=b"", create_revision=5, mod_revision=5, version=1
    )


def test_previous_pairs_are_returned_if_wanted() -> None:
    bench = Bench()
    assert not bench.result(put(b"a", b"1", prev=True)).HasField("prev")
    assert bench.result(put(b"a", b"2", prev=True)).prev.value == b"1"
    assert bench.result(delete(b"a", prev=True)).prev == KeyValue(
        key=b"a", value=b"2", create_revision=1, mod_revision=2, version=2
    )
    assert not bench.result(delete(b"a", prev=True)).HasField("prev")


@pytest.mark.parametrize("there", [False, True])
def test_compare_and_swap(there: bool) -> None:
    for expect, holds in (
        ({"absent": True}, not there),
        ({"present": True}, there),
        ({"mod_revision": 2}, there),
        ({"mod_revision": 1}, False),
        ({"mod_revision": 0}, False),
        ({"value": b"v"}, there),
        ({"value": b""}, False),
    ):
        bench = Bench()
        bench.result(put(b"other", b"1"))
        if there:
            bench.result(put(b"k", b"v"))
        before = bench.get(b"k")
        revision = bench.machine.revision
        found = bench.result(cas(key=b"k", put=b"new", **expect))
        assert found.succeeded == holds
        assert found.revision == revision + holds
        if holds:
            assert found.current.value == b"new"
        assert bench.get(b"k") == (found.current if found.HasField("current") else None)
        if not holds:
            assert bench.get(b"k") == before
        # A compare without a change only looks.
        revision = bench.machine.revision
        assert bench.result(cas(key=b"k", **expect)).revision == revision


def test_compare_and_delete() -> None:
    bench = Bench()
    bench.result(put(b"k", b"v"))
    found = bench.result(cas(key=b"k", value=b"v", delete=True))
    assert (found.succeeded, found.deleted, found.HasField("current")) == (True, 1, False)
    assert bench.get(b"k") is None
    found = bench.result(cas(key=b"k", absent=True, delete=True))
    assert (found.succeeded, found.deleted, found.revision) == (True, 0, 2)


def test_delete_range_is_one_revision() -> None:
    bench = Bench()
    for key in (b"a", b"b/1", b"b/2", b"b\xff", b"c"):
        bench.result(put(key, b"v"))
    found = bench.result(delete_range(b"b/", prefix=True))
    assert (found.deleted, found.revision) == (2, 6)
    found = bench.result(delete_range(b"a", b"c"))
    assert (found.deleted, found.revision) == (2, 7)
    assert bench.result(delete_range(b"x", b"z")).revision == 7
    assert [each.key for each in bench.range(key=b"", prefix=True).kvs] == [b"c"]
    events, _, _ = bench.watch(KvWatch(key=b"", prefix=True, start_revision=6))
    assert [(each.type, each.kv.key, each.kv.mod_revision) for each in events] == [
        (KvWatchEvent.DELETE, b"b/1", 6),
        (KvWatchEvent.DELETE, b"b/2", 6),
        (KvWatchEvent.DELETE, b"a", 7),
        (KvWatchEvent.DELETE, b"b\xff", 7),
    ]


def test_a_range_too_large_to_delete_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_module, "DELETE_KEYS_MAX", 3)
    bench = Bench()
    bench.run(*[put(b"%d" % number, b"") for number in range(4)])
    assert "more than 3 keys" in bench.refusal(delete_range(b"", prefix=True))
    assert bench.result(delete_range(b"0", b"3")).deleted == 3


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (b"\xff\xff", "not a command"),
        (b"", "not a command"),
        (put(b"", b"v"), "1 to 16384 bytes, not 0"),
        (put(b"k" * 16385, b"v"), "not 16385"),
        (delete(b""), "not 0"),
        (cas(key=b"k", put=b"v"), "what it expects"),
        (cas(key=b"k", absent=False, put=b"v"), "only be true"),
        (cas(key=b"k", present=True, delete=False), "only be true"),
        (delete_range(b""), "not 0"),
        (delete_range(b"a", b"b", prefix=True), "not both"),
    ],
)
def test_nonsense_is_refused(command: bytes, reason: str) -> None:
    bench = Bench()
    assert reason in bench.refusal(command)
    assert bench.machine.revision == 0


@pytest.mark.parametrize("query", [b"\xff\xff", b"", wire.get(b"")])
def test_nonsense_queries_are_refused(query: bytes) -> None:
    with pytest.raises(CommandRefused):
        Bench().by.query(query)


def test_pages_are_bounded_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_module, "PAGE_PAIRS_MAX", 7)
    monkeypatch.setattr(kv_module, "COUNT_MAX", 11)
    bench = Bench()
    keys = [b"k%02d" % number for number in range(20)] + [
        b"k%02d\x00" % number for number in (3, 9)
    ]
    keys.sort()
    bench.run(*[put(key, b"v" + key) for key in keys], put(b"l", b""))
    for limit in (0, 1, 5, 7, 100):
        found: list[bytes] = []
        after = b""
        while True:
            page = bench.range(key=b"k", prefix=True, limit=limit, after=after)
            assert 0 < len(page.kvs) <= min(limit or 7, 7)
            found += [each.key for each in page.kvs]
            assert all(each.value == b"v" + each.key for each in page.kvs)
            if not page.more:
                break
            after = page.next
        assert found == keys
    total, after = 0, b""
    while True:
        page = bench.range(key=b"k", prefix=True, count_only=True, after=after)
        total += page.count
        assert page.count <= 11
        if not page.more:
            break
        after = page.next
    assert total == len(keys)
    only = bench.range(key=b"k", prefix=True, keys_only=True, limit=2)
    assert [(each.key, each.value) for each in only.kvs] == [(b"k00", b""), (b"k01", b"")]
    assert [each.key for each in bench.range(key=b"k05").kvs] == [b"k05"]
    assert [each.key for each in bench.range(key=b"k18", range_end=b"l").kvs] == [b"k18", b"k19"]


def test_a_page_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_module, "PAGE_BYTES_MAX", 1000)
    bench = Bench()
    bench.run(*[put(b"%d" % number, b"x" * 600) for number in range(3)], put(b"9", b"x" * 5000))
    assert [len(bench.range(key=b"", prefix=True, after=after).kvs) for after in (b"", b"2")] == [
        1,
        1,
    ]


# -- watching --------------------------------------------------------------------------------------


def test_a_watch_sees_each_change_once_in_order() -> None:
    bench = Bench()
    bench.run(put(b"a/1", b"1"), put(b"b", b"1"), put(b"a/1", b"2"), delete(b"a/1"))
    watch = KvWatch(key=b"a/", prefix=True, start_revision=1, prev_kv=True)
    events, following, more = bench.watch(watch)
    assert (following, more) == (5, False)
    assert [
        (each.type, each.kv.mod_revision, each.kv.value, each.prev.value) for each in events
    ] == [
        (KvWatchEvent.PUT, 1, b"1", b""),
        (KvWatchEvent.PUT, 3, b"2", b"1"),
        (KvWatchEvent.DELETE, 4, b"", b"2"),
    ]
    assert bench.watch(watch, following) == ([], 5, False)
    bench.run(put(b"a/2", b"3"))
    events, following, _ = bench.watch(watch, following)
    assert [(each.kv.key, each.kv.mod_revision) for each in events] == [(b"a/2", 5)]
    assert following == 6


def test_a_watch_begins_now_unless_told() -> None:
    bench = Bench()
    bench.run(put(b"a", b"1"))
    events, following, _ = bench.watch(KvWatch(key=b"a"))
    assert (events, following) == ([], 2)


def test_history_is_bounded_and_says_where_it_begins() -> None:
    bench = Bench(Settings(history_count=10))
    for number in range(30):
        bench.run(put(b"k", b"%d" % number), put(b"k", b"%d" % number))
    with pytest.raises(HistoryCompacted) as raised:
        bench.watch(KvWatch(key=b"k", start_revision=1))
    assert (raised.value.wanted, raised.value.first) == (1, 51)
    for _ in range(2):
        events, following, _ = bench.watch(KvWatch(key=b"k", start_revision=51, prev_kv=True))
        assert [each.kv.mod_revision for each in events] == list(range(51, 61))
        # The pair before the first kept change is not told any more.
        assert [each.HasField("prev") for each in events] == [False] + [True] * 9
        assert following == 61
        bench.restart()


def test_history_goes_page_by_page() -> None:
    bench = Bench()
    for low in range(0, 3000, 500):
        bench.run(*[put(b"%d" % number, b"x" * 100) for number in range(low, low + 500)])
    for _ in range(2):
        seen: list[int] = []
        start, more, pages = -1, True, 0
        while more:
            events, start, more = bench.watch(
                KvWatch(key=b"", prefix=True, start_revision=100), start
            )
            seen += [each.kv.mod_revision for each in events]
            pages += 1
        assert seen == list(range(100, 3001))
        assert pages > 2
        bench.restart()


# -- against a model -------------------------------------------------------------------------------


@dataclass
class Model:
    """What `kv` should be, in the plainest way."""

    revision: int = 0
    pairs: dict[bytes, KeyValue] = field(default_factory=dict)
    events: list[tuple[int, int, bytes, bytes]] = field(default_factory=list)

    def put(self, key: bytes, value: bytes) -> KeyValue:
        self.revision += 1
        old = self.pairs.get(key)
        new = KeyValue(
            key=key,
            value=value,
            create_revision=old.create_revision if old else self.revision,
            mod_revision=self.revision,
            version=old.version + 1 if old else 1,
        )
        self.pairs[key] = new
        self.events.append((self.revision, KvWatchEvent.PUT, key, value))
        return new

    def delete(self, keys: list[bytes]) -> int:
        found = sorted(key for key in keys if key in self.pairs)
        if found:
            self.revision += 1
        for key in found:
            del self.pairs[key]
            self.events.append((self.revision, KvWatchEvent.DELETE, key, b""))
        return len(found)


KEYS = st.binary(min_size=1, max_size=2) | st.sampled_from([b"a", b"ab", b"a\xff", b"b", b"\xff"])
VALUES = st.binary(max_size=4)
COMMANDS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("prefix"), st.binary(max_size=2)),
    st.tuples(st.just("range"), KEYS, KEYS),
    st.tuples(st.just("cas-revision"), KEYS, VALUES, st.integers(0, 12)),
    st.tuples(st.just("cas-value"), KEYS, VALUES, VALUES),
    st.tuples(st.just("cas-absent"), KEYS, VALUES),
    st.tuples(st.just("cas-delete"), KEYS),
)


def against(model: Model, step: tuple[object, ...]) -> tuple[bytes, KvResult]:
    """Return the command of a step and what the model answers."""
    kind, key, *rest = step
    assert isinstance(key, bytes)
    if kind == "put":
        value = rest[0]
        assert isinstance(value, bytes)
        model.put(key, value)
        return put(key, value), KvResult(revision=model.revision, succeeded=True)
    if kind in {"delete", "prefix", "range"}:
        if kind == "delete":
            command, doomed = delete(key), [key]
        elif kind == "prefix":
            command = delete_range(key, prefix=True)
            doomed = [each for each in model.pairs if each.startswith(key)]
        else:
            end = rest[0]
            assert isinstance(end, bytes)
            command = delete_range(key, end)
            doomed = [each for each in model.pairs if key <= each < end]
        deleted = model.delete(doomed)
        return command, KvResult(revision=model.revision, succeeded=True, deleted=deleted)
    old = model.pairs.get(key)
    fields: dict[str, object]
    if kind == "cas-revision":
        holds, fields = old is not None and old.mod_revision == rest[1], {"mod_revision": rest[1]}
    elif kind == "cas-value":
        holds, fields = old is not None and old.value == rest[1], {"value": rest[1]}
    elif kind == "cas-absent":
        holds, fields = old is None, {"absent": True}
    else:
        holds, fields = old is not None, {"present": True}
    current, deleted = old, 0
    if kind == "cas-delete":
        fields["delete"] = True
        if holds:
            current, deleted = None, model.delete([key])
    else:
        fields["put"] = rest[0]
        assert isinstance(rest[0], bytes)
        if holds:
            current = model.put(key, rest[0])
    result = KvResult(revision=model.revision, succeeded=holds, deleted=deleted)
    if current is not None:
        result.current.CopyFrom(current)
    return cas(key=key, **fields), result


def kept_apart(bench: Bench) -> set[int]:
    """Return the revisions whose values are stored apart."""
    return {int.from_bytes(key[1:]) for key, _ in bench.by.reader.scan(b"v", b"w")}


def referred_to(bench: Bench, model: Model) -> set[int]:
    """Return the revisions of the large values that a pair or a kept change refers to."""
    least, first = kv_module.APART_BYTES, bench.machine.journal.first
    pairs = {p.mod_revision for p in model.pairs.values() if len(p.value) >= least}
    return pairs | {e[0] for e in model.events if e[0] >= first and len(e[3]) >= least}


@pytest.mark.parametrize(("apart", "history"), [(4096, 0), (2, 0), (2, 7)])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(groups=st.lists(st.lists(COMMANDS, min_size=1, max_size=6), max_size=12), data=st.data())
def test_against_a_naive_model(
    groups: list[list[tuple[object, ...]]],
    data: st.DataObject,
    apart: int,
    history: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is applied together, restarted between, read in pages: as the model says."""
    monkeypatch.setattr(kv_module, "APART_BYTES", apart)
    bench, model = Bench(Settings(history_count=history)), Model()
    for group in groups:
        expected = [against(model, step) for step in group]
        found = bench.run(*[command for command, _ in expected])
        answers = [KvResult.FromString(each.result or b"") for each in found]
        assert answers == [result for _, result in expected]
        assert kept_apart(bench) == referred_to(bench, model)
        if data.draw(st.booleans()):
            bench.restart()
    pairs = [model.pairs[key] for key in sorted(model.pairs)]
    limit = data.draw(st.integers(1, 5))
    paged: list[KeyValue] = []
    after = b""
    while True:
        page = bench.range(key=b"", prefix=True, limit=limit, after=after)
        assert page.revision == model.revision
        paged += page.kvs
        if not page.more:
            break
        after = page.next
    assert paged == pairs
    prefix = data.draw(st.binary(max_size=1))
    page = bench.range(key=prefix, prefix=True, count_only=True)
    assert page.count == sum(key.startswith(prefix) for key in model.pairs)
    first = bench.machine.journal.first
    start = data.draw(st.integers(first, max(first, model.revision + 1)))
    events, following, more = bench.watch(KvWatch(key=prefix, prefix=True, start_revision=start))
    assert (following, more) == (max(start, model.revision + 1), False)
    assert [(each.kv.mod_revision, each.type, each.kv.key, each.kv.value) for each in events] == [
        event for event in model.events if event[0] >= start and event[2].startswith(prefix)
    ]


def test_a_large_value_is_written_once_and_goes_with_its_last_reference() -> None:
    large = b"x" * kv_module.APART_BYTES
    bench = Bench(Settings(history_count=3))
    bench.run(put(b"a", large))
    assert len(dict(bench.by.reader.scan())[b"ka"]) < 100
    found = bench.get(b"a")
    assert found is not None
    assert found.value == large
    bench.run(*[put(b"b", b"%d" % number) for number in range(5)])
    # The history has forgotten it, the pair has not.
    assert kept_apart(bench) == {1}
    assert bench.result(put(b"a", b"small", prev=True)).prev.value == large
    assert kept_apart(bench) == set()
    bench.run(put(b"c", large), delete(b"c"))
    events, _, _ = bench.watch(KvWatch(key=b"c", start_revision=8, prev_kv=True))
    assert [event.kv.value for event in events] == [large, b""]
    assert events[1].prev.value == large
    bench.run(*[put(b"b", b"%d" % number) for number in range(5)])
    assert kept_apart(bench) == set()


def test_large_values_count_towards_the_history() -> None:
    large = b"x" * 10_000
    bench = Bench(Settings(history_count=0, history_bytes=50_000))
    for number in range(8):
        bench.run(put(b"k%d" % number, large))
        if number == 5:
            bench.restart()
    journal = bench.machine.journal
    assert journal.first == 5
    assert 40_000 < journal.bytes <= 50_000


def test_the_digest_depends_on_the_commands_only() -> None:
    commands = [put(b"%d" % (number % 7), b"%d" % number) for number in range(50)]
    one, other = Bench(Settings(history_count=12)), Bench(Settings(history_count=12))
    one.run(*commands)
    for command in commands:
        other.run(command)
    assert one.machine.digest(one.by.reader) == other.machine.digest(other.by.reader)
    other.run(put(b"1", b"x"))
    assert one.machine.digest(one.by.reader) != other.machine.digest(other.by.reader)


@settings(max_examples=150, deadline=None)
@given(
    puts=st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=200) | st.sampled_from([b"a", b"bb"]),
            st.binary(max_size=5) | st.sampled_from([b"v" * 120, b"v" * 300, b"v" * 4090]),
            st.booleans(),
            # Bytes to change, as a broken client's may be: (where, to what).
            st.lists(st.tuples(st.integers(0, 20), st.integers(0, 255)), max_size=2),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_put_read_by_hand_comes_to_what_protobuf_makes_of_it(
    puts: list[tuple[bytes, bytes, bool, list[tuple[int, int]]]],
) -> None:
    by_hand, by_protobuf = Bench(), Bench()
    by_protobuf.machine._plain_puts.note = lambda command: None  # type: ignore[method-assign]
    for key, value, prev, changes in puts:
        whole = put(key, value, prev=prev)
        changed = bytearray(whole)
        for at, byte in changes:
            changed[at % len(changed)] = byte
        for command in (whole, whole, bytes(changed)):
            assert by_hand.run(command) == by_protobuf.run(command)
    assert by_hand.machine.digest(by_hand.by.reader) == by_protobuf.machine.digest(
        by_protobuf.by.reader
    )


def test_the_layouts_of_puts_that_are_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv_module, "_LAYOUTS_MAX", 4)
    bench = Bench()
    for length in range(1, 40):
        bench.run(put(b"key", b"v" * length))
        assert 0 < len(bench.machine._plain_puts) <= 4


@given(
    numbers=st.tuples(
        *[st.integers(0, 2**62) | st.sampled_from((0, 127, 128, 0x3FFF, 0x4000))] * 3
    ),
    revision=st.integers(0, 2**62),
    key=st.binary(min_size=1, max_size=123),
    value=st.binary(max_size=300),
)
def test_a_get_answered_by_hand_says_what_protobuf_says(
    numbers: tuple[int, int, int], revision: int, key: bytes, value: bytes
) -> None:
    record = kv_module._pack_meta(*numbers) + value
    encoded = kv_module._plain_pair(kv_module._quick_varint(revision), key, record)
    created, modified, version = numbers
    assert KvQueryResult.FromString(encoded) == KvQueryResult(
        revision=revision,
        kvs=[
            KeyValue(
                key=key,
                value=value,
                create_revision=created,
                mod_revision=modified,
                version=version,
            )
        ],
    )


def test_gets_of_all_kinds_are_answered_alike_by_hand_and_by_protobuf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    keys = [b"k" * size for size in (1, 2, 99, 122, 123, 124, 128, 1000)]
    bench.run(*(put(key, b"v" * size) for key in keys[:-1] for size in (5, 5000, 10)))
    bench.run(put(keys[1], b""), put(keys[2], b"v" * 5000))
    queries = [wire.get(key) for key in (*keys, b"absent", b"\x0a\x01a", b"")]
    queries += [b"\x0a\x03\x0a\x02a", b"\x0a\x05\x0a\x02aaa", b"\x12\x03\x0a\x01a", b"\x0a\x00"]

    def answers() -> list[object]:
        found: list[object] = []
        for query in queries:
            try:
                found.append(KvQueryResult.FromString(bench.by.query(query)))
            except CommandRefused as error:
                found.append(str(error))
        return found

    by_hand = answers()
    monkeypatch.setattr(kv_module, "_SHORT_QUERY", 0)
    assert by_hand == answers()


# -- large values ahead of their records -----------------------------------------------------------


class AheadBench(Bench):
    """A `kv` machine whose large values go past the journal."""

    def restart(self) -> None:
        super().restart()
        self.by.go_ahead()

    def stage(self, *commands: bytes) -> None:
        """Append and apply commands, saving what is due."""
        low = self.by.index + 1
        new = [proposal(low + number, each) for number, each in enumerate(commands)]
        batch = self.store.new_batch()
        self.store.append(batch, new)
        self.store.write(batch)
        self.store.sync()
        batch = self.store.new_batch()
        self.by.stage(batch, new)
        if self.by.due:
            self.by.save(batch)
            self.saved = batch.size_bytes
        self.store.write(batch)

    def cut(self, keep: int) -> None:
        """Cut the power, and apply what the log has."""
        kv = self.store.kv
        assert isinstance(kv, MemoryStore)
        self.store = LogStore.open(kv.crash(keep))
        self.restart()
        batch = self.store.new_batch()
        new = self.store.entries(self.by.index + 1, self.store.last_index() + 1)
        self.by.stage(batch, new)

    def values(self) -> list[int]:
        """Return the revisions whose large values are stored, whether or not they count."""
        return [
            int.from_bytes(key[-8:])
            for key, value in self.store.kv.scan(ColumnFamily.STATE)
            if len(value) >= applier_module.AHEAD_BYTES
        ]


@pytest.fixture
def quick_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier_module.Applier, "ahead_flush_bytes", 2 * len(HUGE))


HUGE = b"h" * applier_module.AHEAD_BYTES


@pytest.mark.usefixtures("quick_flush")
def test_what_a_flush_made_durable_is_saved_without_the_journal() -> None:
    bench = AheadBench()
    bench.stage(put(b"a", HUGE))
    assert bench.values() == [1]
    assert not bench.by.begin_flush()
    bench.stage(put(b"b", HUGE))
    assert bench.by.begin_flush()
    assert not bench.by.begin_flush(), "one is enough"
    bench.by.flush_ended()
    assert bench.by.due
    bench.stage(put(b"c", b"small"))
    assert not bench.by.unsaved
    assert bench.saved < len(HUGE)
    bench.store.sync()
    bench.cut(0)
    for key, value in ((b"a", HUGE), (b"b", HUGE), (b"c", b"small")):
        found = bench.get(key)
        assert found is not None
        assert found.value == value


@pytest.mark.usefixtures("quick_flush")
def test_what_came_during_a_flush_goes_to_the_journal_with_the_rest() -> None:
    bench = AheadBench()
    bench.stage(put(b"a", HUGE), put(b"b", HUGE))
    assert bench.by.begin_flush()
    bench.stage(put(b"c", HUGE))
    bench.by.flush_ended()
    bench.stage(put(b"d", b"small"))
    assert len(HUGE) < bench.saved < 2 * len(HUGE)


def test_a_save_does_not_wait_for_a_flush_and_is_complete() -> None:
    bench = AheadBench()
    bench.stage(put(b"a", HUGE), put(b"b", HUGE))
    batch = bench.store.new_batch()
    bench.by.save(batch)
    assert batch.size_bytes > 2 * len(HUGE)


def test_a_flush_that_ends_after_a_snapshot_was_installed_changes_nothing() -> None:
    bench = AheadBench()
    bench.stage(put(b"a", HUGE))
    bench.by._context.flush_begins()
    bench.by.reload()
    bench.by.flush_ended()
    assert not bench.by.due


def test_too_much_that_waits_for_a_flush_is_saved_by_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applier_module.Applier, "ahead_bytes_max", 2 * len(HUGE))
    bench = AheadBench()
    bench.stage(put(b"a", HUGE), put(b"b", HUGE))
    assert bench.by.unsaved
    bench.stage(put(b"c", HUGE))
    assert not bench.by.unsaved
    assert bench.saved > 3 * len(HUGE)


def test_values_that_a_crash_leaves_count_for_nothing_and_are_put_anew() -> None:
    plain, bench = Bench(), AheadBench()
    commands = [put(b"a", HUGE), put(b"b", HUGE + b"2"), delete(b"a")]
    plain.run(*commands)
    bench.stage(*commands)
    kv = bench.store.kv
    assert isinstance(kv, MemoryStore)
    bench.store = LogStore.open(kv.crash(kv.unsynced))
    bench.restart()
    assert bench.by.index < plain.by.index
    assert bench.values() == [1, 2]
    assert bench.machine.digest(bench.by.reader) == Bench().machine.digest(Bench().by.reader)
    bench.stage(*[])
    batch = bench.store.new_batch()
    low = bench.by.index + 1
    bench.by.apply(batch, [proposal(low + number, each) for number, each in enumerate(commands)])
    bench.store.write(batch)
    assert bench.machine.digest(bench.by.reader) == plain.machine.digest(plain.by.reader)
    assert bench.by.digest == plain.by.digest


def test_values_of_a_history_that_was_given_up_go() -> None:
    """After a recovery of the group from a log that ends sooner."""
    plain, bench = Bench(), AheadBench()
    bench.stage(put(b"a", HUGE), put(b"b", HUGE), put(b"c", HUGE))
    kv = bench.store.kv
    bench.store = bootstrap(machine="kv")
    batch = bench.store.new_batch()
    batch.put_all(ColumnFamily.STATE, list(kv.scan(ColumnFamily.STATE)))
    bench.store.write(batch)
    bench.restart()
    assert bench.values() == [1, 2, 3]
    for other in (plain, bench):
        other.run(put(b"x", b"1"), put(b"y", HUGE * 2))
    assert bench.values() == [2, 3]
    assert bench.machine.digest(bench.by.reader) == plain.machine.digest(plain.by.reader)
    bench.run(put(b"z", b"1"))
    assert bench.values() == [2]
