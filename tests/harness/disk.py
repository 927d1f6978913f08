"""A small simulated disk under a library user's storage: what is written, and what is durable.

`MiniDisk` is a `raft.Storage` that keeps entries as objects. Everything written goes through a
journal: a `Write` changes at once what the process sees (`view`), and what a power cut leaves
(`platter`) only when it is synced. A crash keeps a prefix of the journal's unsynced writes, or,
harsher than any real journal, any of them that still make a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from raft.eraftpb import ConfState, Entry, HardState, Snapshot, SnapshotMetadata
from raft.errors import Compacted, SnapshotTemporarilyUnavailable, Unavailable
from raft.storage import GetEntriesContext, RaftState
from raft.util import limit_size

Machine = dict[bytes, bytes]
"""The state of the state machine: records by key."""


class DiskFailure(Exception):
    """A sync failed: what was written since the last one may or may not be there."""


class Write:
    """One atomic write.

    Attributes:
        term, vote, commit: The hard state as of this write, always complete: entries must never be
            durable without the commit index that came with them.
        entries: Replace the log from the first one's index on; `before` is the term of the entry
            before them.
        applied, conf_state, changes: What applying entries changed; None, None, {}: nothing.
        snapshot: (index, term, configuration, machine) to install in place of everything.
        saved: The same, kept to restart from and to send; the log is not touched.
        compact: Drop the log up to this index.
    """

    __slots__ = (
        "applied",
        "before",
        "changes",
        "commit",
        "compact",
        "conf_state",
        "entries",
        "saved",
        "snapshot",
        "term",
        "vote",
    )

    def __init__(self, term: int, vote: int, commit: int) -> None:
        self.term = term
        self.vote = vote
        self.commit = commit
        self.entries: Sequence[Entry] = ()
        self.before = 0
        self.applied: int | None = None
        self.conf_state: ConfState | None = None
        self.changes: Machine = {}
        self.snapshot: Saved | None = None
        self.saved: Saved | None = None
        self.compact = 0


class Saved:
    """A state of the machine at an index."""

    __slots__ = ("conf_state", "index", "machine", "term")

    def __init__(self, index: int, term: int, conf_state: ConfState, machine: Machine) -> None:
        self.index = index
        self.term = term
        self.conf_state = conf_state
        self.machine = machine


class DiskState:
    """What a log file and a state file hold together."""

    __slots__ = (
        "applied",
        "base",
        "base_term",
        "commit",
        "conf_state",
        "entries",
        "machine",
        "saved",
        "term",
        "vote",
    )

    def __init__(self) -> None:
        self.term = 0
        self.vote = 0
        self.commit = 0
        self.base = 0
        self.base_term = 0
        self.entries: list[Entry] = []
        self.applied = 0
        self.conf_state = ConfState()
        self.machine: Machine = {}
        self.saved: Saved | None = None

    def copy(self) -> DiskState:
        """Return an independent copy; entries are shared, for nobody changes them."""
        twin = DiskState()
        twin.term, twin.vote, twin.commit = self.term, self.vote, self.commit
        twin.base, twin.base_term = self.base, self.base_term
        twin.entries = list(self.entries)
        twin.applied, twin.conf_state = self.applied, self.conf_state
        twin.machine = dict(self.machine)
        twin.saved = self.saved
        return twin

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self.base + len(self.entries)

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`; -1 if it is not there."""
        position = index - self.base - 1
        if position == -1:
            return self.base_term
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return -1

    def put(self, write: Write) -> None:
        """Carry out `write`."""
        snapshot = write.snapshot
        if snapshot is not None:
            self.base, self.base_term = snapshot.index, snapshot.term
            self.entries = []
            self.applied, self.conf_state = snapshot.index, snapshot.conf_state
            self.machine = dict(snapshot.machine)
            self.saved = snapshot
        entries = write.entries
        if entries:
            keep = entries[0].index - self.base - 1
            if keep == len(self.entries):
                self.entries.extend(entries)
            elif 0 <= keep < len(self.entries):
                self.entries[keep:] = entries
            else:
                raise AssertionError(
                    f"entries from {entries[0].index} on cannot follow a log of "
                    f"{self.base + 1}..{self.last}"
                )
        self.term, self.vote, self.commit = write.term, write.vote, write.commit
        if write.applied is not None:
            self.applied = write.applied
        if write.conf_state is not None:
            self.conf_state = write.conf_state
        if write.changes:
            self.machine.update(write.changes)
        if write.saved is not None:
            self.saved = write.saved
        if write.compact > self.base:
            term = self.term_at(write.compact)
            del self.entries[: write.compact - self.base]
            self.base, self.base_term = write.compact, term

    def put_if_it_fits(self, write: Write) -> None:
        """Carry out the log part of `write` if it continues this log: its predecessors are lost."""
        entries = write.entries
        if write.snapshot is not None or write.term < self.term:
            return
        if entries and self.term_at(entries[0].index - 1) != write.before:
            return
        if entries and entries[0].index <= self.commit:
            return
        bare = Write(write.term, write.vote, self.commit)
        if write.term == self.term and self.vote:
            bare.vote = self.vote
        bare.entries = entries
        self.put(bare)
        # The commit index counts only as far as the log reaches.
        self.commit = max(self.commit, min(write.commit, self.last))


