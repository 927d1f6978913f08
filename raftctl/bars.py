"""Progress of something long: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from raftctl.output import Output

EVERY: Final = 2.0
"""Seconds between two plain lines."""


class Bars:
    """A bar for each member (or other thing) that is on its way; a context manager."""

    def __init__(self, out: Output, title: str) -> None:
        self._out = out
        self._title = title
        self._rich: Any = None
        self._tasks: dict[int, Any] = {}
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._out.live and not self._out.quiet and self._out.stderr.isatty():
            # Only a terminal pays for rich.
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", style="dim"),
                console=Console(file=self._out.stderr),
                transient=True,
            )
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def update(self, key: int, done: int, total: int, note: str = "") -> None:
        """Say how far something has got.

        Args:
            key: The member's id; 0: it is of no member.
            done: How much of ``total`` is there.
            total: How much there is to do; may grow.
            note: A word on what it is doing.
        """
        if self._rich is not None:
            if key not in self._tasks:
                self._tasks[key] = self._rich.add_task(self._name(key), total=total, note="")
            self._rich.update(self._tasks[key], completed=done, total=total, note=note)
        elif time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self._out.note(f"{self._name(key)} at {done} of {total} {note}".rstrip())

    def _name(self, key: int) -> str:
        return f"{self._title}: node {key}" if key else self._title
