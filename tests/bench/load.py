"""The load generator: load.c, compiled when it is needed; in Python where there is no compiler."""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raftwire import kv
from raftwire.frame import FrameDecoder, encode_frame
from raftwire.limits import ADMIN_RESPONSE_BYTES_MAX
from raftwire.proto.admin_pb2 import ProposeRequest, QueryRequest, Request, Response
from tests.bench.machine import BenchError

_SOURCE = Path(__file__).with_name("load.c")

Result = dict[str, Any]
"""What a run came to; see the end of load.c."""


def cached(name: str, sources: Sequence[Path], build: Callable[[Path], None]) -> Path:
    """Return a program made from `sources`, built by `build(path)` unless it is there already."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(tempfile.gettempdir(), "raft-bench-bin")
    folder = Path(base) / "raft-bench" if "XDG_CACHE_HOME" in os.environ else Path(base)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BenchError(f"{folder} belongs to another user: set XDG_CACHE_HOME")
    program = folder / f"{name}-{digest}"
    if not program.exists():
        unfinished = folder / f".{name}-{os.getpid()}"
        build(unfinished)
        unfinished.rename(program)
    return program


class Load:
    """Runs the generator; `kind` says which one it is: ``c`` or ``python``."""

    def __init__(self) -> None:
        self._program: Path | None = None
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is not None:
            self._program = cached("load", [_SOURCE], lambda path: _compile(compiler, path))
        self.kind = "c" if self._program is not None else "python"

    def run(
        self,
        sockets: Sequence[Path],
        *,
        op: str = "put",
        clients: int = 1,
        depth: int = 1,
        size: int = 256,
        keys: int = 0,
        offset: int = 0,
        total: int = 0,
        seconds: float = 0.0,
        rate: float = 0.0,
        random: int = 0,
    ) -> Result:
        """Put load on the nodes behind `sockets` and return what came of it.

        Raises:
            BenchError: It could not run.
        """
        if self._program is None:
            data = os.urandom(size) if random else b"x" * size
            return _run_in_python(sockets, op, clients, data, keys, offset, total, seconds)
        options = {
            "op": op, "clients": clients, "depth": depth, "size": size, "keys": keys,
            "offset": offset, "total": total, "seconds": seconds, "rate": rate,
            "random": random,
        }  # fmt: skip
        command = [str(self._program)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return run_json([*command, *map(str, sockets)])

    def start(self, sockets: Sequence[Path], **options: object) -> subprocess.Popen[str]:
        """Start the C generator beside whatever else is measured; see `run` for the options."""
        if self._program is None:
            raise BenchError("this case needs a C compiler for the load generator")
        command = [str(self._program)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return subprocess.Popen([*command, *map(str, sockets)], stdout=subprocess.PIPE, text=True)


def run_json(command: Sequence[str]) -> Result:
    """Run a program that prints one JSON object; return it.

    Raises:
        BenchError: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name}: {done.stderr.strip()[-2000:]}")
    result: Result = json.loads(done.stdout)
    return result


def _compile(compiler: str, program: Path) -> None:
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(_SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"cannot compile {_SOURCE.name}: {done.stderr.strip()}")


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return what `fraction` of the sorted `values` do not exceed; 0 if there are none."""
    return values[min(int(len(values) * fraction), len(values) - 1)] if values else 0.0


def _run_in_python(
    sockets: Sequence[Path],
    op: str,
    clients: int,
    value: bytes,
    keys: int,
    offset: int,
    total: int,
    seconds: float,
) -> Result:
    """The closed loop alone, and slower than the nodes are: its figures are its own limits."""
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    errors: Counter[str] = Counter()
    sent: dict[socket.socket, float] = {}
    count = 0

    def request(connection: socket.socket) -> None:
        nonlocal count
        key = f"k{offset + (count % keys if keys else count):08d}"
        count += 1
        message = Request(id=1, deadline_ms=10_000)
        if op == "put":
            message.propose.CopyFrom(ProposeRequest(data=kv.put(key, value)))
        else:
            message.query.CopyFrom(QueryRequest(data=kv.get(key)))
        sent[connection] = time.perf_counter()
        connection.sendall(encode_frame(message.SerializeToString()))

    cpu, began = time.process_time(), time.perf_counter()
    try:
        for number in range(clients):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(sockets[number % len(sockets)]))
            decoder = FrameDecoder(ADMIN_RESPONSE_BYTES_MAX)
            selector.register(connection, selectors.EVENT_READ, decoder)
            request(connection)
        while sent:
            for key, _ in selector.select():
                ready, decoder = key.fileobj, key.data
                assert isinstance(ready, socket.socket)
                received = ready.recv(1 << 16)
                if not received:
                    raise BenchError("a node closed its connection")
                for frame in decoder.feed(received):
                    response = Response.FromString(frame)
                    now = time.perf_counter()
                    took = (now - sent.pop(ready)) * 1000
                    if response.HasField("error"):
                        errors[response.error.code] += 1
                    else:
                        latencies.append(took)
                    if (not total or count < total) and (not seconds or now - began < seconds):
                        request(ready)
    finally:
        for key in list(selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        selector.close()
    elapsed = time.perf_counter() - began
    latencies.sort()
    return {
        "generator": "python", "seconds": elapsed, "issued": count, "ok": len(latencies),
        "failed": errors.total(), "rate": len(latencies) / elapsed,
        "p50_ms": percentile(latencies, 0.5), "p99_ms": percentile(latencies, 0.99),
        "max_ms": percentile(latencies, 1), "errors": dict(errors),
        "cpu_share": (time.process_time() - cpu) / elapsed,
    }  # fmt: skip
