from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyValue(_message.Message):
    __slots__ = ("key", "value", "create_revision", "mod_revision", "version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    MOD_REVISION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., create_revision: _Optional[int] = ..., mod_revision: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class KvCommand(_message.Message):
    __slots__ = ("put", "delete", "delete_range", "cas")
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    DELETE_RANGE_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    put: KvPut
    delete: KvDelete
    delete_range: KvDeleteRange
    cas: KvCompareAndSwap
    def __init__(self, put: _Optional[_Union[KvPut, _Mapping]] = ..., delete: _Optional[_Union[KvDelete, _Mapping]] = ..., delete_range: _Optional[_Union[KvDeleteRange, _Mapping]] = ..., cas: _Optional[_Union[KvCompareAndSwap, _Mapping]] = ...) -> None: ...

class KvPut(_message.Message):
    __slots__ = ("key", "value", "prev_kv")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PREV_KV_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    prev_kv: bool
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., prev_kv: _Optional[bool] = ...) -> None: ...

class KvDelete(_message.Message):
    __slots__ = ("key", "prev_kv")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREV_KV_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    prev_kv: bool
    def __init__(self, key: _Optional[bytes] = ..., prev_kv: _Optional[bool] = ...) -> None: ...

class KvDeleteRange(_message.Message):
    __slots__ = ("key", "range_end", "prefix")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    range_end: bytes
    prefix: bool
    def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ..., prefix: _Optional[bool] = ...) -> None: ...

class KvCompareAndSwap(_message.Message):
    __slots__ = ("key", "absent", "mod_revision", "value", "present", "put", "delete")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    MOD_REVISION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    absent: bool
    mod_revision: int
    value: bytes
    present: bool
    put: bytes
    delete: bool
    def __init__(self, key: _Optional[bytes] = ..., absent: _Optional[bool] = ..., mod_revision: _Optional[int] = ..., value: _Optional[bytes] = ..., present: _Optional[bool] = ..., put: _Optional[bytes] = ..., delete: _Optional[bool] = ...) -> None: ...

class KvResult(_message.Message):
    __slots__ = ("revision", "succeeded", "deleted", "prev", "current")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    succeeded: bool
    deleted: int
    prev: KeyValue
    current: KeyValue
    def __init__(self, revision: _Optional[int] = ..., succeeded: _Optional[bool] = ..., deleted: _Optional[int] = ..., prev: _Optional[_Union[KeyValue, _Mapping]] = ..., current: _Optional[_Union[KeyValue, _Mapping]] = ...) -> None: ...

class KvQuery(_message.Message):
    __slots__ = ("get", "range")
    GET_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    get: KvGet
    range: KvRange
    def __init__(self, get: _Optional[_Union[KvGet, _Mapping]] = ..., range: _Optional[_Union[KvRange, _Mapping]] = ...) -> None: ...

class KvGet(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class KvRange(_message.Message):
    __slots__ = ("key", "range_end", "prefix", "limit", "keys_only", "count_only", "after")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    COUNT_ONLY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    range_end: bytes
    prefix: bool
    limit: int
    keys_only: bool
    count_only: bool
    after: bytes
    def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ..., prefix: _Optional[bool] = ..., limit: _Optional[int] = ..., keys_only: _Optional[bool] = ..., count_only: _Optional[bool] = ..., after: _Optional[bytes] = ...) -> None: ...

class KvQueryResult(_message.Message):
    __slots__ = ("revision", "kvs", "more", "next", "count")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KVS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    kvs: _containers.RepeatedCompositeFieldContainer[KeyValue]
    more: bool
    next: bytes
    count: int
    def __init__(self, revision: _Optional[int] = ..., kvs: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ..., more: _Optional[bool] = ..., next: _Optional[bytes] = ..., count: _Optional[int] = ...) -> None: ...

class KvWatch(_message.Message):
    __slots__ = ("key", "range_end", "prefix", "start_revision", "prev_kv")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    START_REVISION_FIELD_NUMBER: _ClassVar[int]
    PREV_KV_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    range_end: bytes
    prefix: bool
    start_revision: int
    prev_kv: bool
    def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ..., prefix: _Optional[bool] = ..., start_revision: _Optional[int] = ..., prev_kv: _Optional[bool] = ...) -> None: ...

class KvWatchEvent(_message.Message):
    __slots__ = ("type", "kv", "prev")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT: _ClassVar[KvWatchEvent.Type]
        DELETE: _ClassVar[KvWatchEvent.Type]
    PUT: KvWatchEvent.Type
    DELETE: KvWatchEvent.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KV_FIELD_NUMBER: _ClassVar[int]
    PREV_FIELD_NUMBER: _ClassVar[int]
    type: KvWatchEvent.Type
    kv: KeyValue
    prev: KeyValue
    def __init__(self, type: _Optional[_Union[KvWatchEvent.Type, str]] = ..., kv: _Optional[_Union[KeyValue, _Mapping]] = ..., prev: _Optional[_Union[KeyValue, _Mapping]] = ...) -> None: ...

class KvWatchEvents(_message.Message):
    __slots__ = ("revision", "events")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    events: _containers.RepeatedCompositeFieldContainer[KvWatchEvent]
    def __init__(self, revision: _Optional[int] = ..., events: _Optional[_Iterable[_Union[KvWatchEvent, _Mapping]]] = ...) -> None: ...
