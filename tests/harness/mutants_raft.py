"""The forty planted bugs: mistakes that Raft implementations have made, put into this one.

The numbers are those of families of mistakes; a family may have several members. `caught_by` names
the checks of `tests.harness.checkers` that should see it, the most direct one first. Which one does
so in fact, and at which seed, `python -m tests.mutants` finds out and prints.
"""

from __future__ import annotations

from typing import Any

from tests.harness.mutants import Edit, Mutant, register
from tests.harness.sim_swarm import lease_rates

_RAFT = "raft.core:Raft"
_LOG = "raft.raft_log:RaftLog"
_NODE = "raft.raw_node:RawNode"
_PROGRESS = "raft.progress.progress:Progress"
_SET = "raft.progress.progress_set:ProgressSet"
_DAEMON = {"mode": "daemon"}
_LEASE = {
    "lease_reads": True,
    "check_quorum": True,
    "rates": lease_rates(8),
    "voters": 3,
    "clients": 5,
    "keys": 1,
    "think_ms": 2.0,
    "read_share": 0.6,
    "delay_ms": (0.1, 0.5),
    "flush_ms": (0.0, 0.0),
    "loss": 0.0,
    "tick_ms": 10.0,
    "election_tick": 8,
    "heartbeat_tick": 1,
    "outage_ms": (60.0, 300.0),
    "more_faults": {"pause": 150.0, "isolate_leader": 200.0, "hand_over_unheard": 200.0},
}
_SNAPSHOTS = {
    "mode": "daemon",
    "voters": 3,
    "compact_keep": 0,
    "more_faults": {"compact": 30.0, "isolate_leader": 200.0, "crash": 200.0},
}


def _plant(
    number: int,
    name: str,
    what: str,
    caught_by: str,
    *edits: tuple[str, str, str],
    needs: dict[str, Any] | None = None,
) -> None:
    register(
        Mutant(
            name,
            what,
            tuple(Edit(*edit) for edit in edits),
            tuple(caught_by.split()),
            number,
            needs or {},
        )
    )


# -- What must be on disk before it is said -----------------------------------------------------

_plant(
    1,
    "vote-answered-before-sync",
    "a vote leaves before it is on disk",
    "I8 I1",
    (
        f"{_NODE}._split_messages",
        "if m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:",
        "if m.msg_type == 6 or m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:",
    ),
)
_plant(
    1,
    "vote-not-stored",
    "the hard state is stored without the vote",
    "I8 I1",
    ("raft.core:Raft.hard_state", "vote=self.vote", "vote=0"),
)
_plant(
    1,
    "append-acknowledged-before-sync",
    "entries are acknowledged before they are on disk",
    "I8 I9",
    (
        f"{_NODE}._split_messages",
        "if m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:",
        "if m.msg_type == 4 or m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:",
    ),
)
_plant(
    1,
    "lone-voter-speaks-before-sync",
    "the only voter's words of a new term leave before the term is on disk",
    "I8 I3",
    (
        f"{_NODE}._split_messages",
        "if m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:",
        "if m.msg_type in _IMMEDIATE_TYPES:",
    ),
)
_plant(
    2,
    "term-not-stored",
    "a later term that came without a vote is not stored",
    "I8",
    (
        f"{_NODE}.ready",
        "rd.must_sync = hard_state[:2] != self._hard_state[:2]",
        "rd.must_sync = hard_state[1] != self._hard_state[1]",
    ),
)
_plant(
    20,
    "entries-not-synced",
    "must_sync says no although there are entries",
    "I8 I6",
    (
        f"{_NODE}.ready",
        "rd.entries = log.unstable_entries()\n        rd.must_sync = True",
        "rd.entries = log.unstable_entries()",
    ),
)
_plant(
    22,
    "leader-counts-unsynced",
    "a leader counts itself for entries that its own disk does not have",
    "I9 I6",
    (
        "raft._replication:append_own",
        "raft.raft_log.append(entries)",
        "raft.raft_log.append(entries)\n"
        "    if raft.prs.get(raft.id):\n"
        "        raft.prs.progress[raft.id].maybe_update(index)",
    ),
)

