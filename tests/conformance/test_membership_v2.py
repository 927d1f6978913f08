"""ConfChangeV2: simple and joint changes and their transitions."""

from __future__ import annotations

import pytest

from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    Auto,
    ConfChangeTransition,
    Explicit,
    Implicit,
    MsgAppendResponse,
    RemoveNode,
)
from tests.conformance.members import change, shapes
from tests.harness.builders import (
    a_leader,
    v2,
)
from tests.harness.network import Loop, Network


def test_one_change_of_the_new_form_is_simple() -> None:
    network = Network(1, 2)
    network.elect(1)
    network.add(3)
    change(network, v2((AddNode, 3)))
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].last_index == 3


def test_several_changes_are_joint_and_left_by_the_leader(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for node_id in (4, 5):
        network.add(node_id)
    change(network, v2((AddNode, 4), (AddLearnerNode, 5), (RemoveNode, 3)))
    network.tick(times=2)
    assert shapes(network, (1, 2, 4, 5)) == {"(1 2 4 | 5)"}


@pytest.mark.parametrize(
    ("transition", "changes", "joint", "auto_leave"),
    [
        (Auto, 1, False, False),
        (Auto, 2, True, True),
        (Implicit, 1, True, True),
        (Implicit, 2, True, True),
        (Explicit, 1, True, False),
        (Explicit, 2, True, False),
    ],
)
def test_transitions(
    transition: ConfChangeTransition, changes: int, joint: bool, auto_leave: bool
) -> None:
    leader = a_leader()
    leader.applies = False
    singles = [(AddNode, 4), (AddNode, 5)][:changes]
    leader.node.propose_conf_change(b"", v2(*singles, transition=transition))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.node.apply_conf_entry(leader.unapplied[0])
    assert leader.raft.is_in_membership_change() is joint
    assert leader.raft.prs.auto_leave is auto_leave


def test_an_explicit_joint_state_is_left_by_an_empty_change() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v2((RemoveNode, 3), transition=Explicit))
    network.tick(times=20)
    assert shapes(network) == {"(1 2 3)&(1 2)"}
    change(network, v2())
    assert shapes(network, (1, 2)) == {"(1 2)"}


def test_a_voter_is_demoted_by_the_new_form() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v2((AddLearnerNode, 3), transition=Implicit))
    assert shapes(network) == {"(1 2 | 3)"}
    change(network, v2((AddLearnerNode, 2)))
    assert shapes(network) == {"(1 | 2 3)"}


def test_more_than_one_voter_differs_only_by_joint_changes() -> None:
    # A swap is two changes; made of one message of the old form it cannot be.
    network = Network(1, 2)
    network.elect(1)
    network.add(3)
    change(network, v2((RemoveNode, 2), (AddNode, 3)))
    network.tick(times=2)
    assert shapes(network, (1, 3)) == {"(1 3)"}


def test_changes_of_nobody_are_skipped_in_the_new_form() -> None:
    network = Network(1, 2)
    network.elect(1)
    change(network, v2((AddNode, 0)))
    assert shapes(network) == {"(1 2)"}


def test_adding_and_removing_the_same_node_cancels_out() -> None:
    network = Network(1, 2)
    network.elect(1)
    change(network, v2((AddNode, 3), (RemoveNode, 3)))
    assert shapes(network) == {"(1 2)"}
