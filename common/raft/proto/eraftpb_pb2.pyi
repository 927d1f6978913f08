from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EntryType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EntryNormal: _ClassVar[EntryType]
    EntryConfChange: _ClassVar[EntryType]
    EntryConfChangeV2: _ClassVar[EntryType]

class MessageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MsgHup: _ClassVar[MessageType]
    MsgBeat: _ClassVar[MessageType]
    MsgPropose: _ClassVar[MessageType]
    MsgAppend: _ClassVar[MessageType]
    MsgAppendResponse: _ClassVar[MessageType]
    MsgRequestVote: _ClassVar[MessageType]
    MsgRequestVoteResponse: _ClassVar[MessageType]
    MsgSnapshot: _ClassVar[MessageType]
    MsgHeartbeat: _ClassVar[MessageType]
    MsgHeartbeatResponse: _ClassVar[MessageType]
    MsgUnreachable: _ClassVar[MessageType]
    MsgSnapStatus: _ClassVar[MessageType]
    MsgCheckQuorum: _ClassVar[MessageType]
    MsgTransferLeader: _ClassVar[MessageType]
    MsgTimeoutNow: _ClassVar[MessageType]
    MsgReadIndex: _ClassVar[MessageType]
    MsgReadIndexResp: _ClassVar[MessageType]
    MsgRequestPreVote: _ClassVar[MessageType]
    MsgRequestPreVoteResponse: _ClassVar[MessageType]

class ConfChangeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AddNode: _ClassVar[ConfChangeType]
    RemoveNode: _ClassVar[ConfChangeType]
    AddLearnerNode: _ClassVar[ConfChangeType]
    BeginMembershipChange: _ClassVar[ConfChangeType]
    FinalizeMembershipChange: _ClassVar[ConfChangeType]
    RollbackMembershipChange: _ClassVar[ConfChangeType]

class ConfChangeTransition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    Auto: _ClassVar[ConfChangeTransition]
    Implicit: _ClassVar[ConfChangeTransition]
    Explicit: _ClassVar[ConfChangeTransition]
EntryNormal: EntryType
EntryConfChange: EntryType
EntryConfChangeV2: EntryType
MsgHup: MessageType
MsgBeat: MessageType
MsgPropose: MessageType
MsgAppend: MessageType
MsgAppendResponse: MessageType
MsgRequestVote: MessageType
MsgRequestVoteResponse: MessageType
MsgSnapshot: MessageType
MsgHeartbeat: MessageType
MsgHeartbeatResponse: MessageType
MsgUnreachable: MessageType
MsgSnapStatus: MessageType
MsgCheckQuorum: MessageType
MsgTransferLeader: MessageType
MsgTimeoutNow: MessageType
MsgReadIndex: MessageType
MsgReadIndexResp: MessageType
MsgRequestPreVote: MessageType
MsgRequestPreVoteResponse: MessageType
AddNode: ConfChangeType
RemoveNode: ConfChangeType
AddLearnerNode: ConfChangeType
BeginMembershipChange: ConfChangeType
FinalizeMembershipChange: ConfChangeType
RollbackMembershipChange: ConfChangeType
Auto: ConfChangeTransition
Implicit: ConfChangeTransition
Explicit: ConfChangeTransition

class Entry(_message.Message):
    __slots__ = ("entry_type", "term", "index", "data", "sync_log", "context")
    ENTRY_TYPE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SYNC_LOG_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    entry_type: EntryType
    term: int
    index: int
    data: bytes
    sync_log: bool
    context: bytes
    def __init__(self, entry_type: _Optional[_Union[EntryType, str]] = ..., term: _Optional[int] = ..., index: _Optional[int] = ..., data: _Optional[bytes] = ..., sync_log: _Optional[bool] = ..., context: _Optional[bytes] = ...) -> None: ...