# -- Elections -----------------------------------------------------------------------------------

_plant(
    3,
    "vote-kept-in-new-term",
    "the vote is not taken back when the term changes",
    "I1 I8 liveness",
    (
        f"{_RAFT}.reset",
        "self.term = term\n        self.vote = INVALID_ID",
        "self.term = term",
    ),
)
_plant(
    3,
    "vote-forgotten-in-same-term",
    "the vote is taken back although the term is the same",
    "I8 I1",
    (
        f"{_RAFT}.reset",
        "if self.term != term:\n        self.term = term\n        self.vote = INVALID_ID",
        "self.vote = INVALID_ID\n    if self.term != term:\n        self.term = term",
    ),
)
_plant(
    4,
    "length-before-term",
    "the longer log counts as more up to date, whatever its last term",
    "I4",
    (
        f"{_LOG}.is_up_to_date",
        "return term > own_term or (term == own_term and last_index >= self.last_index())",
        "return last_index > self.last_index() or ("
        "last_index == self.last_index() and term >= own_term)",
    ),
)
_plant(
    4,
    "equal-log-refused",
    "an equally long log does not count as up to date",
    "liveness",
    (f"{_LOG}.is_up_to_date", "last_index >= self.last_index()", "last_index > self.last_index()"),
)
_plant(
    5,
    "vote-without-log-check",
    "a vote is granted whatever log the candidate has",
    "I4",
    (
        "raft._election:grants",
        "if not can_vote or not log.is_up_to_date(m.index, m.log_term):",
        "if not can_vote:",
    ),
)
_plant(
    17,
    "old-answers-accepted",
    "answers of an earlier term count",
    "I9 I1 I10",
    (
        f"{_RAFT}.step",
        "elif m.term < self.term:",
        "elif m.term < self.term and msg_type not in (4, 6, 18):",
    ),
)
_plant(
    18,
    "votes-not-reset",
    "votes of the last candidacy count in the next",
    "I1 I10",
    (f"{_RAFT}.reset", "self.votes.clear()", "pass"),
)
_plant(
    19,
    "vote-counted-twice",
    "a vote that arrives twice counts twice",
    "I1 I10",
    (
        f"{_RAFT}.poll",
        "self.votes.setdefault(from_, granted)",
        "if granted and from_ in self.votes and from_ != self.id:\n"
        "        others = [v for v in self.prs.deciding_voters() if v not in self.votes]\n"
        "        from_ = min(others, default=from_)\n"
        "    self.votes.setdefault(from_, granted)",
    ),
)
_plant(
    37,
    "timeout-not-random",
    "everybody's election timeout is the same",
    "liveness",
    (
        f"{_RAFT}.reset_randomized_election_timeout",
        "self.rng.randrange(self._min_timeout, self._max_timeout)",
        "self._min_timeout",
    ),
    # Two who begin within a message's way of each other never come apart.
    needs={
        "mode": "core",
        "voters": 2,
        "learners": 0,
        "spares": 0,
        "faults": {},
        "rates": (1.0, 1.0),
        "tick_ms": 10.0,
        "election_tick": 10,
        "heartbeat_tick": 1,
        "delay_ms": (5.0, 6.0),
        "flush_ms": (0.0, 0.0),
        "loss": 0.0,
        "pre_vote": False,
        "check_quorum": False,
        "lease_reads": False,
        "priorities": {},
        "heal_all": True,
    },
)
_plant(
    37,
    "timer-not-reset-by-leader",
    "hearing from the leader does not reset the election timer",
    "liveness",
    (
        f"{_RAFT}.step_follower",
        "self.election_elapsed = 0\n        self.leader_id = m.from_",
        "self.leader_id = m.from_",
    ),
)
_plant(
    39,
    "no-empty-entry",
    "a new leader appends no entry of its own",
    "liveness",
    (f"{_RAFT}.become_leader", "_replication.append_own(self, [Entry()])", "pass"),
)

