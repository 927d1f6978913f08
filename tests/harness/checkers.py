"""The properties of Raft, judged from outside after every step of a simulated cluster.

Nothing here asks the code under test what is right. What nodes wrote, committed, applied and sent
is compared with one golden log (the committed entries, in order), one configuration history and
one key-value model, all of them kept here by other means. The ids of the checks:

I1 one leader a term. I2 a leader only appends. I3 equal (index, term) means equal logs. I4 a
leader has all that earlier terms committed. I5 all apply the same, in order. I6 the commit index
never goes back, and what commits is on a quorum's disks. I7 only entries of the leader's term
commit by counting. I8 what a message promises is on its sender's disk, and one vote a term. I9 a
leader's match index is what the follower's disk has. I10 configurations: both majorities, one
change at a time, the same everywhere. I11 reads see all that was acknowledged before. I12 a key is
applied once. I13 snapshots hold the golden state. I14 nothing undocumented is raised, all bounds
hold, all messages are well-formed. I15 liveness. I16 replay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from detangle import lin

from raft import NO_LIMIT, Progress, ProgressState, Raft, RawNode, StateRole
from raft.eraftpb import (
    AddLearnerNode,
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    FinalizeMembershipChange,
    Message,
    MessageType,
    MsgAppend,
    MsgAppendResponse,
    MsgHeartbeat,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgTimeoutNow,
    RollbackMembershipChange,
)

if TYPE_CHECKING:
    from tests.harness.cluster import Op
    from tests.harness.sim_node import SimNode

_LEADER: Final = StateRole.Leader
_ORIGIN: Final = Struct(">QQQ")
_CANDIDATE: Final = StateRole.Candidate
_FROM_LEADER: Final = frozenset({MsgAppend, MsgHeartbeat, MsgSnapshot, MsgTimeoutNow})
_EXPLICIT: Final = 2


class Violation(AssertionError):
    """A property does not hold."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check
        self.text = text

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        return Violation, (self.check, self.text)


# -- Configurations, by the rules as written down, not by the code ------------------------------


@dataclass(frozen=True, slots=True)
class Conf:
    """A configuration: C_old (or the only one), and C_new while joint."""

    voters: frozenset[int]
    learners: frozenset[int]
    new_voters: frozenset[int] | None = None
    new_learners: frozenset[int] = frozenset()
    begin: int = 0
    marked: frozenset[int] = frozenset()
    """Learners to be made voters when they have caught up; of C_new's, while joint."""
    marked_before: frozenset[int] = frozenset()
    """While joint: those of C_old, which a rollback brings back."""

    @property
    def joint(self) -> bool:
        """Whether two configurations are in force."""
        return self.new_voters is not None

    def members(self) -> frozenset[int]:
        """Everyone in it."""
        return self.voters | self.learners | (self.new_voters or frozenset()) | self.new_learners

    def canonical(self) -> tuple[tuple[int, ...], ...]:
        """What the `ConfState` of this configuration must name."""
        groups: tuple[Iterable[int], ...]
        if self.new_voters is None:
            groups = (self.voters, self.learners, (), (), ())
        else:
            groups = (
                self.new_voters,
                self.new_learners - self.voters,
                self.voters,
                self.new_learners & self.voters,
                self.learners,
            )
        marks = (self.marked, self.marked_before)
        return tuple(tuple(sorted(group)) for group in (*groups, *marks))

    def quorums(self, old_alone: bool = False) -> tuple[frozenset[int], ...]:
        """The voter sets of which each needs its own majority."""
        if self.new_voters is None or old_alone:
            return (self.voters,)
        return (self.voters, self.new_voters)


def canonical_of(state: ConfState) -> tuple[tuple[int, ...], ...]:
    """`Conf.canonical` of what the code says."""
    return (
        tuple(state.voters),
        tuple(state.learners),
        tuple(state.voters_outgoing),
        tuple(state.learners_next),
        tuple(state.learners_outgoing),
        tuple(state.promotable),
        tuple(state.promotable_outgoing),
    )


def has_majority(quorums: Sequence[frozenset[int]], ids: frozenset[int] | set[int]) -> bool:
    """Whether `ids` holds a majority of each."""
    return all(2 * len(voters & ids) > len(voters) for voters in quorums)


BEGIN, FINALIZE, ROLLBACK, SIMPLE = "begin", "finalize", "rollback", "simple"


def read_change(entry: Entry) -> tuple[str, ConfChange | ConfChangeV2]:
    """Return what a membership entry is, and its change."""
    if entry.entry_type == EntryConfChange:
        change = ConfChange.FromString(entry.data)
        kind = {
            int(BeginMembershipChange): BEGIN,
            int(FinalizeMembershipChange): FINALIZE,
            int(RollbackMembershipChange): ROLLBACK,
        }.get(int(change.change_type), SIMPLE)
        return kind, change
    change_v2 = ConfChangeV2.FromString(entry.data)
    if not change_v2.changes:
        return FINALIZE, change_v2
    if change_v2.transition == 0 and len(change_v2.changes) == 1:
        return SIMPLE, change_v2
    return BEGIN, change_v2


