"""_validate.py: what breaks the protocol is refused with a reason, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from raft import CodecError, MessageRefused, parse_conf_change
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfChangeSingle,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
    MsgTransferLeader,
    Snapshot,
    SnapshotMetadata,
)
from tests.harness.builders import a_leader, a_member, a_snapshot, entries_of
from tests.harness.network import Member

TOO_FAR = 1 << 63


def picture(member: Member) -> tuple[Any, ...]:
    """Everything about a node that a refused message must leave alone."""
    raft = member.raft
    log = raft.raft_log
    return (
        (raft.term, raft.vote, raft.state, raft.leader_id, raft.election_elapsed),
        (log.committed, log.applied, log.persisted, log.last_index(), log.last_term()),
        [e.SerializeToString() for e in log.all_entries()],
        raft.prs.to_conf_state().SerializeToString(),
        {i: repr(p) for i, p in raft.prs.iter()},
        dict(raft.votes),
        raft.lead_transferee,
        len(raft.msgs),
        len(raft.read_states),
        raft.read_only.pending_read_count(),
        list(raft.membership_log),
        raft.pending_conf_index,
        raft.uncommitted_size,
    )


def refuse(member: Member, m: Message, reason: str) -> None:
    """Expect that a message is refused for a reason that says so, and that nothing changed."""
    before = picture(member)
    with pytest.raises(MessageRefused, match=reason):
        member.node.step(m)
    assert picture(member) == before


def message(msg_type: int, **fields: Any) -> Message:
    """A message from node 2 to node 1, of term 2."""
    fields.setdefault("from_", 2)
    fields.setdefault("term", 2)
    return Message(msg_type=msg_type, to=1, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("msg_type", [19, 20, 99, 1 << 20, -1])
def test_unknown_message_types(msg_type: int) -> None:
    refuse(a_member(), message(msg_type), "unknown message type")


def test_a_message_without_a_sender() -> None:
    refuse(a_member(), message(MsgHeartbeat, from_=0), "no sender")


@pytest.mark.parametrize(
    "msg_type",
    [MsgAppend, MsgHeartbeat, MsgSnapshot, MsgAppendResponse, MsgRequestVote, MsgTimeoutNow],
)
def test_a_message_from_the_node_itself(msg_type: int) -> None:
    for term in (1, 2, 9):
        m = message(msg_type, from_=1, term=term, snapshot=a_snapshot(9))
        refuse(a_member(), m, "this node itself")


@pytest.mark.parametrize("field", ["term", "index", "commit"])
def test_numbers_out_of_reach(field: str) -> None:
    refuse(a_member(), message(MsgHeartbeat, **{field: TOO_FAR}), "beyond any")


@pytest.mark.parametrize("msg_type", [MsgAppend, MsgHeartbeat, MsgTimeoutNow, MsgRequestVote])
@pytest.mark.parametrize("reject", [False, True])
def test_a_message_without_a_term(msg_type: int, reject: bool) -> None:
    refuse(a_member(), message(msg_type, term=0, reject=reject), "without a term")


def test_a_refusal_of_a_node_without_a_term_is_understood() -> None:
    # An empty node is in term 0 and may have to refuse a pre-vote.
    leader = a_leader()
    leader.node.step(message(MsgRequestVoteResponse, term=0, reject=True))
    assert leader.leads


@pytest.mark.parametrize("msg_type", [MsgPropose, MsgReadIndex, MsgTransferLeader])
def test_a_term_where_none_belongs(msg_type: int) -> None:
    refuse(a_member(), message(msg_type, entries=[Entry()]), "with a term")


@pytest.mark.parametrize("msg_type", [MsgAppend, MsgHeartbeat, MsgSnapshot, MsgReadIndexResp])
def test_a_second_leader_of_the_term(msg_type: int) -> None:
    member = a_member()
    member.receive(MsgHeartbeat, 2, term=2)
    m = message(msg_type, from_=3, snapshot=a_snapshot(9, 2), entries=_entries_for(msg_type))
    refuse(member, m, "speaks as leader")
    leader = a_leader()
    refuse(leader, m, "speaks as leader")


def _entries_for(msg_type: int) -> list[Entry]:
    return [Entry(data=b"r")] if msg_type == MsgReadIndexResp else []


def test_an_append_whose_predecessor_has_half_a_place() -> None:
    refuse(a_member(), message(MsgAppend, index=1), "both an index and a term")
    refuse(a_member(), message(MsgAppend, log_term=1), "both an index and a term")


def test_an_append_after_an_entry_of_a_later_term() -> None:
    refuse(a_member(), message(MsgAppend, index=1, log_term=3), "later term than its leader")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([Entry(index=3, term=2)], "stands where"),
        ([Entry(index=2, term=2), Entry(index=2, term=2)], "stands where"),
        ([Entry(index=2, term=2), Entry(index=4, term=2)], "stands where"),
        ([Entry(index=1, term=2)], "stands where"),
        ([Entry(index=2, term=3)], "from a leader of"),
        ([Entry(index=2, term=0)], "after one of"),
        ([Entry(index=2, term=2), Entry(index=3, term=1)], "after one of"),
    ],
)
def test_entries_out_of_order(entries: list[Entry], reason: str) -> None:
    refuse(a_member(), message(MsgAppend, index=1, log_term=1, entries=entries), reason)


def test_entries_beyond_reach() -> None:
    last = TOO_FAR - 1
    m = message(MsgAppend, index=last, log_term=1, entries=[Entry(index=TOO_FAR, term=2)])
    refuse(a_member(), m, "beyond any index")


@pytest.mark.parametrize("entry_type", [3, 7, 100])
def test_unknown_entry_types_are_never_taken_for_normal(entry_type: int) -> None:
    entry = Entry(index=2, term=2)
    entry.entry_type = entry_type  # type: ignore[assignment]
    refuse(a_member(), message(MsgAppend, index=1, log_term=1, entries=[entry]), "unknown type")
    refuse(a_leader(), message(MsgPropose, term=0, entries=[entry]), "unknown type")


def _change(**fields: Any) -> bytes:
    return ConfChange(**fields).SerializeToString()


@pytest.mark.parametrize(
    ("entry_type", "data", "reason"),
    [
        (EntryConfChange, b"\xff\xff", "does not parse"),
        (EntryConfChangeV2, b"\x12\x05\x08", "does not parse"),
        (EntryConfChange, _change(change_type=9), "unknown change type 9"),
        (
            EntryConfChangeV2,
            ConfChangeV2(
                changes=[ConfChangeSingle(change_type=BeginMembershipChange)]
            ).SerializeToString(),
            "unknown change type 3",
        ),
        (EntryConfChangeV2, b"\x08\x07", "unknown transition 7"),
    ],
)
def test_membership_entries_that_are_none(entry_type: int, data: bytes, reason: str) -> None:
    entry = Entry(entry_type=entry_type, index=2, term=2, data=data)  # type: ignore[arg-type]
    refuse(a_member(), message(MsgAppend, index=1, log_term=1, entries=[entry]), reason)
    refuse(a_leader(), message(MsgPropose, term=0, entries=[entry]), reason)


def test_a_normal_entry_is_no_change() -> None:
    with pytest.raises(CodecError, match="no change of membership"):
        parse_conf_change(Entry())


def test_a_heartbeat_that_commits_beyond_the_log() -> None:
    member = a_member(terms=[1, 1])
    refuse(member, message(MsgHeartbeat, commit=4), "once acknowledged")
    refuse(member, message(MsgHeartbeat, commit=4, term=5), "once acknowledged")
    # One of an earlier term is not looked at.
    member = a_member(terms=[1, 1], term=4)
    member.node.step(message(MsgHeartbeat, commit=4))
    assert member.committed == 1


def test_an_answer_that_acknowledges_beyond_the_log() -> None:
    refuse(a_leader(), message(MsgAppendResponse, index=3), "it acknowledges 3")


@pytest.mark.parametrize("msg_type", [MsgRequestVote, MsgRequestPreVote])
def test_a_candidate_whose_log_is_of_the_future(msg_type: int) -> None:
    refuse(a_member(), message(msg_type, term=3, index=9, log_term=4), "later term than its own")


def _metadata(**fields: Any) -> Snapshot:
    fields.setdefault("conf_state", ConfState(voters=[1, 2, 3]))
    return Snapshot(metadata=SnapshotMetadata(**fields))


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (Snapshot(), "a snapshot at index 0"),
        (_metadata(index=9), "term 0"),
        (_metadata(term=2), "index 0"),
        (_metadata(index=9, term=3), "term 3"),
        (_metadata(index=TOO_FAR, term=2), "beyond any index"),
        (_metadata(index=9, term=2, conf_state=ConfState()), "impossible configuration"),
        (
            _metadata(index=9, term=2, conf_state=ConfState(learners=[1])),
            "impossible configuration",
        ),
        (
            _metadata(index=9, term=2, conf_state=ConfState(voters=[0, 1])),
            "impossible configuration",
        ),
        (
            _metadata(index=9, term=2, conf_state=ConfState(voters=[1, 2], learners=[2])),
            "impossible configuration",
        ),
        (
            _metadata(index=9, term=2, conf_state=ConfState(voters=[1, 2], learners_next=[2])),
            "impossible configuration",
        ),
        (
            _metadata(
                index=9,
                term=2,
                conf_state=ConfState(voters=[1], voters_outgoing=[2], learners_outgoing=[2]),
            ),
            "impossible configuration",
        ),
        (
            _metadata(index=9, term=2, conf_state=ConfState(voters=[1], voters_outgoing=[0])),
            "impossible configuration",
        ),
        (
            _metadata(
                index=9,
                term=2,
                pending_membership_change=ConfState(voters=[], learners=[4]),
                pending_membership_change_index=5,
            ),
            "impossible configuration",
        ),
    ],
)
def test_snapshots_that_cannot_be(snapshot: Snapshot, reason: str) -> None:
    refuse(a_member(), message(MsgSnapshot, snapshot=snapshot), reason)


@pytest.mark.parametrize("msg_type", [MsgReadIndex, MsgReadIndexResp])
@pytest.mark.parametrize("count", [0, 2])
def test_reads_without_their_context(msg_type: int, count: int) -> None:
    m = message(
        msg_type, term=0 if msg_type == MsgReadIndex else 2, entries=[Entry(data=b"r")] * count
    )
    refuse(a_member(), m, "its context")


def test_a_proposal_of_nothing() -> None:
    refuse(a_leader(), message(MsgPropose, term=0), "at least one entry")


def test_a_refusal_says_why() -> None:
    with pytest.raises(MessageRefused) as caught:
        a_member().node.step(message(MsgAppend, index=1))
    assert caught.value.reason in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_what_a_correct_peer_sends_is_taken() -> None:
    member = a_member()
    member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=entries_of([2, 2]), commit=2)
    member.receive(MsgHeartbeat, 2, commit=3)
    member.receive(MsgRequestVote, 3, term=3, index=3, log_term=2)
    member.receive(MsgHeartbeatResponse, 3, term=2)
    member.receive(MsgSnapshot, 3, snapshot=a_snapshot(9, 3))
    assert member.committed == 9
    entry = Entry(
        entry_type=EntryConfChange, index=10, term=3, data=_change(change_type=AddNode, node_id=4)
    )
    member.receive(MsgAppend, 3, index=9, log_term=3, entries=[entry])
    assert member.last_index == 10
