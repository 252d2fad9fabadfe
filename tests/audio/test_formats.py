"""Which formats a channel offers, and in which order."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from kernl_rt._audio.formats import RATES, can_resample, offered
from kernl_rt._audio.resample import convert
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat

EVERY = (*(AudioFormat("pcm16", rate) for rate in RATES), G711_ULAW, G711_ALAW)


@pytest.fixture
def no_soxr(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)


@given(st.lists(st.sampled_from([*EVERY, AudioFormat("pcm16", 22_050)]), min_size=1, max_size=4))
def test_the_channels_own_come_first_and_each_once(native):
    formats = offered(native)
    assert formats[: len(set(native))] == tuple(dict.fromkeys(native))
    assert len(formats) == len(set(formats))


@pytest.mark.parametrize("native", [*EVERY, AudioFormat("pcm16", 22_050)], ids=str)
def test_with_soxr_every_format_is_offered_and_can_be_had(native):
    assert can_resample()
    formats = offered([native])
    assert set(EVERY) <= set(formats)
    for other in formats:
        sound = native.silence * native.rate  # a second
        there, back = convert(native, other), convert(other, native)
        assert len(there.push(sound) + there.flush()) == other.bytes_per_second
        assert len(back.push(other.silence * other.rate) + back.flush()) == len(sound)


def test_what_costs_nothing_comes_before_another_rate():
    assert offered([G711_ULAW])[:3] == (G711_ULAW, PCM16_8K, G711_ALAW)


def test_higher_rates_come_before_lower_ones_and_near_before_far():
    rates = [format.rate for format in offered([PCM16_24K]) if format.encoding == "pcm16"]
    assert rates == [24_000, 44_100, 48_000, 16_000, 8_000]
    assert offered([PCM16_24K])[-2:] == (G711_ULAW, G711_ALAW)


@pytest.mark.usefixtures("no_soxr")
def test_without_soxr_only_the_same_rate_is_offered():
    assert not can_resample()
    assert offered([PCM16_24K]) == (PCM16_24K,)
    assert offered([PCM16_16K, G711_ALAW]) == (PCM16_16K, G711_ALAW, PCM16_8K, G711_ULAW)
    for native in EVERY:
        for other in offered([native]):
            convert(native, other)  # needs nothing


def test_looking_for_soxr_does_not_import_it():
    code = (
        "import sys; from kernl_rt._audio.formats import offered; from kernl_rt.config import PCM16_24K;"
        "assert len(offered([PCM16_24K])) > 1; sys.exit(bool({'soxr', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
