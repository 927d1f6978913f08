"""What no honest peer or client sends, sent to a real group: refused by name, counted, harmless.

Every case goes to one node of three that work. It must be refused for the reason given, which the
node counts; the connection is closed or answered; and at the end the group has had no election.
Who attacks knows the cluster id and speaks plaintext, as nobody could who has no certificate.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from raft.eraftpb import (
    ConfState,
    Entry,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHup,
    MsgPropose,
    MsgReadIndex,
    MsgRequestPreVote,
    MsgRequestVote,
    MsgSnapshot,
    MsgSnapStatus,
    MsgTimeoutNow,
    MsgUnreachable,
    SnapshotMetadata,
)
from raftwire.envelope import CONTROL, PROPOSAL, pack_origin
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import ENTRIES_PER_FRAME_MAX, HELLO_BYTES_MAX, PEER_FRAME_BYTES_MAX
from raftwire.peer import MAGIC, Hello, HelloReply, PeerFrame
from raftwire.proto.admin_pb2 import Request, Response
from tests.harness.processes import Cluster, wait_for

STRANGER = 9
"""The id that the attacker goes by: of the group as far as anybody knows, and no member."""

TIMEOUT = 10.0


@dataclass
class Target:
    """The node that is attacked.

    Attributes:
        term, last: As they are when a case is made.
    """

    cluster: Cluster
    id: int
    cluster_id: bytes
    term: int
    last: int

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.cluster[self.id].address.rpartition(":")
        return host, int(port)

    def counter(self, name: str) -> int:
        """Return how often something was refused."""
        status = self.cluster[self.id].status()
        assert status is not None
        return int(status.counters.get(name, 0))

    def hello(self, **changes: object) -> Hello:
        """Return a hello that is good but for ``changes``."""
        fields: dict[str, object] = {
            "magic": MAGIC, "protocol_min": 1, "protocol_max": 1, "cluster_id": self.cluster_id,
            "node_id": STRANGER, "to_node_id": self.id, "incarnation": 7, "kind": Hello.RAFT,
        }  # fmt: skip
        return Hello(**{**fields, **changes})  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=TIMEOUT)

    def greeted(self, kind: Hello.Kind = Hello.RAFT) -> socket.socket:
        """Return a connection whose hello was accepted."""
        sock = self.connect()
        sock.sendall(encode_frame(self.hello(kind=kind).SerializeToString()))
        reply = HelloReply.FromString(frames(sock, 1)[0])
        assert reply.ok, reply
        return sock


def frames(sock: socket.socket, count: int) -> list[bytes]:
    """Read so many frames; fewer if the connection ends."""
    decoder = FrameDecoder(1 << 24)
    found: list[bytes] = []
    while len(found) < count:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            break
        if not data:
            break
        found += decoder.feed(data)
    return found


def closed(sock: socket.socket) -> bool:
    """Tell whether the other side ends the connection, in time."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.fixture(scope="module")
def group() -> Iterator[Cluster]:
    # Slow enough to be undisturbed by a loaded machine: an election would hide what a case did.
    with Cluster(3, "--election-timeout", "4s", "--heartbeat", "200ms") as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def target(group: Cluster) -> Target:
    node_id = group.follower()
    with group[node_id].client() as client:
        for n in range(20):
            client.propose(b"%d" % n)
        status = client.status()
    return Target(group, node_id, bytes.fromhex(status.cluster_id), status.term, status.last_index)


@pytest.fixture(scope="module", autouse=True)
def _undisturbed(group: Cluster, target: Target) -> Iterator[None]:
    """After all cases: the same leader in the same term, all nodes equal, proposals taken."""
    before = group[target.id].status()
    pids = {node.id: node.pid for node in group.nodes.values()}
    yield
    after = group[target.id].status()
    assert before is not None
    assert after is not None
    assert (after.leader, after.term) == (before.leader, before.term)
    assert {node.id: node.pid for node in group.running()} == pids
    with group.client() as client:
        client.propose(b"the end")
    group.check_equal()


@pytest.fixture(autouse=True)
def _goes_on(group: Cluster) -> Iterator[None]:
    yield
    with group.client() as client:
        client.propose(b"goes on")


# --- at the hello -------------------------------------------------------------------------------

Bytes = Callable[[Target], bytes]

_RANDOM = random.Random(42)


