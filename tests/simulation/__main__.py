"""Run seeds of the simulator: ``python -m tests.simulation --seeds 1000``; or ``make sim SEEDS=n``.

A failure prints its seed, the commit, and the few actions that show it, and leaves them in a file
that ``--replay`` performs again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.harness.sim_record import Replayed, from_json
from tests.harness.sim_swarm import draw
from tests.simulation.campaign import (
    Total,
    git_commit,
    jobs_by_default,
    run_many,
    run_some,
    take_apart,
    told,
)
from tests.simulation.coverage_counters import missing

_FOUND = Path(tempfile.gettempdir()) / "raft-simulation"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS", "500")))
    parser.add_argument("--start", type=int, default=int(os.environ.get("START", "0")))
    parser.add_argument("--steps", type=int, default=2000, help="steps before the healing")
    parser.add_argument("--jobs", type=int, default=jobs_by_default())
    parser.add_argument("--budget", type=float, help="minutes after which no seed is begun")
    parser.add_argument("--mode", choices=("core", "daemon"), help="what nodes are made of")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    parser.add_argument("--found", type=Path, default=_FOUND, help="where recordings go")
    parser.add_argument("--counters", action="store_true", help="tell all that was covered")
    parser.add_argument("--digests", action="store_true", help="print each seed's digest, only")
    parser.add_argument("--replay", type=Path, help="perform the recording in this file")
    parser.add_argument("--settings", action="store_true", help="tell the first seed's settings")
    options = parser.parse_args(arguments)
    fixed: dict[str, Any] = {"mode": options.mode} if options.mode else {}
    if options.replay:
        return _replay(options.replay)
    if options.settings:
        print(draw(options.start, options.steps, **fixed))
        return 0
    if options.digests:
        total = run_some(options.start, options.seeds, options.steps, fixed)
        for seed, digest in sorted(total.digests.items()):
            print(seed, f"{digest:08x}")
        return 1 if total.failures else 0
    return _campaign(options, fixed)


def _campaign(options: argparse.Namespace, fixed: dict[str, Any]) -> int:
    started = time.monotonic()
    told_at = started

    def tell(total: Total) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > 30:
            told_at = time.monotonic()
            print(
                f"{total.seeds} seeds, {len(total.failures)} violations, {told_at - started:.0f} s",
                flush=True,
            )

    seconds = None if options.budget is None else options.budget * 60
    total = run_many(
        options.start,
        options.seeds,
        options.steps,
        options.jobs,
        seconds,
        fixed,
        tell,
        options.failures,
    )
    wall = time.monotonic() - started
    print(
        f"commit {git_commit()}: {total.seeds} seeds from {options.start}, {total.steps} steps, "
        f"{total.committed} entries committed, {total.answered} operations answered, "
        f"{total.sim_seconds:.0f} s simulated"
    )
    cpu = total.cpu_seconds or 1.0
    print(
        f"{wall:.1f} s on {options.jobs} processes; one core: {total.seeds / cpu:.1f} seeds/s, "
        f"{total.steps / cpu:.0f} steps/s, {total.sim_seconds / cpu:.0f} times real time"
    )
    if options.counters:
        for name, count in sorted(total.counters.items()):
            print(f"  {name} {count}")
    absent = missing(total.counters)
    if absent:
        print(f"not covered: {', '.join(absent)}")
    for seed, check, text in total.failures:
        print(f"\nseed {seed} violates {check}: {text}")
    for seed, _, _ in total.failures[:1]:
        take_apart(seed, options.steps, fixed, options.found, print)
    if total.failures:
        return 1
    print("no violation")
    return 0


def _replay(file: Path) -> int:
    settings, draws, steps, why = from_json(file.read_text())
    print(f"recorded: {why}")
    for line in told(settings, draws, steps):
        print(line)
    return 1 if Replayed(settings, draws, steps).violation is not None else 0


if __name__ == "__main__":
    sys.exit(main())
