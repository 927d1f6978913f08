"""Many proposals on their way at once, over a blocking client: one loop, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from select import POLLIN, POLLOUT, poll
from time import monotonic, sleep
from typing import TYPE_CHECKING

from raftwire import admin
from raftwire._attempts import Attempts, connection_lost, timed_out, wrong_answer
from raftwire._connection import GRACE_S, RECEIVE_BYTES, Broken, Connection, encode_call
from raftwire.admin import Call, Response, Wait
from raftwire.errors import AdminError, Code, LocalError, RemoteError
from raftwire.proto.admin_pb2 import ProposeReply

if TYPE_CHECKING:
    from raftwire.client import Client, Proposed

_SEND_BYTES = 256 * 1024


class _Item:
    """One proposal, from its input to its verdict."""

    __slots__ = (
        "attempts",
        "call",
        "done",
        "end",
        "key",
        "not_before",
        "position",
        "start",
        "started_at",
    )

    def __init__(
        self, position: int, key: str, call: Call[ProposeReply], attempts: Attempts, now: float
    ) -> None:
        self.position = position
        self.key = key
        self.call = call
        self.attempts = attempts
        self.started_at = now
        #: Not to be sent (again) before this moment.
        self.not_before = now
        #: Where its frame lies in what this connection has to send.
        self.start = self.end = 0
        self.done: Proposed | None = None


def propose_many(
    client: Client,
    items: Iterable[bytes | tuple[bytes, str]],
    inflight: int,
    wait: Wait,
    timeout: float | None,
) -> Iterator[Proposed]:
    """Yield what becomes of each proposal, in the order given; see ``Client.propose_many``."""
    pipeline = _Pipeline(client, wait, client.timeout if timeout is None else timeout)
    source = iter(items)
    exhausted = False
    try:
        while True:
            while not exhausted and pipeline.unfinished < inflight:
                try:
                    pipeline.add(next(source))
                except StopIteration:
                    exhausted = True
            while pipeline.order and (done := pipeline.order[0].done) is not None:
                pipeline.order.popleft()
                yield done
            if pipeline.unfinished:
                pipeline.step()
            elif exhausted and not pipeline.order:
                return
    finally:
        pipeline.drop()


class _Pipeline:
    """The state of one ``propose_many``."""

    def __init__(self, client: Client, wait: Wait, timeout_s: float) -> None:
        from raftwire.client import Proposed

        self._proposed = Proposed
        self._client = client
        self._wait = wait
        self._timeout_s = timeout_s
        self._count = 0
        #: Items not yet yielded, in input order.
        self.order: deque[_Item] = deque()
        #: How many of them have no verdict yet.
        self.unfinished = 0
        # To be sent, and sent (or being sent) by request id.
        self._waiting: deque[_Item] = deque()
        self._sent: dict[int, _Item] = {}
        self._connection: Connection | None = None
        self._outbound = bytearray()
        # Bytes of this connection that were handed over, and that were put into _outbound ever.
        self._handed = 0
        self._written = 0

    def add(self, value: bytes | tuple[bytes, str]) -> None:
        """Take the next input."""
        data, key = value if isinstance(value, tuple) else (value, "")
        now = monotonic()
        position = self._count
        self._count += 1
        try:
            call = admin.propose(data, key, self._wait)
        except LocalError as error:
            call = admin.propose(data, "", self._wait)
            item = _Item(position, key, call, self._attempts(call, now), now)
            self.order.append(item)
            self.unfinished += 1
            self._finish(item, None, AdminError(Code.INVALID_REQUEST, str(error)))
            return
        item = _Item(position, key, call, self._attempts(call, now), now)
        self.order.append(item)
        self.unfinished += 1
        self._waiting.append(item)

    def _attempts(self, call: Call[ProposeReply], now: float) -> Attempts:
        client = self._client
        return Attempts(
            call, now + self._timeout_s, sockets=len(client.sockets), retries=client.retries
        )

    def step(self) -> None:
        """Send and receive until something has happened."""
        now = monotonic()
        self._expire(now)
        if not self.unfinished:
            return
        if not self._connect():
            return
        connection = self._connection
        assert connection is not None
        self._encode(connection, now)
        wake_at = self._next_moment()
        if not self._sent and not self._outbound:
            # All that is left waits for its next attempt.
            sleep(max(0.0, min(wake_at - monotonic(), 0.05)))
            return
        poller = poll()
        poller.register(connection.sock, POLLIN | (POLLOUT if self._outbound else 0))
        ready = poller.poll(max(0.0, (wake_at - monotonic()) * 1000) + 1)
        try:
            for _, events in ready:
                if events & POLLOUT:
                    self._send(connection)
                if events & ~POLLOUT:
                    self._receive(connection)
        except Broken as broken:
            self._lost(connection, broken.cause)

    def _next_moment(self) -> float:
        moments = [item.attempts.deadline + GRACE_S for item in self._sent.values()]
        moments += [item.not_before for item in self._waiting]
        return min(moments)

    def _connect(self) -> bool:
        if self._connection is not None:
            return True
        first = self._waiting[0]
        try:
            connection = self._client.open_connection(first.attempts)
        except AdminError as error:
            # No member can be reached: what may be repeated waits, the rest has failed.
            for item in self._take_waiting():
                self._retry(item, error, delivered=True)
            return False
        connection.sock.setblocking(False)
        self._connection = connection
        self._outbound.clear()
        self._handed = self._written = 0
        return True

    def _take_waiting(self) -> list[_Item]:
        items = list(self._waiting)
        self._waiting.clear()
        return items

    def _encode(self, connection: Connection, now: float) -> None:
        for item in self._take_waiting():
            if item.not_before > now or len(self._outbound) > _SEND_BYTES:
                self._waiting.append(item)
                continue
            request_id = connection.new_id()
            left_ms = max(1, int((item.attempts.deadline - now) * 1000))
            try:
                frame = encode_call(
                    item.call.request, request_id, left_ms, no_forward=self._client.no_forward
                )
            except AdminError as error:
                self._finish(item, None, error)
                continue
            item.start = self._written
            self._outbound += frame
            self._written += len(frame)
            item.end = self._written
            self._sent[request_id] = item

    def _send(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(self._outbound)
        except BlockingIOError:
            return
        except OSError:
            raise Broken(delivered=False, cause=connection.last_words()) from None
        self._handed += sent
        del self._outbound[:sent]

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            raise Broken(delivered=True) from None
        if not data:
            raise Broken(delivered=True)
        try:
            connection.take(data)
        except RemoteError:
            raise Broken(delivered=True) from None
        while connection.inbox:
            self._answer(connection.inbox.popleft())

    def _answer(self, response: Response) -> None:
        if response.id == 0 and response.HasField("error"):
            raise Broken(delivered=False, cause=admin.error_from_response(response))
        item = self._sent.pop(response.id, None)
        if item is None:
            return
        self._client.last = response
        try:
            self._finish(item, item.call.read(response), None)
        except AdminError as error:
            self._retry(item, error, delivered=True)
        except RemoteError as error:
            self._finish(item, None, wrong_answer(item.call, error))

    def _lost(self, connection: Connection, cause: AdminError | None) -> None:
        handed = self._handed
        reason = cause.message if cause else ""
        items = list(self._sent.values())
        self._sent.clear()
        path = connection.path
        self.drop()
        self._client.turn()
        for item in items:
            if cause is not None and (len(items) == 1 or item.start < handed < item.end):
                # The one whose frame was refused at its head: no other member would take it.
                self._finish(item, None, cause)
                continue
            delivered = item.end <= handed
            error = connection_lost(item.call, path, delivered=delivered, reason=reason)
            self._retry(item, error, delivered=delivered)

    def _expire(self, now: float) -> None:
        for request_id, item in list(self._sent.items()):
            if now >= item.attempts.deadline + GRACE_S:
                del self._sent[request_id]
                # Even a half-sent one: its connection stays, and will carry the rest of it.
                self._retry(item, timed_out(item.call, self._timeout_s), delivered=True)

    def _retry(self, item: _Item, error: AdminError, *, delivered: bool) -> None:
        now = monotonic()
        try:
            item.not_before = now + item.attempts.after(error, now, delivered=delivered)
        except AdminError as final:
            self._finish(item, None, final)
        else:
            self._waiting.append(item)

    def _finish(self, item: _Item, reply: ProposeReply | None, error: AdminError | None) -> None:
        took_s = monotonic() - item.started_at
        item.done = self._proposed(item.position, item.key, reply, error, took_s)
        self.unfinished -= 1

    def drop(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
