"""Numbers as protobuf writes them: seven bits a byte, lowest first; the eighth: more follow.

For messages that are so frequent that they are read and written by their layout, see ``plain``.
"""

from __future__ import annotations

import functools
from typing import Final

_BITS_MOST: Final = 70


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
    """Return the number at ``at``, and where it ends; no number ends behind ``data``.

    That is one that is cut off, or has more than ten bytes: no more of a frame are looked at.
    """
    value = shift = 0
    while at < len(data) and shift < _BITS_MOST:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, len(data) + 1
