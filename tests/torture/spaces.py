"""Network namespaces: every node on a host of its own, as far as the kernel can tell.

A bridge in a namespace joins them; nftables on each node's own side drops what the rules say, each
way alone, and counts it. All of it is gone when the namespaces are. Needs root, iproute2 and
nftables; `missing` says what is not there.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Final

from tests.harness.processes import Node
from tests.torture import disks
from tests.torture.faults import Fault, Random
from tests.torture.kinds import KINDS
from tests.torture.membership import CrashMoving
from tests.torture.proxy import CHOKED, DEAF, DRIP, SLOW
from tests.torture.scene import Scene, TorturedNode

LOSSY: Final = "lossy"
"""A part of the packets is dropped."""
RESET: Final = "reset"
"""Connections are reset instead of silently starved."""
NARROW: Final = "narrow"
"""64 kbit a second."""

_PORT: Final = 7000
_COUNTER: Final = re.compile(r"counter packets (\d+)")
_DROPPED: Final = re.compile(r"dropped (\d+), overlimits (\d+)")
_TABLE: Final = "inet torture"


def missing() -> str:
    """Return what keeps namespaces from working here; empty: nothing."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    for program in ("ip", "nft", "tc"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    name = f"raftprobe{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode:
        return tried.stderr.decode().strip()
    found = subprocess.run(
        ["ip", "netns", "exec", name, "nft", "add", "table", "inet", "probe"],
        capture_output=True,
        check=False,
    )
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return found.stderr.decode().strip()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Spaces:
    """The namespaces of a group; takes the same rules as the proxies do."""

    def __init__(self) -> None:
        self._name = f"raft{os.getpid()}x{random.randrange(10**6)}"
        self._made: list[str] = []
        self._ids: list[int] = []
        self._make("hub")
        _ip("-n", self._space("hub"), "link", "add", "br0", "type", "bridge")
        _ip("-n", self._space("hub"), "link", "set", "br0", "up")

    def _space(self, name: object) -> str:
        return f"{self._name}-{name}"

    def _make(self, name: object) -> None:
        _ip("netns", "add", self._space(name))
        self._made.append(self._space(name))

    def add(self, node_id: int) -> list[str]:
        """Make a host for a node; return what runs a command on it."""
        hub, space = self._space("hub"), self._space(node_id)
        self._make(node_id)
        self._ids.append(node_id)
        port = f"v{node_id}"
        _ip("-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", hub, "link", "set", port, "master", "br0", "up")
        _ip("-n", space, "addr", "add", f"{self.address(node_id)}/16", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        self._nft(node_id, f"add table {_TABLE}")
        self._nft(
            node_id,
            f"add chain {_TABLE} in {{ type filter hook input priority 0; policy accept; }}",
        )
        return ["ip", "netns", "exec", space]

    @staticmethod
    def address(node_id: int) -> str:
        """Return a node's address."""
        return f"10.77.{node_id // 250}.{node_id % 250 + 1}"

    def _on(self, node_id: int, *words: str) -> str:
        return subprocess.run(
            ["ip", "netns", "exec", self._space(node_id), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout

    def _nft(self, node_id: int, text: str) -> str:
        return self._on(node_id, "nft", text)

    def rule(self, links: Iterable[tuple[int, int]], mode: str, delay: float = 0.0) -> None:
        """Put links under a rule; pairs (who sends, who receives)."""
        by_target: dict[int, list[int]] = {}
        for source, target in links:
            by_target.setdefault(target, []).append(source)
        for target, sources in by_target.items():
            if mode == NARROW:
                self._on(
                    target, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf",
                    "rate", "64kbit", "burst", "2kb", "latency", "400ms",
                )  # fmt: skip
                continue
            lines = []
            for source in sources:
                match = f"ip saddr {self.address(source)}"
                if mode == LOSSY:
                    match += f" numgen random mod 100 < {round(delay * 100)}"
                verdict = "reject with tcp reset" if mode == RESET else "drop"
                if mode == RESET:
                    match += " meta l4proto tcp"
                lines.append(f"add rule {_TABLE} in {match} counter {verdict}")
            self._nft(target, "; ".join(lines))

    def heal(self) -> None:
        """Lift all rules."""
        for node_id in self._ids:
            self._nft(node_id, f"flush chain {_TABLE} in")
            if "tbf" in self._on(node_id, "tc", "qdisc", "show", "dev", "eth0"):
                self._on(node_id, "tc", "qdisc", "del", "dev", "eth0", "root")

    def touched(self) -> int:
        """Return how many packets the present rules hit."""
        found = 0
        for node_id in self._ids:
            listed = self._nft(node_id, f"list chain {_TABLE} in")
            found += sum(map(int, _COUNTER.findall(listed)))
            shaped = self._on(node_id, "tc", "-s", "qdisc", "show", "dev", "eth0")
            if "tbf" in shaped:
                found += sum(int(a) + int(b) for a, b in _DROPPED.findall(shaped))
        return found

    def close(self) -> None:
        """Remove all namespaces, and with them all that is in them."""
        for space in reversed(self._made):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        self._made.clear()


class SpaceScene(Scene):
    """A group whose nodes have hosts, disks and wall clocks of their own."""

    where = "namespaces"
    clocks = False

    def __init__(self, size: int, rng: random.Random, *options: str) -> None:
        self.spaces = Spaces()
        self.disks = disks.Disks(self.clocks)
        try:
            super().__init__(size, rng, *options, "--insecure-peers")
        except BaseException:
            self.spaces.close()
            raise

    def open_network(self) -> Spaces:
        """Return what carries the links."""
        return self.spaces

    def _new(self, node_id: int) -> Node:
        address = f"{self.spaces.address(node_id)}:{_PORT}"
        node = TorturedNode(
            node_id, address, self.folder, prefix=self.spaces.add(node_id), listen=address
        )
        self.last_id = max(self.last_id, node_id)
        self.nodes[node_id] = node
        self.disks.prepare(node)
        return node

    def close(self) -> None:
        """Kill every node, and remove hosts and disks."""
        try:
            for node in self.all():
                if node.running:
                    self.strike([node.id])
            self.disks.close()
        finally:
            super().close()


class ClockScene(SpaceScene):
    """The same, with clocks that may jump."""

    where = "clocks"
    clocks = True
    true_clocks = False


class Loss(Random):
    """A part of the packets of some links is lost."""

    name = "loss"
    mode = LOSSY

    def begin(self) -> None:
        chosen = sorted(set(self.links()))
        part = self.rng.choice((0.05, 0.3, 0.5))
        self.note = f"{part:.0%} on {chosen}"
        self.scene.network.rule(chosen, self.mode, part)


class Resets(Random):
    """Connections of some links are reset."""

    name = "resets"
    mode = RESET


class Narrow(Random):
    """What some nodes send is held to 64 kbit a second."""

    name = "64 kbit"
    mode = NARROW


def kinds() -> list[type[Fault]]:
    """Return what namespaces allow beside what loopback does, without what proxies alone do."""
    proxied = (CHOKED, DEAF, SLOW, DRIP)
    plain = [
        kind
        for kind in KINDS
        # A node has one name there.
        if getattr(kind, "mode", "") not in proxied and kind is not CrashMoving
    ]
    return [*plain, Loss, Resets, Narrow, *disks.kinds()]


def clock_kinds() -> list[type[Fault]]:
    """Return what there is in rounds in which clocks jump."""
    if not disks.clock_kinds():
        return []
    return [*kinds(), *disks.clock_kinds()]
