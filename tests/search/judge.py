"""What must hold: of one node's state, of every step, and of all that ever happened.

`History` is what no node can forget on our behalf: who led each term with which log, and what was
committed. It is part of a searched state, so a promise holds for ever or is seen broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

from raft import Raft, StateRole, _membership
from raft._membership import ChangeKind
from raft.eraftpb import ConfChange, ConfState, Entry
from raft.progress import CandidacyStatus, Configuration
from tests.search.server import Server, Settings

ONE_LEADER = "one leader a term"
LEADER_COMPLETENESS = "a leader holds what was committed before its term"
AGREEMENT = "committed entries agree"
ONE_END = "a change is finalized or rolled back, never both"
OLD_MAJORITY = "until Finalize is committed every quorum holds a majority of C_old"
CONFIGURATION = "the configuration is that of the last applied membership entry"
APPLIED_IS_COMMITTED = "what is applied is committed"
NO_EXCEPTION = "no event raises"

PROMISES = frozenset(
    {
        ONE_LEADER,
        LEADER_COMPLETENESS,
        AGREEMENT,
        ONE_END,
        OLD_MAJORITY,
        CONFIGURATION,
        APPLIED_IS_COMMITTED,
        NO_EXCEPTION,
    }
)


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: which, and by what."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


class Election(NamedTuple):
    """A node came to lead a term; `log` are the entries it had, from `first` on."""

    term: int
    leader: int
    first: int
    log: tuple[int, ...]


class Effect(NamedTuple):
    """What one step shows to the outside: an election, and what a node learned is committed.

    Entries are numbers (`Entries`); the first one committed has the index `first`. A snapshot
    shows only the term of its last entry.
    """

    election: Election | None
    term: int
    first: int
    committed: tuple[int, ...]
    snapshot: tuple[int, int] | None


NO_EFFECT = Effect(None, 0, 0, (), None)


class Entries:
    """Each distinct entry, by a number: same index, term, type and bytes."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.entries: list[Entry] = []
        self.kinds: list[ChangeKind | None] = []

    def number(self, entry: Entry) -> int:
        """The number of `entry`."""
        key = entry.SerializeToString()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.entries)
            self.entries.append(entry)
            self.kinds.append(
                _membership.kind_of(_membership.parse_conf_change(entry))
                if entry.entry_type
                else None
            )
        return number


class Members(NamedTuple):
    """A configuration as expected, computed from nothing but the entries that were committed."""

    voters: frozenset[int]
    learners: frozenset[int]
    next_voters: frozenset[int]
    next_learners: frozenset[int]
    begin_index: int

    @classmethod
    def of(cls, conf_state: ConfState) -> Members:
        """The same, of what a node stores."""
        incoming = Configuration.from_conf_state(conf_state)
        if not conf_state.voters_outgoing:
            return cls(incoming.voters, incoming.learners, frozenset(), frozenset(), 0)
        return cls(
            frozenset(conf_state.voters_outgoing),
            frozenset(conf_state.learners_outgoing),
            incoming.voters,
            incoming.learners,
            conf_state.begin_index,
        )

    def after(self, kind: ChangeKind, entry: Entry) -> Members:
        """The configuration after `entry`: Finalize and Rollback end a joint state only."""
        nobody: frozenset[int] = frozenset()
        if kind is ChangeKind.BEGIN and not self.begin_index:
            target = ConfChange.FromString(entry.data).configuration
            return self._replace(
                next_voters=frozenset(target.voters),
                next_learners=frozenset(target.learners),
                begin_index=entry.index,
            )
        if kind is ChangeKind.FINALIZE and self.begin_index:
            return Members(self.next_voters, self.next_learners, nobody, nobody, 0)
        if kind is ChangeKind.ROLLBACK and self.begin_index:
            return Members(self.voters, self.learners, nobody, nobody, 0)
        assert kind is not ChangeKind.SIMPLE, "simple changes are not searched"
        return self


class Facts(NamedTuple):
    """What the promises need to know of one node's state."""

    misses_old: str
    """A quorum that this node may use now and that holds no majority of the first C_old, or ""."""
    applied: tuple[tuple[str, int, Members], ...]
    """Where a configuration is kept, as of which index, and which."""


