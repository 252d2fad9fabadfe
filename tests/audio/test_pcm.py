from __future__ import annotations

import math
import struct
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kernl_rt._audio import pcm
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_24K
from kernl_rt.exceptions import MisconfiguredError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop: Any = import_module("audioop") if find_spec("audioop") else None

witnessed = pytest.mark.skipif(audioop is None, reason="audioop, the witness, is gone in Python 3.13")
samples = st.lists(st.integers(-32768, 32767), max_size=200)


def packed(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


@given(samples)
def test_pack_undoes_unpack(values: list[int]) -> None:
    assert list(pcm.unpack(packed(values))) == values
    assert pcm.pack(pcm.unpack(packed(values))) == packed(values)


@pytest.mark.skipif(sys.byteorder == "big", reason="pretends to be big-endian")
def test_byte_order_is_little_endian_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    swapped = pcm.unpack(b"\x01\x02")
    assert list(swapped) == [0x0102]
    assert pcm.pack(swapped) == b"\x01\x02"
    assert list(swapped) == [0x0102]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(MisconfiguredError, match="3 bytes"):
        pcm.level(b"\0\0\0")
    with pytest.raises(MisconfiguredError, match="3-byte samples"):
        pcm.to_pcm16(b"\0" * 7, "s24")


def test_level_of_known_sounds() -> None:
    assert pcm.level(b"") == pcm.Level(0.0, 0.0)
    assert pcm.level(b"").rms_dbfs == -math.inf
    square = pcm.level(packed([-32768, 16384] * 50))
    assert square.peak == 1.0
    assert square.peak_dbfs == 0.0
    assert square.rms == pytest.approx(math.sqrt((1 + 0.25) / 2))
    sine = pcm.level(packed([round(32767 * math.sin(n / 5)) for n in range(31_416)]))
    assert sine.rms_dbfs == pytest.approx(-3.01, abs=0.01)


@witnessed
@given(samples.filter(bool))
def test_level_agrees_with_audioop(values: list[int]) -> None:
    level = pcm.level(packed(values))
    assert level.peak * 32768 == audioop.max(packed(values), 2)
    assert int(level.rms * 32768 + 1e-6) == pytest.approx(audioop.rms(packed(values), 2), abs=1)


def test_gain_clips() -> None:
    assert pcm.gain(packed([100, -100, 30000, -30000]), 2) == packed([200, -200, 32767, -32768])
    assert pcm.gain(packed([7, -7]), 0) == packed([0, 0])
    assert pcm.gain(packed([7, -7]), 1) == packed([7, -7])
    for factor in (-1, math.nan, math.inf):
        with pytest.raises(MisconfiguredError, match="gain"):
            pcm.gain(b"", factor)


def test_silence() -> None:
    assert pcm.silence(PCM16_24K, 20) == bytes(960)
    assert pcm.silence(G711_ULAW, 1.05) == b"\xff" * 8
    assert pcm.silence(G711_ALAW, 1) == b"\xd5" * 8


def test_mix_down() -> None:
    assert pcm.mix_down(packed([100, 300, -100, -301, 32767, 32767, -32768, -32768]), 2) == packed(
        [200, -201, 32767, -32768]
    )
    assert pcm.mix_down(packed([1, 2, 3]), 1) == packed([1, 2, 3])
    assert pcm.mix_down(packed([1, 2, 6, 9]), 3) == packed([3])
    with pytest.raises(MisconfiguredError):
        pcm.mix_down(b"", 0)


@pytest.mark.parametrize(("kind", "width"), [("u8", 1), ("s16", 2), ("s24", 3), ("s32", 4)])
@witnessed
@given(data=st.binary(max_size=240))
def test_width_agrees_with_audioop(kind: Any, width: int, data: bytes) -> None:
    data = data[: len(data) // width * width]
    signed = audioop.bias(data, 1, 128) if width == 1 else data
    assert pcm.to_pcm16(data, kind) == audioop.lin2lin(signed, width, 2)


def test_width_of_known_samples() -> None:
    assert pcm.to_pcm16(bytes([0, 128, 255]), "u8") == packed([-32768, 0, 32512])
    assert pcm.to_pcm16(b"\xff\xff\x7f\x00\x00\x80\xff\xff\xff", "s24") == packed([32767, -32768, -1])
    assert pcm.to_pcm16(struct.pack("<2i", 2**31 - 1, -(2**31)), "s32") == packed([32767, -32768])
    floats = struct.pack("<7f", 0.5, -0.5, 1.5, -1.5, math.nan, math.inf, -math.inf)
    assert pcm.to_pcm16(floats, "f32") == packed([16384, -16384, 32767, -32768, 0, 32767, -32768])
    assert pcm.to_pcm16(memoryview(packed([1, 2])), "s16") == packed([1, 2])


@given(st.lists(st.floats(width=32), max_size=50))
def test_no_float_breaks_it(values: list[float]) -> None:
    assert len(pcm.to_pcm16(struct.pack(f"<{len(values)}f", *values), "f32")) == 2 * len(values)
