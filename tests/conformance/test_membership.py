"""Changes of membership one node at a time: what may be proposed, what applying does (§6)."""

from __future__ import annotations

import pytest

from raft import (
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    Exists,
    ProposalDropped,
)
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    MsgAppend,
    MsgAppendResponse,
    RemoveNode,
)
from tests.conformance.members import change, refused, shape, shapes
from tests.harness.builders import (
    a_leader,
    a_member,
    change_entry,
    of_type,
    only,
    v1,
    v2,
)
from tests.harness.network import Loop, Network


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
