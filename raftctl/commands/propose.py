"""``raftctl propose``: appends to the replicated log, and says what became of it."""

from __future__ import annotations

import binascii
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftctl.errors import CtlError, ExitCode, from_wire
from raftctl.group import command
from raftctl.jsonable import to_dict
from raftctl.options import ID_MAX
from raftctl.output import Output, printable
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Wait

if TYPE_CHECKING:
    from raftwire.client import Proposed
    from raftwire.proto.admin_pb2 import ProposeReply

_UNKNOWN_HINT = "it may still be applied; "


@command("propose")
@click.argument("data", metavar="[DATA...|-]", nargs=-1)
@click.option("--file", "file", type=click.Path(), metavar="PATH", help="Propose a file's content.")
@click.option("--stdin-lines", is_flag=True, help="Propose each line of standard input.")
@click.option("--hex", "encoding", flag_value="hex", help="DATA is hexadecimal.")
@click.option("--base64", "encoding", flag_value="base64", help="DATA is base64.")
@click.option(
    "--key",
    metavar="KEY",
    default="",
    help="Idempotency key: however often it is proposed, it is applied once. Of several "
    "proposals each gets the key with /1, /2, ... behind it.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Propose it N times; {n} in DATA stands for the number.",
)
@click.option(
    "--inflight",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    metavar="N",
    help="Of several proposals, how many may be on their way at once; 1 keeps their order "
    "whatever happens.",
)
@click.option(
    "--wait",
    type=click.Choice(["applied", "committed", "none"]),
    default="applied",
    show_default=True,
    help="What to wait for.",
)
@click.option(
    "--expect-index",
    type=click.IntRange(1, ID_MAX),
    metavar="INDEX",
    help="Refuse unless the entry gets this index: nobody proposed anything in between.",
)
@pass_session
def propose(
    session: Session,
    *,
    data: tuple[str, ...],
    file: str | None,
    stdin_lines: bool,
    encoding: str | None,
    key: str,
    count: int,
    inflight: int,
    wait: Wait,
    expect_index: int | None,
) -> None:
    """Append DATA to the replicated log, through any node.

    Answers once it is applied, with its index and term. Exit 0: applied. 1 or 5: certainly not
    applied. 6: nobody knows; propose it again with the same --key, or look with `raftctl log
    show`.
    """
    sources = [bool(data), file is not None, stdin_lines]
    if sources.count(True) != 1:
        raise click.UsageError("give DATA, or - for standard input, or --file, or --stdin-lines")
    if stdin_lines:
        items: Iterable[bytes] = _lines()
    else:
        read = [_read(file)] if file is not None else [_decoded(d, encoding) for d in data]
        items = _repeated(read, count)
    if stdin_lines or count > 1 or len(data) > 1:
        if expect_index:
            raise click.UsageError("--expect-index goes with a single proposal")
        _many(session, items, key, inflight, wait)
    else:
        _one(session, next(iter(items)), key, wait, expect_index or 0)


def _one(session: Session, data: bytes, key: str, wait: Wait, expect_index: int) -> None:
    started = time.perf_counter()
    call = admin.propose(data, key, wait, expect_index)
    try:
        reply = session.call(call)
    except CtlError as error:
        if error.exit_code == ExitCode.OUTCOME_UNKNOWN:
            error.hint = _unknown_hint(session, key)
        raise
    took = time.perf_counter() - started
    out = session.out
    fields = _fields(reply, key, took)
    out.result(session.meta, fields, lambda: _line(out, session.meta.node, fields))


