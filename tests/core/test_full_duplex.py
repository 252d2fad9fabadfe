"""What the machine does differently for a model that hears and speaks at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt._core import inputs
from kernl_rt._core.actions import ClearPlayback, Emit, Reconnect, Send
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt.config import Capabilities
from kernl_rt.events import (
    ActivityStarted,
    AudioDelta,
    InputMute,
    InputUnmute,
    Interrupted,
    ItemTruncate,
    Response,
    ResponseCancel,
    ResponseCreated,
    SessionInfo,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Usage,
    UsageReported,
    UsageUpdated,
)
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.policy import ReconnectPolicy

DUPLEX = Capabilities(
    full_duplex=True, mutes_on_wire=True, can_cancel=False, can_truncate=False, continues_after_tools=True
)
SOUND = AudioDelta(bytes(48_000), response_id="resp_1", item_id="item_1")


def connected(capabilities: Capabilities = DUPLEX, *, channel: bool = True) -> SessionMachine:
    machine = SessionMachine(
        Settings(capabilities=capabilities, has_channel=channel, marks=channel, reconnect=ReconnectPolicy())
    )
    machine.feed(inputs.ConnectionOpened(), 0.0)
    machine.feed(SessionUpdated(SessionInfo(id="live_1")), 0.0)
    return machine


def speaking(capabilities: Capabilities = DUPLEX) -> SessionMachine:
    machine = connected(capabilities)
    machine.feed(ResponseCreated(Response(id="resp_1", status="in_progress")), 1.0)
    machine.feed(SOUND, 1.0)
    return machine


def sent(actions: list[Any]) -> list[Any]:
    return [action.event for action in actions if isinstance(action, Send)]


@pytest.mark.parametrize("heard", [SpeechStarted("item_2", 0), ActivityStarted(1.5), inputs.ActivityReported(True)])
def test_a_human_who_speaks_as_well_interrupts_nothing(heard: Any) -> None:
    machine = speaking()
    actions = machine.feed(heard, 1.5)
    assert not [action for action in actions if isinstance(action, ClearPlayback)]
    assert not sent(actions)
    assert [action for action in machine.feed(SOUND, 1.6) if isinstance(action, Emit)], "the reply goes on"
    # The same without the flag: the test can fail.
    turns = speaking(Capabilities())
    assert [action for action in turns.feed(heard, 1.5) if isinstance(action, ClearPlayback)]


def test_interrupt_is_a_fence_of_our_own() -> None:
    machine = speaking()
    actions = machine.feed(inputs.InterruptRequested(1), 1.5)
    assert [action for action in actions if isinstance(action, ClearPlayback)]
    actions += machine.feed(inputs.PlaybackCleared(300.0), 1.5)
    assert not [event for event in sent(actions) if isinstance(event, (ResponseCancel, ItemTruncate))]
    said = [action.event for action in actions if isinstance(action, Emit)]
    assert [(event.reason, event.heard_ms) for event in said if isinstance(event, Interrupted)] == [("requested", 300)]
    late = machine.feed(SOUND, 1.6)
    assert not late, "nothing more of that reply is played or reported"
    machine.feed(ResponseCreated(Response(id="resp_2", status="in_progress")), 3.0)
    more = machine.feed(AudioDelta(bytes(480), response_id="resp_2", item_id="item_3"), 3.0)
    assert more, "the next reply is"


def test_speech_that_ended_waits_for_no_turn() -> None:
    machine = connected()
    machine.feed(SpeechStarted("item_2", 0), 1.0)
    machine.feed(SpeechStopped("item_2", 900), 2.0)
    assert machine.state.turn.idle
    turns = connected(Capabilities())
    turns.feed(SpeechStarted("item_2", 0), 1.0)
    turns.feed(SpeechStopped("item_2", 900), 2.0)
    assert not turns.state.turn.idle


def test_mute_is_said_once_and_again_on_the_next_link() -> None:
    machine = connected()
    assert [type(event) for event in sent(machine.feed(inputs.MuteChanged(True), 1.0))] == [InputMute]
    assert not sent(machine.feed(inputs.MuteChanged(True), 1.1))
    assert not sent(machine.feed(inputs.AudioSubmitted(b"\0\0"), 1.2)), "muted means not sent"
    actions = machine.feed(inputs.ConnectionLost(ConnectionClosed(1006), 0.0), 2.0)
    assert [action for action in actions if isinstance(action, Reconnect)]
    machine.feed(inputs.ConnectionOpened(), 3.0)
    actions = machine.feed(SessionUpdated(SessionInfo(id="live_2")), 3.0)
    assert [type(event) for event in sent(actions)] == [InputMute]
    assert [type(event) for event in sent(machine.feed(inputs.MuteChanged(False), 4.0))] == [InputUnmute]
    assert [type(event) for event in sent(machine.feed(inputs.AudioSubmitted(b"\0\0"), 4.1))]


def test_mute_between_two_links_is_said_on_the_next() -> None:
    machine = connected()
    machine.feed(inputs.ConnectionLost(ConnectionClosed(1006), 0.0), 2.0)
    assert not sent(machine.feed(inputs.MuteChanged(True), 2.1))
    machine.feed(inputs.ConnectionOpened(), 3.0)
    assert [type(event) for event in sent(machine.feed(SessionUpdated(SessionInfo()), 3.0))] == [InputMute]


def test_who_cannot_be_told_is_not() -> None:
    machine = connected(Capabilities())
    assert not sent(machine.feed(inputs.MuteChanged(True), 1.0))
    assert machine.muted


def test_usage_outside_of_replies_counts() -> None:
    machine = connected()
    machine.feed(UsageReported(Usage(seconds=15.0)), 1.0)
    actions = machine.feed(UsageReported(Usage(seconds=2.5, input_tokens=7)), 2.0)
    assert machine.usage == Usage(seconds=17.5, input_tokens=7)
    (updated,) = (a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, UsageUpdated))
    assert (updated.usage.seconds, updated.total.seconds, updated.response_id) == (2.5, 17.5, None)
