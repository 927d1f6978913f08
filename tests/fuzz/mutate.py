"""Damage to bytes and to messages, drawn from a generator: the same seed, the same damage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUMBERS: Final = (
    0, 1, 2, 3, 4, 5, 9, 127, 128, 255, 1024, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**53,
    2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
"""Numbers at which something begins or ends."""

_WORDS: Final = (
    b"", b"\x00", b"\xff" * 4, b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80" * 10, b"[" * 5000,
    b"{}", b"null", b"1e999", b"NaN", b"-1", b'"', b"\\ud800", b"\n", b"[node]", b"= ",
)  # fmt: skip
_UINT32_MAX: Final = 2**32 - 1
_FLOATS: Final = (0.0, -1.0, 1e308, float("inf"), float("nan"))
_NUMBER_TYPES: Final = {
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_UINT32: (0, _UINT32_MAX),
    FieldDescriptor.TYPE_FIXED32: (0, _UINT32_MAX),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
}


def damaged(rng: random.Random, seeds: Sequence[bytes], most: int = 16_384) -> bytes:
    """Return one of ``seeds``, changed in a few places; seldom bytes out of nowhere."""
    if not seeds or rng.random() < 0.05:
        return rng.randbytes(rng.choice((0, 1, 4, 30, 300)))
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4, 8))):
        _damage(rng, data, seeds)
    return bytes(data[:most])


def _damage(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 64)))
    kind = rng.randrange(8)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at:end]
    elif kind == 3:
        data[at:at] = data[at:end] * rng.choice((1, 1, 3, 50))
    elif kind == 4:
        data[at:at] = rng.choice(_WORDS)
    elif kind == 5:
        data[at:end] = rng.choice(_WORDS)
    elif kind == 6:
        del data[at:]
    else:
        other = rng.choice(seeds)
        start = rng.randrange(len(other) + 1)
        data[at:end] = other[start : start + rng.choice((4, 16, 200))]


def change_message(rng: random.Random, message: Message, times: int = 1) -> None:
    """Change fields of a message somewhere within, to values that its encoding allows."""
    for _ in range(times):
        _change(rng, message, depth=0)


def _change(rng: random.Random, message: Any, depth: int) -> None:
    if not message.DESCRIPTOR.fields:
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    name = field.name
    entry = field.message_type is not None and field.message_type.GetOptions().map_entry
    if entry:
        if rng.random() < 0.3:
            message.ClearField(name)
        return
    if field.is_repeated:
        _change_repeated(rng, getattr(message, name), field, depth)
    elif rng.random() < 0.15:
        message.ClearField(name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        inner = getattr(message, name)
        inner.SetInParent()
        if depth < 4:
            _change(rng, inner, depth + 1)
    else:
        setattr(message, name, _value(rng, field, getattr(message, name)))


def _change_repeated(rng: random.Random, values: Any, field: Any, depth: int) -> None:
    what = rng.random()
    if values and what < 0.2:
        del values[rng.randrange(len(values))]
    elif values and what < 0.3:
        del values[:]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if values and what < 0.7:
            if depth < 4:
                _change(rng, rng.choice(values), depth + 1)
        elif values and what < 0.9:
            for _ in range(rng.choice((1, 1, 5))):
                values.add().CopyFrom(rng.choice(values))
        else:
            values.add()
    else:
        values.extend(_value(rng, field, 0) for _ in range(rng.choice((1, 1, 2, 300))))


def _value(rng: random.Random, field: Any, now: Any) -> Any:
    kind = field.type
    if kind in _NUMBER_TYPES:
        least, most = _NUMBER_TYPES[kind]
        drawn = now + rng.choice((-1, 1, 2)) if rng.random() < 0.4 else rng.choice(NUMBERS)
        return min(max(int(drawn), least), most)
    if kind == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.TYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values] + [99])
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return rng.choice(_FLOATS)
    if kind == FieldDescriptor.TYPE_STRING:
        return rng.choice(("", "x", "127.0.0.1:1", "host", "1-1-0123456789abcdef", "é" * 300))
    return rng.choice((b"", b"\x00", bytes(now or b"")[:3], rng.randbytes(8), bytes(5000)))
