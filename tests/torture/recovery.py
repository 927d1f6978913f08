"""How long a group took to go on after a fault, and how much of that was not its own.

A process that was killed takes its time to start, and longer on a busy machine; the group's part
begins when a majority of its processes runs and each of those has links to all others of them. The
daemons' logs say when that was, so nothing is asked of them meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Final

STAMP: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
"""How the daemons' logs write the time."""
_EVENTS: Final = (
    b'"started"',
    b'"peer connected"',
    b'"peer unreachable"',
    b'"leadership"',
    b'"the event loop stood still"',
)


@dataclass
class Recovery:
    """From one healing to the first write begun after it, in seconds.

    Attributes:
        whole: From the healing.
        own: From the moment at which a majority ran and was linked; None: the logs cannot tell.
        bound: Two longest election timeouts.
        restart: Whether processes had to start.
    """

    whole: float
    own: float | None
    bound: float
    restart: bool


def percentile(values: Iterable[float], part: float) -> float:
    """Return what ``part`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield those lines of a daemon's log that tell of starts, links and leaders."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        if any(word in line for word in _EVENTS):
            try:
                yield json.loads(line)
            except ValueError:
                continue  # A process was killed while it wrote it.


def linked_at(logs: dict[int, list[dict[str, Any]]], size: int, since: str) -> str:
    """Return when a majority ran and was linked among itself, not before ``since``; "" if never.

    Args:
        logs: Of each node: its `events`.
        size: How many voters there are.
        since: A timestamp as in the logs.
    """
    up: dict[int, set[int]] = {node: set() for node in logs}
    moments = sorted(
        ((entry["timestamp"], node, entry) for node, log in logs.items() for entry in log),
        key=lambda moment: moment[0],
    )
    # Who starts after it did not run at it: nobody wrote down that it died.
    dead = {
        node
        for node, log in logs.items()
        if any(entry["event"] == "started" and entry["timestamp"] >= since for entry in log)
    }
    begun = False
    for when, node, entry in moments:
        if not begun and when >= since:
            up |= {dead_node: set() for dead_node in dead}
            if _majority(up, size):
                return since
            begun = True
        if entry["event"] == "started":
            up[node] = set()
        elif entry["event"] == "peer connected":
            up[node].add(entry["peer"])
        elif entry["event"] == "peer unreachable":
            up[node].discard(entry["peer"])
        if begun and _majority(up, size):
            return str(when)
    return since if not begun and _majority(up, size) else ""


def _majority(up: dict[int, set[int]], size: int) -> bool:
    return any(
        all(b in up[a] and a in up[b] for a, b in combinations(some, 2))
        for some in combinations(sorted(up), size // 2 + 1)
    )


def timeline(logs: dict[int, list[dict[str, Any]]], since: str) -> Iterator[str]:
    """Yield what happened since a moment, in words; for a recovery that took long."""
    start = datetime.fromisoformat(since)
    moments = sorted(
        (
            (entry["timestamp"], node, entry)
            for node, log in logs.items()
            for entry in log
            if entry["timestamp"] >= since
        ),
        key=lambda moment: moment[0],
    )
    for when, node, entry in moments:
        seconds = (datetime.fromisoformat(when) - start).total_seconds()
        told = {
            name: value
            for name, value in entry.items()
            if name in ("peer", "reason", "role", "term", "leader", "seconds")
        }
        yield f"{seconds:6.2f} node {node} {entry['event']} {told}"
