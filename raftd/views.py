"""What a node knows, as the messages that clients read: status, progress, members, health.

Always from this node's own memory, so it is answered also when there is no leader and no quorum.
"""

import os
import resource
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from raft import ProgressState, StateRole, majority
from raft.eraftpb import ConfState
from raftd import __version__
from raftwire import admin, peer
from raftwire.proto.admin_pb2 import (
    Configuration,
    Health,
    HealthReply,
    Majority,
    Member,
    MemberListReply,
    MemberStatusReply,
    PeerStatus,
    ProgressReply,
    ProgressRow,
    StatusReply,
)

if TYPE_CHECKING:
    from raftd.node import Node
    from raftd.parts import Parts

_ROLES: Final = {
    StateRole.Leader: "leader",
    StateRole.Follower: "follower",
    StateRole.Candidate: "candidate",
    StateRole.PreCandidate: "pre_candidate",
}
_STATES: Final = {
    ProgressState.Probe: "probe",
    ProgressState.Replicate: "replicate",
    ProgressState.Snapshot: "snapshot",
}


ROLES: Final = (*_ROLES.values(), "learner", "joining", "removed")
"""Every role there is."""


def configuration_message(state: ConfState) -> Configuration:
    """Return a configuration as clients read it."""
    return Configuration(
        joint=bool(state.voters_outgoing),
        voters=sorted(state.voters),
        learners=sorted(state.learners),
        voters_outgoing=sorted(state.voters_outgoing),
        learners_next=sorted(state.learners_next),
        auto_leave=state.auto_leave,
        index=state.config_index,
        promotable=sorted(state.promotable),
        removed=sorted(state.removed),
        learners_outgoing=sorted(state.learners_outgoing),
        begin_index=state.begin_index,
        successor=state.successor,
    )


def role_of(node: "Node") -> str:
    """Return the node's role in one word."""
    raft = node.raft
    if node.standing.has_left:
        return "removed"
    role = _ROLES[raft.state]
    if role == "leader":
        return role
    if node.standing.belonging.told is not None:
        return "joining"
    if role != "follower":
        return role
    if not raft.prs.ids():
        return "joining"
    if node.id not in raft.prs.ids():
        return "joining"
    return "learner" if raft.is_learner else "follower"


def one_line(node: "Node") -> str:
    """Return what the node is, for the service manager's status."""
    raft = node.raft
    role = role_of(node)
    if role == "leader":
        what = f"leader of {len(raft.prs.voter_ids())} voters"
    elif raft.leader_id:
        what = f"{role}, node {raft.leader_id} leads"
    else:
        what = f"{role}, no leader"
    joint = ", between two configurations" if raft.prs.is_in_membership_change() else ""
    return f"{what}, term {raft.term}{joint}"


def phase_of(node: "Node") -> str:
    """Return where a change of membership stands: stable, entering, joint, leaving, aborting."""
    raft = node.raft
    if node.standing.belonging.told is not None:
        return "joint" if node.standing.belonging.told.voters_outgoing else "stable"
    kinds = {change.kind.name for change in raft.membership_log}
    if raft.prs.is_in_membership_change():
        if "ROLLBACK" in kinds or raft.campaigns_for_rollback:
            return "aborting"
        return "leaving" if "FINALIZE" in kinds or raft.leave_requested else "joint"
    return "entering" if kinds else "stable"


