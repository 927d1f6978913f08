"""What stands before the core: whether a message from a peer can be stepped at all.

Here is decided what the daemon knows and the core does not: whether a message comes from the peer
whose connection it came on, is meant for this node, and stays within bounds. The core itself checks
a log's continuity and refuses (``MessageRefused``) without changing anything; that is counted here
too, as ``PROTOCOL``. Every refusal has a `Reason`; the message is dropped. Raft is not
Byzantine-tolerant: a peer that lies consistently is not found out, only one whose bytes could raise
inside the core, take memory without bound, or be meant for somebody else.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from google.protobuf.message import DecodeError

from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    EntryNormal,
    FinalizeMembershipChange,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
    MsgTransferLeader,
    RemoveNode,
    RollbackMembershipChange,
)
from raftwire.envelope import CONTROL, ORIGIN_BYTES, PROPOSAL, unpack_origin
from raftwire.errors import MessageError
from raftwire.peer import ControlCommand

INDEX_MAX: Final = 2**62
"""Indexes and terms above this are damage, not history: no log grows that long."""

ENTRIES_MAX: Final = 65_536
"""Entries in one message; a frame of tiny entries must not become gigabytes of objects."""

CONTEXT_BYTES_MAX: Final = 4096
MEMBERS_MAX: Final = 256


class Reason(StrEnum):
    """Why a message was refused."""

    LOCAL_TYPE = "local_type"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_SENDER = "wrong_sender"
    WRONG_RECIPIENT = "wrong_recipient"
    BAD_TERM = "bad_term"
    BAD_INDEX = "bad_index"
    TOO_MANY_ENTRIES = "too_many_entries"
    BAD_ENTRIES = "bad_entries"
    BAD_CONF_CHANGE = "bad_conf_change"
    PROTOCOL = "protocol"
    BAD_COMMIT = "bad_commit"
    BAD_SNAPSHOT = "bad_snapshot"
    BAD_CONTEXT = "bad_context"
    MISPLACED_FIELD = "misplaced_field"
    BAD_FORWARD = "bad_forward"


_FROM_PEERS: Final = frozenset(
    {
        MsgPropose, MsgAppend, MsgAppendResponse, MsgRequestVote, MsgRequestVoteResponse,
        MsgSnapshot, MsgHeartbeat, MsgHeartbeatResponse, MsgTransferLeader, MsgTimeoutNow,
        MsgReadIndex, MsgReadIndexResp, MsgRequestPreVote, MsgRequestPreVoteResponse,
    }
)  # fmt: skip

_LOCAL_TYPE_MAX: Final = 18
"""Highest message type there is; those at or below it and not from peers are local."""

_WITHOUT_TERM: Final = frozenset({MsgPropose, MsgReadIndex, MsgTransferLeader, MsgReadIndexResp})
_RELAYED: Final = frozenset({MsgPropose, MsgReadIndex, MsgTransferLeader, MsgReadIndexResp})
"""Followers forward these; the sender named in them may be another member."""

_WITH_ENTRIES: Final = frozenset({MsgAppend, MsgPropose, MsgReadIndex, MsgReadIndexResp})

_SINGLE_CHANGES: Final = frozenset({AddNode, RemoveNode, AddLearnerNode})
_WHOLE_CHANGES: Final = frozenset(
    {BeginMembershipChange, FinalizeMembershipChange, RollbackMembershipChange}
)


class Validator:
    """Checks messages for one node, and counts refusals by reason.

    Args:
        node_id: The node that the messages are for.
        last_index: Returns the last index of its log: no heartbeat may claim more is committed.
        committed: Returns its commit index: nothing below it may be contradicted.
    """

    def __init__(
        self, node_id: int, last_index: Callable[[], int], committed: Callable[[], int]
    ) -> None:
        self._node_id = node_id
        self._last_index = last_index
        self._committed = committed
        self.refused: Counter[Reason] = Counter()

    def check(self, message: Message, peer_id: int) -> Reason | None:
        """Return why ``message``, received from ``peer_id``, is refused; None if it is not."""
        reason = self._check(message, peer_id)
        if reason is not None:
            self.refused[reason] += 1
        return reason

    def count(self, reason: Reason) -> None:
        """Count a message that the core refused."""
        self.refused[reason] += 1

    def _check(self, message: Message, peer_id: int) -> Reason | None:
        kind = message.msg_type
        if kind not in _FROM_PEERS:
            return Reason.LOCAL_TYPE if 0 <= kind <= _LOCAL_TYPE_MAX else Reason.UNKNOWN_TYPE
        if message.to != self._node_id:
            return Reason.WRONG_RECIPIENT
        sender = message.from_
        if sender != peer_id and (kind not in _RELAYED or sender == 0):
            return Reason.WRONG_SENDER
        term = message.term
        # A node that has never heard of a term says no in term 0.
        if term > INDEX_MAX or (term == 0 and kind not in _WITHOUT_TERM and not message.reject):
            return Reason.BAD_TERM
        if (
            message.index > INDEX_MAX
            or message.commit > INDEX_MAX
            or message.reject_hint > INDEX_MAX
            or message.request_snapshot > INDEX_MAX
        ):
            return Reason.BAD_INDEX
        if message.log_term > INDEX_MAX or message.commit_term > INDEX_MAX:
            return Reason.BAD_TERM
        if len(message.context) > CONTEXT_BYTES_MAX:
            return Reason.BAD_CONTEXT
        if message.entries and kind not in _WITH_ENTRIES:
            return Reason.MISPLACED_FIELD
        if kind == MsgAppend:
            return self._append(message)
        if kind == MsgHeartbeat:
            # A leader tells a follower to commit only what it knows the follower to hold.
            return Reason.BAD_COMMIT if message.commit > self._last_index() else None
        if kind == MsgSnapshot:
            return self._snapshot(message)
        if message.HasField("snapshot"):
            return Reason.MISPLACED_FIELD
        if kind == MsgPropose:
            return self._propose(message)
        if kind in (MsgReadIndex, MsgReadIndexResp):
            return None if len(message.entries) == 1 else Reason.BAD_ENTRIES
        return None

    def _append(self, message: Message) -> Reason | None:
        if message.HasField("snapshot"):
            return Reason.MISPLACED_FIELD
        if (message.index == 0) != (message.log_term == 0):
            return Reason.BAD_INDEX
        if message.log_term > message.term:
            return Reason.BAD_TERM
        entries = message.entries
        if not entries:
            return None
        if len(entries) > ENTRIES_MAX:
            return Reason.TOO_MANY_ENTRIES
        # Both ends here; what is between them the core reads one by one, and refuses as a whole.
        last = entries[-1]
        if entries[0].index != message.index + 1 or last.index != message.index + len(entries):
            return Reason.BAD_ENTRIES
        return None if message.log_term <= last.term <= message.term else Reason.BAD_ENTRIES

    def _propose(self, message: Message) -> Reason | None:
        if not 0 < len(message.entries) <= ENTRIES_MAX:
            return Reason.BAD_ENTRIES
        for entry in message.entries:
            if (reason := _entry_payload(entry)) is not None:
                return reason
        return None

    def _snapshot(self, message: Message) -> Reason | None:
        metadata = message.snapshot.metadata
        if not 0 < metadata.index <= INDEX_MAX or not 0 < metadata.term <= message.term:
            return Reason.BAD_SNAPSHOT
        if not valid_conf_state(metadata.conf_state):
            return Reason.BAD_SNAPSHOT
        if self._node_id not in _members(metadata.conf_state):
            return Reason.BAD_SNAPSHOT
        return None


def _entry_payload(entry: Entry) -> Reason | None:
    """Return why the entry's type or membership change cannot be taken; None if it can."""
    kind = entry.entry_type
    if kind == EntryNormal:
        return None
    if kind == EntryConfChange:
        change = ConfChange()
        try:
            change.ParseFromString(entry.data)
        except Exception:
            return Reason.BAD_CONF_CHANGE
        return None if valid_conf_change(change) else Reason.BAD_CONF_CHANGE
    if kind == EntryConfChangeV2:
        change_v2 = ConfChangeV2()
        try:
            change_v2.ParseFromString(entry.data)
        except Exception:
            return Reason.BAD_CONF_CHANGE
        if not 0 <= change_v2.transition <= 2 or len(change_v2.changes) > MEMBERS_MAX:
            return Reason.BAD_CONF_CHANGE
        for single in change_v2.changes:
            if single.change_type not in _SINGLE_CHANGES or not valid_id(single.node_id):
                return Reason.BAD_CONF_CHANGE
        return None
    return Reason.BAD_ENTRIES


