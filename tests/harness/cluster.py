"""A simulated cluster as something that actions are performed on: no time, no chance, no network.

Whoever decides what happens next, a random schedule or a recording, calls one method an action:
let a node tick, hand it a message, end its flush, crash it, start it, let a client or an operator
ask it something. `World` performs it on the real code, lets the checker look, and collects the
messages that left. What an action drew by chance (election timeouts) is kept with it, so that a
recorded list of actions means the same again, even with some of them left out.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raft import (
    ConfChangeError,
    Config,
    ConfigInvalid,
    Exists,
    NotExists,
    ProposalDropped,
    RequestSnapshotDropped,
    SnapshotStatus,
    StateRole,
    StepPeerNotFound,
)
from raft.eraftpb import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeV2,
    Entry,
    Message,
    conf_state_of,
)
from raftd.kvstore import StoreWriteError
from tests.harness import sim_daemon, sim_engine, sim_node
from tests.harness.checkers import Checker, Conf, Violation
from tests.harness.disk import DiskFailure
from tests.harness.sim_daemon import DaemonNode
from tests.harness.sim_engine import EngineNode
from tests.harness.sim_node import PROPOSAL, SimCrash, SimNode, decode_context
from tests.harness.sim_swarm import Settings

Spec = tuple[str, bytes, bytes, bytes]

_REFUSALS = (
    ProposalDropped,
    ConfChangeError,
    ConfigInvalid,
    Exists,
    NotExists,
    RequestSnapshotDropped,
    StepPeerNotFound,
)
"""What the library documents to raise for a message or a wish that it cannot take now."""


@dataclass(slots=True)
class Op:
    """One client operation, whatever number of attempts it takes.

    Attributes:
        session: The client's key for it; empty for a read.
        kind: "put", "cas" or "get".
        key, value, expected: Its arguments.
        client: Whose.
        data: The command.
        invoked: Step of the first attempt; 0: not yet.
        floor: What was committed then: a read must see it, a write must come after it.
        returned: Step of the answer; 0: none yet.
        result: The answer.
        index: Where it was applied, or the state that was read.
    """

    session: bytes
    kind: str
    key: bytes
    value: bytes
    expected: bytes
    client: int
    data: bytes
    invoked: int = 0
    floor: int = 0
    returned: int = 0
    result: bytes = b""
    index: int = 0

    @property
    def spec(self) -> Spec:
        """What the model is told."""
        return (self.kind, self.key, self.value, self.expected)


class World:
    """The cluster.

    Args:
        settings: Of the seed.
        timeouts: Draws election timeouts.
    """

    def __init__(
        self,
        settings: Settings,
        timeouts: random.Random,
    ) -> None:
        self.settings = settings
        self._timeouts = timeouts
        self._make_node: Callable[[World, int], SimNode]
        if settings.mode == "core":
            self._make_node, self.encode_op = SimNode, sim_node.encode_op
        elif settings.mode == "daemon":
            self._make_node, self.encode_op = sim_daemon.DaemonNode, sim_daemon.encode_op
        else:
            self._make_node, self.encode_op = sim_engine.EngineNode, sim_daemon.encode_op
        self.time = 0.0
        """Milliseconds; whoever performs actions sets it."""
        self.frames: list[tuple[SimNode, int, bytes]] = []
        """Frames of the daemon's own that left in this step: from, to, bytes."""
        self.turns: list[tuple[SimNode, float]] = []
        """Nodes that are to have a turn of their loop, and when; 0: soon."""
        self.refused: list[Op] = []
        """Operations that were refused after they were taken."""
        self.files: dict[str, bytes] = {}
        """Snapshot files by id: what a transfer on a connection of its own would carry."""
        self.work: list[tuple[SimNode, str]] = []
        """Nodes that have begun something which takes steps of its own, and its operation."""
        self.up_changed = False
        """Whether a node has started or stopped in this step: links come and go with it."""
        self.ops: dict[bytes, Op] = {}
        self.history: list[Op] = []
        self.step = 0
        self.outbox: list[tuple[SimNode, Message]] = []
        self.results: list[Op] = []
        """Operations that were answered in this step."""
        self.flushes: list[SimNode] = []
        """Nodes that have begun a flush in this step."""
        self.received: dict[tuple[int, StateRole], int] = {}
        """How often each type of message came to each role."""
        self.nodes: dict[int, SimNode] = {}
        if not hasattr(self, "draws"):
            self.draws: list[int] | None = None
            """Draws of the action under way, for a recording."""
        voters = range(1, settings.voters + 1)
        learners = range(settings.voters + 1, settings.voters + settings.learners + 1)
        conf = Conf(frozenset(voters), frozenset(learners))
        self.checker = Checker(conf, self._decode)
        self.checker.nodes = self.nodes
        conf_state = conf_state_of((voters, learners))
        self.digest = 0
        for node_id in (*voters, *learners):
            node = self._new_node(node_id)
            node.bootstrap(conf_state)
        for node_id in (*voters, *learners):
            self.start(node_id)

    def _new_node(self, node_id: int) -> SimNode:
        settings = self.settings
        node = self._make_node(self, node_id)
        node.style = settings.styles[node_id % len(settings.styles)]
        node.durable_apply = settings.durable_apply
        node.inline_flush = settings.flush_ms[1] == 0.0
        self.nodes[node_id] = node
        return node

    def ensure_node(self, node_id: int) -> None:
        """Make a node that waits to be added, if there is none with this id."""
        if node_id not in self.nodes:
            self._new_node(node_id)
            self.start(node_id)

    def node_config(self, node_id: int) -> Config:
        """The core's configuration of a node."""
        return self.settings.node_config(node_id)

    def _decode(self, entry: Entry) -> tuple[bytes, Spec | None]:
        if not entry.context or entry.context[0] != PROPOSAL:
            return b"", None
        session = decode_context(entry.context)[3]
        op = self.ops.get(session)
        if op is None or op.data != entry.data:
            raise Violation("I5", f"entry {entry.index} is nothing that a client proposed")
        return session, op.spec

    # -- What nodes call -----------------------------------------------------------------------

    def draw_timeout(self, low: int, high: int) -> int:
        """Draw an election timeout in [low, high)."""
        value = self._timeouts.randrange(low, high)
        if self.draws is not None:
            self.draws.append(value)
        return value

    def send(self, node: SimNode, messages: Sequence[Message]) -> None:
        """`node` lets messages leave."""
        raft = node.raft
        if raft.is_leader() and raft.term not in self.checker.leaders:
            self.checker.observe(node)
        sent = self.checker.sent
        for m in messages:
            sent(node, m)
            self.outbox.append((node, m))

    def flush_started(self, node: SimNode) -> None:
        """`node` has begun a flush that ends later."""
        self.flushes.append(node)

    def completed(self, op: Op, result: bytes, index: int, node: SimNode) -> None:
        """`node` answers the client of `op`."""
        if op.kind != "get":
            index = self.checker.model.first.get(op.session, 0)
        self._judge_answer(op, result, index, node)
        if not op.returned:
            op.returned = self.step
            op.result = result
            op.index = index
            self.results.append(op)

    def _judge_answer(self, op: Op, result: bytes, index: int, node: SimNode) -> None:
        """Compare an answer, read or applied at `index`, with the golden log."""
        model = self.checker.model
        if op.kind == "get":
            if index < op.floor:
                raise Violation(
                    "I11",
                    f"a read on node {node.id} was served from the state at {index}, "
                    f"but {op.floor} was committed before it was asked",
                )
            if result != model.value(op.key, index):
                raise Violation(
                    "I11",
                    f"node {node.id} read {result!r} at {index}, "
                    f"the model has {model.value(op.key, index)!r}",
                )
            return
        if model.results.get(index) != result:
            raise Violation(
                "I12",
                f"node {node.id} answers {result!r} to {op.session!r}, "
                f"the model {model.results.get(index)!r}",
            )
        if index <= op.floor:
            raise Violation(
                "linearizability",
                f"{op.session!r} took effect at {index}, before it was invoked at {op.floor}",
            )

    def read_confirmed(self, op: Op, index: int, node: SimNode) -> None:
        """A read of `op` may be served once `index` is applied."""
        if index < op.floor:
            raise Violation(
                "I11",
                f"a read on node {node.id} was confirmed at {index}, "
                f"but {op.floor} was committed before it was asked",
            )

    # -- Performing ----------------------------------------------------------------------------

    def perform(self, node_id: int, action: Callable[[SimNode], object], pump: bool = True) -> bool:
        """Let `action` happen at a node, then carry out what it made ready.

        Returns whether the node was there to do it.

        Raises:
            Violation: a property does not hold any more.
        """
        self.step += 1
        node = self.nodes.get(node_id)
        if node is None or not node.up:
            return False
        try:
            try:
                action(node)
            except _REFUSALS as refusal:
                self.checker.count(f"refused_{type(refusal).__name__}")
            if pump:
                node.pump()
            if not pump or node.settled:
                self.checker.observe(node)
        except (SimCrash, DiskFailure, StoreWriteError) as crash:
            self.checker.count(f"crash_{type(crash).__name__}")
            node.crash(*node.crash_keep)
            self.up_changed = True
        except Violation:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise Violation(
                "I14",
                f"node {node_id} raised {type(error).__name__}: {error} "
                f"({where.filename.rsplit('/', 1)[-1]}:{where.lineno})",
            ) from error
        return True

    def tick(self, node_id: int) -> bool:
        """Let a tick pass."""
        return self.perform(node_id, lambda node: node.tick())

    def deliver(self, m: Message) -> bool:
        """Hand a message over."""
        node = self.nodes.get(m.to)
        if node is not None and node.up:
            kind = (m.msg_type, node.raft.state)
            self.received[kind] = self.received.get(kind, 0) + 1
        return self.perform(m.to, lambda node: node.step(m))

    def turn(self, node_id: int, now: float) -> bool:
        """Let a node's loop go round, at `now` milliseconds."""
        self.time = now

        def go_round(node: SimNode) -> None:
            assert isinstance(node, EngineNode)
            node.turn(now)

        return self.perform(node_id, go_round, pump=False)

    def deliver_frame(self, node_id: int, from_: int, data: bytes) -> bool:
        """Hand one of the daemon's frames over."""

        def take(node: SimNode) -> None:
            assert isinstance(node, EngineNode)
            node.receive_frame(from_, data)

        return self.perform(node_id, take)

    def end_flush(self, node_id: int) -> bool:
        """End the flush under way."""
        return self.perform(node_id, lambda node: node.end_flush())

    def crash(self, node_id: int, keep: int, harsh: int = 0) -> None:
        """Cut a node's power; see `MiniDisk.crash`."""
        self.step += 1
        node = self.nodes.get(node_id)
        if node is not None and node.up:
            self.checker.count("crashed")
            if node.disk.journal:
                self.checker.count("crashed_unsynced")
                if 0 < keep < len(node.disk.journal):
                    self.checker.count("crashed_torn")
            node.crash(keep, harsh)
            self.up_changed = True

    def arm_crash(
        self, node_id: int, points: int, keep: int, harsh: int = 0, place: str = ""
    ) -> None:
        """Cut a node's power at the `points`-th point from here; `place`: of those called so."""
        node = self.nodes.get(node_id)
        if node is not None and node.up:
            node.crash_after = points
            node.crash_place = place
            node.crash_keep = (keep, harsh)

    def fail_sync(self, node_id: int, keep: int) -> None:
        """Let a node's next flush fail; it must stop then."""
        node = self.nodes.get(node_id)
        if node is not None and node.up:
            node.fail_sync()
            node.crash_keep = (keep, 0)

    def start(self, node_id: int) -> None:
        """Start a node from its disk."""
        self.step += 1
        node = self.nodes[node_id]
        if node.up:
            return
        self.up_changed = True
        try:
            node.start()
        except Violation:
            raise
        except Exception as error:
            raise Violation(
                "I14", f"node {node_id} cannot start: {type(error).__name__}: {error}"
            ) from error
        self.perform(node_id, lambda _: None)

    def asked(self, op: Op) -> None:
        """A client asks for `op`, now or again."""
        if not op.invoked:
            self.step += 1
            op.invoked = self.step
            op.floor = self.checker.committed
            self.history.append(op)
            if op.session:
                self.ops[op.session] = op
        elif op.kind == "get":
            self.checker.count("read_retried")

    def invoke(self, op: Op, node_id: int) -> bool:
        """Let a client try `op` at a node; False if it was refused, so that nothing came of it."""
        self.asked(op)
        taken = False

        def ask(node: SimNode) -> None:
            nonlocal taken
            if op.kind == "get":
                self._count_read(node)
                taken = node.read(op)
            else:
                taken = node.propose(op)

        self.perform(node_id, ask)
        return taken

    def _count_read(self, node: SimNode) -> None:
        raft = node.raft
        if not raft.is_leader():
            return
        if not raft.committed_in_own_term():
            self.checker.count("read_postponed")
        elif self.settings.lease_reads:
            reads = raft.read_only
            live = reads.lease_usable and raft.ticks < reads.lease_until
            self.checker.count("read_by_lease" if live else "read_lease_over")

    # -- What operators do ---------------------------------------------------------------------

    def operate(self, node_id: int, what: str, *args: Any) -> bool:
        """Do something at a node that an operator or the program around it may do."""
        return self.perform(node_id, lambda node: _OPERATIONS[what](node, *args))

    def leader(self) -> SimNode | None:
        """The leader of the highest term among those that run."""
        best: SimNode | None = None
        for node in self.nodes.values():
            if (
                node.up
                and node.raft.state is StateRole.Leader
                and (best is None or node.raft.term > best.raft.term)
            ):
                best = node
        return best


