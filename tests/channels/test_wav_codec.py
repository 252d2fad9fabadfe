from __future__ import annotations

import io
import math
import struct
import wave
from typing import Any

import pytest
from channels.sounds import TONE_16K, header
from hypothesis import given, settings, strategies as st

from kernl_rt._audio import g711
from kernl_rt.channels.wav import _codec
from kernl_rt.channels.wav._codec import WavLayout, decode, parse, write_header
from kernl_rt.exceptions import AudioFileError


def read(data: bytes) -> WavLayout:
    return parse(lambda offset, count: data[offset : offset + count], len(data))


def samples(data: bytes) -> list[int]:
    layout = read(data)
    sound = decode(layout, data[layout.data_offset : layout.data_offset + layout.data_size])
    return list(struct.unpack(f"<{len(sound) // 2}h", sound))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_what_the_standard_library_writes(rate: int, channels: int, width: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(b"\x81" * (width * channels * 7))
    layout = read(file.getvalue())
    assert (layout.rate, layout.channels, layout.frame_size) == (rate, channels, width * channels)
    assert layout.data_size == 7 * width * channels
    assert layout.duration == 7 / rate
    value = 0x0100 if width == 1 else -0x7E7F
    assert samples(file.getvalue()) == [value] * 7


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("tag", "bits", "data", "expected"),
    [
        (1, 8, bytes([0, 128, 255]), [-32768, 0, 32512]),
        (1, 16, struct.pack("<3h", -3, 0, 3), [-3, 0, 3]),
        (1, 24, b"\xff\x01\x00\xff\xfe\xff", [1, -2]),
        (1, 32, struct.pack("<2i", 1 << 20, -(1 << 20)), [16, -16]),
        (3, 32, struct.pack("<3f", 0.5, math.nan, -2), [16384, 0, -32768]),
        (6, 8, b"\xd5\x2a", list(struct.unpack("<2h", g711.decode(b"\xd5\x2a", "g711_alaw")))),
        (7, 8, b"\xff\x00", [0, -32124]),
    ],
)
def test_every_kind_plain_and_extensible(
    tag: int, bits: int, data: bytes, expected: list[int], extensible: bool
) -> None:
    layout: dict[str, Any] = {"tag": 0xFFFE, "subformat": tag} if extensible else {"tag": tag}
    assert samples(header(len(data), bits=bits, **layout) + data) == expected


def test_stereo_is_mixed_down() -> None:
    data = struct.pack("<4h", 100, 200, -32768, 32767)
    assert samples(header(8, channels=2) + data) == [150, -1]


def test_other_chunks_are_skipped_also_odd_and_large_ones() -> None:
    plain = header(4) + b"\1\0\2\0"
    extra = b"LIST" + struct.pack("<I", 5) + b"INFOx\0" + b"junk" + struct.pack("<I", 100_000) + bytes(100_000)
    assert samples(plain[:12] + extra + plain[12:] + b"LIST\4\0\0\0abcd") == [1, 2]


def test_a_partial_last_frame_is_dropped_and_an_unknown_size_reaches_to_the_end() -> None:
    assert samples(header(5) + b"\1\0\2\0\3") == [1, 2]
    assert samples(header(0xFFFF_FFFF - 60)[:-4] + b"\xff\xff\xff\xff" + b"\1\0\2\0\3\0") == [1, 2, 3]


GOOD = header(100) + bytes(100)
BROKEN: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"RI", "not a WAV"),
    (b"hello, this is text and no sound at all", "not a WAV"),
    (b"RIFF\0\0\0\0AVI " + bytes(100), "not a WAV"),
    (b"RIFX" + GOOD[4:], "big-endian"),
    (b"RF64" + GOOD[4:], "RF64"),
    (b"OggS" + GOOD[4:], "Ogg"),
    (b"fLaC" + GOOD[4:], "FLAC"),
    (b"ID3\x04" + GOOD[4:], "MP3"),
    (b"FORM" + GOOD[4:], "AIFF"),
    (GOOD[:12], "without a format chunk: it is truncated"),
    (GOOD[:30], "format chunk is truncated"),
    (GOOD[:36], "without a data chunk"),
    (GOOD[:143], "truncated: 99 of 100 bytes"),
    (header(0), "no sound"),
    (header(1) + b"\0", "no sound"),
    (GOOD[:12] + b"data\4\0\0\0\0\0\0\0" + GOOD[12:], "before its format"),
    (header(4, channels=0) + bytes(4), "0 channels"),
    (header(12, channels=6) + bytes(12), "6 channels"),
    (header(4, rate=0) + bytes(4), "0 samples per second"),
    (header(4, rate=1_000_000) + bytes(4), "1000000 samples"),
    (header(4, bits=12) + bytes(4), "PCM of 12 bits"),
    (header(4, bits=0) + bytes(4), "PCM of 0 bits"),
    (header(8, bits=64, tag=3) + bytes(8), "float of 64 bits"),
    (header(4, tag=2) + bytes(4), "ADPCM"),
    (header(4, tag=0x55) + bytes(4), "MP3"),
    (header(4, tag=0x1234) + bytes(4), "0x1234"),
    (header(4, tag=0xFFFE) + bytes(4), "extensible"),
    (header(4, tag=0xFFFE, subformat=1).replace(b"\x9b\x71", b"\x9b\x72") + bytes(4), "its maker's own"),
    (GOOD[:32] + b"\3\0" + GOOD[34:], "contradicts itself"),
    (GOOD[:12] + (b"junk" + bytes(4)) * 1_001 + GOOD[12:], "1000 chunks"),
]


@pytest.mark.parametrize(("data", "complaint"), BROKEN, ids=[complaint for _, complaint in BROKEN])
def test_broken_files_say_what_is_wrong(data: bytes, complaint: str) -> None:
    with pytest.raises(AudioFileError, match=complaint):
        read(data)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    bits, tag = draw(st.sampled_from([(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (8, 7)]))
    subformat = draw(st.sampled_from([None, tag]))
    data = bytearray(
        header(
            48,
            bits=bits,
            channels=draw(st.integers(1, 2)),
            tag=tag if subformat is None else 0xFFFE,
            subformat=subformat,
        )
        + draw(st.binary(min_size=48, max_size=48))
    )
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data[at:at] = draw(st.binary(max_size=20))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=200, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=100)))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    try:
        layout = read(data)
    except AudioFileError:
        return
    assert 0 < layout.data_size <= len(data) - layout.data_offset
    assert layout.data_size % layout.frame_size == 0
    sound = decode(layout, data[layout.data_offset : layout.data_offset + layout.data_size])
    assert len(sound) == layout.data_size // layout.frame_size * 2


def test_the_header_that_is_written() -> None:
    assert len(write_header(24_000, 0)) == _codec.HEADER_SIZE
    file = io.BytesIO(write_header(16_000, len(TONE_16K)) + TONE_16K)
    with wave.open(file) as reader:
        assert reader.getparams()[:4] == (1, 2, 16_000, 16_000)
        assert reader.readframes(20_000) == TONE_16K
    struct.unpack_from("<I", write_header(24_000, _codec.MAX_DATA_SIZE), 4)
    with pytest.raises(struct.error):
        write_header(24_000, _codec.MAX_DATA_SIZE + 16)
