"""Nodes that have left, and ids whose data is gone: they say so, keep quiet, and are not let in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from raftwire import Code
from raftwire.errors import ExitCode
from tests.daemon.reshaping import ctl, join, role, same_configuration
from tests.harness.processes import Cluster, Node, Writers, check_written, cluster, wait_for

QUIET = 2.5
"""Seconds over which nothing happens: more than any member's patience (twice 1 s)."""
REFUSED = 4
"""Exit status of a raftd that may not take part."""


def throughout(seconds: float, what: str, holds: Callable[[], bool]) -> None:
    """Fail as soon as something does not hold that is to hold all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holds(), what
        time.sleep(0.05)


def terms(group: Cluster, *ids: int) -> dict[int, int]:
    """Return the terms nodes are in."""
    found = {node_id: group[node_id].status() for node_id in ids}
    return {node_id: reply.term for node_id, reply in found.items() if reply is not None}


def keeps_quiet(group: Cluster, gone: int, *rest: int) -> None:
    """Fail unless a node knows that it has left, says so, and nobody ever hears of it."""
    node = group[gone]
    wait_for(f"{gone} to know", lambda: role(group, gone) == "removed")
    assert "removed from the group" in node.last_lines(200)
    assert "removed" in ctl(group, gone, "status").out.lower()
    voters = ",".join(map(str, rest))
    for command in (("propose", "x"), ("member", "change", "--voters", voters), ("progress",)):
        refused = ctl(group, gone, *command, "--json")
        assert refused.code == ExitCode.PRECONDITION
        assert refused.json["error"]["code"] == Code.NOT_MEMBER
        assert str(rest[0]) in refused.json["error"]["hint"]
    leader = group.settle(rest)
    before = terms(group, gone, *rest)
    # It may never have heard of the others' term, and need not.
    said = len(node.log_path.read_bytes())

    def unmoved() -> bool:
        status = group[leader].status()
        return (
            terms(group, gone, *rest) == before and status is not None and status.role == "leader"
        )

    throughout(QUIET, f"{gone} left and disturbed the others", unmoved)
    assert b"candidate" not in node.log_path.read_bytes()[said:]


def wipe(node: Node) -> None:
    """Take a node's disk away."""
    node.kill()
    shutil.rmtree(node.data_dir)


def turned_away(node: Node, code: Code, *words: str) -> None:
    """Start a node and fail unless it stops by itself, saying why and what to do."""
    said = len(node.log_path.read_bytes())
    node.start()
    assert node.wait() == REFUSED, node.last_lines()
    text = node.log_path.read_bytes()[said:].decode()
    last = text.splitlines()[-1]
    assert code in last + text
    for word in ("advice", *words):
        assert word in text, text
    assert "candidate" not in text


def test_a_removed_leader_keeps_quiet_also_when_it_starts_again() -> None:
    with cluster() as group:
        gone = group.leader()
        rest = sorted({1, 2, 3} - {gone})
        with Writers(group, per_node=1, ids=rest) as writers:
            writers.wait_for_progress()
            ran = ctl(group, rest[0], "member", "remove", str(gone))
            assert ran.code == ExitCode.OK, ran.err
            keeps_quiet(group, gone, *rest)
            # With its data, and the line that it was started with as one of the first three.
            group[gone].kill()
            group[gone].start()
            keeps_quiet(group, gone, *rest)
            # Without: neither as a first member nor as one that wants to join.
            wipe(group[gone])
            turned_away(group[gone], Code.REMOVED_MEMBER, "another id")
            wipe(group[gone])
            contacts = ",".join(group[node_id].address for node_id in rest)
            group[gone].arguments = ["--join", contacts, "--listen", group[gone].address]
            turned_away(group[gone], Code.REMOVED_MEMBER, "another id")
            refused = ctl(group, rest[0], "member", "add", str(gone), group[gone].address, "--json")
            assert refused.code == ExitCode.PRECONDITION
            assert refused.json["error"]["code"] == Code.REMOVED_MEMBER
            writers.wait_for_progress()
            written = writers.stop()
        check_written(written, group.check_equal(rest))


def test_a_node_removed_while_it_was_down_is_told_when_it_comes_back() -> None:
    with cluster() as group:
        join(group, 4)
        ran = ctl(group, 1, "member", "change", "--voters", "1,2,3,4")
        assert ran.code == ExitCode.OK, ran.err
        gone = group.follower()
        rest = sorted({1, 2, 3, 4} - {gone})
        group[gone].kill()
        with Writers(group, per_node=1, ids=rest) as writers:
            writers.wait_for_progress()
            ran = ctl(group, rest[0], "member", "remove", str(gone))
            assert ran.code == ExitCode.OK, ran.err
            writers.wait_for_progress()
            group[gone].start()
            keeps_quiet(group, gone, *rest)
            written = writers.stop()
        check_written(written, group.check_equal(rest))


def test_a_wiped_member_is_refused_and_does_not_vote() -> None:
    with cluster() as group:
        with group.client(timeout=30.0) as client:
            for number in range(20):
                client.propose(b"%d" % number)
        group.catch_up()
        leader = group.leader()
        down, wiped = sorted({1, 2, 3} - {leader})
        group[down].kill()
        wipe(group[wiped])
        wait_for("the leader to step down", lambda: role(group, leader) != "leader")
        # Its vote would elect somebody, who would have it forget what it had acknowledged.
        for _ in range(2):
            turned_away(group[wiped], Code.DATA_LOST, "member replace OLD NEW")
        alone = group[leader].status()
        assert alone is not None
        assert alone.leader == 0
        group[down].start()
        group.settle([leader, down])
        # The way out that it was told.
        join(group, 4, contacts=(leader, down))
        ran = ctl(group, leader, "member", "replace", str(wiped), f"4={group[4].address}")
        assert ran.code == ExitCode.OK, ran.err
        same_configuration(group, (leader, down, 4), voters=[leader, down, 4])
        log = group.check_equal([leader, down, 4])
        data = [entry.data for entry in log if entry.type == "normal"]
        assert data == [b"%d" % number for number in range(20)]
        turned_away(group[wiped], Code.REMOVED_MEMBER)
