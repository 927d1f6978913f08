"""What peers say to this node: accepts connections, checks the hello, hands on frames.

Bytes of a stranger cost little: a first frame of at most 1 KiB within seconds, a bounded number of
connections without a hello. Whatever breaks the protocol closes its connection with a named,
counted reason and touches nothing else.
"""

import asyncio
import errno
import socket
from collections import Counter
from typing import Final, Protocol, cast

from raftd.config import split_address
from raftd.log import Log
from raftd.transport.outbound import tune
from raftd.transport.security import (
    HANDSHAKE_SECONDS,
    PLAINTEXT,
    PeerName,
    Security,
    SecurityError,
    why_not,
)
from raftwire.errors import Code, FrameError, RemoteError
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import (
    FRAME_TIMEOUT_MS,
    HELLO_BYTES_MAX,
    HELLO_TIMEOUT_MS,
    INBOUND_BYTES_MAX,
    MIB,
    PEER_CONNECTIONS_MAX,
    PEER_FRAME_BYTES_MAX,
    STRIKES_MAX,
    UNAUTHENTICATED_CONNECTIONS_MAX,
)
from raftwire.peer import (
    Expectations,
    Hello,
    HelloReply,
    PeerFrame,
    check_hello,
    parse_frame,
    parse_hello,
)