def facts_of(server: Server) -> Facts:
    """Look at one node, by itself."""
    raft = server.raw.raft
    applied = [("in memory", raft.raft_log.applied, Members.of(raft.prs.to_conf_state()))]
    for where, held in (("on disk", server.disk.content()), ("flushed", server.synced)):
        applied.append((where, held.applied, Members.of(held.conf_state)))
    return Facts(_quorum_without_old(raft, server.settings), tuple(applied))


def _quorum_without_old(raft: Raft[Any], settings: Settings) -> str:
    if raft.state is StateRole.Follower and (
        not raft.promotable() or _membership.has_unapplied_committed(raft)
    ):
        return ""
    if raft.raft_log.applied == 0:
        return ""  # Nothing is known yet, so nothing can be won.
    old = frozenset(settings.voters)
    for quorum in _subsets(settings.nodes()):
        if len(quorum & old) * 2 > len(old):
            continue
        if raft.prs.has_quorum(quorum):
            return f"{sorted(quorum)} may confirm or commit"
        granted = dict.fromkeys(sorted(quorum), True)
        if raft.prs.candidacy_status(granted) is CandidacyStatus.Elected:
            return f"{sorted(quorum)} may elect"
    return ""


def _subsets(ids: Sequence[int]) -> Iterable[frozenset[int]]:
    for size in range(len(ids) + 1):
        for chosen in combinations(ids, size):
            yield frozenset(chosen)


def effect_of(server: Server, old: Old, entries: Entries) -> Effect:
    """What the step that led from `old` to `server` shows to the outside."""
    raft = server.raw.raft
    log, base = server.disk.log, server.disk.base
    election = None
    if raft.state is StateRole.Leader and not (old.leads and old.term == raft.term):
        numbers = tuple([entries.number(entry) for entry in log])
        election = Election(raft.term, server.id, base + 1, numbers)
    committed = raft.raft_log.committed
    if committed <= old.committed:
        if election is None:
            return NO_EFFECT
        return Effect(election, raft.term, 0, (), None)
    first = max(old.committed, base) + 1
    news = tuple([entries.number(log[i - base - 1]) for i in range(first, committed + 1)])
    snapshot = (base, server.disk.base_term) if base > old.committed else None
    return Effect(election, raft.term, first, news, snapshot)


class Old(NamedTuple):
    """What of a node's former state `effect_of` compares with."""

    leads: bool
    term: int
    committed: int

    @classmethod
    def of(cls, server: Server) -> Old:
        """Take it from `server`."""
        raft = server.raw.raft
        return cls(raft.state is StateRole.Leader, raft.term, raft.raft_log.committed)


