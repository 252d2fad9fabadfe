"""The items of a conversation, in order, with the sound that belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define

from kernl_rt.simulator._schema import Refusal

__all__ = ["Conversation", "Item"]

#: Sound kept for ``conversation.item.retrieve``, over all items; the oldest is forgotten first.
_KEPT_AUDIO = 16 * 2**20


@define(eq=False)
class Item:
    """One item: ``shown`` is its object on the wire."""

    shown: dict[str, Any]
    audio: bytes = b""
    #: How long its sound is, also after the sound itself has been forgotten.
    audio_ms: float = 0.0
    #: What the ears made of a spoken item; ``None`` while they still listen.
    heard: str | None = None
    complete: bool = True
    truncated: bool = False
    #: A reply to it has been completed.
    answered: bool = False

    @property
    def id(self) -> str:
        return str(self.shown["id"])

    @property
    def type(self) -> str:
        return str(self.shown["type"])

    @property
    def words(self) -> str:
        """What it says, in words: its text parts, its transcript, or what the ears heard."""
        parts = self.shown.get("content", ())
        words = [part.get("text") for part in parts]
        words += [part.get("transcript") for part in parts] if self.heard is None else [self.heard]
        return " ".join(word for word in words if word)

    def truncate(self, end_ms: int) -> None:
        """Forget its sound after ``end_ms``, and all of its transcript. While it is still spoken, it goes on."""
        self.truncated = True
        if self.complete:
            self.audio = self.audio[: int(len(self.audio) * end_ms / self.audio_ms) // 2 * 2]
            self.audio_ms = end_ms
        for part in self.shown["content"]:
            part["transcript"] = None


class Conversation:
    """An ordered list of items with unique ids."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def find(self, id: str) -> Item | None:
        return self._by_id.get(id)

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put ``item`` after the one named, ``"root"`` for the beginning, nothing for the end; the id before it.

        Raises:
            Refusal: there is no such item, or there is already one with this id.
        """
        if item.id in self._by_id:
            text = f"Error creating item: an item with id '{item.id}' already exists."
            raise Refusal(text, "invalid_value", "item.id")
        at = len(self._items)
        if after == "root":
            at = 0
        elif after:
            before = self._by_id.get(after)
            if before is None:
                raise Refusal(
                    f"Error creating item: the previous item with id '{after}' does not exist.",
                    "item_not_found",
                    "previous_item_id",
                )
            at = self._items.index(before) + 1
        self._items.insert(at, item)
        self._by_id[item.id] = item
        return self._items[at - 1].id if at else None

    def before(self, item: Item) -> str | None:
        at = self._items.index(item)
        return self._items[at - 1].id if at else None

    def remove(self, item: Item) -> None:
        del self._by_id[item.id]
        self._items.remove(item)

    def call(self, call_id: str) -> Item | None:
        """The function call with this ``call_id``."""
        for item in self._items:
            if item.type == "function_call" and item.shown.get("call_id") == call_id:
                return item
        return None

    def forget_old_audio(self) -> None:
        """Keep the sound of the newest items only, so that an hour of talk does not stay in memory."""
        kept = 0
        for item in reversed(self._items):
            kept += len(item.audio)
            if kept > _KEPT_AUDIO:
                item.audio = b""
