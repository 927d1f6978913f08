"""Commands, queries and answers of the key-value state machine, as typed functions. Sans-I/O.

Keys and values are bytes; a ``str`` stands for its UTF-8. What is built here travels as the data
of a proposal, a query or a watch.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from raftwire.errors import LocalError, MessageError
from raftwire.proto.kv_pb2 import (
    KeyValue,
    KvCommand,
    KvCompareAndSwap,
    KvDelete,
    KvDeleteRange,
    KvGet,
    KvPut,
    KvQuery,
    KvQueryResult,
    KvRange,
    KvResult,
    KvWatch,
    KvWatchEvent,
    KvWatchEvents,
)

__all__ = [
    "KeyValue",
    "KvCommand",
    "KvQuery",
    "KvQueryResult",
    "KvResult",
    "KvWatch",
    "KvWatchEvent",
    "KvWatchEvents",
    "cas",
    "delete",
    "delete_range",
    "get",
    "put",
    "range_",
    "read_events",
    "read_query",
    "read_result",
    "watch",
]

M = TypeVar("M", bound=Message)


def _raw(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def put(key: bytes | str, value: bytes | str, *, prev: bool = False) -> bytes:
    """Set a key; with ``prev`` the answer holds the pair it replaced."""
    command = KvCommand(put=KvPut(key=_raw(key), value=_raw(value), prev_kv=prev))
    return command.SerializeToString()


def delete(key: bytes | str, *, prev: bool = False) -> bytes:
    """Remove a key; ``deleted`` of the answer is 0 or 1."""
    return KvCommand(delete=KvDelete(key=_raw(key), prev_kv=prev)).SerializeToString()


def delete_range(key: bytes | str, end: bytes | str | None = None) -> bytes:
    """Remove the keys in ``[key, end)``, or without ``end`` those that start with ``key``."""
    request = KvDeleteRange(key=_raw(key), range_end=_raw(end or b""), prefix=end is None)
    return KvCommand(delete_range=request).SerializeToString()


def cas(
    key: bytes | str,
    value: bytes | str | None,
    *,
    expect_value: bytes | str | None = None,
    expect_revision: int | None = None,
    expect_absent: bool = False,
    expect_present: bool = False,
) -> bytes:
    """Set a key (or remove it, ``value=None``) if it is as expected.

    Args:
        key, value: What to write. expect_value, expect_revision, expect_absent, expect_present:
        Exactly one of them: the value it
            holds, its ``mod_revision``, that it does not exist, or that it does.

    Raises:
        LocalError: None or several expectations.
    """
    request = KvCompareAndSwap(key=_raw(key))
    expectations = 0
    if expect_value is not None:
        request.value = _raw(expect_value)
        expectations += 1
    if expect_revision is not None:
        request.mod_revision = expect_revision
        expectations += 1
    if expect_absent:
        request.absent = True
        expectations += 1
    if expect_present:
        request.present = True
        expectations += 1
    if expectations != 1:
        raise LocalError(f"compare-and-swap takes exactly one expectation, not {expectations}")
    if value is None:
        request.delete = True
    else:
        request.put = _raw(value)
    return KvCommand(cas=request).SerializeToString()


def get(key: bytes | str) -> bytes:
    """Read one key."""
    return KvQuery(get=KvGet(key=_raw(key))).SerializeToString()


def range_(
    key: bytes | str = b"",
    end: bytes | str | None = None,
    *,
    limit: int = 0,
    after: bytes = b"",
    keys_only: bool = False,
    count_only: bool = False,
) -> bytes:
    """Read the keys in ``[key, end)``, or without ``end`` those that start with ``key``."""
    request = KvRange(
        key=_raw(key),
        range_end=_raw(end or b""),
        prefix=end is None,
        limit=limit,
        after=after,
        keys_only=keys_only,
        count_only=count_only,
    )
    return KvQuery(range=request).SerializeToString()


def watch(
    key: bytes | str = b"",
    end: bytes | str | None = None,
    *,
    prefix: bool = False,
    start_revision: int = 0,
    prev: bool = False,
) -> bytes:
    """Follow one key, those in ``[key, end)``, or with ``prefix`` those that start with ``key``."""
    return KvWatch(
        key=_raw(key),
        range_end=_raw(end or b""),
        prefix=prefix,
        start_revision=start_revision,
        prev_kv=prev,
    ).SerializeToString()


def read_result(data: bytes) -> KvResult:
    """Read a command's answer.

    Raises:
        MessageError: It is none: the cluster runs another state machine.
    """
    return _read(KvResult(), data)


def read_query(data: bytes) -> KvQueryResult:
    """Read a query's answer.

    Raises:
        MessageError: It is none: the cluster runs another state machine.
    """
    return _read(KvQueryResult(), data)


def read_events(data: bytes) -> KvWatchEvents:
    """Read a watch's answer.

    Raises:
        MessageError: It is none: the cluster runs another state machine.
    """
    return _read(KvWatchEvents(), data)


def _read(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MessageError(
            "the answer is not the key-value state machine's: see `state_machine` in the status"
        ) from None
    return message
