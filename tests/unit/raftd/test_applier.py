"""Applying: in order, exactly once, all in one batch, and the same on every member."""

from __future__ import annotations

import random

import pytest

from raft.eraftpb import ConfState, Entry, EntryConfChange
from raft.invariant import InvariantViolation
from raftd.applier import (
    ORIGIN,
    Applied,
    Applier,
    ApplyError,
    Context,
    EntryKind,
    Outcome,
    StateReader,
)
from raftd.memory_store import MemoryStore
from raftd.settings import Settings
from raftd.state_machine import ApplyContext, ChangePage, CommandRefused, MachineError, Reader
from raftd.storage import LogStore
from raftwire.proto.peer_pb2 import (
    ControlCommand,
    ExpireSessions,
    SetAddr,
    SetClock,
    SetSettings,
    VerifyAt,
)
from tests.unit.raftd.builders import (
    ADDRESSES,
    applier,
    apply,
    bootstrap,
    conf_entry,
    control,
    entry,
    identity,
    members,
    no_conf,
    proposal,
)


class Adder:
    """A machine that sums: ``5`` adds five, ``bad`` is refused, the others misbehave."""

    name = "adder"

    def __init__(self) -> None:
        self.advanced: list[int] = []
        self.finished = 0

    def open(self, reader: Reader) -> None:
        self.total = int(reader.get(b"total") or b"0")

    def apply(self, context: ApplyContext, command: bytes) -> bytes:
        if command == b"bad":
            raise CommandRefused("no")
        if command == b"half":
            context.put(b"total", b"-1")
            raise CommandRefused("after writing")
        if command == b"crash":
            raise ZeroDivisionError("oops")
        assert int(context.get(b"total") or b"0") == self.total
        self.total += int(command)
        context.put(b"total", b"%d" % self.total)
        return b"%d@%d" % (self.total, context.index)

    def advance(self, context: ApplyContext) -> None:
        self.advanced.append(context.log_time_ms)

    def finish(self, context: ApplyContext) -> None:
        self.finished += 1

    def query(self, reader: Reader, request: bytes) -> bytes:
        return reader.get(b"total") or b"0"

    def changes(self, reader: Reader, request: bytes, start: int) -> ChangePage:
        raise CommandRefused("no history")

    def digest(self, reader: Reader) -> bytes:
        return reader.get(b"total") or b"0"


def adder(settings: Settings | None = None) -> tuple[LogStore, Applier]:
    store = bootstrap(machine="adder", settings=settings)
    return store, Applier(store.kv, store, Adder(), no_conf)


def run(store: LogStore, by: Applier, *new: Entry) -> list[Applied]:
    batch = store.new_batch()
    store.append(batch, new)
    applied = by.apply(batch, new)
    store.write(batch)
    return applied


def test_entries_are_applied_in_order_and_answered() -> None:
    store, by = adder()
    found = run(store, by, entry(2), proposal(3, b"5"), proposal(4, b"bad"), proposal(5, b"2"))
    assert [(each.index, each.kind, each.outcome, each.result) for each in found] == [
        (2, EntryKind.NOOP, Outcome.APPLIED, b""),
        (3, EntryKind.PROPOSAL, Outcome.APPLIED, b"5@3"),
        (4, EntryKind.PROPOSAL, Outcome.REFUSED, b"no"),
        (5, EntryKind.PROPOSAL, Outcome.APPLIED, b"7@5"),
    ]
    assert [(each.node, each.incarnation, each.sequence) for each in found[1:]] == [
        (1, 7, 3),
        (1, 7, 4),
        (1, 7, 5),
    ]
    assert by.query(b"") == b"7"
    assert (by.index, store.applied.index) == (5, 5)


def test_only_own_proposals_are_returned_if_wanted() -> None:
    store, by = adder()
    by.own_incarnation = 8
    found = run(
        store, by, entry(2), proposal(3, b"1"), proposal(4, b"1", incarnation=8), proposal(5, b"1")
    )
    assert [each.index for each in found] == [4]


