"""How much of the log is held for members that are given snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from raft import Config, MemStorage, RawNode, StateRole
from raft.core import Raft
from raftd.snapshot import SnapshotFile, SnapshotManifest, SnapshotStore
from raftd.snapshot_hold import UNHEARD_SECONDS, Hold
from raftd.storage import LogStore


class Sent:
    """Transfers that a test makes up."""

    def __init__(self) -> None:
        self.delivered: dict[int, int] = {}
        self.files: dict[int, SnapshotFile] = {}
        self.forgotten: list[int] = []
        self.forgot_all = 0

    def under_way(self, to: int) -> SnapshotFile | None:
        return self.files.get(to)

    def forget(self, to: int) -> None:
        self.forgotten.append(to)

    def forget_all(self) -> None:
        self.forgot_all += 1


class Scene:
    """Node 1 of three, its log from 101 to 200, with a snapshot at 150."""

    def __init__(self, *, leads: bool = True) -> None:
        node = RawNode(Config(id=1), MemStorage.new_with_conf_state(([1, 2, 3], [])))
        self.raft = node.raft
        if leads:
            self.raft.state, self.raft.leader_id = StateRole.Leader, 1
        self.sent = Sent()
        self.newest = 150
        self.now = 0.0
        self.hold = Hold(
            cast(Raft[LogStore], self.raft), self.sent, lambda: self.newest, lambda: self.now
        )
        for member in (2, 3):
            self.at(member, 200)

    def at(self, member: int, matched: int, *, heard: bool = True) -> None:
        progress = self.raft.prs.get(member)
        assert progress is not None
        progress.matched, progress.recent_active = matched, heard

    def needed(self) -> int:
        return self.hold.needed_from(101, 190)


def test_nothing_is_held_for_members_that_are_fed_from_the_log() -> None:
    scene = Scene()
    assert scene.needed() == 0
    scene.at(2, 100)
    assert scene.needed() == 0, "its next entry is the first of the log"


def test_what_follows_the_snapshot_that_a_member_will_get_is_held() -> None:
    scene = Scene()
    scene.at(2, 99)
    assert scene.needed() == 151
    scene.newest = -1
    assert scene.needed() == 101, "which one it will be is not known yet"
    scene.newest = 90
    assert scene.needed() == 0, "that one is of no use: a new one will be made"


def test_a_member_that_was_given_one_is_waited_for_until_it_is_near() -> None:
    scene = Scene()
    scene.sent.delivered[2] = 120
    scene.at(2, 0)
    assert scene.needed() == 121
    scene.at(2, 180)
    assert scene.needed() == 181
    scene.at(2, 190)
    assert scene.needed() == 0
    assert scene.sent.delivered == {}


def test_a_silent_member_is_waited_for_so_long_and_no_longer() -> None:
    scene = Scene()
    scene.at(2, 0, heard=False)
    assert scene.needed() == 151, "a leader has heard nobody at first"
    scene.now = UNHEARD_SECONDS
    assert scene.needed() == 151
    scene.now += 0.1
    assert scene.needed() == 0
    assert scene.sent.forgotten == [2]
    scene.at(2, 0)
    assert scene.needed() == 151


def test_who_does_not_lead_holds_nothing_and_who_knows_no_leader_all() -> None:
    scene = Scene(leads=False)
    scene.raft.leader_id = 0
    assert scene.needed() == 101
    scene.raft.leader_id = 3
    assert scene.needed() == 0
    assert scene.sent.forgot_all == 1


def test_parts_of_snapshots_that_the_node_has_passed_are_removed(short_dir: Path) -> None:
    passed, ahead = "9-1-0123456789abcdef", "30-1-0123456789abcdef"
    SnapshotStore(short_dir).receive(SnapshotManifest(passed, 10, bytes(32))).write(0, b"half")
    files = SnapshotStore(short_dir)
    files.forget_parts(8)
    assert [path.stem for path in short_dir.iterdir()] == [passed]
    files.forget_parts(9)
    assert list(short_dir.iterdir()) == []
    files.receive(SnapshotManifest(ahead, 10, bytes(32))).write(0, b"half")
    files.forget_parts(29)
    assert [path.stem for path in short_dir.iterdir()] == [ahead]
