"""The model's reply: what is played, reported and remembered of it."""

from __future__ import annotations

from typing import TypeAlias

from kernl_rt._core.actions import Emit, FlushPlayback, Play
from kernl_rt._core.arbiter import ECHO
from kernl_rt._core.inputs import RequestOvertaken, SpeakerStuck
from kernl_rt._core.rules import history, interruption, tools
from kernl_rt._core.rules.interruption import interrupt
from kernl_rt._core.state import State
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    ContentPartAdded,
    ContentPartDone,
    McpArguments,
    McpArgumentsDelta,
    McpCallProgress,
    OutputBufferCleared,
    OutputItemAdded,
    OutputItemDone,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseCreated,
    ResponseDone,
    SessionError,
    TextDelta,
    TextDone,
    ToolCalled,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageReported,
    UsageUpdated,
)
from kernl_rt.exceptions import CommandRejected

#: Sound that may wait for the human, in bytes (5.8 minutes of PCM16 at 24 kHz). More means that the speaker is stuck.
PLAYBACK_LIMIT = 16 * 2**20
Partial: TypeAlias = AudioDelta | TextDelta | OutputTranscriptDelta | ToolDelta | McpArgumentsDelta
Rest: TypeAlias = (
    OutputItemAdded | OutputItemDone | ContentPartAdded | ContentPartDone | ToolStarted | McpCallProgress | McpArguments
)
Final: TypeAlias = AudioDone | TextDone | OutputTranscript | ToolCalled | McpArguments
_PARTIAL_OF: dict[type, type] = {
    AudioDone: AudioDelta,
    TextDone: TextDelta,
    OutputTranscript: OutputTranscriptDelta,
    ToolCalled: ToolDelta,
    McpArguments: McpArgumentsDelta,
}


def created(state: State, event: ResponseCreated, now: float) -> None:
    response = event.response
    echo = (response.metadata or {}).get(ECHO)
    if echo is not None and response.id is not None and echo in state.asked_asides:
        state.asides[response.id] = state.asked_asides.pop(echo)
        state.emit(event)
        return
    if response.id is not None and (response.id == state.arbiter.running or response.id in state.finished):
        state.counts["duplicates"] += 1
        return
    if state.arbiter.running and state.in_conversation and response.id and not response.conversation_id:
        # Beside a reply of the conversation only one that belongs to none can run: somebody asked for it by hand.
        state.asides[response.id] = None
        state.emit(event)
        return
    if state.arbiter.running:
        # Some providers begin anew without ending what ran (xAI, when its turn detection changes its mind).
        state.finish(state.arbiter.running)
        state.fenced.discard(state.arbiter.running)
        state.playback.finish(state.arbiter.running)
    interruption.confirm(state, now)
    state.turn.awaiting, state.turn.ending = None, False
    state.arbiter.created(response.id, echo)
    state.in_conversation = response.conversation_id is not None
    state.finals.clear()
    state.provider_calls.clear()
    state.emit(event)
    if state.arbiter.cancel_next:
        state.arbiter.cancel_next = False
        interrupt(state, "requested", now, cancel=True)


def overtaken(state: State, input: RequestOvertaken, now: float) -> None:
    state.arbiter.overtaken(input.event_id, now)


def _known(state: State, response_id: str | None, now: float) -> bool:
    """Whether there is such a reply. One that begins to speak before it was created is created by that, if none runs;
    beside one that runs, it is nobody's.
    """
    arbiter = state.arbiter
    if response_id is None or response_id == arbiter.running or response_id in state.asides:
        return True
    if response_id in state.fenced or response_id in state.finished:
        return True
    if arbiter.running is not None:
        state.counts["orphans"] += 1
        return False
    created(state, ResponseCreated(Response(id=response_id, status="in_progress")), now)
    return True


def _admitted(state: State, event: Partial, now: float) -> bool:
    """Whether something partial may still be told: not of a reply that was interrupted or is over, nor of a part whose
    final was told.
    """
    response_id = event.response_id
    if not _known(state, response_id, now) or response_id in state.fenced:
        return False
    if type(event) is AudioDelta and not state.finals and response_id == state.arbiter.running:
        return True  # most of what comes
    if type(event) is ToolDelta and event.call_id is not None and state.tools.get(event.call_id) is not None:
        return False  # the call is complete, whatever reply it claims to be of
    over = response_id in state.finished and response_id != state.arbiter.running
    return not over and (type(event), _part(event)) not in state.finals


def _part(event: Partial | Final) -> tuple[str | None, int]:
    if isinstance(event, (ToolDelta, ToolCalled)):
        return event.call_id, 0
    return getattr(event, "item_id", None), getattr(event, "content_index", None) or 0


def close_part(state: State, event: Final) -> None:
    """A part is complete: what comes for it later is of no use."""
    state.finals.add((_PARTIAL_OF[type(event)], _part(event)))


def final(state: State, event: TextDone, now: float) -> None:
    if _known(state, event.response_id, now):
        close_part(state, event)
        state.emit(event)


def final_transcript(state: State, event: OutputTranscript, now: float) -> None:
    if _known(state, event.response_id, now):
        close_part(state, event)
        history.transcript(state, event, now)


def item_added(state: State, event: OutputItemAdded, now: float) -> None:
    if _known(state, event.response_id, now):
        history.part_of_reply(state, event, now)


def rest(state: State, event: Rest, now: float) -> None:
    """What tells of a reply without being heard: its items and parts."""
    if _known(state, event.response_id, now):
        if isinstance(event, McpArguments):
            close_part(state, event)
        elif isinstance(event, McpCallProgress) and event.item_id is not None:
            if event.status == "in_progress":
                state.provider_calls.add(event.item_id)
            else:
                state.provider_calls.discard(event.item_id)
        state.emit(event)


