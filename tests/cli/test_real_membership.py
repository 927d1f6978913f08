"""The member commands against real nodes: the design's example, with each of them as the leader."""

from __future__ import annotations

import pytest

from raftctl.local_cluster import LocalCluster
from tests.cli.test_real_nodes import Cluster


def join(cluster: Cluster, *ids: int) -> None:
    members = ",".join(cluster.local.address(i) for i in cluster.ids)
    for id_ in ids:
        cluster.local.start(id_, "--listen", cluster.local.address(id_), "--join", members)
    cluster.until(
        "the new nodes", lambda: all(cluster.ctl(i, "status", "-q").code == 0 for i in ids)
    )


def known(cluster: Cluster, *change: str) -> None:
    """Wait until the group knows where the new nodes are: the change could be made."""
    cluster.until(
        "the announcements",
        lambda: cluster.ctl(1, "member", *change, "--dry-run", "--json").code == 0,
    )


@pytest.mark.parametrize("leader", [1, 2])
def test_begin_hold_finalize_as_the_manual_writes_it(leader: int) -> None:
    with LocalCluster() as local:
        cluster = Cluster(local)
        cluster.start()
        if cluster.settle() != leader:
            assert cluster.ctl(1, "transfer-leader", str(leader)).code == 0
            cluster.settle()
        join(cluster, 4, 5, 6)
        target = ["--voters", "1,3", "--learners", "4,5,6"]
        known(cluster, "begin", *target)
        ran = cluster.ctl(1, "member", "begin", *target)
        assert ran.code == 0, ran.err
        assert "voters        1,2,3 -> 1,3" in ran.out
        assert "JOINT at index" in ran.out
        assert cluster.ctl(3, "member", "status").out.startswith("JOINT for")
        config = cluster.ctl(1, "status", "--json").data["config"]
        assert config["joint"] is True
        assert (config["voters"], config["voters_outgoing"]) == ([1, 3], [1, 2, 3])
        assert cluster.ctl(3, "propose", "while joint", "--timeout", "10s").code == 0
        ran = cluster.ctl(1, "member", "begin", "--voters", "1,2", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (4, "ALREADY_JOINT")

        ran = cluster.ctl(3, "member", "finalize", "--timeout", "20s")
        assert ran.code == 0, ran.err
        assert "FINALIZED at index" in ran.out
        cluster.until(
            "the new group",
            lambda: cluster.ctl(1, "status", "--json").data["config"]["voters"] == [1, 3],
        )
        ran = cluster.ctl(1, "member", "finalize", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (4, "NOT_JOINT")
        assert cluster.ctl(1, "wait", "member", "2", "absent").code == 0
        assert cluster.ctl(1, "wait", "member", "5", "learner").code == 0
        index = cluster.ctl(1, "propose", "after", "--timeout", "10s", "--json").data["index"]
        for id_ in (1, 3, 4, 5, 6):
            assert cluster.ctl(id_, "wait", "applied", str(index)).code == 0


def test_the_whole_group_is_replaced_and_a_learner_added_and_promoted() -> None:
    with LocalCluster() as local:
        cluster = Cluster(local)
        cluster.start()
        join(cluster, 4, 5, 6, 7)
        known(cluster, "begin", "--voters", "4,5,6,7")
        ran = cluster.ctl(1, "member", "change", "--voters", "4,5,6", "--json")
        assert ran.code == 0, ran.out
        assert ran.data["steps"][-1] == "4, 5, 6 caught up"
        ran = cluster.ctl(4, "member", "change", "--voters", "4,5,6", "--json")
        assert ran.code == 0
        assert ran.data["unchanged"] is True
        address = local.address(7)
        ran = cluster.ctl(5, "member", "add", "7", address)
        assert ran.code == 0, ran.err
        assert cluster.ctl(5, "wait", "member", "7", "voter").code == 0
        ran = cluster.ctl(5, "member", "remove", "4", "--yes")
        assert ran.code == 0, ran.err
        assert cluster.ctl(6, "member", "list", "--json").data["config"]["voters"] == [5, 6, 7]
        ran = cluster.ctl(5, "member", "add-learner", "1", local.address(1), "--json")
        assert (ran.code, ran.json["error"]["code"]) == (4, "REMOVED_MEMBER")
