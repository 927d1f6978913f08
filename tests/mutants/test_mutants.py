"""That planted bugs are caught: twelve quick ones here, all of them by `make mutants`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.harness.mutants import MUTANTS, Mutant, find_function
from tests.harness.sim_run import run_seed
from tests.mutants.hunting import (
    FAMILIES,
    detangle_alone,
    harmless,
    hunt,
    hunt_with_detangle,
    seen_by_clients,
    to_be_caught,
)
from tests.simulation.__main__ import main as simulate

pytestmark = pytest.mark.timeout(600)

QUICK: Final = (
    # Name, the seed at which it was caught, and by which check.
    ("vote-not-stored", 0, "I8"),
    ("half-is-a-quorum", 0, "I1"),
    ("older-term-committed-by-counting", 2, "I7"),
    ("conflict-kept", 3, "I3"),
    ("vote-without-log-check", 3, "I4"),
    ("uncommitted-applied", 0, "I5"),
    ("commit-goes-back", 0, "I6"),
    ("match-goes-back", 1, "I9"),
    ("joint-by-union", 2, "I10"),
    ("read-before-applied", 3, "I11"),
    ("result-not-remembered", 2, "I12"),
    ("snapshot-without-data", 2, "I13"),
    ("hand-over-to-a-laggard", 0, "I14"),
    ("window-not-freed", 2, "liveness"),
)
"""One for each invariant that has one of its own, and two more."""
NEIGHBOURS: Final = 25
"""Seeds tried from the stored one on: a change of the schedule moves what a seed shows."""


@pytest.mark.parametrize(("name", "seed", "check"), QUICK, ids=[one[0] for one in QUICK])
def test_a_planted_bug_is_caught(name: str, seed: int, check: str) -> None:
    verdict = hunt(name, seed, NEIGHBOURS)
    assert verdict.caught
    assert verdict.check in {check, *MUTANTS[name].caught_by}


@pytest.mark.parametrize("name", ["read-before-applied", "lease-too-long", "result-not-remembered"])
def test_the_search_that_knows_no_log_sees_by_itself_what_clients_see(name: str) -> None:
    """It is a second judge only if it does not lean on the first, which fires before it."""
    assert name in seen_by_clients()
    assert hunt_with_detangle(name, 0, NEIGHBOURS).check == "detangle"
    with detangle_alone():
        assert run_seed(0, **MUTANTS[name].needs).violation is None


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_bug_can_be_planted_and_is_gone_afterwards(name: str) -> None:
    mutant: Mutant = MUTANTS[name]
    functions = [find_function(edit.where) for edit in mutant.edits]
    before = [function.__code__ for function in functions]
    with mutant():
        assert all(f.__code__ is not b for f, b in zip(functions, before, strict=True))
    assert [function.__code__ for function in functions] == before


def test_every_family_is_planted() -> None:
    assert {MUTANTS[name].number for name in to_be_caught()} >= set(FAMILIES)
    assert harmless() == ["rollback-e", "rollback-h1", "rollback-i1"]


def test_the_canary_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: found, told with its seed and commit, cut down, written, replayed."""
    arguments = ["--mutant", "canary", "--seeds", "40", "--jobs", "1", "--found", str(tmp_path)]
    assert simulate(arguments) == 1
    told = capsys.readouterr().out
    assert " violates I" in told
    assert "commit " in told
    recording, *_ = sorted(tmp_path.glob("seed-*.json"))
    assert f"--replay {recording}" in told
    assert simulate(["--mutant", "canary", "--replay", str(recording)]) == 1
    assert simulate(["--replay", str(recording)]) == 0
