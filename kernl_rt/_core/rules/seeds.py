"""A session that begins with a conversation: each item is sent, and shows in the history at once."""

from __future__ import annotations

from kernl_rt._core.seeding import seedable
from kernl_rt._core.state import State
from kernl_rt.events import ItemCreate, SessionError


def sow(state: State) -> None:
    """Called once, when the provider has accepted the configuration. No reply is asked for."""
    items = seedable(state.settings.history, images=state.settings.capabilities.image_input)
    for item in items:
        event_id = state.next_id("event")
        state.seeding.sent(event_id, item)
        state.conversation.add(item, None)
        state.send(ItemCreate(item, event_id=event_id))
    state.reserve_ids(state.seeding.highest)
    if items:
        state.history_changed()


def refused(state: State, event: SessionError) -> bool:
    """Whether an error was the answer to a seed: the model does not know that item, so the history has it no more."""
    item = state.seeding.refused(event.client_event_id or "")
    if item is None:
        return False
    message = f"the provider refused an item of the history, {item.type} {item.id}: {event.message}"
    state.emit(SessionError(message, event.code, event.type, event.param, event.client_event_id))
    if item.id is not None and state.conversation.remove(item.id):
        state.history_changed()
    return True
