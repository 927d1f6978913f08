"""Forwarded proposals: what could stop every member when it is applied is never appended."""

from __future__ import annotations

import pytest

from raftd.validate import valid_forward
from raftwire.envelope import CONTROL, PROPOSAL, pack_origin
from raftwire.limits import KEY_BYTES_MAX
from raftwire.peer import ControlCommand
from raftwire.proto.peer_pb2 import SetClock

CLOCK = ControlCommand(set_clock=SetClock(unix_ms=1)).SerializeToString()
PLAIN = pack_origin(PROPOSAL, 2, 7, 1)
ORDER = pack_origin(CONTROL, 2, 7, 1)


@pytest.mark.parametrize(
    ("context", "data"),
    [
        (PLAIN, b""),
        (PLAIN, b"\xff" * 100),
        (pack_origin(PROPOSAL, 2, 7, 1, "key"), b"x"),
        (pack_origin(PROPOSAL, 2, 7, 1, "é" * (KEY_BYTES_MAX // 2)), b"x"),
        (ORDER, CLOCK),
    ],
)
def test_what_every_member_can_apply_is_taken(context: bytes, data: bytes) -> None:
    assert valid_forward(context, data, 2)


@pytest.mark.parametrize(
    ("context", "data"),
    [
        (b"", b"a leader's own entry is nobody else's to propose"),
        (PLAIN[:-1], b"x"),
        (pack_origin(PROPOSAL, 3, 7, 1), b"another member's"),
        (b"\x00" + PLAIN[1:], b"unknown kind"),
        (b"\x03" + PLAIN[1:], b"unknown kind"),
        (b"\x03" + PLAIN[1:] + b"key", b"unknown kind"),
        (PLAIN + b"\xff\xfe", b"a key that is not UTF-8"),
        (PLAIN + b"k" * (KEY_BYTES_MAX + 1), b"a key that is too long"),
        (ORDER + b"key", CLOCK),
        (ORDER, b""),
        (ORDER, b"\xff\xff\xff"),
        (ORDER, b"\xfa\x06\x00"),
    ],
)
def test_what_no_member_could_apply_is_not(context: bytes, data: bytes) -> None:
    assert not valid_forward(context, data, 2)
