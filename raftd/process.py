"""Requests about the daemon as a process: its settings, its log level, its events, its metrics."""

import asyncio
from collections.abc import AsyncIterator, Callable

from raftd import log as logging
from raftd.config import OPTIONS, ConfigError, DaemonConfig
from raftd.events import EventLog
from raftd.log import Log
from raftd.reload import Reloader
from raftd.serving import Caller
from raftwire.admin import Request, Response
from raftwire.errors import AdminError, Code

_EVENTS_PER_ANSWER = 100


class ProcessService:
    """Serves what has nothing to do with Raft.

    Args:
        metrics: Returns the metrics in Prometheus' text format.
    """

    def __init__(
        self,
        config: DaemonConfig,
        reloader: Reloader,
        events: EventLog,
        metrics: Callable[[], str],
        log: Log,
    ) -> None:
        self._config = config
        self._reloader = reloader
        self._events = events
        self._metrics = metrics
        self._log = log
        self._level_timer: asyncio.TimerHandle | None = None
        self.handlers = {
            "loglevel": self._loglevel,
            "config": self._show_config,
            "reload": self._reload,
            "metrics": self._show_metrics,
        }
        self.streams = {"events": self._stream_events}

    async def _loglevel(self, caller: Caller, request: Request) -> Response:
        wanted = request.loglevel
        response = Response()
        response.loglevel.previous = logging.level()
        if wanted.level:
            if wanted.level not in logging.LEVELS:
                raise AdminError(
                    Code.INVALID_REQUEST,
                    f"{wanted.level!r} is no level; there are {', '.join(logging.LEVELS)}",
                )
            self._set_level(wanted.level, wanted.for_ms / 1000)
        response.loglevel.level = logging.level()
        return response

    def _set_level(self, level: str, seconds: float) -> None:
        """Log from ``level`` up; after ``seconds``, unless 0, as the settings say again."""
        if self._level_timer is not None:
            self._level_timer.cancel()
            self._level_timer = None
        logging.set_level(level)
        self._log.info("log level set", level=level, seconds=seconds)
        if seconds:
            # Back to the settings, not to what was before: two such requests may overlap.
            self._level_timer = asyncio.get_running_loop().call_later(
                seconds, lambda: self._set_level(self._config.log_level, 0)
            )

    async def _show_config(self, caller: Caller, request: Request) -> Response:
        response = Response()
        for option in OPTIONS:
            value = option.shown(getattr(self._config, option.name))
            default = option.shown(option.default)
            response.config.items.add(
                key=option.key,
                value=_text(value),
                default_value=_text(default),
                origin=self._config.origins[option.name],
                reloadable=option.reload,
            )
        return response

    async def _reload(self, caller: Caller, request: Request) -> Response:
        try:
            adopted = self._reloader.reload()
        except ConfigError as error:
            raise AdminError(
                Code.INVALID_REQUEST,
                "the settings cannot be taken over: " + "; ".join(error.problems),
                hint="correct them and reload again; raftd --check-config checks them",
            ) from None
        response = Response()
        response.reload.changed.extend(adopted.changed)
        response.reload.needs_restart.extend(adopted.needs_restart)
        return response

    async def _show_metrics(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.metrics.text = self._metrics()
        return response

    async def _stream_events(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        since = request.events.since
        first = True
        while True:
            found = self._events.after(since)[:_EVENTS_PER_ANSWER]
            if found or first:
                first = False
                response = Response()
                response.events.SetInParent()
                for event in found:
                    since = event.sequence
                    response.events.events.add(
                        sequence=event.sequence,
                        time_ms=event.time_ms,
                        kind=event.kind,
                        message=event.name,
                        level=event.level,
                        fields=event.fields,
                    )
                yield response
            if len(found) == _EVENTS_PER_ANSWER:
                continue
            if not request.events.follow:
                return
            await self._events.more(since)


def _text(value: object) -> str:
    """Return a value of the settings in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
