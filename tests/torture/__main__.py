"""Torture real daemons: ``python -m tests.torture --minutes 5``; or ``make torture``.

Each round is a new group, drawn from its seed together with its schedule of faults. After each the
summary of all is written to a file. A round that fails prints its seed and what went wrong, and its
remains are kept. SIGTERM or Ctrl-C ends the faults of the round that runs, which is judged and
counted still; a second one ends all at once.
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
from pathlib import Path
from signal import SIGINT, SIGTERM
from threading import Event
from types import FrameType

from tests.simulation.campaign import git_commit
from tests.torture import disks, power, spaces
from tests.torture.faults import Fault
from tests.torture.kinds import KINDS
from tests.torture.round import Round
from tests.torture.scene import Scene
from tests.torture.summary import Summary


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something did not hold."""
    every = [*KINDS, *spaces.kinds(), *spaces.clock_kinds(), *power.kinds()]
    kinds = sorted({kind.kind for kind in every})
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=float(os.environ.get("MINUTES", "2")),
        help="of faults; what it takes to begin and judge rounds comes on top, about a quarter",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    parser.add_argument("--round", type=float, default=45.0, help="seconds of faults in a round")
    parser.add_argument("--faults", default="all", help=f"a list of: {', '.join(kinds)}")
    parser.add_argument(
        "--mode", choices=("auto", "loopback", "namespaces", "power"), default="auto",
        help="where a round runs; auto: in turn on loopback, in network namespaces, with clocks "
        "that jump and with disks that forget, as far as this machine can",
    )  # fmt: skip
    parser.add_argument("--failures", type=int, default=3, help="stop after so many")
    parser.add_argument("--quiet", action="store_true", help="tell only what came of it")
    parser.add_argument(
        "--folder", type=Path, default=Path("torture-run"),
        help="where summaries go, and what is left of rounds that fail",
    )  # fmt: skip
    parser.add_argument(
        "--resume", type=Path, metavar="FILE",
        help="a summary of this commit to go on from: its minutes, counts and seeds",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    names = kinds if options.faults == "all" else options.faults.split(",")
    if unknown := set(names) - set(kinds):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}; there are: {', '.join(kinds)}")
    offered = list(stages(options.mode, names))
    if not offered:
        print(f"none of these faults can be had in mode {options.mode} on this machine")
        return 2
    run = Summary(_commit(), names, options.mode, options.seed)
    path = options.resume or options.folder / f"{options.seed}.json"
    if options.resume:
        try:
            run.resume(options.resume)
        except (OSError, ValueError, KeyError) as error:
            parser.error(f"cannot go on from {options.resume}: {error}")
    stop = Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        print("stopping; once more: at once", flush=True)
        stop.set()

    before = {number: signal.signal(number, interrupt) for number in (SIGTERM, SIGINT)}
    tell = _silent if options.quiet else _tell
    print(f"commit {run.commit}, faults {','.join(names)}, seeds from {run.next_seed}", flush=True)
    run.write(path)
    try:
        while not stop.is_set() and len(run.failed) < options.failures:
            left = options.minutes * 60 - run.tally.seconds
            if left <= 0:
                break
            seed = run.next_seed
            make, chosen = offered[seed % len(offered)]
            remains = options.folder / f"failed-{seed}"
            one = Round(seed, min(options.round, max(5.0, left)), chosen, tell, make, remains, stop)
            try:
                run.tally.add(one.run())
            except Exception as error:
                run.failed.append(f"seed {seed} failed: {type(error).__name__}: {error}; {remains}")
                print(f"seed {seed} FAILED", flush=True)
                traceback.print_exc(file=sys.stdout)
            run.next_seed += 1
            run.write(path)
    except KeyboardInterrupt:
        print(f"the round of seed {run.next_seed} was given up, and is not counted")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for line in run.lines():
        print(line)
    print(f"summary: {path}", flush=True)
    return 1 if run.failed or not run.tally.rounds else 0


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


if __name__ == "__main__":
    sys.exit(main())
