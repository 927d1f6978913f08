"""The commonest requests and their answers, read and written by their layout. Sans-I/O.

Nearly all that a busy node hears is data proposed or asked for, with nothing else said that the
client has not said before. What stands around the data is then the same bytes again: whoever finds
them, and that the lengths behind them lead to the frame's end, has parsed the request, in less than
half the time that protobuf and its objects take. The answers are joined likewise.
"""

from __future__ import annotations

from typing import Final

from raftwire.admin import Request
from raftwire.varint import read_varint, varint

_ID: Final = 0x08
_DATA: Final = 0x0A
_PROPOSE: Final = 0x62
_QUERY: Final = 0x6A
_BYTES_LEAST: Final = 7
_ID_ENDS_MOST: Final = 9
"""Ids have 53 bits, which take 8 bytes."""
_MISSES_MAX: Final = 64
"""Requests that looked different from the one before, after which a connection's are parsed as
they come: its client writes, say, another deadline each time."""


class PlainRequests:
    """What a connection's requests say beside id and data, as of the last one that was noted.

    Attributes:
        seconds: For the owner: how long the answer may take, as that says.
    """

    __slots__ = ("_misses", "_rest", "seconds")

    def __init__(self) -> None:
        # Encoded, without the id; None: nothing is noted yet.
        self._rest: bytes | None = None
        self._misses = 0
        self.seconds = 0.0

    def read(self, frame: bytes) -> tuple[int, bool, bytes] | None:
        """Return a request's id, whether it proposes or else asks linearizably, and the data.

        None: it says something else than the noted one, or is none at all.
        """
        rest = self._rest
        size = len(frame)
        if rest is None or size < _BYTES_LEAST or frame[0] != _ID:
            return None
        number, at = frame[1], 2
        if number > 0x7F:
            number, at = read_varint(frame, 1)
            if at > _ID_ENDS_MOST:
                return None
        if not number or not frame.startswith(rest, at):
            return None
        at += len(rest)
        # The body, all of it that data, all of that the rest of the frame.
        if at + 4 >= size:
            return None
        tag, length = frame[at], frame[at + 1]
        begin = at = at + 2
        if length > 0x7F:
            length, at = read_varint(frame, at - 1)
        if at + length != size or length < 3 or at - begin > 3 or frame[at] != _DATA:
            return None
        length = frame[at + 1]
        begin = at = at + 2
        if length > 0x7F:
            length, at = read_varint(frame, at - 1)
        if at + length != size or not length or at - begin > 3:
            return None
        if tag == _QUERY:
            return number, False, frame[at:]
        return (number, True, frame[at:]) if tag == _PROPOSE else None

    def note(self, frame: bytes, request: Request) -> bool:
        """Remember what ``frame``, parsed by protobuf as ``request``, says beside id and data.

        Returns whether `read` takes it, and others like it, from now on.
        """
        if self._misses >= _MISSES_MAX:
            return False
        body = request.WhichOneof("body")
        if body == "propose":
            found = (request.id, True, request.propose.data)
        elif body == "query":
            found = (request.id, False, request.query.data)
        else:
            return False
        self._misses += 1
        # As whoever writes the fields in their order does; who does not is heard as before.
        rest = Request()
        rest.CopyFrom(request)
        rest.ClearField("id")
        rest.ClearField(body)
        before, self._rest = self._rest, rest.SerializeToString(deterministic=True)
        # True only if nothing else stands there: no key, no consistency, nothing said twice.
        if self.read(frame) == found:
            return True
        self._rest = before
        return False


def error_answer(request_id: int, signature: bytes, error: bytes) -> bytes:
    """Return an encoded ``Response`` that refuses.

    Args:
        request_id: Of the request.
        signature: The encoded fields that say who answers.
        error: The encoded field with the error.
    """
    return b"".join((b"\x08", varint(request_id), signature, error))


def query_answer(request_id: int, signature: bytes, result: bytes, index: int) -> bytes:
    """Return an encoded ``Response`` to a query.

    Args:
        request_id: Of the request.
        signature: The encoded fields that say who answers.
        result: What the state machine says.
        index: Of the entry that was applied last.
    """
    data = varint(len(result))
    tail = b"\x10" + varint(index)
    body = varint(1 + len(data) + len(result) + len(tail))
    return b"".join(
        (b"\x08", varint(request_id), signature, b"\x6a", body, b"\x0a", data, result, tail)
    )


def propose_answer(
    request_id: int, signature: bytes, index: int, term: int, outcome: int, result: bytes
) -> bytes:
    """Return an encoded ``Response`` to a proposal that was carried out now.

    Args:
        request_id: Of the request.
        signature: The encoded fields that say who answers.
        index, term: Of the entry.
        outcome: As ``ProposeReply.outcome``.
        result: What the state machine says.
    """
    body = b"".join(
        (
            b"\x08", varint(index), b"\x10", varint(term), b"\x18", varint(outcome),
            b"\x2a", varint(len(result)), result,
        )
    )  # fmt: skip
    return b"".join((b"\x08", varint(request_id), signature, b"\x62", varint(len(body)), body))
