"""What the .proto files say, comments included: the descriptions that generated texts carry."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2

from tests.house.tree import ROOT

WIRE: Final = ("raftwire/proto/admin.proto", "raftwire/proto/kv.proto")
"""What clients of the admin socket speak."""

_MESSAGE_FIELD: Final = 2
_MESSAGE_NESTED: Final = 3
_MESSAGE_ENUM: Final = 4
_ENUM_VALUE: Final = 2
_FILE_MESSAGE: Final = 4
_FILE_ENUM: Final = 5
# Numbers of those fields in descriptor.proto: a comment's place is a path of numbers and positions.


@cache
def comments() -> dict[str, str]:
    """Return the comment before each message, field, enum and value, by its full name.

    The code that protoc generates leaves comments out, so it is asked for them here.
    """
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        protoc = Path(sys.executable).with_name("protoc")
        subprocess.run(
            [protoc, "-I", ".", "--include_source_info", f"--descriptor_set_out={target}", *WIRE],
            cwd=ROOT / "common",
            check=True,
        )
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    for file in files:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name and location.leading_comments:
                found[name] = " ".join(location.leading_comments.split())
    return found


def _names(file: descriptor_pb2.FileDescriptorProto) -> list[tuple[tuple[int, ...], str]]:
    found: list[tuple[tuple[int, ...], str]] = []

    def enum(one: descriptor_pb2.EnumDescriptorProto, name: str, path: tuple[int, ...]) -> None:
        found.append((path, name))
        for n, value in enumerate(one.value):
            found.append(((*path, _ENUM_VALUE, n), f"{name}.{value.name}"))

    def message(one: descriptor_pb2.DescriptorProto, name: str, path: tuple[int, ...]) -> None:
        found.append((path, name))
        for n, field in enumerate(one.field):
            found.append(((*path, _MESSAGE_FIELD, n), f"{name}.{field.name}"))
        for n, nested in enumerate(one.nested_type):
            message(nested, f"{name}.{nested.name}", (*path, _MESSAGE_NESTED, n))
        for n, inner in enumerate(one.enum_type):
            enum(inner, f"{name}.{inner.name}", (*path, _MESSAGE_ENUM, n))

    for n, one in enumerate(file.message_type):
        message(one, f"{file.package}.{one.name}", (_FILE_MESSAGE, n))
    for n, top in enumerate(file.enum_type):
        enum(top, f"{file.package}.{top.name}", (_FILE_ENUM, n))
    return found
