"""The link to the model: how it ends, and how the session comes back on another.

A session outlives its links. When one is lost, everything that was on it is gone at the provider: its conversation, the
reply that ran, the sound that was not made a turn of. So on the next link the session says its configuration, the
conversation as it was heard, what had not been acknowledged, and the human's sound; then whatever was owed is asked for
again. Until then commands wait, tools go on, and the human's sound is kept.

The same way leads over the provider's age limit (``rotate``) and out of its silence (``silent_too_long``).
"""

from __future__ import annotations

from typing import Literal

from kernl_rt._core.actions import ClearPlayback, Disconnect, Lane, Reconnect, Send
from kernl_rt._core.arbiter import Wish
from kernl_rt._core.inputs import ConnectFailed, ConnectionLost
from kernl_rt._core.redial import hopeless
from kernl_rt._core.rules import changes, interruption, reply, seeds, tools
from kernl_rt._core.state import Interruption, State
from kernl_rt.events import (
    AudioDelta,
    AudioInputClear,
    AudioInputCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    OutputTranscriptDelta,
    Response,
    ResponseDone,
    SessionError,
    SessionExpiring,
    SessionResumable,
    TextDelta,
    ToolResult,
)
from kernl_rt.exceptions import (
    CommandAborted,
    CommandError,
    CommandLost,
    ConnectError,
    ConnectionClosed,
    SessionExpired,
)
from kernl_rt.items import ContentPart, Message

ROTATION = "the provider ends sessions of this age; the link is changed"

# -- how it ends ------------------------------------------------------------------------------------------------------


def fail(state: State, error: Exception | None, reason: str) -> None:
    """The session ends: with ``error``, or in peace."""
    state.settle_everything(_because(CommandAborted(f"the session ended: {reason}"), error))
    state.move("close", reason)
    state.out.append(Disconnect(error))


def _because(outcome: CommandError, error: Exception | None) -> CommandError:
    outcome.__cause__ = error
    return outcome


def lost(state: State, input: ConnectionLost, now: float) -> None:
    """The link is gone. While nothing is going on, a goodbye (1000) ends the session in peace."""
    error = _meaning(state, input.error)
    status = state.lifecycle.status
    if status == "reconnecting":
        return  # the link that it is about was given up before
    if status == "connected":
        if _goodbye(error) and _peaceful(state):
            _end(state, None, "the server closed the connection")
            return
        _leave(state, error, str(error), now, input.jitter)
        return
    if isinstance(error, ConnectionClosed):
        error = ConnectError(f"the server closed the link before it accepted the configuration: {error}")
    _end(state, error, _gave_up(state, error))


def _leave(state: State, error: Exception, reason: str, now: float, jitter: float) -> None:
    """This link is of no use any more: to the next one, if there may be another."""
    delay = state.redial.dropped(error, now, jitter)
    if delay is None:
        _end(state, error, _gave_up(state, error))
    else:
        drop(state, delay, reason, now)


def _meaning(state: State, error: Exception) -> Exception:
    """Some providers say in an error event that the session is too old, and close with any code."""
    if state.provider_expired is not None and isinstance(error, ConnectionClosed):
        return error if isinstance(error, SessionExpired) else SessionExpired(error.code, state.provider_expired)
    return error


def _goodbye(error: Exception) -> bool:
    return isinstance(error, ConnectionClosed) and error.code == 1000 and not isinstance(error, SessionExpired)


def _peaceful(state: State) -> bool:
    return not (_owes(state) or state.tools.open_calls() or len(state.backlog))


def _owes(state: State) -> bool:
    """Whether a reply runs, is asked for or wished for, or the human's turn waits for one."""
    return state.arbiter.state != "idle" or bool(state.arbiter.waiting) or state.turn.awaiting is not None


def _end(state: State, error: Exception | None, reason: str) -> None:
    state.settle_everything(_because(CommandLost(f"the connection ended: {reason}"), error))
    fail(state, error, reason)


def _gave_up(state: State, error: Exception) -> str:
    tried = state.redial.tried
    return f"gave up after {tried} attempts to reconnect: {error}" if tried else str(error)


# -- between two links ------------------------------------------------------------------------------------------------


def drop(state: State, delay: float, reason: str, now: float) -> None:
    """Take leave of a link: the reply that ran on it is over, and what is owed is remembered."""
    state.move("drop", reason)
    state.provider_expired = None
    state.turn.speaking = state.turn.ending = False
    lost = CommandLost(f"the connection ended: {reason}")
    state.settle_wishes(state.arbiter.disconnect(), lost)
    if state.turn.awaiting is not None:
        state.turn.awaiting = None
        state.arbiter.wish_again((Wish(),))
    if state.arbiter.running is not None:
        _end_reply(state, state.arbiter.running, now)
    interruption.noise_stopped(state, now)
    for command in (*state.asked_asides.values(), *state.asides.values()):
        state.settle(command, lost)
    state.asked_asides.clear()
    state.asides.clear()
    _requeue(state, lost)
    _remember_turn(state)
    state.changes.disconnect()
    state.seeding.disconnect()
    state.kept.clear()
    state.resuming = state.resume_handle is not None and state.settings.capabilities.can_resume
    state.out.append(Reconnect(delay, state.resume_handle if state.resuming else None))


