"""The core alone: RawNodes in one process with their logs in memory; microseconds a proposal."""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from raft import Config, MemStorage, RawNode
from raft.eraftpb import Message
from tests.bench.machine import BenchError

_DATA = b"x" * 256
BURST = 64
"""Proposals between two rounds of messages."""

KEPT = 200_000
"""Entries a log keeps; those before are compacted away, as entries in memory take 1 KB each."""

BACKLOG_MAX: Final = 1_000_000
"""Entries of the longest backlog: none of it can be compacted away, and in the end three nodes hold
it. Ten million took 23 GB."""


class Group:
    """Nodes 1 to `members`, node 1 leading; messages are delivered by handing them over.

    Attributes:
        applied: Entries that node 1 has handed out as committed.
        reachable: Whom messages from and to reach; all at first.
    """

    def __init__(self, members: int) -> None:
        ids = list(range(1, members + 1))
        self.applied = 0
        self.reachable = set(ids)
        self.nodes: dict[int, RawNode[MemStorage]] = {}
        self._waiting: deque[Message] = deque()
        for id_ in ids:
            config = Config(
                id=id_, election_tick=10, heartbeat_tick=1, applied=1, max_size_per_msg=1 << 20,
                max_inflight_msgs=256, batch_append=True,
            )  # fmt: skip
            storage = MemStorage.new_with_conf_state((ids, []))
            self.nodes[id_] = RawNode(config, storage, rng=random.Random(id_))
        self.leader = self.nodes[1]
        self.leader.campaign()
        self.settle()

    def settle(self) -> None:
        """Carry out what every node has ready, and deliver messages, until nothing is left."""
        waiting, reachable = self._waiting, self.reachable
        busy = True
        while busy:
            busy = False
            for id_, node in self.nodes.items():
                if not node.has_ready():
                    continue
                busy = True
                ready = node.ready()
                core = node.store.wl()
                core.append(ready.entries)
                if ready.hs is not None:
                    core.set_hardstate(ready.hs)
                waiting.extend(ready.messages)
                if node is self.leader:
                    self.applied += len(ready.committed_entries)
                node.advance(ready)
                while waiting:
                    message = waiting.popleft()
                    if message.to in reachable and id_ in reachable:
                        self.nodes[message.to].step(message)

    def grow(self, count: int) -> None:
        """Have `count` entries proposed and replicated, and keep the newest `KEPT` of the log."""
        while count > 0:
            self.propose(min(count, KEPT))
            count -= KEPT
            for node in self.nodes.values():
                applied = node.raft.raft_log.applied
                if applied > KEPT:
                    node.store.wl().compact(applied - KEPT)

    def propose(self, count: int, burst: int = BURST, batch: bool = True) -> None:
        """Have `count` entries proposed and replicated, `burst` between two settlings."""
        items = [(b"", _DATA)] * burst
        for _ in range(count // burst):
            if batch:
                self.leader.propose_batch(items)
            else:
                for _ in range(burst):
                    self.leader.propose(b"", _DATA)
            self.settle()


@dataclass
class _Timer:
    group: Group
    count: int

    def us(self, burst: int = BURST, batch: bool = True) -> float:
        """Return microseconds of processor time a proposal, best of three.

        Not of the clock: nothing is waited for, and others share the machine.
        """
        best = float("inf")
        for _ in range(3):
            before = self.group.applied
            gc.collect()
            began = time.process_time()
            self.group.propose(self.count, burst, batch)
            took = time.process_time() - began
            done = self.group.applied - before
            if done != self.count // burst * burst:
                raise BenchError(f"{done} of {self.count} proposals were applied")
            best = min(best, took / done)
        return round(best * 1e6, 2)


def modes(count: int = 20_000) -> dict[str, float]:
    """Three nodes: proposals in batches of 64, 64 one by one, and each alone."""
    timer = _Timer(Group(3), count)
    timer.group.propose(6_400)
    return {
        "batch_us": timer.us(),
        "singly_us": timer.us(batch=False),
        "lone_us": timer.us(burst=1, batch=False),
    }


def by_members(count: int = 20_000) -> dict[int, float]:
    """Microseconds a proposal, in batches, by members of the group."""
    out: dict[int, float] = {}
    for members in (1, 3, 5, 7):
        timer = _Timer(Group(members), count)
        timer.group.propose(6_400)
        out[members] = timer.us()
    return out


def by_length(lengths: list[int], count: int = 20_000) -> dict[int, float]:
    """Microseconds a proposal, in batches, when that many entries were proposed before."""
    out: dict[int, float] = {}
    timer = _Timer(Group(3), count)
    length = 0
    for wanted in lengths:
        timer.group.grow(wanted - length)
        out[wanted] = timer.us()
        length = wanted + 3 * count
    return out


def by_backlog(backlogs: list[int], count: int = 20_000) -> dict[int, dict[str, float]]:
    """Microseconds to append to a backlog of uncommitted entries, and to drain it, by its size.

    Sizes above `BACKLOG_MAX` are left out.
    """
    out: dict[int, dict[str, float]] = {}
    for backlog in backlogs:
        if backlog > BACKLOG_MAX:
            continue
        group = Group(3)
        group.propose(6_400)
        group.reachable.clear()
        group.propose(backlog)
        group.applied = 0
        began = time.process_time()
        group.propose(count)
        appended = time.process_time()
        if group.applied:
            raise BenchError("entries were committed without a majority")
        group.reachable.update(group.nodes)
        while group.applied < (backlog + count) // BURST * BURST - BURST:
            before = group.applied
            group.leader.ping()
            group.settle()
            if group.applied == before:
                raise BenchError(f"the backlog did not drain: {before} of {backlog + count}")
        drained = time.process_time()
        out[backlog] = {
            "append_us": round((appended - began) / count * 1e6, 2),
            "drain_us": round((drained - appended) / group.applied * 1e6, 2),
        }
    return out