# -- Commit --------------------------------------------------------------------------------------

_plant(
    6,
    "older-term-committed-by-counting",
    "entries of earlier terms commit by counting",
    "I7 I5",
    (
        f"{_LOG}.maybe_commit",
        "not self.match_term(index, term)",
        "index >= self.unstable.next_index",
    ),
)
_plant(
    7,
    "half-is-a-quorum",
    "half of the voters count as a majority, for votes",
    "I1 I10 I4",
    (
        "raft.progress.quorum:votes_decide",
        "needed = len(voters) // 2 + 1",
        "needed = max(1, len(voters) // 2)",
    ),
)
_plant(
    7,
    "half-commits",
    "half of the voters count as a majority, for commits",
    "I6 I10",
    (
        "raft.progress.quorum:committed_by",
        "return reached[(len(reached) - 1) // 2]",
        "return reached[len(reached) // 2]",
    ),
)
_plant(
    7,
    "learners-count",
    "learners count as voters",
    "I6 I1",
    (
        f"{_SET}._changed",
        "self._rule = (self.configuration.voters,)",
        "self._rule = (self.configuration.voters | self.configuration.learners,)",
    ),
)
_plant(
    13,
    "commit-beyond-what-matches",
    "a follower takes the leader's commit index, also beyond what it was sent",
    "I6 I5 I14",
    (
        f"{_LOG}.maybe_append",
        "self.commit_to(min(committed, last_new_index))",
        "self.commit_to(committed)",
    ),
    needs={"max_size_per_msg": 0, "max_inflight_bytes": 0},
)
_plant(
    13,
    "heartbeat-commits-beyond-match",
    "a heartbeat carries the commit index beyond what the follower is known to have",
    "I6 I14 I5",
    (
        "raft._replication:broadcast_heartbeat",
        "commit=min(progress.matched, committed),",
        "commit=committed,",
    ),
)
_plant(
    14,
    "commit-goes-back",
    "the commit index follows a message that says less",
    "I6 I14",
    (f"{_LOG}.commit_to", "if index <= self.committed:", "if index == self.committed:"),
)
_plant(
    21,
    "uncommitted-applied",
    "entries are applied before they are committed",
    "I5",
    (
        f"{_LOG}.applied_index_upper_bound",
        "return min(self.committed, self.persisted + self.max_apply_unpersisted_log_limit)",
        "return self.persisted",
    ),
    (f"{_LOG}.has_next_entries_since", "if self.committed <= since_index:", "if False:"),
    (f"{_LOG}.next_entries_since", "if self.committed <= since_index:", "if False:"),
)

# -- Log -----------------------------------------------------------------------------------------

_plant(
    10,
    "append-without-check",
    "entries are appended whatever stands before them",
    "I3 I14",
    (
        f"{_LOG}.maybe_append",
        "if not self.match_term(index, term):",
        "if index >= self.unstable.next_index:",
    ),
)
_plant(
    11,
    "truncate-on-every-append",
    "the log is cut at every append, not only on a conflict",
    "I6 I8 I9 I14",
    (
        f"{_LOG}.maybe_append",
        "conflict = self.find_conflict(entries)",
        "conflict = max(index + 1, self.committed + 1)\n"
        "            conflict = conflict if conflict <= last_new_index else 0",
    ),
)
_plant(
    12,
    "conflict-kept",
    "entries that differ from the leader's are kept",
    "I3 I9 I5 I14",
    (
        f"{_LOG}.find_conflict",
        "return index\n    return 0",
        "if index >= self.unstable.next_index:\n                return index\n    return 0",
    ),
)
_plant(
    38,
    "append-off-by-one",
    "the first new entry is left out when part of a message is known already",
    "I14 I3",
    (
        f"{_LOG}.maybe_append",
        "entries[conflict - index - 1 :]",
        "entries[conflict - index :] or entries[-1:]",
    ),
)
_plant(
    38,
    "slice-off-by-one",
    "a slice of several entries begins one late",
    "I14 I3 I5",
    (
        f"{_LOG}.slice",
        "self.store.entries(low, stable_high, max_size, context)",
        "self.store.entries(\nlow + (low + 1 < stable_high), stable_high, max_size, context)",
    ),
)

