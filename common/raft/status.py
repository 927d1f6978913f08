"""A look at a node: what its term, log and followers are right now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raft._roles import SoftState
from raft.core import Raft
from raft.eraftpb import HardState
from raft.progress import ProgressSet


@dataclass(slots=True)
class Status:
    """The state of one node at one moment.

    Attributes:
        id: The node.
        hs: Term, vote and commit index.
        ss: Who leads, and the role.
        applied: The last index handed to the state machine and reported back.
        progress: The members' progress; None unless this node leads.

    Source: raft-rs ``Status``.
    """

    id: int
    hs: HardState
    ss: SoftState
    applied: int
    progress: ProgressSet | None

    @classmethod
    def new(cls, raft: Raft[Any]) -> Status:
        """Look at `raft` now."""
        return cls(
            id=raft.id,
            hs=raft.hard_state(),
            ss=raft.soft_state(),
            applied=raft.raft_log.applied,
            progress=raft.prs if raft.is_leader() else None,
        )


StatusRef = Status
"""The crate's form without copies. Nothing is copied here either: `progress` is the live set."""
