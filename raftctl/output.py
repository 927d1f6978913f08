"""How answers are shown: one JSON object, lines of JSON, or text with aligned tables."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from raftctl.errors import CtlError

SCHEMA: Final = "raftctl/v1"

_SGR: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


@dataclass(frozen=True)
class Meta:
    """Who answered, and what that node took for the leader and the term when it did."""

    node: int = 0
    leader: int = 0
    term: int = 0
    cluster_id: str = ""


class Styled(str):
    """A piece of text with a style (``bold``, ``red``, ...), which only a terminal gets to see."""

    __slots__ = ("style",)
    style: str

    def __new__(cls, text: object, style: str = "") -> Styled:
        """Make the text; several styles are separated by spaces."""
        made = super().__new__(cls, text)
        made.style = style
        return made


def printable(data: bytes) -> str:
    """Show bytes that came from anywhere on one line, safely.

    UTF-8 is shown as it is, with control characters escaped: what somebody proposed must not be
    able to move the cursor of the terminal it is shown on. Anything else is shown as hex.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "0x" + data.hex()
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def format_bytes(count: int) -> str:
    """Return a size for people: ``512B``, ``1.5KiB``, ``3.2GiB``."""
    if count < 1024:
        return f"{count}B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f}{unit}"
    return f"{size / 1024:.1f}TiB"


def format_ms(milliseconds: float) -> str:
    """Return a duration for people: ``0.8ms``, ``240ms``, ``3.2s``, ``5m10s``, ``2h5m``."""
    if milliseconds < 10:
        return f"{milliseconds:.1f}ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{seconds}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m"
    return f"{hours // 24}d{hours % 24}h"


def format_ids(ids: Iterable[int]) -> str:
    """Return ids as ``1,2,3``, or an en dash when there are none."""
    return ",".join(str(i) for i in sorted(ids)) or "-"


