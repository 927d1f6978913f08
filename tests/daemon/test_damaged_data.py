"""Real nodes started on data that was damaged, lost, mixed up or opened to others: items 12 to 19.

Whatever cannot be trusted is refused with a status and a sentence, before the node listens or
votes. The store itself is tried in finer grain in `test_rocks`; tests/RELIABILITY.md has the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftwire import AdminError
from tests.harness.processes import Cluster, Node, cluster, wait_for

CORRUPT = 9
IDENTITY = 4
PUTS = 200

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    """One node, killed at work: its data has tables, a journal and an older copy beside it."""
    with cluster(1, "--state-machine", "kv", "--cluster-token", "ours") as group:
        node = group[1]
        with node.client(30.0) as client:
            for number in range(PUTS):
                client.kv.put(f"k{number}", os.urandom(2_000))
        assert node.terminate() == 0
        shutil.copytree(node.data_dir, group.folder / "older")
        group.start()
        with node.client(30.0) as client:
            for number in range(PUTS):
                client.kv.put(f"later{number}", os.urandom(2_000))
        node.kill()
        shutil.copytree(node.data_dir, group.folder / "kept")
        yield group


@pytest.fixture
def node(alone: Cluster) -> Iterator[Node]:
    """That node, stopped, its data as it was killed."""
    one = alone[1]
    shutil.rmtree(one.data_dir, ignore_errors=True)
    shutil.copytree(alone.folder / "kept", one.data_dir)
    one.log_path.unlink(missing_ok=True)
    one.socket.unlink(missing_ok=True)
    yield one
    one.kill()


def largest(data: Path, pattern: str) -> Path:
    return max((data / "db").glob(pattern), key=lambda path: path.stat().st_size)


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(content)


def cut(path: Path, left: float) -> None:
    os.truncate(path, int(path.stat().st_size * left))


def journals(data: Path) -> None:
    for path in (data / "db").glob("*.log"):
        path.unlink()


def older(data: Path) -> None:
    shutil.rmtree(data)
    shutil.copytree(data.parent / "older", data)
    # Somebody who restores a database alone leaves the guards beside it as they are.
    shutil.copy(data.parent / "kept" / "bounds.json", data)


def newer_format(data: Path) -> None:
    path = data / "identity.json"
    values = json.loads(path.read_bytes())
    del values["crc32"]
    values["format"] = 99
    body = json.dumps(values, sort_keys=True)
    path.write_text(
        json.dumps({**values, "crc32": zlib.crc32(body.encode())}, sort_keys=True) + "\n"
    )


REFUSED: dict[str, tuple[Damage, int, str]] = {
    "13 a flipped bit in the journal": (
        lambda data: flip(largest(data, "*.log"), 0.5), CORRUPT, "files are missing or damaged",
    ),
    "15 a table cut short": (lambda data: cut(largest(data, "*.sst"), 0.5), CORRUPT, "damaged"),
    "15 a table gone": (lambda data: largest(data, "*.sst").unlink(), CORRUPT, "missing"),
    "15 a flipped bit in MANIFEST": (
        lambda data: flip(largest(data, "MANIFEST-*"), 0.5), CORRUPT, "damaged",
    ),
    "15 MANIFEST gone": (lambda data: largest(data, "MANIFEST-*").unlink(), CORRUPT, "missing"),
    "15 CURRENT empty": (lambda data: cut(data / "db" / "CURRENT", 0), CORRUPT, "damaged"),
    "15 CURRENT gone": (lambda data: (data / "db" / "CURRENT").unlink(), CORRUPT, "CURRENT"),
    "17 the journal gone": (journals, IDENTITY, "less than bounds.json recorded"),
    "17 the database gone": (lambda data: shutil.rmtree(data / "db"), CORRUPT, "gone"),
    "17 an older copy put back": (older, IDENTITY, "less than bounds.json recorded"),
    "18 a newer format": (newer_format, IDENTITY, "format 99"),
    "18 no identity": (lambda data: (data / "identity.json").unlink(), IDENTITY, "identity.json"),
    "23 open to all": (lambda data: data.chmod(0o777), IDENTITY, "chmod 0700"),
}  # fmt: skip


def refused(node: Node, status: int, words: str) -> None:
    """Fail unless a node ends with this status and words, before it has listened to anybody."""
    wait_for("it to be refused", lambda: not node.running)
    last = node.last_lines(40)
    assert node.wait() == status, last
    assert words in last, last
    assert '"serving"' not in last
    assert not node.socket.exists()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_trusted_is_refused(node: Node, what: str) -> None:
    damage, status, words = REFUSED[what]
    damage(node.data_dir)
    node.start()
    refused(node, status, words)


def answers(node: Node) -> bool:
    """Wait until a node answers, and return True, or has ended."""
    answered = False

    def decided() -> bool:
        nonlocal answered
        answered = node.status() is not None
        return answered or not node.running

    wait_for("it to decide", decided)
    return answered


def read_all(node: Node) -> None:
    """Read every key there was, and the log; fail if one is missing."""
    with node.client(30.0) as client:
        client.wait("leader", timeout=30.0)
        for number in range(PUTS):
            for prefix in ("k", "later"):
                assert client.kv.get(f"{prefix}{number}") is not None, f"{prefix}{number} is gone"
        list(client.log_read())


def test_12_a_torn_end_of_the_journal_is_dropped(node: Node) -> None:
    journal = largest(node.data_dir, "*.log")
    os.truncate(journal, journal.stat().st_size - 7)
    node.start()
    assert answers(node), node.last_lines()
    with node.client(30.0) as client:
        client.wait("leader", timeout=30.0)
        # The torn record held the last put alone, which a crash may take only unacknowledged.
        assert all(client.kv.get(f"later{number}") is not None for number in range(PUTS - 1))
    assert node.terminate() == 0


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9])
def test_14_a_flipped_bit_in_a_table_is_refused_or_surfaces_and_never_shortens(
    node: Node, at: float
) -> None:
    flip(largest(node.data_dir, "*.sst"), at)
    node.start()
    try:
        if answers(node):
            read_all(node)
            # What was hit nobody reads: a filter, say.
            assert node.terminate() in (0, CORRUPT)
            return
    except AdminError:
        wait_for("it to stop", lambda: not node.running)
    assert node.wait() == CORRUPT, node.last_lines()
    assert "add it again" in node.last_lines(), "it says what to do"


def test_16_a_manifest_that_lost_its_end_does_not_lose_what_was_acknowledged(node: Node) -> None:
    """RocksDB may open it, with an older idea of its files: the bounds decide."""
    cut(largest(node.data_dir, "MANIFEST-*"), 0.7)
    node.start()
    if answers(node):
        read_all(node)
    else:
        assert node.wait() in (IDENTITY, CORRUPT), node.last_lines()
        assert '"serving"' not in node.last_lines(40)


def test_18_the_data_of_another_group_is_refused(node: Node) -> None:
    node.start("--cluster-token", "another")
    refused(node, IDENTITY, "token")


def test_23_a_directory_of_somebody_else_or_read_only(node: Node) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away and mount")
    os.chown(node.data_dir, 12345, -1)
    node.start()
    refused(node, IDENTITY, "chown")
    os.chown(node.data_dir, 0, -1)
    mount = ["mount", "--bind", str(node.data_dir), str(node.data_dir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", node.data_dir], check=True)
        node.log_path.unlink()
        node.start()
        refused(node, IDENTITY, "read-only")
    finally:
        subprocess.run(["umount", "-l", node.data_dir], check=True)
