"""Whether a group comes right again from some state, once nothing is lost and nobody crashes.

The search judges what must never happen. This judges what must happen in the end, in every state
that it reaches: a fair schedule is run from there, each node campaigns in its turn, all messages
arrive in order, and within a few rounds somebody must lead and have committed in its own term.
One schedule is enough to show that a state is no trap, and in a trap every schedule is stuck.
Whoever proposes a rollback is still there: if nobody can be elected, an operator has nodes campaign
for it, as in the simulator. So a Rollback in the log of a newcomer alone is no trap.

It was thought of to look for cycles in the graph of states instead, as liveness is checked
elsewhere. The bounds of a search (terms, entries) cut the way out of most states, though, and the
real ones among the cycles could not be told from those.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from raft import StateRole
from tests.search.judge import Violation
from tests.search.model import Model
from tests.search.server import Event

RECOVERS: Final = "once nothing is lost any more, somebody leads and commits"
ROUNDS: Final = 6
"""In which each node campaigns once. Two are enough where everyone knows the configuration."""
ROUNDS_ALONE: Final = 3
"""Those of them in which no operator helps."""
_DELIVERIES_MAX: Final = 2_000
_DO_NOW: Final = (Event("flush"), Event("apply"))


class Calm:
    """Runs groups of one model to rest.

    Args:
        model: Whose states are judged. Steps are computed once for each state of a node, in a model
            apart: the terms that calm needs are beyond the bound of the search.
        groups: How many groups of node states to judge: the ones that are asked about first.
    """

    def __init__(self, model: Model, groups: int) -> None:
        self._model = model
        self._groups = groups
        self._apart = Model(replace(model.settings, max_term=1_000_000))
        self._numbers: dict[int, int] = {}
        self._own: dict[tuple[int, Event], tuple[int, tuple[int, ...]] | None] = {}
        self._judged: dict[tuple[int, ...], Violation | None] = {}

    def judge(self, nodes: tuple[int, ...]) -> Violation | None:
        """What is broken by a group of these node states."""
        if nodes not in self._judged:
            if len(self._judged) == self._groups:
                return None
            self._judged[nodes] = self._run(nodes)
        return self._judged[nodes]

    def _run(self, nodes: tuple[int, ...]) -> Violation | None:
        group = [self._number(node) for node in nodes]
        everyone = range(len(group))
        under_way: deque[int] = deque()
        for number in range(ROUNDS):
            for position in everyone:
                # Whoever leads is heard first: the others' timers start anew.
                leaders = [p for p in everyone if self._role(group[p]) is StateRole.Leader]
                for leader in leaders:
                    self._do(group, leader, Event("tell of lost snapshots"), under_way)
                    self._do(group, leader, Event("beat"), under_way)
                self._settle(group, under_way)
                if self._is_well(group):
                    return None
                helped = number >= ROUNDS_ALONE and not leaders
                for event in (Event("campaign"), Event("campaign for rollback"))[: 1 + helped]:
                    if self._role(group[position]) is not StateRole.Leader:
                        self._do(group, position, event, under_way)
                        self._settle(group, under_way)
                    if self._is_well(group):
                        return None
        told = "; ".join(
            f"node {self._apart.ids[p]} {self._apart.describe_state(group[p])}" for p in everyone
        )
        return Violation(RECOVERS, f"after {ROUNDS} rounds in calm: {told}")

    def _number(self, node: int) -> int:
        """The number in the model apart of a state of the one judged."""
        number = self._numbers.get(node)
        if number is None:
            server = self._model.servers[node]
            number = self._numbers[node] = self._apart.state_number(server)
        return number

    def _role(self, node: int) -> StateRole:
        return self._apart.servers[node].raw.raft.state

    def _is_well(self, group: list[int]) -> bool:
        rafts = [self._apart.servers[node].raw.raft for node in group]
        newest = max(rafts, key=lambda raft: (raft.term, raft.state is StateRole.Leader))
        return newest.state is StateRole.Leader and newest.committed_in_own_term()

    def _do(self, group: list[int], position: int, event: Event, under_way: deque[int]) -> None:
        key = (group[position], event)
        if key not in self._own:
            step = self._apart.run_once(group[position], event)
            self._own[key] = None if step is None else (step.state, step.sent)
        done = self._own[key]
        if done is not None:
            group[position], sent = done
            under_way.extend(sent)

    def _carry_out(self, group: list[int], position: int, under_way: deque[int]) -> None:
        """Flush and apply what waits for it."""
        busy = True
        while busy:
            busy = False
            for event in _DO_NOW:
                server = self._apart.servers[group[position]]
                waits = (
                    server.waiting
                    if event.kind == "flush"
                    else server.handed > server.raw.raft.raft_log.applied
                )
                if waits:
                    self._do(group, position, event, under_way)
                    busy = True

    def _settle(self, group: list[int], under_way: deque[int]) -> None:
        """Let messages arrive until there are no more of them."""
        receivers = self._apart.receivers
        for position in range(len(group)):
            self._carry_out(group, position, under_way)
        for _ in range(_DELIVERIES_MAX):
            if not under_way:
                return
            message = under_way.popleft()
            position = receivers[message]
            step = self._apart.receive(group[position], message)
            if step is not None:
                group[position] = step.state
                under_way.extend(step.sent)
                self._carry_out(group, position, under_way)
        raise AssertionError("messages never come to an end in calm")
