"""A small HTTP server for probes, metrics and the live page: GET, no bodies, nothing to change.

It runs on the node's own event loop, so that a loop that stands still answers no probe. What it
takes is bounded: connections, the size of a request, the time for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, cast

from raftd.log import Log
from raftd.values import split_address
from raftwire.limits import KIB

CONNECTIONS_MAX: Final = 64
HEAD_BYTES_MAX: Final = 8 * KIB
REQUEST_SECONDS: Final = 5.0

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_COMMON: Final = (
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Connection: close\r\n"
)


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: str = ""
    """Further header lines, each with its end."""


Route = Callable[[], Awaitable[Answer]]


class _Connection(asyncio.Protocol):
    """One request, one answer."""

    def __init__(self, server: "WebServer") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        if not self._server.admit(self):
            self._answer(Answer(503, b"too many connections\n"))
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(REQUEST_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._task is not None or self._transport is None:
            return  # Whatever follows the first request is not read.
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) <= HEAD_BYTES_MAX:
            return
        if end < 0 or end > HEAD_BYTES_MAX:
            self._answer(Answer(431, b"the request is too long\n"))
            return
        head, self._head = self._head[:end], b""
        self._task = asyncio.get_running_loop().create_task(self._serve(head))

    async def _serve(self, head: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            self._answer(Answer(400, b"that is no HTTP request\n"))
            return
        method, target = words[0], words[1].split(b"?", 1)[0].decode("latin-1")
        route = self._server.routes.get(target)
        if route is None:
            known = ", ".join(sorted(self._server.routes))
            answer = Answer(404, f"there is {known}\n".encode())
        elif method not in (b"GET", b"HEAD"):
            answer = Answer(405, b"only GET\n", headers="Allow: GET, HEAD\r\n")
        else:
            try:
                answer = await route()
            except Exception as error:
                self._server.failed(target, error)
                answer = Answer(500, b"this failed; the reason is in the log\n")
        self._answer(answer, body=method != b"HEAD")

    def _answer(self, answer: Answer, *, body: bool = True) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
            f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body)}\r\n"
            f"{_COMMON}{answer.headers}\r\n"
        )
        transport.write(head.encode("latin-1") + (answer.body if body else b""))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._task is not None:
            self._task.cancel()
        self._server.forget(self)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class WebServer:
    """Serves a few paths.

    Attributes:
        routes: What answers each path.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.routes: dict[str, Route] = {}

    async def listen(self, address: str) -> None:
        """Listen on ``host:port``.

        Raises:
            OSError: the address cannot be bound.
        """
        host, port = split_address(address)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), host, port
        )

    def admit(self, connection: _Connection) -> bool:
        """Take in a connection, if there is room."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def failed(self, path: str, error: Exception) -> None:
        """An answer could not be made."""
        self._log.error("page failed", path=path, exc_info=error)

    def close(self) -> None:
        """Listen no more and close all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
