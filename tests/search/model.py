"""The group as numbers: node states and messages are numbered, and each step is computed once.

What a node does depends on its own state and on what happens to it, on nothing else. So a step is
run on the real core the first time some state meets some event, and looked up from then on. There
are far fewer states of one node than of the group.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from raft import StateRole
from raft.eraftpb import (
    Message,
    MessageType,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
)
from tests.search.copying import copy_of, state_of
from tests.search.judge import (
    NO_EFFECT,
    NO_EXCEPTION,
    PROMISES,
    Effect,
    Entries,
    Facts,
    History,
    Members,
    Old,
    Violation,
    describe_entry,
    effect_of,
    facts_of,
)
from tests.search.server import Event, Server, Settings

_NOBODY = -1


_ANSWERING_BITS = 8


class Kind(Enum):
    """What a message is to the network."""

    ANSWER = 1
    VOTE_REQUEST = 2
    OTHER = 3


class Step(NamedTuple):
    """What an event makes of a node: its new state, what it sends, what it shows."""

    event: int
    """Number of the event. Receiving message m is ``-1 - 2 * m``, one less if its answer arrives
    too. A node's own event e is ``e << 8``; the low bits tell which positions answer it at once."""
    state: int
    sent: tuple[int, ...]
    effect: int
    violation: Violation | None


class Standing(NamedTuple):
    """What decides which messages still matter to a node."""

    durable_term: int
    durable_commit: int
    term: int
    role: StateRole


