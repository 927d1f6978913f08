"""What a run of torture did: counted over its rounds, told in words, and kept in a file meanwhile.

The file is written anew after every round, so that a run that is killed has told what it did until
then, and ``--resume`` goes on from it. Only rounds that were judged to their end are counted: what
a failed round did says nothing of what holds.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tests.torture.recovery import Recovery, percentile


@dataclass
class Tally:
    """What was done, and what was seen."""

    rounds: int = 0
    seconds: float = 0.0
    scenes: Counter[str] = field(default_factory=Counter)
    """Rounds by where they ran."""
    faults: Counter[str] = field(default_factory=Counter)
    """Those that provably happened, by name."""
    kinds: Counter[str] = field(default_factory=Counter)
    """The same, by kind."""
    doubtful: Counter[str] = field(default_factory=Counter)
    """Those that did not, or nobody can tell."""
    deaths: int = 0
    """Daemons that the kernel says were killed by SIGKILL while the faults went on."""
    acknowledged: int = 0
    reads: int = 0
    unknown: int = 0
    unknown_applied: int = 0
    refused: int = 0
    keys_explained: int = 0
    keys_given_up: int = 0
    partial_logs: int = 0
    """Rounds in which entries were compacted before they were read: judged by the search alone."""
    compared: int = 0
    """Entries compared between nodes."""
    recoveries: list[Recovery] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; what `asdict` makes of a Counter is none."""
        return vars(self) | {"recoveries": [asdict(each) for each in self.recoveries]}

    @classmethod
    def restored(cls, values: dict[str, Any]) -> Self:
        """Return what `plain` was made of."""
        made = cls(**values)
        made.recoveries = [Recovery(**each) for each in values["recoveries"]]
        for name in ("scenes", "faults", "kinds", "doubtful"):
            setattr(made, name, Counter(values[name]))
        return made

    def lines(self) -> Iterator[str]:
        """Tell it."""
        minutes = self.seconds / 60
        yield (
            f"{self.rounds} rounds, {minutes:.1f} minutes of faults: "
            f"{self.faults.total()} faults that provably happened, {self.deaths} kills -9 "
            f"({self.deaths / max(minutes, 0.1):.1f} a minute)"
        )
        yield f"  where: {_listed(self.scenes)}; faults by kind: {_listed(self.kinds)}"
        for name, count in sorted(self.faults.items()):
            yield f"  {name}: {count}"
        for name, count in sorted(self.doubtful.items()):
            yield f"  not proved, not counted: {name}: {count}"
        yield (
            f"{self.acknowledged} writes acknowledged, {self.reads} linearizable reads answered, "
            f"{self.unknown} writes with unknown outcome ({self.unknown_applied} were applied), "
            f"{self.refused} refused"
        )
        yield (
            f"order by the log: {self.rounds - self.partial_logs} rounds whole, "
            f"{self.partial_logs} in part; order by search: {self.keys_explained} keys explained, "
            f"{self.keys_given_up} given up; {self.compared} entries compared between nodes"
        )
        yield from self._recovery_lines()

    def _recovery_lines(self) -> Iterator[str]:
        for what, chosen in (
            ("without a start of processes", [r for r in self.recoveries if not r.restart]),
            ("with one", [r for r in self.recoveries if r.restart]),
            ("in all", self.recoveries),
        ):
            for since, times in (
                ("", [(r.whole, r.bound) for r in chosen]),
                (
                    ", since a majority ran and was linked",
                    [(r.own, r.bound) for r in chosen if r.own is not None],
                ),
            ):
                if not times:
                    continue
                seconds = [time for time, _ in times]
                within = sum(time <= bound for time, bound in times)
                yield (
                    f"{len(times)} healings {what}{since}: first write after "
                    f"{percentile(seconds, 0.5):.2f} s (median), "
                    f"{percentile(seconds, 0.99):.2f} s (99 %), {max(seconds):.2f} s (longest); "
                    f"{within} ({within / len(times):.1%}) within two longest election timeouts"
                )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


@dataclass
class Summary:
    """A run: what was asked for, what came of it until now, and what comes next.

    Attributes:
        commit: On which it runs.
        faults: The kinds asked for.
        mode: Where rounds may run.
        next_seed: Of the round that comes next.
        tally: What was done.
        failed: Of each round that failed: its seed, what went wrong, and where its remains are.
    """

    commit: str
    faults: list[str]
    mode: str
    next_seed: int
    tally: Tally = field(default_factory=Tally)
    failed: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Tell it."""
        yield f"commit {self.commit}, faults {','.join(self.faults)}, mode {self.mode}"
        yield from self.tally.lines()
        yield from self.failed
        yield (
            f"{len(self.failed)} rounds failed; nothing of them is counted above"
            if self.failed
            else "nothing lost, doubled or stale"
            if self.tally.rounds
            else "no round came to its end"
        )

    def write(self, path: Path) -> None:
        """Put it into a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        values = {"told": list(self.lines())} | vars(self) | {"tally": self.tally.plain()}
        text = json.dumps(values, indent=1)
        beside.write_text(text + "\n")
        os.replace(beside, path)

    def resume(self, path: Path) -> None:
        """Go on from what a file holds.

        Raises:
            ValueError: It is of another commit or of other faults: figures of two are not one sum.
        """
        values = json.loads(path.read_text())
        for name in ("commit", "faults", "mode"):
            if values[name] != getattr(self, name):
                raise ValueError(f"{path} has {name} {values[name]}, this is {getattr(self, name)}")
        self.next_seed = values["next_seed"]
        self.tally = Tally.restored(values["tally"])
        self.failed = values["failed"]
