"""Who speaks when: turn detection, commits, the idle timeout and transcription, driven by hand."""

from __future__ import annotations

import base64

import pytest

from tests.simulator.driver import Talk, errors, of, only, silence, tone, types


def test_voice_activity() -> None:
    talk = Talk(ears=lambda job: "what is two plus two")
    quiet = talk.hear(silence(2.0))
    assert not quiet
    started = only(talk.hear(tone(1.0)), "input_audio_buffer.speech_started")
    assert started["audio_start_ms"] == pytest.approx(2000 - 300, abs=20)
    new = talk.hear(silence(0.3))
    assert types(new)[:5] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert new[0]["audio_end_ms"] == pytest.approx(3000 + 200, abs=20)
    assert {frame["item_id"] for frame in new[:2]} == {started["item_id"]}
    assert talk.turns[-1].user_text == "what is two plus two"
    item = only(talk.send("conversation.item.retrieve", item_id=started["item_id"]), "conversation.item.retrieved")
    kept = len(base64.b64decode(item["item"]["content"][0]["audio"])) / 48
    assert kept == pytest.approx(300 + 1000 + 200, abs=30)


def test_a_soft_noise_and_a_click_are_no_speech() -> None:
    talk = Talk()
    assert not talk.hear(tone(1.0, amplitude=200))
    assert not talk.hear(silence(0.2) + tone(0.02) + silence(0.5))
    talk.turn_detection({"type": "server_vad", "threshold": 0.1})
    assert of(talk.hear(tone(1.0, amplitude=200)), "input_audio_buffer.speech_started")


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
def test_voice_activity_on_the_telephone(law: str) -> None:
    from kernl_rt.config import G711_ALAW, G711_ULAW
    from kernl_rt.simulator._sound import decoded, encoded

    format = G711_ULAW if law == "audio/pcmu" else G711_ALAW
    talk = Talk()
    talk.configure(audio={"input": {"format": {"type": law}}, "output": {"format": {"type": law}}})
    from kernl_rt.config import PCM16_8K

    sound = encoded(decoded(tone(1.0, 8_000) + silence(0.5, 8_000), PCM16_8K), format)
    new = talk.hear(sound, chunk=160)
    assert types(new)[:2] == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert new[1]["audio_end_ms"] == pytest.approx(1200, abs=20)
    response = only(talk.until("response.done"), "response.done")["response"]
    assert response["audio"]["output"]["format"] == {"type": law}


@pytest.mark.parametrize(("eagerness", "waits"), [("high", 0.3), ("medium", 0.7), ("low", 1.2)])
def test_semantic_detection_waits_by_its_eagerness(eagerness: str, waits: float) -> None:
    talk = Talk()
    talk.turn_detection({"type": "semantic_vad", "eagerness": eagerness})
    assert types(talk.hear(tone(0.5) + silence(waits - 0.1))) == ["input_audio_buffer.speech_started"]
    assert of(talk.hear(silence(0.2)), "input_audio_buffer.speech_stopped")


def test_push_to_talk() -> None:
    talk = Talk()
    talk.turn_detection(None)
    assert not talk.hear(tone(0.5) + silence(1.0))
    new = talk.send("input_audio_buffer.commit")
    assert types(new) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert not of(talk.wait(5), "response.created"), "a commit must never ask for a reply"
    talk.hear(tone(0.5))
    assert types(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert errors(talk.send("input_audio_buffer.commit"))


def test_create_response_off_leaves_the_reply_to_the_client() -> None:
    talk = Talk()
    talk.turn_detection({"type": "server_vad", "create_response": False})
    assert of(talk.hear(tone(0.5) + silence(0.5)), "input_audio_buffer.committed")
    talk.wait(5)
    assert not of(talk.frames, "response.created")


def test_a_commit_during_speech_uses_the_announced_item() -> None:
    talk = Talk()
    started = only(talk.hear(tone(0.5)), "input_audio_buffer.speech_started")
    committed = only(talk.send("input_audio_buffer.commit"), "input_audio_buffer.committed")
    assert committed["item_id"] == started["item_id"]
    assert not of(talk.hear(silence(1.0)), "input_audio_buffer.speech_stopped")


def test_the_idle_timeout_counts_from_the_end_of_playback() -> None:
    talk = Talk.saying("one two three four five six seven eight nine ten", "Are you there?")  # one second of sound
    talk.turn_detection({"type": "server_vad", "idle_timeout_ms": 5000})
    began = talk.now
    talk.ask("hi")
    new = talk.until("input_audio_buffer.timeout_triggered")
    assert talk.now - began == pytest.approx(6.0, abs=0.1)
    after = types(new)[types(new).index("input_audio_buffer.timeout_triggered") :]
    assert after[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]


def test_speaking_stops_the_idle_timeout() -> None:
    talk = Talk.saying("one two three", "again")
    talk.turn_detection({"type": "server_vad", "idle_timeout_ms": 5000, "create_response": False})
    talk.ask("hi")
    talk.hear(tone(0.5))
    assert not of(talk.wait(60), "input_audio_buffer.timeout_triggered")


def test_input_transcription_is_asynchronous() -> None:
    talk = Talk(ears=lambda job: "what is two plus two")
    talk.configure(audio={"input": {"transcription": {"model": "whisper-1"}}})
    talk.hear(tone(0.5) + silence(0.5))
    talk.until("conversation.item.input_audio_transcription.completed")
    order = types(talk.frames)
    first = order.index("conversation.item.input_audio_transcription.delta")
    assert first > order.index("response.created")
    deltas = of(talk.frames, "conversation.item.input_audio_transcription.delta")
    assert "".join(frame["delta"] for frame in deltas) == "what is two plus two"
    done = only(talk.frames, "conversation.item.input_audio_transcription.completed")
    assert done["usage"] == {"type": "duration", "seconds": 1}
    item = only(talk.send("conversation.item.retrieve", item_id=done["item_id"]), "conversation.item.retrieved")
    assert item["item"]["content"][0]["transcript"] == "what is two plus two"


def test_without_transcription_the_brain_hears_all_the_same() -> None:
    talk = Talk(ears=lambda job: "what is two plus two")
    talk.hear(tone(0.5) + silence(0.5))
    talk.until("response.done")
    assert not [type for type in types(talk.frames) if "transcription" in type]
    assert talk.turns[-1].user_text == "what is two plus two"
