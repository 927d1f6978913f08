"""The names of events: the code uses no other, and all that are promised are used."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator

import pytest

from raftd.events import NAMES, EventLog
from tests.house.tree import Module, modules, within

SAYING = ("info", "warning", "error", "critical")


def constants() -> dict[str, str]:
    """Return the names that modules give to texts."""
    found: dict[str, str] = {}
    for module in modules():
        if within(module.name, "raftd"):
            for node in module.tree.body:
                value = node.value if isinstance(node, ast.AnnAssign) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    assert isinstance(node, ast.AnnAssign)
                    found[ast.unparse(node.target)] = value.value
    return found


CONSTANTS = constants()


def said(module: Module) -> Iterator[tuple[str | None, str]]:
    """Yield what a module logs at info or above: the name (None: not a literal), and where."""
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in SAYING
            and ast.unparse(node.func.value).split(".")[-1] in ("log", "_log", "logger", "_logger")
        ):
            first = node.args[0]
            where = f"{module.label}:{node.lineno}"
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, where
            else:
                yield CONSTANTS.get(ast.unparse(first)), where


#: Where a name is handed on: the logger itself, and the core's report of a broken invariant.
PASSED_ON = ("raftd.log", "raft.invariant")


def test_names_are_promised_and_promises_are_kept() -> None:
    found: dict[str, str] = {}
    for module in modules():
        if within(module.name, "raftd", "raft") and module.name not in PASSED_ON:
            for name, where in said(module):
                assert name is not None, f"{where}: an event's name is a text"
                found[name] = where
    unknown = {name: where for name, where in found.items() if name not in NAMES}
    assert not unknown, f"not in raftd.events.NAMES: {unknown}"
    assert set(NAMES) - set(found) - {"library"} == set()


def test_events_are_kept_up_to_a_number() -> None:
    log = EventLog(lambda: 7, keep=3)
    for n in range(5):
        log.take("stopped" if n else "unheard of", "info", {"n": n, "exc_info": object()})
    assert [event.sequence for event in log.after(0)] == [3, 4, 5]
    assert [event.sequence for event in log.after(4)] == [5]
    assert log.after(0)[0].fields == {"n": "2"}
    assert log.after(0)[0].kind == "life"


def test_who_follows_is_woken() -> None:
    async def follow() -> int:
        log = EventLog(lambda: 0)
        waiting = asyncio.ensure_future(log.more(0))
        await asyncio.sleep(0)
        log.take("stopped", "info", {})
        async with asyncio.timeout(5):
            await waiting
            await log.more(0)
        return len(log.after(0))

    assert asyncio.run(follow()) == 1


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_has_a_kind_and_a_meaning(name: str) -> None:
    kind, meaning = NAMES[name]
    assert kind in {
        "life", "election", "config", "snapshot", "peer", "storage", "limit", "security"
    }  # fmt: skip
    assert meaning.endswith(".")
