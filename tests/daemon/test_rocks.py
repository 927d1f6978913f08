"""RocksDB under faults: what damage is refused, what a crash may leave, whose a directory is."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raft.eraftpb import HardState
from raftd import storage as storage_module
from raftd.identity import (
    AlreadyInitialized,
    IdentityError,
    MissingMeta,
    NewerFormat,
    NotInitialized,
    RegressedError,
    WrongCluster,
    WrongNode,
    WrongStateMachine,
    encode_json,
)
from raftd.kvstore import (
    ColumnFamily,
    CorruptionError,
    DataDirError,
    LockedError,
    StoreClosed,
    StoreError,
    StoreWriteError,
)
from raftd.rocks import RocksStore, is_initialized
from raftd.storage import LogStore
from tests.unit.raftd.builders import bootstrap, entries, identity

LOG = ColumnFamily.LOG
STATE = ColumnFamily.STATE
HOLDER = """
import sys
from raftd.rocks import RocksStore
store = RocksStore.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""
WRITER = """
import os, sys
from raft.eraftpb import HardState
from raftd.rocks import RocksStore
from raftd.storage import LogStore
from tests.unit.raftd.builders import entries
store = LogStore.open(RocksStore.open(sys.argv[1]))
for index in range(2, 102):
    batch = store.new_batch()
    store.append(batch, entries(index, index + 1, size=80))
    store.set_hard_state(batch, HardState(term=1, vote=2, commit=index))
    store.write(batch)
    store.sync()
os._exit(0)
"""

PAST_JOURNAL = """
import os, sys
from raft.eraftpb import HardState
from raftd.kvstore import ColumnFamily
from raftd.rocks import RocksStore
from raftd.storage import LogStore
store = LogStore.open(RocksStore.open(sys.argv[1]))
for key in b"first", b"second":
    batch = store.new_batch()
    store.set_hard_state(batch, HardState(term=1 + len(key), vote=2, commit=1))
    store.write(batch)
    batch = store.new_batch()
    batch.put_all(ColumnFamily.STATE, [(key, key), (key + b"2", key)])
    store.kv.write_ahead(batch)
    assert store.kv.get(ColumnFamily.STATE, key) == key
    if key == b"first":
        store.kv.flush_family(ColumnFamily.STATE)
    # The term is another, so this raises the bounds too: to what the journal has, and no further.
    store.sync()
os._exit(0)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    yield path / "node"
    shutil.rmtree(path, ignore_errors=True)


def make(data_dir: Path) -> None:
    """Make a node's store and close it."""
    bootstrap(RocksStore.create(data_dir)).close()


def run(code: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        timeout=60,
    )


def crashed(data_dir: Path) -> None:
    """Make a store, write a hundred synced entries in another process, and kill it."""
    make(data_dir)
    run(WRITER, str(data_dir))


def newest_wal(data_dir: Path) -> Path:
    return max((data_dir / "db").glob("*.log"))


