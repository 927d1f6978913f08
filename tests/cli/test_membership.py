"""The member commands: what they ask for, what they show, how the long ones go on."""

from __future__ import annotations

from typing import Any

import pytest

from raftwire.limits import CAUGHT_UP_LAG_MAX
from raftwire.proto.admin_pb2 import (
    Configuration,
    Error,
    Majority,
    Member,
    MemberChangeReply,
    MemberChangeRequest,
    MemberListReply,
    MemberStatusReply,
    ProgressReply,
    ProgressRow,
    Quorum,
    Request,
    Response,
)
from tests.cli.conftest import Ctl
from tests.cli.fake import FakeNode, config, joint

Kind = MemberChangeRequest


def changed(after: Configuration, **more: Any) -> Response:
    reply = MemberChangeReply(
        index=981,
        term=7,
        before=config(1, 2, 3, index=980),
        after=after,
        quorum_before=Quorum(voters=3, needed=2, reachable=3, tolerance=1),
        quorum_after=Quorum(voters=2, needed=2, reachable=2, tolerance=0),
        **more,
    )
    return Response(member_change=reply)


def sent(node: FakeNode) -> list[MemberChangeRequest]:
    return [r.member_change for r in node.requests if r.WhichOneof("body") == "member_change"]


def test_begin_as_the_manual_writes_it(node: FakeNode, ctl: Ctl) -> None:
    node.answer("member_change", changed(joint(), phase="joint", warnings=["the leader leaves"]))
    ran = ctl("member", "begin", "--voters", "1,3", "--learners", "4,5,6")
    assert ran.code == 0
    assert ran.out == (
        "voters        1,2,3 -> 1,3\n"
        "learners      - -> 4,5,6\n"
        "leaving       2\n"
        "old majority  2 of 3, 3 reachable, tolerates 1 failure\n"
        "new majority  2 of 2, 2 reachable, tolerates 0 failures!\n"
        "warning: the leader leaves\n"
        "JOINT at index 981: joint voters 1,3 with 1,2,3 learners 4,5,6\n"
        "run: raftctl member finalize (or: raftctl member abort)\n"
    )
    request = sent(node)[0]
    assert request.kind == Kind.BEGIN
    assert (list(request.voters), list(request.learners)) == ([1, 3], [4, 5, 6])
    assert not request.auto_finalize


def test_begin_passes_its_options(node: FakeNode, ctl: Ctl) -> None:
    node.answer("member_change", changed(joint(), dry_run=True))
    ran = ctl(
        "member", "begin", "--voters", "1,3", "--addr", "4=h:7004,5=[fd00::5]:7005",
        "--successor", "3", "--auto-finalize", "--expect-config", "980", "--dry-run", "--unsafe",
    )  # fmt: skip
    assert "dry run: nothing was changed" in ran.out
    request = sent(node)[0]
    assert dict(request.addrs) == {4: "h:7004", 5: "[fd00::5]:7005"}
    assert (request.successor, request.expect_config) == (3, 980)
    assert request.auto_finalize
    assert request.dry_run
    assert request.unsafe


def test_an_unreachable_target_is_exit_4(node: FakeNode, ctl: Ctl) -> None:
    error = Error(code="UNSAFE_RECONFIG", message="1 of 2 voters reachable", outcome="NOT_APPLIED")
    node.answer("member_change", error)
    assert ctl("member", "begin", "--voters", "1,9").code == 4


def test_finalize_and_abort(node: FakeNode, ctl: Ctl) -> None:
    node.answer("member_change", changed(config(1, 3, index=990), took_ms=12))
    assert "FINALIZED at index 981 in 12ms: voters 1,3" in ctl("member", "finalize").out
    assert ctl("member", "abort").code == 2
    assert "ABORTED" in ctl("member", "abort", "--campaign", "--yes").out
    assert [r.kind for r in sent(node)] == [Kind.FINALIZE, Kind.ABORT]
    assert sent(node)[1].campaign


