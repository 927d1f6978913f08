"""What the core asks of a storage, and one in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from raft.eraftpb import ConfState, Entry, HardState, Snapshot, SnapshotMetadata, conf_state_of
from raft.errors import (
    Compacted,
    LogTemporarilyUnavailable,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    Unavailable,
)
from raft.invariant import fatal
from raft.logger import NULL_LOGGER
from raft.util import fitting_count

# Fewer dead entries than this at the head of a list are not worth moving the others for.
_TRIM_AT_LEAST = 1024

_EMPTY_CONF_STATE = ConfState()


@dataclass(slots=True)
class RaftState:
    """What a storage holds besides entries: asked for once, when a node starts.

    The `pending_*` pair is how 0.6.0-alpha stored a joint state; both are set or neither. A
    storage of today keeps the joint state in `conf_state` (`voters_outgoing`) and leaves them.
    """

    hard_state: HardState
    conf_state: ConfState
    pending_conf_state: ConfState | None = None
    pending_conf_state_start_index: int | None = None

    def initialized(self) -> bool:
        """Tell whether the store belongs to a group: it names members."""
        return self.conf_state != _EMPTY_CONF_STATE


@dataclass(slots=True, frozen=True)
class GetEntriesContext:
    """For whom the core asks for entries, so that a storage may fetch them in its own time.

    When `can_async` is true the storage may raise `LogTemporarilyUnavailable`, keep this
    context, fetch the entries and hand the context to `RawNode.on_entries_fetched`. When it is
    false it must answer now.
    """

    can_async: bool = False
    to: int = 0
    """The peer the entries are for; 0: for the node itself."""
    term: int = 0
    """The term in which they were asked for; a later one makes the answer void."""
    aggressively: bool = False
    """Whether more messages follow until the peer's window is full."""


