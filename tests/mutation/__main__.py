"""Mutate the core and see which changes no test notices.

``python -m tests.mutation``, or ``make mutation``. Ends with 1 if fewer than ``--least`` percent
are killed, or one survives that `survivors.txt` does not explain.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Final

from tests.mutation.runner import (
    Coverage,
    Source,
    Tests,
    Verdict,
    judge,
    measure,
    sources,
    with_tests,
)

FILES: Final = (
    "_election.py",
    "_fields.py",
    "_membership.py",
    "_promotion.py",
    "_proposals.py",
    "_reads.py",
    "_replication.py",
    "_settings.py",
    "_transfer.py",
    "core.py",
    "log_unstable.py",
    "progress/configuration.py",
    "progress/inflights.py",
    "progress/progress.py",
    "progress/progress_set.py",
    "progress/quorum.py",
    "raft_log.py",
    "raw_node.py",
    "read_only.py",
)
LEFT_OUT: Final = {
    "Fields.__init__": "`Raft.reset` sets nearly all of it again before anything reads it",
}
LIVING: Final = ("survived", "uncovered")
EXPLAINED: Final = Path(__file__).with_name("survivors.txt")


def explained() -> dict[str, str]:
    """The survivors that are known, each with why no test can or need notice it.

    A paragraph of the file is a reason, in lines that begin with `#`, and the mutants it is for.
    """
    reasons: dict[str, str] = {}
    reason: list[str] = []
    fresh = True
    for line in EXPLAINED.read_text().splitlines():
        if line.startswith("#"):
            if not fresh:
                reason = []
            fresh = True
            reason.append(line.removeprefix("#").strip())
        elif line.strip():
            fresh = False
            reasons[line.strip()] = " ".join(reason)
        else:
            reason, fresh = [], True
    return reasons


def sample(found: list[Source], count: int, seed: int) -> list[tuple[Source, int]]:
    """Draw mutants, the same ones in the same order for the same seed and source; 0: all.

    In random order, so that what a budget allows for is a sample, too.
    """
    everything = [
        (source, index)
        for source in found
        for index, mutant in enumerate(source.mutants)
        if mutant.function not in LEFT_OUT
    ]
    return random.Random(seed).sample(everything, min(count or len(everything), len(everything)))


def main() -> int:
    """Run, print a table a file and the survivors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="of common/raft; default: those that decide")
    parser.add_argument("--count", type=int, default=0, help="mutants to draw; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing")
    parser.add_argument("--budget", type=float, default=3600, help="seconds; what is left is told")
    parser.add_argument("--least", type=float, default=90, help="percent that must be killed")
    parser.add_argument(
        "--tests",
        type=float,
        default=5,
        help="seconds of tests to run for a mutant, the quickest of those that cover it first",
    )
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    parser.add_argument(
        "--keep",
        type=Path,
        help="file for which test runs which lines; read if it is there: delete it after a change",
    )
    parser.add_argument(
        "--resume", type=Path, help="file of outcomes: mutants in it are not run again; appended to"
    )
    parser.add_argument("--known", action="store_true", help="print explained survivors too")
    options = parser.parse_args()
    return with_tests(lambda tests: run(tests, options))


def run(tests: Tests, options: argparse.Namespace) -> int:
    """Run the chosen mutants."""
    began = time.monotonic()
    found = sources(options.files or FILES)
    chosen = [
        (s, i)
        for s, i in sample(found, options.count, options.seed)
        if options.only in s.mutants[i].name
    ]
    total = len(sample(found, 0, 0))
    print(f"{total} mutants of {len(found)} files, {len(chosen)} to run, seed {options.seed}")
    covered = measured(tests, options.keep)
    print(
        f"{len(covered.seconds)} tests, measured after {time.monotonic() - began:.0f} s", flush=True
    )
    known, before = explained(), earlier(options.resume)
    verdicts: list[Verdict] = []
    for at, (source, index) in enumerate(chosen):
        mutant = source.mutants[index]
        if mutant.name in before:
            verdicts.append(Verdict(mutant, before[mutant.name]))
            continue
        if time.monotonic() - began > options.budget:
            print(f"budget spent: {len(chosen) - at} of {len(chosen)} mutants were not run")
            break
        verdict = judge(source, mutant, tests, covered, options.tests)
        verdicts.append(verdict)
        if options.resume is not None:
            with options.resume.open("a") as file:
                print(verdict.outcome, mutant.name, file=file)
        if verdict.outcome in LIVING and (options.known or mutant.name not in known):
            print(f"{verdict.outcome} :{mutant.line} {mutant.name}", flush=True)
    return report(verdicts, known, options.least, time.monotonic() - began)


def earlier(resume: Path | None) -> dict[str, str]:
    """What became of mutants in an earlier run: outcome by name."""
    if resume is None or not resume.exists():
        return {}
    pairs = [line.split(" ", 1) for line in resume.read_text().splitlines()]
    return {name: outcome for outcome, name in pairs}


def measured(tests: Tests, keep: Path | None) -> Coverage:
    """Which tests run which lines: from the file that was kept, or by running them."""
    if keep is not None and keep.exists():
        return Coverage.from_json(keep.read_text())
    covered = measure(tests)
    if keep is not None:
        keep.write_text(covered.to_json())
    return covered


def report(verdicts: list[Verdict], known: dict[str, str], least: float, seconds: float) -> int:
    """Print killed over total, by file; return the exit code."""
    verdicts = [v for v in verdicts if v.outcome != "same"]
    for file in sorted({v.mutant.file for v in verdicts}):
        of_file = [v for v in verdicts if v.mutant.file == file]
        killed = sum(v.outcome == "killed" for v in of_file)
        print(f"{file:28} {killed:5} of {len(of_file):5} killed")
    killed = sum(v.outcome == "killed" for v in verdicts)
    new = [v for v in verdicts if v.outcome != "killed" and v.mutant.name not in known]
    share = 100 * killed / max(1, len(verdicts))
    print(
        f"{killed} of {len(verdicts)} killed ({share:.1f} %), "
        f"{len(verdicts) - killed - len(new)} survivors explained, {len(new)} not, {seconds:.0f} s"
    )
    return 1 if new or share < least else 0


if __name__ == "__main__":
    sys.exit(main())
