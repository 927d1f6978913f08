"""A node's snapshots: made beside its other work, offered to members that need one.

State is kept without them, so one is made only when a member needs it, by command, or every so many
entries or bytes if the settings say so. What a member that is being sent one will ask for next is
kept in the log meanwhile, within bounds.
"""

import asyncio
from typing import Final

from raft import SnapshotTemporarilyUnavailable
from raft.eraftpb import Message, Snapshot
from raftd.applier import Applier
from raftd.config import DaemonConfig
from raftd.failpoints import hit
from raftd.kvstore import StoreError
from raftd.log import Log
from raftd.members import AddressBook, member_ids
from raftd.node import Node
from raftd.replica import Replica
from raftd.snapshot import SnapshotFile, SnapshotStore, SnapshotWriter
from raftd.snapshot_hold import Hold
from raftd.snapshot_receive import Receiving, SnapshotSession, Wire
from raftd.snapshot_send import Dial, Sender, Transfer
from raftd.storage import LogStore
from raftd.views import now_ms
from raftwire.errors import AdminError, Code
from raftwire.proto.admin_pb2 import SnapshotInfo

SETTLE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a file being made after which they are made durable; see ``snapshot_receive``."""

RETRY_SECONDS: Final = 10.0
"""Wait after a snapshot that could not be written, before a member that needs one has it tried
again: it asks with every heartbeat."""


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
        dial: Dial,
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._node = node
        self._store = store
        self._applier = applier
        self._replica = replica
        self.files = files
        self._log = log
        self._making: asyncio.Task[SnapshotFile] | None = None
        self._making_index = 0
        self._make_after = 0.0
        self._sender = Sender(config, files, book, dial, node.snapshot_sent, log)
        self._hold = Hold(node.raft, self._sender, self._next_index, self._loop.time)
        self._receiving = Receiving(
            config, node, store, applier, replica, files, self._installed, log
        )
        # Where the last one was made, as an index and as bytes written since the start.
        self._last_index = store.first_index() - 1
        self._last_bytes = replica.bytes_written
        store.snapshot_provider = self._provide
        self._reading = self._loop.create_task(self._read()) if files.unread else None

    async def _read(self) -> None:
        """Look at the files of an earlier process, one by one, beside the node's other work."""
        unread = self.files.unread
        while unread:
            found: list[SnapshotFile | None] = []
            path = unread[-1]
            await self._receiving.in_thread(
                lambda path=path, found=found: found.append(self.files.load(path))  # type: ignore[misc]
            )
            unread.remove(path)
            file = found[0]
            if file is None:
                self._log.warning("snapshot damaged", file=str(path), reason="it is not offered")
            elif file.header.cluster_id == self._store.identity.cluster_id:
                self.files.add(file)
                self._last_index = max(self._last_index, file.header.index)
        self._reading = None

    # --- making -------------------------------------------------------------------------------

    def consider(self) -> None:
        """Make a snapshot if enough has been applied or written since the last one."""
        if self._sender.busy and self._node.raft.leader_id not in (0, self._node.id):
            self._sender.forget_all()
        if not self._receiving.busy:
            self.files.forget_parts(self._applier.index)
        entries, size = self._config.snapshot_entries, self._config.snapshot_bytes
        if self._making is not None or not (entries or size):
            return
        if (entries and self._applier.index - self._last_index >= entries) or (
            size and self._replica.bytes_written - self._last_bytes >= size
        ):
            self.make()

    def make(self) -> "asyncio.Task[SnapshotFile]":
        """Begin a snapshot of the state as applied now, or return the one that is being made."""
        if self._making is None:
            self._last_index = self._making_index = self._applier.index
            self._last_bytes = self._replica.bytes_written
            self._making = self._loop.create_task(self._make())
            self._making.add_done_callback(self._made)
        return self._making

    async def fresh(self) -> SnapshotFile:
        """Return a snapshot that holds all that is applied now.

        Raises:
            AdminError: It cannot be made: the disk is full, say, or the node waits to be added.
        """
        if not self._applier.index:
            raise AdminError(
                Code.PRECONDITION,
                f"node {self._node.id} has no state yet: it waits to be added to a group",
            )
        wanted = self._applier.index
        newest = self.files.latest(wanted)
        if newest is not None:
            return newest
        if self._making is not None:
            file = await asyncio.shield(self._making)
            if file.header.index >= wanted:
                return file
        try:
            return await asyncio.shield(self.make())
        except OSError as error:
            raise AdminError(
                Code.QUOTA, f"the snapshot could not be written: {error.strerror or error}"
            ) from None

    async def _make(self) -> SnapshotFile:
        started = self._loop.time()
        newest = self.files.latest()
        # What is saved for it needs room too, and a write that fails would stop the node.
        coming = newest.size if newest is not None else 0
        self._require_room(coming + self._applier.unsaved_bytes)
        hit("snapshot.begin")
        self._replica.save()
        writer = self.files.begin(self._store.kv, self._store, self._applier, now_ms())
        try:
            await self._write(writer)
            found: list[SnapshotFile] = []
            await self._receiving.in_thread(lambda: found.append(writer.finish()))
            file = found[0]
        except BaseException:
            writer.abort()
            raise
        self.files.keep = self._config.snapshot_keep
        self.files.add(file)
        hit("snapshot.made")
        self._log.info(
            "snapshot made",
            index=file.header.index, bytes=file.size,
            ms=int((self._loop.time() - started) * 1000),
        )  # fmt: skip
        return file

    async def _write(self, writer: SnapshotWriter) -> None:
        settled = 0
        more = True
        while more:
            more = writer.step()
            hit("snapshot.write")
            if writer.size - settled >= SETTLE_BYTES:
                settled = writer.size
                await self._receiving.in_thread(writer.settle)
                self._require_room(0)
            else:
                # Between two steps the node does its other work.
                await asyncio.sleep(0)

    def _require_room(self, size: int) -> None:
        """Refuse to fill the disk: the log needs it more.

        Args:
            size: Bytes still to come, as far as anybody knows.

        Raises:
            OSError: That would leave less free than must stay so.
        """
        least = self._config.min_free_disk
        free = self._store.kv.free_bytes()
        if free < size + least:
            raise OSError(
                f"it takes about {size} bytes more, the disk has {free} free, and {least} of them"
                " are to stay so (--min-free-disk)"
            )

    def _made(self, task: "asyncio.Task[SnapshotFile]") -> None:
        self._making = None
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            # A file that cannot be written costs the file; the state is not touched.
            self._log.error("snapshot not made", reason=str(error))
            self._make_after = self._loop.time() + RETRY_SECONDS
        elif error is not None:
            self._node.fail(error)
        elif self._node.is_leader:
            # Whoever waits for it is offered it with the next answer to a heartbeat: ask for that.
            self._node.call(self._node.raw.ping)

    def _provide(self, request_index: int, to: int) -> Snapshot:
        """Return a snapshot for peer ``to``; begin to make one if there is none that serves."""
        at_least = max(request_index, self._store.first_index() - 1)
        file = self._sender.unfinished(to, at_least) or self.files.latest(at_least)
        # A newcomer must find itself in the configuration, or it could not take the snapshot.
        if file is not None and to in member_ids(file.header.conf_state):
            return file.message()
        if self._reading is None and self._loop.time() >= self._make_after:
            self.make()
        raise SnapshotTemporarilyUnavailable

    def info(self) -> SnapshotInfo | None:
        """Return the newest snapshot as clients read it."""
        file = self.files.latest()
        return None if file is None else info_of(file)

    # --- sending and receiving ----------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Take a snapshot message of the core: transfer the file it speaks of, then report."""
        self._sender.send(message)

    def progress(self, peer_id: int) -> Transfer | None:
        """Return the transfer to a peer that is on its way."""
        return self._sender.transfer(peer_id)

    def session(self, peer_id: int, wire: Wire) -> SnapshotSession:
        """Return who handles a snapshot connection of a peer."""
        return self._receiving.session(peer_id, wire)

    def _installed(self) -> None:
        self._last_index = max(self._last_index, self._applier.index)
        self._last_bytes = self._replica.bytes_written

    def needed_from(self) -> int:
        """Return the first entry that a member which is given a snapshot will ask for; 0: none."""
        near = self._applier.index - self._config.compact_trailing // 2
        return self._hold.needed_from(self._store.first_index(), near)

    def _next_index(self) -> int:
        if self._reading is not None:
            return -1
        if self._making is not None:
            return self._making_index
        newest = self.files.latest()
        return self._applier.index if newest is None else newest.header.index

    async def close(self) -> None:
        """Stop making, sending and receiving; wait for threads that still use the store."""
        self._sender.close()
        for task in (self._making, self._reading):
            if task is not None:
                task.cancel()
        await self._receiving.close()


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
