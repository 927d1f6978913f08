"""raftwire.errors: every code has its facts, and errors survive the trip over the wire."""

from __future__ import annotations

import pytest

from raftwire.admin import error_from_response, error_response, parse_response
from raftwire.errors import AdminError, Code, ExitCode, Outcome, facts_of
from raftwire.proto import admin_pb2


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_facts(code: Code) -> None:
    facts = code.facts
    assert code.value == code.name
    assert facts.exit_code is not ExitCode.OK
    assert (facts.exit_code is ExitCode.OUTCOME_UNKNOWN) == code.endswith("_UNKNOWN")
    assert facts.outcome in (Outcome.NOT_APPLIED, Outcome.UNKNOWN)
    assert facts.retry_after_ms == 0 or facts.retryable
    assert facts.hint == facts.hint.strip().rstrip(".")


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (Code.CONNECT, 3),
        (Code.PERMISSION, 3),
        (Code.UNSUPPORTED_VERSION, 3),
        (Code.CONF_PENDING, 4),
        (Code.LEARNER_LAGGING, 4),
        (Code.COMPACTED, 4),
        (Code.NO_LEADER, 5),
        (Code.NO_QUORUM, 5),
        (Code.TIMEOUT_UNKNOWN, 6),
        (Code.CONNECTION_LOST_UNKNOWN, 6),
        (Code.OVERLOADED, 8),
        (Code.QUOTA, 8),
        (Code.CORRUPT, 9),
        (Code.INVALID_REQUEST, 2),
        (Code.TOO_LARGE, 1),
    ],
)
def test_exit_codes_are_stable(code: Code, exit_code: int) -> None:
    assert AdminError(code, "x").exit_code == exit_code


def test_an_unknown_outcome_decides_the_exit_code() -> None:
    assert AdminError(Code.NO_LEADER, "x", outcome=Outcome.UNKNOWN).exit_code == 6
    assert AdminError(Code.INTERNAL, "x").exit_code == 6
    assert AdminError(Code.INTERNAL, "x", outcome="not_applied").exit_code == 1


def test_a_newer_nodes_code_is_kept() -> None:
    error = AdminError("FROM_THE_FUTURE", "x", retryable=True)
    assert (error.code, error.exit_code, error.retryable) == ("FROM_THE_FUTURE", 1, True)
    assert facts_of("FROM_THE_FUTURE").outcome is Outcome.NOT_APPLIED


def test_outcomes_are_numbered_as_on_the_wire() -> None:
    for outcome in Outcome:
        assert admin_pb2.Outcome.Name(outcome.number) == outcome.name
        assert Outcome.from_number(outcome.number) is outcome
    assert len(Outcome) + 1 == len(admin_pb2.Outcome.keys())
    assert Outcome.from_number(0) is None
    assert Outcome.from_number(99) is None


def test_an_error_survives_the_trip() -> None:
    sent = AdminError(
        Code.NO_QUORUM,
        "1 of 3 voters reachable",
        hint="start node 2",
        outcome=Outcome.UNKNOWN,
        retryable=False,
        retry_after_ms=70,
        details={"reachable": 1, "voters": 3},
    )
    got = error_from_response(parse_response(error_response(9, sent).SerializeToString()))
    assert vars(got) == vars(sent)
    assert isinstance(got.code, Code)
    assert got.details == {"reachable": "1", "voters": "3"}


def test_a_request_that_writes_nothing_has_no_unknown_outcome() -> None:
    response = error_response(1, AdminError(Code.INTERNAL, "x"))
    assert error_from_response(response, writes=False).outcome is Outcome.NOT_APPLIED


def test_an_error_prints_code_and_message() -> None:
    error = AdminError(Code.TOO_LARGE, "2 MiB")
    assert str(error) == "TOO_LARGE: 2 MiB"
    assert repr(error) == "AdminError('TOO_LARGE', '2 MiB', outcome='not_applied')"
    assert error.args == ("2 MiB",)
