"""Measuring how long the human waits. Behind every rule; decides nothing."""

from __future__ import annotations

from typing import Any, Final

from kernl_rt._core.actions import Emit, Send
from kernl_rt._core.inputs import ActivityReported, ItemSubmitted, ReplyRequested, ToolReturned, TurnCommitted
from kernl_rt._core.state import State
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioInputCommit,
    AudioPlayed,
    Interrupted,
    LatencyMeasured,
    PlaybackPaused,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
)


def after(state: State, input: Any, now: float) -> None:
    """Behind every rule: note when the human's turn ends, and when its answer is heard."""
    latency = state.latency
    if type(input) in _NOTED:
        _note(state, input, now)
    if latency.speech_at is not None:
        _barged_in(state, now)
    if state.playback.any_begun:
        at = input.at if isinstance(input, AudioPlayed) and input.at is not None else now
        for response_id, ago in state.playback.begun():
            _tell(state, latency.heard(response_id or "", at - ago / state.settings.output_format.bytes_per_second))
    if latency.any_unheard:
        _never_heard(state)


def _never_heard(state: State) -> None:
    """Replies whose first sound was dropped: all of it is gone, and none of it was heard."""
    for key in state.latency.unheard:
        over = key in state.fenced or key in state.finished
        if over and not state.playback.unheard(key or None) and not state.holdback.holds(key):
            _tell(state, state.latency.heard(key, None))


#: What :func:`_note` knows. Most of what comes is none of it: the deltas.
_NOTED: Final = frozenset(
    {
        ActivityEnded,
        ActivityReported,
        ActivityStarted,
        ItemSubmitted,
        ReplyRequested,
        ResponseCreated,
        ResponseDone,
        SpeechStarted,
        SpeechStopped,
        ToolReturned,
        TurnCommitted,
    }
)


def _note(state: State, input: Any, now: float) -> None:
    latency = state.latency
    match input:
        case SpeechStarted() | ActivityReported(started=True):
            latency.speech_started(now)
        case ActivityStarted(at=at):
            latency.speech_started(now if at is None else min(at, now))
        case SpeechStopped() | ActivityReported(started=False):
            latency.turn_ended("speech", now)
        case ActivityEnded(at=at):
            latency.turn_ended("speech", now if at is None else min(at, now))
        case TurnCommitted() if any(isinstance(a, Send) and isinstance(a.event, AudioInputCommit) for a in state.out):
            latency.turn_ended("commit", now)
        case ItemSubmitted(reply=True) | ItemSubmitted(ask=True):
            latency.turn_ended("message", now)
        case ReplyRequested(config=config) if config is None or config.conversation != "none":
            latency.turn_ended("request", now)
        case ResponseCreated(response=response) if response.id not in state.asides:
            latency.reply_began(response.id or "")
        case ResponseDone(response=response):
            latency.reply_over(response.id or "")
        case ToolReturned(duration=float(seconds), outcome=outcome) if outcome != "cancelled":
            latency.tools = latency.tools.with_one(seconds)
        case _:
            pass


def _barged_in(state: State, now: float) -> None:
    """Whether the human's speech has stopped a reply, now that this input is dealt with."""
    for action in state.out:
        match action:
            case Emit(event=Interrupted(response_id=response_id)):
                _tell(state, state.latency.interrupted(response_id, now))
                return
            case Emit(event=PlaybackPaused()):
                _tell(state, state.latency.interrupted(state.arbiter.running, now))
                return
            case _:
                pass
    if state.interruption is None and state.pause is None:
        state.latency.speech_at = None


def _tell(state: State, measured: LatencyMeasured | None) -> None:
    if measured is not None:
        state.emit(measured)
