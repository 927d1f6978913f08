"""The daemon: opens the data, puts the parts together, runs until told to stop.

What can end it, and with which status: a signal (0), a failed disk or another surprise (1), data
that is not this node's (4), corrupt data (9), a broken invariant (70), data in use (75).
"""

import asyncio
import faulthandler
import hashlib
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from raft import Config, InvariantViolation, RawNode, ReadOnlyOption
from raft.eraftpb import ConfState
from raftd import __version__, heap, recover
from raftd.admin import AdminServer, SocketInUse
from raftd.applier import Applier, ApplyError
from raftd.belonging import REMOVED
from raftd.config import TICKS_PER_HEARTBEAT, DaemonConfig
from raftd.data_service import DataService
from raftd.failpoints import hit_changes
from raftd.flush import Flusher
from raftd.group_service import GroupService
from raftd.joining import Announcer, find_group
from raftd.known_data import KnownData
from raftd.kvstore import (
    ColumnFamily,
    CorruptionError,
    DataDirError,
    LockedError,
    StoreClosed,
    StoreError,
    StoreReadError,
    StoreWriteError,
)
from raftd.log import Log, set_up
from raftd.log_service import LogService
from raftd.looking_service import LookingService
from raftd.members import AddressBook, Membership
from raftd.node import Node
from raftd.operations import Operations
from raftd.parts import Parts
from raftd.peers import Peers
from raftd.plan import Driver
from raftd.relay import Relays
from raftd.replica import Replica
from raftd.retention import Retention
from raftd.rocks import RocksStore, is_initialized
from raftd.service import Service
from raftd.snapshot import SnapshotStore, clear_stage
from raftd.snapshots import Snapshots
from raftd.state_machine import MachineError, UnknownStateMachine, create
from raftd.storage import BOOTSTRAP_INDEX, Identity, IdentityError, LogStore
from raftd.token import check_token
from raftd.transport.inbound import Inbound
from raftd.transport.outbound import Dialer, Outbound, Patience, dial
from raftd.transport.security import SecurityError
from raftd.upkeep import Upkeep
from raftd.views import now_ms
from raftwire.errors import Code, HelloRefused, RemoteError
from raftwire.peer import Expectations, Hello, RefusedByPeer

EXIT_OK: Final = 0
EXIT_RUNTIME: Final = 1
EXIT_SETTINGS: Final = 2
EXIT_IDENTITY: Final = 4
EXIT_CORRUPT: Final = 9
EXIT_INVARIANT: Final = 70
EXIT_DISK: Final = 74
EXIT_LOCKED: Final = 75

_FATAL: Final = (StoreError, InvariantViolation, MachineError, ApplyError)
"""After one of these nothing that this process says can be trusted, wherever it was raised."""

_DRAIN_SECONDS_MAX: Final = 2.0
_FAREWELL_SECONDS: Final = 0.5


class StartRefused(Exception):
    """The node may not start as it was asked to; the text says why and what to do."""


def run(config: DaemonConfig) -> int:
    """Run the daemon until it ends; return its exit status."""
    os.umask(0o077)  # Whatever is made is this user's alone, unless it says otherwise.
    try:
        log = set_up(config.log_level, config.log_format, path=config.log_file)
    except OSError as error:
        sys.stderr.write(f"raftd: --log-file {config.log_file}: {error.strerror or error}\n")
        return EXIT_RUNTIME
    log = log.bind(node=config.node_id)
    faulthandler.enable()  # What a watchdog's SIGABRT cuts off leaves its stacks.
    factory, loop_name = _loop_factory(config.loop)
    heap.set_up()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_main(config, log, loop_name))


def _loop_factory(
    choice: str,
) -> tuple[Callable[[], asyncio.AbstractEventLoop] | None, str]:
    if choice == "asyncio":
        return None, "asyncio"
    try:
        import uvloop
    except ImportError:
        if choice == "uvloop":
            raise SystemExit("raftd: --loop uvloop: uvloop is not installed") from None
        return None, "asyncio"
    return uvloop.new_event_loop, "uvloop"


