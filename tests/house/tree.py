"""The tracked files and what the modules among them import: what the house tests look at."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("common", "")
PACKAGES = ("raft", "raftwire", "raftd", "raftctl")


class Import(NamedTuple):
    """One import statement, with what it names made absolute."""

    module: str
    line: int
    #: At module level, so that importing the module executes it.
    at_import: bool


class Module(NamedTuple):
    """A Python file."""

    #: Dotted, as imported: ``raft.core``, ``tests.harness.disk``.
    name: str
    path: Path
    tree: ast.Module

    @property
    def label(self) -> str:
        """The file as a reader would look for it."""
        return str(self.path.relative_to(ROOT))


@cache
def project_files() -> tuple[Path, ...]:
    """Return the project's files: the tracked ones and those that are about to be.

    Outside a clone (an unpacked archive) everything is listed that is not obviously left behind.
    """
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(git, capture_output=True, check=True, timeout=30).stdout
        names = [name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
        ]
    return tuple(path for name in sorted(names) if (path := ROOT / name).is_file())


def generated(path: Path) -> bool:
    """Tell whether a file is the output of a tool."""
    return path.name.endswith(("_pb2.py", "_pb2.pyi"))


@cache
def modules() -> tuple[Module, ...]:
    """Return the project's Python modules, without generated ones."""
    found = []
    for path in project_files():
        if path.suffix != ".py" or generated(path):
            continue
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[0] == "common":
            parts = parts[1:]
        if parts[-1] == "__init__":
            parts.pop()
        tree = ast.parse(path.read_text(), str(path))
        found.append(Module(".".join(parts), path, tree))
    return tuple(found)


def imports(module: Module) -> Iterator[Import]:
    """Yield what a module imports, at its top or inside, for use or for types only."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    stack: list[tuple[ast.AST, bool]] = [(module.tree, True)]
    while stack:
        node, at_import = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_import)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, at_import)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            stack.append((child, at_import and not inside and not types_only))


def within(name: str, *rooms: str) -> bool:
    """Tell whether a dotted name is one of ``rooms`` or lies in one."""
    return any(name == room or name.startswith(room + ".") for room in rooms)
