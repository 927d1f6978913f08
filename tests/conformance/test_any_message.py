"""Whatever a peer sends: only documented errors, and after a refusal nothing has changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raft import Error, MessageRefused, StepLocalMsg, StepPeerNotFound
from raft.eraftpb import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeV2,
    ConfState,
    Entry,
    Message,
    MessageType,
    MsgPropose,
    MsgReadIndex,
    Snapshot,
    SnapshotMetadata,
)
from tests.harness.builders import a_member
from tests.harness.network import Loop, Member

IDS = st.integers(0, 5)
CONTEXTS = (b"", b"x", b"CampaignTransfer", b"Finalize", (1).to_bytes(8, "little"))
SMALL = st.integers(0, 8)
NUMBERS = st.one_of(SMALL, SMALL, SMALL, st.integers(0, 2**64 - 1))
CONF_STATES = st.builds(
    ConfState,
    voters=st.lists(IDS, max_size=4),
    learners=st.lists(IDS, max_size=2),
    voters_outgoing=st.lists(IDS, max_size=3),
    learners_next=st.lists(IDS, max_size=2),
    learners_outgoing=st.lists(IDS, max_size=2),
    auto_leave=st.booleans(),
    begin_index=SMALL,
    config_index=SMALL,
    promotable=st.lists(IDS, max_size=2),
    promotable_outgoing=st.lists(IDS, max_size=2),
    removed=st.lists(IDS, max_size=2),
    successor=IDS,
)
CHANGES = st.one_of(
    st.builds(
        ConfChange,
        change_type=st.sampled_from([0, 1, 2, 3, 4, 100, 7]),
        node_id=IDS,
        configuration=st.one_of(st.none(), CONF_STATES),
        start_index=SMALL,
        hold=st.booleans(),
        successor=IDS,
        expected_config_index=SMALL,
    ).map(lambda c: (1, c.SerializeToString())),
    st.builds(
        ConfChangeV2,
        transition=st.integers(0, 3),
        changes=st.lists(
            st.builds(ConfChangeSingle, change_type=st.integers(0, 4), node_id=IDS), max_size=3
        ),
    ).map(lambda c: (2, c.SerializeToString())),
    st.tuples(st.integers(0, 4), st.binary(max_size=6)),
)


@st.composite
def entries(draw: st.DrawFn, index: int, term: int) -> list[Entry]:
    """Entries that mostly follow each other."""
    found = []
    for _ in range(draw(st.integers(0, 4))):
        index += 1
        term += draw(st.sampled_from([0, 0, 0, 1]))
        kind, data = draw(st.one_of(st.just((0, b"x")), CHANGES))
        entry = Entry(term=term, index=index, data=data)
        entry.entry_type = kind  # type: ignore[assignment]
        if draw(st.integers(0, 12)) == 0:
            entry.index = draw(NUMBERS)
        if draw(st.integers(0, 12)) == 0:
            entry.term = draw(NUMBERS)
        found.append(entry)
    return found


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message at all, most of them close to one that a peer might send."""
    index, log_term = draw(NUMBERS), draw(NUMBERS)
    msg_type = draw(st.one_of(st.sampled_from(MessageType.values()), st.integers(-1, 25)))
    m = Message(
        to=draw(IDS),
        from_=draw(IDS),
        term=0 if msg_type in (2, 13, 15) and draw(st.booleans()) else draw(NUMBERS),
        index=index,
        log_term=log_term,
        entries=draw(entries(min(index, 2**63), min(log_term, 2**63))),
        commit=draw(NUMBERS),
        reject=draw(st.booleans()),
        reject_hint=draw(NUMBERS),
        context=draw(
            st.sampled_from([b"", b"x", b"CampaignTransfer", b"Finalize", b"\x01" + b"\0" * 7])
        ),
        request_snapshot=draw(st.sampled_from([0, 0, 0, 1, 5, 2**64 - 1])),
        commit_term=draw(NUMBERS),
        priority=draw(st.integers(-3, 3)),
        news=draw(st.booleans()),
    )
    m.msg_type = msg_type  # type: ignore[assignment]
    if draw(st.booleans()):
        metadata = SnapshotMetadata(
            index=draw(NUMBERS), term=draw(NUMBERS), conf_state=draw(CONF_STATES)
        )
        if draw(st.integers(0, 5)) == 0:
            metadata.pending_membership_change.CopyFrom(draw(CONF_STATES))
            metadata.pending_membership_change_index = draw(SMALL)
        m.snapshot.CopyFrom(Snapshot(metadata=metadata))
    return Message.FromString(m.SerializeToString())


