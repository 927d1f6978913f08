"""A client of a raftd's admin socket: sockets and generated protobuf code, nothing else.

protoc -I DIR --python_out=. raftwire/proto/admin.proto
python admin_client.py /run/raftd/1.sock hello world
"""

import socket
import struct
import sys
from collections.abc import Iterator

from raftwire.proto.admin_pb2 import Request, Response


class Refused(Exception):
    """The node refused; says what became of the write."""


class Client:
    """One connection; requests may be sent before earlier ones are answered."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        self.last_id = 0
        self.early: dict[int, list[Response]] = {}

    def send(self, request: Request) -> int:
        """Send a request; return its id."""
        self.last_id += 1
        request.id = self.last_id
        body = request.SerializeToString()
        self.socket.sendall(struct.pack(">I", len(body)) + body)
        return request.id

    def answers(self, request_id: int) -> Iterator[Response]:
        """Yield a request's answers: one, or those of a stream."""
        more = True
        while more:
            response = self.next(request_id)
            if response.HasField("error"):
                outcome = response.error.outcome
                raise Refused(response.error.code, response.error.message, outcome)
            yield response
            more = response.more

    def next(self, request_id: int) -> Response:
        """Return a request's next answer; keep those of others."""
        while not self.early.get(request_id):
            head = self.stream.read(4)
            if len(head) < 4:
                raise ConnectionError("closed: what was not answered is unknown")
            (size,) = struct.unpack(">I", head)
            response = Response.FromString(self.stream.read(size))
            # Id 0 speaks of the connection, which is closed after it.
            owner = response.id or request_id
            self.early.setdefault(owner, []).append(response)
        return self.early[request_id].pop(0)

    def call(self, request: Request) -> Response:
        """Send a request and return its answer."""
        return next(self.answers(self.send(request)))


def main(path: str, *words: str) -> None:
    """Propose each word, then print the log from the first of them on."""
    client = Client(path)
    hello = Request(deadline_ms=2000)
    hello.hello.protocol_min = hello.hello.protocol_max = 1
    hello.hello.client = "example"
    answer = client.call(hello)
    print(f"node {answer.node}, raftd {answer.hello.version}")

    # Pipelined: all are sent before the first is answered.
    waiting = []
    for number, word in enumerate(words):
        request = Request(deadline_ms=5000)
        request.propose.data = word.encode()
        request.propose.key = f"example/{number}/{word}"
        waiting.append(client.send(request))
    indexes = []
    for request_id in waiting:
        (response,) = client.answers(request_id)
        indexes.append(response.propose.index)

    # A stream: every answer but the last has `more` set.
    request = Request(deadline_ms=5000)
    request.log_read.from_index = min(indexes)
    request.log_read.types.append("normal")
    for response in client.answers(client.send(request)):
        for entry in response.log_read.entries:
            print(entry.index, entry.data.decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
