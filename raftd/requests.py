"""What clients wait for: proposals until they are applied, reads until they may be answered.

A proposal is in one of two places. *Held*: no leader has been given it, so nothing can have become
of it. *Pending*: a leader of a known term has it. The term makes outcomes definite: a leader is
only asked to append an entry in the term it was addressed in, so once an entry of a later term is
applied, whatever of an earlier term has not been applied never will be, and may be proposed again.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from raftd.applier import Applied
from raftwire.errors import AdminError, Code

HOLD_ELECTIONS: Final = 3
"""Election timeouts that a request waits for a leader before it is refused as not applied."""


def over_limit(
    limit: str,
    value: float,
    cap: float,
    words: str,
    code: Code = Code.OVERLOADED,
    retry_after_ms: int | None = None,
) -> AdminError:
    """Return a refusal that says which limit is reached, and how far.

    Args:
        limit: The setting that moves it, or the name of a fixed one.
        value, cap: What was found, and the most there may be.
        words: The value in a sentence.
        code: What the client should make of it.
        retry_after_ms: When it may try again; None: the usual time of ``code``.
    """
    details = {"limit": limit, "value": value, "cap": cap}
    words = f"{words}; the limit is {cap} ({limit})"
    return AdminError(code, words, details=details, retry_after_ms=retry_after_ms)


class Client(Protocol):
    """Whoever is to hear of a proposal or a read."""

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        """The proposal has been applied."""
        ...

    def request_failed(self, request_id: int, error: AdminError) -> None:
        """The request has failed; ``error`` says what that means for its outcome."""
        ...

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """The state as applied now may be read; ``data`` is the query, None for a bare index."""
        ...


class Proposal:
    """One proposal of a client of this node."""

    __slots__ = (
        "client", "context", "data", "deadline", "entry_type", "hold_until", "request_id",
        "sequence", "started", "term",
    )  # fmt: skip

    def __init__(
        self,
        sequence: int,
        context: bytes,
        data: bytes,
        client: Client,
        request_id: int,
        deadline: float,
        hold_until: float,
        started: float,
    ) -> None:
        self.sequence = sequence
        self.context = context
        self.data = data
        self.client = client
        self.request_id = request_id
        self.deadline = deadline
        self.hold_until = hold_until
        self.started = started
        self.term = 0
        """Term of the leader that has it; 0 while it is held."""


class Read:
    """One linearizable read of a client of this node."""

    __slots__ = ("client", "data", "deadline", "hold_until", "request_id")

    def __init__(
        self,
        client: Client,
        request_id: int,
        data: bytes | None,
        deadline: float,
        hold_until: float,
    ) -> None:
        self.client = client
        self.request_id = request_id
        self.data = data
        self.deadline = deadline
        self.hold_until = hold_until


class Proposals:
    """All proposals of this node's clients that wait for an answer."""

    def __init__(self, slot_seconds: float = 0.05) -> None:
        self.held: deque[Proposal] = deque()
        self.held_bytes = 0
        self.pending: dict[int, Proposal] = {}
        self._slot_seconds = slot_seconds
        # Sequence numbers by slot of time: one list append a proposal instead of a heap, and
        # nothing that keeps an answered proposal's data in memory.
        self._slots: dict[int, list[int]] = {}
        self._slot = 0

    def __len__(self) -> int:
        return len(self.held) + len(self.pending)

    def waiting_since(self) -> float:
        """Return when the oldest that a leader was given was taken; ``inf`` if there is none.

        About: those that were proposed again stand behind younger ones.
        """
        for proposal in self.pending.values():
            return proposal.started
        return math.inf

    def hold(self, proposal: Proposal) -> None:
        """Take in a new proposal."""
        self.held.append(proposal)
        self.held_bytes += len(proposal.data)
        slot = int(proposal.deadline / self._slot_seconds) + 1
        found = self._slots.get(slot)
        if found is None:
            self._slots[slot] = [proposal.sequence]
        else:
            found.append(proposal.sequence)

    def take_held(self) -> list[Proposal]:
        """Remove and return all that is held, oldest first."""
        taken = list(self.held)
        self.held.clear()
        self.held_bytes = 0
        return taken

    def give_back(self, proposals: list[Proposal]) -> None:
        """Hold again, in front and in order, what no leader has taken."""
        for proposal in reversed(proposals):
            proposal.term = 0
            self.held.appendleft(proposal)
            self.held_bytes += len(proposal.data)

    def sent(self, proposals: list[Proposal], term: int) -> None:
        """A leader of ``term`` has them from now on."""
        pending = self.pending
        for proposal in proposals:
            proposal.term = term
            pending[proposal.sequence] = proposal

    def of_earlier_terms(self, term: int) -> list[Proposal]:
        """Remove and return what leaders of terms before ``term`` had and is not applied."""
        lost = [proposal for proposal in self.pending.values() if proposal.term < term]
        for proposal in lost:
            del self.pending[proposal.sequence]
        return lost

    def expired(self, now: float) -> Iterator[Proposal]:
        """Remove and yield what has been waiting for too long; ``term`` 0: it was still held."""
        held = self.held
        if held and any(now >= proposal.hold_until for proposal in held):
            kept: deque[Proposal] = deque()
            for proposal in held:
                if now >= proposal.hold_until:
                    self.held_bytes -= len(proposal.data)
                    yield proposal
                else:
                    kept.append(proposal)
            self.held = kept
        slot = int(now / self._slot_seconds)
        first = self._slot or slot
        self._slot = slot
        # Deadlines lie ahead when they are noted, so no slot before `first` has anything in it.
        for due in range(first, slot + 1):
            for sequence in self._slots.pop(due, ()):
                proposal_due = self.pending.pop(sequence, None)
                if proposal_due is not None:
                    yield proposal_due

    def everything(self) -> list[Proposal]:
        """Remove and return all: the node stops."""
        found = [*self.pending.values(), *self.held]
        self.pending.clear()
        self.held.clear()
        self._slots.clear()
        return found
