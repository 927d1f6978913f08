"""A node that dies at a named place of its code loses nothing that anybody was promised."""

from __future__ import annotations

import random

import pytest

from raftd.failpoints import CHANGES, PLACES
from tests.torture.faults import Crash, CrashInstalling, CrashMaking, Fault
from tests.torture.membership import CrashChanging, CrashInstallingMembers, CrashMoving
from tests.torture.round import Round

KINDS = (Crash, CrashMaking, CrashInstalling, CrashChanging, CrashMoving)


def test_every_place_is_tortured() -> None:
    tortured = [place for kind in KINDS for place in kind.PLACES]
    # That one takes values larger than a round puts: tests/daemon/test_crash_points.py has them.
    assert sorted(["saved", *tortured]) == sorted({**PLACES, **CHANGES})


# Those of snapshots and changes have tests of their own in tests/daemon; some stand for them here.
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *((Crash, place) for place in Crash.PLACES),
        (CrashMaking, "compact.written"),
        (CrashInstalling, "snapshot.staged"),
        (CrashInstallingMembers, "snapshot.installed"),
        (CrashChanging, "begin.applied"),
        (CrashChanging, "rollback.durable"),
    ],
)
def test_death_at_a_place(kind: type[Crash | CrashChanging], place: str) -> None:
    there: type[Fault] = type("There", (kind,), {"PLACES": (place,)})

    class Once(Round):
        def next_faults(self, number: int) -> list[type[Fault]]:
            return [there] if number < 1 else []

    tally = Once(random.Random(place).randrange(2**20), 30.0).run()
    assert tally.faults == {f"crash at {place}": 1}, tally.doubtful
