"""The conversation's items as the provider reports them."""

from __future__ import annotations

from kernl_rt._core.rules import interruption
from kernl_rt._core.state import State
from kernl_rt.events import (
    InputTranscript,
    InputTranscriptDelta,
    ItemCreated,
    ItemDeleted,
    ItemDone,
    ItemRetrieved,
    ItemTruncated,
    OutputItemAdded,
    OutputTranscript,
)
from kernl_rt.items import ConversationItem


def created(state: State, event: ItemCreated, now: float) -> None:
    """An item arrived: it acknowledges the command that made it. While a session is resumed, it is one that the
    provider has kept, perhaps under another id.
    """
    if state.resuming:
        state.kept.append(event.item)
        if event.item.id is not None and event.item.id not in state.conversation:
            state.seeding.retold.add(event.item.id)
    pending = state.backlog.acknowledge(f"item:{event.item.id}")
    previous = event.previous_item_id
    if state.reordered and previous in state.seeding.retold:
        previous = None  # what is new comes last
    changed = _news(state, event.item) and state.conversation.add(event.item, previous)
    state.seeding.acknowledge(event.item.id)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command, result=event.item)
    if changed:
        state.history_changed()


def _news(state: State, item: ConversationItem) -> bool:
    """Whether the provider knows the item better than we do: not one that we have told it."""
    return item.id not in state.seeding.retold


def done(state: State, event: ItemDone, now: float) -> None:
    changed = _news(state, event.item) and state.conversation.add(event.item, None, late=True)
    state.emit(event)
    if changed:
        state.history_changed()


def retrieved(state: State, event: ItemRetrieved, now: float) -> None:
    pending = state.backlog.acknowledge(ItemRetrieved.kind)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command, result=event.item)


def deleted(state: State, event: ItemDeleted, now: float) -> None:
    pending = state.backlog.acknowledge(ItemDeleted.kind)
    changed = state.conversation.remove(event.item_id)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command)
    if changed:
        state.history_changed()


def truncated(state: State, event: ItemTruncated, now: float) -> None:
    pending = state.backlog.acknowledge(ItemTruncated.kind)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command)


def words_of_the_human(state: State, event: InputTranscriptDelta, now: float) -> None:
    state.emit(event)
    interruption.words_heard(state, event.text, now)


def part_of_reply(state: State, event: OutputItemAdded, now: float) -> None:
    """An item of a reply begins; of one that was interrupted, nobody will hear it."""
    if event.item.id is not None:
        state.conversation.part_of(event.item.id, event.response_id)
        if event.response_id in state.fenced:
            state.conversation.cut_unheard(event.item.id)
    state.emit(event)


def transcript(state: State, event: InputTranscript | OutputTranscript, now: float) -> None:
    if isinstance(event, OutputTranscript) and event.response_id in state.fenced:
        state.conversation.cut_unheard(event.item_id)
    if isinstance(event, InputTranscript):
        interruption.words_heard(state, event.text, now)
        state.utterance.understood(event.item_id)
    changed = state.conversation.transcribe(event.item_id, event.content_index or 0, event.text)
    state.emit(event)
    if changed:
        state.history_changed()
