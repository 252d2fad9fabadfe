"""The far end of a memory channel."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt.channels.memory._line import Call, Line
from kernl_rt.events import ActivityEnded, ActivityStarted, AudioCaptured, DtmfPressed
from kernl_rt.exceptions import ChannelError, MisconfiguredError, SessionStateError

__all__ = ["MemoryHuman"]

_FRAME_MS = 20.0
_KEYS = frozenset("0123456789*#ABCD")


#: Sound is heard in pieces of at least so many milliseconds, but for the last.
_STEP_MS = 20.0


class MemoryHuman:
    """The far end of a :class:`MemoryChannel`: speaks, listens, presses keys, hangs up. Made by the channel.

    The verbs that wait also wait for the channel to be opened; the others raise :class:`SessionStateError` before.
    After the session has closed the channel, or the human has hung up, verbs raise :class:`ChannelError`; what has
    reached the far end can still be fetched.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    async def wait_open(self) -> None:
        """Until the session has opened the channel."""
        await self._line.opened.wait()

    async def speak(self, audio: bytes) -> None:
        """Say ``audio``, in the channel's input format.

        With ``playback="realtime"`` it takes as long as the sound lasts, in frames of 20 ms with their capture times;
        else it is one event. Waits while the buffer is full. Cancelling it leaves the rest unsaid.
        """
        await self.wait_open()
        call = self._talking()
        if self._line.playback != "realtime":
            await self._hand_over(call, AudioCaptured(audio, at=anyio.current_time()))
            return
        start = anyio.current_time()
        frame = call.input_format.size(_FRAME_MS) or call.input_format.sample_width
        for offset in range(0, len(audio), frame):
            piece = audio[offset : offset + frame]
            await anyio.sleep_until(start + call.input_format.ms(offset + len(piece)) / 1000)
            captured_at = start + call.input_format.ms(offset) / 1000
            await self._hand_over(call, AudioCaptured(piece, at=captured_at))

    async def _hand_over(self, call: Call, event: AudioCaptured) -> None:
        await checkpoint()
        while not call.inbox.has_room(len(event.audio)):
            self._talking()
            await call.speaker.wait(None)
        self._talking()
        call.inbox.put_audio(event)
        call.speaker.notify()

    def speak_nowait(self, audio: bytes, *, at: float | None = None) -> None:
        """Say ``audio`` at once, as one event captured at ``at`` (default: now).

        Raises:
            anyio.WouldBlock: the buffer is full and the channel is not ``live``.
        """
        call = self._talking()
        if not call.inbox.has_room(len(audio)):
            if not self._line.live:
                raise anyio.WouldBlock
            call.inbox.make_room(len(audio))
        call.inbox.put_audio(AudioCaptured(audio, at=anyio.current_time() if at is None else at))
        call.speaker.notify()

    def activity_started(self) -> None:
        """The human's own detector says that speech began."""
        self._report(ActivityStarted(at=anyio.current_time()))

    def activity_ended(self) -> None:
        """The human's own detector says that speech ended."""
        self._report(ActivityEnded(at=anyio.current_time()))

    def press(self, keys: str) -> None:
        """Press one or more of ``0-9*#A-D``."""
        if unknown := set(keys) - _KEYS:
            raise MisconfiguredError(f"no such key on a phone: {', '.join(sorted(unknown))}; there are 0-9 * # A-D")
        for key in keys:
            self._report(DtmfPressed(key, at=anyio.current_time()))

    def _report(self, event: ActivityStarted | ActivityEnded | DtmfPressed) -> None:
        call = self._talking()
        call.inbox.put_event(event)
        call.speaker.notify()

    def played(self, ms: float | None = None) -> None:
        """``ms`` milliseconds more were heard; all that was sent where ``None``. Only with ``playback="manual"``.

        Raises:
            SessionStateError: so much was not sent, or playback is not manual.
        """
        call = self._talking()
        if self._line.playback != "manual":
            raise SessionStateError("only a MemoryChannel with playback='manual' is told what was played")
        playout = call.speaker.playout
        call.speaker.play(playout.pending if ms is None else playout.audio_format.size(ms))
        self._line.advance(call)

    async def hear(self) -> bytes:
        """The next piece of sound: what was heard, or with manual playback what was sent. Cancelling it loses nothing.

        Raises:
            anyio.EndOfStream: the channel is closed, or the human has hung up, and all was fetched.
        """
        await self.wait_open()
        await checkpoint()
        while True:
            call = self._line.for_human()
            self._line.advance(call)
            playout, ear = call.speaker.playout, self._line.ear
            if call.is_over and not ear:
                raise anyio.EndOfStream
            # While sound plays, let a step of it gather: a clock that is asked at once gives single samples.
            missing = playout.audio_format.size(_STEP_MS) - ear.size
            plays = playout.mark_at is not None
            if not call.is_over and (not ear or (plays and missing > 0)):
                due = playout.time_of(min(playout.heard + missing, playout.sent)) if plays else None
                await call.speaker.wait(due)
                continue
            return ear.take_all() if self._line.playback == "realtime" else ear.take()

    def hear_nowait(self) -> bytes:
        """As :meth:`hear`.

        Raises:
            anyio.WouldBlock: there is nothing to hear now.
        """
        call = self._line.for_human()
        self._line.advance(call)
        if self._line.ear:
            return self._line.ear.take()
        if call.is_over:
            raise anyio.EndOfStream
        raise anyio.WouldBlock

    def __aiter__(self) -> MemoryHuman:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.hear()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def hang_up(self) -> None:
        """Leave. What was said before still arrives, then ``receive`` raises ``anyio.EndOfStream``. Idempotent."""
        call = self._line.for_human()
        if call.is_over:
            return
        self._line.advance(call)
        self._stop(call)

    def fail(self, failure: BaseException | str = "the line broke") -> None:
        """The line breaks: ``receive`` and ``send`` raise :class:`ChannelError` from now on."""
        call = self._line.for_human()
        if isinstance(failure, ChannelError):
            call.failure = failure
        else:
            call.failure = ChannelError(str(failure) or type(failure).__name__)
            call.failure.__cause__ = failure if isinstance(failure, BaseException) else None
        call.speaker.fail(call.failure)
        self._stop(call)

    def _stop(self, call: Call) -> None:
        call.hung_up = True
        call.speaker.end()

    def _talking(self) -> Call:
        call = self._line.for_human()
        call.raise_failure()
        if call.closed:
            raise ChannelError("the session has closed this channel")
        if call.hung_up:
            raise ChannelError("the human has hung up")
        return call
