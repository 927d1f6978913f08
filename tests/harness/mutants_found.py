"""Bugs that the simulator once found in this code, put back: each with what its repair changed.

``regressions`` in `tests.simulation` keeps the few actions that showed each of them. Played with
the bug put back they must show it again; without it nothing may be wrong.
"""

from __future__ import annotations

from typing import Any

from tests.harness.mutants import Edit, Mutant, register

_RAFT = "raft.core:Raft"


def _found(
    name: str,
    what: str,
    caught_by: str,
    *edits: tuple[str, str, str],
    needs: dict[str, Any] | None = None,
) -> None:
    register(
        Mutant(
            f"found-{name}",
            what,
            tuple(Edit(*edit) for edit in edits),
            tuple(caught_by.split()),
            0,
            needs or {},
        )
    )


_found(
    "snapshot-below-what-was-acknowledged",
    "a follower that asked for a snapshot installs one below entries that it has acknowledged",
    "I8 I9 I6",
    (
        "raft._replication:restore",
        "if metadata.index < raft.pending_request_snapshot:",
        "if False:",
    ),
    (
        "raft._replication:request_snapshot",
        "= max(request_index, raft.raft_log.last_index())",
        "= request_index",
    ),
    needs={"mode": "core", "more_faults": {"api": 20.0}},
)
_found(
    "waiting-for-a-snapshot-in-silence",
    "who waits for a snapshot does not say again what it has: the commit waits for that",
    "liveness",
    (
        "raft._replication:send_request_snapshot",
        "if log.last_index() > log.committed:",
        "if False:",
    ),
    needs={"mode": "core", "more_faults": {"api": 20.0}},
)
_found(
    "answer-to-a-former-life-refused",
    "who lost unsynced entries and is back in the same term takes answers to them for a breach",
    "I14",
    (
        "raft._validate:check_message",
        "raft.is_leader()\n            and m.term == raft.term",
        "m.term == raft.term",
    ),
)
_found(
    "learner-of-a-later-term-is-silent",
    "a learner whose term somebody raised ignores its leader, and does not tell it",
    "liveness",
    (
        f"{_RAFT}._answer_old_term",
        "if msg_type in _LEADER_TYPES:",
        "if msg_type in _LEADER_TYPES and (self.check_quorum or self.pre_vote):",
    ),
    needs={"check_quorum": False, "pre_vote": False, "lease_reads": False, "learners": 2},
)
_found(
    "leaving-learner-refused-a-snapshot",
    "the validator does not know a learner that is leaving as a member of the joint configuration",
    "I14",
    ("raftd.validate:_members", "*state.learners_outgoing,", ""),
    needs={"mode": "daemon"},
)
_found(
    "late-refusal-believed",
    "a leader's late refusal is taken for that of a later leader to whom the proposal went since",
    "I12",
    (
        "raftd.proposing:Proposing.receive_refusal",
        "if proposal is None or proposal.term != refused.term:",
        "if proposal is None:",
    ),
    needs={"mode": "engine"},
)
_found(
    "commit-in-an-old-refusal-ignored",
    "a pre-candidate does not learn of commits from who refuses it and stays in an earlier term",
    "search",
    (f"{_RAFT}._answer_old_term", "self.maybe_commit_by_vote(m)", "pass"),
)
_found(
    "entries-stored-without-their-commit",
    "entries reach the disk without the commit index that a LightReady had told before them",
    "search",
    (
        "raft.raw_node:RawNode.ready",
        " or (writes and log.committed > self._stored_commit)",
        "",
    ),
)
_LIGHT = {"mode": "core", "styles": ("append",), "flush_ms": (1.0, 10.0)}
_found(
    "light-ready-before-its-snapshot",
    "a LightReady lets the acknowledgement of a snapshot leave that was stepped since the Ready",
    "I8 I9",
    ("raft.raw_node:RawNode.advance_append", "log.unstable.snapshot is None", "True"),
    needs={
        **_LIGHT,
        "compact_keep": 0,
        "outage_ms": (50.0, 300.0),
        "more_faults": {"isolate_leader": 300.0, "one_way": 150.0, "compact": 50.0},
    },
)
_found(
    "light-commit-beyond-the-disk",
    "a LightReady tells the commit index of entries that were stepped since the Ready",
    "I14 I6",
    (
        "raft.raw_node:RawNode.advance_append",
        "max(told, min(log.committed, log.persisted))",
        "max(told, log.committed)",
    ),
    needs={**_LIGHT, "crash_place": "light_sent", "more_faults": {"crash_at_point": 40.0}},
)
_found(
    "marks-not-rolled-back",
    "a rollback leaves the marks to promote as the change that is taken back had made them",
    "I10",
    (
        "raft.progress.progress_set:ProgressSet.rollback_membership_change",
        "self.promotable = self.promotable_outgoing",
        "pass",
    ),
)
