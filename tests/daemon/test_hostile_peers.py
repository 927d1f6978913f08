"""256 hostile connections that send all they can: memory stays bounded, the group goes on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine

import pytest

from raft.eraftpb import Entry, Message, MsgAppend
from raftwire.frame import encode_frame
from raftwire.limits import ENTRIES_PER_FRAME_MAX, PEER_FRAME_BYTES_MAX
from raftwire.peer import MAGIC, Hello, PeerFrame
from tests.harness.processes import DEADLINE, Cluster, cluster

ATTACKERS = 256
SECONDS = 8.0
PROPOSALS = 5
"""That must be applied meanwhile."""
GROWTH_MAX = 256 * 2**20
SENT_LEAST = 2 * GROWTH_MAX

Attack = Callable[
    ["Enemy", asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]


class Enemy:
    """One attacker: connects again whenever it is thrown out.

    Attributes:
        sent: Bytes that went out.
        rounds: Connections made.
    """

    def __init__(self, number: int, address: str, cluster_id: bytes, node_id: int) -> None:
        host, _, port = address.rpartition(":")
        self.where = (host, int(port))
        self.node_id = 1000 + number
        self.cluster_id = cluster_id
        self.to = node_id
        self.sent = 0
        self.rounds = 0

    def hello(self) -> bytes:
        return encode_frame(
            Hello(
                magic=MAGIC, protocol_min=1, protocol_max=1, cluster_id=self.cluster_id,
                node_id=self.node_id, to_node_id=self.to, incarnation=1, kind=Hello.RAFT,
            ).SerializeToString()
        )  # fmt: skip

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)

    async def run(self, attack: Attack, until: float, over: Callable[[], bool]) -> None:
        """Attack, in one long turn until ``until`` and in short ones until it is over."""
        while not over():
            try:
                reader, writer = await asyncio.open_connection(*self.where)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            self.rounds += 1
            try:
                async with asyncio.timeout(max(1.0, until - time.monotonic())):
                    await attack(self, reader, writer)
            except (OSError, TimeoutError):
                await asyncio.sleep(0.01)
            finally:
                writer.transport.abort()


async def hold_back(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all of a maximal frame but its last byte, and wait."""
    await enemy.write(writer, enemy.hello())
    await enemy.write(writer, PEER_FRAME_BYTES_MAX.to_bytes(4, "big"))
    await enemy.write(writer, bytes(PEER_FRAME_BYTES_MAX - 1))
    await asyncio.sleep(60)


def _maximal() -> bytes:
    payload = bytes((PEER_FRAME_BYTES_MAX - 100_000) // ENTRIES_PER_FRAME_MAX)
    entries = [Entry(index=n, term=1, data=payload) for n in range(1, ENTRIES_PER_FRAME_MAX + 1)]
    message = Message(msg_type=MsgAppend, to=1, from_=1, term=1, entries=entries)
    return encode_frame(PeerFrame(messages=[message]).SerializeToString())


MAXIMAL = _maximal()
BOMB = encode_frame(b"\x0a\x80\x80\x80\x01" + b"\x3a\x00" * 2**20)
GARBAGE = random.Random(256).randbytes(2**20)


async def maximal(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send frames as large as they may be, full of entries, in somebody else's name."""
    await enemy.write(writer, enemy.hello())
    while True:
        await enemy.write(writer, MAXIMAL)


async def bomb(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send two bytes for every entry that would take hundreds."""
    await enemy.write(writer, enemy.hello())
    while True:
        await enemy.write(writer, BOMB)


async def garbage(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send noise."""
    await enemy.write(writer, enemy.hello())
    await enemy.write(writer, GARBAGE)


async def linger(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a hello, over and over."""
    await enemy.write(writer, enemy.hello()[:-1])
    await asyncio.sleep(1)


async def half_frames(enemy: Enemy, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send maximal frames slowly, a piece at a time."""
    await enemy.write(writer, enemy.hello())
    while True:
        await enemy.write(writer, PEER_FRAME_BYTES_MAX.to_bytes(4, "big"))
        for _piece in range(32):
            await enemy.write(writer, bytes(PEER_FRAME_BYTES_MAX // 32))
            await asyncio.sleep(0.05)


ATTACKS: tuple[Attack, ...] = (hold_back, maximal, bomb, garbage, linger, half_frames)


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


async def besiege(group: Cluster, attacks: tuple[Attack, ...]) -> tuple[int, list[Enemy], int]:
    """Attack a follower; return its highest resident size, the attackers, proposals meanwhile."""
    victim = group[group.follower()]
    status = victim.status()
    assert status is not None
    enemies = [
        Enemy(n, victim.address, bytes.fromhex(status.cluster_id), victim.id)
        for n in range(ATTACKERS)
    ]
    end = time.monotonic() + SECONDS
    highest = 0
    done = 0

    def over() -> bool:
        """Whether there was time for all; a busy machine takes longer over it."""
        now = time.monotonic()
        sent = sum(enemy.sent for enemy in enemies)
        whole = done > PROPOSALS and sent > SENT_LEAST and all(enemy.rounds for enemy in enemies)
        return (now > end and whole) or now > end + DEADLINE

    async def watch() -> None:
        nonlocal highest
        while not over():
            highest = max(highest, resident(victim.pid))
            await asyncio.sleep(0.02)

    async def work() -> None:
        nonlocal done
        while not over():
            done += await asyncio.to_thread(propose, group)

    await asyncio.gather(
        watch(),
        work(),
        *(e.run(attacks[n % len(attacks)], end, over) for n, e in enumerate(enemies)),
    )
    return highest, enemies, done


def propose(group: Cluster) -> int:
    with group.client(timeout=10) as client:
        client.propose(b"x" * 256, key=f"{time.monotonic_ns()}")
    return 1


@pytest.mark.parametrize("attacks", [ATTACKS, (hold_back,), (maximal,)], ids=["all", "hold", "max"])
def test_memory_is_bounded_and_the_group_goes_on(attacks: tuple[Attack, ...]) -> None:
    with cluster(3, "--election-timeout", "3s", "--heartbeat", "150ms") as group:
        with group.client() as client:
            for n in range(200):
                client.propose(b"%d" % n)
        before = {node.id: node.status() for node in group.nodes.values()}
        idle = max(resident(node.pid) for node in group.nodes.values())
        highest, enemies, done = asyncio.run(besiege(group, attacks))
        sent = sum(enemy.sent for enemy in enemies)
        assert highest - idle <= GROWTH_MAX, f"{(highest - idle) >> 20} MiB above idle"
        # It was an attack: more was sent than may be held, and every attacker had a turn.
        assert sent > SENT_LEAST
        assert all(enemy.rounds for enemy in enemies)
        assert done > PROPOSALS
        for node in group.nodes.values():
            status, former = node.status(), before[node.id]
            assert status is not None, node.last_lines()
            assert former is not None
            assert status.pid == former.pid
        group.settle()
        group.check_equal()
