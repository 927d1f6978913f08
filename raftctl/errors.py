"""What can go wrong in raftctl, and the exit code that each of it ends in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raftwire.errors import AdminError, Code, ExitCode, LocalError, Outcome, WireError, facts_of

if TYPE_CHECKING:
    import click

__all__ = ["EXIT_MEANINGS", "CtlError", "ExitCode", "from_file", "from_usage", "from_wire"]

EXIT_MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "It worked.",
    ExitCode.FAILED: "It failed and was definitely not applied.",
    ExitCode.USAGE: "The command line is wrong, or a confirmation was not given.",
    ExitCode.UNREACHABLE: "raftd cannot be reached: no socket, no permission, other protocol.",
    ExitCode.PRECONDITION: "A precondition does not hold: membership, lag, joint state, "
    "compacted log, compared value.",
    ExitCode.NO_LEADER: "There is no leader or no quorum; nothing was applied.",
    ExitCode.OUTCOME_UNKNOWN: "The outcome is unknown: it may have been applied, or may yet be.",
    ExitCode.CHECK_FAILED: "A check failed, or a condition did not come true in time.",
    ExitCode.OVERLOADED: "The node is overloaded or full; retry later.",
    ExitCode.CORRUPT: "Data is corrupt.",
    ExitCode.INTERRUPTED: "Interrupted with Ctrl-C.",
    ExitCode.BROKEN_PIPE: "The reader of standard output went away.",
}
"""The meaning of each exit code, for ``--help`` and the manual."""

_OWN_EXIT: Final[dict[str, ExitCode]] = {
    "USAGE": ExitCode.USAGE,
    "NOT_CONFIRMED": ExitCode.USAGE,
    "CHECK_FAILED": ExitCode.CHECK_FAILED,
}
"""Exit codes of the error codes that only raftctl itself raises."""


class CtlError(Exception):
    """A failure that is told to the user: what happened, what it means, what to do next.

    Attributes:
        code: Stable name, upper case, for scripts.
        message: What happened.
        hint: What to do next; may be empty.
        outcome: ``not_applied`` or ``unknown``; what became of the write if there was one.
        retryable: Whether the same command may work later.
        retry_after_ms: When to retry; 0: not told.
        details: Figures behind the message, by name.
        exit_code: What the process ends with.
        data: What of the answer is there in spite of the failure; empty: nothing.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        outcome: str | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
        details: dict[str, str] | None = None,
        exit_code: ExitCode | None = None,
    ) -> None:
        super().__init__(message)
        facts = facts_of(code)
        self.code = str(code)
        self.message = message
        self.hint = facts.hint if hint is None else hint
        self.outcome = str(facts.outcome if outcome is None else outcome)
        self.retryable = facts.retryable if retryable is None else retryable
        self.retry_after_ms = facts.retry_after_ms if retry_after_ms is None else retry_after_ms
        self.details = details or {}
        self.data: dict[str, Any] = {}
        if exit_code is None:
            # A script must never take exit 1 for "not applied" when it may have been.
            unknown = self.outcome == Outcome.UNKNOWN
            own = _OWN_EXIT.get(code, facts.exit_code)
            exit_code = ExitCode.OUTCOME_UNKNOWN if unknown else own
        self.exit_code = exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the error as it stands in the JSON envelope."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "outcome": self.outcome,
            "retryable": self.retryable,
            "retry_after_ms": self.retry_after_ms,
            "details": self.details,
        }


def from_file(path: object, error: OSError) -> CtlError:
    """Turn the failure of a local file into an error that is told to the user."""
    return CtlError(
        "FILE",
        f"{path}: {error.strerror or error}.",
        hint="",
        outcome=Outcome.NOT_APPLIED,
        exit_code=ExitCode.FAILED,
    )


def from_wire(error: WireError) -> CtlError:
    """Turn an error of the admin protocol into one that is told to the user."""
    if isinstance(error, AdminError):
        return CtlError(
            error.code,
            error.message,
            hint=error.hint,
            outcome=error.outcome,
            retryable=error.retryable,
            retry_after_ms=error.retry_after_ms,
            details=dict(error.details),
            exit_code=error.exit_code,
        )
    if isinstance(error, LocalError):
        return CtlError("USAGE", f"{error}.", hint="")
    # Bytes that do not parse: nobody knows what the other side made of the request.
    return CtlError(
        Code.UNSUPPORTED_VERSION,
        f"raftd and raftctl do not understand each other: {error}.",
        outcome=Outcome.UNKNOWN,
    )


def from_usage(error: click.ClickException) -> CtlError:
    """Turn one of click's complaints into ours, keeping its exit code."""
    ctx = getattr(error, "ctx", None)
    hint = f"see: {ctx.command_path} --help" if ctx is not None else ""
    return CtlError("USAGE", error.format_message(), hint=hint, exit_code=ExitCode.USAGE)
