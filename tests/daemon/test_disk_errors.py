"""System calls that fail under RocksDB: the process stops, and what it acknowledged is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftd.rocks import RocksStore
from raftd.storage import LogStore
from tests.harness.strace import may_trace
from tests.unit.raftd.builders import bootstrap

WRITER = """
import os, sys
from raft.eraftpb import HardState
from raftd.kvstore import StoreWriteError
from raftd.rocks import RocksStore
from raftd.storage import LogStore
from tests.harness.strace import may_trace
from tests.unit.raftd.builders import entries
store = LogStore.open(RocksStore.open(sys.argv[1]))
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
try:
    for index in range(store.last_index() + 1, store.last_index() + 400):
        batch = store.new_batch()
        store.append(batch, entries(index, index + 1, size=400))
        store.set_hard_state(batch, HardState(term=1 + index // 50, vote=1, commit=index))
        store.write(batch)
        store.sync()
        # Not by write(2), which is what fails in some of the tests.
        os.pwrite(acknowledged, b"%6d" % index, 0)
except StoreWriteError as error:
    first = store.kv.failure
    for attempt in (store.sync, lambda: store.write(store.new_batch())):
        try:
            attempt()
        except StoreWriteError as again:
            assert again is first, "another error than the first"
        else:
            raise SystemExit("a failed store wrote again")
    store.close()
    raise SystemExit(3) from error
"""

pytestmark = pytest.mark.skipif(bool(may_trace()), reason=may_trace())


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=30",
        "fdatasync:error=EIO:when=100+",
        "fdatasync:error=ENOSPC:when=60",
        "write:error=ENOSPC:when=300+",
        "write:error=EIO:when=350+",
        "fsync:error=EIO:when=12",
    ],
)
def test_a_failed_call_stops_the_writer_and_loses_nothing(short_dir: Path, fault: str) -> None:
    data_dir = short_dir / "node"
    bootstrap(RocksStore.create(data_dir)).close()
    call = fault.split(":", 1)[0]
    found = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={fault}",
            sys.executable,
            "-c",
            WRITER,
            str(data_dir),
            str(short_dir / "acknowledged"),
        ],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert found.returncode == 3, found.stderr.decode()
    acknowledged = int((short_dir / "acknowledged").read_bytes())
    assert acknowledged < 390
    store = LogStore.open(RocksStore.open(data_dir))
    assert store.last_index() >= acknowledged
    assert store.hard_state.commit >= acknowledged
    assert store.check().ok
    store.close()
