"""Leadership transfer: to whom, how long, and what it must not break (thesis §3.10)."""

from __future__ import annotations

from typing import Any

import pytest

from raft import ConfChangeError, DropReason, ProposalDropped
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestVote,
    MsgTimeoutNow,
    MsgTransferLeader,
    RemoveNode,
)
from raft.errors import ConfChangeReason
from tests.harness.builders import (
    a_leader,
    a_member,
    change_entry,
    entries_of,
    of_type,
    only,
    to,
    v1,
)
from tests.harness.network import Loop, Member, Network


def transfer(leader: Member, target: int) -> list[Message]:
    """Ask a leader to hand over."""
    leader.node.transfer_leader(target)
    return leader.pump()


@pytest.mark.parametrize("loop", Loop)
@pytest.mark.parametrize(
    "settings", [{}, {"pre_vote": True}, {"check_quorum": True, "pre_vote": True}]
)
def test_a_caught_up_voter_takes_over_at_once(loop: Loop, settings: dict[str, Any]) -> None:
    network = Network(1, 2, 3, loop=loop, **settings)
    network.elect(1)
    network.propose(1)
    network[1].node.transfer_leader(2)
    network.run()
    assert network[2].leads
    assert network[2].term == 3
    assert network[1].raft.leader_id == 2
    network.propose(1, b"x")
    network.tick()
    assert network[3].data[-1] == b"x"


def test_asking_a_follower_is_asking_the_leader() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[3].node.transfer_leader(2)
    network.run()
    assert network[2].leads


def test_a_lagging_voter_is_brought_up_first() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(3)
    for i in range(5):
        network.propose(1, b"%d" % i)
    network.heal()
    network[1].node.transfer_leader(3)
    network.run()
    network.tick(1)
    assert network[3].leads


def test_a_voter_that_needs_a_snapshot_is_brought_up_first() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(3)
    for i in range(5):
        network.propose(1, b"%d" % i)
    network[1].compact(network[1].committed)
    network.heal()
    network[1].node.transfer_leader(3)
    network.tick(1, times=2)
    assert network[3].leads


def test_nothing_happens_for_the_leader_itself_strangers_and_learners() -> None:
    for target in (1, 4, 9):
        leader = a_leader(learners=[4])
        assert transfer(leader, target) == []
        assert leader.raft.lead_transferee == 0


def test_proposals_are_dropped_meanwhile() -> None:
    leader = a_leader()
    sent = transfer(leader, 2)
    assert only(sent).msg_type == MsgTimeoutNow
    with pytest.raises(ProposalDropped) as caught:
        leader.propose(b"x")
    assert caught.value.reason is DropReason.TRANSFERRING
    with pytest.raises(ProposalDropped):
        leader.node.propose_membership_change(([1, 2], []))


def test_it_is_given_up_after_an_election_timeout() -> None:
    leader = a_leader()
    transfer(leader, 2)
    leader.tick(9)
    assert leader.raft.lead_transferee == 2
    leader.tick()
    assert leader.raft.lead_transferee == 0
    leader.propose(b"x")


def test_the_same_target_again_does_not_prolong_it() -> None:
    leader = a_leader()
    transfer(leader, 2)
    leader.tick(8)
    assert transfer(leader, 2) == []
    leader.tick(2)
    assert leader.raft.lead_transferee == 0


def test_another_target_takes_its_place() -> None:
    leader = a_leader()
    transfer(leader, 2)
    leader.tick(8)
    sent = transfer(leader, 3)
    assert only(sent).to == 3
    assert leader.raft.lead_transferee == 3
    leader.tick(8)
    assert leader.raft.lead_transferee == 3


def test_a_target_that_catches_up_is_told_to_campaign() -> None:
    leader = a_leader()
    leader.propose(b"x")
    assert of_type(transfer(leader, 2), MsgTimeoutNow) == []
    sent = leader.receive(MsgAppendResponse, 2, index=3)
    assert only(of_type(sent, MsgTimeoutNow)).to == 2


