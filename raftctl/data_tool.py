"""Runs raftd's tool for data directories and snapshot files, and reads what it says.

raftctl loads no database and shares no code with raftd; what has to be done to files without a
raftd is done by a process of its own, with which it speaks JSON, a line at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from raftctl.errors import CtlError, ExitCode, from_file

Item = Callable[[Mapping[str, Any]], None]

_HINTS: Final = {
    "LOCKED": "stop that raftd first; to look beside it, say --read-only where that is offered",
    "CORRUPT": "",
    "PRECONDITION": "",
}


def run_tool(
    verb: str,
    arguments: Mapping[str, Any],
    *,
    item: Item | None = None,
    progress: Item | None = None,
) -> dict[str, Any]:
    """Have the tool do something and return its result.

    Args:
        verb: What to do.
        arguments: With what.
        item: Takes each of many results, as they come.
        progress: Hears how far it is.

    Raises:
        CtlError: It failed, or could not be run.
    """
    command = [sys.executable, "-m", "raftd.offline", verb]
    try:
        process = subprocess.Popen(  # noqa: S603  (our own module)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    except OSError as error:
        raise from_file(command[0], error) from None
    assert process.stdin is not None
    assert process.stdout is not None
    found: dict[str, Any] = {}
    try:
        process.stdin.write(json.dumps(arguments))
        process.stdin.close()
        for line in process.stdout:
            said = json.loads(line)
            if "item" in said and item is not None:
                item(said["item"])
            elif "progress" in said and progress is not None:
                progress(said["progress"])
            elif "result" in said or "error" in said:
                found = said
        status = process.wait()
    finally:
        # Interrupted, or the reader of our own output went away.
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
    if "result" in found and status == 0:
        result: dict[str, Any] = found["result"]
        return result
    failure = found.get("error")
    if failure is None:
        raise CtlError(
            "INTERNAL",
            f"raftd's tool ended with status {status} and said nothing; is raftd installed here?",
            hint="",
            outcome="unknown",
        )
    raise CtlError(
        failure["code"],
        failure["message"],
        hint=_HINTS.get(failure["code"], ""),
        exit_code=ExitCode(status) if status in list(ExitCode) else ExitCode.FAILED,
    )
