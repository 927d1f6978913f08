"""What a start costs: the modules that may be loaded, and that help loads no subcommand."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from raftwire.proto.admin_pb2 import Response
from tests.cli import fake
from tests.cli.fake import FakeNode

FORBIDDEN = {
    "asyncio", "rich", "structlog", "rocksdict", "msgspec", "prometheus_client", "uvloop",
    "raftd", "raft.core", "raft.raw_node", "importlib.metadata", "subprocess", "tempfile",
    "pathlib", "urllib", "ipaddress", "secrets", "ssl", "logging", "email", "http", "concurrent",
    "cryptography", "google.protobuf.descriptor_pb2", "google.protobuf.json_format",
}  # fmt: skip


def loaded(*args: str) -> set[str]:
    """Run raftctl in a process of its own and return the modules that it has loaded."""
    code = (
        "import sys\n"
        "from raftctl.cli import run\n"
        "run(sys.argv[1:])\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("format_", ["table", "json"])
def test_status_loads_only_what_it_needs(format_: str) -> None:
    with FakeNode() as node:
        node.answer("status", Response(status=fake.status()))
        modules = loaded("-s", node.socket, "status", "-o", format_)
    assert "raftctl.commands.status" in modules
    assert FORBIDDEN & modules == set()
    others = {m for m in modules if m.startswith("raftctl.commands.")} - {"raftctl.commands.status"}
    assert others == set()


def cpu_ms(*command: str) -> float:
    """Return the processor time that the cheapest of a few runs of a command took."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, capture_output=True, timeout=30, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(costs) * 1000


def test_status_costs_a_small_multiple_of_a_bare_interpreter() -> None:
    """120 ms of wall time are promised; under load only a ratio of processor times is steady.

    An interpreter that does nothing takes 12 ms where status takes 72, six times that.
    """
    with FakeNode() as node:
        node.answer("status", Response(status=fake.status()))
        status = cpu_ms(sys.executable, "-m", "raftctl", "-s", node.socket, "status")
    assert status < 8.5 * cpu_ms(sys.executable, "-c", "pass")


def test_help_loads_no_subcommand() -> None:
    modules = loaded("--help")
    assert not any(m.startswith("raftctl.commands.") for m in modules)
    assert FORBIDDEN & modules == set()
    assert "google.protobuf" not in modules
