"""Snapshots between real nodes: held up, cut, damaged, overtaken, restarted; whole at the end.

A proxy before the receiver decides piece by piece what gets through, so that each test comes to the
same point of a transfer on any machine; what is counted are the pieces that got through.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftwire import Client
from raftwire.peer import PeerFrame
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, Node, cluster, free_port, wait_for
from tests.harness.snapshot_proxy import Cut, SnapshotProxy

KV = ("--state-machine", "kv")
SHORT_LOG = ("--compact-entries", "10", "--compact-trailing", "30", "--history-entries", "10")
PUTS = 40
PIECE = 256 * 1024
"""What a sender puts into one piece."""


def fill(client: Client, puts: int = PUTS, name: str = "big") -> None:
    """Make 64 KiB of state a put that do not compress."""
    for number in range(puts):
        client.kv.put(f"{name}-{number}", os.urandom(64 * 1024), timeout=30.0)


class Joining:
    """A node that waits to be added and is reached through a proxy; what its leader has told."""

    def __init__(self, group: Cluster, node_id: int, contacts: tuple[int, ...]) -> None:
        self.group = group
        port = free_port()
        self.proxy = SnapshotProxy(port)
        self.node = group.nodes[node_id] = Node(
            node_id, f"127.0.0.1:{self.proxy.port}", group.folder
        )
        self.node.arguments = [
            "--join", ",".join(group[contact].address for contact in contacts),
            "--listen", f"127.0.0.1:{port}", "--advertise", self.node.address, *group.options,
        ]  # fmt: skip
        self.node.start()
        wait_for("it to wait", lambda: self.node.status() is not None)
        self._told = {id_: len(log_lines(node)) for id_, node in group.nodes.items()}

    def told(self, event: str, node_id: int = 1) -> int:
        """Return how often a node has logged an event since."""
        lines = log_lines(self.group[node_id])[self._told[node_id] :]
        return sum(f'"{event}"' in line for line in lines)


def log_lines(node: Node) -> list[str]:
    return node.log_path.read_text(errors="replace").splitlines()


@contextmanager
def joining(group: Cluster, *contacts: int) -> Iterator[Joining]:
    """Start a new node; at the end it is removed from the group again."""
    node_id = max(group.nodes) + 1
    joiner = Joining(group, node_id, contacts or (1,))
    with joiner.proxy:
        try:
            yield joiner
            with group.client(timeout=30.0) as client:
                client.member_remove(node_id)
        finally:
            joiner.node.kill()


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    """A leader alone, with a state that takes some pieces to send."""
    with cluster(1, *KV, *SHORT_LOG) as group:
        with group[1].client(30.0) as client:
            fill(client)
        yield group


def caught_up(client: Client, node: Node) -> bool:
    status = node.status()
    return status is not None and status.applied == client.status().applied > 0


def files(node: Node, suffix: str) -> list[Path]:
    return sorted((node.data_dir / "snapshots").glob(f"*{suffix}"))


def part_bytes(node: Node) -> int:
    return sum(path.stat().st_size for path in files(node, ".part"))


def whole(group: Cluster, leader: Node, node: Node) -> None:
    """Fail unless a node has the leader's state, and neither has left anything unfinished."""
    assert raftctl("verify", node=leader)["ok"]
    for one in (leader, node):
        names = [path.name for path in (one.data_dir / "snapshots").iterdir()]
        assert all(name.endswith(".raftsnap") for name in names), names
    status = node.status()
    assert status is not None
    with node.client() as at_node:
        assert at_node.kv.get("big-1", consistency="stale") is not None


def once(proxy: SnapshotProxy) -> int:
    """Fail unless each byte got through exactly once, in order; return how many there were."""
    expected = 0
    for piece in proxy.pieces:
        assert piece.offset == expected, f"{piece} after {expected} bytes"
        expected = piece.end
    return expected


def snapshot_bytes(client: Client) -> int:
    return client.snapshot_list(timeout=30.0).snapshots[0].bytes


