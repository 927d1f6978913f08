"""A change of membership that another member carries out, answered by what this one sees of it.

A leader that leaves the group by the change it carries out is cut off by the others as soon as
they have applied it, often before its answer is on its way. Whoever passed the request on sees the
change take effect all the same, and then needs no answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from raft.eraftpb import ConfState
from raftd.node import Node
from raftd.views import configuration_message
from raftwire.admin import Response
from raftwire.proto.admin_pb2 import MemberChangeReply, MemberChangeRequest

GRACE: Final = 0.5
"""Seconds that the leader still has to answer itself, once its change is in force here."""

Kind = MemberChangeRequest


def takes_effect(request: MemberChangeRequest, before: ConfState) -> Callable[[ConfState], bool]:
    """Return what tells of a configuration whether it is what was asked for.

    Args:
        request: The change.
        before: The configuration in force when it was passed on.
    """
    if request.kind == Kind.BEGIN and not request.auto_finalize:
        return lambda now: bool(now.voters_outgoing) and set(now.voters) == set(request.voters)
    ended = _ended_as(request, before)
    return lambda now: not now.voters_outgoing and ended(now)


def _ended_as(request: MemberChangeRequest, before: ConfState) -> Callable[[ConfState], bool]:
    """Return the same for a change that is to end in a stable configuration."""
    old = set(before.voters_outgoing)
    kind = request.kind
    if kind == Kind.FINALIZE and old:
        return lambda now: set(now.voters) == set(before.voters)
    if kind == Kind.ABORT and old:
        return lambda now: set(now.voters) == old
    if kind == Kind.CHANGE or (kind == Kind.BEGIN and request.auto_finalize):
        voters = set(request.voters)
        return lambda now: set(now.voters) == voters
    if kind == Kind.REMOVE:
        return lambda now: request.id in now.removed
    if kind == Kind.REPLACE:
        return lambda now: request.id in now.removed and request.new_id in now.voters
    if kind == Kind.DEMOTE:
        return lambda now: request.id in now.learners
    if kind in (Kind.ADD_VOTER, Kind.PROMOTE) or (kind == Kind.ADD and request.wait):
        return lambda now: request.id in {*now.voters} - {*before.voters}
    if kind in (Kind.ADD, Kind.ADD_LEARNER):
        known = {*before.voters, *before.learners}
        return lambda now: request.id in {*now.voters, *now.learners} - known
    # An address is no part of the configuration.
    return lambda now: False


async def carried_out(
    node: Node, request: MemberChangeRequest, relayed: Awaitable[Response]
) -> Response:
    """Return the leader's answer, or one of this node's own when the change has taken effect.

    Args:
        node: This node.
        request: The change.
        relayed: What asks the leader.

    Raises:
        AdminError: The leader refused, or nothing was heard of it in time.
    """
    before = node.raft.prs.to_conf_state()
    wanted = takes_effect(request, before)
    answer = asyncio.ensure_future(relayed)
    if request.dry_run:
        return await answer
    loop = asyncio.get_running_loop()
    started = loop.time()
    seen = loop.create_task(_seen(node, before, wanted))
    try:
        await asyncio.wait({answer, seen}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await asyncio.wait({answer}, timeout=GRACE)
        if answer.done() or not seen.done():
            return await answer
    finally:
        answer.cancel()
        seen.cancel()
    now = seen.result()
    response = Response()
    response.member_change.CopyFrom(
        MemberChangeReply(
            index=now.config_index,
            term=node.raft.term,
            phase="joint" if now.voters_outgoing else "stable",
            before=configuration_message(before),
            after=configuration_message(now),
            took_ms=int((loop.time() - started) * 1000),
        )
    )
    return response


async def _seen(node: Node, before: ConfState, wanted: Callable[[ConfState], bool]) -> ConfState:
    """Wait until this node has applied what was asked for."""
    while True:
        now = node.raft.prs.to_conf_state()
        if now.config_index > before.config_index and wanted(now):
            return now
        await node.changed()


async def came_to_nothing(node: Node, before: ConfState, term: int, seconds: float) -> bool:
    """Wait until it is certain that a change is lost which a leader that died was asked for.

    It is when a leader of a later term has an entry of its own applied here, and what is applied,
    and what waits to be, shows no change: such a leader had in its log before that entry whatever
    may ever come of an earlier leader's. The one that was asked proposes a change in the term only
    in which it has taken the request (`Membership`), so it will not append it later.

    Args:
        node: This node.
        before: The configuration when the leader was asked.
        term: The term then.
        seconds: How long to wait.

    Returns:
        False if that does not become certain in time; if the configuration has changed since, it
        never does, and whoever waits for the change may see it take effect meanwhile.
    """
    raft = node.raft
    log = raft.raft_log
    try:
        async with asyncio.timeout(seconds):
            while not (
                raft.leader_id
                and raft.term > term
                and log.match_term(log.applied, raft.term)
                and not raft.membership_log
                and raft.prs.config_index == before.config_index
            ):
                await node.changed()
    except TimeoutError:
        return False
    return True
