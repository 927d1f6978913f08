"""Three whole nodes in one process, without sockets and fsync: microseconds of processor a request.

`python -m tests.bench.engines` times what Python and RocksDB do for a put, and with `--op get` for
a linearizable get, the least of several runs, so that a change of a few percent shows on a machine
that others use too. Bytes go from part
to part as over sockets, each write heard in a later round of the event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import uvloop

from raftd import heap, log
from raftd.admin import AdminConnection
from raftd.app import Daemon
from raftd.config import load
from raftd.peers import PeerSession
from raftd.transport.inbound import Connection
from raftwire.admin import Request, Response, parse_response
from raftwire.limits import PEER_FRAME_BYTES_MAX
from raftwire.proto.admin_pb2 import Outcome
from raftwire.proto.kv_pb2 import KvCommand, KvGet, KvPut, KvQuery, KvQueryResult
from tests.bench.machine import BenchError, scratch

KEYS: Final = 10_000
KEYS_LARGE: Final = 100
LARGE: Final = 100_000
"""Values above it are put to fewer keys, as in `tests.bench`."""
_CHECKED_EVERY: Final = 61
"""Each so many-th answer is read; all of them would be a load of their own."""


class _Wire:
    """Where the frames of one node to another go."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        self._loop = loop
        self._connection = connection
        self.state = SimpleNamespace(reachable=True)

    def write(self, frames: Any) -> bool:
        """Deliver them in a later round."""
        self._loop.call_soon(self._connection.data_received, b"".join(frames))
        return True

    def move(self, address: str) -> None:
        """It leads where it leads."""

    def close(self) -> None:
        """There is nothing to close."""


class _Transport:
    """A client's connection as the daemon sees it, and the client behind it, who waits for each."""

    def __init__(self, bench: Bench, connection: AdminConnection) -> None:
        self._bench = bench
        self._connection = connection

    def start(self) -> None:
        """Send the next request."""
        self._bench.loop.call_soon(self._connection.data_received, self._bench.request())

    def write(self, data: bytes) -> None:
        """Take an answer."""
        if self._bench.answered(data):
            self.start()

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """All is read at once."""
        return 0


