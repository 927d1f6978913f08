"""What the daemon does for clients that look: versions, status, progress, health, who is a member.

And for those that wait until what they look for is so.
"""

import asyncio
from collections.abc import Mapping

from raftd import __version__, views
from raftd.service import Service
from raftd.serving import Caller, Handler, Stream, seconds_of
from raftwire.admin import PROTOCOL_MAX, PROTOCOL_MIN, Request, Response, error_to_message
from raftwire.errors import AdminError, Code
from raftwire.proto.admin_pb2 import WaitRequest


class LookingService:
    """Serves requests that change nothing and read no data."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts = service.parts
        self.handlers: Mapping[str, Handler] = {
            "hello": self._hello,
            "status": self._status,
            "progress": self._progress,
            "health": self._health,
            "wait": self._wait,
            "member_list": self._member_list,
            "member_status": self._member_status,
        }
        self.streams: Mapping[str, Stream] = {}

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
        reply.state_machine = self._parts.identity.state_machine
        reply.access = caller.access
        return response

    async def _status(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.status.CopyFrom(views.status_reply(self._parts))
        if request.status.cluster:
            await self._ask_everyone(request, response)
        return response

    async def _ask_everyone(self, request: Request, response: Response) -> None:
        question = Request(id=1, deadline_ms=int(seconds_of(request) * 800))
        question.status.SetInParent()
        seconds = question.deadline_ms / 1000
        now = self._parts.loop.time()
        ids = self._parts.peer_ids()
        answers = await asyncio.gather(
            *(self._parts.relays.ask(peer, question, seconds, query=True) for peer in ids),
            return_exceptions=True,
        )
        own = response.status.members.add(
            id=self._parts.node.id, addr=self._parts.book.find(self._parts.node.id, now)
        )
        own.status.CopyFrom(views.status_reply(self._parts))
        for peer_id, answer in zip(ids, answers, strict=True):
            row = response.status.members.add(id=peer_id, addr=self._parts.book.find(peer_id, now))
            if isinstance(answer, AdminError):
                row.error.CopyFrom(error_to_message(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif answer.HasField("error"):
                row.error.CopyFrom(answer.error)
            else:
                row.status.CopyFrom(answer.status)

    async def _progress(self, caller: Caller, request: Request) -> Response:
        """Ask the leader; where there is none, say at once what this node knows of itself."""
        node = self._parts.node
        if node.standing.outside:
            # It has none: nobody sends it anything, and what it knows of the others is past.
            raise node.standing.not_member_error()
        if not node.is_leader:
            if request.no_forward:
                raise self._service.not_leader()
            if node.standing.quorum_linked:
                try:
                    return await self._service.relay(caller, request, query=True)
                except AdminError as error:
                    if error.code not in (Code.NO_LEADER, Code.NO_QUORUM):
                        raise
        response = Response()
        response.progress.CopyFrom(views.progress_reply(self._parts))
        return response

    async def _health(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.health.CopyFrom(views.health_reply(self._parts, request.health.max_lag))
        return response

    async def _member_list(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.member_list.CopyFrom(views.member_list_reply(self._parts))
        return response

    async def _member_status(self, caller: Caller, request: Request) -> Response:
        if not self._parts.node.is_leader and not request.no_forward:
            # The leader knows more; without one this node's view is still an answer.
            leader_id = self._parts.node.raft.leader_id
            if leader_id and self._parts.node.standing.reachable(leader_id):
                try:
                    return await self._service.relay(caller, request, leader_id, query=True)
                except AdminError as error:
                    self._parts.node.note(f"member status answered locally: {error}")
        response = Response()
        response.member_status.CopyFrom(views.member_status_reply(self._parts))
        return response

    # --- waiting ------------------------------------------------------------------------------

    async def _wait(self, caller: Caller, request: Request) -> Response:
        wait = request.wait
        node = self._parts.node
        started = self._parts.loop.time()
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
        response.wait.took_ms = int((self._parts.loop.time() - started) * 1000)
        response.wait.detail = detail
        return response

    def _holds(self, wait: WaitRequest) -> str:
        """Return what was waited for as it is now; empty if it does not hold."""
        node = self._parts.node
        raft = node.raft
        prs = raft.prs
        if wait.what == WaitRequest.LEADER:
            leader = raft.leader_id
            # A leader that cannot commit is none to whoever waits for one.
            if leader == node.id and not raft.committed_in_own_term():
                return ""
            return f"node {leader} leads in term {raft.term}" if leader else ""
        if wait.what == WaitRequest.HEALTHY:
            health = views.health_of(self._parts, 0)
            return "healthy" if health.state == "healthy" else ""
        if wait.what == WaitRequest.READY:
            return "ready" if views.health_reply(self._parts, 0).ready else ""
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
        node = self._parts.node
        if wait.what == WaitRequest.LEADER:
            return node.standing.no_leader_error().message
        if wait.what == WaitRequest.INDEX_APPLIED:
            return f"this node has applied {node.raft.raft_log.applied}"
        if wait.what == WaitRequest.STABLE_CONFIG:
            return f"the change is {views.phase_of(node)}"
        return "; ".join(views.health_of(self._parts, 0).reasons) or "it does not hold"
