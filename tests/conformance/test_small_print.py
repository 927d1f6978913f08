"""Details that no story depends on: what generic mutation showed to be held by no test."""

from __future__ import annotations

from typing import Any

import pytest

from raft import (
    Configuration,
    Inflights,
    NullLogger,
    Progress,
    ProgressSet,
    ProgressState,
    RaftLog,
    StateRole,
)
from raft._replication import append_own
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    Entry,
    HardState,
    MessageType,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgSnapshot,
    MsgTimeoutNow,
    RemoveNode,
)
from tests.harness.builders import (
    a_leader,
    a_member,
    a_raft,
    a_snapshot,
    a_storage,
    change_entry,
    entries_of,
    of_type,
    only,
    to,
    v1,
)
from tests.harness.network import Member

# Starting.


def test_a_fresh_set_of_members_is_empty_and_not_joint() -> None:
    prs = ProgressSet()
    assert prs.to_conf_state() == ConfState()
    assert (prs.config_index, prs.begin_index, prs.successor) == (0, 0, 0)
    assert (prs.auto_leave, prs.group_commit) == (False, False)
    assert isinstance(prs._logger, NullLogger)
    logger = NullLogger()
    assert ProgressSet(logger)._logger is logger


def test_the_old_form_of_a_joint_state_tells_where_it_began() -> None:
    storage = a_storage(terms=[1, 1])
    with storage.wl() as core:
        core.set_conf_state(ConfState(voters=[1, 2]), (ConfState(voters=[1, 3]), 3))
    member = a_member()
    member.storage = storage
    member.config.applied = 3
    storage.wl().set_hardstate(HardState(term=1, commit=3))
    assert member._start().raft.prs.begin_index == 3


def test_applied_changes_are_not_pending_after_a_restart() -> None:
    storage = a_storage(terms=[1], commit=3)
    with storage.wl() as core:
        core.append([change_entry(v1(AddNode, 4), 3, 1), Entry(index=4, term=1)])
    member = a_member()
    member.storage, member.config.applied = storage, 3
    assert member._start().raft.membership_log == []
    member.config.applied = 2
    assert [change.index for change in member._start().raft.membership_log] == [3]


def test_a_successor_is_part_of_the_stored_configuration() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([2, 3], []), auto_finalize=False, successor=3)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.prs.successor == 3
    assert leader.raft.prs.to_conf_state().successor == 3
    leader.restart()
    assert leader.raft.prs.successor == 3


# Roles and time.


def test_a_tick_says_whether_something_came_of_it() -> None:
    leader = a_leader(heartbeat_tick=2, check_quorum=True)
    assert not leader.node.raft.tick()
    assert leader.node.raft.tick()
    leader.pump()
    came = False
    while leader.leads:
        came = leader.node.raft.tick()
    assert came
    follower = a_member()
    assert not follower.node.raft.tick()


def test_a_pre_candidates_timer_starts_with_its_question() -> None:
    member = a_member(pre_vote=True)
    member.tick(3)
    member.campaign()
    assert (member.state, member.raft.election_elapsed) == (StateRole.PreCandidate, 0)


def test_what_learners_have_caught_up_is_forgotten_with_the_leadership() -> None:
    leader = a_leader(learners=[4])
    leader.raft.prs.promotable = frozenset((4,))
    leader.tick(2)
    assert leader.raft.catch_up
    leader.raft.become_follower(leader.term, 0)
    assert leader.raft.catch_up == {}


def test_reads_that_wait_are_forgotten_with_the_leadership() -> None:
    leader = a_member().lead(acknowledged=False)
    leader.node.read_index(b"r")
    assert leader.raft.read_only.pending_read_count() == 1
    leader.receive(MsgHeartbeat, 2, term=leader.term + 1)
    assert leader.raft.read_only.pending_read_count() == 0
    leader.lead()
    leader.tick()
    for m in of_type(leader.tick(), MsgHeartbeat):
        leader.heard(m.to, m.context)
    assert leader.reads == []


def test_quorums_count_the_leader_itself_as_active() -> None:
    raft = a_raft()
    for node_id, progress in raft.prs.iter():
        progress.recent_active = node_id == 2
    assert raft.prs.quorum_recently_active(1)
    assert not raft.prs.quorum_recently_active(1)


# Sending.