def test_list_and_status(node: FakeNode, ctl: Ctl) -> None:
    members = [
        Member(id=1, addr="h:1", role="voter", leader=True, reachable=True),
        Member(id=2, addr="h:2", role="outgoing", error="refused"),
    ]
    node.answer(
        "member_list", Response(member_list=MemberListReply(members=members, config=joint()))
    )
    text = ctl("member", "list").out
    assert "outgoing" in text
    assert "refused" in text
    assert [m["id"] for m in ctl("member", "list", "--json").data["members"]] == [1, 2]
    reply = MemberStatusReply(
        phase="joint",
        since_ms=4000,
        config=joint(),
        majorities=[
            Majority(name="incoming", voters=[1, 3], needed=2, acked=[1], missing=[3]),
            Majority(
                name="outgoing", voters=[1, 2, 3], needed=2, acked=[1, 2], missing=[3],
                satisfied=True,
            ),
        ],
        advice="raftctl member finalize",
    )  # fmt: skip
    node.answer("member_status", Response(member_status=reply))
    text = ctl("member", "status").out
    assert text.startswith("JOINT for 4.0s")
    assert "next: raftctl member finalize" in text
    data = ctl("member", "status", "--json").data
    assert data["majorities"][0]["missing"] == [3]


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["add-learner", "4", "h:7004"], Kind.ADD_LEARNER),
        (["promote", "4"], Kind.PROMOTE),
        (["demote", "3"], Kind.DEMOTE),
        (["remove", "3", "--yes"], Kind.REMOVE),
        (["set-addr", "3", "h:7009"], Kind.SET_ADDR),
        (["add", "4", "h:7004", "--no-wait"], Kind.ADD),
        (["add", "4", "h:7004", "--voter", "--yes"], Kind.ADD_VOTER),
        (["replace", "3", "4=h:7004", "--dry-run"], Kind.REPLACE),
    ],
)
def test_changes_of_one_member(node: FakeNode, ctl: Ctl, args: list[str], kind: int) -> None:
    node.answer("member_change", changed(config(1, 2, 3, index=981)))
    ran = ctl("member", *args, "--json")
    assert ran.code == 0, ran.out
    request = sent(node)[0]
    assert request.kind == kind
    assert request.id == int(args[1])
    if kind == Kind.REPLACE:
        assert (request.new_id, request.addr) == (4, "h:7004")


def test_add_prints_how_the_new_node_is_started(node: FakeNode, ctl: Ctl) -> None:
    addrs = {1: "h:7001", 2: "h:7002", 4: "h:7004"}
    node.answer("member_change", changed(config(1, 2, index=981), addrs=addrs))
    line = "raftd --id 4 --listen h:7004 --join h:7001,h:7002"
    assert line in ctl("member", "add", "4", "--no-wait").err
    assert ctl("member", "add", "4", "--no-wait", "--json").data["start"] == line


class Group:
    """A made-up group that catches up: each look at the progress finds members further."""

    def __init__(self, node: FakeNode, start: Configuration, behind: int = 3000) -> None:
        self.config = start
        self.behind = behind
        self.kinds: list[int] = []
        self.checked: list[int] = []
        node.answer("progress", self.progress)
        node.answer("member_change", self.change)

    def progress(self, request: Request) -> Response:
        self.behind = max(0, self.behind - 1000)
        rows = [
            ProgressRow(
                id=i, state="self" if i == 1 else "replicate", recent_active=True,
                matched=max(0, 10_000 - self.behind), lag=self.behind,
            )
            for i in [*self.config.voters, *self.config.learners]
        ]  # fmt: skip
        reply = ProgressReply(leader=1, last_index=10_000, rows=rows, config=self.config)
        return Response(progress=reply)

    def change(self, request: Request) -> Response:
        asked = request.member_change
        if asked.dry_run:
            self.checked.append(asked.kind)
            return changed(self.config, dry_run=True)
        self.kinds.append(asked.kind)
        if asked.kind == Kind.ADD_LEARNER:
            self.config.learners.append(asked.id)
        elif asked.kind == Kind.CHANGE:
            self.config = config(*asked.voters, learners=list(asked.learners), index=1001)
        elif asked.kind == Kind.REPLACE:
            voters = [asked.new_id if v == asked.id else v for v in self.config.voters]
            self.config = config(*voters, index=1001)
        elif asked.kind == Kind.FINALIZE:
            self.config = config(*self.config.voters, learners=list(self.config.learners))
        return changed(self.config)


