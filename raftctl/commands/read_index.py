"""``raftctl read-index``: an index that is safe to read at."""

from __future__ import annotations

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.output import format_ms
from raftctl.session import Session, pass_session
from raftwire import admin


@command("read-index")
@pass_session
def read_index(session: Session) -> None:
    """Ask for an index that is safe to read at.

    A majority confirmed the leader after the question was put; whoever has applied the log up
    to this index has seen every write that was acknowledged before. It also proves that the
    group can still agree, without writing anything.
    """
    reply = session.call(admin.read_index())
    session.out.result(
        session.meta,
        to_dict(reply),
        lambda: session.out.line(
            f"index={reply.index} mode={reply.mode} took={format_ms(reply.took_us / 1000)}"
        ),
    )
