"""What must hold always, and how a node stops when it does not."""

from __future__ import annotations

from typing import Any, NoReturn

from raft.logger import Logger


class InvariantViolation(RuntimeError):
    """Something that can never be is: the node's memory or disk can no longer be trusted.

    It is not a `raft.Error`, so that no handler of those goes on with a broken node: stop the
    process and keep its data for a look. `message` says what was found, `numbers` holds the
    values that show it.
    """

    def __init__(self, message: str, numbers: dict[str, Any] | None = None) -> None:
        self.message = message
        self.numbers = dict(numbers or {})
        super().__init__(message, self.numbers)

    def __str__(self) -> str:
        numbers = " ".join(f"{name}={value}" for name, value in self.numbers.items())
        return f"{self.message} [{numbers}]" if numbers else self.message


def fatal(logger: Logger, message: str, /, **numbers: Any) -> NoReturn:
    """Log the broken invariant with its numbers, then raise `InvariantViolation`."""
    logger.critical(message, **numbers)
    raise InvariantViolation(message, numbers)
