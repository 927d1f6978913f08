"""A run as a list of actions: recorded, replayed, and cut down to what still fails.

An action is what `World` was asked to do and what it drew by chance while doing it. Messages are
named by what is in them, not by when they were sent, so that a list with actions left out still
means something: a message that is never sent now is not delivered. All that was ever sent may be
delivered, at any time, any number of times; loss and delay need no actions of their own.

What does not happen any more (liveness) is recorded as the actions of the storm alone. The healing
is not written down: it is done anew, from a generator of its own, for it must answer to what the
actions that are left lead to. It was thought of to record its actions too; but a list that is cut
short shows nothing by what is no longer done at its end.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from struct import Struct
from typing import Any
from zlib import crc32

from raft.eraftpb import Message, MessageType, MsgAppend
from raftwire.peer import PeerFrame
from tests.harness.checkers import Violation, check_with_detangle
from tests.harness.cluster import Op, World
from tests.harness.sim_node import SimNode
from tests.harness.sim_run import Run
from tests.harness.sim_swarm import Settings

Action = tuple[Any, ...]
Step = tuple[Action, list[int]]
"""An action, and the election timeouts drawn during it."""

_READ = Struct(">QQQ")
_OP_FIELDS = ("session", "kind", "key", "value", "expected", "client", "data")


def name_of(m: Message) -> tuple[Any, ...]:
    """What a message is called in a recording."""
    body = crc32(b"".join([e.data + e.context for e in m.entries]), crc32(m.context))
    return (
        m.from_,
        m.to,
        int(m.msg_type),
        m.term,
        m.index,
        m.log_term,
        m.commit,
        len(m.entries),
        m.reject,
        m.reject_hint,
        m.snapshot.metadata.index,
        body,
    )


class RecordingWorld(World):
    """A world that writes down what it is asked to do."""

    def __init__(self, settings: Settings, timeouts: random.Random) -> None:
        self.steps: list[Step] = []
        self.draws = []
        self._inside = False
        super().__init__(settings, timeouts)
        self.initial_draws = self.draws or []
        self.draws = None

    def _record(self, action: Action, call: Callable[[], Any]) -> Any:
        if self._inside or not hasattr(self, "initial_draws"):
            return call()
        self._inside = True
        self.draws = []
        self.steps.append((action, self.draws))
        try:
            return call()
        finally:
            self._inside = False
            self.draws = None

    def tick(self, node_id: int) -> bool:
        """As `World`."""
        return bool(
            self._record(("tick", node_id), lambda: super(RecordingWorld, self).tick(node_id))
        )

    def deliver(self, m: Message) -> bool:
        """As `World`; a copy is handed over, for the original may be delivered again."""
        action = ("deliver", name_of(m))
        twin = Message.FromString(m.SerializeToString())
        return bool(self._record(action, lambda: super(RecordingWorld, self).deliver(twin)))

    def turn(self, node_id: int, now: float) -> bool:
        """As `World`."""
        action = ("turn", node_id, now)
        return bool(self._record(action, lambda: super(RecordingWorld, self).turn(node_id, now)))

    def deliver_frame(self, node_id: int, from_: int, data: bytes) -> bool:
        """As `World`."""
        action = ("deliver_frame", node_id, from_, data)
        return bool(
            self._record(
                action, lambda: super(RecordingWorld, self).deliver_frame(node_id, from_, data)
            )
        )

    def end_flush(self, node_id: int) -> bool:
        """As `World`."""
        return bool(
            self._record(
                ("end_flush", node_id), lambda: super(RecordingWorld, self).end_flush(node_id)
            )
        )

    def crash(self, node_id: int, keep: int, harsh: int = 0) -> None:
        """As `World`."""
        action = ("crash", node_id, keep, harsh)
        self._record(action, lambda: super(RecordingWorld, self).crash(node_id, keep, harsh))

    def arm_crash(
        self, node_id: int, points: int, keep: int, harsh: int = 0, place: str = ""
    ) -> None:
        """As `World`."""
        action = ("arm_crash", node_id, points, keep, harsh, place)
        self._record(
            action,
            lambda: super(RecordingWorld, self).arm_crash(node_id, points, keep, harsh, place),
        )

    def fail_sync(self, node_id: int, keep: int) -> None:
        """As `World`."""
        self._record(
            ("fail_sync", node_id, keep),
            lambda: super(RecordingWorld, self).fail_sync(node_id, keep),
        )

    def start(self, node_id: int) -> None:
        """As `World`."""
        self._record(("start", node_id), lambda: super(RecordingWorld, self).start(node_id))

    def invoke(self, op: Op, node_id: int) -> bool:
        """As `World`."""
        number = self.history.index(op) if op.invoked else len(self.history)
        values = {name: getattr(op, name) for name in _OP_FIELDS}
        action = ("invoke", number, values, node_id)
        return bool(self._record(action, lambda: super(RecordingWorld, self).invoke(op, node_id)))

    def asked(self, op: Op) -> None:
        """As `World`."""
        number = self.history.index(op) if op.invoked else len(self.history)
        values = {name: getattr(op, name) for name in _OP_FIELDS}
        self._record(("asked", number, values), lambda: super(RecordingWorld, self).asked(op))

    def operate(self, node_id: int, what: str, *args: Any) -> bool:
        """As `World`."""
        action = ("operate", node_id, what, *args)
        return bool(
            self._record(action, lambda: super(RecordingWorld, self).operate(node_id, what, *args))
        )


class ReplayWorld(World):
    """A world that takes its chances from a recording, and keeps all messages for ever."""

    def __init__(self, settings: Settings, initial_draws: Sequence[int]) -> None:
        self.bag: dict[tuple[Any, ...], Message] = {}
        self.loose: dict[tuple[Any, ...], Message] = {}
        self.frames_sent: set[tuple[int, int, bytes]] = set()
        self.replaying_draws = list(initial_draws)
        self.log: list[str] | None = None
        self.healing = False
        super().__init__(settings, random.Random(0))

    def draw_timeout(self, low: int, high: int) -> int:
        """What was drawn then; else the longest timeout, at which least happens; anew in calm."""
        if self.healing:
            return super().draw_timeout(low, high)
        if self.replaying_draws:
            return min(max(self.replaying_draws.pop(0), low), high - 1)
        return high - 1

    def send(self, node: SimNode, messages: Sequence[Message]) -> None:
        """Keep them."""
        super().send(node, messages)
        if self.healing:
            return
        self.outbox.clear()
        for m in messages:
            twin = Message.FromString(m.SerializeToString())
            name = name_of(m)
            self.bag[name] = twin
            self.loose[_loosely(name)] = twin
            self.loose[_very_loosely(name)] = twin

    def find(self, name: tuple[Any, ...]) -> Message | None:
        """The message of this name, or the newest one most like it."""
        found = (
            self.bag.get(name)
            or self.loose.get(_loosely(name))
            or self.loose.get(_very_loosely(name))
        )
        return None if found is None else Message.FromString(found.SerializeToString())


def _loosely(name: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not the commit index and not which entries exactly.
    return (*name[:6], bool(name[7]), *name[8:11])


def _very_loosely(name: tuple[Any, ...]) -> tuple[Any, ...]:
    # The newest of its type: with fewer elections before it, it is of another term.
    return (*name[:3], bool(name[7]), name[8])


def record(seed: int, settings: Settings, storm: bool = False) -> tuple[Run, RecordingWorld]:
    """Run a seed again and write it down; `storm`: without its healing."""
    run = Run(seed, settings, RecordingWorld)
    if storm:
        run.storm()
    else:
        run.run()
    assert isinstance(run.world, RecordingWorld)
    return run, run.world


def alike(one: Violation, other: Violation) -> bool:
    """Whether two violations are of one sort: of liveness also by what does not happen.

    Everything that stands still fails that check, for reasons that have nothing to do with another.
    """
    if one.check != other.check:
        return False
    return one.check != "liveness" or _NUMBERS.sub("", one.text) == _NUMBERS.sub("", other.text)


_NUMBERS = re.compile("[0-9]+")


class Replayed:
    """A list of actions, performed."""

    def __init__(
        self,
        settings: Settings,
        initial_draws: Sequence[int],
        steps: Sequence[Step],
        tell: Callable[[str], None] | None = None,
        heal: int | None = None,
    ) -> None:
        """Perform `steps`; `heal`: then heal a majority, by a generator made from that number."""
        self.violation: Violation | None = None
        self.used = 0
        """How many of the steps were performed before it failed."""
        self._tell = tell
        self._told: set[int] = set()
        self._ops: dict[int, Op] = {}
        try:
            self.world = ReplayWorld(settings, initial_draws)
            for action, draws in steps:
                self.used += 1
                self.world.replaying_draws = list(draws)
                self._perform(action)
                self.world.results.clear()
                self.world.work.clear()
                self.world.flushes.clear()
                self.world.frames_sent.update((n.id, to, b) for n, to, b in self.world.frames)
                self.world.frames.clear()
                self.world.turns.clear()
                self.world.refused.clear()
            if heal is not None:
                self._heal(settings, heal)
            check_with_detangle(self.world.history, self.world.checker.model.first)
        except Violation as violation:
            self.violation = violation

    def _heal(self, settings: Settings, seed: int) -> None:
        self._say("the storm is over: a majority is healed")
        self.world.healing = True
        run = Run(seed, settings, lambda _settings, _timeouts: self.world)
        run.heal()

    def _say(self, text: str) -> None:
        if self._tell:
            self._tell(text)

    def _perform(self, action: Action) -> None:
        world = self.world
        what = action[0]
        if what == "deliver_frame":
            if (action[2], action[1], action[3]) not in world.frames_sent:
                return
            self._say(f"{action[2]} -> {action[1]}: {describe_frame(action[3])}")
            world.deliver_frame(*action[1:])
        elif what == "deliver":
            m = world.find(action[1])
            if m is None:
                return
            if self._tell:
                self._tell(describe_message(m))
            world.deliver(m)
        elif what in ("invoke", "asked"):
            op = self._ops.get(action[1])
            if op is None:
                op = self._ops[action[1]] = Op(**action[2])
            asks = f"client {op.client} asks for {op.kind} {op.key!r}"
            if what == "asked":
                self._say(f"{asks} of a node that stands still")
                world.asked(op)
                return
            self._say(f"node {action[3]}: {asks}")
            world.invoke(op, action[3])
        else:
            self._say(f"node {action[1]}: {what} {' '.join(map(str, action[2:]))}".rstrip())
            if action[1] in world.nodes:
                getattr(world, what)(*action[1:])
        if self._tell:
            for node in world.nodes.values():
                if node.up and node.raft.is_leader() and node.raft.term not in self._told:
                    self._told.add(node.raft.term)
                    self._say(f"    node {node.id} leads term {node.raft.term}")


def describe_frame(data: bytes) -> str:
    """One of the daemon's frames in a line."""
    frame = PeerFrame.FromString(data)
    parts = []
    if frame.HasField("forward"):
        entries = frame.forward.entries
        parts.append(f"forward {len(entries)} proposals to the leader of term {entries[0].term}")
        parts += [f"({_READ.unpack_from(e.context, 1)})" for e in entries]
    if frame.HasField("refused"):
        parts.append(f"refuses proposals {list(frame.refused.sequences)}: {frame.refused.code}")
    return " ".join(parts)


