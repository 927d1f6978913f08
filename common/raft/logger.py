"""The shape of the logger that the library speaks to, and one that says nothing."""

from __future__ import annotations

from typing import Any, Final, Protocol


class Logger(Protocol):
    """What the core needs of a logger: an event in words, its numbers as keywords.

    The core never configures logging, adds no handler and formats nothing.
    """

    def debug(self, event: str, /, **values: Any) -> Any:
        """Tell what only somebody who debugs the protocol wants to read."""

    def info(self, event: str, /, **values: Any) -> Any:
        """Tell of a change of role, term or membership."""

    def warning(self, event: str, /, **values: Any) -> Any:
        """Tell of something a peer or the network did that it should not have done."""

    def error(self, event: str, /, **values: Any) -> Any:
        """Tell of something that failed and needs attention."""

    def critical(self, event: str, /, **values: Any) -> Any:
        """Tell of a broken invariant; the node stops after it."""


class NullLogger:
    """A `Logger` that says nothing."""

    __slots__ = ()

    def debug(self, event: str, /, **values: Any) -> None:
        """Say nothing."""

    def info(self, event: str, /, **values: Any) -> None:
        """Say nothing."""

    def warning(self, event: str, /, **values: Any) -> None:
        """Say nothing."""

    def error(self, event: str, /, **values: Any) -> None:
        """Say nothing."""

    def critical(self, event: str, /, **values: Any) -> None:
        """Say nothing."""


NULL_LOGGER: Final = NullLogger()
