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
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from tests.simulation.campaign import git_commit
from tests.torture import disks, power, spaces
from tests.torture.faults import KINDS, Fault
from tests.torture.round import Round, Tally
from tests.torture.scene import Scene


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    every = [*KINDS, *spaces.kinds(), *spaces.clock_kinds(), *power.kinds()]
    kinds = sorted({kind.kind for kind in every})
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "2")))
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    parser.add_argument("--round", type=float, default=45.0, help="seconds of faults in a round")
    parser.add_argument("--faults", default="all", help=f"a list of: {', '.join(kinds)}")
    parser.add_argument(
        "--mode", choices=("auto", "loopback", "namespaces", "power"), default="auto",
        help="where a round runs; auto: in turn on loopback, in network namespaces, with clocks "
        "that jump and with disks that forget, as far as this machine can",
    )  # fmt: skip
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    parser.add_argument("--quiet", action="store_true", help="tell only what came of it")
    options = parser.parse_args(arguments)
    names = kinds if options.faults == "all" else options.faults.split(",")
    if unknown := set(names) - set(kinds):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}; there are: {', '.join(kinds)}")
    offered = list(stages(options.mode, names))
    if not offered:
        print(f"none of these faults can be had in mode {options.mode} on this machine")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)

    total = Tally()
    failures = 0
    seed = options.seed
    end = time.monotonic() + options.minutes * 60
    print(f"commit {_commit()}, faults {','.join(names)}, seeds from {seed}", flush=True)
    try:
        while time.monotonic() < end and failures < options.failures:
            seconds = min(options.round, max(5.0, end - time.monotonic()))
            make, chosen = offered[seed % len(offered)]
            tell = _silent if options.quiet else _tell
            one = Round(seed, seconds, chosen, tell, make)
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


def stages(
    mode: str, names: Iterable[str]
) -> Iterator[tuple[Callable[..., Scene], list[type[Fault]]]]:
    """Yield what rounds there can be: the scene, and those of the faults named that it allows.

    Says what the machine lacks for the others.
    """
    no_spaces, no_power = spaces.missing(), power.missing()
    if mode in ("auto", "namespaces"):
        if no_spaces:
            print(f"no network namespaces: {no_spaces}")
        for words in disks.unavailable():
            print(words)
    if mode in ("auto", "power") and no_power:
        print(f"no power cuts: {no_power}")
    there: list[tuple[str, str, Callable[..., Scene], Iterable[type[Fault]]]] = [
        ("loopback", "", Scene, KINDS),
    ]
    if not no_spaces:
        there += [
            ("namespaces", "", spaces.SpaceScene, spaces.kinds()),
            ("namespaces", "clock", spaces.ClockScene, spaces.clock_kinds()),
        ]
    if not no_power:
        there.append(("power", "power", power.PowerScene, power.kinds()))
    for where, needed, make, kinds in there:
        chosen = [kind for kind in kinds if kind.kind in names]
        own = not needed or any(kind.kind == needed for kind in chosen)
        if mode in ("auto", where) and chosen and own:
            yield make, chosen


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