def _begin(
    node: SimNode,
    voters: Sequence[int],
    learners: Sequence[int],
    auto: bool,
    successor: int,
    promotable: Sequence[int],
) -> None:
    for node_id in (*voters, *learners):
        node.world.ensure_node(node_id)
    node.raw.propose_membership_change(
        (voters, learners), auto, successor or None, promotable=promotable
    )


def _change_one(node: SimNode, change_type: int, target: int, promote: bool) -> None:
    node.world.ensure_node(target)
    change = ConfChange(node_id=target, promote_when_caught_up=promote)
    change.change_type = change_type  # type: ignore[assignment]  # an int is an enum value here
    node.raw.propose_conf_change(b"", change)


def _change_v2(node: SimNode, transition: int, singles: Sequence[tuple[int, int]]) -> None:
    change = ConfChangeV2()
    change.transition = transition  # type: ignore[assignment]  # an int is an enum value here
    for change_type, target in singles:
        node.world.ensure_node(target)
        single = ConfChangeSingle(node_id=target)
        single.change_type = change_type  # type: ignore[assignment]  # as above
        change.changes.append(single)
    node.raw.propose_conf_change(b"", change)


def _campaign_for_rollback(node: SimNode) -> None:
    # Noted before: who is all of C_old wins at once.
    forced, candidacy = node.world.checker.forced, (node.id, node.raft.term + 1)
    known = candidacy in forced
    forced.add(candidacy)
    try:
        node.raw.campaign_for_rollback()
    except BaseException:
        if not known:
            forced.discard(candidacy)
        raise
    node.world.checker.count("rollback_campaign")


