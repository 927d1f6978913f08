"""``raftctl kv``: the key-value store of clusters of the kind kv."""

from __future__ import annotations

import sys
from typing import Any

import click

from raftctl.errors import CtlError
from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.options import DURATION, ID_MAX
from raftctl.output import format_ms, printable
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Consistency
from raftwire.errors import Code
from raftwire.limits import NUMBER_MAX
from raftwire.proto import kv_pb2

_HERE = "raftctl.commands.kv"


@group(
    "kv",
    {
        "Commands": {
            "put": Entry(f"{_HERE}:put", "Set a key."),
            "get": Entry(f"{_HERE}:get", "Print the value of a key."),
            "del": Entry(f"{_HERE}:delete", "Delete a key, a range or a prefix."),
            "cas": Entry(f"{_HERE}:cas", "Set or delete a key only if it is as expected."),
            "range": Entry(f"{_HERE}:range_", "List keys and values."),
            "watch": Entry(f"{_HERE}:watch", "Follow changes."),
        }
    },
)
def kv() -> None:
    """Use the key-value store of a cluster that was made with --state-machine kv.

    Reads are linearizable unless --consistency says otherwise. Revisions count every change of
    the store, as in etcd.
    """


_consistency = click.option(
    "--consistency",
    type=click.Choice(["linearizable", "lease", "stale"]),
    default="linearizable",
    show_default=True,
    help="stale: the node's own state, without asking anybody; the answer says how old it may be.",
)
_max_stale = click.option(
    "--max-stale",
    type=DURATION,
    metavar="TIME",
    help="With stale: if it may be older, have it confirmed first.",
)
_key_option = click.option(
    "--key", "idempotency", metavar="KEY", default="", help="Idempotency key: applied once."
)


@command("put")
@click.argument("key")
@click.argument("value", metavar="VALUE|-")
@_key_option
@pass_session
def put(session: Session, *, key: str, value: str, idempotency: str) -> None:
    """Set KEY to VALUE, or to what is on standard input when VALUE is -."""
    op = kv_pb2.KvCommand(put=kv_pb2.KvPut(key=key.encode(), value=_value(value)))
    _, data = _apply(session, op, idempotency)
    session.out.result(session.meta, data, lambda: _done(session, data))


@command("get")
@click.argument("key")
@_consistency
@_max_stale
@pass_session
def get(session: Session, *, key: str, consistency: Consistency, max_stale: float | None) -> None:
    """Print the value of KEY as it is; exit 4 when there is no such key."""
    query = kv_pb2.KvQuery(get=kv_pb2.KvGet(key=key.encode()))
    reply, facts = _query(session, query, consistency, max_stale)
    if not reply.kvs:
        raise CtlError(
            "NOT_FOUND",
            f"there is no key {printable(key.encode())!r} at revision {reply.revision}.",
            hint="",
            exit_code=Code.PRECONDITION.facts.exit_code,
        )
    found = reply.kvs[0]

    def human() -> None:
        session.out.binary(found.value)
        if session.out.stdout.isatty() and not found.value.endswith(b"\n"):
            session.out.line()

    data = {"revision": reply.revision, **facts, "kv": to_dict(found)}
    session.out.result(session.meta, data, human)


@command("del")
@click.argument("key")
@click.option("--prefix", is_flag=True, help="Delete every key that starts with KEY.")
@click.option("--to", "range_end", metavar="KEY2", help="Delete the keys from KEY up to KEY2.")
@_key_option
@pass_session
def delete(
    session: Session, *, key: str, prefix: bool, range_end: str | None, idempotency: str
) -> None:
    """Delete KEY, a range or a prefix, and say how many keys went."""
    raw = key.encode()
    if prefix and not raw:
        session.confirm("Delete every key of the store?")
    if prefix or range_end is not None:
        end = (range_end or "").encode()
        many = kv_pb2.KvDeleteRange(key=raw, range_end=end, prefix=prefix)
        op = kv_pb2.KvCommand(delete_range=many)
    else:
        op = kv_pb2.KvCommand(delete=kv_pb2.KvDelete(key=raw))
    result, data = _apply(session, op, idempotency)
    human = f"deleted {result.deleted}, revision {result.revision}"
    session.out.result(session.meta, data, lambda: session.out.line(human))


@command("cas")
@click.argument("key")
@click.argument("value", metavar="[VALUE|-]", required=False)
@click.option("--expect", metavar="VALUE", help="Only if the key has this value.")
@click.option("--rev", type=click.IntRange(1, ID_MAX), help="Only if it was last changed there.")
@click.option("--absent", is_flag=True, help="Only if there is no such key.")
@click.option("--present", is_flag=True, help="Only if there is such a key.")
@click.option("--delete", "delete_", is_flag=True, help="Delete it instead of setting VALUE.")
@_key_option
@pass_session
def cas(
    session: Session,
    *,
    key: str,
    value: str | None,
    expect: str | None,
    rev: int | None,
    absent: bool,
    present: bool,
    delete_: bool,
    idempotency: str,
) -> None:
    """Compare and swap: set KEY to VALUE only if it is as expected; exit 4 when it is not."""
    if [expect is not None, rev is not None, absent, present].count(True) != 1:
        raise click.UsageError("say one of --expect, --rev, --absent, --present")
    if (value is None) != delete_:
        raise click.UsageError("give either VALUE or --delete")
    op = kv_pb2.KvCompareAndSwap(key=key.encode())
    if expect is not None:
        op.value = expect.encode()
    elif rev is not None:
        op.mod_revision = rev
    elif absent:
        op.absent = True
    else:
        op.present = True
    if value is None:
        op.delete = True
    else:
        op.put = _value(value)
    result, data = _apply(session, kv_pb2.KvCommand(cas=op), idempotency)
    if not result.succeeded:
        now = result.current
        is_now = (
            f"it is {printable(now.value)!r}, last changed at revision {now.mod_revision}"
            if result.HasField("current")
            else "there is no such key"
        )
        raise CtlError(
            Code.PRECONDITION,
            f"{printable(key.encode())!r} is not as expected: {is_now}.",
            details={"revision": str(result.revision)},
        )
    session.out.result(session.meta, data, lambda: _done(session, data))


