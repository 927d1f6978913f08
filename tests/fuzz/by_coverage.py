"""Fuzz one target by coverage, with atheris: started by `campaign.run_by_coverage`.

A process of its own, because modules are instrumented while they are imported, and because
libFuzzer ends the process that it runs in. Only what is tested is instrumented: the standard
library and protobuf would take minutes and most of the attention.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_TESTED = ["raft", "raftwire", "raftd"]


def main(arguments: list[str]) -> None:
    """Fuzz until the flags say that it is enough; does not return.

    Args:
        arguments: An empty folder for what is found, the target's name, flags of libFuzzer.
    """
    folder, name, *flags = arguments
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_TESTED):
        targets = importlib.import_module("tests.fuzz.targets")
    target = next(kind for kind in targets.TARGETS if kind.name == name)()
    seeds = Path(folder) / "seeds"
    seeds.mkdir()
    for number, data in enumerate([*target.seeds(), *target.kept()]):
        (seeds / str(number)).write_bytes(data)
    new = Path(folder) / "new"
    new.mkdir()
    atheris.Setup(
        [sys.argv[0], *flags, f"-artifact_prefix={folder}/", str(new), str(seeds)], target.run
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
