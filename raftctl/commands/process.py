"""``raftctl loglevel`` and ``reload``: the daemon as a process."""

from __future__ import annotations

from typing import Final

import click

from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.options import DURATION
from raftctl.session import Session, pass_session
from raftwire import admin

_HERE = "raftctl.commands.process"

LEVELS: Final = ("debug", "info", "warning", "error", "critical")


@group(
    "loglevel",
    {
        "Commands": {
            "get": Entry(f"{_HERE}:get", "Say from which level up a node logs."),
            "set": Entry(f"{_HERE}:set_", "Change it, for good or for a while."),
        }
    },
)
def loglevel() -> None:
    """Show or change how much a node logs, while it runs."""


@command("get")
@pass_session
def get(session: Session) -> None:
    """Say from which level up the node logs."""
    reply = session.call(admin.loglevel())
    session.out.result(session.meta, to_dict(reply), lambda: session.out.line(reply.level))


@command("set")
@click.argument("level", type=click.Choice(LEVELS))
@click.option(
    "--for",
    "for_",
    type=DURATION,
    metavar="TIME",
    help="Go back to what the settings say after this long.",
)
@pass_session
def set_(session: Session, level: str, for_: float | None) -> None:
    """Have the node log LEVEL and all that is more severe.

    Without --for it stays so until a reload or a restart.
    """
    if for_ is not None and for_ <= 0:
        raise click.BadParameter("the time must be above zero", param_hint="--for")
    reply = session.call(admin.loglevel(level, max(1, int(for_ * 1000)) if for_ else 0))
    until = f" for {for_:g}s" if for_ else ""
    session.out.result(
        session.meta,
        to_dict(reply),
        lambda: session.out.line(f"{reply.previous} -> {reply.level}{until}"),
    )


@command("reload")
@pass_session
def reload(session: Session) -> None:
    """Have the node read its settings file and its TLS files again.

    The same as SIGHUP, with an answer: what has changed, and what waits for a restart. Settings
    that are wrong are refused and change nothing.
    """
    reply = session.call(admin.reload())
    out = session.out

    def human() -> None:
        out.line("changed: " + (", ".join(reply.changed) or "nothing"))
        if reply.needs_restart:
            out.line("needs a restart: " + ", ".join(reply.needs_restart), "yellow")

    out.result(session.meta, to_dict(reply), human)
