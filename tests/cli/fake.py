"""A made-up node on a real admin socket: answers each kind of request as a test says."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from raftwire.frame import FrameDecoder, encode_frame
from raftwire.proto.admin_pb2 import (
    Configuration,
    Error,
    Health,
    PeerStatus,
    ProgressReply,
    ProgressRow,
    Request,
    Response,
    StatusReply,
    StorageStatus,
)

Answer = Callable[[Request], Response | Sequence[Response] | None]
"""One answer, a stream of them, or None: say nothing and close the connection."""


class FakeNode:
    """Serves on a socket of its own until it is left; a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ctl-", dir="/tmp"))
        self.socket = str(self.folder / "2.sock")
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener.bind(self.socket)
        self._listener.listen(64)
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        shutil.rmtree(self.folder)

    def answer(self, body: str, answer: Answer | Response | Error) -> None:
        """Say how a kind of request is answered."""
        if isinstance(answer, Response):
            self.answers[body] = lambda request: answer
        elif isinstance(answer, Error):
            self.answers[body] = lambda request: Response(error=answer)
        else:
            self.answers[body] = answer

    def bodies(self) -> list[str]:
        """Return what was asked, in order."""
        return [request.WhichOneof("body") or "" for request in self.requests]

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        decoder = FrameDecoder(1 << 24)
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                for frame in decoder.feed(data):
                    request = Request.FromString(frame)
                    self.requests.append(request)
                    if not self._reply(connection, request):
                        return

    def _reply(self, connection: socket.socket, request: Request) -> bool:
        body = request.WhichOneof("body") or ""
        made = self.answers[body](request) if body in self.answers else _unasked(body)
        if made is None:
            return False
        responses = [made] if isinstance(made, Response) else list(made)
        for n, response in enumerate(responses):
            sent = Response()
            sent.CopyFrom(response)
            sent.id = request.id
            # An answer that itself says "more" is the last before the connection dies.
            sent.more = response.more or n < len(responses) - 1
            sent.node = sent.node or 2
            sent.leader = sent.leader or 1
            sent.term = sent.term or 7
            sent.cluster_id = "9f0c1122334455667788990011223344"
            try:
                connection.sendall(encode_frame(sent.SerializeToString()))
            except OSError:
                return False
        return not responses[-1].more


def _unasked(body: str) -> Response:
    message = f"the test did not expect {body}"
    return Response(error=Error(code="INTERNAL", message=message, outcome="NOT_APPLIED"))


def config(*voters: int, learners: Sequence[int] = (), index: int = 1) -> Configuration:
    """Return a stable configuration."""
    return Configuration(voters=voters, learners=learners, index=index)


def joint() -> Configuration:
    """Return the design's example: 1, 2, 3 on the way to 1, 3 with learners 4, 5, 6."""
    return Configuration(
        joint=True, voters=[1, 3], voters_outgoing=[1, 2, 3], learners=[4, 5, 6], index=981
    )


def status() -> StatusReply:
    """Return the status of follower 2 in a group of three of which 3 is down."""
    return StatusReply(
        id=2,
        role="follower",
        leader=1,
        term=7,
        vote=1,
        commit=1042,
        applied=1042,
        last_index=1043,
        first_index=2,
        config=config(1, 2, 3, index=980),
        cluster_id="9f0c1122334455667788990011223344",
        peers=[
            PeerStatus(id=1, addr="127.0.0.1:7001", reachable=True, since_ms=61_000, rtt_us=210),
            PeerStatus(id=2, addr="127.0.0.1:7002", reachable=True),
            PeerStatus(id=3, addr="127.0.0.1:7003", since_ms=40_000, error="connection refused"),
        ],
        health=Health(state="degraded", tolerance=0, reasons=["node 3 is not reachable"]),
        storage=StorageStatus(bytes=1_572_864, path="/var/lib/raftd/2"),
        version="0.1.0",
        uptime_ms=3_725_000,
        state_machine="log",
        addr="127.0.0.1:7002",
        pid=4242,
    )


def progress() -> ProgressReply:
    """Return a leader's view with one member of each state."""
    return ProgressReply(
        leader=1,
        term=7,
        last_index=1043,
        commit=1042,
        config=config(1, 2, 3, learners=[4], index=980),
        rows=[
            ProgressRow(id=1, state="self", matched=1043, next_idx=1044, committed_index=1042),
            ProgressRow(
                id=2,
                state="replicate",
                matched=1043,
                next_idx=1044,
                recent_active=True,
                inflight_max=256,
                committed_index=1042,
            ),
            ProgressRow(id=3, state="probe", matched=900, next_idx=901, paused=True, lag=143),
            ProgressRow(
                id=4,
                state="snapshot",
                next_idx=1,
                recent_active=True,
                lag=1043,
                learner=True,
                pending_snapshot=1000,
                snapshot_bytes=512,
                snapshot_bytes_total=2048,
                rate_bytes_per_s=1536.0,
                eta_ms=1000,
            ),
        ],
    )
