"""A simulated node that runs the daemon's engine: `raftd.node.Node`, on a loop that is none.

The engine asks its event loop for the time, for a call soon, and for a call at a time. Here all
three are lists: what is due happens when the schedule performs a *turn* of the node. Flushes are
begun and ended by the schedule as well. So holding, forwarding and repeating proposals, asking for
reads again, catching up with late ticks and telling clients what became of their requests are the
daemon's own code, and what it tells is held against the golden log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import raftd.node
from raft.eraftpb import Entry, Message, MsgSnapshot
from raftd.applier import Applied
from raftd.node import Node
from raftwire import kv
from raftwire.errors import AdminError, Outcome
from raftwire.peer import PeerFrame
from tests.harness.checkers import Violation
from tests.harness.sim_daemon import DaemonNode

if TYPE_CHECKING:
    from tests.harness.cluster import Op, World

_SECONDS = 1000.0


class Timer:
    """A call that is due at some time."""

    __slots__ = ("callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call it."""
        self.cancelled = True


class TurnLoop:
    """What the engine needs of an event loop."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.ready: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.timers: list[Timer] = []

    def time(self) -> float:
        """Seconds by this node's clock."""
        return self.now

    monotonic = time
    perf_counter = time

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        """Call in the next turn."""
        self.ready.append((callback, args))

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call at a time, by this node's clock."""
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def create_future(self) -> Any:
        """Nobody waits for futures here."""
        raise NotImplementedError

    def turn(self, now: float) -> None:
        """One round: what was to be called soon, and the timers that are due."""
        self.now = max(self.now, now)
        due = [timer for timer in self.timers if timer.when <= self.now]
        self.timers = [timer for timer in self.timers if timer.when > self.now]
        ready, self.ready = self.ready, []
        # What was to be called soon before the loop stood still comes first, as in asyncio.
        for callback, args in ready:
            callback(*args)
        for timer in sorted(due, key=lambda timer: timer.when):
            if not timer.cancelled:
                timer.callback()


class TurnFlusher:
    """Stands in for the thread that flushes: the schedule says when a flush ends."""

    def __init__(self, sync: Callable[[], None], done: Callable[..., None]) -> None:
        self.done = done
        self.begin: Callable[[int], None] = lambda mark: None

    def flush(self, mark: int) -> None:
        """Begin a flush."""
        self.begin(mark)

    def close(self) -> None:
        """Nothing runs."""


@contextmanager
def _on(loop: TurnLoop) -> Iterator[None]:
    """Let the engine's module see this loop and its time."""
    module: Any = raftd.node
    kept = module.asyncio, module.time, module.Flusher
    module.asyncio = SimpleNamespace(get_running_loop=lambda: loop)
    module.time = loop
    module.Flusher = TurnFlusher
    try:
        yield
    finally:
        module.asyncio, module.time, module.Flusher = kept


class _Silent:
    """A log that says nothing."""

    def bind(self, **_: Any) -> _Silent:
        return self

    def debug(self, *_: Any, **__: Any) -> None: ...

    info = warning = error = critical = debug


class _Waiter:
    """A client's connection to one node: hears what becomes of its requests."""

    def __init__(self, node: EngineNode) -> None:
        self._node = node
        self.asked: dict[int, tuple[Op, int]] = {}
        """Requests by id: the operation, and the sequence number it was proposed under."""

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        node = self._node
        op, _ = self.asked.pop(request_id)
        node.world.completed(op, node.plain(applied), applied.index, node)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        op, sequence = self.asked.pop(request_id)
        node = self._node
        node.world.checker.count(f"client_told_{error.code}_{error.outcome.value}")
        if op.kind != "get" and error.outcome is Outcome.NOT_APPLIED:
            node.world.checker.denied(node.id, node.incarnation, sequence)
        node.world.refused.append(op)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        op, _ = self.asked.pop(request_id)
        node = self._node
        found = kv.read_query(node.applier.query(kv.get(op.key)))
        value = found.kvs[0].value if found.kvs else b""
        if index > node.applier.index:
            raise Violation("I11", f"node {node.id} calls its state {index}, it is older")
        node.world.completed(op, value, node.applier.index, node)


