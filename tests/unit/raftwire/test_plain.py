"""What is read and written by its layout means what protobuf says it means."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from raftwire.admin import Request, Response, error_to_message
from raftwire.errors import AdminError, Code
from raftwire.plain import PlainRequests, error_answer, propose_answer, query_answer
from raftwire.proto.admin_pb2 import Outcome, ProposeRequest, QueryRequest
from raftwire.varint import read_varint, varint

ids = st.integers(1, 2**53)
payloads = st.one_of(st.binary(min_size=1, max_size=40), st.integers(100, 20_000).map(bytes))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Proposals and queries, most of them plain."""
    request = Request(
        id=draw(ids),
        deadline_ms=draw(st.sampled_from((0, 10_000))),
        no_forward=draw(st.sampled_from((False, False, True))),
        state_machine=draw(st.sampled_from(("", "kv"))),
    )
    if draw(st.booleans()):
        request.propose.data = draw(payloads)
        request.propose.key = draw(st.sampled_from(("", "", "k")))
        request.propose.noop = draw(st.sampled_from((False, False, True)))
    else:
        request.query.data = draw(payloads)
        request.query.max_stale_ms = draw(st.sampled_from((0, 0, 5)))
    return request


def data_alone(request: Request) -> Request:
    """Return what `request` says beside id and body."""
    rest = Request()
    rest.CopyFrom(request)
    rest.id = 0
    rest.ClearField(request.WhichOneof("body") or "")
    return rest


def meaning(noted: Request, found: tuple[int, bool, bytes]) -> Request:
    """Return the request that `found` stands for after `noted`."""
    request = data_alone(noted)
    request.id, proposes, data = found
    if proposes:
        request.propose.CopyFrom(ProposeRequest(data=data))
    else:
        request.query.CopyFrom(QueryRequest(data=data))
    return request


@given(st.lists(requests(), min_size=1, max_size=6))
def test_what_is_read_by_layout_is_what_protobuf_reads(stream: list[Request]) -> None:
    plain = PlainRequests()
    noted = Request()
    for request in stream:
        frame = request.SerializeToString()
        found = plain.read(frame)
        if found is not None:
            assert meaning(noted, found) == request
        elif plain.note(frame, request):
            noted = request
            again = plain.read(frame)
            assert again is not None
            assert meaning(noted, again) == request


@given(
    st.sampled_from((b"\x01" * 3, b"x" * 100, b"y" * 20_000)),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 255)), max_size=4),
    st.integers(-3, 3),
)
def test_damaged_bytes_are_read_as_protobuf_reads_them_or_not_at_all(
    data: bytes, changes: list[tuple[int, int]], more: int
) -> None:
    request = Request(id=300, deadline_ms=10_000, query=QueryRequest(data=data))
    frame = bytearray(request.SerializeToString())
    plain = PlainRequests()
    assert plain.note(bytes(frame), request)
    for at, byte in changes:
        if at < len(frame):
            frame[at] = byte
    damaged = bytes(frame) + b"\x00" * more if more > 0 else bytes(frame[: len(frame) + more])
    found = plain.read(damaged)
    if found is not None:
        assert meaning(request, found) == Request.FromString(damaged)


@given(st.binary(max_size=12))
def test_an_id_that_protobuf_refuses_is_none(number: bytes) -> None:
    request = Request(id=1, query=QueryRequest(data=b"data"))
    plain = PlainRequests()
    rest = request.SerializeToString()[2:]
    assert plain.note(b"\x08\x01" + rest, request)
    frame = b"\x08" + number + rest
    found = plain.read(frame)
    if found is not None:
        assert meaning(request, found) == Request.FromString(frame)


