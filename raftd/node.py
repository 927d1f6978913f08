"""The node's engine: one callback owns the RawNode; all else hands it work and hears back.

Work collects in lists until the loop has read every socket that was ready; then one `_turn` steps
the messages, appends or forwards the proposals, and carries out what the core says (`plan.Driver`).
So batches form by themselves: what arrives while a flush runs is the next batch. Nothing on this
path creates a task or a future for one request, or logs.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Protocol

from raft import (
    DropReason,
    Error,
    InvariantViolation,
    MessageRefused,
    ProposalDropped,
    RawNode,
    ReadState,
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
from raftd.belonging import Belonging
from raftd.config import TICKS_PER_HEARTBEAT, DaemonConfig
from raftd.failpoints import armed, hit
from raftd.flush import Flusher, FlushTimes
from raftd.log import Log
from raftd.measures import Durations
from raftd.plan import Driver, Effects
from raftd.requests import Client, Proposal, Proposals, Read
from raftd.validate import Reason, Validator, valid_forward
from raftwire.envelope import CONTROL, PROPOSAL, pack_origin
from raftwire.errors import AdminError, Code, Outcome
from raftwire.limits import ENTRIES_PER_FRAME_MAX, MIB
from raftwire.peer import Forward, ForwardRefused, PeerFrame

_READ_CONTEXT: Final = Struct(">QQQ")
_ELSEWHERE: Final = frozenset({MsgSnapshot, MsgPropose})
_FORWARD_BYTES_MAX: Final = 4 * MIB
_HOLD_ELECTIONS: Final = 3
"""Election timeouts that a request waits for a leader before it is refused as not applied."""

_BUSY_PENDING: Final = 1024
_BUSY_SECONDS: Final = 0.5
"""So many proposals that leaders have been given may wait for longer than this before new ones are
refused: a queue that is not worked off only adds its length to every answer."""

_REFUSALS: Final = {
    DropReason.TOO_LARGE: Code.TOO_LARGE,
    DropReason.UNCOMMITTED_LIMIT: Code.OVERLOADED,
    DropReason.NO_LEADER: Code.NO_LEADER,
    DropReason.TRANSFERRING: Code.TRANSFER_IN_PROGRESS,
    DropReason.NOT_MEMBER: Code.NOT_LEADER,
    DropReason.CONF_PENDING: Code.CONF_PENDING,
    DropReason.FORWARDING_DISABLED: Code.NOT_LEADER,
}
_PASSING: Final = frozenset({DropReason.NO_LEADER, DropReason.TRANSFERRING, DropReason.NOT_MEMBER})
"""Refusals that end with the next leader: the proposal is held, not refused."""


class Network(Protocol):
    """What the engine needs of the transport."""

    def send(self, messages: Sequence[Message]) -> None:
        """Send Raft messages; may drop, may not block."""
        ...

    def send_frame(self, peer_id: int, frame: PeerFrame) -> bool:
        """Send one frame; False if it was dropped."""
        ...

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up."""
        ...


