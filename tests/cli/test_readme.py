"""The README does what it says: its blocks are run here, word for word, on this machine.

What differs from the machines it speaks of: addresses and folders are this test's; ``scp`` and
``systemctl`` are stand-ins that copy, and start what the unit file would start; ``chown`` and
``chgrp`` do nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.processes import environment, free_port, wait_for
from tests.house.tree import ROOT

README = (ROOT / "README.md").read_text()
UNIT = (ROOT / "raftd" / "systemd" / "raftd@.service").read_text()

STAND_INS = {
    "raftd": 'exec {python} -m raftd "$@"',
    "raftctl": 'exec {python} -m raftctl --timeout 60s "$@"',
    "chown": "exit 0",
    "chgrp": "exit 0",
    "scp": 'for last; do :; done; cp -- "${{@:1:$#-1}}" "${{last#*:}}"',
    "systemctl": """
unit=${{!#}}; N=${{unit#raftd@}}
{settings}
case $1 in
  enable|start)
    {program} --check-config || exit
    setsid {program} >>{root}/$N.log 2>&1 </dev/null & echo $! >{root}/$N.pid
    for _ in $(seq 600); do [ -S {root}/run/$N.sock ] && exit 0; sleep 0.05; done; exit 1 ;;
  stop)
    kill $(<{root}/$N.pid); for _ in $(seq 600); do
      kill -0 $(<{root}/$N.pid) 2>/dev/null || exit 0; sleep 0.05; done; exit 1 ;;
esac""",
}


def section(title: str) -> list[tuple[str, str]]:
    """Return the blocks of code of a section of the README: their languages and texts."""
    text = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Machines:
    """Four machines of the README, with TLS, in a folder.

    Attributes:
        root: What stands in it lies, on machines, in /etc, /var and /run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports: list[int] = []
        while len(self.ports) < 8:
            self.ports.append(free_port(self.ports))
        for folder in ("bin", "etc/raftd", "var/lib/raftd", "var/backups", "run", "home"):
            (root / folder).mkdir(parents=True)
        # What the unit sets, in its words.
        variables = " ".join(re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE))
        (program,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
        settings = self.here(variables.replace("%i", "$N"), 1)
        for name, script in STAND_INS.items():
            path = root / "bin" / name
            body = script.format(
                python=sys.executable,
                root=root,
                settings=f"export {settings}\nmkdir -p {root}/var/lib/raftd/$N",
                program=Path(program).name,
            )
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(0o755)

    def here(self, text: str, machine: int) -> str:
        """Return a text of the README with the addresses and folders of this test."""
        text = re.sub(
            r"10\.0\.0\.(\d):7001", lambda m: f"127.0.0.1:{self.ports[int(m[1]) - 1]}", text
        )
        text = text.replace("127.0.0.1:7080", f"127.0.0.1:{self.ports[machine + 3]}")
        text = re.sub(r"^N=\d", f"N={machine}", text, flags=re.MULTILINE)
        text = re.sub(r"(?<=[\s\"=:])/(etc|var/lib|var/backups)\b", rf"{self.root}/\1", text)
        return text.replace("/run/raftd/", f"{self.root}/run/")

    def run(self, text: str, machine: int) -> str:
        """Paste a block into a shell of a machine; fail if any of its commands does."""
        done = subprocess.run(
            ["bash", "-euc", self.here(text, machine)],
            cwd=self.root / "home",
            env=environment()
            | {
                "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
                # An operator's shell still knows it from one block to the next.
                "N": str(machine),
                "RAFTCTL_SOCKET": str(self.root / "run" / f"{machine}.sock"),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        logs = "".join(path.read_text()[-2000:] for path in sorted(self.root.glob("*.log")))
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}\n{logs}"
        return done.stdout

    def kill(self, machine: int) -> None:
        """Take the power away, and the disk."""
        pid = int((self.root / f"{machine}.pid").read_text())
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
        wait_for(f"the end of node {machine}", lambda: not Path(f"/proc/{pid}").exists())
        shutil.rmtree(self.root / "var" / "lib" / "raftd" / str(machine))
        (self.root / "run" / f"{machine}.sock").unlink(missing_ok=True)

    def page(self, machine: int, path: str) -> str:
        """Fetch what a machine serves over HTTP."""
        url = f"http://127.0.0.1:{self.ports[machine + 3]}{path}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return str(response.read().decode())


@pytest.fixture
def machines(short_dir: Path) -> Iterator[Machines]:
    made = Machines(short_dir)
    try:
        yield made
    finally:
        for path in short_dir.glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), 9)


def test_three_machines_one_replaced_backed_up_and_restored(machines: Machines) -> None:
    _, certificates, start, look = (text for _, text in section("Three machines with TLS"))
    machines.run(certificates, 1)
    for number in (1, 2, 3):
        machines.run(start, number)
    seen = machines.run(look, 2)
    assert "HEALTHY, tolerates 1 failure" in seen
    assert "TLS raftd://blue/2 · good for 396 days" in seen
    assert "applied index=" in seen

    assert "<title>" in machines.page(1, "/")
    assert "raftd_has_leader" in machines.page(1, "/metrics")
    assert machines.page(3, "/livez").strip() == "alive"
    assert machines.page(3, "/readyz").strip() == "ready"

    machines.kill(3)
    issue, join, replace = (text for _, text in section("Replacing a dead node"))
    machines.run(issue, 1)
    machines.run(join, 4)
    seen = machines.run(replace, 1)
    assert "REPLACED 3 by 4" in seen
    assert re.search(r"config stable@\d+ · voters 1,2,4\n", seen)

    save, restore, again, look = (text for _, text in section("Backing up and restoring"))
    assert re.search(r"sha256 +\w+ ok", machines.run(save, 4))
    restored = [machines.run(restore, number) for number in (1, 2, 4)]
    assert len(set(re.findall(r"cluster (\w+) \(was", "".join(restored)))) == 1
    for number in (1, 2, 4):
        machines.run(again, number)
    seen = machines.run(look, 4)
    assert "voters 1,2,4" in seen
    assert re.search(r"normal +5B hello", seen)


def test_what_is_installed_is_where_the_readme_takes_it_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"].values()
    install = section("Three machines with TLS")[0][1]
    taken = re.findall(r"/opt/raftd/((?:lib|share)/\S+)", install)
    assert len(taken) == 3
    assert set(taken) <= set(shared)
    assert f"raftd-{project['project']['version']}-py3-none-any.whl" in install
    assert "share/raftd/grafana/raftd.json" in README
    assert set(re.findall(r"(?:/opt/raftd/bin/|^ExecStart(?:Pre)?=)(\S+)", install)) == {
        "pip",
        "raftd",
        "raftctl",
    }


def test_the_embedded_library_prints_what_the_readme_says() -> None:
    ((language, code),) = section("Embedding the library")
    assert language == "python"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == code.rstrip().rpartition("# ")[2]