JOINT = ConfState(
    voters=[1, 4, 5], voters_outgoing=[1, 2, 3], begin_index=1, config_index=1, auto_leave=True
)
SETTINGS: list[dict[str, Any]] = [
    {},
    {"pre_vote": True, "check_quorum": True},
    {"batch_append": True, "skip_bcast_commit": True, "max_inflight_msgs": 1},
    {"max_uncommitted_size": 4, "max_size_per_msg": 4, "max_inflight_bytes": 4},
]


def start(role: str, number: int, joint: bool, loop: Loop) -> Member:
    """A live node of three, in some role."""
    member = a_member(
        terms=[1, 1],
        commit=2,
        loop=loop,
        conf_state=JOINT if joint else None,
        **SETTINGS[number],
    )
    if role == "leader":
        member.lead(acknowledged=number % 2 == 0)
    elif role == "candidate":
        member.campaign()
    elif role == "follower":
        member.receive(MessageType.MsgHeartbeat, 2, term=2)
    return member


def picture(member: Member) -> tuple[Any, ...]:
    """All that a refusal may not touch."""
    raft = member.raft
    log = raft.raft_log
    return (
        (raft.term, raft.vote, raft.state, raft.leader_id, raft.election_elapsed),
        (log.committed, log.applied, log.persisted, log.last_index(), log.last_term()),
        raft.prs.to_conf_state(),
        raft.prs.quorum_rule,
        {i: repr(p) for i, p in raft.prs.iter()},
        dict(raft.votes),
        (raft.lead_transferee, raft.pending_conf_index, raft.uncommitted_size),
        (len(raft.msgs), len(raft.read_states), raft.read_only.pending_read_count()),
        list(raft.membership_log),
        raft.pending_request_snapshot,
    )


REFUSALS = (MessageRefused, StepLocalMsg, StepPeerNotFound)


@pytest.mark.parametrize("loop", [Loop.SIMPLE, Loop.ASYNC])
@pytest.mark.parametrize("role", ["fresh", "follower", "candidate", "leader"])
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    number=st.integers(0, len(SETTINGS) - 1),
    joint=st.booleans(),
    stream=st.lists(messages(), min_size=1, max_size=6),
)
def test_any_message(
    role: str, loop: Loop, number: int, joint: bool, stream: list[Message]
) -> None:
    member = start(role, number, joint, loop)
    for m in stream:
        before = picture(member)
        proposes = m.msg_type in (MsgPropose, MsgReadIndex)
        try:
            member.node.step(m)
        except REFUSALS:
            assert picture(member) == before
        except Error:
            assert proposes, "an error that is not documented for this message"
            assert picture(member) == before
        member.pump()
        member.tick()
        check(member)


def check(member: Member) -> None:
    """Laws of a node that no message may break."""
    log = member.raft.raft_log
    assert log.applied <= log.committed <= log.last_index()
    assert log.persisted <= log.last_index()
    log.unstable.check()
    for _, progress in member.raft.prs.iter():
        progress.ins.check()
        assert progress.matched < progress.next_idx or progress.matched == 0
        assert progress.matched <= log.last_index() or not member.leads
    assert set(member.raft.prs.progress) == (
        member.raft.prs.voter_ids() | member.raft.prs.learner_ids()
    )
