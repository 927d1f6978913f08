"""``raftctl recover``: a new group out of what a lost majority has left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from raftctl.commands.offline import data_dir_option
from raftctl.data_tool import run_tool
from raftctl.errors import CtlError, from_file
from raftctl.group import Entry, command, group
from raftctl.options import NODE_ID
from raftctl.output import format_bytes, format_ids
from raftctl.session import Session, pass_session

_HERE = "raftctl.commands.recover"


@group(
    "recover",
    {
        "In this order": {
            "collect": Entry(f"{_HERE}:collect", "On each survivor: write down what it holds."),
            "plan": Entry(f"{_HERE}:plan", "Choose who goes on, and see what may be lost."),
            "apply": Entry(f"{_HERE}:apply", "On the one chosen: make it a new group of one."),
            "verify": Entry(f"{_HERE}:verify", "There too: read it all again, before it is used."),
        }
    },
)
def recover() -> None:
    """Make a new group when the old one has lost its majority for good.

    Stop every raftd that is left first. As long as a majority can come back, let it: recovery
    gives up what the lost nodes may have acknowledged without the survivors. plan says whether
    that can be. The new group has a new cluster id, so that the lost nodes cannot come back into
    it.
    """


@command("collect")
@data_dir_option
@click.option("--out", "-O", "file", metavar="FILE", help="Where to; default: standard output.")
@pass_session
def collect(session: Session, *, data_dir: str, file: str | None) -> None:
    """Write down what a survivor's data holds, checked whole; carry the file to where you plan."""
    found = run_tool("collect", {"data_dir": os.path.abspath(data_dir)})
    text = found.pop("report")
    if file is None and not session.out.machine:
        session.out.stdout.write(text)
        return
    if file is not None:
        _write(file, text)
    human = (
        f"wrote {file}: node {found['node_id']}, log up to {found['last_index']} of term"
        f" {found['last_term']}, committed up to {found['commit']}, voters"
        f" {format_ids(found['voters'])}"
    )
    session.out.result(
        session.meta, {**found, "file": file, "report": text}, lambda: session.out.line(human)
    )


@command("plan")
@click.argument("reports", nargs=-1, required=True, type=click.Path(dir_okay=False, exists=True))
@click.option("--out", "-O", "file", metavar="FILE", help="Write the plan there.")
@click.option(
    "--survivor", type=NODE_ID, metavar="ID", help="Go on with this one, not the one with most."
)
@click.option("--force", is_flag=True, help="Even if a majority survives, or another holds more.")
@pass_session
def plan(
    session: Session,
    *,
    reports: tuple[str, ...],
    file: str | None,
    survivor: int | None,
    force: bool,
) -> None:
    """Choose the survivor that goes on, and show what that may lose. Changes nothing.

    Give the reports of all survivors: one that is left out counts as lost.
    """
    texts = {path: _read(path) for path in reports}
    found = run_tool("plan", {"reports": texts, "survivor": survivor or 0, "force": force})
    text = found.pop("plan")
    if file is not None:
        _write(file, text)
    out = session.out

    def human() -> None:
        for words in found["words"]:
            lost = words.startswith("MAY BE LOST")
            out.line(f"- {words}", "red" if lost else "")
        if file is None:
            out.line("next: the same with --out PLAN")
        else:
            out.line(f"next, where the data of node {found['node_id']} is:")
            out.line(f"  raftctl recover apply {file} --data-dir DIR")

    out.result(session.meta, {**found, "file": file, "plan": text}, human)


@command("apply")
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False, exists=True))
@data_dir_option
@click.option("--no-backup", is_flag=True, help="Keep no copy of the data as it is.")
@pass_session
def apply(session: Session, *, plan_file: str, data_dir: str, no_backup: bool) -> None:
    """Make the data of the chosen survivor that of a new group of one.

    A copy of the database is kept beside it (links where the file system has them). If it is
    interrupted, the same command goes on.
    """
    text = _read(plan_file)
    session.confirm("Make this node a new group? The nodes of the old one cannot come back.")
    folder = os.path.abspath(data_dir)
    done = run_tool("apply", {"plan": text, "data_dir": folder, "backup": not no_backup})
    out = session.out

    def human() -> None:
        again = " (went on where an earlier attempt stopped)" if done["resumed"] else ""
        out.line(
            f"node {done['id']} is a group of its own now, cluster {done['cluster_id']}{again}"
        )
        if done["emptied"]:
            out.line(f"emptied entries: {format_ids(done['emptied'])}")
        if done["backup"]:
            out.line(f"the database as it was: {done['backup']}")
        out.line("next:")
        out.line(f"  raftctl recover verify --data-dir {folder}")

    out.result(session.meta, done, human)


@command("verify")
@data_dir_option
@pass_session
def verify(session: Session, *, data_dir: str) -> None:
    """Read recovered data whole, compare it with the plan, and print how to go on."""
    folder = os.path.abspath(data_dir)
    found = run_tool("verify", {"data_dir": folder})
    address = found["address"] or "HOST:PORT"
    start = f"raftd --id {found['id']} --data-dir {folder} --peers {found['id']}={address}"
    data: dict[str, Any] = {**found, "next": start}
    out = session.out

    def human() -> None:
        out.line(
            f"node {found['id']} is whole: {found['entries']} entries up to {found['last_index']},"
            f" {format_bytes(found['state_bytes'])} of state, cluster {found['cluster_id']}"
        )
        out.line("next:")
        out.line(f"  {start}")
        out.line("then add members with new ids and empty data directories, for each:")
        out.line(f"  raftd --id NEW --join {address} --listen HOST:PORT")
        out.line("  raftctl member add NEW HOST:PORT")

    out.result(session.meta, data, human)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise from_file(path, error) from None
    except UnicodeDecodeError:
        raise CtlError("USAGE", f"{path} is no text: it is not what recover wrote.") from None


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise from_file(path, error) from None
