"""One simulated node: the real `RawNode`, driven in one of the ways its users may drive it.

Styles: ``simple`` is the six steps of the documentation with `advance`; ``append`` uses
`advance_append`, and takes in messages while it waits for its one flush; ``async`` is the daemon's
`plan.Driver`, with flushes that take their time. A node can be told to crash at the n-th point
between two steps of carrying out a Ready.
"""

from __future__ import annotations

import marshal
import random
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from raft import Config, ProposalDropped, RawNode, Ready, StateRole, is_empty_snap
from raft.core import Raft
from raft.eraftpb import ConfState, Entry, Message, Snapshot
from raft.errors import SnapshotTemporarilyUnavailable
from raftd.plan import Driver, Plan
from tests.harness.disk import DiskFailure, MiniDisk, Saved, Write, snapshot_message

if TYPE_CHECKING:
    from tests.harness.cluster import Op, World

ORIGIN: Final = Struct(">BQQQ")
PROPOSAL: Final = 1
_SESSION: Final = b"s/"


class SimCrash(Exception):
    """The node loses its power at this point."""


class NodeRandom(random.Random):
    """What a node draws its election timeouts from: the world decides, and can repeat it."""

    def __init__(self, world: World) -> None:
        super().__init__(0)
        self._world = world

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Draw an election timeout in ticks."""
        assert stop is not None
        return self._world.draw_timeout(start, stop)


def _names(state: ConfState, node_id: int) -> bool:
    groups = (state.voters, state.learners, state.voters_outgoing, state.learners_next)
    return any(node_id in group for group in groups)


def encode_op(kind: str, key: bytes, value: bytes, expected: bytes) -> bytes:
    """The command of an operation for the small machine here."""
    return marshal.dumps((kind[:1].encode(), key, value, expected), 2)


def decode_context(context: bytes) -> tuple[int, int, int, bytes]:
    """Return node, incarnation, sequence and client key of a proposal's context."""
    _, node, incarnation, sequence = ORIGIN.unpack_from(context)
    return node, incarnation, sequence, context[ORIGIN.size :]