def test_entries_from_before_a_restart_are_passed_over() -> None:
    store, by = adder()
    new = [proposal(index, b"1") for index in range(2, 6)]
    run(store, by, *new[:3])
    batch = store.new_batch()
    store.append(batch, new[3:])
    assert [each.index for each in by.apply(batch, new)] == [5]
    store.write(batch)
    assert by.query(b"") == b"4"
    with pytest.raises(InvariantViolation, match="missing"):
        by.apply(store.new_batch(), [proposal(7, b"1")])


def test_nothing_is_written_for_nothing() -> None:
    store, by = adder()
    batch = store.new_batch()
    assert by.apply(batch, []) == []
    assert len(batch) == 0


def test_a_crash_at_every_step_applies_each_entry_once() -> None:
    """The applied position and the state are one batch; what is lost is applied again."""
    new = [proposal(index, b"%d" % index, key=b"k%d" % (index % 4)) for index in range(2, 12)]

    def reference() -> tuple[bytes, bytes]:
        store, by = adder()
        run(store, by, *new)
        return by.query(b""), by.digest

    expected = reference()
    for written in range(1, 10):
        store, by = adder()
        batch = store.new_batch()
        store.append(batch, new)
        store.write(batch)
        store.sync()
        for each in new[:written]:
            batch = store.new_batch()
            by.apply(batch, [each])
            store.write(batch)
        kv = store.kv
        assert isinstance(kv, MemoryStore)
        for keep in range(kv.unsynced + 1):
            found = LogStore.open(kv.clone().crash(keep))
            again = Applier(found.kv, found, Adder(), no_conf)
            assert again.index == 1 + keep
            batch = found.new_batch()
            again.apply(batch, found.entries(again.index + 1, 12))
            found.write(batch)
            assert (again.query(b""), again.digest) == expected


def test_how_entries_are_grouped_does_not_matter(rng: random.Random) -> None:
    new: list[Entry] = []
    for index in range(2, 200):
        kind = rng.randrange(8)
        if kind == 0:
            new.append(entry(index))
        elif kind == 1:
            stamp = SetClock(unix_ms=1000 * index)
            new.append(control(index, ControlCommand(set_clock=stamp)))
        elif kind == 2:
            expire = ExpireSessions(up_to_index=max(index - 50, 0))
            new.append(control(index, ControlCommand(expire_sessions=expire)))
        else:
            key = b"k%d" % rng.randrange(30) if kind > 4 else b""
            new.append(proposal(index, rng.choice([b"1", b"2", b"bad"]), key=key))
    seen = set()
    for _ in range(6):
        store, by = adder(Settings(sessions_max=12, session_ttl_ms=60_000))
        answers: list[tuple[object, ...]] = []
        left = list(new)
        while left:
            count = rng.randrange(1, 30)
            found = run(store, by, *left[:count])
            answers += [
                (each.index, each.outcome, each.result, each.deduplicated) for each in found
            ]
            left = left[count:]
            if rng.randrange(4) == 0:
                store = LogStore.open(store.kv)
                by = Applier(store.kv, store, Adder(), no_conf)
        counters = by.sessions.counters
        seen.add(
            (
                by.digest,
                by.query(b""),
                tuple(answers),
                counters.next,
                counters.oldest,
                len(by.sessions),
            )
        )
    assert len(seen) == 1


def test_the_digest_tells_histories_apart() -> None:
    histories = [
        [proposal(2, b"1"), proposal(3, b"2")],
        [proposal(2, b"1"), proposal(3, b"3")],
        [proposal(2, b"1"), proposal(3, b"2", term=2)],
        [proposal(2, b"1"), proposal(3, b"2", key=b"k")],
        [proposal(2, b"2"), proposal(3, b"1")],
        [proposal(2, b"1"), entry(3, 1, b"2")],
    ]
    digests = set()
    for history in histories:
        store, by = adder()
        run(store, by, *history)
        digests.add(by.digest)
    assert len(digests) == len(histories)


def test_a_machine_that_answers_differently_shows_in_the_digest() -> None:
    store, by = adder()
    run(store, by, proposal(2, b"1"))
    other_store, other = adder()
    assert isinstance(other.machine, Adder)
    plain = other.machine.apply
    other.machine.apply = lambda c, d: plain(c, d) + b"!"  # type: ignore[method-assign, assignment]
    run(other_store, other, proposal(2, b"1"))
    assert by.digest != other.digest


