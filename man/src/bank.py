"""A bank as a replicated state machine: accounts that are never overdrawn.

Commands and questions are JSON, as is every answer.
"""

import json
from typing import Any

from raftd.state_machine import ApplyContext, CommandRefused, Reader, StateMachine

MOST = 10**15
"""The largest amount."""

LONGEST = 200
"""Bytes of a command: how deep JSON may be nested differs from node to node."""


class BankMachine(StateMachine):
    """Keeps a balance a name; all of it in the node's store, nothing in memory."""

    name = "bank"

    def apply(self, context: ApplyContext, command: bytes) -> bytes:
        """Deposit or transfer; refuse, before the first write, what cannot be."""
        asked = _parsed(command)
        amount = asked.get("amount")
        if type(amount) is not int or not 0 < amount <= MOST:
            raise CommandRefused("an amount is a positive whole number")
        target = _name(asked, "to")
        changed = {target: _balance(context, target) + amount}
        if "from" in asked:
            source = _name(asked, "from")
            left = _balance(context, source) - amount
            if left < 0:
                raise CommandRefused(f"{source} has only {left + amount}")
            if source == target:
                raise CommandRefused("a transfer takes two accounts")
            changed[source] = left
        for name, balance in changed.items():
            context.put(name.encode(), b"%d" % balance)
        # Not the clock of this node: every member has to write the same.
        context.put(b"\xff last", b"%d" % context.log_time_ms)
        return json.dumps(changed, sort_keys=True).encode()

    def query(self, reader: Reader, request: bytes) -> bytes:
        """Return the balance of an account, or all of them for an empty question."""
        if request:
            name = _name(_parsed(request), "of")
            return json.dumps({name: _balance(reader, name)}).encode()
        found = {key.decode(): int(value) for key, value in reader.scan(end=b"\xff")}
        return json.dumps(found).encode()


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > LONGEST:
        raise CommandRefused(f"a command has at most {LONGEST} bytes")
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CommandRefused("this bank is spoken to in JSON objects")
    return found


def _name(asked: dict[str, Any], field: str) -> str:
    name = asked.get(field)
    if not isinstance(name, str) or not name or not name.isprintable():
        raise CommandRefused(f"{field!r} is to name an account")
    return name


def _balance(reader: Reader, name: str) -> int:
    return int(reader.get(name.encode()) or 0)
