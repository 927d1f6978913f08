"""How many requests may wait at once when more arrive than the group can take.

A queue that is not worked off only adds its length to every answer. So waiting is bounded in time,
by a window in numbers: as many as the group answers within ``target`` (Little's law: waiting = rate
x time). The window is in force only while there is a standing queue: from the moment that one has
waited for longer than ``target``, or for a quarter of it longer than the quickest of late with more
behind it than the window holds, until nothing was refused for ``_CALM_SECONDS``. A burst that the
group works off in time is never refused.

The target is an eighth of the election timeout. Where a request takes more than two thirds of that
even if nothing queues, as between distant hosts, it is one and a half times what the quickest of
late took, up to a quarter of the timeout: in a long overload the quickest has queued too. The
timeout is chosen to be ten round trips or more, of which one through a follower takes two; and a
queue as long as this keeps no heartbeat from its time.

Rejected: a fixed number (right for one disk and one network only), and a bound in time alone, as
CoDel has it. In overload an event loop reads thousands of requests in one round, and between two
looks at the clock all of them would be let in.
"""

import math
import sys
from typing import Final

from raftd.requests import over_limit
from raftwire.errors import AdminError

_TARGET_LEAST: Final = 1 / 8
_TARGET_MOST: Final = 1 / 4
"""Of the election timeout."""
_OVER_QUICKEST: Final = 1.5
_QUICKEST_SECONDS: Final = 5.0
"""The quickest of so long, and of as long before, counts."""
_WINDOW_LEAST: Final = 256
"""How many may wait however slow the group is: several times what one client pipelines."""
_EARLY: Final = 0.25
"""Of the target: by then there is a rate to judge a queue by, and the queue is not long yet."""
_CALM_SECONDS: Final = 1.0
_PERIOD: Final = 0.1
"""Over so many seconds the rate is counted, at least."""
_SMOOTHING: Final = 0.5
"""Weight of the newest period in the rate."""
_NO_LIMIT: Final = sys.maxsize


class Admission:
    """The window of one node's proposals, or of its reads.

    Args:
        what: Which, in words.
        election_timeout: Seconds; see above.

    Attributes:
        target: Seconds that one is to wait at most.
        window: How many may wait now; beyond that refuse with `refusal`.
    """

    __slots__ = (
        "_answered", "_busy_until", "_early", "_least", "_most", "_now", "_oldest", "_quickest",
        "_quickest_before", "_quickest_since", "_rate", "_refusal", "_refused", "_since", "_what",
        "target", "window",
    )  # fmt: skip

    def __init__(self, what: str, election_timeout: float) -> None:
        self._what = what
        self._least = election_timeout * _TARGET_LEAST
        self._most = election_timeout * _TARGET_MOST
        self.target = self._most  # Until it is known how quick this group is.
        self._early = self.target * _EARLY
        self._quickest = self._quickest_before = math.inf
        self._quickest_since = 0.0
        self.window = _NO_LIMIT
        self._rate = 0.0
        self._answered = 0
        self._since = 0.0
        self._busy_until = 0.0
        self._now = 0.0
        self._oldest = 0.0
        self._refused = False
        self._refusal: AdminError | None = None

    def took(self, seconds: float) -> None:
        """Hear how long one took that was answered, among the quickest of its batch."""
        self._quickest = min(self._quickest, seconds)

    def look(self, now: float, answered: int, waiting: int, oldest: float) -> None:
        """Set the window anew.

        Args:
            now: The time, seconds.
            answered: How many were ever answered as they should be.
            waiting: How many wait for an answer now.
            oldest: When the one that waits for longest was taken; ``inf`` if none waits.
        """
        elapsed = now - self._since
        if elapsed >= _PERIOD:
            # A time without any answer is an outage, say an election: what the group is able to do
            # is not known from it.
            if answered > self._answered:
                rate = (answered - self._answered) / elapsed
                self._rate += (rate - self._rate) * (_SMOOTHING if self._rate else 1.0)
            self._answered, self._since = answered, now
            self._set_target(now)
        window = max(_WINDOW_LEAST, int(self._rate * self.target))
        wait, target = now - oldest, self.target
        if self._refused or wait > target or (wait > self._early and waiting > window):
            self._busy_until = now + _CALM_SECONDS
            self._refused = False
        self._refusal = None
        self._now, self._oldest = now, oldest
        self.window = window if now < self._busy_until else _NO_LIMIT

    def _set_target(self, now: float) -> None:
        quickest = min(self._quickest, self._quickest_before)
        if quickest < math.inf:
            wanted = max(self._least, quickest * _OVER_QUICKEST)
            self.target = min(wanted, self._most)
            self._early = quickest + self.target * _EARLY
        if now - self._quickest_since >= _QUICKEST_SECONDS:
            self._quickest_before, self._quickest = self._quickest, math.inf
            self._quickest_since = now

    def refusal(self, waiting: int) -> AdminError:
        """Return the refusal of what exceeds the window; the same one until the next `look`.

        In overload refusals are most of what a node says, so each must cost little.
        """
        self._refused = True
        if self._refusal is None:
            seconds = max(0.0, self._now - self._oldest)
            self._refusal = over_limit(
                "window",
                waiting,
                self.window,
                f"{waiting} {self._what} wait, the oldest for {seconds:.2f} s, and more arrive "
                "than the group can take",
                retry_after_ms=round(self.target * 1000),
            )
        return self._refusal
