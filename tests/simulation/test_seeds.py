"""The simulator in every run of the tests: old failures, fresh seeds, coverage, determinism.

Fresh seeds are drawn from the date, so each day's runs are others; SEEDS and START in the
environment say otherwise. What is printed for a failure replays it: see `tests.simulation`.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import tests.harness.mutants_found
import tests.harness.mutants_raft
from tests.harness.mutants import MUTANTS
from tests.harness.sim_swarm import draw
from tests.simulation.campaign import Total, run_some, take_apart
from tests.simulation.coverage_counters import focus, missing
from tests.simulation.recordings import REGRESSIONS, read

assert tests.harness.mutants_raft
assert tests.harness.mutants_found  # Imported for what they register.

SEEDS: Final = int(os.environ.get("SEEDS", "500"))
START: Final = int(os.environ.get("START", datetime.date.today().strftime("%Y%m%d000")))  # noqa: DTZ011  # Any day will do.
STEPS: Final = 2000
FOCUSED_MAX: Final = 60
"""Seeds that may be spent on what the fresh ones have not met, for each such counter."""

# A tenth of a second of CPU a seed, on machines where many others want it too.
pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize("file", sorted(REGRESSIONS.glob("*.json")), ids=lambda file: file.stem)
def test_what_was_found_once_is_not_there_any_more(file: Path) -> None:
    recording = read(file)
    assert recording.play() is None
    if recording.mutant:
        with MUTANTS[recording.mutant]():
            violation = recording.play()
        # Else the recording has lost its meaning: `--keep` makes another.
        assert violation is not None
        assert violation.check == recording.check


@pytest.fixture(scope="module")
def campaign() -> Total:
    """The fresh seeds."""
    print(f"simulation: {SEEDS} seeds from {START}")
    return run_some(START, SEEDS, STEPS, {})


def test_fresh_seeds_violate_nothing(campaign: Total, tmp_path: Path) -> None:
    for seed, check, text in campaign.failures[:1]:
        print(f"seed {seed} violates {check}: {text}")
        take_apart(seed, draw(seed, STEPS), tmp_path, print)
    assert not campaign.failures
    assert campaign.committed > 10 * campaign.seeds
    assert campaign.answered > 10 * campaign.seeds


def test_fresh_seeds_meet_everything(campaign: Total) -> None:
    # What is rare is looked for where it is less so, or this would fail by chance.
    start = START + SEEDS
    for counter in missing(campaign.counters):
        for first in range(start, start + FOCUSED_MAX, 5):
            if campaign.counters[counter]:
                break
            more = run_some(first, 5, STEPS, focus(counter))
            assert not more.failures
            campaign.counters.update(more.counters)
    assert not missing(campaign.counters)


def test_a_seed_is_the_same_run_whatever_the_order_of_hashes() -> None:
    runs = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.simulation", "--digests"]
        command += ["--start", str(START), "--seeds", "24"]
        runs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    first, second = (run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(first.splitlines()) == 24
    assert first == second
