"""What a campaign must have met: a search that never meets it proves nothing about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.harness.sim_faults import POINTS

_ROLES = ("Follower", "PreCandidate", "Candidate", "Leader")
_ANYWHERE = (
    "MsgAppend",
    "MsgAppendResponse",
    "MsgHeartbeat",
    "MsgHeartbeatResponse",
    "MsgRequestVote",
    "MsgRequestVoteResponse",
    "MsgRequestPreVote",
    "MsgRequestPreVoteResponse",
    "MsgSnapshot",
    "MsgTimeoutNow",
    "MsgReadIndex",
    "MsgReadIndexResp",
    "MsgTransferLeader",
)

EXPECTED: Final = frozenset(
    {
        "leader_elected",
        "elected_joint",
        "split_vote",
        "rejected_MsgRequestPreVoteResponse",
        "rejected_MsgRequestVoteResponse",
        "rejected_MsgAppendResponse",
        "leader_lost_with_uncommitted_tail",
        "leader_removed",
        "conflict_truncated",
        *(f"conflict_length_{length}" for length in (1, 2, 4, 8)),
        "conf_entry_truncated",
        "commit_of_older_term",
        "commit_joint",
        "commit_by_old_alone",
        "conf_begin",
        "conf_finalize",
        "conf_rollback",
        "conf_simple",
        "joint_left_by_another_leader",
        "rollback_campaign",
        "progress_Probe_Replicate",
        "progress_Replicate_Probe",
        "progress_Probe_Snapshot",
        "progress_Snapshot_Probe",
        "progress_Snapshot_Replicate",
        "snapshot_sent",
        "snapshot_unavailable",
        "snapshot_installed",
        "snapshot_to_laggard",
        "snapshot_over_conflict",
        "compacted",
        "compacted_under_follower",
        "transfer_begun",
        "transfer_done",
        "transfer_given_up",
        "read_postponed",
        "read_retried",
        "read_by_lease",
        "read_lease_over",
        "session_hit",
        "state_flushed",
        "crashed",
        "crashed_unsynced",
        "crashed_torn",
        "crash_all",
        "crash_DiskFailure",
        "crash_StoreWriteError",
        *(f"crash_at_{kind}_{point}" for kind, points in POINTS.items() for point in points),
        *(f"recv_{kind}_{role}" for kind in _ANYWHERE for role in _ROLES),
        *(f"role_{a}_{b}" for a, b in (("Follower", "Candidate"), ("Follower", "PreCandidate"))),
        *(f"role_{role}_Leader" for role in ("Candidate", "Follower")),
        *(f"role_{role}_Follower" for role in ("PreCandidate", "Candidate", "Leader")),
    }
)


def missing(counters: Mapping[str, int]) -> list[str]:
    """What a campaign with these counters has not met."""
    return sorted(name for name in EXPECTED if not counters.get(name))


_CRASHES: Final = {"crash_at_point": 60.0}
_SNAPSHOTS: Final = {**_CRASHES, "compact": 60.0, "isolate_leader": 300.0}
_FOCUS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("crash_at_engine", {"mode": "engine", "compact_keep": 0, "more_faults": _SNAPSHOTS}),
    ("crash_at_daemon", {"mode": "daemon", "compact_keep": 0, "more_faults": _SNAPSHOTS}),
    *(
        (f"crash_at_{style}", {"mode": "core", "styles": (style,), "more_faults": _CRASHES})
        for style in ("simple", "append", "async")
    ),
    ("recv_", {"replay": 0.3, "more_faults": {"transfer": 100.0, "compact": 60.0}}),
    ("state_flushed", {"mode": "daemon", "large_share": 0.5}),
    ("conflict", {"more_faults": {"isolate_leader": 150.0}}),
    ("snapshot", {"compact_keep": 0, "more_faults": {"isolate_leader": 150.0, "compact": 60.0}}),
    ("read_", {"lease_reads": True, "check_quorum": True, "rates": (1.0, 1.0)}),
)


def focus(counter: str) -> dict[str, Any]:
    """Settings under which what `counter` counts happens more often."""
    for prefix, fixed in _FOCUS:
        if counter.startswith(prefix):
            if prefix.startswith("crash_at"):
                return {**fixed, "crash_place": counter.removeprefix(f"{prefix}_")}
            return fixed
    return {}
