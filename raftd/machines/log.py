"""The default state machine: the ordered log itself, for whoever wants to read or follow it.

Every proposal is kept as it was applied, under the index of its entry, until ``Settings`` says that
it is too old or too much. Unlike Raft's own log it survives compaction and travels in snapshots.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import Struct
from typing import Final

from raftd.machines.journal import Journal
from raftd.state_machine import ApplyContext, ChangePage, CommandRefused, Reader
from raftwire.proto.admin_pb2 import LogEntry, LogReadReply

_TERM: Final = Struct(">Q")
_pack_term = _TERM.pack


@dataclass(frozen=True, slots=True)
class LogRecord:
    """An applied proposal: where it stands, when in log time, and its bytes."""

    index: int
    term: int
    time_ms: int
    data: bytes


class LogMachine:
    """Keeps what was proposed, in order. Takes any bytes, answers nothing."""

    name = "log"

    def __init__(self) -> None:
        self.journal = Journal(b"j")

    def open(self, reader: Reader) -> None:
        """Load the counters."""
        self.journal.open(reader)

    def apply(self, context: ApplyContext, command: bytes) -> bytes:
        """Keep ``command``; the answer is empty, its index says all."""
        journal = self.journal
        journal.append(context.index, context.log_time_ms, _pack_term(context.term) + command)
        journal.trim(context)
        return b""

    def advance(self, context: ApplyContext) -> None:
        """Forget what has become too old."""
        self.journal.trim(context)

    def finish(self, context: ApplyContext) -> None:
        """Store the entries applied together as one chunk."""
        self.journal.flush(context)

    def read(
        self, reader: Reader, start: int, count_max: int = 1000, bytes_max: int = 256 * 1024
    ) -> tuple[list[LogRecord], int, bool]:
        """Return applied proposals from index ``start`` on, where to go on, and if more is there.

        Raises:
            HistoryCompacted: Those from ``start`` on are forgotten.
        """
        page = self.journal.read(reader, max(start, 1), count_max, bytes_max)
        records = [
            LogRecord(
                record.number,
                _TERM.unpack_from(record.payload)[0],
                record.time_ms,
                record.payload[_TERM.size :],
            )
            for record in page.records
        ]
        return records, page.next, page.more

    def query(self, reader: Reader, request: bytes) -> bytes:
        """Answer the empty request with JSON: first, last, count and bytes of what is kept."""
        if request:
            raise CommandRefused(
                "the state machine 'log' answers only the empty query; read entries with `raftctl"
                " log show`"
            )
        return json.dumps(self.journal.bounds()).encode()

    def changes(self, reader: Reader, request: bytes, start: int) -> ChangePage:
        """Return entries to follow, as a ``LogReadReply``.

        ``request`` is the first index wanted, in decimal; empty: from now on.
        """
        if start < 0:
            if not request:
                start = self.journal.last + 1
            elif request.isdigit() and len(request) <= 16:
                start = max(int(request), 1)
            else:
                raise CommandRefused(
                    "to follow the log, give the first index as a decimal number, or nothing"
                )
        records, following, more = self.read(reader, start)
        if not records:
            return ChangePage(b"", following, more)
        reply = LogReadReply(
            entries=[
                LogEntry(index=record.index, term=record.term, type="normal", data=record.data)
                for record in records
            ],
            first_index=self.journal.first,
            last_index=self.journal.last,
        )
        return ChangePage(reply.SerializeToString(), following, more)

    def digest(self, reader: Reader) -> bytes:
        """Return a hash over all entries kept."""
        return self.journal.digest(reader)
