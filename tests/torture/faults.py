"""What is done to a group: each kind begins, holds, ends, and says whether it provably happened."""

from __future__ import annotations

import random
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import ClassVar, Final

from raftd.failpoints import PLACES
from raftwire import AdminError
from tests.harness.processes import wait_for
from tests.torture.proxy import CHOKED, CUT, DEAF, DRIP, SLOW, all_links, between, into, out_of
from tests.torture.scene import Scene

_KEPT: Final = 150
"""Entries left in a log that is cut so that a node needs a snapshot."""

Progress = Callable[[int], None]
"""Waits until so many further writes are acknowledged."""


class Fault(ABC):
    """One thing done to the group.

    Args:
        scene: The group.
        rng: Draws whatever there is to draw.
        progress: Waits for the clients.
    """

    name: ClassVar[str]
    weight: ClassVar[float] = 1.0
    kind: ClassVar[str]
    """The word by which it is chosen on the command line."""
    alone: ClassVar[bool] = False
    """Whether it is never combined with another."""

    def __init__(self, scene: Scene, rng: random.Random, progress: Progress) -> None:
        self.scene = scene
        self.rng = rng
        self.progress = progress
        self.note = ""
        """What it did, in words; for the report of a failure."""

    @abstractmethod
    def begin(self) -> None:
        """Do it."""

    def end(self) -> None:  # noqa: B027  (what undoes itself has nothing to do)
        """Undo it."""

    @abstractmethod
    def happened(self) -> bool:
        """Whether it provably happened; asked before it ends."""

    @property
    def hold(self) -> float:
        """Seconds that it lasts."""
        return self.rng.choice((0.05, 0.3, 1.0, 2.5))

    def some(self, count: int) -> list[int]:
        """Draw nodes that are members and run."""
        here = self.scene.answering()
        return sorted(self.rng.sample(here, min(count, len(here))))

    def minority(self) -> int:
        """Return how many may fail."""
        return (len(self.scene.nodes) - 1) // 2


# --- processes ----------------------------------------------------------------------------------


class Kill(Fault):
    """kill -9 of one node."""

    name = "kill one"
    kind = "kill"
    weight = 3.0
    died = 0

    def __init__(self, scene: Scene, rng: random.Random, progress: Progress) -> None:
        super().__init__(scene, rng, progress)
        self.victims: list[int] = []

    def choose(self) -> list[int]:
        """Draw the victims."""
        return self.some(1)

    def begin(self) -> None:
        self.victims = self.choose()
        self.note = f"{self.victims}"
        self.died = self.scene.strike(self.victims)

    def end(self) -> None:
        self.scene.revive(self.victims)

    def happened(self) -> bool:
        return self.died == len(self.victims) > 0


class KillLeader(Kill):
    """kill -9 of the leader."""

    name = "kill leader"
    weight = 4.0

    def choose(self) -> list[int]:
        return [self.scene.leader_or_any()]


class KillMajority(Kill):
    """kill -9 of a majority."""

    name = "kill majority"
    weight = 2.0

    def choose(self) -> list[int]:
        return self.some(self.minority() + 1)


class KillAll(Kill):
    """kill -9 of all nodes at once."""

    name = "kill all"
    weight = 4.0

    def choose(self) -> list[int]:
        return self.scene.answering()


class KillStarting(Kill):
    """kill -9 of one node, and again several times while it starts and recovers."""

    name = "kill while starting"
    weight = 2.0
    TIMES: ClassVar[int] = 3

    def begin(self) -> None:
        super().begin()
        for _ in range(self.TIMES):
            self.scene.revive(self.victims)
            time.sleep(self.rng.uniform(0.1, 1.2))
            self.died += self.scene.strike(self.victims)

    def happened(self) -> bool:
        return self.died == (1 + self.TIMES) * len(self.victims) > 0

    @property
    def hold(self) -> float:
        return 0.05


