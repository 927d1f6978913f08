"""Snapshots: when one is sent, what installing it does, and how the leader goes on after it."""

from __future__ import annotations

import pytest

from raft import (
    Config,
    InvariantViolation,
    Progress,
    RequestSnapshotDropped,
    SnapshotStatus,
    StorageError,
)
from raft.eraftpb import (
    AddLearnerNode,
    ConfState,
    Entry,
    HardState,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgSnapshot,
    Snapshot,
)
from raft.storage import MemStorage
from tests.harness.builders import (
    a_config,
    a_leader,
    a_member,
    a_snapshot,
    entries_of,
    of_type,
    only,
    v1,
)
from tests.harness.network import Loop, Member, Network


def a_compacted_leader(**settings: object) -> Member:
    """A leader at index 12 that has kept nothing before 12."""
    leader = a_leader(terms=[1] * 9, commit=10, applied=10, **settings)  # type: ignore[arg-type]
    leader.propose(b"x")
    leader.acknowledge_all()
    leader.compact(12)
    return leader


def lag(leader: Member, node_id: int, matched: int = 2) -> None:
    """Let the leader believe that a follower is at `matched`."""
    progress = leader.raft.prs.progress[node_id]
    progress.matched = matched
    progress.become_probe()


@pytest.mark.parametrize("loop", Loop)
def test_a_follower_that_lags_too_far_gets_a_snapshot(loop: Loop) -> None:
    network = Network(1, 2, 3, loop=loop)
    network.elect(1)
    network.isolate(3)
    for i in range(10):
        network.propose(1, b"%d" % i)
    network[1].compact(network[1].committed)
    network.heal()
    network.keep_log = True
    network.tick(1, times=3)
    assert only(of_type(network.log, MsgSnapshot)).to == 3
    assert network[3].committed == network[1].committed
    network.propose(1, b"after")
    network.tick()
    assert network[3].data == [b"after"]
    assert network[1].raft.prs.progress[3].state.name == "Replicate"
    # The snapshot outlives a restart.
    network[3].restart()
    assert network[3].raft.raft_log.applied == network[1].committed


def test_nothing_else_is_sent_while_a_snapshot_is_under_way() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    sent = only(of_type(leader.heard(2), MsgSnapshot))
    assert sent.snapshot.metadata.index == 12
    progress = leader.raft.prs.progress[2]
    assert (progress.state.name, progress.pending_snapshot) == ("Snapshot", 12)
    assert [m for m in leader.propose(b"y") if m.to == 2] == []
    assert [m.msg_type for m in leader.heard(2) if m.to == 2] == []


def test_no_snapshot_for_a_peer_that_is_not_heard_of() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.raft.prs.progress[2].recent_active = False
    leader.raft.send_append(2)
    assert leader.pump() == []
    assert of_type(leader.heard(2), MsgSnapshot)


def test_an_unavailable_snapshot_is_asked_for_again() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.storage.wl().trigger_snap_unavailable()
    assert of_type(leader.heard(2), MsgSnapshot) == []
    assert leader.raft.prs.progress[2].state.name == "Probe"
    assert len(of_type(leader.heard(2), MsgSnapshot)) == 1


def test_an_acknowledged_snapshot_ends_the_wait() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.propose(b"y")
    sent = leader.receive(MsgAppendResponse, 2, index=12)
    progress = leader.raft.prs.progress[2]
    assert (progress.state.name, progress.matched) == ("Replicate", 12)
    assert [e.data for m in sent if m.to == 2 for e in m.entries] == [b"y"]


def test_a_failed_snapshot_is_tried_again_after_a_sign_of_life() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.node.report_snapshot(2, SnapshotStatus.Failure)
    progress = leader.raft.prs.progress[2]
    assert (progress.state.name, progress.next_idx, progress.paused) == ("Probe", 3, True)
    assert leader.pump() == []
    assert len(of_type(leader.heard(2), MsgSnapshot)) == 1


def test_a_finished_snapshot_is_believed_but_probed() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.node.report_snapshot(2, SnapshotStatus.Finish)
    progress = leader.raft.prs.progress[2]
    assert (progress.state.name, progress.next_idx, progress.paused) == ("Probe", 13, True)
    assert [m for m in leader.pump() if m.to == 2] == []
    leader.receive(MsgAppendResponse, 2, index=12)
    assert progress.state.name == "Replicate"


