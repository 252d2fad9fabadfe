"""espeak-ng speaks and pocketsphinx understands it: real subprocesses and threads, in real time, on both backends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.simulator import EspeakVoice, GrammarEars, Simulator, ToneVoice
from kernl_rt.simulator._ears import DeafEars, best_ears
from kernl_rt.simulator._sound import decoded, loudness
from kernl_rt.simulator._voice import _ESPEAK_VOICES, best_voice
from tests.simulator.driver import b64, only, silence
from tests.simulator.test_server import connected

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]
needs_voice = pytest.mark.skipif(not EspeakVoice.installed(), reason="espeak-ng or soxr is not installed")
needs_ears = pytest.mark.skipif(not GrammarEars.installed(), reason="pocketsphinx or soxr is not installed")


@needs_voice
@pytest.mark.parametrize("format", [PCM16_24K, PCM16_16K, G711_ULAW])
async def test_it_speaks(format: AudioFormat) -> None:
    sound = await EspeakVoice().synthesise("what is the weather in paris", format)
    assert 1000 < format.ms(len(sound)) < 3500
    assert loudness(decoded(sound, format)) > -40


@needs_voice
async def test_voices_differ_and_speed_counts() -> None:
    voice = EspeakVoice()
    sounds = {name: await voice.synthesise("hello there", PCM16_24K, voice=name) for name in _ESPEAK_VOICES}
    assert all(sounds.values())
    assert len(set(sounds.values())) >= 8
    fast = await voice.synthesise("hello there", PCM16_24K, speed=1.5)
    assert len(fast) < len(sounds["alloy"])


@needs_voice
@pytest.mark.parametrize("text", ["", "\0", "a\0b", "-v", "$(true)", "<break/>", "日本語", "😀"])
async def test_any_text_can_be_spoken(text: str) -> None:
    assert isinstance(await EspeakVoice().synthesise(text, PCM16_24K), bytes)


@needs_voice
async def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(MisconfiguredError, match="nobody-home"):
        await EspeakVoice("nobody-home").synthesise("hello", PCM16_24K)


@needs_voice
async def test_cancelling_kills_the_speaker() -> None:
    with anyio.move_on_after(0.001) as scope:
        await EspeakVoice().synthesise("words " * 3_000, PCM16_24K)
    assert scope.cancelled_caught


@needs_voice
def test_the_library_stays_out_of_this_process() -> None:
    assert "espeakng_loader" not in sys.modules
    if Path("/proc/self/maps").exists():
        assert "libespeak" not in Path("/proc/self/maps").read_text()


@needs_voice
@needs_ears
async def test_it_understands_itself() -> None:
    speaker, ears = EspeakVoice("en-us+f4", words_per_minute=140), GrammarEars()
    right = 0
    sentences = [
        "what is the weather in paris",
        "what time is it in london",
        "set a timer for ten minutes",
        "turn off the light in the living room",
        "play some music",
        "what are you",
    ]
    for sentence in sentences:
        sound = await speaker.synthesise(sentence, PCM16_24K)
        right += await ears.transcribe(sound, PCM16_24K) == sentence
    assert right >= 5


@needs_ears
async def test_silence_is_no_sentence_and_nothing_is_fine() -> None:
    ears = GrammarEars()
    assert isinstance(await ears.transcribe(b"", PCM16_24K), str)
    assert isinstance(await ears.transcribe(silence(0.5), PCM16_24K), str)


@needs_voice
@needs_ears
async def test_a_spoken_conversation() -> None:
    """A caller's voice goes in, is found, understood and answered in the agent's voice."""
    question = await EspeakVoice("en-us", words_per_minute=140).synthesise("what are you", PCM16_24K)
    simulator = Simulator.demo()
    assert simulator.info.notices == ()
    async with connected(simulator) as client:
        audio: dict[str, Any] = {"input": {"transcription": {"model": "whisper-1"}}}
        await client.send("session.update", session={"type": "realtime", "audio": audio})
        await client.send("input_audio_buffer.append", audio=b64(silence(0.4) + question + silence(0.6)))
        frames = await client.until("response.done")
    assert only(frames, "conversation.item.input_audio_transcription.completed")["transcript"] == "what are you"
    said = only(frames, "response.output_audio_transcript.done")["transcript"]
    assert said == "I am the kernl_rt simulator, not an AI model."


async def test_without_the_extra_it_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EspeakVoice, "installed", staticmethod(lambda: False))
    monkeypatch.setattr(GrammarEars, "installed", staticmethod(lambda: False))
    voice, no_voice = best_voice()
    ears, no_ears = best_ears()
    assert isinstance(voice, ToneVoice)
    assert isinstance(ears, DeafEars)
    assert no_voice is not None
    assert "kernl_rt[demo]" in no_voice
    assert no_ears is not None
    assert "kernl_rt[demo]" in no_ears
    assert Simulator.demo().info.notices == (no_voice, no_ears)
    for adapter in (EspeakVoice, GrammarEars):
        with pytest.raises(MisconfiguredError, match=r"kernl_rt\[demo\]"):
            adapter()
