"""A simulated node that runs the daemon's code: its store, its applier, its snapshots.

Between `plan.Driver` and the disk everything is what raftd runs: `Replica`, `LogStore`, `Applier`,
`Sessions`, the ``kv`` state machine, the snapshot format, staging and installing. The disk is
`raftd.memory_store`, which loses what was not flushed. Beside it a `MiniDisk` is told the same
writes: the checks read what is durable from there, and a restart must find the same in both.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from raft import ProposalDropped, RawNode, StateRole
from raft.eraftpb import ConfState, Entry, Message, MsgSnapshot, Snapshot
from raft.errors import SnapshotTemporarilyUnavailable
from raftd.applier import Applied, Applier, EntryKind
from raftd.identity import Identity
from raftd.kvstore import Batch, ColumnFamily
from raftd.machines.kv import APART_BYTES
from raftd.memory_store import _DELETE_RANGE, MemoryBatch, MemoryStore
from raftd.plan import Driver, Plan
from raftd.replica import Replica
from raftd.snapshot import SnapshotManifest, Stager, clear_stage, header_of
from raftd.snapshot_format import FAMILIES, StreamWriter
from raftd.state_machine import create
from raftd.storage import LogStore
from raftd.validate import Validator
from raftwire import kv
from raftwire.envelope import CONTROL, PROPOSAL, pack_origin
from raftwire.proto.peer_pb2 import ControlCommand
from tests.harness.checkers import Violation
from tests.harness.disk import KEEP_ALL, Saved, Write
from tests.harness.sim_node import NodeRandom, SimNode

if TYPE_CHECKING:
    from tests.harness.cluster import Op, World

CLUSTER: Final = bytes(range(16))


def encode_op(kind: str, key: bytes, value: bytes, expected: bytes) -> bytes:
    """The command of an operation for the state machine ``kv``."""
    if kind == "put":
        return kv.put(key, value)
    if expected:
        return kv.cas(key, value, expect_value=expected)
    return kv.cas(key, value, expect_absent=True)


class SimKv(MemoryStore):
    """A store whose flushes take time: begun at one moment, durable at another."""

    def __init__(self) -> None:
        super().__init__()
        self.deferred: list[tuple[int, list[tuple[str, bytes]]]] | None = None
        """Flushes under way: how far each reaches, and the side files written after it."""
        self._ahead: dict[tuple[ColumnFamily, bytes], bytes | None] = {}
        # Written past the journal and not flushed: what was there before; those of the flush that
        # runs; and the journal's first batch that says something of the key, if one does.
        self._flushing: set[tuple[ColumnFamily, bytes]] = set()
        self._journaled: dict[tuple[ColumnFamily, bytes], int] = {}

    def write_ahead(self, batch: Batch) -> None:
        """Write past the journal: a crash before the next flush keeps some."""
        assert isinstance(batch, MemoryBatch)
        for _, cf, key, _value in batch.ops:
            self._ahead.setdefault((cf, key), self.get(cf, key))
            self._flushing.discard((cf, key))
        super().write_ahead(batch)

    def write(self, batch: Batch) -> None:
        """Write through the journal."""
        before = self._sequence
        super().write(batch)
        if self._ahead and self._sequence > before:
            assert isinstance(batch, MemoryBatch)
            for kind, cf, key, end in batch.ops:
                for ahead in self._ahead:
                    if ahead[0] == cf and (
                        key <= ahead[1] < end if kind == _DELETE_RANGE else key == ahead[1]
                    ):
                        self._journaled.setdefault(ahead, self._sequence)

    def begin_state_flush(self) -> None:
        """What was written past the journal so far will be durable when it ends."""
        self._flushing = set(self._ahead)

    def end_state_flush(self) -> None:
        """It is."""
        for key in self._flushing:
            self._ahead.pop(key, None)
            self._journaled.pop(key, None)
        self._flushing.clear()

    @property
    def sequence(self) -> int:
        """Batches written so far."""
        return self._sequence

    @property
    def durable(self) -> int:
        """How many of them are durable."""
        return self._sequence - len(self._undo)

    def sync(self) -> None:
        """Make all durable; while deferring, only note how much that is."""
        if self.deferred is None:
            super().sync()
        else:
            self.deferred.append((self._sequence, []))

    def side_write(self, name: str, data: bytes) -> None:
        """Replace a side file; while deferring, when the flush before it is done."""
        if self.deferred:
            self.deferred[-1][1].append((name, data))
        else:
            super().side_write(name, data)

    def settle(self, flush: tuple[int, list[tuple[str, bytes]]]) -> None:
        """A flush that was begun before is done."""
        reached, side = flush
        count = reached - self.durable
        if count > 0:
            del self._undo[:count]
        for name, data in side:
            super().side_write(name, data)

    def cut(self, keep: int) -> SimKv:
        """Cut the power; the first `keep` batches of the unsynced ones survive."""
        reached = self.durable + keep
        lost = {
            ahead: before
            for ahead, before in self._ahead.items()
            # Of the rest, any may be on the disk.
            if self._journaled.get(ahead, reached + 1) > reached and (crc32(ahead[1]) + keep) % 2
        }
        survivor = self.crash(keep)
        for (cf, key), before in lost.items():
            if before is None:
                survivor._tables[cf].delete(key)
            else:
                survivor._tables[cf].put(key, before)
        fresh = SimKv()
        fresh.__dict__.update(survivor.__dict__)
        fresh.deferred = None
        return fresh


class SimApplier(Applier):
    """The daemon's applier, made to save more often: few entries pass in a simulation."""

    save_entries = 512
    ahead_bytes = APART_BYTES
    ahead_flush_bytes = 2 * APART_BYTES
    ahead_bytes_max = 5 * APART_BYTES

    @property
    def due(self) -> bool:
        """Whether what was applied must be saved now."""
        return super().due or self.index - self._log_store.applied.index > self.save_entries