def _resume(node: SimNode) -> None:
    if not isinstance(node, EngineNode):  # The daemon must notice by itself.
        node.raw.expire_lease()


def _links(node: SimNode, cut_off: Sequence[int]) -> None:
    assert isinstance(node, EngineNode)
    node.links(cut_off)


def _disarm(node: SimNode) -> None:
    """Call off what was to go wrong at this node."""
    node.crash_after = 0
    node.snapshots_unavailable = 0
    node.mend_disk()
    if isinstance(node, EngineNode):
        node.steady_clock()


def _fetched(node: SimNode) -> None:
    node.disk.fetch_later = 0
    fetches, node.disk.fetches = node.disk.fetches, []
    for context in fetches:
        node.raw.on_entries_fetched(context)


def _go_on(node: SimNode, what: str) -> None:
    assert isinstance(node, DaemonNode)
    if getattr(node, what)():
        node.world.work.append((node, what))


def _control(node: SimNode, what: str, value: int) -> None:
    if isinstance(node, DaemonNode):
        node.control(what, value)


def _max_inflight(node: SimNode, peer: int, cap: int) -> None:
    node.world.checker.caps_may_shrink = True
    node.raft.adjust_max_inflight_msgs(peer, cap)


def _set_group_commit(node: SimNode, enable: bool, groups: Sequence[tuple[int, int]]) -> None:
    node.raft.assign_commit_groups(groups)
    node.raft.enable_group_commit(enable)


