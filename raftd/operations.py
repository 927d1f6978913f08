"""The operator's side of a running daemon, put together: what it tells, and what it can be told.

Settings and their reload, the service manager, the look at the node's health once a second, the
requests about the process.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from raftd import log as logging
from raftd.applier import Applied
from raftd.config import ConfigError, DaemonConfig
from raftd.dump import dump_text
from raftd.events import EventLog
from raftd.log import Log
from raftd.measures import Durations
from raftd.metrics import NodeCollector, exporter
from raftd.notify import Notifier
from raftd.pages import add_pages
from raftd.panorama import Panorama
from raftd.parts import Parts
from raftd.plan import Plan
from raftd.process import ProcessService
from raftd.reload import Reloader
from raftd.service import Service
from raftd.transport.security import PLAINTEXT, Security, Tls
from raftd.views import now_ms, one_line, role_of
from raftd.vitals import Room, Signs, Vitals
from raftd.web import WebServer

OPENING_SECONDS = 600.0
"""How long reading the data may take before the service manager gives up on it."""

Persist = Callable[[Plan], Sequence[Applied]]


class Operations:
    """What an operator has to do with.

    Args:
        failed: Called with what makes the node stop.
    """

    def __init__(
        self, config: DaemonConfig, log: Log, failed: Callable[[BaseException], None]
    ) -> None:
        self._config = config
        self._log = log
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._parts: Parts | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.events = EventLog(now_ms)
        logging.set_tap(self.events.take)
        self.reloader = Reloader(config, log)
        self.notifier = Notifier(os.environ)
        self.security: Security = PLAINTEXT
        self.apply_times = Durations()
        """How long writing and applying one batch takes, without the flush."""

    # --- before there is a node ---------------------------------------------------------------

    def secure(self) -> None:
        """Read the TLS files, if there are any.

        Raises:
            SecurityError: They cannot be used.
        """
        if self._config.tls:
            self.security = Tls(self._config, self._log, now_ms)
            self.reloader.steps.append(self.security.reload)

    def on_new_authorities(self, *actions: Callable[[], None]) -> None:
        """Have these called when others than before are trusted."""
        if isinstance(self.security, Tls):
            self.security.on_new_authorities.extend(actions)

    def opening(self) -> None:
        """The data is about to be read."""
        self.notifier.opening(OPENING_SECONDS)

    def looking(self, where: Sequence[str]) -> "asyncio.Task[None]":
        """A new node looks for its group: return a task that says so, and ends by being cancelled.

        It is as ready as it can be: a restart would not bring the group any sooner.
        """
        self.notifier.ready()
        self.notifier.status(f"looking for its group at {', '.join(where)}")
        return self._loop.create_task(self._feed(), name="watchdog")

    async def _feed(self) -> None:
        while True:
            self.notifier.alive()
            await asyncio.sleep((self.notifier.watchdog_seconds or 2.0) / 2)

    def timed(self, persist: Persist) -> Persist:
        """Return ``persist`` with its time taken."""
        note, clock = self.apply_times.note, time.perf_counter

        def timed(plan: Plan) -> Sequence[Applied]:
            started = clock()
            applied = persist(plan)
            note(clock() - started)
            return applied

        return timed

    # --- with a node --------------------------------------------------------------------------

    def attach(self, parts: Parts, service: Service) -> None:
        """There is a node now."""
        self._parts = parts
        parts.security = self.security
        config, log = self._config, self._log
        self.room = Room(config, parts, log)
        self.vitals = Vitals(
            config,
            self.notifier,
            lambda: _signs(parts),
            fsync=parts.node.flush_times.durations,
            apply=self.apply_times,
            room=self.room,
            log=log,
            extra=self._looked,
        )
        metrics = exporter(NodeCollector(parts, self.apply_times, self.room, self.vitals))
        process = ProcessService(config, self.reloader, self.events, metrics, log)
        service.offer(process.handlers, process.streams)
        self._web = WebServer(log)
        add_pages(self._web, parts, self.vitals, Panorama(parts, config, self.events), metrics)
        raft = parts.node.raft
        logging.set_context(lambda: {"term": raft.term, "index": raft.raft_log.applied})

    async def listen(self) -> None:
        """Serve the pages, if they are asked for.

        Raises:
            OSError: The address cannot be bound.
        """
        if self._config.metrics_listen is not None:
            await self._web.listen(self._config.metrics_listen)

    def serving(self) -> None:
        """The data is open and all sockets listen."""
        self.notifier.ready()
        task = self._loop.create_task(self.vitals.run(), name="vitals")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    def _looked(self, now: float) -> None:
        if self._parts is not None:
            self._parts.node.proposing.refusal = self.room.error
        self.security.look(now)

    def stopping(self) -> None:
        """The orderly stop begins."""
        self.notifier.stopping(self._config.shutdown_timeout)

    def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        if self._parts is not None:
            self._web.close()

    # --- signals ------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the settings again (SIGHUP); what is wrong is logged, nobody waits for it."""
        self.notifier.reloading()
        try:
            self.reloader.reload()
        except ConfigError:
            pass  # Said by the reloader.
        finally:
            self.notifier.ready()

    def dump(self) -> None:
        """Log what every task is doing (SIGUSR1)."""
        facts: list[tuple[str, object]] = []
        if self._parts is not None:
            node = self._parts.node
            raft = node.raft
            facts = [
                ("role", role_of(node)),
                ("leader", raft.leader_id),
                ("term", raft.term),
                ("commit", raft.raft_log.committed),
                ("applied", raft.raft_log.applied),
                ("pending proposals", len(node.proposing)),
                *sorted(self._parts.counters().items()),
            ]
        self._log.warning("dump", text=dump_text(facts))


def _signs(parts: Parts) -> Signs:
    node = parts.node
    joint = node.raft.prs.is_in_membership_change()
    return Signs(
        ticks=node.counters.ticks,
        flushes=node.flush_times.count,
        flushing=node.flush_waits,
        joint_seconds=parts.loop.time() - parts.config_since if joint else 0.0,
        text=one_line(node),
    )
