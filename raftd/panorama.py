"""The group at a glance, for the live page: one node's view, completed by what the others say.

Asked for by every browser that looks once a second, so what the others said is kept for a moment.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from raftd.config import DaemonConfig
from raftd.events import EventLog
from raftd.parts import Parts
from raftd.views import member_list_reply, now_ms, phase_of, progress_reply, status_reply
from raftwire.admin import Request
from raftwire.errors import AdminError
from raftwire.proto.admin_pb2 import ProgressReply, StatusReply

KEPT_SECONDS: Final = 0.9
ASK_SECONDS: Final = 0.7
EVENTS: Final = 60


class Panorama:
    """Gathers what is shown."""

    def __init__(self, parts: Parts, config: DaemonConfig, events: EventLog) -> None:
        self._parts = parts
        self._config = config
        self._events = events
        self._asked = -KEPT_SECONDS
        self._asking: asyncio.Task[None] | None = None
        self._statuses: dict[int, StatusReply] = {}
        self._progress = ProgressReply()

    async def look(self) -> dict[str, Any]:
        """Return the group as it is now, as plain data."""
        now = self._parts.loop.time()
        if now - self._asked >= KEPT_SECONDS:
            if self._asking is None:
                self._asking = self._parts.loop.create_task(self._ask())
            # Shielded: whoever asked first may be gone before the others.
            await asyncio.shield(self._asking)
        return self._shown()

    async def _ask(self) -> None:
        try:
            parts = self._parts
            status = Request(id=1, deadline_ms=int(ASK_SECONDS * 900))
            status.status.SetInParent()
            ids = [
                peer_id for peer_id in parts.peer_ids() if parts.node.standing.reachable(peer_id)
            ]
            answers, _ = await asyncio.gather(
                asyncio.gather(
                    *(parts.relays.ask(i, status, ASK_SECONDS, query=True) for i in ids),
                    return_exceptions=True,
                ),
                self._leaders_view(),
            )
            self._statuses = {}
            for peer_id, answer in zip(ids, answers, strict=True):
                if isinstance(answer, AdminError):
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                if answer.HasField("status"):
                    self._statuses[peer_id] = answer.status
            # Its own at the same moment: else whoever was asked earlier would seem to lag.
            self._statuses[parts.node.id] = status_reply(parts)
            if parts.node.is_leader:
                self._progress = progress_reply(parts)
            self._asked = parts.loop.time()
        finally:
            self._asking = None

    async def _leaders_view(self) -> None:
        parts = self._parts
        leader = parts.node.raft.leader_id
        if parts.node.is_leader or not leader:
            self._progress = ProgressReply()
            return
        question = Request(id=1, deadline_ms=int(ASK_SECONDS * 900))
        question.progress.SetInParent()
        try:
            answer = await parts.relays.ask(leader, question, ASK_SECONDS, query=True)
        except AdminError:
            self._progress = ProgressReply()
        else:
            self._progress = answer.progress

    def _shown(self) -> dict[str, Any]:
        parts = self._parts
        statuses = self._statuses
        own = statuses[parts.node.id]
        rows = {row.id: row for row in self._progress.rows}
        members = []
        for member in member_list_reply(parts).members:
            status = statuses.get(member.id)
            row = rows.get(member.id)
            shown: dict[str, Any] = {
                "id": member.id,
                "addr": member.addr,
                "role": member.role,
                "leader": member.leader,
                "self": member.self,
                "reachable": member.reachable,
                "error": member.error,
                "since_ms": member.since_ms,
                "version": member.version,
            }
            if status is not None:
                shown |= {
                    "state": status.role,
                    "commit": status.commit,
                    "applied": status.applied,
                    "last_index": status.last_index,
                    "first_index": status.first_index,
                    "uptime_ms": status.uptime_ms,
                    "bytes": status.storage.bytes,
                    "free_bytes": status.storage.free_bytes,
                    "rss_bytes": status.rss_bytes,
                    "fsync_p99_ms": round(status.storage.fsync_p99_ms, 2),
                    "proposals": status.counters.get("proposals_applied", 0),
                    "tls_not_after_ms": status.tls.not_after_ms,
                }
            if row is not None:
                shown |= {
                    "progress": row.state,
                    "match": row.matched,
                    "lag": row.lag,
                    "snapshot_bytes": row.snapshot_bytes,
                    "snapshot_bytes_total": row.snapshot_bytes_total,
                }
            members.append(shown)
        return {
            "node": own.id,
            "role": own.role,
            "leader": own.leader,
            "term": own.term,
            "cluster_id": own.cluster_id,
            "cluster_name": own.tls.name.split("/")[2] if own.HasField("tls") else "",
            "state_machine": own.state_machine,
            "version": own.version,
            "as_of_ms": now_ms(),
            "health": {
                "state": own.health.state,
                "tolerance": own.health.tolerance,
                "reasons": list(own.health.reasons),
            },
            "config": {
                "phase": phase_of(parts.node),
                "index": own.config.index,
                "voters": list(own.config.voters),
                "voters_outgoing": list(own.config.voters_outgoing),
                "learners": list(own.config.learners),
            },
            "log": {
                "first_index": own.first_index,
                "last_index": max([own.last_index, *(m.get("last_index", 0) for m in members)]),
                "commit": max([own.commit, *(m.get("commit", 0) for m in members)]),
                "applied": own.applied,
            },
            "pending": own.limits.pending,
            "members": members,
            "events": [
                {
                    "sequence": event.sequence,
                    "time_ms": event.time_ms,
                    "kind": event.kind,
                    "name": event.name,
                    "level": event.level,
                    "text": _text(event.fields),
                }
                for event in self._events.after(0)[-EVENTS:]
            ],
        }


def _text(fields: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())[:300]
