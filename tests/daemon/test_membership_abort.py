"""The new majority dies in the joint state: the old one alone brings writes back."""

from __future__ import annotations

import pytest

from raftwire.proto.admin_pb2 import Majority
from tests.daemon.reshaping import (
    change,
    ctl,
    join,
    lead,
    member_status,
    phases,
    role,
    same_configuration,
)
from tests.harness.processes import Cluster, Writers, check_written, cluster, wait_for


def by_name(majorities: list[Majority]) -> dict[str, Majority]:
    return {item.name: item for item in majorities}


def leaderless(group: Cluster, node_id: int) -> bool:
    status = group[node_id].status()
    return status is not None and status.leader == 0


@pytest.mark.parametrize("leader_dies", [False, True])
def test_abort_when_the_new_majority_is_dead(leader_dies: bool) -> None:
    with cluster() as group:
        join(group, 4, 5)
        lead(group, 2)
        with Writers(group, per_node=1, ids=(1, 3)) as writers:
            writers.wait_for_progress()
            with group[3].client(30.0) as client:
                begun = change(client, "begin", voters=[1, 4, 5])
            writers.wait_for_progress()
            wait_for("the new nodes to be joint", lambda: phases(group, 4, 5) == {"joint"})
            for node_id in (4, 5, 2) if leader_dies else (4, 5):
                group[node_id].kill()
            wait_for("nobody to lead", lambda: leaderless(group, 1) and leaderless(group, 3))

            seen = member_status(group, 3)
            assert seen.phase == "joint"
            assert seen.config.begin_index == begun.index
            new, old = (by_name(list(seen.majorities))[n] for n in ("incoming", "outgoing"))
            assert (list(new.voters), new.needed, list(new.acked)) == ([1, 4, 5], 2, [1])
            assert (list(new.missing), new.satisfied) == ([4, 5], False)
            assert (old.needed, old.satisfied) == (2, True)
            assert "raftctl member abort" in seen.advice
            shown = ctl(group, 3, "member", "status").out
            assert "JOINT for" in shown
            assert "4,5" in shown

            campaign = ["--campaign"] if leader_dies else []
            ran = ctl(group, 3, "member", "abort", *campaign, "--timeout", "20s")
            assert ran.code == 0, ran.err
            assert "ABORTED at index" in ran.out
            writers.wait_for_progress()
            if leader_dies:
                group[2].start()
                group.settle([1, 2, 3])
            before = group[1].status()
            assert before is not None

            # Those it was about come back, and learn that it came to nothing.
            for node_id in (4, 5):
                group[node_id].start()
            same_configuration(group, (1, 2, 3, 4, 5), voters=[1, 2, 3])
            assert {role(group, 4), role(group, 5)} == {"joining"}
            writers.wait_for_progress(100)
            written = writers.stop()
        after = group[1].status()
        assert after is not None
        assert (after.term, after.leader) == (before.term, before.leader)
        check_written(written, group.check_equal([1, 2, 3]))
        with group[3].client(30.0) as client:
            again = change(client, "change", voters=[1, 4, 5])
            assert list(again.after.voters) == [1, 4, 5]
        same_configuration(group, (1, 2, 3, 4, 5), voters=[1, 4, 5])
        assert {role(group, 2), role(group, 3)} == {"removed"}
