"""Links that are lost at any moment, over the pure machine."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from hypothesis import given, strategies as st

from kernl_rt._core import actions, inputs
from kernl_rt._core.configuration import Change
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import ResponseConfig, SessionConfig
from kernl_rt.events import (
    ItemCreate,
    ItemCreated,
    ItemDelete,
    ResponseCreate,
    SessionInfo,
    SessionResumable,
    SessionUpdated,
    ToolCalled,
    ToolResult,
)
from kernl_rt.exceptions import CommandLost, ConnectionClosed, ConnectRefusedError
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.testing import TraceGrammar
from kernl_rt.testing.strategies import Trace, conversations, disturbed
from tests.property.drive import SETTINGS, STEPS, Driven, Step
from tests.property.provider import Provider, Sent
from tests.property.test_machine import HUMAN, SERVER, SETTINGS as ANY_SETTINGS, TOOLBOX, TOOLS
from tests.property.test_traces import unexpected

POLICY = ReconnectPolicy(attempts=1_000)
INFO = SessionInfo(id="s1")
LOST = inputs.ConnectionLost(ConnectionClosed(1006), 0.5)
FAILED = inputs.ConnectFailed(ConnectRefusedError("no"), 0.5)

#: Single steps of a call, and runs of them without which little ever comes to pass.
FRAGMENTS = [
    *(("read",), ("deliver",), ("lose",), ("fail",), ("interrupt",), ("change",), ("finish",), ("speech",), ("turn",)),
    *[("read", "deliver", "deliver")] * 4,
    *[("lose", "open", "read", "deliver")] * 2,
    *(("message", "read", "deliver"), ("ask", "read", "read"), ("reply", "read", "deliver")),
    *(("finish", "deliver"), ("calls 1", "deliver", "deliver"), ("calls 2", "deliver", "deliver", "deliver")),
    *[("tool",)] * 2,
]
STEPS_OF_A_CALL = st.lists(st.sampled_from(FRAGMENTS), min_size=15, max_size=60).map(
    lambda fragments: [step for fragment in fragments for step in fragment]
)


def words(item: Any) -> str:
    match item:
        case Message(role=role, text=text):
            return f"{role}: {text}"
        case FunctionCall(call_id=call_id):
            return f"call {call_id}"
        case FunctionCallOutput(call_id=call_id):
            return f"output {call_id}"
        case _:
            raise AssertionError(item)


def _machine() -> SessionMachine:
    return SessionMachine(Settings(tools={"lookup": ToolTraits()}, reconnect=POLICY))


@define
class Flaky(Provider):
    """A provider whose links are lost, and who knows nothing of an earlier one. ``knows``: this link's conversation."""

    machine: SessionMachine = field(factory=_machine)
    knows: list[str] = field(factory=list)
    told: list[Any] = field(factory=list)
    started: list[str] = field(factory=list)
    _changes: int = 0

    def feed(self, input: Any) -> None:
        self.now += 0.001
        again = self.machine.status == "reconnecting"
        before = [words(item) for item in self.machine.history]
        out = self.machine.feed(input, self.now)
        if again and self.machine.status == "connected":
            self.check_seeds(before, out)
        for action in out:
            self.carry_out(action)

    def carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Send(event=event):
                self.outbox.push(action)
                if isinstance(event, ResponseCreate):
                    self.sent[event.event_id or ""] = Sent(self.wishes, frozenset(self.known))
            case actions.StartTool(call_id=call_id):
                assert call_id not in self.started, "a call that runs twice"
                self.started.append(call_id)
                self.tools.append(call_id)
            case actions.Settle(command=command):
                assert command not in self.settled, "settled twice"
                self.settled[command] = action
            case actions.Emit(event=event):
                self.told.append(event)
            case actions.Reconnect():
                self.outbox.clear()
                self.under_way.clear()
                self.knows.clear()
                self.active = None
            case _:
                pass

    def check_seeds(self, before: list[str], out: list[actions.Action]) -> None:
        """What the next link is told first is the conversation as it was, in its order."""
        sent = [action.event for action in out if isinstance(action, actions.Send)]
        seeds = [words(event.item) for event in sent if isinstance(event, ItemCreate)]
        assert seeds[: len(before)] == before
        assert len(set(seeds)) == len(seeds), "told twice"
        results = {event.call_id for event in sent if isinstance(event, ToolResult)}
        assert not results, "the result went along with the call"

    def read(self) -> None:
        waiting = next((send.event for lane in self.outbox._lanes.values() for send in lane), None)
        if isinstance(waiting, ItemCreate):
            self.knows.append(words(waiting.item))
        elif isinstance(waiting, ToolResult):
            self.knows.append(f"output {waiting.call_id}")
        super().read()

    def finish(self, calls: int = 0, status: Any = "completed") -> None:
        reply, first = self.active, self._calls
        if reply is not None and status == "completed":
            text = f"reply {reply}"
            self.knows.append(f"assistant: {text}")
            self.under_way.append(ItemCreated(Message("assistant", [ContentPart("output_text", text=text)], id=text)))
        super().finish(calls, status)
        for index, event in enumerate(self.under_way):
            if isinstance(event, ToolCalled):  # what is no object cannot be told again
                self.under_way[index] = evolve(event, arguments=f'{{"of": "{event.call_id}"}}')
        self.knows += [f"call call{number}" for number in range(first + 1, self._calls + 1)]

    def verb(self, what: str) -> None:
        if what == "change":
            self._commands += 1
            self._changes += 1
            config = SessionConfig(instructions=f"Be {self._changes}.")
            self.feed(inputs.ChangeSubmitted(Change(self._commands, config)))
        elif what in ("message", "ask"):
            self._commands += 1
            message = Message("user", [ContentPart("input_text", text=f"hello {self._commands}")])
            self.feed(inputs.ItemSubmitted(self._commands, message, ask=what == "ask"))
        else:
            super().verb(what)

    def step(self, what: str) -> None:
        away = self.machine.status == "reconnecting"
        match what:
            case "lose":
                self.feed(LOST)
            case "fail" if away and not len(self.outbox):
                self.feed(FAILED)
            case "open" if away and not len(self.outbox) and not self.under_way:
                self.feed(inputs.ConnectionOpened())
            case "speech" | "turn" | "finish" | "calls 1" | "calls 2" if away:
                pass
            case "lose" | "fail" | "open":
                pass
            case _:
                self.play([what])

    def settle(self) -> None:
        if self.machine.status == "reconnecting" and not len(self.outbox) and not self.under_way:
            self.feed(inputs.ConnectionOpened())
        while self.machine.status == "reconnecting":
            self.read()
            self.deliver()
        super().settle()


