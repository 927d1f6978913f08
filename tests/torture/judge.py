"""Whether what the clients heard can be true, by two checkers that know nothing of each other.

The log says the order, so the first replays it: each acknowledged write is in it once, where its
answer said, with the result its answer gave; each read saw the state of its index; whatever was
answered before something else began has the lower index; what was refused is not there. The second
searches an order that explains the answers and never looks at the log, but for which of the writes
without an answer happened at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raftwire import kv
from raftwire.proto.admin_pb2 import LogEntry
from tests.harness.checkers import Violation, check_with_detangle
from tests.harness.cluster import Op


@dataclass
class Replay:
    """The key-value store as the log makes it."""

    results: dict[int, bytes]
    """Of each write: "yes" or "no"."""
    first: dict[bytes, int]
    """Where each operation is applied."""
    times: dict[bytes, list[int]]
    values: dict[bytes, list[bytes]]
    changes: dict[bytes, int]
    """How often each key was changed."""

    def value(self, key: bytes, index: int) -> bytes:
        """Return what a key held at an index."""
        at = bisect_right(self.times.get(key, []), index)
        return self.values[key][at - 1] if at else b""


def replay(log: Iterable[LogEntry]) -> Replay:
    """Apply the log, each client key once.

    Raises:
        Violation: A write that nobody repeats is there twice.
    """
    state = Replay({}, {}, {}, {}, {})
    keys: set[str] = set()
    for entry in log:
        if entry.type != "normal":
            continue
        command = kv.KvCommand.FromString(entry.data)
        if command.HasField("put"):
            key, value, wanted = command.put.key, command.put.value, None
        else:
            key, value, wanted = command.cas.key, command.cas.put, command.cas.value
        if entry.key:
            if entry.key in keys:
                continue
            keys.add(entry.key)
        elif value in state.first:
            raise Violation("doubled", f"{value!r} is at {state.first[value]} and {entry.index}")
        state.first[value] = entry.index
        now = state.value(key, entry.index)
        if wanted is not None and now != wanted:
            state.results[entry.index] = b"no"
            continue
        state.results[entry.index] = b"yes"
        state.times.setdefault(key, []).append(entry.index)
        state.values.setdefault(key, []).append(value)
        state.changes[key] = state.changes.get(key, 0) + 1
    return state


def check_with_log(
    history: Iterable[Op], refused: Iterable[Op], log: Mapping[int, LogEntry]
) -> Replay:
    """Check the history against the log, which is whole.

    Raises:
        Violation: Something was lost, doubled, stale or out of order.
    """
    indexes = sorted(log)
    if indexes and indexes != list(range(indexes[0], indexes[-1] + 1)):
        raise Violation("log", "the applied log has holes")
    state = replay(log[index] for index in indexes)
    ops = list(history)
    for op in ops:
        if not op.returned:
            continue
        if op.kind == "get":
            expected = state.value(op.key, op.index)
            if op.result != expected:
                raise Violation(
                    "read", f"{op} read {op.result!r}; at {op.index} it was {expected!r}"
                )
            continue
        if state.first.get(op.session) != op.index:
            raise Violation(
                "lost", f"{op} was acknowledged; the log has it at {state.first.get(op.session)}"
            )
        if state.results[op.index] != op.result:
            raise Violation("result", f"{op} was answered {op.result!r}, the log says otherwise")
    for op in refused:
        if op.session in state.first:
            raise Violation(
                "refused", f"{op} was said to be not applied; see {state.first[op.session]}"
            )
    _check_real_time(ops)
    return state


def _check_real_time(ops: Iterable[Op]) -> None:
    """Whatever was answered before something else began comes first in the log."""
    moments: list[tuple[int, bool, Op]] = []
    for op in ops:
        if op.returned:
            moments += [(op.invoked, False, op), (op.returned, True, op)]
    floor = 0
    floors: dict[int, int] = {}
    for _, returned, op in sorted(moments, key=lambda moment: moment[0]):
        if not returned:
            floors[id(op)] = floor
            continue
        lowest = floors[id(op)] + (op.kind != "get")
        if op.index < lowest:
            raise Violation("order", f"{op} is at {op.index}; {lowest - 1} was answered before")
        floor = max(floor, op.index)


def check_by_search(history: list[Op], committed: Iterable[bytes]) -> tuple[int, int]:
    """Search an order that explains the history, key by key.

    Returns:
        For how many keys there is one, and for how many the search gave up.

    Raises:
        Violation: There is none.
    """
    known = set(committed)
    by_key: dict[bytes, list[Op]] = {}
    for op in history:
        by_key.setdefault(op.key, []).append(op)
    explained = 0
    for ops in by_key.values():
        explained += check_with_detangle(ops, known)
    return explained, len(by_key) - explained
