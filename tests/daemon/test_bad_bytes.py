"""Strangers and broken clients: each is shown out with a counted reason; nobody else notices."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from raftd.config import split_address
from raftwire.frame import encode_frame
from raftwire.peer import Expectations, Hello, HelloReply, PeerFrame, make_hello
from tests.harness.processes import Cluster, cluster, wait_for


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster(1) as group:
        yield group


@pytest.fixture
def group(running: Cluster) -> Iterator[Cluster]:
    pid = running[1].pid
    yield running
    # Whatever a test did: the same process goes on serving.
    assert running[1].pid == pid
    with running[1].client() as client:
        client.propose(b"unharmed")


def cluster_id(group: Cluster) -> bytes:
    status = group[1].status()
    assert status is not None
    return bytes.fromhex(status.cluster_id)


def connect(group: Cluster) -> socket.socket:
    return socket.create_connection(split_address(group[1].address), timeout=15.0)


def closed_by_peer(sock: socket.socket) -> bytes:
    """Read until the other side closes; return what it said."""
    found = b""
    try:
        while piece := sock.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def hello(group: Cluster, **fields: object) -> bytes:
    mine = Expectations(node_id=2, cluster_id=cluster_id(group), incarnation=7, state_machine="log")
    message = make_hello(mine, 1, Hello.RAFT)
    for name, value in fields.items():
        setattr(message, name, value)
    return encode_frame(message.SerializeToString())


def counters(group: Cluster) -> dict[str, int]:
    status = group[1].status()
    assert status is not None
    return dict(status.counters)


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: raft\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    struct.pack(">I", 1025) + bytes(1025),
    encode_frame(b"\xff" * 32),
    encode_frame(b"\x0a\x04NOPE"),
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: data[:12].hex())
def test_bytes_that_are_no_hello(group: Cluster, data: bytes) -> None:
    with connect(group) as sock:
        sock.sendall(data)
        closed_by_peer(sock)
    refused = {k: v for k, v in counters(group).items() if k.startswith("refused_connection")}
    assert sum(refused.values()) > 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (lambda: {"cluster_id": bytes(16)}, "CLUSTER_MISMATCH"),
        (lambda: {"node_id": 1}, "SAME_ID"),
        (lambda: {"to_node_id": 3}, "WRONG_NODE"),
        (lambda: {"protocol_min": 9, "protocol_max": 9}, "UNSUPPORTED_VERSION"),
        (lambda: {"state_machine": "kv"}, "STATE_MACHINE_MISMATCH"),
        (lambda: {"node_id": 2**60}, "INVALID_REQUEST"),
        (lambda: {"kind": 9}, "INVALID_REQUEST"),
    ],
)
def test_a_hello_that_does_not_belong_here_is_told_why(
    group: Cluster, fields: Callable[[], dict[str, object]], code: str
) -> None:
    with connect(group) as sock:
        sock.sendall(hello(group, **fields()))
        answer = closed_by_peer(sock)
    reply = HelloReply.FromString(answer[4:])
    assert not reply.ok
    assert reply.code == code
    assert reply.message


def test_frames_that_break_the_protocol_after_a_good_hello(group: Cluster) -> None:
    for data in (
        b"\x00\x00\x00\x00",
        struct.pack(">I", 8 * 2**20 + 1),
        encode_frame(b"\xff\xff\xff"),
    ):
        with connect(group) as sock:
            sock.sendall(hello(group))
            assert sock.recv(4)
            sock.sendall(data)
            closed_by_peer(sock)


def test_raft_messages_that_no_honest_peer_sends(group: Cluster) -> None:
    frame = PeerFrame()
    frame.messages.add(msg_type=0, to=1, from_=2, term=99)
    frame.messages.add(msg_type=8, to=1, from_=2, term=2**64 - 1)
    frame.messages.add(msg_type=3, to=1, from_=9, term=99)
    frame.messages.add(msg_type=3, to=5, from_=2, term=99)
    before = group[1].status()
    assert before is not None
    with connect(group) as sock:
        sock.sendall(hello(group) + encode_frame(frame.SerializeToString()))
        wait_for(
            "the messages to be refused", lambda: counters(group)["messages_refused"] >= 4, 15.0
        )
    after = group[1].status()
    assert after is not None
    assert (after.term, after.role) == (before.term, "leader")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        encode_frame(b"\xff\xff"),
        encode_frame(b"\x10\x01"),
    ],
    ids=lambda data: data.hex(),
)
def test_broken_admin_requests_close_their_own_connection(group: Cluster, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(15.0)
        sock.connect(str(group[1].socket))
        sock.sendall(data)
        assert closed_by_peer(sock)


def test_a_client_that_goes_away_before_its_answer(group: Cluster) -> None:
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(group[1].socket))
            sock.sendall(encode_frame(b"\x08\x01\x62\x04\x0a\x02hi"))
    with group[1].client() as client:
        wait_for("the connections to be gone", lambda: client.status().limits.connections <= 1)
