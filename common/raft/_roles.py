"""The roles a node may have, and what of its state is worth logging (Raft figure 4)."""

from __future__ import annotations

from enum import Enum


class StateRole(Enum):
    """The role of a node (Raft figure 4). Source: raft-rs ``StateRole``."""

    Follower = 0
    Candidate = 1
    Leader = 2
    PreCandidate = 3


class SoftState:
    """What is worth logging and need not be stored: who leads, and this node's role.

    Source: raft-rs ``SoftState``.
    """

    __slots__ = ("leader_id", "raft_state")

    def __init__(self, leader_id: int, raft_state: StateRole) -> None:
        self.leader_id = leader_id
        self.raft_state = raft_state

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SoftState):
            return NotImplemented
        return self.leader_id == other.leader_id and self.raft_state is other.raft_state

    def __hash__(self) -> int:
        return hash((self.leader_id, self.raft_state))

    def __repr__(self) -> str:
        return f"SoftState(leader_id={self.leader_id}, raft_state={self.raft_state.name})"
