"""Frames to events and back: what is understood, that nothing is lost, and that nothing hostile gets through."""

from __future__ import annotations

import base64
import copy
import json
import re
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import (
    G711_ULAW,
    PCM16_24K,
    InputTranscription,
    SessionConfig,
    ToolDefinition,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, ProtocolError, SessionExpired
from kernl_rt.items import FunctionCall, FunctionCallOutput, Message, UnknownItem
from kernl_rt.providers.openai import OpenAICodec
from tests.providers.frames import CLIENT_FRAMES, ITEMS, PCM, SERVER_FRAMES, SESSION, SOUND, Frame, recorded


def compact(frame: Any) -> str:
    return json.dumps(frame, separators=(",", ":"))


def decode(frame: Any) -> Any:
    """The one event in ``frame``, the same from text, from bytes and with blanks."""
    text = frame if isinstance(frame, (str, bytes)) else compact(frame)
    (event,) = OpenAICodec().decode(text)
    if isinstance(frame, dict):
        assert OpenAICodec().decode(text.encode()) == (event,)
        assert OpenAICodec().decode(json.dumps(frame, indent=1)) == (event,)
    return event


def same(one: Any, other: Any) -> bool:
    """Equal, and with 1, 1.0 and True told apart."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# -- nothing is lost --------------------------------------------------------------------------------------------------


def test_recorded_server_frames_are_understood_and_whole() -> None:
    for name, frame in recorded("received"):
        event = decode(frame)
        assert not isinstance(event, (ev.RawServerEvent, ev.SessionError)), (name, event)
        assert same(OpenAICodec().encode_server(event), frame), name


def test_recorded_client_frames_are_understood_and_whole() -> None:
    for name, frame in recorded("sent"):
        event = OpenAICodec().decode_client(compact(frame))
        assert not isinstance(event, ev.RawClientEvent), name
        assert same(json.loads(OpenAICodec().encode(event)), frame), name


def test_the_table_has_every_message_of_the_protocol() -> None:
    assert len({frame["type"] for frame in SERVER_FRAMES}) == 46
    assert len({frame["type"] for frame in CLIENT_FRAMES}) == 11
    assert len({frame["type"] for frame in ITEMS} - {"hologram"}) == 7  # messages have three roles


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=lambda frame: frame["type"])
def test_every_server_event(frame: Frame) -> None:
    event = decode(frame)
    assert not isinstance(event, ev.RawServerEvent)
    assert not isinstance(event, ev.SessionError) or event.source == "provider"
    assert same(OpenAICodec().encode_server(event), frame)
    assert event.event_id == frame["event_id"]
    assert "event_id" not in event.extra


@pytest.mark.parametrize("frame", CLIENT_FRAMES, ids=lambda frame: frame["type"])
def test_every_client_event(frame: Frame) -> None:
    event = OpenAICodec().decode_client(compact(frame))
    assert not isinstance(event, ev.RawClientEvent)
    assert same(json.loads(OpenAICodec().encode(event)), frame)


@given(st.data())
def test_added_keys_and_nulls_survive_at_every_level(data: st.DataObject) -> None:
    frame = copy.deepcopy(data.draw(st.sampled_from(SERVER_FRAMES)))
    node = data.draw(st.sampled_from(objects(frame)))
    key = data.draw(st.sampled_from(["new", "extra", "kind", "cause"]))
    node[key] = data.draw(st.sampled_from([None, 0, "", [], {}]))
    event = decode(frame)
    assert not isinstance(event, ev.SessionError) or event.source == "provider"
    assert same(OpenAICodec().encode_server(event), frame)


def objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in objects(item))]
    return [found for item in value for found in objects(item)] if isinstance(value, list) else []


# -- what it means ----------------------------------------------------------------------------------------------------


def test_a_session_is_read_into_a_configuration() -> None:
    session = decode({"type": "session.updated", "session": SESSION}).session
    assert (session.id, session.model, session.expires_at, session.raw) == (
        "sess_1",
        "gpt-realtime-2.1",
        1785217650,
        SESSION,
    )
    config: SessionConfig = session.config
    assert config.voice == Voice("voice_1", 1.25)
    assert (config.input_format, config.output_format) == (G711_ULAW, PCM16_24K)
    assert config.turn_detection == TurnDetection.semantic_vad(eagerness="low")
    assert config.transcription == "off"
    assert config.tools == (ToolDefinition("f", "", {"type": "object"}),)
    assert config.extra == {}


def test_a_session_of_another_kind_still_arrives() -> None:
    odd = {"type": "translation", "audio": 7, "tools": {"a": 1}, "max_output_tokens": -1, "output_modalities": ["x"]}
    event = decode({"type": "session.created", "session": odd})
    assert isinstance(event, ev.SessionCreated)
    assert event.session.config == SessionConfig()
    assert event.session.raw == odd


def test_a_session_without_anything_stays_so() -> None:
    frame = {"type": "session.updated", "session": {}}
    assert OpenAICodec().encode_server(decode(frame)) == frame


def test_a_session_that_a_simulator_makes_is_written_from_its_configuration() -> None:
    info = ev.SessionInfo(id="s", model="m", expires_at=1.5, config=SessionConfig(voice="marin"))
    frame = OpenAICodec().encode_server(ev.SessionCreated(info))
    assert frame["session"] == {
        "object": "realtime.session",
        "id": "s",
        "model": "m",
        "expires_at": 1.5,
        "type": "realtime",
        "audio": {"output": {"voice": "marin"}},
    }
    assert decode(frame).session.config == info.config


def test_added_and_created_are_one_event_and_stay_apart() -> None:
    added = decode({"type": "conversation.item.added", "item": ITEMS[0]})
    created = decode({"type": "conversation.item.created", "item": ITEMS[0]})
    assert type(added) is type(created) is ev.ItemCreated
    assert added.extra == {}
    assert created.extra == {"type": "conversation.item.created"}


def test_an_output_item_that_is_a_call_starts_a_tool() -> None:
    event = decode({"type": "response.output_item.added", "response_id": "r", "output_index": 0, "item": ITEMS[3]})
    assert isinstance(event, ev.ToolStarted)
    assert (event.call_id, event.name, event.response_id) == ("c", "weather", "r")


def test_an_item_of_an_unknown_kind_is_kept_whole() -> None:
    event = decode({"type": "conversation.item.added", "item": ITEMS[-1]})
    assert event.item == UnknownItem(id="i", extra=ITEMS[-1])


def test_a_message_of_an_unknown_type_is_raw() -> None:
    frame = {"type": "response.smell.delta", "event_id": "e", "delta": "roses"}
    assert decode(frame) == ev.RawServerEvent("response.smell.delta", frame, event_id="e")
    assert OpenAICodec().encode_server(decode(frame)) == frame
    client = OpenAICodec().decode_client(compact(frame))
    assert client == ev.RawClientEvent(frame, event_id="e")
    assert json.loads(OpenAICodec().encode(client)) == frame


def test_an_error_is_the_providers() -> None:
    event = decode(SERVER_FRAMES[0])
    assert (event.message, event.type, event.code, event.param, event.client_event_id, event.source) == (
        "m",
        "t",
        None,
        "p",
        "e",
        "provider",
    )
    assert event.extra == {"error": {"code": None, "new": 1}}


@pytest.mark.parametrize("word", ["in_progress", "completed", "failed"])
def test_the_type_says_how_an_mcp_call_goes(word: str) -> None:
    event = decode({"type": f"response.mcp_call.{word}", "item_id": "i", "output_index": 0})
    assert event.status == word
    assert OpenAICodec().encode_server(attrs.evolve(event, status="completed"))["type"] == "response.mcp_call.completed"


def test_an_attribute_that_was_set_since_wins_over_an_explicit_null() -> None:
    item = decode({"type": "conversation.item.added", "item": ITEMS[3]}).item
    assert isinstance(item, FunctionCall)
    later = ev.ItemCreate(attrs.evolve(item, status="completed"))
    assert json.loads(OpenAICodec().encode(later))["item"]["status"] == "completed"


def test_a_tool_result_is_an_item() -> None:
    frame = json.loads(OpenAICodec().encode(ev.ToolResult("c", "Sunny", item_id="i", event_id="e", is_error=True)))
    assert frame == {
        "type": "conversation.item.create",
        "event_id": "e",
        "item": {"type": "function_call_output", "call_id": "c", "output": "Sunny", "id": "i"},
    }
    item = FunctionCallOutput(call_id="c", output="Sunny", id="i")
    assert OpenAICodec().decode_client(compact(frame)) == ev.ItemCreate(item, event_id="e")


def test_activities_are_what_they_mean_without_turn_detection() -> None:
    codec = OpenAICodec()
    assert json.loads(codec.encode(ev.ActivityStart())) == {"type": "input_audio_buffer.clear"}
    assert json.loads(codec.encode(ev.ActivityEnd(event_id="e"))) == {
        "type": "input_audio_buffer.commit",
        "event_id": "e",
    }


@pytest.mark.parametrize("event", [ev.InputMute(), ev.InputUnmute()])
def test_what_the_protocol_cannot_say_is_refused(event: Any) -> None:
    with pytest.raises(MisconfiguredError, match="no message for 'audio"):
        OpenAICodec().encode(event)
    with pytest.raises(MisconfiguredError, match="no message for 'tool"):
        OpenAICodec().encode_server(ev.ToolCancelled(["c"]))


def test_defaults_are_laid_under_the_first_update_only() -> None:
    codec = OpenAICodec(SessionConfig(instructions="default", voice="marin"))
    first = json.loads(codec.encode(ev.SessionUpdate(SessionConfig(instructions="mine"))))
    second = json.loads(codec.encode(ev.SessionUpdate(SessionConfig(instructions="yours"))))
    assert first["session"] == {"type": "realtime", "instructions": "mine", "audio": {"output": {"voice": "marin"}}}
    assert second["session"] == {"type": "realtime", "instructions": "yours"}


def test_lone_surrogates_do_not_cost_the_message() -> None:
    frame = json.loads(OpenAICodec().encode(ev.ToolResult("c", "a\ud800b 😀")))
    assert frame["item"]["output"] == "a\ufffdb 😀"


@pytest.mark.parametrize("value", [object(), {1, object()}, lambda: None], ids=["object", "set", "function"])
def test_what_is_no_json_is_the_callers_mistake(value: Any) -> None:
    with pytest.raises(MisconfiguredError, match="not JSON"):
        OpenAICodec().encode(ev.RawClientEvent({"type": "x", "value": value}))


# -- sound ------------------------------------------------------------------------------------------------------------

_AUDIO: Frame = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "output_index": 0}


@given(st.binary(max_size=3000), st.dictionaries(st.sampled_from(["content_index", "new"]), st.integers(0, 9)))
def test_sound_is_decoded_whatever_its_length(sound: bytes, extra: Frame) -> None:
    frame = {**_AUDIO, **extra, "delta": base64.b64encode(sound).decode()}
    event = decode(frame)
    assert event.audio == sound
    assert OpenAICodec().encode_server(event) == frame


@pytest.mark.parametrize(
    "text",
    [
        compact({**_AUDIO, "part": {"delta": SOUND}, "delta": ""}),
        compact({**_AUDIO, "delta": SOUND})[:-1] + ',"delta":""}',
        compact({**_AUDIO, "delta": SOUND})[:-1] + ',"d\\u0065lta":""}',
        compact({**_AUDIO, "delta": SOUND})[:-1] + ',"delta" : ""}',
        compact({**_AUDIO, '"delta': SOUND, "delta": ""}),
        compact({**_AUDIO, '"delta': SOUND})[:-1].replace("{", '{"delta" : "",') + "}",
        compact({**_AUDIO, '"delta': SOUND}).replace("output_audio", "output_text"),
        compact({**_AUDIO, "delta": SOUND, "type": "response.output_text.delta", "content_index": 0}),
        compact({**_AUDIO, "delta": SOUND.replace("/", "\\/")}).replace("\\\\", "\\"),
        compact({**_AUDIO, "delta": SOUND + "ab=="}),
        compact({**_AUDIO, "delta": SOUND + "abc="}),
        compact({**_AUDIO, "delta": SOUND[:-4] + "!!!!"}),
        compact({**_AUDIO, "delta": "A" * 1001}),
        compact({**_AUDIO, "delta": SOUND})[:-1],
        compact({**_AUDIO, "delta": SOUND})[:-2],
        compact({**_AUDIO, "delta": SOUND}) + "}",
        compact({**_AUDIO, "item_id": 7, "delta": SOUND}),
        compact([{**_AUDIO, "delta": SOUND}]),
    ],
)
def test_the_short_cut_for_sound_never_changes_the_meaning(text: str) -> None:
    """The same frame, made too long at its head for the short cut, must be understood alike."""
    (fast,) = OpenAICodec().decode(text)
    (slow,) = OpenAICodec().decode(text[:1] + " " * 2000 + text[1:])
    assert OpenAICodec().decode(text.encode()) == (fast,)
    if isinstance(slow, ev.SessionError) and "not JSON" in slow.message:
        assert isinstance(fast, ev.SessionError)
    else:
        assert fast == slow
        if not isinstance(fast, ev.SessionError):
            assert OpenAICodec().encode_server(fast) == json.loads(text)


# -- what is hostile --------------------------------------------------------------------------------------------------

_DEEP = 100_000
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "not JSON"),
    "not json": ("hello", "not JSON"),
    "binary": (b"\x00\xff\xfe", "not JSON"),
    "not utf-8": (b'{"type":"\xff"}', "not Unicode"),
    "lone surrogate": ('{"type":"\ud800"}', "not Unicode"),
    "escaped lone surrogate": ('{"type":"\\ud800"}', "not JSON"),
    "null": ("null", "not an object"),
    "list": ('[{"type":"error"}]', "not an object"),
    "number": ("1", "not an object"),
    "two objects": ('{"type":"a"}{"type":"b"}', "not JSON"),
    "no type": ("{}", "type is missing"),
    "unhashable type": ('{"type":[]}', "type is not a text"),
    "object as type": ('{"type":{}}', "type is not a text"),
    "number as type": ('{"type":1}', "type is not a text"),
    "nan": ('{"type":"input_audio_buffer.speech_started","audio_start_ms":NaN}', "not JSON"),
    "infinity": ('{"type":"input_audio_buffer.speech_started","audio_start_ms":-Infinity}', "not JSON"),
    "overflowing float": ('{"type":"x","n":1e999}', "not JSON"),
    "5000 digits": ('{"type":"x","n":' + "9" * 5000 + "}", "not JSON"),
    "deep": ('{"type":"x","n":' + "[" * _DEEP + "]" * _DEEP + "}", "nested too deeply"),
    "fraction": ('{"type":"input_audio_buffer.speech_started","audio_start_ms":1.5}', "audio_start_ms: expected a"),
    "boolean": ('{"type":"input_audio_buffer.speech_started","audio_start_ms":true}', "audio_start_ms: expected a"),
    "negative": ('{"type":"input_audio_buffer.speech_started","audio_start_ms":-1}', "audio_start_ms: .* out of range"),
    "huge": ('{"type":"input_audio_buffer.speech_stopped","audio_end_ms":1' + "0" * 40 + "}", "out of range"),
    "missing": ('{"type":"conversation.item.deleted"}', "conversation.item.deleted: item_id: missing"),
    "missing default": ('{"type":"rate_limits.updated"}', "rate_limits: missing"),
    "null for a must": ('{"type":"conversation.item.deleted","item_id":null}', "item_id: expected a text, got null"),
    "bad base64": ('{"type":"response.output_audio.delta","item_id":"i","delta":"SECRET!"}', "delta: .* not base64"),
    "text in bad base64": ('{"type":"response.output_audio.delta","item_id":"i","delta":"ü"}', "delta: .* not base64"),
    "session": ('{"type":"session.created","session":"SECRET"}', "session: expected an object, got a text"),
    "expiry": ('{"type":"session.created","session":{"expires_at":"SECRET"}}', "session.expires_at: expected a number"),
    "item": ('{"type":"conversation.item.added","item":[]}', "item: expected an object"),
    "item type": ('{"type":"conversation.item.added","item":{"type":{}}}', "item.type: expected a text"),
    "item no type": ('{"type":"conversation.item.added","item":{}}', "item.type: missing"),
    "arguments": (
        '{"type":"response.done","response":{"output":[{"type":"function_call","name":"SECRET"}]}}',
        r"response\.done: response\.output\[0\]\.arguments: missing",
    ),
    "tokens": (
        '{"type":"response.done","response":{"usage":{"input_token_details":{"text_tokens":"SECRET"}}}}',
        r"response\.usage\.input_token_details\.text_tokens: expected a whole number, got a text",
    ),
    "error": ('{"type":"error","error":"SECRET"}', "error: error: expected an object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_one_error_that_shows_nothing(name: str) -> None:
    frame, what = HOSTILE[name]
    (event,) = OpenAICodec().decode(frame)
    assert isinstance(event, ev.SessionError)
    assert event.source == "protocol"
    assert isinstance(event.cause, ProtocolError)
    assert re.search(what, event.message), event.message
    assert "SECRET" not in f"{event!r} {event.message} {event.cause!r}"
    assert len(event.message) < 200


@pytest.mark.parametrize("name", ["empty", "list", "unhashable type", "deep", "lone surrogate"])
def test_a_hostile_client_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match=HOSTILE[name][1]):
        OpenAICodec().decode_client(HOSTILE[name][0])


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.append", "audio": "%"},
        {"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 1},
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user"}},
        {"type": "response.create", "response": {"input": {}}},
        {"type": "response.create", "response": []},
        {"type": "session.update", "session": None},
    ],
)
def test_a_client_frame_that_lacks_something_is_refused(frame: Frame) -> None:
    with pytest.raises(ProtocolError, match=frame["type"]):
        OpenAICodec().decode_client(compact(frame))


_ODD = [None, True, -1, 2**70, 1.5, "", "\u0000", [], {}, [{}], {"type": []}, "inf", {"type": "message"}]


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_of_a_frame_raises(data: st.DataObject) -> None:
    frames = [*SERVER_FRAMES, *CLIENT_FRAMES]
    frame = copy.deepcopy(data.draw(st.sampled_from(frames)))
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(objects(frame)))
        if not node:
            continue
        key = data.draw(st.sampled_from(sorted(node)))
        match data.draw(st.sampled_from(["drop", "rename", "retype"])):
            case "drop":
                del node[key]
            case "rename":
                node[key + "_"] = node.pop(key)
            case "retype":
                node[key] = copy.deepcopy(data.draw(st.sampled_from(_ODD)))
    text = compact(frame)
    event = decode(frame)
    if not isinstance(event, ev.SessionError):
        assert same(OpenAICodec().encode_server(event), frame)
    try:
        client = OpenAICodec().decode_client(text)
    except ProtocolError:
        return
    assert isinstance(client, ev.RawClientEvent) or OpenAICodec().encode(client)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_garbage_raises(garbage: bytes | str) -> None:
    (event,) = OpenAICodec().decode(garbage)
    assert isinstance(event, (ev.SessionError, ev.RawServerEvent))


# -- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "frame", "expired"),
    [
        (1001, "Your session hit the maximum duration of 60 minutes.", None, True),
        (1001, "going away", None, False),
        (1000, "maximum duration", None, False),
        (1006, "", {"type": "error", "error": {"message": "over", "code": "session_expired"}}, True),
        (1006, "", {"type": "error", "error": {"message": "no", "code": "rate_limit_exceeded"}}, False),
    ],
)
def test_the_end_of_a_session_that_lasted_too_long(code: int, reason: str, frame: Frame | None, expired: bool) -> None:
    codec = OpenAICodec()
    if frame is not None:
        codec.decode(compact(frame))
    error = codec.closed(ConnectionClosed(code, reason))
    assert isinstance(error, SessionExpired) is expired
    assert (error.code, error.reason) == (code, reason)


def test_messages_and_transcription_keep_their_words() -> None:
    message = decode({"type": "conversation.item.added", "item": ITEMS[1]}).item
    assert isinstance(message, Message)
    assert message.text == "Look."
    assert message.content[1].audio == PCM
    config = OpenAICodec().decode_client(compact(CLIENT_FRAMES[1]))
    assert isinstance(config, ev.SessionUpdate)
    assert config.config.transcription == InputTranscription("gpt-transcribe", languages=["en"], keywords=["a"])
