"""Which formats a channel can offer: its own first, then those its sound can be converted to here.

A session takes the first format of the channel that the model knows too, so the order is the order of preference:
no conversion, then one that costs nothing (G.711 and PCM16 of one rate), then another rate, where soxr is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from kernl_rt.config import G711_ALAW, G711_ULAW, AudioFormat
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["RATES", "can_resample", "check_offered", "offered"]

#: The rates that models and sound cards use, in samples per second.
RATES = (8_000, 16_000, 24_000, 44_100, 48_000)


def can_resample() -> bool:
    """Whether soxr is installed (extra ``audio``); it is not imported."""
    return find_spec("soxr") is not None


def offered(native: Sequence[AudioFormat]) -> tuple[AudioFormat, ...]:
    """What a channel of the ``native`` formats can offer, each once, the best first.

    Formats of the same rate follow the channel's own; then, where soxr is installed, PCM16 at the next higher rates,
    which loses nothing, then at lower ones, the nearest first, and G.711 last.
    """
    formats = list(native)
    for own in native:
        formats += _of_rate(own.rate)
    if can_resample():
        for own in native:
            higher = [rate for rate in RATES if rate > own.rate]
            lower = [rate for rate in reversed(RATES) if rate < own.rate]
            formats += [AudioFormat("pcm16", rate) for rate in (*higher, *lower)]
            formats += [G711_ULAW, G711_ALAW]
    return tuple(dict.fromkeys(formats))


def check_offered(audio_format: AudioFormat, formats: Sequence[AudioFormat], side: str) -> None:
    """Refuse to be opened in a format that is not offered. ``side`` is ``"input"`` or ``"output"``.

    Raises:
        MisconfiguredError: names what is offered, and how there could be more.
    """
    if audio_format not in formats:
        more = "" if can_resample() else "; other rates need soxr: pip install 'kernl_rt[audio]'"
        raise MisconfiguredError(
            f"this channel does not offer {audio_format} as {side}, but {', '.join(map(str, formats))}{more}"
        )


def _of_rate(rate: int) -> list[AudioFormat]:
    """All formats of one rate: what one of them says, the others can say too. G.711 is 8 kHz by definition."""
    return [AudioFormat("pcm16", rate), *(law for law in (G711_ULAW, G711_ALAW) if law.rate == rate)]