def test_answers_of_others_tell_the_target_nothing() -> None:
    leader = a_leader()
    leader.propose(b"x")
    transfer(leader, 2)
    assert of_type(leader.receive(MsgAppendResponse, 3, index=3), MsgTimeoutNow) == []


def test_a_later_term_ends_it() -> None:
    leader = a_leader()
    transfer(leader, 2)
    leader.receive(MsgHeartbeat, 3, term=5)
    assert leader.raft.lead_transferee == 0


def test_a_removed_target_ends_it() -> None:
    leader = a_leader()
    leader.node.propose_conf_change(b"", v1(RemoveNode, 3))
    leader.pump()
    transfer(leader, 3)
    assert leader.raft.lead_transferee == 3
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.lead_transferee == 0
    leader.propose(b"x")


def test_a_demoted_target_ends_it() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], [3]))
    leader.pump()
    leader.acknowledge_all(2)
    transfer(leader, 3)  # A voter of the old configuration still; the Finalize is under way.
    assert leader.raft.lead_transferee == 3
    leader.receive(MsgAppendResponse, 2, index=4)
    leader.receive(MsgAppendResponse, 3, index=3)
    assert leader.raft.prs.learner_ids() == {3}
    assert leader.raft.lead_transferee == 0


# The one who is told.


def test_timeout_now_starts_a_real_election_that_disregards_leases() -> None:
    member = a_member(pre_vote=True, check_quorum=True)
    member.receive(MsgHeartbeat, 2, term=2)
    sent = of_type(member.receive(MsgTimeoutNow, 2), MsgRequestVote)
    assert [m.term for m in sent] == [3, 3]
    voter = a_member(3, pre_vote=True, check_quorum=True)
    voter.receive(MsgHeartbeat, 2, term=2)
    assert not only(voter.step(to(sent, 3)[0])).reject
    ordinary = Message.FromString(to(sent, 3)[0].SerializeToString())
    ordinary.context = b""
    other = a_member(3, check_quorum=True)
    other.receive(MsgHeartbeat, 2, term=2)
    assert other.step(ordinary) == []


def test_timeout_now_is_taken_from_the_leader_only() -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    assert member.receive(MsgTimeoutNow, 3) == []
    assert member.role == "Follower"
    unknowing = a_member()
    assert unknowing.receive(MsgTimeoutNow, 2) == []


def test_timeout_now_is_nothing_to_who_may_not_lead() -> None:
    learner = a_member(4, voters=[1, 2, 3], learners=[4])
    learner.receive(MsgHeartbeat, 2, term=2)
    assert learner.receive(MsgTimeoutNow, 2) == []
    assert learner.role == "Follower"
    newcomer = Network(1).add(9)
    newcomer.receive(MsgHeartbeat, 2, term=2)
    assert newcomer.receive(MsgTimeoutNow, 2) == []


def test_timeout_now_is_nothing_to_candidates_and_leaders() -> None:
    member = a_member()
    member.campaign()
    assert member.receive(MsgTimeoutNow, 2) == []
    assert member.term == 2
    leader = a_leader()
    assert leader.receive(MsgTimeoutNow, 2) == []
    assert leader.term == 2


def test_timeout_now_waits_for_committed_membership_to_be_applied() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[2].applies = False
    network[1].node.propose_conf_change(b"", v1(AddNode, 4))
    network.run()
    network.tick()
    network[1].node.transfer_leader(2)
    network.run()
    assert network[1].leads
    assert network[2].role == "Follower"
    network.send(network[2].apply_now())
    network.run()
    assert network[2].leads


