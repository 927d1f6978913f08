"""CheckQuorum: a leader without a quorum steps down, and followers of a live one keep it."""

from __future__ import annotations

from raft.eraftpb import (
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgRequestVote,
)
from tests.harness.builders import a_leader, a_member, only
from tests.harness.network import Network


def test_a_leader_that_hears_of_nobody_steps_down() -> None:
    leader = a_leader(check_quorum=True)
    # Those who answered just now count for the first timeout, nobody does for the second.
    leader.tick(10)
    assert leader.leads
    leader.tick(10)
    assert leader.role == "Follower"
    assert leader.term == 2
    assert leader.raft.leader_id == 0


def test_a_leader_that_hears_of_a_majority_stays() -> None:
    leader = a_leader(check_quorum=True)
    for _ in range(10):
        leader.tick(10)
        leader.heard(2)
    assert leader.leads


def test_a_leader_that_hears_of_a_minority_steps_down() -> None:
    leader = a_leader(voters=[1, 2, 3, 4, 5], check_quorum=True)
    leader.tick(10)
    leader.heard(2)
    leader.tick(10)
    assert leader.role == "Follower"


def test_append_answers_count_as_signs_of_life() -> None:
    leader = a_leader(check_quorum=True)
    for _ in range(4):
        leader.tick(10)
        leader.receive(MsgAppendResponse, 3, index=1)
    assert leader.leads


def test_learners_do_not_count() -> None:
    leader = a_leader(voters=[1, 2, 3], learners=[4, 5], check_quorum=True)
    leader.tick(10)
    for node_id in (4, 5):
        leader.heard(node_id)
    leader.tick(10)
    assert leader.role == "Follower"


def test_without_it_a_leader_stays_for_ever() -> None:
    leader = a_leader()
    leader.tick(200)
    assert leader.leads


def test_it_may_be_switched_on() -> None:
    leader = a_leader()
    leader.node.set_check_quorum(True)
    leader.tick(20)
    assert leader.role == "Follower"


def test_a_single_voter_is_its_own_quorum() -> None:
    leader = a_leader(voters=[1], learners=[2], check_quorum=True)
    leader.tick(100)
    assert leader.leads


def test_a_vote_request_within_the_lease_is_ignored() -> None:
    member = a_member(check_quorum=True)
    member.receive(MsgHeartbeat, 2, term=2)
    member.tick(9)
    assert member.receive(MsgRequestVote, 3, term=7, index=9, log_term=6) == []
    assert (member.term, member.raft.leader_id) == (2, 2)
    # A leader that is silent for the whole timeout has lost it.
    member.tick()
    assert not only(member.receive(MsgRequestVote, 3, term=7, index=9, log_term=6)).reject
    assert member.term == 7


def test_the_lease_of_a_leader_is_its_own_too() -> None:
    leader = a_leader(check_quorum=True)
    assert leader.receive(MsgRequestVote, 3, term=7, index=9, log_term=6) == []
    assert leader.leads


def test_whoever_knows_no_leader_votes() -> None:
    member = a_member(check_quorum=True)
    assert not only(member.receive(MsgRequestVote, 3, term=7, index=9, log_term=6)).reject


def test_a_leader_gives_way_to_one_of_a_later_term_after_a_partition() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    network.partition([1], [2, 3])
    network.tick_until(lambda: network[2].leads or network[3].leads)
    network.tick_until(lambda: network[1].role != "Leader")
    network.heal()
    network.tick(times=3)
    leader = network.leader()
    assert leader is not None
    assert leader.id != 1
    assert network[1].raft.leader_id == leader.id


def test_a_node_stuck_at_a_later_term_is_let_in_again() -> None:
    # Its votes are ignored in the lease, and it ignores the leader's earlier term: its answer
    # makes the leader step down, and a new term takes all along (etcd issue 8501).
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    network.isolate(3)
    network.campaign(3)
    network.campaign(3)
    assert network[3].term == 4
    network.heal()
    network.tick()
    assert network[1].role == "Follower"
    network.tick_until(
        lambda: (
            network.leader() is not None and len({m.term for m in network.members.values()}) == 1
        )
    )


def test_a_leader_behind_a_one_way_link_steps_down() -> None:
    network = Network(1, 2, 3, check_quorum=True, pre_vote=True)
    network.elect(1)
    network.cut((2, 1), (3, 1), both=False)  # It can be heard but hears nothing.
    network.tick(times=25)
    assert network[1].role != "Leader"
    network.tick_until(lambda: network[2].leads or network[3].leads)


def test_a_removed_node_cannot_disturb() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    stranger = a_member(id=9, voters=[1, 2, 3, 9], check_quorum=True)
    for m in stranger.campaign():
        network[m.to].step(m)
    network.tick(times=5)
    assert network[1].leads
    assert network[1].term == 2


def test_activity_is_counted_anew_each_timeout() -> None:
    leader = a_leader(check_quorum=True)
    leader.tick(10)
    leader.receive(MsgHeartbeatResponse, 2)
    leader.tick(10)
    assert leader.leads
    leader.tick(10)
    assert leader.role == "Follower"


def test_entries_of_a_deposed_leader_are_replaced() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    network.isolate(1)
    network.propose(1, b"lost")
    network.tick_until(lambda: network[2].leads or network[3].leads)
    leader = network.leader()
    assert leader is not None
    network.propose(leader.id, b"kept")
    network.heal()
    network.tick(times=3)
    assert network[1].data == [b"kept"]


def test_a_lower_term_append_is_answered_and_changes_nothing() -> None:
    member = a_member(term=5, check_quorum=True)
    answer = only(member.receive(MsgAppend, 2, term=3, index=1, log_term=1, commit=9))
    assert (answer.term, answer.reject) == (5, False)
    assert member.committed == 1
