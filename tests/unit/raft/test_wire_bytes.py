"""eraftpb on the wire: bytes written down from the field numbers, which may never change."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message as ProtoMessage

from raft import CodecError, MessageRefused, eraftpb, parse_conf_change
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    Auto,
    BeginMembershipChange,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    EntryNormal,
    EntryType,
    Explicit,
    FinalizeMembershipChange,
    HardState,
    Message,
    MessageType,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgSnapStatus,
    MsgTimeoutNow,
    MsgTransferLeader,
    MsgUnreachable,
    RemoveNode,
    RollbackMembershipChange,
    Snapshot,
    SnapshotMetadata,
)
from raftwire.varint import varint
from tests.harness.builders import a_leader, a_member

# Each line is one field: its tag, (number << 3) | wire type, and its value.
GOLDEN: dict[str, tuple[ProtoMessage, bytes]] = {
    "entry": (
        Entry(term=5, index=9, data=b"hi", context=b"ctx"),
        b"\x10\x05"  # 2 term
        b"\x18\x09"  # 3 index
        b"\x22\x02hi"  # 4 data
        b"\x32\x03ctx",  # 6 context
    ),
    "entry-membership": (
        Entry(entry_type=EntryConfChange, term=300, index=1, sync_log=True),
        b"\x08\x01"  # 1 entry_type
        b"\x10\xac\x02"
        b"\x18\x01"
        b"\x28\x01",  # 5 sync_log
    ),
    "entry-empty": (Entry(), b""),
    "hard-state": (HardState(term=3, vote=2, commit=7), b"\x08\x03\x10\x02\x18\x07"),
    "conf-state": (
        ConfState(voters=[1, 2, 300], learners=[4]),
        b"\x0a\x04\x01\x02\xac\x02"  # 1 voters, packed
        b"\x12\x01\x04",  # 2 learners
    ),
    "conf-state-joint": (
        ConfState(
            voters=[1],
            voters_outgoing=[2, 3],
            learners_next=[3],
            auto_leave=True,
            learners_outgoing=[5],
            begin_index=6,
            config_index=7,
            promotable=[8],
            removed=[9, 10],
            successor=1,
            promotable_outgoing=[11],
        ),
        b"\x0a\x01\x01"
        b"\x1a\x02\x02\x03"  # 3 voters_outgoing
        b"\x22\x01\x03"  # 4 learners_next
        b"\x28\x01"  # 5 auto_leave
        b"\xa2\x06\x01\x05"  # 100 learners_outgoing
        b"\xa8\x06\x06"  # 101 begin_index
        b"\xb0\x06\x07"  # 102 config_index
        b"\xba\x06\x01\x08"  # 103 promotable
        b"\xc2\x06\x02\x09\x0a"  # 104 removed
        b"\xc8\x06\x01"  # 105 successor
        b"\xd2\x06\x01\x0b",  # 106 promotable_outgoing
    ),
    "snapshot": (
        Snapshot(
            data=b"S",
            metadata=SnapshotMetadata(
                conf_state=ConfState(voters=[1]),
                index=9,
                term=4,
                pending_membership_change=ConfState(voters=[2]),
                pending_membership_change_index=8,
            ),
        ),
        b"\x0a\x01S"  # 1 data
        b"\x12\x10"  # 2 metadata, 16 bytes
        b"\x0a\x03\x0a\x01\x01"  # 1 conf_state
        b"\x10\x09"  # 2 index
        b"\x18\x04"  # 3 term
        b"\x22\x03\x0a\x01\x02"  # 4 pending_membership_change
        b"\x28\x08",  # 5 pending_membership_change_index
    ),
    "conf-change": (
        ConfChange(
            id=1,
            change_type=BeginMembershipChange,
            node_id=2,
            context=b"c",
            configuration=ConfState(voters=[3]),
            start_index=4,
            hold=True,
            successor=5,
            expected_config_index=6,
            promote_when_caught_up=True,
        ),
        b"\x08\x01"  # 1 id
        b"\x10\x03"  # 2 change_type
        b"\x18\x02"  # 3 node_id
        b"\x22\x01c"  # 4 context
        b"\x2a\x03\x0a\x01\x03"  # 5 configuration
        b"\x30\x04"  # 6 start_index
        b"\xa0\x06\x01"  # 100 hold
        b"\xa8\x06\x05"  # 101 successor
        b"\xb0\x06\x06"  # 102 expected_config_index
        b"\xb8\x06\x01",  # 103 promote_when_caught_up
    ),
    "conf-change-rollback": (
        ConfChange(change_type=RollbackMembershipChange),
        b"\x10\x64",
    ),
    "conf-change-v2": (
        ConfChangeV2(
            transition=Explicit,
            changes=[
                ConfChangeSingle(change_type=RemoveNode, node_id=3),
                ConfChangeSingle(change_type=AddNode, node_id=4),
            ],
            context=b"c",
        ),
        b"\x08\x02"  # 1 transition
        b"\x12\x04\x08\x01\x10\x03"  # 2 changes
        b"\x12\x02\x10\x04"
        b"\x1a\x01c",  # 3 context
    ),
    "hup": (Message(), b""),
    "beat": (Message(msg_type=MessageType.MsgBeat), b"\x08\x01"),
    "propose": (
        Message(msg_type=MsgPropose, to=1, from_=2, entries=[Entry(data=b"x")]),
        b"\x08\x02"  # 1 msg_type
        b"\x10\x01"  # 2 to
        b"\x18\x02"  # 3 from
        b"\x3a\x03\x22\x01x",  # 7 entries
    ),
    "append": (
        Message(
            msg_type=MsgAppend,
            to=2,
            from_=1,
            term=5,
            log_term=4,
            index=9,
            entries=[Entry(term=5, index=10)],
            commit=8,
        ),
        b"\x08\x03\x10\x02\x18\x01"
        b"\x20\x05"  # 4 term
        b"\x28\x04"  # 5 log_term
        b"\x30\x09"  # 6 index
        b"\x3a\x04\x10\x05\x18\x0a"
        b"\x40\x08",  # 8 commit
    ),
    "append-news": (
        Message(msg_type=MsgAppend, to=2, from_=1, term=5, log_term=4, index=9, news=True),
        b"\x08\x03\x10\x02\x18\x01\x20\x05\x28\x04\x30\x09\xa0\x06\x01",  # 100 news
    ),
    "append-response": (
        Message(msg_type=MsgAppendResponse, to=1, from_=2, term=5, index=10, commit=8),
        b"\x08\x04\x10\x01\x18\x02\x20\x05\x30\x0a\x40\x08",
    ),
    "append-rejected": (
        Message(
            msg_type=MsgAppendResponse,
            to=1,
            from_=2,
            term=5,
            log_term=3,
            index=10,
            reject=True,
            reject_hint=7,
            request_snapshot=6,
        ),
        b"\x08\x04\x10\x01\x18\x02\x20\x05\x28\x03\x30\x0a"
        b"\x50\x01"  # 10 reject
        b"\x58\x07"  # 11 reject_hint
        b"\x68\x06",  # 13 request_snapshot
    ),
    "request-vote": (
        Message(
            msg_type=MsgRequestVote,
            to=2,
            from_=1,
            term=6,
            log_term=5,
            index=10,
            commit=8,
            context=b"CampaignTransfer",
            commit_term=5,
            priority=-1,
        ),
        b"\x08\x05\x10\x02\x18\x01\x20\x06\x28\x05\x30\x0a\x40\x08"
        b"\x62\x10CampaignTransfer"  # 12 context
        b"\x78\x05"  # 15 commit_term
        b"\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 16 priority
    ),
    "request-vote-response": (
        Message(msg_type=MsgRequestVoteResponse, to=1, from_=2, term=6),
        b"\x08\x06\x10\x01\x18\x02\x20\x06",
    ),
    "snapshot-message": (
        Message(
            msg_type=MsgSnapshot,
            to=2,
            from_=1,
            term=6,
            snapshot=Snapshot(metadata=SnapshotMetadata(index=9, term=4)),
        ),
        b"\x08\x07\x10\x02\x18\x01\x20\x06\x4a\x06\x12\x04\x10\x09\x18\x04",  # 9 snapshot
    ),
    "heartbeat": (
        Message(msg_type=MsgHeartbeat, to=2, from_=1, term=6, commit=8, context=b"\x01"),
        b"\x08\x08\x10\x02\x18\x01\x20\x06\x40\x08\x62\x01\x01",
    ),
    "heartbeat-response": (
        Message(msg_type=MsgHeartbeatResponse, to=1, from_=2, term=6, context=b"\x01"),
        b"\x08\x09\x10\x01\x18\x02\x20\x06\x62\x01\x01",
    ),
    "unreachable": (Message(msg_type=MsgUnreachable, from_=2), b"\x08\x0a\x18\x02"),
    "snap-status": (
        Message(msg_type=MsgSnapStatus, from_=2, reject=True),
        b"\x08\x0b\x18\x02\x50\x01",
    ),
    "check-quorum": (Message(msg_type=MessageType.MsgCheckQuorum), b"\x08\x0c"),
    "transfer-leader": (
        Message(msg_type=MsgTransferLeader, to=1, from_=3),
        b"\x08\x0d\x10\x01\x18\x03",
    ),
    "timeout-now": (
        Message(msg_type=MsgTimeoutNow, to=3, from_=1, term=6),
        b"\x08\x0e\x10\x03\x18\x01\x20\x06",
    ),
    "read-index": (
        Message(msg_type=MsgReadIndex, to=1, from_=2, entries=[Entry(data=b"r")]),
        b"\x08\x0f\x10\x01\x18\x02\x3a\x03\x22\x01r",
    ),
    "read-index-resp": (
        Message(
            msg_type=MsgReadIndexResp, to=2, from_=1, term=6, index=9, entries=[Entry(data=b"r")]
        ),
        b"\x08\x10\x10\x02\x18\x01\x20\x06\x30\x09\x3a\x03\x22\x01r",
    ),
    "request-pre-vote": (
        Message(msg_type=MsgRequestPreVote, to=2, from_=1, term=7, log_term=5, index=10),
        b"\x08\x11\x10\x02\x18\x01\x20\x07\x28\x05\x30\x0a",
    ),
    "request-pre-vote-response": (
        Message(msg_type=MsgRequestPreVoteResponse, to=1, from_=2, term=7, reject=True),
        b"\x08\x12\x10\x01\x18\x02\x20\x07\x50\x01",
    ),
    "deprecated-priority": (Message(deprecated_priority=3), b"\x70\x03"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_what_they_always_were(name: str) -> None:
    message, expected = GOLDEN[name]
    assert message.SerializeToString(deterministic=True) == expected
    parsed = type(message)()
    parsed.ParseFromString(expected)
    assert parsed == message


def test_every_message_type_has_its_bytes() -> None:
    golden = {m.msg_type for m, _ in GOLDEN.values() if isinstance(m, Message)}
    assert golden == set(MessageType.values())


MESSAGE_TYPES = """
    MsgHup MsgBeat MsgPropose MsgAppend MsgAppendResponse MsgRequestVote MsgRequestVoteResponse
    MsgSnapshot MsgHeartbeat MsgHeartbeatResponse MsgUnreachable MsgSnapStatus MsgCheckQuorum
    MsgTransferLeader MsgTimeoutNow MsgReadIndex MsgReadIndexResp MsgRequestPreVote
    MsgRequestPreVoteResponse
