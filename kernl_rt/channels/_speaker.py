"""The loudspeaker half of a channel whose playback is reckoned here: bounded send-ahead, exact clearing, marks.

No task plays the sound. What has been heard is a function of the clock, worked out whenever somebody asks, so nothing
can be left running.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt._audio.framing import Framer
from kernl_rt._audio.playout import Heard, Pace, Playout
from kernl_rt.channels._gate import Gate
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioPlayed
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Speaker", "check_send_ahead"]

#: Room is waited for in pieces of at least this, in milliseconds, not sample by sample.
_PIECE_MS = 20.0

OnHeard = Callable[[Heard], None]
OnSent = Callable[[bytes], None]


def check_send_ahead(send_ahead_ms: float) -> None:
    """Refuse a send-ahead that would play nothing, or that leaves too much to clear."""
    if not 1 <= send_ahead_ms <= 60_000:
        raise MisconfiguredError(f"a send-ahead of {send_ahead_ms!r} ms cannot be: use 1 to 60000, 200 is usual")


class Speaker:
    """Takes sound as ``RealtimeChannel.send`` does. ``on_sent`` gets it at once, ``on_heard`` when it was heard."""

    def __init__(
        self,
        audio_format: AudioFormat,
        pace: Pace,
        *,
        send_ahead_ms: float,
        on_heard: OnHeard | None = None,
        on_sent: OnSent | None = None,
    ) -> None:
        self.playout: Playout = Playout(audio_format, pace)
        width = audio_format.sample_width
        self._samples = Framer(width, audio_format.silence)
        self._ahead = max(audio_format.size(send_ahead_ms), width)
        self._piece = min(max(audio_format.size(_PIECE_MS), width), self._ahead)
        self._on_heard = on_heard
        self._on_sent = on_sent
        self._cleared = 0  # counts calls of clear: a send that sees it change drops the rest of its sound
        self._failure: Exception | None = None
        self._ended = False
        self._changed = Gate()
        self.last_sent_at: float | None = None
        self.discarded: int = 0  # bytes sent after the end

    # -- waiting ------------------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Wake everybody who waits: something changed."""
        self._changed.open()

    async def wait(self, until: float | None) -> None:
        """Until something changes, or the moment ``until``."""
        await self._changed.wait(until)

    # -- the channel's verbs ------------------------------------------------------------------------------------------

    async def send(self, audio: bytes) -> None:
        """Accept ``audio`` piece by piece, never more than the send-ahead unheard.

        Cancelling it leaves accepted pieces playing. When :meth:`clear` is called meanwhile, the rest is dropped.
        """
        cleared = self._cleared
        await checkpoint()
        if self._cleared != cleared:
            self._raise_failure()
            return
        rest = memoryview(self._samples.push_joined(audio))
        while rest and not self._is_over(len(rest)):
            if self.playout.pace == "instant":  # nothing is ever unheard
                self._accept(bytes(rest))
                break
            self.advance()
            wanted = min(len(rest), self._piece)
            excess = self.playout.pending + wanted - self._ahead
            if excess <= 0:
                size = min(len(rest), wanted - excess)
                self._accept(bytes(rest[:size]))
                rest = rest[size:]
                continue
            await self.wait(self._room_at(excess))
            if self._cleared != cleared:
                break
        self._raise_failure()

    async def flush(self) -> None:
        """Play also the half of a sample that a cut left over, completed with silence."""
        await checkpoint()
        if (rest := self._samples.flush()) and not self._is_over(len(rest)):
            self.advance()
            self._accept(rest)

    def clear(self) -> int:
        """Drop what was not heard; says how many bytes were dropped."""
        self._cleared += 1
        self._samples.clear()
        heard, dropped = self.playout.clear(anyio.current_time())
        self._hand_on(heard)
        self.notify()
        return dropped

    def play(self, size: int) -> None:
        """``size`` bytes more were heard, the far end says."""
        self._hand_on(self.playout.play(size, anyio.current_time()))
        self.notify()

    def end(self) -> None:
        """Nobody listens any more: stop, and discard what is still sent."""
        self._ended = True
        self.clear()

    def fail(self, failure: Exception) -> None:
        """The far end broke: ``send`` raises ``failure`` from now on."""
        self._failure = failure
        self.end()

    # -- playback -----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Bring the position up to now, and hand on what was heard meanwhile."""
        self._hand_on(self.playout.advance(anyio.current_time()))

    def take_mark(self) -> AudioPlayed | None:
        """The report that is due, if any."""
        position = self.playout.take_mark()
        return None if position is None else AudioPlayed(position, at=anyio.current_time())

    def _room_at(self, excess: int) -> float | None:
        playout = self.playout
        return playout.time_of(playout.heard + excess) if playout.pace == "realtime" else None

    def _accept(self, audio: bytes) -> None:
        now = anyio.current_time()
        self.last_sent_at = now
        if self._on_sent is not None:
            self._on_sent(audio)
        self._hand_on(self.playout.push(audio, now))
        self.notify()

    def _hand_on(self, heard: list[Heard]) -> None:
        if self._on_heard is not None:
            for piece in heard:
                self._on_heard(piece)

    def _is_over(self, size: int) -> bool:
        self._raise_failure()
        if self._ended:
            self.discarded += size
        return self._ended

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
