"""The admin socket: clients on this host, many requests in one read, many answers in one write.

The socket file is made in silence, given its mode, and only then moved to its name, so nobody can
connect before it is protected. Who connects is asked of the kernel, see access.py.
"""

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final, cast

from raftd.access import Credentials, access_of, credentials_of
from raftd.checks import group_id
from raftd.config import DaemonConfig
from raftd.log import Log
from raftd.requests import over_limit
from raftd.service import Service, Waiter
from raftd.serving import seconds_of
from raftwire.admin import Response, error_response, parse_request
from raftwire.errors import AdminError, Code, FrameError, MessageError
from raftwire.frame import FrameDecoder
from raftwire.limits import ADMIN_BACKLOG, ADMIN_PIPELINE_MAX, ADMIN_REQUEST_BYTES_MAX, MIB
from raftwire.plain import PlainRequests

_WRITE_BYTES_MAX: Final = 64 * MIB
"""Answers that a client does not read; beyond it the connection is closed."""


class SocketInUse(Exception):
    """Somebody listens on the admin socket's path already, or something else lies there."""


class AdminConnection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_decoder", "_out", "_paused", "_plain", "_room", "_server", "_service", "_transport",
        "_unanswered", "_waiter", "_who", "access", "gone",
    )  # fmt: skip

    def __init__(self, server: "AdminServer") -> None:
        self._server = server
        self._service = server.service
        self._decoder = FrameDecoder(server.frame_bytes_max)
        self._waiter = Waiter(self._service, self)
        self._plain = PlainRequests()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._paused = False
        self._unanswered = 0
        self._who: Credentials | None = None
        self.access = "rw"
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or tell it why not and close."""
        transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it.
        self._transport = transport
        refused = self._server.admit(self, transport)
        if refused is not None:
            self._write(error_response(0, refused))
            self.gone = True
            transport.close()

    def known(self, who: Credentials, access: str) -> None:
        """It is known who this is, and what that may: ``rw`` or ``ro``."""
        self._who, self.access = who, access

    def changed(self, verb: str, code: str) -> None:
        """Something was changed for this client, or not; ``code`` says why not."""
        if self._who is not None:
            self._server.changed(self._who, verb, code)

    def data_received(self, data: bytes) -> None:
        """Take all requests that have arrived."""
        if self.gone:
            return
        try:
            frames = self._decoder.feed(data)
            service, plain = self._service, self._plain
            for frame in frames:
                found = plain.read(frame)
                if found is not None:
                    self._unanswered += 1
                    service.serve_plain(self, self._waiter, plain.seconds, *found)
                    continue
                request = parse_request(frame)
                self._unanswered += 1
                if service.is_plain(self, request) and plain.note(frame, request):
                    plain.seconds = seconds_of(request)
                service.serve(self, self._waiter, request)
        except (FrameError, MessageError) as error:
            self._server.refused_frames += 1
            self._write(error_response(0, AdminError(Code.INVALID_REQUEST, str(error))))
            self.close()
            return
        if self._unanswered > ADMIN_PIPELINE_MAX and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()

    def send(self, response: Response) -> None:
        """Queue an answer; all that are queued leave in one write."""
        if self.gone:
            return
        if not response.more:
            self._unanswered -= 1
        self._queue(response.SerializeToString())

    def send_encoded(self, request_id: int, encoded: bytes) -> None:
        """Queue an answer that is encoded already, the last to its request."""
        if not self.gone:
            self._unanswered -= 1
            self._queue(encoded)

    def _queue(self, encoded: bytes) -> None:
        out = self._out
        if not out:
            self._server.dirty(self)
        out.append(len(encoded).to_bytes(4, "big"))
        out.append(encoded)

    def flush(self) -> None:
        """Write what is queued."""
        out = self._out
        transport = self._transport
        if not out or self.gone or transport is None or transport.is_closing():
            out.clear()
            return
        transport.write(b"".join(out))
        out.clear()
        if transport.is_closing():
            return  # The client is gone; its connection will say so.
        if transport.get_write_buffer_size() > _WRITE_BYTES_MAX:
            # It asks and does not read: its answers must not fill the memory, and to close after
            # they are written would keep them for as long as it does not.
            self.gone = True
            transport.abort()
        elif self._paused and self._unanswered <= ADMIN_PIPELINE_MAX // 2:
            self._paused = False
            transport.resume_reading()

    def _write(self, response: Response) -> None:
        if self._transport is not None:
            encoded = response.SerializeToString()
            self._transport.write(len(encoded).to_bytes(4, "big") + encoded)

    async def drain(self) -> None:
        """Return when there is room for more.

        Raises:
            ConnectionError: the client is gone.
        """
        self.flush()
        if self._room is not None:
            await self._room
        if self.gone:
            raise ConnectionResetError("the client is gone")

    def pause_writing(self) -> None:
        """The client reads slowly: streams wait."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client and end what runs for it."""
        self.gone = True
        self.resume_writing()
        self._server.forget(self)

    def close(self) -> None:
        """Close after what is written."""
        if not self.gone:
            self.flush()
            self.gone = True
        if self._transport is not None:
            self._transport.close()


