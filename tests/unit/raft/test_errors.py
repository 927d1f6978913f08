"""errors.py and invariant.py: the tree, the data each error carries, and what it says."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from raft import errors
from raft.errors import (
    CodecError,
    Compacted,
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    DropReason,
    Error,
    Exists,
    InvalidState,
    Io,
    LogTemporarilyUnavailable,
    MessageRefused,
    NoPendingMembershipChange,
    NotExists,
    Other,
    ProposalDropped,
    RequestSnapshotDropped,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    StepLocalMsg,
    StepPeerNotFound,
    StorageError,
    Store,
    Unavailable,
    ViolatesContract,
)
from raft.invariant import InvariantViolation, fatal
from raft.logger import NULL_LOGGER, Logger, NullLogger

EVERY_ERROR: list[Error] = [
    Io(OSError("disk gone")),
    Store(Compacted()),
    StorageError(),
    Compacted(),
    Unavailable(),
    SnapshotOutOfDate(),
    SnapshotTemporarilyUnavailable(),
    LogTemporarilyUnavailable(),
    Other("broken"),
    StepLocalMsg("MsgHup"),
    StepLocalMsg(),
    StepPeerNotFound(7),
    StepPeerNotFound(),
    MessageRefused("its entries have a gap"),
    *(ProposalDropped(reason) for reason in DropReason),
    RequestSnapshotDropped(),
    RequestSnapshotDropped("this node leads"),
    ConfigInvalid("id is 0"),
    CodecError(),
    CodecError("cut off"),
    Exists(3, "voters"),
    NotExists(4, "learners"),
    InvalidState("Follower"),
    NoPendingMembershipChange(),
    ViolatesContract("start_index is 0"),
    *(ConfChangeError(reason) for reason in ConfChangeReason),
]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda e: f"{type(e).__name__}")
def test_every_error_is_an_error_and_explains_itself(error: Error) -> None:
    assert isinstance(error, Error)
    text = str(error)
    assert len(text.split()) >= 3
    assert not text.startswith("(")
    assert repr(error)


def test_the_list_above_holds_every_class_of_the_tree() -> None:
    classes = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, Error) and cls is not Error
    }
    assert classes == {type(error) for error in EVERY_ERROR}


def test_the_tree_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    for error in EVERY_ERROR:
        assert type(error).__name__ in errors.__doc__


def test_what_a_storage_raises_is_a_storage_error() -> None:
    for cls in (
        Compacted,
        Unavailable,
        SnapshotOutOfDate,
        SnapshotTemporarilyUnavailable,
        LogTemporarilyUnavailable,
    ):
        assert issubclass(cls, StorageError)
        assert str(cls("in these words")) == "in these words"
    assert issubclass(Other, StorageError)


def test_errors_carry_their_data() -> None:
    compacted = Compacted()
    assert Store(compacted).error is compacted
    cause = OSError("x")
    assert Io(cause).cause is cause
    assert Other(cause).cause is cause
    assert (Exists(3, "voters").id, Exists(3, "voters").set) == (3, "voters")
    assert (NotExists(4, "learners").id, NotExists(4, "learners").set) == (4, "learners")
    assert StepPeerNotFound(9).id == 9
    assert "9" in str(StepPeerNotFound(9))
    assert StepLocalMsg("MsgBeat").msg_type == "MsgBeat"
    assert MessageRefused("r").reason == "r"
    assert ViolatesContract("v").message == "v"
    assert ConfigInvalid("c").message == "c"
    assert NoPendingMembershipChange("n").message == "n"
    assert InvalidState(DropReason.NO_LEADER).role is DropReason.NO_LEADER
    assert "NO_LEADER" in str(InvalidState(DropReason.NO_LEADER))


def test_a_dropped_proposal_says_why() -> None:
    assert {reason.name for reason in DropReason} == {
        "NO_LEADER",
        "TRANSFERRING",
        "NOT_MEMBER",
        "TOO_LARGE",
        "UNCOMMITTED_LIMIT",
        "TOO_MANY_READS",
        "CONF_PENDING",
        "FORWARDING_DISABLED",
    }
    messages = {ProposalDropped(reason).message for reason in DropReason}
    assert len(messages) == len(DropReason)
    dropped = ProposalDropped(DropReason.TOO_LARGE, "9 bytes are more than 8")
    assert dropped.reason is DropReason.TOO_LARGE
    assert "9 bytes are more than 8" in str(dropped)


def test_a_refused_change_says_why() -> None:
    messages = {ConfChangeError(reason).message for reason in ConfChangeReason}
    assert len(messages) == len(ConfChangeReason)
    refused = ConfChangeError(ConfChangeReason.REMOVED_ID, "node 3 left at index 9")
    assert refused.reason is ConfChangeReason.REMOVED_ID
    assert "node 3 left at index 9" in str(refused)


def test_fatal_logs_and_raises_with_the_numbers() -> None:
    said: list[tuple[str, dict[str, Any]]] = []

    class Listening(NullLogger):
        def critical(self, event: str, /, **values: Any) -> None:
            said.append((event, values))

    with pytest.raises(InvariantViolation) as caught:
        fatal(Listening(), "the log is cut off", message=1, last_index=7)
    assert said == [("the log is cut off", {"message": 1, "last_index": 7})]
    assert caught.value.message == "the log is cut off"
    assert caught.value.numbers == {"message": 1, "last_index": 7}
    assert str(caught.value) == "the log is cut off [message=1 last_index=7]"


def test_an_invariant_violation_is_no_error_that_a_handler_swallows() -> None:
    assert not issubclass(InvariantViolation, Error)
    assert str(InvariantViolation("no numbers")) == "no numbers"


def test_the_null_logger_is_a_logger_that_says_nothing() -> None:
    logger: Logger = NULL_LOGGER
    for say in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
        assert say("an event", number=1) is None


def test_a_structlog_bound_logger_is_a_logger() -> None:
    structlog = pytest.importorskip("structlog")
    with structlog.testing.capture_logs() as lines:
        logger: Logger = structlog.get_logger()
        logger.info("became leader", term=3)
    assert lines == [{"event": "became leader", "term": 3, "log_level": "info"}]
