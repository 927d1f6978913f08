"""Whose store a data directory is, and why a node may refuse to start from one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from raftd.kvstore import UNREADABLE, CorruptionError

FORMAT: Final = 1
"""Version of the on-disk layout this code reads and writes."""

ADD_AGAIN: Final = (
    "; the store is damaged and this node must not vote from it; remove the node from its group and"
    " add it again under a new id"
)


class IdentityError(Exception):
    """The store is not the one this node may start from: the node refuses before it does anything.

    ::

        IdentityError
        |-- NotInitialized       no node was made here
        |-- AlreadyInitialized   a node was made here before
        |-- WrongNode            it belongs to another node id
        |-- WrongCluster         it belongs to another group
        |-- WrongStateMachine    its group runs another state machine
        |-- NewerFormat          a newer raftd wrote it
        |-- MissingMeta          its identity or its bounds are gone
        |-- RecoveryUnfinished   it is between an old group and a new one
        `-- RegressedError       it holds less than it did
    """


class NotInitialized(IdentityError):
    """No node was made in this store."""


class AlreadyInitialized(IdentityError):
    """A node was made in this store before."""


class WrongNode(IdentityError):
    """The store belongs to another node id."""


class WrongCluster(IdentityError):
    """The store belongs to another group."""


class WrongStateMachine(IdentityError):
    """The store's group runs another state machine."""


class NewerFormat(IdentityError):
    """A newer raftd wrote the store."""


class MissingMeta(IdentityError):
    """The records that say whose store this is are gone."""


class RecoveryUnfinished(IdentityError):
    """The recovery of the store was interrupted."""


class RegressedError(IdentityError):
    """The store holds less than it did: a write-ahead log was lost, or an old copy put back."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose store it is.

    Attributes:
        cluster_id: 16 random bytes, made with the group.
        node_id: 1 to 2^53-1; never given to another store of the same group.
        state_machine: Registered name of the group's state machine.
        created_ms: When the store was made, milliseconds since 1970; for people.
        format: Version of the layout.
    """

    cluster_id: bytes
    node_id: int
    state_machine: str
    created_ms: int = 0
    format: int = FORMAT

    def __post_init__(self) -> None:
        if len(self.cluster_id) != 16:
            raise ValueError(f"a cluster id has 16 bytes, not {len(self.cluster_id)}")
        if not 0 < self.node_id < 2**53:
            raise ValueError(f"a node id is 1 to 2^53-1, not {self.node_id}")

    def encode(self) -> bytes:
        """Return the identity as one line of JSON."""
        return encode_json({**asdict(self), "cluster_id": self.cluster_id.hex()})

    @classmethod
    def decode(cls, data: bytes, what: str) -> Identity:
        """Return what ``encode`` was called on.

        Raises:
            NewerFormat: Its format is above ``FORMAT``.
            CorruptionError: It is damaged; the text names ``what``.
        """
        found = decode_json(data, what)
        form = found.get("format")
        if isinstance(form, int) and form > FORMAT:
            raise NewerFormat(
                f"{what} says format {form}, but this raftd knows formats up to {FORMAT}; a newer"
                " raftd wrote this store and an older one could misread it; start the newer one"
            )
        try:
            return cls(**{**found, "cluster_id": bytes.fromhex(found["cluster_id"])})
        except UNREADABLE as error:
            raise CorruptionError(f"{what} is not an identity ({error}){ADD_AGAIN}") from error


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a store had come, as written beside it."""

    term: int = 0
    vote: int = 0
    commit: int = 0
    opens: int = 0
    sequence: int = 0
    wal: int = 0


def expect(
    identity: Identity, node_id: int | None, cluster_id: bytes | None, state_machine: str | None
) -> None:
    """Compare a store's identity with what its node was started as; None: not said.

    Raises:
        WrongNode, WrongCluster, WrongStateMachine: The store is another's.
    """
    if node_id is not None and identity.node_id != node_id:
        raise WrongNode(
            f"this store belongs to node {identity.node_id}, but the node was started with id"
            f" {node_id}; two ids on one log would vote twice; start it with --id"
            f" {identity.node_id}, or give another --data-dir"
        )
    if cluster_id is not None and identity.cluster_id != cluster_id:
        raise WrongCluster(
            f"this store belongs to cluster {identity.cluster_id.hex()}, not to"
            f" {cluster_id.hex()}; its entries mean nothing there; give the --data-dir of this"
            " cluster"
        )
    if state_machine is not None and identity.state_machine != state_machine:
        raise WrongStateMachine(
            f"this store's group runs the state machine {identity.state_machine!r}, but"
            f" {state_machine!r} was asked for; the machine is chosen when a group is made; start"
            f" the node with --state-machine {identity.state_machine}"
        )


def encode_json(values: Mapping[str, object]) -> bytes:
    """Return one line of JSON that carries its own checksum under ``crc32``."""
    body = json.dumps(values, sort_keys=True)
    return (
        json.dumps({**values, "crc32": zlib.crc32(body.encode())}, sort_keys=True).encode() + b"\n"
    )


def decode_json(data: bytes, what: str) -> dict[str, Any]:
    """Return what ``encode_json`` was given.

    Raises:
        CorruptionError: The bytes are not that; the text names ``what``.
    """
    try:
        values = json.loads(data)
        crc = values.pop("crc32")
        body = json.dumps(values, sort_keys=True)
    except UNREADABLE as error:
        raise CorruptionError(f"{what} cannot be read ({error}){ADD_AGAIN}") from error
    if crc != zlib.crc32(body.encode()):
        raise CorruptionError(f"{what} does not match its checksum{ADD_AGAIN}")
    found: dict[str, Any] = values
    return found
