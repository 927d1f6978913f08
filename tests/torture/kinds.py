"""Every fault that a group on loopback allows; other places have more, and lack some."""

from __future__ import annotations

from typing import Final

from tests.torture.faults import (
    Bridge,
    Choked,
    Crash,
    CrashInstalling,
    CrashMaking,
    Drip,
    Dumb,
    Fault,
    Flapping,
    HalfOpen,
    Hearing,
    Isolate,
    Kill,
    KillAll,
    KillLeader,
    KillMajority,
    KillStarting,
    Lag,
    Pause,
    PauseAll,
    PauseLeader,
    Random,
    Ring,
    Scattered,
    Slow,
    Split,
    Transfer,
)  # fmt: skip
from tests.torture.membership import (
    Abort,
    AddRemove,
    CrashChanging,
    CrashInstallingMembers,
    CrashMoving,
    Demote,
    Replace,
)  # fmt: skip

KINDS: Final[tuple[type[Fault], ...]] = (
    Kill, KillLeader, KillMajority, KillAll, KillStarting, Crash, CrashMaking, CrashInstalling,
    Pause, PauseLeader, PauseAll, Isolate, Split,
    Dumb, Hearing, Bridge, Ring, Scattered, Random, Flapping, HalfOpen, Choked, Slow, Drip,
    Transfer, Lag, Replace, Abort, AddRemove, Demote,
    CrashChanging, CrashInstallingMembers, CrashMoving,
)  # fmt: skip
