"""The simulator as xAI: its frames against the recorded ones, its quirks, and OpenAI's client talking to it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import yaml
from attrs import define, field

from kernl_rt.abc import MessageStream
from kernl_rt.config import Secret
from kernl_rt.exceptions import AuthenticationError, ConnectionClosed
from kernl_rt.simulator import Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.conftest import recordings
from tests.simulator.driver import silence, tone

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
LISTENING = {
    "turn_detection": {"type": "server_vad"},
    "audio": {"input": {"transcription": {"model": "grok-transcribe"}}},
    "tools": [TOOL],
}


@define
class Client:
    stream: MessageStream
    frames: list[dict[str, Any]] = field(factory=list)

    async def say(self, type: str, **fields: Any) -> None:
        await self.stream.send(json.dumps({"type": type, **fields}))

    async def write(self, text: str, **fields: Any) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content, **fields}
        await self.say("conversation.item.create", item=item)

    async def speak(self, audio: bytes) -> None:
        await self.say("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def until(self, type: str) -> dict[str, Any]:
        with anyio.fail_after(60):
            while True:
                for message in await self.stream.receive():
                    self.frames.append(json.loads(message))
                found = [frame for frame in self.frames if frame["type"] == type]
                if found:
                    return found[-1]

    def took(self) -> list[dict[str, Any]]:
        frames, self.frames = self.frames, []
        return frames


@asynccontextmanager
async def talking(simulator: Simulator, query: str = "", key: str = "k") -> AsyncIterator[Client]:
    url = f"ws://simulator/v1/realtime?model=grok-voice-latest{query}"
    headers = {"Authorization": Secret(f"Bearer {key}")}
    async with simulator.transport().connect(url, headers=headers) as stream:
        yield Client(stream)


def simulator(*lines: Any, ears: tuple[str, ...] = (), **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(lines), ears=ScriptedEars(ears), protocol="xai", **options)


async def a_whole_conversation() -> list[dict[str, Any]]:
    """A spoken turn, a call, its answer."""
    lines = (Reply("One moment.", tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.")
    async with talking(simulator(*lines, ears=("what is the weather",))) as client:
        await client.say("session.update", session=LISTENING)
        await client.speak(tone(0.6) + silence(0.8))
        await client.until("response.done")
        call = next(frame for frame in client.frames if frame["type"] == "response.function_call_arguments.done")
        frames = client.took()
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await client.say("conversation.item.create", item=output)
        await client.say("response.create")
        await client.until("response.done")
        return frames + client.took()


#: Told, and of no meaning to anybody.
DECORATION = {"rid", "latency", "audio_duration_ms", "ts", "start_time"}


def shapes(frames: list[dict[str, Any]]) -> dict[str, tuple[set[str], set[str]]]:
    """Of each kind of frame, and of the items and replies in it: the keys that are always there, and all of them."""
    found: dict[str, tuple[set[str], set[str]]] = {}

    def add(name: str, value: dict[str, Any]) -> None:
        always, ever = found.get(name, (set(value), set()))
        found[name] = (always & set(value), ever | set(value))

    for frame in frames:
        add(frame["type"], frame)
        for part in ("item", "response", "part"):
            if part in frame:
                add(f"{frame['type']}.{part}.{frame[part].get('type', '')}", frame[part])
    return found


async def test_frames_look_as_recorded() -> None:
    paths = recordings("xai")
    if not paths:
        pytest.skip("../shared/recordings is absent")
    recorded = [
        entry["data"]
        for path in paths
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
        if entry.get("direction") == "received" and entry["kind"] == "message"
    ]
    wanted, made = shapes(recorded), shapes(await a_whole_conversation())
    assert {name for name in wanted if name.count(".") < 3} - set(made) <= {"conversation.item.added.item.message"}
    for name, (_, ever) in made.items():
        if name in wanted:
            always, known = wanted[name]
            assert always - DECORATION <= ever, f"{name}: {always - ever} are missing"
            assert ever <= known, f"{name}: {ever - known} were never seen"


async def test_the_handshake() -> None:
    async with talking(simulator()) as client:
        await client.say("session.update", session={"instructions": "Be brief.", "tools": [TOOL]})
        updated = await client.until("session.updated")
        assert [frame["type"] for frame in client.frames] == [
            "session.created",
            "conversation.created",
            "ping",
            "session.updated",
        ]
        assert client.frames[0]["session"]["turn_detection"] == {"type": None}
        assert updated["session"]["tools"] == [
            {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        ]


async def test_nobody_listens_until_told() -> None:
    async with talking(simulator("Hello.")) as client:
        await client.speak(tone(0.6) + silence(0.8))
        await client.write("ping")
        await client.until("conversation.item.added")
        assert "input_audio_buffer.speech_started" not in [frame["type"] for frame in client.frames]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),
        ({"audio": {"output": {"voice": "eve"}}}, "session.audio.output.voice"),
        ({"audio": {"input": {"turn_detection": None}}}, "session.audio.input.turn_detection"),
        ({"turn_detection": {"type": "semantic_vad"}}, "session.turn_detection.type"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 11_025}}}}, "session.audio.input.format"),
        ({"reasoning": {"effort": "low"}}, "session.reasoning.effort"),
    ],
)
async def test_what_is_not_xais_is_refused(session: dict[str, Any], param: str) -> None:
    async with talking(simulator("Hello.")) as client:
        await client.say("session.update", event_id="mine", session=session)
        error = (await client.until("error"))["error"]
        assert (error["param"], error["event_id"]) == (param, "mine")
        await client.say("session.update", session={})
        await client.until("session.updated")


async def test_the_clients_ids_are_not_kept() -> None:
    async with talking(simulator()) as client:
        await client.write("hello", id="mine")
        assert (await client.until("conversation.item.added"))["item"]["id"] != "mine"


async def test_a_commit_is_answered_and_nothing_after_it() -> None:
    async with talking(simulator("Hello.", "Again.")) as client:
        await client.speak(tone(0.6))
        await client.say("input_audio_buffer.commit")
        await client.until("response.done")
        client.took()
        await client.say("response.create")
        await client.write("and now?")
        await client.until("conversation.item.added")
        assert "response.created" not in [frame["type"] for frame in client.frames]
        await client.say("response.create")
        done = await client.until("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "Again."
        assert [frame["type"] for frame in client.frames].count("response.created") == 1


async def test_a_commit_of_nothing_is_refused_and_not_answered() -> None:
    async with talking(simulator("Hello.")) as client:
        await client.say("input_audio_buffer.commit", event_id="mine")
        error = await client.until("error")
        assert error["error"]["event_id"] == "mine"
        await client.write("hello")
        await client.until("conversation.item.added")
        assert "response.created" not in [frame["type"] for frame in client.frames]


async def test_a_truncation_is_ignored() -> None:
    async with talking(simulator("Hello.")) as client:
        await client.write("hello")
        await client.say("response.create")
        item = (await client.until("response.done"))["response"]["output"][0]["id"]
        await client.say("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1)
        await client.write("still there?")
        client.took()
        await client.until("conversation.item.added")
        assert {frame["type"] for frame in client.frames} == {"conversation.item.added"}


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_conversation_is_kept(enabled: bool) -> None:
    kept = simulator("Got it.", "Cobalt.")
    wish = {"resumption": {"enabled": True}}
    async with talking(kept) as client:
        await client.say("session.update", session=wish)
        await client.write("the word is cobalt")
        await client.say("response.create")
        await client.until("response.done")
        name = client.frames[1]["conversation"]["id"]
    async with talking(kept, f"&conversation_id={name}") as client:
        await client.say("session.update", session=wish if enabled else {"instructions": "-"})
        await client.until("session.updated")
        assert client.frames[1]["conversation"]["id"] == name
        items = [frame["item"] for frame in client.frames if frame["type"] == "conversation.item.added"]
        told = [(item["role"], item["content"]) for item in items]
        assert told == ([("assistant", [{"type": "text", "text": "Got it."}])] if enabled else [])
    async with talking(kept, "&conversation_id=unknown") as client:
        await client.until("conversation.created")
        assert client.frames[1]["conversation"]["id"] not in ("unknown", name)


async def test_an_old_session_says_so() -> None:
    async with talking(simulator(duration=5.0)) as client:
        assert (await client.until("error"))["error"]["type"] == "max_duration"
        with pytest.raises(ConnectionClosed):
            await client.until("nothing")


async def test_a_wrong_key() -> None:
    with pytest.raises(AuthenticationError):
        async with talking(simulator(api_key="right"), key="wrong"):
            pass


async def test_openais_client_holds_a_conversation(backend: str, real_clock: None) -> None:
    if backend == "trio":
        pytest.skip("OpenAI's client runs on asyncio only")
    openai = pytest.importorskip("openai")
    served = simulator("Good day.", api_key="right", speed=50.0)
    with anyio.fail_after(20):
        async with served.serve() as url:
            client = openai.AsyncOpenAI(api_key="right", websocket_base_url=url, max_retries=0)
            async with client, client.realtime.connect(model="grok-voice-latest") as connection:
                assert (await connection.recv()).type == "session.created"
                await connection.session.update(session={"voice": "eve", "instructions": "Be brief."})
                content = [{"type": "input_text", "text": "hello"}]
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
                await connection.response.create()
                events = [await connection.recv()]
                while events[-1].type != "response.done":
                    events.append(await connection.recv())
                kinds = [event.type for event in events]
                assert kinds.index("session.updated") < kinds.index("response.created")
                assert sum(len(event.delta) for event in events if event.type == "response.output_audio.delta") > 1_000
                assert events[-1].response.output[0].content[0].transcript == "Good day."
