"""Earlier items as a new session can take them, and which of them the provider has taken.

A provider takes from a client what a client could have said: no sound of the model's own, no item of its own tool
servers, no answer to a call that it does not know. So what was said aloud is seeded as its words, and calls only
together with their outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count

from attrs import evolve

from kernl_rt.items import (
    NOTHING,
    ContentPart,
    ConversationItem,
    FunctionCall,
    FunctionCallOutput,
    ItemStatus,
    Message,
)

__all__ = ["LONGEST_ID", "NO_OUTCOME", "Seeding", "seedable"]

#: The longest id that a client may give to an item or a call, in characters (OpenAI).
LONGEST_ID = 32
#: What the model is told of a call that was never answered.
NO_OUTCOME = "The call was interrupted: it has no result."

_COUNTED = re.compile(r"item_kernl_([0-9]{1,12})")


def seedable(
    items: Iterable[ConversationItem], *, images: bool = True, running: Collection[str] = (), above: int = 0
) -> tuple[ConversationItem, ...]:
    """The items that a new session can be given, in order, each with an id of its own; numbered ones ``above`` that.

    Spoken words become text, and what has no words is left out: unheard replies, sound without a transcript (the
    human's own is kept where its bytes are there). Calls keep their outputs; a call without one is told to be
    interrupted, unless it is ``running`` (call ids): its output is still to come. Items of the provider's own tool
    servers and unknown ones are left out.
    """
    given = tuple(items)
    names = _Names((item.id for item in given), above)
    return tuple(names.named(item) for item in _sayable(given, images, running))


def _sayable(items: Sequence[ConversationItem], images: bool, running: Collection[str]) -> Iterator[ConversationItem]:
    outputs = {item.call_id: item for item in reversed(items) if isinstance(item, FunctionCallOutput)}
    taken = {item.call_id for item in items if isinstance(item, FunctionCall)}
    called: dict[str, str] = {}
    answered: set[str] = set()
    order = {id(item): index for index, item in enumerate(items)}
    for index, item in enumerate(items):
        if isinstance(item, Message):
            message = _message(item, images)
            if message is not None:
                yield message
        elif isinstance(item, FunctionCall) and _is_callable(item) and item.call_id not in called:
            call_id = _call_id(item.call_id, taken)
            called[item.call_id or call_id] = call_id
            yield evolve(item, call_id=call_id, status="completed", extra=NOTHING)
            output = outputs.get(item.call_id or "")
            if output is None and item.call_id in running:
                continue
            if output is None or order[id(output)] < index:
                answered.add(call_id)
                text = NO_OUTCOME if output is None else output.output
                yield FunctionCallOutput(call_id, text, id=None if output is None else output.id)
        elif isinstance(item, FunctionCallOutput) and (known := called.get(item.call_id)) and known not in answered:
            answered.add(known)
            yield evolve(item, call_id=known, status=None, extra=NOTHING)


def _call_id(call_id: str | None, taken: set[str | None]) -> str:
    if call_id and len(call_id) <= LONGEST_ID:
        return call_id
    fresh = next(name for number in count(1) if (name := f"call_kernl_{number}") not in taken)
    taken.add(fresh)
    return fresh


def _is_callable(call: FunctionCall) -> bool:
    """Whether the call was written to its end."""
    try:
        return isinstance(json.loads(call.arguments or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _message(message: Message, images: bool) -> Message | None:
    parts = [part for old in message.content if (part := _part(message.role, old, images)) is not None]
    status: ItemStatus = "incomplete" if message.status in ("incomplete", "in_progress") else "completed"
    return evolve(message, content=parts, status=status, extra=NOTHING) if parts else None


def _part(role: str, part: ContentPart, images: bool) -> ContentPart | None:
    if part.image_url is not None:
        usable = images and role == "user"
        return ContentPart("input_image", image_url=part.image_url, detail=part.detail) if usable else None
    words = part.text or part.transcript
    if words:
        return ContentPart("output_text" if role == "assistant" else "input_text", text=words)
    if part.audio and role == "user":
        return ContentPart("input_audio", audio=part.audio)
    return None


class _Names:
    """Gives every item an id, once, and keeps those that it may."""

    def __init__(self, taken: Iterable[str | None], above: int) -> None:
        counted = (_COUNTED.fullmatch(name) for name in taken if name)
        self._last = max((int(match[1]) for match in counted if match), default=0)
        self._last = max(self._last, above)
        self._used: set[str] = set()

    def named(self, item: ConversationItem) -> ConversationItem:
        name = item.id
        if not name or len(name) > LONGEST_ID or name in self._used:
            self._last += 1
            name = f"item_kernl_{self._last}"
        self._used.add(name)
        return item if name == item.id else evolve(item, id=name)


class Seeding:
    """Which seeds the provider has not answered yet."""

    def __init__(self) -> None:
        self._by_event: dict[str, ConversationItem] = {}
        #: Items that a later link was given anew: what the provider says of them is our own wording, and no news.
        self.retold: set[str] = set()
        #: The highest number among the ids that this library has counted: a later one must be above it.
        self.highest = 0

    @property
    def waiting(self) -> int:
        return len(self._by_event)

    def sent(self, event_id: str, item: ConversationItem) -> None:
        self._by_event[event_id] = item
        match = _COUNTED.fullmatch(item.id or "")
        self.highest = max(self.highest, int(match[1]) if match else 0)

    def disconnect(self) -> None:
        """The link is gone: nobody will answer."""
        self._by_event.clear()

    def acknowledge(self, item_id: str | None) -> None:
        for event_id, item in self._by_event.items():
            if item.id == item_id:
                del self._by_event[event_id]
                return

    def refused(self, event_id: str) -> ConversationItem | None:
        """The provider's error names this seed."""
        return self._by_event.pop(event_id, None)
