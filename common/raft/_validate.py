"""What a peer's message must satisfy before it is looked at any further.

A correct peer never sends what is refused here, whatever the network does to its messages. So a
refusal means a bug, a foreign program or damage, and the state is left as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from raft import _membership
from raft.eraftpb import (
    Entry,
    EntryConfChangeV2,
    Message,
    MessageType,
    MsgAppend,
    MsgAppendResponse,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgHup,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgSnapStatus,
    MsgTransferLeader,
    MsgUnreachable,
)
from raft.errors import CodecError, Error, MessageRefused
from raft.progress import Configuration

if TYPE_CHECKING:
    from raft.core import Raft

LOCAL_TYPES: Final = frozenset({MsgHup, MsgBeat, MsgUnreachable, MsgSnapStatus, MsgCheckQuorum})
"""Types that a node steps for itself and never takes from a peer."""

FROM_PROGRESS_TYPES: Final = frozenset(
    {
        MsgAppendResponse,
        MsgRequestVoteResponse,
        MsgHeartbeatResponse,
        MsgUnreachable,
        MsgRequestPreVoteResponse,
    }
)
"""Types that mean something only from a member whose progress is kept."""

_WITHOUT_TERM = frozenset({MsgPropose, MsgReadIndex, MsgTransferLeader})
_VOTE_ANSWERS = frozenset({MsgRequestVoteResponse, MsgRequestPreVoteResponse})
_KNOWN_TYPES = frozenset(MessageType.values())
_INDEX_LIMIT = 1 << 63
"""Indexes and terms stay below: 2**63 - 1 entries are enough, and sums cannot overflow 64 bits."""


def check_message(raft: Raft[Any], m: Message, entries: Sequence[Entry]) -> None:
    """Refuse `m` if it breaks the protocol. `entries` are the entries of `m`, read once.

    Raises:
        MessageRefused: with what is wrong.
    """
    msg_type = m.msg_type
    if msg_type not in _KNOWN_TYPES:
        raise MessageRefused(f"unknown message type {msg_type}")
    if not m.from_:
        raise MessageRefused("it names no sender")
    if m.term >= _INDEX_LIMIT or m.index >= _INDEX_LIMIT or m.commit >= _INDEX_LIMIT:
        raise MessageRefused("a term or index is beyond any that can be reached")
    if msg_type in _WITHOUT_TERM:
        if m.term:
            raise MessageRefused(f"{MessageType.Name(msg_type)} with a term")
    elif m.from_ == raft.id:
        # What a node tells itself it tells by calls; believed, it could follow itself.
        raise MessageRefused("it names this node itself as its sender")
    elif not m.term and not (m.reject and msg_type in _VOTE_ANSWERS):
        # An empty node is in term 0; all it can say in it is that it gives no vote.
        raise MessageRefused(f"{MessageType.Name(msg_type)} without a term")
    if msg_type == MsgAppend:
        _check_append(raft, m, entries)
    elif msg_type == MsgHeartbeat:
        _check_leader(raft, m)
        if m.term >= raft.term and m.commit > raft.raft_log.last_index():
            raise MessageRefused(
                f"it commits {m.commit} but this log ends at {raft.raft_log.last_index()}: "
                "this node once acknowledged entries it no longer has"
            )
    elif msg_type == MsgSnapshot:
        _check_snapshot(raft, m)
    elif msg_type == MsgAppendResponse:
        # Asked of a leader only: one that lost unsynced entries in a crash may be back in the same
        # term as a follower, and hear answers to what it sent before.
        if (
            raft.is_leader()
            and m.term == raft.term
            and not m.reject
            and m.index > raft.raft_log.last_index()
        ):
            raise MessageRefused(
                f"it acknowledges {m.index} but this log ends at {raft.raft_log.last_index()}"
            )
    elif msg_type in (MsgRequestVote, MsgRequestPreVote):
        if m.log_term > m.term:
            raise MessageRefused("a candidate's last entry is of a later term than its own")
    elif msg_type == MsgPropose:
        check_proposed(entries)
    elif msg_type in (MsgReadIndex, MsgReadIndexResp):
        if msg_type == MsgReadIndexResp:
            _check_leader(raft, m)
        if len(entries) != 1:
            raise MessageRefused("a read must carry its context as the only entry")


def check_proposed(entries: Sequence[Entry]) -> None:
    """Refuse a proposal of nothing, of an unknown entry type or of bytes that are no change."""
    if not entries:
        raise MessageRefused("a proposal must carry at least one entry")
    for entry in entries:
        if entry.entry_type:
            _check_type(entry)


def _check_type(entry: Entry) -> None:
    if not 0 <= entry.entry_type <= EntryConfChangeV2:
        # Never taken for a normal entry: another version knows what it means, and applies it.
        raise MessageRefused(f"entry {entry.index} has the unknown type {entry.entry_type}")
    try:
        _membership.parse_conf_change(entry)
    except CodecError as error:
        raise MessageRefused(str(error)) from error


def _check_leader(raft: Raft[Any], m: Message) -> None:
    if m.term == raft.term and raft.leader_id and raft.leader_id != m.from_:
        raise MessageRefused(
            f"node {m.from_} speaks as leader of term {m.term}, which node {raft.leader_id} leads"
        )


def _check_append(raft: Raft[Any], m: Message, entries: Sequence[Entry]) -> None:
    _check_leader(raft, m)
    index, last_term, term = m.index, m.log_term, m.term
    if bool(index) != bool(last_term):
        raise MessageRefused("the entry before an append must have both an index and a term")
    if last_term > term:
        raise MessageRefused("the entry before an append is of a later term than its leader")
    for entry in entries:
        index += 1
        if entry.index != index:
            raise MessageRefused(f"entry {entry.index} stands where {index} is due")
        entry_term = entry.term
        if entry_term != last_term:
            if not last_term < entry_term <= term:
                raise MessageRefused(
                    f"entry {index} is of term {entry_term}, after one of {last_term} "
                    f"and from a leader of {term}"
                )
            last_term = entry_term
        if entry.entry_type:
            _check_type(entry)
    if index >= _INDEX_LIMIT:
        raise MessageRefused("its entries end beyond any index that can be reached")


def _check_snapshot(raft: Raft[Any], m: Message) -> None:
    _check_leader(raft, m)
    metadata = m.snapshot.metadata
    if not metadata.index or not metadata.term or metadata.term > m.term:
        raise MessageRefused(
            f"a snapshot at index {metadata.index}, term {metadata.term}, from term {m.term}"
        )
    if metadata.index >= _INDEX_LIMIT:
        raise MessageRefused("a snapshot beyond any index that can be reached")
    conf_state = _membership.conf_state_of_metadata(metadata)
    try:
        Configuration(conf_state.voters, {*conf_state.learners, *conf_state.learners_next}).valid()
        if conf_state.voters_outgoing:
            Configuration(conf_state.voters_outgoing, conf_state.learners_outgoing).valid()
    except Error as error:
        raise MessageRefused(f"a snapshot with an impossible configuration: {error}") from error
