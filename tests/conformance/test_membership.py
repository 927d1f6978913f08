"""Changes of membership: simple and joint, in every form, with all that may cross them (§6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    Configuration,
    Exists,
    InvariantViolation,
    NoPendingMembershipChange,
    NotExists,
    ProposalDropped,
    RawNode,
    ViolatesContract,
    _membership,
)
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    Auto,
    BeginMembershipChange,
    ConfChange,
    ConfChangeTransition,
    ConfChangeV2,
    ConfState,
    EntryConfChange,
    Explicit,
    FinalizeMembershipChange,
    Implicit,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVoteResponse,
    MsgSnapshot,
    RemoveNode,
    RollbackMembershipChange,
)
from tests.harness.builders import (
    a_leader,
    a_member,
    a_snapshot,
    change_entry,
    entries_of,
    of_type,
    only,
    v1,
    v2,
)
from tests.harness.network import Loop, Member, Network


@pytest.fixture(params=Loop, ids=lambda loop: loop.value)
def loop(request: pytest.FixtureRequest) -> Loop:
    """Each of the application's loops."""
    found: Loop = request.param
    return found


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


# One at a time.


def test_a_voter_is_added(loop: Loop) -> None:
    network = Network(1, 2, loop=loop)
    network.elect(1)
    network.add(3)
    change(network, v1(AddNode, 3))
    assert shapes(network) == {"(1 2 3)"}
    network.stop(2)
    network.propose(1, b"x")
    assert network[1].data == [b"x"]


def test_a_learner_is_added_and_promoted(loop: Loop) -> None:
    network = Network(1, 2, loop=loop)
    network.elect(1)
    network.add(3)
    change(network, v1(AddLearnerNode, 3))
    assert shapes(network) == {"(1 2 | 3)"}
    matched = network[1].raft.prs.progress[3].matched
    assert matched > 0
    change(network, v1(AddNode, 3))
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.progress[3].matched >= matched


def test_a_voter_is_removed(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    change(network, v1(RemoveNode, 3))
    assert shapes(network, (1, 2)) == {"(1 2)"}
    assert 3 not in network[1].raft.prs.progress


def test_a_learner_is_removed() -> None:
    network = Network(1, 2, learners=[3])
    network.elect(1)
    change(network, v1(RemoveNode, 3))
    assert shapes(network, (1, 2)) == {"(1 2)"}


def test_a_removed_node_hears_of_its_removal() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 3))
    network.run()
    assert shape(network[3]) == "(1 2)"
    assert not network[3].raft.promotable()
    network.tick(times=40)
    assert network[1].leads
    assert network[1].term == 2


@pytest.mark.parametrize("held_back_by", ["a probe", "a full window"])
def test_who_leaves_hears_of_it_even_if_it_is_paused(held_back_by: str) -> None:
    leader = a_leader(voters=[1, 2, 3], max_inflight_msgs=2)
    if held_back_by == "a probe":
        leader.raft.prs.progress[3].become_probe()
    else:
        leader.propose(b"x")
    leader.node.propose_conf_change(b"", v1(RemoveNode, 3))
    leader.pump()
    assert leader.raft.prs.progress[3].is_paused()
    sent = of_type(leader.receive(MsgAppendResponse, 2, index=leader.last_index), MsgAppend)
    assert shape(leader) == "(1 2)"
    last_word = only([m for m in sent if m.to == 3])
    # The change is in it, or in what is under way, and so is the news that it is committed.
    assert last_word.index + len(last_word.entries) == leader.last_index
    assert last_word.commit == leader.committed == leader.last_index


def test_removing_a_node_may_commit_what_waited() -> None:
    leader = a_leader(voters=[1, 2, 3, 4])
    leader.node.propose_conf_change(b"", v1(RemoveNode, 4))
    leader.pump()
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    assert leader.committed == 3
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(RemoveNode, 2))
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == leader.last_index == 4


def test_the_last_voter_cannot_be_removed() -> None:
    leader = a_leader(voters=[1], learners=[2])
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v2((RemoveNode, 1)))
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v2((AddLearnerNode, 1)))
    assert leader.last_index == 2


def test_who_is_there_cannot_be_added() -> None:
    leader = a_leader(learners=[4])
    for kind, node_id, where in (
        (AddNode, 2, "voters"),
        (AddLearnerNode, 4, "learners"),
        (AddLearnerNode, 2, "voters"),
    ):
        with pytest.raises(Exists) as caught:
            leader.node.propose_conf_change(b"", v1(kind, node_id))
        assert (caught.value.id, caught.value.set) == (node_id, where)


