"""A short torture in network namespaces with failing disks, where those can be had."""

from __future__ import annotations

import pytest

from tests.torture import spaces
from tests.torture.round import Round

_WHY_NOT = spaces.missing()


@pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
def test_hosts_of_their_own_with_failing_disks() -> None:
    kinds = [kind for kind in spaces.kinds() if kind.kind in ("disk", "net")]
    tally = Round(7, 10.0, kinds, tell=print, make=spaces.SpaceScene).run()
    for line in tally.lines():
        print(line)
    assert tally.faults.total() > 0, "no fault provably happened"
