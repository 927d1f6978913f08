"""Takes the requests of clients, whoever passes them on, and answers; serves proposals and reads.

A caller is a client's connection, or another member that relays its client's request. Proposals and
reads go straight to the engine, without a task of their own; everything else is rare and may take
time, and runs as a task that ends with its caller: those are served by what ``offer`` was given,
by subject (looking_service, group_service, log_service, data_service, process).
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from raft import Error
from raftd import __version__, views
from raftd.access import changes
from raftd.applier import Applied
from raftd.applier import Outcome as ApplyOutcome
from raftd.members import error_of
from raftd.parts import Parts
from raftd.serving import Caller, Handler, Stream, seconds_of
from raftd.state_machine import CommandRefused
from raftwire.admin import (
    Request,
    Response,
    error_to_message,
    parse_response,
)
from raftwire.errors import AdminError, Code, Outcome
from raftwire.limits import KEY_BYTES_MAX, NUMBER_MAX
from raftwire.peer import ControlCommand
from raftwire.plain import error_answer, propose_answer, query_answer
from raftwire.proto.admin_pb2 import (
    ProposeRequest,
    QueryRequest,
)

_APPLIED: Final = Outcome.APPLIED.number
_SUBMITTED: Final = Outcome.SUBMITTED.number


class Service:
    """Serves requests."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._cluster_id = parts.identity.cluster_id.hex()
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._handlers: dict[str, Handler] = {}
        self._streams: dict[str, Stream] = {}
        self._failure: AdminError | None = None
        self._failure_encoded = b""
        # Encoded once for all answers of a moment; see `short_signature`.
        self._signed_as = (-1, -1)
        self._short = self._full = b""
        self._full_at = -1

    def offer(self, handlers: Mapping[str, Handler], streams: Mapping[str, Stream]) -> None:
        """Serve these requests too, by the name of their body."""
        self._handlers |= handlers
        self._streams |= streams

    # --- taking requests ----------------------------------------------------------------------

    def serve(self, caller: Caller, waiter: "Waiter", request: Request) -> None:
        """Take a request; ``caller`` is answered, now or later."""
        body = request.WhichOneof("body")
        if caller.access != "rw" and changes(request, body or ""):
            self.fail(
                caller,
                request.id,
                AdminError(Code.PERMISSION, f"you may look and read, not {body}"),
            )
        elif request.state_machine not in ("", self.parts.identity.state_machine):
            self.fail(caller, request.id, self._other_machine(request.state_machine))
        elif body == "propose":
            self._propose(caller, waiter, request)
        elif body == "query":
            self._query(caller, waiter, request)
        elif body == "read_index":
            asker = _Asker(self, caller)
            refused = self.parts.node.read(asker, request.id, None, seconds_of(request))
            if refused is not None:
                self.fail(caller, request.id, refused)
        elif body == "cancel":
            self._cancel(caller, request)
        elif body in self._handlers:
            self._start(caller, request, self._once(self._handlers[body], caller, request))
        elif body in self._streams:
            self._start(caller, request, self._many(self._streams[body], caller, request))
        else:
            self.fail(
                caller,
                request.id,
                AdminError(
                    Code.UNSUPPORTED, f"this raftd ({__version__}) does not offer {body or 'that'}"
                ),
            )

    def is_plain(self, caller: Caller, request: Request) -> bool:
        """Whether `serve_plain` may take requests that say what this one does, data aside."""
        return (
            not request.no_forward
            and caller.access == "rw"
            and request.state_machine in ("", self.parts.identity.state_machine)
        )

    def serve_plain(
        self,
        caller: Caller,
        waiter: "Waiter",
        seconds: float,
        request_id: int,
        proposes: bool,
        data: bytes,
    ) -> None:
        """Take a request that only proposes data, or only asks for some, linearizably."""
        node = self.parts.node
        if proposes:
            refused = node.propose(waiter, request_id, data, "", seconds)
            if refused is not None:
                node.counters.proposals_refused += 1
        else:
            refused = node.read(waiter, request_id, data, seconds)
        if refused is not None:
            self.fail(caller, request_id, refused)

    def _other_machine(self, wanted: str) -> AdminError:
        return AdminError(
            Code.UNSUPPORTED,
            f"this cluster runs the state machine {self.parts.identity.state_machine!r}, "
            f"not {wanted!r}",
            hint="a state machine is chosen when a cluster is made: raftd --state-machine "
            f"{wanted} on new data directories",
        )

    def _start(self, caller: Caller, request: Request, work: Coroutine[Any, Any, None]) -> None:
        key = (id(caller), request.id)
        if key in self._tasks:
            work.close()
            self.fail(
                caller,
                request.id,
                AdminError(Code.INVALID_REQUEST, f"request id {request.id} is still in use"),
            )
            return
        task = self.parts.loop.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def forget(self, caller: Caller) -> None:
        """A caller is gone: end what still runs for it."""
        for key, task in list(self._tasks.items()):
            if key[0] == id(caller):
                task.cancel()

    def close(self) -> None:
        """End everything that still runs."""
        for task in list(self._tasks.values()):
            task.cancel()

    def _cancel(self, caller: Caller, request: Request) -> None:
        task = self._tasks.get((id(caller), request.cancel.id))
        if task is not None:
            task.cancel()
        response = Response(id=request.id)
        response.cancel.found = task is not None
        self.send(caller, response)

    async def _once(
        self,
        handler: Callable[[Caller, Request], Awaitable[Response]],
        caller: Caller,
        request: Request,
    ) -> None:
        code = "ok"
        try:
            response = await handler(caller, request)
            response.id = request.id
            self.send(caller, response)
        except AdminError as error:
            code = str(error.code)
            self.fail(caller, request.id, error)
        except Error as error:
            refused = error_of(error)
            code = str(refused.code)
            self.fail(caller, request.id, refused)
        body = request.WhichOneof("body") or ""
        if changes(request, body):
            caller.changed(body, code)

    async def _many(
        self,
        stream: Callable[[Caller, Request], AsyncIterator[Response]],
        caller: Caller,
        request: Request,
    ) -> None:
        try:
            previous: Response | None = None
            async for response in stream(caller, request):
                response.id, response.more = request.id, True
                if previous is not None:
                    self.send(caller, previous)
                    await caller.drain()
                previous = response
                if self._follows(request):
                    # A stream without an end: nothing waits to become the last answer.
                    self.send(caller, response)
                    await caller.drain()
                    previous = None
            if previous is not None:
                previous.more = False
                self.send(caller, previous)
        except AdminError as error:
            self.fail(caller, request.id, error)
        except ConnectionError:
            return

    @staticmethod
    def _follows(request: Request) -> bool:
        body = request.WhichOneof("body")
        return body == "watch" or request.log_read.follow or request.events.follow

    # --- answering ----------------------------------------------------------------------------

    def send(self, caller: Caller, response: Response) -> None:
        """Send an answer, signed with what this node knows."""
        raft = self.parts.node.raft
        if not response.node:
            response.node, response.leader, response.term = raft.id, raft.leader_id, raft.term
            response.cluster_id = self._cluster_id
            response.as_of_ms = views.now_ms()
        caller.send(response)

    def short_signature(self) -> bytes:
        """Return, encoded, who answers, and whom it takes for the leader of which term."""
        raft = self.parts.node.raft
        signed_as = (raft.leader_id, raft.term)
        if signed_as != self._signed_as:
            leader_id, term = self._signed_as = signed_as
            short = Response(node=raft.id, leader=leader_id, term=term)
            self._short = short.SerializeToString()
            self._full_at = -1
        return self._short

    def _full_signature(self) -> bytes:
        """Return, encoded, what `send` adds to an answer."""
        short = self.short_signature()
        now = views.now_ms()
        if now != self._full_at:
            self._full_at = now
            rest = Response(cluster_id=self._cluster_id, as_of_ms=now)
            self._full = short + rest.SerializeToString()
        return self._full

    def fail(self, caller: Caller, request_id: int, error: AdminError) -> None:
        """Answer with an error."""
        if error is not self._failure:
            # In overload the same refusal goes to thousands.
            self._failure = error
            self._failure_encoded = Response(error=error_to_message(error)).SerializeToString()
        caller.send_encoded(
            request_id, error_answer(request_id, self._full_signature(), self._failure_encoded)
        )

    # --- proposals and reads ------------------------------------------------------------------

    def _propose(self, caller: Caller, waiter: "Waiter", request: Request) -> None:
        propose = request.propose
        node = self.parts.node
        key = propose.key
        if len(key) > KEY_BYTES_MAX or (key and len(key.encode()) > KEY_BYTES_MAX):
            self.fail(
                caller,
                request.id,
                AdminError(Code.TOO_LARGE, f"a key has at most {KEY_BYTES_MAX} bytes"),
            )
            return
        if (propose.expect_index or request.no_forward) and not node.is_leader:
            if request.no_forward:
                self.fail(caller, request.id, self.not_leader())
            else:
                self._start(caller, request, self._once(self.relay, caller, request))
            return
        if propose.expect_index:
            expected = node.raft.raft_log.last_index() + 1 + node.proposing.held
            if propose.expect_index != expected:
                self.fail(
                    caller,
                    request.id,
                    AdminError(
                        Code.PRECONDITION,
                        f"the entry would get index {expected}, not {propose.expect_index}",
                    ),
                )
                return
        listener = waiter if propose.wait != ProposeRequest.WAIT_NONE else _NOBODY
        if propose.noop:
            refused = self._propose_noop(listener, request)
        else:
            refused = node.propose(listener, request.id, propose.data, key, seconds_of(request))
        if refused is not None:
            node.counters.proposals_refused += 1
            self.fail(caller, request.id, refused)
        elif listener is _NOBODY:
            response = Response(id=request.id)
            response.propose.outcome = _SUBMITTED  # type: ignore[assignment]
            self.send(caller, response)

    def _propose_noop(self, listener: "Waiter | _Nobody", request: Request) -> AdminError | None:
        """Propose what is replicated like any other data, and leaves no trace in the state."""
        size, most = len(request.propose.data), self.parts.config.max_entry_bytes
        if size > most:
            return AdminError(Code.TOO_LARGE, f"the proposal has {size} bytes; the limit is {most}")
        command = ControlCommand()
        command.noop.padding = request.propose.data
        return self.parts.node.proposing.propose_control(
            listener, request.id, command.SerializeToString(), seconds_of(request)
        )

    def _query(self, caller: Caller, waiter: "Waiter", request: Request) -> None:
        query = request.query
        node = self.parts.node
        if query.consistency == QueryRequest.STALE:
            stale_ms = min(math.ceil(min(node.reading.age(), NUMBER_MAX) * 1000), NUMBER_MAX)
            if not query.max_stale_ms or stale_ms <= query.max_stale_ms:
                applied = node.raft.raft_log.applied
                self.answer_query(caller, request.id, applied, query.data, stale_ms)
                node.reading.refresh()
                return
            if not node.reading.can_ask():
                self.fail(caller, request.id, self._too_stale(stale_ms, query.max_stale_ms))
                return
            # Confirmed now, it is as fresh as can be.
        # Whether the leader asks a quorum or has a lease is the group's setting, not the client's:
        # who would be content with a lease gets no less.
        refused = node.read(waiter, request.id, query.data, seconds_of(request))
        if refused is not None:
            self.fail(caller, request.id, refused)

    def _too_stale(self, stale_ms: int, limit_ms: int) -> AdminError:
        known = stale_ms < NUMBER_MAX
        when = f"{stale_ms} ms ago" if known else "never since its start"
        return AdminError(
            Code.STALE,
            f"this node's state was confirmed {when}, the limit is {limit_ms} ms, and there is no "
            "leader to confirm it now",
            details={"stale_ms": stale_ms, "max_stale_ms": limit_ms} if known else {},
        )

    def answer_query(
        self, caller: Caller, request_id: int, index: int, data: bytes, stale_ms: int = 0
    ) -> None:
        """Answer a query from the state as it is now."""
        try:
            result = self.parts.applier.query(data)
        except CommandRefused as error:
            self.fail(caller, request_id, AdminError(Code.REFUSED, str(error)))
            return
        if not stale_ms:
            encoded = query_answer(request_id, self._full_signature(), result, index)
            caller.send_encoded(request_id, encoded)
            return
        response = Response(id=request_id)
        response.query.result = result
        response.query.index = index
        response.query.stale_ms = stale_ms
        self.send(caller, response)

    def answer_read_index(
        self, caller: Caller, request_id: int, index: int, seconds: float
    ) -> None:
        """Answer a bare read index, which took so long."""
        response = Response(id=request_id)
        response.read_index.index = index
        response.read_index.took_us = int(seconds * 1e6)
        response.read_index.mode = self.parts.config.read_mode
        self.send(caller, response)

    async def linearize(self, request: Request) -> None:
        """Wait until this node's state holds all that was acknowledged before now."""
        listener = _Future()
        refused = self.parts.node.read(listener, 0, None, seconds_of(request))
        if refused is not None:
            raise refused
        await listener.future

    # --- asking the leader --------------------------------------------------------------------

    def not_leader(self) -> AdminError:
        """Return the refusal of what only the leader does."""
        raft = self.parts.node.raft
        return AdminError(
            Code.NOT_LEADER,
            f"node {raft.id} does not lead; the leader is "
            f"{f'node {raft.leader_id}' if raft.leader_id else 'not known'}",
            details={"leader": raft.leader_id},
        )

    async def _leader(self, seconds: float) -> int:
        """Return the leader's id, waiting a while for one.

        Raises:
            AdminError: there is none, or it cannot be reached; nothing was changed.
        """
        node = self.parts.node
        hold = min(seconds, 3 * self.parts.config.election_timeout)
        try:
            async with asyncio.timeout(hold):
                while True:
                    leader_id = node.raft.leader_id
                    if leader_id and (leader_id == node.id or node.standing.reachable(leader_id)):
                        return leader_id
                    await node.changed()
        except TimeoutError:
            raise node.standing.no_leader_error() from None

    async def relay(
        self, caller: Caller, request: Request, leader_id: int = 0, query: bool = False
    ) -> Response:
        """Have the leader serve ``request``."""
        seconds = seconds_of(request)
        started = self.parts.loop.time()
        leader_id = leader_id or await self._leader(seconds)
        left = max(0.05, seconds - (self.parts.loop.time() - started))
        passed = Request()
        passed.CopyFrom(request)
        passed.id, passed.no_forward = 1, True
        passed.deadline_ms = int(left * 900)
        if leader_id == self.parts.node.id:
            return await self._here(passed)
        return await self.parts.relays.ask(leader_id, passed, left, query=query)

    async def _here(self, request: Request) -> Response:
        """Serve a request on this node after all: it has become the leader meanwhile."""
        caller = _FutureCaller()
        self.serve(caller, Waiter(self, caller), request)
        return await caller.future


