"""What was handed to a loudspeaker, and what of it has been heard.

The invariants, in any order of calls: ``0 <= heard <= sent``; neither ``heard`` nor the position runs backwards; what
:meth:`Playout.clear` dropped is never heard. Time enters as ``now``, in seconds; only whole samples are heard.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from attrs import frozen

from kernl_rt._audio.elapsed import size_in
from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import SessionStateError

__all__ = ["Heard", "Pace", "Playout"]

#: ``"realtime"``: by the clock. ``"instant"``: heard as soon as it is sent. ``"manual"``: heard when somebody says so.
Pace: TypeAlias = Literal["realtime", "instant", "manual"]


@frozen
class Heard:
    """Sound that was heard, and when its first byte was, in seconds."""

    audio: bytes
    at: float


class Playout:
    """The ledger of one loudspeaker. All sizes are bytes in ``audio_format``, in whole samples."""

    def __init__(self, audio_format: AudioFormat, pace: Pace = "realtime", *, mark_ms: float = 20.0) -> None:
        self.audio_format = audio_format
        self.pace = pace
        self._step = max(audio_format.size(mark_ms), audio_format.sample_width)
        self._queue: deque[bytes] = deque()
        #: Sound heard, and sent less what was cleared, since the beginning.
        self.heard: int = 0
        self.sent: int = 0
        self.cleared: int = 0
        self._reported = 0
        # While sound plays by the clock: what had been heard at the moment ``_anchor``.
        self._anchor = 0.0
        self._anchored = 0
        self._quiet_since = 0.0

    @property
    def pending(self) -> int:
        """Sent, not heard and not cleared."""
        return self.sent - self.heard

    @property
    def position_ms(self) -> float:
        return self.audio_format.ms(self.heard)

    @property
    def quiet_since(self) -> float:
        """When the last sound ended, or was cleared; means nothing while sound is pending."""
        return self._quiet_since

    def time_of(self, heard: int) -> float:
        """When ``heard`` bytes will have been heard, if nothing is cleared (pace ``"realtime"``)."""
        return self._anchor + (heard - self._anchored) / self.audio_format.bytes_per_second

    @property
    def mark_at(self) -> float | None:
        """When the next report of the position is due by the clock; ``None`` while nothing plays."""
        if self.pace != "realtime" or not self.pending:
            return None
        return self.time_of(min(self._reported + self._step, self.sent))

    def push(self, audio: bytes, now: float) -> list[Heard]:
        """Sound was sent. Gives what was heard meanwhile, and by this."""
        heard = self.advance(now)
        if not audio:
            return heard
        if not self.pending:
            self._anchor, self._anchored = now, self.heard
        self._queue.append(audio)
        self.sent += len(audio)
        if self.pace == "instant":
            heard += self._hear(len(audio), now)
        return heard

    def advance(self, now: float) -> list[Heard]:
        """Time has passed. Gives what was heard meanwhile, in order."""
        if self.pace != "realtime" or not self.pending:
            return []
        reached = min(self._anchored + size_in(self.audio_format, now - self._anchor), self.sent)
        if reached <= self.heard:
            return []
        return self._hear(reached - self.heard, self.time_of(self.heard))

    def play(self, size: int, now: float) -> list[Heard]:
        """``size`` bytes more were heard, somebody says (pace ``"manual"``).

        Raises:
            SessionStateError: so much is not pending.
        """
        if not 0 <= size <= self.pending:
            raise SessionStateError(
                f"{self.audio_format.ms(size):g} ms cannot have been heard: "
                f"{self.audio_format.ms(self.pending):g} ms are waiting to be played"
            )
        return self._hear(size, now) if size else []

    def clear(self, now: float) -> tuple[list[Heard], int]:
        """Drop what was not heard. Gives what was heard meanwhile, and how much was dropped."""
        heard = self.advance(now)
        dropped = self.pending
        self._queue.clear()
        self.sent = self.heard
        self.cleared += dropped
        self._reported = self.heard
        if dropped:
            self._quiet_since = now
        return heard, dropped

    def take_mark(self) -> float | None:
        """The position in milliseconds if a report of it is due: every step, and at the end of what was sent."""
        fresh = self.heard - self._reported
        if not fresh or (self.pace == "realtime" and fresh < self._step and self.pending):
            return None
        self._reported = self.heard
        return self.position_ms

    def _hear(self, size: int, at: float) -> list[Heard]:
        pieces: list[Heard] = []
        while size:
            piece = self._queue.popleft()
            if len(piece) > size:
                self._queue.appendleft(piece[size:])
                piece = piece[:size]
            pieces.append(Heard(piece, at))
            size -= len(piece)
            self.heard += len(piece)
            if self.pace == "realtime":
                at = self.time_of(self.heard)
        self._quiet_since = at
        return pieces
