"""The group under torture: raftd processes, their links, and who is down, stopped or gone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from raftwire import AdminError, Client, Code
from raftwire.proto.admin_pb2 import StatusReply
from tests.harness.checkers import Violation
from tests.harness.processes import DEADLINE, Cluster, Node, environment, free_port, wait_for
from tests.torture.proxy import Proxies

GUARD = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Daemons do not outlive whoever tortures them, even if that is killed."""


@dataclass
class TorturedNode(Node):
    """A raftd that may be started inside something, with something more in its environment."""

    prefix: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    listen: str = ""
    """Where it listens; its address may be a proxy's."""

    def start(self, *more: str) -> None:
        """Start it, or start it again."""
        assert not self.running, f"node {self.id} runs already"
        command = [
            *GUARD, *self.prefix, sys.executable, "-m", "raftd", "--id", str(self.id),
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
        # The kernel shares the processors between sessions first, and this is a session of its own.
        # Somewhat nice when we are: as nice as 15 says, and on a busy machine it would never elect.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/autogroup").write_text(str(os.nice(0) // 3))

    def state(self) -> str:
        """Return the kernel's letter for what the process does; T: stopped."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return ""
        return text.rpartition(")")[2].split()[0]

    def said(self, words: str) -> int:
        """Return how many lines of its log hold ``words``."""
        try:
            return sum(
                words in line for line in self.log_path.read_text("utf-8", "replace").splitlines()
            )
        except OSError:
            return 0


class Links(Protocol):
    """What carries the links between nodes, and can be put under rules."""

    def rule(self, links: Iterable[tuple[int, int]], mode: str, delay: float = 0.0) -> None:
        """Put links under a rule."""
        ...

    def heal(self) -> None:
        """Lift all rules."""
        ...

    def touched(self) -> int:
        """Return how often the present rules did something."""
        ...

    def close(self) -> None:
        """Remove all of it."""
        ...


class Scene(Cluster):
    """A group whose nodes reach each other through proxies on loopback.

    Args:
        size: How many first voters.
        rng: Chooses victims.
        options: Further arguments of every raftd.
    """

    where = "loopback"
    """The word for where its rounds run."""
    true_clocks = True
    """Whether the nodes' wall clocks are this machine's."""

    def __init__(self, size: int, rng: random.Random, *options: str) -> None:
        self.rng = rng
        self.network = self.open_network()
        self.down: set[int] = set()
        """Nodes that are meant not to run now."""
        self.stopped: set[int] = set()
        """Nodes that are stopped by a signal."""
        self.deaths = 0
        """How often a daemon was seen to be killed by SIGKILL."""
        self.last_id = 0
        """The highest id there ever was: none may return."""
        self.read_log: Callable[[], None] = lambda: None
        """Has the log read by whoever keeps all of it, before it is cut."""
        super().__init__(size, "--state-machine", "kv", *options)
        for node in self.all():
            node.arguments += ["--listen", node.listen]

    def open_network(self) -> Links:
        """Return what carries the links."""
        return Proxies()

    def _new(self, node_id: int) -> Node:
        ports: list[int] = []
        self.last_id = max(self.last_id, node_id)
        for _ in range(2):
            ports.append(free_port([*self._ports, *ports]))
        self._ports += ports
        public, private = ports
        assert isinstance(self.network, Proxies)
        self.network.listen(node_id, public, private)
        node = TorturedNode(
            node_id, f"127.0.0.1:{public}", self.folder, listen=f"127.0.0.1:{private}"
        )
        self.nodes[node_id] = node
        return node

    def join(self, node_id: int, *contacts: int) -> Node:
        """Start a new node that announces itself to ``contacts`` and waits to be added."""
        node = self._new(node_id)
        assert isinstance(node, TorturedNode)
        node.arguments = [
            "--join", ",".join(self.nodes[contact].address for contact in contacts),
            "--listen", node.listen, "--advertise", node.address, *self.options,
        ]  # fmt: skip
        node.start()
        wait_for(f"node {node_id} to answer", lambda: node.status() is not None)
        return node

    def close(self) -> None:
        """Kill every node, and remove all there is."""
        super().close()
        self.network.close()

    # --- looking ------------------------------------------------------------------------------

    def node(self, node_id: int) -> TorturedNode:
        """Return a node."""
        node = self.nodes[node_id]
        assert isinstance(node, TorturedNode)
        return node

    def all(self) -> list[TorturedNode]:
        """Return all nodes, by id."""
        return [self.node(node_id) for node_id in sorted(self.nodes)]

    def answering(self) -> list[int]:
        """Return the nodes that are meant to answer now."""
        return [i for i in sorted(self.nodes) if i not in self.down and i not in self.stopped]

    def sockets(self) -> list[str]:
        """Return all admin sockets: clients find out for themselves who is down."""
        return [str(node.socket) for node in list(self.nodes.values())]

    def statuses(self) -> dict[int, StatusReply]:
        """Return what each node says of itself, of those that answer."""
        found = {i: self.nodes[i].status() for i in self.answering()}
        return {i: reply for i, reply in found.items() if reply is not None}

    def leader_now(self, deadline: float = DEADLINE) -> int:
        """Return who leads, by the highest term; waits until somebody does."""
        found = 0

        def look() -> bool:
            nonlocal found
            leading = [(r.term, i) for i, r in self.statuses().items() if r.role == "leader"]
            found = max(leading, default=(0, 0))[1]
            return found != 0

        wait_for("a leader", look, deadline)
        return found

    def leader_or_any(self) -> int:
        """Return who leads, or anybody if nobody can just now: another fault may be under way."""
        try:
            return self.leader_now(2.0)
        except AssertionError:
            return self.rng.choice(sorted(set(self.nodes) - self.down) or sorted(self.nodes))

    def voters(self) -> list[int]:
        """Return the voters, as the leader has them."""
        status = self.nodes[self.leader_now()].status()
        return sorted(status.config.voters) if status is not None else []

    def check_alive(self) -> None:
        """Fail if a daemon has ended that nobody killed.

        Raises:
            Violation: One has.
        """
        for node in self.all():
            if node.id not in self.down and node.process is not None and not node.running:
                status = node.process.returncode
                raise Violation(
                    "died", f"node {node.id} ended by itself with {status}:\n{node.last_lines(15)}"
                )

    # --- doing --------------------------------------------------------------------------------

    def strike(self, ids: Iterable[int]) -> int:
        """Kill nodes with SIGKILL, as close together as can be; return how many died of it."""
        victims = [self.node(i) for i in ids]
        self.down |= {node.id for node in victims}
        for node in victims:
            if node.running:
                node.signal(signal.SIGKILL)
        died = 0
        for node in victims:
            assert node.process is not None
            died += node.process.wait() == -signal.SIGKILL
        self.deaths += died
        return died

    def revive(self, ids: Iterable[int] | None = None) -> None:
        """Start nodes that are down, or all."""
        for node_id in sorted(self.down if ids is None else ids):
            self.node(node_id).start()
            self.down.discard(node_id)

    def freeze(self, ids: Iterable[int]) -> bool:
        """Stop nodes by SIGSTOP; return whether the kernel says that all are."""
        victims = [self.node(i) for i in ids if i not in self.down]
        self.stopped |= {node.id for node in victims}
        for node in victims:
            node.signal(signal.SIGSTOP)
        end = time.monotonic() + 2.0
        while any(node.state() != "T" for node in victims):
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return bool(victims)

    def thaw(self) -> None:
        """Let all stopped nodes go on."""
        for node_id in list(self.stopped):
            node = self.node(node_id)
            if node.running:
                node.signal(signal.SIGCONT)
            self.stopped.discard(node_id)

    def drop(self, node_id: int) -> None:
        """Forget a node that is no member any more."""
        node = self.nodes.pop(node_id)
        self.down.discard(node_id)
        self.stopped.discard(node_id)
        if node.running:
            node.signal(signal.SIGCONT)
        node.kill()

    def asked(self, what: Callable[[Client], object], seconds: float = DEADLINE) -> str:
        """Ask the group for something until it is done; return the last refusal, empty if none.

        For what an operator would try again: a leader that has just gone, a change under way.
        """
        end = time.monotonic() + seconds
        said = ""
        while True:
            try:
                with Client(
                    [str(self.nodes[i].socket) for i in self.answering()], timeout=5.0
                ) as client:
                    what(client)
            except AdminError as error:
                said = f"{error.code}: {error.message}"
                if error.code in _FINAL or time.monotonic() > end:
                    return said
                time.sleep(0.1)
            else:
                return ""


_FINAL = frozenset(
    {Code.NOT_JOINT, Code.ALREADY_JOINT, Code.UNKNOWN_MEMBER, Code.REMOVED_MEMBER,
     Code.INVALID_CONFIG, Code.INVALID_REQUEST, Code.PRECONDITION}
)  # fmt: skip
"""Refusals that asking again does not change."""

CPUS = os.cpu_count() or 1
