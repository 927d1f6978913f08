"""Snapshots: whole or refused, and a crash at every step of installing leaves old or new."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raft.eraftpb import ConfState, Entry, SnapshotMetadata
from raft.errors import SnapshotOutOfDate
from raftd import snapshot_format
from raftd.applier import Applier
from raftd.identity import Identity
from raftd.kvstore import ColumnFamily, KeyValueStore
from raftd.memory_store import MemoryStore
from raftd.rocks import RocksStore
from raftd.settings import Settings
from raftd.snapshot import (
    OffsetMismatch,
    SnapshotDamaged,
    SnapshotFile,
    SnapshotManifest,
    SnapshotRefused,
    SnapshotStore,
    Stager,
    clear_stage,
    header_of,
    inspect,
    install,
    restore,
    verify,
)
from raftd.snapshot_format import StreamReader, StreamWriter
from raftd.storage import LogStore
from raftwire import kv as wire
from raftwire.proto.peer_pb2 import ControlCommand, SetClock
from tests.unit.raftd.builders import (
    ADDRESSES,
    CLUSTER,
    applier,
    apply,
    bootstrap,
    control,
    entries,
    identity,
    members,
    proposal,
)


class PowerCut(Exception):
    """The simulated machine lost its power."""


def commands(low: int, high: int, size: int = 20) -> list[Entry]:
    """Return puts with and without client keys, and a stamp of the clock now and then."""
    found = []
    for index in range(low, high):
        if index % 17 == 0:
            stamp = ControlCommand(set_clock=SetClock(unix_ms=1000 * index))
            found.append(control(index, stamp))
        else:
            data = wire.put(b"key%d" % (index % 50), b"%d" % index * (size // 2))
            found.append(proposal(index, data, key=b"c%d" % index if index % 3 else b""))
    return found


def node(kv: KeyValueStore | None = None, up_to: int = 200) -> tuple[LogStore, Applier]:
    """Return a `kv` node that has applied some entries."""
    store = bootstrap(kv, machine="kv", settings=Settings(history_count=60))
    by = applier(store)
    for low in range(2, up_to, 40):
        apply(store, by, commands(low, min(low + 40, up_to)))
    return store, by


def taken(store: LogStore, by: Applier) -> bytes:
    """Return a snapshot of the node's state, as bytes."""
    stream = io.BytesIO()
    view = store.kv.view(ColumnFamily.STATE, ColumnFamily.SESSIONS)
    writer = StreamWriter(stream, header_of(store, by), view, by.epoch)
    while writer.step():
        pass
    assert writer.size == len(stream.getvalue())
    return stream.getvalue()


def behind(kv: KeyValueStore | None = None, up_to: int = 30) -> tuple[LogStore, Applier]:
    """Return a node that has applied the same entries, but fewer, and holds some it must drop."""
    store, by = node(kv, up_to)
    batch = store.new_batch()
    store.append(batch, entries(up_to, up_to + 5, term=1))
    store.write(batch)
    store.sync()
    return store, by


def state(store: LogStore, by: Applier) -> tuple[object, ...]:
    """Return all that must agree: position, contents, keys, configuration, addresses."""
    return (
        by.index,
        by.term,
        by.digest,
        by.machine.digest(by.reader),
        by.log_time_ms,
        replace(by.sessions.counters),
        [by.outcome(b"c%d" % index) for index in range(0, 220, 7)],
        sorted(store.conf_state.voters),
        dict(by.addresses),
        by.settings,
    )


def installed(
    store: LogStore, by: Applier, data: bytes, metadata: SnapshotMetadata | None = None
) -> None:
    """Stage and install as the daemon does."""
    stager = Stager(store.kv, io.BytesIO(data), store.identity, by.epoch)
    staged = stager.run()
    batch = store.new_batch()
    install(batch, store, staged, metadata or staged.header.metadata())
    store.write(batch)
    by.reload()
    store.sync()


def reopened(kv: KeyValueStore) -> tuple[LogStore, Applier]:
    store = LogStore.open(kv)
    clear_stage(kv, store.load_epoch())
    return store, applier(store)


# -- from node to node -----------------------------------------------------------------------------


