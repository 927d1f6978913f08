"""The admin protocol: requests built and answers read, for both clients and the daemon. Sans-I/O.

Each builder returns a ``Call``: the request, and how to read its answer. ``Client`` and
``AsyncClient`` send the same calls; the daemon uses ``parse_request``, ``error_response`` and the
messages themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Generic, Literal, NamedTuple, Self, TypedDict, TypeVar, cast

from google.protobuf.message import DecodeError

from raftwire.envelope import check_key
from raftwire.errors import AdminError, Code, LocalError, MessageError, Outcome
from raftwire.limits import NUMBER_MAX
from raftwire.proto.admin_pb2 import (
    CampaignReply,
    CampaignRequest,
    CancelRequest,
    CompactReply,
    CompactRequest,
    ConfigReply,
    ConfigRequest,
    Configuration,
    Error,
    EventsReply,
    EventsRequest,
    HealthReply,
    HealthRequest,
    HelloReply,
    HelloRequest,
    LogEntry,
    LogLevelReply,
    LogLevelRequest,
    LogReadReply,
    LogReadRequest,
    LogStatReply,
    LogStatRequest,
    MemberChangeReply,
    MemberChangeRequest,
    MemberListReply,
    MemberListRequest,
    MemberStatusReply,
    MemberStatusRequest,
    MetricsReply,
    MetricsRequest,
    OutcomeReply,
    OutcomeRequest,
    ProgressReply,
    ProgressRequest,
    ProposeReply,
    ProposeRequest,
    QueryReply,
    QueryRequest,
    ReadIndexReply,
    ReadIndexRequest,
    ReloadReply,
    ReloadRequest,
    Request,
    Response,
    SnapshotCreateReply,
    SnapshotCreateRequest,
    SnapshotInfo,
    SnapshotListReply,
    SnapshotListRequest,
    SnapshotSaveReply,
    SnapshotSaveRequest,
    StatusReply,
    StatusRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
    VerifyReply,
    VerifyRequest,
    WaitReply,
    WaitRequest,
    WatchReply,
    WatchRequest,
)

__all__ = [
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "Call",
    "Configuration",
    "Consistency",
    "LogEntry",
    "MemberKind",
    "MemberOptions",
    "Request",
    "Response",
    "SnapshotInfo",
    "Wait",
    "WaitFor",
    "error_from_response",
    "error_response",
    "error_to_message",
    "new_key",
    "parse_request",
    "parse_response",
]

#: Versions of the admin protocol this code speaks, both ends included.
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1

Consistency = Literal["linearizable", "lease", "stale"]
Wait = Literal["applied", "committed", "none"]
WaitFor = Literal["leader", "healthy", "ready", "stable-config", "applied", "member"]
MemberKind = Literal[
    "begin",
    "finalize",
    "abort",
    "change",
    "add",
    "add_learner",
    "add_voter",
    "promote",
    "demote",
    "remove",
    "replace",
    "set_addr",
]

_CONSISTENCY: Final[Mapping[str, QueryRequest.Consistency]] = {
    "linearizable": QueryRequest.LINEARIZABLE,
    "lease": QueryRequest.LEASE,
    "stale": QueryRequest.STALE,
}
_WAIT: Final[Mapping[str, ProposeRequest.Wait]] = {
    "applied": ProposeRequest.WAIT_APPLIED,
    "committed": ProposeRequest.WAIT_COMMITTED,
    "none": ProposeRequest.WAIT_NONE,
}
_WAIT_FOR: Final[Mapping[str, WaitRequest.What]] = {
    "leader": WaitRequest.LEADER,
    "healthy": WaitRequest.HEALTHY,
    "ready": WaitRequest.READY,
    "stable-config": WaitRequest.STABLE_CONFIG,
    "applied": WaitRequest.INDEX_APPLIED,
    "member": WaitRequest.MEMBER,
}

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """A request and how to read its answer."""

    request: Request
    #: The field of ``Response`` that holds the answer.
    body: str
    #: A lost answer leaves the outcome unknown: the request may have changed something.
    writes: bool = False
    #: Sending it again, to any member, has no further effect.
    repeatable: bool = False

    def read(self, response: Response) -> T:
        """Return the body of the answer.

        Raises:
            AdminError: The node answered with an error.
            MessageError: It answered something else than was asked.
        """
        if response.HasField("error"):
            raise error_from_response(response, writes=self.writes)
        found = response.WhichOneof("body")
        if found != self.body:
            raise MessageError(f"the node answered a {self.body} request with {found or 'nothing'}")
        return cast(T, getattr(response, self.body))

    def for_machine(self, kind: str) -> Self:
        """Have a cluster refuse this unless it runs that state machine.

        Another one would take a command for data of its own, and keep it.
        """
        self.request.state_machine = kind
        return self


class MemberOptions(TypedDict, total=False):
    """What every change of membership takes beside its target."""

    #: Who leads afterwards if the leader leaves; 0: the best-matched new voter.
    successor: int
    #: Refuse unless the configuration in force was made by the entry at this index.
    expect_config: int
    #: Only check and describe.
    dry_run: bool
    #: Skip the checks that keep the group able to commit.
    unsafe: bool
    #: Answer when the change is complete, not when it has begun.
    wait: bool


# ---- requests ------------------------------------------------------------------------------------


def new_key() -> str:
    """Return a fresh idempotency key: 128 random bits in hexadecimal."""
    from secrets import token_hex

    return token_hex(16)


def hello(client: str = "") -> Call[HelloReply]:
    """Ask for the node's version and protocol range."""
    request = HelloRequest(protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX, client=client)
    return Call(Request(hello=request), "hello", repeatable=True)


