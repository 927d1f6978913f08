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

    applied: it is in the log, here is where. refused: the state machine did not take it.
    not_seen: it has not been applied; a proposal that is still on its way may yet be, so propose
    again with the same key to settle it. expired: the key is too old to count. If keys have been
    forgotten, not_seen says up to which entry: it says nothing of keys first used before.
    """
    reply = session.call(admin.outcome(key))

    def human() -> None:
        where = f" index={reply.index} term={reply.term}" if reply.index else ""
        if reply.state == "not_seen" and reply.forgotten_index:
            where = f" (keys first used up to entry {reply.forgotten_index} are forgotten)"
        session.out.line(f"{reply.state}{where}")

    session.out.result(session.meta, {"key": key, **to_dict(reply)}, human)