def valid_forward(context: bytes, data: bytes, peer_id: int) -> bool:
    """Whether a forwarded proposal can be applied by every member, and is the sender's own.

    Once it is committed nobody may pass over it: an origin or a command that cannot be read would
    stop the whole group.
    """
    if len(context) < ORIGIN_BYTES or int.from_bytes(context[1:9], "big") != peer_id:
        return False
    if context[0] == PROPOSAL and len(context) == ORIGIN_BYTES:
        return True
    try:
        origin = unpack_origin(context)
        if origin is not None and origin.kind == CONTROL:
            return ControlCommand.FromString(data).WhichOneof("command") is not None
    except (MessageError, DecodeError):
        return False
    return True


def valid_id(node_id: int) -> bool:
    """Whether ``node_id`` may name a node."""
    return 0 < node_id < 2**53


def valid_conf_change(change: ConfChange) -> bool:
    """Whether a change names known kinds and usable ids."""
    kind = change.change_type
    if kind in _SINGLE_CHANGES:
        return valid_id(change.node_id)
    if kind not in _WHOLE_CHANGES:
        return False
    if kind == BeginMembershipChange:
        target = change.configuration
        return (
            change.HasField("configuration")
            and bool(target.voters)
            and not target.voters_outgoing
            and valid_conf_state(target)
        )
    return True


def valid_conf_state(state: ConfState) -> bool:
    """Whether somebody votes, no id is twice in a role, and none both votes and learns."""
    groups = (state.voters, state.learners, state.voters_outgoing, state.learners_next)
    marked = (state.promotable, state.promotable_outgoing)
    for group in (*groups, state.learners_outgoing, *marked):
        if (
            len(group) > MEMBERS_MAX
            or len(set(group)) != len(group)
            or not all(map(valid_id, group))
        ):
            return False
    if not state.voters:
        return False
    voters, outgoing = set(state.voters), set(state.voters_outgoing)
    learners, learners_next = set(state.learners), set(state.learners_next)
    if learners & (voters | outgoing) or learners_next & (voters | learners):
        return False
    if not outgoing and (learners_next or state.learners_outgoing):
        return False
    return learners_next <= outgoing


def _members(state: ConfState) -> set[int]:
    return {
        *state.voters,
        *state.learners,
        *state.voters_outgoing,
        *state.learners_next,
        *state.learners_outgoing,
    }