def status_reply(parts: "Parts") -> StatusReply:
    """Return the node's own view of itself and the group."""
    node, config = parts.node, parts.config
    raft = node.raft
    log = raft.raft_log
    now = parts.loop.time()
    state = node.standing.known_configuration()
    reply = StatusReply(
        id=node.id,
        role=role_of(node),
        leader=raft.leader_id,
        term=raft.term,
        vote=raft.vote,
        commit=log.committed,
        applied=log.applied,
        last_index=log.last_index(),
        first_index=log.first_index(),
        config=configuration_message(state),
        cluster_id=parts.identity.cluster_id.hex(),
        version=__version__,
        uptime_ms=int((now - parts.started) * 1000),
        state_machine=parts.identity.state_machine,
        addr=parts.book.find(node.id, now),
        incarnation=node.incarnation,
        lead_transferee=raft.lead_transferee,
        promotable=raft.promotable(),
        leader_contact_ms=0 if node.is_leader else int((now - node.leader_heard) * 1000),
        pid=os.getpid(),
        rss_bytes=_resident_bytes(),
        protocol_min=min(admin.PROTOCOL_MIN, peer.PROTOCOL_MIN),
        protocol_max=max(admin.PROTOCOL_MAX, peer.PROTOCOL_MAX),
        loop=parts.loop_name,
        now_ms=now_ms(),
    )
    reply.peers.extend(_peers(parts))
    reply.health.CopyFrom(health_of(parts, 0))
    storage = reply.storage
    storage.bytes = parts.disk_usage()
    storage.free_bytes = parts.free_bytes()
    storage.fsync_p50_ms = node.flush_times.percentile(0.5) * 1000
    storage.fsync_p99_ms = node.flush_times.percentile(0.99) * 1000
    storage.fsyncs = node.flush_times.count
    storage.path = str(config.data_dir)
    limits = reply.limits
    limits.pending, limits.pending_max = len(node.proposing), config.max_pending
    limits.apply_lag = max(0, log.committed - log.applied)
    limits.uncommitted_bytes = raft.uncommitted_size
    limits.uncommitted_bytes_max = config.max_uncommitted_size
    limits.entry_bytes_max = config.max_entry_bytes
    storage.quota_bytes = config.quota
    limits.sessions, limits.sessions_max = len(parts.applier.sessions), config.dedup_entries
    limits.apply_lag_max = config.max_apply_lag
    limits.connections, limits.connections_max = parts.client_count(), config.max_clients
    for name, value in parts.counters().items():
        reply.counters[name] = value
    snapshot = parts.snapshot_info()
    if snapshot is not None:
        reply.snapshot.CopyFrom(snapshot)
    material = parts.security.material
    if material is not None:
        reply.tls.name = str(material.name)
        reply.tls.not_after_ms = material.not_after_ms
        reply.tls.ca_not_after_ms = material.ca_not_after_ms
        reply.tls.loaded_ms = material.loaded_ms
        reply.tls.error = parts.security.error
    return reply


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _peers(parts: "Parts") -> Iterable[PeerStatus]:
    now = parts.loop.time()
    for peer_id in parts.peer_ids():
        link = parts.outbound.link(peer_id)
        status = PeerStatus(id=peer_id, addr=parts.book.find(peer_id, now))
        if link is None:
            status.error = "its address is not known"
        else:
            status.reachable = link.state.reachable
            status.since_ms = int((now - link.state.since) * 1000)
            status.error = link.state.error
            status.rtt_us = int(link.state.rtt * 1e6)
            status.version = link.state.version
            status.queued_bytes = link.queued_bytes
        heard = parts.heard.get(peer_id)
        if heard is not None:
            status.last_contact_ms = int((now - heard) * 1000)
        yield status


def health_of(parts: "Parts", max_lag: int) -> Health:
    """Judge the group as seen from here."""
    node = parts.node
    raft = node.raft
    state = node.standing.known_configuration()
    if node.standing.has_left or node.standing.belonging.told is not None:
        return Health(state="unhealthy", reasons=[_why_outside(node, state)])
    reasons: list[str] = []
    tolerance: int | None = None
    broken = False
    for voters in (state.voters, state.voters_outgoing):
        if not voters:
            continue
        up = [v for v in voters if v == node.id or node.standing.reachable(v)]
        spare = len(up) - majority(len(voters))
        tolerance = spare if tolerance is None else min(tolerance, spare)
        if spare < 0:
            broken = True
            reasons.append(f"no quorum: {len(up)} of {len(voters)} voters reachable")
    missing = node.standing.missing_voters()
    reasons += [f"node {member} is not reachable: {why}" for member, why in missing.items()]
    if not state.voters:
        reasons.append("the node is not part of a group yet")
    if not raft.leader_id:
        reasons.append("no leader is known")
        broken = True
    if max_lag and raft.raft_log.committed - raft.raft_log.applied > max_lag:
        reasons.append(f"more than {max_lag} entries are committed and not applied")
    if state.voters_outgoing:
        reasons.append(f"between two configurations since entry {state.begin_index}")
    health = "unhealthy" if broken else "degraded" if missing or reasons else "healthy"
    return Health(state=health, tolerance=max(0, tolerance or 0), reasons=reasons)


