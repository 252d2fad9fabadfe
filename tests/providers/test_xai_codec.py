"""xAI's codec: what it says otherwise than OpenAI, what it infers, and what it makes of nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import (
    G711_ULAW,
    PCM16_8K,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    McpServer,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, SessionExpired
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers import xai
from kernl_rt.providers.xai._wire import XAI
from kernl_rt.simulator._protocols._xai_schema import CHECKS
from kernl_rt.testing import hostile_corpus, hostile_frames

PREFIX = "conversation.item.input_audio_transcription."


def said(codec: xai.XAICodec, event: Any) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(codec.encode(event))
    return frame


def told(codec: xai.XAICodec, type: str, **fields: Any) -> list[Any]:
    return list(codec.decode(json.dumps({"type": type, "event_id": "e", **fields})))


# -- sessions ---------------------------------------------------------------------------------------------------------

CONFIGS: list[tuple[SessionConfig, dict[str, Any]]] = [
    (SessionConfig(), {}),
    (SessionConfig(instructions="Be brief."), {"instructions": "Be brief."}),
    (SessionConfig(voice=Voice("eve", 1.2)), {"voice": "eve", "audio": {"output": {"speed": 1.2}}}),
    (SessionConfig(voice=Voice("voice_mine")), {"voice": "voice_mine"}),
    (SessionConfig(turn_detection=TurnDetection.off()), {"turn_detection": None}),
    (
        SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.6, silence_duration_ms=700)),
        {"turn_detection": {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 700}},
    ),
    (
        SessionConfig(input_format=PCM16_8K, output_format=AudioFormat("pcm16", 48_000)),
        {
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 8_000}},
                "output": {"format": {"type": "audio/pcm", "rate": 48_000}},
            }
        },
    ),
    (SessionConfig(input_format=G711_ULAW), {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
    (
        SessionConfig(transcription=InputTranscription("grok-transcribe", "en", keywords=["kernl"])),
        {
            "audio": {
                "input": {"transcription": {"model": "grok-transcribe", "language_hint": "en", "keyterms": ["kernl"]}}
            }
        },
    ),
    (SessionConfig(transcription="off"), {"audio": {"input": {"transcription": None}}}),
    (SessionConfig(reasoning=Reasoning("none")), {"reasoning": {"effort": "none"}}),
    (
        SessionConfig(tools=[ToolDefinition("f", "F.", {"type": "object"}), McpServer("docs", url="https://d")]),
        {
            "tools": [
                {"type": "function", "name": "f", "description": "F.", "parameters": {"type": "object"}},
                {"type": "mcp", "server_label": "docs", "server_url": "https://d"},
            ]
        },
    ),
    (SessionConfig(tool_choice=ToolChoice("none")), {"tool_choice": "none"}),
    (SessionConfig(extra={"replace": {"kernl": "kernel"}}), {"replace": {"kernl": "kernel"}}),
]


@pytest.mark.parametrize(("config", "wire"), CONFIGS, ids=lambda value: "" if isinstance(value, dict) else None)
def test_a_session_is_written_as_xai_has_it(config: SessionConfig, wire: dict[str, Any]) -> None:
    xai.realtime("m").check(config)
    frame = said(xai.XAICodec(), ev.SessionUpdate(config))
    assert frame == {"type": "session.update", "session": wire}
    CHECKS["session.update"](frame, "")  # an independent reading of the protocol
    again = xai.XAICodec().decode_client(json.dumps(frame))
    assert isinstance(again, ev.SessionUpdate)
    assert said(xai.XAICodec(), again) == frame


def test_what_the_service_tells_of_a_session() -> None:
    session = {
        "voice": "ara",
        "turn_detection": {"type": None},
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}}, "output": {"speed": 0.9}},
        "tools": [{"type": "function", "function": {"name": "f", "description": "F.", "parameters": {}}}],
        "brand_new": [1],
    }
    (event,) = told(xai.XAICodec(), "session.updated", session=session)
    config = event.session.config
    assert (config.voice, config.turn_detection) == (Voice("ara", 0.9), TurnDetection.off())
    assert config.input_format == PCM16_24K
    assert [tool.name for tool in config.tools] == ["f"]
    assert event.session.raw == session
    assert xai.XAICodec().encode_server(event)["session"] == session


def test_server_tools_stand_beside_the_agents_own() -> None:
    search = {"type": "web_search"}
    function = {"type": "function", "name": "f"}
    codec = xai.XAICodec(server_tools=[search])
    assert said(codec, ev.SessionUpdate(SessionConfig()))["session"]["tools"] == [search]
    assert "tools" not in said(codec, ev.SessionUpdate(SessionConfig(instructions="More.")))["session"]
    changed = said(codec, ev.SessionUpdate(SessionConfig(tools=[ToolDefinition("f")])))["session"]
    assert changed["tools"] == [function, search]
    assert said(codec, ev.SessionUpdate(SessionConfig(tools=[])))["session"]["tools"] == [search]


def test_a_reply_takes_instructions_only() -> None:
    asked = said(xai.XAICodec(), ev.ResponseCreate(ResponseConfig(instructions="Sing.", output_modality="audio")))
    assert asked == {"type": "response.create", "response": {"instructions": "Sing.", "modalities": ["audio"]}}
    CHECKS["response.create"](asked, "")
    assert said(xai.XAICodec(), ev.ResponseCreate()) == {"type": "response.create"}


# -- what is refused before anything is sent --------------------------------------------------------------------------

REFUSED: list[tuple[str, SessionConfig]] = [
    ("output_modality='text'.*always speak", SessionConfig(output_modality="text")),
    ("turn_detection.mode='semantic_vad'", SessionConfig(turn_detection=TurnDetection.semantic_vad())),
    ("create_response=False.*answers all the same", SessionConfig(turn_detection=TurnDetection(create_response=False))),
    ("threshold=0.95.*0.1 to 0.9", SessionConfig(turn_detection=TurnDetection(threshold=0.95))),
    ("voice.speed=0.5.*0.7 to 1.5", SessionConfig(voice=Voice("eve", 0.5))),
    ("noise_reduction", SessionConfig(noise_reduction=NoiseReduction("near_field"))),
    ("truncation", SessionConfig(truncation=Truncation())),
    ("reasoning.effort='low'.*'high' or 'none'", SessionConfig(reasoning=Reasoning("low"))),
    ("input_format=.pcm16 at 11025", SessionConfig(input_format=AudioFormat("pcm16", 11_025))),
    ("transcription.prompt", SessionConfig(transcription=InputTranscription(prompt="names"))),
    ("max_output_tokens=0", SessionConfig(max_output_tokens=0)),
    (r"tools\[0\].name", SessionConfig(tools=[ToolDefinition("no good")])),
]


@pytest.mark.parametrize(("why", "config"), REFUSED, ids=[why for why, _ in REFUSED])
def test_refused(why: str, config: SessionConfig) -> None:
    with pytest.raises(MisconfiguredError, match=why):
        xai.realtime("grok-voice-latest").check(config)
    with pytest.raises(MisconfiguredError, match=why):
        xai.realtime("grok-voice-latest", config=config)


@pytest.mark.parametrize(
    "config",
    [
        ResponseConfig(output_modality="text"),
        ResponseConfig(voice=Voice("eve")),
        ResponseConfig(tools=[]),
        ResponseConfig(conversation="none"),
        ResponseConfig(metadata={"a": "b"}),
        ResponseConfig(input=[Message("user", [])]),
    ],
)
def test_a_reply_of_its_own_kind_is_refused(config: ResponseConfig) -> None:
    model = xai.realtime("grok-voice-latest")
    model.check_response(ResponseConfig(instructions="Sing.", output_modality="audio", conversation="auto"))
    with pytest.raises(MisconfiguredError, match=r"xAI|use 'auto'"):
        model.check_response(config)


# -- what the service says --------------------------------------------------------------------------------------------


def test_words_of_the_human_replace_each_other() -> None:
    codec = xai.XAICodec()
    place = {"item_id": "u", "content_index": 0}
    (one,) = told(codec, f"{PREFIX}updated", **place, transcript="Hello?")
    (two,) = told(codec, f"{PREFIX}completed", **place, transcript="Hello, my", status="in_progress")
    (last,) = told(codec, f"{PREFIX}completed", **place, transcript="Hello, my name.", status="completed")
    (plain,) = told(codec, f"{PREFIX}completed", **place, transcript="Hello.")
    assert [type(event) for event in (one, two)] == [ev.InputTranscriptDelta] * 2
    assert (one.cumulative, two.cumulative) == (True, True)
    assert (one.text, two.text) == ("Hello?", "Hello, my")
    assert [type(event) for event in (last, plain)] == [ev.InputTranscript] * 2


def test_an_interim_transcript_may_tell_its_usage() -> None:
    frame = {"item_id": "u", "transcript": "Hel", "status": "in_progress", "usage": {"type": "duration", "seconds": 1}}
    codec = xai.XAICodec()
    (event,) = told(codec, f"{PREFIX}completed", **frame)
    assert isinstance(event, ev.InputTranscriptDelta)
    assert codec.encode_server(event) == {"type": f"{PREFIX}completed", "event_id": "e", **frame}


def test_usage_stands_beside_the_reply() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "billable_audio_seconds": 5}
    response = {"id": "r", "status": "completed", "status_details": "unimplemented", "output": [], "usage": {}}
    (event,) = told(xai.XAICodec(), "response.done", response=response, usage=usage)
    assert event.response.usage.total_tokens == 3
    assert event.response.usage.extra == {"billable_audio_seconds": 5}
    assert xai.XAICodec().encode_server(event)["response"]["usage"] == {}
    made = ev.ResponseDone(ev.Response(id="r", usage=ev.Usage(total_tokens=4)))
    frame = xai.XAICodec().encode_server(made)
    assert (frame["usage"], frame["response"]["usage"]) == ({"total_tokens": 4}, {})


def test_usage_that_is_none_is_a_protocol_error() -> None:
    (event,) = told(xai.XAICodec(), "response.done", response={"id": "r"}, usage={"total_tokens": "many"})
    assert (event.source, event.message) == (
        "protocol",
        "response.done: usage.total_tokens: expected a whole number, got a text",
    )


@pytest.mark.parametrize("name", ["response.text", "response.output_text"])
def test_text_has_two_names(name: str) -> None:
    place = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    (delta,) = told(xai.XAICodec(), f"{name}.delta", **place, delta="a")
    (done,) = told(xai.XAICodec(), f"{name}.done", **place, text="a")
    assert (type(delta), type(done)) == (ev.TextDelta, ev.TextDone)


def test_a_ping_is_a_ping() -> None:
    (event,) = told(xai.XAICodec(), "ping", timestamp=1785214081855)
    assert event == ev.Ping(1785214081855, event_id="e")


# -- what is inferred -------------------------------------------------------------------------------------------------


def test_the_end_of_a_reply_is_the_end_of_its_items() -> None:
    item = {"id": "i", "type": "message", "role": "assistant", "status": "completed"}
    whole = {**item, "content": [{"type": "audio", "transcript": "Hi."}]}
    call = {"id": "f", "type": "function_call", "name": "f", "call_id": "c", "arguments": "{}", "status": "completed"}
    bare = {**item, "id": "bare"}
    events = told(xai.XAICodec(), "response.done", response={"id": "r", "output": [whole, call, bare]})
    assert [type(event) for event in events] == [ev.ItemDone, ev.ItemDone, ev.ResponseDone]
    assert [event.item.id for event in events[:2]] == ["i", "f"]
    assert (events[0].item.text, events[0].item.status) == ("Hi.", "completed")


def test_a_commit_is_the_end_of_the_turn() -> None:
    codec = xai.XAICodec()
    content = [{"type": "input_audio", "transcript": ""}]
    item = {"id": "u", "type": "message", "role": "user", "status": "in_progress", "content": content}
    assert len(told(codec, "conversation.item.added", item=item)) == 1
    committed, done = told(codec, "input_audio_buffer.committed", item_id="u")
    assert (type(committed), type(done)) == (ev.AudioInputCommitted, ev.ItemDone)
    assert done.item.status == "completed"
    assert len(told(codec, "input_audio_buffer.committed", item_id="u")) == 1


def test_a_conversation_is_a_handle_once_resumption_is_accepted() -> None:
    on = SessionConfig(extra={"resumption": {"enabled": True}})
    codec = xai.XAICodec(on)
    codec.encode(ev.SessionUpdate(SessionConfig()))
    assert [type(event) for event in told(codec, "conversation.created", conversation={"id": "conv"})] == [
        ev.ConversationCreated
    ]
    _, handle = told(codec, "session.updated", session={})
    assert handle == ev.SessionResumable("conv")
    assert len(told(codec, "session.updated", session={})) == 1


@pytest.mark.parametrize("conversation", [{"id": "conv"}, {"id": 7}, {}])
def test_without_resumption_there_is_no_handle(conversation: dict[str, Any]) -> None:
    codec = xai.XAICodec()
    codec.encode(ev.SessionUpdate(SessionConfig()))
    told(codec, "conversation.created", conversation=conversation)
    assert len(told(codec, "session.updated", session={})) == 1


# -- names ------------------------------------------------------------------------------------------------------------


def message(text: str, id: str | None = None, role: Any = "user") -> Message:
    return Message(role, [ContentPart("input_text", text=text)], id=id)


def added(codec: xai.XAICodec, id: str, text: str, previous: str | None = None, role: str = "user") -> Any:
    item = {"id": id, "type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    (event,) = told(codec, "conversation.item.added", item=item, previous_item_id=previous)
    return event


def test_what_we_add_keeps_the_name_that_we_gave_it() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(message("one", "ours_1"), event_id="e1"))
    codec.encode(ev.ItemCreate(message("two", "ours_2"), event_id="e2"))
    assert added(codec, "theirs_1", "one").item.id == "ours_1"
    event = added(codec, "theirs_2", "two", "theirs_1")
    assert (event.item.id, event.previous_item_id) == ("ours_2", "ours_1")
    assert said(codec, ev.ItemDelete("ours_1"))["item_id"] == "theirs_1"
    (gone,) = told(codec, "conversation.item.deleted", item_id="theirs_1")
    assert gone.item_id == "ours_1"
    assert said(codec, ev.ItemDelete("ours_1"))["item_id"] == "ours_1"
    after = ev.ItemCreate(message("three", "ours_3"), "ours_2")
    assert said(codec, after)["previous_item_id"] == "theirs_2"


def test_the_same_words_twice_are_told_apart_by_their_order() -> None:
    codec = xai.XAICodec()
    for name in ("ours_1", "ours_2"):
        codec.encode(ev.ItemCreate(message("again", name)))
    assert [added(codec, name, "again").item.id for name in ("a", "b", "c")] == ["ours_1", "ours_2", "c"]


def test_what_was_refused_will_not_come() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(message("again", "ours_1"), event_id="e1"))
    codec.encode(ev.ItemCreate(message("again", "ours_2"), event_id="e2"))
    told(codec, "error", error={"message": "no", "event_id": "e1"})
    assert added(codec, "a", "again").item.id == "ours_2"


def test_a_service_that_takes_our_names_is_understood_too() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(message("again", "ours_1")))
    codec.encode(ev.ItemCreate(message("again", "ours_2")))
    assert added(codec, "ours_2", "again").item.id == "ours_2"
    assert added(codec, "a", "again").item.id == "ours_1"


def test_outputs_and_calls_are_known_by_their_call() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(FunctionCall("f", "{}", "c1", id="ours_call")))
    codec.encode(ev.ToolResult("c1", "sunny", "ours_output"))
    for kind, fields, name in (
        ("function_call", {"name": "f", "arguments": "{}"}, "ours_call"),
        ("function_call_output", {"output": "sunny"}, "ours_output"),
    ):
        item = {"id": f"t_{kind}", "type": kind, "call_id": "c1", "role": "tool", **fields}
        (event,) = told(codec, "conversation.item.added", item=item)
        assert event.item.id == name
        assert isinstance(event.item, (FunctionCall, FunctionCallOutput))


def test_a_turn_that_begins_is_not_ours() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(Message("user", [ContentPart("input_audio", audio=b"12")], id="ours_1")))
    spoken = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": ""}]}
    (turn,) = told(codec, "conversation.item.added", item={"id": "u", "status": "in_progress", **spoken})
    (sent,) = told(codec, "conversation.item.added", item={"id": "a", "status": "completed", **spoken})
    assert (turn.item.id, sent.item.id) == ("u", "ours_1")


def test_the_models_own_items_are_not_ours() -> None:
    codec = xai.XAICodec()
    codec.encode(ev.ItemCreate(message("hello", "ours_1")))
    assert added(codec, "a", "hello", role="assistant").item.id == "a"


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [{"type": "max_duration"}, {"code": "max_duration"}, {"code": "session_expired"}])
def test_a_session_that_is_too_old(error: dict[str, Any]) -> None:
    codec = xai.XAICodec()
    told(codec, "error", error={"message": "maximum duration", **error})
    assert isinstance(codec.closed(ConnectionClosed(1000)), SessionExpired)
    assert not isinstance(xai.XAICodec().closed(ConnectionClosed(1000)), SessionExpired)


# -- nonsense ---------------------------------------------------------------------------------------------------------


TEMPLATES: list[dict[str, Any]] = [
    {"type": "response.done", "response": {"id": "r", "output": [], "usage": {}}, "usage": {"total_tokens": 3}},
    {"type": f"{PREFIX}completed", "item_id": "u", "transcript": "Hi", "status": "in_progress", "content_index": 0},
    {"type": "conversation.item.added", "item": {"id": "i", "type": "message", "role": "user", "content": []}},
    {"type": "session.updated", "session": {"voice": "ara", "turn_detection": {"type": None}, "tools": []}},
    {"type": "conversation.created", "conversation": {"id": "c"}},
    {"type": "input_audio_buffer.committed", "item_id": "i", "previous_item_id": None},
    {"type": "ping", "timestamp": 1},
]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_comes_raises(seed: int) -> None:
    codec = xai.XAICodec(SessionConfig(extra={"resumption": {"enabled": True}}))
    codec.encode(ev.SessionUpdate(SessionConfig()))
    codec.encode(ev.ItemCreate(message("hello", "ours_1")))
    for frame, _ in zip(hostile_frames(seed, TEMPLATES), range(200), strict=False):
        assert codec.decode(frame)


def test_nothing_of_the_corpus_raises() -> None:
    for frame in hostile_corpus().values():
        assert xai.XAICodec().decode(frame)


_KEYS = st.sampled_from(["id", "type", "role", "content"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "role", "content"]), inner)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(name for name in XAI.server_by_type if name)),
    st.dictionaries(
        st.sampled_from(["item", "response", "usage", "session", "conversation", "status", "item_id", "transcript"]),
        _JSON,
    ),
)
def test_a_known_type_with_anything_in_it_never_raises(name: str, fields: dict[str, Any]) -> None:
    assert xai.XAICodec().decode(json.dumps({"type": name, **fields}))
