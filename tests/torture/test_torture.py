"""A short torture on loopback with fixed seeds; `make torture` goes on for longer."""

from __future__ import annotations

import pytest

from tests.torture.faults import KINDS
from tests.torture.round import Round

SECONDS = 12.0

ROUNDS = [
    pytest.param(1, {"kill", "crash"}, id="kills"),
    pytest.param(2, {"net", "transfer"}, id="links"),
    pytest.param(3, {"member", "transfer"}, id="membership"),
    pytest.param(4, {"pause", "snapshot", "kill"}, id="pauses and snapshots"),
    pytest.param(5, {kind.kind for kind in KINDS}, id="everything"),
]


@pytest.mark.parametrize(("seed", "kinds"), ROUNDS)
def test_nothing_is_lost_doubled_or_stale(seed: int, kinds: set[str]) -> None:
    chosen = [kind for kind in KINDS if kind.kind in kinds]
    tally = Round(seed, SECONDS, chosen, tell=print).run()
    for line in tally.lines():
        print(line)
    assert tally.faults.total() > 0, "no fault provably happened"
    assert tally.acknowledged > 50
    assert tally.keys_explained > 0
