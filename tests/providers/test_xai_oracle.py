"""What xAI and Eleven Realtime are told is valid by the types of OpenAI's SDK, where they take what OpenAI takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernl_rt import events as ev
from kernl_rt.config import InputTranscription, ResponseConfig, SessionConfig, ToolDefinition, TurnDetection, Voice
from kernl_rt.items import ContentPart, FunctionCall, Message
from kernl_rt.providers import elevenlabs, xai
from kernl_rt.providers.elevenlabs._realtime import ElevenRealtimeCodec

pytest.importorskip("openai")
from tests.providers.test_openai_oracle import CLIENT, assert_valid

SAID: list[Any] = [
    ev.ItemCreate(Message("user", [ContentPart("input_text", text="hello")], id="item_kernl_1"), event_id="e"),
    ev.ItemCreate(Message("assistant", [ContentPart("output_text", text="hi")], id="i", status="completed"), "root"),
    ev.ItemCreate(FunctionCall("f", "{}", "c", id="i", status="completed")),
    ev.ToolResult("c", "sunny", "i", "f"),
    ev.ItemDelete("i"),
    ev.AudioInputAppend(b"\0\1" * 100),
    ev.AudioInputCommit(event_id="e"),
    ev.AudioInputClear(),
    ev.ResponseCreate(event_id="e"),
    ev.ResponseCreate(ResponseConfig(instructions="Sing.")),
    ev.ResponseCancel("r", event_id="e"),
]


@pytest.mark.parametrize("codec", [xai.XAICodec, ElevenRealtimeCodec], ids=["xai", "eleven"])
@pytest.mark.parametrize("event", SAID, ids=lambda event: event.kind)
def test_what_is_said(event: Any, codec: Any) -> None:
    assert_valid(CLIENT, json.loads(codec().encode(event)))


@pytest.mark.parametrize(
    "config",
    [
        SessionConfig(),
        SessionConfig(instructions="Be brief.", voice=Voice("some_id"), tools=[ToolDefinition("f")]),
        SessionConfig(turn_detection=TurnDetection.semantic_vad(eagerness="low")),
        SessionConfig(transcription=InputTranscription("whisper-1")),
    ],
)
def test_elevens_session_is_openais(config: SessionConfig) -> None:
    model = elevenlabs.realtime("eleven_realtime_v1_max")
    model.check(config)
    frame = json.loads(ElevenRealtimeCodec(model._defaults()).encode(ev.SessionUpdate(config)))
    assert_valid(CLIENT, frame)
    assert frame["session"]["model"] == "eleven_realtime_v1_max"


def test_words_that_xai_alone_takes_go_through_as_they_are() -> None:
    item = {"type": "force_message", "content": [{"text": "This call is recorded."}], "interruptible": False}
    said = ev.RawClientEvent({"type": "conversation.item.create", "item": item}, event_id="e")
    assert json.loads(xai.XAICodec().encode(said)) == {
        "event_id": "e",
        "type": "conversation.item.create",
        "item": item,
    }