def test_any_snapshot_that_reaches_the_log_will_do() -> None:
    # It was given a later one, or an earlier one, by somebody else: entries go on from there.
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.raft.prs.progress[2].pending_snapshot = 50
    for _ in range(3):
        leader.propose(b"y")
    leader.receive(MsgAppendResponse, 2, index=12)
    assert leader.raft.prs.progress[2].state.name == "Replicate"


def test_an_answer_below_the_log_does_not_end_the_wait() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.receive(MsgAppendResponse, 2, index=5)
    assert leader.raft.prs.progress[2].state.name == "Snapshot"


def test_a_new_term_forgets_the_snapshots_of_the_old_one() -> None:
    leader = a_compacted_leader()
    lag(leader, 2)
    leader.heard(2)
    leader.receive(MsgHeartbeat, 3, term=5)
    leader.lead(acknowledged=False)
    assert leader.raft.prs.progress[2].state.name == "Probe"


def test_the_storage_learns_the_peer_and_the_least_index() -> None:
    asked: list[tuple[int, int]] = []

    class Asked(MemStorage):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__()
            inner = self.snapshot

            def snapshot(request_index: int = 0, to: int = 0) -> Snapshot:
                asked.append((request_index, to))
                return inner(request_index, to)

            self.snapshot = snapshot

    storage = Asked.new_with_conf_state(([1, 2, 3], []))
    leader = Member(a_config(applied=1), storage).lead()
    leader.storage.wl().compact(3)
    leader.receive(MsgAppendResponse, 2, reject=True, index=2, request_snapshot=2)
    assert asked == [(2, 2)]


def test_an_empty_snapshot_of_the_storage_is_an_invariant_violation() -> None:
    class Empty(MemStorage):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__()
            self.snapshot = lambda request_index=0, to=0: Snapshot()

    leader = Member(a_config(applied=1), Empty.new_with_conf_state(([1, 2, 3], []))).lead()
    leader.storage.wl().compact(3)
    lag(leader, 2, 0)
    with pytest.raises(InvariantViolation, match="empty snapshot"):
        leader.heard(2)


# Installing.


def test_a_snapshot_replaces_log_and_configuration() -> None:
    member = a_member(terms=[1, 1, 1])
    answer = only(
        member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(20, 3, ((1, 2, 4), (5,))))
    )
    assert (answer.msg_type, answer.index, answer.reject) == (MsgAppendResponse, 20, False)
    assert (member.committed, member.last_index, member.raft.raft_log.first_index()) == (20, 20, 21)
    assert member.raft.prs.voter_ids() == {1, 2, 4}
    assert member.raft.prs.learner_ids() == {5}
    assert member.log() == []


def test_an_old_snapshot_is_answered_with_the_commit_index() -> None:
    member = a_member(terms=[1] * 10, commit=9)
    answer = only(member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(5)))
    assert (answer.index, member.last_index) == (9, 11)


def test_a_log_that_holds_the_snapshots_end_is_kept() -> None:
    member = a_member(terms=[1, 1, 2, 2], commit=2)
    answer = only(member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(4, 2)))
    assert answer.index == 4
    assert (member.committed, member.last_index) == (4, 5)


def test_a_log_that_contradicts_the_snapshots_end_is_dropped_whole() -> None:
    # Keeping what follows would leave entries in the air (hashicorp/raft issue 697).
    member = a_member(terms=[1, 1, 1, 1, 1, 1], commit=2)
    answer = only(member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(5, 2)))
    assert answer.index == 5
    assert (member.committed, member.last_index) == (5, 5)
    assert member.storage.last_index() == 5


def test_a_snapshot_that_does_not_name_this_node_is_not_installed() -> None:
    member = a_member()
    answer = only(member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(9, 3, ((2, 3), ()))))
    assert answer.index == 1
    assert member.raft.prs.voter_ids() == {1, 2, 3}


def test_an_empty_node_learns_its_role_from_the_snapshot() -> None:
    for members, learner in ((([1, 2, 4], []), False), (([1, 2], [4]), True)):
        newcomer = Member(Config(id=4), MemStorage())
        newcomer.receive(MsgSnapshot, 1, term=3, snapshot=a_snapshot(9, 3, members))
        assert newcomer.raft.is_learner is learner
        assert newcomer.raft.promotable() is not learner


