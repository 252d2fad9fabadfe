"""PCM samples: level, gain, silence, and from whatever a file holds to mono PCM16.

PCM16 is signed 16-bit little-endian, everywhere. A trailing odd byte is a mistake of the caller and is refused.
"""

from __future__ import annotations

import math
import sys
from array import array
from operator import mul
from typing import Literal, TypeAlias

from attrs import frozen

from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Level", "SampleType", "gain", "level", "mix_down", "pack", "silence", "to_pcm16", "unpack"]

#: How a file stores a sample: unsigned 8-bit, signed 16, 24 or 32-bit, or 32-bit float; all little-endian.
SampleType: TypeAlias = Literal["u8", "s16", "s24", "s32", "f32"]

Buffer: TypeAlias = bytes | bytearray | memoryview

_FULL_SCALE = 32_768
_WIDTHS: dict[str, int] = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4}
#: Unsigned 8-bit is signed 8-bit with the highest bit turned over.
_FLIP_SIGN = bytes(value ^ 0x80 for value in range(256))


def unpack(pcm: Buffer) -> array[int]:
    """PCM16 as an array of samples.

    Raises:
        MisconfiguredError: an odd number of bytes.
    """
    if len(pcm) % 2:
        raise MisconfiguredError(f"{len(pcm)} bytes are no whole number of 16-bit samples: cut PCM16 at even offsets")
    samples = array("h")
    samples.frombytes(pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def pack(samples: array[int]) -> bytes:
    """The inverse of :func:`unpack`."""
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()


@frozen
class Level:
    """How loud: ``rms`` and ``peak`` as fractions of full scale, 0 to 1."""

    rms: float = 0.0
    peak: float = 0.0

    @property
    def rms_dbfs(self) -> float:
        """Decibels below full scale; minus infinity for digital silence."""
        return _decibels(self.rms)

    @property
    def peak_dbfs(self) -> float:
        return _decibels(self.peak)


def _decibels(fraction: float) -> float:
    return 20 * math.log10(fraction) if fraction > 0 else -math.inf


def level(pcm: Buffer) -> Level:
    """The level of mono PCM16; zero of nothing."""
    samples = unpack(pcm)
    if not samples:
        return Level()
    peak = max(max(samples), -min(samples)) / _FULL_SCALE
    return Level(math.sqrt(sum(map(mul, samples, samples)) / len(samples)) / _FULL_SCALE, peak)


def gain(pcm: Buffer, factor: float) -> bytes:
    """PCM16 louder or softer by ``factor``, clipped at full scale.

    Raises:
        MisconfiguredError: the factor is negative or not a finite number.
    """
    if not math.isfinite(factor) or factor < 0:
        raise MisconfiguredError(f"a gain of {factor!r} is no factor: use a finite number of at least 0")
    scaled = (round(sample * factor) for sample in unpack(pcm))
    return pack(array("h", [max(-_FULL_SCALE, min(_FULL_SCALE - 1, value)) for value in scaled]))


def silence(audio_format: AudioFormat, ms: float) -> bytes:
    """``ms`` milliseconds of silence, rounded down to whole samples."""
    return audio_format.silence * (audio_format.size(ms) // audio_format.sample_width)


def mix_down(pcm: Buffer, channels: int) -> bytes:
    """Interleaved PCM16 to mono: the mean of the channels, rounded down. A partial last frame is dropped."""
    if channels < 1:
        raise MisconfiguredError(f"sound with {channels} channels cannot be mixed down")
    if channels == 1:
        return bytes(pcm)
    samples = unpack(pcm)
    frames = len(samples) // channels
    lanes = [samples[lane : frames * channels : channels] for lane in range(channels)]
    return pack(array("h", [sum(frame) // channels for frame in zip(*lanes, strict=True)]))


def to_pcm16(data: Buffer, sample_type: SampleType) -> bytes:
    """Samples of another width as PCM16.

    Wider integers lose their low bits (rounded down, no dither); floats are clipped to -1..1 and NaN is silence.

    Raises:
        MisconfiguredError: no whole number of samples.
    """
    width = _WIDTHS[sample_type]
    if len(data) % width:
        raise MisconfiguredError(f"{len(data)} bytes are no whole number of {width}-byte samples")
    if sample_type == "s16":
        return bytes(data)
    if sample_type == "f32":
        return _from_float(data)
    plain = bytes(data)
    pcm = bytearray(len(plain) // width * 2)
    if sample_type == "u8":
        pcm[1::2] = plain.translate(_FLIP_SIGN)
    else:
        pcm[0::2] = plain[width - 2 :: width]
        pcm[1::2] = plain[width - 1 :: width]
    return bytes(pcm)


def _from_float(data: Buffer) -> bytes:
    samples = array("f")
    samples.frombytes(data)
    if sys.byteorder == "big":
        samples.byteswap()
    return pack(array("h", [_from_unit(value) for value in samples]))


def _from_unit(value: float) -> int:
    if value != value:  # NaN
        return 0
    return int(max(-32_768.0, min(32_767.0, value * 32_768.0)))
