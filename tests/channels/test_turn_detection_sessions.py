"""What whole sessions make of turn detection on our side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from channels.listening import MANUAL, MS, hush, listening, voice
from scenarios.calls import audio, audio_done, calling, created, done

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, TurnDetection
from kernl_rt.abc import RealtimeConnection
from kernl_rt.config import InputTranscription
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioInputAppend,
    AudioInputCommit,
    InputTranscript,
    Interrupted,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    ResponseDone,
)
from kernl_rt.simulator import ScriptedEars, Simulator, ToneVoice
from kernl_rt.testing import ScriptedModel

pytestmark = pytest.mark.anyio


class FarModel(ScriptedModel):
    """Its link takes three seconds for whatever the session sends."""

    @asynccontextmanager
    async def _connect(self, *args: Any) -> AsyncIterator[RealtimeConnection]:
        async with super()._connect(*args) as near:
            yield _Far(near)


class _Far(RealtimeConnection):
    def __init__(self, near: RealtimeConnection) -> None:
        self._near = near

    async def receive(self) -> Any:
        return await self._near.receive()

    async def send(self, event: Any) -> None:
        if not isinstance(event, AudioInputAppend):
            await anyio.sleep(3)
        await self._near.send(event)


async def test_barge_in_does_not_wait_for_the_network() -> None:
    channel, human = listening()
    model = FarModel()
    agent = RealtimeAgent(id="far", name="Far", instructions="-", model=model, config=MANUAL)
    with anyio.fail_after(100):
        async with RealtimeSession(agent, channel=channel) as session, anyio.create_task_group() as group:
            model.peer.say(created(), audio(ms=5_000))
            interrupted: list[Interrupted] = []
            session.on("interrupted", interrupted.append)
            heard = bytearray()

            async def listen() -> None:
                async for piece in human:
                    heard.extend(piece)

            group.start_soon(listen)
            await anyio.sleep(1)
            spoke_at = anyio.current_time()
            group.start_soon(human.speak, voice(500) + hush(800))
            while not interrupted:
                await anyio.sleep(0.001)
            assert anyio.current_time() - spoke_at == pytest.approx(0.08, abs=0.005)  # the onset, and no more
            assert not model.peer.heard(ResponseCancel)  # the provider does not know yet
            before = len(heard)
            await anyio.sleep(2)
            assert len(heard) - before <= 20 * MS  # silent since
            assert interrupted[0].heard_ms == pytest.approx(1_080, abs=25)
            await model.peer.hear(ResponseCancel)
            assert anyio.current_time() - spoke_at > 3
            group.cancel_scope.cancel()


@pytest.mark.parametrize("padding", [None, 300])
async def test_the_end_of_speech_commits_and_asks_once(padding: float | None) -> None:
    channel, human = listening(prefix_padding_ms=padding)
    async with calling(channel=channel, config=MANUAL) as call:
        for number in (1, 2, 3):
            await human.speak(hush(300) + voice(600) + hush(200) + voice(400) + hush(900))
            assert len(call.sent(AudioInputCommit)) == len(call.sent(ResponseCreate)) == number
            name = f"r{number}"
            await call.says(created(name), audio(name, name), audio_done(name, name), done(name))
            await anyio.sleep(1)
        speech = [type(event) for event in call.log if isinstance(event, ActivityStarted | ActivityEnded)]
        assert speech == [ActivityStarted, ActivityEnded] * 3
        assert not call.seen(Interrupted)
        # Nothing of a turn is missing in what was committed for it.
        sent = b"".join(event.audio for event in call.sent(AudioInputAppend))
        assert sent.count(voice(600) + hush(200) + voice(400)) == 3
        assert len(sent) == (3 * 2_400 if padding is None else 3 * 2_000) * MS


async def test_noise_bursts_neither_interrupt_nor_ask() -> None:
    channel, human = listening()
    async with calling(channel=channel, config=MANUAL) as call:
        await call.says(created(), audio(ms=3_000))
        for _ in range(4):
            await human.speak(hush(240) + voice(60) + hush(200))
        await anyio.sleep(2)
        assert not call.seen(Interrupted)
        assert not call.sent(AudioInputCommit)
        assert not call.sent(ResponseCancel)


async def test_a_reply_that_has_been_spoken_is_truncated_where_it_was_heard() -> None:
    channel, human = listening()
    async with calling(channel=channel, config=MANUAL) as call:
        await call.says(created(), audio(ms=3_000), audio_done(), done())
        await anyio.sleep(1)
        await human.speak(voice(300))
        (cut,) = call.sent(ItemTruncate)
        assert cut.audio_end_ms == pytest.approx(1_080, abs=25)


async def test_beside_the_providers_own_turn_detection_only_barge_in_is_ours() -> None:
    channel, human = listening()
    async with calling(channel=channel, config=SessionConfig(turn_detection=TurnDetection.server_vad())) as call:
        await call.says(created(), audio(ms=3_000))
        await human.speak(voice(500) + hush(1_000))
        assert len(call.seen(Interrupted)) == 1
        assert not call.sent(AudioInputCommit)


def simulated(channel: Any, *lines: str, **options: Any) -> RealtimeSession[Any]:
    model = Simulator(ears=ScriptedEars(lines), voice=ToneVoice()).realtime()
    config = MANUAL.merged(SessionConfig(transcription=InputTranscription(model="whisper-1")))
    agent = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model, config=config)
    return RealtimeSession(agent, channel=channel, **options)


async def test_with_the_simulator() -> None:
    channel, human = listening(prefix_padding_ms=200)
    log: list[Any] = []
    with anyio.fail_after(200):
        session = simulated(channel, "hello", "tell me a story", "stop")
        session.on("event", log.append)
        async with session:
            await human.speak(hush(500) + voice(800) + hush(6_000))
            await human.speak(voice(800) + hush(3_000))  # the story has begun
            await human.speak(voice(800) + hush(4_000))
    assert [event.text for event in log if isinstance(event, InputTranscript)] == ["hello", "tell me a story", "stop"]
    replies = [event.response for event in log if isinstance(event, ResponseDone)]
    assert [reply.status for reply in replies] == ["completed", "cancelled", "completed"]
    assert len([event for event in log if isinstance(event, Interrupted)]) == 1


async def test_who_is_muted_neither_interrupts_nor_asks() -> None:
    channel, human = listening()
    async with calling(channel=channel, config=MANUAL) as call:
        await call.says(created(), audio(ms=3_000))
        call.session.mute()
        await human.speak(voice(500) + hush(1_000))
        assert not call.seen(Interrupted)
        assert not call.sent(AudioInputCommit)
