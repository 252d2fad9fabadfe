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
    OutputTranscript,
)


def created(state: State, event: ItemCreated, now: float) -> None:
    """An item arrived: it acknowledges the command that made it."""
    pending = state.backlog.acknowledge(f"item:{event.item.id}")
    changed = state.conversation.add(event.item, event.previous_item_id)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command, result=event.item)
    if changed:
        state.history_changed()


def done(state: State, event: ItemDone, now: float) -> None:
    changed = state.conversation.add(event.item, None)
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


def transcript(state: State, event: InputTranscript | OutputTranscript, now: float) -> None:
    if isinstance(event, InputTranscript):
        interruption.words_heard(state, event.text, now)
    changed = state.conversation.transcribe(event.item_id, event.content_index or 0, event.text)
    state.emit(event)
    if changed:
        state.history_changed()