def a_leader_probing(node_id: int, **settings: Any) -> tuple[Member, Progress]:
    """A leader whose follower `node_id` is probed and has everything."""
    leader = a_leader(**settings)
    progress = leader.raft.prs.progress[node_id]
    progress.become_probe()
    return leader, progress


def test_an_empty_probe_is_one_at_a_time() -> None:
    leader, progress = a_leader_probing(2)
    leader.raft.send_append(2)
    leader.raft.send_append(2)
    assert len(to(of_type(leader.pump(), MsgAppend), 2)) == 1
    assert progress.is_paused()


def test_an_empty_append_pauses_no_stream() -> None:
    leader = a_leader()
    leader.raft.send_append(2)
    leader.raft.send_append(2)
    assert len(to(of_type(leader.pump(), MsgAppend), 2)) == 2
    progress = leader.raft.prs.progress[2]
    assert (progress.state, progress.paused) == (ProgressState.Replicate, False)


def test_what_is_known_to_be_sent_of_the_commit_index_is_what_the_message_proves() -> None:
    leader = a_leader(max_size_per_msg=0)
    for _ in range(3):
        leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=5)
    assert leader.committed == 5
    progress = leader.raft.prs.progress[2]
    progress.become_probe()
    progress.matched, progress.next_idx, progress.sent_commit = 0, 2, 0
    leader.raft.send_append(2)
    sent = only(to(of_type(leader.pump(), MsgAppend), 2))
    assert [e.index for e in sent.entries] == [2]
    assert progress.sent_commit == 2


def test_answers_tell_how_far_the_follower_knows_the_commit() -> None:
    leader = a_leader()
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3, commit=2)
    assert leader.raft.prs.progress[2].committed_index == 2
    leader.receive(MsgAppendResponse, 2, index=3, commit=3)
    assert leader.raft.prs.progress[2].committed_index == 3


def test_entries_are_acknowledged_whatever_they_are_called() -> None:
    # `news` marks an append that only tells of a commit; with entries it is one like any other.
    member = a_member()
    out = member.receive(
        MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2]), news=True
    )
    assert only(of_type(out, MsgAppendResponse)).index == 2


def test_a_window_of_one_byte_is_full_with_it() -> None:
    window = Inflights(10, 1)
    assert not window.full()
    window.add(1, 1)
    assert window.full()


def test_a_snapshot_below_what_was_asked_for_is_not_installed() -> None:
    member = a_member(terms=[2, 2, 2], term=2, commit=2)
    member.receive(MsgHeartbeat, 2, commit=2)
    member.node.request_snapshot(9)
    member.pump()
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(8, 2))
    assert (member.last_index, member.raft.pending_request_snapshot) == (4, 9)
    member.receive(MsgSnapshot, 2, snapshot=a_snapshot(9, 2))
    assert (member.last_index, member.raft.pending_request_snapshot) == (9, 0)


def test_a_leader_that_is_no_member_goes_on_writing() -> None:
    leader = a_leader(step_down_on_removal=False)
    leader.node.propose_conf_change(b"", v1(RemoveNode, 1))
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.leads
    assert 1 not in leader.raft.prs.progress
    append_own(leader.raft, [Entry()])
    leader.pump()
    assert leader.raft.raft_log.persisted == 4


def test_a_held_back_commit_index_is_told_to_who_has_everything() -> None:
    leader = a_leader(batch_append=True)
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 3, index=3)
    told = to(of_type(leader.receive(MsgAppendResponse, 2, index=3, commit=2), MsgAppend), 2)
    told += to(of_type(leader.pump(), MsgAppend), 2)
    assert leader.raft.prs.progress[2].sent_commit == 3
    assert all(not m.entries and m.commit == 3 for m in told)


def test_a_snapshot_that_was_asked_for_is_sent_with_the_next_sign_of_life() -> None:
    leader = a_leader()
    progress = leader.raft.prs.progress[2]
    assert progress.matched == leader.last_index
    progress.pending_request_snapshot = 2
    leader.storage.wl().trigger_snap_unavailable()
    assert of_type(leader.heard(2), MsgSnapshot) == []
    assert only(of_type(leader.heard(2), MsgSnapshot)).snapshot.metadata.index == 2


