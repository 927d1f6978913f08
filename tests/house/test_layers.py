"""Who may import whom: raft <- raftwire <- {raftd, raftctl}, and what each room stays free of."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.house.tree import Module, imports, modules, within

#: What would make the core depend on a clock, a disk, a network or a logging framework.
IO = (
    "asyncio",
    "time",
    "datetime",
    "socket",
    "ssl",
    "select",
    "selectors",
    "os",
    "pathlib",
    "subprocess",
    "signal",
    "threading",
    "multiprocessing",
    "concurrent",
    "logging",
    "secrets",
    "uuid",
    "structlog",
    "click",
    "rich",
    "rocksdict",
    "prometheus_client",
    "uvloop",
    "msgspec",
)


class Rule(NamedTuple):
    """Modules in ``rooms``, but not in ``but``, import nothing of ``never`` save ``save``."""

    rooms: tuple[str, ...]
    never: tuple[str, ...]
    but: tuple[str, ...] = ()
    save: tuple[str, ...] = ()


REAL: Final = (
    "tests.harness.certificates",
    "tests.harness.ctl",
    "tests.harness.processes",
    "tests.harness.snapshot_proxy",
    "tests.harness.strace",
)
"""What runs real daemons, and so has clocks and sockets; the simulator never loads it."""


RULES = {
    "nobody imports the source root": Rule(
        ("raft", "raftwire", "raftd", "raftctl", "tests"), ("common",)
    ),
    "the product does not import its tests": Rule(
        ("raft", "raftwire", "raftd", "raftctl"), ("tests", "pytest", "hypothesis")
    ),
    "the core has no I/O": Rule(("raft",), IO),
    "the core stands alone": Rule(("raft",), ("raftwire", "raftd", "raftctl")),
    "progress knows only configurations and errors": Rule(
        ("raft.progress",),
        ("raft",),
        save=(
            "raft.progress",
            "raft.errors",
            "raft.invariant",
            "raft.eraftpb",
            "raft.logger",
            "raft.util",
        ),
    ),
    "the wire is below daemon and client": Rule(
        ("raftwire",), ("raftd", "raftctl", "click", "rocksdict", "structlog", "rich", "msgspec")
    ),
    "the wire takes only messages from the core": Rule(
        ("raftwire",), ("raft",), save=("raft.eraftpb", "raft.proto")
    ),
    "clients of the admin socket do not load the core": Rule(
        ("raftwire",), ("raft",), but=("raftwire.peer", "raftwire.proto")
    ),
    "the codecs have no I/O": Rule(
        ("raftwire",),
        (*IO, "raftwire.client", "raftwire.aio"),
        but=(
            "raftwire.client",
            "raftwire.client_kv",
            "raftwire._connection",
            "raftwire._pipeline",
            "raftwire.aio",
            "raftwire.aio_kv",
            "raftwire.paths",
        ),
        # A key is 16 random bytes; the package names its clients for type checkers.
        save=("secrets.token_hex", "raftwire.client", "raftwire.aio"),
    ),
    "the blocking client has no event loop": Rule(
        ("raftwire",), ("asyncio",), but=("raftwire.aio", "raftwire.aio_kv")
    ),
    "the plan is pure": Rule(
        ("raftd.plan",),
        (*IO, "raftwire", "raftd", "raftctl", "google"),
        # A place where a test has the process die: one comparison, and nothing is returned.
        save=("raftd.failpoints.hit_changes",),
    ),
    "daemon and client meet on the socket": Rule(("raftd",), ("raftctl",)),
    "client and daemon meet on the socket": Rule(("raftctl",), ("raftd", "raft")),
    "the client starts fast": Rule(("raftctl",), ("asyncio", "rocksdict", "structlog", "msgspec")),
    "one module parses the daemon's arguments": Rule(
        ("raftd",), ("click",), but=("raftd.cli", "raftd.__main__", "raftd.settings")
    ),
    "one module knows RocksDB": Rule(("raftd",), ("rocksdict",), but=("raftd.rocks",)),
    "what the simulator runs has no clock, socket or thread": Rule(
        (
            "raftd.plan",
            "raftd.applier",
            "raftd.sessions",
            "raftd.storage",
            "raftd.keys",
            "raftd.kvstore",
            "raftd.memory_store",
            "raftd.state_machine",
            "raftd.machines",
        ),
        ("asyncio", "time", "datetime", "socket", "select", "threading", "concurrent", "signal"),
    ),
    "the harness has no clock, socket or thread": Rule(
        ("tests.harness",),
        ("asyncio", "time", "datetime", "socket", "threading", "concurrent"),
        but=REAL,
    ),
    "the simulator starts no process": Rule(
        ("tests.simulation", "tests.harness"),
        REAL,
        but=REAL,
    ),
}


@pytest.mark.parametrize("name", list(RULES))
def test_layers(name: str) -> None:
    rule = RULES[name]
    broken = [
        f"{module.label}:{found.line} imports {found.module}"
        for module in modules()
        if within(module.name, *rule.rooms) and not within(module.name, *rule.but)
        for found in imports(module)
        if within(found.module, *rule.never) and not within(found.module, *rule.save)
    ]
    assert not broken, f"{name}:\n" + "\n".join(broken)


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_speaks_of_modules_that_exist(name: str) -> None:
    names = {module.name for module in modules()}
    for room in (*RULES[name].rooms, *RULES[name].but):
        if room != "raftwire.proto":  # Generated, so not among the modules looked at.
            assert any(within(found, room) for found in names), f"{room} does not exist"


def test_rich_is_imported_only_when_a_terminal_wants_it() -> None:
    early = [
        f"{module.label}:{found.line}"
        for module in modules()
        if within(module.name, "raftctl")
        for found in imports(module)
        if within(found.module, "rich") and found.at_import
    ]
    assert not early, "rich takes as long to import as all the rest: " + ", ".join(early)


def calls(module: Module, owner: str, *attributes: str) -> list[str]:
    return [
        f"{module.label}:{node.lineno} {owner}.{node.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
        and (not attributes or node.attr in attributes)
    ]


def _is_seeded(name: str) -> bool:
    return within(name, "raft", "raftwire", "tests.harness") and not within(name, *REAL)


def test_the_core_draws_on_no_global_randomness() -> None:
    drawn = [
        use
        for module in modules()
        if _is_seeded(module.name)
        for use in calls(module, "random")
        if not use.endswith(("random.Random", "random.SystemRandom"))
    ]
    drawn += [
        f"{module.label}:{found.line} {found.module}"
        for module in modules()
        if _is_seeded(module.name)
        for found in imports(module)
        if within(found.module, "random") and found.module not in ("random", "random.Random")
    ]
    assert not drawn, "a random.Random is injected: " + ", ".join(drawn)


def test_only_one_module_configures_logging() -> None:
    configured = [
        use
        for module in modules()
        if within(module.name, "raftd") and module.name != "raftd.log"
        for use in calls(module, "structlog", "configure")
    ]
    assert not configured


def test_the_source_root_is_no_package() -> None:
    assert not any(module.name == "" for module in modules()), "common/__init__.py must not exist"


def test_the_reader_of_imports_sees_them_all() -> None:
    source = """
import asyncio
from . import frame
from .proto import admin_pb2
from ..outer import thing
if TYPE_CHECKING:
    import rocksdict
def lazy():
    from rich.table import Table
class Body:
    import click
"""
    module = Module("raftwire.sub.code", Path("code.py"), ast.parse(source))
    assert sorted((found.module, found.at_import) for found in imports(module)) == [
        ("asyncio", True),
        ("click", True),
        ("raftwire.outer.thing", True),
        ("raftwire.sub.frame", True),
        ("raftwire.sub.proto.admin_pb2", True),
        ("rich.table.Table", False),
        ("rocksdict", False),
    ]
    package = Module("raftwire.sub", Path("sub/__init__.py"), ast.parse("from . import frame"))
    assert [found.module for found in imports(package)] == ["raftwire.sub.frame"]
    assert within("raft.core.Raft", "raft.core")
    assert not within("raftd.core", "raft")
