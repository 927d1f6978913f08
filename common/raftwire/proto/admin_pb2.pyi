from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    APPLIED: _ClassVar[Outcome]
    NOT_APPLIED: _ClassVar[Outcome]
    UNKNOWN: _ClassVar[Outcome]
    COMMITTED: _ClassVar[Outcome]
    SUBMITTED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
APPLIED: Outcome
NOT_APPLIED: Outcome
UNKNOWN: Outcome
COMMITTED: Outcome
SUBMITTED: Outcome

class Request(_message.Message):
    __slots__ = ("id", "deadline_ms", "no_forward", "protocol", "state_machine", "hello", "cancel", "propose", "query", "read_index", "outcome", "log_read", "log_stat", "watch", "status", "progress", "health", "wait", "events", "metrics", "verify", "member_list", "member_change", "member_status", "campaign", "transfer_leader", "snapshot_create", "snapshot_list", "snapshot_save", "compact", "loglevel", "config", "reload")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    NO_FORWARD_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STATE_MACHINE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LOG_READ_FIELD_NUMBER: _ClassVar[int]
    LOG_STAT_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_LIST_FIELD_NUMBER: _ClassVar[int]
    MEMBER_CHANGE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_STATUS_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_LEADER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_CREATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_LIST_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_SAVE_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    LOGLEVEL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RELOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    deadline_ms: int
    no_forward: bool
    protocol: int
    state_machine: str
    hello: HelloRequest
    cancel: CancelRequest
    propose: ProposeRequest
    query: QueryRequest
    read_index: ReadIndexRequest
    outcome: OutcomeRequest
    log_read: LogReadRequest
    log_stat: LogStatRequest
    watch: WatchRequest
    status: StatusRequest
    progress: ProgressRequest
    health: HealthRequest
    wait: WaitRequest
    events: EventsRequest
    metrics: MetricsRequest
    verify: VerifyRequest
    member_list: MemberListRequest
    member_change: MemberChangeRequest
    member_status: MemberStatusRequest
    campaign: CampaignRequest
    transfer_leader: TransferLeaderRequest
    snapshot_create: SnapshotCreateRequest
    snapshot_list: SnapshotListRequest
    snapshot_save: SnapshotSaveRequest
    compact: CompactRequest
    loglevel: LogLevelRequest
    config: ConfigRequest
    reload: ReloadRequest
    def __init__(self, id: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., no_forward: _Optional[bool] = ..., protocol: _Optional[int] = ..., state_machine: _Optional[str] = ..., hello: _Optional[_Union[HelloRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelRequest, _Mapping]] = ..., propose: _Optional[_Union[ProposeRequest, _Mapping]] = ..., query: _Optional[_Union[QueryRequest, _Mapping]] = ..., read_index: _Optional[_Union[ReadIndexRequest, _Mapping]] = ..., outcome: _Optional[_Union[OutcomeRequest, _Mapping]] = ..., log_read: _Optional[_Union[LogReadRequest, _Mapping]] = ..., log_stat: _Optional[_Union[LogStatRequest, _Mapping]] = ..., watch: _Optional[_Union[WatchRequest, _Mapping]] = ..., status: _Optional[_Union[StatusRequest, _Mapping]] = ..., progress: _Optional[_Union[ProgressRequest, _Mapping]] = ..., health: _Optional[_Union[HealthRequest, _Mapping]] = ..., wait: _Optional[_Union[WaitRequest, _Mapping]] = ..., events: _Optional[_Union[EventsRequest, _Mapping]] = ..., metrics: _Optional[_Union[MetricsRequest, _Mapping]] = ..., verify: _Optional[_Union[VerifyRequest, _Mapping]] = ..., member_list: _Optional[_Union[MemberListRequest, _Mapping]] = ..., member_change: _Optional[_Union[MemberChangeRequest, _Mapping]] = ..., member_status: _Optional[_Union[MemberStatusRequest, _Mapping]] = ..., campaign: _Optional[_Union[CampaignRequest, _Mapping]] = ..., transfer_leader: _Optional[_Union[TransferLeaderRequest, _Mapping]] = ..., snapshot_create: _Optional[_Union[SnapshotCreateRequest, _Mapping]] = ..., snapshot_list: _Optional[_Union[SnapshotListRequest, _Mapping]] = ..., snapshot_save: _Optional[_Union[SnapshotSaveRequest, _Mapping]] = ..., compact: _Optional[_Union[CompactRequest, _Mapping]] = ..., loglevel: _Optional[_Union[LogLevelRequest, _Mapping]] = ..., config: _Optional[_Union[ConfigRequest, _Mapping]] = ..., reload: _Optional[_Union[ReloadRequest, _Mapping]] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("id", "more", "node", "leader", "term", "error", "cluster_id", "as_of_ms", "hello", "cancel", "propose", "query", "read_index", "outcome", "log_read", "log_stat", "watch", "status", "progress", "health", "wait", "events", "metrics", "verify", "member_list", "member_change", "member_status", "campaign", "transfer_leader", "snapshot_create", "snapshot_list", "snapshot_save", "compact", "loglevel", "config", "reload")
    ID_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LOG_READ_FIELD_NUMBER: _ClassVar[int]
    LOG_STAT_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_LIST_FIELD_NUMBER: _ClassVar[int]
    MEMBER_CHANGE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_STATUS_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_LEADER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_CREATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_LIST_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_SAVE_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    LOGLEVEL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RELOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    more: bool
    node: int
    leader: int
    term: int
    error: Error
    cluster_id: str
    as_of_ms: int
    hello: HelloReply
    cancel: CancelReply
    propose: ProposeReply
    query: QueryReply
    read_index: ReadIndexReply
    outcome: OutcomeReply
    log_read: LogReadReply
    log_stat: LogStatReply
    watch: WatchReply
    status: StatusReply
    progress: ProgressReply
    health: HealthReply
    wait: WaitReply
    events: EventsReply
    metrics: MetricsReply
    verify: VerifyReply
    member_list: MemberListReply
    member_change: MemberChangeReply
    member_status: MemberStatusReply
    campaign: CampaignReply
    transfer_leader: TransferLeaderReply
    snapshot_create: SnapshotCreateReply
    snapshot_list: SnapshotListReply
    snapshot_save: SnapshotSaveReply
    compact: CompactReply
    loglevel: LogLevelReply
    config: ConfigReply
    reload: ReloadReply
    def __init__(self, id: _Optional[int] = ..., more: _Optional[bool] = ..., node: _Optional[int] = ..., leader: _Optional[int] = ..., term: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., cluster_id: _Optional[str] = ..., as_of_ms: _Optional[int] = ..., hello: _Optional[_Union[HelloReply, _Mapping]] = ..., cancel: _Optional[_Union[CancelReply, _Mapping]] = ..., propose: _Optional[_Union[ProposeReply, _Mapping]] = ..., query: _Optional[_Union[QueryReply, _Mapping]] = ..., read_index: _Optional[_Union[ReadIndexReply, _Mapping]] = ..., outcome: _Optional[_Union[OutcomeReply, _Mapping]] = ..., log_read: _Optional[_Union[LogReadReply, _Mapping]] = ..., log_stat: _Optional[_Union[LogStatReply, _Mapping]] = ..., watch: _Optional[_Union[WatchReply, _Mapping]] = ..., status: _Optional[_Union[StatusReply, _Mapping]] = ..., progress: _Optional[_Union[ProgressReply, _Mapping]] = ..., health: _Optional[_Union[HealthReply, _Mapping]] = ..., wait: _Optional[_Union[WaitReply, _Mapping]] = ..., events: _Optional[_Union[EventsReply, _Mapping]] = ..., metrics: _Optional[_Union[MetricsReply, _Mapping]] = ..., verify: _Optional[_Union[VerifyReply, _Mapping]] = ..., member_list: _Optional[_Union[MemberListReply, _Mapping]] = ..., member_change: _Optional[_Union[MemberChangeReply, _Mapping]] = ..., member_status: _Optional[_Union[MemberStatusReply, _Mapping]] = ..., campaign: _Optional[_Union[CampaignReply, _Mapping]] = ..., transfer_leader: _Optional[_Union[TransferLeaderReply, _Mapping]] = ..., snapshot_create: _Optional[_Union[SnapshotCreateReply, _Mapping]] = ..., snapshot_list: _Optional[_Union[SnapshotListReply, _Mapping]] = ..., snapshot_save: _Optional[_Union[SnapshotSaveReply, _Mapping]] = ..., compact: _Optional[_Union[CompactReply, _Mapping]] = ..., loglevel: _Optional[_Union[LogLevelReply, _Mapping]] = ..., config: _Optional[_Union[ConfigReply, _Mapping]] = ..., reload: _Optional[_Union[ReloadReply, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "hint", "outcome", "retryable", "retry_after_ms", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    hint: str
    outcome: Outcome
    retryable: bool
    retry_after_ms: int
    details: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., retryable: _Optional[bool] = ..., retry_after_ms: _Optional[int] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class HelloRequest(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "client")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    client: str
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., client: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "protocol_min", "protocol_max", "version", "state_machine", "access")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_MACHINE_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    protocol_min: int
    protocol_max: int
    version: str
    state_machine: str
    access: str
    def __init__(self, protocol: _Optional[int] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., version: _Optional[str] = ..., state_machine: _Optional[str] = ..., access: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class CancelReply(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: _Optional[bool] = ...) -> None: ...

class ProposeRequest(_message.Message):
    __slots__ = ("data", "key", "wait", "expect_index", "noop")
    class Wait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WAIT_APPLIED: _ClassVar[ProposeRequest.Wait]
        WAIT_COMMITTED: _ClassVar[ProposeRequest.Wait]
        WAIT_NONE: _ClassVar[ProposeRequest.Wait]
    WAIT_APPLIED: ProposeRequest.Wait
    WAIT_COMMITTED: ProposeRequest.Wait
    WAIT_NONE: ProposeRequest.Wait
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    EXPECT_INDEX_FIELD_NUMBER: _ClassVar[int]
    NOOP_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    key: str
    wait: ProposeRequest.Wait
    expect_index: int
    noop: bool
    def __init__(self, data: _Optional[bytes] = ..., key: _Optional[str] = ..., wait: _Optional[_Union[ProposeRequest.Wait, str]] = ..., expect_index: _Optional[int] = ..., noop: _Optional[bool] = ...) -> None: ...

class ProposeReply(_message.Message):
    __slots__ = ("index", "term", "outcome", "deduplicated", "result")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    outcome: Outcome
    deduplicated: bool
    result: bytes
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., deduplicated: _Optional[bool] = ..., result: _Optional[bytes] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("data", "consistency", "max_stale_ms")
    class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LINEARIZABLE: _ClassVar[QueryRequest.Consistency]
        LEASE: _ClassVar[QueryRequest.Consistency]
        STALE: _ClassVar[QueryRequest.Consistency]
    LINEARIZABLE: QueryRequest.Consistency
    LEASE: QueryRequest.Consistency
    STALE: QueryRequest.Consistency
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_STALE_MS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    consistency: QueryRequest.Consistency
    max_stale_ms: int
    def __init__(self, data: _Optional[bytes] = ..., consistency: _Optional[_Union[QueryRequest.Consistency, str]] = ..., max_stale_ms: _Optional[int] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("result", "index", "stale_ms")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STALE_MS_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    index: int
    stale_ms: int
    def __init__(self, result: _Optional[bytes] = ..., index: _Optional[int] = ..., stale_ms: _Optional[int] = ...) -> None: ...

class ReadIndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadIndexReply(_message.Message):
    __slots__ = ("index", "mode", "took_us")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOOK_US_FIELD_NUMBER: _ClassVar[int]
    index: int
    mode: str
    took_us: int
    def __init__(self, index: _Optional[int] = ..., mode: _Optional[str] = ..., took_us: _Optional[int] = ...) -> None: ...

class OutcomeRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class OutcomeReply(_message.Message):
    __slots__ = ("state", "index", "term", "result", "forgotten_index")
    STATE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_INDEX_FIELD_NUMBER: _ClassVar[int]
    state: str
    index: int
    term: int
    result: bytes
    forgotten_index: int
    def __init__(self, state: _Optional[str] = ..., index: _Optional[int] = ..., term: _Optional[int] = ..., result: _Optional[bytes] = ..., forgotten_index: _Optional[int] = ...) -> None: ...

class LogReadRequest(_message.Message):
    __slots__ = ("from_index", "to_index", "limit", "follow", "types", "uncommitted", "applied", "last")
    FROM_INDEX_FIELD_NUMBER: _ClassVar[int]
    TO_INDEX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    UNCOMMITTED_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    from_index: int
    to_index: int
    limit: int
    follow: bool
    types: _containers.RepeatedScalarFieldContainer[str]
    uncommitted: bool
    applied: bool
    last: int
    def __init__(self, from_index: _Optional[int] = ..., to_index: _Optional[int] = ..., limit: _Optional[int] = ..., follow: _Optional[bool] = ..., types: _Optional[_Iterable[str]] = ..., uncommitted: _Optional[bool] = ..., applied: _Optional[bool] = ..., last: _Optional[int] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("index", "term", "type", "data", "node", "incarnation", "sequence", "key", "description")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    type: str
    data: bytes
    node: int
    incarnation: int
    sequence: int
    key: str
    description: str
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., type: _Optional[str] = ..., data: _Optional[bytes] = ..., node: _Optional[int] = ..., incarnation: _Optional[int] = ..., sequence: _Optional[int] = ..., key: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class LogReadReply(_message.Message):
    __slots__ = ("entries", "first_index", "last_index", "commit", "applied")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    first_index: int
    last_index: int
    commit: int
    applied: int
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit: _Optional[int] = ..., applied: _Optional[int] = ...) -> None: ...

class LogStatRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogStatReply(_message.Message):
    __slots__ = ("first_index", "last_index", "commit", "applied", "bytes", "counts", "snapshot_index")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    first_index: int
    last_index: int
    commit: int
    applied: int
    bytes: int
    counts: _containers.ScalarMap[str, int]
    snapshot_index: int
    def __init__(self, first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit: _Optional[int] = ..., applied: _Optional[int] = ..., bytes: _Optional[int] = ..., counts: _Optional[_Mapping[str, int]] = ..., snapshot_index: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class WatchReply(_message.Message):
    __slots__ = ("data", "index")
    DATA_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    index: int
    def __init__(self, data: _Optional[bytes] = ..., index: _Optional[int] = ...) -> None: ...

class Configuration(_message.Message):
    __slots__ = ("joint", "voters", "learners", "voters_outgoing", "learners_next", "auto_leave", "index", "promotable", "removed", "learners_outgoing", "begin_index", "successor")
    JOINT_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_NEXT_FIELD_NUMBER: _ClassVar[int]
    AUTO_LEAVE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    BEGIN_INDEX_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    joint: bool
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    voters_outgoing: _containers.RepeatedScalarFieldContainer[int]
    learners_next: _containers.RepeatedScalarFieldContainer[int]
    auto_leave: bool
    index: int
    promotable: _containers.RepeatedScalarFieldContainer[int]
    removed: _containers.RepeatedScalarFieldContainer[int]
    learners_outgoing: _containers.RepeatedScalarFieldContainer[int]
    begin_index: int
    successor: int
    def __init__(self, joint: _Optional[bool] = ..., voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., voters_outgoing: _Optional[_Iterable[int]] = ..., learners_next: _Optional[_Iterable[int]] = ..., auto_leave: _Optional[bool] = ..., index: _Optional[int] = ..., promotable: _Optional[_Iterable[int]] = ..., removed: _Optional[_Iterable[int]] = ..., learners_outgoing: _Optional[_Iterable[int]] = ..., begin_index: _Optional[int] = ..., successor: _Optional[int] = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("id", "addr", "reachable", "since_ms", "error", "rtt_us", "version", "queued_bytes", "last_contact_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RTT_US_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    addr: str
    reachable: bool
    since_ms: int
    error: str
    rtt_us: int
    version: str
    queued_bytes: int
    last_contact_ms: int
    def __init__(self, id: _Optional[int] = ..., addr: _Optional[str] = ..., reachable: _Optional[bool] = ..., since_ms: _Optional[int] = ..., error: _Optional[str] = ..., rtt_us: _Optional[int] = ..., version: _Optional[str] = ..., queued_bytes: _Optional[int] = ..., last_contact_ms: _Optional[int] = ...) -> None: ...

class SnapshotInfo(_message.Message):
    __slots__ = ("index", "term", "bytes", "age_ms", "id", "sha256", "voters", "learners")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    bytes: int
    age_ms: int
    id: str
    sha256: str
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., bytes: _Optional[int] = ..., age_ms: _Optional[int] = ..., id: _Optional[str] = ..., sha256: _Optional[str] = ..., voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ...) -> None: ...

class StorageStatus(_message.Message):
    __slots__ = ("bytes", "quota_bytes", "free_bytes", "fsync_p50_ms", "fsync_p99_ms", "log_bytes", "fsyncs", "path")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FSYNC_P50_MS_FIELD_NUMBER: _ClassVar[int]
    FSYNC_P99_MS_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    FSYNCS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    quota_bytes: int
    free_bytes: int
    fsync_p50_ms: float
    fsync_p99_ms: float
    log_bytes: int
    fsyncs: int
    path: str
    def __init__(self, bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., fsync_p50_ms: _Optional[float] = ..., fsync_p99_ms: _Optional[float] = ..., log_bytes: _Optional[int] = ..., fsyncs: _Optional[int] = ..., path: _Optional[str] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("state", "tolerance", "reasons")
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    state: str
    tolerance: int
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, state: _Optional[str] = ..., tolerance: _Optional[int] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class LimitsStatus(_message.Message):
    __slots__ = ("pending", "pending_max", "apply_lag", "apply_lag_max", "uncommitted_bytes", "uncommitted_bytes_max", "entry_bytes_max", "connections", "connections_max", "sessions", "sessions_max")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PENDING_MAX_FIELD_NUMBER: _ClassVar[int]
    APPLY_LAG_FIELD_NUMBER: _ClassVar[int]
    APPLY_LAG_MAX_FIELD_NUMBER: _ClassVar[int]
    UNCOMMITTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNCOMMITTED_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    ENTRY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    pending: int
    pending_max: int
    apply_lag: int
    apply_lag_max: int
    uncommitted_bytes: int
    uncommitted_bytes_max: int
    entry_bytes_max: int
    connections: int
    connections_max: int
    sessions: int
    sessions_max: int
    def __init__(self, pending: _Optional[int] = ..., pending_max: _Optional[int] = ..., apply_lag: _Optional[int] = ..., apply_lag_max: _Optional[int] = ..., uncommitted_bytes: _Optional[int] = ..., uncommitted_bytes_max: _Optional[int] = ..., entry_bytes_max: _Optional[int] = ..., connections: _Optional[int] = ..., connections_max: _Optional[int] = ..., sessions: _Optional[int] = ..., sessions_max: _Optional[int] = ...) -> None: ...

class TlsStatus(_message.Message):
    __slots__ = ("name", "not_after_ms", "ca_not_after_ms", "loaded_ms", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    CA_NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    LOADED_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    not_after_ms: int
    ca_not_after_ms: int
    loaded_ms: int
    error: str
    def __init__(self, name: _Optional[str] = ..., not_after_ms: _Optional[int] = ..., ca_not_after_ms: _Optional[int] = ..., loaded_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: bool
    def __init__(self, cluster: _Optional[bool] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("id", "role", "leader", "term", "vote", "commit", "applied", "last_index", "first_index", "config", "peers", "cluster_id", "snapshot", "storage", "health", "limits", "version", "uptime_ms", "state_machine", "addr", "incarnation", "lead_transferee", "promotable", "leader_contact_ms", "pid", "rss_bytes", "protocol_min", "protocol_max", "loop", "counters", "tls", "now_ms", "members")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_MACHINE_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LEAD_TRANSFEREE_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_CONTACT_MS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    role: str
    leader: int
    term: int
    vote: int
    commit: int
    applied: int
    last_index: int
    first_index: int
    config: Configuration
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    cluster_id: str
    snapshot: SnapshotInfo
    storage: StorageStatus
    health: Health
    limits: LimitsStatus
    version: str
    uptime_ms: int
    state_machine: str
    addr: str
    incarnation: int
    lead_transferee: int
    promotable: bool
    leader_contact_ms: int
    pid: int
    rss_bytes: int
    protocol_min: int
    protocol_max: int
    loop: str
    counters: _containers.ScalarMap[str, int]
    tls: TlsStatus
    now_ms: int
    members: _containers.RepeatedCompositeFieldContainer[MemberAnswer]
    def __init__(self, id: _Optional[int] = ..., role: _Optional[str] = ..., leader: _Optional[int] = ..., term: _Optional[int] = ..., vote: _Optional[int] = ..., commit: _Optional[int] = ..., applied: _Optional[int] = ..., last_index: _Optional[int] = ..., first_index: _Optional[int] = ..., config: _Optional[_Union[Configuration, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., cluster_id: _Optional[str] = ..., snapshot: _Optional[_Union[SnapshotInfo, _Mapping]] = ..., storage: _Optional[_Union[StorageStatus, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., limits: _Optional[_Union[LimitsStatus, _Mapping]] = ..., version: _Optional[str] = ..., uptime_ms: _Optional[int] = ..., state_machine: _Optional[str] = ..., addr: _Optional[str] = ..., incarnation: _Optional[int] = ..., lead_transferee: _Optional[int] = ..., promotable: _Optional[bool] = ..., leader_contact_ms: _Optional[int] = ..., pid: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., loop: _Optional[str] = ..., counters: _Optional[_Mapping[str, int]] = ..., tls: _Optional[_Union[TlsStatus, _Mapping]] = ..., now_ms: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberAnswer, _Mapping]]] = ...) -> None: ...

class MemberAnswer(_message.Message):
    __slots__ = ("id", "addr", "error", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: int
    addr: str
    error: Error
    status: StatusReply
    def __init__(self, id: _Optional[int] = ..., addr: _Optional[str] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., status: _Optional[_Union[StatusReply, _Mapping]] = ...) -> None: ...

class ProgressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProgressRow(_message.Message):
    __slots__ = ("id", "state", "matched", "next_idx", "paused", "pending_snapshot", "pending_request_snapshot", "recent_active", "inflight", "inflight_max", "inflight_bytes", "lag", "learner", "committed_index", "snapshot_bytes", "snapshot_bytes_total", "rate_bytes_per_s", "eta_ms", "addr", "promotable", "catch_up_round", "voter_incoming", "voter_outgoing")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    NEXT_IDX_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PENDING_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    PENDING_REQUEST_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RECENT_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    INFLIGHT_FIELD_NUMBER: _ClassVar[int]
    INFLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    INFLIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_INDEX_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    ETA_MS_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_FIELD_NUMBER: _ClassVar[int]
    CATCH_UP_ROUND_FIELD_NUMBER: _ClassVar[int]
    VOTER_INCOMING_FIELD_NUMBER: _ClassVar[int]
    VOTER_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    id: int
    state: str
    matched: int
    next_idx: int
    paused: bool
    pending_snapshot: int
    pending_request_snapshot: int
    recent_active: bool
    inflight: int
    inflight_max: int
    inflight_bytes: int
    lag: int
    learner: bool
    committed_index: int
    snapshot_bytes: int
    snapshot_bytes_total: int
    rate_bytes_per_s: float
    eta_ms: int
    addr: str
    promotable: bool
    catch_up_round: int
    voter_incoming: bool
    voter_outgoing: bool
    def __init__(self, id: _Optional[int] = ..., state: _Optional[str] = ..., matched: _Optional[int] = ..., next_idx: _Optional[int] = ..., paused: _Optional[bool] = ..., pending_snapshot: _Optional[int] = ..., pending_request_snapshot: _Optional[int] = ..., recent_active: _Optional[bool] = ..., inflight: _Optional[int] = ..., inflight_max: _Optional[int] = ..., inflight_bytes: _Optional[int] = ..., lag: _Optional[int] = ..., learner: _Optional[bool] = ..., committed_index: _Optional[int] = ..., snapshot_bytes: _Optional[int] = ..., snapshot_bytes_total: _Optional[int] = ..., rate_bytes_per_s: _Optional[float] = ..., eta_ms: _Optional[int] = ..., addr: _Optional[str] = ..., promotable: _Optional[bool] = ..., catch_up_round: _Optional[int] = ..., voter_incoming: _Optional[bool] = ..., voter_outgoing: _Optional[bool] = ...) -> None: ...

class ProgressReply(_message.Message):
    __slots__ = ("leader", "term", "last_index", "commit", "rows", "config")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    leader: int
    term: int
    last_index: int
    commit: int
    rows: _containers.RepeatedCompositeFieldContainer[ProgressRow]
    config: Configuration
    def __init__(self, leader: _Optional[int] = ..., term: _Optional[int] = ..., last_index: _Optional[int] = ..., commit: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[ProgressRow, _Mapping]]] = ..., config: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ("max_lag",)
    MAX_LAG_FIELD_NUMBER: _ClassVar[int]
    max_lag: int
    def __init__(self, max_lag: _Optional[int] = ...) -> None: ...

class HealthReply(_message.Message):
    __slots__ = ("health", "ready", "live")
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    health: Health
    ready: bool
    live: bool
    def __init__(self, health: _Optional[_Union[Health, _Mapping]] = ..., ready: _Optional[bool] = ..., live: _Optional[bool] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("what", "index", "id", "role")
    class What(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WHAT_UNSPECIFIED: _ClassVar[WaitRequest.What]
        LEADER: _ClassVar[WaitRequest.What]
        HEALTHY: _ClassVar[WaitRequest.What]
        READY: _ClassVar[WaitRequest.What]
        STABLE_CONFIG: _ClassVar[WaitRequest.What]
        INDEX_APPLIED: _ClassVar[WaitRequest.What]
        MEMBER: _ClassVar[WaitRequest.What]
    WHAT_UNSPECIFIED: WaitRequest.What
    LEADER: WaitRequest.What
    HEALTHY: WaitRequest.What
    READY: WaitRequest.What
    STABLE_CONFIG: WaitRequest.What
    INDEX_APPLIED: WaitRequest.What
    MEMBER: WaitRequest.What
    WHAT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    what: WaitRequest.What
    index: int
    id: int
    role: str
    def __init__(self, what: _Optional[_Union[WaitRequest.What, str]] = ..., index: _Optional[int] = ..., id: _Optional[int] = ..., role: _Optional[str] = ...) -> None: ...

class WaitReply(_message.Message):
    __slots__ = ("took_ms", "detail")
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    took_ms: int
    detail: str
    def __init__(self, took_ms: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("follow", "since")
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    follow: bool
    since: int
    def __init__(self, follow: _Optional[bool] = ..., since: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time_ms", "kind", "message", "fields", "level")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time_ms: int
    kind: str
    message: str
    fields: _containers.ScalarMap[str, str]
    level: str
    def __init__(self, sequence: _Optional[int] = ..., time_ms: _Optional[int] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., level: _Optional[str] = ...) -> None: ...

class EventsReply(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MetricsReply(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class VerifyRow(_message.Message):
    __slots__ = ("id", "index", "hash", "error", "agrees")
    ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    AGREES_FIELD_NUMBER: _ClassVar[int]
    id: int
    index: int
    hash: str
    error: Error
    agrees: bool
    def __init__(self, id: _Optional[int] = ..., index: _Optional[int] = ..., hash: _Optional[str] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., agrees: _Optional[bool] = ...) -> None: ...

class VerifyReply(_message.Message):
    __slots__ = ("ok", "index", "rows")
    OK_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    index: int
    rows: _containers.RepeatedCompositeFieldContainer[VerifyRow]
    def __init__(self, ok: _Optional[bool] = ..., index: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[VerifyRow, _Mapping]]] = ...) -> None: ...

class MemberListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "addr", "role", "leader", "reachable", "since_ms", "error", "version", "promotable", "self")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROMOTABLE_FIELD_NUMBER: _ClassVar[int]
    SELF_FIELD_NUMBER: _ClassVar[int]
    id: int
    addr: str
    role: str
    leader: bool
    reachable: bool
    since_ms: int
    error: str
    version: str
    promotable: bool
    self: bool
    def __init__(self_, id: _Optional[int] = ..., addr: _Optional[str] = ..., role: _Optional[str] = ..., leader: _Optional[bool] = ..., reachable: _Optional[bool] = ..., since_ms: _Optional[int] = ..., error: _Optional[str] = ..., version: _Optional[str] = ..., promotable: _Optional[bool] = ..., self: _Optional[bool] = ...) -> None: ...

class MemberListReply(_message.Message):
    __slots__ = ("members", "config")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    config: Configuration
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., config: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class MemberChangeRequest(_message.Message):
    __slots__ = ("kind", "voters", "learners", "addrs", "successor", "auto_finalize", "expect_config", "dry_run", "unsafe", "campaign", "id", "addr", "new_id", "wait")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[MemberChangeRequest.Kind]
        BEGIN: _ClassVar[MemberChangeRequest.Kind]
        FINALIZE: _ClassVar[MemberChangeRequest.Kind]
        ABORT: _ClassVar[MemberChangeRequest.Kind]
        CHANGE: _ClassVar[MemberChangeRequest.Kind]
        ADD: _ClassVar[MemberChangeRequest.Kind]
        ADD_LEARNER: _ClassVar[MemberChangeRequest.Kind]
        PROMOTE: _ClassVar[MemberChangeRequest.Kind]
        DEMOTE: _ClassVar[MemberChangeRequest.Kind]
        REMOVE: _ClassVar[MemberChangeRequest.Kind]
        REPLACE: _ClassVar[MemberChangeRequest.Kind]
        SET_ADDR: _ClassVar[MemberChangeRequest.Kind]
        ADD_VOTER: _ClassVar[MemberChangeRequest.Kind]
    KIND_UNSPECIFIED: MemberChangeRequest.Kind
    BEGIN: MemberChangeRequest.Kind
    FINALIZE: MemberChangeRequest.Kind
    ABORT: MemberChangeRequest.Kind
    CHANGE: MemberChangeRequest.Kind
    ADD: MemberChangeRequest.Kind
    ADD_LEARNER: MemberChangeRequest.Kind
    PROMOTE: MemberChangeRequest.Kind
    DEMOTE: MemberChangeRequest.Kind
    REMOVE: MemberChangeRequest.Kind
    REPLACE: MemberChangeRequest.Kind
    SET_ADDR: MemberChangeRequest.Kind
    ADD_VOTER: MemberChangeRequest.Kind
    class AddrsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    AUTO_FINALIZE_FIELD_NUMBER: _ClassVar[int]
    EXPECT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    UNSAFE_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    NEW_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    kind: MemberChangeRequest.Kind
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    addrs: _containers.ScalarMap[int, str]
    successor: int
    auto_finalize: bool
    expect_config: int
    dry_run: bool
    unsafe: bool
    campaign: bool
    id: int
    addr: str
    new_id: int
    wait: bool
    def __init__(self, kind: _Optional[_Union[MemberChangeRequest.Kind, str]] = ..., voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., addrs: _Optional[_Mapping[int, str]] = ..., successor: _Optional[int] = ..., auto_finalize: _Optional[bool] = ..., expect_config: _Optional[int] = ..., dry_run: _Optional[bool] = ..., unsafe: _Optional[bool] = ..., campaign: _Optional[bool] = ..., id: _Optional[int] = ..., addr: _Optional[str] = ..., new_id: _Optional[int] = ..., wait: _Optional[bool] = ...) -> None: ...

class Quorum(_message.Message):
    __slots__ = ("voters", "needed", "reachable", "tolerance")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    voters: int
    needed: int
    reachable: int
    tolerance: int
    def __init__(self, voters: _Optional[int] = ..., needed: _Optional[int] = ..., reachable: _Optional[int] = ..., tolerance: _Optional[int] = ...) -> None: ...

class MemberChangeReply(_message.Message):
    __slots__ = ("index", "term", "phase", "before", "after", "quorum_before", "quorum_after", "leader_leaves", "warnings", "dry_run", "took_ms", "addrs")
    class AddrsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    QUORUM_BEFORE_FIELD_NUMBER: _ClassVar[int]
    QUORUM_AFTER_FIELD_NUMBER: _ClassVar[int]
    LEADER_LEAVES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    phase: str
    before: Configuration
    after: Configuration
    quorum_before: Quorum
    quorum_after: Quorum
    leader_leaves: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    took_ms: int
    addrs: _containers.ScalarMap[int, str]
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., phase: _Optional[str] = ..., before: _Optional[_Union[Configuration, _Mapping]] = ..., after: _Optional[_Union[Configuration, _Mapping]] = ..., quorum_before: _Optional[_Union[Quorum, _Mapping]] = ..., quorum_after: _Optional[_Union[Quorum, _Mapping]] = ..., leader_leaves: _Optional[bool] = ..., warnings: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ..., took_ms: _Optional[int] = ..., addrs: _Optional[_Mapping[int, str]] = ...) -> None: ...

class MemberStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Majority(_message.Message):
    __slots__ = ("name", "voters", "needed", "acked", "missing", "satisfied")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    SATISFIED_FIELD_NUMBER: _ClassVar[int]
    name: str
    voters: _containers.RepeatedScalarFieldContainer[int]
    needed: int
    acked: _containers.RepeatedScalarFieldContainer[int]
    missing: _containers.RepeatedScalarFieldContainer[int]
    satisfied: bool
    def __init__(self, name: _Optional[str] = ..., voters: _Optional[_Iterable[int]] = ..., needed: _Optional[int] = ..., acked: _Optional[_Iterable[int]] = ..., missing: _Optional[_Iterable[int]] = ..., satisfied: _Optional[bool] = ...) -> None: ...

class MemberStatusReply(_message.Message):
    __slots__ = ("phase", "since_ms", "config", "majorities", "pending_index", "catching_up", "advice", "addrs")
    class AddrsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    MAJORITIES_FIELD_NUMBER: _ClassVar[int]
    PENDING_INDEX_FIELD_NUMBER: _ClassVar[int]
    CATCHING_UP_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    phase: str
    since_ms: int
    config: Configuration
    majorities: _containers.RepeatedCompositeFieldContainer[Majority]
    pending_index: int
    catching_up: _containers.RepeatedCompositeFieldContainer[ProgressRow]
    advice: str
    addrs: _containers.ScalarMap[int, str]
    def __init__(self, phase: _Optional[str] = ..., since_ms: _Optional[int] = ..., config: _Optional[_Union[Configuration, _Mapping]] = ..., majorities: _Optional[_Iterable[_Union[Majority, _Mapping]]] = ..., pending_index: _Optional[int] = ..., catching_up: _Optional[_Iterable[_Union[ProgressRow, _Mapping]]] = ..., advice: _Optional[str] = ..., addrs: _Optional[_Mapping[int, str]] = ...) -> None: ...

class CampaignRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CampaignReply(_message.Message):
    __slots__ = ("won", "leader", "term", "took_ms", "reason")
    WON_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    won: bool
    leader: int
    term: int
    took_ms: int
    reason: str
    def __init__(self, won: _Optional[bool] = ..., leader: _Optional[int] = ..., term: _Optional[int] = ..., took_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TransferLeaderRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class TransferLeaderReply(_message.Message):
    __slots__ = ("from_id", "to_id", "term", "took_ms")
    FROM_ID_FIELD_NUMBER: _ClassVar[int]
    TO_ID_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    from_id: int
    to_id: int
    term: int
    took_ms: int
    def __init__(self, from_id: _Optional[int] = ..., to_id: _Optional[int] = ..., term: _Optional[int] = ..., took_ms: _Optional[int] = ...) -> None: ...

class SnapshotCreateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotCreateReply(_message.Message):
    __slots__ = ("snapshot", "took_ms")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    snapshot: SnapshotInfo
    took_ms: int
    def __init__(self, snapshot: _Optional[_Union[SnapshotInfo, _Mapping]] = ..., took_ms: _Optional[int] = ...) -> None: ...

class SnapshotListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotListReply(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotInfo]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[SnapshotInfo, _Mapping]]] = ...) -> None: ...

class SnapshotSaveRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotSaveReply(_message.Message):
    __slots__ = ("snapshot", "offset", "crc32", "data")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    snapshot: SnapshotInfo
    offset: int
    crc32: int
    data: bytes
    def __init__(self, snapshot: _Optional[_Union[SnapshotInfo, _Mapping]] = ..., offset: _Optional[int] = ..., crc32: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class CompactRequest(_message.Message):
    __slots__ = ("to_index", "keep", "force")
    TO_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    to_index: int
    keep: int
    force: bool
    def __init__(self, to_index: _Optional[int] = ..., keep: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class CompactReply(_message.Message):
    __slots__ = ("first_index", "dropped")
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    first_index: int
    dropped: int
    def __init__(self, first_index: _Optional[int] = ..., dropped: _Optional[int] = ...) -> None: ...

class LogLevelRequest(_message.Message):
    __slots__ = ("level", "for_ms")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    level: str
    for_ms: int
    def __init__(self, level: _Optional[str] = ..., for_ms: _Optional[int] = ...) -> None: ...

class LogLevelReply(_message.Message):
    __slots__ = ("level", "previous")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    level: str
    previous: str
    def __init__(self, level: _Optional[str] = ..., previous: _Optional[str] = ...) -> None: ...

class ConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfigItem(_message.Message):
    __slots__ = ("key", "value", "default_value", "origin", "reloadable")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RELOADABLE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    default_value: str
    origin: str
    reloadable: bool
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., default_value: _Optional[str] = ..., origin: _Optional[str] = ..., reloadable: _Optional[bool] = ...) -> None: ...

class ConfigReply(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ConfigItem]
    def __init__(self, items: _Optional[_Iterable[_Union[ConfigItem, _Mapping]]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadReply(_message.Message):
    __slots__ = ("changed", "needs_restart")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    changed: _containers.RepeatedScalarFieldContainer[str]
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changed: _Optional[_Iterable[str]] = ..., needs_restart: _Optional[_Iterable[str]] = ...) -> None: ...
