"""Feed damaged bytes to whatever reads bytes: ``python -m tests.fuzz``; or ``make fuzz``.

What is found is told once per kind, cut down, and kept in the corpus, from where the normal suite
feeds it again. With ``--engine atheris`` (where that is installed) one target is fuzzed by coverage
until it is interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
import traceback

from tests.fuzz.campaign import keep, run
from tests.fuzz.targets import CORPUS, TARGETS, Target
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
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    options = parser.parse_args(arguments)
    chosen = names if options.targets == "all" else options.targets.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"no such targets: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    targets = [target for target in TARGETS if target.name in chosen]
    if options.engine == "atheris":
        return _atheris(targets[0], options.seconds, options.seed)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: damage is drawn without looking at coverage")
    print(f"commit {git_commit()}, seed {options.seed}", flush=True)
    found = 0
    for make in targets:
        target = make()
        try:
            outcome = run(target, options.seconds, options.seed)
        finally:
            target.close()
        print(outcome.line(), flush=True)
        for data, error in outcome.findings:
            found += 1
            print(f"--- kept as {keep(target.name, data)}: {data[:200]!r}")
            traceback.print_exception(error, limit=-4, file=sys.stdout)
    print(f"{found} findings" if found else "nothing escaped")
    return 1 if found else 0


def _atheris(make: type[Target], seconds: float, seed: int) -> int:
    """Fuzz one target by coverage; returns only if atheris is not here."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; leave out --engine to go on without it")
        return 2
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    target = make()
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={int(seconds)}", f"-seed={seed % 2**31}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *flags, str(folder)], target.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
