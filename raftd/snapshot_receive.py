"""Receiving snapshots: pieces into a file, the file into the state not in force, then one switch.

Nothing that arrives changes the node before the whole file is here and its hash is right; then it
is staged beside the state in force, and the message that it belongs to goes to the core. Whatever
breaks off on the way leaves the old state whole.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

from raft.eraftpb import Message, MsgSnapshot
from raftd.applier import Applier
from raftd.config import DaemonConfig
from raftd.failpoints import hit
from raftd.kvstore import ColumnFamily, KeyValueStore, StoreError
from raftd.log import Log
from raftd.node import Node
from raftd.replica import Replica
from raftd.snapshot import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotFile,
    SnapshotManifest,
    SnapshotReceiver,
    SnapshotRefused,
    SnapshotStore,
    Staged,
    Stager,
)
from raftd.storage import LogStore
from raftwire.errors import Code
from raftwire.limits import SNAPSHOT_BYTES_MAX
from raftwire.peer import PeerFrame

SETTLE_BYTES: Final = 8 * 1024 * 1024
"""Bytes received, or staged, after which they are made durable: else the disk would have to take
all of them at the end, and everybody else's writes would wait behind them."""

ALIVE_SECONDS: Final = 5.0
"""How often the sender hears that its file is being installed."""

_INSTALL_SECONDS: Final = 120.0


