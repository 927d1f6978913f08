"""Real nodes that lose their majority for good: a survivor goes on with all it acknowledged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raftwire import AdminError
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, Node, Writers, check_written, cluster, wait_for


def recovered(group: Cluster, node: Node, folder: Path, *reports: Path) -> dict[str, object]:
    """Carry out the four steps as the manual writes them; return what the last one says."""
    plan = folder / "plan.json"
    raftctl("recover", "plan", *reports, "--out", plan)
    done = raftctl("recover", "apply", plan, "--data-dir", node.data_dir, "--yes")
    assert Path(done["backup"]).is_dir()
    found: dict[str, object] = raftctl("recover", "verify", "--data-dir", node.data_dir)
    assert str(found["next"]).startswith(f"raftd --id {node.id} --data-dir {node.data_dir}")
    node.arguments = ["--peers", f"{node.id}={node.address}", *group.options]
    return found


def test_two_of_three_are_destroyed(short_dir: Path) -> None:
    with cluster(3) as group:
        with Writers(group) as writers:
            writers.wait_for_progress(200)
            written = writers.stop()
        with group[1].client() as client:
            kept = client.propose(b"with a key", key="order-17").index
        group.catch_up()
        old_cluster = group[1].status()
        assert old_cluster is not None
        # The disks of 2 and 3 burn; a copy of 2's turns up later.
        for node in group.nodes.values():
            node.kill()
        attic = short_dir / "attic"
        shutil.copytree(group[2].data_dir, attic)
        for node_id in (2, 3):
            shutil.rmtree(group[node_id].data_dir)

        report = short_dir / "1.json"
        held = raftctl("recover", "collect", "--data-dir", group[1].data_dir, "--out", report)
        assert held["voters"] == [1, 2, 3]
        shown = raftctl("recover", "plan", report)
        assert shown["may_lose"]
        assert shown["lost"] == [2, 3]
        # Nothing has been changed so far.
        assert raftctl("offline", "info", "--data-dir", group[1].data_dir)["recovered_from"] is None
        recovered(group, group[1], short_dir, report)

        group.start(1)
        with group[1].client() as client:
            status = client.status()
            assert status.cluster_id != old_cluster.cluster_id
            assert status.term > old_cluster.term
            assert list(status.config.voters) == [1]
            assert list(status.config.removed) == [2, 3]
            goes_on = client.propose(b"alone").index
        check_written(written, group.applied(1))

        # The old node 2 comes back: neither takes the other for its own.
        shutil.copytree(attic, group[2].data_dir)
        group[2].start()
        wait_for("node 2 to answer", lambda: group[2].status() is not None)
        wait_for("the refusal", lambda: "another cluster" in refusals(group[2]))
        with group[2].client() as client, pytest.raises(AdminError):
            client.propose(b"to the old cluster", timeout=1.0)
        with group[1].client() as client:
            assert client.status().counters["refused_connection_cluster_mismatch"] > 0
            assert client.propose(b"still alone").index == goes_on + 1
        # Nor may its id be used again.
        group[2].kill()
        error = raftctl("member", "add", "2", group[2].address, node=group[1], expect=4)
        assert error["code"] == "REMOVED_MEMBER"

        # The group grows back with new ids.
        new = group.join(4, 1)
        with group[1].client(30.0) as client:
            client.member_add(4, new.address, wait=True, timeout=30.0)
        assert raftctl("verify", node=new)["ok"]
        check_written(written, group.check_equal([1, 4]))
        with new.client() as client:
            again = client.propose(b"with a key", key="order-17")
            assert (again.deduplicated, again.index) == (True, kept)


def refusals(node: Node) -> str:
    status = node.status()
    return "" if status is None else " ".join(peer.error for peer in status.peers)


def test_the_better_of_two_survivors_goes_on(short_dir: Path) -> None:
    with cluster(5) as group:
        with group[1].client() as client:
            for number in range(20):
                client.propose(b"%d" % number)
        group.catch_up()
        behind = next(node_id for node_id in (4, 5) if node_id != group.leader())
        group[behind].kill()
        ahead = 9 - behind
        with group[ahead].client() as client:
            last = client.propose(b"only some have this").index
        group.catch_up()
        for node in group.nodes.values():
            node.kill()
        reports = []
        for node_id in (4, 5):
            reports.append(short_dir / f"{node_id}.json")
            raftctl(
                "recover", "collect", "--data-dir", group[node_id].data_dir, "--out", reports[-1]
            )
        plan = raftctl("recover", "plan", *reports)
        assert plan["node_id"] == ahead
        assert plan["others"] == [behind]
        refused = raftctl("recover", "plan", *reports, "--survivor", str(behind), expect=4)
        assert f"node {ahead} holds more" in refused["message"]
        recovered(group, group[ahead], short_dir, *reports)
        group.start(ahead)
        with group[ahead].client() as client:
            entries = {entry.index: entry.data for entry in client.log_read(types=["normal"])}
        assert entries[last] == b"only some have this"
        # The other survivor's data is of the old cluster: it is refused like a lost node's.
        group[behind].start()
        wait_for("node to answer", lambda: group[behind].status() is not None)
        wait_for("the refusal", lambda: "another cluster" in refusals(group[behind]))


def test_a_group_with_a_majority_is_not_recovered(short_dir: Path) -> None:
    with cluster(3) as group:
        with group[1].client() as client:
            client.propose(b"x")
        group.catch_up()
        for node in group.nodes.values():
            node.kill()
        reports = []
        for node_id in (1, 2):
            reports.append(short_dir / f"{node_id}.json")
            raftctl(
                "recover", "collect", "--data-dir", group[node_id].data_dir, "--out", reports[-1]
            )
        refused = raftctl("recover", "plan", *reports, expect=4)
        assert "start them" in refused["message"]
        group.start(1, 2)


def test_data_that_has_gone_on_is_not_recovered(short_dir: Path) -> None:
    with cluster(1) as group:
        group[1].kill()
        report, plan = short_dir / "1.json", short_dir / "plan.json"
        raftctl("recover", "collect", "--data-dir", group[1].data_dir, "--out", report)
        raftctl("recover", "plan", report, "--force", "--out", plan)
        running = raftctl("recover", "apply", plan, "--data-dir", group[1].data_dir, expect=2)
        assert running["code"] == "NOT_CONFIRMED"
        group.start()
        in_use = raftctl(
            "recover", "apply", plan, "--data-dir", group[1].data_dir, "--yes", expect=4
        )
        assert in_use["code"] == "LOCKED"
        with group[1].client() as client:
            client.propose(b"it goes on")
        assert group[1].terminate() == 0
        error = raftctl(
            "recover", "apply", plan, "--data-dir", group[1].data_dir, "--yes", expect=4
        )
        assert "changed since it was collected" in error["message"]
        group.start()
