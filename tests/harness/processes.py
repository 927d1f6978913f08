"""Real raftd processes on this machine: started, killed, started again, and gone at the end."""

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
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import raft
import raftd
from raftwire import AdminError, Client
from raftwire.errors import Outcome
from raftwire.proto.admin_pb2 import LogEntry, StatusReply

DEADLINE = 30.0
"""Seconds that any condition may take; reached only when something is wrong."""

_PORTS = range(20_000, 32_000)
"""Below what the kernel gives to outgoing connections, so that a port chosen stays free."""


def free_port(taken: Iterable[int] = ()) -> int:
    """Return a loopback port that nobody uses now."""
    used = set(taken)
    for _ in range(1000):
        port = random.choice(_PORTS)
        if port in used:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_for(what: str, holds: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Return as soon as ``holds()``; fail, naming ``what``, when it takes too long."""
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:g} s in vain for {what}")
        time.sleep(0.02)


def environment() -> dict[str, str]:
    """Return an environment in which this tree's raftd is found, and nothing configures it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAFTD_", "RAFTCTL_"))}
    roots = dict.fromkeys(str(Path(module.__path__[0]).parent) for module in (raft, raftd))
    clean["PYTHONPATH"] = os.pathsep.join(roots)
    # An installed daemon comes with its code compiled. Where the environment keeps Python from
    # storing that, each start compiles a hundred modules anew, which takes longer than all else in
    # it; so it is stored beside the packages, and not in the source tree.
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    clean["PYTHONPYCACHEPREFIX"] = str(Path(sys.prefix, "pycache"))
    return clean


@dataclass
class Node:
    """One raftd, running or not.

    Attributes:
        id: Its node id.
        address: Where it listens for peers.
        folder: Holds its data, socket and log.
        arguments: What it is started with, beside id, data and socket.
        variables: What it finds in its environment.
        prefix: What it is started inside of, such as strace.
    """

    id: int
    address: str
    folder: Path
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    prefix: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        """Its admin socket."""
        return self.folder / f"{self.id}.sock"

    @property
    def data_dir(self) -> Path:
        """Its data directory."""
        return self.folder / str(self.id)

    @property
    def log_path(self) -> Path:
        """What it has written to stderr, over all its lives."""
        return self.folder / f"{self.id}.log"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self.process is not None
        return self.process.pid

    def start(self, *more: str) -> None:
        """Start it, or start it again; returns without waiting for it."""
        assert not self.running, f"node {self.id} runs already"
        command = [
            *self.prefix, sys.executable, "-m", "raftd", "--id", str(self.id),
            "--data-dir", str(self.data_dir), "--admin-socket", str(self.socket),
            "--log-format", "json", *self.arguments, *more,
        ]  # fmt: skip
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment() | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def terminate(self, deadline: float = DEADLINE) -> int:
        """Ask it to stop, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def wait(self, deadline: float = DEADLINE) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        assert self.process is not None
        return self.process.wait(deadline)

    def client(self, timeout: float = 5.0) -> Client:
        """Return a client of this node alone."""
        return Client(str(self.socket), timeout=timeout)

    def status(self) -> StatusReply | None:
        """Return what it says of itself; None if it does not answer."""
        if not self.running:
            return None
        try:
            with Client(str(self.socket), timeout=2.0) as client:
                return client.status()
        except AdminError:
            return None

    def last_lines(self, count: int = 20) -> str:
        """Return the end of its log, for a failing test."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-count:])


class Cluster:
    """Nodes of one group, in a folder that is removed with them.

    Args:
        size: How many first voters, ids 1 to ``size``.
        options: Further arguments of every raftd.
    """

    def __init__(self, size: int = 3, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="raftd-", dir="/tmp"))
        self.options = list(options)
        self.nodes: dict[int, Node] = {}
        self._ports: list[int] = []
        first = [self._new(node_id) for node_id in range(1, size + 1)]
        peers = ",".join(f"{node.id}={node.address}" for node in first)
        for node in first:
            node.arguments = ["--peers", peers, *self.options]

    def _new(self, node_id: int) -> Node:
        port = free_port(self._ports)
        self._ports.append(port)
        node = self.nodes[node_id] = Node(node_id, f"127.0.0.1:{port}", self.folder)
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                for node in self.nodes.values():
                    print(f"---- node {node.id}\n{node.last_lines()}", file=sys.stderr)
        finally:
            self.close()

    def close(self) -> None:
        """Kill every node and remove the folder."""
        for node in self.nodes.values():
            with contextlib.suppress(ProcessLookupError):
                if node.running:
                    # A stopped process takes the signal only when it goes on.
                    node.signal(signal.SIGCONT)
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __getitem__(self, node_id: int) -> Node:
        return self.nodes[node_id]

    # --- running ------------------------------------------------------------------------------

    def start(self, *ids: int) -> None:
        """Start these nodes, or all that do not run, and wait until they agree on a leader."""
        for node_id in ids or list(self.nodes):
            if not self.nodes[node_id].running:
                self.nodes[node_id].start()
        self.settle()

    def join(self, node_id: int, *contacts: int) -> Node:
        """Start a new node that announces itself to ``contacts`` and waits to be added."""
        node = self._new(node_id)
        addresses = ",".join(self.nodes[contact].address for contact in contacts)
        node.arguments = ["--join", addresses, "--listen", node.address, *self.options]
        node.start()
        wait_for(f"node {node_id} to answer", lambda: node.status() is not None)
        return node

    def running(self) -> list[Node]:
        """Return the nodes whose process is there."""
        return [node for node in self.nodes.values() if node.running]

    def settle(self, members: Iterable[int] | None = None) -> int:
        """Wait until all running members agree on a leader that can commit; return its id."""
        wanted = list(members) if members is not None else [node.id for node in self.running()]
        found = 0

        def agreed() -> bool:
            nonlocal found
            replies = [self.nodes[node_id].status() for node_id in wanted]
            # Who waits to be added, or has left, has no say.
            leaders = {
                reply.leader if reply is not None else 0
                for reply in replies
                if reply is None or reply.role not in ("joining", "removed")
            }
            if len(leaders) != 1 or 0 in leaders:
                return False
            found = leaders.pop()
            return found in self.nodes and self.nodes[found].running

        wait_for("the nodes to agree on a leader", agreed)
        with self.nodes[found].client(DEADLINE) as client:
            client.wait("leader", timeout=DEADLINE)
        return found

    def leader(self) -> int:
        """Return the id of the present leader, waiting for one."""
        return self.settle()

    def follower(self) -> int:
        """Return the id of some node that runs and does not lead."""
        leader = self.settle()
        return next(node.id for node in self.running() if node.id != leader)

    def client(self, *ids: int, timeout: float = 5.0) -> Client:
        """Return a client of these nodes, or of all."""
        chosen = ids or tuple(self.nodes)
        return Client([str(self.nodes[node_id].socket) for node_id in chosen], timeout=timeout)

    # --- comparing ----------------------------------------------------------------------------

    def applied(self, node_id: int, *types: str) -> list[LogEntry]:
        """Return the entries that a node has applied and keeps."""
        with self.nodes[node_id].client(DEADLINE) as client:
            return list(client.log_read(applied=True, types=types))

    def catch_up(self, ids: Iterable[int] | None = None) -> int:
        """Wait until these nodes (None: all that run) have applied the same; return the index."""
        wanted = list(ids) if ids is not None else [node.id for node in self.running()]
        reached = 0

        def equal() -> bool:
            nonlocal reached
            replies = [self.nodes[node_id].status() for node_id in wanted]
            if any(reply is None for reply in replies):
                return False
            marks = {(r.applied, r.commit, r.last_index) for r in replies if r is not None}
            if len(marks) != 1:
                return False
            applied, commit, _ = marks.pop()
            reached = applied
            return applied == commit

        wait_for("the nodes to apply the same", equal)
        return reached

    def check_equal(self, ids: Iterable[int] | None = None) -> list[LogEntry]:
        """Fail unless these nodes have applied the same where they overlap; return the longest."""
        wanted = list(ids) if ids is not None else [node.id for node in self.running()]
        last = self.catch_up(wanted)
        # A node that joined by a snapshot may have applied nothing since.
        logs = {node_id: log for node_id in wanted if (log := self.applied(node_id))}
        first = max(log[0].index for log in logs.values())
        reference = max(logs.values(), key=len)
        expected = [entry for entry in reference if first <= entry.index <= last]
        for node_id, log in logs.items():
            shown = [entry for entry in log if first <= entry.index <= last]
            assert shown == expected, f"node {node_id} has applied something else"
            assert [e.index for e in log] == list(range(log[0].index, log[-1].index + 1))
        return reference


