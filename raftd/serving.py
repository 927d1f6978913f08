"""What serving any request takes: who asked, the kinds of handler, how much time there is."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from raftwire.admin import Request, Response
from raftwire.limits import REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX


class Caller(Protocol):
    """Whoever a request came from."""

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""
        ...

    @property
    def access(self) -> str:
        """What it may: ``rw``, or ``ro`` to look and read."""
        ...

    def changed(self, verb: str, code: str) -> None:
        """Hear that something was changed for it, or why not; for the record."""
        ...

    def send(self, response: Response) -> None:
        """Send an answer."""
        ...

    def send_encoded(self, request_id: int, encoded: bytes) -> None:
        """Send an answer that is encoded already, the last to its request."""
        ...

    async def drain(self) -> None:
        """Return when there is room for more; raises ConnectionError when the caller is gone."""
        ...


Handler = Callable[[Caller, Request], Coroutine[Any, Any, Response]]
"""Answers a request once."""

Stream = Callable[[Caller, Request], AsyncIterator[Response]]
"""Answers a request piece by piece."""


def seconds_of(request: Request) -> float:
    """Return how long the answer may take; a little less than the client waits for it."""
    milliseconds = min(request.deadline_ms or REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX)
    return max(milliseconds * 0.95, milliseconds - 200) / 1000
