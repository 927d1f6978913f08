"""When a write is made durable, and on which thread.

A loop without Raft in it, on a quiet disk (0.2 to 0.3 ms a flush), answered one client in 0.64 ms
with the flush in line and in 0.85 through a worker thread: no thread has to win the interpreter
lock back. Three daemons on a busy disk (1 to 3 ms) answered one client in 1.1 ms in line and 0.9
through a thread, and 256 clients in 25 ms and 22: while the disk is slow there is other work to do.
So: in line while the disk is quick, in a worker thread once it is not.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from raftd.measures import Durations

INLINE_SECONDS_MAX: Final = 0.0005
"""A disk whose flushes take longer on average is waited for in a thread."""

_SMOOTHING: Final = 0.1


class FlushTimes:
    """How long flushes take: a running mean, the recent ones for percentiles, a histogram."""

    __slots__ = ("_recent", "count", "durations", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self.count = 0
        self._recent = [0.0] * 512
        self.durations = Durations()

    def note(self, seconds: float) -> None:
        """Take one flush into account."""
        self.mean += (seconds - self.mean) * _SMOOTHING
        self._recent[self.count % len(self._recent)] = seconds
        self.count += 1
        self.durations.note(seconds)

    @property
    def inline(self) -> bool:
        """Whether the next flush should run in line."""
        return self.mean < INLINE_SECONDS_MAX

    def percentile(self, fraction: float) -> float:
        """Return the seconds that ``fraction`` of the recent flushes did not exceed; 0 if none."""
        recent = sorted(self._recent[: min(self.count, len(self._recent))])
        return recent[min(int(len(recent) * fraction), len(recent) - 1)] if recent else 0.0


class Flusher:
    """A thread that flushes when asked and reports back on the event loop.

    Args:
        sync: Makes all writes so far durable; blocks.
        done: Called on the loop with the mark, the seconds taken and what was raised, if anything.
    """

    def __init__(
        self,
        sync: Callable[[], None],
        done: Callable[[int, float, BaseException | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sync = sync
        self._done = done
        self._marks: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def flush(self, mark: int) -> None:
        """Flush in the thread; ``done`` hears of it with ``mark``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
            self._thread.start()
        self._marks.put(mark)

    def _run(self) -> None:
        while (mark := self._marks.get()) is not None:
            started = time.perf_counter()
            failure: BaseException | None = None
            try:
                self._sync()
            except BaseException as error:
                failure = error
            seconds = time.perf_counter() - started
            try:
                self._loop.call_soon_threadsafe(self._done, mark, seconds, failure)
            except RuntimeError:
                return  # The loop is closed: nobody is left to hear of it.

    def close(self) -> None:
        """Wait for the running flush and end the thread."""
        if self._thread is not None:
            self._marks.put(None)
            self._thread.join()
            self._thread = None
