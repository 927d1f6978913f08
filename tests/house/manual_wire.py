"""The generated parts of the pages about the wire: requests, messages, error codes, examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from raftd.access import READING
from raftd.state_machine import StateMachine
from raftwire import admin, limits
from raftwire.client import Client, Kv
from raftwire.errors import Code
from raftwire.proto import admin_pb2 as wire
from tests.house.mdoc import escape, example, sentences
from tests.house.protos import comments
from tests.house.tree import ROOT

EXAMPLES: Final = ROOT / "man" / "src"

FIGURES: Final = {
    "protocol": admin.PROTOCOL_MAX,
    "pipeline": limits.ADMIN_PIPELINE_MAX,
    "response-bytes": limits.ADMIN_RESPONSE_BYTES_MAX,
    "timeout": limits.REQUEST_TIMEOUT_MS,
    "timeout-max": limits.REQUEST_TIMEOUT_MS_MAX,
}
"""Figures that stand in the text of a page."""

STREAMS: Final = ("log_read", "watch", "events", "snapshot_save")

_SPECIAL: Final = {
    "cancel": "End a stream, or the wait for an answer; what was proposed stays proposed.",
    "member_change": "Change who is in the group; `kind` says how.",
    "wait": "Answer when something is so.",
}
"""What the requests do whose name is no method of the client."""

_INNER: Final = ("open_connection", "resumed", "turn")
"""Methods for the package itself."""

_TYPES: Final = {
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


def parts() -> dict[str, Callable[[], list[str]]]:
    """Return what makes each generated part."""
    return {
        "admin-calls": lambda: list(_calls()),
        "admin-messages": lambda: list(_messages()),
        "admin-errors": lambda: list(_errors()),
        "admin-client": lambda: _example("admin_client"),
        "client-methods": lambda: list(_methods(Client)),
        "kv-methods": lambda: list(_methods(Kv)),
        "machine-methods": lambda: list(_methods(StateMachine)),
        "example-bank": lambda: _example("bank"),
        "example-blocking": lambda: _example("example_blocking"),
        "example-async": lambda: _example("example_async"),
    }


def _example(name: str) -> list[str]:
    return example((EXAMPLES / f"{name}.py").read_text())


def _methods(kind: type) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_") or name in _INNER:
            continue
        shown = []
        keyword_only = False
        for parameter in inspect.signature(method).parameters.values():
            if parameter.name in ("self", "timeout"):
                continue
            if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
                keyword_only = True
                shown.append("*")
            if parameter.kind is parameter.VAR_KEYWORD:
                shown.append("**options")
            elif parameter.default is parameter.empty:
                shown.append(parameter.name)
            else:
                shown.append(f"{parameter.name}={parameter.default!r}")
        yield ".It Li " + escape(f"{name}({', '.join(shown)})").replace('"', '""').join('""')
        text = inspect.getdoc(method) or ""
        for n, block in enumerate(re.split(r"\n\s*\n", text)):
            if block.startswith(("Args:", "Raises:", "Yields:")):
                yield from _arguments(block)
            else:
                yield from [".Pp"] * (n > 0)
                yield from sentences(block.replace("``", "`"))
    yield ".El"


def _arguments(block: str) -> Iterator[str]:
    head, _, rest = block.partition("\n")
    if head == "Yields:":
        yield ".Pp"
        yield from sentences("Yields " + " ".join(rest.split()).replace("``", "`"))
        return
    yield ".Bl -tag -width Ds -compact"
    for item in re.split(r"\n(?=    \S)", rest):
        name, _, text = item.strip().partition(": ")
        if name == "timeout" and text.startswith("For all attempts"):
            continue
        yield f".It Li {name}"
        yield from sentences(text.replace("``", "`"))
    yield ".El"


def _calls() -> Iterator[str]:
    yield ".Bl -tag -width Ds -compact"
    for field in wire.Request.DESCRIPTOR.oneofs_by_name["body"].fields:
        name = field.name
        text = _SPECIAL.get(name) or inspect.getdoc(getattr(Client, name)) or ""
        yield f".It {field.number} Li {name}"
        yield from sentences(text.split("\n\n")[0].replace("``", "`"))
        notes = []
        if name in STREAMS:
            notes.append("A stream.")
        if name not in READING:
            notes.append("Needs the permission to change.")
        yield from notes
    yield ".El"


def _messages() -> Iterator[str]:
    descriptor = wire.DESCRIPTOR
    for name in descriptor.message_types_by_name:
        yield from _message(descriptor.message_types_by_name[name])
    for name in descriptor.enum_types_by_name:
        yield from _enum(descriptor.enum_types_by_name[name])


def _message(message: Any) -> Iterator[str]:
    yield f".Ss {message.name}"
    note = comments().get(message.full_name)
    if note:
        yield from sentences(note)
    fields = [field for field in message.fields if not _is_body(field)]
    if not message.fields:
        yield "No fields."
    if fields:
        yield ".Bl -tag -width Ds -compact"
        for field in fields:
            yield f".It {field.number} Vt {_type(field)} Li {field.name}"
            yield from sentences(comments().get(field.full_name, ""))
        yield ".El"
    if len(fields) < len(message.fields):
        yield "The bodies are those of the table above, of the types that their names say."
    for one in message.enum_types:
        yield from _enum(one)


def _enum(enum: Any) -> Iterator[str]:
    yield f".Ss {enum.full_name.removeprefix('raftwire.admin.')}"
    note = comments().get(enum.full_name)
    if note:
        yield from sentences(note)
    yield ".Bl -tag -width Ds -compact"
    for value in enum.values:
        yield f".It {value.number} Dv {value.name}"
        full = f"{enum.full_name}.{value.name}"
        yield from sentences(comments().get(full, ""))
    yield ".El"


def _is_body(field: Any) -> bool:
    return field.containing_oneof is not None and field.containing_oneof.name == "body"


def _type(field: Any) -> str:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = (_type(kind.fields_by_name[name]) for name in ("key", "value"))
        return f"map<{key},{value}>"
    name = _TYPES.get(field.type) or (kind or field.enum_type).name
    return f'"repeated {name}"' if field.is_repeated else name


def _errors() -> Iterator[str]:
    yield ".Bl -tag -width Ds -compact"
    for code in Code:
        facts = code.facts
        yield f".It Dv {code}"
        again = "retryable" if facts.retryable else "not retryable"
        after = f" after {facts.retry_after_ms} ms" if facts.retry_after_ms else ""
        hint = f": {facts.hint}" if facts.hint else ""
        yield escape(f"{facts.outcome}, {again}{after}{hint}.")
    yield ".El"
