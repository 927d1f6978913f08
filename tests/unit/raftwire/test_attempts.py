"""raftwire._attempts: what may be repeated, when, and what outcome covers all attempts."""

from __future__ import annotations

from typing import Any

import pytest

from raftwire import admin
from raftwire._attempts import Attempts, cannot_connect, connection_lost, timed_out
from raftwire.admin import Call
from raftwire.errors import AdminError, Code, Outcome

WRITE = admin.propose(b"x")
KEYED = admin.propose(b"x", "key")
READ = admin.read_index()


def attempts(call: Call[Any], *, sockets: int = 1, retries: bool = True) -> Attempts:
    return Attempts(call, 10.0, sockets=sockets, retries=retries)


def unreachable(path: str = "/s") -> AdminError:
    return cannot_connect(path, OSError(2, "No such file or directory"))


def test_each_socket_is_tried_once_more() -> None:
    tries = attempts(WRITE, sockets=2)
    assert tries.after(unreachable("/a"), 0.0, delivered=False) == 0.0
    assert tries.after(unreachable("/b"), 0.0, delivered=False) == 0.0
    with pytest.raises(AdminError, match=r"/a: no such socket.*; /b: no such socket") as final:
        tries.after(unreachable("/a"), 0.0, delivered=False)
    assert final.value.code is Code.CONNECT
    assert final.value.outcome is Outcome.NOT_APPLIED


def test_a_write_that_may_have_arrived_is_not_repeated() -> None:
    lost = connection_lost(WRITE, "/s", delivered=True)
    with pytest.raises(AdminError) as final:
        attempts(WRITE).after(lost, 0.0, delivered=True)
    assert final.value.code is Code.CONNECTION_LOST_UNKNOWN
    assert final.value.outcome is Outcome.UNKNOWN


def test_a_refused_write_without_a_key_is_the_callers_to_repeat() -> None:
    with pytest.raises(AdminError):
        attempts(WRITE).after(AdminError(Code.NO_LEADER, "x"), 0.0, delivered=True)


def test_a_keyed_write_is_repeated_with_growing_pauses() -> None:
    tries = attempts(KEYED)
    lost = connection_lost(KEYED, "/s", delivered=True)
    delays = [tries.after(lost, 0.0, delivered=True) for _ in range(9)]
    assert delays == sorted(delays)
    assert delays[0] == 0.01
    assert delays[-1] == 0.5


def test_the_wish_of_the_refuser_is_honoured() -> None:
    tries = attempts(KEYED)
    wish = AdminError(Code.OVERLOADED, "x", retry_after_ms=700)
    assert tries.after(wish, 0.0, delivered=True) == 0.7


def test_the_outcome_covers_all_attempts() -> None:
    tries = attempts(KEYED)
    tries.after(connection_lost(KEYED, "/s", delivered=True), 0.0, delivered=True)
    with pytest.raises(AdminError, match=r"earlier attempt is unknown.*no leader") as final:
        tries.after(AdminError(Code.NO_LEADER, "no leader"), 9.99, delivered=True)
    assert final.value.outcome is Outcome.UNKNOWN
    assert final.value.exit_code == 6
    assert final.value.details["last_code"] == "NO_LEADER"


def test_nothing_is_repeated_past_the_deadline_or_without_retries() -> None:
    refusal = AdminError(Code.NO_LEADER, "x", retry_after_ms=200)
    assert attempts(READ).after(refusal, 9.7, delivered=False) == 0.0
    with pytest.raises(AdminError):
        attempts(READ).after(refusal, 9.9, delivered=True)
    with pytest.raises(AdminError):
        attempts(READ, retries=False).after(refusal, 0.0, delivered=True)


def test_a_read_does_not_wait_for_a_daemon_that_is_not_there() -> None:
    tries = attempts(READ)
    tries.after(unreachable(), 0.0, delivered=False)
    with pytest.raises(AdminError):
        tries.after(unreachable(), 0.0, delivered=False)


def test_a_keyed_write_waits_for_a_daemon_that_comes_back() -> None:
    tries = attempts(KEYED)
    tries.after(unreachable(), 0.0, delivered=False)
    assert tries.after(unreachable(), 0.0, delivered=False) > 0


def test_a_request_that_cannot_be_served_is_not_repeated() -> None:
    with pytest.raises(AdminError):
        attempts(KEYED).after(AdminError(Code.TOO_LARGE, "x"), 0.0, delivered=True)


def test_what_a_missing_answer_means() -> None:
    assert timed_out(WRITE, 5).code is Code.TIMEOUT_UNKNOWN
    assert timed_out(READ, 5).code is Code.TIMEOUT
    assert connection_lost(READ, "/s", delivered=True).code is Code.CONNECT
    assert connection_lost(WRITE, "/s", delivered=False).outcome is Outcome.NOT_APPLIED


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (2, Code.CONNECT, "raftd does not run here"),
        (111, Code.CONNECT, "nobody listens"),
        (13, Code.PERMISSION, "no permission"),
        (24, Code.CONNECT, "cannot connect"),
    ],
)
def test_a_failed_connect_says_what_it_means(number: int, code: Code, message: str) -> None:
    error = cannot_connect("/s", OSError(number, "why"))
    assert error.code is code
    assert message in error.message
    assert error.details["socket"] == "/s"
