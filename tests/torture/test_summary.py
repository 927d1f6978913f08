"""A run's figures outlive it, are added up over its rounds, and count what was judged alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.torture import __main__ as program
from tests.torture.faults import Fault
from tests.torture.recovery import Recovery
from tests.torture.round import Round
from tests.torture.summary import Summary, Tally

ROOT = Path(__file__).parents[2]


def tally() -> Tally:
    return Tally(
        rounds=1,
        seconds=30.0,
        scenes=Counter({"power": 1}),
        faults=Counter({"kill one": 2, "split": 1}),
        kinds=Counter({"kill": 2, "net": 1}),
        deaths=9,
        acknowledged=100,
        keys_explained=4,
        recoveries=[Recovery(0.5, 0.1, 2.0, True), Recovery(3.0, None, 2.0, False)],
    )


def test_tallies_add_up_and_survive_a_file(tmp_path: Path) -> None:
    run = Summary("abc", ["kill", "net"], "auto", 7)
    run.tally.add(tally())
    run.tally.add(tally())
    run.write(tmp_path / "folder" / "7.json")
    again = Summary("abc", ["kill", "net"], "auto", 1)
    again.resume(tmp_path / "folder" / "7.json")
    assert again == run
    told = "\n".join(again.lines())
    assert "2 rounds, 1.0 minutes of faults: 6 faults that provably happened, 18 kills -9" in told
    assert "where: power 2; faults by kind: kill 4, net 2" in told
    assert "4 healings in all: first write after" in told
    assert "2 (50.0%) within two longest election timeouts" in told
    assert told.endswith("nothing lost, doubled or stale")
    assert json.loads((tmp_path / "folder" / "7.json").read_text())["told"] == told.splitlines()


@pytest.mark.parametrize("other", [("abd", ["kill"], "auto"), ("abc", ["net"], "auto")])
def test_figures_of_two_commits_or_kinds_are_not_one_sum(
    tmp_path: Path, other: tuple[str, list[str], str]
) -> None:
    Summary("abc", ["kill"], "auto", 7).write(tmp_path / "7.json")
    with pytest.raises(ValueError, match="this is"):
        Summary(*other, next_seed=1).resume(tmp_path / "7.json")


def test_a_run_without_a_whole_round_promises_nothing() -> None:
    assert list(Summary("abc", [], "auto", 1).lines())[-1] == "no round came to its end"
    failed = Summary("abc", [], "auto", 1, tally(), ["seed 1 failed"])
    assert list(failed.lines())[-1].startswith("1 rounds failed")


def test_a_round_that_fails_leaves_its_remains(tmp_path: Path) -> None:
    class Failing(Round):
        def next_faults(self, number: int) -> Sequence[type[Fault]]:
            raise AssertionError("as planned")

    with pytest.raises(AssertionError, match="as planned") as failed:
        Failing(1, 5.0, keep=tmp_path).run()
    assert f"its remains: {tmp_path}" in failed.value.__notes__
    text = (tmp_path / "round.txt").read_text()
    assert "seed 1: " in text
    assert "as planned" in text
    assert "leader: " in (tmp_path / "status-1.txt").read_text()
    assert '"started"' in (tmp_path / "nodes" / "1.log").read_text()
    assert (tmp_path / "nodes" / "1" / "db").is_dir()
    heard = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert any(op["returned"] and op["kind"] == "put" for op in heard)


def test_stopped_early_it_judges_the_round_and_can_go_on(tmp_path: Path) -> None:
    arguments = ("--mode", "loopback", "--faults", "kill", "--folder", str(tmp_path))
    command = [sys.executable, "-m", "tests.torture", *arguments, "--seed", "3", "--minutes", "9"]
    path = tmp_path / "3.json"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        assert "kill" in next(line for line in run.stdout if line.startswith("  "))
        os.kill(run.pid, signal.SIGTERM)
        rest = run.stdout.read()
    assert run.returncode == 0, rest
    assert "nothing lost, doubled or stale" in rest
    kept = json.loads(path.read_text())
    assert kept["tally"]["rounds"] == 1
    assert kept["tally"]["deaths"] >= kept["tally"]["kinds"]["kill"] > 0
    assert kept["next_seed"] == 4
    # What is asked for is done already: it tells what it was.
    seconds = kept["tally"]["seconds"]
    assert program.main([*arguments, "--resume", str(path), "--minutes", str(seconds / 60)]) == 0
    assert json.loads(path.read_text()) == kept
