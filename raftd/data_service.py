"""What the daemon does for clients that look after the data: keys, snapshots, log, comparing."""

import asyncio
import os
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Final

from raftd.applier import Applied
from raftd.applier import Outcome as ApplyOutcome
from raftd.retention import Retention
from raftd.service import Service
from raftd.serving import Caller, Handler, Stream, seconds_of
from raftd.snapshots import Snapshots, info_of
from raftwire.admin import Request, Response, error_to_message
from raftwire.errors import AdminError, Code
from raftwire.limits import KIB
from raftwire.peer import ControlCommand
from raftwire.proto.admin_pb2 import VerifyReply, VerifyRow
from raftwire.proto.peer_pb2 import VerifyAt

_PIECE_BYTES: Final = 256 * KIB


class DataService:
    """Serves requests about keys, snapshots and the log."""

    def __init__(self, service: Service, snapshots: Snapshots, retention: Retention) -> None:
        self._service = service
        self._parts = service.parts
        self._snapshots = snapshots
        self._retention = retention
        self.handlers: Mapping[str, Handler] = {
            "outcome": self._outcome,
            "snapshot_create": self._create,
            "snapshot_list": self._list,
            "compact": self._compact,
            "verify": self._verify,
        }
        self.streams: Mapping[str, Stream] = {"snapshot_save": self._save}

    # --- keys ---------------------------------------------------------------------------------

    async def _outcome(self, caller: Caller, request: Request) -> Response:
        await self._service.linearize(request)
        applier = self._parts.applier
        key = request.outcome.key.encode()
        response = Response()
        reply = response.outcome
        record = applier.outcome(key)
        reply.forgotten_index = applier.sessions.forgotten_index(applier.index)
        if record is not None:
            refused = record.outcome == ApplyOutcome.REFUSED
            reply.state = "refused" if refused else "applied"
            reply.index, reply.term = record.index, record.term
            reply.result = record.result or b""
        else:
            reply.state = "expired" if applier.sessions.remains(key) else "not_seen"
        return response

    # --- snapshots ----------------------------------------------------------------------------

    async def _create(self, caller: Caller, request: Request) -> Response:
        started = self._parts.loop.time()
        try:
            async with asyncio.timeout(seconds_of(request)):
                file = await self._snapshots.fresh()
        except TimeoutError:
            raise AdminError(
                Code.TIMEOUT,
                "the snapshot is being made and not finished yet",
                hint="see `raftctl snapshot list` in a while, or give a longer --timeout",
            ) from None
        response = Response()
        response.snapshot_create.snapshot.CopyFrom(info_of(file))
        response.snapshot_create.took_ms = int((self._parts.loop.time() - started) * 1000)
        return response

    async def _list(self, caller: Caller, request: Request) -> Response:
        response = Response()
        response.snapshot_list.SetInParent()
        response.snapshot_list.snapshots.extend(map(info_of, self._snapshots.files.list()))
        return response

    async def _save(self, caller: Caller, request: Request) -> AsyncIterator[Response]:
        file = await self._snapshots.fresh()
        # Open from here on: it stays readable when a newer one takes its place.
        source = self._snapshots.files.open(file)
        try:
            response = Response()
            response.snapshot_save.snapshot.CopyFrom(info_of(file))
            yield response
            offset = 0
            while offset < file.size:
                data = source.read(offset, _PIECE_BYTES)
                if not data:
                    raise AdminError(Code.INTERNAL, f"{file.path} ends after {offset} bytes")
                response = Response()
                piece = response.snapshot_save
                piece.offset, piece.data, piece.crc32 = offset, data, zlib.crc32(data)
                offset += len(data)
                yield response
                await asyncio.sleep(0)
        finally:
            source.close()

    # --- log ----------------------------------------------------------------------------------

    async def _compact(self, caller: Caller, request: Request) -> Response:
        wanted = request.compact
        node = self._parts.node
        applied = self._parts.applier.index
        last = wanted.to_index or max(0, applied - wanted.keep)
        if last > applied:
            raise AdminError(
                Code.OUT_OF_RANGE,
                f"entry {last} is not applied on node {node.id} yet; the last one that is has"
                f" index {applied}",
                hint="give an index up to that one",
                details={"applied": applied},
            )
        if not wanted.force:
            self._spare_followers(last)
        response = Response()
        reply = response.compact
        reply.dropped = self._retention.drop_before(last + 1)
        reply.first_index = self._parts.store.first_index()
        return response

    def _spare_followers(self, last: int) -> None:
        """Refuse to drop what a follower that is there has not got yet.

        Raises:
            AdminError: It would need a snapshot.
        """
        node = self._parts.node
        if not node.is_leader:
            return
        # Who is connected is there, also when it has been slow to answer for a moment.
        reachable = self._parts.outbound.reachable
        behind = [
            (progress.matched, peer_id)
            for peer_id, progress in node.raft.prs.iter()
            if peer_id != node.id
            and progress.matched < last
            and (progress.recent_active or reachable(peer_id))
        ]
        if behind:
            matched, peer_id = min(behind)
            raise AdminError(
                Code.PRECONDITION,
                f"node {peer_id} holds the log up to {matched} only; dropping entries up to {last}"
                " would make it need a snapshot",
                hint=f"compact up to {matched}, wait for it, or insist with --yes",
                details={"slowest": peer_id, "matched": matched},
            )

    # --- comparing ----------------------------------------------------------------------------

    async def _verify(self, caller: Caller, request: Request) -> Response:
        if request.verify.index:
            response = Response()
            row = await self._own_row(request.verify.index, seconds_of(request))
            response.verify.index = row.index
            response.verify.rows.append(row)
            return response
        node = self._parts.node
        if not node.is_leader:
            if request.no_forward:
                raise self._service.not_leader()
            return await self._service.relay(caller, request)
        loop = self._parts.loop
        deadline = loop.time() + seconds_of(request)
        applied = await self._mark(deadline - loop.time())
        response = Response()
        response.verify.CopyFrom(await self._compare(applied.entry_index, deadline))
        return response

    async def _mark(self, seconds: float) -> Applied:
        """Have every member note its hash at one entry; return that entry as applied here."""
        ear = _Ear()
        command = ControlCommand(verify_at=VerifyAt(nonce=os.urandom(8)))
        refused = self._parts.node.proposing.propose_control(
            ear, 0, command.SerializeToString(), seconds
        )
        if refused is not None:
            raise refused
        return await ear.future

    async def _compare(self, index: int, deadline: float) -> VerifyReply:
        loop = self._parts.loop
        seconds = max(0.1, deadline - loop.time())
        question = Request(id=1, deadline_ms=int(seconds * 900))
        question.verify.index = index
        ids = self._parts.peer_ids()
        answers = await asyncio.gather(
            *(self._parts.relays.ask(peer, question, seconds, query=True) for peer in ids),
            return_exceptions=True,
        )
        rows = [await self._own_row(index, seconds)]
        for peer_id, answer in zip(ids, answers, strict=True):
            row = VerifyRow(id=peer_id, index=index)
            if isinstance(answer, AdminError):
                row.error.CopyFrom(error_to_message(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif answer.HasField("error"):
                row.error.CopyFrom(answer.error)
            else:
                row.hash = answer.verify.rows[0].hash
            rows.append(row)
        return judged(index, rows)

    async def _own_row(self, index: int, seconds: float) -> VerifyRow:
        """Return this node's hash as of the entry at ``index``, once it is applied.

        Raises:
            AdminError: It is not in time, or never will be.
        """
        applier, node = self._parts.applier, self._parts.node
        try:
            async with asyncio.timeout(seconds):
                while applier.index < index:
                    await node.changed()
        except TimeoutError:
            raise AdminError(
                Code.TIMEOUT, f"node {node.id} has applied {applier.index} only, not {index}"
            ) from None
        if applier.verified is None or applier.verified[1] != index:
            raise AdminError(
                Code.PRECONDITION,
                f"node {node.id} went past entry {index} without applying it: it took a snapshot,"
                " was started again, or another comparison came in between; compare again",
            )
        return VerifyRow(id=node.id, index=index, hash=applier.verified[2].hex())


def judged(index: int, rows: list[VerifyRow]) -> VerifyReply:
    """Return the comparison of ``rows``: what most have is right, on a tie what the first has."""
    votes = Counter(row.hash for row in rows if row.hash)
    right = max(votes, key=lambda found: (votes[found], found == rows[0].hash), default="")
    for row in rows:
        row.agrees = bool(right) and row.hash == right
    return VerifyReply(ok=all(row.agrees for row in rows), index=index, rows=rows)


class _Ear:
    """Waits for one control entry."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()

    def proposal_applied(self, request_id: int, applied: Applied) -> None:
        if not self.future.done():
            self.future.set_result(applied)

    def request_failed(self, request_id: int, error: AdminError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def read_ready(self, request_id: int, index: int, data: bytes | None) -> None:
        """Nothing is read here."""
