"""Small tools for messages and entries: limits, majorities, sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from raft import eraftpb
from raft.eraftpb import Entry, Message, MessageType, Snapshot

NO_LIMIT: Final = 2**64 - 1
"""A size in bytes that means: no limit."""

INVALID_ID: Final = 0
"""The id that no node has; as a leader's id it means: none known."""

INVALID_INDEX: Final = 0
"""The index that no entry has; the log starts at 1."""

entry_size: Final[Callable[[Entry], int]] = Entry.ByteSize
"""The encoded size of an entry in bytes. It walks the entry: call it once an entry, no more."""

# How many entries are measured at a time, first and at most: enough that the work is done in C, few
# enough that little is measured in vain beyond the limit. To measure an entry is to encode it, so
# with values of a megabyte, of which one fits, the first chunk is what counts.
_CHUNK_FIRST = 4
_CHUNK = 64


def majority(total: int) -> int:
    """Return how many of `total` voters are a majority: 2 of 3, 3 of 4."""
    return total // 2 + 1


def vote_resp_msg_type(msg_type: MessageType) -> MessageType:
    """Return the type of the answer to a vote or pre-vote request.

    Raises:
        ValueError: `msg_type` is neither.
    """
    if msg_type == eraftpb.MsgRequestVote:
        return eraftpb.MsgRequestVoteResponse
    if msg_type == eraftpb.MsgRequestPreVote:
        return eraftpb.MsgRequestPreVoteResponse
    name = MessageType.Name(msg_type)
    raise ValueError(f"{name} asks for no vote, so it has no response type")


def is_empty_snap(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot covers nothing, which on the wire is the same as being absent."""
    return snapshot.metadata.index == 0


def is_continuous_ents(message: Message, entries: Sequence[Entry]) -> bool:
    """Tell whether `entries` go on where the message's end; true if either has none."""
    if not entries or not message.entries:
        return True
    return message.entries[-1].index + 1 == entries[0].index


def fitting_count(entries: Sequence[Entry], start: int, stop: int, max_size: int | None) -> int:
    """Return how many of `entries[start:stop]` fit in `max_size` bytes, at least one.

    The work grows with what fits, not with what is there.

    Args:
        entries: Any sequence of entries; it is only read.
        start, stop: Positions, `0 <= start <= stop <= len(entries)`.
        max_size: Encoded size in bytes. None or `NO_LIMIT`: all fit.
    """
    wanted = stop - start
    if wanted <= 1 or max_size is None or max_size == NO_LIMIT:
        return wanted
    if max_size == 0:
        return 1
    left = max_size
    position = start
    length = _CHUNK_FIRST
    while position < stop:
        chunk = entries[position : min(position + length, stop)]
        length = min(2 * length, _CHUNK)
        sizes = list(map(entry_size, chunk))
        total = sum(sizes)
        if total > left:
            for size in sizes:
                left -= size
                if left < 0:
                    break
                position += 1
            break
        left -= total
        position += len(chunk)
    return max(position - start, 1)


def limit_size(entries: list[Entry], max_size: int | None) -> None:
    """Cut `entries` down in place to the longest prefix of `max_size` bytes, at least one entry.

    Args:
        entries: Cut in place.
        max_size: Encoded size in bytes. None or `NO_LIMIT`: nothing is cut.
    Source: raft-rs `util::limit_size`.
    """
    count = fitting_count(entries, 0, len(entries), max_size)
    if count < len(entries):
        del entries[count:]
