"""Two rings between a sound card's thread and the event loop, one for each direction.

The card's thread must never wait, so there is no lock: of two threads one puts and one takes, each counter has one
writer, and what is shared is a deque, whose ``append``, ``popleft`` and ``clear`` are atomic.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["CaptureRing", "Captured", "Handed", "PlaybackRing"]


@frozen
class Captured:
    """A block of the microphone's. ``offset`` is how many bytes were captured before it, ``at`` when it began."""

    offset: int
    audio: bytes
    at: float


class CaptureRing:
    """From the microphone: at most ``blocks`` blocks wait; of more, the oldest are dropped, and counted."""

    def __init__(self, blocks: int) -> None:
        if blocks < 1:
            raise MisconfiguredError(f"a ring of {blocks} blocks holds nothing: use 1 or more")
        self._blocks: deque[Captured] = deque(maxlen=blocks)
        self._put = 0  # written by the card's thread
        self._taken = 0  # written by the loop, as is the next
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._blocks)

    @property
    def captured(self) -> int:
        """Bytes captured since the beginning."""
        return self._put

    @property
    def dropped(self) -> int:
        """Bytes dropped because nobody took them."""
        try:
            return self._dropped + self._blocks[0].offset - self._taken
        except IndexError:
            return self._dropped

    def put(self, audio: bytes, at: float) -> None:
        """Called by the card's thread."""
        if audio:
            self._blocks.append(Captured(self._put, audio, at))
            self._put += len(audio)

    def take(self) -> Captured | None:
        """The oldest block. Called by the loop."""
        try:
            block = self._blocks.popleft()
        except IndexError:
            return None
        self._dropped += block.offset - self._taken
        self._taken = block.offset + len(block.audio)
        return block


@frozen
class Handed:
    """``size`` bytes were handed to the card, which plays the first of them at ``at``. See :class:`PlaybackRing`."""

    generation: int
    size: int
    at: float


class PlaybackRing:
    """To the loudspeaker. Whoever pushes bounds it: only as much may wait as was decided to be sent ahead.

    Sound belongs to a *generation*, which ends with :meth:`clear`: a block that the card's thread holds in its hands at
    that moment is dropped at its next turn, and what it reports of it later can be told from what came after.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._bytes_per_second = bytes_per_second
        self._pieces: deque[tuple[int, bytes]] = deque()
        # Written by the loop.
        self.generation: int = 0
        self.complete: bool = True
        # Written by the card's thread.
        self._reports: deque[Handed] = deque()
        self._rest = b""
        self._rest_generation = 0
        self._flowing = False
        self.gaps: int = 0

    # -- the loop's side ----------------------------------------------------------------------------------------------

    def push(self, audio: bytes) -> None:
        """Play ``audio`` after what was pushed before."""
        if audio:
            self.complete = False
            self._pieces.append((self.generation, audio))

    def end(self) -> None:
        """The sound is complete: that nothing follows is no gap."""
        self.complete = True

    def clear(self) -> None:
        """Forget what was not handed over."""
        self.generation += 1
        self.complete = True
        self._pieces.clear()

    def take_reports(self) -> list[Handed]:
        """What was handed over since the last call, in order. There are never more than the blocks in the ring."""
        reports: list[Handed] = []
        while self._reports:
            reports.append(self._reports.popleft())
        return reports

    # -- the card's side ----------------------------------------------------------------------------------------------

    def fill(self, out: memoryview, at: float) -> int:
        """Fill ``out``, which begins to be heard at ``at``: with sound, then silence. Gives the bytes of sound."""
        filled = begin = 0
        generation = self.generation
        while filled < len(out) and (piece := self._next()) is not None:
            if self._rest_generation != generation:
                self._report(generation, begin, filled, at)
                generation, begin = self._rest_generation, filled
            size = min(len(piece), len(out) - filled)
            out[filled : filled + size] = piece[:size]
            self._rest = piece[size:]
            filled += size
        self._report(generation, begin, filled, at)
        if filled < len(out):
            out[filled:] = bytes(len(out) - filled)
            if (filled or self._flowing) and not self.complete:
                self.gaps += 1
        self._flowing = filled == len(out)
        return filled

    def _next(self) -> bytes | None:
        """The sound to play next, of this generation."""
        while True:
            if self._rest and self._rest_generation == self.generation:
                return self._rest
            try:
                self._rest_generation, self._rest = self._pieces.popleft()
            except IndexError:
                self._rest = b""
                return None

    def _report(self, generation: int, begin: int, end: int, at: float) -> None:
        if end > begin:
            self._reports.append(Handed(generation, end - begin, at + begin / self._bytes_per_second))
