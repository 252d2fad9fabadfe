"""What xAI was recorded to say: every frame is understood, and drives a session to what was recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream
from kernl_rt.config import InputTranscription, TurnDetection
from kernl_rt.events import (
    AudioDelta,
    InputTranscript,
    InputTranscriptDelta,
    ItemDone,
    OutputTranscript,
    Ping,
    RawServerEvent,
    ResponseDone,
    SessionError,
    SessionResumable,
    SessionUpdated,
    ToolFinished,
)
from kernl_rt.items import FunctionCall, FunctionCallOutput, Message
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.providers import xai
from tests.conftest import recordings

pytestmark = pytest.mark.anyio

PATHS = recordings("xai")
needs_recordings = pytest.mark.skipif(not PATHS, reason="../shared/recordings is absent")
_AWAITED = ("session.update", "conversation.item.create", "response.create", "input_audio_buffer.commit")


def links(path: Path) -> list[list[tuple[str, dict[str, Any]]]]:
    """The frames of each link, with their directions."""
    found: list[list[tuple[str, dict[str, Any]]]] = [[]]
    for each in yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]:
        if each.get("kind", "message") == "message":
            found[-1].append((each["direction"], each["data"]))
        else:
            found.append([])
    return found


def frames(direction: str) -> Iterator[tuple[xai.XAICodec, dict[str, Any]]]:
    """Every frame, with the codec of its link."""
    for path in PATHS:
        for link in links(path):
            codec = xai.XAICodec()
            yield from ((codec, frame) for way, frame in link if way == direction)


@needs_recordings
@pytest.mark.parametrize("form", [json.dumps, lambda frame: json.dumps(frame).encode()], ids=["text", "bytes"])
def test_every_frame_is_understood_and_nothing_is_lost(form: Any) -> None:
    seen = 0
    for codec, frame in frames("received"):
        said = [event for event in codec.decode(form(frame)) if not isinstance(event, (ItemDone, SessionResumable))]
        assert len(said) == 1, frame["type"]
        assert not isinstance(said[0], (RawServerEvent, SessionError)), said
        assert codec.encode_server(said[0]) == frame
        seen += 1
    assert seen > 100


@needs_recordings
def test_what_the_recorded_client_said_is_what_ours_says() -> None:
    for codec, frame in frames("sent"):
        assert json.loads(codec.encode(codec.decode_client(json.dumps(frame)))) == frame


class Replay:
    """The recorded service: says what was recorded, once the client has said as much as the recorded one had."""

    def __init__(self, path: Path) -> None:
        self.links = links(path)
        self.sent: list[list[dict[str, Any]]] = []
        self.paths: list[str] = []
        self.finished = 0

    def received(self, kind: str) -> list[dict[str, Any]]:
        return [frame for link in self.links for way, frame in link if way == "received" and frame["type"] == kind]

    def said(self, kind: str, link: int | None = None) -> list[dict[str, Any]]:
        chosen = self.links if link is None else [self.links[link]]
        return [frame for link in chosen for way, frame in link if way == "sent" and frame["type"] == kind]

    async def serve(self, stream: MessageStream, request: Any) -> None:
        number = len(self.sent)
        mine: list[dict[str, Any]] = []
        self.sent.append(mine)
        self.paths.append(f"{request.path}?{'&'.join(f'{k}={v}' for k, v in request.query.items())}")
        wanted: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for way, frame in self.links[number]:
            if way == "received":
                await stream.send(json.dumps(frame))
            elif frame["type"] in _AWAITED:
                wanted[frame["type"]] += 1
                while seen[frame["type"]] < wanted[frame["type"]]:
                    for message in await stream.receive():
                        mine.append(json.loads(message))
                        seen[mine[-1]["type"]] += 1
        self.finished += 1
        if number + 1 < len(self.links):
            await anyio.sleep(5)  # what was said is heard
            await stream.aclose(1011, "test reconnect")
            return
        while True:
            mine.extend(json.loads(message) for message in await stream.receive())


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
        instructions=replay.said("session.update")[0]["session"]["instructions"],
        model=xai.realtime("grok-voice-latest", api_key="test"),
        toolkits=[Toolkit(id="weather", tools=[get_weather])] if outputs else [],
        config=SessionConfig(transcription=InputTranscription("grok-transcribe")),
    )
    log: list[Any] = []
    session = RealtimeSession(
        agent,
        transport=MemoryTransport(replay.serve),
        reconnect=ReconnectPolicy(first_delay=0, base=0, refill_after=0),
    )
    session.on("event", log.append)
    with anyio.fail_after(600):
        async with session:
            for frame in replay.said("input_audio_buffer.append"):
                session.send_audio(frame["audio"])
            for number in range(len(replay.links)):
                for frame in replay.said("conversation.item.create", number):
                    if frame["item"]["type"] == "message":
                        handle = session.send_message("".join(part["text"] for part in frame["item"]["content"]))
                        assert (await handle.settled()).id == handle_id(session, handle)
                while replay.finished <= number:
                    await anyio.sleep(0.01)
                if number + 1 < len(replay.links):
                    while len(replay.sent) == number + 1 or session.status != "connected":
                        await anyio.sleep(0.01)
            await anyio.sleep(0.5)
    return session, log


def handle_id(session: RealtimeSession[Any], handle: Any) -> str | None:
    """The message that a handle is of, as the history has it."""
    return [item for item in session.history if isinstance(item, Message) and item.role == "user"][-1].id


@needs_recordings
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_a_recording_drives_a_session(path: Path) -> None:
    replay = Replay(path)
    session, log = await drive(replay)
    assert not [event for event in log if isinstance(event, (RawServerEvent, SessionError))]
    assert len([event for event in log if isinstance(event, Ping)]) == len(replay.links)

    spoken = [frame["transcript"] for frame in replay.received("response.output_audio_transcript.done")]
    assert [event.text for event in log if isinstance(event, OutputTranscript)] == spoken
    prefix = "conversation.item.input_audio_transcription."
    heard = [f["transcript"] for f in replay.received(f"{prefix}completed") if f["status"] == "completed"]
    assert [event.text for event in log if isinstance(event, InputTranscript)] == heard
    partial = [event for event in log if isinstance(event, InputTranscriptDelta)]
    assert all(event.cumulative for event in partial)
    meanwhile = [f for f in replay.received(f"{prefix}completed") if f["status"] == "in_progress"]
    assert len(partial) == len(replay.received(f"{prefix}updated")) + len(meanwhile)
    sounds = [event for event in log if isinstance(event, AudioDelta)]
    assert len(sounds) == len(replay.received("response.output_audio.delta"))

    calls = [(f["call_id"], f["name"]) for f in replay.received("response.function_call_arguments.done")]
    assert [(event.call_id, event.name) for event in log if isinstance(event, ToolFinished)] == calls
    total = sum(frame["usage"]["total_tokens"] for frame in replay.received("response.done"))
    assert session.usage.total_tokens == total
    assert len([event for event in log if isinstance(event, ResponseDone)]) == len(replay.received("response.done"))


@needs_recordings
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_the_history_is_complete_and_in_order(path: Path) -> None:
    replay = Replay(path)
    session, _ = await drive(replay)
    said = [frame["transcript"] for frame in replay.received("response.output_audio_transcript.done")]
    messages = [item for item in session.history if isinstance(item, Message)]
    assert [item.text for item in messages if item.role == "assistant"] == said
    assert all(item.status == "completed" for item in session.history if isinstance(item, (Message, FunctionCall)))
    calls = [item for item in session.history if isinstance(item, FunctionCall)]
    outputs = [item for item in session.history if isinstance(item, FunctionCallOutput)]
    assert [item.call_id for item in outputs] == [item.call_id for item in calls]


@needs_recordings
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_the_session_asks_for_as_many_replies_as_the_recorded_client(path: Path) -> None:
    replay = Replay(path)
    await drive(replay)
    asked = [frame for link in replay.sent for frame in link if frame["type"] == "response.create"]
    assert len(asked) == len(replay.said("response.create"))


@needs_recordings
async def test_the_session_goes_on_with_the_recorded_conversation() -> None:
    path = next(path for path in PATHS if path.stem == "session_resumption_after_drop")
    replay = Replay(path)
    session, log = await drive(replay)
    name = replay.received("conversation.created")[0]["conversation"]["id"]
    assert replay.paths == [
        "/v1/realtime?model=grok-voice-latest",
        f"/v1/realtime?model=grok-voice-latest&conversation_id={name}",
    ]
    assert [event.handle for event in log if isinstance(event, SessionResumable)] == [name, name]
    for link in replay.sent:
        assert link[0]["session"]["resumption"] == {"enabled": True}
    told = [f["item"] for f in replay.sent[1] if f["type"] == "conversation.item.create"]
    texts = [(item["role"], "".join(part["text"] for part in item["content"])) for item in told]
    # What the service has kept (its own words) is not told again; what it has not kept is.
    assert texts == [
        ("user", "Remember exactly: the code word is cobalt. Briefly acknowledge it."),
        ("user", "What code word did I ask you to remember?"),
    ]
    assert [item.text for item in session.history if isinstance(item, Message)] == [
        "Remember exactly: the code word is cobalt. Briefly acknowledge it.",
        "Got it—code word is cobalt.",
        "What code word did I ask you to remember?",
        "Cobalt. The code word you asked me to remember is cobalt.",
    ]


@needs_recordings
async def test_the_session_listens_unless_it_is_told_not_to() -> None:
    replay = Replay(PATHS[0])
    _, log = await drive(replay)
    asked = replay.sent[0][0]["session"]
    assert "type" not in asked
    assert asked["turn_detection"]["type"] == "server_vad"
    assert asked["audio"]["input"]["transcription"] == {"model": "grok-transcribe"}
    (updated,) = (event for event in log if isinstance(event, SessionUpdated))
    assert updated.session.config.turn_detection == TurnDetection.server_vad(
        create_response=True, interrupt_response=True
    )
