"""A daemon that is asked for too much names the limit, how far it is reached, and when to retry."""

from __future__ import annotations

import contextlib
import signal

import pytest

from raftwire import AdminError, Code
from raftwire.errors import Outcome
from tests.harness.processes import Cluster, wait_for


def test_refusals_name_the_limit_the_value_and_the_cap() -> None:
    """Two voters, one of them never started: what is proposed waits for a leader in vain."""
    with Cluster(
        2, "--max-pending", "3", "--max-entry-bytes", "100B", "--max-clients", "2"
    ) as group:
        group[1].start()
        wait_for("the socket", lambda: group[1].status() is not None)
        with group[1].client(timeout=20) as client:
            answers = list(client.propose_many([b"x"] * 8, inflight=8, timeout=15))
            errors = [answer.error for answer in answers if answer.error is not None]
            assert len(errors) == 8
            held = [error for error in errors if error.code == Code.NO_QUORUM]
            refused = [error for error in errors if error.code == Code.OVERLOADED]
            assert len(held) == 3
            assert len(refused) == 5
            for error in refused:
                assert error.details == {"limit": "max_pending", "value": "3", "cap": "3"}
                assert "the limit is 3 (max_pending)" in error.message
                assert error.retry_after_ms > 0
                assert error.outcome is Outcome.NOT_APPLIED
            (large,) = (answer.error for answer in client.propose_many([b"x" * 101]))
            assert isinstance(large, AdminError)
            assert large.code == Code.TOO_LARGE
            assert large.details == {"limit": "max_entry_bytes", "value": "101", "cap": "100"}
            # Asked without a leader, and with its limits reached, it still says how it is.
            assert client.status().health.state == "unhealthy"


def test_a_leader_full_of_what_is_not_committed_takes_more_once_it_is() -> None:
    """Both followers stand still for a moment, in which the leader does not give up on them."""
    sizes = ("--max-size-per-msg", "16KiB", "--max-uncommitted-size", "16KiB")
    with Cluster(3, *sizes, "--election-timeout", "10s") as group:
        for node in group.nodes.values():
            node.start()
        wait_for("all to answer", lambda: all(n.status() is not None for n in group.nodes.values()))
        with group[1].client(timeout=20) as client:

            def leads() -> bool:
                with contextlib.suppress(AdminError):  # Its links may not be up yet.
                    client.campaign()
                statuses = [node.status() for node in group.nodes.values()]
                return all(status is not None and status.leader == 1 for status in statuses)

            wait_for("node 1 to lead", leads)
            client.propose(b"before")
            followers = [group[2], group[3]]
            for follower in followers:
                follower.signal(signal.SIGSTOP)
            try:
                for _ in range(16):
                    client.propose(bytes(1000), wait="none")
                wait_for("16 entries", lambda: client.status().limits.uncommitted_bytes >= 16_000)
                with pytest.raises(AdminError) as refused:
                    client.propose(bytes(1000))
            finally:
                for follower in followers:
                    follower.signal(signal.SIGCONT)
            assert refused.value.code == Code.OVERLOADED
            assert "max_uncommitted_size (16384)" in refused.value.message
            assert refused.value.outcome is Outcome.NOT_APPLIED
            wait_for("room", lambda: not client.status().limits.uncommitted_bytes)
            client.propose(bytes(1000))
            entries = group.applied(1, "normal")
            assert [len(entry.data) for entry in entries] == [len(b"before"), *[1000] * 17]