@dataclass(slots=True)
class Counters:
    """What happened since the start; for status and metrics."""

    proposals_applied: int = 0
    proposals_refused: int = 0
    proposals_unknown: int = 0
    proposals_forwarded: int = 0
    reads: int = 0
    elections: int = 0
    leader_changes: int = 0
    messages_refused: int = 0
    applied_index: int = 0
    turns: int = 0
    ticks: int = 0
    stalls: int = 0


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
        self.validator = Validator(
            self.id,
            raw.raft.raft_log.last_index,
            lambda: self.raft.raft_log.committed,
        )
        self.counters = Counters()
        self.flush_times = FlushTimes()
        self.propose_times = Durations()
        """From taking a client's proposal to answering it, for those that were applied."""
        self.refusal: AdminError | None = None
        """Why new proposals are refused, the leader's own and others'; None: they are taken."""
        self._apply_lag = 0
        self._sync = sync if config.fsync == "always" else _no_sync
        self._flusher = Flusher(self._sync, self._flushed)
        self._flushing = False
        self._sync_queued = False
        self._scheduled = False
        self._failed = False
        self.closing = False
        self.belonging = Belonging(self.id, log)
        self._outside = False

        self._inbox: list[tuple[int, Message]] = []
        self._forwards: list[tuple[int, Forward]] = []
        self._sequence = 0
        self._proposals = Proposals()
        self._reads_new: list[Read] = []
        self._reads_sent: dict[bytes, tuple[float, list[Read]]] = {}
        self._reads_confirmed: list[tuple[int, int, list[Read]]] = []
        self._applied_term = 0
        self._forward_after = 0.0
        self._busy_since = math.inf
        self._quorum_linked = True
        self.why_unreachable: Callable[[int], str] = _not_connected
        """Says in words why a peer cannot be reached."""

        self._timer: asyncio.TimerHandle | None = None
        self._next_tick = 0.0
        self.leader_heard = self._loop.time()
        self._changed: list[asyncio.Future[None]] = []
        self.on_applied: list[Callable[[], None]] = []
        """Called after entries were applied."""
        self.on_turn_end: Callable[[], None] = _nothing
        """Called at the end of each turn: the time to send what was answered."""
        self.on_conf_change: Callable[[ConfState], None] = _nothing_with
        self.on_refused: Callable[[int], None] = _nothing_with
        """Called with who sent a message that no honest member sends."""
        self.on_snapshot_installed: Callable[[Snapshot], None] = _nothing_with
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
        self._failed = True
        if self._timer is not None:
            self._timer.cancel()
        for proposal in self._proposals.everything():
            proposal.client.request_failed(proposal.request_id, self._stopped_error(proposal))
        reads = [*self._reads_new]
        for _, batch in self._reads_sent.values():
            reads += batch
        for _, _, batch in self._reads_confirmed:
            reads += batch
        for read in reads:
            read.client.request_failed(
                read.request_id, AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
            )
        self._flusher.close()
        self.on_turn_end()

    def _stopped_error(self, proposal: Proposal) -> AdminError:
        if proposal.term == 0:
            return AdminError(
                Code.SHUTTING_DOWN, f"node {self.id} is stopping; the proposal was not passed on"
            )
        return AdminError(
            Code.SHUTTING_DOWN,
            f"node {self.id} is stopping before it knows whether the proposal is applied",
            outcome=Outcome.UNKNOWN,
        )

    def fail(self, error: BaseException) -> None:
        """Stop for good: after ``error`` nothing this node says can be trusted."""
        if self._failed:
            return
        self._failed = True
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
                self._refused(peer_id, str(Reason.MISPLACED_FIELD))
                continue
            self._inbox.append((peer_id, message))
        self.schedule()

    def receive_snapshot(self, peer_id: int, message: Message) -> None:
        """Take the message of a snapshot whose file is here and staged."""
        self._inbox.append((peer_id, message))
        self.schedule()

    @property
    def has_work(self) -> bool:
        """Whether something waits for the next turn."""
        return self._scheduled and not self._failed

    def receive_forward(self, peer_id: int, forward: Forward) -> None:
        """Take proposals that a follower passed on."""
        self._forwards.append((peer_id, forward))
        self.schedule()

    def receive_refusal(self, refused: ForwardRefused) -> None:
        """A leader did not take proposals that were forwarded to it: they are not applied."""
        if refused.incarnation != self.incarnation:
            return
        again: list[Proposal] = []
        for sequence in refused.sequences:
            proposal = self._proposals.pending.get(sequence)
            if proposal is None or proposal.term != refused.term:
                continue  # It has been given to a later leader since, and may be appended there.
            del self._proposals.pending[sequence]
            if refused.code in _HELD_CODES:
                again.append(proposal)
                continue
            self.counters.proposals_refused += 1
            proposal.client.request_failed(
                proposal.request_id,
                AdminError(
                    refused.code,
                    refused.message,
                    hint=refused.hint,
                    outcome=Outcome.NOT_APPLIED,
                    retry_after_ms=refused.retry_after_ms,
                ),
            )
        if again:
            # Give the next leader time to appear, instead of asking the same one in a circle.
            self._forward_after = self._loop.time() + self._config.heartbeat / 2
            self._proposals.give_back(again)
        self.schedule()

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
        if self.belonging.turned_away(self.raft.prs, config):
            self._look_outside()
            self._wake()

    def left_out(self, config: ConfState) -> None:
        """A member says that this node is not in its configuration."""
        if self.belonging.left_out(self.raft.prs, config):
            self._look_outside()
            self._wake()

    def _look_outside(self) -> None:
        """See whether this node still has a part in the group; if not, answer who waits for it."""
        was, self._outside = self._outside, self.has_left or self.belonging.told is not None
        if was or not self._outside:
            return
        for proposal in self._proposals.everything():
            if proposal.term:
                self.counters.proposals_unknown += 1
                error = AdminError(
                    Code.LEADERSHIP_LOST_UNKNOWN,
                    f"node {self.id} left the group before it knew whether the proposal is applied",
                    hint="look for it on a member, or repeat it there with the same key",
                )
            else:
                self.counters.proposals_refused += 1
                error = self.not_member_error()
            proposal.client.request_failed(proposal.request_id, error)
        reads, self._reads_new = self._reads_new, []
        for _, sent in self._reads_sent.values():
            reads += sent
        self._reads_sent.clear()
        for read in reads:
            read.client.request_failed(read.request_id, self.not_member_error())

    def links_changed(self) -> None:
        """A link came up or was lost: whether a majority can be reached may have changed."""
        self._quorum_linked = self.quorum_linked()
        self.schedule()
        self._wake()

    # --- being asked --------------------------------------------------------------------------

    @property
    def election_timeout(self) -> float:
        """Seconds without a leader after which a voter campaigns, at least."""
        return self._config.election_timeout

    @property
    def has_left(self) -> bool:
        """Whether this node has left the group for good, by its own log or by what others say."""
        prs = self.raft.prs
        return self.belonging.expelled or (self.id in prs.removed and self.id not in prs.ids())

    def known_configuration(self) -> ConfState:
        """Return the newest configuration that this node has applied or been told of."""
        return self.belonging.told or self.raft.prs.to_conf_state()

    def not_member_error(self) -> AdminError:
        """Return the refusal of what only a member can do."""
        state = self.known_configuration()
        voters = ", ".join(map(str, sorted(state.voters)))
        return AdminError(
            Code.NOT_MEMBER,
            f"node {self.id} is not in the group any more: since entry {state.config_index} its "
            f"voters are {voters}; nothing was passed on",
            hint=f"ask a member: {voters}",
            details={"voters": voters},
        )

    @property
    def is_leader(self) -> bool:
        """Whether this node takes itself for the leader."""
        return self.raft.is_leader()

    @property
    def pending(self) -> int:
        """Proposals that wait for an answer."""
        return len(self._proposals)

    def propose(
        self, client: Client, request_id: int, data: bytes, key: str, seconds: float
    ) -> AdminError | None:
        """Take a proposal; ``client`` hears of it once. Returns why it is refused at once.

        Args:
            client: Who is to be told.
            request_id: How ``client`` knows the proposal.
            data: The command.
            key: The client's idempotency key; may be empty.
            seconds: How long the answer may take.
        """
        config = self._config
        if len(data) > config.max_entry_bytes:
            return AdminError(
                Code.TOO_LARGE,
                f"the proposal has {len(data)} bytes; the limit is {config.max_entry_bytes}",
            )
        if self.refusal is not None:
            return self.refusal
        if self._apply_lag > config.max_apply_lag > 0:
            return AdminError(
                Code.OVERLOADED,
                f"{self._apply_lag} committed entries wait to be applied; "
                f"the limit is {config.max_apply_lag}",
                details={"limit": "max_apply_lag", "cap": config.max_apply_lag},
            )
        self._sequence = sequence = self._sequence + 1
        return self._hold(
            sequence,
            pack_origin(PROPOSAL, self.id, self.incarnation, sequence, key),
            data,
            client,
            request_id,
            seconds,
        )

    def propose_control(
        self, client: Client, request_id: int, data: bytes, seconds: float
    ) -> AdminError | None:
        """Take a command of the daemon itself; as `propose`."""
        self._sequence = sequence = self._sequence + 1
        context = pack_origin(CONTROL, self.id, self.incarnation, sequence)
        return self._hold(sequence, context, data, client, request_id, seconds)

    def _hold(
        self,
        sequence: int,
        context: bytes,
        data: bytes,
        client: Client,
        request_id: int,
        seconds: float,
    ) -> AdminError | None:
        proposals = self._proposals
        if self._failed or self.closing:
            return AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
        if self._outside:
            return self.not_member_error()
        if len(proposals) >= self._config.max_pending:
            return AdminError(
                Code.OVERLOADED,
                f"{len(proposals)} proposals of this node's clients wait already; "
                f"the limit is {self._config.max_pending}",
                details={"limit": "max_pending", "cap": self._config.max_pending},
            )
        if proposals.held_bytes + len(data) > self._config.max_pending_bytes:
            return AdminError(
                Code.OVERLOADED,
                f"{proposals.held_bytes} bytes of proposals wait for a leader; "
                f"the limit is {self._config.max_pending_bytes}",
                details={"limit": "max_pending_bytes", "cap": self._config.max_pending_bytes},
            )
        now = self._loop.time()
        if now - self._busy_since > _BUSY_SECONDS:
            return AdminError(
                Code.OVERLOADED,
                f"{len(proposals.pending)} proposals wait, the oldest for "
                f"{now - self._busy_since:.1f} s: more arrive than the group can take",
                details={"limit": "busy_seconds", "cap": _BUSY_SECONDS},
            )
        proposals.hold(
            Proposal(
                sequence, context, data, client, request_id,
                now + seconds, now + min(seconds, self._hold_seconds), now,
            )
        )  # fmt: skip
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        return None

    def expect_applied(
        self, client: Client, request_id: int, seconds: float
    ) -> tuple[int, Callable[[int], None]]:
        """Reserve a sequence number for an entry that somebody else proposes (a conf change).

        Returns the number, and what to call with the term once the entry is appended.
        """
        self._sequence = sequence = self._sequence + 1
        now = self._loop.time()
        end = now + seconds
        proposal = Proposal(sequence, b"", b"", client, request_id, end, end, now)

        def appended(term: int) -> None:
            self._proposals.hold(proposal)
            self._proposals.held.remove(proposal)
            self._proposals.sent([proposal], term)
            self.schedule()

        return sequence, appended

    def read(
        self, client: Client, request_id: int, data: bytes | None, seconds: float
    ) -> AdminError | None:
        """Take a linearizable read; ``client`` is told when the state may be read."""
        if self._failed or self.closing:
            return AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
        if self._outside:
            return self.not_member_error()
        if len(self._reads_new) >= self._config.max_pending:
            return AdminError(
                Code.OVERLOADED, f"{len(self._reads_new)} reads of this node wait already"
            )
        now = self._loop.time()
        self._reads_new.append(
            Read(client, request_id, data, now + seconds, now + min(seconds, self._hold_seconds))
        )
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        return None

    async def changed(self) -> None:
        """Return after the next change of leader, role, configuration, links or applied index."""
        waiter = self._loop.create_future()
        self._changed.append(waiter)
        await waiter

    def call(self, action: Callable[[], None]) -> None:
        """Do something with the core now, then let a turn carry out what comes of it.

        Whatever ``action`` raises that is a plain refusal passes to the caller.
        """
        if self._failed:
            raise AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
        try:
            action()
        except InvariantViolation as error:
            self.fail(error)
            raise
        finally:
            self.schedule()

    @property
    def _hold_seconds(self) -> float:
        return _HOLD_ELECTIONS * self._config.election_timeout

    @property
    def flush_waits(self) -> bool:
        """Whether something written is not durable yet."""
        return self._driver.needs_sync

    @property
    def held(self) -> int:
        """Proposals that are not appended yet."""
        return len(self._proposals.held)

    def note(self, words: str) -> None:
        """Log something that only somebody who debugs wants to read."""
        self._log.debug(words)

    def best_successor(self) -> int:
        """Return the best-matched active voter to hand leadership to; 0 if there is none."""
        prs = self.raft.prs
        voters = (prs.next_configuration or prs.configuration).voters
        candidates = [
            (-progress.matched, peer_id)
            for peer_id, progress in prs.iter()
            if peer_id != self.id
            and peer_id in voters
            and progress.recent_active
            and self.reachable(peer_id)
        ]
        return min(candidates)[1] if candidates else 0

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up."""
        return self._network.reachable(peer_id)

    def quorum_linked(self) -> bool:
        """Whether this node has links to a majority of each configuration in force."""
        state = self.raft.prs.to_conf_state()
        reachable = self._network.reachable
        return all(
            2 * sum(1 for member in voters if member == self.id or reachable(member)) > len(voters)
            for voters in (state.voters, state.voters_outgoing)
            if voters
        )

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
            self._guard(lambda: self._ticks(ticks))
            self._next_tick = max(self._next_tick + ticks * interval, now)
        if self._failed:
            return
        self._timer = self._loop.call_at(self._next_tick, self._tick)
        self._expire(now)
        self.schedule()

    def _ticks(self, count: int) -> None:
        if self.belonging.aside and not self.is_leader:
            return  # It would campaign by a configuration that has been replaced.
        for _ in range(count):
            self.raw.tick()

    def _expire(self, now: float) -> None:
        for proposal in self._proposals.expired(now):
            if proposal.term == 0:
                self.counters.proposals_refused += 1
                error = self.no_leader_error()
            else:
                self.counters.proposals_unknown += 1
                error = self.unknown_error()
            proposal.client.request_failed(proposal.request_id, error)
        if self._reads_new and not self._can_read():
            self._reads_new = self._refuse_old(self._reads_new, now)
        retry_after = self._config.election_timeout
        for context, (sent, reads) in list(self._reads_sent.items()):
            if now - sent > retry_after:
                # The question or its answer was lost, or its leader is gone: ask anew.
                del self._reads_sent[context]
                self._reads_new += self._refuse_old(reads, now)
        for _, _, reads in self._reads_confirmed:
            reads[:] = self._refuse_old(reads, now, applied_late=True)

    def _refuse_old(self, reads: list[Read], now: float, applied_late: bool = False) -> list[Read]:
        kept: list[Read] = []
        for read in reads:
            if now < (read.deadline if applied_late else read.hold_until):
                kept.append(read)
                continue
            error = (
                AdminError(Code.TIMEOUT, "this node has not applied all that the read must see yet")
                if applied_late
                else self.no_leader_error()
            )
            read.client.request_failed(read.request_id, error)
        return kept

    def no_leader_error(self) -> AdminError:
        """Return the refusal of a request that no leader has been given."""
        missing = self.missing_voters()
        details = {f"unreachable_{member}": why for member, why in missing.items()}
        if self.raft.leader_id == 0 or not self._quorum_linked:
            state = self.raft.prs.to_conf_state()
            if not state.voters:
                return AdminError(
                    Code.NO_LEADER,
                    f"node {self.id} is not part of a group yet: it waits to be added",
                    hint=f"add it from a member, with raftctl member add {self.id}",
                )
            if not self._quorum_linked:
                words = ", ".join(f"{member} ({why})" for member, why in missing.items())
                total = len({*state.voters, *state.voters_outgoing})
                return AdminError(
                    Code.NO_QUORUM,
                    f"no quorum: {total - len(missing)} of {total} voters reachable from node "
                    f"{self.id}; unreachable: {words}",
                    details=details,
                )
        if self.raft.leader_id == 0:
            return AdminError(
                Code.NO_LEADER, f"node {self.id} knows of no leader in term {self.raft.term}"
            )
        return AdminError(
            Code.NO_LEADER,
            f"node {self.id} could not pass the request on to leader {self.raft.leader_id}",
            details=details,
        )

    def unknown_error(self) -> AdminError:
        """Return the failure of a proposal that some leader was given."""
        missing = self.missing_voters()
        words = ", ".join(f"{member} ({why})" for member, why in missing.items())
        text = "the proposal was passed to a leader, but was not seen applied in time"
        if words:
            text += f"; unreachable from node {self.id}: {words}"
        return AdminError(
            Code.TIMEOUT_UNKNOWN,
            text,
            details={f"unreachable_{member}": why for member, why in missing.items()},
        )

    def missing_voters(self) -> dict[int, str]:
        """Return the voters this node has no link to, each with the reason."""
        state = self.raft.prs.to_conf_state()
        return {
            member: self.why_unreachable(member)
            for member in sorted({*state.voters, *state.voters_outgoing})
            if member != self.id and not self._network.reachable(member)
        }

    # --- the turn -----------------------------------------------------------------------------

    def schedule(self) -> None:
        """Have a turn soon."""
        if not self._scheduled and not self._failed:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _guard(self, action: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self.fail(error)

    def _turn(self) -> None:
        self._scheduled = False
        if self._failed:
            return
        self.counters.turns += 1
        if self._leases and time.monotonic() > self._next_tick + self._config.tick_interval / 2:
            # By the clock itself: the loop's stands still for as long as one round of it takes.
            self.raw.expire_lease()
        try:
            if self._inbox:
                self._step_inbox()
            if self._forwards:
                self._take_forwards()
            if self._proposals.held:
                self._send_proposals()
            self._busy_since = self._proposals.waiting_since(_BUSY_PENDING)
            if self._reads_new and self._can_read():
                self._send_reads()
            self._pump()
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
                self._refused(peer_id, str(reason))
                continue
            if peer_id == leader_id:
                self.leader_heard = self._loop.time()
            try:
                step(message)
            except MessageRefused as error:
                self.validator.count(Reason.PROTOCOL)
                self._refused(peer_id, str(error))
            except Error as error:
                # A stranger's answer, a read that came too late: the core says so and is as it was.
                self._log.debug("message not taken", peer=peer_id, reason=str(error))

    def _refused(self, peer_id: int, reason: str) -> None:
        self.counters.messages_refused += 1
        self.on_refused(peer_id)
        if self.counters.messages_refused % 1000 == 1:
            self._log.warning(
                "refused a message", peer=peer_id, reason=reason,
                times=self.counters.messages_refused,
            )  # fmt: skip

    def _send_proposals(self) -> None:
        """Append or forward what is held, if there is a leader to give it to."""
        leader_id = self.raft.leader_id
        if not leader_id:
            return
        if leader_id == self.id:
            # A leader that cannot reach a majority would only make outcomes unknown.
            if self._quorum_linked and not self.raft.lead_transferee:
                self._append(self._proposals.take_held())
        elif self._network.reachable(leader_id) and self._loop.time() >= self._forward_after:
            self._forward(leader_id, self._proposals.take_held())

    def _append(self, proposals: list[Proposal]) -> None:
        term = self.raft.term
        try:
            self.raw.propose_batch([(p.context, p.data) for p in proposals])
        except ProposalDropped as error:
            if len(proposals) > 1 and error.reason not in _PASSING:
                # One alone may be too large, or only some fit in.
                half = len(proposals) // 2
                self._append(proposals[:half])
                self._append(proposals[half:])
                return
            self._dropped(proposals, error)
        else:
            self._proposals.sent(proposals, term)

    def _dropped(self, proposals: list[Proposal], error: ProposalDropped) -> None:
        if error.reason in _PASSING:
            self._proposals.give_back(proposals)
            return
        self.counters.proposals_refused += len(proposals)
        for proposal in proposals:
            proposal.client.request_failed(
                proposal.request_id, AdminError(_REFUSALS[error.reason], error.message)
            )

    def _forward(self, leader_id: int, proposals: list[Proposal]) -> None:
        """Pass proposals to the leader, in frames that hold them."""
        term = self.raft.term
        start = 0
        while start < len(proposals):
            frame = PeerFrame()
            entries = frame.forward.entries
            size, end = 0, start
            while end < len(proposals) and end - start < ENTRIES_PER_FRAME_MAX:
                proposal = proposals[end]
                size += len(proposal.data) + len(proposal.context) + 16
                if size > _FORWARD_BYTES_MAX and end > start:
                    break
                # The term says which leader is meant: no other may append it.
                entries.add(term=term, context=proposal.context, data=proposal.data)
                end += 1
            group = proposals[start:end]
            if not self._network.send_frame(leader_id, frame):
                self._proposals.give_back(proposals[start:])
                return
            self._proposals.sent(group, term)
            self.counters.proposals_forwarded += len(group)
            start = end

    def _take_forwards(self) -> None:
        forwards, self._forwards = self._forwards, []
        for peer_id, forward in forwards:
            entries = forward.entries
            limit = self._config.max_entry_bytes
            good: list[tuple[bytes, bytes]] = []
            late: list[bytes] = []
            term = self.raft.term
            leading = self.is_leader
            meant = entries[0].term if entries else 0
            for entry in entries:
                context, data = entry.context, entry.data
                if not valid_forward(context, data, peer_id) or entry.term != meant:
                    self.validator.count(Reason.BAD_FORWARD)
                    self._refused(peer_id, str(Reason.BAD_FORWARD))
                elif len(data) > limit:
                    self._refuse_forward(
                        peer_id, meant, [context], Code.TOO_LARGE,
                        f"the proposal has {len(data)} bytes; the limit of the leader is {limit}",
                    )  # fmt: skip
                elif not leading or meant != term:
                    late.append(context)
                else:
                    good.append((context, data))
            if good and self.refusal is not None:
                self._refuse_forward(
                    peer_id, meant, [context for context, _ in good],
                    Code(self.refusal.code), f"on leader {self.id}: {self.refusal.message}",
                )  # fmt: skip
                good = []
            if late:
                self._refuse_forward(
                    peer_id, meant, late, Code.NOT_LEADER,
                    f"node {self.id} does not lead in the term the proposal was meant for",
                )  # fmt: skip
            if good:
                self._append_forwarded(peer_id, good)

    def _append_forwarded(self, peer_id: int, items: list[tuple[bytes, bytes]]) -> None:
        try:
            self.raw.propose_batch(items)
        except ProposalDropped as error:
            if len(items) > 1 and error.reason not in _PASSING:
                half = len(items) // 2
                self._append_forwarded(peer_id, items[:half])
                self._append_forwarded(peer_id, items[half:])
                return
            self._refuse_forward(
                peer_id,
                self.raft.term,
                [context for context, _ in items],
                _REFUSALS[error.reason],
                error.message,
            )

    def _refuse_forward(
        self, peer_id: int, term: int, contexts: list[bytes], code: Code, message: str
    ) -> None:
        frame = PeerFrame()
        refused = frame.refused
        refused.code, refused.message, refused.hint = code.value, message, code.facts.hint
        refused.retry_after_ms = code.facts.retry_after_ms
        refused.leader, refused.term = self.raft.leader_id, term
        for context in contexts:
            _, incarnation, sequence = _READ_CONTEXT.unpack_from(context, 1)
            refused.incarnation = incarnation
            refused.sequences.append(sequence)
        self._network.send_frame(peer_id, frame)

    def _can_read(self) -> bool:
        leader_id = self.raft.leader_id
        if not leader_id:
            return False
        return self._quorum_linked if leader_id == self.id else self._network.reachable(leader_id)

    def _send_reads(self) -> None:
        """Ask once for all reads that have arrived; a later one may not share an earlier answer."""
        reads, self._reads_new = self._reads_new, []
        self._sequence += 1
        # Never used twice, not even by another process of this node.
        context = _READ_CONTEXT.pack(self.id, self.incarnation, self._sequence)
        self._reads_sent[context] = (self._loop.time(), reads)
        try:
            self.raw.read_index(context)
        except Error:
            # No leader any more, or too many reads: they are asked again, or refused, on a tick.
            self._log.debug("read not taken")

    # --- what the core says -------------------------------------------------------------------

    def _pump(self) -> None:
        effects = self._driver.pump()
        self._carry_out(effects)
        raft_log = self.raft.raft_log
        self._apply_lag = raft_log.committed - raft_log.applied
        if self._driver.needs_sync and not self._flushing and not self._sync_queued:
            if self.flush_times.inline:
                # In the next round of the loop: until then the messages are on their way.
                self._sync_queued = True
                self._loop.call_soon(self._flush_inline)
            else:
                self._flushing = True
                self._flusher.flush(self._driver.begin_sync())

    def _flush_inline(self) -> None:
        self._sync_queued = False
        if self._failed or not self._driver.needs_sync:
            return
        try:
            mark = self._driver.begin_sync()
            started = time.perf_counter()
            self._sync()
            self.flush_times.note(time.perf_counter() - started)
            hit("durable")
            self._driver.end_sync(mark)
            self._pump()
        except Exception as error:
            self.fail(error)
            return
        self.on_turn_end()

    def _flushed(self, mark: int, seconds: float, failure: BaseException | None) -> None:
        self._flushing = False
        if self._failed:
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

    def _carry_out(self, effects: Effects[Applied]) -> None:
        messages = effects.messages
        # Entries first: disks wait for them. What only tells of a commit comes after the answers of
        # the clients who wait for it.
        answers_first = effects.applied and not any(message.entries for message in messages)
        if _DIES_AT_A_VOTE and any(map(_is_vote, messages)):
            hit("vote")
        if messages and not answers_first:
            self._network.send(messages)
        if effects.soft_state is not None:
            self._soft_state(effects.soft_state)
        if effects.snapshot is not None:
            self._snapshot_installed(effects.snapshot)
        if effects.applied:
            self._answer(effects.applied)
        if messages and answers_first:
            self.on_turn_end()
            self._network.send(messages)
        if effects.applied_term > self._applied_term:
            # After the answers: what a former leader appended stands before this term's entries.
            self._applied_term = effects.applied_term
            self._lost_with_their_leader(effects.applied_term)
        if effects.applied_index:
            self.counters.applied_index = effects.applied_index
            for callback in self.on_applied:
                callback()
        for read_state in effects.read_states:
            self._read_confirmed(read_state)
        if self._reads_confirmed:
            self._answer_reads()
        if effects.applied_index or effects.snapshot or effects.soft_state:
            self._note_conf_state()
            self._wake()
        if effects.more:
            self.schedule()

    def _answer(self, applied: Sequence[Applied]) -> None:
        hit("answer")
        pending = self._proposals.pending
        mine, node_id = self.incarnation, self.id
        counters = self.counters
        now, note = self._loop.time(), self.propose_times.note
        for one in applied:
            if one.node == node_id and one.incarnation == mine:
                proposal = pending.pop(one.sequence, None)
                if proposal is not None:
                    counters.proposals_applied += 1
                    note(now - proposal.started)
                    proposal.client.proposal_applied(proposal.request_id, one)

    def _lost_with_their_leader(self, term: int) -> None:
        """Propose again what leaders of terms before ``term`` were given: they never applied it."""
        lost = self._proposals.of_earlier_terms(term)
        if not lost:
            return
        now = self._loop.time()
        again: list[Proposal] = []
        for proposal in lost:
            if proposal.context and now < proposal.hold_until:
                again.append(proposal)
                continue
            self.counters.proposals_refused += 1
            proposal.client.request_failed(
                proposal.request_id,
                AdminError(
                    Code.NOT_LEADER,
                    "leadership changed before the proposal was committed; it was not applied and "
                    "will not be",
                    hint="propose it again",
                    outcome=Outcome.NOT_APPLIED,
                    retryable=True,
                ),
            )
        self._proposals.give_back(again)
        if again:
            self.schedule()

    def _snapshot_installed(self, snapshot: Snapshot) -> None:
        # What was pending may be inside the snapshot: nobody here can tell.
        for proposal in self._proposals.of_earlier_terms(snapshot.metadata.term + 1):
            self.counters.proposals_unknown += 1
            proposal.client.request_failed(
                proposal.request_id,
                AdminError(
                    Code.LEADERSHIP_LOST_UNKNOWN,
                    "this node caught up by a snapshot, which does not name the proposals it holds",
                ),
            )
        self._applied_term = max(self._applied_term, snapshot.metadata.term)
        self.on_snapshot_installed(snapshot)

    def _read_confirmed(self, read_state: ReadState) -> None:
        found = self._reads_sent.pop(bytes(read_state.request_ctx), None)
        if found is not None:
            self._sequence += 1
            heapq.heappush(self._reads_confirmed, (read_state.index, self._sequence, found[1]))

    def _answer_reads(self) -> None:
        applied = self.raft.raft_log.applied
        confirmed = self._reads_confirmed
        while confirmed and confirmed[0][0] <= applied:
            _, _, reads = heapq.heappop(confirmed)
            self.counters.reads += len(reads)
            for read in reads:
                read.client.read_ready(read.request_id, applied, read.data)

    def _soft_state(self, soft_state: SoftState) -> None:
        self.counters.leader_changes += 1
        if soft_state.raft_state in (StateRole.Candidate, StateRole.PreCandidate):
            self.counters.elections += 1
        self.leader_heard = self._loop.time()
        self._log.info(
            "leadership",
            leader=soft_state.leader_id,
            role=soft_state.raft_state.name.lower(),
            term=self.raft.term,
        )
        if soft_state.leader_id:
            # Whoever refused a proposal was another: what was given back to wait goes to this one.
            self._forward_after = 0.0
            # Reads that went to another leader will not be answered: ask this one.
            for _, reads in self._reads_sent.values():
                self._reads_new += reads
            self._reads_sent.clear()
            self.schedule()

    def _note_conf_state(self) -> None:
        prs = self.raft.prs
        seen = (prs.config_index, prs.begin_index, prs.ids())
        if seen != self._conf_seen:
            self._conf_seen = seen
            self.belonging.applied(prs)
            self._look_outside()
            self.on_conf_change(prs.to_conf_state())
            self._quorum_linked = self.quorum_linked()

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for waiter in changed:
            if not waiter.done():
                waiter.set_result(None)


_HELD_CODES: Final = frozenset(
    {Code.NO_LEADER.value, Code.NOT_LEADER.value, Code.TRANSFER_IN_PROGRESS.value}
)
"""Refusals of a forward after which the proposal waits for the next leader."""


_DIES_AT_A_VOTE: Final = armed() == "vote"


def _is_vote(message: Message) -> bool:
    return message.msg_type == MsgRequestVoteResponse and not message.reject


def _no_sync() -> None:
    """Stand in for a flush under ``--fsync unsafe-never``."""


def _not_connected(peer_id: int) -> str:
    return f"node {peer_id} is not connected"


def _nothing() -> None:
    """Do nothing."""


def _nothing_with(_: object) -> None:
    """Do nothing."""