# -- client keys -----------------------------------------------------------------------------------


def test_a_key_is_applied_once_and_answered_alike() -> None:
    store, by = adder()
    first = run(store, by, proposal(2, b"5", key=b"a"), proposal(3, b"bad", key=b"b"))
    again = run(
        store,
        by,
        proposal(4, b"5", key=b"a"),
        proposal(5, b"6", key=b"b"),
        proposal(6, b"5", key=b"a"),
    )
    assert [each.deduplicated for each in first + again] == [False, False, True, True, True]
    assert [(each.index, each.outcome, each.result) for each in again] == [
        (2, Outcome.APPLIED, b"5@2"),
        (3, Outcome.REFUSED, b"no"),
        (2, Outcome.APPLIED, b"5@2"),
    ]
    assert [each.entry_index for each in again] == [4, 5, 6]
    assert by.query(b"") == b"5"
    record = by.outcome("a")
    assert record is not None
    assert (record.index, record.result) == (2, b"5@2")
    assert by.outcome("never") is None


def test_a_retry_in_the_same_batch_is_a_retry() -> None:
    store, by = adder()
    found = run(store, by, *[proposal(index, b"5", key=b"a") for index in range(2, 5)])
    assert [each.deduplicated for each in found] == [False, True, True]
    assert by.query(b"") == b"5"


# -- control entries -------------------------------------------------------------------------------


def test_the_groups_clock_never_goes_back() -> None:
    store, by = adder()
    for index, stamp, expected in ((2, 100, 100), (3, 50, 100), (4, 200, 200)):
        run(store, by, control(index, ControlCommand(set_clock=SetClock(unix_ms=stamp))))
        assert by.log_time_ms == expected
    assert isinstance(by.machine, Adder)
    assert by.machine.advanced == [100, 100, 200]
    found = LogStore.open(store.kv)
    assert Applier(found.kv, found, Adder(), no_conf).log_time_ms == 200


def test_settings_change_in_part() -> None:
    store, by = adder(Settings(sessions_max=5, session_ttl_ms=9))
    change = SetSettings(sessions_max=7, history_count=0)
    run(store, by, control(2, ControlCommand(set_settings=change)))
    assert by.settings == Settings(sessions_max=7, session_ttl_ms=9, history_count=0)
    assert LogStore.open(store.kv).load_settings() == by.settings
    (refused,) = run(
        store, by, control(3, ControlCommand(set_settings=SetSettings(sessions_max=0)))
    )
    assert refused.outcome is Outcome.REFUSED
    assert by.settings.sessions_max == 7


def test_a_member_moves() -> None:
    store, by = adder()
    before = by.addresses
    run(store, by, control(2, ControlCommand(set_addr=SetAddr(id=2, addr="new:2"))))
    assert by.addresses == {**ADDRESSES, 2: "new:2"}
    assert before == ADDRESSES
    (refused,) = run(store, by, control(3, ControlCommand(set_addr=SetAddr(id=9, addr="x:9"))))
    assert refused.outcome is Outcome.REFUSED
    assert LogStore.open(store.kv).load_addresses() == by.addresses


def test_members_compare_digests_at_one_entry() -> None:
    seen = []
    for _ in range(2):
        store, by = adder()
        mark = control(3, ControlCommand(verify_at=VerifyAt(nonce=b"n")))
        run(store, by, proposal(2, b"1"), mark)
        seen.append(by.verified)
    assert seen[0] == seen[1]
    assert seen[0] is not None
    assert seen[0][:2] == (b"n", 3)


# -- membership ------------------------------------------------------------------------------------


def test_a_change_brings_its_addresses_and_leaves_none_behind() -> None:
    store = bootstrap(machine="adder")
    states = iter(
        [
            ConfState(voters=[1, 2, 4], voters_outgoing=[1, 2, 3], learners_next=[3]),
            ConfState(voters=[1, 4], learners=[3]),
        ]
    )
    by = Applier(store.kv, store, Adder(), lambda _: next(states))
    (found,) = run(store, by, conf_entry(2, {4: "h4:4", 9: "stranger:9"}))
    assert (found.kind, found.node, found.incarnation) == (EntryKind.CONF, 1, 7)
    assert by.addresses == {**ADDRESSES, 4: "h4:4"}
    run(store, by, conf_entry(3))
    assert by.addresses == {1: "h1:1", 3: "h3:3", 4: "h4:4"}
    again = LogStore.open(store.kv)
    assert again.load_addresses() == by.addresses
    assert again.conf_state == ConfState(voters=[1, 4], learners=[3])
    assert again.applied.index == 3