def cancel(request_id: int) -> Request:
    """End another request of the same connection; its answer is of no interest."""
    return Request(cancel=CancelRequest(id=request_id))


def propose(
    data: bytes,
    key: str = "",
    wait: Wait = "applied",
    expect_index: int = 0,
    *,
    noop: bool = False,
) -> Call[ProposeReply]:
    """Propose a command; with ``noop`` bytes that are replicated and dropped, for measuring.

    Raises:
        LocalError: The key is too long or not valid text.
    """
    if key:
        check_key(key)
    request = ProposeRequest(
        data=data, key=key, wait=_WAIT[wait], expect_index=expect_index, noop=noop
    )
    return Call(Request(propose=request), "propose", writes=True, repeatable=bool(key))


def query(
    data: bytes, consistency: Consistency = "linearizable", max_stale_ms: int = 0
) -> Call[QueryReply]:
    """Ask the state machine."""
    request = QueryRequest(
        data=data, consistency=_CONSISTENCY[consistency], max_stale_ms=max_stale_ms
    )
    return Call(Request(query=request), "query", repeatable=True)


def read_index() -> Call[ReadIndexReply]:
    """Ask for an index such that a state applied up to it is linearizable now."""
    return Call(Request(read_index=ReadIndexRequest()), "read_index", repeatable=True)


def outcome(key: str) -> Call[OutcomeReply]:
    """Ask what became of the proposal with this key.

    Raises:
        LocalError: The key is too long or not valid text.
    """
    check_key(key)
    return Call(Request(outcome=OutcomeRequest(key=key)), "outcome", repeatable=True)


def log_read(
    from_index: int = 0,
    to_index: int = 0,
    *,
    limit: int = 0,
    last: int = 0,
    follow: bool = False,
    types: Collection[str] = (),
    uncommitted: bool = False,
    applied: bool = False,
) -> Call[LogReadReply]:
    """Read the log, as a stream of pages."""
    request = LogReadRequest(
        from_index=from_index,
        to_index=to_index,
        limit=limit,
        last=last,
        follow=follow,
        types=types,
        uncommitted=uncommitted,
        applied=applied,
    )
    return Call(Request(log_read=request), "log_read", repeatable=True)


