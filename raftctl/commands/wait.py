"""``raftctl wait``: block until something is so, instead of a loop around status."""

from __future__ import annotations

import time
from typing import Final

import click

from raftctl.errors import CtlError, ExitCode
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import ID_MAX, parse_id
from raftctl.output import format_ms
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Call, WaitFor
from raftwire.errors import Code
from raftwire.proto.admin_pb2 import WaitReply

POLL: Final = 0.05
"""Seconds between two tries to reach a node that does not run yet."""

WHAT: Final[dict[WaitFor, int]] = {
    "leader": 0,
    "healthy": 0,
    "ready": 0,
    "stable-config": 0,
    "applied": 1,
    "member": 2,
}
"""What can be waited for, and how many arguments it takes."""


@command("wait")
@click.argument("what", type=click.Choice(list(WHAT)))
@click.argument("args", nargs=-1)
@pass_session
def wait(session: Session, what: WaitFor, args: tuple[str, ...]) -> None:
    """Wait until something is so, at most --timeout (30s).

    \b
    leader             the node runs and knows a leader
    healthy            every member is reachable and follows
    ready              the node can serve reads and writes
    stable-config      no membership change is going on
    applied INDEX      the node has applied the entry
    member ID ROLE     the member is a voter, learner, or absent

    Exits 0 when it is so; when it did not come true in time, 5 for leader and 7 for the rest.
    """  # noqa: D301 - click reads the \b
    count = WHAT[what]
    if len(args) != count:
        usage = {0: what, 1: f"{what} INDEX", 2: f"{what} ID voter|learner|absent"}[count]
        raise click.UsageError(f"usage: raftctl wait {usage}")
    index, id_, role = 0, 0, ""
    if what == "applied":
        if not args[0].isdigit() or int(args[0]) > ID_MAX:
            raise click.BadParameter(f"{args[0]!r} is not a log index")
        index = int(args[0])
    elif what == "member":
        id_, role = parse_id(args[0], _fail), args[1]
        if role not in ("voter", "learner", "absent"):
            raise click.BadParameter(f"{role!r} is none of voter, learner, absent")
    call = admin.wait_for(what, index=index, member=id_, role=role)
    try:
        reply = _wait(session, call)
    except CtlError as error:
        if error.exit_code in (ExitCode.FAILED, ExitCode.OUTCOME_UNKNOWN, ExitCode.NO_LEADER):
            error.exit_code = ExitCode.NO_LEADER if what == "leader" else ExitCode.CHECK_FAILED
        raise
    session.out.result(
        session.meta,
        to_dict(reply),
        lambda: session.out.line(f"{reply.detail or what} after {format_ms(reply.took_ms)}"),
    )


def _wait(session: Session, call: Call[WaitReply]) -> WaitReply:
    """Ask until it is so; a node that is only being started, or started again, is waited for."""
    deadline = time.monotonic() + session.settings.deadline(30.0)
    while True:
        left = deadline - time.monotonic()
        session.settings.timeout = max(left, 0.001)
        try:
            return session.call(call)
        except CtlError as error:
            if error.code != Code.CONNECT or left <= POLL:
                raise
            session.close()
            time.sleep(POLL)


def _fail(message: str) -> None:
    raise click.BadParameter(message)
