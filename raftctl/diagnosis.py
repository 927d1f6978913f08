"""What may be wrong with a node and its group, judged from what they say and what lies around.

Each check looks at one thing and returns findings: fine, a warning, or a failure, in words with
what to do. Nothing here asks anybody anything; that is for ``raftctl doctor``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from raftctl.output import format_bytes, format_ids, format_ms

if TYPE_CHECKING:
    from raftwire.proto.admin_pb2 import PeerStatus, ProgressReply, StatusReply

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

DAY_MS: Final = 24 * 3600 * 1000
TLS_WARN_DAYS: Final = 30
TLS_FAIL_DAYS: Final = 3
SKEW_WARN_MS: Final = 1000
JOINT_WARN_MS: Final = 60_000
FSYNC_WARN_MS: Final = 25.0
FREE_WARN: Final = 0.1
FILES_WARN: Final = 8192
LAG_WARN: Final = 10_000


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: Its name; stable.
        state: ``ok``, ``warn`` or ``fail``.
        text: What was found.
        advice: What to do; empty when there is nothing to do.
    """

    check: str
    state: str
    text: str
    advice: str = ""


@dataclass
class Seen:
    """All that could be learned of a running node and its group.

    Attributes:
        status: The node's own view, with its members' if they answered.
        settings: Key to value, as in force.
        progress: The leader's view; None: there was none to be had.
        joint_ms: How long the group has been between two configurations.
        files_max: Descriptors that the node's process may have; 0: not known.
        resolved: Host names of members, and the addresses they have here.
    """

    status: StatusReply
    settings: Mapping[str, str] = field(default_factory=dict)
    progress: ProgressReply | None = None
    joint_ms: int = 0
    files_max: int = 0
    resolved: Mapping[str, str] = field(default_factory=dict)


