"""The examples in the manual page raft(7) run as they stand and print what they should."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "man" / "src" / "raft.7.in"

PRINTED = {
    "single": "[b'hello']\n",
    "five": "True True\n",
    "fast": "[]\n[b'a', b'b', b'c']\n",
    "counter": "2\n42\n[42, 42, 42, 42]\n[1, 2, 3, 4]\n",
}


def _examples() -> dict[str, str]:
    found = re.findall(
        r'^\.\\" example: (\w+)\n\.Bd -literal\n(.*?)^\.Ed$', PAGE.read_text(), re.M | re.S
    )
    return {name: text.replace("\\e", "\\") for name, text in found}


def test_every_example_is_known() -> None:
    assert _examples().keys() == PRINTED.keys()


@pytest.mark.parametrize("name", PRINTED)
def test_example_runs(name: str) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(_examples()[name], f"raft.7:{name}", "exec"), {})
    assert printed.getvalue() == PRINTED[name]
