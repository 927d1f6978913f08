"""A node's disk as the plan sees it: one atomic batch for log, hard state and applied changes.

Two things may wait for a later batch, because losing them in a crash loses nothing: a commit index
that came without entries, which the leader says again, and what applying changed, which the log
brings about again. Whatever is written carries the newest commit index, so a node never knows
entries on its disk without what it was told of them, nor anything applied that is not committed.

The daemon runs it over RocksDB, the simulator over memory that loses what was not flushed; neither
this nor what it calls reads a clock or starts a thread.
"""

from collections.abc import Callable, Sequence

from raft import InvariantViolation
from raft.eraftpb import HardState
from raftd.applier import Applied, Applier
from raftd.failpoints import hit, hit_changes
from raftd.kvstore import Batch
from raftd.plan import Plan
from raftd.snapshot import Staged, install
from raftd.storage import LogStore


class Replica:
    """Writes plans.

    Attributes:
        staged: The snapshot that was received and checked, until a plan installs it.
        bytes_written: Roughly, since the start, without what is written ahead.
    """

    def __init__(self, store: LogStore, applier: Applier) -> None:
        self._store = store
        self._applier = applier
        self.staged: Staged | None = None
        self.bytes_written = 0
        # Not written yet: differs from what is by the commit index alone.
        self._hard_state: HardState | None = None
        self._unused: Batch | None = None
        self._flush_state: Callable[[], None] | None = None

    def go_ahead(self, flush_state: Callable[[], None]) -> None:
        """Write large values ahead of what refers to them: see ``Applier.go_ahead``.

        Args:
            flush_state: Begins to flush STATE in a thread; ``flush_ended`` of the applier must be
                called when it is done.
        """
        self._flush_state = flush_state
        self._applier.go_ahead()

    def persist(self, plan: Plan) -> Sequence[Applied]:
        """Write a plan's snapshot, entries, hard state and applied changes, unflushed.

        Raises:
            StoreWriteError: Latched; the node must stop.
            ApplyError, MachineError: An entry cannot be applied here; the node must stop.
        """
        store, applier = self._store, self._applier
        batch, self._unused = self._unused, None
        if batch is None:  # An empty one counts as false.
            batch = store.new_batch()
        if plan.hard_state is not None:
            self._hard_state = plan.hard_state
        if plan.snapshot is not None:
            metadata = plan.snapshot.metadata
            staged, self.staged = self.staged, None
            if staged is None:
                raise InvariantViolation(
                    "a snapshot is to be installed that was never received",
                    {"index": metadata.index, "term": metadata.term},
                )
            hit("snapshot.install")
            install(batch, store, staged, metadata)
        if plan.entries:
            hit_changes("append", plan.entries)
            store.append(batch, plan.entries)
        if plan.snapshot is not None:
            self._write(batch)
            hit("snapshot.installed")
            applier.reload()
            if not plan.committed:
                return ()
            batch = store.new_batch()
        applied: Sequence[Applied] = ()
        if plan.committed:
            hit("apply")
            hit_changes("apply", plan.committed)
            applied = applier.stage(batch, plan.committed)
            hit("applied")
            hit_changes("applied", plan.committed)
        if applier.due:
            spared = applier.spares_journal
            applier.save(batch)
            self._write(batch)
            if spared:
                hit("saved")
        elif plan.sync and plan.snapshot is None:
            self._write(batch)
        elif not len(batch):
            # Half of all plans carry only a commit; making a batch for each takes 1.4 us.
            self._unused = batch
        if self._flush_state is not None and applier.begin_flush():
            self._flush_state()
        return applied

    def save(self) -> None:
        """Write what was left for later; not flushed.

        Raises:
            StoreWriteError: Latched; the node must stop.
        """
        batch = self._store.new_batch()
        if self._applier.unsaved:
            self._applier.save(batch)
        if len(batch) or self._hard_state is not None:
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        if self._hard_state is not None:
            self._store.set_hard_state(batch, self._hard_state)
            self._hard_state = None
        self.bytes_written += batch.size_bytes
        hit("persist")
        self._store.write(batch)
        hit("written")
