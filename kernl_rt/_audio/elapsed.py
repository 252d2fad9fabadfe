"""How much sound plays in a while, by the clock."""

from __future__ import annotations

from kernl_rt.config import AudioFormat

__all__ = ["size_in"]

#: A part of a sample by which a timer may be early: floats do not hit deadlines exactly.
_EARLY = 1e-3


def size_in(audio_format: AudioFormat, seconds: float) -> int:
    """Bytes of the whole samples that play in ``seconds``; none in less than no time."""
    return int(max(seconds, 0.0) * audio_format.rate + _EARLY) * audio_format.sample_width
