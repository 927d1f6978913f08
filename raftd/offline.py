"""Work on the data of a node that does not run: look, check, restore, recover.

``python -m raftd.offline VERB`` is what raftctl runs for ``raftctl offline``, ``snapshot inspect``,
``snapshot restore`` and ``recover``: raftctl itself loads no database. The arguments are one JSON
object on standard input. Each line of standard output is a JSON object with one field: ``item``
(one of many), ``progress``, and at last ``result`` or ``error``; the exit status is the error's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from raft.eraftpb import ConfState, Entry
from raft.invariant import InvariantViolation
from raftd import keys, recover
from raftd.entries import describe
from raftd.identity import Identity, IdentityError, NotInitialized, WrongStateMachine
from raftd.kvstore import (
    ColumnFamily,
    CorruptionError,
    DataDirError,
    KeyValueStore,
    LockedError,
    StoreError,
)
from raftd.rocks import DirectoryLock, RocksStore, check_data_dir
from raftd.snapshot import (
    SnapshotDamaged,
    SnapshotError,
    SnapshotHeader,
    SnapshotInfo,
    inspect,
    restore,
    verify,
)
from raftd.snapshot_format import SnapshotRefused
from raftd.storage import LogStore
from raftd.values import parse_address, parse_id

Arguments = Mapping[str, Any]
Result = Mapping[str, Any]

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PRECONDITION: Final = 4
EXIT_CORRUPT: Final = 9

_PROGRESS_EVERY: Final = 20_000


class Refused(Exception):
    """What was asked for cannot be done; the text says why and what to do."""


def main(argv: list[str]) -> int:
    """Carry out one verb; return the exit status."""
    os.umask(0o077)
    if len(argv) != 1 or argv[0] not in VERBS:
        sys.stderr.write(f"usage: python -m raftd.offline {'|'.join(VERBS)} <JSON\n")
        return EXIT_USAGE
    try:
        _say("result", VERBS[argv[0]](json.load(sys.stdin)))
    except BrokenPipeError:
        return EXIT_FAILED
    except Exception as error:
        code, status = _judge(error)
        _say("error", {"code": code, "message": str(error) or type(error).__name__})
        return status
    return 0


def _judge(error: Exception) -> tuple[str, int]:
    """Return the code and exit status that stand for ``error``."""
    if isinstance(error, LockedError):
        return "LOCKED", EXIT_PRECONDITION
    if isinstance(error, (CorruptionError, SnapshotDamaged, InvariantViolation)):
        return "CORRUPT", EXIT_CORRUPT
    if isinstance(error, (NotInitialized, WrongStateMachine)):
        return "PRECONDITION", EXIT_PRECONDITION
    if isinstance(error, recover.RecoveryRefused):
        return "PRECONDITION", EXIT_PRECONDITION
    if isinstance(error, IdentityError):
        # Its guards say that it has lost something: as bad as a damaged block.
        return "CORRUPT", EXIT_CORRUPT
    if isinstance(error, (Refused, DataDirError, SnapshotRefused)):
        return "PRECONDITION", EXIT_PRECONDITION
    if isinstance(error, (OSError, StoreError, SnapshotError)):
        return "INTERNAL", EXIT_FAILED
    if isinstance(error, (KeyError, TypeError, ValueError)):
        return "USAGE", EXIT_USAGE
    return "INTERNAL", EXIT_FAILED


def _say(kind: str, value: object) -> None:
    sys.stdout.write(json.dumps({kind: value}) + "\n")
    sys.stdout.flush()


# --- opening ------------------------------------------------------------------------------------


@contextmanager
def _opened(arguments: Arguments) -> Iterator[LogStore]:
    """Open the store for reading; with the lock, unless ``read_only`` asks to look beside raftd."""
    with _database(arguments) as kv:
        yield LogStore.open(kv, read_only=True)


@contextmanager
def _database(arguments: Arguments) -> Iterator[RocksStore]:
    path = Path(arguments["data_dir"])
    if not path.is_dir():
        raise DataDirError(f"there is no directory {path}: is it the right one? is its disk there?")
    lock = None
    if not arguments.get("read_only"):
        check_data_dir(path)
        lock = _lock(path)
    try:
        kv = RocksStore.open_read_only(path)
        try:
            yield kv
        finally:
            kv.close()
    finally:
        if lock is not None:
            lock.release()


def _lock(path: Path) -> DirectoryLock:
    if not (path / "identity.json").exists() and not (path / "db").exists():
        # Where there is nothing, nothing is to be left either.
        raise NotInitialized(f"{path} holds no data of a node")
    return DirectoryLock(path)


# --- looking ------------------------------------------------------------------------------------


def _info(arguments: Arguments) -> Result:
    with _opened(arguments) as store:
        identity, hard_state, applied = store.identity, store.hard_state, store.applied
        last = store.last_index()
        plan = recover.recovered(store.kv)
        return {
            "cluster_id": identity.cluster_id.hex(),
            "id": identity.node_id,
            "state_machine": identity.state_machine,
            "format": identity.format,
            "created_ms": identity.created_ms,
            "opens": store.opens,
            "term": hard_state.term,
            "vote": hard_state.vote,
            "commit": max(hard_state.commit, applied.index),
            "applied": applied.index,
            "applied_term": applied.term,
            "digest": applied.digest.hex(),
            "log_time_ms": applied.log_time_ms,
            "first_index": store.first_index(),
            "last_index": last,
            "last_term": store.term(last),
            "config": _configuration(store.conf_state),
            "addresses": _by_text(store.load_addresses()),
            "settings": asdict(store.load_settings()),
            "keys": applied.sessions_next - applied.sessions_oldest,
            "bytes": _bytes_under(Path(arguments["data_dir"])),
            "snapshots": [_snapshot(info, path) for path, info in _snapshots(arguments)],
            "recovered_from": None if plan is None else plan.old_cluster_id,
            "recovered_ms": None if plan is None else plan.planned_ms,
        }


def _configuration(state: ConfState) -> Result:
    return {
        "index": state.config_index,
        "joint": bool(state.voters_outgoing),
        "voters": sorted(state.voters),
        "learners": sorted(state.learners),
        "voters_outgoing": sorted(state.voters_outgoing),
        "learners_next": sorted(state.learners_next),
        "removed": sorted(state.removed),
    }


def _by_text(addresses: Mapping[int, str]) -> dict[str, str]:
    return {str(node): addresses[node] for node in sorted(addresses)}


def _bytes_under(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _snapshots(arguments: Arguments) -> Iterator[tuple[Path, SnapshotInfo]]:
    for path in sorted(Path(arguments["data_dir"]).glob("snapshots/*.raftsnap")):
        try:
            yield path, inspect(path)
        except SnapshotError:
            continue  # `check` is what tells of damage.


def _snapshot(info: SnapshotInfo, path: Path) -> Result:
    header = info.header
    return {
        "file": str(path),
        "bytes": info.size,
        "index": header.index,
        "term": header.term,
        "created_ms": header.created_ms,
    }


def _log_dump(arguments: Arguments) -> Result:
    types = frozenset(arguments.get("types") or ())
    raw = bool(arguments.get("raw"))
    count = 0
    with _opened(arguments) as store:
        low = max(int(arguments.get("from") or 0), store.first_index())
        high = int(arguments.get("to") or 0) or store.last_index() + 1
        high = min(high, store.last_index() + 1)
        for entry, _ in store.iterate(low, high) if low < high else ():
            shown = describe(entry)
            if types and shown.type not in types:
                continue
            item: dict[str, Any] = {
                "entry": base64.b64encode(shown.SerializeToString()).decode("ascii")
            }
            if raw:
                item["raw"] = _raw(entry)
            _say("item", item)
            count += 1
        return {
            "entries": count,
            "first_index": store.first_index(),
            "last_index": store.last_index(),
            "commit": max(store.hard_state.commit, store.applied.index),
            "applied": store.applied.index,
        }


def _raw(entry: Entry) -> Result:
    return {
        "entry_type": entry.entry_type,
        "context": binascii.hexlify(entry.context).decode("ascii"),
        "data": binascii.hexlify(entry.data).decode("ascii"),
    }


# --- checking -----------------------------------------------------------------------------------


def _check(arguments: Arguments) -> Result:
    """Read everything; what is damaged is an error that lists every place."""
    problems: list[str] = []
    checked: dict[str, Any] = {}
    with _opened(arguments) as store:
        last = store.last_index()
        report = store.check(lambda index: _say("progress", {"done": index, "total": last}))
        problems += report.problems
        checked |= {
            "id": store.identity.node_id,
            "cluster_id": store.identity.cluster_id.hex(),
            "first_index": report.first_index,
            "last_index": report.last_index,
            "entries": report.entries,
            "bytes": report.bytes,
            "commit": report.commit,
            "applied": report.applied,
        }
        problems += _check_families(store.kv, checked)
    problems += _check_snapshots(arguments, checked)
    if problems:
        raise CorruptionError(
            f"{arguments['data_dir']}: {'; '.join(problems)}; this node must not vote or serve;"
            " remove it from its group and add it again under a new id"
        )
    return checked


def _check_families(kv: KeyValueStore, checked: dict[str, Any]) -> Iterator[str]:
    """Read every record of state and keys: RocksDB checks each block it reads."""
    for family, name in ((ColumnFamily.STATE, "state"), (ColumnFamily.SESSIONS, "keys")):
        count = size = 0
        try:
            for key, value in kv.scan(family):
                if key[:1] not in (keys.epoch_prefix(0), keys.epoch_prefix(1)):
                    yield f"the {name} hold a record under {key[:16].hex()}, which means nothing"
                    break
                count += 1
                size += len(key) + len(value)
                if count % _PROGRESS_EVERY == 0:
                    _say("progress", {"done": count, "total": 0, "note": name})
        except CorruptionError as error:
            yield f"the {name}: {error}"
        checked[f"{name}_records"], checked[f"{name}_bytes"] = count, size


def _check_snapshots(arguments: Arguments, checked: dict[str, Any]) -> Iterator[str]:
    checked["snapshots"] = 0
    for path in sorted(Path(arguments["data_dir"]).glob("snapshots/*.raftsnap")):
        try:
            verify(path)
        except SnapshotError as error:
            yield f"snapshot {path.name}: {error}"
        else:
            checked["snapshots"] += 1


# --- snapshots ----------------------------------------------------------------------------------


def _inspect(arguments: Arguments) -> Result:
    """Read a snapshot file whole and say what is in it."""
    info = verify(Path(arguments["file"]))
    return {"sha256": info.sha256.hex(), "ok": True, **_described(info)}


def _described(info: SnapshotInfo) -> Result:
    header = info.header
    return {
        "cluster_id": header.cluster_id.hex(),
        "state_machine": header.state_machine,
        "index": header.index,
        "term": header.term,
        "digest": header.applied.digest.hex(),
        "config": _configuration(header.conf_state),
        "addresses": _by_text(header.addresses),
        "settings": asdict(header.settings),
        "created_ms": header.created_ms,
        "bytes": info.size,
        "records": info.records,
        "state_bytes": info.state_bytes,
    }


def _restore(arguments: Arguments) -> Result:
    """Make a new group's member out of a snapshot file, checked whole before anything is made."""
    path = Path(arguments["file"])
    node_id = parse_id(arguments["id"])
    peers = {parse_id(node): parse_address(addr) for node, addr in arguments["peers"].items()}
    if node_id not in peers:
        raise Refused(f"node {node_id} is not among the peers {', '.join(map(str, sorted(peers)))}")
    info = verify(path)
    header = info.header
    cluster_id = _new_cluster_id(header, info.sha256, peers, arguments)
    identity = Identity(cluster_id, node_id, header.state_machine, recover.now_ms())
    kv = RocksStore.create(arguments["data_dir"])
    try:
        store = restore(kv, path, identity, ConfState(voters=sorted(peers)), peers)
        problems = store.check().problems
        if problems:
            raise CorruptionError(f"what was restored is damaged: {'; '.join(problems)}")
        store.close()
    except BaseException:
        kv.close()
        raise
    return {
        **_described(info),
        "old_cluster_id": header.cluster_id.hex(),
        "cluster_id": cluster_id.hex(),
        "id": node_id,
        "data_dir": str(arguments["data_dir"]),
        "peers": _by_text(peers),
    }


