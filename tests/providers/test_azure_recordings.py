"""Recorded traffic of Azure OpenAI: nothing in it is lost, and replayed it drives a session of Azure's own adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.events import (
    AudioDelta,
    InputTranscript,
    OutputTranscript,
    RawServerEvent,
    SessionError,
    TextDone,
    ToolFinished,
)
from kernl_rt.items import Message
from kernl_rt.providers import azure
from tests.conftest import recordings
from tests.integration.replay import Replay

pytestmark = pytest.mark.anyio

PATHS = list(recordings("azure"))
needs_recordings = pytest.mark.skipif(not PATHS, reason="../shared/recordings is absent")
each_recording = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@needs_recordings
@each_recording
def test_every_frame_decodes_and_nothing_is_lost(path: Path) -> None:
    codec = azure.AzureCodec()
    for entry in Replay(path).frames:
        frame = entry["data"]
        if entry["direction"] == "received":
            (event,) = codec.decode(json.dumps(frame))
            assert not isinstance(event, (RawServerEvent, SessionError)) or frame["type"] == "error"
            assert codec.encode_server(event) == frame
        else:
            assert json.loads(codec.encode(codec.decode_client(json.dumps(frame)))) == frame


@needs_recordings
@each_recording
async def test_a_recording_drives_a_session(path: Path) -> None:
    replay = Replay(path)
    items = [frame["item"] for frame in replay.said("conversation.item.create")]
    outputs = [item["output"] for item in items if item["type"] == "function_call_output"]
    calls = [(frame["call_id"], frame["name"]) for frame in replay.received("response.function_call_arguments.done")]

    @tool
    async def get_weather(city: str) -> str:
        """Look up the weather for a city."""
        return str(outputs[0])

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="recorded",
        name="Recorded",
        instructions="Be brief.",
        model=azure.realtime("my-deployment", endpoint="https://my-resource.openai.azure.com", api_key="test"),
        toolkits=[Toolkit(id="weather", tools=[get_weather])] if calls else [],
    )
    log: list[Any] = []
    session = RealtimeSession(agent, transport=MemoryTransport(replay.serve))
    session.on("event", log.append)
    with anyio.fail_after(60):
        async with session:
            for item in items:
                if item["type"] == "message":
                    session.send_message(item["content"][0]["text"])
            while not replay.finished:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
    assert not [event for event in log if isinstance(event, (RawServerEvent, SessionError))]
    spoken = [frame["transcript"] for frame in replay.received("response.output_audio_transcript.done")]
    assert [event.text for event in log if isinstance(event, OutputTranscript)] == spoken
    heard = [f["transcript"] for f in replay.received("conversation.item.input_audio_transcription.completed")]
    assert [event.text for event in log if isinstance(event, InputTranscript)] == heard
    assert len([e for e in log if isinstance(e, AudioDelta)]) == len(replay.received("response.output_audio.delta"))
    assert [(event.call_id, event.name) for event in log if isinstance(event, ToolFinished)] == calls
    usage = [frame["response"]["usage"] for frame in replay.received("response.done")]
    assert session.usage.total_tokens == sum(each["total_tokens"] for each in usage)
    last = [item for item in session.history if isinstance(item, Message)][-1]
    assert last.role == "assistant"
    written = [frame["text"] for frame in replay.received("response.output_text.done")]
    assert [event.text for event in log if isinstance(event, TextDone)] == written
    assert last.text == (spoken or written)[-1]
