"""The Raft state machine of one node: its ticks, and every branch of the protocol.

Nothing here reads a clock, draws on global randomness or does I/O: time is `tick`, chance is the
`random.Random` that was passed in, input is `step`, output is `msgs` and what the log holds. What a
node knows is in `_fields`; what follows straight from a decision is in the modules beside this one
(`_election`, `_proposals`, `_replication`, `_reads`, `_membership`, `_promotion`, `_transfer`); who
decides what is decided here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from raft import (
    _election,
    _membership,
    _promotion,
    _proposals,
    _reads,
    _replication,
    _transfer,
    _validate,
)
from raft._roles import StateRole
from raft._settings import Settings
from raft.config import Config
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    FinalizeMembershipChange,
    HardState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgHup,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
    MsgTransferLeader,
    MsgUnreachable,
    RemoveNode,
    RollbackMembershipChange,
)
from raft.errors import (
    ConfChangeError,
    ConfChangeReason,
    DropReason,
    ProposalDropped,
)
from raft.invariant import fatal
from raft.logger import Logger
from raft.progress import CandidacyStatus, ProgressState
from raft.raft_log import StorageT
from raft.read_only import ReadState, context_of
from raft.read_only_option import ReadOnlyOption
from raft.storage import GetEntriesContext, RaftState
from raft.util import INVALID_ID, vote_resp_msg_type

# Looked up for every message: a global is cheaper than an attribute of a class.
_FOLLOWER, _CANDIDATE = StateRole.Follower, StateRole.Candidate
_LEADER, _PRE_CANDIDATE = StateRole.Leader, StateRole.PreCandidate

_LEADER_TYPES = frozenset({MsgAppend, MsgHeartbeat, MsgSnapshot})
_VOTE_TYPES = frozenset({MsgRequestVote, MsgRequestPreVote})
_FROM_LEADER_WITH_LOG = frozenset({MsgAppend, MsgSnapshot})
_TERMLESS = frozenset({MsgPropose, MsgReadIndex, MsgTransferLeader})


class Raft(Settings[StorageT]):
    """The consensus of one node. `RawNode` wraps it for everyday use.

    Attributes:
        term, vote: The present term, and whom this node voted for in it (0: nobody).
        id: This node.
        state: Its role.
        leader_id: Who leads the term as far as known; 0: nobody known.
        departed_leader: Who led the term until it left the group; 0: nobody.
        raft_log: The log.
        prs: The members and their progress.
        msgs: Messages to send; whoever runs this object takes them out (`take_messages`).
        read_states: Confirmed reads; taken out likewise.
        votes: Answers to the candidacy under way, by id.
        lead_transferee: To whom this leader hands over; 0: nobody.
        pending_conf_index: No membership change may be proposed before this index is applied.
        membership_log: Membership entries of the log that are not applied yet.
        pending_request_snapshot: The least index of a snapshot this node asked for; 0: none asked.
        election_elapsed: Ticks since the election timer was reset.
        quiet_until: With lease reads, until which tick this node helps nobody to be elected.

    Source: Raft figure 2; raft-rs ``Raft``.
    """

    def __init__(
        self,
        config: Config,
        store: StorageT,
        logger: Logger | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Start, or restart, from what `store` holds.

        Args:
            config: Validated here.
            store: Asked for its initial state now, for entries later.
            logger: Told of role changes and refusals; None: nobody is.
            rng: Draws election timeouts. None: seeded from the id alone, which is the same at
                every start; pass one that is seeded from the system's entropy in production.

        Raises:
            ConfigInvalid: as `Config.validate`.
            InvariantViolation: the store contradicts itself: a commit index beyond its log, an
                applied index beyond what is committed.
        """
        super().__init__(config, store, logger, rng)
        self._load(config, store.initial_state())
        self.become_follower(self.term, INVALID_ID)
        self.logger.info(
            "started",
            id=self.id,
            term=self.term,
            commit=self.raft_log.committed,
            applied=self.raft_log.applied,
            last_index=self.raft_log.last_index(),
            voters=sorted(self.prs.voter_ids()),
        )

    def _load(self, config: Config, initial: RaftState) -> None:
        hard_state = initial.hard_state
        if hard_state != HardState():
            self._load_hard_state(hard_state)
        if config.applied:
            self.raft_log.applied_to(config.applied)
        conf_state = initial.conf_state
        if initial.pending_conf_state is not None:
            conf_state = _membership.joint_conf_state(
                conf_state, initial.pending_conf_state, initial.pending_conf_state_start_index or 0
            )
        _membership.restore(self, conf_state)
        if self.gives_leases and hard_state.term:
            # It was up before, and may have answered a lease's heartbeats: it keeps quiet as long.
            self.quiet_until = self.election_timeout

    def _load_hard_state(self, hard_state: HardState) -> None:
        log = self.raft_log
        if not log.committed <= hard_state.commit <= log.last_index():
            fatal(
                self.logger,
                "the stored commit index is outside the stored log: was the log cut or replaced?",
                commit=hard_state.commit,
                first_index=log.first_index(),
                last_index=log.last_index(),
            )
        log.committed = hard_state.commit
        self.term = hard_state.term
        self.vote = hard_state.vote

    # -- Roles -------------------------------------------------------------------------------

    def reset(self, term: int) -> None:
        """What a change of role or term takes back (Raft figure 2, "volatile state")."""
        if self.term != term:
            self.term = term
            self.vote = INVALID_ID
        self.leader_id = INVALID_ID
        self.reset_randomized_election_timeout()
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.votes.clear()
        self.lead_transferee = INVALID_ID
        self.transfer_elapsed = 0
        self.pending_conf_index = 0
        self.pending_request_snapshot = 0
        self.read_only.reset()
        self.uncommitted_size = 0
        self._appends_due = False
        self.leave_requested = False
        self.handover_tried = False
        self.departed_leader = INVALID_ID
        self._take_over_until = 0
        self._take_over_finalizes = False
        self._leave_context = b""
        self.catch_up.clear()
        last_index, persisted = self.raft_log.last_index(), self.raft_log.persisted
        for node_id, progress in self.prs.progress.items():
            progress.reset(last_index + 1)
            if node_id == self.id:
                progress.matched = persisted

    def become_follower(self, term: int, leader_id: int) -> None:
        """Follow `leader_id`, or nobody (0), in `term`."""
        self._finalize_when_elected = False
        self._stop_campaigning_for_rollback()
        self.reset(term)
        self.leader_id = leader_id
        self.state = _FOLLOWER
        self.raft_log.max_apply_unpersisted_log_limit = 0
        self.logger.debug("follower", term=term, leader=leader_id)

    def become_candidate(self) -> None:
        """Enter the next term and vote for oneself (§5.2)."""
        if self.state is _LEADER:
            fatal(self.logger, "a leader cannot become candidate", term=self.term)
        self.reset(self.term + 1)
        self.vote = self.id
        self.state = _CANDIDATE
        self.logger.info("candidate", term=self.term)

    def become_pre_candidate(self) -> None:
        """Ask whether an election could be won; term and vote stay (thesis §9.6)."""
        if self.state is _LEADER:
            fatal(self.logger, "a leader cannot become pre-candidate", term=self.term)
        self.votes.clear()
        # Not kept: reads and proposals would be forwarded to a leader that is gone.
        self.leader_id = INVALID_ID
        self.state = _PRE_CANDIDATE
        # The timer starts anew with the question, or the next tick asks again.
        self.election_elapsed = 0
        self.reset_randomized_election_timeout()
        self.logger.info("pre-candidate", term=self.term)

    def become_leader(self) -> None:
        """Lead the term: append an empty entry of it (§8) and go on with what others began."""
        if self.state is _FOLLOWER:
            fatal(self.logger, "a follower cannot become leader", term=self.term)
        rollback, finalize = self.campaigns_for_rollback, self._finalize_when_elected
        self.reset(self.term)
        self.leader_id = self.id
        self.state = _LEADER
        self.raft_log.max_apply_unpersisted_log_limit = self.max_apply_unpersisted
        # The inherited tail may hold a membership entry: none may be proposed until it is applied.
        self.pending_conf_index = self.raft_log.last_index()
        own = self.prs.get(self.id)
        if own is not None:
            own.become_replicate()
            own.recent_active = True
        self.logger.info("leader", term=self.term, last_index=self.raft_log.last_index())
        _replication.append_own(self, [Entry()])
        if rollback and self.prs.is_in_membership_change():
            # The right to C_old alone was for this and is used up by it: from here on the entry
            # in the log is what lets C_old alone decide.
            _proposals.append_change(self, ConfChange(change_type=RollbackMembershipChange))
        self._stop_campaigning_for_rollback()
        self._finalize_when_elected = False
        self.leave_requested = finalize and self.prs.is_in_membership_change()
        self._leave_joint_if_due()

    def _stop_campaigning_for_rollback(self) -> None:
        if self.campaigns_for_rollback:
            self.campaigns_for_rollback = False
            _membership.refresh_quorums(self)

    def reset_randomized_election_timeout(self) -> None:
        """Draw the next election timeout in [min, max) ticks (§5.2: randomized)."""
        self.randomized_election_timeout = self.rng.randrange(self._min_timeout, self._max_timeout)

    # -- Time --------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Let one tick pass; whether something came of it."""
        self.ticks += 1
        if self.state is _LEADER:
            return self.tick_heartbeat()
        return self.tick_election()

    def pass_election_timeout(self) -> bool:
        """Whether the randomized election timeout has passed."""
        return self.election_elapsed >= self.randomized_election_timeout

    def tick_election(self) -> bool:
        """A tick of a node that does not lead: campaign when nobody was heard of for too long."""
        self.election_elapsed += 1
        if not self.pass_election_timeout() or not self.promotable():
            return False
        self.election_elapsed = 0
        self.hup()
        return True

    def tick_heartbeat(self) -> bool:
        """A tick of a leader: heartbeats, the check for a quorum, time limits."""
        self.heartbeat_elapsed += 1
        self.election_elapsed += 1
        if self.lead_transferee:
            self.transfer_elapsed += 1
            if self.transfer_elapsed >= self.transfer_ticks_limit:
                self.abort_leader_transfer()
        if self.election_elapsed >= self.election_timeout:
            self.election_elapsed = 0
            if self.check_quorum:
                self._check_quorum_active()
            if self.state is not _LEADER:
                return True
        if self.prs.promotable:
            promotion = _promotion.tick(self)
            if promotion is not None:
                _proposals.append_change(self, promotion)
                self.bcast_append()
        if self.heartbeat_elapsed >= self.heartbeat_timeout:
            self.heartbeat_elapsed = 0
            self.bcast_heartbeat()
            return True
        return bool(self.msgs) or self._appends_due

    def _check_quorum_active(self) -> None:
        if not self.prs.quorum_recently_active(self.id):
            self.logger.warning("no quorum heard of: stepping down", term=self.term)
            self.become_follower(self.term, INVALID_ID)

    # -- Input -------------------------------------------------------------------------------

    def step(self, m: Message) -> None:
        """Take in a message, from a peer or from this node itself.

        Raises:
            MessageRefused: it breaks the protocol; nothing was changed.
            ProposalDropped, ConfChangeError, Exists, ConfigInvalid: for a proposal or a read.
        """
        msg_type = m.msg_type
        entries = list(m.entries)
        if msg_type in _validate.LOCAL_TYPES:
            self._step_local(m)
            return
        if not m.from_ and msg_type in _TERMLESS:
            m.from_ = self.id
        _validate.check_message(self, m, entries)
        if msg_type in _TERMLESS:
            pass
        elif m.term > self.term:
            if not self._enter_term_of(m):
                return
        elif m.term < self.term:
            self._answer_old_term(m)
            return
        if msg_type in _VOTE_TYPES:
            self._handle_vote_request(m)
        elif self.state is _LEADER:
            self.step_leader(m, entries)
        elif self.state is _FOLLOWER:
            self.step_follower(m, entries)
        else:
            self.step_candidate(m, entries)

    def _step_local(self, m: Message) -> None:
        msg_type = m.msg_type
        if msg_type == MsgHup:
            if self.ticks < self.quiet_until:
                self.logger.info("not campaigning: a leader may read by its lease")
                return
            self.hup()
        elif self.state is not _LEADER:
            return
        elif msg_type == MsgBeat:
            self.bcast_heartbeat()
        elif msg_type == MsgCheckQuorum:
            self._check_quorum_active()
        else:
            progress = self.prs.get(m.from_)
            if progress is None:
                return
            if msg_type == MsgUnreachable:
                if progress.state is ProgressState.Replicate:
                    progress.become_probe()  # Finds what was lost of the messages under way.
            elif progress.state is ProgressState.Snapshot:  # MsgSnapStatus
                progress.snapshot_ended(failed=m.reject)

    def _enter_term_of(self, m: Message) -> bool:
        """Deal with a later term in `m`; False if the message is to be ignored."""
        msg_type = m.msg_type
        if msg_type in _VOTE_TYPES:
            forced = m.context == _election.CAMPAIGN_TRANSFER
            if self.in_lease() and not forced:
                # Whoever hears from a leader keeps it: a removed or cut-off node that campaigns
                # must not depose it (§6, thesis §4.2.3).
                self.logger.debug("vote request ignored: a leader is alive", from_=m.from_)
                return False
            if msg_type == MsgRequestPreVote:
                return True  # A question changes no term.
        elif msg_type == MsgRequestPreVoteResponse and not m.reject:
            return True  # Granted for the term we asked about, which we have not entered.
        self.logger.debug("later term", term=self.term, later=m.term, from_=m.from_)
        self.become_follower(m.term, m.from_ if msg_type in _LEADER_TYPES else INVALID_ID)
        return True

    def _answer_old_term(self, m: Message) -> None:
        """Tell a sender of an earlier term of the present one, where silence would get it stuck.

        The crate and etcd tell a leader only with CheckQuorum or PreVote, and rely on requests for
        votes to do it otherwise. But who is a learner makes none, and who has not applied the
        change that made it a member yet asks by a configuration that the leader may not be in.
        """
        msg_type = m.msg_type
        if msg_type in _LEADER_TYPES:
            # Raft figure 2, AppendEntries, rule 1.
            self.send(Message(msg_type=MsgAppendResponse, to=m.from_))
        elif msg_type == MsgRequestPreVote or (
            msg_type == MsgRequestVote and self.leader_id == INVALID_ID
        ):
            # Raft figure 2, RequestVote, rule 1. The crate and etcd let candidates of earlier terms
            # catch up by themselves: but of two who campaign at the same pace, and of whom only one
            # can be elected, that one may stay behind for ever. With a leader all is well: it tells
            # its members, and who was removed is not to be helped to a later term.
            _election.answer_vote(self, m, granted=False)
        elif msg_type in (MsgRequestVoteResponse, MsgRequestPreVoteResponse):
            # What is committed is so in every term, and a pre-candidate takes nobody along to its
            # own: who refuses it may stay behind for ever, and be the one that knows of the commit.
            self.maybe_commit_by_vote(m)
        else:
            self.logger.debug("old term ignored", from_=m.from_, term=m.term)

    def _handle_vote_request(self, m: Message) -> None:
        granted = _election.grants(self, m)
        _election.answer_vote(self, m, granted=granted)
        if granted:
            if m.msg_type == MsgRequestVote:
                # Only a real vote is remembered, and only it postpones our own candidacy.
                self.vote = m.from_
                self.election_elapsed = 0
        else:
            self.maybe_commit_by_vote(m)

    def maybe_commit_by_vote(self, m: Message) -> None:
        """Learn from a vote message what is committed (etcd issue 12359).

        A committed membership entry that only a node with the shorter log knows of would
        otherwise leave everyone unelectable.
        """
        if self.state is _LEADER or not m.commit or not m.commit_term:
            return
        if not self.raft_log.maybe_commit(m.commit, m.commit_term):
            return
        if self.state is not _FOLLOWER and _membership.has_unapplied_committed(self):
            self.become_follower(self.term, INVALID_ID)

    # -- Leader ------------------------------------------------------------------------------

    def step_leader(self, m: Message, entries: list[Entry]) -> None:
        """Take in a message as leader (Raft figure 2, "Leaders")."""
        msg_type = m.msg_type
        if msg_type == MsgPropose:
            self.propose_entries(entries)
            return
        if msg_type == MsgReadIndex:
            _reads.handle_read_index(self, m, entries[0].data)
            return
        if msg_type == MsgTransferLeader:
            self.handle_transfer_leader(m.from_)
            return
        if msg_type == MsgAppendResponse:
            self.handle_append_response(m)
        elif msg_type == MsgHeartbeatResponse:
            self.handle_heartbeat_response(m)

    def handle_append_response(self, m: Message) -> None:
        """A follower has appended, or could not (§5.3)."""
        progress = self.prs.progress.get(m.from_)
        if progress is None:
            return
        progress.recent_active = True
        progress.update_committed(m.commit)
        if m.reject:
            hint = m.reject_hint
            if m.log_term:
                # The follower's log up to the hint is of at most this term: skip all later ones.
                hint, _ = self.raft_log.find_conflict_by_term(hint, m.log_term)
            if progress.maybe_decr_to(m.index, hint, m.request_snapshot):
                if progress.state is ProgressState.Replicate:
                    progress.become_probe()
                _replication.send_append(self, m.from_, progress)
            return
        was_paused, was_state = progress.is_paused(), progress.state
        news = progress.maybe_update(m.index)
        if progress.state is ProgressState.Probe:
            # Also without news: a follower that was up to date all along has just proved it. But
            # not by index 0, which also tells a leader of an earlier term of this one.
            if news or (progress.matched == m.index and (m.index or progress.next_idx == 1)):
                progress.become_replicate()
        elif progress.state is ProgressState.Replicate:
            progress.ins.free_to(m.index)
        elif progress.maybe_snapshot_abort(self.raft_log.first_index()):
            # Any snapshot that reaches our log will do, not only the one that was sent. If it was
            # asked for, that is done: whoever still wants one asks again.
            progress.pending_request_snapshot = 0
            progress.become_replicate()
        if not (news or was_paused or progress.state is not was_state):
            return
        if news and self.maybe_commit():
            if self.should_bcast_commit():
                self.bcast_append()
        elif was_paused:
            _replication.send_append(self, m.from_, progress)
        if not self.batch_append or was_paused:
            _replication.send_while_possible(self, m.from_, progress)
        else:
            self._appends_due = True
        if m.from_ == self.lead_transferee and progress.matched == self.raft_log.last_index():
            _transfer.send_timeout_now(self, m.from_)

    def handle_heartbeat_response(self, m: Message) -> None:
        """A follower is alive; it may also confirm reads, or lack entries that were lost."""
        progress = self.prs.progress.get(m.from_)
        if progress is None:
            return
        progress.recent_active = True
        progress.update_committed(m.commit)
        progress.resume()
        if progress.state is ProgressState.Replicate and progress.ins.full():
            # All of the window may have been lost: one message more tells.
            progress.ins.free_first_one()
        if (
            progress.matched < self.raft_log.last_index()
            or progress.pending_request_snapshot
            or progress.committed_index < self.raft_log.committed
        ):
            _replication.send_append(self, m.from_, progress)
        if m.context:
            _reads.handle_ack(self, m.from_, m.context)

    def propose_entries(self, entries: list[Entry]) -> None:
        """Append proposals to this leader's log and send them; all or none.

        Raises:
            ProposalDropped: with the reason.
            ConfChangeError, Exists, ConfigInvalid: a membership change that may not be made now.
        """
        _proposals.append(self, entries)
        self.bcast_append()

    def reduce_uncommitted_size(self, entries: Iterable[Entry]) -> None:
        """Give back the room of entries that were committed and handed out."""
        if self.state is _LEADER:
            _proposals.release(self, entries)

    def maybe_commit(self) -> bool:
        """Advance the commit index to what every majority has, if that is of this term (§5.4.2)."""
        index, _ = self.prs.maximal_committed_index()
        was_readable = bool(self.read_only.postponed) and self.committed_in_own_term()
        if not self.raft_log.maybe_commit(index, self.term):
            return False
        if self.read_only.postponed and not was_readable:
            _reads.release_postponed(self)
        return True

    def bcast_append(self) -> None:
        """Send everyone what they lack; with `batch_append`, when the messages are taken out."""
        if self.batch_append:
            self._appends_due = True
        else:
            _replication.broadcast_append(self)

    def send_append(self, to: int) -> None:
        """Send `to` what it needs next."""
        progress = self.prs.get(to)
        if progress is not None and to != self.id:
            _replication.send_append(self, to, progress)

    def bcast_heartbeat(self) -> None:
        """Send heartbeats that carry the newest unconfirmed read round, if there is one."""
        if self.read_only.option is ReadOnlyOption.LeaseBased:
            number, _ = self.read_only.join_round(None, self.ticks)
            _replication.broadcast_heartbeat(self, context_of(number))
            _reads.confirm(self, number, {self.id})
        else:
            _replication.broadcast_heartbeat(self, self.read_only.last_pending_context())

    def ping(self) -> None:
        """As leader, send heartbeats now; otherwise nothing happens."""
        if self.state is _LEADER:
            self.bcast_heartbeat()

    # -- Reads (thesis §6.4) -----------------------------------------------------------------

    def expire_lease(self) -> None:
        """End the read lease until heartbeats that are yet to be made are answered.

        Whoever runs this node calls it when time may have passed without ticks: after a pause of
        the process, or when ticks were left out.
        """
        self.read_only.expire_lease()

    def recheck_reads(self) -> None:
        """See whether another quorum now confirms reads that wait (raft-rs issue 363)."""
        for one in self.read_only.rounds():
            _reads.confirm(self, one.number, one.acks)

    # -- Candidate and follower --------------------------------------------------------------

    def step_candidate(self, m: Message, entries: list[Entry]) -> None:
        """Take in a message as candidate or pre-candidate (Raft figure 2, "Candidates")."""
        msg_type = m.msg_type
        if msg_type in _LEADER_TYPES:
            # Somebody else has won this term.
            self.become_follower(m.term, m.from_)
            self.step_follower(m, entries)
        elif msg_type in (MsgRequestVoteResponse, MsgRequestPreVoteResponse):
            asked = MsgRequestVote if self.state is _CANDIDATE else MsgRequestPreVote
            if msg_type == vote_resp_msg_type(asked):
                if asked == MsgRequestPreVote and not m.reject and m.term != self.term + 1:
                    return  # A promise for an earlier question, about a term that has come.
                self.maybe_commit_by_vote(m)
                if self.state is not _FOLLOWER:
                    self.poll(m.from_, not m.reject)
        elif msg_type in (MsgPropose, MsgReadIndex):
            raise ProposalDropped(DropReason.NO_LEADER)

    def poll(self, from_: int, granted: bool) -> CandidacyStatus:
        """Count a vote; the first answer of each node is the one that counts."""
        self.votes.setdefault(from_, granted)
        status = self.prs.candidacy_status(self.votes)
        if status is CandidacyStatus.Elected:
            if self.state is _PRE_CANDIDATE:
                self.campaign(_election.CAMPAIGN_ELECTION)
            else:
                self.become_leader()
                self.bcast_append()
        elif status is CandidacyStatus.Ineligible:
            # The term is left as it is: a pre-vote's refusal is of this term.
            self.become_follower(self.term, INVALID_ID)
        return status

    def step_follower(self, m: Message, entries: list[Entry]) -> None:
        """Take in a message as follower (Raft figure 2, "Followers")."""
        msg_type = m.msg_type
        if msg_type in _LEADER_TYPES:
            self.election_elapsed = 0
            self.leader_id = m.from_
            if self.gives_leases:
                self.quiet_until = self.ticks + self.election_timeout
            if msg_type == MsgAppend:
                _replication.accept_append(self, m, entries)
            elif msg_type == MsgHeartbeat:
                _replication.accept_heartbeat(self, m)
            else:
                _replication.accept_snapshot(self, m)
        elif msg_type == MsgTimeoutNow:
            # From the leader of this very term, and only to one who may lead.
            if m.from_ and m.from_ in (self.leader_id, self.departed_leader):
                self._told_to_take_over(m.context == _transfer.FINALIZE_CONTEXT)
        elif msg_type == MsgReadIndexResp:
            # The index is the leader's commit, of its own term; this log may have it too.
            self.raft_log.maybe_commit(m.index, m.term)
            self.read_states.append(ReadState(m.index, entries[0].data))
        elif msg_type in _TERMLESS:
            self._forward_to_leader(m)

    def _told_to_take_over(self, finalize: bool) -> None:
        """Campaign for the leader that asks for it, or as soon as that is allowed.

        A leader that leaves hands over the moment it has applied the Begin, to somebody who may
        become a voter only by applying it too.
        """
        self._take_over_finalizes = finalize
        if not self._campaign_for_leader() and self.membership_log:
            self._take_over_until = self.ticks + self.election_timeout

    def _take_over_if_allowed(self) -> None:
        in_time = self.ticks < self._take_over_until and self.state is _FOLLOWER
        if in_time and not self._campaign_for_leader() and self.membership_log:
            return  # More is to be applied first.
        self._take_over_until = 0

    def _campaign_for_leader(self) -> bool:
        return self.hup(transfer=True, finalize=self._take_over_finalizes)

    def _forward_to_leader(self, m: Message) -> None:
        is_transfer = m.msg_type == MsgTransferLeader
        if self.leader_id == INVALID_ID:
            if is_transfer:
                self.logger.debug("transfer ignored: no leader known", target=m.from_)
                return
            raise ProposalDropped(DropReason.NO_LEADER)
        if m.msg_type == MsgPropose and self.disable_proposal_forwarding:
            raise ProposalDropped(DropReason.FORWARDING_DISABLED)
        forwarded = Message()
        forwarded.CopyFrom(m)
        forwarded.to = self.leader_id
        # A transfer's sender is its target; a read that comes round must find its way back.
        self.msgs.append(forwarded)

    # -- Campaigning -------------------------------------------------------------------------

    def hup(
        self, *, transfer: bool = False, rollback: bool = False, finalize: bool = False
    ) -> bool:
        """Campaign, unless this node leads, may not, or has membership changes to apply first.

        Every path to a candidacy comes through here, that of a transfer too: a candidate that
        counts votes by a configuration already replaced could win beside the right one.

        Returns:
            Whether it campaigned.
        """
        if self.state is _LEADER:
            return False
        self.campaigns_for_rollback = rollback
        _membership.refresh_quorums(self)
        if not self.promotable():
            self._stop_campaigning_for_rollback()
            return False
        if _membership.has_unapplied_committed(self):
            self.logger.info("not campaigning: committed membership changes are to be applied")
            self._stop_campaigning_for_rollback()
            return False
        self._finalize_when_elected = finalize
        if transfer:
            self.campaign(_election.CAMPAIGN_TRANSFER)
        elif self.pre_vote:
            self.campaign(_election.CAMPAIGN_PRE_ELECTION)
        else:
            self.campaign(_election.CAMPAIGN_ELECTION)
        return True

    def campaign(self, campaign_type: bytes) -> None:
        """Ask for votes, or whether they would be given."""
        if campaign_type == _election.CAMPAIGN_PRE_ELECTION:
            self.become_pre_candidate()
        else:
            self.become_candidate()
        # The own vote decides nothing before others' answers to messages that wait for it to be
        # on disk; alone, what it decides is again only committed from disk.
        if self.poll(self.id, True) is CandidacyStatus.Eligible:
            _election.request_votes(self, campaign_type)

    def campaign_for_rollback(self) -> None:
        """Campaign by C_old's majority alone, to roll a stuck change back (DESIGN.md, rule 8).

        Raises:
            ConfChangeError: not joint, not a voter of C_old, a Finalize or Rollback follows the
                Begin in this node's log, or a leader may still read by a lease this node gave.
        """
        _membership.check_rollback_campaign(self)
        if not self.hup(rollback=True):
            raise ConfChangeError(ConfChangeReason.UNAPPLIED)

    # -- Transfer (thesis §3.10) -------------------------------------------------------------

    def handle_transfer_leader(self, target: int) -> None:
        """As leader, begin to hand over to `target`; strangers and learners are passed over."""
        if target not in self.prs.voter_ids() or target == self.id:
            self.logger.debug("transfer ignored", target=target)
            return
        if self.lead_transferee == target:
            return
        if self.lead_transferee:
            self.abort_leader_transfer()
        # A transfer should be done within an election timeout; the timer starts with it.
        self.election_elapsed = 0
        _transfer.start(self, target, self.election_timeout)

    def abort_leader_transfer(self) -> None:
        """Give up handing over; proposals are taken again."""
        self.lead_transferee = INVALID_ID
        self._leave_joint_if_due()

    # -- Membership (§6) ---------------------------------------------------------------------

    def propose_membership_change(self, change: ConfChange, context: bytes = b"") -> None:
        """As leader, propose a Begin; raises as `propose_entries`, and nothing is appended."""
        self._require_leader()
        self.propose_entries(
            [Entry(entry_type=EntryConfChange, data=change.SerializeToString(), context=context)]
        )

    def propose_finalize(self, context: bytes = b"") -> None:
        """As leader, leave the joint state for C_new.

        A leader that is no voter of C_new hands over first, to the successor or to the
        best-matched new voter, which then proposes the Finalize; if that takes too long it
        proposes it itself, and steps down when it is applied.

        Raises:
            ConfChangeError: NOT_LEADER, NOT_JOINT, FINALIZE_IN_LOG, ROLLBACK_IN_LOG.
        """
        self._require_leader()
        _membership.check_proposal(self, ConfChange(change_type=FinalizeMembershipChange))
        self.leave_requested = True
        self._leave_context = context
        self._leave_joint_if_due()

    def propose_rollback(self, context: bytes = b"") -> None:
        """As leader, leave the joint state for C_old, with C_old's majority alone.

        Raises:
            ConfChangeError: NOT_LEADER, NOT_JOINT, FINALIZE_IN_LOG, ROLLBACK_IN_LOG.
        """
        self._require_leader()
        change = ConfChange(change_type=RollbackMembershipChange)
        _membership.check_proposal(self, change)
        _proposals.append_change(self, change, context)
        self.maybe_commit()  # C_old alone may have everything before it already.
        self.bcast_append()

    def _require_leader(self) -> None:
        if self.state is not _LEADER:
            raise ConfChangeError(ConfChangeReason.NOT_LEADER)

    def _leave_joint_if_due(self) -> None:
        """Propose Finalize once, or hand over to who is to propose it.

        Asked whenever the answer may have changed: on becoming leader, on each apply, and when a
        transfer ends.
        """
        if self.state is not _LEADER or not self.prs.is_in_membership_change():
            return
        if not (self.prs.auto_leave or self.leave_requested) or self.lead_transferee:
            return
        if _membership.in_log_after_begin(
            self, _membership.ChangeKind.FINALIZE
        ) or _membership.in_log_after_begin(self, _membership.ChangeKind.ROLLBACK):
            return
        new = self.prs.next_configuration
        assert new is not None
        if self.id not in new.voters and not self.handover_tried:
            self.handover_tried = True
            successor = _transfer.best_successor(self)
            if successor:
                self.leave_requested = True
                _transfer.start(self, successor, self.successor_ticks)
                return
        change = ConfChange(change_type=FinalizeMembershipChange)
        _proposals.append_change(self, change, self._leave_context)
        self.bcast_append()

    def begin_membership_change(self, change: ConfChange, index: int = 0) -> None:
        """Apply a committed Begin. Prefer `RawNode.apply_conf_entry`, which takes any kind.

        Args:
            change: A ConfChange of type BeginMembershipChange with its target and start_index.
            index: The entry's index; 0: what `change.start_index` says.

        Raises:
            ViolatesContract: the wrong type, no target, no index, or already joint.
            Exists, ConfigInvalid: an impossible target. Nothing is changed then.
        """
        _membership.apply_begin(self, change, index)

    def finalize_membership_change(self, change: ConfChange, index: int = 0) -> None:
        """Apply a committed Finalize. Prefer `RawNode.apply_conf_entry`, which tolerates a second.

        Raises:
            ViolatesContract: the wrong type, or it carries a configuration.
            NoPendingMembershipChange: not joint.
        """
        _membership.apply_finalize(self, change, index)

    def apply_conf_change(self, change: ConfChange | ConfChangeV2, index: int = 0) -> ConfState:
        """Apply a committed membership entry of any kind; return the configuration after it.

        Args:
            change: What the entry carried.
            index: Its index. 0: the next membership entry of the log that is of this kind.
        """
        return _membership.apply_change(self, change, index)

    def add_node(self, node_id: int) -> None:
        """Make `node_id` a voter now, as an applied AddNode does; a learner is promoted.

        Raises:
            Exists: it is a voter already.
            ViolatesContract: a joint change is under way.
        """
        _membership.change_one(self, AddNode, node_id)

    def add_learner(self, node_id: int) -> None:
        """Make `node_id` a learner now, as an applied AddLearnerNode does; raises as `add_node`."""
        _membership.change_one(self, AddLearnerNode, node_id)

    def remove_node(self, node_id: int) -> None:
        """Drop `node_id` now, as an applied RemoveNode does.

        Raises:
            NotExists: it is no member.
            ConfigInvalid: it is the last voter.
            ViolatesContract: a joint change is under way.
        """
        _membership.change_one(self, RemoveNode, node_id)

    # -- What the storage and the state machine report ---------------------------------------

    def commit_apply(self, applied: int) -> None:
        """The state machine has everything up to `applied`, membership entries included."""
        self.raft_log.applied_to(applied)
        _membership.note_applied(self, applied)
        self._leave_joint_if_due()
        if self._take_over_until:
            self._take_over_if_allowed()

    def on_persist_entries(self, index: int, term: int) -> None:
        """Entries up to `index`, the last of `term`, are on disk: a leader counts itself now."""
        if not self.raft_log.maybe_persist(index, term) or self.state is not _LEADER:
            return
        own = self.prs.get(self.id)
        if own is None or not own.maybe_update(index) or not self.maybe_commit():
            return
        if self.should_bcast_commit():
            self.bcast_append()

    def on_persist_snap(self, index: int) -> None:
        """The snapshot at `index` is on disk and installed."""
        self.raft_log.maybe_persist_snap(index)

    def on_entries_fetched(self, context: GetEntriesContext) -> None:
        """Entries that the storage fetched for a peer are there; ignored if nobody waits."""
        if self.state is not _LEADER or context.term != self.term:
            return
        progress = self.prs.get(context.to)
        if progress is None:
            return
        if context.aggressively:
            _replication.send_while_possible(self, context.to, progress)
        else:
            _replication.send_append(self, context.to, progress)

    def request_snapshot(self, request_index: int) -> None:
        """As follower, ask the leader for a snapshot at `request_index` or later.

        It will not lie below the end of this log either: what this node has acknowledged may
        not be lost to it.

        Raises:
            RequestSnapshotDropped: leading, no leader known, or a snapshot is under way already.
        """
        _replication.request_snapshot(self, request_index)

    # -- Output ------------------------------------------------------------------------------

    def send(self, m: Message) -> None:
        """Queue `m`, from this node and of the present term."""
        m.from_ = self.id
        m.term = self.term
        self.msgs.append(m)

    def has_messages(self) -> bool:
        """Whether there is something to send."""
        return bool(self.msgs) or self._appends_due

    def flush_appends(self) -> None:
        """Make the appends that `batch_append` held back."""
        if self._appends_due:
            self._appends_due = False
            if self.state is _LEADER:
                _replication.flush_appends(self)

    def take_messages(self) -> list[Message]:
        """Take out all messages to send, in order."""
        self.flush_appends()
        self.read_only.close_round()
        messages, self.msgs = self.msgs, []
        return messages

    def __repr__(self) -> str:
        return (
            f"Raft(id={self.id}, {self.state.name}, term={self.term}, leader={self.leader_id}, "
            f"{self.raft_log!r})"
        )