async def _main(config: DaemonConfig, log: Log, loop_name: str) -> int:
    daemon = Daemon(config, log, loop_name)
    try:
        await daemon.run()
    except BaseException as error:
        status = exit_status(error)
        if status is None:
            raise
        advice = {"advice": error.hint} if isinstance(error, HelloRefused) and error.hint else {}
        log.critical(
            "raftd stops", status=status, reason=str(error) or type(error).__name__, **advice
        )
        if status in (EXIT_RUNTIME, EXIT_INVARIANT) and not isinstance(
            error, (StoreError, StartRefused, StartFailed, OSError, SocketInUse)
        ):
            log.error("where it happened", exc_info=error)
        return status
    return EXIT_OK


def exit_status(error: BaseException) -> int | None:
    """Return the exit status that ``error`` stands for; None for what is not ours to judge."""
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
        return None
    if isinstance(error, SecurityError):
        return EXIT_SETTINGS
    if isinstance(error, LockedError):
        return EXIT_LOCKED
    if isinstance(error, CorruptionError):
        return EXIT_CORRUPT
    if isinstance(
        error, (IdentityError, StartRefused, UnknownStateMachine, DataDirError, HelloRefused)
    ):
        return EXIT_IDENTITY
    if isinstance(error, (StoreWriteError, StoreReadError)):
        return EXIT_DISK
    if isinstance(error, (InvariantViolation, MachineError, ApplyError)):
        return EXIT_INVARIANT
    return EXIT_RUNTIME


def cluster_id_of(peers: Mapping[int, str], token: str) -> bytes:
    """Return the id of a group made by starting nodes with these peers.

    All first members must come to the same id without speaking to each other, so it is derived
    from what they are all given: ids, addresses and the token.
    """
    text = "".join(f"{node_id}={peers[node_id]}\n" for node_id in sorted(peers))
    return hashlib.sha256(f"raftd cluster\n{token}\n{text}".encode()).digest()[:16]