def test_removing_a_stranger_changes_nothing() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(RemoveNode, 9))
    assert shapes(network) == {"(1 2 3)"}


def test_a_change_of_nobody_changes_nothing() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(AddNode, 0))
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.config_index == 0


def test_a_change_takes_effect_when_it_is_applied() -> None:
    leader = a_leader(voters=[1, 2])
    leader.applies = False
    leader.node.propose_conf_change(b"", v1(AddNode, 3))
    leader.pump()
    assert shape(leader) == "(1 2)"
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.committed == 3
    assert shape(leader) == "(1 2)"
    leader.apply_now()
    assert shape(leader) == "(1 2 3)"


def test_a_new_node_is_probed_at_once() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddNode, 3))
    leader.pump()
    sent = leader.receive(MsgAppendResponse, 2, index=3)
    assert 3 in {m.to for m in of_type(sent, MsgAppend)}
    assert leader.raft.prs.progress[3].recent_active


def test_one_change_at_a_time() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddNode, 3))
    leader.pump()
    assert refused(leader, v1(AddNode, 4)) is ConfChangeReason.CONF_PENDING
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.node.propose_conf_change(b"", v1(AddNode, 4))


def test_two_changes_in_one_batch_are_refused() -> None:
    leader = a_leader()
    entries = [change_entry(v1(AddNode, 4)), change_entry(v1(AddNode, 5))]
    with pytest.raises(ConfChangeError):
        leader.raft.propose_entries(entries)
    assert leader.last_index == 2


def test_a_new_leader_waits_until_its_inherited_tail_is_applied() -> None:
    member = a_member(terms=[1, 1]).lead(acknowledged=False)
    assert refused(member, v1(AddNode, 4)) is ConfChangeReason.CONF_PENDING
    member.acknowledge_all()
    member.node.propose_conf_change(b"", v1(AddNode, 4))


def test_an_unapplied_change_in_the_log_is_pending() -> None:
    leader = a_leader()
    leader.raft.pending_conf_index = 0
    leader.raft.membership_log = list(leader.raft.membership_log)
    leader.node.propose_conf_change(b"", v1(AddNode, 4))
    leader.raft.pending_conf_index = 0
    assert refused(leader, v1(AddNode, 5)) is ConfChangeReason.UNAPPLIED


def test_a_change_is_forwarded_to_the_leader() -> None:
    network = Network(1, 2)
    network.elect(1)
    network.add(3)
    change(network, v1(AddNode, 3), at=2)
    assert shapes(network) == {"(1 2 3)"}


def test_a_refused_change_of_a_follower_is_in_no_log() -> None:
    network = Network(1, 2)
    network.elect(1)
    network[2].node.propose_conf_change(b"", v1(AddNode, 1))
    network.run()
    assert isinstance(network.refused[0][1], Exists)
    assert network[1].last_index == 2


def test_ids_that_left_may_not_return() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(RemoveNode, 3))
    assert network[2].raft.prs.removed == {3}
    assert refused(network[1], v1(AddNode, 3)) is ConfChangeReason.REMOVED_ID
    assert refused(network[1], v1(AddLearnerNode, 3)) is ConfChangeReason.REMOVED_ID
    assert refused(network[1], v2((AddNode, 3))) is ConfChangeReason.REMOVED_ID
    with pytest.raises(ConfChangeError):
        network[1].node.propose_membership_change(([1, 2, 3], []))


def test_ids_that_left_may_return_where_that_is_allowed() -> None:
    network = Network(1, 2, 3, allow_removed_ids=True)
    network.elect(1)
    change(network, v1(RemoveNode, 3))
    change(network, v1(AddNode, 3))
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.removed == frozenset()


def test_who_left_is_remembered_across_snapshots_and_restarts() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(RemoveNode, 3))
    network[1].restart()
    assert network[1].raft.prs.removed == {3}
    assert list(network[1].storage.snapshot(0, 0).metadata.conf_state.removed) == [3]


