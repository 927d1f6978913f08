"""`python -m tests.bench`: measures raftd, beside etcd in the same minutes where it is installed.

Ratios are what counts: other work on the machine, its disk and its clock move all figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.bench import cases, core, etcd, overload, report
from tests.bench.load import Load
from tests.bench.machine import BenchError, scratch

_ALL: Final = ("core", "load", "status", "failover", "overload", "start-up", "snapshot")
_ENTRIES: Final = 200_000
_GIGABYTES: Final = 0.2
_LENGTHS: Final = "1000,100000"
_QUICK: Final = ("core", "load", "status", "failover", "overload")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure three raftd on this machine, beside etcd where it is installed.",
    )
    parser.add_argument(
        "what", nargs="*", metavar="CASE",
        help=f"any of {', '.join(_ALL)}, or single loads: "
        f"{', '.join(case.name for case in cases.LOAD_CASES)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help=f"a first impression: short runs, and of the cases only {', '.join(_QUICK)}",
    )  # fmt: skip
    parser.add_argument("--no-etcd", action="store_true", help="raftd alone")
    parser.add_argument("--rounds", type=int, default=0, help="runs of each load; default 3")
    parser.add_argument("--seconds", type=float, default=0, help="of each load; default 5")
    parser.add_argument("--failovers", type=int, default=0, help="leaders killed; default 15")
    parser.add_argument(
        "--large", action="store_true",
        help="a million entries to start with, a snapshot of 1 GB, logs of ten million entries",
    )  # fmt: skip
    parser.add_argument(
        "--entries", type=int, default=0,
        help=f"of the start-up case; default {_ENTRIES:,}, with --large 1,000,000",
    )  # fmt: skip
    parser.add_argument(
        "--gigabytes", type=float, default=0,
        help=f"of the snapshot case; default {_GIGABYTES:g}, with --large 1",
    )  # fmt: skip
    parser.add_argument(
        "--lengths", default="", help=f"logs of the core case, in entries; default {_LENGTHS}"
    )
    parser.add_argument(
        "--random-values", action="store_true",
        help="values that cannot be compressed, instead of one letter repeated",
    )  # fmt: skip
    parser.add_argument(
        "--unsafe-no-fsync", action="store_true",
        help="run raftd without fsync: not comparable, and it loses data on a power cut",
    )  # fmt: skip
    parser.add_argument("--folder", metavar="DIR", help="on which disk; default: that of /tmp")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as the README has it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument(
        "--against", type=Path, metavar="FILE",
        help="also say which figures agree with those that an earlier run wrote, within the noise",
    )  # fmt: skip
    return parser.parse_args()


def _say(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _place(folder: Path, case: str) -> Iterator[Path]:
    """Where a case keeps its data, which goes with it: the next one needs the disk."""
    place = folder / case
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _core(quick: bool, lengths: list[int], with_etcd: bool) -> dict[str, Any]:
    count = 6_400 if quick else 32_000
    lengths = [length for length in lengths if not quick or length <= 100_000]
    _say("core")
    found: dict[str, Any] = {
        "modes": core.modes(count),
        "members": core.by_members(count),
        "length": core.by_length(lengths, count),
        "backlog": core.by_backlog(lengths, count),
    }
    if with_etcd:
        found["etcd"] = {k: round(v, 2) for k, v in etcd.core(5 * count).items()}
    return found


def _run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    quick: bool = arguments.quick
    seconds: float = arguments.seconds or (1.5 if quick else 5.0)
    rounds: int = arguments.rounds or (1 if quick else 3)
    missing = etcd.missing()
    with_etcd = not missing and not arguments.no_etcd
    if missing and not arguments.no_etcd:
        print(f"etcd is left out: install {missing}", file=sys.stderr)
    names: list[str] = arguments.what or list(_QUICK if quick else _ALL)
    known = {case.name: case for case in cases.LOAD_CASES}
    if unknown := [name for name in names if name not in known and name not in _ALL]:
        raise BenchError(f"unknown: {', '.join(unknown)}; see --help")
    loads = (
        tuple(known.values()) if "load" in names else tuple(known[n] for n in names if n in known)
    )
    options = ["--fsync", "unsafe-never"] if arguments.unsafe_no_fsync else []

    large: bool = arguments.large
    entries: int = arguments.entries or (1_000_000 if large else _ENTRIES)
    gigabytes: float = arguments.gigabytes or (1.0 if large else _GIGABYTES)
    lengths = arguments.lengths or (_LENGTHS + ",1000000,10000000" if large else _LENGTHS)

    results: dict[str, Any] = {"machine": report.machine()}
    if options:
        results["machine"]["fsync"] = "off: not comparable"
        print("fsync is off: these figures are not comparable with etcd's", file=sys.stderr)
    load = Load()
    if loads:
        plan = cases.Plan(seconds, rounds, with_etcd, arguments.random_values, tuple(options))
        with _place(folder, "load") as place:
            found, memory = cases.compare(place, load, loads, plan, _say)
        results["load"], results["memory_mb"] = report.compared(found), memory
    if "core" in names:
        results["core"] = _core(quick, [int(n) for n in lengths.split(",")], with_etcd)
    if "status" in names:
        with _place(folder, "status") as place:
            results["status"] = cases.status_time(place, with_etcd, 5 if quick else 15)
    if "failover" in names:
        count = arguments.failovers or (5 if quick else 15)
        with _place(folder, "failover") as place:
            results["failover"] = cases.failover(place, count, _say)
    if "overload" in names:
        with _place(folder, "overload") as place:
            grown = overload.KEYS if quick else overload.GROWN
            results["overload"] = overload.overload(place, load, seconds, _say, grown)
    if "start-up" in names:
        with _place(folder, "start-up") as place:
            results["start_up"] = cases.start_up(place, load, entries, _say)
    if "snapshot" in names:
        with _place(folder, "snapshot") as place:
            results["snapshot"] = cases.snapshot(place, load, gigabytes, _say)
    return results


def _asked() -> list[str]:
    return [f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else []


def main() -> int:
    """Run what the command line asks for; print a table, and JSON on demand."""
    arguments = _arguments()
    try:
        # Read first: it may be the file that --json writes.
        earlier = json.loads(arguments.against.read_bytes()) if arguments.against else None
    except (OSError, ValueError) as error:
        print(f"bench: {arguments.against} cannot be read: {error}", file=sys.stderr)
        return 2
    try:
        with scratch(arguments.folder) as folder:
            results = _run(arguments, folder)
    except BenchError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        _say("")
    if arguments.markdown:
        print(report.markdown(results, " ".join(["make bench", *_asked()])))
    else:
        print(report.text(results))
    if earlier is not None:
        print(f"\n{report.against(results, earlier)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
