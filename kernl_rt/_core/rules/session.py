"""Opening, configuring, failing and closing."""

from __future__ import annotations

from kernl_rt._core.actions import Send
from kernl_rt._core.arbiter import ALREADY_ACTIVE
from kernl_rt._core.inputs import (
    ChannelEnded,
    ChannelFailed,
    CloseRequested,
    ConditionNoticed,
    ConnectFailed,
    ConnectionOpened,
    ErrorNoticed,
    EventEmitted,
    Failed,
    Stopped,
    Tick,
)
from kernl_rt._core.rules import changes, consent, farewell, interruption, links, seeds, tools
from kernl_rt._core.rules.links import fail
from kernl_rt._core.state import MALFORMED, MALFORMED_SECONDS, State
from kernl_rt.events import SessionCreated, SessionError, SessionUpdate, SessionUpdated
from kernl_rt.exceptions import (
    AuthenticationError,
    ChannelError,
    CommandAborted,
    CommandLost,
    CommandRejected,
    ConfigurationRejected,
    ConnectError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
)

#: The provider's word for "there was no reply to cancel": a race, not a fault.
_NOT_ACTIVE = "response_cancel_not_active"

TOO_MANY = f"more than {MALFORMED} malformed frames in {MALFORMED_SECONDS:g} seconds"

#: Providers that accept the link first and refuse afterwards say why with these codes.
_CONNECT_ERRORS: dict[str, type[ConnectError]] = {
    "invalid_api_key": AuthenticationError,
    "authentication_error": AuthenticationError,
    "permission_denied": PermissionDeniedError,
    "model_not_found": ModelNotFoundError,
    "rate_limit_exceeded": RateLimitedError,
    "insufficient_quota": RateLimitedError,
}


def opened(state: State, input: ConnectionOpened, now: float) -> None:
    """Configure at once, without waiting for the provider's greeting: it saves a round trip."""
    if state.lifecycle.status == "idle":
        state.move("open")
    for pending in state.backlog:  # of an attempt that came to nothing
        if pending.key == SessionUpdated.kind and pending.command is None:
            state.backlog.reject(pending.event_id)
    event_id = state.next_id("event")
    state.backlog.add(None, event_id, SessionUpdated.kind)
    state.out.append(Send(SessionUpdate(state.settings.config, event_id=event_id)))


def created(state: State, event: SessionCreated, now: float) -> None:
    state.session_id = event.session.id or state.session_id
    state.emit(event)
    if not state.lifecycle.linked and not state.settings.capabilities.confirms_configuration:
        state.backlog.acknowledge(SessionUpdated.kind)
        links.configured(state, now)


def updated(state: State, event: SessionUpdated, now: float) -> None:
    state.session_id = event.session.id or state.session_id
    detection = event.session.config.turn_detection
    if detection is not None:
        state.turn.detection = detection
    state.changes.describe(event.session.config)
    pending = state.backlog.acknowledge(SessionUpdated.kind)
    state.emit(event)
    if pending is not None:
        state.settle(pending.command)
    if not state.lifecycle.linked:
        links.configured(state, now)
    elif pending is None:
        changes.confirmed(state, now)


def error(state: State, event: SessionError, now: float) -> None:
    """Find out whom an error means. Only what means nobody in particular goes to everybody."""
    if event.source == "protocol" and _too_many(state, now):
        message = f"the provider sends nothing that can be understood; last: {event.message}"
        fail(state, ProtocolError(message), TOO_MANY)
        return
    if not state.lifecycle.linked:
        if event.source != "provider":
            state.emit(event)
        elif state.lifecycle.status == "connecting":
            fail(state, _connect_error(event), event.message)
        else:
            # No random is in here: the whole time is waited.
            links.failed_to_connect(state, ConnectFailed(_connect_error(event), jitter=1.0), now)
        return
    if event.source == "provider" and _attribute(state, event, now):
        return
    if event.code == "session_expired":
        state.provider_expired = event.message
    state.emit(event)


