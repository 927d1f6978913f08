"""What the parts of a node's engine share: the core, the network, and whether it still runs."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raft import RawNode
from raft.eraftpb import Message
from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.validate import Validator
from raftwire.errors import AdminError, Code
from raftwire.peer import PeerFrame


class Network(Protocol):
    """What the engine needs of the transport."""

    def send(self, messages: Sequence[Message]) -> None:
        """Send Raft messages; may drop, may not block."""
        ...

    def send_frame(self, peer_id: int, frame: PeerFrame) -> bool:
        """Send one frame; False if it was dropped."""
        ...

    def reachable(self, peer_id: int) -> bool:
        """Whether the link to a peer is up."""
        ...


@dataclass(slots=True)
class Counters:
    """What happened since the start; for status and metrics."""

    proposals_applied: int = 0
    proposals_refused: int = 0
    proposals_unknown: int = 0
    proposals_forwarded: int = 0
    reads: int = 0
    elections: int = 0
    leader_changes: int = 0
    messages_refused: int = 0
    applied_index: int = 0
    turns: int = 0
    ticks: int = 0
    stalls: int = 0


class Engine:
    """What `node.Node` and its parts (`standing`, `proposing`, `reading`) have in common.

    Args:
        loop: The event loop they all run on.
        turn: What `schedule` has the loop call.
    """

    __slots__ = (
        "_turn", "closing", "config", "counters", "failed", "id", "incarnation", "log", "loop",
        "network", "on_refused", "raft", "raw", "scheduled", "validator",
    )  # fmt: skip

    def __init__(
        self,
        config: DaemonConfig,
        raw: RawNode[Any],
        network: Network,
        incarnation: int,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        turn: Callable[[], None],
    ) -> None:
        self.config = config
        self.raw = raw
        self.raft = raw.raft
        self.id: int = raw.raft.id
        self.network = network
        self.incarnation = incarnation
        self.log = log
        self.loop = loop
        self.counters = Counters()
        self.validator = Validator(
            self.id,
            raw.raft.raft_log.last_index,
            lambda: self.raft.raft_log.committed,
        )
        self.scheduled = False
        self.failed = False
        self.closing = False
        self.on_refused: Callable[[int], None] = nothing_with
        """Called with who sent a message that no honest member sends."""
        self._turn = turn

    def schedule(self) -> None:
        """Have a turn soon."""
        if not self.scheduled and not self.failed:
            self.scheduled = True
            self.loop.call_soon(self._turn)

    def stopping(self) -> AdminError | None:
        """Return the refusal of whatever is asked of a node that stops; None if it does not."""
        if self.failed or self.closing:
            return AdminError(Code.SHUTTING_DOWN, f"node {self.id} is stopping")
        return None

    def refused(self, peer_id: int, reason: str) -> None:
        """A peer has sent what no honest member sends."""
        self.counters.messages_refused += 1
        self.on_refused(peer_id)
        if self.counters.messages_refused % 1000 == 1:
            self.log.warning(
                "refused a message", peer=peer_id, reason=reason,
                times=self.counters.messages_refused,
            )  # fmt: skip


def nothing() -> None:
    """Do nothing."""


def nothing_with(_: object) -> None:
    """Do nothing."""