class Daemon:
    """One running node."""

    def __init__(self, config: DaemonConfig, log: Log, loop_name: str) -> None:
        self.config = config
        self.log = log
        self._loop = asyncio.get_running_loop()
        self._loop_name = loop_name
        self._incarnation = (int.from_bytes(os.urandom(8)) >> 1) or 1
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._announcer: Announcer | None = None
        self._local: Expectations | None = None
        self.operations = Operations(config, log, self._failed)
        self._loop.set_exception_handler(self._uncaught)

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until a signal or a failure ends it.

        Raises:
            BaseException: What made it stop, other than a signal.
        """
        self.operations.secure()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number)
        self._loop.add_signal_handler(signal.SIGHUP, self.operations.reload)
        self._loop.add_signal_handler(signal.SIGUSR1, self.operations.dump)
        # Told also by a loop that stands still: the stacks at once, the tasks when it goes on.
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
        store = await self._open()
        if store is None:
            return  # Told to stop while it still looked for its group.
        closing = False
        try:
            self._assemble(store)
            await self._listen()
            self._begin()
            await self._stop.wait()
            closing = True
            if self._failure is None:
                await self._orderly_stop()
        finally:
            await self._close(store, clean=closing and self._failure is None)
        if self._failure is not None:
            raise self._failure

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self.log.warning("stopping at once", signal=signal.Signals(number).name)
            self._hurry.set()
            return
        self.log.info("stopping", signal=signal.Signals(number).name)
        self.operations.stopping()
        self._stop.set()

    def _failed(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stop.set()

    def _uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what nobody caught: a client's read, say, may be what finds the data damaged.

        It would cost that client its connection and be forgotten. But who cannot read its data, or
        reads what was not written, may neither serve nor vote.
        """
        loop.default_exception_handler(context)
        error = context.get("exception")
        if isinstance(error, _FATAL) and not isinstance(error, StoreClosed):
            if hasattr(self, "node"):
                self.node.fail(error)
            else:
                self._failed(error)

    # --- opening ------------------------------------------------------------------------------

    async def _open(self) -> LogStore | None:
        config = self.config
        directory = Path(os.path.abspath(config.data_dir))  # noqa: ASYNC240  (nothing runs yet)
        if is_initialized(directory):
            return self._reopen(directory)
        if config.bootstrap == "never":
            raise StartRefused(
                f"{directory} holds no data, and --bootstrap never makes none: is it the right "
                "--data-dir, and is its disk mounted? If the data is lost, this id must not vote "
                f"again: replace the member, with raftctl member replace {config.node_id} "
                "NEW=HOST:PORT on another node"
            )
        if config.join:
            return await self._join(directory)
        if not config.peers:
            raise StartRefused(
                f"{directory} holds no data, and there are neither --peers to make a group with "
                "nor --join to be added to one: give one of them, or the right --data-dir"
            )
        return self._bootstrap(directory)

    def _reopen(self, directory: Path) -> LogStore:
        config = self.config
        chosen = config.origins["state_machine"] != "default"
        self.operations.opening()
        kv = RocksStore.open(directory)
        try:
            store = LogStore.open(
                kv,
                node_id=config.node_id,
                state_machine=config.state_machine if chosen else None,
            )
            check_token(kv, config.cluster_token)
            plan = recover.recovered(kv)
        except BaseException:
            kv.close()
            raise
        if plan is not None:
            self.log.info(
                "recovered data",
                old_cluster=plan.old_cluster_id, lost=plan.lost, may_lose=plan.may_lose,
            )  # fmt: skip
        return store

    def _bootstrap(self, directory: Path) -> LogStore:
        config = self.config
        create(config.state_machine)  # Refuse an unknown name before anything is made.
        identity = Identity(
            cluster_id_of(config.peers, config.cluster_token),
            config.node_id,
            config.state_machine,
            created_ms=now_ms(),
        )
        kv = RocksStore.create(directory)
        try:
            store = LogStore.bootstrap(
                kv, identity, ConfState(voters=sorted(config.peers)), config.peers
            )
            check_token(kv, config.cluster_token)
        except BaseException:
            kv.close()
            raise
        self.log.info(
            "made a new group's member",
            cluster=identity.cluster_id.hex(), voters=sorted(config.peers), data=str(directory),
        )  # fmt: skip
        return store

    async def _join(self, directory: Path) -> LogStore | None:
        config = self.config
        chosen = config.origins["state_machine"] != "default"
        mine = Expectations(
            node_id=config.node_id,
            cluster_id=b"",
            incarnation=self._incarnation,
            state_machine=config.state_machine if chosen else "",
            version=__version__,
            advertise=config.advertise,
        )
        finding = self._loop.create_task(
            find_group(config.join, mine, self.log, self.operations.security)
        )
        stopping = self._loop.create_task(self._stop.wait())
        feeding = self.operations.looking(config.join)
        await asyncio.wait({finding, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, feeding):
            task.cancel()
        if not finding.done():
            finding.cancel()
            return None
        reply = finding.result()
        create(reply.state_machine)
        identity = Identity(
            reply.cluster_id, config.node_id, reply.state_machine, created_ms=now_ms()
        )
        kv = RocksStore.create(directory)
        try:
            store = LogStore.join(kv, identity, dict(reply.addrs))
            check_token(kv, config.cluster_token)
        except BaseException:
            kv.close()
            raise
        self.log.info(
            "found the group, waiting to be added",
            cluster=identity.cluster_id.hex(), data=str(directory),
        )  # fmt: skip
        return store

    # --- putting together ---------------------------------------------------------------------

    def _assemble(self, store: LogStore) -> None:
        config, log, loop = self.config, self.log, self._loop
        clear_stage(store.kv, store.load_epoch())
        machine = create(store.identity.state_machine)
        self.applier = applier = Applier(
            store.kv,
            store,
            machine,
            lambda entry: raw.apply_conf_entry(entry),  # noqa: PLW0108  (made below)
            own_incarnation=self._incarnation,
        )
        raw: RawNode[LogStore] = RawNode(
            Config(
                id=config.node_id,
                tag=str(config.node_id),
                election_tick=config.election_ticks,
                heartbeat_tick=TICKS_PER_HEARTBEAT,
                applied=store.applied.index,
                max_size_per_msg=config.max_size_per_msg,
                max_inflight_msgs=config.max_inflight_msgs,
                max_inflight_bytes=config.max_inflight_bytes,
                max_uncommitted_size=config.max_uncommitted_size,
                max_committed_size_per_ready=config.max_committed_size,
                check_quorum=config.check_quorum,
                read_only_option=(
                    ReadOnlyOption.LeaseBased
                    if config.read_mode == "lease"
                    else ReadOnlyOption.Safe
                ),
                pre_vote=config.pre_vote,
                batch_append=True,
                disable_proposal_forwarding=True,
            ),
            store,
            log.bind(part="raft"),
            random.SystemRandom(),
        )
        self.book = book = AddressBook(config.node_id, config.advertise)
        book.replicated = dict(applier.addresses)
        self.known_data = KnownData(store.kv)
        self.replica = Replica(store, applier)
        self.state_flusher = Flusher(
            lambda: store.kv.flush_family(ColumnFamily.STATE), self._state_flushed
        )
        self.replica.go_ahead(lambda: self.state_flusher.flush(0))
        self.outbound = Outbound(
            self._mine,
            log,
            on_unreachable=self._unreachable,
            # A lambda because what takes it is made further down.
            on_snapshot=lambda message: self.snapshots.send(message),  # noqa: PLW0108
            on_up=lambda peer_id: self.node.links_changed(),
            on_down=self._link_lost,
            on_refused=self._refused,
            on_left_out=lambda config: self.node.left_out(config),  # noqa: PLW0108
            security=self.operations.security,
            patience=Patience.between_members(config.election_timeout),
        )
        self._unreported: set[int] = set()
        self.node = node = Node(
            config,
            raw,
            Driver(
                raw, self.operations.timed(self.replica.persist), partial(hit_changes, "durable")
            ),
            sync=store.sync,
            network=self.outbound,
            incarnation=self._incarnation,
            log=log,
            on_fail=self._failed,
        )
        node.standing.why_unreachable = self._why_unreachable
        node.on_conf_change = self._conf_changed
        node.on_applied.append(self._applied)
        self.relays = Relays(self.outbound.send_frame)
        self.membership = Membership(node, book, self._probe)
        self.parts = Parts(
            config=config,
            identity=store.identity,
            node=node,
            store=store,
            applier=applier,
            outbound=self.outbound,
            book=book,
            membership=self.membership,
            relays=self.relays,
            loop=loop,
            loop_name=self._loop_name,
            started=loop.time(),
            config_since=loop.time(),
        )
        self.snapshots = Snapshots(
            config,
            node,
            store,
            applier,
            self.replica,
            SnapshotStore(
                Path(os.path.abspath(config.data_dir)) / "snapshots",
                config.snapshot_keep,
                load=False,
            ),
            book,
            self._dial_for_snapshot,
            log,
        )
        self.retention = Retention(
            config,
            store,
            self.replica,
            lambda: self.applier.index,
            self.snapshots.needed_from,
            node.fail,
            log,
        )
        self.upkeep = Upkeep(config, node, applier, now_ms, log)
        self.operations.reloader.steps.append(self.upkeep.reconsider)
        self.service = Service(self.parts)
        for served in (
            LookingService(self.service),
            GroupService(self.service),
            LogService(self.service),
            DataService(self.service, self.snapshots, self.retention),
        ):
            self.service.offer(served.handlers, served.streams)
        self.operations.attach(self.parts, self.service)
        self.peers = Peers(
            node,
            self.service,
            self.snapshots,
            self.outbound,
            self.relays,
            book,
            self.parts.heard,
            self._mine,
            self._refresh_links,
            self.known_data,
            log,
        )
        self.inbound = Inbound(self.peers, log, self.operations.security)
        self.operations.on_new_authorities(self.inbound.hang_up, self.outbound.hang_up)
        self.admin = AdminServer(config, self.service, log)
        node.on_turn_end = self.admin.flush
        self.operations.reloader.steps.append(self.admin.reloaded)
        self.parts.client_count = lambda: self.admin.count
        self.parts.admin_refusals = lambda: {
            "refused_clients": self.admin.refused_clients,
            "refused_requests": self.admin.refused_frames,
        }
        self.parts.refused_connections = lambda: self.inbound.refused
        self.parts.snapshot_info = self.snapshots.info
        self.parts.snapshot_progress = self.snapshots.progress
        self._tell_differences()

    async def _listen(self) -> None:
        config = self.config
        try:
            await self.inbound.listen(config.listen)
        except OSError as error:
            raise StartFailed(
                f"cannot listen on {config.listen} for peers: {error.strerror or error}; "
                "is another raftd running there, or is --listen not an address of this host?"
            ) from None
        try:
            await self.admin.listen()
        except OSError as error:
            raise StartFailed(
                f"cannot make the admin socket {config.admin_socket}: {error.strerror or error}"
            ) from None
        try:
            await self.operations.listen()
        except OSError as error:
            raise StartFailed(
                f"cannot listen on --metrics-listen {config.metrics_listen}: "
                f"{error.strerror or error}"
            ) from None

    def _begin(self) -> None:
        heap.settle()
        self.node.start()
        self._refresh_links()
        if self.config.join:
            self._announcer = Announcer(
                self.config.join, self._mine, self._is_waiting, self.log, self.operations.security
            )
        self.log.info(
            "serving",
            version=__version__,
            peers=self.config.listen,
            admin=str(self.config.admin_socket),
            loop=self._loop_name,
            cluster=self.parts.identity.cluster_id.hex(),
            applied=self.applier.index,
        )
        self.operations.serving()

    def _is_waiting(self) -> bool:
        node = self.node
        if node.standing.has_left:
            return False
        return node.standing.belonging.told is not None or node.id not in node.raft.prs.ids()

    def _tell_differences(self) -> None:
        """Say where the flags differ from what the group has agreed on, which wins."""
        config, agreed = self.config, self.book.replicated
        if not agreed or config.origins["peers"] == "default":
            return
        for node_id in sorted({*config.peers, *agreed}):
            given, known = config.peers.get(node_id), agreed.get(node_id)
            if given != known:
                self.log.warning(
                    "peers differ",
                    peer=node_id, flag=given or "absent", group=known or "absent",
                )  # fmt: skip

    # --- between the parts --------------------------------------------------------------------

    def _mine(self) -> Expectations:
        found = self._local
        prs = self.node.raft.prs
        if found is None or found.removed is not prs.removed:
            identity = self.parts.identity
            found = self._local = Expectations(
                node_id=identity.node_id,
                cluster_id=identity.cluster_id,
                incarnation=self._incarnation,
                state_machine=identity.state_machine,
                version=__version__,
                advertise=self.config.advertise,
                # Any id of this group is heard: whoever lags behind a change of membership must
                # still vote for the members that it does not know of yet.
                members=None,
                removed=prs.removed,
                addrs=self.book.replicated,
                config=self._config_to_tell(),
                data_made_ms=identity.created_ms,
                data_known=self.known_data.made,
            )
        return found

    def _config_to_tell(self) -> ConfState | None:
        """Return the configuration in force; None if this node is not in it either."""
        node = self.node
        if node.standing.belonging.aside or node.id not in node.raft.prs.ids():
            return None
        return node.raft.prs.to_conf_state()

    def _refused(self, error: RefusedByPeer) -> None:
        """Draw the consequences of a member's refusal to talk to this node."""
        # Who has left keeps what it has, to be looked at; an empty disk under an id that has left,
        # or that other data belongs to, is a mistake to be told at once.
        empty = self.applier.index <= BOOTSTRAP_INDEX
        if error.code == Code.DATA_LOST or (error.code == Code.REMOVED_MEMBER and empty):
            self._failed(error)
        elif error.code == Code.REMOVED_MEMBER:
            self.node.turned_away(error.config)
            self._local = None
            self._refresh_links()

    def _conf_changed(self, state: ConfState) -> None:
        self._local = None
        self.parts.config_since = self._loop.time()
        self.log.info(
            "configuration",
            voters=sorted(state.voters),
            learners=sorted(state.learners),
            voters_outgoing=sorted(state.voters_outgoing),
            index=state.config_index,
        )
        if self.node.standing.has_left and not self.node.standing.belonging.expelled:
            self.log.warning(REMOVED, advice="stop this node; its data may be deleted")
        self._refresh_links()
        self.peers.note_data()
        # They hear it from the log, or else when they dial again.
        self._loop.call_later(_FAREWELL_SECONDS, self.peers.hang_up)

    def _applied(self) -> None:
        if self.applier.addresses is not self._addresses_seen:
            self._addresses_seen = self.applier.addresses
            self._local = None
            self._refresh_links()
        self.retention.consider()
        self.snapshots.consider()
        self.upkeep.consider()

    _addresses_seen: Mapping[int, str] | None = None

    def _refresh_links(self) -> None:
        self.book.replicated = dict(self.applier.addresses)
        if self.node.standing.has_left:
            # Nobody listens to it any more; dialing again and again would only disturb.
            self.outbound.set_peers({})
            return
        state = self.node.raft.prs.to_conf_state()
        links = self.book.links(state, self._loop.time(), self.peers.connections)
        self.outbound.set_peers(links)

    def _unreachable(self, peer_id: int) -> None:
        # Told to the core after the present turn: it is in the middle of one.
        if not self._unreported:
            self._loop.call_soon(self._report_unreachable)
        self._unreported.add(peer_id)

    def _report_unreachable(self) -> None:
        found, self._unreported = self._unreported, set()
        for peer_id in sorted(found):
            self.node.unreachable(peer_id)

    def _link_lost(self, peer_id: int) -> None:
        self.relays.lost(peer_id)
        self.node.links_changed()

    def _why_unreachable(self, peer_id: int) -> str:
        link = self.outbound.link(peer_id)
        if link is None:
            return "its address is not known"
        seconds = self._loop.time() - link.state.since
        return f"{link.state.error or 'not connected'} for {seconds:.0f} s"

    async def _dial_for_snapshot(
        self, address: str, peer_id: int, on_frame: Callable[[bytes], None]
    ) -> Dialer:
        dialer, _ = await dial(
            address,
            self._mine(),
            Hello.SNAPSHOT,
            peer_id,
            on_frame,
            security=self.operations.security,
        )
        return dialer

    async def _probe(self, peer_id: int, address: str) -> str:
        """Dial a node and return why that fails; empty if it is the one meant."""
        if not address:
            return "its address is not known"
        try:
            dialer, _ = await dial(
                address, self._mine(), Hello.PROBE, peer_id, security=self.operations.security
            )
        except (OSError, RemoteError) as error:
            return f"{error} at {address}"
        dialer.abort()
        return ""

    def _state_flushed(self, _mark: int, _seconds: float, failure: BaseException | None) -> None:
        """Large values that were written ahead are durable."""
        if failure is not None:
            self.node.fail(failure)
        else:
            self.applier.flush_ended()

    # --- stopping -----------------------------------------------------------------------------

    async def _orderly_stop(self) -> None:
        """Hand leadership over and let what is under way finish, within bounds."""
        deadline = self._loop.time() + self.config.shutdown_timeout
        work = self._loop.create_task(self._wind_down(deadline))
        hurry = self._loop.create_task(self._hurry.wait())
        await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, hurry):
            task.cancel()
        if work.done() and not work.cancelled() and work.exception() is not None:
            self.log.warning("the stop was not orderly", reason=str(work.exception()))

    async def _wind_down(self, deadline: float) -> None:
        node = self.node
        node.engine.closing = True
        if self.config.transfer_on_stop and node.is_leader:
            target = node.standing.best_successor()
            if target:
                self.log.info("handing leadership over", to=target)
                node.call(lambda: node.raw.transfer_leader(target))
                await self._until(
                    lambda: not node.is_leader,
                    min(deadline, self._loop.time() + 2 * self.config.election_timeout),
                )
        await self._until(
            lambda: len(node.proposing) == 0, min(deadline, self._loop.time() + _DRAIN_SECONDS_MAX)
        )

    async def _until(self, holds: Callable[[], bool], deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                while not holds():
                    await self.node.changed()
        except TimeoutError:
            return

    async def _close(self, store: LogStore, clean: bool) -> None:
        """Close what has been opened, in the order in which nobody is left without an answer."""
        self.operations.close()
        if self._announcer is not None:
            self._announcer.close()
        if hasattr(self, "node"):
            self.node.stop()
        if hasattr(self, "state_flusher"):
            self.state_flusher.close()
        if hasattr(self, "admin"):
            self.service.close()
            # One round of the loop, so that what was just answered is written.
            await asyncio.sleep(0)
            self.admin.close()
            self.inbound.close()
            self.outbound.close()
            # Threads may still use the store: it is closed behind them.
            await self.snapshots.close()
            await self.retention.close()
        try:
            if clean and hasattr(self, "replica"):
                # So that the next start has nothing to apply anew.
                self.replica.save()
            store.close()
        except Exception as error:
            if clean:
                raise
            self.log.error("the data could not be closed in good order", reason=str(error))
        self.log.info("stopped")


class StartFailed(Exception):
    """The node could not start for a reason outside its data."""


__all__ = ["Daemon", "cluster_id_of", "exit_status", "run"]
