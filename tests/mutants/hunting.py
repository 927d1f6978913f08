"""Hunting planted bugs: run seeds with one planted until a check sees it; else the search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

import tests.harness.mutants_found
import tests.harness.mutants_raft
import tests.harness.rollback_mutants
from tests.harness.checkers import Checker
from tests.harness.cluster import World
from tests.harness.mutants import MUTANTS, Mutant
from tests.harness.sim_run import run_seed
from tests.search.mutants import HUNTS

assert tests.harness.mutants_found
assert tests.harness.mutants_raft
assert tests.harness.rollback_mutants  # Imported for what they register.

FAMILIES: Final = range(1, 41)
"""Numbers of the families of mistakes that must each be planted, and caught."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        name: Its name.
        check: What caught it; "": nothing did.
        seed: The seed at which it was caught; -1: the search of all orders caught it.
        tried: How many seeds that took, or states of the search.
        seconds: Of one core.
        text: What the check says.
    """

    name: str
    check: str
    seed: int
    tried: int
    seconds: float
    text: str

    @property
    def caught(self) -> bool:
        """Whether some check saw it."""
        return bool(self.check)


def family(mutant: Mutant) -> str:
    """What a mutant belongs to: a number, or where the list of its kind is."""
    return str(mutant.number) if mutant.number else mutant.name.partition("-")[0]


def to_be_caught() -> list[str]:
    """Names of all mutants that break a promise: families first, by number; the canary last."""
    order = {"rollback": 1, "found": 2, "canary": 3}
    names = [name for name, mutant in MUTANTS.items() if mutant.caught_by]
    return sorted(names, key=lambda n: (order.get(family(MUTANTS[n]), 0), MUTANTS[n].number, n))


def harmless() -> list[str]:
    """Names of those that break none: they are planted to show that."""
    return sorted(name for name, mutant in MUTANTS.items() if not mutant.caught_by)


_OF_THE_LOG: Final = (
    (World, ("_judge_answer", "read_confirmed")),
    (
        Checker,
        ("result", "denied", "state_is", "sessions_are", "machine_is", "digest_is"),
    ),
)
"""What compares answers and states with the golden log."""


@contextmanager
def detangle_alone() -> Iterator[None]:
    """Let clients' histories be judged by the search that knows no log, and by nothing else.

    The other judge is first to see what both would: it looks at each answer, the search at the end.
    """
    with ExitStack() as stack:
        for owner, names in _OF_THE_LOG:
            for name in names:
                stack.enter_context(patch.object(owner, name, lambda *_: None))
        yield


def hunt_with_detangle(name: str, start: int, seeds: int, steps: int = 2000) -> Verdict:
    """Look for a seed whose history nothing explains, the judge of the golden log being off."""
    mutant = MUTANTS[name]
    began = time.process_time()
    with detangle_alone(), mutant():
        for seed in range(start, start + seeds):
            violation = run_seed(seed, steps, **mutant.needs).violation
            if violation is not None and violation.check == "linearizability":
                seconds, tried = time.process_time() - began, seed - start + 1
                return Verdict(name, "detangle", seed, tried, seconds, violation.text)
    return Verdict(name, "", -1, seeds, time.process_time() - began, "")


def seen_by_clients() -> list[str]:
    """Names of the mutants that show in what clients are answered."""
    told = {"I11", "I12", "linearizability"}
    return [name for name in to_be_caught() if MUTANTS[name].caught_by[0] in told]


def hunt(name: str, start: int, seeds: int, steps: int = 2000) -> Verdict:
    """Look for a seed that shows a mutant, and does not fail without it; or where else it shows."""
    mutant = MUTANTS[name]
    began = time.process_time()
    if tuple(mutant.caught_by) == ("search",):
        return _search(mutant, began)
    for seed in range(start, start + seeds):
        with mutant():
            violation = run_seed(seed, steps, **mutant.needs).violation
        if violation is not None and run_seed(seed, steps, **mutant.needs).violation is None:
            seconds = time.process_time() - began
            tried = seed - start + 1
            return Verdict(name, violation.check, seed, tried, seconds, violation.text)
    if "search" in mutant.caught_by:
        return _search(mutant, began)
    return Verdict(name, "", -1, seeds, time.process_time() - began, "")


def _search(mutant: Mutant, began: float) -> Verdict:
    for one in HUNTS:
        if one.mutant is mutant and one.breaks:
            report = one.run()
            if report.found is not None and not one.judge(report):
                seconds = time.process_time() - began
                text = str(report.found.violation)
                return Verdict(mutant.name, "search", -1, report.states, seconds, text)
    return Verdict(mutant.name, "", -1, 0, time.process_time() - began, "")
