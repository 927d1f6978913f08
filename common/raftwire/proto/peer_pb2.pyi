from raft.proto import eraftpb_pb2 as _eraftpb_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("magic", "protocol_min", "protocol_max", "cluster_id", "node_id", "to_node_id", "incarnation", "kind", "advertise", "version", "state_machine", "data_made_ms")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Hello.Kind]
        RAFT: _ClassVar[Hello.Kind]
        SNAPSHOT: _ClassVar[Hello.Kind]
        JOIN: _ClassVar[Hello.Kind]
        PROBE: _ClassVar[Hello.Kind]
    KIND_UNSPECIFIED: Hello.Kind
    RAFT: Hello.Kind
    SNAPSHOT: Hello.Kind
    JOIN: Hello.Kind
    PROBE: Hello.Kind
    MAGIC_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TO_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADVERTISE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_MACHINE_FIELD_NUMBER: _ClassVar[int]
    DATA_MADE_MS_FIELD_NUMBER: _ClassVar[int]
    magic: bytes
    protocol_min: int
    protocol_max: int
    cluster_id: bytes
    node_id: int
    to_node_id: int
    incarnation: int
    kind: Hello.Kind
    advertise: str
    version: str
    state_machine: str
    data_made_ms: int
    def __init__(self, magic: _Optional[bytes] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., node_id: _Optional[int] = ..., to_node_id: _Optional[int] = ..., incarnation: _Optional[int] = ..., kind: _Optional[_Union[Hello.Kind, str]] = ..., advertise: _Optional[str] = ..., version: _Optional[str] = ..., state_machine: _Optional[str] = ..., data_made_ms: _Optional[int] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("ok", "code", "message", "hint", "protocol", "cluster_id", "node_id", "incarnation", "version", "state_machine", "addrs", "config", "data_made_ms")
    class AddrsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    OK_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_MACHINE_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    DATA_MADE_MS_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    code: str
    message: str
    hint: str
    protocol: int
    cluster_id: bytes
    node_id: int
    incarnation: int
    version: str
    state_machine: str
    addrs: _containers.ScalarMap[int, str]
    config: _eraftpb_pb2.ConfState
    data_made_ms: int
    def __init__(self, ok: _Optional[bool] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., protocol: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., node_id: _Optional[int] = ..., incarnation: _Optional[int] = ..., version: _Optional[str] = ..., state_machine: _Optional[str] = ..., addrs: _Optional[_Mapping[int, str]] = ..., config: _Optional[_Union[_eraftpb_pb2.ConfState, _Mapping]] = ..., data_made_ms: _Optional[int] = ...) -> None: ...

class PeerFrame(_message.Message):
    __slots__ = ("messages", "forward", "refused", "relay", "relay_reply", "announce", "query", "query_reply", "offer", "resume", "chunk", "done")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    RELAY_REPLY_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    QUERY_REPLY_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_eraftpb_pb2.Message]
    forward: Forward
    refused: ForwardRefused
    relay: Relay
    relay_reply: RelayReply
    announce: Announce
    query: Query
    query_reply: QueryReply
    offer: SnapshotOffer
    resume: SnapshotResume
    chunk: SnapshotChunk
    done: SnapshotDone
    def __init__(self, messages: _Optional[_Iterable[_Union[_eraftpb_pb2.Message, _Mapping]]] = ..., forward: _Optional[_Union[Forward, _Mapping]] = ..., refused: _Optional[_Union[ForwardRefused, _Mapping]] = ..., relay: _Optional[_Union[Relay, _Mapping]] = ..., relay_reply: _Optional[_Union[RelayReply, _Mapping]] = ..., announce: _Optional[_Union[Announce, _Mapping]] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., query_reply: _Optional[_Union[QueryReply, _Mapping]] = ..., offer: _Optional[_Union[SnapshotOffer, _Mapping]] = ..., resume: _Optional[_Union[SnapshotResume, _Mapping]] = ..., chunk: _Optional[_Union[SnapshotChunk, _Mapping]] = ..., done: _Optional[_Union[SnapshotDone, _Mapping]] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_eraftpb_pb2.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[_eraftpb_pb2.Entry, _Mapping]]] = ...) -> None: ...

class ForwardRefused(_message.Message):
    __slots__ = ("incarnation", "sequences", "code", "message", "hint", "retry_after_ms", "leader", "term")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    code: str
    message: str
    hint: str
    retry_after_ms: int
    leader: int
    term: int
    def __init__(self, incarnation: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., leader: _Optional[int] = ..., term: _Optional[int] = ...) -> None: ...

