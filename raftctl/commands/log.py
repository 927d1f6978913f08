"""``raftctl log``: shows and follows the replicated log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

import click

from raftctl.errors import CtlError
from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.options import ID_MAX
from raftctl.output import Output, Styled, format_bytes, printable
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Call, LogEntry
from raftwire.errors import Code
from raftwire.proto.admin_pb2 import LogReadReply

TYPES: Final = ("normal", "noop", "control", "conf")
DECODERS: Final = ("auto", "utf8", "hex", "base64")

PAGE_TIMEOUT: Final = 5.0
"""Seconds that each page of the log may take."""

_HERE = "raftctl.commands.log"


@group(
    "log",
    {
        "Commands": {
            "show": Entry(f"{_HERE}:show", "Show entries that were applied."),
            "tail": Entry(f"{_HERE}:tail", "Show the last entries, and follow with -f."),
            "digest": Entry(f"{_HERE}:digest", "Show one hash over entries, to compare nodes."),
            "stat": Entry(f"{_HERE}:stat", "Show the bounds and the size of the log."),
        }
    },
)
def log() -> None:
    """Show and follow the replicated log.

    Every node has the same entries in the same order; each of these commands reads those of
    the node it talks to, and needs no leader.
    """


class Range(click.ParamType["tuple[int, int]"]):
    """Log indexes ``FROM..TO`` (both included), ``FROM..``, ``..TO`` or a single one."""

    name = "range"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the half-open range; 0 as its end is the end of the log."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d*)(\.\.)?(\d*)", str(value))
        if not found or not (found[1] or found[3]):
            self.fail(f"{value!r} is not a range of indexes; write 10..20, 10.. or 10", param, ctx)
        low = int(found[1] or 0)
        high = int(found[3]) + 1 if found[3] else 0 if found[2] else low + 1
        if max(low, high) > ID_MAX or (high and high <= low):
            self.fail(f"{value!r} holds no index", param, ctx)
        return low, high


_type = click.option(
    "--type",
    "types",
    metavar="TYPES",
    default="",
    help=f"Only these types, separated by commas: {', '.join(TYPES)}.",
)
_decode = click.option(
    "--decode",
    type=click.Choice(DECODERS),
    default="auto",
    show_default=True,
    help="How to show the data; auto: text where it is UTF-8, else hex.",
)


@command("show")
@click.argument("range_", metavar="[FROM..TO]", type=Range(), required=False)
@click.option("-n", "--last", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@click.option("--uncommitted", is_flag=True, help="Also entries that may yet be replaced.")
@_type
@_decode
@pass_session
def show(
    session: Session,
    *,
    range_: tuple[int, int] | None,
    last: int | None,
    uncommitted: bool,
    types: str,
    decode: str,
) -> None:
    """Show the entries that the node has applied, all it keeps or those from FROM to TO.

    normal: a proposal. noop: a new leader's first entry. conf: a change of membership.
    control: raftd's own.

    What has been dropped from Raft's log since, and what a restored backup brought along, is
    shown by --type normal alone: the state machine log keeps its proposals longer.
    """
    low, high = range_ or (0, 0)
    call = admin.log_read(
        low,
        high,
        last=last or 0,
        types=entry_types(types),
        applied=not uncommitted,
        uncommitted=uncommitted,
    )
    _print(session, call, decode)


@command("tail")
@click.option("-f", "--follow", is_flag=True, help="Go on as entries are applied, until Ctrl-C.")
@click.option(
    "-n", "--last", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
    help="Start with the last N.",
)  # fmt: skip
@click.option(
    "--from",
    "from_index",
    type=click.IntRange(1, ID_MAX),
    metavar="INDEX",
    help="Start with this entry instead.",
)
@_type
@_decode
@pass_session
def tail(
    session: Session, *, follow: bool, last: int, from_index: int | None, types: str, decode: str
) -> None:
    """Show the last entries that the node has applied, and follow with -f.

    With -f and --json each entry is a line of JSON of its own.
    """
    first = from_index or 0
    if follow and last == 0 and not from_index:
        first = session.call(admin.log_stat()).applied + 1
    kinds, count = entry_types(types), 0 if first else last
    if not follow:
        _print(session, admin.log_read(first, last=count, types=kinds, applied=True), decode)
        return
    out = session.out
    with session.translated():
        # Goes on behind the last entry when the node is started again, or through another socket.
        for page in session.client.log_pages(
            first, last=count, types=kinds, follow=True, applied=True, timeout=None
        ):
            for entry in page.entries:
                out.record(entry_fields(entry), partial(entry_line, out, entry, decode))


@command("digest")
@click.argument("range_", metavar="[FROM..TO]", type=Range(), required=False)
@_type
@pass_session
def digest(session: Session, *, range_: tuple[int, int] | None, types: str) -> None:
    """Show one hash over entries that the node has applied, to compare it with other nodes.

    SHA-256 over index, term, type and data of each entry. Give the same range to each node: one
    that joined later may keep fewer entries.
    """
    import hashlib

    low, high = range_ or (0, 0)
    total = hashlib.sha256()
    count = first = last = 0
    call = admin.log_read(low, high, types=entry_types(types), applied=True)
    for entry in _entries(session, call):
        head = f"{entry.index} {entry.term} {entry.type} {len(entry.data)}\n"
        total.update(head.encode() + entry.data)
        first, last, count = first or entry.index, entry.index, count + 1
    data = {"sha256": total.hexdigest(), "first": first, "last": last, "entries": count}
    human = f"{data['sha256']}  {count} entries, {first}..{last}"
    session.out.result(session.meta, data, lambda: session.out.line(human))


@command("stat")
@pass_session
def stat(session: Session) -> None:
    """Show the bounds and the size of the node's log."""
    reply = session.call(admin.log_stat())

    def human() -> None:
        counts = ", ".join(f"{count} {type_}" for type_, count in sorted(reply.counts.items()))
        session.out.pairs(
            [
                ("first index", reply.first_index),
                ("last index", reply.last_index),
                ("commit", reply.commit),
                ("applied", reply.applied),
                ("snapshot", reply.snapshot_index or "none"),
                ("size", format_bytes(reply.bytes)),
                ("entries", counts or "none"),
            ]
        )

    session.out.result(session.meta, to_dict(reply), human)


