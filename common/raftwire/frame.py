"""Frames: a 4-byte big-endian length, then that many bytes. Sans-I/O.

Both directions of both protocols use it. A length of zero or above the limit is refused before a
byte is reserved for it, so no stranger's four bytes can make a node allocate more than its limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NoReturn

from raftwire.errors import FrameError, LocalError

HEADER_BYTES: Final = 4

_PIECE_BYTES_LEAST: Final = 4096
"""Smaller pieces of an unfinished frame are joined as they come: kept apart, each would take many
times its size."""

_HEADER: Final = Struct(">I")
_unpack_from = _HEADER.unpack_from
_pack = _HEADER.pack


def encode_frame(payload: bytes) -> bytes:
    """Return ``payload`` behind its length.

    Raises:
        LocalError: It is empty, or longer than four bytes can say.
    """
    size = len(payload)
    if not 0 < size <= 0xFFFF_FFFF:
        raise LocalError(f"a frame of {size} bytes cannot be encoded; the range is 1 to 2^32-1")
    return _pack(size) + payload


def encode_frames(payloads: Iterable[bytes]) -> bytes:
    """Return all ``payloads``, each behind its length, as one piece for one system call.

    Raises:
        LocalError: As for ``encode_frame``.
    """
    parts: list[bytes] = []
    for payload in payloads:
        size = len(payload)
        if not 0 < size <= 0xFFFF_FFFF:
            raise LocalError(f"a frame of {size} bytes cannot be encoded; the range is 1 to 2^32-1")
        parts.append(_pack(size))
        parts.append(payload)
    return b"".join(parts)


class FrameDecoder:
    """Cut a byte stream into frames, however it was split on the way.

    Holds at most one unfinished frame: no more than ``bytes_max`` and its header. After a
    FrameError the stream has no defined place to go on from: the decoder stays failed and the
    connection must be closed.
    """

    __slots__ = ("_failure", "_need", "_pieces", "bytes_max", "pending_bytes")

    def __init__(self, bytes_max: int) -> None:
        if not 0 < bytes_max <= 0xFFFF_FFFF:
            raise ValueError(f"bytes_max must be 1 to 2^32-1, not {bytes_max}")
        #: Longest frame accepted, bytes without the header. May be raised after a hello.
        self.bytes_max = bytes_max
        #: Bytes of an unfinished frame held back; 0 when the stream stands between frames.
        self.pending_bytes = 0
        # What is left of an unfinished frame, from its header on, in the pieces it came in: a large
        # one is put together once, when it is whole. Empty between frames.
        self._pieces: list[bytes | bytearray] = []
        # Bytes there must be before it is worth looking at them again.
        self._need = HEADER_BYTES
        self._failure: tuple[str, bool] | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take the next bytes of the stream; return the frames they complete, without lengths.

        Frames that precede a bad length in the same piece are lost with it: the sender is broken
        or hostile.

        Raises:
            FrameError: A length is zero or above ``bytes_max``. Every later call raises it again.
        """
        if self._failure is not None:
            self._raise()
        # bytes(bytes) is the same object: the common case copies nothing but the frames.
        source = bytes(data)
        if not self.pending_bytes:
            size = len(source) - HEADER_BYTES
            if 0 < size <= self.bytes_max and _unpack_from(source)[0] == size:
                return [source[HEADER_BYTES:]]  # One frame and nothing else, as most often.
            return self._cut(source)
        need, total = self._need, self.pending_bytes + len(source)
        if total < need:
            self._keep(source)
            return []
        pieces, self._pieces = self._pieces, []
        self.pending_bytes = 0
        if need == HEADER_BYTES:
            return self._cut(b"".join((*pieces, source)))
        # Its size was read, so its header is in the first piece. Join what is of this frame alone.
        first = memoryview(pieces[0])[HEADER_BYTES:]
        used = len(source) - (total - need)
        frame = b"".join((first, *pieces[1:], memoryview(source)[:used]))
        return [frame, *self._cut(source[used:])]

    def _keep(self, data: bytes) -> None:
        """Hold back a piece of an unfinished frame."""
        pieces = self._pieces
        self.pending_bytes += len(data)
        if len(data) >= _PIECE_BYTES_LEAST:
            pieces.append(data)
        elif pieces and isinstance(pieces[-1], bytearray):
            pieces[-1] += data
        else:
            pieces.append(bytearray(data))

    def _cut(self, source: bytes) -> list[bytes]:
        frames: list[bytes] = []
        append = frames.append
        total = len(source)
        limit = self.bytes_max
        at = 0
        need = HEADER_BYTES
        while total - at >= HEADER_BYTES:
            (size,) = _unpack_from(source, at)
            if not 0 < size <= limit:
                self._fail(size)
            end = at + HEADER_BYTES + size
            if end > total:
                need = HEADER_BYTES + size
                break
            append(source[at + HEADER_BYTES : end])
            at = end
        self._need = need
        if at < total:
            self._keep(source[at:] if at else source)
        return frames

    def _fail(self, size: int) -> NoReturn:
        self._failure = (
            ("a frame of zero bytes was announced", False)
            if size == 0
            else (f"a frame of {size} bytes was announced; the limit is {self.bytes_max}", True)
        )
        self._raise()

    def _raise(self) -> NoReturn:
        assert self._failure is not None
        message, oversized = self._failure
        raise FrameError(message, oversized=oversized)

    def eof(self) -> None:
        """Say that the stream has ended.

        Raises:
            FrameError: It ended inside a frame, so its last message is lost.
        """
        if self.pending_bytes:
            raise FrameError(
                f"the stream ended inside a frame, after {self.pending_bytes} bytes of it"
            )
