"""One seed: a random schedule of everything that can happen to a cluster, then its healing.

Everything chancy is drawn here, from one generator made from the seed, in the order of events on
one heap. First the safety phase: clients, and the faults that the seed's settings switch on. Then
the liveness phase: a connected majority is healed, and must elect, commit, end every membership
change and agree, within a bound.
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final
from zlib import crc32

import raftd.applier as applier
from raft import StateRole
from raft.eraftpb import AddLearnerNode, AddNode, Message, MsgSnapshot, RemoveNode
from tests.harness.checkers import (
    Violation,
    check_with_detangle,
    has_majority,
    held,
    next_conf,
    promoted_later,
)
from tests.harness.cluster import Op, World
from tests.harness.disk import KEEP_ALL, KEEP_NONE
from tests.harness.sim_node import SimNode
from tests.harness.sim_swarm import Settings, draw

_LEADER: Final = StateRole.Leader

TICK, DELIVER, FLUSH, CLIENT, TIMEOUT, FAULT, CALL = range(7)

ARCHIVE: Final = 64
"""Messages kept to be delivered again, long after."""


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

    def __init__(self, seed: int, settings: Settings | None = None) -> None:
        self.seed = seed
        self.settings = settings or draw(seed)
        self.rng = random.Random(f"run {seed}")
        self.world = World(self.settings, random.Random(f"timeouts {seed}"))
        self.now = 0.0
        self.heap: list[tuple[float, int, int, Any, Any]] = []
        self._sequence = 0
        self.cut: set[tuple[int, int]] = set()
        self.calm = False
        self.delay = self.settings.delay_ms
        self.loss = self.settings.loss
        self.archive: deque[Message] = deque(maxlen=ARCHIVE)
        self.slow: set[int] = set()
        self.periods: dict[int, float] = {}
        self.clients = [Client(number) for number in range(self.settings.clients)]
        self.paused: dict[int, list[Message]] = {}
        self.digest = 0
        self.next_spare = self.settings.voters + self.settings.learners + 1
        self.last_answer = 0
        self.answered = 0
        self.excluded: frozenset[int] = frozenset()
        self.leaderless = 0

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
            self._safety()
            self._liveness()
            if not check_with_detangle(self.world.history, self.world.checker.model.first):
                self.world.checker.count("history_undecided")
        except Violation as violation:
            outcome.violation = violation
        world = self.world
        outcome.steps = world.step
        outcome.digest = crc32(repr((world.checker.golden_chain, world.step)).encode(), self.digest)
        outcome.counters = world.checker.counters
        outcome.committed = world.checker.committed
        outcome.answered = self.answered
        outcome.sim_ms = self.now
        return outcome

    def _safety(self) -> None:
        settings = self.settings
        for node_id in list(self.world.nodes):
            self._begin_ticking(node_id)
        for client in self.clients:
            self.at(self.between((0.0, 50.0)), CLIENT, client)
        for fault in sorted(settings.faults):
            self._schedule_fault(fault)
        if settings.group_commit:
            self.at(50.0, CALL, self._use_groups)
        self._after_step()
        self._loop(lambda: self.world.step >= settings.steps)

    def _begin_ticking(self, node_id: int) -> None:
        self.periods[node_id] = self.settings.tick_ms * self.between(self.settings.rates)
        self.at(self.periods[node_id] * self.rng.random(), TICK, node_id)

    def _loop(self, done: Callable[[], bool]) -> None:
        heap, world = self.heap, self.world
        while not done():
            self.now, _, kind, a, b = heappop(heap)
            if kind == TICK:
                self.at(self.periods[a], TICK, a)
                if a in self.paused:
                    continue
                world.tick(a)
                self.digest = (self.digest * 31 + a) & 0xFFFFFFFF
            elif kind == DELIVER:
                self._deliver(a)
            elif kind == FLUSH:
                if b == world.nodes[a].incarnation:
                    world.end_flush(a)
            elif kind == CLIENT:
                self._client_turn(a)
            elif kind == TIMEOUT:
                self._client_timeout(a, b)
            elif kind == FAULT:
                self._fault(a)
            else:
                a()
            self._after_step()

    def _after_step(self) -> None:
        world = self.world
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
        if world.results:
            results, world.results = world.results, []
            for op in results:
                self._answered(op)

    def _go_on_later(self, node: SimNode, what: str) -> None:
        incarnation = node.incarnation

        def go_on() -> None:
            if node.up and node.incarnation == incarnation:
                self.world.operate(node.id, what)

        self.at(self.between((0.1, 3.0)), CALL, go_on)

    # -- Network -------------------------------------------------------------------------------

    def _send(self, node: SimNode, m: Message) -> None:
        to = m.to
        rng = self.rng
        snapshot = m.msg_type == MsgSnapshot
        self.digest = (self.digest * 31 + m.msg_type * 7 + to) & 0xFFFFFFFF
        if to not in self.world.nodes:
            return
        if (node.id, to) in self.cut or (self.loss and rng.random() < self.loss):
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
            self.archive.append(m)
            if rng.random() < settings.replay:
                old = self.archive[rng.randrange(len(self.archive))]
                self.at(self.between(self.delay), DELIVER, _copy(old))

    def _report_snapshot(self, node: SimNode, to: int, ok: bool) -> None:
        incarnation = node.incarnation

        def report() -> None:
            if node.up and node.incarnation == incarnation:
                self.world.operate(node.id, "snapshot_status", to, ok)

        self.at(self.between(self.delay) + 5.0, CALL, report)

    def _deliver(self, m: Message) -> None:
        to = m.to
        if (m.from_, to) in self.cut and self.rng.random() < 0.8:
            return
        if to in self.paused:
            self.paused[to].append(m)
            return
        self.digest = (self.digest * 31 + m.msg_type + m.term) & 0xFFFFFFFF
        if self.settings.serialise:
            m = _copy(m)
        self.world.deliver(m)

    # -- Clients -------------------------------------------------------------------------------

    def _client_turn(self, client: Client) -> None:
        rng, settings = self.rng, self.settings
        if client.op is None:
            client.sequence += 1
            client.attempts = 0
            client.op = self._new_op(client)
        op = client.op
        node_id = self._pick_node()
        client.attempts += 1
        if node_id and self.world.invoke(op, node_id):
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
        if leader is not None and self.rng.random() < 0.6 and leader.id not in self.paused:
            return leader.id
        up = [
            node.id
            for node in self.world.nodes.values()
            if node.up and node.id not in self.paused and node.id not in self.excluded
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

    # -- Faults --------------------------------------------------------------------------------

    def _schedule_fault(self, fault: str) -> None:
        mean = self.settings.faults[fault]
        self.at(self.rng.expovariate(1.0 / mean), FAULT, fault)

    def _fault(self, fault: str) -> None:
        if self.calm:
            return
        getattr(self, f"_fault_{fault}")()
        self._schedule_fault(fault)

    def _some_node(self) -> SimNode | None:
        up = [node for node in self.world.nodes.values() if node.up]
        return self.rng.choice(up) if up else None

    def _keep(self, node: SimNode) -> tuple[int, int]:
        """What of the unsynced writes survives a crash."""
        rng = self.rng
        keep = rng.choice((KEEP_NONE, KEEP_ALL, rng.randrange(4)))
        harsh = 0
        if self.settings.harsh and keep != KEEP_ALL:
            harsh = rng.getrandbits(8)
        return keep, harsh

    def _outage(self) -> float:
        return self.between(self.settings.outage_ms)

    def _restart_later(self, node_id: int) -> None:
        def start() -> None:
            if not self.calm:
                self.world.start(node_id)

        self.at(self._outage(), CALL, start)

    def _fault_crash(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.crash(node.id, *self._keep(node))
            self.paused.pop(node.id, None)
            self._restart_later(node.id)

    def _fault_crash_at_point(self) -> None:
        node = self._some_node()
        if node is not None:
            keep, harsh = self._keep(node)
            self.world.arm_crash(node.id, self.rng.randrange(1, 12), keep, harsh)
            self._restart_if_down_later(node.id)

    def _restart_if_down_later(self, node_id: int) -> None:
        def start() -> None:
            node = self.world.nodes[node_id]
            if self.calm:
                return
            if node.up:
                node.crash_after = 0
            else:
                self.world.start(node_id)

        self.at(self._outage(), CALL, start)

    def _fault_crash_all(self) -> None:
        for node_id in list(self.world.nodes):
            node = self.world.nodes[node_id]
            if node.up:
                self.world.crash(node_id, *self._keep(node))
                self.paused.pop(node_id, None)
                self._restart_later(node_id)
        self.world.checker.count("crash_all")

    def _fault_sync_failure(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.fail_sync(node.id, self.rng.choice((KEEP_NONE, KEEP_ALL, 1)))
            self._restart_if_down_later(node.id)

    def _cut_for_a_while(self, links: set[tuple[int, int]]) -> None:
        links -= self.cut
        self.cut |= links

        def heal() -> None:
            if not self.calm:
                self.cut -= links

        self.at(self._outage(), CALL, heal)

    def _fault_partition(self) -> None:
        ids = sorted(self.world.nodes)
        self.rng.shuffle(ids)
        split = self.rng.randrange(1, len(ids)) if len(ids) > 1 else 1
        left, right = ids[:split], ids[split:]
        if self.rng.random() < 0.3 and len(ids) > 2:
            # A bridge: one node hears both sides.
            left = left[1:] if len(left) > 1 else left
            right = right[:-1] if len(right) > 1 and self.rng.random() < 0.5 else right
        self._cut_for_a_while(
            {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
        )

    def _fault_one_way(self) -> None:
        ids = sorted(self.world.nodes)
        one = self.rng.choice(ids)
        others = [other for other in ids if other != one and self.rng.random() < 0.7]
        if self.rng.random() < 0.5:
            self._cut_for_a_while({(one, other) for other in others})
        else:
            self._cut_for_a_while({(other, one) for other in others})

    def _fault_isolate_leader(self) -> None:
        leader = self.world.leader()
        if leader is not None:
            others = [other for other in self.world.nodes if other != leader.id]
            links = {(leader.id, other) for other in others}
            if self.rng.random() < 0.6:
                links |= {(other, leader.id) for other in others}
            self._cut_for_a_while(links)

    def _fault_pause(self) -> None:
        node = self._some_node()
        if node is None or node.id in self.paused:
            return
        self.paused[node.id] = []
        self.at(self._outage(), CALL, lambda: self._resume(node.id))

    def _resume(self, node_id: int) -> None:
        waiting = self.paused.pop(node_id, None)
        if waiting is None:
            return
        self.world.operate(node_id, "resume")
        for m in waiting:
            self._deliver(m)
            self._after_step()

    def _fault_slow_disk(self) -> None:
        node = self._some_node()
        if node is not None:
            self.slow.add(node.id)
            self.at(self._outage(), CALL, lambda: self.slow.discard(node.id))

    def _fault_storm(self) -> None:
        self.loss = self.rng.choice((0.0, 0.1, 0.4))
        self.delay = self.rng.choice((self.settings.delay_ms, (0.1, 100.0), (0.1, 1.0)))

        def end() -> None:
            if not self.calm:
                self.loss, self.delay = self.settings.loss, self.settings.delay_ms

        self.at(self._outage(), CALL, end)

    def _fault_transfer(self) -> None:
        node = self.world.leader() if self.rng.random() < 0.8 else self._some_node()
        if node is not None:
            target = self.rng.choice(sorted(self.world.nodes))
            self.world.operate(node.id, "transfer", target)

    def _fault_campaign(self) -> None:
        node = self._some_node()
        if node is not None and node.id not in self.paused:
            self.world.operate(node.id, "campaign")

    def _fault_compact(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.operate(node.id, "compact", self.settings.compact_keep)

    def _fault_snapshot_trouble(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.operate(node.id, "snapshot_unavailable", self.rng.randrange(1, 5))

    def _fault_api(self) -> None:
        node = self._some_node()
        if node is None:
            return
        rng, world = self.rng, self.world
        peer = rng.choice(sorted(world.nodes))
        what = rng.choice(
            (
                "ping",
                "unreachable",
                "request_snapshot",
                "request_snapshot",
                "forget_leader",
                "priority",
                "batch_append",
                "skip_bcast_commit",
                "max_inflight",
                "fetch_later",
                "control",
            )
        )
        if what == "request_snapshot" and self.settings.mode != "core":
            return  # The daemon never asks for one.
        if what == "max_inflight":
            world.checker.caps_may_shrink = True
        args: tuple[Any, ...] = {
            "unreachable": (peer,),
            "request_snapshot": (
                max(0, node.raft.raft_log.last_index() - rng.choice((0, 0, 1, 3, 50))),
            ),
            "priority": (rng.randrange(3),),
            "batch_append": (rng.random() < 0.5,),
            "skip_bcast_commit": (rng.random() < 0.5,),
            "max_inflight": (peer, rng.choice((1, 4, 256))),
            "fetch_later": (rng.randrange(1, 4),),
            "control": (rng.choice(("clock", "verify")), int(self.now)),
        }.get(what, ())
        world.operate(node.id, what, *args)
        if what == "fetch_later":
            incarnation = node.incarnation

            def fetched() -> None:
                if node.up and node.incarnation == incarnation:
                    node.disk.fetch_later = 0
                    world.operate(node.id, "fetched")

            self.at(20.0, CALL, fetched)

    # -- Membership ----------------------------------------------------------------------------

    def _fault_member(self) -> None:
        world, rng = self.world, self.rng
        node = world.leader() if rng.random() < 0.9 else self._some_node()
        if node is None or node.id in self.paused:
            return
        conf = world.checker.views[node.id].conf
        gone = node.raft.prs.removed
        pool = [i for i in range(1, self.next_spare + self._spares_left()) if i not in gone]
        if not pool:
            return
        before = set(world.nodes)
        kind = rng.random()
        if kind < 0.6:
            self._begin_change(node, conf.voters, conf.learners, pool)
        elif kind < 0.8:
            change = rng.choice((AddNode, AddLearnerNode, RemoveNode))
            ids = pool if change != RemoveNode else sorted(conf.members()) or pool
            world.operate(node.id, "change_one", int(change), rng.choice(ids), rng.random() < 0.5)
        else:
            singles = [
                (int(rng.choice((AddNode, AddLearnerNode, RemoveNode))), rng.choice(pool))
                for _ in range(rng.randrange(1, 4))
            ]
            world.operate(node.id, "change_v2", rng.randrange(3), singles)
        for node_id in sorted(set(world.nodes) - before):
            self.next_spare = max(self.next_spare, node_id + 1)
            self._begin_ticking(node_id)

    def _spares_left(self) -> int:
        used = self.next_spare - 1 - self.settings.voters - self.settings.learners
        return 1 if used < self.settings.spares else 0

    def _begin_change(
        self, node: SimNode, voters: frozenset[int], learners: frozenset[int], pool: list[int]
    ) -> None:
        rng = self.rng
        kind = rng.random()
        if kind < 0.5:
            # A few differ.
            target = set(voters)
            for _ in range(rng.randrange(1, 4)):
                target ^= {rng.choice(pool)}
        else:
            target = set(rng.sample(pool, rng.randrange(1, min(len(pool), 7) + 1)))
        if not target:
            target = {rng.choice(pool)}
        rest = [node_id for node_id in pool if node_id not in target]
        others = {node_id for node_id in rest if rng.random() < 0.3}
        promotable = [node_id for node_id in sorted(others) if rng.random() < 0.4]
        successor = rng.choice(sorted(target)) if rng.random() < 0.3 else 0
        self.world.operate(
            node.id,
            "begin",
            sorted(target),
            sorted(others),
            rng.random() < 0.5,
            successor,
            promotable,
        )

    def _fault_leave_joint(self) -> None:
        leader = self.world.leader()
        if leader is not None and leader.id not in self.paused:
            what = "finalize" if self.rng.random() < 0.6 else "rollback"
            self.world.operate(leader.id, what)

    def _fault_rollback_campaign(self) -> None:
        joint = [
            node
            for node in self.world.nodes.values()
            if node.up and node.id not in self.paused and node.raft.is_in_membership_change()
        ]
        if joint:
            self.world.operate(self.rng.choice(joint).id, "campaign_for_rollback")

    def _use_groups(self) -> None:
        leader = self.world.leader()
        if leader is not None and not self.calm:
            groups = [(node_id, 1 + node_id % 2) for node_id in sorted(self.world.nodes)]
            self.world.operate(leader.id, "group_commit", True, groups)
        self.at(100.0, CALL, self._use_groups)

    # -- Liveness ------------------------------------------------------------------------------

    def _liveness(self) -> None:
        """Heal a majority of every configuration that counts, and wait for all to be well."""
        world, settings = self.world, self.settings
        self.calm = True
        chosen = self._choose_survivors()
        everyone = list(world.nodes)
        self.excluded = frozenset(everyone) - chosen
        self.cut = {(a, b) for a in everyone for b in everyone if (a in chosen) != (b in chosen)}
        self.loss, self.delay = 0.0, (0.5, 2.0)
        self.slow.clear()
        for node_id in everyone:
            node = world.nodes[node_id]
            self.periods[node_id] = settings.tick_ms
            node.crash_after = 0
            if node_id not in chosen:
                if node.up:
                    world.crash(node_id, KEEP_ALL)
                self.paused.pop(node_id, None)
                continue
            node.disk.failing = False
            node.snapshots_unavailable = 0
            node.disk.fetch_later = 0
            self._resume(node_id)
            if not node.up:
                world.start(node_id)
            world.operate(node_id, "fetched")
            world.operate(node_id, "priority", 0)
            if settings.group_commit:
                world.operate(node_id, "group_commit", False, [])
            self._after_step()
        if settings.flush_ms[1]:
            for node_id in chosen:
                node = world.nodes[node_id]
                if node.flushing:
                    self.at(0.01, FLUSH, node_id, node.incarnation)
        floor = world.checker.committed
        answered = self.answered
        max_timeout = 2 * settings.election_tick * settings.tick_ms
        deadline = self.now + 60 * max_timeout + 3000.0
        self._converge(chosen, floor, answered, deadline)

    def _choose_survivors(self) -> frozenset[int]:
        world, rng = self.world, self.rng
        everyone = frozenset(world.nodes)
        if self.settings.heal_all:
            return everyone
        needed: list[frozenset[int]] = []
        checker = world.checker
        # Whoever lags still needs the majorities of the configuration it knows.
        oldest = min(
            (checker.views[i].applied for i in everyone if checker.views[i].applied),
            default=1,
        )
        first = checker.confs.index(checker.conf_at(oldest)[1])
        for conf in checker.confs[first:]:
            needed.extend(conf.quorums())
        needed.extend(self._quorums_to_come())
        for node in world.nodes.values():
            # Who is promoted at any moment is needed from then on.
            needed.append(checker.conf.voters | frozenset(node.conf_state.promotable))
        order = sorted(everyone)
        rng.shuffle(order)
        chosen = set(everyone)
        for node_id in order:
            if has_majority(needed, chosen - {node_id}) and rng.random() < 0.8:
                chosen.discard(node_id)
        return frozenset(chosen)

    def _quorums_to_come(self) -> list[frozenset[int]]:
        """The majorities that membership entries in the logs, not committed yet, may call for.

        Not always those of a Begin that is held: whoever is left can roll that back.
        """
        checker = self.world.checker
        found: list[frozenset[int]] = []
        for node_id in sorted(self.world.nodes):
            conf = checker.conf
            for entry in self.world.nodes[node_id].disk.view.entries:
                if not entry.entry_type or entry.index <= checker.committed:
                    continue
                try:
                    conf = next_conf(conf, entry)
                except Violation:
                    break  # It belongs to a log that will not be.
                if conf.joint and held(entry) and self.rng.random() < 0.5:
                    break
                found.extend(conf.quorums())
                found.append(conf.quorums()[-1] | promoted_later(entry))
        return found

    def _converge(self, chosen: frozenset[int], floor: int, answered: int, deadline: float) -> None:
        check_at = self.now
        stable_since = 0.0
        stable_term = 0

        def done() -> bool:
            nonlocal check_at, stable_since, stable_term
            if self.now < check_at:
                return False
            check_at = self.now + 2 * self.settings.tick_ms
            why = self._why_not_converged(chosen, floor, answered)
            if why:
                stable_since = 0.0
                if self.now > deadline:
                    raise Violation("liveness", f"after {self.now:.0f} ms: {why}")
                self._help_along()
                return False
            leader = self.world.leader()
            assert leader is not None
            if not stable_since or leader.raft.term != stable_term:
                if self.now > deadline:
                    raise Violation("liveness", "leaders keep changing in calm")
                stable_since, stable_term = self.now, leader.raft.term
            window = 4 * self.settings.election_tick * self.settings.tick_ms
            return self.now - stable_since > window

        self._loop(done)

    def _why_not_converged(self, chosen: frozenset[int], floor: int, answered: int) -> str:
        world = self.world
        leader = world.leader()
        if leader is None:
            return "no leader"
        conf = world.checker.conf
        if conf.joint:
            return f"still joint: {conf}"
        if leader.id not in conf.voters:
            return f"leader {leader.id} is no voter"
        if leader.raft.raft_log.committed <= floor:
            return f"nothing was committed after {floor}"
        if self.answered <= answered:
            return "no client was answered"
        for node_id in sorted(chosen & conf.members()):
            node = world.nodes[node_id]
            if not node.up:
                return f"node {node_id} stopped"
            if node.raft.leader_id != leader.id or node.raft.term != leader.raft.term:
                return f"node {node_id} does not follow {leader.id}"
            if node.applied < leader.raft.raft_log.committed - 30:
                return f"node {node_id} applied {node.applied} of {leader.applied}"
            if leader.raft.prs.promotable & chosen:
                return f"learners {sorted(leader.raft.prs.promotable)} were not promoted"
        return ""

    def _running(self) -> frozenset[int]:
        return frozenset(node.id for node in self.world.nodes.values() if node.up)

    def _roll_back(self) -> None:
        """Nobody can be elected: let one of C_old campaign to roll the change back."""
        world = self.world
        candidates = [
            node
            for node in world.nodes.values()
            if node.up
            and node.raft.is_in_membership_change()
            and node.id in world.checker.views[node.id].conf.voters
        ]
        if candidates:
            best = max(
                candidates,
                key=lambda n: (n.raft.raft_log.last_term(), n.raft.raft_log.last_index()),
            )
            world.operate(best.id, "campaign_for_rollback")
            self._after_step()

    def _help_along(self) -> None:
        """What an operator does about a change that was held, or cannot be finished."""
        world = self.world
        if not self.settings.pre_vote and not self.settings.check_quorum:
            self._stop_the_departed()
            for node_id in sorted(
                (world.nodes.keys() - self.excluded) & world.checker.conf.members()
            ):
                world.start(node_id)  # One that was stopped too early: it is to be a member again.
        leader = world.leader()
        if leader is None or leader.raft.raft_log.committed < world.checker.committed:
            self.leaderless += 1
            if self.leaderless % 40 == 0:
                self._roll_back()
            return
        self.leaderless = 0
        view = world.checker.views[leader.id]
        if (
            view.conf.joint
            and view.conf.new_voters is not None
            and not has_majority((view.conf.new_voters,), self._running())
        ):
            world.operate(leader.id, "rollback")
            self._after_step()
        elif view.conf.joint and not leader.raft.prs.auto_leave:
            world.operate(leader.id, "finalize")
            self._after_step()

    def _stop_the_departed(self) -> None:
        """Without PreVote and CheckQuorum, who has left can disturb for ever: operators stop it.

        But not before a majority of the newcomers knows that it is one: until then they need it.
        """
        world, checker = self.world, self.world.checker
        conf = checker.conf
        if conf.joint:
            return
        knowing = {
            node_id
            for node_id in conf.voters
            if world.nodes[node_id].up and checker.views[node_id].conf == conf
        }
        if not has_majority(conf.quorums(), knowing):
            return
        departed = frozenset().union(*(old.members() for old in checker.confs)) - conf.members()
        for node_id in sorted(departed):
            if world.nodes[node_id].up:
                world.crash(node_id, KEEP_ALL)


def _copy(m: Message) -> Message:
    return Message.FromString(m.SerializeToString())


def run_seed(seed: int, steps: int = 2000, **fixed: Any) -> Outcome:
    """Run a seed with the garbage collector off: it would cost a tenth and changes nothing."""
    enabled = gc.isenabled()
    gc.disable()
    settings = draw(seed, steps, **fixed)
    save_entries = applier.SAVE_ENTRIES
    # So few entries pass here that nothing would ever have to be saved.
    applier.SAVE_ENTRIES = settings.save_entries  # type: ignore[misc]
    try:
        return Run(seed, settings).run()
    finally:
        applier.SAVE_ENTRIES = save_entries  # type: ignore[misc]
        if enabled:
            gc.enable()
