"""Real nodes on disks that are full, that fail and that are slow: items 20 to 24 of the catalogue.

A full disk is a small tmpfs under one node's data, where mounting is allowed; failing and slow
calls are made by strace, which marks each, so that a test counts only what happened. Items 12 to 19
are in `test_damaged_data`; tests/RELIABILITY.md has the whole table.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from raftwire import AdminError, Client
from tests.harness.processes import (
    Cluster,
    Node,
    Writers,
    check_written,
    cluster,
    free_port,
    wait_for,
)
from tests.harness.snapshot_proxy import SnapshotProxy
from tests.harness.strace import DELAYED, INJECTED, Strace, may_trace

DISK = 74
"""Exit status of a node whose disk fails."""

traced = pytest.mark.skipif(bool(may_trace()), reason=may_trace())


@contextlib.contextmanager
def small_disk(node: Node, megabytes: int) -> Iterator[None]:
    """Put a node's data on a file system of its own; skip where that may not be done."""
    node.data_dir.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", node.data_dir],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        node.kill()
        subprocess.run(["umount", "-l", node.data_dir], check=True)


def fill(node: Node, leave: int = 0) -> Path:
    """Fill a node's disk up but for ``leave`` bytes; return the file to remove."""
    filler = node.data_dir / "filler"
    with filler.open("wb", buffering=0) as stream:
        # All or nothing is allocated: nothing, if the node has written meanwhile.
        wait_for("the disk to be full", lambda: top_up(stream, leave))
        with contextlib.suppress(OSError):
            while leave == 0:
                stream.seek(0, os.SEEK_END)
                stream.write(bytes(4096))
    return filler


def top_up(stream: FileIO, leave: int) -> bool:
    """Make a file longer, so that ``leave`` bytes are free; return whether no more are."""
    descriptor = stream.fileno()
    found = os.fstatvfs(descriptor)
    more = found.f_bavail * found.f_frsize - leave
    if more > 0:
        with contextlib.suppress(OSError):
            os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, more)
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize <= leave


@contextlib.contextmanager
def kept_full(node: Node, leave: int) -> Iterator[None]:
    """Leave no more than ``leave`` bytes free, also of what the node gives back meanwhile.

    A store deletes what it has merged or flushed some time later, megabytes of it.
    """
    done = threading.Event()
    filler = fill(node, leave=leave)

    def go_on() -> None:
        with filler.open("r+b", buffering=0) as stream:
            while not done.wait(0.005):
                top_up(stream, leave)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        filler.unlink()


def stopped_by_its_disk(node: Node, *words: str) -> None:
    """Wait until a node has stopped; fail unless it says in such words that its disk did it."""
    wait_for(f"node {node.id} to stop", lambda: not node.running)
    assert node.wait() == DISK, node.last_lines()
    last = node.last_lines(40)
    assert any(word in last for word in words), last
    assert "start the node again" in last or "start it again" in last, "it says what to do"


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster(3) as group:
        yield group


@pytest.fixture
def three(running: Cluster) -> Cluster:
    """A group of three, all of which run."""
    running.start()
    return running


# --- full ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_full_disk_stops_its_node_and_nothing_is_lost(whom: str) -> None:
    with Cluster(3, "--min-free-disk", "0") as group, small_disk(group[1], 48):
        victim = group[1]
        group.start()
        with group.client(timeout=30.0) as client:
            client.transfer_leader(1 if whom == "leader" else 2)
        group.settle()
        with Writers(group, 1, ids=(2, 3)) as writers:
            writers.wait_for_progress()
            filler = fill(victim)
            stopped_by_its_disk(victim, "No space left")
            writers.wait_for_progress()
            filler.unlink()
            group.start(1)
            writers.wait_for_progress()
            written = writers.stop()
        assert not written.refused, "the others had room"
        check_written(written, group.check_equal())


def test_what_nearly_fills_the_disk_is_refused_until_there_is_room() -> None:
    with Cluster(1, "--min-free-disk", "16MiB") as group, small_disk(group[1], 64):
        group.start()
        with group[1].client() as client:
            client.propose(b"room")
            filler = fill(group[1], leave=8 * 2**20)

            said = []

            def refused() -> bool:
                try:
                    client.propose(b"more")
                except AdminError as error:
                    said.append(error)
                    return True
                return False

            wait_for("proposals to be refused", refused)
            assert said[0].code == "QUOTA"
            assert str(16 * 2**20) in said[0].message, "the limit"
            assert client.status().role == "leader"
            filler.unlink()
            wait_for("proposals to be taken again", lambda: not refused())


