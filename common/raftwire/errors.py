"""What can go wrong between processes: the exceptions, and the stable codes with their meaning.

    WireError
    ├── LocalError            our own fault: what we were asked to send cannot be said
    ├── RemoteError           the other side's fault: its bytes broke the protocol
    │   ├── FrameError        a length of zero or above the limit, or an end inside a frame
    │   ├── MessageError      a frame that does not parse, or says what may not be said
    │   └── HelloRefused      the two sides do not belong together (code, message, hint)
    └── AdminError            a request was answered with an error, or could not be answered

A code is one of ``Code``; its exit code, what it says about a write's outcome, whether trying again
may help, and the default advice stand in one table at the end of this file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import NamedTuple


class WireError(Exception):
    """Base of every error of this package."""


class LocalError(WireError):
    """We were asked to send what the protocol cannot carry. Nothing was sent."""


class RemoteError(WireError):
    """The other side broke the protocol. The connection is of no further use."""


class FrameError(RemoteError):
    """A frame's length is zero or above the limit, or the stream ended inside a frame.

    Attributes:
        oversized: The length is above the limit: what to answer with TOO_LARGE.
    """

    def __init__(self, message: str, *, oversized: bool = False) -> None:
        super().__init__(message)
        self.oversized = oversized


class MessageError(RemoteError):
    """A frame does not parse, or its message says what may not be said here."""


class HelloRefused(RemoteError):
    """The two sides of a connection do not belong together.

    Attributes:
        code: Why, as a ``Code`` (or a newer one, as a string).
        message, hint: For people.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({code})")
        self.code = as_code(code)
        self.message = message
        self.hint = hint


