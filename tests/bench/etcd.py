"""Three etcd on this machine, and etcd's raft alone: what the ratios are ratios to."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.load import Result, cached, run_json
from tests.bench.machine import BenchError, free_ports, kill, start, wait_for

_HERE = Path(__file__).parent
_GO_PACKAGES = "/usr/share/gocode"
"""Where Debian's golang-etcd-server-dev puts etcd's sources."""


def missing() -> str:
    """Return what is missing for the comparison with etcd; empty if nothing is."""
    wanted = {"etcd": "etcd-server", "etcdctl": "etcd-client", "go": "golang-go"}
    packages = [package for program, package in wanted.items() if shutil.which(program) is None]
    if not Path(_GO_PACKAGES, "src/go.etcd.io/etcd/clientv3").is_dir():
        packages.append("golang-etcd-server-dev")
    return " ".join(packages)


def _build(name: str) -> Path:
    source = _HERE / name / "main.go"

    def build(program: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="raft-bench-go-") as cache:
            env = {**os.environ, "GO111MODULE": "off", "GOPATH": _GO_PACKAGES, "GOCACHE": cache}
            done = subprocess.run(
                ["go", "build", "-o", str(program), str(source)],
                env=env, capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise BenchError(f"cannot build {name}: {done.stderr.strip()[-2000:]}")

    return cached(name, [source], build)


def core(total: int) -> Result:
    """Return microseconds a proposal of etcd's raft with three nodes in memory."""
    return run_json([str(_build("etcd_core")), "-total", str(total)])


class Etcd:
    """A group of three etcd processes; a context manager that kills them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(6)
        self._clients, self._peers = ports[:3], ports[3:]
        self.endpoints = ",".join(f"127.0.0.1:{port}" for port in self._clients)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._load = Path()

    def __enter__(self) -> Self:
        self._load = _build("etcd_load")
        self.folder.mkdir(parents=True, exist_ok=True)
        group = ",".join(f"n{i}=http://127.0.0.1:{port}" for i, port in enumerate(self._peers))
        try:
            for i, (client, peer) in enumerate(zip(self._clients, self._peers, strict=True)):
                command = [
                    "etcd", "--name", f"n{i}", "--data-dir", str(self.folder / f"n{i}"),
                    "--listen-client-urls", f"http://127.0.0.1:{client}",
                    "--advertise-client-urls", f"http://127.0.0.1:{client}",
                    "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-cluster", group, "--initial-cluster-state", "new",
                    "--log-level", "error",
                ]  # fmt: skip
                self._processes.append(start(command, self.folder / f"n{i}.log"))
            wait_for(self._healthy, "for etcd to be healthy")
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

    def close(self) -> None:
        """Kill every node."""
        for process in self._processes:
            kill(process)

    def ctl(self, *arguments: str) -> bool:
        """Run etcdctl; return whether it succeeded."""
        done = subprocess.run(
            ["etcdctl", "--endpoints", self.endpoints, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0

    def _healthy(self) -> bool:
        return self.ctl("endpoint", "health")

    @property
    def pids(self) -> list[int]:
        """Process ids of the nodes."""
        return [process.pid for process in self._processes]

    def run(
        self,
        *,
        op: str = "put",
        clients: int = 1,
        size: int = 256,
        keys: int = 0,
        total: int = 0,
        seconds: float = 0.0,
        random: int = 0,
    ) -> Result:
        """Put load on all nodes; as `Load.run`."""
        return run_json(
            [
                str(self._load), "-endpoints", self.endpoints, "-op", op, "-clients", str(clients),
                "-size", str(size), "-keys", str(keys), "-total", str(total),
                "-seconds", str(seconds), f"-random={bool(random)}",
            ]
        )  # fmt: skip
