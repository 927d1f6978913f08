"""``raftctl outcome``: what became of a proposal with a key."""

from __future__ import annotations

import click

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.session import Session, pass_session
from raftwire import admin


@command("outcome")
@click.argument("key")
@pass_session
def outcome(session: Session, key: str) -> None:
    """Ask what became of the proposal with this --key.

    applied: it is in the log, here is where. not_seen: it has not been applied; a proposal that
    is still on its way may yet be, so propose again with the same key to settle it. expired:
    the key is so old that it may have been forgotten.
    """
    reply = session.call(admin.outcome(key))

    def human() -> None:
        where = f" index={reply.index} term={reply.term}" if reply.state == "applied" else ""
        session.out.line(f"{reply.state}{where}")

    session.out.result(session.meta, {"key": key, **to_dict(reply)}, human)
