"""Entries, identities and stores as the storage tests need them."""

from __future__ import annotations

from collections.abc import Iterable

from raft.eraftpb import (
    ConfChange,
    ConfState,
    Entry,
    EntryConfChange,
)
from raftd.applier import KIND_CONTROL, KIND_PROPOSAL, ORIGIN, Applier
from raftd.identity import Identity
from raftd.kvstore import KeyValueStore
from raftd.memory_store import MemoryStore
from raftd.settings import Settings
from raftd.state_machine import StateMachine, create
from raftd.storage import LogStore
from raftwire.proto.peer_pb2 import ControlCommand, MemberInfo

CLUSTER = b"0123456789abcdef"
ADDRESSES = {1: "h1:1", 2: "h2:2", 3: "h3:3"}


def identity(node_id: int = 1, machine: str = "log", cluster_id: bytes = CLUSTER) -> Identity:
    """Return an identity of the test cluster."""
    return Identity(cluster_id, node_id, machine, created_ms=1_700_000_000_000)


def members(*voters: int) -> ConfState:
    """Return a configuration of voters."""
    return ConfState(voters=voters or (1, 2, 3))


def bootstrap(
    kv: KeyValueStore | None = None, machine: str = "log", settings: Settings | None = None
) -> LogStore:
    """Return the fresh store of node 1 of three."""
    return LogStore.bootstrap(
        kv if kv is not None else MemoryStore(),
        identity(machine=machine),
        members(),
        ADDRESSES,
        settings,
    )


def entry(index: int, term: int = 1, data: bytes = b"") -> Entry:
    """Return an entry without an origin, as a leader's own."""
    return Entry(index=index, term=term, data=data)


def entries(low: int, high: int, term: int = 1, size: int = 8) -> list[Entry]:
    """Return entries ``[low, high)``, each with its own data."""
    return [entry(index, term, b"%08d" % index * (size // 8)) for index in range(low, high)]


def proposal(
    index: int, data: bytes, *, key: bytes = b"", term: int = 1, incarnation: int = 7
) -> Entry:
    """Return a client's proposal as it stands in the log."""
    context = ORIGIN.pack(KIND_PROPOSAL, 1, incarnation, index) + key
    return Entry(index=index, term=term, context=context, data=data)


def control(index: int, command: ControlCommand, term: int = 1) -> Entry:
    """Return a control entry."""
    return Entry(
        index=index,
        term=term,
        context=ORIGIN.pack(KIND_CONTROL, 1, 7, index),
        data=command.SerializeToString(),
    )


def conf_entry(index: int, addresses: dict[int, str] | None = None, term: int = 1) -> Entry:
    """Return a conf entry that brings ``addresses`` along."""
    context = ORIGIN.pack(KIND_CONTROL, 1, 7, index)
    context += MemberInfo(addrs=addresses or {}).SerializeToString()
    change = ConfChange(context=context)
    return Entry(
        entry_type=EntryConfChange, index=index, term=term, data=change.SerializeToString()
    )


def no_conf(entry: Entry) -> ConfState:
    """Stand in for the core where no conf entry is expected."""
    raise AssertionError(f"conf entry {entry.index}")


def applier(store: LogStore, machine: StateMachine | None = None) -> Applier:
    """Return an applier with the store's own machine."""
    return Applier(store.kv, store, machine or create(store.identity.state_machine), no_conf)


def apply(store: LogStore, by: Applier, new: Iterable[Entry], sync: bool = True) -> None:
    """Append, commit, apply and write ``new``, as one Ready would."""
    batch = store.new_batch()
    listed = list(new)
    store.append(batch, listed)
    hard_state = store.initial_state().hard_state
    hard_state.term = max(hard_state.term, listed[-1].term)
    hard_state.commit = listed[-1].index
    store.set_hard_state(batch, hard_state)
    by.apply(batch, listed)
    store.write(batch)
    if sync:
        store.sync()
