"""A sound file as a microphone: frames of 20 ms at their times, then silence."""

from __future__ import annotations

from collections import deque

from kernl_rt._audio.framing import Framer
from kernl_rt._audio.level import level_in
from kernl_rt._audio.resample import convert
from kernl_rt.channels.wav._files import Reader
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured

__all__ = ["WavSource"]

_FRAME_MS = 20.0
#: A frame above this RMS (-40 dBFS) counts as speech.
_LOUD = 0.01
#: An unpaced source goes on in real time after so many seconds of silence.
_TAIL_AT_ONCE = 2.0
#: Seconds by which a timer may be early: floats do not hit deadlines exactly.
_EARLY = 1e-6


class WavSource:
    """Gives a frame whenever one is due. ``tail`` seconds of silence follow the file; ``None``: without end.

    A paced frame is due when its last sample would have been captured. Without pacing frames are due at once, but for
    endless silence, which goes on in real time after two seconds of it.
    """

    def __init__(self, reader: Reader, audio_format: AudioFormat, *, paced: bool, tail: float | None) -> None:
        self._reader = reader
        self._format = audio_format
        self._paced = paced
        size = max(audio_format.size(_FRAME_MS), audio_format.sample_width)
        self._seconds = size / audio_format.bytes_per_second
        self._silence = audio_format.silence * (size // audio_format.sample_width)
        self._converter = convert(AudioFormat("pcm16", reader.rate), audio_format)
        self._framer = Framer(size, audio_format.silence)
        self._frames: deque[bytes] = deque()
        self._read_all = False
        self._tail = tail
        self._silent = 0  # frames of silence given
        self._given = 0  # frames given since ``_start``
        self._start: float | None = None
        #: When the file's last sample was captured, or handed over where not paced.
        self.ended_at: float | None = None
        #: When speech was last captured.
        self.spoke_at: float | None = None

    def start(self, now: float) -> None:
        """The clock of the file begins; later calls do nothing."""
        if self._start is None:
            self._start = now

    @property
    def due_at(self) -> float | None:
        """When the next frame is due; ``None`` when there is none any more."""
        assert self._start is not None
        if self.ended_at is not None and self._tail is not None and self._silent * self._seconds >= self._tail - _EARLY:
            return None
        if not self._is_paced():
            return self._start
        return self._start + (self._given + 1) * self._seconds

    def take(self, now: float) -> AudioCaptured | None:
        """The frame that is due, if any.

        Raises:
            AudioFileError: the file cannot be read any more.
        """
        due = self.due_at
        if due is None or due > now + _EARLY:
            return None
        paced = self._is_paced()
        frame = self._next_frame()
        captured_at = due - self._seconds if paced else now
        end = due if paced else now
        if frame is None:
            if self.ended_at is None:
                self.ended_at = captured_at
                return self.take(now)
            frame = self._silence
            self._silent += 1
            if not paced:
                self._start, self._given = now, 0
        elif level_in(self._format, frame).rms > _LOUD:
            self.spoke_at = end
        if paced:
            self._given += 1
        return AudioCaptured(frame, at=captured_at)

    def close(self) -> None:
        self._reader.close()

    def _is_paced(self) -> bool:
        if self._paced:
            return True
        return self.ended_at is not None and self._tail is None and self._silent * self._seconds >= _TAIL_AT_ONCE

    def _next_frame(self) -> bytes | None:
        while not self._frames and not self._read_all:
            sound = self._reader.read()
            self._read_all = not sound
            sound = self._converter.push(sound) if sound else self._converter.flush()
            self._frames.extend(self._framer.push(sound))
            if self._read_all and (rest := self._framer.flush()):
                self._frames.append(rest)
        return self._frames.popleft() if self._frames else None
