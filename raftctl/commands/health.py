"""``raftctl health``: whether the group is well, as an exit code."""

from __future__ import annotations

import click

from raftctl.errors import ExitCode
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.session import Session, pass_session
from raftctl.views import health_text
from raftwire import admin


@command("health")
@click.option("--strict", is_flag=True, help="Also fail when the group is only degraded.")
@click.option(
    "--max-lag",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also fail when a member is more than N entries behind.",
)
@pass_session
@click.pass_context
def health(ctx: click.Context, session: Session, strict: bool, max_lag: int) -> None:
    """Say whether the group is well.

    healthy: a leader, and every member reachable. degraded: it works, but something is down
    or behind. unhealthy: no leader or no quorum. Exits 0, or 7 when it is not well.
    """
    reply = session.call(admin.health(max_lag))
    out = session.out

    def human() -> None:
        text = health_text(reply.health)
        out.line(out.style(text, text.style))
        for reason in reply.health.reasons:
            out.line(f"  {reason}")

    out.result(session.meta, to_dict(reply), human)
    state = reply.health.state
    if state == "unhealthy" or (strict and state != "healthy"):
        ctx.exit(ExitCode.CHECK_FAILED)
