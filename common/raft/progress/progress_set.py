"""The members a node knows: their configuration, joint or not, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from raft.eraftpb import ConfState
from raft.errors import Exists, NoPendingMembershipChange, NotExists, ViolatesContract
from raft.logger import Logger, NullLogger
from raft.progress.configuration import Configuration
from raft.progress.progress import Progress
from raft.progress.quorum import (
    CandidacyStatus,
    QuorumRule,
    all_have_quorum,
    committed_by,
    committed_by_groups,
    votes_decide,
)


class ProgressSet:
    """Everyone's `Progress`, and the one or two majorities that decide.

    While a membership change is joint, `configuration` is C_old and `next_configuration` is C_new;
    otherwise `next_configuration` is None. `progress` holds an entry for each id of either.

    One form serves every kind of change: Begin and Finalize of the crate's 0.6.0-alpha, the joint
    ConfChangeV2 of 0.7, and simple changes, which replace `configuration` in one step.

    Source: raft-rs ``ProgressSet``.
    """

    __slots__ = (
        "_ids",
        "_logger",
        "_old_alone",
        "_rule",
        "auto_leave",
        "begin_index",
        "config_index",
        "configuration",
        "group_commit",
        "next_configuration",
        "progress",
        "promotable",
        "promotable_outgoing",
        "removed",
        "successor",
    )

    def __init__(self, logger: Logger | None = None) -> None:
        self._logger: Logger = logger or NullLogger()
        self.progress: dict[int, Progress] = {}
        self.configuration = Configuration()
        self.next_configuration: Configuration | None = None
        self.auto_leave = False
        """Whether the leader ends the joint state by itself."""
        self.begin_index = 0
        """Index of the applied entry that made the group joint; 0 when it is not."""
        self.config_index = 0
        """Index of the last entry that changed the configuration."""
        self.promotable: frozenset[int] = frozenset()
        """Learners that are to become voters when they have caught up."""
        self.promotable_outgoing: frozenset[int] = frozenset()
        """While joint: which learners of C_old were `promotable` before the change began."""
        self.removed: frozenset[int] = frozenset()
        """Ids that have left and may not return: their log and vote may be gone."""
        self.successor = 0
        """Who should lead after the joint state; 0: nobody was named."""
        self.group_commit = False
        self._old_alone = False
        self._rule: QuorumRule = (frozenset(),)
        self._ids: tuple[int, ...] = ()

    @classmethod
    def with_capacity(cls, voters: int, learners: int) -> ProgressSet:
        """A new set. The sizes are accepted for the crate's sake; Python needs none."""
        return cls()

    @classmethod
    def with_logger(cls, logger: Logger) -> ProgressSet:
        """A new set that logs to `logger`."""
        return cls(logger)

    # -- Who is there ------------------------------------------------------------------------

    def ids(self) -> tuple[int, ...]:
        """All ids in ascending order; the order in which a leader addresses its peers."""
        return self._ids

    def voter_ids(self) -> frozenset[int]:
        """Voters; while joint, those of either configuration."""
        if self.next_configuration is None:
            return self.configuration.voters
        return self.configuration.voters | self.next_configuration.voters

    def learner_ids(self) -> frozenset[int]:
        """Those that listen and vote in no configuration in force."""
        if self.next_configuration is None:
            return self.configuration.learners
        both = self.configuration.learners | self.next_configuration.learners
        return both - self.voter_ids()

    def voters(self) -> Iterator[tuple[int, Progress]]:
        """Each voter's id and progress, by id."""
        return ((node_id, self.progress[node_id]) for node_id in sorted(self.voter_ids()))

    def learners(self) -> Iterator[tuple[int, Progress]]:
        """Each learner's id and progress, by id."""
        return ((node_id, self.progress[node_id]) for node_id in sorted(self.learner_ids()))

    # Progress is mutable in Python: the crate's _mut twins are the same thing.
    voters_mut = voters
    learners_mut = learners

    def iter(self) -> Iterator[tuple[int, Progress]]:
        """Everyone's id and progress, by id."""
        progress = self.progress
        return ((node_id, progress[node_id]) for node_id in self._ids)

    iter_mut = iter

    def get(self, node_id: int) -> Progress | None:
        """The progress of `node_id`, or None for a stranger."""
        return self.progress.get(node_id)

    get_mut = get

    # -- Changing one node at a time ---------------------------------------------------------

    def insert_voter(self, node_id: int, progress: Progress) -> None:
        """Add a voter.

        Raises:
            Exists: it is a voter or learner already.
            ViolatesContract: a joint change is under way.
        """
        self._insert(node_id, progress, voter=True)

    def insert_learner(self, node_id: int, progress: Progress) -> None:
        """Add a learner; raises as `insert_voter`."""
        self._insert(node_id, progress, voter=False)

    def _insert(self, node_id: int, progress: Progress, *, voter: bool) -> None:
        self._refuse_while_joint("add a node")
        now = self.configuration
        if node_id in now.learners:
            raise Exists(node_id, "learners")
        if node_id in now.voters:
            raise Exists(node_id, "voters")
        added = frozenset((node_id,))
        self.progress[node_id] = progress
        if voter:
            self.configuration = Configuration(now.voters | added, now.learners)
        else:
            self.configuration = Configuration(now.voters, now.learners | added)
        self._changed()

    def remove(self, node_id: int) -> Progress | None:
        """Drop a node and return its progress; None if it was not there.

        Raises:
            ViolatesContract: a joint change is under way.
        """
        self._refuse_while_joint("remove a node")
        gone = self.progress.pop(node_id, None)
        now = self.configuration
        self.configuration = Configuration(now.voters - {node_id}, now.learners - {node_id})
        self._changed()
        return gone

    def promote_learner(self, node_id: int) -> None:
        """Make a learner a voter; its progress is kept.

        Raises:
            NotExists: it is no learner.
            Exists: it is a voter already.
            ViolatesContract: a joint change is under way.
        """
        self._refuse_while_joint("promote a learner")
        now = self.configuration
        if node_id in now.voters:
            raise Exists(node_id, "voters")
        if node_id not in now.learners:
            raise NotExists(node_id, "learners")
        self.configuration = Configuration(now.voters | {node_id}, now.learners - {node_id})
        self._changed()

    def _refuse_while_joint(self, what: str) -> None:
        if self.next_configuration is not None:
            raise ViolatesContract(f"cannot {what} while a membership change is joint")

    # -- Changing the configuration as a whole -----------------------------------------------

    def is_in_membership_change(self) -> bool:
        """Whether two configurations are in force."""
        return self.next_configuration is not None

    def replace_configuration(self, target: Configuration, fresh: Callable[[], Progress]) -> None:
        """Make `target` the configuration in one step; new ids start with `fresh()`.

        The caller has checked that the majorities of both overlap (one voter's difference).
        """
        target.valid()
        self._refuse_while_joint("replace the configuration")
        self.configuration = target
        self._keep_exactly(target.ids(), fresh)

    def begin_membership_change(self, target: Configuration, fresh: Callable[[], Progress]) -> None:
        """Enter the joint state of the configuration in force and `target`.

        Whoever is in both keeps its progress, also when its role changes; new ids start with
        `fresh()`. Nothing is changed if this raises.

        Raises:
            Exists, ConfigInvalid: as `Configuration.valid`.
            ViolatesContract: already joint.
        """
        target.valid()
        self._refuse_while_joint("begin a membership change")
        self.promotable_outgoing = self.promotable
        self.next_configuration = target
        self._keep_exactly(self.configuration.ids() | target.ids(), fresh)

    def finalize_membership_change(self) -> frozenset[int]:
        """Leave the joint state for C_new; return who left the group.

        Raises:
            NoPendingMembershipChange: not joint.
        """
        if self.next_configuration is None:
            raise NoPendingMembershipChange
        return self._leave_joint(self.next_configuration)

    def rollback_membership_change(self) -> frozenset[int]:
        """Leave the joint state for C_old; return whom C_new had wanted to add.

        The marks *promote when caught up* are again what they were before the change began. They
        say which members C_old is to have, so they are part of what is taken back: a mark that
        C_new dropped returns, one that it added goes. To keep only what both had, or to drop all,
        would leave a learner that someone still waits for one for ever, and nobody would be told.

        Raises:
            NoPendingMembershipChange: not joint.
        """
        if self.next_configuration is None:
            raise NoPendingMembershipChange
        self.promotable = self.promotable_outgoing
        return self._leave_joint(self.configuration)

    def _leave_joint(self, remaining: Configuration) -> frozenset[int]:
        assert self.next_configuration is not None
        everyone = self.configuration.ids() | self.next_configuration.ids()
        self.configuration, self.next_configuration = remaining, None
        self.auto_leave, self.begin_index, self.successor = False, 0, 0
        self.promotable_outgoing = frozenset()
        self._old_alone = False
        self._keep_exactly(remaining.ids(), None)
        return everyone - remaining.ids()

    def _keep_exactly(self, ids: frozenset[int], fresh: Callable[[], Progress] | None) -> None:
        for node_id in ids - self.progress.keys():
            assert fresh is not None
            self.progress[node_id] = fresh()
        for node_id in self.progress.keys() - ids:
            del self.progress[node_id]
        self._changed()

    def restore_conf_state(self, conf_state: ConfState, fresh: Callable[[], Progress]) -> None:
        """Forget everyone and take over `conf_state`, joint or not; all start with `fresh()`.

        Source: Raft §7 (a snapshot carries the configuration); raft-rs ``restore_snapmeta``.
        """
        incoming = Configuration.from_conf_state(conf_state)
        if conf_state.voters_outgoing:
            self.configuration = Configuration(
                conf_state.voters_outgoing, conf_state.learners_outgoing
            )
            self.next_configuration = incoming
        else:
            self.configuration, self.next_configuration = incoming, None
        self.auto_leave = conf_state.auto_leave
        self.begin_index = conf_state.begin_index
        self.config_index = conf_state.config_index
        self.promotable = frozenset(conf_state.promotable)
        self.promotable_outgoing = frozenset(conf_state.promotable_outgoing)
        self.removed = frozenset(conf_state.removed)
        self.successor = conf_state.successor
        self._old_alone = False
        self.progress.clear()
        everyone = self.configuration.ids()
        if self.next_configuration is not None:
            everyone |= self.next_configuration.ids()
        self._keep_exactly(everyone, fresh)

    def to_conf_state(self) -> ConfState:
        """The configuration in force in the form that is stored and sent.

        While joint, `voters` are C_new's and `voters_outgoing` C_old's, as in etcd and the crate's
        0.7; `learners_outgoing` and `promotable_outgoing` add what a rollback has to restore.
        """
        old, new = self.configuration, self.next_configuration
        conf_state = ConfState(
            config_index=self.config_index,
            promotable=sorted(self.promotable),
            removed=sorted(self.removed),
        )
        if new is None:
            conf_state.voters.extend(sorted(old.voters))
            conf_state.learners.extend(sorted(old.learners))
            return conf_state
        conf_state.voters.extend(sorted(new.voters))
        conf_state.voters_outgoing.extend(sorted(old.voters))
        conf_state.learners.extend(sorted(new.learners - old.voters))
        conf_state.learners_next.extend(sorted(new.learners & old.voters))
        conf_state.learners_outgoing.extend(sorted(old.learners))
        conf_state.promotable_outgoing.extend(sorted(self.promotable_outgoing))
        conf_state.auto_leave = self.auto_leave
        conf_state.begin_index = self.begin_index
        conf_state.successor = self.successor
        return conf_state

    def _changed(self) -> None:
        self._ids = tuple(sorted(self.progress))
        new = self.next_configuration
        # Only who is, or is to be, a learner can become a voter when it has caught up.
        self.promotable &= (new or self.configuration).learners
        self.promotable_outgoing &= self.configuration.learners if new else frozenset()
        if new is None or self._old_alone:
            self._rule = (self.configuration.voters,)
        else:
            self._rule = (self.configuration.voters, new.voters)

    # -- What decides ------------------------------------------------------------------------

    def decide_by_old_alone(self, old_alone: bool) -> None:
        """While joint: whether C_old's majority alone decides, as under a rollback."""
        self._old_alone = old_alone and self.next_configuration is not None
        self._changed()

    @property
    def quorum_rule(self) -> QuorumRule:
        """The voter sets of which each needs its own majority."""
        return self._rule

    def deciding_voters(self) -> frozenset[int]:
        """Everyone whose vote counts under the rule in force."""
        return frozenset().union(*self._rule)

    def maximal_committed_index(self) -> tuple[int, bool]:
        """The highest index that all majorities have, and whether commit groups decided it.

        While joint it is the lower one of both: an entry needs each (Raft §6).
        """
        progress = self.progress
        if self.group_commit:
            decided = [
                committed_by_groups(
                    voters,
                    lambda node_id: progress[node_id].matched,
                    lambda node_id: progress[node_id].commit_group_id,
                )
                for voters in self._rule
                if voters
            ]
            if not decided:
                return 0, False
            return min(index for index, _ in decided), any(grouped for _, grouped in decided)
        lowest: int | None = None
        for voters in self._rule:
            if not voters:
                return 0, False
            index = committed_by(voters, lambda node_id: progress[node_id].matched)
            if lowest is None or index < lowest:
                lowest = index
        return lowest or 0, False

    def candidacy_status(self, votes: Mapping[int, bool]) -> CandidacyStatus:
        """How an election with `votes` stands: every majority must grant, one may refuse."""
        return votes_decide(self._rule, votes)

    def has_quorum(self, potential_quorum: Iterable[int]) -> bool:
        """Whether `potential_quorum` holds every majority."""
        ids: Set[int] = (
            potential_quorum if isinstance(potential_quorum, Set) else frozenset(potential_quorum)
        )
        return all_have_quorum(self._rule, ids)

    def quorum_recently_active(self, perspective_of: int) -> bool:
        """Whether every majority was heard of since the last call, which starts a new count.

        Args:
            perspective_of: The asking leader, which counts as active.
        """
        active = {node_id for node_id, p in self.progress.items() if p.recent_active}
        active.add(perspective_of)
        for node_id, progress in self.progress.items():
            progress.recent_active = node_id == perspective_of
        return all_have_quorum(self._rule, active)
