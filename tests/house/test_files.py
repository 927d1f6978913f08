"""What every file keeps to: a first line that says its subject, no traces of one machine."""

from __future__ import annotations

import ast
import os
import re
import tomllib

import pytest

from tests.house.tree import ROOT, Module, generated, modules, project_files

TEXT = {
    "",
    ".bash",
    ".cfg",
    ".conf",
    ".fish",
    ".ini",
    ".json",
    ".lock",
    ".md",
    ".proto",
    ".py",
    ".pyi",
    ".service",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    ".zsh",
    *(f".{section}" for section in range(1, 9)),
}

#: Put together here so that this file does not contain them.
HOMES = re.compile(
    "|".join(
        re.escape("/" + head) + tail
        for head, tail in (
            ("root", r"/\S"),
            ("home", r"/\w+/"),
            ("Users", r"/\w+/"),
            ("work", r"/(main|shared)\b"),
            ("tmp/bash", r"_jobs"),
        )
    )
)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.label)
def test_every_module_says_its_subject(module: Module) -> None:
    text = ast.get_docstring(module.tree)
    assert text, f"{module.label} does not begin with a docstring"
    first = text.splitlines()[0]
    assert len(first) > 10, f"{module.label}: {first!r} says too little"


def test_no_path_of_one_machine() -> None:
    found = []
    for path in project_files():
        if path.suffix not in TEXT or path.stat().st_size > 4 * 1024 * 1024:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if HOMES.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def lock_lines() -> list[str]:
    return (ROOT / "requirements.lock").read_text().splitlines()


def test_the_lock_names_no_host() -> None:
    text = "\n".join(lock_lines())
    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-|--)(i|f|index-url|extra-index-url|find-links|e)\b", text)
    assert " @ " not in text
    assert not re.search(r"\b(localhost|[\w-]+\.(com|org|net|io|internal|local))\b", text)


def test_the_lock_pins_everything_by_hash() -> None:
    requirements: dict[str, list[str]] = {}
    name = ""
    for line in lock_lines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith((" ", "\t")):
            name = line.rstrip("\\ ")
            requirements[name] = []
        elif "--hash=" in line:
            requirements[name].append(line)
    assert len(requirements) > 20
    for requirement, hashes in requirements.items():
        assert re.match(r"^[A-Za-z0-9._-]+==\S+", requirement), requirement
        assert hashes, f"{requirement} has no hash"
        assert all("--hash=sha256:" in line for line in hashes)


def test_the_lock_covers_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]

    def normal(requirement: str) -> str:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name
        return re.sub(r"[-_.]+", "-", name[0]).lower()

    locked = {normal(line) for line in lock_lines() if re.match(r"[A-Za-z0-9]", line)}
    assert {normal(one) for one in declared} <= locked


def test_scripts_can_be_run() -> None:
    for path in project_files():
        if path.suffix in TEXT and path.suffix not in (".md", ".txt"):
            with path.open("rb") as file:
                if file.read(3) == b"#!/":
                    assert os.access(path, os.X_OK), f"{path.relative_to(ROOT)} is not executable"


def test_no_merge_markers_or_tabs_in_python() -> None:
    for path in project_files():
        if path.suffix == ".py" and not generated(path):
            text = path.read_text()
            assert not re.search(r"(?m)^(<<<<<<<|>>>>>>>|\t)", text), path


def test_top_level_holds_only_what_is_expected() -> None:
    expected = {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "common",
        "completions",
        "man",
        "pyproject.toml",
        "raftctl",
        "raftd",
        "requirements.lock",
        "tests",
    }
    found = {path.relative_to(ROOT).parts[0] for path in project_files()}
    assert found <= expected, found - expected