def test_change_does_it_all(node: FakeNode, ctl: Ctl) -> None:
    group = Group(node, config(1, 2, 3, index=980))
    ran = ctl(
        "member", "change", "--voters", "1,4,5", "--learners", "2", "--expect-config", "980",
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.out
    assert group.kinds == [Kind.ADD_LEARNER, Kind.ADD_LEARNER, Kind.CHANGE]
    assert group.checked == [Kind.CHANGE]
    # Each step starts from what the one before made; somebody else's change would be noticed.
    expected = [request.expect_config for request in sent(node)]
    assert expected == [980, 980, 981, 981]
    assert group.behind <= CAUGHT_UP_LAG_MAX
    assert ran.data["steps"] == [
        "added 4 as a learner at index 981",
        "added 5 as a learner at index 981",
        "4, 5 caught up",
    ]


def test_change_run_again_goes_on_where_it_was(node: FakeNode, ctl: Ctl) -> None:
    group = Group(node, joint())
    ran = ctl("member", "change", "--voters", "1,3", "--learners", "4,5,6", "--json")
    assert ran.code == 0
    assert group.kinds == [Kind.FINALIZE]
    group.kinds.clear()
    ran = ctl("member", "change", "--voters", "1,3", "--learners", "4,5,6", "--json")
    assert ran.data["unchanged"] is True
    assert group.kinds == []


def test_change_refuses_while_another_goes_on(node: FakeNode, ctl: Ctl) -> None:
    group = Group(node, joint())
    assert ctl("member", "change", "--voters", "1,2").code == 4
    assert ctl("member", "change", "--voters", "1,3", "--expect-config", "5").code == 4
    assert group.kinds == []


def test_members_that_never_catch_up_are_named(node: FakeNode, ctl: Ctl) -> None:
    group = Group(node, config(1, 2, 3, index=980), behind=100_000_000)
    ran = ctl("member", "change", "--voters", "1,2,4", "--timeout", "300ms", "--json")
    assert ran.code == 4
    assert ran.json["error"]["code"] == "LEARNER_LAGGING"
    assert "node 4" in ran.json["error"]["message"]
    assert Kind.CHANGE not in group.kinds


def test_replace_catches_up_first_and_can_be_run_again(node: FakeNode, ctl: Ctl) -> None:
    group = Group(node, config(1, 2, 3, index=980))
    assert ctl("member", "replace", "3", "4=h:7004", "--yes").code == 0
    assert group.kinds == [Kind.ADD_LEARNER, Kind.REPLACE]
    group.kinds.clear()
    ran = ctl("member", "replace", "3", "4=h:7004", "--yes", "--json")
    assert ran.data["unchanged"] is True
    assert group.kinds == []


def test_without_a_leader_nothing_is_concluded_from_what_one_node_knows(
    node: FakeNode, ctl: Ctl
) -> None:
    alone = ProgressReply(
        leader=0, rows=[ProgressRow(id=2, state="self", recent_active=True)],
        config=config(1, 2, 3, index=980),
    )  # fmt: skip
    node.answer("progress", Response(progress=alone))
    ran = ctl("member", "change", "--voters", "1,2,3", "--timeout", "300ms", "--json")
    assert ran.code == 5
    assert ran.json["error"]["code"] == "NO_LEADER"


def test_an_addition_run_again_goes_on_where_it_was(node: FakeNode, ctl: Ctl) -> None:
    node.answer("member_change", Error(code="MEMBER_EXISTS", message="node 4 is a member already"))
    waiting = config(1, 2, 3, learners=[4], index=981)
    waiting.promotable.append(4)
    looks = [waiting, waiting, config(1, 2, 3, 4, index=990)]

    def progress(request: Request) -> Response:
        seen = looks.pop(0) if len(looks) > 1 else looks[0]
        rows = [ProgressRow(id=i, state="self" if i == 1 else "replicate") for i in (1, 2, 3, 4)]
        return Response(progress=ProgressReply(leader=1, rows=rows, config=seen))

    node.answer("progress", progress)
    ran = ctl("member", "add", "4", "h:7004")
    assert ran.code == 0, ran.err
    assert "ADDED 4 as a voter" in ran.out
    assert "nothing to do" in ctl("member", "add", "4", "h:7004").out
    # A learner that nobody marked is not the same thing.
    looks[:] = [config(1, 2, 3, learners=[4], index=981)]
    assert ctl("member", "add", "4", "h:7004").code == 4
