"""Changes of membership on the leader: what it waits for, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from raft.eraftpb import AddLearnerNode, MsgAppendResponse, MsgHeartbeatResponse
from raftd import members
from raftd.members import AddressBook, Membership
from raftwire.errors import AdminError, Code
from raftwire.proto.admin_pb2 import MemberChangeReply, MemberChangeRequest
from tests.harness.builders import a_config, a_leader, a_storage, change_entry, v1
from tests.harness.network import Member

Kind = MemberChangeRequest


class Engine:
    """The engine of a leader whose peers a test plays."""

    election_timeout = 0.2

    def __init__(self, member: Member) -> None:
        self.member = member
        self.id = member.id
        self.woken = asyncio.Event()

    @property
    def raft(self) -> Any:
        return self.member.raft

    @property
    def is_leader(self) -> bool:
        return self.member.leads

    @property
    def standing(self) -> Engine:
        return self

    def reachable(self, node_id: int) -> bool:
        return True

    async def changed(self) -> None:
        await self.woken.wait()
        self.woken.clear()


def nothing() -> None:
    """Nothing happens."""


async def probe(node_id: int, address: str) -> str:
    return ""


def tried(
    member: Member, request: MemberChangeRequest, meanwhile: Callable[[], object]
) -> MemberChangeReply:
    """Try a change, and have something happen while it is looked into; return the answer."""

    async def main() -> MemberChangeReply:
        engine = Engine(member)
        membership = Membership(cast(Any, engine), AddressBook(1, "h:1"), probe)
        request.dry_run = True
        asked = asyncio.ensure_future(membership.change(request, 5.0))
        await asyncio.sleep(0)
        assert not asked.done() or meanwhile is nothing
        meanwhile()
        engine.woken.set()
        return await asked

    return asyncio.run(main())


def test_a_new_leader_first_applies_what_it_found_in_its_log() -> None:
    # A former leader was killed before node 4's addition was committed: whether it is a member is
    # not known before the new leader's own entry is.
    storage = a_storage(terms=[1])
    with storage.wl() as writer:
        writer.append([change_entry(v1(AddLearnerNode, 4), index=3, term=1)])
    member = Member(a_config(1, applied=1), storage).lead(acknowledged=False)
    request = Kind(kind=Kind.DEMOTE, id=3)

    def commit() -> None:
        member.receive(MsgAppendResponse, 2, index=member.last_index)

    reply = tried(member, request, commit)
    assert list(reply.before.learners) == [4]
    assert list(reply.after.learners) == [3, 4]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "CAUGHT_UP_LAG_MAX", 20)


def lagging() -> Member:
    """A leader with node 4 as a learner that has nothing of the last entries."""
    leader = a_leader(voters=[1, 2], learners=[4])
    for _ in range(50):
        leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=leader.last_index)
    return leader


def refusal(leader: Member) -> AdminError:
    with pytest.raises(AdminError) as caught:
        tried(leader, Kind(kind=Kind.PROMOTE, id=4), nothing)
    assert caught.value.code == Code.LEARNER_LAGGING
    return caught.value


def test_a_learner_that_lags_is_not_promoted() -> None:
    error = refusal(lagging())
    assert (error.details["lag"], error.details["lag_max"]) == ("50", "20")
    assert "50 entries behind the leader (it has 2 of 52" in error.message
    assert "member promote 4 --wait" in error.hint


def test_nor_one_that_is_near_and_silent() -> None:
    leader = lagging()
    leader.receive(MsgAppendResponse, 4, index=leader.last_index)
    leader.raft.prs.progress[4].recent_active = False
    assert "not been heard from" in refusal(leader).message


def test_a_learner_that_follows_closely_is() -> None:
    leader = lagging()
    leader.receive(MsgAppendResponse, 4, index=leader.last_index - 10)
    request = Kind(kind=Kind.PROMOTE, id=4)
    assert list(tried(leader, request, nothing).after.voters) == [1, 2, 4]


def test_a_learner_has_a_moment_to_show_it() -> None:
    leader = lagging()

    def answer() -> None:
        leader.receive(MsgHeartbeatResponse, 4)
        leader.receive(MsgAppendResponse, 4, index=leader.last_index)

    reply = tried(leader, Kind(kind=Kind.PROMOTE, id=4), answer)
    assert list(reply.after.voters) == [1, 2, 4]