class ExitCode(IntEnum):
    """What a command's exit status says. Documented and stable."""

    OK = 0
    #: Failed, and definitely not applied.
    FAILED = 1
    #: Bad arguments, or refused for want of a confirmation.
    USAGE = 2
    #: No answer can be had from raftd: no socket, no permission, other protocol.
    UNREACHABLE = 3
    #: The group's state forbids it: membership, lag, joint, compacted.
    PRECONDITION = 4
    #: No leader or no quorum; not applied.
    NO_LEADER = 5
    #: It may or may not have been applied.
    OUTCOME_UNKNOWN = 6
    #: A check failed: health, doctor, verify, a benchmark's threshold.
    CHECK_FAILED = 7
    #: Overloaded or out of quota: try later.
    OVERLOADED = 8
    #: Data is corrupt.
    CORRUPT = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Outcome(StrEnum):
    """What became of a write. ``number`` is the value of ``raftwire.admin.Outcome``."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    #: It may be, or may yet become, applied.
    UNKNOWN = "unknown"
    #: In the log for good, not applied yet; only when that was all that was asked for.
    COMMITTED = "committed"
    #: Handed to the leader; only when that was all that was asked for.
    SUBMITTED = "submitted"

    @property
    def number(self) -> int:
        """The value on the wire."""
        return _OUTCOMES.index(self) + 1

    @classmethod
    def from_number(cls, number: int) -> Outcome | None:
        """Return the outcome of a value on the wire; None when it says none."""
        return _OUTCOMES[number - 1] if 0 < number <= len(_OUTCOMES) else None


_OUTCOMES = tuple(Outcome)


class Code(StrEnum):
    """The stable error codes. Never renamed; new ones may come."""

    # Leadership.
    NOT_LEADER = "NOT_LEADER"
    NO_LEADER = "NO_LEADER"
    NO_QUORUM = "NO_QUORUM"
    TRANSFER_IN_PROGRESS = "TRANSFER_IN_PROGRESS"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    CAMPAIGN_LOST = "CAMPAIGN_LOST"
    NOT_PROMOTABLE = "NOT_PROMOTABLE"
    # Time and connection.
    TIMEOUT = "TIMEOUT"
    TIMEOUT_UNKNOWN = "TIMEOUT_UNKNOWN"
    LEADERSHIP_LOST_UNKNOWN = "LEADERSHIP_LOST_UNKNOWN"
    CONNECTION_LOST_UNKNOWN = "CONNECTION_LOST_UNKNOWN"
    CONNECT = "CONNECT"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    MEMBER_UNREACHABLE = "MEMBER_UNREACHABLE"
    CANCELLED = "CANCELLED"
    # Load and size.
    OVERLOADED = "OVERLOADED"
    TOO_LARGE = "TOO_LARGE"
    QUOTA = "QUOTA"
    STALE = "STALE"
    # Membership.
    CONF_PENDING = "CONF_PENDING"
    ALREADY_JOINT = "ALREADY_JOINT"
    NOT_JOINT = "NOT_JOINT"
    UNSAFE_RECONFIG = "UNSAFE_RECONFIG"
    INVALID_CONFIG = "INVALID_CONFIG"
    LEARNER_LAGGING = "LEARNER_LAGGING"
    UNKNOWN_MEMBER = "UNKNOWN_MEMBER"
    MEMBER_EXISTS = "MEMBER_EXISTS"
    REMOVED_MEMBER = "REMOVED_MEMBER"
    NOT_MEMBER = "NOT_MEMBER"
    PRECONDITION = "PRECONDITION"
    # Log, state and storage.
    COMPACTED = "COMPACTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    REFUSED = "REFUSED"
    SNAPSHOT_BUSY = "SNAPSHOT_BUSY"
    CORRUPT = "CORRUPT"
    # Protocol and identity.
    CLUSTER_MISMATCH = "CLUSTER_MISMATCH"
    WRONG_NODE = "WRONG_NODE"
    SAME_ID = "SAME_ID"
    DATA_LOST = "DATA_LOST"
    CERTIFICATE_MISMATCH = "CERTIFICATE_MISMATCH"
    STATE_MACHINE_MISMATCH = "STATE_MACHINE_MISMATCH"
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
    UNSUPPORTED = "UNSUPPORTED"
    INVALID_REQUEST = "INVALID_REQUEST"
    PERMISSION = "PERMISSION"
    INTERNAL = "INTERNAL"

    @property
    def facts(self) -> CodeFacts:
        """What the code stands for."""
        return _FACTS[self]


class CodeFacts(NamedTuple):
    """What a code stands for, when the one who raises it does not say otherwise."""

    exit_code: ExitCode
    outcome: Outcome
    retryable: bool
    #: How long to wait before trying again, milliseconds; 0: no wish.
    retry_after_ms: int
    #: What to do next.
    hint: str


def as_code(code: str) -> str:
    """Return the ``Code`` of that name, or the name itself when a newer node made it."""
    try:
        return Code(code)
    except ValueError:
        return code


class AdminError(WireError):
    """A request failed: a node answered so, or no answer could be had.

    Attributes:
        code: A ``Code``, or the plain string of a code that a newer node made.
        message: What happened, and what it means.
        hint: What to do next; may be empty.
        outcome: What became of the write. For a request that writes nothing it says nothing.
        retryable: Whether the same request may succeed later.
        retry_after_ms: The wish of the one who refused, milliseconds; 0: none.
        details: Numbers and ids behind the message, by name.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        outcome: Outcome | str | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = as_code(code)
        facts = facts_of(self.code)
        self.message = message
        self.hint = facts.hint if hint is None else hint
        self.outcome = facts.outcome if outcome is None else Outcome(outcome)
        self.retryable = facts.retryable if retryable is None else retryable
        self.retry_after_ms = facts.retry_after_ms if retry_after_ms is None else retry_after_ms
        self.details = {name: str(value) for name, value in (details or {}).items()}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __repr__(self) -> str:
        return f"AdminError({str(self.code)!r}, {self.message!r}, outcome={self.outcome.value!r})"

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of a command that ends with this error."""
        if self.outcome is Outcome.UNKNOWN:
            return ExitCode.OUTCOME_UNKNOWN
        return facts_of(self.code).exit_code


def facts_of(code: str) -> CodeFacts:
    """Return the facts of a code; those of a plain failure when it is a newer node's."""
    known = _FACTS.get(as_code(code))
    return _PLAIN_FAILURE if known is None else known


