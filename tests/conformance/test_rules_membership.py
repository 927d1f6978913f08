"""Bugs that other Raft libraries had, as rules: membership (1 to 27).

Each test fails when its rule is broken. The rules are numbered through all files of this kind.
"""

from __future__ import annotations

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    Exists,
    MessageRefused,
    NoPendingMembershipChange,
    ProgressSet,
    ViolatesContract,
)
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfState,
    Entry,
    EntryConfChange,
    FinalizeMembershipChange,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
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
)
from tests.harness.network import Loop, Member, Network

JOINT = ConfState(voters=[3, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1)


def reason_of_refusal(member: Member, kind: int, node_id: int = 0) -> ConfChangeReason:
    """Why a leader does not take a change."""
    with pytest.raises(ConfChangeError) as caught:
        member.node.propose_conf_change(b"", v1(kind, node_id))  # type: ignore[arg-type]
    return caught.value.reason


def a_joint_leader(voters: list[int], auto: bool = False) -> Member:
    """Node 1 of {1,2,3}, leading, with a change to other voters applied."""
    leader = a_leader()
    leader.node.propose_membership_change((voters, []), auto_finalize=auto)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.is_in_membership_change()
    return leader


def a_follower_with(
    entry: Entry, commit: int = 1, joint: bool = False, applies: bool = True
) -> Member:
    """A node that was sent an entry at index 2."""
    member = a_member(conf_state=JOINT) if joint else a_member()
    member.applies = applies
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=commit)
    return member


def test_rule_01_no_change_before_the_inherited_tail_is_applied() -> None:
    leader = a_member(terms=[1, 1]).lead(acknowledged=False)
    assert reason_of_refusal(leader, AddNode, 4) is ConfChangeReason.CONF_PENDING
    leader.acknowledge_all()
    leader.node.propose_conf_change(b"", v1(AddNode, 4))


def test_rule_02_no_campaign_while_committed_changes_are_unapplied() -> None:
    member = a_follower_with(change_entry(v1(AddNode, 4), 2, 2), commit=2, applies=False)
    assert member.tick(40) == []
    assert member.campaign() == []
    assert (member.role, member.term) == ("Follower", 2)


def test_rule_03_no_campaign_by_transfer_either() -> None:
    member = a_follower_with(change_entry(v1(AddNode, 4), 2, 2), commit=2, applies=False)
    assert member.receive(MsgTimeoutNow, 2) == []
    assert (member.role, member.term) == ("Follower", 2)
    member.apply_now()
    member.receive(MsgTimeoutNow, 2)
    assert member.role == "Candidate"


def test_rule_04_entries_carry_the_commit_index_and_it_is_stored_with_them() -> None:
    leader = a_leader()
    for m in of_type(leader.propose(b"x"), MsgAppend):
        assert m.entries
        assert m.commit == leader.committed
    for loop in Loop:
        member = a_member(loop=loop)
        member.receive(
            MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]), commit=2
        )
        with_entries = only([rd for rd in member.readies if rd.entries])
        assert with_entries.hs is not None
        assert with_entries.hs.commit == 2
        member.restart()
        assert member.committed == 2


def test_rule_05_a_commit_only_the_shorter_log_knows_is_told_by_votes() -> None:
    # Nobody could be elected otherwise: this node by an old configuration, the other one never,
    # because its log is shorter, and it may not campaign before it has applied the change.
    candidate = a_follower_with(change_entry(v1(AddNode, 4), 2, 2))
    candidate.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([2], 3))
    candidate.campaign()
    assert candidate.role == "Candidate"
    candidate.receive(MsgRequestVoteResponse, 3, reject=True, commit=2, commit_term=2)
    assert candidate.committed == 2
    assert candidate.role == "Follower"
    assert candidate.raft.prs.voter_ids() == {1, 2, 3, 4}
    voter = a_follower_with(change_entry(v1(AddNode, 4), 2, 2))
    voter.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([2], 3))
    request = {"term": 3, "index": 2, "log_term": 2, "commit": 2, "commit_term": 2}
    assert only(voter.receive(MsgRequestVote, 3, **request)).reject
    assert voter.committed == 2
    # And who knows tells it: in its refusals and in its requests.
    knowing = a_follower_with(change_entry(v1(AddNode, 4), 2, 2), commit=2)
    refusal = only(knowing.receive(MsgRequestVote, 3, term=2, index=1, log_term=1))
    assert (refusal.reject, refusal.commit, refusal.commit_term) == (True, 2, 2)
    assert {(m.commit, m.commit_term) for m in knowing.campaign()} == {(2, 2)}