def flip(path: Path, at: float, bit: int = 3) -> None:
    """Flip one bit of a file, this share of its length in."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1 << bit
    path.write_bytes(data)


def reopen(data_dir: Path) -> LogStore:
    kv = RocksStore.open(data_dir)
    try:
        return LogStore.open(kv)
    except BaseException:
        kv.close()
        raise


# -- values are bytes ------------------------------------------------------------------------------


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_crafted_pickle_is_read_as_bytes(data_dir: Path) -> None:
    sprung = data_dir.parent / "sprung"
    crafted = pickle.dumps(Trap(sprung))
    # The default mode of rocksdict marks a pickled value by a leading byte; try them all.
    values = [crafted, *(bytes((mark,)) + crafted for mark in range(16))]
    store = RocksStore.create(data_dir)
    batch = store.new_batch()
    for number, value in enumerate(values):
        batch.put(STATE, bytes((number,)) + crafted, value)
    store.write(batch)
    view = store.view(STATE)
    for number, value in enumerate(values):
        assert store.get(STATE, bytes((number,)) + crafted) == value
    assert [value for _, value in store.scan(STATE)] == values
    assert [value for _, value in view.scan(STATE, b"", b"\xff")] == values
    store.close()
    assert not sprung.exists()
    pickle.loads(crafted)
    assert sprung.exists(), "the trap itself does not work"


# -- reading and writing ---------------------------------------------------------------------------


def test_scan_bounds_and_order(data_dir: Path) -> None:
    store = RocksStore.create(data_dir)
    batch = store.new_batch()
    for number in range(10):
        batch.put(STATE, b"%d" % number, b"v%d" % number)
    store.write(batch)

    def keys(**bounds: object) -> bytes:
        return b"".join(key for key, _ in store.scan(STATE, **bounds))  # type: ignore[arg-type]

    assert keys() == b"0123456789"
    assert keys(start=b"3") == b"3456789"
    assert keys(end=b"3") == b"012"
    assert keys(start=b"3", end=b"6") == b"345"
    assert keys(start=b"3", end=b"6", reverse=True) == b"543"
    assert keys(start=b"3", reverse=True, limit=2) == b"98"
    assert keys(start=b"3", limit=2) == b"34"
    assert keys(start=b"6", end=b"3") == b""
    store.close()


def test_a_view_stays_at_its_moment(data_dir: Path) -> None:
    store = RocksStore.create(data_dir)
    batch = store.new_batch()
    batch.put(STATE, b"a", b"1")
    batch.put(STATE, b"b", b"1")
    batch.put(ColumnFamily.SESSIONS, b"s", b"1")
    store.write(batch)
    view = store.view(STATE, ColumnFamily.SESSIONS)
    batch = store.new_batch()
    batch.put(STATE, b"a", b"2")
    batch.delete_range(STATE, b"b", b"c")
    batch.put(STATE, b"c", b"2")
    batch.delete(ColumnFamily.SESSIONS, b"s")
    store.write(batch)
    store.flush()
    store.compact(STATE, None, None)
    assert list(view.scan(STATE, b"", b"\xff")) == [(b"a", b"1"), (b"b", b"1")]
    assert list(view.scan(STATE, b"b", b"c")) == [(b"b", b"1")]
    assert list(view.scan(ColumnFamily.SESSIONS, b"", b"\xff")) == [(b"s", b"1")]
    view.close()
    assert list(store.scan(STATE)) == [(b"a", b"2"), (b"c", b"2")]
    store.close()


def test_closing_lets_go_though_batches_and_views_remain(data_dir: Path) -> None:
    store = RocksStore.create(data_dir)
    store.side_delete("initializing")
    batch, view = store.new_batch(), store.view(STATE)
    batch.put(STATE, b"k", b"v")
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.get(STATE, b"k")
    with pytest.raises(StoreClosed):
        store.write(batch)
    with pytest.raises(StoreClosed):
        store.sync()
    RocksStore.open(data_dir).close()
    del view


def test_checkpoint_is_a_whole_copy(data_dir: Path) -> None:
    store = bootstrap(RocksStore.create(data_dir))
    batch = store.new_batch()
    store.append(batch, entries(2, 50))
    store.write(batch)
    copy = data_dir.parent / "copy"
    copy.mkdir(mode=0o700)
    store.kv.checkpoint(str(copy / "db"))
    store.close()
    for name in ("identity.json", "bounds.json"):
        shutil.copy(data_dir / name, copy / name)
    kv = RocksStore.open_read_only(copy)
    assert kv.get(LOG, (49).to_bytes(8, "big")) is not None
    kv.close()


def test_a_failed_write_latches(data_dir: Path) -> None:
    store = bootstrap(RocksStore.create(data_dir))
    kv = store.kv
    assert isinstance(kv, RocksStore)
    side = data_dir / ".bounds.tmp"
    side.mkdir()
    with pytest.raises(StoreWriteError, match=r"bounds\.json.*must stop"):
        kv.side_write("bounds", b"{}")
    failure = kv.failure
    assert failure is not None
    side.rmdir()
    batch = store.new_batch()
    attempts: list[Callable[[], None]] = [
        lambda: kv.write(batch),
        kv.sync,
        lambda: kv.side_write("x", b""),
    ]
    for attempt in attempts:
        with pytest.raises(StoreWriteError) as raised:
            attempt()
        assert raised.value is failure
    # Closing must neither write nor hide it, and the directory is free again.
    store.close()
    reopen(data_dir).close()


# -- crashes and damage ----------------------------------------------------------------------------


def test_synced_entries_survive_a_kill(data_dir: Path) -> None:
    crashed(data_dir)
    store = reopen(data_dir)
    assert store.last_index() == 101
    assert store.hard_state == HardState(term=1, vote=2, commit=101)
    assert store.check().ok
    store.close()


def test_what_went_past_the_journal_is_there_once_it_was_flushed(data_dir: Path) -> None:
    make(data_dir)
    subprocess.run([sys.executable, "-c", PAST_JOURNAL, data_dir], check=True)
    # It opens: that some of it is lost is no sign of a store put back to an older state.
    store = LogStore.open(RocksStore.open(data_dir))
    assert store.hard_state.term == 7
    assert list(store.kv.scan(STATE)) == [(b"first", b"first"), (b"first2", b"first")]
    store.close()


@pytest.mark.parametrize("cut", [1, 7, 40, 100, 333])
def test_a_torn_tail_is_dropped(data_dir: Path, cut: int) -> None:
    crashed(data_dir)
    # As if the last sync had never returned: bounds follow what is durable, so they know less.
    wal = newest_wal(data_dir)
    wal.write_bytes(wal.read_bytes()[:-cut])
    store = reopen(data_dir)
    assert 95 <= store.last_index() < 101
    assert store.hard_state.commit == store.last_index()
    assert store.check().ok
    store.close()


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_bit_flip_in_the_journal_is_refused(data_dir: Path, at: float) -> None:
    crashed(data_dir)
    flip(newest_wal(data_dir), at)
    with pytest.raises(CorruptionError, match="new id"):
        reopen(data_dir)


def test_a_lost_journal_is_refused(data_dir: Path) -> None:
    crashed(data_dir)
    newest_wal(data_dir).unlink()
    with pytest.raises(RegressedError, match=r"vote|write-ahead") as raised:
        reopen(data_dir)
    assert "add it again under a new id" in str(raised.value)


def test_a_journal_lost_after_a_clean_stop_is_refused(data_dir: Path) -> None:
    store = bootstrap(RocksStore.create(data_dir))
    batch = store.new_batch()
    store.append(batch, entries(2, 10))
    store.write(batch)
    store.close()
    for wal in (data_dir / "db").glob("*.log"):
        wal.unlink()
    with pytest.raises(RegressedError, match="write-ahead file 0"):
        reopen(data_dir)


def test_an_older_copy_put_back_is_refused(data_dir: Path) -> None:
    make(data_dir)
    copy = data_dir.parent / "copy"
    shutil.copytree(data_dir / "db", copy)
    store = reopen(data_dir)
    batch = store.new_batch()
    store.set_hard_state(batch, HardState(term=5, vote=3, commit=1))
    store.write(batch)
    store.sync()
    store.close()
    shutil.rmtree(data_dir / "db")
    copy.rename(data_dir / "db")
    with pytest.raises(RegressedError, match="term 1, was 5"):
        reopen(data_dir)


@pytest.mark.parametrize("what", ["CURRENT", "MANIFEST", "db"])
def test_missing_files_are_refused(data_dir: Path, what: str) -> None:
    crashed(data_dir)
    if what == "db":
        shutil.rmtree(data_dir / "db")
    elif what == "CURRENT":
        (data_dir / "db" / "CURRENT").unlink()
    else:
        next((data_dir / "db").glob("MANIFEST*")).unlink()
    with pytest.raises(CorruptionError):
        reopen(data_dir)
    # Nothing was made in its place, and a new node is not made there by accident.
    with pytest.raises(DataDirError, match="holds a store already"):
        RocksStore.create(data_dir)


@pytest.mark.parametrize("what", ["CURRENT", "MANIFEST", "sst"])
def test_emptied_files_are_refused(data_dir: Path, what: str) -> None:
    crashed(data_dir)
    pattern = {"CURRENT": "CURRENT", "MANIFEST": "MANIFEST*", "sst": "*.sst"}[what]
    max((data_dir / "db").glob(pattern)).write_bytes(b"")
    with pytest.raises(StoreError):
        reopen(data_dir)


def filled(data_dir: Path, count: int) -> None:
    """Make a store whose entries lie in table files."""
    store = bootstrap(RocksStore.create(data_dir))
    for low in range(2, count + 2, 1000):
        batch = store.new_batch()
        store.append(batch, entries(low, min(low + 1000, count + 2), size=200))
        store.write(batch)
    store.kv.flush()
    store.close()


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.8])
def test_a_flip_in_a_table_never_shortens_the_log(data_dir: Path, at: float) -> None:
    filled(data_dir, 6000)
    tables = sorted((data_dir / "db").glob("*.sst"), key=lambda path: path.stat().st_size)
    flip(tables[-1], at)
    with pytest.raises(StoreError):  # noqa: PT012 - wherever it is noticed
        store = reopen(data_dir)
        try:
            assert store.last_index() == 6001
            report = store.check()
            assert not report.ok
            store.entries(2, 6002)
        finally:
            store.close()


@pytest.mark.parametrize("name", ["identity.json", "bounds.json"])
def test_side_files_are_guarded(data_dir: Path, name: str) -> None:
    crashed(data_dir)
    path = data_dir / name
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"1", b"2", 1))
    with pytest.raises(CorruptionError, match=name):
        reopen(data_dir)
    path.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(CorruptionError, match=name):
        reopen(data_dir)
    path.unlink()
    with pytest.raises(MissingMeta, match=name):
        reopen(data_dir)
    path.write_bytes(kept)
    reopen(data_dir).close()


# -- identity --------------------------------------------------------------------------------------


def test_other_nodes_clusters_and_machines_are_refused(data_dir: Path) -> None:
    make(data_dir)
    kv = RocksStore.open(data_dir)
    for error, expected in (
        (WrongNode, {"node_id": 2}),
        (WrongCluster, {"cluster_id": b"f" * 16}),
        (WrongStateMachine, {"state_machine": "kv"}),
    ):
        with pytest.raises(error) as raised:
            LogStore.open(kv, **expected)
        assert isinstance(raised.value, IdentityError)
    LogStore.open(kv, node_id=1, cluster_id=identity().cluster_id, state_machine="log").close()


def test_a_database_of_another_node_is_refused(data_dir: Path) -> None:
    make(data_dir)
    other = data_dir.parent / "other"
    LogStore.join(RocksStore.create(other), identity(node_id=9)).close()
    shutil.rmtree(data_dir / "db")
    shutil.move(other / "db", data_dir / "db")
    with pytest.raises(WrongNode, match=r"node 1.*node 9"):
        reopen(data_dir)


def test_a_newer_format_is_refused(data_dir: Path) -> None:
    make(data_dir)
    found = json.loads((data_dir / "identity.json").read_bytes())
    del found["crc32"]
    (data_dir / "identity.json").write_bytes(encode_json({**found, "format": 2, "shape": "new"}))
    with pytest.raises(NewerFormat, match=r"format 2.*up to 1"):
        reopen(data_dir)


def test_a_store_is_made_once(data_dir: Path) -> None:
    make(data_dir)
    with pytest.raises(DataDirError, match="holds a store already"):
        RocksStore.create(data_dir)
    kv = RocksStore.open(data_dir)
    with pytest.raises(AlreadyInitialized):
        LogStore.join(kv, identity())
    kv.close()


def test_nothing_is_made_by_opening(data_dir: Path) -> None:
    with pytest.raises(DataDirError, match="does not exist"):
        RocksStore.open(data_dir)
    data_dir.mkdir(mode=0o700)
    with pytest.raises(DataDirError, match="never initialized"):
        RocksStore.open(data_dir)
    assert sorted(path.name for path in data_dir.iterdir()) == ["LOCK"]


def test_an_unfinished_creation_is_begun_again(data_dir: Path) -> None:
    RocksStore.create(data_dir).close()
    assert not is_initialized(data_dir)
    with pytest.raises(DataDirError, match="did not finish"):
        RocksStore.open(data_dir)
    make(data_dir)
    assert is_initialized(data_dir)
    reopen(data_dir).close()


def test_an_empty_database_names_no_node(data_dir: Path) -> None:
    kv = RocksStore.create(data_dir)
    with pytest.raises(NotInitialized):
        LogStore.open(kv)
    kv.close()


# -- the directory ---------------------------------------------------------------------------------


def test_directory_and_files_are_private(data_dir: Path) -> None:
    before = os.umask(0o077)
    try:
        make(data_dir)
    finally:
        os.umask(before)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "db").stat().st_mode) == 0o700
    for path in [*data_dir.glob("*.json"), data_dir / "LOCK"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in (data_dir / "db").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_a_directory_open_to_others_is_refused(data_dir: Path, mode: int) -> None:
    make(data_dir)
    data_dir.chmod(mode)
    with pytest.raises(DataDirError, match="chmod 0700"):
        RocksStore.open(data_dir)
    data_dir.chmod(0o700)


def test_a_directory_of_another_user_is_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(data_dir)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(DataDirError, match="chown -R 4711"):
        RocksStore.open(data_dir)


def test_a_file_in_the_place_of_the_directory(data_dir: Path) -> None:
    data_dir.write_bytes(b"")
    with pytest.raises(DataDirError, match="not a directory"):
        RocksStore.open(data_dir)
    with pytest.raises(DataDirError):
        RocksStore.create(data_dir)


def test_the_lock_names_its_holder(data_dir: Path) -> None:
    make(data_dir)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LockedError, match=f"process {holder.pid}") as raised:
            RocksStore.open(data_dir)
        assert raised.value.pid == holder.pid
        # Looking is allowed beside it.
        kv = RocksStore.open_read_only(data_dir)
        found = LogStore.open(kv, read_only=True)
        assert found.last_index() == 1
        with pytest.raises(StoreWriteError):
            kv.side_write("x", b"")
        kv.close()
    finally:
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait(30)
        assert holder.stdout is not None
        holder.stdout.close()
    RocksStore.open(data_dir).close()


def test_usage_and_free_space(data_dir: Path) -> None:
    store = bootstrap(RocksStore.create(data_dir))
    before = store.kv.disk_usage()
    batch = store.new_batch()
    for low in range(2, 2002, 100):
        store.append(batch, entries(low, low + 100, size=4096))
    store.write(batch)
    store.sync()
    assert store.kv.disk_usage() > before + 4096 * 1000
    assert 0 < store.kv.free_bytes() < 1 << 60
    store.close()


# -- size ------------------------------------------------------------------------------------------


def test_a_long_log_opens_quickly_and_in_little_memory(data_dir: Path) -> None:
    """200,000 entries; what is read at start does not depend on how many there are."""
    store = bootstrap(RocksStore.create(data_dir))
    count = 200_000
    for low in range(2, count + 2, 2000):
        batch = store.new_batch()
        store.append(batch, entries(low, low + 2000, term=1 + low // 40_000, size=64))
        store.set_hard_state(batch, HardState(term=9, commit=low))
        store.write(batch)
    store.close()
    reads = 0

    class Counting(RocksStore):
        def get(self, cf: ColumnFamily, key: bytes) -> bytes | None:
            nonlocal reads
            reads += 1
            return super().get(cf, key)

    store = LogStore.open(Counting.open(data_dir))
    assert store.last_index() == count + 1
    assert reads < 200
    assert len(store.entries(count - 10, count)) == 10
    assert [store.term(index) for index in (2, 39_999, 40_002, count)] == [1, 1, 2, 5]
    first = store.entries(2, count, max_size=1000)
    assert first[0].index == 2
    assert len(first) < 20
    progress: list[int] = []
    report = store.check(progress.append)
    assert report.ok
    assert (report.entries, len(progress)) == (count, count // 10_000)
    store.close()


def test_compacted_space_is_given_back(data_dir: Path) -> None:
    filled(data_dir, 60_000)
    store = reopen(data_dir)
    before = store.kv.disk_usage()
    batch = store.new_batch()
    state = storage_module.AppliedState(index=60_001, term=1)
    store.set_applied(batch, state)
    store.compact(batch, 60_000)
    store.write(batch)
    assert not store.reclaim(at_least=100_000)
    assert store.reclaim()
    assert not store.reclaim()
    store.kv.flush()
    assert store.kv.disk_usage() < before / 3
    assert [each.index for each in store.entries(60_000, 60_002)] == [60_000, 60_001]
    store.close()
    store = reopen(data_dir)
    assert (store.first_index(), store.last_index()) == (60_000, 60_001)
    store.close()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_with_an_end_is_whole_whatever_the_allocator_does(
    data_dir: Path, reverse: bool
) -> None:
    store = RocksStore.create(data_dir)
    try:
        keys = [number.to_bytes(8, "big") for number in range(200)]
        batch = store.new_batch()
        for key in keys:
            batch.put(LOG, key, b"v" * 64)
        store.write(batch)
        for first in range(0, 190, 5):
            # New objects each time: a bound that is read after it was freed shows as a short scan.
            start, end = bytes(bytearray(keys[first])), bytes(bytearray(keys[first + 9]))
            found = [key for key, _ in store.scan(LOG, start, end, reverse=reverse)]
            assert found == sorted(keys[first : first + 9], reverse=reverse)
    finally:
        store.close()
