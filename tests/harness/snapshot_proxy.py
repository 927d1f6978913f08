"""A TCP proxy before one node that holds up, cuts and spoils snapshot connections to it.

It works on frames, not on bytes as they come, so what it does depends on no buffer's size and on
no machine's speed: a piece of a snapshot is passed on whole, or it is not.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from raftwire.peer import Hello, PeerFrame


class Cut(Exception):
    """Raised by a rule: the connection ends here, after ``rest`` was passed on."""

    def __init__(self, rest: bytes = b"") -> None:
        super().__init__()
        self.rest = rest


Rule = Callable[[int, PeerFrame, bytes], bytes]
"""(attempt from 1, frame, its payload) -> the payload to pass on; may raise `Cut`."""


@dataclass(frozen=True)
class Piece:
    """One piece that was passed on as it came."""

    attempt: int
    offset: int
    size: int
    at: float
    """When, by the monotonic clock."""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.size


class SnapshotProxy:
    """Passes what comes to its port on to another; each frame of a snapshot by ``rule``.

    Attributes:
        rule: May be changed at any time; None: pass everything.
        hold_from: Pieces from this offset on wait until it is None, or the connection was cut.
        pieces: What was passed on.
        resumed: For each attempt that got so far, the offset that the receiver asked for.
        attempts: Snapshot connections so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.rule: Rule | None = None
        self.hold_from: int | None = None
        self.pieces: list[Piece] = []
        self.resumed: dict[int, int] = {}
        self.attempts = 0
        self.holding = False
        self._cuts = 0
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits in accept.
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    @property
    def carried(self) -> int:
        """Bytes of the pieces passed on."""
        return sum(piece.size for piece in self.pieces)

    def cut(self) -> None:
        """Cut every connection; what is held up is dropped."""
        self._cuts += 1
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            node = socket.create_connection(("127.0.0.1", self._target), 5.0)
        except OSError:
            client.close()
            return
        node.settimeout(None)
        self._open |= {client, node}
        try:
            hello = _frame(client)
            node.sendall(_framed(hello))
            if Hello.FromString(hello).kind == Hello.SNAPSHOT:
                self.attempts += 1
                attempt = self.attempts
                back = threading.Thread(
                    target=self._answers, args=(node, client, attempt), daemon=True
                )
                back.start()
                self._snapshot(client, node, attempt)
            else:
                back = threading.Thread(target=_pump, args=(node, client), daemon=True)
                back.start()
                _pump(client, node)
            # Towards the node the connection ends in good order: it gets all that was passed on.
            back.join()
        except OSError:
            pass
        finally:
            self._open -= {client, node}
            client.close()
            node.close()

    def _snapshot(self, client: socket.socket, node: socket.socket, attempt: int) -> None:
        cuts = self._cuts
        try:
            while True:
                payload = _frame(client)
                frame = PeerFrame.FromString(payload)
                passed = payload if self.rule is None else self.rule(attempt, frame, payload)
                if frame.HasField("chunk"):
                    while self.hold_from is not None and frame.chunk.offset >= self.hold_from:
                        self.holding = True
                        if self._cuts != cuts:
                            return
                        time.sleep(0.01)
                    self.holding = False
                node.sendall(_framed(passed))
                if frame.HasField("chunk") and passed == payload:
                    chunk = frame.chunk
                    self.pieces.append(
                        Piece(attempt, chunk.offset, len(chunk.data), time.monotonic())
                    )
        except Cut as cut:
            node.sendall(cut.rest)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        finally:
            with contextlib.suppress(OSError):
                node.shutdown(socket.SHUT_WR)

    def _answers(self, node: socket.socket, client: socket.socket, attempt: int) -> None:
        try:
            client.sendall(_framed(_frame(node)))  # The answer to the hello.
            while True:
                payload = _frame(node)
                frame = PeerFrame.FromString(payload)
                if frame.HasField("resume"):
                    self.resumed.setdefault(attempt, frame.resume.offset)
                with contextlib.suppress(OSError):
                    client.sendall(_framed(payload))
        except OSError:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def _frame(sock: socket.socket) -> bytes:
    return _exactly(sock, int.from_bytes(_exactly(sock, 4), "big"))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return bytes(data)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(64 * 1024):
            target.sendall(piece)
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