@pytest.mark.parametrize(
    ("puts", "least", "leave"), [(6, "0", 3 * 2**20), (24, "16MiB", 24 * 2**20)]
)
def test_a_snapshot_that_has_no_room_costs_the_snapshot_alone(
    puts: int, least: str, leave: int
) -> None:
    """It is begun and meets the end of the disk, or what is to stay free of it."""
    options = ("--state-machine", "kv", "--min-free-disk", least)
    with Cluster(1, *options) as group, small_disk(group[1], 192):
        group.start()
        folder = group[1].data_dir / "snapshots"
        with group[1].client(30.0) as client:
            for number in range(puts):
                client.kv.put(f"big-{number}", os.urandom(900_000))
            with kept_full(group[1], leave):
                with pytest.raises(AdminError) as caught:
                    client.snapshot_create()
                assert caught.value.code == "QUOTA"
                assert list(folder.iterdir()) == []
                assert client.kv.get("big-1") is not None
            assert client.snapshot_create().snapshot.bytes > puts * 900_000


def test_a_snapshot_that_has_no_room_where_it_arrives_is_given_up_and_comes_again() -> None:
    options = ("--state-machine", "kv", "--min-free-disk", "0", "--compact-entries", "1")
    with (
        cluster(1, *options, "--compact-trailing", "2") as group,
        group[1].client(30.0) as client,
    ):
        for number in range(8):
            client.kv.put(f"big-{number}", os.urandom(900_000))
        port = free_port()
        with SnapshotProxy(port) as proxy:
            node = group.nodes[2] = Node(2, f"127.0.0.1:{proxy.port}", group.folder)
            node.arguments = [
                    "--join", group[1].address, "--listen", f"127.0.0.1:{port}",
                    "--advertise", node.address, *group.options,
                ]  # fmt: skip
            with small_disk(node, 96):
                node.start()
                wait_for("it to wait", lambda: node.status() is not None)
                proxy.hold_from = 512 * 1024
                client.member_add_learner(2, node.address)
                wait_for("some of it", lambda: proxy.carried == 512 * 1024 and proxy.holding)
                with kept_full(node, leave=100_000):
                    attempts = proxy.attempts
                    proxy.hold_from = None
                    # The first attempt finds the disk full; the next is not even begun.
                    wait_for("it to be tried again", lambda: proxy.attempts > attempts)
                    assert list((node.data_dir / "snapshots").iterdir()) == []
                    status = node.status()
                    assert status is not None, "it goes on without"
                    assert status.applied == 0
                wait_for(
                    "it to catch up",
                    lambda: (
                        (status := node.status()) is not None
                        and status.applied == client.status().applied
                    ),
                )


# --- failing ------------------------------------------------------------------------------------


def newest(node: Node, pattern: str) -> Path:
    return max((node.data_dir / "db").glob(pattern), key=lambda path: path.name)


@traced
@pytest.mark.parametrize("whom", ["leader", "follower"])
@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_an_error_of_the_disk_stops_its_node_and_nothing_is_lost(
    three: Cluster, whom: str, call: str
) -> None:
    leader = three.settle()
    victim = three[leader if whom == "leader" else three.follower()]
    others = [node.id for node in three.nodes.values() if node is not victim]
    # Only what goes to its journal: a socket is written to by the same call.
    journal = newest(victim, "*.log")
    before = three.catch_up()
    with Writers(three, 1, ids=others) as writers:
        writers.wait_for_progress()
        strace = Strace(victim, f"{call}:error=EIO:when=3+", journal)
        try:
            # The write that meets what a flush in another thread has just failed at, or the flush.
            stopped_by_its_disk(victim, "Input/output error", "Seen error")
        finally:
            strace.detach()
        assert strace.calls(INJECTED) > 0
        writers.wait_for_progress()
        three.start(victim.id)
        writers.wait_for_progress()
        written = writers.stop()
    check_written(written, [entry for entry in three.check_equal() if entry.index > before])


