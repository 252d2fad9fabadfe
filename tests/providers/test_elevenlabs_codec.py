"""The codec of ElevenLabs Agents: frame by frame, against the official SDK's types, and against hostile frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pybase64
import pytest
from hypothesis import given, settings, strategies as st

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
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers.elevenlabs import AgentsCodec
from kernl_rt.providers.elevenlabs._config import Options
from kernl_rt.providers.elevenlabs._wire import CLIENT_TYPES, SERVER
from kernl_rt.testing.strategies import hostile_messages

METADATA = {
    "type": "conversation_initiation_metadata",
    "conversation_initiation_metadata_event": {
        "conversation_id": "conv_ab",
        "agent_output_audio_format": "pcm_16000",
        "user_input_audio_format": "pcm_16000",
    },
}


def audio(number: int | str | None, sound: bytes = b"\1\0", **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"audio_base_64": pybase64.b64encode_as_string(sound), **more}
    return {"type": "audio", "audio_event": content if number is None else {**content, "event_id": number}}


def words(text: str, number: int = 1) -> dict[str, Any]:
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": number}}


def part(kind: str, text: str = "", number: int = 1) -> dict[str, Any]:
    return {"type": "agent_chat_response_part", "text_response_part": {"text": text, "type": kind, "event_id": number}}


def complete(number: int = 1) -> dict[str, Any]:
    return {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": number}}


def ping(number: int = 1) -> dict[str, Any]:
    return {"type": "ping", "ping_event": {"event_id": number, "ping_ms": None}}


def heard(text: str, number: int = 1, *, final: bool = True) -> dict[str, Any]:
    content = {"user_transcript": text, "event_id": number}
    if final:
        return {"type": "user_transcript", "user_transcription_event": content}
    return {"type": "tentative_user_transcript", "tentative_user_transcription_event": content}


def interruption(number: int) -> dict[str, Any]:
    return {"type": "interruption", "interruption_event": {"event_id": number}}


def call(name: str = "weather", call_id: str = "c1", number: int = 1, **more: Any) -> dict[str, Any]:
    content = {"tool_name": name, "tool_call_id": call_id, "parameters": {"city": "Oslo"}, "event_id": number, **more}
    return {"type": "client_tool_call", "client_tool_call": content}


def usage(tokens: int, number: int = 1) -> dict[str, Any]:
    content = {"event_id": number, "model": "m", "context_tokens": tokens, "context_limit_tokens": 1000}
    return {"type": "context_usage", "context_usage_event": content}


def open_codec(config: SessionConfig | None = None, options: Options | None = None) -> AgentsCodec:
    codec = AgentsCodec(options)
    codec.encode(ev.SessionUpdate(config or SessionConfig()))
    [created] = codec.decode(json.dumps(METADATA))
    assert isinstance(created, ev.SessionCreated)
    return codec


def told(codec: AgentsCodec, *frames: dict[str, Any]) -> list[Any]:
    return [event for frame in frames for event in codec.decode(json.dumps(frame))]


def said(codec: AgentsCodec, event: Any) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in codec.encode(event)]


def shape(events: list[Any]) -> list[str]:
    """Beginnings, ends and contents, in short."""
    short: dict[type[Any], Callable[[Any], str]] = {
        ev.ResponseCreated: lambda e: f"({e.response.id[-1]}",
        ev.ResponseDone: lambda e: f"{e.response.id[-1]}:{e.response.status})",
        ev.AudioDelta: lambda e: f"sound{e.response_id[-1]}",
        ev.OutputTranscript: lambda e: f"{e.text}{e.response_id[-1]}",
        ev.TextDone: lambda e: f"{e.text}{e.response_id[-1]}",
        ev.ToolCalled: lambda e: f"call{e.response_id[-1]}",
        ev.SpeechStarted: lambda e: "speech",
        ev.SpeechStopped: lambda e: "silence",
    }
    return [short[type(event)](event) for event in events if type(event) in short]


# -- the agent's turns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param(
            [audio(1), words("a", 1), audio(1), complete(1), usage(5)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="complete",
        ),
        pytest.param(
            [audio(1), words("a", 1), audio(1, is_final=True), complete(1)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="is_final",
        ),
        pytest.param(
            [audio(1, is_final=True), words("a", 1), audio(2)],
            ["(1", "sound1", "1:completed)", "a1", "(2", "sound2"],
            id="words-after-the-end",
        ),
        pytest.param(
            [audio(1), audio(1), audio(2), words("b", 2)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2", "b2"],
            id="numbers-of-turns-are-learned",
        ),
        pytest.param(
            [audio(1), audio(2), audio(3), complete(3), audio(4)],
            ["(1", "sound1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="numbers-of-pieces",
        ),
        pytest.param(
            [audio(1), words("a", 1), heard("hm", 2), audio(2)],
            ["(1", "sound1", "a1", "1:completed)", "(2", "sound2"],
            id="the-human-spoke-between",
        ),
        pytest.param(
            [audio(5), words("a", 5), heard("hm", 5), audio(5), complete(5)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="the-human-spoke-within",
        ),
        pytest.param(
            [audio(None), audio(None), heard("hm"), audio(None)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="without-numbers",
        ),
        pytest.param(
            [words("a", 1), audio(2), words("b", 3), audio(4)],
            ["(1", "a1", "sound1", "1:completed)", "(2", "b2", "sound2"],
            id="a-second-answer",
        ),
        pytest.param(
            [audio(1), ping(1), ping(2), audio(1), ping(3), ping(4), ping(5), audio(1)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="three-quiet-pings",
        ),
        pytest.param(
            [audio(2), words("a", 2), interruption(2), audio(2), audio(1), audio(3)],
            ["(1", "sound1", "a1", "speech", "1:cancelled)", "silence", "(2", "sound2"],
            id="interruption",
        ),
        pytest.param(
            [interruption(4), audio(4), heard("stop", 5), audio(5)],
            ["speech", "silence", "(1", "sound1"],
            id="interruption-of-what-plays",
        ),
        pytest.param(
            [audio(1), call(), call(call_id="c2"), words("b", 1)],
            ["(1", "sound1", "call1", "1:completed)", "(2", "call2", "2:completed)", "b1"],
            id="calls-end-a-turn",
        ),
        pytest.param([complete(1), usage(5), ping(1), audio(1, b"", is_final=True)], [], id="ends-of-nothing"),
        pytest.param(
            [audio("7"), interruption(6), audio("8")],
            ["(1", "sound1", "speech", "1:cancelled)", "silence", "(2", "sound2"],
            id="numbers-as-text",
        ),
    ],
)
def test_turns(frames: list[dict[str, Any]], expected: list[str]) -> None:
    assert shape(told(open_codec(), *frames)) == expected


def test_a_whole_spoken_turn() -> None:
    events = told(open_codec(), audio(1, b"\1\0\2\0"), words("Good day.", 1), usage(9), complete(1))
    item_id = "item_convab_1"
    done = Message("assistant", [ContentPart("output_audio", transcript="Good day.")], id=item_id, status="completed")
    assert [event.kind for event in events] == [
        "response.created",
        "response.item.created",
        "item.created",
        "audio.output.delta",
        "transcript.output",
        "raw",
        "audio.output.done",
        "response.item.done",
        "item.done",
        "response.done",
    ]
    assert events[3].audio == b"\1\0\2\0"
    assert events[3].extra == {"event_id": 1}
    assert events[-2].item == done
    response = events[-1].response
    assert (response.id, response.status, response.text) == ("response_convab_1", "completed", "Good day.")
    assert (response.usage.input_tokens, response.usage.extra["context_limit_tokens"]) == (9, 1000)


def test_usage_that_comes_when_the_turn_is_over() -> None:
    codec = open_codec()
    [report] = told(codec, audio(1), complete(1), usage(9))[-1:]
    assert isinstance(report, ev.UsageReported)
    assert report.usage.input_tokens == 9


def test_a_written_turn() -> None:
    codec = open_codec(SessionConfig(output_modality="text"))
    events = told(codec, part("start"), part("delta", "One "), words("One two."), part("delta", "two."), part("stop"))
    events += told(codec, words("One two."), complete())
    deltas = [event.text for event in events if isinstance(event, ev.TextDelta)]
    assert deltas == ["One ", "two."]
    assert shape(events) == ["(1", "One two.1", "1:completed)"]
    assert shape(told(codec, words("Three.", 2))) == ["(2", "Three.2", "2:completed)"]
    assert codec.encode(ev.AudioInputAppend(b"\0\0")) == ()


def test_parts_ahead_of_a_spoken_turn() -> None:
    events = told(open_codec(), part("start"), part("delta", "One"), audio(1), part("stop"), complete())
    assert shape(events) == ["(1", "sound1", "One1", "1:completed)"]
    assert [event.text for event in events if isinstance(event, ev.OutputTranscriptDelta)] == ["One"]


def test_the_human() -> None:
    codec = open_codec()
    events = told(codec, heard("wha", final=False), heard("what now", final=False), heard("What now?"))
    deltas = [event for event in events if isinstance(event, ev.InputTranscriptDelta)]
    assert [(delta.text, delta.cumulative) for delta in deltas] == [("wha", True), ("what now", True)]
    committed, created, final = events[2:]
    assert isinstance(committed, ev.AudioInputCommitted)
    assert created.item.text == final.text == "What now?"
    assert {delta.item_id for delta in deltas} == {committed.item_id, created.item.id, final.item_id}
    assert told(codec, heard("More"))[0].item_id != final.item_id


def test_ping_is_answered_and_told() -> None:
    codec = open_codec()
    [event] = told(codec, ping(7))
    assert isinstance(event, ev.RawServerEvent)
    assert [json.loads(frame) for frame in codec.answers()] == [{"type": "pong", "event_id": 7}]
    assert codec.answers() == []


@pytest.mark.parametrize(
    "name",
    ["vad_score", "guardrail_triggered", "agent_tool_response", "mcp_tool_call", "dtmf_request", "queue_status", "new"],
)
def test_what_has_no_word_here_is_passed_on(name: str) -> None:
    frame = {"type": name, f"{name}_event": {"vad_score": 0.5}}
    assert told(open_codec(), frame) == [ev.RawServerEvent(name, frame)]


def test_a_correction_is_passed_on() -> None:
    """What was heard is the channel's to say: the service reckons with the moment at which it sent the sound."""
    content = {"original_agent_response": "a b", "corrected_agent_response": "a...", "event_id": 1}
    frame = {"type": "agent_response_correction", "agent_response_correction_event": content}
    assert told(open_codec(), frame) == [ev.RawServerEvent("agent_response_correction", frame)]


