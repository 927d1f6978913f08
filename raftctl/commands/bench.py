"""``raftctl bench``: how many proposals and reads the group takes, and how long each takes."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.histogram import Histogram
from raftctl.options import DURATION
from raftctl.output import format_bytes, format_ms
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.errors import AdminError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftwire.client import Client


class Profile(NamedTuple):
    """What a run does when it is not told."""

    clients: int
    size: int
    seconds: float
    reads: int


PROFILES: Final = {
    "s": Profile(clients=1, size=256, seconds=5.0, reads=0),
    "m": Profile(clients=16, size=256, seconds=10.0, reads=20),
    "l": Profile(clients=64, size=1024, seconds=30.0, reads=20),
}
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
_TELL_SECONDS: Final = 2.0


@dataclass
class Tally:
    """What one client, or all of them, have done."""

    writes: Histogram = field(default_factory=Histogram)
    reads: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Requests answered."""
        return self.writes.count + self.reads.count

    def merge(self, other: Tally) -> None:
        """Add another one's."""
        self.writes.merge(other.writes)
        self.reads.merge(other.reads)
        self.errors.update(other.errors)


class Load:
    """Clients that ask one after another, each on a connection of its own.

    Args:
        sockets: The clients are spread over them.
        rate: Requests a second, over all clients; 0: as fast as they are answered. With a rate, a
            request's time counts from when it was due: what waits behind a slow one is slow, too.
    """

    def __init__(
        self,
        sockets: Sequence[str],
        *,
        clients: int,
        size: int,
        reads: int,
        rate: float,
        total: int,
        timeout: float,
    ) -> None:
        self._sockets = sockets
        self._clients = clients
        self._payload = random.Random(0).randbytes(size)  # noqa: S311 - filler
        self._reads = reads
        self._rate = rate
        self._total = total
        self._timeout = timeout
        self._stop = threading.Event()
        self._go = threading.Event()
        self._began = 0.0
        self.tallies = [Tally() for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)
        ]

    def start(self) -> None:
        """Connect all clients, then let them go."""
        for thread in self._threads:
            thread.start()
        self._began = time.perf_counter()
        self._go.set()

    def stop(self) -> None:
        """End the clients; returns when all have their last answer."""
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join()

    @property
    def running(self) -> bool:
        """Whether a client still works."""
        return any(thread.is_alive() for thread in self._threads)

    def tally(self) -> Tally:
        """Return what all have done."""
        whole = Tally()
        for tally in self.tallies:
            whole.merge(tally)
        return whole

    def _run(self, number: int) -> None:
        from raftwire.client import Client

        tally = self.tallies[number]
        share = self._total // self._clients + (number < self._total % self._clients)
        choose = random.Random(number).randrange  # noqa: S311 - a share of reads
        own = self._sockets[number % len(self._sockets)]
        with Client(own, timeout=self._timeout, retries=False) as client:
            self._go.wait()
            done = 0
            while not self._stop.is_set() and (not self._total or done < share):
                started = self._due(number, done)
                done += 1
                reads = choose(100) < self._reads
                try:
                    self._ask(client, reads=reads)
                except AdminError as error:
                    tally.errors[str(error.code)] += 1
                    # A node that is down refuses at once.
                    self._stop.wait(0.01)
                else:
                    took = time.perf_counter() - started
                    (tally.reads if reads else tally.writes).add(took)

    def _due(self, number: int, done: int) -> float:
        if not self._rate:
            return time.perf_counter()
        due = self._began + (done * self._clients + number) / self._rate
        wait = due - time.perf_counter()
        if wait > 0:
            self._stop.wait(wait)
        return due

    def _ask(self, client: Client, *, reads: bool) -> None:
        if reads:
            client.call(admin.read_index())
        else:
            client.call(admin.propose(self._payload, noop=True))


@command("bench")
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="s",
    show_default=True,
    help="s: 1 client; m: 16 and a fifth reads; l: 64, larger and longer.",
)
@click.option("--clients", type=click.IntRange(1, 1024), metavar="N", help="Clients at once.")
@click.option(
    "--size", type=click.IntRange(0, 4 * 2**20), metavar="BYTES", help="Bytes of a proposal."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="N",
    help="Requests a second, over all clients.  [default: as fast as they are answered]",
)
@click.option("--duration", type=DURATION, metavar="TIME", help="How long to go on.")
@click.option(
    "--total", type=click.IntRange(min=1), metavar="N", help="Stop after so many instead."
)
@click.option(
    "--reads", type=click.IntRange(0, 100), metavar="PERCENT", help="Linearizable reads among them."
)
@click.option("--histogram", is_flag=True, help="Print the whole distribution, as HdrHistogram.")
@click.option("--max-p99", type=DURATION, metavar="TIME", help="Fail (7) if p99 is above this.")
@click.option(
    "--min-rate",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Fail (7) if fewer a second are answered.",
)
@click.option(
    "--max-errors",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fail (7) if more requests fail.",
)
@pass_session
def bench(
    session: Session,
    *,
    profile: str,
    clients: int | None,
    size: int | None,
    rate: float,
    duration: float | None,
    total: int | None,
    reads: int | None,
    histogram: bool,
    max_p99: float | None,
    min_rate: float | None,
    max_errors: int | None,
) -> None:
    """Measure how many proposals and reads the group takes, and how long each takes.

    What is proposed is replicated and made durable like anything else, and then dropped: the
    state machine never hears of it, nothing is left behind but the log's own length. Clients are
    spread over all --socket given. raftctl is one Python process: above some thousands a second
    it may itself be the limit.
    """
    base = PROFILES[profile]
    shape: dict[str, Any] = {
        "profile": profile,
        "clients": clients or base.clients,
        "size": base.size if size is None else size,
        "reads_percent": base.reads if reads is None else reads,
        "rate_wanted": rate,
    }
    seconds = duration if duration is not None else base.seconds
    # That somebody answers is found out before a crowd of clients fails to.
    session.call(admin.status())
    load = Load(
        session.sockets(),
        clients=shape["clients"],
        size=shape["size"],
        reads=shape["reads_percent"],
        rate=rate,
        total=total or 0,
        timeout=session.settings.deadline(),
    )
    took = _drive(session, load, seconds, total)
    tally = load.tally()
    data = {**shape, **_figures(tally, took)}
    data["thresholds"] = checks = _thresholds(data, max_p99, min_rate, max_errors)
    if histogram:
        data["histogram"] = tally.writes.hgrm()
    failed = [check for check in checks if not check["ok"]]
    if failed:
        words = ", ".join(f"{c['name']} is {c['value']:g}, not {c['limit']:g}" for c in failed)
        error = CtlError("CHECK_FAILED", f"thresholds are not met: {words}.", hint="")
        error.data = data
        if not session.out.machine:
            _print(session, data)
        raise error
    session.out.result(session.meta, data, lambda: _print(session, data))


