"""The Raft log, hard state and identity of one node, on a key-value store.

Every write goes into a batch of the caller's, so that a Ready's entries, its hard state and what
applying changed become durable together. The newest entries stay in memory: feeding followers that
keep up reads no disk, and a term is looked up without one (terms are kept as runs).

**Lost data shows.** A database that lost its write-ahead log, or was put back to an older state,
opens without a complaint and would let its node vote twice. So two small files lie beside it:
``identity`` says whose it is, ``bounds`` how far it had come when ``bounds`` was last written. A
store behind its bounds is refused. The bounds claim only what never goes back (term, vote, commit
index, number of writes) and are raised only after it is durable. They follow terms and votes at
once, the rest every ``BOUNDS_EVERY`` entries and exactly at a clean stop; a missing write-ahead log
is noticed in between too, because the number of its newest file is recorded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from struct import Struct
from typing import Final

from google.protobuf.message import DecodeError

from raft.eraftpb import ConfState, Entry, HardState, Snapshot, SnapshotMetadata, conf_state_of
from raft.errors import (
    Compacted,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    Unavailable,
)
from raft.invariant import InvariantViolation
from raft.storage import GetEntriesContext, RaftState
from raftd import keys
from raftd.identity import (
    ADD_AGAIN,
    AlreadyInitialized,
    Bounds,
    Identity,
    IdentityError,
    MissingMeta,
    NotInitialized,
    RecoveryUnfinished,
    RegressedError,
    WrongCluster,
    WrongNode,
    decode_json,
    encode_json,
    expect,
)
from raftd.kvstore import Batch, ColumnFamily, CorruptionError, KeyValueStore
from raftd.log_tail import Tail, TermRuns
from raftd.records import AppliedState, CheckReport, decode_addresses, encode_addresses
from raftd.settings import Settings

__all__ = ["AppliedState", "CheckReport", "Identity", "IdentityError", "LogStore"]

BOUNDS_EVERY: Final = 4096
"""Entries after which the bounds are raised. One small fsync per so many entries costs nothing."""

VERIFY_ENTRIES: Final = 4096
VERIFY_BYTES: Final = 8 * 1024 * 1024
"""How much of the tail is read and checked at start; older entries are checked when read."""

SIDE_IDENTITY: Final = "identity"
SIDE_BOUNDS: Final = "bounds"
SIDE_INITIALIZING: Final = "initializing"
SIDE_RECOVERING: Final = "recovering"
"""Exists while a survivor's store is being turned into that of a new group; see raftd.recover."""

_LOG = ColumnFamily.LOG
_META = ColumnFamily.META

_pack_u64 = keys.pack_u64
_pack_u32 = keys.pack_u32
_unpack_u32_from = keys.unpack_u32_from
_PAIR: Final = Struct(">QQ")
_crc32 = zlib.crc32


BOOTSTRAP_INDEX: Final = 1
"""What a first member has applied before anything is proposed: the group's start."""


