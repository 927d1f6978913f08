"""Who may use the admin socket, tried as other users of this host."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator

import pytest

from raftwire import AdminError, Client
from tests.harness.processes import Cluster, cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

NOBODY = 65534
#: Groups that no test machine gives a meaning to.
OPERATORS, WATCHERS = 64_901, 64_902


def ask(group: Cluster, *, gid: int = NOBODY, groups: tuple[int, ...] = ()) -> dict[str, object]:
    """Ask node 1 as somebody else, in a child that gives up being root.

    Not in a new process: the interpreter need not be readable by others.
    """
    path = str(group[1].socket)
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(NOBODY)
            os.write(sending, json.dumps(questions(path)).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with open(receiving, encoding="utf-8") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    found: dict[str, object] = json.loads(answer)
    return found


def questions(path: str) -> dict[str, object]:
    """Return what each request is answered with: its result, or the code of its refusal."""
    said: dict[str, object] = {}
    with Client(path, timeout=5) as client:
        calls: dict[str, Callable[[], object]] = {
            "access": lambda: client.hello().access,
            "status": lambda: client.status().id,
            "propose": lambda: client.propose(b"x").index,
            "loglevel": lambda: client.loglevel("info").level,
            "dry": lambda: client.member_remove(3, dry_run=True).index,
        }
        for name, call in calls.items():
            try:
                said[name] = call()
            except AdminError as error:
                said[name] = str(error.code)
    return said


def refused(said: dict[str, object]) -> bool:
    return set(said.values()) <= {"PERMISSION", "CONNECT"}


def test_a_private_socket_serves_its_owner_alone() -> None:
    with cluster(1) as group:
        group.folder.chmod(0o755)
        assert stat.S_IMODE(group[1].socket.stat().st_mode) == 0o600
        assert refused(ask(group))
        # Even if somebody has opened the file to all.
        group[1].socket.chmod(0o666)
        assert refused(ask(group))
        status = group[1].status()
        assert status is not None
        assert status.counters["refused_clients"] >= 1
        assert "admin client refused" in group[1].log_path.read_text()


def test_an_open_socket_serves_all() -> None:
    with cluster(1, "--admin-mode", "0666") as group:
        group.folder.chmod(0o755)
        said = ask(group)
        assert said["access"] == "rw"
        assert isinstance(said["propose"], int)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with cluster(
        1, "--admin-mode", "0666", "--admin-group", str(OPERATORS),
        "--admin-readonly-group", str(WATCHERS),
    ) as group:  # fmt: skip
        group.folder.chmod(0o755)
        yield group


def test_the_socket_belongs_to_the_group(shared: Cluster) -> None:
    assert shared[1].socket.stat().st_gid == OPERATORS


@pytest.mark.parametrize("how", ["first group", "further group"])
def test_operators_may_do_everything(shared: Cluster, how: str) -> None:
    said = ask(shared, gid=OPERATORS) if how == "first group" else ask(shared, groups=(OPERATORS,))
    assert said["access"] == "rw"
    assert isinstance(said["propose"], int)
    assert said["loglevel"] == "info"
    assert said["dry"] != "PERMISSION"
    # Who changed what is on record.
    line = [
        record
        for text in shared[1].log_path.read_text().splitlines()
        if (record := json.loads(text))["event"] == "admin request"
    ][-1]
    assert (line["uid"], line["verb"], line["result"]) == (NOBODY, "loglevel", "ok")
    assert line["pid"] > 1


def test_watchers_may_look_and_change_nothing(shared: Cluster) -> None:
    said = ask(shared, groups=(WATCHERS,))
    assert said["access"] == "ro"
    assert said["status"] == 1
    assert said["propose"] == said["loglevel"] == "PERMISSION"
    # What it would do may be asked.
    assert said["dry"] != "PERMISSION"


def test_others_may_nothing(shared: Cluster) -> None:
    assert refused(ask(shared, groups=(1234,)))
