"""Planted bugs: each changes the shipped code while it is on, to prove that the checks see it.

A mutant is a context manager in `MUTANTS`, by name::

    with MUTANTS["vote-not-persisted"]():
        ...  # the code has the bug here

Most are one `Edit`: a function's source with one piece of text replaced, compiled, and put in
place of the function's code, so that every reference to the function runs it. The text must occur
exactly once; when the shipped code changes, `MutantOutdated` says which mutant to look at.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Final


class MutantOutdated(Exception):
    """The code that a mutant changes is not what it was when the mutant was written."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One piece of a function's source to replace.

    Attributes:
        where: ``module:qualified.name`` of a function, method or property getter.
        old: Text that occurs exactly once in the function's source.
        new: What stands there instead.
    """

    where: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug.

    Attributes:
        name: Its name in the registry.
        what: What is wrong, in words.
        edits: How the code is changed, when that is all there is to it.
        caught_by: Ids of the checks that should see it (``I1`` ..., ``linearizability``,
            ``liveness``, ``search``), the most direct one first; empty: no check is expected to.
        number: Number of the family it belongs to in the list of planted bugs; 0: none.
        needs: What a run must be like for the bug to matter: passed to the simulator as settings.
        apply: A context manager that does more than edits do.
    """

    name: str
    what: str
    edits: Sequence[Edit] = ()
    caught_by: Sequence[str] = ()
    number: int = 0
    needs: dict[str, Any] = field(default_factory=dict)
    apply: Callable[[], AbstractContextManager[None]] | None = None

    def __call__(self) -> AbstractContextManager[None]:
        """Return a context manager in which the code has the bug."""
        return self._on()

    @contextmanager
    def _on(self) -> Iterator[None]:
        changed: list[tuple[FunctionType, Any]] = []
        try:
            for where in dict.fromkeys(edit.where for edit in self.edits):
                function = find_function(where)
                edits = [edit for edit in self.edits if edit.where == where]
                code = _edited(function, edits, self.name)
                changed.append((function, function.__code__))
                _planted.append((function, function.__code__, code))
                function.__code__ = code
            if self.apply is None:
                yield
            else:
                with self.apply():
                    yield
        finally:
            for function, code in reversed(changed):
                function.__code__ = code
            del _planted[len(_planted) - len(changed) :]


_planted: list[tuple[FunctionType, CodeType, CodeType]] = []
"""Functions with a bug just now, what they were before, and what they are."""


@contextmanager
def lifted() -> Iterator[None]:
    """A context manager in which the bugs that are edits are gone for a while."""
    for function, before, _ in reversed(_planted):
        function.__code__ = before
    try:
        yield
    finally:
        for function, _, planted in _planted:
            function.__code__ = planted


MUTANTS: Final[dict[str, Mutant]] = {}
"""All planted bugs by name."""


def register(mutant: Mutant) -> Mutant:
    """Add `mutant` to `MUTANTS`; names are used once."""
    if mutant.name in MUTANTS:
        raise ValueError(f"two mutants are called {mutant.name}")
    MUTANTS[mutant.name] = mutant
    return mutant


def find_function(where: str) -> FunctionType:
    """Return the function that ``module:qualified.name`` names."""
    module_name, _, path = where.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        # Not getattr: a classmethod or property is to be seen as what it is.
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    found = inspect.unwrap(found)
    if not isinstance(found, FunctionType):
        raise MutantOutdated(f"{where} is no function")
    return found


_sources: dict[FunctionType, str] = {}


def _edited(function: FunctionType, edits: Sequence[Edit], name: str) -> Any:
    """Compile `function` with the edits made, one after the other; return its code."""
    source = _sources.get(function)
    if source is None:
        source = _sources[function] = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        count = source.count(edit.old)
        if count != 1:
            raise MutantOutdated(
                f"mutant {name}: {edit.where} holds {edit.old!r} {count} times instead of once; "
                "the code has changed: write the mutant anew so that it plants the same bug"
            )
        source = source.replace(edit.old, edit.new)
    tree = ast.parse(source)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    namespace: dict[str, Any] = {}
    compiled = compile(
        tree,
        f"<mutant {name}>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    # The new code runs with the globals of the function whose code it becomes.
    exec(compiled, dict(function.__globals__), namespace)
    code = namespace[definition.name].__code__
    if code.co_freevars != function.__code__.co_freevars:
        raise MutantOutdated(
            f"mutant {name}: {edits[0].where} is a closure, which cannot be edited"
        )
    return code
