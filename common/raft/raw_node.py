"""RawNode: one Raft node as an application drives it, and the Ready it hands out.

The loop is always the same: feed it (`tick`, `step`, `propose`), and while `has_ready()`, take a
`Ready`, do what it says in its order, and `advance`. Nothing is ever done twice or skipped if each
Ready that was taken is also advanced.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from raft import _validate
from raft._membership import parse_conf_change
from raft._roles import SoftState, StateRole
from raft.config import Config
from raft.core import Raft
from raft.eraftpb import (
    BeginMembershipChange,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    HardState,
    Message,
    MessageType,
    MsgAppend,
    MsgHeartbeat,
    MsgHup,
    MsgPropose,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgSnapshot,
    MsgSnapStatus,
    MsgTimeoutNow,
    MsgTransferLeader,
    MsgUnreachable,
    Snapshot,
)
from raft.errors import StepLocalMsg, StepPeerNotFound
from raft.logger import Logger
from raft.progress import Configuration
from raft.raft_log import StorageT
from raft.read_only import ReadState
from raft.status import Status, StatusRef
from raft.storage import GetEntriesContext

_IMMEDIATE_TYPES = frozenset(
    {
        MsgAppend,
        MsgHeartbeat,
        MsgSnapshot,
        MsgTimeoutNow,
        MsgReadIndexResp,
        MsgPropose,
        MsgReadIndex,
        MsgTransferLeader,
    }
)
"""Types that promise nothing about this node's disk. All others (votes, answers) do."""

_NO_SNAPSHOT = Snapshot()


class SnapshotStatus(Enum):
    """How sending a snapshot ended. Source: raft-rs ``SnapshotStatus``."""

    Finish = 0
    Failure = 1


@dataclass(slots=True)
class Peer:
    """A node's id and anything the application wants to keep with it.

    No call takes it: the members of a new group are given by its `ConfState`. Kept because the
    crate exports it.
    """

    id: int
    context: bytes = b""