class Output:
    """The way to standard output and standard error: data on the first, messages on the second.

    Attributes:
        format: ``table``, ``json``, ``ndjson`` or ``plain``.
        quiet: Leave out what is not an answer.
        color: Whether text may be styled.
        live: Whether standard output is a terminal that can be redrawn.
    """

    def __init__(
        self,
        format: str = "table",
        *,
        color: str = "auto",
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.format = format
        self.quiet = quiet
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr
        dumb = os.environ.get("TERM") == "dumb"
        terminal = self.stdout.isatty()
        wanted = terminal and not dumb and not os.environ.get("NO_COLOR")
        self.color = color == "always" or (color == "auto" and wanted and format == "table")
        self.live = terminal and not dumb and format == "table"

    @property
    def machine(self) -> bool:
        """Whether a program reads the answer."""
        return self.format in ("json", "ndjson")

    def style(self, text: str, style: str) -> str:
        """Return the text with the style, or as it is where styles are off."""
        if not self.color or not style or not text:
            return str(text)
        codes = ";".join(_SGR[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def result(
        self,
        meta: Meta,
        data: Mapping[str, Any] | Sequence[Any],
        human: Callable[[], None] | None = None,
        *,
        rows: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        """Show the answer of a command.

        Args:
            meta: Who answered.
            data: The answer; its field names are a promise to scripts.
            human: Prints it for people.
            rows: For ``ndjson``: the items of a list-like answer, a line each.
        """
        if self.format == "json":
            self._json(self._envelope(meta, data), pretty=self.stdout.isatty())
        elif self.format == "ndjson":
            for item in rows if rows is not None else [self._envelope(meta, data)]:
                self._json(item)
        elif human is not None:
            human()

    def record(self, item: Mapping[str, Any], human: Callable[[], None]) -> None:
        """Show one item of an endless answer: a line of JSON for programs, text for people."""
        if self.machine:
            self._json(item)
        else:
            human()
        self.stdout.flush()

    def error(self, error: CtlError, meta: Meta | None = None) -> None:
        """Show a failure: an object on standard output for programs, two lines for people."""
        if self.machine:
            envelope: dict[str, Any] = {"schema": SCHEMA, "ok": False}
            if meta is not None and meta.node:
                envelope |= {"node": meta.node, "leader": meta.leader, "term": meta.term}
            envelope["error"] = error.as_dict()
            if error.data and self.format == "json":
                envelope["data"] = error.data
            self._json(envelope, pretty=self.format == "json" and self.stdout.isatty())
            return
        color = self.color and self.stderr.isatty()
        name = f"\x1b[1;31merror\x1b[0m ({error.code})" if color else f"error ({error.code})"
        self.stderr.write(f"raftctl: {name}: {error.message}\n")
        if error.hint:
            self.stderr.write(f"  hint: {error.hint}\n")

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line of the answer for people."""
        self.stdout.write(self.style(text, style) + "\n")

    def note(self, text: str) -> None:
        """Tell something beside the answer, on standard error; not in quiet or machine modes."""
        if self.quiet or self.machine:
            return
        self.stdout.flush()
        color = self.color and self.stderr.isatty()
        self.stderr.write(f"\x1b[2m{text}\x1b[0m\n" if color else f"{text}\n")
        self.stderr.flush()

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write aligned columns; those that hold only numbers are aligned to the right."""
        for text in self.format_table(headers, rows):
            self.stdout.write(text + "\n")

    def format_table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
        """Return the lines of a table, the header first, without trailing blanks."""
        cells = [[cell if isinstance(cell, str) else str(cell) for cell in row] for row in rows]
        widths = [
            max([len(header), *(len(row[n]) for row in cells)]) for n, header in enumerate(headers)
        ]
        right = [
            all(_is_figure(row[n]) for row in cells)
            and any(row[n] not in ("", "-") for row in cells)
            for n in range(len(headers))
        ]
        lines = []
        head: list[str] = [Styled(header, "bold") for header in headers]
        for row in [head, *cells]:
            parts = []
            for n, cell in enumerate(row):
                padding = " " * (widths[n] - len(cell))
                shown = self.style(cell, getattr(cell, "style", ""))
                last = n == len(row) - 1
                parts.append(padding + shown if right[n] else shown + ("" if last else padding))
            lines.append("  ".join(parts).rstrip())
        return lines

    def pairs(self, items: Sequence[tuple[str, object]]) -> None:
        """Write ``name  value`` lines with the values aligned."""
        width = max(len(name) for name, _ in items)
        for name, value in items:
            shown = self.style(str(value), getattr(value, "style", ""))
            self.stdout.write(f"{self.style(name, 'dim')}{' ' * (width - len(name))}  {shown}\n")

    def binary(self, data: bytes) -> None:
        """Write bytes as they are, for pipes."""
        self.stdout.flush()
        self.stdout.buffer.write(data)
        self.stdout.buffer.flush()

    def _envelope(self, meta: Meta, data: object) -> dict[str, Any]:
        envelope: dict[str, Any] = {
            "schema": SCHEMA,
            "ok": True,
            "node": meta.node,
            "leader": meta.leader,
            "term": meta.term,
        }
        if meta.cluster_id:
            envelope["cluster_id"] = meta.cluster_id
        envelope["as_of"] = now()
        envelope["data"] = data
        return envelope

    def _json(self, item: object, *, pretty: bool = False) -> None:
        text = json.dumps(item, ensure_ascii=False, indent=2 if pretty else None)
        self.stdout.write(text + "\n")


def now() -> str:
    """Return the wall-clock time in UTC, to the millisecond."""
    seconds = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{int(seconds % 1 * 1000):03d}Z"


def _is_figure(cell: str) -> bool:
    # "3", "12ms", "1.5KiB", "98%", "-" line up on the right; addresses and names do not.
    return cell in ("-", "") or (cell[0].isdigit() and ":" not in cell and "," not in cell)
