"""One connected admin socket: frames out, responses in, and what it means when it breaks.

The blocking half of the clients' plumbing; the asyncio half is in ``raftwire.aio``.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final

from raftwire import admin
from raftwire._attempts import cannot_connect
from raftwire.admin import Request, Response
from raftwire.errors import AdminError, Code, LocalError, RemoteError
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import (
    ADMIN_FRAME_BYTES_MAX,
    ADMIN_RESPONSE_BYTES_MAX,
    SOCKET_PATH_BYTES_MAX,
)

SocketPath = str | os.PathLike[str]

RECEIVE_BYTES: Final = 256 * 1024

#: How much longer than the deadline told to the node a client waits for the node's own verdict.
GRACE_S: Final = 0.25


class Unreachable(Exception):
    """No connection could be made. Nothing was asked."""

    def __init__(self, error: AdminError) -> None:
        super().__init__(error.message)
        self.error = error


class Broken(Exception):
    """A connection ended. ``delivered``: the node may have got the whole request."""

    def __init__(self, *, delivered: bool, cause: AdminError | None = None) -> None:
        super().__init__(delivered)
        self.delivered = delivered
        #: What the node said about the connection as a whole before it closed it.
        self.cause = cause


class Late(Exception):
    """The deadline has passed while waiting for the node."""


class Connection:
    """One connected socket: frames out, responses in."""

    __slots__ = ("_decoder", "_next_id", "inbox", "path", "sock")

    def __init__(self, path: str, timeout_s: float) -> None:
        self.path = path
        self.sock = open_socket(path, timeout_s)
        self._decoder = FrameDecoder(ADMIN_RESPONSE_BYTES_MAX)
        self.inbox: deque[Response] = deque()
        self._next_id = 0

    def new_id(self) -> int:
        """Return an id that this connection has not used yet."""
        self._next_id += 1
        return self._next_id

    def close(self) -> None:
        """Close it; more than once does no harm."""
        self.sock.close()

    def send(self, frame: bytes, deadline: float) -> None:
        """Hand a whole frame to the kernel.

        Raises:
            Broken: Never with ``delivered``: a frame that is cut off cannot be acted upon.
            Late: Neither.
        """
        sock = self.sock
        view: bytes | memoryview = frame
        try:
            while True:
                left = deadline - monotonic()
                if left <= 0:
                    raise Late
                sock.settimeout(left)
                sent = sock.send(view)
                if sent == len(view):
                    return
                view = memoryview(view)[sent:]
        except TimeoutError:
            raise Late from None
        except OSError:
            raise Broken(delivered=False, cause=self.last_words()) from None

    def last_words(self) -> AdminError | None:
        """Return what the node said before it closed on us; a refusal of what we were sending."""
        try:
            self.sock.settimeout(0)
            for _ in range(64):
                data = self.sock.recv(RECEIVE_BYTES)
                if not data:
                    break
                self.take(data)
        except (OSError, RemoteError):
            pass
        for response in self.inbox:
            if response.id == 0 and response.HasField("error"):
                return admin.error_from_response(response)
        return None

    def receive(self, deadline: float | None) -> Response:
        """Return the next response.

        Raises:
            Broken: The connection ended, or what arrived is not the protocol.
            Late: The deadline has passed.
        """
        inbox = self.inbox
        while not inbox:
            if deadline is None:
                self.sock.settimeout(None)
            else:
                left = deadline - monotonic()
                if left <= 0:
                    raise Late
                self.sock.settimeout(left)
            try:
                data = self.sock.recv(RECEIVE_BYTES)
                if data:
                    self.take(data)
                    continue
            except TimeoutError:
                raise Late from None
            except (OSError, RemoteError):
                raise Broken(delivered=True) from None
            raise Broken(delivered=True)
        return inbox.popleft()

    def receive_for(self, request_id: int, deadline: float | None) -> Response:
        """Return the next response to one request; what answers an abandoned one is dropped.

        Raises:
            Broken, Late: As ``receive``.
        """
        while True:
            response = self.receive(deadline)
            if response.id == request_id:
                return response
            if response.id == 0 and response.HasField("error"):
                raise Broken(delivered=False, cause=admin.error_from_response(response))

    def take(self, data: bytes) -> None:
        """Add the responses that ``data`` completes to the inbox.

        Raises:
            RemoteError: It is not the protocol.
        """
        for frame in self._decoder.feed(data):
            self.inbox.append(admin.parse_response(frame))


def check_path(path: str) -> None:
    """Refuse what the kernel would cut off.

    Raises:
        Unreachable: The path is longer than a socket's may be.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        error = AdminError(
            Code.CONNECT,
            f"{path}: the path of a Unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes",
            hint="use a shorter path, or change into its directory and name it from there",
            details={"socket": path},
        )
        raise Unreachable(error)


def open_socket(path: str, timeout_s: float) -> socket.socket:
    """Return a socket connected to ``path``.

    Raises:
        Unreachable: It cannot be.
    """
    check_path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(timeout_s, 0.001))
        sock.connect(path)
    except OSError as failure:
        sock.close()
        raise Unreachable(cannot_connect(path, failure)) from None
    return sock


def encode_call(request: Request, request_id: int, deadline_ms: int, *, no_forward: bool) -> bytes:
    """Return a request as a frame.

    Raises:
        AdminError: TOO_LARGE: no node takes a frame of that size; nothing was sent.
    """
    request.id = request_id
    request.deadline_ms = deadline_ms
    request.protocol = admin.PROTOCOL_MAX
    request.no_forward = no_forward
    payload = request.SerializeToString()
    if len(payload) > ADMIN_FRAME_BYTES_MAX:
        raise AdminError(
            Code.TOO_LARGE,
            f"the request takes {len(payload)} bytes; no node accepts more than "
            f"{ADMIN_FRAME_BYTES_MAX}",
            details={"bytes": len(payload), "bytes_max": ADMIN_FRAME_BYTES_MAX},
        )
    return encode_frame(payload)


def socket_paths(sockets: Sequence[SocketPath | Sequence[SocketPath]]) -> list[str]:
    """Return the paths of sockets given one by one, or as a list."""
    paths: list[str] = []
    for item in sockets:
        if isinstance(item, str | os.PathLike):
            paths.append(os.fspath(item))
        else:
            paths.extend(os.fspath(path) for path in item)
    if not paths:
        raise LocalError("a client needs at least one socket path")
    return paths
