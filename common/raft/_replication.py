"""Replication: what a leader sends and what a follower does with it (Raft §5.3, §7).

Straight-line work for `core.Raft`, which decides when each of it is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from raft import _membership
from raft.eraftpb import (
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgSnapshot,
    Snapshot,
)
from raft.errors import (
    Compacted,
    LogTemporarilyUnavailable,
    RequestSnapshotDropped,
    SnapshotTemporarilyUnavailable,
)
from raft.invariant import fatal
from raft.progress import Progress, ProgressState
from raft.storage import GetEntriesContext
from raft.util import INVALID_ID, entry_size

if TYPE_CHECKING:
    from raft.core import Raft


# -- The leader's side -------------------------------------------------------------------------


def append_own(raft: Raft[Any], entries: Sequence[Entry]) -> None:
    """Append new entries of this leader's term to its log.

    The leader's own progress does not move: it counts itself for what its disk has, and hears of
    that through `Raft.on_persist_entries`.
    """
    index, term = raft.raft_log.last_index(), raft.term
    for entry in entries:
        index += 1
        entry.term = term
        entry.index = index
    raft.raft_log.append(entries)
    _membership.note_appended(raft, entries)


def send_append(raft: Raft[Any], to: int, progress: Progress, *, allow_empty: bool = True) -> bool:
    """Send the entries that `to` needs next, or a snapshot if they are gone.

    Returns whether a message was sent. Nothing is sent to a peer that is paused, or, without
    `allow_empty`, when there are no entries for it.
    """
    if progress.is_paused():
        return False
    if progress.pending_request_snapshot:
        return send_snapshot(raft, to, progress)
    log = raft.raft_log
    next_idx = progress.next_idx
    if next_idx < log.first_index():
        return send_snapshot(raft, to, progress)
    entries: list[Entry] = []
    try:
        if next_idx <= log.last_index():
            entries = log.entries(next_idx, raft.max_msg_size, _context(raft, to, allow_empty))
        elif not allow_empty:
            return False
        previous_term = log.term(next_idx - 1)
    except LogTemporarilyUnavailable:
        return False  # `Raft.on_entries_fetched` sends it.
    except Compacted:
        return send_snapshot(raft, to, progress)
    committed = log.committed
    message = _copy_of_last(raft, next_idx - 1, len(entries)) if entries else None
    if message is None:
        message = Message(
            msg_type=MsgAppend,
            to=to,
            from_=raft.id,
            term=raft.term,
            index=next_idx - 1,
            log_term=previous_term,
            entries=entries,
            commit=committed,
        )
    else:
        message.to, message.commit = to, committed
    raft.msgs.append(message)
    last = next_idx - 1
    if entries:
        last += len(entries)
        size = sum(map(entry_size, entries)) if raft.max_inflight_bytes else 0
        progress.update_state(last, size)
    elif progress.state is ProgressState.Probe:
        progress.pause()  # An empty append is a probe like any other: one at a time.
    # The follower commits no further than what this message proves it has.
    progress.sent_commit = max(progress.sent_commit, min(committed, last))
    return True


def _copy_of_last(raft: Raft[Any], index: int, count: int) -> Message | None:
    """Copy the append queued last, if it carries the same entries: as those to most peers do.

    Copying a message takes a twentieth of the time that putting the entries into one does. The same
    places of the log hold the same entries as long as a leader leads.
    """
    if not raft.msgs:
        return None
    last = raft.msgs[-1]
    if (
        last.index != index
        or len(last.entries) != count
        or last.msg_type != MsgAppend
        or last.term != raft.term
    ):
        return None
    message = Message()
    message.CopyFrom(last)
    return message


def _context(raft: Raft[Any], to: int, aggressively: bool) -> GetEntriesContext | None:
    if not raft.fetches_asynchronously:
        return None
    return GetEntriesContext(can_async=True, to=to, term=raft.term, aggressively=not aggressively)


def send_snapshot(raft: Raft[Any], to: int, progress: Progress) -> bool:
    """Send a snapshot; `to` gets nothing else until it has answered or failed."""
    if not progress.recent_active:
        return False  # A snapshot is dear: not for someone who may be gone.
    request_index = progress.pending_request_snapshot
    try:
        snapshot = raft.raft_log.snapshot(request_index, to)
    except SnapshotTemporarilyUnavailable:
        raft.logger.debug("snapshot not available yet", to=to)
        return False
    if snapshot.metadata.index == 0:
        fatal(raft.logger, "the storage gave an empty snapshot", to=to, request=request_index)
    raft.send(Message(msg_type=MsgSnapshot, to=to, snapshot=snapshot))
    progress.become_snapshot(snapshot.metadata.index)
    raft.logger.info("sending snapshot", to=to, index=snapshot.metadata.index, term=raft.term)
    return True


def broadcast_append(raft: Raft[Any]) -> None:
    """Send everyone what they need next, an empty append where that is only the commit index."""
    for to, progress in raft.prs.iter():
        if to != raft.id:
            send_append(raft, to, progress)


def flush_appends(raft: Raft[Any]) -> None:
    """Send what `Config.batch_append` held back: one message with all that came together."""
    committed, tells_commit = raft.raft_log.committed, raft.should_bcast_commit()
    for to, progress in raft.prs.iter():
        if to == raft.id:
            continue
        news = tells_commit and progress.sent_commit < min(committed, progress.next_idx - 1)
        # Probing goes on although there may be nothing to tell: its answer finds the match.
        news = news or progress.state is ProgressState.Probe
        if send_append(raft, to, progress, allow_empty=news):
            last = raft.msgs[-1]
            if last.msg_type == MsgAppend and not last.entries:
                # What it would acknowledge, it has acknowledged or will: with the entries. Should
                # that be lost, the answer to a heartbeat shows it.
                last.news = progress.state is ProgressState.Replicate
            send_while_possible(raft, to, progress)


def send_while_possible(raft: Raft[Any], to: int, progress: Progress) -> None:
    """Fill a replicating peer's window."""
    while progress.state is ProgressState.Replicate and send_append(
        raft, to, progress, allow_empty=False
    ):
        pass