KEEP_NONE: Final = 0
KEEP_ALL: Final = -1


class MiniDisk:
    """`raft.Storage` of one node, with its disk."""

    def __init__(self) -> None:
        self.view = DiskState()
        self.platter = DiskState()
        self.journal: list[Write] = []
        self.written = 0
        """Writes since the beginning of time."""
        self.synced = 0
        """How many of them are durable."""
        self.lies = False
        """Whether a sync reports success and does nothing: the checks must notice."""
        self.failing = False
        """Whether the next sync fails."""
        self.make_snapshot: Any = None
        """Called as (request_index, to) for a snapshot to send."""
        self.fetch_later = 0
        """How many of the next fetches for a peer come later, through `on_entries_fetched`."""
        self.fetches: list[GetEntriesContext] = []

    # -- raft.Storage --------------------------------------------------------------------------

    def initial_state(self) -> RaftState:
        """The hard state; what is applied was committed, even if that was not written yet."""
        view = self.view
        hard_state = HardState(
            term=view.term, vote=view.vote, commit=max(view.commit, view.applied)
        )
        return RaftState(hard_state, view.conf_state)

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """As `raft.Storage`."""
        view = self.view
        if low <= view.base:
            raise Compacted
        if high > view.last + 1:
            raise Unavailable
        if self.fetch_later and context is not None and context.can_async:
            from raft.errors import LogTemporarilyUnavailable

            self.fetch_later -= 1
            self.fetches.append(context)
            raise LogTemporarilyUnavailable
        found = view.entries[low - view.base - 1 : high - view.base - 1]
        limit_size(found, max_size)
        return found

    def term(self, index: int) -> int:
        """As `raft.Storage`."""
        view = self.view
        position = index - view.base - 1
        if position >= 0:
            if position < len(view.entries):
                return view.entries[position].term
            raise Unavailable
        if position == -1:
            return view.base_term
        raise Compacted

    def first_index(self) -> int:
        """As `raft.Storage`."""
        return self.view.base + 1

    def last_index(self) -> int:
        """As `raft.Storage`."""
        return self.view.base + len(self.view.entries)

    def snapshot(self, request_index: int, to: int) -> Snapshot:
        """As `raft.Storage`."""
        if self.make_snapshot is None:
            raise SnapshotTemporarilyUnavailable
        snapshot: Snapshot = self.make_snapshot(request_index, to)
        return snapshot

    # -- writing -------------------------------------------------------------------------------

    def write(self, write: Write) -> None:
        """Carry out `write`: visible at once, durable with a later sync."""
        if write.entries:
            write.before = self.view.term_at(write.entries[0].index - 1)
        self.view.put(write)
        self.journal.append(write)
        self.written += 1

    def sync(self, position: int | None = None) -> None:
        """Make the first `position` writes durable; None: all.

        Raises:
            DiskFailure: `failing` was set. Nothing is known of what was not synced.
        """
        if self.failing:
            raise DiskFailure
        count = (self.written if position is None else position) - self.synced
        if count <= 0 or self.lies:
            return
        for write in self.journal[:count]:
            self.platter.put(write)
        del self.journal[:count]
        self.synced += count

    def crash(self, keep: int, harsh: int = 0) -> None:
        """Cut the power.

        Args:
            keep: How many unsynced writes survive, from the oldest on; all at most, and
                `KEEP_ALL` for all.
            harsh: Bit i: the i-th of the others survives too, as far as it makes a log.
        """
        journal = self.journal
        count = len(journal) if keep == KEEP_ALL else min(keep, len(journal))
        for write in journal[:count]:
            self.platter.put(write)
        for position, write in enumerate(journal[count:]):
            if harsh >> position & 1:
                self.platter.put_if_it_fits(write)
        self.view = self.platter.copy()
        self.written = self.synced = self.synced + len(journal)
        self.journal = []
        self.failing = False
        self.fetches = []
        self.fetch_later = 0
        self.make_snapshot = None

    # -- what is durable -----------------------------------------------------------------------

    def has_durably(self, index: int, term: int) -> bool:
        """Whether the entry at `index` of `term`, or a snapshot of it, survives any crash."""
        platter = self.platter
        if index <= platter.base:
            return True
        return platter.term_at(index) == term


def snapshot_message(saved: Saved, data: bytes) -> Snapshot:
    """Return `saved` in the form that travels."""
    metadata = SnapshotMetadata(conf_state=saved.conf_state, index=saved.index, term=saved.term)
    return Snapshot(data=data, metadata=metadata)
