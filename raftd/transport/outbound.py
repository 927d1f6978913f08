"""What this node says to its peers: one connection to each, kept up, with a bounded queue.

A message that cannot be handed to a live connection at once is dropped and the core is told that
the peer is unreachable: Raft repeats what matters, and a queue that outlives its connection would
deliver old promises late.
"""

import asyncio
import random
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from raft.eraftpb import ConfState, Message, MsgSnapshot
from raftd.config import split_address
from raftd.log import Log
from raftd.transport.security import PLAINTEXT, PeerName, Security, SecurityError, why_not
from raftwire.errors import Code, HelloRefused, RemoteError
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import (
    ENTRIES_PER_FRAME_MAX,
    HELLO_REPLY_BYTES_MAX,
    HELLO_TIMEOUT_MS,
    KIB,
    MESSAGES_PER_FRAME_MAX,
    PEER_FRAME_BYTES_MAX,
    PEER_QUEUE_BYTES_MAX,
)
from raftwire.peer import (
    Expectations,
    Hello,
    HelloReply,
    PeerFrame,
    RefusedByPeer,
    check_hello_reply,
    make_hello,
    parse_hello_reply,
)
from raftwire.varint import varint

_BACKOFF_FIRST: Final = 0.05
_FAREWELL: Final = 3.0
"""Seconds that the link to a member that left is kept, so that it hears that it left."""

_MESSAGES_TAG: Final = b"\x0a"
"""Field 1 (messages) of PeerFrame, length-delimited: frames are joined from encoded messages."""


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may be silent before it is given up, in seconds.

    The defaults suit whoever dials once. A link between members goes by the election timeout, or it
    would keep the group waiting when a network heals: TCP doubles its pauses while nothing comes
    through, so after a cut of some seconds it lies still for as long again; measured with packets
    dropped for three seconds, a link came back up to 2.4 s later, with an election timeout of half
    a second. Asking the kernel for shorter pauses (TCP_RTO_MAX_MS) needs Linux 6.15 and does not
    go below a second, so a link that got no answer is given up and dialed anew.

    Attributes:
        connect: Until a connection stands, TLS included.
        hello: Until the hello is answered.
        unanswered: That sent bytes may go without an acknowledgement, or a window stay shut.
        pause_max: Between two attempts, on average.
    """

    connect: float = 3.0
    hello: float = HELLO_TIMEOUT_MS / 1000
    unanswered: float = 10.0
    pause_max: float = 2.0

    @classmethod
    def between_members(cls, election_timeout: float) -> "Patience":
        """Return that of a link: what it loses by waiting is less than one election takes."""
        usual = cls()
        return cls(
            connect=_clamp(election_timeout, 0.5, usual.connect),
            hello=_clamp(2 * election_timeout, 1.0, usual.hello),
            unanswered=_clamp(election_timeout, 0.5, usual.unanswered),
            pause_max=_clamp(election_timeout / 2, 0.1, usual.pause_max),
        )

    def pauses(self, rng: random.Random) -> Iterator[float]:
        """Yield the pauses between attempts, growing, with jitter.

        Without it a restarted node would be dialed by all its peers in step.
        """
        pause = _BACKOFF_FIRST
        while True:
            yield pause * rng.uniform(0.5, 1.5)
            pause = min(pause * 2, self.pause_max)


ONCE: Final = Patience()
"""Of who dials once, and tells somebody if that fails."""


_JOINED_MAX: Final = 64 * KIB
"""Smaller frames are put together before they are written: one piece costs the loop less than
several. Larger ones are handed on in pieces: to copy a value costs more, with a value of 1 MB some
hundredths of what a follower's append takes."""


