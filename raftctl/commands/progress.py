"""``raftctl progress``: how far each member has got, as the leader sees it."""

from __future__ import annotations

import click

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import DURATION
from raftctl.session import Session, pass_session, repeat
from raftctl.views import PROGRESS_HEADERS, config_label, config_text, progress_cells
from raftwire import admin


@command("progress")
@click.option(
    "-w",
    "--watch",
    type=DURATION,
    is_flag=False,
    flag_value=2.0,
    metavar="[TIME]",
    help="Show it again every TIME (2s when not given) until Ctrl-C.",
)
@pass_session
def progress(session: Session, watch: float | None) -> None:
    """Show how far each member has got.

    Only the leader knows; another node asks it. Where there is no leader, a node shows its own
    progress alone, and status shows whom it reaches. STATE is probe (finding out where the logs
    meet), replicate (streaming), snapshot (the member needs entries that are gone), or self.
    """
    repeat(session, watch, lambda: _show(session))


def _show(session: Session) -> None:
    out = session.out
    reply = session.call(admin.progress())

    def human() -> None:
        leader = f"leader {reply.leader}" if reply.leader else "no leader"
        out.line(
            f"{leader} · term {reply.term} · last {reply.last_index} · "
            f"commit {reply.commit} · {config_label(reply.config)} {config_text(reply.config)}"
        )
        out.line()
        out.table(PROGRESS_HEADERS, [progress_cells(row) for row in reply.rows])
        if all(row.state == "self" for row in reply.rows) and len(reply.config.voters) > 1:
            out.note("nobody leads, so nobody knows how far the others are: see raftctl status")

    rows = [to_dict(row) for row in reply.rows]
    out.result(session.meta, to_dict(reply), human, rows=rows)