def test_rule_06_one_change_at_a_time() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(AddNode, 4))
    leader.pump()
    assert reason_of_refusal(leader, AddNode, 5) is ConfChangeReason.CONF_PENDING
    joint = a_joint_leader([1, 2])
    assert reason_of_refusal(joint, AddNode, 5) is ConfChangeReason.ALREADY_JOINT
    with pytest.raises(ConfChangeError):
        joint.node.propose_membership_change(([1, 2, 5], []))
    assert joint.last_index == 3


def test_rule_07_joint_decisions_need_both_majorities() -> None:
    leader = a_joint_leader([1, 4, 5])
    leader.propose(b"x")
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.committed == 3
    leader.receive(MsgAppendResponse, 5, index=4)
    assert leader.committed == 4
    # The majority of the union is none of them.
    prs = leader.raft.prs
    assert not prs.has_quorum({1, 2, 3})
    assert not prs.has_quorum({1, 4, 5})
    assert prs.has_quorum({1, 2, 4})
    candidate = a_member(conf_state=JOINT)
    candidate.campaign()
    candidate.receive(MsgRequestVoteResponse, 2)
    candidate.receive(MsgRequestVoteResponse, 3)
    assert candidate.role == "Candidate"
    candidate.receive(MsgRequestVoteResponse, 4)
    assert candidate.leads


def test_rule_07_joint_elections_are_lost_by_either_majority() -> None:
    for against in ((2, 3), (4, 5)):
        candidate = a_member(conf_state=JOINT)
        candidate.campaign()
        for node_id in against:
            candidate.receive(MsgRequestVoteResponse, node_id, reject=True)
        assert candidate.role == "Follower"


def test_rule_08_leaving_is_proposed_once_and_a_second_one_is_tolerated() -> None:
    leader = a_joint_leader([1, 2], auto=True)
    for _ in range(3):
        leader.propose(b"x")
        leader.receive(MsgAppendResponse, 3, index=3)
        leader.raft.commit_apply(leader.raft.raft_log.applied)
    kinds = [e.entry_type for e in leader.raft.raft_log.all_entries()]
    assert kinds.count(EntryConfChange) == 2
    leader.receive(MsgAppendResponse, 2, index=leader.last_index)
    assert not leader.raft.is_in_membership_change()
    before = leader.raft.prs.to_conf_state()
    assert leader.node.apply_conf_change(v1(FinalizeMembershipChange), 50) == before
    with pytest.raises(NoPendingMembershipChange):
        leader.raft.finalize_membership_change(v1(FinalizeMembershipChange))


def test_rule_09_a_new_leader_proposes_leaving_again() -> None:
    joint = ConfState(
        voters=[1, 2], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1, auto_leave=True
    )
    leader = a_member(conf_state=joint).lead(acknowledged=False)
    assert [e.entry_type for e in leader.raft.raft_log.all_entries()] == [0, 1]
    # And one that applies the Begin only after it was elected.
    late = a_member()
    late.applies = False
    begin = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 2]))
    late.receive(
        MsgAppend, 2, term=2, index=1, log_term=1, entries=[change_entry(begin, 2, 2)], commit=1
    )
    late.lead(acknowledged=False)
    late.acknowledge_all()
    assert late.last_index == 3
    late.apply_now()
    assert late.last_index == 4
    assert late.raft.raft_log.all_entries()[-1].entry_type == 1


def test_rule_10_leaving_is_sent_when_it_is_appended() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    leader.receive(MsgAppendResponse, 3, index=2)
    sent = of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgAppend)
    assert {m.to for m in sent if any(e.index == 4 for e in m.entries)} == {2, 3}


def test_rule_11_a_removed_leader_steps_down() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.role == "Follower"
    assert leader.tick(40) == []


