"""What the daemon is doing right now, in words, for somebody who finds it stuck (SIGUSR1)."""

import asyncio
import io
import traceback
from collections.abc import Iterable


def dump_text(facts: Iterable[tuple[str, object]] = ()) -> str:
    """Return what every task is doing, behind some facts.

    Nothing in it comes from a client: payloads and keys are not shown.
    """
    out = io.StringIO()
    for name, value in facts:
        out.write(f"{name}: {value}\n")
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    out.write(f"{len(tasks)} tasks\n")
    for task in tasks:
        out.write(f"\ntask {task.get_name()}\n")
        for frame in task.get_stack():
            out.write("".join(traceback.format_stack(frame, limit=4)))
    return out.getvalue()
