"""A TCP proxy before one node that does harm to snapshot connections to it, and to no others."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from raftwire.peer import Hello

_PIECE = 64 * 1024

Harm = Callable[[int, int, bytes], bytes | None]
"""(attempt from 1, offset of the piece in it, piece) -> what is passed on; None: cut."""


class SnapshotProxy:
    """Passes what comes to its port on to another, snapshots through ``harm``.

    Attributes:
        harm: May be changed at any time; None: pass everything.
        attempts: Snapshot connections so far.
        carried: Bytes passed on to the node on snapshot connections.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.harm: Harm | None = None
        self.attempts = 0
        self.carried = 0
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            node = socket.create_connection(("127.0.0.1", self._target), 5.0)
        except OSError:
            client.close()
            return
        node.settimeout(None)
        self._open |= {client, node}
        try:
            head = _exactly(client, 4)
            hello = _exactly(client, int.from_bytes(head, "big"))
            node.sendall(head + hello)
            back = threading.Thread(target=_pump, args=(node, client), daemon=True)
            back.start()
            if Hello.FromString(hello).kind == Hello.SNAPSHOT:
                self.attempts += 1
                self._snapshot(client, node, self.attempts)
            else:
                _pump(client, node)
            back.join()
        except OSError:
            pass
        finally:
            self._open -= {client, node}
            client.close()
            node.close()

    def _snapshot(self, client: socket.socket, node: socket.socket, attempt: int) -> None:
        offset = 0
        try:
            while piece := client.recv(_PIECE):
                passed: bytes | None = piece
                if self.harm is not None:
                    passed = self.harm(attempt, offset, piece)
                if passed is None:
                    return
                node.sendall(passed)
                offset += len(piece)
                self.carried += len(passed)
        finally:
            for sock in (client, node):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