# -- what we say ------------------------------------------------------------------------------------------------------


def message(text: str, **more: Any) -> Message:
    return Message("user", [ContentPart("input_text", text=text)], **{"id": "item_1", **more})


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


# -- errors and ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"), [("error", "error_event"), ("client_error", "error_event"), ("client_error", "client_error_event")]
)
def test_an_error(name: str, key: str) -> None:
    codec = AgentsCodec(redact=lambda text: text.replace("hidden", "…"))
    content = {"code": 1002, "error_type": "llm_error", "message": "the model hidden failed"}
    [error] = told(codec, {"type": name, key: content})
    assert (error.code, error.source) == ("llm_error", "provider")
    assert error.message == "ElevenLabs: the model … failed"


def test_the_end_of_its_time() -> None:
    codec = open_codec()
    content = {"code": 1000, "error_type": "max_duration_exceeded", "message": "too long"}
    [raw] = told(codec, {"type": "error", "error_event": content})
    assert isinstance(raw, ev.RawServerEvent)
    assert isinstance(codec.closed(ConnectionClosed(1000, "")), SessionExpired)
    assert isinstance(open_codec().closed(ConnectionClosed(1000, "Max conversation duration reached.")), SessionExpired)
    assert type(open_codec().closed(ConnectionClosed(1000, "bye"))) is ConnectionClosed


