"""``raftctl config``: the settings that a node runs with, and where each comes from."""

from __future__ import annotations

import click

from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.output import Styled
from raftctl.session import Session, pass_session
from raftwire import admin

_HERE = "raftctl.commands.config"


@group("config", {"Seeing": {"show": Entry(f"{_HERE}:show", "Show the settings in force.")}})
def config() -> None:
    """Show what a node runs with.

    Settings come from flags, the environment and a file; raftd --check-config checks them
    before a start, raftctl reload has a running node read them again.
    """


@command("show")
@click.option("--origin", is_flag=True, help="Say of each where it comes from.")
@click.option("--diff-default", is_flag=True, help="Only those that are not at their default.")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@pass_session
def show(session: Session, origin: bool, diff_default: bool, keys: tuple[str, ...]) -> None:
    """Show the settings in force, all or those whose key starts with KEY.

    What is shown is what the node runs with: a file that was changed since has no say until a
    reload or a restart.
    """
    reply = session.call(admin.config())
    items = [
        item
        for item in reply.items
        if (not keys or item.key.startswith(keys))
        and (not diff_default or item.value != item.default_value)
    ]
    out = session.out

    def human() -> None:
        rows = []
        for item in items:
            changed = item.value != item.default_value
            cells = [item.key, Styled(item.value or "-", "bold" if changed else "")]
            if origin:
                cells += [item.origin, "reload" if item.reloadable else "restart"]
            rows.append(cells)
        headers = ["KEY", "VALUE", "ORIGIN", "CHANGED BY"] if origin else ["KEY", "VALUE"]
        out.table(headers, rows)

    rows = [to_dict(item) for item in items]
    out.result(session.meta, {"items": rows}, human, rows=rows)
