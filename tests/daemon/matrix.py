"""kill -9 of each role at each step of a change of membership, under a steady load: the table.

A row is one of the moments 55 to 68 at which a change can be hit; a column is who dies. Where the
moment is short the node dies at a failpoint (`raftd.failpoints.CHANGES`) and the line it writes
proves that it was there; where it lasts, the node says itself that it is in it before it is killed.
Of every cell the same is asked: nothing acknowledged is lost or doubled, whoever asked for the
change was told nothing untrue, the same command run again brings it to its end, and all members end
in one configuration with one history.

`make matrix` runs the whole; ``--only 57`` or ``--only 57:leader`` a part, ``--budget SECONDS``
begins no cell after that time. Exit status 1 if any cell failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from raft import majority
from raftwire import Code
from raftwire.errors import ExitCode, Outcome
from raftwire.proto.admin_pb2 import Configuration
from tests.cli.conftest import Ran
from tests.daemon.dying import arm, died
from tests.daemon.reshaping import (
    change,
    ctl,
    history,
    join,
    lead,
    member_status,
    phase,
    phases,
    role,
    same_configuration,
)
from tests.harness.processes import Cluster, Node, Writers, check_written, environment, wait_for

ROLES: Final = ("leader", "old", "new", "learner")
"""The leader; a voter of the old group; a voter of the new one alone; a learner."""

PATIENCE: Final = "25s"
"""That a command may take."""


@dataclass(frozen=True)
class Shape:
    """A change: from voters 1 to ``first`` and the learners ``joined`` to a target."""

    first: int
    joined: tuple[int, ...]
    voters: tuple[int, ...]
    learners: tuple[int, ...]
    roles: dict[str, int] = field(hash=False)
    options: tuple[str, ...] = ()

    @property
    def old(self) -> tuple[int, ...]:
        """The voters to begin with."""
        return tuple(range(1, self.first + 1))

    @property
    def target(self) -> tuple[str, ...]:
        """What names the target on the command line."""
        listed = [",".join(map(str, ids)) for ids in (self.voters, self.learners)]
        return ("--voters", listed[0], "--learners", listed[1])

    @property
    def ids(self) -> tuple[int, ...]:
        """All members of the target."""
        return (*self.voters, *self.learners)

    def goes_on_without(self, *dead: int) -> bool:
        """Whether writes go on in the joint state while these nodes are down."""
        return all(
            len(set(voters) - set(dead)) >= majority(len(voters))
            for voters in (self.old, self.voters)
        )


MIXED = Shape(3, (4, 5), (1, 2, 4), (5,), {"leader": 1, "old": 3, "new": 4, "learner": 5})
"""3 leaves, 4 takes its place, 5 listens. Any one may be down."""
LEAVING = Shape(3, (4, 5), (2, 3, 4), (5,), {"leader": 1, "old": 2, "new": 4, "learner": 5})
"""The leader leaves."""
DISJOINT = Shape(3, (4, 5, 6, 7), (4, 5, 6), (7,), {"leader": 1, "old": 2, "new": 4, "learner": 7})
"""Nobody stays."""
SHRINKING = Shape(3, (), (1,), (), {"leader": 1, "old": 2})
"""One stays."""
EVEN = Shape(2, (3, 4), (1, 2, 3, 4), (), {"leader": 1, "old": 2, "new": 3})
"""Even sizes: the old group survives no failure."""
DOOMED = Shape(3, (4, 5, 6), (1, 4, 5), (6,), {"leader": 2, "old": 3, "new": 4, "learner": 6})
"""Two of the three new voters die in the joint state."""
SHORT_LOG = ("--snapshot-entries", "40", "--compact-entries", "10", "--compact-trailing", "20")
COMPACTING = Shape(3, (4, 5), (1, 2, 4), (5,), MIXED.roles, SHORT_LOG)
SLOW = ("--snapshot-rate", "256KiB", "--compact-entries", "10", "--compact-trailing", "10")
PROMOTING = Shape(3, (5,), (1, 2, 3, 4), (5,), MIXED.roles, SLOW)
"""4 is added to be promoted when it has caught up, by a snapshot that takes seconds."""


class Scene:
    """A group that is written to, and a change of it in which somebody dies."""

    def __init__(self, group: Cluster, writers: Writers, shape: Shape, who: str) -> None:
        self.group = group
        self.writers = writers
        self.shape = shape
        self.who = who
        self.leads = shape.roles["leader"]
        self.asks = next(node_id for node_id in shape.old if node_id != shape.roles[who])
        """Where commands are given: a member that lives through it all."""

    @property
    def victim(self) -> Node:
        """Who dies; it may have to be started first."""
        return self.group[self.shape.roles[self.who]]

    def restart(self) -> None:
        """Start the victim again."""
        self.victim.start()
        wait_for("it to answer", lambda: role(self.group, self.victim.id) != "")

    def arm(self, place: str) -> None:
        """Have the victim die at a place, and the leader lead."""
        self.victim.kill()
        arm(self.victim, place)
        wait_for("it to come back", lambda: role(self.group, self.victim.id) != "")
        self.caught_up()
        lead(self.group, self.leads)

    def caught_up(self) -> None:
        """Wait until every learner follows: the change need not wait for anybody."""

        def near() -> bool:
            with self.group.client(*self.shape.old, timeout=10.0) as client:
                rows = client.progress().rows
            return all(row.state in ("replicate", "self") and row.lag < 500 for row in rows)

        wait_for("everybody to follow", near)

    def progress(self, *dead: int) -> None:
        """Wait for acknowledgements, if they can come while these are down."""
        if self.shape.goes_on_without(*dead):
            self.writers.wait_for_progress()

    def ask(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        socket = str(self.group[self.asks].socket)
        return subprocess.Popen(
            [sys.executable, "-m", "raftctl", "-s", socket, "--json", "--yes", "--timeout",
             PATIENCE, "member", *arguments],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def order(self, *arguments: str) -> Ran:
        """Give a command and wait for it."""
        return ctl(self.group, self.asks, "member", *arguments, "--timeout", PATIENCE)

    def done(self, *arguments: str) -> Ran:
        """Give a command that is to succeed."""
        ran = self.order(*arguments)
        assert ran.code == ExitCode.OK, (arguments, ran.out, ran.err)
        return ran

    def begin(self) -> None:
        """Go into the joint state and stay, everybody."""
        self.done("begin", *self.shape.target)
        everybody = {*self.shape.old, *self.shape.ids}
        wait_for("all to be joint", lambda: phases(self.group, *everybody) == {"joint"})

    def kill_joint(self) -> None:
        """Kill the victim, which says that it is in the joint state."""
        assert phase(self.group, self.victim.id) == "joint"
        self.victim.kill()

    def settled(self) -> tuple[int, ...]:
        """Wait until the group has a leader and no change under way; return the voters."""

        def found() -> Configuration | None:
            members = [i for i in {*self.shape.old, *self.shape.ids} if self.knows(i)]
            seen = member_status(self.group, self.group.settle(members))
            return seen.config if seen.phase == "stable" else None

        wait_for("no change to be under way", lambda: found() is not None)
        now = found()
        assert now is not None
        return tuple(sorted(now.voters))

    def knows(self, node_id: int) -> bool:
        """Whether a node runs and is a member."""
        return role(self.group, node_id) not in ("", "removed", "joining")

    def told(self, running: subprocess.Popen[str]) -> str:
        """Hold what a command said against what came of it; return the outcome in words."""
        out, errors = running.communicate(timeout=60)
        voters, target = self.settled(), tuple(sorted(self.shape.voters))
        if running.returncode == ExitCode.OK:
            assert voters == target, f"said to be done, and the voters are {voters}: {out}"
            return "done"
        error: dict[str, Any] = json.loads(out)["error"] if out else {}
        assert error, (running.returncode, out, errors)
        if error["outcome"] == Outcome.NOT_APPLIED:
            assert voters == self.shape.old, f"said to be not applied, and is: {error}"
            return f"refused ({error['code']})"
        assert error["outcome"] == Outcome.UNKNOWN, error
        return "finished by the next leader" if voters == target else "lost with its leader"

    def finish(self) -> None:
        """Run the command again until the target is reached, and compare all that anybody has."""
        members = [node_id for node_id in self.shape.ids if self.knows(node_id)]
        if not self.knows(self.asks):
            self.asks = members[0]
        again = self.done("change", *self.shape.target, "--json")
        assert again.data.get("unchanged") or again.data["after"]["voters"]
        self.compare(self.shape.ids, self.shape.voters)

    def compare(self, ids: tuple[int, ...], voters: tuple[int, ...]) -> None:
        """Wait until these are in one configuration; fail unless they have one history."""
        same_configuration(self.group, ids, voters)
        gone = {*self.shape.old, *self.shape.joined} - {*ids}
        left = {node_id for node_id in gone if self.group[node_id].running}
        wait_for("who left to know", lambda: {role(self.group, i) for i in left} <= {"removed"})
        written = self.writers.stop()
        assert written.acknowledged
        self.group.catch_up(ids)
        logs = [history(self.group, node_id) for node_id in ids]
        check_written(written, logs[0])
        histories = [[(entry.index, entry.term, entry.data) for entry in log] for log in logs]
        for node_id, one in zip(ids, histories, strict=True):
            differing = [
                pair for pair in zip(histories[0], one, strict=False) if pair[0] != pair[1]
            ]
            assert one == histories[0], (
                f"node {node_id} has another history than node {ids[0]}: {len(one)} entries and "
                f"{len(histories[0])}; the first that differ: {differing[:1]}"
            )


@contextmanager
def scene(shape: Shape, who: str) -> Iterator[Scene]:
    """Run a group with the new nodes as learners, written to through who lives."""
    with Cluster(shape.first, *shape.options) as group:
        group.start()
        join(group, *shape.joined, contacts=shape.old)
        with group.client(*shape.old, timeout=30.0) as client:
            for node_id in shape.joined:
                change(client, "add_learner", member=node_id)
        victim = shape.roles[who]
        through = [node_id for node_id in {*shape.old, *shape.voters} if node_id != victim]
        with Writers(group, per_node=1, ids=[i for i in through if i in group.nodes]) as writers:
            made = Scene(group, writers, shape, who)
            made.caught_up()
            lead(group, shape.roles["leader"])
            writers.wait_for_progress()
            yield made


# --- the rows -------------------------------------------------------------------------------------

Row = Callable[[str], str]
"""Kills a role at its moment, and says what became of the change."""


def at(place: str, shape: Shape = MIXED) -> Row:
    """Kill whoever comes to a place while ``member change`` goes on."""

    def row(who: str) -> str:
        with scene(shape, who) as it:
            it.arm(place)
            asked = it.ask("change", *shape.target)
            died(it.victim, place)
            it.progress(it.victim.id)
            it.restart()
            outcome = it.told(asked)
            it.finish()
            return outcome

    return row


def taken_back(place: str) -> Row:
    """Kill whoever comes to a place while ``member abort`` goes on."""

    def row(who: str) -> str:
        with scene(MIXED, who) as it:
            it.arm(place)
            it.begin()
            asked = it.ask("abort")
            died(it.victim, place)
            it.progress(it.victim.id)
            it.restart()
            out, errors = asked.communicate(timeout=60)
            outcome = "aborted"
            if asked.returncode != ExitCode.OK:
                assert json.loads(out)["error"]["outcome"] == Outcome.UNKNOWN, (out, errors)
                outcome = "aborted by the next leader"
                if member_status(it.group, it.asks, no_forward=False).phase == "joint":
                    it.done("abort")
                    outcome = "aborted when asked again"
            assert it.settled() == MIXED.old
            it.compare((*MIXED.old, *MIXED.joined), MIXED.old)
            return outcome

    return row


def while_joint(who: str) -> str:
    """58: who leads next still knows of the change, and an operator can end it."""
    with scene(MIXED, who) as it:
        it.begin()
        it.kill_joint()
        it.progress(it.victim.id)
        seen = member_status(it.group, it.asks, no_forward=False)
        assert seen.phase == "joint"
        missing = {node_id for one in seen.majorities for node_id in one.missing}
        assert missing == {it.victim.id} - {*MIXED.learners}
        it.done("finalize")
        it.restart()
        it.finish()
        return "pending, then finalized"


def leaver_returns(who: str) -> str:
    """62: who left without hearing of it comes back and campaigns, while somebody dies."""
    with scene(MIXED, who) as it:
        leaver = it.group[MIXED.roles["old"]]
        it.begin()
        leaver.kill()
        it.done("finalize")
        leader = it.group.settle([1, 2, 4, 5])
        before = it.group[leader].status()
        assert before is not None
        if it.victim is not leaver:
            it.victim.kill()
        leaver.start()
        wait_for("it to know that it left", lambda: role(it.group, leaver.id) == "removed")
        it.writers.wait_for_progress()
        if it.victim is not leaver:
            it.restart()
        now = it.group.settle([1, 2, 4, 5])
        after = it.group[now].status()
        assert after is not None
        if it.victim.id != leader:
            assert (after.term, now) == (before.term, leader), "it was disturbed"
        it.finish()
        return "done, not disturbed"


def wiped(who: str) -> str:
    """63: an id whose data is gone is not let in again, whether it left or not."""
    with scene(MIXED, who) as it:
        it.done("change", *MIXED.target)
        it.victim.kill()
        shutil.rmtree(it.victim.data_dir)
        it.progress(it.victim.id)
        it.victim.start()
        assert it.victim.wait() == 4, it.victim.last_lines()
        left = it.victim.id not in MIXED.ids
        code = Code.REMOVED_MEMBER if left else Code.DATA_LOST
        assert code in it.victim.last_lines(5)
        if left:
            ran = it.order("add", str(it.victim.id), it.victim.address, "--json")
            assert ran.json["error"]["code"] == Code.REMOVED_MEMBER
            it.finish()
            return "refused"
        join(it.group, 6, contacts=(1, 2, 3, 4))
        it.done("replace", str(it.victim.id), f"6={it.group[6].address}")
        now = {it.victim.id: 6}
        voters = tuple(now.get(node_id, node_id) for node_id in MIXED.voters)
        learners = tuple(now.get(node_id, node_id) for node_id in MIXED.learners)
        it.compare((*voters, *learners), voters)
        return "refused, then replaced"


def second_change(who: str) -> str:
    """64: another change while joint is refused, also by who leads after the death."""
    with scene(MIXED, who) as it:
        it.begin()
        it.kill_joint()
        for _ in range(2):
            ran = it.order("change", "--voters", "1,2", "--json")
            assert ran.code == ExitCode.PRECONDITION, ran.out
            assert ran.json["error"]["code"] == Code.ALREADY_JOINT
        assert member_status(it.group, it.asks, no_forward=False).phase == "joint"
        it.progress(it.victim.id)
        it.restart()
        it.done("finalize")
        it.finish()
        return "refused, the first finalized"


def new_majority_dead(who: str) -> str:
    """65: it is said who is missing, and the old majority takes the change back."""
    with scene(DOOMED, who) as it:
        it.begin()
        for node_id in {4, 5, it.victim.id}:
            it.group[node_id].kill()

        def said() -> bool:
            seen = member_status(it.group, it.asks)
            new = next((one for one in seen.majorities if one.name == "incoming"), None)
            return new is not None and [*new.missing] == [4, 5] and not new.satisfied

        wait_for("the missing to be named", said)
        assert "raftctl member abort" in member_status(it.group, it.asks).advice
        it.done("abort", *(["--campaign"] if who == "leader" else []))
        it.writers.wait_for_progress()
        it.group.start()
        it.compare((1, 2, 3, 4, 5, 6), (1, 2, 3))
        return "aborted"


def while_taking_a_snapshot(who: str) -> str:
    """66: the learner to be promoted is far behind, and takes seconds to catch up."""
    with scene(PROMOTING, who) as it:
        with it.group.client(*PROMOTING.old, timeout=30.0) as client:
            for number in range(10):
                client.propose(b"%d" % number * 100_000)
        lead(it.group, it.leads)
        join(it.group, 4, contacts=(1, 2, 3))
        it.done("add", "4", "--no-wait")

        def taking() -> bool:
            with it.group.client(*PROMOTING.old, timeout=10.0) as client:
                return any(r.id == 4 and r.state == "snapshot" for r in client.progress().rows)

        wait_for("it to take a snapshot", taking)
        ran = it.order("promote", "4", "--json")
        assert ran.json["error"]["code"] == Code.LEARNER_LAGGING, ran.out
        assert taking()
        it.victim.kill()
        it.progress(it.victim.id)
        it.restart()
        same_configuration(it.group, PROMOTING.ids, PROMOTING.voters)
        it.compare(PROMOTING.ids, PROMOTING.voters)
        return "promoted in the end"


def across_a_snapshot(who: str) -> str:
    """67: who dies has made a snapshot in the joint state and dropped its Begin from the log."""
    with scene(COMPACTING, who) as it:
        it.begin()
        begun = member_status(it.group, it.victim.id).config.begin_index

        def dropped() -> bool:
            with it.victim.client() as client:
                snapshots = client.snapshot_list().snapshots
                return (
                    any(one.index > begun for one in snapshots)
                    and client.log_stat().first_index > begun
                )

        wait_for("the Begin to be dropped from the log", dropped)
        it.kill_joint()
        # Until those who live have dropped what it would need next.
        it.writers.wait_for_progress(150)
        it.restart()
        wait_for("it to be joint again", lambda: phase(it.group, it.victim.id) == "joint")
        it.caught_up()
        assert phase(it.group, it.victim.id) == "joint"
        it.done("finalize")
        it.finish()
        return "joint after the restart, finalized"


DEATHS: Final[dict[str, tuple[str, str, Shape]]] = {
    "55": ("before Begin is appended", "begin.append", MIXED),
    "55p": ("looked into, not proposed", "change.propose", MIXED),
    "56": ("Begin appended, not committed", "begin.durable", MIXED),
    "57": ("Begin committed, not applied here", "begin.apply", MIXED),
    "57w": ("Begin applied, not written", "begin.applied", MIXED),
    "57s": ("Begin in force, nobody has heard", "change.seen", MIXED),
    "59": ("Finalize appended, not committed", "finalize.durable", MIXED),
    "59a": ("before Finalize is appended", "finalize.append", MIXED),
    "60": ("Finalize applied, not written: twice", "finalize.applied", MIXED),
    "61": ("the leader leaves by it", "finalize.apply", LEAVING),
    "68": ("no common member", "finalize.durable", DISJOINT),
    "68s": ("one of three stays", "finalize.durable", SHRINKING),
    "68e": ("two become four", "begin.applied", EVEN),
}
"""By item: the moment, the place that a node dies at, and the change."""

TAKEN_BACK: Final = {
    "65a": ("before Rollback is appended", "rollback.append"),
    "65d": ("Rollback appended, not committed", "rollback.durable"),
    "65c": ("Rollback committed, not applied here", "rollback.apply"),
    "65w": ("Rollback applied, not written", "rollback.applied"),
}
"""The same of a change that is taken back."""

ROWS: Final[dict[str, tuple[str, Row]]] = dict(
    sorted(
        {
            **{item: (words, at(place, shape)) for item, (words, place, shape) in DEATHS.items()},
            **{item: (words, taken_back(place)) for item, (words, place) in TAKEN_BACK.items()},
            "58": ("in the joint state", while_joint),
            "62": ("who left comes back", leaver_returns),
            "63": ("the disk is gone", wiped),
            "64": ("a second change", second_change),
            "65": ("the new majority is dead", new_majority_dead),
            "66": ("a learner takes a snapshot", while_taking_a_snapshot),
            "67": ("Begin is in a snapshot only", across_a_snapshot),
        }.items()
    )
)
"""By item: the moment, and what is done then."""

ONLY: Final = {
    "55p": ("leader",),
    "68s": tuple(SHRINKING.roles),
    "68e": tuple(EVEN.roles),
}
"""Rows that not everybody can be in."""


def cells(only: str = "") -> list[tuple[str, str]]:
    """Return the cells to run: all, those of one item (``57``), or one (``57:leader``)."""
    item, _, who = only.partition(":")
    return [
        (name, one)
        for name in ROWS
        for one in ONLY.get(name, ROLES)
        if item in ("", name) and who in ("", one)
    ]


def run(item: str, who: str) -> str:
    """Run one cell and return what became of the change; raises if anything is not as it must."""
    return ROWS[item][1](who)


def main() -> int:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.daemon.matrix", description=__doc__)
    parser.add_argument("--only", default="", metavar="ITEM[:ROLE]", help="a part of the table")
    parser.add_argument("--budget", type=float, default=3600.0, metavar="SECONDS")
    options = parser.parse_args()
    end = time.monotonic() + options.budget
    chosen = cells(options.only)
    found: dict[tuple[str, str], str] = {}
    for item, who in chosen:
        if time.monotonic() > end:
            break
        started = time.monotonic()
        try:
            found[item, who] = run(item, who)
        except Exception:
            traceback.print_exc()
            found[item, who] = "FAILED"
        took = time.monotonic() - started
        print(f"{item:4} {who:8} {took:5.1f} s  {found[item, who]}", flush=True)
    print()
    for item in dict.fromkeys(item for item, _ in chosen):
        print(f"{item:4} {ROWS[item][0]}")
        for who in ROLES:
            if (item, who) in chosen:
                print(f"       {who:8} {found.get((item, who), 'not run')}")
    failed = sum(outcome == "FAILED" for outcome in found.values())
    print(f"\n{len(found)} of {len(chosen)} cells run, {failed} failed")
    for outcome, count in Counter(found.values()).most_common():
        print(f"  {count:3}  {outcome}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
