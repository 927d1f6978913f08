"""``raftctl debug bundle``: what a bug report needs, in one file, without anybody's data."""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from raftctl.errors import CtlError, from_file
from raftctl.group import Entry, command, group
from raftctl.jsonable import to_dict
from raftctl.output import format_bytes, now
from raftctl.session import Session, pass_session
from raftwire import admin

_HERE = "raftctl.commands.debug"
LOG_ENTRIES: Final = 200
REDACTED: Final = "(left out)"
SECRET_KEYS: Final = frozenset({"cluster.token"})


@group(
    "debug",
    {"Commands": {"bundle": Entry(f"{_HERE}:bundle", "Gather what a bug report needs.")}},
)
def debug() -> None:
    """Gather what helps to find out what is wrong."""


@command("bundle")
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write to.  [default: raftd-debug-<time>.tar.gz]",
)
@pass_session
def bundle(session: Session, target: Path | None) -> None:
    """Gather what a bug report needs: status, progress, settings, metrics, events, log.

    What was proposed is left out: of each log entry there is index, term, type and size, neither
    data nor key; of the settings the cluster token is hidden. What could not be asked is in it as
    the error that came back, so a bundle can also be made of a node in trouble.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = target or Path(f"raftd-debug-{stamp}.tar.gz")
    names: list[str] = []
    errors: dict[str, str] = {}
    folder = f"raftd-debug-{stamp}"
    try:
        # Not for everybody's eyes: addresses and paths are in it.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise from_file(str(target), error) from None
    with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, make in _parts(session):
            try:
                data = make()
            except CtlError as error:
                errors[name] = error.message
                data = json.dumps({"error": error.as_dict()}, indent=2).encode()
            _add(tar, f"{folder}/{name}", data)
            names.append(name)
        manifest = {"made": now(), "files": names, "errors": errors, "node": session.meta.node}
        _add(tar, f"{folder}/manifest.json", json.dumps(manifest, indent=2).encode())
    size = target.stat().st_size
    out = session.out

    def human() -> None:
        out.line(f"{target}  {len(names)} files, {format_bytes(size)}, no payloads")
        for name, why in errors.items():
            out.line(f"  {name}: {why}", "yellow")

    answer = {"path": str(target), "bytes": size, "files": names, "errors": errors}
    out.result(session.meta, answer, human)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    tar.addfile(entry, io.BytesIO(data))


def _parts(session: Session) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the files, and what makes each; the node is asked only then."""

    def ask(make: Callable[[], Any]) -> Callable[[], bytes]:
        return lambda: _json(to_dict(session.call(make(), timeout=10.0)))

    yield "system.json", lambda: _json(_system())
    yield "status.json", ask(lambda: admin.status(cluster=True))
    yield "progress.json", ask(admin.progress)
    yield "health.json", ask(admin.health)
    yield "members.json", ask(admin.member_list)
    yield "member-status.json", ask(admin.member_status)
    yield "settings.json", lambda: _json(_settings(session))
    yield "metrics.txt", lambda: _metrics(session)
    yield "events.ndjson", lambda: _lines(_events(session))
    yield "snapshots.json", ask(admin.snapshot_list)
    yield "log-stat.json", ask(admin.log_stat)
    yield "log.ndjson", lambda: _lines(_log(session))


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _lines(values: Iterator[object]) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def _settings(session: Session) -> dict[str, Any]:
    found = to_dict(session.call(admin.config()))
    for item in found["items"]:
        if item["key"] in SECRET_KEYS and item["value"]:
            item["value"] = REDACTED
    return found


def _metrics(session: Session) -> bytes:
    return session.call(admin.metrics()).text.encode()


def _events(session: Session) -> Iterator[object]:
    for reply in session.stream(admin.events(), timeout=10.0):
        for event in reply.events:
            yield to_dict(event)


def _log(session: Session) -> Iterator[object]:
    call = admin.log_read(last=LOG_ENTRIES, uncommitted=True)
    for reply in session.stream(call, timeout=10.0):
        for entry in reply.entries:
            yield {
                "index": entry.index,
                "term": entry.term,
                "type": entry.type,
                "bytes": len(entry.data),
                "keyed": bool(entry.key),
                "node": entry.node,
                "incarnation": entry.incarnation,
                "sequence": entry.sequence,
                "description": entry.description,
            }


def _system() -> dict[str, Any]:
    from raftctl.commands.version import own_version

    found: dict[str, Any] = {
        "raftctl": own_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }
    for name, file in (
        ("memory", "/proc/meminfo"),
        ("load", "/proc/loadavg"),
        ("limits", "/proc/self/limits"),
        ("pressure_io", "/proc/pressure/io"),
        ("pressure_cpu", "/proc/pressure/cpu"),
        ("pressure_memory", "/proc/pressure/memory"),
    ):
        try:
            found[name] = Path(file).read_text(encoding="utf-8").splitlines()
        except OSError:
            found[name] = None
    return found
