"""The rules of rollback, broken one at a time (common/raft/DESIGN.md, "Rolling back").

The letters are those of the model that the rules were first checked with. Two of them, e and h1,
break no promise: what they change is for liveness and for simplicity. They are here to show that
too, and `breaks` is empty for them.
"""

from __future__ import annotations

from typing import Any

from tests.harness.mutants import Edit, Mutant, register

_CHECK_LEAVING = "raft._membership:_check_leaving"
_CHECK_ENTERING = "raft._membership:_check_entering"
_FINALIZE_IN_LOG = "if in_log_after_begin(raft, ChangeKind.FINALIZE):"
_ROLLBACK_IN_LOG = "if in_log_after_begin(raft, ChangeKind.ROLLBACK):"
_FORCED_WINNER = (
    Edit(
        "raft.core:Raft.become_leader",
        "if rollback and self.prs.is_in_membership_change():",
        "if False:",
    ),
    Edit("raft.core:Raft.become_leader", "self._stop_campaigning_for_rollback()", "pass"),
)
_UNSAFE = ("search", "I10", "I1", "I4", "liveness")
_BUSY: dict[str, Any] = {
    "spares": 3,
    "more_faults": {
        "member": 60.0,
        "leave_joint": 60.0,
        "rollback_campaign": 60.0,
        "isolate_leader": 150.0,
        "crash": 150.0,
    },
}
_SMALL: dict[str, Any] = {
    "voters": 1,
    "learners": 1,
    "spares": 1,
    "clients": 1,
    "think_ms": 100.0,
    "pre_vote": False,
    "check_quorum": False,
    "lease_reads": False,
    "election_tick": 4,
    "heartbeat_tick": 1,
    "priorities": {},
    "more_faults": {
        "member": 80.0,
        "leave_joint": 40.0,
        "rollback_campaign": 30.0,
        "isolate_leader": 100.0,
        "partition": 100.0,
        "crash": 100.0,
        "campaign": 100.0,
    },
}

A = register(
    Mutant(
        "rollback-a",
        "a Rollback is appended although a Finalize stands in the log",
        (
            Edit(
                _CHECK_LEAVING,
                _FINALIZE_IN_LOG,
                "if kind is ChangeKind.FINALIZE and in_log_after_begin(raft, ChangeKind.FINALIZE):",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
B = register(
    Mutant(
        "rollback-b",
        "a Finalize is appended although a Rollback stands in the log",
        (
            Edit(
                _CHECK_LEAVING,
                _ROLLBACK_IN_LOG,
                "if kind is ChangeKind.ROLLBACK and in_log_after_begin(raft, ChangeKind.ROLLBACK):",
            ),
            Edit(
                "raft.core:Raft._leave_joint_if_due",
                ") or _membership.in_log_after_begin(self, _membership.ChangeKind.ROLLBACK):",
                "):",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
C = register(
    Mutant(
        "rollback-c",
        "campaigns are not held back by committed membership entries that are unapplied",
        (
            Edit(
                "raft._membership:has_unapplied_committed",
                "return bool(log) and log[0].index <= raft.raft_log.committed",
                "return False",
            ),
        ),
        _UNSAFE,
        needs=_SMALL,
    )
)
D = register(
    Mutant(
        "rollback-d",
        "the commit index is not durable with the entries it came with",
        (
            Edit(
                "raft.raw_node:RawNode.ready",
                "rd.hs = raft.hard_state()",
                "rd.hs = HardState(term=raft.term, vote=raft.vote, commit=log.applied)",
            ),
        ),
        _UNSAFE,
        needs=_SMALL,
    )
)
E = register(
    Mutant(
        "rollback-e",
        "a Rollback counts in elections only once applied; a leader commits it by C_old alone",
        (
            Edit(
                "raft._membership:refresh_quorums",
                "in_log_after_begin(raft, ChangeKind.ROLLBACK)",
                "(raft.is_leader() and in_log_after_begin(raft, ChangeKind.ROLLBACK))",
            ),
            Edit(
                "raft.core:Raft.become_leader",
                "self.state = _LEADER",
                "self.state = _LEADER; _membership.refresh_quorums(self)",
            ),
            Edit(
                "raft.core:Raft.become_follower",
                "self.state = _FOLLOWER",
                "self.state = _FOLLOWER; _membership.refresh_quorums(self)",
            ),
        ),
    )
)
F = register(
    Mutant(
        "rollback-f",
        "a node campaigns for rollback although a Finalize stands in its log",
        (
            Edit(
                "raft._membership:check_rollback_campaign",
                "if in_log_after_begin(raft, ChangeKind.FINALIZE):",
                "if False:",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
G = register(
    Mutant(
        "rollback-g",
        "a joint quorum is a majority of the union of both configurations",
        (
            Edit(
                "raft.progress.progress_set:ProgressSet._changed",
                "self._rule = (self.configuration.voters, new.voters)",
                "self._rule = (self.configuration.voters | new.voters,)",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
H1 = register(
    Mutant(
        "rollback-h1",
        "who won a campaign for rollback may commit ordinary entries by C_old alone before it "
        "appends the Rollback",
        (
            *_FORCED_WINNER,
            Edit(
                _CHECK_LEAVING,
                _FINALIZE_IN_LOG,
                "if (kind is ChangeKind.FINALIZE and raft.campaigns_for_rollback) or "
                "in_log_after_begin(raft, ChangeKind.FINALIZE):",
            ),
        ),
    )
)
H2 = register(
    Mutant(
        "rollback-h2",
        "who won a campaign for rollback may append a Finalize and commit it by C_old alone",
        _FORCED_WINNER,
        _UNSAFE,
        needs=_SMALL,
    )
)
_NO_GUARDS = (
    Edit(_CHECK_ENTERING, "if raft.has_pending_conf():", "if False:"),
    Edit(_CHECK_ENTERING, "if raft.membership_log:", "if False:"),
)
I = register(  # noqa: E741  # The letters are the names.
    Mutant(
        "rollback-i",
        "a Begin is appended while another one, or what ends it, is not applied, and takes the "
        "other's place when it is applied while joint",
        (
            *_NO_GUARDS,
            Edit(
                "raft.progress.progress_set:ProgressSet.begin_membership_change",
                'self._refuse_while_joint("begin a membership change")',
                "pass",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
I1 = register(
    Mutant(
        "rollback-i1",
        "a Begin is appended while another one is unapplied; applied while joint it has no effect",
        _NO_GUARDS,
    )
)
J = register(
    Mutant(
        "rollback-j",
        "entries are sent without the commit index that the leader had when it appended them",
        (
            Edit(
                "raft._replication:send_append",
                "commit=committed,",
                "commit=0 if entries else committed,",
            ),
        ),
        _UNSAFE,
        needs=_SMALL,
    )
)
K = register(
    Mutant(
        "rollback-k",
        "any Rollback in the log counts, not only one after the Begin that is applied",
        (
            Edit(
                "raft._membership:refresh_quorums",
                "in_log_after_begin(raft, ChangeKind.ROLLBACK)",
                "any(entry.entry_type and kind_of(parse_conf_change(entry)) is ChangeKind.ROLLBACK "
                "for entry in raft.raft_log.all_entries())",
            ),
        ),
        _UNSAFE,
        needs=_BUSY,
    )
)
