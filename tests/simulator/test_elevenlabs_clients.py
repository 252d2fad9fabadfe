"""The simulated agents of ElevenLabs over a real socket, judged by the official Python client.

Its clients run under asyncio and in threads, in real time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from kernl_rt._transport.serve import Reply as HttpReply, Request, serve_websocket
from kernl_rt.simulator import Pace, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.simulator.driver import silence, tone

conversation: Any = pytest.importorskip("elevenlabs.conversational_ai.conversation")
elevenlabs: Any = pytest.importorskip("elevenlabs")

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

WEATHER = {
    "name": "weather",
    "description": "The current weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def backend() -> str:
    return "asyncio"


class Headset(conversation.AsyncAudioInterface):  # type: ignore[misc]
    """A human with a headset, as the client sees one."""

    def __init__(self) -> None:
        self.heard = b""
        self.interrupted = 0
        self.say: Callable[[bytes], Awaitable[None]] | None = None

    async def start(self, input_callback: Callable[[bytes], Awaitable[None]]) -> None:
        self.say = input_callback

    async def stop(self) -> None:
        self.say = None

    async def output(self, audio: bytes) -> None:
        self.heard += audio

    async def interrupt(self) -> None:
        self.interrupted += 1


class Call:
    """One conversation of the official client's, and what it was told."""

    def __init__(self, url: str, *, headset: Headset | None = None, requires_auth: bool = False, **config: Any) -> None:
        self.answers: list[str] = []
        self.corrections: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.parts: list[tuple[str, str]] = []
        self.pings: list[int] = []
        self.ended: list[Any] = []
        self.tools = conversation.ClientTools()
        base = url.replace("ws:", "http:")
        self.client = conversation.AsyncConversation(
            elevenlabs.ElevenLabs(api_key="right", base_url=base),
            "agent_1",
            requires_auth=requires_auth,
            audio_interface=headset,
            client_tools=self.tools,
            config=conversation.ConversationInitiationData(**config),
            callback_agent_response=self._answer,
            callback_agent_response_correction=self._correction,
            callback_agent_chat_response_part=self._part,
            callback_user_transcript=self._heard,
            callback_latency_measurement=self._ping,
            callback_disconnect=self._end,
        )

    async def _answer(self, text: str) -> None:
        self.answers.append(text)

    async def _correction(self, original: str, corrected: str) -> None:
        self.corrections.append((original, corrected))

    async def _part(self, text: str, kind: Any) -> None:
        self.parts.append((kind.value, text))

    async def _heard(self, text: str) -> None:
        self.words.append(text)

    async def _ping(self, ms: int) -> None:
        self.pings.append(ms)

    async def _end(self, details: Any) -> None:
        self.ended.append(details)

    async def __aenter__(self) -> Call:
        await self.client.start_session()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.client.end_session()
        await self.client.wait_for_session_end()


async def until(found: Callable[[], object]) -> None:
    while not found():
        await anyio.sleep(0.01)


async def test_it_writes_and_is_spoken_to() -> None:
    simulator = Simulator(ScriptedBrain(["Hello there, human."]), speed=50.0, protocol="elevenlabs")
    headset = Headset()
    with anyio.fail_after(20):
        async with simulator.serve() as url, Call(url, headset=headset) as call:
            await until(lambda: call.client._conversation_id and headset.say)
            await call.client.send_user_message("hello")
            await until(lambda: call.answers)
            assert call.answers == ["Hello there, human."]
            # PCM16 at 16 kHz, and not at the engine's own rate.
            assert 0.5 * 32_000 < len(headset.heard) < 3 * 32_000
            await call.client.send_contextual_update("The user looks at page five.")
            await call.client.register_user_activity()
            await call.client.send_multimodal_message(text="and again", file_ids=["file_1"])
            await until(lambda: len(call.answers) == 2)
            assert not call.ended


