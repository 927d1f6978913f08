"""The wheel: builds from the tree, holds the four packages, and works installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import PACKAGES, ROOT, project_files


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_is_pure_python(wheel: Path) -> None:
    assert wheel.name.startswith("raftd-")
    assert wheel.name.endswith("-py3-none-any.whl")


def test_it_holds_every_module(names: set[str]) -> None:
    for path in project_files():
        relative = path.relative_to(ROOT)
        if relative.parts[0] == "common":
            relative = relative.relative_to("common")
        if relative.parts[0] in PACKAGES:
            assert str(relative) in names, f"{relative} is not in the wheel"


def test_it_holds_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == set(PACKAGES)
    assert not [name for name in names if "__pycache__" in name]


def test_it_is_typed_and_licensed(names: set[str]) -> None:
    assert {"raft/py.typed", "raftwire/py.typed"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, and what it depends on from the one that runs the tests."""
    home = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Only the directory itself is taken over, not the .pth files in it: this project stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_an_installed_library_works_by_itself(installed: Path, tmp_path: Path) -> None:
    where = run(
        installed / "bin" / "python",
        "-c",
        "import raft, raftwire, raftwire.client, raftctl.cli, raftd;"
        "print(raft.__file__, raftwire.__file__, raftd.__file__, sep='\\n')",
        cwd=tmp_path,
    )
    assert all(line.startswith(str(installed)) for line in where.splitlines())


@pytest.mark.parametrize("command", ["raftd", "raftctl"])
def test_installed_commands_start(installed: Path, tmp_path: Path, command: str) -> None:
    assert run(installed / "bin" / command, "--version", cwd=tmp_path).strip()
    assert "Usage" in run(installed / "bin" / command, "--help", cwd=tmp_path)
