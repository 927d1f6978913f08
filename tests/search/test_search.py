"""A small part of the search: every scenario a little, and a few to their end."""

from __future__ import annotations

import pytest

from tests.search.explore import explore
from tests.search.group import Group, Network
from tests.search.scenarios import (
    FINALIZED,
    FORCED,
    GOES_ON,
    MILESTONES,
    ROLLED_BACK,
    SCENARIOS,
    Scenario,
    Start,
    elected,
    joint_without,
)
from tests.search.server import Settings


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_breaks_near_the_start(scenario: Scenario) -> None:
    """All of it, a thousand times deeper, is `make search`."""
    report = scenario.run(states=1_500, recovers=300)
    assert report.found is None, str(report.found)
    if report.complete:
        assert not scenario.judge(report)
    else:
        assert report.states >= 1_500


PAIR = Settings(voters=(1,), learners=(2,), targets=(((2,), (1,)),), max_term=3, max_log=5)
OLD_PAIR = Settings(voters=(1, 2), learners=(3, 4), targets=(((2, 3, 4), ()),), max_log=5)
TRIO = Settings(voters=(1, 2, 3), learners=(4, 5), targets=(((3, 4, 5), ()),), max_log=5)


@pytest.mark.parametrize(
    ("settings", "start", "sees", "never"),
    [
        (PAIR, elected, {FINALIZED, ROLLED_BACK, FORCED}, set()),
        (OLD_PAIR, joint_without(3, 4), {ROLLED_BACK, FORCED, GOES_ON}, {FINALIZED}),
        (TRIO, joint_without(1, 4, 5), {ROLLED_BACK, FORCED, GOES_ON}, {FINALIZED}),
    ],
    ids=["a change from one node to another", "new majority dead", "and the leader"],
)
def test_nothing_breaks_at_all_in_a_small_group(
    settings: Settings, start: Start, sees: set[str], never: set[str]
) -> None:
    """Everything that can happen within the bounds, if answers arrive at once or never."""
    group = Group(settings, Network.PROMPT)
    start(group)
    report = explore(group, milestones=MILESTONES)
    assert report.found is None, str(report.found)
    assert report.complete
    assert sees <= report.seen.keys()
    assert not never & report.seen.keys()
