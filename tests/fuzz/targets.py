"""What reads bytes of strangers, of peers, of clients and of the disk, and what it may answer.

A target takes bytes and raises if something happens that no documentation promises. Bytes that are
refused with a documented error are fine; bytes that are taken must mean the same when they are
written again. Where damaged bytes hardly ever parse, the bytes are the seed of damage to a message
instead.
"""

from __future__ import annotations

import hashlib
import io
import random
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as AnyMessage

from raft import CodecError, Error, InvariantViolation, MessageRefused, parse_conf_change
from raft.eraftpb import (
    AddNode,
    BeginMembershipChange,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    Message,
    MsgPropose,
    MsgSnapshot,
)
from raftd import sessions, storage
from raftd.config import ConfigError, load
from raftd.identity import Identity, IdentityError
from raftd.keys import seal, unseal
from raftd.kvstore import ColumnFamily, CorruptionError
from raftd.records import AppliedState, decode_addresses, encode_addresses
from raftd.settings import Settings
from raftd.snapshot import SnapshotManifest, SnapshotStore, header_of
from raftd.snapshot_format import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotHeader,
    StreamReader,
    StreamWriter,
)
from raftd.validate import Validator, valid_forward
from raftwire import admin, kv
from raftwire.admin import parse_request
from raftwire.envelope import CONTROL, PROPOSAL, Origin, pack_origin
from raftwire.errors import FrameError, HelloRefused, MessageError
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import ENTRIES_PER_FRAME_MAX, HELLO_BYTES_MAX, HELLO_REPLY_BYTES_MAX
from raftwire.peer import (
    ControlCommand,
    Expectations,
    Hello,
    PeerFrame,
    check_hello,
    check_hello_reply,
    make_hello,
    pack_conf_context,
    parse_frame,
    parse_hello,
    parse_hello_reply,
    unpack_conf_context,
)
from tests.fuzz.mutate import change_message, damaged
from tests.harness.network import Loop, Network
from tests.unit.raftd import builders

CORPUS: Final = Path(__file__).parent / "corpus"
CLUSTER: Final = b"0123456789abcdef"


class Finding(AssertionError):
    """A target did what it may not do."""


