"""The human's side: captured sound, speech, and the caller's own verbs."""

from __future__ import annotations

from attrs import evolve

from kernl_rt._core.actions import Lane
from kernl_rt._core.arbiter import ECHO, Wish
from kernl_rt._core.configuration import Change
from kernl_rt._core.inputs import (
    ActivityReported,
    AudioSubmitted,
    ChangeSubmitted,
    EventSubmitted,
    InterruptRequested,
    ItemSubmitted,
    MuteChanged,
    ReplyRequested,
    TurnCommitted,
)
from kernl_rt._core.rules import changes, interruption
from kernl_rt._core.rules.interruption import interrupt
from kernl_rt._core.state import State
from kernl_rt.config import ResponseConfig
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioInputAppend,
    AudioInputClear,
    AudioInputCleared,
    AudioInputCommit,
    AudioInputCommitted,
    AudioPlayed,
    DtmfPressed,
    ItemCreate,
    ItemDelete,
    ItemDeleted,
    ItemRetrieve,
    ItemRetrieved,
    ItemTruncate,
    ItemTruncated,
    ResponseCreate,
    SessionUpdate,
    SpeechStarted,
    SpeechStopped,
)
from kernl_rt.exceptions import CommandRejected

# -- sound ------------------------------------------------------------------------------------------------------------


def captured(state: State, event: AudioCaptured, now: float) -> None:
    _append(state, event.audio, captured=True)


def submitted(state: State, input: AudioSubmitted, now: float) -> None:
    _append(state, input.audio, captured=False)


def _append(state: State, audio: bytes, *, captured: bool) -> None:
    if state.muted:
        state.counts["muted_bytes"] += len(audio)
        return
    state.turn.uncommitted += len(audio)
    state.send(AudioInputAppend(audio), Lane.AUDIO, captured=captured)


def played(state: State, event: AudioPlayed, now: float) -> None:
    state.playback.mark(event.position_ms)


def mute_changed(state: State, input: MuteChanged, now: float) -> None:
    if input.muted != state.muted:
        state.muted = input.muted
        if state.lifecycle.linked:
            state.say_muted()


def dtmf(state: State, event: DtmfPressed, now: float) -> None:
    state.emit(event)


# -- speech -----------------------------------------------------------------------------------------------------------


def speech_started(state: State, event: SpeechStarted, now: float) -> None:
    """The provider hears the human. Where it stops its reply by itself, only what is playing is left to us."""
    state.turn.speaking = True
    state.turn.awaiting = None
    interruption.noise_goes_on(state)
    state.emit(event)
    if state.turn.provider_interrupts and not state.settings.capabilities.full_duplex:
        interrupt(state, "speech", now, cancel=False)


def speech_stopped(state: State, event: SpeechStopped, now: float) -> None:
    # Where both speak at the same time no turn has to be taken.
    state.turn.speaking, state.turn.ending = False, not state.settings.capabilities.full_duplex
    interruption.noise_stopped(state, now)
    state.emit(event)


def channel_activity(state: State, event: ActivityStarted | ActivityEnded, now: float) -> None:
    """The channel hears the human. Who is muted is not heard; who was speaking when they were muted has stopped."""
    if isinstance(event, ActivityEnded):
        if state.turn.speaking or not state.muted:
            activity_ended(state, event, now)
    elif not state.muted:
        activity_started(state, event, now)


def activity_started(state: State, event: ActivityStarted, now: float) -> None:
    """Our own side hears the human: nobody has told the provider, so the reply is cancelled there too."""
    state.turn.speaking = True
    interruption.noise_goes_on(state)
    state.emit(event)
    if (state.turn.manual or state.turn.provider_interrupts) and not state.settings.capabilities.full_duplex:
        interrupt(state, "speech", now, cancel=True)


def activity_ended(state: State, event: ActivityEnded, now: float) -> None:
    state.turn.speaking = False
    interruption.noise_stopped(state, now)
    state.emit(event)
    if state.turn.manual and state.turn.uncommitted:
        _commit(state, None, reply=True, now=now)


def activity_reported(state: State, input: ActivityReported, now: float) -> None:
    if input.started:
        activity_started(state, ActivityStarted(now), now)
    else:
        activity_ended(state, ActivityEnded(now), now)


def committed(state: State, event: AudioInputCommitted, now: float) -> None:
    state.turn.speaking = state.turn.ending = False
    if not state.turn.manual:
        state.turn.uncommitted = 0
    state.utterance.committed(event.item_id, manual=state.turn.manual)
    if state.turn.provider_replies and state.arbiter.state == "idle":
        state.turn.awaiting = now
    _acknowledged(state, AudioInputCommitted.kind)
    state.emit(event)


