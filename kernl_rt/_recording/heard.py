"""The model's sound on its way to the human's ear: what of it was heard, and when.

The sound lies on a line, measured in bytes, as the channel counts it. It is heard when the channel says how far it has
played; where the channel says nothing, the clock is asked. What was cleared leaves the line unheard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from attrs import define, frozen

from kernl_rt.config import AudioFormat

__all__ = ["Heard", "HeardLine", "Label"]

#: A time that is a whole sample but for the rounding of floats counts as that sample.
_ROUNDING_MS = 0.01


@frozen
class Label:
    """Whose sound it is."""

    response_id: str | None
    item_id: str


@frozen
class Heard:
    """Sound that was heard from the moment ``at`` on (seconds). ``label`` is ``None`` where nobody knows whose.

    ``fresh``: all was quiet before it.
    """

    audio: bytes
    at: float
    label: Label | None
    fresh: bool = False


@define
class _Piece:
    audio: bytes
    label: Label | None
    #: Without marks: when its first byte is heard.
    at: float = 0.0
    fresh: bool = False


class HeardLine:
    """``marks`` says whether the channel reports positions.

    A line may begin in the middle of a call: ``position`` bytes have been heard by ``now``, and ``ahead`` more were
    sent before: their sound is not known, but their place is.
    """

    def __init__(
        self, format: AudioFormat, *, marks: bool, position: int = 0, ahead: int = 0, now: float = 0.0
    ) -> None:
        self._format = format
        self._marks = marks
        self._heard = position
        self._unknown = ahead
        self._pieces: deque[_Piece] = deque()
        self._size = 0
        #: Without marks: when all that was sent will have been heard.
        self._free_at = now + self._seconds(ahead)
        #: Labels of what was cleared, in order, with sizes: it may be played again.
        self._cut: list[tuple[Label | None, int]] = []

    @property
    def pending(self) -> int:
        """Bytes that wait to be heard."""
        return self._size

    @property
    def heard(self) -> int:
        """Bytes heard since the channel was opened."""
        return self._heard

    # -- in -----------------------------------------------------------------------------------------------------------

    def sent(self, audio: bytes, label: Label | None, now: float) -> None:
        """More sound for the human."""
        fresh = not self._pieces and self._unknown == 0
        at = max(self._free_at, now)
        self._free_at = at + self._seconds(len(audio))
        self._pieces.append(_Piece(audio, label, at, fresh))
        self._size += len(audio)

    def sent_again(self, audio: bytes, now: float, *, stopped: Collection[str | None] = ()) -> None:
        """Sound that was cleared, and plays on: it is still of whom it was. ``stopped`` replies are not among it."""
        self._cut = [(label, size) for label, size in self._cut if label is None or label.response_id not in stopped]
        start = 0
        while start < len(audio):
            label, size = self._cut.pop(0) if self._cut else (None, len(audio))
            if size > len(audio) - start:
                self._cut.insert(0, (label, size - (len(audio) - start)))
                size = len(audio) - start
            self.sent(audio[start : start + size], label, now)
            start += size

    # -- out ----------------------------------------------------------------------------------------------------------

    def mark(self, position_ms: float, at: float) -> list[Heard]:
        """The channel has played up to ``position_ms`` at the moment ``at``."""
        return self._until(self._format.size(max(position_ms, 0.0) + _ROUNDING_MS), at)

    def advance(self, now: float) -> list[Heard]:
        """Without marks: what the clock says was heard by ``now``. Nothing where marks will tell."""
        found: list[Heard] = []
        while not self._marks and self._pieces and self._pieces[0].at < now:
            piece = self._pieces[0]
            size = min(self._format.size((now - piece.at) * 1000 + _ROUNDING_MS), len(piece.audio))
            if size == 0:
                break
            self._heard, self._unknown = self._heard + self._unknown, 0
            found += self._take(size, None)
        return found

    def cut(self, position_ms: float | None, now: float) -> list[Heard]:
        """What is unheard was dropped; ``position_ms`` had been heard, or what the clock says."""
        found = self.advance(now)
        if position_ms is not None:
            found += self.mark(position_ms, now)
        self._cut = [(piece.label, len(piece.audio)) for piece in self._pieces]
        self._pieces.clear()
        self._size, self._unknown, self._free_at = 0, 0, now
        return found

    def drop(self, response_id: str | None, now: float) -> list[Heard]:
        """Without a channel: this reply is not heard any further; what is behind it moves up."""
        found = self.advance(now)
        rest = [piece for piece in self._pieces if piece.label is None or piece.label.response_id != response_id]
        self._pieces.clear()
        self._size, self._free_at = 0, now
        for piece in rest:
            self.sent(piece.audio, piece.label, now)
        return found

    def _until(self, position: int, at: float) -> list[Heard]:
        known = position - self._heard
        if known <= 0:
            return []
        skipped = min(known, self._unknown)
        self._unknown -= skipped
        self._heard += skipped
        size = min(known - skipped, self._size)
        start = at - self._seconds(size)
        if not self._marks and size:  # the channel is ahead of the clock
            start = min(start, self._pieces[0].at)
        return self._take(size, start)

    def _take(self, size: int, at: float | None) -> list[Heard]:
        """``size`` bytes were heard, from the moment ``at`` on, or each piece from the one that the clock gave it."""
        found: list[Heard] = []
        while size > 0 and self._pieces:
            piece = self._pieces[0]
            sound = piece.audio[:size]
            seconds = self._seconds(len(sound))
            found.append(Heard(sound, piece.at if at is None else at, piece.label, piece.fresh))
            at = None if at is None else at + seconds
            if len(sound) == len(piece.audio):
                self._pieces.popleft()
            else:
                piece.audio, piece.at, piece.fresh = piece.audio[len(sound) :], piece.at + seconds, False
            size -= len(sound)
            self._size -= len(sound)
            self._heard += len(sound)
        return found

    def _seconds(self, size: int) -> float:
        return self._format.ms(size) / 1000
