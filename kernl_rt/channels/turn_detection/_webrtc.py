"""The detector that comes with the extra ``vad``."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from kernl_rt._audio.level import NoiseFloor
from kernl_rt._audio.pcm import level
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["RATES", "WebRtcDetector"]

#: What it takes without a conversion, in samples per second.
RATES = (8_000, 16_000, 32_000, 48_000)


class _Vad(Protocol):
    """The part of ``webrtcvad.Vad`` that is used."""

    def is_speech(self, buf: bytes, sample_rate: int) -> bool: ...


class WebRtcDetector:
    """WebRTC's voice activity detector, for what stands out of the room's noise. Extra ``kernl_rt[vad]``.

    WebRTC's alone takes clicks, and the first sound of a noisy room, for speech, since it smooths by itself; the noise
    floor alone takes any loud sound for speech. Both together cost about 30 µs for a frame of 20 ms at 16 kHz.

    Args:
        rate: samples per second that it is given, 8,000, 16,000, 32,000 or 48,000; best the channel's, where it is
            one of these. It hears up to 4 kHz in any case.
        aggressiveness: 0 (lets most through) to 3 (filters most).
        quietest_dbfs: what is softer is no speech, whatever it sounds like.

    Raises:
        MisconfiguredError: webrtcvad is not installed, or an option is out of its range.
    """

    def __init__(self, rate: int = 16_000, *, aggressiveness: int = 3, quietest_dbfs: float = -55.0) -> None:
        if rate not in RATES:
            raise MisconfiguredError(f"rate={rate!r} is none of {', '.join(map(str, RATES))}")
        if aggressiveness not in (0, 1, 2, 3):
            raise MisconfiguredError(f"aggressiveness={aggressiveness!r} is none of 0, 1, 2 and 3")
        if not -96 <= quietest_dbfs <= 0:
            raise MisconfiguredError(f"quietest_dbfs={quietest_dbfs!r} is no level: use -96 to 0, -55 is usual")
        self.rate: int = rate
        self.frame_samples: int = rate // 50
        self._aggressiveness = aggressiveness
        self._quietest = quietest_dbfs
        self.reset()

    def is_speech(self, frame: bytes) -> bool:
        """Whether somebody speaks in these 20 ms of PCM16."""
        stands_out = self._floor.stands_out(level(frame).rms_dbfs)
        return self._vad.is_speech(frame, self.rate) and stands_out

    def reset(self) -> None:
        """Begin anew, in a room that is not known."""
        self._floor = NoiseFloor(quietest=self._quietest)
        self._vad = _open(self._aggressiveness)


def _open(aggressiveness: int) -> _Vad:
    try:
        module = import_module("webrtcvad")
    except ImportError as error:
        raise MisconfiguredError(
            "turn detection on our side needs webrtcvad: pip install 'kernl_rt[vad]', or pass a detector of your own"
        ) from error
    return cast("_Vad", module.Vad(aggressiveness))