def test_rule_12_the_survivor_of_two_learns_of_the_removal() -> None:
    network = Network(1, 2, skip_bcast_commit=True)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert network[2].raft.prs.voter_ids() == {2}
    network.tick_until(lambda: network[2].leads)


def test_rule_12_the_last_word_of_a_leader_that_leaves_is_the_commit() -> None:
    # Not left to the vote that it would still give the survivor: it may stop for good now.
    leader = a_leader(voters=[1, 2], skip_bcast_commit=True)
    leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    leader.pump()
    out = leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.role == "Follower"
    assert max(m.commit for m in of_type(out, MsgAppend)) == 3


def test_rule_13_who_left_goes_on_voting_for_those_who_have_not_heard() -> None:
    left = a_member(1, voters=[2, 3])
    answer = only(left.receive(MsgRequestVote, 2, term=5, index=1, log_term=1))
    assert not answer.reject
    assert not left.raft.promotable()


def test_rule_14_a_promotion_by_a_joint_change_keeps_the_progress() -> None:
    leader = a_leader(voters=[1, 2], learners=[3, 4])
    matched = {i: p.matched for i, p in leader.raft.prs.iter()}
    leader.node.propose_membership_change(([1, 2, 3, 4], []))
    leader.pump()
    for node_id in (2, 3, 4):
        leader.receive(MsgAppendResponse, node_id, index=3)
    for node_id in (2, 3, 4):
        leader.receive(MsgAppendResponse, node_id, index=4)
    prs = leader.raft.prs
    assert prs.voter_ids() == {1, 2, 3, 4}
    assert all(prs.progress[i].matched >= matched[i] for i in (1, 2, 3, 4))
    assert prs.maximal_committed_index() == (4, False)


def test_rule_15_a_begin_that_fails_leaves_no_trace() -> None:
    leader = a_leader()
    for configuration in (ConfState(voters=[1], learners=[1]), ConfState(learners=[2])):
        begin = v1(BeginMembershipChange, configuration=configuration, start_index=5)
        with pytest.raises((Exists, ConfigInvalid)):
            leader.raft.begin_membership_change(begin)
        assert leader.raft.pending_membership_change() is None
        assert leader.raft.prs.next_configuration is None
        assert set(leader.raft.prs.progress) == {1, 2, 3}
    leader.node.propose_membership_change(([1, 2], []))


def test_rule_15_a_second_begin_is_refused() -> None:
    leader = a_joint_leader([1, 2])
    begin = v1(BeginMembershipChange, configuration=ConfState(voters=[7]), start_index=9)
    with pytest.raises(ViolatesContract):
        leader.raft.begin_membership_change(begin)
    assert 7 not in leader.raft.prs.progress


def test_rule_16_finalize_is_applied_by_the_call_for_all_changes() -> None:
    leader = a_joint_leader([1, 2])
    after = leader.node.apply_conf_change(v1(FinalizeMembershipChange), 4)
    assert list(after.voters) == [1, 2]
    assert not leader.raft.is_in_membership_change()


def test_rule_17_a_snapshot_sets_or_clears_the_joint_state() -> None:
    member = a_member()
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(9, 3, JOINT))
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(19, 3, ((1, 2, 3), ())))
    assert member.raft.pending_membership_change() is None
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    assert not member.raft.has_pending_conf()


def test_rule_17_a_restart_keeps_the_joint_state() -> None:
    member = a_member(conf_state=JOINT)
    member.restart()
    assert member.raft.prs.to_conf_state() == JOINT


def test_rule_18_a_snapshot_ends_what_the_discarded_log_meant() -> None:
    rollback = change_entry(v1(RollbackMembershipChange), 2, 2)
    member = a_follower_with(rollback, joint=True)
    assert member.raft.prs.deciding_voters() == {1, 2, 3}
    snapshot = a_snapshot(9, 3, JOINT)
    member.node.step(Message(msg_type=MsgSnapshot, from_=2, to=1, term=3, snapshot=snapshot))
    assert member.raft.prs.deciding_voters() == {1, 2, 3, 4, 5}
    assert member.raft.membership_log == []


