"""A group that has lost its majority for good: a new one is made out of a survivor's data.

In four steps, each of which can be looked at before the next. *collect*: what each survivor holds,
read from its data directory. *plan*: which survivor goes on, and what may be lost; changes nothing.
*apply*: turns that survivor's data into a group of one, under a new cluster id. *verify*: reads it
all again. The others are then added as new members.

**What may be lost.** An entry is acknowledged when a majority holds it. As long as no majority
could be formed by the lost nodes alone, some survivor holds every acknowledged entry, and the one
with the highest (last term, last index) holds them all (Raft 5.4.1). With a majority lost, entries
may have been acknowledged by lost nodes alone: nobody can say which.

**Why the lost nodes cannot come back.** The cluster id is new, so no hello between old and new is
accepted; the old ids are remembered as removed, so none of them can be added again either.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

from raft import majority
from raft.eraftpb import ConfState, Entry, EntryNormal, HardState
from raftd import keys
from raftd.identity import FORMAT, Bounds, Identity, decode_json, encode_json
from raftd.kvstore import ColumnFamily, KeyValueStore
from raftd.records import encode_addresses
from raftd.storage import SIDE_BOUNDS, SIDE_IDENTITY, SIDE_RECOVERING, LogStore

REPORT: Final = "raftd recovery report"
PLAN: Final = "raftd recovery plan"

_LOG = ColumnFamily.LOG
_META = ColumnFamily.META


class RecoveryRefused(Exception):
    """The recovery cannot be done, or would do harm; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one survivor holds.

    Attributes:
        cluster_id: Hexadecimal.
        address: Where it listened for peers, as the group knew it; may be empty.
        term, vote, commit: Its hard state; commit at least its applied index.
        applied, digest: How far its state is, and the rolling hash as of there.
        first_index, last_index, last_term: Of its log; a log without entries ends at its start.
        runs: (first index, term) of each term in the log, ascending.
        conf_unapplied: Indexes of changes of membership that are in the log and not applied.
        voters, voters_outgoing, learners: The configuration as of the applied index.
        addresses: Of all members, as of there; ids as text.
        collected_ms: When, milliseconds since 1970.
    """

    cluster_id: str
    node_id: int
    state_machine: str
    address: str
    term: int
    vote: int
    commit: int
    applied: int
    digest: str
    first_index: int
    last_index: int
    last_term: int
    runs: list[list[int]]
    conf_unapplied: list[int]
    config_index: int
    voters: list[int]
    voters_outgoing: list[int]
    learners: list[int]
    addresses: dict[str, str]
    collected_ms: int
    kind: str = REPORT
    format: int = FORMAT

    def encode(self) -> bytes:
        """Return the report as one line of JSON with its own checksum."""
        return encode_json(asdict(self))

    @classmethod
    def decode(cls, data: bytes, what: str) -> Self:
        """Return what ``encode`` was called on.

        Raises:
            CorruptionError: It was changed.
            RecoveryRefused: It is something else.
        """
        return cls(**_decoded(data, what, REPORT, {field.name for field in fields(cls)}))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with one survivor's data.

    Attributes:
        old_cluster_id, new_cluster_id: Hexadecimal.
        node_id: The survivor that goes on.
        last_index, last_term, applied, digest, commit: What its data must be like when the plan is
            carried out.
        conf_unapplied: Entries of its log that become empty ones: changes of a membership that is
            no more.
        lost: Voters that are gone.
        others: Survivors to be added anew.
        may_lose: Whether acknowledged entries may be lost.
        words: All of this in sentences.
    """

    old_cluster_id: str
    new_cluster_id: str
    node_id: int
    address: str
    last_index: int
    last_term: int
    applied: int
    digest: str
    commit: int
    conf_unapplied: list[int]
    removed: list[int]
    lost: list[int]
    others: list[int]
    may_lose: bool
    words: list[str]
    planned_ms: int
    kind: str = PLAN
    format: int = FORMAT

    def encode(self) -> bytes:
        """Return the plan as one line of JSON with its own checksum."""
        return encode_json(asdict(self))

    @classmethod
    def decode(cls, data: bytes, what: str) -> Self:
        """Return what ``encode`` was called on; raises as ``Report.decode``."""
        return cls(**_decoded(data, what, PLAN, {field.name for field in fields(cls)}))


