"""The conversation's shape, inferred: Gemini says what is spoken and heard, and neither items nor replies.

==========================  ==========================================================================================
on the wire                 here
==========================  ==========================================================================================
the first of a reply        the human's turn is committed, the reply is created
sound, words                its item, then deltas
``generationComplete``      no more sound; the final words too, where the transcription says that it is finished
``interrupted``             the provider has dropped what it was about to say
``toolCall``                the calls, and the end of this reply: what the model says next is another one
``turnComplete``            the final words, and the end of the reply, with its usage
==========================  ==========================================================================================

Ids are counted. Everything is a method that returns the events of one fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from attrs import define, evolve, field

from kernl_rt import events as ev
from kernl_rt.events import ServerEvent
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, ItemStatus, Message
from kernl_rt.providers._names import Names
from kernl_rt.providers.gemini._wire import Activity, Content, FunctionCalled, Part, Transcription

__all__ = ["Turns"]

Status = Literal["completed", "cancelled", "failed", "incomplete"]
#: A spoken reply's sound and its words are one part, what it writes beside is another.
_SPOKEN, _WRITTEN = 0, 1
#: Ends that are no fault and no filter.
_PLAIN_REASONS = frozenset({"TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})


@define
class _Heard:
    """The human's turn, as far as it is written down."""

    item_id: str
    text: str = ""
    cumulative: bool = False
    committed: bool = False


@define
class _Reply:
    id: str
    item_id: str
    #: The item has been announced.
    begun: bool = False
    sounded: bool = False
    silent: bool = False
    words: str = ""
    words_told: bool = False
    text: str = ""
    interrupted: bool = False
    calls: list[FunctionCall] = field(factory=list)
    extra: dict[str, Any] = field(factory=dict)


