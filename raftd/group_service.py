"""What the daemon does for clients that change the group: who is in it, and who leads it."""

import asyncio
from collections.abc import Mapping
from typing import Final

from raftd import views
from raftd.relayed import came_to_nothing, carried_out
from raftd.service import Service
from raftd.serving import Caller, Handler, Stream, seconds_of
from raftwire.admin import Request, Response, error_from_message
from raftwire.errors import AdminError, Code
from raftwire.proto.admin_pb2 import MemberChangeRequest

_LOST_ELECTIONS: Final = 6
"""Election timeouts for which to look whether a change died with the leader that was asked."""


class GroupService:
    """Serves changes of membership and of leadership."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts = service.parts
        self.handlers: Mapping[str, Handler] = {
            "member_change": self._member_change,
            "campaign": self._campaign,
            "transfer_leader": self._transfer_leader,
        }
        self.streams: Mapping[str, Stream] = {}

    # --- membership -----------------------------------------------------------------------------

    async def _member_change(self, caller: Caller, request: Request) -> Response:
        node, change = self._parts.node, request.member_change
        seconds = seconds_of(request)
        end = self._parts.loop.time() + seconds
        abort = change.kind == MemberChangeRequest.ABORT
        if node.standing.has_left or node.standing.belonging.told is not None:
            raise node.standing.not_member_error()
        if node.is_leader or (abort and change.campaign and not self._other_leader()):
            return await self._change_here(change, seconds)
        if request.no_forward:
            raise self._service.not_leader()
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
        response.member_change.CopyFrom(await self._parts.membership.change(change, seconds))
        return response

    def _other_leader(self) -> bool:
        """Whether another node leads, as far as this one can tell."""
        leader_id = self._parts.node.raft.leader_id
        return leader_id != 0 and self._parts.node.standing.reachable(leader_id)

    async def _relay_change(self, caller: Caller, request: Request, end: float) -> Response:
        """Have the leader carry out a change; ask the next one if it has just ceased to lead.

        Also if it died, once it is certain that nothing came of what it was asked.
        """
        node, parts = self._parts.node, self._parts
        while True:
            before, term = node.raft.prs.to_conf_state(), node.raft.term
            try:
                response = await self._service.relay(caller, request)
            except AdminError as error:
                patience = min(
                    end - parts.loop.time(), _LOST_ELECTIONS * parts.config.election_timeout
                )
                if error.code != Code.CONNECTION_LOST_UNKNOWN or not await came_to_nothing(
                    node, before, term, patience
                ):
                    raise
                left = end - parts.loop.time()
                if left <= 0:
                    raise
            else:
                left = end - parts.loop.time()
                if response.error.code != Code.NOT_LEADER or left <= 0:
                    return response
                # It will say who leads now, or be unreachable, in a moment.
                await asyncio.sleep(min(left, parts.config.heartbeat / 2))
            request.deadline_ms = max(1, int(left * 1000))

    async def _abort_without_leader(self, change: MemberChangeRequest, end: float) -> Response:
        """Have one old voter after the other campaign by the old majority alone.

        Taking the change back is what was asked for, and with no leader there is no other way.
        """
        node = self._parts.node
        old = node.raft.prs.configuration.voters
        others = [peer for peer in sorted(old) if peer != node.id and node.standing.reachable(peer)]
        failure = node.standing.no_leader_error()
        request = Request(id=1, no_forward=True)
        request.member_change.CopyFrom(change)
        request.member_change.campaign = True
        for peer_id in [node.id, *others] if node.id in old else others:
            left = end - self._parts.loop.time()
            if left <= 0:
                break
            request.deadline_ms = max(1, int(left * 1000))
            try:
                if peer_id == node.id:
                    response = await self._change_here(request.member_change, left)
                else:
                    response = await self._parts.relays.ask(peer_id, request, left)
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
        node = self._parts.node
        raft = node.raft
        loop = self._parts.loop
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
        node = self._parts.node
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
        patience = min(seconds_of(request), 2 * self._parts.config.election_timeout)
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
        node = self._parts.node
        raft = node.raft
        loop = self._parts.loop
        if not node.is_leader:
            if request.no_forward:
                raise self._service.not_leader()
            return await self._service.relay(caller, request)
        started = loop.time()
        target = request.transfer_leader.id
        response = Response()
        reply = response.transfer_leader
        reply.from_id = node.id
        if target != node.id:
            target = self._transfer_target(target)
            node.call(lambda: node.raw.transfer_leader(target))
            patience = min(seconds_of(request), 2 * self._parts.config.election_timeout)
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
        node = self._parts.node
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
        found = self._parts.node.standing.best_successor()
        if not found:
            raise AdminError(
                Code.TRANSFER_FAILED, "no other voter is active: there is nobody to hand over to"
            )
        return found
