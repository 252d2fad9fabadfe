"""The simulator's own resampling, for the wires that have another rate than the engine."""

from __future__ import annotations

import array
import itertools
import math

import pytest
from hypothesis import given, strategies as st

from kernl_rt.simulator._protocols._resampler import Resampler
from tests.simulator.driver import tone


@pytest.mark.parametrize(("source", "target"), [(16_000, 24_000), (24_000, 16_000), (24_000, 8_000), (24_000, 24_000)])
def test_sound_keeps_its_pitch_in_whatever_pieces(source: int, target: int) -> None:
    sound = tone(0.5, source)
    resampler = Resampler(source, target)
    out = b"".join(resampler.push(sound[at : at + 333]) for at in range(0, len(sound), 333))
    samples = array.array("h", out)
    assert abs(len(samples) / target - 0.5) < 0.001
    expected = [8_000 * math.sin(index * 2 * math.pi * 220 / target) for index in range(len(samples))]
    # The line between two samples is drawn when the second has come: the sound is late by one sample of the source.
    late = round(target / source)
    error = max(abs(samples[index + late] - expected[index]) for index in range(len(samples) - late))
    assert error < 700


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_downsampling_is_the_same_however_it_is_cut(pieces: list[bytes]) -> None:
    one, other = Resampler(24_000, 16_000), Resampler(24_000, 16_000)
    assert b"".join(one.push(piece) for piece in pieces) == other.push(b"".join(pieces))


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_cutting_sound_differently_changes_nothing(sound: bytes, cuts: list[int]) -> None:
    whole, pieces = Resampler(16_000, 24_000), Resampler(16_000, 24_000)
    edges = [0, *sorted(min(cut, len(sound)) for cut in cuts), len(sound)]
    cut = b"".join(pieces.push(sound[a:b]) for a, b in itertools.pairwise(edges))
    assert cut == whole.push(sound)


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(8_000, 24_000), (16_000, 24_000), (24_000, 16_000), (24_000, 8_000)]
)
def test_a_tone_keeps_its_length_and_its_pitch_however_it_is_cut(rate_in: int, rate_out: int) -> None:
    tone = array.array("h", (round(9_000 * math.sin(2 * math.pi * 200 * n / rate_in)) for n in range(rate_in)))
    whole = Resampler(rate_in, rate_out).push(tone.tobytes())
    cut = Resampler(rate_in, rate_out)
    data = tone.tobytes()
    assert b"".join(cut.push(data[at : at + 333]) for at in range(0, len(data), 333)) == whole
    samples = array.array("h", whole)
    assert abs(len(samples) - rate_out) <= 3
    crossings = sum(one < 0 <= two for one, two in itertools.pairwise(samples))
    assert abs(crossings - 200) <= 2


def test_the_same_rate_passes_through() -> None:
    assert Resampler(24_000, 24_000).push(b"abc") == b"abc"


@pytest.mark.parametrize(("source", "target"), [(8_000, 24_000), (48_000, 24_000), (24_000, 44_100), (24_000, 24_000)])
@pytest.mark.parametrize("piece", [1, 7, 480, 48_000])
def test_resampling_keeps_the_time(source: int, target: int, piece: int) -> None:
    sound = b"\x00\x10" * source
    made = Resampler(source, target)
    out = b"".join(made.push(sound[at : at + piece]) for at in range(0, len(sound), piece))
    assert abs(len(out) // 2 - target) <= 3
    assert out[-2:] == b"\x00\x10"


@pytest.mark.parametrize(("source", "target"), [(16_000, 24_000), (24_000, 16_000), (22_050, 24_000), (24_000, 44_100)])
def test_it_neither_gains_nor_loses_a_sample_in_the_long_run(source: int, target: int) -> None:
    made = Resampler(source, target)
    samples = sum(len(made.push(bytes(2 * source))) // 2 for _ in range(5))
    assert samples == 5 * target
