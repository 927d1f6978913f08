"""How a new node finds its group, and makes itself known until it is added."""

import asyncio
from collections.abc import Callable
from typing import Final

from raftd import __version__
from raftd.log import Log
from raftd.transport.outbound import dial
from raftd.transport.security import Security
from raftwire.errors import Code, HelloRefused, RemoteError
from raftwire.frame import encode_frame
from raftwire.peer import Expectations, Hello, HelloReply, PeerFrame

_ANNOUNCE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.5
_FINAL: Final = frozenset(
    {Code.REMOVED_MEMBER, Code.SAME_ID, Code.DATA_LOST, Code.STATE_MACHINE_MISMATCH}
)
"""Refusals that no waiting changes."""


async def find_group(
    addresses: tuple[str, ...], mine: Expectations, log: Log, security: Security
) -> HelloReply:
    """Ask the nodes at ``addresses`` which group they are; return the first answer.

    Asks again for as long as none answers.

    Raises:
        HelloRefused: a node of the group says that this one cannot join, and why.
    """
    said: dict[str, str] = {}
    while True:
        for address in addresses:
            try:
                dialer, reply = await dial(address, mine, Hello.JOIN, security=security)
                dialer.abort()
            except HelloRefused as error:
                if error.code in _FINAL:
                    raise
                why = str(error)
            except (OSError, RemoteError) as error:
                why = str(error)
            else:
                return reply
            if said.get(address) != why:
                said[address] = why
                log.warning("no group to join here yet", addr=address, reason=why)
        await asyncio.sleep(_RETRY_SECONDS)


class Announcer:
    """Tells members, again and again, that this node waits to be added.

    Args:
        addresses: Whom to tell.
        mine: Returns who this node is.
        waits: Returns whether it still waits.
    """

    def __init__(
        self,
        addresses: tuple[str, ...],
        mine: Callable[[], Expectations],
        waits: Callable[[], bool],
        log: Log,
        security: Security,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._mine = mine
        self._waits = waits
        self._log = log
        self._security = security
        self._tasks = [loop.create_task(self._tell(address)) for address in addresses]

    async def _tell(self, address: str) -> None:
        mine = self._mine()
        frame = PeerFrame()
        frame.announce.id, frame.announce.addr = mine.node_id, mine.advertise
        frame.announce.version = __version__
        announcement = encode_frame(frame.SerializeToString())
        while self._waits():
            try:
                dialer, _ = await dial(address, mine, Hello.JOIN, security=self._security)
                try:
                    while self._waits() and not dialer.closed.done():
                        assert dialer.transport is not None
                        dialer.transport.write(announcement)
                        await asyncio.wait({dialer.closed}, timeout=_ANNOUNCE_SECONDS)
                finally:
                    dialer.abort()
            except (OSError, RemoteError) as error:
                self._log.debug("not announced", addr=address, reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    def close(self) -> None:
        """Announce no more."""
        for task in self._tasks:
            task.cancel()
