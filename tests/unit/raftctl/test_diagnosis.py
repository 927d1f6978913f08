"""What doctor finds, check by check, in what a node may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftctl.diagnosis import DAY_MS, FAIL, OK, WARN, Finding, Seen, diagnose, worst
from raftwire.proto.admin_pb2 import (
    Configuration,
    Health,
    MemberAnswer,
    PeerStatus,
    ProgressReply,
    ProgressRow,
    StatusReply,
    StorageStatus,
    TlsStatus,
)

NOW = 1_800_000_000_000


def well() -> Seen:
    """Return a leader of three that all are as they should be."""
    status = StatusReply(
        id=1, role="leader", leader=1, term=7, version="1.0", now_ms=NOW,
        config=Configuration(voters=[1, 2, 3]),
        health=Health(state="healthy", tolerance=1),
        storage=StorageStatus(
            bytes=1 << 20, free_bytes=1 << 40, fsyncs=10, fsync_p50_ms=0.5, fsync_p99_ms=2
        ),
        peers=[
            PeerStatus(id=n, addr=f"10.0.0.{n}:7001", reachable=True, rtt_us=400) for n in (2, 3)
        ],
    )  # fmt: skip
    for n in (1, 2, 3):
        status.members.add(id=n).status.CopyFrom(StatusReply(id=n, version="1.0", now_ms=NOW))
    return Seen(status, {"raft.election_timeout": "1s", "storage.fsync": "always"}, files_max=65536)


def states(seen: Seen, check: str) -> list[str]:
    return [finding.state for finding in diagnose(seen) if finding.check == check]


def test_nothing_is_wrong_with_what_is_well() -> None:
    found = diagnose(well())
    assert [finding for finding in found if finding.state != OK] == []
    assert worst(found) == OK
    assert worst([*found, Finding("x", WARN, "")]) == WARN
    assert worst([*found, Finding("x", WARN, ""), Finding("y", FAIL, "")]) == FAIL


Change = Callable[[Seen], None]


def set_(path: str, value: object) -> Change:
    def change(seen: Seen) -> None:
        *parents, name = path.split(".")
        target: object = seen
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)

    return change


def setting(key: str, value: str) -> Change:
    return lambda seen: setattr(seen, "settings", {**seen.settings, key: value})


def no_leader(seen: Seen) -> None:
    seen.status.leader = 0


def joining(seen: Seen) -> None:
    seen.status.role, seen.status.addr = "joining", "10.0.0.9:7001"


def two_down(seen: Seen) -> None:
    for peer in seen.status.peers:
        peer.reachable, peer.error = False, "connection refused"


def one_down(seen: Seen) -> None:
    seen.status.peers[0].reachable = False
    seen.status.health.tolerance = 0


def old_majority_gone(seen: Seen) -> None:
    seen.status.config.joint = True
    seen.status.config.voters[:] = [1]
    seen.status.config.voters_outgoing[:] = [1, 8, 9]


def alone(seen: Seen) -> None:
    seen.status.config.voters[:] = [1]
    del seen.status.peers[:]


def even(seen: Seen) -> None:
    seen.status.config.voters[:] = [1, 2]


def joint_for_long(seen: Seen) -> None:
    seen.status.config.joint, seen.joint_ms = True, 100_000


def versions_differ(seen: Seen) -> None:
    seen.status.members[1].status.version = "0.9"


def clock_ahead(seen: Seen) -> None:
    seen.status.members[2].status.now_ms = NOW + 5000


def does_not_answer(seen: Seen) -> None:
    seen.status.members[2].CopyFrom(MemberAnswer(id=3))


def loopback(seen: Seen) -> None:
    seen.status.peers[0].addr = "localhost:7001"
    seen.resolved = {"localhost": "127.0.0.1"}


def lags(seen: Seen) -> None:
    seen.progress = ProgressReply(rows=[ProgressRow(id=2, state="replicate", lag=50_000)])


def learner(seen: Seen) -> None:
    row = ProgressRow(id=4, state="replicate", learner=True, recent_active=True)
    seen.progress = ProgressReply(rows=[row])


def certificate(days: int, error: str = "") -> Change:
    def change(seen: Seen) -> None:
        far = NOW + 1000 * DAY_MS
        until = NOW + days * DAY_MS
        seen.status.tls.CopyFrom(TlsStatus(not_after_ms=until, ca_not_after_ms=far, error=error))

    return change


def quota(seen: Seen) -> None:
    seen.status.storage.quota_bytes = seen.status.storage.bytes + 1


def strangers(seen: Seen) -> None:
    seen.status.counters["refused_connection_bad_frame"] = 3


CASES: list[tuple[Change, str, str, str]] = [
    (no_leader, "leader", FAIL, "knows of no leader in term 7"),
    (joining, "leader", WARN, "waits to be added"),
    (set_("status.role", "removed"), "leader", WARN, "has been removed"),
    (two_down, "quorum", FAIL, "1 of 3 voters are reachable, 2 are needed: 2,3 missing"),
    (old_majority_gone, "quorum", FAIL, "8,9 missing"),
    (one_down, "quorum", WARN, "the next failure of a voter stops the group"),
    (alone, "quorum", WARN, "one voter"),
    (even, "voters", WARN, "2 voters survive no more failures than 1"),
    (joint_for_long, "joint", WARN, "between two configurations for 1m40s"),
    (two_down, "peers", WARN, "node 2 at 10.0.0.2:7001: connection refused"),
    (lags, "lag", WARN, "voter 2 is 50000 entries behind"),
    (learner, "lag", OK, "learner 4 follows"),
    (versions_differ, "versions", WARN, "2 run 0.9, 1,3 run 1.0"),
    (clock_ahead, "clocks", WARN, "node 3 is ahead"),
    (loopback, "addresses", FAIL, "localhost:7001 leads to this very host"),
    (setting("raft.election_timeout", "20ms"), "timeouts", WARN, "less than ten times"),
    (set_("status.storage.fsync_p99_ms", 80.0), "disk speed", WARN, "p99 80ms"),
    (set_("status.storage.free_bytes", 1 << 20), "disk room", WARN, "1.0MiB free"),
    (quota, "disk room", WARN, "the quota is"),
    (set_("files_max", 1024), "files", WARN, "1024 files"),
    (certificate(20), "tls", WARN, "the certificate is good for 20 days"),
    (certificate(2), "tls", FAIL, "the certificate is good for 2 days"),
    (certificate(-1), "tls", FAIL, "the certificate has expired"),
    (certificate(90), "tls", OK, "the certificate is good for 90 days"),
    (certificate(90, "no such file"), "tls", FAIL, "newer TLS files are not used: no such file"),
    (setting("listen.insecure_peers", "true"), "tls", WARN, "plaintext off this host"),
    (setting("storage.fsync", "unsafe-never"), "safety", FAIL, "before they are durable"),
    (setting("raft.pre_vote", "false"), "safety", WARN, "PreVote is off"),
    (strangers, "refused", WARN, "3 times connection bad_frame"),
]


@pytest.mark.parametrize(
    ("change", "check", "state", "words"), CASES, ids=[f"{c[1]}: {c[3]}" for c in CASES]
)
def test_each_thing_is_found(change: Change, check: str, state: str, words: str) -> None:
    seen = well()
    change(seen)
    found = [finding for finding in diagnose(seen) if finding.check == check]
    assert any(f.state == state and words in f.text for f in found), found
    for finding in found:
        if finding.state != OK:
            assert finding.advice, "what is wrong comes with what to do"


def test_load() -> None:
    seen = well()
    seen.status.limits.pending_max, seen.status.limits.pending = 100, 90
    assert states(seen, "load") == [WARN]
    seen.status.limits.pending, seen.status.limits.apply_lag = 0, 20_000
    assert states(seen, "load") == [WARN]


def test_whoever_does_not_answer_has_no_clock() -> None:
    seen = well()
    does_not_answer(seen)
    assert states(seen, "clocks") == [OK]
