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
from tests.torture import disks, spaces
from tests.torture.faults import KINDS
from tests.torture.round import Round, Tally
from tests.torture.scene import Scene


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    every = {kind.name: kind for kind in [*KINDS, *spaces.kinds(), *spaces.clock_kinds()]}
    kinds = sorted({kind.kind for kind in every.values()})
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "2")))
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    parser.add_argument("--round", type=float, default=45.0, help="seconds of faults in a round")
    parser.add_argument("--faults", default="all", help=f"a list of: {', '.join(kinds)}")
    parser.add_argument(
        "--mode", choices=("auto", "loopback", "namespaces"), default="auto",
        help="auto: half of the rounds in network namespaces, where those work",
    )  # fmt: skip
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    parser.add_argument("--quiet", action="store_true", help="tell only what came of it")
    options = parser.parse_args(arguments)
    names = kinds if options.faults == "all" else options.faults.split(",")
    if unknown := set(names) - set(kinds):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}; there are: {', '.join(kinds)}")
    why_not = "" if options.mode == "loopback" else spaces.missing()
    if why_not:
        print(f"no network namespaces here, all rounds run on loopback: {why_not}")
        if options.mode == "namespaces":
            return 2
    for words in disks.unavailable():
        print(words)
    signal.signal(signal.SIGTERM, _interrupt)

    total = Tally()
    failures = 0
    seed = options.seed
    end = time.monotonic() + options.minutes * 60
    print(f"commit {_commit()}, faults {','.join(names)}, seeds from {seed}", flush=True)
    try:
        while time.monotonic() < end and failures < options.failures:
            seconds = min(options.round, max(5.0, end - time.monotonic()))
            apart = options.mode == "namespaces" or (
                options.mode == "auto" and not why_not and seed % 2 == 1
            )
            clocks = apart and "clock" in names and seed % 4 == 1 and bool(spaces.clock_kinds())
            here = spaces.clock_kinds() if clocks else spaces.kinds() if apart else KINDS
            with_clocks = spaces.ClockScene if clocks else spaces.SpaceScene
            chosen = [kind for kind in here if kind.kind in names]
            if not chosen:
                parser.error("none of these faults can be had in this mode on this machine")
            one = Round(
                seed,
                seconds,
                chosen,
                _silent if options.quiet else _tell,
                with_clocks if apart else Scene,
            )
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
