"""Many seeds: run on several processes, added up, and the first failure taken apart."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.harness.checkers import Violation
from tests.harness.mutants import lifted
from tests.harness.sim_record import RecordingWorld, Replayed, alike, record, shrink
from tests.harness.sim_run import Run, run_seed, run_settings
from tests.harness.sim_swarm import FAULTS, Settings
from tests.simulation.recordings import Recording

CHUNK = 10
"""Seeds that a process takes at a time."""
HEALINGS_TRIED = 20
"""After a storm that was recorded: what a healing draws decides whether it shows what is wrong."""
HEALINGS_MAX = 600
"""While actions are left out."""


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

    @property
    def digest(self) -> int:
        """Of all runs: two campaigns over the same seeds must have the same one."""
        return crc32(repr(sorted(self.digests.items())).encode())

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
    """Run seeds on `jobs` processes until all are done, time is over, or `failures_max` failed."""
    total = Total()
    deadline = None if seconds is None else time.monotonic() + seconds

    def chunks() -> Iterator[tuple[int, int]]:
        for start in range(first, first + count, CHUNK):
            if deadline is not None and time.monotonic() > deadline:
                return
            if 0 < failures_max <= len(total.failures):
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


def simpler(seed: int, settings: Settings, like: Violation) -> Settings:
    """Switch faults of a failing run off, and let it heal sooner, while the same check fails."""

    def still_fails(candidate: Settings) -> bool:
        violation = run_settings(seed, candidate).violation
        return violation is not None and alike(violation, like)

    for fault in FAULTS:
        faults = {name: mean for name, mean in settings.faults.items() if name != fault}
        if len(faults) < len(settings.faults):
            candidate = replace(settings, faults=faults)
            if still_fails(candidate):
                settings = candidate
    for steps in range(100, settings.steps, 100):
        candidate = replace(settings, steps=steps)
        if still_fails(candidate):
            return candidate
    return settings


def take_apart(
    seed: int,
    settings: Settings,
    directory: Path,
    say: Callable[[str], None],
    tries: int = 3000,
    mutant: str = "",
) -> Recording | None:
    """Cut a failing run down to few actions; write them to a file, and tell them."""
    violation = run_settings(seed, settings).violation
    if violation is None:
        say(f"seed {seed} does not fail when it is run again: it is not deterministic")
        return None
    settings = simpler(seed, settings, violation)
    violation = run_settings(seed, settings).violation or violation
    say(f"faults that matter: {', '.join(sorted(settings.faults)) or 'none'}")
    file = directory / f"{mutant or f'seed-{seed}'}.json"
    recording = Recording(seed, git_commit(), str(violation), settings, mutant=mutant)
    liveness = violation.check == "liveness"
    _, world = record(seed, settings, storm=liveness)
    without = lifted if mutant else None
    heal = _healing_that_fails(settings, world, violation, without) if liveness else None
    if liveness:
        # What does not happen takes a while to be seen: fewer tries, or it would take an hour.
        tries = min(tries, HEALINGS_MAX)
        for line in _standstill(seed, settings):
            say(line)
    if liveness and heal is None:
        say(f"no healing after its actions fails as it did; the settings are in {file}")
    else:
        draws = world.initial_draws
        short = shrink(settings, draws, world.steps, violation, tries, heal, without)
        recording = replace(recording, draws=draws, steps=short, heal=heal)
        say(f"{len(world.steps)} actions, {len(short)} of them enough; they are in {file}:")
        for line in recording.told():
            say(line)
    recording.write(file)
    say(f"python -m tests.simulation --replay {file}")
    return recording


def _healing_that_fails(
    settings: Settings,
    world: RecordingWorld,
    like: Violation,
    without: Callable[[], AbstractContextManager[None]] | None,
) -> int | None:
    """A number from which a healing after the recorded storm fails; None: none of the first.

    `without`: as in `shrink`.
    """
    for heal in range(HEALINGS_TRIED):
        violation = Replayed(settings, world.initial_draws, world.steps, heal=heal).violation
        if violation is None or not alike(violation, like):
            continue
        if without is None:
            return heal
        with without():
            if Replayed(settings, world.initial_draws, world.steps, heal=heal).violation is None:
                return heal
    return None


def _standstill(seed: int, settings: Settings) -> Iterator[str]:
    """How a run that does not converge looks at its end."""
    run = Run(seed, settings)
    violation = run.run().violation
    for node_id, node in sorted(run.world.nodes.items()):
        if not node.up:
            yield f"  node {node_id} is down"
            continue
        raft, log = node.raft, node.raft.raft_log
        yield (
            f"  node {node_id}: {raft.state.name} in term {raft.term}, vote {raft.vote}, leader "
            f"{raft.leader_id}, applied {log.applied}, committed {log.committed}, last "
            f"({log.last_index()}, {log.last_term()}), decided by "
            f"{sorted(raft.prs.deciding_voters())}"
        )
    yield f"  {violation}"


def jobs_by_default() -> int:
    """A process for each core."""
    return len(os.sched_getaffinity(0))