def _end_reply(state: State, running: str, now: float) -> None:
    """The rest of the reply will not come. What the human was not told, the model is asked for again."""
    stopped = running in state.fenced
    said = any(part in (AudioDelta, TextDelta, OutputTranscriptDelta) for part, _ in state.finals)
    again: tuple[Wish, ...] = ()
    if not stopped and not said:
        # What waits to be heard is cut before the reply counts as over, which would let it go on.
        tools.cut_off(state, now, running)
        if not state.tools.owes_reply(running):
            served = state.arbiter.release()
            again = served.wishes if served is not None else (Wish(),)
        _cut_off(state, running or None, now)
    _conclude(state, running, "cancelled" if stopped else "completed" if said else "incomplete", now)
    state.fenced.discard(running)
    state.arbiter.wish_again(again)


def _conclude(state: State, running: str, status: Literal["completed", "incomplete", "cancelled"], now: float) -> None:
    """Say ourselves that the reply is over: the provider will not."""
    output = state.conversation.of_reply(running or None)
    reply.done(state, ResponseDone(Response(id=running or None, status=status, output=output)), now)


def _cut_off(state: State, running: str | None, now: float) -> None:
    if state.pause is not None:
        interruption.confirm(state, now, "connection_lost")
        return
    state.interruption = Interruption("connection_lost", running)
    if state.settings.has_channel:
        state.out.append(ClearPlayback())
    else:
        interruption.conclude(state, state.playback.clear(None, now), now)


def _requeue(state: State, lost: CommandLost) -> None:
    """What was said and not acknowledged is said again, if it still has a meaning."""
    for pending in state.backlog:
        match pending.event:
            case ItemCreate() | ItemDelete() | ItemRetrieve() | ToolResult():
                state.unsaid.append(pending.event)
            case AudioInputCommit():
                pass  # it has its place among the sound
            case event:
                state.backlog.reject(pending.event_id)
                emptied = isinstance(event, AudioInputClear)  # the provider's buffer is gone, as was asked
                state.settle(pending.command, None if emptied else lost)


def _remember_turn(state: State) -> None:
    """A turn that the provider has taken is part of the conversation, also where it had no time to say so."""
    item_id = state.utterance.turn
    if item_id is not None and item_id not in state.conversation:
        state.conversation.add(Message("user", [ContentPart("input_audio")], id=item_id), None)
        state.history_changed()


# -- how it comes back ------------------------------------------------------------------------------------------------


def failed_to_connect(state: State, input: ConnectFailed, now: float) -> None:
    """This attempt came to nothing. A handle that did not work is not tried twice."""
    if state.lifecycle.status != "reconnecting":
        return
    # A refusal may have been meant for the handle, so it is final only without one.
    suspect = state.resuming and hopeless(input.error)
    delay = 0.0 if suspect else state.redial.again(input.error, input.jitter)
    if delay is None:
        _end(state, input.error, _gave_up(state, input.error))
        return
    state.resuming, state.resume_handle = False, None
    state.kept.clear()
    state.out.append(Reconnect(delay))


def configured(state: State, now: float) -> None:
    """The provider has accepted the configuration: the session is connected, or connected again."""
    again = state.lifecycle.status == "reconnecting"
    state.move("configured")
    state.redial.linked(now)
    if state.muted:
        state.say_muted()
    if not again:
        seeds.sow(state)
        return
    fresh = not state.resuming or state.settings.capabilities.replays_on_resume
    state.resuming = False
    if fresh:
        seeds.sow_again(state)
    unsaid = tuple(state.unsaid)
    state.unsaid.clear()
    for event in unsaid:
        if fresh and isinstance(event, ToolResult):
            state.backlog.reject(event.event_id or "")  # it went along with the call
        else:
            state.send(event)
    state.out.extend(Send(event, Lane.AUDIO) for event in state.utterance.again())
    changes.advance(state, now)
    state.ask_for_replies(now)


# -- before it ends by itself -----------------------------------------------------------------------------------------


def expiring(state: State, event: SessionExpiring, now: float) -> None:
    if event.time_left is not None:
        state.redial.expires(max(event.time_left, 0.0), now)
    state.emit(event)


def resumable(state: State, event: SessionResumable, now: float) -> None:
    state.resume_handle = event.handle if event.resumable else None
    state.emit(event)


def rotate(state: State, now: float) -> None:
    """Change the link before the provider ends it, when nobody notices."""
    if state.lifecycle.linked and state.redial.due(now, quiet=_quiet(state)) and state.redial.rotate(now):
        drop(state, 0.0, ROTATION, now)


def _quiet(state: State) -> bool:
    """Nobody speaks, nothing is owed, and everything that was said has been acknowledged."""
    open_calls = bool(state.tools.open_calls())
    answered = not len(state.backlog) and state.changes.sent is None
    still = state.silent and not state.turn.speaking and state.pause is None and state.interruption is None
    return answered and still and not _owes(state) and not open_calls and state.farewell is None


def silent_too_long(state: State, now: float) -> None:
    """The provider owes something and says nothing: the link is as good as dead, or at least this reply is."""
    at = state.dead_air_at
    if at is None or now < at:
        return
    running = state.arbiter.running
    owed = f"its reply {running or ''}".rstrip() if running is not None else "a reply to the human's turn"
    message = f"dead air: the provider owes {owed} and has said nothing for {state.settings.dead_air:g} seconds"
    if state.redial.on:
        _leave(state, ConnectionClosed(1006, message), message, now, 0.0)
        return
    state.turn.awaiting = None
    state.emit(SessionError(message, code="dead_air", source="session"))
    if running is not None:
        _conclude(state, running, "incomplete", now)
