"""Details of roles and membership that generic mutation showed to be held by no test."""

from __future__ import annotations

import pytest

from raft import (
    ConfChangeError,
    ConfigInvalid,
    Configuration,
    Progress,
    ProgressSet,
    ReadOnlyOption,
    StateRole,
    ViolatesContract,
    _membership,
)
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    EntryConfChange,
    FinalizeMembershipChange,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgTimeoutNow,
    RemoveNode,
    RollbackMembershipChange,
)
from raft.storage import GetEntriesContext
from tests.harness.builders import (
    a_leader,
    a_member,
    a_storage,
    change_entry,
    of_type,
    v1,
)
from tests.harness.network import Member

# Elections.


def test_each_question_of_a_pre_candidate_draws_another_timeout() -> None:
    member = a_member(pre_vote=True)
    drawn = set()
    for _ in range(8):
        member.campaign()
        assert member.state is StateRole.PreCandidate
        drawn.add(member.raft.randomized_election_timeout)
    assert len(drawn) > 1


@pytest.mark.parametrize("term", [0, 1])
def test_only_who_was_up_before_keeps_quiet_for_a_lease(term: int) -> None:
    member = a_member(check_quorum=True, read_only_option=ReadOnlyOption.LeaseBased)
    member.storage.wl().mut_hard_state().term = term
    member.storage.wl().mut_hard_state().commit = term
    assert member._start().raft.quiet_until == (10 if term else 0)


# Handing over.


def test_who_may_not_lead_when_asked_does_not_take_over_later() -> None:
    """A learner is asked by mistake; what makes it a voter afterwards is no leave to campaign."""
    member = a_member(voters=[2, 3], learners=[1])
    member.receive(MsgHeartbeat, 2)
    member.receive(MsgTimeoutNow, 2)
    entry = change_entry(v1(AddNode, 1), 2, 1)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=[entry], commit=2)
    assert member.raft.prs.voter_ids() == {1, 2, 3}
    assert member.state is StateRole.Follower


def test_a_change_of_others_does_not_end_a_hand_over() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(AddNode, 4))
    leader.pump()
    leader.node.transfer_leader(2)
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.raft.prs.voter_ids() == {1, 2, 3, 4}
    assert leader.raft.lead_transferee == 2


# Membership.


def test_followers_do_not_bid_farewell() -> None:
    member = a_member(voters=[1, 2, 3, 4])
    entry = change_entry(v1(RemoveNode, 4), 2, 2)
    out = member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert member.raft.prs.voter_ids() == {1, 2, 3}
    assert {m.msg_type for m in out} == {MsgAppendResponse}


def test_a_leader_that_has_left_sends_no_entries_any_more() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    leader.pump()
    out = leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.state is StateRole.Follower
    assert [m.to for m in of_type(out, MsgTimeoutNow)] == [2]
    assert not any(progress.is_paused() for _, progress in leader.raft.prs.iter())


def a_leader_that_removed(node_id: int) -> Member:
    """A leader of 1, 2 and `node_id` that has just removed the latter."""
    leader = a_leader(voters=[1, 2, node_id], allow_removed_ids=True)
    leader.node.propose_conf_change(b"", v1(RemoveNode, node_id))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=leader.last_index)
    assert leader.raft.prs.removed == {node_id}
    return leader


def test_who_is_brought_back_by_a_joint_change_counts_as_removed_no_more() -> None:
    leader = a_leader_that_removed(3)
    leader.node.propose_membership_change(([1, 2, 3], []))
    leader.pump()
    for _ in range(2):
        for node_id in (2, 3):
            leader.receive(MsgAppendResponse, node_id, index=leader.last_index)
    assert not leader.raft.is_in_membership_change()
    assert leader.raft.prs.voter_ids() == {1, 2, 3}
    assert leader.raft.prs.removed == frozenset()


def test_no_change_is_passed_over_where_a_page_of_the_log_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_membership, "_SCAN_PAGE_BYTES", 1)
    storage = a_storage()
    changes = [change_entry(v1(AddLearnerNode, 4 + at), 2 + at, 1) for at in range(4)]
    with storage.wl() as core:
        core.append(changes)
    member = a_member()
    member.storage = storage
    assert [one.index for one in member._start().raft.membership_log] == [2, 3, 4, 5]


@pytest.mark.parametrize("ticks", [3, 4])
def test_a_round_counts_if_it_takes_less_than_its_time(ticks: int) -> None:
    """`catch_up_round_ticks` is the first duration that is too long, caught up or not."""
    leader = a_leader(voters=[1, 2], learners=[3], catch_up_round_ticks=4)
    raft = leader.raft
    raft.prs.promotable = frozenset((3,))
    raft.pending_conf_index = 99  # Something else is under way meanwhile.
    leader.tick()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.tick()  # The round that ends here has the new entry as the next one's target.
    leader.tick(ticks)
    assert raft.catch_up[3].caught_up is (ticks == 3)


