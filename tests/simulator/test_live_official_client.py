"""The simulator's Live protocol over a real socket, judged by the official client. It runs under asyncio."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt.simulator import Pace, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.simulator.driver import silence, tone
from tests.simulator.live_strict import check_server_frame

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

openai = pytest.importorskip("openai")

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
BACKEND = {"type": "responses", "responses": {"model": "gpt-6", "tools": [WEATHER]}}


@pytest.fixture
def backend() -> str:
    return "asyncio"


@asynccontextmanager
async def connected(simulator: Simulator, **session: Any) -> AsyncIterator[Any]:
    with anyio.fail_after(30):
        async with simulator.serve() as url:
            client = openai.AsyncOpenAI(api_key="right", websocket_base_url=url, max_retries=0)
            async with client.live.connect() as connection:
                await connection.session.start(session={"model": "gpt-live-1", **session}, event_id="start_1")
                yield connection


def simulator_of(*lines: Any, **options: Any) -> Simulator:
    pace = Pace(speed=50.0, token=0.001, first_output=0.001, transcription=0.001)
    return Simulator(ScriptedBrain(lines), pace=pace, api_key="right", protocol="live", **options)


async def hear(connection: Any, sound: bytes) -> None:
    for at in range(0, len(sound), 9_600):
        await connection.session.input_audio.append(audio=base64.b64encode(sound[at : at + 9_600]).decode())


async def until(connection: Any, type: str) -> list[Any]:
    """Everything up to the next event of this type; silence is sent, because the timeline needs it."""
    events: list[Any] = []
    async with anyio.create_task_group() as tasks:

        async def keep_going() -> None:
            while True:
                await hear(connection, silence(0.2))
                await anyio.sleep(0.01)

        tasks.start_soon(keep_going)
        while not events or events[-1].type != type:
            events.append(await connection.recv())
            check_server_frame(events[-1].to_dict())
        tasks.cancel_scope.cancel()
    return events


def sound_of(events: list[Any]) -> bytes:
    return b"".join(base64.b64decode(e.delta) for e in events if e.type == "session.output_audio.delta")


def words_of(events: list[Any], side: str = "output") -> str:
    return "".join(e.delta for e in events if e.type == f"session.{side}_transcript.delta")


async def test_speech_is_heard_and_answered_on_one_timeline() -> None:
    simulator = simulator_of("Hello there.", ears=ScriptedEars(["good morning"]))
    async with connected(simulator, instructions="Be brief.") as connection:
        started = await connection.recv()
        assert (started.type, started.client_event_id) == ("session.started", "start_1")
        assert (started.session.model, started.session.status) == ("gpt-live-1", "active")
        assert started.session.audio.format.rate == 24_000
        await hear(connection, tone(0.6) + silence(0.6))
        events = await until(connection, "session.output_transcript.delta")
        while "there." not in words_of(events):
            events += await until(connection, "session.output_transcript.delta")
        assert words_of(events, "input") == "good morning"
        assert words_of(events) == "Hello there."
        deltas = [e for e in events if e.type == "session.output_audio.delta"]
        assert {len(base64.b64decode(e.delta)) for e in deltas} == {9_600}
        assert any(any(base64.b64decode(e.delta)) for e in deltas)
        assert not any(base64.b64decode(deltas[0].delta)), "there is silence before the first word"
        await connection.session.close(event_id="close_1")
        closed = (await until(connection, "session.closed"))[-1]
        assert (closed.reason, closed.client_event_id) == ("close_requested", "close_1")
        assert closed.usage.seconds >= 1.2


async def test_work_for_a_backend_with_tools() -> None:
    simulator = simulator_of(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.")
    async with connected(simulator, delegation=BACKEND) as connection:
        await connection.session.instructions.append(content="Tell the weather.", delegation_id=None, event_id="i_1")
        events = await until(connection, "response.event")
        while events[-1].event["type"] != "response.completed":
            events += await until(connection, "response.event")
        created = next(e for e in events if e.type == "session.delegation.created")
        assert created.delegation.target == "responses"
        nested = [e for e in events if e.type == "response.event"]
        assert {e.delegation_id for e in nested} == {created.delegation.id}
        call = next(e.event["item"] for e in nested if e.event["type"] == "response.output_item.done")
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Paris"})
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny"}
        await connection.response.item.create(item=output)
        await connection.response.create()
        events = await until(connection, "session.output_transcript.delta")
        while "sunny." not in words_of(events):
            events += await until(connection, "session.output_transcript.delta")


async def test_work_for_the_client_and_its_acknowledgements() -> None:
    simulator = simulator_of(Reply(tool_calls=[ToolCall("delegate")]), "It is done.")
    async with connected(simulator) as connection:
        await connection.session.thinking.append(content="The user is Ann.", delegation_id=None, event_id="t_1")
        assert (await until(connection, "session.thinking.appended"))[-1].client_event_id == "t_1"
        await connection.session.instructions.append(content="Do it.", delegation_id=None)
        created = (await until(connection, "session.delegation.created"))[-1]
        assert (created.delegation.target, created.delegation.response_id) == ("client", None)
        await connection.session.commentary.append(content="Done.", delegation_id=created.delegation.id, event_id="c_1")
        events = await until(connection, "session.commentary.appended")
        events += await until(connection, "session.output_transcript.delta")
        while "done." not in words_of(events):
            events += await until(connection, "session.output_transcript.delta")


async def test_muting_updating_and_refusals() -> None:
    simulator = simulator_of(ears=ScriptedEars(["never heard"]))
    async with connected(simulator, delegation=BACKEND) as connection:
        await connection.recv()
        await connection.session.input_audio.mute(event_id="m_1")
        assert (await until(connection, "session.input_audio.muted"))[-1].client_event_id == "m_1"
        await hear(connection, tone(0.6) + silence(0.6))
        await connection.session.input_audio.unmute()
        events = await until(connection, "session.input_audio.unmuted")
        assert words_of(events, "input") == ""
        update = {"delegation": {"type": "responses", "responses": {"tool_choice": "required"}}}
        await connection.session.update(session=update, event_id="u_1")
        updated = (await until(connection, "session.updated"))[-1]
        assert updated.session.delegation.responses.tool_choice == "required"
        await connection.session.update(session={"delegation": {"type": "client"}}, event_id="u_2")
        assert (await until(connection, "error"))[-1].error.client_event_id == "u_2"
        for frame, param in (
            ({"type": "session.update", "session": {"instructions": "No."}}, "session.instructions"),
            ({"type": "session.input_audio.commit"}, "type"),
            ({"type": "session.start", "session": {"model": "m"}}, None),
        ):
            await connection.send({**frame, "event_id": "wrong"})
            refused = (await until(connection, "error"))[-1].error
            assert (refused.client_event_id, refused.param) == ("wrong", param)


async def test_a_stored_session_is_forked() -> None:
    simulator = simulator_of("Hello.", "Again.")
    with anyio.fail_after(30):
        async with simulator.serve() as url:
            client = openai.AsyncOpenAI(api_key="right", websocket_base_url=url, max_retries=0)
            async with client.live.connect() as connection:
                await connection.session.start(session={"model": "gpt-live-1", "store": True})
                first = (await connection.recv()).session.id
            async with client.live.forks.connect(session_id=first) as connection:
                await connection.session.start(session={})
                started = await connection.recv()
                assert started.type == "session.started"
                assert (started.session.model, started.session.store) == ("gpt-live-1", True)
                assert started.session.id != first
            with pytest.raises(Exception, match="404"):
                async with client.live.forks.connect(session_id="live_unknown"):
                    pass
