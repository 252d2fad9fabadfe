"""Tones and G.711, against the other implementation in this package and by themselves."""

from __future__ import annotations

from array import array

import pytest

from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_24K, AudioFormat
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._sound import babble, decoded, encoded, loudness
from kernl_rt.simulator._tokens import pieces
from tests.simulator.driver import silence, tone


@pytest.mark.parametrize("format", [G711_ULAW, G711_ALAW])
def test_g711_round_trip(format: AudioFormat) -> None:
    for code in range(256):
        [sample] = decoded(bytes([code]), format)
        assert decoded(encoded(array("h", [sample]), format), format)[0] == sample
    for sample in range(-32768, 32768, 97):
        [back] = decoded(encoded(array("h", [sample]), format), format)
        assert abs(back - sample) <= max(16, abs(sample) / 16)


@pytest.mark.parametrize("format", [G711_ULAW, G711_ALAW])
def test_g711_agrees_with_the_other_implementation(format: AudioFormat) -> None:
    from kernl_rt._audio import g711

    law: g711.Law = "g711_ulaw" if format is G711_ULAW else "g711_alaw"
    codes = bytes(range(256))
    assert g711.decode(codes, law) == decoded(codes, format).tobytes()
    ramp = array("h", range(-32768, 32768, 5))
    for theirs, ours in zip(g711.encode(ramp.tobytes(), law), encoded(ramp, format), strict=True):
        [a], [b] = decoded(bytes([theirs]), format), decoded(bytes([ours]), format)
        assert abs(a - b) <= max(16, abs(a) / 12), "at most the next step, where a sample lies between two"


@pytest.mark.parametrize("format", [PCM16_24K, PCM16_8K, G711_ULAW])
def test_babble_takes_as_long_as_talking(format: AudioFormat) -> None:
    text = "The quick brown fox jumps over the lazy dog and is gone"
    sound = babble(text, format)
    assert 2000 < format.ms(len(sound)) < 6000
    assert -40 < loudness(decoded(sound, format)) < -6, "it must be heard"
    assert len(babble(text, format, speed=1.5)) < len(sound)
    assert len(sound) % format.sample_width == 0
    assert babble("", format)


def test_loudness() -> None:
    assert loudness(decoded(silence(0.1), PCM16_24K)) == -100
    assert loudness(decoded(tone(0.1, amplitude=32767), PCM16_24K)) == pytest.approx(-3, abs=0.1)
    assert loudness([]) == -100


@pytest.mark.parametrize("text", ["", " ", "a", "a b", " a  b\n", "über  straße ", "日本 語"])
def test_pieces_make_up_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_ids() -> None:
    ids = Ids(7)
    made = [ids.new("item") for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(len(id) == 26 for id in made)
    assert Ids(7).new("item") == made[0] != Ids(8).new("item")
