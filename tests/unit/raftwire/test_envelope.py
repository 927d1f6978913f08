"""raftwire.envelope: what an entry's context says, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftwire.envelope import (
    CONTROL,
    ORIGIN_BYTES,
    PROPOSAL,
    Origin,
    check_key,
    pack_origin,
    split_origin,
    unpack_origin,
)
from raftwire.errors import LocalError, MessageError
from raftwire.limits import KEY_BYTES_MAX

u64 = st.integers(0, 2**64 - 1)


def test_the_bytes_are_part_of_the_format() -> None:
    packed = pack_origin(PROPOSAL, 1, 2, 3, "é")
    assert packed == b"\x01" + bytes(7) + b"\x01" + bytes(7) + b"\x02" + bytes(7) + b"\x03\xc3\xa9"


@given(u64, u64, u64, st.text(st.characters(codec="utf-8"), max_size=60))
def test_proposals_come_back(node: int, incarnation: int, sequence: int, key: str) -> None:
    packed = pack_origin(PROPOSAL, node, incarnation, sequence, key)
    assert unpack_origin(packed) == Origin(PROPOSAL, node, incarnation, sequence, key)


@given(u64, u64, u64)
def test_control_entries_come_back(node: int, incarnation: int, sequence: int) -> None:
    packed = pack_origin(CONTROL, node, incarnation, sequence)
    assert unpack_origin(packed) == Origin(CONTROL, node, incarnation, sequence)
    assert split_origin(packed + b"rest") == (Origin(CONTROL, node, incarnation, sequence), b"rest")


@given(st.binary(max_size=ORIGIN_BYTES + KEY_BYTES_MAX + 5))
def test_any_bytes_are_read_exactly_or_refused(context: bytes) -> None:
    try:
        origin = unpack_origin(context)
    except MessageError:
        return
    assert (pack_origin(*origin) if origin else b"") == context


@pytest.mark.parametrize(
    "context",
    [
        b"\x01",
        b"\x01" * (ORIGIN_BYTES - 1),
        b"\x03" + bytes(24),
        b"\x00" + bytes(24),
        b"\x02" + bytes(24) + b"key",
        b"\x01" + bytes(24) + b"\xff",
        b"\x01" + bytes(24) + b"x" * (KEY_BYTES_MAX + 1),
    ],
)
def test_malformed_contexts_are_refused(context: bytes) -> None:
    with pytest.raises(MessageError):
        unpack_origin(context)


def test_an_empty_context_is_a_leaders_own_entry() -> None:
    assert unpack_origin(b"") is None


def test_a_change_proposed_without_the_daemon_has_no_origin() -> None:
    assert split_origin(b"") == (None, b"")
    assert split_origin(b"theirs") == (None, b"theirs")


def test_keys_are_bounded_and_text() -> None:
    assert len(check_key("x" * KEY_BYTES_MAX)) == KEY_BYTES_MAX
    with pytest.raises(LocalError, match="limit is 256"):
        pack_origin(PROPOSAL, 1, 2, 3, "é" * (KEY_BYTES_MAX // 2 + 1))
    with pytest.raises(LocalError, match="not valid text"):
        check_key("\ud800")
    with pytest.raises(LocalError, match="only a proposal"):
        pack_origin(CONTROL, 1, 2, 3, "key")
