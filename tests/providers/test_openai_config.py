"""A whole configuration as it stands on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_16K,
    PCM16_24K,
    InputTranscription,
    McpServer,
    NoiseReduction,
    PromptReference,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.items import ContentPart, FunctionCall, Message, UnknownItem
from kernl_rt.providers._dialect._config import encode_response, encode_session, parse_session
from kernl_rt.providers._dialect._items import ITEM


def audio(**sides: Any) -> dict[str, Any]:
    return {"audio": sides}


SESSIONS: list[tuple[SessionConfig, dict[str, Any]]] = [
    (SessionConfig(), {}),
    (SessionConfig("Be brief."), {"instructions": "Be brief."}),
    (SessionConfig(instructions="", tools=[], include=[]), {"instructions": "", "tools": [], "include": []}),
    (SessionConfig(output_modality="text"), {"output_modalities": ["text"]}),
    (SessionConfig(voice="marin"), audio(output={"voice": "marin"})),
    (SessionConfig(voice=Voice("voice_1", 1.5)), audio(output={"voice": {"id": "voice_1"}, "speed": 1.5})),
    (
        SessionConfig(input_format=PCM16_24K, output_format=G711_ALAW),
        audio(output={"format": {"type": "audio/pcma"}}, input={"format": {"type": "audio/pcm", "rate": 24000}}),
    ),
    (SessionConfig(input_format=G711_ULAW), audio(input={"format": {"type": "audio/pcmu"}})),
    (SessionConfig(input_format=PCM16_16K), audio(input={"format": {"type": "audio/pcm16", "rate": 16000}})),
    (SessionConfig(turn_detection=TurnDetection.off()), audio(input={"turn_detection": None})),
    (SessionConfig(turn_detection=TurnDetection()), audio(input={"turn_detection": {"type": "server_vad"}})),
    (
        SessionConfig(
            turn_detection=TurnDetection.server_vad(threshold=0, idle_timeout_ms=6000, create_response=False)
        ),
        audio(
            input={
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0,
                    "idle_timeout_ms": 6000,
                    "create_response": False,
                }
            }
        ),
    ),
    (
        SessionConfig(turn_detection=TurnDetection.semantic_vad(eagerness="high", interrupt_response=False)),
        audio(input={"turn_detection": {"type": "semantic_vad", "eagerness": "high", "interrupt_response": False}}),
    ),
    (SessionConfig(transcription="off"), audio(input={"transcription": None})),
    (SessionConfig(transcription=InputTranscription()), audio(input={"transcription": {}})),
    (
        SessionConfig(transcription=InputTranscription("gpt-transcribe", languages=["en"], keywords=["kernl"])),
        audio(input={"transcription": {"model": "gpt-transcribe", "languages": ["en"], "keywords": ["kernl"]}}),
    ),
    (SessionConfig(noise_reduction=NoiseReduction("off")), audio(input={"noise_reduction": None})),
    (
        SessionConfig(noise_reduction=NoiseReduction("far_field", 0.0)),
        audio(input={"noise_reduction": {"type": "far_field", "strength": 0.0}}),
    ),
    (
        SessionConfig(
            tools=[
                ToolDefinition("f", "Does f.", {"type": "object"}),
                ToolDefinition("g"),
                McpServer("s", url="https://s", authorization="tok", allowed_tools=("a",), description="d"),  # type: ignore[arg-type]
            ],
            tool_choice=ToolChoice("function", "f"),
        ),
        {
            "tools": [
                {"type": "function", "name": "f", "description": "Does f.", "parameters": {"type": "object"}},
                {"type": "function", "name": "g"},
                {
                    "type": "mcp",
                    "server_label": "s",
                    "server_url": "https://s",
                    "authorization": "tok",
                    "allowed_tools": ["a"],
                    "server_description": "d",
                },
            ],
            "tool_choice": {"type": "function", "name": "f"},
        },
    ),
    (
        SessionConfig(tool_choice=ToolChoice("mcp", "t", "s")),
        {"tool_choice": {"type": "mcp", "server_label": "s", "name": "t"}},
    ),
    (SessionConfig(tool_choice="required"), {"tool_choice": "required"}),  # type: ignore[arg-type]
    (
        SessionConfig(parallel_tool_calls=False, max_output_tokens="inf", reasoning=Reasoning("low")),
        {"parallel_tool_calls": False, "max_output_tokens": "inf", "reasoning": {"effort": "low"}},
    ),
    (SessionConfig(truncation=Truncation("disabled")), {"truncation": "disabled"}),
    (
        SessionConfig(truncation=Truncation("retention_ratio", 0.8, 5000)),
        {
            "truncation": {
                "type": "retention_ratio",
                "retention_ratio": 0.8,
                "token_limits": {"post_instructions": 5000},
            }
        },
    ),
    (SessionConfig(tracing=Tracing()), {"tracing": "auto"}),
    (SessionConfig(tracing=Tracing("off")), {"tracing": None}),
    (SessionConfig(tracing=Tracing("custom", "w")), {"tracing": {"workflow_name": "w"}}),
    (SessionConfig(prompt=PromptReference("p", "2")), {"prompt": {"id": "p", "version": "2"}}),
    (
        SessionConfig(voice="marin", extra={"audio": {"output": {"mood": "calm"}}, "model": "m", "type": "other"}),
        {"type": "other", "model": "m", **audio(output={"voice": "marin", "mood": "calm"})},
    ),
]


@pytest.mark.parametrize(("config", "said"), SESSIONS)
def test_a_session_says_what_was_asked_and_no_more(config: SessionConfig, said: dict[str, Any]) -> None:
    assert encode_session(config) == {"type": "realtime", **said}
    assert encode_session(parse_session(encode_session(config))) == {"type": "realtime", **said}


def test_a_reply_says_what_was_asked_and_no_more() -> None:
    assert encode_response(ResponseConfig(), ITEM) == {}
    config = ResponseConfig(
        instructions="Sing.",
        voice=Voice("cedar"),
        output_format=G711_ULAW,
        conversation="none",
        metadata={"k": "v"},
        input=[
            Message("user", [ContentPart("input_audio", audio=b"ab")]),
            FunctionCall("f", call_id="c"),
            UnknownItem(id="i", extra={"type": "item_reference"}),
        ],
        extra={"temperature": 0.8},
    )
    assert encode_response(config, ITEM) == {
        "instructions": "Sing.",
        "audio": {"output": {"voice": "cedar", "format": {"type": "audio/pcmu"}}},
        "conversation": "none",
        "metadata": {"k": "v"},
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "YWI="}]},
            {"type": "function_call", "name": "f", "call_id": "c", "arguments": ""},
            {"type": "item_reference", "id": "i"},
        ],
        "temperature": 0.8,
    }
