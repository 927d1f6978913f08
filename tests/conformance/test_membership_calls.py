"""The crate's own calls for membership, by hand."""

from __future__ import annotations

import pytest

from raft import (
    ConfigInvalid,
    Exists,
    NotExists,
    ViolatesContract,
)
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    FinalizeMembershipChange,
)
from tests.conformance.members import Call, shape
from tests.harness.builders import (
    a_leader,
    v1,
)
from tests.harness.network import Network


def test_begin_and_finalize_by_hand() -> None:
    leader = a_leader(voters=[1, 2])
    begin = v1(
        BeginMembershipChange, configuration=ConfState(voters=[1, 3], learners=[4]), start_index=7
    )
    leader.raft.begin_membership_change(begin)
    assert shape(leader) == "(1 2)&(1 3 | 4)"
    assert leader.raft.membership_change_start_index() == 7
    pending = leader.raft.pending_membership_change()
    assert pending is not None
    assert pending.begin_index == 7
    leader.raft.finalize_membership_change(v1(FinalizeMembershipChange), index=8)
    assert shape(leader) == "(1 3 | 4)"
    assert leader.raft.prs.removed == {2}


@pytest.mark.parametrize(
    ("begin", "error"),
    [
        (v1(AddNode, 2), ViolatesContract),
        (v1(BeginMembershipChange, start_index=5), ViolatesContract),
        (v1(BeginMembershipChange, configuration=ConfState(voters=[1])), ViolatesContract),
        (
            v1(
                BeginMembershipChange,
                configuration=ConfState(voters=[1], learners=[1]),
                start_index=5,
            ),
            Exists,
        ),
        (
            v1(BeginMembershipChange, configuration=ConfState(learners=[1]), start_index=5),
            ConfigInvalid,
        ),
    ],
)
def test_a_begin_that_cannot_be_leaves_nothing_behind(
    begin: ConfChange, error: type[Exception]
) -> None:
    leader = a_leader()
    with pytest.raises(error):
        leader.raft.begin_membership_change(begin)
    assert not leader.raft.is_in_membership_change()
    assert not leader.raft.has_pending_conf()
    leader.node.propose_membership_change(([1, 2], []))


def test_a_second_begin_is_refused_and_changes_nothing() -> None:
    leader = a_leader()
    begin = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 2]), start_index=5)
    leader.raft.begin_membership_change(begin)
    other = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 9]), start_index=6)
    with pytest.raises(ViolatesContract):
        leader.raft.begin_membership_change(other)
    assert shape(leader) == "(1 2 3)&(1 2)"
    assert 9 not in leader.raft.prs.progress


def test_a_finalize_that_cannot_be() -> None:
    leader = a_leader()
    for wrong in (
        v1(AddNode, 2),
        v1(FinalizeMembershipChange, configuration=ConfState(voters=[1])),
    ):
        with pytest.raises(ViolatesContract):
            leader.raft.finalize_membership_change(wrong)


def test_single_nodes_by_hand() -> None:
    leader = a_leader(voters=[1, 2])
    leader.raft.add_learner(3)
    leader.raft.add_node(3)
    leader.raft.add_node(4)
    assert shape(leader) == "(1 2 3 4)"
    leader.raft.remove_node(2)
    assert shape(leader) == "(1 3 4)"
    cases: tuple[tuple[Call, type[Exception]], ...] = (
        (lambda: leader.raft.add_node(3), Exists),
        (lambda: leader.raft.add_learner(3), Exists),
        (lambda: leader.raft.remove_node(9), NotExists),
    )
    for call, error in cases:
        with pytest.raises(error):
            call()
    leader.raft.begin_membership_change(
        v1(BeginMembershipChange, configuration=ConfState(voters=[1]), start_index=5)
    )
    with pytest.raises(ViolatesContract):
        leader.raft.add_node(9)
    single = a_leader(voters=[1])
    with pytest.raises(ConfigInvalid):
        single.raft.remove_node(1)


def test_finalize_by_apply_conf_change_without_an_index() -> None:
    network = Network(1, 2)
    network.elect(1)
    network[1].applies = False
    network[1].node.propose_membership_change(([1], []))
    network.run()
    raft = network[1].raft
    raft.apply_conf_change(
        v1(BeginMembershipChange, configuration=ConfState(voters=[1])),
    )
    assert raft.prs.begin_index == 3
    raft.apply_conf_change(v1(FinalizeMembershipChange))
    assert shape(network[1]) == "(1)"
