"""Changes of membership under torture: with somebody killed in the middle, or at a named step."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import ClassVar, Final

from raftd.failpoints import CHANGES
from raftwire import AdminError, Client
from tests.harness.checkers import Violation
from tests.harness.processes import wait_for
from tests.torture.faults import Crash, CrashInstalling, Fault
from tests.torture.scene import Scene

_TIMES: Final = 5
"""How often a change is asked for again before it is said that it cannot be ended."""


def newcomer(scene: Scene) -> int:
    """Start a new node; return its id once the leader has heard of it."""
    new = scene.last_id + 1
    scene.join(new, *scene.answering()[:3])

    def known() -> bool:
        found = False

        def look(client: Client) -> None:
            nonlocal found
            found = new in client.member_status().addrs

        scene.asked(look, 1.0)
        return found

    wait_for(f"node {new} to be known", known)
    return new


def _in_brackets(said: str) -> str:
    return f" ({said})" if said else ""


class Membership(Fault):
    """A change of membership, with the leader killed in the middle of some."""

    kind = "member"
    alone = True
    done = False
    weight = 1.0

    def settled(self, voters: Iterable[int]) -> bool:
        """Wait until nothing is pending; return whether these are the voters."""
        target = sorted(voters)

        def stable() -> bool:
            status = self.scene.nodes[self.scene.leader_now()].status()
            return status is not None and not status.config.voters_outgoing

        wait_for("the group to leave the joint state", stable)
        return self.scene.voters() == target

    def leave_out(self, gone: int) -> None:
        """Forget a node that was removed."""
        if gone not in self.scene.voters():
            self.scene.drop(gone)

    def stir(self) -> None:
        """Perhaps kill somebody in the middle, or hand leadership over."""
        what = self.rng.random()
        if what < 0.35:
            victim = self.scene.leader_now()
            self.note += f", leader {victim} killed"
            self.scene.strike([victim])
            self.scene.revive([victim])
        elif what < 0.5:
            self.note += ", all killed"
            self.scene.strike(self.scene.answering())
            self.scene.revive()
        elif what < 0.65:
            self.note += ", transfer"
            self.scene.asked(lambda client: client.transfer_leader(0), 3.0)

    @property
    def hold(self) -> float:
        return 0.0

    def happened(self) -> bool:
        return self.done


class Replace(Membership):
    """One joint change brings a new voter in and an old one out: begin, stir, finalize."""

    name = "begin and finalize"
    weight = 1.5

    def begin(self) -> None:
        scene = self.scene
        old = scene.voters()
        new = newcomer(scene)
        gone = self.rng.choice(old)
        target = sorted({*old, new} - {gone})
        self.note = f"{old} to {target}"
        said = scene.asked(lambda client: client.member_begin(target))
        self.note += _in_brackets(said)
        self.stir()
        self.progress(5)
        said = scene.asked(lambda client: client.member_finalize())
        self.note += _in_brackets(said)
        self.done = self.settled(target)
        self.leave_out(gone)
        if new not in scene.voters():
            scene.drop(new)


class Abort(Membership):
    """A joint change is begun and given up."""

    name = "begin and abort"
    weight = 1.5

    def begin(self) -> None:
        scene = self.scene
        old = scene.voters()
        new = newcomer(scene)
        target = sorted({*old[1:], new})
        self.note = f"{old} to {target} and back"
        said = scene.asked(lambda client: client.member_begin(target))
        began = not said
        self.note += _in_brackets(said)
        self.stir()
        self.progress(5)
        said = scene.asked(lambda client: client.member_abort())
        self.note += _in_brackets(said)
        self.done = self.settled(old) and (began or "NOT_JOINT" not in self.note)
        if new not in scene.voters():
            scene.drop(new)


class AddRemove(Membership):
    """A learner is added and becomes a voter; then an old voter is removed."""

    name = "add and remove"

    def begin(self) -> None:
        scene = self.scene
        old = scene.voters()
        new = newcomer(scene)
        address = scene.nodes[new].address
        self.note = f"add {new}"
        scene.asked(lambda client: client.member_add(new, address))
        self.stir()
        wait_for("the new node to be a voter", lambda: new in scene.voters())
        gone = self.rng.choice(old)
        self.note += f", remove {gone}"
        scene.asked(lambda client: client.member_remove(gone))
        self.done = self.settled({*old, new} - {gone})
        self.leave_out(gone)


class Demote(Membership):
    """A voter is made a learner, and a voter again."""

    name = "demote and promote"

    def begin(self) -> None:
        scene = self.scene
        old = scene.voters()
        victim = self.rng.choice(old)
        self.note = f"{victim} of {old}"
        scene.asked(lambda client: client.member_demote(victim))
        demoted = self.settled(set(old) - {victim})
        self.stir()
        scene.asked(lambda client: client.member_promote(victim))
        self.done = self.settled(old) and demoted


# --- deaths in the middle -------------------------------------------------------------------------


class CrashChanging(Membership):
    """A node dies at a step of a change that brings a new node in and takes an old one out.

    Whoever it was is started again, the change is asked for once more, and must come to its end:
    the new group, or the old one if the change was to be taken back, and nobody left behind who
    does not know in which he is.
    """

    name = "crash changing the membership"
    kind = "crash"
    weight = 2.0
    PLACES: ClassVar[tuple[str, ...]] = tuple(CHANGES)
    died = False

    def begin(self) -> None:
        scene, rng = self.scene, self.rng
        self.place = rng.choice(self.PLACES)
        self.name_told = f"crash at {self.place}"
        self.back = self.place.startswith("rollback.")
        self.old = scene.voters()
        self.new = newcomer(scene)
        self.gone = rng.choice(self.old)
        self.target = sorted({*self.old, self.new} - {self.gone})
        # Only who leads proposes.
        leads = self.place == "change.propose" or rng.random() < 0.4
        # Who is new need not hear of it if the change is taken back.
        self.victim = rng.choice(self.old if leads or self.back else [*self.old, self.new])
        node = scene.node(self.victim)
        self.note = f"{self.victim} at {self.place}, {self.old} to {self.target}"
        self.before = node.said(f"failpoint {self.place} hit")
        scene.strike([self.victim])
        node.variables["RAFTD_FAIL"] = self.place
        node.start()
        wait_for(f"node {self.victim} to answer", lambda: node.status() is not None)
        if leads:
            said = scene.asked(lambda client: client.transfer_leader(self.victim), 5.0)
            self.note += ", leading" if not said else f", not leading ({said})"
        self.ask(5.0)
        with suppress(AssertionError):
            wait_for("it to die", lambda: not node.running, 5.0)
        self.died = not node.running and node.wait() == -signal.SIGKILL
        scene.deaths += self.died

    def ask(self, seconds: float) -> None:
        """Ask for the change, and for its end."""
        scene, addresses = self.scene, {self.new: self.scene.nodes[self.new].address}

        def begin(client: Client) -> None:
            client.member_begin(self.target, addrs=addresses, auto_finalize=not self.back)

        self.note += _in_brackets(scene.asked(begin, seconds))
        if self.back:
            self.note += _in_brackets(scene.asked(lambda client: client.member_abort(), seconds))

    def end(self) -> None:
        scene = self.scene
        node = scene.node(self.victim)
        node.variables.pop("RAFTD_FAIL", None)
        node.kill()
        scene.revive([self.victim])
        wanted = self.old if self.back else self.target
        for _ in range(_TIMES):
            if self.settled(wanted):
                break
            self.ask(10.0)
        else:
            raise Violation("membership", f"asked again, it does not come to {wanted}: {self.note}")
        if self.back:
            scene.drop(self.new)
            return

        def knows() -> bool:
            status = scene.nodes[self.gone].status()
            return status is not None and status.role == "removed"

        wait_for(f"node {self.gone} to know that it has left", knows)
        scene.drop(self.gone)

    def happened(self) -> bool:
        node = self.scene.node(self.victim)
        return self.died and node.said(f"failpoint {self.place} hit") > self.before


class CrashMoving(Crash):
    """A node dies as it applies that a member has another address."""

    name = "crash at an address"
    weight = 0.5
    PLACES = ("address.applied",)
    MOST = 1

    def prepare(self) -> None:
        self.moves = self.rng.choice(sorted(self.scene.nodes))
        self.home = self.scene.nodes[self.moves].address
        port = self.home.rpartition(":")[2]
        # The same place by another name: nobody listens elsewhere meanwhile.
        self.there = f"localhost:{port}"

    def provoke(self) -> None:
        self.move(self.there, 1.0)

    def move(self, to: str, seconds: float) -> None:
        """Ask for the address to be changed."""
        self.scene.asked(lambda client: client.member_set_addr(self.moves, to), seconds)

    def end(self) -> None:
        super().end()
        for address in (self.there, self.home):
            self.move(address, 10.0)
            wait_for(f"all to know {address}", partial(self.all_know, address))

    def all_know(self, address: str) -> bool:
        """Whether every node takes this for the address."""
        found = []
        for node in self.scene.all():
            with suppress(AdminError), Client(str(node.socket), no_forward=True) as client:
                found.append(client.member_status().addrs[self.moves])
        return found == [address] * len(self.scene.nodes)


class CrashInstallingMembers(CrashInstalling):
    """A node dies as it takes in a snapshot that brings it another configuration."""

    name = "crash installing a snapshot with another configuration"
    weight = 1.0

    def prepare(self) -> None:
        scene = self.scene
        self.new = newcomer(scene)
        address = scene.nodes[self.new].address
        scene.asked(lambda client: client.member_add_learner(self.new, address))
        super().prepare()

    def end(self) -> None:
        super().end()
        self.scene.asked(lambda client: client.member_remove(self.new))
        self.scene.drop(self.new)
