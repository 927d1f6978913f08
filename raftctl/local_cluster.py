"""raftd processes on this machine, in a folder of their own, that are gone when it is closed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from raftctl.errors import CtlError

PORTS: Final = range(20_000, 32_000)
"""Below what the kernel gives to outgoing connections, so that a port chosen stays free."""


@dataclass
class Node:
    """One raftd, running or not.

    Attributes:
        id: Its node id.
        address: Where it listens for the others.
        command: What it is started with.
        process: The last process; None before the first start.
    """

    id: int
    address: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the last start; 0 before it."""
        return self.process.pid if self.process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None


class LocalCluster:
    """A folder with raftd processes in it; a context manager that leaves nothing behind.

    Attributes:
        folder: Holds each node's data (``1/``), socket (``1.sock``) and log (``1.log``).
        keep: Set it to leave processes and folder alone at the end.
        nodes: By id.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.keep = False
        self.nodes: dict[int, Node] = {}
        self._addresses: dict[int, str] = {}
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        import importlib.util

        if importlib.util.find_spec("raftd") is None:
            raise CtlError("FAILED", "raftd is not installed beside raftctl.", hint="")
        # A short path: the address of a Unix socket holds about a hundred bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="raft-", dir="/tmp"))
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second Ctrl-C must not cut the cleaning up short.
        with _undisturbed():
            if self.keep and error is None:
                return
            for node in self.nodes.values():
                self._kill(node)
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def address(self, id_: int) -> str:
        """Return where a node listens, or will: a loopback port that is free."""
        if id_ not in self._addresses:
            self._addresses[id_] = f"127.0.0.1:{_free_port(self._addresses)}"
        return self._addresses[id_]

    def start(self, id_: int, *arguments: str) -> Node:
        """Start a node, or start it again as it was; returns without waiting for it.

        Args:
            id_: The node's id.
            arguments: Of raftd, beside id, data folder and socket; empty to use the last ones.
        """
        node = self.nodes.get(id_)
        if node is None:
            command = ["raftd", "--id", str(id_), *arguments]
            command += ["--data-dir", str(id_), "--admin-socket", f"{id_}.sock"]
            node = self.nodes[id_] = Node(id_, self.address(id_), command)
        with open(self.folder / f"{id_}.log", "ab") as log:
            # A session of its own, so that Ctrl-C reaches only us and we stop it in good order.
            node.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *node.command],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return node

    def kill(self, id_: int) -> None:
        """Kill a node with SIGKILL and wait until it is gone."""
        self._kill(self.nodes[id_])

    def check(self) -> None:
        """Raise when a node has ended by itself.

        Raises:
            CtlError: With the last lines of its log.
        """
        for node in self.nodes.values():
            code = node.process.poll() if node.process is not None else None
            if code is not None and code != -signal.SIGKILL:
                raise CtlError(
                    "FAILED",
                    f"node {node.id} ended with status {code}:\n{self.last_lines(node.id)}",
                    hint="",
                )

    def write_stop(self) -> Path:
        """Write a shell script that ends the nodes and removes the folder; return its path."""
        pids = " ".join(str(node.pid) for node in self.nodes.values() if node.running)
        stop = self.folder / "stop"
        # The folder goes last: a node that is still closing would write into it again.
        stop.write_text(
            "# Ends the nodes of this folder, and removes it.\n"
            f"kill {pids}\n"
            f"for pid in {pids}; do\n"
            "  while kill -0 $pid 2>/dev/null; do sleep 0.1; done\n"
            "done\n"
            f"rm -r {self.folder}\n"
        )
        return stop

    def last_lines(self, id_: int, count: int = 15) -> str:
        """Return the end of a node's log."""
        try:
            text = (self.folder / f"{id_}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-count:])

    def environment(self) -> dict[str, str]:
        """Return the environment of the processes: ours, without settings meant for others."""
        out = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RAFTD_", "RAFTCTL_"))
        }
        # From a source tree, what we were imported from is what the processes must import.
        import raftctl
        import raftwire

        roots = dict.fromkeys(str(Path(m.__path__[0]).parent) for m in (raftctl, raftwire))
        out["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [out.get("PYTHONPATH")])])
        return out

    def _kill(self, node: Node) -> None:
        # Only while it has not been waited for is the number surely still its own.
        if node.process is not None and node.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.process.pid, signal.SIGKILL)
            node.process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port(taken: dict[int, str]) -> int:
    used = {address.rpartition(":")[2] for address in taken.values()}
    for port in random.sample(PORTS, len(PORTS)):
        if str(port) in used:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CtlError("FAILED", "no port is free on 127.0.0.1.", hint="")