def held(entry: Entry) -> bool:
    """Whether the membership `entry` is a Begin that nobody leaves by himself."""
    kind, change = read_change(entry)
    if kind != BEGIN:
        return False
    return change.hold if isinstance(change, ConfChange) else change.transition == _EXPLICIT


def promoted_later(entry: Entry) -> frozenset[int]:
    """The learners that the membership `entry` marks to be made voters when they have caught up."""
    kind, change = read_change(entry)
    if not isinstance(change, ConfChange):
        return frozenset()
    if kind == BEGIN:
        return frozenset(change.configuration.promotable)
    return frozenset((change.node_id,)) if change.promote_when_caught_up else frozenset()


def next_conf(conf: Conf, entry: Entry) -> Conf:
    """Return the configuration after the committed membership `entry`.

    Raises:
        Violation: I10, when a correct leader could not have proposed it.
    """
    kind, change = read_change(entry)
    if kind in (FINALIZE, ROLLBACK):
        if conf.new_voters is None:
            raise Violation("I10", f"{kind} committed at {entry.index} though nothing was joint")
        if kind == FINALIZE:
            return Conf(conf.new_voters, conf.new_learners, marked=conf.marked & conf.new_learners)
        return Conf(conf.voters, conf.learners, marked=conf.marked_before)
    if conf.joint:
        raise Violation("I10", f"{kind} committed at {entry.index} while joint")
    if kind == BEGIN and isinstance(change, ConfChange):
        target = change.configuration
        voters, learners = frozenset(target.voters), frozenset(target.learners)
    else:
        singles = change.changes if isinstance(change, ConfChangeV2) else [change]
        now_voters, now_learners = set(conf.voters), set(conf.learners)
        for single in singles:
            now_voters.discard(single.node_id)
            now_learners.discard(single.node_id)
            if single.change_type == AddNode:
                now_voters.add(single.node_id)
            elif single.change_type == AddLearnerNode:
                now_learners.add(single.node_id)
        voters, learners = frozenset(now_voters), frozenset(now_learners)
    if not voters or voters & learners:
        return conf
    marked = (conf.marked | promoted_later(entry)) & learners
    if kind == BEGIN:
        return Conf(conf.voters, conf.learners, voters, learners, entry.index, marked, conf.marked)
    if len(voters ^ conf.voters) > 1:
        raise Violation("I10", f"simple change at {entry.index} replaced more than one voter")
    return Conf(voters, learners, marked=marked)


# -- The model that clients' results are compared with -----------------------------------------


class KvModel:
    """The key-value store as the golden log makes it, with each key's history."""

    def __init__(self) -> None:
        self.index = 1
        self.results: dict[int, bytes] = {}
        """Result of the proposal at each index."""
        self.first: dict[bytes, int] = {}
        """Index of the first entry with each client key."""
        self._times: dict[bytes, list[int]] = {}
        self._values: dict[bytes, list[bytes]] = {}

    def value(self, key: bytes, index: int) -> bytes:
        """What `key` held after the entry at `index`; empty: nothing."""
        times = self._times.get(key)
        if times is None:
            return b""
        position = bisect_right(times, index)
        return self._values[key][position - 1] if position else b""

    def state(self, index: int) -> dict[bytes, bytes]:
        """Everything that was there after the entry at `index`."""
        found = {key: self.value(key, index) for key in sorted(self._times)}
        return {key: value for key, value in found.items() if value}

    def sessions(self, index: int) -> dict[bytes, int]:
        """Client keys known after the entry at `index`, with that of their first entry."""
        return {key: first for key, first in self.first.items() if first <= index}

    def apply(self, index: int, session: bytes, op: tuple[str, bytes, bytes, bytes] | None) -> None:
        """Apply the operation (kind, key, value, expected) at `index`, unless done before."""
        self.index = index
        if op is None:
            return
        if session:
            first = self.first.get(session)
            if first is not None:
                self.results[index] = self.results[first]
                return
            self.first[session] = index
        kind, key, value, expected = op
        if kind == "cas":
            if self.value(key, index) != expected:
                self.results[index] = b"no"
                return
            self.results[index] = b"yes"
        else:
            self.results[index] = b"yes"
        self._times.setdefault(key, []).append(index)
        self._values.setdefault(key, []).append(value)


# -- One node as the checks see it -------------------------------------------------------------