class Wire(Protocol):
    """The connection that a snapshot comes on."""

    def send(self, frame: PeerFrame) -> None:
        """Send a frame back."""
        ...

    def pause(self) -> None:
        """Read no more until ``resume``."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def hang_up(self) -> None:
        """Close the connection."""
        ...


class Receiving:
    """Takes in snapshots, one at a time.

    Args:
        files: Where they are kept.
        installed: Called after one has become the state.
    """

    def __init__(
        self,
        config: DaemonConfig,
        node: Node,
        store: LogStore,
        applier: Applier,
        replica: Replica,
        files: SnapshotStore,
        installed: Callable[[], None],
        log: Log,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._config = config
        self._node = node
        self._store = store
        self._applier = applier
        self._replica = replica
        self.files = files
        self._installed = installed
        self._log = log
        self._session: SnapshotSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: set[asyncio.Future[None]] = set()

    def session(self, peer_id: int, wire: Wire) -> "SnapshotSession":
        """Return who handles a snapshot connection of a peer."""
        return SnapshotSession(self, peer_id, wire)

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being received or installed."""
        return self._session is not None

    def admit(self, session: "SnapshotSession", manifest: SnapshotManifest, term: int) -> str:
        """Give a session the right to receive; return why not, if not.

        A newer leader's offer, or a newer connection of the same one, takes the place of what was
        being received: the older may be of a sender that is gone.
        """
        former = self._session
        if former is not None and former is not session:
            if former.installing:
                return "another snapshot is being installed"
            if former.peer_id != session.peer_id and former.term >= term:
                return "another snapshot is being received"
            former.give_way()
        if manifest.size > SNAPSHOT_BYTES_MAX:
            return f"it has {manifest.size} bytes; the limit is {SNAPSHOT_BYTES_MAX}"
        # Once as a file, once in the database; what there is now goes only afterwards.
        needed = 2 * manifest.size + self._config.min_free_disk
        free = self._store.kv.free_bytes()
        if needed > free:
            return f"it takes {needed} bytes to install, and the disk has {free} free"
        self._session = session
        return ""

    def release(self, session: "SnapshotSession") -> None:
        """A session has ended, complete or not."""
        if self._session is session:
            self._session = None

    async def complete(self, snapshot_id: str) -> SnapshotFile | None:
        """Return the snapshot with this id if all of it is here, from an earlier attempt."""
        path = next((path for path in self.files.unread if path.stem == snapshot_id), None)
        if path is not None:
            found: list[SnapshotFile | None] = []
            await self.in_thread(lambda: found.append(self.files.load(path)))
            if found[0] is not None:
                self.files.add(found[0])
        return self.files.find(snapshot_id)

    def start(self, session: "SnapshotSession", file: SnapshotFile | None) -> None:
        """Install a complete file, ``file`` or what the session has received; then say so."""
        task = self.loop.create_task(self._carry_out(session, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def in_thread(self, action: Callable[[], object]) -> None:
        """Do something that waits for the disk in a worker thread."""
        await asyncio.shield(self._track(self.loop.run_in_executor(None, _run, action)))

    def _track(self, future: "asyncio.Future[None]") -> "asyncio.Future[None]":
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return future

    async def _carry_out(self, session: "SnapshotSession", file: SnapshotFile | None) -> None:
        alive = self.loop.create_task(session.say_alive())
        code, why = Code.INVALID_REQUEST, ""
        try:
            why = await self._install(session, file or await self._finish(session))
        except SnapshotDamaged as error:
            code, why = Code.CORRUPT, str(error)
        except SnapshotError as error:
            why = str(error)
        except OSError as error:
            # The file could not be written: the state has not been touched.
            if session.receiver is not None:
                self.files.drop(session.receiver)
            code, why = Code.INTERNAL, f"cannot keep the snapshot: {error}"
        except Exception as error:
            self._node.fail(error)
            return
        finally:
            alive.cancel()
            self.release(session)
        if why:
            self._log.warning("snapshot not installed", reason=why)
            session.say(code, why)
            return
        session.say_done()
        try:
            # Give back the space of the state that was replaced.
            await self.in_thread(lambda: _compact(self._store.kv, 1 - self._applier.epoch))
        except StoreError as error:
            self._node.fail(error)

    async def _finish(self, session: "SnapshotSession") -> SnapshotFile:
        """Check what was received and give it its name."""
        receiver = session.receiver
        assert receiver is not None
        found: list[SnapshotFile] = []
        await self.in_thread(lambda: found.append(receiver.finish()))
        self.files.add(found[0])
        return found[0]

    async def _install(self, session: "SnapshotSession", file: SnapshotFile) -> str:
        """Stage a complete file, then hand its message to the core.

        Returns why that failed; empty if it did not.
        """
        message = session.message
        metadata = message.snapshot.metadata
        hit("snapshot.received")
        if (file.header.index, file.header.term) != (metadata.index, metadata.term):
            return "the file is of another index or term than the message says"
        if self._node.raft.raft_log.committed >= metadata.index:
            # Caught up by other means meanwhile: the message alone tells the leader so.
            self._node.receive_snapshot(session.peer_id, message)
            return ""
        staged = await self._stage(file)
        hit("snapshot.staged")
        self._replica.staged = staged
        self._node.receive_snapshot(session.peer_id, message)
        try:
            async with asyncio.timeout(_INSTALL_SECONDS):
                while self._replica.staged is staged:
                    await asyncio.sleep(0)
                    if not self._node.has_work:
                        break  # The core did not want it.
        finally:
            refused = self._replica.staged is staged
            if refused:
                self._replica.staged = None
        self._installed()
        return "it is not wanted any more" if refused else ""

    async def _stage(self, file: SnapshotFile) -> Staged:
        kv = self._store.kv
        with _open(file) as stream:
            stager = Stager(kv, stream, self._store.identity, self._applier.epoch)
            settled = 0
            more = True
            while more:
                more = stager.step()
                hit("snapshot.stage")
                if stream.tell() - settled >= SETTLE_BYTES:
                    settled = stream.tell()
                    await self.in_thread(kv.sync)
                else:
                    await asyncio.sleep(0)
        assert stager.staged is not None
        return stager.staged

    async def close(self) -> None:
        """End what runs, and wait for threads that still use the store."""
        for task in list(self._tasks):
            task.cancel()
        if self._threads:
            await asyncio.wait(set(self._threads))


class SnapshotSession:
    """The receiving end of one snapshot connection.

    Attributes:
        peer_id: Who sends.
        message: The core's message that the file belongs to.
        receiver: The file, once it was offered and may come.
        installing: Whether all of it is here.
    """

    def __init__(self, receiving: Receiving, peer_id: int, wire: Wire) -> None:
        self._receiving = receiving
        self._wire = wire
        self.peer_id = peer_id
        self.message = Message()
        self.receiver: SnapshotReceiver | None = None
        self.installing = False
        self._opening = False
        self._unsettled = 0
        self._offset = 0
        self._lost = False

    @property
    def term(self) -> int:
        """Term of the leader that sends."""
        return self.message.term

    def frame(self, frame: PeerFrame) -> bool:
        """Take an offer, then the pieces of the file."""
        if self._lost:
            return True
        try:
            if frame.HasField("offer") and self.receiver is None and not self._opening:
                self._offer(frame)
                return True
            if frame.HasField("chunk") and self.receiver is not None and not self.installing:
                self._chunk(self.receiver, frame)
                return True
        except SnapshotError as error:
            # A bad piece is not taken; the next attempt goes on behind what is here.
            self.say(Code.INVALID_REQUEST, str(error))
            self._end()
        except OSError as error:
            self._give_up(error)
            return True
        return False

    def _offer(self, frame: PeerFrame) -> None:
        offer = frame.offer
        try:
            self.message.ParseFromString(offer.message)
        except Exception:
            raise SnapshotRefused("the offer's message does not parse") from None
        message = self.message
        if message.msg_type != MsgSnapshot or message.from_ != self.peer_id:
            raise SnapshotRefused("the offer's message is not a snapshot message of its sender")
        manifest = SnapshotManifest.decode(message.snapshot.data)
        if (manifest.id, manifest.size, manifest.sha256) != (offer.id, offer.size, offer.sha256):
            raise SnapshotRefused("the offer and its message speak of different files")
        why = self._receiving.admit(self, manifest, message.term)
        if why:
            self.say(Code.SNAPSHOT_BUSY, why)
            self._end()
            return
        self._opening = True
        self._wire.pause()
        task = self._receiving.loop.create_task(self._open(manifest))
        task.add_done_callback(lambda _: self._wire.resume())

    async def _open(self, manifest: SnapshotManifest) -> None:
        """Open the file in a thread: what an earlier process received of it has to be read."""
        found: list[SnapshotReceiver] = []
        files = self._receiving.files
        try:
            file = await self._receiving.complete(manifest.id)
            if file is None:
                await self._receiving.in_thread(lambda: found.append(files.receive(manifest)))
        except OSError as error:
            self._give_up(error)
            return
        finally:
            self._opening = False
        if self._lost:
            return
        if file is not None:
            self._say_where(file.size)
            self.installing = True
            self._receiving.start(self, file)
            return
        receiver = self.receiver = found[0]
        self._say_where(receiver.offset)
        self._look(receiver)

    def _say_where(self, offset: int) -> None:
        self._offset = offset
        answer = PeerFrame()
        answer.resume.offset = offset
        self._wire.send(answer)

    def _chunk(self, receiver: SnapshotReceiver, frame: PeerFrame) -> None:
        chunk = frame.chunk
        if zlib.crc32(chunk.data) != chunk.crc32:
            raise SnapshotDamaged("a piece does not match its checksum")
        receiver.write(chunk.offset, chunk.data)
        hit("snapshot.chunk")
        self._unsettled += len(chunk.data)
        self._look(receiver)
        if self._unsettled >= SETTLE_BYTES and not self.installing:
            self._unsettled = 0
            self._wire.pause()
            task = self._receiving.loop.create_task(self._settle(receiver))
            task.add_done_callback(lambda _: self._wire.resume())

    async def _settle(self, receiver: SnapshotReceiver) -> None:
        try:
            await self._receiving.in_thread(receiver.settle)
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _look(self, receiver: SnapshotReceiver) -> None:
        if receiver.complete and not self.installing:
            self.installing = True
            self._offset = receiver.offset
            self._receiving.start(self, None)

    def _give_up(self, error: Exception) -> None:
        """The file cannot be written: nothing of it is kept, the node goes on."""
        if self.receiver is not None and not self.receiver.given_up:
            self._receiving.files.drop(self.receiver)
        self.say(Code.INTERNAL, f"cannot write the snapshot: {error}")
        self._end()

    def _end(self) -> None:
        self._lost = True
        self._receiving.release(self)

    def give_way(self) -> None:
        """Another session takes the place of this one."""
        self._end()
        self._wire.hang_up()

    # --- answering ----------------------------------------------------------------------------

    async def say_alive(self) -> None:
        """Tell the sender now and then that its file is being installed."""
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            self._say_where(self._offset)

    def say(self, code: Code, error: str) -> None:
        """Tell the sender why it failed."""
        answer = PeerFrame()
        answer.done.code, answer.done.error = code.value, error
        self._wire.send(answer)

    def say_done(self) -> None:
        """Tell the sender that its snapshot is the state now."""
        answer = PeerFrame()
        answer.done.ok = True
        self._wire.send(answer)

    def lost(self) -> None:
        """The connection is gone; what has arrived is kept for the next attempt."""
        self._lost = True
        if not self.installing:
            self._receiving.release(self)


def _open(file: SnapshotFile) -> BinaryIO:
    return open(file.path, "rb")


def _run(action: Callable[[], object]) -> None:
    action()


def _compact(kv: KeyValueStore, epoch: int) -> None:
    for family in (ColumnFamily.STATE, ColumnFamily.SESSIONS):
        kv.compact(family, bytes((epoch,)), bytes((epoch + 1,)))