def _new_cluster_id(
    header: SnapshotHeader, sha256: bytes, peers: Mapping[int, str], arguments: Arguments
) -> bytes:
    """Return the id of the restored group, the same wherever it is worked out.

    Each member is restored on its own host: from the same file and the same peers all come to the
    same id without speaking to each other.
    """
    if arguments.get("keep_cluster_id"):
        return header.cluster_id
    if arguments.get("cluster_id"):
        return bytes.fromhex(arguments["cluster_id"])
    text = "".join(f"{node}={peers[node]}\n" for node in sorted(peers))
    return hashlib.sha256(b"raftd restored cluster\n" + sha256 + text.encode()).digest()[:16]


# --- recovery -----------------------------------------------------------------------------------


def _collect(arguments: Arguments) -> Result:
    with _opened(arguments) as store:
        problems = store.check().problems
        if problems:
            raise CorruptionError(
                f"{arguments['data_dir']}: {'; '.join(problems)}; nothing can be recovered from it"
            )
        report = recover.collect(store, recover.now_ms())
    return {"report": report.encode().decode("ascii"), **asdict(report)}


def _plan(arguments: Arguments) -> Result:
    reports = [
        recover.Report.decode(text.encode(), name) for name, text in arguments["reports"].items()
    ]
    plan = recover.make_plan(
        reports,
        os.urandom(16),
        recover.now_ms(),
        chosen=int(arguments.get("survivor") or 0),
        force=bool(arguments.get("force")),
    )
    return {"plan": plan.encode().decode("ascii"), **asdict(plan)}


