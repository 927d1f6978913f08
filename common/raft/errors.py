"""Everything the library refuses, as one tree of exceptions that explain themselves.

::

    raft.Error
    ├── Io(cause)                       a storage or a transport failed underneath
    ├── Store(error)                    wraps a StorageError where another Error is expected
    ├── StorageError                    what a Storage answers instead of data
    │   ├── Compacted                       the entry is gone, a snapshot covers it
    │   ├── Unavailable                     the entry is not here yet
    │   ├── SnapshotOutOfDate               the snapshot is older than the log's start
    │   ├── SnapshotTemporarilyUnavailable  try again later
    │   ├── LogTemporarilyUnavailable       being fetched; the core is told when it is there
    │   └── Other(cause)                    anything else
    ├── StepLocalMsg(msg_type)          a message that only the node itself may make
    ├── StepPeerNotFound(id)            an answer from a node that is not a member
    ├── MessageRefused(reason)          a peer's message that breaks the protocol
    ├── ProposalDropped(reason)         a proposal that was not taken
    ├── RequestSnapshotDropped          a request for a snapshot that was not taken
    ├── ConfigInvalid                   a Config or a Configuration that cannot work
    ├── CodecError                      bytes that are not the message they should be
    ├── Exists(id, set)                 the node is in that set already
    ├── NotExists(id, set)              the node is not in that set
    ├── InvalidState(role)              not possible in this role
    ├── NoPendingMembershipChange       nothing to finalize
    ├── ViolatesContract                the caller broke a rule of the interface
    └── ConfChangeError(reason)         a change of membership that was refused

An :class:`raft.InvariantViolation` is not among them on purpose: it says that the node can no
longer trust itself, and no handler of `Error` may swallow that.
"""

from __future__ import annotations

from enum import Enum, unique


class Error(Exception):
    """The base of all that the library raises for a caller to handle."""


class Io(Error):
    """A storage or a transport failed underneath; `cause` is what it raised."""

    def __init__(self, cause: BaseException | str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"input or output failed: {self.cause}; what was being written may or may not be "
            "there, so stop the node and look at its disk"
        )


class StorageError(Error):
    """The base of what a `Storage` raises instead of returning data."""

    default = "the storage failed"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.default)


class Compacted(StorageError):
    """The wanted entry lies before the first one kept; a peer that needs it needs a snapshot."""

    default = "the entry was compacted away; what it did is in the snapshot"


class Unavailable(StorageError):
    """The wanted entry lies after the last one stored."""

    default = "the entry is not in the log; ask again when it was appended"


class SnapshotOutOfDate(StorageError):
    """The snapshot is older than what the log starts with; installing it would lose entries."""

    default = "the snapshot is older than the start of the log; it was not installed"


class SnapshotTemporarilyUnavailable(StorageError):
    """No snapshot that would do can be given now; the leader asks again later."""

    default = "no such snapshot can be given now; the leader asks again later"


class LogTemporarilyUnavailable(StorageError):
    """The entries are being fetched; call `on_entries_fetched` when they are there."""

    default = "the entries are being fetched; the core asks again when it is told they are there"


class Other(StorageError):
    """A storage failed in a way of its own; `cause` is what it raised."""

    def __init__(self, cause: BaseException | str) -> None:
        super().__init__(f"the storage failed: {cause}")
        self.cause = cause


class Store(Error):
    """A `StorageError` where the caller expects the library's own errors; it is in `error`."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return f"the storage answered: {self.error}"


class StepLocalMsg(Error):
    """A message that only the node itself may make was handed to `step`."""

    def __init__(self, msg_type: str = "") -> None:
        super().__init__(msg_type)
        self.msg_type = msg_type

    def __str__(self) -> str:
        name = self.msg_type or "this message"
        return (
            f"{name} is local to a node and is never taken from a peer; it was not stepped. "
            "Call the method of RawNode that makes it"
        )


class StepPeerNotFound(Error):
    """An answer came from a node this one keeps no progress for; `id` is who sent it."""

    def __init__(self, id: int = 0) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        who = f"node {self.id}" if self.id else "the sender"
        return (
            f"{who} is not a member of the group that this node knows; its answer was not "
            "stepped. It may have been removed, or not been added yet"
        )


class MessageRefused(Error):
    """A peer's message breaks the protocol; it was refused before anything changed.

    `reason` tells the rule. A correct peer never sends one, whatever the network does to it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the peer's message was refused: {self.reason}; nothing was changed"


@unique
class DropReason(Enum):
    """Why a proposal, or a read, was not taken."""

    NO_LEADER = "no_leader"
    TRANSFERRING = "transferring"
    NOT_MEMBER = "not_member"
    TOO_LARGE = "too_large"
    UNCOMMITTED_LIMIT = "uncommitted_limit"
    TOO_MANY_READS = "too_many_reads"
    CONF_PENDING = "conf_pending"
    FORWARDING_DISABLED = "forwarding_disabled"


