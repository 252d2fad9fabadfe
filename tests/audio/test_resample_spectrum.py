"""What comes out of the resampler is the tone that went in, and nothing else: no alias, no click."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt._audio.formats import RATES
from kernl_rt._audio.pcm import level
from kernl_rt._audio.resample import Resampler

numpy = pytest.importorskip("numpy")
pytest.importorskip("soxr")

PAIRS = [(rate_in, rate_out) for rate_in in RATES for rate_out in RATES if rate_in != rate_out]


def sine(rate: int, hz: float, seconds: float = 0.6, amplitude: float = 0.5) -> bytes:
    t = numpy.arange(int(rate * seconds)) / rate
    pcm: bytes = numpy.rint(32_767 * amplitude * numpy.sin(2 * numpy.pi * hz * t)).astype("<i2").tobytes()
    return pcm


def in_frames(rate_in: int, rate_out: int, pcm: bytes) -> bytes:
    """20 ms at a time, as a call comes; the silence of the ends is cut off."""
    resampler = Resampler(rate_in, rate_out)
    step = rate_in // 50 * 2
    out = b"".join(resampler.push(pcm[at : at + step]) for at in range(0, len(pcm), step)) + resampler.flush()
    margin = rate_out // 20 * 2
    return out[margin:-margin]


def spectrum(pcm: bytes, rate: int):
    """Decibels below a full-scale sine, by frequency."""
    samples = numpy.frombuffer(pcm, "<i2") / 32_768
    window = numpy.blackman(len(samples))
    power = numpy.abs(numpy.fft.rfft(samples * window)) / window.sum() * 2
    return numpy.fft.rfftfreq(len(samples), 1 / rate), 20 * numpy.log10(power + 1e-12)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_a_tone_keeps_its_frequency_and_nothing_else_appears(rate_in: int, rate_out: int, share: float) -> None:
    hz = share * min(rate_in, rate_out) / 2
    out = in_frames(rate_in, rate_out, sine(rate_in, hz))
    frequencies, decibels = spectrum(out, rate_out)
    assert frequencies[decibels.argmax()] == pytest.approx(hz, abs=3)
    assert level(out).rms == pytest.approx(0.5 / 2**0.5, rel=0.01)
    assert decibels[abs(frequencies - hz) > 20].max() < -60


@pytest.mark.parametrize(
    ("rate_in", "rate_out", "hz"),
    [
        (rate_in, rate_out, beyond * rate_out / 2)
        for rate_in, rate_out in PAIRS
        for beyond in (1.08, 1.15, 1.5, 1.9)
        if beyond * rate_out < 0.99 * rate_in
    ],
)
def test_what_the_lower_rate_cannot_hold_is_gone(rate_in: int, rate_out: int, hz: float) -> None:
    _, decibels = spectrum(in_frames(rate_in, rate_out, sine(rate_in, hz)), rate_out)
    assert decibels.max() < -60


@settings(max_examples=25)
@given(
    st.sampled_from(PAIRS),
    st.lists(st.integers(0, 9_600), max_size=15),
    st.binary(min_size=1_000, max_size=1_000),
)
def test_any_cutting_gives_the_same_samples(pair: tuple[int, int], cuts: list[int], noise: bytes) -> None:
    pcm = noise * 10
    whole = Resampler(*pair)
    expected = whole.push(pcm) + whole.flush()
    cut = Resampler(*pair)
    borders = [0, *sorted(border for border in cuts if border < len(pcm)), len(pcm)]
    out = b"".join(cut.push(pcm[begin:end]) for begin, end in pairwise(borders))
    assert out + cut.flush() == expected


@given(st.sampled_from(PAIRS), st.lists(st.integers(0, 3_000), min_size=1, max_size=8))
@settings(max_examples=40)
def test_all_that_went_in_has_come_out_rounded_up(pair: tuple[int, int], sounds: list[int]) -> None:
    """However many sounds there are: a position that is reckoned from what went in is reached, and never drifts."""
    resampler, given, taken = Resampler(*pair), 0, 0
    for samples in sounds:
        given += len(resampler.push(b"\1\0" * samples)) + len(resampler.flush())
        taken += samples
        assert given // 2 == -(-taken * pair[1] // pair[0])


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_sound_is_delayed_evenly(rate_in: int, rate_out: int) -> None:
    """Each frame brings a frame: no gaps, however short a loudspeaker's buffer is."""
    resampler, frame = Resampler(rate_in, rate_out), bytes(rate_in // 50 * 2)
    sizes = [len(resampler.push(frame)) / 2 / rate_out * 1000 for _ in range(100)]
    assert sum(sizes) > 2_000 - 40
    assert all(size == pytest.approx(20, abs=1) for size in sizes[3:])
