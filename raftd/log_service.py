"""What the daemon does for clients that read or follow the log, or watch the state machine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from raft import Compacted
from raftd.entries import describe
from raftd.service import Service
from raftd.serving import Caller, Handler, Stream
from raftd.state_machine import CommandRefused, HistoryCompacted
from raftwire.admin import Request, Response
from raftwire.errors import AdminError, Code
from raftwire.limits import KIB
from raftwire.proto.admin_pb2 import LogReadReply

_PAGE_BYTES: Final = 256 * KIB


class LogService:
    """Serves the log and its like."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts = service.parts
        self.handlers: Mapping[str, Handler] = {
            "log_stat": self._log_stat,
        }
        self.streams: Mapping[str, Stream] = {"log_read": self._log_read, "watch": self._watch}

    # --- the log ------------------------------------------------------------------------------

    async def _log_stat(self, caller: Caller, request: Request) -> Response:
        store = self._parts.store
        log = self._parts.node.raft.raft_log
        response = Response()
        stat = response.log_stat
        stat.first_index, stat.last_index = store.first_index(), store.last_index()
        stat.commit, stat.applied = log.committed, log.applied
        index = stat.first_index
        while index <= stat.last_index:
            try:
                page = store.entries(index, stat.last_index + 1, _PAGE_BYTES)
            except Compacted:
                index = store.first_index()
                continue
            for entry in page:
                stat.bytes += entry.ByteSize()
                stat.counts[describe(entry).type] += 1
            index = page[-1].index + 1
            await asyncio.sleep(0)
        info = self._parts.snapshot_info()
        stat.snapshot_index = info.index if info is not None else 0
        return response

    async def _log_read(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        read = request.log_read
        store = self._parts.store
        raft_log = self._parts.node.raft.raft_log
        wanted = frozenset(read.types)
        unknown = wanted - {"normal", "noop", "control", "conf"}
        if unknown:
            raise AdminError(Code.INVALID_REQUEST, f"{min(unknown)!r} is no type of entry")

        def end() -> int:
            """One above the last index that may be shown now."""
            if read.uncommitted:
                shown = raft_log.last_index()
            elif read.applied:
                shown = raft_log.applied
            else:
                shown = raft_log.committed
            return min(shown + 1, read.to_index) if read.to_index else shown + 1

        history = wanted == {"normal"} and not read.last
        position = read.from_index or (1 if history else store.first_index())
        if read.last:
            position = max(position, self._last(read.last, end(), wanted))
        left = read.limit or 2**63
        empty = True
        if history and position < store.first_index():
            # The state machine `log` keeps proposals that Raft's own log has dropped.
            async for response in self._from_history(read.from_index, end(), left):
                left -= len(response.log_read.entries)
                empty = False
                yield self._bounded(response)
            position = store.first_index()
        elif position < store.first_index():
            raise self._compacted(position)
        while left > 0:
            while position < end() and left > 0:
                try:
                    page = store.entries(position, end(), _PAGE_BYTES)
                except Compacted:
                    raise self._compacted(position) from None
                response = Response()
                reply = response.log_read
                for entry in page:
                    shown = describe(entry)
                    if (not wanted or shown.type in wanted) and left > 0:
                        reply.entries.append(shown)
                        left -= 1
                position = page[-1].index + 1
                if reply.entries:
                    empty = False
                    yield self._bounded(response)
                else:
                    await asyncio.sleep(0)
            if not read.follow or (read.to_index and position >= read.to_index):
                break
            if not caller.gone:
                await self._parts.node.changed()
        if empty:
            response = Response()
            response.log_read.SetInParent()
            yield self._bounded(response)

    def _last(self, count: int, end: int, wanted: frozenset[str]) -> int:
        """Return where the last ``count`` entries before ``end`` begin."""
        store = self._parts.store
        first = store.first_index()
        if not wanted:
            return max(first, end - count)
        high = end
        while high > first:
            low = max(first, high - 256)
            for entry in reversed(store.entries(low, high)):
                if describe(entry).type in wanted:
                    count -= 1
                    if count == 0:
                        return entry.index
            high = low
        return first

    async def _from_history(self, start: int, end: int, limit: int) -> AsyncIterator[Response]:
        """Yield proposals from before the log's first entry, as the state machine keeps them."""
        applier = self._parts.applier
        stop = min(end, self._parts.store.first_index())
        position = start or 1
        while limit > 0 and position < stop:
            try:
                page = applier.machine.changes(applier.reader, str(position).encode(), position)
            except HistoryCompacted as error:
                if start:
                    raise self._compacted(start, error.first) from None
                position = error.first
                continue
            except CommandRefused:
                # The machine keeps no such history.
                if start:
                    raise self._compacted(start) from None
                return
            entries = LogReadReply.FromString(page.data).entries
            kept = [entry for entry in entries if entry.index < stop][:limit]
            limit -= len(kept)
            if kept:
                response = Response()
                response.log_read.entries.extend(kept)
                yield response
            if not page.more:
                return
            position = page.next
            await asyncio.sleep(0)

    def _bounded(self, response: Response) -> Response:
        log = self._parts.node.raft.raft_log
        reply = response.log_read
        reply.first_index, reply.last_index = self._parts.store.first_index(), log.last_index()
        reply.commit, reply.applied = log.committed, log.applied
        return response

    def _compacted(self, index: int, first: int = 0) -> AdminError:
        first = first or self._parts.store.first_index()
        return AdminError(
            Code.COMPACTED,
            f"entry {index} is no longer kept; the first one that is has index {first}",
            details={"first_index": first},
        )

    async def _watch(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        applier = self._parts.applier
        position = -1
        first = True
        while True:
            try:
                page = applier.machine.changes(applier.reader, request.watch.data, position)
            except HistoryCompacted as error:
                raise AdminError(
                    Code.COMPACTED, str(error), details={"first_index": error.first}
                ) from None
            except CommandRefused as error:
                raise AdminError(Code.REFUSED, str(error)) from None
            position = page.next
            if page.data or first:
                first = False
                response = Response()
                response.watch.data = page.data
                response.watch.index = applier.index
                yield response
            if not page.more:
                await self._parts.node.changed()
