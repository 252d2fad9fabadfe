"""Every option out of its range is refused before anything is sent, by name, with the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernl_rt import events as ev
from kernl_rt.config import (
    PCM16_16K,
    AudioFormat,
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
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers import openai
from kernl_rt.providers.openai import OpenAICodec
from tests.providers.frames import recorded

MODEL = openai.realtime("gpt-realtime-2.1")
VAD = TurnDetection.server_vad
HEARS = InputTranscription
ODD: Any = object()
NAN = float("nan")


def tool(name: Any, **parameters: Any) -> ToolDefinition:
    return ToolDefinition(name, "", parameters)


#: (the options, what the message must hold)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"instructions": 7}, "instructions=7 .* text"),
    ({"output_modality": "smell"}, "output_modality='smell' .* 'audio' or 'text'"),
    ({"output_modality": ["audio"]}, "output_modality"),
    ({"output_modality": {}}, "output_modality"),
    ({"output_format": PCM16_16K}, "output_format='pcm16 at 16000 Hz' .* pcm16 at 24000 Hz, g711_ulaw at 8000 Hz"),
    ({"input_format": AudioFormat("g711_alaw", 16_000)}, "input_format"),
    ({"input_format": "pcm16"}, "input_format='pcm16' .* AudioFormat"),
    ({"voice": Voice("")}, "voice.id=''"),
    ({"voice": Voice(ODD)}, "voice.id"),
    ({"voice": Voice("marin", 0.24)}, "voice.speed=0.24 .* 0.25 to 1.5"),
    ({"voice": Voice("marin", 1.51)}, "voice.speed"),
    ({"voice": Voice("marin", NAN)}, "voice.speed=nan"),
    ({"voice": Voice("marin", True)}, "voice.speed=True"),
    ({"turn_detection": "off"}, "turn_detection='off' .* TurnDetection"),
    ({"turn_detection": TurnDetection("psychic")}, "turn_detection.mode='psychic'"),  # type: ignore[arg-type]
    ({"turn_detection": VAD(threshold=1.1)}, "turn_detection.threshold=1.1 .* 0 to 1"),
    ({"turn_detection": VAD(threshold=-0.1)}, "turn_detection.threshold"),
    ({"turn_detection": VAD(threshold=NAN)}, "turn_detection.threshold"),
    ({"turn_detection": VAD(prefix_padding_ms=-1)}, "turn_detection.prefix_padding_ms=-1 .* at least 0"),
    ({"turn_detection": VAD(silence_duration_ms=0.5)}, "turn_detection.silence_duration_ms"),  # type: ignore[arg-type]
    ({"turn_detection": VAD(silence_duration_ms=True)}, "turn_detection.silence_duration_ms"),
    ({"turn_detection": VAD(idle_timeout_ms=0)}, "turn_detection.idle_timeout_ms=0 .* at least 1"),
    ({"turn_detection": VAD(create_response=1)}, "turn_detection.create_response=1"),  # type: ignore[arg-type]
    ({"turn_detection": TurnDetection("server_vad", eagerness="low")}, "eagerness='low' .* only 'semantic_vad'"),
    ({"turn_detection": TurnDetection("semantic_vad", threshold=0.5)}, "threshold=0.5 .* only 'server_vad'"),
    ({"turn_detection": TurnDetection("semantic_vad", idle_timeout_ms=9000)}, "idle_timeout_ms.* only 'server_vad'"),
    ({"turn_detection": TurnDetection("semantic_vad", eagerness="keen")}, "eagerness='keen'"),  # type: ignore[arg-type]
    ({"turn_detection": TurnDetection("off", create_response=False)}, "create_response=False .* is off"),
    ({"transcription": "on"}, "transcription='on' .* InputTranscription"),
    ({"transcription": HEARS(language="English")}, "transcription.language='English' .* ISO 639"),
    ({"transcription": HEARS(language="en-US")}, "transcription.language"),
    ({"transcription": HEARS("gpt-transcribe", languages=["en", 5])}, "transcription.language=5"),  # type: ignore[list-item]
    ({"transcription": HEARS("gpt-transcribe", keywords=[""])}, "transcription.keywords=''"),
    ({"transcription": HEARS("whisper-1", keywords=["a"])}, "keywords.* whisper-1 does not .* gpt-transcribe does"),
    ({"transcription": HEARS("gpt-4o-transcribe", languages=["en"])}, "transcription.languages"),
    ({"transcription": HEARS("whisper-1", delay="low")}, "transcription.delay='low' .* gpt-realtime-whisper"),
    ({"transcription": HEARS("gpt-realtime-whisper", delay="never")}, "transcription.delay='never'"),  # type: ignore[arg-type]
    ({"transcription": HEARS("gpt-realtime-whisper", prompt="p")}, "transcription.prompt"),
    ({"transcription": HEARS("gpt-4o-transcribe-diarize", prompt="p")}, "transcription.prompt"),
    ({"transcription": HEARS(model=5)}, "transcription.model=5"),  # type: ignore[arg-type]
    ({"noise_reduction": NoiseReduction("mid_field")}, "noise_reduction.type='mid_field'"),  # type: ignore[arg-type]
    ({"noise_reduction": NoiseReduction("near_field", 1.5)}, "noise_reduction.strength=1.5 .* 0 to 1"),
    ({"noise_reduction": NoiseReduction("off", 0.5)}, "noise_reduction.strength=0.5 .* is off"),
    ({"max_output_tokens": 0}, "max_output_tokens=0 .* 1 to 4096, or 'inf'"),
    ({"max_output_tokens": 4097}, "max_output_tokens"),
    ({"max_output_tokens": True}, "max_output_tokens=True"),
    ({"max_output_tokens": 10.0}, "max_output_tokens"),
    ({"max_output_tokens": "all"}, "max_output_tokens='all'"),
    ({"reasoning": Reasoning("none")}, "reasoning.effort='none' .* 'minimal' or 'low'"),
    ({"reasoning": "low"}, "reasoning='low' .* Reasoning"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls='yes'"),
    ({"truncation": Truncation("sometimes")}, "truncation.strategy='sometimes'"),  # type: ignore[arg-type]
    ({"truncation": Truncation("retention_ratio", 1.01)}, "truncation.retention_ratio=1.01 .* 0 to 1"),
    ({"truncation": Truncation("retention_ratio")}, "truncation.retention_ratio=None"),
    ({"truncation": Truncation("retention_ratio", 0.5, -1)}, "truncation.post_instructions_tokens=-1 .* tokens"),
    ({"truncation": Truncation("auto", 0.5)}, "truncation.retention_ratio=0.5 .* only 'retention_ratio'"),
    ({"tracing": Tracing("loud")}, "tracing.mode='loud'"),  # type: ignore[arg-type]
    ({"tracing": Tracing("auto", workflow_name="w")}, "tracing.workflow_name='w' .* only 'custom'"),
    ({"tracing": Tracing("custom", metadata={"k": ODD})}, "tracing.metadata.* not JSON"),
    ({"prompt": PromptReference("")}, "prompt.id=''"),
    ({"prompt": PromptReference("p", variables={1: "x"})}, "prompt.variables"),  # type: ignore[dict-item]
    ({"include": ["everything"]}, "include='everything' .*logprobs"),
    ({"tools": [tool("")]}, r"tools\[0\].name='' .* 1 to 64"),
    ({"tools": [tool("a b")]}, r"tools\[0\].name='a b'"),
    ({"tools": [tool("a\n")]}, r"tools\[0\].name"),
    ({"tools": [tool("x" * 65)]}, r"tools\[0\].name"),
    ({"tools": [tool("ok"), tool("été")]}, r"tools\[1\].name"),
    ({"tools": [tool("a"), tool("a")]}, r"tools\[1\]='a' .* two tools"),
    ({"tools": [tool("a", type="string")]}, r"tools\[0\].parameters.* object"),
    ({"tools": [tool("a", type="object", default=ODD)]}, r"tools\[0\].parameters.* not JSON"),
    ({"tools": [len]}, r"tools\[0\].* ToolDefinition or an McpServer"),
    ({"tools": [McpServer("")]}, r"tools\[0\].label"),
    ({"tools": [McpServer("s")]}, r"tools\[0\].url.* connector_id or tunnel_id"),
    ({"tools": [McpServer("s", url="u"), McpServer("s", url="v")]}, r"tools\[1\].* two tools"),
    ({"tools": [McpServer("s", url="u", require_approval="maybe")]}, "require_approval='maybe'"),  # type: ignore[arg-type]
    ({"tools": [McpServer("s", url="u", allowed_tools="abc")]}, "allowed_tools='abc' .* list"),
    ({"tools": [McpServer("s", url="u", allowed_callers=["anyone"])]}, "allowed_callers='anyone'"),
    ({"tools": [McpServer("s", url="u", headers={"X": 1})]}, "headers"),  # type: ignore[dict-item]
    ({"tool_choice": ToolChoice("any")}, "tool_choice='any'"),  # type: ignore[arg-type]
    ({"tool_choice": ToolChoice("function")}, "tool_choice.name=None"),
    ({"tool_choice": ToolChoice("auto", "a")}, "tool_choice.name='a' .* takes no name"),
    ({"tool_choice": ToolChoice("mcp")}, "tool_choice.server_label=None"),
    ({"tool_choice": ToolChoice("function", "b"), "tools": [tool("a")]}, r"tool_choice.name='b' .* \['a'\]"),
    ({"extra": {"k": ODD}}, "extra.* not JSON"),
    ({"extra": {1: 2}}, "extra"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_a_session_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfiguredError, match=message):
        MODEL.check(SessionConfig(**options))
    with pytest.raises(MisconfiguredError, match=message):
        openai.realtime("gpt-realtime-2.1", config=SessionConfig(**options))


BAD_RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata='17 pairs' .* at most 16"),
    ({"metadata": {"k" * 65: ""}}, "metadata.* 64 characters"),
    ({"metadata": {"k": "v" * 513}}, r"metadata\['k'\].* 512"),
    ({"metadata": {"k": 1}}, r"metadata\['k'\]=1"),
    ({"metadata": {1: "v"}}, "metadata"),
    ({"metadata": ["k"]}, "metadata"),
    ({"conversation": "mine"}, "conversation='mine'"),
    ({"voice": Voice("marin", 1.0)}, "voice.speed=1.0 .* session"),
    ({"max_output_tokens": 9999}, "max_output_tokens=9999"),
    ({"output_format": PCM16_16K}, "output_format"),
]


@pytest.mark.parametrize(("options", "message"), BAD_RESPONSES)
def test_a_reply_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfiguredError, match=message):
        MODEL.check_response(ResponseConfig(**options))


@pytest.mark.parametrize("option", [{"reasoning": Reasoning("low")}, {"parallel_tool_calls": True}])
@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("gpt-realtime", False),
        ("gpt-realtime-2025-08-28", False),
        ("gpt-realtime-mini-2025-12-15", False),
        ("gpt-realtime-1.5", False),
        ("gpt-audio-1.5", False),
        ("gpt-4o-mini-realtime-preview-2024-12-17", False),
        ("gpt-realtime-2", True),
        ("gpt-realtime-2.1-mini", True),
        ("my-deployment", True),
    ],
)
def test_only_some_models_think(model: str, thinks: bool, option: dict[str, Any]) -> None:
    made = openai.realtime(model)
    if thinks:
        made.check(SessionConfig(**option))
        made.check_response(ResponseConfig(**option))
        return
    with pytest.raises(MisconfiguredError, match=f"{model} has no such option; use a gpt-realtime-2 model"):
        made.check(SessionConfig(**option))
    with pytest.raises(MisconfiguredError, match=next(iter(option))):
        made.check_response(ResponseConfig(**option))


GOOD: list[dict[str, Any]] = [
    {"voice": Voice("marin", 0.25)},
    {"voice": Voice("marin", 1.5)},
    {"turn_detection": VAD(threshold=0, prefix_padding_ms=0)},
    {"turn_detection": VAD(threshold=1.0)},
    {"max_output_tokens": 1},
    {"max_output_tokens": 4096},
    {"tools": [tool("a"), McpServer("a", tunnel_id="t")], "tool_choice": ToolChoice("function", "a")},
    {"tools": [], "include": []},
    {"transcription": HEARS("my-own", keywords=["k"], delay="low")},
    {"instructions": "broken \ud800"},
    {"extra": {"anything": {"goes": [None]}}},
]


@pytest.mark.parametrize("options", GOOD)
def test_the_edges_are_good(options: dict[str, Any]) -> None:
    MODEL.check(SessionConfig(**options))


def test_what_the_service_has_accepted_is_good() -> None:
    """Among them gpt-realtime-whisper beside server_vad, which the reference forbids transcription sessions only."""
    checked = 0
    for name, frame in recorded("sent"):
        event = OpenAICodec().decode_client(json.dumps(frame))
        if isinstance(event, ev.SessionUpdate):
            openai.realtime("gpt-realtime").check(event.config)
            checked += 1
        assert name
    assert checked


def test_the_models_own_configuration_counts() -> None:
    model = openai.realtime("gpt-realtime-2", config=SessionConfig(tools=[tool("a")]))
    with pytest.raises(MisconfiguredError, match=r"use one of the tools: \['a'\]"):
        model.check(SessionConfig(tool_choice=ToolChoice("function", "b")))


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(MisconfiguredError) as caught:
        MODEL.check(SessionConfig(tools=[tool("x" * 5000)]))
    assert len(str(caught.value)) < 200
