"""Plans to recover a group: who goes on, what may be lost, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from raft.eraftpb import ConfChange, Entry, EntryConfChange, HardState
from raftd.identity import RecoveryUnfinished
from raftd.kvstore import CorruptionError
from raftd.memory_store import MemoryStore
from raftd.recover import (
    Plan,
    RecoveryRefused,
    Report,
    apply,
    collect,
    common_prefix,
    make_plan,
    recovered,
)
from raftd.storage import LogStore
from tests.unit.raftd.builders import applier, bootstrap, entries
from tests.unit.raftd.builders import apply as apply_entries

NEW = bytes(range(16))
NOW = 1_800_000_000_000


def report(node_id: int, last: int = 100, term: int = 3, **other: Any) -> Report:
    """Return the report of one of three voters whose log has terms 1, 2 and ``term``."""
    values: dict[str, Any] = {
        "cluster_id": "ab" * 16,
        "node_id": node_id,
        "state_machine": "kv",
        "address": f"h{node_id}:1",
        "term": term,
        "vote": 0,
        "commit": min(last, 90),
        "applied": min(last, 90),
        "digest": "00" * 16,
        "first_index": 2,
        "last_index": last,
        "last_term": term,
        "runs": [[2, 1], [40, 2], [80, term]],
        "conf_unapplied": [],
        "config_index": 0,
        "voters": [1, 2, 3],
        "voters_outgoing": [],
        "learners": [],
        "addresses": {"1": "h1:1", "2": "h2:1", "3": "h3:1"},
        "collected_ms": NOW,
    }
    return Report(**values | other)


def of(*voters: int) -> dict[str, Any]:
    """Return what a report says of a group with other voters."""
    return {"voters": list(voters)}


def plan(*reports: Report, **options: Any) -> Plan:
    return make_plan(reports, NEW, NOW, **options)


def test_the_only_survivor_goes_on_and_what_may_be_lost_is_said() -> None:
    made = plan(report(1))
    assert (made.node_id, made.lost, made.others, made.removed) == (1, [2, 3], [], [2, 3])
    assert made.may_lose
    assert made.new_cluster_id == NEW.hex() != made.old_cluster_id
    text = "\n".join(made.words)
    assert "MAY BE LOST" in text
    assert "after entry 100" in text
    assert "entries 91 to 100 are kept" in text


def test_the_one_with_the_newest_log_goes_on() -> None:
    five = of(1, 2, 3, 4, 5)
    made = plan(report(1, last=100, term=3, **five), report(2, last=60, term=4, **five))
    # A later term beats a longer log, as in an election.
    assert made.node_id == 2
    assert made.others == [1]
    assert made.lost == [3, 4, 5]
    made = plan(report(1, last=100, **five), report(2, last=101, **five))
    assert made.node_id == 2


def test_nothing_is_lost_where_the_lost_were_no_majority_among_themselves() -> None:
    four = of(1, 2, 3, 4)
    made = plan(report(1, **four), report(2, **four))
    # Two of four: no majority without a survivor, and none with two alone either.
    assert not made.may_lose
    assert "nothing that was acknowledged is lost" in "\n".join(made.words)
    assert plan(report(1, **four)).may_lose


def test_a_joint_group_needs_both_majorities_to_acknowledge() -> None:
    joint = of(1, 4, 5) | {"voters_outgoing": [1, 2, 3], "config_index": 7}
    # 2 and 3 alone are a majority of the old voters, but not of the new ones.
    made = plan(report(1, **joint), report(4, **joint))
    assert made.lost == [2, 3, 5]
    assert not made.may_lose
    assert plan(report(1, **joint)).may_lose


def test_a_majority_that_survives_needs_no_recovery() -> None:
    with pytest.raises(RecoveryRefused, match="start them"):
        plan(report(1), report(2))
    assert plan(report(1), report(2, last=101), force=True).node_id == 2


def test_the_newest_configuration_counts() -> None:
    grown = of(1, 2, 3, 4, 5) | {"config_index": 60}
    # Of the three it was, node 1 and 2 would be a majority; of the five it is, they are none.
    made = plan(report(1, last=50), report(2, **grown))
    assert made.lost == [3, 4, 5]
    assert made.node_id == 2


@pytest.mark.parametrize(
    ("reports", "options", "words"),
    [
        ((), {}, "no report"),
        ((report(1), report(2, cluster_id="cd" * 16)), {}, "different groups"),
        ((report(1), report(1)), {}, "same node"),
        ((report(1, voters=[]),), {}, "never been part"),
        ((report(1),), {"chosen": 2}, "no report of node 2"),
        (
            (
                report(1, voters=[1, 2, 3, 4, 5]),
                report(2, last=99, voters=[1, 2, 3, 4, 5]),
            ),
            {"chosen": 2},
            "node 1 holds more",
        ),
    ],
)
def test_what_is_refused(reports: tuple[Report, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecoveryRefused, match=words):
        plan(*reports, **options)


def test_where_two_logs_part() -> None:
    one = report(1, last=100, runs=[[2, 1], [40, 2], [80, 3]])
    assert common_prefix(one, one) == 100
    assert common_prefix(one, report(2, last=90)) == 90
    other = report(2, last=100, term=4, runs=[[2, 1], [40, 2], [60, 4]])
    assert common_prefix(one, other) == 59
    made = plan(replace(one, voters=[1, 2, 3, 4, 5]), replace(other, voters=[1, 2, 3, 4, 5]))
    assert "up to entry 59, dropping 41 entries" in "\n".join(made.words)


def test_reports_and_plans_are_checked_when_they_are_read() -> None:
    one = report(1)
    assert Report.decode(one.encode(), "1.json") == one
    made = plan(one)
    assert Plan.decode(made.encode(), "plan.json") == made
    with pytest.raises(RecoveryRefused, match="not a raftd recovery plan"):
        Plan.decode(one.encode(), "1.json")
    with pytest.raises(CorruptionError, match=r"1\.json"):
        Report.decode(one.encode().replace(b"100", b"200"), "1.json")


# --- carrying out -----------------------------------------------------------------------------


def survivor() -> tuple[MemoryStore, LogStore]:
    """Return the store of node 1 of three: applied up to 29, the log up to 40."""
    store = bootstrap(machine="log")
    by = applier(store)
    apply_entries(store, by, entries(2, 30))
    batch = store.new_batch()
    change = Entry(
        entry_type=EntryConfChange, index=33, term=2, data=ConfChange().SerializeToString()
    )
    store.append(batch, [*entries(30, 33, term=2), change, *entries(34, 41, term=2)])
    store.set_hard_state(batch, HardState(term=5, vote=3, commit=31))
    store.write(batch)
    store.sync()
    assert isinstance(store.kv, MemoryStore)
    kv = store.kv.crash()
    return kv, LogStore.open(kv, read_only=True)


def test_a_survivor_becomes_a_group_of_one() -> None:
    kv, store = survivor()
    found = collect(store, NOW)
    assert (found.last_index, found.last_term, found.commit) == (40, 2, 31)
    assert found.conf_unapplied == [33]
    made = plan(found)
    done = apply(kv, made)
    assert done.emptied == [33]
    assert not done.resumed
    kv = kv.crash()
    again = LogStore.open(kv)
    assert again.identity.cluster_id == NEW
    assert (again.identity.node_id, again.identity.state_machine) == (1, "log")
    state = again.conf_state
    assert (list(state.voters), list(state.removed)) == ([1], [2, 3])
    hard_state = again.hard_state
    assert (hard_state.term, hard_state.vote, hard_state.commit) == (6, 0, 31)
    assert again.last_index() == 40
    assert [entry.data for entry in again.entries(30, 33)] == [
        entry.data for entry in entries(30, 33)
    ]
    # The change of the old membership would have been applied to the new one.
    emptied = again.entries(33, 34)[0]
    assert (emptied.entry_type, emptied.data, emptied.term) == (0, b"", 2)
    assert again.load_addresses() == {1: "h1:1"}
    assert again.check().ok
    assert recovered(kv) == made


def test_a_plan_fits_only_the_data_it_was_made_for() -> None:
    kv, store = survivor()
    made = plan(collect(store, NOW))
    batch = store.new_batch()
    store.append(batch, entries(41, 42, term=2))
    store.write(batch)
    kv.sync()
    kv = kv.crash()
    with pytest.raises(RecoveryRefused, match="changed since it was collected"):
        apply(kv, made)
    with pytest.raises(RecoveryRefused, match="node 2"):
        apply(kv, replace(made, node_id=2))
    assert LogStore.open(kv).identity.cluster_id.hex() == made.old_cluster_id


class PowerCut(Exception):
    """The simulated machine lost its power."""


def test_a_crash_at_every_step_leaves_the_old_or_goes_on_to_the_new() -> None:
    kv, store = survivor()
    made = plan(collect(store, NOW))
    seen: set[str] = set()
    stop = 0
    finished = False
    while not finished:
        copy = kv.clone()
        copy.on_step = _cut_after(stop)
        try:
            apply(copy, made)
            finished = True
        except PowerCut:
            pass
        copy.on_step = None
        for keep in sorted({0, copy.unsynced}):
            found = copy.clone().crash(keep)
            now = _which(found)
            seen.add(now)
            if now != "new":
                # The same command again, whatever there is, ends with the new group.
                apply(found, made)
            final = LogStore.open(found.crash())
            assert final.identity.cluster_id == NEW
            assert list(final.conf_state.voters) == [1]
            assert final.last_index() == 40
            assert final.check().ok
        stop += 1
    assert seen == {"old", "between", "new"}
    assert stop > 4


def _cut_after(steps: int) -> Callable[[str], None]:
    left = steps

    def step(name: str) -> None:
        nonlocal left
        if left == 0:
            raise PowerCut(name)
        left -= 1

    return step


def _which(kv: MemoryStore) -> str:
    try:
        opened = LogStore.open(kv, read_only=True)
    except RecoveryUnfinished:
        return "between"
    return "new" if opened.identity.cluster_id == NEW else "old"


def test_another_plan_does_not_finish_what_this_one_began() -> None:
    kv, store = survivor()
    made = plan(collect(store, NOW))
    kv.on_step = _cut_after(1)
    with pytest.raises(PowerCut):
        apply(kv, made)
    kv.on_step = None
    with pytest.raises(RecoveryUnfinished, match="recover apply"):
        LogStore.open(kv)
    with pytest.raises(RecoveryRefused, match="another plan"):
        apply(kv, replace(made, new_cluster_id="77" * 16))
    assert apply(kv, made).resumed
    assert LogStore.open(kv.crash()).identity.cluster_id == NEW
