"""Runs targets: seeds and corpus first, then damage for as long as there is time."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.targets import CORPUS, Target, inputs

_SMALL: Final = 256
"""Bytes of an input that may be kept for where it leads."""


@dataclass
class Outcome:
    """What came of one target."""

    name: str
    executions: int = 0
    taken: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[tuple[bytes, BaseException]] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    """Each finding's kind, so that one fault is told once."""
    places: int = 0
    """By coverage: how many places in the tested code were reached."""

    def line(self) -> str:
        """Tell it."""
        rate = self.executions / self.seconds if self.seconds else 0.0
        what = f"{self.taken} taken, {self.refused} refused"
        if self.places:
            what = f"by coverage, {self.places} places"
        return (
            f"{self.name}: {self.executions} executions in {self.seconds:.0f} s ({rate:.0f}/s), "
            f"{what}, {len(self.findings)} findings"
        )


def run(target: Target, seconds: float, seed: int, most: int = 10) -> Outcome:
    """Feed a target.

    Args:
        target: Closed by the caller.
        seconds: How long.
        seed: Of the damage.
        most: Kinds of findings after which it ends.
    """
    outcome = Outcome(target.name)
    rng = random.Random(f"{target.name} {seed}")
    pool = target.seeds() + target.kept()
    began = time.monotonic()
    for data in pool:
        _try(target, data, outcome)
    while time.monotonic() - began < seconds and len(outcome.findings) < most:
        _try(target, inputs(target, rng, pool), outcome)
    outcome.seconds = time.monotonic() - began
    outcome.taken, outcome.refused = target.taken, target.refused
    return outcome


def run_by_coverage(target: Target, seconds: float, seed: int, grow: int = 0) -> Outcome:
    """Have atheris feed a target, in a process of its own.

    Args:
        target: Feeds what is found once more, to tell what it is.
        seconds: How long.
        seed: Of the damage.
        grow: So many small inputs that led to new places go into the corpus.

    Raises:
        RuntimeError: It did not fuzz, and found nothing either.
    """
    outcome = Outcome(target.name, seconds=seconds)
    with tempfile.TemporaryDirectory(prefix="raftd-fuzz-") as folder:
        flags = [f"-max_total_time={int(seconds)}", f"-seed={seed % 2**31}", "-max_len=4096"]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.by_coverage", folder, target.name, *flags],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        for path in sorted(Path(folder).glob("*-*")):
            # What libFuzzer calls a crash, a timeout or a leak.
            _try(target, path.read_bytes(), outcome)
            if not outcome.findings:
                error = RuntimeError(f"{path.name}, not seen again here: {done.stderr[-2000:]}")
                outcome.findings.append((path.read_bytes(), error))
        runs = re.findall(r"^(?:Done|stat::number_of_executed_units:) (\d+)", done.stderr, re.M)
        if not runs and not outcome.findings:
            raise RuntimeError(f"atheris ended with {done.returncode}: {done.stderr[-2000:]}")
        outcome.executions = int(runs[-1]) if runs else 0
        outcome.places = max(map(int, re.findall(r"cov: (\d+)", done.stderr)), default=0)
        # What was found last was hardest to come by.
        new = sorted(Path(folder, "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        small = [path.read_bytes() for path in new if path.stat().st_size <= _SMALL]
        for data in small[len(small) - grow :] if grow else ():
            keep(target.name, data)
    return outcome


def _try(target: Target, data: bytes, outcome: Outcome) -> None:
    outcome.executions += 1
    try:
        target.run(data)
    except Exception as error:
        kind = kind_of(error)
        if kind not in outcome.kinds:
            outcome.kinds.add(kind)
            outcome.findings.append((shrunk(target, data, kind), error))


def kind_of(error: BaseException) -> str:
    """Return where something was raised, and what."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {where}"


def shrunk(target: Target, data: bytes, kind: str, most: int = 400) -> bytes:
    """Return fewer bytes that make the same happen."""
    tries = 0
    size = max(1, len(data) // 2)
    while size and tries < most:
        at = 0
        while at < len(data) and tries < most:
            tries += 1
            shorter = data[:at] + data[at + size :]
            if _kind(target, shorter) == kind:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _kind(target: Target, data: bytes) -> str:
    try:
        target.run(data)
    except Exception as error:
        return kind_of(error)
    return ""


def keep(name: str, data: bytes) -> str:
    """Put bytes into the corpus; return where."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return str(path)
