"""What a node knows: its fields, how they start, and plain questions about them.

What happens to them is in `core`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Generic

from raft._roles import SoftState, StateRole
from raft.config import Config
from raft.eraftpb import ConfState, HardState, Message, Snapshot
from raft.logger import Logger, NullLogger
from raft.progress import ProgressSet
from raft.raft_log import RaftLog, StorageT
from raft.read_only import ReadOnly, ReadState
from raft.read_only_option import ReadOnlyOption
from raft.util import INVALID_ID

if TYPE_CHECKING:
    from raft._membership import LoggedChange
    from raft._promotion import CatchUp

_LEADER = StateRole.Leader


class Fields(Generic[StorageT]):
    """The state of one node; `core.Raft` documents it."""

    def __init__(
        self, config: Config, store: StorageT, logger: Logger | None, rng: random.Random | None
    ) -> None:
        """Set all fields as at a first start; `core.Raft` then loads what the storage holds."""
        config.validate()
        self.id = config.id
        self.logger: Logger = logger or NullLogger()
        self.rng = rng or random.Random(config.id)  # noqa: S311  # timeouts are no secrets

        self.term = 0
        self.vote = INVALID_ID
        self.leader_id = INVALID_ID
        self.state = StateRole.Follower
        self.raft_log: RaftLog[StorageT] = RaftLog(store, self.logger)
        self.prs = ProgressSet(self.logger)
        self.msgs: list[Message] = []
        self.read_states: list[ReadState] = []
        self.read_only = ReadOnly(config.read_only_option)
        self.votes: dict[int, bool] = {}
        self.lead_transferee = INVALID_ID
        self.pending_conf_index = 0
        self.pending_request_snapshot = 0

        self.max_inflight = config.max_inflight_msgs
        self.max_inflight_bytes = config.max_inflight_bytes
        self.max_msg_size = config.max_size_per_msg
        self.max_uncommitted_size = config.max_uncommitted_size
        self.max_committed_size_per_ready = config.max_committed_size_per_ready
        self.max_apply_unpersisted = config.max_apply_unpersisted_log_limit
        self.max_pending_reads = config.max_pending_reads
        self.disable_proposal_forwarding = config.disable_proposal_forwarding
        self.step_down_on_removal = config.step_down_on_removal
        self.allow_removed_ids = config.allow_removed_ids
        self.fetches_asynchronously = False
        self.priority = config.priority
        self.check_quorum = config.check_quorum
        self.pre_vote = config.pre_vote
        self.skip_bcast_commit = config.skip_bcast_commit
        self.batch_append = config.batch_append
        self.uncommitted_size = 0
        self._appends_due = False

        self.heartbeat_timeout = config.heartbeat_tick
        self.election_timeout = config.election_tick
        self._min_timeout = config.effective_min_election_tick()
        self._max_timeout = config.effective_max_election_tick()
        self.randomized_election_timeout = self._min_timeout
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.ticks = 0

        self.membership_log: list[LoggedChange] = []
        self.campaigns_for_rollback = False
        self.leave_requested = False
        self.handover_tried = False
        self.departed_leader = INVALID_ID
        self._finalize_when_elected = False
        # Until which tick this node is to take over as soon as it may; 0: it is not.
        self._take_over_until = 0
        self._take_over_finalizes = False
        self._leave_context = b""
        self.transfer_elapsed = 0
        self.transfer_ticks_limit = self.election_timeout
        self.successor_ticks = config.effective_transfer_ticks()
        self.catch_up: dict[int, CatchUp] = {}
        self.catch_up_rounds = config.catch_up_rounds
        self.catch_up_round_ticks = config.effective_catch_up_round_ticks()

        self.gives_leases = config.read_only_option is ReadOnlyOption.LeaseBased
        self.quiet_until = 0

    @property
    def store(self) -> StorageT:
        """The storage that was passed in."""
        return self.raft_log.store

    @property
    def is_learner(self) -> bool:
        """Whether this node is a member without a vote."""
        return self.id in self.prs.learner_ids()

    def is_leader(self) -> bool:
        """Whether this node leads its term."""
        return self.state is _LEADER

    def promotable(self) -> bool:
        """Whether this node may campaign: it decides, and its log is not being replaced."""
        return self.id in self.prs.deciding_voters() and self.raft_log.unstable.snapshot is None

    def soft_state(self) -> SoftState:
        """Who leads, and the role."""
        return SoftState(self.leader_id, self.state)

    def hard_state(self) -> HardState:
        """What must be on disk before this node's answers leave it (Raft figure 2)."""
        return HardState(term=self.term, vote=self.vote, commit=self.raft_log.committed)

    def in_lease(self) -> bool:
        """Whether a leader was heard of within the last election timeout (or this one leads).

        With lease reads that is a promise to the leader, which no later term takes back: an old
        answer of a later term may arrive while the leader still reads by its lease.
        """
        return (
            self.check_quorum
            and self.leader_id != INVALID_ID
            and self.election_elapsed < self.election_timeout
        ) or self.ticks < self.quiet_until

    def committed_index(self) -> int:
        """The commit index."""
        return self.raft_log.committed

    def committed_in_own_term(self) -> bool:
        """Whether an entry of the present term is committed; before that no read is safe (§8)."""
        return self.raft_log.match_term(self.raft_log.committed, self.term)

    def has_pending_conf(self) -> bool:
        """Whether a membership change may be unapplied, or the group is joint."""
        return self.pending_conf_index > self.raft_log.applied or self.prs.is_in_membership_change()

    def should_bcast_commit(self) -> bool:
        """Whether a new commit index is sent at once: unless skipped, or while members change."""
        return not self.skip_bcast_commit or self.has_pending_conf()

    def is_in_membership_change(self) -> bool:
        """Whether two configurations are in force."""
        return self.prs.is_in_membership_change()

    def pending_membership_change(self) -> ConfState | None:
        """The joint configuration in force, None when there is only one."""
        return self.prs.to_conf_state() if self.prs.is_in_membership_change() else None

    def membership_change_start_index(self) -> int:
        """Index of the Begin that is applied and not ended; 0: none."""
        return self.prs.begin_index

    def snap(self) -> Snapshot | None:
        """A snapshot that was received and is not persisted yet."""
        return self.raft_log.unstable.snapshot
