"""Run the whole search, or some of it: ``python -m tests.search [SCENARIO ...]``."""

from __future__ import annotations

import argparse
import gc
import sys
import time

from tests.search.scenarios import SCENARIOS


def search(names: list[str], states: int | None, verbose: bool) -> int:
    """Run scenarios; return how many went wrong."""
    failed = total = 0
    begun = time.monotonic()
    for scenario in SCENARIOS:
        if names and scenario.name not in names:
            continue
        print(f"{scenario.name}: {scenario.what}", flush=True)
        report = scenario.run(
            states, progress=(lambda one: print(f"    {one}", flush=True)) if verbose else None
        )
        total += report.states
        print(f"  {report}")
        for name, depth in report.seen.items():
            print(f"    after {depth:2} events first: {name}")
        # With a smaller bound than its own a scenario need not come by all that it should.
        wrong = scenario.judge(report) if states is None or report.found else []
        for line in wrong:
            print(f"  WRONG: {line}")
        failed += bool(wrong)
        gc.collect()
    seconds = time.monotonic() - begun
    print(f"{total:,} states in {seconds:.0f} s, {failed} scenarios went wrong")
    return failed


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.search", description=search.__doc__)
    parser.add_argument("names", nargs="*", help="of scenarios; all of them")
    parser.add_argument("--states", type=int, help="bound each scenario to so many states")
    parser.add_argument("--verbose", action="store_true", help="tell of each further event")
    arguments = parser.parse_args()
    return 1 if search(arguments.names, arguments.states, arguments.verbose) else 0


if __name__ == "__main__":
    sys.exit(main())
