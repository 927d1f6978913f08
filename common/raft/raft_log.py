"""The replicated log as one node sees it: the storage's part, the unstable part, and how far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, NoReturn, TypeVar

from raft.eraftpb import Entry, Snapshot
from raft.errors import Compacted, MessageRefused, Unavailable
from raft.invariant import fatal
from raft.log_unstable import Unstable
from raft.logger import NULL_LOGGER, Logger
from raft.storage import GetEntriesContext, Storage
from raft.util import NO_LIMIT, limit_size

StorageT = TypeVar("StorageT", bound=Storage)


class RaftLog(Generic[StorageT]):
    """The log of one node (Raft §5.3).

    ``applied <= committed <= last_index()``, and none of the three indexes goes back, except the
    last when a leader replaces what was not committed. ``persisted`` goes back with it.

    Attributes:
        store: Where the stable part is. It is only read here.
        unstable: The part that was not handed to the store yet.
        committed: The highest index known to be on a quorum's disks.
        persisted: The highest index known to be on this node's own disk, with the entry that is
            in the log now.
        applied: The highest index that the state machine was told of; at most `committed`.
        max_apply_unpersisted_log_limit: How far beyond `persisted` committed entries are handed
            out. The core sets it when it becomes leader, and 0 when it is none any more.
    """

    __slots__ = (
        "_logger",
        "applied",
        "committed",
        "max_apply_unpersisted_log_limit",
        "persisted",
        "store",
        "unstable",
    )

    def __init__(
        self,
        store: StorageT,
        logger: Logger = NULL_LOGGER,
        max_apply_unpersisted_log_limit: int = 0,
    ) -> None:
        first_index, last_index = store.first_index(), store.last_index()
        self.store = store
        self.unstable = Unstable(last_index + 1, logger, last_term=store.term(last_index))
        self.committed = first_index - 1
        self.persisted = last_index
        self.applied = first_index - 1
        self.max_apply_unpersisted_log_limit = max_apply_unpersisted_log_limit
        self._logger = logger

    def __repr__(self) -> str:
        return (
            f"RaftLog(first_index={self.first_index()}, last_index={self.last_index()}, "
            f"committed={self.committed}, persisted={self.persisted}, applied={self.applied}, "
            f"unstable={self.unstable.offset}..{self.unstable.next_index})"
        )

    # Where the log is.

    def first_index(self) -> int:
        """Return the first index that may still be read."""
        snapshot = self.unstable.snapshot
        return self.store.first_index() if snapshot is None else snapshot.metadata.index + 1

    def last_index(self) -> int:
        """Return the index of the last entry, or of the snapshot that the log starts with."""
        return self.unstable.next_index - 1

    def last_term(self) -> int:
        """Return the term of the entry at `last_index()`; 0 if the log never had one."""
        return self.unstable.last_term

    def term(self, index: int) -> int:
        """Return the term of the entry at `index`; 0 beyond the end of the log.

        Raises:
            Compacted: The log starts too far above it for its term to be known. It is not 0
                then: who compares it would be told of a match or a mismatch that is none.
        """
        unstable = self.unstable
        next_index = unstable.next_index
        if index == next_index - 1:
            return unstable.last_term
        if index >= next_index:
            return 0
        if index >= unstable.offset:
            term = unstable.maybe_term(index)
            if term is not None:
                return term
        snapshot = unstable.snapshot
        if snapshot is not None and index <= snapshot.metadata.index:
            if index == snapshot.metadata.index:
                return snapshot.metadata.term
            raise Compacted
        if index < 0:
            raise Compacted
        try:
            return self.store.term(index)
        except Unavailable:
            self._lost(index, index + 1)

    def match_term(self, index: int, term: int) -> bool:
        """Tell whether the log holds the entry at `index` with this term."""
        if index >= self.unstable.next_index:
            return False
        try:
            return self.term(index) == term
        except Compacted:
            return False

    def is_up_to_date(self, last_index: int, term: int) -> bool:
        """Tell whether a log with this end is at least as up to date as this one (Raft §5.4.1).

        The later term in the last entry decides, then the length.
        """
        own_term = self.unstable.last_term
        return term > own_term or (term == own_term and last_index >= self.last_index())

    # Appending.

    def append(self, entries: Sequence[Entry]) -> int:
        """Append entries, in place of all that stand from the first one's index on.

        Args:
            entries: In sequence. They are kept, not copied: never change them afterwards.

        Returns:
            The last index.

        Raises:
            InvariantViolation: They would replace a committed entry, or leave a gap.
        """
        if entries:
            first = entries[0].index
            if first <= self.committed:
                fatal(
                    self._logger,
                    "an entry that is committed would be replaced",
                    first=first,
                    committed=self.committed,
                )
            self.unstable.truncate_and_append(entries)
            if self.persisted >= first:
                # What the disk has from here on is of no use any more.
                self.persisted = first - 1
        return self.unstable.next_index - 1

    def maybe_append(
        self, index: int, term: int, committed: int, entries: Sequence[Entry]
    ) -> tuple[int, int] | None:
        """Append what a leader sent, if the log holds the entry before it (Raft §5.3).

        Entries that are there already are left alone; from the first one that differs on, all
        are replaced. So a message that arrives late takes nothing away.

        Args:
            index, term: Of the entry before `entries`.
            committed: The leader's commit index. This log's follows as far as `entries` go.
            entries: In sequence, from `index + 1` on.

        Returns:
            The index of the first entry that was new or differed (0: none) and that of the last
            one of `entries`; None if the log does not hold the entry before them.

        Raises:
            MessageRefused: `entries` are not in sequence; nothing was changed.
            InvariantViolation: An entry differs from a committed one: one of two logs is wrong.
        """
        count = len(entries)
        last_new_index = index + count
        if count and (entries[0].index != index + 1 or entries[-1].index != last_new_index):
            raise MessageRefused(
                f"its {count} entries run from {entries[0].index} to {entries[-1].index} "
                f"and cannot follow index {index}"
            )
        if not self.match_term(index, term):
            return None
        conflict = 0
        if count:
            # Mostly a leader sends what comes next, and nothing needs to be compared.
            if index == self.unstable.next_index - 1:
                conflict = index + 1
            else:
                conflict = self.find_conflict(entries)
            if conflict:
                if conflict <= self.committed:
                    fatal(
                        self._logger,
                        "a leader's entry differs from a committed one",
                        index=conflict,
                        term=entries[conflict - index - 1].term,
                        committed=self.committed,
                    )
                self.append(entries if conflict == index + 1 else entries[conflict - index - 1 :])
        self.commit_to(min(committed, last_new_index))
        return conflict, last_new_index

    def find_conflict(self, entries: Sequence[Entry]) -> int:
        """Return the index of the first entry that the log does not hold with the same term.

        Args:
            entries: In sequence; the entry before them is in the log.

        Returns:
            0 if the log holds them all. An entry beyond the end of the log counts as one that
            differs.
        """
        for entry in entries:
            index = entry.index
            if not self.match_term(index, entry.term):
                if index < self.unstable.next_index:
                    self._logger.info(
                        "entries of the log differ from the leader's and are replaced",
                        index=index,
                        leader_term=entry.term,
                        last_index=self.last_index(),
                    )
                return index
        return 0

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """Return where a log that ends with `(index, term)` can at most agree with this one.

        Terms never fall along a log, so above the entry found every entry of this log is of a
        later term than any entry of the other can be. Each side asks this of what the other
        told, and skips a whole term at a time.

        Returns:
            The highest index at or below `index` whose term is at most `term`, and its term. The
            term is 0 if it is not known: the index lies beyond the end, or before the start.
        """
        if index >= self.unstable.next_index:
            return index, 0
        low = self.first_index() - 1
        if index < low:
            return index, 0
        found = self.term(index)
        if found <= term:
            return index, found
        found = self.term(low)
        if found > term:
            return max(low - 1, 0), 0
        # The term at low is at most `term`, that at high is later.
        high = index
        while high - low > 1:
            middle = (low + high) // 2
            middle_term = self.term(middle)
            if middle_term <= term:
                low, found = middle, middle_term
            else:
                high = middle
        return low, found

    # Committing.

    def commit_to(self, index: int) -> None:
        """Raise the commit index to `index`; a lower one changes nothing.

        Raises:
            InvariantViolation: It lies beyond the end of the log.
        """
        if index <= self.committed:
            return
        if index >= self.unstable.next_index:
            fatal(
                self._logger,
                "commit beyond the end of the log: was the log corrupted, cut off or lost?",
                index=index,
                last_index=self.last_index(),
            )
        self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """Raise the commit index to `index`, if the entry there is of `term`.

        A leader may commit only entries of its own term by counting (Raft §5.4.2); they commit
        what lies before them.

        Returns:
            Whether the commit index was raised.
        """
        if index <= self.committed or not self.match_term(index, term):
            return False
        self.commit_to(index)
        return True

    def commit_info(self) -> tuple[int, int]:
        """Return the commit index and the term of the entry there."""
        try:
            return self.committed, self.term(self.committed)
        except Compacted:
            fatal(
                self._logger,
                "the last committed entry is gone from the log",
                committed=self.committed,
                first_index=self.first_index(),
            )

    # Handing over to the storage.

    def unstable_entries(self) -> list[Entry]:
        """Return the entries that the store does not have yet, as a new list."""
        return self.unstable.entries

    def stable_to(self, index: int, term: int) -> None:
        """Note that the store has all up to `index`, if the entry there is of `term`.

        A word that is late, of entries that were replaced meanwhile, changes nothing.
        """
        self.unstable.stable_to(index, term)

    stable_entries = stable_to

    def stable_snap_to(self, index: int) -> None:
        """Note that the store has the snapshot at `index`; a word of another changes nothing."""
        self.unstable.stable_snap_to(index)

    stable_snap = stable_snap_to

    def maybe_persist(self, index: int, term: int) -> bool:
        """Note that the disk has all up to `index`, if the entry there is still of `term`.

        The entries must have been handed to the store before (`stable_entries`). A late word of
        entries that were replaced meanwhile changes nothing, even if the new ones reach as far:
        those are not on the disk yet (etcd#1690, rs#403).

        Returns:
            Whether `persisted` was raised.
        """
        if index <= self.persisted:
            return False
        unstable = self.unstable
        snapshot = unstable.snapshot
        first_update_index = unstable.offset if snapshot is None else snapshot.metadata.index
        if index >= first_update_index or not self.match_term(index, term):
            return False
        self.persisted = index
        return True

    def maybe_persist_snap(self, index: int) -> bool:
        """Note that the disk has the snapshot at `index`.

        Returns:
            Whether `persisted` was raised.
        """
        if index <= self.persisted:
            return False
        if index > self.committed or index >= self.unstable.offset:
            fatal(
                self._logger,
                "a snapshot was persisted that the log does not know of",
                index=index,
                committed=self.committed,
                offset=self.unstable.offset,
            )
        self.persisted = index
        return True

    def snapshot(self, request_index: int, to: int) -> Snapshot:
        """Return a snapshot for the peer `to`, at `request_index` or above.

        Raises:
            SnapshotTemporarilyUnavailable: There is none such now.
        """
        pending = self.unstable.snapshot
        if pending is not None and pending.metadata.index >= request_index:
            return pending
        return self.store.snapshot(request_index, to)

    def restore(self, snapshot: Snapshot) -> None:
        """Take a snapshot in place of the whole log (Raft §7).

        Raises:
            InvariantViolation: It lies below the commit index.
        """
        index = snapshot.metadata.index
        if index < self.committed:
            fatal(
                self._logger,
                "a snapshot below the commit index",
                index=index,
                committed=self.committed,
            )
        # Of what is on the disk only the committed part is sure to be what the snapshot covers.
        self.persisted = min(self.persisted, self.committed)
        self.committed = index
        self.unstable.restore(snapshot)

    # Applying.

    def applied_to(self, index: int) -> None:
        """Note that the state machine has all up to `index`; 0 is passed over.

        Raises:
            InvariantViolation: It goes back, or beyond what is committed.
        """
        if index == 0:
            return
        # Not checked against what may be applied unpersisted: that bound shrinks when a leader
        # steps down, and what it handed out before is still applied.
        if not self.applied <= index <= self.committed:
            fatal(
                self._logger,
                "the applied index goes back or beyond the commit index",
                index=index,
                applied=self.applied,
                committed=self.committed,
            )
        self.applied = index

    def applied_index_upper_bound(self) -> int:
        """Return how far committed entries may be handed out now."""
        return min(self.committed, self.persisted + self.max_apply_unpersisted_log_limit)

    def has_next_entries(self) -> bool:
        """Tell whether there are committed entries to apply after `applied`."""
        return self.has_next_entries_since(self.applied)

    def has_next_entries_since(self, since_index: int) -> bool:
        """Tell whether there are committed entries to apply after `since_index`."""
        # The commit index first: it is the bound when the disk is ahead, and mostly it is.
        if self.committed <= since_index:
            return False
        low = max(since_index + 1, self.first_index())
        return low <= self.applied_index_upper_bound()

    def next_entries(self, max_size: int | None = None) -> list[Entry]:
        """Return the committed entries to apply after `applied`; none: an empty list."""
        return self.next_entries_since(self.applied, max_size)

    def next_entries_since(self, since_index: int, max_size: int | None = None) -> list[Entry]:
        """Return the committed entries to apply after `since_index`.

        Go on after the last one returned, however many that were: their sizes decide (rule:
        never count on what was asked for).

        Args:
            since_index: The last index that was handed out.
            max_size: Encoded size in bytes; at least one entry is returned. None: no limit.
        """
        if self.committed <= since_index:
            return []
        low = max(since_index + 1, self.first_index())
        high = self.applied_index_upper_bound() + 1
        if low >= high:
            return []
        return self.slice(low, high, max_size)

    # Reading.

    def entries(
        self,
        index: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the entries from `index` to the end of the log; see `slice`."""
        next_index = self.unstable.next_index
        if index >= next_index:
            return []
        return self.slice(index, next_index, max_size, context)

    def all_entries(self) -> list[Entry]:
        """Return all entries of the log."""
        while True:
            try:
                return self.entries(self.first_index())
            except Compacted:
                continue  # It was compacted just now: what is left is asked for.

    def scan(
        self,
        low: int,
        high: int,
        page_size: int,
        context: GetEntriesContext | None = None,
    ) -> Iterator[list[Entry]]:
        """Yield the entries in `[low, high)` in pages, so that a long range needs little memory.

        Args:
            low, high: As for `slice`.
            page_size: Encoded size of a page in bytes; it holds at least one entry.
            context: As for `slice`.

        Raises:
            As `slice`.
        """
        while low < high:
            page = self.slice(low, high, page_size, context)
            if not page:
                self._lost(low, high)
            yield page
            low += len(page)

    def slice(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the entries in `[low, high)`, as a list of the caller's own.

        Args:
            low, high: `low <= high <= last_index() + 1`.
            max_size: Encoded size in bytes; at least one entry is returned. None: no limit.
            context: For whom they are, so that a store may fetch them later. None: now.

        Raises:
            Compacted: `low` lies below `first_index()`.
            LogTemporarilyUnavailable: The store fetches them; only if `context.can_async`.
            InvariantViolation: The range is none of this log's, or the store lost entries.
        """
        unstable = self.unstable
        offset = unstable.offset
        if low >= offset:
            return unstable.slice(low, high, max_size)
        if not low <= high <= unstable.next_index:
            # Never let a negative position count from the end of a list.
            fatal(
                self._logger,
                "entries were asked for out of the log's range",
                low=low,
                high=high,
                last_index=self.last_index(),
            )
        if low < self.first_index():
            raise Compacted
        if low == high:
            return []
        stable_high = min(high, offset)
        try:
            entries = self.store.entries(low, stable_high, max_size, context)
        except Unavailable:
            self._lost(low, stable_high)
        if high <= offset or len(entries) < stable_high - low:
            return entries
        entries = entries + unstable.slice(offset, high, max_size)
        if max_size is not None and max_size != NO_LIMIT:
            limit_size(entries, max_size)
        return entries

    def _lost(self, low: int, high: int) -> NoReturn:
        fatal(
            self._logger,
            "the storage does not have entries that it was given: was the log lost or cut off?",
            low=low,
            high=high,
            store_last_index=self.store.last_index(),
            last_index=self.last_index(),
        )