def about_to_vote() -> Member:
    """A learner that has, unapplied, what makes it a voter, and was told to take over."""
    learner = a_member(4, voters=[1, 2, 3], learners=[4])
    begin = ConfChange(
        change_type=BeginMembershipChange, configuration=ConfState(voters=[2, 3, 4]), start_index=2
    )
    entries = [change_entry(begin, 2, 2)]
    learner.receive(MsgAppend, 1, term=2, index=1, log_term=1, entries=entries, commit=1)
    assert learner.receive(MsgTimeoutNow, 1) == []
    return learner


def test_timeout_now_may_come_before_the_vote() -> None:
    learner = about_to_vote()
    sent = learner.receive(MsgHeartbeat, 1, commit=2)
    assert (learner.role, learner.term) == ("Candidate", 3)
    votes = of_type(sent, MsgRequestVote)
    assert {m.to for m in votes} == {1, 2, 3}
    assert {m.context for m in votes} == {b"CampaignTransfer"}


def test_timeout_now_does_not_wait_for_longer_than_a_transfer() -> None:
    learner = about_to_vote()
    for _ in range(2):
        learner.tick(6)
        learner.receive(MsgHeartbeat, 1)
    learner.receive(MsgHeartbeat, 1, commit=2)
    assert (learner.role, learner.term) == ("Follower", 2)


def test_timeout_now_does_not_outlive_its_term() -> None:
    learner = about_to_vote()
    learner.receive(MsgHeartbeat, 2, term=3)
    learner.receive(MsgHeartbeat, 2, commit=2)
    assert (learner.role, learner.term) == ("Follower", 3)


def test_an_old_timeout_now_is_ignored() -> None:
    member = a_member(term=5)
    member.receive(MsgHeartbeat, 2)
    assert member.receive(MsgTimeoutNow, 2, term=4) == []


def test_heartbeats_do_not_cancel_a_transfer() -> None:
    network = Network(1, 2, 3, check_quorum=True, pre_vote=True)
    network.elect(1)
    network.cut((1, 2))
    network[1].node.transfer_leader(2)
    network[1].node.ping()
    network.run()
    network.heal()
    network.tick(1, times=10)
    assert network[1].leads  # Given up: the TimeoutNow was lost.
    network[1].node.transfer_leader(2)
    network[1].node.ping()
    network.run()
    assert network[2].leads


def test_a_failed_transfer_leaves_a_leader() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.stop(2)
    network[1].node.transfer_leader(2)
    network.tick(1, 3, times=10)
    network.propose(1, b"x")
    assert network[1].data[-1] == b"x"


def test_the_target_may_lack_what_was_just_proposed() -> None:
    # Its log must reach the leader's end before it is told; nothing may be lost by the transfer.
    network = Network(1, 2, 3)
    network.elect(1)
    network.keep_if(lambda m: not (m.to == 2 and m.msg_type == MsgAppend))
    network.propose(1, b"kept")
    network[1].node.transfer_leader(2)
    network.run()
    assert network[1].leads
    network.heal()
    network.tick(1, times=2)
    assert network[2].leads
    network.tick(2)
    assert network[3].data == [b"kept"]


# Together with a change of membership.


def test_a_leader_that_is_to_leave_hands_over_to_the_best_matched_new_voter() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(2)
    network.propose(1)
    network.heal()
    network[1].node.propose_membership_change(([2, 3], []))
    network.run()
    network.tick(times=3)
    leader = network.leader()
    assert leader is not None
    assert leader.id in (2, 3)
    for node_id in (2, 3):
        assert network[node_id].raft.prs.to_conf_state().voters == [2, 3]
        assert not network[node_id].raft.is_in_membership_change()
    network.propose(leader.id, b"x")
    assert leader.data[-1] == b"x"


def test_a_leader_that_is_to_leave_hands_over_to_the_successor() -> None:
    for successor in (2, 3, 4):
        network = Network(1, 2, 3)
        network.elect(1)
        network.add(4)
        network[1].node.propose_membership_change(([2, 3, 4], []), successor=successor)
        network.run()
        network.tick(times=4)
        assert network[successor].leads
        assert network[successor].raft.prs.to_conf_state().voters == [2, 3, 4]


