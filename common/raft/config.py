"""The parameters of one Raft node, and whether they can work together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from raft.errors import ConfigInvalid
from raft.read_only_option import ReadOnlyOption
from raft.util import INVALID_ID, NO_LIMIT

__all__ = ["Config", "ReadOnlyOption"]


@dataclass(slots=True, kw_only=True)
class Config:
    """The parameters to start a Raft node with. Times are in ticks, sizes in bytes.

    `RawNode` and `Raft` call `validate()` first; call it yourself to hear of a mistake earlier.
    """

    id: int = INVALID_ID
    """The node's id: not 0, unique in the group, never used again for another node."""

    election_tick: int = 20
    """Ticks without a word from a leader after which a follower may campaign."""

    heartbeat_tick: int = 2
    """Ticks between a leader's heartbeats; well below `election_tick`."""

    applied: int = 0
    """The last index the state machine has applied; set on a restart only."""

    max_size_per_msg: int = 0
    """Bytes of entries in one append message; 0: one entry each, `NO_LIMIT`: all there are."""

    max_inflight_msgs: int = 256
    """Append messages under way to one follower before the leader waits for an answer."""

    max_inflight_bytes: int = 0
    """Bytes of entries under way to one follower likewise; 0: no limit."""

    check_quorum: bool = False
    """A leader that hears from no quorum for an election timeout steps down."""

    pre_vote: bool = False
    """Ask whether a campaign could be won before raising the term (thesis §9.6)."""

    min_election_tick: int = 0
    """Lower bound of the randomized election timeout; 0: `election_tick`."""

    max_election_tick: int = 0
    """Upper bound of it, not reached; 0: twice `election_tick`."""

    read_only_option: ReadOnlyOption = ReadOnlyOption.Safe
    """How a leader makes sure that it still leads before it answers a read.

    `LeaseBased` must be set on all members, with the same `election_tick`: a follower that answers
    heartbeats promises by it to help nobody else to be elected for so many ticks. The lease is two
    ticks shorter; that holds if in an election timeout no clock gains a tick on another. It needs
    `check_quorum` and an `election_tick` of 3 or more. Whoever runs the node must call
    `RawNode.expire_lease` when time may have passed without ticks, and on a follower never make up
    for ticks that were left out.
    """

    skip_bcast_commit: bool = False
    """Do not tell followers of a new commit index at once; they learn it with the next entries."""

    batch_append: bool = False
    """Put entries into an append message that waits to be sent, instead of into another one."""

    tag: str = ""
    """What the node is called in the log."""

    priority: int = 0
    """Among equally up-to-date logs, a voter refuses a candidate of lower priority than its own."""

    max_uncommitted_size: int = NO_LIMIT
    """Bytes of proposals that may wait to be committed before further ones are dropped."""

    max_committed_size_per_ready: int = NO_LIMIT
    """Bytes of committed entries in one `Ready`; at least one entry is given."""

    max_apply_unpersisted_log_limit: int = 0
    """How many entries a leader may hand out to be applied before its own disk has them."""

    disable_proposal_forwarding: bool = False
    """A follower drops proposals instead of forwarding them to the leader."""

    step_down_on_removal: bool = True
    """A leader that is no voter any more steps down when it applies that."""

    allow_removed_ids: bool = False
    """Let an id that has left the group return. Only for ids whose log and vote are kept."""

    catch_up_rounds: int = 10
    """Rounds of replication in which a learner must catch up to be promoted (thesis §4.2.1)."""

    catch_up_round_ticks: int = 0
    """Ticks that the last of these rounds may take; 0: `election_tick`."""

    transfer_ticks: int = 0
    """Ticks that the transfer of leadership to a successor may take; 0: `election_tick`."""

    max_pending_reads: int = 4096
    """Reads that may wait for their confirmation before further ones are refused."""

    @classmethod
    def new(cls, id: int) -> Self:
        """Return the defaults for the node `id`, with its id as the tag."""
        return cls(id=id, tag=str(id))

    def effective_min_election_tick(self) -> int:
        """Return the lower bound of the randomized election timeout, the default resolved."""
        return self.min_election_tick or self.election_tick

    def effective_max_election_tick(self) -> int:
        """Return the upper bound (not reached) of the randomized election timeout."""
        return self.max_election_tick or 2 * self.election_tick

    def effective_catch_up_round_ticks(self) -> int:
        """Return the ticks that the last catch-up round may take, the default resolved."""
        return self.catch_up_round_ticks or self.election_tick

    def effective_transfer_ticks(self) -> int:
        """Return the ticks that a transfer to a successor may take, the default resolved."""
        return self.transfer_ticks or self.election_tick

    def validate(self) -> None:
        """Check that the parameters can work together.

        Raises:
            ConfigInvalid: They cannot; the message says which and what to change.
        """
        if self.id == INVALID_ID:
            raise ConfigInvalid("id is 0, which no node may have; give each node an id from 1 up")
        if self.heartbeat_tick <= 0:
            raise ConfigInvalid("heartbeat_tick must be at least 1")
        if self.election_tick <= self.heartbeat_tick:
            raise ConfigInvalid(
                f"election_tick ({self.election_tick}) must be greater than heartbeat_tick "
                f"({self.heartbeat_tick}), or followers campaign between two heartbeats"
            )
        low, high = self.effective_min_election_tick(), self.effective_max_election_tick()
        if low < self.election_tick:
            raise ConfigInvalid(
                f"min_election_tick ({low}) must not be less than election_tick "
                f"({self.election_tick}); raise it or leave it at 0"
            )
        if low >= high:
            raise ConfigInvalid(
                f"min_election_tick ({low}) must be less than max_election_tick ({high}), "
                "or all nodes campaign at once"
            )
        if self.max_inflight_msgs <= 0:
            raise ConfigInvalid("max_inflight_msgs must be at least 1")
        if self.read_only_option is ReadOnlyOption.LeaseBased and not self.check_quorum:
            raise ConfigInvalid(
                "read_only_option is LeaseBased, which trusts the lease of check_quorum; "
                "turn check_quorum on or use ReadOnlyOption.Safe"
            )
        if self.read_only_option is ReadOnlyOption.LeaseBased and self.election_tick < 3:
            raise ConfigInvalid(
                f"election_tick ({self.election_tick}) leaves no time for the lease of "
                "read_only_option LeaseBased, which is two ticks shorter; raise it to 3 or more, "
                "and well above heartbeat_tick + 2"
            )
        self._validate_sizes()
        self._validate_ranges()

    def _validate_sizes(self) -> None:
        if self.max_uncommitted_size < self.max_size_per_msg != NO_LIMIT:
            raise ConfigInvalid(
                f"max_uncommitted_size ({self.max_uncommitted_size}) must not be less than "
                f"max_size_per_msg ({self.max_size_per_msg}), or no message is ever full"
            )
        if 0 < self.max_inflight_bytes < self.max_size_per_msg != NO_LIMIT:
            raise ConfigInvalid(
                f"max_inflight_bytes ({self.max_inflight_bytes}) must not be less than "
                f"max_size_per_msg ({self.max_size_per_msg}); raise it, or 0 for no limit"
            )

    def _validate_ranges(self) -> None:
        if not 0 < self.id < 2**64:
            raise ConfigInvalid(f"id ({self.id}) must fit in 64 bits without a sign")
        for name in (
            "applied",
            "max_size_per_msg",
            "max_inflight_bytes",
            "max_uncommitted_size",
            "max_committed_size_per_ready",
            "max_apply_unpersisted_log_limit",
            "catch_up_round_ticks",
            "transfer_ticks",
        ):
            value = getattr(self, name)
            if not 0 <= value < 2**64:
                raise ConfigInvalid(f"{name} ({value}) must lie between 0 and 2**64 - 1")
        if not -(2**63) <= self.priority < 2**63:
            raise ConfigInvalid(f"priority ({self.priority}) must fit in 64 bits with a sign")
        for name in ("catch_up_rounds", "max_pending_reads"):
            value = getattr(self, name)
            if value <= 0:
                raise ConfigInvalid(f"{name} ({value}) must be at least 1")
