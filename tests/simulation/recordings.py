"""Recordings of failing runs as files: written when a seed fails, kept when a bug is repaired.

Each holds the few actions that are enough, with what was drawn by chance during each: they are
performed as they stand, whatever the schedule of a seed has become since. Where it was liveness
that failed, a majority is healed after them. A failure that no actions show again has none in its
file: there the seed is run with the settings in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from tests.harness.checkers import Violation
from tests.harness.sim_record import Replayed, Step
from tests.harness.sim_run import run_settings
from tests.harness.sim_swarm import Settings

REGRESSIONS: Final = Path(__file__).parent / "regressions"
"""A recording of every bug that the simulator has found."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A failing run.

    Attributes:
        seed, commit: What was run, and on which tree.
        violation: What did not hold.
        settings: Of the run.
        draws: Election timeouts drawn before the first action.
        steps: The actions; none: run the seed.
        heal: From which number the healing after them draws; None: there is none.
        mutant: The planted bug that makes it fail today; "": the harness itself was wrong.
    """

    seed: int
    commit: str
    violation: str
    settings: Settings
    draws: Sequence[int] = ()
    steps: Sequence[Step] = ()
    mutant: str = ""
    heal: int | None = None

    @property
    def check(self) -> str:
        """Id of the check that failed."""
        return self.violation.partition(":")[0]

    def play(self) -> Violation | None:
        """Do it again; return what is violated now."""
        if not self.steps:
            return run_settings(self.seed, self.settings).violation
        return Replayed(self.settings, self.draws, self.steps, heal=self.heal).violation

    def told(self) -> Iterator[str]:
        """The actions in words, and how they end."""
        lines: list[str] = []
        if self.steps:
            violation = Replayed(
                self.settings, self.draws, self.steps, lines.append, self.heal
            ).violation
        else:
            lines = [f"seed {self.seed} with {self.settings}"]
            violation = self.play()
        previous, times = "", 0
        for line in [*lines, ""]:
            if line == previous:
                times += 1
                continue
            if previous:
                yield f"  {previous}" + (f" ({times} times)" if times > 1 else "")
            previous, times = line, 1
        yield f"  {violation or 'nothing is wrong any more'}"

    def write(self, file: Path) -> None:
        """Write it, an action a line."""
        head = {
            "seed": self.seed,
            "commit": self.commit,
            "violation": self.violation,
            "mutant": self.mutant,
            "heal": self.heal,
            "settings": asdict(self.settings),
            "draws": list(self.draws),
        }
        lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        steps = [f"  {json.dumps([_plain(action), list(drawn)])}" for action, drawn in self.steps]
        lines.append(' "steps": [' + ("\n" + ",\n".join(steps) + "\n ]" if steps else "]"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(file: Path) -> Recording:
    """Read one; settings that exist no more are passed over."""
    values = json.loads(file.read_text())
    known = {one.name for one in fields(Settings)}
    given = {name: value for name, value in values["settings"].items() if name in known}
    given["priorities"] = {int(k): v for k, v in given.get("priorities", {}).items()}
    settings = Settings()
    for name, value in given.items():
        setattr(settings, name, tuple(value) if isinstance(value, list) else value)
    return Recording(
        values["seed"],
        values["commit"],
        values["violation"],
        settings,
        values["draws"],
        [(_unplain(action), list(drawn)) for action, drawn in values["steps"]],
        values.get("mutant", ""),
        values.get("heal"),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"dict": {key: _plain(one) for key, one in value.items()}}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if "bytes" in value:
            return bytes.fromhex(value["bytes"])
        return {key: _unplain(one) for key, one in value["dict"].items()}
    if isinstance(value, list):
        return tuple(_unplain(one) for one in value)
    return value
