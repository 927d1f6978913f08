"""raftwire.peer: who is let in, and frames read within a budget."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.eraftpb import ConfState, Entry, Message
from raftwire.envelope import CONTROL, Origin
from raftwire.errors import Code, HelloRefused, MessageError
from raftwire.limits import ENTRIES_PER_FRAME_MAX, MESSAGES_PER_FRAME_MAX
from raftwire.peer import (
    Expectations,
    Forward,
    ForwardRefused,
    Hello,
    HelloReply,
    PeerFrame,
    RefusedByPeer,
    check_hello,
    check_hello_reply,
    make_hello,
    pack_conf_context,
    parse_frame,
    parse_hello,
    parse_hello_reply,
    unpack_conf_context,
)

CLUSTER = b"c" * 16
ONE = Expectations(1, CLUSTER, 11, "log", "0.1.0", "h:1", (1, 2, 3), (9,), {1: "h:1", 2: "h:2"})
TWO = ONE._replace(node_id=2, incarnation=22, advertise="h:2")
NEW = Expectations(7, b"", 77)


def hello(**changes: object) -> Hello:
    message = make_hello(TWO, 1, Hello.RAFT)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_members_of_one_cluster_agree() -> None:
    sent = parse_hello(make_hello(TWO, 1, Hello.RAFT).SerializeToString())
    reply = parse_hello_reply(check_hello(sent, ONE).SerializeToString())
    assert reply.ok
    assert (reply.protocol, reply.node_id, reply.incarnation) == (1, 1, 11)
    assert not reply.addrs
    check_hello_reply(reply, TWO, 1)


def test_a_joining_node_learns_cluster_and_addresses() -> None:
    reply = check_hello(make_hello(NEW, 0, Hello.JOIN), ONE)
    assert reply.ok
    assert reply.cluster_id == CLUSTER
    assert reply.state_machine == "log"
    assert dict(reply.addrs) == {1: "h:1", 2: "h:2"}
    check_hello_reply(reply, NEW, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol_min": 2, "protocol_max": 3}, Code.UNSUPPORTED_VERSION),
        ({"protocol_min": 0, "protocol_max": 0}, Code.UNSUPPORTED_VERSION),
        ({"cluster_id": b"d" * 16}, Code.CLUSTER_MISMATCH),
        ({"cluster_id": b""}, Code.INVALID_REQUEST),
        ({"cluster_id": b"short"}, Code.INVALID_REQUEST),
        ({"node_id": 0}, Code.INVALID_REQUEST),
        ({"node_id": 2**53}, Code.INVALID_REQUEST),
        ({"node_id": 1}, Code.SAME_ID),
        ({"node_id": 9}, Code.REMOVED_MEMBER),
        ({"node_id": 4}, Code.UNKNOWN_MEMBER),
        ({"to_node_id": 3}, Code.WRONG_NODE),
        ({"to_node_id": 0}, Code.WRONG_NODE),
        ({"kind": 0}, Code.INVALID_REQUEST),
        ({"kind": 99}, Code.INVALID_REQUEST),
        ({"state_machine": "kv"}, Code.STATE_MACHINE_MISMATCH),
        ({"advertise": "x" * 300}, Code.INVALID_REQUEST),
    ],
)
def test_strangers_are_refused_with_a_reason(changes: dict[str, object], code: Code) -> None:
    reply = check_hello(hello(**changes), ONE)
    assert not reply.ok
    assert reply.code == code
    assert reply.message
    assert reply.hint == code.facts.hint
    with pytest.raises(HelloRefused) as refused:
        check_hello_reply(reply, TWO, 1)
    assert refused.value.code is code
    assert code in str(refused.value)


def test_a_stranger_does_not_learn_the_cluster_id() -> None:
    assert check_hello(hello(cluster_id=b"d" * 16), ONE).cluster_id == b""


def test_who_knows_no_configuration_takes_any_member() -> None:
    assert check_hello(hello(node_id=4), ONE._replace(members=None)).ok


def test_nobody_can_join_through_a_node_that_joins_itself() -> None:
    reply = check_hello(make_hello(NEW._replace(node_id=8), 0, Hello.JOIN), NEW)
    assert reply.code == Code.NOT_MEMBER


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cluster_id": b"d" * 16}, Code.CLUSTER_MISMATCH),
        ({"node_id": 3}, Code.WRONG_NODE),
        ({"node_id": 2}, Code.SAME_ID),
        ({"protocol": 9}, Code.UNSUPPORTED_VERSION),
    ],
)
def test_the_dialer_checks_whom_it_reached(changes: dict[str, object], code: Code) -> None:
    reply = check_hello(hello(), ONE)
    for name, value in changes.items():
        setattr(reply, name, value)
    with pytest.raises(HelloRefused) as refused:
        check_hello_reply(reply, TWO, 1)
    assert refused.value.code is code


def test_a_joining_node_wants_a_cluster() -> None:
    with pytest.raises(HelloRefused, match="names no cluster"):
        check_hello_reply(HelloReply(ok=True, protocol=1, node_id=1), NEW, 0)


CONFIG = ConfState(voters=[1, 3], learners=[5], config_index=17, removed=[2, 9])


def test_who_is_not_in_the_configuration_is_shown_it() -> None:
    one = ONE._replace(members=None, config=CONFIG)
    reply = check_hello(hello(), one)
    assert reply.ok
    assert (list(reply.config.voters), reply.config.config_index) == ([1, 3], 17)
    assert not reply.config.removed
    for member in (3, 5):
        assert not check_hello(hello(node_id=member), one).HasField("config")
    joint = ConfState(voters=[1, 4], voters_outgoing=[1, 2], config_index=17)
    assert not check_hello(hello(), one._replace(config=joint)).HasField("config")


def test_who_has_left_is_shown_the_configuration_with_the_refusal() -> None:
    reply = check_hello(hello(node_id=9), ONE._replace(config=CONFIG))
    with pytest.raises(RefusedByPeer) as refused:
        check_hello_reply(reply, TWO, 1)
    assert refused.value.config is not None
    assert list(refused.value.config.voters) == [1, 3]


@pytest.mark.parametrize(
    ("kind", "known", "made", "code"),
    [
        (Hello.RAFT, {2: 1000}, 1000, ""),
        (Hello.RAFT, {2: 1000}, 2000, Code.DATA_LOST),
        (Hello.SNAPSHOT, {2: 1000}, 2000, Code.DATA_LOST),
        (Hello.RAFT, {2: 1000}, 0, ""),  # An older version, which does not say.
        (Hello.RAFT, {3: 1000}, 2000, ""),
        (Hello.JOIN, {3: 1000}, 0, ""),
        (Hello.JOIN, {2: 1000}, 0, Code.DATA_LOST),
        (Hello.JOIN, {2: 1000}, 2000, Code.DATA_LOST),
        (Hello.JOIN, {2: 1000}, 1000, ""),
    ],
)
def test_an_id_stands_for_one_disk(
    kind: Hello.Kind, known: dict[int, int], made: int, code: str
) -> None:
    reply = check_hello(hello(kind=kind, data_made_ms=made), ONE._replace(data_known=known))
    assert reply.code == code
    assert reply.ok == (not code)


def test_the_dialer_too_knows_lost_data() -> None:
    reply = check_hello(hello(), ONE._replace(data_made_ms=1000))
    check_hello_reply(reply, TWO._replace(data_known={1: 1000}), 1)
    with pytest.raises(HelloRefused, match="node 1 has lost its data") as refused:
        check_hello_reply(reply, TWO._replace(data_known={1: 999}), 1)
    assert not isinstance(refused.value, RefusedByPeer)


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        Hello(magic=b"TFAR").SerializeToString(),
        Hello(magic=b"RAFT", version="x" * 2000).SerializeToString(),
        b"\xff",
    ],
)
def test_what_is_no_hello_is_refused(first: bytes) -> None:
    with pytest.raises(MessageError):
        parse_hello(first)


@given(st.binary(max_size=1100))
def test_any_first_frame_is_read_or_refused(frame: bytes) -> None:
    try:
        got = parse_hello(frame)
    except MessageError:
        return
    check_hello(got, ONE)


def test_frames_come_back() -> None:
    entries = [Entry(index=n, term=1, data=b":" * 100) for n in range(1, 2000)]
    frame = PeerFrame(messages=[Message(entries=entries), Message(to=2)])
    assert parse_frame(frame.SerializeToString()) == frame
    frame = PeerFrame(forward=Forward(entries=entries))
    assert parse_frame(frame.SerializeToString()) == frame


def test_a_full_frame_of_data_that_looks_like_tags_is_read() -> None:
    data = b"\x3a\x00\x0a\x00" * 250_000
    frame = PeerFrame(messages=[Message(entries=[Entry(index=1, term=1, data=data)])])
    assert parse_frame(frame.SerializeToString()) == frame


def test_the_limits_themselves_are_allowed() -> None:
    frame = PeerFrame(messages=[Message(entries=[Entry()] * ENTRIES_PER_FRAME_MAX)])
    assert len(parse_frame(frame.SerializeToString()).messages[0].entries) == ENTRIES_PER_FRAME_MAX
    frame = PeerFrame(messages=[Message(to=1)] * MESSAGES_PER_FRAME_MAX)
    assert len(parse_frame(frame.SerializeToString()).messages) == MESSAGES_PER_FRAME_MAX


def bombs() -> dict[str, bytes]:
    many = 2_000_000

    def field(number: int, body: bytes) -> bytes:
        size = len(body)
        length = bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        length.append(size)
        return bytes([number << 3 | 2]) + bytes(length) + body

    return {
        "empty entries": field(1, b"\x3a\x00" * many),
        "entries with overlong tags": field(1, b"\xba\x80\x00\x00" * (many // 2)),
        "small entries": field(1, b"\x3a\x02\x08\x00" * (many // 2)),
        "entries spread over messages": field(1, b"\x3a\x00" * 2000) * 3,
        "forwarded entries": field(2, b"\x0a\x00" * many),
        "forwards merged": field(2, b"\x0a\x00" * 3000) * 2,
        "empty messages": b"\x0a\x00" * many,
        "unknown fields": b"\x0a\x00" * 4097 + b"\x78\x00" * many,
        "refused sequences": field(3, field(2, b"\x01" * many)),
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_a_frame_with_too_many_parts_is_refused_before_it_is_parsed(name: str) -> None:
    frame = bombs()[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(MessageError, match="more"):
            parse_frame(frame)
        took = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Counting may copy the frame once, and no more.
    assert peak < len(frame) + 1024 * 1024
    assert took < 2


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_frame_is_read_or_refused(data: bytes, repeat: int) -> None:
    frame = data * (1 + repeat)
    try:
        parsed = parse_frame(frame)
    except MessageError:
        return
    entries = sum(len(message.entries) for message in parsed.messages)
    assert entries + len(parsed.forward.entries) <= ENTRIES_PER_FRAME_MAX
    assert len(parsed.messages) <= MESSAGES_PER_FRAME_MAX


def test_a_full_refusal_is_read() -> None:
    refused = ForwardRefused(
        incarnation=2**63 - 1, sequences=[2**64 - 1 - n for n in range(4096)], code="NO_LEADER"
    )
    frame = PeerFrame(refused=refused)
    assert parse_frame(frame.SerializeToString()) == frame


def test_conf_context_carries_origin_and_addresses() -> None:
    origin = Origin(CONTROL, 1, 2, 3)
    context = pack_conf_context(origin, {5: "h:5", 4: "h:4"})
    assert unpack_conf_context(context) == (origin, {4: "h:4", 5: "h:5"})
    assert context == pack_conf_context(origin, {4: "h:4", 5: "h:5"})
    assert unpack_conf_context(b"") == (None, {})
    assert unpack_conf_context(b"another program's") == (None, {})


@pytest.mark.parametrize(
    "addrs", [{0: "h:1"}, {2**53: "h:1"}, {1: "x" * 300}, {n + 1: "h" for n in range(65)}]
)
def test_conf_context_within_limits(addrs: dict[int, str]) -> None:
    with pytest.raises(MessageError):
        unpack_conf_context(pack_conf_context(Origin(CONTROL, 1, 2, 3), addrs))
    with pytest.raises(MessageError):
        unpack_conf_context(b"\x02" + bytes(24) + b"\xff")
