"""Sound as the simulator needs it: loudness, G.711, and a voice that is only tones. No dependency, no clock.

The G.711 here is written from the recommendation (ITU-T G.711) and shares no code with the rest of kernl_rt, so that
the two witness each other.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from functools import cache
from operator import mul

from kernl_rt.config import AudioFormat

__all__ = ["babble", "decoded", "encoded", "loudness"]


def _expand_ulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _expand_alaw(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = (code & 0x70) >> 4, code & 0x0F
    magnitude = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


@cache
def _expanded(encoding: str) -> list[int]:
    return [(_expand_ulaw if encoding == "g711_ulaw" else _expand_alaw)(code) for code in range(256)]


@cache
def _compressed(encoding: str) -> bytes:
    """For every 16-bit sample's upper 14 bits, the code whose value is nearest."""
    ordered = sorted((value, code) for code, value in enumerate(_expanded(encoding)))
    table = bytearray()
    at = 0
    for sample in range(-32768, 32768, 4):
        middle = sample + 2
        while at + 1 < len(ordered) and abs(ordered[at + 1][0] - middle) <= abs(ordered[at][0] - middle):
            at += 1
        table.append(ordered[at][1])
    return bytes(table)


def decoded(audio: bytes, format: AudioFormat) -> array[int]:
    """``audio`` as 16-bit samples. An odd byte at the end of PCM is left out."""
    if format.encoding != "pcm16":
        table = _expanded(format.encoding)
        return array("h", [table[code] for code in audio])
    samples = array("h")
    samples.frombytes(audio[: len(audio) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def encoded(samples: array[int], format: AudioFormat) -> bytes:
    """16-bit samples in ``format``; the rate is the caller's business."""
    if format.encoding != "pcm16":
        table = _compressed(format.encoding)
        return bytes(table[(sample + 32768) >> 2] for sample in samples)
    if sys.byteorder == "big":
        samples = array("h", samples)
        samples.byteswap()
    return samples.tobytes()


def loudness(samples: Sequence[int]) -> float:
    """The root mean square, in decibels below full scale; -100 for digital silence."""
    if not samples:
        return -100.0
    power = sum(map(mul, samples, samples)) / len(samples)
    return max(-100.0, 10 * math.log10(power / 32768**2)) if power else -100.0


#: Two formants (Hz) per vowel: enough for the ear to take tones for a voice.
_VOWELS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870), "y": (270, 2100)}
_SYLLABLE = 0.16
_GAP = 0.05


@cache
def _syllable(vowel: str, pitch: int, format: AudioFormat) -> bytes:
    count = int(_SYLLABLE * format.rate)
    first, second = _VOWELS[vowel]
    samples = array("h")
    for index in range(count):
        at = index / format.rate
        shape = math.sin(math.pi * index / count)
        tone = math.sin(2 * math.pi * pitch * at) * (
            0.6 + 0.25 * math.sin(2 * math.pi * first * at) + 0.15 * math.sin(2 * math.pi * second * at)
        )
        samples.append(int(9_000 * shape * tone))
    return encoded(samples, format)


def babble(text: str, format: AudioFormat, *, pitch: int = 140, speed: float = 1.0) -> bytes:
    """A robot humming ``text``: a tone for each vowel, a gap between words, about as long as the words would take."""
    gap = format.silence * int(_GAP * format.rate)
    stride = max(1, round(speed * 4))
    parts: list[bytes] = []
    for index, word in enumerate(text.lower().split()):
        vowels = [letter for letter in word if letter in _VOWELS] or ["e"]
        for place, vowel in enumerate(vowels):
            sound = _syllable(vowel, pitch + 12 * ((index + place) % 3), format)
            parts.append(sound[: len(sound) * 4 // stride // 2 * 2])
        parts.append(gap)
    return b"".join(parts) or gap
