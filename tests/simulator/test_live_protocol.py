"""The simulator's Live protocol in memory: strict about what it hears, and its timeline moves with the sound alone."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt.abc import MessageStream
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.exceptions import AuthenticationError, ConnectionClosed, ModelNotFoundError
from kernl_rt.simulator import Pace, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from kernl_rt.simulator._protocols._live import LiveTranslation
from kernl_rt.testing.strategies import hostile_messages
from tests.simulator.driver import silence, tone
from tests.simulator.live_strict import check_server_frame

pytestmark = pytest.mark.anyio

START: dict[str, Any] = {"type": "session.start", "session": {"model": "gpt-live-1"}}


class Client:
    def __init__(self, stream: MessageStream, format: AudioFormat) -> None:
        self._stream = stream
        self._format = format
        self.frames: list[dict[str, Any]] = []

    async def say(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            await self._stream.send(json.dumps(frame))

    async def hear(self, ms: float, sound: bytes | None = None) -> None:
        """Send sound, and take what comes within so much time."""
        audio = sound or self._format.silence * int(self._format.rate * ms / 1000)
        await self.say({"type": "session.input_audio.append", "audio": base64.b64encode(audio).decode()})
        await self.take(ms)

    async def take(self, ms: float) -> None:
        with anyio.move_on_after(ms / 1000):
            while True:
                for message in await self._stream.receive():
                    frame = json.loads(message)
                    check_server_frame(frame)
                    self.frames.append(frame)

    def of(self, type: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == type]

    def words(self, side: str = "output") -> str:
        return "".join(frame["delta"] for frame in self.of(f"session.{side}_transcript.delta"))


@asynccontextmanager
async def connected(simulator: Simulator, format: AudioFormat = PCM16_24K, **session: Any) -> AsyncIterator[Client]:
    with anyio.fail_after(200):
        transport = simulator.transport()
        headers = {"Authorization": "Bearer right"}
        async with transport.connect("ws://simulator/v1/live/sessions", headers=headers) as stream:
            client = Client(stream, format)
            await client.say({**START, "session": {"model": "gpt-live-1", **session}, "event_id": "start"})
            await client.take(50)
            yield client


def live(*lines: Any, **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(lines), protocol="live", api_key="right", **options)


async def test_the_timeline_stands_still_without_sound() -> None:
    async with connected(live("Hello.")) as client:
        await client.say({"type": "session.instructions.append", "content": "Greet.", "delegation_id": None})
        await client.take(60_000)
        assert [frame["type"] for frame in client.frames] == ["session.started"]
        for _ in range(10):
            await client.hear(100)
        assert len(client.of("session.output_audio.delta")) == 5, "as much goes out as has come in"
        assert client.of("session.instructions.appended")


@pytest.mark.parametrize("format", [PCM16_24K, PCM16_16K, G711_ULAW, G711_ALAW], ids=str)
async def test_every_format_both_ways(format: AudioFormat) -> None:
    kind = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}[format.encoding]
    audio = {"format": {"type": kind, "rate": format.rate}}
    async with connected(live("Hello there."), format, audio=audio) as client:
        await client.say({"type": "session.instructions.append", "content": "Greet.", "delegation_id": None})
        for _ in range(20):
            await client.hear(200)
        sounds = [base64.b64decode(frame["delta"]) for frame in client.of("session.output_audio.delta")]
        assert {len(sound) for sound in sounds} == {format.size(200)}
        assert sounds[-1] == format.silence * (format.size(200) // format.sample_width)
        assert any(sound != sounds[-1] for sound in sounds)
        assert client.words() == "Hello there."


async def test_both_may_speak_at_once() -> None:
    """What is said while the human speaks is one timeline: fragments of both sides overlap."""
    pace = Pace(transcription=0.01)
    story = Reply("One two three four five six seven.", audio=tone(4.0))
    simulator = live(story, "Yes?", ears=ScriptedEars(["wait a moment"]), pace=pace)
    async with connected(simulator) as client:
        await client.say({"type": "session.instructions.append", "content": "Count.", "delegation_id": None})
        await client.hear(400)
        await client.hear(1_200, tone(0.6) + silence(0.6))
        for _ in range(10):
            await client.hear(200)
        heard = client.of("session.input_transcript.delta")
        assert "".join(frame["delta"] for frame in heard) == "wait a moment"
        assert heard[0]["start_ms"] < heard[-1]["end_ms"] <= 1_700
        assert client.words().startswith("One")


async def test_usage_is_cumulative_and_the_end_says_why() -> None:
    async with connected(live(duration=40.0)) as client:
        for _ in range(180):
            await client.hear(200)
        assert [frame["usage"]["seconds"] for frame in client.of("session.usage.updated")] == [15.0, 30.0]
        with pytest.raises(ConnectionClosed):
            for _ in range(40):
                await client.hear(200)
        (closed,) = client.of("session.closed")
        assert closed["reason"] == "expired"
        assert closed["usage"]["seconds"] >= 30


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"type": "session.input_audio.commit"}, "session.start"),
        ({"type": "session.update", "session": {"instructions": "x"}}, "session.instructions"),
        ({"type": "session.thinking.append", "content": "x" * 2_001}, "string_above_max_length"),
        ({"type": "session.input_audio.append", "audio": "&&"}, "base64"),
        ({"type": "response.create"}, "requires Responses delegation"),
        ({"type": "response.item.create", "item": {"type": "message"}}, "requires Responses delegation"),
        ({"type": "session.commentary.append", "content": "x", "delegation_id": "del_9"}, "Unknown delegation"),
        ({"type": "session.output_audio.fixture.play", "audio": ""}, "session.output_audio.fixture.play"),
        (START, "once"),
        ({"type": "response.cancel"}, "response.cancel"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
async def test_what_may_not_be_said(frame: dict[str, Any], says: str) -> None:
    async with connected(live()) as client:
        await client.say({**frame, "event_id": "wrong"})
        await client.take(50)
        (error,) = client.of("error")
        assert says in json.dumps(error)
        assert error["error"]["client_event_id"] == "wrong"
        await client.hear(200)
        assert client.of("session.output_audio.delta"), "and it ends nothing"


async def test_nothing_goes_before_the_start() -> None:
    simulator = live()
    async with simulator.transport().connect(
        "ws://simulator/v1/live/sessions", headers={"Authorization": "Bearer right"}
    ) as stream:
        client = Client(stream, PCM16_24K)
        await client.say({"type": "session.input_audio.mute"}, {"type": "session.start", "session": {}})
        await client.take(50)
        assert [frame["type"] for frame in client.frames] == ["error", "error"]
        await client.say(START)
        await client.take(50)
        assert client.of("session.started"), "a refused start may be said again"


async def test_who_gets_in() -> None:
    transport = live().transport()
    with pytest.raises(AuthenticationError):
        async with transport.connect("ws://simulator/v1/live/sessions"):
            pass
    for path in ("live/sessions/live_1/fork", "realtime", "live"):
        with pytest.raises(ModelNotFoundError):
            async with transport.connect(f"ws://simulator/v1/{path}", headers={"Authorization": "Bearer right"}):
                pass


async def test_a_backend_that_fails_says_so_inside() -> None:
    brain = (Reply(tool_calls=[ToolCall("weather")]), RuntimeError("broken"))
    delegation = {
        "type": "responses",
        "responses": {"model": "m", "tools": [{"type": "function", "name": "weather", "strict": True}]},
    }
    async with connected(live(*brain), delegation=delegation) as client:
        await client.say({"type": "session.instructions.append", "content": "Go.", "delegation_id": None})
        await client.hear(1_000)
        nested = [frame["event"] for frame in client.of("response.event")]
        call = next(event["item"] for event in nested if event["type"] == "response.output_item.done")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
        await client.say({"type": "response.item.create", "item": output}, {"type": "response.create"})
        await client.hear(1_000)
        assert client.of("response.event")[-1]["event"]["type"] == "response.failed"


def test_what_a_cancelled_reply_had_left_to_say_is_not_said() -> None:
    made = LiveTranslation({}, None, now=0.0)
    made.read(json.dumps(START), 0.0)
    made.write({"type": "session.updated", "session": {"id": "sess_1", "expires_at": 1}}, 0.0)
    made.write({"type": "response.created", "response": {"id": "r1"}}, 0.0)
    loud = base64.b64encode(b"\x00\x10" * 24_000).decode()
    made.write({"type": "response.output_audio.delta", "delta": loud}, 0.0)
    heard = json.dumps({"type": "session.input_audio.append", "audio": base64.b64encode(bytes(9_600)).decode()})

    def said() -> bytes:
        made.read(heard, 0.0)
        (delta,) = (frame for frame in map(json.loads, made.answers()) if frame["type"] == "session.output_audio.delta")
        return base64.b64decode(delta["delta"])

    assert said() == b"\x00\x10" * 4_800
    made.write({"type": "response.done", "response": {"status": "cancelled", "usage": None}}, 0.0)
    assert said() == bytes(9_600)


TEMPLATES: list[dict[str, Any]] = [
    START,
    {"type": "session.input_audio.append", "audio": "AAAA"},
    {"type": "session.thinking.append", "content": "x", "delegation_id": None},
    {"type": "response.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "o"}},
    {"type": "response.create", "event_id": "e"},
    {"type": "session.update", "session": {"delegation": {"type": "responses", "responses": {"tools": []}}}},
    {
        "type": "session.start",
        "session": {
            "model": "m",
            "audio": {"format": {"type": "audio/pcm", "rate": 16_000}, "output": {"voice": "marin"}},
            "delegation": {
                "type": "responses",
                "responses": {"model": "m", "tools": [{"type": "function", "name": "f", "parameters": {}}]},
            },
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        },
    },
    {"type": "session.close"},
]


@settings(max_examples=150)
@given(st.lists(hostile_messages(TEMPLATES), max_size=12))
def test_a_hostile_client_is_refused_and_nothing_else(messages: list[Any]) -> None:
    translation = LiveTranslation({}, None, now=0.0)
    for message in messages:
        try:
            list(translation.read(message, 0.0))
        except ValueError:
            continue  # no JSON: the server answers that
        for said in translation.answers():
            check_server_frame(json.loads(said))