# -- Progress ------------------------------------------------------------------------------------

_plant(
    15,
    "match-goes-back",
    "a late acknowledgement takes the match index back",
    "I9",
    (f"{_PROGRESS}.maybe_update", "if self.matched >= index:", "if self.matched == index:"),
)
_plant(
    15,
    "match-from-rejection",
    "a rejection sets the match index",
    "I9 I6",
    (
        f"{_RAFT}.handle_append_response",
        "hint = m.reject_hint\n",
        "hint = m.reject_hint\n        progress.maybe_update(m.index)\n",
    ),
)
_plant(
    16,
    "match-from-own-log",
    "the match index is set from what the leader has, not from what was acknowledged",
    "I9 I6",
    (
        f"{_RAFT}.handle_append_response",
        "progress.maybe_update(m.index)",
        "progress.maybe_update(max(m.index, min(m.index + 1, self.raft_log.last_index())))",
    ),
)
_plant(
    36,
    "window-not-freed",
    "acknowledged messages stay in the window",
    "liveness",
    (f"{_RAFT}.handle_append_response", "progress.ins.free_to(m.index)", "pass"),
    (
        f"{_RAFT}.handle_heartbeat_response",
        "progress.ins.free_first_one()",
        "pass",
    ),
    needs={"max_inflight_msgs": 2},
)
_plant(
    36,
    "message-size-ignored",
    "an append message holds all there is, whatever it may",
    "I14",
    (
        "raft._replication:send_append",
        "log.entries(next_idx, raft.max_msg_size,",
        "log.entries(next_idx, None,",
    ),
    needs={"max_size_per_msg": 60, "max_inflight_bytes": 0, "loss": 0.1},
)
_plant(
    36,
    "uncommitted-size-ignored",
    "proposals are taken however much waits to be committed",
    "I14",
    (
        "raft._proposals:_reserve",
        "and (raft.uncommitted_size + size > raft.max_uncommitted_size)",
        "and False",
    ),
    needs={"max_size_per_msg": 60, "max_uncommitted_size": 100, "mode": "core"},
)
_plant(
    36,
    "snapshot-state-for-ever",
    "a follower that was sent a snapshot gets nothing any more",
    "liveness",
    (
        f"{_PROGRESS}.maybe_snapshot_abort",
        "if self.state is not ProgressState.Snapshot:",
        "if True:",
    ),
    (
        f"{_PROGRESS}.snapshot_ended",
        "self.become_probe()",
        "pass",
    ),
)
_plant(
    36,
    "probe-paused-for-ever",
    "a probe that was lost is never repeated",
    "liveness",
    (f"{_PROGRESS}.resume", "self.paused = False", "pass"),
)

# -- Membership ----------------------------------------------------------------------------------

