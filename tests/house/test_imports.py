"""What importing a package really loads, and how long the command line takes to start."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from tests.house.tree import ROOT

FOREIGN_TO_THE_LIBRARY = {"click", "rocksdict", "structlog", "asyncio", "rich", "msgspec", "uvloop"}
FOREIGN_TO_THE_CLIENT = {"asyncio", "rocksdict", "structlog", "rich", "msgspec", "raftd", "raft"}

#: raftctl's budget is 120 ms with its interpreter, compiled. Time depends on the machine and on who
#: else uses it; how many modules are loaded does not, and it is what a start's time goes into.
MODULES_MAX = 175
#: A module that works hard when it is imported. Of the processor, with all sources to compile.
START_CPU_S = 1.0


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'common'}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("statement", "foreign"),
    [
        ("import raft", FOREIGN_TO_THE_LIBRARY | {"raftwire", "raftd", "raftctl"}),
        ("import raftctl.cli", FOREIGN_TO_THE_CLIENT),
        ("import raftwire.client", FOREIGN_TO_THE_CLIENT | {"click"}),
        ("import raftwire.aio", FOREIGN_TO_THE_CLIENT - {"asyncio"}),
        ("import raftwire", FOREIGN_TO_THE_CLIENT | {"google.protobuf", "socket"}),
    ],
)
def test_imports_load_nothing_foreign(statement: str, foreign: set[str]) -> None:
    assert loaded_by(statement) & foreign == set()


def test_public_names_of_raftwire_load_on_first_use() -> None:
    import raftwire

    for name in raftwire.__all__:
        assert getattr(raftwire, name).__name__ == name
        assert name in dir(raftwire)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = raftwire.Nonsense


def test_raftctl_starts_fast() -> None:
    took = []
    loaded: set[str] = set()
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        loaded = loaded_by("import raftctl.commands.status")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert len(loaded) <= MODULES_MAX
    assert min(took) < START_CPU_S