@pytest.mark.parametrize("ticks", [3, 4])
def test_a_round_that_ends_in_its_last_tick_was_too_long(ticks: int) -> None:
    leader = a_leader(voters=[1, 2], learners=[3], catch_up_round_ticks=4)
    raft = leader.raft
    raft.prs.promotable = frozenset((3,))
    raft.pending_conf_index = 99
    leader.tick()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.tick()
    leader.tick(ticks - 1)
    leader.receive(MsgAppendResponse, 3, index=3)
    leader.tick()
    assert raft.catch_up[3].caught_up is (ticks == 3)


def test_who_may_not_lead_when_all_is_applied_takes_over_no_more() -> None:
    member = a_member(voters=[2, 3], learners=[1])
    member.applies = False
    first = change_entry(v1(AddLearnerNode, 9), 2, 1)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=[first], commit=2)
    member.receive(MsgTimeoutNow, 2)
    member.apply_now()
    second = change_entry(v1(AddNode, 1), 3, 1)
    member.receive(MsgAppend, 2, index=2, log_term=1, entries=[second], commit=3)
    assert member.raft.prs.voter_ids() == {1, 2, 3}
    assert member.state is StateRole.Follower


def test_a_finalize_has_no_context_of_an_earlier_leadership() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    leader.node.transfer_leader(2)
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.raft.is_in_membership_change()
    leader.node.propose_finalize(b"mine")
    leader.raft.become_follower(leader.term, 0)
    leader.lead(acknowledged=False)
    leader.pump()
    last = leader.raft.raft_log.all_entries()[-1]
    assert (last.entry_type, last.term) == (EntryConfChange, leader.term)
    assert ConfChange.FromString(last.data).change_type == FinalizeMembershipChange
    assert last.context == b""


def test_only_a_begin_begins() -> None:
    leader = a_leader()
    target = ConfState(voters=[1, 2, 3, 4])
    change = v1(AddNode, 4, configuration=target, start_index=3)
    with pytest.raises(ViolatesContract):
        leader.raft.begin_membership_change(change)
    assert not leader.raft.is_in_membership_change()


def test_entries_fetched_for_a_leader_that_stepped_down_are_not_sent() -> None:
    """It may have stepped down in the very term it asked for them in."""
    leader = a_leader()
    context = GetEntriesContext(can_async=True, to=2, term=leader.term, aggressively=False)
    leader.raft.become_follower(leader.term, 0)
    leader.node.on_entries_fetched(context)
    assert of_type(leader.pump(), MsgAppend) == []


def test_a_leader_that_stays_though_it_has_left_names_no_heir() -> None:
    leader = a_leader(step_down_on_removal=False)
    leader.node.propose_membership_change(([2, 3], []))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.tick(20)  # Handing over before it proposes the Finalize comes to nothing.
    out = []
    for node_id in (2, 3):
        out += leader.receive(MsgAppendResponse, node_id, index=4)
    assert leader.leads
    assert not leader.raft.is_in_membership_change()
    assert 1 not in leader.raft.prs.progress
    assert of_type(out, MsgTimeoutNow) == []


def test_a_promotion_is_a_pending_change_like_any_other() -> None:
    leader = a_leader(voters=[1, 2], learners=[3])
    leader.raft.prs.promotable = frozenset((3,))
    assert not leader.raft.has_pending_conf()
    leader.tick(3)
    assert leader.last_index == 3
    assert leader.raft.has_pending_conf()


def test_who_is_new_is_probed_as_soon_as_the_group_is_joint() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2, 4], []), auto_finalize=False)
    leader.pump()
    out = leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.is_in_membership_change()
    assert 4 in {m.to for m in of_type(out, MsgAppend)}


def test_the_index_of_a_begin_may_be_told_instead_of_carried() -> None:
    leader = a_leader()
    change = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 2, 3, 4]))
    leader.raft.begin_membership_change(change, 2)
    assert leader.raft.prs.begin_index == 2


def test_a_hand_over_waits_until_the_target_has_everything() -> None:
    leader = a_leader()
    for _ in range(2):
        leader.propose(b"x")
    leader.node.transfer_leader(2)
    leader.pump()
    assert of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgTimeoutNow) == []
    assert of_type(leader.receive(MsgAppendResponse, 2, index=4), MsgTimeoutNow)


def test_rounds_of_catching_up_are_counted_up_to_their_number() -> None:
    leader = a_leader(voters=[1, 2], learners=[3], catch_up_rounds=2)
    leader.raft.prs.promotable = frozenset((3,))
    leader.raft.pending_conf_index = 99
    rounds = []
    for _ in range(4):
        leader.tick()
        rounds.append(leader.raft.catch_up[3].round)
    assert rounds == [2, 1, 2, 1]


