"""The simulator over a real socket, judged by clients that others wrote: the official SDK and the official agents.

They run under asyncio, in real time.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import httpx
import pytest

from kernl_rt.simulator import Faults, Reply, ScriptedBrain, ScriptedEars, Simulator
from tests.simulator.driver import silence, tone
from tests.simulator.test_frames import WEATHER

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]


@pytest.fixture
def backend() -> str:
    return "asyncio"


def _client(url: str, key: str = "right") -> Any:
    openai = pytest.importorskip("openai")
    return openai.AsyncOpenAI(api_key=key, websocket_base_url=url, max_retries=0)


async def _until(connection: Any, type: str) -> list[Any]:
    events = [await connection.recv()]
    while events[-1].type != type:
        events.append(await connection.recv())
    return events


async def test_the_official_sdk_holds_a_conversation() -> None:
    simulator = Simulator(api_key="right", speed=50.0)
    with anyio.fail_after(20):
        async with simulator.serve() as url, _client(url).realtime.connect(model="gpt-realtime-2.1") as connection:
            created = await connection.recv()
            assert (created.type, created.session.model) == ("session.created", "gpt-realtime-2.1")
            await connection.session.update(session={"type": "realtime", "tools": [WEATHER]})
            assert (await connection.recv()).type == "session.updated"
            text = {"type": "input_text", "text": "What is the weather in Paris?"}
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
            await connection.response.create()
            call = (await _until(connection, "response.done"))[-1].response.output[0]
            assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny in Paris"}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            events = await _until(connection, "response.done")
            sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
            assert len(sound) > 24_000
            assert events[-1].response.output[0].content[0].transcript == "Sunny in Paris"
        assert simulator.sessions == 0


async def test_the_official_sdk_is_interrupted() -> None:
    brain = ScriptedBrain([Reply("A long story.", audio=bytes(480_000)), "Yes?"])
    simulator = Simulator(brain, ears=ScriptedEars(["stop"]), speed=4.0)
    with anyio.fail_after(20):
        async with simulator.serve() as url, _client(url).realtime.connect(model="m") as connection:
            await connection.response.create()
            first = (await _until(connection, "response.output_audio.delta"))[-1]
            await connection.input_audio_buffer.append(audio=base64.b64encode(tone(0.6) + silence(0.5)).decode())
            events = await _until(connection, "response.done")
            assert events[-1].response.status_details.reason == "turn_detected"
            await connection.conversation.item.truncate(item_id=first.item_id, content_index=0, audio_end_ms=50)
            events = await _until(connection, "conversation.item.truncated")
            if events[-1].type != "response.done" and not any(e.type == "response.done" for e in events):
                events += await _until(connection, "response.done")
            assert next(e for e in events if e.type == "response.done").response.status == "completed"


async def test_the_official_sdk_mints_and_uses_a_client_secret() -> None:
    openai = pytest.importorskip("openai")
    simulator = Simulator(api_key="right")
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            rest = openai.AsyncOpenAI(api_key="right", base_url=url.replace("ws:", "http:"), max_retries=0)
            session = {"type": "realtime", "model": "gpt-realtime", "instructions": "granted"}
            made = await rest.realtime.client_secrets.create(
                session=session, expires_after={"anchor": "created_at", "seconds": 60}
            )
            assert made.value.startswith("ek_")
            assert made.session.instructions == "granted"
            async with _client(url, made.value).realtime.connect(model="gpt-realtime") as connection:
                assert (await connection.recv()).session.instructions == "granted"
            with pytest.raises(openai.AuthenticationError):
                await openai.AsyncOpenAI(
                    api_key="wrong", base_url=url.replace("ws:", "http:"), max_retries=0
                ).realtime.client_secrets.create()
            with pytest.raises(openai.BadRequestError, match=r"Unknown parameter: 'session\.voice'"):
                await rest.realtime.client_secrets.create(session={"type": "realtime", "voice": "alloy"})


async def test_http_answers() -> None:
    simulator = Simulator(api_key="right")
    with anyio.fail_after(20):
        async with simulator.serve() as url, httpx.AsyncClient(trust_env=False) as http:
            base = url.replace("ws:", "http:")
            headers = {"authorization": "Bearer right"}
            answers = [
                await http.get(f"{base}/models", headers=headers),
                await http.get(f"{base}/realtime?model=m", headers=headers),
                await http.get(f"{base}/realtime/client_secrets", headers=headers),
                await http.post(f"{base}/realtime/client_secrets", headers=headers, content=b"{"),
                await http.post(f"{base}/realtime/client_secrets", headers=headers, json=[]),
                await http.post(f"{base}/realtime/client_secrets"),
                await http.post(
                    f"{base}/realtime/client_secrets",
                    headers=headers,
                    json={"expires_after": {"anchor": "created_at", "seconds": 5}},
                ),
            ]
    assert [answer.status_code for answer in answers] == [404, 400, 405, 400, 400, 401, 400]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "right" not in answer.text


async def _agent_session(url: str, **settings: Any) -> Any:
    realtime = pytest.importorskip("agents.realtime")
    agents = pytest.importorskip("agents")

    @agents.function_tool  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        """Current weather in a city."""
        return f"Sunny in {city}"

    agent = realtime.RealtimeAgent(name="Watson", instructions="Be brief.", tools=[weather])
    runner = realtime.RealtimeRunner(agent, config={"model_settings": settings})
    return await runner.run(model_config={"api_key": "right", "url": f"{url}/realtime?model=gpt-realtime"})


async def test_the_official_agents_talk_call_and_are_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    simulator = Simulator(api_key="right", speed=20.0)
    seen: list[str] = []
    with anyio.fail_after(30):
        async with simulator.serve() as url, await _agent_session(url) as session:
            await session.send_message("What is the weather in Paris?")
            spoken = 0
            async for event in session:
                seen.append(event.type)
                assert event.type != "error", event
                if event.type == "audio":
                    spoken += len(event.audio.data)
                if event.type == "audio_end":
                    break
            assert "tool_end" in seen
            assert spoken > 24_000
            assert any("Sunny in Paris" in str(item) for item in session._history)
            # And now it is interrupted by a voice, in the middle of a story.
            simulator.brain = ScriptedBrain([Reply("A long story.", audio=bytes(960_000)), "Yes?"])
            await session.send_message("Tell me a story")
            interrupted = False
            talked = False
            async for event in session:
                assert event.type != "error", event
                if event.type == "audio" and not talked:
                    talked = True
                    await session.send_audio(tone(0.6) + silence(0.5))
                interrupted = interrupted or event.type == "audio_interrupted"
                if interrupted and event.type == "agent_end":
                    break
    assert talked
    assert interrupted
    assert simulator.sessions == 0


async def test_the_official_sdk_sees_a_fault_as_a_close() -> None:
    websockets = pytest.importorskip("websockets.exceptions")
    simulator = Simulator(faults=Faults().close(1011, "keeled over", at="response.created"))
    with anyio.fail_after(20):
        async with simulator.serve() as url, _client(url).realtime.connect(model="m") as connection:
            await connection.response.create()
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await _until(connection, "response.done")
    assert caught.value.rcvd.code == 1011
