"""What the tests of membership share: changing real groups, and seeing where a change stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, Self

from raftwire import AdminError, Client, admin
from raftwire.admin import MemberKind
from raftwire.proto.admin_pb2 import (
    Configuration,
    LogEntry,
    MemberChangeReply,
    MemberStatusReply,
)
from tests.cli.conftest import Ran, run_ctl
from tests.harness.processes import Cluster, wait_for

SECONDS = 30.0
"""That a change may take; reached only when something is wrong."""


def ctl(group: Cluster, node_id: int, *arguments: str) -> Ran:
    """Run raftctl against a node."""
    return run_ctl("-s", str(group[node_id].socket), "--yes", *arguments)


def change(client: Client, kind: MemberKind, **what: Any) -> MemberChangeReply:
    """Carry out a change of membership."""
    return client.call(admin.member_change(kind, **what), SECONDS)


def member_status(group: Cluster, node_id: int, no_forward: bool = True) -> MemberStatusReply:
    """Return where a change stands as a node sees it by itself."""
    with Client(str(group[node_id].socket), timeout=5.0, no_forward=no_forward) as client:
        return client.member_status()


def phase(group: Cluster, node_id: int) -> str:
    """Return the phase a node sees; empty if it does not answer."""
    try:
        return member_status(group, node_id).phase
    except AdminError:
        return ""


def phases(group: Cluster, *ids: int) -> set[str]:
    """Return the phases that nodes see."""
    return {phase(group, node_id) for node_id in ids}


def lead(group: Cluster, node_id: int) -> None:
    """Have a node lead, and everybody know it."""
    while group.settle() != node_id:
        with group.client(*(node.id for node in group.running()), timeout=SECONDS) as client:
            client.transfer_leader(node_id)


def join(group: Cluster, *ids: int, contacts: Iterable[int] = (1, 2, 3)) -> None:
    """Start new nodes and wait until the leader has heard of them."""
    for node_id in ids:
        group.join(node_id, *contacts)

    def known() -> bool:
        return set(ids) <= set(member_status(group, group.leader()).addrs)

    wait_for(f"nodes {ids} to be known", known)


def configuration(group: Cluster, node_id: int) -> Configuration | None:
    """Return the configuration a node shows; None if it does not answer."""
    reply = group[node_id].status()
    return None if reply is None else reply.config


def same_configuration(group: Cluster, ids: Iterable[int], voters: Iterable[int] = ()) -> None:
    """Wait until these nodes show one configuration, not joint, with these voters if given."""
    wanted, expected = list(ids), sorted(voters)

    def agreed() -> bool:
        found = [configuration(group, node_id) for node_id in wanted]
        if any(one is None or one.joint for one in found):
            return False
        seen = {
            (one.index, tuple(one.voters), tuple(one.learners)) for one in found if one is not None
        }
        return len(seen) == 1 and (not expected or list(next(iter(seen))[1]) == expected)

    wait_for(f"nodes {wanted} to end in one configuration", agreed)


def history(group: Cluster, node_id: int) -> list[LogEntry]:
    """Return all proposals a node has applied; also those its Raft log has never held."""
    with group[node_id].client(SECONDS) as client:
        return list(client.log_read(1, types=["normal"]))


def role(group: Cluster, node_id: int) -> str:
    """Return a node's role; empty if it does not answer."""
    reply = group[node_id].status()
    return "" if reply is None else reply.role


class Stalls:
    """How long this machine made a thread wait that had nothing to do: what it cannot promise."""

    PAUSE = 0.002

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            due = time.monotonic() + self.PAUSE
            time.sleep(self.PAUSE)
            now = time.monotonic()
            self._late.append((now, now - due))

    def longest(self, start: float, end: float) -> float:
        """Return the longest delay of a wake-up in ``[start, end]``, seconds."""
        return max((late for at, late in self._late if start <= at <= end), default=0.0)
