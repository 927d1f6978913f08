"""Everything that may go wrong in a simulated cluster, and everything operators may do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raft.eraftpb import AddLearnerNode, AddNode, RemoveNode
from tests.harness.disk import KEEP_ALL, KEEP_NONE
from tests.harness.sim_events import CALL, FAULT
from tests.harness.sim_node import SimNode

if TYPE_CHECKING:
    from tests.harness.sim_run import Run


_FLUSHING: Final = (
    "before_write",
    "after_write",
    "sent",
    "written_not_flushed",
    "flushed",
    "flush_ended",
)
POINTS: Final = {
    "simple": ("sent", "written", "flushed", "sent_after", "applied"),
    "append": ("sent", "written", "flushed", "sent_after", "light_sent", "applied"),
    "async": _FLUSHING,
    "daemon": (*_FLUSHING, "staging", "staged"),
    "engine": (*_FLUSHING, "staging", "staged"),
}
"""Between which steps a node may crash, by how it is driven."""


class Faults:
    """The faults of one run, by the names in `sim_swarm.FAULTS`: method ``_fault_`` + name."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.rng = run.rng
        self.settings = run.settings
        self.next_spare = self.settings.voters + self.settings.learners + 1

    def schedule(self, fault: str) -> None:
        """Let a fault of this kind happen some time from now."""
        mean = self.settings.faults[fault]
        self.run.at(self.rng.expovariate(1.0 / mean), FAULT, fault)

    def happen(self, fault: str) -> None:
        """Let it happen now, and again later."""
        if self.run.calm:
            return
        getattr(self, f"_fault_{fault}")()
        self.schedule(fault)

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
        return self.run.between(self.settings.outage_ms)

    def _restart_later(self, node_id: int) -> None:
        def start() -> None:
            if not self.run.calm:
                self.world.start(node_id)

        self.run.at(self._outage(), CALL, start)

    def _fault_crash(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.crash(node.id, *self._keep(node))
            self.run.paused.pop(node.id, None)
            self._restart_later(node.id)

    def _fault_crash_at_point(self) -> None:
        node = self._some_node()
        if node is not None:
            keep, harsh = self._keep(node)
            points, place = self.rng.randrange(1, 12), ""
            if self.settings.crash_place:
                points, place = 1, self.settings.crash_place
            elif self.rng.random() < 0.6:
                # Some places are passed seldom: whoever waits for one meets it.
                points, place = self.rng.randrange(1, 4), self.rng.choice(POINTS[node.kind])
            self.world.arm_crash(node.id, points, keep, harsh, place)
            self._restart_if_down_later(node.id, patience=4.0 if place else 1.0)

    def _restart_if_down_later(self, node_id: int, patience: float = 1.0) -> None:
        def start() -> None:
            node = self.world.nodes[node_id]
            if self.run.calm:
                return
            if node.up:
                self.world.operate(node_id, "disarm")
            else:
                self.world.start(node_id)

        self.run.at(patience * self._outage(), CALL, start)

    def _fault_crash_all(self) -> None:
        for node_id in list(self.world.nodes):
            node = self.world.nodes[node_id]
            if node.up:
                self.world.crash(node_id, *self._keep(node))
                self.run.paused.pop(node_id, None)
                self._restart_later(node_id)
        self.world.checker.count("crash_all")

    def _fault_sync_failure(self) -> None:
        node = self._some_node()
        if node is not None:
            self.world.fail_sync(node.id, self.rng.choice((KEEP_NONE, KEEP_ALL, 1)))
            self._restart_if_down_later(node.id)

    def _drop_the_leaders_log(self) -> None:
        leader = self.world.leader()
        if leader is not None and leader.id not in self.run.paused and self.rng.random() < 0.5:
            self.world.operate(leader.id, "compact", 0)

    def _cut_for_a_while(
        self, links: set[tuple[int, int]], then: Callable[[], None] | None = None
    ) -> None:
        links -= self.run.cut
        self.run.cut |= links
        self.run.links_change()

        def heal() -> None:
            if not self.run.calm:
                if then is not None:
                    then()
                self.run.cut -= links
                self.run.links_change()

        self.run.at(self._outage(), CALL, heal)

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
            # What it appended alone will be in conflict, perhaps with a log that is gone already.
            self._cut_for_a_while(links, then=self._drop_the_leaders_log)

    def _fault_pause(self) -> None:
        node = self._some_node()
        if self.rng.random() < 0.4:
            node = self.world.leader() or node
        if node is None or node.id in self.run.paused:
            return
        self.run.paused[node.id] = []
        self.run.at(self._outage(), CALL, lambda: self.run.resume(node.id))

    def _fault_slow_disk(self) -> None:
        node = self._some_node()
        if node is not None:
            self.run.slow.add(node.id)
            self.run.at(self._outage(), CALL, lambda: self.run.slow.discard(node.id))

    def _fault_storm(self) -> None:
        self.run.loss = self.rng.choice((0.0, 0.1, 0.4))
        self.run.delay = self.rng.choice((self.settings.delay_ms, (0.1, 100.0), (0.1, 1.0)))

        def end() -> None:
            if not self.run.calm:
                self.run.loss, self.run.delay = self.settings.loss, self.settings.delay_ms

        self.run.at(self._outage(), CALL, end)

    def _fault_transfer(self) -> None:
        node = self.world.leader() if self.rng.random() < 0.8 else self._some_node()
        if node is not None:
            target = self.rng.choice(sorted(self.world.nodes))
            self.world.operate(node.id, "transfer", target)

    def _fault_hand_over_unheard(self) -> None:
        """A leader hands over, and hears nothing of what comes of it."""
        leader = self.world.leader()
        if leader is None or leader.id in self.run.paused:
            return
        others = sorted(self.world.nodes.keys() - {leader.id})
        if others:
            self.world.operate(leader.id, "transfer", self.rng.choice(others))
            self._cut_for_a_while({(other, leader.id) for other in others})

    def _fault_campaign(self) -> None:
        node = self._some_node()
        if node is not None and node.id not in self.run.paused:
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
            "control": (rng.choice(("clock", "verify")), int(self.run.now)),
        }.get(what, ())
        world.operate(node.id, what, *args)
        if what == "fetch_later":
            incarnation = node.incarnation

            def fetched() -> None:
                if node.up and node.incarnation == incarnation:
                    world.operate(node.id, "fetched")

            self.run.at(20.0, CALL, fetched)

    # -- Membership ----------------------------------------------------------------------------

    def _fault_member(self) -> None:
        world, rng = self.world, self.rng
        node = world.leader() if rng.random() < 0.9 else self._some_node()
        if node is None or node.id in self.run.paused:
            return
        conf = world.checker.views[node.id].conf
        pool = self._pool(node)
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
        self._newcomers(before)

    def _pool(self, node: SimNode) -> list[int]:
        """Who may be a member of what `node` proposes."""
        gone = node.raft.prs.removed
        return [i for i in range(1, self.next_spare + self._spares_left()) if i not in gone]

    def _newcomers(self, before: set[int]) -> None:
        """Let the clocks run of nodes that there were not."""
        for node_id in sorted(self.world.nodes.keys() - before):
            self.next_spare = max(self.next_spare, node_id + 1)
            self.run.begin_ticking(node_id)

    def _fault_depart(self) -> None:
        """A leader takes itself out of the few voters that are to be; mostly it stays a learner."""
        world, rng = self.world, self.rng
        leader = world.leader()
        if leader is None or leader.id in self.run.paused:
            return
        if leader.raft.is_in_membership_change():
            world.operate(leader.id, "finalize")
            return
        others = [node_id for node_id in self._pool(leader) if node_id != leader.id]
        if not others:
            return
        target = sorted(rng.sample(others, rng.randrange(1, min(len(others), 3) + 1)))
        learners = [leader.id] if rng.random() < 0.8 else []
        before = set(world.nodes)
        world.operate(leader.id, "begin", target, learners, rng.random() < 0.7, 0, [])
        self._newcomers(before)

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
        if leader is not None and leader.id not in self.run.paused:
            what = "finalize" if self.rng.random() < 0.6 else "rollback"
            self.world.operate(leader.id, what)

    def _fault_rollback_campaign(self) -> None:
        joint = [
            node
            for node in self.world.nodes.values()
            if node.up and node.id not in self.run.paused and node.raft.is_in_membership_change()
        ]
        if joint:
            self.world.operate(self.rng.choice(joint).id, "campaign_for_rollback")

    def use_groups(self) -> None:
        """Put the leader's followers into two commit groups, now and then."""
        leader = self.world.leader()
        if leader is not None and not self.run.calm:
            groups = [(node_id, 1 + node_id % 2) for node_id in sorted(self.world.nodes)]
            self.world.operate(leader.id, "group_commit", True, groups)
        self.run.at(100.0, CALL, self.use_groups)
