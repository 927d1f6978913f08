"""Both clients against a scripted node: answers, refusals, deaths at every point, and streams.

Each test runs twice: with the blocking client, and with the asyncio client behind the same face.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import pytest

import raftwire
from raftwire import admin, kv
from raftwire.admin import LogEntry, Request, Response
from raftwire.client import Client
from raftwire.errors import AdminError, Code, LocalError, Outcome
from raftwire.frame import encode_frame
from raftwire.proto import admin_pb2 as pb
from tests.unit.raftwire.fake_node import FakeConnection, FakeNode, Handler


class Facing(Protocol):
    """A client as these tests use it: every method returns its result, or a list of a stream."""

    last: Response | None

    def __call__(self, method: str, *args: Any, **options: Any) -> Any: ...

    def close(self) -> None: ...


class Blocking:
    def __init__(self, *sockets: str, **options: Any) -> None:
        self.client = Client(*sockets, **options)

    @property
    def last(self) -> Response | None:
        return self.client.last

    def __call__(self, method: str, *args: Any, take: int = 0, **options: Any) -> Any:
        result = attribute(self.client, method)(*args, **options)
        if not isinstance(result, Iterator):
            return result
        items = []
        for item in result:
            items.append(item)
            if len(items) == take:
                break
        close = getattr(result, "close", None)
        if close is not None:
            close()
        return items

    def close(self) -> None:
        self.client.close()


class Asyncio:
    def __init__(self, *sockets: str, **options: Any) -> None:
        self.runner = asyncio.Runner()

        async def make() -> raftwire.AsyncClient:
            return raftwire.AsyncClient(*sockets, **options)

        self.client = self.runner.run(make())

    @property
    def last(self) -> Response | None:
        return self.client.last

    def __call__(self, method: str, *args: Any, take: int = 0, **options: Any) -> Any:
        async def run() -> Any:
            result = attribute(self.client, method)(*args, **options)
            if not isinstance(result, AsyncIterator):
                return await result
            items = []
            async for item in result:
                items.append(item)
                if len(items) == take:
                    break
            close = getattr(result, "aclose", None)
            if close is not None:
                await close()
            return items

        return self.runner.run(run())

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()


def attribute(client: object, path: str) -> Callable[..., Any]:
    value: Any = client
    for name in path.split("."):
        value = getattr(value, name)
    return value  # type: ignore[no-any-return]


Make = Callable[..., Facing]


@pytest.fixture(params=[Blocking, Asyncio])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Facing] = []

    def build(*sockets: str, **options: Any) -> Facing:
        made.append(request.param(*sockets, **options))
        return made[-1]

    yield build
    for facing in made:
        facing.close()


@pytest.fixture
def node() -> Iterator[Callable[[Handler], FakeNode]]:
    nodes: list[FakeNode] = []

    def build(handler: Handler) -> FakeNode:
        nodes.append(FakeNode(handler))
        return nodes[-1]

    yield build
    for one in nodes:
        one.close()


Node = Callable[[Handler], FakeNode]


def propose_reply(index: int = 1, **fields: Any) -> Response:
    return Response(
        leader=1, term=7, propose=pb.ProposeReply(index=index, term=7, outcome=pb.APPLIED, **fields)
    )


def refusal(code: Code, **facts: Any) -> Response:
    return admin.error_response(0, AdminError(code, f"refused: {code}", **facts))


def always(response: Callable[[], Response]) -> Handler:
    def handle(request: Request, connection: FakeConnection) -> bool:
        connection.answer(request, response())
        return True

    return handle


def hang_up(_request: Request, _connection: FakeConnection) -> bool:
    return False


def keep_silent(_request: Request, _connection: FakeConnection) -> bool:
    return True


def in_turn(*handlers: Handler) -> Handler:
    """One handler a request, the last for all further ones."""
    queue = list(handlers)

    def handle(request: Request, connection: FakeConnection) -> bool:
        return (queue.pop(0) if len(queue) > 1 else queue[0])(request, connection)

    return handle


# ---- one request, one answer ---------------------------------------------------------------------


def test_a_proposal_and_its_answer(make: Make, node: Node) -> None:
    one = node(always(lambda: propose_reply(42, result=b"ok")))
    client = make(one.path, timeout=3)
    reply = client("propose", b"hello", "key-1", expect_index=42, wait="committed")
    assert (reply.index, reply.term, reply.result) == (42, 7, b"ok")
    assert client.last is not None
    assert (client.last.node, client.last.leader, client.last.term) == (1, 1, 7)
    (request,) = one.requests
    assert request.propose == pb.ProposeRequest(
        data=b"hello", key="key-1", wait=pb.ProposeRequest.WAIT_COMMITTED, expect_index=42
    )
    assert request.id
    assert request.protocol == 1
    assert 2000 < request.deadline_ms <= 3000
    assert not request.no_forward


def test_one_connection_serves_many_requests(make: Make, node: Node) -> None:
    one = node(always(propose_reply))
    client = make(one.path)
    for _ in range(20):
        client("propose", b"x")
    assert one.accepted == 1
    assert len({request.id for request in one.requests}) == 20


def test_an_answer_in_single_bytes(make: Make, node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        response = propose_reply(5)
        response.id = request.id
        for byte in encode_frame(response.SerializeToString()):
            connection.raw(bytes([byte]))
        return True

    assert make(node(handle).path)("propose", b"x").index == 5


def test_answers_to_others_are_dropped(make: Make, node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        stray = propose_reply(99)
        stray.id = request.id + 1000
        connection.raw(encode_frame(stray.SerializeToString()))
        connection.answer(request, propose_reply(5))
        return True

    assert make(node(handle).path)("propose", b"x").index == 5


@pytest.mark.parametrize("code", [Code.NO_LEADER, Code.TOO_LARGE, Code.CONF_PENDING])
def test_a_refusal_is_raised_as_it_was_said(make: Make, node: Node, code: Code) -> None:
    one = node(always(lambda: refusal(code, hint="do this", details={"limit": 5})))
    with pytest.raises(AdminError, match="refused") as caught:
        make(one.path)("propose", b"x")
    error = caught.value
    assert (error.code, error.hint, error.details) == (code, "do this", {"limit": "5"})
    assert error.outcome is Outcome.NOT_APPLIED
    assert len(one.requests) == 1


def test_no_forward_is_told_to_the_node(make: Make, node: Node) -> None:
    one = node(always(lambda: refusal(Code.NOT_LEADER)))
    with pytest.raises(AdminError):
        make(one.path, no_forward=True)("propose", b"x")
    assert one.requests[0].no_forward


def test_without_a_key_a_death_after_the_request_leaves_the_outcome_unknown(
    make: Make, node: Node
) -> None:
    one, two = node(hang_up), node(always(propose_reply))
    with pytest.raises(AdminError) as caught:
        make(one.path, two.path)("propose", b"x")
    assert caught.value.code is Code.CONNECTION_LOST_UNKNOWN
    assert caught.value.exit_code == 6
    assert two.requests == []


def test_half_an_answer_is_no_answer(make: Make, node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        response = propose_reply()
        response.id = request.id
        connection.raw(encode_frame(response.SerializeToString())[:-1])
        return False

    with pytest.raises(AdminError) as caught:
        make(node(handle).path)("propose", b"x")
    assert caught.value.code is Code.CONNECTION_LOST_UNKNOWN


def test_with_a_key_it_is_sent_again_through_the_next_socket(make: Make, node: Node) -> None:
    one, two = node(hang_up), node(always(lambda: propose_reply(8, deduplicated=True)))
    reply = make(one.path, two.path)("propose", b"x", "key-1")
    assert reply.deduplicated
    assert one.requests[0].propose == two.requests[0].propose
    assert two.requests[0].propose.key == "key-1"


def test_with_a_key_it_is_sent_again_through_the_same_socket(make: Make, node: Node) -> None:
    lost, late = hang_up, always(lambda: refusal(Code.NO_LEADER, retry_after_ms=1))
    one = node(in_turn(lost, late, lost, always(lambda: propose_reply(8))))
    assert make(one.path)("propose", b"x", "key-1").index == 8
    assert [request.propose.key for request in one.requests] == ["key-1"] * 4


def test_a_key_does_not_hide_that_an_earlier_attempt_may_have_been_applied(
    make: Make, node: Node
) -> None:
    one = node(in_turn(hang_up, always(lambda: refusal(Code.NO_LEADER, retry_after_ms=1))))
    with pytest.raises(AdminError) as caught:
        make(one.path)("propose", b"x", "key-1", timeout=0.3)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert caught.value.details["last_code"] == "NO_LEADER"


def test_without_retries_a_key_is_sent_once(make: Make, node: Node) -> None:
    one = node(always(lambda: refusal(Code.NO_LEADER)))
    with pytest.raises(AdminError):
        make(one.path, retries=False)("propose", b"x", "key-1")
    assert len(one.requests) == 1


def test_a_read_is_asked_again_elsewhere(make: Make, node: Node) -> None:
    one = node(hang_up)
    two = node(always(lambda: Response(read_index=pb.ReadIndexReply(index=3))))
    assert make(one.path, two.path)("read_index").index == 3


def test_a_read_waits_for_a_leader(make: Make, node: Node) -> None:
    late = always(lambda: refusal(Code.NO_LEADER, retry_after_ms=1))
    one = node(in_turn(late, late, always(lambda: Response(read_index=pb.ReadIndexReply(index=3)))))
    assert make(one.path)("read_index").index == 3


def test_a_restarted_node_is_found_again(make: Make, node: Node) -> None:
    # The node closes the connection while nobody waits: nothing was asked on it.
    def once(request: Request, connection: FakeConnection) -> bool:
        connection.answer(request, propose_reply())
        return False

    one = node(once)
    client = make(one.path)
    for number in range(1, 4):
        client("propose", b"x", "key")
        deadline = time.monotonic() + 5
        while one.accepted < number and time.monotonic() < deadline:
            time.sleep(0.001)
    assert one.accepted >= 3


def test_a_node_that_never_answers(make: Make, node: Node) -> None:
    client = make(node(keep_silent).path, timeout=0.1)
    began = time.monotonic()
    with pytest.raises(AdminError) as caught:
        client("propose", b"x")
    assert caught.value.code is Code.TIMEOUT_UNKNOWN
    with pytest.raises(AdminError) as caught:
        client("read_index")
    assert caught.value.code is Code.TIMEOUT
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert time.monotonic() - began < 3


def test_a_node_that_never_accepts(make: Make, short_dir: Path) -> None:
    path = str(short_dir / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        with pytest.raises(AdminError) as caught:
            make(path, timeout=0.1)("propose", b"x")
        assert caught.value.outcome is Outcome.UNKNOWN


def test_no_socket(make: Make, short_dir: Path) -> None:
    began = time.monotonic()
    with pytest.raises(AdminError, match="raftd does not run here") as caught:
        make(str(short_dir / "absent"))("propose", b"x")
    assert caught.value.code is Code.CONNECT
    assert caught.value.exit_code == 3
    assert time.monotonic() - began < 2


def test_a_dead_socket(make: Make, short_dir: Path) -> None:
    path = str(short_dir / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
    with pytest.raises(AdminError, match="nobody listens") as caught:
        make(path)("status")
    assert caught.value.code is Code.CONNECT


def test_all_sockets_are_named_when_none_answers(make: Make, short_dir: Path) -> None:
    with pytest.raises(AdminError) as caught:
        make(str(short_dir / "a"), str(short_dir / "b"))("propose", b"x")
    assert str(short_dir / "a") in caught.value.message
    assert str(short_dir / "b") in caught.value.message


def test_a_dead_socket_is_passed_over(make: Make, node: Node, short_dir: Path) -> None:
    one = node(always(lambda: propose_reply(4)))
    assert make(str(short_dir / "absent"), one.path)("propose", b"x").index == 4


def test_a_path_that_is_too_long(make: Make) -> None:
    with pytest.raises(AdminError, match="at most 107 bytes") as caught:
        make("/tmp/" + "x" * 120)("propose", b"x")
    assert caught.value.code is Code.CONNECT


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x02\xff\xff",
    ],
)
def test_an_answer_that_is_not_the_protocol(make: Make, node: Node, answer: bytes) -> None:
    def handle(_request: Request, connection: FakeConnection) -> bool:
        connection.raw(answer)
        return True

    with pytest.raises(AdminError) as caught:
        make(node(handle).path, timeout=2)("propose", b"x")
    assert caught.value.outcome is Outcome.UNKNOWN


def test_an_answer_to_another_question(make: Make, node: Node) -> None:
    one = node(always(lambda: Response(read_index=pb.ReadIndexReply(index=3))))
    with pytest.raises(AdminError, match="answered a propose request with read_index") as caught:
        make(one.path)("propose", b"x")
    assert caught.value.outcome is Outcome.UNKNOWN
    with pytest.raises(AdminError, match="answered a metrics request") as caught:
        make(one.path)("metrics")
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_connection_that_is_refused_as_a_whole(make: Make, node: Node) -> None:
    def handle(_request: Request, connection: FakeConnection) -> bool:
        error = AdminError(Code.TOO_LARGE, "a frame of 3 MiB; the limit is 1 MiB")
        connection.raw(encode_frame(admin.error_response(0, error).SerializeToString()))
        return False

    with pytest.raises(AdminError, match="3 MiB") as caught:
        make(node(handle).path)("propose", b"x" * 3_000_000)
    assert caught.value.code is Code.TOO_LARGE
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_refused_connection_leaves_the_others_unknown(make: Make, node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        if len(one.requests) < 3:
            return True
        error = AdminError(Code.TOO_LARGE, "a frame of 3 MiB; the limit is 1 MiB")
        connection.raw(encode_frame(admin.error_response(0, error).SerializeToString()))
        return False

    one = node(handle)
    results = make(one.path, timeout=3)("propose_many", [b"x"] * 3, inflight=3)
    for result in results:
        assert result.error.outcome is Outcome.UNKNOWN
        assert "3 MiB" in result.error.message


def test_what_no_node_would_take_is_not_sent(make: Make, node: Node) -> None:
    one = node(always(propose_reply))
    client = make(one.path)
    with pytest.raises(AdminError) as caught:
        client("propose", b"x" * (8 * 1024 * 1024))
    assert caught.value.code is Code.TOO_LARGE
    with pytest.raises(LocalError, match="the limit is 256"):
        client("propose", b"x", "k" * 257)
    assert one.requests == []
    assert client("propose", b"x").index == 1


def test_a_large_proposal_arrives_whole(make: Make, node: Node) -> None:
    one = node(always(lambda: propose_reply(1, result=b"r" * 4_000_000)))
    assert len(make(one.path)("propose", b"x" * 7_000_000).result) == 4_000_000
    assert len(one.requests[0].propose.data) == 7_000_000


def test_not_leader_turns_to_the_next_socket(make: Make, node: Node) -> None:
    one = node(always(lambda: refusal(Code.NOT_LEADER, retry_after_ms=1)))
    two = node(always(lambda: propose_reply(6)))
    client = make(one.path, two.path, no_forward=True)
    assert client("propose", b"x", "key").index == 6
    assert client("propose", b"x", "key").index == 6
    assert len(one.requests) == 1


# ---- many at once --------------------------------------------------------------------------------


def test_propose_many_keeps_the_order_of_its_inputs(make: Make, node: Node) -> None:
    held: list[Request] = []

    def backwards(request: Request, connection: FakeConnection) -> bool:
        held.append(request)
        if len(held) == 4:
            while held:
                last = held.pop()
                connection.answer(last, propose_reply(int(last.propose.data)))
        return True

    client = make(node(backwards).path, timeout=5)
    results = client("propose_many", (b"%d" % n for n in range(40)), inflight=4)
    assert [result.position for result in results] == list(range(40))
    assert [result.reply.index for result in results] == list(range(40))
    assert all(result.error is None and result.took_s >= 0 for result in results)


def test_propose_many_yields_failures_and_goes_on(make: Make, node: Node) -> None:
    def odd_ones_out(request: Request, connection: FakeConnection) -> bool:
        number = int(request.propose.data)
        response = refusal(Code.REFUSED) if number % 2 else propose_reply(number)
        connection.answer(request, response)
        return True

    items = [b"0", b"1", (b"2", "k" * 300), b"3", b"4", b"x" * (8 * 1024 * 1024), b"6"]
    results = make(node(odd_ones_out).path)("propose_many", items, inflight=3)
    assert [result.error.code if result.error else result.reply.index for result in results] == [
        0,
        Code.REFUSED,
        Code.INVALID_REQUEST,
        Code.REFUSED,
        4,
        Code.TOO_LARGE,
        6,
    ]


def test_propose_many_over_a_death(make: Make, node: Node) -> None:
    def answers_three(request: Request, connection: FakeConnection) -> bool:
        if len(one.requests) > 3:
            return False
        connection.answer(request, propose_reply(1))
        return True

    one, two = node(answers_three), node(always(lambda: propose_reply(2)))
    items = [(b"x", f"key-{n}") for n in range(20)]
    results = make(one.path, two.path)("propose_many", items, inflight=5)
    assert [result.error for result in results] == [None] * 20
    assert [result.reply.index for result in results[:3]] == [1, 1, 1]
    assert results[-1].reply.index == 2
    assert [result.key for result in results] == [key for _, key in items]


def test_propose_many_without_keys_over_a_death(make: Make, node: Node) -> None:
    one, two = node(hang_up), node(always(lambda: propose_reply(2)))
    results = make(one.path, two.path)("propose_many", [b"x"] * 20, inflight=5)
    unknown = [r.position for r in results if r.error and r.error.outcome is Outcome.UNKNOWN]
    assert unknown
    assert set(unknown) <= {0, 1, 2, 3, 4}
    assert all(result.reply.index == 2 for result in results if result.error is None)
    assert len(results) == 20


def test_propose_many_when_nobody_is_there(make: Make, short_dir: Path) -> None:
    results = make(str(short_dir / "absent"))("propose_many", [b"x", b"y"])
    assert [result.error.code for result in results] == [Code.CONNECT] * 2


def test_propose_many_to_a_node_that_stops_reading(make: Make, node: Node) -> None:
    results = make(node(keep_silent).path, timeout=0.2)("propose_many", [b"x"] * 3)
    assert [result.error.code for result in results] == [Code.TIMEOUT_UNKNOWN] * 3


def test_propose_many_with_large_answers_does_not_block_itself(make: Make, node: Node) -> None:
    client = make(node(always(lambda: propose_reply(1, result=b"r" * 200_000))).path)
    results = client("propose_many", [b"x" * 200_000] * 60, inflight=60)
    assert all(result.error is None for result in results)


def test_propose_many_of_nothing(make: Make, short_dir: Path) -> None:
    assert make(str(short_dir / "absent"))("propose_many", []) == []


# ---- streams -------------------------------------------------------------------------------------


def log_handler(last: int, page: int, *, die_after: int = 0) -> Handler:
    """Serve a log of ``last`` entries; die once after ``die_after`` answers."""
    left = [die_after]

    def handle(request: Request, connection: FakeConnection) -> bool:
        ask = request.log_read
        low = max(ask.from_index, 1)
        high = min(ask.to_index or last + 1, last + 1)
        if ask.limit:
            high = min(high, low + ask.limit)
        while True:
            entries = [LogEntry(index=n, term=1) for n in range(low, min(low + page, high))]
            low += len(entries)
            more = low < high or ask.follow
            reply = pb.LogReadReply(entries=entries, last_index=last)
            connection.answer(request, Response(log_read=reply), more=more)
            if left[0]:
                left[0] -= 1
                if not left[0]:
                    return False
            if low >= high:
                return True

    return handle


def test_the_log_is_read_in_pages(make: Make, node: Node) -> None:
    client = make(node(log_handler(10, 3)).path)
    assert [entry.index for entry in client("log_read")] == list(range(1, 11))
    assert [entry.index for entry in client("log_read", 4, 7)] == [4, 5, 6]
    assert [len(page.entries) for page in client("log_pages", 4)] == [3, 3, 1]


def test_a_log_reader_goes_on_after_a_death(make: Make, node: Node) -> None:
    one, two = node(log_handler(10, 3, die_after=2)), node(log_handler(10, 3))
    client = make(one.path, two.path)
    assert [entry.index for entry in client("log_read")] == list(range(1, 11))
    assert two.requests[0].log_read.from_index == 7


def test_a_limit_holds_over_a_death(make: Make, node: Node) -> None:
    one, two = node(log_handler(20, 3, die_after=2)), node(log_handler(20, 3))
    client = make(one.path, two.path)
    assert [entry.index for entry in client("log_read", limit=8)] == list(range(1, 9))
    assert two.requests[0].log_read.limit == 2


def test_a_limit_reached_at_the_death_ends_the_stream(make: Make, node: Node) -> None:
    one = node(log_handler(20, 3, die_after=2))
    client = make(one.path)
    assert [entry.index for entry in client("log_read", limit=6)] == list(range(1, 7))


def test_uncommitted_entries_are_not_resumed(make: Make, node: Node) -> None:
    one = node(log_handler(10, 3, die_after=1))
    with pytest.raises(AdminError) as caught:
        make(one.path)("log_read", uncommitted=True)
    assert caught.value.code is Code.CONNECT


def test_a_follower_can_stop_at_any_time(make: Make, node: Node) -> None:
    one = node(log_handler(10, 5))
    client = make(one.path)
    assert [entry.index for entry in client("log_read", follow=True, take=10)] == list(range(1, 11))
    assert one.requests[0].deadline_ms == 0


def test_a_stream_leaves_room_for_requests(node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        if request.WhichOneof("body") == "propose":
            connection.answer(request, propose_reply(9))
            return True
        return log_handler(4, 1)(request, connection)

    with Client(node(handle).path) as client:
        seen = []
        for entry in client.log_read():
            seen.append((entry.index, client.propose(b"x").index))
    assert seen == [(n, 9) for n in range(1, 5)]


def test_a_stream_that_never_began_is_not_resumed(make: Make, short_dir: Path) -> None:
    began = time.monotonic()
    with pytest.raises(AdminError) as caught:
        make(str(short_dir / "absent"))("log_read", follow=True)
    assert caught.value.code is Code.CONNECT
    assert time.monotonic() - began < 2


def test_a_stream_whose_nodes_stay_away_ends(make: Make, node: Node) -> None:
    one = node(in_turn(log_handler(10, 3, die_after=1), hang_up))
    with pytest.raises(AdminError) as caught:
        make(one.path, timeout=0.3)("log_read")
    assert caught.value.code is Code.CONNECT


def test_a_refused_stream(make: Make, node: Node) -> None:
    one = node(always(lambda: refusal(Code.COMPACTED, details={"first_index": 7})))
    with pytest.raises(AdminError) as caught:
        make(one.path)("log_read", 1)
    assert caught.value.code is Code.COMPACTED
    assert caught.value.details["first_index"] == "7"


def test_events_are_a_stream(make: Make, node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        for number in (1, 2):
            reply = pb.EventsReply(events=[pb.Event(sequence=number, kind="election")])
            connection.answer(request, Response(events=reply), more=number == 1)
        return True

    one = node(handle)
    assert [event.sequence for event in make(one.path)("events", since=0)] == [1, 2]


def snapshot_handler(body: bytes, *, damage: str = "") -> Handler:
    def handle(request: Request, connection: FakeConnection) -> bool:
        info = pb.SnapshotInfo(
            index=5, term=2, bytes=len(body), sha256=hashlib.sha256(body).hexdigest()
        )
        head = pb.SnapshotSaveReply(snapshot=info)
        connection.answer(request, Response(snapshot_save=head), more=True)
        for offset in range(0, len(body), 1000):
            data = body[offset : offset + 1000]
            piece = pb.SnapshotSaveReply(offset=offset, crc32=crc32(data), data=data)
            if offset == 2000:
                if damage == "byte":
                    piece.data = b"!" + data[1:]
                elif damage == "missing":
                    continue
                elif damage == "forged":
                    piece.data = b"!" + data[1:]
                    piece.crc32 = crc32(piece.data)
                elif damage == "cut":
                    return False
            more = offset + 1000 < len(body)
            connection.answer(request, Response(snapshot_save=piece), more=more)
        return True

    return handle


def test_a_snapshot_is_saved_and_verified(make: Make, node: Node) -> None:
    body = bytes(range(256)) * 20
    pieces: list[bytes] = []
    info = make(node(snapshot_handler(body)).path)("snapshot_save", pieces.append)
    assert b"".join(pieces) == body
    assert (info.index, info.term, info.bytes) == (5, 2, len(body))


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("byte", Code.CORRUPT),
        ("missing", Code.CORRUPT),
        ("forged", Code.CORRUPT),
        ("cut", Code.CONNECT),
    ],
)
def test_a_damaged_snapshot_is_not_taken(make: Make, node: Node, damage: str, code: Code) -> None:
    one = node(snapshot_handler(bytes(5000), damage=damage))
    with pytest.raises(AdminError) as caught:
        make(one.path)("snapshot_save", lambda _piece: None)
    assert caught.value.code is code


# ---- the key-value state machine -----------------------------------------------------------------


def kv_handler(store: dict[bytes, bytes], page: int = 3) -> Handler:
    def handle(request: Request, connection: FakeConnection) -> bool:
        if request.WhichOneof("body") == "hello":
            connection.answer(request, Response(hello=pb.HelloReply(state_machine="kv")))
            return True
        if request.WhichOneof("body") == "propose":
            command = kv.KvCommand.FromString(request.propose.data)
            result = kv.KvResult(revision=9, succeeded=True)
            if command.WhichOneof("command") == "put":
                store[command.put.key] = command.put.value
            elif command.WhichOneof("command") == "delete":
                result.deleted = int(store.pop(command.delete.key, None) is not None)
            elif command.WhichOneof("command") == "cas":
                result.succeeded = store.get(command.cas.key) == command.cas.value
                if result.succeeded:
                    store[command.cas.key] = command.cas.put
            connection.answer(request, propose_reply(result=result.SerializeToString()))
            return True
        query = kv.KvQuery.FromString(request.query.data)
        answer = kv.KvQueryResult(revision=9)
        if query.WhichOneof("query") == "get":
            if query.get.key in store:
                answer.kvs.add(key=query.get.key, value=store[query.get.key])
        else:
            ask = query.range
            keys = [
                key
                for key in sorted(store)
                if key > ask.after
                and (key.startswith(ask.key) if ask.prefix else ask.key <= key < ask.range_end)
            ]
            size = min(ask.limit or page, page)
            answer.count = len(keys[:size])
            answer.more = len(keys) > size
            answer.next = keys[:size][-1] if keys else b""
            if not ask.count_only:
                for key in keys[:size]:
                    answer.kvs.add(key=key, value=store[key])
        reply = pb.QueryReply(result=answer.SerializeToString(), index=3)
        connection.answer(request, Response(query=reply))
        return True

    return handle


def test_the_kv_commands(make: Make, node: Node) -> None:
    one = node(kv_handler({}))
    client = make(one.path)
    assert client("kv.put", "colour", "green", idempotency_key="k1").revision == 9
    assert one.requests[-1].propose.key == "k1"
    assert client("kv.get", "colour").value == b"green"
    assert client("kv.get", b"absent") is None
    assert client("kv.cas", "colour", "red", expect_value="green").succeeded
    assert not client("kv.cas", "colour", "blue", expect_value="green").succeeded
    assert client("kv.delete", "colour").deleted == 1
    assert client("kv.delete", "colour").deleted == 0


def test_a_range_is_paged(make: Make, node: Node) -> None:
    client = make(node(kv_handler({b"a%d" % n: b"" for n in range(8)} | {b"b": b""})).path)
    assert [pair.key for pair in client("kv.range", "a")] == [b"a%d" % n for n in range(8)]
    assert [pair.key for pair in client("kv.range", "a", limit=4)] == [b"a%d" % n for n in range(4)]
    assert [pair.key for pair in client("kv.range", "a6", "b\0", page=1)] == [b"a6", b"a7", b"b"]
    assert client("kv.count", "a") == 8
    assert client("kv.count") == 9


def test_a_compare_takes_one_expectation(make: Make, node: Node) -> None:
    client = make(node(kv_handler({})).path)
    with pytest.raises(LocalError, match="not 0"):
        client("kv.cas", "k", "v")
    with pytest.raises(LocalError, match="not 2"):
        client("kv.cas", "k", "v", expect_absent=True, expect_value="x")


def test_every_kv_request_is_for_kv_alone(make: Make, node: Node) -> None:
    one = node(kv_handler({b"k": b""}))
    client = make(one.path)
    client("kv.put", "k", "v")
    client("kv.get", "k")
    client("kv.count")
    list(client("kv.range"))
    client("kv.delete", "k")
    assert {request.state_machine for request in one.requests} == {"kv"}
    two = node(watch_handler())
    make(two.path)("kv.watch", "k", take=1)
    assert two.requests[0].state_machine == "kv"


def test_another_state_machines_answer(make: Make, node: Node) -> None:
    """A node of an earlier version does not look for which state machine a request is meant."""
    one = node(always(lambda: Response(query=pb.QueryReply(result=b"\xff\xff"))))
    with pytest.raises(raftwire.RemoteError, match="not the key-value state machine"):
        make(one.path)("kv.get", "k")


def watch_handler(die_after: int = 0) -> Handler:
    def handle(request: Request, connection: FakeConnection) -> bool:
        ask = kv.KvWatch.FromString(request.watch.data)
        first = ask.start_revision or 5
        for sent, revision in enumerate(range(first - 1, 12), 1):
            events = kv.KvWatchEvents(revision=revision)
            if revision >= first:
                events.events.add(kv=kv.KeyValue(key=b"k", mod_revision=revision))
            reply = pb.WatchReply(data=events.SerializeToString())
            connection.answer(request, Response(watch=reply), more=True)
            if sent == die_after:
                return False
        return True

    return handle


@pytest.mark.parametrize("die_after", [1, 2, 4])
def test_a_watch_misses_nothing_over_a_death(make: Make, node: Node, die_after: int) -> None:
    one, two = node(watch_handler(die_after)), node(watch_handler())
    events = make(one.path, two.path)("kv.watch", "k", take=7)
    assert [event.kv.mod_revision for event in events] == list(range(5, 12))
    assert kv.KvWatch.FromString(two.requests[0].watch.data).start_revision == 4 + die_after


# ---- the two are the same ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(Client, raftwire.AsyncClient), (raftwire.Kv, raftwire.AsyncKv)],
)
def test_both_clients_have_the_same_methods(blocking: type, asynchronous: type) -> None:
    def methods(owner: type) -> dict[str, list[tuple[str, Any, Any]]]:
        return {
            name: [
                (parameter.name, parameter.kind, parameter.default)
                for parameter in inspect.signature(value).parameters.values()
            ]
            for name, value in vars(owner).items()
            if not name.startswith("_") and inspect.isfunction(value)
        }

    ours, theirs = methods(blocking), methods(asynchronous)
    for name in ("close", "open_connection"):
        ours.pop(name, None)
    theirs.pop("aclose", None)
    assert ours == theirs


def test_every_request_has_a_method() -> None:
    bodies = {field.name for field in Request.DESCRIPTOR.oneofs_by_name["body"].fields}
    replies = {field.name for field in Response.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert bodies == replies
    assert bodies - {"cancel"} <= set(dir(Client))


def test_many_requests_share_an_asyncio_connection(node: Node) -> None:
    one = node(always(propose_reply))

    async def run() -> None:
        async with raftwire.AsyncClient(one.path) as client:
            await asyncio.gather(*(client.propose(b"%d" % n) for n in range(500)))

    asyncio.run(run())
    assert one.accepted == 1
    assert len({request.id for request in one.requests}) == 500


def test_a_cancelled_coroutine_disturbs_no_other(node: Node) -> None:
    def handle(request: Request, connection: FakeConnection) -> bool:
        if request.propose.data != b"slow":
            connection.answer(request, propose_reply(1))
        return True

    one = node(handle)

    async def run() -> None:
        async with raftwire.AsyncClient(one.path) as client:
            slow = asyncio.create_task(client.propose(b"slow"))
            await client.propose(b"fast")
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            assert (await client.propose(b"fast")).index == 1

    asyncio.run(run())
    assert one.accepted == 1


def test_a_client_needs_a_socket() -> None:
    with pytest.raises(LocalError):
        Client()
    with pytest.raises(LocalError):
        Client([])
    assert Client(["/a", Path("/b")], "/c").sockets == ["/a", "/b", "/c"]
