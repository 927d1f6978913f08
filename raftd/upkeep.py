"""What a leader keeps up in the replicated state: the group's clock, and the group's settings.

**The clock.** What is forgotten by age must be forgotten by all members at one entry, so the log
has a time of its own, stamped into it by leaders about once a minute while there is traffic. It
never goes back. While a process runs, its monotonic clock says how far the group's clock moves on,
and the wall clock only corrects it when the two agree roughly: a wall clock that is set wrong
changes nothing.

**The settings.** What decides which keys and how much history are remembered is agreed on by the
group. A leader that is started with other limits, or told them by a reload, proposes its own.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from raftd.applier import Applied, Applier
from raftd.applier import Outcome as ApplyOutcome
from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.node import Node
from raftd.settings import Settings
from raftwire.errors import AdminError
from raftwire.peer import ControlCommand
from raftwire.proto.peer_pb2 import SetClock, SetSettings

STAMP_SECONDS: Final = 60.0
"""Time between two stamps of the clock, if anything is applied meanwhile."""

WALL_TRUSTED_MS: Final = 3600 * 1000
"""How far the wall clock may be from where the group's clock should be, and still be followed."""

_ANSWER_SECONDS: Final = 30.0


def next_stamp(log_time_ms: int, elapsed_ms: int | None, wall_ms: int) -> int:
    """Return what the group's clock is to be set to.

    Args:
        log_time_ms: What it says.
        elapsed_ms: Since this process saw it set to that, by the monotonic clock; None: it has not
            seen it being set, and the wall clock is all there is.
        wall_ms: Milliseconds since 1970 by the wall clock.
    """
    if elapsed_ms is None:
        return max(log_time_ms, wall_ms)
    expected = log_time_ms + elapsed_ms
    if abs(wall_ms - expected) <= WALL_TRUSTED_MS:
        return max(log_time_ms, wall_ms)
    return expected


def wanted_settings(config: DaemonConfig, agreed: Settings) -> dict[str, int]:
    """Return the group's settings that this node was told and that differ from those agreed on."""
    told = {
        "sessions_max": ("dedup_entries", config.dedup_entries),
        "session_ttl_ms": ("dedup_ttl", round(config.dedup_ttl * 1000)),
        "history_count": ("history_entries", config.history_entries),
        "history_bytes": ("history_bytes", config.history_bytes),
        "history_age_ms": ("history_age", round(config.history_age * 1000)),
    }
    return {
        name: value
        for name, (option, value) in told.items()
        # A node that was told nothing has no wish: else each new leader would set the defaults.
        if config.origins[option] != "default" and getattr(agreed, name) != value
    }


class Upkeep:
    """Proposes what is due, while this node leads.

    Args:
        wall_ms: Returns the wall clock, milliseconds since 1970.
    """

    def __init__(
        self,
        config: DaemonConfig,
        node: Node,
        applier: Applier,
        wall_ms: Callable[[], int],
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._node = node
        self._applier = applier
        self._wall_ms = wall_ms
        self._log = log
        self._log_time_ms = applier.log_time_ms
        self._stamped_at: float | None = None
        self._stamping = False
        self._setting = False
        self._refused: dict[str, int] = {}
        # Settings that are as this node was told; looked at again when they or it change.
        self._agreed: Settings | None = None

    def consider(self) -> None:
        """See what is due; called after entries were applied."""
        applier = self._applier
        now = self._loop.time()
        if applier.log_time_ms != self._log_time_ms:
            self._log_time_ms = applier.log_time_ms
            self._stamped_at = now
        if not self._node.is_leader:
            return
        stamped_at = self._stamped_at
        if not self._stamping and (stamped_at is None or now - stamped_at >= STAMP_SECONDS):
            elapsed = None if stamped_at is None else int((now - stamped_at) * 1000)
            stamp = next_stamp(self._log_time_ms, elapsed, self._wall_ms())
            self._stamping = self._propose(
                ControlCommand(set_clock=SetClock(unix_ms=stamp)), self._stamped
            )
        if not self._setting and applier.settings is not self._agreed:
            wanted = wanted_settings(self._config, applier.settings)
            if not wanted:
                self._agreed = applier.settings
            elif wanted != self._refused:
                self._setting = self._propose(
                    ControlCommand(set_settings=SetSettings(**wanted)),
                    lambda applied: self._set(wanted, applied),
                )

    def reconsider(self) -> None:
        """See what is due after this node was told other settings."""
        self._agreed = None
        self.consider()

    def _propose(self, command: ControlCommand, done: Callable[[Applied | None], None]) -> bool:
        return (
            self._node.proposing.propose_control(
                _Ear(done), 0, command.SerializeToString(), _ANSWER_SECONDS
            )
            is None
        )

    def _stamped(self, applied: Applied | None) -> None:
        self._stamping = False
        if self._stamped_at is None and applied is not None:
            # The clock stands where it stood: this stamp was not above it.
            self._stamped_at = self._loop.time()

    def _set(self, wanted: dict[str, int], applied: Applied | None) -> None:
        self._setting = False
        if applied is None:
            return  # Leadership was lost, say: whoever leads next has a wish of its own.
        if applied.outcome == ApplyOutcome.APPLIED:
            self._log.info("group settings changed", **wanted)
            return
        self._refused = wanted
        reason = (applied.result or b"refused").decode("utf-8", "replace")
        self._log.warning("group settings not changed", reason=reason, wanted=wanted)


class _Ear:
    """Hears what became of one control entry: ``done`` gets None if nobody knows, or nothing."""

    def __init__(self, done: Callable[[Applied | None], None]) -> None:
        self._done = done

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        self._done(applied)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        self._done(None)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Nothing is read here."""
