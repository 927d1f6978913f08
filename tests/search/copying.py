"""Copies of nodes, and the question whether two nodes are in the same state.

Both walk over all attributes of all objects, so that what is added to the core is copied and
compared without anybody thinking of it. What is left out of the comparison is listed, with the
reason.
"""

from __future__ import annotations

import random
from collections import deque
from enum import Enum
from typing import Any, Final

from raft import Raft, RawNode, StateRole
from raft._membership import LoggedChange
from raft.eraftpb import ConfState, Entry, HardState, Message, Snapshot
from raft.logger import NullLogger
from raft.progress import Configuration, ProgressSet
from raft.raft_log import RaftLog
from tests.search.server import Disk, Durable, Server, Settings

_SHARED: Final = {
    # Never changed once made (messages and entries by the core's promise), or the same for all.
    *(int, bool, str, bytes, float, type(None), frozenset, LoggedChange, Configuration, Durable),
    *(Entry, Message, Snapshot, ConfState, HardState, random.Random, NullLogger, Settings),
}
_ATTRIBUTES: Final[dict[type, tuple[str, ...]]] = {}


def _attributes(kind: type) -> tuple[str, ...]:
    """The names of all slots of `kind`."""
    names = _ATTRIBUTES.get(kind)
    if names is None:
        found: list[str] = []
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            found.extend((slots,) if isinstance(slots, str) else slots)
        names = tuple(name for name in found if name not in ("__dict__", "__weakref__"))
        _ATTRIBUTES[kind] = names
    return names


def copy_of(server: Server) -> Server:
    """Return a copy that can be changed without changing the original."""
    made: Server = _copy(server, {})
    return made


def _copy(value: Any, made: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _SHARED or issubclass(kind, Enum):
        return value
    found = made.get(id(value))
    if found is not None:
        return found
    result: Any
    if kind is list:
        result = made[id(value)] = [_copy(item, made) for item in value]
    elif kind is tuple:
        result = tuple([_copy(item, made) for item in value])
    elif kind is dict:
        result = made[id(value)] = {k: _copy(item, made) for k, item in value.items()}
    elif kind is set:
        result = made[id(value)] = set(value)
    elif kind is deque:
        result = made[id(value)] = deque([_copy(item, made) for item in value])
    else:
        result = made[id(value)] = object.__new__(kind)
        for name in _attributes(kind):
            setattr(result, name, _copy(getattr(value, name), made))
        own = getattr(value, "__dict__", None)
        if own:
            target = result.__dict__
            for name, item in own.items():
                target[name] = item if type(item) in _SHARED else _copy(item, made)
    return result


_SAME_FOR_ALL: Final = frozenset({"logger", "_logger", "rng", "id", "settings", "first"})
_CONSTANT: Final = frozenset(
    # Settings of a node, which nothing here changes.
    {
        "max_inflight",
        "max_inflight_bytes",
        "max_msg_size",
        "max_uncommitted_size",
        "max_committed_size_per_ready",
        "max_apply_unpersisted",
        "max_pending_reads",
        "disable_proposal_forwarding",
        "step_down_on_removal",
        "allow_removed_ids",
        "fetches_asynchronously",
        "priority",
        "check_quorum",
        "gives_leases",
        "pre_vote",
        "skip_bcast_commit",
        "batch_append",
        "heartbeat_timeout",
        "election_timeout",
        "_min_timeout",
        "_max_timeout",
        "successor_ticks",
        "catch_up_rounds",
        "catch_up_round_ticks",
    }
)
_CLOCKS: Final = frozenset(
    # No time passes here: candidacies, heartbeats and the end of a transfer are events.
    {
        "election_elapsed",
        "heartbeat_elapsed",
        "randomized_election_timeout",
        "ticks",
        "transfer_elapsed",
        "transfer_ticks_limit",
        "quiet_until",
    }
)
_LEFT_OUT: Final[dict[type, frozenset[str]]] = {
    Raft: _SAME_FOR_ALL | _CONSTANT | _CLOCKS,
    # Between events a node has nothing ready: what it last handed out is what is.
    RawNode: _SAME_FOR_ALL | {"_number", "_soft_state", "_hard_state", "_written"},
    # The log is compared as the disk's, which the unstable part is empty beside.
    RaftLog: _SAME_FOR_ALL | {"store", "unstable"},
    # Derived from the others (`_changed`).
    ProgressSet: _SAME_FOR_ALL | {"_ids"},
    Disk: frozenset({"log"}),
}
_LEADERS_ONLY: Final = frozenset(
    # A node that does not lead sets these anew when it comes to lead, before it reads them.
    {"progress", "catch_up", "pending_conf_index"}
)
_CANDIDATES_ONLY: Final = frozenset({"votes"})


def state_of(server: Server) -> tuple[Any, ...]:
    """Return a value that is equal for two servers exactly if they are in the same state.

    The same: whatever happens to them from here on, both do the same.
    """
    raft = server.raw.raft
    unstable = raft.raft_log.unstable
    assert unstable.offset == unstable.next_index
    assert unstable.snapshot is None
    assert not server.raw.has_ready()
    assert not server.out
    left_out: set[str] = set()
    if raft.state is not StateRole.Leader:
        left_out |= _LEADERS_ONLY
    if raft.state not in (StateRole.Candidate, StateRole.PreCandidate):
        left_out |= _CANDIDATES_ONLY
    durable, written = server.synced, server.disk.content()
    first_number = server.waiting[0][0] if server.waiting else 0
    return (
        _value(server.raw, left_out),
        _durable(written),
        durable == written or _durable(durable),
        server.handed,
        tuple(
            (number - first_number, tuple([message.SerializeToString() for message in held]))
            for number, held in server.waiting
        ),
        tuple(
            (one.number - first_number, one.last_index, one.last_term, one.snapshot_index)
            for one in server.raw._written
        ),
        # Only whether it is above the applied index is ever asked.
        raft.pending_conf_index
        if raft.state is StateRole.Leader and raft.pending_conf_index > raft.raft_log.applied
        else 0,
    )


def _durable(held: Durable) -> tuple[Any, ...]:
    return (
        held.base,
        held.base_term,
        tuple([entry.SerializeToString() for entry in held.log]),
        held.term,
        held.vote,
        held.commit,
        held.conf_state.SerializeToString(),
        held.applied,
    )


def _value(value: Any, left_out: set[str]) -> Any:
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None)):
        return value
    if isinstance(value, Enum):
        return value.value
    if kind is frozenset or kind is set:
        return tuple(sorted(value))
    if kind is list or kind is tuple or kind is deque:
        return tuple([_value(item, left_out) for item in value])
    if kind is dict:
        return tuple([(k, _value(item, left_out)) for k, item in sorted(value.items())])
    if kind in (Entry, Message, Snapshot, ConfState, HardState):
        return value.SerializeToString()
    never = _LEFT_OUT.get(kind, _SAME_FOR_ALL)
    found = [
        _value(getattr(value, name), left_out)
        for name in _attributes(kind)
        if name not in never and name not in left_out
    ]
    own = getattr(value, "__dict__", None)
    if own:
        found += [
            _value(item, left_out)
            for name, item in own.items()
            if name not in never and name not in left_out
        ]
    return tuple(found)
