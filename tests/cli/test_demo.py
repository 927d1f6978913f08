"""raftctl demo, as a person runs it: it succeeds, shows every step, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT = 60.0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@contextmanager
def demo(*args: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "raftctl", "demo", *args],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def folder_of(text: str) -> Path:
    found = re.search(r"^\$ cd (/tmp/\S+)$", text, re.MULTILINE)
    assert found, text
    return Path(found[1])


def processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").removesuffix(" (deleted)") == str(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_in(folder) == []


def test_it_tells_the_whole_story_and_leaves_nothing() -> None:
    started = time.monotonic()
    with demo() as process:
        text, _ = process.communicate(timeout=LIMIT + 20)
    assert process.returncode == 0, text
    assert time.monotonic() - started < LIMIT
    for line in (
        "raftctl -s 1.sock status",
        "raftctl -s 1.sock progress",
        "member begin --voters 1,3 --learners 4,5,6",
        "raftctl -s 1.sock member status",
        "raftctl -s 1.sock member finalize",
        "JOINT at index",
        "FINALIZED at index",
        "kill -9",
        "deduplicated",
        "100 ok, 0 not applied, 0 unknown",
        "Nothing acknowledged was lost.",
    ):
        assert line in text, f"{line} is missing in:\n{text}"
    assert "\x1b" not in text
    assert "Traceback" not in text
    folder = folder_of(text)
    assert not folder.exists()
    assert processes_in(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_either(number: signal.Signals) -> None:
    with demo() as process:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if "log show" in line:
                break
        folder = folder_of(text)
        assert len(processes_in(folder)) >= 3
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 130
    wait_until_gone(folder)
    assert not folder.exists()


def test_kept_it_says_how_to_talk_to_it_and_how_to_stop_it() -> None:
    with demo("--keep") as process:
        text, _ = process.communicate(timeout=LIMIT + 20)
    assert process.returncode == 0, text
    folder = folder_of(text)
    try:
        talk = re.search(r"talk to it: +cd \S+ && raftctl (.*)$", text, re.MULTILINE)
        stop = re.search(r"stop it: +(.*)$", text, re.MULTILINE)
        assert talk
        assert stop
        done = subprocess.run(
            [sys.executable, "-m", "raftctl", *talk[1].split()],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        subprocess.run(["bash", "-c", stop[1]], check=True)
        wait_until_gone(folder)
        assert not folder.exists()
    finally:
        for pid in processes_in(folder):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
