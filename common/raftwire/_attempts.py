"""Whether, when and with what outcome a failed request is sent again. Sans-I/O.

Shared by both clients, so that they agree on what may be repeated: a request without effect, and a
proposal with a key. A write without a key whose answer was lost is never sent twice, and its
outcome is reported as unknown.
"""

from __future__ import annotations

from typing import Any, Final

from raftwire.admin import Call
from raftwire.errors import AdminError, Code, Outcome, RemoteError, facts_of

_BACKOFF_FIRST_S: Final = 0.01
_BACKOFF_MAX_S: Final = 0.5


class Attempts:
    """The attempts to get one call answered, up to a deadline on the caller's monotonic clock."""

    __slots__ = (
        "_backoff",
        "_call",
        "_connects_left",
        "_maybe_applied",
        "_refusals",
        "_retries",
        "deadline",
    )

    def __init__(
        self, call: Call[Any], deadline: float, *, sockets: int, retries: bool = True
    ) -> None:
        """Begin.

        Args:
            call: What is asked.
            deadline: When to give up, seconds.
            sockets: How many sockets there are to try.
            retries: Also repeat what may be repeated after an answer says "later".
        """
        self.deadline = deadline
        self._call = call
        self._retries = retries
        self._backoff = _BACKOFF_FIRST_S
        # One more than there are sockets: the first may be a connection that died while idle.
        self._connects_left = sockets
        # What each socket said that could not be asked.
        self._refusals: dict[str, AdminError] = {}
        # An earlier attempt may have been applied, whatever the later ones say.
        self._maybe_applied = False

    def after(self, error: AdminError, now: float, *, delivered: bool) -> float:
        """Return how long to wait before the next attempt, seconds; 0: at once.

        Args:
            error: How the last attempt ended.
            now: The time, seconds.
            delivered: Whether the node may have seen the whole request.

        Raises:
            AdminError: There is no next attempt; its outcome covers all of them.
        """
        call = self._call
        if "socket" in error.details:
            self._refusals[error.details["socket"]] = error
        if delivered and call.writes and error.outcome is Outcome.UNKNOWN:
            self._maybe_applied = True
        if not delivered and self._connects_left > 0:
            # Nothing was asked yet, so asking another member is not a retry.
            self._connects_left -= 1
            return 0.0
        lasting = error.code == Code.CONNECT and not (call.writes and call.repeatable)
        if lasting or not (self._retries and call.repeatable and error.retryable):
            raise self._final(error)
        delay = max(self._backoff, error.retry_after_ms / 1000)
        self._backoff = min(self._backoff * 2, _BACKOFF_MAX_S)
        if now + delay >= self.deadline:
            raise self._final(error)
        return delay

    def _final(self, error: AdminError) -> AdminError:
        if error.code in (Code.CONNECT, Code.PERMISSION) and len(self._refusals) > 1:
            refusals = self._refusals.values()
            error = AdminError(
                error.code,
                "; ".join(refusal.message for refusal in refusals),
                hint=error.hint,
                details={"sockets": " ".join(self._refusals)},
            )
        if not self._maybe_applied or error.outcome is Outcome.UNKNOWN:
            return error
        return AdminError(
            Code.TIMEOUT_UNKNOWN,
            f"the outcome of an earlier attempt is unknown; the last one failed: {error.message}",
            hint=facts_of(Code.TIMEOUT_UNKNOWN).hint,
            details={**error.details, "last_code": error.code},
        )


def timed_out(call: Call[Any], timeout_s: float) -> AdminError:
    """Return the error of a request that was sent and not answered in time."""
    if call.writes:
        return AdminError(
            Code.TIMEOUT_UNKNOWN,
            f"no answer within {timeout_s:g} s: it may or may not have been applied",
        )
    return AdminError(Code.TIMEOUT, f"no answer within {timeout_s:g} s")


def wrong_answer(call: Call[Any], error: RemoteError) -> AdminError:
    """Return the error of a request whose answer breaks the protocol: it was received, no more."""
    return AdminError(
        Code.INTERNAL,
        str(error),
        hint="use versions of raftd and this client that share a protocol",
        outcome=Outcome.UNKNOWN if call.writes else Outcome.NOT_APPLIED,
    )


def connection_lost(call: Call[Any], path: str, *, delivered: bool, reason: str = "") -> AdminError:
    """Return the error of a request whose connection ended before its answer.

    Args:
        call: What was asked.
        path: The socket.
        delivered: Whether the node may have got the whole request.
        reason: What the node said of the connection, if anything.
    """
    because = f" ({reason})" if reason else ""
    if delivered and call.writes:
        return AdminError(
            Code.CONNECTION_LOST_UNKNOWN,
            f"{path} closed the connection after it got the request{because}: "
            "it may or may not have been applied",
            details={"socket": path},
        )
    # Seen or not, a request without effect may be asked again.
    return AdminError(
        Code.CONNECT,
        f"{path} closed the connection before it answered{because}",
        details={"socket": path},
    )


def cannot_connect(path: str, error: OSError) -> AdminError:
    """Return the error of a socket that could not be connected to, with what that means."""
    from errno import EACCES, ECONNREFUSED, ENOENT, EPERM, errorcode

    name = errorcode.get(error.errno or 0, "")
    details = {"socket": path, "errno": name}
    if error.errno in (EACCES, EPERM):
        return AdminError(Code.PERMISSION, f"{path}: no permission to connect", details=details)
    if error.errno == ENOENT:
        return AdminError(
            Code.CONNECT, f"{path}: no such socket: raftd does not run here", details=details
        )
    if error.errno == ECONNREFUSED:
        return AdminError(
            Code.CONNECT,
            f"{path}: nobody listens: raftd has ended without removing its socket",
            hint="start raftd again, or remove the file",
            details=details,
        )
    return AdminError(
        Code.CONNECT, f"{path}: cannot connect: {error.strerror or error}", details=details
    )
