"""What tests of membership share: configurations in short, changes proposed and applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    Configuration,
)
from raft.eraftpb import (
    ConfChange,
    ConfChangeV2,
)
from tests.harness.network import Loop, Member, Network


def shape(member: Member) -> str:
    """The configuration in short: voters, learners, and while joint both sides."""
    prs = member.raft.prs

    def one(configuration: Configuration) -> str:
        voters = " ".join(map(str, sorted(configuration.voters)))
        learners = " ".join(map(str, sorted(configuration.learners)))
        return f"({voters} | {learners})" if learners else f"({voters})"

    if prs.next_configuration is None:
        return one(prs.configuration)
    return f"{one(prs.configuration)}&{one(prs.next_configuration)}"


def shapes(network: Network, ids: Iterable[int] = ()) -> set[str]:
    """The configurations of some (default: all) members."""
    return {shape(network[i]) for i in ids or network.members}


Call = Callable[[], object]


def refused(member: Member, change: ConfChange | ConfChangeV2) -> ConfChangeReason:
    """Why a leader refuses a change; nothing may be appended by it."""
    last = member.last_index
    with pytest.raises(ConfChangeError) as caught:
        member.node.propose_conf_change(b"", change)
    assert member.last_index == last
    return caught.value.reason


def change(network: Network, what: ConfChange | ConfChangeV2, at: int = 1) -> None:
    """Propose a change, and let it be applied everywhere."""
    network[at].node.propose_conf_change(b"", what)
    network.run()
    network.tick(times=2)


def joint_network(loop: Loop = Loop.SIMPLE, **settings: Any) -> Network:
    """{1,2,3} on its way to {3,4,5}, held; 4 and 5 never came up."""
    network = Network(1, 2, 3, loop=loop, **settings)
    network.elect(1)
    network[1].node.propose_membership_change(([3, 4, 5], []), auto_finalize=False)
    network.run()
    network.tick(1)
    assert shapes(network) == {"(1 2 3)&(3 4 5)"}
    return network
