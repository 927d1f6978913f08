"""strace attached to a running node: system calls fail or take long, and are marked as such."""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

from tests.harness.processes import Node, wait_for

INJECTED = "(INJECTED)"
DELAYED = "(DELAYED)"


@cache
def may_trace() -> str:
    """Return why this environment does not let processes be traced; empty: it does."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    found = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False, timeout=60
    )
    return "" if found.returncode == 0 else "processes may not be traced here"


class Strace:
    """Makes something of a node's system calls, from the moment it is made.

    Args:
        node: A running node.
        inject: As behind ``-e inject=``: the call, a colon, and what becomes of it.
        paths: Only calls on these files; none: all.
    """

    def __init__(self, node: Node, inject: str, *paths: Path) -> None:
        self._node = node
        self._trace = node.folder / f"{node.id}.trace"
        self._trace.unlink(missing_ok=True)
        only = [word for path in paths for word in ("-P", str(path))]
        call = inject.split(":", 1)[0]
        self._process = subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(node.pid), "-o", self._trace, *only,
             "-e", f"trace={call}", "-e", f"inject={inject}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for("strace to be attached", self._attached, 10.0)

    def _attached(self) -> bool:
        """Whether every thread is traced: any may make the next call."""
        if self._process.poll() is not None:
            return True
        try:
            threads = list(Path(f"/proc/{self._node.pid}/task").iterdir())
            return bool(threads) and all(
                "TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads
            )
        except OSError:
            return True

    def detach(self) -> None:
        """Take strace away again; the node goes on."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def calls(self, mark: str) -> int:
        """Return how many calls strace has marked, `INJECTED` or `DELAYED`."""
        try:
            return self._trace.read_text(errors="replace").count(mark)
        except OSError:
            return 0
