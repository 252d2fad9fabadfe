"""The Live codec: what is said, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt import events as ev
from kernl_rt.config import PCM16_16K, ResponseConfig, SessionConfig, ToolChoice, Voice
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from tests.providers.live_frames import (
    BACKEND,
    DELEGATE,
    FRAMES,
    WEATHER,
    appended,
    codec_of,
    decode,
    delegated,
    error,
    only,
    said,
    typed,
)


def test_everything_is_said_at_the_start() -> None:
    codec = codec_of(live=False, delegation=BACKEND, store=True)
    codec = type(codec)("gpt-live-1", delegation=BACKEND, store=True, defaults=SessionConfig(voice=Voice("sage")))
    config = SessionConfig(
        instructions="Be brief.",
        input_format=PCM16_16K,
        output_format=PCM16_16K,
        tools=[WEATHER],
        tool_choice=ToolChoice("auto"),
        parallel_tool_calls=False,
        max_output_tokens=400,
        extra={"safety_identifier": "user-1", "delegation": {"acknowledgement_delay_ms": 200}},
    )
    (frame,) = said(codec, ev.SessionUpdate(config, event_id="event_1"))
    assert frame == {
        "type": "session.start",
        "event_id": "event_1",
        "session": {
            "model": "gpt-live-1",
            "instructions": "Be brief.",
            "audio": {"format": {"type": "audio/pcm", "rate": 16_000}, "output": {"voice": "sage"}},
            "delegation": {
                "type": "responses",
                "responses": {
                    "model": "gpt-6",
                    "tools": [
                        {
                            "type": "function",
                            "name": "weather",
                            "description": "The weather.",
                            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                        }
                    ],
                    "tool_choice": "auto",
                    "parallel_tool_calls": False,
                    "max_output_tokens": 400,
                },
                "acknowledgement_delay_ms": 200,
            },
            "store": True,
            "safety_identifier": "user-1",
        },
    }


def test_a_fork_says_only_what_a_fork_may() -> None:
    codec = type(codec_of())("gpt-live-1", delegation=BACKEND, store=True, resume=True)
    config = SessionConfig(instructions="x", voice=Voice("sage"), output_format=PCM16_16K, tools=[WEATHER])
    (frame,) = said(codec, ev.SessionUpdate(config, event_id="event_1"))
    assert set(frame["session"]) == {"audio", "delegation"}
    assert frame["session"]["audio"] == {"format": {"type": "audio/pcm", "rate": 16_000}}
    assert "model" not in frame["session"]["delegation"]["responses"]
    (refused,) = decode(codec, error("session_not_found"))
    assert refused.type == "server_error", "the next attempt begins a session of its own"


def test_a_running_session_changes_its_backend_only() -> None:
    codec = codec_of(SessionConfig(instructions="One.", tools=[WEATHER]), delegation=BACKEND)
    (frame,) = said(codec, ev.SessionUpdate(SessionConfig(tool_choice=ToolChoice("required")), event_id="event_2"))
    assert frame["session"] == {"delegation": {"type": "responses", "responses": {"tool_choice": "required"}}}
    (frame,) = said(codec, ev.SessionUpdate(SessionConfig(extra={"triggers": []}), event_id="event_3"))
    assert frame["session"] == {"triggers": []}
    for number, over in enumerate(
        (
            SessionConfig(instructions="Two."),
            SessionConfig(voice=Voice("sage")),
            SessionConfig(output_format=PCM16_16K),
            SessionConfig(extra={"store": True}),
            SessionConfig(max_output_tokens="inf"),
        )
    ):
        assert said(codec, ev.SessionUpdate(over, event_id=f"event_x{number}")) == []
        (refused,) = codec.echoes()
        assert isinstance(refused, ev.SessionError)
        assert (refused.client_event_id, refused.code) == (f"event_x{number}", "unsupported")
    assert "session.instructions.append" in said_why(codec, SessionConfig(instructions="Two."))


def said_why(codec: Any, over: SessionConfig) -> str:
    codec.encode(ev.SessionUpdate(over, event_id="event_y"))
    return str(codec.echoes()[0].message)


def test_a_change_that_the_wire_has_no_word_for_holds_at_once() -> None:
    codec = codec_of(SessionConfig(tools=[]))
    assert said(codec, ev.SessionUpdate(SessionConfig(tools=[DELEGATE]), event_id="event_2")) == []
    (updated,) = codec.echoes()
    assert isinstance(updated, ev.SessionUpdated)
    assert only(decode(codec, delegated()), ev.ToolCalled)


def test_what_is_written_is_told_and_acknowledged() -> None:
    codec = codec_of()
    (frame,) = said(codec, ev.ItemCreate(typed("Hello"), event_id="event_5"))
    assert (frame["type"], frame["content"]) == ("session.thinking.append", "The user wrote: Hello")
    assert codec.echoes() == []
    events = decode(codec, appended("thinking", "event_5"))
    assert only(events, ev.ItemCreated)[0].item == typed("Hello")
    assert not only(decode(codec, appended("thinking", "event_5")), ev.ItemCreated), "once"
    system = Message("system", [ContentPart("input_text", text="Be kind.")], id="item_2")
    (frame,) = said(codec, ev.ItemCreate(system, event_id="event_6"))
    assert (frame["type"], frame["content"]) == ("session.instructions.append", "Be kind.")
    (frame,) = said(codec, ev.ItemCreate(Message("assistant", [ContentPart("output_text", text="Hi")]), event_id="e7"))
    assert frame["content"] == "You said: Hi"


def test_what_is_long_goes_in_pieces() -> None:
    codec = codec_of()
    frames = said(codec, ev.ItemCreate(typed("x" * 2_000), event_id="event_5"))
    assert "".join(frame["content"] for frame in frames) == "The user wrote: " + "x" * 2_000
    assert all(len(frame["content"]) <= 450 for frame in frames)
    assert [frame.get("event_id") for frame in frames] == [None] * (len(frames) - 1) + ["event_5"]
    codec = codec_of(SessionConfig(tools=[DELEGATE]))
    decode(codec, delegated())
    frames = said(codec, ev.ToolResult("del_1", "y" * 1_000, event_id="event_6"))
    assert [frame["type"].split(".")[1] for frame in frames] == ["thinking", "thinking", "commentary"]
    assert {frame["delegation_id"] for frame in frames} == {"del_1"}


def test_calls_of_an_earlier_conversation_are_told_with_their_results() -> None:
    codec = codec_of()
    call = FunctionCall("weather", '{"city":"Paris"}', "call_1", id="item_c")
    assert said(codec, ev.ItemCreate(call, event_id="event_5")) == []
    assert codec.echoes() == [ev.ItemCreated(call)]
    (frame,) = said(codec, ev.ItemCreate(FunctionCallOutput("call_1", "Sunny", id="item_o"), event_id="event_6"))
    assert frame["content"] == 'weather({"city":"Paris"}) returned: Sunny'


@pytest.mark.parametrize(
    "event",
    [
        ev.AudioInputCommit(event_id="event_5"),
        ev.AudioInputClear(event_id="event_5"),
        ev.ResponseCancel(event_id="event_5"),
        ev.ItemDelete("item_1", event_id="event_5"),
        ev.ItemTruncate("item_1", 10, event_id="event_5"),
        ev.ActivityEnd(event_id="event_5"),
        ev.ItemCreate(typed("Hi"), "root", event_id="event_5"),
        ev.ItemCreate(Message("user", [ContentPart("input_image", image_url="https://x")]), event_id="event_5"),
        ev.ItemCreate(Message("user", [ContentPart("input_audio", audio=b"\0\0")]), event_id="event_5"),
        ev.ResponseCreate(ResponseConfig(conversation="none"), event_id="event_5"),
    ],
    ids=lambda event: event.kind,
)
def test_what_cannot_be_said_is_refused(event: Any) -> None:
    codec = codec_of()
    assert said(codec, event) == []
    (refused,) = codec.echoes()
    assert isinstance(refused, ev.SessionError)
    assert (refused.client_event_id, refused.code, refused.source) == ("event_5", "unsupported", "provider")


def test_mute_is_said_and_confirmed() -> None:
    codec = codec_of()
    assert said(codec, ev.InputMute(event_id="m")) == [{"type": "session.input_audio.mute", "event_id": "m"}]
    assert said(codec, ev.InputUnmute(event_id="n")) == [{"type": "session.input_audio.unmute", "event_id": "n"}]
    muted, unmuted = decode(codec, *(f for f in FRAMES if f["type"].endswith("muted")))
    assert (muted.muted, unmuted.muted) == (True, False)