def lengths(size: int, rest: bytes = b"") -> Bytes:
    return lambda _: struct.pack(">I", size) + rest


def plain(data: bytes) -> Bytes:
    return lambda _: data


def framed(data: bytes) -> Bytes:
    return lambda _: encode_frame(data)


def hello(**changes: object) -> Bytes:
    return lambda target: encode_frame(target.hello(**changes).SerializeToString())


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _RANDOM.randbytes(200)

#: Name: what is sent as the first bytes, and why it is refused.
FIRST: dict[str, tuple[Bytes, str]] = {
    # 42: other protocols and noise.
    "garbage 16": (plain(b"\xfe" + _RANDOM.randbytes(15)), "bad_frame"),
    "garbage 4 KiB": (plain(b"\xc3" + _RANDOM.randbytes(4095)), "bad_frame"),
    "garbage 1 MiB": (plain(b"\x99" + _RANDOM.randbytes(2**20)), "bad_frame"),
    "all ones": (plain(b"\xff" * 64), "bad_frame"),
    "text": (plain(b"hello raftd, are you there?\n"), "bad_frame"),
    "TLS": (plain(TLS_HELLO), "other_protocol"),
    "HTTP": (plain(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "other_protocol"),
    "HTTP post": (
        plain(b"POST /v1/kv HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
        "other_protocol",
    ),
    "HTTP/2": (plain(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "other_protocol"),
    "SSH": (plain(b"SSH-2.0-OpenSSH_9.2\r\n"), "bad_frame"),
    "Redis": (plain(b"*1\r\n$4\r\nPING\r\n"), "bad_frame"),
    "SMB": (plain(b"\xffSMB\x72\x00\x00\x00\x00\x18\x53\xc8"), "bad_frame"),
    # 43: lengths.
    "length 0": (lengths(0), "bad_frame"),
    "length 1": (lengths(1, b"\x00"), "bad_message"),
    "length one over": (lengths(HELLO_BYTES_MAX + 1), "bad_frame"),
    "length of a later frame": (lengths(PEER_FRAME_BYTES_MAX), "bad_frame"),
    "length 2^31-1": (lengths(2**31 - 1), "bad_frame"),
    "length 2^31": (lengths(2**31), "bad_frame"),
    "length 2^32-1": (lengths(2**32 - 1), "bad_frame"),
    "full hello of nothing": (lengths(HELLO_BYTES_MAX, bytes(HELLO_BYTES_MAX)), "bad_message"),
    # 45: what is no message.
    "group": (framed(b"\x0b\x0c"), "bad_message"),
    "unknown wire type": (framed(b"\x0f"), "bad_message"),
    "field number 0": (framed(b"\x02\x00"), "bad_message"),
    "varint without end": (framed(b"\x10" + b"\xff" * 20), "bad_message"),
    "length beyond the end": (framed(b"\x0a\x7fRAFT"), "bad_message"),
    "negative length": (framed(b"\x0a" + b"\xff" * 9 + b"\x01"), "bad_message"),
    "groups in groups": (framed(b"\x0b" * 500 + b"\x0c" * 500), "bad_message"),
    "text that is not UTF-8": (
        lambda target: encode_frame(target.hello().SerializeToString() + b"\x4a\x02\xff\xfe"),
        "bad_message",
    ),
    "a frame instead of a hello": (
        lambda _: encode_frame(PeerFrame(messages=[Message(msg_type=MsgHup)]).SerializeToString()),
        "bad_message",
    ),
    # 47: who is meant.
    "no magic": (hello(magic=b""), "bad_message"),
    "other magic": (hello(magic=b"GRPC"), "bad_message"),
    "another cluster": (hello(cluster_id=bytes(16)), "cluster_mismatch"),
    "no cluster": (hello(cluster_id=b""), "invalid_request"),
    "half a cluster id": (hello(cluster_id=bytes(8)), "invalid_request"),
    "a long cluster id": (hello(cluster_id=bytes(17)), "invalid_request"),
    "its own id": (lambda t: encode_frame(t.hello(node_id=t.id).SerializeToString()), "same_id"),
    "id 0": (hello(node_id=0), "invalid_request"),
    "id 2^53": (hello(node_id=2**53), "invalid_request"),
    "id 2^64-1": (hello(node_id=2**64 - 1), "invalid_request"),
    "to another node": (hello(to_node_id=77), "wrong_node"),
    "to nobody": (hello(to_node_id=0), "wrong_node"),
    "a newer protocol": (hello(protocol_min=2, protocol_max=9), "unsupported_version"),
    "an older protocol": (hello(protocol_min=0, protocol_max=0), "unsupported_version"),
    "no kind": (hello(kind=Hello.KIND_UNSPECIFIED), "invalid_request"),
    "an unknown kind": (hello(kind=99), "invalid_request"),
    "another state machine": (hello(state_machine="kv"), "state_machine_mismatch"),
    "a long address": (hello(advertise="x" * 300), "invalid_request"),
}


@pytest.mark.parametrize("name", FIRST)
def test_a_bad_beginning(target: Target, name: str) -> None:
    make, reason = FIRST[name]
    before = target.counter(f"refused_connection_{reason}")
    with target.connect() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(make(target))
        assert closed(sock), "the connection is left open"
    assert target.counter(f"refused_connection_{reason}") == before + 1


def test_a_refused_hello_is_told_why_and_a_stranger_not_where_it_is(target: Target) -> None:
    with target.connect() as sock:
        sock.sendall(hello(cluster_id=bytes(16))(target))
        (answer,) = frames(sock, 1)
    reply = HelloReply.FromString(answer)
    assert not reply.ok
    assert reply.code == "CLUSTER_MISMATCH"
    assert reply.hint
    assert reply.cluster_id == b""


# --- in an accepted connection: the bytes ---------------------------------------------------------


def bomb(tag: bytes, count: int) -> bytes:
    """Return a region of so many empty submessages."""
    return (tag + b"\x00") * count


def region(tag: int, data: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(data)) + data


#: Name: what is sent after a good hello, and why the connection is closed.
LATER: dict[str, tuple[Bytes, str]] = {
    "length 0": (lengths(0), "bad_frame"),
    "length one over": (lengths(PEER_FRAME_BYTES_MAX + 1), "bad_frame"),
    "length 2^31-1": (lengths(2**31 - 1), "bad_frame"),
    "length 2^32-1": (lengths(2**32 - 1), "bad_frame"),
    "garbage": (plain(b"\xee" + _RANDOM.randbytes(999)), "bad_frame"),
    "HTTP": (plain(b"GET / HTTP/1.1\r\n\r\n"), "bad_frame"),
    "another hello": (hello(), "bad_message"),
    "a group without end": (framed(b"\x0b"), "bad_message"),
    "groups in groups": (framed(b"\x0b" * 5000 + b"\x0c" * 5000), "bad_message"),
    "unknown wire type": (framed(b"\x0f"), "bad_message"),
    "field number 0": (framed(b"\x02\x00"), "bad_message"),
    "varint without end": (framed(b"\x08" + b"\xff" * 20), "bad_message"),
    "length beyond the end": (framed(b"\x0a\x7f"), "bad_message"),
    "a number for a message": (framed(b"\x0a\x03abc"), "bad_message"),
    # 45: two bytes on the wire, hundreds in memory.
    "4,097 entries": (
        framed(region(1, bomb(b"\x3a", ENTRIES_PER_FRAME_MAX + 1))),
        "bad_message",
    ),
    "2,000,000 entries": (framed(region(1, bomb(b"\x3a", 2_000_000))), "bad_message"),
    "2,000,000 messages": (framed(bomb(b"\x0a", 2_000_000)), "bad_message"),
    "2,000,000 forwards": (framed(region(2, bomb(b"\x0a", 2_000_000))), "bad_message"),
    "entries over many messages": (
        framed(region(1, bomb(b"\x3a", 300)) * 20),
        "bad_message",
    ),
    "overlong tags": (framed(region(1, b"\xba\x80\x80\x00\x00" * 100_000)), "bad_message"),
    "a long refusal": (framed(region(3, region(2, b"\x01" * 4_000_000))), "bad_message"),
}


@pytest.mark.parametrize("name", LATER)
def test_bad_bytes_later(target: Target, name: str) -> None:
    make, reason = LATER[name]
    before = target.counter(f"refused_connection_{reason}")
    with target.greeted() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(make(target))
        assert closed(sock), "the connection is left open"
    assert target.counter(f"refused_connection_{reason}") == before + 1


# --- in an accepted connection: the messages ------------------------------------------------------


def message(msg_type: int, **fields: object) -> Callable[[Target], Message]:
    def make(target: Target) -> Message:
        # To is this node, from is who said hello, the term is the one in force.
        values: dict[str, object] = {"to": target.id, "from_": STRANGER, "term": target.term}
        values |= fields
        shown = {name: v(target) if callable(v) else v for name, v in values.items()}
        return Message(msg_type=msg_type, **shown)  # type: ignore[arg-type]

    return make


def append(*entries: Entry, **fields: object) -> Callable[[Target], Message]:
    base: dict[str, object] = {"index": 10, "log_term": 1, "entries": list(entries)}
    return message(MsgAppend, **{**base, **fields})


def odd_entry(entry_type: int, **fields: object) -> Entry:
    return Entry(entry_type=entry_type, **fields)  # type: ignore[arg-type]


def snapshot(**metadata: object) -> Callable[[Target], Message]:
    def make(target: Target) -> Message:
        made = message(MsgSnapshot)(target)
        made.snapshot.metadata.CopyFrom(SnapshotMetadata(**metadata))  # type: ignore[arg-type]
        return made

    return make


def last(target: Target) -> int:
    return target.last


#: Name: the message, and the reason it is counted under.
MESSAGES: dict[str, tuple[Callable[[Target], Message], str]] = {
    # 46: what a node says only to itself.
    "hup": (message(MsgHup), "local_type"),
    "beat": (message(MsgBeat), "local_type"),
    "unreachable": (message(MsgUnreachable), "local_type"),
    "snap status": (message(MsgSnapStatus), "local_type"),
    "check quorum": (message(MsgCheckQuorum), "local_type"),
    "an unknown type": (message(19), "unknown_type"),
    "a type of 2^31-1": (message(2**31 - 1), "unknown_type"),
    # 47: from whom, to whom.
    "of another member": (message(MsgAppendResponse, from_=77), "wrong_sender"),
    "of nobody": (message(MsgAppendResponse, from_=0), "wrong_sender"),
    "of the node itself": (
        message(MsgAppendResponse, from_=lambda target: target.id),
        "wrong_sender",
    ),
    "a vote in another's name": (message(MsgRequestVote, from_=1000), "wrong_sender"),
    "to another node": (message(MsgAppendResponse, to=77), "wrong_recipient"),
    "to nobody": (message(MsgAppendResponse, to=0), "wrong_recipient"),
    "a proposal of nobody": (
        message(MsgPropose, from_=0, term=0, entries=[Entry(data=b"x")]),
        "misplaced_field",
    ),
    # 48: numbers and entries.
    "append in term 0": (append(term=0), "bad_term"),
    "heartbeat in term 0": (message(MsgHeartbeat, term=0), "bad_term"),
    "vote request in term 0": (message(MsgRequestVote, term=0), "bad_term"),
    "term 2^63": (append(term=2**63), "bad_term"),
    "term 2^64-1": (message(MsgRequestPreVote, term=2**64 - 1), "bad_term"),
    "index 2^63": (append(index=2**63), "bad_index"),
    "index 2^64-1": (append(index=2**64 - 1), "bad_index"),
    "commit 2^63": (append(commit=2**63), "bad_index"),
    "commit 2^64-1": (message(MsgHeartbeat, commit=2**64 - 1), "bad_index"),
    "reject hint 2^64-1": (
        message(MsgAppendResponse, reject=True, reject_hint=2**64 - 1),
        "bad_index",
    ),
    "requested snapshot 2^64-1": (
        message(MsgAppendResponse, request_snapshot=2**64 - 1),
        "bad_index",
    ),
    "log term 2^64-1": (append(log_term=2**64 - 1), "bad_term"),
    "commit term 2^64-1": (message(MsgRequestVote, commit_term=2**64 - 1), "bad_term"),
    "entries before the first": (append(Entry(index=1, term=1), index=0, log_term=1), "bad_index"),
    "a term without an index": (append(index=0, log_term=2), "bad_index"),
    "an index without a term": (append(index=5, log_term=0), "bad_index"),
    "a past of a later term": (append(log_term=10**6), "bad_term"),
    "entries with a hole": (
        append(Entry(index=11, term=1), Entry(index=13, term=1)),
        "bad_entries",
    ),
    "entries that begin late": (append(Entry(index=12, term=1)), "bad_entries"),
    "entries twice": (append(Entry(index=11, term=1), Entry(index=11, term=1)), "bad_entries"),
    "an entry of term 0": (append(Entry(index=11)), "bad_entries"),
    "an entry of a later term": (append(Entry(index=11, term=10**6)), "bad_entries"),
    "an entry at 2^64-1": (append(Entry(index=2**64 - 1, term=1)), "bad_entries"),
    "terms that go back": (
        append(Entry(index=11, term=2), Entry(index=12, term=1), Entry(index=13, term=2)),
        "protocol",
    ),
    "an unknown type of entry": (
        append(odd_entry(9, index=11, term=1)),
        "protocol",
    ),
    "a change that does not parse": (
        append(odd_entry(1, index=11, term=1, data=b"\xff\xff")),
        "protocol",
    ),
    "a context of 5 KB": (message(MsgRequestVote, context=bytes(5000)), "bad_context"),
    "entries in a heartbeat": (message(MsgHeartbeat, entries=[Entry()]), "misplaced_field"),
    "entries in a vote": (message(MsgRequestVote, entries=[Entry()]), "misplaced_field"),
    "a proposal of nothing": (message(MsgPropose, term=0), "misplaced_field"),
    "a proposal of a broken change": (
        message(MsgPropose, term=0, entries=[odd_entry(1, data=b"\xff")]),
        "misplaced_field",
    ),
    "a proposal of an unknown type": (
        message(MsgPropose, term=0, entries=[odd_entry(7)]),
        "misplaced_field",
    ),
    "a read of nothing": (message(MsgReadIndex, term=0), "bad_entries"),
    # 49: what this node does not have.
    "commit beyond the log": (
        message(MsgHeartbeat, commit=lambda target: target.last + 10**6),
        "bad_commit",
    ),
    "commit of 2^62": (message(MsgHeartbeat, commit=2**62), "bad_commit"),
    # 50: snapshots. On this connection none is taken at all.
    "a snapshot without its file": (
        snapshot(index=1000, term=1, conf_state=ConfState(voters=[1, 2, 3])),
        "misplaced_field",
    ),
    "a snapshot in an append": (
        message(MsgAppend, index=10, log_term=1, snapshot=lambda t: snapshot(index=1)(t).snapshot),
        "misplaced_field",
    ),
    "a snapshot in an answer": (
        message(MsgTimeoutNow, snapshot=lambda t: snapshot(index=1)(t).snapshot),
        "misplaced_field",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_bad_message(target: Target, name: str) -> None:
    make, reason = MESSAGES[name]
    counter = f"refused_message_{reason}"
    before = target.counter(counter)
    bad = PeerFrame(messages=[make(target)]).SerializeToString()
    with target.greeted() as sock:
        sock.sendall(encode_frame(bad))
        wait_for(f"it to be counted as {reason}", lambda: target.counter(counter) > before, 10)
        strikes = target.counter("refused_connection_strikes")
        # Heard out a few times, then the connection is closed.
        sock.sendall(encode_frame(bad) * 2)
        assert closed(sock)
        assert target.counter("refused_connection_strikes") == strikes + 1


FORWARDS: dict[str, Callable[[Target], Entry]] = {
    "without an origin": lambda _: Entry(data=b"x"),
    "in another's name": lambda t: Entry(context=pack_origin(PROPOSAL, t.id, 1, 1), data=b"x"),
    "of a kind that is none": lambda _: Entry(context=pack_origin(9, STRANGER, 1, 1), data=b"x"),
    "with a key that is no text": lambda _: Entry(
        context=pack_origin(PROPOSAL, STRANGER, 1, 1) + b"\xff\xfe", data=b"x"
    ),
    "of a control command that is none": lambda _: Entry(
        context=pack_origin(CONTROL, STRANGER, 1, 1), data=b"\xff"
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_a_bad_forward(target: Target, name: str) -> None:
    """What nobody could apply is not appended by anyone."""
    entry = FORWARDS[name](target)
    entry.term = target.term
    frame = PeerFrame()
    frame.forward.entries.append(entry)
    before = target.counter("refused_message_bad_forward")
    with target.greeted() as sock:
        sock.sendall(encode_frame(frame.SerializeToString()) * 3)
        assert closed(sock)
    assert target.counter("refused_message_bad_forward") == before + 3


# --- snapshot and join connections ----------------------------------------------------------------


FILE = "1000000-1-0123456789abcdef"


def offer(**changes: object) -> Callable[[Target], PeerFrame]:
    def make(target: Target) -> PeerFrame:
        frame = PeerFrame()
        values: dict[str, object] = {
            "id": FILE, "size": 100, "sha256": bytes(32), "term": target.term,
            "message": snapshot(index=10**6, term=1)(target).SerializeToString(),
        }  # fmt: skip
        frame.offer.MergeFrom(type(frame.offer)(**{**values, **changes}))  # type: ignore[arg-type]
        return frame

    return make


def chunk(offset: int, data: bytes, crc: int | None = None) -> Callable[[Target], PeerFrame]:
    def make(_: Target) -> PeerFrame:
        frame = PeerFrame()
        frame.chunk.offset, frame.chunk.data = offset, data
        frame.chunk.crc32 = zlib.crc32(data) if crc is None else crc
        return frame

    return make


#: Answered with a reason; the sender is not heard any more.
OFFERS: dict[str, Callable[[Target], PeerFrame]] = {
    "without a message": offer(message=b""),
    "whose message does not parse": offer(message=b"\xff\xff"),
    "of another kind of message": lambda t: offer(
        message=message(MsgAppend)(t).SerializeToString()
    )(t),
    "in another's name": lambda t: offer(
        message=message(MsgSnapshot, from_=77)(t).SerializeToString()
    )(t),
    "without a manifest": offer(),
    "of another file than its message's": lambda t: offer(
        message=manifested(t, size=7).SerializeToString()
    )(t),
    "of 2^60 bytes": lambda t: offer(
        size=2**60, message=manifested(t, size=2**60).SerializeToString()
    )(t),
    "larger than the disk": lambda t: offer(
        size=2**36 - 1, message=manifested(t, size=2**36 - 1).SerializeToString()
    )(t),
}


def manifested(target: Target, size: int) -> Message:
    """Return a snapshot message with a manifest of the file ``s``."""
    made = snapshot(index=10**6, term=1, conf_state=ConfState(voters=[1, 2, 3]))(target)
    made.snapshot.data = json.dumps({"id": FILE, "size": size, "sha256": "00" * 32}).encode()
    return made


@pytest.mark.parametrize("name", OFFERS)
def test_a_bad_offer(target: Target, name: str) -> None:
    with target.greeted(Hello.SNAPSHOT) as sock:
        sock.sendall(encode_frame(OFFERS[name](target).SerializeToString()))
        (answer,) = frames(sock, 1)
    done = PeerFrame.FromString(answer).done
    assert not done.ok
    assert done.code in ("INVALID_REQUEST", "SNAPSHOT_BUSY")
    assert done.error
    assert nothing_received(target)


def nothing_received(target: Target) -> bool:
    folder = target.cluster[target.id].data_dir / "snapshots"
    return not folder.exists() or not list(folder.iterdir())


SNAPSHOTS: dict[str, Callable[[Target], PeerFrame]] = {
    "a piece before an offer": chunk(0, b"x"),
    "a piece of nothing": chunk(0, b""),
    "a piece far out": chunk(2**63, b"x"),
    "a Raft message": lambda t: PeerFrame(messages=[message(MsgHeartbeat)(t)]),
    "an announcement": lambda _: PeerFrame(announce={"id": 5, "addr": "x:1"}),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_bad_snapshot(target: Target, name: str) -> None:
    """Nothing is received, installed or left over; the connection is closed after a few."""
    frame = encode_frame(SNAPSHOTS[name](target).SerializeToString())
    before = target.counter("refused_connection_strikes")
    with target.greeted(Hello.SNAPSHOT) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(frame * 3)
        assert closed(sock)
    assert target.counter("refused_connection_strikes") == before + 1
    assert nothing_received(target)


JOINS: dict[str, Callable[[Target], PeerFrame]] = {
    "a Raft message": lambda t: PeerFrame(messages=[message(MsgHeartbeat)(t)]),
    "an announcement of nobody": lambda _: PeerFrame(announce={"addr": "x:1"}),
    "an announcement of 2^60": lambda _: PeerFrame(announce={"id": 2**60, "addr": "x:1"}),
    "an announcement from nowhere": lambda _: PeerFrame(announce={"id": 5}),
    "an announcement from far away": lambda _: PeerFrame(announce={"id": 5, "addr": "x" * 300}),
    "nothing": lambda _: PeerFrame(refused={"code": "X"}),
}


@pytest.mark.parametrize("name", JOINS)
def test_a_bad_newcomer(target: Target, name: str) -> None:
    frame = encode_frame(JOINS[name](target).SerializeToString())
    before = target.counter("refused_connection_strikes")
    with target.greeted(Hello.JOIN) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(frame * 3)
        assert closed(sock)
    assert target.counter("refused_connection_strikes") == before + 1


# --- slowness -------------------------------------------------------------------------------------


def silent(target: Target, sock: socket.socket) -> None:
    """Say nothing at all."""


def half_a_hello(target: Target, sock: socket.socket) -> None:
    sock.sendall(hello()(target)[:9])


def half_a_length(target: Target, sock: socket.socket) -> None:
    sock.sendall(b"\x00\x00")


def drips(target: Target, sock: socket.socket) -> None:
    """Send a hello a byte a second."""
    with contextlib.suppress(OSError):
        for byte in hello()(target):
            sock.sendall(bytes([byte]))
            time.sleep(0.25)


def half_a_frame(target: Target, sock: socket.socket) -> None:
    sock.sendall(hello(node_id=10)(target))
    sock.sendall(struct.pack(">I", 1000) + bytes(500))


def dripping_frame(target: Target, sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(hello(node_id=11)(target) + struct.pack(">I", 1000))
        for _ in range(100):
            sock.sendall(b"\x00")
            time.sleep(0.25)


SLOW = (silent, half_a_hello, half_a_length, drips, half_a_frame, dripping_frame)


def test_whoever_is_slow_is_given_up(target: Target) -> None:
    """Slow beginnings after five seconds, slow frames after ten; a byte now and then is no help."""
    before = target.counter("refused_connection_timeout")

    def attack(behave: Callable[[Target, socket.socket], None]) -> bool:
        with target.connect() as sock:
            sock.settimeout(25)
            threading.Thread(target=behave, args=(target, sock), daemon=True).start()
            return closed(sock)

    with ThreadPoolExecutor(len(SLOW)) as pool:
        assert list(pool.map(attack, SLOW)) == [True] * len(SLOW)
    assert target.counter("refused_connection_timeout") == before + len(SLOW)


# --- the admin socket -----------------------------------------------------------------------------


def ask(target: Target, data: bytes) -> tuple[list[Response], bool]:
    """Send bytes to the admin socket; return the answers, and whether it was closed."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(target.cluster[target.id].socket))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        found = [Response.FromString(frame) for frame in frames(sock, 1)]
        sock.settimeout(0.2)
        return found, closed(sock)


def request(**fields: object) -> bytes:
    return encode_frame(Request(**{"id": 1, **fields}).SerializeToString())  # type: ignore[arg-type]


#: Name: what a client sends, the code it is answered with, and whether it is hung up on.
REQUESTS: dict[str, tuple[bytes, str, bool]] = {
    "garbage": (b"\xff" * 64, "INVALID_REQUEST", True),
    "length 0": (struct.pack(">I", 0), "INVALID_REQUEST", True),
    "length 2^32-1": (struct.pack(">I", 2**32 - 1), "INVALID_REQUEST", True),
    "length 2 MiB": (struct.pack(">I", 2 * 2**20), "INVALID_REQUEST", True),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "INVALID_REQUEST", True),
    "no message": (encode_frame(b"\x0b\x0c"), "INVALID_REQUEST", True),
    "no id": (encode_frame(Request(deadline_ms=1).SerializeToString()), "INVALID_REQUEST", True),
    "no body": (request(), "UNSUPPORTED", False),
    "a body of the future": (encode_frame(b"\x08\x01\xfa\x3e\x00"), "UNSUPPORTED", False),
    "a proposal one byte over": (
        request(propose={"data": bytes(2**20 + 1)}), "TOO_LARGE", False,
    ),
    "a key of 257 bytes": (request(propose={"data": b"x", "key": "k" * 257}), "TOO_LARGE", False),
    "a key of 129 times two bytes": (
        request(propose={"data": b"x", "key": "\u00e9" * 129}), "TOO_LARGE", False,
    ),
    "a wait for nothing": (request(wait={}), "INVALID_REQUEST", False),
    "a level that is none": (request(loglevel={"level": "loud"}), "INVALID_REQUEST", False),
    "entries of no type": (request(log_read={"types": ["x"]}), "INVALID_REQUEST", False),
    "a member of no kind": (
        request(member_change={}, deadline_ms=2000), "INVALID_REQUEST|INVALID_CONFIG", False,
    ),
    "a change to nobody": (
        request(member_change={"kind": 1}, deadline_ms=2000), "INVALID_CONFIG", False,
    ),
    "id 0 as a voter": (
        request(member_change={"kind": 4, "voters": [0]}, deadline_ms=2000),
        "INVALID_CONFIG|INVALID_REQUEST", False,
    ),
    "a transfer to nobody known": (
        request(transfer_leader={"id": 77}, deadline_ms=2000), "UNKNOWN_MEMBER", False,
    ),
    "a protocol of the future": (
        request(hello={"protocol_min": 7, "protocol_max": 9}), "UNSUPPORTED_VERSION", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request(target: Target, name: str) -> None:
    data, code, hangs_up = REQUESTS[name]
    found, was_closed = ask(target, data)
    assert len(found) == 1
    assert found[0].error.code in code.split("|"), found[0]
    assert found[0].error.message
    assert was_closed is hangs_up


def test_odd_proposals_that_are_fine(target: Target) -> None:
    with target.cluster[target.id].client() as client:
        for data in (b"", b"\xff\xfe not text", bytes(2**20)):
            index = client.propose(data).index
            (entry,) = client.log_read(index, index + 1)
            assert entry.data == data


def test_clients_that_come_and_go(target: Target) -> None:
    """Many connections, used and unused, half-finished requests, clients gone before the answer."""
    path = str(target.cluster[target.id].socket)
    idle = []
    for _ in range(500):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        idle.append(sock)
    for n, sock in enumerate(idle):
        if n % 3 == 1:
            sock.sendall(struct.pack(">I", 1000))
        elif n % 3 == 2:
            sock.sendall(request(propose={"data": b"gone"}))
            sock.close()
    status = target.cluster[target.id].status()
    assert status is not None
    for sock in idle:
        sock.close()
    wait_for("them to be forgotten", lambda: _clients(target) <= 2)


def _clients(target: Target) -> int:
    status = target.cluster[target.id].status()
    assert status is not None
    return int(status.limits.connections)


def test_a_request_is_heard_once_although_its_id_is_used_twice(target: Target) -> None:
    two = request(wait={"what": 5, "index": 2**40}, deadline_ms=1500)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(target.cluster[target.id].socket))
        sock.sendall(two * 2)
        codes = [Response.FromString(frame).error.code for frame in frames(sock, 2)]
    assert codes == ["INVALID_REQUEST", "TIMEOUT"]


# --- the socket's place ---------------------------------------------------------------------------


def _start_at(cluster: Cluster, path: Path) -> tuple[int, str]:
    node = cluster[1]
    node.start("--admin-socket", str(path))
    try:
        return node.wait(8), node.last_lines()
    except Exception:
        node.kill()
        return 0, ""


def test_where_the_socket_may_be() -> None:
    with Cluster(1) as group:
        plain_file = group.folder / "file"
        plain_file.write_text("precious")
        code, said = _start_at(group, plain_file)
        assert (code, plain_file.read_text()) == (1, "precious")
        assert "exists and is not a socket" in said
        link = group.folder / "link"
        link.symlink_to(plain_file)
        code, said = _start_at(group, link)
        assert (code, plain_file.read_text()) == (1, "precious")
        assert "exists and is not a socket" in said
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(group.folder / "live"))
            live.listen()
            code, said = _start_at(group, group.folder / "live")
            assert code == 1
            assert "a running process listens" in said
        code, said = _start_at(group, group.folder / ("x" * 120))
        assert code == 2
        assert "longer than the 107" in said
        # Left behind by a process that died: taken over.
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(group[1].socket))
        group.start()
        assert os.stat(group[1].socket).st_mode & 0o777 == 0o600


def test_there_are_as_many_cases_as_promised() -> None:
    cases: tuple[Sized, ...] = (
        FIRST,
        LATER,
        MESSAGES,
        FORWARDS,
        OFFERS,
        SNAPSHOTS,
        JOINS,
        SLOW,
        REQUESTS,
    )
    assert sum(len(case) for case in cases) >= 120
