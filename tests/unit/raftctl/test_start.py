"""What a start costs: the modules that may be loaded, and that help loads no subcommand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftwire.proto.admin_pb2 import Response
from tests.cli import fake
from tests.cli.fake import FakeNode

FORBIDDEN = {
    "asyncio", "rich", "structlog", "rocksdict", "msgspec", "prometheus_client", "uvloop",
    "raftd", "raft.core", "raft.raw_node", "importlib.metadata", "subprocess", "tempfile",
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


def test_help_loads_no_subcommand() -> None:
    modules = loaded("--help")
    assert not any(m.startswith("raftctl.commands.") for m in modules)
    assert FORBIDDEN & modules == set()
    assert "google.protobuf" not in modules
