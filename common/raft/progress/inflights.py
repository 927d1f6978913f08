"""The append messages that are under way to one follower."""

from __future__ import annotations

from collections import deque

from raft.invariant import fatal
from raft.logger import NULL_LOGGER


class Inflights:
    """A window of append messages, each known by the index of its last entry.

    An answer for an index frees every message up to it. The window is full when either bound is
    reached; the message that reaches the bound by bytes may go beyond it, so that one large
    message can always be sent.

    Attributes:
        cap: How many messages may be under way; change it by `set_cap()`.
        max_bytes: How many bytes of entries may be; 0: no limit.
        bytes: How many bytes of entries are.
    """

    __slots__ = ("_messages", "bytes", "cap", "max_bytes")

    def __init__(self, cap: int, max_bytes: int = 0) -> None:
        self.cap = cap
        self.max_bytes = max_bytes
        self.bytes = 0
        self._messages: deque[tuple[int, int]] = deque()

    @property
    def count(self) -> int:
        """How many messages are under way."""
        return len(self._messages)

    def full(self) -> bool:
        """Tell whether no further message may be sent."""
        if len(self._messages) >= self.cap:
            return True
        return 0 < self.max_bytes <= self.bytes

    def set_cap(self, cap: int, max_bytes: int | None = None) -> None:
        """Change the bounds. What is under way stays; a window above its bound is just full.

        Args:
            cap: How many messages may be under way, at least 1.
            max_bytes: How many bytes of entries may be; 0: no limit, None: as before.
        """
        self.cap = cap
        if max_bytes is not None:
            self.max_bytes = max_bytes

    def add(self, index: int, bytes: int = 0) -> None:
        """Add a message whose last entry is at `index`, with `bytes` bytes of entries.

        Raises:
            InvariantViolation: The window is full, or a later message is in it already.
        """
        messages = self._messages
        if self.full():
            fatal(
                NULL_LOGGER,
                "a message was sent beyond a full window",
                index=index,
                count=len(messages),
                cap=self.cap,
                bytes=self.bytes,
                max_bytes=self.max_bytes,
            )
        if messages and messages[-1][0] > index:
            fatal(
                NULL_LOGGER,
                "a message was sent behind a later one",
                index=index,
                last=messages[-1][0],
            )
        messages.append((index, bytes))
        self.bytes += bytes

    def free_to(self, index: int) -> None:
        """Free every message whose last entry is at or below `index`."""
        messages = self._messages
        while messages and messages[0][0] <= index:
            self.bytes -= messages.popleft()[1]

    def free_first_one(self) -> None:
        """Free the oldest message, if there is one: it is taken for lost."""
        if self._messages:
            self.bytes -= self._messages.popleft()[1]

    def reset(self) -> None:
        """Free all messages."""
        self._messages.clear()
        self.bytes = 0

    def check(self) -> None:
        """Check the law of the structure: indexes in order, bytes those of what is in it."""
        indexes = [index for index, _ in self._messages]
        if indexes != sorted(indexes) or self.bytes != sum(size for _, size in self._messages):
            fatal(NULL_LOGGER, "the window is out of order", bytes=self.bytes, indexes=indexes)
