"""The browser channel with a page made of Python: conformance, whole conversations, what the page is told."""

from __future__ import annotations

import anyio
import pytest
from channels.pages import Visited, visitor

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, TurnDetection, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.config import PCM16_16K, PCM16_24K, AudioFormat, InputTranscription
from kernl_rt.exceptions import ConnectRefusedError
from kernl_rt.simulator import ScriptedEars, Simulator
from kernl_rt.testing import check_channel

pytestmark = pytest.mark.anyio

SOUND = (b"\x00\x20" * 60 + b"\x00\xe0" * 60) * 100  # half a second
SILENCE = bytes(PCM16_24K.size(800))


@tool
async def weather(city: str) -> str:
    """Current weather in a city."""
    return f"Sunny in {city}"


def the_agent(*lines: str, **config: object) -> RealtimeAgent[None]:
    return RealtimeAgent(
        id="watson",
        name="Watson",
        instructions="Be brief.",
        model=Simulator(ears=ScriptedEars(lines)).realtime(),
        toolkits=[Toolkit(id="home", tools=[weather])],
        config=SessionConfig(transcription=InputTranscription(model="whisper-1"), **config),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("native", [PCM16_24K, PCM16_16K])
async def test_conforms(native: AudioFormat) -> None:
    await check_channel(lambda: Visited(native), human=visitor)


async def test_conforms_converting() -> None:
    await check_channel(
        lambda: Visited(AudioFormat("pcm16", 48_000)), human=visitor, input_format=PCM16_24K, output_format=PCM16_16K
    )


async def test_a_spoken_question_a_tool_and_an_answer() -> None:
    channel = Visited()
    page = channel.page
    session = RealtimeSession(the_agent("what is the weather in paris"), channel=channel)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            tasks.start_soon(channel.run, session)
            ready = await page.wait_told("ready")
            assert ready == {
                "type": "ready",
                "session": session.id,
                "agent": "Watson",
                "input": {"rate": 24_000},
                "output": {"rate": 24_000},
                "push_to_talk": False,
            }
            await page.speak(SOUND + SILENCE)
            asked = await page.wait_told("transcript", role="user", final=True)
            assert asked["text"] == "what is the weather in paris"
            running = await page.wait_told("tool", state="running")
            assert (running["name"], running["arguments"]) == ("weather", '{"city": "Paris"}')
            done = await page.wait_told("tool", state="done")
            assert (done["call"], done["result"]) == (running["call"], "Sunny in Paris")
            answer = await page.wait_told("transcript", role="agent", final=True)
            assert "unny" in answer["text"]
            assert not answer["interrupted"]
            latency = await page.wait_told("latency")
            assert 0 < latency["ms"] < 5_000
            assert page.told("speech", speaking=True)
            assert page.told("speech", speaking=False)
            await page.wait_told("usage")
            await anyio.sleep(10)
            assert len(page.heard) > PCM16_24K.size(500)
            assert channel.statistics().confirmed == len(page.heard)
            await page.say("bye")
    assert session.status == "closed"
    assert page.closed is not None
    assert page.closed.code == 1000


async def test_barge_in_silences_the_page_at_once_and_truncates_at_what_was_played() -> None:
    channel = Visited()
    page = channel.page
    session = RealtimeSession(the_agent("tell me a story", "stop"), channel=channel)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            tasks.start_soon(channel.run, session)
            await page.wait_told("ready")
            await page.speak(SOUND + SILENCE)
            await page.wait_told("transcript", role="agent", final=False)
            await anyio.sleep(2)
            began = anyio.current_time()
            await page.speak(SOUND)
            speech = await page.wait_told("speech", count=2, speaking=True)
            assert speech
            assert page.cleared_at[0] - began < 0.3, "as soon as speech was recognised"
            heard = len(page.heard)
            cut = await page.wait_told("transcript", role="agent", interrupted=True)
            assert cut["final"]
            assert 0 < len(cut["text"].split()) < 40
            [message] = [item for item in session.history if getattr(item, "status", "") == "incomplete"]
            assert message.text == cut["text"]  # type: ignore[union-attr]
            assert channel.statistics().clears == 1
            assert heard < PCM16_24K.size(4_000)
            session.close()


async def test_push_to_talk() -> None:
    channel = Visited(push_to_talk=True)
    page = channel.page
    session = RealtimeSession(the_agent("hello", turn_detection=TurnDetection.off()), channel=channel)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            tasks.start_soon(channel.run, session)
            assert (await page.wait_told("ready"))["push_to_talk"] is True
            await page.speak(SOUND)  # to the room
            assert not page.told("transcript")
            await page.say("talk", pressed=True)
            await page.say("talk", pressed=True)  # a stuttering key
            await page.speak(SOUND)
            await page.say("talk", pressed=False)
            heard = await page.wait_told("transcript", role="user", final=True)
            assert heard["text"] == "hello"
            await page.wait_told("transcript", role="agent", final=True)
            assert len(page.told("transcript", role="user", final=True)) == 1
            session.close()


async def test_what_the_page_asks_for() -> None:
    channel = Visited()
    page = channel.page
    session = RealtimeSession(the_agent(), channel=channel)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            await page.say("text", text="too early")
            tasks.start_soon(channel.run, session)
            await page.wait_told("ready")
            assert channel.ignored == 1
            await page.say("mute", muted=True)
            assert await page.wait_told("muted", muted=True)
            assert session.muted
            await page.say("mute", muted=False)
            assert await page.wait_told("muted", muted=False)
            assert not session.muted
            await page.say("ping", id=7)
            assert await page.wait_told("pong", id=7)
            await page.say("text", text="tell me a story")
            assert (await page.wait_told("transcript", role="user"))["text"] == "tell me a story"
            await page.wait_told("transcript", role="agent", final=False)
            await anyio.sleep(1)
            await page.say("interrupt")
            await page.wait_told("clear")
            await page.wait_told("transcript", role="agent", interrupted=True)
            session.close()
    assert page.told("status", status="closed")


async def test_a_failure_is_told_in_our_own_words() -> None:
    secret = "sk-live-5up3rs3cr3t"
    channel = Visited()

    async def handle(stream: object, request: object) -> None:
        raise AssertionError("refused before")

    async def refuse(request: object) -> None:
        raise ConnectRefusedError(f"refused for {secret}")

    transport = MemoryTransport(handle, process_request=refuse)
    session = RealtimeSession(the_agent(), channel=channel, transport=transport)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(channel.page.run)
            with pytest.raises(ConnectRefusedError):
                await channel.run(session)
    [error] = channel.page.told("error")
    assert error["code"] == "unavailable"
    assert secret not in str(channel.page.messages)
    assert channel.page.closed is not None
    assert channel.page.closed.code == 1011
