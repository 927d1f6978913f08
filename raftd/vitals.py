"""Looks at the node once a second: feeds the watchdog, tells systemd, warns of slow disks.

The watchdog is fed only when the node has ticked since the last look and the disk has not left a
flush unfinished from one look to the next: a process that merely runs is not alive.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.measures import Durations
from raftd.notify import Notifier
from raftwire.errors import AdminError, Code

LOOK_SECONDS: Final = 1.0
DISK_SECONDS: Final = 5.0
WARN_SECONDS: Final = 30.0
"""A warning that still holds is repeated after this long, not sooner."""

_ROOM: Final = 0.9
"""Proposals are taken again when the data is below this part of the quota."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What is looked at."""

    ticks: int
    """Grows while the node keeps time."""
    flushes: int
    """Flushes finished."""
    flushing: bool
    """Whether written data waits for a flush."""
    joint_seconds: float
    """How long the group has been between two configurations; 0: it is not."""
    text: str
    """The node in a line."""


class Disk(Protocol):
    """Whoever knows how full the disk is."""

    def disk_usage(self) -> int:
        """Return the bytes the data takes."""
        ...

    def free_bytes(self) -> int:
        """Return the bytes free on its file system."""
        ...


class Room:
    """Whether there is room for more data; with hysteresis, so that it does not flutter."""

    def __init__(self, config: DaemonConfig, disk: Disk, log: Log) -> None:
        self._config = config
        self._disk = disk
        self._log = log
        self.error: AdminError | None = None
        """The refusal of proposals; None: there is room."""
        self.used = 0
        self.free = 0

    def look(self) -> None:
        """Look at the disk."""
        config = self._config
        self.used, self.free = self._disk.disk_usage(), self._disk.free_bytes()
        full = self.error is not None
        quota = config.quota * (_ROOM if full else 1.0)
        least = config.min_free_disk * (1 / _ROOM if full else 1.0)
        if config.quota and self.used > quota:
            self._refuse(
                f"the data takes {self.used} bytes; the quota is {config.quota}",
                {"limit": "quota", "value": self.used, "cap": config.quota},
            )
        elif config.min_free_disk and self.free < least:
            self._refuse(
                f"the disk has {self.free} bytes free; {config.min_free_disk} must be",
                {"limit": "min_free_disk", "value": self.free, "cap": config.min_free_disk},
            )
        elif full:
            self.error = None
            self._log.info("disk has room again", used=self.used, free=self.free)

    def _refuse(self, words: str, details: dict[str, object]) -> None:
        if self.error is None:
            self._log.error("disk full", reason=words)
        self.error = AdminError(Code.QUOTA, words, details=details)


class Vitals:
    """Looks at the node, again and again.

    Args:
        signs: Returns what is to be looked at.
        fsync, apply: How long flushes, and writing and applying batches, took.
        extra: Called with each look: what others want to do once a second.
    """

    def __init__(
        self,
        config: DaemonConfig,
        notifier: Notifier,
        signs: Callable[[], Signs],
        *,
        fsync: Durations,
        apply: Durations,
        room: Room,
        log: Log,
        extra: Callable[[float], None] = lambda now: None,
    ) -> None:
        self._config = config
        self._notifier = notifier
        self._signs = signs
        self._fsync = fsync
        self._apply = apply
        self._room = room
        self._log = log
        self._extra = extra
        self._last: Signs | None = None
        self._warned: dict[str, float] = {}
        self._disk_due = 0.0
        self.moving = True
        """Whether the node kept time and finished its flushes, when it was last looked at."""
        self.stuck = 0
        """Looks at which the watchdog was not fed."""

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        seconds = self._notifier.watchdog_seconds
        # Half the watchdog's patience at most, as sd_watchdog_enabled(3) advises.
        return min(LOOK_SECONDS, seconds / 2) if seconds else LOOK_SECONDS

    async def run(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self.look(loop.time())
            await asyncio.sleep(self.interval)

    def look(self, now: float) -> None:
        """Look once, at loop time ``now``."""
        signs = self._signs()
        last, self._last = self._last, signs
        self.moving = last is None or moves_on(last, signs)
        if self.moving:
            self._notifier.alive()
        else:
            self.stuck += 1
        self._notifier.status(signs.text)
        if now >= self._disk_due:
            self._disk_due = now + DISK_SECONDS
            self._room.look()
        self._warn_of_slowness(now)
        after = self._config.joint_warn_after
        if after and signs.joint_seconds > after and self._may_warn("joint", now):
            self._log.warning(
                "still joint",
                seconds=round(signs.joint_seconds),
                advice="see raftctl member status; then finalize or abort",
            )
        self._extra(now)

    def _warn_of_slowness(self, now: float) -> None:
        config = self._config
        worst = self._fsync.take_worst()
        if config.slow_fsync and worst > config.slow_fsync and self._may_warn("fsync", now):
            self._log.warning("slow disk", **_figures(worst, self._fsync))
        worst = self._apply.take_worst()
        if config.slow_apply and worst > config.slow_apply and self._may_warn("apply", now):
            self._log.warning("slow apply", **_figures(worst, self._apply))

    def _may_warn(self, what: str, now: float) -> bool:
        if now - self._warned.get(what, -WARN_SECONDS) < WARN_SECONDS:
            return False
        self._warned[what] = now
        return True


def moves_on(before: Signs, now: Signs) -> bool:
    """Tell whether the node has kept time, and the disk has finished what it had begun."""
    stuck_disk = before.flushing and now.flushing and now.flushes == before.flushes
    return now.ticks > before.ticks and not stuck_disk


def _figures(worst: float, durations: Durations) -> dict[str, float]:
    return {
        "worst_ms": round(worst * 1000, 1),
        "p50_ms": durations.percentile(0.5) * 1000,
        "p99_ms": durations.percentile(0.99) * 1000,
        "count": durations.count,
    }