def test_rule_19_leaving_waits_until_the_joint_entry_is_committed_and_applied() -> None:
    begin = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 2]))
    member = a_follower_with(change_entry(begin, 2, 2))
    member.lead(acknowledged=False)
    assert [e.entry_type for e in member.raft.raft_log.all_entries()] == [1, 0]
    with pytest.raises(ConfChangeError) as caught:
        member.node.propose_finalize()
    assert caught.value.reason is ConfChangeReason.NOT_JOINT
    assert reason_of_refusal(member, FinalizeMembershipChange) is ConfChangeReason.NOT_JOINT
    member.acknowledge_all()
    assert [e.entry_type for e in member.raft.raft_log.all_entries()] == [1, 0, 1]


def test_rule_20_a_voter_never_asks_whether_the_candidate_is_a_member() -> None:
    for voter in (a_member(), a_member(4, learners=[4]), a_member(4)):
        answer = only(voter.receive(MsgRequestVote, 9, term=5, index=1, log_term=1))
        assert not answer.reject


def test_rule_21_a_removed_node_cannot_depose_a_leader_that_is_heard_of() -> None:
    member = a_member(check_quorum=True)
    member.receive(MsgHeartbeat, 2, term=2)
    assert member.receive(MsgRequestVote, 9, term=50, index=99, log_term=49) == []
    assert member.term == 2
    # The one that a leader hands over to may.
    vote = {"term": 3, "index": 1, "log_term": 1, "context": b"CampaignTransfer"}
    assert not only(member.receive(MsgRequestVote, 3, **vote)).reject


def test_rule_22_a_node_that_lost_its_disk_is_noticed() -> None:
    wiped = a_member()
    with pytest.raises(MessageRefused, match="no longer has"):
        wiped.receive(MsgHeartbeat, 2, term=2, commit=9)
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 3))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert reason_of_refusal(leader, AddNode, 3) is ConfChangeReason.REMOVED_ID


def test_rule_23_there_is_always_a_voter() -> None:
    leader = a_leader(voters=[1], learners=[2])
    with pytest.raises(ConfigInvalid):
        leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    with pytest.raises(ConfigInvalid):
        leader.node.propose_membership_change(([], [1, 2]))
    before = leader.raft.prs.to_conf_state()
    assert leader.node.apply_conf_change(v1(RemoveNode, 1), 9) == before
    empty = ProgressSet()
    assert empty.maximal_committed_index() == (0, False)
    assert not empty.has_quorum(set())


def test_rule_24_a_node_learns_its_role_from_the_snapshot_it_starts_with() -> None:
    newcomer = Network(1).add(4)
    newcomer.receive(MsgSnapshot, 1, term=2, snapshot=a_snapshot(9, 2, ((1, 2), (4,))))
    assert newcomer.raft.is_learner
    assert newcomer.campaign() == []


def test_rule_25_a_change_of_role_keeps_what_is_known_of_a_node() -> None:
    leader = a_leader(voters=[1, 2], learners=[3])
    leader.propose(b"x")
    progress = leader.raft.prs.progress[3]
    before = (progress.matched, progress.next_idx, progress.ins.count, progress.state)
    leader.raft.add_node(3)
    progress = leader.raft.prs.progress[3]
    assert (progress.matched, progress.next_idx, progress.ins.count, progress.state) == before


def test_rule_26_each_entry_is_counted_by_the_configuration_in_force() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 4, 5], []), auto_finalize=False)
    leader.pump()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.is_in_membership_change()
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.committed == 3
    for node_id in (4, 5):
        leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.committed == 4


def test_rule_27_a_transfer_to_one_who_leaves_is_given_up() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 3))
    leader.pump()
    leader.node.transfer_leader(3)
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.lead_transferee == 0
    leader.propose(b"x")
    demoting = a_leader()
    demoting.node.propose_membership_change(([1, 2], [3]))
    demoting.pump()
    demoting.acknowledge_all(2)
    demoting.node.transfer_leader(3)
    demoting.receive(MsgAppendResponse, 2, index=4)
    demoting.receive(MsgAppendResponse, 3, index=3)
    assert demoting.raft.prs.learner_ids() == {3}
    assert demoting.raft.lead_transferee == 0
