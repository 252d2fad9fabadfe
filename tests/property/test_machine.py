"""The machine under any inputs in any order, also orders that a correct provider never sends."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernl_rt._core import actions, inputs
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import Capabilities, SessionConfig, TurnDetection
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioDelta,
    AudioDone,
    AudioInputCommitted,
    AudioPlayed,
    InputTranscript,
    Interrupted,
    ItemCreated,
    ItemDelete,
    ItemDeleted,
    ItemDone,
    ItemTruncate,
    OutputTranscript,
    OutputTranscriptDelta,
    RawServerEvent,
    Response,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionError,
    SessionInfo,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    StatusChanged,
    ToolCalled,
    ToolCancelled,
    ToolFinished,
    ToolResult,
    Usage,
)
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.items import ContentPart, Message
from tests.property.profiles import CAPABILITIES

RESPONSES = st.sampled_from(["r1", "r2", "r3", None])
ITEMS = st.sampled_from(["i1", "i2", "i3"])
CALLS = st.integers(1, 12).map("c{}".format)
CODES = st.sampled_from([None, "conversation_already_has_active_response", "response_cancel_not_active", "other"])
INFO = SessionInfo(id="s1")


def _delta(response_id: str | None, item_id: str, size: int, index: int) -> AudioDelta:
    return AudioDelta(b"\0" * size, response_id=response_id, item_id=item_id, content_index=index)


def _message(item_id: str, text: str) -> Message:
    return Message("assistant", [ContentPart("output_audio", transcript=text)], id=item_id)


SERVER = st.one_of(
    st.builds(lambda r: ResponseCreated(Response(id=r)), RESPONSES),
    st.builds(
        lambda r, s, t: ResponseDone(Response(id=r, status=s, usage=Usage(total_tokens=t))),
        RESPONSES,
        st.sampled_from(["completed", "cancelled", "failed", "incomplete"]),
        st.integers(0, 99),
    ),
    st.builds(_delta, RESPONSES, ITEMS, st.integers(1, 4_800).map(lambda n: n * 2), st.integers(0, 1)),
    st.builds(lambda r, i: AudioDone(response_id=r, item_id=i, content_index=0), RESPONSES, ITEMS),
    st.builds(lambda r, i: OutputTranscriptDelta("word ", response_id=r, item_id=i), RESPONSES, ITEMS),
    st.builds(lambda r, i: OutputTranscript("one two", response_id=r, item_id=i), RESPONSES, ITEMS),
    st.builds(lambda c, r, n: ToolCalled(c, n, "{}", response_id=r), CALLS, RESPONSES, st.sampled_from(["known", "x"])),
    st.builds(lambda c: ToolCancelled(c), st.lists(CALLS, max_size=3)),
    st.builds(lambda i, p: ItemCreated(_message(i, "one two three"), p), ITEMS, st.none() | ITEMS),
    st.builds(lambda i: ItemDone(_message(i, "one two three four")), ITEMS),
    st.builds(ItemDeleted, ITEMS),
    st.builds(lambda i: InputTranscript(i, "hello", 1), ITEMS),
    st.builds(SpeechStarted, ITEMS, st.just(0)),
    st.builds(SpeechStopped, ITEMS, st.just(0)),
    st.builds(AudioInputCommitted, ITEMS),
    st.builds(lambda c: SessionError("bad", c), CODES),
    st.builds(lambda c, n: SessionError("bad", c, client_event_id=f"event_{n}"), CODES, st.integers(1, 30)),
    st.just(RawServerEvent("new.thing", {"type": "new.thing"})),
    st.just(SessionUpdated(INFO)),
    st.just(SessionCreated(INFO)),
)
HUMAN = st.one_of(
    st.builds(lambda n: AudioCaptured(b"\0" * n), st.integers(1, 960)),
    st.builds(AudioPlayed, st.floats(-100, 400)),
    st.just(ActivityStarted()),
    st.just(ActivityEnded()),
)
TOOLS = st.builds(
    inputs.ToolReturned, CALLS, st.sampled_from(["result", "error", "timeout", "cancelled"]), st.just("out")
)
VERBS = st.sampled_from(
    [
        "message",
        "ask",
        "commit",
        "reply",
        "interrupt",
        "mute",
        "unmute",
        "audio",
        "delete",
        "approve",
        "reject",
        "hang_up",
    ]
)
ENDS = st.sampled_from(
    [
        inputs.CloseRequested(),
        inputs.ConnectionLost(ConnectionClosed(1011)),
        inputs.ConnectionLost(ConnectionClosed(1000)),
        inputs.ChannelEnded(),
    ]
)
TOOLBOX = {
    "known": ToolTraits(),
    "gives_way": ToolTraits(on_interrupt="cancel"),
    "quiet": ToolTraits(on_done="silent"),
    "idle": ToolTraits(on_done="when_idle"),
    "careful": ToolTraits(commit="after_heard"),
    "last": ToolTraits(terminal=True),
    "asks": ToolTraits(approval="always", approval_timeout=5.0),
    "may_ask": ToolTraits(approval="predicate"),
}
SETTINGS = st.builds(
    lambda channel, marks, detection, capabilities, recover_after: Settings(
        config=SessionConfig(turn_detection=detection),
        capabilities=capabilities,
        has_channel=channel,
        marks=channel and marks,
        tools=TOOLBOX,
        recover_after=recover_after,
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, TurnDetection.off(), TurnDetection.server_vad(interrupt_response=False)]),
    CAPABILITIES
    | st.builds(
        Capabilities,
        can_cancel=st.booleans(),
        can_truncate=st.booleans(),
        answers_on_commit=st.booleans(),
        continues_after_tools=st.booleans(),
    ),
    st.sampled_from([None, None, 0.5]),
)


class Checked:
    """A machine with a small driver around it, and the invariants, checked after every step."""

    def __init__(self, setting: Settings) -> None:
        self.machine = SessionMachine(setting)
        self.now = 0.0
        self.number = 0
        self.open: set[int] = set()
        self.trace: list[Any] = []
        self.received: Counter[tuple[str, int]] = Counter()
        self.heard = 0.0
        self.outstanding: str | None = None
        self.running: str | None = None
        self.interrupted: set[str | None] = set()
        self.begun: set[str] = set()
        self.finished: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        #: Errors that named a client event: any of them may have been a refused result.
        self.blamed = 0
        self.running_tools: set[str] = set()
        self.asked_predicates: list[str] = []
        self.consented: set[str] = set()
        self.always = False
        self.closed = False
        self.feed(inputs.ConnectionOpened())
        self.feed(SessionUpdated(INFO))

    def verb(self, verb: str) -> None:
        if verb == "audio":
            self.feed(inputs.AudioSubmitted(b"\0\0"))
        elif verb in ("mute", "unmute"):
            self.feed(inputs.MuteChanged(verb == "mute"))
        else:
            self.number += 1
            number = self.number
            self.open.add(number)
            message = Message("user", [ContentPart("input_text", text="hi")])
            makers: dict[str, Any] = {
                "message": lambda: inputs.ItemSubmitted(number, message),
                "ask": lambda: inputs.ItemSubmitted(number, message, ask=True),
                "commit": lambda: inputs.TurnCommitted(number),
                "reply": lambda: inputs.ReplyRequested(number),
                "interrupt": lambda: inputs.InterruptRequested(number),
                "approve": lambda: inputs.ApprovalGiven(number, "c1", always=True),
                "reject": lambda: inputs.ApprovalRefused(number, "c2", "no"),
                "hang_up": lambda: inputs.HangUpRequested(number, timeout=2.0),
                "delete": lambda: inputs.EventSubmitted(number, ItemDelete("i1")),
            }
            if self.machine.status == "connected":
                self.feed(makers[verb]())
            else:
                self.open.discard(number)

    def feed(self, input: Any) -> None:
        if isinstance(input, inputs.ApprovalGiven):
            call = self.machine.state.tools.get(input.call_id)
            if call is not None and call.state == "asking" and call.deny_at is not None:
                self.consented.add(input.call_id)
                self.always = self.always or call.name == "asks"
        if isinstance(input, ResponseCreated) and self.machine.status == "connected":
            self.outstanding = None
        if isinstance(input, AudioDelta):
            self.received[input.item_id, input.content_index or 0] += len(input.audio)
        if isinstance(input, (SessionError, inputs.Tick)):
            self.outstanding = None  # may have been refused or given up
            self.blamed += isinstance(input, SessionError) and input.client_event_id is not None
        status = self.machine.status
        out = self.machine.feed(input, self.now)
        self.trace.append(out)
        if status == "closed":
            assert out == []
        for action in out:
            self.check(action)
            if isinstance(action, actions.ClearPlayback):
                self.feed(inputs.PlaybackCleared(self.machine.state.playback.heard_ms))
        playback = self.machine.state.playback
        assert playback.pending >= 0
        assert playback.heard_ms >= self.heard
        self.heard = playback.heard_ms

    def check(self, action: Any) -> None:
        assert not self.closed, f"{action} after closed"
        match action:
            case actions.Send(event=ResponseCreate(event_id=event_id)):
                assert self.outstanding is None, "a second request while one is on its way"
                assert self.machine.state.arbiter.running is None, "a request while a reply runs"
                self.outstanding = event_id
            case actions.Send(event=ItemTruncate() as truncate):
                received_ms = self.received[truncate.item_id, truncate.content_index] / 48
                assert 0 < truncate.audio_end_ms <= received_ms, "a truncate that the provider refuses"
            case actions.Send(event=ToolResult(call_id=call_id)):
                self.results[call_id] += 1
                # What the provider refused to hear may be said once more, when it asks again.
                allowed = 1 + self.blamed
                assert self.results[call_id] <= allowed, "two answers to one call"
            case actions.CheckApproval(call_id=call_id):
                self.asked_predicates.append(call_id)
            case actions.StartTool(call_id=call_id, name=name):
                assert call_id not in self.begun, "a call ran twice"
                call = self.machine.state.tools.get(call_id)
                assert call is not None
                if TOOLBOX[name].waits_to_be_heard:
                    response_id = call.group.response_id
                    assert not self.machine.state.playback.unheard(response_id), "ran for words nobody heard"
                    assert response_id is None or response_id not in self.interrupted, "ran for a reply that was cut"
                if name == "asks":
                    assert call_id in self.consented or self.always, "ran without consent"
                self.begun.add(call_id)
                self.running_tools.add(call_id)
                assert len(self.running_tools) <= 8
            case actions.Settle(command=command):
                assert command in self.open, "settled twice, or never opened"
                self.open.discard(command)
            case actions.Emit(event=ResponseCreated()):
                self.outstanding = None  # also where the provider only began to speak
            case actions.Emit(event=Interrupted(response_id=response_id)):
                self.interrupted.add(response_id)
            case actions.Emit(event=AudioDelta(response_id=response_id)):
                assert response_id is None or response_id not in self.interrupted, "sound of an interrupted reply"
            case actions.Emit(event=ToolFinished(call_id=call_id)):
                self.finished[call_id] += 1
                self.running_tools.discard(call_id)
                assert self.finished[call_id] == 1, "two outcomes"
            case actions.Emit(event=StatusChanged(status="closed")):
                self.closed = True
            case _:
                pass


class AnyOrder(RuleBasedStateMachine):
    """A provider, a human and a caller who do anything at any time; most of the time the provider makes some sense."""

    @initialize(setting=SETTINGS)
    def start(self, setting: Settings) -> None:
        self.run = Checked(setting)
        self.replies = 0

    @property
    def running(self) -> str | None:
        return self.run.machine.state.arbiter.running

    @rule(event=SERVER)
    def anything_is_said(self, event: Any) -> None:
        self.run.feed(event)

    @rule(event=HUMAN)
    def the_human_does_something(self, event: Any) -> None:
        self.run.feed(event)

    @rule(verb=VERBS)
    def the_caller_does_something(self, verb: str) -> None:
        self.run.verb(verb)

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.3, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.run.now += seconds

    @precondition(lambda self: self.run.machine.deadline is not None)
    @rule()
    def the_deadline_comes(self) -> None:
        self.run.now = max(self.run.now, self.run.machine.deadline or 0.0)
        self.run.feed(inputs.Tick())

    @precondition(lambda self: self.running is None)
    @rule()
    def a_reply_begins(self) -> None:
        self.replies += 1
        self.run.feed(ResponseCreated(Response(id=f"reply{self.replies}")))

    @precondition(lambda self: self.running is not None)
    @rule(item=ITEMS, samples=st.sampled_from([1, 240, 4_800]))
    def it_sounds(self, item: str, samples: int) -> None:
        self.run.feed(_delta(self.running, f"{item}_{self.running}", 2 * samples, 0))

    @precondition(lambda self: self.running is not None)
    @rule(call_id=CALLS, name=st.sampled_from(sorted(TOOLBOX)))
    def it_calls_a_tool(self, call_id: str, name: str) -> None:
        self.run.feed(ToolCalled(call_id, name, f'"{call_id}"', response_id=self.running))

    @precondition(lambda self: self.run.asked_predicates)
    @rule(needed=st.booleans())
    def a_predicate_answers(self, needed: bool) -> None:
        self.run.feed(inputs.ApprovalChecked(self.run.asked_predicates.pop(), needed))

    @precondition(lambda self: self.running is not None)
    @rule(status=st.sampled_from(["completed", "cancelled", "failed"]))
    def it_ends(self, status: Any) -> None:
        self.run.feed(ResponseDone(Response(id=self.running, status=status)))

    @precondition(lambda self: self.run.running_tools)
    @rule(outcome=st.sampled_from(["result", "error", "timeout", "cancelled"]))
    def a_tool_returns(self, outcome: Any) -> None:
        self.run.feed(inputs.ToolReturned(min(self.run.running_tools), outcome, "out", 0.1))

    @precondition(lambda self: len(self.run.trace) > 20)
    @rule(end=ENDS)
    def it_closes(self, end: Any) -> None:
        self.run.feed(end)

    @invariant()
    def the_past_holds(self) -> None:
        run = self.run
        assert run.machine.state.playback.pending >= 0
        assert run.machine.status != "closed"

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        run = self.run
        run.feed(inputs.CloseRequested())
        run.feed(inputs.Stopped())
        for late in (ItemDeleted("i1"), inputs.ToolReturned("c1", "result", "late"), inputs.Stopped()):
            run.feed(late)
        assert run.closed, "closed is the last event"
        assert not run.open, "every command settles"
        assert run.begun <= set(run.finished), "every call has an outcome"
        assert run.machine.deadline is None


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


class Alive(AnyOrder):
    """After anything at all: a provider that ends its replies answers the next message, or it is given up in time."""

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        run, silent = self.run, self.replies % 2 == 0
        arbiter = run.machine.state.arbiter
        run.verb("message")
        for _ in range(20):
            if run.machine.status != "connected":
                return
            if arbiter.state == "running":
                run.feed(ResponseDone(Response(id=arbiter.running or None, status="completed")))
            elif arbiter.state == "asked" and not silent:
                run.feed(ResponseCreated(Response(id=f"late{run.now}")))
                run.now += 1
            elif run.machine.deadline is not None:
                run.now = max(run.now, run.machine.deadline)
                run.feed(inputs.Tick())
        assert arbiter.waiting == 0
        assert arbiter.state == "idle"


Alive.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAlive = Alive.TestCase


def test_same_inputs_same_actions() -> None:
    """Two machines in step, over a recorded random walk."""

    @settings(max_examples=40, deadline=None)
    @given(SETTINGS, st.lists(st.one_of(SERVER, HUMAN, VERBS), max_size=40))
    def walk(setting: Settings, steps: list[Any]) -> None:
        one, other = Checked(setting), Checked(setting)
        for step in steps:
            for run in (one, other):
                run.now += 0.1
                if isinstance(step, str):
                    run.verb(step)
                else:
                    run.feed(step)
        # By their text: two exceptions that say the same are never equal.
        assert repr(one.trace) == repr(other.trace)

    walk()
