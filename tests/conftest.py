"""Options and fixtures that every room of the tests shares."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DEFAULT_SEED = 20_240_229


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("raft")
    group.addoption(
        "--rewrite",
        action="store_true",
        default=False,
        help="write what the datadriven tests print into their files; read the diff afterwards",
    )
    group.addoption(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        help="seed of the tests that draw at random (default: %(default)s)",
    )


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test, also where a script runs the tests with ``&``.

    A shell without job control has such commands ignore SIGINT, and all they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether expectations are to be rewritten."""
    return bool(request.config.getoption("--rewrite"))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run."""
    value = request.config.getoption("--seed")
    assert isinstance(value, int)
    return value


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """A generator of its own for each test, so that tests do not depend on their order."""
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A new directory with a path short enough for Unix sockets (107 bytes); removed afterwards."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')}"


_REASON_LINES = 12
"""Of each failure, at the end of the run."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end why each test failed: the logs of real nodes bury it further up."""
    failed = [
        (report, crash)
        for outcome in ("error", "failed")
        for report in terminalreporter.getreports(outcome)
        if (crash := getattr(report.longrepr, "reprcrash", None)) is not None
    ]
    if failed:
        terminalreporter.section("why")
    for report, crash in failed:
        terminalreporter.line(f"{report.nodeid} ({crash.path}:{crash.lineno})", bold=True)
        for line in crash.message.splitlines()[:_REASON_LINES]:
            terminalreporter.line(f"  {line[:1000]}")
