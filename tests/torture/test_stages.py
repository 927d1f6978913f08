"""Which rounds there can be depends on the machine, and what is missing is told."""

from __future__ import annotations

import pytest

from tests.torture import __main__ as program
from tests.torture import power, spaces
from tests.torture.kinds import KINDS
from tests.torture.scene import Scene

ALL = {kind.kind for kind in KINDS} | {"disk", "clock", "power"}


def test_without_rights_what_loopback_allows_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spaces, "missing", lambda: "only root may")
    monkeypatch.setattr(power, "missing", lambda: "there is no /dev/fuse")
    assert list(program.stages("auto", ALL)) == [(Scene, list(KINDS))]
    told = capsys.readouterr().out
    assert "no network namespaces: only root may" in told
    assert "no power cuts: there is no /dev/fuse" in told
    assert list(program.stages("namespaces", ALL)) == []


def test_each_place_offers_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "missing", lambda: "")
    monkeypatch.setattr(power, "missing", lambda: "")
    scenes = {make: {kind.kind for kind in kinds} for make, kinds in program.stages("auto", ALL)}
    assert {Scene, spaces.SpaceScene, power.PowerScene} <= set(scenes)
    assert "power" in scenes[power.PowerScene]
    assert not {"disk", "clock", "power"} & scenes[Scene]
    # A place that has none of what was asked for is left out.
    assert [make for make, _ in program.stages("auto", {"power"})] == [power.PowerScene]
