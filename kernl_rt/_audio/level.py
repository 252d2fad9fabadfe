"""How loud a stream of sound is, and how loud the room is that it comes from."""

from __future__ import annotations

import math
from collections import deque

from kernl_rt._audio import g711
from kernl_rt._audio.framing import Framer
from kernl_rt._audio.pcm import Level, level
from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["LevelMeter", "NoiseFloor", "level_in"]


def level_in(audio_format: AudioFormat, audio: bytes) -> Level:
    """The level of sound in any format; whole samples."""
    encoding = audio_format.encoding
    return level(audio if encoding == "pcm16" else g711.decode(audio, encoding))


class LevelMeter:
    """Root mean square and peak of each window of a stream, however it is cut.

    20 ms of PCM16 at 24 kHz cost about 25 µs, of G.711 at 8 kHz 10 µs.
    """

    def __init__(self, audio_format: AudioFormat, window_ms: float = 20.0) -> None:
        size = audio_format.size(window_ms)
        if size <= 0:
            raise MisconfiguredError(f"a window of {window_ms!r} ms holds no sample: use 1 or more")
        self.audio_format = audio_format
        self._windows = Framer(size, audio_format.silence)
        #: Of the last whole window; silence before the first.
        self.level: Level = Level()

    def push(self, audio: bytes | bytearray | memoryview) -> list[Level]:
        """More sound; gives the level of every window that is now whole, in order."""
        levels = [level_in(self.audio_format, window) for window in self._windows.push(audio)]
        if levels:
            self.level = levels[-1]
        return levels

    def clear(self) -> None:
        """Forget the part of a window that waits, and show silence."""
        self._windows.clear()
        self.level = Level()


class NoiseFloor:
    """Tells sound that stands out of the room's noise, by the quietest frame of the last two seconds.

    All levels are RMS in dBFS. Speech has gaps, so that the quietest frame of two seconds is the room; where it has
    none, or the room is very loud, ``ceiling`` keeps the speaker from being taken for the room.
    """

    #: Frames in a bucket, and buckets: the minimum is kept for each bucket, so that asking costs little.
    _FRAMES, _BUCKETS = 12, 8

    def __init__(self, *, margin_db: float = 9.0, quietest: float = -55.0, ceiling: float = -40.0) -> None:
        self._margin = margin_db
        self._quietest = quietest
        self._ceiling = ceiling
        self._minima: deque[float] = deque(maxlen=self._BUCKETS)
        self._minimum = math.inf
        self._count = 0

    @property
    def floor(self) -> float:
        """The room's level; minus infinity before the first frame."""
        known = min(self._minimum, *self._minima) if self._minima else self._minimum
        return -math.inf if known == math.inf else min(known, self._ceiling)

    def stands_out(self, dbfs: float) -> bool:
        """Take the next frame's level: whether it is louder than the room, and than the quietest speech."""
        self._minimum = min(self._minimum, dbfs)
        self._count += 1
        loud = dbfs >= max(self.floor + self._margin, self._quietest)
        if self._count == self._FRAMES:
            self._minima.append(self._minimum)
            self._minimum, self._count = math.inf, 0
        return loud

    def clear(self) -> None:
        """Forget the room."""
        self._minima.clear()
        self._minimum, self._count = math.inf, 0
