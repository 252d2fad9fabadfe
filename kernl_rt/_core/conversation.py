"""The conversation as the human and the model share it: items in order, with the words that were said and heard."""

from __future__ import annotations

from attrs import evolve

from kernl_rt.items import ContentPart, ConversationItem, FunctionCallOutput, Message

__all__ = ["Conversation", "heard_text"]


class Conversation:
    """Ordered by ``previous_item_id`` where the provider says it, else by arrival."""

    def __init__(self) -> None:
        self._items: dict[str, ConversationItem] = {}
        self._order: list[str] = []
        #: Items cut by an interruption: how much of them was heard, as (heard, received) milliseconds.
        self._cuts: dict[str, tuple[int, int]] = {}

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def get(self, item_id: str) -> ConversationItem | None:
        return self._items.get(item_id)

    def snapshot(self) -> tuple[ConversationItem, ...]:
        """What was said, as far as it was heard."""
        return tuple(self._heard(self._items[item_id]) for item_id in self._order)

    def add(self, item: ConversationItem, previous_item_id: str | None) -> bool:
        """A new item, or a fuller version of one that is known. Returns whether anything changed."""
        if item.id is None:
            return False
        known = self._items.get(item.id)
        if known is not None:
            merged = _merge(known, item)
            self._items[item.id] = merged
            return merged != known
        self._items[item.id] = item
        if previous_item_id == "root":
            self._order.insert(0, item.id)
        elif previous_item_id in self._items and previous_item_id != item.id:
            self._order.insert(self._order.index(previous_item_id) + 1, item.id)
        else:
            self._order.append(item.id)
        return True

    def remove(self, item_id: str) -> bool:
        if self._items.pop(item_id, None) is None:
            return False
        self._order.remove(item_id)
        self._cuts.pop(item_id, None)
        return True

    def transcribe(self, item_id: str, content_index: int, transcript: str) -> bool:
        """The words of an audio part are known."""
        item = self._items.get(item_id)
        if not isinstance(item, Message):
            return False
        content = list(item.content)
        kind = "input_audio" if item.role == "user" else "output_audio"
        while len(content) <= content_index:
            content.append(ContentPart(kind))
        content[content_index] = evolve(content[content_index], transcript=transcript)
        self._items[item_id] = evolve(item, content=content)
        return True

    def cut(self, item_id: str, heard_ms: int, received_ms: int) -> bool:
        """Only ``heard_ms`` of the item were heard; the words behind them were never said."""
        if item_id not in self._items:
            return False
        self._cuts[item_id] = (heard_ms, max(received_ms, heard_ms))
        return True

    def _heard(self, item: ConversationItem) -> ConversationItem:
        cut = self._cuts.get(item.id or "")
        if cut is None or not isinstance(item, Message):
            return item
        content = [
            part if part.transcript is None else evolve(part, transcript=heard_text(part.transcript, *cut))
            for part in item.content
        ]
        return evolve(item, content=content, status="incomplete")


def heard_text(text: str, heard_ms: int, received_ms: int) -> str:
    """The part of ``text`` that ``heard_ms`` of its ``received_ms`` hold, to the last whole word.

    Providers give no word times, so words are taken to be spread evenly over the sound.
    """
    if heard_ms >= received_ms:
        return text
    if heard_ms <= 0:
        return ""
    end = len(text) * heard_ms // received_ms
    if end < len(text) and not text[end].isspace():
        end = max(text.rfind(" ", 0, end), 0)
    return text[:end].rstrip()


def _merge(known: ConversationItem, item: ConversationItem) -> ConversationItem:
    """``item`` is the newer, but a transcript that came in between is not forgotten."""
    if isinstance(known, FunctionCallOutput) or not isinstance(known, Message) or not isinstance(item, Message):
        return item
    if len(item.content) < len(known.content):
        return evolve(item, content=known.content)
    content = [
        evolve(new, transcript=old.transcript)
        if new.transcript is None and old is not None and old.transcript is not None
        else new
        for new, old in zip(item.content, (*known.content, *[None] * len(item.content)), strict=False)
    ]
    return evolve(item, content=content)