def send_last_words(raft: Raft[Any], leaving: Iterable[int]) -> None:
    """Tell everyone the commit index now; those who leave even if they are paused.

    A pause spares what an answer may show to be needless. Who leaves is not waited for: it is
    told now, with what it lacks or beside what is on its way to it, or never.
    """
    paused = [
        (to, progress)
        for to in sorted(leaving)
        if to != raft.id
        and (progress := raft.prs.get(to)) is not None
        and progress.is_paused()
        and progress.state is not ProgressState.Snapshot
    ]
    broadcast_append(raft)
    for to, progress in paused:
        progress.resume()
        if progress.is_paused():
            progress.ins.free_first_one()
        send_append(raft, to, progress)


def broadcast_heartbeat(raft: Raft[Any], context: bytes) -> None:
    """Send a heartbeat to every peer, with a read round's context or none."""
    committed = raft.raft_log.committed
    for to, progress in raft.prs.iter():
        if to != raft.id:
            # Not beyond what the peer is known to have: its log may differ there (raft issue 138).
            raft.msgs.append(
                Message(
                    msg_type=MsgHeartbeat,
                    to=to,
                    from_=raft.id,
                    term=raft.term,
                    commit=min(progress.matched, committed),
                    context=context,
                )
            )


# -- The follower's side -----------------------------------------------------------------------


def accept_append(raft: Raft[Any], m: Message, entries: list[Entry]) -> None:
    """Answer an append of the present term's leader, whose `entries` were validated."""
    log = raft.raft_log
    if raft.pending_request_snapshot:
        send_request_snapshot(raft)
        return
    if m.index < log.committed:
        _acknowledge(raft, m.from_, log.committed)
        return
    result = log.maybe_append(m.index, m.log_term, m.commit, entries)
    if result is None:
        _reject_append(raft, m)
        return
    conflict, last_new_index = result
    if m.news and not entries:
        return
    if conflict:
        # Only what was really new: the log keeps whatever agrees with the leader's.
        _membership.note_truncated(raft, conflict)
        _membership.note_appended(raft, entries[conflict - m.index - 1 :])
    _acknowledge(raft, m.from_, last_new_index)


def _acknowledge(raft: Raft[Any], to: int, index: int) -> None:
    raft.msgs.append(
        Message(
            msg_type=MsgAppendResponse,
            to=to,
            from_=raft.id,
            term=raft.term,
            index=index,
            commit=raft.raft_log.committed,
        )
    )


def _reject_append(raft: Raft[Any], m: Message) -> None:
    # The hint skips all of this log that cannot agree: entries of a term above the leader's at
    # that place (§5.3, "the conflicting term and the first index it stores for that term").
    log = raft.raft_log
    hint = min(m.index, log.last_index())
    hint, hint_term = log.find_conflict_by_term(hint, m.log_term)
    raft.send(
        Message(
            msg_type=MsgAppendResponse,
            to=m.from_,
            index=m.index,
            reject=True,
            reject_hint=hint,
            log_term=hint_term or 0,
            commit=log.committed,
        )
    )


