"""Scenarios 19 (handoff) and 20 (history) of the acceptance list, whole, and what belongs to them: seeding, live
changes, pictures, raw events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, handoff, tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import G711_ULAW, Capabilities, ConnectOptions, SessionConfig, ToolDefinition, TurnDetection, Voice
from kernl_rt.context import Context
from kernl_rt.events import (
    AgentChanged,
    AudioInputAppend,
    HistoryChanged,
    InputTranscript,
    ItemCreate,
    ItemCreated,
    ItemDeleted,
    ItemDone,
    OutputItemAdded,
    RawClientEvent,
    RawServerEvent,
    ResponseCreate,
    SessionError,
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
    ToolFinished,
    ToolResult,
    UsageUpdated,
)
from kernl_rt.exceptions import (
    CommandAborted,
    CommandRejected,
    LaneFull,
    MisconfiguredError,
    RealtimeError,
    SessionStateError,
)
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import (
    Call,
    audio,
    created,
    done,
    item_added,
    quiet,
    refusal,
    tool_call,
    transcript,
)

pytestmark = pytest.mark.anyio


class Choosy(ScriptedModel):
    """Refuses two tools of one name, as every real model does."""

    def check(self, config: SessionConfig) -> None:
        names = [each.name for each in config.tools or () if isinstance(each, ToolDefinition)]
        if len(names) != len(set(names)):
            raise MisconfiguredError("two tools have this name; rename one")


@tool
async def lookup() -> str:
    """Look something up."""
    return "from b"


def agent_b(**options: Any) -> RealtimeAgent[Any]:
    told: dict[str, Any] = {"instructions": "You are B.", "toolkits": [Toolkit(id="b", tools=[lookup])], **options}
    return RealtimeAgent(id="b", name="Bea", **told)


@asynccontextmanager
async def calling(
    *tools: Any,
    config: SessionConfig | None = None,
    capabilities: Capabilities | None = None,
    voice: str | None = None,
    quietly: bool = False,
    **options: Any,
) -> AsyncIterator[Call]:
    """A session of agent ``a``. After it is connected, the provider answers no ``session.update`` by itself
    (``quietly``: and nothing else).
    """
    model = Choosy(capabilities=capabilities)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="Al",
        instructions="You are A.",
        model=model,
        voice=voice,
        toolkits=[Toolkit(id="a", tools=tools)],
        config=config,
    )
    session = RealtimeSession(agent, **options)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(10_000):
        async with session:
            await quiet()
            model.peer._acknowledge = not quietly
            answer = model.peer._answer
            model.peer._answer = lambda event: None if isinstance(event, SessionUpdate) else answer(event)  # type: ignore[method-assign]
            yield Call(session, model.peer, log)


def updates(call: Call) -> list[SessionConfig]:
    """What was said after the session was configured."""
    return [event.config for event in call.sent(SessionUpdate)[1:]]


async def accepts(call: Call, **described: Any) -> None:
    await call.says(SessionUpdated(SessionInfo(id="s1", config=SessionConfig(**described))))


async def refuses(call: Call, message: str = "no", code: str | None = "invalid_value", *, named: bool = True) -> None:
    last = call.sent(SessionUpdate)[-1]
    await call.says(refusal(code, event_id=last.event_id if named else None, message=message))


def order(call: Call) -> list[type[Any]]:
    """The kinds of what was sent after the configuration."""
    return [type(event) for event in call.peer.sent[1:]]


# -- 19: handoff ------------------------------------------------------------------------------------------------------


async def test_19_handoff() -> None:
    b = agent_b()
    async with calling(handoff(b), voice="marin") as call:
        await call.says(created(), audio(), tool_call("transfer_to_b"))
        assert order(call) == [SessionUpdate], "the answer to the call waits for the provider's yes"
        [said] = updates(call)
        assert said == SessionConfig(instructions="You are B.", tools=[lookup.definition]), "and nothing else"
        assert call.session.agent.id == "a"
        await accepts(call)
        assert order(call) == [SessionUpdate, ToolResult]
        assert call.session.agent is b
        assert call.session.context.agent is b
        await call.says(done())
        assert order(call) == [SessionUpdate, ToolResult, ResponseCreate], "one request for a reply"
        assert "Bea" in call.sent(ToolResult)[0].output
        await call.says(created("r2"), tool_call("lookup", "c2", response_id="r2"), done("r2"))
        assert [result.output for result in call.sent(ToolResult)[1:]] == ["from b"]
        assert len(call.sent(ResponseCreate)) == 2
    assert call.seen(AgentChanged) == [AgentChanged("a", "b", handoff=True)]
    changed, finished = call.log.index(call.seen(AgentChanged)[0]), call.log.index(call.seen(ToolFinished)[0])
    assert changed < finished


async def test_19_the_old_agents_tools_are_gone() -> None:
    @tool
    async def only_a() -> str:
        return "from a"

    async with calling(only_a, handoff(agent_b())) as call:
        await call.says(created(), tool_call("transfer_to_b"))
        await accepts(call)
        await call.says(tool_call("only_a", "c2"), done())
        assert [result.output for result in call.sent(ToolResult)][1:] == ["from a"], "this reply was a's still"
        await call.says(created("r2"), tool_call("only_a", "c3", response_id="r2"), done("r2"))
        assert call.sent(ToolResult)[-1].output == "Tool only_a not found"


async def test_19_running_tools_run_on() -> None:
    finished: list[tuple[str, str]] = []

    @tool(name="lookup")
    async def of_a(context: Context[Any]) -> str:
        await anyio.sleep(5)
        finished.append(("a", context.agent.id))
        return "from a"

    b = agent_b()
    async with calling(of_a, handoff(b)) as call:
        await call.says(created(), tool_call("lookup", "c1"), tool_call("transfer_to_b", "c2"), done())
        await accepts(call)
        assert call.session.agent is b
        assert not finished
        assert not call.sent(ResponseCreate), "one of the group's calls still runs"
        await anyio.sleep(6)
        assert finished == [("a", "a")], "a's call is a's to its end"
        assert {result.call_id: result.output for result in call.sent(ToolResult)}["c1"] == "from a"
        assert len(call.sent(ResponseCreate)) == 1


def two_names() -> RealtimeAgent[Any]:
    """Two toolkits that hold the same name: the agent cannot even be made."""
    return agent_b(toolkits=[Toolkit(id="one", tools=[lookup]), Toolkit(id="two", tools=[lookup])])


def refused_by_the_model() -> RealtimeAgent[Any]:
    twice = SessionConfig(tools=[ToolDefinition("twin"), ToolDefinition("twin")])
    return agent_b(toolkits=(), config=twice)


def other_model() -> RealtimeAgent[Any]:
    class Other(ScriptedModel):
        name = "other"

    return agent_b(model=Other())


def no_agent() -> Any:
    return "b"


def broken() -> RealtimeAgent[Any]:
    raise KeyError("nobody")


@pytest.mark.parametrize("make", [two_names, refused_by_the_model, other_model, no_agent, broken])
async def test_19_invalid_agent(make: Callable[[], RealtimeAgent[Any]]) -> None:
    async with calling(handoff(make, name="transfer_to_b")) as call:
        before = call.session.agent
        await call.says(created(), tool_call("transfer_to_b"))
        assert order(call) == [ToolResult], "nothing is sent but the error"
        assert call.session.agent is before
        [error] = call.seen(SessionError)
        assert (error.code, error.source) == ("handoff_failed", "tool")
        assert "a goes on" in error.message
        assert call.sent(ToolResult)[0].is_error
        assert [event.outcome for event in call.seen(ToolFinished)] == ["error"]
        assert not call.seen(AgentChanged)
        assert call.session.status == "connected"


async def test_19_the_provider_refuses_the_agent() -> None:
    async with calling(handoff(agent_b())) as call:
        await call.says(created(), tool_call("transfer_to_b"))
        await refuses(call, "not that agent")
        assert order(call) == [SessionUpdate, ToolResult]
        assert call.session.agent.id == "a"
        assert "not that agent" in call.sent(ToolResult)[0].output
        assert [error.code for error in call.seen(SessionError)] == ["handoff_failed"]
        await call.says(done(), created("r2"), tool_call("lookup", "c2", response_id="r2"))
        assert call.sent(ToolResult)[-1].output == "Tool lookup not found", "b's tools were never in force"


async def test_19_there_and_back() -> None:
    agents: dict[str, RealtimeAgent[Any]] = {}
    b = agents["b"] = agent_b(
        toolkits=[Toolkit(id="b", tools=[lookup, handoff(lambda: agents["a"], name="transfer_to_a")])]
    )
    async with calling(handoff(b)) as call:
        agents["a"] = call.session.agent
        for number, to in enumerate(["b", "a", "b"]):
            reply = f"r{number}"
            await call.says(created(reply), tool_call(f"transfer_to_{to}", f"c{number}", response_id=reply))
            await accepts(call)
            await call.says(done(reply))
            assert call.session.agent is agents[to]
        assert [(e.from_agent, e.to_agent) for e in call.seen(AgentChanged)] == [("a", "b"), ("b", "a"), ("a", "b")]
        assert len(call.session._changes.agents) == 2


async def test_19_handing_over_to_oneself_changes_nothing() -> None:
    agents: list[RealtimeAgent[Any]] = []
    async with calling(handoff(lambda: agents[0], name="transfer_to_a")) as call:
        agents.append(call.session.agent)
        await call.says(created(), tool_call("transfer_to_a"), done())
        assert order(call) == [ToolResult, ResponseCreate]
        assert not call.seen(AgentChanged)


async def test_19_consent_to_one_agents_tool_is_not_consent_to_anothers() -> None:
    runs: list[str] = []

    def pay(of: str) -> Any:
        @tool(name="pay", needs_approval=True)
        async def paying() -> str:
            runs.append(of)
            return "paid"

        return paying

    b = agent_b(toolkits=[Toolkit(id="b", tools=[pay("b")])])
    async with calling(pay("a"), handoff(b)) as call:
        await call.says(created(), tool_call("pay", "c1"))
        call.session.approve("c1", always=True)
        await call.says(tool_call("transfer_to_b", "c2"), done())
        await accepts(call)
        await call.says(created("r2"), tool_call("pay", "c3", response_id="r2"))
        assert runs == ["a"]
        call.session.approve("c3")
        await quiet()
        assert runs == ["a", "b"]


def test_handoff_names() -> None:
    made = handoff(agent_b())
    assert made.name == "transfer_to_b"
    assert "Bea" in made.description
    odd: RealtimeAgent[Any] = RealtimeAgent(id="böse agentin " * 9, name="x", instructions="y")
    assert len(handoff(odd).name) <= 64
    assert handoff(odd, name="to_x", description="When x.").definition.description == "When x."
    with pytest.raises(MisconfiguredError, match="needs a name"):
        handoff(agent_b)
    with pytest.raises(MisconfiguredError, match="takes a RealtimeAgent"):
        handoff("b")  # type: ignore[arg-type]


# -- live changes -----------------------------------------------------------------------------------------------------


async def test_update_says_only_what_differs() -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.5))) as call:
        command = call.session.update(
            instructions="Be kind.", turn_detection=TurnDetection.server_vad(threshold=0.5), max_output_tokens=100
        )
        await quiet()
        assert updates(call) == [SessionConfig(instructions="Be kind.", max_output_tokens=100)]
        assert command.state == "pending"
        assert call.session.config.instructions == "You are A.", "not before the provider has accepted"
        await accepts(call)
        config = await command.settled()
        assert config.instructions == "Be kind."
        assert call.session.config == config


async def test_update_that_changes_nothing_settles_at_once() -> None:
    async with calling() as call:
        command = call.session.update(SessionConfig(instructions="You are A."))
        assert command.state == "acknowledged"
        assert call.session.update().state == "acknowledged"
        await quiet()
        assert updates(call) == []


async def test_the_providers_own_default_is_no_change() -> None:
    async with calling() as call:
        call.session.update(max_output_tokens=5)
        await accepts(call, voice=Voice("alloy"), max_output_tokens=5)
        assert call.session.update(voice="alloy").state == "acknowledged"
        assert len(updates(call)) == 1


async def test_a_rejection_raises_at_the_handle_and_changes_nothing() -> None:
    async with calling() as call:
        command = call.session.update(turn_detection=TurnDetection.off())
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(CommandRejected, match="not now") as caught:
                    await command.settled()
                assert caught.value.code == "some_code"

            group.start_soon(wait)
            await quiet()
            await refuses(call, "not now", "some_code")
        assert not call.seen(SessionError)
        call.session.send_audio(b"\0\0")
        call.session.activity_ended()
        await quiet()
        assert order(call) == [SessionUpdate, AudioInputAppend], "turn detection is still the provider's"


async def test_a_rejection_that_nobody_awaits_is_an_error_event() -> None:
    async with calling() as call:
        call.session.update(instructions="x")
        await quiet()
        await refuses(call, "not now")
        [error] = call.seen(SessionError)
        assert "update() was refused: not now" in error.message


async def test_turn_detection_switches_with_the_acceptance() -> None:
    async with calling() as call:
        call.session.update(turn_detection=TurnDetection.off())
        await quiet()
        assert not call.session._driver.machine.state.turn.manual  # type: ignore[union-attr]
        await accepts(call)
        assert call.session._driver.machine.state.turn.manual  # type: ignore[union-attr]


async def test_two_updates_are_made_one_after_the_other() -> None:
    async with calling() as call:
        first = call.session.update(instructions="one", max_output_tokens=7)
        second = call.session.update(instructions="two", max_output_tokens=7)
        await quiet()
        assert updates(call) == [SessionConfig(instructions="one", max_output_tokens=7)]
        await accepts(call)
        assert (first.state, second.state) == ("acknowledged", "pending")
        assert updates(call)[1:] == [SessionConfig(instructions="two")], "the difference to what holds now"
        await accepts(call)
        assert second.state == "acknowledged"
        assert call.session.config.instructions == "two"


async def test_a_rejected_update_leaves_the_next_one_its_own_meaning() -> None:
    async with calling() as call:
        call.session.update(instructions="one", max_output_tokens=7)
        second = call.session.update(max_output_tokens=7)
        await quiet()
        await refuses(call)
        assert updates(call)[1:] == [SessionConfig(max_output_tokens=7)]
        await accepts(call)
        assert (await second.settled()).instructions == "You are A."


async def test_an_anonymous_error_may_have_meant_the_update() -> None:
    async with calling() as call:
        innocent = call.session.update(instructions="one")
        await quiet()
        await refuses(call, named=False)
        await accepts(call)
        assert innocent.state == "acknowledged", "it was something else"
        guilty = call.session.update(instructions="two")
        await quiet()
        await refuses(call, "anonymous", named=False)
        await anyio.sleep(2)
        assert guilty.state == "rejected"
        assert call.session.config.instructions == "one"


async def test_an_update_that_nobody_answers_is_given_up() -> None:
    async with calling() as call:
        lost, after = call.session.update(instructions="one"), call.session.update(instructions="two")
        await anyio.sleep(11)
        assert (lost.state, after.state) == ("lost", "pending")
        assert [error.source for error in call.seen(SessionError)] == ["session"], "nobody awaited it"
        await accepts(call)
        assert call.session.config.instructions == "two"


async def test_updates_end_with_the_session() -> None:
    async with calling() as call:
        sent, queued = call.session.update(instructions="one"), call.session.update(instructions="two")
        await quiet()
    assert (sent.state, queued.state) == ("aborted", "aborted")
    for command in (sent, queued):
        with pytest.raises(CommandAborted):
            await command.settled()
    with pytest.raises(SessionStateError):
        call.session.update(instructions="late")


async def test_too_many_updates() -> None:
    async with calling() as call:
        with pytest.raises(LaneFull):
            for number in range(100):
                call.session.update(max_output_tokens=number + 1)
        await quiet()
        assert len(updates(call)) == 1


async def test_the_voice_is_fixed_once_it_was_heard() -> None:
    async with calling(voice="marin") as call:
        call.session.update(voice="cedar")
        await accepts(call)
        await call.says(created(), audio())
        with pytest.raises(MisconfiguredError, match="'cedar' was heard"):
            call.session.update(voice="marin")
        assert call.session.update(voice="cedar").state == "acknowledged"
        call.session.update(voice=Voice("cedar", speed=1.2))
        await quiet()
        assert updates(call) == [SessionConfig(voice="cedar"), SessionConfig(voice=Voice("cedar", speed=1.2))]


async def test_an_unknown_voice_is_fixed_too() -> None:
    async with calling() as call:
        await call.says(created(), audio())
        with pytest.raises(MisconfiguredError, match="was heard"):
            call.session.update(voice="marin")
        assert updates(call) == []


async def test_formats_are_fixed_by_a_channel_and_by_sound() -> None:
    both = Capabilities(input_formats=(MemoryChannel().input_formats[0], G711_ULAW))
    async with calling(channel=MemoryChannel(), capabilities=both) as call:
        with pytest.raises(MisconfiguredError, match="channel is open"):
            call.session.update(output_format=G711_ULAW)
    async with calling(capabilities=both) as call:
        call.session.update(output_format=G711_ULAW, input_format=G711_ULAW)
        await accepts(call)
        await call.says(created(), audio(ms=100))
        assert call.session.statistics().playback_pending_ms == 600, "4,800 bytes at 8,000 a second"
        assert call.session._driver.outbox._format == G711_ULAW  # type: ignore[union-attr]
        with pytest.raises(MisconfiguredError, match="once audio"):
            call.session.update(output_format=MemoryChannel().output_formats[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tone": "warm"}, "no option 'tone'"),
        ({"tools": [ToolDefinition("x"), ToolDefinition("x")]}, "two tools"),
    ],
)
async def test_what_cannot_be_is_refused_before_it_is_sent(change: dict[str, Any], message: str) -> None:
    async with calling() as call:
        with pytest.raises(MisconfiguredError, match=message):
            call.session.update(**change)
        with pytest.raises(MisconfiguredError, match="takes a SessionConfig"):
            call.session.update("x")  # type: ignore[arg-type]
        assert updates(call) == []


async def test_a_model_that_cannot_change() -> None:
    async with calling(capabilities=Capabilities(can_update=False)) as call:
        for change in (lambda: call.session.update(instructions="x"), lambda: call.session.update_agent(agent_b())):
            with pytest.raises(MisconfiguredError, match="cannot change a session that runs"):
                change()


async def test_a_model_that_confirms_nothing() -> None:
    async with calling(capabilities=Capabilities(confirms_configuration=False)) as call:
        assert call.session.update(instructions="x").state == "acknowledged"
        await quiet()
        assert updates(call) == [SessionConfig(instructions="x")]
        assert call.session.config.instructions == "x"


async def test_a_session_update_of_the_callers_own() -> None:
    async with calling() as call:
        command = call.session.send(SessionUpdate(SessionConfig(instructions="You are A."), event_id="mine"))
        await quiet()
        assert call.sent(SessionUpdate)[-1].event_id == "mine", "as it is, though it changes nothing"
        await refuses(call)
        assert command.state == "rejected"
        call.session.send(SessionUpdate(SessionConfig(instructions="x")))
        await accepts(call)
        assert call.session.config.instructions == "x"


# -- agents, by the program -------------------------------------------------------------------------------------------


async def test_update_agent() -> None:
    b = agent_b(voice="cedar", config=SessionConfig(output_format=G711_ULAW))
    async with calling(lookup, voice="marin", config=SessionConfig(tool_choice="required")) as call:
        command = call.session.update_agent(b)
        await quiet()
        assert call.session.agent.id == "a"
        [said] = updates(call)
        assert said == SessionConfig(instructions="You are B.", voice="cedar", tool_choice="auto"), "formats stay"
        await accepts(call)
        assert (await command.settled()).instructions == "You are B."
        assert call.session.agent is b
        assert "agent='b'" in repr(call.session)
        assert call.seen(AgentChanged) == [AgentChanged("a", "b", handoff=False)]


async def test_an_agent_without_tools_leaves_none_behind() -> None:
    async with calling(lookup) as call:
        call.session.update_agent(agent_b(toolkits=()))
        await quiet()
        assert updates(call) == [SessionConfig(instructions="You are B.", tools=())]


async def test_instructions_that_are_a_function() -> None:
    seen: list[str] = []

    async def instructions(context: Context[Any]) -> str:
        await anyio.sleep(1)
        seen.append(context.agent.id)
        return f"You are B, for {context.context}."

    async with calling(context="Ann") as call:
        first = call.session.update_agent(agent_b(instructions=instructions))
        second = call.session.update(max_output_tokens=9)
        await quiet()
        assert updates(call) == [], "the second waits for the first"
        await anyio.sleep(2)
        assert [config.instructions for config in updates(call)] == ["You are B, for Ann."]
        await accepts(call)
        await accepts(call)
        assert (first.state, second.state) == ("acknowledged", "acknowledged")
        assert call.session.config.max_output_tokens == 9
    assert seen == ["b"]


async def raising(context: Context[Any]) -> str:
    raise LookupError("no such customer")


async def endless(context: Context[Any]) -> str:
    await anyio.sleep_forever()
    return ""


@pytest.mark.parametrize(
    ("instructions", "kind", "message"),
    [(raising, LookupError, "no such customer"), (endless, RealtimeError, "took more than 3 seconds")],
)
async def test_instructions_that_fail(instructions: Any, kind: type[Exception], message: str) -> None:
    async with calling(connect_options=ConnectOptions(timeout=3)) as call:
        command = call.session.update_agent(agent_b(instructions=instructions))
        with pytest.raises(kind, match=message):
            await command.settled()
        assert call.session.agent.id == "a"
        assert updates(call) == []
        call.session.update(instructions="still works")
        await accepts(call)
        assert call.session.config.instructions == "still works"


async def test_the_sessions_own_configuration_holds_for_every_agent() -> None:
    over = SessionConfig(max_output_tokens=50, instructions="Only for a.")
    async with calling(connect_options=ConnectOptions(session_config=over)) as call:
        call.session.update_agent(agent_b(config=SessionConfig(max_output_tokens=99)))
        await quiet()
        assert [config.instructions for config in updates(call)] == ["You are B."]
        assert updates(call)[0].max_output_tokens is None


# -- 20: history ------------------------------------------------------------------------------------------------------


def histories(call: Call) -> list[HistoryChanged]:
    return call.seen(HistoryChanged)


async def test_20_history_added_updated_removed() -> None:
    async with calling() as call:
        user = Message("user", [ContentPart("input_audio")], id="u1", status="completed")
        await call.says(ItemCreated(user))
        assert [item.id for item in histories(call)[-1].added] == ["u1"]
        await call.says(InputTranscript("u1", "hello there", 0))
        [updated] = histories(call)[-1].updated
        assert isinstance(updated, Message)
        assert updated.text == "hello there"
        assert histories(call)[-1].added == ()
        await call.says(ItemCreated(Message("assistant", id="a1"), "u1"), ItemCreated(Message("user", id="u0"), "u1"))
        assert [item.id for item in call.session.history] == ["u1", "u0", "a1"]
        await call.says(ItemCreated(Message("user", id="u5"), "nobody"))
        assert call.session.history[-1].id == "u5"
        await call.says(ItemDeleted("u0"))
        assert [item.id for item in histories(call)[-1].removed] == ["u0"]
        count = len(histories(call))
        await call.says(ItemCreated(user, None))
        assert len(histories(call)) == count, "nothing new, nothing said"
        assert call.seen(ItemCreated)[-1].previous_item_id is None


async def test_20_usage_before_the_end() -> None:
    async with calling() as call:
        await call.says(created(), done(tokens=14), created("r2"), done("r2", tokens=10))
        assert [event.total.total_tokens for event in call.seen(UsageUpdated)] == [14, 24]


async def test_20_a_transcript_before_its_item() -> None:
    async with calling() as call:
        await call.says(InputTranscript("u1", "early words", 0))
        assert call.session.history == ()
        await call.says(ItemCreated(Message("user", [ContentPart("input_audio")], id="u1")))
        [item] = call.session.history
        assert isinstance(item, Message)
        assert item.text == "early words"


async def test_20_a_late_word_does_not_bring_back_what_was_deleted() -> None:
    async with calling() as call:
        await call.says(ItemCreated(Message("user", id="u1")), ItemDeleted("u1"))
        await call.says(ItemDone(Message("user", id="u1")), InputTranscript("u1", "late", 0))
        assert call.session.history == ()


def tool_items(call: Call) -> list[Any]:
    return [(item.type, item.status) for item in call.session.history]


async def test_20_tool_item_goes_from_in_progress_to_completed() -> None:
    gate = anyio.Event()

    @tool
    async def slow() -> str:
        await gate.wait()
        return "done"

    async with calling(slow) as call:
        begun = FunctionCall("slow", "", "c1", id="f1", status="in_progress")
        await call.says(created(), ItemCreated(begun), tool_call("slow"))
        await call.says(ItemDone(FunctionCall("slow", "{}", "c1", id="f1", status="completed")), done())
        assert tool_items(call) == [("function_call", "in_progress")], "the tool still runs"
        gate.set()
        await quiet()
        assert tool_items(call) == [("function_call", "completed"), ("function_call_output", None)]
        output = call.session.history[1]
        assert isinstance(output, FunctionCallOutput)
        assert (output.output, output.id) == ("done", call.sent(ToolResult)[0].item_id)


async def test_20_tool_items_without_the_providers_help() -> None:
    """A provider that has no items for calls, or does not acknowledge them."""

    @tool
    async def quick() -> str:
        return "done"

    async with calling(quick, quietly=True) as call:
        await call.says(created(), tool_call("quick"), done())
        call_item, output = call.session.history
        assert (call_item.id, call_item.status, output.id) == ("f1", "completed", None)
        named = FunctionCallOutput("c1", "done", id="theirs")
        await call.says(ItemCreated(Message("user", id="u1"), "f1"), ItemCreated(named, "f1"))
        assert [item.id for item in call.session.history] == ["f1", "theirs", "u1"], "placed where the provider says"
        assert [item.id for item in histories(call)[-1].updated] == ["theirs"]


async def test_20_a_call_that_nobody_wants_has_no_output() -> None:
    @tool
    async def endless_tool() -> str:
        await anyio.sleep_forever()
        return ""

    async with calling(endless_tool) as call:
        await call.says(created(), tool_call("endless_tool"))
    assert [(item.type, item.status) for item in call.session.history] == [("function_call", "incomplete")]


def words(call: Call) -> list[str]:
    return [item.text for item in call.session.history if isinstance(item, Message)]


async def test_20_words_before_their_sound_were_not_heard() -> None:
    """The transcript leads the sound: an item that was interrupted before its first sound says nothing."""
    async with calling() as call:
        await call.says(created(), item_added(), ItemCreated(Message("assistant", id="i1", status="in_progress")))
        call.session.interrupt()
        await quiet()
        await call.says(transcript("I was about to say something"))
        assert words(call) == [""]
        assert call.session.history[0].status == "incomplete"


async def test_20_words_that_were_written_before_the_interruption_were_not_heard() -> None:
    """One item plays, the next is already written, and has no sound yet."""
    async with calling() as call:
        await call.says(created(), item_added(), ItemCreated(Message("assistant", id="i1")), audio(ms=1000))
        await call.says(transcript("one two three four"))
        await call.says(item_added("i2"), ItemCreated(Message("assistant", id="i2")))
        await call.says(transcript("never said", item_id="i2"))
        await anyio.sleep(0.5)
        call.session.interrupt()
        await quiet()
        assert words(call) == ["one two", ""]


async def test_20_items_after_the_interruption_were_not_heard() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000))
        call.session.interrupt()
        await quiet()
        second = Message("assistant", [ContentPart("output_audio", transcript="never said")], id="i2")
        await call.says(OutputItemAdded(second, response_id="r1"), ItemCreated(second))
        assert words(call) == [""]


async def test_20_late_sound_counts_as_unheard() -> None:
    """All that had come was heard, and more came too late: its words were not heard."""
    async with calling() as call:
        await call.says(created(), ItemCreated(Message("assistant", id="i1")), audio(ms=1000))
        await anyio.sleep(2)
        call.session.interrupt()
        await quiet()
        await call.says(audio(ms=1000), transcript("one two three four"))
        assert words(call) == ["one two"]


# -- seeding ----------------------------------------------------------------------------------------------------------

EARLIER = (
    Message("user", [ContentPart("input_audio", transcript="my name is Ann")], id="u1", status="completed"),
    Message("assistant", [ContentPart("output_audio", transcript="Hello")], id="a1", status="incomplete"),
    Message("assistant", [ContentPart("output_audio", transcript="")], id="a2", status="incomplete"),
    FunctionCall("lookup", '{"q": 1}', "c" * 40, id="f1", status="completed"),
    FunctionCallOutput("c" * 40, "found", id="o1"),
    FunctionCall("lookup", "{}", "c2", id="f2", status="in_progress"),
    FunctionCallOutput("nobody", "dangling", id="o9"),
)


async def test_seeding() -> None:
    async with calling(history=EARLIER) as call:
        seeds = [event.item for event in call.sent(ItemCreate)]
        assert order(call) == [ItemCreate] * 6, "and no reply is asked for"
        assert [item.id for item in seeds[:4]] == ["u1", "a1", "f1", "o1"]
        assert seeds[0] == Message(
            "user", [ContentPart("input_text", text="my name is Ann")], id="u1", status="completed"
        )
        assert seeds[1] == Message(
            "assistant", [ContentPart("output_text", text="Hello")], id="a1", status="incomplete"
        )
        first, first_output, second, second_output = seeds[2:]
        assert isinstance(first, FunctionCall)
        assert isinstance(first_output, FunctionCallOutput)
        assert first.call_id == first_output.call_id
        assert len(first.call_id or "") <= 32
        assert isinstance(second, FunctionCall)
        assert isinstance(second_output, FunctionCallOutput)
        assert second_output.call_id == second.call_id == "c2"
        assert "interrupted" in second_output.output
        assert list(call.session.history)[:3] == seeds[:3]
        assert len(call.session.history) == 6
        assert call.session._driver.machine.state.seeding.waiting == 0  # type: ignore[union-attr]
        call.session.send_message("go on")
        await quiet()
        assert order(call)[6:] == [ItemCreate, ResponseCreate]


async def test_seeds_are_in_the_history_when_connect_returns() -> None:
    model = ScriptedModel()
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=model)
    async with RealtimeSession(agent, history=EARLIER[:1]) as session:
        assert [item.id for item in session.history] == ["u1"]
        session.send_message("now")
        await quiet()
        assert model.peer.heard(ItemCreate)[0].item.id == "u1", "before anything else"


async def test_a_long_history_does_not_fill_the_lane_of_commands() -> None:
    many = [Message("user", [ContentPart("input_text", text="x")], id=f"u{n}") for n in range(600)]
    async with calling(history=many) as call:
        call.session.send_message("now")
        await quiet()
        assert len(call.sent(ItemCreate)) == 601


async def test_ids_of_ours_are_not_given_twice() -> None:
    ours = [Message("user", [ContentPart("input_text", text="x")], id=f"item_kernl_{n}") for n in (3, 7)]
    nameless = Message("user", [ContentPart("input_text", text="x")])
    async with calling(history=[*ours, nameless, evolve_id(nameless, "i" * 40), ours[0]]) as call:
        for _ in range(4):
            call.session.send_message("now")
        await quiet()
        ids = [event.item.id for event in call.sent(ItemCreate)]
        assert len(ids) == len(set(ids)) == 9
        assert all(len(name or "") <= 32 for name in ids)


def evolve_id(message: Message, name: str) -> Message:
    return Message(message.role, message.content, id=name)


async def test_a_refused_seed_is_reported_and_gone() -> None:
    model = ScriptedModel(acknowledge=False)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=model)
    errors: list[SessionError] = []

    async def play() -> None:
        peer = await model.accept()
        await peer.hear(SessionUpdate)
        peer.say(SessionUpdated(SessionInfo(id="s")))
        seed = await peer.hear(ItemCreate)
        peer.say(refusal("invalid_value", event_id=seed.event_id, message="too old"))

    async with anyio.create_task_group() as group:
        group.start_soon(play)
        session = RealtimeSession(agent, history=EARLIER[:2])
        session.on("error", errors.append)
        async with session:
            assert len(session.history) == 2
            await quiet()
            assert [item.id for item in session.history] == ["a1"]
    [error] = errors
    assert error.code == "invalid_value"
    assert "message u1: too old" in error.message


def test_a_history_of_something_else() -> None:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=ScriptedModel())
    with pytest.raises(MisconfiguredError, match="holds a str"):
        RealtimeSession(agent, history=["hello"])  # type: ignore[list-item]


# -- pictures and raw events ------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


async def test_an_image() -> None:
    async with calling() as call:
        call.session.send_image(PNG, text="What is this?", detail="low")
        await quiet()
        [item] = [event.item for event in call.sent(ItemCreate)]
        assert isinstance(item, Message)
        text, picture = item.content
        assert (text.type, text.text) == ("input_text", "What is this?")
        assert (picture.type, picture.detail) == ("input_image", "low")
        assert (picture.image_url or "").startswith("data:image/png;base64,iVBORw0KGgo")
        assert order(call) == [ItemCreate, ResponseCreate]
        call.session.send_image("https://example.org/cat.png", reply=False)
        call.session.send_image(picture.image_url or "", reply=False)
        call.session.send_image(b"anything", mime_type="image/x-new", reply=False)
        await quiet()
        assert order(call)[2:] == [ItemCreate] * 3


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (b"", {}, "is empty"),
        (b"GIF", {}, "neither PNG"),
        (PNG, {"mime_type": "text/plain"}, "is no image"),
        (PNG, {"detail": "huge"}, "detail"),
        (PNG, {"text": 5}, "text must be"),
        (5, {}, "not a int"),
        (PNG + bytes(10 * 2**20), {}, "make it smaller"),
        ("http://example.org/cat.png", {}, "starts with"),
        ("data:image/png;base64,$$$", {}, "no valid base64"),
        ("data:image/png;base64," + "A" * (14 * 2**20), {}, "make it smaller"),
        ("https://example.org", {"mime_type": "image/png"}, "goes with bytes"),
    ],
)
async def test_no_image(image: Any, options: dict[str, Any], message: str) -> None:
    async with calling() as call:
        with pytest.raises(MisconfiguredError, match=message):
            call.session.send_image(image, **options)
        assert order(call) == []


async def test_a_model_without_eyes() -> None:
    async with calling(capabilities=Capabilities(image_input=False)) as call:
        with pytest.raises(MisconfiguredError, match="takes no images"):
            call.session.send_image(PNG)


async def test_raw_both_ways() -> None:
    async with calling() as call:
        command = call.session.send({"type": "brand.new", "x": 1})
        await call.says(RawServerEvent("brand.new.done", {"type": "brand.new.done", "y": None}))
        assert [event.data for event in call.sent(RawClientEvent)] == [{"type": "brand.new", "x": 1}]
        assert command.state == "acknowledged"
        [seen] = call.seen(RawServerEvent)
        assert (seen.type, seen.data) == ("brand.new.done", {"type": "brand.new.done", "y": None})
