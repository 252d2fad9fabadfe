"""All that we write is valid by the official SDK's types, which also must not find a key that they do not declare."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev, items
from kernl_rt.config import (
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
from kernl_rt.providers._dialect._check import FORMATS, check_response, check_session
from kernl_rt.providers.openai import OpenAICodec

pydantic = pytest.importorskip("pydantic", reason="pydantic, the openai package's, is not installed")
oracle = pytest.importorskip("openai.types.realtime", reason="the openai package is not installed")

CLIENT = pydantic.TypeAdapter(oracle.RealtimeClientEvent)
SERVER = pydantic.TypeAdapter(oracle.RealtimeServerEvent)


def undeclared(value: Any, where: str = "$") -> list[str]:
    """Where the SDK's models, which let anything pass, hold what they do not know."""
    if isinstance(value, pydantic.BaseModel):
        found = [f"{where}.{key}" for key in value.model_extra or {}]
        for name in type(value).model_fields:
            found += undeclared(getattr(value, name), f"{where}.{name}")
        return found
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in undeclared(item, f"{where}[{index}]")]
    return []


def assert_valid(adapter: Any, frame: dict[str, Any]) -> None:
    assert undeclared(adapter.validate_python(frame, strict=True)) == []


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=64)
JSON = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS), max_size=3)
MS = st.integers(0, 60_000)
SHARE = st.floats(0, 1)

TURN_DETECTION = (
    st.builds(
        TurnDetection.server_vad,
        threshold=maybe(SHARE),
        prefix_padding_ms=maybe(MS),
        silence_duration_ms=maybe(MS),
        idle_timeout_ms=maybe(st.integers(5000, 30_000)),
        create_response=maybe(st.booleans()),
        interrupt_response=maybe(st.booleans()),
    )
    | st.builds(
        TurnDetection.semantic_vad,
        eagerness=maybe(st.sampled_from(["low", "medium", "high", "auto"])),
        create_response=maybe(st.booleans()),
        interrupt_response=maybe(st.booleans()),
    )
    | st.just(TurnDetection.off())
)
TRANSCRIPTION = st.one_of(
    st.just("off"),
    st.builds(InputTranscription, st.sampled_from(["whisper-1", "my-own"]), maybe(st.just("en")), prompt=maybe(TEXTS)),
    st.builds(
        InputTranscription,
        st.just("gpt-transcribe"),
        languages=maybe(st.lists(st.sampled_from(["en", "de", "yue"]), max_size=2)),
        keywords=maybe(st.lists(NAMES, max_size=2)),
    ),
    st.builds(InputTranscription, st.just("gpt-realtime-whisper"), delay=maybe(st.sampled_from(["minimal", "xhigh"]))),
)
FUNCTIONS = st.builds(ToolDefinition, NAMES, TEXTS, JSON.map(lambda schema: {**schema, "type": "object"}) | st.just({}))
_FILTER = {"read_only": True, "tool_names": ["a"]}
SERVERS = st.builds(
    McpServer,
    NAMES,
    url=st.just("https://tools.example"),
    tunnel_id=maybe(NAMES),
    authorization=maybe(st.just("token")),
    headers=maybe(st.just({"X-Key": "1"})),
    description=maybe(TEXTS),
    allowed_tools=maybe(st.sampled_from([("a", "b"), ["a"], _FILTER])),
    allowed_callers=maybe(st.just(["direct"])),
    require_approval=maybe(st.sampled_from(["always", "never", {"always": _FILTER}])),
    defer_loading=maybe(st.booleans()),
)


def unique(tools: list[Any]) -> list[Any]:
    return list({getattr(tool, "name", None) or f"mcp {tool.label}": tool for tool in tools}.values())


