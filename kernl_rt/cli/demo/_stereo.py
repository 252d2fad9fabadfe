"""A stereo WAV file of a conversation: left the human, right the model, each sound where it was on the clock.

Sound comes in piece by piece with the moment at which it was said or heard. What is older than a second is written;
so the memory stays small however long the conversation is.
"""

from __future__ import annotations

import wave
from array import array
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

from kernl_rt._audio.pcm import pack, unpack
from kernl_rt.exceptions import AudioFileError

__all__ = ["Side", "StereoWav", "write_mono"]

Side: TypeAlias = Literal["human", "model"]

#: Seconds that a piece may come late, and by which a piece may miss the end of the one before it and still follow it
#: without a gap: clocks jitter, a run of sound must not click.
_LATE = 1.0
_JITTER = 0.06


class _Lane:
    """One side's samples from ``base`` on: those that are not written yet."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.base = 0
        self.samples = array("h")

    @property
    def end(self) -> int:
        return self.base + len(self.samples)

    def put(self, samples: array[int], at: float) -> None:
        start = round(at * self._rate)
        if start - self.end > _JITTER * self._rate:
            self.pad_to(start)
        self.samples.extend(samples)

    def pad_to(self, end: int) -> None:
        missing = end - self.end
        if missing > 0:
            self.samples.extend(array("h", bytes(2 * missing)))

    def take_until(self, end: int) -> array[int]:
        self.pad_to(end)
        taken, self.samples = self.samples[: end - self.base], self.samples[end - self.base :]
        self.base = end
        return taken


class StereoWav:
    """Opened with ``with``; leaving it writes what is left. Samples are PCM16 at ``rate``; times are seconds.

    ``start`` is the moment at which the file begins. Sound that comes more than a second late is put after what its
    side has said before.

    Raises:
        AudioFileError: the file cannot be written; the message begins with the path.
    """

    def __init__(self, path: Path, rate: int, start: float) -> None:
        self.path = path
        self.rate = rate
        self._start = start
        self._lanes: dict[Side, _Lane] = {"human": _Lane(rate), "model": _Lane(rate)}
        try:
            self._file = wave.open(str(path), "wb")  # noqa: SIM115 - closed by __exit__
            self._file.setnchannels(2)
            self._file.setsampwidth(2)
            self._file.setframerate(rate)
        except OSError as error:
            raise self._failure(error) from error

    def put(self, side: Side, pcm: bytes, at: float) -> None:
        """``pcm`` of one side, whose first sample was said or heard at the moment ``at``."""
        lane = self._lanes[side]
        lane.put(unpack(pcm), at - self._start)
        if len(lane.samples) > 2 * _LATE * self.rate:
            self._write(lane.end - int(_LATE * self.rate))

    def _write(self, end: int) -> None:
        left, right = (self._lanes[side].take_until(max(end, self._lanes[side].base)) for side in ("human", "model"))
        both = array("h", bytes(4 * len(left)))
        both[0::2], both[1::2] = left, right
        try:
            self._file.writeframes(pack(both))
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> AudioFileError:
        return AudioFileError(f"{self.path}: cannot be written: {error.strerror or type(error).__name__}")

    def __enter__(self) -> StereoWav:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._write(max(lane.end for lane in self._lanes.values()))
        finally:
            self._file.close()


def write_mono(path: Path, pcm: bytes, rate: int) -> None:
    """PCM16 as a WAV file.

    Raises:
        AudioFileError: the file cannot be written.
    """
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(pcm)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be written: {error.strerror or type(error).__name__}") from error
