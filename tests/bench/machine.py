"""What a benchmark asks of the machine: processes that never outlive it, their CPU and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PORTS: Final = range(20_000, 32_000)
"""Below what the kernel gives to outgoing connections, so that a port chosen stays free."""


class BenchError(Exception):
    """A measurement that cannot be made; the text says why."""


def _die_with_parent() -> None:
    # Even a killed benchmark leaves no node running.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that is killed when this one ends, its output going to `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=None if env is None else dict(env),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads here
        )


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a process and wait until it is gone."""
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Return `count` loopback ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise BenchError("no ports are free on 127.0.0.1")


@contextlib.contextmanager
def scratch(parent: str | None = None) -> Iterator[Path]:
    """A folder with a short path that is removed at the end, Ctrl-C and SIGTERM included.

    Args:
        parent: Where to make it; None: where there is a real disk, so that an fsync costs what it
            costs.
    """
    folder = Path(tempfile.mkdtemp(prefix="raft-bench-", dir=parent or disk_folder()))
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def disk_folder() -> str:
    """Return a folder for temporary files that lies on a disk, not in memory."""
    for folder in ("/tmp", "/var/tmp"):
        if _file_system(folder) not in ("tmpfs", "ramfs"):
            return folder
    return "/tmp"


def _file_system(folder: str) -> str:
    best, kind = "", ""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, name, *_ = line.split()
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> float:
    """Wait until `condition()`; return the seconds it took.

    Raises:
        BenchError: It did not come true in time.
    """
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise BenchError(f"{what} took more than {seconds:g} s")
        time.sleep(0.01)
    return time.perf_counter() - began


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # The name before it, in parentheses, may hold anything.
    values = text.rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / TICKS_PER_SECOND


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes (10^6); 0 if it is gone."""
    return _memory_mb(pid, "VmRSS:")


def peak_rss_mb(pid: int) -> float:
    """Return the most that a process has had resident since it started; as `rss_mb`."""
    return _memory_mb(pid, "VmHWM:")


def _memory_mb(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    for line in lines:
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def busy_seconds() -> float:
    """Return the CPU time that all processes of the machine have used since it started."""
    first = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    values = [int(value) for value in first.split()[1:9]]
    # All but idle and waiting for a disk; time stolen by other machines on this host included.
    return (sum(values) - values[3] - values[4]) / TICKS_PER_SECOND


@dataclass
class Usage:
    """What a stretch of time took.

    Attributes:
        cpu: Cores that each node used.
        rss: Resident memory of each node at the end, MB.
        others: Cores that anything else used, the load generator included.
    """

    cpu: list[float]
    rss: list[float]
    others: float


class UsageMeter:
    """Measures processes from its making to `stop`."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = list(pids)
        self._began = time.perf_counter()
        self._busy = busy_seconds()
        self._cpu = [cpu_seconds(pid) for pid in self._pids]

    def stop(self) -> Usage:
        """Return what they have used since."""
        elapsed = time.perf_counter() - self._began
        used = [
            cpu_seconds(pid) - before for pid, before in zip(self._pids, self._cpu, strict=True)
        ]
        return Usage(
            cpu=[round(seconds / elapsed, 3) for seconds in used],
            rss=[round(rss_mb(pid), 1) for pid in self._pids],
            others=round((busy_seconds() - self._busy - sum(used)) / elapsed, 3),
        )