def test_a_change_may_be_tied_to_the_configuration_it_was_made_for() -> None:
    network = Network(1, 2)
    network.elect(1)
    change(network, v1(AddLearnerNode, 3))
    made_at = network[1].raft.prs.config_index
    assert made_at == 3
    assert refused(network[1], v1(AddNode, 4, expected_config_index=2)) is (
        ConfChangeReason.CONFIG_CHANGED
    )
    with pytest.raises(ConfChangeError, match="look at it"):
        network[1].node.propose_membership_change(([1], []), expected_config_index=9)
    change(network, v1(AddNode, 4, expected_config_index=made_at))
    assert shape(network[1]) == "(1 2 4 | 3)"


def test_the_leader_steps_down_when_it_is_removed(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert network[1].role == "Follower"
    assert shapes(network, (1, 2, 3)) == {"(2 3)"}
    network.tick_until(lambda: network[2].leads or network[3].leads)
    assert network[1].role == "Follower"


def test_the_leader_of_two_is_removed_and_the_other_goes_on() -> None:
    network = Network(1, 2)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert shape(network[2]) == "(2)"
    network.tick_until(lambda: network[2].leads)
    network.propose(2, b"x")
    assert network[2].data == [b"x"]


def test_the_leader_of_two_is_removed_and_its_last_word_is_lost() -> None:
    network = Network(1, 2)
    network.elect(1)
    network.keep_if(lambda m: not (m.to == 2 and m.commit >= 3))
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert network[1].role == "Follower"
    assert shape(network[2]) == "(1 2)"
    network.heal()
    # The one that left still votes, so the other learns by an election.
    network.tick_until(lambda: shape(network[2]) == "(2)")
    network.tick_until(lambda: network[2].leads)


def test_stepping_down_on_removal_may_be_switched_off() -> None:
    network = Network(1, 2, 3, step_down_on_removal=False)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert network[1].leads
    with pytest.raises(ProposalDropped):
        network.propose(1)
    network[1].tick(30)


def test_followers_forget_a_leader_that_left() -> None:
    member = a_member()
    entry = change_entry(v1(RemoveNode, 2), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry])
    assert member.raft.leader_id == 2
    member.receive(MsgAppend, 2, index=2, log_term=2, commit=2)
    assert member.raft.leader_id == 0


# In one joint step.


def test_a_joint_change_replaces_everyone_but_one(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for node_id in (4, 5):
        network.add(node_id)
    network[1].node.propose_membership_change(([1, 4, 5], [2]))
    network.run()
    network.tick(times=4)
    assert shapes(network, (1, 2, 4, 5)) == {"(1 4 5 | 2)"}
    network.stop(2, 3)
    network.propose(1, b"x")
    network.tick(times=2)
    assert network[5].data[-1:] == [b"x"]


def test_everyone_may_be_replaced(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for node_id in (4, 5, 6):
        network.add(node_id)
    network[1].node.propose_membership_change(Configuration([4, 5, 6], []))
    network.run()
    network.tick(times=6)
    leader = network.leader()
    assert leader is not None
    assert leader.id in (4, 5, 6)
    assert shapes(network, (4, 5, 6)) == {"(4 5 6)"}


def test_all_learners_become_voters_at_once() -> None:
    network = Network(1, learners=[2, 3])
    network.elect(1)
    network.propose(1, b"x")
    matched = [network[1].raft.prs.progress[i].matched for i in (2, 3)]
    network[1].node.propose_membership_change(([1, 2, 3], []))
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert all(
        network[1].raft.prs.progress[i].matched >= m for i, m in zip((2, 3), matched, strict=True)
    )


def test_a_voter_is_demoted_by_a_joint_change() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], [3]), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    # Until the joint state is left it votes as before.
    assert leader.raft.prs.voter_ids() == {1, 2, 3}
    assert leader.raft.prs.learner_ids() == frozenset()
    assert list(leader.raft.prs.to_conf_state().learners_next) == [3]
    leader.node.propose_finalize()
    leader.pump()
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert shape(leader) == "(1 2 | 3)"