async def test_it_calls_a_tool_of_the_client_s() -> None:
    lines: list[str | Reply | Exception] = [
        Reply("Let me look.", tool_calls=[ToolCall("weather", {"city": "Paris"})]),
        "Sunny in Paris.",
    ]
    simulator = Simulator(ScriptedBrain(lines), speed=50.0, protocol="elevenlabs")
    asked: list[dict[str, Any]] = []

    async def weather(parameters: dict[str, Any]) -> str:
        asked.append(parameters)
        return "Sunny in Paris"

    with anyio.fail_after(20):
        async with (
            simulator.serve() as url,
            Call(url, headset=Headset(), extra_body={"tools": [WEATHER]}) as call,
        ):
            call.tools.register("weather", weather, is_async=True)
            await until(lambda: call.client._conversation_id)
            await call.client.send_user_message("what is the weather in Paris")
            await until(lambda: len(call.answers) == 2)
            assert asked[0]["city"] == "Paris"
            assert call.answers == ["Let me look.", "Sunny in Paris."]
            assert simulator.brain.turns[1].tool_results[0].output == "Sunny in Paris"  # type: ignore[attr-defined]


async def test_it_is_interrupted_by_a_voice() -> None:
    brain = ScriptedBrain([Reply("A long story.", audio=bytes(960_000)), "Yes?"])
    simulator = Simulator(brain, ears=ScriptedEars(["stop"]), speed=4.0, protocol="elevenlabs")
    headset = Headset()
    with anyio.fail_after(20):
        async with simulator.serve() as url, Call(url, headset=headset) as call:
            await until(lambda: call.client._conversation_id and headset.say)
            await call.client.send_user_message("a story")
            await until(lambda: len(headset.heard) > 6_400)
            assert headset.say is not None
            voice = tone(0.6, 16_000) + silence(0.6, 16_000)
            for at in range(0, len(voice), 8_000):
                await headset.say(voice[at : at + 8_000])
            await until(lambda: "Yes?" in call.answers)
            assert headset.interrupted == 1
            assert call.words == ["stop"]
            assert call.corrections[0][0] == "A long story."


async def test_in_writing_alone() -> None:
    simulator = Simulator(ScriptedBrain(["One two three."]), speed=50.0, protocol="elevenlabs")
    with anyio.fail_after(20):
        async with simulator.serve() as url, Call(url) as call:
            await until(lambda: call.client._conversation_id)
            await call.client.send_user_message("count")
            await until(lambda: call.answers)
            assert call.answers == ["One two three."]
            assert call.parts[0] == ("start", "")
            assert call.parts[-1] == ("stop", "")
            assert "".join(text for _, text in call.parts) == "One two three."


async def test_it_greets_and_pings_and_hangs_up_in_time() -> None:
    override = {"agent": {"first_message": "Good day."}, "conversation": {"text_only": False}}
    simulator = Simulator(duration=5.0, pace=Pace(speed=50.0), protocol="elevenlabs")
    headset = Headset()
    with anyio.fail_after(20):
        async with (
            simulator.serve() as url,
            Call(
                url, headset=headset, conversation_config_override=override, dynamic_variables={"name": "Ada"}
            ) as call,
        ):
            await until(lambda: call.ended)
            assert call.answers == ["Good day."]
            assert headset.heard
            assert call.pings  # the second ping says how long the first took
            assert (call.ended[0].reason, call.ended[0].close_code) == ("agent", 1000)


async def test_a_private_agent_by_its_signed_url() -> None:
    """The HTTP side of it is played by the test: the simulator mints nothing."""
    simulator = Simulator(ScriptedBrain(["Come in."]), api_key="signature", speed=50.0, protocol="elevenlabs")
    asked: list[Request] = []
    port = 0

    def answer(request: Request) -> HttpReply | None:
        if request.path != "/v1/convai/conversation/get-signed-url":
            return simulator.admit(request)
        asked.append(request)
        signed = f"ws://127.0.0.1:{port}/v1/convai/conversation?agent_id=agent_1&conversation_signature=signature"
        return HttpReply(200, {"content-type": "application/json"}, f'{{"signed_url": "{signed}"}}'.encode())

    async def serve(*, task_status: Any) -> None:
        await serve_websocket(simulator.handle, process_request=answer, task_status=task_status)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(serve)
            async with Call(f"ws://127.0.0.1:{port}", requires_auth=True) as call:
                await until(lambda: call.client._conversation_id)
                await call.client.send_user_message("hello")
                await until(lambda: call.answers)
            tasks.cancel_scope.cancel()
    assert asked[0].headers["xi-api-key"] == "right"
    assert asked[0].query["agent_id"] == "agent_1"
