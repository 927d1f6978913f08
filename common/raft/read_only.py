"""Reads without a log entry: which wait for the leader to prove that it still leads (thesis §6.4).

A read may be answered from the state at the commit index of its arrival once the leader knows that
no other leader existed then. The proof is a heartbeat sent after the arrival and acknowledged by a
quorum: a *round*. Rounds are numbered by a counter of this leadership and the number travels in the
heartbeat's context. The readers' own contexts are never used for that: two reads with the same
context, one of them old and delayed, would confirm each other (etcd issue 20418).

All reads that arrive before a round's heartbeats are handed out share that round, and a quorum for
one round confirms all earlier ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raft.eraftpb import Message
from raft.read_only_option import ReadOnlyOption

_CONTEXT_BYTES = 8
_IDLE_ROUNDS_MAX = 64
"""Unconfirmed rounds without a read that are kept: they only renew the lease."""


@dataclass(slots=True)
class ReadState:
    """A confirmed read: it may be served once the state machine has applied `index`.

    Attributes:
        index: Commit index when the read arrived at the leader.
        request_ctx: What the reader passed to `RawNode.read_index`.

    Source: raft-rs ``ReadState``.
    """

    index: int
    request_ctx: bytes


@dataclass(slots=True)
class ReadRequest:
    """A read that waits for its round: who asked, with which context, at which commit index."""

    origin: int
    context: bytes
    index: int


@dataclass(slots=True)
class Round:
    """One heartbeat round: its number, when it was sent, who has answered, which reads wait."""

    number: int
    sent_at_tick: int
    acks: set[int] = field(default_factory=set)
    reads: list[ReadRequest] = field(default_factory=list)


def context_of(number: int) -> bytes:
    """The heartbeat context that names round `number`."""
    return number.to_bytes(_CONTEXT_BYTES, "little")


class ReadOnly:
    """The reads a leader has accepted and not yet answered.

    Attributes:
        option: Safe (a round a read) or LeaseBased (no round while the lease is live).
        postponed: Requests that came before this leader's first own commit; until then it does not
            know the newest commit index (Raft §8).
        rounds_made: Heartbeat rounds that were made for reads, beside those that were due anyway.
    """

    __slots__ = (
        "_lease_from",
        "_next",
        "_open",
        "_rounds",
        "lease_until",
        "lease_usable",
        "option",
        "postponed",
        "rounds_made",
    )

    def __init__(self, option: ReadOnlyOption) -> None:
        self.option = option
        self.postponed: list[Message] = []
        self.rounds_made = 0
        self._next = 1
        self._open: Round | None = None
        self._rounds: deque[Round] = deque()
        self._lease_from = 1
        """The first round that may give a lease: earlier ones left before time was lost."""
        self.lease_until = 0
        """First tick at which the lease is over."""
        self.lease_usable = True
        """False for the rest of a term in which a TimeoutNow was sent or time was lost: a transfer
        elects a second leader without regard for leases (raft-rs issue 234)."""

    def reset(self) -> None:
        """Forget everything; the counter goes on, so that late answers match no new round."""
        self.postponed.clear()
        self._rounds.clear()
        self._open = None
        self.lease_until = 0
        self.lease_usable = True

    def renew_lease(self, one: Round, ticks: int) -> None:
        """A quorum has answered `one`: the lease lasts `ticks` from when its heartbeats were made.

        Not from when the answers came: a follower keeps quiet from when it heard the heartbeat.
        """
        if one.number >= self._lease_from:
            self.lease_until = max(self.lease_until, one.sent_at_tick + ticks)

    def expire_lease(self) -> None:
        """Time was lost: end the lease, and let no round give one that was begun before.

        Its answers may be at hand already, and ticks do not tell how old they are.
        """
        self.lease_until = 0
        self._lease_from = self._next

    def pending_read_count(self) -> int:
        """How many reads wait, postponed ones included."""
        return len(self.postponed) + sum(len(one.reads) for one in self._rounds)

    def join_round(self, request: ReadRequest | None, tick: int) -> tuple[int, bool]:
        """Put a read (None: only a lease renewal) into the open round.

        Returns its number, and whether the round is new, so that its heartbeats must be sent.
        """
        if new := self._open is None:
            self._open = Round(self._next, tick)
            self._next += 1
            self._rounds.append(self._open)
            if len(self._rounds) > _IDLE_ROUNDS_MAX and not self._rounds[-2].reads:
                self._drop_idle_rounds()
        one = self._open
        assert one is not None
        if request is not None:
            one.reads.append(request)
        return one.number, new

    def _drop_idle_rounds(self) -> None:
        # Nobody answers, and nobody waits for the oldest of them.
        idle = [one for one in self._rounds if not one.reads]
        dropped = {one.number for one in idle[: -_IDLE_ROUNDS_MAX // 2]}
        self._rounds = deque(one for one in self._rounds if one.number not in dropped)

    def close_round(self) -> None:
        """The open round's heartbeats leave this node: later reads need a round of their own."""
        self._open = None

    def last_pending_context(self) -> bytes:
        """The newest round's context, for heartbeats that are due anyway; empty if none waits."""
        return context_of(self._rounds[-1].number) if self._rounds else b""

    def receive_ack(self, node_id: int, context: bytes) -> set[int] | None:
        """Count `node_id` for the round that `context` names and all before it.

        Returns everyone who has acknowledged that round; None if there is no such round.
        """
        if len(context) != _CONTEXT_BYTES:
            return None
        number = int.from_bytes(context, "little")
        acks: set[int] | None = None
        for one in self._rounds:
            if one.number > number:
                break
            one.acks.add(node_id)
            if one.number == number:
                acks = one.acks
        return acks

    def rounds(self) -> list[Round]:
        """The unconfirmed rounds, oldest first."""
        return list(self._rounds)

    def confirm_up_to(self, number: int) -> list[Round]:
        """Take out all rounds up to `number`, oldest first."""
        confirmed = []
        while self._rounds and self._rounds[0].number <= number:
            one = self._rounds.popleft()
            if one is self._open:
                self._open = None
            confirmed.append(one)
        return confirmed
