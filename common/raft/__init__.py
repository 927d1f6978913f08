"""Raft for Python, sans I/O: you bring clock, disk and network, this decides.

**Creating a node.** A `RawNode` needs a `Config` and a `Storage`. `MemStorage` is one in memory,
for tests and for looking around; a node whose answers count needs one on disk.

>>> from raft import Config, MemStorage, RawNode
>>> config = Config(id=1)                # Defaults, and what we change.
>>> config.validate()                    # RawNode does so too; this hears of mistakes earlier.
>>> storage = MemStorage.new_with_conf_state(([1], []))     # Voters and learners.
>>> node = RawNode(config, storage)
>>> node.raft.become_candidate()         # Coax it into leading its group of one.
>>> node.raft.become_leader()

**Ticking.** Time is what you call `tick` for, at regular intervals (100 ms, say). Here a queue
stands for whatever else wakes your program.

>>> import queue, time
>>> inbox = queue.Queue()
>>> interval = 0.01                      # Seconds between two ticks.
>>> next_tick, ticks = time.monotonic() + interval, 0
>>> while ticks < 3:                     # A real program goes on for ever.
...     try:
...         message = inbox.get(timeout=max(0.0, next_tick - time.monotonic()))
...     except queue.Empty:
...         pass
...     if time.monotonic() >= next_tick:
...         next_tick += interval
...         _ = node.tick()
...         ticks += 1

**Proposing and stepping.** `propose` asks to append data; `step` takes in a peer's message. An
answer to a client is due when the entry is applied, so keep who asked under an id that travels in
the proposal. What the loop does with `node` in between is the next section.

>>> callbacks = {}
>>> def handle(message):
...     kind, *rest = message
...     if kind == "propose":
...         request_id, callback = rest
...         callbacks[request_id] = callback
...         node.propose(b"", bytes([request_id]))
...     elif kind == "raft":
...         node.step(rest[0])
>>> handle(("propose", 1, lambda: print("request 1 is applied")))

**The Ready loop.** While `has_ready()`, take a `Ready` and carry it out in six steps. Each Ready
that was taken must be advanced.

>>> from raft import StateRole, is_empty_snap
>>> from raft.eraftpb import EntryNormal
>>> outbox = []
>>> def apply(entry):
...     if entry.entry_type != EntryNormal:      # A change of membership.
...         with storage.wl() as store:
...             store.set_conf_state(node.apply_conf_entry(entry))
...     elif entry.data:                         # Empty: the new leader's own entry.
...         callbacks.pop(entry.data[0], lambda: None)()
>>> def on_ready():
...     is_leader = node.raft.state is StateRole.Leader
...     ready = node.ready()
...     if is_leader:                            # A leader may send beside its write.
...         outbox.extend(ready.messages)
...     with storage.wl() as store:
...         if not is_empty_snap(ready.snapshot):        # 1. The snapshot, before all else.
...             store.apply_snapshot(ready.snapshot)
...         if ready.entries:                            # 2. New entries; not committed yet.
...             store.append(ready.entries)
...         if ready.hs is not None:                     # 3. Term, vote, commit index; then sync.
...             store.set_hardstate(ready.hs)
...     if not is_leader:                        # 4. Others answer when all that is on disk.
...         outbox.extend(ready.messages)
...     for entry in ready.committed_entries:    # 5. Apply, in order; remember how far.
...         apply(entry)
...     node.advance(ready)                      # 6. Ready for the next one.
>>> while node.has_ready():
...     on_ready()
request 1 is applied

With a disk that takes its time, use `advance_append_async` and `on_persist_ready` instead of
`advance`, and send `ready.immediate_messages` at once and `ready.persisted_messages` after the
write: then replication, disk and state machine overlap. The manual page raft(7) shows how.

**Arbitrary membership changes** go by joint consensus (Raft section 6): the whole target is given,
and for a while the old and the new majority must both agree. Everything may change at once: add,
remove, promote, demote, replace, the leader included. Beyond what the crate does, a change can be
held in the joint state and rolled back, the next leader can be named, and learners can be promoted
when they have caught up.

>>> from raft.eraftpb import ConfChange
>>> storage = MemStorage.new_with_conf_state(([1, 2], []))
>>> node = RawNode(Config(id=1), storage)
>>> node.raft.become_candidate()
>>> node.raft.become_leader()
>>> node.propose_membership_change(([1, 3], [4, 5, 6]))     # Remove 2, add 3; learn 4, 5, 6.

Later, when the Begin entry is committed and comes to be applied. `apply_conf_entry` does what
follows for any kind of change; here are its parts, as the crate names them.

>>> log = node.raft.raft_log
>>> begin = log.all_entries()[-1]
>>> node.raft.begin_membership_change(ConfChange.FromString(begin.data))
>>> node.raft.is_in_membership_change()
True
>>> sorted(node.raft.prs.voter_ids()), sorted(node.raft.prs.learner_ids())
([1, 2, 3], [4, 5, 6])
>>> log.commit_to(begin.index)
>>> node.raft.commit_apply(begin.index)      # The leader now proposes Finalize by itself.

Later, when the Finalize entry is committed and comes to be applied.

>>> finalize = log.all_entries()[-1]
>>> log.commit_to(finalize.index)
>>> node.raft.finalize_membership_change(ConfChange.FromString(finalize.data))
>>> node.raft.commit_apply(finalize.index)
>>> node.raft.is_in_membership_change(), sorted(node.raft.prs.voter_ids())
(False, [1, 3])

Keep removed nodes running until everyone has applied the Finalize: a new member that has not
learned that it is committed still needs the old majority.

Messages, entries and states are protobuf classes, in `raft.eraftpb`. All errors are `raft.Error`,
except `InvariantViolation`, after which the node must stop.
"""

from raft._membership import parse_conf_change
from raft._roles import SoftState, StateRole
from raft.config import Config
from raft.core import Raft
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
