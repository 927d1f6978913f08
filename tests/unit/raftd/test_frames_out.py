"""Raft messages as the bytes that leave: whole and in order, large ones not copied together."""

from __future__ import annotations

import pytest

from raft.eraftpb import Entry, Message, MsgAppend, MsgHeartbeat
from raftd.transport.outbound import encode_message_frames
from raftwire.frame import FrameDecoder
from raftwire.limits import MIB, PEER_FRAME_BYTES_MAX
from raftwire.peer import parse_frame


def an_append(index: int, *values: bytes) -> Message:
    """An append of entries with these values."""
    entries = [Entry(term=2, index=index + n, data=value) for n, value in enumerate(values)]
    return Message(msg_type=MsgAppend, to=2, from_=1, term=2, index=index - 1, entries=entries)


@pytest.mark.parametrize("size", [0, 10, 40_000, 70_000, MIB])
def test_a_reader_finds_the_messages_that_were_sent(size: int) -> None:
    sent = [
        an_append(7, bytes(size), b"b"),
        Message(msg_type=MsgHeartbeat, to=2, from_=1, term=2, commit=6),
        *(an_append(9 + n, bytes(size)) for n in range(20)),
    ]
    pieces = encode_message_frames(sent)
    frames = FrameDecoder(PEER_FRAME_BYTES_MAX).feed(b"".join(pieces))
    assert len(frames) == 1 + 22 * size // PEER_FRAME_BYTES_MAX
    assert [message for frame in frames for message in parse_frame(frame).messages] == sent
    # One piece a frame, or what is large is a piece of its own: nothing is copied for its frame.
    if size < 2_000:
        assert len(pieces) == len(frames)
    elif size > 65_536:
        assert sum(len(piece) >= size for piece in pieces) == 21
        assert max(map(len, pieces)) < size + 100
