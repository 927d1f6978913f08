"""Nodes in memory and the network between them: every step is a call, and every run the same.

A `Member` is one `RawNode` with a storage, a disk behind it, and a state machine that remembers
what it applied. A `Network` carries their messages, as bytes, in one queue; filters lose some.
Nothing happens by itself: time is `tick`, delivery is `run` or `deliver_one`.

Persistence is honest. What a node wrote can be read back at once, as from a page cache; it is on
the disk, and survives `restart`, only when it was synced. The three loops of an application are
modelled: the simple one, the one with `advance_append`, and the asynchronous one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from raft import (
    NO_LIMIT,
    Config,
    Error,
    MemStorage,
    Raft,
    RawNode,
    ReadState,
    Ready,
    StateRole,
    is_empty_snap,
)
from raft.eraftpb import (
    ConfState,
    Entry,
    HardState,
    Message,
    MessageType,
    MsgAppendResponse,
    MsgHeartbeatResponse,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    Snapshot,
    SnapshotMetadata,
)

Filter = Callable[[Message], bool]
"""Says whether a message arrives."""


class Loop(Enum):
    """How an application drives its node."""

    SIMPLE = "simple"
    LIGHT = "light"
    ASYNC = "async"


def clone(storage: MemStorage) -> MemStorage:
    """A storage with the same content, independent of the first."""
    core = storage.rl()
    state = core.initial_state()
    copy = MemStorage()
    with copy.wl() as writer:
        first, last = core.first_index(), core.last_index()
        if first > 1:
            metadata = SnapshotMetadata(
                index=first - 1, term=core.term(first - 1), conf_state=state.conf_state
            )
            writer.apply_snapshot(Snapshot(metadata=metadata))
        writer.append(core.entries(first, last + 1))
        writer.set_hardstate(state.hard_state)
        writer.set_conf_state(state.conf_state)
    return copy


@dataclass(slots=True)
class Write:
    """What one Ready wants on the disk, and what must wait until it is there."""

    number: int
    snapshot: Snapshot | None = None
    entries: list[Entry] = field(default_factory=list)
    hard_state: HardState | None = None
    conf_state: ConfState | None = None
    applied: int = 0
    messages: list[Message] = field(default_factory=list)


class Member:
    """One node and everything around it.

    Attributes:
        node: The node itself; replaced by `restart`.
        storage: What the node reads.
        disk: What a crash leaves.
        applied: What the state machine applied, by index.
        unapplied: What it was handed while `applies` is False.
        reads: Confirmed reads, oldest first.
        readies: All Readys taken since the start.
        pending: Writes that are not on the disk yet (asynchronous loop only).
    """

    def __init__(
        self,
        config: Config,
        storage: MemStorage,
        *,
        loop: Loop = Loop.SIMPLE,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.loop = loop
        self.storage = storage
        self.disk = clone(storage)
        self.disk_applied = config.applied
        self.seed = seed
        self.syncs_at_once = True
        self.applies = True
        self.applied: dict[int, Entry] = {}
        self.unapplied: list[Entry] = []
        self.reads: list[ReadState] = []
        self.readies: list[Ready] = []
        self.pending: deque[Write] = deque()
        self.node: RawNode[MemStorage] = self._start()

    def _start(self) -> RawNode[MemStorage]:
        return RawNode(self.config, self.storage, rng=random.Random(self.seed * 1000 + self.id))

    @property
    def id(self) -> int:
        """The node's id."""
        return self.config.id

    @property
    def raft(self) -> Raft[MemStorage]:
        """The core."""
        return self.node.raft

    @property
    def state(self) -> StateRole:
        """The role."""
        return self.raft.state

    @property
    def role(self) -> str:
        """The role's name."""
        return self.raft.state.name

    @property
    def leads(self) -> bool:
        """Whether it leads."""
        return self.raft.is_leader()

    @property
    def term(self) -> int:
        """The term."""
        return self.raft.term

    @property
    def committed(self) -> int:
        """The commit index."""
        return self.raft.raft_log.committed

    @property
    def last_index(self) -> int:
        """The last index of the log."""
        return self.raft.raft_log.last_index()

    @property
    def data(self) -> list[bytes]:
        """The data of what was applied, without leaders' empty entries and membership."""
        return [
            entry.data
            for _, entry in sorted(self.applied.items())
            if entry.data and not entry.entry_type
        ]

    def log(self) -> list[tuple[int, int]]:
        """(index, term) of every entry in the log."""
        return [(entry.index, entry.term) for entry in self.raft.raft_log.all_entries()]

    # Feeding it. Each call returns the messages that leave the node because of it.

    def step(self, m: Message) -> list[Message]:
        """Hand over a message."""
        self.node.step(m)
        return self.pump()

    def receive(self, msg_type: MessageType, from_: int, **fields: Any) -> list[Message]:
        """Hand over a message from a peer, of the present term unless `term` is given."""
        fields.setdefault("term", self.term)
        return self.step(Message(msg_type=msg_type, to=self.id, from_=from_, **fields))

    def tick(self, ticks: int = 1) -> list[Message]:
        """Let time pass."""
        out = []
        for _ in range(ticks):
            self.node.tick()
            out += self.pump()
        return out

    def propose(self, data: bytes, context: bytes = b"") -> list[Message]:
        """Propose data."""
        self.node.propose(context, data)
        return self.pump()

    def campaign(self) -> list[Message]:
        """Start an election."""
        self.node.campaign()
        return self.pump()

    def lead(self, acknowledged: bool = True) -> Member:
        """Win an election by everyone's votes; `acknowledged`: and have all followers caught up."""
        self.raft.quiet_until = 0  # As if an election timeout had passed since the start.
        out = self.campaign()
        while not self.leads:
            asked = [m for m in out if m.msg_type in _ANSWERS]
            assert asked, "nobody was asked for a vote"
            out = []
            for m in asked:
                if not self.leads:
                    out += self.receive(_ANSWERS[m.msg_type], m.to, term=m.term)
        if acknowledged:
            self.acknowledge_all()
        return self

    def acknowledge_all(self, *ids: int) -> list[Message]:
        """Have followers (default: all) acknowledge everything and know the commit index."""
        out: list[Message] = []
        for node_id in ids or self.raft.prs.ids():
            if node_id != self.id:
                out += self.receive(MsgAppendResponse, node_id, index=self.last_index)
        for node_id in ids or self.raft.prs.ids():
            progress = self.raft.prs.get(node_id)
            if progress is not None and node_id != self.id:
                progress.update_committed(self.committed)
        return out

    def heard(self, from_: int, context: bytes = b"", **fields: Any) -> list[Message]:
        """A heartbeat's answer arrives."""
        fields.setdefault("commit", self.committed)
        return self.receive(MsgHeartbeatResponse, from_, context=context, **fields)

    # The application's loop.

    def pump(self) -> list[Message]:
        """Carry out whatever is ready; return what is to be sent."""
        out: list[Message] = []
        turn = {Loop.SIMPLE: self._simple, Loop.LIGHT: self._light, Loop.ASYNC: self._async}
        while self.node.has_ready():
            out += turn[self.loop]()
        if self.loop is Loop.ASYNC and self.syncs_at_once:
            while self.pending:
                out += self.sync()
                while self.node.has_ready():
                    out += self._async()
        return out

    def _take(self) -> Ready:
        rd = self.node.ready()
        self.readies.append(rd)
        self.reads += rd.read_states
        return rd

    def _simple(self) -> list[Message]:
        rd = self._take()
        leads = self.state is StateRole.Leader
        out = list(rd.messages) if leads else []
        self._write(rd)
        self._sync_one()
        if not leads:
            out += rd.messages
        self._apply(rd.committed_entries)
        if self.applies:
            self.node.advance(rd)
            return out
        if leads:
            out += rd.persisted_messages
        light = self.node.advance_append(rd)
        self._apply(light.committed_entries)
        return out + light.messages

    def _light(self) -> list[Message]:
        rd = self._take()
        out = list(rd.immediate_messages)
        self._write(rd)
        out += self._sync_one()
        self._apply(rd.committed_entries)
        light = self.node.advance_append(rd)
        if light.commit_index is not None:
            for storage in (self.storage, self.disk):
                storage.wl().mut_hard_state().commit = light.commit_index
        out += light.messages
        self._apply(light.committed_entries)
        if self.applies:
            self.node.advance_apply()
        return out

    def _async(self) -> list[Message]:
        rd = self._take()
        self._write(rd)
        self.node.advance_append_async(rd)
        self._apply(rd.committed_entries)
        if rd.committed_entries and self.applies:
            self.node.advance_apply()
        return list(rd.immediate_messages)

    def _write(self, rd: Ready) -> None:
        write = Write(rd.number, hard_state=rd.hs, entries=list(rd.entries))
        if not is_empty_snap(rd.snapshot):
            write.snapshot = rd.snapshot
        write.messages = rd.persisted_messages
        assert rd.must_sync or not (rd.entries or write.snapshot), "a write that is not synced"
        _carry_out(self.storage, write)
        self.pending.append(write)

    def _sync_one(self) -> list[Message]:
        write = self.pending.popleft()
        _carry_out(self.disk, write)
        self.disk_applied = max(self.disk_applied, write.applied)
        if write.snapshot is not None:
            self.disk_applied = max(self.disk_applied, write.snapshot.metadata.index)
        return write.messages

    def sync(self, count: int = 1) -> list[Message]:
        """Bring the oldest writes to the disk (asynchronous loop); return what waited for them."""
        out: list[Message] = []
        number = 0
        for _ in range(min(count, len(self.pending))):
            number = max(number, self.pending[0].number)
            out += self._sync_one()
        if number:
            self.node.on_persist_ready(number)
        return out

    def _apply(self, entries: Iterable[Entry]) -> None:
        self.unapplied += entries
        if not self.applies:
            return
        entries, self.unapplied = self.unapplied, []
        conf_state, last = None, 0
        for entry in entries:
            assert entry.index not in self.applied, f"{entry.index} is applied twice"
            self.applied[entry.index] = entry
            last = entry.index
            if entry.entry_type:
                conf_state = self.node.apply_conf_entry(entry)
        if not last:
            return
        write = Write(0, conf_state=conf_state, applied=last)
        _carry_out(self.storage, write)
        if self.loop is Loop.ASYNC and self.pending:
            self.pending.append(write)
        else:
            _carry_out(self.disk, write)
            self.disk_applied = last

    def apply_now(self) -> list[Message]:
        """Apply what waited while `applies` was False, and go on applying."""
        self.applies = True
        waiting = bool(self.unapplied)
        self._apply(())
        if waiting:
            self.node.advance_apply()
        return self.pump()

    def restart(self, **changes: Any) -> None:
        """Crash, losing what was not synced, and start again; `changes` are to the config."""
        self.pending.clear()
        self.unapplied.clear()
        self.storage = clone(self.disk)
        self.storage.wl().set_applied(max(self.disk_applied, self.storage.first_index() - 1))
        for index in [index for index in self.applied if index > self.disk_applied]:
            del self.applied[index]
        self.config.applied = self.disk_applied
        for name, value in changes.items():
            setattr(self.config, name, value)
        self.node = self._start()

    def compact(self, index: int) -> None:
        """Drop the log before `index`."""
        self.storage.wl().compact(index)
        self.disk.wl().compact(index)


