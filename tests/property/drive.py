"""The pure machine with the smallest driver: what it reports of a trace, and of what the caller does meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from kernl_rt._core import actions, inputs
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import Capabilities, SessionConfig, TurnDetection
from kernl_rt.events import AudioPlayed, SessionCreated, SessionInfo, SessionUpdated
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import BrokenPromise, TraceGrammar
from tests.property.profiles import CAPABILITIES

INFO = SessionInfo(id="sess_1")

#: Settings under which what is reported might differ.
SETTINGS = st.builds(
    lambda channel, marks, detection, recover, capabilities: Settings(
        config=SessionConfig(turn_detection=detection),
        capabilities=capabilities,
        has_channel=channel,
        marks=channel and marks,
        recover_after=recover,
        tools={"lookup": ToolTraits()},
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, TurnDetection.server_vad(interrupt_response=False)]),
    st.sampled_from([None, 0.5]),
    st.just(Capabilities()) | CAPABILITIES,
)


@frozen
class Step:
    """What happens beside the trace, before its event number ``at``."""

    at: int
    what: str


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 40),
        st.sampled_from(["interrupt", "message", "time", "heard", "tools", "hang up", "close"]),
    ),
    max_size=4,
)


class Driven:
    """One machine. ``told`` is what its listeners get, in order."""

    def __init__(self, setting: Settings) -> None:
        self.machine = SessionMachine(setting)
        self.told: list[Any] = []
        self.now = 0.0
        self._commands = 0
        self._tools: list[str] = []
        self.feed(inputs.ConnectionOpened())

    def feed(self, input: Any) -> None:
        """Each input is a millisecond after the last; a cleared channel has heard what it had heard."""
        self.now += 0.001
        for action in self.machine.feed(input, self.now):
            if isinstance(action, actions.Emit):
                self.told.append(action.event)
            elif isinstance(action, actions.ClearPlayback):
                self.feed(inputs.PlaybackCleared(self.machine.state.playback.heard_ms))
            elif isinstance(action, actions.StartTool):
                self._tools.append(action.call_id)

    def step(self, what: str) -> None:
        if self.machine.status != "connected":
            return
        self._commands += 1
        message = Message("user", [ContentPart("input_text", text="hi")])
        match what:
            case "interrupt":
                self.feed(inputs.InterruptRequested(self._commands))
            case "message":
                self.feed(inputs.ItemSubmitted(self._commands, message))
            case "hang up":
                self.feed(inputs.HangUpRequested(self._commands))
            case "close":
                self.feed(inputs.CloseRequested())
            case "heard":
                self.feed(AudioPlayed(self.machine.state.playback.heard_ms + 2))
            case "time":
                self.now += 0.6
                self.feed(inputs.Tick())
            case "tools":
                for call_id in self._tools[:1]:
                    self._tools.remove(call_id)
                    self.feed(inputs.ToolReturned(call_id, "result", "ok", 0.1))

    def run(self, trace: Sequence[Any], steps: Sequence[Step] = ()) -> list[Any]:
        """The whole trace, a string in it being a step, then the end of the session. Returns what was told."""
        for number, event in enumerate(trace):
            for step in steps:
                if step.at == number:
                    self.step(step.what)
            if isinstance(event, str):
                self.step(event)
            else:
                self.feed(event)
        self.feed(inputs.CloseRequested())
        self.feed(inputs.Stopped())
        return self.told


GREETING = (SessionCreated(INFO), SessionUpdated(INFO))


def broken(events: Sequence[Any], *, strict: bool = False) -> list[BrokenPromise]:
    """Every promise that a finished session's events break, in order."""
    grammar, found = TraceGrammar(strict=strict), []
    for event in events:
        try:
            grammar.feed(event)
        except BrokenPromise as error:
            found.append(error)
    try:
        grammar.end()
    except BrokenPromise as error:
        found.append(error)
    return found