class Storage(Protocol):
    """Where a node keeps its log. The core only reads; whoever runs the node writes.

    Every method is asked synchronously and often, so keep the recent tail in memory. Entries
    that were handed to the core are shared with it: never change one.
    """

    def initial_state(self) -> RaftState:
        """Return the hard state and the configuration that the node starts with."""

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the log entries in `[low, high)`, as a list of the caller's own.

        Args:
            low, high: Log indexes, `low <= high <= last_index() + 1`.
            max_size: Encoded size in bytes; at least one entry is returned. None: no limit.
            context: For whom they are. None: answer now.

        Raises:
            Compacted: `low` lies below `first_index()`; the peer needs a snapshot.
            Unavailable: An entry of the range is not in the store.
            LogTemporarilyUnavailable: They are being fetched; only if `context.can_async`.
        Source: Raft §5.3; raft-rs `Storage::entries`.
        """

    def term(self, index: int) -> int:
        """Return the term of the entry at `index`, in `[first_index() - 1, last_index()]`.

        Raises:
            Compacted: `index` lies below that range.
            Unavailable: `index` lies above it.
        """

    def first_index(self) -> int:
        """Return the first index that may still be there: 1 in a fresh store."""

    def last_index(self) -> int:
        """Return the last index stored: `first_index() - 1` if there are no entries."""

    def snapshot(self, request_index: int, to: int) -> Snapshot:
        """Return the newest snapshot, for the peer `to`; its index is at least `request_index`.

        Raises:
            SnapshotTemporarilyUnavailable: There is none such now; the core asks again later.
        """


class MemStorageCore:
    """The state of a `MemStorage`, and the writes that whoever runs the node makes to it.

    Entries are kept by reference and all index arithmetic takes constant time, whatever the
    length of the log. It is also a context manager that yields itself, for what `rl()` and
    `wl()` return.
    """

    __slots__ = (
        "_applied",
        "_base",
        "_compacted_index",
        "_compacted_term",
        "_conf_state",
        "_entries",
        "_fetch_context",
        "_hard_state",
        "_log_unavailable",
        "_pending",
        "_snap_unavailable",
    )

    def __init__(self) -> None:
        # The entry at index i is _entries[i - _base]. Those at and below _compacted_index are
        # dead: they wait to be dropped many at a time, so that compacting often stays cheap.
        self._entries: list[Entry] = []
        self._base = 1
        self._compacted_index = 0
        self._compacted_term = 0
        self._hard_state = HardState()
        self._conf_state = ConfState()
        self._pending: tuple[ConfState, int] | None = None
        self._applied: int | None = None
        self._snap_unavailable = False
        self._log_unavailable = False
        self._fetch_context: GetEntriesContext | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    # Reading.

    def initial_state(self) -> RaftState:
        """Return copies of the hard state and the configuration."""
        hard_state = HardState()
        hard_state.CopyFrom(self._hard_state)
        state = RaftState(hard_state, conf_state_of(self._conf_state))
        if self._pending is not None:
            pending, start_index = self._pending
            state.pending_conf_state = conf_state_of(pending)
            state.pending_conf_state_start_index = start_index
        return state

    def first_index(self) -> int:
        """Return the index after the last compacted one."""
        return self._compacted_index + 1

    def last_index(self) -> int:
        """Return the index of the last entry, or of the compacted one if none is left."""
        return self._base + len(self._entries) - 1

    def term(self, index: int) -> int:
        """Return the term of an entry, that of the last compacted one included."""
        if index <= self._compacted_index:
            if index == self._compacted_index:
                return self._compacted_term
            raise Compacted
        position = index - self._base
        if position >= len(self._entries):
            raise Unavailable
        return self._entries[position].term

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the entries in `[low, high)`; see `Storage.entries`."""
        if low <= self._compacted_index:
            raise Compacted
        base, entries = self._base, self._entries
        if not low <= high <= base + len(entries):
            fatal(
                NULL_LOGGER,
                "entries were asked for beyond the end of the log",
                low=low,
                high=high,
                last_index=self.last_index(),
            )
        if self._log_unavailable and context is not None and context.can_async:
            self._fetch_context = context
            raise LogTemporarilyUnavailable
        start = low - base
        return entries[start : start + fitting_count(entries, start, high - base, max_size)]

    def snapshot(self, request_index: int = 0, to: int = 0) -> Snapshot:
        """Return a snapshot without data at the commit index, or at the applied one if told.

        Raises:
            SnapshotTemporarilyUnavailable: It would lie below `request_index`, or
                `trigger_snap_unavailable()` was called; asking again may help.
        """
        if self._snap_unavailable:
            self._snap_unavailable = False
            raise SnapshotTemporarilyUnavailable
        index = self._hard_state.commit
        if self._applied is not None:
            # The configuration is the applied one, so the snapshot may not lie above it.
            index = min(index, self._applied)
        if index < max(request_index, self._compacted_index):
            raise SnapshotTemporarilyUnavailable
        metadata = SnapshotMetadata(conf_state=self._conf_state, index=index, term=self.term(index))
        if self._pending is not None:
            pending, start_index = self._pending
            metadata.pending_membership_change.CopyFrom(pending)
            metadata.pending_membership_change_index = start_index
        return Snapshot(metadata=metadata)

    def hard_state(self) -> HardState:
        """Return the hard state; look at it, and change it by `mut_hard_state()`."""
        return self._hard_state

    # Writing.

    def mut_hard_state(self) -> HardState:
        """Return the hard state itself, to be changed in place."""
        return self._hard_state

    def set_hardstate(self, hard_state: HardState) -> None:
        """Store a copy of the hard state."""
        self._hard_state.CopyFrom(hard_state)

    def commit_to(self, index: int) -> None:
        """Set the commit index to that of an entry that is there. The term stays as it is."""
        if not self._compacted_index <= index <= self.last_index():
            fatal(
                NULL_LOGGER,
                "commit to an entry that is not in the log",
                index=index,
                first_index=self.first_index(),
                last_index=self.last_index(),
            )
        self._hard_state.commit = index
        # A hard state whose term lies below that of a committed entry cannot have been: somebody
        # led in that term. A newer term, in which the node may have voted, is kept.
        self._hard_state.term = max(self._hard_state.term, self.term(index))

    def set_conf_state(
        self, conf_state: ConfState, pending: tuple[ConfState, int] | None = None
    ) -> None:
        """Store the configuration; `pending` is 0.6.0-alpha's joint state, None clears it."""
        self._conf_state = conf_state_of(conf_state)
        self._pending = None if pending is None else (conf_state_of(pending[0]), pending[1])

    def commit_to_and_set_conf_states(
        self,
        index: int,
        conf_state: ConfState | None = None,
        pending: tuple[ConfState, int] | None = None,
    ) -> None:
        """Commit to `index` and, unless it is None, store the configuration."""
        self.commit_to(index)
        if conf_state is not None:
            self.set_conf_state(conf_state, pending)

    def set_applied(self, index: int) -> None:
        """Tell that the stored configuration is that of `index`; snapshots lie no higher.

        Call it after each batch if entries are applied later than the commit index is stored.
        Who applies at once, as in the six steps of the manual, need not call it.
        """
        self._applied = index

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries, replacing what is there from the first one's index on.

        Raises:
            InvariantViolation: They overwrite compacted ones, or leave a gap.
        """
        if not entries:
            return
        first, last_index = entries[0].index, self.last_index()
        if not self._compacted_index < first <= last_index + 1:
            fatal(
                NULL_LOGGER,
                "appended entries overwrite compacted ones"
                if first <= self._compacted_index
                else "appended entries leave a gap in the log",
                first=first,
                first_index=self.first_index(),
                last_index=last_index,
            )
        if entries[-1].index != first + len(entries) - 1:
            fatal(
                NULL_LOGGER,
                "appended entries are not in one sequence",
                first=first,
                last=entries[-1].index,
                count=len(entries),
            )
        if first <= last_index:
            del self._entries[first - self._base :]
        self._entries.extend(entries)

    def compact(self, index: int) -> None:
        """Drop the entries before `index`; at most `last_index() + 1`, which drops all.

        The index and term of the last one dropped are kept, so `term(index - 1)` stays known.
        """
        if index <= self._compacted_index + 1:
            return
        if index > self.last_index() + 1:
            fatal(
                NULL_LOGGER,
                "compaction beyond the end of the log",
                index=index,
                last_index=self.last_index(),
            )
        self._compacted_term = self._entries[index - 1 - self._base].term
        self._compacted_index = index - 1
        dead = index - self._base
        if dead >= len(self._entries) or (
            dead >= _TRIM_AT_LEAST and 2 * dead >= len(self._entries)
        ):
            del self._entries[:dead]
            self._base = index

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Install a snapshot: the log before it is gone, and the configuration is its own.

        Entries after it are kept only if the log holds the snapshot's last entry, index and
        term; else all are dropped (Raft §7). Neither term nor commit index go back.

        Raises:
            SnapshotOutOfDate: It lies below the start of the log; nothing was changed.
        """
        metadata = snapshot.metadata
        index, term = metadata.index, metadata.term
        if index < self._compacted_index:
            raise SnapshotOutOfDate
        if index <= self.last_index() and self.term(index) == term:
            self.compact(index + 1)
        else:
            if self._hard_state.commit > index:
                fatal(
                    NULL_LOGGER,
                    "the snapshot contradicts a committed entry",
                    index=index,
                    term=term,
                    commit=self._hard_state.commit,
                )
            self._entries.clear()
            self._base = index + 1
            self._compacted_index, self._compacted_term = index, term
        self._hard_state.commit = max(self._hard_state.commit, index)
        self._hard_state.term = max(self._hard_state.term, term)
        if self._applied is not None:
            self._applied = max(self._applied, index)
        pending = (
            (metadata.pending_membership_change, metadata.pending_membership_change_index)
            if metadata.pending_membership_change_index > 0
            else None
        )
        self.set_conf_state(metadata.conf_state, pending)

    # Faults, for tests.

    def trigger_snap_unavailable(self) -> None:
        """Make the next `snapshot()` raise `SnapshotTemporarilyUnavailable`."""
        self._snap_unavailable = True

    def trigger_log_unavailable(self, unavailable: bool = True) -> None:
        """Make `entries()` raise `LogTemporarilyUnavailable` where it may, until told False."""
        self._log_unavailable = unavailable

    def take_get_entries_context(self) -> GetEntriesContext | None:
        """Return the context of the last fetch that was put off, once."""
        context, self._fetch_context = self._fetch_context, None
        return context


