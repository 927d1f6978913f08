"""A real leader keeps clock and settings of its group; forwarded nonsense stops nobody."""

from __future__ import annotations

import socket
import stat
import time

from raftwire import Client
from raftwire.frame import encode_frame
from raftwire.peer import Expectations, Forward, Hello, HelloReply, PeerFrame, make_hello
from tests.harness.processes import Cluster, Node, cluster, wait_for


def described(node: Node) -> list[str]:
    with node.client() as client:
        return [entry.description for entry in client.log_read(applied=True, types=["control"])]


def test_the_clock_is_stamped_and_limits_are_agreed_on() -> None:
    options = ["--dedup-entries", "3", "--history-entries", "4"]
    with cluster(3, *options) as group, group[group.follower()].client() as client:
        began = time.time() * 1000
        client.propose(b"first", key="k0")
        wait_for("the settings", lambda: "set_settings" in described(group[1]))
        for number in range(1, 8):
            client.propose(b"%d" % number, key=f"k{number}")
        group.catch_up()
        for node in group.nodes.values():
            found = described(node)
            stamps = [int(words.split()[1]) for words in found if words.startswith("set_clock")]
            assert len(stamps) == 1, found
            assert abs(stamps[0] - began) < 60_000
            assert found.count("set_settings") == 1
        # Only the newest keys are remembered: an old one is applied anew.
        assert not client.propose(b"again", key="k0").deduplicated
        assert client.propose(b"again", key="k7").deduplicated


def test_what_a_node_makes_is_its_users_alone() -> None:
    with cluster(1) as group:
        for path in [group[1].data_dir, *group[1].data_dir.rglob("*")]:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def stranger(group: Cluster, leader: int, forward: Forward) -> None:
    """Speak to the leader as the member that is down, and forward ``forward``."""
    with group[leader].client() as client:
        status = client.status()
    absent = next(node.id for node in group.nodes.values() if not node.running)
    mine = Expectations(
        node_id=absent,
        cluster_id=bytes.fromhex(status.cluster_id),
        incarnation=4711,
        state_machine=status.state_machine,
    )
    host, port = group[leader].address.split(":")
    with socket.create_connection((host, int(port)), 5.0) as sock:
        sock.sendall(encode_frame(make_hello(mine, leader, Hello.RAFT).SerializeToString()))
        size = int.from_bytes(sock.recv(4), "big")
        reply = HelloReply.FromString(sock.recv(size))
        assert reply.ok, reply.message
        frame = PeerFrame()
        frame.forward.CopyFrom(forward)
        sock.sendall(encode_frame(frame.SerializeToString()))
        # Its answers go elsewhere; that it has dealt with the frame shows in its counters.
        with group[leader].client() as client:
            wait_for("the frame to be refused", lambda: refused(client) > 0)


def refused(client: Client) -> int:
    return int(client.status().counters["messages_refused"])


def test_a_forward_that_nobody_could_apply_is_not_appended() -> None:
    with cluster(3) as group:
        leader = group.leader()
        victim = next(node_id for node_id in (1, 2, 3) if node_id != leader)
        group[victim].kill()
        with group[leader].client() as client:
            term = client.status().term
        forward = Forward()
        forward.entries.add(term=term, context=b"\x02" + bytes(24), data=b"\xff\xff")
        forward.entries.add(term=term, context=b"\x07garbage", data=b"")
        stranger(group, leader, forward)
        with group[leader].client() as client:
            client.propose(b"still here")
            assert refused(client) == 2
        assert len(group.running()) == 2