_PLAIN_FAILURE = CodeFacts(ExitCode.FAILED, Outcome.NOT_APPLIED, False, 0, "")


def _no(
    exit_code: ExitCode, hint: str, *, retryable: bool = False, retry_after_ms: int = 0
) -> CodeFacts:
    """Describe a refusal: nothing was written."""
    return CodeFacts(exit_code, Outcome.NOT_APPLIED, retryable, retry_after_ms, hint)


def _unknown(hint: str) -> CodeFacts:
    """Describe a lost answer: the write may have happened; only a keyed one may be repeated."""
    return CodeFacts(ExitCode.OUTCOME_UNKNOWN, Outcome.UNKNOWN, True, 0, hint)


_FAILED = ExitCode.FAILED
_REJECTED = ExitCode.PRECONDITION
_LEADERLESS = ExitCode.NO_LEADER

_FACTS: dict[str, CodeFacts] = {
    Code.NOT_LEADER: _no(
        _LEADERLESS, "send it to the leader, or allow forwarding", retryable=True, retry_after_ms=50
    ),
    Code.NO_LEADER: _no(
        _LEADERLESS,
        "an election may be under way: try again; if it lasts, see `raftctl doctor`",
        retryable=True,
        retry_after_ms=200,
    ),
    Code.NO_QUORUM: _no(
        _LEADERLESS,
        "bring back enough voters for a majority; see `raftctl doctor`",
        retryable=True,
        retry_after_ms=500,
    ),
    Code.TRANSFER_IN_PROGRESS: _no(
        _LEADERLESS, "leadership is moving: try again", retryable=True, retry_after_ms=100
    ),
    Code.TRANSFER_FAILED: _no(
        _FAILED,
        "see the target's lag with `raftctl progress`",
        retryable=True,
        retry_after_ms=1000,
    ),
    Code.CAMPAIGN_LOST: _no(
        _FAILED,
        "see who is leader with `raftctl status`",
        retryable=True,
        retry_after_ms=1000,
    ),
    Code.NOT_PROMOTABLE: _no(_REJECTED, "only a voter of the configuration may lead"),
    Code.TIMEOUT: _no(
        _FAILED, "allow more time with --timeout, or see `raftctl status`", retryable=True
    ),
    Code.TIMEOUT_UNKNOWN: _unknown(
        "it may still be applied: look with `raftctl log show`, or repeat it with the same key"
    ),
    Code.LEADERSHIP_LOST_UNKNOWN: _unknown(
        "the next leader may have it: look with `raftctl log show`, or repeat it with the same key"
    ),
    Code.CONNECTION_LOST_UNKNOWN: _unknown(
        "the node may have taken it: look with `raftctl log show`, or repeat it with the same key"
    ),
    Code.CONNECT: _no(
        ExitCode.UNREACHABLE,
        "is raftd running, and is this its --admin-socket?",
        retryable=True,
        retry_after_ms=100,
    ),
    Code.SHUTTING_DOWN: _no(_LEADERLESS, "ask another member", retryable=True, retry_after_ms=200),
    Code.MEMBER_UNREACHABLE: _no(
        _LEADERLESS,
        "see `peers` in `raftctl status` for the reason",
        retryable=True,
        retry_after_ms=500,
    ),
    Code.CANCELLED: _no(_FAILED, ""),
    Code.OVERLOADED: _no(
        ExitCode.OVERLOADED, "slow down and try again", retryable=True, retry_after_ms=100
    ),
    Code.TOO_LARGE: _no(_FAILED, "split the data, or raise --max-entry-bytes on every member"),
    Code.QUOTA: _no(
        ExitCode.OVERLOADED,
        "free space or raise --quota; writes resume by themselves",
        retryable=True,
        retry_after_ms=5000,
    ),
    Code.STALE: _no(
        _LEADERLESS, "allow an older state, or ask for a linearizable read", retryable=True
    ),
    Code.CONF_PENDING: _no(
        _REJECTED,
        "another change is not applied yet: wait for it with `raftctl wait stable-config`",
        retryable=True,
        retry_after_ms=200,
    ),
    Code.ALREADY_JOINT: _no(
        _REJECTED, "end it first: `raftctl member finalize` or `raftctl member abort`"
    ),
    Code.NOT_JOINT: _no(_REJECTED, "there is no change to end; see `raftctl member status`"),
    Code.UNSAFE_RECONFIG: _no(
        _REJECTED, "start the missing members first; --unsafe skips this check"
    ),
    Code.INVALID_CONFIG: _no(_REJECTED, "name at least one voter, and each id once"),
    Code.LEARNER_LAGGING: _no(
        _REJECTED,
        "wait until it has caught up (`raftctl progress`), or add it with promotion",
        retryable=True,
        retry_after_ms=1000,
    ),
    Code.UNKNOWN_MEMBER: _no(_REJECTED, "see the ids with `raftctl member list`"),
    Code.MEMBER_EXISTS: _no(_REJECTED, "see the ids with `raftctl member list`"),
    Code.REMOVED_MEMBER: _no(
        _REJECTED, "an id that has left may not return: start the node anew under another id"
    ),
    Code.NOT_MEMBER: _no(
        _REJECTED, "the node is not, or no longer, part of the group: ask a member"
    ),
    Code.PRECONDITION: _no(_REJECTED, "look at the state as it is now, then decide again"),
    Code.COMPACTED: _no(
        _REJECTED,
        "start at the first index that is still kept; proposals alone (type normal) may be kept "
        "longer",
    ),
    Code.OUT_OF_RANGE: _no(_REJECTED, "see the bounds with `raftctl log stat`"),
    Code.REFUSED: _no(_FAILED, ""),
    Code.SNAPSHOT_BUSY: _no(
        ExitCode.OVERLOADED,
        "another snapshot is being made: try again",
        retryable=True,
        retry_after_ms=1000,
    ),
    Code.CORRUPT: _no(ExitCode.CORRUPT, "do not restart it: replace the member under a new id"),
    Code.CLUSTER_MISMATCH: _no(
        _REJECTED,
        "the two nodes belong to different clusters: check addresses and data directories",
    ),
    Code.WRONG_NODE: _no(
        _REJECTED, "the address leads to another member: correct it with `raftctl member set-addr`"
    ),
    Code.CERTIFICATE_MISMATCH: _no(
        ExitCode.UNREACHABLE,
        "every node needs a certificate of its own: `raftctl tls issue ID`, by one authority",
    ),
    Code.SAME_ID: _no(_REJECTED, "two nodes carry one id: stop one and add it under another id"),
    Code.DATA_LOST: _no(
        _REJECTED,
        "start a node with a new id instead (raftd --id NEW --join ...), and put it in the place "
        "of the old one: `raftctl member replace OLD NEW=HOST:PORT` on another node",
    ),
    Code.STATE_MACHINE_MISMATCH: _no(
        _REJECTED, "every member runs the state machine that the cluster was made with"
    ),
    Code.UNSUPPORTED_VERSION: _no(
        ExitCode.UNREACHABLE, "use versions of raftd and raftctl that share a protocol"
    ),
    Code.UNSUPPORTED: _no(_REJECTED, "this state machine or version does not offer it"),
    Code.INVALID_REQUEST: _no(ExitCode.USAGE, ""),
    Code.PERMISSION: _no(
        ExitCode.UNREACHABLE, "run it as the daemon's user or as a member of --admin-group"
    ),
    # Nothing is known of a write that met a bug.
    Code.INTERNAL: CodeFacts(
        ExitCode.FAILED, Outcome.UNKNOWN, False, 0, "see the daemon's log, and report it"
    ),
}
