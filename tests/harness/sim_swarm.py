"""What one seed decides before anything runs: the group, its configuration, and which faults.

Each seed switches most faults off and some far up (swarm testing): a bug that needs calm in one
place and storm in another is not found by running everything at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from raft import NO_LIMIT, Config, ReadOnlyOption


@dataclass(slots=True)
class Settings:
    """A seed's settings. Times are in milliseconds of simulated time."""

    # The group.
    voters: int = 3
    learners: int = 0
    spares: int = 0
    # The core.
    election_tick: int = 10
    heartbeat_tick: int = 1
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False
    max_size_per_msg: int = NO_LIMIT
    max_inflight_msgs: int = 256
    max_inflight_bytes: int = 0
    max_uncommitted_size: int = NO_LIMIT
    max_committed_size_per_ready: int = NO_LIMIT
    max_apply_unpersisted: int = 0
    skip_bcast_commit: bool = False
    batch_append: bool = False
    forwarding: bool = True
    priorities: dict[int, int] = field(default_factory=dict)
    group_commit: bool = False
    async_fetch: bool = False
    # The driver and its disk.
    mode: str = "core"
    machine: str = "kv"
    styles: tuple[str, ...] = ("async",)
    durable_apply: bool = True
    save_entries: int = 512
    max_pending: int = 10_000
    old_snapshots: bool = False
    harsh: bool = False
    crash_place: str = ""
    flush_ms: tuple[float, float] = (0.0, 0.0)
    compact_keep: int = 0
    # The network.
    delay_ms: tuple[float, float] = (1.0, 5.0)
    loss: float = 0.0
    duplicate: float = 0.0
    replay: float = 0.0
    lost_types: dict[str, float] = field(default_factory=dict)
    """Types of messages that are lost more often than others, by name."""
    tell_unreachable: float = 0.0
    serialise: bool = False
    # Clocks: a tick's length on each node is tick_ms times a factor in this range; with leases it
    # is one of its ends, for there the difference is what matters.
    tick_ms: float = 10.0
    rates: tuple[float, float] = (1.0, 1.0)
    # Faults: mean milliseconds between two of a kind; 0: never.
    faults: dict[str, float] = field(default_factory=dict)
    outage_ms: tuple[float, float] = (50.0, 500.0)
    # Clients.
    clients: int = 3
    keys: int = 3
    think_ms: float = 20.0
    timeout_ms: float = 150.0
    same_read_contexts: bool = False
    read_share: float = 0.3
    cas_share: float = 0.3
    large_share: float = 0.0
    """Of values that are so long that a daemon writes them past its journal."""
    # Phases.
    steps: int = 2000
    heal_all: bool = True

    def node_config(self, node_id: int) -> Config:
        """The core's configuration of a node."""
        return Config(
            id=node_id,
            election_tick=self.election_tick,
            heartbeat_tick=self.heartbeat_tick,
            max_size_per_msg=self.max_size_per_msg,
            max_inflight_msgs=self.max_inflight_msgs,
            max_inflight_bytes=self.max_inflight_bytes,
            check_quorum=self.check_quorum,
            pre_vote=self.pre_vote,
            read_only_option=(
                ReadOnlyOption.LeaseBased if self.lease_reads else ReadOnlyOption.Safe
            ),
            skip_bcast_commit=self.skip_bcast_commit,
            batch_append=self.batch_append,
            priority=self.priorities.get(node_id, 0),
            max_uncommitted_size=self.max_uncommitted_size,
            max_committed_size_per_ready=self.max_committed_size_per_ready,
            max_apply_unpersisted_log_limit=self.max_apply_unpersisted,
            disable_proposal_forwarding=not self.forwarding or self.mode == "engine",
        )


FAULTS = (
    "crash",
    "crash_at_point",
    "crash_all",
    "partition",
    "one_way",
    "isolate_leader",
    "pause",
    "slow_disk",
    "sync_failure",
    "transfer",
    "hand_over_unheard",
    "campaign",
    "member",
    "leave_joint",
    "rollback_campaign",
    "compact",
    "api",
    "storm",
    "snapshot_trouble",
)


