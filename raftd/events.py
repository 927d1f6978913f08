"""The names of what the daemon logs, and the recent ones kept for those who ask.

A name is a promise: alerts and scripts match on it. `NAMES` is the whole list; a test holds the
code to it, and the manual is made from it. What is kept (`EventLog`) does not depend on the log
level.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

EVENTS_KEPT: Final = 1_000

NAMES: Final[Mapping[str, tuple[str, str]]] = {
    # Life of the process.
    "serving": ("life", "The data is open, all sockets listen."),
    "stopping": ("life", "Told to stop; leadership is handed over, what was accepted is finished."),
    "stopping at once": ("life", "Told to stop a second time."),
    "handing leadership over": ("life", "On the way to stop."),
    "the stop was not orderly": ("life", "Something failed on the way to stop; nothing is lost."),
    "stopped": ("life", "All is closed."),
    "raftd stops": ("life", "Ends by itself, with this status, because of this."),
    "where it happened": ("life", "The traceback behind the line before."),
    "settings reloaded": ("life", "The settings were read again; these are in force now."),
    "settings not reloaded": ("life", "They were read again and are wrong; nothing has changed."),
    "settings need a restart": ("life", "These differ from those in force, until a restart."),
    "log level set": ("life", "By an administrator, or back again after the time given."),
    "page failed": ("life", "An answer to a browser or a probe could not be made."),
    "dump": ("life", "What every task was doing, asked for with SIGUSR1."),
    "library": ("life", "A message of a library."),
    "made a new group's member": ("life", "A data directory was made, from --peers."),
    "recovered data": ("life", "It was made a group's of its own when another lost its majority."),
    "found the group, waiting to be added": ("life", "A data directory was made, from --join."),
    "no group to join here yet": ("life", "A node named in --join did not answer as one."),
    "peers differ": ("life", "--peers and the group's own membership, which is used."),
    # Elections, as the core and the node see them.
    "started": ("election", "The core has read its state."),
    "leadership": ("election", "This node's role, or the leader it knows, has changed."),
    "candidate": ("election", "This node stands for election."),
    "pre-candidate": ("election", "This node asks whether it would be elected."),
    "leader": ("election", "This node has been elected."),
    "no quorum heard of: stepping down": ("election", "A leader gives up: it hears no majority."),
    "stepping down: no voter any more": ("election", "A leader has left the voters."),
    "transferring leadership": ("election", "A leader hands over to another voter."),
    "not campaigning: committed membership changes are to be applied": (
        "election",
        "Elections wait for that.",
    ),
    "not campaigning: a leader may read by its lease": (
        "election",
        "A node that has just started waits until no lease of before is live.",
    ),
    # Membership.
    "configuration": ("config", "The membership in force has changed."),
    "joint": ("config", "The group needs two majorities from now on."),
    "left joint": ("config", "The group is whole again, in the new or the old configuration."),
    "membership": ("config", "One member was added, promoted, demoted or removed."),
    "membership change has no effect": ("config", "A change was committed that had become void."),
    "still joint": ("config", "The group has been between two configurations for long."),
    "a node waits to be added": ("config", "A node started with --join has announced itself."),
    "left out of the group": ("config", "A member does not count this node among its group."),
    "removed from the group": ("config", "This node is no member any more and may be stopped."),
    # Snapshots and log.
    "snapshot made": ("snapshot", "Of the state as applied."),
    "snapshot sent": ("snapshot", "To a member that needed it."),
    "snapshot not made": ("snapshot", "Its file could not be written; the state is not touched."),
    "snapshot not sent": ("snapshot", "It is tried again."),
    "snapshot not installed": ("snapshot", "A leader's snapshot was refused; it tries again."),
    "snapshot damaged": ("snapshot", "A file does not hold what was written; it is not offered."),
    "sending snapshot": ("snapshot", "A member needs entries that are gone."),
    "restoring snapshot": ("snapshot", "This node takes over a leader's state."),
    "snapshot without this node": ("snapshot", "A snapshot was refused: it does not name us."),
    "entries of the log differ from the leader's and are replaced": (
        "snapshot",
        "They were never committed.",
    ),
    "group settings changed": ("config", "What the group remembers, as told to its leader."),
    "group settings not changed": ("config", "What the leader was told cannot be."),
    # Peers.
    "peer connected": ("peer", "The link to a member is up."),
    "new address of a peer not reached": (
        "peer",
        "A member is said to listen elsewhere and does not; the open connection serves on.",
    ),
    "peer unreachable": ("peer", "The link to a member is down; said once for each reason."),
    "peer connection refused": ("peer", "Somebody was turned away; the first, then every 100th."),
    "refused a message": ("peer", "A member sent what no honest one sends; as above."),
    # Disk and limits.
    "slow disk": ("storage", "Making writes durable took longer than log.slow_fsync."),
    "slow apply": ("storage", "Writing and applying a batch took longer than log.slow_apply."),
    "disk full": ("limit", "Proposals are refused: quota, or free space, is used up."),
    "disk has room again": ("limit", "Proposals are taken again."),
    "the event loop stood still": ("limit", "The process was stopped, or had no processor."),
    "the data could not be closed in good order": ("storage", "It is whole all the same."),
    # Security.
    "admin client refused": ("security", "A local user may not speak to this node."),
    "admin request": ("security", "Something was changed by an administrator: who, and what."),
    "certificates loaded": ("security", "The TLS files were read; when they expire."),
    "certificates not loaded": ("security", "They were read again and are bad; the old are used."),
    "certificate expires soon": ("security", "Within 30 days."),
}
"""Every name, with its kind and what it means."""


class Event(NamedTuple):
    """Something that happened."""

    sequence: int
    time_ms: int
    kind: str
    name: str
    level: str
    fields: Mapping[str, str]


class EventLog:
    """The last events, numbered from 1; whoever follows is woken by new ones.

    Args:
        now_ms: Returns the wall clock.
        keep: How many.
    """

    def __init__(self, now_ms: Callable[[], int], keep: int = EVENTS_KEPT) -> None:
        self._now_ms = now_ms
        self._kept: deque[Event] = deque(maxlen=keep)
        self._sequence = 0
        self._waiting: list[asyncio.Future[None]] = []

    def take(self, name: str, level: str, values: Mapping[str, Any]) -> None:
        """Note what was logged."""
        kind = NAMES[name][0] if name in NAMES else "other"
        self._sequence += 1
        fields = {key: _words(value) for key, value in values.items() if key != "exc_info"}
        self._kept.append(Event(self._sequence, self._now_ms(), kind, name, level, fields))
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, sequence: int) -> list[Event]:
        """Return the kept events with a higher number, oldest first."""
        return [event for event in self._kept if event.sequence > sequence]

    async def more(self, sequence: int) -> None:
        """Return when there is an event with a higher number."""
        while self._sequence <= sequence:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter


def _words(value: Any) -> str:
    # A traceback or a task dump is for the log; here it would push out everything else.
    return (value if isinstance(value, str) else str(value))[:500]
