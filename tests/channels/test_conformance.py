"""The conformance suite passes over both channels, and finds the faults planted in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from channels.sounds import TONE_16K, wav

from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels import MemoryChannel, WavChannel
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed, ChannelEvent
from kernl_rt.testing._check_channel import check_channel

pytestmark = pytest.mark.anyio

FORMATS = [(PCM16_24K, PCM16_24K), (PCM16_16K, G711_ULAW)]


async def chatty(channel: RealtimeChannel) -> None:
    """Speaks 400 ms, and with manual playback listens as fast as it can."""
    assert isinstance(channel, MemoryChannel)
    human = channel.human
    await human.speak(bytes(range(256)) * 75)
    if channel.playback == "manual":
        while True:
            await human.hear()
            human.played()


@pytest.mark.parametrize("playback", ["realtime", "instant", "manual"])
@pytest.mark.parametrize("formats", FORMATS)
async def test_memory(playback: Any, formats: tuple[AudioFormat, AudioFormat]) -> None:
    await check_channel(
        lambda: MemoryChannel(playback=playback, input_buffer_ms=60, live=False),
        human=chatty,
        input_format=formats[0],
        output_format=formats[1],
    )


async def test_memory_in_real_time(real_clock: None) -> None:
    await check_channel(lambda: MemoryChannel(live=False), human=chatty, captured_ms=100)


async def test_memory_without_marks() -> None:
    await check_channel(lambda: MemoryChannel(reports_playback=False), human=chatty)


@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("formats", FORMATS)
async def test_wav(realtime: bool, formats: tuple[AudioFormat, AudioFormat], tmp_path: Path) -> None:
    question = wav(tmp_path / "question.wav", TONE_16K)
    numbers = iter(range(10_000))
    await check_channel(
        lambda: WavChannel(question, tmp_path / f"reply{next(numbers)}.wav", realtime=realtime),
        input_format=formats[0],
        output_format=formats[1],
        captured_ms=1_500,
    )


# -- the suite can fail ----------------------------------------------------------------


class Faulty(MemoryChannel):
    """A good channel with one fault."""


class Unbounded(Faulty):
    async def send(self, audio: bytes) -> None:
        await anyio.sleep_forever()


class RunsBackwards(Faulty):
    def clear(self) -> float:
        position = super().clear()
        return max(position - 30, 0) if position > 60 else position


class ClaimsTooMuch(Faulty):
    def clear(self) -> float:
        position = super().clear()
        return position + 100 if position else 0.0


class ClearWaits(Faulty):
    def clear(self) -> Any:
        async def later() -> float:
            return MemoryChannel.clear(self)

        pending = later()
        pending.close()
        return pending if self._line.call and self._line.call.speaker.playout.sent else 0.0


class LosesOnCancel(Faulty):
    async def receive(self) -> ChannelEvent:
        event = await super().receive()
        if isinstance(event, AudioCaptured):
            await anyio.lowlevel.checkpoint()
        return event


class KeepsTheRest(Faulty):
    """``clear`` forgets what a waiting ``send`` still holds."""

    async def send(self, audio: bytes) -> None:
        for offset in range(0, len(audio), 960):
            await super().send(audio[offset : offset + 960])


class OpensTwice(Faulty):
    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        self._line.call = None
        async with super().open(input_format, output_format):
            yield


class TakesAnyFormat(Faulty):
    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        self.input_formats = (*self.input_formats, input_format)
        async with super().open(input_format, output_format):
            yield


class WrapsErrors(Faulty):
    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        async with super().open(input_format, output_format), anyio.create_task_group():
            yield


class NotOpenIsFine(Faulty):
    async def send(self, audio: bytes) -> None:
        if self._line.call is not None:
            await super().send(audio)


class SwallowsTheEnd(Faulty):
    async def receive(self) -> ChannelEvent:
        while True:
            event = await super().receive()
            if not isinstance(event, AudioPlayed) or event.position_ms < 500:
                return event


FAULTS: list[tuple[type[MemoryChannel], str]] = [
    (Unbounded, "did not end within|refused"),
    (RunsBackwards, "clear\\(\\) says|ran backwards"),
    (ClaimsTooMuch, "clear\\(\\) says|were heard"),
    (ClearWaits, "synchronous"),
    (LosesOnCancel, "lost or doubled|none of it lost, did not end"),
    (KeepsTheRest, "that was cleared were played|lets a waiting"),
    (OpensTwice, "opening an open channel"),
    (TakesAnyFormat, "does not offer"),
    (WrapsErrors, "not in a group"),
    (NotOpenIsFine, "before open is refused"),
    (SwallowsTheEnd, "was heard did not end"),
]


@pytest.mark.parametrize(("faulty", "complaint"), FAULTS)
async def test_finds(faulty: type[MemoryChannel], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await check_channel(faulty, human=chatty, timeout=5)
