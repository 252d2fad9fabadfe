"""Where sound stands in a stereo file: left the human, right the model, each by its own clock.

A side is placed by the moment of its first sample. Clocks jitter: what misses the end of the sound before it by a few
milliseconds follows it without a gap, so that a run of sound does not click.
"""

from __future__ import annotations

import struct
from array import array
from typing import Final, Literal, TypeAlias

__all__ = ["HEADER_SIZE", "LARGEST", "LEFT", "RIGHT", "Lane", "Side", "overlaid", "wav_header"]

#: The place of a side's sample in a frame of the file.
Side: TypeAlias = Literal[0, 1]
LEFT: Final = 0
RIGHT: Final = 1

#: Seconds by which a piece may miss the end of the one before it and still follow it.
JITTER = 0.06

HEADER_SIZE = 44
#: Bytes of sound that the sizes in a header can say.
LARGEST = 2**32 - 1 - HEADER_SIZE
_FRAME = 4
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Lane:
    """The samples of one side at ``rate`` per second; the recording begins at sample 0."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        #: The sample behind the last that was placed.
        self.end = 0

    def place(self, samples: int, at: float, *, fresh: bool = False) -> int:
        """Where these samples begin, the first of which was said or heard ``at`` seconds after the beginning.

        ``fresh`` sound does not go on with what was there before, however near it is. What comes too late to have its
        place stands behind what its side has said before: nothing is lost or mixed.
        """
        wanted = round(at * self.rate)
        fresh = fresh or self.end == 0
        start = wanted if wanted - self.end > (0 if fresh else JITTER * self.rate) else self.end
        self.end = start + samples
        return start


def overlaid(stereo: bytes, side: Side, mono: bytes) -> bytes:
    """Frames of the file with one side's PCM16 replaced. ``stereo`` is filled up with silence where it is shorter."""
    frames = array("h", stereo.ljust(2 * len(mono), b"\0"))
    # Sixteen-bit units are moved, never read: their byte order does not matter.
    frames[side::2] = array("h", mono)
    return frames.tobytes()


def wav_header(rate: int, size: int) -> bytes:
    """The header of a stereo PCM16 file that holds ``size`` bytes of sound."""
    size = min(size - size % _FRAME, LARGEST - LARGEST % _FRAME)
    return _HEADER.pack(
        b"RIFF",
        size + HEADER_SIZE - 8,
        b"WAVE",
        b"fmt ",
        16,
        1,
        2,
        rate,
        rate * _FRAME,
        _FRAME,
        16,
        b"data",
        size,
    )
