"""What a leader keeps up: the group's clock follows no wrong wall clock, limits are agreed on."""

from __future__ import annotations

import pytest

from raftd.config import load
from raftd.settings import Settings
from raftd.upkeep import WALL_TRUSTED_MS, next_stamp, wanted_settings

DAY = 24 * 3600 * 1000
NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("log_time", "elapsed", "wall", "expected"),
    [
        (0, None, NOW, NOW),
        (NOW, None, NOW - DAY, NOW),
        (NOW, 60_000, NOW + 60_500, NOW + 60_500),
        (NOW, 60_000, NOW + 59_000, NOW + 59_000),
        # The wall clock was set, forwards and backwards: the group's goes on as before.
        (NOW, 60_000, NOW + 10 * DAY, NOW + 60_000),
        (NOW, 60_000, NOW - 10 * DAY, NOW + 60_000),
        # Within what is trusted, but behind: it stands still rather than go back.
        (NOW, 60_000, NOW - 1000, NOW),
        (NOW, 0, NOW + WALL_TRUSTED_MS, NOW + WALL_TRUSTED_MS),
        (NOW, 0, NOW + WALL_TRUSTED_MS + 1, NOW),
    ],
)
def test_the_next_stamp(log_time: int, elapsed: int | None, wall: int, expected: int) -> None:
    assert next_stamp(log_time, elapsed, wall) == expected


def test_a_node_that_was_told_nothing_wishes_nothing() -> None:
    config = load({"node_id": "1", "peers": "1=127.0.0.1:7001"}, {})
    assert wanted_settings(config, Settings(sessions_max=5, history_count=7)) == {}


def test_a_node_wishes_what_it_was_told_and_is_not_so() -> None:
    config = load(
        {
            "node_id": "1",
            "peers": "1=127.0.0.1:7001",
            "dedup_entries": "500",
            "dedup_ttl": "90s",
            "history_entries": "100000",
            "history_bytes": "1MiB",
            "history_age": "2m",
        },
        {},
    )
    agreed = Settings()
    wanted = wanted_settings(config, agreed)
    assert wanted == {
        "sessions_max": 500,
        "session_ttl_ms": 90_000,
        "history_bytes": 2**20,
        "history_age_ms": 120_000,
    }
    assert wanted_settings(config, Settings(**wanted)) == {}
