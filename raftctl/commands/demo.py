"""``raftctl demo``: a cluster's life in under a minute, in the commands one would type."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from raftctl.errors import CtlError
from raftctl.group import command
from raftctl.local_cluster import LocalCluster
from raftctl.output import Output, format_ms
from raftctl.session import Session, pass_session
from raftwire import admin
from raftwire.admin import Call
from raftwire.client import Client
from raftwire.errors import WireError

T = TypeVar("T")

LIMIT: Final = 180.0
"""Seconds that the whole story may take; a step that would go beyond fails.

It takes about twenty. Where everything is slow the story is still true, so a busy machine gets a
late end rather than a failure; only what hangs is cut off.
"""

STEP_LIMIT: Final = 30.0
"""Seconds that one step may take."""

POLL: Final = 0.05
"""Seconds between two looks at a condition."""


@command("demo")
@click.option("--keep", is_flag=True, help="Leave the cluster running at the end.")
@pass_session
def demo(session: Session, keep: bool) -> None:
    """Run a cluster through its life, in under a minute.

    Three nodes agree, three more join, the group is reshaped, the leader is killed with -9 and
    comes back, and every node's log is compared at the end. Each step is shown as the command
    you would type, with its output. Everything is in a folder under /tmp that is removed at the
    end.
    """
    with LocalCluster() as cluster:
        story = Story(cluster, session.out)
        facts = story.tell()
        if keep:
            cluster.keep = True
            story.say_goodbye()
    session.out.result(session.meta, facts)


class Story:
    """The steps of the demo, in order, over one cluster."""

    def __init__(self, cluster: LocalCluster, out: Output) -> None:
        self.cluster = cluster
        self.out = out
        self.started = time.monotonic()
        self.acknowledged: list[bytes] = []

    def tell(self) -> dict[str, Any]:
        """Run every step.

        Returns:
            The figures of the run.

        Raises:
            CtlError: A step did not do what it should, or not in time.
        """
        self.three_nodes()
        self.proposals()
        self.seeing()
        self.three_more()
        self.reshape()
        self.promote()
        failover_ms = self.kill_leader()
        compared = self.compare()
        seconds = time.monotonic() - self.started
        self.title("Done")
        self.tell_line(f"All of it took {seconds:.1f} s. Nothing acknowledged was lost.")
        return {"seconds": round(seconds, 1), "failover_ms": failover_ms, **compared}

    # ---- the steps ----

    def three_nodes(self) -> None:
        """Start the first three nodes."""
        self.title("Three nodes")
        self.explain(
            "Each node is one process with a folder for its data and a socket for raftctl. "
            "The three are told of each other and elect a leader."
        )
        self.shell(f"cd {self.cluster.folder}")
        peers = ",".join(f"{i}={self.cluster.address(i)}" for i in (1, 2, 3))
        for id_ in (1, 2, 3):
            self.start(id_, "--peers", peers)
        self.until("a leader", lambda: self.leader(1) != 0)
        self.run("-s 1.sock wait leader")

    def proposals(self) -> None:
        """Propose through every node."""
        self.title("Proposals, through any node")
        self.explain("A node that does not lead passes it on, and answers once it is applied.")
        for id_, text in ((1, "hello"), (2, "from node two"), (3, "and from node three")):
            self.propose(id_, text)
        self.wait_applied(3, self.applied(1))
        self.run("-s 3.sock log show --type normal")

    def seeing(self) -> None:
        """Show the status and progress tables."""
        self.title("What the group is doing")
        self.run("-s 1.sock status")
        self.explain("How far each member has got, as the leader sees it:")
        self.run("-s 1.sock progress")

    def three_more(self) -> None:
        """Start three nodes that wait to be added."""
        self.title("Three more nodes")
        self.explain(
            "They announce themselves and wait; they take no part until the group takes them in."
        )
        members = ",".join(self.cluster.address(i) for i in (1, 2, 3))
        self.tell_line()
        for id_ in (4, 5, 6):
            self.start(id_, "--listen", self.cluster.address(id_), "--join", members)
        self.until("nodes 4, 5 and 6", lambda: all(self.answers(i) for i in (4, 5, 6)))
        # The announcements go to the members by themselves; the change below needs their addresses.
        self.until("their announcements", self.can_begin)

    def reshape(self) -> None:
        """Take the three in and one out, in one joint change."""
        self.title("A new group in one step")
        self.explain(
            "Node 2 leaves, 4, 5 and 6 become learners. While the group is joint, the old and the "
            "new majority must both agree to everything."
        )
        self.run("-s 1.sock member begin --voters 1,3 --learners 4,5,6")
        self.run("-s 1.sock member status")
        self.explain("It works on meanwhile:")
        self.propose(3, "while joint")
        self.run("-s 1.sock member finalize")
        self.until("the new group", lambda: self.voters(1) == {1, 3} and self.leader(1) in (1, 3))
        self.run("-s 1.sock member list")

    def promote(self) -> None:
        """Make a learner a voter, so that the group survives a failure."""
        self.title("Room for a failure")
        self.explain("Two voters survive no failure. A learner that has caught up can vote:")
        self.run("-s 1.sock member promote 4 --wait")
        self.until("three voters", lambda: self.voters(1) == {1, 3, 4} and self.leader(1) != 0)
        self.until("all to be well", self.all_well)
        self.run("-s 1.sock health")

    def kill_leader(self) -> int:
        """Kill the leader, go on without it, have it back.

        Returns:
            Milliseconds from the kill to a new leader.
        """
        leader = self.leader(1)
        others = [i for i in (1, 3, 4) if i != leader]
        self.title(f"The leader, node {leader}, is killed")
        self.propose(others[0], "pay the invoice", "--key invoice-17")
        self.shell(f"kill -9 {self.cluster.nodes[leader].pid}")
        self.cluster.kill(leader)
        killed = time.monotonic()
        self.until("a new leader", lambda: all(self.leader(i) not in (0, leader) for i in others))
        failover_ms = round(1000 * (time.monotonic() - killed))
        self.explain(f"The others have a new leader after {format_ms(failover_ms)}:")
        self.run(f"-s {others[0]}.sock wait leader")
        self.explain(
            "A client that never got its answer proposes again with the same key. It was applied "
            "before; the new leader knows, and answers with where."
        )
        self.propose(others[1], "pay the invoice", "--key invoice-17")
        self.propose(others[1], "life goes on")
        self.propose(others[0], "entry {n}", "--count 100")
        self.acknowledged += [f"entry {n}".encode() for n in range(1, 101)]
        self.explain("The killed node starts again on its data, and catches up.")
        self.shell(shlex.join(self.cluster.nodes[leader].command) + " &")
        self.cluster.start(leader)
        self.until(f"node {leader}", lambda: self.answers(leader))
        self.run(f"-s {leader}.sock wait applied {self.applied(others[0])}")
        self.run(f"-s {others[0]}.sock progress")
        return failover_ms

    def compare(self) -> dict[str, Any]:
        """Compare the applied log of every node.

        Raises:
            CtlError: Two nodes differ.
        """
        self.title("Every log is the same")
        members = (1, 3, 4, 5, 6)
        last = max(self.applied(i) for i in members)
        for id_ in members:
            self.wait_applied(id_, last)
        line = f"log digest 1..{last} --type normal"
        found = {i: self.digest(i, line) for i in members}
        self.shell("for n in 1 3 4 5 6; do")
        self.typed(f"  raftctl -s $n.sock {line}", prompt="> ")
        self.typed("done", prompt="> ")
        for id_ in members:
            self.tell_line(found[id_][1])
        if len({digest for digest, _ in found.values()}) != 1:
            raise CtlError("FAILED", "the logs of the nodes differ.", hint="this is a bug")
        lost = set(self.acknowledged) - self.log_of(6)
        if lost:
            raise CtlError("FAILED", f"acknowledged, and not in the log: {lost}.", hint="")
        self.explain(f"Equal, and all {len(self.acknowledged)} acknowledged proposals are in it.")
        # Node 2 left on the way: what it has must be how the others' logs begin.
        end = self.applied(2)
        line = f"log digest 1..{end} --type normal"
        self.explain(f"Node 2 left on the way, with entry {end} its last:")
        self.shell("for n in 1 2; do")
        self.typed(f"  raftctl -s $n.sock {line}", prompt="> ")
        self.typed("done", prompt="> ")
        found = {i: self.digest(i, line) for i in (1, 2)}
        for id_ in (1, 2):
            self.tell_line(found[id_][1])
        if found[1][0] != found[2][0]:
            raise CtlError("FAILED", "node 2 has other entries than node 1.", hint="this is a bug")
        return {"last_index": last, "acknowledged": len(self.acknowledged), "equal": True}

    def say_goodbye(self) -> None:
        """Say how to talk to the cluster that is left running, and how to stop it."""
        stop = self.cluster.write_stop()
        self.title("It is still running")
        self.tell_line(f"  talk to it:  cd {self.cluster.folder} && raftctl -s 1.sock status")
        self.tell_line(f"  stop it:     sh {stop}")

    # ---- asking the nodes ----

    def ask(self, id_: int, call: Call[T]) -> T | None:
        """Return a node's answer to a question that is not shown; None when it gives none."""
        try:
            with Client(self.cluster.folder / f"{id_}.sock", timeout=2.0, retries=False) as client:
                return client.call(call)
        except WireError:
            return None

    def answers(self, id_: int) -> bool:
        """Return whether a node answers."""
        return self.ask(id_, admin.status()) is not None

    def leader(self, id_: int) -> int:
        """Return whom a node takes for the leader; 0: nobody."""
        reply = self.ask(id_, admin.status())
        return reply.leader if reply else 0

    def voters(self, id_: int) -> set[int]:
        """Return the voters of the configuration that a node has applied; empty while joint."""
        reply = self.ask(id_, admin.status())
        return set(reply.config.voters) if reply and not reply.config.joint else set()

    def applied(self, id_: int) -> int:
        """Return the index that a node has applied."""
        reply = self.ask(id_, admin.status())
        return reply.applied if reply else 0

    def can_begin(self) -> bool:
        """Return whether the group would take the change: it knows the new nodes' addresses."""
        change = admin.member_change("begin", voters=(1, 3), learners=(4, 5, 6), dry_run=True)
        return self.ask(1, change) is not None

    def all_well(self) -> bool:
        """Return whether every member is there and has all entries."""
        health, progress = self.ask(1, admin.health()), self.ask(1, admin.progress())
        if health is None or progress is None:
            return False
        return health.health.state == "healthy" and not any(row.lag for row in progress.rows)

    def wait_applied(self, id_: int, index: int) -> None:
        """Wait until a node has applied an index."""
        self.until(f"node {id_} to apply {index}", lambda: self.applied(id_) >= index)

    def log_of(self, id_: int) -> set[bytes]:
        """Return the data of every proposal that a node has applied."""
        with Client(self.cluster.folder / f"{id_}.sock", timeout=5.0) as client:
            return {e.data for e in client.log_read(1, types=["normal"], applied=True)}

    def digest(self, id_: int, line: str) -> tuple[str, str]:
        """Return the hash of a node's entries, and the line that shows it.

        Raises:
            CtlError: They could not be read.
        """
        done = self._raftctl(["-s", f"{id_}.sock", *shlex.split(line)])
        if done.returncode != 0:
            raise CtlError(
                "FAILED", f"the log of node {id_} cannot be read: {done.stderr}", hint=""
            )
        return done.stdout.split()[0], done.stdout.rstrip()

    def logs(self) -> str:
        """Return the end of every node's log."""
        return "\n".join(f"node {i}:\n{self.cluster.last_lines(i, 5)}" for i in self.cluster.nodes)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds.

        Raises:
            CtlError: It does not in time, or a node ended by itself.
        """
        deadline = min(time.monotonic() + STEP_LIMIT, self.started + LIMIT)
        while not holds():
            self.cluster.check()
            if time.monotonic() > deadline:
                raise CtlError("FAILED", f"waited in vain for {what}.\n{self.logs()}", hint="")
            time.sleep(POLL)

    # ---- showing ----

    def start(self, id_: int, *arguments: str) -> None:
        """Start a node and show how."""
        node = self.cluster.start(id_, *arguments)
        self.typed(f"{shlex.join(node.command)} &")

    def propose(self, id_: int, text: str, options: str = "") -> None:
        """Propose a text through a node; from then on it must be in every log."""
        self.run(f"-s {id_}.sock propose {shlex.quote(text)} {options}".rstrip())
        if "{n}" not in text:
            self.acknowledged.append(text.encode())

    def run(self, line: str) -> None:
        """Run a raftctl command and show it with its output.

        Raises:
            CtlError: It failed.
        """
        self.shell(f"raftctl {line}")
        color = ["--color", "always"] if self.out.color else []
        done = self._raftctl([*shlex.split(line), *color])
        text = (done.stdout + done.stderr).rstrip("\n")
        for row in text.splitlines():
            self.tell_line(row)
        if done.returncode != 0:
            raise CtlError(
                "FAILED", f"`raftctl {line}` ended with {done.returncode}: {text}", hint=""
            )

    def _raftctl(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603
                [sys.executable, "-m", "raftctl", *arguments],
                cwd=self.cluster.folder,
                env=self.cluster.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=max(1.0, min(STEP_LIMIT, self.started + LIMIT - time.monotonic())),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            line = shlex.join(arguments)
            message = f"`raftctl {line}` did not end in time.\n{self.logs()}"
            raise CtlError("FAILED", message, hint="") from error

    def title(self, text: str) -> None:
        """Write the title of a section."""
        self.tell_line()
        rule = "─" * max(4, 76 - len(text))
        self.tell_line(f"{self.out.style('──', 'dim')} {self.out.style(text, 'bold cyan')} "
                       f"{self.out.style(rule, 'dim')}")  # fmt: skip

    def explain(self, text: str) -> None:
        """Write a sentence on what comes."""
        for row in textwrap.wrap(text, 80):
            self.tell_line(self.out.style(row, "dim"))

    def shell(self, line: str) -> None:
        """Write a command as one would type it, with a blank line before."""
        self.tell_line()
        self.typed(line)

    def typed(self, line: str, prompt: str = "$ ") -> None:
        """Write a line that one would type."""
        self.tell_line(self.out.style(prompt, "dim") + self.out.style(line, "bold"))

    def tell_line(self, text: str = "") -> None:
        """Write one line, at once; nothing when a program reads the answer."""
        if not self.out.machine:
            self.out.line(text)
            self.out.stdout.flush()
