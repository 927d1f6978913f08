"""Many seeds: run on several processes, added up, and the first failure taken apart."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.checkers import Violation
from tests.harness.sim_record import Replayed, Step, record, shrink, to_json
from tests.harness.sim_run import run_seed
from tests.harness.sim_swarm import FAULTS, Settings, draw

CHUNK = 10
"""Seeds that a process takes at a time."""


@dataclass(slots=True)
class Total:
    """What came of the seeds so far."""

    seeds: int = 0
    steps: int = 0
    committed: int = 0
    answered: int = 0
    cpu_seconds: float = 0.0
    sim_seconds: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """Seed, check and text of each violation."""
    digests: dict[int, int] = field(default_factory=dict)

    def add(self, other: Total) -> None:
        """Add what another process found."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.committed += other.committed
        self.answered += other.answered
        self.cpu_seconds += other.cpu_seconds
        self.sim_seconds += other.sim_seconds
        self.counters.update(other.counters)
        self.failures += other.failures
        self.digests |= other.digests


def run_some(first: int, count: int, steps: int, fixed: dict[str, Any]) -> Total:
    """Run seeds one after the other."""
    total = Total()
    for seed in range(first, first + count):
        started = time.process_time()
        outcome = run_seed(seed, steps, **fixed)
        total.cpu_seconds += time.process_time() - started
        total.seeds += 1
        total.steps += outcome.steps
        total.committed += outcome.committed
        total.answered += outcome.answered
        total.sim_seconds += outcome.sim_ms / 1000
        total.counters.update(outcome.counters)
        total.digests[seed] = outcome.digest
        if outcome.violation is not None:
            total.failures.append((seed, outcome.violation.check, outcome.violation.text))
    return total


def run_many(
    first: int,
    count: int,
    steps: int,
    jobs: int,
    seconds: float | None,
    fixed: dict[str, Any],
    tell: Callable[[Total], None],
    failures_max: int = 1,
) -> Total:
    """Run seeds on `jobs` processes until all are done, time is over, or too many have failed."""
    total = Total()
    deadline = None if seconds is None else time.monotonic() + seconds

    def chunks() -> Iterator[tuple[int, int]]:
        for start in range(first, first + count, CHUNK):
            if deadline is not None and time.monotonic() > deadline:
                return
            if len(total.failures) >= failures_max:
                return
            yield start, min(CHUNK, first + count - start)

    if jobs <= 1:
        for start, size in chunks():
            total.add(run_some(start, size, steps, fixed))
            tell(total)
        return total
    with ProcessPoolExecutor(jobs) as pool:
        pending: set[Future[Total]] = set()
        for start, size in chunks():
            pending.add(pool.submit(run_some, start, size, steps, fixed))
            if len(pending) >= 2 * jobs:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for one in done:
                    total.add(one.result())
                tell(total)
        for one in pending:
            total.add(one.result())
    tell(total)
    return total


def git_commit() -> str:
    """The commit of this tree, with a mark if it was changed since."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return commit + ("+changes" if git("status", "--porcelain", "--", "../..") else "")


def simpler(seed: int, steps: int, check: str, fixed: dict[str, Any], tries: int) -> Settings:
    """Switch faults of a failing seed off, one at a time, as long as the same check fails."""
    settings = draw(seed, steps, **fixed)
    for fault in FAULTS:
        if tries <= 0:
            break
        if fault not in settings.faults:
            continue
        tries -= 1
        faults = {name: mean for name, mean in settings.faults.items() if name != fault}
        violation = run_seed(seed, steps, **{**fixed, "faults": faults}).violation
        if violation is not None and violation.check == check:
            settings.faults = faults
            fixed = {**fixed, "faults": faults}
    return settings


def take_apart(
    seed: int,
    steps: int,
    fixed: dict[str, Any],
    directory: Path,
    say: Callable[[str], None],
    tries: int = 3000,
) -> None:
    """Cut a failing seed down to few actions; write them to a file, and tell them."""
    outcome = run_seed(seed, steps, **fixed)
    violation = outcome.violation
    if violation is None:
        say(f"seed {seed} does not fail when it is run again: it is not deterministic")
        return
    settings = simpler(seed, steps, violation.check, fixed, 20)
    say(f"faults that matter: {', '.join(sorted(settings.faults)) or 'none'}")
    if violation.check == "liveness":
        say("what does not happen cannot be cut down to actions: run the seed to look at it")
        return
    _, world = record(seed, settings)
    short = shrink(settings, world.initial_draws, world.steps, violation.check, tries)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"seed-{seed}.json"
    file.write_text(
        to_json(seed, git_commit(), settings, world.initial_draws, short, str(violation))
    )
    say(f"{len(world.steps)} actions, {len(short)} of them enough; they are in {file}:")
    for line in told(settings, world.initial_draws, short):
        say(line)
    say(f"python -m tests.simulation --replay {file}")


def told(settings: Settings, draws: list[int], steps: list[Step]) -> Iterator[str]:
    """The actions of a recording in words, and how they end."""
    lines: list[str] = []
    replayed = Replayed(settings, draws, steps, lines.append)
    previous, times = "", 0
    for line in [*lines, ""]:
        if line == previous:
            times += 1
            continue
        if previous:
            yield f"  {previous}" + (f" ({times} times)" if times > 1 else "")
        previous, times = line, 1
    yield f"  {replayed.violation or 'nothing is wrong any more'}"


def jobs_by_default() -> int:
    """A process for each core."""
    return len(os.sched_getaffinity(0))


__all__ = ["Total", "Violation", "run_many", "run_some", "take_apart", "told"]
