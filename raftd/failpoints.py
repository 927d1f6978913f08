"""Places where a test has the process die, as kill -9 or a power cut would have it.

``RAFTD_FAIL=name:n`` kills the process when it comes to the place ``name`` for the n-th time. The
kernel does it, at once: no handler runs, no buffer is flushed. A line on standard error says so
first, so that whoever counts such deaths counts only those that happened. Unset, which is how it is
everywhere but in tests, a place costs one comparison, and under ``python -O`` nothing is honoured.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterable
from typing import Final

from raft.eraftpb import (
    BeginMembershipChange,
    ConfChange,
    Entry,
    EntryConfChange,
    FinalizeMembershipChange,
    RollbackMembershipChange,
)

VARIABLE: Final = "RAFTD_FAIL"

PLACES: Final = {
    "persist": "a Ready is about to be written",
    "written": "it is written, not durable",
    "durable": "it is durable, nothing of it was sent",
    "apply": "committed entries are about to be applied",
    "applied": "they are applied in memory, not written",
    "saved": "what refers to large values is written without those that are durable",
    "answer": "what they changed is written, or in the log for good; no client was answered",
    "vote": "a vote is durable and about to be sent",
    "snapshot.begin": "a snapshot file is about to be made",
    "snapshot.write": "a chunk of it was written",
    "snapshot.rename": "it is durable under a temporary name",
    "snapshot.renamed": "it has its name; the directory is not durable",
    "snapshot.made": "it is complete",
    "snapshot.prune": "older ones are about to be removed",
    "compact.begin": "the log's beginning is about to be dropped",
    "compact.written": "it is dropped, not durable",
    "snapshot.chunk": "a piece of a snapshot was received",
    "snapshot.received": "all of it was received and checked",
    "snapshot.stage": "a part of it was staged",
    "snapshot.staged": "all of it is staged, beside the state in force",
    "snapshot.install": "it is about to become the state in force",
    "snapshot.installed": "it is the state in force, not durable",
    "address.applied": "a member's new address is applied in memory, not written",
}
"""Every place, and what has happened when the process comes to it."""

_KINDS: Final = {
    "begin": "the entry that makes the group joint",
    "finalize": "the entry that ends the joint state",
    "rollback": "the entry that takes the change back",
}
_STEPS: Final = {
    "append": "is about to be written to the log; a leader has sent it already",
    "durable": "is durable in the log here; a follower has told nobody",
    "apply": "is committed, and about to be applied",
    "applied": "is applied in memory, not written",
}

CHANGES: Final = {
    "change.propose": "a change was looked into and is about to be appended",
    "change.seen": "a configuration is in force; links and whoever waits have not heard of it",
} | {
    f"{kind}.{step}": f"{entry} {happens}"
    for kind, entry in _KINDS.items()
    for step, happens in _STEPS.items()
}
"""Further places, of a change of membership: a member comes to them only while there is one."""

_hits: Counter[str] = Counter()


def _parse(text: str) -> tuple[str, int]:
    name, _, times = text.partition(":")
    if name not in PLACES | CHANGES or not (times or "1").isdigit():
        raise SystemExit(
            f"raftd: {VARIABLE}={text}: write name:n, with a name of: {', '.join(PLACES | CHANGES)}"
        )
    return name, int(times or "1")


_name, _times = _parse(os.environ[VARIABLE]) if __debug__ and VARIABLE in os.environ else ("", 0)


_OF_A_CHANGE: Final = _name.partition(".")[0] in _KINDS


def armed() -> str:
    """Return the place where the process is to die; empty: none, as in all use but tests."""
    return _name


def hit(name: str) -> None:
    """Come to a place: die here if this is the one, and the time has come."""
    if name == _name:
        _hits[name] += 1
        if _hits[name] == _times:
            os.write(2, f"failpoint {name} hit {_times}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def hit_changes(step: str, entries: Iterable[Entry]) -> None:
    """Come to a step with ``entries``: a place for each that changes the membership."""
    if not _OF_A_CHANGE:
        return
    for entry in entries:
        if entry.entry_type == EntryConfChange:
            kind = ConfChange.FromString(entry.data).change_type
            if kind in _CHANGE_TYPES:
                hit(f"{_CHANGE_TYPES[kind]}.{step}")


_CHANGE_TYPES: Final = {
    BeginMembershipChange: "begin",
    FinalizeMembershipChange: "finalize",
    RollbackMembershipChange: "rollback",
}
