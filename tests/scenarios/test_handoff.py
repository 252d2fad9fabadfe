"""Scenario 19 of the acceptance list, handoff, whole; and agents that the program changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, Toolkit, handoff, tool
from kernl_rt.config import G711_ULAW, ConnectOptions, SessionConfig, ToolDefinition
from kernl_rt.context import Context
from kernl_rt.events import (
    AgentChanged,
    ResponseCreate,
    SessionError,
    SessionUpdate,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import (
    MisconfiguredError,
    RealtimeError,
)
from kernl_rt.testing import ScriptedModel
from tests.scenarios.agents import accepts, agent_b, calling, lookup, order, refuses, updates
from tests.scenarios.calls import (
    audio,
    created,
    done,
    quiet,
    tool_call,
)

pytestmark = pytest.mark.anyio


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
