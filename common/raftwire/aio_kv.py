"""The key-value commands of the asyncio client.

Made from client_kv.py by ``python -m tests.house.asynced``: change that one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from raftwire import admin, kv
from raftwire.admin import Call, Consistency
from raftwire.proto import admin_pb2 as pb

if TYPE_CHECKING:
    from raftwire.aio import AsyncClient


class AsyncKv:
    """The commands of the key-value state machine, over an ``AsyncClient``.

    Keys and values may be ``str`` (its UTF-8) or bytes. Each write takes ``idempotency_key``,
    which makes it safe to repeat, and is then repeated until it is answered or the time is up.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def _write(self, command: bytes, key: str | None, timeout: float | None) -> kv.KvResult:
        call = admin.propose(command, key or "").for_machine("kv")
        reply = await self._client.call(call, timeout)
        return kv.read_result(reply.result)

    async def _read(
        self,
        question: bytes,
        consistency: Consistency,
        timeout: float | None,
        max_stale_ms: int = 0,
    ) -> kv.KvQueryResult:
        call = admin.query(question, consistency, max_stale_ms).for_machine("kv")
        reply = await self._client.call(call, timeout)
        return kv.read_query(reply.result)

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        prev: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> kv.KvResult:
        """Set a key; with ``prev`` the result holds the pair it replaced."""
        return await self._write(kv.put(key, value, prev=prev), idempotency_key, timeout)

    async def delete(
        self,
        key: bytes | str,
        *,
        prev: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> kv.KvResult:
        """Remove a key; ``deleted`` of the result is 0 or 1."""
        return await self._write(kv.delete(key, prev=prev), idempotency_key, timeout)

    async def delete_range(
        self,
        key: bytes | str,
        end: bytes | str | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> kv.KvResult:
        """Remove the keys in ``[key, end)``, or without ``end`` those that start with ``key``."""
        return await self._write(kv.delete_range(key, end), idempotency_key, timeout)

    async def cas(
        self,
        key: bytes | str,
        value: bytes | str | None,
        *,
        expect_value: bytes | str | None = None,
        expect_revision: int | None = None,
        expect_absent: bool = False,
        expect_present: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> kv.KvResult:
        """Set a key (or remove it, ``value=None``) if it is as expected; see ``succeeded``."""
        command = kv.cas(
            key,
            value,
            expect_value=expect_value,
            expect_revision=expect_revision,
            expect_absent=expect_absent,
            expect_present=expect_present,
        )
        return await self._write(command, idempotency_key, timeout)

    async def get(
        self,
        key: bytes | str,
        *,
        consistency: Consistency = "linearizable",
        max_stale_ms: int = 0,
        timeout: float | None = None,
    ) -> kv.KeyValue | None:
        """Return a key's pair; None if there is no such key."""
        result = await self._read(kv.get(key), consistency, timeout, max_stale_ms)
        return result.kvs[0] if result.kvs else None

    async def range(
        self,
        key: bytes | str = b"",
        end: bytes | str | None = None,
        *,
        limit: int = 0,
        page: int = 0,
        keys_only: bool = False,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> AsyncIterator[kv.KeyValue]:
        """Yield the pairs of ``[key, end)``, or without ``end`` of the keys starting with ``key``.

        Each page is read at its own moment: pairs that change meanwhile may be seen before or
        after.

        Args:
            key, end: The range; by default the whole store.
            limit: At most so many; 0: all.
            page: Pairs asked for at a time; 0: the server's choice.
            keys_only: Without values.
            consistency: Of each page.
            timeout: For each page, seconds.
        """
        after = b""
        left = limit
        while True:
            ask = min(page or left, left or page)
            request = kv.range_(key, end, limit=ask, after=after, keys_only=keys_only)
            result = await self._read(request, consistency, timeout)
            for one in result.kvs:
                yield one
            if limit:
                left -= len(result.kvs)
                if left <= 0:
                    return
            if not result.more:
                return
            after = result.next

    async def count(
        self,
        key: bytes | str = b"",
        end: bytes | str | None = None,
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> int:
        """Return how many keys there are in a range (as ``range`` takes it).

        Of a very large range they are counted in parts, each at its own moment.
        """
        found, after = 0, b""
        while True:
            request = kv.range_(key, end, after=after, count_only=True)
            result = await self._read(request, consistency, timeout)
            found += result.count
            if not result.more:
                return found
            after = result.next

    async def watch(
        self,
        key: bytes | str = b"",
        end: bytes | str | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        prev: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[kv.KvWatchEvent]:
        """Yield the changes of one key, of ``[key, end)``, or with ``prefix`` of all it starts.

        A stream that is cut goes on behind the last event, through any socket, and misses none.

        Args:
            key, end, prefix: What to watch.
            start_revision: The first revision wanted; 0: from now on.
            prev: Each event also holds the pair as it was before.
            timeout: How long to wait for each event, seconds; None: for ever.

        Raises:
            AdminError: COMPACTED: the revision asked for is no longer kept.
        """

        def call_from(position: int) -> Call[pb.WatchReply]:
            request = kv.watch(key, end, prefix=prefix, start_revision=position, prev=prev)
            return admin.watch(request).for_machine("kv")

        def position_after(reply: pb.WatchReply, position: int) -> int:
            return max(position, kv.read_events(reply.data).revision + 1)

        client = self._client
        async for reply in client.resumed(call_from, start_revision, position_after, timeout):
            for one in kv.read_events(reply.data).events:
                yield one
