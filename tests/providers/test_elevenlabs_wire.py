"""A live session with an agent of ElevenLabs whose every frame the test writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pybase64
import pytest
from attrs import define, field

from kernl_rt import RealtimeSession, events as ev
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt._transport.serve import Request
from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import (
    AuthenticationError,
    ConfigurationRejected,
    ConnectError,
    ConnectionClosed,
    ModelNotFoundError,
)
from kernl_rt.items import Message
from kernl_rt.providers import elevenlabs
from tests.providers.elevenlabs_sessions import agent_of, seen

pytestmark = pytest.mark.anyio


@define
class Wire:
    """The service's side, frame by frame."""

    stream: MessageStream
    heard: list[dict[str, Any]] = field(factory=list)

    async def say(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            await self.stream.send(json.dumps(frame))

    async def hear(self, name: str) -> dict[str, Any]:
        """The next frame of this type."""
        while True:
            for frame in [json.loads(message) for message in await self.stream.receive()]:
                self.heard.append(frame)
            found = [frame for frame in self.heard if frame.get("type", "audio") == name]
            if found:
                self.heard.remove(found[0])
                return found[0]


def metadata(format: str = "pcm_16000") -> dict[str, Any]:
    said = {"conversation_id": "conv_x", "agent_output_audio_format": format, "user_input_audio_format": format}
    return {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": said}


def audio(number: int, ms: int = 100, **more: Any) -> dict[str, Any]:
    sound = pybase64.b64encode_as_string(b"\1\0" * (16 * ms))
    return {"type": "audio", "audio_event": {"audio_base_64": sound, "event_id": number, **more}}


def words(text: str, number: int) -> dict[str, Any]:
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": number}}


def ping(number: int) -> dict[str, Any]:
    return {"type": "ping", "ping_event": {"event_id": number}}


def wired(script: Callable[[Wire], Any]) -> MemoryTransport:
    async def serve(stream: MessageStream, request: Request) -> None:
        await script(Wire(stream))

    return MemoryTransport(serve)


def wired_session(script: Callable[[Wire], Any], *tools: Any, **options: Any) -> RealtimeSession[Any]:
    model = elevenlabs.agent("agent_1", public=True, base_url="ws://wire")
    return RealtimeSession(agent_of(model, *tools), transport=wired(script), **{"reconnect": None, **options})


async def test_an_agent_that_marks_no_ends() -> None:
    """With its default client events an agent sends neither ``agent_response_complete`` nor ``is_final``: pings end a
    turn, and a message is answered all the same.
    """

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        await wire.say(metadata(), audio(1), words("Good day.", 1), audio(1), ping(1))
        message = await wire.hear("user_message")
        await wire.say(audio(2), words(f"{message['text']} yourself.", 2), ping(2), ping(3), ping(4))
        await wire.hear("never")

    session = wired_session(script)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(100):
        async with session:
            while not seen(log, ev.OutputTranscript):
                await anyio.sleep(0.1)
            assert not seen(log, ev.ResponseDone)  # the greeting has no end yet
            assert (await session.ask("hello")).text == "hello yourself."
    assert [item.text for item in session.history if isinstance(item, Message)] == [
        "Good day.",
        "hello",
        "hello yourself.",
    ]


async def test_sound_of_an_interrupted_turn_is_dropped() -> None:
    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        await wire.say(metadata(), audio(3), words("A story.", 3))
        await wire.say({"type": "interruption", "interruption_event": {"event_id": 3}}, audio(3), audio(2))
        await wire.say(audio(4), words("Yes?", 4), {"type": "agent_response_complete"})
        await wire.hear("never")

    session = wired_session(script)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(100):
        async with session:
            while len(seen(log, ev.ResponseDone)) < 2:
                await anyio.sleep(0.1)
    assert len(seen(log, ev.AudioDelta)) == 2
    assert [event.response.status for event in seen(log, ev.ResponseDone)] == ["cancelled", "completed"]


async def test_what_was_said_is_told_although_the_service_says_nothing() -> None:
    """It acknowledges nothing, and here it does not even ping."""

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        await wire.say(metadata())
        await wire.hear("never")

    async with wired_session(script, dead_air=None) as session:
        await anyio.sleep(1)
        with anyio.fail_after(1):
            await session.send_message("page five", reply=False).settled()
            await session.send_message("hello").settled()
        await anyio.sleep(3_600)  # the agent thinks for as long as it likes
        assert session.status == "connected"


async def test_a_pong_is_sent_while_the_sender_waits() -> None:
    answered: list[int] = []

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        await wire.say(metadata())
        for number in range(3):
            await wire.say(ping(number))
            answered.append((await wire.hear("pong"))["event_id"])
        await wire.stream.aclose(1000)

    with anyio.fail_after(100):
        async with wired_session(script) as session:
            await session.wait_closed()
    assert answered == [0, 1, 2]


@pytest.mark.parametrize(
    ("code", "reason", "error", "said"),
    [
        (1008, "Override for field 'voice_id' is not allowed by config.", ConfigurationRejected, "security settings"),
        (
            1008,
            "Missing required dynamic variables in first message: {'name'}",
            ConfigurationRejected,
            "dynamic_variables=",
        ),
        (3000, "The agent requires authentication: a signed URL.", AuthenticationError, "api_key="),
        (3000, "The AI agent you are trying to reach does not exist.", ModelNotFoundError, "agent's id"),
        (1011, "", ConnectError, "internal error"),
        (1006, "", ConnectError, "1006"),
    ],
)
async def test_it_hangs_up_before_there_is_a_conversation(
    code: int, reason: str, error: type[Exception], said: str
) -> None:
    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        if code == 1006:
            wire.stream.abort()  # type: ignore[attr-defined]
        await wire.stream.aclose(code, reason)

    with anyio.fail_after(100), pytest.raises(error) as caught:
        async with wired_session(script):
            pytest.fail("it opened")
    assert said in str(caught.value)


async def test_it_says_why_and_hangs_up() -> None:
    """An error frame comes before the close: it is the better witness."""

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        failure = {"code": 1008, "error_type": "override_error", "message": "first_message cannot be overridden"}
        await wire.say({"type": "error", "error_event": failure})
        await wire.stream.aclose(1008, "override")

    with (
        anyio.fail_after(100),
        pytest.raises(ConfigurationRejected, match="first_message cannot be overridden") as caught,
    ):
        async with wired_session(script):
            pytest.fail("it opened")
    assert caught.value.code == "override_error"


async def test_an_override_is_refused_after_the_conversation_was_opened() -> None:
    """As seen with a language that is not there: the metadata comes, then the close."""

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        await wire.say(metadata())
        await wire.stream.aclose(1008, "Override for field 'language' is not allowed by config.")

    model = elevenlabs.agent("agent_1", public=True, base_url="ws://wire", language="et")
    session: RealtimeSession[Any] = RealtimeSession(agent_of(model), transport=wired(script))
    with anyio.fail_after(100), pytest.raises(ConnectionClosed, match=r"allow the override \(here: agent.language\)"):
        async with session:
            await session.wait_closed()


async def test_a_tool_that_is_not_here() -> None:
    results: list[dict[str, Any]] = []

    async def script(wire: Wire) -> None:
        await wire.hear("conversation_initiation_client_data")
        call = {"tool_name": "dance", "tool_call_id": "c1", "parameters": {"how": "fast"}, "event_id": 1}
        await wire.say(metadata(), {"type": "client_tool_call", "client_tool_call": call})
        results.append(await wire.hear("client_tool_result"))
        await wire.stream.aclose(1000)

    errors: list[ev.SessionError] = []
    session = wired_session(script)
    session.on("error", errors.append)
    with anyio.fail_after(100):
        async with session:
            await session.wait_closed()
    assert results == [
        {"type": "client_tool_result", "tool_call_id": "c1", "result": "Tool dance not found", "is_error": True}
    ]
    assert [error.code for error in errors] == ["unknown_tool"]