def request_snapshot(raft: Raft[Any], request_index: int) -> None:
    """Ask the leader for a snapshot; raises as `Raft.request_snapshot`."""
    if raft.is_leader():
        raise RequestSnapshotDropped("this node leads: nobody has more than it")
    if raft.leader_id == INVALID_ID:
        raise RequestSnapshotDropped("no leader is known")
    if raft.snap() is not None:
        raise RequestSnapshotDropped("a snapshot was received and is being installed")
    if raft.pending_request_snapshot:
        raise RequestSnapshotDropped("one was asked for already")
    if not raft.raft_log.match_term(raft.raft_log.last_index(), raft.term):
        # Entries of a former term may be replaced: the index would mean another entry.
        raise RequestSnapshotDropped("no entry of the present term has arrived yet")
    raft.pending_request_snapshot = max(request_index, raft.raft_log.last_index())
    send_request_snapshot(raft)


def send_request_snapshot(raft: Raft[Any]) -> None:
    """Ask the leader for a snapshot; the request travels as a rejected append.

    Nothing is appended while it is pending, so this log stays what it was: the leader's, as its
    last entry is of the present term. What of it is not known to be committed is acknowledged
    again, or a commit could wait for this node's word, and the snapshot for the commit.
    """
    log = raft.raft_log
    if log.last_index() > log.committed:
        _acknowledge(raft, raft.leader_id, log.last_index())
    raft.send(
        Message(
            msg_type=MsgAppendResponse,
            to=raft.leader_id,
            index=log.committed,
            reject=True,
            reject_hint=log.last_index(),
            request_snapshot=raft.pending_request_snapshot,
        )
    )


def accept_heartbeat(raft: Raft[Any], m: Message) -> None:
    """Take over the commit index and answer."""
    raft.raft_log.commit_to(m.commit)
    if raft.pending_request_snapshot:
        send_request_snapshot(raft)
        return
    raft.msgs.append(
        Message(
            msg_type=MsgHeartbeatResponse,
            to=m.from_,
            from_=raft.id,
            term=raft.term,
            context=m.context,
            commit=raft.raft_log.committed,
        )
    )


def accept_snapshot(raft: Raft[Any], m: Message) -> None:
    """Install the leader's snapshot if it is news, and say how far this log reaches."""
    metadata = m.snapshot.metadata
    if restore(raft, m.snapshot):
        raft.logger.info("restoring snapshot", index=metadata.index, term=metadata.term)
        _acknowledge(raft, m.from_, raft.raft_log.last_index())
    else:
        raft.logger.debug("ignoring snapshot", index=metadata.index, term=metadata.term)
        _acknowledge(raft, m.from_, raft.raft_log.committed)


def restore(raft: Raft[Any], snapshot: Snapshot) -> bool:
    """Replace log and configuration by `snapshot`; False if there is nothing to gain by it."""
    metadata, log = snapshot.metadata, raft.raft_log
    if metadata.index < log.committed or (
        metadata.index == log.committed and not raft.pending_request_snapshot
    ):
        return False
    if metadata.index < raft.pending_request_snapshot:
        # Older than what was asked for: entries that this node has acknowledged would be lost.
        return False
    if not raft.pending_request_snapshot and log.match_term(metadata.index, metadata.term):
        # This log holds all that the snapshot stands for: keep it, only commit (§7).
        log.commit_to(metadata.index)
        return False
    if not _names(snapshot, raft.id):
        raft.logger.warning("snapshot without this node", index=metadata.index)
        return False
    # A log that conflicts is dropped whole: whatever follows the snapshot's end hangs in the air.
    log.restore(snapshot)
    raft.pending_request_snapshot = 0
    _membership.restore(raft, _membership.conf_state_of_metadata(metadata))
    raft.pending_conf_index = 0
    return True


def _names(snapshot: Snapshot, node_id: int) -> bool:
    conf_state = _membership.conf_state_of_metadata(snapshot.metadata)
    return any(
        node_id in ids
        for ids in (
            conf_state.voters,
            conf_state.learners,
            conf_state.voters_outgoing,
            conf_state.learners_next,
            conf_state.learners_outgoing,
        )
    )
