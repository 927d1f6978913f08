"""raftwire.frame: any split gives the same frames, and no length can make it allocate."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftwire.errors import FrameError, LocalError, RemoteError
from raftwire.frame import FrameDecoder, encode_frame, encode_frames

LIMIT = 64

payloads = st.lists(st.binary(min_size=1, max_size=LIMIT), max_size=12)
cuts = st.lists(st.integers(0, 12 * (LIMIT + 4)), max_size=30)


def feed_in_pieces(decoder: FrameDecoder, data: bytes, at: list[int]) -> list[bytes]:
    frames: list[bytes] = []
    edges = sorted({0, len(data), *(cut for cut in at if cut < len(data))})
    for low, high in pairwise(edges):
        frames += decoder.feed(data[low:high])
    return frames


def test_a_frame_is_its_length_and_its_bytes() -> None:
    assert encode_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert encode_frames([b"a", b"bc"]) == b"\x00\x00\x00\x01a\x00\x00\x00\x02bc"


def test_an_empty_frame_cannot_be_encoded() -> None:
    with pytest.raises(LocalError, match="0 bytes"):
        encode_frame(b"")
    with pytest.raises(LocalError, match="0 bytes"):
        encode_frames([b"a", b""])


@given(payloads, cuts)
def test_any_split_gives_the_same_frames(frames: list[bytes], at: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    assert feed_in_pieces(decoder, encode_frames(frames), at) == frames
    assert decoder.pending_bytes == 0
    decoder.eof()


@given(payloads)
def test_byte_by_byte(frames: list[bytes]) -> None:
    decoder = FrameDecoder(LIMIT)
    stream = encode_frames(frames)
    assert feed_in_pieces(decoder, stream, list(range(len(stream)))) == frames


@given(st.binary(max_size=400), cuts)
def test_garbage_gives_frames_within_the_limit_or_a_frame_error(data: bytes, at: list[int]) -> None:
    whole, pieces = FrameDecoder(LIMIT), FrameDecoder(LIMIT)
    outcomes: list[list[bytes] | None] = []
    for decoder, where in ((whole, []), (pieces, at)):
        try:
            frames = feed_in_pieces(decoder, data, where)
        except FrameError:
            outcomes.append(None)
        else:
            assert all(0 < len(frame) <= LIMIT for frame in frames)
            assert encode_frames(frames) == data[: len(data) - decoder.pending_bytes]
            outcomes.append(frames)
        assert decoder.pending_bytes < LIMIT + 4
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("length", [0, LIMIT + 1, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_bad_length_is_refused_with_its_last_byte(length: int, step: int) -> None:
    decoder = FrameDecoder(LIMIT)
    header = pack(">I", length)
    for at in range(0, 4 - step, step):
        assert decoder.feed(header[at : at + step]) == []
    with pytest.raises(FrameError, match=r"zero bytes|the limit is 64"):
        decoder.feed(header[4 - step :])


def test_a_failed_decoder_stays_failed() -> None:
    decoder = FrameDecoder(LIMIT)
    with pytest.raises(FrameError):
        decoder.feed(b"\xff\xff\xff\xff")
    with pytest.raises(FrameError, match="4294967295") as caught:
        decoder.feed(encode_frame(b"fine"))
    assert caught.value.oversized
    with pytest.raises(FrameError) as caught:
        FrameDecoder(LIMIT).feed(bytes(4))
    assert not caught.value.oversized


def test_the_limit_itself_is_allowed() -> None:
    assert FrameDecoder(LIMIT).feed(encode_frame(b"x" * LIMIT)) == [b"x" * LIMIT]


def test_the_limit_may_be_raised_after_a_hello() -> None:
    decoder = FrameDecoder(8)
    assert decoder.feed(encode_frame(b"hello")) == [b"hello"]
    decoder.bytes_max = LIMIT
    assert decoder.feed(encode_frame(b"x" * LIMIT)) == [b"x" * LIMIT]


def test_an_end_inside_a_frame_is_an_error() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(b"\x00\x00\x00\x05ab")
    with pytest.raises(FrameError, match="inside a frame"):
        decoder.eof()


def test_frames_do_not_alias_the_piece_they_came_in() -> None:
    piece = bytearray(encode_frame(b"abc"))
    (frame,) = FrameDecoder(LIMIT).feed(piece)
    piece[4:] = b"xyz"
    assert frame == b"abc"


def test_an_announced_length_reserves_nothing() -> None:
    decoder = FrameDecoder(256 * 1024 * 1024)
    tracemalloc.start()
    try:
        decoder.feed(pack(">I", 200 * 1024 * 1024) + b"x" * 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


def test_memory_stays_below_four_times_the_limit() -> None:
    limit = 1024 * 1024
    stream = encode_frame(b"x" * limit) * 3
    decoder = FrameDecoder(limit)
    tracemalloc.start()
    try:
        for at in range(0, len(stream), 65_536):
            decoder.feed(stream[at : at + 65_536])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * limit


@settings(max_examples=20)
@given(st.integers(1, 2000), st.integers(1, 5000))
def test_many_small_frames_in_uneven_pieces(count: int, piece: int) -> None:
    frames = [b"%d" % n for n in range(count)]
    stream = encode_frames(frames)
    assert feed_in_pieces(FrameDecoder(LIMIT), stream, list(range(0, len(stream), piece))) == frames


def test_a_frame_error_is_the_other_sides_fault() -> None:
    assert issubclass(FrameError, RemoteError)
    assert not issubclass(LocalError, RemoteError)


@pytest.mark.parametrize("limit", [0, -1, 2**32])
def test_an_impossible_limit_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="bytes_max"):
        FrameDecoder(limit)


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=12), st.lists(st.integers(1, 9000)))
def test_pieces_of_any_size_come_back_as_the_frames_they_were(
    sizes: list[int], cut_sizes: list[int]
) -> None:
    frames = [bytes((n % 251,)) * size for n, size in enumerate(sizes)]
    stream = encode_frames(frames)
    at, edge = [], 0
    for size in cut_sizes:
        edge += size
        at.append(edge)
    assert feed_in_pieces(FrameDecoder(10_000), stream, at) == frames