def _drive(session: Session, load: Load, seconds: float, total: int | None) -> float:
    """Run the load to its end, telling how it goes; return how long it took."""
    from raftctl.bars import Bars

    started = time.perf_counter()
    told, before = started, 0
    load.start()
    try:
        with Bars(session.out, "bench") as bars:
            while load.running and (total is not None or time.perf_counter() - started < seconds):
                time.sleep(0.1)
                now = time.perf_counter()
                done = sum(tally.done for tally in load.tallies)
                if now - told >= _TELL_SECONDS or total is not None:
                    note = f"{(done - before) / max(now - told, 1e-9):.0f}/s"
                    if now - told >= _TELL_SECONDS:
                        told, before = now, done
                else:
                    note = f"{done / (now - started):.0f}/s"
                if total is not None:
                    bars.update(0, done, total, note)
                else:
                    bars.update(0, int(now - started), int(seconds) or 1, note)
    finally:
        load.stop()
    return time.perf_counter() - started


def _figures(tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "rate": round(tally.done / seconds, 1) if seconds else 0.0,
        "writes": _summary(tally.writes, seconds),
        "reads": _summary(tally.reads, seconds),
        "errors": dict(sorted(tally.errors.items())),
    }


def _summary(times: Histogram, seconds: float) -> dict[str, Any]:
    out: dict[str, Any] = {
        "count": times.count,
        "rate": round(times.count / seconds, 1) if seconds else 0.0,
        "min_ms": round(times.smallest * 1e3, 3),
        "mean_ms": round(times.mean * 1e3, 3),
        "max_ms": round(times.largest * 1e3, 3),
    }
    for percent in PERCENTILES:
        name = f"p{percent:g}".replace(".", "")
        out[f"{name}_ms"] = round(times.percentile(percent) * 1e3, 3)
    return out


def _thresholds(
    data: dict[str, Any], max_p99: float | None, min_rate: float | None, max_errors: int | None
) -> list[dict[str, Any]]:
    found = []

    def check(name: str, value: float, limit: float, ok: bool) -> None:
        found.append({"name": name, "value": value, "limit": limit, "ok": ok})

    if max_p99 is not None:
        kinds = [data[kind] for kind in ("writes", "reads") if data[kind]["count"]]
        worst = max((kind["p99_ms"] for kind in kinds), default=0.0)
        # Nothing that was answered is no proof of being quick.
        check("p99_ms", worst, max_p99 * 1e3, bool(kinds) and worst <= max_p99 * 1e3)
    if min_rate is not None:
        check("rate", data["rate"], min_rate, data["rate"] >= min_rate)
    if max_errors is not None:
        errors = sum(data["errors"].values())
        check("errors", errors, max_errors, errors <= max_errors)
    return found


def _print(session: Session, data: dict[str, Any]) -> None:
    out = session.out
    out.line(
        f"{data['clients']} clients, {format_bytes(data['size'])} proposals, "
        f"{data['reads_percent']}% reads, {data['seconds']:.1f}s: {data['rate']:.0f} a second",
        "bold",
    )
    rows = []
    for kind in ("writes", "reads"):
        times = data[kind]
        if times["count"]:
            figures = ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "mean_ms"]
            cells = [format_ms(times[name]) for name in figures]
            rows.append([kind, str(times["count"]), f"{times['rate']:.0f}/s", *cells])
    if rows:
        headers = ["", "COUNT", "RATE", "P50", "P90", "P95", "P99", "P99.9", "MAX", "MEAN"]
        out.table(headers, rows)
    for code, number in data["errors"].items():
        out.line(f"{number} failed with {code}", "red")
    for check in data["thresholds"]:
        word = "met" if check["ok"] else "not met"
        out.line(
            f"{check['name']} {check['value']:g}, limit {check['limit']:g}: {word}",
            "green" if check["ok"] else "red",
        )
    if "histogram" in data:
        out.line()
        out.stdout.write(data["histogram"])