@pytest.mark.parametrize("rocks", [False, True])
def test_state_travels_whole(rocks: bool, short_dir: Path) -> None:
    kinds: list[Callable[[str], KeyValueStore]] = [
        lambda _: MemoryStore(),
        lambda name: RocksStore.create(short_dir / name),
    ]
    source, source_by = node(kinds[rocks]("a"))
    target, target_by = behind(kinds[rocks]("b"))
    expected = state(source, source_by)
    assert state(target, target_by) != expected
    installed(target, target_by, taken(source, source_by))
    assert state(target, target_by) == expected
    assert (target.first_index(), target.last_index()) == (200, 199)
    # Both go on alike: a retry of an old key is known, new entries lead to the same digest.
    more = [*commands(200, 230), proposal(230, wire.put(b"x", b"again"), key=b"c100")]
    for each, by in ((source, source_by), (target, target_by)):
        apply(each, by, more)
    assert state(target, target_by) == state(source, source_by)
    record = target_by.outcome(b"c100")
    assert record is not None
    assert record.index == 100
    for each in (source, target):
        each.close()
    if rocks:
        found, by = reopened(RocksStore.open(short_dir / "b"))
        assert by.index == 230
        assert found.check().ok
        found.close()


def test_a_second_snapshot_goes_to_the_other_epoch_and_nothing_stays() -> None:
    source, source_by = node()
    target, target_by = behind()
    for number in range(3):
        apply(source, source_by, commands(200 + 10 * number, 210 + 10 * number))
        installed(target, target_by, taken(source, source_by))
        assert target_by.epoch == (number + 1) % 2
        assert state(target, target_by) == state(source, source_by)
        for family in (ColumnFamily.STATE, ColumnFamily.SESSIONS):
            count = len(list(source.kv.scan(family)))
            assert len(list(target.kv.scan(family))) == count
            assert {key[0] for key, _ in target.kv.scan(family)} == {target_by.epoch}


def test_a_snapshot_shows_one_moment_while_the_node_goes_on(short_dir: Path) -> None:
    source, by = node(RocksStore.create(short_dir / "a"))
    expected = state(source, by)
    files = SnapshotStore(short_dir / "snapshots")
    writer = files.begin(source.kv, source, by, created_ms=5)
    low = 200
    more = True
    while more:
        apply(source, by, commands(low, low + 20), sync=False)
        source.kv.flush()
        low += 20
        more = writer.step()
    file = writer.finish()
    files.add(file)
    assert (file.header.index, file.header.created_ms) == (199, 5)
    target, target_by = behind()
    installed(target, target_by, file.path.read_bytes())
    assert state(target, target_by) == expected
    source.close()


def test_equal_states_of_two_members_have_equal_contents() -> None:
    one, one_by = node()
    other, other_by = node()
    installed(other, other_by, taken(one, one_by))
    assert taken(one, one_by) == taken(other, other_by)


# -- crashes ---------------------------------------------------------------------------------------


