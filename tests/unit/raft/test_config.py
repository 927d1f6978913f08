"""config.py: the defaults, what follows from them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from raft.config import Config
from raft.errors import ConfigInvalid
from raft.read_only_option import ReadOnlyOption
from raft.util import NO_LIMIT


def test_the_defaults_are_the_crates() -> None:
    config = Config()
    assert (config.id, config.election_tick, config.heartbeat_tick) == (0, 20, 2)
    assert (config.applied, config.max_size_per_msg, config.max_inflight_msgs) == (0, 0, 256)
    assert not any((config.check_quorum, config.pre_vote))
    assert not any((config.skip_bcast_commit, config.batch_append))
    assert (config.min_election_tick, config.max_election_tick) == (0, 0)
    assert config.read_only_option is ReadOnlyOption.Safe
    assert config.tag == ""
    assert config.priority == 0
    assert config.max_uncommitted_size == NO_LIMIT
    assert config.max_committed_size_per_ready == NO_LIMIT
    assert config.max_apply_unpersisted_log_limit == 0
    assert config.disable_proposal_forwarding is False
    assert config.step_down_on_removal is True
    assert config.catch_up_rounds == 10


def test_new_tags_the_node_with_its_id() -> None:
    config = Config.new(7)
    assert (config.id, config.tag) == (7, "7")
    config.validate()


def test_zero_means_a_value_made_from_the_election_tick() -> None:
    config = Config(id=1, election_tick=10)
    assert config.effective_min_election_tick() == 10
    assert config.effective_max_election_tick() == 20
    assert config.effective_catch_up_round_ticks() == 10
    assert config.effective_transfer_ticks() == 10
    config = Config(
        id=1,
        election_tick=10,
        min_election_tick=12,
        max_election_tick=13,
        catch_up_round_ticks=3,
        transfer_ticks=4,
    )
    config.validate()
    assert config.effective_min_election_tick() == 12
    assert config.effective_max_election_tick() == 13
    assert config.effective_catch_up_round_ticks() == 3
    assert config.effective_transfer_ticks() == 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": 0}, "id"),
        ({"heartbeat_tick": 0}, "heartbeat_tick"),
        ({"heartbeat_tick": -1}, "heartbeat_tick"),
        ({"election_tick": 2}, "election_tick"),
        ({"min_election_tick": 19}, "min_election_tick"),
        ({"max_election_tick": 20}, "max_election_tick"),
        ({"min_election_tick": 30, "max_election_tick": 30}, "max_election_tick"),
        ({"min_election_tick": 40}, "max_election_tick"),
        ({"max_inflight_msgs": 0}, "max_inflight_msgs"),
        ({"read_only_option": ReadOnlyOption.LeaseBased}, "check_quorum"),
        ({"max_size_per_msg": 10, "max_uncommitted_size": 9}, "max_uncommitted_size"),
        ({"max_size_per_msg": 10, "max_inflight_bytes": 9}, "max_inflight_bytes"),
        ({"id": 2**64}, "64 bits"),
        ({"id": -1}, "64 bits"),
        ({"applied": -1}, "applied"),
        ({"max_size_per_msg": -1}, "max_size_per_msg"),
        ({"max_inflight_bytes": -1}, "max_inflight_bytes"),
        ({"max_uncommitted_size": 2**64}, "max_uncommitted_size"),
        ({"max_committed_size_per_ready": -1}, "max_committed_size_per_ready"),
        ({"max_apply_unpersisted_log_limit": -1}, "max_apply_unpersisted_log_limit"),
        ({"catch_up_round_ticks": -1}, "catch_up_round_ticks"),
        ({"transfer_ticks": -1}, "transfer_ticks"),
        ({"priority": 2**63}, "priority"),
        ({"catch_up_rounds": 0}, "catch_up_rounds"),
        ({"max_pending_reads": 0}, "max_pending_reads"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(fields: dict[str, Any], words: str) -> None:
    config = Config(**{"id": 1, **fields})
    with pytest.raises(ConfigInvalid, match=words):
        config.validate()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"read_only_option": ReadOnlyOption.LeaseBased, "check_quorum": True},
        {"max_size_per_msg": NO_LIMIT},
        {"max_size_per_msg": NO_LIMIT, "max_uncommitted_size": 1, "max_inflight_bytes": 1},
        {"max_size_per_msg": 10, "max_uncommitted_size": 10, "max_inflight_bytes": 10},
        {"max_size_per_msg": 10, "max_inflight_bytes": 0},
        {"priority": -(2**63)},
        {"id": 2**64 - 1},
        {"election_tick": 3, "heartbeat_tick": 2, "max_election_tick": 4},
    ],
)
def test_what_can_work_is_taken(fields: dict[str, Any]) -> None:
    Config(**{"id": 1, **fields}).validate()


def test_the_first_mistake_in_the_crates_order_is_told() -> None:
    config = Config(
        id=0,
        heartbeat_tick=0,
        election_tick=0,
        max_inflight_msgs=0,
        read_only_option=ReadOnlyOption.LeaseBased,
    )
    told = []
    for repair in (
        {"id": 1},
        {"heartbeat_tick": 2},
        {"election_tick": 20, "min_election_tick": 5},
        {"min_election_tick": 20, "max_election_tick": 20},
        {"max_election_tick": 40},
        {"max_inflight_msgs": 1},
    ):
        with pytest.raises(ConfigInvalid) as caught:
            config.validate()
        told.append(str(caught.value).split()[2])
        for name, value in repair.items():
            setattr(config, name, value)
    assert told == [
        "id",
        "heartbeat_tick",
        "election_tick",
        "min_election_tick",
        "min_election_tick",
        "max_inflight_msgs",
    ]
    with pytest.raises(ConfigInvalid, match="LeaseBased"):
        config.validate()


def test_an_unknown_parameter_is_not_taken() -> None:
    with pytest.raises(TypeError):
        Config(elction_tick=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Config(id=1).elction_tick = 3  # type: ignore[attr-defined]