def test_a_held_change_hands_over_when_it_is_finalized() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network[1].node.propose_membership_change(([2, 3], []), auto_finalize=False, successor=3)
    network.run()
    network.tick(times=30)
    assert network[1].leads
    assert network[1].raft.is_in_membership_change()
    network[1].node.propose_finalize()
    network.run()
    assert network[3].leads
    network.tick(times=2)
    assert network[2].raft.prs.to_conf_state().voters == [2, 3]


def test_an_old_leader_finalizes_itself_when_nobody_takes_over() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.ignore(MsgTimeoutNow)
    network[1].node.propose_membership_change(([2, 3], []))
    network.run()
    assert network[1].raft.lead_transferee in (2, 3)
    network.tick(1, times=9)
    assert network[1].leads
    network.tick(1, times=2)
    assert network[1].role == "Follower"
    network.heal()
    network.tick_until(lambda: network[2].leads or network[3].leads)
    network.tick(times=2)
    for node_id in (2, 3):
        assert network[node_id].raft.prs.to_conf_state().voters == [2, 3]


@pytest.mark.parametrize("loop", Loop)
def test_an_old_leader_that_finalizes_itself_names_who_is_to_lead(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop, check_quorum=True, pre_vote=True)
    network.elect(1)
    network.keep_if(lambda m: not (m.msg_type == MsgTimeoutNow and m.context))
    network[1].node.propose_membership_change(([2, 3], []), successor=3)
    network.run()
    network.tick(1, times=10)
    assert network[1].role == "Follower"
    assert network[3].leads  # Nobody had to wait for an election timeout.


def test_a_leader_that_is_removed_names_who_is_to_lead() -> None:
    network = Network(1, 2, 3, check_quorum=True, pre_vote=True)
    network.elect(1)
    network[1].node.propose_conf_change(b"", v1(RemoveNode, 1))
    network.run()
    assert network[2].leads or network[3].leads


def test_the_time_for_a_successor_may_be_set() -> None:
    network = Network(1, 2, 3, transfer_ticks=3)
    network.elect(1)
    network.ignore(MsgTimeoutNow)
    network[1].node.propose_membership_change(([2, 3], []))
    network.run()
    network.tick(1, times=2)
    assert network[1].leads
    network.tick(1, times=2)
    assert network[1].role == "Follower"


def test_a_successor_that_is_not_heard_of_is_passed_over() -> None:
    network = Network(1, 2, 3, 4, check_quorum=True)
    network.elect(1)
    network.stop(4)
    network[1].tick(10)  # Counts who is active anew.
    network.tick(1, 2, 3)
    network[1].node.propose_membership_change(([2, 3, 4], []), successor=4)
    network.run()
    network.tick(1, 2, 3, times=3)
    assert network[2].leads or network[3].leads


def test_finalize_may_be_asked_for_once() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    leader.acknowledge_all(2, 3)
    leader.node.propose_finalize(b"ctx")
    leader.pump()
    assert leader.raft.raft_log.entries(4)[0].context == b"ctx"
    with pytest.raises(ConfChangeError) as caught:
        leader.node.propose_finalize()
    assert caught.value.reason is ConfChangeReason.FINALIZE_IN_LOG


def test_a_transfer_message_from_nobody_is_the_node_itself() -> None:
    leader = a_leader()
    leader.step(Message(msg_type=MsgTransferLeader, to=1))
    assert leader.raft.lead_transferee == 0


def test_a_transferee_of_an_equal_log_wins_against_the_leaders_wish_to_stay() -> None:
    member = a_member(2, terms=[2], term=2)
    member.receive(MsgAppend, 1, index=2, log_term=2, entries=entries_of([2], 3))
    votes = member.receive(MsgTimeoutNow, 1)
    leader = a_leader(check_quorum=True)
    leader.propose(b"")
    assert not only(leader.step(to(votes, 1)[0])).reject
    assert leader.role == "Follower"
