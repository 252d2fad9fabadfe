"""What was sent to a loudspeaker at the far end of a link, and what of it has been heard.

Nobody here sees that loudspeaker. It confirms, late, in one of two ways: by a count of what it has really played (a
browser), or by echoing named marks that stand between the sound (a phone carrier). Between two confirmations its clock
goes on, so the position does too, but only as far as it is trusted to.

The invariants, in any order of calls: ``0 <= confirmed``, ``heard <= sent``; ``heard`` never runs backwards; what
:meth:`FarPlayout.clear` dropped is never heard, nor does a confirmation that was on its way at that moment count for
what is sent afterwards.

Two units meet: *sound* is bytes in the session's format, *far* is bytes in the link's. Where nothing is converted they
are the same. Time enters as ``now``, in seconds.
"""

from __future__ import annotations

from collections import deque

from kernl_rt._audio.elapsed import size_in
from kernl_rt.config import AudioFormat

__all__ = ["FarPlayout"]


class FarPlayout:
    """The ledger of one far loudspeaker.

    Args:
        audio_format: of the sound, as the session sends it.
        ahead_ms: how far the sender may be ahead of what the far end's clock must have played.
        slack_ms: and by how much more ahead of what it has confirmed.
        trust_ms: how far beyond the last confirmation the clock alone may take the position; ``None`` for a far end
            that confirms nothing.
        step_ms: the position is reported (:meth:`take_mark`) in steps of this.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        ahead_ms: float = 200.0,
        slack_ms: float = 1_000.0,
        trust_ms: float | None = 120.0,
        step_ms: float = 20.0,
    ) -> None:
        self.audio_format = audio_format
        width = audio_format.sample_width
        self._ahead = max(audio_format.size(ahead_ms), width)
        self._unconfirmed = self._ahead + audio_format.size(slack_ms)
        self._trust = None if trust_ms is None else max(audio_format.size(trust_ms), width)
        self._step = max(audio_format.size(step_ms), width)
        #: Sound sent less what was cleared, heard, and confirmed by the far end, since the beginning.
        self.sent: int = 0
        self.heard: int = 0
        self.confirmed: int = 0
        #: Sound that was cleared unheard; confirmations that came too late, or claimed what was never sent.
        self.cleared: int = 0
        self.stale: int = 0
        self.excess: int = 0
        #: How often the far end was told to clear: its counts say which of these they follow.
        self.clears: int = 0
        self._reported = 0
        # The position was ``_anchored`` at the moment ``_anchor``, and goes on by the clock from there.
        self._anchor, self._anchored = 0.0, 0
        # The same for the pace of sending, which does not wait for news to travel.
        self._pace_anchor, self._paced = 0.0, 0
        # Since the last clear: far bytes sent and confirmed, and where the far end's own count began.
        self._far_sent = 0
        self._far_heard = 0
        self._far_base: int | None = 0
        #: (sound, far) sent up to the end of each piece that is not confirmed.
        self._pieces: deque[tuple[int, int]] = deque()
        self._start = (0, 0)  # where the first of them begins
        self._emitted = 0  # sound whose far bytes have been sent: less than ``sent`` while a filter holds some back
        self._marks: deque[tuple[str, int]] = deque()

    # -- what was sent ------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Sent, not heard and not cleared."""
        return self.sent - self.heard

    @property
    def unconfirmed(self) -> int:
        """Sent, and neither confirmed nor cleared."""
        return self.sent - self.confirmed

    @property
    def position_ms(self) -> float:
        return self.audio_format.ms(self.heard)

    def push(self, size: int, far_size: int, now: float) -> None:
        """``size`` bytes of sound were taken, which made ``far_size`` bytes for the link; maybe none yet."""
        self.advance(now)
        if self.heard >= self.sent:
            self._anchor, self._anchored = now, self.sent
        if self._pace(now) >= self.sent:
            self._pace_anchor, self._paced = now, self.sent
        self.sent += size
        if far_size:
            if not self._pieces:
                self._start = (self._emitted, self._far_sent)
            self._far_sent += far_size
            self._pieces.append((self.sent, self._far_sent))
            self._emitted = self.sent

    def settle(self, now: float) -> None:
        """The filters are empty: what they swallowed ends with the piece before it."""
        self.advance(now)
        if self._emitted == self.sent:
            return
        self._emitted = self.sent
        if self._pieces:
            self._pieces[-1] = (self.sent, self._pieces[-1][1])
        else:
            self._confirm(self.sent, now)

    def mark(self, name: str) -> None:
        """A mark named ``name`` was sent after the sound so far. Names are used once."""
        self._marks.append((name, self._emitted))

    def room_at(self, size: int, now: float) -> float | None:
        """When ``size`` bytes more may be sent; a moment that is past means now, ``None`` after a confirmation only."""
        ahead = self.sent + size
        if self._trust is not None and self.unconfirmed and ahead - self.confirmed > self._unconfirmed:
            return None
        if ahead - self._pace(now) <= self._ahead or not self.sent - self._pace(now):
            return now
        excess = min(ahead - self._ahead, self.sent) - self._paced
        return self._pace_anchor + excess / self.audio_format.bytes_per_second

    # -- what was heard -----------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Time has passed."""
        reached = min(self._anchored + size_in(self.audio_format, now - self._anchor), self._limit)
        if reached > self.heard:
            self.heard = reached
        if self._trust is None and self.heard > self.confirmed:
            self._forget(self.heard)

    def played(self, far: int, clears: int | None, now: float) -> None:
        """The far end has really played ``far`` bytes since the beginning, and had obeyed ``clears`` orders to clear.

        A count that follows fewer clears than were ordered was on its way then, and is not used. ``None``: the far end
        does not say; its first count after a clear is taken as the position of that clear.
        """
        self.advance(now)
        if clears is not None and clears != self.clears:
            self.stale += 1
            return
        if self._far_base is None:
            self._far_base = far
        reached = far - self._far_base
        if reached > self._far_sent:
            self.excess += 1
            reached = self._far_sent
        if reached < self._far_heard:
            self.stale += 1
            return
        self._far_heard = reached
        self._confirm(self._sound_of(reached), now)

    def echoed(self, name: str, now: float) -> None:
        """The far end has played all up to the mark ``name``. One that was cleared, or was never sent, is not used."""
        self.advance(now)
        position = next((position for known, position in self._marks if known == name), None)
        if position is None:
            self.stale += 1
            return
        while self._marks.popleft()[0] != name:
            pass  # played as well, though its echo was lost
        self._confirm(position, now)

    def clear(self, now: float) -> bool:
        """Drop what was not heard. Whether the far end may hold some of it, and so must be told."""
        self.advance(now)
        held = self.unconfirmed > 0
        self.cleared += self.pending
        self.sent = self.confirmed = self._emitted = self._reported = self.heard
        self._anchor = self._pace_anchor = now
        self._anchored = self._paced = self.heard
        self._pieces.clear()
        self._marks.clear()
        if held:
            self.clears += 1
            self._start = (self.heard, 0)
            self._far_sent = self._far_heard = 0
            self._far_base = None
        return held

    # -- reports ------------------------------------------------------------------------------------------------------

    @property
    def mark_at(self) -> float | None:
        """When the next report is due by the clock alone; ``None`` while only a confirmation can bring one."""
        limit = self._limit
        if self.heard >= limit:
            return None
        wanted = max(min(self._reported + self._step, limit), self.heard + self.audio_format.sample_width)
        return self._anchor + (wanted - self._anchored) / self.audio_format.bytes_per_second

    def take_mark(self) -> float | None:
        """The position in milliseconds if a report of it is due: every step, and at the end of what was sent."""
        fresh = self.heard - self._reported
        if not fresh or (fresh < self._step and self.pending):
            return None
        self._reported = self.heard
        return self.position_ms

    # -- arithmetic ---------------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        """How far the clock alone may take the position."""
        limit = self.sent
        if self._trust is not None:
            limit = min(limit, self.confirmed + self._trust)
        if self._marks:
            limit = min(limit, self._marks[0][1])
        return limit

    def _pace(self, now: float) -> int:
        return min(self._paced + size_in(self.audio_format, now - self._pace_anchor), self.sent)

    def _sound_of(self, far: int) -> int:
        """What sound the first ``far`` bytes for the link, since the last clear, were made of."""
        sound, start = self._start
        for end, far_end in self._pieces:
            if far_end > far:
                part = (end - sound) * max(far - start, 0) // (far_end - start)
                return sound + part - part % self.audio_format.sample_width
            sound, start = end, far_end
        return sound

    def _confirm(self, position: int, now: float) -> None:
        if position <= self.confirmed:
            return
        if position > self._pace(now):
            self._pace_anchor, self._paced = now, position
        self._anchor, self._anchored = now, position
        self._forget(position)
        self.heard = max(self.heard, position)

    def _forget(self, position: int) -> None:
        self.confirmed = position
        while self._pieces and self._pieces[0][0] <= position:
            self._start = self._pieces.popleft()
