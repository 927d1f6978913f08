"""raftd under systemd: what it tells the manager, and how much the unit lets it do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import raftd
from tests.harness.processes import Cluster, environment, wait_for
from tests.house.tree import ROOT

FILES = Path(raftd.__file__).parent / "systemd"
UNIT = FILES / "raftd@.service"


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(20)
        self.heard: list[str] = []

    def until(self, wanted: str) -> list[str]:
        """Read until a line is exactly, or begins with, ``wanted``; return all that came before."""
        before: list[str] = []
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            self.heard += lines
            before += lines
            if any(line == wanted or line.startswith(wanted) for line in lines):
                return before

    def falls_silent(self, seconds: float) -> bool:
        """Read until nothing has come for so long."""
        self.socket.settimeout(seconds)
        try:
            for _ in range(1000):
                self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(20)
        return False


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, short_dir: Path) -> Iterator[Manager]:
    made = Manager(short_dir)
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield made
    made.socket.close()


def test_what_the_manager_is_told_from_start_to_stop(manager: Manager) -> None:
    with Cluster(1) as group:
        group[1].start()
        manager.until("READY=1")
        # Ready means: the sockets listen. Nothing is waited for here.
        with group[1].client(timeout=0.5) as client:
            client.status()
        manager.until("STATUS=leader of 1 voters, term 2")
        manager.until("WATCHDOG=1")
        manager.until("WATCHDOG=1")
        group[1].signal(signal.SIGHUP)
        manager.until("RELOADING=1")
        assert manager.heard[-1].startswith("MONOTONIC_USEC=")
        manager.until("READY=1")
        group[1].signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert group[1].wait() == 0


def test_a_node_without_a_quorum_is_ready_all_the_same(manager: Manager) -> None:
    # A restart would not bring the quorum back.
    with Cluster(3) as group:
        group[1].start()
        manager.until("READY=1")
        manager.until("STATUS=")
        assert "no leader" in manager.heard[-1]
        manager.until("WATCHDOG=1")


def test_a_node_that_looks_for_its_group_is_ready_and_alive(manager: Manager) -> None:
    with Cluster(1) as group:
        joining = group._new(2)
        joining.arguments = ["--join", group[1].address, "--listen", joining.address]
        joining.start()
        manager.until("READY=1")
        manager.until("STATUS=looking for its group")
        manager.until("WATCHDOG=1")
        manager.until("WATCHDOG=1")


def test_opening_data_asks_for_time(manager: Manager) -> None:
    with Cluster(1) as group:
        group.start()
        group[1].kill()
        manager.until("READY=1")
        group[1].start()
        assert "EXTEND_TIMEOUT_USEC=600000000" in manager.until("READY=1")


def test_a_stopped_process_feeds_no_watchdog(manager: Manager) -> None:
    with Cluster(1) as group:
        group.start()
        manager.until("WATCHDOG=1")
        group[1].signal(signal.SIGSTOP)
        assert manager.falls_silent(0.5)
        group[1].signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")


# --- the unit ---------------------------------------------------------------------------------


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_unit_is_locked_down(short_dir: Path) -> None:
    unit = short_dir / UNIT.name
    shutil.copy(UNIT, unit)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if level is None:
        pytest.skip(f"systemd-analyze cannot judge a unit offline: {done.stderr.strip()}")
    assert float(level[1]) <= 1.5, done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(short_dir: Path) -> None:
    # With a program that exists, and without the manual, which need not be installed here.
    text = UNIT.read_text().replace("/opt/raftd/bin/raftd", "/bin/true")
    unit = short_dir / UNIT.name
    unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=false", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert UNIT.name.replace("@", "@i") not in done.stderr, done.stderr
    assert "Unknown" not in done.stderr


def test_the_unit_and_the_daemon_agree() -> None:
    unit = settings()
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    # What another start would not cure: settings, another node's data, corruption.
    assert unit["RestartPreventExitStatus"] == ["2 4 9"]
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) > 10
    environ = dict(
        pair.split("=", 1) for line in unit["Environment"] for pair in line.split()
    )  # fmt: skip
    environ = {name: value.replace("%i", "1") for name, value in environ.items()}
    file = environ.pop("RAFTD_CONFIG")
    assert file == "/etc/raftd/1.toml"
    done = subprocess.run(
        [sys.executable, "-m", "raftd", "--peers", "1=127.0.0.1:7001", "--print-config"],
        env={**environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = tomllib.loads(done.stdout)
    assert printed["node"] == {"id": 1, "data_dir": "/var/lib/raftd/1/data"}
    assert printed["admin"]["socket"] == "/run/raftd/1.sock"


#: Forbids memory that is writable and executable, as MemoryDenyWriteExecute does; see prctl(2).
DENY_WRITE_EXECUTE = (
    "import ctypes, os, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "sys.exit(77) if libc.prctl(65, 1, 0, 0, 0) else os.execv(sys.argv[1], sys.argv[1:])\n"
)


def test_it_runs_without_memory_that_is_writable_and_executable() -> None:
    with Cluster(1) as group:
        node = group[1]
        command = [
            sys.executable, "-c", DENY_WRITE_EXECUTE, sys.executable, "-m", "raftd", "--id", "1",
            "--data-dir", str(node.data_dir), "--admin-socket", str(node.socket), *node.arguments,
        ]  # fmt: skip
        with node.log_path.open("ab") as log:
            node.process = subprocess.Popen(
                command, env=environment(), stdout=log, stderr=log, start_new_session=True
            )
        wait_for("it to serve or end", lambda: node.status() is not None or not node.running)
        if node.process.poll() == 77:
            pytest.skip("this kernel cannot deny it (PR_SET_MDWE)")
        group.settle()
        with node.client() as client:
            client.propose(b"x")
        assert node.terminate() == 0


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or os.geteuid() != 0,
    reason="needs systemd-sysusers, and root",
)
def test_user_and_directories_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for command, name in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        extra = ["--create"] if name == "tmpfiles" else []
        done = subprocess.run(
            [command, f"--root={tmp_path}", *extra, str(FILES / f"raftd.{name}")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "raftd:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "var/lib/raftd").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run/raftd").is_dir()


def test_the_files_are_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared["raftd/systemd/raftd@.service"] == "lib/systemd/system/raftd@.service"
    assert shared["raftd/systemd/raftd.sysusers"] == "lib/sysusers.d/raftd.conf"
    assert shared["raftd/systemd/raftd.tmpfiles"] == "lib/tmpfiles.d/raftd.conf"
