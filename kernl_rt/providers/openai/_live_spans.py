"""Replies and the human's turns on a continuous timeline, inferred: the wire has fragments and silence, and no ends.

==================================  ==================================================================================
on the wire                         here
==================================  ==================================================================================
sound that is no silence, or words  a reply is created, unless one runs; its item, then deltas
silence while a reply runs          part of the reply, and played: pauses are its rhythm
silence else                        ``TimelineAdvanced``
a pause of so many milliseconds     the end of the reply: final words, then ``ResponseDone`` with ``inferred`` in its
                                    ``extra``. So with the human's words, whose turn then has its final transcript
==================================  ==================================================================================

A reply that was asked for begins when the request is acknowledged, and does not end while work is done for it. Calls
end the reply that runs: what is said next is another. All times are of the timeline, which the sound itself advances:
no clock is asked, and without sound nothing ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import define, field

from kernl_rt import events as ev
from kernl_rt._audio import g711, pcm
from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.events import ServerEvent
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, Message
from kernl_rt.providers._names import Names
from kernl_rt.providers.openai._live_wire import Fragment, Sound

__all__ = ["PATIENCE", "Spans", "is_loud"]

#: No conversation lasts so long (milliseconds): a stamp beyond it moves nothing.
_LATEST = 1e12
#: Milliseconds that a reply that was asked for may take to begin.
PATIENCE = 10_000.0
#: A sample above this is no silence: 1/128 of full scale, -42 dB.
_LOUD = 256
#: So many characters of the human's words are kept for whoever does delegated work.
_REMEMBERED = 4_000


def is_loud(audio: bytes, format: AudioFormat) -> bool:
    """Whether anything is to be heard in it."""
    if format.encoding != "pcm16":
        audio = g711.decode(audio, format.encoding)
    if not audio.strip(b"\0"):
        return False
    samples = pcm.unpack(audio[: len(audio) // 2 * 2])
    return bool(samples) and max(max(samples), -min(samples)) > _LOUD


@define
class _Reply:
    id: str
    item_id: str
    start: float
    #: Until when something was heard of it, or is to be expected.
    last: float
    #: Somebody waits for it.
    asked: bool = False
    #: Nothing has been said since it was asked for, or since the work for it was done.
    expected: bool = False
    begun: bool = False
    sounded: bool = False
    #: Its last sound was no silence.
    loud: bool = False
    words: str = ""
    calls: list[FunctionCall] = field(factory=list)


@define
class _Heard:
    """What the human says, as far as it is written down."""

    item_id: str
    last: float
    end: float
    words: str = ""


class Spans:
    """``pause`` is how many milliseconds of silence end a reply, or a turn."""

    def __init__(self, names: Names, pause: float) -> None:
        self.format = PCM16_24K
        #: How many milliseconds of the timeline have passed.
        self.now = 0.0
        #: What the human said since this was last taken.
        self.request = ""
        #: Somebody has asked for a reply: the next that begins is it.
        self.wanted = False
        self._names = names
        self._pause = pause
        self._reply: _Reply | None = None
        self._heard: _Heard | None = None
        self._working = False
        self._out: list[ServerEvent] = []

    def taken(self) -> list[ServerEvent]:
        """The events since the last call."""
        out, self._out = self._out, []
        return out

    # -- the timeline -------------------------------------------------------------------------------------------------

    def reach(self, ms: float | None) -> None:
        """Something says that it happened at this moment."""
        if ms is not None and _LATEST > ms > self.now:
            if self._reply is not None and self._reply.loud:
                # It speaks without a pause: the sound's own clock was behind, and nothing was silent.
                self._reply.last += ms - self.now
            self.now = ms
            self._settle()

    def _settle(self) -> None:
        """What has been silent for too long is over."""
        heard, reply = self._heard, self._reply
        if heard is not None and self.now - heard.last >= self._pause:
            self._finish_heard()
        if reply is None or (reply.asked and self._working):
            return
        if self.now - reply.last >= (PATIENCE if reply.expected else self._pause):
            self.close("completed" if reply.begun else "incomplete")

    def work(self, working: bool) -> None:
        """Whether something is being done that the model will speak about."""
        done = self._working and not working
        self._working = working
        if done and self._reply is not None and self._reply.asked:
            self._reply.expected = True
            self._reply.last = max(self._reply.last, self.now)

    # -- the human ----------------------------------------------------------------------------------------------------

    def heard(self, said: Fragment) -> None:
        self.reach(said.start_ms)
        heard = self._heard
        start = self.now if said.start_ms is None else said.start_ms
        if heard is not None and start - heard.end >= self._pause:
            self._finish_heard()
            heard = None
        if heard is None:
            heard = self._heard = _Heard(self._names.new("item"), self.now, start)
            item = Message("user", [ContentPart("input_audio")], id=heard.item_id, status="completed")
            self._out.append(ev.ItemCreated(item))
        heard.end = max(heard.end, start if said.end_ms is None else said.end_ms)
        # Words come later than they were said: the pause is counted from whichever is the later.
        heard.last = max(heard.last, heard.end, self.now)
        heard.words += said.text
        self.request = (self.request + said.text)[-_REMEMBERED:]
        self._out.append(
            ev.InputTranscriptDelta(heard.item_id, said.text, 0, event_id=said.event_id, extra=_rest(said))
        )

    def _finish_heard(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            said = {"inferred": True, "end_ms": heard.end}
            self._out.append(ev.InputTranscript(heard.item_id, heard.words, 0, extra=said))

    # -- the model ----------------------------------------------------------------------------------------------------

    def sound(self, said: Sound) -> None:
        loud = is_loud(said.audio, self.format)
        then = said.end_ms if said.end_ms is not None else self.now + self.format.ms(len(said.audio))
        if loud:
            self._open()
        reply = self._reply
        self.now = max(self.now, min(then, _LATEST))
        if reply is None or not (loud or reply.begun):
            self._out.append(ev.TimelineAdvanced(self.now, extra=_rest(said)))
        else:
            self._begin(reply)
            reply.sounded, reply.loud = True, loud
            if loud:
                self._spoke(reply, self.now)
            self._out.append(ev.AudioDelta(said.audio, **_place(reply), event_id=said.event_id, extra=_rest(said)))
        self._settle()

    def spoken(self, said: Fragment) -> None:
        self.reach(said.start_ms)
        reply = self._begin(self._open())
        reply.words += said.text
        self._spoke(reply, max(self.now, said.end_ms or 0.0))
        delta = ev.OutputTranscriptDelta(said.text, **_place(reply), event_id=said.event_id, extra=_rest(said))
        self._out.append(delta)

    def _spoke(self, reply: _Reply, until: float) -> None:
        reply.last = max(reply.last, until)
        reply.expected = reply.expected and self._working

    def ask(self) -> None:
        """Somebody waits for a reply, and the model knows."""
        if self._reply is not None and not self._reply.asked:
            self.close("completed")
        self.wanted = False
        reply = self._open()
        reply.asked, reply.expected = True, not reply.begun
        reply.last = max(reply.last, self.now)

    def _open(self) -> _Reply:
        if self._reply is None:
            self._reply = _Reply(self._names.new("resp"), self._names.new("item"), self.now, self.now)
            self._reply.asked = self._reply.expected = self.wanted
            self.wanted = False
            self._out.append(ev.ResponseCreated(_described(self._reply, "in_progress", {"inferred": True})))
        return self._reply

    def _begin(self, reply: _Reply) -> _Reply:
        """Its item, announced when it begins to be said."""
        if not reply.begun:
            reply.begun = True
            item = Message("assistant", (), id=reply.item_id, status="in_progress")
            self._out.append(ev.OutputItemAdded(item, response_id=reply.id, output_index=0))
            self._out.append(ev.ItemCreated(item))
        return reply

    def call(self, call: FunctionCall, extra: Mapping[str, Any]) -> None:
        """A whole call, part of the reply that runs; where none does, of one that is only calls. Whoever tells the last
        of them closes the reply: what the model says next is another one.
        """
        reply = self._open()
        reply.calls.append(call)
        place: dict[str, Any] = {"response_id": reply.id, "output_index": len(reply.calls)}
        called = ev.ToolCalled(call.call_id or "", call.name, call.arguments, call.id, **place, extra=extra)
        self._out.append(called)

    def close(self, status: Literal["completed", "incomplete"]) -> None:
        """The reply that runs is over, as far as can be told."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if reply.sounded:
            self._out.append(ev.AudioDone(**_place(reply)))
        if reply.words:
            self._out.append(ev.OutputTranscript(reply.words, **_place(reply)))
        output: list[ConversationItem] = list(reply.calls)
        if reply.begun:
            content = [ContentPart("output_audio", transcript=reply.words or None)]
            item = Message("assistant", content, id=reply.item_id, status=status)
            output.insert(0, item)
            self._out.append(ev.OutputItemDone(item, response_id=reply.id, output_index=0))
            self._out.append(ev.ItemDone(item))
        said = {"inferred": True, "start_ms": reply.start, "end_ms": max(reply.start, min(reply.last, self.now))}
        self._out.append(ev.ResponseDone(_described(reply, status, said, output)))

    def end(self) -> None:
        """The timeline ends here: nothing more will be said by anybody."""
        self._finish_heard()
        if self._reply is not None:
            self.close("completed" if self._reply.begun and not self._reply.loud else "incomplete")


def _place(reply: _Reply) -> dict[str, Any]:
    return {"response_id": reply.id, "item_id": reply.item_id, "output_index": 0, "content_index": 0}


def _described(reply: _Reply, status: Any, extra: Mapping[str, Any], output: Any = ()) -> ev.Response:
    return ev.Response(id=reply.id, status=status, output_modalities=("audio",), output=output, extra=extra)


def _rest(said: Fragment | Sound) -> dict[str, Any]:
    """What the frame says beyond its content."""
    times = {"start_ms": said.start_ms, "end_ms": said.end_ms, "client_event_id": said.client_event_id}
    return {**{key: value for key, value in times.items() if value is not None}, **said.extra}
