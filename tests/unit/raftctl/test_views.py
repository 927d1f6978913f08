"""Configurations, roles and majorities in words."""

from __future__ import annotations

import pytest

from raftctl.views import change_text, config_text, health_text, member_role, quorum_text
from raftwire.proto.admin_pb2 import Configuration, Health, Quorum

JOINT = Configuration(
    joint=True,
    voters=[1, 3],
    learners=[4],
    voters_outgoing=[1, 2, 5],
    learners_next=[5],
    learners_outgoing=[6],
)


@pytest.mark.parametrize(
    ("id_", "role"),
    [
        (1, "voter"),
        (2, "outgoing"),
        (3, "incoming"),
        (4, "learner"),
        (5, "demoting"),
        (6, "leaving"),
        (7, "-"),
    ],
)
def test_roles_while_joint(id_: int, role: str) -> None:
    assert member_role(JOINT, id_) == role


def test_roles_while_stable() -> None:
    config = Configuration(voters=[1], learners=[2])
    assert [member_role(config, i) for i in (1, 2, 3)] == ["voter", "learner", "-"]


def test_configurations_in_words() -> None:
    assert config_text(Configuration(voters=[2, 1])) == "voters 1,2"
    assert config_text(JOINT) == "joint voters 1,3 with 1,2,5 learners 4 to become learners 5"


def test_majorities_in_words() -> None:
    quorum = Quorum(voters=2, needed=2, reachable=2, tolerance=0)
    assert quorum_text(quorum) == "2 of 2, 2 reachable, tolerates 0 failures!"
    assert health_text(Health(state="healthy", tolerance=1)) == "HEALTHY, tolerates 1 failure"
    assert health_text(Health(state="unhealthy")) == "UNHEALTHY"
    assert change_text([1, 2], [2, 3]) == "1,2 -> 2,3"
    assert change_text([1], [1]) == "1 (unchanged)"
