"""The messages of Raft, typed: what protoc generated, and a few builders.

The types are the generated protobuf classes themselves, so what is in memory is what is on the
wire and on disk. Enum values are ints; `MessageType.Name(m.msg_type)` gives the name. Entries
are shared, not copied, between the log, the storage and what `ready()` returns: never change
one that was handed to the library or that it handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raft.proto.eraftpb_pb2 import (
    AddLearnerNode,
    AddNode,
    Auto,
    BeginMembershipChange,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    EntryNormal,
    EntryType,
    Explicit,
    FinalizeMembershipChange,
    HardState,
    Implicit,
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
    MsgTimeoutNow,
    MsgTransferLeader,
    MsgUnreachable,
    RemoveNode,
    RollbackMembershipChange,
    Snapshot,
    SnapshotMetadata,
)

__all__ = [
    "AddLearnerNode",
    "AddNode",
    "Auto",
    "BeginMembershipChange",
    "ConfChange",
    "ConfChangeSingle",
    "ConfChangeTransition",
    "ConfChangeType",
    "ConfChangeV2",
    "ConfState",
    "Entry",
    "EntryConfChange",
    "EntryConfChangeV2",
    "EntryNormal",
    "EntryType",
    "Explicit",
    "FinalizeMembershipChange",
    "HardState",
    "Implicit",
    "Message",
    "MessageType",
    "MsgAppend",
    "MsgAppendResponse",
    "MsgBeat",
    "MsgCheckQuorum",
    "MsgHeartbeat",
    "MsgHeartbeatResponse",
    "MsgHup",
    "MsgPropose",
    "MsgReadIndex",
    "MsgReadIndexResp",
    "MsgRequestPreVote",
    "MsgRequestPreVoteResponse",
    "MsgRequestVote",
    "MsgRequestVoteResponse",
    "MsgSnapStatus",
    "MsgSnapshot",
    "MsgTimeoutNow",
    "MsgTransferLeader",
    "MsgUnreachable",
    "RemoveNode",
    "RollbackMembershipChange",
    "Snapshot",
    "SnapshotMetadata",
    "conf_state_of",
    "new_conf_change",
    "new_entry",
    "new_message",
    "new_snapshot",
]


def new_entry(
    term: int,
    index: int,
    data: bytes = b"",
    context: bytes = b"",
    entry_type: EntryType = EntryNormal,
) -> Entry:
    """Return an entry at `index` of `term`; without `data` it is a leader's empty one."""
    return Entry(entry_type=entry_type, term=term, index=index, data=data, context=context)


def new_message(to: int, msg_type: MessageType, from_: int = 0, **fields: Any) -> Message:
    """Return a message of `msg_type` to a node; `fields` are any further ones of `Message`."""
    return Message(msg_type=msg_type, to=to, from_=from_, **fields)


def conf_state_of(members: ConfState | tuple[Iterable[int], Iterable[int]]) -> ConfState:
    """Return a `ConfState` of its own from another one or from `(voters, learners)`."""
    if isinstance(members, ConfState):
        copy = ConfState()
        copy.CopyFrom(members)
        return copy
    voters, learners = members
    return ConfState(voters=voters, learners=learners)


def new_snapshot(
    index: int,
    term: int,
    members: ConfState | tuple[Iterable[int], Iterable[int]] = ((), ()),
    data: bytes = b"",
) -> Snapshot:
    """Return a snapshot of all up to `index`, whose entry is of `term`, with these members."""
    metadata = SnapshotMetadata(conf_state=conf_state_of(members), index=index, term=term)
    return Snapshot(data=data, metadata=metadata)


def new_conf_change(change_type: ConfChangeType, node_id: int = 0, **fields: Any) -> ConfChange:
    """Return a change of membership; `fields` are any further ones of `ConfChange`."""
    return ConfChange(change_type=change_type, node_id=node_id, **fields)
