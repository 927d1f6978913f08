"""One seed: a random schedule of everything that can happen to a cluster, then its healing.

Everything chancy is drawn here, from one generator made from the seed, in the order of events on
one heap. First the safety phase: clients, and the faults that the seed's settings switch on. Then
the liveness phase: a connected majority is healed, and must elect, commit, end every membership
change and agree, within a bound.
"""

from __future__ import annotations

import gc
import math
import random
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final
from zlib import crc32

from raft import ProgressState
from raft.eraftpb import Message, MessageType, MsgSnapshot
from raftd.machines.kv import APART_BYTES
from tests.harness.checkers import Violation, check_with_detangle
from tests.harness.cluster import Op, World
from tests.harness.sim_daemon import DaemonNode
from tests.harness.sim_events import CALL, CLIENT, DELIVER, FAULT, FLUSH, TICK, TIMEOUT, TURN
from tests.harness.sim_faults import Faults
from tests.harness.sim_healing import Healing
from tests.harness.sim_node import SimNode
from tests.harness.sim_swarm import Settings, draw

SECONDS_MAX: Final = 30.0
"""Of CPU, for a seed; most take a tenth of one."""
_LATER: Final = 1_000_000
ARCHIVE: Final = 8
"""Messages of each type kept to be delivered again, long after."""


@dataclass(slots=True)
class Outcome:
    """What became of a seed.

    Attributes:
        seed: The seed.
        steps: Steps taken.
        digest: Of all that happened, in order.
        violation: What did not hold; None if all is well.
        counters: What was covered.
        committed, answered: Entries committed, operations answered.
        sim_ms: Simulated time.
    """

    seed: int
    steps: int = 0
    digest: int = 0
    violation: Violation | None = None
    counters: dict[str, int] = field(default_factory=dict)
    committed: int = 0
    answered: int = 0
    sim_ms: float = 0.0


class Client:
    """A client: one operation at a time, retried at other nodes until answered or given up."""

    __slots__ = ("attempts", "id", "op", "sequence")

    def __init__(self, client_id: int) -> None:
        self.id = client_id
        self.sequence = 0
        self.op: Op | None = None
        self.attempts = 0