@pytest.mark.parametrize("msg_type", [MsgAppend, MsgHeartbeat])
@pytest.mark.parametrize(
    "member",
    [
        pytest.param({"id": 4, "learners": [4]}, id="a learner, which never asks for votes"),
        pytest.param({"id": 1}, id="a voter"),
        pytest.param({"id": 1, "voters": [1, 3]}, id="who does not know the leader as a member"),
        pytest.param({"id": 1, "check_quorum": True, "pre_vote": True}, id="who asks first"),
    ],
)
def test_a_leader_of_an_earlier_term_is_told(member: dict[str, Any], msg_type: MessageType) -> None:
    """Raft figure 2, AppendEntries, rule 1. Found by the simulator, seed 10006839.

    A node may be sent entries before it has applied the change that made it a member. If its term
    is later, its requests for votes, which go to whom it knows, never reach the leader.
    """
    node = a_member(**member, term=5)
    log = {"index": 1, "log_term": 1} if msg_type == MsgAppend else {}
    answer = only(node.receive(msg_type, 2, term=3, **log))
    assert (answer.msg_type, answer.to, answer.term) == (MsgAppendResponse, 2, 5)
    assert node.raft.leader_id == 0


# Membership.


def test_followers_keep_their_leader_when_others_come_and_go() -> None:
    member = a_member()
    entry = change_entry(v1(AddNode, 4), 2, 2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert member.raft.prs.voter_ids() == {1, 2, 3, 4}
    assert (member.raft.leader_id, member.raft.departed_leader) == (2, 0)


def test_a_leader_that_left_is_forgotten_with_its_term() -> None:
    member = a_member()
    entry = change_entry(v1(RemoveNode, 2), 2, 2)
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry], commit=2)
    assert member.raft.departed_leader == 2
    member.receive(MsgHeartbeat, 3, term=3)
    assert member.raft.departed_leader == 0


def test_only_a_learner_that_is_streamed_to_is_promoted() -> None:
    leader = a_leader(voters=[1, 2], learners=[3])
    leader.raft.prs.promotable = frozenset((3,))
    progress = leader.raft.prs.progress[3]
    progress.become_probe()
    leader.tick(3)
    assert leader.raft.catch_up[3].caught_up
    assert leader.last_index == 2
    progress.become_replicate()
    leader.tick()
    assert leader.last_index == 3


def test_the_old_voters_decide_alone_only_while_joint() -> None:
    prs = ProgressSet()
    prs.restore_conf_state(ConfState(voters=[1, 2, 3]), lambda: Progress(1, 8))
    prs.decide_by_old_alone(True)
    prs.begin_membership_change(Configuration([3, 4, 5], []), lambda: Progress(1, 8))
    assert prs.deciding_voters() == {1, 2, 3, 4, 5}
    prs.decide_by_old_alone(True)
    assert prs.deciding_voters() == {1, 2, 3}


def test_a_configuration_is_compared_with_configurations_only() -> None:
    assert (Configuration([1], []) == object()) is False
    assert Configuration([1], []) == Configuration([1], [])


def test_changes_without_their_index_are_taken_in_the_order_of_the_log() -> None:
    changes = [v1(AddNode, 4), v1(AddNode, 5)]
    member = a_member()
    member.applies = False
    entries = [change_entry(one, index, 2) for index, one in enumerate(changes, 2)]
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries, commit=3)
    for index, one in enumerate(changes, 2):
        member.node.apply_conf_change(one)
        assert member.raft.prs.config_index == index
    assert member.raft.prs.voter_ids() == {1, 2, 3, 4, 5}


def test_finalize_by_hand_knows_its_place_in_the_log() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []))
    leader.pump()
    leader.applies = False
    for index in (3, 4):
        leader.receive(MsgAppendResponse, 2, index=index)
        entry = leader.raft.raft_log.entries(index)[0]
        change = ConfChange.FromString(entry.data)
        if index == 3:
            leader.raft.begin_membership_change(change)
            leader.raft.commit_apply(3)
            leader.pump()
        else:
            leader.raft.finalize_membership_change(change)
    assert leader.raft.prs.config_index == 4


def test_a_begin_that_the_leader_makes_itself_knows_its_place() -> None:
    leader = a_leader(voters=[1, 2], learners=[3, 4])
    leader.raft.prs.promotable = frozenset((3, 4))
    leader.tick(3)
    entry = leader.raft.raft_log.all_entries()[-1]
    change = ConfChange.FromString(entry.data)
    assert list(change.configuration.voters) == [1, 2, 3, 4]
    assert change.start_index == entry.index == 3


