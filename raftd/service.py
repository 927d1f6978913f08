"""What the daemon does for its clients: every request of the admin protocol, apart from sockets.

A caller is a client's connection, or another member that relays its client's request. Proposals and
reads go straight to the engine, without a task of their own; everything else is rare and may take
time, and runs as a task that ends with its caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from raft import Compacted, Error
from raftd import __version__, views
from raftd.access import changes
from raftd.applier import Applied
from raftd.applier import Outcome as ApplyOutcome
from raftd.config import DaemonConfig
from raftd.entries import describe
from raftd.members import AddressBook, Membership, error_of
from raftd.node import Node
from raftd.relay import Relays
from raftd.relayed import carried_out
from raftd.snapshot_send import Transfer
from raftd.state_machine import CommandRefused, HistoryCompacted
from raftd.storage import Identity, LogStore
from raftd.transport.outbound import Outbound
from raftd.transport.security import PLAINTEXT, Security
from raftwire.admin import (
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Request,
    Response,
    error_from_message,
    error_to_message,
)
from raftwire.errors import AdminError, Code, Outcome
from raftwire.limits import KEY_BYTES_MAX, KIB, REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX
from raftwire.peer import ControlCommand
from raftwire.proto.admin_pb2 import (
    LogReadReply,
    MemberChangeRequest,
    ProposeRequest,
    QueryRequest,
    SnapshotInfo,
    WaitRequest,
)

_PAGE_BYTES: Final = 256 * KIB
_APPLIED: Final = Outcome.APPLIED.number
_SUBMITTED: Final = Outcome.SUBMITTED.number


class Caller(Protocol):
    """Whoever a request came from."""

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""
        ...

    @property
    def access(self) -> str:
        """What it may: ``rw``, or ``ro`` to look and read."""
        ...

    def changed(self, verb: str, code: str) -> None:
        """Hear that something was changed for it, or why not; for the record."""
        ...

    def send(self, response: Response) -> None:
        """Send an answer."""
        ...

    async def drain(self) -> None:
        """Return when there is room for more; raises ConnectionError when the caller is gone."""
        ...


Handler = Callable[[Caller, Request], Coroutine[Any, Any, Response]]
"""Answers a request once."""

Stream = Callable[[Caller, Request], AsyncIterator[Response]]
"""Answers a request piece by piece."""


@dataclass(slots=True)
class Parts:
    """The parts of a running daemon that its service and its views look at."""

    config: DaemonConfig
    identity: Identity
    node: Node
    store: LogStore
    applier: Any
    outbound: Outbound
    book: AddressBook
    membership: Membership
    relays: Relays
    loop: asyncio.AbstractEventLoop
    loop_name: str
    started: float
    heard: dict[int, float] = field(default_factory=dict)
    """Loop time at which each peer was last heard from."""
    config_since: float = 0.0
    """Loop time of the last change of the configuration."""
    security: Security = PLAINTEXT
    client_count: Callable[[], int] = lambda: 0
    refused_connections: Callable[[], Mapping[str, int]] = dict
    admin_refusals: Callable[[], Mapping[str, int]] = dict
    snapshot_info: Callable[[], SnapshotInfo | None] = lambda: None
    snapshot_progress: Callable[[int], Transfer | None] = lambda peer_id: None

    def peer_ids(self) -> list[int]:
        """Return every other member."""
        return [peer_id for peer_id in self.node.raft.prs.ids() if peer_id != self.node.id]

    def disk_usage(self) -> int:
        """Return the bytes the data takes on disk."""
        return self.store.kv.disk_usage()

    def free_bytes(self) -> int:
        """Return the bytes free on its file system."""
        return self.store.kv.free_bytes()

    def counters(self) -> dict[str, int]:
        """Return what happened since the start, by name."""
        found = {
            name: getattr(self.node.counters, name) for name in type(self.node.counters).__slots__
        }
        found["messages_dropped"] = self.outbound.dropped
        for kind, count in self.node.validator.refused.items():
            found[f"refused_message_{kind}"] = count
        for reason, count in self.refused_connections().items():
            found[f"refused_connection_{reason}"] = count
        found |= self.admin_refusals()
        return found


class Service:
    """Serves requests."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._cluster_id = parts.identity.cluster_id.hex()
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._handlers: dict[str, Handler] = {
            "hello": self._hello,
            "log_stat": self._log_stat,
            "status": self._status,
            "progress": self._progress,
            "health": self._health,
            "wait": self._wait,
            "member_list": self._member_list,
            "member_change": self._member_change,
            "member_status": self._member_status,
            "campaign": self._campaign,
            "transfer_leader": self._transfer_leader,
        }
        self._streams: dict[str, Stream] = {
            "log_read": self._log_read,
            "watch": self._watch,
        }

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
            refused = self.parts.node.read(waiter, request.id, None, seconds_of(request))
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

    def fail(self, caller: Caller, request_id: int, error: AdminError) -> None:
        """Answer with an error."""
        response = Response(id=request_id)
        response.error.CopyFrom(error_to_message(error))
        self.send(caller, response)

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
            stale_ms = 0
            if not node.is_leader:
                stale_ms = int((self.parts.loop.time() - node.leader_heard) * 1000)
            if query.max_stale_ms and stale_ms > query.max_stale_ms:
                self.fail(
                    caller,
                    request.id,
                    AdminError(
                        Code.STALE,
                        f"this node heard from a leader {stale_ms} ms ago, "
                        f"more than {query.max_stale_ms}",
                    ),
                )
                return
            self.answer_query(caller, request.id, node.raft.raft_log.applied, query.data, stale_ms)
            return
        # Whether the leader asks a quorum or has a lease is the group's setting, not the client's:
        # who would be content with a lease gets no less.
        refused = node.read(waiter, request.id, query.data, seconds_of(request))
        if refused is not None:
            self.fail(caller, request.id, refused)

    def answer_query(
        self, caller: Caller, request_id: int, index: int, data: bytes, stale_ms: int = 0
    ) -> None:
        """Answer a query from the state as it is now."""
        response = Response(id=request_id)
        try:
            response.query.result = self.parts.applier.query(data)
        except CommandRefused as error:
            self.fail(caller, request_id, AdminError(Code.REFUSED, str(error)))
            return
        response.query.index = index
        response.query.stale_ms = stale_ms
        self.send(caller, response)

    def answer_read_index(self, caller: Caller, request_id: int, index: int) -> None:
        """Answer a bare read index."""
        response = Response(id=request_id)
        response.read_index.index = index
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

    # --- looking ------------------------------------------------------------------------------

    async def _hello(self, caller: Caller, request: Request) -> Response:
        hello = request.hello
        if hello.protocol_max and (
            hello.protocol_max < PROTOCOL_MIN or hello.protocol_min > PROTOCOL_MAX
        ):
            raise AdminError(
                Code.UNSUPPORTED_VERSION,
                f"the client speaks protocols {hello.protocol_min} to {hello.protocol_max}, "
                f"this raftd {PROTOCOL_MIN} to {PROTOCOL_MAX}",
            )
        response = Response()
        reply = response.hello
        reply.protocol = min(hello.protocol_max or PROTOCOL_MAX, PROTOCOL_MAX)
        reply.protocol_min, reply.protocol_max = PROTOCOL_MIN, PROTOCOL_MAX
        reply.version = __version__
        reply.state_machine = self.parts.identity.state_machine
        reply.access = caller.access
        return response

    async def _status(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.status.CopyFrom(views.status_reply(self.parts))
        if request.status.cluster:
            await self._ask_everyone(request, response)
        return response

    async def _ask_everyone(self, request: Request, response: Response) -> None:
        question = Request(id=1, deadline_ms=int(seconds_of(request) * 800))
        question.status.SetInParent()
        seconds = question.deadline_ms / 1000
        now = self.parts.loop.time()
        ids = self.parts.peer_ids()
        answers = await asyncio.gather(
            *(self.parts.relays.ask(peer, question, seconds, query=True) for peer in ids),
            return_exceptions=True,
        )
        own = response.status.members.add(
            id=self.parts.node.id, addr=self.parts.book.find(self.parts.node.id, now)
        )
        own.status.CopyFrom(views.status_reply(self.parts))
        for peer_id, answer in zip(ids, answers, strict=True):
            row = response.status.members.add(id=peer_id, addr=self.parts.book.find(peer_id, now))
            if isinstance(answer, AdminError):
                row.error.CopyFrom(error_to_message(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif answer.HasField("error"):
                row.error.CopyFrom(answer.error)
            else:
                row.status.CopyFrom(answer.status)

    async def _progress(self, caller: Caller, request: Request) -> Response:
        if not self.parts.node.is_leader:
            if request.no_forward:
                raise self.not_leader()
            return await self.relay(caller, request, query=True)
        response = Response()
        response.progress.CopyFrom(views.progress_reply(self.parts))
        return response

    async def _health(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.health.CopyFrom(views.health_reply(self.parts, request.health.max_lag))
        return response

    async def _member_list(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.member_list.CopyFrom(views.member_list_reply(self.parts))
        return response

    async def _member_status(self, caller: Caller, request: Request) -> Response:
        if not self.parts.node.is_leader and not request.no_forward:
            # The leader knows more; without one this node's view is still an answer.
            leader_id = self.parts.node.raft.leader_id
            if leader_id and self.parts.node.standing.reachable(leader_id):
                try:
                    return await self.relay(caller, request, leader_id, query=True)
                except AdminError as error:
                    self.parts.node.note(f"member status answered locally: {error}")
        response = Response()
        response.member_status.CopyFrom(views.member_status_reply(self.parts))
        return response

    # --- waiting ------------------------------------------------------------------------------

    async def _wait(self, caller: Caller, request: Request) -> Response:
        wait = request.wait
        node = self.parts.node
        started = self.parts.loop.time()
        try:
            async with asyncio.timeout(seconds_of(request)):
                while not (detail := self._holds(wait)):
                    await node.changed()
        except TimeoutError:
            name = WaitRequest.What.Name(wait.what).lower() if wait.what in range(7) else "that"
            raise AdminError(
                Code.TIMEOUT, f"waited in vain for {name}; {self._instead(wait)}"
            ) from None
        response = Response()
        response.wait.took_ms = int((self.parts.loop.time() - started) * 1000)
        response.wait.detail = detail
        return response

    def _holds(self, wait: WaitRequest) -> str:
        """Return what was waited for as it is now; empty if it does not hold."""
        node = self.parts.node
        raft = node.raft
        prs = raft.prs
        if wait.what == WaitRequest.LEADER:
            leader = raft.leader_id
            # A leader that cannot commit is none to whoever waits for one.
            if leader == node.id and not raft.committed_in_own_term():
                return ""
            return f"node {leader} leads in term {raft.term}" if leader else ""
        if wait.what == WaitRequest.HEALTHY:
            health = views.health_of(self.parts, 0)
            return "healthy" if health.state == "healthy" else ""
        if wait.what == WaitRequest.READY:
            return "ready" if views.health_reply(self.parts, 0).ready else ""
        if wait.what == WaitRequest.STABLE_CONFIG:
            stable = bool(prs.ids()) and views.phase_of(node) == "stable"
            return f"configuration {prs.config_index} is in force" if stable else ""
        if wait.what == WaitRequest.INDEX_APPLIED:
            applied = raft.raft_log.applied
            return f"applied {applied}" if applied >= wait.index else ""
        if wait.what == WaitRequest.MEMBER:
            role = "absent"
            if wait.id in prs.voter_ids():
                role = "voter"
            elif wait.id in prs.learner_ids():
                role = "learner"
            return f"node {wait.id} is {role}" if role == (wait.role or "voter") else ""
        raise AdminError(Code.INVALID_REQUEST, "it does not say what to wait for")

    def _instead(self, wait: WaitRequest) -> str:
        node = self.parts.node
        if wait.what == WaitRequest.LEADER:
            return node.standing.no_leader_error().message
        if wait.what == WaitRequest.INDEX_APPLIED:
            return f"this node has applied {node.raft.raft_log.applied}"
        if wait.what == WaitRequest.STABLE_CONFIG:
            return f"the change is {views.phase_of(node)}"
        return "; ".join(views.health_of(self.parts, 0).reasons) or "it does not hold"

    # --- changing -----------------------------------------------------------------------------

    async def _member_change(self, caller: Caller, request: Request) -> Response:
        node, change = self.parts.node, request.member_change
        seconds = seconds_of(request)
        end = self.parts.loop.time() + seconds
        abort = change.kind == MemberChangeRequest.ABORT
        if node.standing.has_left or node.standing.belonging.told is not None:
            raise node.standing.not_member_error()
        if node.is_leader or (abort and change.campaign and not self._other_leader()):
            return await self._change_here(change, seconds)
        if request.no_forward:
            raise self.not_leader()
        try:
            return await carried_out(node, change, self._relay_change(caller, request, end))
        except AdminError as error:
            stuck = error.code in (Code.NO_LEADER, Code.NO_QUORUM)
            joint = node.raft.prs.is_in_membership_change()
            if not (abort and stuck and joint) or change.dry_run:
                raise
        return await self._abort_without_leader(change, end)

    async def _change_here(self, change: MemberChangeRequest, seconds: float) -> Response:
        response = Response()
        response.member_change.CopyFrom(await self.parts.membership.change(change, seconds))
        return response

    def _other_leader(self) -> bool:
        """Whether another node leads, as far as this one can tell."""
        leader_id = self.parts.node.raft.leader_id
        return leader_id != 0 and self.parts.node.standing.reachable(leader_id)

    async def _relay_change(self, caller: Caller, request: Request, end: float) -> Response:
        """Have the leader carry out a change; ask the next one if it has just ceased to lead."""
        while True:
            response = await self.relay(caller, request)
            left = end - self.parts.loop.time()
            if response.error.code != Code.NOT_LEADER or left <= 0:
                return response
            request.deadline_ms = max(1, int(left * 1000))
            # It will say who leads now, or be unreachable, in a moment.
            await asyncio.sleep(min(left, self.parts.config.heartbeat / 2))

    async def _abort_without_leader(self, change: MemberChangeRequest, end: float) -> Response:
        """Have one old voter after the other campaign by the old majority alone.

        Taking the change back is what was asked for, and with no leader there is no other way.
        """
        node = self.parts.node
        old = node.raft.prs.configuration.voters
        others = [peer for peer in sorted(old) if peer != node.id and node.standing.reachable(peer)]
        failure = node.standing.no_leader_error()
        request = Request(id=1, no_forward=True)
        request.member_change.CopyFrom(change)
        request.member_change.campaign = True
        for peer_id in [node.id, *others] if node.id in old else others:
            left = end - self.parts.loop.time()
            if left <= 0:
                break
            request.deadline_ms = max(1, int(left * 1000))
            try:
                if peer_id == node.id:
                    response = await self._change_here(request.member_change, left)
                else:
                    response = await self.parts.relays.ask(peer_id, request, left)
            except AdminError as error:
                failure = error
                continue
            if not response.HasField("error"):
                response.member_change.warnings.append(
                    f"there was no leader: node {peer_id} campaigned by the old majority alone"
                )
                return response
            failure = error_from_message(response.error)
        raise failure

    async def _campaign(self, caller: Caller, request: Request) -> Response:
        node = self.parts.node
        raft = node.raft
        loop = self.parts.loop
        started = loop.time()
        response = Response()
        if not node.is_leader:
            await self._stand(request)
        response.campaign.won = True
        response.campaign.leader = raft.leader_id
        response.campaign.term = raft.term
        response.campaign.took_ms = int((loop.time() - started) * 1000)
        return response

    async def _stand(self, request: Request) -> None:
        """Stand for election and return once it is won.

        Raises:
            AdminError: it was not, or may not stand; with the reason.
        """
        node = self.parts.node
        raft = node.raft
        if not raft.promotable():
            raise AdminError(
                Code.NOT_PROMOTABLE,
                f"node {node.id} is {views.role_of(node)} and may not stand for election",
            )
        if any(change.index <= raft.raft_log.committed for change in raft.membership_log):
            raise AdminError(
                Code.CONF_PENDING,
                "a committed change of membership is not applied here yet; it must be first",
            )
        former = raft.leader_id
        node.call(node.raw.campaign)
        patience = min(seconds_of(request), 2 * self.parts.config.election_timeout)
        try:
            async with asyncio.timeout(patience):
                while not node.is_leader:
                    if raft.leader_id and raft.leader_id != former:
                        break
                    await node.changed()
        except TimeoutError:
            pass
        if node.is_leader:
            return
        if raft.leader_id and raft.leader_id != former:
            why = f"node {raft.leader_id} was elected in term {raft.term}"
        elif raft.leader_id or former:
            why = (
                f"the others still hear from leader {raft.leader_id or former} and do not vote "
                "against it"
            )
        else:
            missing = node.standing.missing_voters()
            why = "no majority voted for it"
            if missing:
                why += f"; unreachable: {', '.join(map(str, missing))}"
        raise AdminError(
            Code.CAMPAIGN_LOST,
            f"node {node.id} was not elected: {why}",
            hint=f"to move leadership from a live leader: raftctl transfer-leader {node.id}",
        )

    async def _transfer_leader(self, caller: Caller, request: Request) -> Response:
        node = self.parts.node
        raft = node.raft
        loop = self.parts.loop
        if not node.is_leader:
            if request.no_forward:
                raise self.not_leader()
            return await self.relay(caller, request)
        started = loop.time()
        target = request.transfer_leader.id
        response = Response()
        reply = response.transfer_leader
        reply.from_id = node.id
        if target != node.id:
            target = self._transfer_target(target)
            node.call(lambda: node.raw.transfer_leader(target))
            patience = min(seconds_of(request), 2 * self.parts.config.election_timeout)
            try:
                async with asyncio.timeout(patience):
                    # Without a transferee the core has given up.
                    while raft.leader_id in (0, node.id) and (
                        raft.lead_transferee or not node.is_leader
                    ):
                        await node.changed()
            except TimeoutError:
                pass
            if raft.leader_id != target:
                now = f"node {raft.leader_id} leads" if raft.leader_id else "nobody leads yet"
                raise AdminError(
                    Code.TRANSFER_FAILED,
                    f"leadership did not pass to node {target}: {now}",
                    details={"leader": raft.leader_id},
                )
        reply.to_id, reply.term = raft.leader_id, raft.term
        reply.took_ms = int((loop.time() - started) * 1000)
        return response

    def _transfer_target(self, wanted: int) -> int:
        """Return whom to hand over to, checked: the core passes over who cannot lead in silence."""
        node = self.parts.node
        prs = node.raft.prs
        if wanted:
            if wanted not in prs.ids():
                raise AdminError(Code.UNKNOWN_MEMBER, f"node {wanted} is not in the group")
            if wanted not in prs.voter_ids():
                raise AdminError(Code.NOT_PROMOTABLE, f"node {wanted} is a learner")
            if not node.standing.reachable(wanted):
                raise AdminError(
                    Code.MEMBER_UNREACHABLE,
                    f"node {wanted} cannot be reached: {node.standing.why_unreachable(wanted)}",
                )
            return wanted
        found = self.parts.node.standing.best_successor()
        if not found:
            raise AdminError(
                Code.TRANSFER_FAILED, "no other voter is active: there is nobody to hand over to"
            )
        return found

    # --- the log ------------------------------------------------------------------------------

    async def _log_stat(self, caller: Caller, request: Request) -> Response:
        store = self.parts.store
        log = self.parts.node.raft.raft_log
        response = Response()
        stat = response.log_stat
        stat.first_index, stat.last_index = store.first_index(), store.last_index()
        stat.commit, stat.applied = log.committed, log.applied
        index = stat.first_index
        while index <= stat.last_index:
            try:
                page = store.entries(index, stat.last_index + 1, _PAGE_BYTES)
            except Compacted:
                index = store.first_index()
                continue
            for entry in page:
                stat.bytes += entry.ByteSize()
                stat.counts[describe(entry).type] += 1
            index = page[-1].index + 1
            await asyncio.sleep(0)
        info = self.parts.snapshot_info()
        stat.snapshot_index = info.index if info is not None else 0
        return response

    async def _log_read(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        read = request.log_read
        store = self.parts.store
        raft_log = self.parts.node.raft.raft_log
        wanted = frozenset(read.types)
        unknown = wanted - {"normal", "noop", "control", "conf"}
        if unknown:
            raise AdminError(Code.INVALID_REQUEST, f"{min(unknown)!r} is no type of entry")

        def end() -> int:
            """One above the last index that may be shown now."""
            if read.uncommitted:
                shown = raft_log.last_index()
            elif read.applied:
                shown = raft_log.applied
            else:
                shown = raft_log.committed
            return min(shown + 1, read.to_index) if read.to_index else shown + 1

        history = wanted == {"normal"} and not read.last
        position = read.from_index or (1 if history else store.first_index())
        if read.last:
            position = max(position, self._last(read.last, end(), wanted))
        left = read.limit or 2**63
        empty = True
        if history and position < store.first_index():
            # The state machine `log` keeps proposals that Raft's own log has dropped.
            async for response in self._from_history(read.from_index, end(), left):
                left -= len(response.log_read.entries)
                empty = False
                yield self._bounded(response)
            position = store.first_index()
        elif position < store.first_index():
            raise self._compacted(position)
        while left > 0:
            while position < end() and left > 0:
                try:
                    page = store.entries(position, end(), _PAGE_BYTES)
                except Compacted:
                    raise self._compacted(position) from None
                response = Response()
                reply = response.log_read
                for entry in page:
                    shown = describe(entry)
                    if (not wanted or shown.type in wanted) and left > 0:
                        reply.entries.append(shown)
                        left -= 1
                position = page[-1].index + 1
                if reply.entries:
                    empty = False
                    yield self._bounded(response)
                else:
                    await asyncio.sleep(0)
            if not read.follow or (read.to_index and position >= read.to_index):
                break
            if not caller.gone:
                await self.parts.node.changed()
        if empty:
            response = Response()
            response.log_read.SetInParent()
            yield self._bounded(response)

    def _last(self, count: int, end: int, wanted: frozenset[str]) -> int:
        """Return where the last ``count`` entries before ``end`` begin."""
        store = self.parts.store
        first = store.first_index()
        if not wanted:
            return max(first, end - count)
        high = end
        while high > first:
            low = max(first, high - 256)
            for entry in reversed(store.entries(low, high)):
                if describe(entry).type in wanted:
                    count -= 1
                    if count == 0:
                        return entry.index
            high = low
        return first

    async def _from_history(self, start: int, end: int, limit: int) -> AsyncIterator[Response]:
        """Yield proposals from before the log's first entry, as the state machine keeps them."""
        applier = self.parts.applier
        stop = min(end, self.parts.store.first_index())
        position = start or 1
        while limit > 0 and position < stop:
            try:
                page = applier.machine.changes(applier.reader, str(position).encode(), position)
            except HistoryCompacted as error:
                if start:
                    raise self._compacted(start, error.first) from None
                position = error.first
                continue
            except CommandRefused:
                # The machine keeps no such history.
                if start:
                    raise self._compacted(start) from None
                return
            entries = LogReadReply.FromString(page.data).entries
            kept = [entry for entry in entries if entry.index < stop][:limit]
            limit -= len(kept)
            if kept:
                response = Response()
                response.log_read.entries.extend(kept)
                yield response
            if not page.more:
                return
            position = page.next
            await asyncio.sleep(0)

    def _bounded(self, response: Response) -> Response:
        log = self.parts.node.raft.raft_log
        reply = response.log_read
        reply.first_index, reply.last_index = self.parts.store.first_index(), log.last_index()
        reply.commit, reply.applied = log.committed, log.applied
        return response

    def _compacted(self, index: int, first: int = 0) -> AdminError:
        first = first or self.parts.store.first_index()
        return AdminError(
            Code.COMPACTED,
            f"entry {index} is no longer kept; the first one that is has index {first}",
            details={"first_index": first},
        )

    async def _watch(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        applier = self.parts.applier
        position = -1
        first = True
        while True:
            try:
                page = applier.machine.changes(applier.reader, request.watch.data, position)
            except HistoryCompacted as error:
                raise AdminError(
                    Code.COMPACTED, str(error), details={"first_index": error.first}
                ) from None
            except CommandRefused as error:
                raise AdminError(Code.REFUSED, str(error)) from None
            position = page.next
            if page.data or first:
                first = False
                response = Response()
                response.watch.data = page.data
                response.watch.index = applier.index
                yield response
            if not page.more:
                await self.parts.node.changed()


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
        response = Response(id=request_id)
        reply = response.propose
        reply.index, reply.term = applied.index, applied.term
        reply.outcome = _APPLIED  # type: ignore[assignment]
        if applied.result:
            reply.result = applied.result
        if applied.deduplicated:
            reply.deduplicated = True
        raft = self._service.parts.node.raft
        response.node, response.leader, response.term = raft.id, raft.leader_id, raft.term
        self._caller.send(response)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        """Tell the caller that its request failed."""
        self._service.fail(self._caller, request_id, error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Answer the caller's read."""
        if data is None:
            self._service.answer_read_index(self._caller, request_id, index)
        else:
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

    async def drain(self) -> None:
        """There is always room."""


def seconds_of(request: Request) -> float:
    """Return how long the answer may take; a little less than the client waits for it."""
    milliseconds = min(request.deadline_ms or REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX)
    return max(milliseconds * 0.95, milliseconds - 200) / 1000