def test_the_joint_state_needs_both_majorities_to_commit() -> None:
    leader = a_leader(voters=[1, 2, 3])
    leader.node.propose_membership_change(([1, 4, 5], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert shape(leader) == "(1 2 3)&(1 4 5)"
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.committed == 3
    leader.receive(MsgAppendResponse, 4, index=4)
    assert leader.committed == 4


def test_the_joint_state_needs_both_majorities_to_elect() -> None:
    joint = ConfState(voters=[1, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    for votes, role in (
        ((2, 3), "Candidate"),
        ((4, 5), "Candidate"),
        ((2, 4), "Leader"),
        ((3, 5), "Leader"),
    ):
        member = a_member(conf_state=joint)
        member.campaign()
        for node_id in votes:
            member.receive(MsgRequestVoteResponse, node_id)
        assert member.role == role
    for refusals in ((2, 3), (4, 5)):
        member = a_member(conf_state=joint)
        member.campaign()
        for node_id in refusals:
            member.receive(MsgRequestVoteResponse, node_id, reject=True)
        assert member.role == "Follower"


def test_the_joint_state_needs_both_majorities_for_check_quorum() -> None:
    joint = ConfState(voters=[1, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    for heard, role in (((2, 3), "Follower"), ((4, 5), "Follower"), ((2, 5), "Leader")):
        member = a_member(conf_state=joint, check_quorum=True).lead()
        member.tick(10)
        for node_id in heard:
            member.heard(node_id)
        member.tick(10)
        assert member.role == role


def test_leaving_is_proposed_once() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2, 4], []))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.last_index == 4
    for _ in range(3):
        leader.propose(b"x")
        leader.receive(MsgAppendResponse, 2, index=3)
    kinds = [e.entry_type for e in leader.raft.raft_log.all_entries()]
    assert kinds.count(EntryConfChange) == 2


def test_leaving_is_sent_at_once() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    sent = of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgAppend)
    assert any(e.index == 4 and e.entry_type for m in sent for e in m.entries)


def test_leaving_is_proposed_by_the_next_leader_if_it_was_lost(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.keep_if(lambda m: not any(e.index == 4 for e in m.entries))
    network[1].node.propose_membership_change(([1, 2, 3], [4]))
    network.run()
    network.tick(1)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3)&(1 2 3 | 4)"}
    network.stop(1)
    network.heal()
    network.elect(2)
    network.tick(2, 3, times=2)
    assert shapes(network, (2, 3)) == {"(1 2 3 | 4)"}


def test_a_held_change_stays_joint_until_it_is_told(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []), auto_finalize=False)
    network.run()
    network.tick(times=50)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3)&(1 2)"}
    network.elect(2)
    network.tick(times=3)
    assert shape(network[2]) == "(1 2 3)&(1 2)"
    network[2].node.propose_finalize()
    network.run()
    network.tick(times=2)
    assert shapes(network, (1, 2)) == {"(1 2)"}


def test_what_may_not_be_proposed_while_joint() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    assert refused(leader, v1(FinalizeMembershipChange)) is ConfChangeReason.NOT_JOINT
    leader.receive(MsgAppendResponse, 2, index=3)
    for what in (
        v1(AddNode, 4),
        v1(RemoveNode, 2),
        v1(BeginMembershipChange, configuration=ConfState(voters=[1])),
        v2((AddNode, 4)),
        v2((AddNode, 4), (AddNode, 5)),
    ):
        assert refused(leader, what) is ConfChangeReason.ALREADY_JOINT
    with pytest.raises(ConfChangeError):
        leader.node.propose_membership_change(([1], []))


def test_what_may_not_be_proposed_when_not_joint() -> None:
    leader = a_leader()
    for what in (v1(FinalizeMembershipChange), v1(RollbackMembershipChange), v2()):
        assert refused(leader, what) is ConfChangeReason.NOT_JOINT
    for call in (leader.node.propose_finalize, leader.node.propose_rollback):
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.NOT_JOINT


def test_impossible_targets_are_refused_and_change_nothing() -> None:
    leader = a_leader()
    for target, error in (
        (([], [1]), ConfigInvalid),
        (([1, 2], [2]), Exists),
        (([0, 1], []), ConfigInvalid),
    ):
        with pytest.raises(error):
            leader.node.propose_membership_change(target)
    with pytest.raises(ConfChangeError) as caught:
        leader.node.propose_membership_change(([1, 2], []), successor=3)
    assert caught.value.reason is ConfChangeReason.UNKNOWN_MEMBER
    with pytest.raises(ConfChangeError) as caught:
        leader.node.propose_membership_change(([1, 2], [4]), promotable=[5])
    assert caught.value.reason is ConfChangeReason.INVALID
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v1(BeginMembershipChange))
    assert leader.last_index == 2
    assert not leader.raft.has_pending_conf()
    leader.node.propose_membership_change(([1, 2], []))


