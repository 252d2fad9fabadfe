"""The simulated agents of ElevenLabs, message by message: what they say, and what they hang up on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pybase64
import pytest

from kernl_rt.abc import MessageStream
from kernl_rt.config import PCM16_24K
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    HandshakeError,
    MisconfiguredError,
    ModelNotFoundError,
)
from kernl_rt.simulator import Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from kernl_rt.simulator._sound import babble
from tests.simulator.driver import silence, tone

pytestmark = pytest.mark.anyio

BEGIN = {"type": "conversation_initiation_client_data"}
URL = "ws://sim/v1/convai/conversation?agent_id="


class Client:
    """One that says what it is told to, and answers pings."""

    def __init__(self, stream: MessageStream) -> None:
        self.stream = stream
        self.heard: list[dict[str, Any]] = []

    async def say(self, *frames: Any) -> None:
        for frame in frames:
            await self.stream.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def until(self, name: str) -> dict[str, Any]:
        while True:
            new = [json.loads(message) for message in await self.stream.receive()]
            self.heard += new
            for frame in new:
                if frame["type"] == "ping":
                    await self.say({"type": "pong", "event_id": frame["ping_event"]["event_id"]})
            found: list[dict[str, Any]] = [frame for frame in new if frame["type"] == name]
            if found:
                return found[-1]

    def kinds(self) -> list[str]:
        """What was heard, without pings and repetitions."""
        kinds = [frame["type"] for frame in self.heard if frame["type"] != "ping"]
        return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


@asynccontextmanager
async def calling(simulator: Simulator, agent_id: str = "agent_1", **begin: Any) -> AsyncIterator[Client]:
    with anyio.fail_after(1_000):
        async with simulator.transport().connect(URL + agent_id) as stream:
            client = Client(stream)
            if begin.pop("begin", True):
                await client.say({**BEGIN, **begin})
                await client.until("conversation_initiation_metadata")
            yield client


def make(*lines: Any, **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(lines), protocol="elevenlabs", **options)


@pytest.mark.parametrize(
    ("agent_id", "format"),
    [("agent_1", "pcm_16000"), ("agent_pcm_48000", "pcm_48000"), ("agent_ulaw_8000", "ulaw_8000")],
)
async def test_a_spoken_answer(agent_id: str, format: str) -> None:
    async with calling(make("One two three."), agent_id) as client:
        said = client.heard[0]["conversation_initiation_metadata_event"]
        assert said["agent_output_audio_format"] == said["user_input_audio_format"] == format
        await client.say({"type": "user_message", "text": "count"})
        await client.until("context_usage")
        assert client.kinds() == [
            "conversation_initiation_metadata",
            "audio",
            "agent_response",
            "agent_response_complete",
            "context_usage",
        ]
        sound = b"".join(
            pybase64.b64decode(frame["audio_event"]["audio_base_64"])
            for frame in client.heard
            if frame["type"] == "audio"
        )
        second = 8_000 if "ulaw" in format else 2 * int(format.partition("_")[2])
        spoken = len(babble("One two three.", PCM16_24K, pitch=150, speed=1.0)) / 48_000
        assert len(sound) / second == pytest.approx(spoken, rel=0.02)
        numbers = {frame[frame["type"] + "_event"]["event_id"] for frame in client.heard if frame["type"] == "audio"}
        assert numbers == {1}


async def test_a_turn_of_the_human_s_comes_before_its_answer() -> None:
    simulator = Simulator(ScriptedBrain(["Yes."]), ears=ScriptedEars(["are you there"]), protocol="elevenlabs")
    async with calling(simulator) as client:
        voice = tone(0.5, 16_000) + silence(0.8, 16_000)
        for at in range(0, len(voice), 3_200):
            await client.say({"user_audio_chunk": pybase64.b64encode_as_string(voice[at : at + 3_200])})
        await client.until("agent_response_complete")
        kinds = client.kinds()
        assert kinds[1:4] == ["tentative_user_transcript", "user_transcript", "audio"]
        words = [frame for frame in client.heard if frame["type"] == "user_transcript"]
        assert words[0]["user_transcription_event"]["user_transcript"] == "are you there"


async def test_a_call_waits_for_its_result() -> None:
    tool = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    lines = [Reply(tool_calls=[ToolCall("weather", {"city": "Oslo"})]), "Sunny."]
    async with calling(make(*lines), custom_llm_extra_body={"tools": [tool]}) as client:
        await client.say({"type": "user_message", "text": "weather"})
        call = (await client.until("client_tool_call"))["client_tool_call"]
        assert (call["tool_name"], call["parameters"], call["expects_response"]) == ("weather", {"city": "Oslo"}, True)
        with anyio.move_on_after(5):
            await client.until("agent_response")
            pytest.fail("it did not wait")
        result = {"tool_call_id": call["tool_call_id"], "result": "sun", "is_error": False}
        await client.say({"type": "client_tool_result", **result})
        said = await client.until("agent_response")
        assert said["agent_response_event"]["agent_response"] == "Sunny."


@pytest.mark.parametrize(
    "tool",
    [
        {"expects_response": False},
        {"parameters": {"type": "object", "properties": {}}},
        {"name": 1, "expects_response": False},
        {"name": "weather", "expects_response": "no"},
        "weather",
    ],
)
async def test_a_tool_without_a_name_is_refused(tool: object) -> None:
    async with calling(make(), begin=False) as client:
        await client.say({**BEGIN, "custom_llm_extra_body": {"tools": [tool]}})
        with pytest.raises(ConnectionClosed, match=r"Invalid message.*custom_llm_extra_body\.tools") as caught:
            await client.until("conversation_initiation_metadata")
        assert caught.value.code == 1008


async def test_only_the_events_that_were_asked_for() -> None:
    override = {"conversation": {"client_events": ["conversation_initiation_metadata", "agent_response"]}}
    async with calling(make("Yes."), conversation_config_override=override) as client:
        await client.say({"type": "user_message", "text": "hello"})
        await client.until("agent_response")
        with anyio.move_on_after(10):
            await client.until("ping")
            pytest.fail("it pinged")
        assert client.kinds() == ["conversation_initiation_metadata", "agent_response"]


async def test_it_hangs_up_on_a_client_that_answers_no_ping() -> None:
    async with calling(make()) as client:
        with pytest.raises(ConnectionClosed, match="No pong") as caught:
            while True:
                await client.stream.receive()
        assert caught.value.code == 1002


async def test_its_time_ends() -> None:
    async with calling(make(duration=9.0)) as client:
        with pytest.raises(ConnectionClosed, match="Max conversation duration") as caught:
            await client.until("never")
        assert caught.value.code == 1000
        assert client.heard[-1]["error_event"]["error_type"] == "max_duration_exceeded"


async def test_a_reply_that_fails_ends_the_conversation() -> None:
    async with calling(make(RuntimeError("no brain"))) as client:
        await client.say({"type": "user_message", "text": "hello"})
        with pytest.raises(ConnectionClosed) as caught:
            await client.until("never")
        assert caught.value.code == 1002
        assert client.heard[-1]["error_event"]["error_type"] == "llm_error"


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        '"text"',
        {},
        {"type": None},
        {"type": "session.update"},
        BEGIN,
        {"type": "user_message", "text": 1},
        {"type": "user_message", "words": "hello"},
        {"type": "contextual_update"},
        {"type": "pong"},
        {"type": "pong", "event_id": "1"},
        {"type": "client_tool_result", "tool_call_id": "c", "result": "x"},
        {"type": "client_tool_result", "tool_call_id": "nobody's", "result": "x", "is_error": False},
        {"type": "feedback", "event_id": 1, "score": "great"},
        {"user_audio_chunk": "not base64!"},
        {"user_audio_chunk": 1},
        {"type": "audio", "user_audio_chunk": "AAAA"},
    ],
    ids=str,
)
async def test_what_it_hangs_up_on(frame: Any) -> None:
    async with calling(make()) as client:
        await client.say(frame)
        with pytest.raises(ConnectionClosed) as caught:
            await client.until("never")
        assert caught.value.code == 1008


@pytest.mark.parametrize(
    "override",
    [
        {"agent": {"prompt": "text"}},
        {"agent": {"first_words": "hi"}},
        {"tts": {"speed": 9}},
        {"voice": {}},
        {"conversation": {"client_events": ["everything"]}},
    ],
    ids=str,
)
async def test_overrides_that_are_none(override: Any) -> None:
    async with calling(make(), begin=False) as client:
        await client.say({**BEGIN, "conversation_config_override": override})
        with pytest.raises(ConnectionClosed) as caught:
            await client.until("never")
        assert caught.value.code == 1008


async def test_the_first_message_comes_first() -> None:
    async with calling(make(), begin=False) as client:
        await client.say({"user_audio_chunk": "AAAA"})
        with pytest.raises(ConnectionClosed) as caught:
            await client.until("never")
        assert caught.value.code == 1008


async def test_who_may_come_in() -> None:
    simulator = make(api_key="signature")
    with anyio.fail_after(10):
        for path in ("agent_1", "agent_1&conversation_signature=wrong"):
            with pytest.raises(AuthenticationError):
                async with simulator.transport().connect(URL + path):
                    pytest.fail("it opened")
        async with simulator.transport().connect(URL + "agent_1&conversation_signature=signature"):
            pass
        with pytest.raises(HandshakeError):
            async with make().transport().connect(URL):
                pytest.fail("it opened")
        with pytest.raises(ModelNotFoundError):
            async with make().transport().connect("ws://sim/v1/realtime?model=m"):
                pytest.fail("it opened")


def test_there_is_such_a_protocol() -> None:
    Simulator(protocol="elevenlabs")
    with pytest.raises(MisconfiguredError, match="elevenlabs"):
        Simulator(protocol="eleven")
