"""Power cuts: data directories on a file system that forgets what was not flushed.

Each node's `medium.Medium` is served through FUSE by a process of its own, which outlives the
daemon. A power cut is a SIGKILL of the daemon, an unmount, the forgetting, and a mount of what is
left: the kernel keeps nothing of it either. RocksDB and the daemon are the shipped ones.

A tmpfs copied at each fsync seen by strace would do without FUSE and was rejected: a copy of all
files for each flush is slow, and what was written while it is made would be in it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.harness.processes import Node, wait_for
from tests.torture.faults import Crash, CrashInstalling, CrashMaking, Fault, Kill
from tests.torture.kinds import KINDS
from tests.torture.medium import Medium
from tests.torture.scene import GUARD, Scene

_ROOT: Final = Path(__file__).parents[2]


class ForgetfulDisk:
    """A mounted `Medium`.

    Args:
        path: Where; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, exist_ok=True)
        self._server = subprocess.Popen(
            [*GUARD, sys.executable, "-m", "tests.torture.power", path],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for who tortures: the disk is needed until the round is judged.
            start_new_session=True,
        )
        try:
            self._wait_mounted()
        except BaseException:
            self.close()
            raise

    def _wait_mounted(self) -> None:
        def mounted() -> bool:
            if self._server.poll() is not None:
                assert self._server.stderr is not None
                raise RuntimeError(f"nobody serves {self.path}: {self._server.stderr.read()}")
            return self.path.is_mount()

        wait_for(f"{self.path} to be mounted", mounted)

    def forget(self, seed: str = "") -> int:
        """Unmount it, lose what was not flushed, mount what is left; nobody may have it open.

        Args:
            seed: Of how much is there that need not be; empty: nothing.

        Returns:
            How many writes and changes of names are gone.
        """
        wait_for(f"{self.path} to be unmounted", lambda: _unmount(self.path))
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{seed}\n")
        self._server.stdin.flush()
        lost = int(self._server.stdout.readline())
        self._wait_mounted()
        return lost

    def close(self) -> None:
        """Unmount it for good; all of it is gone."""
        if self.path.is_mount():
            _unmount(self.path, "-l")
        # Standard input ends: then the server does.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.communicate(timeout=10.0)
        self._server.kill()
        self._server.wait()


def _unmount(path: Path, *options: str) -> bool:
    done = subprocess.run(["umount", *options, path], capture_output=True, check=False)
    return done.returncode == 0


def missing() -> str:
    """Return what keeps such file systems from working here; empty: nothing."""
    if os.geteuid() != 0:
        return "only root may mount file systems"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    try:
        importlib.import_module("mfusepy")
    except ImportError:
        return "the Python package mfusepy is not installed"
    except OSError as error:
        return f"libfuse3 is not installed ({error})"
    with tempfile.TemporaryDirectory(prefix="raftd-probe-", dir="/tmp") as folder:
        try:
            ForgetfulDisk(Path(folder) / "disk").close()
        except (RuntimeError, AssertionError, OSError) as error:
            return str(error).strip().splitlines()[-1]
    return ""


class PowerScene(Scene):
    """A group on loopback whose nodes' disks forget."""

    where = "power"

    def __init__(self, size: int, rng: random.Random, *options: str) -> None:
        self.disks: dict[int, ForgetfulDisk] = {}
        super().__init__(size, rng, *options)

    def _new(self, node_id: int) -> Node:
        node = super()._new(node_id)
        self.disks[node_id] = ForgetfulDisk(node.data_dir)
        return node

    def forget(self, node_id: int) -> int:
        """Have a node that is down lose what it did not flush; return how many writes that was."""
        # Two thirds of the cuts leave something that need not be there, the last write torn.
        seed = str(self.rng.randrange(2**32)) if self.rng.random() < 2 / 3 else ""
        return self.disks[node_id].forget(seed)

    def drop(self, node_id: int) -> None:
        """Forget a node that is no member any more."""
        super().drop(node_id)
        self.disks.pop(node_id).close()

    def close(self) -> None:
        """Kill every node, and remove the disks."""
        try:
            for node in self.all():
                if node.running:
                    self.strike([node.id])
            for disk in self.disks.values():
                disk.close()
        finally:
            super().close()


class PowerCut(Kill):
    """The power of some nodes fails at once."""

    name = "power cut of a minority"
    kind = "power"
    forgotten = 0

    def choose(self) -> list[int]:
        return self.some(self.rng.randint(1, self.minority()))

    def begin(self) -> None:
        super().begin()
        scene = self.scene
        assert isinstance(scene, PowerScene)
        self.forgotten = sum([scene.forget(victim) for victim in self.victims])
        self.note += f" ({self.forgotten} writes gone)"

    def happened(self) -> bool:
        return super().happened() and self.forgotten > 0


class PowerCutOfAll(PowerCut):
    """The power of all nodes fails at once."""

    name = "power cut of all"
    weight = 4.0

    def choose(self) -> list[int]:
        return self.scene.answering()


class PowerCutOfMajority(PowerCut):
    """The power of a majority fails at once."""

    name = "power cut of a majority"

    def choose(self) -> list[int]:
        return self.some(self.minority() + 1)


class PowerCutInLoop(Crash):
    """A node dies at a named place of its main loop, and its disk forgets."""

    name = "power cut in the main loop"
    kind = "power"
    weight = 1.5
    forgotten = 0

    def begin(self) -> None:
        super().begin()
        self.name_told = f"power cut at {self.place}"
        scene = self.scene
        assert isinstance(scene, PowerScene)
        scene.node(self.victim).kill()
        self.forgotten = scene.forget(self.victim)
        self.note += f" ({self.forgotten} writes gone)"

    def happened(self) -> bool:
        return super().happened() and self.forgotten > 0


class PowerCutMaking(PowerCutInLoop, CrashMaking):
    """The same while a snapshot is made or the log's beginning dropped."""

    name = "power cut making a snapshot or compacting"


class PowerCutInstalling(PowerCutInLoop, CrashInstalling):
    """The same while a snapshot is taken in."""

    name = "power cut installing a snapshot"


def kinds() -> list[type[Fault]]:
    """Return what there is in rounds in which the power fails."""
    return [
        *KINDS, PowerCut, PowerCutOfAll, PowerCutOfMajority,
        PowerCutInLoop, PowerCutMaking, PowerCutInstalling,
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Serve one medium until standard input ends: ``python -m tests.torture.power PATH``."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.power")
    parser.add_argument("path")
    path = parser.parse_args(arguments).path
    mfusepy = importlib.import_module("mfusepy")
    medium = Medium()
    while True:
        mfusepy.FUSE(
            medium, path, foreground=True, nothreads=True, fsname="forgetful", hard_remove=True
        )
        # It was unmounted.
        line = sys.stdin.readline()
        if not line:
            return 0
        seed = line.strip()
        print(medium.forget(random.Random(seed) if seed else None), flush=True)


if __name__ == "__main__":
    sys.exit(main())