def _attribute(state: State, event: SessionError, now: float) -> bool:
    """Whether the error was the answer to something, and has been dealt with."""
    blamed = event.client_event_id
    if blamed is not None and blamed in state.asked_asides:
        state.settle(state.asked_asides.pop(blamed), CommandRejected(event.message, code=event.code))
        return True
    if changes.refused(state, event, now) or seeds.refused(state, event):
        return True
    pending = state.backlog.reject(blamed) if blamed is not None else None
    if pending is not None:
        tools.refused(state, pending.event_id)
        state.utterance.refused(pending.event_id)
        rejection = CommandRejected(event.message, code=event.code)
        told = state.settle_wishes(state.arbiter.drop(pending.event_id), rejection)
        state.settle(pending.command, rejection)
        return told or pending.command is not None
    dead = state.arbiter.refused(blamed, event.code, event.message, now)
    if dead is not None:
        state.refuse(event, dead.wishes)
        state.ask_for_replies(now)
        return True
    return event.code in (ALREADY_ACTIVE, _NOT_ACTIVE)


def _connect_error(event: SessionError) -> ConnectError:
    kind = _CONNECT_ERRORS.get(event.code or "")
    if kind is not None:
        return kind(event.message, code=event.code)
    if "server_error" in (event.type, event.code):
        return ConnectError(event.message, code=event.code)  # its own fault, not the configuration's
    return ConfigurationRejected(event.message, code=event.code, param=event.param)


def _too_many(state: State, now: float) -> bool:
    """A malformed frame now and then is lived with; a stream of them is no conversation."""
    state.malformed.append(now)
    del state.malformed[: -MALFORMED - 1]
    return len(state.malformed) > MALFORMED and now - state.malformed[0] <= MALFORMED_SECONDS


def failed(state: State, input: Failed, now: float) -> None:
    fail(state, input.error, str(input.error))


def close_requested(state: State, input: CloseRequested, now: float) -> None:
    fail(state, None, input.reason)


def channel_ended(state: State, input: ChannelEnded, now: float) -> None:
    fail(state, None, "the human has left")


def channel_failed(state: State, input: ChannelFailed, now: float) -> None:
    error = input.error
    if not isinstance(error, ChannelError):
        wrapped = ChannelError(f"the channel failed: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        error = wrapped
    state.emit(SessionError(str(error), source="channel", cause=error))
    fail(state, error, str(error))


def stopped(state: State, input: Stopped, now: float) -> None:
    """Every task has ended: the last outcomes, then the last event of all."""
    tools.abandon_calls(state)
    state.settle_everything(CommandAborted("the session was closed"))
    state.move("stop")


def tick(state: State, input: Tick, now: float) -> None:
    dead = state.arbiter.expire(now)
    if dead is not None:
        message = dead.suspicion or "the provider answered a request for a reply with neither a reply nor an error"
        error = CommandRejected(message) if dead.suspicion is not None else CommandLost(message)
        if not state.settle_wishes(dead.wishes, error) and dead.suspicion is None:
            state.emit(SessionError(message, source="session"))
    state.playback.advance(now)
    links.silent_too_long(state, now)
    links.rotate(state, now)
    consent.expire(state, now)
    changes.expire(state, now)
    interruption.recover(state, now)


def settle_down(state: State, now: float) -> None:
    """After every input: what waited for quiet, or to be heard, may be due."""
    if not state.lifecycle.live:
        return
    tools.advance(state, now)
    state.ask_for_replies(now)
    # While the channel has not said what was heard, who was interrupted has not been told.
    if state.interruption is None and farewell.due(state, now):
        fail(state, None, farewell.HUNG_UP)


def emitted(state: State, input: EventEmitted, now: float) -> None:
    state.emit(input.event)


def noticed(state: State, input: ErrorNoticed | ConditionNoticed, now: float) -> None:
    state.emit(input.event)
