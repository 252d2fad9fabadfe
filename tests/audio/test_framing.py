from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kernl_rt._audio.framing import Framer
from kernl_rt.exceptions import MisconfiguredError


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20).map(lambda half: 2 * half))
def test_frames_are_the_stream_cut_up(chunks: list[bytes], size: int) -> None:
    framer = Framer(size, b"\xab\xcd")
    frames = []
    for chunk in chunks:
        frames += framer.push(chunk)
        assert framer.pending < size
    whole = b"".join(chunks)
    assert all(len(frame) == size for frame in frames)
    assert b"".join(frames) + framer.flush() == whole + (b"\xab\xcd" * size)[len(whole) % 2 :][: -len(whole) % size]
    assert framer.pending == 0
    assert framer.flush() == b""


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_joined_frames_are_the_same(chunks: list[bytes], size: int) -> None:
    one, other = Framer(size), Framer(size)
    for chunk in chunks:
        assert b"".join(one.push(chunk)) == other.push_joined(memoryview(chunk))


def test_flush_completes_a_cut_sample_and_clear_forgets() -> None:
    framer = Framer(4, b"\x01\x02")
    assert framer.push(b"\x0a\x0b\x0c\x0d\x0e") == [b"\x0a\x0b\x0c\x0d"]
    assert framer.flush() == b"\x0e\x02\x01\x02"
    framer.push(b"\x0a")
    framer.clear()
    assert framer.flush() == b""


@pytest.mark.parametrize(("size", "silence"), [(0, b"\0"), (-2, b"\0\0"), (3, b"\0\0"), (2, b"")])
def test_a_frame_is_whole_samples(size: int, silence: bytes) -> None:
    with pytest.raises(MisconfiguredError, match="multiple of the sample width"):
        Framer(size, silence)
