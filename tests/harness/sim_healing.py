"""After the storm: a majority is healed, and must elect, commit, and end what was begun."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from tests.harness.checkers import Violation, has_majority, held, next_conf, promoted_later
from tests.harness.disk import KEEP_ALL
from tests.harness.sim_events import FLUSH

if TYPE_CHECKING:
    from tests.harness.sim_run import Run


def _with_promoted(voters: frozenset[int], marked: frozenset[int]) -> list[frozenset[int]]:
    """The voters there may be when some of the `marked` learners have been promoted.

    Which of them is for the leader to say, at any moment: those may be promoted that were caught up
    before they were left out of the healing, and no others.
    """
    return [
        voters.union(some)
        for count in range(1, len(marked) + 1)
        for some in combinations(sorted(marked), count)
    ]


class Healing:
    """The liveness phase of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.rng = run.rng
        self.settings = run.settings
        self.leaderless = 0

    def heal_and_wait(self) -> None:
        """Heal a majority of every configuration that counts, and wait for all to be well."""
        world, settings = self.world, self.settings
        self.run.calm = True
        self._start_all()
        chosen = self._choose_survivors()
        everyone = list(world.nodes)
        self.run.excluded = frozenset(everyone) - chosen
        self.run.cut = {
            (a, b) for a in everyone for b in everyone if (a in chosen) != (b in chosen)
        }
        self.run.loss, self.run.delay = 0.0, (0.5, 2.0)
        self.run.lost_types = {}
        self.run.slow.clear()
        for node_id in everyone:
            node = world.nodes[node_id]
            self.run.periods[node_id] = settings.tick_ms
            if node_id not in chosen:
                if node.up:
                    world.crash(node_id, KEEP_ALL)
                self.run.paused.pop(node_id, None)
                continue
            self.run.resume(node_id)
            world.operate(node_id, "disarm")
            if not node.up:
                world.start(node_id)
            world.operate(node_id, "fetched")
            world.operate(node_id, "priority", 0)
            if settings.group_commit:
                world.operate(node_id, "group_commit", False, [])
            self.run.after_step()
        if settings.flush_ms[1]:
            for node_id in chosen:
                node = world.nodes[node_id]
                if node.flushing:
                    self.run.at(0.01, FLUSH, node_id, node.incarnation)
        self.run.quiet = True
        self.run.links_change()
        floor = world.checker.committed
        answered = self.run.answered
        max_timeout = 2 * settings.election_tick * settings.tick_ms
        deadline = self.run.now + 60 * max_timeout + 3000.0
        self._converge(chosen, floor, answered, deadline)

    def _start_all(self) -> None:
        """Let those that are down show what they still know: less, maybe, than before the crash.

        The commit index is not flushed for its own sake. Who had applied a Finalize may be joint
        again, and then needs a majority of C_old although everyone else has left it.
        """
        for node_id, node in self.world.nodes.items():
            if not node.up:
                self.world.operate(node_id, "disarm")
                self.world.start(node_id)

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
            promotable = frozenset(node.conf_state.promotable)
            for voters in checker.conf.quorums():
                needed += _with_promoted(voters, promotable)
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
            node = self.world.nodes[node_id]
            # What a core has appended may not have been written yet.
            entries = node.raft.raft_log.all_entries() if node.up else node.disk.view.entries
            for entry in entries:
                if not entry.entry_type or entry.index <= checker.committed:
                    continue
                try:
                    conf = next_conf(conf, entry)
                except Violation:
                    break  # It belongs to a log that will not be.
                if conf.joint and held(entry) and self.rng.random() < 0.5:
                    break
                found.extend(conf.quorums())
                found += _with_promoted(conf.quorums()[-1], promoted_later(entry))
        return found

    def _converge(self, chosen: frozenset[int], floor: int, answered: int, deadline: float) -> None:
        check_at = self.run.now
        stable_since = 0.0
        stable_term = 0

        def done() -> bool:
            nonlocal check_at, stable_since, stable_term
            if self.run.now < check_at:
                return False
            check_at = self.run.now + 2 * self.settings.tick_ms
            why = self._why_not_converged(chosen, floor, answered)
            if why:
                stable_since = 0.0
                if self.run.now > deadline:
                    raise Violation("liveness", f"after {self.run.now:.0f} ms: {why}")
                self._help_along()
                return False
            leader = self.world.leader()
            assert leader is not None
            if not stable_since or leader.raft.term != stable_term:
                if self.run.now > deadline:
                    raise Violation("liveness", "leaders keep changing in calm")
                stable_since, stable_term = self.run.now, leader.raft.term
            window = 4 * self.settings.election_tick * self.settings.tick_ms
            return self.run.now - stable_since > window

        self.run.loop(done)

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
        if not leader.raft.committed_in_own_term():
            return f"leader {leader.id} has committed nothing of its term {leader.raft.term}"
        # Without anybody proposing: its own empty entry must have done that (section 8).
        self.run.quiet = False
        if leader.raft.raft_log.committed <= floor:
            return f"nothing was committed after {floor}"
        if self.run.answered <= answered:
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
            self.run.after_step()

    def _help_along(self) -> None:
        """What an operator does about a change that was held, or cannot be finished."""
        world = self.world
        if not self.settings.pre_vote and not self.settings.check_quorum:
            self._stop_the_departed()
            for node_id in sorted(
                (world.nodes.keys() - self.run.excluded) & world.checker.conf.members()
            ):
                if not world.nodes[node_id].up:
                    # One that was stopped too early: it is to be a member again.
                    world.start(node_id)
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
            self.run.after_step()
        elif view.conf.joint and not leader.raft.prs.auto_leave:
            world.operate(leader.id, "finalize")
            self.run.after_step()

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
