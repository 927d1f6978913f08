"""Progress where there is no terminal: a plain line now and then, on standard error."""

from __future__ import annotations

import io

import pytest

from raftctl import bars
from raftctl.output import Output


def told(monkeypatch: pytest.MonkeyPatch, key: int, *, quiet: bool = False) -> str:
    monkeypatch.setattr(bars, "EVERY", 0.0)
    err = io.StringIO()
    with bars.Bars(Output(quiet=quiet, stdout=io.StringIO(), stderr=err), "catching up") as made:
        made.update(key, 3, 10, "12 MiB/s")
    return err.getvalue()


def test_a_member_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 4) == "catching up: node 4 at 3 of 10 12 MiB/s\n"


def test_what_is_of_no_member_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 0) == "catching up at 3 of 10 12 MiB/s\n"


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 4, quiet=True) == ""


def test_lines_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftctl.bars.time.monotonic", lambda: 100.0)
    err = io.StringIO()
    with bars.Bars(Output(stdout=io.StringIO(), stderr=err), "check") as made:
        for done in range(1000):
            made.update(0, done, 1000)
    assert err.getvalue() == ""
