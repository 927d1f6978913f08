"""The whole group: its state, what can happen to it, and setting it where a search is to start."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from raft.eraftpb import MessageType
from tests.search.judge import PROMISES, History, Violation
from tests.search.model import Kind, Model, Step
from tests.search.server import Event, Server, Settings


class Network(Enum):
    """What becomes of messages. Each kind of network does what real ones may; the later ones do
    less of it, and a search of the same size goes deeper in them."""

    EVERY = "every"
    """A message stays for ever: received late, again, in any order, or never."""
    NEWEST = "newest"
    """The same, until a newer one of its kind to the same node takes its place; and what a leader
    of an old term sends finds nobody."""
    PROMPT = "prompt"
    """As `NEWEST`, but answers arrive at once or never, and so do requests for votes."""


class State(NamedTuple):
    """A state of the group, in the numbers of a `Model`. `messages` are in ascending order."""

    nodes: tuple[int, ...]
    history: int
    messages: tuple[int, ...]

    def packed(self) -> bytes:
        """The same as bytes."""
        return array("I", (*self.nodes, self.history, *self.messages)).tobytes()

    @classmethod
    def unpacked(cls, packed: bytes, count: int) -> State:
        """The state of `count` nodes that `packed` was made from."""
        numbers = array("I")
        numbers.frombytes(packed)
        content = tuple(numbers)
        return cls(content[:count], content[count], content[count + 1 :])


class Group:
    """A model, a network, and the state to start from.

    Args:
        settings: What is searched.
        network: What becomes of messages.
        overlooking: Promises that may be broken: to see what comes of it.
        model: In place of a new one.

    Attributes:
        start: Where a search starts; the methods that name what happens move it on.
        story: What has happened up to there, in words.
        dead: Positions of nodes that have stopped for good.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network = Network.EVERY,
        *,
        overlooking: Iterable[str] = (),
        model: Model | None = None,
    ) -> None:
        self.model = model or Model(
            settings,
            PROMISES.difference(overlooking),
            forgets_old_leaders=network is not Network.EVERY,
        )
        self.network = network
        self.dead: set[int] = set()
        self.story: list[str] = []
        nodes = []
        for node_id in self.model.ids:
            server = Server(node_id, settings)
            server.out = []
            nodes.append(self.model.state_number(server))
        # A new group starts as if from a snapshot at index 1.
        history = History((), (), first_index=2, finalized=False)
        self.start = State(tuple(nodes), self.model.history_number(history), ())

    # -- What can happen -----------------------------------------------------------------------

    def successors(self, state: State) -> Iterator[tuple[int, State | Violation]]:
        """Everything that can happen in `state`: the event's number, and what comes of it."""
        model, nodes = self.model, state.nodes
        prompt = self.network is Network.PROMPT
        for position, node in enumerate(nodes):
            if position in self.dead:
                continue
            for step in model.own_steps(node):
                if prompt and step.sent and model.kinds[step.sent[0]] is Kind.VOTE_REQUEST:
                    yield from self._elections(state, position, step)
                else:
                    yield step.event, self._after(state, position, step, step.sent)
        receivers = model.receivers
        for message in state.messages:
            position = receivers[message]
            received = model.receive(nodes[position], message)
            if received is None:
                continue
            if not prompt:
                yield received.event, self._after(state, position, received, received.sent)
                continue
            for answered in (False, True):
                after = self._exchange(state, message, answered)
                if isinstance(after, Violation) or after != state:
                    yield received.event - answered, after

    def _elections(
        self, state: State, position: int, step: Step
    ) -> Iterator[tuple[int, State | Violation]]:
        """A candidacy, and whoever it may reach has heard of it and answered."""
        asked = self._after(state, position, step, ())
        reached: list[tuple[int, State | Violation]] = [(0, asked)]
        for request in step.sent:
            bit = 1 << self.model.receivers[request]
            reached += [
                (voters | bit, self._exchange(before, request, answered=True))
                for voters, before in reached
                if isinstance(before, State)
            ]
        for voters, after in reached:
            yield step.event + voters, after

    def _exchange(self, state: State, message: int, answered: bool) -> State | Violation:
        """A message is received, and if `answered` its answer too; otherwise that is lost."""
        model = self.model
        position = model.receivers[message]
        step = model.receive(state.nodes[position], message)
        if step is None or position in self.dead:
            return state
        kinds = model.kinds
        answers = [m for m in step.sent if kinds[m] is Kind.ANSWER]
        others = step.sent if not answers else tuple([m for m in step.sent if m not in answers])
        after = self._after(state, position, step, others)
        for answer in answers if answered else ():
            position = model.receivers[answer]
            if isinstance(after, Violation) or position in self.dead:
                continue
            received = model.receive(after.nodes[position], answer)
            if received is not None:
                after = self._after(after, position, received, received.sent)
        return after

    def _after(
        self, state: State, position: int, step: Step, sent: tuple[int, ...]
    ) -> State | Violation:
        """The state after one node's step, or what is broken by it."""
        model = self.model
        if step.violation is not None:
            return step.violation
        nodes, history, messages = state
        if step.effect:
            result = model.history_after(history, step.effect)
            if isinstance(result, Violation):
                return result
            history = result
        new = step.state
        broken = model.judge(new, history)
        if broken is not None:
            return broken
        old = nodes[position]
        if old != new:
            nodes = (*nodes[:position], new, *nodes[position + 1 :])
            if model.standings[old] != model.standings[new]:
                receivers = model.receivers
                messages = tuple(
                    [m for m in messages if receivers[m] != position or not model.is_dead(new, m)]
                )
        if sent:
            messages = self._with(messages, sent, nodes)
        return State(nodes, history, messages)

    def _with(
        self, messages: tuple[int, ...], sent: tuple[int, ...], nodes: tuple[int, ...]
    ) -> tuple[int, ...]:
        model = self.model
        receivers, dead = model.receivers, self.dead
        news = [
            m
            for m in sent
            if m not in messages
            and receivers[m] not in dead
            and not model.is_dead(nodes[receivers[m]], m)
        ]
        if not news:
            return messages
        if self.network is not Network.EVERY:
            channels = model.channels
            newest = {channels[m]: m for m in sent}
            news = [m for m in news if newest[channels[m]] == m]
            messages = tuple([m for m in messages if newest.get(channels[m], m) == m])
        return tuple(sorted((*messages, *news)))

    # -- Setting the start ---------------------------------------------------------------------

    def does(self, node_id: int, kind: str, argument: int = 0) -> None:
        """An event happens at a node."""
        event = Event(kind, argument)
        position = self.model.ids.index(node_id)
        for step in self.model.own_steps(self.start.nodes[position]):
            if self.model.own_event(step.event) == (node_id, event):
                self._move(position, step)
                return
        raise AssertionError(f"{event} does nothing at node {node_id} here:\n{self}")

    def has_message(self, node_id: int, sender: int, kind: MessageType) -> bool:
        """Whether a message of a kind from one node to another is under way."""
        return self._newest(node_id, sender, kind) is not None

    def receives(self, node_id: int, sender: int, kind: MessageType) -> None:
        """A node receives the message of a kind that another one sent it last; then it is gone."""
        message = self._newest(node_id, sender, kind)
        assert message is not None, f"there is no such message here:\n{self}"
        position = self.model.receivers[message]
        step = self.model.receive(self.start.nodes[position], message)
        messages = tuple(m for m in self.start.messages if m != message)
        self.start = self.start._replace(messages=messages)
        if step is not None:
            self._move(position, step)

    def _newest(self, node_id: int, sender: int, kind: MessageType) -> int | None:
        # Numbers are given in the order in which messages are sent first.
        for message in reversed(self.start.messages):
            if self.model.channels[message] == (sender, node_id, int(kind)):
                return message
        return None

    def settle(self) -> None:
        """Nodes exchange messages, flush and apply until they have nothing more to do."""
        done: set[int] = set()
        while self._settle_one(done):
            pass

    def _settle_one(self, done: set[int]) -> bool:
        model = self.model
        for message in self.start.messages:
            if message not in done:
                done.add(message)
                position = model.receivers[message]
                step = model.receive(self.start.nodes[position], message)
                if step is not None:
                    self._move(position, step)
                return True
        for position, node in enumerate(self.start.nodes):
            for step in model.own_steps(node) if position not in self.dead else ():
                if model.own_event(step.event)[1].kind in ("flush", "apply"):
                    self._move(position, step)
                    return True
        return False

    def lose_messages(self) -> None:
        """Whatever is under way never arrives."""
        if self.start.messages:
            self.start = self.start._replace(messages=())
            self.story.append("all messages under way are lost")

    def stop(self, *node_ids: int) -> None:
        """Nodes stop for good."""
        for node_id in node_ids:
            self.dead.add(self.model.ids.index(node_id))
            self.story.append(f"node {node_id} stops for good")
        receivers = self.model.receivers
        messages = tuple(m for m in self.start.messages if receivers[m] not in self.dead)
        self.start = self.start._replace(messages=messages)

    def _move(self, position: int, step: Step) -> None:
        after = self._after(self.start, position, step, step.sent)
        assert isinstance(after, State), f"the start is broken already: {after}"
        self.story.append(self.tell(step.event, after))
        self.start = after

    # -- Words ---------------------------------------------------------------------------------

    def tell(self, event: int, after: State | None) -> str:
        """An event in words, and the state of whoever it happened to after it."""
        model = self.model
        words, happened_to = model.describe_event(event)
        lines = [words]
        if after is not None:
            for node_id in happened_to:
                node = after.nodes[model.ids.index(node_id)]
                lines.append(f"         node {node_id}: {model.describe_state(node)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        model = self.model
        lines = [
            f"node {node_id}: {model.describe_state(node)}"
            for node_id, node in zip(model.ids, self.start.nodes, strict=True)
        ]
        lines += [f"sent: {model.describe_message(m)}" for m in self.start.messages]
        return "\n".join(lines)