def _carry_out(storage: MemStorage, write: Write) -> None:
    with storage.wl() as writer:
        if write.snapshot is not None:
            writer.apply_snapshot(write.snapshot)
            writer.set_applied(write.snapshot.metadata.index)
        writer.append(write.entries)
        if write.hard_state is not None:
            writer.set_hardstate(write.hard_state)
        if write.conf_state is not None:
            writer.set_conf_state(write.conf_state)
        if write.applied:
            writer.set_applied(write.applied)


_ANSWERS: dict[MessageType, MessageType] = {
    MsgRequestVote: MsgRequestVoteResponse,
    MsgRequestPreVote: MsgRequestPreVoteResponse,
}


class Network:
    """Members and the messages between them.

    Attributes:
        members: By id.
        queue: What is under way, oldest first.
        log: What was delivered, if `keep_log`.
        refused: What a member refused, and why.
        leaders: Who led each term, for the check that there is one at most.
    """

    def __init__(
        self,
        *voters: int,
        learners: Iterable[int] = (),
        loop: Loop = Loop.SIMPLE,
        seed: int = 0,
        **config: Any,
    ) -> None:
        self.loop = loop
        self.seed = seed
        self.settings: dict[str, Any] = {
            "election_tick": 10,
            "heartbeat_tick": 1,
            "max_size_per_msg": NO_LIMIT,
            **config,
        }
        self.members: dict[int, Member] = {}
        self.queue: deque[Message] = deque()
        self.filters: list[Filter] = []
        self.cuts: set[tuple[int, int]] = set()
        self.down: set[int] = set()
        self.keep_log = False
        self.log: list[Message] = []
        self.refused: list[tuple[Message, Error]] = []
        self.leaders: dict[int, int] = {}
        self.truth: dict[int, Entry] = {}
        for node_id in sorted({*voters, *learners}):
            self.add(node_id, (voters, learners)).raft.quiet_until = 0

    def __getitem__(self, node_id: int) -> Member:
        return self.members[node_id]

    def add(
        self,
        node_id: int,
        members: ConfState | tuple[Iterable[int], Iterable[int]] | None = None,
        storage: MemStorage | None = None,
        **config: Any,
    ) -> Member:
        """Start a node; without `members` or `storage` it is empty and waits to be let in."""
        if storage is None:
            storage = MemStorage() if members is None else MemStorage.new_with_conf_state(members)
        applied = storage.first_index() - 1
        settings = {**self.settings, "applied": applied, **config}
        member = Member(Config(id=node_id, **settings), storage, loop=self.loop, seed=self.seed)
        self.members[node_id] = member
        return member

    # What gets lost.

    def cut(self, *pairs: tuple[int, int], both: bool = True) -> None:
        """Lose all messages between the two of each pair, or from the first to the second."""
        for one, other in pairs:
            self.cuts.add((one, other))
            if both:
                self.cuts.add((other, one))

    def isolate(self, *ids: int) -> None:
        """Lose all messages to and from each of these."""
        for node_id in ids:
            self.cut(*((node_id, other) for other in self.members if other != node_id))

    def partition(self, *groups: Iterable[int]) -> None:
        """Let messages pass only within each group."""
        sets = [set(group) for group in groups]
        for one in self.members:
            for other in self.members:
                if one != other and not any(one in s and other in s for s in sets):
                    self.cuts.add((one, other))

    def ignore(self, *msg_types: MessageType) -> None:
        """Lose all messages of these types."""
        self.filters.append(lambda m: m.msg_type not in msg_types)

    def keep_if(self, one: Filter) -> None:
        """Lose all messages for which this says False."""
        self.filters.append(one)

    def lose(self, probability: float) -> None:
        """Lose this part of all messages, the same ones in every run of the same seed."""
        rng = random.Random(self.seed)
        self.filters.append(lambda m: rng.random() >= probability)

    def heal(self) -> None:
        """Lose nothing any more."""
        self.cuts.clear()
        self.filters.clear()

    def stop(self, *ids: int) -> None:
        """Let these nodes do nothing until `start`; what is sent to them is lost."""
        self.down |= set(ids)

    def start(self, *ids: int) -> None:
        """Restart stopped nodes from their disks."""
        for node_id in ids:
            self.down.discard(node_id)
            self[node_id].restart()

    def arrives(self, m: Message) -> bool:
        """Whether the network carries `m` now."""
        return (
            m.to in self.members
            and m.to not in self.down
            and m.from_ not in self.down
            and (m.from_, m.to) not in self.cuts
            and all(one(m) for one in self.filters)
        )

    # Moving on.

    def send(self, messages: Iterable[Message]) -> None:
        """Put messages under way, as bytes would be; lost ones are lost here."""
        for m in messages:
            if self.arrives(m):
                self.queue.append(Message.FromString(m.SerializeToString()))

    def collect(self) -> None:
        """Carry out what is ready at every member, and put their messages under way."""
        for node_id in sorted(self.members):
            if node_id not in self.down:
                self.send(self[node_id].pump())
                self._check(node_id)

    def deliver_one(self) -> Message | None:
        """Deliver the oldest message; None if there is none."""
        while self.queue:
            m = self.queue.popleft()
            if m.to in self.down:
                continue
            if self.keep_log:
                self.log.append(m)
            try:
                self[m.to].node.step(m)
            except Error as error:
                self.refused.append((m, error))
            self.send(self[m.to].pump())
            self._check(m.to)
            return m
        return None

    def run(self, most: int = 100_000) -> None:
        """Deliver until nothing is under way."""
        self.collect()
        for _ in range(most):
            if self.deliver_one() is None:
                return
        raise AssertionError("the network does not come to rest")

    def tick(self, *ids: int, times: int = 1) -> None:
        """Let ticks pass at some (default: all) members, and deliver after each."""
        for _ in range(times):
            for node_id in ids or sorted(self.members):
                if node_id not in self.down:
                    self[node_id].node.tick()
            self.run()

    def tick_until(self, done: Callable[[], bool], *, most: int = 300) -> None:
        """Let ticks pass at all members until something is so."""
        for _ in range(most):
            if done():
                return
            self.tick()
        raise AssertionError(f"still not so after {most} ticks")

    def campaign(self, node_id: int) -> None:
        """Let a node start an election, and run."""
        self[node_id].node.campaign()
        self.run()

    def elect(self, node_id: int) -> Member:
        """Have a node win an election that nothing disturbs."""
        self.campaign(node_id)
        assert self[node_id].state is StateRole.Leader, f"{node_id} did not win"
        return self[node_id]

    def propose(self, node_id: int, data: bytes = b"data", context: bytes = b"") -> None:
        """Propose at a node, and run."""
        self[node_id].node.propose(context, data)
        self.run()

    def leader(self) -> Member | None:
        """Whoever leads the latest term, if someone up does."""
        leading = [
            m for i, m in self.members.items() if m.state is StateRole.Leader and i not in self.down
        ]
        return max(leading, key=lambda m: m.term, default=None)

    # What must hold whatever happens.

    def _check(self, node_id: int) -> None:
        member = self[node_id]
        if member.state is StateRole.Leader:
            first = self.leaders.setdefault(member.term, node_id)
            assert first == node_id, f"{first} and {node_id} both led term {member.term}"
        for rd in member.readies[-8:]:
            for entry in rd.committed_entries:
                known = self.truth.setdefault(entry.index, entry)
                assert (known.term, known.data) == (entry.term, entry.data), (
                    f"two entries were committed at {entry.index}"
                )
