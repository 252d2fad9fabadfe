"""Live changes under anything that can happen: what holds changes only with the provider's yes, every change settles
once, and a call runs only the tool that the model was shown.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from kernl_rt._core import actions, inputs
from kernl_rt._core.configuration import AgentTraits, Change, difference
from kernl_rt._core.machine import Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.events import AgentChanged, SessionError, SessionUpdate, SessionUpdated
from kernl_rt.items import FunctionCall, FunctionCallOutput
from tests.property.test_machine import INFO, SETTINGS, TOOLBOX, AnyOrder, Checked

UPDATES = st.sampled_from(
    [
        SessionConfig(),
        SessionConfig(max_output_tokens=1),
        SessionConfig(max_output_tokens=2),
        SessionConfig(voice="marin"),
        SessionConfig(turn_detection=TurnDetection.off()),
        SessionConfig(turn_detection=TurnDetection.server_vad()),
    ]
)
TOOLBOXES = {
    0: TOOLBOX,
    1: {"known": ToolTraits(agent=1)},
    2: {"known": ToolTraits(agent=2), "may_ask": ToolTraits(agent=2)},
}


def config_of(agent: int) -> SessionConfig:
    """No two agents say the same, so that no one takes over without being announced to the provider."""
    return SessionConfig(instructions=f"You are {agent}.")


class Changed(Checked):
    """Knows what must hold, from nothing but what was sent and what was answered."""

    def __init__(self, setting: Settings) -> None:
        self.holds = setting.config
        self.asked: SessionConfig | None = None
        self.agent = 0
        self.accepting = False
        super().__init__(setting)

    def submit(self, config: SessionConfig, agent: int | None = None, *, ready: bool = True, raw: bool = False) -> None:
        if self.machine.status != "connected" or self.machine.full:
            return
        self.number += 1
        self.open.add(self.number)
        traits = None if agent is None else AgentTraits(agent, f"agent{agent}", TOOLBOXES[agent])
        if raw:
            self.feed(inputs.EventSubmitted(self.number, SessionUpdate(config)))
        else:
            self.feed(inputs.ChangeSubmitted(Change(self.number, config, traits, ready=ready)))

    def feed(self, input: Any) -> None:
        live = self.machine.status == "connected"
        self.accepting = live and isinstance(input, SessionUpdated) and self.asked is not None
        if self.accepting:
            assert self.asked is not None
            self.holds = self.holds.merged(self.asked)
            self.asked = None
        elif (sent := self.machine.state.changes.sent) is not None:
            refused = isinstance(input, SessionError) and input.client_event_id == sent.event_id
            expired = isinstance(input, inputs.Tick) and self.now >= sent.give_up_at
            if refused or expired:
                self.asked = None
        super().feed(input)
        if live and self.machine.status == "connected":
            assert difference(self.machine.config, self.holds, SessionConfig()) is None, "more holds than was accepted"
            assert difference(self.holds, self.machine.config, SessionConfig()) is None, "less holds than was accepted"

    def check(self, action: Any) -> None:
        super().check(action)
        match action:
            case actions.Send(event=SessionUpdate(config=config)) if self.machine.status == "connected":
                assert self.asked is None, "a second change while one is on its way"
                self.asked = config
            case actions.SwitchAgent(agent=agent):
                assert self.accepting, "another agent without the provider's yes"
                assert agent != self.agent
                assert self.holds.instructions == config_of(agent).instructions
                self.agent = agent
            case actions.Emit(event=AgentChanged(to_agent=to)):
                assert to == f"agent{self.agent}"
            case actions.StartTool(name=name, agent=agent) | actions.CheckApproval(name=name, agent=agent):
                assert name in TOOLBOXES[agent], "a tool that this agent has not"
            case _:
                pass


class Changing(AnyOrder):
    """A caller who changes his mind all the time, and a provider that says yes, no, or nothing."""

    run: Changed

    # Without confirmations there is no "on its way": what is sent holds.
    @initialize(setting=SETTINGS.filter(lambda setting: setting.capabilities.confirms_configuration))
    def start(self, setting: Settings) -> None:
        self.run = Changed(setting)
        self.replies = 0
        self.unprepared: list[tuple[int, int]] = []

    @rule(config=UPDATES, raw=st.booleans())
    def the_configuration_is_changed(self, config: SessionConfig, raw: bool) -> None:
        self.run.submit(config, raw=raw)

    @rule(agent=st.integers(0, 2), ready=st.booleans())
    def another_agent_is_wanted(self, agent: int, ready: bool) -> None:
        before = self.run.number
        self.run.submit(config_of(agent) if ready else SessionConfig(), agent, ready=ready)
        if not ready and self.run.number > before:
            self.unprepared.append((self.run.number, agent))

    @precondition(lambda self: self.unprepared)
    @rule(fails=st.booleans())
    def its_instructions_come(self, fails: bool) -> None:
        number, agent = self.unprepared.pop(0)
        if fails:
            self.run.feed(inputs.ChangeFailed(number, LookupError("none")))
        else:
            self.run.feed(inputs.ChangePrepared(number, config_of(agent)))

    @rule()
    def the_provider_says_yes(self) -> None:
        self.run.feed(SessionUpdated(INFO))

    @precondition(lambda self: self.run.machine.state.changes.sent is not None)
    @rule(named=st.booleans())
    def the_provider_says_no(self, named: bool) -> None:
        sent = self.run.machine.state.changes.sent
        assert sent is not None
        self.run.feed(SessionError("no", "other", client_event_id=sent.event_id if named else None))

    @invariant()
    def nothing_waits_without_a_deadline(self) -> None:
        machine = self.run.machine
        if machine.status == "connected" and machine.state.changes.sent is not None:
            assert machine.deadline is not None

    @invariant()
    def calls_stand_before_their_outputs(self) -> None:
        """The history never shows an outcome of a call that is still in progress."""
        calls = {item.call_id: item for item in self.run.machine.history if isinstance(item, FunctionCall)}
        for item in self.run.machine.history:
            if isinstance(item, FunctionCallOutput) and item.call_id in calls:
                assert calls[item.call_id].status in ("completed", "incomplete")

    def teardown(self) -> None:
        super().teardown()
        assert not self.run.machine.state.changes.drain()


Changing.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestChanging = Changing.TestCase
