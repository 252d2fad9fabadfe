from __future__ import annotations

import math
import struct
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt._audio import g711
from kernl_rt._audio.pcm import level, unpack
from kernl_rt._audio.resample import Resampler, convert
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.exceptions import MisconfiguredError

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


def sine(rate: int, seconds: float = 0.5, hz: float = 440.0) -> bytes:
    count = int(rate * seconds)
    return struct.pack(f"<{count}h", *(round(20_000 * math.sin(2 * math.pi * hz * n / rate)) for n in range(count)))


def whole(rate_in: int, rate_out: int, pcm: bytes) -> bytes:
    resampler = Resampler(rate_in, rate_out)
    return resampler.push(pcm) + resampler.flush()


@pytest.fixture(autouse=True)
def _needs_soxr() -> None:
    pytest.importorskip("soxr")


@pytest.mark.parametrize("rate_in", RATES)
@pytest.mark.parametrize("rate_out", [8_000, 16_000, 24_000])
def test_length_and_level_are_kept(rate_in: int, rate_out: int) -> None:
    out = whole(rate_in, rate_out, sine(rate_in))
    assert len(out) == pytest.approx(rate_out, abs=8)  # half a second of two-byte samples
    middle = out[len(out) // 4 & ~1 : len(out) // 4 * 3 & ~1]
    assert level(middle).rms == pytest.approx(20_000 / 32_768 / math.sqrt(2), rel=0.01)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3_000), max_size=12), st.sampled_from([(48_000, 24_000), (8_000, 24_000)]))
def test_chunks_make_no_difference(cuts: list[int], rates: tuple[int, int]) -> None:
    pcm = sine(rates[0], 0.2)
    expected = whole(*rates, pcm)
    resampler = Resampler(*rates)
    out, rest = b"", pcm
    for cut in cuts:  # odd cuts split a sample
        out += resampler.push(rest[:cut])
        rest = rest[cut:]
    assert out + resampler.push(rest) + resampler.flush() == expected


def test_no_clicks() -> None:
    resampler = Resampler(8_000, 24_000)
    pcm = sine(8_000)
    pieces = [resampler.push(pcm[start : start + 320]) for start in range(0, len(pcm), 320)]
    out = unpack(b"".join(pieces) + resampler.flush())[600:-600]
    steepest = 20_000 * 2 * math.pi * 440 / 24_000
    assert max(abs(b - a) for a, b in pairwise(out)) < steepest * 1.05


def test_a_new_sound_after_flush_and_clear() -> None:
    resampler = Resampler(16_000, 24_000)
    pcm = sine(16_000, 0.1)
    first = resampler.push(pcm) + resampler.flush()
    assert resampler.push(pcm) + resampler.flush() == first
    resampler.push(sine(16_000, 0.07, 900) + b"\1")
    resampler.clear()
    assert resampler.push(pcm) + resampler.flush() == first


def test_the_same_rate_passes_through() -> None:
    resampler = Resampler(16_000, 16_000)
    assert resampler.push(b"\1\2\3") == b"\1\2"
    assert resampler.push(b"\4") == b"\3\4"
    assert resampler.flush() == b""


def test_without_soxr_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[audio\]'"):
        Resampler(8_000, 16_000)
    Resampler(8_000, 8_000)
    convert(G711_ULAW, PCM16_8K)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, kernl_rt.channels, kernl_rt._audio.resample as r;"
        "from kernl_rt.config import G711_ULAW, PCM16_8K; r.convert(G711_ULAW, PCM16_8K);"
        "sys.exit(bool({'soxr', 'numpy', 'audioop'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("format_out", [PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW, G711_ALAW])
@pytest.mark.parametrize("format_in", [PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW, G711_ALAW])
def test_any_format_to_any(format_in: AudioFormat, format_out: AudioFormat) -> None:
    sound = sine(format_in.rate)
    if format_in.encoding != "pcm16":
        sound = g711.encode(sound, format_in.encoding)
    converter = convert(format_in, format_out)
    out = b"".join(converter.push(sound[start : start + 101]) for start in range(0, len(sound), 101))
    out += converter.flush()
    assert format_out.ms(len(out)) == pytest.approx(500, abs=1)
    linear = out if format_out.encoding == "pcm16" else g711.decode(out, format_out.encoding)
    assert level(linear).rms == pytest.approx(20_000 / 32_768 / math.sqrt(2), rel=0.03)
    if format_in == format_out:
        assert out == sound
    converter.clear()
    assert converter.push(sound) + converter.flush() == out
