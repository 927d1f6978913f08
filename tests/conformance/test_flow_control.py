"""Flow control: how much is under way to a follower, and how it gets going again."""

from __future__ import annotations

import pytest

from raft import NO_LIMIT, ConfigInvalid
from raft.eraftpb import Entry, MsgAppend, MsgAppendResponse
from raft.util import entry_size
from tests.harness.builders import a_config, a_leader, a_member, of_type, only, to
from tests.harness.network import Member

ENTRY = entry_size(Entry(term=2, index=100, data=b"x" * 100))


def sent_entries(leader: Member, count: int = 1, node_id: int = 2) -> list[int]:
    """Propose some entries of equal size; how many of them each message to a node holds."""
    messages = []
    for _ in range(count):
        messages += leader.propose(b"x" * 100)
    return [len(m.entries) for m in to(of_type(messages, MsgAppend), node_id)]


def test_the_window_fills_and_stays_full() -> None:
    leader = a_leader(max_inflight_msgs=3)
    assert sent_entries(leader, 6) == [1, 1, 1]
    ins = leader.raft.prs.progress[2].ins
    assert (ins.count, ins.full()) == (3, True)


def test_an_answer_frees_the_window_up_to_its_index() -> None:
    leader = a_leader(max_inflight_msgs=3)
    sent_entries(leader, 6)
    sent = to(of_type(leader.receive(MsgAppendResponse, 2, index=4), MsgAppend), 2)
    # Two are freed, and at once filled with all there is.
    assert [e.index for m in sent for e in m.entries][:1] == [6]
    assert sum(len(m.entries) for m in sent) == 3


def test_a_late_answer_frees_nothing_twice() -> None:
    leader = a_leader(max_inflight_msgs=3)
    sent_entries(leader, 3)
    leader.receive(MsgAppendResponse, 2, index=4)
    assert leader.raft.prs.progress[2].ins.count == 1
    assert leader.receive(MsgAppendResponse, 2, index=3) == []
    assert leader.raft.prs.progress[2].ins.count == 1


def test_a_heartbeat_answer_frees_one_of_a_full_window() -> None:
    leader = a_leader(max_inflight_msgs=3, max_size_per_msg=0)
    sent_entries(leader, 6)
    for expected in (6, 7, 8):
        sent = only(to(of_type(leader.heard(2), MsgAppend), 2))
        assert [e.index for e in sent.entries] == [expected]
        assert leader.raft.prs.progress[2].ins.full()
    # Nothing is left to send: what it sends now asks where the follower is.
    assert only(to(of_type(leader.heard(2), MsgAppend), 2)).index == 8


def test_heartbeat_answers_alone_recover_a_window_that_was_lost() -> None:
    leader = a_leader(max_inflight_msgs=2)
    sent_entries(leader, 4)
    follower = a_member(2, terms=[2], term=2, commit=2)
    # All messages were lost. The next one is rejected, which tells where to start again.
    for _ in range(10):
        for m in to(of_type(leader.heard(2), MsgAppend), 2):
            answers = follower.step(m)
            while answers:
                more = [x for a in answers for x in leader.step(a) if x.to == 2]
                answers = [y for x in more for y in follower.step(x)]
    assert follower.last_index == leader.last_index == 6


def test_bytes_bound_the_window_too() -> None:
    leader = a_leader(max_inflight_bytes=2 * ENTRY, max_size_per_msg=ENTRY)
    assert sent_entries(leader, 5) == [1, 1]
    ins = leader.raft.prs.progress[2].ins
    assert ins.bytes >= 2 * ENTRY - 4
    leader.receive(MsgAppendResponse, 2, index=5)
    leader.receive(MsgAppendResponse, 2, index=7)
    assert leader.raft.prs.progress[2].ins.bytes == 0
    assert sent_entries(leader, 5) == [1, 1]


def test_one_message_beyond_the_bound_by_bytes_may_go() -> None:
    leader = a_leader(max_inflight_bytes=50, max_size_per_msg=50)
    assert sent_entries(leader, 3) == [1]


