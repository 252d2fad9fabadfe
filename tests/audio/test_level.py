"""The level meter; what stands out of a room is tested with the turns."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from kernl_rt._audio import g711
from kernl_rt._audio.level import LevelMeter
from kernl_rt._audio.pcm import Level, level
from kernl_rt.config import G711_ALAW, PCM16_8K, PCM16_24K
from kernl_rt.exceptions import MisconfiguredError


def square(amplitude: int, samples: int) -> bytes:
    return (amplitude.to_bytes(2, "little", signed=True) + (-amplitude).to_bytes(2, "little", signed=True)) * (
        samples // 2
    )


def test_one_level_for_each_window():
    meter = LevelMeter(PCM16_8K)
    assert meter.level.rms_dbfs == -math.inf
    levels = meter.push(square(16_384, 160) + square(8_192, 160) + square(1_000, 100))
    assert [(round(one.rms_dbfs, 2), round(one.peak_dbfs, 2)) for one in levels] == [(-6.02, -6.02), (-12.04, -12.04)]
    assert meter.level == levels[1]
    meter.clear()
    assert meter.level == Level()
    assert meter.push(bytes(318)) == []
    assert meter.push(bytes(2)) == [Level()]


@given(st.binary(min_size=0, max_size=4_000), st.lists(st.integers(0, 4_000), max_size=10))
def test_cutting_makes_no_difference(sound, cuts):
    whole, cut = LevelMeter(PCM16_24K, 10), LevelMeter(PCM16_24K, 10)
    borders = [0, *sorted(border for border in cuts if border < len(sound)), len(sound)]
    found = [one for begin, end in pairwise(borders) for one in cut.push(sound[begin:end])]
    assert found == whole.push(sound)
    assert found == [level(sound[start : start + 480]) for start in range(0, len(sound) - 479, 480)]


def test_g711_is_measured_as_what_it_says():
    pcm = square(16_384, 160)
    (one,) = LevelMeter(G711_ALAW).push(g711.encode(pcm, "g711_alaw"))
    assert one.rms_dbfs == pytest.approx(-6.02, abs=0.3)


@pytest.mark.parametrize("window_ms", [0, -1, 0.01])
def test_a_window_without_a_sample(window_ms):
    with pytest.raises(MisconfiguredError, match="holds no sample"):
        LevelMeter(PCM16_8K, window_ms)
