"""The session's end of a memory channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint
from attrs import evolve, frozen

from kernl_rt._audio.formats import check_offered, offered
from kernl_rt._audio.playout import Pace
from kernl_rt._audio.resample import convert
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._inbox import Inbox
from kernl_rt.channels._speaker import Speaker, check_send_ahead
from kernl_rt.channels.memory._buffers import Ear
from kernl_rt.channels.memory._human import MemoryHuman
from kernl_rt.channels.memory._line import Call, Line
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, ChannelEvent
from kernl_rt.exceptions import MisconfiguredError, SessionStateError

__all__ = ["MemoryChannel", "MemoryChannelStatistics", "memory_channel_pair"]

_ALL_FORMATS = (PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW, G711_ALAW)


@frozen
class MemoryChannelStatistics:
    """Bytes, but for ``waiting_events``. ``dropped_input`` and ``dropped_heard`` are losses by a full buffer."""

    waiting_events: int
    waiting_input: int
    dropped_input: int
    sent: int
    heard: int
    unheard: int
    cleared: int
    discarded: int
    waiting_heard: int
    dropped_heard: int


class MemoryChannel(RealtimeChannel):
    """The session's end. ``human`` is the far end; see :mod:`kernl_rt.channels.memory` for the modes and the buffers.

    It is opened once. ``reports_playback=False`` makes a channel that gives no marks.

    ``input_formats`` and ``output_formats`` are those that the human speaks and hears, the best first. The channel also
    offers every format that these can be converted to; where the model knows none of the human's own, the first of them
    is what the human speaks, or hears.
    """

    def __init__(
        self,
        *,
        playback: Pace = "realtime",
        live: bool = True,
        reports_playback: bool = True,
        input_formats: Sequence[AudioFormat] = _ALL_FORMATS,
        output_formats: Sequence[AudioFormat] = _ALL_FORMATS,
        send_ahead_ms: float = 200.0,
        input_buffer_ms: float = 500.0,
        hear_buffer: int = 16 * 2**20,
    ) -> None:
        if playback not in ("realtime", "instant", "manual"):
            raise MisconfiguredError(f"unknown playback {playback!r}: use 'realtime', 'instant' or 'manual'")
        if not input_formats or not output_formats:
            raise MisconfiguredError("a channel needs at least one input format and one output format")
        if input_buffer_ms <= 0 or hear_buffer <= 0:
            raise MisconfiguredError("input_buffer_ms and hear_buffer must be greater than 0")
        check_send_ahead(send_ahead_ms)
        self.playback: Pace = playback
        self.live = live
        self.reports_playback = reports_playback
        self._spoken = tuple(input_formats)
        self._heard = tuple(output_formats)
        self.input_formats: Sequence[AudioFormat] = offered(self._spoken)
        self.output_formats: Sequence[AudioFormat] = offered(self._heard)
        self._send_ahead_ms = send_ahead_ms
        self._input_buffer_ms = input_buffer_ms
        self._line = Line(playback, live=live, reports_playback=reports_playback, ear=Ear(hear_buffer))
        #: The far end.
        self.human: MemoryHuman = MemoryHuman(self._line)

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        if self._line.call is not None:
            raise SessionStateError("this MemoryChannel has been opened before: make a new one for each session")
        check_offered(input_format, self.input_formats, "input")
        check_offered(output_format, self.output_formats, "output")
        manual = self.playback == "manual"
        ear = self._line.ear
        spoken = input_format if input_format in self._spoken else self._spoken[0]
        heard = output_format if output_format in self._heard else self._heard[0]
        speaker = Speaker(
            heard,
            self.playback,
            send_ahead_ms=self._send_ahead_ms,
            on_sent=ear.put if manual else None,
            on_heard=None if manual else lambda heard: ear.put(heard.audio),
        )
        call = Call(spoken, speaker, Inbox(spoken.size(self._input_buffer_ms)))
        call.to_session = convert(spoken, input_format)
        call.to_human = convert(output_format, heard)
        self._line.call = call
        self._line.opened.set()
        try:
            yield
        finally:
            call.closed = True
            speaker.end()

    async def receive(self) -> ChannelEvent:
        call = self._line.for_session()
        await checkpoint()
        while True:
            self._line.for_session().raise_failure()
            self._line.advance(call)
            if call.inbox:
                event = call.inbox.take()
                call.speaker.notify()
                if not isinstance(event, AudioCaptured):
                    return event
                if audio := call.to_session.push(event.audio):
                    return evolve(event, audio=audio)
                continue  # the converter holds back its first milliseconds
            if call.hung_up:
                raise anyio.EndOfStream
            await call.speaker.wait(call.speaker.playout.mark_at)

    async def send(self, audio: bytes) -> None:
        """As the port says. After the human has hung up, the sound is discarded and counted; ``receive`` tells."""
        call = self._line.for_session()
        await call.speaker.send(call.to_human.push(audio))

    async def flush(self) -> None:
        call = self._line.for_session()
        if rest := call.to_human.flush():
            await call.speaker.send(rest)
        await call.speaker.flush()

    def clear(self) -> float:
        call = self._line.call
        if call is None:
            return 0.0
        if not call.closed:
            call.to_human.clear()
            dropped = call.speaker.clear()
            if self.playback == "manual":
                self._line.ear.drop_newest(dropped)
            call.inbox.drop_marks()  # older than the position that is told here
        return call.speaker.playout.position_ms

    def statistics(self) -> MemoryChannelStatistics:
        """Counters and fill levels, now."""
        call = self._line.call
        playout = call.speaker.playout if call is not None else None
        return MemoryChannelStatistics(
            waiting_events=len(call.inbox) if call is not None else 0,
            waiting_input=call.inbox.size if call is not None else 0,
            dropped_input=call.inbox.dropped if call is not None else 0,
            sent=playout.sent + playout.cleared if playout is not None else 0,
            heard=playout.heard if playout is not None else 0,
            unheard=playout.pending if playout is not None else 0,
            cleared=playout.cleared if playout is not None else 0,
            discarded=call.speaker.discarded if call is not None else 0,
            waiting_heard=self._line.ear.size,
            dropped_heard=self._line.ear.dropped,
        )


def memory_channel_pair(
    *,
    playback: Pace = "realtime",
    live: bool = True,
    reports_playback: bool = True,
    input_formats: Sequence[AudioFormat] = _ALL_FORMATS,
    output_formats: Sequence[AudioFormat] = _ALL_FORMATS,
    send_ahead_ms: float = 200.0,
    input_buffer_ms: float = 500.0,
    hear_buffer: int = 16 * 2**20,
) -> tuple[MemoryChannel, MemoryHuman]:
    """A channel and its far end. The options are those of :class:`MemoryChannel`."""
    channel = MemoryChannel(
        playback=playback,
        live=live,
        reports_playback=reports_playback,
        input_formats=input_formats,
        output_formats=output_formats,
        send_ahead_ms=send_ahead_ms,
        input_buffer_ms=input_buffer_ms,
        hear_buffer=hear_buffer,
    )
    return channel, channel.human
