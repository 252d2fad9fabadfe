"""All that we write to Voice Live is what the classes of Microsoft's own client declare: keys, types and words.

Those classes take anything, so they are not asked to parse: their annotations are read, and compared with the frames.
"""

from __future__ import annotations

import json
import types
import typing
from enum import Enum
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev, items
from kernl_rt.config import (
    InputTranscription,
    McpServer,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    TurnDetection,
    Voice,
)
from kernl_rt.providers import azure
from kernl_rt.providers.azure import VoiceLiveCodec
from kernl_rt.providers.azure._check import VOICE_LIVE_FORMATS

models = pytest.importorskip("azure.ai.voicelive.models", reason="azure-ai-voicelive is not installed")
voicelive = pytest.importorskip("azure.ai.voicelive.models._models", reason="azure-ai-voicelive is not installed")
unions = pytest.importorskip("azure.ai.voicelive._unions", reason="azure-ai-voicelive is not installed")

#: Names of voices and of models are open.
_OPEN = ("voice", "name", "model")


class Wrong(AssertionError):
    pass


@cache
def _hints(cls: type) -> dict[str, Any]:
    known = {**vars(voicelive), "_models": models, "_unions": unions, "_types": unions}
    return {name: hint for name, hint in typing.get_type_hints(cls, globalns=known).items() if not name.startswith("_")}


def fits(value: Any, hint: Any, where: str) -> None:
    """Raise where ``value`` is not what ``hint`` says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return
    if origin is typing.Union or origin is types.UnionType:
        return _fits_one(value, args, where)
    if origin is typing.Literal:
        _require(value in args, where, f"{value!r} is none of {args}")
    elif origin is list:
        _require(isinstance(value, list), where, "not a list")
        for index, each in enumerate(value):
            fits(each, args[0], f"{where}[{index}]")
    elif origin is dict:
        _require(isinstance(value, dict), where, "not an object")
        for key, each in value.items():
            fits(each, args[1], f"{where}.{key}")
    elif isinstance(hint, type) and issubclass(hint, Enum):
        _require(value in [each.value for each in hint], where, f"{value!r} is no {hint.__name__}")
    elif hint is float:
        _require(isinstance(value, (int, float)) and not isinstance(value, bool), where, "not a number")
    elif hint in (str, int, bool, type(None)):
        _require(type(value) is hint, where, f"not {hint}")
    else:
        _fits_model(value, hint, where)


def _fits_one(value: Any, hints: Any, where: str) -> None:
    enums = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, Enum)]
    words = [hint for hint in hints if typing.get_origin(hint) is typing.Literal]
    if (enums or words) and where.rpartition(".")[2] not in _OPEN:
        hints = [hint for hint in hints if hint is not str]
    faults = []
    for hint in hints:
        try:
            return fits(value, hint, where)
        except Wrong as wrong:
            faults.append(str(wrong))
    raise Wrong(f"{where}: {'; '.join(faults)}")


def _fits_model(value: Any, cls: Any, where: str) -> None:
    _require(isinstance(value, dict), where, "not an object")
    tag = next((name for name in ("type", "role", "model") if value.get(name) in getattr(cls, "__mapping__", {})), None)
    while tag is not None:
        cls = cls.__mapping__[value[tag]]
        tag = next((name for name in ("type", "role") if value.get(name) in vars(cls).get("__mapping__", {})), None)
    _require(not vars(cls).get("__mapping__"), where, f"no known kind of {cls.__name__}")
    hints = _hints(cls)
    _require(set(value) <= set(hints), where, f"{cls.__name__} has no {set(value) - set(hints)}")
    for name, hint in hints.items():
        optional = type(None) in typing.get_args(hint)
        _require(name in value or optional, where, f"{cls.__name__} wants {name!r}")
        if name in value:
            fits(value[name], hint, f"{where}.{name}")


def _require(holds: bool, where: str, why: str) -> None:
    if not holds:
        raise Wrong(f"{where}: {why}")


def assert_valid(frame: dict[str, Any]) -> None:
    fits(frame, voicelive.ClientEvent, "$")


# -- what we may say --------------------------------------------------------------------------------------------------


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=32)
MS = st.integers(0, 60_000)
FLAGS = maybe(st.booleans())
TURNS = (
    st.builds(
        TurnDetection.server_vad,
        threshold=maybe(st.floats(0, 1)),
        prefix_padding_ms=maybe(MS),
        silence_duration_ms=maybe(MS),
        create_response=FLAGS,
        interrupt_response=FLAGS,
    )
    | st.builds(TurnDetection.semantic_vad, create_response=FLAGS, interrupt_response=FLAGS)
    | st.just(TurnDetection.off())
)
FUNCTIONS = st.builds(ToolDefinition, NAMES, TEXTS, st.just({"type": "object"}))
SERVERS = st.builds(
    McpServer,
    NAMES,
    url=st.just("https://tools.example"),
    authorization=maybe(st.just("token")),
    headers=maybe(st.just({"X-Key": "1"})),
    allowed_tools=maybe(st.sampled_from([("a", "b"), ["a"]])),
    require_approval=maybe(st.sampled_from(["always", "never", {"always": ["a"]}])),
)


def unique(tools: list[Any]) -> list[Any]:
    return list({getattr(tool, "name", None) or f"mcp {tool.label}": tool for tool in tools}.values())


TOOLS = maybe(st.lists(FUNCTIONS | SERVERS, max_size=3).map(unique))
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "instructions": maybe(TEXTS),
    "output_modality": maybe(st.sampled_from(["audio", "text"])),
    "output_format": maybe(st.sampled_from(VOICE_LIVE_FORMATS)),
    "tools": TOOLS,
    "max_output_tokens": maybe(st.integers(1, 4096) | st.just("inf")),
    "reasoning": maybe(st.builds(Reasoning, st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]))),
    "voice": maybe(
        st.sampled_from(["marin", "alloy"]).map(Voice)
        | st.builds(Voice, st.just("en-US-AvaNeural"), maybe(st.floats(0.5, 1.5)))
    ),
}
SESSIONS = st.builds(
    SessionConfig,
    **COMMON,
    input_format=maybe(st.sampled_from(VOICE_LIVE_FORMATS)),
    tool_choice=maybe(st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"]))),
    parallel_tool_calls=FLAGS,
    turn_detection=maybe(TURNS),
    transcription=maybe(
        st.just("off")
        | st.builds(InputTranscription, st.just("whisper-1"), maybe(st.just("en")))
        | st.builds(InputTranscription, st.just("azure-speech"), keywords=maybe(st.lists(NAMES, max_size=2)))
    ),
    noise_reduction=maybe(st.builds(NoiseReduction, st.sampled_from(["near_field", "far_field", "off"]))),
    include=maybe(st.just(["item.input_audio_transcription.phrases"])),
)
_STATUS = maybe(st.sampled_from(["completed", "incomplete"]))
_PARTS = {
    "system": st.builds(items.ContentPart, st.just("input_text"), TEXTS),
    "user": st.builds(items.ContentPart, st.just("input_text"), TEXTS)
    | st.builds(items.ContentPart, st.just("input_audio"), transcript=maybe(TEXTS), audio=st.binary(max_size=9)),
    "assistant": st.builds(items.ContentPart, st.just("output_text"), TEXTS),
}
ITEMS = st.one_of(
    *(
        st.builds(items.Message, st.just(role), st.lists(parts, max_size=2), id=maybe(NAMES), status=_STATUS)
        for role, parts in _PARTS.items()
    ),
    st.builds(items.FunctionCall, NAMES, TEXTS, NAMES, id=maybe(NAMES), status=_STATUS),
    st.builds(items.FunctionCallOutput, NAMES, TEXTS, id=maybe(NAMES), status=_STATUS),
    st.builds(items.McpApprovalResponse, NAMES, st.booleans(), id=NAMES),
)
RESPONSES = st.builds(
    ResponseConfig,
    **COMMON,
    tool_choice=maybe(st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"]))),
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


def without_nulls(frame: Any) -> Any:
    """The classes know only absence; null is the wire's word for off."""
    if isinstance(frame, dict):
        return {key: without_nulls(value) for key, value in frame.items() if value is not None}
    return frame


