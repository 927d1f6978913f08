"""The parts of a running daemon, as its service, its views and its pages look at them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raftd.config import DaemonConfig
from raftd.members import AddressBook, Membership
from raftd.node import Node
from raftd.relay import Relays
from raftd.snapshot_send import Transfer
from raftd.storage import Identity, LogStore
from raftd.transport.outbound import Outbound
from raftd.transport.security import PLAINTEXT, Security
from raftwire.proto.admin_pb2 import SnapshotInfo


@dataclass(slots=True)
class Parts:
    """Everything that answering a question may need."""

    config: DaemonConfig
    identity: Identity
    node: Node
    store: LogStore
    applier: Any
    outbound: Outbound
    book: AddressBook
    membership: Membership
    relays: Relays
    loop: asyncio.AbstractEventLoop
    loop_name: str
    started: float
    heard: dict[int, float] = field(default_factory=dict)
    """Loop time at which each peer was last heard from."""
    config_since: float = 0.0
    """Loop time of the last change of the configuration."""
    security: Security = PLAINTEXT
    client_count: Callable[[], int] = lambda: 0
    refused_connections: Callable[[], Mapping[str, int]] = dict
    admin_refusals: Callable[[], Mapping[str, int]] = dict
    snapshot_info: Callable[[], SnapshotInfo | None] = lambda: None
    snapshot_progress: Callable[[int], Transfer | None] = lambda peer_id: None

    def peer_ids(self) -> list[int]:
        """Return every other member."""
        return [peer_id for peer_id in self.node.raft.prs.ids() if peer_id != self.node.id]

    def disk_usage(self) -> int:
        """Return the bytes the data takes on disk."""
        return self.store.kv.disk_usage()

    def free_bytes(self) -> int:
        """Return the bytes free on its file system."""
        return self.store.kv.free_bytes()

    def counters(self) -> dict[str, int]:
        """Return what happened since the start, by name."""
        found = {
            name: getattr(self.node.counters, name) for name in type(self.node.counters).__slots__
        }
        found["messages_dropped"] = self.outbound.dropped
        for kind, count in self.node.validator.refused.items():
            found[f"refused_message_{kind}"] = count
        for reason, count in self.refused_connections().items():
            found[f"refused_connection_{reason}"] = count
        found |= self.admin_refusals()
        return found
