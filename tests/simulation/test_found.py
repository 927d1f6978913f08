"""Faults that the simulator found, each reduced to the few steps that show it."""

from __future__ import annotations

import random
from typing import Any, cast

from raft.eraftpb import (
    ConfState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgSnapshot,
    new_snapshot,
)
from raftd.requests import Proposal
from raftd.validate import Validator
from raftwire.peer import ForwardRefused
from tests.harness.builders import a_member, a_snapshot, entries_of, of_type, only
from tests.harness.cluster import World
from tests.harness.network import Network
from tests.harness.sim_engine import EngineNode
from tests.harness.sim_swarm import Settings


def test_an_answer_to_a_former_life_is_no_breach_of_the_protocol() -> None:
    # A leader sent an entry, lost it in a crash, and came back in the same term as a follower.
    member = a_member(term=2, vote=1)
    assert member.receive(MsgAppendResponse, 2, term=2, index=5) == []
    assert member.raft.term == 2


def test_a_requested_snapshot_takes_away_nothing_that_was_acknowledged() -> None:
    member = a_member()
    sent = member.receive(
        MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2, 2]), commit=2
    )
    assert only(sent).index == 4
    member.node.request_snapshot(2)
    asked = of_type(member.pump(), MsgAppendResponse)
    assert asked[-1].request_snapshot == 4
    # One that was on its way already: the leader may count on 3 and 4 being here.
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(2, 2))
    assert member.last_index == 4
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(4, 2))
    assert member.raft.raft_log.first_index() == 5


def test_who_waits_for_a_snapshot_still_says_what_it_has() -> None:
    # The snapshot waits for the commit, and that for this node's word, which was lost.
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]), commit=1)
    member.node.request_snapshot(2)
    member.pump()
    answers = member.receive(MsgHeartbeat, 2, term=2)
    assert not of_type(answers, MsgHeartbeatResponse)
    assert [(m.reject, m.index) for m in answers] == [(False, 2), (True, 1)]


def test_a_request_for_a_snapshot_ends_though_the_acknowledgement_was_lost() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    network.isolate(3)
    network[1].node.propose(b"", b"x")
    network.collect()
    assert network.deliver_one() is not None
    network.queue.clear()
    network[2].node.request_snapshot(network[2].last_index)
    network.run()
    network.tick(times=4)
    assert network[2].raft.pending_request_snapshot == 0
    assert network[1].committed == network[2].committed == network[1].last_index


def test_a_learner_of_a_later_term_tells_the_leader() -> None:
    # Somebody who has left campaigned and raised the learner's term. It will not campaign itself,
    # so without PreVote or CheckQuorum nothing else would ever bring the two together again.
    learner = a_member(3, (1, 2), (3,), term=5)
    answers = learner.receive(MsgAppend, 1, term=4, index=1, log_term=1)
    assert [(m.msg_type, m.term, m.to) for m in answers] == [(MsgAppendResponse, 5, 1)]


def test_the_validator_lets_a_learner_that_is_being_removed_take_a_snapshot() -> None:
    # While joint it is named in learners_outgoing alone; a rollback keeps it.
    state = ConfState(
        voters=[1, 2], voters_outgoing=[1], learners_outgoing=[3], begin_index=4, config_index=4
    )
    message = Message(
        msg_type=MsgSnapshot, to=3, from_=1, term=2, snapshot=new_snapshot(5, 2, state, b"x")
    )
    assert Validator(3, lambda: 1, lambda: 1).check(message, 1) is None


def test_a_late_refusal_says_nothing_of_a_proposal_that_went_to_a_later_leader() -> None:
    # Forwarded in term 3, lost with that leader, forwarded again in term 4: the answer to the
    # first time, which comes late, must not make a client believe that nothing came of it.
    world = World(Settings(mode="engine", voters=3), random.Random(0))
    node = world.nodes[1]
    assert isinstance(node, EngineNode)
    proposals = cast("Any", node.engine.proposing)._proposals
    proposal = Proposal(7, b"", b"x", node.waiter, 1, 9.0, 9.0, 0.0)
    proposals.sent([proposal], 4)
    refused = ForwardRefused(incarnation=node.incarnation, sequences=[7], code="NOT_LEADER", term=3)
    node.engine.proposing.receive_refusal(refused)
    assert proposals.pending == {7: proposal}
    refused.term = 4
    node.engine.proposing.receive_refusal(refused)
    assert not proposals.pending
    assert list(proposals.held) == [proposal]