def test_a_crash_at_every_step_leaves_old_or_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_format, "CHUNK_BYTES", 500)
    source, source_by = node(up_to=120)
    data = taken(source, source_by)
    new = state(source, source_by)
    base, base_by = behind()
    old = state(base, base_by)
    kv = base.kv
    assert isinstance(kv, MemoryStore)
    seen: set[str] = set()
    finished = False
    stop = 0
    while not finished:
        copy = kv.clone()
        target = LogStore.open(copy)
        by = applier(target)
        left = stop

        def step(name: str) -> None:
            nonlocal left
            if left == 0:
                raise PowerCut(name)
            left -= 1

        copy.on_step = step
        try:
            installed(target, by, data)
            finished = True
        except PowerCut:
            pass
        copy.on_step = None
        for keep in {0, 1, copy.unsynced // 2, max(copy.unsynced - 1, 0), copy.unsynced}:
            if keep > copy.unsynced:
                continue
            found, found_by = reopened(copy.clone().crash(keep))
            now = state(found, found_by)
            assert now in (old, new), (stop, keep)
            seen.add("new" if now == new else "old")
            bounds = (found.first_index(), found.last_index())
            assert bounds == ((120, 119) if now == new else (2, 34))
            assert found.initial_state().hard_state.commit == found_by.index
            assert found.check().ok
            assert {key[0] for key, _ in found.kv.scan(ColumnFamily.STATE)} == {found_by.epoch}
            # An interrupted installation is simply begun again.
            if now == old and keep == copy.unsynced:
                installed(found, found_by, data)
                assert state(found, found_by) == new
        stop += 1
    assert seen == {"old", "new"}
    assert stop > 20, "too few steps to mean anything"


def test_applying_goes_on_while_a_snapshot_is_staged() -> None:
    source, source_by = node()
    target, by = node(up_to=30)
    stager = Stager(target.kv, io.BytesIO(taken(source, source_by)), target.identity, by.epoch)
    low = 30
    while stager.step():
        apply(target, by, commands(low, low + 3))
        low += 3
    reference, reference_by = node(up_to=30)
    apply(reference, reference_by, commands(30, low))
    assert by.digest == reference_by.digest
    assert by.machine.digest(by.reader) == reference_by.machine.digest(reference_by.reader)
    assert stager.staged is not None
    batch = target.new_batch()
    install(batch, target, stager.staged, stager.header.metadata())
    target.write(batch)
    by.reload()
    assert state(target, by) == state(source, source_by)


def test_an_older_or_another_snapshot_is_not_installed() -> None:
    source, source_by = node(up_to=30)
    data = taken(source, source_by)
    target, by = node(up_to=60)
    before = state(target, by)
    staged = Stager(target.kv, io.BytesIO(data), target.identity, by.epoch).run()
    with pytest.raises(SnapshotOutOfDate):
        install(target.new_batch(), target, staged, staged.header.metadata())
    other = SnapshotMetadata(index=29, term=2)
    with pytest.raises(SnapshotRefused, match="term 2"):
        install(target.new_batch(), target, staged, other)
    assert state(target, by) == before
    assert clear_stage(target.kv, by.epoch)
    assert not clear_stage(target.kv, by.epoch)


# -- damage ----------------------------------------------------------------------------------------


def test_damage_anywhere_is_noticed(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_format, "CHUNK_BYTES", 500)
    source, by = node(up_to=60)
    data = taken(source, by)
    target, target_by = behind()
    before = state(target, target_by)

    def refused(wrong: bytes) -> None:
        with pytest.raises((SnapshotDamaged, SnapshotRefused)):
            Stager(target.kv, io.BytesIO(wrong), target.identity, target_by.epoch).run()
        assert state(target, target_by) == before

    for cut in [0, 1, 10, 20, len(data) // 2, len(data) - 33, len(data) - 1]:
        refused(data[:cut])
    refused(data + b"x")
    for _ in range(150):
        position = rng.randrange(len(data))
        wrong = bytearray(data)
        wrong[position] ^= 1 << rng.randrange(8)
        refused(bytes(wrong))


def test_whole_chunks_that_are_missing_or_swapped_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot_format, "CHUNK_BYTES", 500)
    source, by = node(up_to=60)
    data = taken(source, by)
    _, _, header = snapshot_format._PREAMBLE.unpack_from(data)
    offset = snapshot_format._PREAMBLE.size + header
    chunks = []
    while True:
        length, _ = snapshot_format._CHUNK.unpack_from(data, offset)
        if not length:
            break
        end = offset + snapshot_format._CHUNK.size + length
        chunks.append(data[offset:end])
        offset = end
    begin, rest = data[: snapshot_format._PREAMBLE.size + header], data[offset:]
    for wrong in (chunks[1:], chunks[:-1], chunks[::-1], [*chunks, chunks[0]], []):
        with pytest.raises(SnapshotDamaged, match="SHA-256"):
            list(StreamReader(io.BytesIO(begin + b"".join(wrong) + rest)).chunks())


def test_claims_of_absurd_sizes_are_refused_before_reading() -> None:
    huge = snapshot_format._PREAMBLE.pack(b"RAFTSNAP", 1, 0xFFFFFFFF)
    with pytest.raises(SnapshotDamaged, match="header claims"):
        StreamReader(io.BytesIO(huge + bytes(100)))
    source, by = node(up_to=10)
    data = taken(source, by)
    header = snapshot_format._PREAMBLE.unpack_from(data)[2]
    begin = data[: snapshot_format._PREAMBLE.size + header]
    claimed = snapshot_format._CHUNK.pack(0x7FFFFFFF, 0)
    with pytest.raises(SnapshotDamaged, match="chunk of the snapshot claims"):
        list(StreamReader(io.BytesIO(begin + claimed)).chunks())


def test_snapshots_of_others_are_refused() -> None:
    source, by = node()
    data = taken(source, by)
    for wrong, what in (
        (identity(machine="kv", cluster_id=b"f" * 16), "cluster"),
        (identity(machine="log"), "state machine"),
    ):
        with pytest.raises(SnapshotRefused, match=what):
            Stager(source.kv, io.BytesIO(data), wrong, 0)
    newer = bytearray(data)
    newer[8:10] = (2).to_bytes(2, "big")
    with pytest.raises(SnapshotRefused, match="version 2"):
        StreamReader(io.BytesIO(bytes(newer)))
    with pytest.raises(SnapshotDamaged, match="RAFTSNAP"):
        StreamReader(io.BytesIO(b"\x7fELF" + bytes(200)))


# -- files -----------------------------------------------------------------------------------------


def made(files: SnapshotStore, store: LogStore, by: Applier) -> SnapshotFile:
    writer = files.begin(store.kv, store, by)
    while writer.step():
        pass
    file = writer.finish()
    files.add(file)
    return file


def test_files_are_kept_found_and_pruned(short_dir: Path) -> None:
    directory = short_dir / "snapshots"
    files = SnapshotStore(directory, keep=2)
    store, by = node(up_to=20)
    made_files = []
    sources = []
    for low in (20, 30, 40):
        apply(store, by, commands(low, low + 10))
        made_files.append(made(files, store, by))
        sources.append(files.open(made_files[-1]))
    assert [file.header.index for file in files.list()] == [49, 39]
    assert files.latest() == made_files[2]
    assert files.latest(50) is None
    assert files.find(made_files[0].id) is None
    assert files.find(made_files[1].id) == made_files[1]
    assert files.bytes() == made_files[1].size + made_files[2].size
    # Pruned while it was being sent: still readable to its end.
    data = b""
    while piece := sources[0].read(len(data), 1000):
        data += piece
    for source in sources:
        source.close()
    assert len(data) == made_files[0].size
    assert Stager(store.kv, io.BytesIO(data), store.identity, by.epoch).header.index == 29
    again = SnapshotStore(directory)
    assert again.list() == files.list()
    info = inspect(made_files[2].path)
    assert (info.header.index, info.header.cluster_id, info.size) == (
        49,
        CLUSTER,
        made_files[2].size,
    )
    checked = verify(made_files[2].path)
    assert checked.sha256 == made_files[2].sha256
    assert checked.records > 50
    assert list(info.header.conf_state.voters) == [1, 2, 3]
    assert info.header.addresses == ADDRESSES


def test_unfinished_and_damaged_files_are_no_snapshots(short_dir: Path) -> None:
    directory = short_dir / "snapshots"
    files = SnapshotStore(directory)
    store, by = node(up_to=40)
    file = made(files, store, by)
    writer = files.begin(store.kv, store, by)
    writer.step()
    receiver = files.receive(SnapshotManifest("9-1-0123456789abcdef", 10, bytes(32)))
    receiver.write(0, b"12345")
    names = {path.suffix for path in directory.iterdir()}
    assert names == {".raftsnap", ".tmp", ".part"}
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 1
    wrong = directory / "41-1-0123456789abcdef.raftsnap"
    wrong.write_bytes(data)
    (directory / "stranger.raftsnap").write_bytes(b"")
    again = SnapshotStore(directory)
    assert again.list() == [file]
    # What was received in part is kept, for the sender to go on with.
    assert {path.suffix for path in directory.iterdir()} == {".raftsnap", ".part"}
    assert wrong.exists(), "kept for a look"
    with pytest.raises(SnapshotDamaged):
        verify(wrong)


def test_an_aborted_writer_leaves_nothing(short_dir: Path) -> None:
    files = SnapshotStore(short_dir / "snapshots")
    store, by = node(up_to=40)
    files.begin(store.kv, store, by).abort()
    assert list((short_dir / "snapshots").iterdir()) == []


def test_transfers_resume_and_are_checked(short_dir: Path) -> None:
    store, by = node()
    sender = SnapshotStore(short_dir / "sender")
    file = made(sender, store, by)
    manifest = SnapshotManifest.decode(file.message().data)
    assert manifest == SnapshotManifest(file.id, file.size, file.sha256)
    data = file.path.read_bytes()
    files = SnapshotStore(short_dir / "receiver")
    receiver = files.receive(manifest)
    receiver.write(0, data[:1000])
    for offset in (0, 999, 1001, 5000):
        with pytest.raises(OffsetMismatch) as raised:
            receiver.write(offset, b"x")
        assert raised.value.expected == 1000
    # The connection breaks; the same file is offered again.
    resumed = files.receive(manifest)
    assert resumed.offset == 1000
    resumed.write(1000, data[1000:])
    with pytest.raises(SnapshotDamaged, match="announced with"):
        resumed.write(len(data), b"x")
    assert resumed.complete
    got = resumed.finish()
    files.add(got)
    assert (got.id, got.path.read_bytes()) == (file.id, data)
    assert files.latest() == got
    assert got.header.index == 199


def test_a_transfer_goes_on_in_another_process(short_dir: Path) -> None:
    store, by = node()
    file = made(SnapshotStore(short_dir / "sender"), store, by)
    data = file.path.read_bytes()
    manifest = SnapshotManifest(file.id, file.size, file.sha256)
    receiver = SnapshotStore(short_dir / "receiver").receive(manifest)
    receiver.write(0, data[:3000])
    receiver.settle()
    files = SnapshotStore(short_dir / "receiver")
    again = files.receive(manifest)
    assert again.offset == 3000
    again.write(3000, data[3000:])
    files.add(again.finish())
    assert [found.path.read_bytes() for found in files.list()] == [data]
    assert [path.suffix for path in (short_dir / "receiver").iterdir()] == [".raftsnap"]


@pytest.mark.parametrize("left", ["zeros", "longer"])
def test_what_a_crash_left_of_a_transfer_is_checked(short_dir: Path, left: str) -> None:
    store, by = node()
    file = made(SnapshotStore(short_dir / "sender"), store, by)
    data = file.path.read_bytes()
    manifest = SnapshotManifest(file.id, file.size, file.sha256)
    files = SnapshotStore(short_dir / "receiver")
    part = short_dir / "receiver" / f"{file.id}.part"
    part.write_bytes(data[:1000] + bytes(1000) if left == "zeros" else data + b"x")
    receiver = files.receive(manifest)
    if left == "zeros":
        receiver.write(2000, data[2000:])
        with pytest.raises(SnapshotDamaged):
            receiver.finish()
        assert not part.exists()
        # It was given up: the next offer of the same file begins anew.
        receiver = files.receive(manifest)
    assert receiver.offset == 0
    receiver.write(0, data)
    assert receiver.finish().path.read_bytes() == data


def test_files_can_be_read_later_and_pinned(short_dir: Path) -> None:
    store, by = node(up_to=20)
    files = SnapshotStore(short_dir / "snapshots", keep=1)
    first = made(files, store, by)
    files.pinned.add(first.id)
    apply(store, by, commands(20, 30))
    second = made(files, store, by)
    assert files.list() == [second, first]
    again = SnapshotStore(short_dir / "snapshots", keep=1, load=False)
    assert again.list() == []
    assert sorted(again.unread) == sorted([first.path, second.path])
    assert again.load(first.path) == first
    assert again.load(short_dir / "nowhere") is None
    files.pinned.clear()
    files.prune()
    assert files.list() == [second]
    assert not first.path.exists()


@pytest.mark.parametrize("wrong", ["flip", "short", "other"])
def test_a_transfer_that_is_not_what_was_announced_is_dropped(short_dir: Path, wrong: str) -> None:
    store, by = node()
    file = made(SnapshotStore(short_dir / "sender"), store, by)
    data = bytearray(file.path.read_bytes())
    manifest = SnapshotManifest(file.id, file.size, file.sha256)
    files = SnapshotStore(short_dir / "receiver")
    receiver = files.receive(manifest)
    if wrong == "flip":
        data[-40] ^= 1
    elif wrong == "short":
        del data[-1:]
    else:
        data = bytearray(len(data))
    receiver.write(0, bytes(data))
    with pytest.raises(SnapshotDamaged):
        receiver.finish()
    assert list((short_dir / "receiver").iterdir()) == []


def test_a_new_offer_replaces_the_unfinished_one(short_dir: Path) -> None:
    files = SnapshotStore(short_dir / "receiver")
    first = files.receive(SnapshotManifest("9-1-0123456789abcdef", 10, bytes(32)))
    first.write(0, b"123")
    files.receive(SnapshotManifest("10-1-0123456789abcdef", 10, bytes(32)))
    assert [path.name for path in (short_dir / "receiver").iterdir()] == [
        "10-1-0123456789abcdef.part"
    ]
    files.drop(files.receive(SnapshotManifest("10-1-0123456789abcdef", 10, bytes(32))))
    assert list((short_dir / "receiver").iterdir()) == []


@pytest.mark.parametrize(
    "wrong", ["", "../../etc/passwd", "1-1-0123456789abcde", "1-1-0123456789abcdef/x", "a" * 4096]
)
def test_ids_from_peers_are_no_paths(short_dir: Path, wrong: str) -> None:
    files = SnapshotStore(short_dir / "snapshots")
    with pytest.raises(SnapshotRefused):
        files.receive(SnapshotManifest(wrong, 10, bytes(32)))
    manifest = {"id": wrong, "size": 10, "sha256": "00" * 32}
    with pytest.raises(SnapshotRefused):
        SnapshotManifest.decode(json.dumps(manifest).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"id": "1-1-0123456789abcdef", "size": -1, "sha256": ""}',
        b'{"id": "1-1-0123456789abcdef", "size": 1, "sha256": "00"}',
        b'{"id": "1-1-0123456789abcdef", "size": "x", "sha256": "00"}',
    ],
)
def test_damaged_manifests_are_refused(wrong: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        SnapshotManifest.decode(wrong)


# -- restoring into a new group --------------------------------------------------------------------


@pytest.mark.parametrize("rocks", [False, True])
def test_a_new_group_begins_from_a_snapshot(short_dir: Path, rocks: bool) -> None:
    source, source_by = node()
    file = made(SnapshotStore(short_dir / "snapshots"), source, source_by)
    fresh = b"new cluster 1234"
    stores = []
    for number in (7, 8):
        kv: KeyValueStore = RocksStore.create(short_dir / str(number)) if rocks else MemoryStore()
        store = restore(
            kv,
            file.path,
            Identity(fresh, number, "kv"),
            ConfState(voters=[7, 8]),
            {7: "g:7", 8: "h:8"},
        )
        by = applier(store)
        assert (store.first_index(), store.last_index(), store.term(199)) == (200, 199, 1)
        assert (by.index, by.digest) == (199, source_by.digest)
        assert by.machine.digest(by.reader) == source_by.machine.digest(source_by.reader)
        assert by.addresses == {7: "g:7", 8: "h:8"}
        assert store.identity.cluster_id == fresh
        assert by.outcome(b"c100") == source_by.outcome(b"c100")
        stores.append(store)
    for store in stores:
        store.close()
    if rocks:
        found, by = reopened(RocksStore.open(short_dir / "7"))
        assert by.index == 199
        found.close()


def test_a_restore_that_fails_leaves_no_node(short_dir: Path) -> None:
    source, source_by = node()
    file = made(SnapshotStore(short_dir / "snapshots"), source, source_by)
    damaged = short_dir / "damaged"
    data = bytearray(file.path.read_bytes())
    data[-50] ^= 1
    damaged.write_bytes(data)
    kv = RocksStore.create(short_dir / "n")
    with pytest.raises(SnapshotDamaged):
        restore(kv, damaged, identity(machine="kv"), members(), ADDRESSES)
    with pytest.raises(SnapshotRefused, match="--state-machine kv"):
        restore(kv, file.path, identity(machine="log"), members(), ADDRESSES)
    kv.close()
    # The same again, from a sound file: the remains are cleared.
    store = restore(
        RocksStore.create(short_dir / "n"),
        file.path,
        identity(machine="kv"),
        members(),
        ADDRESSES,
    )
    assert store.applied.index == 199
    store.close()
    shutil.rmtree(short_dir / "n")
