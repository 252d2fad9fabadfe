"""Where speech begins and ends in captured sound: a detector's verdicts, made into turns with capture times. Pure.

The invariants, whatever a detector says and however the sound is cut: starts and ends alternate; times never run
backwards; a turn never ends before it began.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol, TypeAlias

from kernl_rt._audio.framing import Framer
from kernl_rt._audio.resample import Converter, convert
from kernl_rt.config import AudioFormat
from kernl_rt.events import ActivityEnded, ActivityStarted
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Boundary", "SpeechDetector", "TurnSmoother", "TurnTracker"]

Boundary: TypeAlias = ActivityStarted | ActivityEnded

#: A run of speech may have one frame in so many that the detector missed.
_MISSED = 4
#: Sound that comes so much later than it should, in seconds beyond the hangover, was not captured: nobody spoke.
GAP = 0.5


class SpeechDetector(Protocol):
    """Says of each frame whether somebody speaks in it. One detector listens to one human.

    It is called in the event loop for every frame: a call should take well under a millisecond.
    """

    @property
    def rate(self) -> int:
        """Samples per second that it wants; frames are mono PCM16."""
        ...

    @property
    def frame_samples(self) -> int:
        """Samples in a frame; 10 to 40 ms are usual."""
        ...

    def is_speech(self, frame: bytes) -> bool:
        """Whether somebody speaks in this frame, which follows the one before."""
        ...

    def reset(self) -> None:
        """What follows does not follow what was: forget it."""
        ...


class TurnSmoother:
    """Verdicts in, turns out: a turn begins with ``onset_ms`` of speech and ends with ``hangover_ms`` without."""

    def __init__(self, frame_ms: float, *, onset_ms: float, hangover_ms: float) -> None:
        self._needed = max(math.ceil(onset_ms / frame_ms), 1)
        self._hangover = max(math.ceil(hangover_ms / frame_ms), 1)
        #: The last frames: when speech began in each, or ``None`` where there was none.
        self._recent: deque[float | None] = deque(maxlen=self._needed + self._needed // _MISSED)
        self._quiet = 0
        self._spoke_until = -math.inf
        #: The time of the last boundary.
        self._latest = -math.inf
        self.speaking: bool = False

    def push(self, speech: bool, start: float, end: float) -> Boundary | None:
        """The verdict about the frame captured from ``start`` to ``end``, in seconds."""
        return self._within(speech, end) if self.speaking else self._between(speech, start, end)

    def lapse(self) -> ActivityEnded | None:
        """No sound follows: whoever spoke has stopped."""
        self._recent.clear()
        if not self.speaking:
            return None
        self.speaking = False
        self._latest = max(self._latest, self._spoke_until)
        return ActivityEnded(at=self._latest)

    def _between(self, speech: bool, start: float, end: float) -> ActivityStarted | None:
        self._recent.append(start if speech else None)
        spoken = [at for at in self._recent if at is not None]
        if len(spoken) < self._needed:
            return None
        self.speaking = True
        self._quiet = 0
        self._spoke_until = end
        self._recent.clear()
        self._latest = max(self._latest, spoken[0])
        return ActivityStarted(at=self._latest)

    def _within(self, speech: bool, end: float) -> ActivityEnded | None:
        if speech:
            self._quiet = 0
            self._spoke_until = max(self._spoke_until, end)
            return None
        self._quiet += 1
        return self.lapse() if self._quiet >= self._hangover else None


class TurnTracker:
    """Captured sound in, turns out. ``hangover_ms`` and ``onset_ms`` as for :class:`TurnSmoother`.

    Raises:
        MisconfiguredError: the detector wants an impossible frame, or another rate and soxr is not installed.
    """

    def __init__(
        self, audio_format: AudioFormat, detector: SpeechDetector, *, onset_ms: float, hangover_ms: float
    ) -> None:
        self._format = audio_format
        self._detector = detector
        self._rate = detector.rate
        self._frame = detector.frame_samples
        if self._frame < 1:
            raise MisconfiguredError(f"a detector's frames hold at least one sample, not {self._frame!r}")
        self._converter: Converter = convert(audio_format, AudioFormat("pcm16", self._rate))
        self._framer = Framer(2 * self._frame)
        frame_ms = self._frame * 1000 / self._rate
        self._smoother = TurnSmoother(frame_ms, onset_ms=onset_ms, hangover_ms=hangover_ms)
        self._gap = hangover_ms / 1000 + GAP
        self._begin()

    def _begin(self) -> None:
        #: Seconds of sound at which a chunk began, and when that was captured.
        self._anchors: deque[tuple[float, float]] = deque()
        self._bytes = 0
        self._frames = 0
        self._due: float | None = None

    @property
    def speaking(self) -> bool:
        return self._smoother.speaking

    def push(self, audio: bytes, at: float) -> list[Boundary]:
        """Sound whose first sample was captured at ``at``. Gives what began and ended with it, in order."""
        found: list[Boundary] = []
        if self._due is not None and at - self._due > self._gap:
            found += self.lapse()
        self._anchors.append((self._bytes / self._format.bytes_per_second, at))
        self._bytes += len(audio)
        self._due = at + len(audio) / self._format.bytes_per_second
        for frame in self._framer.push(self._converter.push(audio)):
            start = self._captured(self._frames * self._frame / self._rate)
            self._frames += 1
            end = max(self._captured(self._frames * self._frame / self._rate, inclusive=False), start)
            boundary = self._smoother.push(self._detector.is_speech(frame), start, end)
            if boundary is not None:
                found.append(boundary)
        return found

    def lapse(self) -> list[Boundary]:
        """No sound follows this, or what follows has nothing to do with it."""
        self._converter.clear()
        self._framer.clear()
        self._detector.reset()
        self._begin()
        ended = self._smoother.lapse()
        return [] if ended is None else [ended]

    def _captured(self, position: float, *, inclusive: bool = True) -> float:
        """When the sound at ``position`` (seconds) was captured. On a border it belongs to the later chunk if
        ``inclusive``.
        """
        tiny = 1e-9
        limit = position + tiny if inclusive else position - tiny
        anchors = self._anchors
        if inclusive:
            while len(anchors) > 1 and anchors[1][0] <= limit:
                anchors.popleft()
        chosen = anchors[0]
        for anchor in anchors:
            if anchor[0] > limit:
                break
            chosen = anchor
        return chosen[1] + position - chosen[0]
