"""`python -m tests.bench.volume`: much data through a real group, within bounds of memory and disk.

Three cases. *move*: a large kv state is sent to a new node while clients write. *many*: millions
of small proposals go through a group; disk, memory and log are looked at on the way. *start-up*: a
node whose log holds a million entries is started again. A bound passed makes the exit status 1,
so that small sizes serve as a test and large ones as a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from raftwire import Client
from tests.bench import cases
from tests.bench.cluster import Cluster
from tests.bench.load import Load
from tests.bench.machine import BenchError, peak_rss_mb, rss_mb, scratch
from tests.bench.report import machine

KEYS: Final = 10_000
SAMPLE_SECONDS: Final = 0.1
CASES: Final = ("move", "many", "start-up")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node may take, in megabytes (10^6).

    Attributes:
        memory_mb: Resident, at any moment, whatever the size of the case.
        disk_mb: On disk in the case *many*: log, tables and journal.
    """

    memory_mb: float
    disk_mb: float


def disk_mb(folder: Path) -> float:
    """Return what the files below a folder take on disk, in megabytes."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # Compactions remove files meanwhile.
    return total / 1e6


def _exceeded(what: str, found: float, limit: float) -> list[str]:
    return [f"{what}: {found:.0f} MB, the limit is {limit:.0f}"] if found > limit else []


# ---- a large state to a new node ---------------------------------------------------------------


def move(folder: Path, load: Load, gigabytes: float, limits: Limits, say: Say) -> dict[str, Any]:
    """Send a state of ``gigabytes`` to a new node while 32 clients write."""
    size = 100_000
    count = max(10, int(gigabytes * 1e9 / size))
    with Cluster(folder / "raftd") as ours:
        say(f"move: writing {gigabytes:g} GB")
        load.run(ours.sockets, clients=8, size=size, total=count, random=1)
        ours.wait_settled(600)
        say("move: the calm rate")
        calm = load.run(ours.sockets, clients=32, offset=10**6, keys=KEYS, seconds=5)
        leader = ours.leader()
        ours.add_node(4)
        before = ours.statuses()
        process = load.start(ours.sockets[:3], clients=32, offset=10**6, keys=KEYS, seconds=3600)
        try:
            moved = _move_to(ours, leader, say)
        finally:
            process.terminate()
        assert process.stdout is not None
        busy = json.loads(process.stdout.read())
        process.wait()
        after = ours.statuses()
        peaks = {id_: peak_rss_mb(pid) for id_, pid in zip(ours.ids, ours.pids, strict=True)}
        with Client(ours.socket(leader), timeout=600) as client:
            rows = client.verify(timeout=600).rows
    elections = max(s.term for s in after) - max(s.term for s in before)
    problems = [
        *_exceeded(f"memory of the sender, node {leader}", moved["sender_mb"], limits.memory_mb),
        *_exceeded("memory of the receiver", peaks[4], limits.memory_mb),
    ]
    if elections:
        problems.append(f"{elections} elections meanwhile")
    if not all(row.agrees for row in rows) or len(rows) != 4:
        problems.append(f"the new node's state is another: {rows}")
    return {
        **moved,
        "sender_peak_since_start_mb": round(peaks[leader]),
        "receiver_peak_mb": round(peaks[4]),
        "elections": elections,
        "rate_calm": round(calm["rate"]),
        "rate_meanwhile": round(busy["rate"]),
        "p99_calm_ms": round(calm["p99_ms"], 1),
        "p99_meanwhile_ms": round(busy["p99_ms"], 1),
        "max_meanwhile_ms": round(busy["max_ms"], 1),
        "failed_writes": busy["failed"],
        "problems": problems,
    }


def _move_to(ours: Cluster, leader: int, say: Say) -> dict[str, Any]:
    began = time.perf_counter()
    first = last = 0.0
    total = 0
    sender = 0.0
    with Client(ours.socket(leader), timeout=60) as client:
        client.member_add_learner(4, ours.address(4), timeout=60)
        target = client.status().applied
        while True:
            now = time.perf_counter()
            sender = max(sender, rss_mb(ours.pid(leader)))
            row = next(row for row in client.progress().rows if row.id == 4)
            if row.snapshot_bytes_total:
                first = first or now
                last, total = now, row.snapshot_bytes_total
                say(
                    f"move: {row.snapshot_bytes / 1e6:.0f} of {total / 1e6:.0f} MB,"
                    f" {row.rate_bytes_per_s / 1e6:.0f} MB/s, {row.eta_ms / 1000:.0f} s left"
                )
            status = ours.status(4)
            if status is not None and status.applied >= target:
                break
            if now - began > 1800:
                raise BenchError("the new node has not caught up within half an hour")
            time.sleep(SAMPLE_SECONDS)
        caught_up = time.perf_counter() - began
        sent = client.log_stat()
    if not total:
        raise BenchError("the transfer was over before it was seen: use a larger state")
    return {
        "snapshot_mb": round(total / 1e6),
        "seconds_to_make": round(first - began, 1),
        "seconds_to_send_and_install": round(last - first, 1),
        "seconds_to_catch_up": round(caught_up, 1),
        "mb_per_s": round(total / 1e6 / max(last - first, SAMPLE_SECONDS), 1),
        "mb_per_s_with_making": round(total / 1e6 / caught_up, 1),
        "entries_in_log": sent.last_index - sent.first_index + 1,
        "sender_mb": round(sender),
    }


# ---- many small proposals ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """How a group stands at some moment; megabytes are those of the largest node."""

    seconds: float
    applied: int
    rate: int
    memory_mb: int
    disk_mb: int
    log_entries: int


def many(folder: Path, load: Load, proposals: int, limits: Limits, say: Say) -> dict[str, Any]:
    """Put ``proposals`` small proposals through a group with pipelining clients."""
    with Cluster(folder / "raftd") as ours:
        terms = {status.term for status in ours.statuses()}
        process = load.start(
            ours.sockets, clients=48, depth=8, size=32, keys=KEYS, total=proposals
        )  # fmt: skip
        marks: list[Mark] = []
        try:
            began = time.perf_counter()
            share = proposals // 20
            while process.poll() is None:
                time.sleep(SAMPLE_SECONDS)
                status = ours.status(1)
                due = (marks[-1].applied if marks else 0) + share
                if status is not None and status.applied >= due:
                    marks.append(_mark(ours, marks, time.perf_counter() - began))
                    say(f"many: {marks[-1]}")
        finally:
            _end(process)
        assert process.stdout is not None
        written = json.loads(process.stdout.read())
        ours.wait_settled(600)
        marks.append(_mark(ours, marks, time.perf_counter() - began))
        terms |= {status.term for status in ours.statuses()}
        peak = max(map(peak_rss_mb, ours.pids))
        with Client(ours.socket(1), timeout=60) as client:
            agree = all(row.agrees for row in client.verify(timeout=60).rows)
    problems = [
        *_exceeded("memory", peak, limits.memory_mb),
        *_exceeded("disk", max(mark.disk_mb for mark in marks), limits.disk_mb),
    ]
    if written["failed"] or written["ok"] != proposals:
        problems.append(f"{written['ok']} of {proposals} applied: {written['errors']}")
    if not agree:
        problems.append("the nodes' states differ")
    return {
        "proposals": written["ok"],
        "rate": round(written["rate"]),
        "p50_ms": round(written["p50_ms"], 1),
        "p99_ms": round(written["p99_ms"], 1),
        "elections": len(terms) - 1,
        "memory_peak_mb": round(peak),
        "marks": [asdict(mark) for mark in marks],
        "problems": problems,
    }


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _mark(ours: Cluster, earlier: list[Mark], seconds: float) -> Mark:
    statuses = ours.statuses()
    applied = max(status.applied for status in statuses)
    before = earlier[-1] if earlier else Mark(0.0, 0, 0, 0, 0, 0)
    return Mark(
        seconds=round(seconds, 1),
        applied=applied,
        rate=round((applied - before.applied) / max(seconds - before.seconds, 0.001)),
        memory_mb=round(max(map(rss_mb, ours.pids))),
        disk_mb=round(max(disk_mb(ours.folder / str(id_)) for id_ in ours.ids)),
        log_entries=max(status.last_index - status.first_index + 1 for status in statuses),
    )


# ---- start-up ----------------------------------------------------------------------------------


def start_up(folder: Path, load: Load, entries: int, limits: Limits, say: Say) -> dict[str, Any]:
    """Start a node again whose log holds ``entries`` entries."""
    found = cases.start_up(folder, load, entries, say)
    return {**found, "problems": _exceeded("memory", found["peak_mb"], limits.memory_mb)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.volume",
        description="Send much data through a real group, and see that memory and disk stay small.",
    )
    parser.add_argument("what", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the state to move")
    parser.add_argument("--proposals", type=int, default=10_000_000, help="of the case many")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the case start-up")
    parser.add_argument("--memory-mb", type=float, default=300, help="a node may take")
    parser.add_argument("--disk-mb", type=float, default=1500, help="a node may take, in many")
    parser.add_argument("--folder", metavar="DIR", help="on which disk; default: that of /tmp")
    return parser.parse_args()


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the cases; print one JSON object; 1 if a bound was passed."""
    arguments = _arguments()
    names: list[str] = arguments.what or list(CASES)
    if unknown := set(names) - set(CASES):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
        return 2
    limits = Limits(arguments.memory_mb, arguments.disk_mb)
    results: dict[str, Any] = {"machine": machine()}
    load = Load()
    try:
        with scratch(arguments.folder) as folder:
            if "start-up" in names:
                results["start_up"] = start_up(
                    folder / "start-up", load, arguments.entries, limits, _say
                )
            if "move" in names:
                results["move"] = move(folder / "move", load, arguments.gigabytes, limits, _say)
            if "many" in names:
                results["many"] = many(folder / "many", load, arguments.proposals, limits, _say)
    except BenchError as error:
        print(f"\nvolume: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(results, indent=1))
    problems = [problem for found in results.values() for problem in found.get("problems", [])]
    for problem in problems:
        print(f"volume: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
