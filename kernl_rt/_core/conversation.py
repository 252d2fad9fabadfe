"""The conversation as the human and the model share it: items in order, with the words that were said and heard."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from attrs import evolve, frozen

from kernl_rt.events import ToolCalled, ToolFinished
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, FunctionCallOutput, ItemStatus, Message

__all__ = ["Conversation", "HistoryDelta", "heard_text"]

V = TypeVar("V")

#: So many transcripts may come before their items, and so many deleted items are remembered.
_REMEMBERED = 256


@frozen
class HistoryDelta:
    """What became of the history since it was last looked at, each in the order of the conversation."""

    added: tuple[ConversationItem, ...] = ()
    updated: tuple[ConversationItem, ...] = ()
    removed: tuple[ConversationItem, ...] = ()


class Conversation:
    """Ordered by ``previous_item_id`` where the provider says it, else by arrival."""

    def __init__(self) -> None:
        #: By id; what the provider has not named yet stands under a key of our own, without an id.
        self._items: dict[str, ConversationItem] = {}
        self._order: list[str] = []
        #: Items cut by an interruption: how much of them was heard, as (heard, received) milliseconds.
        self._cuts: dict[str, tuple[int, int]] = {}
        #: The replies that items are part of, and the items of each.
        self._reply_of: dict[str, str | None] = {}
        self._items_of: dict[str | None, dict[str, None]] = {}
        #: Transcripts that came before their items, by content index.
        self._early: dict[str, dict[int, str]] = {}
        self._deleted: dict[str, None] = {}
        #: How far the tool calls that we have seen are, by call id.
        self._calls: dict[str, ItemStatus] = {}
        #: Under which key the item of a call stands, by call id.
        self._call_keys: dict[str, str] = {}
        # A conversation lasts for hours, so a change must not cost a look at all of it: what is shown of each item,
        # which of these are out of date, and what was shown of those that changed since the last delta.
        self._shown: dict[str, ConversationItem] = {}
        self._stale: set[str] = set()
        self._before: dict[str, ConversationItem | None] = {}
        self._snapshot: tuple[ConversationItem, ...] | None = ()

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def get(self, item_id: str) -> ConversationItem | None:
        return self._items.get(item_id)

    def snapshot(self) -> tuple[ConversationItem, ...]:
        """What was said, as far as it was heard."""
        self._refresh()
        if self._snapshot is None:
            self._snapshot = tuple(map(self._shown.__getitem__, self._order))
        return self._snapshot

    def delta(self) -> HistoryDelta:
        """What changed since the last call."""
        self._refresh()
        before, self._before = self._before, {}
        added: list[ConversationItem] = []
        updated: list[ConversationItem] = []
        for key in self._in_order(before):
            old, new = before[key], self._shown[key]
            if old is None:
                added.append(new)
            elif old != new:
                updated.append(new)
        removed = [old for key, old in before.items() if old is not None and key not in self._shown]
        return HistoryDelta(tuple(added), tuple(updated), tuple(removed))

    def _in_order(self, keys: Collection[str]) -> list[str]:
        """Those that there are, as they stand in the conversation. What changes is nearly always at its end."""
        left = sum(key in self._items for key in keys)
        found: list[str] = []
        for key in reversed(self._order):
            if len(found) == left:
                break
            if key in keys:
                found.append(key)
        return found[::-1]

    def _touch(self, key: str) -> None:
        """What is shown of this item may be different from now on."""
        if key not in self._before:
            self._before[key] = self._shown.get(key)
        self._stale.add(key)
        self._snapshot = None

    def _refresh(self) -> None:
        for key in self._stale:
            if key in self._items:
                self._shown[key] = self._show(key)
            else:
                self._shown.pop(key, None)
        self._stale.clear()

    def _put(self, key: str, item: ConversationItem) -> None:
        self._items[key] = item
        if isinstance(item, FunctionCall) and item.call_id is not None:
            self._call_keys.setdefault(item.call_id, key)
        self._touch(key)

    def _forget_call_key(self, item: ConversationItem, key: str) -> None:
        if isinstance(item, FunctionCall) and self._call_keys.get(item.call_id or "") == key:
            del self._call_keys[item.call_id or ""]

    def _set_call(self, call_id: str, status: ItemStatus) -> None:
        self._calls[call_id] = status
        if call_id in self._call_keys:
            self._touch(self._call_keys[call_id])

    # -- items --------------------------------------------------------------------------------------------------------

    def add(self, item: ConversationItem, previous_item_id: str | None, *, late: bool = False) -> bool:
        """A new item, or a fuller version of one that is known. Returns whether anything changed.

        ``late``: the last word on an item, which must not bring back one that was deleted.
        """
        if item.id is None or (late and item.id in self._deleted):
            return False
        self._deleted.pop(item.id, None)
        named = item.id not in self._items and self._name(item, previous_item_id)
        if item.id not in self._items:
            self._put(item.id, item)
            self._place(item.id, previous_item_id)
            for index, text in self._early.pop(item.id, {}).items():
                self.transcribe(item.id, index, text)
            return True
        known = self._items[item.id]
        merged = _merge(known, item)
        self._put(item.id, merged)
        return named or merged != known

    def _place(self, key: str, previous_item_id: str | None) -> None:
        if previous_item_id == "root":
            self._order.insert(0, key)
        elif self._order and previous_item_id == self._order[-1]:
            self._order.append(key)  # as nearly always
        elif previous_item_id in self._items and previous_item_id != key:
            self._order.insert(self._order.index(previous_item_id) + 1, key)
        else:
            self._order.append(key)

    def _name(self, item: ConversationItem, previous_item_id: str | None) -> bool:
        """The provider names an item that we know by its call. Returns whether it is such a one."""
        key = _own_key(item)
        if item.id is None or key is None or key not in self._items:
            return False
        shown = self._shown.pop(key, None)
        self._before[item.id] = self._before.pop(key, shown)
        self._stale.discard(key)
        self._forget_call_key(self._items[key], key)
        self._put(item.id, evolve(self._items.pop(key), id=item.id))
        at = self._order.index(key)
        if previous_item_id == "root" or previous_item_id in self._items:
            del self._order[at]
            self._place(item.id, previous_item_id)
        else:
            self._order[at] = item.id
        return True

    def remove(self, item_id: str) -> bool:
        self._early.pop(item_id, None)
        item = self._items.pop(item_id, None)
        if item is None:
            return False
        if isinstance(item, FunctionCall) and item.call_id is not None:
            self._calls.pop(item.call_id, None)
            self._forget_call_key(item, item_id)
        self._touch(item_id)
        self._order.remove(item_id)
        self._cuts.pop(item_id, None)
        self._part_from_reply(item_id)
        _remember(self._deleted, item_id, None)
        return True

    def transcribe(self, item_id: str, content_index: int, transcript: str) -> bool:
        """The words of an audio part are known; the item may still be on its way."""
        item = self._items.get(item_id)
        if item is None and item_id not in self._deleted:
            early = self._early.get(item_id, {})
            _remember(self._early, item_id, {**early, content_index: transcript})
        if not isinstance(item, Message):
            return False
        content = list(item.content)
        kind = "input_audio" if item.role == "user" else "output_audio"
        while len(content) <= content_index:
            content.append(ContentPart(kind))
        content[content_index] = evolve(content[content_index], transcript=transcript)
        self._put(item_id, evolve(item, content=content))
        return True

    # -- tool calls ---------------------------------------------------------------------------------------------------

    def knows_call(self, call_id: str) -> bool:
        """Whether the history holds this call."""
        return call_id in self._calls

    def called(self, event: ToolCalled) -> bool:
        """The model made a call: it is in progress until its outcome is known."""
        self._set_call(event.call_id, "in_progress")
        call = FunctionCall(event.name, event.arguments, event.call_id, id=event.item_id)
        if event.item_id is not None:
            known = self._items.get(event.item_id)
            if isinstance(known, FunctionCall):
                self._put(event.item_id, evolve(known, arguments=event.arguments or known.arguments))
            elif known is None:
                self.add(call, None)
        elif event.call_id not in self._call_keys:
            self._append(call)
        return True

    def finished(self, event: ToolFinished) -> bool:
        """The call has its outcome; one that nobody wants any more has no output."""
        told = event.outcome != "cancelled" or bool(event.output)
        self._set_call(event.call_id, "completed" if told else "incomplete")
        if told:
            self._append(FunctionCallOutput(event.call_id, event.output))
        return True

    def _append(self, item: ConversationItem) -> None:
        """Add an item that the provider has not named yet."""
        key = _own_key(item)
        if key is not None and key not in self._items:
            self._put(key, item)
            self._order.append(key)

    # -- what was heard -----------------------------------------------------------------------------------------------

    def part_of(self, item_id: str, response_id: str | None) -> None:
        """An item is part of a reply."""
        self._part_from_reply(item_id)
        self._reply_of[item_id] = response_id
        self._items_of.setdefault(response_id, {})[item_id] = None

    def _part_from_reply(self, item_id: str) -> None:
        if item_id in self._reply_of:
            response_id = self._reply_of.pop(item_id)
            del self._items_of[response_id][item_id]
            if not self._items_of[response_id]:
                del self._items_of[response_id]

    def of_reply(self, response_id: str | None) -> tuple[ConversationItem, ...]:
        """The items of a reply, as far as they are known."""
        self._refresh()
        return tuple(self._shown[key] for key in self._in_order(self._items_of.get(response_id, {})))

    def cut(self, item_id: str, heard_ms: int, received_ms: int) -> bool:
        """Only ``heard_ms`` of the item were heard; the words behind them were never said."""
        self._cuts[item_id] = (heard_ms, max(received_ms, heard_ms))
        if item_id not in self._items:
            return False
        self._touch(item_id)
        return True

    def cut_rest(self, response_id: str | None, cut: Collection[str]) -> bool:
        """Nothing was heard of the reply's items that are not among ``cut``: its words come before its sound."""
        rest = [item for item in self._items_of.get(response_id, ()) if item not in cut]
        return bool(sum(self.cut_unheard(item_id) for item_id in rest))

    def cut_unheard(self, item_id: str) -> bool:
        """Nothing of the item was heard, unless we know better."""
        return item_id not in self._cuts and self.cut(item_id, 0, 1)

    def generated(self, item_id: str, ms: float) -> None:
        """More of a cut item's sound came, too late: its words are spread over all of it."""
        if item_id in self._cuts:
            heard, received = self._cuts[item_id]
            self._cuts[item_id] = (heard, received + int(ms))
            if item_id in self._items:
                self._touch(item_id)

    def _show(self, key: str) -> ConversationItem:
        item = self._items[key]
        if isinstance(item, FunctionCall):
            status = self._calls.get(item.call_id or "")
            return item if status is None or status == item.status else evolve(item, status=status)
        cut = self._cuts.get(key)
        if cut is None or not isinstance(item, Message):
            return item
        content = [
            part if part.transcript is None else evolve(part, transcript=heard_text(part.transcript, *cut))
            for part in item.content
        ]
        return evolve(item, content=content, status="incomplete")


def _own_key(item: ConversationItem) -> str | None:
    """The key under which an item stands that the provider has not named. No id holds a space."""
    if isinstance(item, FunctionCallOutput):
        return f"output of {item.call_id}"
    return f"call {item.call_id}" if isinstance(item, FunctionCall) else None


def _remember(memory: dict[str, V], key: str, value: V) -> None:
    """Keep the newest only."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]


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
    if isinstance(known, FunctionCall) and isinstance(item, FunctionCall):
        # The wire may name a call before it is written; the words of it come later.
        return evolve(item, arguments=item.arguments or known.arguments, call_id=item.call_id or known.call_id)
    if not isinstance(known, Message) or not isinstance(item, Message):
        return item
    if known.status == "incomplete":
        # It was cut short: a provider that is given it again calls it complete.
        item = evolve(item, status=known.status)
    if len(item.content) < len(known.content):
        return evolve(item, content=known.content)
    content = [
        evolve(new, transcript=old.transcript)
        if new.transcript is None and old is not None and old.transcript is not None
        else new
        for new, old in zip(item.content, (*known.content, *[None] * len(item.content)), strict=False)
    ]
    return evolve(item, content=content)
