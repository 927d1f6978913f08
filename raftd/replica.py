"""A node's disk as the plan sees it: one atomic batch for log, hard state and applied changes.

The daemon runs it over RocksDB, the simulator over memory that loses what was not flushed; neither
this nor what it calls reads a clock or starts a thread.
"""

from collections.abc import Sequence

from raft import InvariantViolation
from raftd.applier import Applied, Applier
from raftd.plan import Plan
from raftd.snapshot import Staged, install
from raftd.storage import LogStore


class Replica:
    """Writes plans.

    Attributes:
        staged: The snapshot that was received and checked, until a plan installs it.
        bytes_written: Roughly, since the start.
    """

    def __init__(self, store: LogStore, applier: Applier) -> None:
        self._store = store
        self._applier = applier
        self.staged: Staged | None = None
        self.bytes_written = 0

    def persist(self, plan: Plan) -> Sequence[Applied]:
        """Write a plan's snapshot, entries, hard state and applied changes as one batch, unflushed.

        Raises:
            StoreWriteError: Latched; the node must stop.
            ApplyError, MachineError: An entry cannot be applied here; the node must stop.
        """
        store = self._store
        batch = store.new_batch()
        if plan.snapshot is not None:
            metadata = plan.snapshot.metadata
            staged, self.staged = self.staged, None
            if staged is None:
                raise InvariantViolation(
                    "a snapshot is to be installed that was never received",
                    {"index": metadata.index, "term": metadata.term},
                )
            install(batch, store, staged, metadata)
        if plan.entries:
            store.append(batch, plan.entries)
        if plan.hard_state is not None:
            store.set_hard_state(batch, plan.hard_state)
        if plan.snapshot is not None:
            store.write(batch)
            self._applier.reload()
            if not plan.committed:
                return ()
            batch = store.new_batch()
        applied = self._applier.apply(batch, plan.committed) if plan.committed else ()
        self.bytes_written += batch.size_bytes
        store.write(batch)
        return applied
