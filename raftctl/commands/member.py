"""``raftctl member``: the group's members, and where a change of them stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.output import Styled, format_ids, format_ms
from raftctl.session import Session, pass_session
from raftctl.views import config_label, config_text, yes
from raftwire import admin

if TYPE_CHECKING:
    from raftctl.output import Output
    from raftwire.proto.admin_pb2 import MemberListReply, MemberStatusReply

_HERE = "raftctl.commands.member"
_CHANGE = "raftctl.commands.member_change"
_ONE = "raftctl.commands.member_one"


@group(
    "member",
    {
        "Seeing": {
            "list": Entry(f"{_HERE}:list_", "Show the members."),
            "status": Entry(f"{_HERE}:status", "Show where a change stands, and who is missing."),
        },
        "One member": {
            "add": Entry(f"{_ONE}:add", "Add a node; it becomes a voter when it has caught up."),
            "add-learner": Entry(f"{_ONE}:add_learner", "Add a node that only follows."),
            "promote": Entry(f"{_ONE}:promote", "Make a learner a voter."),
            "demote": Entry(f"{_ONE}:demote", "Make a voter a learner."),
            "remove": Entry(f"{_ONE}:remove", "Take a member out of the group."),
            "replace": Entry(f"{_ONE}:replace", "Put a new node in the place of a member."),
            "set-addr": Entry(f"{_ONE}:set_addr", "Tell the group where a member listens now."),
        },
        "The whole group at once": {
            "change": Entry(f"{_CHANGE}:change", "Reshape the group, from start to end."),
            "begin": Entry(f"{_CHANGE}:begin", "Enter the joint state, and stay in it."),
            "finalize": Entry(f"{_CHANGE}:finalize", "Leave the joint state for the new group."),
            "abort": Entry(f"{_CHANGE}:abort", "Leave the joint state for the old group."),
        },
    },
)
def member() -> None:
    """Show and change who is in the group.

    voters decide and may lead; learners only follow. A change of several members goes through
    a joint state, in which both the old and the new majority must agree: begin enters it,
    finalize or abort ends it. change does it all.
    """


@command("list")
@pass_session
def list_(session: Session) -> None:
    """Show the members, with what the node knows of each."""
    reply = session.call(admin.member_list())
    rows = [to_dict(item) for item in reply.members]
    session.out.result(
        session.meta, to_dict(reply), lambda: _print_members(session.out, reply), rows=rows
    )


def _print_members(out: Output, reply: MemberListReply) -> None:
    out.line(f"config {config_label(reply.config)} · {config_text(reply.config)}")
    out.line()
    rows = [
        [
            Styled(item.id, "bold" if item.leader else ""),
            item.addr or "-",
            item.role,
            "leader" if item.leader else "",
            yes(item.reachable or item.self, good=True),
            item.version or "-",
            Styled(item.error, "red"),
        ]
        for item in reply.members
    ]
    out.table(["ID", "ADDR", "ROLE", "LEADER", "REACHABLE", "VERSION", "ERROR"], rows)


@command("status")
@pass_session
def status(session: Session) -> None:
    """Show where a change stands: phase, since when, each majority, and who is missing.

    phase is stable, entering (Begin is not applied yet), joint, leaving (Finalize is not
    applied yet) or aborting (Rollback is not applied yet).
    """
    reply = session.call(admin.member_status())
    session.out.result(session.meta, to_dict(reply), lambda: print_status(session.out, reply))


def print_status(out: Output, reply: MemberStatusReply) -> None:
    """Write where a change stands, for people."""
    style = "green" if reply.phase == "stable" else "yellow"
    since = f" for {format_ms(reply.since_ms)}" if reply.since_ms else ""
    out.line(
        f"{out.style(reply.phase.upper(), style)}{since} · "
        f"config {config_label(reply.config)} · {config_text(reply.config)}"
    )
    if reply.pending_index:
        out.line(f"waiting for entry {reply.pending_index} to be committed and applied")
    if reply.majorities:
        out.line()
        rows = [
            [
                item.name,
                format_ids(item.voters),
                str(item.needed),
                format_ids(item.acked),
                Styled(format_ids(item.missing), "" if item.satisfied else "red"),
                yes(item.satisfied, good=True),
            ]
            for item in reply.majorities
        ]
        out.table(["MAJORITY", "VOTERS", "NEEDED", "ACKED", "MISSING", "SATISFIED"], rows)
    if reply.catching_up:
        out.line()
        cells = [
            [str(row.id), row.addr or "-", row.state, str(row.matched), str(row.lag)]
            for row in reply.catching_up
        ]
        out.table(["CATCHING UP", "ADDR", "STATE", "MATCH", "LAG"], cells)
    if reply.advice:
        out.line(f"next: {reply.advice}", "dim")
