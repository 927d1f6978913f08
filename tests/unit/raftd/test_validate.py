"""What a peer may not say: every bad message is refused with its reason, and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfState,
    Entry,
    EntryConfChange,
    Message,
    MsgAppend,
    MsgAppendResponse,
    MsgBeat,
    MsgCheckQuorum,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgHup,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgSnapshot,
    MsgSnapStatus,
    MsgTransferLeader,
    MsgUnreachable,
    Snapshot,
    SnapshotMetadata,
)
from raftd.validate import (
    CONTEXT_BYTES_MAX,
    INDEX_MAX,
    Reason,
    Validator,
    valid_conf_change,
    valid_conf_state,
)

LAST = 10


@pytest.fixture
def validator() -> Validator:
    return Validator(1, lambda: LAST, lambda: 5)


def append(**fields: object) -> Message:
    message = Message(msg_type=MsgAppend, to=1, from_=2, term=3, index=4, log_term=2, commit=4)
    message.entries.extend([Entry(term=3, index=5), Entry(term=3, index=6)])
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def entries(*pairs: tuple[int, int]) -> Message:
    message = append()
    del message.entries[:]
    message.entries.extend(Entry(term=term, index=index) for term, index in pairs)
    return message


def snapshot(index: int = 20, term: int = 3, **state: Any) -> Message:
    conf_state = ConfState(**(state or {"voters": [1, 2]}))
    metadata = SnapshotMetadata(index=index, term=term, conf_state=conf_state)
    return Message(
        msg_type=MsgSnapshot, to=1, from_=2, term=3, snapshot=Snapshot(metadata=metadata)
    )


def plain(kind: int, **fields: object) -> Message:
    message = Message(msg_type=kind, to=1, from_=2, term=3)  # type: ignore[arg-type]
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def read(kind: int, count: int, **fields: object) -> Message:
    message = plain(kind, term=0, **fields)
    message.entries.extend(Entry(data=b"ctx") for _ in range(count))
    return message


@pytest.mark.parametrize(
    "message",
    [
        append(),
        entries(),
        entries((2, 5), (3, 6)),
        plain(MsgHeartbeat, commit=LAST),
        plain(MsgHeartbeatResponse),
        plain(MsgAppendResponse, index=7),
        plain(MsgRequestVote, index=4, log_term=2),
        # Nobody who has never heard of a term can name one.
        plain(MsgRequestPreVoteResponse, term=0, reject=True),
        read(MsgReadIndex, 1),
        # A follower passes on what another asked.
        read(MsgReadIndex, 1, from_=3),
        plain(MsgTransferLeader, term=0, from_=3),
        snapshot(),
        snapshot(voters=[2], learners=[1]),
        snapshot(voters=[2, 3], voters_outgoing=[1, 2], learners_next=[1]),
    ],
    ids=lambda message: str(message.msg_type),
)
def test_what_honest_peers_say_is_taken(validator: Validator, message: Message) -> None:
    assert validator.check(message, 2) is None
    assert not validator.refused


BAD: list[tuple[str, Reason, Callable[[], Message]]] = [
    *(
        (f"local type {kind}", Reason.LOCAL_TYPE, lambda kind=kind: plain(kind))
        for kind in (MsgHup, MsgBeat, MsgUnreachable, MsgSnapStatus, MsgCheckQuorum)
    ),
    ("unknown type", Reason.UNKNOWN_TYPE, lambda: plain(77)),
    ("another sender", Reason.WRONG_SENDER, lambda: append(from_=3)),
    ("no sender", Reason.WRONG_SENDER, lambda: append(from_=0)),
    ("a relayed read of nobody", Reason.WRONG_SENDER, lambda: read(MsgReadIndex, 1, from_=0)),
    ("another recipient", Reason.WRONG_RECIPIENT, lambda: append(to=2)),
    ("no recipient", Reason.WRONG_RECIPIENT, lambda: append(to=0)),
    ("no term", Reason.BAD_TERM, lambda: append(term=0)),
    ("a term beyond all", Reason.BAD_TERM, lambda: append(term=2**64 - 1)),
    ("a log term beyond all", Reason.BAD_TERM, lambda: append(log_term=INDEX_MAX + 1)),
    ("a log term above the term", Reason.BAD_TERM, lambda: append(log_term=4)),
    ("a commit term beyond all", Reason.BAD_TERM, lambda: append(commit_term=2**63)),
    ("an index beyond all", Reason.BAD_INDEX, lambda: append(index=2**64 - 1)),
    ("a commit beyond all", Reason.BAD_INDEX, lambda: append(commit=2**63)),
    ("a hint beyond all", Reason.BAD_INDEX, lambda: append(reject_hint=2**63)),
    ("a request beyond all", Reason.BAD_INDEX, lambda: append(request_snapshot=2**63)),
    ("an index without a term", Reason.BAD_INDEX, lambda: append(log_term=0)),
    ("a term without an index", Reason.BAD_INDEX, lambda: append(index=0)),
    ("entries that start late", Reason.BAD_ENTRIES, lambda: entries((3, 6))),
    ("entries that start early", Reason.BAD_ENTRIES, lambda: entries((3, 4), (3, 5))),
    ("entries with a gap", Reason.BAD_ENTRIES, lambda: entries((3, 5), (3, 7))),
    ("entries of a later term", Reason.BAD_ENTRIES, lambda: entries((3, 5), (4, 6))),
    ("entries of an earlier term", Reason.BAD_ENTRIES, lambda: entries((1, 5))),
    ("entries with index 0", Reason.BAD_ENTRIES, lambda: entries((3, 0))),
    ("a commit beyond the log", Reason.BAD_COMMIT, lambda: plain(MsgHeartbeat, commit=LAST + 1)),
    ("a huge context", Reason.BAD_CONTEXT,
     lambda: append(context=bytes(CONTEXT_BYTES_MAX + 1))),
    ("a snapshot at 0", Reason.BAD_SNAPSHOT, lambda: snapshot(index=0)),
    ("a snapshot of no term", Reason.BAD_SNAPSHOT, lambda: snapshot(term=0)),
    ("a snapshot of a later term", Reason.BAD_SNAPSHOT, lambda: snapshot(term=4)),
    ("a snapshot beyond all", Reason.BAD_SNAPSHOT, lambda: snapshot(index=2**63)),
    ("a snapshot without voters", Reason.BAD_SNAPSHOT, lambda: snapshot(learners=[1])),
    ("a snapshot without this node", Reason.BAD_SNAPSHOT, lambda: snapshot(voters=[2, 3])),
    ("a voter that learns", Reason.BAD_SNAPSHOT, lambda: snapshot(voters=[1], learners=[1])),
    ("a read without context", Reason.BAD_ENTRIES, lambda: read(MsgReadIndex, 0)),
    ("a read with two", Reason.BAD_ENTRIES, lambda: read(MsgReadIndexResp, 2)),
    ("a proposal of nothing", Reason.BAD_ENTRIES, lambda: plain(MsgPropose, term=0)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "reason", "make"), BAD, ids=[bad[0] for bad in BAD])
def test_bad_messages_are_refused_and_counted(
    validator: Validator, what: str, reason: Reason, make: Callable[[], Message]
) -> None:
    assert validator.check(make(), 2) is reason, what
    assert validator.refused == {reason: 1}


def test_fields_where_they_do_not_belong(validator: Validator) -> None:
    heartbeat = plain(MsgHeartbeat)
    heartbeat.entries.add(term=3, index=5)
    assert validator.check(heartbeat, 2) is Reason.MISPLACED_FIELD
    vote = plain(MsgRequestVote)
    vote.snapshot.metadata.index = 5
    assert validator.check(vote, 2) is Reason.MISPLACED_FIELD
    with_snapshot = append()
    with_snapshot.snapshot.metadata.index = 5
    assert validator.check(with_snapshot, 2) is Reason.MISPLACED_FIELD


def test_changes_of_membership_in_proposals(validator: Validator) -> None:
    def proposed(entry: Entry) -> Reason | None:
        message = plain(MsgPropose, term=0)
        message.entries.append(entry)
        return validator.check(message, 2)

    good = ConfChange(change_type=AddNode, node_id=4).SerializeToString()
    assert proposed(Entry(entry_type=EntryConfChange, data=good)) is None
    bad = ConfChange(change_type=AddNode).SerializeToString()
    for data in (bad, b"\xff\xff"):
        refused = proposed(Entry(entry_type=EntryConfChange, data=data))
        assert refused is Reason.BAD_CONF_CHANGE
    assert proposed(Entry(entry_type=9)) is Reason.BAD_ENTRIES  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "state",
    [
        ConfState(),
        ConfState(voters=[1, 1]),
        ConfState(voters=[0]),
        ConfState(voters=[2**53]),
        ConfState(voters=[1], learners=[1]),
        ConfState(voters=[1], learners_next=[2]),
        ConfState(voters=[1], learners_outgoing=[2]),
        ConfState(voters=[1], voters_outgoing=[2], learners=[2]),
        ConfState(voters=[1], voters_outgoing=[2], learners_next=[3]),
        ConfState(voters=list(range(1, 300))),
    ],
    ids=str,
)
def test_impossible_configurations(state: ConfState) -> None:
    assert not valid_conf_state(state)


def test_a_begin_needs_a_whole_target() -> None:
    assert not valid_conf_change(ConfChange(change_type=BeginMembershipChange))
    target = ConfState(voters=[1, 2], learners=[3])
    assert valid_conf_change(ConfChange(change_type=BeginMembershipChange, configuration=target))
    joint = ConfState(voters=[1], voters_outgoing=[2])
    assert not valid_conf_change(ConfChange(change_type=BeginMembershipChange, configuration=joint))
    assert not valid_conf_change(ConfChange(change_type=7))  # type: ignore[arg-type]