def _why_outside(node: "Node", state: ConfState) -> str:
    voters = ", ".join(map(str, sorted(state.voters)))
    now = f"since entry {state.config_index} the voters are {voters}"
    if node.standing.has_left:
        return f"the node has been removed from the group: {now}; stop it"
    return f"the node has been left out of the group: {now}; add it again, or stop it"


def health_reply(parts: "Parts", max_lag: int) -> HealthReply:
    """Return the group's health, and whether this node serves."""
    health = health_of(parts, max_lag)
    ready = bool(parts.node.raft.leader_id) and role_of(parts.node) not in ("joining", "removed")
    return HealthReply(health=health, ready=ready, live=True)


def progress_reply(parts: "Parts") -> ProgressReply:
    """Return the leader's view of every member; that of itself alone on any other node."""
    node = parts.node
    raft = node.raft
    prs = raft.prs
    last = raft.raft_log.last_index()
    now = parts.loop.time()
    reply = ProgressReply(
        leader=raft.leader_id,
        term=raft.term,
        last_index=last,
        commit=raft.raft_log.committed,
        config=configuration_message(prs.to_conf_state()),
    )
    incoming = (prs.next_configuration or prs.configuration).voters
    outgoing = prs.configuration.voters if prs.is_in_membership_change() else frozenset()
    learners = prs.learner_ids()
    for node_id, progress in prs.iter():
        if not node.is_leader:
            # Only leaders keep count of the others; of itself any node knows.
            if node_id == node.id:
                row = ProgressRow(id=node_id, state="self", matched=last, next_idx=last + 1)
                row.committed_index, row.addr = reply.commit, parts.book.find(node_id, now)
                row.learner, row.recent_active = node_id in learners, True
                reply.rows.append(row)
            continue
        rounds = raft.catch_up.get(node_id)
        row = ProgressRow(
            id=node_id,
            state="self" if node_id == node.id else _STATES[progress.state],
            matched=progress.matched,
            next_idx=progress.next_idx,
            paused=node_id != node.id and progress.is_paused(),
            pending_snapshot=progress.pending_snapshot,
            pending_request_snapshot=progress.pending_request_snapshot,
            recent_active=progress.recent_active or node_id == node.id,
            inflight=progress.ins.count,
            inflight_max=progress.ins.cap,
            inflight_bytes=progress.ins.bytes,
            lag=max(0, last - progress.matched),
            learner=node_id in learners,
            committed_index=progress.committed_index,
            addr=parts.book.find(node_id, now),
            promotable=node_id in prs.promotable,
            catch_up_round=rounds.round if rounds else 0,
            voter_incoming=node_id in incoming,
            voter_outgoing=node_id in outgoing,
        )
        transfer = parts.snapshot_progress(node_id)
        if transfer is not None:
            row.snapshot_bytes, row.snapshot_bytes_total = transfer.offset, transfer.file.size
            row.rate_bytes_per_s = transfer.rate(now)
            row.eta_ms = int(transfer.seconds_left(now) * 1000)
        reply.rows.append(row)
    return reply


