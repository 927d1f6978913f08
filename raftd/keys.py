"""Key layout: where everything lies in the four column families.

LOG      ``>Q`` index                      crc32 + serialized Entry
META     the names below                   crc32 + value
STATE    one byte (epoch) + machine's key  the machine's value
SESSIONS one byte (epoch) + ``k`` + client key | ``o`` + ``>Q`` number

STATE and SESSIONS exist twice, under epoch 0 and epoch 1. One is in force (META ``epoch``); a
snapshot is built in the other and takes over in one batch. See ``raftd.snapshot``.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final

from raftd.kvstore import CorruptionError

IDENTITY: Final = b"identity"
HARD_STATE: Final = b"hard_state"
CONF_STATE: Final = b"conf_state"
TRUNCATED: Final = b"truncated"
APPLIED: Final = b"applied"
ADDRESSES: Final = b"addresses"
SETTINGS: Final = b"settings"
EPOCH: Final = b"epoch"
OPENS: Final = b"opens"
RECOVERED: Final = b"recovered"
KNOWN_DATA: Final = b"known_data"
TOKEN: Final = b"token"

SESSION_BY_KEY: Final = b"k"
SESSION_BY_AGE: Final = b"o"

_U64: Final = Struct(">Q")
_U32: Final = Struct(">I")

pack_u64 = _U64.pack
_unpack_u64 = _U64.unpack
pack_u32 = _U32.pack
unpack_u32_from = _U32.unpack_from

LOG_END: Final = b"\xff" * 9
"""Above every log key."""


def log_key(index: int) -> bytes:
    """Return the LOG key of ``index``: eight bytes, so that keys sort as indexes do."""
    return pack_u64(index)


def log_index(key: bytes) -> int:
    """Return the index of a LOG key.

    Raises:
        CorruptionError: It is not eight bytes.
    """
    if len(key) != 8:
        raise CorruptionError(
            f"the log holds a key of {len(key)} bytes instead of 8: {key[:32].hex()}; the store is"
            " damaged; remove this node from the group and add it again under a new id"
        )
    index: int = _unpack_u64(key)[0]
    return index


def epoch_prefix(epoch: int) -> bytes:
    """Return the byte before every STATE and SESSIONS key of ``epoch`` (0 or 1)."""
    return b"\x01" if epoch else b"\x00"


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the least key above all that start with ``prefix``; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def seal(value: bytes, seed: int = 0) -> bytes:
    """Return ``value`` behind its CRC-32; ``seed`` ties it to its place (an index)."""
    return pack_u32(zlib.crc32(value, seed & 0xFFFFFFFF)) + value


def unseal(sealed: bytes, what: str, seed: int = 0) -> bytes:
    """Return what ``seal`` was given.

    Raises:
        CorruptionError: The checksum does not match; the text names ``what``.
    """
    value = sealed[4:]
    if len(sealed) < 4 or unpack_u32_from(sealed)[0] != zlib.crc32(value, seed & 0xFFFFFFFF):
        raise CorruptionError(
            f"{what} does not match its checksum; the disk returned other bytes than were written;"
            " this node must not vote or serve; remove it from the group and add it again under a"
            " new id"
        )
    return value
