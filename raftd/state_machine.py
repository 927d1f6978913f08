"""What a replicated state machine is to the daemon, and how one is found by name.

A state machine is told committed commands in log order, on every member alike, and must do the same
with them everywhere: it reads no clock (``ApplyContext.log_time_ms`` is the group's), draws no
random numbers, and depends on nothing but what it wrote before. Its records live in the node's
store under keys of its own choosing; snapshots, restarts and exactly-once are the daemon's work.

Names: ``log`` and ``kv`` are built in. Others come from installed packages, by the entry point
group ``raftd.state_machine``, whose entries name a callable without arguments that returns one::

    [project.entry-points."raftd.state_machine"]
    bank = "my_package.bank:BankMachine"

``StateMachine`` is a protocol with a body: who subclasses it has to write ``apply`` and ``query``
only. raftd-machine(7) tells the whole, with an example that a test runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from raftd.settings import Settings

ENTRY_POINT_GROUP: Final = "raftd.state_machine"


class CommandRefused(Exception):
    """A command or query that the machine does not take; the text is the client's answer.

    For commands this is a result like any other: it must follow from the command and the state
    alone, and be raised before the first write of that command.
    """


class HistoryCompacted(Exception):
    """The wanted changes are no longer kept; ``first`` is the oldest number that still is."""

    def __init__(self, wanted: int, first: int) -> None:
        super().__init__(
            f"changes from {wanted} on are no longer kept, the oldest is {first};"
            f" read the present state and follow from {first} or later"
        )
        self.wanted = wanted
        self.first = first


class MachineError(Exception):
    """The state machine broke its rules; the node must stop before it diverges from the others."""


class UnknownStateMachine(Exception):
    """No state machine of this name is installed."""


class Reader(Protocol):
    """The machine's records as of the last applied entry; a command also sees its own writes."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None."""
        ...

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, limit: int = 0
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with keys in ``[start, end)`` in order; ``limit`` 0: all."""
        ...


class ApplyContext(Reader, Protocol):
    """Where a command is applied: its place in the log, and the machine's records.

    Attributes:
        index, term: Of the entry.
        log_time_ms: The group's clock, milliseconds since 1970 as leaders stamp it into the log now
            and then; the same on every member, never goes back, 0 before the first stamp.
        settings: The group's settings as of this entry.
    """

    index: int
    term: int
    log_time_ms: int
    settings: Settings

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        ...

    def put_once(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to a large ``value``: the one that it has until it is deleted.

        Nothing may read it unless a record refers to it that is put in the same ``apply`` or later.
        After a crash a value may be there that no record refers to yet: its entry is applied anew.
        """
        ...

    def delete(self, key: bytes) -> None:
        """Remove ``key``; nothing happens if it is absent."""
        ...

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove every key in ``[start, end)``, at a cost that does not grow with their number."""
        ...


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A piece of a machine's history, ready for the client that follows.

    Attributes:
        data: The changes, in the machine's own encoding; empty if none of these concerned it.
        next: Where to go on.
        more: More changes are there already.
    """

    data: bytes
    next: int
    more: bool


class StateMachine(Protocol):
    """A deterministic state machine. All methods run on the node's one thread.

    Subclasses have to write ``apply`` and ``query``; the other methods do what suits a machine that
    keeps nothing in memory, holds nothing back and has no history.
    """

    name: str

    def open(self, reader: Reader) -> None:
        """Load what the machine keeps in memory, at start and after a snapshot was installed."""
        return

    def apply(self, context: ApplyContext, command: bytes) -> bytes:
        """Carry out one command and return the client's result.

        Raises:
            CommandRefused: The command is not taken; before the first write.
        """
        ...

    def advance(self, context: ApplyContext) -> None:
        """Note that log time or settings have changed: forget what is too old."""
        return

    def finish(self, context: ApplyContext) -> None:
        """Write what was held back, after the last of the commands that are applied together.

        How many are applied together differs from member to member: nothing that a later command
        can observe may depend on it.
        """
        return

    def query(self, reader: Reader, request: bytes) -> bytes:
        """Answer a read.

        Raises:
            CommandRefused: The request is not understood.
        """
        ...

    def changes(self, reader: Reader, request: bytes, start: int) -> ChangePage:
        """Return changes that ``request`` asks to follow, from number ``start`` on.

        Args:
            reader: The machine's records.
            request: What the client wants, in the machine's own encoding.
            start: ``next`` of the page before; -1 for the first.

        Raises:
            HistoryCompacted: They are no longer kept.
            CommandRefused: The machine has no history, or does not understand the request.
        """
        raise CommandRefused(f"the state machine {self.name!r} has no history to follow")

    def digest(self, reader: Reader) -> bytes:
        """Return a hash of the whole state, equal on members that applied the same entries.

        Reads everything; for tests and offline checks.
        """
        digest = hashlib.sha256()
        for key, value in reader.scan():
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
        return digest.digest()


def _builtin() -> dict[str, Callable[[], StateMachine]]:
    from raftd.machines.kv import KvMachine
    from raftd.machines.log import LogMachine

    return {"kv": KvMachine, "log": LogMachine}


def names() -> list[str]:
    """Return the names of all state machines that can be created here."""
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return sorted({*_builtin(), *(point.name for point in found)})


def create(name: str) -> StateMachine:
    """Return a new machine of this name. The built-in ones cannot be replaced.

    Raises:
        UnknownStateMachine: None of this name is installed, or it cannot be loaded.
    """
    factory = _builtin().get(name)
    if factory is not None:
        return factory()
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            machine: StateMachine = point.load()()
        except Exception as error:
            raise UnknownStateMachine(
                f"the state machine {name!r} ({point.value}) cannot be loaded: {error}; the node"
                " could not apply its group's entries; repair the installation"
            ) from error
        return machine
    raise UnknownStateMachine(
        f"no state machine named {name!r} is installed (there are: {', '.join(names())}); the node"
        " could not apply its group's entries; install the package that provides it, or correct the"
        " name"
    )
