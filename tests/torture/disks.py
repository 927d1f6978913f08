"""Disks that fail and clocks that jump: tmpfs that fills up, system calls that fail, libfaketime.

Each node's data lies on a small tmpfs of its own, where mounting is allowed, and its wall clock is
read through libfaketime, where that is installed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from raftwire import AdminError, Client
from tests.harness.processes import Node, wait_for
from tests.harness.strace import DELAYED, INJECTED, Strace
from tests.torture.faults import Fault
from tests.torture.scene import TorturedNode

DISK_MB: Final = 256
_DAY_MS: Final = 86_400_000
_FAKETIME: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Disks:
    """A tmpfs for each node, and, with ``clocks``, a file that says what time it takes it to be.

    Debian builds libfaketime with a workaround for waits by the monotonic clock that makes a thread
    wait for Python's interpreter lock some ten times longer; it is turned off here. What a group
    logs has wrong times while clocks jump, so they do in rounds of their own.
    """

    def __init__(self, clocks: bool = False) -> None:
        self._clocks = clocks
        self._mounted: list[Path] = []

    def prepare(self, node: TorturedNode) -> None:
        """Give a node its disk and its clock."""
        node.data_dir.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", node.data_dir],
            check=True,
            capture_output=True,
        )
        self._mounted.append(node.data_dir)
        if self._clocks:
            clock_of(node).write_text("+0\n")
            node.variables |= {
                "LD_PRELOAD": str(_FAKETIME[0]),
                "FAKETIME_TIMESTAMP_FILE": str(clock_of(node)),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }

    def close(self) -> None:
        """Unmount all."""
        for path in reversed(self._mounted):
            subprocess.run(["umount", "-l", path], check=False, capture_output=True)
        self._mounted.clear()


def clock_of(node: Node) -> Path:
    """Return the file that sets a node's wall clock."""
    return node.folder / f"{node.id}.clock"


class Tracing(Fault):
    """A node's flushes go through strace, which makes something of them."""

    kind = "disk"
    alone = True
    inject = ""
    proof = ""

    def begin(self) -> None:
        self.victim = self.scene.leader_or_any() if self.rng.random() < 0.5 else self.some(1)[0]
        self.note = f"{self.victim}"
        self.strace = Strace(self.scene.node(self.victim), f"fdatasync:{self.inject}")

    def end(self) -> None:
        self.strace.detach()

    def happened(self) -> bool:
        return self.strace.calls(self.proof) > 0


class SlowFlush(Tracing):
    """Each flush of a node takes long."""

    name = "slow fsync"
    inject = "delay_exit=150000"
    proof = DELAYED


class FailedFlush(Tracing):
    """A flush fails; the node must stop by itself, and may be started again."""

    name = "failed fsync"
    inject = "error=EIO:when=3"
    proof = INJECTED

    def begin(self) -> None:
        super().begin()
        self.scene.down.add(self.victim)
        node = self.scene.node(self.victim)
        self.status: int | None = None
        with contextlib.suppress(AssertionError):
            wait_for("the node to stop", lambda: not node.running, 10.0)
        if node.process is not None and not node.running:
            self.status = node.process.returncode

    def end(self) -> None:
        self.strace.detach()
        node = self.scene.node(self.victim)
        node.kill()
        self.scene.revive([self.victim])

    def happened(self) -> bool:
        if not super().happened():
            return False
        # It fired: then the node must be gone, with a status of its own.
        assert self.status is not None, f"node {self.victim} went on after a failed fsync"
        assert self.status > 0, f"node {self.victim} ended with {self.status}"
        self.note += f" exit {self.status}"
        return True


class FullDisk(Fault):
    """A node's disk is full; the node must stop or refuse, and go on when there is room again."""

    name = "full disk"
    kind = "disk"
    alone = True

    def begin(self) -> None:
        self.victim = self.scene.leader_or_any() if self.rng.random() < 0.5 else self.some(1)[0]
        self.note = f"{self.victim}"
        node = self.scene.node(self.victim)
        self.scene.down.add(self.victim)
        self.filler = node.data_dir / "filler"
        with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(2**20))
        with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(512))
        self.full = os.statvfs(node.data_dir).f_bavail == 0
        with contextlib.suppress(AssertionError):
            wait_for("the node to stop", lambda: not node.running, 6.0)
        self.stopped = not node.running
        self.note += f" {errno.errorcode[errno.ENOSPC] if self.full else 'not full'}"
        if self.stopped and node.process is not None:
            self.note += f" exit {node.process.returncode}"
            assert node.process.returncode > 0, "killed by a signal"

    def end(self) -> None:
        self.filler.unlink(missing_ok=True)
        node = self.scene.node(self.victim)
        if node.running:
            self.scene.down.discard(self.victim)
        else:
            self.scene.revive([self.victim])

    def happened(self) -> bool:
        return self.full and self.stopped


class ClockJump(Fault):
    """The wall clock of some nodes jumps by days."""

    name = "clock jump"
    kind = "clock"
    weight = 6.0

    def begin(self) -> None:
        victims = self.some(self.rng.randint(1, len(self.scene.nodes)))
        by = self.rng.choice(("+10d", "-10d", "+400d", "+3600"))
        self.note = f"{victims} {by}"
        self.victims = victims
        for node_id in victims:
            clock_of(self.scene.node(node_id)).write_text(by + "\n")
        # The monotonic clock must go on as it did: time is measured, not assumed.
        time.sleep(0.3)

    def end(self) -> None:
        for node_id in self.victims:
            if node_id in self.scene.nodes:
                clock_of(self.scene.node(node_id)).write_text("+0\n")

    def happened(self) -> bool:
        seen = 0
        for node_id in self.victims:
            node = self.scene.node(node_id)
            try:
                with Client(str(node.socket), timeout=3.0, retries=False) as client:
                    client.status()
                    if client.last is not None:
                        shift = abs(client.last.as_of_ms - time.time() * 1000)
                        seen += shift > _DAY_MS / 30
            except AdminError:
                continue
        return seen > 0


def kinds() -> list[type[Fault]]:
    """Return what this machine can do to disks."""
    return [FullDisk, *((SlowFlush, FailedFlush) if shutil.which("strace") else ())]


def clock_kinds() -> list[type[Fault]]:
    """Return what this machine can do to clocks."""
    return [ClockJump] if _FAKETIME else []


def unavailable() -> list[str]:
    """Return what this machine cannot do, in words."""
    told = []
    if not shutil.which("strace"):
        told.append("no strace: no failing and slow flushes")
    if not _FAKETIME:
        told.append("no libfaketime: no clock jumps")
    return told
