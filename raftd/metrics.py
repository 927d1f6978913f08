"""What a node measures, in Prometheus' text format; read from its state when somebody asks.

Names and labels are a promise. Those that speak of peers as a leader sees them are there on the
leader alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from raftd import __version__
from raftd.measures import Durations
from raftd.parts import Parts
from raftd.views import ROLES, health_of, progress_reply, role_of
from raftd.vitals import Room, Vitals

_HEALTH: Final = ("healthy", "degraded", "unhealthy")
_PROGRESS: Final = ("probe", "replicate", "snapshot")


class NodeCollector(Collector):
    """Reads one node's state.

    Args:
        apply: How long writing and applying batches took.
    """

    def __init__(self, parts: Parts, apply: Durations, room: Room, vitals: Vitals) -> None:
        self._parts = parts
        self._apply = apply
        self._room = room
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as it is now."""
        yield from self._identity()
        yield from self._raft()
        yield from self._proposals()
        yield from self._durations()
        yield from self._peers()
        if self._parts.node.is_leader:
            yield from self._followers()
        yield from self._snapshot()
        yield from self._storage()
        yield from self._limits()
        yield from self._security()

    def _identity(self) -> Iterator[Metric]:
        parts = self._parts
        info = GaugeMetricFamily(
            "raftd_build_info",
            "What runs here; always 1.",
            labels=["version", "node", "cluster", "state_machine", "loop"],
        )
        identity = parts.identity
        names = (str(identity.node_id), identity.cluster_id.hex(), identity.state_machine)
        info.add_metric([__version__, *names, parts.loop_name], 1)
        yield info
        yield gauge("raftd_uptime_seconds", "Since the start.", parts.loop.time() - parts.started)

    def _raft(self) -> Iterator[Metric]:
        node = self._parts.node
        raft = node.raft
        log = raft.raft_log
        counters = node.counters
        yield gauge("raftd_has_leader", "Whether a leader is known.", bool(raft.leader_id))
        yield gauge("raftd_is_leader", "Whether this node leads.", node.is_leader)
        yield gauge("raftd_leader_id", "The leader that is known; 0: none.", raft.leader_id)
        yield states("raftd_role", "This node's role.", ROLES, role_of(node))
        yield count(
            "raftd_leader_changes", "Changes of role or leader seen.", counters.leader_changes
        )
        yield count("raftd_elections", "Elections this node stood for.", counters.elections)
        yield gauge("raftd_term", "The term.", raft.term)
        yield gauge("raftd_first_index", "First entry kept.", log.first_index())
        yield gauge("raftd_last_index", "Last entry of the log.", log.last_index())
        yield gauge("raftd_commit_index", "Last entry known to be committed.", log.committed)
        yield gauge("raftd_applied_index", "Last entry applied.", log.applied)
        yield gauge("raftd_apply_lag", "Committed, not applied.", log.committed - log.applied)
        state = raft.prs.to_conf_state()
        members = GaugeMetricFamily("raftd_members", "Members by role.", labels=["role"])
        members.add_metric(["voter"], len({*state.voters, *state.voters_outgoing}))
        members.add_metric(["learner"], len(state.learners))
        yield members
        yield gauge("raftd_joint", "Whether between two configurations.", state.voters_outgoing)
        yield gauge("raftd_config_index", "The entry that made the membership.", state.config_index)
        health = health_of(self._parts, 0)
        yield states("raftd_health", "The group, as this node sees it.", _HEALTH, health.state)
        yield gauge(
            "raftd_failure_tolerance", "Further failures the group survives.", health.tolerance
        )

    def _proposals(self) -> Iterator[Metric]:
        node = self._parts.node
        counters = node.counters
        family = CounterMetricFamily(
            "raftd_proposals",
            "Proposals of this node's clients, by outcome: applied, not_applied, unknown.",
            labels=["outcome"],
        )
        family.add_metric(["applied"], counters.proposals_applied)
        family.add_metric(["not_applied"], counters.proposals_refused)
        family.add_metric(["unknown"], counters.proposals_unknown)
        yield family
        yield count(
            "raftd_proposals_forwarded", "Passed on to a leader.", counters.proposals_forwarded
        )
        yield gauge("raftd_proposals_pending", "Waiting for their outcome.", len(node.proposing))
        window = GaugeMetricFamily(
            "raftd_window",
            "How many may wait at once: what the group answers in time while there is a queue, "
            "else limits.max_pending.",
            labels=["of"],
        )
        window.add_metric(["proposals"], node.proposing.window)
        window.add_metric(["reads"], node.reading.window)
        yield window
        yield count("raftd_reads", "Linearizable reads answered.", counters.reads)
        yield count(
            "raftd_read_rounds",
            "Heartbeat rounds made for reads while this node led; many reads share one.",
            node.raft.read_only.rounds_made,
        )
        yield gauge(
            "raftd_uncommitted_bytes", "Appended, not committed.", node.raft.uncommitted_size
        )

    def _durations(self) -> Iterator[Metric]:
        node = self._parts.node
        yield histogram(
            "raftd_fsync_duration_seconds",
            "Making a write durable.",
            node.flush_times.durations,
        )
        yield histogram(
            "raftd_apply_duration_seconds",
            "Writing and applying one batch, without making it durable.",
            self._apply,
        )
        yield histogram(
            "raftd_propose_duration_seconds",
            "From taking a client's proposal to answering that it is applied.",
            node.proposing.times,
        )

    def _peers(self) -> Iterator[Metric]:
        parts = self._parts
        now = parts.loop.time()
        up = peer_gauge("raftd_peer_reachable", "Whether the link to a member is up.")
        rtt = peer_gauge("raftd_peer_round_trip_seconds", "How long the last hello took.")
        queued = peer_gauge("raftd_peer_queued_bytes", "Waiting to be sent.")
        heard = peer_gauge("raftd_peer_last_contact_seconds", "Since it was heard.")
        for peer_id in parts.peer_ids():
            labels = [str(peer_id)]
            link = parts.outbound.link(peer_id)
            up.add_metric(labels, link is not None and link.state.reachable)
            if link is not None:
                rtt.add_metric(labels, link.state.rtt)
                queued.add_metric(labels, link.queued_bytes)
            if peer_id in parts.heard:
                heard.add_metric(labels, now - parts.heard[peer_id])
        yield from (up, rtt, queued, heard)
        yield count("raftd_messages_dropped", "Not sent: no link.", parts.outbound.dropped)

    def _followers(self) -> Iterator[Metric]:
        reply = progress_reply(self._parts)
        match = peer_gauge("raftd_peer_match_index", "Last entry known to be there.")
        lag = peer_gauge("raftd_peer_lag_entries", "Entries behind the leader.")
        inflight = peer_gauge("raftd_peer_inflight_messages", "Appends on their way.")
        state = GaugeMetricFamily(
            "raftd_peer_progress",
            "How entries are sent: probe, replicate, snapshot.",
            labels=["peer", "state"],
        )
        sent = peer_gauge("raftd_peer_snapshot_sent_bytes", "Of the snapshot on its way.")
        for row in reply.rows:
            if row.state == "self":
                continue
            labels = [str(row.id)]
            match.add_metric(labels, row.matched)
            lag.add_metric(labels, row.lag)
            inflight.add_metric(labels, row.inflight)
            for name in _PROGRESS:
                state.add_metric([*labels, name], row.state == name)
            sent.add_metric(labels, row.snapshot_bytes)
        yield from (match, lag, inflight, state, sent)

    def _snapshot(self) -> Iterator[Metric]:
        info = self._parts.snapshot_info()
        if info is not None:
            yield gauge("raftd_snapshot_index", "Of the newest snapshot.", info.index)
            yield gauge("raftd_snapshot_bytes", "Of the newest snapshot.", info.bytes)
            yield gauge("raftd_snapshot_age_seconds", "Of the newest.", info.age_ms / 1000)

    def _storage(self) -> Iterator[Metric]:
        config = self._parts.config
        yield gauge("raftd_storage_bytes", "The data on disk.", self._room.used)
        yield gauge("raftd_storage_free_bytes", "Free on its file system.", self._room.free)
        yield gauge("raftd_storage_quota_bytes", "storage.quota_bytes; 0: none.", config.quota)
        full = self._room.error is not None
        yield gauge("raftd_storage_full", "Whether proposals are refused for want of room.", full)
        applier = self._parts.applier
        yield gauge("raftd_sessions", "Client keys remembered.", len(applier.sessions))

    def _limits(self) -> Iterator[Metric]:
        parts = self._parts
        config, counters = parts.config, parts.node.counters
        yield gauge("raftd_clients", "Connections to the admin socket.", parts.client_count())
        yield gauge("raftd_clients_max", "limits.max_clients.", config.max_clients)
        yield gauge("raftd_proposals_pending_max", "limits.max_pending.", config.max_pending)
        yield count("raftd_event_loop_stalls", "Times the process stood still.", counters.stalls)
        yield count(
            "raftd_watchdog_withheld", "Times the watchdog was not fed.", self._vitals.stuck
        )

    def _security(self) -> Iterator[Metric]:
        parts = self._parts
        connections = CounterMetricFamily(
            "raftd_refused_connections", "Peer connections refused or closed.", labels=["reason"]
        )
        for reason, number in sorted(parts.refused_connections().items()):
            connections.add_metric([reason], number)
        messages = CounterMetricFamily(
            "raftd_refused_messages", "Raft messages refused.", labels=["reason"]
        )
        for kind, number in sorted(parts.node.validator.refused.items()):
            messages.add_metric([str(kind)], number)
        yield from (connections, messages)
        clients = CounterMetricFamily(
            "raftd_refused_clients", "Clients and requests refused.", labels=["what"]
        )
        for name, number in parts.admin_refusals().items():
            clients.add_metric([name.removeprefix("refused_")], number)
        yield clients
        material = parts.security.material
        if material is not None:
            yield gauge(
                "raftd_tls_not_after_seconds",
                "When this node's certificate expires, seconds since 1970.",
                material.not_after_ms / 1000,
            )
            yield gauge(
                "raftd_tls_ca_not_after_seconds",
                "When the first of the authorities expires, seconds since 1970.",
                material.ca_not_after_ms / 1000,
            )
            yield gauge(
                "raftd_tls_reload_failed",
                "Whether newer files could not be used.",
                bool(parts.security.error),
            )


