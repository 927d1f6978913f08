"""How much of the log is kept behind what is applied.

State is in the database as soon as it is saved, so dropping old entries needs no snapshot: what is
kept is for followers that lag, and for readers of the log. A follower that lags more gets a
snapshot, made when it is needed; what it will ask for behind that is kept for it, up to a bound.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from raftd.config import DaemonConfig
from raftd.failpoints import hit
from raftd.log import Log
from raftd.replica import Replica
from raftd.storage import LogStore

HELD_FACTOR: Final = 8
"""How many times the usual bytes are kept for a follower that is being sent a snapshot.

By bytes alone, which are what a disk has: a bound by count would be passed within the seconds that
a large state takes to travel, and the follower would need another snapshot as soon as it has one.
"""


class Retention:
    """Drops entries from time to time, so that count and bytes stay within bounds.

    Args:
        applied: Returns the applied index.
        needed_from: Returns the first entry that somebody will ask for soon; 0: nobody will.
        fail: Called with what made a write fail; the node must stop.
    """

    def __init__(
        self,
        config: DaemonConfig,
        store: LogStore,
        replica: Replica,
        applied: Callable[[], int],
        needed_from: Callable[[], int],
        fail: Callable[[BaseException], None],
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._store = store
        self._replica = replica
        self._applied = applied
        self._needed_from = needed_from
        self._fail = fail
        self._log = log
        # (index, bytes written until it was applied), oldest first.
        self._marks: deque[tuple[int, int]] = deque()
        self._next = applied() + self._step
        self._reclaiming: asyncio.Future[bool] | None = None

    @property
    def _step(self) -> int:
        return max(1, min(self._config.compact_entries, 1024))

    def consider(self) -> None:
        """Note how far the log has come, and drop what is too old or too much."""
        applied = self._applied()
        if applied < self._next:
            return
        config = self._config
        if not config.compact_entries:
            self._next = applied + 1024
            return
        self._next = applied + self._step
        self._marks.append((applied, self._replica.bytes_written))
        trailing, most = config.compact_trailing, config.compact_trailing_bytes
        first = self._window(applied, trailing, most)
        if first - self._store.first_index() < config.compact_entries:
            return
        needed = self._needed_from()
        if 0 < needed < first:
            first = max(needed, self._window(applied, applied, HELD_FACTOR * most))
            if first - self._store.first_index() < config.compact_entries:
                return
        try:
            self.drop_before(first)
        except Exception as error:
            self._fail(error)

    def _window(self, applied: int, entries: int, most: int) -> int:
        """Return the first of the last ``entries`` entries, or of ``most`` bytes of them."""
        first = applied + 1 - entries
        written = self._replica.bytes_written
        for index, before in self._marks:
            if written - before <= most:
                break
            first = max(first, index + 1)
        return first

    def drop_before(self, index: int) -> int:
        """Drop the entries before ``index``, as far as they are applied; return how many.

        Raises:
            StoreWriteError: The node must stop.
        """
        store = self._store
        before = store.first_index()
        first = min(index, self._applied() + 1)
        if first <= before:
            return 0
        hit("compact.begin")
        # What is applied and not saved yet can only be had from the log.
        self._replica.save()
        batch = store.new_batch()
        store.compact(batch, first)
        store.write(batch)
        hit("compact.written")
        marks = self._marks
        while marks and marks[0][0] < first:
            marks.popleft()
        self._log.debug("log compacted", first_index=first)
        self._reclaim()
        return first - before

    def _reclaim(self) -> None:
        """Have the space of dropped entries given back in a thread, unless one is at it."""
        if self._reclaiming is None:
            self._reclaiming = self._loop.run_in_executor(None, self._store.reclaim)
            self._reclaiming.add_done_callback(self._reclaimed)

    def _reclaimed(self, future: "asyncio.Future[bool]") -> None:
        self._reclaiming = None
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._fail(error)

    async def close(self) -> None:
        """Wait for the thread that still uses the store."""
        if self._reclaiming is not None:
            await asyncio.wait({self._reclaiming})