COMMON: dict[str, st.SearchStrategy[Any]] = {
    "instructions": maybe(TEXTS),
    "output_modality": maybe(st.sampled_from(["audio", "text"])),
    "output_format": maybe(st.sampled_from(FORMATS)),
    "tools": maybe(st.lists(FUNCTIONS | SERVERS, max_size=3).map(unique)),
    "tool_choice": maybe(
        st.sampled_from(["auto", "none", "required"]).map(ToolChoice)
        | st.builds(ToolChoice, st.just("mcp"), maybe(NAMES), NAMES)
    ),
    "parallel_tool_calls": maybe(st.booleans()),
    "max_output_tokens": maybe(st.integers(1, 4096) | st.just("inf")),
    "reasoning": maybe(st.sampled_from(["minimal", "low", "medium", "high", "xhigh"]).map(Reasoning)),
    "prompt": maybe(st.builds(PromptReference, NAMES, maybe(NAMES), maybe(st.dictionaries(NAMES, TEXTS, max_size=2)))),
}
VOICES = st.sampled_from(["marin", "cedar", "voice_1234"])
SESSIONS = st.builds(
    SessionConfig,
    **COMMON,
    voice=maybe(st.builds(Voice, VOICES, maybe(st.floats(0.25, 1.5)))),
    input_format=maybe(st.sampled_from(FORMATS)),
    turn_detection=maybe(TURN_DETECTION),
    transcription=maybe(TRANSCRIPTION),
    noise_reduction=maybe(
        st.builds(NoiseReduction, st.sampled_from(["near_field", "far_field"]), maybe(SHARE))
        | st.just(NoiseReduction("off"))
    ),
    truncation=maybe(
        st.sampled_from(["auto", "disabled"]).map(Truncation)
        | st.builds(Truncation, st.just("retention_ratio"), SHARE, maybe(st.integers(0, 9999)))
    ),
    tracing=maybe(
        st.sampled_from(["auto", "off"]).map(Tracing)
        | st.builds(Tracing, st.just("custom"), maybe(TEXTS), maybe(TEXTS), maybe(JSON))
    ),
    include=maybe(st.just(["item.input_audio_transcription.logprobs"])),
)
PARTS = {
    "system": st.builds(items.ContentPart, st.just("input_text"), TEXTS),
    "user": st.builds(items.ContentPart, st.just("input_text"), TEXTS)
    | st.builds(items.ContentPart, st.just("input_audio"), transcript=maybe(TEXTS), audio=st.binary(max_size=9))
    | st.builds(
        items.ContentPart,
        st.just("input_image"),
        image_url=st.just("https://x/y.png"),
        detail=maybe(st.sampled_from(["auto", "low", "high"])),
    ),
    "assistant": st.builds(items.ContentPart, st.just("output_text"), TEXTS),
}
STATUS = maybe(st.sampled_from(["in_progress", "completed", "incomplete"]))
ITEMS = st.one_of(
    *(
        st.builds(items.Message, st.just(role), st.lists(parts, max_size=2), id=maybe(NAMES), status=STATUS)
        for role, parts in PARTS.items()
    ),
    st.builds(items.FunctionCall, NAMES, TEXTS, maybe(NAMES), id=maybe(NAMES), status=STATUS),
    st.builds(items.FunctionCallOutput, NAMES, TEXTS, id=maybe(NAMES), status=STATUS),
    st.builds(items.McpListTools, NAMES, st.just([{"name": "t", "input_schema": {}}]), id=maybe(NAMES)),
    st.builds(items.McpCall, NAMES, NAMES, TEXTS, maybe(TEXTS), approval_request_id=maybe(NAMES), id=NAMES),
    st.builds(items.McpApprovalRequest, NAMES, NAMES, TEXTS, id=NAMES),
    st.builds(items.McpApprovalResponse, NAMES, st.booleans(), maybe(TEXTS), id=NAMES),
)
RESPONSES = st.builds(
    ResponseConfig,
    **{name: strategy for name, strategy in COMMON.items() if name != "prompt"},
    prompt=COMMON["prompt"],
    voice=maybe(st.builds(Voice, VOICES)),
    conversation=maybe(st.sampled_from(["auto", "none"])),
    input=maybe(st.lists(ITEMS, max_size=3)),
    metadata=maybe(st.dictionaries(NAMES, TEXTS, max_size=3)),
)
IDS = {"event_id": maybe(NAMES)}
EVENTS = st.one_of(
    st.builds(ev.SessionUpdate, SESSIONS, **IDS),
    st.builds(ev.ItemCreate, ITEMS, maybe(NAMES), **IDS),
    st.builds(ev.ItemDelete, NAMES, **IDS),
    st.builds(ev.ItemRetrieve, NAMES, **IDS),
    st.builds(ev.ItemTruncate, NAMES, MS, **IDS),
    st.builds(ev.AudioInputAppend, st.binary(max_size=99), **IDS),
    st.builds(ev.ResponseCreate, maybe(RESPONSES), **IDS),
    st.builds(ev.ResponseCancel, maybe(NAMES), **IDS),
    st.builds(ev.ToolResult, NAMES, TEXTS, maybe(NAMES), **IDS),
    *(
        st.builds(kind, **IDS)
        for kind in (ev.AudioInputCommit, ev.AudioInputClear, ev.AudioOutputClear, ev.ActivityStart, ev.ActivityEnd)
    ),
)


