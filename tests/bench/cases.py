"""What is measured on running nodes."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from raftwire import AdminError, Client
from tests.bench.cluster import ELECTION_TIMEOUT_S, Cluster, environment
from tests.bench.etcd import Etcd
from tests.bench.load import Load, Result
from tests.bench.machine import BenchError, UsageMeter, peak_rss_mb, rss_mb, wait_for

KEYS: Final = 10_000
"""Different keys that are read; all are written before."""

_LARGE: Final = 100_000
"""Values above it come after all others: they change how much memory a node holds."""

_KEEP_ALL: Final = ("--compact-entries", "0", "--snapshot-entries", "0", "--snapshot-bytes", "0")

Say = Callable[[str], None]


@dataclass(frozen=True)
class LoadCase:
    """One closed loop: so many clients, each with one request under way."""

    name: str
    op: str
    clients: int
    size: int = 256

    @property
    def keys(self) -> int:
        """Different keys; 0: a new one for each request."""
        if self.op == "get":
            return KEYS
        return 0 if self.size <= _LARGE else 100


LOAD_CASES: Final = (
    LoadCase("put-1", "put", 1),
    LoadCase("put-64", "put", 64),
    LoadCase("put-256", "put", 256),
    LoadCase("get-1", "get", 1),
    LoadCase("get-64", "get", 64),
    LoadCase("put-1mb", "put", 8, 1_000_000),
)


@dataclass
class Sample:
    """One run of one case on one system.

    Attributes:
        load: What the load generator says.
        cpu, rss: Cores and MB of each node.
        others: Cores that neither the nodes nor the generator used: whoever shares the machine.
    """

    load: Result
    cpu: list[float]
    rss: list[float]
    others: float


@dataclass
class Compared:
    """All runs of one case, ours and etcd's in turn."""

    case: LoadCase
    ours: list[Sample] = field(default_factory=list)
    etcd: list[Sample] = field(default_factory=list)


def _measured(run: Callable[[], Result], pids: list[int]) -> Sample:
    meter = UsageMeter(pids)
    result = run()
    usage = meter.stop()
    if result["ok"] == 0 or result["failed"]:
        raise BenchError(f"requests failed under ordinary load: {result}")
    others = max(0.0, round(usage.others - result["cpu_share"], 2))
    return Sample(result, usage.cpu, usage.rss, others)


@dataclass(frozen=True)
class Plan:
    """How the cases are run.

    Attributes:
        seconds: Of each run.
        rounds: Runs of each case on each system, in turn.
        with_etcd: Whether etcd runs beside.
        random_values: Whether values cannot be compressed.
        options: Further options of raftd.
    """

    seconds: float
    rounds: int
    with_etcd: bool
    random_values: bool = False
    options: tuple[str, ...] = ()


def compare(
    folder: Path, load: Load, cases: tuple[LoadCase, ...], plan: Plan, say: Say
) -> tuple[list[Compared], dict[str, list[float]]]:
    """Run the cases on raftd and on etcd in turn.

    Returns the samples, and the memory of each node (MB) after the cases with small values.
    """
    found = [Compared(case) for case in cases]
    memory: dict[str, list[float]] = {}
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd(folder / "etcd")) if plan.with_etcd else None
        ours = stack.enter_context(Cluster(folder / "raftd", options=plan.options))
        # Every key that is read exists; both have warmed up.
        load.run(ours.sockets, clients=64, total=KEYS)
        if etcd is not None:
            etcd.run(clients=64, total=KEYS)
        small = [one for one in found if one.case.size <= _LARGE]
        large = [one for one in found if one.case.size > _LARGE]
        for group in (small, large):
            # Round by round, not case by case: what others do to the machine meanwhile, and its
            # clock, then show as the spread of a figure instead of favouring one case.
            for number, compared in itertools.product(range(plan.rounds), group):
                case = compared.case
                say(f"{case.name}, run {number + 1} of {plan.rounds}")
                options: dict[str, Any] = {
                    "op": case.op, "clients": case.clients, "size": case.size, "keys": case.keys,
                    "seconds": plan.seconds, "random": int(plan.random_values),
                }  # fmt: skip
                # etcd's client asks its endpoints in turn: a single one of ours asks the leader in
                # one run of three.
                sockets = ours.sockets[number % 3 :] + ours.sockets[: number % 3]
                run = functools.partial(load.run, sockets, **options)
                compared.ours.append(_measured(run, ours.pids))
                if etcd is not None:
                    run = functools.partial(etcd.run, **options)
                    compared.etcd.append(_measured(run, etcd.pids))
            if group is small and small:
                memory = _memory(ours, etcd)
        if not memory:
            memory = _memory(ours, etcd)
    return found, memory


def _memory(ours: Cluster, etcd: Etcd | None) -> dict[str, list[float]]:
    memory = {"raftd": [round(rss_mb(pid), 1) for pid in ours.pids]}
    if etcd is not None:
        memory["etcd"] = [round(rss_mb(pid), 1) for pid in etcd.pids]
    return memory


# ---- status ------------------------------------------------------------------------------------


