"""What arrives from other members, and who in the daemon it is for."""

import asyncio
from collections.abc import Callable
from typing import Final

from raftd.known_data import KnownData
from raftd.kvstore import StoreError
from raftd.log import Log
from raftd.members import AddressBook
from raftd.node import Node
from raftd.relay import Relays
from raftd.service import Service, Waiter
from raftd.snapshots import Snapshots
from raftd.transport.inbound import Connection, Session
from raftd.transport.outbound import Outbound
from raftwire.admin import Request, Response
from raftwire.limits import ADDR_BYTES_MAX
from raftwire.peer import Announce, Expectations, Hello, PeerFrame

_QUERIES = frozenset(
    {"status", "progress", "health", "member_list", "member_status", "log_stat", "verify"}
)
"""What a member may ask another for; everything else it must relay to the leader."""

_FAREWELL: Final = 5.0
"""Seconds that a connection may last after another has taken its place: it may be broken."""


class Peers:
    """Hands on what peers say.

    Args:
        heard: Where to note when a peer was last heard from.
        links_due: Called when a peer's address has become known.
        known_data: Remembers which disk each member's id stands for.
    """

    def __init__(
        self,
        node: Node,
        service: Service,
        snapshots: Snapshots,
        outbound: Outbound,
        relays: Relays,
        book: AddressBook,
        heard: dict[int, float],
        expectations: Callable[[], Expectations],
        links_due: Callable[[], None],
        known_data: KnownData,
        log: Log,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.node = node
        self.service = service
        self.snapshots = snapshots
        self.outbound = outbound
        self.relays = relays
        self.book = book
        self.heard = heard
        self._expectations = expectations
        self._links_due = links_due
        self._log = log
        self._known_data = known_data
        # As each peer said in its last hello.
        self._data_made: dict[int, int] = {}
        self.connections: dict[int, Connection] = {}
        self._incarnations: dict[int, int] = {}
        # What each peer's connection took the place of, while it may still deliver something.
        self._former: dict[int, Connection] = {}
        node.engine.on_refused = self._struck

    def mine(self) -> Expectations:
        """Return what this node expects of a hello."""
        return self._expectations()

    def session(self, hello: Hello, connection: Connection) -> Session:
        """Return who handles a connection with this hello."""
        if hello.kind == Hello.JOIN:
            return JoinSession(self)
        self.heard[hello.node_id] = self.loop.time()
        self._data_made[hello.node_id] = hello.data_made_ms
        self.note_data()
        if self.book.hint(hello.node_id, hello.advertise):
            self._links_due()
        link = self.outbound.link(hello.node_id)
        if link is not None:
            link.hurry()
        if hello.kind == Hello.PROBE:
            return ProbeSession()
        if hello.kind == Hello.SNAPSHOT:
            return self.snapshots.session(hello.node_id, connection)
        self._take_over(hello, connection)
        if link is None:
            # Not a member as far as this node knows; see `AddressBook.links`.
            self._links_due()
        return PeerSession(self, hello.node_id, connection)

    def _take_over(self, hello: Hello, connection: Connection) -> None:
        """Put a connection in the place of the one there was."""
        peer_id = hello.node_id
        former = self.connections.get(peer_id)
        known = self._incarnations.get(peer_id) == hello.incarnation
        self.connections[peer_id], self._incarnations[peer_id] = connection, hello.incarnation
        if former is None:
            return
        if not known:
            # The peer has started anew: what the old connection still delivers is out of date.
            former.hang_up()
            return
        # The same process moves over, as when this node's address changed, and closes the old
        # connection after what it wrote there until it had the answer to its hello. To hang up now
        # would lose that, and the client of a forwarded proposal would wait for an answer in vain.
        older = self._former.get(peer_id)
        if older is not None:
            older.hang_up()
        self._former[peer_id] = former
        self.loop.call_later(_FAREWELL, former.hang_up)

    def digest(self) -> None:
        """Step the messages that wait for the next turn."""
        self.node.take_turn()

    def lost(self, peer_id: int, connection: Connection) -> None:
        """Forget a connection that is gone."""
        for kept in (self.connections, self._former):
            if kept.get(peer_id) is connection:
                del kept[peer_id]
        if peer_id not in self.connections and peer_id not in self.book.replicated:
            self._links_due()  # It was linked to as a caller only.

    def _struck(self, peer_id: int) -> None:
        connection = self.connections.get(peer_id)
        if connection is not None:
            connection.strike()

    def hang_up(self) -> None:
        """Close the connections of who is no member any more: dialing again tells them so."""
        members = self.node.raft.prs.ids()
        for peer_id, connection in list(self.connections.items()):
            if peer_id not in members:
                connection.hang_up()

    def note_data(self) -> None:
        """Remember when the data of members was made; who only waits to join may make it anew."""
        try:
            for peer_id in self.node.raft.prs.ids():
                self._known_data.note(peer_id, self._data_made.get(peer_id, 0))
        except StoreError as error:
            self.node.fail(error)

    def announced(self, announce: Announce, direct: bool) -> bool:
        """Take the announcement of a node that waits to be added; False if it is malformed."""
        if not 0 < announce.id < 2**53 or not 0 < len(announce.addr.encode()) <= ADDR_BYTES_MAX:
            return False
        if self.book.announced(announce, self.loop.time()):
            self._log.info("a node waits to be added", peer=announce.id, addr=announce.addr)
        leader_id = self.node.raft.leader_id
        if direct and leader_id and leader_id != self.node.id:
            frame = PeerFrame()
            frame.announce.CopyFrom(announce)
            self.outbound.send_frame(leader_id, frame)
        return True


class PeerSession:
    """The frames of one member."""

    def __init__(self, peers: Peers, peer_id: int, connection: Connection) -> None:
        self._peers = peers
        self._peer_id = peer_id
        self._connection = connection

    def frame(self, frame: PeerFrame) -> bool:
        """Hand on all parts of a frame; False if one is malformed."""
        peers, peer_id = self._peers, self._peer_id
        peers.heard[peer_id] = peers.loop.time()
        if frame.messages:
            peers.node.receive(peer_id, frame.messages)
        if frame.HasField("forward"):
            peers.node.proposing.receive_forward(peer_id, frame.forward)
        if frame.HasField("refused"):
            peers.node.proposing.receive_refusal(frame.refused)
        fine = True
        if frame.HasField("relay"):
            fine &= self._serve(frame.relay.id, frame.relay.request, query=False)
        if frame.HasField("query"):
            fine &= self._serve(frame.query.id, frame.query.request, query=True)
        if frame.HasField("relay_reply"):
            reply = frame.relay_reply
            fine &= peers.relays.answered(peer_id, reply.id, reply.response)
        if frame.HasField("query_reply"):
            answer = frame.query_reply
            fine &= peers.relays.answered(peer_id, answer.id, answer.response)
        if frame.HasField("announce"):
            fine &= peers.announced(frame.announce, direct=False)
        return fine

    def _serve(self, number: int, encoded: bytes, query: bool) -> bool:
        request = Request()
        try:
            request.ParseFromString(encoded)
        except Exception:
            return False
        body = request.WhichOneof("body")
        if query and body not in _QUERIES:
            return False
        # Never passed on further: two nodes that take each other for the leader would play ball.
        request.no_forward = True
        request.id = number
        caller = RemoteCaller(self._peers.outbound, self._peer_id, query)
        self._peers.service.serve(caller, Waiter(self._peers.service, caller), request)
        return True

    def lost(self) -> None:
        """The connection is gone."""
        self._peers.lost(self._peer_id, self._connection)


class RemoteCaller:
    """A client of another member, whose request was relayed."""

    gone = False
    access = "rw"
    """The member that relays has looked who asks."""

    def changed(self, verb: str, code: str) -> None:
        """Whoever asked the other member is noted there."""

    def __init__(self, outbound: Outbound, peer_id: int, query: bool) -> None:
        self._outbound = outbound
        self._peer_id = peer_id
        self._query = query

    def send(self, response: Response) -> None:
        """Send the answer to the member that asked."""
        self.send_encoded(response.id, response.SerializeToString())

    def send_encoded(self, request_id: int, encoded: bytes) -> None:
        """Send the encoded answer to the member that asked."""
        frame = PeerFrame()
        part = frame.query_reply if self._query else frame.relay_reply
        part.id, part.response = request_id, encoded
        self._outbound.send_frame(self._peer_id, frame)

    async def drain(self) -> None:
        """Answers to members are single; there is always room."""


class JoinSession:
    """The frames of a node that waits to be added: announcements, nothing else."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def frame(self, frame: PeerFrame) -> bool:
        """Take an announcement."""
        if not frame.HasField("announce"):
            return False
        return self._peers.announced(frame.announce, direct=True)

    def lost(self) -> None:
        """The connection is gone; the announcement is forgotten by itself after a while."""


class ProbeSession:
    """Who only wanted to know whether this node answers."""

    def frame(self, frame: PeerFrame) -> bool:
        """There is nothing to say."""
        return False

    def lost(self) -> None:
        """It has heard what it wanted to."""