def describe_message(m: Message) -> str:
    """A message in a line."""
    text = f"{m.from_} -> {m.to}: {MessageType.Name(m.msg_type)} term {m.term}"
    if m.msg_type == MsgAppend:
        last = m.index + len(m.entries)
        text += f" after ({m.index}, {m.log_term})"
        if m.entries:
            text += f" entries {m.index + 1}..{last} of terms {[e.term for e in m.entries]}"
        return text + f" commit {m.commit}"
    for name in ("index", "log_term", "commit", "reject_hint"):
        value = getattr(m, name)
        if value:
            text += f" {name} {value}"
    if m.snapshot.metadata.index:
        text += f" snapshot {m.snapshot.metadata.index}"
    return text + (" rejected" if m.reject else "")


def shrink(
    settings: Settings,
    initial_draws: Sequence[int],
    steps: Sequence[Step],
    like: Violation,
    tries: int = 3000,
    heal: int | None = None,
    without: Callable[[], AbstractContextManager[None]] | None = None,
) -> list[Step]:
    """Leave out actions as long as the same still fails (ddmin).

    `without`: a context manager in which it must not fail, nor anything else: what is left over
    then shows the bug, and not something that is asked too much of a group.
    """
    left = tries

    def fails(candidate: Sequence[Step]) -> int:
        nonlocal left
        left -= 1
        replayed = Replayed(settings, initial_draws, candidate, heal=heal)
        violation = replayed.violation
        if violation is None or not alike(violation, like):
            return 0
        if without is not None:
            with without():
                if Replayed(settings, initial_draws, candidate, heal=heal).violation is not None:
                    return 0
        return replayed.used

    current = list(steps)
    used = fails(current)
    if not used:
        return current
    current = current[:used]
    # The shortest election timeouts need the fewest ticks.
    hasty = [(action, [0] * len(draws)) for action, draws in current]
    used = fails(hasty)
    if used:
        current = hasty[:used]
    chunk = max(1, len(current) // 2)
    while left > 0:
        position, removed = len(current), False
        while position > 0 and left > 0:
            start = max(0, position - chunk)
            candidate = current[:start] + current[position:]
            used = fails(candidate)
            if used:
                current = candidate[:used]
                removed = True
                position = min(start, len(current))
            else:
                position = start
        if chunk == 1 and not removed:
            break
        if chunk > 1:
            chunk = max(1, chunk // 2)
    return current