_RARER = {
    "crash_all": 5.0,
    "isolate_leader": 2.0,
    "partition": 2.0,
    "sync_failure": 2.0,
    "hand_over_unheard": 2.0,
}
"""Faults that leave a group without a leader: too often, and nothing else ever happens."""


_LOST_TYPES = (
    "MsgAppend",
    "MsgAppendResponse",
    "MsgHeartbeat",
    "MsgHeartbeatResponse",
    "MsgRequestVote",
    "MsgRequestVoteResponse",
    "MsgRequestPreVote",
    "MsgRequestPreVoteResponse",
    "MsgTimeoutNow",
    "MsgSnapshot",
)


def _hand_on(s: Settings, rng: random.Random) -> None:
    """Let a small group hand itself on from node to node, the message to take over often lost.

    A leader that leaves by a Finalize of its own, and is the only one that knows of its commit, is
    rare otherwise: mostly who is to take over does so before, and finalizes.
    """
    s.voters, s.learners, s.spares = rng.choice((1, 1, 2, 3)), rng.choice((0, 1)), 3
    s.lost_types = {"MsgTimeoutNow": 0.8, "MsgRequestVote": rng.choice((0.3, 0.7))}
    s.heartbeat_tick = rng.choice((1, s.election_tick - 1))
    s.think_ms = 2.0
    s.faults.setdefault("depart", rng.choice((60.0, 200.0)))
    s.faults.setdefault("campaign", rng.choice((60.0, 200.0)))


def lease_rates(election_tick: int) -> tuple[float, float]:
    """How far clocks may differ with leases: `raft._reads.LEASE_TICKS_LOST` has the arithmetic.

    The slowest has the length that all have while the group heals: nobody's clock gains then.
    """
    return (election_tick - 2) / (election_tick - 1), 1.0


