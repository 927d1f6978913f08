"""Linearizable reads: asked of the leader together, answered when this node has applied enough.

One ReadIndex serves all reads that have arrived, with a context never used before, not even by
another process of this node. A read that arrives later never shares an earlier answer.

The same answers tell how old this node's state may be, for reads that take it as it is: when the
newest question was put whose index is applied. Not when a leader was last heard: what it said may
have lain in a socket while this process stood still, it may be deposed without knowing it, and this
node may hear every heartbeat and yet lag behind.
"""

import heapq
import math
import time
from struct import Struct
from typing import Final, NamedTuple

from raft import Error, ReadState
from raftd.admission import Admission
from raftd.applier import Applied
from raftd.engine import Engine
from raftd.requests import HOLD_ELECTIONS, Client, Read, over_limit
from raftd.standing import Standing
from raftwire.errors import AdminError, Code

_CONTEXT: Final = Struct(">QQQ")
"""Node, incarnation and number of the question."""


class _Question(NamedTuple):
    """A ReadIndex that is not answered yet."""

    sent: float
    """Loop time, to ask again when no answer comes."""
    asked_at: float
    """The clock itself: the loop's stands still for as long as one round of it takes."""
    reads: list[Read]


class Reading:
    """The reads of this node's clients that wait for an answer."""

    def __init__(self, engine: Engine, standing: Standing) -> None:
        self._id, self._incarnation = engine.id, engine.incarnation
        self._engine = engine
        self._standing = standing
        self._config = engine.config
        self._raw, self._raft = engine.raw, engine.raft
        self._network = engine.network
        self._loop = engine.loop
        self._counters = engine.counters
        self._asked = 0
        self._new: list[Read] = []
        self._sent: dict[bytes, _Question] = {}
        self._confirmed: list[tuple[int, int, _Question]] = []
        self._admission = Admission("reads", engine.config.election_timeout)
        self._asked_for = 0
        """Reads that the leader was asked for and that are not answered; as of the last turn."""
        self._fresh_at = -math.inf
        self._refreshing = False

    @property
    def window(self) -> int:
        """How many may wait for an answer now: the window of `Admission`, or `max_pending`."""
        return min(self._admission.window, self._config.max_pending)

    def read(
        self, client: Client, request_id: int, data: bytes | None, seconds: float
    ) -> AdminError | None:
        """Take a linearizable read; ``client`` is told when the state may be read."""
        if (stopping := self._engine.stopping()) is not None:
            return stopping
        if self._standing.outside:
            return self._standing.not_member_error()
        waiting = self._asked_for + len(self._new)
        if waiting >= self._admission.window:
            return self._admission.refusal(waiting)
        if waiting >= self._config.max_pending:
            return over_limit(
                "max_pending",
                waiting,
                self._config.max_pending,
                f"{waiting} reads of this node's clients wait already",
            )
        now = self._loop.time()
        self._new.append(
            Read(
                client,
                request_id,
                data,
                now + seconds,
                now + min(seconds, HOLD_ELECTIONS * self._config.election_timeout),
            )
        )
        self._engine.schedule()
        return None

    # --- the state as it is -------------------------------------------------------------------

    def age(self) -> float:
        """Return a number of seconds: what was acknowledged so long ago is in this node's state.

        Infinite as long as nothing was confirmed since the start.
        """
        return time.monotonic() - self._fresh_at

    def refresh(self) -> None:
        """Have the age confirmed anew, unless that was done within a heartbeat; waits for nothing.

        So whoever reads the state as it is again and again costs the leader a question a heartbeat.
        """
        if self._refreshing or self.age() < self._config.heartbeat or not self.can_ask():
            return
        self._refreshing = True
        if self.read(_Refresh(self), 0, None, self._config.election_timeout) is not None:
            self._refreshing = False

    def refreshed(self) -> None:
        """A refresh has ended, one way or the other."""
        self._refreshing = False

    # --- asking -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Ask for what has come since the last turn, if there is somebody to ask."""
        if self._new and self.can_ask():
            self._ask()

    def look(self) -> None:
        """See how many wait, and how many may."""
        waiting, oldest = 0, math.inf
        for question in self._sent.values():
            waiting += len(question.reads)
            oldest = min(oldest, question.sent)
        for _, _, question in self._confirmed:
            waiting += len(question.reads)
            oldest = min(oldest, question.sent)
        self._asked_for = waiting
        self._admission.look(self._loop.time(), self._counters.reads, waiting, oldest)

    def can_ask(self) -> bool:
        """Whether there is a leader to ask, as far as this node can tell."""
        leader_id = self._raft.leader_id
        if not leader_id:
            return False
        return (
            self._standing.quorum_linked
            if leader_id == self._id
            else self._network.reachable(leader_id)
        )

    def _ask(self) -> None:
        """Ask once for all reads that have arrived; a later one may not share an earlier answer."""
        reads, self._new = self._new, []
        self._asked += 1
        # Never used twice, not even by another process of this node.
        context = _CONTEXT.pack(self._id, self._incarnation, self._asked)
        self._sent[context] = _Question(self._loop.time(), time.monotonic(), reads)
        try:
            self._raw.read_index(context)
        except Error:
            # No leader any more, or too many reads: they are asked again, or refused, on a tick.
            self._engine.log.debug("read not taken")

    def new_leader(self) -> None:
        """Somebody leads: what another was asked will not be answered, so ask this one."""
        for question in self._sent.values():
            self._new += question.reads
        self._sent.clear()

    def confirmed(self, read_state: ReadState) -> None:
        """The core has an answer: what asked may be answered once its index is applied."""
        found = self._sent.pop(bytes(read_state.request_ctx), None)
        if found is not None:
            self._asked += 1
            heapq.heappush(self._confirmed, (read_state.index, self._asked, found))

    def answer(self) -> None:
        """Answer all reads whose index has been applied."""
        applied = self._raft.raft_log.applied
        confirmed = self._confirmed
        while confirmed and confirmed[0][0] <= applied:
            _, _, question = heapq.heappop(confirmed)
            self._fresh_at = max(self._fresh_at, question.asked_at)
            self._counters.reads += len(question.reads)
            self._admission.took(self._loop.time() - question.sent)
            for read in question.reads:
                read.client.read_ready(read.request_id, applied, read.data)

    def expire(self, now: float) -> None:
        """Answer what has waited for too long; ask anew what was not answered in time."""
        if self._new and not self.can_ask():
            self._new = self._refuse_old(self._new, now)
        retry_after = self._config.election_timeout
        for context, question in list(self._sent.items()):
            if now - question.sent > retry_after:
                # The question or its answer was lost, or its leader is gone: ask anew.
                del self._sent[context]
                self._new += self._refuse_old(question.reads, now)
        for _, _, question in self._confirmed:
            question.reads[:] = self._refuse_old(question.reads, now, applied_late=True)

    def _refuse_old(self, reads: list[Read], now: float, applied_late: bool = False) -> list[Read]:
        kept: list[Read] = []
        for read in reads:
            if now < (read.deadline if applied_late else read.hold_until):
                kept.append(read)
                continue
            error = (
                AdminError(Code.TIMEOUT, "this node has not applied all that the read must see yet")
                if applied_late
                else self._standing.no_leader_error()
            )
            read.client.request_failed(read.request_id, error)
        return kept

    def leave(self) -> None:
        """This node has left the group: answer all who wait to ask, or for an answer."""
        reads, self._new = self._new, []
        for question in self._sent.values():
            reads += question.reads
        self._sent.clear()
        for read in reads:
            read.client.request_failed(read.request_id, self._standing.not_member_error())

    def stop(self) -> None:
        """The node stops: refuse what waits."""
        reads = [*self._new]
        for question in self._sent.values():
            reads += question.reads
        for _, _, question in self._confirmed:
            reads += question.reads
        for read in reads:
            read.client.request_failed(
                read.request_id,
                AdminError(Code.SHUTTING_DOWN, f"node {self._id} is stopping"),
            )


class _Refresh:
    """Waits for a confirmation that no client has asked for."""

    __slots__ = ("_reading",)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        raise AssertionError("a refresh proposes nothing")

    def request_failed(self, request_id: int, error: AdminError) -> None:
        self._reading.refreshed()

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        self._reading.refreshed()
