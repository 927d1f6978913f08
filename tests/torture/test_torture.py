"""Two minutes of torture on loopback with fixed seeds; `make torture` goes on for longer."""

from __future__ import annotations

import pytest

from tests.torture.kinds import KINDS
from tests.torture.round import Round

ROUNDS = [
    pytest.param(1, 15.0, {"kill", "crash"}, id="kills"),
    pytest.param(2, 15.0, {"net", "transfer"}, id="links"),
    pytest.param(3, 15.0, {"member", "transfer"}, id="membership"),
    pytest.param(4, 15.0, {"pause", "snapshot", "kill"}, id="pauses and snapshots"),
    pytest.param(5, 60.0, {kind.kind for kind in KINDS}, id="everything"),
]


@pytest.mark.parametrize(("seed", "seconds", "kinds"), ROUNDS)
def test_nothing_is_lost_doubled_or_stale(seed: int, seconds: float, kinds: set[str]) -> None:
    chosen = [kind for kind in KINDS if kind.kind in kinds]
    tally = Round(seed, seconds, chosen, tell=print).run()
    for line in tally.lines():
        print(line)
    assert tally.faults.total() > 0, "no fault provably happened"
    assert tally.acknowledged > 50
    assert tally.keys_explained > 0
