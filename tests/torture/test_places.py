"""A node that dies at a named place of its main loop loses nothing that anybody was promised."""

from __future__ import annotations

import random

import pytest

from tests.torture.faults import Crash
from tests.torture.round import Round


@pytest.mark.parametrize("place", Crash.PLACES)
def test_death_at_a_place_of_the_main_loop(place: str) -> None:
    class There(Crash):
        PLACES = (place,)

    class Once(Round):
        def next_faults(self, number: int) -> list[type[Crash]]:
            return [There] if number < 1 else []

    tally = Once(random.Random(place).randrange(2**20), 30.0).run()
    assert tally.faults == {f"crash at {place}": 1}, tally.doubtful