@settings(max_examples=250)
@given(EVENTS)
def test_what_we_write_is_valid_and_reads_back(event: Any) -> None:
    codec = VoiceLiveCodec()
    text = codec.encode(event)
    assert_valid(without_nulls(json.loads(text)))
    again = codec.decode_client(text)
    assert json.loads(codec.encode(again)) == json.loads(text)


@settings(max_examples=150)
@given(SESSIONS)
def test_configurations_pass_our_check_and_theirs(config: SessionConfig) -> None:
    azure.voice_live("gpt-5").check(config)


@settings(max_examples=100)
@given(RESPONSES)
def test_wishes_pass_our_check(config: ResponseConfig) -> None:
    azure.voice_live("gpt-5").check_response(config)


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ({"type": "realtime"}, "has no"),
        ({"modalities": ["sound"]}, "Modality"),
        ({"turn_detection": {"type": "semantic_vad"}}, "no known kind"),
        ({"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5}}, "has no"),
        ({"input_audio_sampling_rate": "16000"}, "not <class 'int'>"),
        ({"input_audio_transcription": {"language": "en"}}, "wants 'model'"),
        ({"voice": {"type": "azure-standard"}}, "wants 'name'"),
        ({"tools": [{"type": "function"}]}, "wants 'name'"),
        ({"output_audio_format": "pcm16_11025hz"}, "OutputAudioFormat"),
    ],
)
def test_the_oracle_refuses(session: dict[str, Any], why: str) -> None:
    assert_valid({"type": "session.update", "session": {"instructions": "x"}})
    with pytest.raises(Wrong, match=why):
        assert_valid({"type": "session.update", "session": session})


def test_the_oracle_refuses_items() -> None:
    part = {"type": "output_text", "text": "x"}
    item = {"type": "message", "role": "assistant", "content": [part]}
    with pytest.raises(Wrong, match="no known kind"):
        assert_valid({"type": "conversation.item.create", "item": item})