def encode_message_frames(messages: Sequence[Message]) -> list[bytes]:
    """Return the bytes of ``messages`` as frames within the limits, in order, in pieces.

    A message that alone exceeds a frame is left out: the core's size limits make that impossible
    for any that it sends.
    """
    pieces: list[bytes] = []
    parts: list[bytes] = []
    size = count = entries = 0
    for message in _split(messages):
        encoded = message.SerializeToString()
        head = _MESSAGES_TAG + varint(len(encoded))
        needed = len(head) + len(encoded)
        if needed > PEER_FRAME_BYTES_MAX:
            continue
        carried = len(message.entries)
        if count and (
            size + needed > PEER_FRAME_BYTES_MAX
            or count == MESSAGES_PER_FRAME_MAX
            or entries + carried > ENTRIES_PER_FRAME_MAX
        ):
            _add_frame(pieces, size, parts)
            parts = []
            size = count = entries = 0
        parts += (head, encoded)
        size += needed
        count += 1
        entries += carried
    if parts:
        _add_frame(pieces, size, parts)
    return pieces


def _add_frame(pieces: list[bytes], size: int, parts: list[bytes]) -> None:
    head = size.to_bytes(4, "big")
    if size < _JOINED_MAX:
        pieces.append(b"".join((head, *parts)))
    else:
        pieces.append(head)
        pieces += parts


def _split(messages: Sequence[Message]) -> Iterable[Message]:
    """Yield ``messages``, an append with more entries than a frame may hold in several pieces."""
    for message in messages:
        if len(message.entries) <= ENTRIES_PER_FRAME_MAX:
            yield message
            continue
        index, log_term = message.index, message.log_term
        for start in range(0, len(message.entries), ENTRIES_PER_FRAME_MAX):
            piece = Message()
            entries = message.entries[start : start + ENTRIES_PER_FRAME_MAX]
            piece.CopyFrom(message)
            del piece.entries[:]
            piece.entries.extend(entries)
            piece.index, piece.log_term = index, log_term
            yield piece
            index, log_term = entries[-1].index, entries[-1].term


def tune(transport: asyncio.BaseTransport, unanswered: float = ONCE.unanswered) -> None:
    """Set a peer connection's options: no delay, and a dead peer is noticed in seconds.

    Args:
        unanswered: After how many seconds without an acknowledgement it is closed.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        # Also bounds how long a peer may leave its window shut.
        ("TCP_USER_TIMEOUT", round(unanswered * 1000)),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Dialer(asyncio.Protocol):
    """The dialing end of one connection: says hello, waits for the answer, then may be written to.

    Args:
        mine: Who this node is.
        to: The node to reach; 0 in a JOIN.
        on_frame: Called with each later frame's bytes; None: the other side has nothing to say.
        patience: When it is given up.
    """

    def __init__(
        self,
        mine: Expectations,
        kind: Hello.Kind,
        to: int,
        on_frame: Callable[[bytes], None] | None = None,
        security: Security = PLAINTEXT,
        patience: Patience = ONCE,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._patience = patience
        self._mine = mine
        self._to = to
        self._hello = encode_frame(make_hello(mine, to, kind).SerializeToString())
        self._on_frame = on_frame
        self._security = security
        self._certified: PeerName | None = None
        self._decoder = FrameDecoder(HELLO_REPLY_BYTES_MAX)
        self.accepted: asyncio.Future[HelloReply] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it.
        self.transport = transport
        tune(transport, self._patience.unanswered)
        encryption = transport.get_extra_info("ssl_object")
        try:
            certificate = None if encryption is None else encryption.getpeercert()
            self._certified = self._security.check(certificate, self._to)
        except SecurityError as error:
            self._refuse(str(error))
            return
        transport.write(self._hello)

    def _refuse(self, words: str) -> None:
        """Close the connection: it leads to somebody who cannot prove who it is."""
        code = Code.CERTIFICATE_MISMATCH
        if not self.accepted.done():
            self.accepted.set_exception(HelloRefused(code, words, code.facts.hint))
        self.abort()

    def data_received(self, data: bytes) -> None:
        """Take the answer to the hello, then what the other side has to say."""
        try:
            for frame in self._decoder.feed(data):
                if not self.accepted.done():
                    self._decoder.bytes_max = PEER_FRAME_BYTES_MAX
                    reply = parse_hello_reply(frame)
                    check_hello_reply(reply, self._mine, self._to)
                    if self._certified is not None and reply.node_id != self._certified.node_id:
                        self._refuse(f"node {reply.node_id} shows {self._certified}")
                        return
                    self.accepted.set_result(reply)
                elif self._on_frame is not None:
                    self._on_frame(frame)
        except RemoteError as error:
            if not self.accepted.done():
                self.accepted.set_exception(error)
            self.abort()

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable.set()

    def write(self, frame: PeerFrame) -> None:
        """Send a frame.

        Raises:
            ConnectionError: the connection is gone.
        """
        # A closed handle raises at whatever is asked of it, before anybody hears that it closed.
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the peer closed the connection")
        self.transport.write(encode_frame(frame.SerializeToString()))

    async def drain(self) -> None:
        """Wait until there is room to write.

        Raises:
            ConnectionError: the connection is gone.
        """
        await self._writable.wait()
        if self.closed.done():
            raise ConnectionResetError("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all who wait."""
        self._writable.set()
        if not self.accepted.done():
            self.accepted.set_exception(
                ConnectionResetError(str(exc) if exc else "closed before it answered the hello")
            )
            # Whoever dialed may have given up already.
            self.accepted.exception()
        if not self.closed.done():
            self.closed.set_result(None)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()


