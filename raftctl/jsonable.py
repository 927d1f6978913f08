"""Turns the admin protocol's messages into what stands in ``--json`` answers."""

from __future__ import annotations

import binascii
import contextlib
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def to_dict(message: Message, *, drop: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return a message as plain data.

    Every field is there, set or not, so that a script never has to ask whether it is: numbers
    as numbers (all stay below 2^53), absent messages as null, enum values as lower-case words,
    bytes as ``NAME_b64``, and as ``NAME`` too when they are UTF-8.

    Args:
        message: The answer.
        drop: Fields of the outermost message to leave out.
    """
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.name in drop:
            continue
        value = getattr(message, field.name)
        if field.is_repeated:
            # Asking the field whether it is a map would load the descriptors of descriptors.
            if isinstance(value, Mapping):
                assert field.message_type is not None
                of = field.message_type.fields_by_name["value"]
                out[field.name] = {str(k): _scalar(of, v) for k, v in sorted(value.items())}
            else:
                out[field.name] = [_scalar(field, item) for item in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            out[field.name] = to_dict(value) if message.HasField(field.name) else None
        elif field.type == FieldDescriptor.TYPE_BYTES:
            out.update(bytes_fields(field.name, value))
        else:
            out[field.name] = _scalar(field, value)
    return out


def bytes_fields(name: str, data: bytes) -> dict[str, Any]:
    """Return the JSON fields of a payload: always base64, and the text too when it is UTF-8."""
    out = {f"{name}_b64": binascii.b2a_base64(data, newline=False).decode("ascii")}
    with contextlib.suppress(UnicodeDecodeError):
        out[name] = data.decode("utf-8")
    return out


def _scalar(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return to_dict(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        names = field.enum_type.values_by_number
        return names[value].name.lower() if value in names else int(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return binascii.b2a_base64(value, newline=False).decode("ascii")
    return value
