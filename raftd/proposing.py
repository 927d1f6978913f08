"""Clients' proposals on their way: held, appended or forwarded, answered once they are applied.

The leader appends what its clients propose; every other node passes it on in frames that name the
leader's term (`requests.py` says why that makes outcomes definite). Refusals come back as frames
too. Whoever took a proposal answers it when it applies the entry itself, whoever led.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from raft import DropReason, ProposalDropped
from raftd.admission import Admission
from raftd.applier import Applied
from raftd.engine import Engine
from raftd.failpoints import hit
from raftd.measures import Durations
from raftd.requests import HOLD_ELECTIONS, Client, Proposal, Proposals, over_limit
from raftd.standing import Standing
from raftd.validate import Reason, valid_forward
from raftwire.envelope import CONTROL, PROPOSAL, pack_origin
from raftwire.errors import AdminError, Code, Outcome
from raftwire.limits import ENTRIES_PER_FRAME_MAX, MIB
from raftwire.peer import Forward, ForwardRefused, PeerFrame

_WHO: Final = Struct(">QQQ")
"""Node, incarnation and sequence, behind the kind of an entry's context."""

_FORWARD_BYTES_MAX: Final = 4 * MIB

_REFUSALS: Final = {
    DropReason.TOO_LARGE: Code.TOO_LARGE,
    DropReason.UNCOMMITTED_LIMIT: Code.OVERLOADED,
    DropReason.TOO_MANY_READS: Code.OVERLOADED,
    DropReason.NO_LEADER: Code.NO_LEADER,
    DropReason.TRANSFERRING: Code.TRANSFER_IN_PROGRESS,
    DropReason.NOT_MEMBER: Code.NOT_LEADER,
    DropReason.CONF_PENDING: Code.CONF_PENDING,
    DropReason.FORWARDING_DISABLED: Code.NOT_LEADER,
}
_PASSING: Final = frozenset({DropReason.NO_LEADER, DropReason.TRANSFERRING, DropReason.NOT_MEMBER})
"""Refusals that end with the next leader: the proposal is held, not refused."""
_HELD_CODES: Final = frozenset(
    {Code.NO_LEADER.value, Code.NOT_LEADER.value, Code.TRANSFER_IN_PROGRESS.value}
)
"""Refusals of a forward after which the proposal waits for the next leader."""