def diagnose(seen: Seen) -> list[Finding]:
    """Return every finding about a running node and its group, in the order of the checks."""
    checks = (
        _leader, _quorum, _voters, _joint, _peers, _learners, _versions, _clocks, _addresses,
        _timeouts, _disk_speed, _disk_room, _files, _load, _tls, _safety, _refused,
    )  # fmt: skip
    return [finding for check in checks for finding in check(seen)]


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst state among findings."""
    states = {finding.state for finding in findings}
    return FAIL if FAIL in states else WARN if WARN in states else OK


# --- the group --------------------------------------------------------------------------------


def _leader(seen: Seen) -> Iterator[Finding]:
    status = seen.status
    if status.role in ("joining", "removed"):
        words = {
            "joining": "the node waits to be added to a group",
            "removed": "the node has been removed from its group",
        }[status.role]
        advice = {
            "joining": f"on a member: raftctl member add {status.id} {status.addr}",
            "removed": "stop it; its data may be deleted",
        }[status.role]
        yield Finding("leader", WARN, words, advice)
    elif status.leader:
        yield Finding("leader", OK, f"node {status.leader} leads in term {status.term}")
    else:
        yield Finding(
            "leader",
            FAIL,
            f"node {status.id} knows of no leader in term {status.term}",
            "see the quorum below; with a quorum an election ends within two election timeouts",
        )


def _quorum(seen: Seen) -> Iterator[Finding]:
    status = seen.status
    if not status.config.voters:
        return
    reachable = {peer.id for peer in status.peers if peer.reachable} | {status.id}
    tolerance = status.health.tolerance
    for voters in (status.config.voters, status.config.voters_outgoing):
        if not voters:
            continue
        up = [v for v in voters if v in reachable]
        needed = len(voters) // 2 + 1
        if len(up) < needed:
            missing = sorted(set(voters) - reachable)
            yield Finding(
                "quorum",
                FAIL,
                f"{len(up)} of {len(voters)} voters are reachable, {needed} are needed: "
                f"{format_ids(missing)} missing",
                "start the missing nodes; if they are lost for good: raftctl recover, or, between "
                "two configurations, raftctl member abort",
            )
            return
    count = len(status.config.voters)
    if count == 1:
        yield Finding(
            "quorum", WARN, "one voter: nothing is lost while it runs, everything with its disk",
            "add two more: raftctl member add ID HOST:PORT",
        )  # fmt: skip
    elif tolerance == 0:
        yield Finding(
            "quorum", WARN, "the next failure of a voter stops the group",
            "bring back what is missing, or replace it: raftctl member replace OLD NEW=HOST:PORT",
        )  # fmt: skip
    else:
        noun = "failure" if tolerance == 1 else "failures"
        yield Finding("quorum", OK, f"a majority is reachable; survives {tolerance} {noun}")


def _voters(seen: Seen) -> Iterator[Finding]:
    count = len(seen.status.config.voters)
    if count and count % 2 == 0:
        yield Finding(
            "voters",
            WARN,
            f"{count} voters survive no more failures than {count - 1}",
            "have an odd number: add one, or make one a learner (raftctl member demote ID)",
        )
    elif count:
        yield Finding("voters", OK, f"an odd number of voters: {count}")


def _joint(seen: Seen) -> Iterator[Finding]:
    if not seen.status.config.joint:
        return
    state = WARN if seen.joint_ms > JOINT_WARN_MS else OK
    yield Finding(
        "joint",
        state,
        f"between two configurations for {format_ms(seen.joint_ms)}",
        "see who is missing: raftctl member status; then member finalize, or member abort",
    )


def _peers(seen: Seen) -> Iterator[Finding]:
    down = [peer for peer in seen.status.peers if not peer.reachable]
    for peer in down:
        since = f" for {format_ms(peer.since_ms)}" if peer.since_ms else ""
        yield Finding(
            "peers",
            WARN,
            f"node {peer.id} at {peer.addr or 'an unknown address'}: {peer.error}{since}",
            "is it running, and is its address right? raftctl member set-addr ID HOST:PORT "
            "changes it",
        )
    if not down and seen.status.peers:
        yield Finding("peers", OK, f"all {len(seen.status.peers)} other members are connected")


def _learners(seen: Seen) -> Iterator[Finding]:
    if seen.progress is None:
        return
    for row in seen.progress.rows:
        if row.state == "self":
            continue
        if row.lag > LAG_WARN:
            what = "learner" if row.learner else "voter"
            yield Finding(
                "lag",
                WARN,
                f"{what} {row.id} is {row.lag} entries behind ({row.state})",
                "watch it catch up: raftctl progress -w; is its disk or link slower?",
            )
        elif row.learner and not row.promotable and row.recent_active and row.lag < 100:
            yield Finding("lag", OK, f"learner {row.id} follows; member promote makes it a voter")


def _versions(seen: Seen) -> Iterator[Finding]:
    versions: dict[str, list[int]] = {}
    for member in seen.status.members:
        if member.HasField("status"):
            versions.setdefault(member.status.version, []).append(member.id)
    if len(versions) > 1:
        words = ", ".join(f"{format_ids(ids)} run {v}" for v, ids in sorted(versions.items()))
        yield Finding(
            "versions", WARN, f"members run different versions: {words}",
            "finish the upgrade; a node with a newer format cannot go back",
        )  # fmt: skip
    elif versions:
        yield Finding("versions", OK, f"every member that answers runs {next(iter(versions))}")


def _clocks(seen: Seen) -> Iterator[Finding]:
    times = {m.id: m.status.now_ms for m in seen.status.members if m.status.now_ms}
    if len(times) < 2:
        return
    skew = max(times.values()) - min(times.values())
    if skew > SKEW_WARN_MS:
        ahead = max(times, key=lambda member: times[member])
        yield Finding(
            "clocks",
            WARN,
            f"the clocks of the members differ by {format_ms(skew)}; node {ahead} is ahead",
            "Raft needs no clocks, but certificates, logs and the age of keys do: run NTP",
        )
    else:
        yield Finding("clocks", OK, f"the members' clocks agree within {format_ms(max(skew, 1))}")


def _addresses(seen: Seen) -> Iterator[Finding]:
    local: list[PeerStatus] = []
    away: list[PeerStatus] = []
    for peer in seen.status.peers:
        host = peer.addr.rpartition(":")[0].strip("[]")
        shown = seen.resolved.get(host, host)
        try:
            (local if ipaddress.ip_address(shown).is_loopback else away).append(peer)
        except ValueError:
            continue
    if local and away:
        yield Finding(
            "addresses",
            FAIL,
            f"{', '.join(peer.addr for peer in local)} leads to this very host, other members are "
            "elsewhere",
            "a node must advertise an address that all can reach: --advertise",
        )


# --- the node ---------------------------------------------------------------------------------


def _timeouts(seen: Seen) -> Iterator[Finding]:
    election = _duration_ms(seen.settings.get("raft.election_timeout", ""))
    if not election:
        return
    rtt = max((peer.rtt_us / 1000 for peer in seen.status.peers), default=0.0)
    fsync = seen.status.storage.fsync_p99_ms
    if election < 10 * (rtt + fsync):
        yield Finding(
            "timeouts",
            WARN,
            f"an election timeout of {format_ms(election)} is less than ten times what an answer "
            f"takes (round trip {format_ms(rtt)}, fsync {format_ms(fsync)})",
            "raise raft.election_timeout, or elections will interrupt the work",
        )
    else:
        yield Finding("timeouts", OK, f"election timeout {format_ms(election)}, with room")


def _disk_speed(seen: Seen) -> Iterator[Finding]:
    storage = seen.status.storage
    if not storage.fsyncs:
        return
    text = f"fsync p50 {format_ms(storage.fsync_p50_ms)}, p99 {format_ms(storage.fsync_p99_ms)}"
    if storage.fsync_p99_ms > FSYNC_WARN_MS:
        yield Finding(
            "disk speed", WARN, text,
            "every answer waits for it: use a local SSD, and nothing else on it that writes much",
        )  # fmt: skip
    else:
        yield Finding("disk speed", OK, text)


def _disk_room(seen: Seen) -> Iterator[Finding]:
    storage = seen.status.storage
    text = f"{format_bytes(storage.free_bytes)} free, the data takes {format_bytes(storage.bytes)}"
    least = max(1 << 30, storage.bytes)
    quota = storage.quota_bytes
    if quota and storage.bytes > 0.8 * quota:
        yield Finding(
            "disk room", WARN, f"{text}; the quota is {format_bytes(quota)}",
            "above it proposals are refused: keep less history, or raise storage.quota_bytes",
        )  # fmt: skip
    elif storage.free_bytes and storage.free_bytes < least:
        yield Finding(
            "disk room", WARN, text,
            "a snapshot needs as much again for a while: free some, or use a larger disk",
        )  # fmt: skip
    else:
        yield Finding("disk room", OK, text)


def _files(seen: Seen) -> Iterator[Finding]:
    if not seen.files_max:
        return
    if seen.files_max < FILES_WARN:
        yield Finding(
            "files", WARN, f"raftd may have {seen.files_max} files and sockets open",
            "give it 65536: LimitNOFILE in the unit, or ulimit -n",
        )  # fmt: skip
    else:
        yield Finding("files", OK, f"raftd may have {seen.files_max} files and sockets open")


def _load(seen: Seen) -> Iterator[Finding]:
    limits = seen.status.limits
    if limits.pending_max and limits.pending > 0.8 * limits.pending_max:
        yield Finding(
            "load", WARN, f"{limits.pending} of {limits.pending_max} proposals wait",
            "soon they are refused (OVERLOADED): slow down, or see what is slow above",
        )  # fmt: skip
    elif limits.apply_lag > LAG_WARN:
        yield Finding(
            "load", WARN, f"{limits.apply_lag} committed entries wait to be applied",
            "the state machine or the disk does not keep up",
        )  # fmt: skip
    else:
        yield Finding("load", OK, f"{limits.pending} proposals wait, all committed is applied")


def _tls(seen: Seen) -> Iterator[Finding]:
    status = seen.status
    if not status.HasField("tls"):
        if seen.settings.get("listen.insecure_peers") == "true":
            yield Finding(
                "tls", WARN, "members speak plaintext off this host",
                "raftctl tls init and raftctl tls issue make what encryption needs",
            )  # fmt: skip
        return
    tls = status.tls
    for what, until in (("certificate", tls.not_after_ms), ("authority", tls.ca_not_after_ms)):
        days = (until - status.now_ms) // DAY_MS
        state = FAIL if days < TLS_FAIL_DAYS else WARN if days < TLS_WARN_DAYS else OK
        yield Finding(
            "tls",
            state,
            f"the {what} is good for {days} days" if days >= 0 else f"the {what} has expired",
            "" if state == OK else "raftctl tls issue ID --renew, and put it in place: no restart",
        )
    if tls.error:
        yield Finding(
            "tls",
            FAIL,
            f"newer TLS files are not used: {tls.error}",
            "correct them; raftctl reload",
        )


def _safety(seen: Seen) -> Iterator[Finding]:
    if seen.settings.get("storage.fsync") == "unsafe-never":
        yield Finding(
            "safety", FAIL, "writes are acknowledged before they are durable (unsafe-never)",
            "set storage.fsync to always and restart: a power failure would lose what was promised",
        )  # fmt: skip
    for key, name in (("raft.pre_vote", "PreVote"), ("raft.check_quorum", "CheckQuorum")):
        if seen.settings.get(key) == "false":
            yield Finding(
                "safety", WARN, f"{name} is off", f"switch {key} on: it costs nothing",
            )  # fmt: skip


def _refused(seen: Seen) -> Iterator[Finding]:
    for name, number in sorted(seen.status.counters.items()):
        if name.startswith(("refused_connection_", "refused_message_")) and number:
            what = name.removeprefix("refused_").replace("_", " ", 1)
            yield Finding(
                "refused", WARN, f"{number} times {what}",
                "somebody who does not belong to the group, or a wrong address; see the log",
            )  # fmt: skip
    stalls = seen.status.counters.get("stalls", 0)
    if stalls:
        yield Finding(
            "stalls", WARN, f"the process stood still {stalls} times since its start",
            "is the machine overloaded, or suspended now and then?",
        )  # fmt: skip


def _duration_ms(text: str) -> float:
    for unit, factor in (("ms", 1.0), ("us", 0.001), ("h", 3.6e6), ("m", 60e3), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return 0.0