def test_only_the_leader_takes_the_calls() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    calls: tuple[Call, ...] = (
        lambda: member.node.propose_membership_change(([1], [])),
        member.node.propose_finalize,
        member.node.propose_rollback,
    )
    for call in calls:
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.NOT_LEADER


def test_the_same_members_again_are_a_change_all_the_same() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2, 3], []))
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.config_index == 4


# ConfChangeV2.


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


# Rollback.


def joint_network(loop: Loop = Loop.SIMPLE, **settings: Any) -> Network:
    """{1,2,3} on its way to {3,4,5}, held; 4 and 5 never came up."""
    network = Network(1, 2, 3, loop=loop, **settings)
    network.elect(1)
    network[1].node.propose_membership_change(([3, 4, 5], []), auto_finalize=False)
    network.run()
    network.tick(1)
    assert shapes(network) == {"(1 2 3)&(3 4 5)"}
    return network


def test_a_change_whose_new_majority_is_dead_can_be_rolled_back(loop: Loop) -> None:
    network = joint_network(loop)
    network.propose(1, b"stuck")
    assert network[1].data == []
    network[1].node.propose_rollback(b"ctx")
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[2].data == [b"stuck"]
    network.propose(1, b"x")
    assert network[1].data == [b"stuck", b"x"]
    assert network[1].raft.prs.removed == frozenset()


def test_a_rollback_restores_learners() -> None:
    network = Network(1, 2, learners=[3, 4])
    network.elect(1)
    network[1].node.propose_membership_change(([1, 3], [2]), auto_finalize=False)
    network.run()
    network.tick(1)
    network[1].node.propose_rollback()
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 | 3 4)"}


def test_no_rollback_after_a_finalize_nor_a_finalize_after_a_rollback() -> None:
    network = joint_network()
    network[1].node.propose_rollback()
    for call in (network[1].node.propose_finalize, network[1].node.propose_rollback):
        with pytest.raises(ConfChangeError) as caught:
            call()
        assert caught.value.reason is ConfChangeReason.ROLLBACK_IN_LOG
    assert refused(network[1], v1(FinalizeMembershipChange)) is ConfChangeReason.ROLLBACK_IN_LOG
    assert refused(network[1], v2()) is ConfChangeReason.ROLLBACK_IN_LOG
    network = joint_network()
    network[1].raft.lead_transferee = 0
    network[1].raft.handover_tried = True
    network[1].node.propose_finalize()
    with pytest.raises(ConfChangeError) as caught:
        network[1].node.propose_rollback()
    assert caught.value.reason is ConfChangeReason.FINALIZE_IN_LOG
    assert refused(network[1], v1(RollbackMembershipChange)) is ConfChangeReason.FINALIZE_IN_LOG


