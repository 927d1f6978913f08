"""Entries of the log as clients read them: what each is, who proposed it, what it does."""

from google.protobuf.message import DecodeError

from raft import CodecError, parse_conf_change
from raft.eraftpb import ConfChange, ConfChangeType, Entry
from raftwire.envelope import CONTROL, split_origin, unpack_origin
from raftwire.errors import MessageError
from raftwire.peer import ControlCommand, unpack_conf_context
from raftwire.proto.admin_pb2 import LogEntry


def describe(entry: Entry) -> LogEntry:
    """Return an entry as clients read it."""
    shown = LogEntry(index=entry.index, term=entry.term)
    if entry.entry_type:
        shown.type = "conf"
        shown.description = _conf_words(entry, shown)
        return shown
    try:
        origin = unpack_origin(entry.context)
    except MessageError as error:
        shown.type, shown.description = "normal", f"unreadable origin: {error}"
        shown.data = entry.data
        return shown
    if origin is None:
        shown.type, shown.description = "noop", "first entry of a new leader"
        return shown
    shown.node, shown.incarnation, shown.sequence = origin.node, origin.incarnation, origin.sequence
    if origin.kind == CONTROL:
        shown.type, shown.description = "control", _control_words(entry.data)
    else:
        shown.type, shown.data, shown.key = "normal", entry.data, origin.key
    return shown


def _conf_words(entry: Entry, shown: LogEntry) -> str:
    try:
        change = parse_conf_change(entry)
    except CodecError as error:
        return f"unreadable change of membership: {error}"
    origin, _ = split_origin(change.context)
    if origin is not None:
        shown.node, shown.incarnation, shown.sequence = (
            origin.node, origin.incarnation, origin.sequence,
        )  # fmt: skip
    if not isinstance(change, ConfChange):
        parts = [
            f"{ConfChangeType.Name(single.change_type)} {single.node_id}"
            for single in change.changes
        ]
        return ", ".join(parts) or "leave joint"
    words = ConfChangeType.Name(change.change_type)
    if change.HasField("configuration"):
        target = change.configuration
        words += f" voters {_ids(target.voters)}"
        if target.learners:
            words += f" learners {_ids(target.learners)}"
        if change.hold:
            words += " and hold"
    elif change.node_id:
        words += f" {change.node_id}"
    try:
        _, addresses = unpack_conf_context(change.context)
    except MessageError:
        addresses = {}
    if addresses:
        words += "; " + ", ".join(f"{node_id}={addr}" for node_id, addr in addresses.items())
    return words


def _ids(ids: object) -> str:
    return ",".join(map(str, sorted(ids)))  # type: ignore[call-overload]


def _control_words(data: bytes) -> str:
    try:
        command = ControlCommand.FromString(data)
    except DecodeError:
        return "unreadable command"
    kind = command.WhichOneof("command")
    if kind == "set_addr":
        return f"set_addr {command.set_addr.id}={command.set_addr.addr}"
    if kind == "set_clock":
        return f"set_clock {command.set_clock.unix_ms}"
    return kind or "nothing"
