"""The peer protocol: who may talk to whom, and frames read within a budget. Sans-I/O.

The dialer sends ``make_hello``; the accepter answers ``check_hello``; the dialer judges that with
``check_hello_reply``. From then on every frame is a ``PeerFrame``, read by ``parse_frame``.
Whether a Raft message inside makes sense is the daemon's validator's question, not asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from raft.eraftpb import ConfState
from raftwire.envelope import Origin, pack_origin, split_origin
from raftwire.errors import Code, HelloRefused, MessageError
from raftwire.limits import (
    ADDR_BYTES_MAX,
    CLUSTER_ID_BYTES,
    ENTRIES_PER_FRAME_MAX,
    HELLO_BYTES_MAX,
    MEMBERS_MAX,
    MESSAGES_PER_FRAME_MAX,
    NUMBER_MAX,
)
from raftwire.proto.peer_pb2 import (
    Announce,
    ControlCommand,
    Forward,
    ForwardRefused,
    Hello,
    HelloReply,
    MemberInfo,
    PeerFrame,
    Query,
    QueryReply,
    Relay,
    RelayReply,
    SetAddr,
    SnapshotChunk,
    SnapshotDone,
    SnapshotOffer,
    SnapshotResume,
)
from raftwire.varint import read_varint

__all__ = [
    "MAGIC",
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "Announce",
    "ControlCommand",
    "Expectations",
    "Forward",
    "ForwardRefused",
    "Hello",
    "HelloReply",
    "MemberInfo",
    "PeerFrame",
    "Query",
    "QueryReply",
    "RefusedByPeer",
    "Relay",
    "RelayReply",
    "SetAddr",
    "SnapshotChunk",
    "SnapshotDone",
    "SnapshotOffer",
    "SnapshotResume",
    "check_hello",
    "check_hello_reply",
    "make_hello",
    "pack_conf_context",
    "parse_frame",
    "parse_hello",
    "parse_hello_reply",
    "unpack_conf_context",
]

MAGIC: Final = b"RAFT"
#: Versions of the peer protocol this code speaks, both ends included.
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1

#: Protobuf fields looked at in one frame before it is refused unread.
_FIELDS_PER_FRAME_MAX: Final = 131_072
_REFUSED_BYTES_MAX: Final = 16 * ENTRIES_PER_FRAME_MAX
#: Frames up to this length are parsed before their parts are counted: even one full of empty
#: entries takes a few megabytes.
_SMALL_FRAME_BYTES: Final = 64 * 1024
#: Frames longer than this most often carry a few large entries.
_LARGE_FRAME_BYTES: Final = 512 * 1024
_STEPS_FEW: Final = 256
#: Tags of Message.entries and of PeerFrame.messages and Forward.entries, in their canonical form
#: and as the first byte of an overlong one.
_PART_TAGS: Final = b"\x3a\x0a\xba\x8a"
_OUTER_FIELDS_MAX: Final = 64


class Expectations(NamedTuple):
    """What a node knows when it judges a hello or its answer."""

    node_id: int
    #: Empty: not known yet (a joining node), so any is taken.
    cluster_id: bytes
    incarnation: int
    state_machine: str = ""
    version: str = ""
    advertise: str = ""
    #: Ids of the configuration in force, both halves and learners. None: not known yet, take any.
    members: Collection[int] | None = None
    #: Ids that have left for good.
    removed: Collection[int] = ()
    #: Addresses of all members, told to a node that joins.
    addrs: Mapping[int, str] = {}
    #: The configuration in force, told to a node that is not in it. None: there is none to tell.
    config: ConfState | None = None
    #: When this node's data was made, ms since 1970; 0: it has none yet.
    data_made_ms: int = 0
    #: When each member's data was made, as far as known: an id stands for one disk for ever.
    data_known: Mapping[int, int] = {}
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX


class RefusedByPeer(HelloRefused):
    """The other side answered our hello with a refusal.

    Attributes:
        config: The configuration in force there, if it does not hold us; None: not said.
    """

    def __init__(self, reply: HelloReply) -> None:
        super().__init__(reply.code, reply.message, reply.hint)
        self.config: ConfState | None = reply.config if reply.HasField("config") else None


def make_hello(mine: Expectations, to_node_id: int, kind: Hello.Kind) -> Hello:
    """Return the first message of a connection to ``to_node_id`` (0 only for a JOIN)."""
    return Hello(
        magic=MAGIC,
        protocol_min=mine.protocol_min,
        protocol_max=mine.protocol_max,
        cluster_id=mine.cluster_id,
        node_id=mine.node_id,
        to_node_id=to_node_id,
        incarnation=mine.incarnation,
        kind=kind,
        advertise=mine.advertise,
        version=mine.version,
        state_machine=mine.state_machine,
        data_made_ms=mine.data_made_ms,
    )


def parse_hello(frame: bytes) -> Hello:
    """Read the first frame of an accepted connection.

    Raises:
        MessageError: It is too long, not a hello, or from something that does not speak this
        protocol.
    """
    if len(frame) > HELLO_BYTES_MAX:
        raise MessageError(f"a hello takes at most {HELLO_BYTES_MAX} bytes, not {len(frame)}")
    hello = Hello()
    try:
        hello.ParseFromString(frame)
    except DecodeError:
        raise MessageError("the first frame is not a hello") from None
    if hello.magic != MAGIC:
        raise MessageError("the first frame is not a hello of this protocol")
    return hello


def parse_hello_reply(frame: bytes) -> HelloReply:
    """Read the answer to a hello.

    Raises:
        MessageError: It does not parse.
    """
    reply = HelloReply()
    try:
        reply.ParseFromString(frame)
    except DecodeError:
        raise MessageError("the answer to the hello does not parse") from None
    return reply


def check_hello(hello: Hello, mine: Expectations) -> HelloReply:
    """Judge a hello; return the answer to send. The connection goes on only if ``reply.ok``."""
    refusal = _judge_hello(hello, mine)
    reply = HelloReply(
        protocol=min(hello.protocol_max, mine.protocol_max),
        cluster_id=mine.cluster_id,
        node_id=mine.node_id,
        incarnation=mine.incarnation,
        version=mine.version,
        state_machine=mine.state_machine,
        data_made_ms=mine.data_made_ms,
    )
    if refusal is None or refusal[0] is Code.REMOVED_MEMBER:
        config = mine.config
        if config is not None and hello.kind == Hello.RAFT and not _holds(config, hello.node_id):
            reply.config.CopyFrom(config)
            # It may be long, and the refusal says it already.
            del reply.config.removed[:]
    if refusal is None:
        reply.ok = True
        if hello.kind == Hello.JOIN:
            for node_id, addr in sorted(mine.addrs.items()):
                reply.addrs[node_id] = addr
    else:
        code, reply.message = refusal
        reply.code = code.value
        reply.hint = code.facts.hint
        if code is Code.CLUSTER_MISMATCH:
            # A stranger learns that it is wrong, not where it is.
            reply.cluster_id = b""
    return reply


def _holds(config: ConfState, node_id: int) -> bool:
    """Tell whether a node is in a configuration, in whatever role."""
    return any(
        node_id in ids
        for ids in (
            config.voters,
            config.learners,
            config.voters_outgoing,
            config.learners_next,
            config.learners_outgoing,
        )
    )


def _judge_hello(hello: Hello, mine: Expectations) -> tuple[Code, str] | None:
    if hello.kind not in (Hello.RAFT, Hello.SNAPSHOT, Hello.JOIN, Hello.PROBE):
        return Code.INVALID_REQUEST, f"unknown kind of connection: {hello.kind}"
    if hello.protocol_max < mine.protocol_min or hello.protocol_min > mine.protocol_max:
        return Code.UNSUPPORTED_VERSION, (
            f"node {hello.node_id} speaks protocol {hello.protocol_min} to {hello.protocol_max}, "
            f"node {mine.node_id} speaks {mine.protocol_min} to {mine.protocol_max}"
        )
    joining = hello.kind == Hello.JOIN
    if len(hello.cluster_id) != CLUSTER_ID_BYTES and not (joining and not hello.cluster_id):
        return Code.INVALID_REQUEST, f"a cluster id has {CLUSTER_ID_BYTES} bytes"
    if not 0 < hello.node_id <= NUMBER_MAX:
        return Code.INVALID_REQUEST, f"a node id is 1 to 2^53-1, not {hello.node_id}"
    if hello.cluster_id and mine.cluster_id and hello.cluster_id != mine.cluster_id:
        return Code.CLUSTER_MISMATCH, (
            f"node {hello.node_id} belongs to another cluster than node {mine.node_id}"
        )
    if joining and not mine.cluster_id:
        return Code.NOT_MEMBER, f"node {mine.node_id} is itself still joining"
    if hello.node_id == mine.node_id:
        return Code.SAME_ID, f"both ends call themselves node {mine.node_id}"
    if hello.to_node_id != mine.node_id and not (joining and hello.to_node_id == 0):
        return Code.WRONG_NODE, f"this is node {mine.node_id}, not node {hello.to_node_id}"
    if hello.node_id in mine.removed:
        return Code.REMOVED_MEMBER, f"node {hello.node_id} has left this cluster for good"
    known = mine.data_known.get(hello.node_id, 0)
    if known and hello.data_made_ms != known and (joining or hello.data_made_ms):
        return Code.DATA_LOST, (
            f"node {hello.node_id} comes with other data than it had in this cluster: what it has "
            "voted and acknowledged is forgotten, so it must not go on under its id"
        )
    if not joining and mine.members is not None and hello.node_id not in mine.members:
        return Code.UNKNOWN_MEMBER, f"node {hello.node_id} is not a member of this cluster"
    if hello.state_machine and mine.state_machine and hello.state_machine != mine.state_machine:
        return Code.STATE_MACHINE_MISMATCH, (
            f"node {hello.node_id} runs the state machine {hello.state_machine!r}, "
            f"node {mine.node_id} runs {mine.state_machine!r}"
        )
    if len(hello.advertise.encode()) > ADDR_BYTES_MAX:
        return Code.INVALID_REQUEST, f"an address takes at most {ADDR_BYTES_MAX} bytes"
    return None


def check_hello_reply(reply: HelloReply, mine: Expectations, to_node_id: int) -> None:
    """Judge the answer to our hello: also the dialer makes sure whom it reached.

    Raises:
        RefusedByPeer: The other side refused us.
        HelloRefused: It is not who we meant to reach.
    """
    if not reply.ok:
        raise RefusedByPeer(reply)
    known = mine.data_known.get(reply.node_id, 0)
    if not mine.protocol_min <= reply.protocol <= mine.protocol_max:
        code, message = (
            Code.UNSUPPORTED_VERSION,
            f"node {reply.node_id} chose protocol {reply.protocol}, "
            f"we speak {mine.protocol_min} to {mine.protocol_max}",
        )
    elif mine.cluster_id and reply.cluster_id != mine.cluster_id:
        code, message = (
            Code.CLUSTER_MISMATCH,
            f"node {reply.node_id} belongs to another cluster than node {mine.node_id}",
        )
    elif len(reply.cluster_id) != CLUSTER_ID_BYTES:
        code, message = Code.CLUSTER_MISMATCH, f"node {reply.node_id} names no cluster"
    elif reply.node_id == mine.node_id:
        code, message = Code.SAME_ID, f"both ends call themselves node {mine.node_id}"
    elif to_node_id and reply.node_id != to_node_id:
        code, message = (
            Code.WRONG_NODE,
            f"the address leads to node {reply.node_id}, not to node {to_node_id}",
        )
    elif known and reply.data_made_ms not in (0, known):
        code, message = Code.DATA_LOST, f"node {reply.node_id} has lost its data: replace it"
    else:
        return
    raise HelloRefused(code, message, code.facts.hint)


def parse_frame(frame: bytes) -> PeerFrame:
    """Read a frame of an accepted connection, within the budget of messages and entries.

    Raises:
        MessageError: It does not parse, or holds more than MESSAGES_PER_FRAME_MAX messages or
            ENTRIES_PER_FRAME_MAX entries.
    """
    small = len(frame) <= _SMALL_FRAME_BYTES
    if not small:
        _check_budget(frame)
    parsed = PeerFrame()
    try:
        parsed.ParseFromString(frame)
    except DecodeError:
        raise MessageError("a frame does not parse") from None
    if small and len(frame) > 2 * MESSAGES_PER_FRAME_MAX:
        entries = sum(len(message.entries) for message in parsed.messages)
        if parsed.HasField("forward"):
            entries += len(parsed.forward.entries)
        if entries > ENTRIES_PER_FRAME_MAX or len(parsed.messages) > MESSAGES_PER_FRAME_MAX:
            raise _too_many_parts()
    return parsed


def _check_budget(frame: bytes) -> None:
    """Refuse a frame that holds too many parts, before it is parsed."""
    # A few large entries are counted in a few steps; many small ones by one look at every byte.
    if len(frame) > _LARGE_FRAME_BYTES and _within_budget(frame, _STEPS_FEW):
        return
    if _may_exceed_budget(frame) and not _within_budget(frame, _FIELDS_PER_FRAME_MAX):
        raise MessageError(f"a frame holds more than {_FIELDS_PER_FRAME_MAX} fields")


def _too_many_parts() -> MessageError:
    return MessageError(
        f"a frame holds more than {MESSAGES_PER_FRAME_MAX} messages "
        f"or {ENTRIES_PER_FRAME_MAX} entries"
    )


def _may_exceed_budget(frame: bytes) -> bool:
    """Tell cheaply whether a frame could hold too many parts.

    An empty entry takes two bytes of the frame and a hundred times that in memory, so in all but
    small frames parts are counted before anything is parsed. Each part starts with its field's tag:
    counting the bytes that could be one is done in C, and is wrong only on the safe side.
    """
    if len(frame) - len(frame.translate(None, _PART_TAGS)) > ENTRIES_PER_FRAME_MAX:
        return True
    # Packed sequences of a refusal have no tag of their own; the few outermost fields tell whether
    # there is a refusal.
    return not _carries_only_entries(frame)


def _carries_only_entries(frame: bytes) -> bool:
    """Tell whether a frame begins to end consists of a few messages and forwards."""
    at, end = 0, len(frame)
    for _ in range(_OUTER_FIELDS_MAX):
        if frame[at] not in b"\x0a\x12":
            return False
        size, at = _varint(frame, at + 1, end)
        at += size
        if at >= end:
            return at == end
    return False


def _within_budget(frame: bytes, steps_max: int) -> bool:
    """Walk the fields of a frame without parsing it; False if it has more than ``steps_max``.

    Raises:
        MessageError: Too many parts, or the bytes are no message at all.
    """
    messages = entries = refused_bytes = steps = 0
    # (start, end, field of the entries inside); the frame itself has none.
    regions = [(0, len(frame), 0)]
    while regions:
        at, end, entry_field = regions.pop()
        while at < end:
            steps += 1
            if steps > steps_max:
                return False
            tag, at = _varint(frame, at, end)
            field, wire_type = tag >> 3, tag & 7
            if wire_type == 0:
                _, at = _varint(frame, at, end)
            elif wire_type == 1:
                at += 8
            elif wire_type == 5:
                at += 4
            elif wire_type == 2:
                size, at = _varint(frame, at, end)
                start, at = at, at + size
                if at > end:
                    raise MessageError("a frame does not parse")
                if entry_field:
                    entries += field == entry_field
                elif field == 1:
                    messages += 1
                    regions.append((start, at, 7))
                elif field == 2:
                    regions.append((start, at, 1))
                elif field == 3:
                    refused_bytes += size
                    if refused_bytes > _REFUSED_BYTES_MAX:
                        raise MessageError("a frame refuses more proposals than a frame holds")
                if entries > ENTRIES_PER_FRAME_MAX or messages > MESSAGES_PER_FRAME_MAX:
                    raise _too_many_parts()
            else:
                raise MessageError("a frame does not parse")
    return True


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value, at = read_varint(data, at)
    if at > end:
        raise MessageError("a frame does not parse")
    return value, at


def pack_conf_context(origin: Origin, addrs: Mapping[int, str]) -> bytes:
    """Return the context of a configuration change: who asked for it, and its addresses."""
    info = MemberInfo()
    for node_id, addr in sorted(addrs.items()):
        info.addrs[node_id] = addr
    return pack_origin(
        origin.kind, origin.node, origin.incarnation, origin.sequence
    ) + info.SerializeToString(deterministic=True)


def unpack_conf_context(context: bytes) -> tuple[Origin | None, dict[int, str]]:
    """Read the context of a configuration change.

    Returns:
        Who asked for it (None: nobody this daemon could answer) and the addresses it brings.

    Raises:
        MessageError: The addresses do not parse, or break a limit.
    """
    origin, rest = split_origin(context)
    if origin is None:
        return None, {}
    info = MemberInfo()
    try:
        info.ParseFromString(rest)
    except DecodeError:
        raise MessageError("the addresses of a configuration change do not parse") from None
    addrs = dict(sorted(info.addrs.items()))
    if len(addrs) > MEMBERS_MAX:
        raise MessageError(f"a configuration change brings more than {MEMBERS_MAX} addresses")
    for node_id, addr in addrs.items():
        if not 0 < node_id <= NUMBER_MAX or len(addr.encode()) > ADDR_BYTES_MAX:
            raise MessageError(f"a configuration change brings a bad address for node {node_id}")
    return origin, addrs
