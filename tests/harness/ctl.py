"""raftctl as a process of its own, as scripts use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness import answers
from tests.harness.processes import Node, environment


def raftctl(*args: str | Path, node: Node | None = None, expect: int = 0) -> Any:
    """Run raftctl --json as a process of its own, expect this status, return its answer."""
    where = ["-s", str(node.socket)] if node is not None else []
    command = [sys.executable, "-m", "raftctl", *where, "--json", "--timeout", "60s"]
    done = subprocess.run(
        [*command, *map(str, args)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, done.stdout.decode() + done.stderr.decode()
    answers.check([*command[3:], *map(str, args)], done.stdout.decode())
    return json.loads(done.stdout)["data" if expect == 0 else "error"]
