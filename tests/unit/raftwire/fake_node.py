"""A node's admin socket in a thread, answering from a script: what the client tests talk to."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from raftwire.admin import Request, Response, parse_request
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import PEER_FRAME_BYTES_MAX

#: Takes a request and the connection; sends what it likes; returns whether the connection lives on.
Handler = Callable[[Request, "FakeConnection"], bool]


class FakeConnection:
    """An accepted connection, as a handler sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def answer(self, request: Request, response: Response, *, more: bool = False) -> None:
        """Send one answer to a request."""
        response.id = request.id
        response.more = more
        response.node = 1
        self.raw(encode_frame(response.SerializeToString()))

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        self.sock.sendall(data)


class FakeNode:
    """A listening Unix socket whose requests a handler answers."""

    def __init__(self, handler: Handler) -> None:
        self.directory = Path(tempfile.mkdtemp(dir="/tmp"))
        self.path = str(self.directory / "s")
        #: Every request received, in order.
        self.requests: list[Request] = []
        #: Connections accepted.
        self.accepted = 0
        self._handler = handler
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        decoder = FrameDecoder(PEER_FRAME_BYTES_MAX)
        connection = FakeConnection(sock)
        try:
            while data := sock.recv(65536):
                for frame in decoder.feed(data):
                    request = parse_request(frame)
                    self.requests.append(request)
                    if not self._handler(request, connection):
                        return
        except OSError:
            return
        finally:
            # shutdown reaches the client even while another thread is in recv.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        """Stop listening, drop every connection, remove the socket."""
        for sock in (self._listener, *self._connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)
        shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
