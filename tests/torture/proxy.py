"""A TCP proxy before each node: every link can be cut, slowed, choked or made deaf, each way alone.

One proxy stands at the address that a node advertises. It reads who dials from the hello, so one
listening port serves all the links to a node, and membership changes need nothing of it. A link is
a pair (who dials, whom): it carries what the one tells the other, and a cut one is one-way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from raftwire.errors import RemoteError
from raftwire.peer import parse_hello

T = TypeVar("T")

CUT: Final = "cut"
"""Connections are closed and new ones refused."""
DEAF: Final = "deaf"
"""Half-open: everything is taken and thrown away; no end of the connection hears of it."""
CHOKED: Final = "choked"
"""Nothing is read any more; what waits is delivered late, after the healing."""
SLOW: Final = "slow"
"""Everything arrives, later."""
DRIP: Final = "drip"
"""Everything arrives, a few bytes at a time."""

_PIECE: Final = 65_536
_QUEUE: Final = 64
_DRIP_BYTES: Final = 200
_DRIP_SECONDS: Final = 0.02


@dataclass(eq=False)
class _Connection:
    """One connection through a proxy."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    torn: bool = False
    """Whether bytes of it were thrown away, so that it is of no more use."""

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@dataclass(eq=False)
class _Link:
    mode: str = ""
    delay: float = 0.0
    connections: set[_Connection] = field(default_factory=set)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    touched: int = 0
    """What the present rule did to: connections closed or refused, pieces thrown away or held."""

    def __post_init__(self) -> None:
        self.flowing.set()


class Proxies:
    """The proxies of all nodes, on an event loop in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: dict[tuple[int, int], _Link] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def listen(self, node_id: int, port: int, target: int) -> None:
        """Pass what comes to ``port`` on to ``target``, where node ``node_id`` listens."""

        async def start() -> None:
            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                self._tasks.add(task)
                try:
                    await self._serve(node_id, target, reader, writer)
                finally:
                    self._tasks.discard(task)

            self._servers.append(await asyncio.start_server(accept, "127.0.0.1", port))

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(10.0)

    def rule(self, links: Iterable[tuple[int, int]], mode: str, delay: float = 0.0) -> None:
        """Put links under a rule; pairs (who dials, whom)."""

        def act() -> None:
            for pair in links:
                link = self._link(*pair)
                self._lift(link)
                link.mode, link.delay, link.touched = mode, delay, 0
                if mode == CUT:
                    link.touched += len(link.connections)
                    for connection in list(link.connections):
                        connection.abort()
                elif mode == CHOKED:
                    link.flowing.clear()

        self._call(act)

    def heal(self) -> None:
        """Lift all rules."""

        def act() -> None:
            for link in self._links.values():
                self._lift(link)
                link.mode, link.touched = "", 0

        self._call(act)

    def touched(self) -> int:
        """Return to how many connections and pieces the present rules did something."""
        return self._call(lambda: sum(link.touched for link in self._links.values() if link.mode))

    def close(self) -> None:
        """Stop all of it."""

        async def stop() -> None:
            for server in self._servers:
                server.close()
            for link in self._links.values():
                for connection in list(link.connections):
                    connection.abort()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def _call(self, act: Callable[[], T]) -> T:
        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10.0)

    def _link(self, source: int, target: int) -> _Link:
        return self._links.setdefault((source, target), _Link())

    @staticmethod
    def _lift(link: _Link) -> None:
        link.flowing.set()
        for connection in list(link.connections):
            if connection.torn:
                connection.abort()

    async def _serve(
        self, node_id: int, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(10.0):
                head = await reader.readexactly(4)
                first = await reader.readexactly(min(int.from_bytes(head, "big"), 1024))
                hello = parse_hello(first)
                link = self._link(hello.node_id, node_id)
                if link.mode == CUT:
                    link.touched += 1
                    raise ConnectionAbortedError
                there, back = await asyncio.open_connection("127.0.0.1", target)
        except (OSError, asyncio.IncompleteReadError, RemoteError, TimeoutError):
            writer.transport.abort()
            return
        connection = _Connection((writer, back))
        link.connections.add(connection)
        try:
            back.write(head + first)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, connection, reader, back))
                group.create_task(self._pump(link, connection, there, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            link.connections.discard(connection)
            connection.abort()

    async def _pump(
        self,
        link: _Link,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                if not data:
                    return
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                step = len(data)
                if link.mode == DRIP:
                    link.touched += 1
                    step = _DRIP_BYTES
                for at in range(0, len(data), step):
                    writer.write(data[at : at + step])
                    await writer.drain()
                    if link.mode == DRIP:
                        await asyncio.sleep(_DRIP_SECONDS)

        task = loop.create_task(deliver())
        try:
            while data := await reader.read(_PIECE):
                if not link.flowing.is_set():
                    link.touched += 1
                    await link.flowing.wait()
                if link.mode == DEAF:
                    link.touched += 1
                    connection.torn = True
                    continue
                due = loop.time()
                if link.mode == SLOW:
                    link.touched += 1
                    due += link.delay
                if task.done():
                    break
                await queue.put((due, data))
            if not task.done():
                await queue.put((0.0, b""))
                await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task
            # One end is gone: the other is told at once, as by a reset.
            connection.abort()


def all_links(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return every link between different nodes of ``ids``."""
    nodes = sorted(ids)
    return [(a, b) for a in nodes for b in nodes if a != b]


def between(one: Iterable[int], other: Iterable[int]) -> list[tuple[int, int]]:
    """Return the links from one group to another, and back."""
    others = list(other)
    return [link for a in one for b in others if a != b for link in ((a, b), (b, a))]


def into(targets: Iterable[int], ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return the links by which ``targets`` are told something."""
    sources = list(ids)
    return [(a, b) for b in targets for a in sources if a != b]


def out_of(sources: Iterable[int], ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return the links by which ``sources`` tell something."""
    targets = list(ids)
    return [(a, b) for a in sources for b in targets if a != b]