def test_a_refused_change_is_an_outcome() -> None:
    def refuse(_: Entry) -> ConfState:
        raise CommandRefused("nothing to finalize")

    store = bootstrap(machine="adder")
    by = Applier(store.kv, store, Adder(), refuse)
    (found,) = run(store, by, conf_entry(2, {1: "moved:1"}))
    assert (found.outcome, found.result) == (Outcome.REFUSED, b"nothing to finalize")
    assert store.conf_state == members()
    assert by.addresses == ADDRESSES
    assert store.applied.index == 2


# -- what must stop the node -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        Entry(index=2, term=1, context=b"\x01short"),
        Entry(index=2, term=1, context=ORIGIN.pack(3, 1, 7, 1)),
        Entry(index=2, term=1, context=ORIGIN.pack(2, 1, 7, 1), data=b"\xff\xff"),
        Entry(index=2, term=1, context=ORIGIN.pack(2, 1, 7, 1)),
        Entry(index=2, term=1, entry_type=EntryConfChange, data=b"\xff\xff"),
    ],
)
def test_unknown_entries_are_not_passed_over(wrong: Entry) -> None:
    store, by = adder()
    with pytest.raises(ApplyError, match="entry 2 cannot be applied"):
        by.apply(store.new_batch(), [wrong])


@pytest.mark.parametrize("key", [b"", b"k"])
@pytest.mark.parametrize("command", [b"half", b"crash"])
def test_a_machine_that_breaks_its_rules_stops_the_node(command: bytes, key: bytes) -> None:
    store, by = adder()
    with pytest.raises(MachineError, match="entry 2"):
        by.apply(store.new_batch(), [proposal(2, command, key=key)])
    assert store.applied.index == 1


# -- the records a machine sees --------------------------------------------------------------------


def test_a_context_sees_its_writes_over_the_store(rng: random.Random) -> None:
    """Against a dict: puts, deletes, range deletes and scans, before and after each write."""
    alphabet = [bytes((a, b)) for a in b"abc" for b in b"\x00xz\xff"] + [b"a", b"b", b""]
    for _ in range(40):
        kv = MemoryStore()
        context = Context(kv, 0, Settings())
        model: dict[bytes, bytes] = {}
        for number in range(60):
            action = rng.randrange(7)
            key, other = rng.choice(alphabet), rng.choice(alphabet)
            if action <= 2:
                context.put(key, b"%d" % number)
                model[key] = b"%d" % number
            elif action == 3:
                context.delete(key)
                model.pop(key, None)
            elif action == 4:
                context.delete_range(key, other)
                model = {each: value for each, value in model.items() if not key <= each < other}
            elif action == 5:
                batch = kv.new_batch()
                context.flush(batch)
                kv.write(batch)
                context.settle()
            assert context.get(key) == model.get(key)
            limit = rng.randrange(4)
            end = other if rng.randrange(2) else None
            wanted = [
                (each, model[each])
                for each in sorted(model)
                if key <= each and (end is None or each < end)
            ]
            assert list(context.scan(key, end, limit=limit)) == wanted[: limit or None]
        batch = kv.new_batch()
        context.flush(batch)
        kv.write(batch)
        assert list(StateReader(kv, 0).scan()) == sorted(model.items())
        assert list(StateReader(kv, 1).scan()) == []


@pytest.fixture
def log_pair() -> tuple[LogStore, Applier]:
    store = LogStore.bootstrap(MemoryStore(), identity(), members(), ADDRESSES)
    return store, applier(store)


def test_the_builders_apply_as_the_driver_does(log_pair: tuple[LogStore, Applier]) -> None:
    store, by = log_pair
    apply(store, by, [proposal(2, b"x"), proposal(3, b"y")])
    assert (store.hard_state.commit, by.index) == (3, 3)