class LogStore:
    """A node's persistent Raft state: ``raft.Storage`` for reading, batches for writing.

    ::

        batch = store.new_batch()
        store.append(batch, ready.entries)
        store.set_hard_state(batch, ready.hs)
        applier.apply(batch, ready.committed_entries)
        store.write(batch)      # on the node's thread; never waits for the disk
        store.sync()            # in a worker thread; then send what had to wait

    What is put into a batch is visible in this object at once, so write the batch before anything
    else happens. Only ``sync``, ``reclaim`` and ``close`` block.
    """

    def __init__(self, kv: KeyValueStore, identity: Identity) -> None:
        """Prepare an object for ``open``; use ``bootstrap``, ``join`` or ``open``."""
        self.kv = kv
        self.identity = identity
        self._hard_state = HardState()
        self._conf_state = ConfState()
        self._truncated_index = 0
        self._truncated_term = 0
        self._last_index = 0
        self._runs = TermRuns()
        self._tail = Tail()
        self._applied = AppliedState()
        self._opens = 0
        self._bounds = Bounds()
        self._written = Bounds()
        self._reclaimable = 0
        # Entries appended since the start, and how many when the bounds were last written.
        self._appended = 0
        self._appended_at_bounds = 0
        #: Makes the snapshot for a peer: (request_index, to) -> Snapshot. Raises
        #: SnapshotTemporarilyUnavailable, and begins to make one, when there is none yet.
        self.snapshot_provider: Callable[[int, int], Snapshot] | None = None

    # -- making and opening ----------------------------------------------------------------------

    @classmethod
    def bootstrap(
        cls,
        kv: KeyValueStore,
        identity: Identity,
        conf_state: ConfState,
        addresses: Mapping[int, str],
        settings: Settings | None = None,
    ) -> LogStore:
        """Make the store of one of a new group's first members. Blocks.

        All first members must be given the same cluster id, configuration, addresses and settings:
        they stand for the state at index 1, term 1, which no log holds. Durable when it returns.

        Raises:
            AlreadyInitialized: There is a node in this store.
        """
        if identity.node_id not in (*conf_state.voters, *conf_state.learners):
            raise ValueError(f"node {identity.node_id} is not in the group's first configuration")
        return cls._initialize(
            kv,
            identity,
            applied=AppliedState(index=BOOTSTRAP_INDEX, term=1),
            conf_state=conf_state,
            addresses=addresses,
            settings=settings or Settings(),
        )

    @classmethod
    def join(
        cls,
        kv: KeyValueStore,
        identity: Identity,
        addresses: Mapping[int, str] | None = None,
        settings: Settings | None = None,
    ) -> LogStore:
        """Make the empty store of a node that joins a group: it waits for a snapshot. Blocks.

        Raises:
            AlreadyInitialized: There is a node in this store.
        """
        return cls._initialize(
            kv,
            identity,
            applied=AppliedState(),
            conf_state=ConfState(),
            addresses=addresses or {},
            settings=settings or Settings(),
        )

    @classmethod
    def restore(
        cls,
        kv: KeyValueStore,
        identity: Identity,
        *,
        applied: AppliedState,
        conf_state: ConfState,
        addresses: Mapping[int, str],
        settings: Settings,
        epoch: int,
    ) -> LogStore:
        """Make a store whose state is that of a snapshot already staged under ``epoch``. Blocks."""
        return cls._initialize(
            kv,
            identity,
            applied=applied,
            conf_state=conf_state,
            addresses=addresses,
            settings=settings,
            epoch=epoch,
        )

    @classmethod
    def _initialize(
        cls,
        kv: KeyValueStore,
        identity: Identity,
        *,
        applied: AppliedState,
        conf_state: ConfState,
        addresses: Mapping[int, str],
        settings: Settings,
        epoch: int = 0,
    ) -> LogStore:
        if kv.side_read(SIDE_IDENTITY) is not None or kv.get(_META, keys.IDENTITY) is not None:
            raise AlreadyInitialized(
                "this store holds a node already; making another over it would forget its votes;"
                " start the node on it, or give another --data-dir"
            )
        batch = kv.new_batch()
        hard_state = HardState(term=applied.term, commit=applied.index)
        for key, value in (
            (keys.IDENTITY, identity.encode()),
            (keys.HARD_STATE, hard_state.SerializeToString()),
            (keys.CONF_STATE, conf_state.SerializeToString()),
            (keys.TRUNCATED, _PAIR.pack(applied.index, applied.term)),
            (keys.APPLIED, applied.encode()),
            (keys.ADDRESSES, encode_addresses(addresses)),
            (keys.SETTINGS, settings.encode()),
            (keys.EPOCH, _pack_u64(epoch)),
            (keys.OPENS, _pack_u64(0)),
        ):
            batch.put(_META, key, keys.seal(value))
        kv.write(batch)
        kv.sync()
        # In table files the identity outlives the loss of the write-ahead log.
        kv.flush()
        bounds = Bounds(term=applied.term, commit=applied.index)
        kv.side_write(SIDE_BOUNDS, encode_json(asdict(bounds)))
        kv.side_write(SIDE_IDENTITY, identity.encode())
        kv.side_delete(SIDE_INITIALIZING)
        return cls.open(kv)

    @classmethod
    def open(
        cls,
        kv: KeyValueStore,
        *,
        node_id: int | None = None,
        cluster_id: bytes | None = None,
        state_machine: str | None = None,
        read_only: bool = False,
        verify_entries: int = VERIFY_ENTRIES,
    ) -> LogStore:
        """Open the store of a node, check that it is whole, and count the opening. Blocks.

        Takes time and memory that do not grow with the log: the newest ``verify_entries`` entries
        are read and checked one by one, the others when they are needed (see ``check``).

        Args:
            kv: The store; opened, with its write-ahead log recovered.
            node_id, cluster_id, state_machine: What the store is expected to belong to; None: any.
            read_only: Change nothing; for inspection beside a running node.
            verify_entries: Entries of the tail to check.

        Raises:
            IdentityError: One of its subclasses; the store is not one to start from.
            CorruptionError: The store is damaged.
        """
        if kv.side_read(SIDE_RECOVERING) is not None:
            raise RecoveryUnfinished(
                "a recovery was begun on this store and not finished, so it belongs to no group;"
                " run the same raftctl recover apply again, it goes on where it stopped"
            )
        identity = cls._load_identity(kv)
        expect(identity, node_id, cluster_id, state_machine)
        store = cls(kv, identity)
        store._load_meta()
        # First: a lost write-ahead log can also make the records contradict each other.
        store._check_bounds()
        store._load_log(verify_entries)
        if not read_only:
            store._count_opening()
        return store

    @classmethod
    def open_for_recovery(cls, kv: KeyValueStore, identity: Identity) -> LogStore:
        """Open a store whose recovery was interrupted, to go on with it; nothing is written.

        Its guards may be those of the old group or of the new one: they are not looked at.
        """
        store = cls(kv, identity)
        store._load_meta()
        store._load_log(VERIFY_ENTRIES)
        return store

    @staticmethod
    def _load_identity(kv: KeyValueStore) -> Identity:
        side = kv.side_read(SIDE_IDENTITY)
        sealed = kv.get(_META, keys.IDENTITY)
        if side is None and sealed is None:
            raise NotInitialized(
                "no node was made in this store; there is nothing to start; bootstrap a group or"
                " join one"
            )
        if side is None:
            raise MissingMeta(
                "the file identity.json is gone though the database holds a node; somebody"
                " removed it or copied the database alone, so the other guards may be gone too;"
                " put the file back, or remove the node from its group and add it again under a"
                " new id"
            )
        if sealed is None:
            raise MissingMeta(
                "the database holds no identity though identity.json names a node; its contents are"
                " lost and with them votes and entries; remove the node from its group and add it"
                " again under a new id"
            )
        identity = Identity.decode(side, "identity.json")
        inner = Identity.decode(keys.unseal(sealed, "the identity record"), "the identity record")
        if inner.cluster_id != identity.cluster_id:
            raise WrongCluster(
                f"identity.json names cluster {identity.cluster_id.hex()}, the database beside it"
                f" cluster {inner.cluster_id.hex()}; two data directories were mixed; put the right"
                " files back"
            )
        if inner.node_id != identity.node_id:
            raise WrongNode(
                f"identity.json names node {identity.node_id}, the database beside it node"
                f" {inner.node_id}; two data directories were mixed; put the right files back"
            )
        return inner

    def _load_meta(self) -> None:
        self._hard_state.ParseFromString(self._meta(keys.HARD_STATE, "the hard state"))
        self._conf_state.ParseFromString(self._meta(keys.CONF_STATE, "the configuration"))
        truncated = self._meta(keys.TRUNCATED, "the log's start")
        self._truncated_index, self._truncated_term = _PAIR.unpack(truncated)
        self._applied = AppliedState.decode(self._meta(keys.APPLIED, "the applied position"))
        self._opens = int.from_bytes(self._meta(keys.OPENS, "the count of openings"))

    def _meta(self, key: bytes, what: str) -> bytes:
        sealed = self.kv.get(_META, key)
        if sealed is None:
            raise MissingMeta(
                f"{what} is missing from the database; it is written when the node is made and"
                f" never removed{ADD_AGAIN}"
            )
        return keys.unseal(sealed, what)

    def _load_log(self, verify_entries: int) -> None:
        first = self._truncated_index + 1
        self._last_index = self._truncated_index
        for key, _ in self.kv.scan(_LOG, limit=1, reverse=True):
            self._last_index = keys.log_index(key)
        for key, _ in self.kv.scan(_LOG, limit=1):
            found = keys.log_index(key)
            if found != first:
                raise CorruptionError(
                    f"the log begins at {found}, but the store says {first}{ADD_AGAIN}"
                )
        if self._last_index < self._truncated_index:
            raise CorruptionError(
                f"the log ends at {self._last_index}, before its start {first}{ADD_AGAIN}"
            )
        self._load_tail(verify_entries)
        self._runs.load(first, self._last_index + 1, self._read_term)
        if self._runs.terms and self._runs.terms[0] < self._truncated_term:
            raise _fall(self._truncated_term, self._runs.terms[0], first)
        for before, after, index in zip(
            self._runs.terms, self._runs.terms[1:], self._runs.starts[1:], strict=False
        ):
            if after < before:
                raise _fall(before, after, index)
        if self._applied.index > self._last_index or self._applied.index < self._truncated_index:
            raise CorruptionError(
                f"index {self._applied.index} is applied, but the log covers"
                f" {first} to {self._last_index}{ADD_AGAIN}"
            )
        if self._hard_state.commit > self._last_index:
            raise CorruptionError(
                f"index {self._hard_state.commit} is committed, but the log ends at"
                f" {self._last_index}{ADD_AGAIN}"
            )

    def _load_tail(self, verify_entries: int) -> None:
        tail: list[tuple[Entry, int]] = []
        total = 0
        low = max(self._truncated_index + 1, self._last_index - verify_entries + 1)
        expected = self._last_index
        for key, sealed in self.kv.scan(_LOG, _pack_u64(low), reverse=True):
            index = keys.log_index(key)
            if index != expected:
                raise _gap(expected, index)
            tail.append((_decode_entry(index, sealed), len(sealed) - 4))
            total += len(sealed)
            expected -= 1
            if total >= VERIFY_BYTES:
                break
        else:
            if expected >= low:
                raise _gap(expected, low - 1)
        self._tail.load(tail, self._last_index + 1)
        for before, after in pairwise(self._tail.entries):
            if after.term < before.term:
                raise _fall(before.term, after.term, after.index)

    def _read_term(self, index: int) -> int:
        if index >= self._tail.first:
            return self._tail.entries[index - self._tail.first].term
        return self._read_entry(index).term

    def _read_entry(self, index: int) -> Entry:
        sealed = self.kv.get(_LOG, _pack_u64(index))
        if sealed is None:
            raise CorruptionError(f"entry {index} is missing from the log{ADD_AGAIN}")
        return _decode_entry(index, sealed)

    def _check_bounds(self) -> None:
        data = self.kv.side_read(SIDE_BOUNDS)
        if data is None:
            raise MissingMeta(
                "the file bounds.json is gone: whether this store lost anything cannot be told, and"
                " a node that forgot a vote could elect two leaders; put the file back, or remove"
                " the node from its group and add it again under a new id"
            )
        try:
            bounds = Bounds(**decode_json(data, "bounds.json"))
        except TypeError as error:
            raise CorruptionError(f"bounds.json cannot be read ({error}){ADD_AGAIN}") from error
        hard_state, recovered = self._hard_state, self.kv.recovered
        lost: list[str] = []
        for name, was, now in (
            ("term", bounds.term, hard_state.term),
            ("commit index", bounds.commit, max(hard_state.commit, self._applied.index)),
            ("count of openings", bounds.opens, self._opens),
            ("write sequence", bounds.sequence, recovered.sequence),
            ("write-ahead file", bounds.wal, recovered.wal),
        ):
            if now < was:
                lost.append(f"{name} {now}, was {was}")
        if bounds.vote and bounds.term == hard_state.term and bounds.vote != hard_state.vote:
            lost.append(f"vote {hard_state.vote} in term {bounds.term}, was {bounds.vote}")
        if lost:
            raise RegressedError(
                f"the store holds less than bounds.json recorded ({'; '.join(lost)}): its"
                " write-ahead log was lost or an older copy was put back; acknowledged entries and"
                " votes may be gone, so this node must not start; remove it from its group and add"
                " it again under a new id"
            )
        self._bounds = bounds

    def _count_opening(self) -> None:
        self._opens += 1
        batch = self.kv.new_batch()
        batch.put(_META, keys.OPENS, keys.seal(_pack_u64(self._opens)))
        self.kv.write(batch)
        self._note_written()
        self.kv.sync()
        self._save_bounds(self._written)

    # -- raft.Storage ----------------------------------------------------------------------------

    def initial_state(self) -> RaftState:
        """Return copies of the hard state and of the configuration as of the applied index."""
        hard_state = HardState()
        hard_state.CopyFrom(self._hard_state)
        # What is applied was committed, whether or not that commit index was written.
        hard_state.commit = max(hard_state.commit, self._applied.index)
        return RaftState(hard_state, conf_state_of(self._conf_state))

    def first_index(self) -> int:
        """Return the index after the last compacted one."""
        return self._truncated_index + 1

    def last_index(self) -> int:
        """Return the index of the last entry; ``first_index() - 1`` if there is none."""
        return self._last_index

    def term(self, index: int) -> int:
        """Return the term of the entry at ``index``; also for ``first_index() - 1``.

        Raises:
            Compacted: ``index`` is below that.
            Unavailable: ``index`` is above ``last_index()``.
        """
        if index <= self._truncated_index:
            if index == self._truncated_index:
                return self._truncated_term
            raise Compacted
        if index > self._last_index:
            raise Unavailable
        return self._runs.find(index)

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the entries in ``[low, high)``, from memory as far as they are there.

        Raises:
            Compacted: ``low`` is below ``first_index()``.
            InvariantViolation: ``high`` is above ``last_index() + 1``.
            CorruptionError: What the disk holds is not what was written.
        """
        if low <= self._truncated_index:
            raise Compacted
        if not low <= high <= self._last_index + 1:
            raise InvariantViolation(
                "entries were asked for beyond the end of the log",
                {"low": low, "high": high, "last_index": self._last_index},
            )
        tail = self._tail
        if low >= tail.first:
            return tail.read(low, high, max_size)
        found: list[Entry] = []
        left = max_size
        for entry, size in self.iterate(low, min(high, tail.first)):
            if left is not None:
                left -= size
                if left < 0 and found:
                    return found
            found.append(entry)
        # One entry always fits an empty answer; this one is not empty.
        if high > tail.first and (left is None or left >= tail.sizes[0]):
            found.extend(tail.read(tail.first, high, left))
        return found

    def snapshot(self, request_index: int, to: int) -> Snapshot:
        """Return a snapshot for peer ``to`` at ``request_index`` or above, from the provider.

        Raises:
            SnapshotTemporarilyUnavailable: None is there yet.
        """
        if self.snapshot_provider is None:
            raise SnapshotTemporarilyUnavailable
        return self.snapshot_provider(request_index, to)

    def iterate(self, low: int, high: int) -> Iterator[tuple[Entry, int]]:
        """Yield the entries in ``[low, high)`` from disk with their encoded sizes, one at a time.

        Raises:
            CorruptionError: An entry is missing or damaged.
        """
        expected = low
        for key, sealed in self.kv.scan(_LOG, _pack_u64(low), _pack_u64(high)):
            index = keys.log_index(key)
            if index != expected:
                raise _gap(expected, index)
            yield _decode_entry(index, sealed), len(sealed) - 4
            expected += 1
        if expected < high:
            raise _gap(expected, high)

    # -- writing ---------------------------------------------------------------------------------

    def new_batch(self) -> Batch:
        """Return an empty batch of the underlying store."""
        return self.kv.new_batch()

    def append(self, batch: Batch, entries: Sequence[Entry]) -> None:
        """Put ``entries`` into ``batch``; what the log holds from the first one's index on goes.

        Raises:
            InvariantViolation: They would leave a gap, or overwrite compacted or applied entries.
        """
        if not entries:
            return
        first = entries[0].index
        last = self._last_index
        if not self._truncated_index < first <= last + 1 or first <= self._applied.index:
            raise InvariantViolation(
                "appended entries leave a gap, or overwrite what is compacted or applied",
                {
                    "first": first,
                    "first_index": self._truncated_index + 1,
                    "last_index": last,
                    "applied": self._applied.index,
                },
            )
        if first <= last:
            self._truncate(batch, first)
        tail = self._tail
        records: list[tuple[bytes, bytes]] = []
        kept, sizes = tail.entries, tail.sizes
        run_term = self._runs.last
        expected = first
        total = 0
        for entry in entries:
            index = entry.index
            if index != expected:
                raise InvariantViolation(
                    "appended entries are not in one sequence",
                    {"expected": expected, "index": index},
                )
            expected += 1
            if entry.term != run_term:
                run_term = entry.term
                self._runs.begin(index, run_term)
            data = entry.SerializeToString()
            # The index seeds the checksum: an entry that turns up in another's place is noticed.
            records.append(
                (_pack_u64(index), _pack_u32(_crc32(data, index & 0xFFFFFFFF)) + data)
            )  # fmt: skip
            kept.append(entry)
            size = len(data)
            sizes.append(size)
            total += size
        batch.put_all(_LOG, records)
        self._last_index = expected - 1
        self._appended += len(entries)
        tail.bytes += total
        tail.trim()

    def _truncate(self, batch: Batch, first: int) -> None:
        """Drop the entries from ``first`` on: a leader has others in their place (Raft 5.3)."""
        batch.delete_range(_LOG, _pack_u64(first), _pack_u64(self._last_index + 1))
        self._runs.cut(first)
        self._tail.cut(first)
        self._last_index = first - 1

    def set_hard_state(self, batch: Batch, hard_state: HardState) -> None:
        """Put term, vote and commit index into ``batch``."""
        self._hard_state.CopyFrom(hard_state)
        batch.put(_META, keys.HARD_STATE, keys.seal(hard_state.SerializeToString()))

    def set_conf_state(self, batch: Batch, conf_state: ConfState) -> None:
        """Put the configuration, as of the applied index of the same batch, into ``batch``."""
        self._conf_state = conf_state_of(conf_state)
        batch.put(_META, keys.CONF_STATE, keys.seal(conf_state.SerializeToString()))

    def set_applied(self, batch: Batch, applied: AppliedState) -> None:
        """Put the applied position into ``batch``; it never goes back."""
        if applied.index < self._applied.index:
            raise InvariantViolation(
                "the applied index would go back",
                {"applied": self._applied.index, "to": applied.index},
            )
        self._applied = applied
        batch.put(_META, keys.APPLIED, keys.seal(applied.encode()))

    def set_addresses(self, batch: Batch, addresses: Mapping[int, str]) -> None:
        """Put the members' addresses into ``batch``."""
        batch.put(_META, keys.ADDRESSES, keys.seal(encode_addresses(addresses)))

    def set_settings(self, batch: Batch, settings: Settings) -> None:
        """Put the group's settings into ``batch``."""
        batch.put(_META, keys.SETTINGS, keys.seal(settings.encode()))

    def set_epoch(self, batch: Batch, epoch: int) -> None:
        """Put the epoch of STATE and SESSIONS in force (0 or 1) into ``batch``."""
        batch.put(_META, keys.EPOCH, keys.seal(_pack_u64(epoch)))

    def compact(self, batch: Batch, index: int) -> None:
        """Drop the entries before ``index``; at most ``applied.index + 1``.

        Index and term of the last one dropped are kept, so ``term(first_index() - 1)`` is known.

        Raises:
            InvariantViolation: An entry that is not applied would go.
        """
        last_dropped = index - 1
        if last_dropped <= self._truncated_index:
            return
        if last_dropped > self._applied.index:
            raise InvariantViolation(
                "compaction of entries that are not applied",
                {"index": index, "applied": self._applied.index},
            )
        term = self.term(last_dropped)
        batch.delete_range(_LOG, _pack_u64(self._truncated_index + 1), _pack_u64(index))
        self._reclaimable += last_dropped - self._truncated_index
        self._set_truncated(batch, last_dropped, term)

    def _set_truncated(self, batch: Batch, index: int, term: int) -> None:
        self._truncated_index, self._truncated_term = index, term
        batch.put(_META, keys.TRUNCATED, keys.seal(_PAIR.pack(index, term)))
        self._last_index = max(self._last_index, index)
        self._runs.drop(index + 1, self._last_index + 1)
        self._tail.drop(index + 1)

    def install_snapshot(self, batch: Batch, metadata: SnapshotMetadata) -> None:
        """Put a snapshot's position and configuration into ``batch``; the log before it goes.

        Entries after it stay only if the log holds the snapshot's last entry, index and term; else
        all go (Raft section 7): a suffix behind a contradicted entry is no suffix of this log. The
        state itself and the applied position are put by ``snapshot_install.install``.

        Raises:
            SnapshotOutOfDate: It lies below the log's start or the applied index.
            InvariantViolation: It contradicts a committed entry.
        """
        index, term = metadata.index, metadata.term
        if index < self._truncated_index or index < self._applied.index:
            raise SnapshotOutOfDate
        if index <= self._last_index and self.term(index) == term:
            if index > self._truncated_index:
                batch.delete_range(_LOG, _pack_u64(self._truncated_index + 1), _pack_u64(index + 1))
                self._set_truncated(batch, index, term)
        else:
            if self._hard_state.commit > index:
                raise InvariantViolation(
                    "the snapshot contradicts a committed entry",
                    {"index": index, "term": term, "commit": self._hard_state.commit},
                )
            batch.delete_range(_LOG, b"", keys.LOG_END)
            self._last_index = index
            self._set_truncated(batch, index, term)
            self._tail.reset(index + 1)
        hard_state = HardState()
        hard_state.CopyFrom(self._hard_state)
        hard_state.commit = max(hard_state.commit, index)
        hard_state.term = max(hard_state.term, term)
        self.set_hard_state(batch, hard_state)
        self.set_conf_state(batch, metadata.conf_state)

    def write(self, batch: Batch) -> None:
        """Write ``batch``: visible at once, durable with the next ``sync``.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        self.kv.write(batch)
        self._note_written()

    def sync(self) -> None:
        """Make durable all that was written before the call, then raise the bounds if it is time.

        Blocks; meant for a worker thread, beside which the node's thread may go on writing.

        Raises:
            StoreWriteError: Latched; the process must stop.
        """
        written, bounds = self._written, self._bounds
        due = (
            written.term != bounds.term
            or written.vote != bounds.vote
            or self._appended - self._appended_at_bounds >= BOUNDS_EVERY
        )
        if not due:
            self.kv.sync()
            return
        appended = self._appended
        position = self.kv.position()
        self.kv.sync()
        self._save_bounds(replace(written, sequence=position.sequence, wal=position.wal))
        self._appended_at_bounds = appended

    def _note_written(self) -> None:
        hard_state = self._hard_state
        self._written = Bounds(
            hard_state.term,
            hard_state.vote,
            hard_state.commit,
            self._opens,
            self._bounds.sequence,
            self._bounds.wal,
        )

    def _save_bounds(self, bounds: Bounds) -> None:
        self.kv.side_write(SIDE_BOUNDS, encode_json(asdict(bounds)))
        self._bounds = bounds

    def reclaim(self, at_least: int = 50_000) -> bool:
        """Give compacted entries' disk space back if there are ``at_least`` so many.

        Blocks, with the GIL free; meant for a worker thread. Returns whether it did anything.
        Without it the space comes back too, when RocksDB's own compactions get there.
        """
        if self._reclaimable < at_least:
            return False
        self._reclaimable = 0
        self.kv.compact(_LOG, None, _pack_u64(self._truncated_index + 1))
        return True

    def close(self) -> None:
        """Sync, record the exact bounds, close the store. Blocks."""
        if self.kv.failure is None:
            position = self.kv.position()
            self._note_written()
            self.kv.sync()
            self._save_bounds(replace(self._written, sequence=position.sequence, wal=position.wal))
        self.kv.close()

    # -- looking ---------------------------------------------------------------------------------

    @property
    def hard_state(self) -> HardState:
        """The newest hard state given to ``set_hard_state``; not to be changed."""
        return self._hard_state

    @property
    def conf_state(self) -> ConfState:
        """The configuration as of the applied index; not to be changed."""
        return self._conf_state

    @property
    def applied(self) -> AppliedState:
        """Where the state machine stands."""
        return self._applied

    @property
    def opens(self) -> int:
        """How often this store has been opened, this time included."""
        return self._opens

    def term_runs(self) -> list[tuple[int, int]]:
        """Return where each term begins in the log, as (first index, term), ascending."""
        return list(zip(self._runs.starts, self._runs.terms, strict=True))

    def load_addresses(self) -> dict[int, str]:
        """Return the members' addresses as of the applied index."""
        return decode_addresses(self._meta(keys.ADDRESSES, "the address book"))

    def load_settings(self) -> Settings:
        """Return the group's settings as of the applied index."""
        return Settings.decode(self._meta(keys.SETTINGS, "the settings"))

    def load_epoch(self) -> int:
        """Return the epoch of STATE and SESSIONS that is in force: 0 or 1."""
        return int.from_bytes(self._meta(keys.EPOCH, "the epoch"))

    def check(self, progress: Callable[[int], None] | None = None) -> CheckReport:
        """Read the whole log and check it: checksums, continuity, terms, and the records about it.

        Takes time in proportion to the log and constant memory; ``progress`` hears of every
        10,000th index.
        """
        report = CheckReport(
            first_index=self._truncated_index + 1,
            last_index=self._last_index,
            commit=self._hard_state.commit,
            applied=self._applied.index,
        )
        problems = report.problems
        expected, term = self._truncated_index + 1, self._truncated_term
        try:
            for key, sealed in self.kv.scan(_LOG):
                index = keys.log_index(key)
                if index != expected:
                    problems.append(f"the log goes from {expected - 1} to {index}")
                expected = index + 1
                report.entries += 1
                report.bytes += len(sealed) - 4
                try:
                    entry = _decode_entry(index, sealed)
                except CorruptionError as error:
                    problems.append(str(error))
                    continue
                if entry.term < term:
                    problems.append(f"the term falls from {term} to {entry.term} at index {index}")
                term = max(term, entry.term)
                if progress is not None and index % 10_000 == 0:
                    progress(index)
        except CorruptionError as error:
            problems.append(str(error))
        if expected <= self._last_index:
            problems.append(f"the log ends at {expected - 1} instead of {self._last_index}")
        if self._hard_state.term < term:
            problems.append(f"the current term {self._hard_state.term} is below an entry's, {term}")
        if not self._truncated_index <= self._applied.index <= self._last_index:
            problems.append(f"the applied index {self._applied.index} is outside the log")
        for load in (self.load_addresses, self.load_settings, self.load_epoch):
            try:
                load()
            except (CorruptionError, MissingMeta) as error:
                problems.append(str(error))
        return report


def _decode_entry(index: int, sealed: bytes) -> Entry:
    data = sealed[4:]
    if len(sealed) < 4 or _unpack_u32_from(sealed)[0] != _crc32(data, index & 0xFFFFFFFF):
        raise CorruptionError(f"entry {index} does not match its checksum{ADD_AGAIN}")
    try:
        entry = Entry.FromString(data)
    except DecodeError as error:
        raise CorruptionError(f"entry {index} is not an entry{ADD_AGAIN}") from error
    if entry.index != index:
        raise CorruptionError(f"in the place of entry {index} lies {entry.index}{ADD_AGAIN}")
    return entry


def _fall(before: int, after: int, index: int) -> CorruptionError:
    return CorruptionError(f"the term falls from {before} to {after} at index {index}{ADD_AGAIN}")


def _gap(expected: int, found: int) -> CorruptionError:
    return CorruptionError(
        f"entry {expected} is missing from the log (found {found} in its place){ADD_AGAIN}"
    )
