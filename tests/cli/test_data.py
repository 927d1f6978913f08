"""propose, log, kv, outcome, read-index, campaign and transfer: requests, answers, shapes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from raftwire.proto.admin_pb2 import (
    CampaignReply,
    Error,
    LogEntry,
    LogReadReply,
    LogStatReply,
    OutcomeReply,
    ProposeReply,
    ProposeRequest,
    QueryReply,
    QueryRequest,
    ReadIndexReply,
    Request,
    Response,
    TransferLeaderReply,
    WatchReply,
)
from raftwire.proto.kv_pb2 import (
    KeyValue,
    KvCommand,
    KvQuery,
    KvQueryResult,
    KvResult,
    KvWatchEvent,
    KvWatchEvents,
)
from tests.cli.conftest import Ctl
from tests.cli.fake import FakeNode


def accept_all(node: FakeNode) -> None:
    """Answer each proposal with the next index."""
    counter = iter(range(100, 10_000))

    def answer(request: Request) -> Response:
        return Response(propose=ProposeReply(index=next(counter), term=7, outcome="APPLIED"))

    node.answer("propose", answer)


def proposed(node: FakeNode) -> list[bytes]:
    return [r.propose.data for r in node.requests]


def test_propose_for_people_and_as_json(node: FakeNode, ctl: Ctl) -> None:
    accept_all(node)
    ran = ctl("propose", "hello")
    assert ran.code == 0
    assert ran.out.startswith("applied index=100 term=7 node=2 ")
    data = ctl("propose", "hello", "--json").data
    assert (data["index"], data["term"], data["outcome"]) == (101, 7, "applied")
    assert data["deduplicated"] is False
    assert "latency_ms" in data
    assert ctl("propose", "hello", "-q").out == ""
    assert proposed(node) == [b"hello"] * 3


def test_propose_takes_bytes_in_every_form(node: FakeNode, ctl: Ctl, tmp_path: Path) -> None:
    accept_all(node)
    file = tmp_path / "data"
    file.write_bytes(b"\x00from a file\n")
    ctl("propose", "--file", str(file))
    ctl("propose", "-", stdin=b"\xffstdin")
    ctl("propose", "--hex", "00ff")
    ctl("propose", "--base64", "AP8=")
    ctl("propose", "--", "--looks-like-an-option")
    ctl("propose", "grün")
    assert proposed(node) == [
        b"\x00from a file\n",
        b"\xffstdin",
        b"\x00\xff",
        b"\x00\xff",
        b"--looks-like-an-option",
        "grün".encode(),
    ]


def test_propose_passes_key_wait_and_expected_index(node: FakeNode, ctl: Ctl) -> None:
    accept_all(node)
    ctl("propose", "x", "--key", "k", "--wait", "committed", "--expect-index", "9", "--no-forward")
    sent = node.requests[0]
    assert sent.propose.key == "k"
    assert sent.propose.wait == ProposeRequest.WAIT_COMMITTED
    assert sent.propose.expect_index == 9
    assert sent.no_forward


def test_propose_many_tells_the_sum(node: FakeNode, ctl: Ctl) -> None:
    accept_all(node)
    ran = ctl("propose", "--count", "3", "item {n}", "--key", "k")
    assert ran.code == 0
    assert ran.out.startswith("3 ok, 0 not applied, 0 unknown, ")
    assert proposed(node) == [b"item 1", b"item 2", b"item 3"]
    assert [r.propose.key for r in node.requests] == ["k/1", "k/2", "k/3"]


def test_propose_lines_of_standard_input(node: FakeNode, ctl: Ctl) -> None:
    accept_all(node)
    ran = ctl("propose", "--stdin-lines", "-o", "ndjson", stdin=b"one\n\nthree")
    assert proposed(node) == [b"one", b"", b"three"]
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["position"] for line in lines] == [0, 1, 2]
    assert [line["outcome"] for line in lines] == ["applied"] * 3
    data = ctl("propose", "--stdin-lines", "--json", stdin=b"a\nb\n").data
    assert data["ok"] == 2
    assert len(data["results"]) == 2


def test_propose_many_with_failures_exits_by_the_gravest(node: FakeNode, ctl: Ctl) -> None:
    def answer(request: Request) -> Response:
        if request.propose.data == b"2":
            return Response(error=Error(code="OVERLOADED", message="full", outcome="NOT_APPLIED"))
        if request.propose.data == b"3":
            lost = Error(code="LEADERSHIP_LOST_UNKNOWN", message="leader lost", outcome="UNKNOWN")
            return Response(error=lost)
        return Response(propose=ProposeReply(index=5, term=7, outcome="APPLIED"))

    node.answer("propose", answer)
    ran = ctl("propose", "1", "2", "3", "4", "--json")
    assert ran.code == 6
    envelope = ran.json
    assert envelope["ok"] is False
    assert envelope["error"]["outcome"] == "unknown"
    assert (envelope["data"]["ok"], envelope["data"]["unknown"]) == (2, 1)
    assert ctl("propose", "1", "2").code == 8


ENTRIES = [
    LogEntry(index=2, term=1, type="noop"),
    LogEntry(index=3, term=1, type="normal", data=b"hello", node=1, sequence=1),
    LogEntry(index=4, term=1, type="normal", data=b"\xff\x00", key="k"),
    LogEntry(index=5, term=2, type="conf", description="voters 1,2,3 -> 1,3"),
    LogEntry(index=6, term=2, type="normal", data=b"\x1b[2Jevil\n"),
]


def serve_log(node: FakeNode) -> None:
    pages = [
        LogReadReply(entries=ENTRIES[:2], first_index=2, last_index=6, commit=6, applied=6),
        LogReadReply(entries=ENTRIES[2:], first_index=2, last_index=6, commit=6, applied=6),
    ]
    node.answer("log_read", lambda request: [Response(log_read=page) for page in pages])


def test_log_show_for_people_escapes_what_it_prints(node: FakeNode, ctl: Ctl) -> None:
    serve_log(node)
    ran = ctl("log", "show")
    assert ran.code == 0
    assert ran.out == (
        "     2 t1   noop\n"
        "     3 t1   normal  5B hello\n"
        "     4 t1   normal  2B 0xff00 key=k\n"
        "     5 t2   conf    voters 1,2,3 -> 1,3\n"
        "     6 t2   normal  9B \\x1b[2Jevil\\n\n"
    )
    assert node.requests[0].log_read.applied


def test_log_show_as_json(node: FakeNode, ctl: Ctl) -> None:
    serve_log(node)
    data = ctl("log", "show", "--json").data
    assert [e["index"] for e in data["entries"]] == [2, 3, 4, 5, 6]
    assert data["entries"][1]["data"] == "hello"
    assert "data" not in data["entries"][2]
    assert base64.b64decode(data["entries"][2]["data_b64"]) == b"\xff\x00"
    assert (data["first_index"], data["applied"]) == (2, 6)
    lines = ctl("log", "show", "-o", "ndjson").out.splitlines()
    assert [json.loads(line)["index"] for line in lines] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "low", "high"), [("10..20", 10, 21), ("10..", 10, 0), ("..20", 0, 21), ("10", 10, 11)]
)
def test_log_ranges(node: FakeNode, ctl: Ctl, text: str, low: int, high: int) -> None:
    serve_log(node)
    assert ctl("log", "show", text, "--type", "normal,conf", "--last", "5").code == 0
    sent = node.requests[0].log_read
    assert (sent.from_index, sent.to_index, sent.last) == (low, high, 5)
    assert list(sent.types) == ["normal", "conf"]


def test_log_that_is_compacted_is_exit_4(node: FakeNode, ctl: Ctl) -> None:
    error = Error(
        code="COMPACTED", message="entry 1 is gone; the first is 900", outcome="NOT_APPLIED"
    )
    node.answer("log_read", error)
    ran = ctl("log", "show", "1..5")
    assert ran.code == 4
    assert "900" in ran.err


def test_log_tail_follows_line_by_line(node: FakeNode, ctl: Ctl) -> None:
    serve_log(node)
    ran = ctl("log", "tail", "-f", "-n", "5", "--json")
    assert node.requests[0].log_read.follow
    assert node.requests[0].log_read.last == 5
    assert [json.loads(line)["index"] for line in ran.out.splitlines()] == [2, 3, 4, 5, 6]


def test_log_tail_goes_on_when_its_connection_dies(node: FakeNode, ctl: Ctl) -> None:
    def answer(request: Request) -> list[Response] | None:
        if request.log_read.from_index == 0:
            page = LogReadReply(entries=ENTRIES[:2])
            return [Response(log_read=page, more=True)]
        return [Response(log_read=LogReadReply(entries=ENTRIES[2:]))]

    node.answer("log_read", answer)
    ran = ctl("log", "tail", "-f", "--json")
    assert ran.code == 0
    assert [json.loads(line)["index"] for line in ran.out.splitlines()] == [2, 3, 4, 5, 6]
    assert node.requests[1].log_read.from_index == 4


def test_log_tail_from_now_on(node: FakeNode, ctl: Ctl) -> None:
    serve_log(node)
    node.answer("log_stat", Response(log_stat=LogStatReply(applied=6)))
    ctl("log", "tail", "-f", "-n", "0")
    assert node.requests[1].log_read.from_index == 7


def test_log_digest_depends_on_what_was_applied_alone(node: FakeNode, ctl: Ctl) -> None:
    serve_log(node)
    one = ctl("log", "digest", "--json").data
    assert (one["first"], one["last"], one["entries"]) == (2, 6, 5)
    page = LogReadReply(entries=ENTRIES)
    for entry in page.entries:
        entry.key, entry.sequence = "", 77
    node.answer("log_read", Response(log_read=page))
    assert ctl("log", "digest", "--json").data == one
    page.entries[1].data = b"other"
    node.answer("log_read", Response(log_read=page))
    assert ctl("log", "digest").out.split()[0] != one["sha256"]


def test_log_stat(node: FakeNode, ctl: Ctl) -> None:
    stat = LogStatReply(first_index=2, last_index=6, commit=6, applied=6, bytes=2048)
    stat.counts["normal"] = 3
    node.answer("log_stat", Response(log_stat=stat))
    assert "2.0KiB" in ctl("log", "stat").out
    assert ctl("log", "stat", "--json").data["counts"] == {"normal": 3}


def test_outcome_and_read_index(node: FakeNode, ctl: Ctl) -> None:
    node.answer("outcome", Response(outcome=OutcomeReply(state="applied", index=9, term=2)))
    assert ctl("outcome", "k").out == "applied index=9 term=2\n"
    assert ctl("outcome", "k", "--json").data["key"] == "k"
    reply = ReadIndexReply(index=7, mode="readindex", took_us=800)
    node.answer("read_index", Response(read_index=reply))
    assert ctl("read-index").out == "index=7 mode=readindex took=0.8ms\n"


def test_campaign_says_why_not(node: FakeNode, ctl: Ctl) -> None:
    won = CampaignReply(won=True, leader=2, term=8, took_ms=41)
    node.answer("campaign", Response(campaign=won))
    assert ctl("campaign").out == "node 2 became leader at term 8 in 41ms\n"
    lost = CampaignReply(leader=1, term=8, reason="rejected by 1, 3")
    node.answer("campaign", Response(campaign=lost))
    ran = ctl("campaign")
    assert ran.code == 1
    assert "rejected by 1, 3" in ran.err


def test_transfer_leader(node: FakeNode, ctl: Ctl) -> None:
    reply = TransferLeaderReply(from_id=1, to_id=3, term=8, took_ms=12)
    node.answer("transfer_leader", Response(transfer_leader=reply))
    assert ctl("transfer-leader", "3").out == "leader 1 -> 3, term 8, in 12ms\n"
    assert node.requests[0].transfer_leader.id == 3
    assert ctl("step-down", "--json").data["to_id"] == 3
    assert node.requests[1].transfer_leader.id == 0


def kv_answer(node: FakeNode, result: KvResult) -> None:
    reply = ProposeReply(index=9, term=7, outcome="APPLIED", result=result.SerializeToString())
    node.answer("propose", Response(propose=reply))


def test_kv_put_del_cas(node: FakeNode, ctl: Ctl) -> None:
    kv_answer(node, KvResult(revision=5, succeeded=True, deleted=2))
    assert ctl("kv", "put", "k", "v").out == "ok revision=5 index=9\n"
    assert ctl("kv", "put", "k", "-", stdin=b"\x00").code == 0
    assert ctl("kv", "del", "k", "--prefix").out == "deleted 2, revision 5\n"
    assert ctl("kv", "cas", "k", "new", "--expect", "old", "--json").data["revision"] == 5
    assert ctl("kv", "cas", "k", "--delete", "--rev", "4").code == 0
    sent = [KvCommand.FromString(r.propose.data) for r in node.requests]
    assert (sent[0].put.key, sent[0].put.value) == (b"k", b"v")
    assert sent[1].put.value == b"\x00"
    assert sent[2].delete_range.prefix
    assert (sent[3].cas.value, sent[3].cas.put) == (b"old", b"new")
    assert (sent[4].cas.mod_revision, sent[4].cas.delete) == (4, True)


def test_kv_cas_that_does_not_hold_is_exit_4(node: FakeNode, ctl: Ctl) -> None:
    current = KeyValue(key=b"k", value=b"other", mod_revision=3)
    kv_answer(node, KvResult(revision=5, current=current))
    ran = ctl("kv", "cas", "k", "new", "--absent")
    assert ran.code == 4
    assert "'other'" in ran.err


def test_kv_get_and_range(node: FakeNode, ctl: Ctl) -> None:
    pairs = [KeyValue(key=b"a", value=b"1\n", mod_revision=2), KeyValue(key=b"b", value=b"2")]

    def answer(request: Request) -> Response:
        asked = KvQuery.FromString(request.query.data)
        if asked.HasField("range"):
            first = not asked.range.after
            page = pairs[:1] if first else pairs[1:]
            result = KvQueryResult(revision=3, kvs=page, more=first, next=b"a" if first else b"")
        else:
            found = [p for p in pairs if p.key == asked.get.key]
            result = KvQueryResult(revision=3, kvs=found)
        reply = QueryReply(result=result.SerializeToString(), index=41, stale_ms=120)
        return Response(query=reply)

    node.answer("query", answer)
    assert ctl("kv", "get", "a").out == "1\n"
    data = ctl("kv", "get", "a", "--consistency", "stale", "--max-stale", "2s", "--json").data
    assert data["kv"]["value"] == "1\n"
    assert (data["index"], data["stale_ms"]) == (41, 120)
    assert "up to 120ms old" in ctl("kv", "get", "a", "--consistency", "stale").err
    assert ctl("kv", "get", "a", "--max-stale", "2s").code == 2
    assert node.requests[1].query.consistency == QueryRequest.STALE
    assert node.requests[1].query.max_stale_ms == 2000
    assert ctl("kv", "get", "zz").code == 4
    assert [kv["key"] for kv in ctl("kv", "range", "--json").data["kvs"]] == ["a", "b"]
    assert ctl("kv", "range", "--keys-only").out == "a\nb\n"


def test_kv_watch(node: FakeNode, ctl: Ctl) -> None:
    events = KvWatchEvents(
        revision=4,
        events=[
            KvWatchEvent(type=KvWatchEvent.PUT, kv=KeyValue(key=b"a", value=b"1", mod_revision=3)),
            KvWatchEvent(type=KvWatchEvent.DELETE, kv=KeyValue(key=b"b", mod_revision=4)),
        ],
    )
    node.answer("watch", Response(watch=WatchReply(data=events.SerializeToString(), index=9)))
    assert ctl("kv", "watch").out == "     3 put a 1\n     4 del b\n"
    lines = [json.loads(line) for line in ctl("kv", "watch", "a", "--json").out.splitlines()]
    assert [line["type"] for line in lines] == ["put", "delete"]
    assert [line["revision"] for line in lines] == [3, 4]


def test_kv_count_goes_on_where_an_answer_ends(node: FakeNode, ctl: Ctl) -> None:
    def answer(request: Request) -> Response:
        asked = KvQuery.FromString(request.query.data).range
        assert asked.count_only
        first = not asked.after
        result = KvQueryResult(count=100 if first else 7, more=first, next=b"k" if first else b"")
        return Response(query=QueryReply(result=result.SerializeToString()))

    node.answer("query", answer)
    assert ctl("kv", "range", "--count-only").out == "107\n"


@pytest.mark.parametrize("line", ["propose x", "kv put k v", "kv del k"])
def test_a_key_that_is_too_long_is_refused_before_anything_is_sent(
    node: FakeNode, ctl: Ctl, line: str
) -> None:
    ran = ctl(*line.split(), "--key", "k" * 257, "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "USAGE"
    assert "257 bytes" in ran.json["error"]["message"]
    assert node.requests == []
