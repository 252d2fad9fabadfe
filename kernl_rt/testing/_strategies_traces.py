"""Strategies of whole traces: what an OpenAI-like provider says, in the order in which it says it.

The orders are those of recorded traffic: an output item is announced before the conversation's item, the transcript
leads the sound, a part's finals come before the item's, an item's before the reply's, and a reply that was cancelled
still says every final before its ``response.done``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from attrs import define, field
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from kernl_rt.config import SessionConfig
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    AudioInputCommitted,
    ContentPartAdded,
    ContentPartDone,
    InputTranscript,
    InputTranscriptDelta,
    ItemCreated,
    ItemDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTranscript,
    OutputTranscriptDelta,
    RateLimitsUpdated,
    Response,
    ResponseCreated,
    ResponseDone,
    ResponseError,
    ServerEvent,
    SessionCreated,
    SessionInfo,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    StatusDetails,
    TextDelta,
    TextDone,
    ToolCalled,
    ToolDelta,
    ToolStarted,
    Usage,
)
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, FunctionCallOutput, Message
from kernl_rt.testing._strategies_events import MILLISECOND, words

__all__ = ["Trace", "conversations", "disturbed", "replies"]

Trace: TypeAlias = Sequence[ServerEvent]
_Status: TypeAlias = Literal["completed", "cancelled", "failed", "incomplete"]

#: What is said in one message: one choice, so that an example shrinks in few steps.
_SENTENCES = st.sampled_from([("yes ",), ("a ", "to "), ("はい ", "grün ", "🙂 "), ("to ", "to ", "a ", "yes ")])
_ARGUMENTS = ('{"q":', '"a"}')


@define
class _Author:
    """Writes one conversation. Ids count; the sound of each event is a number of its own, so that order shows."""

    draw: DrawFn
    tools: Sequence[str]
    events: list[ServerEvent] = field(factory=list)
    replies: int = 0
    items: int = 0
    calls: int = 0
    sounds: int = 0
    last_item: str | None = None
    #: The human's item that is being spoken into a running reply.
    speaking: str | None = None

    def say(self, *events: ServerEvent) -> None:
        self.events.extend(events)

    def next_item(self) -> str:
        self.items += 1
        return f"item_{self.items}"

    def add(self, item: ConversationItem) -> ItemCreated:
        created = ItemCreated(item, self.last_item)
        self.last_item = item.id
        return created

    # -- the human ----------------------------------------------------------------------------------------------------

    def typed(self) -> None:
        item = Message("user", [ContentPart("input_text", text=self.draw(words()))], id=self.next_item())
        self.say(self.add(item), ItemDone(item))

    def starts_speaking(self) -> None:
        self.speaking = self.next_item()
        self.say(SpeechStarted(self.speaking, 20 * len(self.events)))

    def spoken(self) -> None:
        """A turn by voice, which may have begun as an interruption. Its words may come before it is over."""
        if self.speaking is None:
            self.starts_speaking()
        item_id, self.speaking = self.speaking, None
        assert item_id is not None
        item = Message("user", [ContentPart("input_audio")], id=item_id, status="completed")
        turn: list[ServerEvent] = [SpeechStopped(item_id, 20 * len(self.events) + 20)]
        turn += [AudioInputCommitted(item_id, self.last_item), self.add(item), ItemDone(item)]
        told = self.draw(words())
        transcript: list[ServerEvent] = [InputTranscriptDelta(item_id, told, 0), InputTranscript(item_id, told, 0)]
        if self.draw(st.booleans()):
            at = self.draw(st.integers(0, len(turn)))
            turn[at:at] = transcript
        self.say(*turn)

    # -- the model ----------------------------------------------------------------------------------------------------

    def reply(self, endings: Sequence[str], *, calls: bool) -> bool:
        """One reply, from created to done. Whether it called tools, and so another is owed."""
        self.replies += 1
        response_id = f"resp_{self.replies}"
        ending = self.draw(st.sampled_from(endings))
        self.say(ResponseCreated(Response(id=response_id, status="in_progress")))
        kinds = ["text", "speech", *(["call"] if calls and self.tools else [])]
        output: list[ConversationItem] = []
        chosen = self.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))
        # A reply may fail before it has said anything. Drawn last, so that a whole reply is the simplest.
        if ending == "failed" and self.draw(st.booleans()):
            chosen = []
        for index, kind in enumerate(chosen):
            cut = ending if index == len(chosen) - 1 and ending in ("interrupted", "incomplete") else None
            write = self._call if kind == "call" else self._message
            output.append(write(response_id, index, kind, cut))
        self.say(_done(response_id, ending, output))
        if self.draw(st.booleans()):
            self.say(RateLimitsUpdated())
        called = [item for item in output if isinstance(item, FunctionCall) and item.status == "completed"]
        if ending != "completed" or not called:
            return False
        for item in called:
            result = FunctionCallOutput(item.call_id or "", "ok", id=self.next_item())
            self.say(self.add(result), ItemDone(result))
        return True

    def _message(self, response_id: str, index: int, kind: str, cut: str | None) -> ConversationItem:
        item_id = self.next_item()
        begun = Message("assistant", id=item_id, status="in_progress")
        self.say(OutputItemAdded(begun, response_id=response_id, output_index=index), self.add(begun))
        at: dict[str, Any] = {
            "response_id": response_id, "item_id": item_id, "output_index": index, "content_index": 0
        }  # fmt: skip
        spoken = kind == "speech"
        part = ContentPart("audio", transcript="") if spoken else ContentPart("text", text="")
        self.say(ContentPartAdded(part, **at))
        told = self.draw(_SENTENCES)
        # An interruption comes after the first word; what the provider had already sent comes after it.
        late = self.draw(st.integers(1, len(told))) if cut == "interrupted" else None
        for number, word in enumerate(told):
            if number == late:
                self.starts_speaking()
            self.say(*(self._spoken_word(word, at) if spoken else [TextDelta(word, **at)]))
        if late == len(told):
            self.starts_speaking()
        text = "".join(told)
        if spoken:
            whole = ContentPart("output_audio", transcript=text)
            self.say(AudioDone(**at), OutputTranscript(text, **at))
        else:
            whole = ContentPart("output_text", text=text)
            self.say(TextDone(text, **at))
        done = Message("assistant", [whole], id=item_id, status="incomplete" if cut else "completed")
        closed = ContentPart("audio", transcript=text) if spoken else ContentPart("text", text=text)
        self.say(ContentPartDone(closed, **at), ItemDone(done))
        self.say(OutputItemDone(done, response_id=response_id, output_index=index))
        return done

    def _spoken_word(self, word: str, at: dict[str, Any]) -> list[ServerEvent]:
        """The transcript leads, its sound follows: 1 ms for each byte of UTF-8, and printed as short as can be."""
        self.sounds += 1
        number = ord("!") + self.sounds % 90
        sound = bytes([number]) * (MILLISECOND * len(word.strip().encode()))
        return [OutputTranscriptDelta(word, **at), AudioDelta(sound, **at)]

    def _call(self, response_id: str, index: int, kind: str, cut: str | None) -> ConversationItem:
        self.calls += 1
        item_id, call_id = self.next_item(), f"call_{self.calls}"
        name = self.draw(st.sampled_from(list(self.tools)))
        begun = FunctionCall(name, "", call_id, id=item_id, status="in_progress")
        self.say(ToolStarted(begun, response_id=response_id, output_index=index), self.add(begun))
        if cut == "interrupted":
            self.starts_speaking()
        of: dict[str, Any] = {"response_id": response_id, "output_index": index}
        self.say(*(ToolDelta(call_id, fragment, item_id, **of) for fragment in _ARGUMENTS))
        done = FunctionCall(name, "".join(_ARGUMENTS), call_id, id=item_id, status="incomplete" if cut else "completed")
        if not cut:
            self.say(ToolCalled(call_id, name, done.arguments, item_id, **of))
        self.say(ItemDone(done), OutputItemDone(done, **of))
        return done


def _done(response_id: str, ending: str, output: Sequence[ConversationItem]) -> ResponseDone:
    status: dict[str, _Status] = {"interrupted": "cancelled", "failed": "failed", "incomplete": "incomplete"}
    details = {
        "interrupted": StatusDetails(type="cancelled", reason="turn_detected"),
        "failed": StatusDetails(type="failed", error=ResponseError(code="server_error", message="it broke")),
        "incomplete": StatusDetails(type="incomplete", reason="max_output_tokens"),
    }
    usage = Usage(total_tokens=len(output), input_tokens=0, output_tokens=len(output))
    response = Response(
        id=response_id,
        status=status.get(ending, "completed"),
        status_details=details.get(ending),
        output=output,
        usage=usage,
    )
    return ResponseDone(response)


_ENDINGS = ("completed", "interrupted", "incomplete", "failed")


@st.composite
def _replies(draw: DrawFn, tools: Sequence[str]) -> Trace:
    author = _Author(draw, tools)
    author.reply(_ENDINGS, calls=True)
    return author.events


@st.composite
def _conversations(draw: DrawFn, tools: Sequence[str], greeting: bool, max_turns: int) -> Trace:
    author = _Author(draw, tools)
    if greeting:
        info = SessionInfo(id="sess_1", model="model", config=SessionConfig())
        author.say(SessionCreated(info), SessionUpdated(info))
    for _ in range(draw(st.integers(1, max_turns))):
        # False is the simpler draw: a typed turn is shorter.
        if author.speaking is not None or draw(st.booleans()):
            author.spoken()
        else:
            author.typed()
        # Tools may call for tools, but not for ever.
        if author.reply(_ENDINGS, calls=True):
            author.reply(_ENDINGS, calls=False)
    if author.speaking is not None:
        author.spoken()
    return author.events


def replies(*, tools: Sequence[str] = ("lookup",)) -> SearchStrategy[Trace]:
    """One legal reply, ``resp_1``, from ``response.created`` to ``response.done``.

    It speaks, writes and calls ``tools`` (none of them where that is empty), up to three items, and is completed,
    interrupted (with the ``speech.started`` that did it, and what the provider had already sent after it), incomplete
    or failed. Sound is PCM16 at 24 kHz, 1 ms for each byte of its word, each event's bytes all one number (33 to
    122) that counts up: so that order shows. A reply that called tools is followed by the echoes of results.
    """
    return _replies(tuple(tools))


def conversations(
    *, tools: Sequence[str] = ("lookup",), greeting: bool = True, max_turns: int = 3
) -> SearchStrategy[Trace]:
    """A whole legal trace, as an OpenAI-like provider with server VAD sends it.

    Up to ``max_turns`` turns of the human, typed or spoken, the words of a spoken one sooner or later; each is
    answered by a reply as in :func:`replies`, and tool calls by a second one. It begins with ``session.created`` and
    ``session.updated``; with ``greeting=False`` it does not, for a
    :class:`~kernl_rt.testing.ScriptedModel`, which says them by itself. Shrinks towards one typed word and one reply
    of one word. Replies beside the conversation are not in it.
    """
    return _conversations(tuple(tools), greeting, max_turns)


@define
class _Edit:
    what: Literal["drop", "repeat", "move"]
    at: int
    #: So many events later, for ``repeat`` and ``move``.
    later: int

    def apply(self, events: list[ServerEvent]) -> None:
        if self.at >= len(events):
            return
        event = events[self.at]
        if self.what != "repeat":
            del events[self.at]
        if self.what != "drop":
            events.insert(min(self.at + self.later, len(events)), event)


@st.composite
def _disturbed(draw: DrawFn, traces: SearchStrategy[Trace], max_edits: int) -> Trace:
    events = list(draw(traces))
    fixed = 0
    while fixed < len(events) and isinstance(events[fixed], (SessionCreated, SessionUpdated)):
        fixed += 1
    greeting, rest = events[:fixed], events[fixed:]
    edit = st.builds(
        _Edit,
        st.sampled_from(["drop", "repeat", "move"]),
        st.integers(0, max(len(rest) - 1, 0)),
        st.integers(1, max(len(rest), 1)),
    )
    for each in draw(st.lists(edit, max_size=max_edits)):
        each.apply(rest)
    return [*greeting, *rest]


def disturbed(trace: Trace | SearchStrategy[Trace], *, max_edits: int = 6) -> SearchStrategy[Trace]:
    """``trace``, or one that it draws, with up to ``max_edits`` events dropped, repeated or moved: what no correct
    provider sends.

    The greeting (``session.created`` and ``session.updated`` at the start) is left alone: a session that never
    connects says nothing. Shrinks towards no edit.
    """
    return _disturbed(trace if isinstance(trace, SearchStrategy) else st.just(trace), max_edits)
