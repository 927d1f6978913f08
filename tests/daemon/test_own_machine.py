"""A state machine from another package, the manual's, in a real group: the whole of its life."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftwire import AdminError, Client
from raftwire.errors import Code
from tests.harness.ctl import raftctl
from tests.harness.processes import Cluster, environment, wait_for
from tests.house.tree import ROOT

METADATA = "Metadata-Version: 2.1\nName: bank\nVersion: 1.0\n"
ENTRY_POINTS = "[raftd.state_machine]\nbank = bank:BankMachine\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the manual's example as an installed package, as an installer leaves it."""
    folder = tmp_path / "site"
    info = folder / "bank-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(ROOT / "man" / "src" / "bank.py", folder)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def group(package: Path) -> Iterator[Cluster]:
    with Cluster(3, "--state-machine", "bank") as group:
        for node in group.nodes.values():
            node.variables["PYTHONPATH"] = path(package)
        group.start()
        yield group


def path(package: Path) -> str:
    return os.pathsep.join((str(package), environment()["PYTHONPATH"]))


def order(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def balances(client: Client, **options: Any) -> dict[str, int]:
    found: dict[str, int] = json.loads(client.query(b"", **options).result)
    return found


def test_the_life_of_a_machine_of_ones_own(group: Cluster, package: Path) -> None:
    with group.client(timeout=20.0) as client:
        assert client.hello().state_machine == "bank"
        reply = client.propose(order(to="ann", amount=100), key="1")
        assert json.loads(reply.result) == {"ann": 100}
        reply = client.propose(order(**{"from": "ann"}, to="bob", amount=30), key="2")
        assert json.loads(reply.result) == {"ann": 70, "bob": 30}
        again = client.propose(order(**{"from": "ann"}, to="bob", amount=30), key="2")
        assert again.deduplicated
        assert again.result == reply.result
        for bad, why in (
            (order(**{"from": "bob"}, to="ann", amount=31), "bob has only 30"),
            (order(to="ann", amount=10**40), "positive whole"),
            (order(to="\ud800", amount=1), "name an account"),
            (b"[" * 100_000, "at most 200 bytes"),
            (b"\xff\x00", "JSON"),
        ):
            with pytest.raises(AdminError) as refused:
                client.propose(bad)
            assert refused.value.code == Code.REFUSED
            assert why in refused.value.message
        assert json.loads(client.query(order(of="bob")).result) == {"bob": 30}
        with pytest.raises(AdminError) as refused:
            next(client.watch(b"ann"))
        assert refused.value.code == Code.REFUSED
        assert "no history" in refused.value.message
        assert client.verify().ok

    # Killed and started again, all of them.
    for node in group.nodes.values():
        node.kill()
    group.start()
    with group.client(timeout=20.0) as client:
        assert balances(client) == {"ann": 70, "bob": 30}
        # A node that joins gets the state by a snapshot, and its name from the group.
        client.snapshot_create()
        leader = group[group.leader()]
        with leader.client(20.0) as at_leader:
            at_leader.compact(keep=1, force=True)
        new = group._new(4)
        new.variables["PYTHONPATH"] = path(package)
        new.arguments = ["--join", leader.address, "--listen", new.address]
        new.start()
        wait_for("node 4 to answer", lambda: new.status() is not None)
        client.member_add_learner(4, new.address)
        with new.client() as at_new:
            wait_for("the snapshot", lambda: _known(at_new) == {"ann": 70, "bob": 30})
            again = at_new.propose(order(**{"from": "ann"}, to="bob", amount=30), key="2")
            assert again.deduplicated
        assert client.verify().ok
    assert raftctl("outcome", "2", node=group[1])["state"] == "applied"


def _known(client: Client) -> dict[str, int] | None:
    try:
        return balances(client, consistency="stale")
    except AdminError:
        return None


def test_without_its_package_a_node_does_not_start(group: Cluster, package: Path) -> None:
    node = group[1]
    node.kill()
    (package / "bank.py").unlink()
    node.start()
    assert node.wait() == 4
    assert "the state machine 'bank' (bank:BankMachine) cannot be loaded" in node.last_lines()
    shutil.rmtree(package / "bank-1.0.dist-info")
    node.start()
    assert node.wait() == 4
    assert "no state machine named 'bank' is installed" in node.last_lines()


def test_a_machine_that_fails_stops_the_node_rather_than_differ(package: Path) -> None:
    source = (package / "bank.py").read_text()
    (package / "bank.py").write_text(source.replace("if left < 0:", "if left < 0 and 1 / 0:"))
    with Cluster(1, "--state-machine", "bank") as group:
        group[1].variables["PYTHONPATH"] = path(package)
        group.start()
        with group.client() as client:
            client.propose(order(to="ann", amount=1))
            with pytest.raises(AdminError):
                client.propose(order(**{"from": "ann"}, to="bob", amount=2))
        assert group[1].wait() == 70
        assert "division by zero" in group[1].last_lines()
        # Mended, it goes on.
        (package / "bank.py").write_text(source)
        group.start()
        with group.client() as client:
            assert balances(client) == {"ann": 1}
