"""The input audio buffer: what has been heard and not yet committed, and who is speaking in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._sound import decoded
from kernl_rt.simulator._vad import Boundary, Detector

__all__ = ["InputBuffer"]

#: Without turn detection nothing ends a turn but the client. The simulator's own bound, so that memory has one.
_LONGEST = 64 * 2**20
#: Kept before speech besides the padding: the sound in which its beginning was noticed.
_SLACK_MS = 100


class InputBuffer:
    """Uncommitted sound. Positions are milliseconds of all sound that the client has sent in this session."""

    def __init__(self) -> None:
        self._format: AudioFormat = PCM16_24K
        self._audio = bytearray()
        self._first_ms = 0.0
        self._listened = 0
        self._detector: Detector | None = None

    @property
    def ms(self) -> float:
        """How much sound it holds."""
        return self._format.ms(len(self._audio))

    @property
    def position_ms(self) -> float:
        return self._first_ms + self.ms

    @property
    def speaking(self) -> bool:
        return self._detector is not None and self._detector.speaking

    def configure(self, format: AudioFormat, detection: Mapping[str, Any] | None) -> None:
        """Start anew with these settings. Sound of another format is dropped."""
        if format != self._format:
            self.clear()
            self._format = format
        self._listened = len(self._audio)
        self._detector = None if detection is None else Detector(detection, format.rate, self.position_ms)

    def append(self, audio: bytes) -> list[Boundary]:
        """Take sound in, and say where in it speech began or ended.

        Raises:
            Refusal: more than the buffer holds.
        """
        if len(self._audio) + len(audio) > _LONGEST:
            raise Refusal(f"The input audio buffer is full: it holds {_LONGEST} bytes.", None, "audio")
        self._audio += audio
        if self._detector is None:
            return []
        # A client may cut its sound in the middle of a sample: what is odd waits for the next append.
        whole = (len(self._audio) - self._listened) // self._format.sample_width * self._format.sample_width
        samples = decoded(bytes(self._audio[self._listened : self._listened + whole]), self._format)
        self._listened += whole
        found = self._detector.listen(samples)
        if not found and not self._detector.speaking:
            self._drop_until(self.position_ms - self._detector.prefix_ms - _SLACK_MS)
        return found

    def take(self, start_ms: float | None = None, end_ms: float | None = None) -> bytes:
        """Everything between two positions, the whole buffer by default; it and all before it leave the buffer."""
        start, end = self._offset(start_ms, 0), self._offset(end_ms, len(self._audio))
        audio = bytes(self._audio[start:end])
        self._drop(end)
        return audio

    def clear(self, *, detection: Mapping[str, Any] | None = None) -> None:
        """Forget everything that was not committed."""
        self._drop(len(self._audio))
        if detection is not None:
            self._detector = Detector(detection, self._format.rate, self.position_ms)

    def _offset(self, ms: float | None, default: int) -> int:
        if ms is None:
            return default
        return min(max(self._format.size(ms - self._first_ms), 0), len(self._audio))

    def _drop_until(self, ms: float) -> None:
        self._drop(self._offset(ms, 0))

    def _drop(self, size: int) -> None:
        self._first_ms += self._format.ms(size)
        del self._audio[:size]
        self._listened = max(0, self._listened - size)
