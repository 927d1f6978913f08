"""progress/configuration.py: voters and learners of one configuration."""

from __future__ import annotations

import pytest

from raft import ConfigInvalid, Configuration, Exists
from raft.eraftpb import ConfState


def test_members() -> None:
    configuration = Configuration([3, 1, 2], [4])
    assert configuration.voters == {1, 2, 3}
    assert configuration.learners == {4}
    assert configuration.ids() == {1, 2, 3, 4}
    assert configuration.contains(4)
    assert not configuration.contains(5)


@pytest.mark.parametrize(
    ("voters", "learners", "error"),
    [
        ([], [], ConfigInvalid),
        ([], [1], ConfigInvalid),
        ([1], [1], Exists),
        ([0], [], ConfigInvalid),
        ([1], [0], ConfigInvalid),
    ],
)
def test_what_is_no_configuration(
    voters: list[int], learners: list[int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Configuration(voters, learners).valid()


def test_the_overlap_is_told() -> None:
    with pytest.raises(Exists) as caught:
        Configuration([1, 2, 3], [3]).valid()
    assert (caught.value.id, caught.value.set) == (3, "learners")


def test_quorums() -> None:
    configuration = Configuration([1, 2, 3], [4])
    assert configuration.has_quorum([1, 2])
    assert configuration.has_quorum(iter([1, 3, 4]))
    assert not configuration.has_quorum([1, 4])
    assert not Configuration().has_quorum([1])


def test_as_a_message_and_back() -> None:
    configuration = Configuration([3, 1], [5, 4])
    conf_state = configuration.to_conf_state()
    assert conf_state == ConfState(voters=[1, 3], learners=[4, 5])
    assert Configuration.from_conf_state(conf_state) == configuration


def test_of_a_joint_message_the_incoming_one_is_meant() -> None:
    joint = ConfState(voters=[1, 4], voters_outgoing=[1, 2], learners=[5], learners_next=[2])
    assert Configuration.from_conf_state(joint) == Configuration([1, 4], [2, 5])


def test_equality_and_hash_go_by_members() -> None:
    one, other = Configuration([1, 2], [3]), Configuration([2, 1], [3])
    assert one == other
    assert hash(one) == hash(other)
    assert one != Configuration([1, 2])
    assert one != "Configuration"
    assert repr(one) == "Configuration(voters=[1, 2], learners=[3])"