def _snapshot_unavailable(node: SimNode, times: int) -> None:
    node.snapshots_unavailable = times


def _fetch_later(node: SimNode, times: int) -> None:
    node.disk.fetch_later = times


_OPERATIONS: dict[str, Callable[..., object]] = {
    "begin": _begin,
    "change_one": _change_one,
    "change_v2": _change_v2,
    "finalize": lambda node: node.raw.propose_finalize(),
    "rollback": lambda node: node.raw.propose_rollback(),
    "campaign_for_rollback": _campaign_for_rollback,
    "transfer": lambda node, target: node.raw.transfer_leader(target),
    "campaign": lambda node: node.raw.campaign(),
    "compact": lambda node, keep: node.compact(keep),
    "ping": lambda node: node.raw.ping(),
    "unreachable": lambda node, peer: node.raw.report_unreachable(peer),
    "snapshot_status": lambda node, peer, ok: node.raw.report_snapshot(
        peer, SnapshotStatus.Finish if ok else SnapshotStatus.Failure
    ),
    "request_snapshot": lambda node, index: node.raw.request_snapshot(index),
    "forget_leader": lambda node: node.raw.forget_leader(),
    "priority": lambda node, priority: node.raw.set_priority(priority),
    "batch_append": lambda node, on: node.raw.set_batch_append(on),
    "skip_bcast_commit": lambda node, on: node.raw.skip_bcast_commit(on),
    "max_inflight": _max_inflight,
    "group_commit": _set_group_commit,
    "resume": _resume,
    "links": _links,
    "disarm": _disarm,
    "fetched": _fetched,
    "snapshot_unavailable": _snapshot_unavailable,
    "fetch_later": _fetch_later,
    "stage_step": lambda node: _go_on(node, "stage_step"),
    "snapshot_step": lambda node: _go_on(node, "snapshot_step"),
    "state_flushed": lambda node: _go_on(node, "state_flushed"),
    "control": _control,
}