class Crash(Fault):
    """A node dies at a named place of its code; it is started again, and dies there again."""

    name = "crash in the main loop"
    kind = "crash"
    weight = 3.0
    alone = True
    PLACES: ClassVar[tuple[str, ...]] = (
        "persist",
        "written",
        "durable",
        "apply",
        "applied",
        "answer",
        "vote",
    )
    MOST: ClassVar[int] = 60
    """The node passes the place at most so often before it dies there."""

    def begin(self) -> None:
        scene = self.scene
        self.place = self.rng.choice(self.PLACES)
        self.name_told = f"crash at {self.place}"
        self.victim = scene.leader_or_any() if self.rng.random() < 0.5 else self.some(1)[0]
        node = scene.node(self.victim)
        self.before = node.said(f"failpoint {self.place} hit")
        scene.strike([self.victim])
        self.prepare()
        times = 1 if self.place == "vote" else self.rng.randint(1, self.MOST)
        node.variables["RAFTD_FAIL"] = f"{self.place}:{times}"
        self.note = f"{self.victim} at {node.variables['RAFTD_FAIL']}"
        node.start()
        end = time.monotonic() + 8.0
        while node.running and time.monotonic() < end:
            if node.status() is not None:
                self.provoke()
            time.sleep(0.01)
        self.died = not node.running and node.wait() == -signal.SIGKILL
        scene.deaths += self.died

    def prepare(self) -> None:
        """Do what must be done while the node is down."""

    def provoke(self) -> None:
        """Have the node come to the place; called again and again until it has."""
        if self.place != "vote":
            return  # The clients see to it.
        # Votes are rare: have somebody who does not lead ask for them.
        leader = self.scene.leader_or_any()
        others = [i for i in self.scene.answering() if i != leader]
        if others:
            to = self.rng.choice(others)
            self.scene.asked(lambda client: client.transfer_leader(to), 0.5)

    def end(self) -> None:
        node = self.scene.node(self.victim)
        node.variables.pop("RAFTD_FAIL", None)
        node.kill()
        self.scene.revive([self.victim])

    def happened(self) -> bool:
        node = self.scene.node(self.victim)
        return self.died and node.said(f"failpoint {self.place} hit") > self.before


class CrashMaking(Crash):
    """A node dies while it makes a snapshot, or drops the beginning of its log."""

    name = "crash making a snapshot or compacting"
    weight = 1.5
    PLACES = tuple(
        place
        for place in PLACES
        if place.startswith("compact.")
        or place.removeprefix("snapshot.")
        in ("begin", "write", "rename", "renamed", "made", "prune")
    )
    MOST = 2

    def provoke(self) -> None:
        with suppress(AdminError), self.scene.node(self.victim).client() as client:
            if self.place.startswith("compact."):
                client.compact(keep=self.rng.randint(1, _KEPT), force=True)
            else:
                client.snapshot_create()


class CrashInstalling(Crash):
    """A node that lags dies while it takes in the snapshot that it is sent."""

    name = "crash installing a snapshot"
    weight = 1.5
    PLACES = tuple(
        place
        for place in PLACES
        if place.removeprefix("snapshot.")
        in ("chunk", "received", "stage", "staged", "install", "installed")
    )
    MOST = 1

    def prepare(self) -> None:
        self.progress(3 * _KEPT)
        cut_logs(self.scene)


def cut_logs(scene: Scene) -> str:
    """Have all nodes that answer drop what they can of their logs; return the last refusal."""
    said = ""
    scene.read_log()
    for node_id in scene.answering():
        with scene.nodes[node_id].client() as client:
            try:
                client.compact(keep=_KEPT, force=True)
            except AdminError as error:
                said = str(error)
    return said


class Pause(Fault):
    """SIGSTOP of some node, SIGCONT later."""

    name = "pause one"
    kind = "pause"
    stopped = False

    def choose(self) -> list[int]:
        """Draw the victims."""
        return self.some(1)

    def begin(self) -> None:
        victims = self.choose()
        self.note = f"{victims}"
        self.stopped = self.scene.freeze(victims)

    def end(self) -> None:
        self.scene.thaw()

    def happened(self) -> bool:
        return self.stopped


class PauseLeader(Pause):
    """SIGSTOP of the leader for longer than an election takes."""

    name = "pause leader"
    weight = 2.0

    def choose(self) -> list[int]:
        return [self.scene.leader_or_any()]

    @property
    def hold(self) -> float:
        return self.rng.choice((0.2, 2.0, 4.0))


class PauseAll(Pause):
    """SIGSTOP of all."""

    name = "pause all"

    def choose(self) -> list[int]:
        return self.scene.answering()


# --- links --------------------------------------------------------------------------------------


class Links(Fault):
    """Some links are under a rule."""

    kind = "net"
    mode: ClassVar[str] = CUT

    @abstractmethod
    def links(self) -> Iterable[tuple[int, int]]:
        """Draw the links."""

    def begin(self) -> None:
        chosen = sorted(set(self.links()))
        self.note = f"{chosen}"
        self.scene.network.rule(chosen, self.mode, self.rng.choice((0.02, 0.1, 0.4)))

    def end(self) -> None:
        self.scene.network.heal()

    def happened(self) -> bool:
        return self.scene.network.touched() > 0

    @property
    def hold(self) -> float:
        return self.rng.choice((0.3, 1.5, 3.0))

    def ids(self) -> list[int]:
        """Return all nodes."""
        return sorted(self.scene.nodes)

    def one(self) -> int:
        """Draw the leader or anyone."""
        if self.rng.random() < 0.5:
            return self.scene.leader_or_any()
        return self.rng.choice(self.ids())


class Isolate(Links):
    """One node is cut off from all others."""

    name = "isolate one"

    def links(self) -> Iterable[tuple[int, int]]:
        return between([self.one()], self.ids())