_plant(
    8,
    "joint-by-union",
    "while joint, a majority of everybody is enough",
    "I10 I1",
    (
        f"{_SET}._changed",
        "self._rule = (self.configuration.voters, new.voters)",
        "self._rule = (self.configuration.voters | new.voters,)",
    ),
)
_plant(
    9,
    "joint-votes-by-new-alone",
    "while joint, the new majority alone elects",
    "I10 I1",
    (
        f"{_SET}.candidacy_status",
        "return votes_decide(self._rule, votes)",
        "return votes_decide(self._rule[-1:], votes)",
    ),
)
_plant(
    9,
    "joint-commits-by-old-alone",
    "while joint, the old majority alone commits",
    "I10",
    (
        f"{_SET}.maximal_committed_index",
        "for voters in self._rule:\n        if",
        "for voters in self._rule[:1]:\n        if",
    ),
)
_plant(
    26,
    "snapshot-without-joint-state",
    "a snapshot's configuration is taken over without its joint half",
    "I10",
    (
        f"{_SET}.restore_conf_state",
        "if conf_state.voters_outgoing:",
        "if False:",
    ),
)
_plant(
    26,
    "snapshot-without-configuration",
    "a node keeps its own configuration when it installs a snapshot",
    "I10 I14",
    (
        "raft._replication:restore",
        "_membership.restore(raft, _membership.conf_state_of_metadata(metadata))",
        "_membership.rescan(raft)",
    ),
)
_plant(
    32,
    "changes-overlap",
    "a second change may be proposed while one is in the log",
    "I10",
    (
        "raft._membership:_check_entering",
        "if raft.has_pending_conf():",
        "if False:",
    ),
    (
        "raft._membership:_check_entering",
        "if raft.membership_log:",
        "if False:",
    ),
)
_plant(
    32,
    "finalize-twice",
    "Finalize is proposed again although it is in the log",
    "I10",
    (
        f"{_RAFT}._leave_joint_if_due",
        "self, _membership.ChangeKind.FINALIZE\n    )",
        "self, _membership.ChangeKind.SIMPLE\n    )",
    ),
)
_plant(
    32,
    "finalize-forgotten-by-successor",
    "a leader elected while joint does not go on with the change",
    "liveness",
    (
        f"{_RAFT}.commit_apply",
        "self._leave_joint_if_due()",
        "if self.prs.begin_index == applied:\n        self._leave_joint_if_due()",
    ),
    (
        f"{_RAFT}.become_leader",
        "self.leave_requested = finalize and self.prs.is_in_membership_change()\n"
        "    self._leave_joint_if_due()",
        "pass",
    ),
)
_plant(
    33,
    "removed-leader-stays",
    "a leader that was removed goes on leading",
    "liveness I10 I6",
    (
        "raft._membership:_after_change",
        "if raft.id not in prs.voter_ids() and raft.step_down_on_removal:",
        "if False:",
    ),
)
_plant(
    33,
    "leader-not-protected",
    "a vote request deposes a leader that is alive",
    "liveness I11",
    (f"{_RAFT}.in_lease", "self.check_quorum\n", "False\n"),
    needs={"check_quorum": True, "pre_vote": False, "lease_reads": False},
)
_plant(
    34,
    "hand-over-to-a-laggard",
    "leadership is handed over at once, whatever the target lacks",
    "I14 liveness",
    (
        "raft._transfer:start",
        "if progress.matched == raft.raft_log.last_index():",
        "if True:",
    ),
)
_plant(
    34,
    "learner-campaigns",
    "whoever is told to campaign does so, without a vote of its own",
    "I10 I14 I1 liveness",
    (f"{_RAFT}.promotable", "return self.id in self.prs.deciding_voters() and", "return"),
)

# -- Reads ---------------------------------------------------------------------------------------