def test_freeing_the_first_one_frees_its_bytes() -> None:
    leader = a_leader(max_inflight_bytes=ENTRY, max_size_per_msg=ENTRY)
    sent_entries(leader, 3)
    for _ in range(20):
        leader.heard(2)
        assert leader.raft.prs.progress[2].ins.bytes <= 2 * ENTRY


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigInvalid):
        a_config(max_inflight_bytes=10, max_size_per_msg=100).validate()
    with pytest.raises(ConfigInvalid):
        a_config(max_inflight_msgs=0).validate()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(0, [1] * 6), (ENTRY, [1] * 6), (2 * ENTRY, [2, 2, 2]), (NO_LIMIT, [6])],
)
def test_messages_are_of_the_size_allowed(limit: int, expected: list[int]) -> None:
    leader = a_leader(max_size_per_msg=limit)
    leader.raft.prs.progress[2].become_probe()
    leader.raft.prs.progress[2].pause()
    sent_entries(leader, 6)
    sent = to(of_type(leader.receive(MsgAppendResponse, 2, index=2), MsgAppend), 2)
    assert [len(m.entries) for m in sent if m.entries] == expected


def test_a_probe_sends_one_message_at_a_time() -> None:
    leader = a_leader()
    leader.raft.prs.progress[2].become_probe()
    assert sent_entries(leader, 4) == [1]
    assert leader.raft.prs.progress[2].paused
    assert leader.raft.prs.progress[2].next_idx == 3
    leader.raft.prs.progress[2].resume()
    assert sent_entries(leader, 4) == [5]


def test_an_answer_turns_a_probe_into_a_stream() -> None:
    leader = a_leader()
    leader.raft.prs.progress[2].become_probe()
    sent_entries(leader, 2)
    sent = to(of_type(leader.receive(MsgAppendResponse, 2, index=3), MsgAppend), 2)
    assert leader.raft.prs.progress[2].state.name == "Replicate"
    assert [e.index for m in sent for e in m.entries] == [4]


def test_a_follower_that_was_up_to_date_all_along_leaves_the_probe() -> None:
    leader = a_leader()
    leader.node.report_unreachable(2)
    leader.heard(2)
    leader.receive(MsgAppendResponse, 2, index=2)
    assert leader.raft.prs.progress[2].state.name == "Replicate"


def test_after_an_answer_the_window_is_filled() -> None:
    leader = a_leader(max_inflight_msgs=2, max_size_per_msg=0)
    sent_entries(leader, 10)
    sent = to(of_type(leader.receive(MsgAppendResponse, 2, index=4), MsgAppend), 2)
    assert [m.entries[0].index for m in sent] == [5, 6]


def test_a_stream_goes_on_after_what_was_sent() -> None:
    leader = a_leader()
    sent_entries(leader, 3)
    assert leader.raft.prs.progress[2].next_idx == 6
    leader.receive(MsgAppendResponse, 2, index=4)
    assert leader.raft.prs.progress[2].next_idx == 6
    assert sent_entries(leader, 1) == [1]


def test_shrinking_the_window_drops_nothing() -> None:
    leader = a_leader(max_inflight_msgs=4)
    sent_entries(leader, 4)
    leader.raft.adjust_max_inflight_msgs(2, 1)
    assert leader.raft.prs.progress[2].ins.full()
    leader.receive(MsgAppendResponse, 2, index=5)
    assert sent_entries(leader, 2) == []
    leader.receive(MsgAppendResponse, 2, index=6)
    assert leader.raft.prs.progress[2].ins.count == 1


def test_the_commit_index_reaches_a_follower_whose_window_was_full() -> None:
    leader = a_leader(max_inflight_msgs=1)
    sent_entries(leader, 1)
    leader.receive(MsgAppendResponse, 3, index=3)  # Committed; the window of 2 is full.
    assert leader.committed == 3
    sent = to(leader.receive(MsgAppendResponse, 2, index=3), 2)
    assert sent[-1].commit == 3


def test_a_learner_has_a_window_of_its_own() -> None:
    leader = a_leader(learners=[4], max_inflight_msgs=2)
    assert sent_entries(leader, 5, node_id=4) == [1, 1]
    leader.acknowledge_all(4)
    assert leader.raft.prs.progress[4].matched == 7
