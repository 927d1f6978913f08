"""``raftctl doctor``: looks at everything that is known to go wrong, and says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from raftctl.diagnosis import FAIL, OK, WARN, Finding, Seen, diagnose, worst
from raftctl.errors import CtlError, ExitCode
from raftctl.group import command
from raftctl.output import Styled, format_bytes, format_ms
from raftctl.session import Session, pass_session
from raftwire import admin

if TYPE_CHECKING:
    from raftctl.output import Output

STYLES: Final = {OK: "green", WARN: "yellow", FAIL: "red"}
PROBES: Final = 50
PROBE_SECONDS_MAX: Final = 3.0
CONNECT_SECONDS: Final = 1.0
FREE_LEAST: Final = 1 << 30


@command("doctor")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The node's settings file: checked when the node is down.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's data: looked at when the node is down.",
)
@click.option("--strict", is_flag=True, help="Also fail on warnings.")
@pass_session
@click.pass_context
def doctor(
    ctx: click.Context,
    session: Session,
    config_file: Path | None,
    data_dir: Path | None,
    strict: bool,
) -> None:
    """Look at everything that is known to go wrong, and say what to do.

    Of a running node: leader, quorum, members, clocks, certificates, disk, limits, settings. Of
    one that is down: its settings, its data, its disk, and whether the others can be reached.
    Exits 7 when something has failed.
    """
    findings = list(_running(session))
    down = findings[0].state == FAIL and findings[0].check == "raftd"
    if down or config_file or data_dir:
        findings += _down(config_file, data_dir, running=not down)
    out = session.out
    state = worst(findings)
    rows = [_as_dict(finding) for finding in findings]
    data = {"state": state, "findings": rows}
    out.result(session.meta, data, lambda: _print(out, findings), rows=rows)
    if state == FAIL or (strict and state == WARN):
        ctx.exit(ExitCode.CHECK_FAILED)


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "state": finding.state,
        "text": finding.text,
        "advice": finding.advice,
    }


def _print(out: Output, findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = out.style(f"[{finding.state:^4}]", STYLES[finding.state])
        out.line(f"{mark} {finding.check:<{width}}  {finding.text}")
        if finding.advice and finding.state != OK:
            out.line(f"{'':{width + 9}}{finding.advice}", "dim")
    state = worst(findings)
    counts = {s: sum(f.state == s for f in findings) for s in (OK, WARN, FAIL)}
    words = f"{counts[OK]} fine, {counts[WARN]} to look at, {counts[FAIL]} wrong"
    out.line(Styled(words), STYLES[state])


# --- a running node -----------------------------------------------------------------------------


def _running(session: Session) -> Iterator[Finding]:
    try:
        status = session.call(admin.status(cluster=True))
    except (CtlError, click.UsageError) as error:
        message = error.message if isinstance(error, CtlError) else error.format_message()
        hint = error.hint if isinstance(error, CtlError) else ""
        yield Finding("raftd", FAIL, message.splitlines()[0], hint)
        return
    words = f"node {status.id} answers, version {status.version}, pid {status.pid}"
    yield Finding("raftd", OK, words)
    seen = Seen(status, files_max=_files_max(status.pid))
    for fill in (_fill_settings, _fill_progress, _fill_joint):
        try:
            fill(session, seen)
        except CtlError as error:
            # Without a leader there is no progress; what is missing is a finding of its own.
            session.out.note(f"not asked: {error.message}")
    seen.resolved = _resolved(peer.addr for peer in status.peers)
    yield from diagnose(seen)


def _fill_settings(session: Session, seen: Seen) -> None:
    items = session.call(admin.config()).items
    seen.settings = {item.key: item.value for item in items}


def _fill_progress(session: Session, seen: Seen) -> None:
    if seen.status.leader:
        seen.progress = session.call(admin.progress(), timeout=2.0)


def _fill_joint(session: Session, seen: Seen) -> None:
    if seen.status.config.joint:
        seen.joint_ms = session.call(admin.member_status(), timeout=2.0).since_ms


def _files_max(pid: int) -> int:
    """Return how many descriptors a process on this host may have; 0: it cannot be told."""
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                word = line.split()[3]
                return int(word) if word.isdigit() else 1 << 30
    except OSError:
        pass
    return 0


def _resolved(addresses: Iterator[str]) -> dict[str, str]:
    found = {}
    for address in addresses:
        host = address.rpartition(":")[0].strip("[]")
        try:
            found[host] = str(socket.getaddrinfo(host, None)[0][4][0])
        except OSError:
            continue
    return found


# --- one that is down ---------------------------------------------------------------------------


def _down(config_file: Path | None, data_dir: Path | None, *, running: bool) -> Iterator[Finding]:
    settings: dict[str, Any] = {}
    if config_file is not None:
        yield from _check_settings(config_file, settings)
    node = settings.get("node", {})
    if data_dir is None and node.get("data_dir"):
        data_dir = Path(node["data_dir"])
    if data_dir is not None:
        yield from _check_data(data_dir, running=running)
    yield from _check_others(settings)


def _check_settings(file: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    """Have raftd itself judge the file; what it makes of it goes into ``settings``."""
    import json

    # Beside this program first: an environment need not be on the path to be used.
    here = str(Path(sys.executable).parent)
    program = shutil.which("raftd", path=here) or shutil.which("raftd")
    if program is None:
        yield Finding("settings", WARN, "raftd is not on the path: they are not checked")
        return
    command_ = [program, "--config", str(file)]
    checked = subprocess.run(  # noqa: S603 - our own program
        [*command_, "--check-config"], capture_output=True, text=True, timeout=30, check=False
    )
    if checked.returncode != 0:
        for line in checked.stderr.splitlines():
            yield Finding("settings", FAIL, line.removeprefix("raftd: "), f"correct {file}")
        return
    yield Finding("settings", OK, checked.stdout.strip())
    printed = subprocess.run(  # noqa: S603 - our own program
        [*command_, "--print-config", "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    settings.update(json.loads(printed.stdout))


def _check_data(folder: Path, *, running: bool) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding(
            "data", FAIL, f"{folder} does not exist",
            "is it the right one, and is its disk mounted? A new node makes it by itself",
        )  # fmt: skip
        return
    mode = folder.stat().st_mode & 0o777
    if mode & 0o022:
        yield Finding(
            "data", FAIL, f"others may write to {folder} (mode {mode:04o})", f"chmod 700 {folder}"
        )
    if not running:
        yield from _check_contents(folder)
    yield from _check_room(folder)
    if os.access(folder, os.W_OK):
        yield _probe(folder)


def _check_contents(folder: Path) -> Iterator[Finding]:
    from raftctl.data_tool import run_tool

    try:
        found = run_tool("info", {"data_dir": os.path.abspath(folder), "read_only": False})
    except CtlError as error:
        yield Finding("data", FAIL, error.message, error.hint)
        return
    yield Finding(
        "data", OK,
        f"it is node {found['id']}'s, of cluster {str(found['cluster_id'])[:8]}, and opens",
    )  # fmt: skip


def _check_room(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    text = f"{format_bytes(free)} free where the data is"
    yield Finding(
        "disk room", OK if free >= FREE_LEAST else WARN, text, "free some: a full disk stops a node"
    )


def _probe(folder: Path) -> Finding:
    """Measure how long it takes to make a small write durable, in a file of our own."""
    times = []
    end = time.monotonic() + PROBE_SECONDS_MAX
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(PROBES):
                started = time.perf_counter()
                os.write(file.fileno(), bytes(512))
                os.fdatasync(file.fileno())
                times.append((time.perf_counter() - started) * 1000)
                if time.monotonic() > end:
                    break
    except OSError as error:
        return Finding("disk speed", FAIL, f"cannot write to {folder}: {error.strerror}")
    times.sort()
    middle, last = times[len(times) // 2], times[int(len(times) * 0.99)]
    text = f"fdatasync p50 {format_ms(middle)}, p99 {format_ms(last)} in {len(times)} writes"
    if last > 25:
        return Finding("disk speed", WARN, text, "every answer waits for it: use a local SSD")
    return Finding("disk speed", OK, text)


def _check_others(settings: dict[str, Any]) -> Iterator[Finding]:
    """Try to connect to the other members that the settings name."""
    own = str(settings.get("node", {}).get("id", ""))
    cluster = settings.get("cluster", {})
    members = {f"node {k}": v for k, v in cluster.get("peers", {}).items() if k != own}
    members |= {address: address for address in cluster.get("join", [])}
    for name, address in members.items():
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
                yield Finding("others", OK, f"{name} listens at {address}")
        except OSError as error:
            why = error.strerror or str(error)
            yield Finding(
                "others", WARN, f"{name} does not answer at {address}: {why.lower()}",
                "is it running, and does a firewall let this host in?",
            )  # fmt: skip
