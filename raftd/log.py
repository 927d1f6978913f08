"""Logging: structlog to stderr or a file, for people on a terminal, as JSON lines otherwise.

The only caller of ``structlog.configure``. A `Log` is what the rest of the daemon and the core get:
a level check that costs one comparison when nothing is logged, and a level that can be changed
while the daemon runs. Every line carries the node's id and, once the node runs, its term and
applied index; its event is one of the names in events.py.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Let imports believe that the package ``name`` is not installed."""
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


# It would use rich, which is here for raftctl, to draw tracebacks; that is 5 MB.
with _without("rich"):
    import structlog

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

Tap = Callable[[str, str, Mapping[str, Any]], None]
"""Hears of all that is said at info or above, whatever is logged: (event, level, values)."""


class _State:
    """What all loggers of the process share."""

    __slots__ = ("context", "level", "name", "sink", "tap")

    def __init__(self) -> None:
        self.level = LEVELS["info"]
        self.name = "info"
        self.tap: Tap | None = None
        self.context: Callable[[], Mapping[str, Any]] | None = None
        self.sink: Sink | None = None


class Sink:
    """Where lines go: a stream, or a file that can be opened anew under its name (logrotate).

    Args:
        stream: Used while there is no file.
        path: The file; None: the stream.
    """

    def __init__(self, stream: TextIO, path: Path | None) -> None:
        self._stream = stream
        self._file: TextIO | None = None
        self._path: Path | None = None
        self.reopen(path)

    def reopen(self, path: Path | None) -> None:
        """Go on in ``path``, made if it is not there; None: in the stream.

        Raises:
            OSError: it cannot be opened; the lines go on where they went.
        """
        # Line buffered: what was said is in the file when the process is killed.
        opened = None if path is None else path.open("a", buffering=1, encoding="utf-8")
        former, self._file, self._path = self._file, opened, path
        if former is not None:
            former.close()

    @property
    def terminal(self) -> bool:
        """Whether a person looks at it."""
        return self._file is None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write a line."""
        return (self._file or self._stream).write(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        (self._file or self._stream).flush()


_state = _State()


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
        if _state.level <= 10:
            self._bound.debug(event, **values)

    def info(self, event: str, /, **values: Any) -> None:
        """Tell of something that happened as it should."""
        if _state.tap is not None:
            _state.tap(event, "info", values)
        if _state.level <= 20:
            self._bound.info(event, **values)

    def warning(self, event: str, /, **values: Any) -> None:
        """Tell of something that should not have happened and was dealt with."""
        if _state.tap is not None:
            _state.tap(event, "warning", values)
        if _state.level <= 30:
            self._bound.warning(event, **values)

    def error(self, event: str, /, **values: Any) -> None:
        """Tell of something that failed."""
        if _state.tap is not None:
            _state.tap(event, "error", values)
        if _state.level <= 40:
            self._bound.error(event, **values)

    def critical(self, event: str, /, **values: Any) -> None:
        """Tell of what makes the node stop."""
        if _state.tap is not None:
            _state.tap(event, "critical", values)
        self._bound.critical(event, **values)


def level() -> str:
    """Return the name of the level in force."""
    return _state.name


def set_level(name: str) -> None:
    """Log ``name`` and all that is more severe, from now on.

    Raises:
        KeyError: not one of `LEVELS`.
    """
    _state.level, _state.name = LEVELS[name], name


def set_tap(tap: Tap | None) -> None:
    """Have ``tap`` hear of everything at info or above; None: nobody."""
    _state.tap = tap


def set_context(context: Callable[[], Mapping[str, Any]] | None) -> None:
    """Add what ``context`` returns to every line that does not say it itself."""
    _state.context = context


def reopen(path: Path | None) -> None:
    """Go on logging in ``path``, opened anew; None: on standard error.

    Raises:
        OSError: it cannot be opened; logging goes on where it went.
    """
    if _state.sink is not None:
        _state.sink.reopen(path)


def set_up(
    level_name: str,
    log_format: str,
    stream: TextIO | None = None,
    path: Path | None = None,
) -> Log:
    """Configure logging for the process and return its first logger.

    Args:
        level_name: One of `LEVELS`.
        log_format: ``console``, ``json``, or ``auto``: console if ``stream`` is a terminal.
        stream: Where to; None for stderr.
        path: A file instead; None for the stream.

    Raises:
        OSError: the file cannot be opened.
    """
    sink = _state.sink = Sink(sys.stderr if stream is None else stream, path)
    set_level(level_name)
    console = log_format == "console" or (log_format == "auto" and sink.terminal)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sink.terminal)
        if console
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_context,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.BoundLogger,
        logger_factory=structlog.PrintLoggerFactory(sink),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    log = Log(structlog.get_logger())
    # asyncio reports what nobody awaited through the standard library.
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    return log


def _add_context(
    logger: Any, method: str, values: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if _state.context is not None:
        for name, value in _state.context().items():
            values.setdefault(name, value)
    return values


class _Bridge(logging.Handler):
    """Hands records of the standard library's logging to ours."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Say what ``record`` says."""
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        exception = {"exc_info": record.exc_info} if record.exc_info else {}
        say("library", words=record.getMessage(), logger=record.name, **exception)