def test_a_change_of_others_does_not_let_a_learner_begin_anew() -> None:
    leader = a_leader(voters=[1, 2], learners=[3, 4], catch_up_round_ticks=4)
    leader.raft.prs.promotable = frozenset((3, 4))
    leader.node.propose_conf_change(b"", v1(RemoveNode, 4))
    leader.tick()
    rounds = leader.raft.catch_up[3]
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.prs.learner_ids() == {3}
    assert leader.raft.catch_up == {3: rounds}


def test_the_heir_is_one_that_was_heard_of() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    leader.pump()
    leader.applies = False
    for node_id in (2, 3):
        leader.receive(MsgAppendResponse, node_id, index=3)
    leader.raft.prs.progress[2].recent_active = False
    assert [m.to for m in of_type(leader.apply_now(), MsgTimeoutNow)] == [3]


def test_no_campaign_by_the_old_voters_while_a_leader_may_read_by_its_lease() -> None:
    member = a_member(check_quorum=True, read_only_option=ReadOnlyOption.LeaseBased)
    begin = v1(
        BeginMembershipChange,
        configuration=ConfState(voters=[1, 4, 5]),
        start_index=2,
        hold=True,
    )
    entry = change_entry(begin, 2, 2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert member.raft.is_in_membership_change()
    with pytest.raises(ConfChangeError, match="lease"):
        member.node.campaign_for_rollback()
    assert member.state is StateRole.Follower


def test_the_index_of_a_finalize_may_be_told() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.raft.finalize_membership_change(v1(FinalizeMembershipChange), 7)
    assert leader.raft.prs.config_index == 7


def test_who_is_removed_by_hand_has_left_the_group_too() -> None:
    raft = a_leader().raft
    raft.remove_node(3)
    assert raft.prs.removed == {3}
    raft.add_node(4)
    assert raft.prs.removed == {3}
    raft.add_node(3)
    assert raft.prs.removed == frozenset()


def test_a_learner_made_a_voter_decides_at_once() -> None:
    prs = ProgressSet()
    prs.restore_conf_state(ConfState(voters=[1], learners=[2]), lambda: Progress(1, 8))
    prs.promote_learner(2)
    assert prs.deciding_voters() == {1, 2}


def test_no_learner_is_promoted_before_the_leader_has_committed_anything() -> None:
    leader = a_member(voters=[1, 2], learners=[3]).lead(acknowledged=False)
    leader.raft.prs.promotable = frozenset((3,))
    leader.receive(MsgAppendResponse, 3, index=2)
    leader.tick(5)
    assert leader.raft.catch_up[3].caught_up
    assert leader.last_index == 2
    leader.receive(MsgAppendResponse, 2, index=2)
    leader.tick()
    assert leader.last_index == 3


def test_nothing_is_finalized_behind_a_rollback() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    leader.node.transfer_leader(2)
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.raft.is_in_membership_change()
    leader.node.propose_rollback()
    leader.pump()
    leader.tick(10)  # The transfer is given up; the group would leave the joint state by itself.
    kinds = [ConfChange.FromString(e.data).change_type for e in leader.raft.raft_log.entries(3)]
    assert kinds == [BeginMembershipChange, RollbackMembershipChange]


def test_while_joint_a_change_is_pending() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.pending_conf_index <= leader.raft.raft_log.applied
    assert leader.raft.has_pending_conf()


def test_a_follower_that_learns_of_a_commit_by_a_vote_keeps_its_leader() -> None:
    member = a_member()
    entry = change_entry(v1(AddNode, 4), 2, 2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry])
    member.applies = False
    member.receive(MsgRequestVote, 3, index=1, log_term=1, commit=2, commit_term=2)
    assert member.committed == 2
    assert (member.state, member.raft.leader_id) == (StateRole.Follower, 2)


def test_only_a_begin_is_told_where_it_starts() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(AddNode, 4))
    change = ConfChange.FromString(leader.raft.raft_log.all_entries()[-1].data)
    assert change.start_index == 0


def test_whom_a_node_follows_is_what_it_was_told() -> None:
    raft = a_member().raft
    raft.become_follower(9, 2)
    assert (raft.term, raft.leader_id) == (9, 2)


def test_configurations_differ_by_their_voters_too() -> None:
    assert Configuration([1, 2], [3]) != Configuration([1], [3])
    assert Configuration([1], [3]) != Configuration([1], [2])


def test_a_begin_without_a_target_is_refused() -> None:
    leader = a_leader()
    with pytest.raises((ConfChangeError, ConfigInvalid)):
        leader.raft.propose_membership_change(v1(BeginMembershipChange))
    assert leader.last_index == 2
