"""Three real nodes: they agree, survive kill -9 of any of them, and stop in good order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from raftwire import AdminError, Client, Code
from raftwire.errors import Outcome
from tests.harness.processes import Cluster, Writers, check_written, cluster, wait_for


@pytest.fixture
def group() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


def test_three_nodes_elect_and_agree(group: Cluster) -> None:
    replies = {}
    for node_id in (1, 2, 3):
        with group[node_id].client() as client:
            replies[node_id] = client.propose(f"from {node_id}".encode())
    assert len({reply.index for reply in replies.values()}) == 3
    log = group.check_equal()
    found = {entry.data: entry.index for entry in log if entry.type == "normal"}
    for node_id, reply in replies.items():
        assert found[f"from {node_id}".encode()] == reply.index


def test_a_key_is_applied_once_through_any_node(group: Cluster) -> None:
    with group[1].client() as one, group[2].client() as two:
        first = one.propose(b"x", key="order-17")
        again = two.propose(b"x", key="order-17")
    assert again.deduplicated
    assert again.index == first.index


@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_kill_9_under_load_loses_nothing_acknowledged(group: Cluster, whom: str) -> None:
    with Writers(group) as writers:
        for _ in range(2):
            writers.wait_for_progress()
            victim = group.leader() if whom == "leader" else group.follower()
            group[victim].kill()
            writers.wait_for_progress()
            group[victim].start()
            group.settle()
        writers.wait_for_progress()
        written = writers.stop()
    check_written(written, group.check_equal())


def test_kill_9_of_all_at_once_loses_nothing_acknowledged(group: Cluster) -> None:
    with Writers(group) as writers:
        for _ in range(2):
            writers.wait_for_progress()
            for node in group.nodes.values():
                node.kill()
            group.start()
        writers.wait_for_progress()
        written = writers.stop()
    check_written(written, group.check_equal())


def test_a_restarted_group_carries_on(group: Cluster) -> None:
    with group[1].client() as client:
        index = client.propose(b"before").index
    for node in group.nodes.values():
        assert node.terminate() == 0, node.last_lines()
    group.start()
    with group[3].client() as client:
        assert client.propose(b"after").index > index
    assert b"before" in {entry.data for entry in group.check_equal()}


def test_sigterm_hands_leadership_over(group: Cluster) -> None:
    leader = group.leader()
    assert group[leader].terminate() == 0
    assert not group[leader].socket.exists()
    term = {node.id: status.term for node in group.running() if (status := node.status())}
    new = group.settle()
    assert new != leader
    # Handed over, not timed out: nobody had to guess that the leader was gone.
    assert "handing leadership over" in group[leader].last_lines()
    assert all(term.values())


def test_no_quorum_is_said_and_names_who_is_missing(group: Cluster) -> None:
    leader = group.leader()
    others = [node_id for node_id in (1, 2, 3) if node_id != leader]
    for node_id in others:
        group[node_id].kill()
    with group[leader].client() as client:
        wait_for(
            "the links to be down", lambda: not any(p.reachable for p in client.status().peers)
        )
        with pytest.raises(AdminError) as caught:
            client.propose(b"nobody will vote")
        # A status needs nobody.
        assert client.status().id == leader
    assert caught.value.code == Code.NO_QUORUM
    assert caught.value.outcome is Outcome.NOT_APPLIED
    for node_id in others:
        assert str(node_id) in caught.value.message


def test_256_clients_connect_at_once(group: Cluster) -> None:
    node = group[group.follower()]
    barrier = threading.Barrier(256)
    failures: list[BaseException] = []

    def connect(number: int) -> None:
        try:
            with Client(str(node.socket), timeout=20.0) as client:
                barrier.wait(20.0)
                client.propose(f"client {number}".encode())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=connect, args=(number,)) for number in range(256)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    found = {entry.data for entry in group.check_equal()}
    assert {f"client {number}".encode() for number in range(256)} <= found


def test_256_connections_wait_in_the_backlog(group: Cluster) -> None:
    sockets = []
    try:
        for _ in range(256):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(20.0)
            sockets.append(sock)
            sock.connect(str(group[1].socket))
        with group[1].client() as client:
            wait_for("all to be accepted", lambda: client.status().limits.connections >= 256)
    finally:
        for sock in sockets:
            sock.close()


def test_two_daemons_on_one_directory(group: Cluster) -> None:
    first = group[1]
    second = Cluster(0)
    try:
        intruder = second._new(1)
        intruder.arguments = first.arguments
        intruder.start("--data-dir", str(first.data_dir))
        assert intruder.wait() == 75
        assert str(first.pid) in intruder.last_lines()
    finally:
        second.close()
    with first.client() as client:
        client.propose(b"unharmed")


def test_another_nodes_directory_is_refused(group: Cluster) -> None:
    assert group[2].terminate() == 0
    group[3].kill()
    group[3].start("--data-dir", str(group[2].data_dir))
    assert group[3].wait() == 4
    assert "node 2" in group[3].last_lines()


def test_a_proposal_above_the_limit_is_refused(group: Cluster) -> None:
    with group[1].client() as client:
        with pytest.raises(AdminError) as caught:
            client.propose(bytes(2**20 + 1))
        assert caught.value.code == Code.TOO_LARGE
        assert caught.value.outcome is Outcome.NOT_APPLIED
        client.propose(bytes(2**20))


def test_leadership_moves_where_it_is_asked_to(group: Cluster) -> None:
    leader = group.leader()
    target = group.follower()
    other = ({1, 2, 3} - {leader, target}).pop()
    with group[other].client() as client:
        reply = client.transfer_leader(target)
    assert (reply.from_id, reply.to_id) == (leader, target)
    assert group.settle() == target


def test_a_follower_shows_the_leaders_progress(group: Cluster) -> None:
    with group[group.follower()].client() as client:
        reply = client.progress()
    assert reply.leader == group.leader()
    assert {row.id for row in reply.rows} == {1, 2, 3}


def test_a_follower_of_the_log_sees_entries_as_they_come(group: Cluster) -> None:
    with group[1].client() as client, group[2].client() as writer:
        seen = client.log_read(follow=True, applied=True, types=["normal"], timeout=20.0)
        for number in range(5):
            index = writer.propose(f"line {number}".encode()).index
            entry = next(seen)
            assert (entry.index, entry.data) == (index, f"line {number}".encode())


def test_linearizable_reads_see_what_was_acknowledged() -> None:
    with (
        cluster(3, "--state-machine", "kv") as group,
        group[1].client() as one,
        group[2].client() as two,
        group[3].client() as three,
    ):
        for number in range(20):
            one.kv.put("k", str(number))
            for reader in (one, two, three):
                found = reader.kv.get("k")
                assert found is not None
                assert found.value == str(number).encode()
