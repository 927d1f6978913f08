"""What the accepting side takes in at one moment, and how much of that may wait."""

from __future__ import annotations

import asyncio

from raft.eraftpb import Entry, Message, MsgAppend
from raftd.log import Log
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