def _apply(arguments: Arguments) -> Result:
    plan = recover.Plan.decode(arguments["plan"].encode(), "the plan")
    path = Path(arguments["data_dir"])
    check_data_dir(path)
    backup = ""
    if arguments.get("backup", True):
        backup = str(path.absolute().with_name(f"{path.absolute().name}.before-recovery"))
        if Path(backup).exists() and not (path / "recovering.json").exists():
            raise Refused(f"{backup}, where a copy of the data would go, exists: move it away")
    kv = RocksStore.open(path)
    try:
        done = recover.apply(kv, plan, backup)
    finally:
        kv.close()
    for file in path.glob("snapshots/*"):
        # They are of the old cluster: nobody in the new one would take them.
        file.unlink()
    return {"id": plan.node_id, "cluster_id": plan.new_cluster_id, **asdict(done)}


def _verify(arguments: Arguments) -> Result:
    checked = _check(arguments)
    with _opened(arguments) as store:
        plan = recover.recovered(store.kv)
        state = store.conf_state
        if plan is None:
            raise Refused(f"{arguments['data_dir']} has not been recovered")
        whole = (
            store.identity.cluster_id.hex() == plan.new_cluster_id
            and sorted(state.voters) == [plan.node_id]
            and store.last_index() >= plan.last_index
        )
        if not whole:
            raise CorruptionError(
                f"{arguments['data_dir']} is not what the plan made of it: cluster"
                f" {store.identity.cluster_id.hex()}, voters {sorted(state.voters)}, log up to"
                f" {store.last_index()}"
            )
        return {
            **checked,
            "old_cluster_id": plan.old_cluster_id,
            "address": plan.address,
            "removed": plan.removed,
            "others": plan.others,
        }


VERBS: Final[Mapping[str, Callable[[Arguments], Result]]] = {
    "info": _info,
    "log-dump": _log_dump,
    "check": _check,
    "inspect": _inspect,
    "restore": _restore,
    "collect": _collect,
    "plan": _plan,
    "apply": _apply,
    "verify": _verify,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
