"""What the commands that change the membership share: asking, showing, waiting with a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from raftctl.errors import CtlError, ExitCode
from raftctl.jsonable import to_dict
from raftctl.output import format_ms
from raftctl.views import change_text, config_text, quorum_text
from raftwire import admin
from raftwire.errors import Code
from raftwire.limits import CAUGHT_UP_LAG_MAX

if TYPE_CHECKING:
    from raftctl.output import Output
    from raftctl.session import Session
    from raftwire.admin import Call
    from raftwire.proto.admin_pb2 import MemberChangeReply, ProgressReply, ProgressRow

CHANGE_TIMEOUT: Final = 60.0
"""Seconds that a change may take when --timeout does not say otherwise: members catch up."""

LEADER_TIMEOUT: Final = 5.0
"""Seconds to wait for a leader when --timeout does not say otherwise."""

POLL: Final = 0.1
"""Seconds between two looks at a member that catches up."""


def ask(
    session: Session, call: Call[MemberChangeReply], *, timeout: float = CHANGE_TIMEOUT
) -> MemberChangeReply:
    """Have the group changed and return what came of it."""
    with resumable(session, "It may have been carried out all the same: raftctl member status."):
        return session.call(call, timeout=timeout)


def show(
    session: Session,
    reply: MemberChangeReply,
    headline: str,
    *,
    advice: str = "",
    extra: dict[str, Any] | None = None,
) -> None:
    """Show what a change did, or in a dry run would do."""

    def human() -> None:
        out = session.out
        print_difference(out, reply)
        if reply.dry_run:
            out.line("dry run: nothing was changed", "yellow")
        else:
            out.line(out.style(headline, "bold"))
            if advice:
                out.line(advice, "dim")

    session.out.result(session.meta, {**to_dict(reply), **(extra or {})}, human)


def print_difference(out: Output, reply: MemberChangeReply) -> None:
    """Write who was in the group and who is, and what the two majorities tolerate."""
    before, after = reply.before, reply.after
    # A joint state is between two configurations: what it goes from is the outgoing one.
    old_voters = before.voters_outgoing if before.joint else before.voters
    old_learners = before.learners_outgoing if before.joint else before.learners
    items: list[tuple[str, object]] = [
        ("voters", change_text(old_voters, after.voters)),
        ("learners", change_text(old_learners, [*after.learners, *after.learners_next])),
    ]
    gone = {*old_voters, *old_learners} - {*after.voters, *after.learners, *after.learners_next}
    if gone:
        items.append(("leaving", ",".join(str(i) for i in sorted(gone))))
    if after.promotable:
        items.append(("to be promoted", ",".join(str(i) for i in sorted(after.promotable))))
    if reply.HasField("quorum_before"):
        items.append(("old majority", quorum_text(reply.quorum_before)))
    if reply.HasField("quorum_after"):
        items.append(("new majority", quorum_text(reply.quorum_after)))
    out.pairs(items)
    for warning in reply.warnings:
        out.line(f"warning: {warning}", "yellow")


def headline(what: str, reply: MemberChangeReply) -> str:
    """Return the sentence that tells the result, ``JOINT at index 981``."""
    took = f" in {format_ms(reply.took_ms)}" if reply.took_ms else ""
    return f"{what} at index {reply.index}{took}: {config_text(reply.after)}"


def start_line(id_: int, address: str, addrs: dict[int, str]) -> str:
    """Return the command that starts a new node."""
    members = ",".join(addrs[i] for i in sorted(addrs) if i != id_ and addrs[i])
    return f"raftd --id {id_} --listen {address or 'HOST:PORT'} --join {members}"


@contextmanager
def resumable(session: Session, how: str) -> Iterator[None]:
    """Say how to go on when a long command is interrupted; the outermost knows best."""
    if session.resumable:
        yield
        return
    session.resumable = True
    try:
        yield
    except KeyboardInterrupt:
        session.out.stderr.write(f"\nraftctl: interrupted. {how}\n")
        raise
    finally:
        session.resumable = False


def wait_for(
    session: Session,
    title: str,
    ids: tuple[int, ...],
    done: Callable[[ProgressReply], bool],
    *,
    hint: str,
) -> None:
    """Wait until members have caught up, with a progress bar each.

    Raises:
        CtlError: LEARNER_LAGGING when they have not in time.
    """
    from raftctl.bars import Bars

    deadline = time.monotonic() + session.settings.deadline(CHANGE_TIMEOUT)
    with Bars(session.out, title) as bars:
        while True:
            try:
                reply = progress(session)
            except CtlError as error:
                # An election in between is no reason to give up.
                if error.exit_code != ExitCode.NO_LEADER or time.monotonic() > deadline:
                    raise
            else:
                for row in reply.rows:
                    if row.id in ids:
                        bars.update(row.id, row.matched, reply.last_index, _note_of(row))
                if done(reply):
                    return
                if time.monotonic() > deadline:
                    lagging = [row for row in reply.rows if row.id in ids]
                    raise CtlError(
                        Code.LEARNER_LAGGING,
                        f"{title}: not done in time: "
                        + ("; ".join(_lag_text(row) for row in lagging) or "no progress known"),
                        hint=hint,
                        details={str(row.id): str(row.lag) for row in lagging},
                    )
            time.sleep(POLL)


def progress(session: Session) -> ProgressReply:
    """Return the leader's view of every member, waiting a moment for there to be a leader.

    A node that sees no leader answers for itself alone, which says nothing of the others and may
    show a configuration of the past.

    Raises:
        CtlError: NO_LEADER.
    """
    deadline = time.monotonic() + session.settings.deadline(LEADER_TIMEOUT)
    while True:
        reply = session.call(admin.progress())
        if any(row.id == reply.leader and row.state == "self" for row in reply.rows):
            return reply
        if time.monotonic() > deadline:
            raise CtlError(
                Code.NO_LEADER,
                "no leader answers, so nothing was changed.",
                hint="see `raftctl status` and `raftctl doctor`",
            )
        time.sleep(POLL)


def caught_up(row: ProgressRow) -> bool:
    """Return whether a member follows closely enough to count: streaming, heard from, near."""
    return row.state in ("replicate", "self") and (
        row.state == "self" or (row.recent_active and row.lag <= CAUGHT_UP_LAG_MAX)
    )


def _note_of(row: ProgressRow) -> str:
    if not row.recent_active:
        return "not heard from"
    return "snapshot" if row.state == "snapshot" else ""


def _lag_text(row: ProgressRow) -> str:
    seen = "" if row.recent_active else ", not heard from"
    return f"node {row.id} is {row.lag} entries behind ({row.state}{seen})"
