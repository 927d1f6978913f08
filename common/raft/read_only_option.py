"""How sure a linearizable read is that its leader still leads."""

from __future__ import annotations

from enum import Enum, unique


@unique
class ReadOnlyOption(Enum):
    """How a leader makes sure that it still leads before it answers a read (Raft §8)."""

    Safe = 0
    """Ask a quorum: right whatever the clocks do."""

    LeaseBased = 1
    """Trust the lease that CheckQuorum gives: faster, wrong if clocks drift more than allowed."""