class NodeView:
    """What is known of one node's log and role."""

    __slots__ = (
        "applied",
        "base",
        "chain",
        "committed",
        "conf",
        "conf_index",
        "confs",
        "lead_term",
        "matched",
        "progress_states",
        "promised_term",
        "promised_vote",
        "state",
        "term",
        "terms",
        "transferee",
    )

    def __init__(self) -> None:
        # The entry at index i has chain[i - base]; chain[0] is the snapshot's end.
        self.base = 0
        self.chain: list[int] = [0]
        self.terms: list[int] = [0]
        self.confs: list[tuple[int, str]] = []
        self.committed = 0
        self.applied = 0
        self.term = 0
        self.state = StateRole.Follower
        self.transferee = 0
        self.lead_term = 0
        self.matched: dict[int, tuple[Progress, int]] = {}
        self.progress_states: dict[int, ProgressState] = {}
        self.conf = Conf(frozenset(), frozenset())
        self.conf_index = 0
        # What was promised to others; survives restarts.
        self.promised_term = 0
        self.promised_vote = 0

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self.base + len(self.chain) - 1

    def chain_at(self, index: int) -> int | None:
        """Chain value at `index`; None if it is not in the log."""
        position = index - self.base
        return self.chain[position] if 0 <= position < len(self.chain) else None

    def term_at(self, index: int) -> int:
        """Term at `index`; -1 if it is not in the log."""
        position = index - self.base
        return self.terms[position] if 0 <= position < len(self.terms) else -1


def _bucket(length: int) -> int:
    """The largest of 1, 2, 4 and 8 that is not above `length`."""
    return min(8, 1 << length.bit_length() - 1)


def mix(previous: int, entry: Entry) -> int:
    """The chain value of `entry` behind one whose value is `previous`."""
    return hash(
        (previous, entry.term, int(entry.entry_type), crc32(entry.data), crc32(entry.context))
    )


Decode = Callable[[Entry], tuple[bytes, tuple[str, bytes, bytes, bytes] | None]]
"""(client key, operation) of an entry; (b"", None) of one that is no client's."""