class Proposing:
    """The proposals of this node's clients, and those that followers pass on to it.

    Attributes:
        refusal: Why new proposals are refused, the leader's own and others'; None: they are taken.
        apply_lag: Committed entries that wait to be applied; as of the last pump.
        times: From taking a client's proposal to answering it, for those that were applied.
    """

    def __init__(self, engine: Engine, standing: Standing) -> None:
        self._id, self._incarnation = engine.id, engine.incarnation
        self._engine = engine
        self._standing = standing
        self._config = engine.config
        self._raw, self._raft = engine.raw, engine.raft
        self._network = engine.network
        self._loop = engine.loop
        self._counters = engine.counters
        self._schedule = engine.schedule
        self.refusal: AdminError | None = None
        self.apply_lag = 0
        self.times = Durations()
        self._sequence = 0
        self._proposals = Proposals()
        self._forwards: list[tuple[int, Forward]] = []
        self._forward_after = 0.0
        self._admission = Admission("proposals", engine.config.election_timeout)

    def __len__(self) -> int:
        """Return how many proposals wait for an answer."""
        return len(self._proposals)

    @property
    def held(self) -> int:
        """Proposals that are not appended yet."""
        return len(self._proposals.held)

    @property
    def window(self) -> int:
        """How many may wait for an answer now: the window of `Admission`, or `max_pending`."""
        return min(self._admission.window, self._config.max_pending)

    # --- taking -------------------------------------------------------------------------------

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
            return over_limit(
                "max_entry_bytes",
                len(data),
                config.max_entry_bytes,
                f"the proposal has {len(data)} bytes",
                Code.TOO_LARGE,
            )
        if self.refusal is not None:
            return self.refusal
        if self.apply_lag > config.max_apply_lag > 0:
            return over_limit(
                "max_apply_lag",
                self.apply_lag,
                config.max_apply_lag,
                f"{self.apply_lag} committed entries wait to be applied",
            )
        self._sequence = sequence = self._sequence + 1
        return self._hold(
            sequence,
            pack_origin(PROPOSAL, self._id, self._incarnation, sequence, key),
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
        context = pack_origin(CONTROL, self._id, self._incarnation, sequence)
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
        proposals, config = self._proposals, self._config
        if (stopping := self._engine.stopping()) is not None:
            return stopping
        if self._standing.outside:
            return self._standing.not_member_error()
        waiting = len(proposals)
        if waiting >= self._admission.window:
            return self._admission.refusal(waiting)
        if waiting >= config.max_pending:
            return over_limit(
                "max_pending",
                waiting,
                config.max_pending,
                f"{waiting} proposals of this node's clients wait already",
            )
        if proposals.held_bytes + len(data) > config.max_pending_bytes:
            return over_limit(
                "max_pending_bytes",
                proposals.held_bytes,
                config.max_pending_bytes,
                f"{proposals.held_bytes} bytes of proposals wait for a leader",
            )
        now = self._loop.time()
        hold_until = now + min(seconds, HOLD_ELECTIONS * config.election_timeout)
        proposals.hold(
            Proposal(
                sequence, context, data, client, request_id, now + seconds, hold_until, now
            )
        )  # fmt: skip
        self._schedule()
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
            self._schedule()

        return sequence, appended

    def receive_forward(self, peer_id: int, forward: Forward) -> None:
        """Take proposals that a follower passed on."""
        self._forwards.append((peer_id, forward))
        self._schedule()

    def receive_refusal(self, refused: ForwardRefused) -> None:
        """A leader did not take proposals that were forwarded to it: they are not applied."""
        if refused.incarnation != self._incarnation:
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
            self._counters.proposals_refused += 1
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
        self._schedule()

    # --- giving to a leader -------------------------------------------------------------------

    def turn(self) -> None:
        """Append or forward what has come since the last turn."""
        if self._forwards:
            self._take_forwards()
        if self._proposals.held:
            self._send_proposals()

    def look(self) -> None:
        """See how many wait, and how many may."""
        proposals = self._proposals
        self._admission.look(
            self._loop.time(),
            self._counters.proposals_applied,
            len(proposals),
            proposals.waiting_since(),
        )

    def new_leader(self) -> None:
        """Somebody leads: whoever refused a proposal was another; what waits goes to this one."""
        self._forward_after = 0.0

    def _send_proposals(self) -> None:
        """Append or forward what is held, if there is a leader to give it to."""
        leader_id = self._raft.leader_id
        if not leader_id:
            return
        if leader_id == self._id:
            # A leader that cannot reach a majority would only make outcomes unknown.
            if self._standing.quorum_linked and not self._raft.lead_transferee:
                self._append(self._proposals.take_held())
        elif self._network.reachable(leader_id) and self._loop.time() >= self._forward_after:
            self._forward(leader_id, self._proposals.take_held())

    def _append(self, proposals: list[Proposal]) -> None:
        term = self._raft.term
        try:
            self._raw.propose_batch([(p.context, p.data) for p in proposals])
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
        self._counters.proposals_refused += len(proposals)
        for proposal in proposals:
            proposal.client.request_failed(
                proposal.request_id, AdminError(_REFUSALS[error.reason], error.message)
            )

    def _forward(self, leader_id: int, proposals: list[Proposal]) -> None:
        """Pass proposals to the leader, in frames that hold them."""
        term = self._raft.term
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
            self._counters.proposals_forwarded += len(group)
            start = end

    def _take_forwards(self) -> None:
        forwards, self._forwards = self._forwards, []
        for peer_id, forward in forwards:
            entries = forward.entries
            limit = self._config.max_entry_bytes
            good: list[tuple[bytes, bytes]] = []
            late: list[bytes] = []
            term = self._raft.term
            leading = self._raft.is_leader()
            meant = entries[0].term if entries else 0
            for entry in entries:
                context, data = entry.context, entry.data
                if not valid_forward(context, data, peer_id) or entry.term != meant:
                    self._engine.validator.count(Reason.BAD_FORWARD)
                    self._engine.refused(peer_id, str(Reason.BAD_FORWARD))
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
                    Code(self.refusal.code), f"on leader {self._id}: {self.refusal.message}",
                )  # fmt: skip
                good = []
            if late:
                self._refuse_forward(
                    peer_id, meant, late, Code.NOT_LEADER,
                    f"node {self._id} does not lead in the term the proposal was meant for",
                )  # fmt: skip
            if good:
                self._append_forwarded(peer_id, good)

    def _append_forwarded(self, peer_id: int, items: list[tuple[bytes, bytes]]) -> None:
        try:
            self._raw.propose_batch(items)
        except ProposalDropped as error:
            if len(items) > 1 and error.reason not in _PASSING:
                half = len(items) // 2
                self._append_forwarded(peer_id, items[:half])
                self._append_forwarded(peer_id, items[half:])
                return
            self._refuse_forward(
                peer_id,
                self._raft.term,
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
        refused.leader, refused.term = self._raft.leader_id, term
        for context in contexts:
            _, incarnation, sequence = _WHO.unpack_from(context, 1)
            refused.incarnation = incarnation
            refused.sequences.append(sequence)
        self._network.send_frame(peer_id, frame)

    # --- answering ----------------------------------------------------------------------------

    def answer(self, applied: Sequence[Applied]) -> bool:
        """Answer the clients of this node whose proposals are among ``applied``; whether any is."""
        hit("answer")
        pending = self._proposals.pending
        mine, node_id = self._incarnation, self._id
        counters = self._counters
        now, note = self._loop.time(), self.times.note
        youngest: Proposal | None = None
        for one in applied:
            if one.node == node_id and one.incarnation == mine:
                proposal = pending.pop(one.sequence, None)
                if proposal is not None:
                    youngest = proposal
                    counters.proposals_applied += 1
                    note(now - proposal.started)
                    proposal.client.proposal_applied(proposal.request_id, one)
        if youngest is None:
            return False
        self._admission.took(now - youngest.started)
        return True

    def lost_with_their_leader(self, term: int) -> None:
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
            self._counters.proposals_refused += 1
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
            self._schedule()

    def in_a_snapshot(self, term: int) -> None:
        """A snapshot of ``term`` replaced the state: nobody here can tell what is inside it."""
        for proposal in self._proposals.of_earlier_terms(term + 1):
            self._counters.proposals_unknown += 1
            proposal.client.request_failed(
                proposal.request_id,
                AdminError(
                    Code.LEADERSHIP_LOST_UNKNOWN,
                    "this node caught up by a snapshot, which does not name the proposals it holds",
                ),
            )

    def expire(self, now: float) -> None:
        """Answer what has waited for too long."""
        for proposal in self._proposals.expired(now):
            if proposal.term == 0:
                self._counters.proposals_refused += 1
                error = self._standing.no_leader_error()
            else:
                self._counters.proposals_unknown += 1
                error = self._standing.unknown_error()
            proposal.client.request_failed(proposal.request_id, error)

    def leave(self) -> None:
        """This node has left the group: answer all who wait."""
        for proposal in self._proposals.everything():
            if proposal.term:
                self._counters.proposals_unknown += 1
                error = AdminError(
                    Code.LEADERSHIP_LOST_UNKNOWN,
                    f"node {self._id} left the group before it knew whether the proposal is "
                    "applied",
                    hint="look for it on a member, or repeat it there with the same key",
                )
            else:
                self._counters.proposals_refused += 1
                error = self._standing.not_member_error()
            proposal.client.request_failed(proposal.request_id, error)

    def stop(self) -> None:
        """The node stops: refuse what waits, saying what is known of its outcome."""
        for proposal in self._proposals.everything():
            proposal.client.request_failed(proposal.request_id, self._stopped_error(proposal))

    def _stopped_error(self, proposal: Proposal) -> AdminError:
        if proposal.term == 0:
            return AdminError(
                Code.SHUTTING_DOWN,
                f"node {self._id} is stopping; the proposal was not passed on",
            )
        return AdminError(
            Code.SHUTTING_DOWN,
            f"node {self._id} is stopping before it knows whether the proposal is applied",
            outcome=Outcome.UNKNOWN,
        )
