"""``raftctl metrics``: a node's figures, as Prometheus reads them."""

from __future__ import annotations

import re

import click

from raftctl.group import command
from raftctl.session import Session, pass_session
from raftwire import admin


@command("metrics")
@click.option("--grep", metavar="REGEX", help="Only series whose line matches.")
@pass_session
def metrics(session: Session, grep: str | None) -> None:
    """Print the node's metrics in Prometheus' text format.

    The same as what it serves under /metrics, for nodes that serve no HTTP.
    """
    try:
        pattern = re.compile(grep) if grep is not None else None
    except re.error as error:
        raise click.BadParameter(f"{grep!r}: {error}", param_hint="--grep") from None
    text = session.call(admin.metrics()).text
    if pattern is not None:
        found = [line for line in text.splitlines() if line[:1] != "#" and pattern.search(line)]
        text = "".join(f"{line}\n" for line in found)
    out = session.out

    def human() -> None:
        out.stdout.write(text)

    out.result(session.meta, {"text": text}, human)
