"""Feed damaged bytes to whatever reads bytes: ``python -m tests.fuzz``; or ``make fuzz``.

What is found is told once per kind, cut down, and kept in the corpus, from where the normal suite
feeds it again. Where atheris is installed (``pip install atheris``; it is no dependency, because
there are wheels for few versions of Python), half of the time goes to it: it draws damage by what
the bytes made the code do.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import traceback

from tests.fuzz.campaign import keep, run, run_by_coverage
from tests.fuzz.targets import TARGETS
from tests.simulation.campaign import git_commit


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something was found."""
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=float(os.environ.get("SECONDS_EACH", "30")),
        help="for each target",
    )  # fmt: skip
    parser.add_argument("--targets", default="all", help=f"a list of: {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--engine", choices=("auto", "own", "atheris"), default="auto",
        help="auto: half of the time each, if atheris is installed",
    )  # fmt: skip
    parser.add_argument(
        "--grow", type=int, default=0, metavar="N",
        help="keep up to N small inputs a target that led atheris to new places",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    chosen = names if options.targets == "all" else options.targets.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"no such targets: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    targets = [target for target in TARGETS if target.name in chosen]
    here = importlib.util.find_spec("atheris") is not None
    engines = ["own", "atheris"] if options.engine == "auto" else [options.engine]
    if not here:
        print("atheris is not installed: no damage is drawn by coverage")
        engines = [engine for engine in engines if engine != "atheris"]
        if not engines:
            return 2
    seconds = options.seconds / len(engines)
    print(f"commit {git_commit()}, seed {options.seed}", flush=True)
    found = 0
    for make in targets:
        target = make()
        try:
            for engine in engines:
                if engine == "own":
                    outcome = run(target, seconds, options.seed)
                else:
                    outcome = run_by_coverage(target, seconds, options.seed, options.grow)
                print(outcome.line(), flush=True)
                for data, error in outcome.findings:
                    found += 1
                    print(f"--- kept as {keep(target.name, data)}: {data[:200]!r}")
                    traceback.print_exception(error, limit=-4, file=sys.stdout)
        finally:
            target.close()
    print(f"{found} findings" if found else "nothing escaped")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
