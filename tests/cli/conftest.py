"""What the tests of raftctl share: a made-up node, and a run of raftctl inside the test."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from raftctl.cli import run
from tests.cli.fake import FakeNode
from tests.harness import answers


@dataclass
class Ran:
    """How a run of raftctl ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What standard output says, as JSON."""
        return json.loads(self.out)

    @property
    def data(self) -> Any:
        """The answer inside the envelope."""
        return self.json["data"]


Ctl = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAFTCTL_") or name == "NO_COLOR":
            monkeypatch.delenv(name)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as fake:
        yield fake


def run_ctl(*args: str, stdin: bytes = b"") -> Ran:
    """Run raftctl in this process, with pipes for its three streams.

    What it says in JSON is held against the schema of its command.
    """
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(args)
            out.flush()
            err.flush()
    finally:
        sys.stdin = before
    texts = []
    for stream in (out, err):
        raw = stream.buffer
        assert isinstance(raw, io.BytesIO)
        texts.append(raw.getvalue().decode())
    answers.check(args, texts[0])
    return Ran(int(code), texts[0], texts[1])


@pytest.fixture
def ctl(node: FakeNode) -> Ctl:
    """Run raftctl against the made-up node."""

    def call(*args: str, stdin: bytes = b"") -> Ran:
        return run_ctl("-s", node.socket, *args, stdin=stdin)

    return call