def log_stat() -> Call[LogStatReply]:
    """Ask for the bounds and size of the node's log."""
    return Call(Request(log_stat=LogStatRequest()), "log_stat", repeatable=True)


def watch(data: bytes) -> Call[WatchReply]:
    """Follow the state machine's changes, as a stream."""
    return Call(Request(watch=WatchRequest(data=data)), "watch", repeatable=True)


def status(*, cluster: bool = False) -> Call[StatusReply]:
    """Ask for the node's own view, or with ``cluster`` for every member's."""
    return Call(Request(status=StatusRequest(cluster=cluster)), "status", repeatable=True)


def progress() -> Call[ProgressReply]:
    """Ask for the leader's view of every member."""
    return Call(Request(progress=ProgressRequest()), "progress", repeatable=True)


def health(max_lag: int = 0) -> Call[HealthReply]:
    """Ask how healthy the group is, as this node sees it."""
    return Call(Request(health=HealthRequest(max_lag=max_lag)), "health", repeatable=True)


def wait_for(what: WaitFor, *, index: int = 0, member: int = 0, role: str = "") -> Call[WaitReply]:
    """Answer as soon as something holds."""
    request = WaitRequest(what=_WAIT_FOR[what], index=index, id=member, role=role)
    return Call(Request(wait=request), "wait", repeatable=True)


def events(*, since: int = 0, follow: bool = False) -> Call[EventsReply]:
    """Read the node's recent events, as a stream."""
    return Call(Request(events=EventsRequest(since=since, follow=follow)), "events")


def metrics() -> Call[MetricsReply]:
    """Ask for the metrics in Prometheus' text format."""
    return Call(Request(metrics=MetricsRequest()), "metrics", repeatable=True)


def verify() -> Call[VerifyReply]:
    """Compare the apply hashes of all members at one index."""
    return Call(Request(verify=VerifyRequest()), "verify", repeatable=True)


def member_list() -> Call[MemberListReply]:
    """Ask who is in the group."""
    return Call(Request(member_list=MemberListRequest()), "member_list", repeatable=True)


def member_status() -> Call[MemberStatusReply]:
    """Ask how far a change of membership is."""
    return Call(Request(member_status=MemberStatusRequest()), "member_status", repeatable=True)


def member_change(
    kind: MemberKind,
    *,
    voters: Collection[int] = (),
    learners: Collection[int] = (),
    addrs: Mapping[int, str] | None = None,
    member: int = 0,
    new_member: int = 0,
    addr: str = "",
    auto_finalize: bool = False,
    campaign: bool = False,
    successor: int = 0,
    expect_config: int = 0,
    dry_run: bool = False,
    unsafe: bool = False,
    wait: bool = False,
) -> Call[MemberChangeReply]:
    """Change the membership.

    Raises:
        LocalError: An id is out of range.
    """
    for node_id in (
        *voters,
        *learners,
        *(addrs or ()),
        successor or 1,
        member or 1,
        new_member or 1,
    ):
        if not 0 < node_id <= NUMBER_MAX:
            raise LocalError(f"a node id is 1 to 2^53-1, not {node_id}")
    request = MemberChangeRequest(
        kind=kind.upper(),
        voters=voters,
        learners=learners,
        addrs=addrs,
        id=member,
        new_id=new_member,
        addr=addr,
        auto_finalize=auto_finalize,
        campaign=campaign,
        successor=successor,
        expect_config=expect_config,
        dry_run=dry_run,
        unsafe=unsafe,
        wait=wait,
    )
    return Call(
        Request(member_change=request), "member_change", writes=not dry_run, repeatable=dry_run
    )


def campaign() -> Call[CampaignReply]:
    """Have this node stand for election."""
    return Call(Request(campaign=CampaignRequest()), "campaign", writes=True)


