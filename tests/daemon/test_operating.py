"""A real raftd as its operator handles it: settings, signals, log level, events."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftwire import AdminError, Code
from tests.harness.processes import Cluster, Node, wait_for


@pytest.fixture(scope="module")
def group() -> Iterator[Cluster]:
    with Cluster(1) as one:
        one[1].arguments += ["--config", str(one.folder / "raftd.toml")]
        (one.folder / "raftd.toml").write_text("")
        one.start()
        yield one


@pytest.fixture
def node(group: Cluster) -> Iterator[Node]:
    yield group[1]
    configure(group[1], "")
    with group[1].client() as client:
        client.reload()


def configure(node: Node, text: str) -> None:
    (node.folder / "raftd.toml").write_text(text)


def lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
    return found


def said(node: Node, event: str, path: Path | None = None) -> list[dict[str, Any]]:
    return [line for line in lines(path or node.log_path) if line["event"] == event]


def test_every_line_says_node_term_and_index(group: Cluster) -> None:
    with group[1].client() as client:
        client.loglevel("debug")
        client.loglevel("info")
    found = said(group[1], "log level set")[-1]
    assert found["node"] == 1
    assert found["term"] >= 2
    assert found["index"] >= 2
    assert found["level"] in ("info", "debug")


def test_a_reload_takes_what_may_change_and_names_what_needs_a_restart(node: Node) -> None:
    configure(node, '[limits]\nmax_entry_bytes = "1KiB"\n[raft]\nheartbeat = "50ms"\n')
    with node.client() as client:
        client.propose(b"x" * 4096)
        reply = client.reload()
        assert list(reply.changed) == ["limits.max_entry_bytes"]
        assert list(reply.needs_restart) == ["raft.heartbeat"]
        with pytest.raises(AdminError) as refused:
            client.propose(b"x" * 4096)
        assert refused.value.code == Code.TOO_LARGE
        items = {item.key: item for item in client.config().items}
    assert items["limits.max_entry_bytes"].value == "1KiB"
    assert items["limits.max_entry_bytes"].origin == f"file {node.folder / 'raftd.toml'}"
    assert items["limits.max_entry_bytes"].reloadable
    # What is shown is what is in force, not what the file says.
    assert items["raft.heartbeat"].value == "100ms"
    assert not items["raft.heartbeat"].reloadable
    assert items["node.id"].origin == "flag"


def test_wrong_settings_are_refused_and_change_nothing(node: Node) -> None:
    configure(node, '[limits]\nmax_pendign = 1\nmax_entry_bytes = "2KiB"\n')
    with node.client() as client:
        with pytest.raises(AdminError) as refused:
            client.reload()
        assert "did you mean limits.max_pending?" in refused.value.message
        assert "--check-config" in refused.value.hint
        client.propose(b"x" * 4096)


def test_sighup_reloads_and_sigusr1_dumps(node: Node) -> None:
    configure(node, '[log]\nlevel = "debug"\n')
    before = len(said(node, "settings reloaded"))
    node.signal(signal.SIGHUP)
    wait_for("the reload", lambda: len(said(node, "settings reloaded")) > before)
    assert said(node, "settings reloaded")[-1]["changed"] == ["log.level"]
    with node.client() as client:
        assert client.loglevel().level == "debug"
    node.signal(signal.SIGUSR1)
    wait_for("the dump", lambda: bool(said(node, "dump")))
    text = said(node, "dump")[-1]["text"]
    assert "role: leader" in text
    assert "tasks" in text
    # The stacks of the threads come at once, even from a loop that stands still.
    assert "most recent call first" in node.log_path.read_text()
    assert node.running


def test_a_bad_file_on_sighup_is_logged(node: Node) -> None:
    configure(node, "[log\n")
    before = len(said(node, "settings not reloaded"))
    node.signal(signal.SIGHUP)
    wait_for("the complaint", lambda: len(said(node, "settings not reloaded")) > before)
    assert "not valid TOML" in said(node, "settings not reloaded")[-1]["reason"]
    assert node.running


def test_a_level_set_for_a_while_goes_back_to_the_settings(node: Node) -> None:
    with node.client() as client:
        # Two that overlap: the end is what the settings say, not what was between.
        client.loglevel("debug", for_ms=60_000)
        reply = client.loglevel("error", for_ms=50)
        assert (reply.previous, reply.level) == ("debug", "error")
        wait_for("the level", lambda: client.loglevel().level == "info")
        with pytest.raises(AdminError) as refused:
            client.loglevel("chatty")
    assert "there are debug" in refused.value.message


def test_the_log_file_is_opened_anew(node: Node) -> None:
    first = node.folder / "raftd.log"
    configure(node, f'[log]\nfile = "{first}"\n')
    with node.client() as client:
        client.reload()
        client.loglevel("info")
        assert said(node, "log level set", first)
        first.rename(node.folder / "raftd.log.1")
        client.reload()
        client.loglevel("info")
    assert said(node, "log level set", first)
    configure(node, '[log]\nfile = "/nowhere/raftd.log"\n')
    with node.client() as client, pytest.raises(AdminError) as refused:
        client.reload()
    assert "/nowhere/raftd.log" in refused.value.message


def test_events_are_numbered_and_followed(node: Node) -> None:
    with node.client() as client:
        events = list(client.events())
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        kinds = {event.message: event.kind for event in events}
        assert kinds["serving"] == "life"
        assert kinds["leader"] == "election"
        assert kinds["configuration"] == "config"
        followed = client.events(since=events[-1].sequence, follow=True)
        client.loglevel("info")
        event = next(followed)
        assert (event.message, event.fields["level"]) == ("log level set", "info")
        assert event.sequence == events[-1].sequence + 1
        assert event.level == "info"
    # They do not depend on the level of the log.
    with node.client() as client:
        client.loglevel("error")
        *_, last, by = client.events()
        assert (last.message, last.fields["level"]) == ("log level set", "error")
        # Who did it is on record, too.
        assert (by.message, by.kind, by.fields["verb"]) == ("admin request", "security", "loglevel")
        client.loglevel("info")


def test_a_directory_is_not_made_when_it_never_may_be() -> None:
    with Cluster(1, "--bootstrap", "never") as group:
        group[1].start()
        assert group[1].wait() == 4
        reason = said(group[1], "raftd stops")[-1]["reason"]
        assert "--bootstrap never" in reason
        assert "member replace 1 NEW=HOST:PORT" in reason
        assert not group[1].data_dir.exists()
        group[1].arguments.remove("--bootstrap")
        group[1].arguments.remove("never")
        group.start()
        assert group[1].terminate() == 0
        group[1].start("--bootstrap", "never")
        group.settle()