class Run:
    """The schedule of one seed."""

    def __init__(
        self,
        seed: int,
        settings: Settings | None = None,
        make_world: Callable[[Settings, random.Random], World] = World,
    ) -> None:
        self.seed = seed
        self.settings = settings or draw(seed)
        self.rng = random.Random(f"run {seed}")
        self.world = make_world(self.settings, random.Random(f"timeouts {seed}"))
        self.now = 0.0
        self.heap: list[tuple[float, int, int, Any, Any]] = []
        self._sequence = 0
        self.cut: set[tuple[int, int]] = set()
        self.calm = False
        self.delay = self.settings.delay_ms
        self.loss = self.settings.loss
        self.lost_types = {
            int(MessageType.Value(name)): share for name, share in self.settings.lost_types.items()
        }
        self.archive: dict[int, deque[Message]] = {}
        self.slow: set[int] = set()
        self.periods: dict[int, float] = {}
        self.clients = [Client(number) for number in range(self.settings.clients)]
        self.paused: dict[int, list[tuple[bool, Callable[[], object]]]] = {}
        """What waits at nodes that stand still, in the order it came; whether a client sent it."""
        self.quiet = False
        """Whether clients hold back."""
        self.digest = 0
        self.last_answer = 0
        self.answered = 0
        self.excluded: frozenset[int] = frozenset()
        self.turn_at: dict[int, float] = {}
        self.engines = self.settings.mode == "engine"
        self.faults = Faults(self)

    # -- The heap ------------------------------------------------------------------------------

    def at(self, delay: float, kind: int, a: Any = None, b: Any = None) -> None:
        """Let something happen `delay` milliseconds from now."""
        self._sequence += 1
        heappush(self.heap, (self.now + delay, self._sequence, kind, a, b))

    def between(self, bounds: tuple[float, float]) -> float:
        """Draw from a range."""
        low, high = bounds
        return low + (high - low) * self.rng.random()

    # -- Running -------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the seed; a violation is in what is returned, not raised."""
        outcome = Outcome(self.seed)
        try:
            self.storm()
            Healing(self).heal_and_wait()
            if not check_with_detangle(self.world.history, self.world.checker.model.first):
                self.world.checker.count("history_undecided")
        except Violation as violation:
            outcome.violation = violation
        world = self.world
        outcome.steps = world.step
        outcome.digest = crc32(repr((world.checker.golden_chain, world.step)).encode(), self.digest)
        outcome.counters = world.checker.counters
        for (msg_type, role), times in world.received.items():
            outcome.counters[f"recv_{MessageType.Name(msg_type)}_{role.name}"] = times
        outcome.committed = world.checker.committed
        outcome.answered = self.answered
        outcome.sim_ms = self.now
        return outcome

    def heal(self) -> None:
        """Only the second phase, in a world that came to be otherwise; clients have much to do."""
        self.now = self.world.time
        for client in self.clients:
            client.sequence = _LATER  # None of their keys was used in the storm.
        self._begin()
        for node in self.world.nodes.values():
            if not node.up:
                continue
            if self.engines:
                self.world.turns.append((node, 0.0))
            if isinstance(node, DaemonNode):
                going_on = ("stage_step", "snapshot_step", "state_flushed")
                self.world.work += [(node, what) for what in going_on]
            # What was on its way is not any more, and whoever carries snapshots says so.
            for peer, progress in list(node.raft.prs.progress.items()):
                if progress.state is ProgressState.Snapshot:
                    self.world.operate(node.id, "snapshot_status", peer, False)
        Healing(self).heal_and_wait()

    def _begin(self) -> None:
        for node_id in list(self.world.nodes):
            self.begin_ticking(node_id)
        for client in self.clients:
            self.at(self.between((0.0, 50.0)), CLIENT, client)

    def storm(self) -> None:
        """The first phase, in which things go wrong."""
        settings = self.settings
        self._begin()
        for fault in sorted(settings.faults):
            self.faults.schedule(fault)
        if settings.group_commit:
            self.at(50.0, CALL, self.faults.use_groups)
        self.after_step()
        self.loop(lambda: self.world.step >= settings.steps)

    def begin_ticking(self, node_id: int) -> None:
        """Let a node's clock run."""
        settings = self.settings
        rate = self.rng.choice(settings.rates) if settings.lease_reads else None
        self.periods[node_id] = settings.tick_ms * (rate or self.between(settings.rates))
        if self.engines:
            return  # They have timers of their own.
        self.at(self.periods[node_id] * self.rng.random(), TICK, node_id)

    def loop(self, done: Callable[[], bool]) -> None:
        """Let events happen until `done`."""
        heap, world = self.heap, self.world
        while not done():
            self.now, _, kind, a, b = heappop(heap)
            world.time = self.now
            if kind == TICK:
                self.at(self.periods[a], TICK, a)
                if a in self.paused:
                    continue
                world.tick(a)
                self.digest = (self.digest * 31 + a) & 0xFFFFFFFF
            elif kind == TURN:
                self._turn(a, b)
            elif kind == DELIVER:
                self.deliver(a)
            elif kind == FLUSH:
                if b == world.nodes[a].incarnation:
                    world.end_flush(a)
            elif kind == CLIENT:
                self._client_turn(a)
            elif kind == TIMEOUT:
                self._client_timeout(a, b)
            elif kind == FAULT:
                self.faults.happen(a)
            else:
                a()
            self.after_step()

    def after_step(self) -> None:
        """Take up what came of the last step."""
        world = self.world
        if world.up_changed:
            world.up_changed = False
            self.links_change()
        if world.outbox:
            sent, world.outbox = world.outbox, []
            for node, m in sent:
                self._send(node, m)
        if world.flushes:
            started, world.flushes = world.flushes, []
            for node in started:
                bounds = self.settings.flush_ms
                delay = self.between(bounds)
                if node.id in self.slow:
                    delay = delay * 10 + 20.0
                self.at(0.01 if self.calm else delay, FLUSH, node.id, node.incarnation)
        if world.work:
            begun, world.work = world.work, []
            for node, what in begun:
                self._go_on_later(node, what)
        if world.frames:
            frames, world.frames = world.frames, []
            for node, to, data in frames:
                self._send_frame(node.id, to, data)
        if world.turns:
            turns, world.turns = world.turns, []
            for node, when in turns:
                self._turn_later(node, when)
        if world.refused:
            refused, world.refused = world.refused, []
            for op in refused:
                self.at(self.between((5.0, 20.0)), TIMEOUT, self.clients[op.client], op)
        if world.results:
            results, world.results = world.results, []
            for op in results:
                self._answered(op)

    def _go_on_later(self, node: SimNode, what: str) -> None:
        incarnation = node.incarnation

        def go_on() -> None:
            if node.up and node.incarnation == incarnation:
                self.world.operate(node.id, what)

        # A flush takes a while; the rest are steps of something long.
        takes = (0.1, 30.0) if what == "state_flushed" else (0.1, 3.0)
        self.at(self.between(takes), CALL, go_on)

    # -- The daemon's engines ------------------------------------------------------------------

    def _turn_later(self, node: SimNode, when: float) -> None:
        when = max(when, self.now + self.rng.random() * 0.1)
        if self.turn_at.get(node.id, math.inf) <= when:
            return
        self.turn_at[node.id] = when
        self.at(when - self.now, TURN, node.id, when)

    def _turn(self, node_id: int, when: float) -> None:
        if self.turn_at.get(node_id) != when:
            return  # There is an earlier one.
        del self.turn_at[node_id]
        if node_id in self.paused:
            self.paused[node_id].append((False, lambda: self.world.turn(node_id, self.now)))
            return
        self.digest = (self.digest * 31 + node_id) & 0xFFFFFFFF
        self.world.turn(node_id, self.now)

    def _send_frame(self, from_: int, to: int, data: bytes) -> None:
        if to not in self.world.nodes or (from_, to) in self.cut:
            return
        if self.loss and self.rng.random() < self.loss:
            return

        def arrive() -> None:
            if (from_, to) in self.cut:
                return
            if to in self.paused:
                self.paused[to].append((False, arrive))
            else:
                self.world.deliver_frame(to, from_, data)

        self.at(self.between(self.delay), CALL, arrive)

    def links_change(self) -> None:
        """Let the daemons find out which links are up, each after a while."""
        if not self.engines:
            return
        for node_id in sorted(self.world.nodes):
            self.at(self.between((1.0, 30.0)), CALL, partial(self._tell_links, node_id))

    def _tell_links(self, node_id: int) -> None:
        world = self.world
        if node_id in self.paused:
            self.paused[node_id].append((False, partial(self._tell_links, node_id)))
            return
        cut_off = [
            peer
            for peer in sorted(world.nodes)
            if peer != node_id
            and (
                not world.nodes[peer].up
                or (node_id, peer) in self.cut
                or (peer, node_id) in self.cut
            )
        ]
        world.operate(node_id, "links", cut_off)

    # -- Network -------------------------------------------------------------------------------

    def _send(self, node: SimNode, m: Message) -> None:
        to = m.to
        rng = self.rng
        snapshot = m.msg_type == MsgSnapshot
        self.digest = (self.digest * 31 + m.msg_type * 7 + to) & 0xFFFFFFFF
        if to not in self.world.nodes:
            return
        if (
            (node.id, to) in self.cut
            or (self.loss and rng.random() < self.loss)
            or (self.lost_types and rng.random() < self.lost_types.get(m.msg_type, 0.0))
        ):
            if snapshot:
                self._report_snapshot(node, to, ok=False)
            elif self.settings.tell_unreachable and rng.random() < self.settings.tell_unreachable:
                self.at(1.0, CALL, lambda: self.world.operate(node.id, "unreachable", to))
            return
        low, high = self.delay
        self.at(low + (high - low) * rng.random(), DELIVER, m)
        if snapshot:
            self._report_snapshot(node, to, ok=True)
        if self.calm:
            return
        settings = self.settings
        if settings.duplicate and rng.random() < settings.duplicate:
            self.at(self.between(self.delay) * 3, DELIVER, _copy(m))
        if settings.replay:
            kept = self.archive.get(m.msg_type)
            if kept is None:
                kept = self.archive[m.msg_type] = deque(maxlen=ARCHIVE)
            kept.append(m)
            if rng.random() < settings.replay:
                # Every type as often: those that are rare meet the other roles by this alone.
                kept = rng.choice(list(self.archive.values()))
                self.at(self.between(self.delay), DELIVER, _copy(rng.choice(kept)))

    def _report_snapshot(self, node: SimNode, to: int, ok: bool) -> None:
        incarnation = node.incarnation

        def report() -> None:
            if node.up and node.incarnation == incarnation:
                self.world.operate(node.id, "snapshot_status", to, ok)

        self.at(self.between(self.delay) + 5.0, CALL, report)

    def deliver(self, m: Message) -> None:
        """A message arrives, unless its link is cut."""
        to = m.to
        if (m.from_, to) in self.cut and self.rng.random() < 0.8:
            return
        if to in self.paused:
            self.paused[to].append((False, lambda: self.deliver(m)))
            return
        self.digest = (self.digest * 31 + m.msg_type + m.term) & 0xFFFFFFFF
        if self.settings.serialise:
            m = _copy(m)
        self.world.deliver(m)

    # -- Pauses --------------------------------------------------------------------------------

    def resume(self, node_id: int) -> None:
        """A paused node goes on, and hears all that came meanwhile."""
        waiting = self.paused.pop(node_id, None)
        if waiting is None:
            return
        self.world.operate(node_id, "resume")
        if self.rng.random() < 0.5:
            # Sockets have no order among each other: clients may be heard first.
            waiting.sort(key=lambda one: not one[0])
        for _, happen in waiting:
            happen()
            self.after_step()

    # -- Clients -------------------------------------------------------------------------------

    def _client_turn(self, client: Client) -> None:
        rng, settings = self.rng, self.settings
        if self.quiet:
            self.at(self.between((10.0, 40.0)), CLIENT, client)
            return
        if client.op is None:
            client.sequence += 1
            client.attempts = 0
            client.op = self._new_op(client)
        op = client.op
        node_id = self._pick_node()
        client.attempts += 1
        if node_id in self.paused:
            # It is in the node's socket: asked now, heard later.
            self.world.asked(op)
            self.paused[node_id].append((True, lambda: self.world.invoke(op, node_id)))
            self.at(settings.timeout_ms, TIMEOUT, client, op)
        elif node_id and self.world.invoke(op, node_id):
            self.at(settings.timeout_ms * (0.5 + rng.random()), TIMEOUT, client, op)
        else:
            self.at(self.between((2.0, 30.0)), TIMEOUT, client, op)

    def _new_op(self, client: Client) -> Op:
        rng, settings = self.rng, self.settings
        key = b"k%d" % rng.randrange(settings.keys)
        if rng.random() < settings.read_share:
            return Op(b"", "get", key, b"", b"", client.id, b"")
        session = b"c%d-%d" % (client.id, client.sequence)
        value = b"%d.%d" % (client.id, client.sequence)
        if settings.large_share and rng.random() < settings.large_share:
            value = value.ljust(APART_BYTES, b".")
        if rng.random() < settings.cas_share:
            model = self.world.checker.model
            expected = model.value(key, model.index)
            if rng.random() < 0.3:
                expected = b"none"
            kind = "cas"
        else:
            kind, expected = "put", b""
        data = self.world.encode_op(kind, key, value, expected)
        return Op(session, kind, key, value, expected, client.id, data)

    def _pick_node(self) -> int:
        leader = self.world.leader()
        if leader is not None and self.rng.random() < 0.6:
            return leader.id
        up = [
            node.id
            for node in self.world.nodes.values()
            if node.up and node.id not in self.excluded
        ]
        return self.rng.choice(up) if up else 0

    def _client_timeout(self, client: Client, op: Op) -> None:
        if client.op is not op:
            return
        if client.attempts >= 4 and self.rng.random() < 0.4:
            client.op = None  # Given up: its outcome is unknown for ever.
            self.world.checker.count("op_given_up")
        self._client_turn(client)

    def _answered(self, op: Op) -> None:
        client = self.clients[op.client]
        self.answered += 1
        self.last_answer = max(self.last_answer, op.index)
        if client.op is op:
            client.op = None
            # In calm not faster than the smallest window and messages let a follower catch up.
            think_ms = max(self.settings.think_ms, 40.0) if self.calm else self.settings.think_ms
            self.at(self.between((0.0, 2 * think_ms)), CLIENT, client)


