"""``raftctl campaign``, ``transfer-leader`` and ``step-down``: who leads."""

from __future__ import annotations

import click

from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import NODE_ID
from raftctl.output import format_ms
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.errors import Code


@command("campaign")
@pass_session
def campaign(session: Session) -> None:
    """Have the node stand for election now, and say how it went."""
    reply = session.call(admin.campaign())
    if not reply.won:
        leader = f"node {reply.leader} leads" if reply.leader else "there is no leader"
        raise CtlError(
            Code.CAMPAIGN_LOST,
            f"node {session.meta.node} did not become leader"
            f"{': ' + reply.reason if reply.reason else ''}; {leader} at term {reply.term}.",
            hint="to move leadership here without an election: "
            f"raftctl transfer-leader {session.meta.node}",
            outcome="not_applied",
            retryable=True,
        )
    session.out.result(
        session.meta,
        to_dict(reply),
        lambda: session.out.line(
            f"node {reply.leader} became leader at term {reply.term} in {format_ms(reply.took_ms)}"
        ),
    )


@command("transfer-leader")
@click.argument("target", metavar="[ID]", type=NODE_ID, required=False)
@pass_session
def transfer_leader(session: Session, target: int | None) -> None:
    """Hand leadership to a voter, by default the active one whose log is furthest.

    Any node takes the command. Answers once the new leader leads.
    """
    _transfer(session, target or 0)


@command("step-down")
@pass_session
def step_down(session: Session) -> None:
    """Have the leader hand over to whichever voter is best placed."""
    _transfer(session, 0)


def _transfer(session: Session, target: int) -> None:
    reply = session.call(admin.transfer_leader(target))

    def human() -> None:
        if reply.from_id == reply.to_id:
            session.out.line(f"node {reply.to_id} is the leader already, term {reply.term}")
        else:
            session.out.line(
                f"leader {reply.from_id} -> {reply.to_id}, term {reply.term}, "
                f"in {format_ms(reply.took_ms)}"
            )

    session.out.result(session.meta, to_dict(reply), human)
