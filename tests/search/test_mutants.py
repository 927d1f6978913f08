"""The bugs that the search finds quickly; `make search-mutants` looks for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.mutants import MUTANTS
from tests.search.mutants import HUNTS, Hunt

QUICK = [one for one in HUNTS if one.quick]
LETTERS = {"a", "b", "c", "d", "e", "f", "g", "h1", "h2", "i", "i1", "j", "k"}


@pytest.mark.parametrize("one", QUICK, ids=lambda one: one.name)
def test_a_planted_bug_is_found(one: Hunt) -> None:
    report = one.run()
    assert not one.judge(report), str(report.found)


@pytest.mark.parametrize("one", QUICK, ids=lambda one: one.name)
def test_without_the_bug_nothing_is_found_there(one: Hunt) -> None:
    """So it is the bug that is found, and the code is whole again afterwards."""
    with one.mutant():
        pass
    report = replace(one, states=2_000).run(planted=False)
    assert report.found is None, str(report.found)


def test_every_rule_is_broken_once() -> None:
    assert {one.name for one in HUNTS if one.mutant.name.startswith("rollback-")} == LETTERS
    assert {name for name in MUTANTS if name.startswith("rollback-")} == {
        f"rollback-{letter}" for letter in LETTERS
    }


def test_what_no_search_finds_is_said_to_be_harmless() -> None:
    assert {one.name for one in HUNTS if not one.breaks} == {"e", "h1", "i1"}
    for one in HUNTS:
        assert bool(one.mutant.caught_by) == bool(one.breaks)
