"""What an entry's context says: who proposed it, as which request, under which client key.

The context of a normal entry is empty for a leader's own first entry. Otherwise it starts with an
origin, ``>BQQQ``: kind, node id, incarnation and sequence number of the node whose client proposed
it. A proposal's origin is followed by the client's idempotency key in UTF-8, which may be empty.
In a configuration change the origin stands in ``ConfChange.context``, followed by a
``MemberInfo``.

Every node reads every context, so these bytes are part of the replicated format: they never change
meaning.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from raftwire.errors import LocalError, MessageError
from raftwire.limits import KEY_BYTES_MAX

#: A client's command for the state machine.
PROPOSAL: Final = 0x01
#: A command of the daemon itself (``raftwire.peer.ControlCommand``), and every configuration
#: change.
CONTROL: Final = 0x02

ORIGIN_BYTES: Final = 25

_ORIGIN: Final = Struct(">BQQQ")
_pack = _ORIGIN.pack
_unpack_from = _ORIGIN.unpack_from


class Origin(NamedTuple):
    """Who proposed an entry. ``(node, incarnation, sequence)`` is unique for ever."""

    kind: int
    node: int
    incarnation: int
    sequence: int
    #: The client's idempotency key; empty if it gave none, and in control entries.
    key: str = ""


def pack_origin(kind: int, node: int, incarnation: int, sequence: int, key: str = "") -> bytes:
    """Return the context of an entry.

    Raises:
        LocalError: The key is longer than KEY_BYTES_MAX, or goes with another kind than PROPOSAL.
    """
    if not key:
        return _pack(kind, node, incarnation, sequence)
    raw = check_key(key)
    if kind != PROPOSAL:
        raise LocalError("only a proposal carries a key")
    return _pack(kind, node, incarnation, sequence) + raw


def check_key(key: str) -> bytes:
    """Return an idempotency key as it is stored.

    Raises:
        LocalError: It is longer than KEY_BYTES_MAX in UTF-8, or not encodable at all.
    """
    try:
        raw = key.encode()
    except UnicodeEncodeError as error:
        raise LocalError(f"the key is not valid text: {error.reason}") from None
    if len(raw) > KEY_BYTES_MAX:
        raise LocalError(f"the key is {len(raw)} bytes long; the limit is {KEY_BYTES_MAX}")
    return raw


def unpack_origin(context: bytes) -> Origin | None:
    """Read the context of a normal entry; None for a leader's own entry (empty context).

    Raises:
        MessageError: It is cut off, of an unknown kind, or its key is not UTF-8.
    """
    if not context:
        return None
    if len(context) < ORIGIN_BYTES:
        raise MessageError(f"an origin takes {ORIGIN_BYTES} bytes, not {len(context)}")
    kind, node, incarnation, sequence = _unpack_from(context)
    if kind not in (PROPOSAL, CONTROL):
        raise MessageError(f"unknown kind of entry: {kind:#04x}")
    if len(context) == ORIGIN_BYTES:
        return Origin(kind, node, incarnation, sequence)
    if kind == CONTROL:
        raise MessageError("a control entry carries no key")
    if len(context) > ORIGIN_BYTES + KEY_BYTES_MAX:
        raise MessageError(f"a key takes at most {KEY_BYTES_MAX} bytes")
    try:
        key = context[ORIGIN_BYTES:].decode()
    except UnicodeDecodeError:
        raise MessageError("the key is not UTF-8") from None
    return Origin(kind, node, incarnation, sequence, key)


def split_origin(context: bytes) -> tuple[Origin | None, bytes]:
    """Read the context of a configuration change: its origin, and the bytes behind it.

    Returns ``(None, context)`` when it does not start with an origin: the change was proposed by a
    program that uses the library alone.
    """
    if len(context) < ORIGIN_BYTES or context[0] != CONTROL:
        return None, context
    return Origin(*_unpack_from(context)), context[ORIGIN_BYTES:]