"""


def test_enum_values() -> None:
    names = MESSAGE_TYPES.split()
    assert dict(MessageType.items()) == {name: number for number, name in enumerate(names)}
    assert (EntryNormal, EntryConfChange, EntryConfChangeV2) == (0, 1, 2)
    assert len(EntryType.values()) == 3
    assert (AddNode, RemoveNode, AddLearnerNode) == (0, 1, 2)
    assert (BeginMembershipChange, FinalizeMembershipChange) == (3, 4)
    assert RollbackMembershipChange == 100
    assert len(ConfChangeType.values()) == 6
    assert dict(ConfChangeTransition.items()) == {"Auto": 0, "Implicit": 1, "Explicit": 2}
    assert Auto == 0


def test_our_own_additions_are_numbered_from_100() -> None:
    theirs = {
        "Entry": 6,
        "Message": 16,
        "HardState": 3,
        "ConfState": 5,
        "ConfChange": 6,
        "ConfChangeSingle": 2,
        "ConfChangeV2": 3,
        "Snapshot": 2,
        "SnapshotMetadata": 5,
    }
    for name, last in theirs.items():
        descriptor = getattr(eraftpb, name).DESCRIPTOR
        for field in descriptor.fields:
            assert field.number <= last or field.number >= 100, field.full_name


UNKNOWN = b"\xfa\x3f\x05hello"  # Field 1023, of a type nobody has heard of.


@pytest.mark.parametrize(
    "kind", [Entry, Message, HardState, ConfState, ConfChange, ConfChangeV2, Snapshot]
)
def test_unknown_fields_survive_a_relay(kind: type[ProtoMessage]) -> None:
    parsed = kind()
    parsed.ParseFromString(UNKNOWN)
    assert parsed.SerializeToString() == UNKNOWN
    copy = kind()
    copy.CopyFrom(parsed)
    assert copy.SerializeToString() == UNKNOWN


def test_unknown_fields_of_an_entry_survive_forwarding_log_and_replication() -> None:
    raw = b"\x22\x01x" + UNKNOWN
    follower = a_member(2)
    follower.receive(MsgHeartbeat, 1)
    proposal = Message(msg_type=MsgPropose, from_=3, to=2, entries=[Entry.FromString(raw)])
    (forwarded,) = follower.step(Message.FromString(proposal.SerializeToString()))
    leader = a_leader()
    sent = leader.step(Message.FromString(forwarded.SerializeToString()))
    entry = next(e for m in sent for e in m.entries if e.data == b"x")
    assert UNKNOWN in entry.SerializeToString()
    follower.step(next(m for m in sent if m.to == 2 and m.entries))
    stored = Message(msg_type=MsgAppend, entries=[entry]).entries[0]
    assert UNKNOWN in stored.SerializeToString()


def test_unknown_fields_of_a_change_survive_the_leader_that_fills_it_in() -> None:
    leader = a_leader()
    change = ConfChange.FromString(
        ConfChange(
            change_type=BeginMembershipChange, configuration=ConfState(voters=[1, 2])
        ).SerializeToString()
        + UNKNOWN
    )
    leader.node.propose_conf_change(b"", change)
    entry = leader.raft.raft_log.all_entries()[-1]
    assert UNKNOWN in entry.data
    assert ConfChange.FromString(entry.data).start_index == entry.index


@pytest.mark.parametrize("entry_type", [3, 4, 100, 2**31 - 1])
def test_unknown_entry_types_are_refused(entry_type: int) -> None:
    raw = b"\x08" + varint(entry_type) + b"\x10\x02\x18\x02"
    entry = Entry.FromString(raw)
    assert entry.entry_type == entry_type
    member = a_member()
    with pytest.raises(MessageRefused, match="unknown type"):
        member.receive(MsgAppend, 2, term=2, index=1, log_term=1, entries=[entry])
    assert member.last_index == 1
    with pytest.raises(CodecError):
        parse_conf_change(entry)


def test_an_empty_snapshot_is_as_none() -> None:
    # etcd 3.4 always sends one; what counts is its index.
    member = a_member()
    m = Message(msg_type=MsgHeartbeat, from_=2, to=1, term=2, snapshot=Snapshot())
    assert len(member.step(m)) == 1


def test_lists_that_are_not_packed_are_read() -> None:
    assert ConfState.FromString(b"\x08\x01\x08\x02\x10\x03") == ConfState(
        voters=[1, 2], learners=[3]
    )


def test_the_builders() -> None:
    assert eraftpb.new_entry(2, 3, b"d", b"c") == Entry(term=2, index=3, data=b"d", context=b"c")
    assert eraftpb.new_message(2, MsgHeartbeat, 1, term=4) == Message(
        msg_type=MsgHeartbeat, to=2, from_=1, term=4
    )
    given = ConfState(voters=[1])
    copy = eraftpb.conf_state_of(given)
    copy.voters.append(2)
    assert given == ConfState(voters=[1])
    snapshot = eraftpb.new_snapshot(9, 4, ([1], [2]), b"S")
    assert snapshot.metadata.conf_state == ConfState(voters=[1], learners=[2])
    assert (snapshot.metadata.index, snapshot.metadata.term, snapshot.data) == (9, 4, b"S")
    assert eraftpb.new_conf_change(AddNode, 3).node_id == 3