class SnapshotMetadata(_message.Message):
    __slots__ = ("conf_state", "index", "term", "pending_membership_change", "pending_membership_change_index")
    CONF_STATE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    PENDING_MEMBERSHIP_CHANGE_FIELD_NUMBER: _ClassVar[int]
    PENDING_MEMBERSHIP_CHANGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    conf_state: ConfState
    index: int
    term: int
    pending_membership_change: ConfState
    pending_membership_change_index: int
    def __init__(self, conf_state: _Optional[_Union[ConfState, _Mapping]] = ..., index: _Optional[int] = ..., term: _Optional[int] = ..., pending_membership_change: _Optional[_Union[ConfState, _Mapping]] = ..., pending_membership_change_index: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("data", "metadata")
    DATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    metadata: SnapshotMetadata
    def __init__(self, data: _Optional[bytes] = ..., metadata: _Optional[_Union[SnapshotMetadata, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("msg_type", "to", "from_", "term", "log_term", "index", "entries", "commit", "snapshot", "reject", "reject_hint", "context", "request_snapshot", "deprecated_priority", "commit_term", "priority", "news")
    MSG_TYPE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    FROM__FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    REJECT_HINT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DEPRECATED_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TERM_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    NEWS_FIELD_NUMBER: _ClassVar[int]
    msg_type: MessageType
    to: int
    from_: int
    term: int
    log_term: int
    index: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    commit: int
    snapshot: Snapshot
    reject: bool
    reject_hint: int
    context: bytes
    request_snapshot: int
    deprecated_priority: int
    commit_term: int
    priority: int
    news: bool
    def __init__(self, msg_type: _Optional[_Union[MessageType, str]] = ..., to: _Optional[int] = ..., from_: _Optional[int] = ..., term: _Optional[int] = ..., log_term: _Optional[int] = ..., index: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., commit: _Optional[int] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., reject: _Optional[bool] = ..., reject_hint: _Optional[int] = ..., context: _Optional[bytes] = ..., request_snapshot: _Optional[int] = ..., deprecated_priority: _Optional[int] = ..., commit_term: _Optional[int] = ..., priority: _Optional[int] = ..., news: _Optional[bool] = ...) -> None: ...

class HardState(_message.Message):
    __slots__ = ("term", "vote", "commit")
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    term: int
    vote: int
    commit: int
    def __init__(self, term: _Optional[int] = ..., vote: _Optional[int] = ..., commit: _Optional[int] = ...) -> None: ...

class ConfState(_message.Message):
    __slots__ = ("voters", "learners", "voters_outgoing", "learners_next", "auto_leave", "learners_outgoing", "begin_index", "config_index", "promotable", "removed", "successor", "promotable_outgoing")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_NEXT_FIELD_NUMBER: _ClassVar[int]
    AUTO_LEAVE_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    BEGIN_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    voters_outgoing: _containers.RepeatedScalarFieldContainer[int]
    learners_next: _containers.RepeatedScalarFieldContainer[int]
    auto_leave: bool
    learners_outgoing: _containers.RepeatedScalarFieldContainer[int]
    begin_index: int
    config_index: int
    promotable: _containers.RepeatedScalarFieldContainer[int]
    removed: _containers.RepeatedScalarFieldContainer[int]
    successor: int
    promotable_outgoing: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., voters_outgoing: _Optional[_Iterable[int]] = ..., learners_next: _Optional[_Iterable[int]] = ..., auto_leave: _Optional[bool] = ..., learners_outgoing: _Optional[_Iterable[int]] = ..., begin_index: _Optional[int] = ..., config_index: _Optional[int] = ..., promotable: _Optional[_Iterable[int]] = ..., removed: _Optional[_Iterable[int]] = ..., successor: _Optional[int] = ..., promotable_outgoing: _Optional[_Iterable[int]] = ...) -> None: ...

class ConfChange(_message.Message):
    __slots__ = ("id", "change_type", "node_id", "context", "configuration", "start_index", "hold", "successor", "expected_config_index", "promote_when_caught_up")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    START_INDEX_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CONFIG_INDEX_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_WHEN_CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    id: int
    change_type: ConfChangeType
    node_id: int
    context: bytes
    configuration: ConfState
    start_index: int
    hold: bool
    successor: int
    expected_config_index: int
    promote_when_caught_up: bool
    def __init__(self, id: _Optional[int] = ..., change_type: _Optional[_Union[ConfChangeType, str]] = ..., node_id: _Optional[int] = ..., context: _Optional[bytes] = ..., configuration: _Optional[_Union[ConfState, _Mapping]] = ..., start_index: _Optional[int] = ..., hold: _Optional[bool] = ..., successor: _Optional[int] = ..., expected_config_index: _Optional[int] = ..., promote_when_caught_up: _Optional[bool] = ...) -> None: ...

class ConfChangeSingle(_message.Message):
    __slots__ = ("change_type", "node_id")
    CHANGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    change_type: ConfChangeType
    node_id: int
    def __init__(self, change_type: _Optional[_Union[ConfChangeType, str]] = ..., node_id: _Optional[int] = ...) -> None: ...

class ConfChangeV2(_message.Message):
    __slots__ = ("transition", "changes", "context")
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    transition: ConfChangeTransition
    changes: _containers.RepeatedCompositeFieldContainer[ConfChangeSingle]
    context: bytes
    def __init__(self, transition: _Optional[_Union[ConfChangeTransition, str]] = ..., changes: _Optional[_Iterable[_Union[ConfChangeSingle, _Mapping]]] = ..., context: _Optional[bytes] = ...) -> None: ...
