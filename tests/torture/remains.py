"""What is kept of a round that failed: enough to look into it without having it fail again."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.harness.cluster import Op
from tests.torture.scene import Scene
from tests.torture.workload import Collector, Workload


def keep(
    folder: Path,
    scene: Scene,
    told: Iterable[str],
    error: BaseException,
    workload: Workload | None,
    collector: Collector | None,
) -> None:
    """Put the remains of a round into a folder; kills its nodes.

    There are: ``round.txt``, what the round told and what went wrong; ``status-N.txt``, what each
    node that answers says of itself; ``nodes``, logs and data of all nodes as a kill -9 leaves
    them; ``history.jsonl``, what each client did and heard; ``log.jsonl``, the applied log as it
    was read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trace = "".join(traceback.format_exception(error))
    (folder / "round.txt").write_text("\n".join([*told, trace]))
    for node_id, status in scene.statuses().items():
        (folder / f"status-{node_id}.txt").write_text(str(status))
    for node in scene.all():
        node.kill()
    shutil.copytree(scene.folder, folder / "nodes", ignore=_unreadable, dirs_exist_ok=True)
    if workload is not None:
        with (folder / "history.jsonl").open("w") as lines:
            for what, ops in (("heard", workload.history), ("refused", workload.refused)):
                lines.writelines(f"{_operation(what, op)}\n" for op in ops)
    if collector is not None:
        with (folder / "log.jsonl").open("w") as lines:
            for index in sorted(collector.log):
                entry = collector.log[index]
                plain = {name.name: _plain(value) for name, value in entry.ListFields()}
                lines.write(json.dumps(plain) + "\n")


def _unreadable(folder: str, names: list[str]) -> list[str]:
    """Return sockets, and what filled a disk."""
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if p.is_socket() or (p.name == "filler" and p.is_file())]


def _operation(what: str, op: Op) -> str:
    fields = ("kind", "client", "session", "key", "value", "expected", "invoked", "returned",
              "result", "index")  # fmt: skip
    return json.dumps({"": what} | {name: _plain(getattr(op, name)) for name in fields})


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value if isinstance(value, (int, float, str)) else str(value)