def test_a_voter_may_become_a_learner_and_back_by_snapshots() -> None:
    member = a_member()
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(9, 3, ((2, 3), (1,))))
    assert member.raft.is_learner
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(19, 3, ((1, 2, 3), ())))
    assert not member.raft.is_learner


def test_a_joint_state_travels_with_the_snapshot() -> None:
    conf_state = ConfState(
        voters=[1, 4],
        voters_outgoing=[1, 2, 3],
        learners_next=[3],
        auto_leave=True,
        begin_index=7,
        config_index=7,
    )
    member = a_member()
    member.receive(MsgSnapshot, 2, term=3, snapshot=a_snapshot(9, 3, conf_state))
    assert member.raft.is_in_membership_change()
    assert member.raft.prs.to_conf_state() == conf_state
    # And one that is not joint ends the joint state.
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(19, 3, ((1, 4), (3,))))
    assert not member.raft.is_in_membership_change()
    assert member.raft.pending_membership_change() is None


def test_a_joint_state_of_the_old_form_is_understood() -> None:
    snapshot = a_snapshot(9, 3, ((1, 2), ()))
    snapshot.metadata.pending_membership_change.voters.extend([1, 3])
    snapshot.metadata.pending_membership_change.learners.extend([2, 4])
    snapshot.metadata.pending_membership_change_index = 7
    member = a_member()
    member.receive(MsgSnapshot, 2, term=3, snapshot=snapshot)
    prs = member.raft.prs
    assert prs.is_in_membership_change()
    assert prs.configuration.voters == {1, 2}
    assert prs.next_configuration is not None
    assert prs.next_configuration.voters == {1, 3}
    assert prs.next_configuration.learners == {2, 4}
    assert member.raft.membership_change_start_index() == 7


def test_a_snapshot_as_candidate_makes_a_follower() -> None:
    member = a_member()
    member.campaign()
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(9, 2))
    assert (member.role, member.raft.leader_id) == ("Follower", 2)


def test_no_campaign_before_a_snapshot_is_handed_out() -> None:
    member = a_member()
    node = member.node
    node.step(Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2)))
    assert not member.raft.promotable()
    node.campaign()
    assert member.role == "Follower"
    member.pump()
    member.campaign()
    assert member.role == "Candidate"


def test_a_snapshot_is_acknowledged_after_it_was_stored() -> None:
    member = a_member(loop=Loop.ASYNC)
    member.syncs_at_once = False
    assert member.receive(MsgSnapshot, 2, term=2, snapshot=a_snapshot(9, 2)) == []
    assert only(of_type(member.sync(), MsgAppendResponse)).index == 9


def test_a_pending_snapshot_is_what_a_snapshot_request_gets() -> None:
    member = a_member()
    member.node.step(
        Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2))
    )
    log = member.raft.raft_log
    assert log.snapshot(5, 2).metadata.index == 9
    with pytest.raises(StorageError):
        log.snapshot(10, 2)


def test_a_restart_from_a_snapshot_alone() -> None:
    storage = MemStorage()
    with storage.wl() as writer:
        writer.apply_snapshot(a_snapshot(30, 4))
        writer.set_hardstate(HardState(term=6, vote=2, commit=30))
    member = Member(a_config(applied=30), storage)
    assert (member.term, member.committed, member.last_index) == (6, 30, 30)
    member.lead()
    member.propose(b"x")
    assert member.log() == [(31, 7), (32, 7)]


# Requested ones.


def test_a_follower_may_ask_for_a_snapshot() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    for i in range(3):
        network.propose(1, b"%d" % i)
    network.tick()
    member = network[2]
    member.node.request_snapshot(3)
    network.keep_log = True
    network.run()
    snapshot = only(of_type(network.log, MsgSnapshot)).snapshot
    assert snapshot.metadata.index >= 3
    assert member.raft.pending_request_snapshot == 0
    network.propose(1, b"after")
    network.tick()
    assert member.data[-1] == b"after"
    assert network[1].raft.prs.progress[2].state.name == "Replicate"


def test_a_request_travels_until_it_is_answered() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]), commit=2)
    member.node.request_snapshot(2)
    first = only(member.pump())
    assert (first.msg_type, first.reject, first.request_snapshot) == (MsgAppendResponse, True, 2)
    for again in (
        member.receive(MsgHeartbeat, 2),
        member.receive(MsgAppend, 2, index=2, log_term=2, entries=entries_of([2], 3)),
    ):
        assert only(again).request_snapshot == 2
    assert member.last_index == 2
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(2, 2))
    assert member.raft.pending_request_snapshot == 0
    assert member.raft.raft_log.first_index() == 3


