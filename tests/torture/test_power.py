"""Power cuts: the disks really forget, real daemons lose nothing by it, and would without fsync."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftwire import Client
from tests.harness.checkers import Violation
from tests.harness.processes import wait_for
from tests.torture.judge import check_with_log
from tests.torture.medium import Medium
from tests.torture.power import ForgetfulDisk, PowerScene, kinds, missing
from tests.torture.round import Round
from tests.torture.workload import Collector, Workload

_WHY_NOT = missing()
mounted = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)


# --- the medium itself ---------------------------------------------------------------------------


@pytest.fixture
def medium() -> Medium:
    return Medium()


def make(medium: Medium, path: str, data: bytes, *, flush: bool = False) -> int:
    handle = medium.create(path, 0o600, os.O_RDWR)
    medium.write(path, data, 0, handle)
    if flush:
        medium.fsync(path, 0, handle)
    return handle


def flush_names(medium: Medium, path: str) -> None:
    medium.fsyncdir(path, 0, medium.opendir(path))


def tree(medium: Medium, path: str = "/") -> dict[str, bytes]:
    """Return all files below a directory, and what is in them."""
    found: dict[str, bytes] = {}
    for name in medium.readdir(path, 0)[2:]:
        inner = path.rstrip("/") + "/" + name
        if medium.getattr(inner)["st_mode"] & 0o040000:
            found |= tree(medium, inner)
        else:
            found[inner] = medium.read(inner, 2**20, 0, medium.open(inner, os.O_RDONLY))
    return found


def test_bytes_last_by_fsync_of_the_file(medium: Medium) -> None:
    handle = make(medium, "/a", b"kept", flush=True)
    flush_names(medium, "/")
    medium.write("/a", b"gone", 4, handle)
    assert tree(medium) == {"/a": b"keptgone"}
    assert medium.forget() == 1
    assert tree(medium) == {"/a": b"kept"}


def test_a_name_lasts_by_fsync_of_its_directory(medium: Medium) -> None:
    make(medium, "/a", b"flushed", flush=True)
    assert medium.forget() == 1
    assert tree(medium) == {}
    make(medium, "/a", b"not flushed")
    flush_names(medium, "/")
    medium.forget()
    assert tree(medium) == {"/a": b""}


def test_what_is_overwritten_or_cut_without_fsync_is_as_before(medium: Medium) -> None:
    handle = make(medium, "/a", b"0123456789", flush=True)
    flush_names(medium, "/")
    medium.write("/a", b"xx", 3, handle)
    medium.truncate("/a", 4)
    medium.forget()
    assert tree(medium) == {"/a": b"0123456789"}
    medium.truncate("/a", 4)
    medium.truncate("/a", 6)
    handle = medium.open("/a", os.O_RDWR)
    medium.fsync("/a", 1, handle)
    medium.forget()
    assert tree(medium) == {"/a": b"0123\0\0"}


@pytest.mark.parametrize("flushed", [False, True])
def test_a_rename_is_all_or_nothing(medium: Medium, flushed: bool) -> None:
    make(medium, "/new", b"new", flush=True)
    make(medium, "/old", b"old", flush=True)
    flush_names(medium, "/")
    medium.rename("/new", "/old")
    if flushed:
        flush_names(medium, "/")
    medium.forget()
    assert tree(medium) == ({"/old": b"new"} if flushed else {"/old": b"old", "/new": b"new"})


@pytest.mark.parametrize("where", ["/one", "/two"])
def test_a_rename_between_directories_lasts_by_either(medium: Medium, where: str) -> None:
    for folder in ("/one", "/two"):
        medium.mkdir(folder, 0o700)
    flush_names(medium, "/")
    make(medium, "/one/a", b"x", flush=True)
    medium.rename("/one/a", "/two/b")
    flush_names(medium, where)
    medium.forget()
    assert tree(medium) == {"/two/b": b"x"}


@pytest.mark.parametrize("flushed", [False, True])
def test_a_removal_lasts_by_fsync_of_the_directory(medium: Medium, flushed: bool) -> None:
    make(medium, "/a", b"x", flush=True)
    flush_names(medium, "/")
    medium.unlink("/a")
    if flushed:
        flush_names(medium, "/")
    medium.forget()
    assert ("/a" in tree(medium)) is not flushed


def test_what_is_left_is_some_beginning_of_what_was_done(medium: Medium) -> None:
    whole = bytes(range(100))
    lengths = set()
    for seed in range(200):
        handle = make(medium, "/a", whole[:10], flush=True)
        flush_names(medium, "/")
        for at in range(10, 100, 10):
            medium.write("/a", whole[at : at + 10], at, handle)
        medium.forget(random.Random(seed))
        left = tree(medium)["/a"]
        assert left == whole[: len(left)]
        lengths.add(len(left))
        medium.unlink("/a")
    assert min(lengths) == 10
    assert any(length % 10 for length in lengths), "no write was ever torn"


# --- mounted -------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ForgetfulDisk]:
    made = ForgetfulDisk(tmp_path / "disk")
    yield made
    made.close()


def flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@mounted
def test_a_mounted_disk_forgets_what_was_not_flushed(disk: ForgetfulDisk) -> None:
    flushed, torn, unnamed = (disk.path / name for name in ("flushed", "torn", "unnamed"))
    for path in (flushed, torn):
        path.write_bytes(b"first")
        flush(path)
    flush(disk.path)
    with torn.open("ab") as stream:
        stream.write(b" second")
    unnamed.write_bytes(b"x")
    flush(unnamed)
    flushed.rename(disk.path / "renamed")
    assert sorted(path.name for path in disk.path.iterdir()) == ["renamed", "torn", "unnamed"]
    assert disk.forget() == 3
    assert {path.name: path.read_bytes() for path in disk.path.iterdir()} == {
        "flushed": b"first",
        "torn": b"first",
    }
    flushed.rename(disk.path / "renamed")
    flush(disk.path)
    assert disk.forget() == 0
    assert sorted(path.name for path in disk.path.iterdir()) == ["renamed", "torn"]


@mounted
def test_nothing_is_lost_with_the_power() -> None:
    chosen = [kind for kind in kinds() if kind.kind == "power"]
    tally = Round(4, 12.0, chosen, tell=print, make=PowerScene).run()
    for line in tally.lines():
        print(line)
    assert tally.faults.total() > 0, "no power cut provably happened"


def blackout(*options: str) -> None:
    """Write, cut the power of all at once, keep nothing that was not flushed, and judge."""
    with PowerScene(3, random.Random(1), *options) as scene:
        scene.start()
        with Workload(scene.sockets, 1) as workload:
            wait_for("acknowledgements", lambda: workload.written >= 100)
        assert not workload.failures
        assert scene.strike([1, 2, 3]) == 3
        for disk in scene.disks.values():
            disk.forget()
        scene.revive()
        scene.settle()
        with Collector(scene.sockets) as collector:
            scene.catch_up()
            collector.finish()
        check_with_log(workload.history, workload.refused, collector.log)


@mounted
def test_everything_acknowledged_is_there_after_a_blackout() -> None:
    blackout()


@mounted
def test_without_fsync_a_blackout_loses_what_was_acknowledged() -> None:
    """The proof that the tests above could fail."""
    with pytest.raises(Violation, match="lost"):
        blackout("--fsync", "unsafe-never")


@mounted
def test_large_values_that_pass_the_journal_by_are_there_after_a_blackout() -> None:
    """What refers to them is saved when 16 MiB of them are flushed: table files alone have them.

    The last of so many just reach it: of more, RocksDB would have flushed them by itself.
    """
    pairs = {f"k{number}": b"%03d" % number * 300_000 for number in range(20)}
    with PowerScene(1, random.Random(1)) as scene:
        scene.start()
        with Client(scene.sockets()[0], timeout=30.0) as client:
            for key, value in pairs.items():
                client.kv.put(key, value)
        assert scene.strike([1]) == 1
        scene.disks[1].forget()
        scene.revive()
        scene.settle()
        with Client(scene.sockets()[0], timeout=30.0) as client:
            for key, value in pairs.items():
                found = client.kv.get(key)
                assert found is not None
                assert found.value == value, key