_SWEEP_INTERVAL: Final = 1.0
_BACKLOG: Final = 128
_ACCEPT_RETRY: Final = 1.0
_UNDIGESTED_MAX: Final = 16 * MIB
"""Bytes of whole frames after which what they hold is dealt with, before another is read: frames
that many connections finish at one moment are no part of the budget of unfinished ones, and in
pieces of the library's making each takes its size once more."""
_OUT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What makes accepting fail until something is closed elsewhere."""


class Session(Protocol):
    """Who handles the frames of one accepted connection."""

    def frame(self, frame: PeerFrame) -> bool:
        """Handle one frame; False if it held something that no honest peer sends."""
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...


class Receiver(Protocol):
    """Whoever the inbound side works for."""

    def mine(self) -> Expectations:
        """Return what this node expects of a hello."""
        ...

    def session(self, hello: Hello, connection: "Connection") -> Session:
        """Return who handles the frames of a connection with this hello."""
        ...

    def digest(self) -> None:
        """Deal with all that the sessions have taken in and put off."""
        ...


class Connection(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, inbound: "Inbound") -> None:
        self._inbound = inbound
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._strikes = 0
        self._opened = 0.0
        self.unfinished_since = 0.0
        self.held = 0
        """Bytes of an unfinished frame."""
        self._certified: PeerName | None = None
        self.handshake: asyncio.Task[None] | None = None
        self.peer = "?"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a hello, if there is room for one more."""
        transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it.
        encryption = transport.get_extra_info("ssl_object")
        if encryption is None:
            self.enter(str(transport.get_extra_info("peername")))
        else:
            # It has been a stranger since before the handshake.
            try:
                self._certified = self._inbound.security.check(encryption.getpeercert(), 0)
            except SecurityError as error:
                self._inbound.count("tls", str(error), self.peer)
                transport.abort()
                return
        self._transport = transport
        tune(transport)

    def enter(self, peer: str) -> None:
        """Take a place among the strangers."""
        self._opened = asyncio.get_running_loop().time()
        self.peer = peer
        self._inbound.admit(self)

    def make_way(self) -> None:
        """Go at once: there is somebody newer, and this one has not said hello."""
        if self._transport is not None:
            self._transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into frames and hand them on."""
        if self._transport is None:
            return  # It was turned away.
        if self._session is None and not self._decoder.pending_bytes:
            other = _other_protocol(data)
            if other:
                self.close("other_protocol", other)
                return
        try:
            frames = self._decoder.feed(data)
            for frame in frames:
                if self._session is None:
                    self._hello(frame)
                    if self._session is None:
                        return
                else:
                    self._frame(self._session, frame)
        except FrameError as error:
            self.close("bad_frame", str(error))
        except RemoteError as error:
            self.close("bad_message", str(error))
        self._count_unfinished()

    def _count_unfinished(self) -> None:
        """Note how much of a frame is here, and since when it is waited for."""
        pending = self._decoder.pending_bytes
        self._inbound.held += pending - self.held
        self.held = pending
        if not pending:
            self.unfinished_since = 0.0
        elif not self.unfinished_since:
            self.unfinished_since = asyncio.get_running_loop().time()
        if pending:
            self._inbound.keep_budget()

    def _hello(self, frame: bytes) -> None:
        hello = parse_hello(frame)
        inbound = self._inbound
        reply = check_hello(hello, inbound.receiver.mine())
        if reply.ok and self._certified is not None and self._certified.node_id != hello.node_id:
            code = Code.CERTIFICATE_MISMATCH
            reply = HelloReply(
                code=code.value,
                message=f"the hello is node {hello.node_id}'s, the certificate {self._certified}",
                hint=code.facts.hint,
            )
        if reply.ok and inbound.accepted >= PEER_CONNECTIONS_MAX:
            reply = HelloReply(
                code=Code.OVERLOADED.value,
                message=f"{PEER_CONNECTIONS_MAX} peer connections are open already",
            )
        if not reply.ok:
            self._answer(reply)
            self.close(reply.code.lower(), reply.message)
            return
        self._answer(reply)
        self._decoder.bytes_max = PEER_FRAME_BYTES_MAX
        self.peer = f"node {hello.node_id}"
        inbound.accept(self)
        self._session = inbound.receiver.session(hello, self)

    def _frame(self, session: Session, frame: bytes) -> None:
        if not session.frame(parse_frame(frame)):
            self.strike()
        inbound = self._inbound
        inbound.undigested += len(frame)
        if inbound.undigested > _UNDIGESTED_MAX:
            inbound.undigested = 0
            inbound.receiver.digest()

    def strike(self) -> None:
        """The other side has sent what no honest peer does; it is heard out only so often."""
        self._strikes += 1
        if self._strikes >= STRIKES_MAX:
            self.close("strikes", f"{self._strikes} refused messages")

    def _answer(self, reply: HelloReply) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(reply.SerializeToString()))

    def send(self, frame: PeerFrame) -> None:
        """Send a frame back to the dialer (snapshot and join connections)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(frame.SerializeToString()))

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on after `pause`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def overdue(self, now: float) -> str | None:
        """Return why the connection has taken too long over something; None if it has not."""
        if self._session is None and now - self._opened > HELLO_TIMEOUT_MS / 1000:
            return "no hello in time"
        if self.unfinished_since and now - self.unfinished_since > FRAME_TIMEOUT_MS / 1000:
            return "a frame was begun and not finished in time"
        return None

    def close(self, reason: str, words: str) -> None:
        """Close the connection for a reason that is counted and logged."""
        if self._transport is None or self._transport.is_closing():
            return
        self._inbound.count(reason, words, self.peer)
        self._transport.close()

    def abort(self, reason: str, words: str) -> None:
        """Close the connection at once, and let go of what it holds."""
        self.close(reason, words)
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        if self._transport is not None:
            self._transport.abort()

    def hang_up(self) -> None:
        """Close the connection in good order, if it is open."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._inbound.held -= self.held
        self.held = 0
        self._inbound.forget(self)
        if self._session is not None:
            self._session.lost()
            self._session = None


async def _listeners(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets, one for each address of ``host``."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sock = socket.create_server(address, family=family, backlog=_BACKLOG)
            sock.setblocking(False)
            made.append(sock)
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


def _other_protocol(data: bytes) -> str:
    """Return which other protocol the first bytes of a connection are of; empty: none known."""
    if data[:2] == b"\x16\x03":
        return "it speaks TLS, this node does not: give it --tls-cert, --tls-key and --tls-ca too"
    if data.split(b" ", 1)[0] in (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"PRI"):
        return "it speaks HTTP, to a port for peers: the live page is at --metrics-listen"
    return ""


class Inbound:
    """The listening side for peers.

    Args:
        receiver: Who the frames are for.
        security: How connections are protected.
        held_max: Bytes of unfinished frames, over all connections.
    """

    def __init__(
        self,
        receiver: Receiver,
        log: Log,
        security: Security = PLAINTEXT,
        held_max: int = INBOUND_BYTES_MAX,
    ) -> None:
        self.receiver = receiver
        self.security = security
        self.held = 0
        """Bytes of unfinished frames now."""
        self.undigested = 0
        """Bytes of whole frames since all of them were last known to be dealt with."""
        self._held_max = held_max
        self._log = log
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: dict[Connection, None] = {}
        self._accepted: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.refused: Counter[str] = Counter()

    @property
    def accepted(self) -> int:
        """Connections with an accepted hello."""
        return len(self._accepted)

    async def listen(self, address: str) -> None:
        """Listen on ``host:port``.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        host, port = split_address(address)
        if self.security.server is None:
            self._server = await loop.create_server(
                lambda: Connection(self), host, port, backlog=_BACKLOG, reuse_address=True
            )
        else:
            # Accepted here, so that a connection counts from before its handshake, and each
            # handshake uses the certificates of its moment.
            for sock in await _listeners(host, port):
                self._tasks.add(loop.create_task(self._accept(sock), name="accept"))
        self._sweeper = loop.call_later(_SWEEP_INTERVAL, self._sweep)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    sock, peer = await loop.sock_accept(listener)
                except OSError as error:
                    self.count("accept", error.strerror or str(error), "?")
                    if error.errno in _OUT_OF:
                        await asyncio.sleep(_ACCEPT_RETRY)
                    continue
                connection = Connection(self)
                connection.enter(str(peer))
                task = loop.create_task(self._shake_hands(sock, connection), name="handshake")
                connection.handshake = task
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, sock: socket.socket, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self.security.server,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, TimeoutError) as error:
            self.count("tls", why_not(error), connection.peer)
            self.forget(connection)
            sock.close()
        except asyncio.CancelledError:
            self.forget(connection)
            sock.close()
            raise

    def keep_budget(self) -> None:
        """Close connections until the unfinished frames fit in their budget again.

        The one that has kept its frame unfinished for longest goes first: an honest peer's frame is
        whole within moments, one that is there to take memory never is.
        """
        while self.held > self._held_max:
            worst = min(
                (c for c in [*self._accepted, *self._strangers] if c.held),
                key=lambda connection: connection.unfinished_since,
            )
            self.held -= worst.held
            worst.held = 0
            worst.abort("budget", f"unfinished frames take more than {self._held_max} bytes")

    def hang_up(self) -> None:
        """Close all accepted connections; who may will come again."""
        for connection in list(self._accepted):
            connection.hang_up()

    def admit(self, connection: Connection) -> None:
        """Take in a stranger. When there are too many, the one that has been there longest goes.

        To refuse the newest would let a few idle connections keep every peer out; an honest one
        says hello within moments of coming in.
        """
        self._strangers[connection] = None
        if len(self._strangers) > UNAUTHENTICATED_CONNECTIONS_MAX:
            oldest = next(iter(self._strangers))
            self.count("strangers", "too many connections without a hello", oldest.peer)
            del self._strangers[oldest]
            oldest.make_way()

    def accept(self, connection: Connection) -> None:
        """A stranger has said a good hello."""
        self._strangers.pop(connection, None)
        self._accepted.add(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._strangers.pop(connection, None)
        self._accepted.discard(connection)

    def count(self, reason: str, words: str, peer: str) -> None:
        """Count a refused connection; the first of each reason, and every 100th, is logged."""
        self.refused[reason] += 1
        if self.refused[reason] % 100 == 1:
            self._log.warning(
                "peer connection refused",
                peer=peer, reason=reason, detail=words, times=self.refused[reason],
            )  # fmt: skip

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [*self._strangers, *self._accepted]:
            why = connection.overdue(now)
            if why is not None:
                connection.close("timeout", why)
        self._sweeper = loop.call_later(_SWEEP_INTERVAL, self._sweep)

    def close(self) -> None:
        """Listen no more and close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for connection in [*self._strangers, *self._accepted]:
            connection.hang_up()
