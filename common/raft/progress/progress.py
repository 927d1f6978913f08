"""How far one follower is, as its leader sees it."""

from __future__ import annotations

from enum import Enum, unique

from raft.invariant import fatal
from raft.logger import NULL_LOGGER
from raft.progress.inflights import Inflights


@unique
class ProgressState(Enum):
    """How a leader sends to a follower."""

    Probe = 0
    """One message at a time, until it is known where the follower's log agrees."""

    Replicate = 1
    """Message after message, as many as the window holds."""

    Snapshot = 2
    """None: a snapshot is on its way."""


class Progress:
    """What a leader knows of one follower.

    `next_idx` never lies at or below `matched`: what is known to agree is never sent again.

    Attributes:
        matched: The highest index known to be the same in both logs.
        next_idx: The index of the next entry to send.
        state: How it is sent to.
        paused: In `Probe`: a message is out, and nothing more is sent until an answer.
        pending_snapshot: In `Snapshot`: the index of the snapshot that is on its way.
        pending_request_snapshot: The least index of a snapshot that the follower asked for; 0:
            it asked for none.
        recent_active: Whether it was heard of since the last check of the quorum.
        ins: The append messages under way to it.
        commit_group_id: Its commit group; 0: none.
        committed_index: The highest commit index it has told.
        sent_commit: The highest commit index that was sent to it and may arrive.
    """

    __slots__ = (
        "commit_group_id",
        "committed_index",
        "ins",
        "matched",
        "next_idx",
        "paused",
        "pending_request_snapshot",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(self, next_idx: int, ins_size: int, ins_bytes: int = 0) -> None:
        self.matched = 0
        self.next_idx = next_idx
        self.state = ProgressState.Probe
        self.paused = False
        self.pending_snapshot = 0
        self.pending_request_snapshot = 0
        self.recent_active = False
        self.ins = Inflights(ins_size, ins_bytes)
        self.commit_group_id = 0
        self.committed_index = 0
        self.sent_commit = 0

    def __repr__(self) -> str:
        return (
            f"Progress(matched={self.matched}, next_idx={self.next_idx}, "
            f"state={self.state.name}, paused={self.paused}, "
            f"pending_snapshot={self.pending_snapshot}, "
            f"pending_request_snapshot={self.pending_request_snapshot}, "
            f"recent_active={self.recent_active}, inflight={self.ins.count})"
        )

    def reset(self, next_idx: int) -> None:
        """Forget all but the commit group, as a new leader does: `next_idx` is a guess."""
        self.matched = 0
        self.next_idx = next_idx
        self.pending_request_snapshot = 0
        self.recent_active = False
        self.committed_index = 0
        self.sent_commit = 0
        self._reset_state(ProgressState.Probe)

    def _reset_state(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.pending_snapshot = 0
        self.ins.reset()

    def become_probe(self) -> None:
        """Send one message at a time, from where the logs are known to agree."""
        next_idx = self.matched + 1
        if self.state is ProgressState.Snapshot:
            # A snapshot that was installed is not sent again, even if its answer was lost.
            next_idx = max(next_idx, self.pending_snapshot + 1)
        self._reset_state(ProgressState.Probe)
        self._send_again_from(next_idx)

    def become_replicate(self) -> None:
        """Send message after message, from where the logs are known to agree."""
        self._reset_state(ProgressState.Replicate)
        self._send_again_from(self.matched + 1)

    def become_snapshot(self, snapshot_index: int) -> None:
        """Send nothing more until the snapshot at `snapshot_index` was installed or failed."""
        self._reset_state(ProgressState.Snapshot)
        self.pending_snapshot = snapshot_index
        # The snapshot carries the commit up to its own index, and nothing else is under way.
        self.sent_commit = snapshot_index

    def _send_again_from(self, next_idx: int) -> None:
        self.next_idx = next_idx
        # A commit index above what the follower has is capped there on arrival, and messages
        # that are sent again may have been lost with theirs.
        self.sent_commit = min(self.sent_commit, next_idx - 1)

    def snapshot_failure(self) -> None:
        """Take the snapshot for lost: it is not what to send on from."""
        self.pending_snapshot = 0

    def snapshot_ended(self, *, failed: bool) -> None:
        """The snapshot was delivered, or could not be: probe.

        The answer to it, or to the next heartbeat, tells where to go on.
        """
        if failed:
            self.snapshot_failure()
        self.become_probe()
        self.pause()
        self.pending_request_snapshot = 0

    def maybe_snapshot_abort(self, first_index: int | None = None) -> bool:
        """Tell whether the follower needs no snapshot any more.

        Args:
            first_index: The first index of the leader's log. If given, a follower that can be
                sent entries from there on is done too, whatever snapshot it got (etcd's
                raft#110).
        """
        if self.state is not ProgressState.Snapshot:
            return False
        if self.matched >= self.pending_snapshot:
            return True
        return first_index is not None and self.matched + 1 >= first_index

    def maybe_update(self, index: int) -> bool:
        """Take the follower's word that it has all up to `index`.

        Returns:
            Whether that is news; a late answer is none.
        """
        if self.next_idx <= index:
            self.next_idx = index + 1
        if self.matched >= index:
            return False
        self.matched = index
        self.paused = False
        return True

    def update_committed(self, committed_index: int) -> None:
        """Take the follower's word that it knows all up to `committed_index` is committed."""
        self.committed_index = max(self.committed_index, committed_index)
        self.sent_commit = max(self.sent_commit, committed_index)

    def optimistic_update(self, index: int) -> None:
        """Send on after `index`, in the hope that what was sent arrives."""
        self.next_idx = index + 1

    def maybe_decr_to(self, rejected: int, match_hint: int, request_snapshot: int = 0) -> bool:
        """Take the follower's word that it cannot append after the index `rejected`.

        Args:
            rejected: The index before the entries that were refused.
            match_hint: Where the follower's log may agree, at most its last index.
            request_snapshot: The least index of a snapshot it asks for; 0: it asks for none.

        Returns:
            Whether that is news; a late answer is none, and changes nothing.
        """
        if self.state is ProgressState.Replicate:
            if rejected < self.matched or (rejected == self.matched and not request_snapshot):
                return False
            if request_snapshot:
                self.pending_request_snapshot = request_snapshot
            else:
                # What was sent beyond is sent again: the window holds nothing of it.
                self.ins.reset()
                self._send_again_from(self.matched + 1)
            return True
        if request_snapshot:
            # A request stands for itself, whatever was sent; the first one counts.
            if not self.pending_request_snapshot:
                self.pending_request_snapshot = request_snapshot
        elif self.next_idx - 1 != rejected:
            return False
        else:
            # Never at or below what is known to agree, whatever the hint says (rs#557).
            self._send_again_from(max(min(rejected, match_hint + 1), self.matched + 1))
        self.paused = False
        return True

    def is_paused(self) -> bool:
        """Tell whether nothing may be sent now."""
        if self.state is ProgressState.Replicate:
            return self.ins.full()
        return self.paused or self.state is ProgressState.Snapshot

    def pause(self) -> None:
        """Send nothing more until an answer."""
        self.paused = True

    def resume(self) -> None:
        """Send again."""
        self.paused = False

    def update_state(self, last: int, size: int = 0) -> None:
        """Note that entries up to `last` were sent, `size` bytes of them."""
        if self.state is ProgressState.Replicate:
            self.next_idx = last + 1
            self.ins.add(last, size)
        elif self.state is ProgressState.Probe:
            self.paused = True
        else:
            fatal(
                NULL_LOGGER,
                "entries were sent to a follower that waits for a snapshot",
                last=last,
                pending_snapshot=self.pending_snapshot,
            )
