"""kill -9 at each named place, and a start after it: nothing acknowledged is lost or doubled.

The places of the main loop are come to by a group under load; those of snapshots, compaction and
installing by a node that is made to do just that. Each test first proves that the process died at
the place, by the line it wrote and by its status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from raftd.failpoints import PLACES
from raftwire import AdminError, Client
from raftwire.errors import Outcome
from tests.daemon.dying import arm, died
from tests.harness.ctl import raftctl
from tests.harness.processes import DEADLINE, Cluster, cluster, wait_for

QUICK = ("--heartbeat", "20ms", "--election-timeout", "120ms")
"""For a node alone: nobody can take its silence for death."""

LOOP = ("persist", "written", "durable", "apply", "applied", "answer")
BUILDING = tuple(name for name in PLACES if name.startswith("snapshot.") or "compact" in name)[:8]
INSTALLING = (
    "snapshot.chunk",
    # What was received gets its name in the same steps as what was made.
    "snapshot.rename",
    "snapshot.renamed",
    "snapshot.received",
    "snapshot.stage",
    "snapshot.staged",
    "snapshot.install",
    "snapshot.installed",
)


def test_every_place_is_tried_here() -> None:
    assert {*LOOP, "saved", "vote", "address.applied", *BUILDING, *INSTALLING} == set(PLACES)


class Keyed:
    """Puts with keys, one after another; what was answered, and what is not known.

    Args:
        size: Bytes of a value, at least.
    """

    def __init__(self, client: Client, size: int = 0) -> None:
        self.client = client
        self.size = size
        self.answered: dict[str, int] = {}
        self.open: list[str] = []
        self.number = 0

    def put(self, timeout: float = 1.0) -> bool:
        """Put the next one; False if it was not answered in time, as by a node that has died."""
        self.number += 1
        key = f"order-{self.number}"
        try:
            value = self.value(key)
            reply = self.client.kv.put(key, value, idempotency_key=key, timeout=timeout)
        except AdminError as error:
            if error.outcome is Outcome.UNKNOWN:
                self.open.append(key)
            return False
        self.answered[key] = reply.revision
        return True

    def value(self, key: str) -> str:
        """Return the value that belongs to ``key``."""
        return key.removeprefix("order-").zfill(self.size)

    def settle(self) -> None:
        """Say again what was not answered: it is applied once, whatever became of it before."""
        for key in self.open:
            value = self.value(key)
            reply = self.client.kv.put(key, value, idempotency_key=key, timeout=DEADLINE)
            self.answered[key] = reply.revision
        self.open.clear()

    def check(self) -> None:
        """Fail unless each was applied exactly once, at the revision that was answered."""
        pairs = {
            pair.key.decode(): pair for pair in self.client.kv.range("order-", timeout=DEADLINE)
        }
        for key, revision in self.answered.items():
            pair = pairs[key]
            assert pair.version == 1, f"{key} was applied {pair.version} times"
            assert pair.mod_revision == revision, key
            assert pair.value == self.value(key).encode(), key
        assert len({pair.mod_revision for pair in pairs.values()}) == len(pairs)


def die_and_go_on(group: Cluster, puts: Keyed, place: str, times: int) -> None:
    """Die there; once started again, all that was answered is there, each once."""
    group[1].kill()
    arm(group[1], place, times)
    died(group[1], place, puts.put)
    group.start()
    puts.settle()
    assert puts.put(DEADLINE)
    puts.check()


@pytest.mark.parametrize("times", [3, 17])
@pytest.mark.parametrize("place", LOOP)
def test_a_single_node_keeps_what_it_acknowledged(place: str, times: int) -> None:
    with cluster(1, "--state-machine", "kv", *QUICK) as group, group[1].client() as client:
        puts = Keyed(client)
        for _ in range(5):
            assert puts.put(DEADLINE)
        die_and_go_on(group, puts, place, times)


@pytest.mark.parametrize(("place", "times"), [("applied", 10), ("saved", 1)])
def test_large_values_are_kept_though_no_journal_has_them(place: str, times: int) -> None:
    """They go past it; the process dies with those in memory, before and after the first save."""
    with cluster(1, "--state-machine", "kv", *QUICK) as group, group[1].client() as client:
        puts = Keyed(client, size=900_000)
        die_and_go_on(group, puts, place, times)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(3, "--state-machine", "kv") as group:
        yield group


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("place", LOOP)
def test_a_group_keeps_what_was_acknowledged(three: Cluster, place: str, role: str) -> None:
    victim = three[three.follower()]
    victim.kill()
    arm(victim, place, 40 if role == "leader" else 12)
    others = [node.id for node in three.nodes.values() if node is not victim]
    with three.client(*others, timeout=1.0) as client, victim.client() as at_victim:
        puts = Keyed(client)
        puts.number = 1000 * (list(LOOP).index(place) * 2 + (role == "leader"))
        if role == "leader":

            def leads() -> bool:
                if victim.running:
                    with suppress(AdminError):
                        client.transfer_leader(victim.id, timeout=5.0)
                status = victim.status()
                return not victim.running or (status is not None and status.role == "leader")

            wait_for("it to lead, or to have died of it", leads)
        # Only who has clients of its own comes to answering them.
        puts.client = at_victim if place == "answer" else client
        died(victim, place, puts.put)
        puts.client = client
        three.start()
        puts.settle()
        assert puts.put(DEADLINE)
        puts.check()
        three.catch_up()
        assert raftctl("verify", node=victim)["ok"]


def test_a_vote_that_was_not_sent_is_not_given_twice(three: Cluster) -> None:
    voter = three[three.follower()]
    others = [node.id for node in three.nodes.values() if node is not voter]
    voter.kill()
    arm(voter, "vote", 1)

    def elect() -> None:
        """Have the others elect one of them anew; both vote, and the voter if he is asked.

        The first time he may not be: his leader has reached him, and the other not yet.
        """
        leader = three.settle(others)
        to = next(node_id for node_id in others if node_id != leader)
        with suppress(AdminError), three[to].client() as client:
            client.transfer_leader(to, timeout=2.0)

    died(voter, "vote", elect)
    held = raftctl("offline", "info", "--data-dir", voter.data_dir)
    assert held["vote"] in others
    three.start()
    with voter.client() as client:
        status = client.status()
        assert status.term > held["term"] or status.vote == held["vote"]
    three.catch_up()


def test_an_address_is_known_to_who_died_as_it_changed(three: Cluster) -> None:
    victim, moved = three[three.follower()], three[three.leader()]
    victim.kill()
    arm(victim, "address.applied")
    wait_for("it to follow", lambda: (status := victim.status()) is not None and status.leader > 0)
    there = moved.address.replace("127.0.0.1", "localhost")
    with moved.client(30.0) as client:
        client.member_set_addr(moved.id, there)
        died(victim, "address.applied")
        three.start()
        with Client(str(victim.socket), no_forward=True) as at_victim:
            at_victim.wait("applied", index=client.status().applied, timeout=30.0)
            assert at_victim.member_status().addrs[moved.id] == there
        client.member_set_addr(moved.id, moved.address)
    three.catch_up()


# --- snapshots and the log's beginning -----------------------------------------------------------

SMALL = (
    "--state-machine", "kv", "--snapshot-entries", "40", "--snapshot-keep", "1",
    "--compact-entries", "10", "--compact-trailing", "20", "--history-entries", "20",
)  # fmt: skip


@pytest.mark.parametrize("place", BUILDING)
def test_making_and_dropping_leave_the_old_or_the_new(place: str) -> None:
    with cluster(1, *SMALL, *QUICK) as group, group[1].client() as client:
        puts = Keyed(client)
        group[1].kill()
        # Not the first time, when there is neither an older snapshot nor a log that was cut.
        arm(group[1], place, 2)
        died(group[1], place, puts.put)
        whole = raftctl("offline", "check", "--data-dir", group[1].data_dir)
        group.start()
        left = {path.suffix for path in (group[1].data_dir / "snapshots").iterdir()}
        assert left <= {".raftsnap"}, "temporary files are removed at the start"
        puts.settle()
        for _ in range(60):
            assert puts.put(DEADLINE)
        puts.check()
        assert client.log_stat().first_index >= whole["first_index"]
        # It goes on making them, and restores from the newest.
        wait_for("a snapshot", lambda: len(client.snapshot_list().snapshots) == 1)
        saved = group.folder / "saved"
        assert raftctl("snapshot", "save", saved, node=group[1])["bytes"] > 0
        assert raftctl("snapshot", "inspect", saved)["ok"]


@pytest.mark.parametrize("place", INSTALLING)
def test_installing_leaves_the_old_or_the_new(place: str) -> None:
    options = ("--state-machine", "kv", "--compact-entries", "10", "--compact-trailing", "20")
    with cluster(1, *options) as group, group[1].client(30.0) as client:
        puts = Keyed(client)
        for _ in range(40):
            assert puts.put(DEADLINE)
        for number in range(16):
            client.kv.put(f"big-{number}", b"x" * 60_000)
        node = group.join(2, 1)
        node.kill()
        arm(node, place, 2 if place in ("snapshot.chunk", "snapshot.stage") else 1)
        wait_for("it to wait", lambda: node.status() is not None)
        client.member_add_learner(2, node.address)
        died(node, place)
        # Whatever it was in the middle of, its data is one state or the other.
        found = raftctl("offline", "check", "--data-dir", node.data_dir)
        assert found["applied"] == found["commit"] or found["applied"] == 0
        for _ in range(30):
            assert puts.put(DEADLINE)
        node.start()
        wait_for(
            "it to catch up",
            lambda: (
                (status := node.status()) is not None and status.applied == client.status().applied
            ),
        )
        assert raftctl("verify", node=group[1])["ok"]
        with node.client() as at_node:
            assert at_node.kv.get("order-1", consistency="stale") is not None
        left = {path.suffix for path in (node.data_dir / "snapshots").iterdir()}
        assert left == {".raftsnap"}
        puts.check()