@command("range")
@click.argument("prefix", default="", required=False)
@click.option("--to", "range_end", metavar="KEY", help="Keys from PREFIX up to KEY instead.")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N keys.")
@click.option("--keys-only", is_flag=True, help="Leave out the values.")
@click.option("--count-only", is_flag=True, help="Only say how many there are.")
@_consistency
@_max_stale
@pass_session
def range_(
    session: Session,
    *,
    prefix: str,
    range_end: str | None,
    limit: int | None,
    keys_only: bool,
    count_only: bool,
    consistency: Consistency,
    max_stale: float | None,
) -> None:
    """List the keys that start with PREFIX, by default all, in order."""
    request = kv_pb2.KvRange(
        key=prefix.encode(),
        range_end=(range_end or "").encode(),
        prefix=range_end is None,
        keys_only=keys_only,
        count_only=count_only,
        limit=limit or 0,
    )
    out = session.out
    found: list[kv_pb2.KeyValue] = []
    count = 0
    while True:
        query = kv_pb2.KvQuery(range=request)
        reply, facts = _query(session, query, consistency, max_stale)
        found.extend(reply.kvs)
        count += reply.count
        if not reply.more or (limit and len(found) >= limit):
            break
        request.after = reply.next
        request.limit = limit - len(found) if limit else 0
    rows = [to_dict(pair) for pair in found]
    data: dict[str, Any] = {"revision": reply.revision, **facts, "kvs": rows}
    if count_only:
        data = {"revision": reply.revision, **facts, "count": count}
        out.result(session.meta, data, lambda: out.line(str(count)))
        return

    def human() -> None:
        if keys_only:
            for pair in found:
                out.line(printable(pair.key))
        else:
            cells = [[printable(p.key), printable(p.value), str(p.mod_revision)] for p in found]
            out.table(["KEY", "VALUE", "REVISION"], cells)

    out.result(session.meta, data, human, rows=rows)


@command("watch")
@click.argument("key", default="", required=False)
@click.option("--prefix", is_flag=True, help="Every key that starts with KEY; all without KEY.")
@click.option("--rev", type=click.IntRange(1, ID_MAX), help="Start at this revision.")
@pass_session
def watch(session: Session, *, key: str, prefix: bool, rev: int | None) -> None:
    """Follow changes of KEY, or of all keys, until Ctrl-C."""
    wanted = kv_pb2.KvWatch(
        key=key.encode(), prefix=prefix or not key, start_revision=rev or 0
    ).SerializeToString()
    out = session.out
    for reply in session.stream(admin.watch(wanted).for_machine("kv")):
        changes = kv_pb2.KvWatchEvents.FromString(reply.data)
        for event in changes.events:
            # Several revisions may come in one answer; each pair knows its own.
            _print_event(session, event, event.kv.mod_revision)
        out.stdout.flush()


def _print_event(session: Session, event: kv_pb2.KvWatchEvent, revision: int) -> None:
    out, pair = session.out, event.kv
    gone = event.type == kv_pb2.KvWatchEvent.DELETE

    def human() -> None:
        what = out.style("del", "red") if gone else out.style("put", "green")
        value = "" if gone else f" {printable(pair.value)}"
        out.line(f"{revision:>6} {what} {printable(pair.key)}{value}")

    out.record({"revision": revision, **to_dict(event)}, human)


def _value(text: str) -> bytes:
    return sys.stdin.buffer.read() if text == "-" else text.encode()


def _done(session: Session, data: dict[str, Any]) -> None:
    again = " deduplicated" if data["deduplicated"] else ""
    session.out.line(f"ok revision={data['revision']} index={data['index']}{again}")


def _apply(
    session: Session, op: kv_pb2.KvCommand, key: str
) -> tuple[kv_pb2.KvResult, dict[str, Any]]:
    reply = session.call(admin.propose(op.SerializeToString(), key).for_machine("kv"))
    result = kv_pb2.KvResult.FromString(reply.result)
    data = to_dict(reply, drop=frozenset({"result"})) | to_dict(result)
    return result, data


def _query(
    session: Session, query: kv_pb2.KvQuery, consistency: Consistency, max_stale: float | None
) -> tuple[kv_pb2.KvQueryResult, dict[str, int]]:
    """Return the answer, and as of when it is: ``index``, and ``stale_ms`` of a stale one."""
    if max_stale is not None and consistency != "stale":
        raise click.UsageError("--max-stale goes with --consistency stale")
    bound = max(1, int(max_stale * 1000)) if max_stale is not None else 0
    call = admin.query(query.SerializeToString(), consistency, bound)
    reply = session.call(call.for_machine("kv"))
    facts = {"index": reply.index}
    if consistency == "stale":
        facts["stale_ms"] = reply.stale_ms
        known = reply.stale_ms < NUMBER_MAX
        age = f"up to {format_ms(reply.stale_ms)} old" if known else "not known how old"
        session.out.note(f"as of index {reply.index}, {age}")
    return kv_pb2.KvQueryResult.FromString(reply.result), facts