def _print(session: Session, call: Call[LogReadReply], decode: str) -> None:
    out = session.out
    if out.format == "json":
        replies = list(session.stream(call, timeout=PAGE_TIMEOUT))
        data = to_dict(replies[-1]) if replies else {}
        data["entries"] = [entry_fields(entry) for reply in replies for entry in reply.entries]
        out.result(session.meta, data)
        return
    entries = _entries(session, call)
    if out.machine:
        out.result(session.meta, {}, rows=(entry_fields(entry) for entry in entries))
    else:
        for entry in entries:
            entry_line(out, entry, decode)


def _entries(session: Session, call: Call[LogReadReply]) -> Iterator[LogEntry]:
    for reply in session.stream(call, timeout=PAGE_TIMEOUT):
        yield from reply.entries


def entry_fields(entry: LogEntry) -> dict[str, object]:
    """Return an entry as it stands in ``--json`` answers."""
    return {**to_dict(entry), "bytes": len(entry.data)}


def entry_line(out: Output, entry: LogEntry, decode: str) -> None:
    """Write an entry as a line for people."""
    if entry.type == "normal":
        text = f"{len(entry.data)}B {_decoded(entry.data, decode)}"
        if entry.key:
            text += out.style(f" key={printable(entry.key.encode())}", "dim")
    else:
        text = out.style(printable(entry.description.encode()), "dim")
    kind = Styled(entry.type, {"conf": "yellow", "normal": ""}.get(entry.type, "dim"))
    line = f"{entry.index:>6} t{entry.term:<3} {out.style(kind, kind.style)}"
    out.line(f"{line}{' ' * (7 - len(kind))} {text}".rstrip())


def _decoded(data: bytes, decode: str) -> str:
    if decode == "hex":
        return data.hex()
    if decode == "base64":
        import binascii

        return binascii.b2a_base64(data, newline=False).decode("ascii")
    if decode == "utf8":
        data = data.decode("utf-8", "replace").encode()
    return printable(data)


def entry_types(text: str) -> list[str]:
    """Return the types in a list with commas; CtlError if one is none."""
    types = [part.strip() for part in text.split(",") if part.strip()]
    for type_ in types:
        if type_ not in TYPES:
            raise CtlError(
                Code.INVALID_REQUEST, f"{type_!r} is no type of entry.", hint=", ".join(TYPES)
            )
    return types
