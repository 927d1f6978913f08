"""The asyncio client of the admin protocol: many requests on their way over one connection.

    async with AsyncClient("/run/raftd/1.sock") as client:
        await asyncio.gather(*(client.propose(b"%d" % n) for n in range(1000)))

It has the methods of ``raftwire.Client``, as coroutines and asynchronous iterators, with the same
meaning. Requests made in one turn of the event loop leave in one system call. A stream takes a
connection of its own, so a slow reader holds up nobody else. A client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from raftwire import admin
from raftwire._attempts import (
    Attempts,
    cannot_connect,
    connection_lost,
    timed_out,
    wrong_answer,
)
from raftwire._connection import (
    GRACE_S,
    RECEIVE_BYTES,
    Broken,
    SocketPath,
    Unreachable,
    check_path,
    encode_call,
    socket_paths,
)
from raftwire.admin import (
    Call,
    Response,
    Wait,
)
from raftwire.aio_calls import AsyncCalls
from raftwire.aio_kv import AsyncKv
from raftwire.client import ELSEWHERE, Proposed
from raftwire.errors import AdminError, Code, LocalError, RemoteError
from raftwire.frame import FrameDecoder
from raftwire.limits import ADMIN_RESPONSE_BYTES_MAX, REQUEST_TIMEOUT_MS
from raftwire.proto import admin_pb2 as pb

__all__ = ["AsyncClient", "AsyncKv", "Proposed"]

T = TypeVar("T")


class _Link(asyncio.Protocol):
    """One connection: frames out, answers to whoever waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._decoder = FrameDecoder(ADMIN_RESPONSE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._next_id = 0
        # Who waits, by request id.
        self._waiters: dict[int, asyncio.Future[Response]] = {}
        # Frames of this turn of the loop; they leave together at its end.
        self._outbound: list[bytes] = []
        self._writable: asyncio.Future[None] | None = None
        self.closed = False
        self._retired = False

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                response = admin.parse_response(frame)
                waiter = self._waiters.pop(response.id, None)
                if waiter is not None:
                    if not waiter.done():
                        waiter.set_result(response)
                elif response.id == 0 and response.HasField("error"):
                    cause = admin.error_from_response(response)
                    # It means the request that arrived last; of several nobody knows which.
                    alone = len(self._waiters) == 1
                    self._break(Broken(delivered=not alone, cause=cause))
                    return
        except RemoteError:
            self._break(Broken(delivered=True))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(Broken(delivered=True))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # Called by the client.

    async def ready(self) -> None:
        """Wait until the node takes more."""
        if self._writable is not None:
            await self._writable

    def ask(
        self, request: pb.Request, deadline: float, *, no_forward: bool
    ) -> tuple[int, asyncio.Future[Response]]:
        """Send a request; return its id and what will be its answer.

        Raises:
            AdminError: It is too large; nothing was sent.
        """
        self._next_id += 1
        request_id = self._next_id
        left_ms = max(1, int((deadline - monotonic()) * 1000))
        frame = encode_call(request, request_id, left_ms, no_forward=no_forward)
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiters[request_id] = waiter
        if not self._outbound:
            self._loop.call_soon(self._flush)
        self._outbound.append(frame)
        return request_id, waiter

    def forget(self, request_id: int) -> None:
        """Let an answer be dropped when it comes."""
        self._waiters.pop(request_id, None)
        if self._retired and not self._waiters:
            self.close()

    def retire(self) -> None:
        """Close the connection once nobody waits for an answer any more."""
        self._retired = True
        if not self._waiters:
            self.close()

    def _flush(self) -> None:
        frames = self._outbound
        if frames and self._transport is not None and not self.closed:
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        frames.clear()

    def _break(self, broken: Broken) -> None:
        self.close()
        self.resume_writing()
        waiters = list(self._waiters.values())
        self._waiters.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(Broken(delivered=broken.delivered, cause=broken.cause))

    def close(self) -> None:
        """Close the connection; who waits hears of it when the loop has noticed."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()


def _late(waiter: asyncio.Future[Response]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class AsyncClient(AsyncCalls):
    """An asyncio client of one or several nodes of a cluster.

    Args:
        sockets: Admin sockets of members. Any will do: requests are forwarded to the leader. When
            one dies the next is tried.
        timeout: How long a request may take if the call does not say, seconds.
        no_forward: Have nodes refuse with NOT_LEADER instead of asking the leader.
        retries: Whether requests that may be repeated safely (reads, proposals with a key) are,
            until their deadline.

    Attributes:
        last: The last answer's envelope: node, leader, term, cluster_id, as_of_ms.
        kv: The key-value state machine's commands.
    """

    def __init__(
        self,
        *sockets: SocketPath | Sequence[SocketPath],
        timeout: float = REQUEST_TIMEOUT_MS / 1000,
        no_forward: bool = False,
        retries: bool = True,
    ) -> None:
        self.sockets = socket_paths(sockets)
        self.timeout = timeout
        self.no_forward = no_forward
        self.retries = retries
        self.last: Response | None = None
        self.kv = AsyncKv(self)
        self._at = 0
        self._link: _Link | None = None
        self._path = self.sockets[0]
        # One dials, all others wait for it.
        self._dialing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. The client may be used again; it then connects anew."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
            # The transport closes in the next turn of the loop.
            await asyncio.sleep(0)

    # ---- one request, one answer ---------------------------------------------------------------

    async def call(self, call: Call[T], timeout: float | None = None) -> T:
        """Send a request and return the body of its answer.

        Args:
            call: From a builder of ``raftwire.admin``.
            timeout: For all attempts together, seconds.

        Raises:
            AdminError: It failed.
        """
        timeout_s = self.timeout if timeout is None else timeout
        attempts = Attempts(
            call, monotonic() + timeout_s, sockets=len(self.sockets), retries=self.retries
        )
        while True:
            delivered = False
            link: _Link | None = None
            path = self._path
            try:
                link = self._link
                if link is None or link.closed:
                    link = await self._connect(attempts.deadline)
                path = self._path
                return call.read(await self._attempt(link, call, attempts.deadline, timeout_s))
            except Unreachable as unreachable:
                failure = unreachable.error
            except Broken as broken:
                # A request without effect may be asked again, seen or not.
                delivered = broken.delivered and call.writes
                self._drop(link)
                cause = broken.cause
                if cause is None or delivered:
                    reason = cause.message if cause else ""
                    cause = connection_lost(call, path, delivered=delivered, reason=reason)
                failure = cause
            except RemoteError as error:
                self._drop(link)
                raise wrong_answer(call, error) from None
            except AdminError as error:
                failure = error
                delivered = True
            delay = attempts.after(failure, monotonic(), delivered=delivered)
            if failure.code in ELSEWHERE and len(self.sockets) > 1 and link and self._link is link:
                # Others may still wait for their answers there: only new requests go elsewhere.
                link.retire()
                self._link = None
                self.turn()
            if delay:
                await asyncio.sleep(delay)

    async def _attempt(
        self, link: _Link, call: Call[Any], deadline: float, timeout_s: float
    ) -> Response:
        loop = asyncio.get_running_loop()
        await link.ready()
        if link.closed:
            raise Broken(delivered=False)
        request_id, waiter = link.ask(call.request, deadline, no_forward=self.no_forward)
        timer = loop.call_later(deadline + GRACE_S - monotonic(), _late, waiter)
        try:
            response = await waiter
        except TimeoutError:
            raise timed_out(call, timeout_s) from None
        finally:
            timer.cancel()
            link.forget(request_id)
        self.last = response
        return response

    async def _connect(self, deadline: float) -> _Link:
        async with self._dialing:
            if self._link is not None:
                if not self._link.closed:
                    return self._link
                # It died, and whoever waited there has not been told yet.
                self._drop(self._link)
            path = self.sockets[self._at]
            loop = asyncio.get_running_loop()
            try:
                check_path(path)
                async with asyncio.timeout(max(deadline - monotonic(), 0.001)):
                    _, self._link = await loop.create_unix_connection(lambda: _Link(loop), path)
            except Unreachable:
                self.turn()
                raise
            except OSError as error:
                self.turn()
                raise Unreachable(cannot_connect(path, error)) from None
            self._path = path
            return self._link

    def turn(self) -> None:
        """Let the next connection go to the next socket."""
        self._at = (self._at + 1) % len(self.sockets)

    def _drop(self, link: _Link | None) -> None:
        if link is not None:
            link.close()
            if link is self._link:
                self._link = None
                self.turn()

    # ---- streams -------------------------------------------------------------------------------

    async def _open_stream(
        self, call: Call[Any]
    ) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
        attempts = Attempts(call, monotonic() + self.timeout, sockets=len(self.sockets))
        while True:
            path = self.sockets[self._at]
            try:
                check_path(path)
                async with asyncio.timeout(self.timeout):
                    reader, writer = await asyncio.open_unix_connection(path, limit=RECEIVE_BYTES)
            except Unreachable as unreachable:
                failure = unreachable.error
            except OSError as error:
                failure = cannot_connect(path, error)
            else:
                return path, reader, writer
            self.turn()
            await asyncio.sleep(attempts.after(failure, monotonic(), delivered=False))

    async def stream(self, call: Call[T], timeout: float | None = None) -> AsyncIterator[T]:
        """Send a request that is answered by a stream, on a connection of its own.

        Args:
            call: From a builder of ``raftwire.admin``.
            timeout: How long to wait for each answer, seconds; None: for ever.

        Yields:
            The body of each answer.

        Raises:
            AdminError: It failed; CONNECT when the connection ended before the stream did.
        """
        path, reader, writer = await self._open_stream(call)
        decoder = FrameDecoder(ADMIN_RESPONSE_BYTES_MAX)
        inbox: deque[Response] = deque()
        try:
            deadline_ms = 0 if timeout is None else max(1, int(timeout * 1000))
            writer.write(encode_call(call.request, 1, deadline_ms, no_forward=self.no_forward))
            await writer.drain()
            more = True
            while more:
                while not inbox:
                    async with asyncio.timeout(None if timeout is None else timeout + GRACE_S):
                        data = await reader.read(RECEIVE_BYTES)
                    if not data:
                        raise connection_lost(call, path, delivered=False)
                    inbox.extend(admin.parse_response(frame) for frame in decoder.feed(data))
                response = inbox.popleft()
                if response.id not in (0, 1):
                    continue
                self.last = response
                more = response.more
                yield call.read(response)
        except TimeoutError:
            raise timed_out(call, timeout or self.timeout) from None
        except OSError:
            raise connection_lost(call, path, delivered=False) from None
        except RemoteError as error:
            raise wrong_answer(call, error) from None
        finally:
            writer.close()

    async def resumed(
        self,
        call_from: Callable[[int], Call[T]],
        position: int,
        position_after: Callable[[T, int], int],
        timeout: float | None,
    ) -> AsyncIterator[T]:
        """Yield a stream's answers; go on behind the last one when its connection dies.

        Args:
            call_from: Makes the request that starts at a position.
            position: Where to start.
            position_after: The position to go on from after an answer, given the one before.
            timeout: As ``stream``.

        Raises:
            AdminError: It failed, or no socket could be connected to for as long as
                ``self.timeout``.
        """
        answered = False
        lost_at: float | None = None
        while True:
            began_at = monotonic()
            try:
                async for reply in self.stream(call_from(position), timeout):
                    answered = True
                    lost_at = None
                    position = position_after(reply, position)
                    yield reply
            except AdminError as error:
                # What never worked is not resumed.
                if not answered or error.code not in (Code.CONNECT, Code.SHUTTING_DOWN):
                    raise
                now = monotonic()
                if lost_at is None or now - began_at > self.timeout:
                    lost_at = now
                elif now - lost_at > self.timeout:
                    raise
                self.turn()
                await asyncio.sleep(0.05)
            else:
                return

    # ---- many proposals -------------------------------------------------------------------------

    async def propose_many(
        self,
        items: Iterable[bytes | tuple[bytes, str]],
        *,
        inflight: int = 64,
        wait: Wait = "applied",
        timeout: float | None = None,
    ) -> AsyncIterator[Proposed]:
        """Propose many commands, several on their way at once; yield what became of each, in order.

        A failure is yielded, not raised; the others go on. Proposals on their way at once may be
        applied in another order than given. Those with a key are sent again when the connection
        dies.

        Args:
            items: Commands, or pairs of command and key.
            inflight: How many may be unanswered, at least 1.
            wait: As ``propose``.
            timeout: For each, seconds.
        """
        timeout_s = self.timeout if timeout is None else timeout
        tasks: deque[asyncio.Task[Proposed]] = deque()
        try:
            for position, item in enumerate(items):
                data, key = item if isinstance(item, tuple) else (item, "")
                one = self._propose_one(position, data, key, wait, timeout_s)
                tasks.append(asyncio.create_task(one))
                if len(tasks) >= max(1, inflight):
                    yield await tasks.popleft()
            while tasks:
                yield await tasks.popleft()
        finally:
            for task in tasks:
                task.cancel()

    async def _propose_one(
        self, position: int, data: bytes, key: str, wait: Wait, timeout_s: float
    ) -> Proposed:
        began_at = monotonic()
        try:
            reply = await self.propose(data, key, wait=wait, timeout=timeout_s)
        except LocalError as error:
            failure = AdminError(Code.INVALID_REQUEST, str(error))
        except AdminError as error:
            failure = error
        else:
            return Proposed(position, key, reply, None, monotonic() - began_at)
        return Proposed(position, key, None, failure, monotonic() - began_at)
