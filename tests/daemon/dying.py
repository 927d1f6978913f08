"""Having a node die at a named place, and being sure that it was there."""

from __future__ import annotations

import signal
from collections.abc import Callable

from raftd.failpoints import VARIABLE
from tests.harness.processes import Node, wait_for


def arm(node: Node, place: str, times: int = 1) -> None:
    """Start a node that will die at a place."""
    node.variables = {VARIABLE: f"{place}:{times}"}
    node.start()


def died(node: Node, place: str, meanwhile: Callable[[], object] | None = None) -> None:
    """Wait until a node has died at the place it was armed with; disarm it.

    Args:
        node: The node.
        place: The place.
        meanwhile: Done again and again until then, such as what makes it come there.
    """

    def gone() -> bool:
        if node.running and meanwhile is not None:
            meanwhile()
        return not node.running

    wait_for(f"the death at {place}", gone)
    assert node.wait() == -signal.SIGKILL, node.last_lines()
    assert f"failpoint {place} hit" in node.last_lines(200)
    node.variables = {}