def status_time(folder: Path, with_etcd: bool, count: int) -> dict[str, float]:
    """Milliseconds of wall time that the status commands take, median of `count`.

    As they are installed, that is compiled; a checkout may be told to keep no compiled files.
    """
    compiled = {**environment(), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)
    out: dict[str, float] = {}
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd(folder / "etcd")) if with_etcd else None
        ours = stack.enter_context(Cluster(folder / "raftd"))
        command = [sys.executable, "-m", "raftctl", "--socket", str(ours.socket(1)), "status"]
        if script := _script("raftctl"):
            command[:3] = [script]
        ours_ms: list[float] = []
        etcd_ms: list[float] = []
        for number in range(count + 1):
            began = time.perf_counter()
            done = subprocess.run(command, env=compiled, capture_output=True, check=False)
            took = (time.perf_counter() - began) * 1000
            if done.returncode:
                raise BenchError(f"raftctl status: {done.stderr.decode()[-1000:]}")
            if not number:
                continue  # The first has compiled what it imports.
            ours_ms.append(took)
            if etcd is not None:
                began = time.perf_counter()
                etcd.ctl("endpoint", "status")
                etcd_ms.append((time.perf_counter() - began) * 1000)
        out["raftctl_ms"] = round(statistics.median(ours_ms), 1)
        if etcd_ms:
            out["etcdctl_ms"] = round(statistics.median(etcd_ms), 1)
    return out


def _script(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


# ---- failover ----------------------------------------------------------------------------------


def failover(folder: Path, count: int, say: Say) -> dict[str, Any]:
    """Kill the leader `count` times; election timeouts until a proposal is accepted again.

    A client asks a survivor from the moment of the kill on; the first proposal that is answered
    as applied ends the measurement.
    """
    took: list[float] = []
    with Cluster(folder / "raftd") as ours:
        for number in range(count):
            wait_for(lambda: ours.leader() != 0, "for a leader that all know")
            leader = ours.leader()
            survivor = next(id_ for id_ in ours.ids if id_ != leader)
            with Client(ours.socket(survivor), timeout=20, retries=False) as client:
                client.kv.put("probe", "before")
                ours.kill(leader)
                began = time.perf_counter()
                while True:
                    try:
                        client.kv.put("probe", f"{number}", timeout=20)
                        break
                    except AdminError as error:
                        if time.perf_counter() - began > 20:
                            raise BenchError(f"no leader for 20 s: {error}") from None
                took.append((time.perf_counter() - began) / ELECTION_TIMEOUT_S)
            say(f"failover {number + 1} of {count}: {took[-1]:.2f} election timeouts")
            ours.start(leader)
            ours.wait_settled()
    took.sort()
    return {
        "count": count,
        "election_timeout_s": ELECTION_TIMEOUT_S,
        "median": round(statistics.median(took), 2),
        "min": round(took[0], 2),
        "max": round(took[-1], 2),
    }


# ---- a large snapshot --------------------------------------------------------------------------


def snapshot(folder: Path, load: Load, gigabytes: float, say: Say) -> dict[str, Any]:
    """Make a snapshot of a large state while clients write; its rate, and their p99 meanwhile."""
    size = 1_000_000
    count = int(gigabytes * 1e9 / size)
    with Cluster(
        folder / "raftd", options=["--snapshot-entries", "0", "--snapshot-bytes", "0"]
    ) as ours:
        say(f"snapshot: writing {gigabytes:g} GB")
        load.run(ours.sockets, clients=8, size=size, total=count)
        calm = load.run(ours.sockets, clients=64, offset=10**6, keys=KEYS, seconds=5)
        say("snapshot: made while 64 clients write")
        process = load.start(ours.sockets, clients=64, offset=10**6, keys=KEYS, seconds=600)
        try:
            with Client(ours.socket(1), timeout=600) as client:
                began = time.perf_counter()
                made = client.snapshot_create(timeout=600)
                took = time.perf_counter() - began
        finally:
            process.terminate()
        assert process.stdout is not None
        busy: Result = json.loads(process.stdout.read())
        process.wait()
    total = made.snapshot.bytes
    return {
        "bytes": total,
        "seconds": round(took, 2),
        "mb_per_s": round(total / 1e6 / took, 1),
        "rate_calm": round(calm["rate"]),
        "rate_meanwhile": round(busy["rate"]),
        "p99_calm_ms": round(calm["p99_ms"], 1),
        "p99_meanwhile_ms": round(busy["p99_ms"], 1),
    }


# ---- start-up ----------------------------------------------------------------------------------


def start_up(folder: Path, load: Load, entries: int, say: Say) -> dict[str, Any]:
    """Start a node again whose log holds that many entries; seconds until it has applied all."""
    with Cluster(folder / "raftd", options=_KEEP_ALL) as ours:
        say(f"start-up: writing {entries:,} entries")
        # Fewer at once than what a node refuses as too many, however slow it is.
        written = load.run(ours.sockets, clients=64, depth=8, size=32, keys=KEYS, total=entries)
        ours.wait_settled(120)
        leader = ours.leader()
        other = next(id_ for id_ in ours.ids if id_ != leader)
        ours.kill(other)
        reference = ours.status(leader)
        assert reference is not None
        began = time.perf_counter()
        ours.start(other)

        def answers() -> bool:
            return ours.status(other) is not None

        def applied() -> bool:
            status = ours.status(other)
            return status is not None and status.applied >= reference.commit

        wait_for(answers, "for the node to answer", 600)
        answered = time.perf_counter() - began
        wait_for(applied, "for the node to catch up", 600)
        caught_up = time.perf_counter() - began
        status = ours.status(other)
        assert status is not None
        peak = peak_rss_mb(ours.pid(other))
    return {
        "entries": reference.last_index - reference.first_index + 1,
        "write_rate": round(written["rate"]),
        "answers_s": round(answered, 2),
        "caught_up_s": round(caught_up, 2),
        "rss_mb": round(status.rss_bytes / 1e6),
        "peak_mb": round(peak),
    }
