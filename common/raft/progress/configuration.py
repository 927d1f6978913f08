"""A configuration: which ids vote and which only listen (Raft §6)."""

from __future__ import annotations

from collections.abc import Iterable

from raft.eraftpb import ConfState
from raft.errors import ConfigInvalid, Exists
from raft.util import majority


class Configuration:
    """Voters and learners of one configuration.

    A node is never both. A configuration says nothing about how far anyone has come: that is
    `Progress`.

    Source: raft-rs ``Configuration``.
    """

    __slots__ = ("learners", "voters")

    def __init__(self, voters: Iterable[int] = (), learners: Iterable[int] = ()) -> None:
        self.voters: frozenset[int] = frozenset(voters)
        self.learners: frozenset[int] = frozenset(learners)

    @classmethod
    def from_conf_state(cls, conf_state: ConfState) -> Configuration:
        """The configuration that `conf_state` names; the incoming one (C_new) if it is joint."""
        learners = set(conf_state.learners) | set(conf_state.learners_next)
        return cls(conf_state.voters, learners - set(conf_state.voters))

    def to_conf_state(self) -> ConfState:
        """The same configuration as a message, ids in ascending order."""
        return ConfState(voters=sorted(self.voters), learners=sorted(self.learners))

    def valid(self) -> None:
        """Check that this could be the configuration of a group.

        Raises:
            Exists: an id is both voter and learner.
            ConfigInvalid: nobody votes, or an id is 0.
        """
        for node_id in sorted(self.voters & self.learners):
            raise Exists(node_id, "learners")
        if not self.voters:
            raise ConfigInvalid("There must be at least one voter.")
        if 0 in self.voters or 0 in self.learners:
            raise ConfigInvalid("0 is no node id: ids start at 1.")

    def contains(self, node_id: int) -> bool:
        """Whether `node_id` is a voter or a learner here."""
        return node_id in self.voters or node_id in self.learners

    def has_quorum(self, potential_quorum: Iterable[int]) -> bool:
        """Whether a majority of the voters is in `potential_quorum`."""
        return len(self.voters.intersection(potential_quorum)) >= majority(len(self.voters))

    def ids(self) -> frozenset[int]:
        """Everyone: voters and learners."""
        return self.voters | self.learners

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Configuration):
            return NotImplemented
        return self.voters == other.voters and self.learners == other.learners

    def __hash__(self) -> int:
        return hash((self.voters, self.learners))

    def __repr__(self) -> str:
        return f"Configuration(voters={sorted(self.voters)}, learners={sorted(self.learners)})"