def transfer_leader(member: int = 0) -> Call[TransferLeaderReply]:
    """Hand leadership to a member; 0: the best-matched active voter."""
    request = TransferLeaderRequest(id=member)
    return Call(Request(transfer_leader=request), "transfer_leader", writes=True)


def snapshot_create() -> Call[SnapshotCreateReply]:
    """Make a snapshot now."""
    return Call(Request(snapshot_create=SnapshotCreateRequest()), "snapshot_create", writes=True)


def snapshot_list() -> Call[SnapshotListReply]:
    """List the snapshots the node keeps."""
    return Call(Request(snapshot_list=SnapshotListRequest()), "snapshot_list", repeatable=True)


def snapshot_save() -> Call[SnapshotSaveReply]:
    """Read a new snapshot, as a stream."""
    return Call(Request(snapshot_save=SnapshotSaveRequest()), "snapshot_save")


def compact(to_index: int = 0, *, keep: int = 0, force: bool = False) -> Call[CompactReply]:
    """Drop the beginning of the node's log."""
    request = CompactRequest(to_index=to_index, keep=keep, force=force)
    return Call(Request(compact=request), "compact", writes=True)


def loglevel(level: str = "", for_ms: int = 0) -> Call[LogLevelReply]:
    """Ask for the daemon's log level, or set it."""
    request = LogLevelRequest(level=level, for_ms=for_ms)
    return Call(Request(loglevel=request), "loglevel", writes=bool(level), repeatable=not level)


def config() -> Call[ConfigReply]:
    """Ask for the configuration in force and where each value comes from."""
    return Call(Request(config=ConfigRequest()), "config", repeatable=True)


def reload() -> Call[ReloadReply]:
    """Read the configuration file again."""
    return Call(Request(reload=ReloadRequest()), "reload", writes=True)


# ---- bytes and errors ----------------------------------------------------------------------------


def parse_request(frame: bytes) -> Request:
    """Read a client's frame.

    Raises:
        MessageError: It does not parse, or its id is 0.
    """
    request = Request()
    try:
        request.ParseFromString(frame)
    except DecodeError:
        raise MessageError("a request does not parse") from None
    if not request.id:
        raise MessageError("a request carries no id")
    return request


def parse_response(frame: bytes) -> Response:
    """Read a node's frame.

    Raises:
        MessageError: It does not parse.
    """
    response = Response()
    try:
        response.ParseFromString(frame)
    except DecodeError:
        raise MessageError(
            "the node's answer does not parse: is this raftd's admin socket?"
        ) from None
    return response


def error_to_message(error: AdminError) -> Error:
    """Return an error as it travels."""
    return Error(
        code=error.code,
        message=error.message,
        hint=error.hint,
        outcome=error.outcome.name,
        retryable=error.retryable,
        retry_after_ms=error.retry_after_ms,
        details=error.details,
    )


def error_response(request_id: int, error: AdminError) -> Response:
    """Return the answer to a failed request; id 0 speaks of the connection as a whole."""
    return Response(id=request_id, error=error_to_message(error))


def error_from_message(error: Error, *, writes: bool = True) -> AdminError:
    """Return an error that has travelled.

    Args:
        error: As received.
        writes: Whether the request might have changed something; if not, its outcome is NOT_APPLIED
            whatever the code.
    """
    return AdminError(
        error.code,
        error.message,
        hint=error.hint,
        outcome=Outcome.from_number(error.outcome) if writes else Outcome.NOT_APPLIED,
        retryable=error.retryable,
        retry_after_ms=error.retry_after_ms,
        details=error.details,
    )


def error_from_response(response: Response, *, writes: bool = True) -> AdminError:
    """Return the error of a failed request."""
    if not response.HasField("error"):
        return AdminError(Code.INTERNAL, "the node reports a failure without saying which")
    return error_from_message(response.error, writes=writes)
