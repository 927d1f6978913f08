"""_membership.py and _promotion.py: random changes through a whole node."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft import CodecError, Error, parse_conf_change
from raft._membership import ChangeKind, joint_conf_state, kind_of
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfChangeTransition,
    ConfChangeV2,
    ConfState,
    Entry,
    Explicit,
    FinalizeMembershipChange,
    Implicit,
    RemoveNode,
    RollbackMembershipChange,
)
from tests.harness.builders import a_leader, a_member, change_entry, v1, v2
from tests.harness.network import Network
from tests.unit.raft.laws import check

IDS = st.integers(1, 6)
KINDS = st.sampled_from([AddNode, RemoveNode, AddLearnerNode])
SINGLE = st.builds(v1, KINDS, IDS)
CHANGES = st.one_of(
    SINGLE,
    st.builds(
        lambda changes, transition: v2(*changes, transition=transition),
        st.lists(st.tuples(KINDS, IDS), max_size=4),
        st.sampled_from(list(ConfChangeTransition.values())),
    ),
    st.builds(
        lambda voters, learners, hold: v1(
            BeginMembershipChange,
            configuration=ConfState(voters=sorted(voters), learners=sorted(learners)),
            hold=hold,
        ),
        st.frozensets(IDS, max_size=4),
        st.frozensets(IDS, max_size=3),
        st.booleans(),
    ),
    st.just(v1(FinalizeMembershipChange)),
    st.just(v1(RollbackMembershipChange)),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(CHANGES, max_size=12))
def test_any_sequence_applied_at_any_node_gives_the_same(
    changes: list[ConfChange | ConfChangeV2],
) -> None:
    # Every node applies the same entries, whatever they are, and must come to the same.
    members = [a_member(1), a_leader(2), a_member(3)]
    for index, change in enumerate(changes, 10):
        states = [m.node.apply_conf_change(change, index) for m in members]
        assert states[0] == states[1] == states[2]
        for member in members:
            check(member.raft.prs)
    # And again, as after a restart: nothing changes.
    last = [m.raft.prs.to_conf_state() for m in members]
    for index, change in enumerate(changes, 10):
        for member in members:
            if index <= member.raft.prs.config_index:
                member.node.apply_conf_change(change, index)
    assert [m.raft.prs.to_conf_state() for m in members] == last


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=8))
def test_a_leader_proposes_only_what_then_has_its_effect(
    changes: list[ConfChange | ConfChangeV2],
) -> None:
    network = Network(1, 2, 3, allow_removed_ids=True)
    for node_id in (4, 5, 6):
        network.add(node_id)
    network.elect(1)
    for change in changes:
        leader = network.leader()
        if leader is None:
            network.tick_until(lambda: network.leader() is not None)
            continue
        before = leader.raft.prs.to_conf_state()
        last = leader.last_index
        try:
            leader.node.propose_conf_change(b"", change)
        except Error:
            assert leader.raft.prs.to_conf_state() == before
            assert leader.last_index == last
            continue
        network.run()
        network.tick(times=3)
        for member in network.members.values():
            check(member.raft.prs)
    for node_id, member in network.members.items():
        same = member.raft.prs.config_index == network[1].raft.prs.config_index
        if same and member.last_index:
            assert member.raft.prs.to_conf_state() == network[1].raft.prs.to_conf_state(), node_id


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (v1(AddNode, 1), ChangeKind.SIMPLE),
        (v1(RemoveNode, 1), ChangeKind.SIMPLE),
        (v1(BeginMembershipChange), ChangeKind.BEGIN),
        (v1(FinalizeMembershipChange), ChangeKind.FINALIZE),
        (v1(RollbackMembershipChange), ChangeKind.ROLLBACK),
        (v2(), ChangeKind.FINALIZE),
        (v2((AddNode, 1)), ChangeKind.SIMPLE),
        (v2((AddNode, 1), transition=Implicit), ChangeKind.BEGIN),
        (v2((AddNode, 1), transition=Explicit), ChangeKind.BEGIN),
        (v2((AddNode, 1), (AddNode, 2)), ChangeKind.BEGIN),
    ],
)
def test_kinds_of_changes(change: ConfChange | ConfChangeV2, kind: ChangeKind) -> None:
    assert kind_of(change) is kind
    assert parse_conf_change(change_entry(change)) == change


def test_what_is_no_change() -> None:
    for entry in (
        Entry(),
        Entry(entry_type=1, data=b"\xff"),  # type: ignore[arg-type]
        Entry(entry_type=1, data=b"\x10\x63"),  # type: ignore[arg-type]
        Entry(entry_type=2, data=b"\x08\x09"),  # type: ignore[arg-type]
        Entry(entry_type=2, data=b"\x12\x02\x08\x03"),  # type: ignore[arg-type]
    ):
        with pytest.raises(CodecError):
            parse_conf_change(entry)


def test_the_old_form_of_a_joint_state() -> None:
    old = ConfState(voters=[1, 2, 3], learners=[4])
    pending = ConfState(voters=[1, 4], learners=[2, 5])
    joint = joint_conf_state(old, pending, 7)
    assert joint == ConfState(
        voters=[1, 4],
        voters_outgoing=[1, 2, 3],
        learners=[5],
        learners_next=[2],
        learners_outgoing=[4],
        auto_leave=True,
        begin_index=7,
        config_index=7,
    )


def test_more_than_one_voter_is_no_simple_change() -> None:
    # No simple change of today differs by two voters; the rule stands guard all the same.
    leader = a_leader()
    with pytest.raises(Error):
        leader.raft.propose_entries([change_entry(v2((RemoveNode, 9), (RemoveNode, 1)))] * 2)
    assert leader.last_index == 2


def test_a_proposed_begin_without_a_target_is_refused() -> None:
    leader = a_leader()
    with pytest.raises(Error):
        leader.node.propose_conf_change(b"", v1(BeginMembershipChange))
    assert leader.last_index == 2
