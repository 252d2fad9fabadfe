"""Noise that sounds like speech: the reply pauses, and plays on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import pytest

from kernl_rt import SessionConfig, TurnDetection
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    InputTranscriptDelta,
    Interrupted,
    ItemTruncate,
    PlaybackPaused,
    PlaybackResumed,
    ResponseCancel,
    SpeechStarted,
    SpeechStopped,
)
from tests.scenarios.calls import Call, audio, audio_done, calling, created, done, quiet

pytestmark = pytest.mark.anyio

SOFT = SessionConfig(turn_detection=TurnDetection.server_vad(create_response=False, interrupt_response=True))


def ramp(start_ms: int, ms: int) -> bytes:
    """Sound whose every sample says which millisecond of the reply it is."""
    return b"".join(n.to_bytes(2, "little") * 24 for n in range(start_ms, start_ms + ms))


def piece(start_ms: int, ms: int) -> Any:
    from attrs import evolve

    return evolve(audio(ms=ms), audio=ramp(start_ms, ms))


async def heard_by(channel: MemoryChannel) -> bytes:
    """Everything that the human has heard so far."""
    heard = b""
    with suppress(anyio.WouldBlock):
        while True:
            heard += channel.human.hear_nowait()
    return heard


async def start(call: Call) -> None:
    await call.says(created(), piece(1, 1000))
    await anyio.sleep(0.4)
    await call.says(SpeechStarted("u1", 0))


async def test_noise_pauses_and_the_rest_plays_on() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        assert len(call.seen(PlaybackPaused)) == 1
        await call.says(piece(1001, 200), audio_done())  # what arrives meanwhile waits, too
        await anyio.sleep(0.3)
        await call.says(SpeechStopped("u1", 0), done())
        await anyio.sleep(3)
        assert len(call.seen(PlaybackResumed)) == 1
        assert not call.seen(Interrupted)
        assert not call.sent(ItemTruncate)
        assert not call.sent(ResponseCancel)
        heard = await heard_by(channel)
        assert heard == ramp(1, 1200), "every sample is heard, once, in order"


async def test_words_make_it_an_interruption() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        await call.says(SpeechStopped("u1", 0), InputTranscriptDelta("u1", " "))
        assert not call.seen(Interrupted), "a blank is no word"
        await call.says(InputTranscriptDelta("u1", "stop"))
        [interrupted] = call.seen(Interrupted)
        assert interrupted.heard_ms == pytest.approx(400, abs=25)
        assert [event.audio_end_ms for event in call.sent(ItemTruncate)] == [interrupted.heard_ms]
        await anyio.sleep(3)
        assert not call.seen(PlaybackResumed)
        assert len(await heard_by(channel)) == pytest.approx(48 * interrupted.heard_ms, abs=48)


async def test_a_new_reply_makes_it_an_interruption() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        await call.says(SpeechStopped("u1", 0), done("r1", "cancelled"), created("r2"))
        assert len(call.seen(Interrupted)) == 1
        await call.says(audio("r2", "i2", 100))
        await anyio.sleep(3)
        assert not call.seen(PlaybackResumed)


async def test_the_caller_may_interrupt_what_is_paused() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        call.session.interrupt()
        await quiet()
        assert [event.reason for event in call.seen(Interrupted)] == ["requested"]
        assert len(call.sent(ResponseCancel)) == 1


async def test_while_the_noise_goes_on_nothing_is_decided() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        await anyio.sleep(10)
        assert not call.seen(Interrupted)
        assert not call.seen(PlaybackResumed)


async def test_a_second_interruption_after_a_recovery_counts_from_the_start_of_the_item() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await start(call)
        await call.says(SpeechStopped("u1", 0))
        await anyio.sleep(0.5 + 0.3)
        call.session.interrupt()
        await quiet()
        [interrupted] = call.seen(Interrupted)
        assert interrupted.heard_ms == pytest.approx(700, abs=50)


async def test_a_goodbye_survives_noise() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel, config=SOFT, recover_after=0.5) as call:
        await call.says(created(), piece(1, 1000), done())
        command = call.session.hang_up()
        await anyio.sleep(0.4)
        await call.says(SpeechStarted("u1", 0), SpeechStopped("u1", 0))
        await call.session.wait_closed()
        assert await command.settled() is True
        assert call.seen(PlaybackResumed)
