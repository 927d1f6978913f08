"""Fixtures of the conformance tests."""

from __future__ import annotations

import pytest

from tests.harness.network import Loop


@pytest.fixture(params=Loop, ids=lambda loop: loop.value)
def loop(request: pytest.FixtureRequest) -> Loop:
    """Each of the application's loops."""
    found: Loop = request.param
    return found
