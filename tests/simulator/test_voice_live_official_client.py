"""The simulator's Voice Live protocol, judged by Microsoft's own client: asyncio, aiohttp, in real time."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt.simulator import Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.simulator.driver import silence, tone

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("real_clock"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

voicelive = pytest.importorskip("azure.ai.voicelive.aio", reason="azure-ai-voicelive is not installed")
models = pytest.importorskip("azure.ai.voicelive.models", reason="azure-ai-voicelive is not installed")
credentials = pytest.importorskip("azure.core.credentials", reason="azure-core is not installed")


@pytest.fixture
def backend() -> str:
    return "asyncio"


@asynccontextmanager
async def connected(simulator: Simulator, **how: Any) -> AsyncIterator[Any]:
    how = {"model": "gpt-realtime", **how}
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            key = credentials.AzureKeyCredential("right")
            async with voicelive.connect(endpoint=url.replace("ws:", "http:"), credential=key, **how) as connection:
                yield connection


async def _until(connection: Any, name: str) -> list[Any]:
    """Events until one of this type; all of types that the client knows, and no error."""
    events: list[Any] = []
    while not events or events[-1].type != name:
        event = await connection.recv()
        assert type(event) is not models.ServerEvent, f"the client does not know {event}"
        assert event.type != "error", event
        events.append(event)
    return events


def _is_typed(value: Any, where: str = "$") -> None:
    """Every object within is of a class that declares each of its keys."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            _is_typed(each, f"{where}[{index}]")
    fields = getattr(type(value), "_attr_to_rest_field", None)
    if not fields:
        return
    known = {field._rest_name for field in fields.values()}
    assert set(value.keys()) <= known, f"{where} holds {set(value.keys()) - known}"
    for attribute in fields:
        _is_typed(getattr(value, attribute), f"{where}.{attribute}")


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_a_conversation_with_a_tool() -> None:
    brain = ScriptedBrain([Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "Sunny in Paris."])
    simulator = Simulator(brain, api_key="right", speed=50.0, protocol="voice-live")
    async with connected(simulator) as connection:
        created = await connection.recv()
        assert (created.type, created.session.model) == ("session.created", "gpt-realtime")
        session = models.RequestSession(
            modalities=["text", "audio"],
            instructions="Be brief.",
            voice=models.AzureStandardVoice(name="en-US-AvaNeural", rate="1.1"),
            input_audio_format="pcm16",
            input_audio_sampling_rate=16_000,
            output_audio_format="pcm16_16000hz",
            turn_detection=models.AzureSemanticVad(threshold=0.4, remove_filler_words=True, languages=["en"]),
            input_audio_echo_cancellation=models.AudioEchoCancellation(),
            input_audio_noise_reduction=models.AudioNoiseReduction(type="azure_deep_noise_suppression"),
            input_audio_transcription=models.AudioInputTranscriptionOptions(model="azure-speech"),
            tools=[models.FunctionTool(WEATHER)],
        )
        await connection.session.update(session=session)
        updated = await connection.recv()
        assert updated.type == "session.updated"
        assert isinstance(updated.session.turn_detection, models.AzureSemanticVad)
        assert updated.session.turn_detection.threshold == 0.4
        assert updated.session.voice["name"] == "en-US-AvaNeural"
        await connection.conversation.item.create(
            item=models.UserMessageItem(content=[models.InputTextContentPart(text="And in Paris?")])
        )
        await connection.response.create()
        events = await _until(connection, "response.done")
        call = next(event for event in events if event.type == "response.function_call_arguments.done")
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})
        await connection.conversation.item.create(
            item=models.FunctionCallOutputItem(call_id=call.call_id, output="Sunny")
        )
        await connection.response.create()
        events += await _until(connection, "response.done")
        for event in [created, updated, *events]:
            _is_typed(event, event.type)
        assert events[-1].response.output[0].content[0].transcript == "Sunny in Paris."
        assert events[-1].response.usage.total_tokens > 0
        sound = b"".join(event.delta for event in events if event.type == "response.audio.delta")
        assert sound
        assert "conversation.item.done" not in {str(event.type) for event in events}


async def test_it_is_interrupted_at_16_khz() -> None:
    brain = ScriptedBrain([Reply("A long story.", audio=bytes(480_000)), "Yes?"])
    simulator = Simulator(brain, ears=ScriptedEars(["stop"]), api_key="right", speed=4.0, protocol="voice-live")
    async with connected(simulator) as connection:
        await connection.recv()
        session = models.RequestSession(
            input_audio_sampling_rate=16_000,
            turn_detection=models.ServerVad(silence_duration_ms=200),
            input_audio_transcription=models.AudioInputTranscriptionOptions(model="whisper-1"),
        )
        await connection.session.update(session=session)
        await connection.response.create()
        first = (await _until(connection, "response.audio.delta"))[-1]
        loud = tone(0.9) + silence(0.8)
        at_16_khz = b"".join(loud[at : at + 4] for at in range(0, len(loud) - 5, 6))
        await connection.input_audio_buffer.append(audio=base64.b64encode(at_16_khz).decode())
        events = await _until(connection, "response.done")
        assert events[-1].response.status_details.reason == "turn_detected"
        started = next(event for event in events if event.type == "input_audio_buffer.speech_started")
        assert started.audio_start_ms < 100
        await connection.conversation.item.truncate(item_id=first.item_id, content_index=0, audio_end_ms=50)
        events = await _until(connection, "conversation.item.truncated")
        assert events[-1].audio_end_ms == 50


async def test_an_agent_has_its_own_instructions() -> None:
    simulator = Simulator(api_key="right", protocol="voice-live")
    async with connected(simulator, model=None, agent_name="watson", project_name="home") as connection:
        created = await connection.recv()
        assert (created.session.agent.name, created.session.agent.type) == ("watson", "agent")
        await connection.session.update(session=models.RequestSession(instructions="Mine."))
        refused = await connection.recv()
        assert (refused.type, refused.error.param) == ("error", "session.instructions")


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {}}, "session.audio"),
        ({"type": "realtime"}, "session.type"),
        ({"turn_detection": {"type": "semantic_vad"}}, "session.turn_detection.type"),
        ({"modalities": ["audio"]}, "session.modalities"),
        ({"input_audio_sampling_rate": 11_025}, "session.input_audio_sampling_rate"),
        ({"input_audio_transcription": {}}, "session.input_audio_transcription.model"),
        ({"voice": {"type": "azure-custom", "name": "x"}}, "session.voice.endpoint_id"),
    ],
)
async def test_what_is_refused(session: dict[str, Any], param: str) -> None:
    async with connected(Simulator(api_key="right", protocol="voice-live")) as connection:
        await connection.recv()
        await connection.send({"type": "session.update", "event_id": "mine", "session": session})
        refused = await connection.recv()
        assert (refused.type, refused.error.param, refused.error.event_id) == ("error", param, "mine")


async def test_a_wrong_key_is_refused() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    simulator = Simulator(api_key="other", protocol="voice-live")
    with pytest.raises((voicelive.ConnectionError, aiohttp.ClientError), match="401"):
        async with connected(simulator):
            pass
