"""Live changes, handoff, seeding and pictures, over the OpenAI codec, against a server that is strict about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from kernl_rt import Context, RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, handoff, tool
from kernl_rt.config import ToolDefinition, TurnDetection, Voice
from kernl_rt.events import AgentChanged, AudioDelta, ResponseDone, SessionError, ToolFinished
from kernl_rt.exceptions import CommandRejected, MisconfiguredError
from kernl_rt.history import dump_history, load_history
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.simulator import Reply, ScriptedBrain, Simulator, ToneVoice, ToolCall

pytestmark = pytest.mark.anyio


def server(*lines: str | Reply | Exception) -> tuple[Simulator, ScriptedBrain]:
    brain = ScriptedBrain(lines)
    return Simulator(brain, voice=ToneVoice(), speed=100), brain


def agent(simulator: Simulator, name: str = "a", *tools: Any, **options: Any) -> RealtimeAgent[Any]:
    told: dict[str, Any] = {"instructions": f"You are {name}.", **options}
    return RealtimeAgent(
        id=name,
        name=name.title(),
        model=simulator.realtime(),
        toolkits=[Toolkit(id=name, tools=tools)] if tools else (),
        **told,
    )


async def heard(session: RealtimeSession[Any], kind: type[Any]) -> Any:
    """The next event of a class."""
    async for event in session:
        if isinstance(event, kind):
            return event
    raise AssertionError("the session ended")


async def test_update_is_taken_and_answered() -> None:
    simulator, brain = server("One.", "Two.")
    async with RealtimeSession(agent(simulator)) as session:
        await session.ask("first")
        await session.update(instructions="Be kind.", turn_detection=TurnDetection.off()).settled()
        await session.ask("second")
        assert session.config.instructions == "Be kind."
    assert [turn.instructions for turn in brain.turns] == ["You are a.", "Be kind."]


async def test_cannot_update_voice() -> None:
    """Refused here before it is sent; and what slips through is refused there, and changes nothing here."""
    simulator, _ = server("One.", "Two.")
    async with RealtimeSession(agent(simulator, voice="marin")) as session:
        await session.ask("hello")
        with pytest.raises(MisconfiguredError, match="'marin' was heard"):
            session.update(voice="cedar")
        other = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
        command = session.send({"type": "session.update", "session": other})
        assert command.state == "acknowledged"
        error = await heard(session, SessionError)
        assert error.code == "cannot_update_voice"
        session._driver.machine.state.changes.spoken = False  # type: ignore[union-attr]  # as if it had not been heard
        with pytest.raises(CommandRejected, match="voice") as caught:
            await session.update(voice="cedar", instructions="New.").settled()
        assert caught.value.code == "cannot_update_voice"
        assert session.config.voice == Voice("marin")
        assert session.config.instructions == "You are a."
        await session.update(instructions="Still alive.").settled()


@tool
async def lookup() -> str:
    """Look it up."""
    return "42"


async def test_handoff_with_the_voice_heard() -> None:
    simulator, brain = server(
        Reply("One moment.", tool_calls=[ToolCall("transfer_to_b")]),
        Reply(tool_calls=[ToolCall("lookup")]),
        "B says 42.",
    )
    b = agent(simulator, "b", lookup, voice="cedar")
    changes: list[AgentChanged] = []
    errors: list[SessionError] = []
    async with RealtimeSession(agent(simulator, "a", handoff(b), voice="marin")) as session:
        session.on("agent", changes.append).on("error", errors.append)
        reply = await session.ask("B, please")
        assert reply.text == "B says 42."
        assert session.agent is b
        assert session.config.voice == Voice("marin")
        kinds = [type(item) for item in session.history]
    assert (changes, errors) == ([AgentChanged("a", "b", handoff=True)], [])
    assert [turn.instructions for turn in brain.turns] == ["You are a.", "You are b.", "You are b."]
    assert [tool["name"] for tool in brain.turns[1].tools] == ["lookup"]
    assert brain.turns[1].tool_results[0].name == "transfer_to_b"
    pair = [FunctionCall, FunctionCallOutput]
    assert [kind for kind in kinds if kind is not Message] == [*pair, *pair]


async def test_handoff_to_an_agent_that_the_model_refuses() -> None:
    simulator, brain = server(Reply(tool_calls=[ToolCall("transfer_to_b")]), "I am still here.")
    twice = SessionConfig(tools=[ToolDefinition("twin"), ToolDefinition("twin")])
    b = agent(simulator, "b", config=twice)
    errors: list[SessionError] = []
    finished: list[ToolFinished] = []
    async with RealtimeSession(agent(simulator, "a", handoff(b))) as session:
        session.on("error", errors.append).on("tool.finished", finished.append)
        reply = await session.ask("B, please")
        assert reply.text == "I am still here."
        assert session.agent.id == "a"
    assert [error.code for error in errors] == ["handoff_failed"]
    assert "two tools have this name" in finished[0].output
    assert [turn.instructions for turn in brain.turns] == ["You are a."] * 2


async def conversation(lines: Sequence[str | Reply]) -> str:
    """A call with words, a tool, and an interruption; what is kept of it."""
    simulator, _ = server(*lines)
    async with RealtimeSession(agent(simulator, "a", lookup)) as session:
        await session.ask("my name is Ann")
        await anyio.sleep(10)  # the answer is heard to its end
        session.send_message("tell me a story")
        await heard(session, AudioDelta)
        await anyio.sleep(2)
        session.interrupt()
        await anyio.sleep(5)
        return dump_history(session.history)


async def test_a_conversation_goes_on_in_another_session() -> None:
    kept = await conversation(
        [Reply(tool_calls=[ToolCall("lookup")]), "Hello Ann.", "Once upon a time there was a king. " * 20]
    )
    items = load_history(kept)
    story = items[-1]
    assert isinstance(story, Message)
    assert 0 < len(story.text) < 500, "cut at what was heard"
    assert story.status == "incomplete"
    simulator, brain = server("You are Ann.")
    errors: list[SessionError] = []
    session = RealtimeSession(agent(simulator), history=items)
    session.on("error", errors.append)
    async with session:
        assert len(session.history) == len(items)
        reply = await session.ask("what is my name")
        assert reply.text == "You are Ann."
        assert session._driver.machine.state.seeding.waiting == 0  # type: ignore[union-attr]
        again = session.history[: len(items)]
        assert [item.id for item in again] == [item.id for item in items]
    assert errors == [], "the server took every item"
    [turn] = brain.turns
    assert [each["type"] for each in turn.items] == [*(item.type for item in items), "message"]
    words = [each["content"][0].get("text") for each in turn.items if each["type"] == "message"]
    assert words == ["my name is Ann", "Hello Ann.", "tell me a story", story.text, "what is my name"]


async def test_a_history_with_every_oddity_is_taken() -> None:
    """The server refuses dangling outputs, the model's own sound and unknown fields: none of it reaches it."""
    odd = [
        FunctionCallOutput("nobody", "dangling", id="o0"),
        FunctionCall("lookup", "{}", "c" * 50, id="f1", status="in_progress", extra={"object": "realtime.item"}),
        Message("assistant", [ContentPart("output_audio", transcript="Hi", audio=b"\1\0")], id="x" * 60),
        Message("assistant", [ContentPart("output_audio")], id="a2"),
        Message("system", [ContentPart("input_text", text="Be quick.")]),
        Message("user", [ContentPart("input_audio", transcript=None, audio=b"\1\0" * 4_800)], id="u1"),
    ]
    simulator, brain = server("Fine.")
    errors: list[SessionError] = []
    session = RealtimeSession(agent(simulator), history=odd)
    session.on("error", errors.append)
    async with session:
        await session.ask("go on")
        assert errors == []
        assert session._driver.machine.state.seeding.waiting == 0  # type: ignore[union-attr]
    assert len(brain.turns[0].items) == 6


