"""Run tests that are stories in a file: a command, what it prints, the next command.

A file holds cases, apart by blank lines::

    # Why this case is here.
    command key=value key=(a b c) flag
    further lines of input, if the command takes any
    ----
    what the command must print

A value in parentheses is a list, its items apart by blanks or commas. A value with blanks of
its own goes into double quotes. Output that holds a blank line stands between two doubled
rules, `----` twice before it and twice after it. A command that prints nothing has nothing
after its rule.

The handler of a test gets a `Directive` and returns what it prints; it never asserts, and an
error is output, too. With `pytest --rewrite` the file is written anew with what was printed:
read the difference, and commit it only if you can say why each line changed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

RULE = "----"

_TOKEN = re.compile(
    r"""\s*(?P<key>[^\s=()"]+)
        (?:=(?: \((?P<list>[^()]*)\) | "(?P<quoted>[^"]*)" | (?P<plain>[^\s()"]*) ))?
        (?=\s|$)""",
    re.VERBOSE,
)


class FileError(Exception):
    """The file is not one of cases; the message says where and why."""


@dataclass(slots=True)
class Directive:
    """One command of a file: what a handler gets.

    Reading an argument takes it; what no handler has read is told as a mistake, so that a
    misspelt key cannot pass for a default.
    """

    command: str
    arguments: dict[str, list[str]]
    input: str
    expected: str
    where: str
    _read: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        """Tell whether the argument is there, with or without a value."""
        self._read.add(key)
        return key in self.arguments

    def texts(self, key: str, default: list[str] | None = None) -> list[str]:
        """Return the items of an argument."""
        self._read.add(key)
        if key in self.arguments:
            return self.arguments[key]
        if default is None:
            raise FileError(f"{self.where}: {self.command} needs {key}=")
        return default

    def text(self, key: str, default: str | None = None) -> str:
        """Return the one value of an argument."""
        values = self.texts(key, None if default is None else [default])
        if len(values) != 1:
            raise FileError(f"{self.where}: {key} takes one value, not {len(values)}")
        return values[0]

    def number(self, key: str, default: int | None = None) -> int:
        """Return an argument as a whole number."""
        return self._number(key, self.text(key, None if default is None else str(default)))

    def numbers(self, key: str, default: list[int] | None = None) -> list[int]:
        """Return the items of an argument as whole numbers."""
        texts = self.texts(key, None if default is None else [str(item) for item in default])
        return [self._number(key, text) for text in texts]

    def pairs(self, key: str, default: dict[int, int] | None = None) -> dict[int, int]:
        """Return an argument like `match=(1:7 2:3)` as numbers by number."""
        if default is not None and not self.has(key):
            return default
        found = {}
        for text in self.texts(key):
            left, colon, right = text.partition(":")
            if not colon:
                raise FileError(f"{self.where}: {key} takes pairs like 1:7, not {text!r}")
            found[self._number(key, left)] = self._number(key, right)
        return found

    def _number(self, key: str, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise FileError(f"{self.where}: {key} takes whole numbers, not {text!r}") from None

    def unread(self) -> list[str]:
        """Return the keys that were given and never read."""
        return [key for key in self.arguments if key not in self._read]


Handler = Callable[[Directive], str]


def parse_command(line: str, where: str) -> tuple[str, dict[str, list[str]]]:
    """Take a line apart into its command and the items of each of its arguments."""
    tokens: list[tuple[str, list[str]]] = []
    position = 0
    while line[position:].strip():
        match = _TOKEN.match(line, position)
        if match is None:
            rest = line[position:].strip()
            raise FileError(f"{where}: cannot be read from here on: {rest!r}")
        position = match.end()
        if match["list"] is not None:
            items = match["list"].replace(",", " ").split()
        elif match["quoted"] is not None:
            items = [match["quoted"]]
        elif match["plain"] is not None:
            items = [match["plain"]]
        else:
            items = []
        tokens.append((match["key"], items))
    command, items = tokens[0]
    if items:
        raise FileError(f"{where}: a command comes first, not {command}=")
    arguments: dict[str, list[str]] = {}
    for key, items in tokens[1:]:
        if key in arguments:
            raise FileError(f"{where}: {key} is given twice")
        arguments[key] = items
    return command, arguments


@dataclass(slots=True)
class _Case:
    """A stretch of a file: lines to keep, then perhaps a directive with its output."""

    kept: list[str]
    directive: Directive | None = None


def _parse(text: str, name: str) -> Iterator[_Case]:
    lines = text.splitlines()
    kept: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        kept.append(line)
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{name}:{number}"
        command, arguments = parse_command(line, where)
        given: list[str] = []
        while True:
            if number == len(lines):
                raise FileError(f"{where}: no {RULE} ends this command")
            line = lines[number]
            kept.append(line)
            number += 1
            if line == RULE:
                break
            given.append(line)
        expected: list[str] = []
        if number < len(lines) and lines[number] == RULE:
            number += 1
            while lines[number : number + 2] != [RULE, RULE]:
                if number >= len(lines):
                    raise FileError(f"{where}: no doubled {RULE} ends this output")
                expected.append(lines[number])
                number += 1
            number += 2
        else:
            while number < len(lines) and lines[number].strip():
                expected.append(lines[number])
                number += 1
        directive = Directive(command, arguments, _joined(given), _joined(expected), where)
        yield _Case(kept, directive)
        kept = []
    yield _Case(kept)


def _joined(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _printed(output: str) -> str:
    """Return the output as it stands in a file, after the first rule."""
    lines = output.split("\n")[:-1]
    if any(not line.strip() or line == RULE for line in lines):
        return f"{RULE}\n{output}{RULE}\n{RULE}\n"
    return output


def run_text(text: str, name: str, handler: Handler) -> tuple[str, list[str]]:
    """Run all commands of a text.

    Returns:
        The text with what was printed, and a difference for each command that printed something
        else than the text says.
    """
    written: list[str] = []
    differences: list[str] = []
    for case in _parse(text, name):
        written += [line + "\n" for line in case.kept]
        directive = case.directive
        if directive is None:
            continue
        output = handler(directive)
        unread = directive.unread()
        if unread:
            raise FileError(f"{directive.where}: {directive.command} takes no {', '.join(unread)}")
        if output and not output.endswith("\n"):
            output += "\n"
        written.append(_printed(output))
        if output != directive.expected:
            difference = difflib.unified_diff(
                directive.expected.splitlines(),
                output.splitlines(),
                "expected",
                "printed",
                lineterm="",
            )
            differences.append(f"{directive.where}: {directive.command}\n" + "\n".join(difference))
    return "".join(written), differences


def run_file(path: Path, handler: Handler, *, rewrite: bool = False) -> None:
    """Run all commands of a file, and fail if one printed something else than the file says.

    Args:
        path: The file. A command that follows one with another output runs all the same.
        handler: Runs one command and returns what it prints.
        rewrite: Write the file anew with what was printed, and fail at nothing.
    """
    text = path.read_text(encoding="utf-8")
    written, differences = run_text(text, path.name, handler)
    if rewrite:
        if written != text:
            path.write_text(written, encoding="utf-8")
    elif differences:
        raise AssertionError(
            "\n\n".join([*differences, "If the new output is right: pytest --rewrite."])
        )


def files(folder: Path) -> list[Path]:
    """Return the files of cases in a folder, in order; there must be one at least."""
    found = sorted(folder.glob("*.txt"))
    if not found:
        raise FileError(f"{folder} holds no file of cases")
    return found
