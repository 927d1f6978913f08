"""Short ways to say what a test starts from: entries, storages, cores, members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from raft import NO_LIMIT, Config, MemStorage, Raft
from raft.eraftpb import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryConfChange,
    EntryConfChangeV2,
    HardState,
    Message,
    MessageType,
    Snapshot,
    new_snapshot,
)
from tests.harness.network import Loop, Member

T = TypeVar("T")
Members = ConfState | tuple[Iterable[int], Iterable[int]]


def a_config(id: int = 1, **changes: Any) -> Config:
    """Return a configuration for tests: 10 ticks of election timeout, heartbeats each tick."""
    settings: dict[str, Any] = {
        "id": id,
        "election_tick": 10,
        "heartbeat_tick": 1,
        "max_size_per_msg": NO_LIMIT,
        **changes,
    }
    return Config(**settings)


def entries_of(terms: Sequence[int], first: int = 2, data: bytes = b"") -> list[Entry]:
    """Return entries of these terms, from index `first` on."""
    return [Entry(term=t, index=i, data=data) for i, t in enumerate(terms, first)]


def a_storage(
    members: Members = ((1, 2, 3), ()),
    terms: Sequence[int] = (),
    *,
    term: int = 0,
    vote: int = 0,
    commit: int = 1,
    data: bytes = b"",
) -> MemStorage:
    """Return a storage of a group: index 1 is its start, `terms` are those of the entries after."""
    storage = MemStorage.new_with_conf_state(members)
    with storage.wl() as writer:
        writer.append(entries_of(terms, data=data))
        present = max([term, 1, *terms])
        writer.set_hardstate(HardState(term=present, vote=vote, commit=commit))
    return storage


def a_raft(
    id: int = 1, voters: Iterable[int] = (1, 2, 3), learners: Iterable[int] = (), **settings: Any
) -> Raft[MemStorage]:
    """Return a core; `settings` go to the storage (terms, term, vote, commit) or to the config."""
    storage, config = _split(settings)
    return Raft(a_config(id, **config), a_storage((voters, learners), **storage))


def a_member(
    id: int = 1,
    voters: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    *,
    loop: Loop = Loop.SIMPLE,
    conf_state: ConfState | None = None,
    **settings: Any,
) -> Member:
    """Return a node with its application; settings as for `a_raft`."""
    storage, config = _split(settings)
    config.setdefault("applied", 1)
    members: Members = (voters, learners) if conf_state is None else conf_state
    return Member(a_config(id, **config), a_storage(members, **storage), loop=loop)


def a_leader(
    id: int = 1, voters: Iterable[int] = (1, 2, 3), learners: Iterable[int] = (), **settings: Any
) -> Member:
    """Return a node that leads term 2 and whose followers have acknowledged its empty entry."""
    return a_member(id, voters, learners, **settings).lead()


def _split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = ("terms", "term", "vote", "commit", "data")
    storage = {name: value for name, value in settings.items() if name in names}
    config = {name: value for name, value in settings.items() if name not in names}
    return storage, config


def of_type(messages: Iterable[Message], *msg_types: MessageType) -> list[Message]:
    """Return the messages of these types."""
    return [m for m in messages if m.msg_type in msg_types]


def to(messages: Iterable[Message], *ids: int) -> list[Message]:
    """Return the messages to these nodes."""
    return [m for m in messages if m.to in ids]


def only(items: Sequence[T]) -> T:
    """Return the one item there is."""
    assert len(items) == 1, items
    return items[0]


def v1(change_type: ConfChangeType, node_id: int = 0, **fields: Any) -> ConfChange:
    """Return a change of the old form."""
    return ConfChange(change_type=change_type, node_id=node_id, **fields)


def v2(
    *changes: tuple[ConfChangeType, int],
    transition: ConfChangeTransition = ConfChangeTransition.Auto,
) -> ConfChangeV2:
    """Return a change of the new form."""
    singles = [ConfChangeSingle(change_type=kind, node_id=node_id) for kind, node_id in changes]
    return ConfChangeV2(transition=transition, changes=singles)


def change_entry(change: ConfChange | ConfChangeV2, index: int = 0, term: int = 0) -> Entry:
    """Return the entry that carries a change."""
    kind = EntryConfChangeV2 if isinstance(change, ConfChangeV2) else EntryConfChange
    return Entry(entry_type=kind, data=change.SerializeToString(), index=index, term=term)


def a_snapshot(
    index: int, term: int = 1, members: Members = ((1, 2, 3), ()), data: bytes = b""
) -> Snapshot:
    """Return a snapshot."""
    return new_snapshot(index, term, members, data)