def exporter(collector: NodeCollector) -> Callable[[], str]:
    """Return what gives the metrics as text, those of the process included."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)

    def text() -> str:
        started = time.perf_counter()
        made = generate_latest(registry).decode()
        seconds = time.perf_counter() - started
        return (
            f"{made}# HELP raftd_scrape_seconds Collecting all of this.\n"
            f"# TYPE raftd_scrape_seconds gauge\nraftd_scrape_seconds {seconds:.6f}\n"
        )

    return text


# --- families ---------------------------------------------------------------------------------


def gauge(name: str, text: str, value: object) -> GaugeMetricFamily:
    """Return a value that goes up and down; what is no number counts as whether it is anything."""
    number = float(value) if isinstance(value, (int, float)) else float(bool(value))
    return GaugeMetricFamily(name, text, value=number)


def count(name: str, text: str, value: int) -> CounterMetricFamily:
    """Return a value that only grows; its name ends in ``_total``."""
    return CounterMetricFamily(name, text, value=value)


def peer_gauge(name: str, text: str) -> GaugeMetricFamily:
    """Return a family with a value for each peer."""
    return GaugeMetricFamily(name, text, labels=["peer"])


def states(name: str, text: str, known: Iterable[str], current: str) -> GaugeMetricFamily:
    """Return a family in which the current one of several states is 1, the others 0."""
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in known:
        family.add_metric([state], state == current)
    return family


def histogram(name: str, text: str, durations: Durations) -> HistogramMetricFamily:
    """Return durations as a histogram."""
    return HistogramMetricFamily(
        name, text, buckets=durations.cumulative(), sum_value=durations.total
    )
