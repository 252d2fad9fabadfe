"""All 65,536 inputs, against the decision values of ITU-T G.711 and against audioop."""

from __future__ import annotations

import struct
import warnings
from bisect import bisect_right

import pytest

from kernl_rt._audio import g711
from kernl_rt.exceptions import MisconfiguredError

ALL = struct.pack("<65536h", *range(-32768, 32768))
CODES = bytes(range(256))


def ulaw_by_the_standard() -> bytes:
    """Table 2/G.711: from 0 on, 1 step of 1, 15 of 2, then segments of 16 steps of 4, 8, … 256 (14-bit units)."""
    values = [0, 1]
    for segment in range(8):
        for _ in range(15 if segment == 0 else 16):
            values.append(values[-1] + (2 << segment))
    codes = bytearray()
    for sample in range(-32768, 32768):
        number = sample >> 2
        step = min(bisect_right(values, abs(number)) - 1, 127)
        codes.append((0x7F if number < 0 else 0xFF) - step)
    return bytes(codes)


def alaw_by_the_standard() -> bytes:
    """Table 1/G.711: 32 steps of 2, then segments of 16 steps of 4, 8, … 128 (of 4,096); even bits inverted."""
    values = [0]
    for segment in (0, 0, 1, 2, 3, 4, 5, 6):
        for _ in range(16):
            values.append(values[-1] + (2 << segment))
    codes = bytearray()
    for sample in range(-32768, 32768):
        number = sample >> 3
        magnitude = number if number >= 0 else -number - 1
        step = bisect_right(values, magnitude) - 1
        codes.append((step | (0x80 if number >= 0 else 0)) ^ 0x55)
    return bytes(codes)


def test_every_sample_as_the_standard_says() -> None:
    assert g711.encode(ALL, "g711_ulaw") == ulaw_by_the_standard()
    assert g711.encode(ALL, "g711_alaw") == alaw_by_the_standard()


def test_every_sample_and_code_as_audioop_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="audioop, the witness, is gone in Python 3.13")
    assert g711.encode(ALL, "g711_ulaw") == audioop.lin2ulaw(ALL, 2)
    assert g711.encode(ALL, "g711_alaw") == audioop.lin2alaw(ALL, 2)
    assert g711.decode(CODES, "g711_ulaw") == audioop.ulaw2lin(CODES, 2)
    assert g711.decode(CODES, "g711_alaw") == audioop.alaw2lin(CODES, 2)


@pytest.mark.parametrize("law", ["g711_ulaw", "g711_alaw"])
def test_a_code_survives_the_round_trip(law: g711.Law) -> None:
    again = g711.encode(g711.decode(CODES, law), law)
    # Mu-law has two zeros; 0x7F is the negative one.
    expected = CODES.replace(b"\x7f", b"\xff") if law == "g711_ulaw" else CODES
    assert again == expected


@pytest.mark.parametrize("law", ["g711_ulaw", "g711_alaw"])
def test_the_error_stays_within_half_a_step(law: g711.Law) -> None:
    decoded = struct.unpack("<65536h", g711.decode(g711.encode(ALL, law), law))
    for sample, value in zip(range(-32768, 32768), decoded, strict=True):
        if abs(sample) < 32_100:
            assert abs(sample - value) <= abs(sample) / 32 + 8, sample


def test_known_values_and_silence() -> None:
    assert g711.decode(b"\xff\x00\x80", "g711_ulaw") == struct.pack("<3h", 0, -32124, 32124)
    assert g711.decode(b"\xd5\x2a\xaa", "g711_alaw") == struct.pack("<3h", 8, -32256, 32256)
    assert g711.encode(b"\0\0", "g711_ulaw") == b"\xff"
    assert g711.encode(b"\0\0", "g711_alaw") == b"\xd5"
    assert g711.encode(b"", "g711_alaw") == g711.decode(b"", "g711_ulaw") == b""


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(MisconfiguredError, match="1 bytes"):
        g711.encode(b"\0", "g711_ulaw")