def _decoded(data: bytes, what: str, kind: str, names: set[str]) -> Mapping[str, Any]:
    values = decode_json(data, what)
    if values.get("kind") != kind:
        raise RecoveryRefused(f"{what} is not a {kind}")
    if values.get("format") != FORMAT or set(values) != names:
        raise RecoveryRefused(f"{what} was made by another version of raftd; make it again")
    return values


def collect(store: LogStore, now_ms: int) -> Report:
    """Return what a survivor holds.

    Args:
        store: Its store; only read.
        now_ms: The wall clock.
    """
    identity, hard_state, conf_state = store.identity, store.hard_state, store.conf_state
    addresses = store.load_addresses()
    last = store.last_index()
    return Report(
        cluster_id=identity.cluster_id.hex(),
        node_id=identity.node_id,
        state_machine=identity.state_machine,
        address=addresses.get(identity.node_id, ""),
        term=hard_state.term,
        vote=hard_state.vote,
        commit=max(hard_state.commit, store.applied.index),
        applied=store.applied.index,
        digest=store.applied.digest.hex(),
        first_index=store.first_index(),
        last_index=last,
        last_term=store.term(last),
        runs=[list(run) for run in store.term_runs()],
        conf_unapplied=[
            entry.index
            for entry, _ in store.iterate(store.applied.index + 1, last + 1)
            if entry.entry_type != EntryNormal
        ],
        config_index=conf_state.config_index,
        voters=sorted(conf_state.voters),
        voters_outgoing=sorted(conf_state.voters_outgoing),
        learners=sorted({*conf_state.learners, *conf_state.learners_next}),
        addresses={str(node): addresses[node] for node in sorted(addresses)},
        collected_ms=now_ms,
    )


def make_plan(
    reports: Sequence[Report],
    new_cluster_id: bytes,
    now_ms: int,
    *,
    chosen: int = 0,
    force: bool = False,
) -> Plan:
    """Decide which survivor goes on, and say what that may lose.

    Args:
        reports: Of all survivors.
        new_cluster_id: 16 random bytes.
        now_ms: The wall clock.
        chosen: The survivor to go on with; 0: the one that holds most.
        force: Also when a majority survives.

    Raises:
        RecoveryRefused: The reports do not belong together, or no recovery is needed.
    """
    _check_together(reports)
    # The newest configuration that any of them has applied is the one that acknowledged last.
    newest = max(reports, key=lambda report: (report.config_index, report.applied))
    members = {*newest.voters, *newest.voters_outgoing, *newest.learners}
    alive = {report.node_id for report in reports}
    groups = [set(group) for group in (newest.voters, newest.voters_outgoing) if group]
    lost = sorted(set().union(*groups) - alive)
    if all(len(group & alive) >= majority(len(group)) for group in groups) and not force:
        raise RecoveryRefused(
            f"nodes {_ids(alive)} are a majority of the voters {_ids(newest.voters)}: start them,"
            " and the group goes on by itself without losing anything; replace the others with"
            " raftctl member replace"
        )
    best = max(
        reports,
        key=lambda report: (
            report.last_term,
            report.last_index,
            report.commit,
            report.node_id in newest.voters,
        ),
    )
    if chosen:
        found = [report for report in reports if report.node_id == chosen]
        if not found:
            raise RecoveryRefused(f"there is no report of node {chosen}")
        less = (found[0].last_term, found[0].last_index) < (best.last_term, best.last_index)
        if less and not force:
            raise RecoveryRefused(
                f"node {best.node_id} holds more than node {chosen} (up to entry"
                f" {best.last_index} of term {best.last_term}, not {found[0].last_index} of term"
                f" {found[0].last_term}); going on with node {chosen} would lose that"
            )
        best = found[0]
    # Could the lost ones have acknowledged something without any survivor?
    may_lose = all(len(group - alive) >= majority(len(group)) for group in groups)
    others = sorted(alive - {best.node_id})
    removed = sorted({*members, *map(int, newest.addresses), *alive} - {best.node_id})
    return Plan(
        old_cluster_id=best.cluster_id,
        new_cluster_id=new_cluster_id.hex(),
        node_id=best.node_id,
        address=best.address,
        last_index=best.last_index,
        last_term=best.last_term,
        applied=best.applied,
        digest=best.digest,
        commit=best.commit,
        conf_unapplied=list(best.conf_unapplied),
        removed=removed,
        lost=lost,
        others=others,
        may_lose=may_lose,
        words=list(_words(best, reports, lost, others, new_cluster_id.hex(), may_lose=may_lose)),
        planned_ms=now_ms,
    )