def test_a_rollback_is_adopted_when_appended_and_given_up_when_truncated() -> None:
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    member = a_member(conf_state=joint)
    rollback = change_entry(v1(RollbackMembershipChange), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    assert member.raft.is_in_membership_change()
    member.campaign()
    member.receive(MsgRequestVoteResponse, 2)
    assert member.leads
    other = a_member(conf_state=joint)
    other.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    other.receive(MsgAppend, 3, term=3, index=1, log_term=1, entries=entries_of([3]))
    assert other.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_survives_a_restart() -> None:
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    member = a_member(conf_state=joint)
    rollback = change_entry(v1(RollbackMembershipChange), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[rollback])
    member.restart()
    assert member.raft.prs.deciding_voters() == {1, 2, 3}


def test_a_campaign_for_rollback_needs_the_old_majority_alone(loop: Loop) -> None:
    network = joint_network(loop)
    network.stop(1)
    network.campaign(2)
    assert network[2].role == "Candidate"
    network[2].node.campaign_for_rollback()
    network.run()
    assert network[2].leads
    network.tick(2, 3, times=2)
    assert shapes(network, (2, 3)) == {"(1 2 3)"}


def test_a_campaign_for_rollback_works_with_pre_vote() -> None:
    network = joint_network(pre_vote=True)
    network.stop(1)
    network[2].node.campaign_for_rollback()
    network.run()
    assert network[2].leads
    assert shape(network[2]) == "(1 2 3)"


def test_the_right_to_the_old_majority_ends_with_the_candidacy() -> None:
    network = joint_network()
    network.stop(1, 3)
    member = network[2]
    member.node.campaign_for_rollback()
    network.run()
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    member.node.campaign()
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}
    member.node.campaign_for_rollback()
    member.receive(MsgHeartbeat, 3, term=member.term)
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_who_may_not_campaign_for_a_rollback() -> None:
    def reason(member: Member) -> ConfChangeReason:
        term = member.term
        with pytest.raises(ConfChangeError) as caught:
            member.node.campaign_for_rollback()
        assert member.term == term
        return caught.value.reason

    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)
    assert reason(a_leader()) is ConfChangeReason.INVALID
    assert reason(a_member()) is ConfChangeReason.NOT_JOINT
    assert reason(a_member(4, conf_state=joint)) is ConfChangeReason.UNKNOWN_MEMBER
    for kind, expected in (
        (FinalizeMembershipChange, ConfChangeReason.FINALIZE_IN_LOG),
        (RollbackMembershipChange, ConfChangeReason.ROLLBACK_IN_LOG),
    ):
        member = a_member(conf_state=joint)
        entry = change_entry(v1(kind), index=2, term=2)
        member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry])
        assert reason(member) is expected
    member = a_member(conf_state=joint)
    member.applies = False
    entry = change_entry(v1(AddNode, 9), index=2, term=2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert reason(member) is ConfChangeReason.UNAPPLIED
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_of_an_earlier_change_disarms_no_later_one() -> None:
    # It is still in the log, before the Begin that is applied.
    joint = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=4, config_index=4)
    entries = [
        change_entry(v1(BeginMembershipChange, configuration=ConfState(voters=[9])), 2, 1),
        change_entry(v1(RollbackMembershipChange), 3, 1),
        change_entry(v1(BeginMembershipChange, configuration=ConfState(voters=[3, 4, 5])), 4, 1),
    ]
    member = a_member(conf_state=joint)
    member.raft.raft_log.append(entries)
    member.raft.membership_log = []

    _membership.note_appended(member.raft, entries)
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}


def test_a_rollback_by_the_ordinary_way_of_proposing() -> None:
    network = joint_network()
    change(network, v1(RollbackMembershipChange))
    assert shapes(network) == {"(1 2 3)"}


def test_a_second_finalize_or_rollback_is_harmless() -> None:
    leader = a_leader()
    for kind in (FinalizeMembershipChange, RollbackMembershipChange):
        before = leader.raft.prs.to_conf_state()
        assert leader.node.apply_conf_change(v1(kind), 9) == before
    with pytest.raises(NoPendingMembershipChange):
        leader.raft.finalize_membership_change(v1(FinalizeMembershipChange))


# Promotion when caught up.


def test_a_marked_learner_is_promoted_when_it_has_caught_up(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    for i in range(20):
        network.propose(1, b"%d" % i)
    network.add(4)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network.run()
    network.tick(times=5)
    assert shapes(network) == {"(1 2 3 4)"}
    assert network[4].raft.prs.promotable == frozenset()


def test_an_unmarked_learner_stays_one() -> None:
    network = Network(1, 2, learners=[3])
    network.elect(1)
    network.tick(times=60)
    assert shapes(network) == {"(1 2 | 3)"}


def test_several_marked_learners_are_promoted_together() -> None:
    network = Network(1)
    network.elect(1)
    for node_id in (2, 3):
        network.add(node_id)
    network[1].node.propose_membership_change(([1], [2, 3]), promotable=[2, 3])
    network.run()
    network.tick(times=6)
    assert shapes(network) == {"(1 2 3)"}


def test_a_mark_outlives_leaders() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network.run()
    network.tick(times=2)
    assert network[2].raft.prs.promotable == {4}
    network.stop(1)
    network.elect(2)
    network.add(4)
    network.start(1)
    network.tick(times=6)
    assert shapes(network) == {"(1 2 3 4)"}


def test_a_mark_outlives_restarts_and_snapshots() -> None:
    network = Network(1)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4, promote_when_caught_up=True))
    network[1].restart()
    assert network[1].raft.prs.promotable == {4}
    assert list(network[1].storage.snapshot(0, 0).metadata.conf_state.promotable) == [4]


