"""From where on the log is held for members that are given a snapshot.

A snapshot is worth nothing if the entries behind it are gone by the time it is installed: the
member would need another, and a state that grows faster than it travels would be sent for ever. So
the log keeps what such a member will ask for next, within the bounds of ``raftd.retention``.

Who is such a member is read from what the core knows of it, not from a list of transfers: whoever
is alive and lacks what the log begins with. A list dies with its process; a sender that was killed
in the middle of a transfer would cut its log at the next start, before the member was heard of.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from raft.core import Raft
from raft.progress import Progress
from raftd.snapshot import SnapshotFile
from raftd.storage import LogStore

UNHEARD_SECONDS: Final = 60.0
"""How long the log is held for a member that is not heard of: a restart takes less."""


class Sent(Protocol):
    """What was sent to members, and what is on its way."""

    delivered: dict[int, int]

    def under_way(self, to: int) -> SnapshotFile | None:
        """Return the file that a member is being sent, or will go on to be."""
        ...

    def forget(self, to: int) -> None:
        """Keep nothing for a member any more."""
        ...

    def forget_all(self) -> None:
        """Keep and send nothing any more."""
        ...


class Hold:
    """Says which entry is the first that a member will ask for behind its snapshot.

    Args:
        raft: The core.
        sent: The transfers to members.
        next_index: Returns the index of the snapshot that a member which needs one now would be
            given: the newest there is, or the one that is being made; -1: not known yet.
        now: The loop's clock, seconds.
    """

    def __init__(
        self,
        raft: Raft[LogStore],
        sent: Sent,
        next_index: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self._raft = raft
        self._sent = sent
        self._next_index = next_index
        self._now = now
        self._heard: dict[int, float] = {}

    def needed_from(self, first_index: int, near: int) -> int:
        """Return the first entry that must stay; 0: nobody needs any.

        Args:
            first_index: Where the log begins.
            near: A member that was given a snapshot and has come this far needs no hold any more.
        """
        raft = self._raft
        if not raft.leader_id:
            # It may be this node that leads next, and a member that it was sending a snapshot to,
            # before it was killed say, that will ask for the entries behind it.
            return first_index
        if not raft.is_leader():
            self._heard.clear()
            self._sent.forget_all()
            return 0
        for to in self._heard.keys() - raft.prs.ids():
            del self._heard[to]
            self._sent.forget(to)
        return min(self._needs(first_index, near), default=-1) + 1

    def _needs(self, first_index: int, near: int) -> Iterator[int]:
        """Yield the index of the last entry that each member will have from its snapshot."""
        now = self._now()
        for to, progress in self._raft.prs.iter():
            if to == self._raft.id:
                continue
            # A leader that has just been elected has heard nobody yet: that counts as now.
            if progress.recent_active or to not in self._heard:
                self._heard[to] = now
            elif now - self._heard[to] > UNHEARD_SECONDS:
                self._sent.forget(to)
                continue
            index = self._has_soon(to, progress, first_index, near)
            if index is not None:
                yield index

    def _has_soon(self, to: int, progress: Progress, first_index: int, near: int) -> int | None:
        delivered = self._sent.delivered.get(to)
        if delivered is not None and progress.matched >= near:
            del self._sent.delivered[to]
            delivered = None
        file = self._sent.under_way(to)
        if file is not None and file.header.index > progress.matched:
            return file.header.index
        if delivered is not None:
            return max(progress.matched, delivered)
        if progress.matched + 1 >= first_index:
            return None  # It is fed from the log, and what is kept for all must do for it.
        index = self._next_index()
        return index if index >= first_index - 1 else first_index - 1 if index < 0 else None
