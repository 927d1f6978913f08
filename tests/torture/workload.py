"""Clients of known history: keyed and plain writes, compare-and-swap, linearizable reads.

Every operation is written down with numbers from one counter, taken before it is sent and after
it is answered: if one was answered before another began, its number says so. Every written value
names its operation, so it is found again in the log.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Final, Self

from raftwire import AdminError, Client, Code, kv
from raftwire.errors import Outcome
from raftwire.proto.admin_pb2 import LogEntry
from tests.harness.cluster import Op

_OPS_A_KEY_SET: Final = 300
"""After so many operations others keys are used: the search for an order is by key."""
_KEYS: Final = 4
_OPS_A_CONNECTION: Final = 25

_MISSES: Final = 20
"""Refusals after which what was compacted is given up."""

_ended = itemgetter(1)

Sockets = Callable[[], list[str]]
"""Returns the admin sockets of the present members."""


class Workload:
    """Clients that run until told to stop, and what they heard.

    Args:
        sockets: Where members answer now.
        seed: Of what is drawn.
        clients: How many; every second one gives its writes keys and repeats them until answered.
        pause: Longest pause of a client between two operations, seconds.
        timeout: Longest wait for an answer, seconds.
    """

    def __init__(
        self, sockets: Sockets, seed: int, clients: int = 6, pause: float = 0.02, timeout: float = 3
    ) -> None:
        self.history: list[Op] = []
        """Writes that were sent and reads that were answered."""
        self.refused: list[Op] = []
        """Writes that were said to be not applied."""
        self.errors: dict[str, int] = {}
        self.failures: list[BaseException] = []
        """Of the clients themselves."""
        self._sockets = sockets
        self._pause = pause
        self._timeout = timeout
        self._clock = itertools.count(1)
        self._serial = itertools.count()
        self._seen: dict[bytes, bytes] = {}
        self._acknowledged: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(
                target=self._run, args=(number, random.Random(f"{seed} {number}")), daemon=True
            )
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the clients."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def written(self) -> int:
        """How many writes were acknowledged so far."""
        return len(self._acknowledged)

    def first_after(self, moment: float) -> float | None:
        """Return when the first write that began after ``moment`` was acknowledged."""
        # They are in the order of their answers, and no operation takes longer than its timeout.
        for began, ended in self._acknowledged[
            bisect_left(self._acknowledged, moment, key=_ended) :
        ]:
            if began >= moment:
                return ended
        return None

    # --- one client -----------------------------------------------------------------------------

    def _run(self, number: int, rng: random.Random) -> None:
        try:
            keyed = number % 2 == 1
            while not self._stop.is_set():
                sockets = self._sockets()
                if not sockets:
                    self._stop.wait(0.05)
                    continue
                rng.shuffle(sockets)
                if not keyed:
                    sockets = sockets[:1]
                with Client(sockets, timeout=self._timeout, retries=keyed) as client:
                    for _ in range(_OPS_A_CONNECTION):
                        if self._stop.is_set() or not self._one(client, number, rng, keyed):
                            break
                        self._stop.wait(rng.random() * self._pause)
        except BaseException as error:
            self.failures.append(error)

    def _one(self, client: Client, number: int, rng: random.Random, keyed: bool) -> bool:
        serial = next(self._serial)
        key = b"k%d.%d" % (serial // _OPS_A_KEY_SET, rng.randrange(_KEYS))
        name = b"%d.%d" % (number, serial)
        kind = rng.choices(("put", "cas", "get"), (4, 3, 4))[0]
        expected = self._seen.get(key, b"") if kind == "cas" else b""
        op = Op(
            session=b"" if kind == "get" else name,
            kind=kind,
            key=key,
            value=b"" if kind == "get" else name,
            expected=expected,
            client=number,
            data=b"",
        )
        if kind == "put":
            op.data = kv.put(key, name)
        elif kind == "cas" and expected:
            op.data = kv.cas(key, name, expect_value=expected)
        elif kind == "cas":
            op.data = kv.cas(key, name, expect_absent=True)
        began = time.monotonic()
        op.invoked = next(self._clock)
        try:
            if kind == "get":
                found = client.query(kv.get(key))
                op.returned = next(self._clock)
                pairs = kv.read_query(found.result).kvs
                op.index, op.result = found.index, pairs[0].value if pairs else b""
                self._seen[key] = op.result
            else:
                reply = client.propose(op.data, name.decode() if keyed else None)
                op.returned = next(self._clock)
                result = kv.read_result(reply.result)
                op.index = reply.index
                op.result = b"yes" if kind == "put" or result.succeeded else b"no"
                self._seen[key] = name if op.result == b"yes" else result.current.value
        except AdminError as error:
            op.returned = 0
            with self._lock:
                self.errors[str(error.code)] = self.errors.get(str(error.code), 0) + 1
                if kind != "get":
                    known = error.outcome is not Outcome.UNKNOWN
                    (self.refused if known else self.history).append(op)
            # A node that is down refuses at once: do not spin.
            self._stop.wait(0.03)
            return False
        with self._lock:
            self.history.append(op)
            if kind != "get":
                self._acknowledged.append((began, time.monotonic()))
        return True


class Collector:
    """Reads the applied log while it grows, so that none of it is missed when nodes compact it.

    Every entry is read from whichever node has it first; that all hold the same is checked at the
    end, node by node.
    """

    def __init__(self, sockets: Sockets) -> None:
        self.log: dict[int, LogEntry] = {}
        self.gaps = 0
        """Entries that were compacted before they were read."""
        self._sockets = sockets
        self._next = 0
        self._missed = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def whole(self) -> bool:
        """Whether nothing was compacted before it was read."""
        return not self.gaps and min(self.log, default=0) <= 2

    def catch_up(self) -> None:
        """Read what there is now, from any node that has it."""
        for path in self._sockets():
            self._read(path, 5.0)

    def finish(self) -> None:
        """Read what is left."""
        self._stop.set()
        self._thread.join()
        self.catch_up()

    def _run(self) -> None:
        turn = itertools.count()
        while not self._stop.wait(0.2):
            sockets = [path for path in self._sockets() if Path(path).exists()]
            if sockets:
                self._read(sockets[next(turn) % len(sockets)], 1.0)

    def _read(self, path: str, timeout: float) -> None:
        with self._lock:
            self._read_alone(path, timeout)

    def _read_alone(self, path: str, timeout: float) -> None:
        try:
            with Client(path, timeout=timeout, retries=False) as client:
                for entry in client.log_read(self._next, applied=True):
                    if self._next and entry.index > self._next:
                        self.gaps += entry.index - self._next
                    self.log[entry.index] = entry
                    self._next = entry.index + 1
                    self._missed = 0
        except AdminError as error:
            # This node never had it, or has it no more: another may.
            self._missed += error.code is Code.COMPACTED
            if self._missed > _MISSES:
                self._skip(path)

    def _skip(self, path: str) -> None:
        """Go on behind what nobody has any more."""
        self._missed = 0
        with suppress(AdminError), Client(path, timeout=1.0, retries=False) as client:
            first = client.log_stat().first_index
            if first > self._next:
                self.gaps += first - self._next
                self._next = first
