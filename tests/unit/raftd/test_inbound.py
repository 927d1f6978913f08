"""What the accepting side takes in at one moment, and how much of that may wait."""

from __future__ import annotations

import asyncio
from typing import cast
from unittest.mock import MagicMock

from raft.eraftpb import Entry, Message, MsgAppend
from raftd.log import Log
from raftd.peers import Peers
from raftd.transport.inbound import Connection, Inbound, Session
from raftwire.frame import encode_frame
from raftwire.limits import MIB
from raftwire.peer import MAGIC, Expectations, Hello, PeerFrame

CLUSTER_ID = bytes(range(16))
PEERS = 40


class Members:
    """The daemon behind it, which puts off whatever it takes in."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.taken = 0

    def mine(self) -> Expectations:
        return Expectations(node_id=1, cluster_id=CLUSTER_ID, incarnation=1)

    def session(self, hello: Hello, connection: Connection) -> Session:
        return self

    def frame(self, frame: PeerFrame) -> bool:
        self.taken += 1
        self.waiting += frame.ByteSize()
        self.most = max(self.most, self.waiting)
        return True

    def digest(self) -> None:
        self.waiting = 0

    def lost(self) -> None:
        pass


class Silent(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def hello(node_id: int) -> bytes:
    return encode_frame(
        Hello(
            magic=MAGIC, protocol_min=1, protocol_max=1, cluster_id=CLUSTER_ID, node_id=node_id,
            to_node_id=1, incarnation=1, kind=Hello.RAFT,
        ).SerializeToString()
    )  # fmt: skip


def test_large_frames_that_many_finish_at_one_moment_do_not_wait_together() -> None:
    asyncio.run(finish_together())


async def finish_together() -> None:
    members = Members()
    inbound = Inbound(members, Log(lambda *_: None))
    message = Message(msg_type=MsgAppend, to=1, entries=[Entry(index=1, data=bytes(2 * MIB))])
    large = encode_frame(PeerFrame(messages=[message]).SerializeToString())
    connections = [Connection(inbound) for _ in range(PEERS)]
    for number, connection in enumerate(connections):
        connection.connection_made(Silent())
        connection.data_received(hello(2 + number))
        connection.data_received(large[:-1])
    assert inbound.held > 64 * MIB
    for connection in connections:
        connection.data_received(large[-1:])
    assert members.taken == PEERS
    assert members.most < 20 * MIB


class Open:
    """A connection that says whether it was hung up."""

    def __init__(self) -> None:
        self.hung_up = False

    def hang_up(self) -> None:
        self.hung_up = True


async def connect(peers: Peers, incarnation: int) -> tuple[Open, Session]:
    connection = Open()
    said = Hello(kind=Hello.RAFT, node_id=2, incarnation=incarnation)
    return connection, peers.session(said, cast(Connection, connection))


async def move_over() -> None:
    parts = MagicMock()
    parts.node.raft.prs.ids.return_value = ()
    peers = Peers(
        parts.node, parts.service, parts.snapshots, parts.outbound, parts.relays, parts.book, {},
        parts.expectations, parts.links_due, parts.known_data, Log(lambda *_: None),
    )  # fmt: skip
    first, first_session = await connect(peers, 7)
    second, second_session = await connect(peers, 7)
    assert not first.hung_up, "what was forwarded on it may not have been read"
    third, _ = await connect(peers, 7)
    assert first.hung_up, "no more than one lasts"
    assert not second.hung_up
    second_session.lost()
    first_session.lost()
    assert [*peers.connections.values()] == [third]
    # Another process of the same id: whatever the former one has written is out of date.
    await connect(peers, 8)
    assert third.hung_up


def test_who_dials_anew_is_heard_out_on_the_old_connection() -> None:
    asyncio.run(move_over())
