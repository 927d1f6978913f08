"""Text that is safe and aligned, JSON that is whole."""

from __future__ import annotations

import io
import json

import pytest

from raftctl.errors import CtlError
from raftctl.jsonable import to_dict
from raftctl.output import (
    Meta,
    Output,
    Styled,
    format_bytes,
    format_ids,
    format_ms,
    printable,
)
from raftwire.proto.admin_pb2 import (
    Configuration,
    LogEntry,
    LogStatReply,
    ProposeReply,
    StatusReply,
)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("grün 漢".encode(), "grün 漢"),
        (b"\x1b[31m\x07\n", "\\x1b[31m\\x07\\n"),
        ("\u202eevil".encode(), "\\u202eevil"),
        (b"\xff\x00", "0xff00"),
        (b"", ""),
    ],
)
def test_what_came_from_anywhere_is_shown_on_one_line(data: bytes, shown: str) -> None:
    assert printable(data) == shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (3 << 40, "3.0TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.84, "0.8ms"), (240, "240ms"), (3200, "3.2s"), (310_000, "5m10s"), (7_500_000, "2h5m"),
     (260_000_000, "3d0h")],
)  # fmt: skip
def test_times(ms: float, text: str) -> None:
    assert format_ms(ms) == text


def test_ids_are_sorted() -> None:
    assert format_ids([3, 1, 2]) == "1,2,3"
    assert format_ids([]) == "-"


def output(format_: str = "table", **more: str) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(format_, stdout=out, stderr=err, color=more.get("color", "auto")), out, err


def test_tables_are_aligned_without_trailing_blanks() -> None:
    shown, _, _ = output()
    lines = shown.format_table(["ID", "NAME", "LAG"], [["1", "short", "5"], ["22", "longer", "-"]])
    assert lines == ["ID  NAME    LAG", " 1  short     5", "22  longer    -"]


def test_styles_do_not_change_the_alignment() -> None:
    shown, _, _ = output(color="always")
    plain, _, _ = output(color="never")
    rows = [[Styled("1", "bold"), Styled("up", "green"), "x"]]
    import re

    stripped = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.format_table("ABC", rows)]
    assert stripped == plain.format_table("ABC", rows)


def test_no_color_and_pipes_have_no_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert Output("table", stdout=Terminal()).color
    assert not Output("plain", stdout=Terminal()).color
    assert not Output("table", stdout=io.StringIO()).color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Output("table", stdout=Terminal()).color
    assert Output("table", stdout=Terminal(), color="always").color


def test_one_object_in_json_also_for_errors() -> None:
    shown, out, err = output("json")
    shown.result(Meta(1, 2, 7, "ab"), {"x": 1})
    envelope = json.loads(out.getvalue())
    assert envelope["as_of"].endswith("Z")
    del envelope["as_of"]
    assert envelope == {
        "schema": "raftctl/v1", "ok": True, "node": 1, "leader": 2, "term": 7,
        "cluster_id": "ab", "data": {"x": 1},
    }  # fmt: skip
    shown, out, err = output("json")
    shown.error(CtlError("NO_QUORUM", "1 of 3"))
    failed = json.loads(out.getvalue())
    assert failed["ok"] is False
    assert failed["error"]["outcome"] == "not_applied"
    assert failed["error"]["hint"]
    assert err.getvalue() == ""


def test_every_field_is_there_as_plain_data() -> None:
    status = to_dict(StatusReply(config=Configuration(voters=[2, 1])))
    assert set(status) == {field.name for field in StatusReply.DESCRIPTOR.fields}
    assert status["config"]["voters"] == [2, 1]
    assert status["snapshot"] is None
    assert status["term"] == 0
    assert status["counters"] == {}
    assert to_dict(ProposeReply(outcome="APPLIED"))["outcome"] == "applied"
    assert to_dict(LogStatReply(counts={"normal": 2}))["counts"] == {"normal": 2}


def test_numbers_stay_numbers_and_bytes_become_base64() -> None:
    entry = to_dict(LogEntry(index=2**53 - 1, data=b"\xff"))
    assert entry["index"] == 9007199254740991
    assert entry["data_b64"] == "/w=="
    assert "data" not in entry
    assert to_dict(LogEntry(data=b"hi"))["data"] == "hi"
