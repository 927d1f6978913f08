"""raftctl snapshot, compact, verify, outcome on real nodes, and what comes out of a saved file."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raftwire import AdminError, Code
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, Node, cluster, environment, free_port, wait_for


def fill(group: Cluster, count: int = 200) -> None:
    with group[1].client(30.0) as client:
        for number in range(count):
            client.kv.put(f"k{number % 50}", str(number), idempotency_key=f"order-{number}")


def test_a_saved_snapshot_makes_a_new_group(short_dir: Path) -> None:
    file = short_dir / "backup"
    with cluster(3, "--state-machine", "kv") as group:
        fill(group)
        made = raftctl("snapshot", "create", node=group[2])["snapshot"]
        listed = raftctl("snapshot", "list", node=group[2])["snapshots"]
        assert [one["id"] for one in listed] == [made["id"]]
        assert made["voters"] == [1, 2, 3]
        with group[1].client() as client:
            client.kv.put("last", "word")
        group.catch_up()
        saved = raftctl("snapshot", "save", file, node=group[2])
        assert saved["index"] > made["index"]
        assert saved["bytes"] == file.stat().st_size
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert sorted(path.name for path in short_dir.iterdir()) == ["backup"]
        refused = raftctl("snapshot", "save", file, node=group[2], expect=4)
        assert "exists" in refused["message"]
        with group[2].client() as client:
            before = [(pair.key, pair.value, pair.mod_revision) for pair in client.kv.range()]
            old_cluster = client.status().cluster_id
        term = max(status.term for node in group.running() if (status := node.status()))

    found = raftctl("snapshot", "inspect", file)
    assert (found["index"], found["sha256"]) == (saved["index"], saved["sha256"])
    assert (found["cluster_id"], found["state_machine"]) == (old_cluster, "kv")
    assert found["config"]["voters"] == [1, 2, 3]

    with Cluster(0) as restored:
        ports = [free_port()]
        ports.append(free_port(ports))
        peers = f"7=127.0.0.1:{ports[0]},8=127.0.0.1:{ports[1]}"
        ids = set()
        for node_id, port in zip((7, 8), ports, strict=True):
            node = restored.nodes[node_id] = Node(
                node_id, f"127.0.0.1:{port}", restored.folder, ["--peers", peers]
            )
            # An empty directory will do; one that holds something will not.
            node.data_dir.mkdir(mode=0o700)
            where = ("--data-dir", node.data_dir, "--id", str(node_id), "--peers", peers)
            done = raftctl("snapshot", "restore", file, *where)
            ids.add(done["cluster_id"])
            assert done["next"].startswith(f"raftd --id {node_id} --data-dir {node.data_dir}")
            again = raftctl("snapshot", "restore", file, *where, expect=4)
            assert "holds a store already" in again["message"]
        assert len(ids) == 1
        assert ids != {old_cluster}
        restored.start()
        with restored.client(7, 8) as client:
            assert client.status().cluster_id in ids
            assert client.status().term > term
            after = [(pair.key, pair.value, pair.mod_revision) for pair in client.kv.range()]
            assert after == before
            # What was applied before the backup is not applied again after it.
            again_put = client.kv.put("k0", "other", idempotency_key="order-0")
            assert again_put.revision == 1
            assert client.kv.put("new", "one").revision == before_revision(before) + 1
        restored.catch_up()


def before_revision(pairs: list[tuple[bytes, bytes, int]]) -> int:
    return max(revision for _, _, revision in pairs)


def test_save_writes_to_a_pipe_what_inspect_reads(short_dir: Path) -> None:
    with cluster(1) as group, group[1].client() as client:
        client.propose(b"something")
        done = subprocess.run(
            [sys.executable, "-m", "raftctl", "-s", str(group[1].socket), "snapshot", "save", "-"],
            env=environment(),
            capture_output=True,
            check=True,
            timeout=60,
        )
    piped = short_dir / "piped"
    piped.write_bytes(done.stdout)
    assert raftctl("snapshot", "inspect", piped)["ok"]


@pytest.mark.parametrize("how", ["cut", "flip", "other"])
def test_a_damaged_file_is_not_restored(short_dir: Path, how: str) -> None:
    with cluster(1) as group, group[1].client() as client:
        client.propose(b"something" * 100)
        file = short_dir / "backup"
        raftctl("snapshot", "save", file, node=group[1])
    data = bytearray(file.read_bytes())
    if how == "cut":
        del data[-1]
    elif how == "flip":
        data[len(data) // 2] ^= 4
    else:
        data[:] = b"something else entirely"
    file.write_bytes(data)
    assert raftctl("snapshot", "inspect", file, expect=9)["code"] == "CORRUPT"
    target = short_dir / "data"
    where = ("--data-dir", target, "--id", "1", "--peers", "1=127.0.0.1:7001")
    assert raftctl("snapshot", "restore", file, *where, expect=9)["code"] == "CORRUPT"
    assert not target.exists()


def test_a_folder_that_cannot_be_written_is_said(short_dir: Path) -> None:
    with cluster(1) as group, group[1].client() as client:
        client.propose(b"x")
        error = raftctl("snapshot", "save", short_dir / "no" / "f", node=group[1], expect=1)
        assert "No such file" in error["message"]
        if os.geteuid() != 0:
            short_dir.chmod(0o500)
            raftctl("snapshot", "save", short_dir / "f", node=group[1], expect=1)
            short_dir.chmod(0o700)


def test_compact_spares_those_that_follow() -> None:
    with cluster(3) as group:
        leader = group[group.leader()]
        last = 0
        with leader.client() as client:
            for number in range(50):
                last = client.propose(b"%d" % number).index
        group.catch_up()
        assert raftctl("compact", "--to", "40", node=leader)["first_index"] == 41
        with leader.client() as client:
            assert client.log_stat().first_index == 41
            # State stays: what was proposed first can still be read.
            assert next(client.log_read(types=["normal"])).data == b"0"
            with pytest.raises(AdminError) as caught:
                client.compact(last + 1000)
            assert caught.value.code == Code.OUT_OF_RANGE
        victim = group[group.follower()]
        victim.signal(signal.SIGSTOP)
        with leader.client() as client:
            for number in range(50):
                last = client.propose(b"more %d" % number).index
            refused = raftctl("compact", "--keep", "1", node=leader, expect=4)
            assert refused["details"]["slowest"] == str(victim.id)
            assert raftctl("compact", "--keep", "1", "--yes", node=leader)["dropped"] > 0
        victim.signal(signal.SIGCONT)
        # It needs a snapshot now, and gets one.
        group.catch_up()
        assert raftctl("verify", node=victim)["ok"]


def test_members_agree_and_the_silent_are_named() -> None:
    with cluster(3, "--state-machine", "kv") as group:
        fill(group, 60)
        for node in group.nodes.values():
            found = raftctl("verify", node=node)
            assert [row["id"] for row in found["rows"]] != []
            assert {row["agrees"] for row in found["rows"]} == {True}
        victim = group.follower()
        group[victim].kill()
        error = raftctl("verify", node=group[group.leader()], expect=7)
        assert f"node {victim}" in error["message"]


def test_outcomes_of_keys() -> None:
    with (
        cluster(1, "--state-machine", "kv", "--dedup-entries", "2") as group,
        group[1].client() as client,
    ):
        wait_for(
            "the limit to be agreed on",
            lambda: any(
                entry.description == "set_settings" for entry in client.log_read(types=["control"])
            ),
        )
        assert raftctl("outcome", "a", node=group[1])["state"] == "not_seen"
        index = client.propose(put(b"a"), key="a").index
        found = raftctl("outcome", "a", node=group[1])
        assert (found["state"], found["index"], found["forgotten_index"]) == ("applied", index, 0)
        with pytest.raises(AdminError):
            client.propose(b"\xff\xff no command", key="b")
        found = raftctl("outcome", "b", node=group[1])
        assert found["state"] == "refused"
        assert found["result"]
        for key in "cd":
            client.propose(put(key.encode()), key=key)
        found = raftctl("outcome", "a", node=group[1])
        assert found["state"] == "not_seen"
        assert found["forgotten_index"] >= index


def put(key: bytes) -> bytes:
    from raftwire import kv

    return kv.put(key, b"v")


@pytest.mark.parametrize("consistency", ["linearizable", "lease", "stale"])
@pytest.mark.parametrize("mode", ["readindex", "lease"])
def test_reads_of_each_consistency(consistency: str, mode: str) -> None:
    with cluster(3, "--state-machine", "kv", "--read-mode", mode) as group:
        with group[1].client() as client:
            client.kv.put("k", "v")
        group.catch_up()
        for node in group.nodes.values():
            found = raftctl("kv", "get", "k", "--consistency", consistency, node=node)
            assert found["kv"]["value"] == "v"


def test_a_backup_needs_no_quorum() -> None:
    with cluster(3, "--state-machine", "kv") as group:
        fill(group, 20)
        group.catch_up()
        for node_id in (2, 3):
            group[node_id].kill()
        file = group.folder / "backup"
        assert raftctl("snapshot", "save", file, node=group[1])["bytes"] == file.stat().st_size
        shutil.rmtree(group[2].data_dir)
