"""Proposals at the leader: which are taken, and what of them waits to be committed (Raft §5.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raft import _membership, _replication
from raft.eraftpb import BeginMembershipChange, ConfChange, Entry, EntryConfChange
from raft.errors import ConfChangeError, ConfChangeReason, DropReason, ProposalDropped
from raft.util import NO_LIMIT

if TYPE_CHECKING:
    from raft.core import Raft


def append(raft: Raft[Any], entries: list[Entry]) -> None:
    """Append proposals to this leader's log; all or none.

    Raises:
        ProposalDropped, ConfChangeError, Exists, ConfigInvalid: as `Raft.propose_entries`.
    """
    if raft.id not in raft.prs.progress:
        raise ProposalDropped(DropReason.NOT_MEMBER)
    if raft.lead_transferee:
        raise ProposalDropped(DropReason.TRANSFERRING)
    changes = 0
    for entry in entries:
        if entry.entry_type:
            changes += 1
            _membership.check_proposal(raft, _membership.parse_conf_change(entry))
    if changes > 1:
        raise ConfChangeError(ConfChangeReason.CONF_PENDING)
    _reserve(raft, entries)
    index = raft.raft_log.last_index()
    for entry in entries if changes else ():
        index += 1
        if entry.entry_type:
            _fill_in_start_index(entry, index)
            raft.pending_conf_index = index
    _replication.append_own(raft, entries)


def append_change(raft: Raft[Any], change: ConfChange, context: bytes = b"") -> None:
    """Append a change of membership that this leader makes by itself, or that was checked."""
    entry = Entry(entry_type=EntryConfChange, data=change.SerializeToString(), context=context)
    index = raft.raft_log.last_index() + 1
    _fill_in_start_index(entry, index)
    raft.pending_conf_index = index
    if raft.max_uncommitted_size != NO_LIMIT:
        raft.uncommitted_size += len(entry.data)
    _replication.append_own(raft, [entry])


def _reserve(raft: Raft[Any], entries: list[Entry]) -> None:
    if raft.max_uncommitted_size == NO_LIMIT:
        return
    size = sum([len(entry.data) for entry in entries])
    # Empty entries are always let through: a new leader's, and those that end a joint state.
    if (
        size
        and raft.uncommitted_size
        and (raft.uncommitted_size + size > raft.max_uncommitted_size)
    ):
        raise ProposalDropped(
            DropReason.UNCOMMITTED_LIMIT,
            f"{raft.uncommitted_size} bytes wait to be committed and {size} more would exceed "
            f"max_uncommitted_size ({raft.max_uncommitted_size}); propose again later",
        )
    raft.uncommitted_size += size


def release(raft: Raft[Any], entries: Iterable[Entry]) -> None:
    """Give back the room of entries that were committed and handed out."""
    if raft.max_uncommitted_size == NO_LIMIT:
        return
    # Entries of earlier leaders were never counted here, nor is anything that a follower hands out:
    # do not go below nothing.
    term = raft.term
    size = sum([len(entry.data) for entry in entries if entry.term == term])
    raft.uncommitted_size = max(0, raft.uncommitted_size - size)


def _fill_in_start_index(entry: Entry, index: int) -> None:
    """Write a Begin's real index into it: whoever made it may not have known it."""
    change = _membership.parse_conf_change(entry)
    if isinstance(change, ConfChange) and change.change_type == BeginMembershipChange:
        change.start_index = index
        entry.data = change.SerializeToString()