class MemStorage:
    """A `Storage` in memory: for tests, for examples, and as a model of how one behaves.

    It forgets everything when the process ends, and a Raft node that forgets its vote or its
    log may elect two leaders: real nodes need a disk. Its snapshots carry no data: a program that
    has a state machine overrides `snapshot` and adds what that holds.
    """

    __slots__ = (
        "_core",
        "entries",
        "first_index",
        "initial_state",
        "last_index",
        "snapshot",
        "term",
    )

    def __init__(self) -> None:
        core = self._core = MemStorageCore()
        # The core's methods themselves: the log is asked too often for a detour.
        if TYPE_CHECKING:
            self.initial_state = core.initial_state
            self.entries = core.entries
            self.term = core.term
            self.first_index = core.first_index
            self.last_index = core.last_index
            self.snapshot = core.snapshot
        else:
            # Set through the slots: a subclass's method of the same name then holds, and finds
            # what is set here by super(). An assignment would hide it without a word.
            for name in MemStorage.__slots__[1:]:
                MemStorage.__dict__[name].__set__(self, getattr(core, name))

    @classmethod
    def new(cls) -> Self:
        """Return an empty store, which belongs to no group yet."""
        return cls()

    @classmethod
    def new_with_conf_state(
        cls, conf_state: ConfState | tuple[Iterable[int], Iterable[int]]
    ) -> Self:
        """Return a store of a new group with these `(voters, learners)`.

        All first nodes of a group are made with the same ones.
        """
        storage = cls()
        storage.initialize_with_conf_state(conf_state)
        return storage

    def initialize_with_conf_state(
        self, conf_state: ConfState | tuple[Iterable[int], Iterable[int]]
    ) -> None:
        """Make an empty store that of a new group: as after a snapshot at index 1 of term 1."""
        core = self._core
        if core.initial_state().initialized() or core.last_index() > 0:
            fatal(
                NULL_LOGGER,
                "the store belongs to a group already",
                last_index=core.last_index(),
            )
        metadata = SnapshotMetadata(conf_state=conf_state_of(conf_state), index=1, term=1)
        core.apply_snapshot(Snapshot(metadata=metadata))

    def rl(self) -> MemStorageCore:
        """Return the core, to read; usable as a context manager."""
        return self._core

    def wl(self) -> MemStorageCore:
        """Return the core, to write; usable as a context manager."""
        return self._core