class Target(ABC):
    """Something that reads bytes."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Return good bytes to start from."""

    @abstractmethod
    def run(self, data: bytes) -> None:
        """Feed it.

        Raises:
            Exception: It did what it may not do.
        """

    def kept(self) -> list[bytes]:
        """Return the bytes of the corpus."""
        folder = CORPUS / self.name
        return [path.read_bytes() for path in sorted(folder.glob("*"))] if folder.is_dir() else []

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Let go of what it holds."""

    def tried(self, call: Callable[[], Any], *refusals: type[Exception]) -> Any:
        """Return what ``call`` returns; None if it refuses as it may."""
        try:
            found = call()
        except refusals:
            self.refused += 1
            return None
        self.taken += 1
        return found


# --- the wire -----------------------------------------------------------------------------------


class Frames(Target):
    """Frames, split in any way: the same frames as in one piece, or the same refusal."""

    name = "frame"
    LIMIT = 4096

    def seeds(self) -> list[bytes]:
        return [
            b"\x01" + encode_frame(b"abc") + encode_frame(b"x" * 300),
            b"\x05" + encode_frame(b"\x00"),
            b"\x02\x00\x00\x00\x00",
            b"\x07\xff\xff\xff\xff",
        ]

    def run(self, data: bytes) -> None:
        rng = random.Random(data[:1])
        stream = data[1:]
        expected, good = self._cut(stream)
        decoder = FrameDecoder(self.LIMIT)
        found: list[bytes] = []
        at = 0
        try:
            while at < len(stream):
                step = rng.choice((1, 2, 3, 7, 4096))
                found += decoder.feed(stream[at : at + step])
                at += step
                if decoder.pending_bytes > self.LIMIT + 4:
                    raise Finding(f"{decoder.pending_bytes} bytes are held back")
        except FrameError:
            self.refused += 1
            if good:
                raise Finding("good frames were refused") from None
            if found != expected[: len(found)]:
                raise Finding("other frames came out") from None
            return
        self.taken += 1
        if not good or found != expected:
            raise Finding("bad frames were taken, or others came out")

    def _cut(self, stream: bytes) -> tuple[list[bytes], bool]:
        frames: list[bytes] = []
        while len(stream) >= 4:
            size = int.from_bytes(stream[:4], "big")
            if not 0 < size <= self.LIMIT:
                return frames, False
            if len(stream) < 4 + size:
                break
            frames.append(stream[4 : 4 + size])
            stream = stream[4 + size :]
        return frames, True


def expectations(**more: Any) -> Expectations:
    """Return what node 1 of three expects."""
    return Expectations(
        1, CLUSTER, 7, "kv", "1", "h1:1", {1, 2, 3}, (9,), {1: "h1:1", 2: "h2:2"}, **more
    )


class Hellos(Target):
    """Hellos and their answers: refused by name, or from a member of this group."""

    name = "hello"

    def seeds(self) -> list[bytes]:
        theirs = Expectations(2, CLUSTER, 8, "kv", "1", "h2:2")
        found = [
            make_hello(theirs, 1, kind).SerializeToString()
            for kind in (Hello.RAFT, Hello.SNAPSHOT, Hello.JOIN)
        ]
        reply = check_hello(Hello.FromString(found[0]), expectations())
        return [*found, reply.SerializeToString()]

    def run(self, data: bytes) -> None:
        mine = expectations()
        hello = self.tried(lambda: parse_hello(data), MessageError)
        if hello is not None:
            reply = check_hello(hello, mine)
            if len(reply.SerializeToString()) > HELLO_REPLY_BYTES_MAX:
                raise Finding("the answer is longer than an answer may be")
            if len(data) > HELLO_BYTES_MAX:
                raise Finding("a hello above the limit was taken")
            member = hello.node_id in (2, 3) and hello.cluster_id == CLUSTER
            if reply.ok and hello.kind != Hello.JOIN and not member:
                raise Finding(f"a stranger was let in: {hello}")
            if not reply.ok and not (reply.code and reply.message):
                raise Finding("refused without a reason")
        answer = self.tried(lambda: parse_hello_reply(data), MessageError)
        if answer is not None:
            self.tried(lambda: check_hello_reply(answer, mine, 2), HelloRefused)


class Frame(Target):
    """Frames of a peer: within their budgets, and the same when written again."""

    name = "peer_frame"

    def seeds(self) -> list[bytes]:
        frame = PeerFrame()
        message = frame.messages.add(msg_type=3, to=1, from_=2, term=3, index=4, log_term=2)
        message.entries.add(term=3, index=5, data=b"x")
        frame.messages.add(msg_type=8, to=1, from_=2, term=3)
        other = PeerFrame()
        other.forward.entries.add(context=pack_origin(PROPOSAL, 2, 8, 1), data=b"y")
        other.refused.incarnation = 8
        other.announce.id, other.announce.addr = 4, "h4:4"
        query = PeerFrame()
        query.query.id, query.query.request = 1, admin.status().request.SerializeToString()
        chunk = PeerFrame()
        chunk.chunk.offset, chunk.chunk.data, chunk.chunk.crc32 = 0, b"abc", 0x352441C2
        many = PeerFrame()
        for _ in range(ENTRIES_PER_FRAME_MAX + 1):
            many.forward.entries.add()
        return [part.SerializeToString() for part in (frame, other, query, chunk)] + [
            many.SerializeToString()[:16_000]
        ]

    def run(self, data: bytes) -> None:
        frame = self.tried(lambda: parse_frame(data), MessageError)
        if frame is None:
            return
        count = sum(len(m.entries) for m in frame.messages) + len(frame.forward.entries)
        if count > ENTRIES_PER_FRAME_MAX:
            raise Finding(f"{count} entries in a frame")
        if parse_frame(frame.SerializeToString()) != frame:
            raise Finding("another frame when written again")


class Requests(Target):
    """Admin requests: refused as a whole, or the same when written again."""

    name = "request"

    def seeds(self) -> list[bytes]:
        calls: list[admin.Call[Any]] = [
            admin.status(), admin.propose(kv.put("a", "b"), "key"), admin.query(kv.get("a")),
            admin.log_read(1, 5), admin.member_change("begin", voters=[1, 2, 4], addrs={4: "h:4"}),
            admin.wait_for("leader"), admin.compact(3), admin.transfer_leader(2),
            admin.loglevel("debug", 5), admin.watch(kv.watch("a")), admin.outcome("key"),
            admin.verify(), admin.events(since=1), admin.read_index(), admin.snapshot_create(),
        ]  # fmt: skip
        found: list[bytes] = []
        for number, call in enumerate(calls):
            request = type(call.request)()
            request.CopyFrom(call.request)
            request.id, request.deadline_ms = number + 1, 500
            found.append(request.SerializeToString())
        return found

    def run(self, data: bytes) -> None:
        request = self.tried(lambda: parse_request(data), MessageError)
        if request is not None and parse_request(request.SerializeToString()) != request:
            raise Finding("another request when written again")


# --- the core -----------------------------------------------------------------------------------


class LiveCore(Target):
    """Damaged messages for one of three living nodes: refused without a trace, or survived.

    Bytes of a peer may not raise inside the core, whatever they say. (That a peer which lies
    consistently does harm is another matter: Raft does not promise otherwise.)
    """

    name = "core"

    def seeds(self) -> list[bytes]:
        return [bytes([n]) * 12 for n in range(24)]

    def _group(self, rng: random.Random) -> tuple[Network, list[Message]]:
        network = Network(1, 2, 3, loop=rng.choice(list(Loop)))
        seen: list[Message] = []

        def note(message: Message) -> bool:
            seen.append(message)
            return True

        network.keep_if(note)
        network.elect(rng.choice((1, 2, 3)))
        leader = network.leader()
        assert leader is not None
        for number in range(rng.randrange(6)):
            network.propose(leader.id, b"%d" % number)
        leader.node.read_index(b"context")
        network.run()
        if rng.random() < 0.3:
            network.tick(rng.choice((1, 2, 3)), times=rng.choice((5, 25)))
        if rng.random() < 0.3:
            others = [i for i in (1, 2, 3) if i != leader.id]
            network.isolate(rng.choice(others))
            for number in range(3):
                network.propose(leader.id, b"more %d" % number)
            network.heal()
        if rng.random() < 0.2 and leader.leads:
            leader.node.propose_membership_change(([1, 2, 3, 4], []), auto_finalize=False)
            network.run()
        return network, seen

    def run(self, data: bytes) -> None:
        rng = random.Random(data)
        network, seen = self._group(rng)
        victim = network[rng.choice((1, 2, 3))]
        validator = Validator(victim.id, lambda: victim.last_index, lambda: victim.committed)
        pool = [m for m in seen if m.to == victim.id] or seen
        for _ in range(rng.randint(1, 6)):
            message = Message()
            message.CopyFrom(rng.choice(pool))
            if rng.random() < 0.5:
                message.term = victim.term
            change_message(rng, message, rng.choice((1, 1, 2, 3)))
            if rng.random() < 0.7:
                message.to = victim.id
            peer = rng.choice([i for i in (1, 2, 3) if i != victim.id])
            if rng.random() < 0.7:
                message.from_ = peer
            # What comes to a daemon has been on the wire; these two come by other ways.
            message = Message.FromString(message.SerializeToString())
            if message.msg_type in (MsgPropose, MsgSnapshot):
                continue
            if validator.check(message, peer) is not None:
                self.refused += 1
                continue
            before = self._state(victim)
            try:
                victim.node.step(message)
            except Error as error:
                self.refused += 1
                if isinstance(error, MessageRefused) and self._state(victim) != before:
                    raise Finding(f"refused ({error}), and changed by {message}") from None
                continue
            except InvariantViolation as error:
                raise Finding(f"{message} breaks an invariant: {error}") from error
            self.taken += 1
            for sent in victim.pump():
                sent.SerializeToString()
        for _ in range(3):
            victim.tick()

    @staticmethod
    def _state(victim: Any) -> tuple[object, ...]:
        core = victim.raft
        return (
            core.term, core.vote, core.leader_id, core.state, core.raft_log.committed,
            victim.log(), str(core.prs.to_conf_state()), victim.node.has_ready(),
        )  # fmt: skip


class Changes(Target):
    """Membership changes as they lie in the log: understood alike by all, or refused alike."""

    name = "conf_change"

    def seeds(self) -> list[bytes]:
        begin = ConfChange(change_type=BeginMembershipChange)
        begin.configuration.CopyFrom(ConfState(voters=[1, 2, 4], learners=[3]))
        begin.context = pack_conf_context(Origin(CONTROL, 1, 7, 1, ""), {4: "h4:4"})
        single = ConfChange(change_type=AddNode, node_id=4)
        second = ConfChangeV2()
        second.transition = 1  # type: ignore[assignment]
        second.changes.add(change_type=AddNode, node_id=4)
        second.changes.add(change_type=1, node_id=2)
        return [
            b"\x00" + begin.SerializeToString(),
            b"\x00" + single.SerializeToString(),
            b"\x01" + second.SerializeToString(),
            b"\x01",
        ]

    def run(self, data: bytes) -> None:
        kind = EntryConfChangeV2 if data[:1] == b"\x01" else EntryConfChange
        entry = Entry(entry_type=kind, term=1, index=9, data=data[1:])
        change = self.tried(lambda: parse_conf_change(entry), CodecError)
        if change is None:
            return
        self.tried(lambda: unpack_conf_context(change.context), MessageError)
        outcomes = []
        for node_id in (1, 2):
            node = Network(1, 2, 3)[node_id].node
            try:
                outcomes.append(str(node.apply_conf_change(change, 9)))
            except Error as error:
                outcomes.append(type(error).__name__)
        if outcomes[0] != outcomes[1]:
            raise Finding(f"understood differently: {outcomes}")


class Forwards(Target):
    """Forwarded proposals that are let in: every member can apply them, however damaged."""

    name = "forward"

    def __init__(self) -> None:
        super().__init__()
        self._index = 1
        self._nodes: list[Any] = []

    def seeds(self) -> list[bytes]:
        context = pack_origin(PROPOSAL, 2, 8, 1)
        stamp = ControlCommand()
        stamp.set_clock.unix_ms = 5000
        moved = ControlCommand()
        moved.set_addr.id, moved.set_addr.addr = 2, "h2:9"
        control = pack_origin(CONTROL, 2, 8, 2)
        pairs = [
            (context, kv.put("a", "b")),
            (context + b"key", kv.cas("a", "c", expect_value="b")),
            (context, kv.delete_range("a")),
            (control, stamp.SerializeToString()),
            (control, moved.SerializeToString()),
        ]
        return [bytes([len(c)]) + c + d for c, d in pairs]

    def run(self, data: bytes) -> None:
        size = data[0] if data else 0
        context, command = data[1 : 1 + size], data[1 + size :]
        if not valid_forward(context, command, 2):
            self.refused += 1
            return
        if not self._nodes or self._index > 500:
            self._index = 1
            self._nodes = []
            for machine in ("kv", "log"):
                store = builders.bootstrap(machine=machine)
                self._nodes.append((store, builders.applier(store)))
        self._index += 1
        self.taken += 1
        entry = Entry(index=self._index, term=1, context=context, data=command)
        for store, by in self._nodes:
            try:
                builders.apply(store, by, [entry])
            except Exception:
                self._nodes = []
                raise


# --- the disk -----------------------------------------------------------------------------------


class Records(Target):
    """Stored records: read as they were written, or refused as damaged."""

    name = "record"

    def seeds(self) -> list[bytes]:
        entry = Entry(index=5, term=2, data=b"x", context=pack_origin(PROPOSAL, 2, 8, 1))
        found = [
            builders.identity().encode(),
            AppliedState(5, 2, bytes(16), 6, 7, 8, 9).encode(),
            encode_addresses({1: "h1:1", 2: "h2:2"}),
            Settings().encode(),
            seal(entry.SerializeToString(), 5),
            bytes(40),
        ]
        return [bytes([number]) + data for number, data in enumerate(found)]

    def run(self, data: bytes) -> None:
        kind, data = data[0] % 6 if data else 0, data[1:]
        if kind == 0:
            found = self.tried(lambda: Identity.decode(data, "it"), CorruptionError, IdentityError)
            self._same(found, lambda: Identity.decode(found.encode(), "it"))
        elif kind == 1:
            found = self.tried(lambda: AppliedState.decode(data), CorruptionError)
            self._same(found, lambda: AppliedState.decode(found.encode()))
        elif kind == 2:
            found = self.tried(lambda: decode_addresses(data), CorruptionError)
            self._same(found, lambda: decode_addresses(encode_addresses(found)))
        elif kind == 3:
            found = self.tried(lambda: Settings.decode(data), CorruptionError)
            self._same(found, lambda: Settings.decode(found.encode()))
        elif kind == 4:
            self.tried(lambda: storage._decode_entry(5, data), CorruptionError)
            self.tried(lambda: unseal(data, "it", 5), CorruptionError)
        else:
            self.tried(lambda: sessions._decode(data), CorruptionError)

    @staticmethod
    def _same(found: Any, again: Callable[[], Any]) -> None:
        if found is not None and again() != found:
            raise Finding(f"{found} is something else when written again")


class Snapshots(Target):
    """A snapshot's bytes, manifest and pieces: whole, or refused."""

    name = "snapshot"

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/tmp")
        self._store = SnapshotStore(Path(self._folder.name))
        self._good = self._make()

    def close(self) -> None:
        self._folder.cleanup()

    def _make(self) -> bytes:
        store = builders.bootstrap(machine="kv")
        by = builders.applier(store)
        builders.apply(
            store, by, [builders.proposal(i, kv.put(f"k{i}", "v" * 20), key=b"c") for i in (2, 3)]
        )
        stream = io.BytesIO()
        view = store.kv.view(ColumnFamily.STATE, ColumnFamily.SESSIONS)
        writer = StreamWriter(stream, header_of(store, by), view, by.epoch)
        while writer.step():
            pass
        return stream.getvalue()

    def seeds(self) -> list[bytes]:
        manifest = b'{"id": "5-2-0123456789abcdef", "sha256": "%s", "size": 70}' % (b"ab" * 32)
        header = StreamReader(io.BytesIO(self._good)).header.encode()
        return [b"\x00" + self._good, b"\x01" + manifest, b"\x02" + header, b"\x03" + b"pieces"]

    def run(self, data: bytes) -> None:
        kind, data = data[0] % 4 if data else 0, data[1:]
        if kind == 0:
            read = self.tried(lambda: list(StreamReader(io.BytesIO(data)).chunks()), SnapshotError)
            if read is not None and data != self._good:
                raise Finding("a changed snapshot was taken")
        elif kind == 1:
            self.tried(lambda: SnapshotManifest.decode(data), SnapshotError)
        elif kind == 2:
            found = self.tried(lambda: SnapshotHeader.decode(data), SnapshotDamaged)
            if found is not None:
                self.tried(lambda: SnapshotHeader.decode(found.encode()))
        else:
            self._pieces(random.Random(data))

    def _pieces(self, rng: random.Random) -> None:
        """Pieces out of order, twice, damaged or beyond the end never make a file."""
        good = self._good
        manifest = SnapshotManifest(
            f"5-2-{rng.getrandbits(64):016x}", len(good), hashlib.sha256(good).digest()
        )
        receiver = self._store.receive(manifest)
        try:
            for _ in range(rng.randint(1, 12)):
                at = rng.choice((receiver.offset, rng.randrange(len(good) + 5)))
                piece = bytearray(good[at : at + rng.choice((1, 50, 4000))])
                if piece and rng.random() < 0.1:
                    piece[rng.randrange(len(piece))] ^= 1
                self.tried(partial(receiver.write, at, bytes(piece)), SnapshotError)
                if receiver.offset > len(good):
                    raise Finding("more was taken than was announced")
            if receiver.complete:
                file = self.tried(receiver.finish, SnapshotError)
                if file is not None:
                    if file.path.read_bytes() != good:
                        raise Finding("a changed snapshot was taken")
                    file.path.unlink()
        finally:
            receiver.abort()


