"""The default brain knows its sentences, calls what fits, and claims nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt.simulator import BANNER, SENTENCES, Reply, ScriptedBrain, ToolCall, ToolResult, Turn
from kernl_rt.simulator._grammar import SLOTS, jsgf, normalised
from kernl_rt.simulator._skills import IDENTITY, answer

pytestmark = pytest.mark.anyio


def tool(name: str, required: tuple[str, ...] = (), description: str = "", **properties: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": value} for key, value in properties.items()}}
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {**schema, "required": required},
    }


WEATHER = tool("weather", ("city",), "Current weather in a city.", city="string")


def ask(text: str, *tools: Any, **more: Any) -> Reply:
    return answer(Turn(text, tools=tools, **more))


@pytest.mark.parametrize(
    ("text", "tool_", "arguments"),
    [
        ("What is the weather in Paris?", WEATHER, {"city": "Paris"}),
        ("what's the weather like in new york today", WEATHER, {"city": "New York"}),
        ("Tell me the weather for Rome, please", WEATHER, {"city": "Rome"}),
        ("what is the weather in paris", tool("get_forecast", ("location",), location="string"), {"location": "Paris"}),
        ("What time is it in Tokyo?", tool("clock", city="string"), {"city": "Tokyo"}),
        ("What time is it?", tool("current_time"), {}),
        ("What is 12 plus 3?", tool("calculate", ("expression",), expression="string"), {"expression": "12 + 3"}),
        (
            "what is two times four",
            tool("add_or_so", ("a", "b"), "arithmetic", a="number", b="number"),
            {"a": 2, "b": 4},
        ),
        ("Set a timer for ten minutes.", tool("set_timer", ("minutes",), minutes="number"), {"minutes": 10}),
        (
            "turn off the light in the living room",
            tool("switch_light", ("room", "state"), room="string", state="string"),
            {"room": "living room", "state": "off"},
        ),
    ],
)
def test_a_sentence_finds_its_function(text: str, tool_: Any, arguments: dict[str, Any]) -> None:
    import json

    [call] = ask(text, tool("unrelated", ("id",), "opens a door", id="string"), tool_).tool_calls
    assert (call.name, json.loads(call.arguments)) == (tool_["name"], arguments)


def test_a_function_that_needs_more_than_was_said_is_not_called() -> None:
    assert not ask(
        "what is the weather in paris", tool("weather", ("city", "day"), city="string", day="string")
    ).tool_calls


def test_tool_choice() -> None:
    assert not ask("what is the weather in paris", WEATHER, tool_choice="none").tool_calls
    other = tool("other")
    [call] = ask("hello", other, tool_choice="required").tool_calls
    assert call.name == "other"
    [call] = ask("weather in paris", other, WEATHER, tool_choice={"type": "function", "name": "weather"}).tool_calls
    assert call == ToolCall("weather", {"city": "Paris"})


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Sunny in Paris", "Sunny in Paris"),
        ('"Sunny in Paris"', "Sunny in Paris"),
        ('{"sky": "blue"}', '{"sky": "blue"}'),
    ],
)
def test_results_are_spoken(output: str, said: str) -> None:
    assert ask("", WEATHER, tool_results=[ToolResult("weather", "{}", output)]).text == said


@pytest.mark.parametrize("text", ["What are you?", "who are you", "Are you an AI?", "are you a real human"])
def test_it_says_what_it_is(text: str) -> None:
    assert ask(text).text == IDENTITY == "I am the kernl_rt simulator, not an AI model."


def test_it_admits_what_it_does_not_understand() -> None:
    assert "only understand a few sentences" in ask("Discuss the aims of the French revolution").text
    assert "(speech)" in ask("(speech)").text


def test_plain_answers() -> None:
    assert ask("What is seven minus 9?").text == "7 minus 9 is -2."
    assert ask("say exactly: Blue Moon").text == "Blue Moon"
    assert "no weather service" in ask("what is the weather in paris").text
    assert IDENTITY in ask("").text


def test_every_sentence_of_the_grammar_is_understood() -> None:
    import itertools
    import re

    for sentence in SENTENCES:
        names = re.findall(r"<(\w+)>", sentence)
        for values in itertools.product(*(SLOTS[name] for name in names)):
            filled = sentence
            for name, value in zip(names, values, strict=True):
                filled = filled.replace(f"<{name}>", value, 1)
            said = ask(filled)
            assert "only understand a few" not in said.text, filled
            assert said.text, filled


def test_the_banner_is_honest() -> None:
    assert f"a simulator: a grammar of {len(SENTENCES)} sentences and a robotic voice, not an AI model" == BANNER
    assert jsgf().startswith("#JSGF V1.0;")
    assert normalised("What's 2+3, then?") == "what is 2 plus 3 then"


async def test_scripted_brain() -> None:
    brain = ScriptedBrain(["one", Reply("two"), ValueError("three")])
    assert (await brain.reply(Turn("a"))).text == "one"
    assert (await brain.reply(Turn("b"))).text == "two"
    with pytest.raises(ValueError, match="three"):
        await brain.reply(Turn("c"))
    assert (await brain.reply(Turn("d"))).text == "The script has ended."
    assert [turn.user_text for turn in brain.turns] == ["a", "b", "c", "d"]
