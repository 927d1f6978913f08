"""What may be changed on a running node: limits, switches, commit groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from raft._fields import Fields
from raft.errors import ViolatesContract
from raft.raft_log import StorageT
from raft.read_only_option import ReadOnlyOption


class Settings(Fields[StorageT], ABC):
    """The part of `core.Raft` that changes its settings at run time."""

    @abstractmethod
    def maybe_commit(self) -> bool:
        """Advance the commit index."""

    @abstractmethod
    def bcast_append(self) -> None:
        """Send everyone what they lack."""

    def set_priority(self, priority: int) -> None:
        """Set the election priority: see `Config.priority`."""
        self.priority = priority

    def set_batch_append(self, batch_append: bool) -> None:
        """Switch `Config.batch_append`. What is held back goes out with the next messages."""
        self.batch_append = batch_append

    def set_check_quorum(self, check_quorum: bool) -> None:
        """Switch `Config.check_quorum`; read leases need it and end without."""
        self.check_quorum = check_quorum

    def set_skip_bcast_commit(self, skip: bool) -> None:
        """Switch `Config.skip_bcast_commit`."""
        self.skip_bcast_commit = skip

    def adjust_max_inflight_msgs(self, target: int, cap: int) -> None:
        """Set how many appends may be under way to the peer `target`."""
        progress = self.prs.get(target)
        if progress is not None:
            progress.ins.set_cap(cap)

    def enable_group_commit(self, enable: bool) -> None:
        """As leader, require (or no longer) that an entry is in two commit groups to commit."""
        self.prs.group_commit = enable
        if self.is_leader() and not enable and self.maybe_commit():
            self.bcast_append()

    def group_commit(self) -> bool:
        """Whether group commit is on."""
        return self.prs.group_commit

    def assign_commit_groups(self, groups: Sequence[tuple[int, int]]) -> None:
        """Put nodes into commit groups: (id, group) pairs, groups from 1 up.

        Known to this leader only: assign again after an election.

        Raises:
            ViolatesContract: a group is 0, which means none.
        """
        if any(group <= 0 for _, group in groups):
            raise ViolatesContract("commit groups are numbered from 1")
        for node_id, group in groups:
            progress = self.prs.get(node_id)
            if progress is not None:
                progress.commit_group_id = group
        if self.is_leader() and self.prs.group_commit and self.maybe_commit():
            self.bcast_append()

    def clear_commit_group(self) -> None:
        """Take everyone out of their commit groups."""
        for _, progress in self.prs.iter():
            progress.commit_group_id = 0

    def check_group_commit_consistent(self) -> bool | None:
        """Whether what is committed is in two groups; None if not leading or unknown yet."""
        if not self.is_leader() or not self.committed_in_own_term():
            return None
        index, grouped = self.prs.maximal_committed_index()
        return grouped and self.committed_index() == index

    def forget_leader(self) -> None:
        """As follower, forget who leads, so that another candidate may win at once.

        A leader is no follower and ignores it; with lease reads it is ignored too, for the vote
        it frees could break a lease. Source: etcd raft ``ForgetLeader``.
        """
        if self.is_leader() or self.read_only.option is ReadOnlyOption.LeaseBased:
            return
        self.leader_id = 0