class Configuration(Target):
    """Configuration files: taken, or refused with what is wrong and where."""

    name = "config"

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/tmp")
        self._file = Path(self._folder.name) / "raftd.toml"

    def close(self) -> None:
        self._folder.cleanup()

    def seeds(self) -> list[bytes]:
        return [
            b'[node]\nid = 1\ndata_dir = "/x"\n[cluster]\npeers = {1 = "127.0.0.1:1"}\n',
            b'[node]\nid = 2\n[cluster]\njoin = ["127.0.0.1:7"]\n[listen]\npeer = "127.0.0.1:8"\n'
            b'[raft]\nheartbeat = "50ms"\nelection_timeout = "1s"\n'
            b'[limits]\nmax_entry_bytes = "1M"\n',
            b'[admin]\nsocket = "/x"\nmode = "0660"\n[log]\nlevel = "info"\n'
            b'[storage]\nfsync = "always"\n',
        ]

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        flags = {"node_id": "1", "peers": ("1=127.0.0.1:1",)} if len(data) % 2 else {}
        found = self.tried(lambda: load(flags, {}, self._file), ConfigError)
        if found is not None:
            found.shown()


TARGETS: Final[tuple[type[Target], ...]] = (
    Frames, Hellos, Frame, Requests, LiveCore, Changes, Forwards, Records, Snapshots, Configuration,
)  # fmt: skip


def inputs(target: Target, rng: random.Random, pool: list[bytes]) -> bytes:
    """Return the next input of a target: a damaged seed, or a seed with a damaged message in it."""
    kind = _MESSAGES.get(target.name)
    if kind is not None and rng.random() < 0.5:
        head, made = kind
        data = rng.choice(pool)
        message = made()
        try:
            message.ParseFromString(data[head:])
        except DecodeError:
            return damaged(rng, pool)
        change_message(rng, message, rng.choice((1, 1, 2, 4)))
        return data[:head] + message.SerializeToString()
    return damaged(rng, pool)


_MESSAGES: Final[dict[str, tuple[int, type[AnyMessage]]]] = {
    "hello": (0, Hello),
    "peer_frame": (0, PeerFrame),
    "request": (0, admin.Request),
    "conf_change": (1, ConfChange),
}
