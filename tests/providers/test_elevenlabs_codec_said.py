"""The codec of ElevenLabs Agents: what is said to an agent, also against the official SDK's types."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from kernl_rt import events as ev
from kernl_rt.config import (
    G711_ULAW,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    Voice,
)
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers.elevenlabs import AgentsCodec
from kernl_rt.providers.elevenlabs._config import Options
from kernl_rt.providers.elevenlabs._wire import CLIENT_TYPES, SERVER
from tests.providers.elevenlabs_frames import (
    METADATA,
    audio,
    call,
    complete,
    interruption,
    message,
    open_codec,
    ping,
    said,
    shape,
    told,
    words,
)

# -- what we say ------------------------------------------------------------------------------------------------------


def test_a_message_that_asks_is_said_at_once() -> None:
    codec = open_codec()
    assert said(codec, ev.ItemCreate(message("hi"), asks=True)) == [{"type": "user_message", "text": "hi"}]
    [echo] = codec.echoes()
    assert isinstance(echo, ev.ItemCreated)
    assert said(codec, ev.ResponseCreate()) == []
    [created] = codec.echoes()
    assert shape([created, *told(codec, audio(1), complete(1))]) == ["(1", "sound1", "1:completed)"]


def test_a_reply_that_began_before_it_was_asked_for_is_the_answer() -> None:
    codec = open_codec()
    codec.encode(ev.ItemCreate(message("hi"), asks=True))
    codec.echoes()
    assert shape(told(codec, audio(1))) == ["(1", "sound1"]
    assert said(codec, ev.ResponseCreate()) == []
    assert codec.echoes() == []


def test_a_message_while_the_agent_speaks_begins_the_next_turn() -> None:
    codec = open_codec()
    told(codec, audio(1), words("a", 1))
    codec.encode(ev.ItemCreate(message("hi"), asks=True))
    assert shape(told(codec, audio(1), audio(2))) == ["sound1", "1:completed)", "(2", "sound2"]


def test_an_interruption_does_not_stop_the_reply_that_was_asked_for_meanwhile() -> None:
    codec = open_codec()
    told(codec, audio(1), complete(1))
    codec.encode(ev.ItemCreate(message("hi"), asks=True))
    codec.encode(ev.ResponseCreate())
    codec.echoes()
    [raw, *_] = told(codec, interruption(1))
    assert isinstance(raw, ev.RawServerEvent)
    assert told(codec, complete(1), ping(1), ping(2), ping(3))[0].kind == "raw"
    assert shape(told(codec, audio(2), complete(2))) == ["sound2", "2:completed)"]


def test_a_message_waits_where_nobody_says_whether_it_asks() -> None:
    codec = open_codec()
    assert said(codec, ev.ItemCreate(message("one"))) == []
    assert said(codec, ev.ItemCreate(message("two", id="item_2"))) == []
    echoes: list[Any] = codec.echoes()
    assert [echo.item.id for echo in echoes] == ["item_1", "item_2"]
    assert said(codec, ev.ResponseCreate()) == [{"type": "user_message", "text": "one\ntwo"}]


@pytest.mark.parametrize(
    ("item", "context"),
    [
        (message("hi"), "The user has written: hi"),
        (message("hi", status="completed"), "Earlier the user said: hi"),
        (Message("assistant", [ContentPart("output_text", text="yes")], status="completed"), "Earlier you said: yes"),
        (Message("system", [ContentPart("input_text", text="Be kind.")]), "Be kind."),
        (FunctionCall("f", '{"a":1}', "c", status="completed"), 'Earlier you called the tool f with {"a":1}'),
        (FunctionCallOutput("c", "42"), "The tool answered: 42"),
    ],
)
def test_context(item: Any, context: str) -> None:
    codec = open_codec()
    assert said(codec, ev.ItemCreate(item, asks=False)) == [{"type": "contextual_update", "text": context}]
    assert isinstance(codec.echoes()[0], ev.ItemCreated)
    # A reply that is asked for all the same answers what was told last.
    assert said(codec, ev.ResponseCreate()) == [{"type": "user_message", "text": context}]


def test_an_unheard_turn_of_the_past_is_not_told() -> None:
    item = Message("user", [ContentPart("input_audio", audio=b"\0\0")], id="item_1", status="completed")
    codec = open_codec()
    assert said(codec, ev.ItemCreate(item)) == []
    assert isinstance(codec.echoes()[0], ev.ItemCreated)


def test_a_tool_result() -> None:
    codec = open_codec()
    told(codec, call())
    result = ev.ToolResult("c1", "Sunny", "item_9", "weather")
    assert said(codec, result) == [
        {"type": "client_tool_result", "tool_call_id": "c1", "result": "Sunny", "is_error": False}
    ]
    assert codec.echoes() == [ev.ItemCreated(FunctionCallOutput("c1", "Sunny", id="item_9"))]
    assert said(codec, ev.ResponseCreate()) == []
    assert shape(codec.echoes() + told(codec, audio(1), complete(1))) == ["(2", "sound2", "2:completed)"]


def test_the_end_of_the_turn_that_called_does_not_end_the_next() -> None:
    codec = open_codec()
    told(codec, audio(1), complete(1), call(number=2))
    codec.encode(ev.ToolResult("c1", "Sunny", "item_9", "weather"))
    codec.encode(ev.ResponseCreate())
    codec.echoes()
    assert shape(told(codec, complete(2), audio(3), complete(3))) == ["sound3", "3:completed)"]


def test_a_tool_that_the_agent_does_not_wait_for_has_no_result() -> None:
    codec = open_codec()
    told(codec, call(expects_response=False))
    assert said(codec, ev.ToolResult("c1", "done", "item_9")) == []
    codec.echoes()
    assert said(codec, ev.ResponseCreate()) == []
    assert shape(codec.echoes()) == ["(2", "2:completed)"]


def test_a_result_of_a_call_of_an_earlier_link() -> None:
    codec = open_codec()
    assert said(codec, ev.ToolResult("c0", "42", "item_9", "sum")) == [
        {"type": "contextual_update", "text": "The tool sum has answered: 42"}
    ]


@pytest.mark.parametrize(
    "event",
    [
        ev.ItemDelete("i"),
        ev.ItemRetrieve("i"),
        ev.ItemTruncate("i", 10),
        ev.AudioInputCommit(),
        ev.AudioInputClear(),
        ev.AudioOutputClear(),
        ev.ResponseCancel(),
        ev.InputMute(),
        ev.InputUnmute(),
        ev.SessionUpdate(SessionConfig(instructions="other")),
        ev.ResponseCreate(),
        ev.ResponseCreate(ResponseConfig(instructions="other")),
        ev.RawClientEvent({"type": "session.update"}),
        ev.ItemCreate(Message("user", [ContentPart("input_image", image_url="https://a/b")])),
        ev.ItemCreate(Message("user", [ContentPart("input_audio", audio=b"\0\0")])),
    ],
    ids=lambda event: event.kind,
)
def test_what_cannot_be_said_is_refused_by_name(event: Any) -> None:
    import attrs

    codec = open_codec()
    assert codec.encode(attrs.evolve(event, event_id="event_7")) == ()
    [error] = codec.echoes()
    assert isinstance(error, ev.SessionError)
    assert (error.source, error.client_event_id) == ("provider", "event_7")


LIKE = {"type": "feedback", "event_id": 1, "score": "like"}


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (ev.AudioInputAppend(b"\1\2"), {"user_audio_chunk": "AQI="}),
        (ev.ActivityStart(), {"type": "user_activity"}),
        (ev.RawClientEvent(LIKE), LIKE),
    ],
)
def test_said_as_it_is(event: Any, frame: dict[str, Any]) -> None:
    assert said(open_codec(), event) == [frame]


def test_half_a_surrogate_does_not_cost_the_session() -> None:
    assert said(open_codec(), ev.ItemCreate(message("a\ud83d"), asks=True))[0]["text"].startswith("a")


# -- the first frame --------------------------------------------------------------------------------------------------

FULL = SessionConfig(
    instructions="Be brief.",
    voice=Voice("voice_1", 1.1),
    output_modality="text",
    transcription=InputTranscription(language="de", keywords=["Kernl"]),
    reasoning=Reasoning("low"),
    extra={"conversation_config_override": {"tts": {"stability": 0.5}}, "user_id": "u2"},
)
OPTIONS = Options(
    first_message="Hi!",
    language="en",
    dynamic_variables={"name": "Ada"},
    custom_llm_extra_body={"temperature": 0.1},
    user_id="u1",
    environment="staging",
    branch_id="b1",
)


def test_nothing_said_is_nothing_overridden() -> None:
    [frame] = said(AgentsCodec(), ev.SessionUpdate(SessionConfig(instructions="")))
    assert frame == {"type": "conversation_initiation_client_data"}


def test_every_override() -> None:
    [frame] = said(AgentsCodec(OPTIONS), ev.SessionUpdate(FULL))
    assert frame == {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {
            "agent": {
                "prompt": {"prompt": "Be brief.", "reasoning_effort": "low"},
                "first_message": "Hi!",
                "language": "de",
            },
            "tts": {"voice_id": "voice_1", "speed": 1.1, "stability": 0.5},
            "asr": {"keywords": ["Kernl"]},
            "conversation": {"text_only": True},
        },
        "dynamic_variables": {"name": "Ada"},
        "custom_llm_extra_body": {"temperature": 0.1},
        "user_id": "u2",
        "environment": "staging",
        "branch_id": "b1",
    }


@pytest.mark.parametrize(("value", "written"), [(True, True), (False, False), (None, False)])
def test_a_conversation_in_writing_may_be_asked_for_in_extra(value: bool | None, written: bool) -> None:
    codec = AgentsCodec()
    codec.encode(
        ev.SessionUpdate(SessionConfig(extra={"conversation_config_override": {"conversation": {"text_only": value}}}))
    )
    assert bool(codec.encode(ev.AudioInputAppend(b"\0\0"))) is not written


def _unknown(model: Any, path: str = "") -> list[str]:
    """Fields that the SDK's types do not know: they let everything pass, and keep it aside."""
    found = [f"{path}.{name}" for name in (model.model_extra or {})]
    for name in type(model).model_fields:
        value = getattr(model, name)
        if hasattr(value, "model_fields_set"):
            found += _unknown(value, f"{path}.{name}")
    return found