def test_a_later_change_does_not_make_a_node_forget_which_leader_left() -> None:
    member = a_member(voters=[1, 2, 3])
    entries = [change_entry(v1(RemoveNode, 2), 2, 2), change_entry(v1(AddNode, 4), 3, 2)]
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries, commit=3)
    assert (member.raft.leader_id, member.raft.departed_leader) == (0, 2)
    assert member.raft.prs.voter_ids() == {1, 3, 4}
    member.receive(MsgTimeoutNow, 2)
    assert member.state is StateRole.Candidate


def test_a_learner_that_fell_behind_again_is_not_promoted() -> None:
    leader = a_leader(voters=[1, 2], learners=[3], catch_up_round_ticks=4)
    raft = leader.raft
    raft.prs.promotable = frozenset((3,))
    raft.pending_conf_index = 99  # Something else is under way meanwhile.
    leader.tick(2)
    assert raft.catch_up[3].caught_up
    leader.propose(b"x")
    leader.receive(MsgAppendResponse, 2, index=3)
    leader.tick(6)
    assert not raft.catch_up[3].caught_up
    raft.pending_conf_index = 0
    leader.tick()
    assert leader.last_index == 3


def test_a_kind_of_change_is_looked_for_among_its_own() -> None:
    begin = v1(BeginMembershipChange, configuration=ConfState(voters=[1, 2, 3, 4]))
    member = a_member()
    member.applies = False
    entries = [change_entry(v1(AddNode, 5), 2, 2), change_entry(begin, 3, 2)]
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries, commit=3)
    member.node.apply_conf_change(begin)
    assert member.raft.prs.config_index == 3


def test_nothing_is_finalized_while_leadership_is_handed_over() -> None:
    leader = a_leader()
    leader.node.propose_membership_change(([1, 2], []), auto_finalize=False)
    leader.pump()
    leader.receive(MsgAppendResponse, 2, index=3)
    assert leader.raft.is_in_membership_change()
    leader.node.transfer_leader(2)
    leader.node.propose_finalize()
    leader.pump()
    assert leader.last_index == 3
    leader.tick(10)  # The transfer is given up.
    assert leader.last_index == 4


def test_a_round_of_catching_up_counts_its_ticks_and_its_number() -> None:
    leader = a_leader(voters=[1, 2], learners=[3], catch_up_round_ticks=4)
    raft = leader.raft
    raft.prs.promotable = frozenset((3,))
    raft.pending_conf_index = 99
    leader.tick()
    leader.propose(b"x")
    leader.tick()  # The next round begins, with an entry to be caught up with.
    assert (raft.catch_up[3].target, raft.catch_up[3].elapsed) == (3, 0)
    number = raft.catch_up[3].round
    leader.tick(2)
    leader.receive(MsgAppendResponse, 3, index=3)
    leader.tick()
    assert raft.catch_up[3].caught_up
    assert raft.catch_up[3].round == number + 1


def test_a_message_that_only_tells_of_a_commit_asks_for_no_answer() -> None:
    leader = a_leader(batch_append=True)
    sent = of_type(leader.propose(b"x"), MsgAppend)
    assert [m.news for m in sent] == [False, False]
    told = of_type(leader.receive(MsgAppendResponse, 2, index=3, commit=2), MsgAppend)
    assert told
    assert all(m.news and not m.entries for m in told)
    progress = leader.raft.prs.progress[2]
    progress.become_probe()
    leader.raft.bcast_append()
    assert [m.news for m in to(of_type(leader.pump(), MsgAppend), 2)] == [False]


def test_a_change_of_term_or_role_alone_makes_a_node_ready() -> None:
    member = a_member()
    member.pump()
    assert not member.node.has_ready()
    member.raft.become_follower(9, 0)
    assert member.node.has_ready()
    member.pump()
    member.raft.become_pre_candidate()
    assert member.node.has_ready()


def test_a_page_that_ends_in_the_storage_has_no_later_entries() -> None:
    # The large entry does not fit, the small one after it would.
    storage = a_storage()
    with storage.wl() as core:
        core.append([Entry(index=2, term=1), Entry(index=3, term=1, data=b"x" * 100)])
    log = RaftLog(storage)
    log.append([Entry(index=4, term=1)])
    assert [entry.index for entry in log.slice(2, 5, 50)] == [2]