class EngineNode(DaemonNode):
    """A node with the daemon's engine around storage and core."""

    def __init__(self, world: World, node_id: int) -> None:
        super().__init__(world, node_id)
        self.loop: TurnLoop
        self.engine: Node
        self._dead: BaseException | None = None
        self._request = 0
        self.waiter = _Waiter(self)
        self.cut_off: frozenset[int] = frozenset()
        """Peers this node knows it has no link to."""
        self._refused_before = 0
        self._noted = (0, 0)
        self.config: Any = None

    @property
    def kind(self) -> str:
        """How it is driven, for counting."""
        return "engine"

    @property
    def settled(self) -> bool:
        """What was done is carried out in the next turn."""
        return False

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start from the disk."""
        super().start()
        world, settings = self.world, self.world.settings
        self._dead = None
        self._refused_before = 0
        self._noted = (0, 0)
        self.waiter = _Waiter(self)
        self.loop = TurnLoop(world.time / _SECONDS)
        # Clocks differ in how fast they go, the same way each time.
        low, high = settings.rates
        rate = low + (high - low) * (self.id * 0.618 % 1.0)
        if settings.lease_reads:
            rate = settings.rates[self.id % 2]
        tick = settings.tick_ms * rate / _SECONDS
        self.config = config = SimpleNamespace(
            read_mode="lease" if settings.lease_reads else "readindex",
            fsync="always",
            tick_interval=tick,
            election_timeout=tick * settings.election_tick,
            heartbeat=tick * settings.heartbeat_tick,
            max_entry_bytes=1 << 20,
            max_pending=settings.max_pending,
            max_pending_bytes=1 << 20,
            max_apply_lag=0,
        )
        with _on(self.loop):
            self.engine = Node(
                cast("Any", config),
                self.raw,
                self._daemon,
                sync=self._sync_inline,
                network=self,
                incarnation=self.incarnation,
                log=cast("Any", _Silent()),
                on_fail=self._failed,
            )
            flusher = cast("Any", self.engine)._flusher
            flusher.begin = self._begin_flush
            if not self.inline_flush:
                # A disk that is known to be slow is waited for in a thread.
                self.engine.flush_times.mean = 1.0
            self.engine.start()
        self._watch()

    def steady_clock(self) -> None:
        """Let this node's clock go as it should."""
        self.config.tick_interval = self.world.settings.tick_ms / _SECONDS

    def _failed(self, error: BaseException) -> None:
        self._dead = error

    def crash(self, keep: int, harsh: int) -> None:
        """Lose the power."""
        super().crash(keep, harsh)
        self.loop.ready.clear()
        self.loop.timers.clear()

    # -- what the engine needs of the network --------------------------------------------------

    def send(self, messages: Sequence[Message]) -> None:
        """Messages leave, a leader's before its own write."""
        raft = self.raw.raft
        if raft.is_leader():
            # What it counts by and commits is looked at before others hear of it.
            self._note(self._not_noted(raft.raft_log.unstable_entries()), None)
            self._noted = (raft.term, raft.raft_log.last_index())
        self.world.send(self, messages)
        self.point("sent")

    def _not_noted(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        raft, (term, index) = self.raw.raft, self._noted
        if raft.term != term or not raft.is_leader():
            return entries
        return [entry for entry in entries if entry.index > index]

    def send_frame(self, peer_id: int, frame: PeerFrame) -> bool:
        """A frame leaves, if the link is up."""
        if peer_id in self.cut_off:
            return False
        self.world.frames.append((self, peer_id, frame.SerializeToString()))
        return True

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up, as far as known."""
        return peer_id not in self.cut_off

    def links(self, cut_off: Sequence[int]) -> None:
        """Links have come up or were lost."""
        self.cut_off = frozenset(cut_off)
        self.engine.links_changed()

    # -- being asked ---------------------------------------------------------------------------

    def propose(self, op: Op) -> bool:
        """A client proposes."""
        return self._ask(
            op,
            lambda request: self.engine.propose(
                self.waiter, request, op.data, op.session.decode(), self._patience()
            ),
        )

    def read(self, op: Op) -> bool:
        """A client reads."""
        return self._ask(
            op, lambda request: self.engine.read(self.waiter, request, b"", self._patience())
        )

    def _patience(self) -> float:
        return self.world.settings.timeout_ms * 3 / _SECONDS

    def _ask(self, op: Op, ask: Callable[[int], AdminError | None]) -> bool:
        self._request += 1
        request = self._request
        refused = ask(request)
        if refused is not None:
            self.world.checker.count(f"client_refused_{refused.code}")
            return False
        sequence = cast("Any", self.engine.proposing)._sequence
        self.waiter.asked[request] = (op, sequence)
        return True

    def control(self, what: str, value: int) -> None:
        """Not asked of the engine here."""

    def step(self, m: Message) -> None:
        """A message arrives."""
        if m.msg_type == MsgSnapshot:
            self._receive_snapshot(m)
        else:
            self.engine.receive(m.from_, [m])

    def _hand_snapshot(self, m: Message) -> None:
        self.engine.receive_snapshot(m.from_, m)

    def _install(self, m: Message) -> None:
        self._hand_snapshot(m)  # Dropped after the turn, if the core does not want it.

    def receive_frame(self, peer_id: int, data: bytes) -> None:
        """A frame arrives."""
        frame = PeerFrame.FromString(data)
        if frame.HasField("forward"):
            self.engine.proposing.receive_forward(peer_id, frame.forward)
        if frame.HasField("refused"):
            self.engine.proposing.receive_refusal(frame.refused)

    # -- carrying out --------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """A round of the loop at `now`, milliseconds of the world's time."""
        loop = self.loop
        with _on(loop):
            loop.turn(now / _SECONDS)
        self._after_turn()
        self._watch()

    def _after_turn(self) -> None:
        if self._dead is not None:
            raise self._dead
        if self.replica.staged is not None and not self.engine.has_work:
            self.replica.staged = None
        refused = self.engine.counters.messages_refused
        if refused != self._refused_before:
            raise Violation("I14", f"node {self.id} refused an honest peer's message or forward")

    def pump(self) -> None:
        """Whatever was done may be followed by a turn."""
        if self._dead is not None:
            raise self._dead
        self.engine.schedule()
        self._watch()

    def _watch(self) -> None:
        """Tell the schedule when this node's next turn is due."""
        if not self.up:
            return
        loop = self.loop
        if loop.ready:
            self.world.turns.append((self, 0.0))
        else:
            timers = [timer.when for timer in loop.timers if not timer.cancelled]
            if timers:
                self.world.turns.append((self, min(timers) * _SECONDS))

    def _sync_inline(self) -> None:
        self.point("written_not_flushed")
        self.store.sync()
        self.disk.sync()
        self._positions.clear()
        self.point("flushed")

    def _begin_flush(self, mark: int) -> None:
        self.kv.deferred = []
        self.store.sync()
        self._deferred, self.kv.deferred = self.kv.deferred, None
        self.flushing.append((mark, self.disk.written))
        self.world.flush_started(self)

    def end_flush(self) -> None:
        """The flush under way has succeeded: the engine hears of it in its next turn."""
        if not self.flushing:
            return
        mark, written = self.flushing.pop(0)
        self._settle(written)
        flusher = cast("Any", self.engine)._flusher
        self.loop.call_soon(flusher.done, mark, 0.02, None)