def cleared(state: State, event: AudioInputCleared, now: float) -> None:
    _acknowledged(state, AudioInputCleared.kind)
    state.emit(event)


# -- the caller's verbs -----------------------------------------------------------------------------------------------


def item_submitted(state: State, input: ItemSubmitted, now: float) -> None:
    """The item goes out at once; the reply is asked for when one may be."""
    event_id = state.next_id("event")
    item = input.item if input.item.id else evolve(input.item, id=state.next_id("item_kernl"))
    asks = (input.reply or input.ask) if state.settings.capabilities.answers_on_message else None
    create = ItemCreate(item, event_id=event_id, asks=asks)
    state.backlog.add(None if input.ask else input.command, event_id, f"item:{item.id}", create)
    state.send(create)
    if input.reply or input.ask:
        waits = (input.command,) if input.ask else ()
        state.arbiter.wish(Wish(asks=waits, because=event_id))
        state.ask_for_replies(now)


def turn_committed(state: State, input: TurnCommitted, now: float) -> None:
    _commit(state, input.command, reply=input.reply, now=now)


def _commit(state: State, command: int | None, *, reply: bool, now: float) -> None:
    if state.turn.manual and not state.turn.uncommitted:
        state.settle(command, CommandRejected("nothing to commit: no audio was sent since the last commit"))
        return
    state.turn.uncommitted = 0
    event_id = state.next_id("event")
    commit = AudioInputCommit(event_id=event_id)
    state.backlog.add(command, event_id, AudioInputCommitted.kind, commit)
    state.send(commit, Lane.AUDIO)
    if reply and not state.settings.capabilities.answers_on_commit:
        state.arbiter.wish(Wish(after_audio=True, because=event_id))
        state.ask_for_replies(now)


def reply_requested(state: State, input: ReplyRequested, now: float) -> None:
    config = input.config
    if config is not None and config.conversation == "none":
        event_id = state.next_id("event")
        state.asked_asides[event_id] = input.command
        metadata = {**(config.metadata or {}), ECHO: event_id}
        state.send(ResponseCreate(evolve(config, metadata=metadata), event_id=event_id))
        return
    state.arbiter.wish(Wish(commands=(input.command,), config=_said(config)))
    state.ask_for_replies(now)


def _said(config: ResponseConfig | None) -> ResponseConfig | None:
    return None if config == ResponseConfig() else config


def interrupt_requested(state: State, input: InterruptRequested, now: float) -> None:
    interrupt(state, "requested", now, cancel=True)
    state.settle(input.command)


#: What a model must be able to do, where it would ignore the event.
_NEEDS = {ItemDelete: "can_delete", ItemTruncate: "can_truncate"}
#: What acknowledges a client event of the caller's own making; the rest settles when it is handed to the lane.
_ANSWERS = {
    ItemDelete: ItemDeleted.kind,
    ItemTruncate: ItemTruncated.kind,
    ItemRetrieve: ItemRetrieved.kind,
    AudioInputClear: AudioInputCleared.kind,
    AudioInputCommit: AudioInputCommitted.kind,
}


def event_submitted(state: State, input: EventSubmitted, now: float) -> None:
    """A client event as it is. A request for a reply still goes through the arbiter."""
    event = input.event
    if isinstance(event, ResponseCreate):
        reply_requested(state, ReplyRequested(input.command, event.config), now)
        return
    if isinstance(event, SessionUpdate):
        change = Change(input.command, event.config, raw=True, event_id=event.event_id)
        changes.submitted(state, ChangeSubmitted(change), now)
        return
    if (flag := _NEEDS.get(type(event))) is not None and not getattr(state.settings.capabilities, flag):
        state.settle(input.command, CommandRejected(f"this model cannot do that: {event.kind} ({flag} is False)"))
        return
    event = event if event.event_id else evolve(event, event_id=state.next_id("event"))
    assert event.event_id is not None
    ordered = isinstance(event, (AudioInputAppend, AudioInputClear, AudioInputCommit))
    if isinstance(event, (AudioInputClear, AudioInputCommit)):
        state.turn.uncommitted = 0
    if isinstance(event, AudioInputClear) and not state.lifecycle.linked:
        state.utterance.add(event)  # the provider's buffer went with its link
        state.settle(input.command)
        return
    state.send(event, Lane.AUDIO if ordered else Lane.COMMAND)
    key = f"item:{event.item.id}" if isinstance(event, ItemCreate) and event.item.id else _ANSWERS.get(type(event))
    if key is None:
        state.settle(input.command)
    else:
        state.backlog.add(input.command, event.event_id, key, event)


def _acknowledged(state: State, key: str) -> None:
    pending = state.backlog.acknowledge(key)
    if pending is not None:
        state.settle(pending.command)
