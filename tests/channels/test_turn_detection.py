"""Turn detection around channels: the events it adds, and that it is a channel like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from channels.listening import MS, Loud, hush, listening, voice

from kernl_rt.channels import MemoryChannel, TurnDetectingChannel, WavChannel, WebRtcDetector
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_24K, AudioFormat
from kernl_rt.events import ActivityEnded, ActivityStarted, AudioCaptured, ChannelEvent, DtmfPressed
from kernl_rt.exceptions import MisconfiguredError, SessionStateError
from kernl_rt.testing import check_channel

pytestmark = pytest.mark.anyio


async def drain(channel: TurnDetectingChannel, seconds: float = 0.001) -> list[ChannelEvent]:
    events = []
    with anyio.move_on_after(seconds):
        while True:
            events.append(await channel.receive())
    return events


def story(events: list[ChannelEvent]) -> list[Any]:
    """Sound as its milliseconds, joined; boundaries as they are."""
    told: list[Any] = []
    for event in events:
        if not isinstance(event, AudioCaptured):
            told.append((type(event).__name__, event.at))
        elif told and isinstance(told[-1], int):
            told[-1] += len(event.audio) // MS
        else:
            told.append(len(event.audio) // MS)
    return told


def sound_of(events: list[ChannelEvent]) -> bytes:
    return b"".join(event.audio for event in events if isinstance(event, AudioCaptured))


# -- the events -------------------------------------------------------------------------------------------------------


async def test_starts_and_ends_stand_around_the_sound_of_the_turn() -> None:
    channel, human = listening(hangover_ms=200)
    async with channel.open(PCM16_24K, PCM16_24K):
        start = anyio.current_time()
        pcm = hush(100) + voice(300) + hush(300)
        async with anyio.create_task_group() as group:
            group.start_soon(human.speak, pcm)
            events = await drain(channel, 1)
        # 160 ms: the start is known with the fourth frame of speech.
        assert story(events) == [
            160,
            ("ActivityStarted", pytest.approx(start + 0.1)),
            440,
            ("ActivityEnded", pytest.approx(start + 0.4)),
            100,
        ]
        assert sound_of(events) == pcm


@pytest.mark.parametrize("chunk_ms", [10, 20, 35, 100, 700])
async def test_what_a_channel_reports_at_once_is_cut_where_turns_are(chunk_ms: int) -> None:
    channel, human = listening(hangover_ms=200)
    async with channel.open(PCM16_24K, PCM16_24K):
        pcm = hush(100) + voice(200) + hush(220) + voice(100) + hush(80)
        for start in range(0, len(pcm), chunk_ms * MS):
            human.speak_nowait(pcm[start : start + chunk_ms * MS], at=50 + start / MS / 1000)
            await checkpoint()
            if start == 0:
                events = []
            events += await drain(channel)
        told = story(events)
        assert [entry for entry in told if isinstance(entry, tuple)] == [
            ("ActivityStarted", pytest.approx(50.1)),
            ("ActivityEnded", pytest.approx(50.3)),
            ("ActivityStarted", pytest.approx(50.52)),
        ]
        assert told[0] == pytest.approx(160, abs=20)
        assert sound_of(events) == pcm


async def test_noises_shorter_than_the_onset_make_nothing() -> None:
    channel, human = listening(onset_ms=80, prefix_padding_ms=100)
    async with channel.open(PCM16_24K, PCM16_24K):
        for _ in range(5):
            human.speak_nowait(hush(100) + voice(60) + hush(100), at=anyio.current_time())
            assert await drain(channel, 0.26) == []


async def test_only_the_sound_of_the_turn_is_passed_on() -> None:
    channel, human = listening(hangover_ms=200, prefix_padding_ms=100)
    async with channel.open(PCM16_24K, PCM16_24K):
        start = anyio.current_time()
        human.speak_nowait(b"", at=start)
        pcm = hush(400) + voice(300) + hush(1_000) + voice(300) + hush(400)
        async with anyio.create_task_group() as group:
            group.start_soon(human.speak, pcm)
            events = await drain(channel, 3)
        turn = [("ActivityStarted", pytest.approx(start + 0.4)), 600, ("ActivityEnded", pytest.approx(start + 0.7))]
        again = [("ActivityStarted", pytest.approx(start + 1.7)), 600, ("ActivityEnded", pytest.approx(start + 2.0))]
        assert story(events) == turn + again
        assert sound_of(events) == (hush(100) + voice(300) + hush(200)) * 2


async def test_silence_is_not_hoarded() -> None:
    channel, human = listening(prefix_padding_ms=300)
    async with channel.open(PCM16_24K, PCM16_24K):
        for _ in range(300):
            human.speak_nowait(hush(100), at=7.0)  # a source whose clock stands still
            await drain(channel)
        listener = channel._listener
        assert listener is not None
        assert sum(len(piece.audio) for piece in listener._withheld) <= 1_000 * MS


async def test_a_button_counts_before_the_detector() -> None:
    channel, human = listening(hangover_ms=200)
    async with channel.open(PCM16_24K, PCM16_24K):
        human.speak_nowait(voice(200), at=anyio.current_time())
        human.activity_started()  # in the middle of what was detected: the turn goes on
        human.speak_nowait(hush(200), at=anyio.current_time() + 0.2)
        human.activity_ended()
        human.press("5")
        events = await drain(channel)
        assert [type(event) for event in events if not isinstance(event, AudioCaptured)] == [
            ActivityStarted,
            ActivityEnded,
            DtmfPressed,
        ]
        assert not isinstance(events[-1], AudioCaptured)
        human.activity_started()
        human.speak_nowait(voice(200), at=anyio.current_time() + 0.4)
        human.activity_ended()
        kinds = [type(event) for event in await drain(channel) if not isinstance(event, AudioCaptured)]
        assert kinds == [ActivityStarted, ActivityEnded]


async def test_a_device_that_is_muted_in_the_middle_of_speech() -> None:
    channel, human = listening(hangover_ms=200)
    async with channel.open(PCM16_24K, PCM16_24K):
        start = anyio.current_time()
        human.speak_nowait(voice(200), at=start)
        ended = (await drain(channel, 0.69)), await drain(channel, 0.1)
        assert [type(event) for event in ended[0] if not isinstance(event, AudioCaptured)] == [ActivityStarted]
        assert ended[1] == [ActivityEnded(at=pytest.approx(start + 0.2))]
        assert await drain(channel, 5) == []


async def test_a_source_that_can_wait_may_be_late() -> None:
    inner = MemoryChannel(live=False)
    channel = TurnDetectingChannel(inner, Loud())
    async with channel.open(PCM16_24K, PCM16_24K):
        inner.human.speak_nowait(voice(200), at=1.0)
        await drain(channel, 60)
        inner.human.speak_nowait(voice(200), at=1.2)
        assert not any(isinstance(event, ActivityEnded) for event in await drain(channel, 60))


# -- as a channel -----------------------------------------------------------------------------------------------------


async def chatty(channel: Any) -> None:
    await channel.channel.human.speak(voice(400))


@pytest.mark.parametrize("padding", [None, 100])
async def test_it_is_a_channel(padding: float | None) -> None:
    await check_channel(
        lambda: TurnDetectingChannel(MemoryChannel(input_buffer_ms=60, live=False), Loud(), prefix_padding_ms=padding),
        human=chatty,
    )


@pytest.mark.parametrize("formats", [(PCM16_24K, PCM16_24K), (G711_ULAW, PCM16_8K)])
async def test_it_is_a_channel_with_the_detector_of_the_extra(
    formats: tuple[AudioFormat, AudioFormat], tmp_path: Path
) -> None:
    from channels.sounds import TONE_16K, wav

    question = wav(tmp_path / "question.wav", TONE_16K)
    await check_channel(
        lambda: TurnDetectingChannel(WavChannel(question)),
        input_format=formats[0],
        output_format=formats[1],
        captured_ms=800,
    )


async def test_the_rest_is_the_channels() -> None:
    inner = MemoryChannel(live=False, reports_playback=False, input_formats=[G711_ULAW])
    channel = TurnDetectingChannel(inner, Loud())
    assert (channel.input_formats, channel.output_formats) == (inner.input_formats, inner.output_formats)
    assert (channel.live, channel.reports_playback) == (False, False)
    with pytest.raises(SessionStateError, match="not open"):
        await channel.receive()


@pytest.mark.parametrize(
    ("option", "value"),
    [("onset_ms", -1), ("hangover_ms", float("nan")), ("prefix_padding_ms", 10_001), ("onset_ms", float("inf"))],
)
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(MisconfiguredError, match=option):
        TurnDetectingChannel(MemoryChannel(), Loud(), **{option: value})


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[vad\]'"):
        TurnDetectingChannel(MemoryChannel())
    TurnDetectingChannel(MemoryChannel(), Loud())


@pytest.mark.parametrize(
    "options", [{"rate": 24_000}, {"aggressiveness": 4}, {"quietest_dbfs": 1}, {"quietest_dbfs": float("nan")}]
)
def test_options_of_the_detector(options: Any) -> None:
    with pytest.raises(MisconfiguredError):
        WebRtcDetector(**options)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, kernl_rt.channels; sys.exit(bool({'soxr', 'numpy', 'webrtcvad', 'soundfile'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
