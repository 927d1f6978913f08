"""One node of the searched group: a real `RawNode`, a disk that is honest, and its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from raft import Config, ProgressState, RawNode, SnapshotStatus, StateRole, is_empty_snap
from raft.eraftpb import (
    ConfState,
    Entry,
    HardState,
    Message,
    Snapshot,
    SnapshotMetadata,
    conf_state_of,
)
from raft.errors import Compacted, ConfChangeError, ProposalDropped, StepPeerNotFound, Unavailable
from raft.storage import GetEntriesContext, RaftState

Target = tuple[tuple[int, ...], tuple[int, ...]]
"""Voters and learners of a configuration."""


@dataclass(frozen=True)
class Settings:
    """What is the same for all nodes of a search.

    Attributes:
        voters, learners: The group at the start.
        targets: The changes of membership that may be begun, each once a log.
        max_term: No node campaigns beyond it.
        max_log: Nothing is proposed beyond this index (a new leader's empty entry excepted).
        max_normal: Ordinary proposals in one log.
        persist_late: Whether a write may wait for its flush while other things happen.
        light: Drive the node with `advance_append` and its `LightReady`.
        light_commit_waits: The application leaves the commit index of a `LightReady` unwritten.
        replays: The application keeps nothing of what it applied: a restart applies it all again.
        compact: Whether the log may be compacted up to the applied index.
        transfers: To whom leadership may be handed.
        beats: Whether a leader may send heartbeats.
        pre_vote: Whether candidates ask first.
        auto_finalize: Whether the leader ends a joint state by itself.
        finalize, rollback: Whether these may be proposed.
        campaigners, crashing: Who may campaign, and crash; None: everyone.
    """

    voters: tuple[int, ...]
    targets: tuple[Target, ...]
    learners: tuple[int, ...] = ()
    max_term: int = 4
    max_log: int = 7
    max_normal: int = 0
    persist_late: bool = False
    light: bool = False
    light_commit_waits: bool = False
    replays: bool = False
    compact: bool = False
    transfers: tuple[int, ...] = ()
    beats: bool = False
    pre_vote: bool = False
    auto_finalize: bool = False
    finalize: bool = True
    rollback: bool = True
    campaigners: tuple[int, ...] | None = None
    crashing: tuple[int, ...] | None = None

    def nodes(self) -> tuple[int, ...]:
        """Everyone there is, in ascending order."""
        ids = {*self.voters, *self.learners}
        for voters, learners in self.targets:
            ids.update(voters, learners)
        return tuple(sorted(ids))


class Durable(NamedTuple):
    """What a disk holds after a flush: what is left of it by a loss of power."""

    base: int
    base_term: int
    log: tuple[Entry, ...]
    term: int
    vote: int
    commit: int
    conf_state: ConfState
    applied: int


class Disk:
    """A node's disk as written, flushed or not, in the form of a `raft.Storage`.

    The entry at index i is ``log[i - base - 1]``; `base` is the index before the first one.
    """

    __slots__ = ("applied", "base", "base_term", "commit", "conf_state", "hard_term", "log", "vote")

    def __init__(self, held: Durable) -> None:
        self.base, self.base_term = held.base, held.base_term
        self.log = list(held.log)
        self.hard_term, self.vote, self.commit = held.term, held.vote, held.commit
        self.conf_state = held.conf_state
        self.applied = held.applied

    def content(self) -> Durable:
        """All that is written; after a flush that is what is durable."""
        return Durable(
            self.base,
            self.base_term,
            tuple(self.log),
            self.hard_term,
            self.vote,
            self.commit,
            self.conf_state,
            self.applied,
        )

    # Reading, as a Storage.

    def initial_state(self) -> RaftState:
        """Return the hard state and the configuration."""
        # What is applied was committed, whether or not that commit index was written.
        commit = max(self.commit, self.applied)
        hard_state = HardState(term=self.hard_term, vote=self.vote, commit=commit)
        return RaftState(hard_state, conf_state_of(self.conf_state))

    def entries(
        self,
        low: int,
        high: int,
        max_size: int | None = None,
        context: GetEntriesContext | None = None,
    ) -> list[Entry]:
        """Return the entries in `[low, high)`."""
        if low <= self.base:
            raise Compacted
        if high > self.last_index() + 1:
            raise Unavailable
        return self.log[low - self.base - 1 : high - self.base - 1]

    def term(self, index: int) -> int:
        """Return the term of the entry at `index`."""
        if index == self.base:
            return self.base_term
        if index < self.base:
            raise Compacted
        if index > self.last_index():
            raise Unavailable
        return self.log[index - self.base - 1].term

    def first_index(self) -> int:
        """Return the first index that is there."""
        return self.base + 1

    def last_index(self) -> int:
        """Return the last index that is there."""
        return self.base + len(self.log)

    def snapshot(self, request_index: int, to: int) -> Snapshot:
        """Return a snapshot as of the applied index."""
        metadata = SnapshotMetadata(
            conf_state=self.conf_state, index=self.applied, term=self.term(self.applied)
        )
        return Snapshot(metadata=metadata)

    # Writing.

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries in place of all from the first one's index on."""
        del self.log[entries[0].index - self.base - 1 :]
        self.log.extend(entries)

    def install(self, snapshot: Snapshot) -> None:
        """Replace log and configuration by a snapshot."""
        metadata = snapshot.metadata
        self.base, self.base_term = metadata.index, metadata.term
        self.log.clear()
        self.commit = max(self.commit, metadata.index)
        self.conf_state = conf_state_of(metadata.conf_state)
        self.applied = metadata.index

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`."""
        self.base_term = self.term(index)
        del self.log[: index - self.base]
        self.base = index


class Event(NamedTuple):
    """Something that happens to a node by itself; `argument` is the target of a transfer, or such.

    Kinds: campaign, campaign for rollback, power loss, kill, flush, apply, compact, propose,
    begin, finalize, rollback, beat, transfer, end transfer; tell of lost snapshots (in `calm`).
    """

    kind: str
    argument: int = 0


class Server:
    """A node that carries out each Ready at once, but for what its settings let wait.

    What may wait is the applying of membership entries (event ``apply``) and, with `persist_late`,
    the flush of what was written (``flush``). Nothing else does: a message that waits on this node
    is the same as one that waits in the network.

    Attributes:
        raw: The node.
        first: What the disk held when the group was made.
        disk: What is written; `synced` is what of it is durable.
        handed: The last index that was handed out to be applied.
        waiting: Readys that are written and not flushed: number and messages held back.
        out: Messages that have left since this was last emptied.
    """

    __slots__ = ("disk", "first", "handed", "id", "out", "raw", "settings", "synced", "waiting")

    def __init__(self, node_id: int, settings: Settings) -> None:
        self.id = node_id
        self.settings = settings
        self.out: list[Message] = []
        members = {*settings.voters, *settings.learners}
        if node_id in members:
            conf_state = ConfState(voters=settings.voters, learners=settings.learners)
            held = Durable(1, 1, (), 1, 0, 1, conf_state, 1)
        else:
            held = Durable(0, 0, (), 0, 0, 0, ConfState(), 0)  # To join by a snapshot.
        self.first = held
        self._start(held)

    def _restart(self, held: Durable) -> None:
        if self.settings.replays:
            first = self.first
            held = held._replace(applied=first.applied, conf_state=first.conf_state)
        self._start(held)

    def _start(self, held: Durable) -> None:
        self.synced = held
        self.disk = Disk(held)
        self.waiting: list[tuple[int, list[Message]]] = []
        self.handed = held.applied
        config = Config(id=self.id, applied=held.applied, pre_vote=self.settings.pre_vote)
        self.raw: RawNode[Disk] = RawNode(config, self.disk)
        self._pump()

    # -- What can happen ---------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """What may happen in this state; some of it may turn out to be refused, or nothing."""
        settings, raft = self.settings, self.raw.raft
        if settings.crashing is None or self.id in settings.crashing:
            yield Event("power loss")
            if self.synced != self.disk.content():
                yield Event("kill")
        if self.waiting:
            yield Event("flush")
        if self.handed > raft.raft_log.applied:
            yield Event("apply")
        if settings.compact and self.disk.base < self.synced.applied and not self.waiting:
            yield Event("compact")
        if raft.state is StateRole.Leader:
            yield from self._leader_events()
        elif raft.term < settings.max_term and (
            settings.campaigners is None or self.id in settings.campaigners
        ):
            yield Event("campaign")
            if settings.rollback and raft.prs.is_in_membership_change():
                yield Event("campaign for rollback")

    def _leader_events(self) -> Iterator[Event]:
        settings, raft = self.settings, self.raw.raft
        if raft.lead_transferee:
            yield Event("end transfer")
        for target in settings.transfers:
            if target not in (self.id, raft.lead_transferee):
                yield Event("transfer", target)
        if settings.beats:
            yield Event("beat")
        if raft.raft_log.last_index() >= settings.max_log:
            return
        log = self.disk.log
        if sum(entry.data == b"x" for entry in log) < settings.max_normal:
            yield Event("propose")
        begun = {entry.context for entry in log if entry.entry_type}
        for number in range(len(settings.targets)):
            if _mark(number) not in begun:
                yield Event("begin", number)
        if settings.finalize:
            yield Event("finalize")
        if settings.rollback:
            yield Event("rollback")

    def happen(self, event: Event) -> bool:
        """Let `event` happen; False if the node refused it, and nothing has changed."""
        raw, kind = self.raw, event.kind
        try:
            if kind == "campaign":
                raw.campaign()
            elif kind == "campaign for rollback":
                raw.campaign_for_rollback()
            elif kind == "begin":
                raw.propose_membership_change(
                    self.settings.targets[event.argument],
                    auto_finalize=self.settings.auto_finalize,
                    context=_mark(event.argument),
                )
            elif kind == "finalize":
                raw.propose_finalize()
            elif kind == "rollback":
                raw.propose_rollback()
            elif kind == "propose":
                raw.propose(b"", b"x")
        except (ConfChangeError, ProposalDropped):
            return False
        if kind == "power loss":
            self._restart(self.synced)
            return True
        if kind == "kill":
            # Opening the files again makes durable what is read back from them.
            self._restart(self.disk.content())
            return True
        if kind == "flush":
            self._flush()
        elif kind == "apply":
            self._apply_membership()
        elif kind == "compact":
            self.disk.compact(self.synced.applied)
            self.synced = self.disk.content()._replace(
                commit=self.synced.commit,
                conf_state=self.synced.conf_state,
                applied=self.synced.applied,
            )
        elif kind == "beat":
            raw.ping()
        elif kind == "tell of lost snapshots":
            for peer, progress in raw.raft.prs.progress.items():
                if progress.state is ProgressState.Snapshot:
                    raw.report_snapshot(peer, SnapshotStatus.Failure)
        elif kind == "transfer":
            raw.transfer_leader(event.argument)
        elif kind == "end transfer":
            raw.raft.abort_leader_transfer()
        self._pump()
        return True

    def receive(self, message: Message) -> None:
        """Take in a message; one from a stranger is passed over, as the library asks for."""
        try:
            self.raw.step(message)
        except StepPeerNotFound:
            return
        self._pump()

    # -- Carrying out ------------------------------------------------------------------------

    def _pump(self) -> None:
        raw = self.raw
        while True:
            self._apply_ordinary()
            if not raw.has_ready():
                return
            ready = raw.ready()
            self.out += ready.immediate_messages
            snapshot = not is_empty_snap(ready.snapshot)
            if snapshot:
                self.disk.install(ready.snapshot)
                self.handed = self.disk.applied
            if ready.entries:
                self.disk.append(ready.entries)
            if ready.hs is not None:
                hard_state = ready.hs
                self.disk.hard_term, self.disk.vote = hard_state.term, hard_state.vote
                self.disk.commit = hard_state.commit
            self._hand_over(ready.committed_entries)
            if self.settings.light:
                self._persist_lightly(ready)
                continue
            raw.advance_append_async(ready)
            if self.waiting or ready.must_sync:
                self.waiting.append((ready.number, ready.persisted_messages))
                if snapshot or not self.settings.persist_late:
                    self._flush()
            else:
                self.out += ready.persisted_messages
                raw.on_persist_ready(ready.number)

    def _persist_lightly(self, ready: Any) -> None:
        if ready.must_sync:
            self.synced = self.disk.content()
        self.out += ready.persisted_messages
        light = self.raw.advance_append(ready)
        if light.commit_index is not None and not self.settings.light_commit_waits:
            self.disk.commit = light.commit_index
        self._hand_over(light.committed_entries)
        self.out += light.messages

    def _hand_over(self, committed: Sequence[Entry]) -> None:
        if committed:
            assert committed[0].index == self.handed + 1, "entries handed out twice, or skipped"
            self.handed = committed[-1].index

    def _flush(self) -> None:
        self.synced = self.disk.content()
        waiting, self.waiting = self.waiting, []
        for _, messages in waiting:
            self.out += messages
        self.raw.on_persist_ready(waiting[-1][0])

    def _apply_ordinary(self) -> None:
        """Apply what changes no configuration as soon as it is handed out."""
        applied = index = self.raw.raft.raft_log.applied
        while index < self.handed and not self.disk.log[index - self.disk.base].entry_type:
            index += 1
        if index > applied:
            self.disk.applied = index
            self.raw.advance_apply_to(index)

    def _apply_membership(self) -> None:
        index = self.raw.raft.raft_log.applied + 1
        entry = self.disk.log[index - self.disk.base - 1]
        self.disk.conf_state = self.raw.apply_conf_entry(entry)
        self.disk.applied = index
        self.raw.advance_apply_to(index)


def _mark(number: int) -> bytes:
    return b"change %d" % number