_plant(
    28,
    "read-without-round",
    "a leader answers reads without asking whether it still leads",
    "I11 linearizability",
    (
        "raft._reads:handle_read_index",
        "if raft.prs.has_quorum({raft.id}) or lease_is_live(raft):",
        "if True:",
    ),
)
_plant(
    28,
    "read-before-own-commit",
    "a leader answers reads before it has committed in its own term",
    "I11",
    ("raft._reads:handle_read_index", "if not raft.committed_in_own_term():", "if False:"),
)
_plant(
    29,
    "read-shares-older-index",
    "a read with the context of a pending one shares its index",
    "I11",
    (
        "raft.read_only:ReadOnly.join_round",
        "one.reads.append(request)",
        "for earlier in self._rounds:\n"
        "            for known in earlier.reads:\n"
        "                if (known.origin, known.context) == (request.origin, request.context):\n"
        "                    request.index = min(request.index, known.index)\n"
        "        one.reads.append(request)",
    ),
    needs={"same_read_contexts": True, "lease_reads": False, "read_share": 0.7},
)
_plant(
    30,
    "read-before-applied",
    "a confirmed read is served though the state is older than its index",
    "I11 linearizability",
    (
        "raftd.reading:Reading.answer",
        "while confirmed and confirmed[0][0] <= applied:",
        "while confirmed:",
    ),
    needs={"mode": "engine", "read_share": 0.7, "lease_reads": False},
)
_plant(
    31,
    "lease-outlives-pause",
    "a lease goes on after the process stood still",
    "I11 linearizability",
    ("raft.core:Raft.expire_lease", "self.read_only.expire_lease()", "pass"),
    needs=_LEASE,
)
_plant(
    31,
    "lease-outlives-transfer",
    "a lease goes on after leadership was handed over",
    "I11 linearizability",
    ("raft._transfer:start", "raft.read_only.lease_usable = False", "pass"),
    needs=_LEASE,
)
_plant(
    31,
    "lease-ignores-drift",
    "a lease is as long as it may be if all clocks go equally fast",
    "I11 linearizability",
    ("raft._reads:confirm", "LEASE_TICKS_LOST", "1"),
    needs={
        **_LEASE,
        "mode": "core",
        "styles": ("async",),
        "election_tick": 4,
        "rates": lease_rates(4),
        "learners": 0,
        "spares": 0,
        "pre_vote": False,
        "priorities": {},
        "more_faults": {},
        "faults": {"isolate_leader": 60.0},
        "outage_ms": (40.0, 50.0),
        # A tick is all there is, and who writes to a leader that is cut off asks nothing in it.
        "clients": 12,
        "think_ms": 0.5,
        "read_share": 0.97,
    },
)
_plant(
    31,
    "lease-too-long",
    "a lease lasts longer than the followers keep quiet",
    "I11 linearizability",
    (
        "raft._reads:confirm",
        "raft.election_timeout - LEASE_TICKS_LOST",
        "3 * raft.election_timeout",
    ),
    needs={
        **_LEASE,
        # Whoever is cut off for long enough is asked meanwhile.
        "mode": "core",
        "styles": ("async",),
        "learners": 0,
        "spares": 0,
        "pre_vote": False,
        "priorities": {},
        "more_faults": {},
        "faults": {"isolate_leader": 150.0},
        "outage_ms": (200.0, 400.0),
    },
)

# -- Snapshots, storage, sessions ----------------------------------------------------------------

