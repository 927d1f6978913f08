"""``raftctl events``: what has happened on a node lately, and what happens next."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.output import printable
from raftctl.session import Session, pass_session
from raftwire import admin

if TYPE_CHECKING:
    from raftctl.output import Output
    from raftwire.proto.admin_pb2 import Event

KINDS: Final = (
    "life",
    "election",
    "config",
    "snapshot",
    "peer",
    "storage",
    "limit",
    "security",
    "other",
)
STYLES: Final = {"warning": "yellow", "error": "red", "critical": "bold red"}


@command("events")
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones until Ctrl-C.")
@click.option(
    "--since",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Only those after the one with this number.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only this kind; may be given more than once.",
)
@pass_session
def events(session: Session, follow: bool, since: int, kinds: tuple[str, ...]) -> None:
    """Show what has happened on the node: elections, membership, peers, disk, limits.

    The node keeps the last thousand, whatever its log level. With --json or -o ndjson each is
    one line of JSON.
    """
    timeout = None if follow else 5.0
    for reply in session.stream(admin.events(since=since, follow=follow), timeout=timeout):
        for event in reply.events:
            if not kinds or event.kind in kinds:
                session.out.record(to_dict(event), partial(print_event, session.out, event))


def print_event(out: Output, event: Event) -> None:
    """Write one event on a line."""
    out.line(event_text(event), STYLES.get(event.level, ""))


def event_text(event: Event) -> str:
    """Return ``12:00:01 election  leadership leader=2 role=follower term=7``."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.time_ms / 1000))
    fields = " ".join(
        f"{name}={printable(value.encode())}" for name, value in sorted(event.fields.items())
    )
    return f"{clock} {event.kind:<8} {event.message} {fields}".rstrip()
