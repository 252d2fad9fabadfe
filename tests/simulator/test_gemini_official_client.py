"""The simulator's Gemini protocol, judged by Google's own client: over TLS, with a certificate of our own.

It runs under asyncio, in real time.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt._transport.serve import serve_websocket
from kernl_rt.simulator import Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.simulator.driver import silence, tone

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("real_clock"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

genai = pytest.importorskip("google.genai")
trustme = pytest.importorskip("trustme")
types = genai.types

WEATHER = {
    "function_declarations": [
        {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
        }
    ]
}
CONFIG: dict[str, Any] = {
    "response_modalities": ["AUDIO"],
    "system_instruction": "Be brief.",
    "input_audio_transcription": {},
    "output_audio_transcription": {},
    "session_resumption": {},
    "tools": [WEATHER],
}


@pytest.fixture
def backend() -> str:
    return "asyncio"


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncIterator[Any]:
    """Google's client, connected to the simulator."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def serve(*, task_status: Any) -> None:
        await serve_websocket(
            simulator.handle, ssl_context=server, process_request=simulator.admit, task_status=task_status
        )

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(serve)
            options = types.HttpOptions(base_url=f"https://localhost:{port}", async_client_args={"ssl": trusting})
            yield genai.Client(api_key="right", http_options=options)
            tasks.cancel_scope.cancel()


def at_16_khz(seconds: float) -> bytes:
    """Every third sample pair of 24 kHz left out."""
    sound = tone(seconds)
    return b"".join(sound[at : at + 4] for at in range(0, len(sound) - 5, 6))


async def until_end(session: Any) -> list[Any]:
    return [message async for message in session.receive()]


def sound_of(messages: list[Any]) -> bytes:
    return b"".join(message.data or b"" for message in messages)


def words_of(messages: list[Any]) -> str:
    contents = [message.server_content for message in messages if message.server_content]
    return "".join(c.output_transcription.text or "" for c in contents if c.output_transcription)


async def test_a_conversation() -> None:
    simulator = Simulator(ScriptedBrain(["Hello there.", "And again."]), api_key="right", speed=50.0, protocol="gemini")
    async with served(simulator) as client, client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        for words in ("Hello there.", "And again."):
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Hello")]))
            messages = await until_end(session)
            assert words_of(messages) == words
            assert len(sound_of(messages)) > 4_800
            assert messages[-1].server_content.turn_complete
            assert messages[-1].usage_metadata.total_token_count > 0
            assert any(m.server_content and m.server_content.generation_complete for m in messages)


async def test_a_tool() -> None:
    brain = ScriptedBrain([Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "Sunny."])
    simulator = Simulator(brain, speed=50.0, protocol="gemini")
    async with served(simulator) as client, client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Weather?")]))
        messages = []
        async for message in session.receive():
            messages.append(message)
            if message.tool_call is not None:
                (call,) = message.tool_call.function_calls
                assert (call.name, call.args) == ("weather", {"city": "Paris"})
                response = types.FunctionResponse(id=call.id, name=call.name, response={"output": "21 degrees"})
                await session.send_tool_response(function_responses=response)
        assert words_of(messages) == "Sunny."


async def test_speech_is_heard_and_interrupts() -> None:
    brain = ScriptedBrain([Reply("A long story.", audio=bytes(480_000)), "Yes?"])
    simulator = Simulator(brain, ears=ScriptedEars(["stop"]), speed=4.0, protocol="gemini")
    async with served(simulator) as client, client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="A story")]))
        messages = []
        spoken = False
        async for message in session.receive():
            messages.append(message)
            if message.data and not spoken:
                spoken = True
                blob = types.Blob(data=at_16_khz(0.6) + silence(0.8), mime_type="audio/pcm;rate=16000")
                await session.send_realtime_input(audio=blob)
        assert any(m.server_content and m.server_content.interrupted for m in messages)
        assert len(sound_of(messages)) < 480_000
        messages = await until_end(session)
        heard = [m.server_content.input_transcription for m in messages if m.server_content]
        assert "".join(each.text for each in heard if each) == "stop"
        assert words_of(messages) == "Yes?"


async def test_manual_turns_updates_and_realtime_text() -> None:
    simulator = Simulator(ScriptedBrain(["One.", "Two."]), ears=ScriptedEars(["hello"]), speed=50.0, protocol="gemini")
    config = {**CONFIG, "realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
    async with served(simulator) as client, client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
        await session.send_context_update(system_instruction="Be terse.", tools=[])
        await session.send_realtime_input(activity_start=types.ActivityStart())
        await session.send_realtime_input(audio=types.Blob(data=at_16_khz(0.5), mime_type="audio/pcm;rate=16000"))
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        assert words_of(await until_end(session)) == "One."
        await session.send_realtime_input(text="And?")
        assert words_of(await until_end(session)) == "Two."


async def test_a_session_is_resumed() -> None:
    simulator = Simulator(ScriptedBrain(["One.", "Two."]), speed=50.0, protocol="gemini")
    async with served(simulator) as client:
        async with client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Hello")]))
            await until_end(session)
            update = (await session._receive()).session_resumption_update
            assert update.resumable
        config = {**CONFIG, "session_resumption": {"handle": update.new_handle}}
        async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="More")]))
            assert words_of(await until_end(session)) == "Two."


async def test_what_it_does_not_forgive_ends_the_link() -> None:
    simulator = Simulator(speed=50.0, protocol="gemini")
    async with served(simulator) as client:
        with pytest.raises(genai.errors.APIError, match="not found"):
            config = {**CONFIG, "session_resumption": {"handle": "unknown"}}
            async with client.aio.live.connect(model="gemini-3.8-live", config=config):
                pass
        async with client.aio.live.connect(model="gemini-3.8-live", config=CONFIG) as session:
            await session.send_realtime_input(activity_start=types.ActivityStart())
            with pytest.raises(genai.errors.APIError, match="Explicit activity control"):
                await until_end(session)
