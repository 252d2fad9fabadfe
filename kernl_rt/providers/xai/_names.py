"""Which of the service's items are ours.

What a client adds to a conversation comes back under an id that the service has made. To us it keeps the id that we
gave it: what comes in is renamed, and what goes out is named as the service does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import frozen

from kernl_rt.items import ConversationItem, FunctionCall, FunctionCallOutput, Message

__all__ = ["Names"]

#: What tells an item from others, without its id.
_Likeness: TypeAlias = tuple[str, str, str]

#: So many items may be on their way.
_MOST = 1_024


@frozen
class _Sent:
    id: str
    event_id: str | None
    likeness: _Likeness


class Names:
    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque(maxlen=_MOST)
        self._ours: dict[str, str] = {}
        self._theirs: dict[str, str] = {}

    def sent(self, frame: Mapping[str, Any]) -> None:
        """A ``conversation.item.create`` goes out."""
        item = frame["item"]
        name, likeness = item.get("id"), _of_frame(item)
        if isinstance(name, str) and likeness is not None:
            self._sent.append(_Sent(name, frame.get("event_id"), likeness))

    def refused(self, event_id: str) -> None:
        """It will not come."""
        found = next((sent for sent in self._sent if sent.event_id == event_id), None)
        if found is not None:
            self._sent.remove(found)

    def added(self, item: ConversationItem) -> None:
        """An item is in the conversation: perhaps the oldest of ours that is like it. What still grows is not ours."""
        if item.status == "in_progress":
            return
        likeness = _of_item(item)
        mine = next((sent for sent in self._sent if sent.id == item.id), None)
        found = mine or next((sent for sent in self._sent if sent.likeness == likeness), None)
        if found is None or item.id is None or item.id in self._ours:
            return
        self._sent.remove(found)
        if found.id != item.id:
            self._ours[item.id] = found.id
            self._theirs[found.id] = item.id

    def gone(self, item_id: str) -> None:
        self._theirs.pop(self._ours.pop(item_id, ""), None)

    def ours(self, item_id: str) -> str:
        """What we call it."""
        return self._ours.get(item_id, item_id)

    def theirs(self, item_id: str) -> str:
        """What the service calls it."""
        return self._theirs.get(item_id, item_id)


def _of_frame(item: Mapping[str, Any]) -> _Likeness | None:
    kind = item.get("type")
    if kind == "message":
        texts = [str(part.get("text") or "") for part in item.get("content", ())]
        return kind, str(item.get("role")), "".join(texts)
    return (str(kind), str(item.get("call_id")), "") if kind in ("function_call", "function_call_output") else None


def _of_item(item: ConversationItem) -> _Likeness | None:
    if isinstance(item, Message):
        return item.type, item.role, "".join(part.text or "" for part in item.content)
    if isinstance(item, (FunctionCall, FunctionCallOutput)):
        return item.type, str(item.call_id), ""
    return None
