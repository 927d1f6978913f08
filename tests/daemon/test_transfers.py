"""Snapshots between real nodes: cut, damaged, overtaken, restarted; whole at the end or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raftwire import Client
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, Node, cluster, free_port, wait_for
from tests.harness.snapshot_proxy import SnapshotProxy

KV = ("--state-machine", "kv")
SHORT_LOG = ("--compact-entries", "10", "--compact-trailing", "30", "--history-entries", "10")
PIECES = 60


def fill(client: Client, pieces: int = PIECES, name: str = "big") -> None:
    """Make some megabytes of state that do not compress."""
    value = bytes(range(256)) * 256
    for number in range(pieces):
        client.kv.put(f"{name}-{number}", number.to_bytes(4, "big") + value, timeout=30.0)


@contextmanager
def behind_proxy(
    group: Cluster, node_id: int, *contacts: int
) -> Iterator[tuple[Node, SnapshotProxy]]:
    """Start a node that waits to be added, and is reached through a proxy."""
    port = free_port()
    with SnapshotProxy(port) as proxy:
        node = group.nodes[node_id] = Node(node_id, f"127.0.0.1:{proxy.port}", group.folder)
        addresses = ",".join(group[contact].address for contact in contacts)
        node.arguments = [
            "--join", addresses, "--listen", f"127.0.0.1:{port}", "--advertise", node.address,
            *group.options,
        ]  # fmt: skip
        node.start()
        wait_for("it to wait", lambda: node.status() is not None)
        try:
            yield node, proxy
        finally:
            node.kill()


def caught_up(client: Client, node: Node) -> bool:
    status = node.status()
    return status is not None and status.applied == client.status().applied > 0


def count(node: Node, words: str) -> int:
    return sum(words in line for line in node.log_path.read_text(errors="replace").splitlines())


def test_a_transfer_that_is_cut_again_and_again_goes_on_where_it_stopped() -> None:
    with cluster(1, *KV, *SHORT_LOG) as group, group[1].client(30.0) as client:
        fill(client)
        with behind_proxy(group, 2, 1) as (node, proxy):
            # Cut within the first piece, between pieces, and later each time.
            limits = {1: 100, 2: 300_000, 3: 700_000, 4: 1_200_000, 5: 1}
            proxy.harm = lambda attempt, offset, piece: (
                None if offset + len(piece) > limits.get(attempt, 10**9) else piece
            )
            client.member_add_learner(2, node.address)
            wait_for("it to catch up", lambda: caught_up(client, node))
            size = client.snapshot_list().snapshots[0].bytes
            assert proxy.attempts >= 6
            assert size <= proxy.carried < 1.3 * size, "it began anew instead of going on"
            assert raftctl("verify", node=group[1])["ok"]
            assert count(group[1], '"snapshot made"') == 1


@pytest.mark.parametrize("where", [200, 150_000, 3_000_000])
def test_a_damaged_piece_is_refused_and_sent_again(where: int) -> None:
    def flip(attempt: int, offset: int, piece: bytes) -> bytes:
        if attempt > 1 or not offset <= where < offset + len(piece):
            return piece
        damaged = bytearray(piece)
        damaged[where - offset] ^= 1
        return bytes(damaged)

    with cluster(1, *KV, *SHORT_LOG) as group, group[1].client(30.0) as client:
        fill(client)
        with behind_proxy(group, 2, 1) as (node, proxy):
            proxy.harm = flip
            client.member_add_learner(2, node.address)
            wait_for("it to catch up", lambda: caught_up(client, node))
            assert proxy.attempts >= 2
            assert count(group[1], '"snapshot not sent"') >= 1
            assert raftctl("verify", node=group[1])["ok"]


def test_a_slow_transfer_is_overtaken_by_nothing() -> None:
    """While it runs: writes go on, newer snapshots are made, the log is cut; it is sent once."""
    options = (*KV, *SHORT_LOG, "--snapshot-rate", "1500000", "--snapshot-keep", "1")
    with cluster(1, *options) as group, group[1].client(30.0) as client:
        fill(client)
        term = client.status().term
        with behind_proxy(group, 2, 1) as (node, _):
            client.member_add_learner(2, node.address)
            seen = []
            number = 0

            def moving() -> bool:
                row = next(row for row in client.progress().rows if row.id == 2)
                if row.snapshot_bytes_total:
                    seen.append((row.snapshot_bytes, row.rate_bytes_per_s, row.eta_ms))
                return len(seen) > 3

            wait_for("the progress to show", moving)
            while not caught_up(client, node):
                for _ in range(20):
                    number += 1
                    client.kv.put(f"meanwhile-{number % 40}", str(number))
                if number == 60:
                    client.snapshot_create(timeout=30.0)
                assert number < 100_000, "it never caught up"
                if count(group[1], '"snapshot sent"'):
                    wait_for("it to catch up", lambda: caught_up(client, node))
            assert count(group[1], '"snapshot sent"') == 1
            assert count(group[1], '"snapshot made"') >= 2
            assert number > 60
            # Throttled: not faster than it was told, and it said so.
            assert all(rate < 3_000_000 for _, rate, _ in seen[2:])
            assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
            assert all(eta > 0 for _, _, eta in seen[1:])
            assert client.status().term == term
            assert raftctl("verify", node=node)["ok"]
            # The log is cut again once nobody needs it.
            for number in range(200):
                client.kv.put("after", str(number))
            stat = client.log_stat()
            assert stat.last_index - stat.first_index < 60
            listed = client.snapshot_list().snapshots
            assert len(listed) == 1


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_a_restart_in_the_middle_goes_on_with_what_is_there(who: str) -> None:
    options = (*KV, *SHORT_LOG, "--snapshot-rate", "1000000")
    with cluster(1, *options) as group, group[1].client(30.0) as client:
        fill(client)
        with behind_proxy(group, 2, 1) as (node, proxy):
            client.member_add_learner(2, node.address)
            wait_for("half of it", lambda: proxy.carried > 2_000_000)
            victim = group[1] if who == "sender" else node
            victim.kill()
            before = proxy.carried
            victim.start()
            wait_for("it to catch up", lambda: caught_up(client, node), 60.0)
            size = client.snapshot_list(timeout=30.0).snapshots[0].bytes
            again = proxy.carried - before
            # What a buffer held is lost, and what was not flushed; most is not sent twice.
            assert again < size - 500_000, f"{again} of {size} bytes were sent again"
            assert raftctl("verify", node=group[1])["ok"]


def test_another_leader_takes_over_a_transfer() -> None:
    options = (*KV, *SHORT_LOG, "--snapshot-rate", "1000000")
    with cluster(3, *options) as group:
        with group.client(1, 2, 3, timeout=30.0) as client:
            fill(client)
        leader = group.leader()
        others = [node_id for node_id in (1, 2, 3) if node_id != leader]
        with behind_proxy(group, 4, *others) as (node, proxy):
            with group[leader].client(30.0) as client:
                client.member_add_learner(4, node.address)
            wait_for("some of it", lambda: proxy.carried > 1_000_000)
            group[leader].kill()
            new = group.settle(others)
            with group[new].client(30.0) as client:
                wait_for("it to catch up", lambda: caught_up(client, node), 60.0)
            group.start(leader)
            assert raftctl("verify", node=group[new])["ok"]


def test_a_follower_that_slept_through_the_log_catches_up() -> None:
    with cluster(3, *KV, *SHORT_LOG) as group:
        victim = group.follower()
        group[victim].kill()
        others = [node_id for node_id in (1, 2, 3) if node_id != victim]
        with group.client(*others, timeout=30.0) as client:
            fill(client, 20)
            for number in range(100):
                client.kv.put("k", str(number))
            stat = client.log_stat()
            assert stat.first_index > 50
        group.start(victim)
        group.catch_up()
        assert raftctl("verify", node=group[victim])["ok"]
        leader = group[group.leader()]
        assert count(leader, '"snapshot sent"') == 1