class Bench:
    """Three nodes and their clients.

    Args:
        folder: For their data.
        size: Bytes of a value.
    """

    def __init__(self, folder: Path, size: int = 256) -> None:
        self.loop = asyncio.get_running_loop()
        self.daemons = [self._daemon(folder, node_id) for node_id in (1, 2, 3)]
        self._left = self._waiting = 0
        self._sequence = 0
        self.value = b"v" * size
        self.keys = KEYS if size <= LARGE else KEYS_LARGE
        self._done: asyncio.Future[None] = self.loop.create_future()
        self.ask("put")

    def ask(self, op: str) -> None:
        """Have clients put, or get, from now on."""
        self._op = op
        key = b"%08d" % 0
        sample = Request(id=1, state_machine="kv")
        if op == "put":
            put = KvPut(key=key, value=self.value)
            sample.propose.data = KvCommand(put=put).SerializeToString()
        else:
            sample.query.data = KvQuery(get=KvGet(key=key)).SerializeToString()
        encoded = sample.SerializeToString()
        at = encoded.index(key)
        self._head = len(encoded).to_bytes(4, "big") + encoded[:at]
        self._tail = encoded[at + len(key) :]

    def _daemon(self, folder: Path, node_id: int) -> Daemon:
        flags = {
            "node_id": str(node_id),
            "peers": "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3",
            "data_dir": str(folder / str(node_id)),
            "admin_socket": str(folder / f"{node_id}.sock"),
            "state_machine": "kv",
            "fsync": "unsafe-never",
            "insecure_peers": True,
        }
        config = load(flags, {})
        return Daemon(config, log.set_up("error", "json").bind(node=node_id), "uvloop")

    async def lead(self) -> None:
        """Join the nodes, and have the first one elected."""
        for daemon in self.daemons:
            store = await daemon._open()
            assert store is not None
            daemon._assemble(store)
        for sender in self.daemons:
            for receiver in self.daemons:
                if sender is not receiver:
                    connection = Connection(receiver.inbound)
                    connection._transport = SimpleNamespace(is_closing=lambda: False)  # type: ignore[assignment]
                    connection._decoder.bytes_max = PEER_FRAME_BYTES_MAX
                    connection._session = PeerSession(receiver.peers, sender.node.id, connection)
                    wire = _Wire(self.loop, connection)
                    sender.outbound._links[receiver.node.id] = wire  # type: ignore[assignment]
        self.loop.set_exception_handler(self._broken)
        for daemon in self.daemons:
            daemon.node.start()
            daemon.node.links_changed()
        first = self.daemons[0].node
        first.call(first.raw.campaign)
        deadline = self.loop.time() + 10
        while not all(daemon.node.raft.leader_id == 1 for daemon in self.daemons):
            if self.loop.time() > deadline:
                raise BenchError("nobody was elected")
            await asyncio.sleep(0.01)

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._done.done():
            self._done.set_exception(context.get("exception") or BenchError(context["message"]))

    def request(self) -> bytes:
        """Return the next request, as a client sends it."""
        self._sequence += 1
        return b"".join((self._head, b"%08d" % (self._sequence % self.keys), self._tail))

    def answered(self, data: bytes) -> bool:
        """Count an answer; whether its client goes on."""
        self._left -= 1
        if self._left % _CHECKED_EVERY == 0:
            reply = parse_response(data[4:])
            if not (_is_put(reply) if self._op == "put" else _is_got(reply, self.value)):
                raise BenchError(f"a {self._op} was answered with {reply}")
        if self._left >= self._waiting:
            return True
        self._waiting -= 1
        if not self._waiting:
            self._done.set_result(None)
        return False

    async def run(self, clients: int, count: int) -> tuple[float, float]:
        """Have ``clients`` ask ``count`` times; return microseconds and turns of nodes a request.

        A single client speaks to a follower, as two of three do.
        """
        self._left, self._waiting = count, clients
        self._done = self.loop.create_future()
        turns = self._turns()
        gc.collect()
        began = time.process_time()
        for number in range(1, clients + 1):
            connection = AdminConnection(self.daemons[number % 3].admin)
            transport = _Transport(self, connection)
            connection._transport = transport  # type: ignore[assignment]
            transport.start()
        await self._done
        return (time.process_time() - began) / count * 1e6, (self._turns() - turns) / count

    def _turns(self) -> int:
        return sum(daemon.node.counters.turns for daemon in self.daemons)

    def close(self) -> None:
        """Close the stores."""
        for daemon in self.daemons:
            daemon.node.stop()
            daemon.operations.close()
            daemon.outbound._links.clear()
            daemon.parts.store.kv.close()


def _is_put(reply: Response) -> bool:
    return reply.propose.outcome == Outcome.APPLIED and bool(reply.propose.result)


def _is_got(reply: Response, value: bytes) -> bool:
    return KvQueryResult.FromString(reply.query.result).kvs[0].value == value


async def _measure(folder: Path, arguments: argparse.Namespace) -> None:
    bench = Bench(folder, arguments.size)
    await bench.lead()
    heap.settle()
    await bench.run(min(64, bench.keys // 4), 2 * bench.keys)
    bench.ask(arguments.op)
    for clients in arguments.clients:
        count = arguments.count // 10 if clients == 1 else arguments.count
        found = [await bench.run(clients, count) for _ in range(arguments.rounds)]
        us, turns = min(found)
        middle = sorted(found)[len(found) // 2][0]
        print(
            f"{clients:4} clients: {us:7.2f} us a {arguments.op} (median {middle:.2f}),"
            f" {turns:.3f} turns"
        )
        if arguments.profile:
            profile = cProfile.Profile()
            profile.enable()
            await bench.run(clients, count)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(arguments.profile)
    bench.close()


def main() -> None:
    """Measure and print a line for each number of clients."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engines", description=__doc__)
    parser.add_argument("--op", choices=("put", "get"), default="put")
    parser.add_argument("--clients", type=int, nargs="*", default=[256, 64, 1])
    parser.add_argument("--count", type=int, default=20_000, help="requests of a run")
    parser.add_argument("--size", type=int, default=256, help="bytes of a value")
    parser.add_argument("--rounds", type=int, default=5, help="runs of which the least counts")
    parser.add_argument(
        "--profile", type=int, default=0, metavar="N", help="also print the N dearest functions"
    )
    arguments = parser.parse_args()
    heap.set_up()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with scratch(memory) as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(folder, arguments))


if __name__ == "__main__":
    main()
