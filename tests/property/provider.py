"""A provider that runs one reply at a time and refuses a second request, with frames under way in both directions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field
from hypothesis import strategies as st

from kernl_rt._core import actions, inputs
from kernl_rt._core.lanes import Outbox
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.events import (
    AudioInputCommitted,
    ItemCreate,
    ItemCreated,
    Response,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SessionError,
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolResult,
)
from kernl_rt.items import ContentPart, FunctionCallOutput, Message

#: ``read``: the provider reads one frame; ``deliver``: we read one of its.
STEPS_OF_A_CALL = st.lists(
    st.sampled_from(
        [
            *("read", "deliver") * 4,
            *("message", "reply", "ask", "interrupt", "speech", "turn", "tool", "tool"),
            *("finish", "calls 1", "calls 2", "calls 4"),
        ]
    ),
    max_size=60,
)


SETTINGS = Settings(tools={"lookup": ToolTraits()}, capabilities=Capabilities(echoes_metadata=True))


@define
class Sent:
    """A request for a reply: how many wishes there were when it was sent, and what we knew then."""

    wishes: int
    known: frozenset[str]


@define
class Provider:
    machine: SessionMachine = field(factory=lambda: SessionMachine(SETTINGS))
    now: float = 0.0
    outbox: Outbox = field(factory=lambda: Outbox(PCM16_24K))
    under_way: deque[Any] = field(factory=deque)
    active: str | None = None
    #: Replies that began without a request.
    own: set[str] = field(factory=set)
    #: Replies whose beginning we have been told.
    known: set[str] = field(factory=set)
    sent: dict[str, Sent] = field(factory=dict)
    accepted: list[Sent] = field(factory=list)
    refused: list[str] = field(factory=list)
    wishes: int = 0
    settled: dict[int, actions.Settle] = field(factory=dict)
    tools: list[str] = field(factory=list)
    #: Of each reply that made calls: those without an outcome, and ``"done"`` until its end is told.
    groups: dict[str, set[str]] = field(factory=dict)
    _commands: int = 0
    _replies: int = 0
    _calls: int = 0

    def __attrs_post_init__(self) -> None:
        self.feed(inputs.ConnectionOpened())
        self.settle()
        # The first reply shows that this provider names the request that it answers.
        self.verb("message")
        self.settle()

    # -- our side -----------------------------------------------------------------------------------------------------

    def feed(self, input: Any) -> None:
        self.now += 0.001
        for action in self.machine.feed(input, self.now):
            match action:
                case actions.Send(event=event):
                    self.outbox.push(action)
                    if isinstance(event, ResponseCreate):
                        self.sent[event.event_id or ""] = Sent(self.wishes, frozenset(self.known))
                case actions.StartTool(call_id=call_id):
                    self.tools.append(call_id)
                case actions.Settle(command=command):
                    assert command not in self.settled, "settled twice"
                    self.settled[command] = action
                case _:
                    pass

    def verb(self, what: str) -> None:
        self._commands += 1
        message = Message("user", [ContentPart("input_text", text="hi")])
        match what:
            case "message" | "ask":
                self.wishes += 1
                self.feed(inputs.ItemSubmitted(self._commands, message, ask=what == "ask"))
            case "reply":
                self.wishes += 1
                self.feed(inputs.ReplyRequested(self._commands))
            case "interrupt":
                self.feed(inputs.InterruptRequested(self._commands))

    def return_tool(self) -> None:
        if not self.tools:
            return
        call_id = self.tools.pop(0)
        self._gone(call_id)
        self.feed(inputs.ToolReturned(call_id, "result", "ok", 0.1))

    def _gone(self, what: str) -> None:
        """The end of a call, or of the reply that made it: after the last of them a reply is owed."""
        for response_id, missing in list(self.groups.items()):
            if what in missing:
                missing.discard(what)
                if not missing:
                    del self.groups[response_id]
                    self.wishes += 1

    def deliver(self) -> None:
        if not self.under_way:
            return
        event = self.under_way.popleft()
        if isinstance(event, ResponseCreated):
            self.known.add(event.response.id or "")
        if isinstance(event, ResponseDone):
            self._gone(f"done {event.response.id}")
        self.feed(event)

    # -- the provider's side ------------------------------------------------------------------------------------------

    def read(self) -> None:
        match self.outbox.pop():
            case SessionUpdate():
                self.under_way.append(SessionUpdated(SessionInfo(id="s1")))
            case ItemCreate(item=item):
                self.under_way.append(ItemCreated(item))
            case ToolResult(call_id=call_id, output=output, item_id=item_id):
                self.under_way.append(ItemCreated(FunctionCallOutput(call_id, output, id=item_id)))
            case ResponseCreate(event_id=event_id, config=config):
                self._asked(event_id or "", config.metadata if config is not None else None)
            case ResponseCancel(event_id=event_id):
                if self.active is None:
                    self.under_way.append(SessionError("no", "response_cancel_not_active", client_event_id=event_id))
                else:
                    self.finish(status="cancelled")
            case _:
                pass

    def _asked(self, event_id: str, metadata: Mapping[str, str] | None) -> None:
        if self.active is None:
            self.accepted.append(self.sent[event_id])
            self._begin(metadata)
            return
        assert self.active not in self.sent[event_id].known, "a request although we knew of the reply"
        self.refused.append(event_id)
        code = "conversation_already_has_active_response"
        self.under_way.append(SessionError("busy", code, client_event_id=event_id))

    def _begin(self, metadata: Mapping[str, str] | None = None) -> None:
        self._replies += 1
        self.active = f"r{self._replies}"
        response = Response(id=self.active, status="in_progress", conversation_id="c", metadata=metadata)
        self.under_way.append(ResponseCreated(response))

    def finish(self, calls: int = 0, status: Any = "completed") -> None:
        if self.active is None:
            return
        response_id, self.active = self.active, None
        for _ in range(calls):
            self._calls += 1
            call_id = f"call{self._calls}"
            self.groups.setdefault(response_id, {f"done {response_id}"}).add(call_id)
            self.under_way.append(ToolCalled(call_id, "lookup", f'"{call_id}"', response_id=response_id))
        self.under_way.append(ResponseDone(Response(id=response_id, status=status)))

    def speech(self) -> None:
        """The provider's turn detection hears the human, and stops its reply."""
        self.under_way.append(SpeechStarted("u", 0))
        self.finish(status="cancelled")

    def turn(self) -> None:
        """It answers by itself what the human said."""
        self.under_way += [SpeechStopped("u", 0), AudioInputCommitted("u")]
        if self.active is None:
            self._begin()
            self.own.add(self.active or "")

    # -- together -----------------------------------------------------------------------------------------------------

    def play(self, steps: Iterable[str]) -> None:
        for step in steps:
            match step.split():
                case ["read"]:
                    self.read()
                case ["deliver"]:
                    self.deliver()
                case ["tool"]:
                    self.return_tool()
                case ["finish"]:
                    self.finish()
                case ["calls", number]:
                    self.finish(int(number))
                case ["speech"]:
                    self.speech()
                case ["turn"]:
                    self.turn()
                case [verb]:
                    self.verb(verb)

    def settle(self) -> None:
        """Nothing more is asked for: all that is under way arrives, what runs ends, and what is owed is done."""
        if self.machine.state.turn.speaking:
            self.turn()
        for _ in range(1_000):
            before = (len(self.outbox), len(self.under_way), self.active, len(self.tools))
            while self.outbox:
                self.read()
            while self.under_way:
                self.deliver()
            self.return_tool()
            self.finish()
            if before == (0, 0, None, 0) and not self.outbox and not self.under_way:
                return
        raise AssertionError("it never comes to rest")

    def check(self) -> None:
        """Every wish has had its reply, and no reply was asked for without a new wish."""
        assert self.machine.state.arbiter.state == "idle"
        assert self.machine.state.arbiter.waiting == 0
        assert not self.groups
        asked = [sent.wishes for sent in self.accepted]
        assert asked == sorted(set(asked)), f"two replies to one wish: {asked}"
        assert (asked[-1] if asked else 0) == self.wishes, f"{self.wishes} wishes, the last answered is {asked[-1:]}"
        assert set(self.settled) == set(range(1, self._commands + 1)), "every handle settles"
        assert all(settle.error is None for settle in self.settled.values())