def test_a_request_is_served_when_a_snapshot_is_new_enough() -> None:
    leader = a_leader()
    request = {"index": 2, "reject": True, "reject_hint": 2, "request_snapshot": 3}
    assert leader.receive(MsgAppendResponse, 2, **request) == []
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=3)
    sent = of_type(leader.heard(2), MsgSnapshot)
    assert only(sent).snapshot.metadata.index == 3


def test_a_request_is_served_under_load() -> None:
    # The follower's commit index lags behind what it has acknowledged, all the time.
    network = Network(1, 2, 3)
    network.elect(1)
    network.propose(1)
    network.tick()
    network[2].node.request_snapshot(2)
    network.keep_log = True
    for i in range(30):
        network[1].node.propose(b"", b"%d" % i)
        for _ in range(3):
            network.collect()
            network.deliver_one()
    network.run()
    network.tick()
    assert of_type(network.log, MsgSnapshot)
    assert network[2].committed == network[1].committed


def test_what_is_no_time_to_ask_for_a_snapshot() -> None:
    with pytest.raises(RequestSnapshotDropped, match="leads"):
        a_leader().node.request_snapshot(1)
    member = a_member()
    with pytest.raises(RequestSnapshotDropped, match="no leader"):
        member.node.request_snapshot(1)
    member.receive(MsgHeartbeat, 2, term=2)
    with pytest.raises(RequestSnapshotDropped, match="present term"):
        member.node.request_snapshot(1)
    member.receive(MsgAppend, 2, index=1, log_term=1, entries=[Entry(index=2, term=2)])
    member.node.request_snapshot(1)
    with pytest.raises(RequestSnapshotDropped, match="already"):
        member.node.request_snapshot(1)
    other = a_member()
    other.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[Entry(index=2, term=2)])
    other.node.step(Message(msg_type=MsgSnapshot, from_=2, to=1, term=2, snapshot=a_snapshot(9, 2)))
    with pytest.raises(RequestSnapshotDropped, match="installed"):
        other.node.request_snapshot(1)


def test_a_request_is_forgotten_with_its_leader() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[Entry(index=2, term=2)])
    member.node.request_snapshot(1)
    member.pump()
    member.receive(MsgHeartbeat, 3, term=3)
    assert member.raft.pending_request_snapshot == 0
    assert of_type(member.receive(MsgHeartbeat, 3), MsgHeartbeatResponse)


def test_a_learner_that_joins_gets_a_snapshot_and_then_entries() -> None:
    network = Network(1, 2, 3)
    network.elect(1)
    for i in range(3):
        network.propose(1, b"%d" % i)
    network.add(4)
    network[1].node.propose_conf_change(b"", v1(AddLearnerNode, 4))
    network.run()
    network.tick(times=3)
    network.propose(1, b"x")
    network.tick()
    assert network[4].data[-1:] == [b"x"]
    assert network[4].raft.is_learner


def probing(leader: Member, matched: int, next_idx: int) -> Progress:
    progress = leader.raft.prs.progress[2]
    progress.reset(next_idx)
    progress.matched = matched
    progress.recent_active = True
    return progress


def test_an_answer_to_what_it_sent_in_an_earlier_term_costs_no_snapshot() -> None:
    """Who is told of a later term hears of no index; it may lead that term by then."""
    leader = a_compacted_leader()
    progress = probing(leader, 0, leader.last_index + 1)
    assert leader.receive(MsgAppendResponse, 2, index=0) == []
    assert (progress.state.name, progress.next_idx) == ("Probe", leader.last_index + 1)


def test_which_answers_end_probing() -> None:
    leader = a_leader(terms=[1] * 9, commit=10, applied=10)
    # Late, and of less than is known: it says nothing of what was asked last.
    progress = probing(leader, 8, 9)
    leader.receive(MsgAppendResponse, 2, index=7)
    assert progress.state.name == "Probe"
    leader.receive(MsgAppendResponse, 2, index=8)
    assert progress.state.name == "Replicate"
    # An empty log, which was asked for: it is sent what there is, which begins with a snapshot.
    progress = probing(leader, 0, 1)
    assert only(leader.receive(MsgAppendResponse, 2, index=0)).msg_type == MsgSnapshot
