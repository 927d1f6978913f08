"""Sending snapshots: each transfer on a connection of its own, in checked pieces, throttled.

A transfer that breaks off goes on where it stopped: its file is kept meanwhile, whatever newer ones
are made, for as long as the log still holds what follows it.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from raft.eraftpb import Message
from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.members import AddressBook
from raftd.snapshot import (
    SnapshotError,
    SnapshotFile,
    SnapshotManifest,
    SnapshotSource,
    SnapshotStore,
    verify,
)
from raftd.transport.outbound import Dialer
from raftwire.errors import Code, RemoteError
from raftwire.limits import SNAPSHOT_CHUNK_BYTES_MAX
from raftwire.peer import PeerFrame

PIECE_BYTES: Final = min(256 * 1024, SNAPSHOT_CHUNK_BYTES_MAX)
SENDS_MAX: Final = 2
"""Transfers out at once; further peers wait for their next attempt."""

ANSWER_SECONDS: Final = 30.0
"""Silence after which a receiver is given up; one that installs gives signs of life."""

BUFFERED_BYTES_MAX: Final = 1024 * 1024
"""Written to a connection and not taken by the system yet."""


_FAILURES_MAX: Final = 6
"""In a row, each of which doubles the wait before the next attempt."""

Dial = Callable[[str, int, Callable[[bytes], None]], Awaitable[Dialer]]


@dataclass(slots=True)
class Transfer:
    """One transfer on its way.

    Attributes:
        file: What is sent.
        began_at, began_with: When this attempt began, in loop time, and at which byte.
        offset: Bytes that have been sent, those of earlier attempts included.
    """

    file: SnapshotFile
    began_at: float
    began_with: int = 0
    offset: int = 0

    def rate(self, now: float) -> float:
        """Return the bytes a second of this attempt."""
        seconds = now - self.began_at
        return (self.offset - self.began_with) / seconds if seconds > 0 else 0.0

    def seconds_left(self, now: float) -> float:
        """Return how long the rest will take at this rate; 0 if nobody knows yet."""
        rate = self.rate(now)
        return (self.file.size - self.offset) / rate if rate > 0 else 0.0


class Sender:
    """The transfers to other members.

    Args:
        files: Where the snapshots are.
        book: Where members listen.
        dial: Opens a snapshot connection to (address, id), whose answers the third argument takes.
        report: Called with a member's id and whether its transfer succeeded.
    """

    def __init__(
        self,
        config: DaemonConfig,
        files: SnapshotStore,
        book: AddressBook,
        dial: Dial,
        report: Callable[[int, bool], None],
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._files = files
        self._book = book
        self._dial = dial
        self._report = report
        self._log = log
        self._tasks: dict[int, tuple[int, asyncio.Task[None]]] = {}
        self._transfers: dict[int, Transfer] = {}
        self._unfinished: dict[int, str] = {}
        self._failures: dict[int, int] = {}
        #: Index of the snapshot that a member was given last; for its user to forget.
        self.delivered: dict[int, int] = {}

    def send(self, message: Message) -> None:
        """Take a snapshot message of the core: transfer the file it speaks of, then report.

        One of a later term takes the place of what is under way to the same member: nobody would
        take the message of the earlier term any more, and the file goes on where it was.
        """
        to = message.to
        if to in self._tasks:
            term, task = self._tasks[to]
            if term >= message.term:
                return
            task.cancel()
        elif len(self._tasks) >= SENDS_MAX:
            self._loop.call_later(self._config.election_timeout, self._report, to, False)
            return
        task = self._loop.create_task(self._run(message))
        self._tasks[to] = message.term, task

    async def _run(self, message: Message) -> None:
        to = message.to
        ok = False
        try:
            ok = await self._send(message)
        except Exception as error:
            # Whatever it was: until it is reported, the core sends this member nothing.
            self._log.error("snapshot not sent", to=to, reason=repr(error))
        finally:
            mine = self._tasks.get(to)
            if mine is not None and mine[1] is asyncio.current_task():
                del self._tasks[to]
                self._transfers.pop(to, None)
        self._report(to, ok)

    async def _send(self, message: Message) -> bool:
        to = message.to
        why = ""
        try:
            manifest = SnapshotManifest.decode(message.snapshot.data)
            file = self._files.find(manifest.id)
            address = self._book.find(to, self._loop.time())
            if file is None:
                why = "the file has been replaced by a newer one"
            elif not address:
                why = "its address is not known"
            else:
                self._keep(to, file)
                why = await self._transfer(message, file, address)
        except (OSError, RemoteError, SnapshotError) as error:
            why = str(error) or type(error).__name__
        except TimeoutError:
            why = "it did not answer in time"
        if why:
            self._log.warning("snapshot not sent", to=to, reason=why)
            # Not at once again: the peer has just said no, or is gone.
            failures = self._failures[to] = min(self._failures.get(to, 0) + 1, _FAILURES_MAX)
            await asyncio.sleep(self._config.heartbeat * 2 ** (failures - 1))
            return False
        self._failures.pop(to, None)
        self._forget(to)
        self.delivered[to] = message.snapshot.metadata.index
        self._log.info("snapshot sent", to=to, index=message.snapshot.metadata.index)
        return True

    async def _transfer(self, message: Message, file: SnapshotFile, address: str) -> str:
        """Send one file; return why it failed, empty if it did not."""
        answers: asyncio.Queue[PeerFrame] = asyncio.Queue()

        def take(frame: bytes) -> None:
            parsed = PeerFrame()
            parsed.ParseFromString(frame)
            answers.put_nowait(parsed)

        dialer = await self._dial(address, message.to, take)
        transport = dialer.transport
        assert transport is not None
        transport.set_write_buffer_limits(high=BUFFERED_BYTES_MAX)
        source = self._files.open(file)
        try:
            offer = PeerFrame()
            offer.offer.id = file.id
            offer.offer.metadata.CopyFrom(message.snapshot.metadata)
            offer.offer.size, offer.offer.sha256 = file.size, file.sha256
            offer.offer.term = message.term
            offer.offer.message = message.SerializeToString()
            dialer.write(offer)
            answer = await self._answer(dialer, answers)
            if answer.HasField("resume"):
                transfer = Transfer(
                    file, self._loop.time(), answer.resume.offset, answer.resume.offset
                )
                self._transfers[message.to] = transfer
                await self._pieces(dialer, source, transfer, answers)
                self._failures.pop(message.to, None)
                answer = await self._answer(dialer, answers)
                while answer.HasField("resume"):
                    # It checks and installs, and says now and then that it lives.
                    answer = await self._answer(dialer, answers)
            if answer.done.ok:
                return ""
            if answer.done.code == Code.CORRUPT:
                await self._check(file)
            return answer.done.error or "it was refused"
        finally:
            source.close()
            dialer.abort()

    async def _pieces(
        self,
        dialer: Dialer,
        source: SnapshotSource,
        transfer: Transfer,
        answers: "asyncio.Queue[PeerFrame]",
    ) -> None:
        size = transfer.file.size
        due = self._loop.time()
        while transfer.offset < size:
            data = source.read(transfer.offset, PIECE_BYTES)
            if not data:
                raise OSError(f"{transfer.file.path} has become shorter")
            frame = PeerFrame()
            frame.chunk.offset, frame.chunk.data = transfer.offset, data
            frame.chunk.crc32 = zlib.crc32(data)
            dialer.write(frame)
            transfer.offset += len(data)
            await dialer.drain()
            if not answers.empty():
                return  # It says why it wants no more.
            rate = self._config.snapshot_rate
            if rate:
                # Time that was lost to a slow receiver is not made up for by a burst.
                due = max(due, self._loop.time() - PIECE_BYTES / rate) + len(data) / rate
                await asyncio.sleep(due - self._loop.time())
            else:
                # Heartbeats and proposals have their turn between two pieces.
                await asyncio.sleep(0)

    async def _answer(self, dialer: Dialer, answers: "asyncio.Queue[PeerFrame]") -> PeerFrame:
        getting = asyncio.ensure_future(answers.get())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                waiting: set[asyncio.Future[object]] = {getting, dialer.closed}  # type: ignore[arg-type]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise ConnectionResetError("the peer closed the connection")
            return getting.result()
        finally:
            getting.cancel()

    async def _check(self, file: SnapshotFile) -> None:
        """Look whether it is our file that is damaged, and drop it if it is."""
        try:
            await self._loop.run_in_executor(None, verify, file.path)
        except (SnapshotError, OSError) as error:
            self._log.error("snapshot damaged", file=str(file.path), reason=str(error))
            self._files.remove(file)

    # --- what is kept for them ----------------------------------------------------------------

    def _keep(self, to: int, file: SnapshotFile) -> None:
        self._forget(to)
        self._unfinished[to] = file.id
        self._files.pinned.add(file.id)

    def _forget(self, to: int) -> None:
        former = self._unfinished.pop(to, None)
        if former is not None and former not in self._unfinished.values():
            self._files.pinned.discard(former)
            self._files.prune()

    def unfinished(self, to: int, at_least: int) -> SnapshotFile | None:
        """Return the file of a transfer to a member that broke off, if it reaches ``at_least``."""
        file = self._files.find(self._unfinished.get(to, ""))
        if file is None or file.header.index < at_least:
            self._forget(to)
            return None
        return file

    def forget(self, to: int) -> None:
        """Keep nothing for a member any more, unless a transfer to it is at work."""
        if to not in self._tasks:
            self.delivered.pop(to, None)
            self._forget(to)

    def forget_all(self) -> None:
        """Keep and send nothing any more: somebody else leads, and sends its own."""
        self.close()
        self.delivered.clear()
        for to in list(self._unfinished):
            self._forget(to)

    @property
    def busy(self) -> bool:
        """Whether anything is sent, or kept for anybody."""
        return bool(self._tasks or self._unfinished or self.delivered)

    def under_way(self, to: int) -> SnapshotFile | None:
        """Return the file that a member is being sent, or will go on to be."""
        return self._files.find(self._unfinished.get(to, ""))

    def transfer(self, to: int) -> Transfer | None:
        """Return the transfer to a member that runs now."""
        return self._transfers.get(to)

    def close(self) -> None:
        """End all transfers."""
        for _, task in list(self._tasks.values()):
            task.cancel()
