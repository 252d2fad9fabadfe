"""Turn detection around channels: the events it adds, and what whole sessions make of them."""

from __future__ import annotations

import math
import subprocess
import sys
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from scenarios.calls import audio, audio_done, calling, created, done

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, TurnDetection
from kernl_rt._audio.level import NoiseFloor
from kernl_rt._audio.pcm import level
from kernl_rt._audio.resample import convert
from kernl_rt._audio.turns import TurnTracker
from kernl_rt.abc import RealtimeConnection
from kernl_rt.channels import MemoryChannel, MemoryHuman, TurnDetectingChannel, WavChannel, WebRtcDetector
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_24K, AudioFormat, InputTranscription
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioInputAppend,
    AudioInputCommit,
    ChannelEvent,
    DtmfPressed,
    InputTranscript,
    Interrupted,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    ResponseDone,
)
from kernl_rt.exceptions import MisconfiguredError, SessionStateError
from kernl_rt.simulator import ScriptedEars, Simulator, ToneVoice
from kernl_rt.simulator._voice import _WORKER, EspeakVoice, _samples
from kernl_rt.testing import ScriptedModel, check_channel

pytestmark = pytest.mark.anyio

MS = 48  # bytes of PCM16 at 24 kHz
MANUAL = SessionConfig(turn_detection=TurnDetection.off())


class Loud:
    """Speech is what is not nearly zero: 20 ms frames at 24 kHz, so that nothing is converted."""

    rate = 24_000
    frame_samples = 480

    def is_speech(self, frame: bytes) -> bool:
        return max(memoryview(frame).cast("h")) > 1_000

    def reset(self) -> None:
        pass


def voice(ms: int) -> bytes:
    return b"\x00\x20" * (ms * 24)


def hush(ms: int) -> bytes:
    return b"\x01\x00" * (ms * 24)


def listening(*, detector: Any = None, **options: Any) -> tuple[TurnDetectingChannel, MemoryHuman]:
    inner = MemoryChannel()
    return TurnDetectingChannel(inner, detector or Loud(), **options), inner.human


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


# -- whole sessions ---------------------------------------------------------------------------------------------------


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


# -- real speech ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken() -> list[bytes]:
    """Two sentences by espeak-ng, PCM16 at 24 kHz."""
    if not EspeakVoice.installed():
        pytest.skip("espeak-ng is not installed")
    pytest.importorskip("webrtcvad")

    def say(text: str, name: str) -> bytes:
        command = [sys.executable, str(_WORKER), name, "150"]
        output = subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=30).stdout
        rate, samples = _samples(output)
        converter = convert(AudioFormat("pcm16", rate), PCM16_24K)
        return converter.push(samples) + converter.flush()

    return [say("What is the weather in Paris today?", "en-us+f3"), say("Tell me a long story about the sea.", "en-us")]