async def test_an_image_is_taken() -> None:
    simulator, brain = server("A picture.")
    async with RealtimeSession(agent(simulator)) as session:
        await session.send_image(b"\x89PNG\r\n\x1a\n", text="What is it?", detail="low").settled()
        done = await heard(session, ResponseDone)
        assert done.response.text == "A picture."
    parts = brain.turns[0].items[0]["content"]
    assert [part["type"] for part in parts] == ["input_text", "input_image"]
    assert parts[1]["image_url"].startswith("data:image/png;base64,")


async def test_a_raw_event_is_answered() -> None:
    simulator, _ = server()
    async with RealtimeSession(agent(simulator)) as session:
        session.send({"type": "brand.new"})
        error = await heard(session, SessionError)
        assert "brand.new" in error.message


async def test_a_tool_of_the_users_own_decides_to_whom() -> None:
    simulator, _ = server(Reply(tool_calls=[ToolCall("route", {"topic": "billing"})]), "Billing here.")
    billing = agent(simulator, "billing")

    @tool
    async def route(context: Context[Any], topic: str) -> str:
        """Route the caller."""
        return f"Now with {(await context.session.handoff(billing)).name}, about {topic}"

    async with RealtimeSession(agent(simulator, "a", route)) as session:
        reply = await session.ask("my bill")
        assert reply.text == "Billing here."
        assert session.agent is billing