def member_list_reply(parts: "Parts") -> MemberListReply:
    """Return who is in the group, and in which role."""
    node = parts.node
    prs = node.raft.prs
    state = prs.to_conf_state()
    now = parts.loop.time()
    reply = MemberListReply(config=configuration_message(state))
    joint = bool(state.voters_outgoing)
    for node_id in prs.ids():
        link = parts.outbound.link(node_id)
        member = Member(
            id=node_id,
            addr=parts.book.find(node_id, now),
            role=_member_role(state, node_id, joint),
            leader=node_id == node.raft.leader_id,
            reachable=node_id == node.id,
            promotable=node_id in prs.promotable,
            self=node_id == node.id,
        )
        if node_id == node.id:
            member.version = __version__
        elif link is not None:
            member.reachable = link.state.reachable
            member.since_ms = int((now - link.state.since) * 1000)
            member.error = link.state.error
            member.version = link.state.version
        reply.members.append(member)
    return reply


def _member_role(state: ConfState, node_id: int, joint: bool) -> str:
    if not joint:
        return "voter" if node_id in state.voters else "learner"
    in_new, in_old = node_id in state.voters, node_id in state.voters_outgoing
    if in_new and in_old:
        return "voter"
    if in_new:
        return "incoming"
    if in_old:
        return "demoting" if node_id in state.learners_next else "outgoing"
    return "learner" if node_id in state.learners else "leaving"


def member_status_reply(parts: "Parts") -> MemberStatusReply:
    """Return how far a change of membership is, and what to do next."""
    node = parts.node
    raft = node.raft
    prs = raft.prs
    state = node.standing.known_configuration()
    phase = phase_of(node)
    reply = MemberStatusReply(
        phase=phase,
        since_ms=int((parts.loop.time() - parts.config_since) * 1000),
        config=configuration_message(state),
    )
    pending = raft.membership_log[-1].index if raft.membership_log else 0
    reply.pending_index = pending
    groups = [("incoming", state.voters)]
    if state.voters_outgoing:
        groups.append(("outgoing", state.voters_outgoing))
    for name, voters in groups:
        acked = [v for v in sorted(voters) if _acked(parts, v, pending)]
        needed = majority(len(voters)) if voters else 0
        reply.majorities.append(
            Majority(
                name=name,
                voters=sorted(voters),
                needed=needed,
                acked=acked,
                missing=sorted(set(voters) - set(acked)),
                satisfied=len(acked) >= needed,
            )
        )
    if node.is_leader:
        learners = prs.learner_ids()
        reply.catching_up.extend(row for row in progress_reply(parts).rows if row.id in learners)
    outside = node.standing.has_left or node.standing.belonging.told is not None
    reply.advice = _why_outside(node, state) if outside else _advice(phase, reply)
    for node_id, address in parts.book.replicated.items():
        reply.addrs[node_id] = address
    waiting = parts.book.waiting(parts.loop.time())
    for node_id, address in waiting.items():
        reply.addrs.setdefault(node_id, address)
    return reply


def _acked(parts: "Parts", node_id: int, pending: int) -> bool:
    node = parts.node
    if pending and node.is_leader:
        progress = node.raft.prs.get(node_id)
        return progress is not None and progress.matched >= pending
    return node_id == node.id or node.standing.reachable(node_id)


def _advice(phase: str, reply: MemberStatusReply) -> str:
    stuck = [m for m in reply.majorities if not m.satisfied]
    missing = sorted({member for m in stuck for member in m.missing})
    names = ", ".join(map(str, missing))
    if phase == "joint" and not stuck:
        return "finish with `raftctl member finalize`, or go back with `raftctl member abort`"
    if phase == "joint" and stuck:
        return (
            f"nodes {names} are missing from a majority: bring them back, or go back with "
            "`raftctl member abort`"
        )
    if phase == "leaving" and stuck:
        return (
            f"nodes {names} are missing from a majority: bring them back; if they are lost for "
            "good, try `raftctl member abort --campaign` at each other old voter: one that does "
            "not hold the end of the change yet may still take it back"
        )
    if stuck:
        return f"no majority: bring back nodes {names}"
    return {
        "entering": "the change is on its way; wait for it",
        "leaving": "the change is being finished; wait for it",
        "aborting": "the change is being taken back; wait for it",
    }.get(phase, "")


def now_ms() -> int:
    """Return the wall clock, milliseconds since 1970; for people only."""
    return time.time_ns() // 1_000_000
