"""Committed entries into the state machine: strictly in order, each exactly once.

What applying changes goes into one batch: the machine's records, the table of client keys, the
configuration, addresses, settings and the applied position. A crash therefore leaves all of it or
none, and entries applied again after a restart meet the state from before them.

That batch need not be the one that brought the entries: they are in the log for good, so what they
change may wait in memory, where reads find it, until some hundred entries share one write. A commit
of a single entry then writes nothing at all.

**The rolling digest.** Members that applied the same entries to the same effect have the same
``AppliedState.digest``: for each entry, BLAKE2b with 16 bytes over the digest before it, its index,
term, kind, outcome, context, data and result. The result is included so that a state machine that
answers differently on one member shows, not only a log that differs. It costs about a microsecond
an entry; a CRC chain would cost a third of that but lets one pair in 2^32 of different histories
pass, and is not stored more cheaply.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final

from google.protobuf.message import DecodeError

from raft.eraftpb import (
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
)
from raft.invariant import InvariantViolation
from raftd import keys
from raftd.failpoints import hit
from raftd.kvstore import Batch, ColumnFamily, KeyValueStore
from raftd.sessions import SessionCounters, SessionRecord, Sessions
from raftd.settings import Settings
from raftd.state_machine import CommandRefused, MachineError, Reader, StateMachine
from raftd.storage import AppliedState, LogStore
from raftwire.proto.peer_pb2 import ControlCommand, MemberInfo

_STATE = ColumnFamily.STATE
ORIGIN: Final = Struct(">BQQQ")
"""Start of an entry's context: kind, node, incarnation, sequence. The client's key follows."""

SAVE_ENTRIES: Final = 512
SAVE_BYTES: Final = 512 * 1024
"""Applied entries, and bytes of them, that wait to be saved at most; so many are applied anew at a
restart, and writing them holds the node up for about a millisecond."""

AHEAD_BYTES: Final = 64 * 1024
"""Values from this length on go ahead of what refers to them, past the journal, if the node does
that: see ``Applier.go_ahead``."""

AHEAD_FLUSH_BYTES: Final = 16 * 1024 * 1024
"""So many bytes of them are made durable at once, in a thread."""

AHEAD_BYTES_MAX: Final = 32 * 1024 * 1024
"""With more of them unsaved the disk does not keep up: what is not durable goes to the journal."""

ORIGIN_BYTES: Final = ORIGIN.size
KIND_PROPOSAL: Final = 0x01
KIND_CONTROL: Final = 0x02

_LINK: Final = Struct(">16sQQBBII")
_pack_link = _LINK.pack
_unpack_origin = ORIGIN.unpack_from


class EntryKind(enum.IntEnum):
    """What an applied entry was."""

    NOOP = 0
    PROPOSAL = 1
    CONTROL = 2
    CONF = 3


class Outcome(enum.IntEnum):
    """What applying came to. Both are final and the same on every member."""

    APPLIED = 1
    REFUSED = 2


# Looking a member up on its Enum class costs a tenth of a microsecond; applying does so per entry.
_NOOP: Final = EntryKind.NOOP
_PROPOSAL: Final = EntryKind.PROPOSAL
_CONTROL: Final = EntryKind.CONTROL
_CONF: Final = EntryKind.CONF
_APPLIED: Final = Outcome.APPLIED


class ApplyError(Exception):
    """An entry that this raftd cannot apply; it must stop, or it would diverge from the others."""


@dataclass(slots=True)
class Applied:
    """One applied entry.

    Attributes:
        index, term: Of the entry; for a deduplicated proposal those of the first one with its key.
        kind: What it was.
        node, incarnation, sequence: Who proposed it, from its context; 0 for the leader's own.
        outcome: Whether the machine took it.
        result: The machine's answer, or its refusal as UTF-8; None if it was first applied long ago
            and the result was too long to remember.
        deduplicated: An earlier proposal had the same key: nothing was changed now.
        entry_index: Of this entry, also when ``index`` names an earlier one.
    """

    index: int
    term: int
    kind: EntryKind
    node: int
    incarnation: int
    sequence: int
    outcome: Outcome
    result: bytes | None
    deduplicated: bool
    entry_index: int


class StateReader:
    """The machine's records as written: for queries, and for loading a machine."""

    __slots__ = ("_kv", "_prefix", "_skip", "_top")

    def __init__(self, kv: KeyValueStore, epoch: int) -> None:
        self._kv = kv
        self._prefix = keys.epoch_prefix(epoch)
        self._top = bytes((self._prefix[0] + 1,))
        self._skip = len(self._prefix)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        return self._kv.get(_STATE, self._prefix + key)

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, limit: int = 0
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with keys in ``[start, end)``."""
        skip = self._skip
        top = self._top if end is None else self._prefix + end
        for key, value in self._kv.scan(_STATE, self._prefix + start, top, limit=limit):
            yield key[skip:], value


class Context:
    """``state_machine.ApplyContext``: the records, with the writes of this batch on top."""

    __slots__ = (
        "_flushing",
        "_kv",
        "_new",
        "_overlay",
        "_prefix",
        "_ranges",
        "_reader",
        "_safe",
        "_waiting",
        "ahead",
        "ahead_bytes",
        "index",
        "log_time_ms",
        "settings",
        "term",
        "waiting_bytes",
        "writes",
    )

    def __init__(
        self, kv: KeyValueStore, epoch: int, settings: Settings, *, ahead: int = 0
    ) -> None:
        self.index = 0
        self.term = 0
        self.log_time_ms = 0
        self.settings = settings
        #: Writes so far: tells whether a command that is refused has written.
        self.writes = 0
        self._kv = kv
        self._prefix = keys.epoch_prefix(epoch)
        self._reader = StateReader(kv, epoch)
        self._overlay: dict[bytes, bytes | None] = {}
        self._ranges: list[tuple[bytes, bytes]] = []
        #: Values from this length on go ahead; 0: none do.
        self.ahead = ahead
        # Values put once since the last save, by key: not written yet; written ahead, waiting for a
        # flush; in the one that runs; durable.
        self._new: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, bytes] = {}
        self._flushing: dict[bytes, bytes] = {}
        self._safe: dict[bytes, bytes] = {}
        #: Bytes written ahead since the last save, and of these since a flush began.
        self.ahead_bytes = self.waiting_bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        overlay = self._overlay
        if key in overlay:
            return overlay[key]
        if self._ranges and self._dropped(key):
            return None
        return self._kv.get(_STATE, self._prefix + key)

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, limit: int = 0
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with keys in ``[start, end)``, as they are when the scan begins."""
        if not self._overlay and not self._ranges:
            yield from self._reader.scan(start, end, limit=limit)
            return
        changed = sorted(
            key for key in self._overlay if start <= key and (end is None or key < end)
        )
        written = {key: self._overlay[key] for key in changed}
        count = 0
        position = 0
        for key, value in self._reader.scan(start, end):
            while position < len(changed) and changed[position] < key:
                fresh = written[changed[position]]
                if fresh is not None:
                    yield changed[position], fresh
                    count += 1
                    if count == limit:
                        return
                position += 1
            if key in written or self._dropped(key):
                continue
            yield key, value
            count += 1
            if count == limit:
                return
        for key in changed[position:]:
            fresh = written[key]
            if fresh is not None:
                yield key, fresh
                count += 1
                if count == limit:
                    return

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        self._overlay[key] = value
        self.writes += 1

    def put_once(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to the one value it ever has."""
        self._overlay[key] = value
        self.writes += 1
        if 0 < self.ahead <= len(value):
            self._new[key] = value

    def write_ahead(self) -> int:
        """Write values that were put once since the last call, past the journal; return bytes."""
        new, self._new = self._new, {}
        overlay, prefix = self._overlay, self._prefix
        kept = {key: value for key, value in new.items() if overlay.get(key) is value}
        if not kept:
            return 0
        batch = self._kv.new_batch()
        batch.put_all(_STATE, [(prefix + key, value) for key, value in kept.items()])
        self._kv.write_ahead(batch)
        self._waiting.update(kept)
        size = sum(map(len, kept.values()))
        self.ahead_bytes += size
        self.waiting_bytes += size
        return size

    def flush_begins(self) -> None:
        """A flush begins now, the only one: it covers what was written ahead so far."""
        self._flushing, self._waiting = self._waiting, {}
        self.waiting_bytes = 0

    def flush_ended(self) -> None:
        """What the flush covered is durable."""
        self._safe.update(self._flushing)
        self._flushing = {}

    @property
    def spares_journal(self) -> bool:
        """Whether ``flush`` leaves out large values that are durable already."""
        return bool(self._safe)

    def delete(self, key: bytes) -> None:
        """Remove ``key``."""
        self._overlay[key] = None
        self.writes += 1

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove every key in ``[start, end)``."""
        if start >= end:
            return
        for key in [key for key in self._overlay if start <= key < end]:
            del self._overlay[key]
        self._ranges.append((start, end))
        self.writes += 1

    def _dropped(self, key: bytes) -> bool:
        return any(start <= key < end for start, end in self._ranges)

    def flush(self, batch: Batch) -> None:
        """Put all changes into ``batch``: ranges first, as later puts into them replaced them."""
        prefix = self._prefix
        for start, end in self._ranges:
            batch.delete_range(_STATE, prefix + start, prefix + end)
        safe = self._safe
        puts: list[tuple[bytes, bytes]] = []
        for key, value in self._overlay.items():
            if value is None:
                batch.delete(_STATE, prefix + key)
            elif not safe or safe.get(key) is not value:
                puts.append((prefix + key, value))
        # Each key is there once, so that deletes before puts come to the same.
        batch.put_all(_STATE, puts)

    def settle(self) -> None:
        """Forget what ``flush`` put, because it has been written."""
        self._overlay.clear()
        self._ranges.clear()
        self._waiting, self._flushing, self._safe = {}, {}, {}

    def saved(self) -> None:
        """All is in a batch: nothing is ahead any more."""
        self.ahead_bytes = self.waiting_bytes = 0


class Applier:
    """Applies committed entries to one node's state.

    The caller writes the batch of each ``apply`` or ``save`` before the next ``stage``.

    Args:
        kv: The node's store.
        log_store: Its log, opened on ``kv``.
        machine: Its state machine; loaded here.
        on_conf_entry: Told each committed entry that changes the configuration; returns the
            configuration from it on (``RawNode.apply_conf_entry``). May raise CommandRefused if the
            core refuses the change at apply; the configuration then stays.
        own_incarnation: Return only proposals and control entries of this incarnation (and all
            entries of kind CONF); None: return all entries.
    """

    # Of this class, so that a simulation may have others: AHEAD_... say what they are.
    ahead_bytes: int = AHEAD_BYTES
    ahead_flush_bytes: int = AHEAD_FLUSH_BYTES
    ahead_bytes_max: int = AHEAD_BYTES_MAX

    def __init__(
        self,
        kv: KeyValueStore,
        log_store: LogStore,
        machine: StateMachine,
        on_conf_entry: Callable[[Entry], ConfState],
        own_incarnation: int | None = None,
    ) -> None:
        self._ahead = self._flush_runs = False
        self._kv = kv
        self._log_store = log_store
        self._on_conf_entry = on_conf_entry
        self.machine = machine
        self.own_incarnation = own_incarnation
        self.sessions = Sessions(kv)
        #: Addresses of the members as replicated; replaced, never changed in place.
        self.addresses: Mapping[int, str] = {}
        #: (nonce, index, digest) of the last VerifyAt entry; None before the first.
        self.verified: tuple[bytes, int, bytes] | None = None
        self._digest = bytes(16)
        self._saved_in: Batch | None = None
        self._unsaved_bytes = 0
        self._due = False
        self.reload()

    def reload(self) -> None:
        """Load everything from the store: at start, and after a snapshot was installed."""
        store = self._log_store
        applied = store.applied
        epoch = store.load_epoch()
        self.epoch = epoch
        self.index, self.term = applied.index, applied.term
        self._digest = applied.digest
        self.addresses = store.load_addresses()
        self._context = Context(
            self._kv, epoch, store.load_settings(), ahead=self.ahead_bytes if self._ahead else 0
        )
        self._context.log_time_ms = applied.log_time_ms
        self._saved_in = None
        self._unsaved_bytes = 0
        self._due = False
        self.sessions.open(
            epoch,
            SessionCounters(applied.sessions_next, applied.sessions_oldest, applied.sessions_floor),
        )
        self.machine.open(self._context)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def reader(self) -> Reader:
        """The machine's records as of the applied index, saved or not."""
        return self._context

    @property
    def digest(self) -> bytes:
        """The rolling digest as of ``index``."""
        return self._digest

    @property
    def log_time_ms(self) -> int:
        """The group's clock."""
        return self._context.log_time_ms

    @property
    def settings(self) -> Settings:
        """The group's settings."""
        return self._context.settings

    def query(self, request: bytes) -> bytes:
        """Answer a read from the state as of ``index``; CommandRefused if it is not understood."""
        return self.machine.query(self._context, request)

    def outcome(self, key: str | bytes) -> SessionRecord | None:
        """Return what became of the first proposal with this client key, if it is remembered."""
        raw = key.encode() if isinstance(key, str) else key
        return self.sessions.lookup(raw, self.log_time_ms, self.settings)

    @property
    def unsaved(self) -> bool:
        """Whether something was applied and not put into a batch yet."""
        return self.index != self._log_store.applied.index

    @property
    def unsaved_bytes(self) -> int:
        """Bytes of the entries that were applied and not saved: what ``save`` writes at most."""
        return self._unsaved_bytes + self._context.ahead_bytes

    @property
    def due(self) -> bool:
        """Whether ``save`` must be called for the batch that was staged last.

        That is so when members, addresses or settings are in it, and when enough has come together.
        """
        return (
            self._due
            or self._unsaved_bytes > SAVE_BYTES
            or self._context.ahead_bytes > self.ahead_bytes_max
            or self.index - self._log_store.applied.index > SAVE_ENTRIES
        )

    # -- applying --------------------------------------------------------------------------------

    def apply(self, batch: Batch, entries: Sequence[Entry]) -> list[Applied]:
        """Apply ``entries`` and put all that changes into ``batch``: ``stage`` and ``save``."""
        results = self.stage(batch, entries)
        if self.unsaved:
            self.save(batch)
        return results

    def stage(self, batch: Batch, entries: Sequence[Entry]) -> list[Applied]:
        """Apply ``entries``: reads see them, ``save`` puts what they changed into a batch.

        What is not saved is lost with the process; it is applied anew from the log, so the log must
        not be compacted beyond what is saved. If ``due`` is true afterwards, save to this batch.

        Entries at or below ``index`` are passed over: they were applied before a restart.

        Raises:
            InvariantViolation: An entry is missing between ``index`` and the first of them.
            ApplyError: An entry is of a kind this version does not know, or is malformed.
            MachineError: The state machine failed in a way it may not.
        """
        context, sessions, machine = self._context, self.sessions, self.machine
        if self._saved_in is not None and self._saved_in is not batch:
            context.settle()
            sessions.settle()
            self._saved_in = None
        results: list[Applied] = []
        own = self.own_incarnation
        digest = self._digest
        expected = self.index + 1
        term = self.term
        unsaved_bytes = self._unsaved_bytes
        machine_apply = machine.apply
        for entry in entries:
            index = entry.index
            if index != expected:
                if index < expected:
                    continue
                raise InvariantViolation(
                    "an entry to apply is missing", {"expected": expected, "index": index}
                )
            expected += 1
            term = entry.term
            data = entry.data
            origin = entry.context
            context.index = index
            context.term = term
            outcome = _APPLIED
            node = incarnation = sequence = 0
            deduplicated = False
            at_index, at_term = index, term
            result: bytes | None
            if entry.entry_type:
                kind = _CONF
                outcome, result, origin = self._apply_conf(batch, entry)
                if len(origin) >= ORIGIN_BYTES:
                    _, node, incarnation, sequence = _unpack_origin(origin)
            elif not origin:
                kind = _NOOP
                result = b""
            else:
                if len(origin) < ORIGIN_BYTES:
                    raise _unknown_entry(index, f"its context has {len(origin)} bytes")
                tag, node, incarnation, sequence = _unpack_origin(origin)
                if tag == KIND_PROPOSAL:
                    kind = _PROPOSAL
                    if len(origin) == ORIGIN_BYTES:
                        writes = context.writes
                        try:
                            result = machine_apply(context, data)
                        except CommandRefused as refusal:
                            outcome, result = self._refused(refusal, writes)
                        except Exception as error:
                            raise _machine_failed(index, error) from error
                    else:
                        record, deduplicated = self._apply_keyed(origin[ORIGIN_BYTES:], data)
                        at_index, at_term, result = record.index, record.term, record.result
                        outcome = Outcome(record.outcome)
                elif tag == KIND_CONTROL:
                    kind = _CONTROL
                    outcome, result = self._apply_control(batch, index, data, digest)
                else:
                    raise _unknown_entry(index, f"its kind is {tag}")
            answer = result or b""
            size = len(data)
            unsaved_bytes += size
            link = _pack_link(digest, index, term, kind, outcome, len(origin), size)
            digest = blake2b(b"".join((link, origin, data, answer)), digest_size=16).digest()
            if own is None or incarnation == own or kind is _CONF:
                results.append(
                    Applied(
                        at_index,
                        at_term,
                        kind,
                        node,
                        incarnation,
                        sequence,
                        outcome,
                        result,
                        deduplicated,
                        index,
                    )
                )
        if expected - 1 == self.index:
            return results
        machine.finish(context)
        self.index, self.term, self._digest = expected - 1, term, digest
        if self._ahead:
            unsaved_bytes -= context.write_ahead()
        self._unsaved_bytes = unsaved_bytes
        return results

    def go_ahead(self) -> None:
        """Write large values ahead from now on; whoever asks for it calls ``begin_flush``.

        A large value is in the log already, in an entry that stays until what it changed is saved.
        So it needs no journal a second time: it goes straight to a memtable, and once that was
        flushed, which a thread does, what refers to it is saved without it. What is not durable by
        then goes to the journal with the rest. A crash leaves either: no value that a saved record
        refers to is missing, and the entries of all others are applied anew.
        """
        self._ahead = True
        self._context.ahead = self.ahead_bytes

    def begin_flush(self) -> bool:
        """Whether STATE is to be flushed now, in a thread; ``flush_ended`` must follow."""
        if self._flush_runs or self._context.waiting_bytes < self.ahead_flush_bytes:
            return False
        self._flush_runs = True
        self._context.flush_begins()
        return True

    def flush_ended(self) -> None:
        """The flush of STATE that ``begin_flush`` asked for has succeeded: save with the next."""
        self._flush_runs = False
        self._context.flush_ended()
        if self._context.spares_journal:
            self._due = True

    @property
    def spares_journal(self) -> bool:
        """Whether ``save`` leaves out large values that are durable already."""
        return self._context.spares_journal

    def save(self, batch: Batch) -> None:
        """Put all that was staged since the last time, and the applied position, into ``batch``.

        The caller writes the batch before it stages more.
        """
        sessions = self.sessions
        self._context.flush(batch)
        sessions.flush(batch)
        counters = sessions.counters
        self._log_store.set_applied(
            batch,
            AppliedState(
                self.index,
                self.term,
                self._digest,
                self._context.log_time_ms,
                counters.next,
                counters.oldest,
                counters.floor,
            ),
        )
        self._saved_in = batch
        self._unsaved_bytes = 0
        self._context.saved()
        self._due = False

    def _apply_keyed(self, key: bytes, command: bytes) -> tuple[SessionRecord, bool]:
        context, sessions = self._context, self.sessions
        known = sessions.lookup(key, context.log_time_ms, context.settings)
        if known is not None:
            return known, True
        outcome = Outcome.APPLIED
        writes = context.writes
        try:
            result = self.machine.apply(context, command)
        except CommandRefused as refusal:
            outcome, result = self._refused(refusal, writes)
        except Exception as error:
            raise _machine_failed(context.index, error) from error
        record = SessionRecord(context.index, context.term, context.log_time_ms, outcome, result)
        sessions.record(key, record, context.settings)
        return record, False

    def _refused(self, refusal: CommandRefused, writes: int) -> tuple[Outcome, bytes]:
        if self._context.writes != writes:
            raise MachineError(
                f"the state machine {self.machine.name!r} refused entry {self._context.index} after"
                " it had written for it; half a command would stay; the machine must refuse before"
                " its first write"
            ) from refusal
        return Outcome.REFUSED, str(refusal).encode()

    def _apply_conf(self, batch: Batch, entry: Entry) -> tuple[Outcome, bytes, bytes]:
        context = _conf_context(entry)
        self._due = True
        try:
            conf_state = self._on_conf_entry(entry)
        except CommandRefused as refusal:
            return Outcome.REFUSED, str(refusal).encode(), context
        addresses = dict(self.addresses)
        if len(context) > ORIGIN_BYTES:
            try:
                info = MemberInfo.FromString(context[ORIGIN_BYTES:])
            except DecodeError:
                raise _unknown_entry(entry.index, "its addresses cannot be read") from None
            addresses.update(info.addrs)
        members = {
            *conf_state.voters,
            *conf_state.learners,
            *conf_state.voters_outgoing,
            *conf_state.learners_next,
            *conf_state.learners_outgoing,
        }
        self._set_addresses(
            batch, {node: address for node, address in addresses.items() if node in members}
        )
        self._log_store.set_conf_state(batch, conf_state)
        return Outcome.APPLIED, b"", context

    def _set_addresses(self, batch: Batch, addresses: dict[int, str]) -> None:
        if addresses != self.addresses:
            self.addresses = addresses
            self._log_store.set_addresses(batch, addresses)

    def _apply_control(
        self, batch: Batch, index: int, data: bytes, digest: bytes
    ) -> tuple[Outcome, bytes]:
        context = self._context
        try:
            command = ControlCommand.FromString(data)
        except DecodeError:
            raise _unknown_entry(index, "its control command cannot be read") from None
        self._due = True
        which = command.WhichOneof("command")
        if which == "set_addr":
            node = command.set_addr.id
            if node not in self.addresses and not self._is_member(node):
                return Outcome.REFUSED, f"node {node} is not a member of the group".encode()
            self._set_addresses(batch, {**self.addresses, node: command.set_addr.addr})
            hit("address.applied")
        elif which == "set_clock":
            context.log_time_ms = max(context.log_time_ms, command.set_clock.unix_ms)
            self.machine.advance(context)
        elif which == "expire_sessions":
            self.sessions.expire_up_to(command.expire_sessions.up_to_index)
        elif which == "set_settings":
            wanted = command.set_settings
            changes = {name.name: value for name, value in wanted.ListFields()}
            try:
                context.settings = Settings(
                    **{name: changes.get(name, getattr(context.settings, name)) for name in _NAMES}
                )
            except ValueError as error:
                return Outcome.REFUSED, str(error).encode()
            self._log_store.set_settings(batch, context.settings)
            self.machine.advance(context)
        elif which == "verify_at":
            self.verified = (command.verify_at.nonce, index, digest)
        elif which == "noop":
            return Outcome.APPLIED, b""
        else:
            raise _unknown_entry(index, "its control command is not known here")
        self.sessions.sweep(context.log_time_ms, context.settings)
        return Outcome.APPLIED, b""

    def _is_member(self, node: int) -> bool:
        conf_state = self._log_store.conf_state
        return (
            node in conf_state.voters
            or node in conf_state.learners
            or node in conf_state.voters_outgoing
        )


_NAMES: Final = tuple(Settings.__dataclass_fields__)


def _conf_context(entry: Entry) -> bytes:
    """Return the context inside a conf change: origin and addresses of its proposer."""
    try:
        if entry.entry_type == EntryConfChange:
            return ConfChange.FromString(entry.data).context
        if entry.entry_type == EntryConfChangeV2:
            return ConfChangeV2.FromString(entry.data).context
    except DecodeError:
        raise _unknown_entry(entry.index, "its change of membership cannot be read") from None
    raise _unknown_entry(entry.index, f"its type is {entry.entry_type}")


def _unknown_entry(index: int, what: str) -> ApplyError:
    return ApplyError(
        f"committed entry {index} cannot be applied: {what}; a newer raftd may have proposed it,"
        " and passing over it would make this node differ from the others; run the version that"
        " the other members run"
    )


def _machine_failed(index: int, error: Exception) -> MachineError:
    if isinstance(error, MachineError):
        return error
    return MachineError(
        f"the state machine failed at entry {index} ({type(error).__name__}: {error}); half of it"
        " may have been done, so nothing of the batch is kept and the node stops; a fault of the"
        " machine stops every member at this entry: correct it, then start them again"
    )
