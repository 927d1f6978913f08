"""Commands that wait for a new member, given up by Ctrl-C, and left by their leader meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from raftwire.errors import ExitCode
from tests.daemon.reshaping import (
    change,
    configuration,
    ctl,
    join,
    lead,
    phase,
    same_configuration,
)
from tests.harness.processes import Cluster, Writers, check_written, cluster, environment, wait_for

TOLD = (ExitCode.NO_LEADER, ExitCode.OUTCOME_UNKNOWN, ExitCode.PRECONDITION)
ASKS, LEADS, GOES, COMES = 1, 2, 3, 4


def start(group: Cluster, *arguments: str) -> subprocess.Popen[str]:
    """Start a command, and wait until it says that it waits for the new member."""
    running = subprocess.Popen(
        [sys.executable, "-m", "raftctl", "-s", str(group[ASKS].socket), "--yes", *arguments],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if f"catching up: node {COMES}" in line:
            return running
    raise AssertionError(f"it did not wait: {running.communicate(timeout=30)}")


def known(group: Cluster) -> set[int]:
    """Return the members as the node knows them that is asked."""
    found = configuration(group, ASKS)
    return set() if found is None else {*found.voters, *found.learners}


@pytest.mark.parametrize(
    ("command", "said", "voters"),
    [
        (("finalize", "--wait"), "The group is still joint; run it again to go on.", (1, 2, 4)),
        (("promote", "4", "--wait"), "Nothing was changed; run it again to go on.", (1, 2, 3, 4)),
        (
            ("replace", "3", "4"),
            "What was done stays done; run the same command again to go on.",
            (1, 2, 4),
        ),
    ],
    ids=["finalize", "promote", "replace"],
)
def test_it_goes_on_or_says_how(command: tuple[str, ...], said: str, voters: list[int]) -> None:
    with cluster() as group:
        join(group, COMES)
        lead(group, LEADS)
        with group[ASKS].client(30.0) as client:
            if command[0] == "finalize":
                change(client, "begin", voters=voters)
            elif command[0] == "promote":
                change(client, "add_learner", member=COMES)
            if command[0] != "replace":
                wait_for("it to be known where commands are given", lambda: COMES in known(group))
            if command[0] == "promote":
                same_configuration(group, (1, 2, 3))
            before = configuration(group, ASKS)
            with Writers(group, per_node=1, ids=[ASKS, GOES]) as writers:
                group[COMES].signal(signal.SIGSTOP)
                given_up = start(group, "member", *command)
                given_up.send_signal(signal.SIGINT)
                _, errors = given_up.communicate(timeout=30)
                assert given_up.returncode == 130, errors
                assert said in errors
                if command[0] != "replace":
                    assert configuration(group, ASKS) == before

                running = start(group, "--timeout", "30s", "member", *command)
                group[LEADS].kill()
                group[COMES].signal(signal.SIGCONT)
                out, errors = running.communicate(timeout=60)
                if running.returncode != ExitCode.OK:
                    # It was told as it is: whatever became of it, asking again completes it.
                    assert running.returncode in TOLD, (running.returncode, out, errors)
                    wait_for("no step under way", lambda: phase(group, ASKS) in ("stable", "joint"))
                    now = configuration(group, ASKS)
                    assert now is not None
                    if now.joint or sorted(now.voters) != sorted(voters):
                        again = ctl(group, ASKS, "member", *command, "--timeout", "30s")
                        assert again.code == ExitCode.OK, again.err
                group[LEADS].start()
                same_configuration(group, voters, voters)
                writers.wait_for_progress()
            check_written(writers.written, list(client.log_read(1, types=["normal"])))
