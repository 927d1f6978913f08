"""The blocking client of the admin protocol: plain sockets, no event loop.

    with Client("/run/raftd/1.sock", "/run/raftd/2.sock") as client:
        reply = client.propose(b"hello", key="order-17")
        client.kv.put("colour", "green")

A client keeps one connection and uses it for one request at a time; a stream (``log_read``,
``watch``, ``events``) takes a connection of its own, so other requests go on meanwhile. When a
connection dies the next socket is tried. A client is not to be shared between threads; each may
have its own.

Everything a node refuses, and everything that goes wrong on the way, is raised as ``AdminError``.
Its ``outcome`` is UNKNOWN only if the node may have got the whole request and no answer came back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic, sleep
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from raftwire._attempts import Attempts, connection_lost, timed_out, wrong_answer
from raftwire._connection import (
    GRACE_S,
    Broken,
    Connection,
    Late,
    SocketPath,
    Unreachable,
    encode_call,
    socket_paths,
)
from raftwire.admin import (
    Call,
    Response,
    Wait,
)
from raftwire.client_calls import Calls
from raftwire.client_kv import Kv
from raftwire.errors import AdminError, Code, RemoteError
from raftwire.limits import REQUEST_TIMEOUT_MS
from raftwire.proto import admin_pb2 as pb

__all__ = ["Client", "Kv", "Proposed", "SocketPath"]

T = TypeVar("T")

#: Answers after which another member is the better one to ask.
ELSEWHERE = frozenset({Code.NOT_LEADER, Code.NO_LEADER, Code.NOT_MEMBER, Code.SHUTTING_DOWN})


class Proposed(NamedTuple):
    """What became of one proposal of ``propose_many``; either a reply or an error."""

    #: Its position among the inputs, from 0.
    position: int
    key: str
    reply: pb.ProposeReply | None
    error: AdminError | None
    #: From its first sending to its answer, seconds.
    took_s: float


class Client(Calls):
    """A blocking client of one or several nodes of a cluster.

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
        self.kv = Kv(self)
        self._at = 0
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The client may be used again; it then connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ---- one request, one answer ---------------------------------------------------------------

    def call(self, call: Call[T], timeout: float | None = None) -> T:
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
            try:
                return call.read(self._attempt(call, attempts.deadline, timeout_s))
            except Unreachable as unreachable:
                failure = unreachable.error
            except Broken as broken:
                # A request without effect may be asked again, seen or not.
                delivered = broken.delivered and call.writes
                path = self._drop()
                failure = broken.cause or connection_lost(call, path, delivered=delivered)
            except RemoteError as error:
                self._drop()
                raise wrong_answer(call, error) from None
            except AdminError as error:
                failure = error
                delivered = True
            delay = attempts.after(failure, monotonic(), delivered=delivered)
            if failure.code in ELSEWHERE and len(self.sockets) > 1:
                self._drop()
            if delay:
                sleep(delay)

    def _attempt(self, call: Call[Any], deadline: float, timeout_s: float) -> Response:
        connection = self._connection or self._connect(deadline)
        request_id = connection.new_id()
        left_ms = max(1, int((deadline - monotonic()) * 1000))
        frame = encode_call(call.request, request_id, left_ms, no_forward=self.no_forward)
        sent = False
        try:
            connection.send(frame, deadline + GRACE_S)
            sent = True
            response = connection.receive_for(request_id, deadline + GRACE_S)
        except Late:
            path = self._drop()
            if sent:
                raise timed_out(call, timeout_s) from None
            raise AdminError(
                Code.TIMEOUT, f"{path} did not take the request within {timeout_s:g} s"
            ) from None
        except Broken:
            raise
        except BaseException:
            # Interrupted: half a frame is sent, or an answer may come that nobody waits for.
            self._drop()
            raise
        self.last = response
        return response

    def _connect(self, deadline: float) -> Connection:
        try:
            self._connection = Connection(self.sockets[self._at], deadline - monotonic())
        except Unreachable:
            self.turn()
            raise
        return self._connection

    def turn(self) -> None:
        """Let the next connection go to the next socket."""
        self._at = (self._at + 1) % len(self.sockets)

    def _drop(self) -> str:
        """Give up the connection and turn to the next socket; return the path given up."""
        connection = self._connection
        if connection is None:
            return self.sockets[self._at]
        connection.close()
        self._connection = None
        self.turn()
        return connection.path

    def open_connection(self, attempts: Attempts) -> Connection:
        """Return a new connection, to the first socket that takes it.

        Raises:
            AdminError: None does.
        """
        while True:
            try:
                return Connection(self.sockets[self._at], attempts.deadline - monotonic())
            except Unreachable as unreachable:
                self.turn()
                sleep(attempts.after(unreachable.error, monotonic(), delivered=False))

    # ---- streams -------------------------------------------------------------------------------

    def stream(self, call: Call[T], timeout: float | None = None) -> Iterator[T]:
        """Send a request that is answered by a stream, on a connection of its own.

        Args:
            call: From a builder of ``raftwire.admin``.
            timeout: How long to wait for each answer, seconds; None: for ever.

        Yields:
            The body of each answer.

        Raises:
            AdminError: It failed; CONNECT when the connection ended before the stream did.
        """
        connection = self.open_connection(
            Attempts(call, monotonic() + self.timeout, sockets=len(self.sockets))
        )
        try:
            request_id = connection.new_id()
            deadline_ms = 0 if timeout is None else max(1, int(timeout * 1000))
            frame = encode_call(call.request, request_id, deadline_ms, no_forward=self.no_forward)
            connection.send(frame, monotonic() + self.timeout)
            more = True
            while more:
                deadline = None if timeout is None else monotonic() + timeout + GRACE_S
                response = connection.receive_for(request_id, deadline)
                self.last = response
                more = response.more
                yield call.read(response)
        except Broken as broken:
            raise (
                broken.cause or connection_lost(call, connection.path, delivered=False)
            ) from None
        except Late:
            raise timed_out(call, timeout or self.timeout) from None
        except RemoteError as error:
            raise wrong_answer(call, error) from None
        finally:
            connection.close()

    def resumed(
        self,
        call_from: Callable[[int], Call[T]],
        position: int,
        position_after: Callable[[T, int], int],
        timeout: float | None,
    ) -> Iterator[T]:
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
                for reply in self.stream(call_from(position), timeout):
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
                sleep(0.05)
            else:
                return

    # ---- many proposals -------------------------------------------------------------------------

    def propose_many(
        self,
        items: Iterable[bytes | tuple[bytes, str]],
        *,
        inflight: int = 64,
        wait: Wait = "applied",
        timeout: float | None = None,
    ) -> Iterator[Proposed]:
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
        from raftwire._pipeline import propose_many

        return propose_many(self, items, max(1, inflight), wait, timeout)
