"""config, loglevel, reload, events, metrics: what they ask, show and refuse."""

from __future__ import annotations

import json

import pytest

from raftwire.proto.admin_pb2 import (
    ConfigItem,
    ConfigReply,
    Error,
    Event,
    EventsReply,
    LogLevelReply,
    MetricsReply,
    ReloadReply,
    Response,
)
from tests.cli.conftest import Ctl
from tests.cli.fake import FakeNode

ITEMS = [
    ConfigItem(key="node.id", value="2", origin="flag"),
    ConfigItem(
        key="raft.heartbeat", value="100ms", default_value="100ms", origin="default"
    ),
    ConfigItem(
        key="log.level", value="debug", default_value="info", origin="env RAFTD_LOG_LEVEL",
        reloadable=True,
    ),
]  # fmt: skip


def test_config_show(node: FakeNode, ctl: Ctl) -> None:
    node.answer("config", Response(config=ConfigReply(items=ITEMS)))
    assert ctl("config", "show").out.splitlines()[0].split() == ["KEY", "VALUE"]
    lines = ctl("config", "show", "--origin").out.splitlines()
    assert lines[3].split() == ["log.level", "debug", "env", "RAFTD_LOG_LEVEL", "reload"]
    lines = ctl("config", "show", "--diff-default").out.splitlines()
    assert [line.split()[0] for line in lines] == ["KEY", "node.id", "log.level"]
    data = ctl("config", "show", "log", "--json").data
    assert data["items"] == [
        {
            "key": "log.level", "value": "debug", "default_value": "info",
            "origin": "env RAFTD_LOG_LEVEL", "reloadable": True,
        }
    ]  # fmt: skip
    rows = ctl("config", "show", "-o", "ndjson").out.splitlines()
    assert [json.loads(row)["key"] for row in rows] == ["node.id", "raft.heartbeat", "log.level"]


def test_loglevel(node: FakeNode, ctl: Ctl) -> None:
    node.answer("loglevel", Response(loglevel=LogLevelReply(level="debug", previous="info")))
    assert ctl("loglevel", "get").out == "debug\n"
    assert node.requests[-1].loglevel.level == ""
    assert ctl("loglevel", "set", "debug", "--for", "5m").out == "info -> debug for 300s\n"
    sent = node.requests[-1].loglevel
    assert (sent.level, sent.for_ms) == ("debug", 300_000)
    assert ctl("loglevel", "set", "chatty").code == 2
    assert ctl("loglevel", "set", "debug", "--for", "0s").code == 2


def test_reload_says_what_changed_and_what_waits(node: FakeNode, ctl: Ctl) -> None:
    reply = ReloadReply(changed=["log.level"], needs_restart=["raft.heartbeat"])
    node.answer("reload", Response(reload=reply))
    assert ctl("reload").out == "changed: log.level\nneeds a restart: raft.heartbeat\n"
    assert ctl("reload", "--json").data == {
        "changed": ["log.level"], "needs_restart": ["raft.heartbeat"],
    }  # fmt: skip
    node.answer("reload", Response(reload=ReloadReply()))
    assert ctl("reload").out == "changed: nothing\n"
    node.answer("reload", Error(code="INVALID_REQUEST", message="bad", outcome="NOT_APPLIED"))
    assert ctl("reload").code == 2


def events() -> list[Response]:
    first = Event(
        sequence=1, time_ms=1_700_000_000_000, kind="election", message="leadership",
        level="info", fields={"leader": "2", "term": "7"},
    )  # fmt: skip
    second = Event(
        sequence=2, time_ms=1_700_000_001_000, kind="peer", message="peer unreachable",
        level="warning", fields={"reason": "\x1b[31mred"},
    )  # fmt: skip
    return [
        Response(events=EventsReply(events=[first])),
        Response(events=EventsReply(events=[second])),
    ]


def test_events_a_line_each(node: FakeNode, ctl: Ctl) -> None:
    node.answer("events", lambda request: events())
    lines = ctl("events").out.splitlines()
    assert lines[0].endswith(" election leadership leader=2 term=7")
    # Whatever a peer's address or version says, it cannot move the cursor.
    assert "\x1b" not in lines[1]
    assert ctl("events", "--kind", "peer").out.count("\n") == 1
    found = [json.loads(line) for line in ctl("events", "--json", "-f").out.splitlines()]
    assert [event["sequence"] for event in found] == [1, 2]
    assert found[0]["fields"] == {"leader": "2", "term": "7"}
    assert node.requests[-1].events.follow
    ctl("events", "--since", "41")
    assert node.requests[-1].events.since == 41


@pytest.mark.parametrize(
    ("grep", "lines"), [((), 4), (("--grep", "peer"), 1), (("--grep", "^raftd_"), 2)]
)
def test_metrics(node: FakeNode, ctl: Ctl, grep: tuple[str, ...], lines: int) -> None:
    text = (
        "# HELP raftd_term The term\n# TYPE raftd_term gauge\nraftd_term 7.0\n"
        'raftd_peer_lag{peer="2"} 0.0\n'
    )
    node.answer("metrics", Response(metrics=MetricsReply(text=text)))
    assert len(ctl("metrics", *grep).out.splitlines()) == lines
    assert ctl("metrics", "--json").data == {"text": text}
    assert ctl("metrics", "--grep", "(").code == 2
