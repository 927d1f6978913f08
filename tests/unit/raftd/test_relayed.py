"""A change of membership that another member carries out: when this one may answer for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raft.eraftpb import ConfState
from raftd import relayed
from raftd.relayed import came_to_nothing, carried_out, takes_effect
from raftwire.admin import Response
from raftwire.errors import AdminError, Code
from raftwire.proto.admin_pb2 import MemberChangeReply, MemberChangeRequest

Kind = MemberChangeRequest
JOINT = ConfState(voters=[1, 3], voters_outgoing=[1, 2, 3], begin_index=6, config_index=6)
NEW = ConfState(voters=[1, 3], removed=[2], config_index=8)
OLD = ConfState(voters=[1, 2, 3], config_index=8)
GROWN = ConfState(voters=[1, 2, 3, 4], learners=[5], config_index=9)


@pytest.mark.parametrize(
    ("request_", "before", "now", "holds"),
    [
        (Kind(kind=Kind.FINALIZE), JOINT, NEW, True),
        (Kind(kind=Kind.FINALIZE), JOINT, OLD, False),
        (Kind(kind=Kind.ABORT), JOINT, OLD, True),
        (Kind(kind=Kind.ABORT), JOINT, NEW, False),
        (Kind(kind=Kind.FINALIZE), OLD, NEW, False),
        (Kind(kind=Kind.CHANGE, voters=[3, 1]), OLD, NEW, True),
        (Kind(kind=Kind.CHANGE, voters=[1]), OLD, NEW, False),
        (Kind(kind=Kind.REMOVE, id=2), OLD, NEW, True),
        (Kind(kind=Kind.REMOVE, id=3), OLD, NEW, False),
        (Kind(kind=Kind.REPLACE, id=2, new_id=3), OLD, NEW, True),
        (Kind(kind=Kind.PROMOTE, id=3), OLD, NEW, False),
        (Kind(kind=Kind.PROMOTE, id=4), OLD, GROWN, True),
        (Kind(kind=Kind.ADD_LEARNER, id=5), OLD, GROWN, True),
        (Kind(kind=Kind.ADD, id=5, wait=True), OLD, GROWN, False),
        (Kind(kind=Kind.BEGIN, voters=[1, 3]), OLD, JOINT, True),
        (Kind(kind=Kind.BEGIN, voters=[1, 3], auto_finalize=True), OLD, JOINT, False),
        (Kind(kind=Kind.BEGIN, voters=[1, 2]), OLD, JOINT, False),
    ],
)
def test_what_was_asked_for_is_told_from_what_others_did(
    request_: MemberChangeRequest, before: ConfState, now: ConfState, holds: bool
) -> None:
    assert takes_effect(request_, before)(now) is holds


class FakeNode:
    """A node whose configuration a test changes."""

    def __init__(self, state: ConfState) -> None:
        self.state = state
        self.woken = asyncio.Event()
        self.raft = SimpleNamespace(term=3, prs=SimpleNamespace(to_conf_state=lambda: self.state))

    async def changed(self) -> None:
        await self.woken.wait()
        self.woken.clear()

    def become(self, state: ConfState) -> None:
        self.state = state
        self.woken.set()


def run(answer: Any, then: ConfState | None) -> Response:
    async def main() -> Response:
        node = FakeNode(JOINT)
        if then is not None:
            asyncio.get_running_loop().call_later(0.01, node.become, then)
        return await carried_out(cast(Any, node), Kind(kind=Kind.FINALIZE), answer())

    return asyncio.run(main())


async def never() -> Response:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_leader_that_is_cut_off_needs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayed, "GRACE", 0.01)
    reply = run(never, NEW).member_change
    assert (reply.index, reply.term, reply.phase) == (8, 3, "stable")
    assert list(reply.before.voters_outgoing) == [1, 2, 3]
    assert list(reply.after.voters) == [1, 3]


def test_the_leaders_own_answer_is_preferred() -> None:
    async def soon() -> Response:
        await asyncio.sleep(0.05)
        return Response(member_change=MemberChangeReply(index=8, took_ms=77))

    assert run(soon, NEW).member_change.took_ms == 77


def test_a_refusal_is_passed_on() -> None:
    async def refused() -> Response:
        raise AdminError(Code.NOT_JOINT, "not joint")

    with pytest.raises(AdminError):
        run(refused, None)


@pytest.mark.parametrize(
    ("leader", "term", "own_applied", "waiting", "index", "nothing"),
    [
        (2, 4, True, [], 6, True),
        # The same leader, or one that has nothing of its own applied: what was asked may be there.
        (2, 3, True, [], 6, False),
        (0, 4, True, [], 6, False),
        (2, 4, False, [], 6, False),
        # Something waits in the log, or has happened.
        (2, 4, True, ["Begin"], 6, False),
        (2, 4, True, [], 7, False),
    ],
)
def test_when_nothing_came_of_what_a_dead_leader_was_asked(
    leader: int, term: int, own_applied: bool, waiting: list[str], index: int, nothing: bool
) -> None:
    log = SimpleNamespace(
        applied=9, match_term=lambda at, of: (at, of) == (9, 4 if own_applied else 3)
    )
    raft = SimpleNamespace(
        leader_id=leader, term=term, raft_log=log, membership_log=waiting,
        prs=SimpleNamespace(config_index=index),
    )  # fmt: skip

    async def changed() -> None:
        await asyncio.Event().wait()

    node = cast(Any, SimpleNamespace(raft=raft, changed=changed))
    before = ConfState(config_index=6)
    assert asyncio.run(came_to_nothing(node, before, 3, 0.01)) is nothing
