"""Recorded traffic of the real services, replayed by a server, drives a session to what was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.events import InputTranscript, OutputTranscript, RawServerEvent, SessionError, TextDone, ToolFinished
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.items import Message
from kernl_rt.providers import openai
from tests.conftest import recordings
from tests.integration.replay import Replay

pytestmark = pytest.mark.anyio

PATHS = [*recordings("openai"), *recordings("azure")]
needs_recordings = pytest.mark.skipif(not PATHS, reason="../shared/recordings is absent")


async def drive(replay: Replay) -> tuple[RealtimeSession[Any], list[Any]]:
    """Say what the recorded client said, in our own way, and log what comes of it."""
    outputs = [
        frame["item"]["output"]
        for frame in replay.said("conversation.item.create")
        if frame["item"]["type"] == "function_call_output"
    ]

    @tool
    async def get_weather(city: str) -> str:
        """Look up the weather for a city."""
        return str(outputs[0])

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="recorded",
        name="Recorded",
        instructions="Be brief.",
        model=openai.realtime("gpt-realtime", api_key="test"),
        toolkits=[Toolkit(id="weather", tools=[get_weather])] if outputs else [],
        config=SessionConfig(),
    )
    log: list[Any] = []
    session = RealtimeSession(agent, transport=MemoryTransport(replay.serve))
    session.on("event", log.append)
    async with session:
        for frame in replay.said("input_audio_buffer.append"):
            session.send_audio(frame["audio"])
        for frame in replay.said("conversation.item.create"):
            item = frame["item"]
            if item["type"] == "message":
                last = (
                    frame is [f for f in replay.said("conversation.item.create") if f["item"]["type"] == "message"][-1]
                )
                texts = "".join(part.get("text", "") for part in item["content"])
                session.send_message(texts, reply=last)
        with anyio.fail_after(60):
            while not replay.finished:
                await anyio.sleep(0.01)
        await anyio.sleep(0.1)
    return session, log


@needs_recordings
@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_recording_drives_a_session(path: Path) -> None:
    replay = Replay(path)
    session, log = await drive(replay)
    assert not [event for event in log if isinstance(event, (RawServerEvent, SessionError))]

    spoken = [frame["transcript"] for frame in replay.received("response.output_audio_transcript.done")]
    assert [event.text for event in log if isinstance(event, OutputTranscript)] == spoken
    written = [frame["text"] for frame in replay.received("response.output_text.done")]
    assert [event.text for event in log if isinstance(event, TextDone)] == written
    heard = [f["transcript"] for f in replay.received("conversation.item.input_audio_transcription.completed")]
    assert [event.text for event in log if isinstance(event, InputTranscript)] == heard

    calls = [(f["call_id"], f["name"]) for f in replay.received("response.function_call_arguments.done")]
    assert [(event.call_id, event.name) for event in log if isinstance(event, ToolFinished)] == calls
    total = sum(f["response"]["usage"]["total_tokens"] for f in replay.received("response.done"))
    assert session.usage.total_tokens == total
    last_words = (spoken or written)[-1]
    assert [item for item in session.history if isinstance(item, Message)][-1].text == last_words


@needs_recordings
@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_the_session_asks_for_as_many_replies_as_the_recorded_client(path: Path) -> None:
    replay = Replay(path)
    await drive(replay)
    sent = [frame["type"] for frame in replay.sent]
    assert sent.count("response.create") == len(replay.said("response.create"))


async def test_a_provider_that_dies_in_the_middle_of_a_sentence() -> None:
    async def die(stream: Any, request: Any) -> None:
        await stream.receive()
        info = {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "gpt-realtime"}
        await stream.send(json.dumps({"type": "session.created", "event_id": "e1", "session": info}))
        await stream.send(json.dumps({"type": "session.updated", "event_id": "e2", "session": info}))
        await stream.send('{"type":"response.output_audio.delta","event_id":"e3","respon')
        await stream.send("\x00garbage")
        await stream.send('{"type":"brand.new","event_id":"e4"}')
        await stream.aclose(1011, "sorry")

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a", name="A", instructions="-", model=openai.realtime("gpt-realtime", api_key="test")
    )
    log: list[Any] = []
    session = RealtimeSession(agent, transport=MemoryTransport(die), reconnect=None)
    session.on("event", log.append)
    with pytest.raises(ConnectionClosed, match="sorry"):
        async with session:
            await anyio.sleep(60)
    assert len([event for event in log if isinstance(event, SessionError)]) == 2
    assert [event.type for event in log if isinstance(event, RawServerEvent)] == ["brand.new"]
