"""Questions from member to member: a follower has the leader serve what only a leader can."""

import asyncio
from collections.abc import Callable

from raftwire.admin import Request, Response
from raftwire.errors import AdminError, Code
from raftwire.peer import PeerFrame


class Relays:
    """Requests on their way to other members, and their answers.

    Args:
        send: Sends a frame to a member; False if it could not be sent.
    """

    def __init__(self, send: Callable[[int, PeerFrame], bool]) -> None:
        self._send = send
        self._next = 0
        self._waiting: dict[int, tuple[int, bool, asyncio.Future[Response]]] = {}

    async def ask(
        self, peer_id: int, request: Request, seconds: float, *, query: bool = False
    ) -> Response:
        """Have a member serve ``request`` and return its answer.

        Args:
            peer_id: The member.
            request: As a client sent it; its id is of no meaning there.
            seconds: How long to wait.
            query: Only ask for the member's own view; else it serves it as from its own client.

        Raises:
            AdminError: no answer; the outcome is unknown only if the request may have arrived.
        """
        self._next += 1
        number = self._next
        frame = PeerFrame()
        part = frame.query if query else frame.relay
        part.id, part.request = number, request.SerializeToString()
        if not self._send(peer_id, frame):
            raise AdminError(
                Code.MEMBER_UNREACHABLE, f"node {peer_id} cannot be reached; nothing was changed"
            )
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (peer_id, query, future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise AdminError(
                Code.TIMEOUT if query else Code.TIMEOUT_UNKNOWN,
                f"node {peer_id} was asked and has not answered in time",
            ) from None
        finally:
            self._waiting.pop(number, None)

    def answered(self, peer_id: int, number: int, answer: bytes) -> bool:
        """Take an answer; False if it makes no sense."""
        asked, _, future = self._waiting.get(number, (0, False, None))
        if future is None or asked != peer_id:
            return True  # Too late, or never asked: nobody waits.
        response = Response()
        try:
            response.ParseFromString(answer)
        except Exception:
            return False
        if not future.done():
            future.set_result(response)
        return True

    def lost(self, peer_id: int) -> None:
        """The link to a member is gone: what it was asked may or may not have happened.

        A mere question changes nothing either way, and may be asked again.
        """
        for asked, query, future in list(self._waiting.values()):
            if asked == peer_id and not future.done():
                future.set_exception(
                    AdminError(
                        Code.MEMBER_UNREACHABLE if query else Code.CONNECTION_LOST_UNKNOWN,
                        f"the connection to node {peer_id} broke before it answered",
                    )
                )
