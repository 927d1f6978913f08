"""What a campaign must have met: a search that never meets it proves nothing about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
_POINTS: Final = {
    "simple": ("sent", "written", "flushed", "sent_after", "applied"),
    "append": ("sent", "written", "flushed", "sent_after", "light_sent", "applied"),
    "async": (
        "before_write",
        "after_write",
        "sent",
        "written_not_flushed",
        "flushed",
        "flush_ended",
    ),
    "daemon": (
        "before_write",
        "after_write",
        "sent",
        "written_not_flushed",
        "flushed",
        "flush_ended",
        "staging",
        "staged",
    ),
}

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
        *(f"conflict_length_{length}" for length in range(1, 9)),
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
        "crashed",
        "crashed_unsynced",
        "crashed_torn",
        "crash_all",
        "crash_DiskFailure",
        "crash_StoreWriteError",
        *(f"crash_at_{kind}_{point}" for kind, points in _POINTS.items() for point in points),
        *(f"recv_{kind}_{role}" for kind in _ANYWHERE for role in _ROLES),
        *(f"role_{a}_{b}" for a, b in (("Follower", "Candidate"), ("Follower", "PreCandidate"))),
        *(f"role_{role}_Leader" for role in ("Candidate", "Follower")),
        *(f"role_{role}_Follower" for role in ("PreCandidate", "Candidate", "Leader")),
    }
)


def missing(counters: Mapping[str, int]) -> list[str]:
    """What a campaign with these counters has not met."""
    return sorted(name for name in EXPECTED if not counters.get(name))
