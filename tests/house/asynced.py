"""Writes the asyncio form of what both clients share, from the blocking one.

``python -m tests.house.asynced`` writes; a test compares. psycopg and httpcore do the same. It was
thought of to have one typed table of calls instead, which both clients read: a method's type would
then differ by client in whether it is awaited, which Python's types cannot say of a table.

A method is made ``async def``, unless it only hands an iterator on; what it asks of the client is
awaited; loops over streams become ``async for``. What is not one of these few forms is not
translated, and mypy, which reads the result, would say so.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.house.tree import ROOT

WIRE: Final = ROOT / "common" / "raftwire"
MADE: Final = {"client_calls.py": "aio_calls.py", "client_kv.py": "aio_kv.py"}
"""The source, and what is made from it."""

_NAMES: Final = {
    "Calls": "AsyncCalls",
    "Client": "AsyncClient",
    "Iterator": "AsyncIterator",
    "Kv": "AsyncKv",
    "raftwire.client": "raftwire.aio",
    "a ``Client``": "an ``AsyncClient``",
    "blocking": "asyncio",
}
_STREAMS: Final = r"(?:self|client|self\._client)\.(?:stream|resumed|log_pages)\("
_AWAITED: Final = r"self\.(?:call|_read|_write|_client\.call)\("


def files() -> dict[Path, str]:
    """Return what each made file should hold."""
    return {WIRE / made: asynced(WIRE / source) for source, made in MADE.items()}


def asynced(source: Path) -> str:
    """Return the asyncio form of a module."""
    text = source.read_text()
    # The module's docstring speaks of this file; a made one has a line instead.
    tree = ast.parse(text)
    first = ast.get_docstring(tree)
    assert first is not None
    lines = text.splitlines()
    doc = tree.body[0]
    subject = first.splitlines()[0]
    lines[doc.lineno - 1 : doc.end_lineno] = [
        f'"""{subject}',
        "",
        f"Made from {source.name} by ``python -m tests.house.asynced``: change that one.",
        '"""',
    ]
    text = "\n".join(lines) + "\n"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            text = _methods(text, node)
    text = re.sub(rf"^( *)for (.*) in ({_STREAMS})", r"\1async for \2 in \3", text, flags=re.M)
    text = re.sub(
        rf"^( *)yield from ({_STREAMS}.*)$",
        r"\1async for one in \2:\n\1    yield one",
        text,
        flags=re.M,
    )
    text = re.sub(r"^( *)yield from (.*)$", r"\1for one in \2:\n\1    yield one", text, flags=re.M)
    text = re.sub(rf"({_AWAITED})", r"await \1", text)
    for name in sorted(_NAMES, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", _NAMES[name], text)
    return _formatted(text)


def _methods(text: str, owner: ast.ClassDef) -> str:
    """Make ``async def`` of the methods that wait."""
    lines = text.splitlines(keepends=True)
    for method in owner.body:
        if not isinstance(method, ast.FunctionDef) or method.name == "__init__":
            continue
        yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(method))
        returns = ast.unparse(method.returns) if method.returns else ""
        if yields or not returns.startswith("Iterator"):
            at = method.lineno - 1
            lines[at] = lines[at].replace("def ", "async def ", 1)
    return "".join(lines)


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--fix-only", "--select", "I"], ["format"]):
        text = subprocess.run(
            [ruff, *command, "--quiet", "--stdin-filename", WIRE / "made.py", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


def main() -> None:
    """Write every file that is not as it should be, and say which."""
    for path, text in files().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
