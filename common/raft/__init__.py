"""Raft for Python, sans I/O: you bring clock, disk and network, this decides.

Placeholder for the quick start, replaced below.
"""

from raft._membership import parse_conf_change
from raft.config import Config
from raft.core import Raft, SoftState, StateRole
from raft.errors import (
    CodecError,
    Compacted,
    ConfChangeError,
    ConfChangeReason,
    ConfigInvalid,
    DropReason,
    Error,
    Exists,
    InvalidState,
    Io,
    LogTemporarilyUnavailable,
    MessageRefused,
    NoPendingMembershipChange,
    NotExists,
    Other,
    ProposalDropped,
    RequestSnapshotDropped,
    SnapshotOutOfDate,
    SnapshotTemporarilyUnavailable,
    StepLocalMsg,
    StepPeerNotFound,
    StorageError,
    Store,
    Unavailable,
    ViolatesContract,
)
from raft.invariant import InvariantViolation
from raft.log_unstable import Unstable
from raft.logger import Logger, NullLogger
from raft.progress import (
    CandidacyStatus,
    Configuration,
    Inflights,
    Progress,
    ProgressSet,
    ProgressState,
)
from raft.raft_log import RaftLog
from raft.raw_node import LightReady, Peer, RawNode, Ready, SnapshotStatus
from raft.read_only import ReadState
from raft.read_only_option import ReadOnlyOption
from raft.status import Status, StatusRef
from raft.storage import GetEntriesContext, MemStorage, MemStorageCore, RaftState, Storage
from raft.util import (
    INVALID_ID,
    INVALID_INDEX,
    NO_LIMIT,
    is_empty_snap,
    majority,
    vote_resp_msg_type,
)

__all__ = [
    "INVALID_ID",
    "INVALID_INDEX",
    "NO_LIMIT",
    "CandidacyStatus",
    "CodecError",
    "Compacted",
    "ConfChangeError",
    "ConfChangeReason",
    "Config",
    "ConfigInvalid",
    "Configuration",
    "DropReason",
    "Error",
    "Exists",
    "GetEntriesContext",
    "Inflights",
    "InvalidState",
    "InvariantViolation",
    "Io",
    "LightReady",
    "LogTemporarilyUnavailable",
    "Logger",
    "MemStorage",
    "MemStorageCore",
    "MessageRefused",
    "NoPendingMembershipChange",
    "NotExists",
    "NullLogger",
    "Other",
    "Peer",
    "Progress",
    "ProgressSet",
    "ProgressState",
    "ProposalDropped",
    "Raft",
    "RaftLog",
    "RaftState",
    "RawNode",
    "ReadOnlyOption",
    "ReadState",
    "Ready",
    "RequestSnapshotDropped",
    "SnapshotOutOfDate",
    "SnapshotStatus",
    "SnapshotTemporarilyUnavailable",
    "SoftState",
    "StateRole",
    "Status",
    "StatusRef",
    "StepLocalMsg",
    "StepPeerNotFound",
    "Storage",
    "StorageError",
    "Store",
    "Unavailable",
    "Unstable",
    "ViolatesContract",
    "is_empty_snap",
    "majority",
    "parse_conf_change",
    "vote_resp_msg_type",
]
