"""From Ready to Plan: the one place that knows in which order a Ready may be carried out.

Nothing here reads a clock, a socket or a disk. `plan_ready` names the steps of one Ready; `Driver`
carries plans out against a disk that it is handed, lets several be written while one flush runs,
and says what may be sent when. The daemon and the simulator drive the same `Driver`, so the order
that is searched for faults is the order that runs.

The order, and why:

1. ``immediate`` messages leave first: they promise nothing that is not durable yet (a leader's
   appends may overtake its own disk; Raft thesis section 10.2.1).
2. ``snapshot``, ``entries``, ``hard_state`` and what applying ``committed`` changes go to the disk
   in **one** atomic write. A commit index must not be on disk later than the entries it came with
   (else a node could campaign against a configuration it knows to be committed), nor an applied
   index before the commit index that allows it (else the log would not open).
3. The flush makes that write durable, if ``sync``. Plans that are written while a flush runs are
   covered by the next one, together.
4. ``persisted`` messages leave, in order, only when their plan and all before it are durable: votes
   and acknowledgements (Raft figure 2, "updated on stable storage before responding").
5. Then the core is told, which lets the leader count itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from raft import RawNode, ReadState, Ready, SoftState, is_empty_snap
from raft.eraftpb import Entry, HardState, Message, Snapshot

AppliedT = TypeVar("AppliedT")

READYS_PER_PUMP = 64
"""Readys taken in one go; then other work gets its turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one Ready; the order of the fields is the order of execution."""

    number: int
    """The Ready's number; grows by one."""
    soft_state: SoftState | None
    read_states: Sequence[ReadState]
    immediate: Sequence[Message]
    snapshot: Snapshot | None
    entries: Sequence[Entry]
    hard_state: HardState | None
    committed: Sequence[Entry]
    sync: bool
    persisted: Sequence[Message]

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(
            self.entries
            or self.committed
            or self.hard_state is not None
            or self.snapshot is not None
        )


def plan_ready(ready: Ready) -> Plan:
    """Return the steps of ``ready``."""
    snapshot = ready.snapshot
    return Plan(
        number=ready.number,
        soft_state=ready.ss,
        read_states=ready.read_states,
        immediate=ready.immediate_messages,
        snapshot=None if is_empty_snap(snapshot) else snapshot,
        entries=ready.entries,
        hard_state=ready.hs,
        committed=ready.committed_entries,
        sync=ready.must_sync,
        persisted=ready.persisted_messages,
    )


class Pipeline:
    """Plans that are written but not durable yet, oldest first."""

    __slots__ = ("_last", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Plan] = deque()
        self._last = 0

    @property
    def needs_sync(self) -> bool:
        """Whether some written plan waits for a flush."""
        return bool(self._waiting)

    def written(self, plan: Plan) -> Plan | None:
        """Note that ``plan`` was written; return it if nothing has to be flushed for it."""
        self._last = plan.number
        if not plan.sync and not self._waiting:
            return plan
        self._waiting.append(plan)
        return None

    def mark(self) -> int:
        """Return the number of the last written plan: what a flush that starts now covers."""
        return self._last

    def durable(self, mark: int) -> list[Plan]:
        """Return, in order, the plans that a flush begun at ``mark`` has made durable.

        Plans behind them that need no flush of their own come along: nothing before them waits.
        """
        released: list[Plan] = []
        waiting = self._waiting
        while waiting and (waiting[0].number <= mark or not waiting[0].sync):
            released.append(waiting.popleft())
        return released


@dataclass(slots=True)
class Effects(Generic[AppliedT]):
    """What came out of a pump: to be sent and answered by whoever drives."""

    messages: list[Message] = field(default_factory=list)
    """May leave now, in this order."""
    applied: list[AppliedT] = field(default_factory=list)
    """What the disk side reported for each applied entry, in log order."""
    applied_index: int = 0
    applied_term: int = 0
    """Of the last entry that was applied; 0 if none was."""
    read_states: list[ReadState] = field(default_factory=list)
    soft_state: SoftState | None = None
    """The newest, if leader or role changed."""
    snapshot: Snapshot | None = None
    """Set when a snapshot replaced the state."""
    more: bool = False
    """There is more to pump; the driver stopped to let other work in."""


