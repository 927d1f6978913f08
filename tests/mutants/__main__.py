"""Plant each known bug, run seeds until a check sees it, and print a table.

``python -m tests.mutants``, or ``make mutants``; names as arguments plant only those.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import tests.harness.mutants_found
import tests.harness.mutants_raft
from tests.harness.mutants import MUTANTS
from tests.harness.sim_run import run_seed

assert tests.harness.mutants_raft
assert tests.harness.mutants_found  # Imported for what they register.


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: caught by which check, at which of the seeds tried, how soon."""

    name: str
    check: str
    seed: int
    tried: int
    seconds: float
    text: str

    @property
    def caught(self) -> bool:
        """Whether some check saw it."""
        return bool(self.check)


def hunt(name: str, start: int, seeds: int, steps: int = 2000) -> Verdict:
    """Run seeds with a mutant planted until something is violated."""
    mutant = MUTANTS[name]
    began = time.process_time()
    with mutant():
        for seed in range(start, start + seeds):
            violation = run_seed(seed, steps, **mutant.needs).violation
            if violation is not None:
                return Verdict(
                    name,
                    violation.check,
                    seed,
                    seed - start + 1,
                    time.process_time() - began,
                    violation.text,
                )
    return Verdict(name, "", 0, seeds, time.process_time() - began, "")


def simulated() -> list[str]:
    """Names of the mutants that the simulator is to catch, by number."""
    names = [name for name, mutant in MUTANTS.items() if mutant.number or name == "canary"]
    return sorted(names, key=lambda name: (MUTANTS[name].number, name))


def main(arguments: list[str] | None = None) -> int:
    """Hunt; 1 if a mutant was not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to plant; default: all")
    parser.add_argument("--seeds", type=int, default=2000, help="to try at most, for each")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--text", action="store_true", help="print what the check says")
    options = parser.parse_args(arguments)
    names = options.names or simulated()
    print(f"{'#':>2}  {'mutant':34} {'caught by':16} {'seed':>6} {'tried':>6}  expected")
    survivors = []
    with ProcessPoolExecutor(options.jobs) as pool:
        verdicts = [pool.submit(hunt, name, options.start, options.seeds) for name in names]
        for future in verdicts:
            verdict = future.result()
            mutant = MUTANTS[verdict.name]
            check = verdict.check or "NOT CAUGHT"
            print(
                f"{mutant.number or '':>2}  {verdict.name:34} {check:16} "
                f"{verdict.seed if verdict.caught else '':>6} {verdict.tried:>6}  "
                f"{' '.join(mutant.caught_by)}",
                flush=True,
            )
            if options.text and verdict.caught:
                print(f"      {verdict.text}")
            if not verdict.caught:
                survivors.append(verdict.name)
    numbers = {MUTANTS[name].number for name in names if MUTANTS[name].number}
    missed = {MUTANTS[name].number for name in survivors}
    print(
        f"{len(names) - len(survivors)} of {len(names)} mutants caught; "
        f"of {len(numbers)} families {len(numbers - missed)} whole"
    )
    if survivors:
        print(f"not caught: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
