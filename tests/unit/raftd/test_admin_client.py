"""What one client may make a node hold: unanswered requests, and answers that it does not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from raftd import admin
from raftd.admin import AdminConnection, AdminServer
from raftwire.admin import Request, Response
from raftwire.frame import encode_frame
from raftwire.limits import ADMIN_PIPELINE_MAX, KIB, MIB

SECONDS = 10
SIZE = 1024
READ_MOST = 512
"""Requests of this size that one read may bring."""


class Node:
    """A node's end of one connection; ``serve`` takes the requests."""

    def __init__(self, serve: Callable[[AdminConnection, int], None]) -> None:
        self.lost = False
        self.mine, theirs = socket.socketpair()
        self.mine.setblocking(False)
        self._theirs = theirs
        loop = asyncio.get_running_loop()
        service = SimpleNamespace(
            serve=lambda caller, waiter, request: serve(caller, request.id),
            is_plain=lambda caller, request: False,
        )
        server = SimpleNamespace(
            service=service,
            frame_bytes_max=MIB,
            admit=lambda connection, transport: None,
            forget=lambda connection: setattr(self, "lost", True),
            dirty=lambda connection: loop.call_soon(connection.flush),
        )
        self.connection = AdminConnection(cast("AdminServer", server))

    async def connect(self) -> asyncio.Transport:
        """Begin to listen to the client."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: self.connection, sock=self._theirs)
        return transport

    def send(self, data: bytes) -> bytes:
        """Send as much as there is room for; return the rest."""
        with contextlib.suppress(BlockingIOError):
            return data[self.mine.send(data) :]
        return data


def requests(count: int) -> bytes:
    """So many requests of about ``SIZE`` bytes."""
    request = Request(id=7)
    request.propose.data = bytes(SIZE)
    return encode_frame(request.SerializeToString()) * count


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run it on the event loop that nodes have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test, SECONDS))


def test_a_client_that_does_not_read_its_answers_is_cut_off_and_they_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admin, "_WRITE_BYTES_MAX", MIB)

    async def flood() -> None:
        node = Node(
            lambda caller, request_id: caller.send(
                Response(id=request_id, cluster_id="x" * 64 * KIB)
            )
        )
        transport = await node.connect()
        rest = requests(100)
        while not node.lost:
            # More than the kernel takes and than may wait; nobody reads, so none of it would go.
            rest = node.send(rest) if rest and not node.connection.gone else b""
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 0
        node.mine.close()

    run(flood())


def test_of_a_client_with_many_unanswered_requests_no_more_are_read() -> None:
    taken: list[int] = []

    async def flood() -> None:
        node = Node(lambda caller, request_id: taken.append(request_id))
        transport = await node.connect()
        rest = requests(2 * ADMIN_PIPELINE_MAX)
        for _ in range(5000):
            rest = node.send(rest) if rest else rest
            await asyncio.sleep(0)
        assert ADMIN_PIPELINE_MAX < len(taken) <= ADMIN_PIPELINE_MAX + READ_MOST
        assert rest
        for request_id in taken[: ADMIN_PIPELINE_MAX // 2 + READ_MOST]:
            node.connection.send(Response(id=request_id))
        while len(taken) <= ADMIN_PIPELINE_MAX + READ_MOST:
            rest = node.send(rest) if rest else rest
            await asyncio.sleep(0)
        transport.abort()
        node.mine.close()

    run(flood())