@contextmanager
def _seconds(limit: float) -> Iterator[None]:
    """Raise a `Violation` in whatever still runs after `limit` seconds of CPU: it has no end.

    What is simulated has a bound; a step that goes round for ever has not. Only the main thread can
    be interrupted; elsewhere there is no limit.
    """

    def overdue(_signal: int, _frame: object) -> None:
        raise Violation("I14", f"some step does not end: {limit:g} s of CPU are used up")

    try:
        kept = signal.signal(signal.SIGVTALRM, overdue)
    except ValueError:  # Another thread.
        yield
        return
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, kept)


def _copy(m: Message) -> Message:
    return Message.FromString(m.SerializeToString())


def run_seed(seed: int, steps: int = 2000, **fixed: Any) -> Outcome:
    """Run a seed with the settings it draws; `fixed` ones are as given."""
    return run_settings(seed, draw(seed, steps, **fixed))


def run_settings(seed: int, settings: Settings) -> Outcome:
    """Run a seed with the garbage collector off: it would cost a fifth and changes nothing.

    What a run leaves is full of cycles, and thousands of seeds share a process, so it is collected
    at the end: the youngest generation alone, which is all that was made meanwhile. A full
    collection would go through every module each time.
    """
    enabled = gc.isenabled()
    gc.collect(0)  # What is older than the run is not gone through at its end.
    gc.disable()
    try:
        with _seconds(SECONDS_MAX):
            return Run(seed, settings).run()
    except Violation as violation:  # The group cannot even be made.
        return Outcome(seed, violation=violation)
    finally:
        gc.collect(0)
        if enabled:
            gc.enable()
