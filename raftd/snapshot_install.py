"""Installing a snapshot: at every moment the node has its old state or the new one.

STATE and SESSIONS exist in two epochs (``raftd.keys``). A snapshot is first *staged*, in many small
batches, under the epoch not in force, where nothing reads; a crash leaves garbage there, which
``clear_stage`` removes at start. When it is complete and its hash is right, one batch makes that
epoch the one in force, together with the log's new start, hard state, configuration and applied
position. The journal is ordered, so whoever finds that batch after a crash finds everything that
was staged before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from raft.eraftpb import ConfState, SnapshotMetadata, conf_state_of
from raftd import keys
from raftd.identity import Identity
from raftd.kvstore import Batch, KeyValueStore
from raftd.snapshot_format import (
    FAMILIES,
    SnapshotHeader,
    SnapshotRefused,
    StreamReader,
)
from raftd.storage import LogStore


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete, checked snapshot that lies in the epoch not in force."""

    header: SnapshotHeader
    epoch: int


class Stager:
    """Reads a snapshot into the epoch that is not in force, a chunk a step.

    The node may apply entries meanwhile: they go to the other epoch. Only one may be at work on a
    store, and none between ``staged`` and ``install``.

    Args:
        kv: The node's store.
        stream: The snapshot.
        identity: Whose store it is: a snapshot of another group or machine is refused.
        epoch: The epoch in force.

    Raises:
        SnapshotDamaged, SnapshotRefused: As StreamReader; also when it is not for this node.
    """

    def __init__(self, kv: KeyValueStore, stream: BinaryIO, identity: Identity, epoch: int) -> None:
        self._kv = kv
        self._reader = StreamReader(stream)
        _check_header(self._reader.header, identity)
        self._target = 1 - epoch
        self._prefix = keys.epoch_prefix(self._target)
        self._chunks = self._reader.chunks()
        self._cleared = False
        #: Set when all is there.
        self.staged: Staged | None = None

    @property
    def header(self) -> SnapshotHeader:
        """What the snapshot says of itself."""
        return self._reader.header

    def step(self) -> bool:
        """Stage the next chunk; return whether there is more to do.

        Raises:
            SnapshotDamaged: It is cut short or changed; what is staged is garbage.
            StoreWriteError: The node must stop.
        """
        if self.staged is not None:
            return False
        if not self._cleared:
            clear_stage(self._kv, 1 - self._target)
            self._cleared = True
        records = next(self._chunks, None)
        if records is None:
            self.staged = Staged(self._reader.header, self._target)
            return False
        batch = self._kv.new_batch()
        put, prefix = batch.put, self._prefix
        for family, key, value in records:
            put(family, prefix + key, value)
        self._kv.write(batch)
        return True

    def run(self) -> Staged:
        """Do all steps; for tests and offline use."""
        while self.step():
            pass
        assert self.staged is not None
        return self.staged


def clear_stage(kv: KeyValueStore, epoch: int) -> bool:
    """Remove what an unfinished staging left in the epoch that is not in force; ``epoch`` is.

    Returns whether there was anything.
    """
    prefix = keys.epoch_prefix(1 - epoch)
    end = bytes((prefix[0] + 1,))
    found = any(
        next(kv.scan(family, prefix, end, limit=1), None) is not None for family in FAMILIES
    )
    if found:
        batch = kv.new_batch()
        for family in FAMILIES:
            batch.delete_range(family, prefix, end)
        kv.write(batch)
    return found


def install(batch: Batch, log_store: LogStore, staged: Staged, metadata: SnapshotMetadata) -> None:
    """Put into ``batch`` what makes a staged snapshot the node's state; then ``Applier.reload``.

    Entries of the same Ready go into the same batch, behind this. Nothing may be applied between
    this and ``reload``.

    Raises:
        SnapshotRefused: It is not the snapshot that ``metadata`` speaks of.
        raft.SnapshotOutOfDate: The node has applied more already.
    """
    header = staged.header
    if (header.index, header.term) != (metadata.index, metadata.term):
        raise SnapshotRefused(
            f"staged is the snapshot at index {header.index}, term {header.term}; to be installed"
            f" is the one at index {metadata.index}, term {metadata.term}"
        )
    log_store.install_snapshot(batch, metadata)
    old = keys.epoch_prefix(1 - staged.epoch)
    for family in FAMILIES:
        batch.delete_range(family, old, bytes((old[0] + 1,)))
    log_store.set_epoch(batch, staged.epoch)
    log_store.set_addresses(batch, header.addresses)
    log_store.set_settings(batch, header.settings)
    log_store.set_applied(batch, header.applied)


def restore(
    kv: KeyValueStore,
    path: str | Path,
    identity: Identity,
    conf_state: ConfState,
    addresses: Mapping[int, str],
) -> LogStore:
    """Make a new node's store out of a snapshot file, with a configuration of its own. Blocks.

    Every first member of the restored group must be made from the same file, with the same cluster
    id, configuration and addresses. Give the group a new cluster id unless every old member is
    gone: two groups with one id could be joined by accident.

    Args:
        kv: An empty store, just created.
        path: The file.
        identity: Of the new node; the state machine must be the snapshot's.
        conf_state, addresses: Of the new group.

    Raises:
        SnapshotDamaged, SnapshotRefused: The file cannot be used; the store stays uninitialized.
    """
    with open(path, "rb") as stream:
        reader = StreamReader(stream)
        header = reader.header
        if header.state_machine != identity.state_machine:
            raise SnapshotRefused(
                f"the snapshot is of the state machine {header.state_machine!r}, not of"
                f" {identity.state_machine!r}; restore it with --state-machine"
                f" {header.state_machine}"
            )
        prefix = keys.epoch_prefix(1)
        for records in reader.chunks():
            batch = kv.new_batch()
            for family, key, value in records:
                batch.put(family, prefix + key, value)
            kv.write(batch)
    return LogStore.restore(
        kv,
        identity,
        applied=header.applied,
        conf_state=conf_state_of(conf_state),
        addresses=addresses,
        settings=header.settings,
        epoch=1,
    )


def _check_header(header: SnapshotHeader, identity: Identity) -> None:
    if header.cluster_id != identity.cluster_id:
        raise SnapshotRefused(
            f"the snapshot is of cluster {header.cluster_id.hex()}, this node belongs to"
            f" {identity.cluster_id.hex()}; check which peer sent it"
        )
    if header.state_machine != identity.state_machine:
        raise SnapshotRefused(
            f"the snapshot is of the state machine {header.state_machine!r}, this node runs"
            f" {identity.state_machine!r}; check which peer sent it"
        )