def _many(session: Session, items: Iterable[bytes], key: str, inflight: int, wait: Wait) -> None:
    out = session.out
    started = time.perf_counter()
    results: list[dict[str, Any]] = []
    times: list[float] = []
    failures: list[CtlError] = []
    keyed = ((item, f"{key}/{n}" if key else "") for n, item in enumerate(items, 1))
    with session.translated():
        answers = session.client.propose_many(
            keyed, inflight=inflight, wait=wait, timeout=session.settings.deadline()
        )
        for answer in answers:
            session.note_answer()
            fields, failure = _answer(answer)
            if failure is None:
                times.append(answer.took_s)
            else:
                failures.append(failure)
            _show_one(session, fields, failure)
            if out.format == "json":
                results.append(fields)
    seconds = time.perf_counter() - started
    unknown = sum(f.exit_code == ExitCode.OUTCOME_UNKNOWN for f in failures)
    summary: dict[str, Any] = {
        "ok": len(times),
        "not_applied": len(failures) - unknown,
        "unknown": unknown,
        "per_second": round(len(times) / seconds, 1) if seconds else 0.0,
        "p50_ms": _percentile(times, 0.50),
        "p99_ms": _percentile(times, 0.99),
    }
    if out.format == "json" and not failures:
        out.result(session.meta, {**summary, "results": results})
    elif not out.machine and not out.quiet:
        out.line(
            f"{summary['ok']} ok, {summary['not_applied']} not applied, {unknown} unknown, "
            f"{summary['per_second']:.0f}/s p50 {summary['p50_ms']} p99 {summary['p99_ms']} ms",
            "bold",
        )
    if failures:
        raise _combined(failures, summary, results)


def _show_one(session: Session, fields: dict[str, Any], failure: CtlError | None) -> None:
    out = session.out
    if out.format == "ndjson":
        out.record(fields, lambda: None)
    elif not out.machine and failure is not None:
        out.note(f"{failure.outcome}: {failure.message} ({failure.code})")
    elif not out.machine and not out.quiet and session.settings.verbose:
        _line(out, session.meta.node, fields)


def _answer(answer: Proposed) -> tuple[dict[str, Any], CtlError | None]:
    position = {"position": answer.position}
    if answer.reply is not None:
        return position | _fields(answer.reply, answer.key, answer.took_s), None
    assert answer.error is not None
    failure = from_wire(answer.error)
    return position | {"outcome": failure.outcome, "error": failure.as_dict()}, failure


def _combined(
    failures: list[CtlError], summary: dict[str, Any], results: list[dict[str, Any]]
) -> CtlError:
    """Return one error for many: unknown outcomes weigh most, then what the first one said."""
    worst = next((f for f in failures if f.exit_code == ExitCode.OUTCOME_UNKNOWN), failures[0])
    error = CtlError(
        worst.code,
        f"{len(failures)} of {len(failures) + summary['ok']} proposals failed; one of them: "
        f"{worst.message}",
        hint=worst.hint,
        outcome=worst.outcome,
        retryable=worst.retryable,
        exit_code=worst.exit_code,
    )
    error.data = {**summary, "results": results}
    return error


def _fields(reply: ProposeReply, key: str, took_s: float) -> dict[str, Any]:
    return {**to_dict(reply), "latency_ms": round(1000 * took_s, 2), "key": key}


def _line(out: Output, node: int, fields: dict[str, Any]) -> None:
    if out.quiet:
        return
    text = f"{fields['outcome']} index={fields['index']} term={fields['term']} node={node}"
    if fields["deduplicated"]:
        text += " deduplicated"
    result = binascii.a2b_base64(fields["result_b64"])
    if result:
        text += f" result={printable(result)}"
    out.line(f"{text} {fields['latency_ms']:.1f}ms")


def _unknown_hint(session: Session, key: str) -> str:
    again = f"raftctl propose --key {key} ..." if key else "raftctl log show"
    settle = "propose it again with the same key" if key else "look for it"
    where = f" -s {session.settings.sockets[0]}" if session.settings.sockets else ""
    return f"{_UNKNOWN_HINT}{settle}: {again}{where}"


def _percentile(seconds: list[float], share: float) -> float:
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def _repeated(items: list[bytes], count: int) -> Iterator[bytes]:
    for n in range(1, count + 1):
        for item in items:
            yield item.replace(b"{n}", str(n).encode()) if count > 1 else item


def _lines() -> Iterator[bytes]:
    for line in sys.stdin.buffer:
        yield line.removesuffix(b"\n")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from error


def _decoded(text: str, encoding: str | None) -> bytes:
    data = sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")
    try:
        if encoding == "hex":
            return bytes.fromhex(data.decode("ascii"))
        if encoding == "base64":
            return binascii.a2b_base64(data, strict_mode=True)
    except (ValueError, binascii.Error) as error:
        raise click.BadParameter(f"DATA is not {encoding}: {error}") from error
    return data