def test_a_credential_is_not_repeated() -> None:
    codec = AgentsCodec(redact=lambda text: text.replace("hidden", "…"))
    error = ConnectionClosed(1008, "signature hidden is wrong")
    assert "hidden" not in str(codec.closed(error))
    assert all("hidden" not in event.message for event in codec.last_words(error))  # type: ignore[union-attr]
    assert codec.last_words(error) == ()  # once


# -- hostile ----------------------------------------------------------------------------------------------------------

TEMPLATES = [
    METADATA, audio(1, is_final=True), words("a"), part("delta", "a"), complete(), ping(), heard("a"), interruption(1),
    call(expects_response=False), usage(1), {"type": "error", "error_event": {"code": 1, "message": "a"}},
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile_messages(TEMPLATES), max_size=12))
def test_the_decoder_never_raises(frames: list[str | bytes]) -> None:
    codec = AgentsCodec()
    for frame in frames:
        for event in codec.decode(frame):
            assert isinstance(event, (*get_args(ev.ServerEvent),))


_frames = st.one_of(
    st.builds(audio, st.integers(0, 6), is_final=st.booleans()),
    st.builds(words, st.sampled_from("abc"), st.integers(0, 6)),
    st.builds(part, st.sampled_from(["start", "delta", "stop"]), st.sampled_from(["", "a"]), st.integers(0, 6)),
    st.builds(complete, st.integers(0, 6)),
    st.builds(ping),
    st.builds(heard, st.just("a"), st.integers(0, 6), final=st.booleans()),
    st.builds(interruption, st.integers(0, 6)),
    st.builds(call, number=st.integers(0, 6)),
)
_ours = st.sampled_from(
    [
        ev.ItemCreate(message("hi"), asks=True),
        ev.ItemCreate(message("hi"), asks=False),
        ev.ResponseCreate(),
        ev.ToolResult("c1", "x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_frames, _ours), max_size=30), st.booleans())
def test_whatever_comes_replies_hold_together(steps: list[Any], text_only: bool) -> None:
    """One reply at a time, each begun once and ended at most once, with its content in between, in items of its own."""
    codec = open_codec(SessionConfig(output_modality="text" if text_only else None))
    running: str | None = None
    begun: set[str] = set()
    for step in steps:
        events: list[Any] = told(codec, step) if isinstance(step, dict) else [codec.encode(step), *codec.echoes()][1:]
        for event in events:
            if isinstance(event, ev.ResponseCreated):
                assert running is None
                assert event.response.id not in begun
                running = event.response.id
                begun.add(running or "")
            elif isinstance(event, ev.ResponseDone):
                assert event.response.id == running
                running = None
            elif isinstance(event, ev.OutputTranscript):
                assert event.response_id in begun  # the text may come when the turn is over
            elif getattr(event, "response_id", None) is not None:
                assert event.response_id == running
