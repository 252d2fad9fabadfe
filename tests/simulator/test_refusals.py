"""What the real service refuses is refused, in its words, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt.simulator import Reply, ToolCall
from tests.simulator.driver import Talk, b64, errors, only, silence, tone, types
from tests.simulator.test_frames import WEATHER

Frame = dict[str, Any]


def _session(**fields: Any) -> Frame:
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def _input(**fields: Any) -> Frame:
    return _session(audio={"input": fields})


def _output(**fields: Any) -> Frame:
    return _session(audio={"output": fields})


def _item(**fields: Any) -> Frame:
    return {"type": "conversation.item.create", "item": fields}


def _response(**fields: Any) -> Frame:
    return {"type": "response.create", "response": fields}


MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
PCM = {"type": "audio/pcm", "rate": 24_000}

REFUSED: list[tuple[Any, str | None, str | None]] = [
    ({}, "missing_required_parameter", "type"),
    ({"type": "nonsense"}, "invalid_value", "type"),
    ({"type": 7}, "invalid_type", "type"),
    ({"type": "conversation.item.created"}, "invalid_value", "type"),
    ({"type": "response.create", "model": "x"}, "unknown_parameter", "model"),
    ({"type": "input_audio_buffer.clear", "event_id": 3}, "invalid_type", "event_id"),
    ({"type": "input_audio_buffer.clear", "event_id": "x" * 513}, "string_above_max_length", "event_id"),
    # session
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"voice": "alloy"}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
    ({"type": "session.update", "session": "x"}, "invalid_type", "session"),
    (_session(voice="alloy"), "unknown_parameter", "session.voice"),
    (_session(modalities=["text"]), "unknown_parameter", "session.modalities"),
    (_session(turn_detection=None), "unknown_parameter", "session.turn_detection"),
    (_session(input_audio_format="pcm16"), "unknown_parameter", "session.input_audio_format"),
    (_session(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
    (_session(output_modalities=[]), "invalid_value", "session.output_modalities"),
    (_session(output_modalities=["smell"]), "invalid_value", "session.output_modalities[0]"),
    (_session(instructions=3), "invalid_type", "session.instructions"),
    (_session(max_output_tokens=0), "integer_below_min_value", "session.max_output_tokens"),
    (_session(max_output_tokens=4097), "integer_above_max_value", "session.max_output_tokens"),
    (_session(max_output_tokens="lots"), "invalid_value", "session.max_output_tokens"),
    (_session(max_output_tokens=True), "invalid_type", "session.max_output_tokens"),
    (_session(tool_choice="maybe"), "invalid_value", "session.tool_choice"),
    (_session(tool_choice={"type": "function"}), "missing_required_parameter", "session.tool_choice.name"),
    (_session(tools=[{"type": "function"}]), "missing_required_parameter", "session.tools[0].name"),
    (_session(tools=[{"name": "x"}]), "missing_required_parameter", "session.tools[0].type"),
    (_session(tools=[{"type": "function", "name": "a b"}]), "invalid_value", "session.tools[0].name"),
    (
        _session(tools=[{"type": "function", "name": "a", "strict": True}]),
        "unknown_parameter",
        "session.tools[0].strict",
    ),
    (
        _session(tools=[{"type": "function", "name": "a", "parameters": 1}]),
        "invalid_type",
        "session.tools[0].parameters",
    ),
    (_session(tools=[{"type": "mcp"}]), "missing_required_parameter", "session.tools[0].server_label"),
    (_session(truncation="some"), "invalid_value", "session.truncation"),
    (_session(include=["everything"]), "invalid_value", "session.include[0]"),
    (_session(temperature=0.8), "unknown_parameter", "session.temperature"),
    (_input(format="pcm16"), "invalid_type", "session.audio.input.format"),
    (_input(format={"type": "audio/mp3"}), "invalid_value", "session.audio.input.format.type"),
    (_input(format={"type": "audio/pcm"}), "missing_required_parameter", "session.audio.input.format.rate"),
    (_input(format={**PCM, "rate": 16_000}), "integer_below_min_value", "session.audio.input.format.rate"),
    (_input(format={**PCM, "rate": 48_000}), "integer_above_max_value", "session.audio.input.format.rate"),
    (_input(format={"type": "audio/pcmu", "rate": 8000}), "unknown_parameter", "session.audio.input.format.rate"),
    (_input(turn_detection={"type": "none"}), "invalid_value", "session.audio.input.turn_detection.type"),
    (_input(turn_detection={}), "missing_required_parameter", "session.audio.input.turn_detection.type"),
    (
        _input(turn_detection={"type": "server_vad", "threshold": 1.5}),
        "decimal_above_max_value",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        _input(turn_detection={"type": "server_vad", "silence_duration_ms": -1}),
        "integer_below_min_value",
        "session.audio.input.turn_detection.silence_duration_ms",
    ),
    (
        _input(turn_detection={"type": "server_vad", "idle_timeout_ms": 10}),
        "integer_below_min_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        _input(turn_detection={"type": "semantic_vad", "threshold": 0.5}),
        "unknown_parameter",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        _input(turn_detection={"type": "semantic_vad", "eagerness": "wild"}),
        "invalid_value",
        "session.audio.input.turn_detection.eagerness",
    ),
    (_input(noise_reduction={"type": "loud"}), "invalid_value", "session.audio.input.noise_reduction.type"),
    (_input(transcription={"enabled": True}), "unknown_parameter", "session.audio.input.transcription.enabled"),
    (_output(voice="nobody"), "invalid_value", "session.audio.output.voice"),
    (_output(voice={}), "missing_required_parameter", "session.audio.output.voice.id"),
    (_output(speed=2.0), "decimal_above_max_value", "session.audio.output.speed"),
    (_output(speed=0.1), "decimal_below_min_value", "session.audio.output.speed"),
    (_output(speed="fast"), "invalid_type", "session.audio.output.speed"),
    # the audio buffer
    ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "not base64!"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "ünïcode"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "AAA"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "A" * (21 * 2**20)}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    ({"type": "output_audio_buffer.clear"}, None, "type"),
    # items
    (_item(type="message", role="user"), "missing_required_parameter", "item.content"),
    (_item(type="message", content=[]), "missing_required_parameter", "item.role"),
    (_item(type="message", role="robot", content=[]), "invalid_value", "item.role"),
    (_item(role="user", content=[]), "missing_required_parameter", "item.type"),
    (
        _item(type="message", role="user", content=[{"type": "text", "text": "x"}]),
        "invalid_value",
        "item.content[0].type",
    ),
    (
        _item(type="message", role="user", content=[{"type": "input_text"}]),
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (
        _item(type="message", role="assistant", content=[{"type": "output_audio", "transcript": "x"}]),
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (
        _item(type="message", role="assistant", content=[{"type": "input_text", "text": "x"}]),
        "invalid_value",
        "item.content[0].type",
    ),
    (
        _item(type="message", role="user", content=[{"type": "input_audio", "audio": "?"}]),
        "invalid_value",
        "item.content[0].audio",
    ),
    (_item(**MESSAGE, id="x" * 33), "string_above_max_length", "item.id"),
    (_item(**MESSAGE, mood="glad"), "unknown_parameter", "item.mood"),
    (_item(type="function_call_output", call_id="call_1", output="x"), "invalid_tool_call_id", None),
    (_item(type="function_call_output", call_id="a/b", output="x"), "invalid_value", "item.call_id"),
    (_item(type="function_call_output", call_id="x" * 33, output="x"), "string_above_max_length", "item.call_id"),
    (_item(type="function_call_output", call_id="call_1"), "missing_required_parameter", "item.output"),
    (_item(type="function_call_output", call_id="call_1", output={"a": 1}), "invalid_type", "item.output"),
    (_item(type="mcp_approval_response", approval_request_id="m", approve=True), "item_not_found", None),
    ({**_item(**MESSAGE), "previous_item_id": "item_x"}, "item_not_found", "previous_item_id"),
    ({"type": "conversation.item.delete", "item_id": "item_x"}, "item_delete_invalid_item_id", None),
    ({"type": "conversation.item.retrieve", "item_id": "item_x"}, "item_retrieve_invalid_item_id", None),
    ({"type": "conversation.item.delete"}, "missing_required_parameter", "item_id"),
    (
        {"type": "conversation.item.truncate", "item_id": "item_x", "content_index": 0, "audio_end_ms": 0},
        "item_truncate_invalid_item_id",
        None,
    ),
    (
        {"type": "conversation.item.truncate", "item_id": "item_x", "content_index": 0, "audio_end_ms": -11},
        "integer_below_min_value",
        "audio_end_ms",
    ),
    (
        {"type": "conversation.item.truncate", "item_id": "item_x", "content_index": 0, "audio_end_ms": 1.5},
        "invalid_type",
        "audio_end_ms",
    ),
    # responses
    ({"type": "response.cancel"}, "response_cancel_not_active", None),
    ({"type": "response.cancel", "response_id": "resp_x"}, "response_cancel_not_active", None),
    (_response(modalities=["text"]), "unknown_parameter", "response.modalities"),
    (_response(output_modalities=["text", "audio"]), "invalid_value", "response.output_modalities"),
    (_response(voice="alloy"), "unknown_parameter", "response.voice"),
    (_response(conversation="other"), "invalid_value", "response.conversation"),
    (_response(metadata={"a": 1}), "invalid_type", "response.metadata.a"),
    (_response(metadata={"a": "x" * 513}), "string_above_max_length", "response.metadata.a"),
    (_response(metadata={str(n): "" for n in range(17)}), "object_above_max_properties", "response.metadata"),
    (_response(input=[{"type": "item_reference", "id": "item_x"}]), "item_not_found", "response.input"),
    (_response(input=[{"type": "item_reference"}]), "missing_required_parameter", "response.input[0].id"),
    (_response(max_output_tokens="some"), "invalid_value", "response.max_output_tokens"),
    ([], "invalid_json", None),
    ("response.create", "invalid_json", None),
    (None, "invalid_json", None),
]


@pytest.mark.parametrize(("frame", "code", "param"), REFUSED)
def test_refused(frame: Any, code: str | None, param: str | None) -> None:
    talk = Talk()
    before = talk.frames[0]["session"]
    if isinstance(frame, dict) and "event_id" not in frame:
        frame = {**frame, "event_id": "mine"}
    [error] = talk.give(frame)
    assert error["type"] == "error"
    assert (error["error"]["code"], error["error"]["param"]) == (code, param)
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"]
    if isinstance(frame, dict) and frame["event_id"] == "mine":
        assert error["error"]["event_id"] == "mine"
    # Nothing has changed, and the session goes on.
    assert only(talk.configure(), "session.updated")["session"] == before
    assert only(talk.ask("hello"), "response.done")["response"]["status"] == "completed"


def test_messages_are_the_service_s_own_words() -> None:
    talk = Talk()
    said = [error["message"] for frame, _, _ in REFUSED for error in errors(talk.give(frame))]
    assert "Unknown parameter: 'session.voice'." in said
    assert "Missing required parameter: 'session.type'." in said
    assert "Missing required parameter: 'session.audio.input.format.rate'." in said
    assert "Invalid modalities: ['text', 'audio']. Supported combinations are: ['text'] and ['audio']." in said
    assert "Cancellation failed: no active response found" in said
    assert "Tool call ID 'call_1' not found in conversation." in said
    assert "Error deleting item: the item with id 'item_x' does not exist." in said
    assert "Invalid 'audio_end_ms': integer below minimum value. Expected a value >= 0, but got -11 instead." in said
    assert (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        "but buffer only has 0.00ms of audio." in said
    )
    assert (
        "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an invalid value." in said
    )


def test_a_second_response_is_refused_until_the_first_is_done() -> None:
    talk = Talk.saying("one two three four five six", "again")
    talk.say("hi")
    created = only(talk.send("response.create"), "response.created")["response"]["id"]
    [error] = errors(talk.send("response.create", event_id="second"))
    assert error["code"] == "conversation_already_has_active_response"
    assert error["message"].startswith(f"Conversation already has an active response in progress: {created}. Wait")
    assert error["event_id"] == "second"
    talk.until("response.done")
    assert types(talk.send("response.create"))[0] == "response.created"


def test_an_incompletely_filled_buffer_says_how_much_it_holds() -> None:
    talk = Talk()
    talk.turn_detection(None)
    talk.hear(silence(0.05))
    [error] = errors(talk.send("input_audio_buffer.commit"))
    assert error["message"].endswith("but buffer only has 50.00ms of audio.")


def test_voice_and_model_are_fixed_once_heard() -> None:
    talk = Talk()
    assert types(talk.configure(audio={"output": {"voice": "marin"}})) == ["session.updated"]
    talk.configure(output_modalities=["text"])
    talk.ask("hello")
    assert types(talk.configure(model="other", audio={"output": {"voice": "cedar"}})) == ["session.updated"]
    talk.configure(output_modalities=["audio"])
    talk.ask("hello")
    [error] = errors(talk.configure(audio={"output": {"voice": "alloy"}}, instructions="new"))
    assert (error["code"], error["param"]) == ("cannot_update_voice", None)
    assert errors(talk.configure(model="third"))
    updated = only(talk.configure(audio={"output": {"voice": "cedar", "speed": 1.2}}), "session.updated")["session"]
    assert updated["audio"]["output"] == {"format": PCM, "voice": "cedar", "speed": 1.2}
    assert updated["instructions"] != "new", "a refused update must change nothing"


def test_truncating_what_cannot_be() -> None:
    talk = Talk.saying("three little words", Reply(tool_calls=[ToolCall("get_weather")]))
    talk.configure(tools=[WEATHER])
    user = only(talk.say("hi"), "conversation.item.added")["item"]["id"]
    spoken = only(talk.ask("more"), "response.output_item.done")["item"]["id"]
    call = only(talk.ask("weather"), "response.output_item.done")["item"]["id"]

    def truncate(item: str, end: int, index: int = 0) -> Frame:
        fields = {"item_id": item, "content_index": index, "audio_end_ms": end}
        return errors(talk.send("conversation.item.truncate", **fields))[0]

    for refused in (truncate(user, 0), truncate(call, 0), truncate(spoken, 10, 1)):
        assert refused["code"] == "unsupported_content_type"
        assert refused["message"] == "Only model output audio messages can be truncated"
    too_long = truncate(spoken, 301)
    assert (too_long["code"], too_long["param"]) == ("invalid_value", "audio_end_ms")
    assert too_long["message"] == "Audio content of 300ms is already shorter than 301ms"


def test_ids_are_unique() -> None:
    talk = Talk()
    talk.say("one", id="mine")
    [error] = errors(talk.say("two", id="mine"))
    assert (error["code"], error["param"]) == ("invalid_value", "item.id")


def test_fifteen_mebibytes_are_taken_and_odd_bytes_forgiven() -> None:
    talk = Talk()
    talk.turn_detection(None)
    assert not talk.send("input_audio_buffer.append", audio=b64(bytes(15 * 2**20)))
    assert not talk.send("input_audio_buffer.append", audio=b64(b"\1\2\3"))
    assert "input_audio_buffer.committed" in types(talk.send("input_audio_buffer.commit"))
    talk.turn_detection({"type": "server_vad"})
    sound = tone(1.0) + silence(1.0)
    frames: list[Frame] = []
    for at in range(0, len(sound), 2_401):
        frames += talk.send("input_audio_buffer.append", audio=b64(sound[at : at + 2_401]))
    assert types(frames)[:2] == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    # Samples cut in two and put together wrongly would turn a whisper into a roar.
    whisper = tone(1.0, amplitude=20)
    for at in range(0, len(whisper), 2_401):
        assert not talk.send("input_audio_buffer.append", audio=b64(whisper[at : at + 2_401]))


def test_anonymous_errors_name_nobody() -> None:
    talk = Talk()
    talk.faults.anonymous_errors = True
    assert errors(talk.send("response.cancel", event_id="mine"))[0]["event_id"] is None
