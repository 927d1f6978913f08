"""How much of the log is kept behind what is applied.

State is in the database as soon as it is saved, so dropping old entries needs no snapshot: what is
kept is for followers that lag, and for readers of the log. A follower that lags more gets a
snapshot, made when it is needed.
"""

from collections import deque
from collections.abc import Callable

from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.replica import Replica
from raftd.storage import LogStore


class Retention:
    """Drops entries from time to time, so that count and bytes stay within bounds.

    Args:
        applied: Returns the applied index.
        fail: Called with what made a write fail; the node must stop.
    """

    def __init__(
        self,
        config: DaemonConfig,
        store: LogStore,
        replica: Replica,
        applied: Callable[[], int],
        fail: Callable[[BaseException], None],
        log: Log,
    ) -> None:
        self._config = config
        self._store = store
        self._replica = replica
        self._applied = applied
        self._fail = fail
        self._log = log
        # (index, bytes written until it was applied), oldest first.
        self._marks: deque[tuple[int, int]] = deque()
        self._next = applied() + self._step

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
        written = self._replica.bytes_written
        self._marks.append((applied, written))
        first = applied + 1 - config.compact_trailing
        while self._marks and written - self._marks[0][1] > config.compact_trailing_bytes:
            first = max(first, self._marks.popleft()[0] + 1)
        if first - self._store.first_index() < config.compact_entries:
            return
        while self._marks and self._marks[0][0] < first:
            self._marks.popleft()
        try:
            # What is applied and not saved yet can only be had from the log.
            self._replica.save()
            batch = self._store.new_batch()
            self._store.compact(batch, min(first, applied + 1))
            self._store.write(batch)
        except Exception as error:
            self._fail(error)
            return
        self._log.debug("log compacted", first_index=self._store.first_index())
