"""xAI's protocol: OpenAI's tables with its own rows, and what its wire leaves to be inferred. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.items import FunctionCall, Message
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.providers.xai._names import Names
from kernl_rt.providers.xai._wire import XAI

__all__ = ["XAICodec"]

#: Turns of the human that may be open at once; there is one, if all goes well.
_MOST_TURNS = 16


class XAICodec(OpenAICodec):
    """Translate one connection's frames.

    What is inferred: items are said to be done (xAI adds them as "in_progress", and has no word for their end); what
    the client added keeps the id that the client gave it; and once the service has accepted that a session be resumed,
    its conversation's id is a handle to go on with.

    ``server_tools`` are tools that xAI calls by itself, added to every list of tools.
    """

    def __init__(
        self,
        defaults: SessionConfig | None = None,
        *,
        server_tools: Sequence[Mapping[str, Any]] = (),
        redact: Callable[[str], str] = str,
    ) -> None:
        super().__init__(defaults, dialect=XAI, redact=redact)
        self._server_tools = [dict(tool) for tool in server_tools]
        self._names = Names()
        self._resumes = False
        self._conversation: str | None = None
        self._told: str | None = None
        self._turns: dict[str, Message] = {}
        self._configured = False

    # -- what the model says

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame: what it says, and what follows from it."""
        events = super().decode(message)
        understand = _UNDERSTAND.get(type(events[0]))
        return events if understand is None else understand(self, events[0])

    def _conversation_created(self, event: ev.ConversationCreated) -> Sequence[ServerEvent]:
        name = event.conversation.get("id")
        self._conversation = name if isinstance(name, str) and name else None
        return (event,)

    def _updated(self, event: ev.SessionUpdated) -> Sequence[ServerEvent]:
        handle = self._conversation
        if not self._resumes or handle is None or handle == self._told:
            return (event,)
        self._told = handle
        return event, ev.SessionResumable(handle)

    def _added(self, event: ev.ItemCreated) -> Sequence[ServerEvent]:
        item = event.item
        self._names.added(item)
        if item.id is not None:
            item = attrs.evolve(item, id=self._names.ours(item.id))
        if isinstance(item, Message) and item.role == "user" and item.status == "in_progress" and item.id is not None:
            self._turns[item.id] = item
            while len(self._turns) > _MOST_TURNS:
                del self._turns[next(iter(self._turns))]
        previous = event.previous_item_id
        return (
            attrs.evolve(event, item=item, previous_item_id=None if previous is None else self._names.ours(previous)),
        )

    def _committed(self, event: ev.AudioInputCommitted) -> Sequence[ServerEvent]:
        turn = self._turns.pop(event.item_id, None)
        if event.previous_item_id is not None:
            event = attrs.evolve(event, previous_item_id=self._names.ours(event.previous_item_id))
        return (event,) if turn is None else (event, ev.ItemDone(attrs.evolve(turn, status="completed")))

    def _deleted(self, event: ev.ItemDeleted) -> Sequence[ServerEvent]:
        ours = attrs.evolve(event, item_id=self._names.ours(event.item_id))
        self._names.gone(event.item_id)
        return (ours,)

    def _retrieved(self, event: ev.ItemRetrieved) -> Sequence[ServerEvent]:
        if event.item.id is not None:
            event = attrs.evolve(event, item=attrs.evolve(event.item, id=self._names.ours(event.item.id)))
        return (event,)

    def _done(self, event: ev.ResponseDone) -> Sequence[ServerEvent]:
        whole = [
            ev.ItemDone(item)
            for item in event.response.output
            if item.id is not None and (isinstance(item, FunctionCall) or (isinstance(item, Message) and item.content))
        ]
        return (*whole, event)

    def _error(self, event: ev.SessionError) -> Sequence[ServerEvent]:
        if event.client_event_id is not None:
            self._names.refused(event.client_event_id)
        return (event,)

    # -- what we say

    def encode_client(self, event: ClientEvent) -> dict[str, Any]:
        """The frame that says ``event``, as an object."""
        frame = super().encode_client(event)
        kind = frame.get("type")
        if kind == "session.update" and isinstance(frame.get("session"), dict):
            self._update(frame["session"])
        elif kind == "conversation.item.create" and isinstance(frame.get("item"), dict):
            if isinstance(previous := frame.get("previous_item_id"), str):
                frame["previous_item_id"] = self._names.theirs(previous)
            self._names.sent(frame)
        elif isinstance(name := frame.get("item_id"), str):
            frame["item_id"] = self._names.theirs(name)
        return frame

    def _update(self, session: dict[str, Any]) -> None:
        if self._server_tools and ("tools" in session or not self._configured):
            session["tools"] = [*(session.get("tools") or ()), *self._server_tools]
        self._configured = True
        wanted = session.get("resumption")
        if isinstance(wanted, dict) and isinstance(wanted.get("enabled"), bool):
            self._resumes = wanted["enabled"]


_UNDERSTAND: Mapping[type, Callable[[XAICodec, Any], Sequence[ServerEvent]]] = {
    ev.ConversationCreated: XAICodec._conversation_created,
    ev.SessionUpdated: XAICodec._updated,
    ev.ItemCreated: XAICodec._added,
    ev.ItemDeleted: XAICodec._deleted,
    ev.ItemRetrieved: XAICodec._retrieved,
    ev.AudioInputCommitted: XAICodec._committed,
    ev.ResponseDone: XAICodec._done,
    ev.SessionError: XAICodec._error,
}