async def dial(
    address: str,
    mine: Expectations,
    kind: Hello.Kind,
    to: int = 0,
    on_frame: Callable[[bytes], None] | None = None,
    security: Security = PLAINTEXT,
    patience: Patience = ONCE,
) -> tuple[Dialer, HelloReply]:
    """Connect, say hello and return the connection and its answer.

    Raises:
        OSError: nobody listens there, or not in time.
        HelloRefused: the other side does not want this connection, and says why.
        RemoteError: it does not speak the protocol.
    """
    loop = asyncio.get_running_loop()
    host, port = split_address(address)
    context = security.client
    # The server's name is in its certificate as an id, not as a host.
    name = None if context is None else ""
    try:
        async with asyncio.timeout(patience.connect):
            _, dialer = await loop.create_connection(
                lambda: Dialer(mine, kind, to, on_frame, security, patience),
                host,
                port,
                ssl=context,
                server_hostname=name,
            )
    except ssl.SSLError as error:
        raise ConnectionRefusedError(why_not(error)) from None
    except TimeoutError:
        raise TimeoutError(f"no connection within {patience.connect:g} s") from None
    try:
        async with asyncio.timeout(patience.hello):
            return dialer, await dialer.accepted
    except TimeoutError:
        dialer.abort()
        raise TimeoutError("connected, but no answer to the hello") from None
    except BaseException:
        dialer.abort()
        raise


@dataclass(slots=True)
class LinkState:
    """How the connection to a peer is; for status."""

    reachable: bool = False
    since: float = 0.0
    """Loop time of the last change."""
    error: str = "not connected yet"
    rtt: float = 0.0
    """Seconds that the hello took."""
    version: str = ""
    incarnation: int = 0