def test_the_official_types_know_every_field() -> None:
    types = pytest.importorskip("elevenlabs.types")
    [frame] = said(AgentsCodec(OPTIONS), ev.SessionUpdate(FULL))
    del frame["type"]
    parsed = types.ConversationInitiationClientDataRequestInput.model_validate(frame, strict=True)
    assert _unknown(parsed) == []
    assert parsed.conversation_config_override.agent.prompt.prompt == "Be brief."
    # The witness can see: a field that is misspelt is found.
    frame["conversation_config_override"]["agent"]["first_words"] = "x"
    parsed = types.ConversationInitiationClientDataRequestInput.model_validate(frame, strict=True)
    assert _unknown(parsed) == [".conversation_config_override.agent.first_words"]


def test_the_official_client_knows_the_same_types() -> None:
    module = pytest.importorskip("elevenlabs.conversational_ai.conversation")
    assert {event.value for event in module.ClientToOrchestratorEvent} <= CLIENT_TYPES
    from elevenlabs.types.client_event import ClientEvent

    official = {word for choice in get_args(ClientEvent) for word in get_args(choice)}
    # "error" stands in the service's AsyncAPI document only.
    assert set(SERVER) - official == {"error"}
    assert official - set(SERVER) == {
        "asr_initiation_metadata",
        "vad_score",
        "mcp_tool_call",
        "mcp_connection_status",
        "agent_tool_request",
        "agent_tool_response",
        "agent_tool_response_full_payload",
        "agent_response_metadata",
        "guardrail_triggered",
        "dtmf_request",
        "internal_turn_probability",
        "internal_tentative_agent_response",
    }  # told raw


@pytest.mark.parametrize(
    ("named", "expected", "fix"),
    [
        ("pcm_24000", PCM16_16K, "say agent(…, input_format=AudioFormat('pcm16', 24000))"),
        ("ulaw_8000", PCM16_24K, "set the agent's user input format to pcm_24000"),
        ("opus_48000", G711_ULAW, "another agent"),
    ],
)
def test_formats_that_differ(named: str, expected: AudioFormat, fix: str) -> None:
    codec = AgentsCodec(input_format=expected, output_format=expected)
    codec.encode(ev.SessionUpdate(SessionConfig()))
    content = {"conversation_id": "c", "agent_output_audio_format": named, "user_input_audio_format": named}
    [error] = told(codec, {**METADATA, "conversation_initiation_metadata_event": content})
    assert (error.code, error.param) == ("audio_format_mismatch", "input_format")
    assert fix in error.message
    # In writing there is no sound, and no format to get wrong.
    codec = AgentsCodec(input_format=expected, output_format=expected)
    codec.encode(ev.SessionUpdate(SessionConfig(output_modality="text")))
    assert isinstance(
        told(codec, {**METADATA, "conversation_initiation_metadata_event": content})[0], ev.SessionCreated
    )