def noise(ms: int, amplitude: int, rate: int = 24_000) -> bytes:
    """White, the same each time."""
    state, samples = 1, bytearray()
    for _ in range(ms * rate // 1000):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        samples += (((state >> 15) % (2 * amplitude + 1)) - amplitude).to_bytes(2, "little", signed=True)
    return bytes(samples)


def mixed(one: bytes, other: bytes) -> bytes:
    """Sum, as long as the first."""
    pairs = zip(memoryview(one).cast("h"), memoryview(other).cast("h"), strict=False)
    return b"".join(max(-32_768, min(32_767, a + b)).to_bytes(2, "little", signed=True) for a, b in pairs)


def boundaries(pcm: bytes, rate: int = 24_000) -> list[tuple[str, float]]:
    detector = WebRtcDetector(rate if rate in (8_000, 16_000) else 16_000)
    tracker = TurnTracker(AudioFormat("pcm16", rate), detector, onset_ms=80, hangover_ms=500)
    found = []
    step = rate // 25  # bytes of 20 ms
    for start in range(0, len(pcm), step):
        found += tracker.push(pcm[start : start + step], start / rate / 2)
    return [(type(boundary).__name__, boundary.at or 0.0) for boundary in found]


def conversation(spoken: list[bytes]) -> tuple[bytes, list[float]]:
    """Both sentences after a second of silence each, and when they begin and end by their level."""
    pcm, edges = bytearray(), []
    for sentence in spoken:
        pcm += bytes(1_000 * MS)
        samples = memoryview(sentence).cast("h")
        loud = [index for index in range(len(samples)) if abs(samples[index]) > 400]
        edges += [len(pcm) / MS / 1000 + loud[0] / 24_000, len(pcm) / MS / 1000 + loud[-1] / 24_000]
        pcm += sentence
    return bytes(pcm + bytes(1_000 * MS)), edges


@pytest.mark.parametrize("amplitude", [1, 200, 600])
def test_each_sentence_is_one_turn(spoken: list[bytes], amplitude: int) -> None:
    pcm, edges = conversation(spoken)
    found = boundaries(mixed(pcm, noise(len(pcm) // MS, amplitude)))
    assert [name for name, _ in found] == ["ActivityStarted", "ActivityEnded"] * 2
    for (_, at), edge in zip(found, edges, strict=True):
        assert at == pytest.approx(edge, abs=0.2)


def test_a_noisy_room_and_clicks_are_no_turn() -> None:
    room = bytearray(noise(6_000, 600))
    for at in (1_000, 2_000, 3_000, 4_000):
        room[at * MS : (at + 40) * MS] = noise(40, 20_000)
    assert boundaries(bytes(room)) == []


HUMS = {
    "transformer, soft": ([100], 3_000),
    "transformer": ([100], 5_000),
    "transformer, loud": ([100], 8_000),
    "mains": ([50, 100, 150, 250], 12_000),
}


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
@pytest.mark.parametrize(("partials", "amplitude"), HUMS.values(), ids=HUMS)
def test_a_hum_that_stands_out_of_the_room_is_no_turn(partials: list[int], amplitude: int, rate: int) -> None:
    """Ten seconds of it, after a second of quiet: the noise floor takes it for speech, WebRTC's detector does not."""
    pytest.importorskip("webrtcvad")
    times = [2 * math.pi * n / rate for n in range(10 * rate)]
    hum = array("h", [round(amplitude / len(partials) * sum(math.sin(hz * t) for hz in partials)) for t in times])
    pcm = noise(1_000, 50, rate) + hum.tobytes()
    assert boundaries(pcm, rate=rate) == []
    floor = NoiseFloor()
    frames = [pcm[start : start + rate // 25] for start in range(0, len(pcm), rate // 25)]
    loud = [floor.stands_out(level(frame).rms_dbfs) for frame in frames]
    assert sum(loud[50:140]) == 90, "the hum is softer than the noise gate: it proves nothing of the detector"


@pytest.mark.parametrize("amplitude", [700, 1_300])
def test_steady_noise_that_begins_is_the_room_after_two_seconds(amplitude: int) -> None:
    """WebRTC's detector takes it for speech, as long as it stands out."""
    pytest.importorskip("webrtcvad")
    found = boundaries(noise(1_000, 50) + noise(20_000, amplitude))
    assert [name for name, _ in found] == ["ActivityStarted", "ActivityEnded"]
    assert [at for _, at in found] == pytest.approx([1.0, 3.1], abs=0.1)


async def test_a_session_in_real_speech(spoken: list[bytes]) -> None:
    inner = MemoryChannel()
    channel = TurnDetectingChannel(inner, prefix_padding_ms=300)
    pcm, _ = conversation(spoken)
    async with calling(channel=channel, config=MANUAL) as call:
        await inner.human.speak(pcm)
        assert len(call.sent(AudioInputCommit)) == 2
        kinds = [type(event) for event in call.log if isinstance(event, ActivityStarted | ActivityEnded)]
        assert kinds == [ActivityStarted, ActivityEnded] * 2


# -- the room ---------------------------------------------------------------------------------------------------------


def test_what_stands_out_of_the_room() -> None:
    room = NoiseFloor()
    assert [room.stands_out(-50) for _ in range(200)].count(True) == 0
    assert room.floor == -50
    assert room.stands_out(-40)
    assert not room.stands_out(-42)
    for _ in range(500):
        room.stands_out(-70)  # it became quiet
    assert room.floor == -70
    assert not room.stands_out(-56)  # softer than the quietest speech
    assert room.stands_out(-54)
    for _ in range(500):
        room.stands_out(-20)  # it became very loud
    assert room.floor == -40
    room.clear()
    assert not room.stands_out(-60)
    assert room.floor == -60