class Ready:
    """What a node wants done, in this order: persist, send, apply, advance.

    Attributes:
        number: Counts up; `on_persist_ready` takes it.
        ss: Leader and role, if they changed.
        hs: Term, vote and commit index to persist, if they changed.
        read_states: Reads that were confirmed; serve each once its index is applied.
        entries: To append to the stored log, in place of all from the first one's index on.
        snapshot: To install in place of log and state, before `entries`; empty if there is none.
        committed_entries: To apply, in order. All of them are on this node's disk, unless
            `Config.max_apply_unpersisted_log_limit` allows otherwise.
        messages: To send, by the simple rule: a leader may send them before or beside the write,
            any other node after it.
        immediate_messages: The part of all messages that need not wait for the write.
        persisted_messages: The part that must: they promise what the write makes durable.
        must_sync: Whether the write must be durable (fsync) before what has to wait for it.

    Use either `messages`, with `advance`; or `immediate_messages` and `persisted_messages`, with
    `advance_append` or `advance_append_async`.

    Source: raft-rs ``Ready``, of 0.6 and 0.7.
    """

    __slots__ = (
        "_held",
        "committed_entries",
        "entries",
        "hs",
        "immediate_messages",
        "messages",
        "must_sync",
        "number",
        "persisted_messages",
        "read_states",
        "snapshot",
        "ss",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.ss: SoftState | None = None
        self.hs: HardState | None = None
        self.read_states: list[ReadState] = []
        self.entries: list[Entry] = []
        self.snapshot: Snapshot = _NO_SNAPSHOT
        self.committed_entries: list[Entry] = []
        self.messages: list[Message] = []
        self.immediate_messages: list[Message] = []
        self.persisted_messages: list[Message] = []
        self.must_sync = False
        self._held: list[Message] = []


@dataclass(slots=True)
class LightReady:
    """What became ready by persisting a Ready, without a write of its own.

    Attributes:
        commit_index: The commit index, if it rose. Store it no later than the applied index of what
            it covers: a node that has applied more than it knows to be committed does not start.
            Otherwise it may wait: the next Ready with entries has it in its `hs`.
        committed_entries: To apply, after those of the Ready.
        messages: To send; all that they promise is on disk.

    Source: raft-rs 0.7 ``LightReady``.
    """

    commit_index: int | None
    committed_entries: list[Entry]
    messages: list[Message]


@dataclass(slots=True)
class _Written:
    """A Ready that was handed to the storage and is not known to be on disk yet."""

    number: int
    last_index: int
    last_term: int
    snapshot_index: int
    term: int
    """The term in its hard state; 0 if it had none."""


class RawNode(Generic[StorageT]):
    """One Raft node, driven by its application: no thread, no clock, no I/O of its own.

    Args:
        config: See `Config`; validated here.
        storage: The application's `Storage`. The node only reads it.
        logger: Told of role changes and refusals, in the shape of a structlog logger.
        rng: Draws election timeouts; pass one seeded from the system's entropy in production.

    Raises:
        ConfigInvalid: the configuration cannot work.
        InvariantViolation: the storage contradicts itself.

    Source: raft-rs ``RawNode``.
    """

    def __init__(
        self,
        config: Config,
        storage: StorageT,
        logger: Logger | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.raft: Raft[StorageT] = Raft(config, storage, logger, rng)
        raft = self.raft
        self._soft_state = raft.soft_state()
        self._hard_state = (raft.term, raft.vote, raft.raft_log.committed)
        self._stored_commit = raft.raft_log.committed
        self._durable_term = raft.term
        self._number = 0
        self._written: deque[_Written] = deque()
        self._handed_out = raft.raft_log.applied
        self._held: list[Message] = []

    @classmethod
    def with_logger(cls, config: Config, storage: StorageT, logger: Logger) -> RawNode[StorageT]:
        """A node that logs to `logger`."""
        return cls(config, storage, logger)

    # -- Feeding it --------------------------------------------------------------------------

    def tick(self) -> bool:
        """Let one tick of time pass; whether something may be ready after it."""
        return self.raft.tick()

    def campaign(self) -> None:
        """Start an election now, if this node may (it is then a candidate, or leads alone)."""
        self.raft.step(Message(msg_type=MsgHup))

    def propose(self, context: bytes, data: bytes) -> None:
        """Propose to append `data`; `context` is kept with the entry for its proposer.

        On a follower it is forwarded to the leader, and nothing tells whether it arrived.

        Raises:
            ProposalDropped: it was not taken; `reason` says why.
        """
        self.propose_batch(((context, data),))

    def propose_batch(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Propose several (context, data) pairs at once: all are taken, or none.

        Raises:
            ProposalDropped: as `propose`.
        """
        self._propose([Entry(data=data, context=context) for context, data in items])

    def _propose(self, entries: list[Entry]) -> None:
        raft = self.raft
        if raft.state is StateRole.Leader:
            _validate.check_proposed(entries)
            raft.propose_entries(entries)
        else:
            raft.step(Message(msg_type=MsgPropose, from_=raft.id, entries=entries))

    def propose_conf_change(self, context: bytes, change: ConfChange | ConfChangeV2) -> None:
        """Propose a change of membership, of any kind; forwarded like any proposal.

        Raises:
            ProposalDropped: as `propose`.
            ConfChangeError, Exists, ConfigInvalid: on the leader, if it cannot be made now.
        """
        v2 = isinstance(change, ConfChangeV2)
        self._propose(
            [
                Entry(
                    entry_type=EntryConfChangeV2 if v2 else EntryConfChange,
                    data=change.SerializeToString(),
                    context=context,
                )
            ]
        )

    def propose_membership_change(
        self,
        config: Configuration | tuple[Iterable[int], Iterable[int]],
        auto_finalize: bool = True,
        successor: int | None = None,
        *,
        expected_config_index: int = 0,
        promotable: Iterable[int] = (),
        context: bytes = b"",
    ) -> None:
        """As leader, propose to change the whole membership by joint consensus (Raft §6).

        Args:
            config: The whole target: a `Configuration`, or (voters, learners).
            auto_finalize: Leave the joint state as soon as it is entered. False: stay in it until
                `propose_finalize` or `propose_rollback`.
            successor: Who leads afterwards if this leader is no voter of the target; None: the
                best-matched new voter.
            expected_config_index: Refuse unless the configuration in force was made by the entry
                at this index; 0: any.
            promotable: Learners of the target that become voters when they have caught up.
            context: Kept with the entry.

        Raises:
            ConfChangeError: not now, or not this; `reason` says why. Nothing was changed.
            Exists, ConfigInvalid: the target is no possible configuration.
            ProposalDropped: leadership is being transferred.
        """
        target = config if isinstance(config, Configuration) else Configuration(*config)
        target.valid()
        conf_state = target.to_conf_state()
        conf_state.promotable.extend(sorted(promotable))
        change = ConfChange(
            change_type=BeginMembershipChange,
            configuration=conf_state,
            hold=not auto_finalize,
            successor=successor or 0,
            expected_config_index=expected_config_index,
        )
        self.raft.propose_membership_change(change, context)

    def propose_finalize(self, context: bytes = b"") -> None:
        """As leader, leave the joint state for the new configuration: `Raft.propose_finalize`."""
        self.raft.propose_finalize(context)

    def propose_rollback(self, context: bytes = b"") -> None:
        """As leader, go back to the old configuration: see `Raft.propose_rollback`."""
        self.raft.propose_rollback(context)

    def campaign_for_rollback(self) -> None:
        """Campaign by the old configuration alone: see `Raft.campaign_for_rollback`."""
        self.raft.campaign_for_rollback()

    def apply_conf_change(self, change: ConfChange | ConfChangeV2, index: int = 0) -> ConfState:
        """Bring a committed change of membership into force; store what it returns.

        Applying one again changes nothing. Call it for every committed membership entry, in order,
        before `advance`.

        Args:
            change: What the entry carried.
            index: The entry's index; 0: the next membership entry of this kind in the log.
        """
        return self.raft.apply_conf_change(change, index)

    def apply_conf_entry(self, entry: Entry) -> ConfState:
        """`apply_conf_change` with what `entry` carries, at its index.

        Raises:
            CodecError: it is no membership entry.
        """
        return self.raft.apply_conf_change(parse_conf_change(entry), entry.index)

    def step(self, m: Message) -> None:
        """Take in a message from a peer.

        Raises:
            StepLocalMsg: its type is one that only a node itself makes.
            StepPeerNotFound: an answer from someone who is no member.
            MessageRefused: it breaks the protocol; nothing was changed.
            ProposalDropped, ConfChangeError: it is a proposal or read that was not taken.
        """
        msg_type = m.msg_type
        if msg_type in _validate.LOCAL_TYPES:
            raise StepLocalMsg(MessageType.Name(msg_type))
        if msg_type in _validate.FROM_PROGRESS_TYPES and m.from_ not in self.raft.prs.progress:
            raise StepPeerNotFound(m.from_)
        self.raft.step(m)

    def ping(self) -> None:
        """As leader, send heartbeats now."""
        self.raft.ping()

    def read_index(self, ctx: bytes) -> None:
        """Ask for a read: a `ReadState` with `ctx` comes once a quorum has confirmed the leader.

        On a follower it is forwarded. A read that is lost on the way is not answered: ask again.

        Raises:
            ProposalDropped: no leader is known, or too many reads wait.
        """
        raft = self.raft
        raft.step(Message(msg_type=MsgReadIndex, from_=raft.id, entries=[Entry(data=ctx)]))

    def transfer_leader(self, transferee: int) -> None:
        """Ask the leader to hand over to `transferee`; strangers and learners are passed over."""
        self.raft.step(Message(msg_type=MsgTransferLeader, from_=transferee))

    def report_unreachable(self, id: int) -> None:
        """Tell that messages to `id` are being lost."""
        self.raft.step(Message(msg_type=MsgUnreachable, from_=id))

    def report_snapshot(self, id: int, status: SnapshotStatus) -> None:
        """Tell how sending a snapshot to `id` ended: without it nothing else is sent there."""
        rejected = status is SnapshotStatus.Failure
        self.raft.step(Message(msg_type=MsgSnapStatus, from_=id, reject=rejected))

    def request_snapshot(self, request_index: int) -> None:
        """Ask the leader for a snapshot; raises as `Raft.request_snapshot`."""
        self.raft.request_snapshot(request_index)

    def on_entries_fetched(self, context: GetEntriesContext) -> None:
        """Tell that entries which the storage fetched are there: see `GetEntriesContext`."""
        self.raft.on_entries_fetched(context)

    # -- Taking what is ready ----------------------------------------------------------------

    def has_ready(self) -> bool:
        """Whether `ready()` has something to do."""
        return self._has_ready_since(self._handed_out)

    def has_ready_since(self, applied: int | None) -> bool:
        """`has_ready`, counting committed entries after `applied` (None: as `has_ready`)."""
        return self._has_ready_since(self._handed_out if applied is None else applied)

    def _has_ready_since(self, since: int) -> bool:
        raft = self.raft
        log = raft.raft_log
        unstable = log.unstable
        return bool(
            raft.msgs
            or self._held
            or raft.read_states
            or unstable.offset < unstable.next_index
            or raft.has_messages()
            or log.has_next_entries_since(since)
            or unstable.snapshot is not None
            or self._hard_state != (raft.term, raft.vote, log.committed)
            or self._soft_state.raft_state is not raft.state
            or self._soft_state.leader_id != raft.leader_id
        )

    def ready(self) -> Ready:
        """Take what is to be done now. Every Ready must be carried out and advanced."""
        raft = self.raft
        log = raft.raft_log
        self._number += 1
        rd = Ready(self._number)
        if (
            self._soft_state.raft_state is not raft.state
            or self._soft_state.leader_id != raft.leader_id
        ):
            rd.ss = self._soft_state = raft.soft_state()
        self._split_messages(rd, raft.take_messages())
        hard_state = (raft.term, raft.vote, log.committed)
        unstable = log.unstable
        # Entries are not to be on disk without the commit index they came with, which a LightReady
        # may have told without its being written (DESIGN.md, rule 2).
        writes = unstable.offset < unstable.next_index or unstable.snapshot is not None
        if hard_state != self._hard_state or (writes and log.committed > self._stored_commit):
            rd.hs = raft.hard_state()
            rd.must_sync = hard_state[:2] != self._hard_state[:2]
            self._hard_state = hard_state
            self._stored_commit = log.committed
        if raft.read_states:
            rd.read_states, raft.read_states = raft.read_states, []
        if unstable.snapshot is not None:
            rd.snapshot = unstable.snapshot
            rd.must_sync = True
            self._handed_out = max(self._handed_out, rd.snapshot.metadata.index)
        if unstable.offset < unstable.next_index:
            rd.entries = log.unstable_entries()
            rd.must_sync = True
        rd.committed_entries = self._take_committed()
        return rd

    def ready_since(self, applied_idx: int) -> Ready:
        """`ready()`, with committed entries from `applied_idx` + 1 on."""
        self._handed_out = applied_idx
        return self.ready()

    def _split_messages(self, rd: Ready, messages: list[Message]) -> None:
        for m in messages:
            # A leader's words of a term that a crash could still make it forget must wait as well:
            # it would lead that term again, with other entries. Only who is the one voter is
            # elected that early; all others have stored the term before they asked for votes.
            if m.msg_type in _IMMEDIATE_TYPES and m.term <= self._durable_term:
                rd.immediate_messages.append(m)
            else:
                rd.persisted_messages.append(m)
        # What was held back before is on disk by now.
        rd.immediate_messages[:0], self._held = self._held, []
        if self.raft.state is StateRole.Leader:
            rd.messages = list(rd.immediate_messages)
            rd._held = rd.persisted_messages
        else:
            rd.messages = rd.immediate_messages + rd.persisted_messages

    def _take_committed(self) -> list[Entry]:
        raft = self.raft
        committed = raft.raft_log.next_entries_since(
            self._handed_out, raft.max_committed_size_per_ready
        )
        if committed:
            self._handed_out = committed[-1].index
            raft.reduce_uncommitted_size(committed)
        return committed

    def advance(self, rd: Ready) -> None:
        """Tell that `rd` was carried out: all is on disk, sent and applied.

        What became ready by that comes with the next `Ready`, as do messages that a leader had to
        hold back until the write.
        """
        self._note_written(rd)
        self.on_persist_ready(rd.number)
        self._held += rd._held
        self.advance_apply()

    def advance_append(self, rd: Ready) -> LightReady:
        """Tell that all of `rd` is on disk and its messages are sent; applying may go on.

        Returns:
            What became ready by that. Call `advance_apply` once its entries are applied too.
        """
        self._note_written(rd)
        self.on_persist_ready(rd.number)
        raft, log = self.raft, self.raft.raft_log
        term, vote, told = self._hard_state
        # Something may have been stepped since the Ready: its commit index may lie beyond what is
        # on disk, and what it promises goes out with the next Ready.
        committed = max(told, min(log.committed, log.persisted))
        self._hard_state = (term, vote, committed)
        all_on_disk = (
            (term, vote) == (raft.term, raft.vote)
            and log.unstable.offset == log.unstable.next_index
            and log.unstable.snapshot is None
        )
        light = Ready(0)
        self._split_messages(light, raft.take_messages())
        messages = light.immediate_messages
        if all_on_disk:
            messages = messages + light.persisted_messages
        else:
            raft.msgs[:0] = light.persisted_messages
        commit_index = committed if committed > told else None
        return LightReady(commit_index, self._take_committed(), messages)

    def advance_append_async(self, rd: Ready) -> None:
        """Tell that `rd` was handed to the storage, which can read it but may not have synced it.

        Take further Readys meanwhile; say `on_persist_ready` when it is on disk, and only then
        send its `persisted_messages`.
        """
        self._note_written(rd)

    def _note_written(self, rd: Ready) -> None:
        log = self.raft.raft_log
        term = 0 if rd.hs is None else rd.hs.term
        written = _Written(rd.number, 0, 0, rd.snapshot.metadata.index, term)
        if written.snapshot_index:
            log.stable_snap_to(written.snapshot_index)
        if rd.entries:
            last = rd.entries[-1]
            written.last_index, written.last_term = last.index, last.term
            log.stable_entries(last.index, last.term)
        self._written.append(written)

    def on_persist_ready(self, number: int) -> None:
        """Tell that the Ready `number` and all before it are on disk."""
        raft = self.raft
        last_index = last_term = 0
        while self._written and self._written[0].number <= number:
            written = self._written.popleft()
            self._durable_term = max(self._durable_term, written.term)
            if written.snapshot_index:
                # It replaced the log: entries written before it are no longer there.
                last_index = 0
                raft.on_persist_snap(written.snapshot_index)
                if written.snapshot_index > raft.raft_log.applied:
                    raft.commit_apply(written.snapshot_index)
            if written.last_index:
                last_index, last_term = written.last_index, written.last_term
        if last_index:
            raft.on_persist_entries(last_index, last_term)

    def advance_apply(self, applied: int | None = None) -> None:
        """Tell that all committed entries that were handed out, or those to `applied`, are applied.

        The argument is 0.6.0-alpha's; `advance_apply_to` is 0.7's name for the same.
        """
        self.advance_apply_to(self._handed_out if applied is None else applied)

    def advance_apply_to(self, applied: int) -> None:
        """Tell that the state machine has applied everything up to `applied`."""
        if applied > self.raft.raft_log.applied:
            self.raft.commit_apply(applied)

    # -- Looking at it, and settings ---------------------------------------------------------

    def status(self) -> Status:
        """A look at the node; `progress` is given on the leader only."""
        return Status.new(self.raft)

    def status_ref(self) -> StatusRef:
        """The same: nothing is copied in either."""
        return Status.new(self.raft)

    def get_snap(self) -> Snapshot | None:
        """A snapshot that was received and is not installed yet."""
        return self.raft.snap()

    @property
    def store(self) -> StorageT:
        """The storage."""
        return self.raft.store

    def get_store(self) -> StorageT:
        """The storage, by the crate's name for it."""
        return self.raft.store

    mut_store = get_store

    def skip_bcast_commit(self, skip: bool) -> None:
        """Whether a new commit index waits for the next entries to be told."""
        self.raft.set_skip_bcast_commit(skip)

    def set_batch_append(self, batch_append: bool) -> None:
        """Whether entries for a peer are gathered into one message until it is taken out."""
        self.raft.set_batch_append(batch_append)

    def set_priority(self, priority: int) -> None:
        """Set the election priority: see `Config.priority`."""
        self.raft.set_priority(priority)

    def set_check_quorum(self, check_quorum: bool) -> None:
        """Switch `Config.check_quorum`."""
        self.raft.set_check_quorum(check_quorum)

    def forget_leader(self) -> None:
        """Forget who leads: see `Raft.forget_leader`."""
        self.raft.forget_leader()

    def expire_lease(self) -> None:
        """End the read lease, after time may have passed without ticks: `Raft.expire_lease`."""
        self.raft.expire_lease()
