"""What we say, judged by the types of Google's SDK, which forbid what they do not know."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import (
    InputTranscription,
    Reasoning,
    SessionConfig,
    ToolDefinition,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers.gemini import GeminiCodec

types = pytest.importorskip("google.genai.types")

#: One pixel.
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where", "enum": ["Paris", "Rome"]},
        "days": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        "units": {"$ref": "#/$defs/Units"},
        "tree": {"$ref": "#/$defs/Tree"},
        "codes": {"type": "array", "items": {"enum": [1, 2]}},
        "any": {},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {
        "Units": {"enum": ["c", "f"]},
        "Tree": {"type": "object", "properties": {"leaf": {"$ref": "#/$defs/Tree"}}},
    },
}
CONFIGS = [
    SessionConfig(),
    SessionConfig(instructions="Be brief.", voice=Voice("Kore"), max_output_tokens=100),
    SessionConfig(turn_detection=TurnDetection.off(), transcription="off", truncation=Truncation("disabled")),
    SessionConfig(
        turn_detection=TurnDetection.server_vad(
            prefix_padding_ms=20, silence_duration_ms=300, interrupt_response=False
        ),
        transcription=InputTranscription(languages=["de", "en"], keywords=["kernl"]),
        reasoning=Reasoning("low"),
    ),
    SessionConfig(tools=[ToolDefinition("weather", "The weather.", SCHEMA), ToolDefinition("now")]),
    SessionConfig(extra={"generationConfig": {"temperature": 0.5}, "proactivity": {"proactiveAudio": True}}),
]


def strict(frame: str) -> Any:
    """The SDK's object for a frame of ours; raises where it knows no such thing."""
    said = json.loads(frame)
    if "setup" in said and "realtimeInputConfig" in said["setup"]:
        # The SDK's setup lacks what its own converter writes.
        types.RealtimeInputConfig.model_validate(said["setup"].pop("realtimeInputConfig"))
    return types.LiveClientMessage.model_validate(said)


def codec(model: str = "gemini-3.8-live-extended-thinking", **config: Any) -> GeminiCodec:
    made = GeminiCodec(f"models/{model}")
    made.encode(ev.SessionUpdate(SessionConfig(**config), event_id="event_1"))
    return made


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("resume", [None, "handle"])
def test_setups(config: SessionConfig, resume: str | None) -> None:
    made = GeminiCodec("models/gemini-3.8-live-extended-thinking", resume=resume)
    (frame,) = made.encode(ev.SessionUpdate(config, event_id="event_1"))
    setup = strict(frame).setup
    assert setup.model == "models/gemini-3.8-live-extended-thinking"
    assert setup.session_resumption.handle == resume
    assert (setup.input_audio_transcription is None) == (config.transcription == "off")
    assert setup.output_audio_transcription is not None


def test_the_setup_is_as_google_s_own_client_says_it() -> None:
    """The same object for the same wishes, in one spelling: theirs is a mixture of two."""
    converters = pytest.importorskip("google.genai._live_converters")
    genai = pytest.importorskip("google.genai")
    wanted = types.LiveConnectConfig(
        response_modalities=["AUDIO"],
        system_instruction=types.Content(role="user", parts=[types.Part(text="Be brief.")]),
        speech_config={"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        realtime_input_config={"automatic_activity_detection": {"disabled": True}},
        input_audio_transcription={},
        output_audio_transcription={},
        context_window_compression={"sliding_window": {}},
        session_resumption={},
    )
    client = genai.Client(api_key="k")
    theirs = converters._LiveConnectParameters_to_mldev(
        client._api_client,
        types.LiveConnectParameters(model="models/gemini-3.8-live", config=wanted).model_dump(exclude_none=True),
    )
    theirs = genai._common.convert_to_dict(theirs)["setup"]
    config = SessionConfig(instructions="Be brief.", voice=Voice("Kore"), turn_detection=TurnDetection.off())
    (frame,) = GeminiCodec("models/gemini-3.8-live").encode(ev.SessionUpdate(config, event_id="event_1"))
    theirs = _camel(json.loads(json.dumps(genai._common.encode_unserializable_types(theirs))))
    assert json.loads(frame)["setup"] == {**theirs, "model": "models/gemini-3.8-live"}


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda match: match[1].upper(), key): _camel(each) for key, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list) else value