@given(STEPS_OF_A_CALL)
def test_whenever_links_are_lost_nothing_else_is(steps: list[str]) -> None:
    """Every handle settles, every call runs once, one request at a time, and the last link knows the conversation."""
    provider = Flaky()
    for step in steps:
        provider.step(step)
    provider.settle()
    state = provider.machine.state
    assert provider.machine.status == "connected"
    assert (state.arbiter.state, state.arbiter.waiting, len(state.backlog), len(state.unsaid)) == ("idle", 0, 0, 0)
    assert set(provider.settled) == set(range(1, provider._commands + 1)), "every handle settles"
    errors = {type(settle.error) for settle in provider.settled.values() if settle.error is not None}
    # A request that was to be cancelled as soon as its reply came is not made again.
    assert errors <= ({CommandLost} if "interrupt" in steps else set())
    history = [words(item) for item in provider.machine.history]
    assert len(set(history)) == len(history)
    assert sorted(provider.knows) == sorted(history)
    if provider._changes:
        assert provider.machine.config.instructions == f"Be {provider._changes}."
    provider.feed(inputs.CloseRequested())
    provider.feed(inputs.Stopped())
    TraceGrammar().check(provider.told)


# -- a conversation as any provider tells it --------------------------------------------------------------------------


class Dropped(Driven):
    """A step ``"drop"`` loses the link and brings the next, after so many attempts."""

    def step(self, what: str) -> None:
        if what.startswith("drop") and self.machine.status == "connected":
            self.feed(LOST)
            for _ in range(int(what[5:])):
                self.feed(FAILED)
            self.feed(inputs.ConnectionOpened())
            self.feed(SessionUpdated(INFO))
        else:
            super().step(what)


DROPS = st.lists(st.tuples(st.integers(2, 60), st.sampled_from(["drop 0", "drop 1", "drop 3"])), min_size=1, max_size=4)


