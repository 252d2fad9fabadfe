"""Live changes of the configuration and of the agent: nothing holds here before the provider has accepted it."""

from __future__ import annotations

from attrs import evolve

from kernl_rt._core.actions import SwitchAgent, UseInputFormat
from kernl_rt._core.configuration import PATIENCE, Change, Sent, difference
from kernl_rt._core.inputs import ChangeFailed, ChangePrepared, ChangeSubmitted
from kernl_rt._core.playback import Playback
from kernl_rt._core.state import State
from kernl_rt.config import SessionConfig
from kernl_rt.events import AgentChanged, SessionError, SessionUpdate
from kernl_rt.exceptions import CommandLost, CommandRejected

_LOST = "the provider answered a session.update with neither a yes nor an error"


def submitted(state: State, input: ChangeSubmitted, now: float) -> None:
    state.changes.add(input.change)
    advance(state, now)


def prepared(state: State, input: ChangePrepared, now: float) -> None:
    """The instructions of an agent have come."""
    state.changes.prepare(input.command, input.config)
    advance(state, now)


def failed(state: State, input: ChangeFailed, now: float) -> None:
    """The instructions of an agent could not be had."""
    if state.changes.withdraw(input.command) is not None:
        state.settle(input.command, input.error)
    advance(state, now)


def advance(state: State, now: float) -> None:
    """Send the next change, if one may go out; what changes nothing holds at once."""
    while state.lifecycle.linked and (change := state.changes.next()) is not None:
        holds = state.settings.config
        wanted = state.changes.apply(change, holds)
        said = change.config if change.raw else difference(wanted, holds, state.changes.described)
        if said is None:
            _hold(state, change, wanted)
            continue
        event_id = change.event_id or state.next_id("event")
        state.send(SessionUpdate(said, event_id=event_id))
        if state.settings.capabilities.confirms_configuration:
            state.changes.sent = Sent(change, wanted, event_id, now + PATIENCE)
        else:
            _hold(state, change, wanted)


def confirmed(state: State, now: float) -> None:
    """The provider has taken a configuration: the one that waits for it, if there is one."""
    sent = state.changes.confirmed()
    if sent is not None:
        _hold(state, sent.change, sent.wanted)
        advance(state, now)


def _hold(state: State, change: Change, wanted: SessionConfig) -> None:
    """From here on it is so."""
    before, state.settings = state.settings, evolve(state.settings, config=wanted)
    if wanted.turn_detection is not None and wanted.turn_detection != before.config.turn_detection:
        state.turn.detection = wanted.turn_detection
    if state.settings.output_format != before.output_format:
        # Formats change only before the first sound, so that nothing is forgotten with the old line.
        state.playback = Playback(state.settings.output_format, marks=state.settings.marks)
    if state.settings.input_format != before.input_format:
        state.out.append(UseInputFormat(state.settings.input_format))
        state.utterance.use_rate(state.settings.input_format.bytes_per_second)
    agent, previous = change.agent, state.changes.agent
    if agent is not None and agent.number != previous.number:
        running = [reply for reply in (state.arbiter.running, *state.asides) if reply is not None]
        state.changes.switch(agent, running)
        # Who agreed to a tool of one agent's has not agreed to another's of the same name.
        state.tools.approved.clear()
        state.out.append(SwitchAgent(agent.number))
        state.emit(AgentChanged(previous.id, agent.id, change.handoff))
    state.settle(change.command, result=wanted)


def refused(state: State, event: SessionError, now: float) -> bool:
    """Whether an error was the answer to a change; who asked is then told, and nothing has changed."""
    if event.client_event_id is None:
        state.changes.suspect(event.message, event.code, now)
        return False
    sent = state.changes.refused(event.client_event_id)
    if sent is None:
        return False
    state.settle(sent.change.command, CommandRejected(event.message, code=event.code))
    advance(state, now)
    return True


def expire(state: State, now: float) -> None:
    """Give up a change that the provider does not answer."""
    sent = state.changes.expire(now)
    if sent is None:
        return
    rejected = sent.suspicion is not None
    error = CommandRejected(sent.suspicion or "", code=sent.code) if rejected else CommandLost(_LOST)
    state.settle(sent.change.command, error)
    advance(state, now)
