"""Lease reads against clocks: explicit times for every tick, and the worst phases there are.

A leader that was cut off may answer from its lease only while nobody else can have been elected.
Time here is exact (fractions); a tick of the leader takes 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from raft import ConfigInvalid, ProposalDropped, ReadOnlyOption
from raft.eraftpb import (
    MsgHeartbeat,
    MsgReadIndex,
    MsgRequestPreVoteResponse,
    MsgRequestVoteResponse,
)
from tests.harness.builders import a_config, a_leader, a_member, of_type
from tests.harness.network import Member, Network

E = 10
LEASE: dict[str, Any] = {
    "check_quorum": True,
    "read_only_option": ReadOnlyOption.LeaseBased,
    "election_tick": E,
}
SOON = Fraction(1, 1000)
SLOWEST = Fraction(E - 2, E - 1)
"""The shortest tick of a follower that a lease allows for: one tick gained in an election."""


def reads_by_lease(leader: Member) -> bool:
    """Whether the leader answers a read at once, asking nobody."""
    before = len(leader.reads)
    try:
        leader.node.read_index(b"r")
    except ProposalDropped:
        return False
    leader.pump()  # What it sends is lost: it is cut off.
    return len(leader.reads) > before


def times(first: Fraction, length: Fraction, node_id: int) -> Iterator[tuple[Fraction, int]]:
    """When a node ticks, from `first` on."""
    at = first
    while True:
        yield at, node_id
        at += length


def last_of_lease_and_first_of_successor(
    length: Fraction, phase: Fraction, pre_vote: bool
) -> tuple[Fraction, Fraction]:
    """Cut the leader off from followers whose ticks take `length`, the first at `phase`.

    Returns:
        When the leader answered from its lease for the last time, and when another had committed.
        Whatever is possible at the time of a tick is tried just before it and just after.
    """
    network = Network(1, 2, 3, pre_vote=pre_vote, **LEASE)
    network.elect(1)
    network.isolate(3)
    network.tick(3, times=2 * E)  # Nothing but the others' votes keeps 3 from being elected.
    network.tick(1)  # Time 0: heartbeats, which 2 hears and answers at once.
    network.heal()
    network.isolate(1)
    assert reads_by_lease(network[1])
    moments = []
    for ticks in (times(Fraction(1), Fraction(1), 1), times(phase, length, 2)):
        for at, node_id in ticks:
            if at > 3 * E:
                break
            # At the same time as another's: the follower's first, which is the worse order.
            moments.append((at, node_id != 2, node_id))
    last_read = won = Fraction(0)
    for at, _, node_id in sorted(moments):
        if reads_by_lease(network[1]):
            last_read = at
        network[node_id].node.tick()
        network.run()
        if not won:
            network[3].node.campaign()
            network.run()
            if network[3].leads:
                network.propose(3, b"new")
                assert network[3].data == [b"new"]
                won = at
        if won and reads_by_lease(network[1]):
            last_read = at + SOON
    assert won, "nobody was ever elected: the test would show nothing"
    assert b"new" not in network[1].data
    return last_read, won


@pytest.mark.parametrize("pre_vote", [False, True])
@pytest.mark.parametrize("phase", [SOON, Fraction(1, 2), Fraction(1) - SOON])
@pytest.mark.parametrize(
    "length", [Fraction(2), Fraction(101, 100), Fraction(1), Fraction(99, 100), SLOWEST]
)
def test_a_lease_is_over_before_another_is_elected(
    length: Fraction, phase: Fraction, pre_vote: bool
) -> None:
    last_read, won = last_of_lease_and_first_of_successor(length, min(phase, length), pre_vote)
    assert 0 < last_read <= won
    assert last_read >= E - 3, "the lease is shorter than it need be"


def test_one_tick_in_an_election_timeout_is_all_the_drift_there_may_be() -> None:
    # The bound that is promised is exact: faster followers break it.
    length = SLOWEST - Fraction(1, 50)
    last_read, won = last_of_lease_and_first_of_successor(length, SOON, pre_vote=False)
    assert won < last_read


def test_answers_from_before_time_was_lost_give_no_lease() -> None:
    # The heartbeats left, the process stood still, and the answers waited in the socket.
    leader = a_leader(**LEASE)
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    leader.node.expire_lease()
    for peer in (2, 3):
        leader.heard(peer, context)
    assert not reads_by_lease(leader)
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    leader.heard(2, context)
    assert reads_by_lease(leader)


def test_a_read_that_waited_while_time_was_lost_is_confirmed_all_the_same() -> None:
    leader = a_leader(**LEASE)
    leader.node.read_index(b"waits")
    context = of_type(leader.pump(), MsgHeartbeat)[0].context
    leader.node.expire_lease()
    leader.heard(2, context)
    assert [r.request_ctx for r in leader.reads] == [b"waits"]


@pytest.mark.parametrize("answer", [MsgRequestVoteResponse, MsgRequestPreVoteResponse])
def test_a_late_answer_of_a_later_term_does_not_take_back_the_promise(answer: Any) -> None:
    # Node 2 helped to give 1 a lease. An old answer from 3, which is in a later term by now, puts
    # 2 into that term without a leader; its vote for 3 would break the lease all the same.
    network = Network(1, 2, 3, **LEASE)
    network.elect(1)
    network.isolate(3)
    network.tick(3, times=2 * E)
    assert network[3].term > network[1].term
    network.tick(1)
    network.heal()
    network.isolate(1)
    late = network[3].term
    network[2].receive(answer, 3, term=late, reject=True)
    assert (network[2].term, network[2].raft.leader_id) == (late, 0)
    for _ in range(E - 1):
        network.campaign(3)
        assert not network[3].leads
        network.tick(2)
    network.tick(2)
    network.campaign(3)
    assert network[3].leads


def test_a_node_that_gave_a_lease_does_not_campaign_when_told_to() -> None:
    network = Network(1, 2, 3, **LEASE)
    network.elect(1)
    network.isolate(3)
    network.tick(3, times=2 * E)
    network.tick(1)
    network.heal()
    network.isolate(1)
    network.campaign(2)
    assert (network[2].role, network[2].term) == ("Follower", 2)
    network.tick(2, times=E)
    network.campaign(2)
    assert network[2].term > 2


def test_followers_without_leases_campaign_when_told_to() -> None:
    network = Network(1, 2, 3, check_quorum=True)
    network.elect(1)
    network.isolate(1)
    network.tick(3, times=E)
    network.campaign(2)
    assert network[2].leads


def test_an_election_timeout_too_short_for_a_lease_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="two ticks shorter"):
        a_config(**{**LEASE, "election_tick": 2}).validate()
    a_config(**{**LEASE, "election_tick": 3}).validate()


def test_a_lease_of_the_shortest_election_timeout_lives_for_the_tick_it_was_made_in() -> None:
    leader = a_leader(**{**LEASE, "election_tick": 3})
    context = of_type(leader.tick(), MsgHeartbeat)[0].context
    leader.heard(2, context)
    assert reads_by_lease(leader)
    leader.node.tick()
    assert not reads_by_lease(leader)


def test_a_follower_forwards_reads_whatever_it_promised() -> None:
    member = a_member(**LEASE)
    member.receive(MsgHeartbeat, 2, term=2)
    member.node.read_index(b"r")
    assert [m.to for m in of_type(member.pump(), MsgReadIndex)] == [2]