class Model:
    """All numbers of one search.

    Attributes:
        settings: What is searched.
        ids: The nodes; everywhere else they go by their position here.
        judged: The promises that end the search when they are broken.
        forgets_old_leaders: See `is_dead`.
    """

    def __init__(
        self,
        settings: Settings,
        judged: frozenset[str] = PROMISES,
        *,
        forgets_old_leaders: bool = False,
    ) -> None:
        self.settings = settings
        self.judged = judged
        self.forgets_old_leaders = forgets_old_leaders
        self.ids = settings.nodes()
        self.entries = Entries()
        self.start_members = Members.of(
            Server(settings.voters[0], settings).raw.raft.prs.to_conf_state()
        )
        self._position = {node_id: i for i, node_id in enumerate(self.ids)}

        self.servers: list[Server] = []
        self.positions: list[int] = []
        self.standings: list[Standing] = []
        self._states: dict[tuple[int, Any], int] = {}
        self._facts: list[Facts] = []
        self._own_steps: list[list[Step] | None] = []
        self._received: list[dict[int, Step | None]] = []

        self.messages: list[Message] = []
        self.receivers: list[int] = []
        self.channels: list[tuple[int, int, int]] = []
        self.kinds: list[Kind] = []
        self._message_numbers: dict[bytes, int] = {}

        self._events: list[tuple[int, Event]] = []
        self._event_numbers: dict[tuple[int, Event], int] = {}

        self._effects: list[Effect] = [NO_EFFECT]
        self._effect_numbers: dict[Effect, int] = {NO_EFFECT: 0}
        self.histories: list[History] = []
        self._history_numbers: dict[History, int] = {}
        self._after: dict[tuple[int, int], int | Violation] = {}
        self._judged: dict[tuple[int, int], Violation | None] = {}
        self.steps_run = 0

    # -- Numbers -----------------------------------------------------------------------------

    def state_number(self, server: Server) -> int:
        """The number of a node's state; `server` is kept and must not be changed afterwards."""
        position = self._position[server.id]
        key = (position, state_of(server))
        number = self._states.get(key)
        if number is None:
            number = self._states[key] = len(self.servers)
            self.servers.append(server)
            self.positions.append(position)
            raft = server.raw.raft
            self.standings.append(
                Standing(server.synced.term, server.synced.commit, raft.term, raft.state)
            )
            self._facts.append(facts_of(server))
            self._own_steps.append(None)
            self._received.append({})
        return number

    def message_number(self, message: Message) -> int:
        """The number of a message; -1 if nobody is there to receive it."""
        receiver = self._position.get(message.to, _NOBODY)
        if receiver == _NOBODY:
            return _NOBODY
        key = message.SerializeToString()
        number = self._message_numbers.get(key)
        if number is None:
            number = self._message_numbers[key] = len(self.messages)
            self.messages.append(message)
            self.receivers.append(receiver)
            kind = message.msg_type
            self.channels.append((message.from_, message.to, int(kind)))
            self.kinds.append(_KINDS.get(kind, Kind.OTHER))
        return number

    def history_number(self, history: History) -> int:
        """The number of a history."""
        number = self._history_numbers.get(history)
        if number is None:
            number = self._history_numbers[history] = len(self.histories)
            self.histories.append(history)
        return number

    # -- Steps -------------------------------------------------------------------------------

    def own_steps(self, state: int) -> list[Step]:
        """Everything that can happen to a node in `state` by itself and that changes something."""
        steps = self._own_steps[state]
        if steps is None:
            server = self.servers[state]
            steps = []
            for event in server.events():
                step = self._run(state, self._event_number(server.id, event), event)
                if step is not None:
                    steps.append(step)
            self._own_steps[state] = steps
        return steps

    def receive(self, state: int, message: int) -> Step | None:
        """What receiving `message` makes of a node in `state`; None: nothing."""
        received = self._received[state]
        if message in received:
            return received[message]
        step = received[message] = self._run(state, -1 - 2 * message, self.messages[message])
        return step

    def run_once(self, state: int, event: Event) -> Step | None:
        """What `event` makes of a node in `state`; None: nothing. The caller remembers it."""
        return self._run(state, self._event_number(self.ids[self.positions[state]], event), event)

    def _event_number(self, node_id: int, event: Event) -> int:
        key = (node_id, event)
        number = self._event_numbers.get(key)
        if number is None:
            number = self._event_numbers[key] = len(self._events) << _ANSWERING_BITS
            self._events.append(key)
        return number

    def own_event(self, number: int) -> tuple[int, Event]:
        """The node and the event that a number of `Step.event` stands for."""
        return self._events[number >> _ANSWERING_BITS]

    def _run(self, state: int, number: int, what: Event | Message) -> Step | None:
        self.steps_run += 1
        original = self.servers[state]
        server = copy_of(original)
        try:
            if isinstance(what, Event):
                if not server.happen(what):
                    return None
            else:
                server.receive(what)
        except Exception as error:  # Whatever it is: no event may make the core raise it.
            violation = Violation(NO_EXCEPTION, f"{type(error).__name__}: {error}")
            return Step(number, state, (), 0, violation)
        if server.raw.raft.term > self.settings.max_term:
            return None  # Beyond the bound of this search.
        sent: dict[int, None] = {}
        for message in server.out:
            one = self.message_number(message)
            if one != _NOBODY:
                sent[one] = None
        server.out = []
        effect = effect_of(server, Old.of(original), self.entries)
        new = self.state_number(server)
        if new == state and not sent:
            return None
        return Step(number, new, tuple(sent), self._effect_number(effect), None)

    def _effect_number(self, effect: Effect) -> int:
        number = self._effect_numbers.get(effect)
        if number is None:
            number = self._effect_numbers[effect] = len(self._effects)
            self._effects.append(effect)
        return number

    # -- Promises ----------------------------------------------------------------------------

    def history_after(self, history: int, effect: int) -> int | Violation:
        """The number of the history after an effect, or what it breaks."""
        key = (history, effect)
        result = self._after.get(key)
        if result is None:
            after = self.histories[history].after(self._effects[effect], self.entries, self.judged)
            result = after if isinstance(after, Violation) else self.history_number(after)
            self._after[key] = result
        return result

    def judge(self, state: int, history: int) -> Violation | None:
        """Whether a node may be in `state` when `history` has happened."""
        key = (state, history)
        if key not in self._judged:
            self._judged[key] = self.histories[history].check(
                self._facts[state], self.start_members, self.entries, self.judged
            )
        return self._judged[key]

    # -- Messages that no longer matter ------------------------------------------------------

    def is_dead(self, state: int, message: int) -> bool:
        """Whether `message` can never again do anything to a node in `state`.

        Sound because terms that are on disk do not go back, and because nobody leads a term, or
        is a candidate in it, for a second time.

        The exceptions are messages of an old term that tell what is committed, and those that are
        answered all the same, which tells the sender of the new term. The latter count as dead,
        and their answers are lost, if `forgets_old_leaders`.
        """
        m, standing = self.messages[message], self.standings[state]
        if m.term < standing.durable_term:
            if m.msg_type in _REFUSALS and m.commit > standing.durable_commit:
                return False
            return m.msg_type not in _ANSWERED_IF_OLD or self.forgets_old_leaders
        if m.term == standing.durable_term == standing.term:
            if m.msg_type in (MsgAppendResponse, MsgHeartbeatResponse):
                return standing.role is not StateRole.Leader
            if m.msg_type == MsgRequestVoteResponse:
                return standing.role is not StateRole.Candidate
        return False

    # -- Words -------------------------------------------------------------------------------

    def describe_event(self, event: int) -> tuple[str, list[int]]:
        """An event in words, and to which nodes it happens."""
        if event >= 0:
            node_id, (kind, argument) = self.own_event(event)
            words = f"node {node_id}: {kind}" + (f" to {argument}" if kind == "transfer" else "")
            answering = [one for i, one in enumerate(self.ids) if event >> i & 1]
            if answering:
                words += f", and {answering} receive its requests and answer"
            return words, [node_id, *answering]
        message, answered = divmod(-1 - event, 2)
        m = self.messages[message]
        words = f"node {m.to} receives {self.describe_message(message)}"
        if answered:
            return f"{words}, and node {m.from_} its answer", [m.to, m.from_]
        return words, [m.to]

    def describe_message(self, message: int) -> str:
        """A message in words."""
        m = self.messages[message]
        words = [f"{MessageType.Name(m.msg_type)} of term {m.term} from {m.from_}"]
        if m.msg_type == MsgAppend:
            words.append(f"after {m.index}: [{' '.join(map(describe_entry, m.entries))}]")
        elif m.msg_type == MsgSnapshot:
            words.append(f"at {m.snapshot.metadata.index}")
        elif m.msg_type == MsgAppendResponse:
            words.append(f"index {m.index}")
        if m.commit:
            words.append(f"commit {m.commit}")
        if m.reject:
            words.append("refusing")
        return " ".join(words)

    def describe_state(self, state: int) -> str:
        """A node's state in words."""
        server = self.servers[state]
        raft = server.raw.raft
        log = raft.raft_log
        entries = " ".join(map(describe_entry, server.disk.log))
        rule = " and ".join(
            "{" + ",".join(map(str, sorted(voters))) + "}" for voters in raft.prs.quorum_rule
        )
        return (
            f"{raft.state.name} of term {raft.term}, log {server.disk.base}+[{entries}], commit "
            f"{log.committed}, applied {log.applied}, asks {rule}"
        )


_KINDS = {
    MsgAppendResponse: Kind.ANSWER,
    MsgHeartbeatResponse: Kind.ANSWER,
    MsgRequestVoteResponse: Kind.ANSWER,
    MsgRequestPreVoteResponse: Kind.ANSWER,
    MsgRequestVote: Kind.VOTE_REQUEST,
    MsgRequestPreVote: Kind.VOTE_REQUEST,
}
_REFUSALS = frozenset({MsgRequestVoteResponse, MsgRequestPreVoteResponse})
_ANSWERED_IF_OLD = frozenset(
    {MsgAppend, MsgHeartbeat, MsgSnapshot, MsgRequestPreVote, MsgRequestVote}
)
