"""A proposal with a key is applied once, whatever fails between its first sending and the last."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
import threading

from raftwire import AdminError, kv
from raftwire.frame import encode_frame
from raftwire.proto.admin_pb2 import ProposeReply, Request
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, Node, cluster, wait_for

OPTIONS = ("--state-machine", "kv", "--heartbeat", "50ms", "--election-timeout", "500ms")


def order(name: str) -> bytes:
    """Return a command that raises the version of a key each time it is applied."""
    return kv.put(name, "x")


def send_and_leave(node: Node, name: str) -> None:
    """Send a proposal with a key and hang up: nobody hears the answer."""
    request = Request(id=1, deadline_ms=10_000)
    request.propose.data, request.propose.key = order(name), name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(node.socket))
        sock.sendall(encode_frame(request.SerializeToString()))


def retry(node: Node, name: str) -> ProposeReply:
    with node.client(20.0) as client:
        return client.propose(order(name), key=name)


def version(group: Cluster, name: str) -> int:
    with group.client(timeout=20.0) as client:
        found = client.kv.get(name)
    return found.version if found else 0


def settled(group: Cluster, name: str) -> list[ProposeReply]:
    """Retry through every node; fail unless all say the same and it was applied once."""
    replies = [retry(node, name) for node in group.running()]
    assert len({reply.index for reply in replies}) == 1
    assert all(reply.deduplicated for reply in replies[1:])
    assert len({reply.result for reply in replies}) == 1
    assert version(group, name) == 1
    for node in group.running():
        with node.client(20.0) as client:
            found = client.outcome(name)
        assert (found.state, found.index) == ("applied", replies[0].index)
    return replies


def applied_at(node: Node, name: str) -> bool:
    with node.client() as client, contextlib.suppress(AdminError):
        return any(entry.key == name for entry in client.log_read(last=20, applied=True))
    return False


def test_a_retry_after_each_kind_of_failure() -> None:
    with cluster(3, *OPTIONS) as group:
        # Through another node, with the answer heard.
        first = retry(group[1], "heard")
        assert not first.deduplicated
        assert settled(group, "heard")[0].index == first.index

        # The answer is lost on the way, and the retry overtakes the first try or not.
        for node, name in zip(itertools.cycle(group.nodes.values()), "abcd", strict=False):
            send_and_leave(node, f"lost {name}")
            settled(group, f"lost {name}")

        # The leader is killed with the entry committed and the answer not heard.
        old = group.leader()
        send_and_leave(group[old], "killed")
        others = [node for node in group.nodes.values() if node.id != old]
        wait_for("it to be applied", lambda: all(applied_at(node, "killed") for node in others))
        group[old].kill()
        group.settle()
        assert all(reply.deduplicated for reply in settled(group, "killed"))
        group.start()

        # The leader is killed at any moment: it may have been appended, committed, or neither.
        for number in range(3):
            old = group.leader()
            send_and_leave(group[old], f"early {number}")
            threading.Event().wait(random.random() * 0.01)
            group[old].kill()
            group.settle()
            settled(group, f"early {number}")
            group.start()

        # Leadership is handed over.
        with group.client(timeout=20.0) as client:
            client.transfer_leader()
        group.settle()
        for name in ("heard", "lost a", "killed"):
            assert all(reply.deduplicated for reply in settled(group, name))

        # All are killed and started again.
        for node in group.nodes.values():
            node.kill()
        group.start()
        for name in ("heard", "lost a", "killed"):
            assert all(reply.deduplicated for reply in settled(group, name))

        # One gets all of it by a snapshot, answers, and leads by it.
        new = group[group.follower()]
        new.kill()
        leader = group[group.leader()]
        with leader.client(20.0) as client:
            for number in range(20):
                client.kv.put("filler", str(number))
            client.snapshot_create()
            client.compact(keep=1, force=True)
        new.start()
        group.settle()
        group.catch_up()
        with new.client() as client:
            assert client.log_stat().first_index > settled(group, "heard")[0].index
        with leader.client(20.0) as client:
            client.transfer_leader(new.id)
        assert group.leader() == new.id
        for name in ("heard", "lost a", "killed"):
            assert all(reply.deduplicated for reply in settled(group, name))
        found = raftctl("outcome", "killed", node=new)
        assert (found["state"], found["key"]) == ("applied", "killed")
        assert raftctl("outcome", "never", node=new)["state"] == "not_seen"


def test_the_client_retries_through_dying_leaders_and_each_order_counts_once() -> None:
    with cluster(3, *OPTIONS) as group:
        stop = threading.Event()
        names: list[str] = []
        failed: list[Exception] = []

        def write(writer: int) -> None:
            with group.client(timeout=30.0) as client:
                for number in itertools.count():
                    if stop.is_set():
                        return
                    name = f"{writer}/{number}"
                    try:
                        client.kv.put(name, "x", idempotency_key=name)
                    except Exception as error:
                        failed.append(error)
                        return
                    names.append(name)

        def reached(goal: int) -> bool:
            return bool(failed) or len(names) >= goal

        writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(3):
                goal = len(names) + 20
                wait_for("20 more", functools.partial(reached, goal))
                old = group.leader()
                group[old].kill()
                group.settle()
                group[old].start()
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert not failed
        with group.client(timeout=20.0) as client:
            versions = {pair.key.decode(): pair.version for pair in client.kv.range()}
        assert versions == dict.fromkeys(names, 1)
