"""Frames are cut out of the stream whole, however it arrives, and what is no plain message goes to the library."""

from __future__ import annotations

import struct

from hypothesis import given, strategies as st

from kernl_rt._transport._frames import Slicer

LIMIT = 70_000
MASK = b"\1\2\3\4"


def frame(first: int, payload: bytes, *, masked: bool = False) -> bytes:
    size, bit = len(payload), 128 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65_536:
        head = bytes([first, bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack("!Q", size)
    return head + (MASK if masked else b"") + payload


payloads = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, LIMIT]).map(lambda size: b"x" * size),
)
first_bytes = st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A, 0xC1, 0x88]), st.integers(0, 255))


@given(st.lists(st.tuples(first_bytes, payloads), max_size=8), st.lists(st.integers(1, 40_000), max_size=12))
def test_any_cutting_gives_the_same_frames(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(frame(*each) for each in frames)
    slicer = Slicer(LIMIT)
    found: list[tuple[int | None, bytes]] = []
    at = 0
    for size in (*cuts, len(wire)):
        found += slicer.feed(wire[at : at + size])
        at += size
    whole = {0x81: 1, 0x82: 2}
    assert found == [(whole[f], p) if f in whole else (None, frame(f, p)) for f, p in frames]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_noise_is_cut_alike_in_any_pieces(noise: bytes, size: int) -> None:
    slicer = Slicer(100)
    pieces = [each for at in range(0, len(noise), size) for each in slicer.feed(noise[at : at + size])]
    whole = Slicer(100).feed(noise)
    assert [each for each in pieces if each[0] is not None] == [each for each in whole if each[0] is not None]


def test_what_is_over_the_limit_is_not_waited_for() -> None:
    slicer = Slicer(1_000)
    head = frame(0x82, b"x" * 1_001)[:4]
    assert slicer.feed(frame(0x81, b"hi") + head) == [(1, b"hi"), (None, head)]
    assert slicer.feed(b"more") == [(None, b"more")]


def test_a_mask_is_for_the_library_to_judge() -> None:
    masked = frame(0x81, b"hi", masked=True)
    assert Slicer(1_000).feed(masked) == [(None, masked)]


def test_a_long_frame_in_many_pieces_is_copied_once() -> None:
    slicer = Slicer(4 * 2**20)
    wire = frame(0x82, bytes(4 * 2**20))
    pieces = [slicer.feed(wire[at : at + 1_000]) for at in range(0, len(wire), 1_000)]
    assert [len(part) for piece in pieces for _, part in piece] == [4 * 2**20]
    assert all(piece == [] for piece in pieces[:-1])
