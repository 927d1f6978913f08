"""Every shape of a change by raftctl, on real groups that are written to meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from raftwire import Code
from raftwire.errors import ExitCode
from raftwire.limits import CAUGHT_UP_LAG_MAX
from tests.cli.conftest import Ran
from tests.daemon.reshaping import (
    configuration,
    ctl,
    history,
    join,
    lead,
    phase,
    role,
    same_configuration,
)
from tests.harness.processes import Cluster, Writers, check_written, cluster, wait_for


def done(ran: Ran, *words: str) -> Ran:
    """Fail unless a command worked and said this."""
    assert ran.code == ExitCode.OK, (ran.out, ran.err)
    for word in words:
        assert word in ran.out, ran.out
    return ran


def refused(ran: Ran, code: Code, *words: str) -> None:
    """Fail unless a command, run with --json, was refused with this code and said this."""
    assert ran.code == ExitCode.PRECONDITION, (ran.out, ran.err)
    error = ran.json["error"]
    assert error["code"] == code
    assert error["outcome"] == "not_applied"
    for word in words:
        assert word in error["message"] + error["hint"]


def test_the_example_of_the_library_as_commands() -> None:
    """{1, 2} becomes ([1, 3], [4, 5, 6]): 2 and 3 both vote until the end; then 2 is gone."""
    with cluster(2) as group:
        join(group, 3, 4, 5, 6, contacts=(1, 2))
        target = ("--voters", "1,3", "--learners", "4,5,6")
        done(
            ctl(group, 1, "member", "begin", *target), "voters        1,2 -> 1,3", "JOINT at index"
        )
        found = configuration(group, 1)
        assert found is not None
        assert (list(found.voters), list(found.voters_outgoing)) == ([1, 3], [1, 2])
        done(ctl(group, 2, "propose", "while joint"))
        done(ctl(group, 2, "member", "finalize"), "FINALIZED at index")
        same_configuration(group, (1, 3, 4, 5, 6), voters=[1, 3])
        wait_for("2 to be gone", lambda: role(group, 2) == "removed")
        done(ctl(group, 6, "propose", "after"))


def test_one_to_five_to_others_and_back_to_one() -> None:
    with cluster(1) as group:
        join(group, 2, 3, 4, 5, contacts=(1,))
        with Writers(group, per_node=1, ids=(1, 2, 4)) as writers:
            writers.wait_for_progress()
            ran = ctl(group, 1, "member", "change", "--voters", "1,2,3,4,5", "--json")
            assert done(ran).data["steps"][-1] == "2, 3, 4, 5 caught up"
            writers.wait_for_progress()
            join(group, 6, contacts=(1, 2))
            # 3 and 4 are demoted, 6 comes in, 5 leaves: in one change.
            done(ctl(group, 2, "member", "change", "--voters", "1,2,6", "--learners", "3,4"))
            same_configuration(group, (1, 2, 3, 4, 6), voters=[1, 2, 6])
            writers.wait_for_progress()
            join(group, 7, contacts=(1, 2))
            # Nobody stays a voter, the learners become ones.
            done(ctl(group, 4, "member", "change", "--voters", "3,4,7"))
            same_configuration(group, (3, 4, 7), voters=[3, 4, 7])
            writers.wait_for_progress()
            done(ctl(group, 4, "member", "change", "--voters", "4"))
            same_configuration(group, (4,), voters=[4])
            writers.wait_for_progress()
            written = writers.stop()
        check_written(written, history(group, 4))
        assert {role(group, gone) for gone in (1, 2, 3, 5, 6, 7)} == {"removed"}


def test_the_commands_for_one_member() -> None:
    with cluster() as group:
        join(group, 4, 5)
        with Writers(group, per_node=1, ids=(1, 2)) as writers:
            writers.wait_for_progress()
            index = configuration(group, 1)
            assert index is not None
            stale = ("--expect-config", str(index.index + 1), "--json")
            refused(ctl(group, 1, "member", "add", "4", *stale), Code.PRECONDITION)
            add = ("member", "add", "4", group[4].address)
            tried = done(ctl(group, 1, *add, "--dry-run"), "nothing was changed")
            assert "to be promoted  4" in tried.out
            done(ctl(group, 1, *add), "ADDED 4 as a voter")
            same_configuration(group, (1, 2, 3, 4), voters=[1, 2, 3, 4])
            done(ctl(group, 2, "member", "demote", "4"), "DEMOTED 4")
            group[4].signal(signal.SIGSTOP)
            try:
                with group[1].client() as client:
                    more = [b"%d" % n for n in range(CAUGHT_UP_LAG_MAX + 100)]
                    assert all(one.error is None for one in client.propose_many(more))
                lags = ctl(group, 2, "member", "promote", "4", "--json")
                refused(lags, Code.LEARNER_LAGGING, "node 4 is", "behind", "promote 4 --wait")
            finally:
                group[4].signal(signal.SIGCONT)
            done(ctl(group, 2, "member", "promote", "4", "--wait"), "PROMOTED 4")
            # The leader dies, and who asks for the change need not know of it.
            lead(group, 3)
            group[3].kill()
            done(
                ctl(group, 1, "member", "replace", "3", f"5={group[5].address}"), "REPLACED 3 by 5"
            )
            again = ctl(group, 1, "member", "replace", "3", f"5={group[5].address}")
            done(again, "nothing to do")
            done(ctl(group, 1, "member", "remove", "4"), "REMOVED 4")
            refused(
                ctl(group, 1, "member", "add-learner", "4", group[4].address, "--json"),
                Code.REMOVED_MEMBER,
                "another id",
            )
            moved = group[2].address.replace("127.0.0.1", "localhost")
            done(ctl(group, 1, "member", "set-addr", "2", moved), "node 2 is at localhost:")
            writers.wait_for_progress()
            written = writers.stop()
        same_configuration(group, (1, 2, 5), voters=[1, 2, 5])
        check_written(written, group.check_equal([1, 2, 5]))


def test_what_would_stop_the_group_is_refused() -> None:
    with cluster() as group:
        join(group, 4, 5)
        addresses = f"4={group[4].address},5={group[5].address}"
        for node_id in (4, 5):
            group[node_id].kill()
        before = configuration(group, 1)
        change = ("--voters", "1,4,5", "--addr", addresses)
        for command in ("begin", "change"):
            ran = ctl(group, 2, "member", command, *change, "--json")
            refused(
                ran, Code.UNSAFE_RECONFIG, "1 of 3 new voters answer, 2 are needed", "4 (", "5 ("
            )
        assert configuration(group, 1) == before
        # By force, and back: neither the old majority nor the writes are lost by it.
        done(ctl(group, 2, "member", "begin", *change, "--unsafe"), "JOINT at index")
        second = ctl(group, 1, "member", "begin", "--voters", "1,2", "--json")
        refused(second, Code.ALREADY_JOINT, "raftctl member abort")
        ran = ctl(group, 2, "member", "finalize", "--json")
        refused(ran, Code.UNSAFE_RECONFIG, "raftctl member abort")
        done(ctl(group, 1, "member", "abort", "--timeout", "20s"), "ABORTED at index")
        done(ctl(group, 3, "propose", "still here", "--timeout", "10s"))
        for node_id in (4, 5):
            group[node_id].start()
        wait_for("them to wait again", lambda: {role(group, 4), role(group, 5)} == {"joining"})
        done(ctl(group, 3, "member", "change", *change))
        same_configuration(group, (1, 4, 5), voters=[1, 4, 5])


def test_the_named_successor_leads() -> None:
    with cluster() as group:
        join(group, 4, 5)
        lead(group, 1)
        ran = ctl(
            group, 2, "member", "change", "--voters", "3,4,5", "--successor", "4", "--dry-run"
        )
        assert "the leader leaves" in done(ran).out
        done(ctl(group, 2, "member", "change", "--voters", "3,4,5", "--successor", "4"))
        # No election was needed: it led when the change was finalized, and does now.
        assert group.settle([3, 4, 5]) == 4
        assert '"event": "pre-candidate"' not in group[4].last_lines(1000)


def raftctl(group: Cluster, node_id: int, *arguments: str) -> subprocess.Popen[str]:
    """Start raftctl as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "raftctl", "-s", str(group[node_id].socket), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_interrupted_change_says_how_to_go_on_and_does() -> None:
    with cluster() as group:
        join(group, 4)
        group[4].signal(signal.SIGSTOP)
        change = ("member", "change", "--voters", "1,2,4")
        running = raftctl(group, 1, *change)
        try:
            wait_for(
                "the learner to be added",
                lambda: 4 in (found.learners if (found := configuration(group, 1)) else ()),
            )
        finally:
            running.send_signal(signal.SIGINT)
            out, errors = running.communicate(timeout=30)
        assert running.returncode == 130, (out, errors)
        assert (
            "interrupted. What was done stays done; run the same command again to go on" in errors
        )
        assert phase(group, 1) == "stable"
        group[4].signal(signal.SIGCONT)
        done(ctl(group, 1, *change, "--timeout", "30s"), "DONE at index")
        same_configuration(group, (1, 2, 4), voters=[1, 2, 4])
        done(ctl(group, 1, *change), "nothing to do")