def test_a_slow_learner_is_not_promoted() -> None:
    leader = a_leader(voters=[1, 2], catch_up_round_ticks=4)
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    index = leader.last_index
    for _ in range(12):
        # Each round takes too long: what it was to reach arrives only after 6 ticks.
        leader.tick(6)
        leader.receive(MsgAppendResponse, 3, index=index)
        leader.propose(b"x")
        index = leader.last_index
        leader.receive(MsgAppendResponse, 2, index=index)
    assert shape(leader) == "(1 2 | 3)"
    leader.receive(MsgAppendResponse, 3, index=index)
    for _ in range(4):
        leader.tick()
    leader.acknowledge_all(2, 3)
    assert shape(leader) == "(1 2 3)"


def test_a_silent_learner_is_not_promoted() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.receive(MsgAppendResponse, 3, index=3)
    leader.raft.prs.progress[3].recent_active = False
    leader.tick(3)
    assert leader.last_index == 3


def test_nobody_is_promoted_while_something_else_changes() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 4))
    leader.pump()
    leader.receive(MsgAppendResponse, 3, index=4)
    leader.tick(3)
    assert leader.last_index == 4
    leader.receive(MsgAppendResponse, 2, index=4)
    leader.tick(3)
    assert leader.last_index == 5


def test_nobody_is_promoted_during_a_transfer() -> None:
    leader = a_leader(voters=[1, 2])
    leader.node.propose_conf_change(b"", v1(AddLearnerNode, 3, promote_when_caught_up=True))
    leader.pump()
    leader.acknowledge_all(2, 3)
    leader.node.transfer_leader(2)
    leader.tick(5)
    assert leader.last_index == 3


def test_marks_belong_to_learners_only() -> None:
    # A rollback makes a voter again of one that was to become a learner with a mark.
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], [3]), auto_finalize=False, promotable=[3])
    network.run()
    network.tick(1)
    network[1].node.propose_rollback()
    network.run()
    network.tick(times=2)
    assert shapes(network) == {"(1 2 3)"}
    assert network[1].raft.prs.promotable == frozenset()
    leader = a_leader(voters=[1], learners=[2])
    leader.raft.prs.promotable = frozenset([2])
    leader.raft.add_node(2)
    assert leader.raft.prs.promotable == frozenset()


# The crate's own calls.


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


# Restarts and snapshots in the joint state.


def test_a_restart_in_the_joint_state(loop: Loop) -> None:
    network = joint_network(loop)
    network.stop(1, 2, 3)
    network.start(1, 2, 3)
    assert shapes(network) == {"(1 2 3)&(3 4 5)"}
    assert {m.raft.prs.begin_index for m in network.members.values()} == {3}
    for node_id in (4, 5):
        network.add(node_id)
    network.tick(times=3)
    network.tick_until(lambda: network.leader() is not None)
    leader = network.leader()
    assert leader is not None
    network.tick(times=5)
    leader.node.propose_finalize()
    network.run()
    network.tick(times=25)
    assert shapes(network, (3, 4, 5)) == {"(3 4 5)"}


def test_a_restart_from_the_old_forms_joint_state() -> None:
    member = a_member()
    pending = (ConfState(voters=[1, 4], learners=[2]), 1)
    member.storage.wl().set_conf_state(ConfState(voters=[1, 2, 3]), pending)

    node = RawNode(member.config, member.storage)
    conf_state = node.raft.prs.to_conf_state()
    assert list(conf_state.voters_outgoing) == [1, 2, 3]
    assert list(conf_state.voters) == [1, 4]
    assert list(conf_state.learners_next) == [2]
    assert conf_state.auto_leave


def test_a_node_that_joins_in_the_joint_state_gets_it_by_snapshot() -> None:
    network = joint_network()
    network.add(4)
    network.tick(times=3)
    assert shape(network[4]) == "(1 2 3)&(3 4 5)"
    network.propose(1, b"x")
    network.tick(times=2)
    assert network[4].data == [b"x"]


def test_a_snapshot_of_after_the_change_ends_the_joint_state() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2, 3], [4]), auto_finalize=False)
    network.run()
    network.tick(1)
    network.isolate(3)
    network[1].node.propose_finalize()
    network.run()
    network.tick(1, 2)
    network.propose(1)
    network[1].compact(network[1].committed)
    network.heal()
    network.tick(1, times=3)
    assert shapes(network, (1, 2, 3)) == {"(1 2 3 | 4)"}


def test_entries_are_applied_again_after_a_restart_without_effect() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    change(network, v1(AddLearnerNode, 4))
    change(network, v1(RemoveNode, 4))
    member = network[1]
    before = member.raft.prs.to_conf_state()
    for index, entry in sorted(member.applied.items()):
        if entry.entry_type:
            assert member.node.apply_conf_entry(entry) == before
            assert index <= member.raft.prs.config_index


