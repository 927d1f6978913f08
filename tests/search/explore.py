"""Breadth first over the states of a group: all of them, up to a bound, and the way back."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.search.calm import Calm
from tests.search.group import Group, State
from tests.search.judge import History, Violation
from tests.search.model import Model

Milestones = Mapping[str, Callable[[History, Model], bool]]
"""What a search should come by, lest it find nothing because it does nothing."""


@dataclass(frozen=True)
class Found:
    """A violation, and the shortest way to it from the start."""

    violation: Violation
    story: list[str]
    path: list[str]

    def __str__(self) -> str:
        lines = [f"VIOLATION of: {self.violation}"]
        if self.story:
            lines.append("The start:")
            lines += [f"     {line}" for line in self.story]
            lines.append("From there:")
        lines += [f"{number:4} {line}" for number, line in enumerate(self.path, 1)]
        return "\n".join(lines)


@dataclass
class Report:
    """What a search did.

    Attributes:
        states: Distinct states of the group that were reached.
        steps: What was tried in them, all that leads to known states included.
        node_states: Distinct states of single nodes.
        run: Steps of single nodes that were run on the real core.
        depth: All states were tried that are less than so many events from the start.
        complete: Nothing is left within the bounds of the settings.
        seconds: How long it took.
        found: The violation that ended it.
        seen: Milestones, and how many events from the start they were first reached.
    """

    states: int = 0
    steps: int = 0
    node_states: int = 0
    run: int = 0
    depth: int = 0
    complete: bool = False
    seconds: float = 0.0
    found: Found | None = None
    seen: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.states / self.seconds if self.seconds else 0
        how_far = "complete" if self.complete else "bounded"
        return (
            f"{self.states:,} states, {how_far}, depth {self.depth}; {self.steps:,} steps; "
            f"{self.node_states:,} node states, {self.run:,} steps run on the core; "
            f"{self.seconds:.1f} s, {rate:,.0f} states/s"
        )


def explore(
    group: Group,
    *,
    max_states: int = 10_000_000,
    max_depth: int = 10_000,
    max_seconds: float = float("inf"),
    milestones: Milestones | None = None,
    recovers: int = 0,
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Search from the group's start until something breaks, nothing is left, or a bound is reached.

    Args:
        group: What is searched, and from where.
        max_states, max_depth, max_seconds: When to give up.
        milestones: What to note when it is reached.
        recovers: Of so many groups of node states, from the start on, it is judged whether they
            come right again (`calm`).
        progress: Called after each further event from the start.
    """
    search = _Search(group, milestones or {}, Calm(group.model, recovers) if recovers else None)
    report = search.report
    begun = time.monotonic()
    with _without_garbage_collection():
        while search.frontier and report.found is None and report.depth < max_depth:
            search.expand_level(max_states, begun + max_seconds)
            report.seconds = time.monotonic() - begun
            if progress is not None:
                progress(report)
            if report.states >= max_states or report.seconds > max_seconds:
                break
    report.complete = not search.frontier and report.found is None
    report.node_states = len(group.model.servers)
    report.run = group.model.steps_run
    return report


class _Search:
    """The states that were reached, in that order, and from where each was reached first."""

    def __init__(self, group: Group, milestones: Milestones, calm: Calm | None) -> None:
        self.group = group
        self.calm = calm
        self.report = Report(states=1)
        self.milestones = dict(milestones)
        start = group.start.packed()
        self.reached = [start]
        self.known = {start}
        self.parents, self.events = array("I", (0,)), array("q", (0,))
        self.expanded = 0
        self._histories_seen = 0
        self._note_milestones()

    @property
    def frontier(self) -> bool:
        """Whether there are states from which nothing was tried yet."""
        return self.expanded < len(self.reached)

    def expand_level(self, max_states: int, deadline: float) -> None:
        """Try everything in the states that were reached and not tried yet; at a bound stop."""
        report, group = self.report, self.group
        reached, known, parents, events = self.reached, self.known, self.parents, self.events
        count = len(group.model.ids)
        end = len(reached)
        while self.expanded < end:
            at = self.expanded
            for event, after in group.successors(State.unpacked(reached[at], count)):
                report.steps += 1
                if isinstance(after, Violation):
                    path = [*self._path(at), group.tell(event, None)]
                    report.found = Found(after, list(group.story), path)
                    return
                packed = after.packed()
                if packed not in known:
                    broken = self.calm and self.calm.judge(after.nodes)
                    if broken:
                        path = [*self._path(at), group.tell(event, after)]
                        report.found = Found(broken, list(group.story), path)
                        return
                    known.add(packed)
                    reached.append(packed)
                    parents.append(at)
                    events.append(event)
            self.expanded += 1
            report.states = len(reached)
            if report.states >= max_states or (not at % 1024 and time.monotonic() > deadline):
                return
        report.depth += 1
        self._note_milestones()

    def _note_milestones(self) -> None:
        model, report = self.group.model, self.report
        for history in model.histories[self._histories_seen :]:
            for name, is_reached in list(self.milestones.items()):
                if is_reached(history, model):
                    report.seen[name] = report.depth
                    del self.milestones[name]
        self._histories_seen = len(model.histories)

    def _path(self, at: int) -> list[str]:
        lines = []
        while at:
            state = State.unpacked(self.reached[at], len(self.group.model.ids))
            lines.append(self.group.tell(self.events[at], state))
            at = self.parents[at]
        return lines[::-1]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Nothing here becomes garbage in a cycle, and looking for it takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
