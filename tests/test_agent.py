"""Agents: what is refused, what the session is configured with, and how instructions are resolved."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import pytest

from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import McpServer, SessionConfig, ToolDefinition, TurnDetection, Voice
from kernl_rt.context import Context
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.tool import Toolkit, tool

pytestmark = pytest.mark.anyio


@tool
async def weather(city: str) -> str:
    """Current weather in a city."""
    return f"Sunny in {city}"


@tool
async def lights(on: bool) -> None:
    """Turn the lights on or off."""


def agent(**options: Any) -> RealtimeAgent[Any]:
    return RealtimeAgent(**{"id": "watson", "name": "Watson", "instructions": "Be concise.", **options})


async def test_the_least_agent() -> None:
    least = agent()
    assert (least.model, least.voice, least.toolkits, least.config, dict(least.tools)) == (None, None, (), None, {})
    assert least.session_config("Hi.") == SessionConfig(instructions="Hi.")


async def test_a_voice_may_be_its_name() -> None:
    assert agent(voice="marin").voice == agent(voice=Voice("marin")).voice == Voice("marin")


async def test_tools_are_found_by_name_in_order() -> None:
    both = agent(toolkits=[Toolkit(id="sky", tools=[weather]), Toolkit(id="home", tools=[lights])])
    assert list(both.tools.items()) == [("weather", weather), ("lights", lights)]
    with pytest.raises(TypeError):
        both.tools["x"] = weather  # type: ignore[index]


async def test_the_configuration_holds_everything() -> None:
    server = McpServer("docs", url="https://example.com")
    config = SessionConfig(turn_detection=TurnDetection.off(), tools=[server], extra={"a": 1})
    whole = agent(voice="marin", config=config, toolkits=[Toolkit(id="sky", tools=[weather])]).session_config("Hi.")
    assert whole == SessionConfig(
        instructions="Hi.",
        voice=Voice("marin"),
        turn_detection=TurnDetection.off(),
        tools=(server, weather.definition),
        extra={"a": 1},
    )


async def test_without_tools_those_of_the_configuration_stay() -> None:
    config = SessionConfig(tools=[ToolDefinition("remote")], voice=Voice("cedar"))
    whole = agent(config=config).session_config("")
    assert whole == SessionConfig(instructions="", tools=[ToolDefinition("remote")], voice=Voice("cedar"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": ""}, "agent's id must be text, not ''"),
        ({"id": 5}, "agent's id must be text, not 5"),
        ({"name": " "}, "agent's name must be text"),
        ({"instructions": None}, "instructions must be text, or a function"),
        ({"voice": 5}, "voice must be a Voice or its name, not a int"),
        ({"voice": ""}, "empty name"),
        ({"config": {}}, "config must be a SessionConfig, not a dict"),
        ({"config": SessionConfig(instructions="x")}, "instructions are given twice"),
        ({"voice": "a", "config": SessionConfig(voice=Voice("b"))}, "the voice is given twice"),
        ({"toolkits": [weather]}, "toolkits holds a Tool: put tools into one"),
        ({"toolkits": [Toolkit(id="a"), Toolkit(id="a")]}, "two toolkits have the id 'a'"),
        (
            {"toolkits": [Toolkit(id="a", tools=[weather]), Toolkit(id="b", tools=[weather])]},
            "two tools are named 'weather', in toolkit 'a' and in toolkit 'b': rename one",
        ),
        (
            {"toolkits": [Toolkit(id="a", tools=[weather])], "config": SessionConfig(tools=[weather.definition])},
            "two tools are named 'weather', in config and in toolkit 'a'",
        ),
    ],
)
async def test_what_is_wrong_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        agent(**options)
    assert words in str(caught.value)


async def test_frozen_and_compared_by_content() -> None:
    one = agent()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.name = "Other"  # type: ignore[misc]
    assert one == agent()
    assert one != agent(name="Other")


async def test_an_agent_may_be_varied() -> None:
    one = agent(voice="marin", toolkits=[Toolkit(id="sky", tools=[weather])])
    other = attrs.evolve(one, name="Other", toolkits=[Toolkit(id="home", tools=[lights])])
    assert (other.name, other.voice, list(other.tools)) == ("Other", Voice("marin"), ["lights"])
    assert list(one.tools) == ["weather"]


async def _later(context: Context[str]) -> str:
    await anyio.sleep(3)
    return f"Serve {context.context}, later."


@pytest.mark.parametrize(
    ("instructions", "resolved"),
    [
        ("Serve.", "Serve."),
        (lambda context: f"Serve {context.context}.", "Serve Ann."),
        (_later, "Serve Ann, later."),
        (lambda context: _later(context), "Serve Ann, later."),
    ],
)
async def test_instructions(instructions: Any, resolved: str) -> None:
    assert await agent(instructions=instructions).resolve_instructions(Context("Ann")) == resolved


async def test_instructions_that_give_no_text() -> None:
    with pytest.raises(MisconfiguredError, match="'watson': its instructions gave a NoneType, not text"):
        await agent(instructions=lambda context: None).resolve_instructions(Context("Ann"))


async def test_what_instructions_raise_is_raised() -> None:
    def broken(context: Context[Any]) -> str:
        raise LookupError("no such customer")

    with pytest.raises(LookupError, match="no such customer"):
        await agent(instructions=broken).resolve_instructions(Context())
