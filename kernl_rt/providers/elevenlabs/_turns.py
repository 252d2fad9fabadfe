"""Where the agent's turns begin and end: inferred, because the wire does not say.

The service sends sound, words and calls, each with a running number, ``event_id``. It names no replies. The rules, in
which *content* is sound, words, parts of text and calls:

=============  ======================================================================================================
a turn begins  when a reply is asked for, or else with the first content after the end of the last turn
a turn ends    ``agent_response_complete`` · sound marked ``is_final`` · ``interruption`` · a call (the agent waits
               for its result) · in a conversation in writing, the end of its text · content of the next turn · three
               pings in a row without content between them
next turn      content with a higher number, once the human has said or written something meanwhile, or once two
               pieces of sound have shown that this service numbers turns and not pieces; or a second whole text
=============  ======================================================================================================

The pings are the service's own clock, so nothing here measures time. They end a turn late, for agents that send no
other mark. A turn that was asked for and has no content yet is ended by none of them: the agent is still thinking.

Ids are counted, and hold the end of the conversation's own: a session may have several, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import define, field

from kernl_rt import events as ev
from kernl_rt.events import ServerEvent
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, ItemStatus, Message
from kernl_rt.providers._fields import merge
from kernl_rt.providers._json import write_json
from kernl_rt.providers.elevenlabs._wire import AgentWords, ContextUsage, Part, Sound, ToolCall

__all__ = ["Turns"]

#: Pings without content between them after which a turn counts as over.
_QUIET_PINGS = 3


@define
class _Turn:
    response_id: str
    item_id: str | None = None
    #: The highest number of its content; ``None`` until there is any.
    number: int | None = None
    has_content: bool = False
    #: The number of the newest sound.
    sound: int | None = None
    has_sound: bool = False
    #: The text so far, in parts, and the whole one, where it has been told.
    said: str = ""
    words: str | None = None
    words_number: int | None = None
    writing: bool = False
    quiet: int = 0
    usage: ev.Usage | None = None
    output: list[ConversationItem] = field(factory=list)


class Turns:
    """The agent's side of one conversation."""

    def __init__(self) -> None:
        #: In writing: there is no sound.
        self.text_only = False
        self._turn: _Turn | None = None
        #: The last turn that spoke or wrote, and the highest number of any that is over.
        self._last: _Turn | None = None
        self._last_number: int | None = None
        self._responses = self._items = 0
        #: Sound up to this number is not played any more.
        self._interrupted = -1
        #: The human said something since the last content.
        self._seam = False
        self._numbers_turns = False
        self._name = "0"

    def call_it(self, conversation_id: str) -> None:
        """Ids are of this conversation from now on."""
        tail = "".join(letter for letter in conversation_id if letter.isascii() and letter.isalnum())[-12:]
        self._name = tail or "0"

    def id(self, prefix: str, number: int) -> str:
        return f"{prefix}_{self._name}_{number}"

    @property
    def open(self) -> bool:
        return self._turn is not None

    @property
    def has_content(self) -> bool:
        return self._turn is not None and self._turn.has_content

    def human_spoke(self) -> None:
        self._seam = True

    # -- beginnings

    def begin(self) -> list[ServerEvent]:
        """A reply is asked for."""
        if self._turn is not None:
            return []
        self._responses += 1
        self._turn = _Turn(self.id("response", self._responses))
        return [ev.ResponseCreated(ev.Response(id=self._turn.response_id, status="in_progress"))]

    def _content(self, number: int | None) -> tuple[_Turn, list[ServerEvent]]:
        """The turn that content with this number belongs to."""
        events: list[ServerEvent] = []
        if self._turn is not None and self._is_next(self._turn, number):
            events += self.end("completed")
        events += self.begin()
        turn = self._turn
        assert turn is not None
        self._seam = False
        turn.has_content, turn.quiet = True, 0
        if number is not None:
            turn.number = number if turn.number is None else max(turn.number, number)
        return turn, events

    def _is_next(self, turn: _Turn, number: int | None) -> bool:
        if not turn.has_content:
            return False
        if number is None or turn.number is None:
            return self._seam
        return number > turn.number and (self._seam or self._numbers_turns)

    def _item(self, turn: _Turn) -> tuple[str, list[ServerEvent]]:
        """The message that the turn speaks or writes."""
        if turn.item_id is not None:
            return turn.item_id, []
        turn.item_id = self._next_item()
        item = self._message(turn, "in_progress")
        added = ev.OutputItemAdded(item, response_id=turn.response_id, output_index=len(turn.output))
        return turn.item_id, [added, ev.ItemCreated(item)]

    def _next_item(self) -> str:
        self._items += 1
        return self.id("item", self._items)

    def _message(self, turn: _Turn, status: ItemStatus) -> Message:
        words = turn.words if turn.words is not None else turn.said
        if self.text_only:
            content = [ContentPart("output_text", text=words)] if words else []
        else:
            content = [ContentPart("output_audio", transcript=words or None)] if words or turn.has_sound else []
        return Message("assistant", content, id=turn.item_id, status=status)

    # -- content

    def sound(self, sound: Sound, extra: Mapping[str, Any]) -> list[ServerEvent]:
        number = sound.event_id
        if number is not None and number <= self._interrupted:
            return []
        if self._turn is None and not sound.audio:
            return []
        turn, events = self._content(number)
        if number is not None:
            self._numbers_turns = self._numbers_turns or turn.sound == number
            turn.sound = number
        if sound.audio:
            item_id, begun = self._item(turn)
            turn.has_sound = True
            delta = ev.AudioDelta(
                sound.audio, response_id=turn.response_id, item_id=item_id, content_index=0, extra=extra
            )
            events += [*begun, delta]
        return events + self.end("completed") if sound.is_final else events

    def words(self, words: AgentWords) -> list[ServerEvent]:
        """The whole text of an answer: with its first sound, between its sounds, or after them."""
        late = self._late(words)
        if late is not None:
            return late
        turn = self._turn
        second = turn is not None and turn.words is not None and words.event_id != turn.words_number
        events = self.end("completed") if second else []
        turn, begun = self._content(words.event_id)
        events += begun
        item_id, added = self._item(turn)
        events += added
        turn.words, turn.words_number = words.text, words.event_id
        if not self.text_only:
            return [*events, self._transcript(turn, item_id, words.text, words.numbered)]
        if turn.writing:
            return events  # the rest of its parts is still to come
        return events + self.end("completed")

    def _late(self, words: AgentWords) -> list[ServerEvent] | None:
        """The text of a turn that is over; ``None`` where it is not that."""
        last, number = self._last, words.event_id
        if last is None or last.item_id is None or number is None or last.number != number:
            return None
        if self._turn is not None and self._turn.number == number:
            return None
        if last.words is not None:
            return [] if last.words.split() == words.text.split() else None  # told in parts, or another answer
        last.words = words.text
        return [self._transcript(last, last.item_id, words.text, words.numbered)]

    def _transcript(self, turn: _Turn, item_id: str, text: str, extra: Mapping[str, Any]) -> ev.OutputTranscript:
        return ev.OutputTranscript(text, response_id=turn.response_id, item_id=item_id, content_index=0, extra=extra)

    def part(self, part: Part) -> list[ServerEvent]:
        """A piece of text, ahead of the whole."""
        if part.type == "stop":
            turn = self._turn
            if turn is None or not turn.writing:
                return []
            turn.writing = False
            return self.end("completed") if self.text_only else []
        turn, events = self._content(part.event_id)
        turn.writing = True
        if not part.text:
            return events
        item_id, added = self._item(turn)
        turn.said += part.text
        kind = ev.TextDelta if self.text_only else ev.OutputTranscriptDelta
        place: dict[str, Any] = {"response_id": turn.response_id, "item_id": item_id, "content_index": 0}
        return [*events, *added, kind(part.text, **place, extra=part.numbered)]

    def call(self, call: ToolCall) -> list[ServerEvent]:
        """The agent wants a tool, and says nothing more before it has the result."""
        turn, events = self._content(call.event_id)
        arguments = write_json(call.parameters)
        item = FunctionCall(call.tool_name, "", call.tool_call_id, id=self._next_item(), status="in_progress")
        place: dict[str, Any] = {"response_id": turn.response_id, "output_index": len(turn.output) + bool(turn.item_id)}
        extra = merge(call.numbered, {} if call.expects_response else {"expects_response": False})
        done = FunctionCall(call.tool_name, arguments, call.tool_call_id, id=item.id, status="completed")
        message = self._close_message(turn, "completed")
        turn.output.append(done)
        return [
            *events,
            *message,
            ev.ToolStarted(item, **place),
            ev.ToolCalled(call.tool_call_id, call.tool_name, arguments, item.id, **place, extra=extra),
            ev.OutputItemDone(done, **place),
            *self.end("completed"),
        ]

    # -- ends

    def usage(self, report: ContextUsage) -> list[ServerEvent]:
        """What the turn's last prompt held: all that is told of what it cost. It may come when the turn is over."""
        usage = ev.Usage(input_tokens=report.context_tokens, extra=report.numbered)
        if self._turn is None or not self._turn.has_content:
            return [ev.UsageReported(usage)]
        self._turn.usage = usage
        return []

    def complete(self, number: int | None) -> list[ServerEvent]:
        turn = self._turn
        if turn is None:
            return []
        last = self._last_number
        if not turn.has_content and (number is None or (last is not None and number <= last)):
            return []  # it is about the turn before the one that was asked for
        if self._numbers_turns and number is not None and turn.number is not None and number < turn.number:
            return []
        return self.end("completed")

    def interrupt(self, number: int | None) -> list[ServerEvent] | None:
        """The service stops; ``None`` where what it stops is not the reply that was asked for meanwhile."""
        if number is not None:
            self._interrupted = max(self._interrupted, number)
        if self._turn is not None and not self._turn.has_content:
            return None
        return self.end("cancelled")

    def ping(self) -> list[ServerEvent]:
        turn = self._turn
        if turn is None or not turn.has_content:
            return []
        turn.quiet += 1
        return self.end("completed") if turn.quiet >= _QUIET_PINGS else []

    def end(self, status: Literal["completed", "cancelled"]) -> list[ServerEvent]:
        """The turn is over, if one is open: everything that is due is told, then its end."""
        turn, self._turn = self._turn, None
        if turn is None:
            return []
        if turn.number is not None:
            self._last_number = max(turn.number, self._last_number or 0)
        if turn.item_id is not None:
            self._last = turn
        events = self._close_message(turn, "completed" if status == "completed" else "incomplete")
        details = ev.StatusDetails(type="cancelled", reason="turn_detected") if status == "cancelled" else None
        response = ev.Response(
            id=turn.response_id, status=status, status_details=details, output=turn.output, usage=turn.usage
        )
        return [*events, ev.ResponseDone(response)]

    def _close_message(self, turn: _Turn, status: ItemStatus) -> list[ServerEvent]:
        if turn.item_id is None or any(item.id == turn.item_id for item in turn.output):
            return []
        item_id = turn.item_id
        place: dict[str, Any] = {"response_id": turn.response_id, "item_id": item_id, "content_index": 0}
        events: list[ServerEvent] = [ev.AudioDone(**place)] if turn.has_sound else []
        if self.text_only:
            # What was told in parts is what was written: the whole text has been seen to differ in white space.
            turn.words = turn.said or turn.words or ""
            events.append(ev.TextDone(turn.words, **place))
        elif turn.words is None and turn.said:
            turn.words = turn.said
            events.append(self._transcript(turn, item_id, turn.said, {}))
        item = self._message(turn, status)
        turn.output.append(item)
        done = ev.OutputItemDone(item, response_id=turn.response_id, output_index=len(turn.output) - 1)
        return [*events, done, ev.ItemDone(item)]