_plant(
    23,
    "applied-saved-apart",
    "the applied position is written apart from what was applied",
    "I8 I12 I13",
    (
        "raftd.storage:LogStore.set_applied",
        "batch.put(_META, keys.APPLIED, keys.seal(applied.encode()))",
        "apart = self.kv.new_batch()\n"
        "    apart.put(_META, keys.APPLIED, keys.seal(applied.encode()))\n"
        "    self.kv.write(apart)",
    ),
    needs=_DAEMON,
)
_plant(
    24,
    "snapshot-keeps-conflicting-log",
    "entries behind a snapshot stay although they contradict it",
    "I3 I8 I14",
    (
        "raftd.storage:LogStore.install_snapshot",
        "if index <= self._last_index and self.term(index) == term:",
        "if index <= self._last_index:",
    ),
    needs=_SNAPSHOTS,
)
_plant(
    25,
    "snapshot-without-data",
    "a snapshot moves the applied position and leaves the state as it was",
    "I13",
    (
        "raftd.snapshot_install:install",
        "log_store.set_epoch(batch, staged.epoch)",
        "pass",
    ),
    needs=_DAEMON,
)
_plant(
    25,
    "old-snapshot-accepted",
    "a snapshot below the commit index is installed",
    "I14 I13",
    (
        "raft._replication:restore",
        "if metadata.index < log.committed or (",
        "if False and (",
    ),
    needs={**_SNAPSHOTS, "replay": 0.1},
)
_plant(
    27,
    "compaction-takes-too-much",
    "compaction drops one entry more than it was told",
    "I14 I8",
    (
        "raftd.storage:LogStore.compact",
        "last_dropped = index - 1",
        "last_dropped = index",
    ),
    needs=_DAEMON,
)
_plant(
    27,
    "term-before-the-log-lost",
    "the term of the last compacted entry is not known any more",
    "liveness I14 I3",
    (
        "raftd.storage:LogStore.term",
        "return self._truncated_term",
        "raise Compacted",
    ),
    needs=_DAEMON,
)
_plant(
    35,
    "snapshot-without-sessions",
    "a snapshot lacks the table of client keys",
    "I12",
    (
        "raftd.snapshot_format:_view_records",
        "for family in FAMILIES:",
        "for family in FAMILIES[:1]:",
    ),
    needs=_DAEMON,
)
_plant(
    35,
    "result-not-remembered",
    "the first result of a client key is not remembered",
    "I12",
    (
        "raftd.applier:Applier._apply_keyed",
        "sessions.record(key, record, context.settings)",
        "pass",
    ),
    needs=_DAEMON,
)
_plant(
    40,
    "restart-applies-again",
    "a restarted node does not know what it had applied",
    "I5 I14 I12",
    (
        "raft.core:Raft._load",
        "if config.applied:",
        "if False:",
    ),
)
_plant(
    40,
    "restart-commits-all",
    "a restarted node takes its whole log for committed",
    "I6 I5",
    (
        "raft.core:Raft._load_hard_state",
        "log.committed = hard_state.commit",
        "log.committed = log.last_index()",
    ),
)
_plant(
    40,
    "applied-beyond-commit",
    "an applied position is stored without the commit index that allows it, and loaded so",
    "I14 I8 I6",
    (
        "raftd.storage:LogStore.initial_state",
        "hard_state.commit = max(hard_state.commit, self._applied.index)",
        "pass",
    ),
    (
        "raftd.replica:Replica._write",
        "self._store.set_hard_state(batch, self._hard_state)",
        "old = self._store.hard_state.commit\n"
        "        new = self._hard_state\n"
        "        self._store.set_hard_state("
        "batch, type(new)(term=new.term, vote=new.vote, commit=old))",
    ),
    needs=_DAEMON,
)

# -- The proof that failures are reported at all -------------------------------------------------

_plant(
    0,
    "canary",
    "one vote in some is granted to everybody who asks",
    "I8 I1 I4",
    ("raft._election:grants", "if not can_vote or", "if raft.term % 3 and not can_vote or"),
)

# -- Large values, which go past the daemon's journal --------------------------------------------

_AHEAD = {
    "mode": "daemon",
    "large_share": 0.5,
    "save_entries": 5,
    "outage_ms": (20.0, 100.0),
    "more_faults": {"crash": 40.0},
}
_plant(
    0,
    "ahead-safe-before-the-flush",
    "what refers to large values is saved without them when their flush begins, not when it ended",
    "I13 I11 I14",
    (
        "raftd.applier:Context.flush_begins",
        "self.waiting_bytes = 0",
        "self.waiting_bytes = 0; self._safe.update(self._flushing)",
    ),
    needs=_AHEAD,
)
_plant(
    0,
    "ahead-left-out-of-a-save",
    "a save leaves out what was written ahead, flushed or not",
    "I13 I11 I14",
    (
        "raftd.applier:Context.flush",
        "elif not safe or safe.get(key) is not value:",
        "elif key not in self._waiting and key not in self._flushing and key not in safe:",
    ),
    needs=_AHEAD,
)
