"""Sound and WAV files for the tests of channels."""

from __future__ import annotations

import math
import struct
from array import array
from pathlib import Path


def tone(ms: int, rate: int = 16_000, hz: float = 400.0, amplitude: float = 0.5) -> bytes:
    count = rate * ms // 1000
    return array(
        "h", [round(32767 * amplitude * math.sin(2 * math.pi * hz * n / rate)) for n in range(count)]
    ).tobytes()


TONE_16K = tone(1_000)


def header(
    size: int, *, rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, subformat: int | None = None
) -> bytes:
    """The bytes before the sound, made without the code under test."""
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    if subformat is not None:
        fmt += struct.pack("<HHIH", 22, bits, 0, subformat) + bytes.fromhex("000000001000800000aa00389b71")
    return (
        b"RIFF" + struct.pack("<I", 20 + len(fmt) + size) + b"WAVE"
        b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size)
    )


def wav(path: Path, pcm: bytes, **layout: int) -> Path:
    path.write_bytes(header(len(pcm), **layout) + pcm)
    return path
