"""The session's end of a memory channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint
from attrs import frozen

from kernl_rt._audio.playout import Pace
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._speaker import Speaker, check_send_ahead
from kernl_rt.channels.memory._buffers import Ear, Inbox
from kernl_rt.channels.memory._human import MemoryHuman
from kernl_rt.channels.memory._line import Call, Line
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import ChannelEvent
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
        self.input_formats: Sequence[AudioFormat] = tuple(input_formats)
        self.output_formats: Sequence[AudioFormat] = tuple(output_formats)
        self._send_ahead_ms = send_ahead_ms
        self._input_buffer_ms = input_buffer_ms
        self._line = Line(playback, live=live, reports_playback=reports_playback, ear=Ear(hear_buffer))
        #: The far end.
        self.human: MemoryHuman = MemoryHuman(self._line)

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        if self._line.call is not None:
            raise SessionStateError("this MemoryChannel has been opened before: make a new one for each session")
        if input_format not in self.input_formats or output_format not in self.output_formats:
            raise MisconfiguredError(
                f"this MemoryChannel was made for other formats than {input_format} in and {output_format} out: "
                "add them to input_formats and output_formats"
            )
        manual = self.playback == "manual"
        ear = self._line.ear
        speaker = Speaker(
            output_format,
            self.playback,
            send_ahead_ms=self._send_ahead_ms,
            on_sent=ear.put if manual else None,
            on_heard=None if manual else lambda heard: ear.put(heard.audio),
        )
        call = self._line.call = Call(input_format, speaker, Inbox(input_format.size(self._input_buffer_ms)))
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
                return event
            if call.hung_up:
                raise anyio.EndOfStream
            await call.speaker.wait(call.speaker.playout.mark_at)

    async def send(self, audio: bytes) -> None:
        """As the port says. After the human has hung up, the sound is discarded and counted; ``receive`` tells."""
        await self._line.for_session().speaker.send(audio)

    async def flush(self) -> None:
        await self._line.for_session().speaker.flush()

    def clear(self) -> float:
        call = self._line.call
        if call is None:
            return 0.0
        if not call.closed:
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