class Checker:
    """Judges a cluster step by step; raises `Violation`.

    Args:
        conf: The configuration that the group starts with, at index 1.
        decode: What an entry asks of the model.
    """

    def __init__(self, conf: Conf, decode: Decode) -> None:
        self._decode = decode
        self.model = KvModel()
        self.nodes: dict[int, SimNode] = {}
        self.views: dict[int, NodeView] = {}
        self.leaders: dict[int, int] = {}
        self.votes: dict[tuple[int, int], int] = {}
        # (index, term) -> chain: equal keys must mean equal logs up to there.
        self._chains: dict[tuple[int, int], int] = {(1, 1): 1}
        # The golden log: what is committed, from index 1 on.
        self.golden_chain: list[int] = [0, 1]
        self.golden_term: list[int] = [0, 1]
        self.golden_entries: list[Entry | None] = [None, None]
        self._committed_in: dict[int, int] = {}
        self.conf_points: list[int] = [0]
        self.confs: list[Conf] = [conf]
        self._conf_states: dict[int, tuple[tuple[int, ...], ...]] = {0: conf.canonical()}
        self._digests: dict[int, bytes] = {}
        self._machines: dict[int, bytes] = {}
        # Origins of entries: committed, and those whose clients were told that they will not be.
        self._origins: set[bytes] = set()
        self._denied: set[bytes] = set()
        self._joint_since_term = 0
        self.forced: set[tuple[int, int]] = set()
        """(node, term) of campaigns that an operator told to count C_old alone."""
        self.counters: dict[str, int] = {}
        self.caps_may_shrink = False
        """Whether windows were made smaller while something was in them."""

    def count(self, name: str, by: int = 1) -> None:
        """Note that something worth covering has happened."""
        self.counters[name] = self.counters.get(name, 0) + by

    # -- The golden log ------------------------------------------------------------------------

    @property
    def committed(self) -> int:
        """The highest index that any node has committed."""
        return len(self.golden_chain) - 1

    @property
    def conf(self) -> Conf:
        """The configuration after all that is committed."""
        return self.confs[-1]

    def conf_at(self, index: int) -> tuple[int, Conf]:
        """The configuration after the entry at `index`, and the index of what made it."""
        position = bisect_right(self.conf_points, index) - 1
        return self.conf_points[position], self.confs[position]

    # -- A node's life -------------------------------------------------------------------------

    def started(self, node: SimNode, raw: RawNode[Any], applied: int) -> None:
        """`node` has started from its disk."""
        old = self.views.get(node.id)
        view = self.views[node.id] = NodeView()
        raft = raw.raft
        if old is not None:
            view.promised_term, view.promised_vote = old.promised_term, old.promised_vote
        if raft.term < view.promised_term or (
            raft.term == view.promised_term
            and view.promised_vote
            and raft.vote != view.promised_vote
        ):
            raise Violation(
                "I8",
                f"node {node.id} restarted in term {raft.term}, vote {raft.vote}, but it had "
                f"promised term {view.promised_term}, vote {view.promised_vote}",
            )
        log = raft.raft_log
        base = log.first_index() - 1
        view.base = base
        view.terms = [log.term(base)]
        view.chain = [self._chain_of(base, view.terms[0], node.id) if base else 0]
        if log.last_index() > base:
            self._extend(node.id, view, log.entries(base + 1))
        view.committed = log.committed
        if view.committed > self.committed or (
            view.committed
            and view.committed >= base
            and view.chain_at(view.committed) != self.golden_chain[view.committed]
        ):
            raise Violation(
                "I6",
                f"node {node.id} restarted with commit {view.committed}, "
                "which is not what was committed",
            )
        view.term = raft.term
        view.applied = applied
        if applied:
            view.conf_index, view.conf = self.conf_at(applied)
            self._compare_conf(node.id, view, raft.prs.to_conf_state())
        self._watch_elections(node, raft)

    def _watch_elections(self, node: SimNode, raft: Any) -> None:
        """See every leader when it is elected: it may be deposed before the step is over.

        A daemon's loop takes in many messages at a time. What such a leader has to say still
        leaves, and rightly so.
        """
        become_leader = raft.become_leader

        def seen() -> None:
            # What is not handed to the disk yet is not known here: only who is the one voter is
            # elected that early, and is looked at after the step.
            known = not raft.raft_log.unstable_entries()
            become_leader()
            if known:
                self._became_leader(node, self.views[node.id])

        raft.become_leader = seen

    def _chain_of(self, index: int, term: int, node_id: int) -> int:
        chain = self._chains.get((index, term))
        if chain is None:
            raise Violation("I3", f"node {node_id} holds ({index}, {term}), which nobody wrote")
        return chain

    def stopped(self, node: SimNode) -> None:
        """`node` has crashed or stopped, its disk is what it is: unkept entries may come again.

        Entries of a term that did not get to its disk were seen by nobody (I8 sees to that), so
        another life may write others in their place.
        """
        view = self.views.get(node.id)
        if view is None:
            return
        term, _ = node.durable_vote()
        # It may have died in the step that elected it, before that was looked at.
        for unseen in range(term + 1, max(view.term, view.lead_term) + 1):
            if self.leaders.get(unseen) == node.id:
                del self.leaders[unseen]
        for position in range(len(view.terms) - 1, 0, -1):
            if view.terms[position] <= term or self.leaders.get(view.terms[position]):
                break
            self._chains.pop((view.base + position, view.terms[position]), None)

    # -- Its log -------------------------------------------------------------------------------

    def persisted(
        self, node: SimNode, entries: Sequence[Entry], snapshot: tuple[int, int] | None
    ) -> None:
        """`node` hands `snapshot` (index, term) and `entries` to its disk."""
        view = self.views[node.id]
        if snapshot is not None:
            index, term = snapshot
            if index > self.committed or self.golden_term[index] != term:
                raise Violation(
                    "I13", f"node {node.id} installs a snapshot at ({index}, {term}), not committed"
                )
            if index < view.applied:
                raise Violation(
                    "I13", f"node {node.id} applied {view.applied}, then a snapshot at {index}"
                )
            same = view.chain_at(index) == self.golden_chain[index]
            conflict = index <= view.last and not same
            self.count("snapshot_over_conflict" if conflict else "snapshot_to_laggard")
            view.base = index
            view.chain, view.terms = [self.golden_chain[index]], [term]
            view.confs = []
        if entries:
            raft = node.raft
            first = entries[0].index
            if first <= view.last:
                if view.lead_term == raft.term and raft.state is _LEADER:
                    raise Violation(
                        "I2", f"leader {node.id} of term {raft.term} replaces its entry {first}"
                    )
                if first <= view.committed:
                    raise Violation(
                        "I6", f"node {node.id} replaces entry {first}, commit {view.committed}"
                    )
                if first <= view.base:
                    raise Violation("I3", f"node {node.id} replaces entry {first} of its snapshot")
                self.count("conflict_truncated")
                self.count(f"conflict_length_{_bucket(view.last - first + 1)}")
                keep = first - view.base
                del view.chain[keep:]
                del view.terms[keep:]
                if view.confs and view.confs[-1][0] >= first:
                    view.confs = [found for found in view.confs if found[0] < first]
                    self.count("conf_entry_truncated")
            self._extend(node.id, view, entries)

    def _extend(self, node_id: int, view: NodeView, entries: Sequence[Entry]) -> None:
        chains, chain, terms = self._chains, view.chain, view.terms
        previous, index = chain[-1], view.last
        for entry in entries:
            index += 1
            if entry.index != index:
                raise Violation("I3", f"node {node_id} holds {entry.index} in place of {index}")
            previous = mix(previous, entry)
            key = (index, entry.term)
            known = chains.setdefault(key, previous)
            if known != previous:
                raise Violation(
                    "I3", f"node {node_id}: another log ends with the same {key} (index, term)"
                )
            chain.append(previous)
            terms.append(entry.term)
            if entry.entry_type:
                view.confs.append((index, read_change(entry)[0]))

    # -- Its role and commit index -------------------------------------------------------------

    def observe(self, node: SimNode, stored_only: bool = False) -> None:
        """Compare with what was known: called whenever `node` may have moved.

        With `stored_only` it has taken in messages meanwhile, of which nothing is written yet: what
        they told to be committed is looked at when its entries are.
        """
        view = self.views[node.id]
        raft = node.raft
        state = raft.state
        if raft.term != view.term:
            if raft.term < view.term:
                raise Violation("I8", f"node {node.id} goes back to term {raft.term}")
            view.term = raft.term
            view.matched, view.progress_states = {}, {}
            if state is _CANDIDATE and view.state is _CANDIDATE:
                self.count("split_vote")
        if raft.lead_transferee != view.transferee or state is not view.state:
            self._count_role(view, raft)
        log = raft.raft_log
        committed = log.committed
        if stored_only:
            unstable = log.unstable
            known = view.committed if unstable.snapshot is not None else unstable.offset - 1
            committed = max(view.committed, min(committed, known))
        if state is _LEADER:
            if view.lead_term != raft.term:
                self._became_leader(node, view)
            if committed != view.committed:
                self._committed(node, view, committed)
            self._check_progress(node, view)
            limited = raft.max_uncommitted_size != NO_LIMIT
            if limited and not stored_only and node.world.settings.mode != "engine":
                self._check_uncommitted(node)
        elif committed != view.committed:
            self._committed(node, view, committed)

    def _count_role(self, view: NodeView, raft: Raft[Any]) -> None:
        state, before = raft.state, view.state
        if state is not before:
            self.count(f"role_{before.name}_{state.name}")
            if before is _LEADER:
                if view.last > view.committed:
                    self.count("leader_lost_with_uncommitted_tail")
                if raft.id not in view.conf.voters | (view.conf.new_voters or frozenset()):
                    self.count("leader_removed")
                if view.transferee:
                    self.count("transfer_done")
        elif raft.lead_transferee:
            self.count("transfer_begun")
        elif view.transferee:
            self.count("transfer_given_up")
        view.state, view.transferee = state, raft.lead_transferee

    def _became_leader(self, node: SimNode, view: NodeView) -> None:
        raft = node.raft
        term = raft.term
        view.lead_term = term
        view.matched = {}
        other = self.leaders.setdefault(term, node.id)
        if other != node.id:
            raise Violation("I1", f"nodes {other} and {node.id} both lead term {term}")
        self.count("leader_elected")
        need = max((last for won, last in self._committed_in.items() if won < term), default=0)
        if need > view.base and view.chain_at(need) != self.golden_chain[need]:
            raise Violation(
                "I4",
                f"node {node.id} leads term {term} without the entry {need} committed before",
            )
        voted = {node.id}
        for peer in self.views:
            if self.votes.get((peer, term)) == node.id:
                voted.add(peer)
        if not has_majority(self._quorums(node, view, term), voted):
            raise Violation(
                "I10" if view.conf.joint else "I1",
                f"node {node.id} leads term {term} by the votes of {sorted(voted)} in {view.conf}",
            )
        if view.conf.joint:
            self.count("elected_joint")

    def _quorums(self, node: SimNode, view: NodeView, term: int) -> tuple[frozenset[int], ...]:
        conf = view.conf
        if not conf.joint:
            return conf.quorums()
        # A rollback counts from when it is appended, which may be long before it is written.
        unwritten = node.raft.raft_log.unstable_entries()
        old_alone = (
            any(kind == ROLLBACK and index > conf.begin for index, kind in view.confs)
            or any(e.entry_type and read_change(e)[0] == ROLLBACK for e in unwritten)
            or (node.raft.state is _LEADER and (node.id, term) in self.forced)
        )
        return conf.quorums(old_alone)

    def _committed(self, node: SimNode, view: NodeView, committed: int) -> None:
        if committed < view.committed:
            raise Violation(
                "I6", f"node {node.id} goes back from commit {view.committed} to {committed}"
            )
        if committed > view.last:
            raise Violation(
                "I6", f"node {node.id} commits {committed}, but its log ends at {view.last}"
            )
        golden = self.golden_chain
        known = len(golden) - 1
        low = max(view.committed, view.base)
        for index in range(low + 1, min(committed, known) + 1):
            if view.chain[index - view.base] != golden[index]:
                raise Violation("I5", f"node {node.id} commits another entry at {index}")
        if committed > known:
            if view.last < committed or view.base > known:
                raise Violation("I6", f"node {node.id} commits {committed} it does not hold")
            self._extend_golden(node, view, known, committed)
        view.committed = committed

    def _extend_golden(self, node: SimNode, view: NodeView, known: int, committed: int) -> None:
        raft = node.raft
        if view.chain_at(known) != self.golden_chain[known]:
            raise Violation("I5", f"node {node.id} commits {committed} on another log")
        term = view.term_at(committed)
        # It may have been deposed in this very step, after it had committed.
        led = view.lead_term
        if led not in (raft.term, term):
            raise Violation("I6", f"node {node.id} commits {committed} before any leader does")
        if term != led:
            raise Violation(
                "I7", f"leader {node.id} of term {led} commits {committed} of term {term}"
            )
        durable = {
            peer_id for peer_id, peer in self.nodes.items() if peer.has_durably(committed, term)
        }
        quorums = self._quorums(node, view, led)
        if not has_majority(quorums, durable):
            raise Violation(
                "I10" if view.conf.joint else "I6",
                f"leader {node.id} commits ({committed}, {term}), which only {sorted(durable)} "
                f"hold durably, in {view.conf}",
            )
        if view.term_at(known + 1) != term:
            self.count("commit_of_older_term")
        if view.conf.joint:
            self.count("commit_joint" if len(quorums) > 1 else "commit_by_old_alone")
        entries = node.log_entries(known + 1, committed)
        for entry in entries:
            index = entry.index
            self.golden_chain.append(view.chain[index - view.base])
            self.golden_term.append(entry.term)
            self.golden_entries.append(entry)
            if entry.entry_type:
                self._golden_conf(entry, led)
                self.model.apply(index, b"", None)
            else:
                self._golden_origin(entry)
                self.model.apply(index, *self._decode(entry))
        self._committed_in[led] = max(self._committed_in.get(led, 0), committed)

    def _golden_origin(self, entry: Entry) -> None:
        origin = entry.context[1:25]
        if origin:
            if origin in self._denied:
                raise Violation(
                    "I12",
                    f"entry {entry.index} is committed; its client was told that it will not be",
                )
            self._origins.add(origin)

    def denied(self, node_id: int, incarnation: int, sequence: int) -> None:
        """A client was told that its proposal was not applied and will not be."""
        origin = _ORIGIN.pack(node_id, incarnation, sequence)
        if origin in self._origins:
            raise Violation(
                "I12",
                f"node {node_id} tells a client that proposal {sequence} is not applied; it is",
            )
        self._denied.add(origin)

    def _golden_conf(self, entry: Entry, term: int) -> None:
        before = self.confs[-1]
        conf = next_conf(before, entry)
        self.count(f"conf_{read_change(entry)[0]}")
        if conf.joint:
            self._joint_since_term = term
        elif before.joint and term != self._joint_since_term:
            self.count("joint_left_by_another_leader")
        if conf != before:
            self.conf_points.append(entry.index)
            self.confs.append(conf)

    def _check_progress(self, node: SimNode, view: NodeView) -> None:
        raft = node.raft
        seen = view.matched
        states = view.progress_states
        for peer_id, progress in raft.prs.progress.items():
            matched = progress.matched
            now = progress.state
            if states.get(peer_id) is not now:
                if peer_id in states:
                    self.count(f"progress_{states[peer_id].name}_{now.name}")
                states[peer_id] = now
            known, before = seen.get(peer_id, (progress, 0))
            if matched and (matched != before or known is not progress):
                if matched < before and known is progress:
                    raise Violation(
                        "I9", f"leader {node.id}: match of {peer_id} goes back to {matched}"
                    )
                seen[peer_id] = (progress, matched)
                self._check_matched(node, view, peer_id, matched)
            if progress.ins.count > progress.ins.cap and not self.caps_may_shrink:
                raise Violation("I14", f"leader {node.id}: window to {peer_id} above its cap")

    def _check_uncommitted(self, node: SimNode) -> None:
        """What a leader took in and has not committed is within `Config.max_uncommitted_size`.

        The first proposal may be of any size, and changes of membership are not looked at: the
        leader makes some by itself. The engine proposes several at once, so it is left out.
        """
        raft, log = node.raft, node.raft.raft_log
        cap, sizes = raft.max_uncommitted_size, []
        if log.last_index() > log.committed:
            sizes = [
                len(entry.data)
                for entry in log.entries(log.committed + 1, NO_LIMIT)
                if entry.term == raft.term and entry.data and not entry.entry_type
            ]
        if sum(sizes[1:]) > cap:
            raise Violation(
                "I14", f"leader {node.id}: {sum(sizes)} bytes wait for commit, above {cap}"
            )

    def _check_matched(self, node: SimNode, view: NodeView, peer_id: int, matched: int) -> None:
        peer = self.nodes.get(peer_id)
        if peer is None:
            raise Violation("I9", f"leader {node.id}: match of {peer_id}, which does not exist")
        if peer.disk_term() > node.raft.term:
            return  # It has followed a later leader, and may have cut its log for that one.
        if matched <= view.base:
            term = self.golden_term[matched] if matched <= self.committed else -1
        else:
            term = view.term_at(matched)
        if term < 0 or not peer.has_durably(matched, term):
            raise Violation(
                "I9",
                f"leader {node.id} of term {node.raft.term} thinks that {peer_id} holds {matched}, "
                f"but its disk does not",
            )

    # -- What it applies -----------------------------------------------------------------------

    def applied(self, node: SimNode, entry: Entry, result: bytes | None) -> None:
        """`node` has applied `entry`; `result`: the state machine's answer to a proposal."""
        view = self.views[node.id]
        index = entry.index
        if index != view.applied + 1:
            raise Violation("I5", f"node {node.id} applies {index} after {view.applied}")
        if index > self.committed or index > view.committed:
            raise Violation("I5", f"node {node.id} applies {index}, which is not committed")
        if view.chain_at(index) != self.golden_chain[index]:
            raise Violation("I5", f"node {node.id} applies another entry at {index}")
        golden = self.golden_entries[index]
        assert golden is not None
        if entry is not golden and (entry.data != golden.data or entry.term != golden.term):
            raise Violation("I5", f"node {node.id} applies other bytes at {index}")
        view.applied = index
        if result is not None:
            self.result(node, index, result)

    def result(self, node: SimNode, index: int, result: bytes) -> None:
        """What `node` answers to the proposal at `index`."""
        if result != self.model.results.get(index):
            raise Violation(
                "I12",
                f"node {node.id} answers {result!r} at {index}, "
                f"the model {self.model.results.get(index)!r}",
            )

    def conf_applied(self, node: SimNode, index: int, state: ConfState) -> None:
        """`node` has applied the membership entry at `index`; `state` is what it made of it."""
        view = self.views[node.id]
        conf_index, conf = self.conf_at(index)
        view.conf_index, view.conf = conf_index, conf
        self._compare_conf(node.id, view, state)
        known = self._conf_states.setdefault(index, canonical_of(state))
        if known != canonical_of(state):
            raise Violation("I10", f"nodes differ about the configuration at {index}")
        view.confs = [found for found in view.confs if found[0] > index]

    def _compare_conf(self, node_id: int, view: NodeView, state: ConfState) -> None:
        if canonical_of(state) != view.conf.canonical():
            raise Violation(
                "I10",
                f"node {node_id} is in {canonical_of(state)} after {view.conf_index}, "
                f"by the rules it is {view.conf.canonical()}",
            )
        if view.conf.joint and state.begin_index != view.conf.begin:
            raise Violation("I10", f"node {node_id} forgot the Begin at {view.conf.begin}")

    def snapshot_installed(self, node: SimNode, index: int, state: ConfState) -> None:
        """`node` has replaced its state by a snapshot at `index`."""
        view = self.views[node.id]
        view.applied = index
        view.committed = max(view.committed, index)
        view.conf_index, view.conf = self.conf_at(index)
        self._compare_conf(node.id, view, state)
        self.count("snapshot_installed")

    def state_is(self, node_id: int, index: int, state: dict[bytes, bytes]) -> None:
        """The whole state machine of a node, or of a snapshot, at `index`."""
        if state != self.model.state(index):
            raise Violation(
                "I13",
                f"node {node_id}: the state at {index} is {state}, "
                f"it should be {self.model.state(index)}",
            )

    def sessions_are(self, node_id: int, index: int, known: set[bytes]) -> None:
        """The client keys that a node's state at `index` remembers."""
        expected = self.model.sessions(index)
        if known != expected.keys():
            raise Violation(
                "I12",
                f"node {node_id}: the client keys at {index} differ from the model's by "
                f"{sorted(known ^ expected.keys())[:5]}",
            )

    def machine_is(self, node_id: int, index: int, digest: bytes) -> None:
        """The state machine's own digest at `index`: everyone's must be the same."""
        if self._machines.setdefault(index, digest) != digest:
            raise Violation("I13", f"node {node_id}: another state at {index} than others")

    def digest_is(self, node_id: int, index: int, digest: bytes) -> None:
        """Some digest of a node's state at `index`: everyone's must be the same."""
        if self._digests.setdefault(index, digest) != digest:
            raise Violation("I13", f"node {node_id}: another digest at {index} than others")

    # -- What it says --------------------------------------------------------------------------

    def sent(self, node: SimNode, m: Message) -> None:
        """`node` lets `m` leave."""
        msg_type = m.msg_type
        term = m.term
        if not term:
            return
        view = self.views[node.id]
        disk_term, disk_vote = node.durable_vote()
        if msg_type == MsgRequestPreVote or (
            msg_type == MsgRequestPreVoteResponse and not m.reject
        ):
            return  # Of a term that was not entered.
        if m.reject:
            self.count(f"rejected_{MessageType.Name(msg_type)}")
        if term > disk_term:
            raise Violation(
                "I8",
                f"node {node.id} speaks of term {term} (message type {msg_type} to {m.to}), "
                f"its disk of {disk_term}",
            )
        if term > view.promised_term:
            view.promised_term, view.promised_vote = term, 0
        if msg_type == MsgRequestVote:
            self._vote(node.id, view, term, node.id, disk_term, disk_vote)
        elif msg_type == MsgRequestVoteResponse:
            if not m.reject:
                self._vote(node.id, view, term, m.to, disk_term, disk_vote)
        elif msg_type == MsgAppendResponse:
            if not m.reject and m.index:
                self._acknowledged(node, view, m)
        elif msg_type in _FROM_LEADER:
            if self.leaders.get(term) != node.id:
                raise Violation("I1", f"node {node.id} speaks as leader of term {term}")
            if msg_type == MsgTimeoutNow:
                self._handed_over(node, view, m.to)
            elif len(m.entries) > 1:
                self._check_size(node, m)

    def _check_size(self, node: SimNode, m: Message) -> None:
        """A message of more than one entry is within `Config.max_size_per_msg`."""
        cap = node.raft.max_msg_size
        if cap != NO_LIMIT and sum(len(e.SerializeToString()) for e in m.entries) > cap:
            raise Violation(
                "I14", f"leader {node.id}: {len(m.entries)} entries to {m.to} above {cap} bytes"
            )

    def _handed_over(self, node: SimNode, view: NodeView, to: int) -> None:
        """A leader hands over to who has all it has, and may lead (thesis section 3.10)."""
        if node.raft.term != view.lead_term or node.raft.state is not _LEADER:
            return
        target = self.nodes.get(to)
        position = bisect_right(self.conf_points, view.conf_index) - 1
        # What was decided in this step may leave when the next configuration is applied already.
        may = frozenset().union(
            *(
                voters
                for c in self.confs[max(0, position - 1) : position + 1]
                for voters in c.quorums()
            )
        )
        if target is None or to not in may:
            raise Violation("I10", f"leader {node.id} hands over to {to}, which has no vote")
        if target.disk_term() <= node.raft.term and not target.has_durably(
            view.last, view.term_at(view.last)
        ):
            raise Violation("I14", f"leader {node.id} hands over to {to}, which lags")

    def _vote(
        self, node_id: int, view: NodeView, term: int, to: int, disk_term: int, disk_vote: int
    ) -> None:
        if disk_term == term and disk_vote != to:
            raise Violation(
                "I8", f"node {node_id} votes for {to} in term {term}, its disk says {disk_vote}"
            )
        known = self.votes.setdefault((node_id, term), to)
        if known != to:
            raise Violation("I8", f"node {node_id} votes for {known} and {to} in term {term}")
        if view.promised_term == term:
            view.promised_vote = to

    def _acknowledged(self, node: SimNode, view: NodeView, m: Message) -> None:
        if node.raft.term != m.term:
            return  # Held back meanwhile: the log may have been cut for a later leader.
        term = view.term_at(m.index) if m.index > view.base else 0
        if m.index > view.base and (term < 0 or not node.has_durably(m.index, term)):
            raise Violation(
                "I8", f"node {node.id} acknowledges {m.index}, which its disk does not have"
            )


