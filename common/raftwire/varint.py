"""Numbers as protobuf writes them: seven bits a byte, lowest first; the eighth: more follow.

For messages that are so frequent that they are read and written by their layout, see ``plain``.
"""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=1024)
def varint(number: int) -> bytes:
    """Return ``number``, 0 or more; quick for those that were asked for of late."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, and where it ends; a cut off one ends behind ``data``."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, at + 1
