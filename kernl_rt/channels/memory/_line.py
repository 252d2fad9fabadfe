"""The line between the two ends of a memory channel: what both share."""

from __future__ import annotations

import anyio

from kernl_rt._audio.playout import Pace
from kernl_rt._audio.resample import Converter
from kernl_rt.channels._inbox import Inbox
from kernl_rt.channels._speaker import Speaker
from kernl_rt.channels.memory._buffers import Ear
from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import ChannelError, SessionStateError

__all__ = ["Call", "Line"]


class Call:
    """What exists from ``open`` on. ``input_format`` is the human's; the ``converter`` of each way changes it to the
    session's, and back.
    """

    def __init__(self, input_format: AudioFormat, speaker: Speaker, inbox: Inbox) -> None:
        self.input_format = input_format
        self.speaker = speaker
        self.inbox = inbox
        self.to_session: Converter = Converter([])
        self.to_human: Converter = Converter([])
        self.closed = False
        self.hung_up = False
        self.failure: ChannelError | None = None

    @property
    def is_over(self) -> bool:
        return self.closed or self.hung_up

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


class Line:
    """Made with the channel; carries one call."""

    def __init__(self, playback: Pace, *, live: bool, reports_playback: bool, ear: Ear) -> None:
        self.playback: Pace = playback
        self.live = live
        self.reports_playback = reports_playback
        self.ear = ear
        self.opened: anyio.Event = anyio.Event()
        self.call: Call | None = None

    def for_session(self) -> Call:
        """The call, for the session's verbs."""
        if self.call is None:
            raise SessionStateError("this MemoryChannel is not open: use it within 'async with channel.open(…)'")
        if self.call.closed:
            raise SessionStateError("this MemoryChannel has been closed")
        return self.call

    def for_human(self) -> Call:
        """The call, running or over."""
        if self.call is None:
            raise SessionStateError("the session has not opened this channel yet: await human.wait_open() first")
        return self.call

    def advance(self, call: Call) -> None:
        """Bring playback up to now, and put the mark that became due into the inbox."""
        call.speaker.advance()
        mark = call.speaker.take_mark()
        if mark is not None and self.reports_playback and not call.hung_up:
            call.inbox.put_mark(mark)
            call.speaker.notify()