def _check_together(reports: Sequence[Report]) -> None:
    if not reports:
        raise RecoveryRefused("there is no report to plan from")
    clusters = {report.cluster_id for report in reports}
    if len(clusters) > 1:
        raise RecoveryRefused(f"the reports are of different groups: {', '.join(sorted(clusters))}")
    ids = [report.node_id for report in reports]
    if len(set(ids)) != len(ids):
        raise RecoveryRefused("two reports are of the same node; give one of each survivor")
    for report in reports:
        if not report.voters:
            raise RecoveryRefused(
                f"node {report.node_id} has never been part of the group: it has nothing to go on"
                " from; leave its report out"
            )


def _words(
    best: Report,
    reports: Sequence[Report],
    lost: Sequence[int],
    others: Sequence[int],
    new_cluster_id: str,
    *,
    may_lose: bool,
) -> Iterable[str]:
    yield (
        f"node {best.node_id} goes on alone, as cluster {new_cluster_id}: it holds the log up to"
        f" entry {best.last_index} of term {best.last_term}, and knows entries up to {best.commit}"
        " to be committed"
    )
    if best.commit < best.last_index:
        yield (
            f"entries {best.commit + 1} to {best.last_index} are kept, though nobody here knows"
            " whether they were committed: some client may have been told that they were not"
        )
    if may_lose:
        yield (
            f"MAY BE LOST: what nodes {_ids(lost)} acknowledged among themselves after entry"
            f" {best.last_index}; no survivor can say whether there is any"
        )
    else:
        yield (
            f"nothing that was acknowledged is lost: nodes {_ids(lost)} were no majority without a"
            " survivor"
        )
    for index in best.conf_unapplied:
        yield f"entry {index}, a change of the old membership, becomes an empty one"
    for report in sorted(reports, key=lambda report: report.node_id):
        if report.node_id == best.node_id:
            continue
        common = common_prefix(report, best)
        dropped = report.last_index - common
        beyond = f", dropping {dropped} entries that were never committed" if dropped else ""
        yield (
            f"node {report.node_id} agrees with it up to entry {common}{beyond}; add it anew, with"
            " an empty data directory and a new id"
        )
    gone = sorted({*lost, *others})
    yield f"ids {_ids(gone)} may not return; the new cluster refuses the old nodes"


def common_prefix(one: Report, other: Report) -> int:
    """Return the last index at which two logs of one group are the same; 0 if none is known."""
    low = max(one.first_index, other.first_index) - 1
    high = min(one.last_index, other.last_index)
    # Equal terms at an index mean equal logs up to it (Raft 5.3), so the difference is at the end.
    while high > low and _term_at(one, high) != _term_at(other, high):
        high -= 1
    return high


def _term_at(report: Report, index: int) -> int:
    found = 0
    for start, term in report.runs:
        if start > index:
            break
        found = term
    return found


