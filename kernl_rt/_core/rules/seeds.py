"""A session that begins with a conversation: each item is sent, and shows in the history at once."""

from __future__ import annotations

from attrs import evolve

from kernl_rt._core.seeding import seedable
from kernl_rt._core.state import State
from kernl_rt.events import ItemCreate, SessionError
from kernl_rt.items import ContentPart, ConversationItem, Message


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


def sow_again(state: State) -> None:
    """A new link is told the conversation as it was heard, less what the provider has kept of it (nothing, unless the
    session is resumed). Our own history stays as it is.
    """
    kept, state.kept = state.kept, []
    state.reordered = bool(kept)
    running = {call.call_id for call in state.tools.open_calls()}
    told = (_with_sound(state, item) for item in state.conversation.snapshot() if not _among(kept, item))
    images = state.settings.capabilities.image_input
    for item in seedable(told, images=images, running=running, above=state.last_id):
        event_id = state.next_id("event")
        state.seeding.sent(event_id, item)
        if item.id is not None:
            state.seeding.retold.add(item.id)
        state.send(ItemCreate(item, event_id=event_id))
    state.reserve_ids(state.seeding.highest)


def _among(kept: list[ConversationItem], item: ConversationItem) -> bool:
    """Whether the provider has kept a message. It may know more words of it than were heard."""
    if not isinstance(item, Message) or not item.text:
        return False
    same = (each for each in kept if isinstance(each, Message) and each.role == item.role)
    found = next((each for each in same if each.text.startswith(item.text)), None)
    if found is None:
        return False
    kept.remove(found)
    return True


def _with_sound(state: State, item: ConversationItem) -> ConversationItem:
    """A turn of the human's without words is told as it sounded, where that is still known."""
    sound = state.utterance.sound_of(item.id)
    if sound is None or not isinstance(item, Message) or item.text:
        return item
    return evolve(item, content=[ContentPart("input_audio", audio=sound)])


def refused(state: State, event: SessionError) -> bool:
    """Whether an error was the answer to a seed: the model does not know that item, so the history has it no more."""
    item = state.seeding.refused(event.client_event_id or "")
    if item is None:
        return False
    message = f"the provider refused an item of the history, {item.type} {item.id}: {event.message}"
    state.emit(SessionError(message, event.code, event.type, event.param, event.client_event_id))
    if item.id in state.seeding.retold:
        return True
    if item.id is not None and state.conversation.remove(item.id):
        state.history_changed()
    return True