LIN_BUDGET: Final = 100_000
"""Steps of the search that one key's history may cost; unknown outcomes can make it explode."""


def check_with_detangle(history: Sequence[Op], committed: Container[bytes]) -> bool:
    """Check the clients' history for linearizability by a search that knows no log.

    Args:
        history: Of all clients.
        committed: Keys of operations that were committed. One that was not and got no answer
            cannot have happened; if a client saw it all the same, nothing explains that.

    Returns whether the search came to an end within its budget.

    Raises:
        Violation: no order of the operations explains what the clients saw.
    """
    operations: list[lin.Operation] = []
    for number, op in enumerate(history):
        if not op.returned and (op.kind == "get" or op.session not in committed):
            continue
        argument: Any = op.key
        if op.kind == "put":
            argument = (op.key, op.value)
        elif op.kind == "cas":
            argument = (op.key, op.expected, op.value)
        made = lin.Operation(number, op.client, op.kind, argument, op.invoked, float(op.invoked))
        if op.returned:
            made.status, made.ret, made.ret_time = lin.OK, op.returned, float(op.returned)
            made.output = op.result == b"yes" if op.kind == "cas" else op.result
        else:
            made.status = lin.INFO
        operations.append(made)
    model = lin.KV({op.key: b"" for op in history})
    try:
        result = lin.check(operations, model, budget=LIN_BUDGET)
    except RuntimeError:
        return False
    if not result.ok:
        raise Violation("linearizability", result.explain())
    return True
