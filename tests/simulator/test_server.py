"""The server: in memory, in virtual time, on both backends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectionClosed,
    MessageTooLarge,
    ModelNotFoundError,
    RateLimitedError,
)
from kernl_rt.simulator import BANNER, Faults, Pace, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall, Turn
from tests.simulator.driver import b64, errors, only, silence, tone, types

pytestmark = pytest.mark.anyio
URL = "ws://simulator/v1/realtime?model=gpt-realtime"
Frame = dict[str, Any]


class Client:
    """A client that speaks frames."""

    def __init__(self, stream: MessageStream) -> None:
        self.stream = stream
        self._waiting: list[str | bytes] = []

    async def send(self, type: str, **fields: Any) -> None:
        await self.stream.send(json.dumps({"type": type, **fields}))

    async def next(self) -> Frame:
        if not self._waiting:
            self._waiting = list(await self.stream.receive())
        frame: Frame = json.loads(self._waiting.pop(0))
        return frame

    async def until(self, type: str) -> list[Frame]:
        frames = [await self.next()]
        while frames[-1]["type"] != type:
            frames.append(await self.next())
        return frames

    async def ask(self, text: str) -> list[Frame]:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create")
        return await self.until("response.done")

    async def closed(self) -> tuple[int, str]:
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.code, closed.reason


@asynccontextmanager
async def connected(simulator: Simulator, url: str = URL, **headers: str) -> AsyncIterator[Client]:
    async with simulator.transport().connect(url, headers=headers) as stream:
        client = Client(stream)
        assert (await client.next())["type"] == "session.created"
        yield client


async def test_a_spoken_turn() -> None:
    async with connected(Simulator()) as client:
        frames = await client.ask("What is 2 plus 3?")
    assert only(frames, "response.output_audio_transcript.done")["transcript"] == "2 plus 3 is 5."
    assert "response.output_audio.delta" in types(frames)


async def test_a_tool_turn() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "name": "weather", "parameters": parameters}
    async with connected(Simulator()) as client:
        await client.send(
            "session.update", session={"type": "realtime", "tools": [tool], "output_modalities": ["text"]}
        )
        done = only(await client.ask("What is the weather in Paris?"), "response.function_call_arguments.done")
        assert json.loads(done["arguments"]) == {"city": "Paris"}
        output = {"type": "function_call_output", "call_id": done["call_id"], "output": "Sunny in Paris"}
        await client.send("conversation.item.create", item=output)
        await client.send("response.create")
        frames = await client.until("response.done")
    assert only(frames, "response.output_text.done")["text"] == "Sunny in Paris"


async def test_a_heard_turn_with_transcription() -> None:
    simulator = Simulator(ears=ScriptedEars(["what are you"]))
    async with connected(simulator) as client:
        audio = {"input": {"transcription": {"model": "whisper-1"}}}
        await client.send("session.update", session={"type": "realtime", "audio": audio})
        await client.send("input_audio_buffer.append", audio=b64(tone(0.6) + silence(0.4)))
        frames = await client.until("response.done")
    heard = only(frames, "conversation.item.input_audio_transcription.completed")["transcript"]
    said = only(frames, "response.output_audio_transcript.done")["transcript"]
    assert (heard, said) == ("what are you", "I am the kernl_rt simulator, not an AI model.")


async def test_core_ears_hear_only_that_somebody_spoke() -> None:
    async with connected(Simulator()) as client:
        await client.send("input_audio_buffer.append", audio=b64(tone(0.6) + silence(0.4)))
        frames = await client.until("response.done")
    assert "(speech)" in only(frames, "response.output_audio_transcript.done")["transcript"]


async def test_audio_arrives_at_its_pace() -> None:
    brain = ScriptedBrain([Reply("hello", audio=bytes(48_000 * 6))])
    async with connected(Simulator(brain, speed=6.0)) as client:
        began = anyio.current_time()
        await client.ask("hi")
        assert anyio.current_time() - began == pytest.approx(1.0, abs=0.1)


async def test_an_interruption_in_the_middle() -> None:
    simulator = Simulator(ScriptedBrain([Reply("a long story", audio=bytes(480_000)), "yes?"]), speed=2.0)
    async with connected(simulator) as client:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("input_audio_buffer.append", audio=b64(tone(0.6) + silence(0.4)))
        frames = await client.until("response.done")
        assert frames[-1]["response"]["status_details"]["reason"] == "turn_detected"
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_a_brain_or_voice_or_ears_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def synthesise(self, text: str, format: Any, *, voice: str = "", speed: float = 1.0) -> bytes:
            raise OSError("no larynx")

        async def transcribe(self, audio: bytes, format: Any) -> str:
            raise OSError("no drum")

    simulator = Simulator(ScriptedBrain([ValueError("no idea"), "something", "more"]), voice=Broken(), ears=Broken())
    async with connected(simulator) as client:
        for reason in ("ValueError: no idea", "OSError: no larynx"):
            response = (await client.ask("hi"))[-1]["response"]
            assert (response["status"], response["status_details"]["error"]["message"]) == ("failed", reason)
        audio = {"input": {"transcription": {"model": "whisper-1"}}}
        await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"], "audio": audio})
        await client.send("input_audio_buffer.append", audio=b64(tone(0.6) + silence(0.4)))
        failed = (await client.until("conversation.item.input_audio_transcription.failed"))[-1]
        assert failed["error"]["message"] == "OSError: no drum"
    assert "the simulator's brain or voice failed" in caplog.text


async def test_a_brain_that_nobody_waits_for_is_cancelled() -> None:
    class Slow:
        cancelled = 0

        async def reply(self, turn: Turn) -> Reply:
            try:
                await anyio.sleep(1000)
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise
            return Reply("late")

    brain = Slow()
    async with connected(Simulator(brain)) as client:
        await client.send("response.create")
        await client.until("response.created")
        await client.send("response.cancel")
        await client.until("response.done")
        await anyio.sleep(0.1)
        assert brain.cancelled == 1
        await client.send("response.create")
        await client.until("response.created")
    assert brain.cancelled == 2, "a client that leaves takes its brain's work along"


async def test_the_session_ends_at_its_limit() -> None:
    async with connected(Simulator(duration=3600)) as client:
        began = anyio.current_time()
        frames = await client.until("error")
        assert errors(frames)[0]["code"] == "session_expired"
        assert await client.closed() == (1001, "Your session hit the maximum duration of 60 minutes.")
        assert anyio.current_time() - began == pytest.approx(3600, abs=1)


async def test_messages_that_are_no_json_are_refused_and_the_session_lives() -> None:
    async with connected(Simulator()) as client:
        for message in ("", "{", "nonsense", '{"type": "x"', "[" * 100_000, b"\xff\xfe", '"\\ud800"', "NaN"):
            await client.stream.send(message)
            assert errors([await client.next()])[0]["code"] == "invalid_json"
        assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize(
    ("headers", "url", "error"),
    [
        ({}, URL, AuthenticationError),
        ({"Authorization": "Bearer wrong"}, URL, AuthenticationError),
        ({"Authorization": "Basic right"}, URL, AuthenticationError),
        ({"Authorization": "Bearer ek_unknown"}, URL, AuthenticationError),
        ({"Authorization": "Bearer right"}, "ws://simulator/v1/other?model=x", ModelNotFoundError),
        ({"Authorization": "Bearer right"}, "ws://simulator/v1/realtime", ConnectError),
    ],
)
async def test_who_may_not_come_in(headers: dict[str, str], url: str, error: type[ConnectError]) -> None:
    simulator = Simulator(api_key="right")
    with pytest.raises(error):
        async with connected(simulator, url, **headers):
            pass
    async with connected(simulator, Authorization="Bearer right"):
        assert simulator.sessions == 1
    assert simulator.sessions == 0


async def test_no_more_sessions_than_it_may_have() -> None:
    simulator = Simulator(max_sessions=1)
    async with connected(simulator):
        with pytest.raises(RateLimitedError) as caught:
            async with connected(simulator):
                pass
        assert caught.value.retry_after == 1
    async with connected(simulator):
        pass


async def test_a_browser_s_key_comes_in_a_subprotocol() -> None:
    simulator = Simulator(api_key="right")
    offered = ["realtime", "openai-insecure-api-key.right"]
    async with simulator.transport().connect(URL, subprotocols=offered) as stream:
        assert (await Client(stream).next())["type"] == "session.created"
        assert stream.subprotocol == "realtime"  # type: ignore[attr-defined]


async def test_a_transcription_session() -> None:
    simulator = Simulator(ears=ScriptedEars(["good morning"]))
    async with simulator.transport().connect("ws://simulator/v1/realtime?intent=transcription") as stream:
        client = Client(stream)
        assert (await client.next())["session"]["type"] == "transcription"
        session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        await client.send("session.update", session=session)
        await client.send("input_audio_buffer.append", audio=b64(tone(0.6) + silence(0.4)))
        await client.until("conversation.item.input_audio_transcription.completed")
        await client.send("response.create")
        assert errors(await client.until("error"))


async def test_many_sessions_at_once_do_not_meet() -> None:
    simulator = Simulator()
    results: dict[int, str] = {}

    async def talk(number: int) -> None:
        async with connected(simulator) as client:
            frames = await client.ask(f"say {number}")
            results[number] = only(frames, "response.output_audio_transcript.done")["transcript"]

    async with anyio.create_task_group() as task_group:
        for number in range(30):
            task_group.start_soon(talk, number)
    assert results == {number: str(number) for number in range(30)}
    assert simulator.sessions == 0


async def test_a_client_that_does_not_read_is_not_read_from_for_ever() -> None:
    """The client sends and never receives: what the simulator holds for it stays bounded."""
    simulator = Simulator()
    async with simulator.transport().connect(URL) as stream:
        sent = 0
        with anyio.move_on_after(5):
            while sent < 10_000:
                await stream.send('{"type":"nonsense"}')
                sent += 1
        assert 1_000 < sent < 5_000


# -- faults


async def test_closing_at_a_frame() -> None:
    faults = Faults().close(1011, "keeled over", at="response.output_audio.delta", nth=2)
    simulator = Simulator(faults=faults)
    async with connected(simulator) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        assert await client.closed() == (1011, "keeled over")
    async with connected(simulator) as client:
        assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"


async def test_breaking_without_a_goodbye() -> None:
    async with connected(Simulator(faults=Faults().drop(at="response.output_audio.delta"))) as client:
        await client.send("response.create")
        assert (await client.closed())[0] == 1006


async def test_falling_silent() -> None:
    simulator = Simulator(faults=Faults().stall(at="response.content_part.added"))
    async with connected(simulator) as client:
        await client.send("response.create")
        await client.until("conversation.item.added")
        with anyio.move_on_after(1000) as scope:
            await client.send("input_audio_buffer.clear")
            await client.next()
        assert scope.cancelled_caught
    assert simulator.sessions == 0


async def test_malformed_duplicate_and_withheld_frames() -> None:
    faults = Faults().malformed(at="response.created").duplicate(at="response.done")
    faults.withhold(at="response.output_item.added")
    async with connected(Simulator(faults=faults)) as client:
        await client.send("response.create")
        with pytest.raises(json.JSONDecodeError):
            await client.next()
        frames = await client.until("response.done")
        assert "response.output_item.added" not in types(frames)
        assert await client.next() == frames[-1]


async def test_an_oversized_frame() -> None:
    async with connected(Simulator(faults=Faults().oversize(at="response.created"))) as client:
        await client.send("response.create")
        with pytest.raises(MessageTooLarge):
            await client.next()


async def test_a_delayed_response_created() -> None:
    async with connected(Simulator(faults=Faults(created_delay=0.5))) as client:
        began = anyio.current_time()
        await client.send("response.create")
        await client.until("response.created")
        assert anyio.current_time() - began == pytest.approx(0.5, abs=0.01)


async def test_cancelling_at_every_checkpoint_leaves_nothing() -> None:
    """Whatever moment the world ends at: no session is left, and the cancellation is not swallowed."""
    simulator = Simulator(ScriptedBrain(["some words"] * 1000), pace=Pace(first_output=0.01))

    async def talk() -> None:
        async with connected(simulator) as client:
            await client.ask("hi")

    for milliseconds in range(0, 400, 10):
        with anyio.move_on_after(milliseconds / 1000) as scope:
            await talk()
        assert scope.cancelled_caught or milliseconds > 50
        assert simulator.sessions == 0


async def test_what_it_says_of_itself() -> None:
    info = Simulator(notices=["no larynx"]).info
    assert (info.voice, info.ears, info.notices, info.description) == ("ToneVoice", "DeafEars", ("no larynx",), BANNER)


async def test_the_model_is_the_openai_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kernl_rt.providers.openai")
    from kernl_rt import simulator
    from kernl_rt.config import ConnectOptions, SessionConfig
    from kernl_rt.events import ResponseCreate, ResponseDone, SessionCreated

    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/elsewhere")
    model = simulator.realtime()
    assert model.capabilities.max_duration == 3600.0
    assert (model.provider, model.name) == ("simulator", "simulator")
    seen: list[Any] = []
    async with model.connect(SessionConfig(), ConnectOptions()) as connection:
        await connection.send(ResponseCreate())
        while not any(isinstance(event, ResponseDone) for event in seen):
            seen += await connection.receive()
    assert isinstance(seen[0], SessionCreated)
    with_key = Simulator(api_key="right", duration=60).realtime("some-model")
    assert (with_key.name, with_key.capabilities.max_duration) == ("some-model", 60)
    async with with_key.connect(SessionConfig(), ConnectOptions()) as connection:
        assert isinstance((await connection.receive())[0], SessionCreated)


def test_tool_call_arguments() -> None:
    assert ToolCall("x", {"a": 1}).arguments == '{"a": 1}'
    assert ToolCall("x", "{broken").arguments == "{broken"
