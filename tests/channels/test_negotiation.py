"""Model and channel agree on formats: the channel's own where the model knows it, else one it converts to."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest
from channels.sounds import tone
from scenarios.calls import audio_done, calling, created, done, make_session

from kernl_rt._audio import g711
from kernl_rt._audio.pcm import level
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Capabilities
from kernl_rt.events import AudioDelta, AudioInputAppend, ItemTruncate
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing import check_channel

pytestmark = pytest.mark.anyio

PCM16_48K = AudioFormat("pcm16", 48_000)
HALF = 0.3535  # the RMS of a sine of half amplitude


def encoded(ms: int, audio_format: AudioFormat) -> bytes:
    pcm = tone(ms, audio_format.rate)
    return pcm if audio_format.encoding == "pcm16" else g711.encode(pcm, audio_format.encoding)


def loudness(sound: bytes, audio_format: AudioFormat) -> float:
    return level(sound if audio_format.encoding == "pcm16" else g711.decode(sound, audio_format.encoding)).rms


def knows(*formats: AudioFormat) -> Capabilities:
    return Capabilities(input_formats=formats, output_formats=formats)


PAIRS = [
    (PCM16_24K, G711_ULAW),  # a model that knows 24 kHz only, and a phone
    (G711_ULAW, PCM16_24K),  # a model for phones only, and a sound card
    (PCM16_8K, G711_ALAW),
    (PCM16_16K, PCM16_48K),
    (PCM16_24K, AudioFormat("pcm16", 44_100)),
    (PCM16_24K, PCM16_24K),
]


@pytest.mark.parametrize(("models", "channels"), PAIRS, ids=str)
async def test_they_talk(models: AudioFormat, channels: AudioFormat) -> None:
    channel = MemoryChannel(input_formats=[channels], output_formats=[channels])
    async with calling(channel=channel, capabilities=knows(models)) as call:
        config = call.session.config
        assert (config.input_format, config.output_format) == (models, models)
        await channel.human.speak(encoded(1_000, channels))
        await anyio.sleep(0.1)
        sent = b"".join(event.audio for event in call.sent(AudioInputAppend))
        assert models.ms(len(sent)) == pytest.approx(1_000, abs=31)  # the filter holds back a little
        assert loudness(sent, models) == pytest.approx(HALF, rel=0.05)

        sound = encoded(500, models)
        delta = AudioDelta(sound, response_id="r1", item_id="i1", content_index=0, output_index=0)
        await call.says(created(), delta, audio_done(), done())
        heard = b""
        with anyio.move_on_after(1):
            async for piece in channel.human:
                heard += piece
        assert channels.ms(len(heard)) == pytest.approx(500, abs=0.2)
        assert loudness(heard, channels) == pytest.approx(HALF, rel=0.05)


@pytest.mark.parametrize("samples", [1_000, 1_001, 4_799, 24_001])
async def test_the_last_part_of_a_sample_is_heard_too(samples: int) -> None:
    """Else a reply whose length does not divide would never have been heard to its end."""
    channel = MemoryChannel(output_formats=[G711_ULAW])
    async with calling(channel=channel, capabilities=knows(PCM16_24K)) as call:
        for number in range(20):
            name = f"r{number}"
            delta = AudioDelta(bytes(2 * samples), response_id=name, item_id=name, content_index=0, output_index=0)
            await call.says(created(name), delta, audio_done(name, name), done(name))
            await anyio.sleep(2)
            call.session.interrupt()
            assert not call.sent(ItemTruncate)  # all of it was heard
        heard = channel.statistics().heard
        assert 0 <= heard / 8_000 - 20 * samples / 24_000 < 1 / 8_000


async def test_the_channels_own_format_is_preferred() -> None:
    channel = MemoryChannel(input_formats=[G711_ULAW], output_formats=[G711_ULAW])
    async with calling(channel=channel, capabilities=knows(PCM16_24K, PCM16_8K, G711_ULAW)) as call:
        assert call.session.config.input_format == G711_ULAW
    async with calling(
        channel=MemoryChannel(input_formats=[G711_ULAW]), capabilities=knows(PCM16_24K, PCM16_8K)
    ) as call:
        assert call.session.config.input_format == PCM16_8K  # costs nothing


async def test_where_soxr_is_missing_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    session = make_session(channel=MemoryChannel(input_formats=[G711_ULAW]), capabilities=knows(PCM16_24K))
    with pytest.raises(MisconfiguredError, match=r"no common input format.*pip install 'kernl_rt\[audio\]'"):
        await session.__aenter__()


async def test_a_channel_that_cannot_convert_is_told_to() -> None:
    class Stubborn(MemoryChannel):
        def __init__(self) -> None:
            super().__init__()
            self.input_formats = (G711_ULAW,)

    session = make_session(channel=Stubborn(), capabilities=knows(PCM16_24K))
    with pytest.raises(MisconfiguredError, match="convert in the channel"):
        await session.__aenter__()


async def test_clear_forgets_what_the_converter_holds() -> None:
    channel = MemoryChannel(output_formats=[PCM16_8K])
    async with channel.open(PCM16_24K, PCM16_24K):
        await channel.send(tone(100, 24_000))
        channel.clear()
        await channel.send(bytes(48 * 200))
        await channel.flush()
        heard = b""
        with anyio.move_on_after(1):
            async for piece in channel.human:
                heard += piece
        assert heard == bytes(16 * 200)


async def chatty(channel: Any) -> None:
    await channel.human.speak(encoded(600, channel.human._line.call.input_format))


@pytest.mark.parametrize("playback", ["realtime", "instant"])
@pytest.mark.parametrize("own", [G711_ULAW, PCM16_48K], ids=str)
async def test_a_converting_channel_is_a_channel(playback: Any, own: AudioFormat) -> None:
    await check_channel(
        lambda: MemoryChannel(
            playback=playback, input_formats=[own], output_formats=[own], input_buffer_ms=60, live=False
        ),
        human=chatty,
        input_format=PCM16_24K,
        output_format=PCM16_24K,
    )
