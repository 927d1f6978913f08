"""``raftctl compact``: drops the beginning of a node's log."""

from __future__ import annotations

import click

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import ID_MAX
from raftctl.session import Session, pass_session
from raftwire import admin


@command("compact")
@click.option(
    "--to", "to_index", type=click.IntRange(1, ID_MAX), metavar="INDEX", help="Drop up to INDEX."
)
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Keep the last N applied entries."
)
@pass_session
def compact(session: Session, *, to_index: int | None, keep: int | None) -> None:
    """Drop the beginning of the node's log, which goes by itself in time.

    State stays. What an active follower still needs is only dropped with --yes: it then gets a
    snapshot. Other nodes keep their logs.
    """
    if (to_index is None) == (keep is None):
        raise click.UsageError("say either --to INDEX or --keep N")
    reply = session.call(
        admin.compact(to_index or 0, keep=keep or 0, force=session.settings.yes), timeout=30.0
    )
    human = f"dropped {reply.dropped} entries; the log begins at {reply.first_index}"
    session.out.result(session.meta, to_dict(reply), lambda: session.out.line(human))
