"""Logging: structlog to stderr, for people on a terminal, as JSON lines otherwise.

The only caller of ``structlog.configure``. A `Log` is what the rest of the daemon and the core get:
a level check that costs one comparison when nothing is logged, and a level that can be changed
while the daemon runs.
"""

import logging
import sys
from typing import Any, Final, TextIO

import structlog

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class _Level:
    """The threshold that all loggers of the process share."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = LEVELS["info"]


_level = _Level()


class Log:
    """A logger with fields bound to it; satisfies the core's ``Logger``."""

    __slots__ = ("_bound",)

    def __init__(self, bound: Any) -> None:
        self._bound = bound

    def bind(self, **values: Any) -> "Log":
        """Return a logger that adds ``values`` to all it says."""
        return Log(self._bound.bind(**values))

    def debug(self, event: str, /, **values: Any) -> None:
        """Tell what only somebody who debugs wants to read."""
        if _level.value <= 10:
            self._bound.debug(event, **values)

    def info(self, event: str, /, **values: Any) -> None:
        """Tell of something that happened as it should."""
        if _level.value <= 20:
            self._bound.info(event, **values)

    def warning(self, event: str, /, **values: Any) -> None:
        """Tell of something that should not have happened and was dealt with."""
        if _level.value <= 30:
            self._bound.warning(event, **values)

    def error(self, event: str, /, **values: Any) -> None:
        """Tell of something that failed."""
        if _level.value <= 40:
            self._bound.error(event, **values)

    def critical(self, event: str, /, **values: Any) -> None:
        """Tell of what makes the node stop."""
        self._bound.critical(event, **values)


def level() -> str:
    """Return the name of the level in force."""
    return next(name for name, value in LEVELS.items() if value == _level.value)


def set_level(name: str) -> None:
    """Log ``name`` and all that is more severe, from now on.

    Raises:
        KeyError: not one of `LEVELS`.
    """
    _level.value = LEVELS[name]


def set_up(level_name: str, log_format: str, stream: TextIO | None = None) -> Log:
    """Configure logging for the process and return its first logger.

    Args:
        level_name: One of `LEVELS`.
        log_format: ``console``, ``json``, or ``auto``: console if ``stream`` is a terminal.
        stream: Where to; None for stderr.
    """
    stream = sys.stderr if stream is None else stream
    set_level(level_name)
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.BoundLogger,
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    log = Log(structlog.get_logger())
    # asyncio reports what nobody awaited through the standard library.
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    return log


class _Bridge(logging.Handler):
    """Hands records of the standard library's logging to ours."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Say what ``record`` says."""
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        exception = {"exc_info": record.exc_info} if record.exc_info else {}
        say(record.getMessage(), logger=record.name, **exception)