def test_a_transfer_that_is_cut_again_and_again_goes_on_where_it_stopped(alone: Cluster) -> None:
    # Attempt to the piece that it is cut at: before, or in the middle of it.
    cuts = {1: (0, False), 2: (2, False), 3: (2, True), 4: (5, True), 5: (5, False), 6: (7, False)}

    def rule(attempt: int, frame: PeerFrame, payload: bytes) -> bytes:
        piece, inside = cuts.get(attempt, (10**6, False))
        if frame.HasField("chunk") and frame.chunk.offset >= piece * PIECE:
            framed = len(payload).to_bytes(4, "big") + payload
            raise Cut(framed[: len(framed) // 2] if inside else b"")
        return payload

    with alone[1].client(30.0) as client, joining(alone) as joiner:
        group, node, proxy = alone, joiner.node, joiner.proxy
        proxy.rule = rule
        client.member_add_learner(node.id, node.address)
        wait_for("it to catch up", lambda: caught_up(client, node))
        assert proxy.attempts == len(cuts) + 1
        assert once(proxy) == snapshot_bytes(client)
        reached = [0, 0, 2, 2, 5, 5, 7]
        assert [proxy.resumed[n] for n in range(1, 8)] == [n * PIECE for n in reached]
        whole(group, group[1], node)
        assert joiner.told("snapshot made") == 1
        assert joiner.told("snapshot sent") == 1


@pytest.mark.parametrize("where", ["offer", "piece", "checksum"])
def test_a_damaged_frame_is_refused_and_sent_again(alone: Cluster, where: str) -> None:
    def rule(attempt: int, frame: PeerFrame, payload: bytes) -> bytes:
        if attempt > 1:
            return payload
        damaged = PeerFrame.FromString(payload)
        if where == "offer" and frame.HasField("offer"):
            damaged.offer.size += 1
        elif frame.HasField("chunk") and frame.chunk.offset == 3 * PIECE:
            if where == "checksum":
                damaged.chunk.crc32 ^= 1 << 20
            else:
                data = bytearray(frame.chunk.data)
                data[PIECE // 2] ^= 1
                damaged.chunk.data = bytes(data)
        return damaged.SerializeToString()

    with alone[1].client(30.0) as client, joining(alone) as joiner:
        group, node, proxy = alone, joiner.node, joiner.proxy
        proxy.rule = rule
        client.member_add_learner(node.id, node.address)
        wait_for("it to catch up", lambda: caught_up(client, node))
        assert proxy.attempts == 2
        assert proxy.resumed[2] == (0 if where == "offer" else 3 * PIECE)
        taken = [p for p in proxy.pieces if p.attempt == 2 or p.offset < 3 * PIECE]
        assert sum(piece.size for piece in taken) == snapshot_bytes(client)
        assert joiner.told("snapshot not sent") == 1
        whole(group, group[1], node)


@pytest.mark.parametrize("whose", ["sender", "receiver"])
def test_a_file_that_rots_on_the_way_is_noticed_and_made_or_fetched_anew(
    alone: Cluster, whose: str
) -> None:
    """Each piece is as it was sent, the whole is not: the hash of all of it tells."""
    with alone[1].client(30.0) as client, joining(alone) as joiner:
        group, node, proxy = alone, joiner.node, joiner.proxy
        proxy.hold_from = 4 * PIECE
        client.member_add_learner(node.id, node.address)
        wait_for("some of it", lambda: part_bytes(node) == 4 * PIECE)
        if whose == "sender":
            newest = client.snapshot_list().snapshots[0].id
            rotten = group[1].data_dir / "snapshots" / f"{newest}.raftsnap"
            position = -100_000
        else:
            node.kill()
            rotten, position = files(node, ".part")[0], 2 * PIECE
        content = bytearray(rotten.read_bytes())
        content[position] ^= 0x40
        rotten.write_bytes(content)
        proxy.cut()
        if whose == "receiver":
            node.start()
        proxy.hold_from = None
        wait_for("it to catch up", lambda: caught_up(client, node))
        # The sound part of what was there is not believed either: it is fetched whole.
        assert 0 in [offset for n, offset in proxy.resumed.items() if n > 1]
        assert joiner.told("snapshot damaged") == (whose == "sender")
        assert joiner.told("snapshot made") == (2 if whose == "sender" else 1)
        whole(group, group[1], node)


def test_the_log_is_held_for_a_slow_transfer_and_no_longer() -> None:
    """While it stands still: writes go on, newer snapshots are made, no log it needs is dropped."""
    rate = 2 * 2**20
    options = (*KV, *SHORT_LOG, "--snapshot-rate", str(rate), "--snapshot-keep", "1")
    with cluster(1, *options) as group, group[1].client(30.0) as client:
        fill(client)
        before = client.status()
        with joining(group) as joiner:
            node, proxy = joiner.node, joiner.proxy
            proxy.hold_from = 4 * PIECE
            client.member_add_learner(node.id, node.address)
            seen = []

            def moving() -> bool:
                row = next(row for row in client.progress().rows if row.id == node.id)
                if row.snapshot_bytes and row.eta_ms:
                    seen.append(row)
                return bool(seen) and proxy.holding

            wait_for("the progress to show", moving)
            index = client.snapshot_list().snapshots[0].index
            for number in range(300):
                client.kv.put(f"meanwhile-{number % 40}", str(number))
                if number in (100, 200):
                    client.snapshot_create(timeout=30.0)
            stat = client.log_stat()
            assert stat.last_index - index >= 300
            assert stat.first_index <= index + 1, "what it will ask for was dropped"
            assert len(files(group[1], ".raftsnap")) == 2, "the one on its way, and the newest"
            proxy.hold_from = None
            wait_for("it to catch up", lambda: caught_up(client, node))
            assert joiner.told("snapshot sent") == 1
            assert proxy.attempts == 1
            size = once(proxy)
            assert all(0 < row.snapshot_bytes <= row.snapshot_bytes_total == size for row in seen)
            assert all(row.rate_bytes_per_s > 0 for row in seen)
            # Throttled, from the first piece on: what lay still is not made up for by a burst.
            first = proxy.pieces[0]
            for piece in proxy.pieces[:4]:
                assert piece.offset <= (piece.at - first.at) * rate + PIECE
            # Nobody missed a heartbeat, and once nobody needs the log it is cut again.
            after = client.status()
            assert (after.term, after.leader) == (before.term, before.leader)
            for number in range(100):
                client.kv.put("after", str(number))
            stat = client.log_stat()
            assert stat.last_index - stat.first_index < 60
            assert len(files(group[1], ".raftsnap")) == 1
            whole(group, group[1], node)


def test_the_log_is_held_only_up_to_a_bound_and_a_newer_snapshot_overtakes() -> None:
    options = (*KV, *SHORT_LOG, "--compact-trailing-bytes", "128KiB", "--snapshot-keep", "1")
    with cluster(1, *options) as group, group[1].client(30.0) as client:
        fill(client)
        with joining(group) as joiner:
            node, proxy = joiner.node, joiner.proxy
            proxy.hold_from = 4 * PIECE
            client.member_add_learner(node.id, node.address)
            wait_for("some of it", lambda: part_bytes(node) == 4 * PIECE)
            index = client.snapshot_list().snapshots[0].index
            old = files(node, ".part")
            # Eight times the bytes that are kept otherwise, and some more.
            fill(client, 30, "more")
            assert client.log_stat().first_index > index + 1
            proxy.hold_from = 10**9
            proxy.cut()
            wait_for(
                "a newer one to come",
                lambda: files(node, ".part") != old and part_bytes(node) > 0,
            )
            assert len(files(node, ".part")) == 1, "what nobody sends any more is removed"
            proxy.hold_from = None
            wait_for("it to catch up", lambda: caught_up(client, node))
            assert joiner.told("snapshot sent") == 1
            assert len(files(group[1], ".raftsnap")) == 1
            whole(group, group[1], node)


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_kill_9_in_the_middle_costs_no_piece_that_has_arrived(alone: Cluster, who: str) -> None:
    with alone[1].client(30.0) as client, joining(alone) as joiner:
        group, node, proxy = alone, joiner.node, joiner.proxy
        proxy.hold_from = 5 * PIECE
        client.member_add_learner(node.id, node.address)
        wait_for("half of it", lambda: part_bytes(node) == 5 * PIECE)
        size = snapshot_bytes(client)
        for number in range(100):
            client.kv.put(f"meanwhile-{number}", "x")
        victim = group[1] if who == "sender" else node
        victim.kill()
        proxy.cut()
        attempts = proxy.attempts
        if who == "sender":
            # What it does at its start, and while nobody asks, may cut nothing either.
            node.signal(signal.SIGSTOP)
            victim.start()
            group.settle([1])
            for number in range(100):
                client.kv.put(f"alone-{number}", "x", timeout=30.0)
            node.signal(signal.SIGCONT)
        else:
            victim.start()
        proxy.hold_from = None
        wait_for("it to catch up", lambda: caught_up(client, node), 60.0)
        assert once(proxy) == size, "only what had not arrived is sent again"
        assert [offset for n, offset in proxy.resumed.items() if n > attempts] == [5 * PIECE]
        assert joiner.told("snapshot made") == 1
        whole(group, group[1], node)


@pytest.mark.parametrize("how", ["killed", "handed over"])
def test_another_leader_takes_over_a_transfer(how: str) -> None:
    with cluster(3, *KV, *SHORT_LOG) as group:
        with group.client(1, 2, 3, timeout=30.0) as client:
            fill(client, 24)
        leader = group.leader()
        others = [node_id for node_id in (1, 2, 3) if node_id != leader]
        with joining(group, *others) as joiner:
            node, proxy = joiner.node, joiner.proxy
            proxy.hold_from = 3 * PIECE
            with group[leader].client(30.0) as client:
                client.member_add_learner(node.id, node.address)
                wait_for("some of it", lambda: part_bytes(node) == 3 * PIECE)
                old = files(node, ".part")
                if how == "handed over":
                    client.transfer_leader(others[0])
            if how == "killed":
                group[leader].kill()
            new = group.settle(others)
            with group[new].client(30.0) as client:
                # Held up still: the new leader's offer takes the place of the old one's.
                wait_for("its offer", lambda: files(node, ".part") not in ([], old))
                client.kv.put("meanwhile", "x")
                proxy.hold_from = None
                wait_for("it to catch up", lambda: caught_up(client, node), 60.0)
            if how == "killed":
                group.start(leader)
            assert joiner.told("snapshot sent", leader) == 0
            assert joiner.told("snapshot sent", new) == 1
            whole(group, group[new], node)


def test_a_follower_that_slept_through_the_log_catches_up() -> None:
    with cluster(3, *KV, *SHORT_LOG) as group:
        victim = group.follower()
        group[victim].kill()
        others = [node_id for node_id in (1, 2, 3) if node_id != victim]
        with group.client(*others, timeout=30.0) as client:
            fill(client, 10)
            for number in range(100):
                client.kv.put("k", str(number))
            stat = client.log_stat()
            assert stat.first_index > 50
        group.start(victim)
        group.catch_up()
        leader = group[group.leader()]
        whole(group, leader, group[victim])
        assert sum('"snapshot sent"' in line for line in log_lines(leader)) == 1
