"""The simulator's Gemini protocol by itself: what it takes, what it says, and what it hangs up over."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kernl_rt.config import PCM16_24K
from kernl_rt.simulator._protocols import PROTOCOLS
from kernl_rt.simulator._protocols._gemini import GeminiTranslation
from kernl_rt.testing.strategies import hostile_messages

SETUP: dict[str, Any] = {"setup": {"model": "models/m", "outputAudioTranscription": {}}}
CALL = {"type": "response.function_call_arguments.done", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
SOUND = {
    "realtimeInput": {"audio": {"data": base64.b64encode(bytes(3200)).decode(), "mimeType": "audio/pcm;rate=16000"}}
}


def translation(setup: dict[str, Any] | None = SETUP) -> GeminiTranslation:
    made = GeminiTranslation({}, duration=600.0, now=0.0)
    if setup is not None:
        tell(made, setup)
        say(made, {"type": "session.updated"})
    return made


def tell(made: GeminiTranslation, frame: Any) -> list[Any]:
    return list(made.read(json.dumps(frame), 0.0))


def say(made: GeminiTranslation, frame: dict[str, Any]) -> list[Any]:
    return [json.loads(message) for message in made.write(frame, 0.0)]


def calling() -> GeminiTranslation:
    made = translation()
    say(made, {"type": "response.created", "response": {"id": "r1"}})
    assert not say(made, CALL)
    (said,) = say(made, {"type": "response.done", "response": {"status": "completed", "usage": None}})
    assert said == {"toolCall": {"functionCalls": [{"id": "c1", "name": "f", "args": {"a": 1}}]}}
    return made


def test_the_setup_is_said_once_and_first() -> None:
    made = translation(None)
    tell(made, SOUND)
    assert made.closing is not None
    made = translation()
    tell(made, SETUP)
    assert made.closing is not None


def test_no_realtime_input_while_a_call_waits() -> None:
    made = calling()
    tell(made, SOUND)
    assert made.closing is not None
    assert made.closing[0] == 1008


def test_a_result_brings_the_reply() -> None:
    made = calling()
    response = {"id": "c1", "name": "f", "response": {"output": "done"}}
    item, create = tell(made, {"tool_response": {"functionResponses": [response]}})
    assert item["item"] == {"type": "function_call_output", "call_id": "c1", "output": "done"}
    assert create == {"type": "response.create"}
    tell(made, {"toolResponse": {"functionResponses": [response]}})
    assert made.closing == (1008, "Requested entity was not found.")


def test_a_message_cancels_the_calls_that_wait() -> None:
    made = calling()
    tell(made, {"clientContent": {"turns": [{"parts": [{"text": "never mind"}]}], "turnComplete": True}})
    assert [json.loads(each) for each in made.answers()] == [{"toolCallCancellation": {"ids": ["c1"]}}]
    assert tell(made, SOUND)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_sound_of_any_rate_lasts_as_long_as_it_did(rate: int) -> None:
    blob = {"data": base64.urlsafe_b64encode(b"\x10\x20" * rate).decode(), "mimeType": f"audio/pcm;rate={rate}"}
    (frame,) = tell(translation(), {"realtime_input": {"audio": blob}})
    assert PCM16_24K.ms(len(base64.b64decode(frame["audio"]))) == pytest.approx(1000.0, abs=1.0)


def test_a_rate_that_is_not_said_is_16_khz() -> None:
    blob = {"data": SOUND["realtimeInput"]["audio"]["data"], "mime_type": "audio/pcm"}
    (frame,) = tell(translation(), {"realtimeInput": {"audio": blob}})
    assert len(base64.b64decode(frame["audio"])) == pytest.approx(4800, abs=4)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "session.update"},
        {},
        [],
        {"clientContent": {}, "realtimeInput": {}},
        {"clientContent": {"turns": [{"role": "assistant", "parts": [{"text": "x"}]}]}},
        {"clientContent": {"turns": [{"parts": []}]}},
        {"clientContent": {"turns": "x"}},
        {"realtimeInput": {"audio": {"data": "!", "mimeType": "audio/pcm"}}},
        {"realtimeInput": {"audio": {"data": "", "mimeType": "audio/mp3"}}},
        {"realtimeInput": {"audio": {"data": "AAAA", "mimeType": "audio/pcm;rate=0000"}}},
        {"realtimeInput": {"activityStart": {}}},
        {"toolResponse": {"functionResponses": [{"id": "unknown"}]}},
        {"toolResponse": {}},
    ],
)
def test_what_ends_the_link(frame: Any) -> None:
    made = translation()
    assert not tell(made, frame)
    assert made.closing is not None
    assert made.closing[0] in (1007, 1008)


@pytest.mark.parametrize(
    "tools",
    [
        [{"functionDeclarations": [{"description": "no name"}]}],
        [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}],
    ],
)
def test_tools_that_are_refused(tools: Any) -> None:
    made = translation(None)
    assert not tell(made, {"setup": {"model": "m", "tools": tools}})
    assert made.closing is not None


def test_the_end_is_announced_and_told_in_its_own_words() -> None:
    made = translation()
    assert made.deadline == 540.0
    assert not made.poll(539.0)
    assert [json.loads(each) for each in made.poll(540.0)] == [{"goAway": {"timeLeft": "60s"}}]
    assert made.deadline is None
    assert made.close(1001, "old") == (1008, "The session duration limit was reached.")
    assert made.close(1011, "x") == (1011, "x")


def test_where_and_as_whom() -> None:
    protocol = PROTOCOLS["gemini"]()
    base = "/ws/google.ai.generativelanguage."
    assert protocol.session_path(f"{base}v1.GenerativeService.BidiGenerateContent")
    assert protocol.session_path(f"{base}v1alpha.GenerativeService.BidiGenerateContentConstrained")
    assert protocol.session_path("/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent")
    assert not protocol.session_path("/v1/realtime")
    assert not protocol.names_model


TEMPLATES: list[dict[str, Any]] = [
    SETUP,
    SOUND,
    {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True}},
    {"toolResponse": {"functionResponses": [{"id": "c1", "response": {"output": "x"}}]}},
    {"contextUpdate": {"systemInstruction": {"parts": [{"text": "x"}]}, "tools": {"tools": []}}},
]


@given(st.lists(hostile_messages(TEMPLATES), max_size=8))
def test_a_hostile_client_is_hung_up_on_and_no_more(messages: list[str | bytes]) -> None:
    made = calling()
    for message in messages:
        made.read(message, 0.0)
        made.answers()