class DaemonNode(SimNode):
    """A node with the daemon's storage, state machine and snapshots."""

    def __init__(self, world: World, node_id: int) -> None:
        super().__init__(world, node_id)
        self.kv = SimKv()
        self.store: LogStore
        self.applier: SimApplier
        self.replica: Replica
        self.validator: Validator
        self._daemon: Driver[Applied]
        self._bootstrapped = False
        self._deferred: list[tuple[int, list[tuple[str, bytes]]]] = []
        # Of the plan that is being written: entries not shown to the checker yet.
        self._to_note: list[Entry] = []
        # Where each write of the shadow disk ends in the store's journal.
        self._positions: list[int] = []
        self.snapshots: list[tuple[int, ConfState, bytes, Snapshot]] = []
        """Snapshots that are kept, newest last: index, configuration, file, message."""
        self.snapshot_wanted = False
        self.state_flushing = False
        self._writer: tuple[StreamWriter, io.BytesIO, Any] | None = None
        self.staging: tuple[Stager, Message] | None = None

    @property
    def kind(self) -> str:
        """How it is driven, for counting."""
        return "daemon"

    # -- life ----------------------------------------------------------------------------------

    def _identity(self) -> Identity:
        return Identity(CLUSTER, self.id, self.world.settings.machine)

    def bootstrap(self, conf_state: ConfState) -> None:
        """Make this one of the group's first members."""
        super().bootstrap(conf_state)
        members = (*conf_state.voters, *conf_state.learners)
        LogStore.bootstrap(self.kv, self._identity(), conf_state, {i: f"host{i}" for i in members})
        self._bootstrapped = True

    def start(self) -> None:
        """Start from the disk, as the daemon's `open` does."""
        world = self.world
        if not self._bootstrapped:
            LogStore.join(self.kv, self._identity())
            self._bootstrapped = True
        self.incarnation += 1
        self._sequence = 0
        self.pending, self.reads, self.ready_reads = {}, {}, []
        self.flushing = []
        self.crash_after = 0
        self.staging = None
        self.state_flushing = False
        self._writer = None
        self.snapshot_wanted = False
        self.kv.deferred = None
        self.store = LogStore.open(self.kv, node_id=self.id, cluster_id=CLUSTER)
        self._positions = []
        clear_stage(self.kv, self.store.load_epoch())
        self.applier = SimApplier(
            self.kv, self.store, create(world.settings.machine), self._on_conf_entry
        )
        self.applier.save_entries = world.settings.save_entries
        self.replica = Replica(self.store, self.applier)
        if world.settings.large_share:
            self.replica.go_ahead(self._flush_state)
        self.applied = self.applier.index
        self.store.snapshot_provider = self._provide
        self._compare_with_shadow()
        config = world.node_config(self.id)
        config.applied = self.applied
        self.raw = RawNode(config, self.store, rng=NodeRandom(world))
        self.raft = self.raw.raft
        log = self.raft.raft_log
        self.validator = Validator(self.id, log.last_index, lambda: log.committed)
        self._daemon = Driver(self.raw, self._persist_daemon)
        self.up = True
        self.paused = False
        world.checker.started(self, self.raw, self.applied)
        world.checker.digest_is(self.id, self.applied, self.applier.digest)

    def _compare_with_shadow(self) -> None:
        """What the store loaded must be what was durably written to it."""
        store, view = self.store, self.disk.view
        hard = store.hard_state
        mine = (hard.term, hard.vote, max(hard.commit, self.applied), self.applied)
        expected = (view.term, view.vote, max(view.commit, view.applied), view.applied)
        if mine != expected or store.last_index() != view.last:
            raise Violation(
                "I8",
                f"node {self.id} loaded (term, vote, commit, applied) {mine}, last entry "
                f"{store.last_index()}; its disk was given {expected}, {view.last}",
            )
        for entry in store.entries(max(store.first_index(), view.base + 1), view.last + 1):
            if view.term_at(entry.index) != entry.term:
                raise Violation("I8", f"node {self.id} loaded another entry {entry.index}")

    def crash(self, keep: int, harsh: int) -> None:
        """Lose the power: a prefix of the journal survives, as RocksDB's does."""
        self.up = False
        unsynced = self.kv.unsynced
        count = unsynced if keep == KEEP_ALL else min(keep, unsynced)
        reached = self.kv.durable + count
        done = sum(1 for position in self._positions if position <= reached)
        self.disk.crash(done, 0)
        self.kv = self.kv.cut(count)
        self.world.checker.stopped(self)

    # -- being asked ---------------------------------------------------------------------------

    def propose(self, op: Op) -> bool:
        """Propose a client's operation, under its key."""
        self._sequence += 1
        self.pending[self._sequence] = op
        context = pack_origin(
            PROPOSAL, self.id, self.incarnation, self._sequence, op.session.decode()
        )
        return self._propose_entry(context, op.data)

    def _propose_entry(self, context: bytes, data: bytes) -> bool:
        try:
            self.raw.propose(context, data)
        except ProposalDropped as error:
            self.world.checker.count(f"dropped_{error.reason.name}")
            self.pending.pop(self._sequence, None)
            return False
        return True

    def control(self, what: str, value: int) -> None:
        """Propose one of the daemon's own commands."""
        command = ControlCommand()
        if what == "clock":
            command.set_clock.unix_ms = value
        else:
            command.verify_at.nonce = value.to_bytes(8, "big")
        self._sequence += 1
        context = pack_origin(CONTROL, self.id, self.incarnation, self._sequence)
        self.raw.propose(context, command.SerializeToString())

    def step(self, m: Message) -> None:
        """Take in a message, through the daemon's validator."""
        reason = self.validator.check(m, m.from_)
        if reason is not None:
            raise Violation("I14", f"node {self.id}: the validator refuses {m!r}: {reason}")
        if m.msg_type == MsgSnapshot:
            self._receive_snapshot(m)
        else:
            self.raw.step(m)

    # -- carrying out --------------------------------------------------------------------------

    def pump(self) -> None:
        """Carry out all that is ready, up to what must wait for a flush."""
        driver, world = self._daemon, self.world
        while True:
            effects = driver.pump()
            if effects.messages:
                world.send(self, effects.messages)
                self.point("sent")
            for applied in effects.applied:
                self._answer_applied(applied)
            for state in effects.read_states:
                self._confirmed(state.index, state.request_ctx)
            if effects.snapshot is not None:
                self._forget_pending()
            if effects.more:
                continue
            if not driver.needs_sync:
                break
            if not self.inline_flush:
                if not self.flushing:
                    self.begin_flush()
                break
            self.point("written_not_flushed")
            mark = driver.begin_sync()
            self.store.sync()
            self.disk.sync()
            self._positions.clear()
            self.point("flushed")
            driver.end_sync(mark)
        if self.ready_reads:
            self._serve_reads()

    def begin_flush(self) -> None:
        """Start a flush in a worker thread, as it were: it ends later."""
        self.kv.deferred = []
        self.store.sync()
        self._deferred, self.kv.deferred = self.kv.deferred, None
        self.flushing.append((self._daemon.begin_sync(), self.disk.written))
        self.world.flush_started(self)

    def end_flush(self) -> None:
        """The flush under way has succeeded."""
        if not self.flushing:
            return
        mark, written = self.flushing.pop(0)
        self._settle(written)
        self._daemon.end_sync(mark)

    def _settle(self, written: int) -> None:
        """What was written up to a point is durable now."""
        self.disk.sync(written)
        for flush in self._deferred:
            self.kv.settle(flush)
        del self._positions[: len(self._positions) - len(self.disk.journal)]
        self.point("flush_ended")

    def _not_noted(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return those of a plan's entries that the checker has not seen."""
        return entries

    def _persist_daemon(self, plan: Plan) -> Sequence[Applied]:
        self.point("before_write")
        self._note(self._not_noted(plan.entries), plan.snapshot)
        checker = self.world.checker
        self._to_note = list(plan.committed)
        if plan.snapshot is not None:
            metadata = plan.snapshot.metadata
            checker.snapshot_installed(self, metadata.index, metadata.conf_state)
        before = self.kv.sequence
        results = self.replica.persist(plan)
        self._note_up_to(None)
        self._shadow(before, plan)
        if plan.snapshot is not None:
            self.check_state()
        for applied in results:
            if applied.kind is EntryKind.PROPOSAL:
                checker.result(self, applied.entry_index, self.plain(applied))
                if applied.deduplicated:
                    checker.count("session_hit")
        self.applied = self.applier.index
        self.conf_state = self.store.conf_state
        checker.digest_is(self.id, self.applier.index, self.applier.digest)
        self.point("after_write")
        return results

    def _shadow(self, before: int, plan: Plan | None) -> None:
        """Tell the shadow disk what has just gone to the store, write by write."""
        writes = self.kv.sequence - before
        if plan is not None and not writes and (plan.entries or plan.snapshot is not None):
            raise Violation("I8", f"node {self.id} wrote nothing of Ready {plan.number}")
        hard = self.store.hard_state
        for number in range(1, writes + 1):
            write = Write(hard.term, hard.vote, hard.commit)
            if number == 1 and plan is not None:
                write.entries = plan.entries
                if plan.snapshot is not None:
                    metadata = plan.snapshot.metadata
                    write.snapshot = Saved(metadata.index, metadata.term, metadata.conf_state, {})
            if number == writes:
                write.applied = self.store.applied.index
            self.disk.write(write)
            self._positions.append(before + number)

    def _flush_state(self) -> None:
        self.state_flushing = True
        self.kv.begin_state_flush()
        self.world.work.append((self, "state_flushed"))

    def state_flushed(self) -> bool:
        """The thread that flushes large values is done, if there is one; nothing is left to do."""
        if self.state_flushing:
            self.state_flushing = False
            self.kv.end_state_flush()
            self.applier.flush_ended()
            self.world.checker.count("state_flushed")
        return False

    def save(self) -> None:
        """Write what the replica has left for later."""
        before = self.kv.sequence
        self.replica.save()
        self._shadow(before, None)

    def _note_up_to(self, stop: Entry | None) -> None:
        """Show the checker the entries of this plan that are applied before `stop`."""
        checker = self.world.checker
        while self._to_note:
            entry = self._to_note.pop(0)
            checker.applied(self, entry, None)
            if entry is stop:
                return

    def _on_conf_entry(self, entry: Entry) -> ConfState:
        checker = self.world.checker
        self._note_up_to(entry)
        checker.observe(self)
        conf_state = self.raw.apply_conf_entry(entry)
        checker.conf_applied(self, entry.index, conf_state)
        return conf_state

    @staticmethod
    def plain(applied: Applied) -> bytes:
        result = kv.read_result(applied.result or b"")
        return b"yes" if result.succeeded else b"no"

    def _answer_applied(self, applied: Applied) -> None:
        if applied.node != self.id or applied.incarnation != self.incarnation:
            return
        op = self.pending.pop(applied.sequence, None)
        if op is not None:
            self.world.completed(op, self.plain(applied), applied.index, self)

    def fail_sync(self) -> None:
        """Let the next flush fail."""
        super().fail_sync()
        self.kv.fail_sync = "simulated"

    def mend_disk(self) -> None:
        """Let the disk work again."""
        super().mend_disk()
        self.kv.fail_sync = None

    # -- reads ---------------------------------------------------------------------------------

    def _serve_reads(self) -> None:
        waiting: list[tuple[int, Op]] = []
        for index, op in self.ready_reads:
            if index <= self.raft.raft_log.applied:
                found = kv.read_query(self.applier.query(kv.get(op.key)))
                value = found.kvs[0].value if found.kvs else b""
                self.world.completed(op, value, self.applier.index, self)
            else:
                waiting.append((index, op))
        self.ready_reads = waiting

    # -- snapshots -----------------------------------------------------------------------------

    def _provide(self, request_index: int, to: int) -> Snapshot:
        """As `raftd.snapshots` provides them: the newest that will do, or begin to make one."""
        at_least = max(request_index, self.store.first_index() - 1)
        for index, conf_state, _, message in reversed(self.snapshots[-1:]):
            members = (
                *conf_state.voters,
                *conf_state.learners,
                *conf_state.voters_outgoing,
                *conf_state.learners_next,
                *conf_state.learners_outgoing,
            )
            if index >= at_least and to in members:
                self.world.checker.count("snapshot_sent")
                return message
        self.world.checker.count("snapshot_unavailable")
        if not self.snapshot_wanted:
            self.snapshot_wanted = True
            self.world.work.append((self, "snapshot_step"))
        raise SnapshotTemporarilyUnavailable

    def snapshot_step(self) -> bool:
        """Go on with the snapshot that is wanted; whether there is more to do."""
        if self._writer is None:
            if not self.snapshot_wanted:
                return False
            self.save()
            self.check_state()
            header = header_of(self.store, self.applier)
            view = self.kv.view(*FAMILIES)
            stream = io.BytesIO()
            self._writer = (
                StreamWriter(stream, header, view, self.applier.epoch),
                stream,
                header,
            )
            return True
        writer, stream, header = self._writer
        if writer.step():
            return True
        self._writer = None
        self.snapshot_wanted = False
        data = stream.getvalue()
        name = f"{header.index}-{header.term}-{writer.sha256[:8].hex()}"
        manifest = SnapshotManifest(name, len(data), writer.sha256)
        message = Snapshot(data=_encode_manifest(manifest), metadata=header.metadata())
        self.world.files[name] = data
        self.snapshots.append((header.index, header.conf_state, data, message))
        del self.snapshots[:-2]
        if self.raft.state is StateRole.Leader:
            self.raw.ping()
        return False

    def _receive_snapshot(self, m: Message) -> None:
        manifest = SnapshotManifest.decode(m.snapshot.data)
        data = self.world.files[manifest.id]
        if self.staging is not None:
            return  # Another one is being received.
        if self.raft.raft_log.committed >= m.snapshot.metadata.index:
            self._hand_snapshot(m)
            return
        stager = Stager(self.kv, io.BytesIO(data), self.store.identity, self.applier.epoch)
        self.staging = (stager, m)
        self.world.work.append((self, "stage_step"))

    def stage_step(self) -> bool:
        """Go on with the snapshot that is being received; whether there is more to do."""
        if self.staging is None:
            return False
        stager, m = self.staging
        if stager.step():
            self.point("staging")
            return True
        self.point("staged")
        self.staging = None
        self.replica.staged = stager.staged
        self._install(m)
        return False

    def _hand_snapshot(self, m: Message) -> None:
        self.raw.step(m)

    def _install(self, m: Message) -> None:
        self.raw.step(m)
        self.pump()
        self.replica.staged = None

    def check_state(self) -> None:
        """The whole state, and the client keys, against the model."""
        checker = self.world.checker
        index = self.applier.index
        found = kv.read_query(self.applier.query(kv.range_(b"")))
        checker.state_is(self.id, index, {bytes(p.key): bytes(p.value) for p in found.kvs})
        known = {
            session for session in checker.model.first if self.applier.outcome(session) is not None
        }
        checker.sessions_are(self.id, index, known)
        checker.machine_is(self.id, index, self.applier.machine.digest(self.applier.reader))

    def compact(self, keep: int) -> None:
        """Drop the log but the last `keep` applied entries."""
        self.save()
        index = self.applier.index - keep
        if index < self.store.first_index():
            return
        before = self.kv.sequence
        batch = self.store.new_batch()
        self.store.compact(batch, index + 1)
        self.store.write(batch)
        self._shadow(before, None)
        self.disk.journal[-1].compact = index
        self.disk.view.put(self.disk.journal[-1])
        self.count_compaction(index)


def _encode_manifest(manifest: SnapshotManifest) -> bytes:
    return json.dumps(
        {"id": manifest.id, "size": manifest.size, "sha256": manifest.sha256.hex()}, sort_keys=True
    ).encode()
