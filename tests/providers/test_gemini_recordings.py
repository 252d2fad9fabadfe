"""Recorded traffic of the real service: every frame decodes, nothing is lost, and it drives a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pybase64
import pytest
import yaml

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream
from kernl_rt.items import Message
from kernl_rt.providers import gemini
from kernl_rt.providers.gemini import GeminiCodec
from tests.conftest import recordings

pytestmark = pytest.mark.anyio

PATHS = list(recordings("gemini"))
needs_recordings = pytest.mark.skipif(not PATHS, reason="../shared/recordings is absent")
each_recording = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
MODEL = "gemini-2.5-flash-native-audio-preview-09-2025"


class Recording:
    def __init__(self, path: Path) -> None:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.frames = [each for each in document["interactions"] if each.get("kind", "message") == "message"]
        self.heard: list[dict[str, Any]] = []
        self.finished = False

    @property
    def received(self) -> list[dict[str, Any]]:
        return [frame["data"] for frame in self.frames if frame["direction"] == "received"]

    def sent(self, *names: str) -> list[dict[str, Any]]:
        frames = [frame["data"] for frame in self.frames if frame["direction"] == "sent"]
        return [frame[name] for frame in frames for name in names if name in frame]

    def words(self, name: str) -> str:
        contents = [frame.get("serverContent", {}) for frame in self.received]
        return "".join(content[name].get("text", "") for content in contents if name in content)

    @property
    def parts(self) -> list[dict[str, Any]]:
        contents = [frame.get("serverContent", {}) for frame in self.received]
        return [part for content in contents for part in content.get("modelTurn", {}).get("parts", [])]

    @property
    def sound(self) -> bytes:
        return b"".join(pybase64.b64decode(part["inlineData"]["data"]) for part in self.parts if "inlineData" in part)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [call for frame in self.received for call in frame.get("toolCall", {}).get("functionCalls", [])]

    def tokens(self, name: str) -> int:
        return sum(frame.get("usageMetadata", {}).get(name, 0) for frame in self.received)

    async def serve(self, stream: MessageStream, request: object) -> None:
        for frame in self.frames:
            data = frame["data"]
            if frame["direction"] == "received":
                await stream.send(json.dumps(data))
            elif (wanted := self._awaited(data)) is not None:
                while not any(wanted in heard for heard in self.heard):
                    self.heard += [json.loads(message) for message in await stream.receive()]
                self.heard = [heard for heard in self.heard if wanted not in heard]
        self.finished = True
        while True:
            await stream.receive()

    def _awaited(self, data: dict[str, Any]) -> str | None:
        names = {"setup": "setup", "client_content": "clientContent", "tool_response": "toolResponse"}
        return next((ours for theirs, ours in names.items() if theirs in data), None)


@needs_recordings
@each_recording
def test_every_frame_decodes_and_nothing_is_lost(path: Path) -> None:
    recording = Recording(path)
    codec = GeminiCodec(f"models/{MODEL}")
    codec.encode(ev.SessionUpdate(SessionConfig(), event_id="event_1"))
    events = [event for frame in recording.received for event in codec.decode(json.dumps(frame))]
    assert not [event for event in events if isinstance(event, (ev.RawServerEvent, ev.SessionError))]
    assert b"".join(e.audio for e in events if isinstance(e, ev.AudioDelta)) == recording.sound
    assert "".join(e.text for e in events if isinstance(e, ev.OutputTranscript)) == recording.words(
        "outputTranscription"
    )
    assert "".join(e.text for e in events if isinstance(e, ev.InputTranscript)) == recording.words("inputTranscription")
    thoughts = [e.part.text for e in events if isinstance(e, ev.ContentPartAdded) and e.part is not None]
    assert thoughts == [part["text"] for part in recording.parts if part.get("thought")]
    calls = [(e.call_id, e.name, json.loads(e.arguments)) for e in events if isinstance(e, ev.ToolCalled)]
    assert calls == [(call["id"], call["name"], call["args"]) for call in recording.calls]
    dones = [e.response for e in events if isinstance(e, ev.ResponseDone)]
    assert sum(r.usage.total_tokens or 0 for r in dones if r.usage) == recording.tokens("totalTokenCount")
    assert sum(r.usage.input_tokens or 0 for r in dones if r.usage) == recording.tokens("promptTokenCount")
    assert [e.response.id for e in events if isinstance(e, ev.ResponseCreated)] == [r.id for r in dones]


@needs_recordings
@each_recording
def test_decoding_twice_gives_the_same(path: Path) -> None:
    recording = Recording(path)

    def decoded() -> list[Any]:
        codec = GeminiCodec(f"models/{MODEL}")
        codec.encode(ev.SessionUpdate(SessionConfig(), event_id="event_1"))
        return [event for frame in recording.received for event in codec.decode(json.dumps(frame).encode())]

    assert decoded() == decoded()


@needs_recordings
@each_recording
async def test_a_recording_drives_a_session(path: Path) -> None:
    recording = Recording(path)

    @tool
    async def record_reading(zqx_measurement: int, qbf_note: str | None = None) -> str:
        """Store the supplied sensor value."""
        (answer,) = recording.sent("tool_response")
        return str(answer["functionResponses"][0]["response"]["output"])

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="recorded",
        name="Recorded",
        instructions="Be brief.",
        model=gemini.live(MODEL, api_key="test"),
        toolkits=[Toolkit(id="readings", tools=[record_reading])] if recording.calls else [],
    )
    log: list[Any] = []
    session = RealtimeSession(agent, transport=MemoryTransport(recording.serve))
    session.on("event", log.append)
    with anyio.fail_after(60):
        async with session:
            for chunk in recording.sent("realtime_input"):
                session.send_audio(pybase64.urlsafe_b64decode(chunk["audio"]["data"]))
            asked = [content["turns"][0]["parts"][0]["text"] for content in recording.sent("client_content")]
            answers = [(await session.ask(text)).text for text in asked]
            while not recording.finished:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
    assert not [event for event in log if isinstance(event, (ev.RawServerEvent, ev.SessionError))]
    spoken, heard = recording.words("outputTranscription"), recording.words("inputTranscription")
    assert "".join(event.text for event in log if isinstance(event, ev.OutputTranscript)) == spoken
    assert "".join(event.text for event in log if isinstance(event, ev.InputTranscript)) == heard
    assert [e.call_id for e in log if isinstance(e, ev.ToolFinished)] == [call["id"] for call in recording.calls]
    assert session.usage.total_tokens == recording.tokens("totalTokenCount")
    messages = [item for item in session.history if isinstance(item, Message)]
    assert messages[-1].text == spoken
    assert [message.role for message in messages] == ["user", "assistant"]
    if answers:
        assert answers[-1] == spoken  # also where a tool came between
