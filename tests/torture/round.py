"""One group, some minutes of faults drawn from a seed, and the judgement of what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Final

from raftwire import AdminError, Client
from tests.harness.checkers import Violation
from tests.harness.processes import DEADLINE, wait_for
from tests.torture import remains
from tests.torture.faults import Fault
from tests.torture.judge import Replay, check_by_search, check_with_log
from tests.torture.kinds import KINDS
from tests.torture.recovery import STAMP, Recovery, events, linked_at, timeline
from tests.torture.scene import Scene
from tests.torture.summary import Tally
from tests.torture.workload import Collector, Workload

PROGRESS: Final = 5
"""Writes that must be acknowledged between two faults."""


@dataclass
class Round:
    """A round's settings, drawn from its seed.

    Attributes:
        seed: What all is drawn from.
        seconds: How long faults go on.
        kinds: The faults there may be.
        tell: Is told what goes on.
        make: The scene.
        keep: Where the remains go if it fails; None: nowhere.
        stop: Once set, the faults end early; what there was of them is judged.
        tally: What was done; to be counted only when `run` has returned.
    """

    seed: int
    seconds: float
    kinds: Sequence[type[Fault]] = KINDS
    tell: Callable[[str], None] = lambda _: None
    make: Callable[..., Scene] = Scene
    keep: Path | None = None
    stop: Event = field(default_factory=Event)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._told: list[str] = []
        self._workload: Workload | None = None
        self._collector: Collector | None = None
        rng = self.rng = random.Random(f"round {self.seed}")
        self.size = rng.choice((3, 3, 3, 5))
        self.election = rng.choice((0.5, 1.0))
        self.options = [
            "--election-timeout", f"{int(self.election * 1000)}ms",
            "--heartbeat", f"{int(self.election * 100)}ms",
            "--min-free-disk", "0",
        ]  # fmt: skip
        if rng.random() < 0.5:
            # The log is cut while it is written, so that who lags needs a snapshot.
            self.options += ["--compact-entries", "200", "--compact-trailing", "2000"]
        if rng.random() < 0.3:
            self.options += ["--snapshot-entries", "300"]
        if rng.random() < 0.3:
            self.options += ["--read-mode", "lease"]
        if rng.random() < 0.3:
            self.options += ["--loop", "asyncio"]

    def run(self) -> Tally:
        """Run it.

        Raises:
            Violation: Something did not hold.
            AssertionError: The group did not recover in time.
        """
        self._say(f"seed {self.seed}: {self.size} nodes, {' '.join(self.options)}")
        scene = self.make(self.size, random.Random(f"scene {self.seed}"), *self.options)
        with scene:
            try:
                scene.start()
                self._run_in(scene)
            except Exception as error:
                if self.keep is not None:
                    self._keep_remains(self.keep, scene, error)
                raise
        self.tally.rounds = 1
        self.tally.scenes[scene.where] = 1
        return self.tally

    def _run_in(self, scene: Scene) -> None:
        with (
            Collector(scene.sockets) as collector,
            Workload(scene.sockets, self.seed, clients=2 * self.size) as workload,
        ):
            self._workload, self._collector = workload, collector
            scene.read_log = collector.catch_up
            began = time.monotonic()
            try:
                self._torture(scene, workload)
                self.tally.seconds = time.monotonic() - began
                # What ends the round kills too, and nobody looks at what comes of that.
                self.tally.deaths = scene.deaths
                self._calm(scene, workload)
                workload.stop()
                if workload.failures:
                    raise workload.failures[0]
                self._judge(scene, workload, collector)
            except BaseException:
                self._heal(scene)
                raise

    def _keep_remains(self, folder: Path, scene: Scene, error: Exception) -> None:
        try:
            remains.keep(folder, scene, self._told, error, self._workload, self._collector)
        except OSError as failed:
            error.add_note(f"not all remains could be kept: {failed}")
        error.add_note(f"its remains: {folder}")

    def _say(self, line: str) -> None:
        self._told.append(line)
        self.tell(line)

    # --- faults ---------------------------------------------------------------------------------

    def _torture(self, scene: Scene, workload: Workload) -> None:
        def progress(count: int) -> None:
            goal = workload.written + count
            wait_for(f"{count} acknowledgements", lambda: workload.written >= goal)

        progress(PROGRESS)
        end = time.monotonic() + self.seconds
        number = 0
        while (
            time.monotonic() < end
            and not self.stop.is_set()
            and (chosen := self.next_faults(number))
        ):
            number += 1
            self._inflict(scene, workload, [kind(scene, self.rng, progress) for kind in chosen])
            progress(PROGRESS)
            scene.check_alive()

    def next_faults(self, number: int) -> Sequence[type[Fault]]:
        """Draw what happens next; ``number`` things have. Nothing: the round is over."""
        del number
        weights = [kind.weight for kind in self.kinds]
        chosen = self.rng.choices(self.kinds, weights)
        if not chosen[0].alone and self.rng.random() < 0.25:
            second = self.rng.choices(self.kinds, weights)[0]
            if not second.alone and second.kind != chosen[0].kind:
                chosen.append(second)
        return chosen

    def _inflict(self, scene: Scene, workload: Workload, faults: list[Fault]) -> None:
        begun: list[Fault] = []
        proved: list[Fault] = []
        try:
            for fault in faults:
                with _told(fault):
                    begun.append(fault)
                    fault.begin()
            pause = max(fault.hold for fault in faults)
            until = time.monotonic() + pause
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, 0.05))
            proved = [fault for fault in faults if fault.happened()]
        finally:
            for fault in reversed(begun):
                fault.end()
        healed, healed_at = time.monotonic(), datetime.now(UTC)
        wait_for(
            f"a write after {self._words(faults)}",
            lambda: workload.first_after(healed) is not None or bool(workload.failures),
        )
        if workload.failures:
            raise workload.failures[0]
        first = workload.first_after(healed)
        assert first is not None
        self._note_recovery(scene, faults, healed_at, first - healed)
        for fault in faults:
            counted = self.tally.faults if fault in proved else self.tally.doubtful
            counted[getattr(fault, "name_told", fault.name)] += 1
            self.tally.kinds[fault.kind] += fault in proved

    def _note_recovery(
        self, scene: Scene, faults: list[Fault], healed: datetime, whole: float
    ) -> None:
        bound = 4 * self.election
        logs = {node.id: list(events(node.log_path)) for node in scene.all()}
        since = healed.strftime(STAMP)
        own = None
        if scene.true_clocks:
            linked = linked_at(logs, len(logs), since) or since
            waited = datetime.fromisoformat(linked) - datetime.fromisoformat(since)
            own = max(0.0, whole - waited.total_seconds())
        restart = any(
            entry["event"] == "started" and entry["timestamp"] >= since
            for log in logs.values()
            for entry in log
        )
        self.tally.recoveries.append(Recovery(whole, own, bound, restart))
        told = "" if own is None else f", {own:.2f} s since linked"
        self._say(f"  {self._words(faults)}: {whole:.2f} s{told}")
        if own is not None and own > bound:
            for line in timeline(logs, since):
                self._say(f"    {line}")

    @staticmethod
    def _words(faults: list[Fault]) -> str:
        return " and ".join(f"{fault.name} {fault.note}" for fault in faults)

    def _heal(self, scene: Scene) -> None:
        scene.network.heal()
        scene.thaw()

    # --- judgement ------------------------------------------------------------------------------

    def _calm(self, scene: Scene, workload: Workload) -> None:
        """Heal everything and wait until the group is whole again."""
        self._heal(scene)
        scene.revive()
        calm = time.monotonic()
        wait_for("a write when all is healed", lambda: workload.first_after(calm) is not None)
        scene.check_alive()

    def _judge(self, scene: Scene, workload: Workload, collector: Collector) -> None:
        members = self._members(scene)
        try:
            last = scene.catch_up(members)
        except AssertionError:
            # What was lost says more than that the nodes cannot agree.
            collector.finish()
            if collector.whole:
                check_with_log(workload.history, workload.refused, collector.log)
            raise
        scene.check_alive()
        collector.finish()
        self._verify(scene)
        tally = self.tally
        writes = [op for op in workload.history if op.kind != "get"]
        tally.acknowledged = sum(1 for op in writes if op.returned)
        tally.reads = len(workload.history) - len(writes)
        tally.refused = len(workload.refused)
        tally.unknown = len(writes) - tally.acknowledged
        whole = collector.whole
        self._compare(scene, members, collector, last)
        committed = {op.session for op in writes}
        if whole:
            state = check_with_log(workload.history, workload.refused, collector.log)
            committed = set(state.first)
            tally.unknown_applied = sum(
                not op.returned and op.session in committed for op in writes
            )
            self._compare_state(scene, members, state)
        else:
            tally.partial_logs = 1
        tally.keys_explained, tally.keys_given_up = check_by_search(workload.history, committed)

    def _members(self, scene: Scene) -> list[int]:
        """Wait until all nodes there are show one configuration with all of them; return them.

        Raises:
            Violation: A joint state stays, or a node is left behind.
        """
        seen: dict[int, str] = {}

        def agreed() -> bool:
            nonlocal seen
            replies = scene.statuses()
            seen = {i: f"{reply.role} in {reply.config}" for i, reply in replies.items()}
            shown = {str(reply.config) for reply in replies.values()}
            return len(replies) == len(scene.nodes) and len(shown) == 1 and all(
                not reply.config.joint and i in (*reply.config.voters, *reply.config.learners)
                for i, reply in replies.items()
            )  # fmt: skip

        try:
            wait_for("one configuration, of all nodes", agreed)
        except AssertionError:
            told = "; ".join(f"node {i}: {words}" for i, words in seen.items())
            raise Violation("membership", f"the nodes do not end in one group: {told}") from None
        return sorted(scene.nodes)

    def _verify(self, scene: Scene) -> None:
        """Have the members compare their own hashes of what they applied."""
        found = ""

        def agreed() -> bool:
            nonlocal found
            try:
                with scene.client(*scene.answering(), timeout=10.0) as client:
                    reply = client.verify()
            except AdminError as error:
                found = str(error)
                return False
            found = str(reply)
            return reply.ok

        try:
            wait_for("the members' hashes to agree", agreed, 15.0)
        except AssertionError:
            raise Violation("verify", f"the members' hashes differ: {found}") from None

    def _compare(self, scene: Scene, members: list[int], collector: Collector, last: int) -> None:
        """Compare what each node still has with what was read while it ran."""
        for node_id in members:
            log = scene.applied(node_id)
            if [e.index for e in log] != list(range(log[0].index, log[-1].index + 1)):
                raise Violation("log", f"the log of node {node_id} has holes")
            for entry in log:
                known = collector.log.setdefault(entry.index, entry)
                if known != entry:
                    raise Violation("log", f"node {node_id} has {entry}, another had {known}")
            if log[-1].index < last:
                raise Violation("log", f"node {node_id} ends at {log[-1].index}, not {last}")
            self.tally.compared += len(log)

    def _compare_state(self, scene: Scene, members: list[int], state: Replay) -> None:
        """Compare each node's store with the replayed log: a doubled write shows in `version`."""
        expected = {
            key: (state.values[key][-1], state.changes[key], times[-1])
            for key, times in state.times.items()
        }
        for node_id in members:
            with Client(str(scene.nodes[node_id].socket), timeout=DEADLINE) as client:
                found = {pair.key: (pair.value, pair.version) for pair in client.kv.range(page=500)}
            if found != {key: value[:2] for key, value in expected.items()}:
                wrong = [k for k in {*found, *expected} if found.get(k) != expected.get(k, ())[:2]]
                raise Violation("state", f"node {node_id} differs at {wrong[:5]}")


@contextmanager
def _told(fault: Fault) -> Iterator[None]:
    """Name the fault in what goes wrong while it begins."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while: {fault.name} {fault.note}")
        raise