@pytest.mark.parametrize(
    "request_",
    [
        Request(id=1, propose=ProposeRequest(data=b"d", key="k")),
        Request(id=1, propose=ProposeRequest(data=b"d", wait=ProposeRequest.WAIT_NONE)),
        Request(id=1, propose=ProposeRequest(data=b"d", expect_index=7)),
        Request(id=1, propose=ProposeRequest(noop=True)),
        Request(id=1, query=QueryRequest(data=b"d", consistency=QueryRequest.STALE)),
        Request(id=1, query=QueryRequest()),
    ],
)
def test_a_request_that_says_more_is_neither_noted_nor_read(request_: Request) -> None:
    plain = PlainRequests()
    frame = request_.SerializeToString()
    assert not plain.note(frame, request_)
    simple = Request(id=1, query=QueryRequest(data=b"d"))
    assert plain.note(simple.SerializeToString(), simple)
    assert not plain.note(frame, request_)
    assert plain.read(frame) is None
    assert plain.read(simple.SerializeToString()) == (1, False, b"d")


def test_puts_and_gets_take_turns() -> None:
    plain = PlainRequests()
    get = Request(id=2**40, deadline_ms=9, query=QueryRequest(data=b"key"))
    put = Request(id=7, deadline_ms=9, propose=ProposeRequest(data=bytes(70_000)))
    assert plain.read(get.SerializeToString()) is None
    assert plain.note(get.SerializeToString(), get)
    assert plain.read(put.SerializeToString()) == (7, True, bytes(70_000))
    assert plain.read(get.SerializeToString()) == (2**40, False, b"key")
    # Another deadline is not what was noted.
    put.deadline_ms = 10
    assert plain.read(put.SerializeToString()) is None


def test_who_never_says_the_same_twice_is_parsed_as_before() -> None:
    plain = PlainRequests()
    noted = 0
    for deadline in range(1, 1000):
        request = Request(id=1, deadline_ms=deadline, query=QueryRequest(data=b"d"))
        noted += plain.note(request.SerializeToString(), request)
    assert 0 < noted < 100


@given(ids, payloads, st.integers(0, 2**53))
def test_the_answer_to_a_query(number: int, result: bytes, index: int) -> None:
    signed = Response(node=2, leader=3, term=500, cluster_id="ab" * 16, as_of_ms=2**40)
    answer = Response.FromString(query_answer(number, signed.SerializeToString(), result, index))
    signed.id = number
    signed.query.result, signed.query.index = result, index
    assert answer == signed


@given(ids, st.text(), st.dictionaries(st.text(), st.integers()))
def test_a_refusal(number: int, message: str, details: dict[str, object]) -> None:
    signed = Response(node=2, leader=3, term=500, cluster_id="ab" * 16, as_of_ms=2**40)
    error = error_to_message(AdminError(Code.OVERLOADED, message, details=details))
    encoded = Response(error=error).SerializeToString()
    answer = Response.FromString(error_answer(number, signed.SerializeToString(), encoded))
    signed.id = number
    signed.error.CopyFrom(error)
    assert answer == signed


@given(ids, payloads, st.integers(0, 2**53), st.integers(0, 2**40))
def test_the_answer_to_a_proposal(number: int, result: bytes, index: int, term: int) -> None:
    signed = Response(node=2, leader=3, term=500)
    encoded = propose_answer(
        number, signed.SerializeToString(), index, term, Outcome.APPLIED, result
    )
    signed.id = number
    reply = signed.propose
    reply.index, reply.term, reply.outcome, reply.result = index, term, Outcome.APPLIED, result
    assert Response.FromString(encoded) == signed


@given(st.integers(0, 2**64 - 1))
def test_numbers(number: int) -> None:
    encoded = varint(number)
    assert read_varint(b"\x80" + encoded + b"\x01", 1) == (number, 1 + len(encoded))
    assert (b"\x08" + encoded if number else b"") == Request(id=number).SerializeToString()
    if len(encoded) > 1:
        with pytest.raises(DecodeError):
            Request.FromString(b"\x08" + encoded[:-1])
        assert read_varint(encoded[:-1], 0)[1] == len(encoded)


@pytest.mark.parametrize("length", [11, 1_000_000])
def test_of_a_number_without_end_ten_bytes_are_looked_at(length: int) -> None:
    """Else a frame of nothing else would keep the node busy for minutes."""
    data = b"\xff" * length
    value, end = read_varint(data, 0)
    assert value < 1 << 70
    assert end > length
