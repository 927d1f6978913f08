"""Settings that are part of the replicated state: every member must apply them alike.

What decides which entries, keys or results are forgotten decides what a later command answers. Such
numbers cannot come from one node's flags; they are changed by a control entry, and all members
switch at the same index.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from raftd.kvstore import UNREADABLE, CorruptionError

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds of what the group remembers. 0 means no bound, except for ``sessions_max``.

    Attributes:
        sessions_max: Client keys remembered at most, 1 or more; the oldest go first.
        session_ttl_ms: Age in log time after which a client key is forgotten.
        history_count, history_bytes, history_age_ms: How much the state machine keeps for readers
            that follow: applied entries of ``log``, watchable changes of ``kv``.
    """

    sessions_max: int = 100_000
    session_ttl_ms: int = 24 * 3600 * 1000
    history_count: int = 100_000
    history_bytes: int = 256 * MIB
    history_age_ms: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name == "sessions_max" else 0
            if not least <= value < 2**63:
                raise ValueError(f"{field.name} must be {least} to 2^63-1, not {value}")

    def encode(self) -> bytes:
        """Return the settings as JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Settings:
        """Return what ``encode`` was called on; names this version does not know are refused.

        Raises:
            CorruptionError: It is not that.
        """
        try:
            return replace(cls(), **json.loads(data))
        except UNREADABLE as error:
            raise CorruptionError(
                f"the stored settings cannot be read ({error}); they are damaged or from a newer"
                " raftd; use the version that wrote them"
            ) from error