@dataclass
class Written:
    """What became of the proposals of a `Writers`."""

    acknowledged: dict[bytes, int] = field(default_factory=dict)
    """Payload to index."""
    refused: set[bytes] = field(default_factory=set)
    """Said to be not applied."""
    unknown: set[bytes] = field(default_factory=set)
    codes: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each acknowledgement arrived, seconds of the monotonic clock."""

    def longest_gap(self, start: float, end: float) -> float:
        """Return the longest time in ``[start, end]`` without an acknowledgement, seconds."""
        marks = [start, *sorted(t for t in self.times if start < t < end), end]
        return max(after - before for before, after in pairwise(marks))


class Writers:
    """Clients that propose distinct payloads, each through one node, until told to stop.

    Args:
        cluster: Its nodes are written to.
        per_node: Clients of each node.
        timeout: Seconds that a proposal may take.
        ids: Only these nodes; None: all there are now.
    """

    def __init__(
        self,
        cluster: Cluster,
        per_node: int = 2,
        timeout: float = 5.0,
        ids: Iterable[int] | None = None,
    ) -> None:
        self.written = Written()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(
                target=self._run, args=(str(node.socket), f"{node.id}.{number}", timeout)
            )
            for node in (cluster[i] for i in (cluster.nodes if ids is None else ids))
            for number in range(per_node)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Written:
        """End the clients and return what they heard."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.written

    def wait_for_progress(self, count: int = 20) -> None:
        """Wait until this many further proposals are acknowledged."""
        with self._lock:
            goal = len(self.written.acknowledged) + count
        wait_for(f"{count} acknowledgements", lambda: len(self.written.acknowledged) >= goal)

    def _run(self, path: str, name: str, timeout: float) -> None:
        number = 0
        with Client(path, timeout=timeout, retries=False) as client:
            while not self._stop.is_set():
                number += 1
                payload = f"{name}.{number}".encode()
                try:
                    reply = client.propose(payload)
                except AdminError as error:
                    with self._lock:
                        self.written.codes.append(str(error.code))
                        if error.outcome is Outcome.UNKNOWN:
                            self.written.unknown.add(payload)
                        else:
                            self.written.refused.add(payload)
                    # A node that is down refuses at once: do not spin.
                    self._stop.wait(0.02)
                else:
                    with self._lock:
                        self.written.acknowledged[payload] = reply.index
                        self.written.times.append(time.monotonic())


def check_written(written: Written, log: list[LogEntry]) -> None:
    """Fail if an acknowledged proposal is missing, or a refused one is there, or one is double."""
    found: dict[bytes, int] = {}
    for entry in log:
        if entry.type == "normal":
            assert entry.data not in found, f"{entry.data!r} was applied twice"
            found[entry.data] = entry.index
    for payload, index in written.acknowledged.items():
        assert found.get(payload) == index, f"{payload!r} was acknowledged at {index} and is not"
    for payload in written.refused:
        assert payload not in found, f"{payload!r} was said to be not applied, and is"


@contextlib.contextmanager
def cluster(size: int = 3, *options: str) -> Iterator[Cluster]:
    """Run a group and wait until it has a leader."""
    with Cluster(size, *options) as group:
        group.start()
        yield group