def _nothing_with(_: Sequence[Entry]) -> None:
    """Do nothing."""


class Driver(Generic[AppliedT]):
    """Carries out plans of one `RawNode`: write now, flush when told, release what that allows.

    Source: raft-rs 0.7 ``RawNode::advance_append_async``, ``on_persist_ready``.

    Args:
        raw: The node; only this object calls its ready/advance family.
        persist: Writes a plan's snapshot, entries, hard state and applied changes as one atomic
            batch, not flushed, and returns what it applied. Whatever it raises stops the driver:
            a failed write may or may not be on disk, so nothing after it can be trusted.
        on_durable: Called with entries that are durable, before anybody is told.

    Attributes:
        send: If set, takes what may leave before a plan is written, so that peers' disks work
            while this one does, and what a flush has released, before the core's own work on it;
            else both are among the effects, as is what comes after the write.
    """

    __slots__ = ("_failed", "_on_durable", "_persist", "_pipeline", "_released", "raw", "send")

    def __init__(
        self,
        raw: RawNode[Any],
        persist: Callable[[Plan], Sequence[AppliedT]],
        on_durable: Callable[[Sequence[Entry]], None] = _nothing_with,
    ) -> None:
        self.raw = raw
        self._persist = persist
        self._on_durable = on_durable
        self._pipeline = Pipeline()
        self._released: list[Message] = []
        self._failed = False
        self.send: Callable[[Sequence[Message]], None] | None = None

    @property
    def needs_sync(self) -> bool:
        """Whether something written waits for a flush."""
        return self._pipeline.needs_sync

    def begin_sync(self) -> int:
        """Return the mark of a flush that starts now, for `end_sync`."""
        return self._pipeline.mark()

    def end_sync(self, mark: int) -> None:
        """A flush begun at ``mark`` has succeeded: what it covers is durable. Pump afterwards."""
        self._refuse_after_failure()
        plans = self._pipeline.durable(mark)
        if plans:
            for plan in plans:
                self._on_durable(plan.entries)
                self._released.extend(plan.persisted)
            if self._released and self.send is not None:
                # Somebody waits for an acknowledgement; what follows may take its time.
                released, self._released = self._released, []
                self.send(released)
            self.raw.on_persist_ready(plans[-1].number)

    def pump(self, limit: int = READYS_PER_PUMP) -> Effects[AppliedT]:
        """Carry out every Ready there is, at most ``limit``, up to what must wait for a flush."""
        self._refuse_after_failure()
        raw = self.raw
        effects: Effects[AppliedT] = Effects()
        messages = effects.messages
        if self._released:
            messages.extend(self._released)
            self._released.clear()
        for _ in range(limit):
            if not raw.has_ready():
                return effects
            ready = raw.ready()
            plan = plan_ready(ready)
            if plan.soft_state is not None:
                effects.soft_state = plan.soft_state
            effects.read_states.extend(plan.read_states)
            messages.extend(plan.immediate)
            if plan.writes:
                if messages and self.send is not None:
                    self.send(messages)
                    effects.messages = messages = []
                try:
                    effects.applied.extend(self._persist(plan))
                except BaseException:
                    self._failed = True
                    raise
            raw.advance_append_async(ready)
            if plan.snapshot is not None:
                effects.snapshot = plan.snapshot
            settled = self._pipeline.written(plan)
            if settled is not None:
                messages.extend(settled.persisted)
                raw.on_persist_ready(settled.number)
            if plan.committed:
                raw.advance_apply_to(plan.committed[-1].index)
                last = plan.committed[-1]
                effects.applied_index, effects.applied_term = last.index, last.term
        effects.more = raw.has_ready()
        return effects

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise RuntimeError("the disk failed during an earlier plan: the node must stop")
