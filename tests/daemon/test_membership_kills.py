"""A few cells of the table of who dies at which step of a change; `make matrix` runs them all."""

from __future__ import annotations

import pytest

from raftd.failpoints import CHANGES
from tests.daemon.matrix import DEATHS, ROWS, TAKEN_BACK, cells, run


def test_every_place_and_item_is_in_the_table() -> None:
    places = {place for _, place, _ in DEATHS.values()} | {p for _, p in TAKEN_BACK.values()}
    assert places == set(CHANGES)
    items = {"".join(filter(str.isdigit, item)) for item in ROWS}
    assert items == {str(number) for number in range(55, 69)}
    assert len(cells()) > len(cells("57")) > len(cells("57:leader")) == 1


@pytest.mark.parametrize(
    ("item", "who", "outcome"),
    [
        ("56", "leader", "done"),
        ("57w", "new", "done"),
        ("60", "old", "done"),
        ("65d", "leader", "aborted"),
    ],
)
def test_a_death_in_the_middle_of_a_change(item: str, who: str, outcome: str) -> None:
    assert run(item, who) == outcome