@given(SETTINGS, disturbed(conversations(), max_edits=3), STEPS, DROPS)
def test_what_is_told_keeps_its_grammar_over_lost_links(
    setting: Settings, trace: Trace, steps: list[Step], drops: list[tuple[int, str]]
) -> None:
    """The provider goes on as if nothing had been: what it says of a reply of the last link is late news."""
    events: list[Any] = list(trace)
    for at, drop in drops:
        events.insert(min(at, len(events)), drop)
    assert unexpected(Dropped(evolve(setting, reconnect=POLICY)).run(events, steps)) == []


# -- anything at all --------------------------------------------------------------------------------------------------

VERBS = st.sampled_from(
    [
        "message",
        "ask",
        "commit",
        "reply",
        "aside",
        "interrupt",
        "mute",
        "unmute",
        "audio",
        "delete",
        "approve",
        "change",
    ]
)
LINKS = st.sampled_from(["lose", "goodbye", "fail", "open", "updated", "time", "resumable"])


def _verb(what: str, number: int) -> inputs.Input:
    match what:
        case "message" | "ask":
            message = Message("user", [ContentPart("input_text", text="hi")])
            return inputs.ItemSubmitted(number, message, ask=what == "ask")
        case "commit":
            return inputs.TurnCommitted(number)
        case "reply":
            return inputs.ReplyRequested(number)
        case "aside":
            return inputs.ReplyRequested(number, ResponseConfig(conversation="none"))
        case "interrupt":
            return inputs.InterruptRequested(number)
        case "delete":
            return inputs.EventSubmitted(number, ItemDelete("i1"))
        case "approve":
            return inputs.ApprovalGiven(number, "c1")
        case _:
            return inputs.ChangeSubmitted(Change(number, SessionConfig(instructions=str(number))))


_LINK: dict[str, Any] = {
    "lose": LOST,
    "goodbye": inputs.ConnectionLost(ConnectionClosed(1000)),
    "fail": FAILED,
    "open": inputs.ConnectionOpened(),
    "updated": SessionUpdated(INFO),
    "time": inputs.Tick(),
    "resumable": SessionResumable("handle"),
}


@given(
    ANY_SETTINGS,
    st.sampled_from([None, 1.0]),
    st.lists(st.one_of(SERVER, HUMAN, TOOLS, VERBS, LINKS), max_size=60),
)
def test_under_any_inputs_every_handle_settles_once(
    setting: Settings, dead_air: float | None, steps: list[Any]
) -> None:
    able = evolve(setting.capabilities, can_resume=True, max_duration=20.0)
    setting = evolve(setting, reconnect=POLICY, dead_air=dead_air, tools=TOOLBOX, capabilities=able)
    driven = Settled(setting)
    for step in ("updated", *steps):
        driven.take(step)
    driven.feed(inputs.CloseRequested())
    driven.feed(inputs.Stopped())
    assert sorted(driven.settled) == list(range(1, driven.commands + 1))
    statuses = [event for event in driven.told if event.kind == "status"]
    TraceGrammar().check(statuses)


class Settled(Driven):
    def __init__(self, setting: Settings) -> None:
        self.settled: list[int] = []
        self.commands = 0
        super().__init__(setting)

    def feed(self, input: Any) -> None:
        self.now += 0.001
        for action in self.machine.feed(input, self.now):
            match action:
                case actions.Settle(command=command):
                    self.settled.append(command)
                case actions.Emit(event=event):
                    self.told.append(event)
                case actions.ClearPlayback():
                    self.feed(inputs.PlaybackCleared(self.machine.state.playback.heard_ms))
                case _:
                    pass

    def take(self, step: Any) -> None:
        if self.machine.status not in ("connecting", "connected", "reconnecting"):
            return
        if step == "time":
            self.now += 3.0
        if step == "open" and self.machine.status == "connected":
            return
        if not isinstance(step, str):
            self.feed(step)
        elif step in _LINK:
            self.feed(_LINK[step])
        elif step in ("mute", "unmute"):
            self.feed(inputs.MuteChanged(step == "mute"))
        elif step == "audio":
            self.feed(inputs.AudioSubmitted(bytes(9_600)))
        else:
            self.commands += 1
            self.feed(_verb(step, self.commands))