def tool_called(state: State, event: ToolCalled, now: float) -> None:
    if _known(state, event.response_id, now):
        close_part(state, event)
        tools.called(state, event, now)


def audio(state: State, event: AudioDelta, now: float) -> None:
    """Sound: to the channel first, then to the listeners; of an interrupted or finished reply, to nobody."""
    response_id = event.response_id
    state.changes.spoken = True
    key = state.reply_key(response_id)
    if not _admitted(state, event, now) or state.guardrails.tripped(key):
        state.counts["late_audio"] += 1
        state.conversation.generated(event.item_id, state.settings.output_format.ms(len(event.audio)))
        return
    if response_id not in state.asides:
        state.latency.received(key, now)
        if state.holdback.on:
            state.holdback.add(event, key, state.guardrails.version(key), now)
            return
    play(state, event, now)


def play(state: State, event: AudioDelta, now: float) -> None:
    out, response_id = state.out, event.response_id
    if response_id not in state.asides:
        size = len(event.audio)
        settings = state.settings
        kept = event.audio if settings.recover_after is not None or state.guardrails.on else None
        state.playback.sent(response_id, event.item_id, event.content_index or 0, size, now, kept)
        if settings.has_channel and state.pause is None:
            out.append(Play(event.audio))
        # Without a channel the sound is the caller's, and nothing of it waits here.
        if (settings.has_channel or kept) and state.playback.pending + state.playback.paused > PLAYBACK_LIMIT:
            out.append(Emit(event))
            _overflow(state, now)
            return
    out.append(Emit(event))


def speaker_stuck(state: State, input: SpeakerStuck, now: float) -> None:
    """The channel takes no sound, whatever the clock believes to have been heard."""
    _overflow(state, now)


def _overflow(state: State, now: float) -> None:
    state.counts["overflows"] += 1
    message = f"the speaker is stuck: {PLAYBACK_LIMIT // 2**20} MiB of audio wait to be heard; the reply was cancelled"
    state.emit(SessionError(message, source="playback"))
    interrupt(state, "overflow", now, cancel=True)


def audio_done(state: State, event: AudioDone, now: float) -> None:
    late = event.response_id in state.fenced or event.response_id in state.finished
    if not _known(state, event.response_id, now):
        return
    close_part(state, event)
    key = state.reply_key(event.response_id)
    if state.holdback.holds(key):
        state.holdback.add(event, key, 0, now)  # its sound first
    else:
        complete(state, event, late=late or event.response_id in state.asides)


def complete(state: State, event: AudioDone, *, late: bool) -> None:
    if not late:
        state.playback.complete(event.response_id, event.item_id)
        if state.settings.has_channel and state.pause is None:
            state.out.append(FlushPlayback())
    state.emit(event)


def dropped(state: State, event: OutputBufferCleared, now: float) -> None:
    """The provider has dropped what it was about to say, because the human cut in: what waits here goes, too."""
    state.emit(event)
    if event.response_id is None or event.response_id not in state.fenced:
        interrupt(state, "provider", now, cancel=False)


def partial(state: State, event: Partial, now: float) -> None:
    if not _admitted(state, event, now):
        state.counts["late_text"] += 1
        return
    state.emit(event)


def done(state: State, event: ResponseDone, now: float) -> None:
    """A reply is over: what it cost, who waited for it, and whether its tools owe another."""
    response = event.response
    if response.id in state.asides:
        state.emit(event)
        state.settle(state.asides.pop(response.id), result=response)
        tools.reply_over(state, response, (), now)
        return
    if response.id is not None and response.id != state.arbiter.running:
        state.counts["duplicates" if response.id in state.finished else "orphans"] += 1
        if response.id not in state.fenced:
            return
    if response.id is not None:
        if response.id in state.fenced:
            state.guardrails.abandon(response.id)
        state.fenced.discard(response.id)
        state.finish(response.id)
    if state.holdback.holds(response.id or ""):
        state.holdback.add(event, response.id or "", 0, now)  # its sound first
    else:
        state.playback.finish(response.id)
        state.emit(event)
    served = state.arbiter.done(response.id)
    if response.usage is not None:
        _count(state, response.usage, response.id)
    wishes = served.wishes if served is not None else ()
    asks = tuple(command for wish in wishes for command in wish.asks)
    failure = _failure(event)
    for wish in wishes:
        for command in wish.commands:
            state.settle(command, _rejection(failure), response)
    if failure is not None:
        if not any(wish.commands or wish.asks for wish in wishes):
            state.emit(failure)
        for command in asks:
            state.settle(command, _rejection(failure))
        asks = ()
    if not tools.reply_over(state, response, asks, now):
        for command in asks:
            state.settle(command, result=response)
    state.ask_for_replies(now)


def usage_reported(state: State, event: UsageReported, now: float) -> None:
    state.emit(event)
    _count(state, event.usage, None)


def _count(state: State, usage: Usage, response_id: str | None) -> None:
    state.usage = state.usage + usage
    state.emit(UsageUpdated(usage, state.usage, response_id))


def _failure(event: ResponseDone) -> SessionError | None:
    """A reply that failed says so only here: the provider sends no error event for it."""
    if event.response.status != "failed":
        return None
    details = event.response.status_details
    error = details.error if details is not None else None
    message = (error.message if error is not None else None) or "the provider failed to produce a reply"
    return SessionError(message, error.code if error else None, error.type if error else None)


def _rejection(failure: SessionError | None) -> CommandRejected | None:
    return None if failure is None else CommandRejected(failure.message, code=failure.code)