class Turns:
    """``written``: the model writes instead of speaking."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.written = False
        #: The next reply answers something other than speech: a message, a commit, a tool's result.
        self.asked = False
        #: Sound of the human's was sent since the last reply began.
        self.listened = False
        self._heard: _Heard | None = None
        #: A turn whose words are complete and that nothing has answered yet.
        self._uncommitted: str | None = None
        self._speaking = False
        self._reply: _Reply | None = None
        self._last_reply: str | None = None
        self._usage: ev.Usage | None = None
        self._out: list[ServerEvent] = []

    def _done(self) -> list[ServerEvent]:
        out, self._out = self._out, []
        return out

    # -- the human ----------------------------------------------------------------------------------------------------

    def commit(self, event_id: str | None) -> list[ServerEvent]:
        """Our own word that the human's turn is over."""
        self._finish_heard(anew=True)
        heard = self._hear()
        heard.committed = True
        self.asked = True
        self._out.append(ev.AudioInputCommitted(heard.item_id))
        self._out.append(ev.ItemCreated(_said_by_human(heard.item_id)))
        return self._done()

    def activity(self, activity: Activity) -> list[ServerEvent]:
        """The provider's voice detection, where it tells of it."""
        ms = None if activity.offset is None else max(int(activity.offset * 1000), 0)
        if activity.kind in ("ACTIVITY_START", "VAD_SIGNAL_TYPE_SOS"):
            if not self._speaking:
                self._speaking = True
                self._finish_heard(anew=True)
                self._out.append(ev.SpeechStarted(None, ms))
        elif activity.kind in ("ACTIVITY_END", "VAD_SIGNAL_TYPE_EOS"):
            if self._speaking:
                self._speaking = False
                self._out.append(ev.SpeechStopped(None, ms))
        else:
            self._out.append(ev.RawServerEvent("voiceActivity", {"voiceActivityType": activity.kind}))
        return self._done()

    def _hear(self) -> _Heard:
        self._heard = _Heard(self.names.new("item"))
        return self._heard

    def _take_words(self, said: Transcription, *, interim: bool) -> None:
        heard = self._heard
        if heard is None:
            if not said.text:
                return
            heard = self._hear()
            self._out.append(ev.ItemCreated(_said_by_human(heard.item_id)))
        heard.cumulative = heard.cumulative or interim
        if not interim:
            heard.text += said.text
        if said.text:
            whole = heard.text + (said.text if interim else "")
            text = whole if heard.cumulative else said.text
            self._out.append(
                ev.InputTranscriptDelta(heard.item_id, text, 0, cumulative=heard.cumulative, extra=said.extra)
            )
        if said.finished and not interim:
            self._finish_heard()

    def _commit_heard(self) -> None:
        if self._heard is not None and not self._heard.committed:
            self._heard.committed = True
            self._out.append(ev.AudioInputCommitted(self._heard.item_id))

    def _finish_heard(self, *, anew: bool = False) -> None:
        """The human's turn is over. One without words waits for them, as the transcription keeps no order, until the
        next turn begins (``anew``).
        """
        heard = self._heard
        if heard is None or not (heard.text or anew):
            return
        self._heard = None
        if heard.text:
            self._out.append(ev.InputTranscript(heard.item_id, heard.text, 0))
        if not heard.committed:
            self._uncommitted = heard.item_id

    # -- the model ----------------------------------------------------------------------------------------------------

    def content(self, content: Content) -> list[ServerEvent]:
        if content.heard is not None:
            self._take_words(content.heard, interim=False)
        if content.interim is not None:
            self._take_words(content.interim, interim=True)
        if content.spoken is not None:
            self._speak_words(content.spoken)
        if content.turn is not None:
            for part in content.turn.parts:
                self._take_part(part)
        if content.extra:
            self._take_rest(content.extra)
        if content.interrupted:
            self._interrupted()
        if content.generated:
            self._generated()
        if content.complete:
            self._complete(content.reason)
        return self._done()

    def usage(self, usage: ev.Usage) -> None:
        """It is told with the end of the reply."""
        self._usage = usage if self._usage is None else self._usage + usage

    def tool_call(
        self, calls: tuple[FunctionCalled, ...], remember: Callable[[str, FunctionCalled], None]
    ) -> list[ServerEvent]:
        reply = self._open()
        self._finish_heard()
        for call in calls:
            call_id = call.id or self.names.new("call")
            remember(call_id, call)
            self._call(reply, call_id, call)
        self._close("completed", None)
        return self._done()

    def _open(self) -> _Reply:
        """The reply that runs, created by the first that is heard of it."""
        if self._reply is not None:
            return self._reply
        answered = self._heard is not None and self._heard.committed and not self._heard.text
        if self._uncommitted is None and self.listened and not self.asked and (self._heard is None or answered):
            # Nothing of what the human said has been written down yet, but this answers it: it comes first.
            self._finish_heard(anew=True)
            self._out.append(ev.ItemCreated(_said_by_human(self._hear().item_id)))
        self._commit_heard()
        if self._uncommitted is not None:
            self._out.append(ev.AudioInputCommitted(self._uncommitted))
            self._uncommitted = None
        self.asked = self.listened = False
        self._reply = reply = _Reply(self.names.new("resp"), self.names.new("item"))
        self._last_reply = reply.id
        self._out.append(ev.ResponseCreated(self._described(reply, "in_progress")))
        return reply

    def _described(self, reply: _Reply, status: Any, **more: Any) -> ev.Response:
        return ev.Response(id=reply.id, status=status, output_modalities=("text" if self.written else "audio",), **more)

    def _begin(self) -> _Reply:
        """The reply's item, announced when it begins to be said."""
        reply = self._open()
        if not reply.begun:
            reply.begun = True
            item = Message("assistant", (), id=reply.item_id, status="in_progress")
            self._out.append(ev.OutputItemAdded(item, response_id=reply.id, output_index=0))
            self._out.append(ev.ItemCreated(item))
        return reply

    def _place(self, reply: _Reply, index: int = _SPOKEN) -> dict[str, Any]:
        return {"response_id": reply.id, "item_id": reply.item_id, "output_index": 0, "content_index": index}

    def _speak_words(self, said: Transcription) -> None:
        if said.text:
            reply = self._begin()
            reply.words += said.text
            reply.words_told = False
            self._out.append(ev.OutputTranscriptDelta(said.text, **self._place(reply), extra=said.extra))
        if said.finished and self._reply is not None:
            self._tell_words(self._reply)

    def _take_part(self, part: Part) -> None:
        blob = part.blob
        if blob is not None and (blob.mime_type or "audio/").startswith("audio/"):
            reply = self._begin()
            reply.sounded = True
            self._out.append(ev.AudioDelta(blob.data, **self._place(reply)))
        elif part.text is not None and not part.thought:
            reply = self._begin()
            reply.text += part.text
            self._out.append(ev.TextDelta(part.text, **self._place(reply, self._text_index), extra=part.extra))
        else:
            self._other_part(self._open(), part)

    def _other_part(self, reply: _Reply, part: Part) -> None:
        """Thoughts, code, pictures: told, and no part of what is said."""
        if part.thought:
            told = ContentPart("thought", text=part.text, extra=part.extra)
        elif part.blob is not None:
            told = ContentPart("inline_data", audio=part.blob.data, extra={"mimeType": part.blob.mime_type})
        else:
            told = ContentPart(next(iter(part.extra), "part"), extra=part.extra)
        self._out.append(ev.ContentPartAdded(told, response_id=reply.id, item_id=reply.item_id))

    @property
    def _text_index(self) -> int:
        return _SPOKEN if self.written else _WRITTEN

    def _take_rest(self, extra: Mapping[str, Any]) -> None:
        """Grounding and the like: it comes with the end of its reply; outside of one it is told as it is."""
        if self._reply is not None:
            self._reply.extra.update(extra)
        else:
            self._out.append(ev.RawServerEvent("serverContent", dict(extra)))

    # -- calls --------------------------------------------------------------------------------------------------------

    def _call(self, reply: _Reply, call_id: str, call: FunctionCalled) -> None:
        arguments = msgspec.json.encode(dict(call.args)).decode()
        item_id = self.names.new("item")
        begun = FunctionCall(call.name, "", call_id, id=item_id, status="in_progress")
        whole = evolve(begun, arguments=arguments, status="completed", extra=call.extra)
        index = len(reply.calls) + reply.begun
        reply.calls.append(whole)
        place: dict[str, Any] = {"response_id": reply.id, "output_index": index}
        self._out.append(ev.ToolStarted(begun, **place))
        self._out.append(ev.ToolCalled(call_id, call.name, arguments, item_id, **place))
        self._out.append(ev.OutputItemDone(whole, **place))

    # -- how it ends --------------------------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        self._finish_heard()
        if self._reply is not None:
            self._reply.interrupted = True
        self._out.append(ev.OutputBufferCleared(self._last_reply))

    def _generated(self) -> None:
        self._finish_heard()
        if self._reply is not None:
            self._end_sound(self._reply)

    def _complete(self, reason: str | None) -> None:
        self._finish_heard()
        if self._reply is None and not (self.asked or self._usage is not None or reason):
            return
        self._open()
        self._close(None, reason)

    def _end_sound(self, reply: _Reply) -> None:
        if reply.sounded and not reply.silent:
            reply.silent = True
            self._out.append(ev.AudioDone(**self._place(reply)))

    def _tell_words(self, reply: _Reply) -> None:
        if reply.words and not reply.words_told:
            reply.words_told = True
            self._out.append(ev.OutputTranscript(reply.words, **self._place(reply)))

    def _close(self, status: Status | None, reason: str | None) -> None:
        reply, self._reply = self._reply, None
        assert reply is not None
        self._end_sound(reply)
        self._tell_words(reply)
        if reply.text:
            self._out.append(ev.TextDone(reply.text, **self._place(reply, self._text_index)))
        ended, details = _end_of(reply, reason) if status is None else (status, None)
        output: list[ConversationItem] = []
        if reply.begun:
            item = _said_by_model(reply, "completed" if ended == "completed" else "incomplete")
            output.append(item)
            self._out.append(ev.OutputItemDone(item, response_id=reply.id, output_index=0))
            self._out.append(ev.ItemDone(item))
        usage, self._usage = self._usage, None
        response = self._described(
            reply, ended, status_details=details, output=(*output, *reply.calls), usage=usage, extra=reply.extra
        )
        self._out.append(ev.ResponseDone(response))


def _said_by_human(item_id: str) -> Message:
    return Message("user", [ContentPart("input_audio")], id=item_id, status="completed")


def _said_by_model(reply: _Reply, status: ItemStatus) -> Message:
    content = []
    if reply.words or reply.sounded:
        content.append(ContentPart("output_audio", transcript=reply.words or None))
    if reply.text:
        content.append(ContentPart("output_text", text=reply.text))
    return Message("assistant", content, id=reply.item_id, status=status)


def _end_of(reply: _Reply, reason: str | None) -> tuple[Status, ev.StatusDetails | None]:
    if reply.interrupted:
        return "cancelled", ev.StatusDetails(type="cancelled", reason="turn_detected")
    if reason is None or reason in _PLAIN_REASONS:
        return "completed", None
    if reason == "MALFORMED_FUNCTION_CALL":
        error = ev.ResponseError(code=reason, message="the model wrote a function call that cannot be read")
        return "failed", ev.StatusDetails(type="failed", error=error)
    return "incomplete", ev.StatusDetails(
        type="incomplete", reason="content_filter", extra={"turnCompleteReason": reason}
    )
