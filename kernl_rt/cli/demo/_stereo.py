"""A stereo WAV file of a conversation: left the human, right the model, each sound where it was on the clock.

Sound comes in piece by piece with the moment at which it was said or heard. What is older than a second is written;
so the memory stays small however long the conversation is.
"""

from __future__ import annotations

import wave
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, TypeAlias

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
        self._disk, self._file = _opened(path, 2, rate)

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
            raise _failure(self.path, error) from error

    def __enter__(self) -> StereoWav:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._write(max(lane.end for lane in self._lanes.values()))
        finally:
            _close(self.path, self._disk, self._file)


def write_mono(path: Path, pcm: bytes, rate: int) -> None:
    """PCM16 as a WAV file.

    Raises:
        AudioFileError: the file cannot be written.
    """
    disk, file = _opened(path, 1, rate)
    try:
        file.writeframes(pcm)
    except OSError as error:
        raise _failure(path, error) from error
    finally:
        _close(path, disk, file)


def _opened(path: Path, channels: int, rate: int) -> tuple[BinaryIO, wave.Wave_write]:
    try:
        # Opened here and not by ``wave``, which would complain about itself later when the path is wrong.
        disk = path.open("wb")
    except OSError as error:
        raise _failure(path, error) from error
    file = wave.open(disk, "wb")  # noqa: SIM115 - closed by the caller
    file.setnchannels(channels)
    file.setsampwidth(2)
    file.setframerate(rate)
    return disk, file


def _close(path: Path, disk: BinaryIO, file: wave.Wave_write) -> None:
    try:
        with disk:
            file.close()  # writes the sizes into the header
    except OSError as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: OSError) -> AudioFileError:
    return AudioFileError(f"{path}: cannot be written: {error.strerror or type(error).__name__}")
