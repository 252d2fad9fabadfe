"""Output guardrails: each reply is read while it grows, and stopped as soon as one of them trips.

``after`` runs behind the rule of each input: it starts the checks that are due, and lets go of sound whose words have
passed (:mod:`kernl_rt._core.holdback`). A reply beside the conversation is not said to the human, and not checked.
"""

from __future__ import annotations

from typing import Any

from kernl_rt._core.actions import Emit, StartCheck
from kernl_rt._core.arbiter import Wish
from kernl_rt._core.guardrails import Check
from kernl_rt._core.inputs import CheckReturned
from kernl_rt._core.rules import reply
from kernl_rt._core.rules.silencing import silence, still_to_come
from kernl_rt._core.state import State
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    GuardrailTripped,
    ItemCreate,
    OutputTranscript,
    OutputTranscriptDelta,
    ResponseCreated,
    ResponseDone,
    SessionError,
    TextDelta,
    TextDone,
)
from kernl_rt.items import ContentPart, Message


def after(state: State, input: Any, now: float) -> None:
    """Behind every rule, in a session with guardrails."""
    if not state.lifecycle.live:
        return
    match input:
        case TextDelta() | OutputTranscriptDelta() if _is_said(state, input):
            part = (input.item_id, input.content_index or 0)
            _start(state, state.guardrails.grow(state.reply_key(input.response_id), part, input.text))
        case TextDone() | OutputTranscript() if _is_said(state, input):
            part = (input.item_id, input.content_index or 0)
            _start(state, state.guardrails.complete(state.reply_key(input.response_id), part, input.text))
        case ResponseDone(response=response) if response.id is None or response.id in state.finished:
            _start(state, state.guardrails.finish(response.id or "", response.text))
        case ResponseCreated(response=response):
            state.guardrails.begin(response.id or "")
            for key in state.guardrails.unfinished:
                if key in state.finished:  # it gave way to this one
                    _start(state, state.guardrails.finish(key, ""))
        case _:
            pass
    release(state, now)


def _is_said(state: State, event: TextDelta | TextDone | OutputTranscriptDelta | OutputTranscript) -> bool:
    """Whether these words belong to what the human hears: nobody else's, and not of a reply that was stopped."""
    if event.response_id in state.fenced or event.response_id in state.asides:
        return False
    return any(isinstance(action, Emit) and action.event is event for action in state.out)


def _start(state: State, checks: list[Check]) -> None:
    for check in checks:
        state.out.append(StartCheck(check.check_id, check.settings.name, check.key or None, check.text))


def returned(state: State, input: CheckReturned, now: float) -> None:
    """A check is done. What comes too late to matter changes nothing; a reply trips once."""
    check = state.guardrails.returned(input.check_id)
    if check is None or not state.lifecycle.live:
        return
    reason = input.tripped
    if input.error is not None:
        message = f"guardrail {check.settings.name} raised {type(input.error).__name__}: {input.error}"
        state.emit(SessionError(message, source="session", cause=input.error))
        reason = message if check.settings.fail_closed else None
    if reason is None:
        _start(state, state.guardrails.let_pass(check))
    elif state.guardrails.trip(check.key):
        _trip(state, check, reason, now)


def _trip(state: State, check: Check, reason: str, now: float) -> None:
    """The reply is stopped at once. Where the human would be left in silence, the model is told why, and mends it."""
    owes = check.key == state.arbiter.running and check.key not in state.fenced
    owes = owes or (state.holdback.holds(check.key) and state.arbiter.state == "idle")
    stopped = still_to_come(state, check.key, now)
    state.emit(GuardrailTripped(check.settings.name, check.key or None, check.text, reason, stopped))
    silence(state, check.key, "guardrail", now)
    if owes and check.settings.follow_up is not None:
        _follow_up(state, check.settings.follow_up.format(name=check.settings.name, reason=reason), now)


def _follow_up(state: State, text: str, now: float) -> None:
    event_id, item_id = state.next_id("event"), state.next_id("item_kernl")
    message = Message("system", [ContentPart("input_text", text=text)], id=item_id)
    create = ItemCreate(message, event_id=event_id)
    state.backlog.add(None, event_id, f"item:{item_id}", create)
    state.send(create)
    state.arbiter.wish(Wish(because=event_id))
    state.ask_for_replies(now)


def release(state: State, now: float) -> None:
    """Let go of what may be said, in the order in which it came."""
    while state.interruption is None:
        following = state.holdback.next(state.guardrails.has_passed, now)
        if following is None:
            return
        held, unchecked = following
        match held.event:
            case AudioDelta() as sound:
                state.counts["released_unchecked"] += unchecked
                reply.play(state, sound, now)
                if held.key in state.finished and not state.holdback.holds(held.key):
                    state.playback.finish(sound.response_id)
            case AudioDone() as complete:
                reply.complete(state, complete, late=False)
            case ResponseDone() as done:
                state.playback.finish(done.response.id)
                state.emit(done)
