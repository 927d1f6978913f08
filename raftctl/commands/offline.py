"""``raftctl offline``: looks into and checks the data of a node that does not run."""

from __future__ import annotations

import binascii
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from raftctl.bars import Bars
from raftctl.commands.log import DECODERS, Range, entry_fields, entry_line, entry_types
from raftctl.data_tool import run_tool
from raftctl.group import Entry, command, group
from raftctl.output import Output, format_bytes, format_ids, format_ms, now
from raftctl.session import Session, pass_session
from raftwire.admin import LogEntry

_HERE = "raftctl.commands.offline"

data_dir_option = click.option(
    "--data-dir",
    required=True,
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="The node's data.",
)
_read_only = click.option(
    "--read-only",
    is_flag=True,
    help="Look beside a raftd that runs on it: what it wrote last may be missing.",
)


@group(
    "offline",
    {
        "Commands": {
            "info": Entry(f"{_HERE}:info", "Show whose data it is and how far it is."),
            "log": Entry(f"{_HERE}:log", "Show the log."),
            "check": Entry(f"{_HERE}:check", "Read everything and say whether it is whole."),
        }
    },
)
def offline() -> None:
    """Look into a node's data directory, with its raftd stopped.

    Nothing is changed. To save what a lost majority has left, see raftctl recover.
    """


@command("info")
@data_dir_option
@_read_only
@pass_session
def info(session: Session, *, data_dir: str, read_only: bool) -> None:
    """Show whose data it is, its configuration, and how far log and state are."""
    found = run_tool("info", {"data_dir": os.path.abspath(data_dir), "read_only": read_only})
    session.out.result(session.meta, found, lambda: session.out.pairs(list(_lines(found))))


def _lines(found: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    config = found["config"]
    yield "node", found["id"]
    yield "cluster", found["cluster_id"]
    yield "state machine", found["state_machine"]
    yield "format", found["format"]
    yield "opened", f"{found['opens']} times"
    yield "term", found["term"]
    yield "vote", found["vote"] or "none"
    yield "log", f"{found['first_index']}..{found['last_index']}, last of term {found['last_term']}"
    yield "commit", found["commit"]
    yield "applied", f"{found['applied']}, hash {found['digest']}"
    joint = f" with {format_ids(config['voters_outgoing'])}" if config["joint"] else ""
    yield "voters", format_ids(config["voters"]) + joint
    yield "learners", format_ids(config["learners"])
    if config["removed"]:
        yield "removed", format_ids(config["removed"])
    yield "addresses", " ".join(f"{k}={v}" for k, v in found["addresses"].items()) or "-"
    yield "keys", found["keys"]
    yield "size", format_bytes(found["bytes"])
    for one in found["snapshots"]:
        yield "snapshot", f"index {one['index']}, {format_bytes(one['bytes'])}"
    if found["recovered_from"]:
        age = max(0, time.time() * 1000 - found["recovered_ms"])
        yield "recovered", f"from cluster {found['recovered_from']}, {format_ms(age)} ago"


@group("log", {"Commands": {"dump": Entry(f"{_HERE}:dump", "Show entries of the log.")}})
def log() -> None:
    """Show the log of a node that does not run."""


@command("dump")
@click.argument("range_", metavar="[FROM..TO]", type=Range(), required=False)
@data_dir_option
@_read_only
@click.option(
    "--type", "types", metavar="TYPES", default="", help="Only these types, as in raftctl log show."
)
@click.option(
    "--decode",
    type=click.Choice(DECODERS),
    default="auto",
    show_default=True,
    help="How to show the data; auto: text where it is UTF-8, else hex.",
)
@click.option("--raw", is_flag=True, help="Also each entry's type, context and data as stored.")
@pass_session
def dump(
    session: Session,
    *,
    range_: tuple[int, int] | None,
    data_dir: str,
    read_only: bool,
    types: str,
    decode: str,
    raw: bool,
) -> None:
    """Show the entries of the log, all or those from FROM to TO, committed or not."""
    low, high = range_ or (0, 0)
    out = session.out
    rows: list[dict[str, Any]] = []

    def item(said: Mapping[str, Any]) -> None:
        entry = LogEntry.FromString(binascii.a2b_base64(said["entry"]))
        fields = entry_fields(entry)
        if raw:
            fields["raw"] = said["raw"]
        if out.format == "json":
            rows.append(fields)
        elif out.machine:
            out.record(fields, lambda: None)
        else:
            entry_line(out, entry, decode)
            if raw:
                _raw_line(out, said["raw"])

    arguments = {
        "data_dir": os.path.abspath(data_dir),
        "read_only": read_only,
        "from": low,
        "to": high,
        "types": entry_types(types),
        "raw": raw,
    }
    found = run_tool("log-dump", arguments, item=item)
    if out.format == "json":
        out.result(session.meta, {**found, "entries": rows})


def _raw_line(out: Output, raw: Mapping[str, Any]) -> None:
    context, data = raw["context"] or "-", raw["data"] or "-"
    out.line(f"       type {raw['entry_type']} context {context} data {data}", "dim")


@command("check")
@data_dir_option
@_read_only
@pass_session
def check(session: Session, *, data_dir: str, read_only: bool) -> None:
    """Read everything: log, state, keys, snapshots; exit 9 if something is damaged or missing."""
    out = session.out
    with Bars(out, "check") as bars:
        found = run_tool(
            "check",
            {"data_dir": os.path.abspath(data_dir), "read_only": read_only},
            progress=lambda said: bars.update(
                0, said["done"], said["total"] or said["done"], said.get("note", "")
            ),
        )
    human = (
        f"node {found['id']} is whole: {found['entries']} entries"
        f" ({found['first_index']}..{found['last_index']}, {format_bytes(found['bytes'])}),"
        f" {found['state_records']} records of state ({format_bytes(found['state_bytes'])}),"
        f" {found['snapshots']} snapshots; checked {now()}"
    )
    out.result(session.meta, found, lambda: out.line(human))