def draw(seed: int, steps: int = 2000, **fixed: Any) -> Settings:
    """Return the settings of `seed`; `fixed` ones are as given, ``more_faults`` are added."""
    rng = random.Random(f"swarm {seed}")
    chance = rng.random
    settings = Settings(steps=steps)
    s = settings
    s.voters = rng.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7))
    s.learners = rng.choice((0, 0, 0, 1, 2))
    s.spares = rng.choice((0, 1, 2, 3, 5))
    s.election_tick = rng.choice((3, 4, 5, 5, 6, 8, 10, 15))
    s.heartbeat_tick = rng.choice((1, 1, 1, 2, s.election_tick - 1))
    s.pre_vote = chance() < 0.6
    s.check_quorum = chance() < 0.6
    s.lease_reads = s.check_quorum and chance() < 0.35
    s.max_size_per_msg = rng.choice((0, 60, 200, 1000, NO_LIMIT, NO_LIMIT))
    s.max_inflight_msgs = rng.choice((1, 2, 4, 16, 256, 256))
    if chance() < 0.2 and s.max_size_per_msg != NO_LIMIT:
        s.max_inflight_bytes = max(s.max_size_per_msg, 1) * rng.choice((1, 2, 5))
    if chance() < 0.2 and s.max_size_per_msg <= 1000:
        s.max_uncommitted_size = max(s.max_size_per_msg, rng.choice((100, 400, 2000)))
    if chance() < 0.3:
        s.max_committed_size_per_ready = rng.choice((0, 60, 300))
    if chance() < 0.25:
        s.max_apply_unpersisted = rng.choice((1, 3, 100))
    s.skip_bcast_commit = chance() < 0.2
    s.batch_append = chance() < 0.4
    s.forwarding = chance() < 0.85
    if chance() < 0.15:
        s.priorities = {node_id: rng.randrange(4) for node_id in range(1, 13)}
    s.async_fetch = chance() < 0.15
    s.styles = rng.choice(
        (
            ("async",),
            ("async",),
            ("async",),
            ("simple",),
            ("append",),
            ("async", "simple", "append"),
        )
    )
    s.durable_apply = chance() < 0.7
    s.old_snapshots = chance() < 0.3
    s.harsh = chance() < 0.3
    s.flush_ms = rng.choice(((0.0, 0.0), (0.1, 1.0), (1.0, 10.0), (0.0, 60.0)))
    s.compact_keep = rng.choice((0, 0, 1, 5, 20))
    s.delay_ms = rng.choice(((0.1, 0.5), (1.0, 5.0), (1.0, 20.0), (0.1, 60.0), (5.0, 6.0)))
    s.loss = rng.choice((0.0, 0.0, 0.02, 0.1, 0.3))
    s.duplicate = rng.choice((0.0, 0.0, 0.05, 0.3))
    s.replay = rng.choice((0.0, 0.0, 0.03, 0.15))
    s.tell_unreachable = rng.choice((0.0, 0.3))
    s.serialise = seed % 50 == 7
    if s.lease_reads:
        s.rates = rng.choice(((1.0, 1.0), lease_rates(s.election_tick), lease_rates(15)))
    else:
        s.rates = rng.choice(((1.0, 1.0), (0.9, 1.1), (0.5, 2.0)))
    intensity = rng.choice((0.3, 1.0, 1.0, 3.0))
    for fault in FAULTS:
        if chance() < 0.35:
            mean = rng.choice((150.0, 400.0, 1000.0)) / intensity
            s.faults[fault] = mean * _RARER.get(fault, 1.0)
    if s.learners or s.spares or chance() < 0.3:
        s.faults.setdefault("member", 200.0)
        s.faults.setdefault("leave_joint", 200.0)
    s.outage_ms = rng.choice(((20.0, 100.0), (50.0, 500.0), (50.0, 500.0), (300.0, 1500.0)))
    if chance() < 0.85:
        # Mostly an election can succeed: its timeout is some round trips and flushes long.
        round_trip = 2 * s.delay_ms[1] + 2 * s.flush_ms[1]
        s.tick_ms = max(s.tick_ms, 2.0 * round_trip / s.election_tick)
    s.clients = rng.choice((1, 2, 3, 5))
    s.keys = rng.choice((1, 2, 4))
    s.think_ms = rng.choice((2.0, 20.0, 60.0))
    s.timeout_ms = rng.choice((60.0, 150.0, 400.0))
    s.read_share = rng.choice((0.0, 0.3, 0.3, 0.7))
    s.cas_share = rng.choice((0.0, 0.3, 0.6))
    if s.lease_reads:
        # What a lease may get wrong takes a deposed leader, and somebody who asks it just then.
        s.read_share = rng.choice((0.4, 0.7))
        s.clients, s.think_ms, s.keys = rng.choice((3, 5)), 2.0, rng.choice((1, 2))
        for fault in ("isolate_leader", "pause", "hand_over_unheard"):
            s.faults.setdefault(fault, rng.choice((300.0, 1000.0)))
        s.outage_ms = (0.5 * s.election_tick * s.tick_ms, 4.0 * s.election_tick * s.tick_ms)
    s.heal_all = chance() < 0.4
    s.same_read_contexts = chance() < 0.2 and not s.lease_reads
    s.mode = rng.choice(("core", "daemon", "engine"))
    if s.mode != "core" and chance() < 0.25:
        s.large_share = rng.choice((0.1, 0.5))
    s.max_pending = rng.choice((2, 10_000))
    if fixed.get("mode", s.mode) != "core":
        s.styles, s.async_fetch, s.harsh = ("async",), False, False
    s.save_entries = rng.choice((0, 1, 5, 50))
    if chance() < 0.25:
        # What was decided is known to few, and for long.
        for name in rng.sample(_LOST_TYPES, rng.randrange(1, 4)):
            s.lost_types[name] = rng.choice((0.3, 0.6, 0.9))
    if chance() < 0.1 and not s.lease_reads:
        _hand_on(s, rng)
    for name, value in fixed.items():
        if name == "more_faults":
            settings.faults = {**settings.faults, **value}
        else:
            setattr(settings, name, value)
    if s.lease_reads and "rates" not in fixed:
        low, high = s.rates
        s.rates = (max(low, high * lease_rates(s.election_tick)[0]), high)
    return settings