_DROP_MESSAGES = {
    DropReason.NO_LEADER: "no leader is known; propose again when one is elected",
    DropReason.TRANSFERRING: (
        "leadership is being transferred; propose again when the new leader is known"
    ),
    DropReason.NOT_MEMBER: "this node is not a voter of the group; propose at a member",
    DropReason.TOO_LARGE: "it is larger than an entry may be; split it or raise the limit",
    DropReason.UNCOMMITTED_LIMIT: (
        "too many bytes wait to be committed; propose again when some of them are"
    ),
    DropReason.TOO_MANY_READS: (
        "too many reads wait to be confirmed; ask again when some of them are"
    ),
    DropReason.CONF_PENDING: (
        "a change of membership is not applied yet; propose again when it is"
    ),
    DropReason.FORWARDING_DISABLED: (
        "this node does not lead and does not forward; propose at the leader"
    ),
}


class ProposalDropped(Error):
    """A proposal was not taken: it is in no log, so proposing again cannot apply it twice.

    Or a read was not, and will not be answered. `reason` is one of `DropReason`; `message` says it
    in a sentence.
    """

    def __init__(self, reason: DropReason, message: str = "") -> None:
        self.reason = reason
        self.message = message or _DROP_MESSAGES[reason]
        super().__init__(reason, self.message)

    def __str__(self) -> str:
        what = "read" if self.reason is DropReason.TOO_MANY_READS else "proposal"
        return f"the {what} was dropped: {self.message}"


class RequestSnapshotDropped(Error):
    """A request for a snapshot was not taken; `reason` says why where that is known."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        why = self.reason or ("this node leads, knows no leader, or waits for a snapshot already")
        return f"the request for a snapshot was dropped: {why}; ask again when that has changed"


class ConfigInvalid(Error):
    """A `Config` or a `Configuration` that cannot work; the message says what to change."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"invalid configuration: {self.message}"


class CodecError(Error):
    """Bytes that are not the message they should be."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        detail = self.message or "they do not parse"
        return f"the bytes are not a message: {detail}; they were not used"


class Exists(Error):
    """The node `id` is in `set` ("voters" or "learners") already."""

    def __init__(self, id: int, set: str) -> None:
        super().__init__(id, set)
        self.id = id
        self.set = set

    def __str__(self) -> str:
        return f"node {self.id} is already one of the {self.set}; nothing was changed"


class NotExists(Error):
    """The node `id` is not in `set` ("voters" or "learners")."""

    def __init__(self, id: int, set: str) -> None:
        super().__init__(id, set)
        self.id = id
        self.set = set

    def __str__(self) -> str:
        return f"node {self.id} is not one of the {self.set}; nothing was changed"


class InvalidState(Error):
    """What was asked is not possible in this `role` (a `StateRole` or its name)."""

    def __init__(self, role: object) -> None:
        super().__init__(role)
        self.role = role

    def __str__(self) -> str:
        name = getattr(self.role, "name", self.role)
        return f"not possible for a node in the role {name}; ask the leader"


class NoPendingMembershipChange(Error):
    """There is no joint state to leave: the change was finalized or rolled back already."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message or (
            "no change of membership is pending, so there is nothing to finalize; "
            "a second Finalize in the log is harmless and may be passed over"
        )


class ViolatesContract(Error):
    """The caller broke a rule of the interface; the message says which."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"the call breaks the interface's contract: {self.message}"


@unique
class ConfChangeReason(Enum):
    """Why a change of membership was refused."""

    CONF_PENDING = "conf_pending"
    ALREADY_JOINT = "already_joint"
    NOT_JOINT = "not_joint"
    FINALIZE_IN_LOG = "finalize_in_log"
    ROLLBACK_IN_LOG = "rollback_in_log"
    UNAPPLIED = "unapplied"
    REMOVED_ID = "removed_id"
    CONFIG_CHANGED = "config_changed"
    INVALID = "invalid"
    NOT_LEADER = "not_leader"
    UNKNOWN_MEMBER = "unknown_member"


_CONF_CHANGE_MESSAGES = {
    ConfChangeReason.CONF_PENDING: (
        "an earlier change is not applied yet; propose again when it is"
    ),
    ConfChangeReason.ALREADY_JOINT: (
        "the group is between two configurations; finalize or roll back that change first"
    ),
    ConfChangeReason.NOT_JOINT: (
        "the group is not between two configurations; there is nothing to finish or roll back"
    ),
    ConfChangeReason.FINALIZE_IN_LOG: (
        "the change is being finalized already and cannot be rolled back any more"
    ),
    ConfChangeReason.ROLLBACK_IN_LOG: (
        "the change is being rolled back already and cannot be finalized any more"
    ),
    ConfChangeReason.UNAPPLIED: (
        "committed changes of membership are not applied yet; propose again when they are"
    ),
    ConfChangeReason.REMOVED_ID: (
        "the id has left the group and may not return; add the node under a new id"
    ),
    ConfChangeReason.CONFIG_CHANGED: (
        "the configuration is no longer the expected one; look at it and decide again"
    ),
    ConfChangeReason.INVALID: "the change cannot be applied to the present configuration",
    ConfChangeReason.NOT_LEADER: "only the leader takes changes of membership; ask it",
    ConfChangeReason.UNKNOWN_MEMBER: "the node is not a member of the group; check the id",
}


class ConfChangeError(Error):
    """A change of membership was refused; nothing was appended and nothing was changed.

    `reason` is one of `ConfChangeReason`; `message` says it in a sentence.
    """

    def __init__(self, reason: ConfChangeReason, message: str = "") -> None:
        self.reason = reason
        self.message = message or _CONF_CHANGE_MESSAGES[reason]
        super().__init__(reason, self.message)

    def __str__(self) -> str:
        return f"the change of membership was refused: {self.message}"