class Link:
    """The connection to one peer: dials, dials again with growing delay, sends while it is up.

    A peer that is said to listen elsewhere is dialed there at once, and what is open stays in use
    until that succeeds. To hang up first would lose what is on its way, on every node at the same
    moment, and a wrong address would cut off a member that works.
    """

    def __init__(self, outbound: "Outbound", peer_id: int, address: str) -> None:
        self._outbound = outbound
        self._loop = asyncio.get_running_loop()
        self.peer_id = peer_id
        self.address = address
        self.state = LinkState(since=self._loop.time())
        self._dialer: Dialer | None = None
        self._dialed = ""
        """The address that the open connection leads to."""
        self._wake = asyncio.Event()
        self._task = self._loop.create_task(self._run(), name=f"link-{peer_id}")
        self._said = ""

    @property
    def _transport(self) -> asyncio.Transport | None:
        """What to write to; None: no connection, or one that is closed already."""
        transport = None if self._dialer is None else self._dialer.transport
        # A closed handle raises at whatever is asked of it, before anybody hears that it closed.
        return None if transport is None or transport.is_closing() else transport

    def write(self, frames: Iterable[bytes]) -> bool:
        """Send ``frames`` now; False if they were dropped: no connection, or its queue is full."""
        transport = self._transport
        if transport is None:
            return False
        if transport.get_write_buffer_size() > PEER_QUEUE_BYTES_MAX:
            self._outbound.dropped_full += 1
            return False
        transport.writelines(list(frames))
        return True

    @property
    def queued_bytes(self) -> int:
        """Bytes waiting to be sent."""
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def hurry(self) -> None:
        """Dial now instead of after the delay: the peer has just been heard from."""
        if self._dialer is None:
            self._wake.set()

    def move(self, address: str) -> None:
        """Take it from now on that the peer listens at ``address``."""
        if address != self.address:
            self.address = address
            self._wake.set()

    async def _run(self) -> None:
        outbound = self._outbound
        pauses = outbound.patience.pauses(outbound.random)
        while True:
            if self._dialer is not None and self._dialed == self.address:
                await self._woken()
                if self._dialer is None:
                    await self._woken(next(pauses))
                continue
            try:
                await self._connect()
                pauses = outbound.patience.pauses(outbound.random)
            except (OSError, RemoteError) as error:
                hint = error.hint if isinstance(error, HelloRefused) else ""
                self._not_connected(_words(error), hint)
                if isinstance(error, RefusedByPeer):
                    outbound.on_refused(error)
                await self._woken(next(pauses))

    async def _woken(self, seconds: float | None = None) -> None:
        """Wait until there is a reason to look again, ``seconds`` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _connect(self) -> None:
        started = self._loop.time()
        mine, address = self._outbound.mine(), self.address
        dialer, reply = await dial(
            address,
            mine,
            Hello.RAFT,
            self.peer_id,
            security=self._outbound.security,
            patience=self._outbound.patience,
        )
        assert dialer.transport is not None
        dialer.transport.set_write_buffer_limits(high=PEER_QUEUE_BYTES_MAX)
        state = self.state
        state.rtt = self._loop.time() - started
        state.version, state.incarnation = reply.version, reply.incarnation
        state.reachable, state.error, state.since = True, "", self._loop.time()
        former, self._dialer, self._dialed = self._dialer, dialer, address
        if former is not None and former.transport is not None:
            former.transport.close()
        dialer.closed.add_done_callback(lambda _: self._lost(dialer))
        self._said = ""
        if reply.HasField("config"):
            self._outbound.on_left_out(reply.config)
        self._outbound.log.info("peer connected", peer=self.peer_id, addr=address)
        self._outbound.on_up(self.peer_id)

    def _lost(self, dialer: Dialer) -> None:
        """A connection is gone: the one in use, or one that another has taken the place of."""
        if self._dialer is dialer:
            self._dialer = None
            self._not_connected("the peer closed the connection")
            self._wake.set()

    def _not_connected(self, why: str, hint: str = "") -> None:
        state = self.state
        news, self._said = why != self._said, why
        log, about = self._outbound.log, {"peer": self.peer_id, "addr": self.address, "reason": why}
        if hint:
            about["advice"] = hint
        if self._dialer is not None:
            if news:
                log.warning("new address of a peer not reached", **about)
            return
        was = state.reachable
        if was or not state.error:
            state.since = self._loop.time()
        state.reachable, state.error = False, why
        if news:
            # Once per reason: a peer that is down for a day is one line, not a day of them.
            log.warning("peer unreachable", **about)
        if was:
            self._outbound.on_down(self.peer_id)

    def hang_up(self) -> None:
        """Close what is open, and dial anew."""
        if self._dialer is not None and self._dialer.transport is not None:
            self._dialer.transport.close()

    def close(self) -> None:
        """Stop dialing and close what is open, after what was written."""
        self._task.cancel()
        self.hang_up()
        self._dialer = None


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


class Outbound:
    """The links to all peers.

    Args:
        mine: Returns who this node is, for the hello.
        on_unreachable: Called with a peer's id when a message to it was dropped.
        on_snapshot: Takes a snapshot message, which does not travel on the link.
        on_up, on_down: Called with a peer's id when its link comes up or is lost.
        on_refused: Called when a peer does not want to talk to this node.
        on_left_out: Called with a peer's configuration if it does not hold this node.
        patience: When links are given up and dialed anew.
    """

    def __init__(
        self,
        mine: Callable[[], Expectations],
        log: Log,
        *,
        on_unreachable: Callable[[int], None],
        on_snapshot: Callable[[Message], None],
        on_up: Callable[[int], None],
        on_down: Callable[[int], None],
        on_refused: Callable[[RefusedByPeer], None],
        on_left_out: Callable[[ConfState], None],
        security: Security = PLAINTEXT,
        patience: Patience = ONCE,
    ) -> None:
        self.mine = mine
        self.patience = patience
        self.log = log
        self.security = security
        self.random = random.Random()  # noqa: S311  (spreads reconnects, guards nothing)
        self.dropped = 0
        self.dropped_full = 0
        self._links: dict[int, Link] = {}
        self._on_unreachable = on_unreachable
        self._on_snapshot = on_snapshot
        self.on_up = on_up
        self.on_down = on_down
        self.on_refused = on_refused
        self.on_left_out = on_left_out
        self._leaving: dict[int, asyncio.TimerHandle] = {}
        self._closed = False

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        """Hold links to exactly these peers; one that is gone is kept for a few seconds."""
        if self._closed:
            return  # Connections that end with this node are told of after that.
        loop = asyncio.get_running_loop()
        for peer_id, address in addresses.items():
            if peer_id in self._leaving:
                self._leaving.pop(peer_id).cancel()
            link = self._links.get(peer_id)
            if link is not None:
                link.move(address)
            else:
                self._links[peer_id] = Link(self, peer_id, address)
        for peer_id in self._links.keys() - addresses.keys() - self._leaving.keys():
            # Kept for a moment: the message that says that it left is still to be sent.
            self._leaving[peer_id] = loop.call_later(_FAREWELL, self._drop, peer_id)

    def _drop(self, peer_id: int) -> None:
        self._leaving.pop(peer_id, None)
        link = self._links.pop(peer_id, None)
        if link is None:
            return
        link.close()
        if link.state.reachable:
            link.state.reachable = False
            # Whoever waits for an answer to what went over it waits in vain.
            self.on_down(peer_id)

    def hang_up(self) -> None:
        """Close what is open; the links dial anew at once."""
        for link in self._links.values():
            link.hang_up()

    def link(self, peer_id: int) -> Link | None:
        """Return the link to a peer; None if there is none."""
        return self._links.get(peer_id)

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up."""
        link = self._links.get(peer_id)
        return link is not None and link.state.reachable

    def send(self, messages: Sequence[Message]) -> None:
        """Send Raft messages, those to one peer in one piece."""
        by_peer: defaultdict[int, list[Message]] = defaultdict(list)
        for message in messages:
            if message.msg_type == MsgSnapshot:
                self._on_snapshot(message)
            else:
                by_peer[message.to].append(message)
        for peer_id, group in by_peer.items():
            link = self._links.get(peer_id)
            if link is None or not link.write(encode_message_frames(group)):
                self.dropped += len(group)
                self._on_unreachable(peer_id)

    def send_frame(self, peer_id: int, frame: PeerFrame) -> bool:
        """Send one frame; False if it was dropped."""
        link = self._links.get(peer_id)
        return link is not None and link.write((encode_frame(frame.SerializeToString()),))

    def close(self) -> None:
        """Close all links, for good."""
        self._closed = True
        for handle in self._leaving.values():
            handle.cancel()
        for link in [*self._links.values()]:
            link.close()
        self._links.clear()