class SimNode:
    """A node with a `MiniDisk` and a machine of its own: the library alone, without the daemon."""

    @property
    def kind(self) -> str:
        """How it is driven, for counting."""
        return self.style

    def __init__(self, world: World, node_id: int) -> None:
        self.world = world
        self.id = node_id
        self.disk = MiniDisk()
        self.up = False
        self.paused = False
        self.incarnation = 0
        self.style = "async"
        self.durable_apply = True
        self.raw: RawNode[Any]
        self.raft: Raft[Any]
        self._driver: Driver[tuple[Entry, bytes]] | None = None
        self.flushing: list[tuple[int, int]] = []
        """Flushes under way: (mark, writes they cover), the oldest first."""
        self.inline_flush = True
        self._flushed_next: Ready | None = None
        """Style ``append``: the Ready whose flush is under way."""
        self.applied = 0
        self.machine: dict[bytes, bytes] = {}
        self.conf_state = ConfState()
        self._hard = (0, 0, 0)
        self._sequence = 0
        self.pending: dict[int, Op] = {}
        self.reads: dict[bytes, list[Op]] = {}
        self.ready_reads: list[tuple[int, Op]] = []
        self.crash_after = 0
        """Crash at the n-th point from here; 0: do not."""
        self.crash_place = ""
        """Count only points of this name; "": all."""
        self.crash_keep = (0, 0)
        """What of the disk survives that crash: see `MiniDisk.crash`."""
        self.snapshots_unavailable = 0

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be written after `pump`."""
        return self._flushed_next is None

    # -- what the checker asks -----------------------------------------------------------------

    def has_durably(self, index: int, term: int) -> bool:
        """Whether the entry survives any crash."""
        return self.disk.has_durably(index, term)

    def disk_term(self) -> int:
        """The newest term that was written, durable or not."""
        return self.disk.view.term

    def durable_vote(self) -> tuple[int, int]:
        """Term and vote that survive any crash."""
        return self.disk.platter.term, self.disk.platter.vote

    def log_entries(self, low: int, high: int) -> list[Entry]:
        """Entries of the log, both ends included."""
        return self.raft.raft_log.slice(low, high + 1)

    # -- life ----------------------------------------------------------------------------------

    def bootstrap(self, conf_state: ConfState) -> None:
        """Make this one of the group's first members: a snapshot at index 1 stands for them all."""
        disk = self.disk
        write = Write(1, 0, 1)
        write.snapshot = Saved(1, 1, conf_state, {})
        disk.write(write)
        disk.sync()

    def start(self) -> None:
        """Start from the disk."""
        world, disk = self.world, self.disk
        view = disk.view
        self.incarnation += 1
        self._sequence = 0
        self.pending = {}
        self.reads = {}
        self.ready_reads = []
        self.flushing = []
        self._flushed_next = None
        self.crash_after = 0
        self.applied = view.applied
        self.machine = dict(view.machine)
        self.conf_state = view.conf_state
        self._hard = (view.term, view.vote, max(view.commit, view.applied))
        disk.make_snapshot = self._make_snapshot
        config = world.node_config(self.id)
        config.applied = self.applied
        self.raw = RawNode(config, disk, rng=NodeRandom(world))
        self.raft = self.raw.raft
        self.raft.fetches_asynchronously = world.settings.async_fetch
        self._driver = Driver(self.raw, self._persist) if self.style == "async" else None
        self.up = True
        self.paused = False
        world.checker.started(self, self.raw, self.applied)

    def crash(self, keep: int, harsh: int) -> None:
        """Lose the power."""
        self.up = False
        self.disk.crash(keep, harsh)
        self.world.checker.stopped(self)

    def point(self, name: str) -> None:
        """A place where the power may go."""
        if self.crash_after and self.crash_place in ("", name):
            self.crash_after -= 1
            if not self.crash_after:
                self.world.checker.count(f"crash_at_{self.kind}_{name}")
                raise SimCrash

    # -- being asked ---------------------------------------------------------------------------

    def propose(self, op: Op) -> bool:
        """Propose a client's operation; False if it was dropped at once."""
        self._sequence += 1
        self.pending[self._sequence] = op
        context = ORIGIN.pack(PROPOSAL, self.id, self.incarnation, self._sequence) + op.session
        try:
            self.raw.propose(context, op.data)
        except ProposalDropped as error:
            self.world.checker.count(f"dropped_{error.reason.name}")
            del self.pending[self._sequence]
            return False
        return True

    def read(self, op: Op) -> bool:
        """Ask for a linearizable read; False if it was refused at once."""
        self._sequence += 1
        sequence = self._sequence
        settings = self.world.settings
        if (
            settings.same_read_contexts
            and self.raft.is_leader()
            and "member" not in settings.faults
        ):
            # Nothing forbids a program to use a context again while it is in use. Answers come in
            # the order of the questions as long as the quorum stays the same one.
            sequence = 0
        context = ORIGIN.pack(0, self.id, self.incarnation, sequence)
        self.reads.setdefault(context, []).append(op)
        try:
            self.raw.read_index(context)
        except ProposalDropped as error:
            self.world.checker.count(f"read_dropped_{error.reason.name}")
            self.reads[context].remove(op)
            return False
        return True

    # -- carrying out --------------------------------------------------------------------------

    def pump(self) -> None:
        """Carry out all that is ready, up to what must wait for a flush."""
        if self.style == "async":
            self._pump_driver()
        elif self.style == "append":
            self._pump_append()
        else:
            self._pump_simple()
        if self.ready_reads:
            self._serve_reads()

    def _pump_driver(self) -> None:
        driver = self._driver
        assert driver is not None
        world = self.world
        while True:
            effects = driver.pump()
            if effects.messages:
                world.send(self, effects.messages)
                self.point("sent")
            if effects.applied:
                for entry, result in effects.applied:
                    self._answer(entry, result)
            for state in effects.read_states:
                self._confirmed(state.index, state.request_ctx)
            if effects.more:
                continue
            if not driver.needs_sync:
                return
            if not self.inline_flush:
                if not self.flushing:
                    self.begin_flush()
                return
            self.point("written_not_flushed")
            mark = driver.begin_sync()
            self.disk.sync()
            self.point("flushed")
            driver.end_sync(mark)

    def begin_flush(self) -> None:
        """Start a flush that ends later, with `end_flush`."""
        assert self._driver is not None
        self.flushing.append((self._driver.begin_sync(), self.disk.written))
        self.world.flush_started(self)

    def end_flush(self) -> None:
        """The oldest flush under way has succeeded."""
        if not self.flushing:
            return
        mark, written = self.flushing.pop(0)
        self.disk.sync(written)
        if self._flushed_next is not None:
            ready, self._flushed_next = self._flushed_next, None
            self.point("flushed")
            self._end_append(ready)
            return
        self.point("flush_ended")
        assert self._driver is not None
        self._driver.end_sync(mark)

    def _pump_simple(self) -> None:
        raw, raft, world, disk = self.raw, self.raft, self.world, self.disk
        while raw.has_ready():
            ready = raw.ready()
            leads = raft.state is StateRole.Leader
            snapshot = None if is_empty_snap(ready.snapshot) else ready.snapshot
            self._note(ready.entries, snapshot)
            if leads:
                world.send(self, ready.messages)
                self.point("sent")
            if snapshot is not None or ready.entries or ready.hs is not None:
                disk.write(self._write(ready.entries, ready.hs, snapshot))
                self.point("written")
                if ready.must_sync:
                    disk.sync()
                    self.point("flushed")
            if not leads:
                world.send(self, ready.messages)
                self.point("sent_after")
            self._apply_apart(ready.committed_entries)
            for state in ready.read_states:
                self._confirmed(state.index, state.request_ctx)
            raw.advance(ready)

    def _pump_append(self) -> None:
        raw, world, disk = self.raw, self.world, self.disk
        while self._flushed_next is None and raw.has_ready():
            ready = raw.ready()
            snapshot = None if is_empty_snap(ready.snapshot) else ready.snapshot
            self._note(ready.entries, snapshot)
            world.send(self, ready.immediate_messages)
            self.point("sent")
            if snapshot is not None or ready.entries or ready.hs is not None:
                disk.write(self._write(ready.entries, ready.hs, snapshot))
                self.point("written")
                if ready.must_sync:
                    if not self.inline_flush:
                        self._flushed_next = ready
                        self.flushing.append((0, disk.written))
                        world.flush_started(self)
                        return
                    disk.sync()
                    self.point("flushed")
            self._end_append(ready)

    def _end_append(self, ready: Ready) -> None:
        """What is to be done with a Ready once it is on disk; other things may have happened."""
        raw, world, disk = self.raw, self.world, self.disk
        world.send(self, ready.persisted_messages)
        self.point("sent_after")
        light = raw.advance_append(ready)
        world.checker.observe(self, stored_only=True)
        if light.commit_index is not None and light.commit_index % 2:
            # Storing it may wait for the next Ready; sometimes it does not.
            self._hard = (self._hard[0], self._hard[1], light.commit_index)
            disk.write(Write(*self._hard))
        world.send(self, light.messages)
        self.point("light_sent")
        self._apply_apart([*ready.committed_entries, *light.committed_entries])
        for state in ready.read_states:
            self._confirmed(state.index, state.request_ctx)
        raw.advance_apply()

    def _note(self, entries: Sequence[Entry], snapshot: Snapshot | None) -> None:
        checker = self.world.checker
        position = None
        if snapshot is not None:
            position = (snapshot.metadata.index, snapshot.metadata.term)
        checker.persisted(self, entries, position)
        checker.observe(self)

    def _write(self, entries: Sequence[Entry], hard: Any, snapshot: Snapshot | None) -> Write:
        if hard is not None:
            self._hard = (hard.term, hard.vote, hard.commit)
        write = Write(*self._hard)
        write.entries = entries
        if snapshot is not None:
            metadata = snapshot.metadata
            machine = dict(marshal.loads(snapshot.data))
            conf_state = ConfState()
            conf_state.CopyFrom(metadata.conf_state)
            write.snapshot = Saved(metadata.index, metadata.term, conf_state, machine)
            self.applied = metadata.index
            self.machine = dict(machine)
            self.conf_state = conf_state
            checker = self.world.checker
            checker.snapshot_installed(self, metadata.index, conf_state)
            self.check_state()
            self._forget_pending()
        return write

    def _forget_pending(self) -> None:
        """What waits may be inside the snapshot: nobody here can tell any more."""
        self.pending.clear()

    def _persist(self, plan: Plan) -> list[tuple[Entry, bytes]]:
        """`plan.Driver`'s way to write: one batch for all."""
        self.point("before_write")
        self._note(plan.entries, plan.snapshot)
        write = self._write(plan.entries, plan.hard_state, plan.snapshot)
        applied = self._apply(plan.committed, write)
        self.disk.write(write)
        self.point("after_write")
        return applied

    def _apply_apart(self, entries: Sequence[Entry]) -> None:
        """Apply with a write of its own, as the documentation's loop does."""
        if not entries:
            return
        write = Write(*self._hard)
        applied = self._apply(entries, write)
        self.disk.write(write)
        self.point("applied")
        for entry, result in applied:
            self._answer(entry, result)

    def _apply(self, entries: Sequence[Entry], write: Write) -> list[tuple[Entry, bytes]]:
        if not entries:
            return []
        checker = self.world.checker
        done: list[tuple[Entry, bytes]] = []
        changes: dict[bytes, bytes] = {}
        for entry in entries:
            if entry.entry_type:
                checker.applied(self, entry, None)
                checker.observe(self, stored_only=self.style == "append")
                self.conf_state = self.raw.apply_conf_entry(entry)
                self.applied = entry.index
                checker.conf_applied(self, entry.index, self.conf_state)
                write.conf_state = self.conf_state
                continue
            result = b""
            if entry.context:
                result = self._apply_op(entry, changes)
                checker.applied(self, entry, result)
                done.append((entry, result))
            else:
                checker.applied(self, entry, None)
            self.applied = entry.index
        if self.durable_apply:
            write.applied = self.applied
            write.changes = changes
        else:
            write.conf_state = None
        return done

    def _apply_op(self, entry: Entry, changes: dict[bytes, bytes]) -> bytes:
        machine = self.machine
        session = _SESSION + entry.context[ORIGIN.size :]
        known = machine.get(session)
        if known is not None:
            self.world.checker.count("session_hit")
            return known
        parts = marshal.loads(entry.data)
        result = b"yes"
        if parts[0] == b"c":
            result = b"yes" if machine.get(parts[1], b"") == parts[3] else b"no"
        if result != b"no":
            machine[parts[1]] = changes[parts[1]] = parts[2]
        machine[session] = changes[session] = result
        return result

    def _answer(self, entry: Entry, result: bytes) -> None:
        node, incarnation, sequence, _ = decode_context(entry.context)
        if node == self.id and incarnation == self.incarnation:
            op = self.pending.pop(sequence, None)
            if op is not None:
                self.world.completed(op, result, entry.index, self)

    # -- reads ---------------------------------------------------------------------------------

    def _confirmed(self, index: int, context: bytes) -> None:
        waiting = self.reads.get(bytes(context))
        if waiting:
            op = waiting.pop(0)
            if not waiting:
                del self.reads[bytes(context)]
            self.world.read_confirmed(op, index, self)
            self.ready_reads.append((index, op))

    def _serve_reads(self) -> None:
        waiting: list[tuple[int, Op]] = []
        for index, op in self.ready_reads:
            if index <= self.applied:
                self.world.completed(op, self.machine.get(op.key, b""), self.applied, self)
            else:
                waiting.append((index, op))
        self.ready_reads = waiting

    # -- snapshots -----------------------------------------------------------------------------

    def saved(self) -> Saved:
        """The state as of now."""
        term = self.raft.raft_log.term(self.applied)
        return Saved(self.applied, term, self.conf_state, dict(self.machine))

    def _make_snapshot(self, request_index: int, to: int) -> Snapshot:
        if self.snapshots_unavailable:
            self.snapshots_unavailable -= 1
            self.world.checker.count("snapshot_unavailable")
            raise SnapshotTemporarilyUnavailable
        view = self.disk.view
        saved = view.saved
        if (
            saved is None
            or not _names(saved.conf_state, to)
            or saved.index < max(request_index, view.base)
            or not self.world.settings.old_snapshots
        ):
            if self.applied < request_index:
                raise SnapshotTemporarilyUnavailable
            saved = self.saved()
            if not _names(saved.conf_state, to):
                raise SnapshotTemporarilyUnavailable  # What adds `to` is being applied just now.
        self.world.checker.count("snapshot_sent")
        self.check_state()
        return snapshot_message(saved, marshal.dumps(sorted(saved.machine.items()), 2))

    def check_state(self) -> None:
        """The whole state, and the client keys, against the model."""
        checker = self.world.checker
        machine = self.machine
        values = {
            key: value for key, value in machine.items() if value and not key.startswith(_SESSION)
        }
        checker.state_is(self.id, self.applied, values)
        known = {key[len(_SESSION) :] for key in machine if key.startswith(_SESSION)}
        checker.sessions_are(self.id, self.applied, known)

    def compact(self, keep: int) -> None:
        """Drop all of the log but the last `keep` applied entries."""
        index = self.applied - keep
        if index <= self.disk.view.base:
            return
        write = Write(*self._hard)
        if not self.durable_apply or self.world.settings.old_snapshots:
            write.saved = self.saved()
            if not self.durable_apply:
                write.applied = self.applied
                write.conf_state = self.conf_state
                write.changes = dict(self.machine)
        write.compact = index
        self.disk.write(write)
        self.count_compaction(index)

    def count_compaction(self, index: int) -> None:
        """Note whom a compaction up to `index` leaves behind."""
        checker = self.world.checker
        checker.count("compacted")
        if self.raft.is_leader() and any(
            progress.next_idx <= index for progress in self.raft.prs.progress.values()
        ):
            checker.count("compacted_under_follower")

    # -- the rest ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let a tick pass."""
        self.raw.tick()

    def step(self, m: Message) -> None:
        """Take in a message."""
        self.raw.step(m)

    def fail_sync(self) -> None:
        """Let the next flush fail."""
        self.disk.failing = True

    def mend_disk(self) -> None:
        """Let the disk work again, if no flush has met its failure."""
        self.disk.failing = False
        self.disk.fetch_later = 0


__all__ = ["Config", "DiskFailure", "NodeRandom", "SimCrash", "SimNode", "decode_context"]
