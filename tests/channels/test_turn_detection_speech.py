"""Turn detection in real speech, in noise, and in rooms."""

from __future__ import annotations

import math
import subprocess
import sys
from array import array

import pytest
from channels.listening import MANUAL, MS
from scenarios.calls import calling

from kernl_rt._audio.level import NoiseFloor
from kernl_rt._audio.pcm import level
from kernl_rt._audio.resample import convert
from kernl_rt._audio.turns import TurnTracker
from kernl_rt.channels import MemoryChannel, TurnDetectingChannel, WebRtcDetector
from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.events import ActivityEnded, ActivityStarted, AudioInputCommit
from kernl_rt.simulator._voice import _WORKER, EspeakVoice, _samples

pytestmark = pytest.mark.anyio


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