@dataclass(frozen=True)
class History:
    """All elections, and all committed entries with the term in which each was committed first."""

    elections: tuple[Election, ...]
    committed: tuple[tuple[int, int], ...]
    first_index: int
    finalized: bool

    @cached_property
    def last_index(self) -> int:
        """Index of the last committed entry."""
        return self.first_index + len(self.committed) - 1

    def after(
        self, effect: Effect, entries: Entries, judged: frozenset[str] = PROMISES
    ) -> History | Violation:
        """The history after `effect`, or which promise of those `judged` it breaks."""
        elections, committed = self.elections, list(self.committed)
        if effect.election is not None:
            broken = self._check_election(effect.election, entries)
            if broken is not None:
                return broken
            elections = tuple(sorted((*elections, effect.election)))
        if effect.snapshot is not None:
            index, term = effect.snapshot
            position = index - self.first_index
            if position >= len(committed):
                return Violation(
                    APPLIED_IS_COMMITTED, f"a snapshot at {index} holds more than that"
                )
            if position >= 0 and entries.entries[committed[position][0]].term != term:
                return Violation(
                    AGREEMENT,
                    f"a snapshot at {index} is of term {term}, the entry committed there of "
                    f"{entries.entries[committed[position][0]].term}",
                )
        for offset, number in enumerate(effect.committed):
            index = effect.first + offset
            position = index - self.first_index
            if position < 0:
                continue
            if position > len(committed):
                return Violation(APPLIED_IS_COMMITTED, f"entry {index} before the one before it")
            if position < len(committed):
                if committed[position][0] != number:
                    return Violation(
                        AGREEMENT,
                        f"at index {index} {describe(committed[position][0], entries)} is "
                        f"committed, and now {describe(number, entries)}",
                    )
                continue
            committed.append((number, effect.term))
            for election in elections:
                if election.term > effect.term and not _holds(election, index, number):
                    return Violation(
                        LEADER_COMPLETENESS,
                        f"{describe(number, entries)} at {index} is committed in term "
                        f"{effect.term}; node {election.leader}, elected in term "
                        f"{election.term}, does not hold it",
                    )
        if elections == self.elections and len(committed) == len(self.committed):
            return self
        broken = _check_endings(committed, entries)
        if broken is not None and ONE_END in judged:
            return broken
        finalized = any(entries.kinds[number] is ChangeKind.FINALIZE for number, _ in committed)
        return History(elections, tuple(committed), self.first_index, finalized)

    def _check_election(self, new: Election, entries: Entries) -> Violation | None:
        for old in self.elections:
            if old.term == new.term:
                return Violation(
                    ONE_LEADER, f"nodes {old.leader} and {new.leader} lead term {new.term}"
                )
        for offset, (number, term) in enumerate(self.committed):
            index = self.first_index + offset
            if term < new.term and not _holds(new, index, number):
                return Violation(
                    LEADER_COMPLETENESS,
                    f"node {new.leader}, elected in term {new.term}, lacks "
                    f"{describe(number, entries)} at {index}, committed in term {term}",
                )
        return None

    def members_at(self, index: int, start: Members, entries: Entries) -> Members | None:
        """The configuration after the committed entries up to `index`; None: not so many are."""
        if index > self.last_index:
            return None
        members = start
        for number, _ in self.committed[: max(0, index - self.first_index + 1)]:
            kind = entries.kinds[number]
            if kind is not None:
                members = members.after(kind, entries.entries[number])
        return members

    def check(
        self,
        facts: Facts,
        start: Members,
        entries: Entries,
        judged: frozenset[str] = PROMISES,
    ) -> Violation | None:
        """Judge a node's state in the light of all that happened."""
        if facts.misses_old and not self.finalized and OLD_MAJORITY in judged:
            return Violation(
                OLD_MAJORITY,
                facts.misses_old,
            )
        for where, applied, members in facts.applied:
            if not applied:
                continue
            expected = self.members_at(applied, start, entries)
            if expected is None:
                return Violation(
                    APPLIED_IS_COMMITTED, f"{where}, {applied} is applied and not committed"
                )
            if members != expected and CONFIGURATION in judged:
                return Violation(
                    CONFIGURATION,
                    f"{where}, as of {applied}: {members}, expected {expected}",
                )
        return None


def _holds(election: Election, index: int, number: int) -> bool:
    position = index - election.first
    if position < 0:
        return True  # In its snapshot, which held what was committed.
    return position < len(election.log) and election.log[position] == number


def _check_endings(committed: Sequence[tuple[int, int]], entries: Entries) -> Violation | None:
    """Never both a Finalize and a Rollback for one Begin."""
    joint = False
    ended: ChangeKind | None = None
    for number, _ in committed:
        kind = entries.kinds[number]
        if kind is ChangeKind.BEGIN and not joint:
            joint, ended = True, None
        elif kind is ChangeKind.FINALIZE or kind is ChangeKind.ROLLBACK:
            if ended is not None and ended is not kind:
                return Violation(
                    ONE_END,
                    " then ".join(describe(one, entries) for one, _ in committed),
                )
            if joint:
                joint, ended = False, kind
    return None


def describe(number: int, entries: Entries) -> str:
    """An entry in a word: what it does, and its term."""
    return describe_entry(entries.entries[number])


def describe_entry(entry: Entry) -> str:
    """An entry in a word: what it does, and its term."""
    if entry.entry_type:
        word = _membership.kind_of(_membership.parse_conf_change(entry)).name.capitalize()
    else:
        word = "entry" if entry.data else "empty"
    return f"{word}@{entry.term}"