def test_a_snapshot_with_a_later_configuration_makes_earlier_entries_void() -> None:
    member = a_member()
    conf_state = ConfState(voters=[1, 2, 4], config_index=8)

    member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(9, 2, conf_state))
    assert member.node.apply_conf_change(v1(AddNode, 9), 5) == conf_state


def test_a_begin_is_given_its_real_index() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.propose(1)
    begin = v1(
        BeginMembershipChange, configuration=ConfState(voters=[1, 2]), start_index=77, hold=True
    )
    change(network, begin, at=2)
    stored = ConfChange.FromString(network[2].applied[4].data)
    assert stored.start_index == 4
    assert {m.raft.prs.begin_index for m in network.members.values()} == {4}


def test_old_followers_of_a_change_are_told_before_they_are_forgotten() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []))
    network.run()
    network.tick(times=2)
    assert shape(network[3]) == "(1 2)"
    assert not network[3].raft.promotable()


def test_a_change_applied_at_the_wrong_place_is_an_error_everywhere_alike() -> None:
    for member in (a_leader(), a_member()):
        before = member.raft.prs.to_conf_state()
        bad = v1(BeginMembershipChange, configuration=ConfState(voters=[1], learners=[1]))
        assert member.node.apply_conf_change(bad, 9) == before
        assert member.node.apply_conf_change(
            v2((RemoveNode, 1), (RemoveNode, 2), (RemoveNode, 3)), 9
        ) == (before)


def test_committed_but_unapplied_beginnings_block_elections() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[2].applies = False
    network[1].node.propose_membership_change(([1, 2], []), auto_finalize=False)
    network.run()
    network.tick(1)
    network[2].node.campaign()
    assert network[2].role == "Follower"
    network.send(network[2].apply_now())
    network[2].node.campaign()
    assert network[2].role == "Candidate"


def test_a_follower_that_learns_of_a_commit_by_a_vote_gives_up_its_candidacy() -> None:
    member = a_member()
    entry = change_entry(v1(AddNode, 4), index=2, term=1)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=[entry], commit=1)
    member.campaign()
    assert member.role == "Candidate"
    member.receive(MsgRequestVoteResponse, 3, reject=True, commit=2, commit_term=1)
    assert member.role == "Follower"
    assert shape(member) == "(1 2 3 4)"


def test_raft_refuses_to_be_without_its_committed_configuration() -> None:
    with pytest.raises(InvariantViolation):
        a_member(commit=5)


def test_a_learners_role_follows_its_configuration() -> None:
    network = Network(1, 2, learners=[3])
    network.elect(1)
    assert network[3].raft.is_learner
    network[1].node.propose_membership_change(([1, 3], [2]))
    network.run()
    network.tick(times=3)
    assert not network[3].raft.is_learner
    assert network[2].raft.is_learner
    network[3].node.transfer_leader(3)
    network.run()
    assert network[3].leads


def test_heartbeats_reach_everyone_of_both_configurations() -> None:
    network = joint_network()
    sent = of_type(network[1].tick(), MsgHeartbeat)
    assert {m.to for m in sent} == {2, 3, 4, 5}


def test_the_proposal_that_finishes_needs_no_place_in_the_account() -> None:
    network = Network(1, 2, 3, max_uncommitted_size=10, max_size_per_msg=10)
    network.elect(1)
    network[1].node.propose_membership_change(([1, 2], []))
    network.run()
    network.tick(times=2)
    assert shapes(network, (1, 2)) == {"(1 2)"}
    assert network[1].raft.uncommitted_size == 0


def test_a_change_is_one_entry_with_its_context() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), context=b"who")
    entry = only_entry(leader)
    assert entry == b"who"


def only_entry(leader: Member) -> bytes:
    """The context of the one membership entry in the log."""
    found = [e for e in leader.raft.raft_log.all_entries() if e.entry_type]
    assert len(found) == 1
    return found[0].context


def test_a_single_node_changes_its_own_group() -> None:
    network = Network(1)
    network.elect(1)
    network.add(2)
    change(network, v1(AddNode, 2))
    assert shapes(network) == {"(1 2)"}
    assert only([m for m in network[1].tick() if m.to == 2]).msg_type == MsgHeartbeat
