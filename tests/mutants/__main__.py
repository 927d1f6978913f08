"""Plant each known bug, run seeds until a check sees it, and print a table.

``python -m tests.mutants``, or ``make mutants``; names as arguments plant only"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.harness.mutants import MUTANTS
from tests.mutants.hunting import (
    FAMILIES,
    Verdict,
    family,
    harmless,
    hunt,
    hunt_with_detangle,
    seen_by_clients,
    to_be_caught,
)
from tests.simulation.campaign import git_commit


def main(arguments: list[str] | None = None) -> int:
    """Hunt; 1 if a mutant was not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to plant; default: all")
    parser.add_argument("--seeds", type=int, default=2000, help="to try at most, for each")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=("detangle",), help="judge by this alone")
    parser.add_argument("--text", action="store_true", help="print what the check says")
    options = parser.parse_args(arguments)
    alone = options.only is not None
    names = options.names or (seen_by_clients() if alone else to_be_caught())
    looking = hunt_with_detangle if alone else hunt
    print(f"commit {git_commit()}")
    print(f"{'family':8} {'mutant':54} {'caught by':15} {'seed':>6} {'tried':>7} {'core s':>7}")
    verdicts: list[Verdict] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        running = [pool.submit(looking, name, options.start, options.seeds) for name in names]
        for future in running:
            verdict = future.result()
            verdicts.append(verdict)
            seed = str(verdict.seed) if verdict.seed >= 0 else "-"
            print(
                f"{family(MUTANTS[verdict.name]):8} {verdict.name:54} "
                f"{verdict.check or 'NOT CAUGHT':15} {seed:>6} {verdict.tried:>7} "
                f"{verdict.seconds:>7.1f}",
                flush=True,
            )
            if options.text and verdict.caught:
                print(f"         {verdict.text}")
    return _sum_up(verdicts)


def _sum_up(verdicts: list[Verdict]) -> int:
    survivors = [verdict.name for verdict in verdicts if not verdict.caught]
    planted = {MUTANTS[verdict.name].number for verdict in verdicts} & set(FAMILIES)
    missed = {MUTANTS[name].number for name in survivors}
    tried = [verdict.tried for verdict in verdicts if verdict.seed >= 0]
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} mutants caught")
    print(f"{len(planted - missed)} of {len(planted)} families caught, all members of each")
    if tried:
        print(f"seeds to catch one: median {statistics.median(tried):g}, most {max(tried)}")
    print(f"planted and harmless, as argued where they are defined: {', '.join(harmless())}")
    if survivors:
        print(f"not caught: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
