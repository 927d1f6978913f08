"""raftctl offline on the data of real nodes: whole, in use, and damaged in every way."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, cluster


@pytest.fixture(scope="module")
def stopped() -> Iterator[Cluster]:
    """A group whose node 1 was killed in the middle of its work, and has tables and a journal."""
    with cluster(3, "--state-machine", "kv") as group:
        with group[1].client(30.0) as client:
            for number in range(300):
                client.kv.put(f"k{number % 40}", "v" * 500, idempotency_key=f"order-{number}")
            client.snapshot_create()
        # A clean stop and another start leave tables behind.
        assert group[1].terminate() == 0
        group.start()
        with group[1].client(30.0) as client:
            for number in range(100):
                client.kv.put(f"more{number}", "v" * 500)
        group[1].kill()
        yield group


@pytest.fixture
def data(stopped: Cluster, short_dir: Path) -> Path:
    """A copy of its data, to be damaged."""
    copy = short_dir / "data"
    shutil.copytree(stopped[1].data_dir, copy)
    return copy


def test_info_says_what_is_there(stopped: Cluster, data: Path) -> None:
    found = raftctl("offline", "info", "--data-dir", data)
    with stopped[2].client() as client:
        status = client.status()
    assert found["id"] == 1
    assert found["cluster_id"] == status.cluster_id
    assert found["state_machine"] == "kv"
    assert found["config"]["voters"] == [1, 2, 3]
    assert found["addresses"] == {str(node.id): node.address for node in stopped.nodes.values()}
    assert found["first_index"] <= found["applied"] <= found["commit"] <= found["last_index"]
    # State is saved every few hundred entries; what came since is in the log. So the keys that
    # are remembered are those of the entries up to where it is saved.
    keyed = [entry for entry in stopped.applied(2, "normal") if entry.key]
    assert len(keyed) == 300
    assert found["keys"] == sum(entry.index <= found["applied"] for entry in keyed) > 0
    assert found["opens"] == 2
    assert len(found["snapshots"]) == 1
    assert found["recovered_from"] is None


def test_the_log_is_the_one_that_the_others_have(stopped: Cluster, data: Path) -> None:
    dumped = raftctl("offline", "log", "dump", "--data-dir", data)["entries"]
    theirs = {entry.index: (entry.term, entry.type, entry.data) for entry in stopped.applied(2)}
    ours = {e["index"]: (e["term"], e["type"]) for e in dumped}
    common = sorted(ours.keys() & theirs.keys())
    assert len(common) > 300
    assert [ours[index] for index in common] == [theirs[index][:2] for index in common]
    part = raftctl("offline", "log", "dump", "5..9", "--data-dir", data, "--raw")["entries"]
    assert [entry["index"] for entry in part] == [5, 6, 7, 8, 9]
    assert bytes.fromhex(part[-1]["raw"]["data"]) == theirs[9][2]
    only = raftctl("offline", "log", "dump", "--type", "control", "--data-dir", data)["entries"]
    assert {entry["type"] for entry in only} <= {"control"}


def test_whole_data_is_whole(data: Path) -> None:
    before = {
        path: path.read_bytes() for path in data.rglob("*") if path.suffix in (".sst", ".log")
    }
    found = raftctl("offline", "check", "--data-dir", data)
    assert found["entries"] == found["last_index"] - found["first_index"] + 1
    assert found["state_records"] > 40
    assert found["snapshots"] == 1
    assert {path: path.read_bytes() for path in before} == before


def test_data_in_use_is_left_alone(stopped: Cluster) -> None:
    directory = stopped[2].data_dir
    error = raftctl("offline", "check", "--data-dir", directory, expect=4)
    assert error["code"] == "LOCKED"
    assert str(stopped[2].pid) in error["message"]
    found = raftctl("offline", "info", "--data-dir", directory, "--read-only")
    assert found["id"] == 2
    with stopped[2].client() as client:
        client.kv.put("unharmed", "yes")


def test_where_there_is_nothing_nothing_is_made(short_dir: Path) -> None:
    empty = short_dir / "empty"
    empty.mkdir(mode=0o700)
    assert raftctl("offline", "info", "--data-dir", empty, expect=4)["code"] == "PRECONDITION"
    assert list(empty.iterdir()) == []
    assert (
        "no directory"
        in raftctl("offline", "info", "--data-dir", short_dir / "none", expect=4)["message"]
    )


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_bit_in_a_table_is_found_and_named(data: Path, rng: random.Random) -> None:
    table = max((data / "db").glob("*.sst"), key=lambda path: path.stat().st_size)
    flip(table, rng.randrange(100, table.stat().st_size // 2))
    error = raftctl("offline", "check", "--data-dir", data, expect=9)
    assert error["code"] == "CORRUPT"
    assert str(data) in error["message"]


def test_a_flipped_bit_in_the_journal_is_found(data: Path) -> None:
    journal = max((data / "db").glob("*.log"), key=lambda path: path.stat().st_size)
    flip(journal, journal.stat().st_size // 2)
    assert raftctl("offline", "check", "--data-dir", data, expect=9)["code"] == "CORRUPT"
    # Nothing is read from it either.
    assert raftctl("offline", "info", "--data-dir", data, expect=9)["code"] == "CORRUPT"


def test_a_lost_journal_is_found(data: Path) -> None:
    for journal in (data / "db").glob("*.log"):
        journal.unlink()
    error = raftctl("offline", "check", "--data-dir", data, expect=9)
    assert "less than bounds.json recorded" in error["message"]


def test_a_damaged_snapshot_is_named(data: Path) -> None:
    snapshot = next((data / "snapshots").glob("*.raftsnap"))
    flip(snapshot, snapshot.stat().st_size // 2)
    error = raftctl("offline", "check", "--data-dir", data, expect=9)
    assert snapshot.name in error["message"]


def test_a_missing_table_is_found(data: Path) -> None:
    max((data / "db").glob("*.sst"), key=lambda path: path.stat().st_size).unlink()
    assert raftctl("offline", "check", "--data-dir", data, expect=9)["code"] == "CORRUPT"
