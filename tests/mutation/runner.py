"""Runs mutants: a warmed-up process is forked for each, and runs the tests that cover it.

The parent has collected all tests and imported all code, and never changes. A child puts the
mutant's code into the live functions (`function.__code__`), runs tests from the quickest on until
one fails, and says so by its exit code. Processor time is limited: a mutant that loops is found by
that.
"""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.operators import Mutant, mutants_of

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "common" / "raft"
TESTS: Final = ("tests/unit/raft", "tests/conformance", "tests/paper", "tests/datadriven")
_SURVIVED, _KILLED, _BROKEN = 0, 1, 3
_MEMORY_BYTES: Final = 4 << 30
_LOOP_SECONDS: Final = 5.0
"""A mutant that takes so much processor time more than its tests loops for ever."""
_NEEDLESS: Final = ("cacheprovider", "faulthandler", "xdist")


class Tests:
    """The collected tests, by name, and how to run one."""

    def __init__(self, work: Callable[[Tests], int]) -> None:
        self.items: dict[str, pytest.Item] = {}
        self._work = work
        self.code: int | None = None

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work instead of running the tests one after the other."""
        self.items = {item.nodeid: item for item in session.items}
        gc.freeze()
        self.code = self._work(self)
        return True

    def passes(self, name: str) -> bool:
        """Whether a test passes."""
        reports = runtestprotocol(self.items[name], log=False, nextitem=None)
        return not any(report.failed for report in reports)


@dataclass(slots=True)
class Coverage:
    """Which tests ran which lines, and how long each test took (seconds of processor time)."""

    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write down."""
        return json.dumps({"tests": self.tests, "seconds": self.seconds})

    @classmethod
    def from_json(cls, text: str) -> Coverage:
        """Read what `to_json` wrote."""
        read = json.loads(text)
        lines = {
            file: {int(line): names for line, names in of_file.items()}
            for file, of_file in read["tests"].items()
        }
        return cls(lines, read["seconds"])

    def of(self, mutant: Mutant, seconds: float) -> list[str]:
        """The tests that run a mutant's lines, the quickest first, as many as take `seconds`."""
        lines = self.tests.get(mutant.file, {})
        found = {
            name
            for line in range(mutant.line, mutant.last_line + 1)
            for name in lines.get(line, ())
        }
        names = sorted(found, key=lambda name: (self.seconds[name], name))
        spent = accumulate(self.seconds[name] for name in names)
        return [name for name, sum_so_far in zip(names, spent, strict=True) if sum_so_far < seconds]


def in_child(work: Callable[[], int], *, cpu_seconds: float = 0) -> int:
    """Run `work()` in a forked process, whose exit code it returns; a signal's is negative."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = _BROKEN
        try:
            if cpu_seconds:
                limit = int(cpu_seconds) + 1
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
                resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                quiet = os.open(os.devnull, os.O_WRONLY)
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
            code = work()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def with_tests(work: Callable[[Tests], int]) -> int:
    """Import everything, collect the tests and call `work` with them; return what it returns."""
    tests = Tests(work)
    os.chdir(ROOT)
    options = ["-qq", "--capture=no", "--timeout=0", *(f"-pno:{name}" for name in _NEEDLESS)]
    code = pytest.main([*options, *TESTS], plugins=[tests])
    if tests.code is None:
        raise SystemExit(f"the tests cannot be collected (pytest says {code!r})")
    return tests.code


def measure(tests: Tests) -> Coverage:
    """Run all tests once, unchanged, and see which lines each of them runs."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "coverage.json"

        def work() -> int:
            found = Coverage()
            cov = coverage.Coverage(data_file=None, include=[f"{PACKAGE}/*"], config_file=False)
            cov.start()
            for name in tests.items:
                cov.switch_context(name)
                began = time.process_time()
                if not tests.passes(name):
                    print(f"{name} fails without any mutant", file=sys.stderr)
                    return _KILLED
                found.seconds[name] = time.process_time() - began
            cov.stop()
            data = cov.get_data()
            for path in data.measured_files():
                found.tests[str(Path(path).relative_to(PACKAGE))] = {
                    line: [name for name in names if name]
                    for line, names in data.contexts_by_lineno(path).items()
                }
            result.write_text(found.to_json())
            return _SURVIVED

        if in_child(work) != _SURVIVED:
            raise SystemExit("mutation needs tests that pass: see above")
        return Coverage.from_json(result.read_text())


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """All functions that a module defines, methods and getters included, by qualified name."""

    def within(names: Iterable[Any], prefix: str) -> Iterator[tuple[str, FunctionType]]:
        for value in names:
            made = [value]
            if isinstance(value, property):
                made = [value.fget, value.fset]
            elif isinstance(value, classmethod | staticmethod):
                made = [value.__func__]
            for maker in made:
                one = inspect.unwrap(maker) if callable(maker) else maker
                if isinstance(one, FunctionType) and one.__module__ == module.__name__:
                    yield one.__qualname__, one
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield from within(vars(value).values(), f"{prefix}{value.__name__}.")

    yield from within(vars(module).values(), "")


def _codes(code: CodeType) -> Iterator[CodeType]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from _codes(value)


class Source:
    """One module: its syntax tree, its mutants, and its live functions."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.path = PACKAGE / file
        self.tree = ast.parse(self.path.read_text(), str(self.path))
        dotted = "raft." + file.removesuffix(".py").replace("/", ".")
        self.module = importlib.import_module(dotted.removesuffix(".__init__"))
        self.functions: dict[str, list[FunctionType]] = {}
        for name, function in _functions(self.module):
            self.functions.setdefault(name, []).append(function)
        self.mutants = [m for m in mutants_of(file, self.tree) if m.function in self.functions]

    def plant(self, mutant: Mutant) -> bool:
        """Put a mutant into the live code; False if it does not compile to anything new."""
        undo = mutant.make()
        try:
            compiled = compile(self.tree, str(self.path), "exec", dont_inherit=True)
        finally:
            undo()
        planted = False
        for code in _codes(compiled):
            for function in self.functions.get(code.co_qualname, ()):
                old = function.__code__
                if old.co_firstlineno != code.co_firstlineno or old.co_freevars != code.co_freevars:
                    continue
                if old != code:
                    function.__code__ = code
                    planted = True
        return planted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: `killed`, `survived`, `uncovered` or `same`."""

    mutant: Mutant
    outcome: str


def judge(
    source: Source, mutant: Mutant, tests: Tests, covered: Coverage, seconds: float
) -> Verdict:
    """Run the tests of one mutant: as many as take `seconds` without it."""
    names = covered.of(mutant, seconds)
    if not names:
        return Verdict(mutant, "uncovered")
    same = 7

    def work() -> int:
        if not source.plant(mutant):
            return same
        return _SURVIVED if all(map(tests.passes, names)) else _KILLED

    expected = sum(covered.seconds[name] for name in names)
    code = in_child(work, cpu_seconds=_LOOP_SECONDS + 2 * expected)
    outcome = {_SURVIVED: "survived", same: "same"}.get(code, "killed")
    return Verdict(mutant, outcome)


def sources(files: Sequence[str]) -> list[Source]:
    """The modules to mutate."""
    return [Source(file) for file in files]