class Waiter:
    """Turns what the engine says about a caller's requests into answers."""

    __slots__ = ("_caller", "_service")

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        """Tell the caller that its proposal is applied, and what the machine answered."""
        if applied.outcome != ApplyOutcome.APPLIED:
            self.request_failed(request_id, refused_by_machine(applied))
            return
        signature = self._service.short_signature()
        if not applied.deduplicated and applied.result:
            encoded = propose_answer(
                request_id, signature, applied.index, applied.term, _APPLIED, applied.result
            )
        else:
            response = Response.FromString(signature)
            response.id = request_id
            reply = response.propose
            reply.index, reply.term = applied.index, applied.term
            reply.outcome = _APPLIED  # type: ignore[assignment]
            reply.result, reply.deduplicated = applied.result or b"", applied.deduplicated
            encoded = response.SerializeToString()
        self._caller.send_encoded(request_id, encoded)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        """Tell the caller that its request failed."""
        self._service.fail(self._caller, request_id, error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Answer the caller's read."""
        assert data is not None
        self._service.answer_query(self._caller, request_id, index, data)


def refused_by_machine(applied: Applied) -> AdminError:
    """Return the state machine's own refusal."""
    return AdminError(
        Code.REFUSED,
        (applied.result or b"the state machine refused it").decode("utf-8", "replace"),
        outcome=Outcome.NOT_APPLIED,
        details={"index": applied.index, "term": applied.term},
    )


class _Nobody:
    """Hears of proposals that nobody waits for."""

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        pass

    def request_failed(self, request_id: int, error: AdminError) -> None:
        pass

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        pass


_NOBODY: Final = _Nobody()


class _Asker(_Nobody):
    """Waits for a bare read index, and knows since when."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service = service
        self._caller = caller
        self._started = time.monotonic()

    def request_failed(self, request_id: int, error: AdminError) -> None:
        self._service.fail(self._caller, request_id, error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        took = time.monotonic() - self._started
        self._service.answer_read_index(self._caller, request_id, index, took)


class _Future(_Nobody):
    """Waits for one read."""

    def __init__(self) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def request_failed(self, request_id: int, error: AdminError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        if not self.future.done():
            self.future.set_result(index)


class _FutureCaller:
    """A caller whose first answer is awaited."""

    gone = False
    access = "rw"

    def changed(self, verb: str, code: str) -> None:
        """Whoever asked this node has noted it."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def send(self, response: Response) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def send_encoded(self, request_id: int, encoded: bytes) -> None:
        self.send(parse_response(encoded))

    async def drain(self) -> None:
        """There is always room."""
