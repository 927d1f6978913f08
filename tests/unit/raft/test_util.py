"""util.py and eraftpb.py: limits, majorities, sizes, and the builders of messages."""

from __future__ import annotations

import inspect
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft import eraftpb
from raft.eraftpb import (
    ConfState,
    Entry,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
    conf_state_of,
    new_conf_change,
    new_entry,
    new_message,
    new_snapshot,
)
from raft.proto import eraftpb_pb2
from raft.util import (
    INVALID_ID,
    INVALID_INDEX,
    NO_LIMIT,
    entry_size,
    fitting_count,
    is_continuous_ents,
    is_empty_snap,
    limit_size,
    majority,
    vote_resp_msg_type,
)


def test_constants() -> None:
    assert (INVALID_ID, INVALID_INDEX, NO_LIMIT) == (0, 0, 2**64 - 1)


@pytest.mark.parametrize(
    ("total", "wanted"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)]
)
def test_majority(total: int, wanted: int) -> None:
    assert majority(total) == wanted


def test_a_vote_request_has_its_response() -> None:
    assert vote_resp_msg_type(eraftpb.MsgRequestVote) == eraftpb.MsgRequestVoteResponse
    assert vote_resp_msg_type(eraftpb.MsgRequestPreVote) == eraftpb.MsgRequestPreVoteResponse


def test_no_other_message_has_a_vote_response() -> None:
    votes = (eraftpb.MsgRequestVote, eraftpb.MsgRequestPreVote)
    others = [msg_type for msg_type in MessageType.values() if msg_type not in votes]
    for msg_type in others:
        with pytest.raises(ValueError, match=MessageType.Name(msg_type)):
            vote_resp_msg_type(cast("MessageType", msg_type))


def test_an_absent_snapshot_is_an_empty_one() -> None:
    assert is_empty_snap(Snapshot())
    assert is_empty_snap(Message().snapshot)
    assert is_empty_snap(Snapshot(metadata=SnapshotMetadata(term=3)))
    assert not is_empty_snap(new_snapshot(1, 1))


def test_continuous_entries() -> None:
    message = Message(entries=[new_entry(1, 4), new_entry(1, 5)])
    assert is_continuous_ents(message, [new_entry(1, 6)])
    assert not is_continuous_ents(message, [new_entry(1, 5)])
    assert not is_continuous_ents(message, [new_entry(1, 7)])
    assert is_continuous_ents(message, [])
    assert is_continuous_ents(Message(), [new_entry(1, 9)])


def test_the_size_of_an_entry_is_its_encoded_one() -> None:
    for entry in (Entry(), new_entry(3, 2**40, b"x" * 300, b"ctx")):
        assert entry_size(entry) == len(entry.SerializeToString())


def test_limit_size() -> None:
    entries = [new_entry(4, 4), new_entry(5, 5), new_entry(6, 6)]
    size = entry_size(entries[0])
    for max_size, left in [
        (None, 3),
        (NO_LIMIT, 3),
        (0, 1),
        (1, 1),
        (2 * size - 1, 1),
        (2 * size, 2),
        (3 * size - 1, 2),
        (3 * size, 3),
        (3 * size + 1, 3),
    ]:
        cut = list(entries)
        limit_size(cut, max_size)
        assert cut == entries[:left]
    empty: list[Entry] = []
    limit_size(empty, 0)
    assert empty == []


@given(
    sizes=st.lists(st.integers(0, 60), max_size=200),
    max_size=st.one_of(st.none(), st.just(NO_LIMIT), st.integers(0, 8000)),
    data=st.data(),
)
def test_fitting_count_is_the_longest_prefix_that_fits(
    sizes: list[int], max_size: int | None, data: st.DataObject
) -> None:
    entries = [new_entry(1, i + 1, b"x" * size) for i, size in enumerate(sizes)]
    start = data.draw(st.integers(0, len(entries)))
    stop = data.draw(st.integers(start, len(entries)))
    count = fitting_count(entries, start, stop, max_size)
    part = entries[start:stop]
    if max_size is None or max_size == NO_LIMIT:
        assert count == len(part)
        return
    fits = 0
    left = max_size
    for entry in part:
        left -= len(entry.SerializeToString())
        if left < 0:
            break
        fits += 1
    assert count == (max(fits, 1) if part else 0)


def test_fitting_count_measures_little_beyond_what_fits() -> None:
    class Counting(list[Entry]):
        touched = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            got = super().__getitem__(key)
            Counting.touched += len(got) if isinstance(key, slice) else 1
            return got

    entries = Counting(new_entry(1, i, b"x" * 10) for i in range(1, 10_001))
    assert fitting_count(entries, 0, len(entries), 100) < 10
    assert Counting.touched < 100
    # Of values of a megabyte one fits, and to measure one takes as long as to encode it.
    one = entry_size(entries[0])
    Counting.touched = 0
    assert fitting_count(entries, 0, len(entries), one) == 1
    assert Counting.touched <= 4


def test_the_facade_exports_all_that_was_generated() -> None:
    generated = {
        name
        for name in dir(eraftpb_pb2)
        if not name.startswith("_") and name[0].isupper() and name != "DESCRIPTOR"
    }
    assert generated <= set(eraftpb.__all__)
    for name in generated:
        assert getattr(eraftpb, name) is getattr(eraftpb_pb2, name)
    for name in set(eraftpb.__all__) - generated:
        assert inspect.isfunction(getattr(eraftpb, name))


def test_builders() -> None:
    entry = new_entry(2, 3, b"data", b"ctx", eraftpb.EntryConfChange)
    assert (entry.term, entry.index, entry.data, entry.context) == (2, 3, b"data", b"ctx")
    assert entry.entry_type == eraftpb.EntryConfChange
    assert new_entry(1, 1).entry_type == eraftpb.EntryNormal

    message = new_message(2, eraftpb.MsgAppend, 1, term=5, entries=[entry])
    assert (message.to, message.from_, message.term) == (2, 1, 5)
    assert message.msg_type == eraftpb.MsgAppend
    assert list(message.entries) == [entry]

    snapshot = new_snapshot(7, 2, ([1, 2], [3]), b"state")
    assert (snapshot.metadata.index, snapshot.metadata.term) == (7, 2)
    assert snapshot.metadata.conf_state == ConfState(voters=[1, 2], learners=[3])
    assert snapshot.data == b"state"

    change = new_conf_change(eraftpb.AddNode, 4, context=b"c")
    assert (change.change_type, change.node_id, change.context) == (eraftpb.AddNode, 4, b"c")


def test_a_conf_state_is_copied() -> None:
    original = ConfState(voters=[1], auto_leave=True)
    copy = conf_state_of(original)
    assert copy == original
    copy.voters.append(2)
    assert list(original.voters) == [1]
    assert conf_state_of(((1, 2), (3,))) == ConfState(voters=[1, 2], learners=[3])


def test_from_is_field_3_as_in_the_crate() -> None:
    assert Message(from_=1).SerializeToString() == b"\x18\x01"