class Relay(_message.Message):
    __slots__ = ("id", "request")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    id: int
    request: bytes
    def __init__(self, id: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class RelayReply(_message.Message):
    __slots__ = ("id", "response")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    id: int
    response: bytes
    def __init__(self, id: _Optional[int] = ..., response: _Optional[bytes] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("id", "request")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    id: int
    request: bytes
    def __init__(self, id: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("id", "response")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    id: int
    response: bytes
    def __init__(self, id: _Optional[int] = ..., response: _Optional[bytes] = ...) -> None: ...

class Announce(_message.Message):
    __slots__ = ("id", "addr", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: int
    addr: str
    version: str
    def __init__(self, id: _Optional[int] = ..., addr: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class SnapshotOffer(_message.Message):
    __slots__ = ("id", "metadata", "size", "sha256", "term", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    metadata: _eraftpb_pb2.SnapshotMetadata
    size: int
    sha256: bytes
    term: int
    message: bytes
    def __init__(self, id: _Optional[str] = ..., metadata: _Optional[_Union[_eraftpb_pb2.SnapshotMetadata, _Mapping]] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., term: _Optional[int] = ..., message: _Optional[bytes] = ...) -> None: ...

class SnapshotResume(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("offset", "crc32", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    crc32: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., crc32: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SnapshotDone(_message.Message):
    __slots__ = ("ok", "code", "error")
    OK_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    code: str
    error: str
    def __init__(self, ok: _Optional[bool] = ..., code: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class MemberInfo(_message.Message):
    __slots__ = ("addrs",)
    class AddrsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    addrs: _containers.ScalarMap[int, str]
    def __init__(self, addrs: _Optional[_Mapping[int, str]] = ...) -> None: ...

class ControlCommand(_message.Message):
    __slots__ = ("set_addr", "expire_sessions", "verify_at", "set_clock", "set_settings", "noop")
    SET_ADDR_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_AT_FIELD_NUMBER: _ClassVar[int]
    SET_CLOCK_FIELD_NUMBER: _ClassVar[int]
    SET_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    NOOP_FIELD_NUMBER: _ClassVar[int]
    set_addr: SetAddr
    expire_sessions: ExpireSessions
    verify_at: VerifyAt
    set_clock: SetClock
    set_settings: SetSettings
    noop: Noop
    def __init__(self, set_addr: _Optional[_Union[SetAddr, _Mapping]] = ..., expire_sessions: _Optional[_Union[ExpireSessions, _Mapping]] = ..., verify_at: _Optional[_Union[VerifyAt, _Mapping]] = ..., set_clock: _Optional[_Union[SetClock, _Mapping]] = ..., set_settings: _Optional[_Union[SetSettings, _Mapping]] = ..., noop: _Optional[_Union[Noop, _Mapping]] = ...) -> None: ...

class Noop(_message.Message):
    __slots__ = ("padding",)
    PADDING_FIELD_NUMBER: _ClassVar[int]
    padding: bytes
    def __init__(self, padding: _Optional[bytes] = ...) -> None: ...

class SetAddr(_message.Message):
    __slots__ = ("id", "addr")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    id: int
    addr: str
    def __init__(self, id: _Optional[int] = ..., addr: _Optional[str] = ...) -> None: ...

class ExpireSessions(_message.Message):
    __slots__ = ("up_to_index",)
    UP_TO_INDEX_FIELD_NUMBER: _ClassVar[int]
    up_to_index: int
    def __init__(self, up_to_index: _Optional[int] = ...) -> None: ...

class VerifyAt(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class SetClock(_message.Message):
    __slots__ = ("unix_ms",)
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    unix_ms: int
    def __init__(self, unix_ms: _Optional[int] = ...) -> None: ...

class SetSettings(_message.Message):
    __slots__ = ("sessions_max", "session_ttl_ms", "history_count", "history_bytes", "history_age_ms")
    SESSIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    SESSION_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_COUNT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    sessions_max: int
    session_ttl_ms: int
    history_count: int
    history_bytes: int
    history_age_ms: int
    def __init__(self, sessions_max: _Optional[int] = ..., session_ttl_ms: _Optional[int] = ..., history_count: _Optional[int] = ..., history_bytes: _Optional[int] = ..., history_age_ms: _Optional[int] = ...) -> None: ...