@settings(max_examples=300)
@given(EVENTS)
def test_what_we_write_is_valid_and_reads_back(event: Any) -> None:
    codec = OpenAICodec()
    text = codec.encode(event)
    assert_valid(CLIENT, json.loads(text))
    again = codec.decode_client(text)
    assert json.loads(codec.encode(again)) == json.loads(text)
    if not isinstance(event, (ev.ToolResult, ev.ActivityStart, ev.ActivityEnd, ev.SessionUpdate, ev.ResponseCreate)):
        assert again == event


@settings(max_examples=200)
@given(SESSIONS)
def test_configurations_pass_our_check_and_theirs(config: SessionConfig) -> None:
    check_session(config, "gpt-realtime-2.1")
    assert_valid(CLIENT, json.loads(OpenAICodec().encode(ev.SessionUpdate(config))))


@given(RESPONSES)
def test_replies_pass_our_check(config: ResponseConfig) -> None:
    check_response(config, "gpt-realtime-2.1")


@given(SESSIONS)
def test_a_configuration_comes_back_from_the_wire(config: SessionConfig) -> None:
    event = OpenAICodec().decode_client(OpenAICodec().encode(ev.SessionUpdate(config)))
    assert isinstance(event, ev.SessionUpdate)
    changed = {
        attribute.name
        for attribute in attrs.fields(SessionConfig)
        if getattr(event.config, attribute.name) != getattr(config, attribute.name)
    }
    assert changed <= {"extra", "tools"}  # an empty description is kept in ``extra``


def test_the_oracle_refuses_what_it_does_not_declare() -> None:
    assert undeclared(CLIENT.validate_python({"type": "session.update", "session": {"type": "realtime", "voice": "x"}}))
    with pytest.raises(pydantic.ValidationError):
        CLIENT.validate_python({"type": "conversation.item.delete"})


_PLACE: dict[str, Any] = {"item_id": "i", "response_id": "r", "output_index": 0, "content_index": 0, "event_id": "e"}
_CALL: dict[str, Any] = {"item_id": "i", "response_id": "r", "output_index": 0, "event_id": "e"}
_ITEM = items.Message("user", [items.ContentPart("input_text", "hi")], id="i")
MADE: list[Any] = [
    ev.SessionError("m", type="t", event_id="e"),
    ev.ItemCreated(_ITEM, event_id="e"),
    ev.ItemDone(_ITEM, event_id="e"),
    ev.ItemDeleted("i", event_id="e"),
    ev.ItemTruncated("i", 5, event_id="e"),
    ev.ConversationCreated({"id": "c"}, event_id="e"),
    ev.RateLimitsUpdated([ev.RateLimit(name="tokens", limit=1, remaining=1, reset_seconds=0.5)], event_id="e"),
    ev.AudioInputCommitted("i", event_id="e"),
    ev.SpeechStarted("i", 0, event_id="e"),
    ev.SpeechStopped("i", 9, event_id="e"),
    ev.InputTranscriptDelta("i", "hi", 0, event_id="e"),
    ev.InputTranscript("i", "hi", 0, ev.Usage(seconds=1.0), event_id="e"),
    ev.InputTranscript("i", "hi", 0, ev.Usage(input_tokens=1, output_tokens=1, total_tokens=2), event_id="e"),
    ev.ResponseCreated(ev.Response(id="r", status="in_progress", output=[]), event_id="e"),
    ev.ResponseDone(
        ev.Response(id="r", status="completed", output=[_ITEM], usage=ev.Usage(input=ev.TokenDetails(text=1))),
        event_id="e",
    ),
    ev.OutputItemAdded(_ITEM, response_id="r", output_index=0, event_id="e"),
    ev.ToolStarted(items.FunctionCall("f", call_id="c", id="i"), response_id="r", output_index=0, event_id="e"),
    ev.OutputItemDone(_ITEM, response_id="r", output_index=0, event_id="e"),
    ev.ContentPartAdded(part=items.ContentPart("audio", transcript=""), **_PLACE),
    ev.AudioDelta(audio=b"ab", **_PLACE),
    ev.AudioDone(**_PLACE),
    ev.TextDelta(text="", **_PLACE),
    ev.TextDone(text="hi", **_PLACE),
    ev.OutputTranscriptDelta(text="hi", **_PLACE),
    ev.OutputTranscript(text="hi", **_PLACE),
    ev.ToolDelta("c", "{", **_CALL),
    ev.ToolCalled("c", "f", "{}", **_CALL),
    ev.McpCallProgress("i", "failed", output_index=0, event_id="e"),
]


@pytest.mark.parametrize("event", MADE, ids=lambda event: event.kind)
def test_what_a_simulator_writes_is_valid(event: Any) -> None:
    frame = OpenAICodec().encode_server(event)
    assert_valid(SERVER, frame)
    assert OpenAICodec().decode(json.dumps(frame))[0].kind == event.kind
