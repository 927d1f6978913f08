"""``raftctl top``: a group at work, live on the terminal."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from raftctl.commands.events import STYLES, event_text
from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.options import DURATION
from raftctl.output import format_bytes, format_ms
from raftctl.session import Session, pass_session
from raftctl.views import HEALTH_STYLES, config_label, config_text, health_text, member_role
from raftwire import admin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from raftwire.proto.admin_pb2 import Event, ProgressReply, StatusReply

WIDTH: Final = 60
"""Points of a sparkline."""
EVENTS: Final = 12
_BARS: Final = "▁▂▃▄▅▆▇█"
_BUCKET: Final = re.compile(r'^(raftd_\w+_duration_seconds)_bucket\{le="([^"]+)"\} (\S+)$', re.M)
_TIMES: Final = {
    "raftd_propose_duration_seconds": "propose",
    "raftd_fsync_duration_seconds": "fsync",
    "raftd_apply_duration_seconds": "apply",
}


@dataclass
class Board:
    """What was learned, and what is remembered of before.

    Attributes:
        rates: Entries a second, the newest last.
        lags: For each member, entries behind the leader.
        buckets: Histograms as of the last look: name to bound to count.
        recent: Name to (p50, p99) in ms, of what happened between the last two looks.
    """

    status: StatusReply | None = None
    progress: ProgressReply | None = None
    error: str = ""
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    lags: dict[int, deque[float]] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    recent: dict[str, tuple[float, float]] = field(default_factory=dict)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS))
    seen_event: int = 0
    at: float = 0.0
    commit: int = 0

    def look(self, session: Session) -> None:
        """Ask the node for everything."""
        try:
            status = session.call(admin.status(cluster=True), timeout=2.0)
            text = session.call(admin.metrics(), timeout=2.0).text
            for reply in session.stream(admin.events(since=self.seen_event), timeout=2.0):
                for event in reply.events:
                    self.events.append(event)
                    self.seen_event = event.sequence
            progress = session.call(admin.progress(), timeout=1.0) if status.leader else None
        except CtlError as error:
            session.close()
            self.error = error.message
            # What it counted began anew, or will have.
            self.at, self.buckets = 0.0, {}
            return
        self.error = ""
        self._note(status, progress, text, time.monotonic())

    def _note(
        self, status: StatusReply, progress: ProgressReply | None, text: str, now: float
    ) -> None:
        commit = max([status.commit, *(m.status.commit for m in status.members)])
        if self.at and commit >= self.commit:
            self.rates.append((commit - self.commit) / max(now - self.at, 1e-6))
        self.at, self.commit = now, commit
        self.status, self.progress = status, progress
        if progress is not None:
            for row in progress.rows:
                self.lags.setdefault(row.id, deque(maxlen=WIDTH // 2)).append(row.lag)
        found: dict[str, dict[float, float]] = {}
        for name, bound, value in _BUCKET.findall(text):
            found.setdefault(name, {})[float(bound)] = float(value)
        for name, buckets in found.items():
            before = self.buckets.get(name, {})
            new = {bound: value - before.get(bound, 0.0) for bound, value in buckets.items()}
            self.recent[name] = (_quantile(new, 0.5) * 1e3, _quantile(new, 0.99) * 1e3)
        self.buckets = found


@command("top")
@click.option(
    "--interval",
    type=DURATION,
    default=1.0,
    show_default="1s",
    metavar="TIME",
    help="Time between two looks.",
)
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="End after N looks; else on Ctrl-C."
)
@pass_session
def top(session: Session, interval: float, count: int | None) -> None:
    """Show the group at work: throughput, latencies, lag, disks, events; until Ctrl-C.

    Everything is seen from one node, which asks the others. Without a terminal it is one plain
    line for each look, and with --json one object.
    """
    board = Board()
    looks = 0
    if session.out.live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=session.out.stdout)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while count is None or looks < count:
                board.look(session)
                live.update(_picture(board), refresh=True)
                looks += 1
                time.sleep(interval)
        return
    while count is None or looks < count:
        if looks:
            time.sleep(interval)
        board.look(session)
        looks += 1
        session.out.record(_as_dict(board), lambda: session.out.line(_line(board)))


# --- one look as data and as a line -------------------------------------------------------------


def _as_dict(board: Board) -> dict[str, Any]:
    status = board.status
    return {
        "error": board.error or None,
        "node": status.id if status else 0,
        "leader": status.leader if status else 0,
        "term": status.term if status else 0,
        "health": status.health.state if status else "",
        "commit": board.commit,
        "rate": round(board.rates[-1], 1) if board.rates else 0.0,
        "pending": status.limits.pending if status else 0,
        "times_ms": {
            _TIMES[name]: {"p50": round(p50, 3), "p99": round(p99, 3)}
            for name, (p50, p99) in sorted(board.recent.items())
            if name in _TIMES
        },
        "lag": {str(id_): int(lags[-1]) for id_, lags in sorted(board.lags.items()) if lags},
    }


def _line(board: Board) -> str:
    if board.error or board.status is None:
        return board.error
    status = board.status
    rate = board.rates[-1] if board.rates else 0.0
    times = " ".join(
        f"{_TIMES[name]} p99 {format_ms(p99)}"
        for name, (_, p99) in sorted(board.recent.items())
        if name in _TIMES and p99
    )
    lag = max((int(lags[-1]) for lags in board.lags.values() if lags), default=0)
    leader = f"leader {status.leader}" if status.leader else "no leader"
    return (
        f"{time.strftime('%H:%M:%S')} {status.health.state} {leader} term {status.term} "
        f"commit {board.commit} {rate:.0f}/s lag {lag} {times}".rstrip()
    )


# --- on the terminal ----------------------------------------------------------------------------


def _picture(board: Board) -> RenderableType:
    from rich.console import Group as RichGroup
    from rich.panel import Panel
    from rich.text import Text

    status = board.status
    if status is None:
        return Panel(Text(board.error or "asking", style="red"), title="raftctl top")
    head = Text.assemble(
        (f"node {status.id}", "bold"),
        f" {status.role} · ",
        (f"leader {status.leader}" if status.leader else "no leader", "cyan"),
        f" · term {status.term} · {config_label(status.config)} {config_text(status.config)} · ",
        (str(health_text(status.health)), HEALTH_STYLES.get(status.health.state, "")),
        ("   Ctrl-C to end", "dim"),
    )
    parts: list[RenderableType] = [head]
    if board.error:
        parts.append(Text(f"no answer now: {board.error}", style="red"))
    parts += [Text(f"  {reason}", style="yellow") for reason in status.health.reasons]
    parts += [
        _work(board),
        _members(board, status),
        Panel(
            Text("\n").join(
                Text(event_text(event), style=STYLES.get(event.level, ""), no_wrap=True)
                for event in reversed(board.events)
            )
            if board.events
            else Text("nothing yet", style="dim"),
            title="events of this node",
            title_align="left",
            border_style="dim",
        ),
    ]
    return RichGroup(*parts)


def _work(board: Board) -> RenderableType:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    status = board.status
    assert status is not None
    rate = board.rates[-1] if board.rates else 0.0
    table = Table.grid(padding=(0, 3))
    table.add_row(
        Text(f"{rate:>9.1f} entries/s", style="bold"), Text(sparkline(board.rates), style="cyan")
    )
    for name, label in _TIMES.items():
        p50, p99 = board.recent.get(name, (0.0, 0.0))
        words = f"p50 {format_ms(p50)}  p99 {format_ms(p99)}" if p99 else "nothing lately"
        table.add_row(Text(f"{label:>18}"), Text(words, style="" if p99 else "dim"))
    limits = status.limits
    table.add_row(
        Text(f"{'waiting':>18}"),
        Text(f"{limits.pending} of {limits.pending_max} proposals, {limits.connections} clients"),
    )
    return Panel(table, title="work of this node", title_align="left", border_style="dim")


def _members(board: Board, status: StatusReply) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, border_style="dim", title_justify="left")
    for name in ("node", "role", "state", "applied", "lag", "", "fsync p99", "memory", "rtt"):
        right = name in ("applied", "lag", "fsync p99", "memory", "rtt")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    peers = {peer.id: peer for peer in status.peers}
    rows = {row.id: row for row in board.progress.rows} if board.progress is not None else {}
    for member in sorted(status.members, key=lambda member: member.id):
        peer, row = peers.get(member.id), rows.get(member.id)
        role = member_role(status.config, member.id)
        leads = member.id == status.leader
        rtt = format_ms(peer.rtt_us / 1000) if peer is not None and peer.rtt_us else "-"
        lag = str(row.lag) if row is not None else "-"
        state = row.state if row is not None and row.state != "self" else "leads" if leads else "-"
        label = Text(f"{member.id}", style="bold cyan" if leads else "bold")
        trail = Text(sparkline(board.lags.get(member.id, ())), style="yellow")
        if member.HasField("status"):
            one = member.status
            table.add_row(
                label, role, state, str(one.applied), lag, trail,
                format_ms(one.storage.fsync_p99_ms), format_bytes(one.rss_bytes), rtt,
            )  # fmt: skip
        else:
            why = peer.error if peer is not None and peer.error else member.error.message
            table.add_row(label, role, Text(why, style="red"), "-", lag, trail, "-", "-", rtt)
    return table


def sparkline(values: Iterable[float]) -> str:
    """Return values as a row of bars, the largest full."""
    shown = list(values)
    most = max(shown, default=0.0)
    if not most:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(7, int(8 * value / most))] for value in shown)


def _quantile(buckets: dict[float, float], fraction: float) -> float:
    """Return the seconds that a fraction of what is in cumulative buckets did not exceed."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return 0.0
    wanted = fraction * total
    below = lower = 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted:
            if bound == float("inf"):
                return lower
            share = (wanted - below) / (count - below) if count > below else 1.0
            return lower + (bound - lower) * share
        below, lower = count, bound
    return lower