class AdminServer:
    """Listens on the admin socket."""

    def __init__(self, config: DaemonConfig, service: Service, log: Log) -> None:
        self._config = config
        self._log = log
        self.service = service
        self.frame_bytes_max = config.max_entry_bytes + ADMIN_REQUEST_BYTES_MAX
        self.refused_frames = 0
        self.refused_clients = 0
        self._connections: set[AdminConnection] = set()
        self._dirty: list[AdminConnection] = []
        self._flush_due = False
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._path = Path(os.path.abspath(config.admin_socket))

    def reloaded(self) -> None:
        """Take over settings that are kept as copies; connections that are open keep theirs."""
        self.frame_bytes_max = self._config.max_entry_bytes + ADMIN_REQUEST_BYTES_MAX

    @property
    def count(self) -> int:
        """Clients connected now."""
        return len(self._connections)

    async def listen(self) -> None:
        """Make the socket and listen.

        Raises:
            SocketInUse: a live process listens there, or the path is not a socket.
            OSError: the socket cannot be made.
        """
        path = self._path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            old = os.umask(0o177)
            try:
                # Relative to its directory: the temporary name must not exceed what bind takes.
                _bind(sock, temporary)
            finally:
                os.umask(old)
            sock.listen(ADMIN_BACKLOG)
            temporary.chmod(self._config.admin_mode)
            self._give_to_group(temporary)
            temporary.replace(path)
            found = path.lstat()
            self._inode = (found.st_dev, found.st_ino)
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: AdminConnection(self), sock=sock, backlog=ADMIN_BACKLOG
            )
        except BaseException:
            sock.close()
            temporary.unlink(missing_ok=True)
            raise

    def _give_to_group(self, path: Path) -> None:
        name = self._config.admin_group
        if name is None:
            return
        group = group_id(name)
        if group is None:
            raise OSError(errno.EINVAL, f"--admin-group: there is no group {name} on this host")
        os.chown(path, -1, group)

    def admit(self, connection: AdminConnection, transport: asyncio.Transport) -> AdminError | None:
        """Take in a client; return why not, if not."""
        if len(self._connections) >= self._config.max_clients:
            return over_limit(
                "max_clients",
                len(self._connections),
                self._config.max_clients,
                f"{len(self._connections)} clients are connected",
            )
        who = credentials_of(transport.get_extra_info("socket"))
        access = access_of(who, self._config)
        if not access:
            self.refused_clients += 1
            self._log.warning("admin client refused", uid=who.uid, pid=who.pid)
            return AdminError(
                Code.PERMISSION,
                f"user {who.uid} may not speak to this raftd",
                hint="ask as its own user or as root; --admin-group and --admin-readonly-group "
                "let others in",
            )
        connection.known(who, access)
        self._connections.add(connection)
        return None

    def changed(self, who: Credentials, verb: str, code: str) -> None:
        """Somebody has changed something, or tried to."""
        self._log.info("admin request", uid=who.uid, pid=who.pid, verb=verb, result=code)

    def forget(self, connection: AdminConnection) -> None:
        """A client is gone."""
        self._connections.discard(connection)
        self.service.forget(connection)

    def dirty(self, connection: AdminConnection) -> None:
        """A client has answers queued: they are written at the end of the turn, or soon."""
        self._dirty.append(connection)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what is queued for any client."""
        self._flush_due = False
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def close(self) -> None:
        """Listen no more, write what is queued, close all connections, remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.flush()
        for connection in list(self._connections):
            connection.close()
        try:
            found = self._path.lstat()
            if self._inode == (found.st_dev, found.st_ino):
                self._path.unlink()
        except OSError:
            return


def _bind(sock: socket.socket, path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; its owner died without cleaning up.

    Raises:
        SocketInUse: somebody does listen, or what lies there is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketInUse(
            f"{path} exists and is not a socket; it is left alone: "
            "remove it, or choose another --admin-socket"
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink()
        return
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketInUse(f"{path} cannot be checked: {error.strerror}") from None
    finally:
        probe.close()
    raise SocketInUse(
        f"a running process listens on {path} already: "
        "stop it, or give this node its own --admin-socket"
    )
