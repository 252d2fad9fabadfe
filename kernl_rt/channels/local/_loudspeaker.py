"""The loudspeaker's half: what is sent goes through a ring to the card, whose clock says what was heard."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import anyio

from kernl_rt._audio.device import DeviceClock, DevicePlayback
from kernl_rt._audio.resample import Converter, convert
from kernl_rt._audio.ring import PlaybackRing
from kernl_rt.channels._speaker import Speaker
from kernl_rt.channels.local._card import BlockTime
from kernl_rt.channels.local._loop import Bell
from kernl_rt.config import AudioFormat

__all__ = ["Loudspeaker"]

#: Stretches of sound that are remembered, and the pause between two of them, in seconds.
_STRETCHES = 16
_PAUSE = 0.02


class Loudspeaker(Speaker):
    """A speaker whose position is worked out from the card's reports whenever somebody asks.

    It is asked by whoever waits: the card's thread rings the bell after each block, which ends every wait.
    """

    def __init__(
        self, audio_format: AudioFormat, device_format: AudioFormat, latency: float, bell: Bell, *, send_ahead_ms: float
    ) -> None:
        super().__init__(audio_format, "manual", send_ahead_ms=send_ahead_ms, on_sent=self._push)
        self._bell = bell
        bell.answer = self.notify
        self._clock = DeviceClock(latency)
        self._played = DevicePlayback(audio_format, device_format)
        self._converter: Converter = convert(audio_format, device_format)
        self._heard = 0
        #: Raises when the card has failed, else says when to look again. Asked before each wait.
        self.watch: Callable[[], float] = lambda: math.inf
        self._playing_until = -math.inf  # written by the card's thread, as are the next two
        self.last_block_at: float = bell.loop.now()
        self.underflows: int = 0
        self.ring: PlaybackRing = PlaybackRing(device_format.bytes_per_second)
        self._audible: deque[tuple[float, float]] = deque(maxlen=_STRETCHES)
        self._bytes_per_second = device_format.bytes_per_second

    # -- in the card's thread -----------------------------------------------------------------------------------------

    def on_block(self, out: memoryview, time: BlockTime) -> None:
        """Fill a block. Never waits."""
        now = self._bell.loop.now()
        self.last_block_at = now
        self.underflows += time.lost
        at = self._clock.heard_at(time.at, time.now, now)
        filled = self.ring.fill(out, at)
        if filled:
            self._playing_until = at + filled / self._bytes_per_second
        # Once more after the end, so that the last of it is reported as heard, too.
        if filled or now <= self._playing_until + len(out) / self._bytes_per_second:
            self._bell.ring()

    # -- in the loop --------------------------------------------------------------------------------------------------

    async def wait(self, until: float | None) -> None:
        limit = self.watch()
        await super().wait(limit if until is None else min(limit, until))

    def advance(self) -> None:
        """Take the card's reports, and bring the position up to now."""
        for report in self.ring.take_reports():
            self._sounds(report.at, report.at + report.size / self._bytes_per_second)
            if report.generation == self.ring.generation:
                self._played.hand(report.size, report.at)
        heard = self._played.heard(anyio.current_time())
        if heard > self._heard:
            size, self._heard = heard - self._heard, heard
            self.play(size)

    def sounded(self, begin: float, end: float) -> bool:
        """Whether the loudspeaker was, or will be, heard between two moments, with sound that was cleared or not."""
        return any(start < end and begin < stop for start, stop in self._audible)

    def _sounds(self, begin: float, end: float) -> None:
        if self._audible and begin - self._audible[-1][1] < _PAUSE:
            begin = self._audible.pop()[0]
        self._audible.append((begin, end))

    def clear(self) -> int:
        """Drop what is not heard yet. What the card holds already, some milliseconds, cannot be taken back: it does not
        count as heard.
        """
        self.advance()
        self.ring.clear()
        self._converter.clear()
        self._played.clear()
        self._heard = 0
        return super().clear()

    async def flush(self) -> None:
        """The reply's sound is complete: play also what the converter holds back."""
        await super().flush()
        rest = self._converter.flush()
        self.ring.push(rest)
        self._played.end(len(rest))
        self.ring.end()

    def _push(self, audio: bytes) -> None:
        sound = self._converter.push(audio)
        self._played.push(len(audio), len(sound))
        self.ring.push(sound)