def read_all(client: Client) -> None:
    for number in range(60):
        assert client.kv.get(f"k{number}", consistency="stale") is not None, "a short answer"


@traced
def test_an_error_while_reading_stops_the_node_rather_than_serve_less() -> None:
    with cluster(1, "--state-machine", "kv") as group:
        node = group[1]
        with node.client(30.0) as client:
            for number in range(60):
                client.kv.put(f"k{number}", os.urandom(50_000))
        # A clean stop and a start: what is read now is in tables, and in no cache.
        assert node.terminate() == 0
        group.start()
        tables = list((node.data_dir / "db").glob("*.sst"))
        strace = Strace(node, "pread64:error=EIO:when=1+", *tables)
        try:
            with node.client() as client, pytest.raises(AdminError) as caught:
                read_all(client)
            assert caught.value.code != "NOT_FOUND"
            stopped_by_its_disk(node, "Input/output error")
        finally:
            strace.detach()
        assert strace.calls(INJECTED) > 0
        group.start()
        with node.client() as client:
            read_all(client)


# --- slow ---------------------------------------------------------------------------------------


@traced
@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_slow_disk_deposes_nobody_for_nothing(three: Cluster, whom: str) -> None:
    leader = three.settle()
    victim = three[leader if whom == "leader" else three.follower()]
    others = [node.id for node in three.nodes.values() if node is not victim]
    status = three[leader].status()
    assert status is not None
    before = three.catch_up()
    with Writers(three, 1, ids=others) as writers:
        writers.wait_for_progress()
        strace = Strace(victim, "fdatasync:delay_exit=2000000")
        try:
            wait_for("a flush to be slow", lambda: strace.calls(DELAYED) > 0)
            # Throughput follows the quorum, which is the other two.
            writers.wait_for_progress(50)
        finally:
            strace.detach()
        written = writers.stop()
    assert victim.running
    settled = three.settle()
    after = three[settled].status()
    assert after is not None
    if whom == "follower":
        assert (after.term, settled) == (status.term, leader), "an election for nothing"
    else:
        # Its first slow flush may be waited for in line: then another leads, and it follows.
        assert after.term <= status.term + 2
    check_written(written, [entry for entry in three.check_equal() if entry.index > before])


# --- descriptors --------------------------------------------------------------------------------


def limit_descriptors(node: Node, more: int) -> None:
    """Let a node open only ``more`` further files."""
    used = {int(path.name) for path in Path(f"/proc/{node.pid}/fd").iterdir()}
    free = [number for number in range(max(used) + more + 2) if number not in used]
    hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)[1]
    # The limit is on numbers, not on how many there are: gaps below count as free.
    limit = free[more] if more < len(free) else max(used) + 1
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (limit, hard))


def test_without_descriptors_connections_wait_and_those_there_are_go_on(three: Cluster) -> None:
    leader = three[three.settle()]
    limits = resource.prlimit(leader.pid, resource.RLIMIT_NOFILE)
    with leader.client() as client, contextlib.ExitStack() as stack:
        before = client.status()
        limit_descriptors(leader, 3)
        for _ in range(8):
            # Each takes a descriptor, as long as there is one.
            crowd = stack.enter_context(Client(str(leader.socket), timeout=0.3, retries=False))
            with contextlib.suppress(AdminError):
                crowd.status()
        for number in range(20):
            client.propose(b"crowded %d" % number)
        after = client.status()
        assert (after.term, after.leader) == (before.term, leader.id)
        resource.prlimit(leader.pid, resource.RLIMIT_NOFILE, limits)
    wait_for("new connections to be taken", lambda: leader.status() is not None)


def test_a_store_without_descriptors_stops_its_node() -> None:
    with cluster(1) as group, group[1].client(30.0) as client:
        node = group[1]
        acknowledged = client.propose(b"connected").index
        limit_descriptors(node, 0)
        # Until a new journal or table is begun.
        with contextlib.suppress(AdminError):
            for _ in range(100):
                acknowledged = client.propose(os.urandom(900_000)).index
        stopped_by_its_disk(node, "Too many open files")
        group.start()
        assert client.status().commit >= acknowledged
        assert client.log_stat().last_index >= acknowledged
