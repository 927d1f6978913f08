"""``raftctl version``: ours, and the node's when one answers."""

from __future__ import annotations

import click

from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.session import Session, pass_session


def own_version() -> str:
    """Return the version of this installation."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("raftd")
    except PackageNotFoundError:
        return "unknown (not installed)"


@command("version")
@pass_session
def version(session: Session) -> None:
    """Show versions, ours and the node's.

    That no node answers is no failure here.
    """
    from raftwire import admin

    out = session.out
    data: dict[str, object] = {"raftctl": own_version(), "raftd": None, "protocol": None}
    try:
        reply = session.call(admin.status())
        data["raftd"] = reply.version
        data["protocol"] = {"min": reply.protocol_min, "max": reply.protocol_max}
    except (CtlError, click.UsageError) as error:
        first_line = str(error).splitlines()[0]
        data["error"] = first_line

    def human() -> None:
        out.line(f"raftctl {data['raftctl']}")
        out.line(f"raftd   {data['raftd'] or '-'}")
        if "error" in data:
            out.note(str(data["error"]))

    out.result(session.meta, data, human)
