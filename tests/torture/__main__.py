"""Torture real daemons: ``python -m tests.torture --minutes 5``; or ``make torture``.

Each round is a new group, drawn from its seed together with its schedule of faults. A round that
fails prints its seed and what it did; its folder is kept if asked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import traceback
from types import FrameType

from tests.simulation.campaign import git_commit
from tests.torture.faults import KINDS
from tests.torture.round import Round, Tally


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    kinds = sorted({kind.kind for kind in KINDS})
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "2")))
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    parser.add_argument("--round", type=float, default=45.0, help="seconds of faults in a round")
    parser.add_argument("--faults", default="all", help=f"a list of: {', '.join(kinds)}")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    parser.add_argument("--quiet", action="store_true", help="tell only what came of it")
    options = parser.parse_args(arguments)
    names = kinds if options.faults == "all" else options.faults.split(",")
    if unknown := set(names) - set(kinds):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}; there are: {', '.join(kinds)}")
    chosen = [kind for kind in KINDS if kind.kind in names]
    signal.signal(signal.SIGTERM, _interrupt)

    total = Tally()
    failures = 0
    seed = options.seed
    end = time.monotonic() + options.minutes * 60
    print(f"commit {_commit()}, faults {','.join(names)}, seeds from {seed}", flush=True)
    try:
        while time.monotonic() < end and failures < options.failures:
            seconds = min(options.round, max(5.0, end - time.monotonic()))
            one = Round(seed, seconds, chosen, _silent if options.quiet else _tell)
            try:
                total.add(one.run())
            except Exception:
                failures += 1
                total.add(one.tally)
                print(f"seed {seed} FAILED", flush=True)
                traceback.print_exc(file=sys.stdout)
            seed += 1
    except KeyboardInterrupt:
        print("interrupted")
    for line in total.lines():
        print(line)
    print(f"{failures} rounds failed" if failures else "nothing lost, doubled or stale", flush=True)
    return 1 if failures else 0


def _commit() -> str:
    """Return the commit, and whether the tree is as it says."""
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "raftd", "common"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return git_commit() + (" with changes not committed" if changed.strip() else "")


def _tell(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    del line


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
