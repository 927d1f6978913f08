"""Three raftd on this machine, with the kv state machine and fsync as installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import raftd
import raftwire
from raftwire import AdminError, Client
from raftwire.proto.admin_pb2 import StatusReply
from tests.bench.machine import BenchError, free_ports, kill, start, wait_for

ELECTION_TIMEOUT_S = 1.0
"""raftd's default, and etcd's."""


def environment() -> dict[str, str]:
    """The environment of processes that are to import what this one imports."""
    out = {k: v for k, v in os.environ.items() if not k.startswith(("RAFTD_", "RAFTCTL_"))}
    roots = dict.fromkeys(str(Path(module.__path__[0]).parent) for module in (raftd, raftwire))
    out["PYTHONPATH"] = os.pathsep.join(roots)
    return out


class Cluster:
    """A group of raftd processes; a context manager that kills them at the end.

    Args:
        folder: For data, sockets and logs.
        members: How many nodes.
        options: Further options of raftd.
    """

    def __init__(self, folder: Path, members: int = 3, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.ids = list(range(1, members + 1))
        self.sockets = [folder / f"{id_}.sock" for id_ in self.ids]
        self._addresses = {
            id_: f"127.0.0.1:{port}"
            for id_, port in zip(self.ids, free_ports(members), strict=True)
        }
        self._peers = ",".join(f"{id_}={address}" for id_, address in self._addresses.items())
        self._command = [
            sys.executable, "-m", "raftd", "--state-machine", "kv", "--log-level", "warning",
            *options,
        ]  # fmt: skip
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for id_ in self.ids:
                self.start(id_)
            self.wait_settled()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(error, BenchError):
            for id_ in self.ids:
                log = (self.folder / f"{id_}.log").read_text(encoding="utf-8", errors="replace")
                print(f"\nnode {id_} said last:\n{log[-2000:]}", file=sys.stderr)

    def close(self) -> None:
        """Kill every node."""
        for process in self._processes.values():
            kill(process)

    def add_node(self, id_: int) -> None:
        """Start a further node, which waits to be added to the group."""
        contacts = ",".join(self._addresses.values())
        self._addresses[id_] = f"127.0.0.1:{free_ports(1)[0]}"
        self.ids.append(id_)
        self.sockets.append(self.folder / f"{id_}.sock")
        self.start(id_, "--join", contacts, "--listen", self._addresses[id_])
        wait_for(lambda: self.status(id_) is not None, "for the new node to answer")

    def address(self, id_: int) -> str:
        """Return where a node listens for peers."""
        return self._addresses[id_]

    def pid(self, id_: int) -> int:
        """Return the process id of a node."""
        return self._processes[id_].pid

    def start(self, id_: int, *more: str) -> None:
        """Start a node, or start it again."""
        own = [
            *(more or ("--peers", self._peers)),
            "--id", str(id_), "--data-dir", str(self.folder / str(id_)),
            "--admin-socket", str(self.folder / f"{id_}.sock"),
        ]  # fmt: skip
        self._processes[id_] = start(
            [*self._command, *own], self.folder / f"{id_}.log", environment()
        )

    def kill(self, id_: int) -> None:
        """Kill a node with SIGKILL."""
        kill(self._processes[id_])

    @property
    def pids(self) -> list[int]:
        """Process ids, in the order of the node ids."""
        return [self._processes[id_].pid for id_ in self.ids]

    def socket(self, id_: int) -> Path:
        """Return the admin socket of a node."""
        return self.sockets[id_ - 1]

    def status(self, id_: int) -> StatusReply | None:
        """Return what a node says of itself; None if it does not answer."""
        process = self._processes[id_]
        if process.poll() is not None and process.returncode != -9:
            log = (self.folder / f"{id_}.log").read_text(encoding="utf-8", errors="replace")
            raise BenchError(f"node {id_} ended with status {process.returncode}:\n{log[-2000:]}")
        try:
            with Client(self.socket(id_), timeout=2, retries=False) as client:
                return client.status()
        except AdminError:
            return None

    def statuses(self) -> list[StatusReply]:
        """Return the answers of all nodes that answer."""
        return [status for id_ in self.ids if (status := self.status(id_)) is not None]

    def leader(self) -> int:
        """Return the id of the leader that all nodes name; 0 if they do not agree."""
        found = self.statuses()
        leaders = {status.leader for status in found}
        return leaders.pop() if len(found) == len(self.ids) and len(leaders) == 1 else 0

    def wait_settled(self, seconds: float = 60) -> None:
        """Wait until there is one leader and every node has applied what it has committed."""

        def settled() -> bool:
            found = self.statuses()
            return (
                len(found) == len(self.ids)
                and len({status.leader for status in found}) == 1
                and found[0].leader != 0
                and len({status.applied for status in found}) == 1
                and all(status.applied >= status.commit > 1 for status in found)
            )

        wait_for(settled, "for all nodes to agree", seconds)
