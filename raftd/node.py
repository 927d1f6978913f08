"""The node's engine: one callback owns the RawNode; all else hands it work and hears back.

Work collects in lists until the loop has read every socket that was ready; then one `_turn` steps
the messages, appends or forwards the proposals, and carries out what the core says (`plan.Driver`).
So batches form by themselves: what arrives while a flush runs is the next batch. Nothing on this
path creates a task or a future for one request, or logs.

What clients ask has modules of its own: `proposing` and `reading`; `standing` knows this node's
place in its group. They meet in `engine.Engine`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from raft import (
    Error,
    InvariantViolation,
    MessageRefused,
    RawNode,
    SnapshotStatus,
    SoftState,
    StateRole,
)
from raft.eraftpb import (
    ConfState,
    Message,
    MsgPropose,
    MsgRequestVoteResponse,
    MsgSnapshot,
    Snapshot,
)
from raftd.applier import Applied
from raftd.config import TICKS_PER_HEARTBEAT, DaemonConfig
from raftd.engine import Engine, Network, nothing, nothing_with
from raftd.failpoints import armed, hit
from raftd.flush import Flusher, FlushTimes
from raftd.log import Log
from raftd.plan import Driver, Effects
from raftd.proposing import Proposing
from raftd.reading import Reading
from raftd.standing import Standing
from raftd.validate import Reason
from raftwire.errors import AdminError, Code

_ELSEWHERE: Final = frozenset({MsgSnapshot, MsgPropose})


class Node:
    """One member of a group.

    Args:
        config: The daemon's settings.
        raw: The core; this object alone uses it.
        driver: Carries out its Readys on the disk.
        sync: Makes all writes so far durable; blocks.
        network: Where messages go.
        incarnation: Random number of this start; tells this process's proposals from others'.
        on_fail: Called once with what makes the node stop.
    """

    def __init__(
        self,
        config: DaemonConfig,
        raw: RawNode[Any],
        driver: Driver[Applied],
        *,
        sync: Callable[[], None],
        network: Network,
        incarnation: int,
        log: Log,
        on_fail: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self.raw = raw
        self.raft = raw.raft
        self._driver = driver
        self._network = network
        self._log = log
        self._on_fail = on_fail
        self.id: int = raw.raft.id
        self.incarnation = incarnation
        self._leases = config.read_mode == "lease"
        engine = Engine(config, raw, network, incarnation, log, self._loop, self._turn)
        self.engine = engine
        self.counters = engine.counters
        self.validator = engine.validator
        self.schedule = engine.schedule
        self.standing = Standing(engine)
        self.proposing = Proposing(engine, self.standing)
        self.reading = Reading(engine, self.standing)
        # Bound here, as nearly every request is one of these.
        self.propose = self.proposing.propose
        self.read = self.reading.read
        self.flush_times = FlushTimes()
        self._sync = sync if config.fsync == "always" else _no_sync
        self._flusher = Flusher(self._sync, self._flushed)
        self._flushing = False
        self._sync_queued = False
        self._flushed_now = False
        driver.send = self._send

        self._inbox: list[tuple[int, Message]] = []
        self._applied_term = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next_tick = 0.0
        self.leader_heard = self._loop.time()
        self._led = False
        self._changed: list[asyncio.Future[None]] = []
        self.on_applied: list[Callable[[], None]] = []
        """Called after entries were applied."""
        self.on_turn_end: Callable[[], None] = nothing
        """Called at the end of each turn: the time to send what was answered."""
        self.on_conf_change: Callable[[ConfState], None] = nothing_with
        self.on_snapshot_installed: Callable[[Snapshot], None] = nothing_with
        self._conf_seen: tuple[int, int, tuple[int, ...]] = (-1, 0, ())

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick."""
        self._next_tick = self._loop.time() + self._config.tick_interval
        self._timer = self._loop.call_at(self._next_tick, self._tick)
        self._note_conf_state()
        self.schedule()

    def stop(self) -> None:
        """Tick and turn no more; refuse what still waits, saying what is known of its outcome."""
        self.engine.failed = True
        if self._timer is not None:
            self._timer.cancel()
        self.proposing.stop()
        self.reading.stop()
        self._flusher.close()
        self.on_turn_end()

    def fail(self, error: BaseException) -> None:
        """Stop for good: after ``error`` nothing this node says can be trusted."""
        if self.engine.failed:
            return
        self.engine.failed = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_fail(error)

    # --- being told ---------------------------------------------------------------------------

    def receive(self, peer_id: int, messages: Sequence[Message]) -> None:
        """Take Raft messages from a peer; they are checked and stepped in the next turn."""
        for message in messages:
            if message.msg_type in _ELSEWHERE:
                # Snapshots come with their file, on a connection of their own; proposals as
                # forwards, which are looked into one by one.
                self.validator.count(Reason.MISPLACED_FIELD)
                self.engine.refused(peer_id, str(Reason.MISPLACED_FIELD))
                continue
            self._inbox.append((peer_id, message))
        self.schedule()

    def receive_snapshot(self, peer_id: int, message: Message) -> None:
        """Take the message of a snapshot whose file is here and staged."""
        self._inbox.append((peer_id, message))
        self.schedule()

    def take_turn(self) -> None:
        """Take the next turn now, if messages wait for it; for who is called by the loop itself."""
        if self._inbox:
            self._turn()

    @property
    def has_work(self) -> bool:
        """Whether something waits for the next turn."""
        return self.engine.scheduled and not self.engine.failed

    def unreachable(self, peer_id: int) -> None:
        """A message to a peer was dropped."""
        self._guard(lambda: self.raw.report_unreachable(peer_id))

    def snapshot_sent(self, peer_id: int, ok: bool) -> None:
        """A snapshot transfer has ended."""
        status = SnapshotStatus.Finish if ok else SnapshotStatus.Failure
        self._guard(lambda: self.raw.report_snapshot(peer_id, status))
        self.schedule()

    def turned_away(self, config: ConfState | None) -> None:
        """A member says that this node has left the group for good."""
        if self.standing.belonging.turned_away(self.raft.prs, config):
            self._look_outside()
            self._wake()

    def left_out(self, config: ConfState) -> None:
        """A member says that this node is not in its configuration."""
        if self.standing.belonging.left_out(self.raft.prs, config):
            self._look_outside()
            self._wake()

    def _look_outside(self) -> None:
        """See whether this node still has a part in the group; if not, answer who waits for it."""
        if self.standing.look_outside():
            self.proposing.leave()
            self.reading.leave()

    def links_changed(self) -> None:
        """A link came up or was lost: whether a majority can be reached may have changed."""
        self.standing.look_at_links()
        self.schedule()
        self._wake()

    # --- being asked --------------------------------------------------------------------------

    @property
    def election_timeout(self) -> float:
        """Seconds without a leader after which a voter campaigns, at least."""
        return self._config.election_timeout

    @property
    def is_leader(self) -> bool:
        """Whether this node takes itself for the leader."""
        return self.raft.is_leader()

    async def changed(self) -> None:
        """Return after the next change of leader, role, configuration, links or applied index."""
        waiter = self._loop.create_future()
        self._changed.append(waiter)
        await waiter

    def call(self, action: Callable[[], None]) -> None:
        """Do something with the core now, then let a turn carry out what comes of it.

        Whatever ``action`` raises that is a plain refusal passes to the caller.
        """
        if self.engine.failed:
            raise AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
        try:
            action()
        except InvariantViolation as error:
            self.fail(error)
            raise
        finally:
            self.schedule()

    @property
    def flush_waits(self) -> bool:
        """Whether something written is not durable yet."""
        return self._driver.needs_sync

    def note(self, words: str) -> None:
        """Log something that only somebody who debugs wants to read."""
        self._log.debug(words)

    # --- time ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        interval = self._config.tick_interval
        self.counters.ticks += 1
        now = self._loop.time()
        late = now - self._next_tick
        if late > self._config.election_timeout / 2:
            # The process stood still (stopped, swapped out, a slow disk in line). What peers said
            # meanwhile is still in the sockets: hear it before taking the silence for theirs.
            self.counters.stalls += 1
            self._log.warning("the event loop stood still", seconds=round(late, 3))
            self._next_tick = now + interval
            self.raw.expire_lease()
        else:
            # A late timer catches up by less than a heartbeat; never by a whole election timeout.
            ticks = min(1 + int(late / interval), TICKS_PER_HEARTBEAT)
            if late > ticks * interval:
                # Time the core does not hear of, which its lease would not count.
                self.raw.expire_lease()
            next_tick = max(self._next_tick + ticks * interval, now)
            if self._leases and not self.is_leader:
                # A follower's ticks measure how long it keeps the promise that a heartbeat's answer
                # gave. Time from before it was heard may not count: no two ticks come closer
                # together than what they stand for. It misses a dead leader a little later.
                ticks, next_tick = 1, now + interval
            self._guard(lambda: self._ticks(ticks))
            self._next_tick = next_tick
        if self.engine.failed:
            return
        self._timer = self._loop.call_at(self._next_tick, self._tick)
        self._expire(now)
        self.schedule()

    def _ticks(self, count: int) -> None:
        if self.standing.belonging.aside and not self.is_leader:
            return  # It would campaign by a configuration that has been replaced.
        for _ in range(count):
            self.raw.tick()

    def _expire(self, now: float) -> None:
        self.proposing.expire(now)
        self.reading.expire(now)

    # --- the turn -----------------------------------------------------------------------------

    def _guard(self, action: Callable[[], object]) -> None:
        if self.engine.failed:
            return
        try:
            action()
        except Exception as error:
            self.fail(error)

    def _turn(self) -> None:
        self.engine.scheduled = False
        if self.engine.failed:
            return
        self.counters.turns += 1
        if self._leases and time.monotonic() > self._next_tick + self._config.tick_interval / 2:
            # By the clock itself: the loop's stands still for as long as one round of it takes.
            self.raw.expire_lease()
        try:
            if self._inbox:
                self._step_inbox()
            self.proposing.turn()
            self.reading.turn()
            self._pump()
            # Last, as somebody waits for all the rest.
            self.proposing.look()
            self.reading.look()
        except Exception as error:
            self.fail(error)
            return
        self.on_turn_end()

    def _step_inbox(self) -> None:
        inbox, self._inbox = self._inbox, []
        step = self.raw.step
        check = self.validator.check
        leader_id = self.raft.leader_id
        for peer_id, message in inbox:
            reason = check(message, peer_id)
            if reason is not None:
                self.engine.refused(peer_id, str(reason))
                continue
            if peer_id == leader_id:
                self.leader_heard = self._loop.time()
            try:
                step(message)
            except MessageRefused as error:
                self.validator.count(Reason.PROTOCOL)
                self.engine.refused(peer_id, str(error))
            except Error as error:
                # A stranger's answer, a read that came too late: the core says so and is as it was.
                self._log.debug("message not taken", peer=peer_id, reason=str(error))

    # --- what the core says -------------------------------------------------------------------

    def _pump(self) -> None:
        effects = self._driver.pump()
        self._carry_out(effects)
        raft_log = self.raft.raft_log
        self.proposing.apply_lag = raft_log.committed - raft_log.applied
        if self._driver.needs_sync and not self._flushing and not self._sync_queued:
            if not self.flush_times.inline:
                self._flushing = True
                self._flusher.flush(self._driver.begin_sync())
            elif effects.more or self._flushed_now:
                self._sync_queued = True
                self._loop.call_soon(self._flush_inline)
            else:
                if effects.applied or effects.read_states:
                    self.on_turn_end()  # Answers do not wait for this disk.
                self._flushed_now = True
                self._flush()
                self._flushed_now = False

    def _flush(self) -> None:
        """Flush in line, and carry out what that allows."""
        mark = self._driver.begin_sync()
        started = time.perf_counter()
        self._sync()
        self.flush_times.note(time.perf_counter() - started)
        hit("durable")
        self._driver.end_sync(mark)
        self._pump()

    def _flush_inline(self) -> None:
        self._sync_queued = False
        if self.engine.failed or not self._driver.needs_sync:
            return
        try:
            self._flush()
        except Exception as error:
            self.fail(error)
            return
        self.on_turn_end()

    def _flushed(self, mark: int, seconds: float, failure: BaseException | None) -> None:
        self._flushing = False
        if self.engine.failed:
            return
        if failure is not None:
            self.fail(failure)
            return
        self.flush_times.note(seconds)
        try:
            hit("durable")
            self._driver.end_sync(mark)
            self._pump()
        except Exception as error:
            self.fail(error)
            return
        self.on_turn_end()

    def _send(self, messages: Sequence[Message]) -> None:
        if _DIES_AT_A_VOTE and any(map(_is_vote, messages)):
            hit("vote")
        self._network.send(messages)

    def _carry_out(self, effects: Effects[Applied]) -> None:
        # Peers first: most of those who wait for an answer are their clients.
        if effects.messages:
            self._send(effects.messages)
        if effects.soft_state is not None:
            self._soft_state(effects.soft_state)
        if effects.snapshot is not None:
            self._snapshot_installed(effects.snapshot)
        if effects.applied and self.proposing.answer(effects.applied):
            self.on_turn_end()  # They have waited; what else is due after an entry has not.
        if effects.applied_term > self._applied_term:
            # After the answers: what a former leader appended stands before this term's entries.
            self._applied_term = effects.applied_term
            self.proposing.lost_with_their_leader(effects.applied_term)
        if effects.applied_index:
            self.counters.applied_index = effects.applied_index
            for callback in self.on_applied:
                callback()
        for read_state in effects.read_states:
            self.reading.confirmed(read_state)
        self.reading.answer()
        if effects.applied_index or effects.snapshot or effects.soft_state:
            self._note_conf_state()
            self._wake()
        if effects.more:
            self.schedule()

    def _snapshot_installed(self, snapshot: Snapshot) -> None:
        self.proposing.in_a_snapshot(snapshot.metadata.term)
        self._applied_term = max(self._applied_term, snapshot.metadata.term)
        self.on_snapshot_installed(snapshot)

    def _soft_state(self, soft_state: SoftState) -> None:
        self.counters.leader_changes += 1
        if soft_state.raft_state in (StateRole.Candidate, StateRole.PreCandidate):
            self.counters.elections += 1
        if soft_state.leader_id or self._led:
            # Who only gives up on its leader has heard nothing.
            self.leader_heard = self._loop.time()
        self._led = self.is_leader
        self._log.info(
            "leadership",
            leader=soft_state.leader_id,
            role=soft_state.raft_state.name.lower(),
            term=self.raft.term,
        )
        if soft_state.leader_id:
            self.proposing.new_leader()
            self.reading.new_leader()
            self.schedule()

    def _note_conf_state(self) -> None:
        prs = self.raft.prs
        seen = (prs.config_index, prs.begin_index, prs.ids())
        if seen != self._conf_seen:
            if self._conf_seen[0] >= 0:  # Not at the start, which is no change.
                hit("change.seen")
            self._conf_seen = seen
            self.standing.belonging.applied(prs)
            self._look_outside()
            self.on_conf_change(prs.to_conf_state())
            self.standing.look_at_links()

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for waiter in changed:
            if not waiter.done():
                waiter.set_result(None)


_DIES_AT_A_VOTE: Final = armed() == "vote"


def _is_vote(message: Message) -> bool:
    return message.msg_type == MsgRequestVoteResponse and not message.reject


def _no_sync() -> None:
    """Stand in for a flush under ``--fsync unsafe-never``."""
