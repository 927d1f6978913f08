"""Every example in the library's docstrings runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import raft


def _modules() -> list[ModuleType]:
    names = ["raft"] + [
        info.name
        for info in pkgutil.walk_packages(raft.__path__, "raft.")
        if not info.name.startswith("raft.proto.")
    ]
    return [importlib.import_module(name) for name in names]


@pytest.mark.parametrize("module", _modules(), ids=lambda module: module.__name__)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.failed == 0


def test_the_quick_start_has_examples() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    assert sum(len(test.examples) for test in finder.find(raft)) > 20
