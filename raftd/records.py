"""Small records of a node's META family, and their stored forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from raftd.identity import ADD_AGAIN
from raftd.kvstore import UNREADABLE, CorruptionError

_APPLIED: Final = Struct(">QQ16sQQQQ")


@dataclass(frozen=True, slots=True)
class AppliedState:
    """Where the state machine stands; stored in the batch that brought it there.

    Attributes:
        index, term: Of the last applied entry.
        digest: 16 bytes over all applied entries and their results; see ``raftd.applier``.
        log_time_ms: The group's clock: the greatest time a leader stamped so far.
        sessions_next, sessions_oldest: Numbers of the next and of the oldest remembered client key.
        sessions_floor: Keys first used at or below this index count as forgotten.
    """

    index: int = 0
    term: int = 0
    digest: bytes = bytes(16)
    log_time_ms: int = 0
    sessions_next: int = 0
    sessions_oldest: int = 0
    sessions_floor: int = 0

    def encode(self) -> bytes:
        """Return the stored form."""
        return _APPLIED.pack(
            self.index,
            self.term,
            self.digest,
            self.log_time_ms,
            self.sessions_next,
            self.sessions_oldest,
            self.sessions_floor,
        )

    @classmethod
    def decode(cls, data: bytes) -> AppliedState:
        """Return what ``encode`` was called on; CorruptionError if it is not that."""
        if len(data) != _APPLIED.size:
            raise CorruptionError(f"the applied position has {len(data)} bytes{ADD_AGAIN}")
        return cls(*_APPLIED.unpack(data))


@dataclass(slots=True)
class CheckReport:
    """What ``LogStore.check`` found."""

    first_index: int = 0
    last_index: int = 0
    entries: int = 0
    bytes: int = 0
    commit: int = 0
    applied: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def encode_addresses(addresses: Mapping[int, str]) -> bytes:
    """Return the address book in its stored form."""
    return json.dumps({str(node): addresses[node] for node in sorted(addresses)}).encode()


def decode_addresses(data: bytes) -> dict[int, str]:
    """Return what ``encode_addresses`` was given; CorruptionError if it is not that."""
    try:
        return {int(node): str(address) for node, address in json.loads(data).items()}
    except UNREADABLE as error:
        raise CorruptionError(f"the address book cannot be read ({error}){ADD_AGAIN}") from error
