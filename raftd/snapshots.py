"""Making, sending and receiving snapshots beside a running node, a small step at a time.

A snapshot travels on a connection of its own, in pieces; the message that announces it to the core
is handed over only when the whole file is there, checked and staged, so that installing it is one
write. A transfer that breaks off goes on where it stopped.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

from raft import SnapshotTemporarilyUnavailable
from raft.eraftpb import Message, MsgSnapshot, Snapshot
from raftd.applier import Applier
from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.members import AddressBook, member_ids
from raftd.node import Node
from raftd.replica import Replica
from raftd.snapshot import (
    OffsetMismatch,
    SnapshotDamaged,
    SnapshotError,
    SnapshotFile,
    SnapshotManifest,
    SnapshotReceiver,
    SnapshotRefused,
    SnapshotStore,
    Stager,
)
from raftd.storage import LogStore
from raftd.transport.inbound import Connection
from raftd.transport.outbound import dial
from raftd.views import now_ms
from raftwire.errors import Code, RemoteError
from raftwire.frame import encode_frame
from raftwire.limits import SNAPSHOT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX
from raftwire.peer import Expectations, Hello, PeerFrame
from raftwire.proto.admin_pb2 import SnapshotInfo

_CHUNK_BYTES: Final = min(256 * 1024, SNAPSHOT_CHUNK_BYTES_MAX)
_SENDS_MAX: Final = 2
"""Transfers out at once; further peers wait for their next attempt."""
_ANSWER_SECONDS: Final = 60.0
_INSTALL_SECONDS: Final = 120.0


class Snapshots:
    """The snapshots of one node."""

    def __init__(
        self,
        config: DaemonConfig,
        node: Node,
        store: LogStore,
        applier: Applier,
        replica: Replica,
        files: SnapshotStore,
        book: AddressBook,
        mine: Callable[[], Expectations],
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._node = node
        self._store = store
        self._applier = applier
        self._replica = replica
        self._files = files
        self._book = book
        self._mine = mine
        self._log = log
        self._making: asyncio.Task[SnapshotFile] | None = None
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._sent: dict[int, tuple[int, int]] = {}
        self._receiving = False
        newest = files.latest()
        self._last_index = newest.header.index if newest is not None else store.first_index() - 1
        store.snapshot_provider = self._provide

    # --- making -------------------------------------------------------------------------------

    def consider(self) -> None:
        """Make a snapshot if enough has been applied since the last one."""
        every = self._config.snapshot_entries
        if every and self._applier.index - self._last_index >= every and self._making is None:
            self.make()

    def make(self) -> "asyncio.Task[SnapshotFile]":
        """Begin a snapshot of the state as applied now, or return the one that is being made."""
        if self._making is None:
            self._last_index = self._applier.index
            self._making = self._loop.create_task(self._make())
            self._making.add_done_callback(self._made)
        return self._making

    async def _make(self) -> SnapshotFile:
        started = self._loop.time()
        self._replica.save()
        writer = self._files.begin(self._store.kv, self._store, self._applier, now_ms())
        try:
            while writer.step():
                # Between two steps the node does its other work.
                await asyncio.sleep(0)
            file = await self._loop.run_in_executor(None, writer.finish)
        except BaseException:
            writer.abort()
            raise
        self._files.add(file)
        self._log.info(
            "snapshot made",
            index=file.header.index, bytes=file.size,
            ms=int((self._loop.time() - started) * 1000),
        )  # fmt: skip
        return file

    def _made(self, task: "asyncio.Task[SnapshotFile]") -> None:
        self._making = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._node.fail(error)
            return
        # Whoever waits for it is offered it with the next answer to a heartbeat: ask for that now.
        if self._node.is_leader:
            self._node.call(self._node.raw.ping)

    def _provide(self, request_index: int, to: int) -> Snapshot:
        """Return a snapshot for peer ``to``; begin to make one if there is none that serves."""
        at_least = max(request_index, self._store.first_index() - 1)
        file = self._files.latest(at_least)
        # A newcomer must find itself in the configuration, or it could not take the snapshot.
        if file is not None and to in member_ids(file.header.conf_state):
            return file.message()
        self.make()
        raise SnapshotTemporarilyUnavailable

    def info(self) -> SnapshotInfo | None:
        """Return the newest snapshot as clients read it."""
        file = self._files.latest()
        return None if file is None else info_of(file)

    def list(self) -> list[SnapshotFile]:
        """Return all complete snapshots, newest first."""
        return self._files.list()

    # --- sending ------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Take a snapshot message of the core: transfer the file it speaks of, then report."""
        to = message.to
        if to in self._sending:
            return
        if len(self._sending) >= _SENDS_MAX:
            self._loop.call_later(self._config.election_timeout, self._report, to, False)
            return
        task = self._loop.create_task(self._send(message))
        self._sending[to] = task

        def done(_: "asyncio.Task[None]") -> None:
            self._sending.pop(to, None)
            self._sent.pop(to, None)

        task.add_done_callback(done)

    def _report(self, to: int, ok: bool) -> None:
        self._node.snapshot_sent(to, ok)

    async def _send(self, message: Message) -> None:
        to = message.to
        ok = False
        try:
            manifest = SnapshotManifest.decode(message.snapshot.data)
            file = self._files.find(manifest.id)
            address = self._book.find(to, self._loop.time())
            if file is None:
                why = "the file has been replaced by a newer one"
            elif not address:
                why = "its address is not known"
            else:
                why = await self._transfer(message, file, address)
                ok = not why
        except (OSError, RemoteError, SnapshotError) as error:
            why = str(error)
        except TimeoutError:
            why = "it did not answer in time"
        if ok:
            self._log.info("snapshot sent", to=to, index=message.snapshot.metadata.index)
        else:
            self._log.warning("snapshot not sent", to=to, reason=why)
            # Not at once again: the peer has just said no, or is gone.
            await asyncio.sleep(self._config.heartbeat)
        self._report(to, ok)

    async def _transfer(self, message: Message, file: SnapshotFile, address: str) -> str:
        """Send one file; return why it failed, empty if it did not."""
        answers: asyncio.Queue[PeerFrame] = asyncio.Queue()

        def take(frame: bytes) -> None:
            parsed = PeerFrame()
            parsed.ParseFromString(frame)
            answers.put_nowait(parsed)

        dialer, _ = await dial(address, self._mine(), Hello.SNAPSHOT, message.to, take)
        source = self._files.open(file)
        try:
            offer = PeerFrame()
            offer.offer.id = file.id
            offer.offer.metadata.CopyFrom(message.snapshot.metadata)
            offer.offer.size, offer.offer.sha256 = file.size, file.sha256
            offer.offer.term = message.term
            offer.offer.message = message.SerializeToString()
            answer = await self._answer(dialer.closed, answers, dialer.transport, offer)
            if answer.HasField("done"):
                return answer.done.error or ("" if answer.done.ok else "refused")
            offset = answer.resume.offset
            assert dialer.transport is not None
            while offset < file.size:
                data = source.read(offset, _CHUNK_BYTES)
                frame = PeerFrame()
                frame.chunk.offset, frame.chunk.data = offset, data
                frame.chunk.crc32 = zlib.crc32(data)
                dialer.transport.write(encode_frame(frame.SerializeToString()))
                offset += len(data)
                self._sent[message.to] = (offset, file.size)
                await dialer.drain()
                if not answers.empty():
                    break
            answer = await self._answer(dialer.closed, answers, None, None)
            return "" if answer.done.ok else answer.done.error or "refused"
        finally:
            source.close()
            dialer.abort()

    @staticmethod
    async def _answer(
        closed: "asyncio.Future[None]",
        answers: "asyncio.Queue[PeerFrame]",
        transport: asyncio.Transport | None,
        question: PeerFrame | None,
    ) -> PeerFrame:
        if transport is not None and question is not None:
            transport.write(encode_frame(question.SerializeToString()))
        getting = asyncio.ensure_future(answers.get())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await asyncio.wait({getting, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise ConnectionResetError("the peer closed the connection")
            return getting.result()
        finally:
            getting.cancel()

    def progress(self, peer_id: int) -> tuple[int, int]:
        """Return how many bytes of how many have been sent to a peer; zeros if none are."""
        return self._sent.get(peer_id, (0, 0))

    # --- receiving ----------------------------------------------------------------------------

    def session(self, peer_id: int, connection: Connection) -> "SnapshotSession":
        """Return who handles a snapshot connection of a peer."""
        return SnapshotSession(self, peer_id, connection)

    def begin_receiving(self, manifest: SnapshotManifest) -> SnapshotReceiver | str:
        """Return the receiver of a file, or why none can be had now."""
        if self._receiving:
            return "another snapshot is being received"
        if manifest.size > SNAPSHOT_BYTES_MAX:
            return f"it has {manifest.size} bytes; the limit is {SNAPSHOT_BYTES_MAX}"
        if manifest.size > self._store.kv.free_bytes():
            return f"it has {manifest.size} bytes, more than the disk has free"
        receiver = self._files.receive(manifest)
        self._receiving = True
        return receiver

    def end_receiving(self) -> None:
        """A transfer has ended, complete or not."""
        self._receiving = False

    async def install(self, peer_id: int, receiver: SnapshotReceiver, message: Message) -> str:
        """Check and stage a complete file, then hand its message to the core.

        Returns why that failed; empty if it did not.
        """
        file = await self._loop.run_in_executor(None, receiver.finish)
        self._files.add(file)
        metadata = message.snapshot.metadata
        if (file.header.index, file.header.term) != (metadata.index, metadata.term):
            return "the file is of another index or term than the message says"
        if self._node.raft.raft_log.committed >= metadata.index:
            # Caught up by other means meanwhile: the message alone tells the leader so.
            self._node.receive_snapshot(peer_id, message)
            return ""
        with open(file.path, "rb") as stream:
            stager = Stager(self._store.kv, stream, self._store.identity, self._applier.epoch)
            while stager.step():
                await asyncio.sleep(0)
        self._replica.staged = stager.staged
        self._node.receive_snapshot(peer_id, message)
        try:
            async with asyncio.timeout(_INSTALL_SECONDS):
                while self._replica.staged is stager.staged and stager.staged is not None:
                    await asyncio.sleep(0)
                    if not self._node.has_work:
                        break  # The core did not want it.
        finally:
            if self._replica.staged is stager.staged:
                self._replica.staged = None
        self._last_index = max(self._last_index, self._applier.index)
        return ""

    def failed(self, error: BaseException) -> None:
        """Stop the node: its disk failed while a snapshot was written."""
        self._node.fail(error)

    def close(self) -> None:
        """Stop making and sending."""
        for task in [*self._sending.values(), *([self._making] if self._making else [])]:
            task.cancel()


class SnapshotSession:
    """The receiving end of one snapshot transfer."""

    def __init__(self, snapshots: Snapshots, peer_id: int, connection: Connection) -> None:
        self._snapshots = snapshots
        self._peer_id = peer_id
        self._connection = connection
        self._receiver: SnapshotReceiver | None = None
        self._message = Message()
        self._task: asyncio.Task[None] | None = None
        self._holds = False

    def frame(self, frame: PeerFrame) -> bool:
        """Take an offer, then the pieces of the file."""
        try:
            if frame.HasField("offer") and self._receiver is None:
                return self._offer(frame)
            if frame.HasField("chunk") and self._receiver is not None and self._task is None:
                return self._chunk(self._receiver, frame)
        except OffsetMismatch as error:
            self._say(Code.INVALID_REQUEST, str(error))
            return False
        except SnapshotError as error:
            self._say(Code.INVALID_REQUEST, str(error))
            return False
        except OSError as error:
            self._say(Code.INTERNAL, f"cannot write the snapshot: {error}")
            return True
        return False

    def _offer(self, frame: PeerFrame) -> bool:
        offer = frame.offer
        try:
            self._message.ParseFromString(offer.message)
        except Exception:
            raise SnapshotRefused("the offer's message does not parse") from None
        message = self._message
        if message.msg_type != MsgSnapshot or message.from_ != self._peer_id:
            raise SnapshotRefused("the offer's message is not a snapshot message of its sender")
        manifest = SnapshotManifest.decode(message.snapshot.data)
        if (manifest.id, manifest.size, manifest.sha256) != (offer.id, offer.size, offer.sha256):
            raise SnapshotRefused("the offer and its message speak of different files")
        receiver = self._snapshots.begin_receiving(manifest)
        if isinstance(receiver, str):
            self._say(Code.SNAPSHOT_BUSY, receiver)
            return True
        self._receiver = receiver
        self._holds = True
        answer = PeerFrame()
        answer.resume.offset = receiver.offset
        self._connection.send(answer)
        if receiver.complete:
            self._finish(receiver)
        return True

    def _chunk(self, receiver: SnapshotReceiver, frame: PeerFrame) -> bool:
        chunk = frame.chunk
        if zlib.crc32(chunk.data) != chunk.crc32:
            raise SnapshotDamaged("a piece does not match its checksum")
        receiver.write(chunk.offset, chunk.data)
        if receiver.complete:
            self._finish(receiver)
        return True

    def _finish(self, receiver: SnapshotReceiver) -> None:
        self._task = asyncio.get_running_loop().create_task(self._install(receiver))

    async def _install(self, receiver: SnapshotReceiver) -> None:
        try:
            why = await self._snapshots.install(self._peer_id, receiver, self._message)
        except SnapshotError as error:
            why = str(error)
        except Exception as error:
            self._snapshots.failed(error)
            return
        finally:
            self._release()
        if why:
            self._say(Code.INVALID_REQUEST, why)
        else:
            answer = PeerFrame()
            answer.done.ok = True
            self._connection.send(answer)

    def _say(self, code: Code, error: str) -> None:
        answer = PeerFrame()
        answer.done.code, answer.done.error = code.value, error
        self._connection.send(answer)

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._snapshots.end_receiving()

    def lost(self) -> None:
        """The connection is gone; what has arrived is kept for the next attempt."""
        if self._task is None:
            self._release()


def info_of(file: SnapshotFile) -> SnapshotInfo:
    """Return a snapshot file as clients read it."""
    state = file.header.conf_state
    return SnapshotInfo(
        id=file.id,
        index=file.header.index,
        term=file.header.term,
        bytes=file.size,
        age_ms=max(0, now_ms() - file.header.created_ms),
        sha256=file.sha256.hex(),
        voters=sorted(state.voters),
        learners=sorted(state.learners),
    )