def _ids(ids: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "-"


# --- carrying out -----------------------------------------------------------------------------


@dataclass(slots=True)
class Applied:
    """What carrying out a plan has done.

    Attributes:
        backup: Where a copy of the data as it was lies; empty if none was made.
        emptied: Entries that became empty ones.
        resumed: Whether an earlier attempt had been interrupted.
    """

    backup: str = ""
    emptied: list[int] = field(default_factory=list)
    resumed: bool = False


def apply(kv: KeyValueStore, plan: Plan, backup: str = "") -> Applied:
    """Turn a survivor's store into that of a group of one. Blocks.

    May be interrupted at any point and run again: until it is through the store cannot be started
    from, and the steps are the same each time.

    Args:
        kv: The survivor's store, opened for writing.
        plan: What to do; made from a report of this store.
        backup: Path to put a copy of the database at first; empty: none. It must not exist, unless
            an earlier attempt made it.

    Raises:
        RecoveryRefused: The store is not what the plan was made for.
        CorruptionError, IdentityError: The store is damaged, or not to be started from.
    """
    done = Applied(backup=backup)
    marker = kv.side_read(SIDE_RECOVERING)
    if marker is not None:
        if Plan.decode(marker, "recovering.json") != plan:
            raise RecoveryRefused(
                "a recovery by another plan was begun here and not finished; finish that one, or"
                " put the backup back"
            )
        done.resumed = True
        new = _new_identity(kv, plan)
        store = LogStore.open_for_recovery(kv, new)
    else:
        store = LogStore.open(kv, read_only=True)
        _check_store(store, plan)
        report = store.check()
        if report.problems:
            raise RecoveryRefused(f"the store is damaged: {'; '.join(report.problems)}")
        if backup:
            kv.checkpoint(backup)
        new = _new_identity(kv, plan)
        kv.side_write(SIDE_RECOVERING, plan.encode())
    _write_new(kv, store, new, plan, done)
    kv.sync()
    # In table files, as at the making of a store: an identity must outlive the journal.
    kv.flush()
    position = kv.position()
    bounds = Bounds(
        term=store.hard_state.term,
        commit=store.hard_state.commit,
        opens=store.opens,
        sequence=position.sequence,
        wal=position.wal,
    )
    kv.side_write(SIDE_BOUNDS, encode_json(asdict(bounds)))
    kv.side_write(SIDE_IDENTITY, new.encode())
    kv.side_delete(SIDE_RECOVERING)
    return done


def _check_store(store: LogStore, plan: Plan) -> None:
    identity, applied = store.identity, store.applied
    last = store.last_index()
    found = (identity.node_id, identity.cluster_id.hex())
    if found != (plan.node_id, plan.old_cluster_id):
        raise RecoveryRefused(
            f"the plan is for node {plan.node_id} of cluster {plan.old_cluster_id}, this is node"
            f" {found[0]} of cluster {found[1]}"
        )
    state = (last, store.term(last), applied.index, applied.digest.hex())
    if state != (plan.last_index, plan.last_term, plan.applied, plan.digest):
        raise RecoveryRefused(
            f"the data has changed since it was collected: its log ends at entry {last} of term"
            f" {store.term(last)}, the report says {plan.last_index} of term {plan.last_term};"
            " collect and plan again"
        )


def _new_identity(kv: KeyValueStore, plan: Plan) -> Identity:
    side = kv.side_read(SIDE_IDENTITY)
    assert side is not None  # Opening the store has read it.
    old = Identity.decode(side, "identity.json")
    return Identity(
        bytes.fromhex(plan.new_cluster_id), old.node_id, old.state_machine, old.created_ms
    )


def _write_new(
    kv: KeyValueStore, store: LogStore, new: Identity, plan: Plan, done: Applied
) -> None:
    batch = store.new_batch()
    for index in plan.conf_unapplied:
        term = store.term(index)
        data = Entry(index=index, term=term).SerializeToString()
        batch.put(_LOG, keys.log_key(index), keys.seal(data, index))
        done.emptied.append(index)
    hard_state = HardState(
        # Votes of the old group mean nothing in the new one, and may not be taken for its own.
        term=max(store.hard_state.term, plan.last_term) + (0 if done.resumed else 1),
        commit=plan.commit,
    )
    conf_state = ConfState(
        voters=[plan.node_id], removed=plan.removed, config_index=store.applied.index
    )
    addresses = {plan.node_id: plan.address} if plan.address else {}
    batch.put(_META, keys.IDENTITY, keys.seal(new.encode()))
    batch.put(_META, keys.ADDRESSES, keys.seal(encode_addresses(addresses)))
    batch.put(_META, keys.RECOVERED, keys.seal(plan.encode()))
    store.set_hard_state(batch, hard_state)
    store.set_conf_state(batch, conf_state)
    kv.write(batch)


def recovered(kv: KeyValueStore) -> Plan | None:
    """Return the plan by which this store was recovered last; None if it never was."""
    sealed = kv.get(_META, keys.RECOVERED)
    if sealed is None:
        return None
    return Plan.decode(keys.unseal(sealed, "the record of a recovery"), "the record of a recovery")


def now_ms() -> int:
    """Return the wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000