class Split(Links):
    """A minority with the leader in it is cut off from the majority."""

    name = "split"

    def links(self) -> Iterable[tuple[int, int]]:
        leader = self.scene.leader_or_any()
        others = [i for i in self.ids() if i != leader]
        with_leader = self.rng.sample(others, max(0, self.minority() - 1))
        return between([leader, *with_leader], set(others) - set(with_leader))


class Dumb(Links):
    """One node hears and is not heard."""

    name = "one-way out"

    def links(self) -> Iterable[tuple[int, int]]:
        return out_of([self.one()], self.ids())


class Hearing(Links):
    """One node is heard and does not hear."""

    name = "one-way in"

    def links(self) -> Iterable[tuple[int, int]]:
        return into([self.one()], self.ids())


class Bridge(Links):
    """Two halves that only one node hears and is heard by."""

    name = "bridge"

    def links(self) -> Iterable[tuple[int, int]]:
        ids = self.ids()
        self.rng.shuffle(ids)
        half = (len(ids) - 1) // 2
        return between(ids[1 : 1 + half], ids[1 + half :])


class Ring(Links):
    """Each node is connected to its neighbours in a ring alone."""

    name = "ring"

    def links(self) -> Iterable[tuple[int, int]]:
        ids = self.ids()
        self.rng.shuffle(ids)
        near = {frozenset((a, b)) for a, b in zip(ids, ids[1:] + ids[:1], strict=True)}
        if len(ids) <= 3:
            near.pop()
        return [link for link in all_links(ids) if frozenset(link) not in near]


class Scattered(Links):
    """Nobody is connected to anybody."""

    name = "all links cut"

    def links(self) -> Iterable[tuple[int, int]]:
        return all_links(self.ids())


class Random(Links):
    """Links cut at random, each way by itself."""

    name = "random links cut"

    def links(self) -> Iterable[tuple[int, int]]:
        links = all_links(self.ids())
        return self.rng.sample(links, self.rng.randint(1, len(links) - 1))


class Flapping(Isolate):
    """The links of one node go and come several times."""

    name = "flapping"

    def begin(self) -> None:
        super().begin()
        links = sorted(set(self.links()))
        self.times = 0
        for _ in range(6):
            self.scene.network.rule(links, CUT)
            time.sleep(self.rng.uniform(0.1, 0.4))
            self.times += self.scene.network.touched()
            self.scene.network.heal()
            time.sleep(self.rng.uniform(0.1, 0.4))

    def happened(self) -> bool:
        return self.times > 0

    @property
    def hold(self) -> float:
        return 0.0


class HalfOpen(Random):
    """Links that swallow everything and stay open."""

    name = "half-open"
    mode = DEAF


class Choked(Random):
    """Links on which nothing is read for a while, and what waited comes late."""

    name = "zero window"
    mode = CHOKED


class Slow(Random):
    """Links that deliver later."""

    name = "delay"
    mode = SLOW


class Drip(Random):
    """Links that deliver a few bytes at a time."""

    name = "slow drip"
    mode = DRIP


# --- leadership and snapshots --------------------------------------------------------------------


class Transfer(Fault):
    """Leadership is handed to some other node."""

    name = "transfer"
    kind = "transfer"
    moved = False

    def begin(self) -> None:
        leader = self.scene.leader_or_any()
        others = [i for i in self.scene.nodes if i != leader and i in self.scene.answering()]
        if not others:
            return
        to = self.rng.choice(others)
        self.note = f"{leader} to {to}"
        said = self.scene.asked(lambda client: client.transfer_leader(to), 3.0)
        self.moved = not said and self.scene.leader_or_any() != leader

    def happened(self) -> bool:
        return self.moved


class Lag(Fault):
    """A node misses so much that it needs a snapshot, and gets one."""

    name = "snapshot to a lagging node"
    kind = "snapshot"
    alone = True
    done = False

    def begin(self) -> None:
        scene = self.scene
        leader = scene.leader_now()
        others = [i for i in scene.answering() if i != leader]
        if not others:
            return
        self.victim = self.rng.choice(others)
        self.note = f"{self.victim}"
        before = scene.node(self.victim).status()
        scene.strike([self.victim])
        self.progress(3 * _KEPT)
        if said := cut_logs(scene):
            self.note += f" ({said})"
        scene.revive([self.victim])
        floor = before.last_index if before is not None else 0

        def caught_up() -> bool:
            status = scene.node(self.victim).status()
            # Its log begins beyond what it held: a snapshot brought it there.
            self.done = status is not None and status.first_index > floor + 1
            return self.done

        try:
            wait_for("the snapshot to arrive", caught_up, 15.0)
        except AssertionError as error:
            self.note += f" ({error})"

    def happened(self) -> bool:
        return self.done
