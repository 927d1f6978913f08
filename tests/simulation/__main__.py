"""Run seeds of the simulator: ``python -m tests.simulation --seeds 1000``; or ``make sim SEEDS=n``.

A failure prints its seed, the commit, and the few actions that show it, and leaves them in a file
that ``--replay`` performs again. ``--keep`` makes the regression of a bug that was repaired: it
puts the bug back (`tests.harness.mutants_found`), looks for a seed that shows it, and cuts it down.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tests.harness.mutants_found
import tests.harness.mutants_raft
from tests.harness.mutants import MUTANTS
from tests.harness.sim_run import run_seed
from tests.harness.sim_swarm import draw
from tests.simulation.campaign import (
    Total,
    git_commit,
    jobs_by_default,
    run_many,
    run_some,
    take_apart,
)
from tests.simulation.coverage_counters import EXPECTED, missing
from tests.simulation.recordings import REGRESSIONS, read

assert tests.harness.mutants_raft
assert tests.harness.mutants_found  # Imported for what they register.

_FOUND = Path(tempfile.gettempdir()) / "raft-simulation"
_TELL_EVERY_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS", "500")))
    parser.add_argument("--start", type=int, default=int(os.environ.get("START", "0")))
    parser.add_argument("--steps", type=int, default=2000, help="steps before the healing")
    parser.add_argument("--jobs", type=int, default=jobs_by_default(), help="default: all cores")
    parser.add_argument("--budget", type=float, help="minutes after which no seed is begun")
    parser.add_argument("--until", help="time of day, HH:MM, after which no seed is begun")
    parser.add_argument("--every", type=int, help="tell of progress after so many seeds")
    parser.add_argument("--mode", choices=("core", "daemon", "engine"), help="what nodes are")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many; 0: never")
    parser.add_argument("--found", type=Path, default=_FOUND, help="where recordings go")
    parser.add_argument("--counters", action="store_true", help="tell all that was covered")
    parser.add_argument("--digests", action="store_true", help="print each seed's digest, only")
    parser.add_argument("--replay", type=Path, help="perform the recording in this file")
    parser.add_argument("--mutant", help="with this planted bug")
    parser.add_argument("--keep", metavar="MUTANT", help="write the regression of this bug")
    parser.add_argument("--settings", action="store_true", help="tell the first seed's settings")
    options = parser.parse_args(arguments)
    fixed: dict[str, Any] = {"mode": options.mode} if options.mode else {}
    if options.mutant:
        with MUTANTS[options.mutant]():
            return _what_was_asked(options, {**MUTANTS[options.mutant].needs, **fixed})
    return _what_was_asked(options, fixed)


def _what_was_asked(options: argparse.Namespace, fixed: dict[str, Any]) -> int:
    if options.replay:
        return _replay(options.replay)
    if options.keep:
        return _keep(options.keep, options.start, options.seeds, options.steps)
    if options.settings:
        print(draw(options.start, options.steps, **fixed))
        return 0
    if options.digests:
        total = run_some(options.start, options.seeds, options.steps, fixed)
        for seed, digest in sorted(total.digests.items()):
            print(seed, f"{digest:08x}")
        return 1 if total.failures else 0
    return _campaign(options, fixed)


class _Progress:
    """Tells of a campaign while it runs: each violation at once, the rest now and then."""

    def __init__(self, every: int | None) -> None:
        self.began = self._told_at = time.monotonic()
        self._every = every
        self._told_seeds = self._told_failures = 0

    def tell(self, total: Total) -> None:
        """Tell what is new in `total`, if it is time to."""
        now = time.monotonic()
        for seed, check, text in total.failures[self._told_failures :]:
            print(f"seed {seed} violates {check}: {text}", flush=True)
        self._told_failures = len(total.failures)
        if self._every is None:
            if now - self._told_at < _TELL_EVERY_S:
                return
        elif total.seeds // self._every == self._told_seeds // self._every:
            return
        self._told_at, self._told_seeds = now, total.seeds
        print(
            f"{total.seeds} seeds, {len(total.failures)} violations, {now - self.began:.0f} s",
            flush=True,
        )


def _seconds_left(options: argparse.Namespace) -> float | None:
    limits = [] if options.budget is None else [options.budget * 60]
    if options.until:
        now = datetime.datetime.now().astimezone()
        until = datetime.time.fromisoformat(options.until)
        limits.append((now.replace(hour=until.hour, minute=until.minute) - now).total_seconds())
    return min(limits, default=None)


def _campaign(options: argparse.Namespace, fixed: dict[str, Any]) -> int:
    # What is told of the tree is what was loaded: it may change while this runs.
    commit = git_commit()
    progress = _Progress(options.every)
    total = run_many(
        options.start,
        options.seeds,
        options.steps,
        options.jobs,
        _seconds_left(options),
        fixed,
        progress.tell,
        options.failures,
    )
    wall = time.monotonic() - progress.began
    print(
        f"commit {commit}: {total.seeds} seeds from {options.start}, {total.steps} steps, "
        f"{total.committed} entries committed, {total.answered} operations answered, "
        f"{total.sim_seconds:.0f} s simulated"
    )
    cpu = total.cpu_seconds or 1.0
    print(
        f"{wall:.1f} s on {options.jobs} processes; one core: {total.seeds / cpu:.1f} seeds/s, "
        f"{total.steps / cpu:.0f} steps/s, {total.sim_seconds / cpu:.0f} times real time"
    )
    print(f"digest of all {total.seeds} runs: {total.digest:08x}")
    if options.counters:
        for name, count in sorted(total.counters.items()):
            print(f"  {name} {count}")
    absent = missing(total.counters)
    print(f"{len(EXPECTED) - len(absent)} of {len(EXPECTED)} counters of coverage are not zero")
    if absent:
        print(f"not covered: {', '.join(absent)}")
    for number, (seed, check, text) in enumerate(total.failures):
        print(f"\ncommit {commit}, seed {seed} violates {check}: {text}")
        if number < 3:
            take_apart(seed, draw(seed, options.steps, **fixed), options.found, print)
    print(f"{len(total.failures)} violations in {total.seeds} seeds on commit {commit}")
    return 1 if total.failures else 0


def _replay(file: Path) -> int:
    recording = read(file)
    print(f"recorded: {recording.violation}")
    for line in recording.told():
        print(line)
    return 1 if recording.play() is not None else 0


def _keep(name: str, start: int, seeds: int, steps: int) -> int:
    mutant = MUTANTS[name]
    with mutant():
        for seed in range(start, start + seeds):
            if run_seed(seed, steps, **mutant.needs).violation is not None:
                settings = draw(seed, steps, **mutant.needs)
                take_apart(seed, settings, REGRESSIONS, print, mutant=name)
                return 0
    print(f"{name} was not caught within {seeds} seeds")
    return 1


if __name__ == "__main__":
    sys.exit(main())
