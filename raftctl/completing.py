"""What the shell completes from the live node: sockets and member ids, within 200 ms."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

import click
from click.shell_completion import CompletionItem

from raftctl.options import Settings

TIMEOUT: Final = 0.2
"""Seconds that a TAB may wait for the node."""


class _TooSlowError(Exception):
    """The node has not answered in time."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise _TooSlowError


def sockets(incomplete: str) -> list[CompletionItem]:
    """Return the sockets of this host's nodes, or leave it to the shell's file names."""
    from raftwire import paths

    found = paths.find_sockets()
    matching = [CompletionItem(path) for path in found if path.startswith(incomplete)]
    return matching or [CompletionItem(incomplete, type="file")]


def member_ids(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the members that start with what is typed, with role and address."""
    return [
        CompletionItem(str(id_), help=help_)
        for id_, help_ in _members(ctx).items()
        if str(id_).startswith(incomplete)
    ]


def member_id_lists(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return a list of ids, continued with each member that is not in it yet."""
    before, comma, last = incomplete.rpartition(",")
    taken = set(before.split(","))
    return [
        CompletionItem(f"{before}{comma}{id_}", help=help_)
        for id_, help_ in _members(ctx).items()
        if str(id_).startswith(last) and str(id_) not in taken
    ]


def _members(ctx: click.Context) -> dict[int, str]:
    """Ask the node who is in the group; a node that is slow or away completes nothing."""
    from raftctl.errors import CtlError
    from raftctl.session import Session
    from raftwire import admin

    given: object = ctx.find_root().obj
    settings = given if isinstance(given, Settings) else Settings()
    settings.timeout, settings.quiet = TIMEOUT, True
    session = Session(settings)
    # The client waits a little beyond its deadline for the node's own verdict; a TAB does not.
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    try:
        reply = session.call(admin.member_list(), timeout=TIMEOUT)
    except (CtlError, click.UsageError, _TooSlowError):
        return {}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        session.close()
    return {m.id: f"{m.role} {m.addr}".strip() for m in reply.members}
