"""A node that dies at a named place of its main loop loses nothing that anybody was promised."""

from __future__ import annotations

import random

import pytest

from tests.torture.faults import Crash
from tests.torture.round import Round


# A vote comes only with an election, which so short a round need not have.
@pytest.mark.parametrize("place", [place for place in Crash.PLACES if place != "vote"])
def test_death_at_a_place_of_the_main_loop(place: str) -> None:
    class There(Crash):
        PLACES = (place,)

    class Once(Round):
        def next_faults(self, number: int) -> list[type[Crash]]:
            return [There] if number < 1 else []

    tally = Once(random.Random(place).randrange(2**20), 30.0).run()
    assert tally.faults == {f"crash at {place}": 1}, tally.doubtful