def test_schemas_keep_their_meaning() -> None:
    made = GeminiCodec("models/gemini-2.5-flash-native-audio-latest")
    config = SessionConfig(tools=[ToolDefinition("weather", "The weather.", SCHEMA), ToolDefinition("now")])
    (frame,) = made.encode(ev.SessionUpdate(config, event_id="event_1"))
    weather, now = json.loads(frame)["setup"]["tools"][0]["functionDeclarations"]
    assert "parameters" not in now  # an object without properties is refused
    assert "behavior" not in weather
    found = weather["parameters"]
    assert (found["type"], found["required"]) == ("OBJECT", ["city"])
    assert found["properties"]["city"] == {"type": "STRING", "description": "Where", "enum": ["Paris", "Rome"]}
    assert found["properties"]["days"] == {"type": "INTEGER", "minimum": 1, "nullable": True}
    assert found["properties"]["units"] == {"type": "STRING", "enum": ["c", "f"]}
    assert found["properties"]["codes"] == {"type": "ARRAY", "items": {"description": "One of: 1, 2."}}


MESSAGES = [
    Message("user", [ContentPart("input_text", text="Hello")], id="item_1"),
    Message("assistant", [ContentPart("output_text", text="Hello")], id="item_2"),
    Message("system", [ContentPart("input_text", text="Be kind")], id="item_3"),
    Message("user", [ContentPart("input_audio", audio=b"\0\1")], id="item_4"),
    Message("user", [ContentPart("input_image", image_url=PNG), ContentPart("input_text", text="?")], id="item_5"),
]
EVENTS: list[ev.ClientEvent] = [
    *(ev.ItemCreate(message) for message in MESSAGES),
    ev.ResponseCreate(),
    ev.AudioInputAppend(b"\0\1\2\3"),
    ev.ToolResult("call", "21 degrees", name="weather"),
    ev.SessionUpdate(SessionConfig(instructions="Be terse.", tools=[ToolDefinition("weather", "", SCHEMA)])),
    ev.SessionUpdate(SessionConfig(tools=[])),
    ev.AudioInputCommit(),
    ev.RawClientEvent({"realtimeInput": {"text": "hi"}}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
@pytest.mark.parametrize("manual", [False, True])
def test_everything_else(event: ev.ClientEvent, manual: bool) -> None:
    made = codec(turn_detection=TurnDetection.off() if manual else None)
    made.encode(ev.AudioInputAppend(b"\0\0"))
    frames = made.encode(event)
    assert frames
    for frame in frames:
        strict(frame)


def test_calls_and_their_results() -> None:
    made = codec()
    call = {"toolCall": {"functionCalls": [{"id": "c1", "name": "weather", "args": {"city": "Paris"}}]}}
    made.decode(json.dumps(call))
    (frame,) = made.encode(ev.ToolResult("c1", "21 degrees", "item_9"))
    (response,) = strict(frame).tool_response.function_responses
    assert (response.id, response.name, response.response) == ("c1", "weather", {"output": "21 degrees"})
    made.decode(json.dumps(call))
    (frame,) = made.encode(ev.ToolResult("c1", "no", "item_9", is_error=True))
    assert strict(frame).tool_response.function_responses[0].response == {"error": "no"}


def test_calls_of_an_earlier_link_are_told_in_words() -> None:
    made = codec()
    assert not made.encode(ev.ItemCreate(FunctionCall("weather", '{"city":"Paris"}', "c1", id="item_1")))
    (frame,) = made.encode(ev.ItemCreate(FunctionCallOutput("c1", "21 degrees", id="item_2")))
    (turn,) = strict(frame).client_content.turns
    assert turn.parts[0].text == '[The tool call weather({"city":"Paris"}) returned: 21 degrees]'
    (frame,) = made.encode(ev.ToolResult("unknown", "late", "item_3", "clock"))
    assert strict(frame).client_content.turn_complete is True


_LEAVES = st.sampled_from(
    [{"type": "string"}, {"type": ["integer", "null"]}, {"enum": ["a", "b"]}, {"const": 1}, True, {"$ref": "#/$defs/X"}]
)
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=5), inner)}),
    ),
    max_leaves=12,
)


@given(_SCHEMAS)
def test_any_schema_can_be_said(schema: Any) -> None:
    whole = {
        "type": "object",
        "properties": {"value": schema},
        "$defs": {"X": {"type": "object", "properties": {"next": {"$ref": "#/$defs/X"}}}},
    }
    made = GeminiCodec("models/gemini-3.8-live")
    (frame,) = made.encode(ev.SessionUpdate(SessionConfig(tools=[ToolDefinition("f", "", whole)]), event_id="event_1"))
    strict(frame)
