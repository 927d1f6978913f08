"""Reshaping a real group: joint changes with joining nodes, and what is refused on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from raftwire import AdminError, Client, Code, admin
from raftwire.admin import MemberKind
from raftwire.proto.admin_pb2 import MemberChangeReply
from tests.harness.processes import Cluster, Writers, check_written, cluster, free_port, wait_for


@pytest.fixture
def group() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


def change(client: Client, kind: MemberKind, **what: Any) -> MemberChangeReply:
    """Carry out a change of membership."""
    return client.call(admin.member_change(kind, **what), 30.0)


def _announced(group: Cluster, *ids: int) -> None:
    """Wait until the leader has heard of nodes that wait to be added."""

    def known() -> bool:
        with group[group.leader()].client() as client:
            return set(ids) <= set(client.member_status().addrs)

    wait_for(f"nodes {ids} to be known", known)


@pytest.mark.parametrize("leader", [1, 2])
def test_begin_and_finalize_with_joining_nodes(group: Cluster, leader: int) -> None:
    for node_id in (4, 5, 6):
        group.join(node_id, 1, 2)
    with group[3].client(30.0) as client:
        if group.leader() != leader:
            client.transfer_leader(leader)
        client.propose(b"before")
        _announced(group, 4, 5, 6)
        begun = change(client, "begin", voters=[1, 3], learners=[4, 5, 6])
        assert begun.phase == "joint"
        assert set(begun.addrs) == {1, 2, 3, 4, 5, 6}
        client.propose(b"while joint")
        status = client.member_status()
        assert status.phase == "joint"
        assert [sorted(m.voters) for m in status.majorities] == [[1, 3], [1, 2, 3]]
        done = change(client, "finalize")
        assert done.phase == "stable"
        assert (list(done.after.voters), list(done.after.learners)) == ([1, 3], [4, 5, 6])
        client.propose(b"after")
    group[2].kill()
    log = group.check_equal([1, 3, 4, 5, 6])
    data = [entry.data for entry in log if entry.type == "normal"]
    assert data == [b"before", b"while joint", b"after"]
    assert group.settle([1, 3, 4, 5, 6]) in (1, 3)


def test_a_change_under_load_with_the_leader_killed(group: Cluster) -> None:
    for node_id in (4, 5):
        group.join(node_id, 1, 2, 3)
    with Writers(group, per_node=1) as writers, group.client(1, 2, 3, timeout=30.0) as client:
        writers.wait_for_progress()
        _announced(group, 4, 5)
        change(client, "begin", voters=[1, 2, 3, 4, 5])
        writers.wait_for_progress()
        leader = group.leader()
        group[leader].kill()
        writers.wait_for_progress()
        group[leader].start()
        group.settle()
        change(client, "finalize")
        writers.wait_for_progress()
        written = writers.stop()
    check_written(written, group.check_equal())


def test_abort_goes_back(group: Cluster) -> None:
    group.join(4, 1)
    _announced(group, 4)
    with group[2].client(30.0) as client:
        change(client, "begin", voters=[1, 2, 4])
        back = change(client, "abort")
        assert list(back.after.voters) == [1, 2, 3]
        client.propose(b"still here")


def test_a_removed_node_knows_that_it_is(group: Cluster) -> None:
    leader = group.leader()
    gone = group.follower()
    rest = sorted({1, 2, 3} - {gone})
    with group[leader].client(30.0) as client:
        change(client, "change", voters=rest)

    def removed() -> bool:
        status = group[gone].status()
        return status is not None and status.role == "removed"

    wait_for("the node to know that it has left", removed)
    with group[leader].client(30.0) as client, pytest.raises(AdminError) as caught:
        change(client, "add_learner", member=gone, addrs={gone: group[gone].address})
    assert caught.value.code == Code.REMOVED_MEMBER


def test_a_learner_is_promoted_when_it_has_caught_up(group: Cluster) -> None:
    group.join(4, 1)
    _announced(group, 4)
    with group[1].client(30.0) as client:
        reply = change(client, "add", member=4, wait=True)
    assert list(reply.after.voters) == [1, 2, 3, 4]


def test_what_is_refused(group: Cluster) -> None:
    with group[1].client(30.0) as client:

        def refused(code: Code, kind: MemberKind, **what: Any) -> AdminError:
            with pytest.raises(AdminError) as caught:
                change(client, kind, **what)
            assert caught.value.code == code, caught.value
            return caught.value

        assert "--join" in refused(Code.UNKNOWN_MEMBER, "begin", voters=[1, 2, 7]).hint
        addrs = {7: "127.0.0.1:1", 8: "127.0.0.1:1"}
        error = refused(Code.UNSAFE_RECONFIG, "begin", voters=[1, 7, 8], addrs=addrs)
        assert "7 (" in error.message
        refused(Code.INVALID_CONFIG, "begin", voters=[1, 2], learners=[2])
        refused(Code.INVALID_CONFIG, "begin", voters=[])
        refused(Code.NOT_JOINT, "finalize")
        refused(Code.NOT_JOINT, "abort")
        refused(Code.PRECONDITION, "begin", voters=[1, 2], expect_config=99)
        tried = change(client, "begin", voters=[1, 2], dry_run=True)
        assert tried.dry_run
        assert list(client.status().config.voters) == [1, 2, 3]
        change(client, "begin", voters=[1, 2])
        refused(Code.ALREADY_JOINT, "begin", voters=[1, 2, 3])
        change(client, "finalize")


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_an_address_can_be_changed(group: Cluster, who: str) -> None:
    """Nobody hears of it by a broken connection: neither the group nor who asked for it."""
    leader, asked = group.leader(), group.follower()
    moved = leader if who == "leader" else asked
    wait_for("everybody to be linked", lambda: all(linked(group, n) for n in (1, 2, 3)))
    before = {node.id: node.last_lines(10_000) for node in group.running()}
    port = group[moved].address.rpartition(":")[2]
    with group[asked].client(30.0) as client:
        for host in ("localhost", "127.0.0.1", "localhost"):
            change(client, "set_addr", member=moved, addr=f"{host}:{port}")
    for node_id in {1, 2, 3} - {moved}:
        wait_for("the new address to be used", partial(connected, group, node_id, moved))
    for node in group.running():
        said = node.last_lines(10_000).removeprefix(before[node.id])
        assert "peer unreachable" not in said, said


def test_addresses_change_while_clients_write(group: Cluster) -> None:
    """No link breaks for it, so no client is told that it is unknown what became of a write."""
    wait_for("everybody to be linked", lambda: all(linked(group, n) for n in (1, 2, 3)))
    with Writers(group) as writers, group[group.follower()].client(30.0) as client:
        writers.wait_for_progress()
        for node in list(group.nodes.values()):
            for host in ("localhost", "127.0.0.1"):
                port = node.address.rpartition(":")[2]
                change(client, "set_addr", member=node.id, addr=f"{host}:{port}")
                writers.wait_for_progress(5)
    assert not writers.written.unknown, writers.written.codes
    check_written(writers.written, group.check_equal())


def linked(group: Cluster, node_id: int) -> bool:
    """Whether a node is connected to all others."""
    status = group[node_id].status()
    return status is not None and len(status.peers) == 2 and all(p.reachable for p in status.peers)


def connected(group: Cluster, node_id: int, peer_id: int) -> bool:
    """Whether a node has dialed a peer at the address that the test gave it last."""
    status = group[node_id].status()
    peer = next((p for p in status.peers if p.id == peer_id), None) if status else None
    lines = [
        line for line in group[node_id].last_lines(10_000).splitlines() if "peer connected" in line
    ]
    dialed = [json.loads(line) for line in lines]
    last = [line["addr"] for line in dialed if line["peer"] == peer_id][-1]
    return peer is not None and peer.reachable and last == peer.addr and "localhost" in last


def test_an_address_that_leads_nowhere_cuts_nobody_off(group: Cluster) -> None:
    """The connection to where the member still is lasts until it breaks by itself."""
    leader, moved = group.leader(), group.follower()
    nowhere = f"127.0.0.1:{free_port()}"
    with group[leader].client(30.0) as client:
        with pytest.raises(AdminError) as caught:
            change(client, "set_addr", member=moved, addr=nowhere)
        assert caught.value.code == Code.MEMBER_UNREACHABLE
        change(client, "set_addr", member=moved, addr=nowhere, unsafe=True)
        index = client.propose(b"after").index
        with group[moved].client(30.0) as at_moved:
            at_moved.wait("applied", index=index)
        change(client, "set_addr", member=moved, addr=group[moved].address)
    assert linked(group, leader)


def test_who_lags_behind_a_change_answers_a_leader_that_came_by_it(group: Cluster) -> None:
    """It has the majority's missing vote, and knows neither its leader nor where it listens."""
    group.join(4, 1, 2)
    with group.client(1, 2, timeout=30.0) as client:
        _announced(group, 4)
        if group.leader() == 3:
            client.transfer_leader(1)
        client.propose(b"before")
        group[3].kill()
        change(client, "change", voters=[1, 3, 4])
        group[2].kill()
        client.transfer_leader(4)
        client.propose(b"led by 4")
        group[1].kill()
    group[3].start()
    with group.client(4, timeout=30.0) as client:
        client.propose(b"by 3 and 4 alone", "once")
    group[1].start()
    log = group.check_equal([1, 3, 4])
    data = [entry.data for entry in log if entry.type == "normal"]
    assert data == [b"before", b"led by 4", b"by 3 and 4 alone"]
