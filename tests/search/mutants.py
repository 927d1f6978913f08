"""Which planted bugs the search must find, and where it looks for each.

The bugs are those of `tests.harness.rollback_mutants`, and some that were found in this code; the
groups are the smallest that show them.
Three bugs are found by a promise that is close to the broken rule, before any harm is done. With
that promise overlooked the search goes on to the harm, which is what is told of them here.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass, replace

from tests.harness import mutants_found, rollback_mutants
from tests.harness.mutants import MUTANTS, Mutant
from tests.search.calm import RECOVERS
from tests.search.explore import Report, explore
from tests.search.group import Group, Network
from tests.search.judge import (
    CONFIGURATION,
    LEADER_COMPLETENESS,
    OLD_MAJORITY,
    ONE_END,
    ONE_LEADER,
)
from tests.search.scenarios import HANDED_ON, Start, elected, joint, rolled_back
from tests.search.server import Settings

assert mutants_found  # Imported for what it registers.


@dataclass(frozen=True)
class Hunt:
    """Where a planted bug is looked for.

    Attributes:
        mutant: The bug.
        settings, start, network: What is searched.
        breaks: The promise that it breaks first; "" if it breaks none.
        overlooking: Promises that are not judged.
        states: How far to look.
        quick: Whether it is found within a second or two.
        why_not_from_the_first_election: What the way from there would hold, if it starts later.
        recovers: Whether it is judged from where the group comes right again (`calm`).
    """

    mutant: Mutant
    settings: Settings
    breaks: str
    start: Start = elected
    network: Network = Network.EVERY
    overlooking: frozenset[str] = frozenset()
    states: int = 1_000_000
    quick: bool = False
    why_not_from_the_first_election: str = ""
    recovers: bool = False

    @property
    def name(self) -> str:
        """The letter of a rule of rollback, or the name of the bug."""
        return self.mutant.name.removeprefix("rollback-")

    def run(self, *, planted: bool = True) -> Report:
        """Search with the bug, or without it."""
        if not planted:
            return self._search()
        with self.mutant():
            return self._search()

    def _search(self) -> Report:
        group = Group(self.settings, self.network, overlooking=self.overlooking)
        self.start(group)
        recovers = self.states if self.recovers else 0
        return explore(group, max_states=self.states, recovers=recovers)

    def judge(self, report: Report) -> str:
        """What is wrong with what was found; nothing: ""."""
        found = report.found.violation.promise if report.found else ""
        if found == self.breaks:
            return ""
        return f"{self.mutant.name} breaks [{found or 'nothing'}], not [{self.breaks or 'nothing'}]"


def two_begun(group: Group) -> None:
    """Two Begins stand in the leader's log, and it has applied the first."""
    elected(group)
    leader = group.model.settings.voters[0]
    group.does(leader, "begin", 0)
    group.does(leader, "begin", 1)
    group.does(leader, "apply")


_PAIR = Settings(voters=(1,), learners=(2,), targets=(((2,), (1,)),), max_log=6)
_TO_TWO = Settings(voters=(1,), learners=(2, 3), targets=(((2, 3), (1,)),), max_log=6)
_TWO_CHANGES = Settings(
    voters=(1,),
    learners=(2, 3),
    targets=(((1, 2), (3,)), ((3,), (1, 2))),
    max_term=3,
    max_log=7,
    max_normal=1,
    campaigners=(1, 3),
    crashing=(),
    rollback=False,
)
_AGAIN = Settings(
    voters=(1,),
    learners=(2, 3),
    targets=(((1, 2, 3), ()), ((1, 2, 3), ())),
    max_term=3,
    max_log=9,
    max_normal=1,
)

HUNTS: tuple[Hunt, ...] = (
    Hunt(rollback_mutants.A, _PAIR, ONE_END, quick=True),
    Hunt(rollback_mutants.B, _PAIR, ONE_END, quick=True),
    Hunt(rollback_mutants.C, _PAIR, ONE_LEADER, network=Network.PROMPT),
    Hunt(rollback_mutants.D, _PAIR, ONE_LEADER, network=Network.PROMPT),
    Hunt(rollback_mutants.E, _PAIR, "", network=Network.PROMPT),
    Hunt(rollback_mutants.F, _PAIR, ONE_END, quick=True),
    Hunt(
        rollback_mutants.F,
        _PAIR,
        ONE_LEADER,
        network=Network.PROMPT,
        overlooking=frozenset({ONE_END}),
    ),
    Hunt(rollback_mutants.G, _TO_TWO, OLD_MAJORITY, quick=True),
    Hunt(
        rollback_mutants.G,
        _TO_TWO,
        LEADER_COMPLETENESS,
        network=Network.PROMPT,
        overlooking=frozenset({OLD_MAJORITY}),
        quick=True,
    ),
    Hunt(rollback_mutants.H1, _PAIR, "", network=Network.PROMPT),
    Hunt(
        rollback_mutants.H2,
        Settings(
            voters=(1,),
            learners=(2, 3),
            targets=(((2, 3), (1,)),),
            max_log=7,
            max_normal=1,
            campaigners=(1, 2),
            crashing=(1,),
        ),
        LEADER_COMPLETENESS,
        joint,
        Network.PROMPT,
        why_not_from_the_first_election="a change, a forced election, three entries and another "
        "election",
    ),
    Hunt(
        rollback_mutants.I,
        _TWO_CHANGES,
        LEADER_COMPLETENESS,
        two_begun,
        Network.PROMPT,
        overlooking=frozenset({CONFIGURATION, OLD_MAJORITY}),
        why_not_from_the_first_election="two changes at once and an election",
    ),
    Hunt(rollback_mutants.I1, _TWO_CHANGES, "", two_begun, Network.NEWEST),
    Hunt(rollback_mutants.J, _PAIR, ONE_LEADER, network=Network.PROMPT),
    Hunt(
        rollback_mutants.K,
        _AGAIN,
        LEADER_COMPLETENESS,
        rolled_back,
        Network.PROMPT,
        why_not_from_the_first_election="a change that is rolled back, a second one, an election",
    ),
    Hunt(
        MUTANTS["found-commit-in-an-old-refusal-ignored"],
        HANDED_ON,
        RECOVERS,
        network=Network.NEWEST,
        quick=True,
        recovers=True,
    ),
    Hunt(
        MUTANTS["found-entries-stored-without-their-commit"],
        replace(_PAIR, light=True, light_commit_waits=True, replays=True),
        ONE_LEADER,
        network=Network.PROMPT,
    ),
)


def hunt(names: list[str]) -> int:
    """Look for planted bugs; return for how many the outcome is not the expected one."""
    failed = 0
    for one in HUNTS:
        if names and one.name not in names:
            continue
        print(f"{one.name}: {one.mutant.what}", flush=True)
        if one.why_not_from_the_first_election:
            print(f"  starts later, for the way is long: {one.why_not_from_the_first_election}")
        if one.overlooking:
            print(f"  overlooking: {'; '.join(sorted(one.overlooking))}")
        report = one.run()
        if report.found is None:
            print("  breaks nothing")
        else:
            print(f"  breaks, after {len(report.found.path)} events: {report.found.violation}")
        print(f"  {report}")
        wrong = one.judge(report)
        if wrong:
            print(f"  WRONG: {wrong}")
        failed += bool(wrong)
        gc.collect()
    print(f"{failed} planted bugs went otherwise than expected")
    return failed


if __name__ == "__main__":
    sys.exit(1 if hunt(sys.argv[1:]) else 0)
