"""Links between members: when they are given up, and how soon they are dialed anew."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import socket

import pytest

from raftd.transport.outbound import ONCE, Dialer, Patience, dial
from raftwire.peer import Expectations, Hello

MINE = Expectations(node_id=2, cluster_id=bytes(range(16)), incarnation=2)


def _same(dialer: Dialer) -> Dialer:
    return dialer


@pytest.mark.parametrize("election_timeout", [0.2, 0.5, 1.0, 3.0, 30.0])
def test_a_link_waits_for_no_longer_than_an_election_takes(election_timeout: float) -> None:
    patience = Patience.between_members(election_timeout)
    pauses = list(itertools.islice(patience.pauses(random.Random(1)), 100))
    assert max(pauses) <= max(election_timeout, 0.15)
    # Not in step, and sooner at first.
    assert len(set(pauses)) == len(pauses)
    assert pauses[0] < 0.08
    assert patience.connect <= max(0.5, election_timeout)
    assert patience.unanswered <= max(0.5, election_timeout)
    assert patience.hello <= max(1.0, 2 * election_timeout)
    # Never more patient than who dials once, nor so little that a busy peer is given up.
    assert 0.5 <= patience.connect <= ONCE.connect
    assert 0.5 <= patience.unanswered <= ONCE.unanswered
    assert 1.0 <= patience.hello <= ONCE.hello
    assert max(pauses) <= 1.5 * ONCE.pause_max


def test_bytes_that_nobody_acknowledges_close_the_connection_in_time() -> None:
    async def options() -> tuple[int, int]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = []
        for patience in (ONCE, Patience.between_members(0.7)):
            dialer = Dialer(MINE, Hello.RAFT, 1, patience=patience)
            transport, _ = await asyncio.get_running_loop().create_connection(
                functools.partial(_same, dialer), "127.0.0.1", port
            )
            sock = transport.get_extra_info("socket")
            found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            transport.abort()
        server.close()
        return found[0], found[1]

    assert asyncio.run(options()) == (10_000, 700)


def test_who_takes_the_connection_and_says_nothing_is_given_up() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        held = []
        server = await asyncio.start_server(
            lambda reader, writer: held.append((reader, writer)), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        started = loop.time()
        with pytest.raises(TimeoutError, match="no answer to the hello"):
            await dial(
                f"127.0.0.1:{port}", MINE, Hello.RAFT, 1, patience=Patience.between_members(0.3)
            )
        server.close()
        return loop.time() - started

    assert 0.9 < asyncio.run(wait()) < ONCE.hello
