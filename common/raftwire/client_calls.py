"""What can be asked of a node, a method for each request: the blocking form.

``aio_calls.py`` is made from this file (``make manual``), so that both clients say the same. What
sends the requests is in ``client.py`` and ``aio.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar, Unpack
from zlib import crc32

from raftwire import admin
from raftwire.admin import (
    Call,
    Consistency,
    LogEntry,
    MemberOptions,
    SnapshotInfo,
    Wait,
    WaitFor,
)
from raftwire.errors import AdminError, Code
from raftwire.proto import admin_pb2 as pb

T = TypeVar("T")


class Calls(ABC):
    """The requests of a client, over the three ways to send one."""

    timeout: float

    @abstractmethod
    def call(self, call: Call[T], timeout: float | None = None) -> T:
        """Send a request and return the body of its answer."""

    @abstractmethod
    def stream(self, call: Call[T], timeout: float | None = None) -> Iterator[T]:
        """Send a request and yield the bodies of its answers."""

    @abstractmethod
    def resumed(
        self,
        call_from: Callable[[int], Call[T]],
        position: int,
        position_after: Callable[[T, int], int],
        timeout: float | None,
    ) -> Iterator[T]:
        """Yield a stream's answers; go on behind the last one when its connection dies."""

    # ---- data ----------------------------------------------------------------------------------

    def propose(
        self,
        data: bytes,
        key: str | None = None,
        *,
        wait: Wait = "applied",
        expect_index: int = 0,
        timeout: float | None = None,
    ) -> pb.ProposeReply:
        """Propose a command.

        Args:
            data: The command, as the state machine reads it.
            key: Idempotency key. With one, the proposal is sent again, through any socket, until
                it is answered or the time is up, and is applied once all the same.
            wait: Answer once it is applied, committed, or merely handed on.
            expect_index: Refuse unless the entry would get this index; 0: no check.
            timeout: For all attempts together, seconds.

        Raises:
            AdminError: ``outcome`` tells whether it is certain that it was not applied.
            LocalError: The key is too long.
        """
        return self.call(admin.propose(data, key or "", wait, expect_index), timeout)

    def query(
        self,
        data: bytes,
        *,
        consistency: Consistency = "linearizable",
        max_stale_ms: int = 0,
        timeout: float | None = None,
    ) -> pb.QueryReply:
        """Ask the state machine.

        Args:
            data: The question, as the state machine reads it.
            consistency: "linearizable", "lease" (no round trip, relies on clocks) or "stale".
            max_stale_ms: With "stale": refuse a state older than this; 0: any.
            timeout: For all attempts together, seconds.
        """
        return self.call(admin.query(data, consistency, max_stale_ms), timeout)

    def read_index(self, *, timeout: float | None = None) -> pb.ReadIndexReply:
        """Return an index such that a state applied up to it is linearizable now."""
        return self.call(admin.read_index(), timeout)

    def outcome(self, key: str, *, timeout: float | None = None) -> pb.OutcomeReply:
        """Return what became of the proposal with this key: applied, not_seen or expired."""
        return self.call(admin.outcome(key), timeout)

    def log_read(
        self,
        from_index: int = 0,
        to_index: int = 0,
        *,
        limit: int = 0,
        last: int = 0,
        follow: bool = False,
        types: Collection[str] = (),
        uncommitted: bool = False,
        applied: bool = False,
        timeout: float | None = None,
    ) -> Iterator[LogEntry]:
        """Yield log entries of ``[from_index, to_index)``.

        A stream that is cut goes on behind the last entry, through any socket; only one with
        ``uncommitted`` entries does not, as those may be replaced.

        Args:
            from_index: 0: the first one kept.
            to_index: 0: the end.
            limit: At most so many; 0: no limit.
            last: Only the last so many; 0: from the start.
            follow: Go on with new entries as they are committed.
            types: Any of "normal", "noop", "control", "conf"; empty: all.
            uncommitted, applied: Also what is not committed yet; only what is applied.
            timeout: How long to wait for each page, seconds; None: the client's, and for ever with
                ``follow``.

        Raises:
            AdminError: COMPACTED names the first index that is kept.
        """
        for page in self.log_pages(
            from_index,
            to_index,
            limit=limit,
            last=last,
            follow=follow,
            types=types,
            uncommitted=uncommitted,
            applied=applied,
            timeout=timeout,
        ):
            yield from page.entries

    def log_pages(
        self,
        from_index: int = 0,
        to_index: int = 0,
        *,
        limit: int = 0,
        last: int = 0,
        follow: bool = False,
        types: Collection[str] = (),
        uncommitted: bool = False,
        applied: bool = False,
        timeout: float | None = None,
    ) -> Iterator[pb.LogReadReply]:
        """Yield what ``log_read`` yields, a page at a time, with the log's bounds."""
        if timeout is None and not follow:
            timeout = self.timeout
        given = 0

        def call_from(position: int) -> Call[pb.LogReadReply]:
            return admin.log_read(
                position,
                to_index,
                limit=limit - given if limit else 0,
                last=0 if given else last,
                follow=follow,
                types=types,
                uncommitted=uncommitted,
                applied=applied,
            )

        def position_after(page: pb.LogReadReply, position: int) -> int:
            nonlocal given
            if not page.entries:
                return position
            given += len(page.entries)
            return page.entries[-1].index + 1

        if uncommitted:
            yield from self.stream(call_from(from_index), timeout)
            return
        for page in self.resumed(call_from, from_index, position_after, timeout):
            yield page
            if limit and given >= limit:
                return

    def log_stat(self, *, timeout: float | None = None) -> pb.LogStatReply:
        """Return the bounds and size of the node's log."""
        return self.call(admin.log_stat(), timeout)

    def watch(self, data: bytes, *, timeout: float | None = None) -> Iterator[pb.WatchReply]:
        """Yield the state machine's changes; ``data`` is what it takes for a watch."""
        return self.stream(admin.watch(data), timeout)

    # ---- seeing --------------------------------------------------------------------------------

    def hello(self, *, timeout: float | None = None) -> pb.HelloReply:
        """Return the node's version, protocol range and what this user may do."""
        return self.call(admin.hello(), timeout)

    def status(self, *, cluster: bool = False, timeout: float | None = None) -> pb.StatusReply:
        """Return the node's own view; with ``cluster`` every member's too, under ``members``."""
        return self.call(admin.status(cluster=cluster), timeout)

    def progress(self, *, timeout: float | None = None) -> pb.ProgressReply:
        """Return the leader's view of every member."""
        return self.call(admin.progress(), timeout)

    def health(self, *, max_lag: int = 0, timeout: float | None = None) -> pb.HealthReply:
        """Return how healthy the group is, as this node sees it."""
        return self.call(admin.health(max_lag), timeout)

    def wait(
        self,
        what: WaitFor,
        *,
        index: int = 0,
        member: int = 0,
        role: str = "",
        timeout: float | None = None,
    ) -> pb.WaitReply:
        """Return as soon as something holds.

        Args:
            what: "leader", "healthy", "ready", "stable-config", "applied" (of ``index``), or
                "member" (``member`` has the ``role`` "voter", "learner" or "absent").
            index, member, role: See ``what``.
            timeout: Seconds.

        Raises:
            AdminError: TIMEOUT: it did not come to hold in time.
        """
        return self.call(admin.wait_for(what, index=index, member=member, role=role), timeout)

    def events(
        self, *, since: int = 0, follow: bool = False, timeout: float | None = None
    ) -> Iterator[pb.Event]:
        """Yield the node's events after number ``since``; with ``follow`` also new ones."""
        if timeout is None and not follow:
            timeout = self.timeout
        for reply in self.stream(admin.events(since=since, follow=follow), timeout):
            yield from reply.events

    def metrics(self, *, timeout: float | None = None) -> str:
        """Return the metrics in Prometheus' text format."""
        reply = self.call(admin.metrics(), timeout)
        return reply.text

    def verify(self, *, timeout: float | None = None) -> pb.VerifyReply:
        """Compare the apply hashes of all members at one index."""
        return self.call(admin.verify(), timeout)

    # ---- membership ----------------------------------------------------------------------------

    def member_list(self, *, timeout: float | None = None) -> pb.MemberListReply:
        """Return who is in the group."""
        return self.call(admin.member_list(), timeout)

    def member_status(self, *, timeout: float | None = None) -> pb.MemberStatusReply:
        """Return how far a change of membership is, and who is missing."""
        return self.call(admin.member_status(), timeout)

    def member_begin(
        self,
        voters: Collection[int],
        learners: Collection[int] = (),
        *,
        addrs: Mapping[int, str] | None = None,
        auto_finalize: bool = False,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Enter the joint state towards the whole target; stay there unless ``auto_finalize``."""
        call = admin.member_change(
            "begin",
            voters=voters,
            learners=learners,
            addrs=addrs,
            auto_finalize=auto_finalize,
            **options,
        )
        return self.call(call, timeout)

    def member_change(
        self,
        voters: Collection[int],
        learners: Collection[int] = (),
        *,
        addrs: Mapping[int, str] | None = None,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Change to the complete target: begin and finalize."""
        call = admin.member_change(
            "change", voters=voters, learners=learners, addrs=addrs, **options
        )
        return self.call(call, timeout)

    def member_finalize(
        self, *, timeout: float | None = None, **options: Unpack[MemberOptions]
    ) -> pb.MemberChangeReply:
        """Leave the joint state for the new configuration."""
        return self.call(admin.member_change("finalize", **options), timeout)

    def member_abort(
        self,
        *,
        campaign: bool = False,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Leave the joint state for the old configuration.

        With ``campaign`` this node stands for election under the old majority alone: for when the
        new one is gone and no leader can be elected.
        """
        return self.call(admin.member_change("abort", campaign=campaign, **options), timeout)

    def member_add(
        self,
        member: int,
        addr: str,
        *,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Add a learner that becomes a voter once it has caught up; ``wait`` waits for that."""
        return self.call(admin.member_change("add", member=member, addr=addr, **options), timeout)

    def member_add_learner(
        self,
        member: int,
        addr: str,
        *,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Add a learner that stays one."""
        call = admin.member_change("add_learner", member=member, addr=addr, **options)
        return self.call(call, timeout)

    def member_add_voter(
        self,
        member: int,
        addr: str,
        *,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Add a voter at once; until it has caught up the group tolerates less."""
        call = admin.member_change("add_voter", member=member, addr=addr, **options)
        return self.call(call, timeout)

    def member_promote(
        self, member: int, *, timeout: float | None = None, **options: Unpack[MemberOptions]
    ) -> pb.MemberChangeReply:
        """Make a learner a voter."""
        return self.call(admin.member_change("promote", member=member, **options), timeout)

    def member_demote(
        self, member: int, *, timeout: float | None = None, **options: Unpack[MemberOptions]
    ) -> pb.MemberChangeReply:
        """Make a voter a learner."""
        return self.call(admin.member_change("demote", member=member, **options), timeout)

    def member_remove(
        self, member: int, *, timeout: float | None = None, **options: Unpack[MemberOptions]
    ) -> pb.MemberChangeReply:
        """Remove a member for good: its id may not return."""
        return self.call(admin.member_change("remove", member=member, **options), timeout)

    def member_replace(
        self,
        member: int,
        new_member: int,
        addr: str,
        *,
        timeout: float | None = None,
        **options: Unpack[MemberOptions],
    ) -> pb.MemberChangeReply:
        """Replace a member by a new node in one joint change, once that has caught up."""
        call = admin.member_change(
            "replace", member=member, new_member=new_member, addr=addr, **options
        )
        return self.call(call, timeout)

    def member_set_addr(
        self, member: int, addr: str, *, timeout: float | None = None
    ) -> pb.MemberChangeReply:
        """Change the replicated address of a member."""
        return self.call(admin.member_change("set_addr", member=member, addr=addr), timeout)

    def campaign(self, *, timeout: float | None = None) -> pb.CampaignReply:
        """Have this node stand for election; the reply says whether it won, or why not."""
        return self.call(admin.campaign(), timeout)

    def transfer_leader(
        self, member: int = 0, *, timeout: float | None = None
    ) -> pb.TransferLeaderReply:
        """Hand leadership to a member (0: the best-matched active voter); wait until it leads."""
        return self.call(admin.transfer_leader(member), timeout)

    # ---- snapshots and the process -------------------------------------------------------------

    def snapshot_create(self, *, timeout: float | None = None) -> pb.SnapshotCreateReply:
        """Make a snapshot now."""
        return self.call(admin.snapshot_create(), timeout)

    def snapshot_list(self, *, timeout: float | None = None) -> pb.SnapshotListReply:
        """List the snapshots that the node keeps."""
        return self.call(admin.snapshot_list(), timeout)

    def snapshot_save(
        self, write: Callable[[bytes], object], *, timeout: float | None = None
    ) -> SnapshotInfo:
        """Read a new snapshot; verify each piece and the whole.

        Args:
            write: Takes the pieces, in order. What it got is good only once this method has
                returned.
            timeout: How long to wait for each piece, seconds.

        Raises:
            AdminError: CORRUPT: a checksum does not match, or a piece is missing.
        """
        from hashlib import sha256

        digest = sha256()
        info = SnapshotInfo()
        offset = 0
        for piece in self.stream(
            admin.snapshot_save(), self.timeout if timeout is None else timeout
        ):
            if piece.HasField("snapshot"):
                info = piece.snapshot
            if not piece.data:
                continue
            if piece.offset != offset or crc32(piece.data) != piece.crc32:
                raise AdminError(Code.CORRUPT, f"the snapshot is damaged at byte {offset}", hint="")
            digest.update(piece.data)
            offset += len(piece.data)
            write(piece.data)
        if (info.bytes and info.bytes != offset) or info.sha256 != digest.hexdigest():
            raise AdminError(
                Code.CORRUPT,
                f"the snapshot arrived incomplete or damaged: {offset} of {info.bytes} bytes",
                hint="try again; if it recurs, check the node with `raftctl verify`",
            )
        return info

    def compact(
        self, to_index: int = 0, *, keep: int = 0, force: bool = False, timeout: float | None = None
    ) -> pb.CompactReply:
        """Drop the log up to and including ``to_index``, or all but the last ``keep`` applied."""
        return self.call(admin.compact(to_index, keep=keep, force=force), timeout)

    def loglevel(
        self, level: str = "", *, for_ms: int = 0, timeout: float | None = None
    ) -> pb.LogLevelReply:
        """Return the daemon's log level, or set it, for ``for_ms`` milliseconds (0: for good)."""
        return self.call(admin.loglevel(level, for_ms), timeout)

    def config(self, *, timeout: float | None = None) -> pb.ConfigReply:
        """Return the configuration in force, and where each value comes from."""
        return self.call(admin.config(), timeout)

    def reload(self, *, timeout: float | None = None) -> pb.ReloadReply:
        """Have the daemon read its configuration file again."""
        return self.call(admin.reload(), timeout)
